//! DPDK's `rte_ring`, which carries items of any size by moving their bytes.
//! The ends' public face is in `lib.rs`, the ring without DPDK in `heap.rs`.

use std::ffi::CString;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as ffi;

use crate::{CAPACITY_MAX, RingError};

/// One item as DPDK copies it: in units of four bytes.
///
/// DPDK copies to and from any address that is aligned to four; items are read where this type aligns them.
#[repr(C, align(4))]
struct Slot<T>(ManuallyDrop<T>);

/// Items that one call of the shim moves through the stack of this thread when they need padding.
const CHUNK: usize = 32;

struct Shared<T> {
    ring: NonNull<ffi::rte_ring>,
    items: PhantomData<T>,
}

// SAFETY: the ends hand each item over from one thread to the other, which `T: Send` allows; DPDK's ring
// may be used by one producer and one consumer at the same time, and there is one end of each.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    const ITEM_BYTES: u32 = {
        assert!(size_of::<T>() > 0, "DPDK's ring cannot carry items without bytes");
        assert!(size_of::<Slot<T>>() <= 4096, "box an item of more than a page");
        #[expect(clippy::cast_possible_truncation, reason = "at most 4096")]
        {
            size_of::<Slot<T>>() as u32
        }
    };

    /// Moves up to `limit <= CHUNK` items out of the ring.
    ///
    /// # Safety
    ///
    /// The caller is the one consumer.
    unsafe fn take(&self, limit: usize, mut each: impl FnMut(T)) -> usize {
        let mut chunk = [const { MaybeUninit::<Slot<T>>::uninit() }; CHUNK];
        let limit = u32::try_from(limit.min(CHUNK)).unwrap_or(0);
        // SAFETY: the ring lives, its items have this size, `chunk` has room for `limit` of them, and
        // the caller is the only consumer.
        let taken = unsafe {
            ffi::corelane_ring_sc_dequeue_burst(
                self.ring.as_ptr(),
                chunk.as_mut_ptr().cast(),
                Self::ITEM_BYTES,
                limit,
            )
        };
        for slot in &chunk[..taken as usize] {
            // SAFETY: DPDK filled the first `taken` slots with items that it will give to nobody else.
            let item = unsafe { slot.assume_init_read() };
            each(ManuallyDrop::into_inner(item.0));
        }
        taken as usize
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: both ends have gone, so this is the only consumer left.
        while unsafe { self.take(CHUNK, drop) } > 0 {}
        // SAFETY: the ring was made by `ring` and nobody else has it.
        unsafe { ffi::rte_ring_free(self.ring.as_ptr()) };
    }
}

pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
}

pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
}

pub(crate) fn ring<T: Send>(
    name: &str,
    capacity: usize,
    numa: Option<u32>,
) -> Result<(Producer<T>, Consumer<T>), RingError> {
    assert!((1..=CAPACITY_MAX).contains(&capacity), "a ring holds between 1 and {CAPACITY_MAX} items");
    if !ffi::eal_is_up() {
        return Err(RingError::EalNotUp);
    }
    let c_name = CString::new(name).map_err(|_| RingError::Name(name.to_owned()))?;
    let numa = numa.and_then(|node| i32::try_from(node).ok()).unwrap_or(ffi::SOCKET_ID_ANY);
    let count = u32::try_from(capacity).unwrap_or(u32::MAX);
    let flags = ffi::RING_F_SP_ENQ | ffi::RING_F_SC_DEQ | ffi::RING_F_EXACT_SZ;
    // SAFETY: the EAL is up; the name is a C string, which DPDK copies.
    let ring =
        unsafe { ffi::rte_ring_create_elem(c_name.as_ptr(), Shared::<T>::ITEM_BYTES, count, numa, flags) };
    let Some(ring) = NonNull::new(ring) else {
        // SAFETY: reads this thread's rte_errno.
        let number = unsafe { ffi::corelane_errno() };
        return Err(match number {
            ENAMETOOLONG => RingError::Name(name.to_owned()),
            EEXIST => RingError::Exists(name.to_owned()),
            ENOMEM | ENOSPC => RingError::Memory { items: capacity },
            other => RingError::Other(other),
        });
    };
    let shared = Arc::new(Shared { ring, items: PhantomData });
    Ok((Producer { shared: Arc::clone(&shared) }, Consumer { shared }))
}

// Linux's numbers, which DPDK uses.
const ENOMEM: i32 = 12;
const EEXIST: i32 = 17;
const ENOSPC: i32 = 28;
const ENAMETOOLONG: i32 = 36;

impl<T: Send> Producer<T> {
    pub(crate) fn enqueue(&mut self, item: T) -> Result<(), T> {
        let slot = Slot(ManuallyDrop::new(item));
        if self.put(&raw const slot, 1) == 1 { Ok(()) } else { Err(ManuallyDrop::into_inner(slot.0)) }
    }

    /// Offers `count` items at `items`; the first of them, as many as is returned, then belong to the ring.
    fn put(&mut self, items: *const Slot<T>, count: usize) -> usize {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // SAFETY: the ring lives, its items have this size, `items` points to `count` of them (both
        // callers pass memory they own), and `&mut self` is the only producer.
        let put = unsafe {
            ffi::corelane_ring_sp_enqueue_burst(
                self.shared.ring.as_ptr(),
                items.cast(),
                Shared::<T>::ITEM_BYTES,
                count,
            )
        };
        put as usize
    }

    pub(crate) fn enqueue_burst(&mut self, batch: &mut Vec<T>) -> usize {
        let mut total = 0;
        if size_of::<Slot<T>>() == size_of::<T>() && align_of::<Slot<T>>() == align_of::<T>() {
            // No padding: the vector's items are the slots.
            total = self.put(batch.as_ptr().cast(), batch.len());
        } else {
            total += self.enqueue_padded(batch);
        }
        let left = batch.len() - total;
        // SAFETY: from here on no item counts as the vector's, so none can be dropped twice.
        unsafe { batch.set_len(0) };
        // SAFETY: the vector's allocation holds `total + left` items.
        let rest = unsafe { batch.as_ptr().add(total) };
        // SAFETY: both ranges of `left` items lie in that allocation.
        unsafe { std::ptr::copy(rest, batch.as_mut_ptr(), left) };
        // SAFETY: the items that the ring did not take are now the first `left`.
        unsafe { batch.set_len(left) };
        total
    }

    /// Puts in copies of the first items of `batch`; those that were taken must not be used again.
    fn enqueue_padded(&mut self, batch: &[T]) -> usize {
        let mut total = 0;
        for items in batch.chunks(CHUNK) {
            let mut chunk = [const { MaybeUninit::<Slot<T>>::uninit() }; CHUNK];
            for (slot, item) in chunk.iter_mut().zip(items) {
                // SAFETY: a bitwise copy, of which only one will be used: `Slot` drops nothing.
                slot.write(Slot(ManuallyDrop::new(unsafe { std::ptr::read(item) })));
            }
            let put = self.put(chunk.as_ptr().cast(), items.len());
            total += put;
            if put < items.len() {
                break;
            }
        }
        total
    }

    pub(crate) fn room(&self) -> usize {
        // SAFETY: the ring lives as long as this end.
        let room = unsafe { ffi::corelane_ring_free_count(self.shared.ring.as_ptr()) };
        room as usize
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}

impl<T: Send> Consumer<T> {
    pub(crate) fn dequeue(&mut self) -> Option<T> {
        let mut slot = MaybeUninit::<Slot<T>>::uninit();
        // SAFETY: the ring lives, its items have this size, there is room for one, and `&mut self` is the
        // only consumer.
        let taken = unsafe {
            ffi::corelane_ring_sc_dequeue_burst(
                self.shared.ring.as_ptr(),
                slot.as_mut_ptr().cast(),
                Shared::<T>::ITEM_BYTES,
                1,
            )
        };
        // SAFETY: read only if DPDK filled it, with an item it will give to nobody else.
        (taken == 1).then(|| ManuallyDrop::into_inner(unsafe { slot.assume_init() }.0))
    }

    pub(crate) fn dequeue_burst(&mut self, into: &mut Vec<T>, limit: usize) -> usize {
        let wanted = limit.min(self.count());
        // First, for it may panic, and no item must be out of the ring by then.
        into.reserve(wanted);
        let mut total = 0;
        while total < wanted {
            // SAFETY: `&mut self` is the only consumer.
            let taken = unsafe { self.shared.take(wanted - total, |item| into.push(item)) };
            total += taken;
            if taken == 0 {
                break;
            }
        }
        total
    }

    pub(crate) fn count(&self) -> usize {
        // SAFETY: the ring lives as long as this end.
        let count = unsafe { ffi::corelane_ring_count(self.shared.ring.as_ptr()) };
        count as usize
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}
