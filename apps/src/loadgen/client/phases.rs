//! The phases of a lane's client, from the first connection to the last that ends.

use std::time::Duration;

use corelane::{Instant, Lane};

use super::{Client, SCAN};
use crate::loadgen::slot::{Slot, State};
use crate::loadgen::{ErrorKind, Pace, Schedule};

/// How long all connections together have to end.
const CLOSE_ALL_WITHIN: Duration = Duration::from_secs(10);

/// How long the lane stays when all have ended: a server's first retransmission of its FIN comes after 200 ms.
const LEAVE: Duration = Duration::from_millis(300);

/// What the client is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Trying whether the server can be reached, until then.
    Waiting(Instant),
    /// Opening the connections; this one next.
    Opening(usize),
    /// Requests begin.
    Running,
    /// None begins any more; answers are awaited, until then at the latest.
    Draining(Instant),
    /// Connections end, this one next, until then at the latest.
    Closing(usize, Instant),
    /// All have ended. Until then the lane answers servers that did not hear the last acknowledgement.
    Leaving(Instant),
    /// All is over.
    Done,
}

impl Client {
    /// Go on to the next phase if it is time to, and do what this one asks.
    pub(super) fn advance(&mut self, lane: &mut Lane) {
        while let Some(&(until, index)) = self.resting.front()
            && until <= self.now
        {
            self.resting.pop_front();
            if self.slots[index].state == State::Resting {
                self.slots[index].state = State::Idle;
                self.list(index);
            }
        }
        if self.next_scan <= self.now {
            self.next_scan = self.now.saturating_add(SCAN);
            self.scan(lane);
        }
        if let Phase::Waiting(_) = self.phase
            && self.slots[0].state == State::Idle
        {
            self.connect(lane, 0);
        }
        self.open(lane);
        if self.phase == Phase::Running {
            self.pump(lane);
            let late = self.until.is_some_and(|until| until <= self.now) && self.outbox.is_empty();
            if late || self.budget == Some(0) {
                self.drain();
            }
        } else if let Phase::Draining(until) = self.phase {
            self.pump(lane);
            if until <= self.now {
                self.give_up(lane);
            }
        }
        if let Phase::Draining(_) = self.phase
            && self.under_way == 0
            && self.retries.is_empty()
        {
            self.close_all(lane);
        }
        self.close_some(lane);
        if let Phase::Leaving(until) = self.phase
            && until <= self.now
        {
            self.phase = Phase::Done;
        }
    }

    /// The server can be reached, or nobody asked.
    pub(in crate::loadgen) fn open_or_begin(&mut self) {
        self.phase = Phase::Opening(0);
    }

    /// Open connections, and begin once all of them are open or have failed.
    fn open(&mut self, lane: &mut Lane) {
        let Phase::Opening(mut next) = self.phase else { return };
        if !self.plan.close {
            while next < self.slots.len() && self.connecting < self.plan.connecting && self.outbox.is_empty()
            {
                if self.slots[next].state == State::Idle {
                    self.connect(lane, next);
                }
                next += 1;
            }
            self.phase = Phase::Opening(next);
            let under_way = |slot: &Slot| {
                matches!(slot.state, State::Connecting | State::Shaking) && slot.waiting.is_empty()
            };
            if next < self.slots.len() || self.connecting > 0 || self.slots.iter().any(under_way) {
                return;
            }
            if !self.slots.iter().any(|slot| slot.state == State::Open) {
                // Nobody answers there. Going on would count the same error over and over.
                self.drain();
                return;
            }
        }
        self.begin();
    }

    fn begin(&mut self) {
        self.phase = Phase::Running;
        self.count_from = self.now.saturating_add(self.plan.warmup);
        self.until = self.plan.duration.map(|duration| self.now.saturating_add(duration));
        self.last_answer = self.count_from;
        if let Pace::Open { rate, spread, seed } = self.plan.pace {
            self.schedule = Some(Schedule::new(spread, rate, seed, self.part, self.now));
        }
        for index in 0..self.slots.len() {
            self.list(index);
        }
    }

    /// No further request begins. Those that were due and did not are errors, as far as they would have counted.
    fn drain(&mut self) {
        // The last request may have to wait for a connection first; both have patience.
        self.phase = Phase::Draining(self.now.saturating_add(self.plan.timeout.saturating_mul(2)));
        if let (Some(schedule), Some(until)) = (&mut self.schedule, self.until) {
            let mut count = 0;
            while schedule.peek() < until && self.budget != Some(count) {
                count += u64::from(schedule.peek() >= self.count_from);
                schedule.step();
            }
            self.results.fail(ErrorKind::NotSent, count);
        }
    }

    /// The time for answers is over, though some may still come one by one, each in time: those that are missing are errors.
    fn give_up(&mut self, lane: &mut Lane) {
        self.results.fail(ErrorKind::TimedOut, self.retries.len() as u64);
        self.retries.clear();
        for index in 0..self.slots.len() {
            if !self.slots[index].waiting.is_empty() {
                self.fail(lane, index, ErrorKind::TimedOut);
            }
        }
    }

    /// Told to stop: what is under way is given up, and is no error.
    pub(super) fn interrupt(&mut self, lane: &mut Lane) {
        if matches!(self.phase, Phase::Closing(..) | Phase::Leaving(_) | Phase::Done) {
            return;
        }
        self.results.interrupted = true;
        self.until = Some(self.until.map_or(self.now, |until| until.min(self.now)));
        self.retries.clear();
        self.close_all(lane);
    }

    fn close_all(&mut self, lane: &mut Lane) {
        let end = self.until.filter(|_| self.budget != Some(0)).unwrap_or(self.last_answer);
        self.results.span = end.saturating_since(self.count_from);
        self.phase = Phase::Closing(0, self.now.saturating_add(CLOSE_ALL_WITHIN));
        self.close_some(lane);
    }

    /// End connections, no more at a time than may open, so that the device's queues can hold what that takes.
    fn close_some(&mut self, lane: &mut Lane) {
        let Phase::Closing(mut next, until) = self.phase else { return };
        while next < self.slots.len() && self.closing < self.plan.connecting && self.outbox.is_empty() {
            if self.slots[next].stream.is_some() {
                self.hang_up(lane, next);
            }
            next += 1;
        }
        self.phase = Phase::Closing(next, until);
        let ended = next == self.slots.len() && self.closing == 0 && self.outbox.is_empty();
        if ended || until <= self.now {
            let open = self.slots.iter().filter(|slot| slot.stream.is_some()).count();
            self.results.unclosed = (open + self.closing) as u64;
            self.phase = Phase::Leaving(self.now.saturating_add(LEAVE));
        }
    }

    /// Look for connections whose patience has ended.
    fn scan(&mut self, lane: &mut Lane) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.is_pressed() && slot.deadline <= self.now {
                match slot.state {
                    State::Finishing => self.hang_up(lane, index),
                    _ => self.fail(lane, index, ErrorKind::TimedOut),
                }
            }
        }
    }
}
