//! DPDK's TAP driver without the signal by which the kernel tells it of frames.
//!
//! The driver has one sent to the process for each frame, counts them in a handler, and reads nothing until the count
//! has changed. A signal costs more than the empty reads that it saves: a lane that has nothing to do sleeps. Two
//! threads that count at once may also leave the count as it was, and a frame then waits for the next one. While none
//! has ever been counted the driver reads whenever it is asked to, so none is let in, and none is sent any more.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::OnceLock;

/// Which signal a descriptor sends (Linux's `fcntl.h`; the libc crate does not name it).
const F_GETSIG: c_int = 11;

/// The signal that the driver takes: the first that nobody has a handler for, as it looks for one itself
/// (`tun_alloc` of its `rte_eth_tap.c`). `None` if all are taken; the driver then opens no device.
static SIGNAL: OnceLock<Option<c_int>> = OnceLock::new();

/// Keeps the signal from this thread, and from those it starts from now on. Call it before DPDK starts: what is sent
/// before `silence_taps` then reaches nobody.
pub fn refuse_tap_signal() {
    let free = || (libc::SIGRTMIN() + 1..libc::SIGRTMAX()).find(|signal| has_no_handler(*signal));
    let Some(signal) = *SIGNAL.get_or_init(free) else { return };
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is written.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set has been made, and the signal is one of the system's.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: the set has been made; what was set before is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
}

/// Has the kernel send no more signals for the TAPs that this process has open through the driver.
///
/// Errors: those of a process that cannot list its own descriptors.
pub(super) fn silence_taps() -> io::Result<()> {
    let Some(signal) = SIGNAL.get().copied().flatten() else { return Ok(()) };
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let is_tap = fs::read_link(entry.path()).is_ok_and(|target| target == Path::new("/dev/net/tun"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(descriptor) = number.filter(|_| is_tap) {
            silence(descriptor, signal);
        }
    }
    Ok(())
}

/// Whether it was loud, by this signal.
fn silence(descriptor: c_int, signal: c_int) -> bool {
    // SAFETY: this asks about a number; of one that is no descriptor it fails.
    let sent = unsafe { libc::fcntl(descriptor, F_GETSIG) };
    // SAFETY: as above.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    let loud = flags != -1 && flags & libc::O_ASYNC != 0 && sent == signal;
    if loud {
        // SAFETY: what is set is what was there, but for the signal.
        unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags & !libc::O_ASYNC) };
    }
    loud
}

fn has_no_handler(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is to be set, and `action` has room for what is.
    let status = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are an action, and the system has written one over them if it could.
    let action = unsafe { action.assume_init() };
    status == 0 && action.sa_sigaction == libc::SIG_DFL
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    const F_SETSIG: c_int = 10;

    #[test]
    fn a_descriptor_that_signals_is_silenced_and_no_other() {
        // Shows that the driver's signal is turned off and nobody else's, and that what else was set stays.
        let (reader, _writer) = io::pipe().expect("a pipe");
        let set = |signal: c_int, flags: c_int| {
            // SAFETY: the descriptor is open.
            unsafe { libc::fcntl(reader.as_raw_fd(), F_SETSIG, signal) };
            // SAFETY: as above.
            unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, flags) };
        };
        let mine = libc::SIGRTMAX() - 1;
        set(mine, libc::O_ASYNC | libc::O_NONBLOCK);
        assert!(!silence(reader.as_raw_fd(), mine - 1));
        assert!(silence(reader.as_raw_fd(), mine));
        assert!(!silence(reader.as_raw_fd(), mine));
        let error = (&reader).read(&mut [0]).expect_err("nothing was written");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_signal_is_refused_by_threads_to_come() {
        // Shows that a thread started after the refusal cannot be interrupted by the signal either.
        refuse_tap_signal();
        let signal = SIGNAL.get().copied().flatten().expect("a signal is free");
        let is_refused = move || {
            let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
            // SAFETY: nothing is to be set, and `set` has room for what is.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr()) };
            // SAFETY: the set has been written.
            unsafe { libc::sigismember(set.as_ptr(), signal) == 1 }
        };
        assert_eq!(std::thread::spawn(is_refused).join().ok(), Some(true));
    }
}
