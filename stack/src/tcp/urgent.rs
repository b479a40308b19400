//! Urgent data: where it ends, on its way in and out. What an application makes of it is the application's: here it is
//! in line, as RFC 6093 asks.

use super::output::Emit;
use super::state::{Connection, State};
use crate::wire::tcp::{Flags, Segment, SeqNum};

/// What a connection knows of urgent data, and of data that may not wait. Beside the cold part, for hardly any connection has some.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Urgent {
    /// RCV.UP: the number behind the peer's urgent data, once it has sent some.
    pub received: Option<SeqNum>,
    /// SND.UP: the number behind ours, while it is not acknowledged.
    pub sending: Option<SeqNum>,
    /// The number behind what goes without waiting for acknowledgements, though it fills no segment.
    pub pushed: Option<SeqNum>,
}

/// The sixth check: the number behind urgent data that the application does not know of yet.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.5
//# A TCP implementation MUST (MUST-32) inform the application layer
//# asynchronously whenever it receives an urgent pointer and there was
//# previously no pending urgent data, or whenever the urgent pointer
pub(super) fn input(connection: &mut Connection, segment: &Segment) -> Option<SeqNum> {
    if !segment.flags.contains(Flags::URG) || !connection.hot.state.receives() {
        return None;
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.5
    //# The urgent pointer MUST point to the sequence number of the octet
    //# following the urgent data (MUST-62).
    let end = segment.seq + u32::from(segment.urgent);
    let known = connection.rare().urgent.received.is_some_and(|known| end.le(known));
    if known || end.le(connection.hot.rcv_nxt) {
        return None;
    }
    connection.rare_mut().urgent.received = Some(end);
    Some(end)
}

/// What was queued so far ends with urgent data.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.5
//# A TCP implementation MUST support a sequence of urgent data of any
//# length (MUST-31) [19].
pub fn send(connection: &mut Connection) {
    let end = connection.queued_end();
    if connection.hot.state.sends() && end.gt(connection.hot.snd_una) {
        connection.rare_mut().urgent.sending = Some(end);
        connection.refresh_decline();
    }
}

/// What was queued so far waits no longer for more: neither to be uncorked nor for Nagle's algorithm.
pub(super) fn push(connection: &mut Connection) {
    let end = connection.queued_end();
    if end.gt(connection.hot.snd_nxt) {
        connection.rare_mut().urgent.pushed = Some(end);
        connection.refresh_decline();
    }
}

/// Urgent data of ours is not acknowledged yet: it does not wait for more, nor does what follows it.
pub(super) fn is_under_way(connection: &Connection) -> bool {
    super::options::is_said(connection)
        && connection.rare().urgent.sending.is_some_and(|end| end.gt(connection.hot.snd_una))
}

/// Everything that was queued is to go at once.
pub(super) fn is_pushed(connection: &Connection) -> bool {
    let said = super::options::is_said(connection);
    said && connection.rare().urgent.pushed.is_some_and(|end| connection.queued_end().le(end))
}

/// Say in a segment where the urgent data ends, as long as it is not acknowledged.
pub(super) fn stamp(connection: &mut Connection, emit: &mut Emit) {
    if !super::options::is_said(connection) {
        return;
    }
    if connection.rare().urgent.pushed.is_some_and(|end| end.le(connection.hot.snd_nxt)) {
        connection.rare_mut().urgent.pushed = None;
        connection.refresh_decline();
    }
    let Some(end) = connection.rare().urgent.sending else { return };
    if end.le(connection.hot.snd_una) {
        connection.rare_mut().urgent.sending = None;
        connection.refresh_decline();
        return;
    }
    let seq = emit.segment.seq;
    if seq.lt(end) && connection.hot.state >= State::Established {
        emit.segment.flags |= Flags::URG;
        emit.segment.urgent = u16::try_from(end.since(seq)).unwrap_or(u16::MAX);
    }
}
