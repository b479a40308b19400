//! Which station a neighbour's address belongs to: one cache that ages as RFC 4861 says, filled by ARP for
//! IPv4 in `arp`, and by neighbour discovery for IPv6 in `discovery`.
//! Next hops are chosen in `route`; the packets that wait here are the engine's, whatever they are.

mod arp;
mod crowd;
mod discovery;

pub use arp::{ADDRESSES_MAX, DEFEND_INTERVAL};
pub use discovery::{Change, RETRANSMIT};

use super::KeyedHash;
use crate::time::Instant;
use crate::wire::arp::{Operation, Packet};
use crate::wire::{DropReason, MacAddress};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Entries, unless configured: a /22 full of neighbours, at about 100 KiB.
pub const ENTRIES_MAX: usize = 1024;
/// Requests for an address, and probes of one, before it has failed (RFC 4861 section 10).
pub const ATTEMPTS_MAX: u8 = 3;
/// Between requests for the same address: RFC 1122 section 2.3.2.1 allows one a second.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stale entry in use waits for TCP's confirmation before it is probed (RFC 4861 section 10).
pub const DELAY_FIRST_PROBE_TIME: Duration = Duration::from_secs(5);
/// Packets that wait for one neighbour at least. Linux keeps 101 where nobody says otherwise (`unres_qlen`).
pub const WAITING_MAX: usize = 128;
/// Between two walks over all entries, so that many deadlines do not cost a walk each.
const WALK_INTERVAL: Duration = Duration::from_millis(10);

/// The bounds and times that an operator may set.
//= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.1
//# If this mechanism involves a timeout, it SHOULD be
//# possible to configure the timeout value.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Config {
    /// Most entries; the default is `ENTRIES_MAX`.
    pub entries_max: usize,
    /// How long a confirmation is good for; 30 s by default (RFC 4861 section 10, REACHABLE_TIME).
    pub reachable_time: Duration,
    /// How long an unused stale entry is kept; ten minutes by default.
    pub unused_time: Duration,
    /// Packets that wait for one neighbour: the SYNs of as many connections begun at once, of which each that is dropped costs
    /// its connection a second. For all neighbours together it is four times as many: whoever makes us look for many may not
    /// have all our frames. The default is `WAITING_MAX`.
    pub waiting_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            entries_max: ENTRIES_MAX,
            reachable_time: Duration::from_secs(30),
            unused_time: Duration::from_mins(10),
            waiting_max: WAITING_MAX,
        }
    }
}

/// What is known about a neighbour, in the words of RFC 4861 section 7.3.2.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum State {
    /// Asked for, not known yet.
    Incomplete,
    /// Known, and confirmed lately.
    Reachable,
    /// Known, not confirmed lately, and not in use.
    Stale,
    /// Stale and in use: probed soon unless something confirms it.
    Delay,
    /// Asked whether it is still there.
    Probe,
    /// Set by the operator: does not age and is not replaced.
    Static,
}

/// What the caller must do.
#[derive(Eq, PartialEq, Debug)]
pub enum Action<P> {
    /// Send this ARP packet to this station.
    Transmit {
        /// The Ethernet destination.
        to: MacAddress,
        /// What to send.
        packet: Packet,
    },
    /// Ask for this neighbour by a neighbour solicitation.
    Solicit {
        /// The neighbour's station, when it is asked whether it is still there; else the group that it is in is asked.
        to: Option<MacAddress>,
        /// Which of our addresses asks.
        source: Ipv6Addr,
        /// The neighbour.
        target: Ipv6Addr,
    },
    /// Send this packet, which waited, to this station.
    Release {
        /// The packet.
        packet: P,
        /// The Ethernet destination.
        to: MacAddress,
    },
    /// This packet goes no further.
    ///
    /// `NeighbourFailed`: the host is unreachable, and the packet's flow should know. `NeighbourQueueFull`: a
    /// later packet, or another neighbour, took its place.
    Failed {
        /// The packet.
        packet: P,
        /// The neighbour.
        address: IpAddr,
        /// Why.
        reason: DropReason,
    },
}

/// Times that a link's routers may set (RFC 4861 section 6.3.2).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
struct LinkTimes {
    reachable: Duration,
    retransmit: Duration,
}

#[derive(Debug)]
struct Entry<P> {
    address: IpAddr,
    /// Which of our addresses asks.
    source: IpAddr,
    mac: MacAddress,
    state: State,
    /// It has said that it is a router.
    router: bool,
    attempts: u8,
    /// When something happens without a packet; what, depends on the state.
    deadline: Instant,
    /// When a packet last went there, or the entry was made.
    used: Instant,
    waiting: VecDeque<P>,
}

/// The neighbours of one interface, and our own addresses there. `P` is a packet that can wait.
#[derive(Debug)]
pub struct Cache<P> {
    mac: MacAddress,
    addresses: Vec<Ipv4Addr>,
    entries: Vec<Entry<P>>,
    index: HashMap<IpAddr, usize, KeyedHash>,
    config: Config,
    /// What routers have said of the link's times, for IPv6 alone.
    link: LinkTimes,
    /// Packets that wait, for all neighbours together.
    waiting: usize,
    /// Entries that are not resolved.
    unresolved: usize,
    /// Where the next search for an entry to go begins.
    hand: usize,
    /// Entries looked at in such searches.
    #[cfg(test)]
    looked_at: usize,
    /// No entry's deadline is before this.
    next: Instant,
    walked: Instant,
    defended: Option<Instant>,
}

impl<P> Cache<P> {
    /// An empty cache for the interface with this station address.
    #[must_use]
    pub fn new(mac: MacAddress, config: Config, hash: KeyedHash) -> Self {
        let entries_max = config.entries_max.max(1);
        Self {
            mac,
            addresses: Vec::new(),
            entries: Vec::with_capacity(entries_max),
            index: HashMap::with_capacity_and_hasher(entries_max, hash),
            config: Config { entries_max, ..config },
            link: LinkTimes { reachable: config.reachable_time, retransmit: RETRY_INTERVAL },
            next: Instant::FOREVER,
            walked: Instant::ZERO,
            defended: None,
            waiting: 0,
            unresolved: 0,
            hand: 0,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// Sets a neighbour's station for good; false if there is no room.
    pub fn add_static(
        &mut self,
        address: IpAddr,
        mac: MacAddress,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> bool {
        let Some(at) = self.find_or_insert(address, address, now, out) else { return false };
        self.resolved(at, mac, State::Static, now, out);
        true
    }

    /// Forgets a neighbour; a packet that waits for it fails.
    pub fn remove(&mut self, address: IpAddr, out: &mut Vec<Action<P>>) {
        if let Some(at) = self.index.get(&address).copied() {
            self.take_out(at, DropReason::NeighbourFailed, out);
        }
    }

    /// How many neighbours there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known about a neighbour.
    #[must_use]
    pub fn state(&self, address: IpAddr) -> Option<State> {
        self.entries.get(*self.index.get(&address)?).map(|entry| entry.state)
    }

    /// The station to send to, if it is known; a stale one is used, and checked before long.
    ///
    /// With `None`, hand the packet to `hold`.
    pub fn resolve(&mut self, address: IpAddr, now: Instant) -> Option<MacAddress> {
        let entry = self.entries.get_mut(*self.index.get(&address)?)?;
        entry.used = now;
        match entry.state {
            State::Incomplete => return None,
            State::Stale => {
                entry.state = State::Delay;
                entry.deadline = now.saturating_add(DELAY_FIRST_PROBE_TIME);
                self.next = self.next.min(entry.deadline);
            }
            State::Reachable | State::Delay | State::Probe | State::Static => {}
        }
        Some(entry.mac)
    }

    /// Keeps a packet until its neighbour is resolved, and asks for it as `source`.
    ///
    /// Of many packets for one neighbour the latest are kept. If the neighbour is known, it is released at once.
    pub fn hold(
        &mut self,
        address: IpAddr,
        source: IpAddr,
        packet: P,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) {
        if let Some(to) = self.resolve(address, now) {
            out.push(Action::Release { packet, to });
            return;
        }
        let found = match self.index.get(&address) {
            None if self.is_crowded() => None,
            _ => self.find_or_insert(address, source, now, out),
        };
        let Some(at) = found else {
            out.push(Action::Failed { packet, address, reason: DropReason::NeighbourQueueFull });
            return;
        };
        let Some(entry) = self.entries.get_mut(at) else { return };
        //= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.2
        //# The link layer SHOULD save (rather than discard) at least
        //# one (the latest) packet of each set of packets destined to
        //# the same unresolved IP address
        entry.waiting.push_back(packet);
        self.waiting += 1;
        let most = self.config.waiting_max;
        if entry.waiting.len() > most || self.waiting > 4 * most {
            self.waiting -= 1;
            let oldest = entry.waiting.pop_front();
            let reason = DropReason::NeighbourQueueFull;
            out.extend(oldest.map(|packet| Action::Failed { packet, address, reason }));
        }
        if entry.attempts == 0 {
            self.ask(at, now, out);
        }
    }

    /// A higher layer made progress with this neighbour, so it is there.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.3.1
    //# thus, "forward progress" is a confirmation that the next-hop neighbor is
    //# reachable.
    pub fn confirm(&mut self, address: IpAddr, now: Instant) {
        let reachable = self.reachable_time(address);
        let Some(entry) = self.index.get(&address).and_then(|at| self.entries.get_mut(*at)) else { return };
        if !matches!(entry.state, State::Incomplete | State::Static) {
            entry.state = State::Reachable;
            entry.attempts = 0;
            entry.deadline = now.saturating_add(reachable);
            self.next = self.next.min(entry.deadline);
        }
    }

    /// When `advance` has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        (self.next != Instant::FOREVER).then(|| self.next.max(self.walked.saturating_add(WALK_INTERVAL)))
    }

    /// Does what is due: asks again, probes, ages, gives up.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Action<P>>) {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.walked = now;
        self.next = Instant::FOREVER;
        // Backwards: what is removed is replaced by the last, which has been seen.
        for at in (0..self.entries.len()).rev() {
            let Some(entry) = self.entries.get_mut(at) else { continue };
            if entry.deadline > now {
                self.next = self.next.min(entry.deadline);
                continue;
            }
            match entry.state {
                State::Static => {}
                State::Reachable => {
                    entry.state = State::Stale;
                    entry.deadline = now.max(entry.used.saturating_add(self.config.unused_time));
                    self.next = self.next.min(entry.deadline);
                }
                //= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.1
                //# An implementation of the Address Resolution Protocol (ARP)
                //# [LINK:2] MUST provide a mechanism to flush out-of-date cache
                //# entries.
                State::Stale => self.take_out(at, DropReason::NeighbourFailed, out),
                State::Incomplete | State::Probe if entry.attempts >= ATTEMPTS_MAX => {
                    self.take_out(at, DropReason::NeighbourFailed, out);
                }
                State::Incomplete | State::Probe => self.ask(at, now, out),
                State::Delay => {
                    entry.state = State::Probe;
                    entry.attempts = 0;
                    self.ask(at, now, out);
                }
            }
        }
    }

    /// Takes back every packet that waits, when the interface goes.
    pub fn clear(&mut self, out: &mut Vec<Action<P>>) {
        while let Some(last) = self.entries.len().checked_sub(1) {
            self.take_out(last, DropReason::NeighbourFailed, out);
        }
        self.next = Instant::FOREVER;
    }

    fn resolved(&mut self, at: usize, mac: MacAddress, state: State, now: Instant, out: &mut Vec<Action<P>>) {
        let Some(address) = self.entries.get(at).map(|entry| entry.address) else { return };
        let reachable = self.reachable_time(address);
        let Some(entry) = self.entries.get_mut(at) else { return };
        self.unresolved -= usize::from(entry.state == State::Incomplete);
        entry.mac = mac;
        entry.attempts = 0;
        let waiting = core::mem::take(&mut entry.waiting);
        self.waiting -= waiting.len();
        (entry.state, entry.deadline) = match (state, waiting.is_empty()) {
            (State::Static, _) => (State::Static, Instant::FOREVER),
            (State::Reachable, _) => (State::Reachable, now.saturating_add(reachable)),
            // A packet leaves for it now: it is in use.
            (_, false) => (State::Delay, now.saturating_add(DELAY_FIRST_PROBE_TIME)),
            (_, true) => (State::Stale, now.saturating_add(self.config.unused_time)),
        };
        self.next = self.next.min(entry.deadline);
        out.extend(waiting.into_iter().map(|packet| Action::Release { packet, to: mac }));
    }

    /// Sends the next request: to all, or to the station itself when probing.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.1
    //# A mechanism to prevent ARP flooding (repeatedly sending an
    //# ARP Request for the same IP address, at a high rate) MUST be
    //# included.
    fn ask(&mut self, at: usize, now: Instant, out: &mut Vec<Action<P>>) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let retry = if entry.address.is_ipv4() { RETRY_INTERVAL } else { self.link.retransmit };
        entry.attempts += 1;
        entry.deadline = now.saturating_add(retry);
        self.next = self.next.min(entry.deadline);
        if let (IpAddr::V6(source), IpAddr::V6(target)) = (entry.source, entry.address) {
            let to = (entry.state == State::Probe).then_some(entry.mac);
            out.push(Action::Solicit { to, source, target });
        }
        if let (IpAddr::V4(sender), IpAddr::V4(target)) = (entry.source, entry.address) {
            let to = if entry.state == State::Probe { entry.mac } else { MacAddress::BROADCAST };
            let packet = Packet {
                operation: Operation::Request,
                sender_mac: self.mac,
                sender,
                target_mac: MacAddress::ZERO,
                target,
            };
            out.push(Action::Transmit { to, packet });
        }
    }

    /// The entry's place, made if there is none; `None` if all places are static.
    fn find_or_insert(
        &mut self,
        address: IpAddr,
        source: IpAddr,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Option<usize> {
        if let Some(at) = self.index.get(&address) {
            return Some(*at);
        }
        if self.entries.len() >= self.config.entries_max {
            let victim = self.victim()?;
            self.take_out(victim, DropReason::NeighbourQueueFull, out);
        }
        let at = self.entries.len();
        self.unresolved += 1;
        self.entries.push(Entry {
            address,
            source,
            mac: MacAddress::ZERO,
            state: State::Incomplete,
            router: false,
            attempts: 0,
            deadline: Instant::FOREVER,
            used: now,
            waiting: VecDeque::new(),
        });
        self.index.insert(address, at);
        Some(at)
    }

    fn take_out(&mut self, at: usize, reason: DropReason, out: &mut Vec<Action<P>>) {
        if at >= self.entries.len() {
            return;
        }
        let entry = self.entries.swap_remove(at);
        self.unresolved -= usize::from(entry.state == State::Incomplete);
        self.index.remove(&entry.address);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(moved.address, at);
        }
        self.waiting -= entry.waiting.len();
        let address = entry.address;
        out.extend(entry.waiting.into_iter().map(|packet| Action::Failed { packet, address, reason }));
    }
}

#[cfg(test)]
mod tests;
