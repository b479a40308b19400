//! Which acknowledgements may open the congestion window: those of bytes that were sent while it was full.
//! How far it opens then is the algorithm's to say.

use crate::tcp::state::{Connection, flag};

/// The congestion window holds bytes back that could go otherwise: what is in flight, and the `len` bytes that go now,
/// fill it.
pub fn note_limited(connection: &mut Connection, len: u32) {
    connection.set(flag::CWND_LIMITED);
    connection.cold.limited_end = connection.hot.snd_nxt + len;
}

/// Of `acked` bytes that SND.UNA has just passed, those that were sent while the window was full. The others say
/// nothing of a larger window: the application, or the peer's window, had held the sender back before this one did.
///
/// RFC 7661 asks the same, by a flow's phases; a mark in sequence space tells it of each byte. The window is not made
/// smaller for being unused: after an idle time it is (RFC 5681 section 4.1).
pub fn counted(connection: &mut Connection, acked: u32) -> u32 {
    if !connection.is(flag::CWND_LIMITED) {
        return 0;
    }
    let (una, end) = (connection.hot.snd_una, connection.cold.limited_end);
    if una.ge(end) {
        connection.clear(flag::CWND_LIMITED);
    }
    let before = una - acked;
    if end.gt(before) { end.since(before).min(acked) } else { 0 }
}
