//! Ends a thread's sleep from another thread. What the thread then finds to do is its own business.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A bell beside one sleeper. Clones ring the same one.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rung: AtomicBool,
    asleep: AtomicBool,
    mutex: Mutex<()>,
    condition: Condvar,
}

impl Bell {
    /// End the sleep, or the next one. Cost while the sleeper is awake: one store and one load.
    pub fn ring(&self) {
        self.0.rung.store(true, Ordering::SeqCst);
        if self.0.asleep.load(Ordering::SeqCst) {
            // The sleeper holds the lock from looking at `rung` until it sleeps, so this is heard.
            drop(self.0.mutex.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.condition.notify_one();
        }
    }

    /// Sleep until somebody rings, at most this long. For one thread.
    pub fn sleep(&self, most: Duration) {
        let guard = self.0.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.asleep.store(true, Ordering::SeqCst);
        if !self.0.rung.load(Ordering::SeqCst) {
            // Waking for no reason is harmless: the sleeper looks for work and comes back.
            drop(self.0.condition.wait_timeout(guard, most).unwrap_or_else(PoisonError::into_inner));
        }
        self.0.asleep.store(false, Ordering::SeqCst);
        self.0.rung.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_never_lost() {
        // Shows that a sleeper who would sleep for an hour each time wakes for every ring, before or after it lay down.
        let (bell, told) = (Bell::default(), Bell::default());
        let hour = Duration::from_secs(3600);
        let thread = std::thread::spawn({
            let (bell, told) = (bell.clone(), told.clone());
            move || {
                for _ in 0..1_000 {
                    bell.sleep(hour);
                    told.ring();
                }
            }
        });
        for _ in 0..1_000 {
            bell.ring();
            told.sleep(hour);
        }
        assert!(thread.join().is_ok());
    }

    #[test]
    fn a_bell_that_is_not_rung_lets_sleep() {
        // Shows that the bound ends a sleep.
        Bell::default().sleep(Duration::from_micros(10));
    }
}
