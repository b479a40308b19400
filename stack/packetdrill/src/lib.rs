//! The engine in virtual time, as a shared object that packetdrill loads: `--so_filename=` names it, `--so_flags=` says
//! which addresses it has. For tests alone; without DPDK, without a thread of its own, without a clock.
//!
//! | file | duty |
//! | --- | --- |
//! | `interface` | the table of functions that the caller is given |
//! | `calls` | those functions: C's arguments to calls of `stack::poll`, answers back |
//! | `interpose` | libc's `close` and `getsockopt`, for a caller that uses them on our numbers |
//! | `boundary` | C's pointers, `errno`, panics |
//! | `numbers` | file descriptors: real ones, open on /dev/null, and whose they are |
//! | `waiting` | calls that wait, and who moves the clock meanwhile |
//! | `host` | the engine, its sockets, its clock |
//! | `wire` | the device: raw IP to and from the caller |
//! | `settings` | flags, and settings from the file that `PD_SYSCTL_FILE` names |
//! | `info`, `address`, `pipe` | `struct tcp_info`; `struct sockaddr`; pipes |

mod address;
mod boundary;
mod calls;
mod host;
mod info;
mod interface;
#[cfg(not(test))]
mod interpose;
mod numbers;
mod pipe;
mod settings;
mod waiting;
mod wire;

use core::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use crate::interface::Interface;

use crate::host::World;
use crate::settings::Flags;
use crate::waiting::Host;

/// Make a host, and tell the caller how to reach it.
///
/// # Safety
///
/// `flags` is null or a C string; `interface` points to a place for the table. The host lives until the table's `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, interface: *mut Interface) {
    let text = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: it is a C string, as the caller promises.
        unsafe { CStr::from_ptr(flags) }.to_string_lossy().into_owned()
    };
    let made = catch_unwind(AssertUnwindSafe(|| World::new(Flags::parse(&text))));
    let world = match made {
        Ok(Ok(world)) => world,
        Ok(Err(error)) => return refuse(&format!("the flags «{text}» make no host: {error}")),
        Err(_) => return refuse(&format!("the flags «{text}» make no host")),
    };
    let host = Arc::new(Host::new(world, boundary::thread()));
    let table = Interface::new(Arc::into_raw(host).cast_mut().cast::<c_void>());
    // SAFETY: the place is the caller's to give, as it promises.
    unsafe { interface.write(table) };
}

/// Without a host there is nothing to call, and no way to say so but this.
fn refuse(why: &str) {
    eprintln!("corelane: {why}");
    std::process::abort();
}
