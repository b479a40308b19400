//! The common segment between frames and flows, in and out: what an established flow on which nothing is amiss hears and
//! says. What is not common is left to `segments` and `transmit`, untouched.

use drivers::Frame;

use super::common::{OFFSET, Said, Template};
use super::deliver::CompletionQueue;
use super::segments::Arrived;
use super::transmit::Form;
use super::{Engine, SPILL_FRAMES};
use crate::mode::{Arrival, Done, SmallSend};
use crate::socket::{SocketId, Stream, Tag};
use crate::tcp::fast::{self, Plain};
use crate::tcp::isn::Tuple;
use crate::tcp::output::Emit;
use crate::tcp::send::NONE;
use crate::tcp::state::{Connection, flag, hint};
use crate::tcp::{ecn, mtu, text, timers};
use crate::timer::Wheel;
use crate::wire::DropReason;
use crate::wire::tcp::{Flags, Segment};

/// How far an answer may be from its place among the flows that have something to say.
const SEEK_MAX: usize = 64;

/// What the fast path did with a segment.
#[derive(Debug)]
pub(super) enum Fast {
    /// Nothing, and nothing has changed.
    Declined(Frame),
    /// It took it.
    Taken,
    /// The same, and its data went straight to the application.
    Delivered,
}

impl Engine {
    /// The fast path for what was read by layers: `None` if it took the segment, else the frame back, and nothing has
    /// changed.
    pub(super) fn on_fast(&mut self, slot: u32, arrived: &Arrived, frame: Frame) -> Option<Frame> {
        let Some(plain) = Plain::of(&arrived.segment, u32::from(arrived.len)) else { return Some(frame) };
        let fast = match plain.len {
            0 => self.take_bare(slot, plain, arrived.field, frame),
            _ => self.take_next(slot, plain, arrived.field, arrived.offset, frame),
        };
        match fast {
            Fast::Declined(frame) => Some(frame),
            Fast::Taken | Fast::Delivered => None,
        }
    }

    /// The fast path for a segment without payload. By itself, so that neither kind is asked for what the other has.
    #[inline(never)]
    pub(super) fn take_bare(&mut self, slot: u32, plain: Plain, field: u8, frame: Frame) -> Fast {
        if plain.len > 0 {
            return Fast::Declined(frame);
        }
        self.take_plain(slot, None, &plain, field, 0, frame)
    }

    /// The fast path for a segment with payload, which lies at `offset`.
    #[inline(never)]
    pub(super) fn take_next(
        &mut self,
        slot: u32,
        plain: Plain,
        field: u8,
        offset: u16,
        frame: Frame,
    ) -> Fast {
        self.take_plain(slot, None, &plain, field, offset, frame)
    }

    /// The fast path for a segment whose payload lies at `offset`, of the flow in a slot: if it is one over IPv4 between these
    /// `ends` on which nothing is amiss, or known to be the segment's.
    #[inline(always)]
    pub(super) fn take_plain(
        &mut self,
        slot: u32,
        ends: Option<(u64, u32)>,
        plain: &Plain,
        field: u8,
        offset: u16,
        mut frame: Frame,
    ) -> Fast {
        let found = match ends {
            Some((addresses, ports)) => self.flows.between_owing(slot, addresses, ports),
            None => self.flows.connection_owing(slot),
        };
        let Some(mut connection) = found else { return Fast::Declined(frame) };
        connection.shared.signals.field = field;
        let taken = match ends {
            Some(_) => fast::input_next(&mut connection, plain),
            None => fast::input(&mut connection, plain),
        };
        let Some(taken) = taken else { return Fast::Declined(frame) };
        self.counters.fast_segments += 1;
        self.counters.consumed_frames += 1;
        let hot = &mut *connection.hot;
        let (path, timed) = (hot.path, hot.retransmit_at.is_on());
        let stream = Stream(SocketId::new(self.lane, slot, hot.generation));
        let tells = hot.mtu & mtu::bit::TELL != 0;
        let quiet = taken.done || connection.shared.finished.is_empty() && !tells;
        if taken.done {
            self.done.push(Done::Small(stream));
        }
        let mut rest = None;
        if plain.len > 0 {
            let fits = u16::try_from(plain.len).is_ok_and(|len| frame.narrow(offset, len));
            debug_assert!(fits, "the headers told of bytes that are there");
            // Of a flow that was found by its ends all this was asked, and no other lane sends such frames.
            let takes = ends.is_some()
                || hot.flags & (flag::DEAF | flag::RECEIVING) == flag::RECEIVING
                    && hot.hints & hint::WAITS == 0
                    && self.mesh.came.is_none();
            let takes = takes && connection.shared.frames_left as usize > SPILL_FRAMES;
            let queue = self.queues.get_mut(usize::from(hot.queue)).filter(|_| takes && quiet);
            if queue.is_some_and(CompletionQueue::take_credit) {
                hot.held = hot.held.saturating_add(1);
                self.counters.delivered_bytes += u64::from(plain.len);
                let (queue, tag) = (usize::from(hot.queue), Tag(hot.tag));
                self.completions.arrive(Arrival { stream, tag, data: frame, queue });
                connection.shared.frames_left -= 1;
                text::tune(connection.hot, connection.cold, connection.shared.config.receive_frames_max);
                list(&mut self.dirty, &mut connection, slot);
                self.follow_up(slot, path, taken.progress, timed);
                return Fast::Delivered;
            }
            rest = Some(frame);
        }
        list(&mut self.dirty, &mut connection, slot);
        if !quiet || rest.is_some() {
            self.tell_rest(slot, rest);
        }
        self.follow_up(slot, path, taken.progress, timed);
        Fast::Taken
    }

    /// See to what a segment that was taken in has shown. `timed`: a timer was running.
    #[inline(always)]
    fn follow_up(&mut self, slot: u32, path: u16, progress: bool, timed: bool) {
        if progress {
            self.confirm(path);
        }
        // Nothing else comes any sooner for what was heard.
        if timed {
            self.arm(slot);
        }
    }

    /// What there is to tell of a segment beyond its being taken in.
    #[inline(never)]
    fn tell_rest(&mut self, slot: u32, rest: Option<Frame>) {
        self.report_finished(slot);
        if self.flows.hot(slot).is_some_and(|hot| hot.mtu & mtu::bit::TELL != 0) {
            self.tell_found_mtu(slot);
        }
        if let Some(frame) = rest {
            let frame = self.adopt(frame);
            let frame = self.spill(frame);
            self.deliver(slot, frame, false);
            self.tune_receive(slot);
        }
    }

    /// Take a segment in that says what the one before did, but for its own data, which is the next: `None` if it was.
    #[inline]
    pub(super) fn follow(&mut self, slot: u32, plain: Plain, mut frame: Frame) -> Option<Frame> {
        if self.flows.shared.frames_left as usize <= SPILL_FRAMES || self.mesh.came.is_some() {
            return Some(frame);
        }
        let limit = self.flows.shared.config.receive_frames_max;
        let Some((hot, cold)) = self.flows.hot_and_cold(slot) else { return Some(frame) };
        let takes = hot.flags & (flag::DEAF | flag::RECEIVING) == flag::RECEIVING
            && hot.hints & hint::WAITS == 0
            && fast::follows(hot, &plain);
        let queue = self.queues.get_mut(usize::from(hot.queue)).filter(|_| takes);
        if !queue.is_some_and(CompletionQueue::take_credit) {
            return Some(frame);
        }
        fast::follow(hot, cold, &plain);
        text::tune(hot, cold, limit);
        frame.trim_front(usize::from(OFFSET));
        frame.truncate(plain.len as usize);
        let stream = Stream(SocketId::new(self.lane, slot, hot.generation));
        let (queue, tag) = (usize::from(hot.queue), Tag(hot.tag));
        self.completions.arrive(Arrival { stream, tag, data: frame, queue });
        self.flows.shared.frames_left -= 1;
        self.counters.fast_segments += 1;
        self.counters.consumed_frames += 1;
        self.counters.delivered_bytes += u64::from(plain.len);
        None
    }

    /// Send what a flow has to say, if that is one payload for one segment, and take it off the list of those that have
    /// something. False if it is not, and nothing was done.
    #[inline]
    pub(super) fn say_whole(&mut self, slot: u32) -> bool {
        let Some(mut connection) = self.flows.connection_owing(slot) else { return false };
        let Some((first, len)) = fast::whole(&connection) else { return false };
        let path = connection.hot.path;
        let interface = self.paths.interface(path);
        let port = &mut self.ports[interface];
        if port.backlog() >= self.config.transmit_backlog_max {
            return false;
        }
        let Ok(frame) = port.composer.header() else { return false };
        let Some(plain) = fast::output(&mut connection, (first, len)) else { return false };
        self.counters.segments_sent += 1;
        connection.clear(flag::DIRTY);
        promise(&mut self.wheel, &mut connection, slot);
        let hot = &*connection.hot;
        if let Some(small) = connection.shared.cells.small(first)
            && plain.stamps.is_some()
            && let Some((_, head)) = self.paths.open(path, self.turn)
        {
            let said = Said { window: plain.window, millis: connection.shared.now.millis };
            if !port.send_small(frame, head, hot, said, small) {
                self.counters.fail(DropReason::NoRoom);
            }
            return true;
        }
        let segment = plain.segment(hot.local_port(), hot.remote_port(), Flags::ACK | Flags::PSH);
        let field = ecn::codepoint::NOT_ECT;
        let emit = Emit { segment, first, len, field, hop_limit: 0, fragment: false };
        self.send_whole(frame, slot, path, &emit);
        true
    }

    /// Queue a small payload and send it at once, with its flow's frames that have come back, so many: where nothing else is
    /// to be said, and in the common shape. False if it is not so, and nothing was done.
    #[inline(never)]
    pub(super) fn say_small(&mut self, send: &SmallSend, back: u16) -> bool {
        let SmallSend { stream, text, len, queue, more, .. } = send;
        let (mut connection, interface, head) = loop {
            let Some(connection) = self.flows.named_owing(stream.0) else { return false };
            let path = connection.hot.path;
            if let Some((interface, head)) = self.paths.open(path, self.turn) {
                break (connection, interface, head);
            }
            if connection.hot.is_ipv6() || !self.open_way(path) {
                return false;
            }
        };
        let (slot, size) = (stream.0.slot(), u32::from(*len));
        if *more || size == 0 {
            return false;
        }
        let Some(mss) = fast::alone(&connection, size) else { return false };
        let port = &mut self.ports[interface];
        if port.backlog() >= self.config.transmit_backlog_max {
            return false;
        }
        let listed = match connection.is(flag::DIRTY) {
            true => match listed(&mut self.dirty, &mut self.said_to, slot) {
                Some(listed) => Some(listed),
                None => return false,
            },
            false => None,
        };
        let Ok(frame) = port.composer.header() else { return false };
        if !fast::queue_sent(&mut connection, (text, *len), *queue) {
            return false;
        }
        connection.hot.held = connection.hot.held.saturating_sub(back);
        let plain = fast::say(&mut connection, size, mss);
        if let Some(listed) = listed {
            connection.clear(flag::DIRTY);
            *listed = NONE;
            self.said_to += 1;
        }
        self.counters.segments_sent += 1;
        promise(&mut self.wheel, &mut connection, slot);
        let said = Said { window: plain.window, millis: connection.shared.now.millis };
        if !port.send_small(frame, head, connection.hot, said, (text, *len)) {
            self.counters.fail(DropReason::NoRoom);
        }
        true
    }

    /// Send the full segments of a payload behind `before`, which was just sent of it: as many as may go now, at most
    /// `most`. Returns how many went.
    pub(super) fn say_full(
        &mut self,
        slot: u32,
        path: u16,
        tuple: &Tuple,
        before: &Emit,
        most: usize,
    ) -> usize {
        let Some(mut plain) = Plain::of(&before.segment, before.len) else { return 0 };
        let hop = self.hop(path, tuple.local.ip(), tuple.remote.ip());
        let Some(hop) = hop.filter(|hop| hop.station.mac().is_some()) else { return 0 };
        let Emit { field, hop_limit, fragment, .. } = *before;
        let form = Form { each: 0, field, hop_limit, fragment, sum: None };
        let Some(mss) = self.flows.connection(slot).map(|connection| connection.send_mss()) else { return 0 };
        let segment = plain.segment(tuple.local.port(), tuple.remote.port(), Flags::ACK);
        let template = Template::new(&self.ports[hop.interface], &hop, tuple, &segment, &form, mss);
        for said in 0..most {
            let port = &mut self.ports[hop.interface];
            let Some(mut connection) = self.flows.connection(slot) else { return said };
            let Some(found) = fast::full(&connection) else { return said };
            if port.backlog() >= self.config.transmit_backlog_max {
                return said;
            }
            let Ok(mut frame) = port.composer.header() else { return said };
            let Some(next) = fast::output_full(&mut connection, found, &plain) else { return said };
            plain = next;
            self.counters.segments_sent += 1;
            let Ok(sum) = self.attach(hop.interface, &mut frame, (found.first, found.len)) else {
                // It counts as lost on the way.
                self.counters.fail(DropReason::NoRoom);
                return said + 1;
            };
            if let Some(template) = &template {
                if !template.write(&mut frame, plain.seq, sum.unwrap_or_default()) {
                    self.counters.fail(DropReason::NoRoom);
                    return said + 1;
                }
                self.ports[hop.interface].data.push(frame);
            } else {
                let segment = Segment { seq: plain.seq, ..segment };
                self.send_tcp(frame, hop, tuple, &segment, Form { sum, ..form });
            }
        }
        most
    }

    /// See that a path is open, if it can be: that is found out once a turn.
    #[inline(never)]
    fn open_way(&mut self, path: u16) -> bool {
        self.hop_by_path(path);
        self.paths.open(path, self.turn).is_some()
    }

    fn send_whole(&mut self, mut frame: Frame, slot: u32, path: u16, emit: &Emit) {
        let Some(tuple) = self.flows.tuple(slot) else { return };
        let Ok(sum) = self.attach(self.paths.interface(path), &mut frame, (emit.first, emit.len)) else {
            return self.counters.fail(DropReason::NoRoom);
        };
        let Emit { field, hop_limit, fragment, .. } = *emit;
        let form = Form { each: 0, field, hop_limit, fragment, sum };
        self.send_by_path(frame, path, &tuple, &emit.segment, form);
    }
}

/// Have a flow on the list of those with something to say.
#[inline(always)]
fn list(dirty: &mut Vec<u32>, connection: &mut Connection, slot: u32) {
    if !connection.is(flag::DIRTY) {
        connection.set(flag::DIRTY);
        dirty.push(slot);
    }
}

/// Where a flow is in the list of those with something to say, if it is found there: mostly it is the next.
#[inline(always)]
fn listed<'a>(dirty: &'a mut [u32], said_to: &mut usize, slot: u32) -> Option<&'a mut u32> {
    let next = *said_to;
    if dirty.get(next) == Some(&slot) || seek(dirty, said_to, slot) {
        return dirty.get_mut(*said_to);
    }
    None
}

/// Look for a flow further on in the list of those with something to say. Answers come mostly in the order of what they answer:
/// where one is far from it, no other is looked for in this batch.
#[inline(never)]
fn seek(dirty: &[u32], said_to: &mut usize, slot: u32) -> bool {
    let rest = dirty.get(*said_to..).unwrap_or_default();
    let ahead = rest.iter().take(SEEK_MAX).position(|listed| *listed == slot);
    *said_to = ahead.map_or(dirty.len(), |ahead| *said_to + ahead);
    ahead.is_some()
}

/// Something was sent for the first time: see that the wheel visits the flow before its timer is due. Of its deadlines this is
/// the only one that was set anew, and mostly the wheel comes before anyway.
#[inline(always)]
pub(super) fn promise(wheel: &mut Wheel, connection: &mut Connection, slot: u32) {
    let (armed, now, soonest) =
        (connection.hot.armed_at, connection.shared.now.ticks, connection.shared.soonest);
    let soon = armed.is_on() && armed.until(now) <= soonest.until(now);
    if !(soon && timers::may_wait(connection)) {
        connection.pay_timer();
        let timer = connection.hot.retransmit_at;
        if !armed.is_on() || timer.until(now) < armed.until(now) {
            wheel.insert(slot, timer);
            connection.hot.armed_at = timer;
        }
    }
}
