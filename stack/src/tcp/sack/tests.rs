use bytes::Bytes;
use drivers::Extent;
use proptest::prelude::*;

use super::*;
use crate::config::TcpConfig;
use crate::engine::flows::{Birth, Flows, Kind};
use crate::mode::{Key, View, ViewData};
use crate::socket::{LaneId, StreamOptions};
use crate::tcp::acknowledge::acknowledge;
use crate::tcp::isn::{Secret, Tuple};
use crate::tcp::send::NONE;
use crate::tcp::state::State;
use crate::tcp::ticks::Now;
use crate::tcp::{output, timers};
use crate::time::Instant;

/// The flow's first sequence number: near the end of the circle, so that everything wraps.
const START: SeqNum = SeqNum(u32::MAX - 700);
/// Bytes in flight, in ranges of a prime number of bytes.
pub const BYTES: u32 = 1_300;
const RANGE: u32 = 13;

/// A flow with everything sent.
pub fn flows() -> (Flows, u32) {
    let config = TcpConfig { tlp: false, ..TcpConfig::default() };
    let mut flows = Flows::new(LaneId(0), Secret::new([0; 4]), 1, 4096, config, Instant(1 << 40));
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
        options: StreamOptions::default(),
        state: State::Established,
    };
    flows.begin(slot, &birth);
    let mut connection = flows.connection(slot).unwrap();
    connection.set(flag::SACK);
    connection.cold.snd_wnd_max = BYTES;
    let data = Extent::of_bytes(&Bytes::from(vec![0; BYTES as usize])).unwrap();
    let sent_us = connection.now.micros;
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
    connection.hot.snd_nxt = START + BYTES;
    (flows, slot)
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
    update(connection, &segment.options.sack, &mut news);
    news
}

/// Which bytes the scoreboard has as reported, from `una` on.
fn reported(connection: &Connection) -> Vec<bool> {
    let mut map = vec![false; BYTES as usize];
    for (_, cell) in connection.cells.from(connection.hot.head) {
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
            if lose == 1 && let Some(cell) = connection.cells.get_mut(connection.hot.head)
                && !cell.any(mark::SACKED | mark::LOST) {
                cell.marks |= mark::LOST;
                let len = cell.len;
                connection.active_mut().loss.lost += len;
            }
            let before = connection.loss().sacked;
            let news = take(&mut connection, &segment(una, &blocks));
            let fresh: Vec<bool> = map.clone();
            let dsack = news.dsack.map(|block| (block.left.since(START), block.right.since(START)));
            for (left, right) in &blocks {
                if *left > una && Some((*left, *right)) != dsack {
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
            let lost: u32 = connection.cells.from(connection.hot.head)
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
            flows.now = Now::new(Instant(now));
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
                let cells = connection.cells.from(connection.hot.head);
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
    let ranges = |connection: &Connection| connection.cells.from(connection.hot.head).count();
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
}
