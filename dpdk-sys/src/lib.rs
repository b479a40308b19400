//! Raw bindings to DPDK: what bindgen makes of an allow-list, and one C shim for each `static inline`.
//!
//! Safe types over these live in `drivers` and `rte-ring`; nothing else may depend on this crate.
//! `build.rs` lists what is bound and checks DPDK's version, `c/shim.h` lists the shims, and
//! `bindings_22_11.rs` serves machines without DPDK. Each mbuf field is read in Rust by its offset
//! (`MBUF_OFFSET_*`, computed by the C compiler), so `rte_mbuf` itself is opaque here.
//!
//! The feature `shared` links to shared libraries, of which the EAL loads drivers as plug-ins as it starts; `static` puts the
//! archives that are needed into the program. One excludes the other.

use core::ffi::{c_char, c_int};
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(all(feature = "shared", feature = "static"))]
compile_error!(
    "DPDK is linked either shared or static: for static, build with --no-default-features --features dpdk,static"
);

#[allow(
    non_camel_case_types,
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc,
    clippy::multiple_unsafe_ops_per_block,
    reason = "generated: C's names are kept, so that DPDK's documentation applies"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

/// The DPDK version this crate was built against, such as `22.11.11`, or `None` without DPDK.
pub const VERSION: Option<&str> = option_env!("DPDK_VERSION");

/// Set once `rte_eal_init` has succeeded: DPDK has no call that tells.
static EAL_IS_UP: AtomicBool = AtomicBool::new(false);

/// Calls `rte_eal_init` and remembers its success.
///
/// Errors: what `rte_eal_init` returns, negative on failure.
///
/// # Safety
///
/// `argv` points to `argc` C strings and a null pointer, all of which stay valid and unmoved for the
/// rest of the process, and no other thread is in this function.
pub unsafe fn eal_init(argc: c_int, argv: *mut *mut c_char) -> c_int {
    // SAFETY: the caller's promise is that of rte_eal_init.
    let parsed = unsafe { rte_eal_init(argc, argv) };
    if parsed >= 0 {
        EAL_IS_UP.store(true, Ordering::Release);
    }
    parsed
}

/// Whether [`eal_init`] has succeeded in this process. Memory of DPDK can be asked for from then on.
pub fn eal_is_up() -> bool {
    EAL_IS_UP.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    #[test]
    fn the_checked_in_bindings_are_those_of_this_machine() {
        // Shows that machines without DPDK see what this one generates, where the releases agree.
        if !VERSION.is_some_and(|version| version.starts_with("22.11.")) {
            eprintln!("left out: this machine has no DPDK 22.11 to compare with");
            return;
        }
        let generated = include_str!(concat!(env!("OUT_DIR"), "/bindings.rs"));
        let checked_in = include_str!("bindings_22_11.rs");
        assert!(generated == checked_in, "renew the copy: CORELANE_BLESS_BINDINGS=1 cargo build -p dpdk-sys");
    }

    #[test]
    fn the_library_that_is_loaded_is_the_one_compiled_for() {
        // Shows that linking works, and that headers and library agree in year and month.
        // SAFETY: the function returns a constant string.
        let compiled = unsafe { corelane_compiled_version() };
        // SAFETY: it is a C string that lives for ever.
        let compiled = unsafe { CStr::from_ptr(compiled) }.to_str().expect("ASCII");
        // SAFETY: the function returns a static string.
        let loaded = unsafe { rte_version() };
        // SAFETY: it is a C string that lives for ever.
        let loaded = unsafe { CStr::from_ptr(loaded) }.to_str().expect("ASCII");
        let month = |version: &str| version.rsplit_once('.').map(|(month, _)| month.to_owned());
        assert_eq!(month(loaded), month(compiled), "{loaded} {compiled}");
        assert!(!eal_is_up());
    }
}
