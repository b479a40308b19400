//! The common segment of an established flow, in and out: in order, nothing odd about it. Finishes, or declines before it
//! changes anything; what it does is what `input` or `output` would have done.

use super::acknowledge::{acknowledge, acknowledge_quietly};
use super::congestion::validation;
use super::input::{self, Accept, Verdict};
use super::output::{self, Emit};
use super::send::{NONE, mark};
use super::state::{Connection, flag};
use super::ticks::Ticks;
use super::{ecn, mtu, tally, text, timers};
use crate::wire::tcp::{Flags, Segment};

/// Take a segment with `len` bytes of payload in; `None`: let [`input::input`] do it.
pub fn input(connection: &mut Connection, segment: &Segment, len: u32) -> Option<Verdict> {
    if declines(connection, segment, len) {
        return None;
    }
    if is_quiet(connection) {
        acknowledge_quietly(connection, segment);
    } else {
        acknowledge(connection, segment, len);
    }
    input::heard_in_order(connection, segment);
    let accept = (len > 0).then(|| {
        text::note_size(connection, len);
        text::advance(connection, len);
        Accept { skip: 0, len, in_order: true }
    });
    Some(Verdict { accept, ..Verdict::default() })
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
fn declines(connection: &Connection, segment: &Segment, len: u32) -> bool {
    let hot = &*connection.hot;
    let plain = segment.flags.without(Flags::PSH) == Flags::ACK && segment.options.sack.is_empty();
    if hot.decline != 0 || connection.frames_left == 0 || !plain || segment.seq != hot.rcv_nxt {
        return true;
    }
    // A FIN that came early has its turn once what was missing is here.
    if connection.cold.fin_waits {
        return true;
    }
    if ecn::declines(connection, len) {
        return true;
    }
    let acks = segment.ack.ge(hot.snd_una) && segment.ack.le(hot.snd_nxt);
    // An acknowledgement that neither advances nor brings data may be a duplicate.
    let tells = len > 0 || segment.ack != hot.snd_una;
    if !acks || !tells || hot.snd_wnd == 0 || segment.window == 0 || len > connection.rcv_wnd() {
        return true;
    }
    match (hot.flags & flag::TIMESTAMPS != 0, segment.options.timestamps) {
        (true, Some((value, _))) => value.wrapping_sub(hot.ts_recent).cast_signed() < 0,
        (true, None) => true,
        (false, _) => false,
    }
}

/// Send the payload that [`whole`] has found: what [`output::next`] would say, and all that it would.
#[inline]
pub fn output(connection: &mut Connection, (first, len): (u32, u32)) -> Option<Emit> {
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
        connection.beside.short_end = seq + len;
    }
    timers::on_sent(connection);
    let window = output::advertise(connection);
    let hot = &*connection.hot;
    let (ports, ack) = ((hot.local_port, hot.remote_port), hot.rcv_nxt);
    let mut segment = Segment::new(ports.0, ports.1, seq, ack, Flags::ACK | Flags::PSH);
    segment.window = window;
    if connection.is(flag::TIMESTAMPS) {
        segment.options.timestamps = Some(output::timestamps(connection));
    }
    output::note_acknowledged(connection);
    tally::note_sent(connection, len);
    Some(Emit { segment, first, len, field: ecn::codepoint::NOT_ECT, hop_limit: 0, fragment: false })
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
