//! DPDK's memory: pools of mbufs, DMA-able memory for regions, and threads that have caches of their own.
//! The frames that pools hand out are `frame.rs`'s, regions are `memory.rs`'s.

use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::mem::{offset_of, size_of};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as ffi;

use super::error_text;
use crate::frame::Frame;
use crate::mbuf::Header;
use crate::memory::{Backing, Class, SOURCE};
use crate::setup::SetupError;

/// Frames that a thread's cache may keep from all other threads; its cache holds up to one and a half times that.
///
/// As many as DPDK allows. A cache gives the frame that came back last, which is still near the core; what does not fit
/// goes round by way of the pool's ring, and when it comes again each of its lines is a miss. A turn of bulk transfer has
/// hundreds of frames out.
const CACHE_FRAMES_MAX: usize = ffi::RTE_MEMPOOL_CACHE_MAX_SIZE as usize;

/// Frames that are asked for at once: a burst.
const BURST_FRAMES: usize = 32;

/// What a pool is made of; pools that went out of use serve again for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolShape {
    pub frames: usize,
    /// Bytes of each frame's buffer, headroom included.
    pub data_room: u16,
    /// Of `frames`, those that receive rings are going to hold.
    pub in_rings: usize,
    /// Threads that give frames back, each into a cache of its own.
    pub threads: u16,
}

impl PoolShape {
    /// A cache so small that all threads' caches together cannot starve the rings' owner.
    fn cache(&self) -> usize {
        let shares = 4 + 4 * usize::from(self.threads.max(1));
        (self.frames.saturating_sub(self.in_rings) / shares).min(CACHE_FRAMES_MAX)
    }
}

/// A pool of mbufs. Clones share it.
#[derive(Clone)]
pub(crate) struct DpdkPool {
    inner: Arc<Inner>,
    /// Not `Sync`, like heap pools: one lane takes from it.
    here: PhantomData<Cell<()>>,
}

struct Inner {
    raw: RawPool,
    shape: PoolShape,
}

#[derive(Clone, Copy)]
struct RawPool(NonNull<ffi::rte_mempool>);

// SAFETY: DPDK's pools of the default kind may be used by all threads at the same time.
unsafe impl Send for RawPool {}
// SAFETY: as above.
unsafe impl Sync for RawPool {}

/// Pools without an owner.
///
/// They are never freed: a frame that another thread is just giving back would be written to freed memory, and
/// nothing tells when that is over. They serve again instead, once all their frames are home.
static IDLE: Mutex<Vec<(PoolShape, RawPool)>> = Mutex::new(Vec::new());

static NEXT_NAME: AtomicU32 = AtomicU32::new(0);

impl DpdkPool {
    /// A pool of this shape in memory of NUMA node `numa` (negative: any). The EAL is up.
    pub(super) fn new(shape: PoolShape, numa: i32) -> Result<DpdkPool, SetupError> {
        let pool = |raw| DpdkPool { inner: Arc::new(Inner { raw, shape }), here: PhantomData };
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = idle.iter().position(|(other, raw)| *other == shape && raw.in_use() == 0) {
            return Ok(pool(idle.swap_remove(at).1));
        }
        drop(idle);
        let what = || format!("{} frames of {} bytes", shape.frames, shape.data_room);
        let name = format!("corelane_{}", NEXT_NAME.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).unwrap_or_default();
        let count = u32::try_from(shape.frames).map_err(|_| SetupError::Memory { what: what() })?;
        let cache = u32::try_from(shape.cache()).unwrap_or(0);
        // SAFETY: the EAL is up, as every caller holds an `Eal`; the name is a C string, which DPDK copies.
        let raw =
            unsafe { ffi::rte_pktmbuf_pool_create(name.as_ptr(), count, cache, 0, shape.data_room, numa) };
        let raw = NonNull::new(raw).ok_or_else(|| SetupError::Memory { what: what() })?;
        Ok(pool(RawPool(raw)))
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::rte_mempool {
        self.inner.raw.0.as_ptr()
    }

    /// A frame with one reference, headroom in front, no data and no neighbour.
    #[inline]
    pub(crate) fn take(&self) -> Option<NonNull<Header>> {
        // SAFETY: the pool is never freed; DPDK resets the mbuf it hands out.
        let mbuf = unsafe { ffi::corelane_pktmbuf_alloc(self.as_ptr()) };
        NonNull::new(mbuf.cast())
    }

    /// Appends `count` empty frames to `frames`, or as many as there are.
    #[inline]
    pub(crate) fn take_many(&self, frames: &mut Vec<Frame>, count: usize) {
        let mut burst = [ptr::null_mut(); BURST_FRAMES];
        let mut left = count;
        while left > 0 {
            let here = left.min(BURST_FRAMES);
            // SAFETY: the pool is never freed, and there is room for so many; DPDK resets the mbufs it hands out.
            let status = unsafe {
                ffi::corelane_pktmbuf_alloc_bulk(
                    self.as_ptr(),
                    burst.as_mut_ptr(),
                    u32::try_from(here).unwrap_or(0),
                )
            };
            if status != 0 {
                // Not as many: those that there are.
                frames.extend((0..left).map_while(|_| self.take().map(Frame::from_fresh)));
                return;
            }
            let fresh = burst[..here].iter().filter_map(|mbuf| NonNull::new(mbuf.cast()));
            frames.extend(fresh.map(Frame::from_fresh));
            left -= here;
        }
    }

    pub(crate) fn available(&self) -> usize {
        self.capacity() - self.inner.raw.in_use()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.inner.shape.frames
    }
}

impl RawPool {
    fn in_use(self) -> usize {
        // SAFETY: pools are never freed.
        let count = unsafe { ffi::rte_mempool_in_use_count(self.0.as_ptr()) };
        count as usize
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push((self.shape, self.raw));
    }
}

/// Frees one segment of DPDK's, and what is attached to it.
///
/// # Safety
///
/// `segment` is an mbuf of which the caller owns one reference, given up by this call.
#[inline]
pub(crate) unsafe fn free_segment(segment: *mut Header) {
    // SAFETY: the caller's promise is that of rte_pktmbuf_free_seg; the layouts agree.
    unsafe { ffi::corelane_pktmbuf_free_seg(segment.cast()) };
}

/// Segments of DPDK's on their way back to their pools, which are there when a burst is together, and at the latest when this
/// goes.
pub(crate) struct Bulk {
    segments: [*mut ffi::rte_mbuf; BULK],
    count: u32,
}

/// Segments that go at once, at most.
const BULK: usize = 32;

impl Default for Bulk {
    fn default() -> Bulk {
        Bulk { segments: [ptr::null_mut(); BULK], count: 0 }
    }
}

impl Bulk {
    /// One segment more, and what is attached to it.
    ///
    /// # Safety
    ///
    /// `segment` is an mbuf with none behind it, of which the caller owns one reference, given up by this call.
    #[inline]
    pub unsafe fn add(&mut self, segment: NonNull<Header>) {
        self.segments[self.count as usize] = segment.as_ptr().cast();
        self.count += 1;
        if self.count as usize == BULK {
            self.flush();
        }
    }

    /// Let go what is on its way.
    pub fn flush(&mut self) {
        let count = core::mem::take(&mut self.count);
        if count > 0 {
            // SAFETY: so many mbufs, of each of which `add` was given a reference.
            unsafe { ffi::corelane_pktmbuf_free_bulk(self.segments.as_mut_ptr(), count) };
        }
    }
}

impl Drop for Bulk {
    #[inline]
    fn drop(&mut self) {
        self.flush();
    }
}

/// Reserves the mbuf's last word, where `Header::holders` lies, so that no library of DPDK's takes it.
pub(super) fn reserve_field() -> Result<(), SetupError> {
    let mut field = ffi::rte_mbuf_dynfield { size: 4, align: 4, ..Default::default() };
    for (to, from) in field.name.iter_mut().zip(b"corelane_holders") {
        *to = c_char::from_ne_bytes([*from]);
    }
    // SAFETY: the EAL is up; DPDK copies the description.
    let status =
        unsafe { ffi::rte_mbuf_dynfield_register_offset(&raw const field, offset_of!(Header, holders)) };
    if status < 0 {
        // SAFETY: reads this thread's rte_errno.
        let number = unsafe { ffi::corelane_errno() };
        let reason = format!("its mbufs have no word to spare ({})", error_text(number));
        return Err(SetupError::Eal { reason });
    }
    Ok(())
}

/// Lets regions live in memory that devices can read.
pub(super) fn offer_memory() {
    // Set once; a second EAL does not exist.
    let _ = SOURCE.set(take_memory);
}

/// Pages by which IOVA may be broken.
const HUGE_PAGE: usize = 2 << 20;

fn take_memory(bytes: usize) -> Option<Backing> {
    // SAFETY: the EAL is up, for it set the source; the type's name may be null.
    let start = unsafe { ffi::rte_zmalloc_socket(ptr::null(), bytes, 4096, ffi::SOCKET_ID_ANY) };
    let start = NonNull::new(start.cast::<u8>())?;
    let backing = Backing { start, class: Class::Registered, iova, free: free_memory };
    // A block must not straddle pages that lie apart for the device, and the region cannot tell where they end.
    let first = iova(start);
    let together = first != ffi::RTE_BAD_IOVA
        && (HUGE_PAGE..bytes).step_by(HUGE_PAGE).chain([bytes - 1]).all(|offset| {
            // SAFETY: `offset` is below the size of the allocation.
            let at = unsafe { start.add(offset) };
            iova(at) == first + offset as u64
        });
    if !together {
        free_memory(start, bytes);
        return None;
    }
    Some(backing)
}

fn iova(at: NonNull<u8>) -> u64 {
    // SAFETY: reads DPDK's tables, or the kernel's; any address may be asked for.
    unsafe { ffi::rte_mem_virt2iova(at.as_ptr().cast()) }
}

fn free_memory(start: NonNull<u8>, _bytes: usize) {
    // SAFETY: `start` came from rte_zmalloc_socket and is freed once, by the region's end.
    unsafe { ffi::rte_free(start.as_ptr().cast()) };
}

/// This thread is known to DPDK, so its pools' caches work for it. Ends when dropped, on the same thread.
#[derive(Debug)]
pub struct RegisteredThread {
    here: PhantomData<*const ()>,
}

/// Makes this thread known to DPDK: taking and giving back a frame then costs a third.
///
/// `None` if DPDK is not up, knows the thread already, has no place left, or serves other processes too. All works
/// then as well, but slower for a thread it does not know.
pub fn register_thread() -> Option<RegisteredThread> {
    if !ffi::eal_is_up() {
        return None;
    }
    // SAFETY: reads a variable of this thread.
    let lcore = unsafe { ffi::corelane_lcore_id() };
    if lcore != ffi::LCORE_ID_ANY {
        return None;
    }
    // SAFETY: the EAL is up.
    let status = unsafe { ffi::rte_thread_register() };
    (status == 0).then_some(RegisteredThread { here: PhantomData })
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: this thread registered itself, once: the guard is neither `Send` nor made for a known thread.
        unsafe { ffi::rte_thread_unregister() };
    }
}

const _: () = assert!(size_of::<Option<DpdkPool>>() == size_of::<usize>());
