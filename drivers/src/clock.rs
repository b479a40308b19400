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

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}
