//! What applications ask. Each op is applied in order, and answers once at its end.

use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BinaryHeap;

use super::Engine;
use super::flows::Kind;
use crate::mode::{EngineOp, Ops};
use crate::socket::{
    Action, Event, ListenOptions, OpError, Reason, SocketId, SocketOption, Stream, Tag, TcpInfo,
};
use crate::tcp::options;
use crate::tcp::send::NONE;
use crate::tcp::source_port::PORTS;
use crate::tcp::state::{Connection, State, decline, flag, hint};
use crate::tcp::{timers, urgent};
use crate::time::{Instant, nanoseconds};

/// The application's timers.
#[derive(Debug, Default)]
pub struct AppTimers {
    heap: BinaryHeap<Reverse<(Instant, u64, u8, Tag)>>,
    count: u64,
}

impl AppTimers {
    /// Timers that have not fired.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the next one fires.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Forget all.
    pub fn clear(&mut self) {
        self.heap.clear();
    }
}

/// How a stream is closed.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Reset it if it takes longer.
    within: Option<Duration>,
    /// Received bytes had crossed to the application's side that it never took.
    unread: bool,
}

/// Application timers a lane keeps at once.
const APP_TIMERS_MAX: usize = 65_536;

impl Engine {
    /// Take returned frames back and apply the ops of a batch, in order. A loop of its own, for it has the registers to itself.
    ///
    /// Frames come back before ops, but for those in front whose sockets have small sends: to look at such a flow twice costs
    /// more than all that is done.
    #[inline(never)]
    pub(super) fn apply_all(&mut self, ops: &mut Ops, returned: &[SocketId]) {
        self.said_to = 0;
        let mut state = (self, returned);
        ops.drain(
            &mut state,
            |(engine, returned), send, last| engine.apply_small(send, last, returned),
            |(engine, returned), send| {
                engine.take_back(core::mem::take(returned));
                engine.apply_large(send);
            },
            |(engine, returned), op| {
                engine.take_back(core::mem::take(returned));
                engine.apply(op);
            },
        );
        let (engine, returned) = state;
        engine.take_back(returned);
    }

    /// Apply one op. A close, which most are, is not moved for it.
    #[inline]
    fn apply(&mut self, op: &mut EngineOp) {
        if let Action::Close { socket, within } = op.action {
            return self.close(socket, Manner { within, unread: op.unread }, op.queue, op.tag);
        }
        let nothing =
            EngineOp { action: Action::Cancel { of: Tag(0) }, queue: 0, tag: Tag(0), unread: false };
        self.apply_any(core::mem::replace(op, nothing));
    }

    fn apply_any(&mut self, op: EngineOp) {
        let EngineOp { action, queue, tag, unread } = op;
        match action {
            Action::Connect { lane: Some(lane), .. }
            | Action::Listen { options: ListenOptions { lane: Some(lane), .. }, .. }
                if lane != self.lane =>
            {
                self.fail(None, OpError::WrongLane(lane), queue, tag);
            }
            Action::Listen { address, options } => self.listen(address, options, queue, tag),
            Action::Connect { to, from, timeout, lane: _, options } => {
                self.connect(to, from, timeout, options.map(|options| *options), queue, tag);
            }
            Action::Receive { stream } => self.receive_op(stream, queue, tag),
            Action::Send { stream, payload, notify, more } => {
                self.send_op(stream, payload, notify, more, queue, tag);
            }
            Action::Bind { address, peer } => self.bind(address, peer, queue, tag),
            Action::SetPeer { socket, peer } => self.set_peer(socket, peer, queue, tag),
            Action::SendTo { socket, to, payload, notify } => {
                self.send_to(socket, to, payload, notify, queue, tag)
            }
            Action::Timer { at } => self.timer(at, queue, tag),
            Action::Configure { change } => self.configure_op(change, queue, tag),
            Action::Set { socket, option } => self.set_option(socket, option, queue, tag),
            Action::Inspect { stream } => self.inspect(stream, queue, tag),
            Action::Shutdown { stream } => self.shutdown(stream, false, queue, tag),
            Action::ShutdownBoth { stream } => self.shutdown(stream, true, queue, tag),
            Action::Close { socket, within } => self.close(socket, Manner { within, unread }, queue, tag),
            Action::Abort { socket } => self.abort(socket, unread, queue, tag),
            Action::AbortUnread { stream } => self.abort(stream.0, true, queue, tag),
            Action::Cancel { of } => self.cancel(of, queue),
        }
    }

    pub(super) fn fail(&mut self, socket: Option<SocketId>, error: OpError, queue: u8, tag: Tag) {
        self.complete(queue, tag, false, Event::Failed { socket, error, acked: 0, payload: None });
    }

    /// The slot of a handle that must be of a kind.
    pub(super) fn slot_of(&self, socket: SocketId, wanted: Kind) -> Result<u32, OpError> {
        match self.flows.find(socket)? {
            (slot, kind) if kind == wanted => Ok(slot),
            _ => Err(OpError::WrongKind),
        }
    }

    /// An address to listen or bind on is ours, or any.
    pub(super) fn is_bindable(&self, ip: IpAddr) -> bool {
        let soon = |ip: IpAddr| match ip {
            IpAddr::V6(ip) => self.ports.iter().any(|port| port.addresses.is_tentative(ip)),
            IpAddr::V4(_) => false,
        };
        ip.is_unspecified() || self.routes.is_local(ip) || soon(ip)
    }

    fn listen(&mut self, address: SocketAddr, options: ListenOptions, queue: u8, tag: Tag) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.stopping.is_some() {
            return self.fail(None, OpError::Cancelled, queue, tag);
        }
        if !self.is_bindable(address.ip()) {
            return self.fail(None, OpError::AddressNotAvailable, queue, tag);
        }
        let free = |port: &u16| !self.listeners.is_taken(SocketAddr::new(address.ip(), *port));
        let port = if address.port() == 0 { PORTS.into_iter().find(free) } else { Some(address.port()) };
        let Some(port) = port.filter(free) else {
            return self.fail(None, OpError::AddressInUse, queue, tag);
        };
        match self.flows.take(Kind::Listener) {
            Some(slot) => self.open_listener(slot, SocketAddr::new(address.ip(), port), options, queue, tag),
            None => self.fail(None, OpError::NoRoom, queue, tag),
        }
    }

    fn receive_op(&mut self, stream: Stream, queue: u8, tag: Tag) {
        let slot = match self.slot_of(stream.0, Kind::Stream) {
            Ok(slot) => slot,
            Err(error) => return self.fail(Some(stream.0), error, queue, tag),
        };
        let Some(hot) = self.flows.hot_mut(slot) else { return };
        if hot.flags & flag::DEAF != 0 {
            return self.fail(Some(stream.0), OpError::NotOpen, queue, tag);
        }
        let begins = hot.flags & flag::RECEIVING == 0;
        hot.flags |= flag::RECEIVING;
        hot.queue = queue;
        hot.tag = tag.0;
        if begins {
            self.tell_of_early_urgent(slot);
        }
        self.drain(slot);
    }

    fn timer(&mut self, at: Instant, queue: u8, tag: Tag) {
        if self.app_timers.heap.len() >= APP_TIMERS_MAX {
            return self.fail(None, OpError::NoRoom, queue, tag);
        }
        self.app_timers.count += 1;
        let order = self.app_timers.count;
        self.app_timers.heap.push(Reverse((at, order, queue, tag)));
    }

    /// Tell of the application's timers that are due.
    #[inline]
    pub fn advance_app_timers(&mut self) {
        while let Some(Reverse((at, _, queue, tag))) = self.app_timers.heap.peek().copied() {
            if at > self.flows.shared.now.instant {
                return;
            }
            self.app_timers.heap.pop();
            self.complete(queue, tag, false, Event::Timer);
        }
    }

    fn set_option(&mut self, socket: SocketId, option: SocketOption, queue: u8, tag: Tag) {
        let slot = match self.flows.find(socket) {
            Ok((slot, Kind::Stream)) => slot,
            Ok((slot, Kind::Listener)) if self.set_listener_option(slot, option) => return,
            Ok(_) => return self.fail(Some(socket), OpError::WrongKind, queue, tag),
            Err(error) => return self.fail(Some(socket), error, queue, tag),
        };
        let Some(mut connection) = self.flows.connection(slot) else { return };
        match option {
            SocketOption::NoDelay(on) => options::set_no_delay(&mut connection, on),
            SocketOption::KeepAlive(idle) => {
                connection.clear(flag::KEEPALIVE);
                if let Some(idle) = idle {
                    connection.set(flag::KEEPALIVE);
                    connection.rare_mut().keepalive_idle_s =
                        u16::try_from(idle.as_secs().max(1)).unwrap_or(u16::MAX);
                }
                timers::heard(&mut connection);
            }
            SocketOption::UserTimeout(after) => {
                let ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
                options::set_user_timeout(&mut connection, ms);
            }
            SocketOption::ReceiveFrames(frames) => {
                let max = connection.shared.config.receive_frames_max;
                connection.hot.frames_max = u16::try_from(frames).unwrap_or(max).clamp(1, max);
            }
            SocketOption::Congestion(congestion) => connection.choose_congestion(Some(congestion)),
            SocketOption::Urgent => urgent::send(&mut connection),
            SocketOption::Stream(options) => options::change(&mut connection, options),
            SocketOption::Backlog(_) => return self.fail(Some(socket), OpError::WrongKind, queue, tag),
        }
        self.mark_dirty(slot);
    }

    fn inspect(&mut self, stream: Stream, queue: u8, tag: Tag) {
        let slot = match self.slot_of(stream.0, Kind::Stream) {
            Ok(slot) => slot,
            Err(error) => return self.fail(Some(stream.0), error, queue, tag),
        };
        if let Some(info) = self.figures(slot) {
            self.complete(queue, tag, false, Event::Info { stream, info });
        }
    }

    /// What there is to tell of a stream.
    pub(super) fn figures(&mut self, slot: u32) -> Option<Box<TcpInfo>> {
        let path_mtu = self.path_mtu_of(&self.flows.tuple(slot)?);
        let connection = self.flows.connection(slot)?;
        Some(Box::new(TcpInfo { path_mtu, ..crate::tcp::info::info(&connection) }))
    }

    fn shutdown(&mut self, stream: Stream, both: bool, queue: u8, tag: Tag) {
        let slot = match self.slot_of(stream.0, Kind::Stream) {
            Ok(slot) => slot,
            Err(error) => return self.fail(Some(stream.0), error, queue, tag),
        };
        let queued = self.flows.connection(slot).is_some_and(|mut connection| queue_fin(&mut connection));
        if queued {
            self.mark_dirty(slot);
        }
        let hot = self.flows.hot_mut(slot).filter(|hot| both && hot.flags & flag::FIN_QUEUED != 0);
        if let Some(hot) = hot {
            hot.decline |= decline::SHUT;
        } else if !queued {
            self.fail(Some(stream.0), OpError::NotOpen, queue, tag);
        }
    }

    fn close(&mut self, socket: SocketId, manner: Manner, queue: u8, tag: Tag) {
        match self.flows.find(socket) {
            Ok((slot, Kind::Stream)) => self.close_stream(slot, manner, queue, tag),
            Ok((slot, Kind::Listener)) => self.close_listener(slot, Reason::Done),
            Ok((slot, _)) => self.close_udp_socket(slot, Reason::Done),
            Err(error) => self.fail(Some(socket), error, queue, tag),
        }
    }

    /// The application has gone: close every stream in order.
    pub(super) fn close_streams(&mut self) {
        for slot in 0..self.flows.slots() {
            if self.flows.kind(slot) == Kind::Stream
                && self.flows.hot(slot).is_some_and(|hot| hot.flags & flag::DEAF == 0)
            {
                self.close_stream(slot, Manner::default(), 0, Tag(0));
            }
        }
    }

    fn close_stream(&mut self, slot: u32, manner: Manner, queue: u8, tag: Tag) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let unread = manner.unread || connection.hot.hints & hint::WAITS != 0;
        if connection.is(flag::DEAF) && !connection.is(flag::DEAD) {
            let socket = Some(self.flows.id(slot));
            return self.fail(socket, OpError::NotOpen, queue, tag);
        }
        match connection.hot.state {
            //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.4
            //# Delete the TCB and return "error: closing" responses to any
            //# queued SENDs, or RECEIVEs.
            State::SynSent => return self.fail_connect(slot, OpError::Cancelled),
            _ if unread && !connection.is(flag::DEAD) => {
                //= https://www.rfc-editor.org/rfc/rfc2525#section-2.17
                //# When an application closes a connection in such a way that it can no
                //# longer read any received data, the TCP SHOULD, per section 4.2.2.13
                //# of RFC 1122, send a RST if there is any unread received data
                self.send_abort(slot);
                return self.bring_down(slot, Reason::Aborted);
            }
            _ => {}
        }
        connection.hot.flags |= flag::DEAF;
        let us = match manner.within {
            Some(within) => Some(nanoseconds(within) / 1_000),
            None if connection.hot.state == State::FinWait2 => Some(options::fin_timeout_us(&connection)),
            None => None,
        };
        if let Some(us) = us {
            connection.set_life(connection.shared.now.after(us));
        }
        if connection.is(flag::DEAD) {
            self.drop_waiting(slot);
            return self.bury(slot);
        }
        connection.decline_by_state();
        queue_fin(&mut connection);
        self.mark_dirty(slot);
        if us.is_some() {
            self.arm(slot);
        }
    }

    fn abort(&mut self, socket: SocketId, unread: bool, queue: u8, tag: Tag) {
        match self.flows.find(socket) {
            Ok((slot, Kind::Stream)) => {
                let dead = self.flows.hot(slot).is_some_and(|hot| hot.flags & flag::DEAD != 0);
                if !dead {
                    let unread = unread || !self.flows.waiting(slot).is_empty();
                    if unread || !self.is_all_said(slot) {
                        self.send_abort(slot);
                    }
                    return self.bring_down(slot, Reason::Aborted);
                }
                self.drop_waiting(slot);
                if let Some(hot) = self.flows.hot_mut(slot) {
                    hot.flags |= flag::DEAF;
                }
                self.bury(slot);
            }
            Ok((slot, Kind::Listener)) => self.close_listener(slot, Reason::Aborted),
            Ok((slot, _)) => self.close_udp_socket(slot, Reason::Aborted),
            Err(error) => self.fail(Some(socket), error, queue, tag),
        }
    }

    /// Both ends have said that they are done: nobody need hear of an abort. A FIN that was not sent yet is not said, though
    /// the state is that of one that was.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.5
    //# Respond with "ok" and delete the TCB, enter CLOSED state, and
    //# return.
    // That is of CLOSING and LAST-ACK. TIME-WAIT has no stream any more, and stays for what it waits for (RFC 1337).
    fn is_all_said(&self, slot: u32) -> bool {
        let over = |state| matches!(state, State::Closing | State::LastAck);
        self.flows.hot(slot).is_some_and(|hot| over(hot.state) && hot.unsent == NONE)
    }

    /// End what was asked under a tag: timers, listeners, connects, receives, bound sockets.
    fn cancel(&mut self, of: Tag, queue: u8) {
        let mut kept = BinaryHeap::with_capacity(self.app_timers.heap.len());
        for Reverse(timer) in core::mem::take(&mut self.app_timers.heap).into_sorted_vec().into_iter().rev() {
            let (_, _, its_queue, its_tag) = timer;
            if (its_queue, its_tag) == (queue, of) {
                self.fail(None, OpError::Cancelled, queue, of);
            } else {
                kept.push(Reverse(timer));
            }
        }
        self.app_timers.heap = kept;
        self.cancel_deferred(Some((queue, of)));
        for slot in 0..self.flows.slots() {
            match self.flows.kind(slot) {
                Kind::Listener if self.listeners.reports(slot) == Some((queue, of)) => {
                    self.close_listener(slot, Reason::Aborted);
                }
                Kind::Udp if self.udp.reports(slot) == Some((queue, of)) => {
                    self.close_udp_socket(slot, Reason::Aborted);
                }
                Kind::Stream => self.cancel_stream(slot, of, queue),
                _ => {}
            }
        }
    }

    fn cancel_stream(&mut self, slot: u32, of: Tag, queue: u8) {
        let Some(hot) = self.flows.hot_mut(slot) else { return };
        if hot.queue != queue || hot.tag != of.0 {
            return;
        }
        if hot.state == State::SynSent {
            return self.fail_connect(slot, OpError::Cancelled);
        }
        if hot.flags & flag::RECEIVING != 0 {
            hot.flags &= !flag::RECEIVING;
            let socket = Some(self.flows.id(slot));
            self.fail(socket, OpError::Cancelled, queue, of);
        }
    }
}

/// FIN follows what is queued. False if that direction is not open, or there is no room for the FIN.
fn queue_fin(connection: &mut Connection) -> bool {
    let state = connection.hot.state;
    if connection.is(flag::FIN_QUEUED | flag::DEAD) || !(state.sends() || state == State::SynReceived) {
        return false;
    }
    let end = connection.queued_end();
    if !connection.queue(|cells, queue, _| cells.push_control(queue, end)) {
        return false;
    }
    connection.set(flag::FIN_QUEUED);
    match state {
        State::Established => connection.enter(State::FinWait1),
        State::CloseWait => connection.enter(State::LastAck),
        _ => {}
    }
    true
}
