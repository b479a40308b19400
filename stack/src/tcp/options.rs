//! What a connection does otherwise than the lane's configuration says, and what changing it does.

use super::send::mark;
use super::state::{Connection, flag};
use super::timers;
use crate::socket::StreamOptions;

/// Most that the options let a segment carry.
pub fn mss_bound(options: &StreamOptions) -> u16 {
    if options.mss_max == 0 { u16::MAX } else { options.mss_max }
}

/// Give a new connection its options.
pub fn begin(connection: &mut Connection, options: StreamOptions) {
    *connection.options = options;
    if options != StreamOptions::default() {
        apply(connection);
    }
}

/// Change a connection's options.
pub fn change(connection: &mut Connection, options: StreamOptions) {
    let before = core::mem::replace(connection.options, options);
    if before.cork && !options.cork {
        uncork(connection);
    }
    apply(connection);
    if before.keepalive != options.keepalive || before.keepalive_idle_s != options.keepalive_idle_s {
        timers::heard(connection);
    }
}

/// What waits for more to be written waits no longer.
fn uncork(connection: &mut Connection) {
    let tail = connection.hot.tail;
    if let Some(cell) = connection.cells.get_mut(tail) {
        cell.marks &= !mark::MORE;
    }
}

fn apply(connection: &mut Connection) {
    let options = *connection.options;
    for (wanted, bit) in [(options.no_delay, flag::NO_DELAY), (options.keepalive, flag::KEEPALIVE)] {
        connection.clear(bit);
        if wanted {
            connection.set(bit);
        }
    }
    connection.choose_congestion(options.congestion);
    connection.cold.user_timeout_ms = options.user_timeout_ms;
    if options.keepalive_idle_s > 0 {
        connection.cold.keepalive_idle_s = options.keepalive_idle_s;
    }
}
