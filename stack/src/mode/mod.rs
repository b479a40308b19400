//! How a lane and its application exchange batches. What the batches mean is in `socket`; who applies them, `engine`.

mod completions;
mod ops;
pub mod run_to_completion;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drivers::{Bell, Extent, Queue};

pub use self::completions::{Arrival, Completions, EngineCompletion, Sent};
pub use self::ops::{LargeSend, Ops, SmallSend};
use crate::counters::Report;
use crate::socket::{Action, SocketId, Stream, Tag};
use crate::time::Instant;

/// Names a payload the application has lent, in the lane's table of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(pub u32);

impl Key {
    /// No name: the op carries the payload's bytes, which nobody has to be given back.
    pub const SMALL: Key = Key(u32::MAX);
}

/// Most bytes that an op carries to the engine, a cache line: to refer to so few would cost more than to copy them.
pub const SMALL_MAX: usize = 64;

/// A quiet send whose payload is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// A payload of the lane's table.
    Lent(Key),
    /// One that its op carried, of this stream.
    Small(Stream),
}

/// A payload on its way back.
#[derive(Debug)]
pub enum Back {
    /// By its name in the lane's table.
    Lent(Key),
    /// The bytes that its op carried: it failed.
    Small(Box<[u8]>),
}

/// What the engine sees of a payload: where its bytes are, and the name to give it back by.
#[derive(Debug)]
pub struct View {
    /// Its bytes.
    pub data: ViewData,
    /// Its name.
    pub key: Key,
}

/// Where a payload's bytes are.
#[derive(Debug)]
pub enum ViewData {
    /// In the op itself.
    Inline(u8, [u8; SMALL_MAX]),
    /// In memory that frames can refer to.
    Extent(Extent),
}

impl View {
    /// The payload as it goes back.
    pub fn back(&self) -> Back {
        match (&self.data, self.key) {
            (ViewData::Inline(..), Key::SMALL) => Back::Small(self.data.bytes().into()),
            (_, key) => Back::Lent(key),
        }
    }
}

impl ViewData {
    /// So many bytes, in an op; `None` if there are too many for one.
    #[inline]
    pub fn inline(bytes: &[u8]) -> Option<ViewData> {
        let mut copy = [0; SMALL_MAX];
        copy.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(ViewData::Inline(u8::try_from(bytes.len()).ok()?, copy))
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            ViewData::Inline(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            ViewData::Extent(extent) => extent.bytes(),
        }
    }

    /// Bytes of the payload.
    pub fn len(&self) -> u32 {
        match self {
            ViewData::Inline(len, _) => u32::from(*len),
            ViewData::Extent(extent) => extent.len(),
        }
    }

    /// The payload has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An op on the engine's side.
#[derive(Debug)]
pub struct EngineOp {
    /// What to do.
    pub action: Action<View>,
    /// Index of the queue its completions go to.
    pub queue: u8,
    /// The application's word.
    pub tag: Tag,
    /// Of a close: received bytes had crossed to the application's side that it never took.
    pub unread: bool,
}

/// One exchange. The vectors are reused from turn to turn.
#[derive(Debug, Default)]
pub struct Batch {
    /// To the engine: ops, in order.
    pub ops: Ops,
    /// To the engine: for each queue, how many more completions it can take.
    pub credits: Vec<u32>,
    /// To the engine: one entry for each frame the application is done with.
    pub returned: Vec<SocketId>,
    /// To the engine: received frames that the application holds.
    pub held_frames: usize,
    /// To the application: completions, in order.
    pub completions: Completions,
    /// To the application: quiet sends whose payload is done.
    pub done: Vec<Done>,
}

/// What a turn told of the lane. Two words, which are returned in registers: most turns of a lane that polls do little more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The lane's clock.
    pub now: Instant,
    marks: u8,
}

impl Turn {
    /// The lane goes on.
    pub const RUNNING: u8 = 1;
    /// Another lane goes on, and may need what this one hands over: turn on, even when this one does not.
    pub const NEEDED: u8 = 1 << 1;
    /// The lane was told to stop.
    pub const STOPPING: u8 = 1 << 2;
    /// Something moved: a frame, an op, a timer.
    pub const BUSY: u8 = 1 << 3;

    /// A turn of which nothing is told yet.
    #[inline]
    pub const fn new(now: Instant) -> Turn {
        Turn { now, marks: 0 }
    }

    /// The same with these marks, or without.
    #[inline]
    #[must_use]
    pub const fn with(self, marks: u8, on: bool) -> Turn {
        let marks = if on { self.marks | marks } else { self.marks & !marks };
        Turn { marks, ..self }
    }

    /// One of these marks is told.
    #[inline]
    pub const fn is(self, marks: u8) -> bool {
        self.marks & marks != 0
    }
}

/// A lane's queue pairs: one for each of its interfaces, where there is one.
pub type Ports = [Option<Box<dyn Queue>>];

/// A mode: the application's end of a lane, under `Lane`.
pub trait Crossing {
    /// Exchange one batch. Never blocks.
    fn turn(&mut self, batch: &mut Batch) -> Turn;

    /// Nothing is to be done: wait a little, at most until `until`, or until something comes. `others` are the ports of lanes
    /// that take turns with this one: what comes there ends the wait too.
    fn idle(&mut self, until: Option<Instant>, others: &mut [&mut Ports]);

    /// The lane's ports, between turns, for another lane of the thread to wait beside.
    fn ports(&mut self) -> &mut Ports {
        &mut []
    }

    /// A lane that takes turns with this one has had something to do: the thread is to stay awake as if it had been this.
    fn stir(&mut self) {}

    /// The application has gone: close everything in order, until `turn` says the lane has ended.
    fn leave(&mut self);

    /// Everything the lane knows about itself.
    fn report(&self) -> Report;

    /// When the lane next has something to do without being asked, where time is virtual.
    fn next_event(&self) -> Option<Instant> {
        None
    }

    /// Lets other threads end an idle wait.
    fn waker(&self) -> LaneWaker;
}

/// Makes a lane's `wait` return, from any thread.
#[derive(Clone, Debug, Default)]
pub struct LaneWaker {
    woken: Arc<AtomicBool>,
    bell: Bell,
}

impl LaneWaker {
    /// The waker of a lane whose sleep `bell` ends.
    pub fn new(bell: Bell) -> LaneWaker {
        LaneWaker { woken: Arc::default(), bell }
    }

    /// End the lane's `wait`, now or the next one.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Whether `wake` was called since the last time.
    pub(crate) fn take(&self) -> bool {
        self.woken.load(Ordering::Acquire) && self.woken.swap(false, Ordering::AcqRel)
    }
}
