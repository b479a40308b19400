//! LISTEN, and SYN_RECEIVED by way of a listener: compact, bounded, and forgotten in time.
//! A half-open connection that is acknowledged becomes a flow, and `input` takes over.

use core::net::IpAddr;
use std::collections::VecDeque;

use hashbrown::HashMap;

use super::challenge::{Challenges, Limit};
use super::isn::Tuple;
use super::ticks::{Now, Ticks};
use crate::config::TcpConfig;
use crate::ip::KeyedHash;
use crate::wire::DropReason;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};

/// A SYN that was answered, and what its options said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfOpen {
    /// The two ends.
    pub tuple: Tuple,
    /// Slot of the listener.
    pub listener: u32,
    /// Our initial sequence number.
    pub iss: SeqNum,
    /// The peer's.
    pub irs: SeqNum,
    /// The peer's SYN, for its options and window.
    pub syn: Segment,
    /// What is added to our clock to make timestamps.
    pub ts_offset: u32,
    /// MSS we announce.
    pub adv_mss: u16,
    /// The window we announced.
    pub window: u16,
    /// The shift of our windows.
    pub scale: u8,
    /// The peer asked for ECN, and it is granted.
    pub ecn: bool,
    /// SYN-ACKs sent again.
    pub retries: u8,
    /// Challenges answered in the current second.
    pub challenges: Challenges,
    /// When the SYN-ACK was first sent. Units: microseconds.
    pub sent_us: u32,
    /// That is not known: its acknowledgement tells of no round trip.
    pub unmeasured: bool,
    /// When the SYN-ACK goes again; the table's to set.
    pub due: Ticks,
}

/// What a listener does about a segment that belongs to no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listening {
    /// Nothing.
    Drop(DropReason),
    /// Answer with a reset.
    Reset,
    /// Answer with a SYN-ACK.
    Answer,
}

/// RFC 9293 section 3.10.7.2.
pub fn on_listen(segment: &Segment) -> Listening {
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.2
    //# An incoming RST segment could not be valid since it could not have been
    //# sent in response to anything sent by this incarnation of the connection.
    if segment.flags.contains(Flags::RST) {
        return Listening::Drop(DropReason::TcpResetNotExact);
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.2
    //# Any acknowledgment is bad if it arrives on a connection still in the
    //# LISTEN state. An acceptable reset segment should be formed for any
    //# arriving ACK-bearing segment.
    if segment.flags.contains(Flags::ACK) {
        return Listening::Reset;
    }
    if segment.flags.contains(Flags::SYN) {
        return Listening::Answer;
    }
    Listening::Drop(DropReason::TcpNotAcceptable)
}

/// What a half-open connection does about a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// Nothing.
    Drop(DropReason),
    /// Answer with a reset that takes its number from the segment's acknowledgement.
    Reset,
    /// Answer with an acknowledgement, and go on.
    Challenge(DropReason),
    /// Send the SYN-ACK again: the peer's SYN came again.
    Again,
    /// Forget it.
    Forget(DropReason),
    /// It is acknowledged: make it a flow and let the flow have the segment.
    Open,
}

impl HalfOpen {
    /// The SYN-ACK.
    pub fn syn_ack(&self, config: &TcpConfig, now: &Now) -> Segment {
        let offered = &self.syn.options;
        let mut segment = Segment::new(
            self.tuple.local.port(),
            self.tuple.remote.port(),
            self.iss,
            self.irs + 1,
            Flags::SYN | Flags::ACK,
        );
        segment.window = self.window;
        if self.ecn {
            //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
            //# When Host B sends an ECN-setup SYN-ACK packet, it sets the ECE flag
            //# but not the CWR flag.
            segment.flags |= Flags::ECE;
        }
        let stamps = offered.timestamps.filter(|_| config.timestamps);
        segment.options = Options {
            mss: Some(self.adv_mss),
            window_scale: offered.window_scale.filter(|_| config.window_scaling).map(|_| self.scale),
            sack_permitted: offered.sack_permitted && config.sack,
            timestamps: stamps.map(|(value, _)| (now.millis.wrapping_add(self.ts_offset), value)),
            ..Options::NONE
        };
        segment
    }

    /// An acknowledgement that says where we stand.
    pub fn challenge(&self, config: &TcpConfig, now: &Now) -> Segment {
        let mut segment = self.syn_ack(config, now);
        segment.seq = self.iss + 1;
        segment.flags = Flags::ACK;
        //= https://www.rfc-editor.org/rfc/rfc7323#section-2.3
        //# The window field (SEG.WND) of every outgoing segment, with the
        //# exception of <SYN> segments, MUST be right-shifted by
        //# Rcv.Wind.Shift bits:
        segment.window >>= segment.options.window_scale.unwrap_or(0);
        segment.options = Options { timestamps: segment.options.timestamps, ..Options::NONE };
        segment
    }

    /// RFC 9293 section 3.10.7.4 as far as it concerns SYN_RECEIVED.
    pub fn on_segment(&self, segment: &Segment, len: u32, config: &TcpConfig) -> Half {
        let nxt = self.irs + 1;
        if segment.flags.contains(Flags::SYN)
            && segment.seq == self.irs
            && !segment.flags.intersects(Flags::ACK | Flags::RST)
        {
            return Half::Again;
        }
        if let Some((before, _)) = self.syn.options.timestamps.filter(|_| config.timestamps)
            && !segment.flags.contains(Flags::RST)
        {
            match segment.options.timestamps {
                //= https://www.rfc-editor.org/rfc/rfc7323#section-3.2
                //# If a non-<RST> segment is received without a TSopt, a TCP SHOULD
                //# silently drop the segment.
                None if !segment.flags.contains(Flags::SYN) => {
                    return Half::Drop(DropReason::TcpOldTimestamp);
                }
                Some((value, _)) if value.wrapping_sub(before).cast_signed() < 0 => {
                    return Half::Challenge(DropReason::TcpOldTimestamp);
                }
                _ => {}
            }
        }
        let window = u32::from(self.window);
        let seq_len = segment.seq_len(len);
        let last = segment.seq + seq_len.saturating_sub(1);
        let acceptable = segment.seq.in_window(nxt, window) || seq_len > 0 && last.in_window(nxt, window);
        if !acceptable {
            return if segment.flags.contains(Flags::RST) {
                Half::Drop(DropReason::TcpResetNotExact)
            } else {
                Half::Challenge(DropReason::TcpNotAcceptable)
            };
        }
        if segment.flags.contains(Flags::RST) {
            return if segment.seq == nxt {
                Half::Forget(DropReason::TcpNotAcceptable)
            } else {
                Half::Challenge(DropReason::TcpResetNotExact)
            };
        }
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
        //# If the connection was initiated with a passive OPEN, then
        //# return this connection to the LISTEN state and return.
        if segment.flags.contains(Flags::SYN) {
            return Half::Forget(DropReason::TcpNotAcceptable);
        }
        if !segment.flags.contains(Flags::ACK) {
            return Half::Drop(DropReason::TcpNotAcceptable);
        }
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
        //# If the segment acknowledgment is not acceptable, form a reset segment
        //# <SEQ=SEG.ACK><CTL=RST>
        if segment.ack != self.iss + 1 {
            return Half::Reset;
        }
        Half::Open
    }
}

/// Every half-open connection of a lane, whichever its listener.
#[derive(Debug)]
pub struct HalfOpens {
    entries: HashMap<Tuple, HalfOpen, KeyedHash>,
    /// Who is due when: one queue for each number of retries, so that each is sorted by itself.
    queues: Vec<VecDeque<(Ticks, Tuple)>>,
    max: usize,
}

/// The oldest of a queue that may be stale before it is tidied.
const STALE_FACTOR: usize = 4;

impl HalfOpens {
    /// A table of at most `max`.
    pub fn new(max: usize, config: &TcpConfig, hash: KeyedHash) -> HalfOpens {
        let queues = (0..=config.syn_ack_retries).map(|_| VecDeque::new()).collect();
        HalfOpens { entries: HashMap::with_capacity_and_hasher(max.min(4096), hash), queues, max }
    }

    /// Be ready for as many retries as are asked for now; those under way keep what they had.
    pub fn resize(&mut self, config: &TcpConfig) {
        let queues = usize::from(config.syn_ack_retries) + 1;
        if self.queues.len() < queues {
            self.queues.resize_with(queues, VecDeque::new);
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

    /// No further one fits.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.max
    }

    /// One more fits of a peer that is no fiction: for these there is as much room again.
    pub fn has_reserve(&self) -> bool {
        self.entries.len() < 2 * self.max
    }

    /// The one of a tuple.
    pub fn get(&self, tuple: &Tuple) -> Option<&HalfOpen> {
        self.entries.get(tuple)
    }

    /// Remember one whose SYN-ACK is sent now, if the table is not [full](Self::is_full) as the caller sees it. False if it is
    /// so with its reserve.
    pub fn insert(&mut self, entry: HalfOpen, config: &TcpConfig, now: &Now) -> bool {
        if !self.has_reserve() {
            return false;
        }
        self.schedule(entry, config, now);
        true
    }

    fn schedule(&mut self, mut entry: HalfOpen, config: &TcpConfig, now: &Now) {
        let wait = u64::from(config.rto_initial_us) << entry.retries.min(10);
        entry.due = now.after(wait);
        let entries = &self.entries;
        if let Some(queue) = self.queues.get_mut(usize::from(entry.retries)) {
            if queue.len() >= STALE_FACTOR * self.max {
                queue.retain(|(due, tuple)| entries.get(tuple).is_some_and(|entry| entry.due == *due));
            }
            queue.push_back((entry.due, entry.tuple));
        }
        self.entries.insert(entry.tuple, entry);
    }

    /// The peer has sent a SYN that does not ask for ECN: it is not granted any more.
    pub fn withdraw_ecn(&mut self, tuple: &Tuple) {
        if let Some(entry) = self.entries.get_mut(tuple) {
            entry.ecn = false;
        }
    }

    /// Answer one more challenge?
    pub fn challenge(&mut self, tuple: &Tuple, limit: Limit, now: &Now) -> bool {
        self.entries
            .get_mut(tuple)
            .is_some_and(|entry| entry.challenges.take(limit, entry.iss.0 ^ entry.ts_offset, now.millis))
    }

    /// Forget one.
    pub fn remove(&mut self, tuple: &Tuple) -> Option<HalfOpen> {
        self.entries.remove(tuple)
    }

    /// Make room: forget the oldest that has been asked more than once, for it is the likeliest to be abandoned.
    pub fn evict(&mut self) -> Option<HalfOpen> {
        for queue in self.queues.iter_mut().skip(1).rev() {
            while let Some((due, tuple)) = queue.pop_front() {
                if self.entries.get(&tuple).is_some_and(|entry| entry.due == due) {
                    return self.entries.remove(&tuple);
                }
            }
        }
        None
    }

    /// Forget those of a listener that has closed. Cost: walks the queues, in their order.
    pub fn remove_listener(&mut self, listener: u32) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.listener != listener);
        before - self.entries.len()
    }

    /// Forget all of an address of ours. Returns the listener of each.
    pub fn remove_local(&mut self, ip: IpAddr) -> Vec<u32> {
        self.entries.extract_if(|tuple, _| tuple.local.ip() == ip).map(|(_, entry)| entry.listener).collect()
    }

    /// When `next_due` has something.
    pub fn next_deadline(&self, now: Ticks) -> Ticks {
        let fronts = self.queues.iter().filter_map(|queue| queue.front());
        fronts.fold(Ticks::OFF, |earliest, (due, _)| earliest.earlier(*due, now))
    }

    /// The next one whose time has come: to be asked again, or (`false`) forgotten already.
    pub fn next_due(&mut self, config: &TcpConfig, now: &Now) -> Option<(HalfOpen, bool)> {
        for index in 0..self.queues.len() {
            while let Some(queue) = self.queues.get_mut(index)
                && let Some((due, tuple)) = queue.front().copied()
                && due.is_due(now.ticks)
            {
                queue.pop_front();
                let Some(entry) = self.entries.get(&tuple).filter(|entry| entry.due == due).copied() else {
                    continue;
                };
                if entry.retries >= config.syn_ack_retries {
                    self.entries.remove(&tuple);
                    return Some((entry, false));
                }
                let entry = HalfOpen { retries: entry.retries + 1, ..entry };
                self.schedule(entry, config, now);
                return Some((entry, true));
            }
        }
        None
    }
}

/// A half-open connection as a SYN begins it.
pub fn half_open(
    tuple: Tuple,
    listener: u32,
    syn: &Segment,
    iss: SeqNum,
    ts_offset: u32,
    now: &Now,
) -> HalfOpen {
    HalfOpen {
        tuple,
        listener,
        iss,
        irs: syn.seq,
        syn: *syn,
        ts_offset,
        adv_mss: 0,
        window: 0,
        scale: 0,
        ecn: false,
        retries: 0,
        challenges: Challenges::default(),
        sent_us: now.micros,
        unmeasured: false,
        due: Ticks::OFF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    fn syn(flags: Flags) -> Segment {
        Segment::new(1000, 80, SeqNum(500), SeqNum(0), flags)
    }

    fn entry(port: u16, now: &Now) -> HalfOpen {
        let tuple = Tuple {
            local: "10.0.0.1:80".parse().unwrap(),
            remote: core::net::SocketAddr::new("10.0.0.2".parse().unwrap(), port),
        };
        HalfOpen { window: 1000, ..half_open(tuple, 0, &syn(Flags::SYN), SeqNum(9000), 0, now) }
    }

    fn table(max: usize) -> (HalfOpens, TcpConfig) {
        let config = TcpConfig::default();
        (HalfOpens::new(max, &config, KeyedHash::new([1, 2])), config)
    }

    #[test]
    fn a_listener_answers_syns_alone() {
        // Shows the order of section 3.10.7.2: RST first, then ACK, then SYN, then anything else.
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.2
        //= type=test
        //# Any acknowledgment is bad if it arrives on a connection still in the
        //# LISTEN state. An acceptable reset segment should be formed for any
        //# arriving ACK-bearing segment.
        assert!(matches!(on_listen(&syn(Flags::RST | Flags::SYN | Flags::ACK)), Listening::Drop(_)));
        assert_eq!(on_listen(&syn(Flags::SYN | Flags::ACK)), Listening::Reset);
        assert_eq!(on_listen(&syn(Flags::SYN | Flags::FIN)), Listening::Answer);
        assert!(matches!(on_listen(&syn(Flags::FIN)), Listening::Drop(_)));
    }

    #[test]
    fn a_half_open_connection_judges_each_segment() {
        // Shows each verdict of SYN_RECEIVED, at the window's edges too.
        let (_, config) = table(1);
        let entry = entry(1, &Now::new(Instant(0)));
        let segment = |seq, ack, flags| Segment::new(1, 80, SeqNum(seq), SeqNum(ack), flags);
        let judge = |seq, ack, flags| entry.on_segment(&segment(seq, ack, flags), 0, &config);
        assert_eq!(judge(501, 9001, Flags::ACK), Half::Open);
        assert_eq!(judge(501, 9001, Flags::ACK | Flags::FIN), Half::Open);
        assert_eq!(judge(501, 9000, Flags::ACK), Half::Reset);
        assert_eq!(judge(501, 9002, Flags::ACK), Half::Reset);
        assert_eq!(judge(500, 0, Flags::SYN), Half::Again);
        assert!(matches!(judge(500, 0, Flags::SYN | Flags::RST), Half::Drop(_)));
        assert!(matches!(judge(501, 0, Flags::SYN), Half::Forget(_)));
        assert!(matches!(judge(501, 0, Flags::RST), Half::Forget(_)));
        assert!(matches!(judge(502, 0, Flags::RST), Half::Challenge(_)));
        assert!(matches!(judge(1501, 0, Flags::RST), Half::Drop(_)));
        assert!(matches!(judge(500, 9001, Flags::ACK), Half::Challenge(_)));
        assert!(matches!(judge(1501, 9001, Flags::ACK), Half::Challenge(_)));
        assert!(matches!(judge(501, 9001, Flags::NONE), Half::Drop(_)));
    }

    #[test]
    fn what_lacks_its_timestamp_opens_nothing() {
        // Shows that where both have agreed on timestamps, an acknowledgement without one does not make a connection, which
        // would drop it and then wait for nothing.
        let (_, config) = table(1);
        let mut half = entry(1, &Now::new(Instant(0)));
        half.syn.options.timestamps = Some((100, 0));
        let mut ack = Segment::new(1, 80, SeqNum(501), SeqNum(9001), Flags::ACK);
        assert_eq!(half.on_segment(&ack, 0, &config), Half::Drop(DropReason::TcpOldTimestamp));
        ack.options.timestamps = Some((100, 0));
        assert_eq!(half.on_segment(&ack, 0, &config), Half::Open);
        ack.options.timestamps = Some((99, 0));
        assert_eq!(half.on_segment(&ack, 0, &config), Half::Challenge(DropReason::TcpOldTimestamp));
    }

    #[test]
    fn a_challenge_promises_no_more_than_the_syn() {
        // Shows that the window of an acknowledgement is shifted where that of the SYN-ACK before it is not.
        let (_, config) = table(1);
        let now = Now::new(Instant(0));
        let mut half = HalfOpen { window: 65_535, scale: 8, ..entry(1, &now) };
        assert_eq!(half.challenge(&config, &now).window, 65_535);
        half.syn.options.window_scale = Some(3);
        assert_eq!((half.syn_ack(&config, &now).window, half.challenge(&config, &now).window), (65_535, 255));
    }

    #[test]
    fn abandoned_handshakes_are_forgotten() {
        // Shows the SYN-ACK's times (1, 3, 7, 15, 31 s), the end at 63 s, and that the count comes back.
        let (mut table, config) = table(4);
        table.insert(entry(1, &Now::new(Instant(0))), &config, &Now::new(Instant(0)));
        let mut times = Vec::new();
        for ms in 0..70_000u64 {
            let now = Now::new(Instant(ms * 1_000_000));
            while let Some((_, again)) = table.next_due(&config, &now) {
                times.push((ms / 1_000, again));
            }
        }
        assert_eq!(times, [(1, true), (3, true), (7, true), (15, true), (31, true), (63, false)]);
        assert!(table.is_empty());
        assert_eq!(table.next_deadline(Ticks::at(Instant(0))), Ticks::OFF);
    }

    #[test]
    fn a_full_table_makes_room_from_the_abandoned() {
        // Shows that a fresh handshake is never evicted for another, and one that did not answer is; and where the reserve
        // ends.
        let (mut table, config) = table(2);
        let now = Now::new(Instant(0));
        let mut insert = |port| table.insert(entry(port, &now), &config, &now) as u8;
        assert_eq!([1, 2, 3, 4, 5].map(&mut insert), [1, 1, 1, 1, 0]);
        table.remove(&entry(3, &now).tuple);
        table.remove(&entry(4, &now).tuple);
        assert!(table.is_full());
        assert_eq!(table.evict(), None);
        let later = Now::new(Instant(1_001_000_000));
        assert!(table.next_due(&config, &later).is_some());
        assert_eq!(table.evict().unwrap().tuple.remote.port(), 1);
        assert_eq!(table.len(), 1);
    }
}
