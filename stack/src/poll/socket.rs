//! What a socket is, and what the lane's completions do to it. What callers do with it is in the other files.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use super::options::Options;
use super::{Asked, Descriptor, Errno, Poller, Readiness};
use crate::lane::Lane;
use crate::socket::{Event, Listener, Op, OpError, Reason, Received, Stream, Trouble, Udp};

/// What a socket carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A stream of bytes: TCP.
    Stream,
    /// Datagrams: UDP.
    Datagram,
}

/// A socket's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and IPv4 as mapped addresses unless that was turned off.
    V6,
}

/// Where a stream socket stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Neither listening nor connected, or not any more: CLOSED.
    Closed,
    /// Accepting.
    Listening,
    /// The SYN is out.
    Connecting,
    /// Open, at least in one direction.
    Open,
}

/// A socket.
pub(super) struct Socket {
    pub kind: Kind,
    pub family: Family,
    pub phase: Phase,
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    pub options: Options,
    /// What the next call reports: SO_ERROR.
    pub error: Option<Errno>,
    /// What a stream was told by ICMP and still hopes to outlive: SO_ERROR once where there is no other, and what giving up
    /// is called.
    pub soft_error: Option<Errno>,

    pub stream: Option<Stream>,
    pub listener: Option<Listener>,
    pub udp: Option<Udp>,
    /// A connect that `connect` has not yet reported as done.
    pub connect_unreported: bool,
    /// Connections that may be under way or wait.
    pub backlog: u32,
    /// Connections that wait to be accepted.
    pub accepted: VecDeque<Descriptor>,
    /// Connections that are to send something before they wait to be accepted.
    pub deferred: Vec<Descriptor>,
    /// It is one of them.
    pub is_deferred: bool,
    /// The listener whose `accepted` or `deferred` names this socket.
    pub parent: Option<Descriptor>,

    /// Received bytes that nobody has read.
    pub received: VecDeque<Received>,
    pub received_bytes: usize,
    /// How many bytes are to be read before the urgent byte; it is the last of the peer's urgent data.
    pub urgent: Option<usize>,
    /// The urgent byte was read out of line, and is still in it.
    pub urgent_taken: bool,
    /// The peer's FIN has come.
    pub ended: bool,
    pub read_shut: bool,
    pub write_shut: bool,
    /// Half-closed by `close`, which lingers.
    pub closing: bool,
    /// Bytes written that the lane still holds.
    pub queued_bytes: usize,
    /// A writer met the bound, and is to be told of room.
    pub wants_room: bool,
    /// It was the bound on what is not sent yet: there is none until something was acknowledged.
    pub waits_for_sending: bool,
    /// Datagrams that nobody has read.
    pub datagrams: VecDeque<(SocketAddr, Received)>,
}

impl Socket {
    pub fn new(kind: Kind, family: Family, options: Options) -> Socket {
        Socket {
            kind,
            family,
            phase: Phase::Closed,
            local: None,
            remote: None,
            options,
            error: None,
            soft_error: None,
            stream: None,
            listener: None,
            udp: None,
            connect_unreported: false,
            backlog: 0,
            accepted: VecDeque::new(),
            parent: None,
            received: VecDeque::new(),
            received_bytes: 0,
            urgent: None,
            urgent_taken: false,
            ended: false,
            read_shut: false,
            write_shut: false,
            closing: false,
            queued_bytes: 0,
            wants_room: false,
            waits_for_sending: false,
            deferred: Vec::new(),
            is_deferred: false,
            datagrams: VecDeque::new(),
        }
    }

    /// Bytes that a write may still add.
    pub fn room(&self) -> usize {
        (self.options.send_bytes as usize).saturating_sub(self.queued_bytes)
    }

    /// A third of the bound is free: only then are writers told, or they would write in dribs and drabs.
    pub fn is_writable(&self) -> bool {
        self.room() >= self.queued_bytes / 2 && self.room() > 0 && !self.waits_for_sending
    }

    fn is_readable(&self) -> bool {
        let least = (self.options.receive_low as usize).max(1);
        let aside = self.has_urgent_aside();
        self.received_bytes - usize::from(aside) >= least
    }

    /// What the socket is ready for. A caller that is told it cannot be written is told when it can.
    pub fn readiness(&mut self) -> Readiness {
        match self.kind {
            Kind::Stream => self.stream_readiness(),
            Kind::Datagram => {
                let readable = !self.datagrams.is_empty() || self.read_shut;
                Readiness::OUT
                    | if readable { Readiness::IN } else { Readiness::NONE }
                    | if self.error.is_some() { Readiness::ERR } else { Readiness::NONE }
            }
        }
    }

    fn stream_readiness(&mut self) -> Readiness {
        if self.phase == Phase::Listening {
            return if self.accepted.is_empty() { Readiness::NONE } else { Readiness::IN };
        }
        let mut readiness = Readiness::NONE;
        let read_over = self.ended || self.read_shut;
        if self.phase == Phase::Closed || read_over && self.write_shut {
            readiness |= Readiness::HUP;
        }
        if read_over {
            readiness |= Readiness::IN | Readiness::RDHUP;
        }
        if self.phase != Phase::Connecting {
            if self.is_readable() {
                readiness |= Readiness::IN;
            }
            if self.write_shut || self.is_writable() {
                readiness |= Readiness::OUT;
            } else {
                self.wants_room = true;
            }
        }
        if self.urgent.is_some_and(|at| at < self.received_bytes) && !self.urgent_taken {
            readiness |= Readiness::PRI;
        }
        if self.error.is_some() {
            readiness |= Readiness::ERR;
        }
        readiness
    }

    /// Take the error that waits, if one does.
    pub fn take_error(&mut self) -> Result<(), Errno> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// The connection is over, for this reason.
    fn end(&mut self, error: Option<Errno>) {
        self.phase = Phase::Closed;
        self.stream = None;
        self.error = self.error.or(error);
        self.soft_error = None;
        self.read_shut = true;
        self.write_shut = true;
        self.queued_bytes = 0;
    }
}

impl Poller {
    /// The addresses a socket has.
    ///
    /// Errors: there is no such socket.
    pub fn family(&self, descriptor: Descriptor) -> Result<Family, Errno> {
        self.socket(descriptor).map(|socket| socket.family)
    }

    /// The socket carries datagrams.
    pub fn is_datagram(&self, descriptor: Descriptor) -> bool {
        self.socket(descriptor).is_ok_and(|socket| socket.kind == Kind::Datagram)
    }

    /// What a descriptor is ready for.
    pub fn readiness(&mut self, descriptor: Descriptor) -> Readiness {
        self.socket_mut(descriptor).map_or(Readiness::INVALID, Socket::readiness)
    }

    pub(super) fn on_event(&mut self, lane: &mut Lane, descriptor: Descriptor, asked: Asked, event: Event) {
        match event {
            Event::Accepted { stream, peer, .. } => self.on_accepted(lane, descriptor, stream, peer),
            Event::Info { stream, info } => self.info = Some((stream, *info)),
            Event::Connected { stream, local } => self.on_connected(lane, descriptor, stream, local),
            event => {
                let Ok(socket) = self.socket_mut(descriptor) else { return };
                let waited = matches!(event, Event::Timer);
                let what = on_own_event(socket, asked, event);
                if socket.is_deferred {
                    return self.on_deferred(lane, descriptor, waited);
                }
                if !what.is_none() {
                    self.notify(descriptor, what);
                }
            }
        }
    }

    fn on_connected(&mut self, lane: &mut Lane, descriptor: Descriptor, stream: Stream, local: SocketAddr) {
        let Ok(socket) = self.socket_mut(descriptor) else {
            // Closed meanwhile, when it was too late to cancel it: the peer's SYN had come, or the answer crossed with the op.
            let close = Op::close(stream).to(self.queue).tag(descriptor.tag(Asked::Other));
            return drop(lane.submit(close));
        };
        socket.phase = Phase::Open;
        socket.stream = Some(stream);
        socket.local = Some(local);
        socket.connect_unreported = true;
        let (ends, both) = (socket.write_shut, socket.read_shut);
        if self.submit(lane, descriptor, Asked::Main, Op::receive(stream)).is_ok() {
            self.notify(descriptor, Readiness::OUT);
        }
        if ends {
            // It was shut down during the handshake. Without room for the op it ends when it is closed.
            let op = if both { Op::shutdown_both(stream) } else { Op::shutdown(stream) };
            let _ = self.submit(lane, descriptor, Asked::Other, op);
        }
    }

    /// A peer has connected: what it sends waits in a socket of its own until it is accepted.
    fn on_accepted(&mut self, lane: &mut Lane, listener: Descriptor, stream: Stream, peer: SocketAddr) {
        let child = self.socket(listener).map(|parent| {
            let mut child = Socket::new(Kind::Stream, parent.family, parent.options);
            child.phase = Phase::Open;
            child.stream = Some(stream);
            child.local = parent.local;
            child.remote = Some(peer);
            child.parent = Some(listener);
            child
        });
        let child = child.and_then(|child| self.insert(child));
        let Ok(child) = child else {
            let abort = Op::abort(stream).to(self.queue).tag(listener.tag(Asked::Other));
            return drop(lane.submit(abort));
        };
        let _ = self.submit(lane, child, Asked::Main, Op::receive(stream));
        let wait = self.socket(listener).map_or(0, |parent| parent.options.defer_accept_s);
        if wait == 0 {
            return self.offer(lane, listener, child);
        }
        let at = lane.now().saturating_add(Duration::from_secs(u64::from(wait)));
        let timer = self.submit(lane, child, Asked::Other, Op::timer(at));
        if timer.is_err() {
            return self.offer(lane, listener, child);
        }
        if let Ok(child) = self.socket_mut(child) {
            child.is_deferred = true;
        }
        if let Ok(parent) = self.socket_mut(listener) {
            parent.deferred.push(child);
        }
        self.tell_backlog(lane, listener);
    }

    /// A connection waits to be accepted.
    fn offer(&mut self, lane: &mut Lane, listener: Descriptor, child: Descriptor) {
        if let Ok(parent) = self.socket_mut(listener) {
            parent.accepted.push_back(child);
        }
        self.tell_backlog(lane, listener);
        self.notify(listener, Readiness::IN);
    }

    /// Something happened to a connection that is to send before it is offered (TCP_DEFER_ACCEPT): it has, or its time is
    /// over; or it has gone, and nobody will hear of it.
    fn on_deferred(&mut self, lane: &mut Lane, child: Descriptor, waited: bool) {
        let Ok(socket) = self.socket_mut(child) else { return };
        let gone = socket.phase == Phase::Closed;
        if !(gone || waited || socket.received_bytes > 0 || socket.ended) {
            return;
        }
        socket.is_deferred = false;
        let Some(listener) = socket.parent else { return };
        if let Ok(parent) = self.socket_mut(listener) {
            parent.deferred.retain(|other| *other != child);
        }
        if gone {
            self.remove(child);
            return self.tell_backlog(lane, listener);
        }
        self.offer(lane, listener, child);
    }
}

/// An event that concerns a socket alone. Returns what it may be ready for now.
fn on_own_event(socket: &mut Socket, asked: Asked, event: Event) -> Readiness {
    match event {
        Event::Listening { listener, local } => {
            socket.phase = Phase::Listening;
            socket.listener = Some(listener);
            socket.local = Some(local);
            Readiness::NONE
        }
        Event::Connecting { stream, local } => {
            socket.stream = Some(stream);
            socket.local = Some(local);
            Readiness::NONE
        }
        Event::Bound { socket: udp, local, peer } => {
            socket.udp = Some(udp);
            socket.local = Some(local);
            socket.remote = peer;
            Readiness::NONE
        }
        Event::Received { data, .. } => {
            socket.received_bytes += data.len();
            socket.received.push_back(data);
            Readiness::IN
        }
        Event::Datagram { from, data, .. } => {
            if socket.remote.is_none_or(|remote| remote == from) {
                socket.datagrams.push_back((from, data));
            }
            Readiness::IN
        }
        Event::DatagramError { to, error, .. } => on_datagram_error(socket, to, error),
        Event::Urgent { ahead, .. } => {
            socket.urgent = (socket.received_bytes + ahead as usize).checked_sub(1);
            socket.urgent_taken = false;
            Readiness::PRI
        }
        Event::End { .. } => {
            socket.ended = true;
            Readiness::IN | Readiness::RDHUP
        }
        Event::Sent { payload, .. } => {
            socket.queued_bytes = socket.queued_bytes.saturating_sub(payload.len());
            socket.waits_for_sending = false;
            socket.soft_error = None;
            if socket.wants_room && socket.is_writable() {
                socket.wants_room = false;
                Readiness::OUT
            } else {
                Readiness::NONE
            }
        }
        Event::Writable { .. } => Readiness::OUT,
        Event::Trouble { trouble: Trouble::Undelivered(error), .. } => on_soft_error(socket, error.into()),
        Event::Closed { reason, .. } => on_closed(socket, reason),
        Event::Failed { error, payload, .. } => {
            socket.queued_bytes =
                socket.queued_bytes.saturating_sub(payload.map_or(0, |payload| payload.len()));
            if asked != Asked::Main {
                return Readiness::NONE;
            }
            // A connect that the application itself has cancelled leaves the socket as it was before.
            let cancelled = error == OpError::Cancelled;
            socket.end(Some(if cancelled { Errno::Reset } else { error.into() }));
            if cancelled || socket.kind == Kind::Datagram {
                (socket.read_shut, socket.write_shut) = (false, false);
            }
            Readiness::IN | Readiness::OUT | Readiness::RDHUP | Readiness::ERR | Readiness::HUP
        }
        _ => Readiness::NONE,
    }
}

/// A datagram is said not to have arrived. As on Linux, a socket with one peer hears that nobody has the port there, and
/// that the datagram was too long for the way unless it may be cut; one that asked for errors hears of all.
fn on_datagram_error(socket: &mut Socket, to: SocketAddr, error: OpError) -> Readiness {
    let its = socket.remote == Some(to);
    let hard = match error {
        OpError::Refused => true,
        OpError::TooLong => socket.options.mtu_discover != 0,
        _ => false,
    };
    if !(socket.options.receive_errors && (its || socket.remote.is_none()) || its && hard) {
        return Readiness::NONE;
    }
    socket.error = Some(Errno::from(error));
    Readiness::IN | Readiness::OUT | Readiness::ERR
}

/// What was sent is said not to have arrived, and goes on being sent. One that asked for errors hears of it at once, as on
/// Linux, others when they ask.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.2
//# it SHOULD make the information available to the
//# application (SHLD-25).
fn on_soft_error(socket: &mut Socket, error: Errno) -> Readiness {
    if socket.options.receive_errors {
        socket.error = Some(error);
        return Readiness::ERR;
    }
    socket.soft_error = Some(error);
    Readiness::NONE
}

fn on_closed(socket: &mut Socket, reason: Reason) -> Readiness {
    let error = match reason {
        // Linux tells of a reset after the peer's FIN as of a pipe that nobody reads.
        Reason::Reset if socket.ended && !socket.write_shut => Some(Errno::BrokenPipe),
        Reason::Reset => Some(Errno::Reset),
        Reason::TimedOut => socket.soft_error.or(Some(Errno::TimedOut)),
        _ => None,
    };
    socket.listener = None;
    socket.udp = None;
    socket.end(error);
    let failed = if error.is_some() { Readiness::ERR } else { Readiness::NONE };
    Readiness::IN | Readiness::OUT | Readiness::RDHUP | Readiness::HUP | failed
}
