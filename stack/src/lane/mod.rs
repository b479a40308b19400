//! The application's end of a lane: batches, queues, lent payloads. What crosses it is `mode`'s.

mod bounds;
mod lent;
mod lift;
mod queues;
mod sends;
mod set;

use core::cell::RefCell;
use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use drivers::{Block, Region};

pub use self::bounds::{Bound, Full, LaneError, LaneOptions, QueueOptions};
use self::lent::LentTable;
use self::queues::Queues;
use self::sends::Sends;
pub use self::set::LaneSet;
use crate::counters::Report;
use crate::mode::{Batch, Crossing, EngineOp, LaneWaker, LargeSend, Ports, Turn, View};
use crate::socket::{Action, Completion, LaneId, Op, QueueId, Returns, Stream, Tag};
use crate::time::Instant;

/// Ops that [`Lane::submit_gathered`] takes at once.
pub const GATHER_MAX: usize = 4;

/// One lane's application end, the same type in every mode. Stays on its thread.
///
/// Dropping it closes what is open, in order, within the runtime's stop deadline, and then resets the rest; a stream of
/// which received bytes wait untaken it resets at once.
pub struct Lane {
    id: LaneId,
    options: LaneOptions,
    turn: Turn,
    crossing: Box<dyn Crossing>,
    batch: Batch,
    queues: Queues,
    lent: LentTable,
    sends: Sends,
    /// Unfinished sends whose bytes their ops carried.
    small: usize,
    returns: Rc<Returns>,
    blocks: Region,
    waker: LaneWaker,
    departed: Option<Departed>,
}

/// What is left of lanes whose application has ended: they hand over what belongs to others, until all have ended.
pub type Departed = Rc<RefCell<Vec<Box<dyn Crossing>>>>;

/// In place of a lane that has departed.
struct Nobody;

impl Crossing for Nobody {
    fn turn(&mut self, _batch: &mut Batch) -> Turn {
        Turn::new(Instant::ZERO).with(Turn::STOPPING, true)
    }

    fn idle(&mut self, _until: Option<Instant>, _others: &mut [&mut Ports]) {}

    fn leave(&mut self) {}

    fn report(&self) -> Report {
        Report::default()
    }

    fn waker(&self) -> LaneWaker {
        LaneWaker::default()
    }
}

impl Lane {
    /// The application's end of what `crossing` leads to. `blocks` is the lane's transmit pool.
    pub fn new(id: LaneId, options: LaneOptions, blocks: Region, crossing: Box<dyn Crossing>) -> Lane {
        let returns = Returns::new(options.detached_frames_max);
        Lane {
            id,
            options,
            turn: Turn::new(Instant::ZERO).with(Turn::RUNNING, true),
            waker: crossing.waker(),
            crossing,
            batch: Batch::default(),
            queues: Queues::new(id, options.completions, Rc::clone(&returns)),
            lent: LentTable::default(),
            sends: Sends::new(options.sends_per_stream),
            small: 0,
            returns,
            blocks,
            departed: None,
        }
    }

    /// Leave what other lanes need of this one here, once its application is over.
    pub fn depart_to(&mut self, departed: &Departed) {
        self.departed = Some(Rc::clone(departed));
    }

    /// Which lane this is.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// The lane's clock, as of the last turn.
    pub fn now(&self) -> Instant {
        self.turn.now
    }

    /// A further completion queue.
    ///
    /// Errors: all queues together exceed `completions`, or `ops_each` exceeds `ops`.
    pub fn queue(&mut self, options: QueueOptions) -> Result<QueueId, LaneError> {
        if options.ops_each as usize > self.options.ops {
            return Err(LaneError::OpsEach { asked: options.ops_each });
        }
        self.queues.add(options).ok_or(LaneError::Completions { asked: options.completions })
    }

    /// Add an op to the batch that crosses at the next turn.
    ///
    /// A close or an abort of a stream drops what `take` has not handed out of it: `Received` and `End`. If there were
    /// bytes among it, the close becomes a reset (RFC 2525 section 2.17).
    ///
    /// A send that does not `notify` is copied if it has no more than 64 bytes: its payload goes at once.
    ///
    /// Cost: of a close or an abort, a look at every completion that waits, unless the stream's end was taken just before
    /// and there is one queue; of any other send, its entry in the lent payloads.
    ///
    /// Errors: a bound is met; the op comes back, payload and all.
    // What most ops are, and no more than that, for it becomes part of the application's own code.
    #[inline(always)]
    pub fn submit(&mut self, op: Op) -> Result<(), Full> {
        if self.batch.ops.len() >= self.options.ops {
            return Err(Full { op, bound: Bound::Ops });
        }
        let queue = self.queues.index(op.queue);
        let Action::Send { stream, payload, notify, more } = &op.action else {
            self.submit_other(op, queue);
            return Ok(());
        };
        if !self.sends.take(*stream, 1, op.queue, op.tag) {
            return Err(Full { op, bound: Bound::Sends });
        }
        if !notify && self.batch.ops.send(*stream, payload.as_slice(), *more, queue, op.tag) {
            self.small += 1;
        } else {
            self.submit_large(op, queue);
        }
        Ok(())
    }

    /// Add a send whose bounds are kept, and that is not small.
    #[inline(never)]
    fn submit_large(&mut self, op: Op, queue: u8) {
        let Op { action, tag, queue: asked } = op;
        let Action::Send { stream, payload, notify, more } = action else {
            return self.submit_other(Op { action, tag, queue: asked }, queue);
        };
        match self.lent.lend_memory(payload, Some(stream), tag) {
            Ok((extent, key)) => {
                self.batch.ops.send_large(LargeSend { stream, tag, extent, key, queue, notify, more });
            }
            Err(payload) => {
                let action = Action::Send { stream, payload, notify, more };
                self.submit_other(Op { action, tag, queue: asked }, queue);
            }
        }
    }

    /// Add an op whose bounds are kept, and that is no send but of a few bytes.
    #[inline(never)]
    fn submit_other(&mut self, op: Op, queue: u8) {
        let Op { tag, .. } = op;
        if let Action::Close { socket, within } = op.action {
            let unread = self.queues.discard(socket);
            let action = Action::Close { socket, within };
            return self.batch.ops.push(EngineOp { action, queue, tag, unread });
        }
        let unread = match &op.action {
            Action::Abort { socket } => self.queues.discard(*socket),
            Action::AbortUnread { stream } => self.queues.discard(stream.0),
            _ => false,
        };
        let lowered = lower(&mut self.lent, op.action, op.tag);
        self.batch.ops.push(EngineOp { action: lowered, queue, tag: op.tag, unread });
    }

    /// Gather up to [`GATHER_MAX`] ops, such as the head and the body of an answer: all are taken, or none.
    ///
    /// Sends of one stream are one behind the other then, with no short segment between them.
    ///
    /// Errors: a bound is met; every op comes back.
    pub fn submit_gathered<const N: usize>(&mut self, mut ops: [Op; N]) -> Result<(), Box<([Op; N], Bound)>> {
        const { assert!(N <= GATHER_MAX, "at most four ops are gathered") };
        if self.batch.ops.len() + N > self.options.ops {
            return Err(Box::new((ops, Bound::Ops)));
        }
        let sends = |ops: &[Op], stream: Stream| {
            ops.iter()
                .filter(|op| matches!(op.action, Action::Send { stream: its, .. } if its == stream))
                .count()
        };
        for index in 0..N {
            let Action::Send { stream, .. } = &ops[index].action else { continue };
            let stream = *stream;
            if self.sends.room(stream) < sends(&ops, stream) {
                self.sends.refuse(stream, ops[index].queue, ops[index].tag);
                return Err(Box::new((ops, Bound::Sends)));
            }
            let behind = sends(&ops[index + 1..], stream) > 0;
            if let Action::Send { more, .. } = &mut ops[index].action {
                *more |= behind;
            }
        }
        for op in ops {
            let taken = self.submit(op);
            debug_assert!(taken.is_ok(), "room was counted before");
        }
        Ok(())
    }

    /// Submit from the front while they fit; what does not stays there, in order. Returns how many were taken.
    pub fn submit_all(&mut self, ops: &mut VecDeque<Op>) -> usize {
        let mut taken = 0;
        while let Some(op) = ops.pop_front() {
            if let Err(full) = self.submit(op) {
                ops.push_front(full.op);
                break;
            }
            taken += 1;
        }
        taken
    }

    /// Sends this stream still takes. Known here, without asking the engine.
    pub fn send_room(&self, stream: Stream) -> usize {
        self.sends.room(stream)
    }

    /// An empty block of the lane's transmit pool; `None` while all are in flight.
    pub fn block(&self) -> Option<Block> {
        self.blocks.take()
    }

    /// One exchange of batches; never blocks. False once the lane has stopped.
    pub fn turn(&mut self) -> bool {
        self.queues.credits(&mut self.batch.credits);
        self.exchange()
    }

    /// A turn with the credits that are in the batch.
    fn exchange(&mut self) -> bool {
        self.returns.free();
        if !self.turn.is(Turn::RUNNING) {
            // Other lanes' frames may still come this way. What is told to an application that is over is dropped.
            let needed = self.turn.is(Turn::NEEDED);
            let turn = if needed { self.crossing.turn(&mut self.batch) } else { self.turn };
            self.turn = turn.with(Turn::RUNNING, false).with(Turn::BUSY, needed && turn.is(Turn::BUSY));
            self.batch.completions.clear();
            return false;
        }
        self.returns.drain(&mut self.batch.returned);
        self.batch.held_frames = self.held_frames();
        self.turn = self.crossing.turn(&mut self.batch);
        self.lift();
        self.turn.is(Turn::RUNNING)
    }

    /// Turns until one of `queues` has a completion, `timeout` has passed or the waker was used.
    ///
    /// Panics: if one of `queues` is not this lane's.
    pub fn wait(&mut self, queues: &[QueueId], timeout: Option<Duration>) -> bool {
        let until = timeout.map(|timeout| self.turn.now.saturating_add(timeout));
        loop {
            if !self.turn() {
                return false;
            }
            let ready = queues.iter().any(|&queue| self.queues.has(queue));
            let late = until.is_some_and(|until| self.turn.now >= until);
            if ready || late || self.waker.take() {
                return true;
            }
            if !self.turn.is(Turn::BUSY) {
                self.crossing.idle(until, &mut []);
            }
        }
    }

    /// The oldest completion of a queue, if there is one and its `ops_each` ops still fit.
    ///
    /// Panics: if the queue is not this lane's.
    pub fn take(&mut self, queue: QueueId) -> Option<Completion> {
        self.queues.take(queue, self.options.ops - self.batch.ops.len())
    }

    /// The queue has a completion.
    ///
    /// Panics: if the queue is not this lane's.
    pub fn has(&self, queue: QueueId) -> bool {
        self.queues.has(queue)
    }

    /// Told to stop. A loop need not ask: `turn` says when it is over.
    pub fn is_stopping(&self) -> bool {
        self.turn.is(Turn::STOPPING)
    }

    /// For other threads: makes `wait` return.
    pub fn waker(&self) -> LaneWaker {
        self.waker.clone()
    }

    /// A descriptor to sleep on in the application's own `epoll`. `None` in run-to-completion mode.
    pub fn event_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }

    /// Payloads the lane holds, copies of small ones included. Zero once everything was acknowledged.
    pub fn lent(&self) -> usize {
        self.lent.len() + self.small
    }

    /// Everything the lane knows about itself.
    pub fn report(&self) -> Report {
        Report { lent: self.lent(), ..self.crossing.report() }
    }

    /// Ops wait for the next turn, or frames to go back.
    pub fn has_ops(&self) -> bool {
        !self.batch.ops.is_empty() || self.returns.is_waiting()
    }

    /// Something moved in the last turn: a frame, an op, a timer.
    pub fn is_busy(&self) -> bool {
        self.turn.is(Turn::BUSY)
    }

    /// When the lane next has something to do without being asked, where time is virtual.
    pub fn next_event(&self) -> Option<Instant> {
        if self.turn.is(Turn::RUNNING | Turn::NEEDED) { self.crossing.next_event() } else { None }
    }

    /// Received frames that the application holds.
    pub fn held_frames(&self) -> usize {
        self.returns.out() + self.queues.arrivals()
    }

    /// The application goes, and streams of which it has not taken every byte end as its close would end them: by a reset.
    fn reset_unread(&mut self) {
        let unread = self.queues.unread();
        for streams in unread.chunks(self.options.ops.max(1)) {
            for &socket in streams {
                let action = Action::Close { socket, within: None };
                self.batch.ops.push(EngineOp { action, queue: 0, tag: Tag(0), unread: true });
            }
            // Without credit, what arrives meanwhile waits where the engine sees it.
            self.queues.credits(&mut self.batch.credits);
            self.batch.credits.fill(0);
            self.exchange();
        }
    }
}

/// Put an op's payload into the table of lent ones, and give the engine a view of it.
fn lower(lent: &mut LentTable, action: Action, tag: Tag) -> Action<View> {
    match action {
        Action::Listen { address, options } => Action::Listen { address, options },
        Action::Connect { to, from, timeout, lane, options } => {
            Action::Connect { to, from, timeout, lane, options }
        }
        Action::Receive { stream } => Action::Receive { stream },
        Action::Send { stream, payload, notify, more } => {
            Action::Send { stream, payload: lent.lend(payload, Some(stream), tag), notify, more }
        }
        Action::Bind { address, peer } => Action::Bind { address, peer },
        Action::SetPeer { socket, peer } => Action::SetPeer { socket, peer },
        Action::SendTo { socket, to, payload, notify } => {
            Action::SendTo { socket, to, payload: lent.lend(payload, None, tag), notify }
        }
        Action::Timer { at } => Action::Timer { at },
        Action::Configure { change } => Action::Configure { change },
        Action::Set { socket, option } => Action::Set { socket, option },
        Action::Inspect { stream } => Action::Inspect { stream },
        Action::Shutdown { stream } => Action::Shutdown { stream },
        Action::ShutdownBoth { stream } => Action::ShutdownBoth { stream },
        Action::Close { socket, within } => Action::Close { socket, within },
        Action::Abort { socket } => Action::Abort { socket },
        Action::AbortUnread { stream } => Action::AbortUnread { stream },
        Action::Cancel { of } => Action::Cancel { of },
    }
}

impl Lane {
    /// The application has gone.
    fn leave(&mut self) {
        self.reset_unread();
        self.crossing.leave();
        self.queues.clear();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.leave();
        while self.turn() {
            self.queues.clear();
            if !self.turn.is(Turn::BUSY) {
                self.crossing.idle(None, &mut []);
            }
        }
        if let Some(departed) = &self.departed {
            let crossing = core::mem::replace(&mut self.crossing, Box::new(Nobody));
            departed.borrow_mut().push(crossing);
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("id", &self.id).field("lent", &self.lent()).finish_non_exhaustive()
    }
}
