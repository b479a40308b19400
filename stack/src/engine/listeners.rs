//! Listeners: SYNs, half-open connections, connections that wait to be accepted.

use core::net::SocketAddr;

use super::Engine;
use super::flows::{Birth, Kind};
use super::listener_table::ListenerState;
use super::segments::Arrived;
use crate::config::{Congestion, SynCookies};
use crate::flow::Place;
use crate::ip::route::NextHop;
use crate::socket::{Event, ListenOptions, Listener, Reason, SocketOption, Stream, StreamOptions, Tag};
use crate::tcp::challenge::Limit;
use crate::tcp::ecn;
use crate::tcp::input;
use crate::tcp::isn::{FlowKey, Tuple};
use crate::tcp::listen::{self, Half, HalfOpen, Listening, Placed};
use crate::tcp::options::{mss_bound, window_scale};
use crate::tcp::send::{NONE, mark};
use crate::tcp::state::{Connection, State, flag};
use crate::tcp::tally;
use crate::tcp::timers;
use crate::wire::DropReason;
use crate::wire::tcp::{Flags, Segment, SeqNum};
use drivers::Frame;

/// What is done with a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reception {
    /// Answer it, and remember it.
    Remember,
    /// Answer it by a cookie.
    Cookie,
    /// Drop it: the peer sends it again.
    Drop,
}

impl Engine {
    /// Open a listener in a slot taken for it.
    pub(super) fn open_listener(
        &mut self,
        slot: u32,
        address: SocketAddr,
        options: ListenOptions,
        queue: u8,
        tag: Tag,
    ) {
        let options = ListenOptions { backlog: options.backlog.max(1), ..options };
        self.listeners.insert(slot, ListenerState::new(address, options, queue, tag));
        self.tell_of_listener(address, true);
        let listener = Listener(self.flows.id(slot));
        self.complete(queue, tag, true, Event::Listening { listener, local: address });
    }

    /// Close a listener: half-open connections are forgotten, those nobody was told of are reset.
    pub(super) fn close_listener(&mut self, slot: u32, reason: Reason) {
        let Some(state) = self.listeners.remove(slot) else { return };
        self.tell_of_listener(state.address, false);
        let table = &mut self.table;
        self.half_opens.remove_listener(slot, |placed| {
            table.remove(placed.hash, Place::HalfOpen(placed.place).number());
        });
        for stream in state.unoffered {
            self.send_abort(stream);
            if let Some(connection) = self.flows.connection(stream) {
                connection.cold.listener = UNOFFERED;
            }
            self.bring_down(stream, Reason::Aborted);
        }
        let socket = self.flows.id(slot);
        self.complete(state.queue, state.tag, false, Event::Closed { socket, reason, unsent: 0 });
        self.flows.release(slot);
    }

    /// Change what a listener does; false if that is no option of a listener.
    pub(super) fn set_listener_option(&mut self, slot: u32, option: SocketOption) -> bool {
        let Some(state) = self.listeners.get_mut(slot) else { return false };
        match option {
            SocketOption::Stream(options) => state.set_stream(options),
            SocketOption::Backlog(backlog) => state.options.backlog = backlog,
            _ => return false,
        }
        true
    }

    /// Close every listener.
    pub(super) fn close_listeners(&mut self) {
        for slot in 0..self.flows.slots() {
            if self.flows.kind(slot) == Kind::Listener {
                self.close_listener(slot, Reason::Stopping);
            }
        }
    }

    /// RFC 9293 sections 3.10.7.1 and 3.10.7.2: LISTEN, or CLOSED where nobody listens.
    pub(super) fn on_listen(
        &mut self,
        arrived: &Arrived,
        key: &FlowKey,
        beyond: Option<SeqNum>,
        frame: Frame,
    ) {
        let Some(slot) = self.listeners.find(arrived.tuple.local) else {
            self.counters.drop(DropReason::TcpNoListener);
            self.send_reset(arrived);
            return;
        };
        match listen::on_listen(&arrived.segment) {
            Listening::Drop(reason) => self.counters.drop(reason),
            Listening::Reset if self.accept_cookie(slot, arrived, key, frame).is_some() => {
                self.counters.drop(DropReason::TcpNotAcceptable);
                self.send_reset(arrived);
            }
            Listening::Reset => {}
            Listening::Answer => self.answer_syn(slot, arrived, key, beyond),
        }
    }

    fn answer_syn(&mut self, slot: u32, arrived: &Arrived, key: &FlowKey, beyond: Option<SeqNum>) {
        let reception = self.reception(slot, beyond.is_some());
        if reception == Reception::Drop {
            return self.counters.drop(DropReason::TcpBacklogFull);
        }
        let now = self.flows.shared.now;
        let (iss, ts_offset) = self.secret.beginnings(&arrived.tuple, now.instant);
        let iss = beyond.filter(|beyond| iss.lt(*beyond)).unwrap_or(iss);
        let congestion = self.congestion_of(slot);
        let mut half = listen::half_open(arrived.tuple, slot, &arrived.segment, iss, ts_offset, &now);
        half.ecn = ecn::grants(self.flows.shared.config.ecn, congestion, &arrived.segment, arrived.field);
        let way = self.routes.next_hop_from(arrived.tuple.local.ip(), arrived.tuple.remote.ip());
        self.as_listener(slot, &mut half, way.map_or(self.ports[0].mtu, |way| way.mtu));
        if reception == Reception::Cookie {
            return self.answer_by_cookie(&half, way);
        }
        self.counters.consumed_frames += 1;
        if let Some(place) = self.half_opens.insert(half, key.hash, &self.flows.shared.config, &now) {
            if self.table.insert(key.hash, Place::HalfOpen(place).number())
                && let Some(state) = self.listeners.get_mut(slot)
            {
                state.half_open += 1;
            } else {
                self.half_opens.remove(place);
            }
        }
        self.send_syn_ack(&half, &half.syn_ack(&self.flows.shared.config, &now), way);
    }

    /// How a listener receives a SYN; `known`: from a peer that it had a connection with, which is in TIME_WAIT.
    fn reception(&mut self, slot: u32, known: bool) -> Reception {
        let Some(state) = self.listeners.get(slot) else { return Reception::Drop };
        let (backlog, unoffered) = (state.options.backlog as usize, state.unoffered.len());
        let full = state.half_open as usize + unoffered >= backlog || self.half_opens.is_full();
        let mode = self.flows.shared.config.syn_cookies;
        if mode == SynCookies::Off {
            let room = !full || self.evict_half_open();
            return if room { Reception::Remember } else { Reception::Drop };
        }
        if unoffered >= backlog {
            return Reception::Drop;
        }
        // The peer is no fiction then, and a cookie need not be beyond the old connection's numbers.
        if known {
            let room = self.half_opens.has_reserve();
            return if room { Reception::Remember } else { Reception::Drop };
        }
        if full || mode == SynCookies::Always { Reception::Cookie } else { Reception::Remember }
    }

    /// As many connections wait for the application as may.
    pub(super) fn is_accept_queue_full(&self, listener: u32) -> bool {
        self.listeners
            .get(listener)
            .is_none_or(|state| state.unoffered.len() >= state.options.backlog as usize)
    }

    /// What its listener has to say to a half-open connection, on a way with this MTU.
    pub(super) fn as_listener(&self, listener: u32, half: &mut HalfOpen, mtu: u16) {
        let stream = self.listeners.stream(listener);
        half.listener = listener;
        half.adv_mss = self.mss_within(mtu, half.tuple.remote.is_ipv6()).min(mss_bound(stream));
        half.window = self.first_window(stream);
        half.scale = window_scale(stream, &self.flows.shared.config);
    }

    #[inline(always)]
    pub(super) fn send_syn_ack(&mut self, half: &HalfOpen, segment: &Segment, way: Option<NextHop>) {
        let field = if segment.flags.contains(Flags::ECE) {
            ecn::control_field(self.congestion_of(half.listener))
        } else {
            ecn::codepoint::NOT_ECT
        };
        let field = field | self.listeners.stream(half.listener).traffic_class;
        if field == ecn::codepoint::NOT_ECT
            && way.as_ref().is_some_and(|way| self.send_syn(way, &half.tuple, segment))
        {
            return;
        }
        let hop = way.map(|way| self.hop_of(&way));
        self.send_by_hop(hop, &half.tuple, segment, field);
    }

    fn send_syn_ack_again(&mut self, half: &HalfOpen) {
        let way = self.routes.next_hop_from(half.tuple.local.ip(), half.tuple.remote.ip());
        self.send_syn_ack(half, &half.syn_ack(&self.flows.shared.config, &self.flows.shared.now), way);
    }

    /// What a listener's connections begin with.
    fn congestion_of(&self, listener: u32) -> Congestion {
        self.listeners.stream(listener).congestion.unwrap_or(self.flows.shared.config.congestion)
    }

    fn evict_half_open(&mut self) -> bool {
        let evicted = self.half_opens.evict();
        if let Some(placed) = &evicted {
            self.forget_half_open(placed);
        }
        evicted.is_some()
    }

    /// A half-open connection has left its table: nothing else knows it any more.
    fn forget_half_open(&mut self, placed: &Placed) {
        self.table.remove(placed.hash, Place::HalfOpen(placed.place).number());
        self.listeners.uncount(placed.half.listener);
    }

    pub(super) fn on_half_open(
        &mut self,
        place: u32,
        half: &HalfOpen,
        arrived: &Arrived,
        key: &FlowKey,
        frame: Frame,
    ) {
        let (config, now) = (&self.flows.shared.config, self.flows.shared.now);
        match half.on_segment(&arrived.segment, u32::from(arrived.len), config) {
            Half::Drop(reason) => self.counters.drop(reason),
            Half::Reset => {
                self.counters.drop(DropReason::TcpNotAcceptable);
                self.send_reset(arrived);
            }
            Half::Challenge(reason) => {
                self.counters.drop(reason);
                let challenge = half.challenge(config, &now);
                if self.half_opens.challenge(place, Limit::of(config), &now) {
                    self.send_unpathed(&arrived.tuple, &challenge, ecn::codepoint::NOT_ECT);
                }
            }
            Half::Again => {
                self.counters.consumed_frames += 1;
                let ecn = half.ecn && arrived.segment.flags.contains(Flags::ECE | Flags::CWR);
                if half.ecn && !ecn {
                    self.half_opens.withdraw_ecn(place);
                }
                self.send_syn_ack_again(&HalfOpen { ecn, ..*half });
            }
            Half::Forget(reason) => {
                self.counters.drop(reason);
                self.half_opens.remove(place).into_iter().for_each(|placed| self.forget_half_open(&placed));
            }
            Half::Open => {
                self.open(half, Some(place), arrived, key, frame);
            }
        }
    }

    /// A half-open connection is acknowledged: it becomes a flow in SYN_RECEIVED, and the flow gets the segment. True if
    /// there was room for one.
    pub(super) fn open(
        &mut self,
        half: &HalfOpen,
        place: Option<u32>,
        arrived: &Arrived,
        key: &FlowKey,
        frame: Frame,
    ) -> bool {
        let Some(state) = self.listeners.get(half.listener) else { return false };
        let (queue, tag, options) = (state.queue, state.tag, state.own);
        let Some(path) = self.paths.take(&self.routes, &arrived.tuple) else {
            self.counters.drop(DropReason::NoRoute);
            return false;
        };
        // Without a slot the acknowledgement counts as lost: the peer's data, or our SYN-ACK again, brings another.
        let Some(slot) = self.flows.take(Kind::Stream) else {
            self.paths.release(path);
            self.counters.drop(DropReason::TcpBacklogFull);
            return false;
        };
        let birth = Birth {
            tuple: arrived.tuple,
            iss: half.iss,
            ts_offset: half.ts_offset,
            mss: half.adv_mss,
            path,
            queue,
            tag: tag.0,
            listener: half.listener,
            options,
            state: State::SynReceived,
        };
        let begun = self.flows.begin(slot, &birth).is_some_and(|mut connection| {
            tally::begin(&mut connection, half.irs);
            connection.hot.rcv_adv = half.irs + 1 + u32::from(half.window);
            connection.hot.last_ack_sent = half.irs + 1;
            input::negotiate(&mut connection, &half.offer);
            if half.ecn {
                ecn::agree(&mut connection);
            }
            connection.hot.snd_nxt = half.iss + 1;
            // The segment that opens it acknowledges its SYN-ACK: where that tells no more than a round trip, nothing need be
            // remembered of it.
            connection.hot.sent_us = half.sent_us;
            half.is_plain() || queue_syn_ack(&mut connection, half)
        });
        let mut known = || match place {
            Some(place) => self.table.replace(key.hash, Place::HalfOpen(place).number(), slot),
            None => self.table.insert(key.hash, slot),
        };
        if !begun || !known() {
            self.paths.release(path);
            self.flows.release(slot);
            self.counters.drop(DropReason::NoRoom);
            return false;
        }
        self.claim(&arrived.tuple, true);
        if place.is_some_and(|place| self.half_opens.remove(place).is_some()) {
            self.listeners.uncount(half.listener);
        }
        self.on_opening(slot, arrived, frame);
        debug_assert!(self.flows.hot(slot).is_none_or(|hot| hot.state != State::SynReceived));
        self.arm(slot);
        true
    }

    /// A connection by way of a listener is established: tell the application, or let it wait its turn.
    pub(super) fn on_accepted(&mut self, slot: u32, listener: u32) {
        let Some(state) = self.listeners.get_mut(listener) else { return };
        let (queue, tag, first) = (state.queue, state.tag, state.unoffered.is_empty());
        if state.options.eager
            && let Some(hot) = self.flows.hot_mut(slot)
        {
            hot.flags |= flag::RECEIVING;
        }
        debug_assert!(usize::from(queue) < self.queues.len());
        if first && self.has_credit(queue) {
            return self.offer(listener, slot, queue, tag);
        }
        if let Some(state) = self.listeners.get_mut(listener) {
            state.unoffered.push_back(slot);
        }
        if first {
            self.wait_for_credit(queue, listener);
        }
    }

    /// Tell the application of connections that wait, while its queue has credit.
    pub(super) fn offer_accepted(&mut self, listener: u32) {
        while let Some(state) = self.listeners.get(listener)
            && !state.unoffered.is_empty()
        {
            let (queue, tag) = (state.queue, state.tag);
            if !self.has_credit(queue) {
                return self.wait_for_credit(queue, listener);
            }
            let Some(state) = self.listeners.get_mut(listener) else { return };
            let Some(slot) = state.unoffered.pop_front() else { return };
            self.offer(listener, slot, queue, tag);
        }
    }

    /// Tell the application of a connection, for which its queue has credit.
    fn offer(&mut self, listener: u32, slot: u32, queue: u8, tag: Tag) {
        let Some(tuple) = self.flows.tuple(slot) else { return };
        if let Some((_, cold)) = self.flows.hot_and_cold(slot) {
            cold.listener = NONE;
        }
        let (listener, stream) = (Listener(self.flows.id(listener)), Stream(self.flows.id(slot)));
        self.complete(queue, tag, true, Event::Accepted { listener, stream, peer: tuple.remote });
        self.drain(slot);
    }

    /// Take a dead stream off its listener's list if the application was never told of it; true if so.
    pub(super) fn forget_unoffered(&mut self, slot: u32) -> bool {
        let Some(listener) = self.flows.cold(slot).map(|cold| cold.listener) else { return false };
        if listener == UNOFFERED {
            return true;
        }
        let Some(state) = self.listeners.get_mut(listener) else { return false };
        let before = state.unoffered.len();
        state.unoffered.retain(|waiting| *waiting != slot);
        state.unoffered.len() < before
    }

    /// Send SYN-ACKs again, and forget who does not answer.
    pub(super) fn advance_half_opens(&mut self) {
        let (config, now) = (self.flows.shared.config, self.flows.shared.now);
        for _ in 0..crate::timer::VISITS_MAX {
            match self.half_opens.next_due(&config, &now) {
                Some((placed, true)) => {
                    self.counters.retransmits += 1;
                    self.send_syn_ack_again(&placed.half);
                }
                Some((placed, false)) => self.forget_half_open(&placed),
                None => return,
            }
        }
    }

    /// The window a SYN announces: what the first frames stand for.
    pub(super) fn first_window(&self, options: &StreamOptions) -> u16 {
        let config = &self.flows.shared.config;
        let bytes = match options.receive_bytes {
            0 => u32::from(config.receive_frames) * u32::from(input::MSS_DEFAULT),
            bytes => bytes,
        };
        u16::try_from(bytes).unwrap_or(u16::MAX)
    }

    /// A flow's tuple is free: no flow, no half-open connection, no listener's.
    pub(super) fn is_tuple_free(&self, tuple: &Tuple) -> bool {
        let key = self.secret.flow_key(tuple);
        self.find_flow(&key, tuple).is_none() && self.find_stray(tuple, &key).is_none()
    }
}

/// Remember a SYN-ACK that was sent more than once, or nobody knows when: what acknowledges it is to be looked at closely. False
/// if there is no room for it.
fn queue_syn_ack(connection: &mut Connection, half: &HalfOpen) -> bool {
    let queued = connection.queue(|cells, queue, _| cells.push_control(queue, half.iss));
    connection.note_retransmits(half.retries);
    connection.hot.unsent = NONE;
    if let Some(cell) = connection.shared.cells.get_mut(connection.hot.head) {
        cell.marks |= mark::SENT;
        cell.sent_us = half.sent_us;
        // Karn's algorithm takes no sample of what was sent more than once, nor of what it is not known of.
        cell.retransmits = half.retries.max(u8::from(half.unmeasured));
    }
    if half.unmeasured {
        connection.note_amiss();
    }
    // The segment that opens it may turn out to acknowledge nothing.
    timers::arm_retransmit(connection);
    queued
}

/// In a connection's `listener`: its listener closed before the application was told of the connection.
const UNOFFERED: u32 = u32::MAX - 1;

/// The reset of RFC 9293 section 3.10.7.1.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.1
//# If the ACK bit is off, sequence number zero is used,
//# <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
//# If the ACK bit is on, <SEQ=SEG.ACK><CTL=RST>
pub(super) fn reset_for(arrived: &Arrived) -> Option<Segment> {
    let segment = &arrived.segment;
    if segment.flags.contains(Flags::RST) {
        return None;
    }
    let (local, remote) = (arrived.tuple.local.port(), arrived.tuple.remote.port());
    let answer = if segment.flags.contains(Flags::ACK) {
        Segment::new(local, remote, segment.ack, SeqNum(0), Flags::RST)
    } else {
        let behind = segment.seq + segment.seq_len(u32::from(arrived.len));
        Segment::new(local, remote, SeqNum(0), behind, Flags::RST | Flags::ACK)
    };
    Some(answer)
}
