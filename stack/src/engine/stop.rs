//! The end of an engine: in order, within the time that it is given, and then all the same.

use core::time::Duration;

use super::Engine;
use super::time_waits::forget_rest;
use crate::time::Instant;
use crate::timer::Wheel;

/// How long the last words of a lane that was told to stop, its resets among them, may wait for a port that takes
/// nothing: one whose link is down or whose peer has gone may never take them.
const LAST_WORDS: Duration = Duration::from_millis(250);

impl Engine {
    /// Stop in order: listeners and UDP sockets close now, streams may finish until `within` has passed.
    pub fn stop(&mut self, within: Duration) {
        if self.stopping.is_none() {
            self.stopping = Some(self.flows.shared.now.instant.saturating_add(within));
            self.close_listeners();
            self.close_udp();
            self.app_timers.clear();
            self.cancel_deferred(None);
        }
    }

    /// The application has gone: stop, and close every stream in order.
    pub fn leave(&mut self, within: Duration) {
        self.stop(within);
        self.close_streams();
    }

    /// Told to stop, and nothing is left: no socket, no frame that waits for the port, unless it waits in vain.
    pub fn is_stopped(&self) -> bool {
        self.stopping.is_some() && self.flows.sockets() == 0 && (self.backlog() == 0 || self.is_overdue())
    }

    /// Told to stop, and the time for it is over: what the port has not taken by now, it need not take.
    pub fn is_overdue(&self) -> bool {
        self.silence().is_some_and(|end| self.flows.shared.now.instant >= end)
    }

    /// When a lane that was told to stop gives up what a port does not take.
    pub(super) fn silence(&self) -> Option<Instant> {
        self.stopping.map(|deadline| deadline.saturating_add(LAST_WORDS))
    }

    /// Told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Forget everything that is no socket: connections in TIME_WAIT, half-open ones, waiting packets.
    pub fn clear(&mut self) {
        self.time_waits.clear(forget_rest(&mut self.table));
        self.fragments.clear(&mut self.fragment_output);
        self.fragment_output.complete.clear();
        self.fragment_output.dropped.clear();
        self.fragment_output.expired.clear();
        for port in self.ports.iter_mut() {
            port.neighbours.clear(&mut self.neighbour_actions);
            self.neighbour_actions.clear();
            port.urgent.clear();
            port.data.clear();
        }
        self.wheel = Wheel::new(self.flows.shared.now.instant);
    }
}
