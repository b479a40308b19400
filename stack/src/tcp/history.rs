//! What a connection has learnt of its path and keeps while nothing is amiss: the least round trip, whether the network
//! reorders, how often segments went again. What is made of it lives in `rack`, `tlp` and `undo`.

/// How long a least round trip is believed at most, at least half as long: routes change, and a path that has become
/// longer must not be judged by the old one. Linux's `tcp_min_rtt_wlen` is as long. Units: milliseconds.
const WINDOW_MS: u32 = 300_000;

/// The least round trip of the last minutes: the least of this half of the window and of the half before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinRtt {
    now_us: u32,
    before_us: u32,
    begun_ms: u32,
}

impl MinRtt {
    /// Nothing measured.
    pub const NONE: MinRtt = MinRtt { now_us: u32::MAX, before_us: u32::MAX, begun_ms: 0 };

    /// Take a measurement in.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //# The sender SHOULD
    //# track a windowed min-filtered estimate of recent RTT measurements
    //# that can adapt when migrating to significantly longer paths
    #[inline]
    pub fn note(&mut self, us: u32, now_ms: u32) {
        let age_ms = now_ms.wrapping_sub(self.begun_ms);
        if age_ms >= WINDOW_MS / 2 {
            self.before_us = if age_ms >= WINDOW_MS { u32::MAX } else { self.now_us };
            self.now_us = u32::MAX;
            self.begun_ms = now_ms;
        }
        self.now_us = self.now_us.min(us.max(1));
    }

    /// The least round trip; `None` before the first measurement. Units: microseconds.
    #[inline]
    pub fn us(&self) -> Option<u32> {
        let least = self.now_us.min(self.before_us);
        (least != u32::MAX).then_some(least)
    }

    /// The same on a clock that runs `millis` ahead of this one.
    pub fn moved(mut self, millis: u32) -> MinRtt {
        self.begun_ms = self.begun_ms.wrapping_add(millis);
        self
    }
}

/// What the one retransmission timer is armed for.
//= https://www.rfc-editor.org/rfc/rfc8985#section-8
//# An
//# implementation is expected to have one timer with an additional state
//# variable indicating the type of the timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Timer {
    /// The retransmission timeout, or a window probe.
    #[default]
    Retransmit,
    /// A tail loss probe.
    Probe,
    /// The end of the time that reordering is given.
    Reorder,
}

/// What is remembered of the path between losses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// The least round trip.
    pub min_rtt: MinRtt,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    /// Segments that the peer said came twice.
    pub duplicates: u32,
    /// How far segments were seen to overtake each other. Units: segments; three before any did.
    pub reordering: u16,
    /// RACK.reo_wnd_mult: quarters of the least round trip that reordering is given.
    pub reorder_quarters: u8,
    /// RACK.reo_wnd_persist: recoveries until that is one quarter again.
    pub reorder_recoveries: u8,
    /// RACK.reordering_seen.
    pub reordered: bool,
    /// The peer has sent a D-SACK.
    pub reports_duplicates: bool,
    /// A round trip was measured since the last tail loss probe.
    pub measured: bool,
    /// What the retransmission timer is armed for.
    pub timer: Timer,
}

impl History {
    /// Of a connection that begins.
    pub const NEW: History = History {
        min_rtt: MinRtt::NONE,
        retransmits: 0,
        duplicates: 0,
        reordering: REORDERING_MIN,
        reorder_quarters: 1,
        reorder_recoveries: 0,
        reordered: false,
        reports_duplicates: false,
        measured: true,
        timer: Timer::Retransmit,
    };
}

/// DupThresh, as a degree of reordering.
const REORDERING_MIN: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_round_trip_is_forgotten_in_time() {
        // Shows that the minimum is kept for half the window at least, and that a longer path replaces it after the whole.
        //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
        //= type=test
        //# The sender SHOULD
        //# track a windowed min-filtered estimate of recent RTT measurements
        //# that can adapt when migrating to significantly longer paths
        let (mut least, start) = (MinRtt::NONE, u32::MAX - 1_000);
        assert_eq!(least.us(), None);
        least.note(500, start);
        least.note(100, start.wrapping_add(10));
        for second in 1..=149 {
            least.note(900, start.wrapping_add(second * 1_000));
            assert_eq!(least.us(), Some(100), "after {second} s");
        }
        for second in 150..=300 {
            least.note(900, start.wrapping_add(second * 1_000));
        }
        assert_eq!(least.us(), Some(900));
        least.note(0, start);
        assert_eq!(least.us(), Some(1), "a round trip is never nothing");
    }

    #[test]
    fn a_pause_longer_than_the_window_forgets_everything() {
        // Shows that nothing measured before a long silence outlives it.
        let mut least = MinRtt::NONE;
        least.note(100, 1_000_000);
        least.note(900, 1_000_000 + 2 * WINDOW_MS);
        assert_eq!(least.us(), Some(900));
    }
}
