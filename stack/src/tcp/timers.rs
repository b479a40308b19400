//! What happens when nothing arrives: retransmission, window and keepalive probes, and giving up.

use super::loss::{LossRecovery, NewReno};
use super::options;
use super::rtt::backed_off;
use super::send::NONE;
use super::state::{Connection, State, flag};
use super::ticks::Ticks;

/// How a connection ended by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// The peer did not answer in time.
    TimedOut,
    /// Our side was done, and the peer's FIN did not come in time.
    Done,
    /// The application's linger time is over: reset.
    Linger,
}

/// Let every due timer act. `Some`: the connection is over.
pub fn expire(connection: &mut Connection) -> Option<Expiry> {
    let now = connection.now.ticks;
    if connection.cold.delack_at.is_due(now) {
        connection.cold.delack_at = Ticks::OFF;
        connection.set(flag::ACK_NOW);
    }
    if connection.cold.life_at.is_due(now) {
        connection.cold.life_at = Ticks::OFF;
        return Some(match connection.hot.state {
            State::SynSent | State::SynReceived => Expiry::TimedOut,
            State::FinWait2 => Expiry::Done,
            _ => Expiry::Linger,
        });
    }
    if connection.cold.keepalive_at.is_due(now)
        && let Some(expiry) = keepalive(connection)
    {
        return Some(expiry);
    }
    if connection.hot.retransmit_at.is_due(now) {
        connection.hot.retransmit_at = Ticks::OFF;
        return retransmit(connection);
    }
    None
}

fn retransmit(connection: &mut Connection) -> Option<Expiry> {
    let flight = connection.flight();
    if flight == 0 && connection.hot.unsent == NONE {
        return None;
    }
    if flight > 0 && is_given_up(connection) {
        return Some(Expiry::TimedOut);
    }
    connection.cold.backoff = connection.cold.backoff.saturating_add(1);
    connection.cold.timeouts = connection.cold.timeouts.saturating_add(1);
    if flight == 0 || connection.hot.snd_wnd == 0 && connection.hot.state.is_synchronized() {
        // A closed window, not a loss: probe it, and leave the congestion window alone.
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.1
        //# The transmitting host SHOULD send the first zero-window probe when a
        //# zero window has existed for the retransmission timeout period (SHLD-29)
        connection.set(flag::PROBE);
        return None;
    }
    NewReno.on_timeout(connection);
    connection.set(flag::PROBE);
    None
}

/// R2 is reached, or the user timeout.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3
//# When the number of transmissions of the same segment reaches a
//# threshold R2 greater than R1, close the connection.
fn is_given_up(connection: &mut Connection) -> bool {
    let now = connection.now;
    if !connection.cold.unanswered_since.is_on() {
        connection.cold.unanswered_since = now.ticks;
    }
    let retries = match connection.hot.state {
        State::SynSent | State::SynReceived => options::syn_retries(connection),
        _ => connection.config.retries,
    };
    let cold = &*connection.cold;
    if cold.user_timeout_ms > 0 && connection.hot.state.is_synchronized() {
        let waited = now.ticks.until(cold.unanswered_since);
        let limit = Ticks::after(crate::time::Instant(0), u64::from(cold.user_timeout_ms) * 1_000);
        return i64::from(waited) >= i64::from(limit.raw());
    }
    cold.timeouts >= retries
}

/// Arm the retransmission timer for what is in flight, or the persist timer for what cannot go, unless it runs.
pub fn arm_retransmit(connection: &mut Connection) {
    if !connection.hot.retransmit_at.is_on() {
        restart_retransmit(connection);
    }
}

/// Restart the retransmission timer.
pub fn restart_retransmit(connection: &mut Connection) {
    let us = backed_off(connection.hot.rto_us, connection.cold.backoff, connection.config.rto_max_us);
    connection.hot.retransmit_at = connection.now.after(u64::from(us));
}

/// Send a probe, or give the connection up.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4
//# Keep-alive packets MUST only be sent when no sent data is outstanding,
//# and no data or acknowledgment packets have been received for the
//# connection within an interval (MUST-26).
fn keepalive(connection: &mut Connection) -> Option<Expiry> {
    connection.cold.keepalive_at = Ticks::OFF;
    if !connection.is(flag::KEEPALIVE) || !connection.hot.state.is_synchronized() {
        return None;
    }
    if options::is_probed_in_vain(connection) {
        return Some(Expiry::TimedOut);
    }
    let interval = options::keepalive_interval_us(connection);
    if connection.flight() == 0 {
        connection.cold.probes += 1;
        connection.set(flag::KEEPALIVE_PROBE);
    }
    connection.cold.keepalive_at = connection.now.after(interval);
    None
}

/// Something was heard from the peer: probing starts over.
pub fn heard(connection: &mut Connection) {
    connection.cold.probes = 0;
    if connection.is(flag::KEEPALIVE) {
        let idle = u64::from(connection.cold.keepalive_idle_s) * 1_000_000;
        connection.cold.keepalive_at = connection.now.after(idle);
    }
}
