//! Frames to sockets, and completions to queues that have credit for them. A full queue stops nothing but itself.

use std::collections::VecDeque;

use drivers::Frame;

use super::Engine;
use super::flows::Kind;
use crate::mode::{Back, Done, EngineCompletion, Key, Sent};
use crate::socket::{Event, Reason, SocketId, Stream, Tag};
use crate::tcp::send::Finished;
use crate::tcp::state::{flag, hint};

/// A completion queue as the engine sees it.
#[derive(Debug, Default)]
pub struct CompletionQueue {
    /// Completions it can still take.
    credit: u32,
    /// Completions that wait for credit: bounded by what they answer, for each names an op, a payload or a socket.
    overflow: VecDeque<EngineCompletion>,
    /// Sockets with data that waits for credit, each once.
    waiting: VecDeque<u32>,
}

impl CompletionQueue {
    /// Room for one completion that need not wait, if there is; it is taken.
    #[inline]
    pub fn take_credit(&mut self) -> bool {
        if self.credit == 0 || !self.overflow.is_empty() {
            return false;
        }
        self.credit -= 1;
        true
    }
}

/// A payload no longer than this is copied into the tail of the frame before, so that it holds no frame of its own.
/// An eighth of a frame: below it a frame is mostly empty.
pub(super) const DUST_BYTES: usize = 256;

impl Engine {
    /// How many more completions each queue can take.
    pub(super) fn set_credits(&mut self, credits: &[u32]) {
        if self.queues.len() < credits.len() {
            self.queues.resize_with(credits.len(), CompletionQueue::default);
        }
        for (queue, credit) in self.queues.iter_mut().zip(credits) {
            queue.credit = *credit;
        }
    }

    /// A data completion may go to the queue now.
    pub(super) fn has_credit(&self, queue: u8) -> bool {
        self.queues.get(usize::from(queue)).is_some_and(|queue| queue.credit > 0 && queue.overflow.is_empty())
    }

    /// Answer an op: now if the queue has credit, else as soon as it has.
    pub(super) fn complete(&mut self, queue: u8, tag: Tag, more: bool, event: Event<Frame, Back>) {
        let completion = EngineCompletion { event, queue, tag, more };
        let Some(state) = self.queues.get_mut(usize::from(queue)) else { return };
        if state.take_credit() {
            self.completions.push(completion);
        } else {
            state.overflow.push_back(completion);
        }
    }

    /// Use the credit that came with this turn.
    pub(super) fn serve_queues(&mut self) {
        for index in 0..self.queues.len() {
            while let Some(queue) = self.queues.get_mut(index)
                && queue.credit > 0
                && let Some(completion) = queue.overflow.pop_front()
            {
                queue.credit -= 1;
                self.completions.push(completion);
            }
            let Ok(number) = u8::try_from(index) else { return };
            self.serve_waiting(number);
        }
    }

    fn serve_waiting(&mut self, queue: u8) {
        let sockets = self.queues.get(usize::from(queue)).map_or(0, |queue| queue.waiting.len());
        for _ in 0..sockets {
            if !self.has_credit(queue) {
                return;
            }
            let Some(slot) =
                self.queues.get_mut(usize::from(queue)).and_then(|queue| queue.waiting.pop_front())
            else {
                return;
            };
            match self.flows.kind(slot) {
                Kind::Stream => {
                    if let Some(hot) = self.flows.hot_mut(slot) {
                        hot.flags &= !flag::WAITING;
                    }
                    self.drain(slot);
                }
                Kind::Listener => self.offer_accepted(slot),
                Kind::Udp => self.drain_datagrams(slot),
                Kind::Free => {}
            }
        }
    }

    /// Remember that a socket has something for a queue without credit.
    pub(super) fn wait_for_credit(&mut self, queue: u8, slot: u32) {
        if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
            queue.waiting.push_back(slot);
        }
    }

    fn wait(&mut self, slot: u32) {
        let Some(hot) = self.flows.hot_mut(slot) else { return };
        if hot.flags & flag::WAITING == 0 {
            hot.flags |= flag::WAITING;
            let queue = hot.queue;
            self.wait_for_credit(queue, slot);
        }
    }

    /// In-order bytes for a stream.
    pub(super) fn deliver(&mut self, slot: u32, frame: Frame, held_before: bool) {
        self.counters.delivered_bytes += frame.len() as u64;
        let mut waiting = self.flows.waiting(slot);
        let Some(hot) = self.flows.hot_mut(slot) else { return };
        if hot.flags & flag::DEAF != 0 {
            hot.held -= u16::from(held_before);
            return;
        }
        let receiving = hot.flags & flag::RECEIVING != 0;
        let (queue, tag) = (hot.queue, hot.tag);
        if receiving && waiting.is_empty() && self.has_credit(queue) {
            if !held_before {
                self.hold(slot);
            }
            let stream = Stream(self.flows.id(slot));
            self.complete(queue, Tag(tag), true, Event::Received { stream, data: frame });
            return;
        }
        if frame.len() <= DUST_BYTES
            && !waiting.is_empty()
            && let Some(tail) = self.frames.get_mut(waiting.tail)
            && let Some(room) = tail.append(frame.len())
        {
            room.copy_from_slice(frame.bytes());
            self.counters.merged_segments += 1;
            if held_before && let Some(hot) = self.flows.hot_mut(slot) {
                hot.held -= 1;
            }
            return;
        }
        if !held_before {
            self.hold(slot);
        }
        self.frames.push(&mut waiting, frame, None);
        self.flows.set_waiting(slot, waiting);
        if receiving {
            self.wait(slot);
        }
    }

    /// The stream holds one more frame; a stream whose application keeps up may hold more.
    fn hold(&mut self, slot: u32) {
        if let Some(hot) = self.flows.hot_mut(slot) {
            hot.held = hot.held.saturating_add(1);
        }
        self.flows.shared.frames_left = self.flows.shared.frames_left.saturating_sub(1);
    }

    /// Hand over what waits, while there is credit: data in order, then `End`, then `Closed`.
    pub(super) fn drain(&mut self, slot: u32) {
        if self.flows.hot(slot).is_some_and(|hot| hot.hints & hint::WAITS != 0) && !self.hand_over(slot) {
            return;
        }
        let Some(hot) = self.flows.hot_mut(slot) else { return };
        let (queue, tag, flags) = (hot.queue, hot.tag, hot.flags);
        let ended = flags & (flag::FIN_RECEIVED | flag::END_TOLD | flag::DEAF) == flag::FIN_RECEIVED;
        if ended && flags & flag::RECEIVING != 0 && hot.hints & hint::WAITS == 0 {
            hot.flags |= flag::END_TOLD;
            let stream = Stream(self.flows.id(slot));
            self.complete(queue, Tag(tag), false, Event::End { stream });
        }
        if flags & flag::DEAD != 0 {
            self.bury(slot);
        }
    }

    /// Hand over the frames that wait, if the application takes them. False if there are more than its queue has credit for.
    fn hand_over(&mut self, slot: u32) -> bool {
        let Some(hot) = self.flows.hot(slot).filter(|hot| hot.flags & flag::RECEIVING != 0) else {
            return true;
        };
        let (queue, tag) = (hot.queue, hot.tag);
        let mut waiting = self.flows.waiting(slot);
        while !waiting.is_empty() && self.has_credit(queue) {
            let Some((frame, _)) = self.frames.pop(&mut waiting) else { break };
            let stream = Stream(self.flows.id(slot));
            self.complete(queue, Tag(tag), true, Event::Received { stream, data: frame });
        }
        self.flows.set_waiting(slot, waiting);
        if !waiting.is_empty() {
            self.wait(slot);
        }
        waiting.is_empty()
    }

    /// Frames have come back from the application: the windows of their sockets open again.
    #[inline(never)]
    pub(super) fn take_back(&mut self, returned: &[SocketId]) {
        for of_one in returned.chunk_by(|one, next| one == next) {
            if let Some(socket) = of_one.first() {
                self.give_back(*socket, u16::try_from(of_one.len()).unwrap_or(u16::MAX));
            }
        }
    }

    /// So many frames of a socket have come back.
    pub(super) fn give_back(&mut self, socket: SocketId, count: u16) {
        let Ok((slot, kind)) = self.flows.find(socket) else { return };
        match kind {
            Kind::Stream => {
                let Some(mut connection) = self.flows.connection_owing(slot) else { return };
                connection.hot.held = connection.hot.held.saturating_sub(count);
                if crate::tcp::window::window_opened(&mut connection) {
                    self.mark_dirty(slot);
                }
            }
            Kind::Udp => (0..count).for_each(|_| self.udp.give_back(slot)),
            Kind::Free | Kind::Listener => {}
        }
    }

    /// Report a payload that TCP is done with.
    #[inline]
    pub(super) fn report_done(&mut self, stream: Stream, done: Finished) {
        let Finished { key, notify, queue } = done;
        if !notify {
            self.done.push(done_of(&done, stream));
        } else if self.queues.get_mut(usize::from(queue)).is_some_and(CompletionQueue::take_credit) {
            self.completions.sent(Sent { stream, key, queue });
        } else {
            self.complete(queue, Tag(0), false, Event::Sent { stream, payload: Back::Lent(key) });
        }
    }

    /// Report payloads that TCP is done with.
    #[inline]
    pub(super) fn report_finished(&mut self, slot: u32) {
        if !self.flows.shared.finished.is_empty() {
            self.report_all(slot);
        }
    }

    fn report_all(&mut self, slot: u32) {
        let (stream, mut at) = (Stream(self.flows.id(slot)), 0);
        while let Some(done) = self.flows.shared.finished.get(at).copied() {
            self.report_done(stream, done);
            at += 1;
        }
        self.flows.shared.finished.clear();
    }

    /// A stream that has ended and has nothing left to hand over says `Closed`, and its slot is free.
    pub(super) fn bury(&mut self, slot: u32) {
        if self.flows.kind(slot) != Kind::Stream {
            return;
        }
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let hot = &*connection.hot;
        let end_due = hot.flags & (flag::FIN_RECEIVED | flag::END_TOLD) == flag::FIN_RECEIVED;
        let kept = hot.flags & flag::DEAF == 0 && (hot.hints & hint::WAITS != 0 || end_due);
        if hot.flags & flag::DEAD == 0 || kept {
            return;
        }
        let (queue, tag) = (hot.queue, hot.tag);
        let (reason, unsent) = connection.rare_if().map_or((0, 0), |rare| (rare.reason, rare.unsent));
        let reason = REASONS.get(usize::from(reason)).copied().unwrap_or(Reason::Done);
        let unsent = u64::from(unsent);
        let event = Event::Closed { socket: self.flows.id(slot), reason, unsent };
        self.complete(queue, Tag(tag), false, event);
        self.flows.release(slot);
    }
}

/// What nobody waits for, of this stream.
#[inline]
pub(super) fn done_of(finished: &Finished, stream: Stream) -> Done {
    match finished.key {
        Key::SMALL => Done::Small(stream),
        key => Done::Lent(key),
    }
}

/// Reasons by the number the cold part keeps.
pub(super) const REASONS: [Reason; 7] = [
    Reason::Done,
    Reason::Aborted,
    Reason::Reset,
    Reason::TimedOut,
    Reason::Stopping,
    Reason::Moved,
    Reason::AddressGone,
];
