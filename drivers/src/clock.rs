//! The lane's clock: monotonic nanoseconds since it was made. Virtual time lives in the stack's simulator.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A monotonic clock with its own epoch.
///
/// Where the kernel keeps its own time by the processor's cycle counter, so does this clock, at the rate that was measured
/// once for the process: whatever slews the machine's clock does not slew it. Elsewhere it is the machine's clock.
///
/// Cost: 8 ns in a row, or 20 by `clock_gettime` through the vDSO, so read it once a burst and never once a frame.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
    /// The counter at the epoch, and its rate.
    counter: Option<(u64, Rate)>,
}

/// Nanoseconds a cycle, times 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rate(u64);

/// Over what time the rate is measured: to a few parts in a million.
const MEASURED: Duration = Duration::from_millis(10);

impl Clock {
    /// A clock that reads zero now. The first of a process takes ten milliseconds to make.
    pub fn new() -> Clock {
        static RATE: OnceLock<Option<Rate>> = OnceLock::new();
        let rate = *RATE.get_or_init(|| if is_trusted() { Rate::measure() } else { None });
        let (cycles, epoch) = moment();
        Clock { epoch, counter: rate.map(|rate| (cycles, rate)) }
    }

    /// Nanoseconds since the clock was made. Wraps after 584 years.
    #[inline]
    pub fn nanoseconds(&self) -> u64 {
        match self.counter {
            // Another core's counter may be a few cycles behind.
            Some((epoch, rate)) => rate.nanoseconds(cycles().saturating_sub(epoch)),
            None => u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl Rate {
    fn measure() -> Option<Rate> {
        let (first, began) = moment();
        while began.elapsed() < MEASURED {
            core::hint::spin_loop();
        }
        let (last, ended) = moment();
        let nanoseconds = ended.duration_since(began).as_nanos();
        let cycles = u128::from(last.checked_sub(first)?);
        u64::try_from((nanoseconds << 32).checked_div(cycles)?).ok().filter(|rate| *rate > 0).map(Rate)
    }

    #[inline]
    fn nanoseconds(self, cycles: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "wraps after 584 years")]
        let nanoseconds = ((u128::from(cycles) * u128::from(self.0)) >> 32) as u64;
        nanoseconds
    }
}

/// The kernel has found that all cores' counters go together, at one rate whatever the cores do.
fn is_trusted() -> bool {
    let name = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    cfg!(target_arch = "x86_64") && name.is_ok_and(|name| name.trim() == "tsc")
}

/// The counter and the machine's clock at one moment: of a few tries the one that took least.
fn moment() -> (u64, Instant) {
    let take = || {
        let before = cycles();
        let now = Instant::now();
        let between = cycles().saturating_sub(before);
        (between, before + between / 2, now)
    };
    let (_, cycles, now) =
        (1..8).map(|_| take()).fold(take(), |best, next| if next.0 < best.0 { next } else { best });
    (cycles, now)
}

/// The processor's cycle counter, for measurements: it counts at a constant rate, whatever the processor does.
///
/// Where there is none that is known here, nanoseconds of the machine's clock.
#[inline]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: rdtsc is part of every x86_64 processor, and reads nothing but its counter.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        u64::try_from(EPOCH.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_the_machines_clock() {
        // Shows that what passes on this clock lies, within one part in a thousand, between what passes on the machine's inside
        // it and around it: whatever takes the core away meanwhile is in both.
        let clock = Clock::new();
        let (outer, first, inner) = (Instant::now(), clock.nanoseconds(), Instant::now());
        while inner.elapsed() < Duration::from_millis(20) {
            core::hint::spin_loop();
        }
        let (inner, last, outer) = (inner.elapsed(), clock.nanoseconds(), outer.elapsed());
        let passed = u128::from(last - first);
        assert!(passed + passed / 1_000 >= inner.as_nanos(), "{passed} of {inner:?} at least");
        assert!(passed <= outer.as_nanos() + outer.as_nanos() / 1_000, "{passed} of {outer:?} at most");
    }

    #[test]
    fn cycles_become_nanoseconds() {
        // Shows the arithmetic over a long time: 2.5 cycles a nanosecond for ten years.
        let rate = Rate((2 << 32) / 5);
        let ten_years = 315_360_000_000_000_000;
        assert!(rate.nanoseconds(ten_years / 2 * 5).abs_diff(ten_years) < ten_years / 1_000_000_000);
        assert_eq!(rate.nanoseconds(0), 0);
    }
}
