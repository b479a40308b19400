//! An allocator that lays what is large in huge pages: the tables of a million flows would else cost a walk through page
//! tables at each look.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// Bytes of a huge page.
const PAGE: usize = 2 << 20;

/// The system's allocator for what is small; what takes a huge page or more is mapped by itself, aligned to huge pages, and
/// the kernel is asked for such. A program has it by making a static of it its `#[global_allocator]`.
///
/// Cost: up to one huge page more for each piece of two megabytes or more. Without transparent huge pages in the kernel it
/// takes ordinary ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePageAllocator;

/// What is mapped by itself, and how many bytes of it there are.
fn mapped(layout: Layout) -> Option<usize> {
    let size = layout.size().checked_next_multiple_of(PAGE)?;
    (layout.size() >= PAGE && layout.align() <= PAGE).then_some(size)
}

/// Fresh zeroed memory of `size` bytes, a multiple of a huge page, at a multiple of one; null if there is none.
fn map(size: usize) -> *mut u8 {
    let Some(room) = size.checked_add(PAGE) else { return ptr::null_mut() };
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice touches nobody's memory.
    let start = unsafe { libc::mmap(ptr::null_mut(), room, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    let start: *mut u8 = start.cast();
    let front = start.align_offset(PAGE);
    let memory = start.wrapping_add(front);
    unmap(start, front);
    unmap(memory.wrapping_add(size), PAGE - front);
    // SAFETY: advice on memory that was mapped above changes none of it; what comes of it is no matter.
    let _ = unsafe { libc::madvise(memory.cast(), size, libc::MADV_HUGEPAGE) };
    memory
}

/// Give mapped memory back.
fn unmap(start: *mut u8, size: usize) {
    if size > 0 {
        // SAFETY: callers name whole pages of a mapping of `map`'s that nobody uses any more.
        let _ = unsafe { libc::munmap(start.cast(), size) };
    }
}

// SAFETY: what `mapped` names is a mapping of its own, of at least as many bytes and as well aligned as was asked for, given
// back whole; all else is the system allocator's, given the same arguments. `mapped` depends on the layout alone, which is
// the same when memory is given back.
unsafe impl GlobalAlloc for HugePageAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match mapped(layout) {
            Some(size) => map(size),
            // SAFETY: the caller keeps GlobalAlloc's contract.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match mapped(layout) {
            Some(size) => map(size),
            // SAFETY: the caller keeps GlobalAlloc's contract.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match mapped(layout) {
            Some(size) => unmap(memory, size),
            // SAFETY: the caller keeps GlobalAlloc's contract, and what is not mapped is the system's.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract, so that the size is one that a layout can have.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (mapped(layout), mapped(wanted)) {
            // SAFETY: the caller keeps GlobalAlloc's contract, and what is not mapped is the system's.
            (None, None) => unsafe { System.realloc(memory, layout, size) },
            (before, after) if before == after => memory,
            _ => {
                // SAFETY: the caller keeps GlobalAlloc's contract.
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: both pieces have at least so many bytes, and the new one overlaps nothing.
                    unsafe { ptr::copy_nonoverlapping(memory, moved, layout.size().min(size)) };
                    // SAFETY: the caller gives the old piece up, of this layout.
                    unsafe { self.dealloc(memory, layout) };
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of the allocator's.
    struct Piece(*mut u8, Layout);

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 64).unwrap()
    }

    impl Piece {
        fn zeroed(size: usize) -> Piece {
            // SAFETY: the size is not zero.
            Piece(unsafe { HugePageAllocator.alloc_zeroed(layout(size)) }, layout(size))
        }

        fn resize(&mut self, size: usize) {
            // SAFETY: the piece is the allocator's, of this layout, and the size is not zero.
            self.0 = unsafe { HugePageAllocator.realloc(self.0, self.1, size) };
            self.1 = layout(size);
        }

        fn clear(&mut self) {
            // SAFETY: the piece has as many bytes.
            unsafe { self.0.write_bytes(0, self.1.size()) };
        }

        /// The first bytes, as many as were written.
        fn bytes(&mut self, count: usize) -> &mut [u8] {
            assert!(count <= self.1.size());
            // SAFETY: the piece has as many bytes, and they were written.
            unsafe { core::slice::from_raw_parts_mut(self.0, count) }
        }
    }

    impl Drop for Piece {
        fn drop(&mut self) {
            // SAFETY: the piece is the allocator's, of this layout, and is given back once.
            unsafe { HugePageAllocator.dealloc(self.0, self.1) };
        }
    }

    #[test]
    fn pieces_of_any_size_keep_their_bytes() {
        // Shows pieces below and above a huge page, grown and shrunk across it and given back: aligned, zeroed where that was
        // asked for, and their bytes kept.
        let sizes = [100, PAGE - 64, PAGE, PAGE + 1, 3 * PAGE, 3 * PAGE - 5, PAGE / 2, 64];
        let mut piece = Piece::zeroed(sizes[0]);
        for pair in sizes.windows(2) {
            piece.clear();
            let kept = pair[0].min(pair[1]);
            let bytes = piece.bytes(kept);
            (bytes[0], bytes[kept - 1]) = (7, 9);
            piece.resize(pair[1]);
            assert_eq!(piece.0.align_offset(64), 0);
            let bytes = piece.bytes(kept);
            assert_eq!((bytes[0], bytes[kept - 1]), (7, 9));
        }
        let mut large = Piece::zeroed(2 * PAGE);
        assert_eq!(large.0.align_offset(PAGE), 0);
        assert!(large.bytes(2 * PAGE).iter().all(|byte| *byte == 0));
    }
}
