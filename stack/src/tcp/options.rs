//! What a connection does otherwise than the lane's configuration says, and what changing it does.

use super::send::mark;
use super::state::{Connection, decline, flag, hint};
use super::{timers, urgent};
use crate::config::TcpConfig;
use crate::socket::{QuickAck, StreamOptions};
use crate::time::nanoseconds;

/// Most that the options let a segment carry.
pub fn mss_bound(options: &StreamOptions) -> u16 {
    if options.mss_max == 0 { u16::MAX } else { options.mss_max }
}

/// As the configuration has it.
pub const NONE: StreamOptions = StreamOptions {
    no_delay: false,
    cork: false,
    keepalive: false,
    keepalive_probes: 0,
    keepalive_idle_s: 0,
    keepalive_interval_s: 0,
    mss_max: 0,
    syn_retries: 0,
    traffic_class: 0,
    hop_limit: 0,
    user_timeout_ms: 0,
    receive_bytes: 0,
    fin_timeout_s: 0,
    quick_ack: QuickAck::Default,
    congestion: None,
    report: false,
};

/// Give a new connection options of its own.
pub fn begin(connection: &mut Connection, options: StreamOptions) {
    connection.rare_mut().options = options;
    apply(connection);
}

/// Change a connection's options. Those that let out what waits do so each time they are said.
pub fn change(connection: &mut Connection, options: StreamOptions) {
    let before = core::mem::replace(&mut connection.rare_mut().options, options);
    let again = before == options;
    if !options.cork && (before.cork || again) {
        expect_no_more(connection);
    }
    apply(connection);
    if options.no_delay && (!before.no_delay || again) {
        push(connection);
    }
    set_quick(connection);
    connection.rare_mut().options.quick_ack = QuickAck::Default;
    if before.keepalive != options.keepalive || before.keepalive_idle_s != options.keepalive_idle_s {
        timers::heard(connection);
    }
}

/// The shift of our windows: for as much as may wait for the application (RFC 7323 section 2.3).
pub fn window_scale(options: &StreamOptions, config: &TcpConfig) -> u8 {
    if options.receive_bytes == 0 {
        return config.window_scale;
    }
    let bits = u32::BITS - options.receive_bytes.leading_zeros();
    u8::try_from(bits.saturating_sub(u16::BITS)).unwrap_or(0).min(14)
}

/// The options concern each segment. Kept as a bit of the hot part, so that other flows do not look here.
pub fn are_said(options: &StreamOptions) -> bool {
    options.receive_bytes > 0 || options.traffic_class > 0 || options.hop_limit > 0 || options.cork
}

/// Something beside the hot and the cold part concerns each segment.
#[inline]
pub fn is_said(connection: &Connection) -> bool {
    connection.hot.decline & decline::OPTIONS != 0
}

/// The application holds short segments back.
#[inline]
pub fn is_corked(connection: &Connection) -> bool {
    is_said(connection) && connection.rare().options.cork
}

/// The type of service of the connection's segments, without the bits of ECN.
pub fn traffic_class(connection: &Connection) -> u8 {
    if is_said(connection) { connection.rare().options.traffic_class } else { 0 }
}

/// The time to live of the connection's segments; zero: the port's.
pub fn hop_limit(connection: &Connection) -> u8 {
    if is_said(connection) { connection.rare().options.hop_limit } else { 0 }
}

/// Bytes that may wait for the application, if that was set.
#[inline]
fn bytes_max(connection: &Connection) -> Option<u32> {
    let bytes = if is_said(connection) { connection.rare().options.receive_bytes } else { 0 };
    (bytes > 0).then_some(bytes)
}

/// Bytes the peer may have under way: what the frames we may still take stand for, within the bytes that were set.
#[inline]
pub fn window_room(connection: &Connection) -> u32 {
    let (held, each) = (connection.hot.held, u32::from(connection.hot.rcv_mss));
    let frames = u32::from(frames_max(connection).saturating_sub(held)).min(connection.shared.frames_left);
    match bytes_max(connection) {
        None => frames * each,
        Some(bytes) => (frames * each).min(bytes.saturating_sub(u32::from(held) * each)),
    }
}

/// Frames the connection may hold: those that its bytes ask for, if they were set.
#[inline]
fn frames_max(connection: &Connection) -> u16 {
    let max = connection.hot.frames_max;
    let Some(bytes) = bytes_max(connection) else { return max };
    let frames = bytes.div_ceil(u32::from(connection.hot.rcv_mss).max(1));
    u16::try_from(frames)
        .unwrap_or(u16::MAX)
        .clamp(max.min(connection.shared.config.receive_frames), connection.shared.config.receive_frames_max)
}

/// The whole receive buffer. Units: bytes.
#[inline]
pub fn receive_bytes(connection: &Connection) -> u32 {
    let frames = u32::from(connection.hot.frames_max) * u32::from(connection.hot.rcv_mss);
    bytes_max(connection).unwrap_or(frames)
}

/// SYNs sent again before a connect is given up.
pub fn syn_retries(connection: &Connection) -> u8 {
    match connection.rare().options.syn_retries {
        0 => connection.shared.config.syn_retries,
        retries => retries,
    }
}

/// As many keepalive probes were sent as may stay unanswered; with a user timeout, for as long as that allows, as on Linux.
//= https://www.rfc-editor.org/rfc/rfc5482#section-1
//# a sender will receive no
//# acknowledgments for any transmission attempt, including keep-alives,
//# and it will close the TCP connection when the user timeout occurs.
pub fn is_probed_in_vain(connection: &Connection) -> bool {
    if let Some(ms) = user_timeout_ms(connection) {
        let silent_ms = connection.shared.now.millis.wrapping_sub(connection.hot.heard_ms);
        return connection.rare().probes > 0 && silent_ms >= ms;
    }
    let most = match connection.rare().options.keepalive_probes {
        0 => connection.shared.config.keepalive_probes,
        probes => probes,
    };
    connection.rare().probes >= most
}

/// Time between keepalive probes. Units: microseconds.
pub fn keepalive_interval_us(connection: &Connection) -> u64 {
    match connection.rare().options.keepalive_interval_s {
        0 => nanoseconds(connection.shared.config.keepalive_interval) / 1_000,
        seconds => u64::from(seconds) * 1_000_000,
    }
}

/// How long FIN_WAIT_2 lasts once the application has closed. Units: microseconds.
pub fn fin_timeout_us(connection: &Connection) -> u64 {
    match connection.rare().options.fin_timeout_s {
        0 => nanoseconds(connection.shared.config.fin_timeout) / 1_000,
        seconds => u64::from(seconds) * 1_000_000,
    }
}

/// Give the connection up once a SYN, data or keepalive probes stay unanswered so long; zero: only where their counts say.
pub fn set_user_timeout(connection: &mut Connection, ms: u32) {
    connection.hot.hints &= !hint::USER_TIMEOUT;
    if ms > 0 {
        connection.hot.hints |= hint::USER_TIMEOUT;
    }
    connection.rare_mut().options.user_timeout_ms = ms;
}

/// The user timeout, if there is one. Units: milliseconds.
#[inline]
pub fn user_timeout_ms(connection: &Connection) -> Option<u32> {
    let set = connection.hot.hints & hint::USER_TIMEOUT != 0;
    set.then(|| connection.rare().options.user_timeout_ms)
}

/// Small segments wait for nothing from here on, or again as they do by default. On has what was written go at once, whatever
/// else holds it back.
pub fn set_no_delay(connection: &mut Connection, on: bool) {
    connection.clear(flag::NO_DELAY);
    if on {
        connection.set(flag::NO_DELAY);
        push(connection);
    }
}

/// What was written goes at once: neither a cork holds it back, nor that more was to follow.
fn push(connection: &mut Connection) {
    expect_no_more(connection);
    urgent::push(connection);
}

/// What was written with the word that more follows waits no longer for it.
fn expect_no_more(connection: &mut Connection) {
    let tail = connection.hot.tail;
    if let Some(cell) = connection.shared.cells.get_mut(tail) {
        cell.marks &= !mark::MORE;
    }
}

/// Acknowledge at once for a while, or delay from here on.
fn set_quick(connection: &mut Connection) {
    match connection.rare().options.quick_ack {
        QuickAck::Default => {}
        QuickAck::On => {
            connection.set_quick_acks(connection.shared.config.quick_acks);
            if connection.hot.unacked > 0 {
                connection.set(flag::ACK_NOW);
            }
        }
        QuickAck::Off => connection.set_quick_acks(0),
    }
}

fn apply(connection: &mut Connection) {
    let options = connection.rare().options;
    for (wanted, bit) in [(options.no_delay, flag::NO_DELAY), (options.keepalive, flag::KEEPALIVE)] {
        connection.clear(bit);
        if wanted {
            connection.set(bit);
        }
    }
    connection.choose_congestion(options.congestion);
    set_user_timeout(connection, options.user_timeout_ms);
    if options.keepalive_idle_s > 0 {
        connection.rare_mut().keepalive_idle_s = options.keepalive_idle_s;
    }
    connection.refresh_decline();
}
