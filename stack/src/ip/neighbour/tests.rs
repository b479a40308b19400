//! Each rule of the cache, in virtual time.

use super::crowd::CANDIDATES;
use super::*;

type Actions = Vec<Action<u32>>;

const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEIR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const OTHER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const THEM: IpAddr = IpAddr::V4(THEIRS);
const US: IpAddr = IpAddr::V4(OURS);

fn at(millis: u64) -> Instant {
    Instant(millis * 1_000_000)
}

fn cache(entries_max: usize) -> Cache<u32> {
    let mut cache = Cache::new(OUR_MAC, Config { entries_max, ..Config::default() }, KeyedHash::new([1, 2]));
    assert!(cache.add_address(OURS, &mut Vec::new()));
    cache
}

fn arp(operation: Operation, sender_mac: MacAddress, sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
    Packet { operation, sender_mac, sender, target_mac: MacAddress::ZERO, target }
}

fn reply() -> Packet {
    arp(Operation::Reply, THEIR_MAC, THEIRS, OURS)
}

fn request_to(to: MacAddress) -> Action<u32> {
    Action::Transmit { to, packet: arp(Operation::Request, OUR_MAC, OURS, THEIRS) }
}

/// Lets virtual time pass; what happened, and when (in milliseconds).
fn run_until(cache: &mut Cache<u32>, end: Instant) -> Vec<(u64, Action<u32>)> {
    let mut seen = Vec::new();
    while let Some(now) = cache.next_deadline().filter(|deadline| *deadline <= end) {
        let mut out = Vec::new();
        cache.advance(now, &mut out);
        seen.extend(out.into_iter().map(|action| (now.0 / 1_000_000, action)));
    }
    seen
}

/// A cache in which they are known and confirmed at time zero.
fn resolved() -> Cache<u32> {
    let mut cache = cache(8);
    let mut out = Vec::new();
    cache.hold(THEM, US, 1, at(0), &mut out);
    cache.receive(&reply(), at(0), &mut out).unwrap();
    assert_eq!(cache.state(THEM), Some(State::Reachable));
    cache
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.2
//= type=test
//# The link layer SHOULD save (rather than discard) at least
//# one (the latest) packet of each set of packets destined to
//# the same unresolved IP address
fn the_latest_packets_wait_and_are_released() {
    // Shows one request for two packets more than wait, the oldest two dropped, the others released in order by the reply.
    let mut cache = cache(8);
    let mut out = Vec::new();
    let packets = u16::try_from(WAITING_MAX).unwrap() + 2;
    (1..=packets).for_each(|packet| cache.hold(THEM, US, packet.into(), at(u64::from(packet)), &mut out));
    let displaced = |packet| Action::Failed { packet, address: THEM, reason: DropReason::NeighbourQueueFull };
    assert_eq!(out, [request_to(MacAddress::BROADCAST), displaced(1), displaced(2)]);
    out.clear();
    assert_eq!(cache.receive(&reply(), at(20), &mut out), Ok(()));
    let released: Vec<_> =
        (3..=packets).map(|packet| Action::Release { packet: packet.into(), to: THEIR_MAC }).collect();
    assert_eq!(out, released);
    assert_eq!(cache.resolve(THEM, at(21)), Some(THEIR_MAC));
}

#[test]
fn all_that_waits_together_is_bounded() {
    // Shows that 200 unknown neighbours hold no more packets than the bound: the latest still waits, an older one of
    // its neighbour's goes, and all come back when they are given up.
    let mut cache = cache(1024);
    let mut out = Vec::new();
    for number in 0..4 * WAITING_MAX + 100 {
        let host = u8::try_from(number % 200).unwrap();
        cache.hold(IpAddr::from([10, 0, 1, host]), US, 7, at(0), &mut out);
    }
    let failed = out.iter().filter(|action| matches!(action, Action::Failed { .. })).count();
    assert_eq!(failed, 100);
    out.clear();
    cache.clear(&mut out);
    let waited = out.iter().filter(|action| matches!(action, Action::Failed { .. })).count();
    assert_eq!(waited, 4 * WAITING_MAX);
}

#[test]
fn what_another_lane_has_heard_is_believed() {
    // Shows that a neighbour learnt so is known at once and what waited for it goes, but that our own addresses are not
    // taken over.
    let mut cache = cache(8);
    let mut out = Vec::new();
    cache.learn(&reply(), at(0), &mut out);
    assert_eq!(cache.resolve(THEM, at(1)), Some(THEIR_MAC));
    cache.learn(&Packet { sender: OURS, ..reply() }, at(2), &mut out);
    assert_eq!(cache.resolve(US, at(3)), None);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.1
//= type=test
//# A mechanism to prevent ARP flooding (repeatedly sending an
//# ARP Request for the same IP address, at a high rate) MUST be
//# included.
fn three_requests_a_second_apart_then_failure() {
    // Shows the retries in virtual time, the failure, and that a new packet starts anew.
    let mut cache = cache(8);
    let mut out = Vec::new();
    cache.hold(THEM, US, 7, at(0), &mut out);
    assert_eq!(out, [request_to(MacAddress::BROADCAST)]);
    let failed = Action::Failed { packet: 7, address: THEM, reason: DropReason::NeighbourFailed };
    assert_eq!(
        run_until(&mut cache, at(60_000)),
        [
            (1000, request_to(MacAddress::BROADCAST)),
            (2000, request_to(MacAddress::BROADCAST)),
            (3000, failed)
        ]
    );
    assert!(cache.is_empty() && cache.next_deadline().is_none());
    out.clear();
    cache.hold(THEM, US, 8, at(3000), &mut out);
    assert_eq!(out, [request_to(MacAddress::BROADCAST)]);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.1
//= type=test
//# An implementation of the Address Resolution Protocol (ARP)
//# [LINK:2] MUST provide a mechanism to flush out-of-date cache
//# entries.
fn unused_entries_age() {
    // Shows reachable, stale after thirty seconds, gone ten minutes after the last use.
    let mut cache = resolved();
    assert!(run_until(&mut cache, at(29_999)).is_empty());
    assert_eq!(cache.state(THEM), Some(State::Reachable));
    assert!(run_until(&mut cache, at(30_000)).is_empty());
    assert_eq!(cache.state(THEM), Some(State::Stale));
    assert!(run_until(&mut cache, at(599_999)).is_empty());
    assert_eq!(cache.len(), 1);
    assert!(run_until(&mut cache, at(600_000)).is_empty());
    assert!(cache.is_empty());
}

#[test]
fn a_stale_entry_in_use_is_probed() {
    // Shows use, five seconds of grace, three unicast probes, removal; and a reply that saves it.
    let mut cache = resolved();
    run_until(&mut cache, at(40_000));
    assert_eq!(cache.resolve(THEM, at(40_000)), Some(THEIR_MAC));
    assert_eq!(cache.state(THEM), Some(State::Delay));
    let probe = || request_to(THEIR_MAC);
    assert_eq!(run_until(&mut cache, at(45_500)), [(45_000, probe())]);
    assert_eq!(cache.resolve(THEM, at(45_500)), Some(THEIR_MAC));
    cache.receive(&reply(), at(45_600), &mut Vec::new()).unwrap();
    assert_eq!(cache.state(THEM), Some(State::Reachable));
    assert!(run_until(&mut cache, at(76_000)).is_empty());
    cache.resolve(THEM, at(76_000));
    assert_eq!(run_until(&mut cache, at(90_000)), [(81_000, probe()), (82_000, probe()), (83_000, probe())]);
    assert!(cache.is_empty());
}

#[test]
fn progress_confirms() {
    // Shows that TCP's progress spares the probe, and does nothing for one that is not known.
    let mut cache = resolved();
    run_until(&mut cache, at(40_000));
    cache.resolve(THEM, at(40_000));
    cache.confirm(THEM, at(41_000));
    assert!(run_until(&mut cache, at(70_999)).is_empty());
    assert_eq!(cache.state(THEM), Some(State::Reachable));
    let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 77));
    cache.confirm(other, at(0));
    cache.hold(other, US, 1, at(71_000), &mut Vec::new());
    cache.confirm(other, at(71_000));
    assert_eq!(cache.state(other), Some(State::Incomplete));
}

#[test]
fn requests_for_our_addresses_are_answered() {
    // Shows an answer for each address of ours, what is learnt from asking, and silence for others.
    let mut cache = cache(8);
    let second = Ipv4Addr::new(10, 0, 0, 9);
    let mut out: Actions = Vec::new();
    assert!(cache.add_address(second, &mut out));
    let announcement = arp(Operation::Request, OUR_MAC, second, second);
    assert_eq!(out, [Action::Transmit { to: MacAddress::BROADCAST, packet: announcement }]);
    for ours in [OURS, second] {
        out.clear();
        cache.receive(&arp(Operation::Request, THEIR_MAC, THEIRS, ours), at(0), &mut out).unwrap();
        let mut packet = arp(Operation::Reply, OUR_MAC, ours, THEIRS);
        packet.target_mac = THEIR_MAC;
        assert_eq!(out, [Action::Transmit { to: THEIR_MAC, packet }]);
    }
    assert_eq!(cache.state(THEM), Some(State::Stale));
    out.clear();
    let other = arp(Operation::Request, OTHER_MAC, Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4));
    assert_eq!(cache.receive(&other, at(0), &mut out), Err(DropReason::ArpNotForUs));
    assert!(out.is_empty() && cache.len() == 1);
    cache.remove_address(second, &mut out);
    let asks = arp(Operation::Request, OTHER_MAC, Ipv4Addr::new(10, 0, 0, 3), second);
    assert_eq!(cache.receive(&asks, at(0), &mut out), Err(DropReason::ArpNotForUs));
}

#[test]
fn probes_are_answered_and_teach_nothing() {
    // Shows an RFC 5227 probe for our address: answered, but 0.0.0.0 is no neighbour.
    let mut cache = cache(8);
    let mut out: Actions = Vec::new();
    cache.receive(&arp(Operation::Request, THEIR_MAC, Ipv4Addr::UNSPECIFIED, OURS), at(0), &mut out).unwrap();
    assert_eq!(out.len(), 1);
    assert!(cache.is_empty());
}

#[test]
fn gratuitous_packets_update_only_what_is_known() {
    // Shows an announcement ignored for strangers, moving a known neighbour, and never a static one.
    let mut out: Actions = Vec::new();
    let announcement = arp(Operation::Request, OTHER_MAC, THEIRS, THEIRS);
    let mut empty = cache(8);
    assert_eq!(empty.receive(&announcement, at(0), &mut out), Err(DropReason::ArpNotForUs));
    let unasked = arp(Operation::Reply, THEIR_MAC, THEIRS, OURS);
    assert_eq!(empty.receive(&unasked, at(0), &mut out), Err(DropReason::ArpNotForUs));
    assert!(empty.is_empty());
    let mut known = resolved();
    assert_eq!(known.receive(&announcement, at(1), &mut out), Ok(()));
    assert_eq!((known.state(THEM), known.resolve(THEM, at(2))), (Some(State::Stale), Some(OTHER_MAC)));
    let mut fixed = cache(8);
    assert!(fixed.add_static(THEM, THEIR_MAC, at(0), &mut out));
    assert_eq!(fixed.receive(&announcement, at(1), &mut out), Ok(()));
    run_until(&mut fixed, at(10_000_000));
    assert_eq!((fixed.state(THEM), fixed.resolve(THEM, at(3))), (Some(State::Static), Some(THEIR_MAC)));
    assert!(out.is_empty());
}

#[test]
fn conflicts_are_told_and_defended() {
    // Shows another station with our address: counted, answered once in ten seconds, never learnt.
    let mut cache = cache(8);
    let mut out: Actions = Vec::new();
    let claim = arp(Operation::Reply, THEIR_MAC, OURS, THEIRS);
    for (millis, announcements) in [(0, 1), (9_999, 1), (10_000, 2)] {
        assert_eq!(cache.receive(&claim, at(millis), &mut out), Err(DropReason::ArpConflict));
        assert_eq!(out.len(), announcements);
    }
    let own = arp(Operation::Request, OUR_MAC, OURS, OURS);
    assert_eq!(cache.receive(&own, at(10_001), &mut out), Err(DropReason::ArpNotForUs));
    assert!(out.len() == 2 && cache.is_empty());
}

#[test]
fn the_table_is_bounded() {
    // Shows whom a newcomer replaces: the unresolved, then the longest unused, never the static.
    let host = |n: u8| Ipv4Addr::new(10, 0, 1, n);
    let mut cache = cache(3);
    let mut out: Actions = Vec::new();
    assert!(cache.add_static(host(1).into(), OTHER_MAC, at(0), &mut out));
    let known = arp(Operation::Request, THEIR_MAC, host(2), OURS);
    cache.receive(&known, at(1), &mut out).unwrap();
    cache.hold(host(3).into(), US, 3, at(2), &mut out);
    out.clear();
    cache.hold(host(4).into(), US, 4, at(3), &mut out);
    let evicted =
        Action::Failed { packet: 3, address: host(3).into(), reason: DropReason::NeighbourQueueFull };
    assert_eq!(out.first(), Some(&evicted));
    cache.receive(&arp(Operation::Reply, THEIR_MAC, host(4), OURS), at(4), &mut out).unwrap();
    cache.resolve(host(2).into(), at(5));
    cache.hold(host(5).into(), US, 5, at(6), &mut out);
    assert_eq!(cache.state(host(4).into()), None);
    assert!(cache.state(host(1).into()).is_some() && cache.state(host(2).into()).is_some());
    out.clear();
    cache.clear(&mut out);
    assert_eq!(out.len(), 1);
    assert!(cache.is_empty() && cache.next_deadline().is_none());
    let mut full =
        Cache::new(OUR_MAC, Config { entries_max: 1, ..Config::default() }, KeyedHash::new([1, 2]));
    assert!(full.add_static(host(1).into(), OTHER_MAC, at(0), &mut out));
    out.clear();
    full.hold(host(2).into(), US, 9, at(0), &mut out);
    assert!(matches!(out.as_slice(), [Action::Failed { packet: 9, .. }]));
}

#[test]
fn the_longest_unused_of_the_first_goes_first() {
    // Shows a full cache whose neighbours came one after the other: the first newcomer takes the place of the first.
    let mut cache = cache(64);
    let mut out: Actions = Vec::new();
    let host = |n: u8| Ipv4Addr::new(10, 0, 1, n);
    for n in 0..65 {
        assert!((0..n.min(64)).all(|n| cache.state(host(n).into()) == Some(State::Stale)));
        cache.receive(&arp(Operation::Request, THEIR_MAC, host(n), OURS), at(n.into()), &mut out).unwrap();
    }
    assert_eq!((cache.len(), cache.state(host(0).into())), (64, None));
}

#[test]
fn floods_neither_grow_nor_stall() {
    // Shows 10,000 askers: 64 of the last are known, each with its own station, and go in the end; and that for each of them
    // a handful of entries was looked at. A neighbour in use outlives them all.
    let mut cache = cache(64);
    let mut out: Actions = Vec::new();
    cache.hold(THEM, US, 1, at(0), &mut out);
    cache.receive(&reply(), at(0), &mut out).unwrap();
    out.clear();
    let address = |n: u16| Ipv4Addr::from(0x0a01_0000 + u32::from(n));
    let mac = |n: u16| MacAddress([2, 9, 9, 9, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    for n in 0..10_000 {
        let before = cache.looked_at;
        cache.receive(&arp(Operation::Request, mac(n), address(n), OURS), at(n.into()), &mut out).unwrap();
        assert!(cache.looked_at - before <= CANDIDATES);
        assert_eq!(cache.resolve(THEM, at(n.into())), Some(THEIR_MAC));
    }
    assert_eq!((cache.len(), out.len()), (64, 10_000));
    let known = |cache: &mut Cache<u32>, n: u16| cache.resolve(address(n).into(), at(10_000));
    let all: Vec<u16> = (0..10_000).filter(|n| known(&mut cache, *n).is_some()).collect();
    assert!(
        all.len() == 63 && all.iter().all(|n| *n >= 9_500 && known(&mut cache, *n) == Some(mac(*n))),
        "{all:?}"
    );
    run_until(&mut cache, at(100_000_000));
    assert!(cache.is_empty());
}

#[test]
fn a_flood_makes_us_ask_for_few() {
    // Shows packets for 100,000 addresses that nobody has, as answers to a flood from addresses of the link are: few are
    // asked for at once, few packets wait, and of the neighbours that are known none goes for them. Once those few have
    // failed, others may be asked for.
    let mut cache = cache(1024);
    let mut out: Actions = Vec::new();
    let host = |n: u32| Ipv4Addr::from(0x0a01_0000 + n);
    for n in 0..700 {
        cache.receive(&arp(Operation::Request, THEIR_MAC, host(n), OURS), at(0), &mut out).unwrap();
    }
    out.clear();
    for n in 0..100_000 {
        cache.hold(host(1_000 + n).into(), US, n, at(1), &mut out);
    }
    let asked = out.iter().filter(|action| matches!(action, Action::Transmit { .. })).count();
    let failed = out.iter().filter(|action| matches!(action, Action::Failed { .. })).count();
    assert_eq!((asked, asked + failed, cache.waiting, cache.unresolved), (256, 100_000, 256, 256));
    assert!((0..700).all(|n| cache.state(host(n).into()) == Some(State::Stale)));
    assert_eq!(cache.len(), 956);
    run_until(&mut cache, at(4_000));
    assert_eq!((cache.unresolved, cache.waiting), (0, 0));
    cache.hold(THEM, US, 1, at(4_000), &mut out);
    assert_eq!((cache.state(THEM), cache.unresolved), (Some(State::Incomplete), 1));
}

#[test]
fn walks_are_apart() {
    // Shows that deadlines a millisecond apart share a walk, at most ten milliseconds late.
    let mut cache = cache(64);
    for n in 0..20u8 {
        let host = IpAddr::V4(Ipv4Addr::new(10, 0, 1, n));
        cache.hold(host, US, n.into(), at(n.into()), &mut Vec::new());
    }
    let times: Vec<u64> = run_until(&mut cache, at(1500)).into_iter().map(|(millis, _)| millis).collect();
    assert_eq!(times, [&[1000][..], &[1010; 10], &[1020; 9]].concat());
}
