//! Half-closing, closing, and closing that lingers.

use core::time::Duration;

use super::socket::{Phase, Socket};
use super::{Asked, Descriptor, Errno, Kind, Poller};
use crate::lane::Lane;
use crate::socket::{Op, TcpState};

/// What becomes of a socket that is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// It is closed.
    Done,
    /// Its caller is to wait this long at most for [`Poller::has_lingered`], and close it then.
    Lingers(Duration),
}

impl Poller {
    /// End one direction of a socket, or both.
    ///
    /// Errors: it is not connected.
    pub fn shutdown(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        read: bool,
        write: bool,
    ) -> Result<(), Errno> {
        let socket = self.socket_mut(descriptor)?;
        if !read && !write {
            return Err(Errno::Invalid);
        }
        if socket.kind == Kind::Datagram {
            socket.remote.ok_or(Errno::NotConnected)?;
            socket.read_shut |= read;
            socket.write_shut |= write;
            return Ok(());
        }
        match socket.phase {
            Phase::Closed => {
                socket.read_shut |= read;
                socket.write_shut |= write;
                return Err(Errno::NotConnected);
            }
            Phase::Listening if read => self.end_listening(lane, descriptor),
            Phase::Listening => {}
            Phase::Connecting => {
                // Where the peer's SYN has come, it is too late for that: then the end follows the handshake.
                socket.read_shut |= read;
                socket.write_shut |= write;
                let cancel = Op::cancel(descriptor.tag(Asked::Main));
                self.submit(lane, descriptor, Asked::Other, cancel)?;
            }
            Phase::Open => self.shut_stream(lane, descriptor, read, write)?,
        }
        let readiness = self.readiness(descriptor);
        self.notify(descriptor, readiness);
        Ok(())
    }

    fn shut_stream(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        read: bool,
        write: bool,
    ) -> Result<(), Errno> {
        let socket = self.socket_mut(descriptor)?;
        let before = (socket.read_shut, socket.write_shut);
        socket.read_shut |= read;
        socket.write_shut |= write;
        let (read, write) = (socket.read_shut, socket.write_shut);
        match socket.stream {
            // Reading alone is not ended before the peer: what it sends is taken, and can be read.
            Some(stream) if write && (read, write) != before => {
                let op = if read { Op::shutdown_both(stream) } else { Op::shutdown(stream) };
                self.submit(lane, descriptor, Asked::Other, op)
            }
            _ => Ok(()),
        }
    }

    /// Listen no longer: connections that wait are reset.
    fn end_listening(&mut self, lane: &mut Lane, descriptor: Descriptor) {
        let Ok(socket) = self.socket_mut(descriptor) else { return };
        let (listener, children) = (socket.listener.take(), core::mem::take(&mut socket.accepted));
        let deferred = core::mem::take(&mut socket.deferred);
        socket.phase = Phase::Closed;
        for child in children.into_iter().chain(deferred) {
            if let Some(stream) = self.remove(child).and_then(|child| child.stream) {
                let _ = self.submit(lane, descriptor, Asked::Other, Op::abort(stream));
            }
        }
        if let Some(listener) = listener {
            let _ = self.submit(lane, descriptor, Asked::Other, Op::close(listener));
        }
    }

    /// Close a socket. A stream of which received bytes were not read is reset, and so is one that lingers for no time;
    /// one that lingers longer is half-closed, and its caller told to wait.
    ///
    /// Errors: there is no such socket.
    pub fn close(&mut self, lane: &mut Lane, descriptor: Descriptor) -> Result<Closing, Errno> {
        let socket = self.socket(descriptor)?;
        let linger = socket.options.linger;
        let lingers = linger.filter(|linger| !linger.is_zero() && socket.phase == Phase::Open);
        if let Some(linger) = lingers
            && socket.received_bytes == 0
            && !socket.closing
        {
            self.socket_mut(descriptor)?.closing = true;
            self.shut_stream(lane, descriptor, false, true)?;
            return Ok(Closing::Lingers(linger));
        }
        if socket.phase == Phase::Listening {
            self.end_listening(lane, descriptor);
        }
        let Some(socket) = self.remove(descriptor) else { return Err(Errno::BadDescriptor) };
        self.end(lane, descriptor, &socket);
        Ok(Closing::Done)
    }

    fn end(&mut self, lane: &mut Lane, descriptor: Descriptor, socket: &Socket) {
        if socket.phase == Phase::Connecting && socket.stream.is_none() {
            let cancel = Op::cancel(descriptor.tag(Asked::Main));
            let _ = self.submit(lane, descriptor, Asked::Other, cancel);
        }
        let hasty = socket.options.linger.is_some_and(|linger| linger.is_zero());
        let op = match (socket.stream, socket.udp) {
            (Some(stream), _) if socket.received_bytes > 0 => Op::abort_unread(stream),
            (Some(stream), _) if hasty => Op::abort(stream),
            (Some(stream), _) => Op::close(stream),
            (None, Some(udp)) => Op::close(udp),
            (None, None) => return,
        };
        let _ = self.submit(lane, descriptor, Asked::Other, op);
    }

    /// A socket that is being closed has nothing left to wait for: everything was sent and acknowledged, the FIN too.
    pub fn has_lingered(&mut self, lane: &mut Lane, descriptor: Descriptor) -> bool {
        let Ok(Some(stream)) = self.socket(descriptor).map(|socket| socket.stream) else { return true };
        match self.inspect(lane, descriptor, stream) {
            Ok(info) => !matches!(info.state, TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck),
            Err(_) => true,
        }
    }
}
