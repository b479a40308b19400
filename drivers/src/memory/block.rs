//! Blocks: memory of a region that is written as a slice, frozen, or lent out for sending. The region that they come from
//! and go back to lives in `memory.rs`.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::Ordering;
use std::io;

use bytes::Bytes;

use super::{BlockHeader, Extent};

/// One block, owned: written as a slice or through [`io::Write`], sent by value. Dropped, it goes back to its region.
///
/// Shape: derefs to the bytes written so far.
pub struct Block {
    pub(super) header: NonNull<BlockHeader>,
    pub(super) filled: u32,
}

// SAFETY: a `Block` is the only handle of its memory; counts are atomic.
unsafe impl Send for Block {}
// SAFETY: `&Block` only reads.
unsafe impl Sync for Block {}

impl Block {
    fn header(&self) -> &BlockHeader {
        // SAFETY: the handle keeps the block alive.
        unsafe { self.header.as_ref() }
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        (self.header().len - self.filled) as usize
    }

    /// Forget what was written.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Append `bytes`, whole or not at all.
    pub fn extend(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.room();
        if fits {
            self.spare()[..bytes.len()].copy_from_slice(bytes);
            self.grow(bytes.len());
        }
        fits
    }

    /// The bytes behind what was written. [`grow`](Block::grow) makes them part of it.
    pub fn spare(&mut self) -> &mut [u8] {
        let (data, filled, room) = (self.header().data, self.filled as usize, self.room());
        // SAFETY: `filled` is at most the block's length.
        let start = unsafe { data.add(filled) };
        // SAFETY: the rest of the block is initialised (regions are zeroed) and this is its only handle.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), room) }
    }

    /// Count `n` bytes of [`spare`](Block::spare) as written.
    ///
    /// Panics: if there is less room.
    pub fn grow(&mut self, n: usize) {
        assert!(n <= self.room(), "a block grows within its room");
        self.filled += u32::try_from(n).unwrap_or(0);
    }

    /// Make the block immutable and shared. Cost: one small allocation.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(Frozen(self))
    }

    /// Lend the bytes out for sending. The block comes back from [`Lent::reclaim`] once nothing refers to it.
    pub fn lend(self) -> (Lent, Extent) {
        self.header().retain();
        let extent = Extent::of_block(self.header, 0, self.filled);
        (Lent(self), extent)
    }
}

struct Frozen(Block);

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the first `filled` bytes are initialised; only `&mut Block` writes them.
        unsafe { slice::from_raw_parts(self.header().data.as_ptr(), self.filled as usize) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (data, filled) = (self.header().data, self.filled as usize);
        // SAFETY: this is the block's only handle, borrowed mutably.
        unsafe { slice::from_raw_parts_mut(data.as_ptr(), filled) }
    }
}

impl io::Write for Block {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room());
        self.extend(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the handle is this block's own, and it is going.
        unsafe { BlockHeader::release(self.header, 1) };
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.len()).field("room", &self.room()).finish()
    }
}

/// A block that extents or transmit rings may still refer to.
#[derive(Debug)]
pub struct Lent(Block);

impl Lent {
    /// The block, if nothing refers to it any more: no extent, no frame in a transmit ring.
    pub fn reclaim(self) -> Result<Block, Lent> {
        if self.is_idle() { Ok(self.0) } else { Err(self) }
    }

    /// The bytes for reading alone, whoever else refers to them. Cost: one small allocation.
    pub fn freeze(self) -> Bytes {
        self.0.freeze()
    }

    /// No extent and no frame refers to the block.
    pub fn is_idle(&self) -> bool {
        let header = self.0.header();
        header.handles.load(Ordering::Acquire) == 1 && header.shared.refcnt.load(Ordering::Acquire) == 1
    }
}
