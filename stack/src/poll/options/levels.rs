//! What the options of each level do to a socket, and how their values are laid out.

use core::time::Duration;

use super::name;
use crate::config::Congestion;
use crate::poll::socket::{Phase, Socket};
use crate::poll::{Errno, Family, Kind};
use crate::socket::QuickAck;

/// Most that SO_SNDBUF and SO_RCVBUF can be asked for: Linux's wmem_max and rmem_max.
const BUFFER_MAX: i32 = 4 << 20;

/// Least of SO_SNDBUF and SO_RCVBUF, as Linux has them.
const SEND_MIN: u32 = 4608;
/// See `SEND_MIN`.
const RECEIVE_MIN: u32 = 2304;

/// The time to live of packets, unless the application sets it.
const HOP_LIMIT: i32 = 64;

impl Socket {
    pub(super) fn set_own(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        let options = &mut self.options;
        match name {
            name::SO_LINGER => {
                let (on, seconds) = (int(value)?, int(value.get(4..).unwrap_or(&[]))?);
                let seconds = u64::try_from(seconds).unwrap_or(u64::from(u32::MAX));
                options.linger = (on != 0).then(|| Duration::from_secs(seconds));
                return Ok(());
            }
            name::SO_RCVTIMEO => return time(value).map(|time| options.receive_timeout = time),
            name::SO_SNDTIMEO => return time(value).map(|time| options.send_timeout = time),
            _ => {}
        }
        let value = int(value)?;
        let on = value != 0;
        let bytes = u32::try_from(value.clamp(0, BUFFER_MAX)).unwrap_or(0) * 2;
        match name {
            name::SO_DEBUG => options.debug = on,
            name::SO_REUSEADDR => options.reuse_address = on,
            name::SO_REUSEPORT => options.reuse_port = on,
            name::SO_DONTROUTE => options.dont_route = on,
            name::SO_BROADCAST => options.broadcast = on,
            name::SO_KEEPALIVE => options.stream.keepalive = on,
            name::SO_OOBINLINE => options.oob_inline = on,
            name::SO_PRIORITY => options.priority = value,
            name::SO_SNDBUF | name::SO_SNDBUFFORCE => {
                options.send_bytes = bytes.max(SEND_MIN);
                options.send_bytes_max = 0;
            }
            name::SO_RCVBUF | name::SO_RCVBUFFORCE => {
                options.receive_bytes = bytes.max(RECEIVE_MIN);
                options.stream.receive_bytes = options.receive_bytes / 2;
            }
            name::SO_RCVLOWAT => {
                options.receive_low = u32::try_from(value).unwrap_or(i32::MAX.unsigned_abs()).max(1);
            }
            _ => return Err(Errno::NoOption),
        }
        Ok(())
    }

    pub(super) fn own(&mut self, name: i32) -> Result<Vec<u8>, Errno> {
        let options = &self.options;
        let word = |value: u32| value.cast_signed();
        let value = match name {
            name::SO_LINGER => {
                let seconds = options.linger.map_or(0, |linger| linger.as_secs());
                let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
                let mut bytes = i32::from(options.linger.is_some()).to_ne_bytes().to_vec();
                bytes.extend_from_slice(&seconds.to_ne_bytes());
                return Ok(bytes);
            }
            name::SO_RCVTIMEO => return Ok(time_bytes(options.receive_timeout)),
            name::SO_SNDTIMEO => return Ok(time_bytes(options.send_timeout)),
            name::SO_ERROR => self.error.take().or_else(|| self.soft_error.take()).map_or(0, Errno::number),
            name::SO_TYPE => {
                if self.kind == Kind::Stream {
                    1
                } else {
                    2
                }
            }
            name::SO_PROTOCOL => {
                if self.kind == Kind::Stream {
                    6
                } else {
                    17
                }
            }
            name::SO_DOMAIN => {
                if self.family == Family::V4 {
                    2
                } else {
                    10
                }
            }
            name::SO_ACCEPTCONN => i32::from(self.phase == Phase::Listening),
            name::SO_DEBUG => i32::from(options.debug),
            name::SO_REUSEADDR => i32::from(options.reuse_address),
            name::SO_REUSEPORT => i32::from(options.reuse_port),
            name::SO_DONTROUTE => i32::from(options.dont_route),
            name::SO_BROADCAST => i32::from(options.broadcast),
            name::SO_KEEPALIVE => i32::from(options.stream.keepalive),
            name::SO_OOBINLINE => i32::from(options.oob_inline),
            name::SO_PRIORITY => options.priority,
            name::SO_SNDBUF => word(options.send_bytes),
            name::SO_RCVBUF => word(options.receive_bytes),
            name::SO_RCVLOWAT => word(options.receive_low),
            name::SO_SNDLOWAT => 1,
            _ => return Err(Errno::NoOption),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    pub(super) fn set_ip(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        // Options of this level may be given in one byte.
        let value = match value {
            [] => return Err(Errno::Invalid),
            [byte, ..] if value.len() < 4 => i32::from(*byte),
            _ => int(value)?,
        };
        match name {
            name::IP_TOS => self.set_traffic_class(value),
            name::IP_TTL => self.set_hop_limit(value, 1)?,
            name::IP_RECVERR => self.options.receive_errors = value != 0,
            name::IP_MTU_DISCOVER if (0..=5).contains(&value) => self.options.mtu_discover = value,
            name::IP_MTU_DISCOVER => return Err(Errno::Invalid),
            _ => return Err(Errno::NoOption),
        }
        Ok(())
    }

    pub(super) fn set_ipv6(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        let value = int(value)?;
        match name {
            name::IPV6_TCLASS if (-1..=255).contains(&value) => self.set_traffic_class(value.max(0)),
            name::IPV6_TCLASS => return Err(Errno::Invalid),
            name::IPV6_UNICAST_HOPS => self.set_hop_limit(value, 0)?,
            name::IPV6_RECVERR => self.options.receive_errors = value != 0,
            name::IPV6_MTU_DISCOVER if (0..=5).contains(&value) => self.options.mtu_discover = value,
            name::IPV6_V6ONLY if self.local.is_none() => self.options.only_v6 = value != 0,
            name::IPV6_MTU_DISCOVER | name::IPV6_V6ONLY => return Err(Errno::Invalid),
            _ => return Err(Errno::NoOption),
        }
        Ok(())
    }

    /// The bits of ECN in a stream's traffic class are TCP's own.
    fn set_traffic_class(&mut self, value: i32) {
        let class = u8::try_from(value & 0xff).unwrap_or(0);
        let own = if self.kind == Kind::Stream { 0xfc } else { 0xff };
        self.options.stream.traffic_class = class & own;
    }

    /// Minus one is the default.
    fn set_hop_limit(&mut self, value: i32, least: i32) -> Result<(), Errno> {
        if value != -1 && !(least..=255).contains(&value) {
            return Err(Errno::Invalid);
        }
        self.options.stream.hop_limit = u8::try_from(value).unwrap_or(0);
        Ok(())
    }

    pub(super) fn ip(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            name::IP_TOS => i32::from(self.options.stream.traffic_class),
            name::IP_TTL if self.options.stream.hop_limit == 0 => HOP_LIMIT,
            name::IP_TTL => i32::from(self.options.stream.hop_limit),
            name::IP_RECVERR => i32::from(self.options.receive_errors),
            name::IP_MTU_DISCOVER => self.options.mtu_discover,
            _ => return Err(Errno::NoOption),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    pub(super) fn ipv6(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            name::IPV6_TCLASS => return self.ip(name::IP_TOS),
            name::IPV6_UNICAST_HOPS => return self.ip(name::IP_TTL),
            name::IPV6_RECVERR => i32::from(self.options.receive_errors),
            name::IPV6_MTU_DISCOVER => self.options.mtu_discover,
            name::IPV6_V6ONLY => i32::from(self.options.only_v6),
            _ => return Err(Errno::NoOption),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    pub(super) fn set_tcp(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == name::TCP_CONGESTION {
            return self.set_congestion(value);
        }
        let given = int(value)?;
        let options = &mut self.options;
        let stream = &mut options.stream;
        match name {
            name::TCP_NODELAY => stream.no_delay = given != 0,
            name::TCP_CORK => stream.cork = given != 0,
            name::TCP_MAXSEG if given == 0 => stream.mss_max = 0,
            name::TCP_MAXSEG => stream.mss_max = narrow(within(value, 88..=32_767)?)?,
            name::TCP_KEEPIDLE => stream.keepalive_idle_s = narrow(within(value, 1..=32_767)?)?,
            name::TCP_KEEPINTVL => stream.keepalive_interval_s = narrow(within(value, 1..=32_767)?)?,
            name::TCP_KEEPCNT => stream.keepalive_probes = narrow(within(value, 1..=127)?)?,
            name::TCP_SYNCNT => stream.syn_retries = narrow(within(value, 1..=127)?)?,
            name::TCP_USER_TIMEOUT => stream.user_timeout_ms = narrow(within(value, 0..=i32::MAX)?)?,
            name::TCP_LINGER2 => {
                options.linger2 = given.clamp(-1, 120);
                stream.fin_timeout_s = u16::try_from(options.linger2).unwrap_or(0);
            }
            name::TCP_QUICKACK => {
                stream.quick_ack = if given & 1 == 1 { QuickAck::On } else { QuickAck::Off };
            }
            name::TCP_NOTSENT_LOWAT => options.not_sent_low = given.cast_unsigned(),
            name::TCP_DEFER_ACCEPT => options.defer_accept_s = retransmissions_s(given),
            _ => return Err(Errno::NoOption),
        }
        Ok(())
    }

    fn set_congestion(&mut self, value: &[u8]) -> Result<(), Errno> {
        if value.is_empty() {
            return Err(Errno::Invalid);
        }
        let name = value.split(|byte| *byte == 0).next().unwrap_or(&[]);
        let name = core::str::from_utf8(name).map_err(|_| Errno::NoEntry)?;
        self.options.stream.congestion = Some(Congestion::by_name(name).ok_or(Errno::NoEntry)?);
        Ok(())
    }

    pub(super) fn tcp(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let options = &self.options;
        let stream = &options.stream;
        let or = |value: u16, default: i32| if value == 0 { default } else { i32::from(value) };
        let value = match name {
            name::TCP_NODELAY => i32::from(stream.no_delay),
            name::TCP_CORK => i32::from(stream.cork),
            name::TCP_KEEPIDLE => or(stream.keepalive_idle_s, 7200),
            name::TCP_KEEPINTVL => or(stream.keepalive_interval_s, 75),
            name::TCP_KEEPCNT => or(u16::from(stream.keepalive_probes), 9),
            name::TCP_SYNCNT => or(u16::from(stream.syn_retries), 7),
            name::TCP_LINGER2 => {
                if options.linger2 == 0 {
                    60
                } else {
                    options.linger2
                }
            }
            name::TCP_QUICKACK => i32::from(stream.quick_ack != QuickAck::Off),
            name::TCP_USER_TIMEOUT => stream.user_timeout_ms.cast_signed(),
            name::TCP_NOTSENT_LOWAT => options.not_sent_low.cast_signed(),
            name::TCP_DEFER_ACCEPT => options.defer_accept_s.cast_signed(),
            name::TCP_CONGESTION => {
                let mut name = stream.congestion.unwrap_or_default().name().as_bytes().to_vec();
                name.resize(16, 0);
                return Ok(name);
            }
            _ => return Err(Errno::NoOption),
        };
        Ok(value.to_ne_bytes().to_vec())
    }
}

/// An `int` as C lays it out.
fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::Invalid)
}

/// An `int` within bounds.
fn within(value: &[u8], bounds: core::ops::RangeInclusive<i32>) -> Result<i32, Errno> {
    int(value).and_then(|value| if bounds.contains(&value) { Ok(value) } else { Err(Errno::Invalid) })
}

/// A `timeval`: two 64-bit words, seconds and microseconds.
fn time(value: &[u8]) -> Result<Duration, Errno> {
    let word = |at: usize| value.get(at..at + 8)?.first_chunk().map(|bytes| i64::from_ne_bytes(*bytes));
    let (Some(seconds), Some(micros)) = (word(0), word(8)) else { return Err(Errno::Invalid) };
    let micros = u32::try_from(micros).ok().filter(|micros| *micros < 1_000_000).ok_or(Errno::Domain)?;
    // Linux takes a negative time for no time at all: what would wait returns at once.
    Ok(Duration::new(u64::try_from(seconds).unwrap_or(0), micros * 1_000))
}

fn time_bytes(duration: Duration) -> Vec<u8> {
    let mut bytes = duration.as_secs().to_ne_bytes().to_vec();
    bytes.extend_from_slice(&u64::from(duration.subsec_micros()).to_ne_bytes());
    bytes
}

fn narrow<T: TryFrom<i32>>(value: i32) -> Result<T, Errno> {
    T::try_from(value).map_err(|_| Errno::Invalid)
}

/// Seconds rounded up to when a SYN-ACK would go again, as Linux counts them: 1, 3, 7 and so on.
fn retransmissions_s(seconds: i32) -> u32 {
    let (mut period, mut timeout) = (1, 1u32);
    let seconds = u32::try_from(seconds).unwrap_or(0);
    while seconds > period && period < DEFER_S_MAX {
        timeout = (2 * timeout).min(120);
        period += timeout;
    }
    if seconds == 0 { 0 } else { period }
}

/// No connection waits longer for its first byte. Units: seconds.
const DEFER_S_MAX: u32 = 30_000;
