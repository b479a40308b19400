//! What happens when nothing arrives: retransmission, window and keepalive probes, and giving up.

use super::history::Timer;
use super::options;
use super::rack::REORDER_US_MIN;
use super::rtt::backed_off;
use super::send::{NONE, mark};
use super::state::{Connection, State, flag, hint};
use super::ticks::Ticks;
use super::{loss, mtu, tlp};
use crate::config::TcpConfig;

/// R1: so many retransmissions in a row without an answer are told to the application.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3
//# The value of R1 SHOULD
//# correspond to at least 3 retransmissions, at the current RTO (SHLD-10).
pub const R1: u8 = 3;

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
    let now = connection.shared.now.ticks;
    if connection.cold.delack_at.is_due(now) {
        connection.set_delack(Ticks::OFF);
        connection.set(flag::ACK_NOW);
    }
    if connection.cold.life_at.is_due(now) {
        connection.set_life(Ticks::OFF);
        return Some(match connection.hot.state {
            State::SynSent | State::SynReceived => Expiry::TimedOut,
            State::FinWait2 => Expiry::Done,
            _ => Expiry::Linger,
        });
    }
    if connection.rare().keepalive_at.is_due(now)
        && let Some(expiry) = keepalive(connection)
    {
        return Some(expiry);
    }
    if connection.hot.retransmit_at.is_due(now) {
        connection.hot.retransmit_at = Ticks::OFF;
        let timer = connection.hot.timer();
        connection.hot.set_timer(Timer::Retransmit);
        match timer {
            Timer::Retransmit => return retransmit(connection),
            Timer::Probe => tlp::expire(connection),
            Timer::Reorder => loss::on_reordering_over(connection),
        }
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
    connection.note_amiss();
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
    mtu::on_timeout(connection);
    loss::on_timeout(connection);
    connection.set(flag::PROBE);
    None
}

/// R2 is reached, or the user timeout.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3
//# When the number of transmissions of the same segment reaches a
//# threshold R2 greater than R1, close the connection.
fn is_given_up(connection: &mut Connection) -> bool {
    let waited = waited_us(connection);
    if !connection.rare().unanswered_since.is_on() {
        let since = connection.shared.now.instant.0.saturating_sub(u64::from(waited) * 1_000);
        connection.rare_mut().unanswered_since = Ticks::at(crate::time::Instant(since));
        connection.note_amiss();
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.8
    //# For any state if the user timeout expires, flush all queues,
    //# signal the user "error: connection aborted due to user timeout"
    let over = options::user_timeout_ms(connection)
        .map(|ms| waited.saturating_add(TICK_US) >= ms.saturating_mul(1_000));
    let (timeouts, state) = (connection.cold.timeouts, connection.hot.state);
    // It stands in place of R2, but not of the count that the application may have set for SYNs.
    if matches!(state, State::SynSent | State::SynReceived) {
        return over == Some(true) || timeouts >= options::syn_retries(connection);
    }
    over.unwrap_or(timeouts >= connection.shared.config.retries)
}

/// A tick of the wheel, rounded up. Units: microseconds.
const TICK_US: u32 = 66;

/// How long the peer has owed an acknowledgement. Units: microseconds.
fn waited_us(connection: &Connection) -> u32 {
    let since = connection.rare().unanswered_since;
    if since.is_on() {
        let ticks = u64::from(since.until(connection.shared.now.ticks).unsigned_abs());
        return u32::try_from(ticks * 65_536 / 1_000).unwrap_or(u32::MAX);
    }
    let head = connection.shared.cells.get(connection.hot.head).filter(|cell| cell.is(mark::SENT));
    head.map_or(0, |cell| connection.shared.now.micros.wrapping_sub(cell.sent_us))
}

/// Arm the retransmission timer for what is in flight, or the persist timer for what cannot go, unless it runs.
#[inline]
pub fn arm_retransmit(connection: &mut Connection) {
    if !connection.hot.retransmit_at.is_on() {
        arm_timeout(connection);
    }
}

/// Have the retransmission timer run out after an RTO from now, whatever it was armed for.
#[inline(always)]
pub fn arm_timeout(connection: &mut Connection) {
    let us = timeout_us(connection);
    let us = match options::user_timeout_ms(connection) {
        None => us,
        Some(ms) => within_user_timeout(connection, us, ms),
    };
    arm(connection, Timer::Retransmit, us);
}

/// A timeout within the user's.
#[cold]
fn within_user_timeout(connection: &Connection, us: u32, ms: u32) -> u32 {
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.1.2
    //# If a timeout is specified, the current user timeout for this
    //# connection is changed to the new one.
    let limit = ms.saturating_mul(1_000);
    us.min(limit.saturating_sub(waited_us(connection)).max(TICK_US))
}

/// Arm the one timer.
#[inline]
pub fn arm(connection: &mut Connection, timer: Timer, us: u32) {
    connection.hot.set_timer(timer);
    connection.hot.retransmit_at = connection.shared.now.after(u64::from(us));
}

/// RTO, backed off. Units: microseconds.
#[inline]
fn timeout_us(connection: &Connection) -> u32 {
    let backoff = if connection.is_marked_amiss() { connection.cold.backoff } else { 0 };
    backed_off(connection.rto_us(), backoff, connection.shared.config.rto_max_us)
}

/// What is left of the RTO since the oldest range was sent; zero if nothing is. Units: microseconds.
fn rest_us(connection: &Connection) -> u32 {
    let waited = connection
        .shared
        .cells
        .get(connection.hot.head)
        .map_or(0, |cell| connection.shared.now.micros.wrapping_sub(cell.sent_us));
    timeout_us(connection).saturating_sub(waited)
}

/// New data were sent: a tail loss probe may follow, or the retransmission timer watches.
//= https://www.rfc-editor.org/rfc/rfc8985#section-7.2
//# The sender SHOULD start or
//# restart a loss probe PTO timer after transmitting new data (that was
//# not itself a loss probe)
#[inline]
pub fn on_sent(connection: &mut Connection) {
    if tlp::is_wanted(connection) {
        arm_probe(connection, rest_us(connection));
    } else {
        //= https://www.rfc-editor.org/rfc/rfc6298#section-5
        //# (5.1) Every time a packet containing data is sent (including a
        //#       retransmission), if the timer is not running, start it running
        arm_retransmit(connection);
    }
}

/// What [`on_sent`] did when the fast path sent something, had that not been put off.
pub fn arm_for_sent(connection: &mut Connection) {
    let ago_us = connection.shared.now.micros.wrapping_sub(connection.hot.sent_us);
    let (timer, us) = match tlp::is_wanted(connection) {
        true => (Timer::Probe, tlp::timeout_us(connection).min(timeout_us(connection))),
        false => (Timer::Retransmit, timeout_us(connection)),
    };
    connection.hot.set_timer(timer);
    connection.hot.retransmit_at = connection.shared.now.after_then(ago_us, us.into());
}

/// The fast path may put off arming the timer: no option asks for a sooner one than [`least_us`] tells of.
#[inline]
pub fn may_wait(connection: &Connection) -> bool {
    connection.hot.hints & hint::USER_TIMEOUT == 0
}

/// What [`arm_for_sent`] waits at least, for a single segment. Units: microseconds.
pub fn least_us(config: &TcpConfig) -> u32 {
    let timeout = config.rto_min_us.min(config.rto_initial_us).min(config.rto_max_us);
    let probe = config.tlp_us_min.saturating_add(config.tlp_ack_delay_us);
    if config.tlp { timeout.min(probe) } else { timeout }
}

/// How long nothing has gone at least where a flow begins anew with a small window, if it ever does: no retransmission timeout
/// is shorter. Units: microseconds.
pub fn idle_us(config: &TcpConfig) -> u32 {
    let least = config.rto_min_us.min(config.rto_initial_us);
    if config.slow_start_after_idle { least } else { u32::MAX }
}

/// Something was sent again. With the oldest range the timer starts over, lest it runs out on a repair that goes on.
//= https://www.rfc-editor.org/rfc/rfc6675#section-6
//# a more careful variant
//# that re-arms the RTO timer on each retransmission that is sent during
//# recovery MAY be used.
pub fn on_sent_again(connection: &mut Connection, oldest: bool) {
    if oldest && connection.hot.timer() != Timer::Reorder {
        arm_timeout(connection);
    } else {
        arm_retransmit(connection);
    }
}

/// Arm the timer for a tail loss probe, `limit_us` from now at the latest.
//= https://www.rfc-editor.org/rfc/rfc8985#section-7.2
//# If Now() + PTO > TCP_RTO_expiration():
//# PTO = TCP_RTO_expiration() - Now()
fn arm_probe(connection: &mut Connection, limit_us: u32) {
    let us = tlp::timeout_us(connection);
    let us = if limit_us > 0 { us.min(limit_us) } else { us };
    arm(connection, Timer::Probe, us);
}

/// An acknowledgement was taken in, whole. `advanced`: SND.UNA has moved; `wait_us`: reordering is given so long still.
#[inline]
pub fn on_ack(connection: &mut Connection, advanced: bool, wait_us: u32) {
    if connection.flight() > 0 {
        on_part(connection, advanced, wait_us);
    } else if advanced {
        //= https://www.rfc-editor.org/rfc/rfc6298#section-5
        //# (5.2) When all outstanding data has been acknowledged, turn off the
        //#       retransmission timer.
        connection.hot.retransmit_at = Ticks::OFF;
    }
}

/// The same, where something is still in flight.
#[inline(never)]
fn on_part(connection: &mut Connection, advanced: bool, wait_us: u32) {
    connection.pay();
    let timer = connection.hot.timer();
    if wait_us > 0 {
        //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
        //# it is RECOMMENDED that the
        //# sender install a reordering timer.
        arm(connection, Timer::Reorder, wait_us.max(REORDER_US_MIN));
    } else if advanced {
        match tlp::is_wanted(connection) {
            true => arm_probe(connection, timeout_us(connection)),
            false => restart(connection),
        }
    } else if timer == Timer::Reorder || timer == Timer::Probe && !tlp::is_wanted(connection) {
        let us = rest_us(connection).max(REORDER_US_MIN);
        arm(connection, Timer::Retransmit, us);
    }
}

/// Restart the retransmission timer, for new data were acknowledged and others are in flight.
//= https://www.rfc-editor.org/rfc/rfc6298#section-5
//# (5.3) When an ACK is received that acknowledges new data, restart the
//#       retransmission timer so that it will expire after RTO seconds
fn restart(connection: &mut Connection) {
    // With SACK a probe comes before the timeout, and RACK needs no further segments: there RTO restart does not help.
    if connection.is(flag::SACK) || !is_short(connection) {
        return arm_timeout(connection);
    }
    //= https://www.rfc-editor.org/rfc/rfc7765#section-4
    //# (a)  RTO - T_earliest, if RTO - T_earliest > 0.
    match rest_us(connection) {
        0 => arm_timeout(connection),
        us => arm(connection, Timer::Retransmit, us),
    }
}

/// Too few segments are in flight and queued for as many duplicates as stand for a loss.
//= https://www.rfc-editor.org/rfc/rfc7765#section-4
//# The RECOMMENDED value of rrthresh is four
fn is_short(connection: &Connection) -> bool {
    connection.shared.cells.from(connection.hot.head).take(SHORT_SEGMENTS).count() < SHORT_SEGMENTS
}

/// rrthresh of RFC 7765.
const SHORT_SEGMENTS: usize = 4;

/// Send a probe, or give the connection up.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4
//# Keep-alive packets MUST only be sent when no sent data is outstanding,
//# and no data or acknowledgment packets have been received for the
//# connection within an interval (MUST-26).
fn keepalive(connection: &mut Connection) -> Option<Expiry> {
    if let Some(rare) = connection.rare_if() {
        rare.keepalive_at = Ticks::OFF;
    }
    if !connection.is(flag::KEEPALIVE) || !connection.hot.state.is_synchronized() {
        return None;
    }
    let interval = options::keepalive_interval_us(connection);
    if connection.flight() == 0 {
        if options::is_probed_in_vain(connection) {
            return Some(Expiry::TimedOut);
        }
        let rare = connection.rare_mut();
        rare.probes = rare.probes.saturating_add(1);
        connection.set(flag::KEEPALIVE_PROBE);
    }
    let at = connection.shared.now.after(interval);
    connection.rare_mut().keepalive_at = at;
    None
}

/// Something was heard from the peer: probing starts over.
#[inline]
pub fn heard(connection: &mut Connection) {
    connection.hot.hear(connection.cold, &connection.shared.now);
    if connection.is(flag::KEEPALIVE) {
        let now = connection.shared.now;
        connection.hot.hints |= hint::LATER;
        let rare = connection.rare_mut();
        rare.probes = 0;
        rare.keepalive_at = now.after(u64::from(rare.keepalive_idle_s) * 1_000_000);
    }
}
