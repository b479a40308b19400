//! Run to completion: `turn` is the lane's turn, on the application's thread. The loop's order is `run`'s.

use super::{Batch, Crossing, LaneWaker, Ports, Turn};
use crate::counters::Report;
use crate::engine::Engine;
use crate::run::LaneRun;
use crate::time::Instant;

/// The application and the engine on one thread.
pub struct RunToCompletion {
    run: LaneRun,
    waker: LaneWaker,
}

impl RunToCompletion {
    /// The application's end of a lane that runs on its own thread.
    pub fn new(run: LaneRun) -> RunToCompletion {
        let waker = LaneWaker::new(run.bell().clone());
        RunToCompletion { run, waker }
    }

    /// The engine, between turns.
    pub fn engine(&self) -> &Engine {
        self.run.engine()
    }
}

impl Crossing for RunToCompletion {
    fn turn(&mut self, batch: &mut Batch) -> Turn {
        self.run.turn(batch)
    }

    fn idle(&mut self, until: Option<Instant>, others: &mut [&mut Ports]) {
        self.run.idle(until, others);
    }

    fn ports(&mut self) -> &mut Ports {
        self.run.ports()
    }

    fn stir(&mut self) {
        self.run.stir();
    }

    fn leave(&mut self) {
        self.run.leave();
    }

    fn waker(&self) -> LaneWaker {
        self.waker.clone()
    }

    fn report(&self) -> Report {
        self.run.report()
    }

    fn next_event(&self) -> Option<Instant> {
        self.run.next_event()
    }
}
