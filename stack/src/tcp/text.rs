//! What becomes of payload and FIN: kept in order, kept for reassembly, or not kept. Who may send them in which state is
//! decided in `input`.

use super::input::{Accept, End};
use super::receive::Range;
use super::state::{Cold, Connection, Hot, State, decline, flag};
use super::tally;
use crate::wire::tcp::{Flags, SackBlock, Segment, SeqNum};

/// Decide what of `len` bytes at `start` to keep, and how soon to acknowledge.
pub(super) fn text(connection: &mut Connection, start: SeqNum, len: u32) -> Option<Accept> {
    if len == 0 {
        return None;
    }
    let nxt = connection.hot.rcv_nxt;
    let skip = if start.lt(nxt) { nxt.since(start) } else { 0 };
    let first = start + skip;
    let room = connection.hot.rcv_adv.since(first);
    // Without a frame to spare for holding it, the payload counts as lost; what the header says counts all the same.
    if skip >= len || first.gt(connection.hot.rcv_adv) || room == 0 || connection.shared.frames_left == 0 {
        connection.set(flag::ACK_NOW);
        return None;
    }
    let kept = (len - skip).min(room);
    note_size(connection, len);
    if skip > 0 {
        note_duplicate(connection, start, nxt);
        connection.set(flag::ACK_NOW);
    } else {
        note_overlap(connection, first, first + kept);
    }
    if first != nxt {
        //= https://www.rfc-editor.org/rfc/rfc5681#section-4.2
        //# Out-of-order data segments SHOULD be acknowledged immediately, in
        //# order to accelerate loss recovery.
        connection.set(flag::ACK_NOW);
        let keep = connection.shared.frames_left > connection.shared.frames_in_order;
        return keep.then_some(Accept { skip, len: kept, in_order: false });
    }
    advance(connection, kept);
    if connection.active().is_some_and(|active| !active.reassembly.is_empty()) {
        connection.set(flag::ACK_NOW);
    }
    Some(Accept { skip, len: kept, in_order: true })
}

/// What lies between these numbers has come before: the next acknowledgement says so, to a peer that understands SACK.
//= https://www.rfc-editor.org/rfc/rfc2883#section-4
//# (3) The left edge of the D-SACK block specifies the first sequence
//# number of the duplicate contiguous sequence, and the right edge of
//# the D-SACK block specifies the sequence number immediately following
pub(super) fn note_duplicate(connection: &mut Connection, left: SeqNum, right: SeqNum) {
    if connection.is(flag::SACK) && left.lt(right) {
        connection.active_mut().dsack = Some(SackBlock { left, right });
    }
}

/// The same of what waits in reassembly already, and of that the first part.
fn note_overlap(connection: &mut Connection, start: SeqNum, end: SeqNum) {
    if connection.active().is_none_or(|active| active.reassembly.is_empty()) {
        return;
    }
    if let Some((left, right)) = connection.active_mut().reassembly.overlap(start, end) {
        note_duplicate(connection, left, right);
    }
}

/// Remember the largest segment the peer sends: what each held frame stands for.
#[inline]
pub(super) fn note_size(connection: &mut Connection, len: u32) {
    note_bytes(connection.hot, len);
    connection.cold.data_ms = connection.shared.now.millis;
}

#[inline]
pub(super) fn note_bytes(hot: &mut Hot, len: u32) {
    if len > u32::from(hot.rcv_mss) {
        hot.rcv_mss = u16::try_from(len).map_or(MSS_SEEN_MAX, |seen| seen.min(MSS_SEEN_MAX));
    }
}

/// Segments with data between looks at how much the receive buffer should hold.
const TUNE_SEGMENTS: u8 = 8;

/// What a held frame can stand for at most: a frame's data room.
const MSS_SEEN_MAX: u16 = 2048;

/// A stream whose application keeps up while a whole window arrives may hold twice as much (RFC 7323's large windows are of
/// use only if they grow with the path; Linux's dynamic right-sizing measures the same). `limit` frames are the most.
///
/// It is looked at with every eighth segment: the others leave the cold part alone.
#[inline]
pub fn tune(hot: &mut Hot, cold: &mut Cold, limit: u16) {
    let max = hot.frames_max;
    if !hot.data_in.is_multiple_of(TUNE_SEGMENTS) || max >= limit || hot.held >= max / 4 {
        return;
    }
    let whole = u32::from(max) * u32::from(hot.rcv_mss);
    if hot.rcv_nxt.since(cold.tuned_at) >= whole {
        cold.tuned_at = hot.rcv_nxt;
        hot.frames_max = max.saturating_mul(2).min(limit);
    }
}

/// RCV.NXT moves over accepted bytes.
#[inline]
pub(super) fn advance(connection: &mut Connection, len: u32) {
    advance_within(connection, len);
    if connection.hot.rcv_nxt.gt(connection.hot.rcv_adv) {
        connection.hot.rcv_adv = connection.hot.rcv_nxt;
    }
}

/// The same of bytes within the window that was advertised.
#[inline]
pub(super) fn advance_within(connection: &mut Connection, len: u32) {
    let before = connection.hot.rcv_nxt;
    connection.hot.rcv_nxt += len;
    tally::note_nxt(connection, before);
    connection.hot.unacked += u8::from(connection.hot.unacked < u8::MAX);
}

/// The next range of reassembly that has become deliverable, and how many of its bytes were delivered before.
pub fn pull(connection: &mut Connection) -> Option<(Range, u32)> {
    connection.active()?;
    let nxt = connection.hot.rcv_nxt;
    let next = connection.active_mut().reassembly.next(nxt);
    match next {
        Some((range, skip)) => {
            advance(connection, range.end.since(range.start) - skip);
            Some((range, skip))
        }
        None => {
            connection.settle();
            None
        }
    }
}

/// Remember a FIN: its turn comes when everything before it has.
pub fn note_fin(connection: &mut Connection, segment: &Segment, at: SeqNum) {
    if segment.flags.contains(Flags::FIN) && connection.hot.state.receives() && at.le(connection.hot.rcv_adv)
    {
        connection.hot.decline |= decline::FIN;
        connection.cold.fin_seq = at;
        if at != connection.hot.rcv_nxt {
            connection.set(flag::ACK_NOW);
        }
    }
}

/// Everything deliverable was delivered: let a FIN whose turn has come act. Returns how the connection goes on.
pub fn finish(connection: &mut Connection) -> Option<End> {
    if connection.hot.decline & decline::FIN == 0 || connection.cold.fin_seq != connection.hot.rcv_nxt {
        return None;
    }
    connection.hot.decline &= !decline::FIN;
    let before = connection.hot.rcv_nxt;
    connection.hot.rcv_nxt += 1;
    tally::note_nxt(connection, before);
    if connection.hot.rcv_nxt.gt(connection.hot.rcv_adv) {
        connection.hot.rcv_adv = connection.hot.rcv_nxt;
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
    //# If the FIN bit is set, signal the user "connection closing" and return
    //# any pending RECEIVEs with same message, advance RCV.NXT over the FIN, and
    //# send an acknowledgment for the FIN.
    connection.set(flag::FIN_RECEIVED | flag::ACK_NOW);
    match connection.hot.state {
        State::Established => connection.enter(State::CloseWait),
        State::FinWait1 => connection.enter(State::Closing),
        State::FinWait2 => return Some(End::TimeWait),
        _ => {}
    }
    None
}
