//! Socket options by Linux's levels, names and shapes, with its error for each misuse. What they do is the sockets' and
//! the engine's.

mod levels;

use core::time::Duration;

use super::socket::Phase;
use super::{Asked, Descriptor, Errno, Family, Kind, Poller};
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
    pub const IP_MTU: i32 = 14;
    pub const IPV6_UNICAST_HOPS: i32 = 16;
    pub const IPV6_MTU_DISCOVER: i32 = 23;
    pub const IPV6_MTU: i32 = 24;
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
        let before = socket.options.stream;
        match (level, socket.kind) {
            (level::SOCKET, _) => socket.set_own(name, value)?,
            (level::IP, _) => socket.set_ip(name, value)?,
            (level::IPV6, _) if socket.family == Family::V6 => socket.set_ipv6(name, value)?,
            (level::TCP, Kind::Stream) => socket.set_tcp(name, value)?,
            _ => return Err(Errno::NoOption),
        }
        let (mut after, stream, listener) = (socket.options.stream, socket.stream, socket.listener);
        let changed = before != after;
        // Some act each time they are set: acknowledging at once, and what lets out what waits.
        let quick = (level, name) == (level::TCP, name::TCP_QUICKACK);
        let lets_go = match name {
            name::TCP_NODELAY => after.no_delay,
            name::TCP_CORK => !after.cork,
            _ => false,
        };
        if stream.is_some() && !quick {
            after.quick_ack = QuickAck::Default;
        }
        let whom: Option<SocketId> = stream.map(Into::into).or(listener.map(Into::into));
        if let Some(whom) = whom
            && (changed || quick || level == level::TCP && lets_go)
        {
            self.submit(lane, descriptor, Asked::Other, Op::set(whom, SocketOption::Stream(after)))?;
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
        if matches!((level, name), (level::IP, name::IP_MTU) | (level::IPV6, name::IPV6_MTU)) {
            let info = self.tcp_info(lane, descriptor)?.ok_or(Errno::NotConnected)?;
            return Ok(i32::from(info.path_mtu).to_ne_bytes().to_vec());
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
