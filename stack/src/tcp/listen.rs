//! LISTEN, and SYN_RECEIVED by way of a listener: compact, bounded, and forgotten in time.
//! A half-open connection that is acknowledged becomes a flow, and `input` takes over.

use core::net::IpAddr;

use super::challenge::{Challenges, Limit};
use super::isn::Tuple;
use super::send::NONE;
use super::ticks::{Now, Ticks};
use crate::config::TcpConfig;
use crate::wire::DropReason;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};

/// What the options of a SYN said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The peer's clock, where it takes timestamps.
    pub timestamp: Option<u32>,
    /// The largest segment it takes.
    pub mss: Option<u16>,
    /// The shift of its windows.
    pub window_scale: Option<u8>,
    /// It understands SACK.
    pub sack_permitted: bool,
}

impl Offer {
    /// What a segment with SYN offers.
    pub fn of(segment: &Segment) -> Offer {
        let Options { mss, window_scale, sack_permitted, timestamps, .. } = segment.options;
        Offer { timestamp: timestamps.map(|(value, _)| value), mss, window_scale, sack_permitted }
    }
}

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
    /// What is added to our clock to make timestamps.
    pub ts_offset: u32,
    /// When the SYN-ACK was first sent. Units: microseconds.
    pub sent_us: u32,
    /// When the SYN-ACK goes again; the table's to set.
    pub due: Ticks,
    /// What the peer's SYN said.
    pub offer: Offer,
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
    /// When it was first sent is not known: its acknowledgement tells of no round trip.
    pub unmeasured: bool,
}

const _: () = assert!(size_of::<HalfOpen>() <= 116);

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
    /// Its SYN-ACK was sent once, at a time that is known, and did not grant ECN: what acknowledges it tells no more than the
    /// round trip.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.retries == 0 && !self.unmeasured && !self.ecn
    }

    /// The SYN-ACK.
    #[inline]
    pub fn syn_ack(&self, config: &TcpConfig, now: &Now) -> Segment {
        let (ours, theirs) = (self.tuple.local.port(), self.tuple.remote.port());
        let offered = &self.offer;
        let mut segment = Segment::new(ours, theirs, self.iss, self.irs + 1, Flags::SYN | Flags::ACK);
        segment.window = self.window;
        if self.ecn {
            //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
            //# When Host B sends an ECN-setup SYN-ACK packet, it sets the ECE flag
            //# but not the CWR flag.
            segment.flags |= Flags::ECE;
        }
        let stamp = offered.timestamp.filter(|_| config.timestamps);
        segment.options = Options {
            mss: Some(self.adv_mss),
            window_scale: offered.window_scale.filter(|_| config.window_scaling).map(|_| self.scale),
            sack_permitted: offered.sack_permitted && config.sack,
            timestamps: stamp.map(|value| (now.millis.wrapping_add(self.ts_offset), value)),
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
        if let Some(before) = self.offer.timestamp.filter(|_| config.timestamps)
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
///
/// Who is looked for is found by the lane's flow table, which has the places that [`HalfOpens::insert`] gives.
#[derive(Debug)]
pub struct HalfOpens {
    entries: Vec<Entry>,
    /// The first place that is free, of those that were used; each leads to the next.
    free: u32,
    /// Who is due when: one queue for each number of retries, so that each is sorted by itself.
    queues: Vec<Queue>,
    len: usize,
    max: usize,
}

/// A place: the connection, the hash by which the flow table finds it, and its neighbours in its queue.
#[derive(Debug)]
struct Entry {
    half: Option<HalfOpen>,
    hash: u32,
    before: u32,
    after: u32,
}

const _: () = assert!(size_of::<Entry>() <= 128);

/// The ends of a queue: the next one due, and the last.
#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
}

const EMPTY: Queue = Queue { first: NONE, last: NONE };

/// A half-open connection that has left the table, or is asked again: its place and its hash besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// It, as it is or was.
    pub half: HalfOpen,
    /// Its place.
    pub place: u32,
    /// By what the flow table finds it.
    pub hash: u32,
}

impl HalfOpens {
    /// A table of at most `max`, and as many again of peers that are no fiction.
    pub fn new(max: usize, config: &TcpConfig) -> HalfOpens {
        let queues = vec![EMPTY; usize::from(config.syn_ack_retries) + 1];
        let entries = Vec::with_capacity(max.min(4096));
        HalfOpens { entries, free: NONE, queues, len: 0, max: max.min(NONE as usize / 8) }
    }

    /// Be ready for as many retries as are asked for now; those under way keep what they had.
    pub fn resize(&mut self, config: &TcpConfig) {
        let queues = usize::from(config.syn_ack_retries) + 1;
        if self.queues.len() < queues {
            self.queues.resize(queues, EMPTY);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No further one fits.
    pub fn is_full(&self) -> bool {
        self.len >= self.max
    }

    /// One more fits of a peer that is no fiction: for these there is as much room again.
    pub fn has_reserve(&self) -> bool {
        self.len < 2 * self.max
    }

    /// The one of a place.
    #[inline]
    pub fn of(&self, place: u32) -> Option<&HalfOpen> {
        self.entries.get(place as usize)?.half.as_ref()
    }

    /// The one of a place, if it has these ends.
    pub fn get(&self, place: u32, tuple: &Tuple) -> Option<&HalfOpen> {
        self.of(place).filter(|half| half.tuple == *tuple)
    }

    fn entry_mut(&mut self, place: u32) -> Option<&mut Entry> {
        self.entries.get_mut(place as usize)
    }

    fn half_mut(&mut self, place: u32) -> Option<&mut HalfOpen> {
        self.entry_mut(place)?.half.as_mut()
    }

    /// Remember one whose SYN-ACK is sent now, if the table is not [full](Self::is_full) as the caller sees it. Returns its
    /// place; `None` if it is so with its reserve.
    pub fn insert(&mut self, half: HalfOpen, hash: u32, config: &TcpConfig, now: &Now) -> Option<u32> {
        if !self.has_reserve() {
            return None;
        }
        let entry = Entry { half: Some(half), hash, before: NONE, after: NONE };
        let place = match self.entries.get_mut(self.free as usize) {
            Some(spare) => {
                let place = self.free;
                self.free = spare.after;
                *spare = entry;
                place
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).ok()?
            }
        };
        self.len += 1;
        self.schedule(place, config, now);
        Some(place)
    }

    /// Put one behind those that were asked as often.
    fn schedule(&mut self, place: u32, config: &TcpConfig, now: &Now) {
        let Some(Entry { half: Some(half), before, after, .. }) = self.entries.get_mut(place as usize) else {
            return;
        };
        half.due = now.after(u64::from(config.rto_initial_us) << half.retries.min(10));
        let Some(queue) = self.queues.get_mut(usize::from(half.retries)) else { return };
        let last = core::mem::replace(&mut queue.last, place);
        if queue.first == NONE {
            queue.first = place;
        }
        (*before, *after) = (last, NONE);
        if let Some(entry) = self.entry_mut(last) {
            entry.after = place;
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(Entry { half: Some(half), before, after, .. }) = self.entries.get(place as usize) else {
            return;
        };
        let (retries, before, after) = (usize::from(half.retries), *before, *after);
        if let Some(queue) = self.queues.get_mut(retries) {
            if queue.first == place {
                queue.first = after;
            }
            if queue.last == place {
                queue.last = before;
            }
        }
        if let Some(entry) = self.entry_mut(before) {
            entry.after = after;
        }
        if let Some(entry) = self.entry_mut(after) {
            entry.before = before;
        }
    }

    /// The peer has sent a SYN that does not ask for ECN: it is not granted any more.
    pub fn withdraw_ecn(&mut self, place: u32) {
        if let Some(half) = self.half_mut(place) {
            half.ecn = false;
        }
    }

    /// Answer one more challenge?
    pub fn challenge(&mut self, place: u32, limit: Limit, now: &Now) -> bool {
        self.half_mut(place)
            .is_some_and(|half| half.challenges.take(limit, half.iss.0 ^ half.ts_offset, now.millis))
    }

    /// Forget one. The caller forgets its place.
    pub fn remove(&mut self, place: u32) -> Option<Placed> {
        self.unlink(place);
        let free = self.free;
        let entry = self.entry_mut(place)?;
        let half = entry.half.take()?;
        entry.after = free;
        let hash = entry.hash;
        self.free = place;
        self.len -= 1;
        Some(Placed { half, place, hash })
    }

    /// Make room: forget the oldest that has been asked more than once, for it is the likeliest to be abandoned.
    pub fn evict(&mut self) -> Option<Placed> {
        let oldest =
            self.queues.iter().skip(1).rev().map(|queue| queue.first).find(|first| *first != NONE)?;
        self.remove(oldest)
    }

    /// Forget those of whom this is true, one at a time: begin at zero and go on behind each. Cost: walks the places.
    fn remove_next(&mut self, from: u32, is_one: impl Fn(&HalfOpen) -> bool) -> Option<Placed> {
        let ahead = self.entries.get(from as usize..)?;
        let at = ahead.iter().position(|entry| entry.half.as_ref().is_some_and(&is_one))?;
        self.remove(from + u32::try_from(at).ok()?)
    }

    /// Forget those of a listener that has closed. Cost: walks all places.
    pub fn remove_listener(&mut self, listener: u32, mut forget: impl FnMut(Placed)) {
        let mut from = 0;
        while let Some(placed) = self.remove_next(from, |half| half.listener == listener) {
            from = placed.place + 1;
            forget(placed);
        }
    }

    /// Forget all of an address of ours. Cost: walks all places.
    pub fn remove_local(&mut self, ip: IpAddr, mut forget: impl FnMut(Placed)) {
        let mut from = 0;
        while let Some(placed) = self.remove_next(from, |half| half.tuple.local.ip() == ip) {
            from = placed.place + 1;
            forget(placed);
        }
    }

    /// When `next_due` has something.
    pub fn next_deadline(&self, now: Ticks) -> Ticks {
        self.queues
            .iter()
            .filter_map(|queue| self.entries.get(queue.first as usize)?.half.as_ref())
            .fold(Ticks::OFF, |earliest, half| earliest.earlier(half.due, now))
    }

    /// The next one whose time has come: to be asked again, or (`false`) forgotten already.
    pub fn next_due(&mut self, config: &TcpConfig, now: &Now) -> Option<(Placed, bool)> {
        for index in 0..self.queues.len() {
            let place = self.queues.get(index)?.first;
            let Some(Entry { half: Some(half), hash, .. }) = self.entries.get(place as usize) else {
                continue;
            };
            let (half, hash) = (*half, *hash);
            if !half.due.is_due(now.ticks) {
                continue;
            }
            if half.retries >= config.syn_ack_retries {
                return self.remove(place).map(|placed| (placed, false));
            }
            self.unlink(place);
            if let Some(half) = self.half_mut(place) {
                half.retries += 1;
            }
            self.schedule(place, config, now);
            let half = HalfOpen { retries: half.retries + 1, ..half };
            return Some((Placed { half, place, hash }, true));
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
        offer: Offer::of(syn),
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
mod tests;
