//! Ends a thread's sleep from another thread. What the thread then finds to do is its own business.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// A bell beside one sleeper. Clones ring the same one.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rung: AtomicBool,
    asleep: AtomicBool,
    mutex: Mutex<()>,
    condition: Condvar,
    /// For a sleeper that waits for files too.
    file: OnceLock<Option<OwnedFd>>,
}

impl Bell {
    /// End the sleep, or the next one. Cost while the sleeper is awake: one store and one load.
    pub fn ring(&self) {
        self.0.rung.store(true, Ordering::SeqCst);
        if self.0.asleep.load(Ordering::SeqCst) {
            // The sleeper holds the lock from looking at `rung` until it sleeps, so this is heard.
            drop(self.0.mutex.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.condition.notify_one();
            if let Some(Some(file)) = self.0.file.get() {
                // It can only fail where it is rung already.
                let _ = rustix::io::write(file, &1_u64.to_ne_bytes());
            }
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

    /// The same, and no longer than until one of `files` can be read: whether one can.
    pub fn sleep_beside(&self, files: &[BorrowedFd<'_>], most: Duration) -> bool {
        let began = Instant::now();
        let file =
            self.0.file.get_or_init(|| eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).ok());
        let readable = match file {
            Some(file) if !files.is_empty() => self.wait(file, files, most),
            _ => None,
        };
        // Files of which the kernel has nothing to tell but that they are over: no sleep would be one.
        if readable.is_none() {
            self.sleep(most.saturating_sub(began.elapsed()));
        }
        readable == Some(true)
    }

    /// Whether one of `files` can be read; `None` if there was nothing to wait for.
    fn wait(&self, bell: &OwnedFd, files: &[BorrowedFd<'_>], most: Duration) -> Option<bool> {
        let mut watched = vec![PollFd::new(bell, PollFlags::IN)];
        watched.extend(files.iter().map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN)));
        self.0.asleep.store(true, Ordering::SeqCst);
        let most = Timespec::try_from(most).ok();
        let polled = match self.0.rung.load(Ordering::SeqCst) {
            true => Ok(0),
            false => poll(&mut watched, most.as_ref()),
        };
        // Whoever was interrupted has been woken.
        let woken = polled.is_ok() || polled == Err(Errno::INTR);
        self.0.asleep.store(false, Ordering::SeqCst);
        self.0.rung.store(false, Ordering::SeqCst);
        // So many rings as there were; there may be none.
        let _ = rustix::io::read(bell.as_fd(), &mut [0_u8; 8]);
        let over = |file: &PollFd<'_>| {
            let told = file.revents();
            !told.is_empty() && !told.contains(PollFlags::IN)
        };
        let readable = watched[1..].iter().any(|file| file.revents().contains(PollFlags::IN));
        (woken && !watched.iter().any(over)).then_some(readable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_never_lost() {
        // Shows that a sleeper who would sleep for an hour each time wakes for every ring, before or after it lay down.
        ring_often(|bell, hour| bell.sleep(hour));
    }

    #[test]
    fn a_ring_is_never_lost_beside_a_file() {
        // Shows the same of one who waits for a file as well, which nobody writes to; and that what is in it ends a sleep.
        let file = eventfd(0, EventfdFlags::CLOEXEC).expect("a file");
        let sleeper = file.try_clone().expect("another handle");
        ring_often(move |bell, hour| assert!(!bell.sleep_beside(&[sleeper.as_fd()], hour)));
        rustix::io::write(&file, &1_u64.to_ne_bytes()).expect("written");
        assert!(Bell::default().sleep_beside(&[file.as_fd()], Duration::from_secs(3600)));
    }

    fn ring_often(sleep: impl Fn(&Bell, Duration) + Send + 'static) {
        let (bell, told) = (Bell::default(), Bell::default());
        let hour = Duration::from_secs(3600);
        let thread = std::thread::spawn({
            let (bell, told) = (bell.clone(), told.clone());
            move || {
                for _ in 0..1_000 {
                    sleep(&bell, hour);
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
