//! A lane in virtual time, run to completion: its application has one end, a world or a test the other.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::counters::Report;
use crate::mode::{Batch, Crossing, LaneWaker, Ports, Turn};
use crate::run::LaneRun;
use crate::time::Instant;

/// A lane's run that others can reach too, between its turns.
pub struct Shared {
    run: Rc<RefCell<LaneRun>>,
    clock: Rc<Cell<u64>>,
    rests: u32,
}

/// Times that a lane may rest while it ends: what it waits for will not come, for the rest of its world stands still.
const RESTS_MAX: u32 = 1_000;

impl Shared {
    /// The run of a lane whose time is the clock's.
    pub fn new(run: &Rc<RefCell<LaneRun>>, clock: &Rc<Cell<u64>>) -> Shared {
        Shared { run: Rc::clone(run), clock: Rc::clone(clock), rests: 0 }
    }
}

impl Crossing for Shared {
    fn turn(&mut self, batch: &mut Batch) -> Turn {
        let turn = self.run.borrow_mut().turn(batch);
        turn.with(Turn::RUNNING, turn.is(Turn::RUNNING) && self.rests < RESTS_MAX)
    }

    /// Resting moves the clock: only a lane that is dropped rests, and nobody else will move it then.
    fn idle(&mut self, _until: Option<Instant>, _others: &mut [&mut Ports]) {
        self.rests += 1;
        self.clock.set(self.clock.get() + 1_000_000_000);
    }

    fn leave(&mut self) {
        self.run.borrow_mut().leave();
    }

    fn waker(&self) -> LaneWaker {
        LaneWaker::default()
    }

    fn report(&self) -> Report {
        self.run.borrow().report()
    }

    fn next_event(&self) -> Option<Instant> {
        self.run.borrow().next_event()
    }
}
