//! The part that few connections have: from a slab of the lane, once one of them is asked for more than the others.

use super::history::History;
use super::mtu::Search;
use super::options;
use super::send::NONE;
use super::tally::Tally;
use super::ticks::Ticks;
use super::urgent::Urgent;
use crate::socket::StreamOptions;
use crate::wire::tcp::SeqNum;

/// What hardly any connection needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rare {
    /// What it does otherwise than the configuration says.
    pub options: StreamOptions,
    /// What it knows of urgent data.
    pub urgent: Urgent,
    /// Which sizes of segments pass.
    pub search: Search,
    /// What was learnt of the path while something was amiss.
    pub history: History,
    /// What the other parts have no room to count.
    pub tally: Tally,
    /// Highest sequence sent when loss was last found (RFC 6582).
    pub recover: SeqNum,
    /// Since when the peer owes an acknowledgement.
    pub unanswered_since: Ticks,
    /// When a keepalive probe is due.
    pub keepalive_at: Ticks,
    /// Keepalive's idle time. Units: seconds; eighteen hours at most.
    pub keepalive_idle_s: u16,
    /// Keepalive probes in a row.
    pub probes: u8,
    /// Which troubles the application was told of since the peer last acknowledged something new: a bit each.
    pub troubles: u8,
    /// Why it ended.
    pub reason: u8,
    /// Bytes that were never acknowledged, once the connection has ended.
    pub unsent: u32,
}

impl Rare {
    /// Of a connection that has none: nothing in it was ever changed.
    pub const NONE: Rare = Rare {
        options: options::NONE,
        urgent: Urgent { received: None, sending: None, pushed: None },
        search: Search::NEW,
        history: History::NEW,
        tally: Tally::NEW,
        recover: SeqNum(0),
        unanswered_since: Ticks::OFF,
        keepalive_at: Ticks::OFF,
        keepalive_idle_s: 0,
        probes: 0,
        troubles: 0,
        reason: 0,
        unsent: 0,
    };
}

/// Rare parts of a lane, in a slab.
#[derive(Debug, Default)]
pub struct Rares {
    slots: Vec<Rare>,
    free: Vec<u32>,
}

impl Rares {
    /// The part of an index.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Rare> {
        self.slots.get(index as usize)
    }

    /// The part of an index, for changing.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Rare> {
        self.slots.get_mut(index as usize)
    }

    /// The part of an index, which is made where there is none yet, and then begins with `new`.
    pub fn obtain(&mut self, index: &mut u32, new: impl FnOnce() -> Rare) -> &mut Rare {
        if *index == NONE {
            *index = self.free.pop().unwrap_or_else(|| {
                self.slots.push(Rare::NONE);
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            });
            self.slots[*index as usize] = new();
        }
        &mut self.slots[*index as usize]
    }

    /// Give a part back, if there is one.
    pub fn remove(&mut self, index: &mut u32) {
        if *index != NONE {
            self.free.push(core::mem::replace(index, NONE));
        }
    }
}
