use std::collections::BTreeMap;

use super::*;
use crate::config::TcpConfig;
use crate::time::Instant;

fn rest(timestamps: bool) -> Rest {
    Rest {
        snd_nxt: SeqNum(700),
        rcv_nxt: SeqNum(500),
        snd_wnd_max: 200,
        ts_recent: 100,
        window: 1,
        scale: 0,
        timestamps,
        challenges: Challenges::default(),
    }
}

fn segment(seq: u32, flags: Flags, stamp: Option<u32>) -> Segment {
    let mut segment = Segment::new(1, 2, SeqNum(seq), SeqNum(700), flags);
    segment.options.timestamps = stamp.map(|value| (value, 0));
    segment
}

#[test]
fn a_tuple_is_reused_only_by_what_is_newer() {
    // Shows RFC 6191's table: by timestamp where both have them, by sequence number else.
    //= https://www.rfc-editor.org/rfc/rfc6191#section-2
    //= type=test
    //# the timestamp contained in the incoming SYN segment is greater than the last
    //# timestamp seen on the previous incarnation of the connection (for that
    //# direction of the data transfer), honor the connection request
    let reused = |timestamps, seq, stamp| {
        matches!(rest(timestamps).on_segment(&segment(seq, Flags::SYN, stamp), 0), Waiting::Reuse(_))
    };
    assert!(reused(true, 400, Some(101)));
    assert!(reused(true, 501, Some(100)));
    assert!(!reused(true, 400, Some(100)));
    assert!(!reused(true, 501, Some(99)));
    assert!(reused(false, 501, None));
    assert!(!reused(false, 500, None));
    assert!(reused(true, 501, None));
}

#[test]
fn only_a_fin_again_restarts_the_time() {
    // Shows that resets are ignored, the peer's FIN restarts, and other segments are acknowledged or dropped.
    //= https://www.rfc-editor.org/rfc/rfc1337#section-3
    //= type=test
    //# (F1) Ignore RST segments in TIME-WAIT state.
    let judge = |seq, flags| rest(false).on_segment(&segment(seq, flags, None), 0);
    assert!(matches!(judge(500, Flags::RST), Waiting::Drop(_)));
    assert_eq!(judge(499, Flags::FIN | Flags::ACK), Waiting::Restart);
    assert!(matches!(judge(400, Flags::ACK), Waiting::Acknowledge(_)));
    assert!(matches!(judge(400, Flags::NONE), Waiting::Acknowledge(_)));
    assert!(matches!(judge(500, Flags::NONE), Waiting::Drop(_)));
    assert!(matches!(judge(500, Flags::ACK), Waiting::Drop(_)));
}

/// A table, and the numbers by key that a flow table would have.
struct Rig {
    table: TimeWaits,
    numbers: BTreeMap<u64, u32>,
}

impl Rig {
    fn new(max: usize) -> Rig {
        Rig { table: TimeWaits::new(max, 60_000_000), numbers: BTreeMap::new() }
    }

    fn insert(&mut self, key: u64, now: &Now) -> u32 {
        if let Some(number) = self.numbers.remove(&key) {
            self.table.remove(number);
        }
        let numbers = &mut self.numbers;
        let number = self.table.insert(key, &rest(false), now, |key, number| {
            assert_eq!(numbers.remove(&key), Some(number));
        });
        self.numbers.insert(key, number);
        number
    }

    fn advance(&mut self, now: Ticks, max: usize) {
        let numbers = &mut self.numbers;
        self.table.advance(now, max, |key, number| assert_eq!(numbers.remove(&key), Some(number)));
        assert_eq!(self.numbers.len(), self.table.len());
    }

    fn has(&self, key: u64) -> bool {
        let number = self.numbers.get(&key);
        number.is_some_and(|number| self.table.get(*number, key).is_some())
    }
}

#[test]
fn an_entry_keeps_what_is_left() {
    // Shows that of what is left every field comes back as it was, every window that can be told among them, and that
    // neither a number that was never given nor another's key finds anything.
    let mut table = TimeWaits::new(90, 60_000_000);
    for snd_wnd_max in [0, 1, 9_498, 65_535, 65_535 << 1, 40_001 << 7, 65_535 << 14, 1 << 14] {
        let rest = Rest { snd_wnd_max, scale: 14, window: 0xffff, ..rest(true) };
        let number = table.insert(5, &rest, &Now::new(Instant(1)), |_, _| panic!("there is room"));
        assert_eq!(table.get(number, 5), Some(rest));
        assert!(table.get(number, 6).is_none() && table.get(number + 1, 5).is_none());
    }
}

#[test]
fn the_oldest_goes_first() {
    // Shows the bound, the order, the time, and that a restart outlives its first place in the order.
    let mut rig = Rig::new(2);
    let at = |millis: u64| Now::new(Instant(millis * 1_000_000));
    for (key, second) in [(1, 0), (2, 1), (1, 2)] {
        rig.insert(key, &at(second * 1_000));
    }
    rig.advance(at(61_010).ticks, 64);
    assert!(rig.has(1) && !rig.has(2));
    rig.advance(at(61_990).ticks, 64);
    assert_eq!(rig.table.len(), 1);
    rig.advance(at(62_010).ticks, 64);
    assert_eq!(rig.table.len(), 0);
    for (key, second) in [(3, 63), (4, 64), (5, 65)] {
        rig.insert(key, &at(second * 1_000));
    }
    assert!(!rig.has(3) && rig.has(4) && rig.has(5));
    rig.advance(at(200_000).ticks, 64);
    assert!(rig.table.is_empty() && !rig.table.next_deadline().is_on());
}

#[test]
fn those_that_come_seldom_end_in_their_time() {
    // Shows connections that end at any distance from each other, minutes too: each ends no earlier than after its time,
    // and no more than a few milliseconds later, and is found until then.
    let mut rig = Rig::new(1_000);
    let mut begun = VecDeque::new();
    let mut millis = 5;
    for key in 0..3_000u64 {
        millis += [0, 1, 3, 17, 250, 8_000, 9_000, 130_000][usize::try_from(key * 7 % 8).unwrap()];
        let now = Now::new(Instant(millis * 1_000_000));
        rig.advance(now.ticks, usize::MAX);
        while begun.front().is_some_and(|(_, at)| at + 60_005 <= millis) {
            let (key, _) = begun.pop_front().unwrap();
            assert!(!rig.has(key), "{key} at {millis}");
        }
        assert!(begun.iter().all(|(key, at)| at + 60_000 <= millis || rig.has(*key)), "at {millis}");
        rig.insert(key, &now);
        begun.push_back((key, millis));
    }
    assert!(rig.table.chunks.len() + rig.table.spare.len() < 10);
}

#[test]
fn a_flood_holds_as_many_as_may_be() {
    // Shows ten thousand connections a second closed by us, each FIN coming again twice, with room for a thousand: never
    // more than that are held, nor twice as many places, no memory but what the first thousands took, and none once their
    // time is over.
    let mut rig = Rig::new(1_000);
    for n in 0..30_000u64 {
        let now = Now::new(Instant(n * 100_000));
        let number = (0..3).map(|_| rig.insert(n, &now)).last().unwrap();
        let table = &mut rig.table;
        assert!(table.len() <= 1_000 && table.end - table.oldest <= 2_000 && rig.numbers.len() <= 1_000);
        assert!(table.chunks.len() + table.spare.len() <= 2_000 / CHUNK + 2);
        let answers =
            (0..100).filter(|_| table.challenge(number, Limit::of(&TcpConfig::default()), &now)).count();
        assert!((5..=12).contains(&answers));
        assert!(table.get(number, n).is_some());
    }
    rig.advance(Now::new(Instant(64_000_000_000)).ticks, usize::MAX);
    assert_eq!((rig.table.len(), rig.table.oldest), (0, rig.table.end));
}
