//! Memory that frames carry by reference: regions of equal blocks, counted ranges of them, foreign bytes.
//! Frames themselves live in `frame.rs`; the copying of what a port cannot reach in `compose.rs`.
//!
//! A block has two counts. `handles` counts what Rust holds ([`Block`] and frozen [`Bytes`] one, an [`Extent`] one or
//! many); all handles together hold one reference of `shared`, of which every attached segment in a transmit ring
//! holds another. So the count that DPDK touches never overflows, whatever the application clones.

use core::cell::RefCell;
use core::ffi::c_void;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;

use crate::mbuf::SharedInfo;

mod block;
mod extent;
mod registry;

pub use block::{Block, Lent};
pub use extent::Extent;

/// What a region's memory is, which decides whether a port can read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Frames of a pool.
    Pool,
    /// Mapped for the devices' DMA.
    Registered,
    /// Ordinary memory of this process.
    Heap,
}

/// Memory for a region, from wherever the devices can read it best.
pub struct Backing {
    /// First byte, aligned to a cache line.
    pub start: NonNull<u8>,
    /// What it is.
    pub class: Class,
    /// The device's address of the byte at an offset.
    pub iova: fn(NonNull<u8>) -> u64,
    /// Gives the memory back.
    pub free: fn(NonNull<u8>, usize),
}

/// Where regions take their memory from once something better than the heap is up.
///
/// It is given a size in bytes and answers `None` if it has none, and the heap serves.
pub static SOURCE: OnceLock<fn(usize) -> Option<Backing>> = OnceLock::new();

#[repr(C)]
struct BlockHeader {
    shared: SharedInfo,
    handles: AtomicU64,
    next: AtomicU32,
    index: u32,
    len: u32,
    data: NonNull<u8>,
    iova: u64,
    class: Class,
    home: Home,
}

enum Home {
    /// The region the block goes back to. While the block is out it owns one count of the `Arc`.
    Region(*const Inner),
    /// Bytes of the application's own that lie in no region; they end with the block.
    Foreign(#[expect(dead_code, reason = "held for its drop")] Bytes),
}

// SAFETY: everything that is written after construction is atomic; the data is written only through a unique `Block`.
unsafe impl Send for BlockHeader {}
// SAFETY: as above.
unsafe impl Sync for BlockHeader {}

struct Inner {
    headers: Box<[BlockHeader]>,
    backing: Backing,
    bytes: usize,
    block_bytes: usize,
    /// Index of the first free block and, above it, a count of pops that keeps a stale head from matching.
    free: AtomicU64,
    available: AtomicU32,
}

// SAFETY: `Backing` is plain memory shared through the blocks' rules.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

const NONE: u32 = u32::MAX;

/// Handles that an extent of a block begins with: as often it can be cut before more are asked for.
const HANDLES: u32 = 64;

/// Memory in equal blocks that ports can read: a lane's transmit pool, or one the application made.
///
/// Clones share the blocks. Any thread may take and give back.
#[derive(Clone)]
pub struct Region(Arc<Inner>);

impl Region {
    /// A region of `blocks` blocks of `block_bytes` bytes each: DMA-able memory if there is any, else the heap.
    ///
    /// Panics: if either is zero, or the sizes do not fit the address space or 32 bits.
    pub fn new(blocks: usize, block_bytes: usize) -> Region {
        assert!(blocks > 0 && block_bytes > 0, "a region has at least one block of one byte");
        let count = u32::try_from(blocks).expect("a region has fewer than 2^32 blocks");
        let len = u32::try_from(block_bytes).expect("a block has fewer than 2^32 bytes");
        let stride = block_bytes.next_multiple_of(64);
        let bytes = stride.checked_mul(blocks).expect("a region fits the address space");
        let backing = SOURCE.get().and_then(|source| source(bytes)).unwrap_or_else(|| heap(bytes));
        let inner = Arc::new_cyclic(|weak: &Weak<Inner>| {
            let home = weak.as_ptr();
            let headers = (0..count).map(|index| {
                let offset = index as usize * stride;
                // SAFETY: `offset` lies inside the `bytes` bytes of the backing.
                let data = unsafe { backing.start.add(offset) };
                BlockHeader {
                    shared: SharedInfo {
                        free_cb: Some(on_last_segment),
                        opaque: AtomicPtr::new(ptr::null_mut()),
                        refcnt: AtomicU16::new(1),
                    },
                    handles: AtomicU64::new(0),
                    next: AtomicU32::new(if index + 1 < count { index + 1 } else { NONE }),
                    index,
                    len,
                    data,
                    iova: (backing.iova)(data),
                    class: backing.class,
                    home: Home::Region(home),
                }
            });
            Inner {
                headers: headers.collect(),
                bytes,
                block_bytes: stride,
                free: AtomicU64::new(0),
                available: AtomicU32::new(count),
                backing,
            }
        });
        registry::add(&inner);
        Region(inner)
    }

    /// An empty block; `None` while all are out.
    pub fn take(&self) -> Option<Block> {
        let header = self.0.pop()?;
        header.handles.store(1, Ordering::Relaxed);
        // The block that is out keeps its region alive.
        let _ = Arc::into_raw(Arc::clone(&self.0));
        Some(Block { header: NonNull::from(header), filled: 0 })
    }

    /// A copy of `bytes` that lives here, shared by counting; `None` if no block is free or they do not fit one.
    pub fn store(&self, bytes: &[u8]) -> Option<Bytes> {
        let mut block = self.take()?;
        block.extend(bytes).then(|| block.freeze())
    }

    /// Blocks that can be taken now.
    pub fn available(&self) -> usize {
        self.0.available.load(Ordering::Relaxed) as usize
    }

    /// Blocks of the region.
    pub fn blocks(&self) -> usize {
        self.0.headers.len()
    }

    /// What the memory is.
    pub fn class(&self) -> Class {
        self.0.backing.class
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("blocks", &self.blocks())
            .field("available", &self.available())
            .finish()
    }
}

impl Inner {
    fn pop(&self) -> Option<&BlockHeader> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            #[expect(clippy::cast_possible_truncation, reason = "the index is the low half")]
            let index = head as u32;
            let header = self.headers.get(index as usize)?;
            let next = header.next.load(Ordering::Relaxed);
            let pops = (head >> 32).wrapping_add(1) << 32;
            let swapped = self.free.compare_exchange_weak(
                head,
                pops | u64::from(next),
                Ordering::Acquire,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => {
                    self.available.fetch_sub(1, Ordering::Relaxed);
                    return Some(header);
                }
                Err(now) => head = now,
            }
        }
    }

    fn push(&self, header: &BlockHeader) {
        self.available.fetch_add(1, Ordering::Relaxed);
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            #[expect(clippy::cast_possible_truncation, reason = "the index is the low half")]
            header.next.store(head as u32, Ordering::Relaxed);
            let fresh = head >> 32 << 32 | u64::from(header.index);
            match self.free.compare_exchange_weak(head, fresh, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// The block that holds `start .. start + len`, if it lies in this region.
    fn find(&self, start: *const u8, len: usize) -> Option<(&BlockHeader, usize)> {
        let offset = start.addr().checked_sub(self.backing.start.as_ptr().addr())?;
        if offset >= self.bytes {
            return None;
        }
        let header = self.headers.get(offset / self.block_bytes)?;
        let within = offset % self.block_bytes;
        (within + len <= header.len as usize).then_some((header, within))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        registry::remove(self);
        (self.backing.free)(self.backing.start, self.bytes);
    }
}

fn heap_layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 64).expect("a region fits the address space")
}

fn heap(bytes: usize) -> Backing {
    let layout = heap_layout(bytes);
    // SAFETY: the size is not zero: regions have at least one block of one byte.
    let start = unsafe { alloc_zeroed(layout) };
    let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
    let free = |start: NonNull<u8>, bytes: usize| {
        // SAFETY: allocated above with the same layout, and freed once, by the region's end.
        unsafe { dealloc(start.as_ptr(), heap_layout(bytes)) }
    };
    Backing { start, class: Class::Heap, iova: |_| 0, free }
}

/// The last segment that carried a block has gone after the last handle had. Runs wherever the segment was freed.
unsafe extern "C" fn on_last_segment(_buffer: *mut c_void, opaque: *mut c_void) {
    // SAFETY: `opaque` is the block's header, set before anything is attached; it lives until it is sent home here.
    unsafe { go_home(opaque.cast()) };
}

/// # Safety
///
/// No handle and no segment refers to the block any more, and this is called once for each time it was taken.
unsafe fn go_home(block: *mut BlockHeader) {
    // SAFETY: the block is alive: its region is kept by the count given up below, a foreign one by being owned here.
    let header = unsafe { &*block };
    match &header.home {
        Home::Region(region) => {
            header.shared.refcnt.store(1, Ordering::Relaxed);
            let region = *region;
            // SAFETY: `take` left one count of the `Arc` with the block; it is taken back here, once.
            let region = unsafe { Arc::from_raw(region) };
            region.push(header);
        }
        Home::Foreign(_) => {
            // SAFETY: this is the last use of the header, which goes here, once, with the bytes that it has kept.
            unsafe { ptr::drop_in_place(block) };
            // SAFETY: foreign headers lie in boxes leaked by `foreign`; what is left of this one is its memory.
            keep_spare(unsafe { Box::from_raw(block.cast::<MaybeUninit<BlockHeader>>()) });
        }
    }
}

/// Memory of headers, kept by each thread for its next ones.
const SPARES_MAX: usize = 4096;

thread_local! {
    #[expect(clippy::vec_box, reason = "each is handed out by itself")]
    static SPARES: RefCell<Vec<Box<MaybeUninit<BlockHeader>>>> = const { RefCell::new(Vec::new()) };
}

fn spare() -> Box<MaybeUninit<BlockHeader>> {
    // A thread that ends has none any more.
    let spare = SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
    spare.unwrap_or_else(Box::new_uninit)
}

fn keep_spare(memory: Box<MaybeUninit<BlockHeader>>) {
    let _ = SPARES.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        if spares.len() < SPARES_MAX {
            spares.push(memory);
        }
    });
}

impl BlockHeader {
    /// A header for bytes that lie in no region, with an extent's handles. Cost: one allocation, unless the thread has let go of
    /// such a header before.
    fn foreign(bytes: &Bytes, len: u32) -> NonNull<BlockHeader> {
        let header = BlockHeader {
            shared: SharedInfo {
                free_cb: Some(on_last_segment),
                opaque: AtomicPtr::new(ptr::null_mut()),
                refcnt: AtomicU16::new(1),
            },
            handles: AtomicU64::new(u64::from(HANDLES)),
            next: AtomicU32::new(NONE),
            index: 0,
            len,
            data: NonNull::from(&**bytes).cast(),
            iova: 0,
            class: Class::Heap,
            home: Home::Foreign(bytes.clone()),
        };
        NonNull::from(Box::leak(Box::write(spare(), header)))
    }

    /// Handles for one more extent.
    fn retain(&self) {
        self.handles.fetch_add(u64::from(HANDLES), Ordering::Relaxed);
    }

    /// # Safety
    ///
    /// So many handles of the block are the caller's to give up.
    unsafe fn release(block: NonNull<BlockHeader>, handles: u64) {
        // SAFETY: the caller's handle keeps the block alive.
        let header = unsafe { block.as_ref() };
        if header.handles.fetch_sub(handles, Ordering::AcqRel) == handles
            && header.shared.refcnt.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // SAFETY: the last handle has gone, and no segment is attached.
            unsafe { go_home(block.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests;
