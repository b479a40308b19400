//! Deadlines as the timer wheel counts them: ticks of 65,536 ns, in 32 bits.

use crate::time::Instant;

/// Nanoseconds of a tick as a power of two: 65.5 µs, below the 100 µs that loss timers may be late.
pub const TICK_SHIFT: u32 = 16;

/// A deadline, or none. Wraps after 78 hours, so deadlines lie less than 39 hours ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ticks(u32);

impl Ticks {
    /// No deadline.
    pub const OFF: Ticks = Ticks(0);

    /// The tick that `now` lies in.
    #[inline]
    pub const fn at(now: Instant) -> Ticks {
        #[expect(clippy::cast_possible_truncation, reason = "wraps by design")]
        let ticks = (now.0 >> TICK_SHIFT) as u32;
        Ticks(if ticks == 0 { 1 } else { ticks })
    }

    /// The first tick that begins at or after `now + us`.
    #[inline]
    pub const fn after(now: Instant, us: u64) -> Ticks {
        let at = now.0.saturating_add(us.saturating_mul(1_000)).saturating_add((1 << TICK_SHIFT) - 1);
        Ticks::at(Instant(at))
    }

    /// There is a deadline.
    #[inline]
    pub const fn is_on(self) -> bool {
        self.0 != 0
    }

    /// There is a deadline, and at tick `now` it has come.
    #[inline]
    pub const fn is_due(self, now: Ticks) -> bool {
        self.is_on() && self.until(now) <= 0
    }

    /// Ticks from `now` to this deadline; negative if it has passed.
    #[inline]
    pub const fn until(self, now: Ticks) -> i32 {
        self.0.wrapping_sub(now.0).cast_signed()
    }

    /// The earlier of two deadlines, seen from `now`; a deadline is earlier than none.
    #[inline]
    pub const fn earlier(self, other: Ticks, now: Ticks) -> Ticks {
        if !self.is_on() || other.is_on() && other.until(now) < self.until(now) { other } else { self }
    }

    /// The count itself.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// A deadline of a count; zero, which means none, becomes one.
    pub const fn from_raw(raw: u32) -> Ticks {
        Ticks(if raw == 0 { 1 } else { raw })
    }

    /// The first nanosecond of the tick, given a `now` within 39 hours of it.
    pub const fn instant(self, now: Instant) -> Instant {
        let ahead = self.until(Ticks::at(now)) as i64;
        let tick = (now.0 >> TICK_SHIFT).saturating_add_signed(ahead);
        Instant(tick << TICK_SHIFT)
    }
}

/// When the next tick begins.
#[inline]
pub const fn next_tick(now: Instant) -> Instant {
    Instant(((now.0 >> TICK_SHIFT) + 1) << TICK_SHIFT)
}

/// The time of a turn, in every unit the engine needs: converted once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Nanoseconds.
    pub instant: Instant,
    /// Microseconds.
    us: u64,
    /// Microseconds, wrapping.
    pub micros: u32,
    /// Milliseconds, wrapping: the unit of timestamps.
    pub millis: u32,
    /// The wheel's unit.
    pub ticks: Ticks,
}

impl Now {
    /// `instant` in every unit.
    #[inline]
    pub const fn new(instant: Instant) -> Now {
        let (micros, millis, ticks) = (instant.micros(), instant.millis(), Ticks::at(instant));
        Now { instant, us: instant.0 / 1_000, micros, millis, ticks }
    }

    /// A deadline `us` microseconds from now.
    #[inline]
    pub const fn after(&self, us: u64) -> Ticks {
        self.after_then(0, us)
    }

    /// What [`after`](Now::after) was `ago_us` microseconds ago. Of those times the microsecond is known, not the part of it.
    #[inline]
    pub const fn after_then(&self, ago_us: u32, us: u64) -> Ticks {
        let then = self.us.saturating_sub(ago_us as u64);
        Ticks::after(Instant(then.saturating_mul(1_000)), us.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        // Shows that a deadline is due at its time rounded up to a tick and not two ticks before, across the wrap too.
        for start in [0u64, 1, 65_535, 65_536, u64::from(u32::MAX) << TICK_SHIFT] {
            for us in [1, 40_000, 200_000, 7_200_000_000] {
                let deadline = Ticks::after(Instant(start), us);
                let end = start + us * 1_000;
                // Tick zero means none, so at the wrap one tick passes for another.
                let early = end.saturating_sub(2 << TICK_SHIFT).max(start);
                assert!(end - early < 2 << TICK_SHIFT || !deadline.is_due(Ticks::at(Instant(early))));
                assert!(deadline.is_due(Ticks::at(Instant(end + (1 << TICK_SHIFT)))));
                assert!(deadline.instant(Instant(start)).0.abs_diff(end) <= 2 << TICK_SHIFT);
            }
        }
    }

    #[test]
    fn a_deadline_is_due_with_its_tick() {
        // Shows that a deadline's first nanosecond is not too early, and that the one before is.
        for start in [1u64 << 40, 12_345_678_901, u64::from(u32::MAX) << TICK_SHIFT] {
            for us in [1, 66, 40_000, 7_200_000_000] {
                let deadline = Ticks::after(Instant(start), us);
                let begins = deadline.instant(Instant(start)).0;
                assert!(deadline.is_due(Ticks::at(Instant(begins))));
                // At the wrap one tick passes for another.
                let before = Ticks::at(Instant(begins - 1));
                assert!(before == deadline || !deadline.is_due(before), "{us} us from {start} ns");
            }
        }
    }

    #[test]
    fn a_deadline_is_earlier_than_none() {
        // Shows the order of deadlines and of their absence.
        let now = Ticks::at(Instant(1 << 40));
        let (soon, late) = (Ticks::after(Instant(1 << 40), 100_000), Ticks::after(Instant(1 << 40), 900_000));
        assert_eq!(soon.earlier(late, now), soon);
        assert_eq!(late.earlier(soon, now), soon);
        assert_eq!(Ticks::OFF.earlier(late, now), late);
        assert_eq!(soon.earlier(Ticks::OFF, now), soon);
        assert!(!Ticks::OFF.is_due(now));
    }
}
