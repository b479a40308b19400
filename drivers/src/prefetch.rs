//! A safe cache hint. What to prefetch, and how far ahead, is the engine's business.

/// Ask the processor to bring the first cache line of `value` into the first-level cache.
///
/// Cost: one instruction; never faults, changes nothing that a program can see.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_at(core::ptr::from_ref(value).cast());
}

/// The same of an address, whatever is there.
#[inline(always)]
pub(crate) fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: _mm_prefetch reads nothing architecturally and accepts any address; SSE is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// [`prefetch_at`] for a line that is going to be written: it is taken from whichever core has it.
#[inline(always)]
pub(crate) fn prefetch_to_write(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        // The intrinsic becomes a prefetch for reading where the compiler is not told of a processor that has this one.
        // SAFETY: the instruction reads and writes nothing architecturally and accepts any address; a processor without
        // it does nothing.
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
