//! The common segment of an established flow, in and out: in order, nothing odd about it. Finishes, or declines before it
//! changes anything; what it does is what `input` or `output` would have done.

use super::acknowledge::{acknowledge, acknowledge_quietly};
use super::congestion::validation;
use super::input;
use super::output;
use super::send::{Data, Finished, NONE, mark};
use super::state::{Cold, Connection, Hot, flag};
use super::ticks::Ticks;
use super::{ecn, mtu, tally, text, timers};
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
    /// A payload that is done; others are on the connection's list.
    pub done: Option<Finished>,
}

/// Take a segment in; `None`: let [`input::input`] do it. All its payload is the next in order.
#[inline]
pub fn input(connection: &mut Connection, plain: &Plain) -> Option<Taken> {
    if declines(connection, plain) {
        return None;
    }
    let una = connection.hot.snd_una;
    let done = if is_quiet(connection) {
        acknowledge_quietly(connection, plain)
    } else {
        let (source, destination) = (connection.hot.remote_port, connection.hot.local_port);
        acknowledge(connection, &plain.segment(source, destination, Flags::ACK), plain.len);
        None
    };
    input::heard_in_order(connection, plain.seq, plain.stamps);
    if plain.len > 0 {
        text::note_size(connection, plain.len);
        text::advance(connection, plain.len);
    }
    tally::note_received(connection, plain.len);
    Some(Taken { progress: connection.hot.snd_una != una, done })
}

/// Nothing is amiss, and nothing was, that an acknowledgement must be searched for.
#[inline]
fn is_quiet(connection: &Connection) -> bool {
    connection.cold.active == NONE
        && connection.cold.history.retransmits == 0
        && connection.hot.ecn == 0
        && connection.hot.mtu & (mtu::bit::PROBE | mtu::bit::FELL) == 0
}

/// Anything that makes a segment less than common. Reads only.
#[inline]
fn declines(connection: &Connection, plain: &Plain) -> bool {
    let hot = &*connection.hot;
    if hot.decline != 0 || connection.frames_left == 0 || plain.seq != hot.rcv_nxt {
        return true;
    }
    // A FIN that came early has its turn once what was missing is here.
    if connection.cold.fin_waits {
        return true;
    }
    if ecn::declines(connection, plain.len) {
        return true;
    }
    let acks = plain.ack.ge(hot.snd_una) && plain.ack.le(hot.snd_nxt);
    // An acknowledgement that neither advances nor brings data may be a duplicate.
    let tells = plain.len > 0 || plain.ack != hot.snd_una;
    if !acks || !tells || hot.snd_wnd == 0 || plain.window == 0 || plain.len > connection.rcv_wnd() {
        return true;
    }
    match (hot.flags & flag::TIMESTAMPS != 0, plain.stamps) {
        (true, Some((value, _))) => value.wrapping_sub(hot.ts_recent).cast_signed() < 0,
        (true, None) => true,
        (false, _) => false,
    }
}

/// A segment that says what the one before did, but for its own data, may be taken in by [`follow`]. Reads only.
#[inline]
pub fn follows(hot: &Hot, cold: &Cold, plain: &Plain) -> bool {
    let end = hot.rcv_nxt.0.wrapping_add(plain.len);
    hot.decline == 0
        && !cold.fin_waits
        && hot.ecn == 0
        && plain.seq == hot.rcv_nxt
        && plain.len > 0
        && plain.len <= hot.rcv_adv.since(hot.rcv_nxt)
        // No count runs over. Of the peer's clock only the first segment behind the last acknowledgement tells.
        && end > hot.rcv_nxt.0
        && hot.segments_in < u16::MAX
        && hot.data_in < u8::MAX
}

/// Take such a segment in: what [`input()`] would do is done but for this.
#[inline]
pub fn follow(hot: &mut Hot, cold: &mut Cold, plain: &Plain) {
    (cold.snd_wl1, cold.snd_wl2) = (plain.seq, plain.ack);
    text::note_bytes(cold, plain.len);
    hot.rcv_nxt += plain.len;
    hot.unacked = hot.unacked.saturating_add(1);
    hot.held = hot.held.saturating_add(1);
    hot.segments_in += 1;
    hot.data_in += 1;
}

/// Send the payload that [`whole`] has found: what [`output::next`] would say with ACK and PSH, and all that it would.
#[inline]
pub fn output(connection: &mut Connection, (first, len): (u32, u32)) -> Option<Plain> {
    let (now, mss) = (connection.now, connection.send_mss());
    let (window, congestion) = (connection.hot.snd_wnd, connection.hot.cwnd);
    validation::note_sent(connection, len, congestion <= window && congestion - len < mss);
    let cell = connection.cells.get_mut(first)?;
    cell.marks |= mark::SENT | mark::PUSHED;
    cell.sent_us = now.micros;
    let hot = &mut *connection.hot;
    // What the timer was to do while nothing was in flight it need not do any more.
    hot.retransmit_at = Ticks::OFF;
    hot.unsent = NONE;
    let seq = hot.snd_nxt;
    hot.snd_nxt = seq + len;
    connection.cold.sent_us = now.micros;
    if len < mss && !connection.is(flag::NO_DELAY) {
        connection.cold.short_end = seq + len;
    }
    timers::on_sent(connection);
    let window = output::advertise(connection);
    let ack = connection.hot.rcv_nxt;
    let stamps = connection.is(flag::TIMESTAMPS).then(|| output::timestamps(connection));
    output::note_acknowledged(connection);
    tally::note_sent(connection, len);
    Some(Plain { seq, ack, window, stamps, len })
}

/// The range of which the next full segment is the front, with that segment's length, where it is part of a payload that a
/// segment was sent of before in this turn, and nothing else is to be said or thought of. Reads only.
#[inline]
pub fn full(connection: &Connection) -> Option<(u32, u32)> {
    let hot = &*connection.hot;
    let odd = flag::DEAD | flag::PROBE | flag::KEEPALIVE_PROBE | flag::FIN_QUEUED | flag::ACK_NOW;
    let other = hot.ecn != 0 || hot.mtu & (mtu::bit::SEARCHING | mtu::bit::FRAGMENT) != 0 || hot.unacked > 0;
    if hot.unsent == NONE
        || hot.decline != 0
        || hot.flags & odd != 0
        || other
        || connection.cold.active != NONE
    {
        return None;
    }
    let (flight, mss) = (connection.flight(), connection.send_mss());
    let usable = hot.snd_wnd.min(hot.cwnd).saturating_sub(flight);
    let cell = connection.cells.get(hot.unsent)?;
    // With the last of a range there would be more to think of: PSH, FIN, and what is queued behind.
    let inside = matches!(cell.data, Data::Extent(_)) && cell.len > mss && !cell.is(mark::CONTROL);
    (inside && flight > 0 && usable >= mss).then_some((hot.unsent, mss))
}

/// Send the segment that [`full`] has found, behind one that said `before`: what [`output::next`] would say, and all that it
/// would.
#[inline]
pub fn output_full(connection: &mut Connection, (first, len): (u32, u32), before: &Plain) -> Option<Plain> {
    if !connection.queue(|cells, queue, _| cells.split(queue, first, len)) {
        return None;
    }
    let flight = connection.flight();
    let (window, congestion) = (connection.hot.snd_wnd - flight, connection.hot.cwnd - flight);
    validation::note_sent(connection, len, congestion <= window && congestion - len < len);
    let now = connection.now.micros;
    let cell = connection.cells.get_mut(first)?;
    cell.marks = cell.marks & !mark::PUSHED | mark::SENT;
    cell.sent_us = now;
    let (hot, cold) = (&mut *connection.hot, &mut *connection.cold);
    hot.unsent = cell.next;
    let seq = hot.snd_nxt;
    hot.snd_nxt = seq + len;
    cold.sent_us = now;
    cold.quick_acks = cold.quick_acks.saturating_sub(1);
    timers::on_sent(connection);
    tally::note_sent(connection, len);
    Some(Plain { seq, len, ..*before })
}

/// The one payload that is queued, with its length, where it may go as one segment, everything before it was acknowledged,
/// and nothing else is to be said or thought of. Reads only.
#[inline]
pub fn whole(connection: &Connection) -> Option<(u32, u32)> {
    let hot = &*connection.hot;
    let first = hot.unsent;
    let odd = flag::DEAD | flag::PROBE | flag::KEEPALIVE_PROBE | flag::FIN_QUEUED;
    let other = hot.ecn != 0 || hot.mtu & (mtu::bit::SEARCHING | mtu::bit::FRAGMENT) != 0;
    if first == NONE || hot.decline != 0 || hot.flags & odd != 0 || other || connection.cold.active != NONE {
        return None;
    }
    let cell = connection.cells.get(first)?;
    let single = hot.head == first && cell.next == NONE && !cell.any(mark::CONTROL | mark::MORE);
    let fits = cell.len <= connection.send_mss() && cell.len <= hot.snd_wnd && cell.len <= hot.cwnd;
    let since_us = connection.now.micros.wrapping_sub(connection.cold.sent_us);
    let idle = since_us > hot.rto_us && connection.config.slow_start_after_idle;
    (single && fits && hot.snd_una == hot.snd_nxt && !idle).then_some((first, cell.len))
}
