//! Socket options by Linux's levels, names and shapes, with its error for each misuse. What they do is the sockets' and
//! the engine's.

use core::time::Duration;

use super::socket::{Phase, Socket};
use super::{Asked, Descriptor, Errno, Family, Kind, Poller};
use crate::config::Congestion;
use crate::lane::Lane;
use crate::socket::{Op, QuickAck, SocketId, SocketOption, StreamOptions, TcpInfo};

/// Levels of options.
#[expect(missing_docs, reason = "the names are Linux's")]
pub mod level {
    pub const IP: i32 = 0;
    pub const SOCKET: i32 = 1;
    pub const TCP: i32 = 6;
    pub const IPV6: i32 = 41;
}

/// Names of options, each within its level.
#[expect(missing_docs, reason = "the names are Linux's")]
pub mod name {
    pub const SO_DEBUG: i32 = 1;
    pub const SO_REUSEADDR: i32 = 2;
    pub const SO_TYPE: i32 = 3;
    pub const SO_ERROR: i32 = 4;
    pub const SO_DONTROUTE: i32 = 5;
    pub const SO_BROADCAST: i32 = 6;
    pub const SO_SNDBUF: i32 = 7;
    pub const SO_RCVBUF: i32 = 8;
    pub const SO_KEEPALIVE: i32 = 9;
    pub const SO_OOBINLINE: i32 = 10;
    pub const SO_PRIORITY: i32 = 12;
    pub const SO_LINGER: i32 = 13;
    pub const SO_REUSEPORT: i32 = 15;
    pub const SO_RCVLOWAT: i32 = 18;
    pub const SO_SNDLOWAT: i32 = 19;
    pub const SO_RCVTIMEO: i32 = 20;
    pub const SO_SNDTIMEO: i32 = 21;
    pub const SO_ACCEPTCONN: i32 = 30;
    pub const SO_SNDBUFFORCE: i32 = 32;
    pub const SO_RCVBUFFORCE: i32 = 33;
    pub const SO_PROTOCOL: i32 = 38;
    pub const SO_DOMAIN: i32 = 39;

    pub const IP_TOS: i32 = 1;
    pub const IP_TTL: i32 = 2;
    pub const IP_MTU_DISCOVER: i32 = 10;
    pub const IP_RECVERR: i32 = 11;
    pub const IPV6_UNICAST_HOPS: i32 = 16;
    pub const IPV6_MTU_DISCOVER: i32 = 23;
    pub const IPV6_RECVERR: i32 = 25;
    pub const IPV6_V6ONLY: i32 = 26;
    pub const IPV6_TCLASS: i32 = 67;

    pub const TCP_NODELAY: i32 = 1;
    pub const TCP_MAXSEG: i32 = 2;
    pub const TCP_CORK: i32 = 3;
    pub const TCP_KEEPIDLE: i32 = 4;
    pub const TCP_KEEPINTVL: i32 = 5;
    pub const TCP_KEEPCNT: i32 = 6;
    pub const TCP_SYNCNT: i32 = 7;
    pub const TCP_LINGER2: i32 = 8;
    pub const TCP_DEFER_ACCEPT: i32 = 9;
    pub const TCP_INFO: i32 = 11;
    pub const TCP_QUICKACK: i32 = 12;
    pub const TCP_CONGESTION: i32 = 13;
    pub const TCP_USER_TIMEOUT: i32 = 18;
    pub const TCP_NOTSENT_LOWAT: i32 = 25;
}

/// Least, first and greatest size of a stream's buffers, as Linux's tcp_wmem and tcp_rmem have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffers {
    /// Of what is written and not acknowledged. Units: bytes.
    pub send: [u32; 3],
    /// Of what is received and not read; half of it is window. Units: bytes.
    pub receive: [u32; 3],
}

impl Default for Buffers {
    /// A send buffer of 256 KiB that grows to 4 MiB.
    fn default() -> Self {
        Buffers { send: [4096, 256 << 10, 4 << 20], receive: [4096, 128 << 10, 15 << 20] }
    }
}

/// Most that SO_SNDBUF and SO_RCVBUF can be asked for: Linux's wmem_max and rmem_max.
const BUFFER_MAX: i32 = 4 << 20;

/// Least of SO_SNDBUF and SO_RCVBUF, as Linux has them.
const SEND_MIN: u32 = 4608;
/// See `SEND_MIN`.
const RECEIVE_MIN: u32 = 2304;

/// The time to live of packets, unless the application sets it.
const HOP_LIMIT: i32 = 64;

/// What a socket was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub reuse_address: bool,
    pub reuse_port: bool,
    pub broadcast: bool,
    pub oob_inline: bool,
    pub debug: bool,
    pub dont_route: bool,
    pub receive_errors: bool,
    pub only_v6: bool,
    pub priority: i32,
    pub mtu_discover: i32,
    pub send_bytes: u32,
    /// What `send_bytes` may grow to; nothing, once SO_SNDBUF was set.
    pub send_bytes_max: u32,
    pub receive_bytes: u32,
    pub receive_low: u32,
    pub not_sent_low: u32,
    /// How long a connection may take to send something before it is accepted. Units: seconds.
    pub defer_accept_s: u32,
    pub receive_timeout: Duration,
    pub send_timeout: Duration,
    pub linger: Option<Duration>,
    pub linger2: i32,
    pub stream: StreamOptions,
}

impl Options {
    pub fn new(buffers: &Buffers) -> Options {
        Options {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            oob_inline: false,
            debug: false,
            dont_route: false,
            receive_errors: false,
            only_v6: false,
            priority: 0,
            mtu_discover: 1,
            send_bytes: buffers.send[1],
            send_bytes_max: buffers.send[2],
            receive_bytes: buffers.receive[1],
            receive_low: 1,
            not_sent_low: u32::MAX,
            defer_accept_s: 0,
            receive_timeout: Duration::ZERO,
            send_timeout: Duration::ZERO,
            linger: None,
            linger2: 0,
            stream: StreamOptions::default(),
        }
    }
}

/// An `int` as C lays it out.
fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::Invalid)
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

impl Poller {
    /// Change an option. `value` is laid out as in C.
    ///
    /// Errors: `NoOption` if there is no such option at that level, `Invalid` if the value is too short or out of range.
    pub fn set_option(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        let socket = self.socket_mut(descriptor)?;
        let mut before = socket.options.stream;
        if (level, name) == (level::TCP, name::TCP_QUICKACK) {
            // It acts each time it is set.
            before.quick_ack = QuickAck::Default;
        }
        match (level, socket.kind) {
            (level::SOCKET, _) => socket.set_own(name, value)?,
            (level::IP, _) => socket.set_ip(name, value)?,
            (level::IPV6, _) if socket.family == Family::V6 => socket.set_ipv6(name, value)?,
            (level::TCP, Kind::Stream) => socket.set_tcp(name, value)?,
            _ => return Err(Errno::NoOption),
        }
        let (after, stream, listener) = (socket.options.stream, socket.stream, socket.listener);
        let whom: Option<SocketId> = stream.map(Into::into).or(listener.map(Into::into));
        if before != after
            && let Some(whom) = whom
        {
            let option = SocketOption::Stream(after);
            self.submit(lane, descriptor, Asked::Other, Op::set(whom, option))?;
        }
        Ok(())
    }

    /// An option's value, laid out as in C. TCP_INFO is [`tcp_info`](Poller::tcp_info)'s.
    ///
    /// Errors: `NoOption` if there is no such option at that level.
    pub fn option(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        level: i32,
        name: i32,
    ) -> Result<Vec<u8>, Errno> {
        if (level, name) == (level::TCP, name::TCP_MAXSEG) {
            return self.mss(lane, descriptor).map(|mss| mss.to_ne_bytes().to_vec());
        }
        let socket = self.socket_mut(descriptor)?;
        match (level, socket.kind) {
            (level::SOCKET, _) => socket.own(name),
            (level::IP, _) => socket.ip(name),
            (level::IPV6, _) if socket.family == Family::V6 => socket.ipv6(name),
            (level::TCP, Kind::Stream) => socket.tcp(name),
            _ => Err(Errno::NoOption),
        }
    }

    /// The largest segment of a stream, or what was asked for before there is one.
    fn mss(&mut self, lane: &mut Lane, descriptor: Descriptor) -> Result<i32, Errno> {
        let socket = self.socket(descriptor)?;
        if socket.kind != Kind::Stream {
            return Err(Errno::NoOption);
        }
        let asked = socket.options.stream.mss_max;
        match socket.stream {
            Some(stream) => self.inspect(lane, descriptor, stream).map(|info| i32::from(info.mss)),
            None if asked > 0 => Ok(i32::from(asked)),
            None => Ok(i32::from(crate::tcp::input::MSS_DEFAULT)),
        }
    }

    /// A stream's figures; `None` of one that has no connection.
    ///
    /// Errors: it is no stream.
    pub fn tcp_info(&mut self, lane: &mut Lane, descriptor: Descriptor) -> Result<Option<TcpInfo>, Errno> {
        let socket = self.socket(descriptor)?;
        if socket.kind != Kind::Stream {
            return Err(Errno::NoOption);
        }
        match socket.stream {
            Some(stream) => Ok(self.inspect(lane, descriptor, stream).ok()),
            None => Ok(None),
        }
    }

    /// The socket listens.
    pub fn is_listening(&self, descriptor: Descriptor) -> bool {
        self.socket(descriptor).is_ok_and(|socket| socket.phase == Phase::Listening)
    }

    /// The handshake is under way.
    pub fn is_connecting(&self, descriptor: Descriptor) -> bool {
        self.socket(descriptor).is_ok_and(|socket| socket.phase == Phase::Connecting)
    }

    /// How long calls on the descriptor may wait to read and to write; zero: for ever.
    pub fn patience(&self, descriptor: Descriptor) -> (Duration, Duration) {
        self.socket(descriptor).map_or((Duration::ZERO, Duration::ZERO), |socket| {
            (socket.options.receive_timeout, socket.options.send_timeout)
        })
    }

    /// Bytes that were received and not read (SIOCINQ).
    ///
    /// Errors: the socket listens.
    pub fn unread(&self, descriptor: Descriptor) -> Result<usize, Errno> {
        let socket = self.socket(descriptor)?;
        match socket.kind {
            Kind::Datagram => Ok(socket.datagrams.front().map_or(0, |(_, data)| data.len())),
            Kind::Stream if socket.phase == Phase::Listening => Err(Errno::Invalid),
            Kind::Stream => Ok(socket.readable_bytes()),
        }
    }

    /// Bytes that one read could give at most: of a stream all that were received, urgent or not.
    pub fn received(&self, descriptor: Descriptor) -> usize {
        self.socket(descriptor).map_or(0, |socket| match socket.kind {
            Kind::Datagram => socket.datagrams.front().map_or(0, |(_, data)| data.len()),
            Kind::Stream => socket.received_bytes,
        })
    }

    /// Bytes that were written and not acknowledged (SIOCOUTQ), and those of them that were not sent (SIOCOUTQNSD).
    ///
    /// Errors: the socket listens.
    pub fn unacknowledged(&mut self, lane: &mut Lane, descriptor: Descriptor) -> Result<(u32, u32), Errno> {
        let socket = self.socket(descriptor)?;
        if socket.phase == Phase::Listening {
            return Err(Errno::Invalid);
        }
        let Some(stream) = socket.stream else { return Ok((0, 0)) };
        let info = self.inspect(lane, descriptor, stream).unwrap_or_default();
        Ok((info.queued, info.unsent))
    }
}

impl Socket {
    fn set_own(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
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

    fn own(&mut self, name: i32) -> Result<Vec<u8>, Errno> {
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
            name::SO_ERROR => self.error.take().map_or(0, Errno::number),
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

    fn set_ip(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
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

    fn set_ipv6(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
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

    fn ip(&self, name: i32) -> Result<Vec<u8>, Errno> {
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

    fn ipv6(&self, name: i32) -> Result<Vec<u8>, Errno> {
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

    fn set_tcp(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
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

    fn tcp(&self, name: i32) -> Result<Vec<u8>, Errno> {
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
