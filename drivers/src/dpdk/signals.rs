//! Which thread takes the signal by which the kernel tells DPDK's TAP driver of frames.
//!
//! It goes to the process, once for each frame, and interrupts whichever thread lets it in: the main thread, if that
//! does. The driver's handler counts, and its receive reads nothing until the count has changed. Two threads that count
//! at once may leave the count as it was, and a frame then waits for the next one. So one thread alone lets it in, and
//! a lane's, which is awake when frames come.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// The signal that the driver takes: the first that nobody has a handler for, as it looks for one itself
/// (`tun_alloc` of its `rte_eth_tap.c`). `None` if all are taken; the driver then does without.
static SIGNAL: OnceLock<Option<i32>> = OnceLock::new();

/// Keeps the signal from this thread, and from those it starts from now on. Call it before DPDK starts, and have
/// [`take_tap_signal`] called in one thread that polls: until then, a TAP receives little.
pub fn refuse_tap_signal() {
    let signal = *SIGNAL.get_or_init(|| {
        let free = (libc::SIGRTMIN() + 1..libc::SIGRTMAX()).find(|signal| has_no_handler(*signal));
        // Sent once more signals wait than the system keeps; by default it ends the process.
        if free.is_some() && has_no_handler(libc::SIGIO) {
            // SAFETY: to ignore a signal runs no code of this process.
            unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        }
        free
    });
    mask(libc::SIG_BLOCK, signal);
}

/// Lets the signal interrupt this thread: the one that polls TAP's queues, or the first of those that do.
pub fn take_tap_signal() {
    mask(libc::SIG_UNBLOCK, SIGNAL.get().copied().flatten());
}

fn has_no_handler(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is to be set, and `action` has room for what is.
    let status = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are an action, and the system has written one over them if it could.
    let action = unsafe { action.assume_init() };
    status == 0 && action.sa_sigaction == libc::SIG_DFL
}

fn mask(how: i32, signal: Option<i32>) {
    let Some(signal) = signal else { return };
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is written.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set has been made, and the signal is one of the system's.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: the set has been made; what was set before is not asked for.
    unsafe { libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused() -> bool {
        let signal = SIGNAL.get().copied().flatten().expect("a signal is free");
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: nothing is to be set, and `set` has room for what is.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr()) };
        // SAFETY: the set has been written.
        unsafe { libc::sigismember(set.as_ptr(), signal) == 1 }
    }

    #[test]
    fn one_thread_alone_takes_the_signal() {
        // Shows that threads inherit the refusal, that one can end it for itself alone, and that SIGIO ends nothing.
        refuse_tap_signal();
        let taken = || {
            let inherited = is_refused();
            take_tap_signal();
            (inherited, is_refused())
        };
        assert_eq!(std::thread::spawn(taken).join().ok(), Some((true, false)));
        assert!(is_refused());
        assert!(!has_no_handler(libc::SIGIO));
    }
}
