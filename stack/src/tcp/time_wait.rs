//! TIME_WAIT: what is left of a connection that both ends have closed.

use core::net::IpAddr;
use std::collections::VecDeque;

use hashbrown::HashMap;

use super::challenge::{Challenges, Limit};
use super::isn::Tuple;
use super::ticks::{Now, Ticks};
use crate::ip::KeyedHash;
use crate::wire::DropReason;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};

/// What is left of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// RCV.NXT.
    pub rcv_nxt: SeqNum,
    /// TS.Recent.
    pub ts_recent: u32,
    /// What is added to our clock to make timestamps.
    pub ts_offset: u32,
    /// When it ends.
    pub due: Ticks,
    /// The window field of its last acknowledgement.
    pub window: u16,
    /// Both ends sent timestamps.
    pub timestamps: bool,
    /// Acknowledgements sent in the current second.
    pub challenges: Challenges,
}

const _: () = assert!(size_of::<Rest>() <= 32);

/// What TIME_WAIT does about a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Nothing.
    Drop(DropReason),
    /// Acknowledge.
    Acknowledge(DropReason),
    /// Acknowledge, and wait the whole time again: the peer's FIN came again.
    Restart,
    /// A new connection may take the tuple, with an initial sequence number beyond this.
    Reuse(SeqNum),
}

impl Rest {
    /// The acknowledgement that TIME_WAIT sends.
    pub fn acknowledgement(&self, tuple: &Tuple, now: &Now) -> Segment {
        let mut segment =
            Segment::new(tuple.local.port(), tuple.remote.port(), self.snd_nxt, self.rcv_nxt, Flags::ACK);
        segment.window = self.window;
        if self.timestamps {
            let stamps = (now.millis.wrapping_add(self.ts_offset), self.ts_recent);
            segment.options = Options { timestamps: Some(stamps), ..Options::NONE };
        }
        segment
    }

    /// RFC 9293 section 3.10.7.4 as far as it concerns TIME_WAIT, with RFC 6191's reuse and RFC 1337's care.
    pub fn on_segment(&self, segment: &Segment, len: u32) -> Waiting {
        //= https://www.rfc-editor.org/rfc/rfc1337#section-3
        //# (F1) Ignore RST segments in TIME-WAIT state.
        if segment.flags.contains(Flags::RST) {
            return Waiting::Drop(DropReason::TcpResetNotExact);
        }
        let newer = match (self.timestamps, segment.options.timestamps) {
            (true, Some((value, _))) => Some(value.wrapping_sub(self.ts_recent).cast_signed()),
            _ => None,
        };
        if segment.flags.contains(Flags::SYN) {
            //= https://www.rfc-editor.org/rfc/rfc6191#section-2
            //# the timestamp contained in the incoming SYN segment is greater than the
            //# last timestamp seen on the previous incarnation of the connection (for
            //# that direction of the data transfer), honor the connection request
            let beyond = segment.seq.gt(self.rcv_nxt);
            let reuse = match newer {
                Some(0) => beyond,
                Some(by) => by > 0,
                None => beyond,
            };
            if reuse && !segment.flags.contains(Flags::ACK) {
                return Waiting::Reuse(self.snd_nxt + REUSE_STEP);
            }
            return Waiting::Acknowledge(DropReason::TcpNotAcceptable);
        }
        if newer.is_some_and(|by| by < 0) {
            return Waiting::Acknowledge(DropReason::TcpOldTimestamp);
        }
        if !segment.flags.contains(Flags::ACK) {
            return Waiting::Drop(DropReason::TcpNotAcceptable);
        }
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
        //# The only thing that can arrive in this state is a retransmission of the
        //# remote FIN. Acknowledge it, and restart the 2 MSL timeout.
        if segment.flags.contains(Flags::FIN) && segment.seq + segment.seq_len(len) == self.rcv_nxt {
            return Waiting::Restart;
        }
        if segment.seq != self.rcv_nxt || segment.seq_len(len) > 0 || segment.ack.gt(self.snd_nxt) {
            return Waiting::Acknowledge(DropReason::TcpNotAcceptable);
        }
        Waiting::Drop(DropReason::TcpNotAcceptable)
    }
}

/// How far beyond the old connection a new one begins, at least: more than any window.
const REUSE_STEP: u32 = 1 << 16;

/// Every connection of a lane that is in TIME_WAIT.
#[derive(Debug)]
pub struct TimeWaits {
    entries: HashMap<Tuple, Rest, KeyedHash>,
    queue: VecDeque<(Ticks, Tuple)>,
    max: usize,
    time_us: u64,
}

impl TimeWaits {
    /// A table of at most `max`, each for `time_us` microseconds.
    pub fn new(max: usize, time_us: u64, hash: KeyedHash) -> TimeWaits {
        let capacity = max.min(4096);
        TimeWaits {
            entries: HashMap::with_capacity_and_hasher(capacity, hash),
            queue: VecDeque::with_capacity(capacity),
            max,
            time_us,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The one of a tuple.
    pub fn get(&self, tuple: &Tuple) -> Option<&Rest> {
        self.entries.get(tuple)
    }

    /// Begin, or begin again. If the table is full, the oldest makes room.
    pub fn insert(&mut self, tuple: Tuple, mut rest: Rest, now: &Now) {
        while self.entries.len() >= self.max && !self.entries.contains_key(&tuple) && self.pop() {}
        rest.due = now.after(self.time_us);
        self.entries.insert(tuple, rest);
        // Places of those that began again stay until their time has come: should there be too many, the oldest go, whoever
        // has them.
        while self.queue.len() >= 2 * self.max.max(64) && self.pop() {}
        self.queue.push_back((rest.due, tuple));
    }

    /// What comes in order and says nothing new has the peer's latest timestamp (RFC 7323 section 4.3).
    pub fn note_timestamp(&mut self, tuple: &Tuple, segment: &Segment) {
        if let (Some(rest), Some((value, _))) = (self.entries.get_mut(tuple), segment.options.timestamps)
            && segment.flags == Flags::ACK
            && rest.timestamps
            && segment.seq == rest.rcv_nxt
        {
            rest.ts_recent = value;
        }
    }

    /// Answer one more segment of a tuple's? As many a second as challenges in other states: two ends that disagree must not
    /// keep each other busy, and a FIN that comes again and again begins the time again as often.
    pub fn challenge(&mut self, tuple: &Tuple, limit: Limit, now: &Now) -> bool {
        self.entries
            .get_mut(tuple)
            .is_some_and(|rest| rest.challenges.take(limit, rest.snd_nxt.0 ^ rest.ts_offset, now.millis))
    }

    fn pop(&mut self) -> bool {
        let Some((due, tuple)) = self.queue.pop_front() else { return false };
        if self.entries.get(&tuple).is_some_and(|rest| rest.due == due) {
            self.entries.remove(&tuple);
        }
        true
    }

    /// End one, for a new connection takes its tuple.
    pub fn remove(&mut self, tuple: &Tuple) -> Option<Rest> {
        self.entries.remove(tuple)
    }

    /// End all of an address of ours.
    pub fn remove_local(&mut self, ip: IpAddr) {
        self.entries.retain(|tuple, _| tuple.local.ip() != ip);
    }

    /// When the next one ends.
    pub fn next_deadline(&self) -> Ticks {
        self.queue.front().map_or(Ticks::OFF, |(due, _)| *due)
    }

    /// End those whose time is over, at most `max` of them.
    pub fn advance(&mut self, now: Ticks, max: usize) {
        for _ in 0..max {
            if self.queue.front().is_none_or(|(due, _)| !due.is_due(now)) {
                break;
            }
            self.pop();
        }
    }

    /// End all.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TcpConfig;
    use crate::time::Instant;

    fn rest(timestamps: bool) -> Rest {
        Rest {
            snd_nxt: SeqNum(700),
            rcv_nxt: SeqNum(500),
            ts_recent: 100,
            ts_offset: 0,
            due: Ticks::OFF,
            window: 1,
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
        assert!(matches!(judge(500, Flags::ACK), Waiting::Drop(_)));
    }

    #[test]
    fn the_oldest_goes_first() {
        // Shows the bound, the order, the time, and that a restart outlives its first entry in the queue.
        let mut table = TimeWaits::new(2, 60_000_000, KeyedHash::new([1, 2]));
        let tuple = |port| Tuple {
            local: "10.0.0.1:80".parse().unwrap(),
            remote: core::net::SocketAddr::new("10.0.0.2".parse().unwrap(), port),
        };
        let at = |seconds: u64| Now::new(Instant(seconds * 1_000_000_000));
        for (port, second) in [(1, 0), (2, 1), (1, 2)] {
            table.insert(tuple(port), rest(false), &at(second));
        }
        table.advance(at(61).ticks, 64);
        assert!(table.get(&tuple(1)).is_some());
        table.advance(at(62).ticks, 64);
        assert_eq!((table.len(), table.get(&tuple(2)).is_some()), (1, false));
        table.insert(tuple(3), rest(false), &at(63));
        table.insert(tuple(4), rest(false), &at(64));
        assert!(table.get(&tuple(1)).is_none() && table.len() == 2);
        table.advance(at(200).ticks, 64);
        assert!(table.is_empty() && !table.next_deadline().is_on());
    }

    #[test]
    fn a_flood_holds_as_many_as_may_be() {
        // Shows ten thousand connections a second closed by us, each FIN coming again twice, with room for a thousand: never
        // more than that are held, nor twice as many places in the queue, and none once their time is over.
        let mut table = TimeWaits::new(1_000, 60_000_000, KeyedHash::new([1, 2]));
        for n in 0..30_000u32 {
            let tuple = Tuple {
                local: "10.0.0.1:80".parse().unwrap(),
                remote: core::net::SocketAddr::from((n.to_be_bytes(), 9)),
            };
            let now = Now::new(Instant(u64::from(n) * 100_000));
            (0..3).for_each(|_| table.insert(tuple, rest(false), &now));
            assert!(table.len() <= 1_000 && table.queue.len() <= 2_000 && table.get(&tuple).is_some());
            let answers =
                (0..100).filter(|_| table.challenge(&tuple, Limit::of(&TcpConfig::default()), &now)).count();
            assert!((5..=12).contains(&answers));
        }
        let end = Now::new(Instant(64_000_000_000));
        table.advance(end.ticks, usize::MAX);
        assert_eq!((table.len(), table.queue.len()), (0, 0));
    }
}
