//! C's side of a call: pointers to slices, failures to `errno`, panics to failures.

use core::ffi::{c_int, c_void};
#[cfg(not(test))]
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use stack::poll::Errno;

use crate::waiting::{Guard, Host};

/// The calling thread's number.
pub fn thread() -> i32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Set `errno`.
pub fn set_errno(errno: Errno) {
    // SAFETY: the pointer is to the calling thread's own, and always valid.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { place.write(errno.number()) };
}

/// Close a number of the kernel's, by the kernel itself: libc's function may be ours.
pub fn close(fd: i32) {
    // SAFETY: the call takes a number and no memory; the number is the caller's to give away.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// The result of a C function: minus one is failure.
pub trait Returns {
    /// What says that the call failed.
    const FAILED: Self;
}

impl Returns for c_int {
    const FAILED: c_int = -1;
}

impl Returns for isize {
    const FAILED: isize = -1;
}

/// Do a call on a host. What fails sets `errno`; what panics fails.
///
/// # Safety
///
/// `userdata` is what `packetdrill_interface_init` put in its table, and the table's `free` was not called before.
pub unsafe fn call<R: Returns>(
    userdata: *mut c_void,
    work: impl FnOnce(Guard<'_>, *const Host) -> Result<R, Errno>,
) -> R {
    let pointer = userdata.cast::<Host>().cast_const();
    // SAFETY: the table holds a counted reference of its own until `free`, by the caller's promise.
    unsafe { Arc::increment_strong_count(pointer) };
    // SAFETY: the count that this reference stands for was taken above.
    let host = unsafe { Arc::from_raw(pointer) };
    finish(|| work(host.enter(thread()), pointer))
}

/// Do something that may fail or panic.
pub fn finish<R: Returns>(work: impl FnOnce() -> Result<R, Errno>) -> R {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Errno::NotRecoverable));
    result.unwrap_or_else(|errno| {
        set_errno(errno);
        R::FAILED
    })
}

/// The host goes.
///
/// # Safety
///
/// As of [`call`]; the host is not used through the table any more.
pub unsafe fn free(userdata: *mut c_void) {
    // SAFETY: the reference is the table's, which is given up here.
    let host = unsafe { Arc::from_raw(userdata.cast::<Host>().cast_const()) };
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let numbers: Vec<i32> = host.enter(thread()).world().files.keys().copied().collect();
        numbers.into_iter().for_each(crate::numbers::release);
        host.end();
        drop(host);
    }));
    if dropped.is_err() {
        eprintln!("corelane: the host did not end in order");
    }
}

/// A host that a number belongs to.
#[cfg(not(test))]
///
/// # Safety
///
/// `host` comes from `numbers::owner`, and the host's `free` is not called meanwhile.
pub unsafe fn of_number(host: *const Host) -> ManuallyDrop<Arc<Host>> {
    // SAFETY: a number has an owner only while the owner's table is in use; its count is not touched.
    ManuallyDrop::new(unsafe { Arc::from_raw(host) })
}

/// Bytes that the caller gives.
///
/// # Safety
///
/// `data` is null or points to `len` bytes that nobody writes during the call.
///
/// Errors: it is null, and bytes were promised.
pub unsafe fn input<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Errno> {
    if data.is_null() {
        return if len == 0 { Ok(&[]) } else { Err(Errno::Fault) };
    }
    // SAFETY: not null, and long enough by the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// Copy bytes to where the caller wants them, at most `room`. Returns how many.
///
/// # Safety
///
/// `data` is null or points to `room` bytes that nobody else uses during the call.
///
/// Errors: it is null, and there are bytes to copy.
pub unsafe fn output(data: *mut c_void, room: usize, bytes: &[u8]) -> Result<usize, Errno> {
    let len = bytes.len().min(room);
    if len == 0 {
        return Ok(0);
    }
    if data.is_null() {
        return Err(Errno::Fault);
    }
    // SAFETY: not null, and long enough by the caller's promise; our own bytes lie elsewhere.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast::<u8>(), len) };
    Ok(len)
}

/// Read one value.
///
/// # Safety
///
/// `place` is null or points to a valid value.
///
/// Errors: it is null.
pub unsafe fn load<T: Copy>(place: *const T) -> Result<T, Errno> {
    if place.is_null() {
        return Err(Errno::Fault);
    }
    // SAFETY: not null, and valid by the caller's promise; alignment is not relied on.
    Ok(unsafe { place.read_unaligned() })
}

/// Write one value.
///
/// # Safety
///
/// `place` is null or points to room for a value.
///
/// Errors: it is null.
pub unsafe fn store<T: Copy>(place: *mut T, value: T) -> Result<(), Errno> {
    if place.is_null() {
        return Err(Errno::Fault);
    }
    // SAFETY: not null, and room by the caller's promise; alignment is not relied on.
    unsafe { place.write_unaligned(value) };
    Ok(())
}
