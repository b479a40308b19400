//! Reading and writing of datagrams. Streams are in `transfer`.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::open::{any_of, of_family};
use super::socket::Socket;
use super::{Asked, Descriptor, Errno, Flags, Kind, Poller};
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
        self.ask_for_address(lane, descriptor, Op::bind(local))
    }

    /// An op that is answered by the socket's addresses.
    fn ask_for_address(&mut self, lane: &mut Lane, descriptor: Descriptor, op: Op) -> Result<(), Errno> {
        let socket = self.socket_mut(descriptor)?;
        // The addresses that come back are the answer, and what waits to be told is none.
        let (local, waiting) = (socket.local.take(), socket.error.take());
        let asked = self.submit(lane, descriptor, Asked::Main, op);
        let mut result = asked.and(Err(Errno::NoBuffers));
        for _ in 0..super::ANSWER_TURNS_MAX {
            if asked.is_err() {
                break;
            }
            self.turn(lane);
            let socket = self.socket_mut(descriptor)?;
            if socket.local.is_some() {
                result = Ok(());
                break;
            }
            if let Some(error) = socket.error.take() {
                (socket.read_shut, socket.write_shut) = (false, false);
                result = Err(error);
                break;
            }
        }
        let socket = self.socket_mut(descriptor)?;
        (socket.local, socket.error) = (socket.local.or(local), socket.error.or(waiting));
        result
    }

    fn bind_if_needed(&mut self, lane: &mut Lane, descriptor: Descriptor) -> Result<(), Errno> {
        let socket = self.socket(descriptor)?;
        if socket.udp.is_some() {
            return Ok(());
        }
        let any = SocketAddr::new(any_of(socket.family), 0);
        self.bind_datagram(lane, descriptor, any)
    }

    /// Name the one peer of a datagram socket, or another one.
    pub(super) fn connect_datagram(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        peer: SocketAddr,
    ) -> Result<(), Errno> {
        let socket = self.socket(descriptor)?;
        let op = match socket.udp {
            Some(udp) => Op::set_peer(udp, Some(peer)),
            None => Op::connect_udp_from(SocketAddr::new(any_of(socket.family), 0), peer),
        };
        self.ask_for_address(lane, descriptor, op)?;
        self.socket_mut(descriptor)?.datagrams.retain(|(from, _)| *from == peer);
        Ok(())
    }

    /// Forget the one peer of a datagram socket, as a connect to `AF_UNSPEC` does. Its port stays.
    ///
    /// Errors: `NotSupported` of a stream; `AddressInUse` if another socket is bound to the port meanwhile.
    pub fn disconnect(&mut self, lane: &mut Lane, descriptor: Descriptor) -> Result<(), Errno> {
        let socket = self.socket(descriptor)?;
        match socket.udp {
            _ if socket.kind != Kind::Datagram => Err(Errno::NotSupported),
            Some(udp) if socket.remote.is_some() => {
                self.ask_for_address(lane, descriptor, Op::set_peer(udp, None))
            }
            _ => Ok(()),
        }
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
            Some(to) => Some(of_family(socket.family, to)?),
            None if socket.remote.is_none() => return Err(Errno::DestinationRequired),
            None => None,
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
