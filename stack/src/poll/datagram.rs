//! Reading and writing of datagrams. Streams are in `transfer`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::open::of_family;
use super::socket::Socket;
use super::{Asked, Descriptor, Errno, Family, Flags, Kind, Poller};
use crate::lane::Lane;
use crate::socket::{Action, Op};

impl Poller {
    /// Give a datagram socket its address, at the lane too.
    pub(super) fn bind_datagram(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        local: SocketAddr,
    ) -> Result<(), Errno> {
        self.submit(lane, descriptor, Asked::Main, Op::bind(local))?;
        for _ in 0..super::ANSWER_TURNS_MAX {
            self.turn(lane);
            let socket = self.socket_mut(descriptor)?;
            if socket.udp.is_some() {
                return Ok(());
            }
            if let Some(error) = socket.error.take() {
                (socket.read_shut, socket.write_shut) = (false, false);
                return Err(error);
            }
        }
        Err(Errno::NoBuffers)
    }

    fn bind_if_needed(&mut self, lane: &mut Lane, descriptor: Descriptor) -> Result<(), Errno> {
        let socket = self.socket(descriptor)?;
        if socket.udp.is_some() {
            return Ok(());
        }
        let any = match socket.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.bind_datagram(lane, descriptor, SocketAddr::new(any, 0))
    }

    /// Name the one peer of a datagram socket.
    pub(super) fn connect_datagram(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        peer: SocketAddr,
    ) -> Result<(), Errno> {
        self.bind_if_needed(lane, descriptor)?;
        let socket = self.socket_mut(descriptor)?;
        socket.remote = Some(peer);
        socket.datagrams.retain(|(from, _)| *from == peer);
        Ok(())
    }

    /// The oldest datagram: how much of it was copied, how long it is, and who sent it. What does not fit is lost.
    ///
    /// Errors: `Again` if there is none; `NotSupported` of a stream.
    pub fn read_from(
        &mut self,
        descriptor: Descriptor,
        into: &mut [u8],
        flags: Flags,
    ) -> Result<(usize, usize, SocketAddr), Errno> {
        let socket = self.socket_mut(descriptor)?;
        if socket.kind != Kind::Datagram {
            return Err(Errno::NotSupported);
        }
        socket.read_datagram(into, flags)
    }

    /// Send one datagram, to the socket's peer if none is named.
    ///
    /// Errors: it is too long, no peer is named, or there is no way to it.
    pub fn write_datagram(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize, Errno> {
        self.bind_if_needed(lane, descriptor)?;
        let socket = self.socket_mut(descriptor)?;
        socket.take_error()?;
        if socket.write_shut {
            return Err(Errno::BrokenPipe);
        }
        let to = match to {
            Some(to) => of_family(socket.family, to)?,
            None => socket.remote.ok_or(Errno::DestinationRequired)?,
        };
        let udp = socket.udp.ok_or(Errno::Invalid)?;
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Errno::TooLong);
        }
        let payload = Bytes::copy_from_slice(bytes).into();
        let op = Op::new(Action::SendTo { socket: udp, to, payload, notify: false });
        self.submit(lane, descriptor, Asked::Send, op)?;
        Ok(bytes.len())
    }
}

/// Most an IPv4 packet carries behind its header and UDP's.
const DATAGRAM_BYTES_MAX: usize = 65_507;

impl Socket {
    pub(super) fn read_datagram(
        &mut self,
        into: &mut [u8],
        flags: Flags,
    ) -> Result<(usize, usize, SocketAddr), Errno> {
        self.take_error()?;
        let Some((from, data)) = self.datagrams.front() else {
            let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            return if self.read_shut { Ok((0, 0, nobody)) } else { Err(Errno::Again) };
        };
        let len = data.len().min(into.len());
        into[..len].copy_from_slice(&data[..len]);
        let (whole, from) = (data.len(), *from);
        if !flags.any(Flags::PEEK) {
            self.datagrams.pop_front();
        }
        Ok((len, whole, from))
    }
}
