//! Which acknowledgements may open the congestion window: those of bytes that were sent while it was in use.
//! How far it opens then is the algorithm's to say.
//!
//! RFC 7661 tells so by phases of a flow: its window is validated while at least half of it is in use. Here a mark in
//! sequence space tells it of each byte in congestion avoidance, where the window must have been full, and the half
//! serves in slow start, as on Linux. The window is not made smaller for being unused while the flow goes on sending,
//! as RFC 2861 would: that is what RFC 7661 replaced it for. After an idle time it is (RFC 5681 section 4.1).

use crate::tcp::state::{Connection, flag, owed};

/// `len` new bytes are about to go. `full`: with them the congestion window has no room for a further segment, or holds
/// others back.
pub fn note_sent(connection: &mut Connection, len: u32, full: bool) {
    let out = connection.flight() + len;
    let over = connection.hot.snd_una.ge(connection.cold.limited_end);
    let more = !connection.is(flag::CWND_LIMITED) && out > connection.cold.out_max;
    if !(full || over || more) {
        return;
    }
    connection.clear(flag::CWND_LIMITED);
    if full {
        connection.set(flag::CWND_LIMITED);
    }
    connection.cold.out_max = out;
    connection.cold.limited_end = connection.hot.snd_nxt + len;
}

/// The same of bytes that go while nothing is in flight: the cold part hears of it when it is asked.
#[inline]
pub fn note_first(connection: &mut Connection, full: bool) {
    connection.clear(flag::CWND_LIMITED);
    if full {
        connection.set(flag::CWND_LIMITED);
    }
    connection.hot.owed |= owed::OUT;
}

/// Of `acked` bytes that SND.UNA has just passed, those that say something of a larger window. The others do not: the
/// application, or the peer's window, had held the sender back before this one did.
//= https://www.rfc-editor.org/rfc/rfc7661#section-4.3
//# o  Validated phase: pipeACK >=(1/2)*cwnd, or pipeACK is undefined
#[inline(always)]
pub fn counted(connection: &mut Connection, acked: u32) -> u32 {
    // Then all that was in flight is acknowledged, and nothing else was since there was nothing.
    let all = connection.hot.owed & owed::OUT != 0;
    if !connection.is(flag::CWND_LIMITED) {
        let out = if all { acked } else { connection.cold.out_max };
        let used = connection.hot.cwnd < 2 * out;
        return if used && connection.hot.cwnd < connection.cold.ssthresh { acked } else { 0 };
    }
    if all {
        connection.clear(flag::CWND_LIMITED);
        return acked;
    }
    let (una, end) = (connection.hot.snd_una, connection.cold.limited_end);
    if una.ge(end) {
        connection.clear(flag::CWND_LIMITED);
        connection.cold.out_max = 0;
    }
    let before = una - acked;
    if end.gt(before) { end.since(before).min(acked) } else { 0 }
}
