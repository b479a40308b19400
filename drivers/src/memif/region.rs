//! Memory that two processes share. What lies where in it is `ring.rs`'s.
//!
//! The other process may write to it at any time, whatever was agreed. So what is read here is copied first and believed
//! only there, and what must not change while it is looked at is never looked at twice. That it does not go away under
//! a reader is the kernel's promise: a file that cannot shrink, mapped until the last ring that lies in it is dropped.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, AtomicU64};

use rustix::fs::{
    FsWord, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::channel::Trouble;
use crate::sum::copy_all_at;

/// What regions consist of.
const PAGE: usize = 4096;

/// The largest that a peer may have us map. Offsets in it have 32 bits.
const BYTES_MAX: u64 = 1 << 32;

/// The kernel's file system of huge pages (Linux's magic.h).
const HUGE_PAGES: FsWord = 0x9584_58f6;

/// Shared memory, mapped.
pub(super) struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached through atomics and copies alone.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// New memory of at least `bytes` bytes, all zero, and the file by which another process maps it.
    pub fn create(bytes: usize) -> io::Result<(Region, OwnedFd)> {
        let bytes = bytes.next_multiple_of(PAGE);
        let file = memfd_create("memif", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK)?;
        // Its pages are there before the first frame.
        let region = Region::of(&file, bytes, MapFlags::SHARED | MapFlags::POPULATE)?;
        Ok((region, file))
    }

    /// The first `bytes` bytes of a peer's memory.
    ///
    /// Errors: there are not as many, or the peer could take them away.
    pub fn map(file: &OwnedFd, bytes: u64) -> Result<Region, Trouble> {
        let refused = |error: io::Error| format!("its memory cannot be mapped ({error})");
        let seals = fcntl_get_seals(file).unwrap_or(SealFlags::empty());
        if !seals.contains(SealFlags::SHRINK) {
            return Err("it could take its memory away, which is not sealed against shrinking".to_owned());
        }
        let system = fstatfs(file).map_err(|error| refused(error.into()))?.f_type;
        // Their owner can take such pages away one by one, and parts of one are not unmapped.
        if system == HUGE_PAGES {
            return Err("its memory is of huge pages, which it could take away".to_owned());
        }
        let there = fstat(file).map_err(|error| refused(error.into()))?.st_size;
        if !(1..=BYTES_MAX).contains(&bytes) || u64::try_from(there).unwrap_or(0) < bytes {
            return Err(format!("its memory has not the {bytes} bytes that it says"));
        }
        let bytes = usize::try_from(bytes).map_err(|_| "its memory is too large".to_owned())?;
        Region::of(file, bytes, MapFlags::SHARED).map_err(refused)
    }

    fn of(file: &OwnedFd, bytes: usize, flags: MapFlags) -> io::Result<Region> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel likes, takes nothing away from anybody.
        let start = unsafe { mmap(ptr::null_mut(), bytes, rights, flags, file.as_fd(), 0)? };
        NonNull::new(start.cast())
            .map(|start| Region { start, bytes })
            .ok_or(io::ErrorKind::OutOfMemory.into())
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where these bytes are, if they are all in the region and aligned to `align`.
    fn at(&self, offset: usize, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let fits = offset.checked_add(bytes)? <= self.bytes && offset.is_multiple_of(align);
        // SAFETY: the offset lies inside the mapping.
        fits.then(|| unsafe { self.start.add(offset) })
    }

    /// A number that both ends see.
    pub fn word(&self, offset: usize) -> Option<&AtomicU16> {
        let at = self.at(offset, size_of::<AtomicU16>(), align_of::<AtomicU16>())?;
        // SAFETY: inside the mapping, aligned, and all that ever reads or writes it here is this atomic.
        Some(unsafe { at.cast().as_ref() })
    }

    /// Numbers that both ends see, one behind the other.
    pub fn longs(&self, offset: usize, count: usize) -> Option<&[AtomicU64]> {
        let bytes = count.checked_mul(size_of::<AtomicU64>())?;
        let at = self.at(offset, bytes, align_of::<AtomicU64>())?;
        // SAFETY: inside the mapping, aligned, and all that ever reads or writes them here are these atomics.
        Some(unsafe { std::slice::from_raw_parts(at.cast().as_ptr(), count) })
    }

    /// Some of its bytes.
    #[inline]
    pub fn buffer(&self, offset: u32, length: u32) -> Option<Buffer<'_>> {
        let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        Some(Buffer { start: self.at(offset, length, 1)?, length, region: PhantomData })
    }

    /// The address of a byte, for hints.
    pub fn address(&self, offset: u32) -> *const u8 {
        self.start.as_ptr().wrapping_add(offset as usize)
    }
}

/// Bytes of a region. They are copied, never referred to: the peer may write to them meanwhile. Whoever does breaks its own
/// frame.
#[derive(Clone, Copy)]
pub(super) struct Buffer<'r> {
    start: NonNull<u8>,
    length: usize,
    region: PhantomData<&'r Region>,
}

impl Buffer<'_> {
    pub fn len(&self) -> usize {
        self.length
    }

    /// Copies the bytes from `at` on out.
    ///
    /// Panics: if there are fewer than `to` has room for.
    #[inline]
    pub fn copy_out(&self, at: usize, to: &mut [u8]) {
        let from = self.at(at, to.len());
        // SAFETY: so many bytes are in the region from there on, and none of them in `to`, which is this process's alone.
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    }

    /// The other way round.
    ///
    /// Panics: if there is less room than `from` has bytes.
    #[inline]
    pub fn copy_in(&self, at: usize, from: &[u8]) {
        let to = self.at(at, from.len());
        // SAFETY: there is room for so many bytes in the region from there on, and none of it in `from`.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }

    /// [`copy_out`](Buffer::copy_out), and what [`copy_all_at`] adds.
    #[inline]
    pub fn sum_out(&self, at: usize, to: &mut [u8]) -> u64 {
        let from = self.at(at, to.len());
        // SAFETY: as in `copy_out`.
        unsafe { copy_all_at(to.as_mut_ptr(), from, to.len()) }
    }

    /// [`copy_in`](Buffer::copy_in), and what [`copy_all_at`] adds.
    #[inline]
    pub fn sum_in(&self, at: usize, from: &[u8]) -> u64 {
        let to = self.at(at, from.len());
        // SAFETY: as in `copy_in`.
        unsafe { copy_all_at(to, from.as_ptr(), from.len()) }
    }

    #[inline]
    fn at(&self, at: usize, length: usize) -> *mut u8 {
        assert!(at <= self.length && length <= self.length - at, "a copy stays in its buffer");
        // SAFETY: the offset lies inside the buffer, and that in its region.
        unsafe { self.start.add(at) }.as_ptr()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's, and what borrowed from it has ended.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_that_stays_is_mapped() {
        // Shows both ends of one region, and the refusals: not sealed, shorter than said, nothing, no such memory, huge pages
        // where the kernel has them.
        let (own, file) = Region::create(5000).expect("memory");
        assert_eq!(own.bytes(), 8192);
        let theirs = Region::map(&file, 8192).expect("the same memory");
        own.buffer(100, 3).expect("inside").copy_in(0, b"abc");
        let mut seen = [0; 3];
        theirs.buffer(100, 3).expect("inside").copy_out(0, &mut seen);
        assert_eq!(&seen, b"abc");
        for bytes in [0, 8193, u64::MAX] {
            assert!(Region::map(&file, bytes).err().is_some_and(|why| why.contains("has not the")));
        }
        let bare = memfd_create("bare", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
        ftruncate(&bare, 8192).expect("room");
        assert!(Region::map(&bare, 8192).err().is_some_and(|why| why.contains("take its memory away")));
        if let Ok(huge) = memfd_create("huge", MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB) {
            ftruncate(&huge, 1 << 30).expect("room");
            fcntl_add_seals(&huge, SealFlags::SHRINK).expect("a seal");
            assert!(Region::map(&huge, 4096).err().is_some_and(|why| why.contains("huge pages")));
        }
        let other = OwnedFd::from(std::fs::File::open("/dev/null").expect("a file"));
        assert!(Region::map(&other, 8192).is_err());
    }

    #[test]
    fn nothing_beyond_the_region_is_reached() {
        // Shows the last bytes of a region and those behind them, ends that overflow, and numbers that are not aligned.
        let (region, _file) = Region::create(4096).expect("memory");
        assert!(region.buffer(4095, 1).is_some() && region.buffer(4096, 0).is_some());
        assert!(region.buffer(4095, 2).is_none() && region.buffer(u32::MAX, u32::MAX).is_none());
        assert!(region.word(4094).is_some() && region.word(4095).is_none() && region.word(1).is_none());
        assert!(region.longs(4080, 2).is_some() && region.longs(4080, 3).is_none());
        assert!(region.longs(4, 1).is_none() && region.longs(8, usize::MAX).is_none());
    }
}
