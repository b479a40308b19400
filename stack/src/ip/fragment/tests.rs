//! Reassembly against a naive model, each rule alone, and the plan for sending.

use super::*;
use proptest::prelude::*;

fn key(identification: u16) -> Key {
    Key {
        source: Ipv4Addr::new(10, 0, 0, 2).into(),
        destination: Ipv4Addr::new(10, 0, 0, 1).into(),
        protocol: Protocol::UDP,
        identification: identification.into(),
    }
}

const fn span(offset: u16, len: u16, more: bool) -> Span {
    Span { offset, len, more }
}

fn at(millis: u64) -> Instant {
    Instant(millis * 1_000_000)
}

#[derive(Default)]
struct Rig {
    table: Reassembler<u32>,
    out: Output<u32>,
}

impl Rig {
    /// Inserts one that holds a hundred bytes; whether the datagram is complete.
    fn insert(&mut self, identification: u16, span: Span, holder: u32) -> bool {
        self.table.insert(key(identification), span, holder, 100, at(0), &mut self.out)
    }

    fn complete(&mut self) -> Vec<u32> {
        self.out.complete.drain(..).map(|piece| piece.holder).collect()
    }

    fn dropped(&mut self) -> Vec<(DropReason, u32)> {
        core::mem::take(&mut self.out.dropped)
    }
}

#[test]
fn any_order_completes_in_order() {
    // Shows three fragments in all six orders, with another datagram's in between.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut rig = Rig::default();
        assert!(!rig.insert(9, span(0, 8, true), 99));
        let spans = [span(0, 16, true), span(16, 8, true), span(24, 5, false)];
        for (n, which) in order.into_iter().enumerate() {
            assert_eq!(rig.insert(1, spans[which], u32::try_from(which).unwrap()), n == 2);
        }
        assert_eq!(rig.complete(), [0, 1, 2]);
        assert_eq!((rig.table.len(), rig.table.held_bytes()), (1, 100));
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc5722#section-4
//= type=test
//# the entire datagram (and any constituent fragments, including
//# those not yet received) MUST be silently discarded.
fn an_overlap_drops_the_whole_datagram() {
    // Shows every kind of overlap: all holders come back, and so do those that arrive later.
    for overlap in [
        span(8, 16, true),
        span(16, 16, true),
        span(0, 16, true),
        span(16, 4, false),
        span(8, 3, false),
        span(16, 8, false),
        span(48, 8, true),
        span(40, 8, true),
        span(40, 4, false),
        span(0, 48, true),
    ] {
        let mut rig = Rig::default();
        rig.insert(1, span(0, 24, true), 1);
        rig.insert(1, span(40, 8, false), 2);
        assert!(!rig.insert(1, overlap, 3), "{overlap:?}");
        let mut dropped = rig.dropped();
        dropped.sort_unstable();
        assert_eq!(dropped, [1, 2, 3].map(|holder| (DropReason::FragmentOverlap, holder)), "{overlap:?}");
        assert!(!rig.insert(1, span(24, 16, true), 4));
        assert_eq!(rig.dropped(), [(DropReason::FragmentOverlap, 4)]);
        assert_eq!(rig.table.held_bytes(), 0);
        rig.table.advance(at(60_000), &mut rig.out);
        assert!(rig.table.is_empty() && rig.out.expired.is_empty());
    }
}

#[test]
fn exact_duplicates_do_no_harm() {
    // Shows a repeated fragment dropped alone, and the datagram completed.
    let mut rig = Rig::default();
    rig.insert(1, span(0, 8, true), 1);
    rig.insert(1, span(0, 8, true), 2);
    assert_eq!(rig.dropped(), [(DropReason::FragmentDuplicate, 2)]);
    assert!(rig.insert(1, span(8, 1, false), 3));
    assert_eq!(rig.complete(), [1, 3]);
}

#[test]
fn malformed_fragments_are_refused_alone() {
    // Shows empty, odd and far fragments refused without touching the datagram.
    let mut rig = Rig::default();
    for (bad, reason) in [
        (span(0, 0, true), DropReason::FragmentMalformed),
        (span(0, 0, false), DropReason::FragmentMalformed),
        (span(0, 9, true), DropReason::FragmentMalformed),
        (span(65_528, 8, true), DropReason::FragmentTooLong),
        (span(65_512, 4, false), DropReason::FragmentTooLong),
    ] {
        assert!(!rig.insert(1, bad, 1));
        assert_eq!(rig.dropped(), [(reason, 1)]);
    }
    assert!(rig.table.is_empty());
    assert!(!rig.insert(1, span(65_512, 3, false), 1));
    assert!(rig.dropped().is_empty());
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc1122#section-3.3.2
//= type=test
//# There MUST be a reassembly timeout.
fn time_runs_out() {
    // Shows the deadline at a minute, the first fragment kept for ICMP, the others dropped.
    let mut rig = Rig::default();
    rig.insert(1, span(8, 8, true), 2);
    rig.insert(1, span(0, 8, true), 1);
    rig.table.insert(key(2), span(8, 8, true), 3, 100, at(1), &mut rig.out);
    assert_eq!(rig.table.next_deadline(), Some(at(60_000)));
    rig.table.advance(at(59_999), &mut rig.out);
    assert_eq!(rig.table.len(), 2);
    rig.table.advance(at(60_000), &mut rig.out);
    assert_eq!(core::mem::take(&mut rig.out.expired), [(key(1), 1)]);
    assert_eq!(rig.dropped(), [(DropReason::FragmentTimeout, 2)]);
    rig.table.advance(at(60_001), &mut rig.out);
    assert!(rig.out.expired.is_empty());
    assert_eq!((rig.dropped().len(), rig.table.held_bytes()), (1, 0));
    assert_eq!(rig.table.next_deadline(), None);
}

#[test]
fn the_table_is_bounded() {
    // Shows the bounds of datagrams, of bytes and of fragments each, and that the oldest goes.
    let mut rig = Rig::default();
    for n in 0..70 {
        rig.insert(n, span(0, 8, true), u32::from(n));
    }
    assert_eq!(rig.table.len(), DATAGRAMS_MAX);
    assert_eq!(rig.dropped(), (0..6).map(|n| (DropReason::FragmentTableFull, n)).collect::<Vec<_>>());
    let mut rig = Rig::default();
    for n in 0..200u16 {
        rig.table.insert(key(n / 2), span(8 * (n % 2), 8, true), n.into(), 2176, at(0), &mut rig.out);
        assert!(rig.table.held_bytes() <= HELD_BYTES_MAX);
    }
    rig.table.clear(&mut rig.out);
    assert_eq!((rig.dropped().len(), rig.table.held_bytes()), (200, 0));
    for (n, bytes, dropped) in [(1, HELD_BYTES_MAX / 2, 0), (2, HELD_BYTES_MAX / 2, 0), (3, 1, 1)] {
        rig.table.insert(key(n), span(0, 8, true), n.into(), bytes, at(0), &mut rig.out);
        assert_eq!(rig.dropped().len(), dropped, "the bound itself is held");
    }
    rig.table.clear(&mut rig.out);
    rig.dropped();
    for n in 0..=128 {
        rig.insert(1, span(16 * n, 8, true), n.into());
    }
    let dropped = rig.dropped();
    assert_eq!((dropped.len(), dropped[0].0), (129, DropReason::FragmentTooMany));
    let mut rig = Rig::default();
    assert!(!rig.table.insert(key(1), span(0, 8, true), 1, usize::MAX / 2, at(0), &mut rig.out));
    assert!(rig.table.is_empty());
    assert_eq!(rig.dropped().len(), 1);
}

#[test]
fn lists_of_fragments_go_round() {
    // Shows datagrams one after the other, made whole, evicted and timed out: their lists serve the next, so that none is
    // allocated anew.
    let mut rig = Rig::default();
    for n in 0..100_u16 {
        let now = at(u64::from(n) * 100_000);
        rig.table.insert(key(n), span(0, 8, true), 1, 100, now, &mut rig.out);
        match n % 3 {
            0 => assert!(rig.table.insert(key(n), span(8, 8, false), 2, 100, now, &mut rig.out)),
            1 => rig.table.clear(&mut rig.out),
            _ => rig.table.advance(at(u64::from(n) * 100_000 + 60_000), &mut rig.out),
        }
        assert_eq!((rig.table.len(), rig.table.spare.len()), (0, 1), "after {n}");
    }
}

#[test]
fn identifications_do_not_repeat_between_two_hosts() {
    // Shows 65,536 different values for a pair, and another start for another pair.
    let mut ids = Identifications::new(KeyedHash::new([3, 4]), 0, 1);
    let (a, b, c) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3));
    let first = ids.next(a, b, Protocol::UDP);
    let mut seen = vec![false; 65_536];
    for _ in 0..65_536 {
        let id = usize::from(ids.next(a, b, Protocol::UDP));
        assert!(!core::mem::replace(&mut seen[id], true));
    }
    assert_ne!(first, Identifications::new(KeyedHash::new([3, 4]), 0, 1).next(a, c, Protocol::UDP));
}

#[test]
fn lanes_share_identifications_out() {
    // Shows that three lanes never give two datagrams between the same hosts the same number, as often as their counters go
    // round in step or out of it, and that every number of a lane's share is used before one comes again.
    let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let mut lanes = [0, 1, 2].map(|lane| Identifications::new(KeyedHash::new([3, 4]), lane, 3));
    let mut owner = [None; 65_536];
    for round in 0..200_000 {
        for (lane, ids) in lanes.iter_mut().enumerate().take(1 + round % 3) {
            let id = usize::from(ids.next(a, b, Protocol::UDP));
            assert!(owner[id].is_none_or(|owner| owner == lane), "{id} of two lanes");
            owner[id] = Some(lane);
        }
    }
    for lane in 0..3 {
        assert_eq!(owner.iter().filter(|owner| **owner == Some(lane)).count(), 16_384);
    }
}

#[test]
fn ipv6_has_keys_and_lengths_of_its_own() {
    // Shows that a packet's fragments are told by source, destination and identification alone, the longest, and that
    // identifications of 32 bits follow each other for a pair and not for another.
    let addresses = ["fd00::1", "fd00::2"].map(|text| text.parse::<Ipv6Addr>().unwrap());
    let header = ipv6::Header::new(addresses[0], addresses[1], Protocol::IPV6_FRAGMENT, 64);
    let fragment = |identification, next_header| {
        let fragment =
            ipv6::Fragment { next_header, offset: 0, more: true, identification, at: 40, named_at: 6 };
        Key::of_ipv6(&header, &fragment)
    };
    assert_eq!(fragment(7, Protocol::UDP), fragment(7, Protocol::TCP));
    assert_ne!(fragment(7, Protocol::UDP), fragment(8, Protocol::UDP));
    let mut rig = Rig::default();
    let key = fragment(1 << 20, Protocol::UDP);
    assert!(!rig.table.insert(key, span(65_528, 7, false), 1, 100, at(0), &mut rig.out));
    assert!(rig.dropped().is_empty());
    let plan = |len, mtu| Plan::new_ipv6(len, mtu).map(Iterator::collect::<Vec<_>>);
    assert_eq!(plan(1240, 1280), Some(vec![span(0, 1240, false)]));
    assert_eq!(plan(1241, 1280), Some(vec![span(0, 1232, true), span(1232, 9, false)]));
    assert_eq!(plan(65_536, 1280), None);
    let mut ids = Identifications::new(KeyedHash::new([3, 4]), 0, 1);
    let first = ids.next_ipv6(addresses[0], addresses[1]);
    assert_eq!(ids.next_ipv6(addresses[0], addresses[1]), first.wrapping_add(1));
    let gap = ids.next_ipv6(addresses[1], addresses[0]).wrapping_sub(first);
    assert!(gap > 1000 && gap.wrapping_neg() > 1000, "{gap}");
}

#[test]
fn plans_at_the_edges() {
    // Shows what fits whole, the first that does not, and what cannot be sent at all.
    let plan = |len, mtu| Plan::new(len, mtu).map(Iterator::collect::<Vec<_>>);
    assert_eq!(plan(1480, 1500), Some(vec![span(0, 1480, false)]));
    assert_eq!(plan(1481, 1500), Some(vec![span(0, 1480, true), span(1480, 1, false)]));
    assert_eq!(plan(9, 28), Some(vec![span(0, 8, true), span(8, 1, false)]));
    assert_eq!(plan(5, 25), Some(vec![span(0, 5, false)]));
    assert_eq!(plan(0, 20), Some(vec![]));
    assert_eq!((plan(9, 27), plan(1, 20), plan(1, 0), plan(65_516, 1500)), (None, None, None, None));
}

proptest! {
    #[test]
    fn what_is_cut_is_put_together(len in 1usize..65_516, mtu in 576u16..9000, seed: u64) {
        // Shows that a plan's fragments, shuffled, give back the datagram, whatever the MTU.
        let plan: Vec<Span> = Plan::new(len, mtu).unwrap().collect();
        let mut order: Vec<usize> = (0..plan.len()).collect();
        order.sort_by_key(|n| KeyedHash::new([seed, 0]).hash_one(n));
        let mut rig = Rig::default();
        for (n, which) in order.iter().enumerate() {
            prop_assert!(20 + plan[*which].len <= mtu);
            prop_assert_eq!(rig.insert(1, plan[*which], 0), n + 1 == plan.len());
        }
        let spans: Vec<Span> = rig.out.complete.iter().map(|piece| piece.span).collect();
        prop_assert_eq!(spans, plan);
        prop_assert!(rig.table.is_empty() && rig.table.held_bytes() == 0);
    }

    #[test]
    fn equals_a_naive_model(fragments in prop::collection::vec((0u16..6, 1u16..4, any::<bool>()), 1..12)) {
        // Shows random, mostly overlapping fragments against a list of all that came; no holder is lost.
        let mut rig = Rig::default();
        let mut kept: Vec<Span> = Vec::new();
        let (mut poisoned, mut complete) = (false, 0);
        for (n, (offset, len, more)) in fragments.iter().enumerate() {
            let new = span(offset * 8, len * 8, *more);
            let end = |span: &Span| span.offset + span.len;
            let done = rig.insert(1, new, u32::try_from(n).unwrap());
            if poisoned || kept.contains(&new) {
                prop_assert!(!done);
                continue;
            }
            let overlap = kept.iter().any(|old| old.offset < end(&new) && new.offset < end(old));
            let ends = kept.iter().chain([&new]).filter(|span| !span.more).count();
            kept.push(new);
            let last = kept.iter().filter(|span| !span.more).map(end).max();
            let beyond = last.is_some_and(|last| kept.iter().any(|span| end(span) > last));
            poisoned = overlap || ends > 1 || beyond;
            let whole = !poisoned && last == Some(kept.iter().map(|span| span.len).sum());
            prop_assert_eq!(done, whole);
            if whole {
                complete += kept.len();
                kept.clear();
            }
        }
        prop_assert_eq!(rig.out.complete.len(), complete);
        rig.table.clear(&mut rig.out);
        prop_assert_eq!(rig.out.complete.len() + rig.out.dropped.len(), fragments.len());
    }
}

#[test]
fn marks_survive_reassembly() {
    // Shows every pair of ECN fields: a mark stays, but for one beside a fragment that nobody could have marked.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-5.3
    //= type=test
    //# Reassembly of a fragmented packet MUST NOT lose indications of
    //# congestion.
    let table = [
        [Some(0), Some(0), Some(0), None],
        [Some(0), Some(1), Some(0), Some(3)],
        [Some(0), Some(0), Some(2), Some(3)],
        [None, Some(3), Some(3), Some(3)],
    ];
    for (one, row) in (0..).zip(table) {
        for (other, expected) in (0..).zip(row) {
            assert_eq!(joined_field(one, other), expected, "{one} and {other}");
        }
    }
}

#[test]
fn fragments_without_end_hold_little() {
    // Shows a hundred thousand fragments of datagrams that are never whole: the least there may be, one and many of each
    // datagram, apart, overlapping and twice, of both versions. What is held, how many datagrams there are and how many
    // pieces each has stay within their bounds, and with these what one more fragment makes us look at; every holder comes
    // back, once; and a datagram that is whole soon gets through all the same.
    let six = |identification: u32| Key {
        source: Ipv6Addr::LOCALHOST.into(),
        destination: Ipv6Addr::LOCALHOST.into(),
        protocol: Protocol::IPV6_FRAGMENT,
        identification,
    };
    let (mut table, mut out, mut back) = (Reassembler::<u32>::new(), Output::default(), 0);
    for n in 0..100_000_u32 {
        let dice = n.wrapping_mul(2_654_435_761);
        let key = match n % 3 {
            0 => key(u16::try_from(dice >> 16).unwrap()),
            1 => six(n),
            _ => six(dice >> 26),
        };
        let offset = u16::try_from(dice >> 8 & 0x1ff).unwrap() * 8;
        let span = span(offset, 8 << (n % 2), true);
        assert!(!table.insert(key, span, n, 2304, at(u64::from(n) / 100), &mut out));
        back += out.dropped.drain(..).count();
        assert!(table.held_bytes() <= HELD_BYTES_MAX && table.len() <= DATAGRAMS_MAX);
        assert!(table.datagrams.iter().all(|datagram| datagram.pieces.len() <= FRAGMENTS_MAX));
        assert!(table.spare.len() <= DATAGRAMS_MAX);
        if n % 1_000 == 0 {
            let whole = Key { identification: 1 << 31 | n, ..key };
            assert!(!table.insert(whole, self::span(0, 8, true), n, 2304, at(u64::from(n) / 100), &mut out));
            back += out.dropped.drain(..).count();
            assert!(table.insert(whole, self::span(8, 8, false), n, 2304, at(u64::from(n) / 100), &mut out));
            back += out.complete.drain(..).count();
        }
    }
    table.advance(at(200_000), &mut out);
    back += out.dropped.drain(..).count() + out.expired.drain(..).count();
    assert_eq!((back, table.len(), table.held_bytes()), (100_200, 0, 0));
}
