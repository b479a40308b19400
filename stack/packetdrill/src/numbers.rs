//! File descriptors: real ones, so that they never clash with the caller's, and whose they are.

use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicPtr, Ordering};

use stack::poll::Errno;

use crate::waiting::Host;

/// Numbers that are watched; a process has fewer open.
const NUMBERS_MAX: usize = 65_536;

/// Which host a number belongs to, if to one of ours.
static OWNERS: [AtomicPtr<Host>; NUMBERS_MAX] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; NUMBERS_MAX];

fn place(fd: i32) -> Option<&'static AtomicPtr<Host>> {
    OWNERS.get(usize::try_from(fd).ok()?)
}

/// The host that a number belongs to, or null.
#[cfg(not(test))]
pub fn owner(fd: i32) -> *const Host {
    place(fd).map_or(core::ptr::null(), |place| place.load(Ordering::Acquire).cast_const())
}

/// A number of the host's own.
///
/// Errors: the process has as many as it may.
pub fn take(host: *const Host) -> Result<i32, Errno> {
    let file = std::fs::File::open("/dev/null").map_err(|_| Errno::TooManyDescriptors)?;
    let fd = file.into_raw_fd();
    let Some(place) = place(fd) else {
        crate::boundary::close(fd);
        return Err(Errno::TooManyDescriptors);
    };
    place.store(host.cast_mut(), Ordering::Release);
    Ok(fd)
}

/// A number is free again.
pub fn release(fd: i32) {
    if let Some(place) = place(fd) {
        place.store(core::ptr::null_mut(), Ordering::Release);
        crate::boundary::close(fd);
    }
}
