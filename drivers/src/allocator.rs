//! An allocator that counts: how often memory is asked for, and how much is out. For benches and tests that hold the packet
//! path to asking for none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static TIMES: AtomicU64 = AtomicU64::new(0);
static TAKEN: AtomicU64 = AtomicU64::new(0);
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted. A program has it by making a static of it its `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// How often memory was asked for, by all threads, or a piece of it was to become larger or smaller.
    pub fn times() -> u64 {
        TIMES.load(Ordering::Relaxed)
    }

    /// Bytes that are out.
    pub fn live_bytes() -> u64 {
        TAKEN.load(Ordering::Relaxed).wrapping_sub(GIVEN.load(Ordering::Relaxed))
    }
}

fn note(taken: usize, given: usize) {
    TAKEN.fetch_add(taken as u64, Ordering::Relaxed);
    GIVEN.fetch_add(given as u64, Ordering::Relaxed);
}

// SAFETY: each call is the system allocator's own, given the same arguments; counting touches no memory of theirs.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TIMES.fetch_add(1, Ordering::Relaxed);
        note(layout.size(), 0);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract, and all memory of ours is the system's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        TIMES.fetch_add(1, Ordering::Relaxed);
        note(layout.size(), 0);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TIMES.fetch_add(1, Ordering::Relaxed);
        note(size, layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract, and all memory of ours is the system's.
        unsafe { System.realloc(memory, layout, size) }
    }
}
