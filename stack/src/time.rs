//! Points of a lane's clock. The clock itself is `drivers`'; in simulation it is virtual.

use core::time::Duration;

/// A point of the lane's clock. Units: nanoseconds since the runtime started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Later by `duration`; the end of time if that is beyond it.
    #[must_use]
    pub fn after(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanoseconds(duration)))
    }

    /// Since `earlier`; zero if that is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds, wrapping after 71 minutes: for differences.
    #[inline]
    pub fn micros(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "wraps by design")]
        let micros = (self.0 / 1_000) as u32;
        micros
    }

    /// Milliseconds, wrapping after 49 days: for differences.
    #[inline]
    pub fn millis(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "wraps by design")]
        let millis = (self.0 / 1_000_000) as u32;
        millis
    }
}

/// A duration in nanoseconds; the most that fits if it is longer than 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
