//! What a verdict of TCP means for frames, sockets and the other tables. The verdicts themselves are `tcp`'s.

use drivers::Frame;

use super::Engine;
use super::deliver::{DUST_BYTES, REASONS, done_of};
use super::flows::Kind;
use crate::buffer::Waiting;
use crate::mode::{Back, Done};
use crate::socket::{Event, OpError, Reason, Stream, Tag, Trouble};
use crate::tcp::challenge::Challenges;
use crate::tcp::ecn;
use crate::tcp::fast::{self, Plain};
use crate::tcp::input::{self, Accept, End, Verdict};
use crate::tcp::isn::Tuple;
use crate::tcp::mtu;
use crate::tcp::send::NONE;
use crate::tcp::state::{State, decline, flag, hint};
use crate::tcp::tally;
use crate::tcp::text;
use crate::tcp::ticks::Ticks;
use crate::tcp::time_wait::Rest;
use crate::tcp::timers::{self, Expiry};
use crate::wire::tcp::{Flags, Segment, SeqNum};

/// A TCP segment that was parsed out of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// The header.
    pub segment: Segment,
    /// The two ends.
    pub tuple: Tuple,
    /// Where the IP header begins in the frame.
    pub link: u16,
    /// Where the payload lies in the frame.
    pub offset: u16,
    /// Bytes of payload.
    pub len: u16,
    /// The ECN field of its IP header.
    pub field: u8,
}

impl Engine {
    /// A segment of a stream.
    pub(super) fn on_segment(&mut self, slot: u32, arrived: &Arrived, frame: Frame) {
        let len = u32::from(arrived.len);
        if arrived.segment.flags.contains(Flags::FIN) && self.take_fin(slot, arrived) {
            return;
        }
        let Some(mut connection) = self.flows.connection_owing(slot) else { return };
        connection.pay_cold();
        let una = connection.hot.snd_una;
        connection.shared.signals.field = arrived.field;
        let verdict = input::input(&mut connection, &arrived.segment, len);
        tally::note_received(&mut connection, len);
        let (path, progress) = (connection.hot.path, connection.hot.snd_una != una);
        let early = ecn::early_ack(&mut connection);
        if progress {
            self.confirm(path);
        }
        if let Some(early) = early {
            self.counters.pure_acks_sent += 1;
            self.send_segment(path, &arrived.tuple, &early, ecn::codepoint::NOT_ECT);
        }
        self.act(slot, arrived, frame, verdict);
    }

    /// A FIN that acknowledges what was sent, on a stream on which nothing is amiss: all but the FIN is the fast path's. False if
    /// it is not so, and nothing was done.
    #[inline(never)]
    fn take_fin(&mut self, slot: u32, arrived: &Arrived) -> bool {
        let Segment { seq, ack, flags, window, .. } = arrived.segment;
        let bare = flags.without(Flags::PSH) == Flags::ACK | Flags::FIN && arrived.len == 0;
        if !bare || !arrived.segment.options.sack.is_empty() {
            return false;
        }
        let plain = Plain { seq, ack, window, stamps: arrived.segment.options.timestamps, len: 0 };
        let Some(mut connection) = self.flows.connection_owing(slot).filter(|its| its.rcv_wnd() > 0) else {
            return false;
        };
        connection.shared.signals.field = arrived.field;
        let Some(taken) = fast::input(&mut connection, &plain) else { return false };
        connection.pay_cold();
        text::note_fin(&mut connection, &arrived.segment, seq);
        let (path, tells) = (connection.hot.path, connection.hot.mtu & mtu::bit::TELL != 0);
        self.counters.consumed_frames += 1;
        if taken.done {
            self.done.push(Done::Small(Stream(self.flows.id(slot))));
        }
        if taken.progress {
            self.confirm(path);
        }
        self.report_finished(slot);
        if tells {
            self.tell_found_mtu(slot);
        }
        self.on_fin(slot);
        true
    }

    /// Do what a verdict says.
    fn act(&mut self, slot: u32, arrived: &Arrived, frame: Frame, verdict: Verdict) {
        match verdict.drop {
            Some(reason) => self.counters.drop(reason),
            None => self.counters.consumed_frames += 1,
        }
        if verdict.reset {
            self.send_reset(arrived);
        }
        self.report_finished(slot);
        if verdict.connected {
            self.on_connected(slot);
        }
        if self.flows.hot(slot).is_some_and(|hot| hot.mtu & mtu::bit::TELL != 0) {
            self.tell_found_mtu(slot);
        }
        if let Some(end) = verdict.end {
            self.end(slot, end);
            return;
        }
        if let Some(end) = verdict.urgent {
            let fresh = verdict.accept.filter(|accept| accept.in_order).map_or(0, |accept| accept.len);
            self.tell_of_urgent(slot, end, fresh);
        }
        if let Some(accept) = verdict.accept {
            self.accept(slot, arrived, frame, accept);
        }
        let Some(hot) = self.flows.hot_mut(slot) else { return };
        if hot.decline & decline::FIN != 0 {
            return self.on_fin(slot);
        }
        self.mark_dirty(slot);
    }

    /// A FIN has come: its turn has, once nothing is missing before it.
    fn on_fin(&mut self, slot: u32) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let end = text::finish(&mut connection);
        if connection.is(flag::FIN_RECEIVED) {
            self.drain(slot);
        }
        match end {
            Some(end) => self.end(slot, end),
            None => self.mark_dirty(slot),
        }
    }

    /// The application begins to receive: tell it of urgent data that came before.
    pub(super) fn tell_of_early_urgent(&mut self, slot: u32) {
        let waiting: usize = self.frames.iter(self.flows.waiting(slot)).map(Frame::len).sum();
        let Some(connection) = self.flows.connection(slot) else { return };
        let told = connection.hot.rcv_nxt - u32::try_from(waiting).unwrap_or(0);
        if let Some(end) = connection.rare().urgent.received.filter(|end| end.gt(told)) {
            self.tell_of_urgent(slot, end, 0);
        }
    }

    /// Urgent data ends before `end`: tell how far that is behind what the application was told of before. The last
    /// `fresh` bytes before RCV.NXT do not wait for it yet.
    fn tell_of_urgent(&mut self, slot: u32, end: SeqNum, fresh: u32) {
        let waiting: usize = self.frames.iter(self.flows.waiting(slot)).map(Frame::len).sum();
        let Some(hot) = self.flows.hot(slot) else { return };
        if hot.flags & (flag::DEAF | flag::RECEIVING) != flag::RECEIVING {
            return;
        }
        let ahead = end.since(hot.rcv_nxt - fresh - u32::try_from(waiting).unwrap_or(0));
        let (queue, tag) = (hot.queue, Tag(hot.tag));
        let stream = Stream(self.flows.id(slot));
        self.complete(queue, tag, true, Event::Urgent { stream, ahead });
    }

    /// What was sent does not arrive: the application may want to know, once.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3
    //# (e) TCP implementations SHOULD inform the application of the delivery
    //# problem (unless such information has been disabled by the
    //# application
    pub(super) fn tell_of_trouble(&mut self, slot: u32, trouble: Trouble) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let bit = match trouble {
            Trouble::Unanswered => 1,
            Trouble::Undelivered(_) => 2,
        };
        if connection.is(flag::DEAF) || connection.rare().troubles & bit != 0 {
            return;
        }
        connection.rare_mut().troubles |= bit;
        connection.note_amiss();
        let (queue, tag) = (connection.hot.queue, Tag(connection.hot.tag));
        let stream = Stream(self.flows.id(slot));
        self.complete(queue, tag, true, Event::Trouble { stream, trouble });
    }

    /// Keep what is wanted of a payload.
    fn accept(&mut self, slot: u32, arrived: &Arrived, mut frame: Frame, accept: Accept) {
        let (offset, skip) = (usize::from(arrived.offset), accept.skip as usize);
        frame.trim_front(offset + skip);
        frame.truncate(accept.len as usize);
        let frame = self.adopt(frame);
        let frame = self.spill(frame);
        if accept.in_order {
            self.deliver(slot, frame, false);
            if self.flows.hot(slot).is_some_and(|hot| hot.hints & hint::AMISS != 0) {
                self.deliver_reassembled(slot);
            }
            self.tune_receive(slot);
            return;
        }
        let start = arrived.segment.seq + u32::from(arrived.segment.flags.contains(Flags::SYN)) + accept.skip;
        self.keep_out_of_order(slot, frame, start, accept.len);
    }

    /// Keep what is small with what comes before it: true if it is kept so.
    fn keep_dust(&mut self, slot: u32, frame: &Frame, start: SeqNum, len: u32) -> bool {
        let Some(mut connection) = self.flows.connection(slot).filter(|_| frame.len() <= DUST_BYTES) else {
            return false;
        };
        let reassembly = &mut connection.active_mut().reassembly;
        let before = reassembly.neighbour(start, len).and_then(|held| self.frames.get_mut(held));
        let kept = before.and_then(|before| before.append(frame.len())).is_some_and(|room| {
            room.copy_from_slice(frame.bytes());
            true
        });
        if kept {
            reassembly.extend(start, len);
            self.counters.merged_segments += 1;
        }
        connection.settle();
        kept
    }

    fn keep_out_of_order(&mut self, slot: u32, frame: Frame, start: SeqNum, len: u32) {
        if self.keep_dust(slot, &frame, start, len) {
            return;
        }
        let held = self.frames.insert(frame, None);
        self.flows.shared.frames_left = self.flows.shared.frames_left.saturating_sub(1);
        let mut freed = core::mem::take(&mut self.flows.freed);
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let place = connection.active_mut().reassembly.insert(start, len, held, &mut freed);
        if place.is_some() {
            connection.hot.held = connection.hot.held.saturating_add(1);
        }
        connection.hot.held =
            connection.hot.held.saturating_sub(u16::try_from(freed.len()).unwrap_or(u16::MAX));
        // As a last resort, what nobody has acknowledged goes: the peer still has it.
        let over = connection.hot.held > connection.hot.frames_max.saturating_mul(2);
        let given_up = if over { connection.active_mut().reassembly.give_up_last() } else { None };
        if given_up.is_some() {
            connection.hot.held -= 1;
        }
        connection.settle();
        match place {
            Some(place) => {
                if let Some(frame) = self.frames.get_mut(held) {
                    frame.trim_front(place.skip as usize);
                    frame.truncate(place.len as usize);
                }
            }
            None => freed.push(held),
        }
        if let Some(range) = given_up {
            self.counters.given_up_ranges += 1;
            freed.push(range.held);
        }
        for held in freed.drain(..) {
            self.frames.remove(held);
        }
        self.flows.freed = freed;
    }

    /// Deliver what a filled hole has made deliverable.
    fn deliver_reassembled(&mut self, slot: u32) {
        while let Some(mut connection) = self.flows.connection(slot)
            && let Some((range, skip)) = text::pull(&mut connection)
        {
            let Some((mut frame, _)) = self.frames.remove(range.held) else { continue };
            frame.trim_front(skip as usize);
            if frame.is_empty() {
                connection.hot.held = connection.hot.held.saturating_sub(1);
                continue;
            }
            self.deliver(slot, frame, true);
        }
    }

    pub(super) fn tune_receive(&mut self, slot: u32) {
        let limit = self.flows.shared.config.receive_frames_max;
        if let Some((hot, cold)) = self.flows.hot_and_cold(slot) {
            text::tune(hot, cold, limit);
        }
    }

    fn on_connected(&mut self, slot: u32) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let (listener, queue, tag) = (connection.cold.listener, connection.hot.queue, connection.hot.tag);
        mtu::begin(&mut connection);
        self.heed_path_mtu(slot);
        if listener != NONE {
            self.counters.accepted += 1;
            self.on_accepted(slot, listener);
            return;
        }
        self.counters.connected += 1;
        let Some(tuple) = self.flows.tuple(slot) else { return };
        let stream = Stream(self.flows.id(slot));
        self.complete(queue, Tag(tag), false, Event::Connected { stream, local: tuple.local });
    }

    /// A segment has ended a connection.
    fn end(&mut self, slot: u32, end: End) {
        match end {
            End::Refused => self.fail_connect(slot, OpError::Refused),
            End::Reset | End::DataAfterClose => self.bring_down(slot, Reason::Reset),
            End::Done => self.bring_down(slot, Reason::Done),
            End::TimeWait => {
                self.enter_time_wait(slot);
                self.bring_down(slot, Reason::Done);
            }
        }
    }

    fn enter_time_wait(&mut self, slot: u32) {
        let Some(tuple) = self.flows.tuple(slot) else { return };
        let Some(connection) = self.flows.connection(slot) else { return };
        let hot = &connection.hot;
        let rest = Rest {
            snd_nxt: hot.snd_nxt,
            rcv_nxt: hot.rcv_nxt,
            snd_wnd_max: connection.cold.snd_wnd_max,
            ts_recent: hot.ts_recent,
            window: u16::try_from(connection.rcv_wnd() >> connection.hot.rcv_scale).unwrap_or(u16::MAX),
            scale: connection.hot.rcv_scale,
            timestamps: connection.is(flag::TIMESTAMPS),
            challenges: Challenges::default(),
        };
        // The FIN may have been acknowledged before, while ours was not.
        let (path, owed) = (connection.hot.path, connection.is(flag::ACK_NOW));
        let ts_offset = connection.hot.ts_offset;
        let now = self.flows.shared.now;
        self.wait_out(&self.secret.flow_key(&tuple), &rest);
        if owed {
            self.send_segment(
                path,
                &tuple,
                &rest.acknowledgement(&tuple, ts_offset, &now),
                ecn::codepoint::NOT_ECT,
            );
        }
    }

    /// A connection that never was: its connect fails, or nobody hears of it.
    pub(super) fn fail_connect(&mut self, slot: u32, error: OpError) {
        let Some(connection) = self.flows.connection(slot) else { return };
        let (listener, queue, tag) = (connection.cold.listener, connection.hot.queue, connection.hot.tag);
        self.detach(slot);
        if listener == NONE {
            let socket = Some(self.flows.id(slot));
            self.complete(queue, Tag(tag), false, Event::Failed { socket, error, acked: 0, payload: None });
        }
        self.flows.release(slot);
    }

    /// End a stream. What was delivered in order may still be handed over if it ended well.
    pub(super) fn bring_down(&mut self, slot: u32, reason: Reason) {
        if self.flows.kind(slot) != Kind::Stream {
            return;
        }
        let last = self.last_figures(slot);
        let unacked = self.detach(slot);
        self.counters.closed += 1;
        let never_offered = self.forget_unoffered(slot);
        if let Some((queue, tag, event)) = last.filter(|_| !never_offered) {
            self.complete(queue, tag, true, event);
        }
        if let Some(mut connection) = self.flows.connection(slot) {
            connection.hot.flags |= flag::DEAD;
            if reason != Reason::Done {
                connection.hot.flags |= flag::DEAF;
            }
            connection.hot.state = State::Closed;
            let number = REASONS.iter().position(|known| *known == reason).unwrap_or(0);
            if number > 0 || unacked > 0 {
                let rare = connection.rare_mut();
                rare.reason = u8::try_from(number).unwrap_or(0);
                rare.unsent = u32::try_from(unacked).unwrap_or(u32::MAX);
            }
        }
        if never_offered {
            self.drop_waiting(slot);
            self.flows.release(slot);
            return;
        }
        if reason != Reason::Done {
            self.drop_waiting(slot);
        }
        self.drain(slot);
    }

    /// What a stream that ends tells of itself, if it is to.
    fn last_figures(&mut self, slot: u32) -> Option<(u8, Tag, Event<Frame, Back>)> {
        let stream = Stream(self.flows.id(slot));
        let mut connection = self.flows.connection(slot)?;
        connection.rare_if().filter(|rare| rare.options.report)?;
        let (queue, tag) = (connection.hot.queue, Tag(connection.hot.tag));
        self.figures(slot).map(|info| (queue, tag, Event::Info { stream, info }))
    }

    /// Take a stream out of every table, and answer for its unfinished sends. Returns bytes never acknowledged.
    fn detach(&mut self, slot: u32) -> u64 {
        self.disclaim(slot);
        let socket = self.flows.id(slot);
        let Some(mut connection) = self.flows.connection(slot) else { return 0 };
        let hash = self.secret.flow_hash(connection.hot.key, connection.hot.ports());
        self.table.remove(hash, slot);
        connection.hot.retransmit_at = Ticks::OFF;
        connection.set_delack(Ticks::OFF);
        connection.set_life(Ticks::OFF);
        if let Some(rare) = connection.rare_if() {
            rare.keepalive_at = Ticks::OFF;
        }
        let path = connection.hot.path;
        let (mut answers, mut unacked) = (Vec::new(), 0);
        connection.queue(|cells, queue, _| {
            cells.clear(queue, |finished, bytes| {
                unacked += bytes;
                answers.push((finished, bytes));
            });
        });
        if connection.cold.active != NONE {
            self.drop_missing(slot);
        }
        self.paths.release(path);
        for (finished, left) in answers {
            if finished.notify {
                let (socket, payload) = (Some(socket), Some(Back::Lent(finished.key)));
                let event = Event::Failed { socket, error: OpError::Reset, acked: left, payload };
                self.complete(finished.queue, Tag(0), false, event);
            } else {
                self.done.push(done_of(&finished, Stream(socket)));
            }
        }
        unacked
    }

    /// Forget what arrived out of order of a stream, and what is known of its losses.
    fn drop_missing(&mut self, slot: u32) {
        let mut freed = core::mem::take(&mut self.flows.freed);
        if let Some(mut connection) = self.flows.connection(slot) {
            connection.active_mut().reassembly.clear(&mut freed);
            let gone = u16::try_from(freed.len()).unwrap_or(u16::MAX);
            connection.hot.held = connection.hot.held.saturating_sub(gone);
            connection.active_mut().loss = crate::tcp::loss::LossState::NONE;
            connection.active_mut().dsack = None;
            connection.settle();
        }
        for held in freed.drain(..) {
            self.frames.remove(held);
        }
        self.flows.freed = freed;
    }

    /// Drop frames that the application will not get.
    pub(super) fn drop_waiting(&mut self, slot: u32) {
        let mut waiting = self.flows.waiting(slot);
        while let Some((_, _)) = self.frames.pop(&mut waiting) {
            if let Some(hot) = self.flows.hot_mut(slot) {
                hot.held = hot.held.saturating_sub(1);
            }
        }
        self.flows.set_waiting(slot, Waiting::EMPTY);
    }

    /// The wheel's visit.
    pub(super) fn expire(&mut self, slot: u32) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let timeouts = connection.cold.timeouts;
        let expiry = timers::expire(&mut connection);
        let ran_out = connection.cold.timeouts > timeouts;
        self.counters.timeouts += u64::from(ran_out);
        let connecting = matches!(connection.hot.state, State::SynSent | State::SynReceived);
        let stuck = connection.cold.timeouts == timers::R1;
        if ran_out && !connecting {
            self.heed_path_mtu(slot);
            if stuck && expiry.is_none() {
                self.tell_of_trouble(slot, Trouble::Unanswered);
            }
        }
        match expiry {
            None => self.mark_dirty(slot),
            Some(Expiry::TimedOut) if connecting => self.fail_connect(slot, OpError::TimedOut),
            Some(Expiry::TimedOut) => {
                self.send_abort(slot);
                self.bring_down(slot, Reason::TimedOut);
            }
            Some(Expiry::Done) => self.bring_down(slot, Reason::Done),
            Some(Expiry::Linger) => {
                self.send_abort(slot);
                self.bring_down(slot, Reason::TimedOut);
            }
        }
    }

    /// Reset every stream: the time to stop in order is over.
    pub(super) fn reset_all(&mut self) {
        for slot in 0..self.flows.slots() {
            if self.flows.kind(slot) != Kind::Stream {
                continue;
            }
            let dead = self.flows.hot(slot).is_some_and(|hot| hot.flags & flag::DEAD != 0);
            if dead {
                self.drop_waiting(slot);
                if let Some(hot) = self.flows.hot_mut(slot) {
                    hot.flags |= flag::DEAF;
                }
                self.bury(slot);
            } else {
                self.send_abort(slot);
                self.bring_down(slot, Reason::Stopping);
            }
        }
    }
}
