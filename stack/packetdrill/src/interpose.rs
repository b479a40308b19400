//! libc's `close` and `getsockopt`, for callers that use them on numbers of ours: in effect where this object was loaded
//! before libc (LD_PRELOAD). Numbers of others go to the kernel.

use core::ffi::{c_int, c_void};

use libc::socklen_t;

use crate::boundary::{finish, of_number, thread};
use crate::calls::{close_number, option};
use crate::numbers;

/// libc's `close`.
///
/// # Safety
///
/// As of libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let host = numbers::owner(fd);
    if host.is_null() {
        // SAFETY: the kernel's own call takes a number and no memory.
        let result = unsafe { libc::syscall(libc::SYS_close, fd) };
        return c_int::try_from(result).unwrap_or(-1);
    }
    // SAFETY: the number is a living host's.
    let host = unsafe { of_number(host) };
    finish(|| close_number(host.enter(thread()), fd))
}

/// libc's `getsockopt`.
///
/// # Safety
///
/// As of libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let host = numbers::owner(fd);
    if host.is_null() {
        // SAFETY: the kernel's own call, with the caller's arguments.
        let result = unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) };
        return c_int::try_from(result).unwrap_or(-1);
    }
    // SAFETY: the number is a living host's.
    let host = unsafe { of_number(host) };
    finish(|| {
        let guard = host.enter(thread());
        // SAFETY: room of the length that is beside it, as getsockopt() takes them.
        unsafe { option(guard, fd, level, name, value, len) }
    })
}
