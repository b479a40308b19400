//! Pools of frames on the heap. The handle that frames are reached by lives in `frame.rs`.
//!
//! One owner takes; any thread gives back. Returned frames go onto a stack that only the owner ever pops, and it
//! pops all of it at once, so there is no ABA.

use core::cell::Cell;
use core::mem::size_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicUsize, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use crate::mbuf::{HEAP_TAG, Header};

/// Bytes in front of the data of a fresh frame: DPDK's `RTE_PKTMBUF_HEADROOM`.
pub(crate) const HEADROOM: u16 = 128;

const LINE: usize = 64;

/// Frames that are taken between looks at those that came back: about a burst.
const LOOK: u8 = 32;

/// Shared by the pool's handle and its frames; freed by whichever goes last.
struct Inner {
    returned: AtomicPtr<Header>,
    /// Frames not yet home. Counts down only once the handle has gone.
    away: AtomicUsize,
    memory: NonNull<u8>,
    layout: Layout,
}

/// In `Inner::returned` once the handle has gone.
const CLOSED: *mut Header = ptr::without_provenance_mut(2);

/// The owner's end.
pub(crate) struct HeapPool {
    inner: NonNull<Inner>,
    local: Cell<*mut Header>,
    /// Frames still to be taken before those that came back are looked for.
    until_look: Cell<u8>,
    capacity: usize,
    headroom: u16,
}

// SAFETY: only the handle touches `local`, and the handle is not `Sync` (it has `Cell`s); `Inner` is shared through
// atomics alone.
unsafe impl Send for HeapPool {}

impl HeapPool {
    /// `frames` frames with `data_room` bytes each, of which `headroom` are in front of the data of a fresh one.
    pub fn new(frames: usize, data_room: u16, headroom: u16) -> HeapPool {
        assert!(frames > 0, "a pool has at least one frame");
        let stride = (size_of::<Header>() + usize::from(data_room)).next_multiple_of(LINE);
        let layout = Layout::from_size_align(stride * frames, LINE).expect("a pool fits the address space");
        // SAFETY: the layout's size is not zero, for there is at least one frame with a header.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let inner = Box::new(Inner {
            returned: AtomicPtr::new(ptr::null_mut()),
            away: AtomicUsize::new(frames),
            memory,
            layout,
        });
        let inner = NonNull::from(Box::leak(inner));
        let mut next = ptr::null_mut();
        for index in (0..frames).rev() {
            // SAFETY: `index * stride` lies inside the allocation of `frames * stride` bytes.
            let at = unsafe { memory.as_ptr().add(index * stride) };
            next = format(at, data_room, inner.as_ptr(), next);
        }
        let headroom = headroom.min(data_room);
        HeapPool { inner, local: Cell::new(next), until_look: Cell::new(LOOK), capacity: frames, headroom }
    }

    fn inner(&self) -> &Inner {
        // SAFETY: `Inner` lives at least as long as the handle.
        unsafe { self.inner.as_ref() }
    }

    /// A frame with one reference, headroom in front, no data and no neighbour.
    #[inline]
    pub fn take(&self) -> Option<NonNull<Header>> {
        let left = self.until_look.get();
        if left == 0 || self.local.get().is_null() {
            self.gather();
        } else {
            self.until_look.set(left - 1);
        }
        let header = NonNull::new(self.local.get())?;
        // SAFETY: a segment on the local list is unreferenced and this handle's alone.
        let fresh = unsafe { &mut *header.as_ptr() };
        // SAFETY: segments of the list are alive; null is none.
        if let Some(next) = unsafe { fresh.next.as_ref() } {
            // It is taken next, both lines of it.
            crate::prefetch(next);
            crate::prefetch(&next.next);
        }
        self.local.set(fresh.next);
        fresh.next = ptr::null_mut();
        fresh.data_off = self.headroom;
        fresh.data_len = 0;
        fresh.pkt_len = 0;
        Some(header)
    }

    /// Put the frames that came back in front of those that are home: what was used last is still near.
    #[inline(never)]
    fn gather(&self) {
        self.until_look.set(LOOK);
        let first = self.inner().returned.swap(ptr::null_mut(), Ordering::Acquire);
        let mut last = first;
        // SAFETY: segments that came back are alive, and this handle's alone once they were popped; null is none.
        while let Some(frame) = unsafe { last.as_mut() } {
            if frame.next.is_null() {
                frame.next = self.local.replace(first);
                return;
            }
            last = frame.next;
        }
    }

    /// Frames that are home. Cost: walks them.
    pub fn available(&self) -> usize {
        length(self.local.get()) + length(self.inner().returned.load(Ordering::Acquire))
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

impl Drop for HeapPool {
    fn drop(&mut self) {
        let returned = self.inner().returned.swap(CLOSED, Ordering::AcqRel);
        let home = length(self.local.get()) + length(returned);
        let away = self.inner().away.fetch_sub(home, Ordering::AcqRel) - home;
        if away == 0 {
            // SAFETY: the handle is going and every frame is home: nobody can reach the pool any more.
            unsafe { free(self.inner) };
        }
    }
}

/// Write the header of a fresh segment; returns where it stands.
fn format(at: *mut u8, data_room: u16, pool: *mut Inner, next: *mut Header) -> *mut Header {
    let header: *mut Header = at.cast();
    // SAFETY: the stride leaves `data_room` bytes behind the header.
    let buffer = unsafe { at.add(size_of::<Header>()) };
    let fresh = Header {
        buf_addr: buffer,
        buf_iova: 0,
        data_off: 0,
        refcnt: AtomicU16::new(1),
        nb_segs: 1,
        port: 0,
        ol_flags: 0,
        packet_type: 0,
        pkt_len: 0,
        data_len: 0,
        vlan_tci: 0,
        hash: 0,
        hash_high: 0,
        vlan_tci_outer: 0,
        buf_len: data_room,
        pool: pool.expose_provenance() | HEAP_TAG,
        next,
        tx_offload: 0,
        shinfo: ptr::null_mut(),
        priv_size: 0,
        timesync: 0,
        dynfield: [0; 8],
        holders: AtomicU32::new(0),
    };
    // SAFETY: `at` is aligned to a cache line, inside the pool's memory, and nobody else's yet.
    unsafe { header.write(fresh) };
    header
}

fn length(mut chain: *mut Header) -> usize {
    let mut count = 0;
    while !chain.is_null() {
        count += 1;
        // SAFETY: segments on a free list are alive, and only the owner, who is walking, ever removes one.
        chain = unsafe { &*chain }.next;
    }
    count
}

/// Put an unreferenced, detached segment back where it came from. Any thread.
///
/// # Safety
///
/// `segment` came from a heap pool, has no attachment, and the caller held its last reference.
pub(crate) unsafe fn give_back(segment: NonNull<Header>) {
    // An attachment may have moved the buffer; the header's own buffer lies right behind it.
    // SAFETY: every segment was formatted with its buffer behind its header.
    let buffer = unsafe { segment.cast::<u8>().add(size_of::<Header>()) };
    // SAFETY: the caller's was the last reference, so the segment is ours to write.
    unsafe { (*segment.as_ptr()).buf_addr = buffer.as_ptr() };
    let mut run = Run::default();
    // SAFETY: the caller's promise is the same, and the buffer is the segment's own again.
    unsafe { run.add(segment) };
}

/// Segments of one pool on their way back to it, on any thread. They are there when a burst is together, and at the latest when
/// this goes.
#[derive(Default)]
pub(crate) struct Run {
    ends: Option<Ends>,
    count: usize,
}

/// Segments that go back at once, at most: a burst.
const RUN: usize = 32;

/// The first and the last of a chain of a pool's segments.
struct Ends {
    pool: *mut Inner,
    first: NonNull<Header>,
    last: NonNull<Header>,
}

impl Run {
    /// One segment more; those before it go home first if they are of another pool.
    ///
    /// # Safety
    ///
    /// `segment` came from a heap pool, its buffer lies behind its header, and the caller held its last reference.
    #[inline]
    pub unsafe fn add(&mut self, segment: NonNull<Header>) {
        // SAFETY: the caller's was the last reference, so the segment is ours to write.
        let unique = unsafe { &mut *segment.as_ptr() };
        let pool: *mut Inner = ptr::with_exposed_provenance_mut(unique.pool & !HEAP_TAG);
        if let Some(ends) = self.ends.as_mut().filter(|ends| ends.pool == pool) {
            unique.next = ends.first.as_ptr();
            ends.first = segment;
        } else {
            self.flush();
            self.ends = Some(Ends { pool, first: segment, last: segment });
        }
        self.count += 1;
        if self.count >= RUN {
            self.flush();
        }
    }

    /// Let go what is on its way.
    pub fn flush(&mut self) {
        let Some(Ends { pool, first, last }) = self.ends.take() else { return };
        let count = core::mem::take(&mut self.count);
        // SAFETY: `Inner` is freed only when no frame is away, and these still are.
        let inner = unsafe { &*pool };
        let mut top = inner.returned.load(Ordering::Relaxed);
        while top != CLOSED {
            // SAFETY: the segments are unreferenced, and nobody's until the exchange succeeds.
            unsafe { (*last.as_ptr()).next = top };
            match inner.returned.compare_exchange_weak(
                top,
                first.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
        if inner.away.fetch_sub(count, Ordering::AcqRel) == count
            && let Some(pool) = NonNull::new(pool)
        {
            // SAFETY: the handle has gone and these were the last frames away.
            unsafe { free(pool) };
        }
    }
}

impl Drop for Run {
    #[inline]
    fn drop(&mut self) {
        self.flush();
    }
}

/// # Safety
///
/// Nobody can reach the pool any more.
unsafe fn free(pool: NonNull<Inner>) {
    // SAFETY: `new` leaked this box; it is taken back exactly once, by the last to go.
    let inner = unsafe { Box::from_raw(pool.as_ptr()) };
    // SAFETY: `memory` was allocated with this layout.
    unsafe { dealloc(inner.memory.as_ptr(), inner.layout) };
}
