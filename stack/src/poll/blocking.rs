//! Calls that wait: each does what the poller's own does, and turns the lane until it can be done. How long they wait
//! is the socket's to say (SO_RCVTIMEO, SO_SNDTIMEO).

use core::net::SocketAddr;
use core::time::Duration;

use super::{Closing, Descriptor, Errno, Flags, Poller};
use crate::lane::Lane;
use crate::socket::QueueId;

/// Who turns the lane while a call waits.
pub trait Driver {
    /// The lane that the poller is on.
    fn lane(&mut self) -> &mut Lane;

    /// Turn until the queue has a completion, or the time is over. False once the lane has stopped.
    fn wait(&mut self, queue: QueueId, at_most: Option<Duration>) -> bool;
}

/// A lane of one's own turns itself.
impl Driver for Lane {
    fn lane(&mut self) -> &mut Lane {
        self
    }

    fn wait(&mut self, queue: QueueId, at_most: Option<Duration>) -> bool {
        Lane::wait(self, &[queue], at_most)
    }
}

/// Waiting calls on the sockets of a poller. Everything else is done with the poller itself.
///
/// While one of them waits nothing else of the application runs on that lane: whoever serves many peers asks for
/// readiness instead.
pub struct Blocking<'a, D: Driver> {
    poller: &'a mut Poller,
    driver: &'a mut D,
}

impl<'a, D: Driver> Blocking<'a, D> {
    /// Waiting calls on these sockets of this lane.
    pub fn new(poller: &'a mut Poller, driver: &'a mut D) -> Blocking<'a, D> {
        Blocking { poller, driver }
    }

    /// The poller and the lane, for calls that do not wait.
    pub fn parts(&mut self) -> (&mut Poller, &mut Lane) {
        (self.poller, self.driver.lane())
    }

    /// Connect a stream, within the socket's time to send.
    ///
    /// Errors: why it failed; `InProgress` when the time is over, and the handshake goes on.
    pub fn connect(&mut self, socket: Descriptor, peer: SocketAddr) -> Result<(), Errno> {
        let (_, patience) = self.poller.patience(socket);
        match self.poller.connect(self.driver.lane(), socket, peer) {
            Err(Errno::InProgress) => {}
            done => return done,
        }
        self.until(patience, |poller, _| poller.connected(socket))
    }

    /// The next connection and its peer, within the socket's time to receive.
    ///
    /// Errors: `Again` when the time is over; the socket does not listen.
    pub fn accept(&mut self, socket: Descriptor) -> Result<(Descriptor, SocketAddr), Errno> {
        let (patience, _) = self.poller.patience(socket);
        self.until(patience, |poller, lane| poller.accept(lane, socket))
    }

    /// Read what has come, and wait for it if nothing has; with [`Flags::WAIT_ALL`], for all of it. Zero: the end.
    ///
    /// Errors: `Again` when the time is over, or at once with [`Flags::DONT_WAIT`]; else as of [`Poller::read`].
    pub fn read(&mut self, socket: Descriptor, into: &mut [u8], flags: Flags) -> Result<usize, Errno> {
        let (patience, _) = self.poller.patience(socket);
        if flags.any(Flags::DONT_WAIT) {
            return self.poller.read(socket, into, flags);
        }
        match self.until(patience, |poller, _| poller.read(socket, into, flags)) {
            // The time is over: what there is will do.
            Err(Errno::Again) => self.poller.read(socket, into, flags | Flags::DONT_WAIT),
            done => done,
        }
    }

    /// Write all bytes, or as many as the peer makes room for in the socket's time to send.
    ///
    /// Errors: `Again` if there was room for none; else as of [`Poller::write`], unless some were written before.
    pub fn write(&mut self, socket: Descriptor, bytes: &[u8], flags: Flags) -> Result<usize, Errno> {
        let (_, patience) = self.poller.patience(socket);
        if flags.any(Flags::DONT_WAIT) {
            return self.poller.write(self.driver.lane(), socket, bytes, flags);
        }
        let mut written = 0;
        let done = self.until(patience, |poller, lane| {
            let rest = bytes.get(written..).unwrap_or(&[]);
            written += poller.write(lane, socket, rest, flags)?;
            if written < bytes.len() { Err(Errno::Again) } else { Ok(()) }
        });
        match done {
            Err(error) if written == 0 => Err(error),
            _ => Ok(written),
        }
    }

    /// The next datagram: how much of it was copied, how long it is, and who sent it.
    ///
    /// Errors: `Again` when the time is over; else as of [`Poller::read_from`].
    pub fn read_from(
        &mut self,
        socket: Descriptor,
        into: &mut [u8],
        flags: Flags,
    ) -> Result<(usize, usize, SocketAddr), Errno> {
        let (patience, _) = self.poller.patience(socket);
        self.until(patience, |poller, _| poller.read_from(socket, into, flags))
    }

    /// Send a datagram, to the socket's peer if none is named. It is on its way when the lane next turns.
    ///
    /// Errors: as of [`Poller::write_datagram`].
    pub fn write_to(
        &mut self,
        socket: Descriptor,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize, Errno> {
        let (_, patience) = self.poller.patience(socket);
        self.until(patience, |poller, lane| poller.write_datagram(lane, socket, bytes, to))
    }

    /// Close a socket, and wait as long as it lingers.
    ///
    /// Errors: there is no such socket.
    pub fn close(&mut self, socket: Descriptor) -> Result<(), Errno> {
        if let Closing::Lingers(patience) = self.poller.close(self.driver.lane(), socket)? {
            let _ = self.until(patience, |poller, lane| match poller.has_lingered(lane, socket) {
                true => Ok(()),
                false => Err(Errno::Again),
            });
            self.poller.close(self.driver.lane(), socket)?;
        }
        Ok(())
    }

    /// Try until it says something else than that it would wait, for so long at most; zero: for ever.
    fn until<R>(
        &mut self,
        patience: Duration,
        mut attempt: impl FnMut(&mut Poller, &mut Lane) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        match attempt(self.poller, self.driver.lane()) {
            Err(Errno::Again | Errno::InProgress) => {}
            done => return done,
        }
        // The lane's clock stands between its turns: what is waited counts from now.
        if !self.poller.turn(self.driver.lane()) {
            return Err(Errno::Interrupted);
        }
        let begun = self.driver.lane().now();
        loop {
            let error = match attempt(self.poller, self.driver.lane()) {
                Err(error @ (Errno::Again | Errno::InProgress)) => error,
                done => return done,
            };
            let waited = self.driver.lane().now().saturating_since(begun);
            let left = (!patience.is_zero()).then(|| patience.saturating_sub(waited));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(error);
            }
            if !self.driver.wait(self.poller.queue, left) {
                return Err(Errno::Interrupted);
            }
            self.poller.take(self.driver.lane());
        }
    }
}
