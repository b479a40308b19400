//! Several lanes on one thread, in turn. What a lane is, is `lane`'s.

use core::time::Duration;

use super::Lane;
use crate::mode::Turn;
use crate::socket::QueueId;

/// The lanes of one thread. Stays on its thread.
///
/// Dropping it closes what is open on all of them, as dropping a [`Lane`] does.
#[derive(Debug)]
pub struct LaneSet {
    lanes: Vec<Lane>,
}

impl LaneSet {
    /// These lanes, which the thread has to itself.
    pub fn new(lanes: Vec<Lane>) -> LaneSet {
        LaneSet { lanes }
    }

    /// The lanes.
    pub fn lanes(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// The one lane of a thread that has no more; `Err` with the set if it has.
    pub fn into_only(mut self) -> Result<Lane, LaneSet> {
        match (self.lanes.pop(), self.lanes.is_empty()) {
            (Some(lane), true) => Ok(lane),
            (lane, _) => {
                self.lanes.extend(lane);
                Err(self)
            }
        }
    }

    /// One turn of each lane; never blocks. False once all have stopped.
    pub fn turn(&mut self) -> bool {
        // Every lane takes its turn, whatever the others say.
        self.lanes.iter_mut().filter_map(|lane| lane.turn().then_some(())).count() > 0
    }

    /// Turns of all lanes until the main queue of one has a completion, `timeout` has passed, or the waker of one was
    /// used. False once all have stopped.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        let until = timeout.and_then(|timeout| Some(self.lanes.first()?.now().saturating_add(timeout)));
        loop {
            if !self.turn() {
                return false;
            }
            let ready = self.lanes.iter().any(|lane| lane.queues.has(QueueId::MAIN));
            let late = until.is_some_and(|until| self.lanes.iter().any(|lane| lane.now() >= until));
            let woken = self.lanes.iter_mut().filter_map(|lane| lane.waker.take().then_some(())).count() > 0;
            if ready || late || woken {
                return true;
            }
            self.rest(until);
        }
    }

    /// Once all have stopped: hand over what comes for other lanes, until those have ended too.
    pub fn hand_over(&mut self) {
        while !self.turn() && self.lanes.iter().any(|lane| lane.turn.is(Turn::NEEDED)) {
            self.rest(None);
        }
    }

    /// Sleep once for all lanes, if none of them has anything to do.
    fn rest(&mut self, until: Option<crate::time::Instant>) {
        // What comes for a lane that has ended, nobody takes.
        let is_going = |lane: &Lane| lane.turn.is(Turn::RUNNING | Turn::NEEDED);
        let Some(first) = self.lanes.iter().position(is_going) else { return };
        let Some((first, others)) = self.lanes[first..].split_first_mut() else { return };
        if others.iter().any(Lane::is_busy) {
            // It is by the first that the thread rests.
            first.crossing.stir();
        } else if !first.is_busy() {
            let until = others.iter().filter_map(Lane::next_event).chain(until).min();
            let others = others.iter_mut().filter(|lane| is_going(lane)).map(|lane| lane.crossing.ports());
            first.crossing.idle(until, &mut others.collect::<Vec<_>>());
        }
    }
}

impl Drop for LaneSet {
    fn drop(&mut self) {
        // Together, for each may wait for what another has to hand over.
        self.lanes.iter_mut().for_each(Lane::leave);
        while self.turn() {
            self.lanes.iter_mut().for_each(|lane| lane.queues.clear());
            self.rest(None);
        }
    }
}
