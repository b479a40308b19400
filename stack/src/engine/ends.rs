//! How streams end: the peer's FIN, the last acknowledgement, a reset, a time that is over. What a segment says of it is decided
//! in `tcp::input`, what an application asks is in `ops`.

use drivers::Frame;

use super::Engine;
use super::deliver::{REASONS, done_of};
use super::flows::Kind;
use super::segments::Arrived;
use crate::buffer::Waiting;
use crate::mode::{Back, Done};
use crate::socket::{Event, OpError, Reason, Stream, Tag};
use crate::tcp::acknowledge;
use crate::tcp::challenge::Challenges;
use crate::tcp::ecn;
use crate::tcp::fast::{self, Plain};
use crate::tcp::input::End;
use crate::tcp::mtu;
use crate::tcp::send::NONE;
use crate::tcp::state::{State, flag, hint};
use crate::tcp::text;
use crate::tcp::ticks::Ticks;
use crate::tcp::time_wait::Rest;
use crate::wire::tcp::{Flags, Segment};

impl Engine {
    /// A FIN that acknowledges what was sent, on a stream on which nothing is amiss: all but the FIN is the fast path's. False if
    /// it is not so, and nothing was done.
    #[inline(never)]
    pub(super) fn take_fin(&mut self, slot: u32, arrived: &Arrived) -> bool {
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
        connection.pay_timer();
        text::note_fin(&mut connection, &arrived.segment, seq);
        let end = text::finish(&mut connection);
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
        self.go_on(slot, end);
        true
    }

    /// The acknowledgement of the FIN with which a stream ends, on which nothing is amiss. False if it is not so, and nothing was
    /// done.
    #[inline(never)]
    pub(super) fn take_last(&mut self, slot: u32, arrived: &Arrived) -> bool {
        if self.flows.hot(slot).is_none_or(|hot| hot.state != State::LastAck) {
            return false;
        }
        let Some(mut connection) = self.flows.connection_owing(slot) else { return false };
        if !acknowledge::ends(&mut connection, &arrived.segment, u32::from(arrived.len)) {
            return false;
        }
        let path = connection.hot.path;
        self.counters.consumed_frames += 1;
        self.confirm(path);
        self.finish(slot);
        true
    }

    /// A FIN has come: its turn has, once nothing is missing before it.
    pub(super) fn on_fin(&mut self, slot: u32) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let end = text::finish(&mut connection);
        self.go_on(slot, end);
    }

    /// A FIN has come, and its turn may have, by which the connection may be over: tell the application, and the peer.
    fn go_on(&mut self, slot: u32, end: Option<End>) {
        if self.flows.hot(slot).is_some_and(|hot| hot.flags & flag::FIN_RECEIVED != 0) {
            self.drain(slot);
        }
        match end {
            Some(end) => self.end(slot, end),
            None => self.mark_dirty(slot),
        }
    }

    /// A segment has ended a connection.
    pub(super) fn end(&mut self, slot: u32, end: End) {
        match end {
            End::Refused => self.fail_connect(slot, OpError::Refused),
            End::Reset | End::DataAfterClose => self.bring_down(slot, Reason::Reset),
            End::Done => self.finish(slot),
            End::TimeWait => {
                self.enter_time_wait(slot);
                self.finish(slot);
            }
        }
    }

    /// A stream is done. Mostly nothing of it waits for anybody, and its last word is said at once.
    fn finish(&mut self, slot: u32) {
        if !self.finish_at_once(slot) {
            self.bring_down(slot, Reason::Done);
        }
    }

    /// Do all that ending a stream comes to where all it was to send is acknowledged, the application has heard that the peer
    /// will send no more, or does not listen, and nothing is or was amiss. False if it is not so, and nothing was done.
    fn finish_at_once(&mut self, slot: u32) -> bool {
        let Some(connection) = self.flows.connection_owing(slot) else { return false };
        let (hot, cold) = (connection.hot, connection.cold);
        let told = hot.flags & (flag::END_TOLD | flag::DEAF) != 0 && hot.hints & hint::WAITS == 0;
        let plain = hot.hints & hint::AMISS == 0 && cold.rare == NONE && cold.listener == NONE;
        if !told || !plain || hot.head != NONE {
            return false;
        }
        hot.flags |= flag::DEAD;
        let (path, queue, tag) = (hot.path, hot.queue, Tag(hot.tag));
        let hash = self.secret.flow_hash(hot.key, hot.ports);
        self.table.remove(hash, slot);
        self.disclaim(slot);
        self.paths.release(path);
        self.counters.closed += 1;
        let event = Event::Closed { socket: self.flows.id(slot), reason: Reason::Done, unsent: 0 };
        self.complete(queue, tag, false, event);
        self.flows.release(slot);
        true
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
        let hash = self.secret.flow_hash(connection.hot.key, connection.hot.ports);
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
