//! What a verdict of TCP means for frames, sockets and the other tables. The verdicts themselves are `tcp`'s.

use drivers::Frame;

use super::Engine;
use super::deliver::DUST_BYTES;
use super::fast::Fast;
use crate::socket::{Event, OpError, Reason, Stream, Tag, Trouble};
use crate::tcp::ecn;
use crate::tcp::fast::Plain;
use crate::tcp::input::{self, Accept, Verdict};
use crate::tcp::isn::Tuple;
use crate::tcp::mtu;
use crate::tcp::opening;
use crate::tcp::send::NONE;
use crate::tcp::state::{State, decline, flag, hint};
use crate::tcp::tally;
use crate::tcp::text;
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
        let flags = arrived.segment.flags;
        let is_taken = match flags.contains(Flags::FIN) {
            true => self.take_fin(slot, arrived),
            false => flags == Flags::ACK && self.take_last(slot, arrived),
        };
        if !is_taken {
            self.on_any_segment(slot, arrived, frame);
        }
    }

    /// The segment by which a listener's connection is established. Mostly that is all that tells it from the common one.
    pub(super) fn on_opening(&mut self, slot: u32, arrived: &Arrived, frame: Frame) {
        let Some(plain) = Plain::of(&arrived.segment, u32::from(arrived.len)) else {
            return self.on_any_segment(slot, arrived, frame);
        };
        let Some(mut connection) = self.flows.connection_owing(slot) else { return };
        if !opening::open(&mut connection, &plain) {
            return self.on_any_segment(slot, arrived, frame);
        }
        let path = connection.hot.path;
        self.confirm(path);
        self.on_connected(slot);
        let fast = self.take_next(slot, plain, arrived.field, arrived.offset, frame);
        if let Fast::Declined(frame) = fast {
            self.on_any_segment(slot, arrived, frame);
        }
    }

    /// The same of one that is not the usual end of a stream.
    pub(super) fn on_any_segment(&mut self, slot: u32, arrived: &Arrived, frame: Frame) {
        let len = u32::from(arrived.len);
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
}
