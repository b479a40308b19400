//! TIME_WAIT: what is left of a connection that both ends have closed.

use std::collections::VecDeque;

use super::challenge::{Challenges, Limit};
use super::isn::Tuple;
use super::ticks::{Now, Ticks};
use crate::wire::DropReason;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};

/// What is left of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// RCV.NXT.
    pub rcv_nxt: SeqNum,
    /// MAX.SND.WND.
    pub snd_wnd_max: u32,
    /// TS.Recent.
    pub ts_recent: u32,
    /// The window field of its last acknowledgement.
    pub window: u16,
    /// By how much that field is shifted.
    pub scale: u8,
    /// Both ends sent timestamps.
    pub timestamps: bool,
    /// Acknowledgements sent in the current second.
    pub challenges: Challenges,
}

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
    /// The acknowledgement that TIME_WAIT sends; `ts_offset` is added to our clock to make timestamps.
    pub fn acknowledgement(&self, tuple: &Tuple, ts_offset: u32, now: &Now) -> Segment {
        let mut segment =
            Segment::new(tuple.local.port(), tuple.remote.port(), self.snd_nxt, self.rcv_nxt, Flags::ACK);
        segment.window = self.window;
        if self.timestamps {
            let stamps = (now.millis.wrapping_add(ts_offset), self.ts_recent);
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
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
        //# If an incoming segment is not acceptable, an acknowledgment should
        //# be sent in reply (unless the RST bit is set, if so drop the
        //# segment and return):
        let seq_len = segment.seq_len(len);
        let window = u32::from(self.window) << self.scale;
        let (first, last) = (segment.seq, segment.seq + seq_len.saturating_sub(1));
        if !first.in_window(self.rcv_nxt, window.max(1)) && !last.in_window(self.rcv_nxt, window.max(1)) {
            //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
            //# The only thing that can arrive in this state is a retransmission of the
            //# remote FIN. Acknowledge it, and restart the 2 MSL timeout.
            let again = segment.flags.contains(Flags::FIN | Flags::ACK) && last + 1 == self.rcv_nxt;
            return if again { Waiting::Restart } else { Waiting::Acknowledge(DropReason::TcpNotAcceptable) };
        }
        if !segment.flags.contains(Flags::ACK) {
            return Waiting::Drop(DropReason::TcpNotAcceptable);
        }
        //= https://www.rfc-editor.org/rfc/rfc5961#section-5.2
        //# The ACK value is considered acceptable only if it is in the range of
        //# ((SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT).
        let ack = segment.ack.ge(self.snd_nxt - self.snd_wnd_max) && segment.ack.le(self.snd_nxt);
        if segment.seq != self.rcv_nxt || seq_len > 0 || !ack {
            return Waiting::Acknowledge(DropReason::TcpNotAcceptable);
        }
        Waiting::Drop(DropReason::TcpNotAcceptable)
    }
}

/// How far beyond the old connection a new one begins, at least: more than any window.
const REUSE_STEP: u32 = 1 << 16;

/// What the table keeps of one: a place in the order in which they end.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// What its tuple is known by, in two halves.
    key: [u32; 2],
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    ts_recent: u32,
    /// MAX.SND.WND without the bits that its shift counts, which no scaled window has.
    snd_wnd_max: u16,
    /// That shift, and above it when the entry ends, in steps from when the first of its chunk does.
    shift_and_due: u16,
    window: u16,
    challenges: Challenges,
    bits: u8,
}

const _: () = assert!(size_of::<Entry>() == 28);

/// In an entry's `bits`: the shift of its window, and what else there is.
const SCALE: u8 = 0x0f;
const TIMESTAMPS: u8 = 0x10;
const LIVE: u8 = 0x20;

/// In an entry's `shift_and_due`, the former.
const SHIFT: u16 = 0x0f;

/// Ticks of a step as a power of two: two milliseconds.
const STEP_SHIFT: u32 = 5;

/// Steps that an entry can tell: nine seconds.
const STEPS: u32 = 1 << 12;

impl Entry {
    const NONE: Entry = Entry {
        key: [0; 2],
        snd_nxt: SeqNum(0),
        rcv_nxt: SeqNum(0),
        ts_recent: 0,
        snd_wnd_max: 0,
        shift_and_due: 0,
        window: 0,
        challenges: Challenges::NONE,
        bits: 0,
    };

    #[expect(clippy::cast_possible_truncation, reason = "a window has 30 bits, and `steps` is below `STEPS`")]
    fn new(key: u64, rest: &Rest, steps: u32) -> Entry {
        let shift = 16u32.saturating_sub(rest.snd_wnd_max.leading_zeros());
        let snd_wnd_max = (rest.snd_wnd_max >> shift) as u16;
        let shift_and_due = (steps << 4) as u16 | shift as u16 & SHIFT;
        let timestamps = if rest.timestamps { TIMESTAMPS } else { 0 };
        Entry {
            key: halves(key),
            snd_nxt: rest.snd_nxt,
            rcv_nxt: rest.rcv_nxt,
            ts_recent: rest.ts_recent,
            snd_wnd_max,
            shift_and_due,
            window: rest.window,
            challenges: rest.challenges,
            bits: LIVE | rest.scale & SCALE | timestamps,
        }
    }

    fn rest(&self) -> Rest {
        Rest {
            snd_nxt: self.snd_nxt,
            rcv_nxt: self.rcv_nxt,
            snd_wnd_max: u32::from(self.snd_wnd_max) << (self.shift_and_due & SHIFT),
            ts_recent: self.ts_recent,
            window: self.window,
            scale: self.bits & SCALE,
            timestamps: self.bits & TIMESTAMPS != 0,
            challenges: self.challenges,
        }
    }

    fn is_live(&self) -> bool {
        self.bits & LIVE != 0
    }

    /// When it ends, in a chunk that began with one that ends at `base`.
    fn due(&self, base: Ticks) -> Ticks {
        Ticks::from_raw(base.raw().wrapping_add(u32::from(self.shift_and_due >> 4) << STEP_SHIFT))
    }
}

/// Entries in a row.
#[derive(Debug)]
struct Chunk {
    /// When the first of them ends, or would.
    base: Ticks,
    entries: Box<[Entry]>,
}

fn halves(key: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the other half is the other half")]
    [(key >> 32) as u32, key as u32]
}

fn whole([high, low]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Entries that are made at a time.
const CHUNK: usize = 512;

/// Entries are numbered in the order in which they end, in so many bits.
const NUMBERS: u32 = (1 << 30) - 1;

/// Every connection of a lane that is in TIME_WAIT, in the order in which they end, 28 bytes each.
///
/// Who is looked for is found by the lane's flow table, which has the numbers that [`TimeWaits::insert`] gives and is told by
/// `forget` which are no longer good. A tuple is known by a keyed hash of 64 bits: among a million, one new tuple in 2^44 is
/// taken for another.
#[derive(Debug)]
pub struct TimeWaits {
    chunks: VecDeque<Chunk>,
    /// Chunks for later: what was needed once is not asked for again.
    spare: Vec<Box<[Entry]>>,
    /// Number of the first entry of the first chunk.
    base: u32,
    /// Entries from there to the oldest, and to behind the youngest.
    oldest: usize,
    end: usize,
    live: usize,
    max: usize,
    time_us: u64,
}

impl TimeWaits {
    /// A table of at most `max`, each for `time_us` microseconds.
    pub fn new(max: usize, time_us: u64) -> TimeWaits {
        TimeWaits {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            base: 0,
            oldest: 0,
            end: 0,
            live: 0,
            max: max.clamp(1, NUMBERS as usize / 4),
            time_us,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    fn index(&self, number: u32) -> Option<usize> {
        let index = (number.wrapping_sub(self.base) & NUMBERS) as usize;
        (self.oldest..self.end).contains(&index).then_some(index)
    }

    fn number(&self, index: usize) -> u32 {
        u32::try_from(index).unwrap_or(0).wrapping_add(self.base) & NUMBERS
    }

    fn at(&self, index: usize) -> Option<&Entry> {
        self.chunks.get(index / CHUNK)?.entries.get(index % CHUNK)
    }

    fn at_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.chunks.get_mut(index / CHUNK)?.entries.get_mut(index % CHUNK)
    }

    fn entry_mut(&mut self, number: u32) -> Option<&mut Entry> {
        let index = self.index(number)?;
        self.at_mut(index).filter(|entry| entry.is_live())
    }

    /// The one of a number, if it has this key.
    pub fn get(&self, number: u32, key: u64) -> Option<Rest> {
        self.find(number, key).map(Entry::rest)
    }

    /// The one of a number has this key.
    pub fn has(&self, number: u32, key: u64) -> bool {
        self.find(number, key).is_some()
    }

    fn find(&self, number: u32, key: u64) -> Option<&Entry> {
        let entry = self.at(self.index(number)?)?;
        (entry.is_live() && entry.key == halves(key)).then_some(entry)
    }

    /// Begin. Returns its number. If the table is full, the oldest makes room.
    pub fn insert(&mut self, key: u64, rest: &Rest, now: &Now, mut forget: impl FnMut(u64, u32)) -> u32 {
        // Places of those that ended before their time stay until it has come: should there be too many, the oldest go,
        // whoever has them.
        while (self.live >= self.max || self.end - self.oldest >= 2 * self.max.max(64))
            && self.pop(&mut forget)
        {}
        let steps = self.step_of(now.after(self.time_us));
        let index = self.end;
        if let Some(place) = self.at_mut(index) {
            *place = Entry::new(key, rest, steps);
        }
        self.end += 1;
        self.live += 1;
        self.number(index)
    }

    /// See that there is a place for one that ends at `due`, and tell how many steps behind its chunk's beginning that is.
    fn step_of(&mut self, due: Ticks) -> u32 {
        if let Some(chunk) = self.chunks.back_mut() {
            // No earlier than asked: what has begun of a step counts whole.
            let ticks = u32::try_from(due.until(chunk.base)).unwrap_or(0);
            let steps = ticks.div_ceil(1 << STEP_SHIFT);
            let used = self.end - (self.chunks.len() - 1) * CHUNK;
            if used < CHUNK && steps < STEPS {
                return steps;
            }
            if let Some(chunk) = self.chunks.back_mut() {
                chunk.entries[used..].fill(Entry::NONE);
            }
        }
        self.end = self.chunks.len() * CHUNK;
        let entries = self.spare.pop().unwrap_or_else(|| vec![Entry::NONE; CHUNK].into_boxed_slice());
        self.chunks.push_back(Chunk { base: due, entries });
        0
    }

    /// What comes in order and says nothing new has the peer's latest timestamp (RFC 7323 section 4.3).
    pub fn note_timestamp(&mut self, number: u32, segment: &Segment) {
        if let (Some(entry), Some((value, _))) = (self.entry_mut(number), segment.options.timestamps)
            && segment.flags == Flags::ACK
            && entry.bits & TIMESTAMPS != 0
            && segment.seq == entry.rcv_nxt
        {
            entry.ts_recent = value;
        }
    }

    /// Answer one more segment? As many a second as challenges in other states: two ends that disagree must not keep each
    /// other busy, and a FIN that comes again and again begins the time again as often.
    pub fn challenge(&mut self, number: u32, limit: Limit, now: &Now) -> bool {
        self.entry_mut(number).is_some_and(|entry| entry.challenges.take(limit, entry.key[1], now.millis))
    }

    /// Forget the oldest place. False if there is none.
    fn pop(&mut self, forget: &mut impl FnMut(u64, u32)) -> bool {
        if self.oldest == self.end {
            return false;
        }
        let number = self.number(self.oldest);
        if let Some(key) = self.end_one(number) {
            forget(key, number);
        }
        self.oldest += 1;
        if self.oldest == CHUNK
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.spare.push(chunk.entries);
            self.base = self.number(CHUNK);
            self.oldest = 0;
            self.end -= CHUNK;
        }
        true
    }

    fn end_one(&mut self, number: u32) -> Option<u64> {
        let entry = self.entry_mut(number)?;
        entry.bits = 0;
        let key = whole(entry.key);
        self.live -= 1;
        Some(key)
    }

    /// End one, for a new connection takes its tuple, or it begins again. The caller forgets its number.
    pub fn remove(&mut self, number: u32) {
        self.end_one(number);
    }

    /// When the next one ends.
    pub fn next_deadline(&self) -> Ticks {
        let oldest = self.at(self.oldest).filter(|_| self.oldest < self.end);
        oldest.zip(self.chunks.front()).map_or(Ticks::OFF, |(entry, chunk)| entry.due(chunk.base))
    }

    /// End those whose time is over, at most `max` of them.
    pub fn advance(&mut self, now: Ticks, max: usize, mut forget: impl FnMut(u64, u32)) {
        for _ in 0..max {
            if !self.next_deadline().is_due(now) {
                break;
            }
            self.pop(&mut forget);
        }
    }

    /// End all.
    pub fn clear(&mut self, mut forget: impl FnMut(u64, u32)) {
        while self.pop(&mut forget) {}
    }
}

#[cfg(test)]
mod tests;
