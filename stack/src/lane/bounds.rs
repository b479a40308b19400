//! Bounds of the application's end of a lane, and what meeting one gives.

use crate::socket::{Op, OpError};

/// Bounds of the application's end of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneOptions {
    /// Ops of one batch.
    pub ops: usize,
    /// Completions that may wait, all queues together.
    pub completions: u32,
    /// Sends of one stream that may be unfinished.
    pub sends_per_stream: u32,
    /// Received frames that may be lent to other threads.
    pub detached_frames_max: usize,
}

impl Default for LaneOptions {
    /// 1,024 ops and 8,192 completions a batch; 8,192 sends a stream, twice the frames it may hold; 1,024 detached.
    fn default() -> Self {
        LaneOptions { ops: 1024, completions: 8192, sends_per_stream: 8192, detached_frames_max: 1024 }
    }
}

/// Bounds of a queue: completions that may wait, and ops the application may submit for each one it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueOptions {
    /// Completions that may wait.
    pub completions: u32,
    /// Ops that fit whenever `take` gives a completion.
    pub ops_each: u32,
}

impl Default for QueueOptions {
    fn default() -> Self {
        QueueOptions { completions: 256, ops_each: 4 }
    }
}

/// An op that did not fit, with everything in it.
#[derive(Debug)]
pub struct Full {
    /// The op.
    pub op: Op,
    /// Which bound it met.
    pub bound: Bound,
}

/// A bound that the application has met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The batch of ops: take a turn first.
    Ops,
    /// The sends of the stream: wait for `Writable`.
    Sends,
}

/// What ends a lane's application.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// An op met a bound.
    #[error("{}", full_text(*.0))]
    Full(Bound),
    /// A queue asked for more than there is.
    #[error("a queue of {asked} completions exceeds what is left of the lane's: raise `completions`")]
    Completions {
        /// Completions asked for.
        asked: u32,
    },
    /// A queue declared more ops for each completion than a batch holds.
    #[error("{asked} ops for each completion do not fit a batch: raise `ops`")]
    OpsEach {
        /// Ops asked for.
        asked: u32,
    },
    /// The application's own.
    #[error(transparent)]
    Application(Box<dyn core::error::Error + Send + Sync>),
}

impl From<Full> for LaneError {
    fn from(full: Full) -> Self {
        LaneError::Full(full.bound)
    }
}

/// An op error as the end of a lane's application, for programs that give up on the first.
impl From<OpError> for LaneError {
    fn from(error: OpError) -> Self {
        LaneError::Application(Box::new(error))
    }
}

fn full_text(bound: Bound) -> &'static str {
    match bound {
        Bound::Ops => "more ops than fit one batch: raise `ops`, or declare more `ops_each` for the queue",
        Bound::Sends => {
            "more unfinished sends than a stream takes: wait for `Writable`, or raise `sends_per_stream`"
        }
    }
}
