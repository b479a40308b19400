//! The common segment of an established flow, in and out: in order, nothing odd about it. Finishes, or declines before it
//! changes anything; what it does is what `input` or `output` would have done.

use super::acknowledge::{acknowledge, acknowledge_quietly, is_quiet, set_snd_wnd};
use super::congestion::validation;
use super::output;
use super::send::{Cells, NONE, mark};
use super::state::{Cold, Connection, Hot, TIMESTAMPS_LEN, bits, flag, hint, owed};
use super::ticks::Ticks;
use super::{ecn, mtu, tally, text, timers, window};
use crate::mode::SMALL_MAX;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};

/// What a segment says that says nothing out of the ordinary: ACK, perhaps PSH, and no option but timestamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain {
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK.
    pub ack: SeqNum,
    /// SEG.WND as it stands in the header.
    pub window: u16,
    /// TSval and TSecr.
    pub stamps: Option<(u32, u32)>,
    /// Bytes of payload.
    pub len: u32,
}

impl Plain {
    /// What `segment` says with `len` bytes of payload, if that is all.
    #[inline]
    pub fn of(segment: &Segment, len: u32) -> Option<Plain> {
        let plain = segment.flags.without(Flags::PSH) == Flags::ACK && segment.options.sack.is_empty();
        let Segment { seq, ack, window, .. } = *segment;
        plain.then_some(Plain { seq, ack, window, stamps: segment.options.timestamps, len })
    }

    /// The same as a segment, of a connection between these ports.
    pub fn segment(&self, source_port: u16, destination_port: u16, flags: Flags) -> Segment {
        let mut segment = Segment::new(source_port, destination_port, self.seq, self.ack, flags);
        segment.window = self.window;
        segment.options = Options { timestamps: self.stamps, ..Options::NONE };
        segment
    }
}

/// What came of a segment that was taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// SND.UNA has moved.
    pub progress: bool,
    /// A small payload is done that nobody is told of; others are on the connection's list.
    pub done: bool,
}

/// Take a segment in; `None`: let [`input::input`](super::input::input) do it. All its payload is the next in order.
#[inline(always)]
pub fn input(connection: &mut Connection, plain: &Plain) -> Option<Taken> {
    if declines(connection, plain) {
        return None;
    }
    let stamped = connection.is(flag::TIMESTAMPS);
    if is_quiet(connection) {
        return Some(hear_quietly(connection, plain, stamped));
    }
    let una = connection.hot.snd_una;
    acknowledge_loudly(connection, *plain);
    hear_of(connection, plain);
    hear(connection, plain, stamped);
    Some(Taken { progress: connection.hot.snd_una != una, done: false })
}

/// What is so of a flow that [`input_next`] takes segments of: these bits, of those.
const WELL: u32 = bits(0, 0, flag::TIMESTAMPS | flag::RECEIVING);
const WELL_OF: u32 = bits(
    mtu::bit::PROBE | mtu::bit::FELL,
    hint::AMISS | hint::WAITS,
    flag::TIMESTAMPS | flag::RECEIVING | flag::DEAF,
);

/// The same of a flow on which nothing is amiss, and nothing was, and whose application takes what comes.
#[inline(always)]
pub fn input_next(connection: &mut Connection, plain: &Plain) -> Option<Taken> {
    let well = connection.hot.is_plain() && connection.hot.bits() & WELL_OF == WELL;
    (well && !is_other(connection, plain, true)).then(|| hear_quietly(connection, plain, true))
}

#[inline(always)]
fn hear_quietly(connection: &mut Connection, plain: &Plain, stamped: bool) -> Taken {
    let una = connection.hot.snd_una;
    hear_of(connection, plain);
    set_snd_wnd(connection, plain.window);
    let done = acknowledge_quietly(connection, plain.ack, true);
    hear(connection, plain, stamped);
    Taken { progress: done || plain.ack != una, done }
}

/// The peer was heard of now.
#[inline(always)]
fn hear_of(connection: &mut Connection, plain: &Plain) {
    if plain.len == 0 && connection.hot.owed & owed::DATA != 0 {
        // This segment has none: when the last data came is told by the one before.
        connection.hot.owed &= !owed::DATA;
        connection.cold.data_ms = connection.hot.heard_ms;
    }
    timers::heard(connection);
}

/// What a segment says beside that and its acknowledgement, which is taken in. `stamped`: timestamps are in use.
#[inline(always)]
fn hear(connection: &mut Connection, plain: &Plain, stamped: bool) {
    // An older value was declined.
    if let (Some((value, _)), true) = (plain.stamps, stamped)
        && plain.seq.le(connection.hot.last_ack_sent)
    {
        connection.hot.ts_recent = value;
    }
    if plain.len > 0 {
        text::note_bytes(connection.hot, plain.len);
        connection.hot.owed |= owed::DATA;
        text::advance_within(connection, plain.len);
    }
    owe_window(connection.hot, connection.cold, plain);
    tally::note_received(connection, plain.len);
}

/// What is acknowledged must be searched for.
#[inline(never)]
fn acknowledge_loudly(connection: &mut Connection, plain: Plain) {
    connection.pay();
    let (source, destination) = (connection.hot.remote_port(), connection.hot.local_port());
    acknowledge(connection, &plain.segment(source, destination, Flags::ACK), plain.len);
}

/// SND.WL1 and SND.WL2 are of this segment, which was just taken in.
#[inline]
fn owe_window(hot: &mut Hot, cold: &mut Cold, plain: &Plain) {
    if let Ok(len) = u16::try_from(plain.len) {
        hot.last_len = len;
        hot.owed |= owed::WINDOW;
    } else {
        hot.owed &= !owed::WINDOW;
        (cold.snd_wl1, cold.snd_wl2) = (plain.seq, plain.ack);
    }
}

/// Anything that makes a segment less than common. Reads only.
#[inline]
fn declines(connection: &Connection, plain: &Plain) -> bool {
    let hot = &*connection.hot;
    let stamped = hot.flags & flag::TIMESTAMPS != 0;
    hot.decline != 0
        || stamped && plain.stamps.is_none()
        || hot.ecn != 0 && ecn::declines(connection, plain.len)
        || is_other(connection, plain, stamped)
}

/// Its numbers are not those that come next. `stamped`: timestamps are in use. Reads only.
#[inline(always)]
fn is_other(connection: &Connection, plain: &Plain, stamped: bool) -> bool {
    let hot = &*connection.hot;
    let acks = plain.ack.ge(hot.snd_una) && plain.ack.le(hot.snd_nxt);
    // An acknowledgement that neither advances nor brings data may be a duplicate.
    let tells = plain.len > 0 || plain.ack != hot.snd_una;
    let older = |(value, _): (u32, u32)| value.wrapping_sub(hot.ts_recent).cast_signed() < 0;
    connection.shared.frames_left == 0
        || plain.seq != hot.rcv_nxt
        || !acks
        || !tells
        || hot.snd_wnd == 0
        || plain.window == 0
        || plain.len > connection.rcv_wnd()
        || stamped && plain.stamps.is_some_and(older)
}

/// A segment that says what the one before did, but for its own data, may be taken in by [`follow`]. Reads only.
#[inline]
pub fn follows(hot: &Hot, plain: &Plain) -> bool {
    let end = hot.rcv_nxt.0.wrapping_add(plain.len);
    hot.decline == 0
        && hot.owed & owed::WINDOW != 0
        && hot.ecn == 0
        && plain.seq == hot.rcv_nxt
        && plain.len > 0
        && plain.len <= hot.rcv_adv.since(hot.rcv_nxt)
        // No count runs over. Of the peer's clock only the first segment behind the last acknowledgement tells.
        && end > hot.rcv_nxt.0
        && hot.segments_in < u8::MAX
        && hot.data_in < u8::MAX
}

/// Take such a segment in: what [`input()`] would do is done but for this.
#[inline]
pub fn follow(hot: &mut Hot, cold: &mut Cold, plain: &Plain) {
    text::note_bytes(hot, plain.len);
    hot.rcv_nxt += plain.len;
    owe_window(hot, cold, plain);
    hot.unacked = hot.unacked.saturating_add(1);
    hot.held = hot.held.saturating_add(1);
    hot.segments_in += 1;
    hot.data_in += 1;
}

/// Queue a small payload that goes at once as one segment, where [`alone`] said that it may. False if there is no room for
/// it.
#[inline(always)]
pub fn queue_sent(connection: &mut Connection, text: (&[u8; SMALL_MAX], u8), completions: u8) -> bool {
    let (end, now_us) = (connection.hot.snd_nxt, connection.shared.now.micros);
    let index = match connection.shared.cells.push_sent(end, text, completions, now_us) {
        Some(index) => index,
        None => match push_behind(&mut connection.shared.cells, end, text, completions, now_us) {
            Some(index) => index,
            None => return false,
        },
    };
    (connection.hot.head, connection.hot.tail) = (index, index);
    true
}

/// The same of the slab, where no place is free.
#[inline(never)]
fn push_behind(
    cells: &mut Cells,
    end: SeqNum,
    text: (&[u8; SMALL_MAX], u8),
    completions: u8,
    now_us: u32,
) -> Option<u32> {
    cells.grow().then(|| cells.push_sent(end, text, completions, now_us)).flatten()
}

/// Send the payload that [`whole`] has found: what [`output::next`] would say with ACK and PSH, and all that it would.
#[inline(always)]
pub fn output(connection: &mut Connection, (first, len): (u32, u32)) -> Option<Plain> {
    let now_us = connection.shared.now.micros;
    let cell = connection.shared.cells.get_mut(first)?;
    cell.marks |= mark::SENT | mark::PUSHED;
    cell.sent_us = now_us;
    connection.hot.unsent = NONE;
    Some(say(connection, len, connection.send_mss()))
}

/// The same of a payload of which the send queue knows that it is sent. `mss`: what [`Connection::send_mss`] says.
#[inline(always)]
pub fn say(connection: &mut Connection, len: u32, mss: u32) -> Plain {
    let now = connection.shared.now;
    let (window, congestion) = (connection.hot.snd_wnd, connection.hot.cwnd);
    validation::note_first(connection, congestion <= window && congestion - len < mss);
    let hot = &mut *connection.hot;
    // What the timer was to do while nothing was in flight it need not do any more.
    hot.retransmit_at = Ticks::OFF;
    let seq = hot.snd_nxt;
    hot.snd_nxt = seq + len;
    hot.sent_us = now.micros;
    // Where a short one was sent before, it is acknowledged.
    let short = if len < mss && hot.flags & flag::NO_DELAY == 0 { owed::SHORT } else { 0 };
    hot.owed = hot.owed & !owed::SHORT | short | owed::TIMER;
    let window = window::advertise(connection);
    let ack = connection.hot.rcv_nxt;
    let stamps = connection.is(flag::TIMESTAMPS).then(|| output::timestamps(connection.hot, now.millis));
    output::note_acknowledged(connection);
    tally::note_sent(connection, len);
    Plain { seq, ack, window, stamps, len }
}

/// The payload of a full segment: ranges one behind the other, and what of the last of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// The first range.
    pub first: u32,
    /// Bytes of all together.
    pub len: u32,
    /// The range in which it ends, and the bytes of it that go; zero if it ends before.
    end: (u32, u32),
}

/// Ranges that one full segment takes its payload from at most, the one behind it among them.
const PIECES_MAX: usize = 4;

/// The next full segment, where a segment was sent before in this turn, more data is queued behind it, and nothing else is to
/// be said or thought of. Reads only.
#[inline]
pub fn full(connection: &Connection) -> Option<Full> {
    let hot = &*connection.hot;
    let odd = flag::DEAD | flag::PROBE | flag::KEEPALIVE_PROBE | flag::FIN_QUEUED | flag::ACK_NOW;
    let other = hot.ecn != 0 || hot.mtu & (mtu::bit::SEARCHING | mtu::bit::FRAGMENT) != 0 || hot.unacked > 0;
    if hot.unsent == NONE || hot.decline != 0 || hot.flags & odd != 0 || other || connection.has_active() {
        return None;
    }
    let (flight, mss) = (connection.flight(), connection.send_mss());
    let usable = hot.snd_wnd.min(hot.cwnd).saturating_sub(flight);
    if flight == 0 || usable < mss {
        return None;
    }
    let (mut index, mut left) = (hot.unsent, mss);
    for _ in 0..PIECES_MAX {
        // With the last of what is queued there would be more to think of: PSH, and FIN.
        let cell = connection.shared.cells.get(index).filter(|cell| !cell.is(mark::CONTROL))?;
        if cell.len > left {
            return Some(Full { first: hot.unsent, len: mss, end: (index, left) });
        }
        left -= cell.len;
        index = cell.next;
    }
    None
}

/// Send the segment that [`full`] has found, behind one that said `before`: what [`output::next`] would say, and all that it
/// would.
#[inline]
pub fn output_full(connection: &mut Connection, full: Full, before: &Plain) -> Option<Plain> {
    let Full { first, len, end: (end, part) } = full;
    if part > 0 && !connection.queue(|cells, queue, _| cells.split(queue, end, part)) {
        return None;
    }
    let flight = connection.flight();
    let (window, congestion) = (connection.hot.snd_wnd - flight, connection.hot.cwnd - flight);
    validation::note_sent(connection, len, congestion <= window && congestion - len < len);
    let now = connection.shared.now.micros;
    let (mut index, mut left) = (first, len);
    while left > 0 {
        let cell = connection.shared.cells.get_mut(index)?;
        cell.marks = cell.marks & !mark::PUSHED | mark::SENT;
        cell.sent_us = now;
        left = left.saturating_sub(cell.len);
        index = cell.next;
    }
    let hot = &mut *connection.hot;
    hot.unsent = index;
    let seq = hot.snd_nxt;
    hot.snd_nxt = seq + len;
    hot.sent_us = now;
    connection.take_quick_ack();
    timers::on_sent(connection);
    tally::note_sent(connection, len);
    Some(Plain { seq, len, ..*before })
}

/// The one payload that is queued, with its length, where it may go as one segment, everything before it was acknowledged,
/// and nothing else is to be said or thought of. Reads only.
#[inline]
pub fn whole(connection: &Connection) -> Option<(u32, u32)> {
    let first = connection.hot.unsent;
    if first == NONE || is_odd(connection) {
        return None;
    }
    let cell = connection.shared.cells.get(first)?;
    let single = connection.hot.head == first && cell.next == NONE && !cell.any(mark::CONTROL | mark::MORE);
    let idle = connection.hot.snd_una == connection.hot.snd_nxt;
    (single && idle && fits(connection, cell.len, connection.send_mss())).then_some((first, cell.len))
}

/// A payload of so many bytes may go by itself as one segment of the common shape: none is queued, everything before it was
/// acknowledged, no more than one segment waits for an answer, and nothing else is to be said or thought of. Then it gives what
/// [`Connection::send_mss`] says. Reads only.
#[inline]
pub fn alone(connection: &Connection, len: u32) -> Option<u32> {
    let hot = &*connection.hot;
    if !hot.is_plain() || hot.bits() & SILENT_OF != SILENT && !is_well_again(connection) {
        return None;
    }
    // Timestamps are in use.
    let mss = u32::from(hot.mss).saturating_sub(TIMESTAMPS_LEN).max(1);
    let alone = hot.head == NONE && hot.unacked <= 1;
    debug_assert!(hot.head != NONE || hot.snd_una == hot.snd_nxt, "what is in flight is queued");
    (alone && fits(connection, len, mss)).then_some(mss)
}

/// The same of a flow on which something was amiss, and is not any more.
#[cold]
#[inline(never)]
fn is_well_again(connection: &Connection) -> bool {
    let others = SILENT_OF & !bits(0, hint::AMISS, 0);
    connection.hot.bits() & others == SILENT && !connection.has_active()
}

/// Bits of a flow that has nothing to say.
const SILENT: u32 = bits(0, 0, flag::TIMESTAMPS);
const SILENT_OF: u32 = bits(mtu::bit::SEARCHING | mtu::bit::FRAGMENT, hint::AMISS, flag::TIMESTAMPS | ODD);

/// What is said beside a payload.
const ODD: u16 = flag::DEAD | flag::PROBE | flag::KEEPALIVE_PROBE | flag::FIN_QUEUED;

/// There is more to think of than a payload.
#[inline]
fn is_odd(connection: &Connection) -> bool {
    let hot = &*connection.hot;
    let other = hot.flags & ODD != 0 || hot.mtu & (mtu::bit::SEARCHING | mtu::bit::FRAGMENT) != 0;
    !hot.is_plain() || other || connection.has_active()
}

/// A segment of so many bytes may go where everything before it was acknowledged.
#[inline]
fn fits(connection: &Connection, len: u32, mss: u32) -> bool {
    let hot = &*connection.hot;
    let since_us = connection.shared.now.micros.wrapping_sub(hot.sent_us);
    if since_us > connection.shared.idle_us && since_us > connection.rto_us() {
        return false;
    }
    len <= mss && len <= hot.snd_wnd && len <= hot.cwnd
}

#[cfg(test)]
mod tests;
