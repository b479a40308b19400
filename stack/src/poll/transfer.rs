//! Reading and writing of streams: bytes are copied, and no call waits. Datagrams are in `datagram`.

use core::ops::BitOr;

use bytes::Bytes;

use super::socket::{Phase, Socket};
use super::{Asked, Descriptor, Errno, Kind, Poller};
use crate::lane::Lane;
use crate::socket::{Action, Op, Received, SocketOption, Stream};

/// How one call reads or writes. The bits are those of Linux's `MSG_` flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Like `read` and `write`.
    pub const NONE: Flags = Flags(0);
    /// Urgent data.
    pub const OUT_OF_BAND: Flags = Flags(0x1);
    /// Leave what is read.
    pub const PEEK: Flags = Flags(0x2);
    /// Of a stream: drop what is read. Of a datagram: tell its whole length.
    pub const TRUNCATE: Flags = Flags(0x20);
    /// Do not wait, whatever the descriptor says.
    pub const DONT_WAIT: Flags = Flags(0x40);
    /// Wait until everything that was asked for is there.
    pub const WAIT_ALL: Flags = Flags(0x100);
    /// Errors that were queued; none ever is.
    pub const ERROR_QUEUE: Flags = Flags(0x2000);
    /// More will be written at once.
    pub const MORE: Flags = Flags(0x8000);
    /// Connect, and send with the SYN.
    pub const FAST_OPEN: Flags = Flags(0x2000_0000);

    /// Some bit of `other` is set.
    pub fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// Bytes of one payload that `write` makes: room comes back by payloads, so they must not be large.
const PAYLOAD_BYTES: usize = 4096;

impl Poller {
    /// Copy received bytes into `into`. Zero: the end, or no room was given.
    ///
    /// Errors: `Again` if there is nothing yet; `NotConnected`; what ended the connection, once.
    pub fn read(&mut self, descriptor: Descriptor, into: &mut [u8], flags: Flags) -> Result<usize, Errno> {
        let socket = self.socket_mut(descriptor)?;
        if socket.kind == Kind::Datagram {
            return socket.read_datagram(into, flags).map(|(len, ..)| len);
        }
        if flags.any(Flags::ERROR_QUEUE) {
            return Err(Errno::Again);
        }
        if flags.any(Flags::OUT_OF_BAND) {
            return socket.read_urgent(into, flags);
        }
        if socket.phase == Phase::Listening || socket.phase == Phase::Connecting {
            // Linux has a connecting socket wait for data, and tells of a listening one that it is not connected.
            let connecting = socket.phase == Phase::Connecting;
            return Err(if connecting { Errno::Again } else { Errno::NotConnected });
        }
        if socket.has_urgent_aside() {
            if flags.any(Flags::PEEK) && !into.is_empty() {
                return socket.peek_behind_urgent(into);
            }
            socket.skip_urgent();
        }
        if socket.received_bytes == 0 || into.is_empty() {
            return if into.is_empty() && socket.received_bytes > 0 {
                Ok(0)
            } else {
                socket.nothing_to_read()
            };
        }
        // What lies before the urgent byte is read by itself, so that it can be told where that is.
        let most = socket.urgent.filter(|at| *at > 0).map_or(into.len(), |at| at.min(into.len()));
        let into = &mut into[..most];
        let wanted = if flags.any(Flags::WAIT_ALL) { into.len() } else { 1 };
        let least = wanted.max(socket.options.receive_low as usize).min(into.len());
        let over = socket.ended || socket.read_shut || socket.error.is_some();
        if socket.received_bytes < least && !over && !flags.any(Flags::DONT_WAIT) {
            return Err(Errno::Again);
        }
        Ok(if flags.any(Flags::PEEK) { socket.peek(into) } else { socket.consume(into, flags) })
    }

    /// The oldest received bytes as they came, without a copy.
    ///
    /// Errors: as of [`read`](Poller::read).
    pub fn read_frame(&mut self, descriptor: Descriptor) -> Result<Option<Received>, Errno> {
        let socket = self.socket_mut(descriptor)?;
        match socket.received.pop_front() {
            Some(received) => {
                socket.received_bytes -= received.len();
                Ok(Some(received))
            }
            None => socket.nothing_to_read().map(|_| None),
        }
    }

    /// Copy bytes into the send buffer, as many as it takes.
    ///
    /// Errors: `Again` if it takes none; `BrokenPipe` if that direction is over; what ended the connection, once.
    pub fn write(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        bytes: &[u8],
        flags: Flags,
    ) -> Result<usize, Errno> {
        let socket = self.socket_mut(descriptor)?;
        if socket.kind == Kind::Datagram {
            return self.write_datagram(lane, descriptor, bytes, None);
        }
        if flags.any(Flags::FAST_OPEN) {
            return Err(Errno::NotSupported);
        }
        if socket.phase == Phase::Connecting {
            return Err(Errno::Again);
        }
        socket.check_writable()?;
        let Some(stream) = socket.stream else { return Err(Errno::BrokenPipe) };
        if bytes.len() > socket.room() {
            self.grow(lane, descriptor, stream);
        }
        let unsent_room = self.unsent_room(lane, descriptor, stream)?;
        let socket = self.socket_mut(descriptor)?;
        let len = bytes.len().min(socket.room()).min(unsent_room);
        if len < bytes.len() {
            socket.wants_room = true;
        }
        if len == 0 {
            return if bytes.is_empty() { Ok(0) } else { Err(Errno::Again) };
        }
        let whole = len == bytes.len();
        let last = len.div_ceil(PAYLOAD_BYTES) - 1;
        let mut written = 0;
        for (index, part) in bytes[..len].chunks(PAYLOAD_BYTES).enumerate() {
            let more = index < last || whole && flags.any(Flags::MORE);
            let payload = Bytes::copy_from_slice(part).into();
            let op = Op::new(Action::Send { stream, payload, notify: true, more });
            match self.submit(lane, descriptor, Asked::Send, op) {
                Ok(()) => written += part.len(),
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
            if let Ok(socket) = self.socket_mut(descriptor) {
                socket.queued_bytes += part.len();
            }
        }
        if flags.any(Flags::OUT_OF_BAND) && written > 0 {
            self.submit(lane, descriptor, Asked::Other, Op::set(stream, SocketOption::Urgent))?;
        }
        Ok(written)
    }

    /// The next byte to be read is the urgent one (SIOCATMARK).
    ///
    /// Errors: there is no such socket.
    pub fn is_at_mark(&self, descriptor: Descriptor) -> Result<bool, Errno> {
        self.socket(descriptor).map(|socket| socket.urgent == Some(0))
    }
}

impl Poller {
    /// How much more may wait to be sent: an application that sets TCP_NOTSENT_LOWAT would rather decide late what it sends.
    fn unsent_room(
        &mut self,
        lane: &mut Lane,
        descriptor: Descriptor,
        stream: Stream,
    ) -> Result<usize, Errno> {
        let low = self.socket(descriptor)?.options.not_sent_low;
        // Zero is Linux's word for its default, which is no bound.
        if low == u32::MAX || low == 0 {
            return Ok(usize::MAX);
        }
        // What was written before this call is sent first, as far as it may be.
        let unsent = self.inspect(lane, descriptor, stream).map_or(0, |info| info.unsent);
        let room = low.saturating_sub(unsent) as usize;
        self.socket_mut(descriptor)?.waits_for_sending = room == 0;
        Ok(room)
    }

    /// A send buffer that nobody has set grows with the congestion window: twice that keeps the network busy while
    /// acknowledgements come back, as Linux has it.
    fn grow(&mut self, lane: &mut Lane, descriptor: Descriptor, stream: Stream) {
        let Ok(socket) = self.socket(descriptor) else { return };
        let most = socket.options.send_bytes_max;
        if most <= socket.options.send_bytes {
            return;
        }
        let Ok(info) = self.inspect(lane, descriptor, stream) else { return };
        if let Ok(socket) = self.socket_mut(descriptor) {
            let wanted = info.cwnd.saturating_mul(2).min(most);
            socket.options.send_bytes = socket.options.send_bytes.max(wanted);
        }
    }
}

impl Socket {
    /// What a read of a stream without received bytes returns.
    fn nothing_to_read(&mut self) -> Result<usize, Errno> {
        if self.ended {
            return Ok(0);
        }
        self.take_error()?;
        if self.read_shut {
            return Ok(0);
        }
        Err(if self.phase == Phase::Closed { Errno::NotConnected } else { Errno::Again })
    }

    fn check_writable(&mut self) -> Result<(), Errno> {
        if self.error.is_none() && self.phase == Phase::Open && !self.write_shut {
            return Ok(());
        }
        self.take_error()?;
        Err(Errno::BrokenPipe)
    }

    /// Bytes that reads would give before they stop at urgent data.
    pub(super) fn readable_bytes(&self) -> usize {
        let mark = self.urgent.filter(|at| !self.options.oob_inline && *at < self.received_bytes);
        mark.unwrap_or(self.received_bytes)
    }

    /// The urgent byte lies aside, and nothing is before it.
    pub(super) fn has_urgent_aside(&self) -> bool {
        !self.options.oob_inline && self.urgent == Some(0) && self.received_bytes > 0
    }

    /// Out of line, the urgent byte is not read with the others: who reads on without asking for it does not get it any more.
    fn skip_urgent(&mut self) {
        self.consume(&mut [0], Flags::NONE);
        self.urgent = None;
    }

    /// What is read behind it, while it stays.
    fn peek_behind_urgent(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        let mut bytes = vec![0; into.len() + 1];
        match self.peek(&mut bytes).checked_sub(1) {
            Some(len) if len > 0 => {
                into[..len].copy_from_slice(&bytes[1..=len]);
                Ok(len)
            }
            _ => self.nothing_to_read(),
        }
    }

    /// The urgent byte, out of line.
    fn read_urgent(&mut self, into: &mut [u8], flags: Flags) -> Result<usize, Errno> {
        let at =
            self.urgent.filter(|_| !self.options.oob_inline && !self.urgent_taken).ok_or(Errno::Invalid)?;
        if self.phase == Phase::Closed && !self.ended {
            return Err(Errno::NotConnected);
        }
        if at >= self.received_bytes {
            return if self.ended || self.read_shut { Ok(0) } else { Err(Errno::Again) };
        }
        let mut before = vec![0; at + 1];
        self.peek(&mut before);
        self.urgent_taken = !flags.any(Flags::PEEK);
        match (into.first_mut(), before.last()) {
            (Some(place), Some(byte)) => {
                *place = *byte;
                Ok(1)
            }
            _ => Ok(0),
        }
    }

    fn peek(&self, into: &mut [u8]) -> usize {
        let mut copied = 0;
        for part in &self.received {
            let len = part.len().min(into.len() - copied);
            into[copied..copied + len].copy_from_slice(&part[..len]);
            copied += len;
        }
        copied
    }

    /// Copy bytes out and give emptied frames back. With `TRUNCATE` they are dropped instead of copied.
    fn consume(&mut self, into: &mut [u8], flags: Flags) -> usize {
        let mut copied = 0;
        while copied < into.len() {
            let Some(front) = self.received.front_mut() else { break };
            let len = front.len().min(into.len() - copied);
            if !flags.any(Flags::TRUNCATE) {
                into[copied..copied + len].copy_from_slice(&front[..len]);
            }
            if len == front.len() {
                self.received.pop_front();
            } else {
                front.advance(len);
            }
            copied += len;
        }
        self.received_bytes -= copied;
        if let Some(at) = self.urgent {
            self.urgent = at.checked_sub(copied);
        }
        copied
    }
}
