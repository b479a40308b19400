//! How sockets come to be, get addresses, listen, accept and connect. What they carry then is in `transfer`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::options::Options;
use super::socket::{Phase, Socket};
use super::{Asked, Descriptor, Errno, Family, Kind, Poller};
use crate::lane::Lane;
use crate::socket::{Action, ListenOptions, Op, SocketOption};

/// Ports that are chosen for callers who name none: RFC 6056 section 3.2's range, as Linux narrows it.
const PORTS: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// The longest a connect may last: longer than any number of retries, which is what ends it.
const CONNECT_WITHIN: Duration = Duration::from_secs(3600);

impl Poller {
    /// A new socket.
    ///
    /// Errors: there are as many as may be.
    pub fn open(&mut self, kind: Kind, family: Family) -> Result<Descriptor, Errno> {
        let options = Options::new(&self.buffers);
        self.insert(Socket::new(kind, family, options))
    }

    /// Give a socket its address. Port zero: any.
    ///
    /// Errors: it has one already, it is another socket's, it is of another family, or not this host's.
    pub fn bind(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        address: SocketAddr,
    ) -> Result<(), Errno> {
        let socket = self.socket(descriptor)?;
        if socket.local.is_some() || socket.phase != Phase::Closed {
            return Err(Errno::Invalid);
        }
        let (kind, address) = (socket.kind, of_family(socket.family, address)?);
        let wanted = SocketAddr::new(address.ip(), address.port());
        if kind == Kind::Datagram && wanted.port() == 0 {
            // The lane draws one.
            return self.bind_datagram(lane, descriptor, wanted);
        }
        let local = if wanted.port() == 0 { self.free_port(descriptor, wanted)? } else { wanted };
        if self.conflicts(descriptor, local)? {
            return Err(Errno::AddressInUse);
        }
        if kind == Kind::Datagram {
            return self.bind_datagram(lane, descriptor, local);
        }
        if !self.is_local(local.ip()) {
            return Err(Errno::AddressNotAvailable);
        }
        self.socket_mut(descriptor)?.local = Some(local);
        Ok(())
    }

    /// The address is one of this host's, or any; so is every address where nobody has said which there are.
    fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_unspecified() || self.addresses.is_empty() || self.addresses.contains(&ip)
    }

    /// A socket's own address: of every address and port zero before it has one.
    ///
    /// Errors: there is no such socket.
    pub fn local_name(&self, descriptor: Descriptor) -> Result<SocketAddr, Errno> {
        let socket = self.socket(descriptor)?;
        Ok(socket.local.unwrap_or(SocketAddr::new(any_of(socket.family), 0)))
    }

    /// The address of a socket's peer.
    ///
    /// Errors: `NotConnected` if it has none.
    pub fn peer_name(&self, descriptor: Descriptor) -> Result<SocketAddr, Errno> {
        let socket = self.socket(descriptor)?;
        let connected = socket.kind == Kind::Datagram || socket.phase == Phase::Open;
        socket.remote.filter(|_| connected).ok_or(Errno::NotConnected)
    }

    fn free_port(&mut self, descriptor: Descriptor, wanted: SocketAddr) -> Result<SocketAddr, Errno> {
        let count = PORTS.end() - PORTS.start() + 1;
        for _ in 0..count {
            let port = PORTS.start() + self.next_port % count;
            self.next_port = self.next_port.wrapping_add(1);
            let local = SocketAddr::new(wanted.ip(), port);
            if !self.conflicts(descriptor, local)? {
                return Ok(local);
            }
        }
        Err(Errno::AddressInUse)
    }

    /// Another socket has the address, and does not share it.
    fn conflicts(&self, descriptor: Descriptor, local: SocketAddr) -> Result<bool, Errno> {
        let socket = self.socket(descriptor)?;
        let (kind, own) = (socket.kind, &socket.options);
        let overlap = |other: SocketAddr| {
            other.port() == local.port()
                && (other.ip() == local.ip() || other.ip().is_unspecified() || local.ip().is_unspecified())
        };
        let in_the_way = |other: &Socket| {
            let shared = own.reuse_address && other.options.reuse_address && other.phase != Phase::Listening;
            let spread = own.reuse_port && other.options.reuse_port;
            other.kind == kind && other.local.is_some_and(overlap) && !shared && !spread
        };
        Ok(self.iter().any(|other| !core::ptr::eq(other, socket) && in_the_way(other)))
    }

    /// Accept connections; called again, change how many may wait.
    ///
    /// Errors: the socket is connected or no stream, or another one listens there.
    pub fn listen(&mut self, lane: &mut Lane, descriptor: Descriptor, backlog: i32) -> Result<(), Errno> {
        let socket = self.socket_mut(descriptor)?;
        if socket.kind != Kind::Stream {
            return Err(Errno::NotSupported);
        }
        // Linux takes one more than was asked for, and anything negative for the most there may be.
        let backlog = u32::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN) + 1;
        socket.backlog = backlog;
        match socket.phase {
            Phase::Closed if socket.stream.is_none() => {}
            Phase::Listening => {
                self.tell_backlog(lane, descriptor);
                return Ok(());
            }
            _ => return Err(Errno::Invalid),
        }
        let any = any_of(socket.family);
        let local = socket.local.unwrap_or(SocketAddr::new(any, 0));
        let options = ListenOptions { backlog, stream: socket.options.stream, ..ListenOptions::default() };
        let op = Op::new(Action::Listen { address: local, options });
        self.submit(lane, descriptor, Asked::Main, op)?;
        for _ in 0..super::ANSWER_TURNS_MAX {
            self.turn(lane);
            let socket = self.socket_mut(descriptor)?;
            if socket.phase == Phase::Listening {
                return Ok(());
            }
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
        }
        Err(Errno::NoBuffers)
    }

    /// Tell the lane how many further connections a listener takes.
    pub(super) fn tell_backlog(&mut self, lane: &mut Lane, descriptor: Descriptor) {
        let Ok(socket) = self.socket(descriptor) else { return };
        let waiting = u32::try_from(socket.accepted.len() + socket.deferred.len()).unwrap_or(u32::MAX);
        let room = socket.backlog.saturating_sub(waiting);
        if let Some(listener) = socket.listener {
            let op = Op::set(listener, SocketOption::Backlog(room));
            let _ = self.submit(lane, descriptor, Asked::Other, op);
        }
    }

    /// The connection that has waited longest, and its peer.
    ///
    /// Errors: none waits, or the socket does not listen.
    pub fn accept(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
    ) -> Result<(Descriptor, SocketAddr), Errno> {
        let socket = self.socket_mut(descriptor)?;
        if socket.kind != Kind::Stream {
            return Err(Errno::NotSupported);
        }
        if socket.phase != Phase::Listening {
            return Err(Errno::Invalid);
        }
        socket.take_error()?;
        let child = socket.accepted.pop_front().ok_or(Errno::Again)?;
        self.tell_backlog(lane, descriptor);
        let socket = self.socket_mut(child)?;
        socket.parent = None;
        let peer = socket.remote.ok_or(Errno::Aborted)?;
        Ok((child, peer))
    }

    /// Connect a stream, or name the one peer of a datagram socket.
    ///
    /// Errors: `InProgress` while the handshake lasts, `Already` when asked again meanwhile; else why it failed.
    pub fn connect(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        peer: SocketAddr,
    ) -> Result<(), Errno> {
        let socket = self.socket(descriptor)?;
        let peer = of_family(socket.family, peer)?;
        if socket.kind == Kind::Datagram {
            return self.connect_datagram(lane, descriptor, peer);
        }
        match socket.phase {
            Phase::Listening => return Err(Errno::Connected),
            Phase::Connecting => return Err(Errno::Already),
            _ if socket.connect_unreported => return self.connected(descriptor),
            Phase::Open => return Err(Errno::Connected),
            Phase::Closed => {}
        }
        let (from, stream) = (socket.local, socket.options.stream);
        let action = Action::Connect {
            to: peer,
            from,
            timeout: CONNECT_WITHIN,
            lane: None,
            options: Some(Box::new(stream)),
        };
        self.submit(lane, descriptor, Asked::Main, Op::new(action))?;
        let socket = self.socket_mut(descriptor)?;
        socket.phase = Phase::Connecting;
        socket.remote = Some(peer);
        (socket.ended, socket.read_shut, socket.write_shut) = (false, false, false);
        socket.error = None;
        socket.connect_unreported = true;
        self.turn(lane);
        let socket = self.socket(descriptor)?;
        if socket.phase == Phase::Connecting { Err(Errno::InProgress) } else { self.connected(descriptor) }
    }

    /// How the connect of a stream ended.
    ///
    /// Errors: `InProgress` while it has not; else why it failed.
    pub fn connected(&mut self, descriptor: Descriptor) -> Result<(), Errno> {
        let socket = self.socket_mut(descriptor)?;
        match socket.phase {
            Phase::Connecting => return Err(Errno::InProgress),
            Phase::Open => socket.connect_unreported = false,
            Phase::Closed | Phase::Listening => {
                socket.connect_unreported = false;
                return Err(socket.error.take().unwrap_or(Errno::Aborted));
            }
        }
        Ok(())
    }
}

/// Linux's bound on backlogs.
const SOMAXCONN: u32 = 4096;

/// An address as the lane has it: mapped IPv4 addresses become IPv4's.
///
/// Errors: it is of another family than the socket.
pub(super) fn of_family(family: Family, address: SocketAddr) -> Result<SocketAddr, Errno> {
    match (family, address.ip()) {
        (Family::V4, IpAddr::V4(_)) => Ok(address),
        (Family::V4, IpAddr::V6(_)) => Err(Errno::NoFamily),
        (Family::V6, IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => Ok(SocketAddr::new(IpAddr::V4(ip), address.port())),
            None => Ok(address),
        },
        (Family::V6, IpAddr::V4(_)) => Err(Errno::Invalid),
    }
}

pub(super) fn any_of(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
