//! The lane's clock: monotonic nanoseconds since it was made. Virtual time lives in the stack's simulator.

use std::time::Instant;

/// A monotonic clock with its own epoch.
///
/// Cost: one `clock_gettime` through the vDSO, so read it once a burst and never once a frame.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn new() -> Clock {
        Clock { epoch: Instant::now() }
    }

    /// Nanoseconds since the clock was made. Wraps after 584 years.
    #[inline]
    pub fn nanoseconds(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
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
        use std::sync::OnceLock;
        static EPOCH: OnceLock<Clock> = OnceLock::new();
        EPOCH.get_or_init(Clock::new).nanoseconds()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}
