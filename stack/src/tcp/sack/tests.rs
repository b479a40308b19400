use bytes::Bytes;
use drivers::Extent;
use proptest::prelude::*;

use super::*;
use crate::config::TcpConfig;
use crate::engine::flows::{Birth, Flows, Kind};
use crate::mode::{Key, View, ViewData};
use crate::socket::LaneId;
use crate::tcp::acknowledge::acknowledge;
use crate::tcp::isn::{Secret, Tuple};
use crate::tcp::send::NONE;
use crate::tcp::state::State;
use crate::tcp::ticks::Now;
use crate::tcp::{output, retransmission, timers};
use crate::time::Instant;

/// The flow's first sequence number: near the end of the circle, so that everything wraps.
const START: SeqNum = SeqNum(u32::MAX - 700);
/// Bytes in flight, in ranges of a prime number of bytes.
pub const BYTES: u32 = 1_300;
const RANGE: u32 = 13;

/// A flow with everything sent.
pub fn flows() -> (Flows, u32) {
    flows_of(BYTES)
}

/// A flow with so many bytes sent.
pub fn flows_of(bytes: u32) -> (Flows, u32) {
    let config = TcpConfig { tlp: false, ..TcpConfig::default() };
    let mut flows = Flows::new(LaneId(0), Secret::new([0; 4]), 1, 1 << 16, config, Instant(1 << 40));
    let slot = flows.take(Kind::Stream).unwrap();
    let end = |port| ([10, 0, 0, 1], port).into();
    let birth = Birth {
        tuple: Tuple::new(end(1), end(2)),
        iss: START,
        ts_offset: 0,
        mss: 100,
        path: 0,
        queue: 0,
        tag: 0,
        listener: NONE,
        options: None,
        state: State::Established,
    };
    let mut connection = flows.begin(slot, &birth).unwrap();
    connection.set(flag::SACK);
    connection.cold.snd_wnd_max = bytes;
    let data = Extent::of_bytes(&Bytes::from(vec![0; bytes as usize])).unwrap();
    let sent_us = connection.shared.now.micros;
    connection.queue(|cells, queue, _| {
        cells.push(queue, START, View { data: ViewData::Extent(data), key: Key(0) }, 0, 0).unwrap();
        let mut index = queue.head;
        while cells.split(queue, index, RANGE) && cells.get(index).unwrap().next != NONE {
            index = cells.get(index).unwrap().next;
        }
        let mut index = queue.head;
        while let Some(cell) = cells.get_mut(index) {
            cell.marks |= mark::SENT;
            cell.sent_us = sent_us;
            index = cell.next;
        }
        queue.unsent = NONE;
    });
    connection.hot.snd_nxt = START + bytes;
    (flows, slot)
}

/// Leave a payload of so many bytes to be sent.
pub fn queue_bytes(connection: &mut Connection, len: usize) {
    let end = connection.queued_end();
    let data = Extent::of_bytes(&Bytes::from(vec![0; len])).unwrap();
    connection.queue(|cells, queue, _| {
        let view = View { data: ViewData::Extent(data), key: Key(0) };
        cells.push(queue, end, view, 0, 0).unwrap();
    });
}

pub fn segment(ack: u32, blocks: &[(u32, u32)]) -> Segment {
    let mut segment = Segment::new(2, 1, SeqNum(0), START + ack, Flags::ACK);
    for (left, right) in blocks {
        segment.options.sack.push(START + *left, START + *right);
    }
    segment
}

/// Take an acknowledgement in as `acknowledge` does, for as much as the scoreboard is concerned.
fn take(connection: &mut Connection, segment: &Segment) -> News {
    let mut news = News::new(connection, segment, 0);
    connection.hot.snd_una = segment.ack;
    let mut gone = (0, 0);
    connection.queue(|cells, queue, finished| {
        cells.acknowledge(queue, segment.ack, finished, |cell, n| {
            gone.0 += if cell.is(mark::SACKED) { n } else { 0 };
            gone.1 += if cell.is(mark::LOST) { n } else { 0 };
        });
    });
    let loss = &mut connection.active_mut().loss;
    (loss.sacked, loss.lost) = (loss.sacked - gone.0, loss.lost - gone.1);
    update(connection, &segment.options.sack, segment.ack, &mut news);
    news
}

/// Which bytes the scoreboard has as reported, from `una` on.
fn reported(connection: &Connection) -> Vec<bool> {
    let mut map = vec![false; BYTES as usize];
    for (_, cell) in connection.shared.cells.from(connection.hot.head) {
        let from = cell.start().since(START) as usize;
        map[from..from + cell.len as usize].fill(cell.is(mark::SACKED));
    }
    map
}

proptest! {
    #[test]
    fn the_scoreboard_is_a_map_of_bytes(
        acks in prop::collection::vec(
            (0u32..120, prop::collection::vec((0u32..BYTES, 1u32..260), 0..4), 0u8..4), 1..12),
    ) {
        // Shows against a map of bytes that whatever blocks report, in whatever order and however they overlap, is marked
        // and counted once, and nothing else is; and that what was lost is no longer so once it is reported.
        //= https://www.rfc-editor.org/rfc/rfc6675#section-4
        //= type=test
        //# each octet that is
        //# cumulatively ACKed or SACKed should be marked accordingly in the
        //# scoreboard data structure
        let (mut flows, slot) = flows();
        let mut connection = flows.connection(slot).unwrap();
        let (mut map, mut una) = (vec![false; BYTES as usize], 0);
        for (advance, blocks, lose) in acks {
            una = (una + if lose == 3 { advance } else { 0 }).min(BYTES);
            let blocks: Vec<_> = blocks.iter().map(|(left, len)| (*left, (left + len).min(BYTES))).collect();
            if lose == 1 && let Some(cell) = connection.shared.cells.get_mut(connection.hot.head)
                && !cell.any(mark::SACKED | mark::LOST) {
                cell.marks |= mark::LOST;
                let len = cell.len;
                connection.active_mut().loss.lost += len;
            }
            let before = connection.loss().sacked;
            let news = take(&mut connection, &segment(una, &blocks));
            let fresh: Vec<bool> = map.clone();
            let dsack = news.dsack.map(|block| (block.left.since(START), block.right.since(START)));
            // The block that tells of a duplicate is the first; another may say the same of what is held.
            let duplicate = usize::from(dsack.is_some() && dsack == blocks.first().copied());
            for (left, right) in &blocks[duplicate..] {
                if *left > una {
                    map[*left as usize..*right as usize].fill(true);
                }
            }
            map[..una as usize].fill(false);
            prop_assert_eq!(&reported(&connection), &map);
            let count = |map: &[bool]| u32::try_from(map.iter().filter(|is| **is).count()).unwrap();
            let added = map.iter().zip(&fresh).filter(|(now, was)| **now && !**was).count();
            prop_assert_eq!(connection.loss().sacked, count(&map));
            prop_assert_eq!(news.sacked as usize, added);
            prop_assert_eq!(news.delivered(connection.loss().sacked), news.acked + count(&map) - before);
            let lost: u32 = connection.shared.cells.from(connection.hot.head)
                .filter(|(_, cell)| cell.is(mark::LOST)).map(|(_, cell)| cell.len).sum();
            prop_assert_eq!(connection.loss().lost, lost);
        }
    }
}

proptest! {
    #[test]
    fn counts_are_those_of_the_ranges(
        acks in prop::collection::vec(
            (0u32..120, prop::collection::vec((0u32..BYTES, 1u32..260), 0..4), 0u64..60_000, 0u8..4), 1..40),
    ) {
        // Shows a connection that takes acknowledgements of every kind, repairs what it takes for lost and lets its timers
        // run out: at each step what it counts as reported, lost and sent again is what its ranges are marked as.
        //= https://www.rfc-editor.org/rfc/rfc6675#section-4
        //= type=test
        //# After initializing pipe to zero, the following steps are taken for
        //# each octet 'S1' in the sequence space between HighACK and HighData
        //# that has not been SACKed:
        let (mut flows, slot) = flows();
        let (mut una, mut now) = (0, 1 << 40);
        {
            let connection = flows.connection(slot).unwrap();
            (connection.hot.cwnd, connection.hot.snd_wnd) = (BYTES, 60_000);
        }
        for (advance, blocks, wait_us, kind) in acks {
            now += wait_us * 1_000;
            flows.shared.now = Now::new(Instant(now));
            let mut connection = flows.connection(slot).unwrap();
            una = (una + if kind == 3 { advance } else { 0 }).min(BYTES);
            let blocks: Vec<_> = blocks.iter().map(|(left, len)| (*left, (left + len).min(BYTES))).collect();
            let segment = Segment { window: 60_000, ..segment(una, &blocks) };
            acknowledge(&mut connection, &segment, 0);
            if timers::expire(&mut connection).is_some() {
                return Ok(());
            }
            for _ in 0..kind {
                output::next(&mut connection);
            }
            let count = |marks| -> u32 {
                let cells = connection.shared.cells.from(connection.hot.head);
                cells.filter(|(_, cell)| cell.is(marks)).map(|(_, cell)| cell.len).sum()
            };
            let loss = connection.loss();
            let counted = (loss.sacked, loss.lost, loss.again);
            prop_assert_eq!(counted, (count(mark::SACKED), count(mark::LOST), count(mark::AGAIN)));
        }
    }
}

#[test]
fn blocks_byte_by_byte_cut_no_more_than_the_bound() {
    // Shows that a receiver which reports every other byte gets a bounded number of ranges, and no wrong count.
    let (mut flows, slot) = flows();
    let mut connection = flows.connection(slot).unwrap();
    let ranges = |connection: &Connection| connection.shared.cells.from(connection.hot.head).count();
    let before = ranges(&connection);
    for byte in (1..BYTES - 1).step_by(2) {
        take(&mut connection, &segment(0, &[(byte, byte + 1)]));
    }
    assert_eq!(ranges(&connection), before + usize::from(CUTS_MAX));
    let marked = reported(&connection).iter().filter(|is| **is).count();
    assert_eq!(connection.loss().sacked as usize, marked);
    take(&mut connection, &segment(0, &[(1, BYTES)]));
    assert!(connection.loss().sacked < BYTES && connection.loss().sacked >= BYTES - RANGE);
}

#[test]
fn a_block_that_was_never_sent_tells_nothing() {
    // Shows that blocks beyond SND.NXT, backwards, empty or old are ignored, and that D-SACK is told from SACK.
    let (mut flows, slot) = flows();
    let mut connection = flows.connection(slot).unwrap();
    for blocks in [&[(100, BYTES + 1)][..], &[(200, 100)], &[(200, 200)], &[(0, 50)]] {
        let news = take(&mut connection, &segment(0, blocks));
        assert_eq!((news.sacked, news.dsack), (0, None), "{blocks:?}");
    }
    //= https://www.rfc-editor.org/rfc/rfc2883#section-4
    //= type=test
    //# first block of the SACK option should be a D-SACK block specifying
    //# the sequence numbers for the duplicate segment that triggers the
    //# acknowledgement.
    let block = |left, right| Some(SackBlock { left: START + left, right: START + right });
    let below = take(&mut connection, &segment(130, &[(26, 39), (260, 299)]));
    assert_eq!((below.sacked, below.dsack), (39, block(26, 39)));
    let inside = take(&mut connection, &segment(130, &[(273, 286), (260, 299)]));
    assert_eq!((inside.sacked, inside.dsack), (0, block(273, 286)));
    let ahead = take(&mut connection, &segment(130, &[(520, 533), (260, 299)]));
    assert_eq!((ahead.sacked, ahead.dsack), (13, None));
    // What came twice may be all that is held there.
    let same = take(&mut connection, &segment(130, &[(390, 403), (390, 403)]));
    assert_eq!((same.sacked, same.dsack), (13, block(390, 403)));
}

/// Ranges in flight of the tests of work.
const MANY: u32 = 40_000;

/// Take blocks in, one acknowledgement for each of `acks`, and say how many cells were looked at for the one that took most,
/// and for all.
fn work(acks: impl Iterator<Item = Vec<(u32, u32)>>) -> (usize, usize) {
    let (mut flows, slot) = flows_of(MANY * RANGE);
    let mut connection = flows.connection(slot).unwrap();
    let (mut most, mut all) = (0, 0);
    for blocks in acks {
        let blocks: Vec<_> = blocks.iter().map(|(from, to)| (from * RANGE, to * RANGE)).collect();
        let before = connection.shared.cells.looks.get();
        take(&mut connection, &segment(0, &blocks));
        let looks = connection.shared.cells.looks.get() - before;
        (most, all) = (most.max(looks), all + looks);
    }
    (most, all)
}

#[test]
fn a_report_costs_what_it_tells() {
    // Shows how many ranges are looked at of 40,000 in flight, for reports of one range each: upwards behind a hole, downwards
    // from the end, every other one either way, anywhere; and for reports of everything over and over. What was reported
    // before is passed over, and holes are entered near the place.
    let near = 4 * STRIDE as usize;
    let up = work((1..10_000).map(|to| vec![(1, to + 1)]));
    assert!(up.0 < 12, "{up:?}");
    let down = work((1..10_000).map(|from| vec![(MANY - from, MANY)]));
    // The first walks to the end.
    assert!(down.0 < 3 * MANY as usize && down.1 < 3 * MANY as usize + 10_000 * near, "{down:?}");
    let holes = work((1..10_000).map(|at| vec![(2 * at, 2 * at + 1)]));
    assert!(holes.0 < near, "{holes:?}");
    let holes = work((1..10_000).map(|at| vec![(MANY - 2 * at, MANY - 2 * at + 1)]));
    assert!(holes.1 < 3 * MANY as usize + 10_000 * near, "{holes:?}");
    let place = |n: u32| n.wrapping_mul(2_654_435_761) % (MANY - 4) + 1;
    let dice = work((0..10_000).map(|n| (0..4).map(|k| (place(4 * n + k), place(4 * n + k) + 1)).collect()));
    assert!(dice.1 < 3 * MANY as usize + 10_000 * 4 * near, "{dice:?}");
    let over = work((0..2_000).map(|n| vec![(1 + n % 2, MANY - n % 3)]));
    assert!(over.1 < 8 * MANY as usize + 2_000 * near, "{over:?}");
}

#[test]
fn losses_are_found_without_looking_at_all() {
    // Shows a report of the last ranges of 40,000: all others are lost at once; each report and each repair from then on looks at
    // a few of them, until those repaired are acknowledged.
    let (mut flows, slot) = flows_of(MANY * RANGE);
    let mut connection = flows.connection(slot).unwrap();
    connection.shared.now.micros += 1_000_000;
    let last = |connection: &mut Connection, from: u32| {
        let news = take(connection, &segment(0, &[((MANY - from) * RANGE, MANY * RANGE)]));
        rack::take_news(connection, &news);
        rack::detect(connection)
    };
    let found = last(&mut connection, 20);
    assert_eq!(found.lost, (MANY - 20) * RANGE);
    let mut expected = connection.hot.head;
    for n in 0..2_000 {
        let before = connection.shared.cells.looks.get();
        assert_eq!(last(&mut connection, 20 + n % 7).lost, 0);
        let first = retransmission::first_lost(&mut connection).unwrap();
        assert_eq!(first, expected, "repairs go in order");
        retransmission::again_from(&mut connection, first, false);
        let looks = connection.shared.cells.looks.get() - before;
        // Those that were sent again may be lost again: they alone are looked at each time.
        let again = connection.loss().again / RANGE;
        assert!(looks < 400 + 2 * again as usize, "{looks} looks for the {n}th, {again} again");
        expected = retransmission::first_lost(&mut connection).unwrap();
    }
}

/// One of the things that change what is known of ranges. Returns what it found.
fn change(connection: &mut Connection, what: u8, a: u32, b: u32) -> (u32, u32, u32) {
    let blocks =
        [(a % BYTES, (a % BYTES + 1 + b % 300).min(BYTES)), (b % BYTES, (b % BYTES + 40).min(BYTES))];
    let una = connection.hot.snd_una.since(START);
    connection.shared.now.micros += a % 400;
    match what {
        0..=3 => {
            let news = take(connection, &segment(una, &blocks[..usize::from(what % 2) + 1]));
            rack::take_news(connection, &news);
            let found = rack::detect(connection);
            (found.lost, found.wait_us, news.sacked)
        }
        4 | 5 => {
            let news = take(connection, &segment((una + a % 30).min(BYTES - 1), &blocks[..1]));
            rack::take_news(connection, &news);
            let found = rack::detect(connection);
            (found.lost, found.wait_us, news.sacked)
        }
        6..=11 => {
            let first = retransmission::first_lost(connection);
            if let Some(first) = first {
                retransmission::again_from(connection, first, false);
            }
            (first.unwrap_or(NONE), 0, 0)
        }
        12 => {
            let found = rack::detect(connection);
            (found.lost, found.wait_us, 0)
        }
        13 => {
            rack::on_timeout(connection, a.is_multiple_of(2));
            (0, 0, 0)
        }
        _ => {
            crate::tcp::loss::on_too_big(connection);
            (0, 0, 0)
        }
    }
}

proptest! {
    #[test]
    fn ways_past_ranges_change_nothing(
        changes in prop::collection::vec((0u8..14, any::<u32>(), any::<u32>()), 1..80),
        too_big: bool,
    ) {
        // Shows, for reports, acknowledgements, repairs and timeouts in any order, that a connection that knows ways past its
        // ranges finds what one finds that forgets them each time and walks, and marks the same.
        let mut both = [flows(), flows()];
        for (n, (what, a, b)) in changes.into_iter().enumerate() {
            let what = if too_big && n == 20 { 14 } else { what };
            let found = both.each_mut().map(|(flows, slot)| change(&mut flows.connection(*slot).unwrap(), what, a, b));
            prop_assert_eq!(found[0], found[1], "{}", what);
            let known = both.each_mut().map(|(flows, slot)| {
                let connection = flows.connection(*slot).unwrap();
                let marks: Vec<_> = connection.shared.cells.from(connection.hot.head)
                    .map(|(_, cell)| (cell.end, cell.marks, cell.retransmits)).collect();
                let loss = connection.loss();
                (marks, loss.sacked, loss.lost, loss.again)
            });
            prop_assert_eq!(&known[0], &known[1]);
            let mut connection = both[1].0.connection(both[1].1).unwrap();
            if connection.cold.active != NONE {
                connection.active_mut().skips = Skips::default();
            }
        }
    }
}
