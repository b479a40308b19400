//! What a connection has learnt of its path and keeps while nothing is amiss: the least round trip, whether the network
//! reorders, how often segments went again. What is made of it lives in `rack`, `tlp` and `undo`.

use super::parts::{Cold, Hot};

/// The least round trip: of the present epoch, kept in the hot part, and of the one before, in the cold part. Epochs are the
/// clock's, the same for all connections: a least round trip is believed for one at least and two at most, for routes change,
/// and a path that has become longer must not be judged by the old one. Linux's `tcp_min_rtt_wlen` is five minutes.
//= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
//# The sender SHOULD
//# track a windowed min-filtered estimate of recent RTT measurements
//# that can adapt when migrating to significantly longer paths
#[derive(Clone, Copy, Debug)]
pub struct MinRtt;

/// An epoch: 2^17 ms, or 131 s.
const EPOCH_SHIFT: u32 = 17;

impl MinRtt {
    /// An epoch has ended since the peer was last heard of.
    #[inline]
    pub fn is_over(heard_ms: u32, now_ms: u32) -> bool {
        (heard_ms ^ now_ms) >> EPOCH_SHIFT != 0
    }

    /// Begin another epoch.
    pub fn pass(hot: &mut Hot, cold: &mut Cold, now_ms: u32) {
        let next = hot.heard_ms.wrapping_add(1 << EPOCH_SHIFT);
        let before = core::mem::replace(&mut hot.min_rtt_us, u32::MAX);
        cold.min_before_us = if MinRtt::is_over(next, now_ms) { u32::MAX } else { before };
    }

    /// The least round trip; `None` before the first measurement. Units: microseconds.
    #[inline]
    pub fn us(hot: &Hot, cold: &Cold) -> Option<u32> {
        let least = hot.min_rtt_us.min(cold.min_before_us);
        (least != u32::MAX).then_some(least)
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
    /// RACK.reordering_seen: how often.
    pub reordered: u16,
    /// The peer has sent a D-SACK.
    pub reports_duplicates: bool,
    /// A round trip was measured since the last tail loss probe.
    pub measured: bool,
}

impl History {
    /// Of a connection that begins.
    pub const NEW: History = History {
        retransmits: 0,
        duplicates: 0,
        reordering: REORDERING_MIN,
        reorder_quarters: 1,
        reorder_recoveries: 0,
        reordered: 0,
        reports_duplicates: false,
        measured: true,
    };
}

/// DupThresh, as a degree of reordering.
const REORDERING_MIN: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::ticks::Now;
    use crate::time::Instant;

    /// The parts of a connection, and a segment that comes at a time with a round trip it has measured.
    struct Path(Hot, Cold);

    impl Path {
        fn heard_at(start: u32) -> Path {
            Path(Hot { heard_ms: start, ..Hot::BLANK }, Cold::BLANK)
        }

        fn note(&mut self, us: u32, ms: u64) -> Option<u32> {
            self.0.hear(&mut self.1, &Now::new(Instant(ms * 1_000_000)));
            self.0.min_rtt_us = self.0.min_rtt_us.min(us);
            MinRtt::us(&self.0, &self.1)
        }
    }

    const EPOCH_MS: u64 = 1 << EPOCH_SHIFT;

    #[test]
    fn the_least_round_trip_is_forgotten_in_time() {
        // Shows that the minimum is kept for an epoch at least, and that a longer path replaces it after two, where the
        // clock's milliseconds run over too.
        //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
        //= type=test
        //# The sender SHOULD
        //# track a windowed min-filtered estimate of recent RTT measurements
        //# that can adapt when migrating to significantly longer paths
        for start in [EPOCH_MS / 2, (1 << 32) - EPOCH_MS - 1, (1 << 32) - 1_000] {
            let mut path = Path::heard_at(Now::new(Instant(start * 1_000_000)).millis);
            assert_eq!(MinRtt::us(&path.0, &path.1), None);
            assert_eq!(path.note(500, start), Some(500));
            assert_eq!(path.note(100, start + 10), Some(100));
            for ms in (10..=EPOCH_MS).step_by(1_000) {
                assert_eq!(path.note(900, start + ms), Some(100), "after {ms} ms");
            }
            let after = (EPOCH_MS..=2 * EPOCH_MS + 1_000).step_by(1_000).map(|ms| path.note(900, start + ms));
            assert_eq!(after.last(), Some(Some(900)));
        }
    }

    #[test]
    fn a_pause_longer_than_the_window_forgets_everything() {
        // Shows that nothing measured before a long silence outlives it, and that after a shorter one it does.
        let mut path = Path::heard_at(1_000_000);
        assert_eq!(path.note(100, 1_000_000), Some(100));
        assert_eq!(path.note(900, 1_000_000 + EPOCH_MS), Some(100));
        assert_eq!(path.note(800, 1_000_000 + 4 * EPOCH_MS), Some(800));
    }
}
