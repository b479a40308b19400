//! What single destinations' ways take, as routers have told (RFC 1191): bounded, and forgotten in time.
//! Which messages are believed is the engine's.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;

use hashbrown::HashMap;

use super::KeyedHash;
use crate::time::Instant;

/// Destinations that are remembered: 64 bytes each. One more makes the one learnt first be forgotten.
pub const ENTRIES_MAX: usize = 4096;

/// How long what was learnt is believed: the way may have become wider.
//= https://www.rfc-editor.org/rfc/rfc1191#section-3
//# An attempt to
//# detect an increase (by sending a datagram larger than the current
//# estimate) MUST NOT be done less than 5 minutes after a Datagram Too
pub const AGE: Duration = Duration::from_mins(10);

/// The least that routers are believed to ask for, as on Linux (`net.ipv4.route.min_pmtu`): whoever can forge a message
/// could else have connections send dust. Packets for a way that takes less go no smaller, and routers may cut them.
/// Units: bytes, with IP header.
pub const PATH_MTU_MIN: u16 = 552;

/// The least that every way of IPv6 takes (RFC 8200 section 5). Units: bytes, with IP header.
pub const PATH_MTU_MIN_IPV6: u16 = 1280;

/// The least path MTU that is believed of a destination. Units: bytes, with IP header.
#[must_use]
pub const fn least(destination: IpAddr) -> u16 {
    match destination {
        IpAddr::V4(_) => PATH_MTU_MIN,
        IpAddr::V6(_) => PATH_MTU_MIN_IPV6,
    }
}

/// What is known of the way to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its largest packet. Units: bytes, with IP header.
    pub mtu: u16,
    /// It is said to take less than we are ready to send: routers may cut our packets.
    pub fragments: bool,
}

/// What was learnt last of a destination.
#[derive(Clone, Copy, Debug)]
struct Entry {
    known: Known,
    at: Instant,
    lesson: u64,
}

/// The path MTUs that differ from the interface's.
#[derive(Debug)]
pub struct PathMtus {
    entries: HashMap<IpAddr, Entry, KeyedHash>,
    /// When each was learnt and by which lesson, oldest first; also of those that were learnt anew since.
    learnt: VecDeque<(Instant, u64, IpAddr)>,
    lessons: u64,
    max: usize,
}

impl PathMtus {
    /// Nothing is known; at most `max` destinations will be.
    #[must_use]
    pub fn new(max: usize, hash: KeyedHash) -> PathMtus {
        PathMtus { entries: HashMap::with_hasher(hash), learnt: VecDeque::new(), lessons: 0, max: max.max(1) }
    }

    /// A router takes packets of `mtu` bytes at most to a destination. False if that is nothing new.
    pub fn learn(&mut self, destination: IpAddr, mtu: u16, now: Instant) -> bool {
        let known = Known { mtu: mtu.max(least(destination)), fragments: mtu < least(destination) };
        //= https://www.rfc-editor.org/rfc/rfc1191#section-3
        //# A host MUST not increase its estimate of the Path MTU in response to
        //# the contents of a Datagram Too Big message.
        let before = self.of(destination, now);
        if before.is_some_and(|before| before.mtu <= known.mtu && before.fragments >= known.fragments) {
            return false;
        }
        // What our own packets have shown to pass stays the measure.
        let mtu = before.map_or(known.mtu, |before| before.mtu.min(known.mtu));
        self.insert(destination, Known { mtu, ..known }, now);
        true
    }

    /// Our own packets have shown that those of `mtu` bytes reach a destination, where larger ones did not; with
    /// `u16::MAX`, that all do. False if that is nothing new.
    //= https://www.rfc-editor.org/rfc/rfc4821#section-5.2
    //# The IP layer SHOULD be used to store the cached PMTU value and other
    //# shared state such as MTU values reported by ICMP PTB messages.
    pub fn find(&mut self, destination: IpAddr, mtu: u16, now: Instant) -> bool {
        let before = self.of(destination, now);
        if mtu == u16::MAX {
            return self.entries.remove(&destination).is_some() && before.is_some();
        }
        let fragments = before.is_some_and(|before| before.fragments);
        if before.is_some_and(|before| before.mtu == mtu) {
            return false;
        }
        self.insert(destination, Known { mtu, fragments }, now);
        true
    }

    fn insert(&mut self, destination: IpAddr, known: Known, now: Instant) {
        self.forget_old(now);
        self.lessons += 1;
        self.entries.insert(destination, Entry { known, at: now, lesson: self.lessons });
        self.learnt.push_back((now, self.lessons, destination));
        while self.entries.len() > self.max || self.learnt.len() > 2 * self.max {
            self.forget_first();
        }
    }

    /// What is known of the way to a destination.
    #[must_use]
    pub fn of(&self, destination: IpAddr, now: Instant) -> Option<Known> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.get(&destination)?;
        (now.saturating_since(entry.at) < AGE).then_some(entry.known)
    }

    /// Destinations that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn forget_old(&mut self, now: Instant) {
        while self.learnt.front().is_some_and(|(at, ..)| now.saturating_since(*at) >= AGE) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((_, lesson, destination)) = self.learnt.pop_front() else { return };
        if self.entries.get(&destination).is_some_and(|entry| entry.lesson == lesson) {
            self.entries.remove(&destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn mtus(max: usize) -> PathMtus {
        PathMtus::new(max, KeyedHash::new([1, 2]))
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc1191#section-3
    //= type=test
    //# A host MUST not increase its estimate of the Path MTU in response to
    //# the contents of a Datagram Too Big message.
    fn estimates_fall_and_age() {
        // Shows that an estimate only falls, never below the least, and that it is forgotten ten minutes after it fell.
        let mut mtus = mtus(8);
        let known = |mtu| Some(Known { mtu, fragments: false });
        assert!(mtus.learn(host(1), 1400, at(0)) && !mtus.learn(host(1), 1450, at(1)));
        assert!(mtus.learn(host(1), 1300, at(300)) && !mtus.learn(host(1), 1300, at(500)));
        assert_eq!((mtus.of(host(1), at(899)), mtus.of(host(1), at(900))), (known(1300), None));
        assert_eq!(mtus.of(host(2), at(0)), None);
        let six = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
        assert!(mtus.learn(six, 1280, at(903)) && mtus.of(six, at(903)) == known(1280));
    }

    #[test]
    fn below_the_least_routers_may_cut() {
        // Shows that a way which is said to take less than we believe gets packets of the least size that may be cut,
        // and that saying so again is no news.
        let mut mtus = mtus(8);
        assert!(mtus.learn(host(1), 1400, at(0)) && mtus.learn(host(1), 551, at(1)));
        let least = Some(Known { mtu: 552, fragments: true });
        assert_eq!(mtus.of(host(1), at(2)), least);
        assert!(!mtus.learn(host(1), 68, at(3)) && !mtus.learn(host(1), 552, at(3)));
        assert!(mtus.learn(host(2), 552, at(4)) && mtus.learn(host(2), 551, at(4)));
        assert_eq!(mtus.of(host(2), at(5)), least);
    }

    #[test]
    fn what_packets_have_shown_counts() {
        // Shows that what was found replaces what was known, either way, below the least too, and that a way on which
        // everything passes is forgotten.
        let mut mtus = mtus(8);
        let of = |mtus: &PathMtus| mtus.of(host(1), at(9)).map(|known| known.mtu);
        assert!(mtus.find(host(1), 1064, at(0)) && !mtus.find(host(1), 1064, at(1)));
        assert!(mtus.find(host(1), 1250, at(2)));
        assert_eq!(of(&mtus), Some(1250));
        assert!(!mtus.learn(host(1), 1400, at(3)), "what is known to vanish stays so");
        assert!(mtus.find(host(1), 296, at(4)) && mtus.learn(host(1), 500, at(5)));
        assert_eq!(mtus.of(host(1), at(6)), Some(Known { mtu: 296, fragments: true }));
        assert!(mtus.find(host(1), u16::MAX, at(7)) && !mtus.find(host(1), u16::MAX, at(8)));
        assert_eq!(of(&mtus), None);
    }

    #[test]
    fn memory_is_bounded() {
        // Shows that one more destination makes the first be forgotten, and that many lessons on one cost no memory.
        let mtu = |mtus: &PathMtus, number| mtus.of(host(number), at(8)).map(|known| known.mtu);
        let mut mtus = mtus(4);
        (0..6).for_each(|number| assert!(mtus.learn(host(number), 1400, at(u64::from(number)))));
        assert_eq!((mtus.len(), mtu(&mtus, 1), mtu(&mtus, 2)), (4, None, Some(1400)));
        (600..1400).rev().for_each(|mtu| assert!(mtus.learn(host(9), mtu, at(7))));
        assert!(mtus.len() <= 4 && mtus.learnt.len() <= 8);
        assert_eq!(mtu(&mtus, 9), Some(600));
    }
}
