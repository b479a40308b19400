//! The common segment of an established flow: in order, nothing odd about it. Finishes, or declines before it changes
//! anything; what it does is what `input` would have done, by the same functions.

use super::acknowledge::{acknowledge, acknowledge_quietly};
use super::ecn;
use super::input::{self, Accept, Verdict};
use super::mtu;
use super::send::NONE;
use super::state::{Connection, flag};
use super::text;
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
