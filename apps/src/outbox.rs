//! Ops that found the lane's batch full. They go first at the next turn, in order. What they do is each program's.

use std::collections::VecDeque;

use corelane::{Lane, Op};

/// Ops on their way to the lane.
///
/// Shape: holds what one completion led to, or another event of the program's: nothing further is taken while anything waits
/// here.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Op>,
}

impl Outbox {
    /// Submit an op, behind what waits.
    // Part of its caller, as `Lane::submit` is of this: the op need not lie anywhere in between.
    #[inline(always)]
    pub fn submit(&mut self, lane: &mut Lane, op: Op) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(op);
        } else if let Err(full) = lane.submit(op) {
            self.waiting.push_back(full.op);
        }
    }

    /// Submit what waits, as far as it fits. True if nothing waits any more.
    pub fn flush(&mut self, lane: &mut Lane) -> bool {
        if !self.waiting.is_empty() {
            lane.submit_all(&mut self.waiting);
        }
        self.waiting.is_empty()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
