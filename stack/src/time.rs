//! The engine's points in time: nanoseconds since the runtime started.
//! Nothing in this crate reads a clock; `run` and `sim` hand `now` in.

use core::time::Duration;

/// A point of the lane's clock.
///
/// Units: nanoseconds since the runtime started. Virtual in simulation.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The moment the runtime started.
    pub const ZERO: Self = Self(0);
    /// Later than any deadline that is armed.
    pub const FOREVER: Self = Self(u64::MAX);

    /// This point and `duration` more; `FOREVER` if that is out of range.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).map_or(u64::MAX, |nanos| self.0.saturating_add(nanos)))
    }

    /// This point and `duration` more, or `None` if that is out of range.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        u64::try_from(duration.as_nanos()).ok().and_then(|nanos| self.0.checked_add(nanos)).map(Self)
    }

    /// How long after `earlier` this is; nothing if it is not after it.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds, wrapping after 71 minutes: for differences alone.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "wraps by design")]
    pub const fn micros(self) -> u32 {
        (self.0 / 1_000) as u32
    }

    /// Milliseconds, wrapping after 49 days: for differences alone.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "wraps by design")]
    pub const fn millis(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }
}

/// A duration in nanoseconds; the most that fits if it is longer than 584 years.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_saturate_or_report() {
        // Shows that no sum of times wraps round.
        let late = Instant(u64::MAX - 5);
        assert_eq!(late.saturating_add(Duration::from_secs(1)), Instant::FOREVER);
        assert_eq!(late.saturating_add(Duration::MAX), Instant::FOREVER);
        assert_eq!(late.checked_add(Duration::from_secs(1)), None);
        assert_eq!(Instant(7).checked_add(Duration::from_nanos(3)), Some(Instant(10)));
        assert_eq!(Instant(3).saturating_since(Instant(7)), Duration::ZERO);
    }
}
