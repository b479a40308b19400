//! The UDP sockets of a lane: their ports, their peers, and whose a datagram is. Datagrams themselves are in `udp`.
//!
//! A socket with a peer is found by both ends, before any that is merely bound to its port. Other lanes hear of it if
//! datagrams of its peer might stop there: if its port was asked for and not drawn, so that they may arrive there, or if
//! somebody there is bound to that port. A port that was drawn is one whose datagrams come to this lane.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hashbrown::HashMap;

use super::Engine;
use super::flows::Kind;
use crate::buffer::Waiting;
use crate::ip::KeyedHash;
use crate::ip::route::{Class, class_of};
use crate::socket::{Event, LaneId, OpError, Reason, Tag, Udp};
use crate::tcp::isn::Tuple;

/// Whose a datagram is.
pub(super) enum Place {
    /// This socket's.
    Here(u32),
    /// A socket's of that lane, or that lane knows of one.
    There(LaneId),
    /// Nobody's.
    Nowhere,
}

/// One UDP socket.
#[derive(Debug)]
pub(super) struct UdpState {
    /// Where it receives from anybody, while it has no peer.
    bound: SocketAddr,
    /// No other socket may be bound there.
    reserved: bool,
    /// Where it receives.
    local: SocketAddr,
    peer: Option<SocketAddr>,
    /// The other lanes know of both ends.
    told: bool,
    pub queue: u8,
    pub tag: Tag,
    pub waiting: Waiting,
    pub held: usize,
    pub queued: bool,
}

impl UdpState {
    fn tuple(&self) -> Option<Tuple> {
        Some(Tuple { local: self.local, remote: self.peer? })
    }

    /// It receives from anybody.
    fn is_open(&self) -> bool {
        self.reserved && self.peer.is_none()
    }
}

/// The UDP sockets of a lane.
#[derive(Debug)]
pub struct UdpSockets {
    by_address: HashMap<SocketAddr, u32, KeyedHash>,
    by_ends: HashMap<Tuple, u32, KeyedHash>,
    /// How many sockets with a peer each port has.
    paired_ports: HashMap<u16, u32, KeyedHash>,
    states: Vec<Option<UdpState>>,
}

impl UdpSockets {
    pub fn new(hash: KeyedHash) -> UdpSockets {
        UdpSockets {
            by_address: HashMap::with_hasher(hash),
            by_ends: HashMap::with_hasher(hash),
            paired_ports: HashMap::with_hasher(hash),
            states: Vec::new(),
        }
    }

    fn get(&self, slot: u32) -> Option<&UdpState> {
        self.states.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut UdpState> {
        self.states.get_mut(slot as usize)?.as_mut()
    }

    /// Where a socket's completions go.
    pub fn reports(&self, slot: u32) -> Option<(u8, Tag)> {
        self.get(slot).map(|state| (state.queue, state.tag))
    }

    /// Where a socket receives, and its peer.
    pub fn ends(&self, slot: u32) -> Option<(SocketAddr, Option<SocketAddr>)> {
        self.get(slot).map(|state| (state.local, state.peer))
    }

    /// A datagram has come back from the application.
    pub fn give_back(&mut self, slot: u32) {
        if let Some(state) = self.get_mut(slot) {
            state.held = state.held.saturating_sub(1);
        }
    }

    /// The socket that receives from anybody there.
    fn open_at(&self, local: SocketAddr) -> Option<u32> {
        let open = |slot: &u32| self.get(*slot).is_some_and(UdpState::is_open);
        listening_for(local).find_map(|address| self.by_address.get(&address).copied().filter(open))
    }

    /// No socket may be bound there, for one is.
    fn is_taken(&self, address: SocketAddr) -> bool {
        equals_of(address).any(|address| self.by_address.contains_key(&address))
    }

    fn pair(&mut self, slot: u32, tuple: Tuple, told: bool) {
        let Some(state) = self.get_mut(slot) else { return };
        (state.local, state.peer, state.told) = (tuple.local, Some(tuple.remote), told);
        self.by_ends.insert(tuple, slot);
        *self.paired_ports.entry(tuple.local.port()).or_insert(0) += 1;
    }

    /// Forget a socket's peer. Returns both ends, and whether other lanes know of them.
    fn part(&mut self, slot: u32) -> Option<(Tuple, bool)> {
        let state = self.get_mut(slot)?;
        let (tuple, told) = (state.tuple()?, state.told);
        (state.local, state.peer, state.told) = (state.bound, None, false);
        self.by_ends.remove(&tuple);
        let port = tuple.local.port();
        if let Some(count) = self.paired_ports.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.paired_ports.remove(&port);
            }
        }
        Some((tuple, told))
    }
}

fn plain(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

impl Engine {
    /// Whose a datagram between these ends is, or an error about one.
    pub(super) fn place_of_datagram(&self, tuple: &Tuple) -> Place {
        if let Some(slot) = self.udp.by_ends.get(tuple) {
            return Place::Here(*slot);
        }
        if let Some(lane) = self.paired_elsewhere(tuple) {
            return Place::There(lane);
        }
        if let Some(slot) = self.udp.open_at(tuple.local) {
            return Place::Here(slot);
        }
        self.elsewhere_udp(tuple).map_or(Place::Nowhere, Place::There)
    }

    /// The address that datagrams of a socket leave by. One for every address of IPv6 serves IPv4 as well; all others but
    /// their own version.
    pub(super) fn source_of_datagrams(&self, ip: IpAddr, to: IpAddr) -> Result<IpAddr, OpError> {
        match ip {
            any if any.is_unspecified() && (any.is_ipv6() || to.is_ipv4()) => {
                self.address_towards(to).ok_or(OpError::Unreachable)
            }
            source if source.is_ipv4() == to.is_ipv4() => Ok(source),
            _ => Err(OpError::AddressNotAvailable),
        }
    }

    pub(super) fn bind(&mut self, address: SocketAddr, peer: Option<SocketAddr>, queue: u8, tag: Tag) {
        match self.try_bind(plain(address), peer.map(plain), queue, tag) {
            Ok(slot) => self.tell_bound(slot, queue, tag, true),
            Err(error) => self.fail(None, error, queue, tag),
        }
    }

    fn try_bind(
        &mut self,
        address: SocketAddr,
        peer: Option<SocketAddr>,
        queue: u8,
        tag: Tag,
    ) -> Result<u32, OpError> {
        if self.stopping.is_some() {
            return Err(OpError::Cancelled);
        }
        if !self.is_bindable(address.ip()) {
            return Err(OpError::AddressNotAvailable);
        }
        let local = match peer {
            None => self.choose_address(address)?,
            Some(peer) => self.choose_ends(address, peer)?.local,
        };
        let slot = self.flows.take(Kind::Udp).ok_or(OpError::NoRoom)?;
        let bound = SocketAddr::new(address.ip(), local.port());
        let state = UdpState {
            bound,
            reserved: peer.is_none(),
            local,
            peer: None,
            told: false,
            queue,
            tag,
            waiting: Waiting::EMPTY,
            held: 0,
            queued: false,
        };
        if self.udp.states.len() <= slot as usize {
            self.udp.states.resize_with(slot as usize + 1, || None);
        }
        self.udp.states[slot as usize] = Some(state);
        match peer {
            Some(remote) => self.pair(slot, Tuple { local, remote }, address.port() != 0),
            None => {
                self.udp.by_address.insert(bound, slot);
                self.tell_of_udp(bound, true);
            }
        }
        Ok(slot)
    }

    fn tell_bound(&mut self, slot: u32, queue: u8, tag: Tag, more: bool) {
        let Some((local, peer)) = self.udp.ends(slot) else { return };
        let socket = Udp(self.flows.id(slot));
        self.complete(queue, tag, more, Event::Bound { socket, local, peer });
    }

    /// Where a socket without a peer is to be bound. Lanes draw ports from shares of their own, as long as these last, so
    /// that two do not draw the same one at the same time.
    fn choose_address(&mut self, address: SocketAddr) -> Result<SocketAddr, OpError> {
        if address.port() != 0 {
            return Some(address).filter(|address| !self.udp.is_taken(*address)).ok_or(OpError::AddressInUse);
        }
        let at = |port| SocketAddr::new(address.ip(), port);
        let (lanes, me) = (u16::from(self.config.lanes.max(1)), u16::from(self.lane.0));
        let mut ports = core::mem::take(&mut self.source_ports);
        let free = |port| {
            let paired = self.udp.paired_ports.contains_key(&port);
            !paired && !self.udp.is_taken(at(port)) && !self.is_bound_elsewhere(at(port))
        };
        let port = ports
            .draw(&self.secret, |port| port % lanes == me && free(port))
            .or_else(|| ports.draw(&self.secret, free));
        self.source_ports = ports;
        port.map(at).ok_or(OpError::NoPorts)
    }

    /// Both ends of a socket with a peer.
    fn choose_ends(&mut self, address: SocketAddr, peer: SocketAddr) -> Result<Tuple, OpError> {
        let ip = self.source_towards(address.ip(), peer)?;
        let tuple = |port| Tuple { local: SocketAddr::new(ip, port), remote: peer };
        if address.port() != 0 {
            let tuple = tuple(address.port());
            return Some(tuple).filter(|tuple| self.is_pair_free(tuple)).ok_or(OpError::AddressInUse);
        }
        let mut ports = core::mem::take(&mut self.source_ports);
        let free = |port| {
            let tuple = tuple(port);
            let mut bound = listening_for(tuple.local);
            self.is_home_udp(&tuple)
                && self.is_pair_free(&tuple)
                && !bound.any(|address| self.udp.by_address.contains_key(&address))
                && !self.is_bound_elsewhere(tuple.local)
        };
        let port = ports.draw(&self.secret, free);
        self.source_ports = ports;
        port.map(tuple).ok_or(OpError::NoPorts)
    }

    /// The address by which to exchange datagrams with one peer.
    fn source_towards(&self, ip: IpAddr, peer: SocketAddr) -> Result<IpAddr, OpError> {
        if class_of(peer.ip()) != Class::Unicast || peer.port() == 0 || self.routes.is_local(peer.ip()) {
            return Err(OpError::AddressNotAvailable);
        }
        if self.routes.classify(peer.ip()) == Class::Broadcast {
            return Err(OpError::Unreachable);
        }
        let source = self.source_of_datagrams(ip, peer.ip())?;
        self.address_towards(peer.ip()).map(|_| source).ok_or(OpError::Unreachable)
    }

    fn is_pair_free(&self, tuple: &Tuple) -> bool {
        !self.udp.by_ends.contains_key(tuple) && !self.is_paired_elsewhere(tuple)
    }

    fn pair(&mut self, slot: u32, tuple: Tuple, named: bool) {
        let told = named || self.is_bound_elsewhere(tuple.local);
        self.udp.pair(slot, tuple, told);
        if told {
            self.tell_of_pair(&tuple, true);
        }
    }

    fn part(&mut self, slot: u32) {
        if let Some((tuple, true)) = self.udp.part(slot) {
            self.tell_of_pair(&tuple, false);
        }
    }

    /// Somebody is bound on another lane: there they are to know whom some of that port's datagrams belong to.
    pub(super) fn tell_pairs_at(&mut self, address: SocketAddr) {
        if !self.udp.paired_ports.contains_key(&address.port()) {
            return;
        }
        let mut untold = Vec::new();
        for state in self.udp.states.iter_mut().flatten() {
            if let Some(tuple) = state.tuple()
                && !state.told
                && listening_for(tuple.local).any(|local| local == address)
            {
                state.told = true;
                untold.push(tuple);
            }
        }
        for tuple in untold {
            self.tell_of_pair(&tuple, true);
        }
    }

    /// Give a socket a peer, another one, or none.
    pub(super) fn set_peer(&mut self, socket: Udp, peer: Option<SocketAddr>, queue: u8, tag: Tag) {
        match self.try_set_peer(socket, peer.map(plain)) {
            Ok(slot) => self.tell_bound(slot, queue, tag, false),
            Err(error) => self.fail(Some(socket.0), error, queue, tag),
        }
    }

    fn try_set_peer(&mut self, socket: Udp, peer: Option<SocketAddr>) -> Result<u32, OpError> {
        let (slot, kind) = self.flows.find(socket.0)?;
        if kind != Kind::Udp {
            return Err(OpError::WrongKind);
        }
        let state = self.udp.get(slot).ok_or(OpError::StaleHandle)?;
        let (bound, reserved, before) = (state.bound, state.reserved, state.tuple());
        let Some(peer) = peer else {
            if !reserved && self.udp.is_taken(bound) {
                return Err(OpError::AddressInUse);
            }
            if before.is_some() {
                self.part(slot);
                self.reserve(slot, bound);
            }
            return Ok(slot);
        };
        let local = SocketAddr::new(self.source_towards(bound.ip(), peer)?, bound.port());
        let tuple = Tuple { local, remote: peer };
        if before == Some(tuple) {
            return Ok(slot);
        }
        if !self.is_pair_free(&tuple) {
            return Err(OpError::AddressInUse);
        }
        if before.is_none() {
            self.tell_of_udp(bound, false);
        }
        self.part(slot);
        self.pair(slot, tuple, true);
        self.forget_others(slot, peer);
        Ok(slot)
    }

    /// From now on a socket receives from anybody there.
    fn reserve(&mut self, slot: u32, bound: SocketAddr) {
        if let Some(state) = self.udp.get_mut(slot) {
            state.reserved = true;
        }
        self.udp.by_address.insert(bound, slot);
        self.tell_of_udp(bound, true);
    }

    /// What waits in a socket and is not its peer's goes.
    fn forget_others(&mut self, slot: u32, peer: SocketAddr) {
        let Some(state) = self.udp.get_mut(slot) else { return };
        let mut kept = Waiting::EMPTY;
        while let Some((frame, from)) = self.frames.pop(&mut state.waiting) {
            if from == Some(peer) {
                self.frames.push(&mut kept, frame, from);
            } else {
                state.held = state.held.saturating_sub(1);
            }
        }
        state.waiting = kept;
    }

    /// Close a UDP socket: what waits in it goes.
    pub(super) fn close_udp_socket(&mut self, slot: u32, reason: Reason) {
        self.part(slot);
        let Some(mut state) = self.udp.states.get_mut(slot as usize).and_then(Option::take) else { return };
        if state.reserved {
            self.udp.by_address.remove(&state.bound);
            self.tell_of_udp(state.bound, false);
        }
        while self.frames.pop(&mut state.waiting).is_some() {}
        let socket = self.flows.id(slot);
        self.complete(state.queue, state.tag, false, Event::Closed { socket, reason, unsent: 0 });
        self.flows.release(slot);
    }

    /// Close every UDP socket.
    pub(super) fn close_udp(&mut self) {
        for slot in 0..self.flows.slots() {
            if self.flows.kind(slot) == Kind::Udp {
                self.close_udp_socket(slot, Reason::Stopping);
            }
        }
    }
}

/// The addresses that a socket for a destination may be bound to, best first: itself, every one of its version, and for
/// IPv4 every one of both, which is what IPv6's unspecified address means.
pub(super) fn listening_for(local: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let any = |ip: IpAddr| SocketAddr::new(ip, local.port());
    let four = local.is_ipv4().then(|| any(Ipv4Addr::UNSPECIFIED.into()));
    [Some(local), four, Some(any(Ipv6Addr::UNSPECIFIED.into()))].into_iter().flatten()
}

/// The addresses that no socket beside one bound to `address` may be bound to: itself, and of every address of IPv4 and
/// every one of both versions each other.
pub(super) fn equals_of(address: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let any = |ip: IpAddr| address.ip().is_unspecified().then(|| SocketAddr::new(ip, address.port()));
    [Some(address), any(Ipv4Addr::UNSPECIFIED.into()), any(Ipv6Addr::UNSPECIFIED.into())]
        .into_iter()
        .flatten()
}
