//! The listeners of a lane: by address, and what each has under way. What is done with segments for them is `listeners`'.

use core::cell::Cell;
use core::net::SocketAddr;
use std::collections::VecDeque;

use hashbrown::HashMap;

use super::udp_sockets::{equals_of, listening_for};
use crate::ip::KeyedHash;
use crate::socket::{ListenOptions, StreamOptions, Tag};
use crate::tcp::options;

/// One listener.
#[derive(Debug)]
pub struct ListenerState {
    pub address: SocketAddr,
    pub options: ListenOptions,
    /// What its connections do otherwise than the configuration says, if anything.
    pub own: Option<StreamOptions>,
    pub queue: u8,
    pub tag: Tag,
    pub half_open: u32,
    /// Established connections that the application has not been told of.
    pub unoffered: VecDeque<u32>,
}

impl ListenerState {
    /// A listener of which nobody has heard yet.
    pub fn new(address: SocketAddr, options: ListenOptions, queue: u8, tag: Tag) -> ListenerState {
        let unoffered = VecDeque::new();
        let mut state = ListenerState { address, options, own: None, queue, tag, half_open: 0, unoffered };
        state.set_stream(options.stream);
        state
    }

    /// Its connections are to do this from here on.
    pub fn set_stream(&mut self, options: StreamOptions) {
        self.options.stream = options;
        self.own = Some(options).filter(|options| *options != options::NONE);
    }
}

/// The listeners of a lane.
#[derive(Debug)]
pub struct Listeners {
    by_address: HashMap<SocketAddr, u32, KeyedHash>,
    /// The destination that was looked for last, and its listener: mostly the next one is the same.
    last: Cell<Option<(SocketAddr, u32)>>,
    states: Vec<Option<ListenerState>>,
}

impl Listeners {
    pub fn new(hash: KeyedHash) -> Listeners {
        Listeners { by_address: HashMap::with_hasher(hash), last: Cell::new(None), states: Vec::new() }
    }

    /// Something listens on exactly this address; every address of both versions is taken with every one of IPv4.
    pub fn is_taken(&self, address: SocketAddr) -> bool {
        equals_of(address).any(|address| self.by_address.contains_key(&address))
    }

    /// Somebody here listens for this destination.
    pub fn is_served(&self, local: SocketAddr) -> bool {
        self.find(local).is_some()
    }

    /// The listener for a destination: of that very address, else of every address.
    pub fn find(&self, local: SocketAddr) -> Option<u32> {
        match self.last.get() {
            Some((known, slot)) if known == local => Some(slot),
            _ => {
                let found = listening_for(local).find_map(|address| self.by_address.get(&address).copied());
                self.last.set(found.map(|slot| (local, slot)));
                found
            }
        }
    }

    /// Somebody listens.
    pub fn insert(&mut self, slot: u32, state: ListenerState) {
        self.by_address.insert(state.address, slot);
        self.last.set(None);
        if self.states.len() <= slot as usize {
            self.states.resize_with(slot as usize + 1, || None);
        }
        self.states[slot as usize] = Some(state);
    }

    /// Nobody does there any more.
    pub fn remove(&mut self, slot: u32) -> Option<ListenerState> {
        let state = self.states.get_mut(slot as usize)?.take()?;
        self.by_address.remove(&state.address);
        self.last.set(None);
        Some(state)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut ListenerState> {
        self.states.get_mut(slot as usize)?.as_mut()
    }

    pub fn get(&self, slot: u32) -> Option<&ListenerState> {
        self.states.get(slot as usize)?.as_ref()
    }

    /// What a listener's connections do.
    #[inline]
    pub fn stream(&self, slot: u32) -> &StreamOptions {
        self.get(slot).map_or(&options::NONE, |state| &state.options.stream)
    }

    /// A half-open connection of a listener is one no longer.
    pub fn uncount(&mut self, slot: u32) {
        if let Some(state) = self.get_mut(slot) {
            state.half_open = state.half_open.saturating_sub(1);
        }
    }

    /// Where the completions of a listener go.
    pub fn reports(&self, slot: u32) -> Option<(u8, Tag)> {
        self.get(slot).map(|state| (state.queue, state.tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str) -> ListenerState {
        ListenerState::new(address.parse().unwrap(), ListenOptions::default(), 0, Tag(0))
    }

    #[test]
    fn what_was_found_last_is_found_as_long_as_it_is_right() {
        // Shows that a listener of the very address is found as soon as there is one, and the one of every address, or none,
        // as soon as there is not.
        let mut listeners = Listeners::new(KeyedHash::new([1, 2]));
        let local = "10.0.0.1:80".parse().unwrap();
        assert_eq!(listeners.find(local), None);
        listeners.insert(3, listener("0.0.0.0:80"));
        assert_eq!([listeners.find(local), listeners.find(local)], [Some(3); 2]);
        listeners.insert(5, listener("10.0.0.1:80"));
        assert_eq!(
            [listeners.find(local), listeners.find("10.0.0.2:80".parse().unwrap())],
            [Some(5), Some(3)]
        );
        assert!(listeners.remove(5).is_some() && listeners.remove(5).is_none());
        assert_eq!(listeners.find(local), Some(3));
        assert!(listeners.remove(3).is_some());
        assert_eq!((listeners.find(local), listeners.get(3).is_none()), (None, true));
    }
}
