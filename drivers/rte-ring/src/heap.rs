//! The ring on the heap: atomics only, so that tests and machines without DPDK have it too.
//! The ends' public face is in `lib.rs`.
//!
//! Positions count up for ever and wrap; the slot is the position's low bits. Each end keeps the last
//! position it saw of the other and looks again only when that says full or empty.

use std::mem::MaybeUninit;

#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::CAPACITY_MAX;

/// On a pair of cache lines of its own, for the prefetcher fetches pairs.
#[repr(align(128))]
struct Apart<T>(T);

struct Shared<T> {
    /// Written by the producer: everything before it is filled.
    tail: Apart<AtomicUsize>,
    /// Written by the consumer: everything before it is empty again.
    head: Apart<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    capacity: usize,
}

// SAFETY: the ends hand each item over from one thread to the other, which `T: Send` allows; a slot is
// touched by one end at a time, as `head` and `tail` say.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above: `&Shared` gives no access to an item but through the ends' positions.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Moves an item into the slot of `position`.
    ///
    /// # Safety
    ///
    /// The slot is empty and the caller is the producer.
    unsafe fn write(&self, position: usize, item: T) {
        let slot = &self.slots[position & (self.slots.len() - 1)];
        #[cfg(loom)]
        slot.with_mut(|slot| {
            // SAFETY: the caller's promise: nobody else touches an empty slot.
            unsafe { (*slot).write(item) };
        });
        #[cfg(not(loom))]
        {
            // SAFETY: the caller's promise: nobody else touches an empty slot.
            unsafe { (*slot.get()).write(item) };
        }
    }

    /// Moves the item out of the slot of `position`.
    ///
    /// # Safety
    ///
    /// The slot is filled, the caller is the consumer, and it counts the slot as empty from now on.
    unsafe fn read(&self, position: usize) -> T {
        let slot = &self.slots[position & (self.slots.len() - 1)];
        #[cfg(loom)]
        return slot.with(|slot| {
            // SAFETY: the caller's promise: the slot is filled and nobody else reads it.
            unsafe { (*slot).assume_init_read() }
        });
        #[cfg(not(loom))]
        {
            // SAFETY: the caller's promise: nobody writes a filled slot.
            let slot = unsafe { &*slot.get() };
            // SAFETY: it is filled, and moved out of once.
            unsafe { slot.assume_init_read() }
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.load(Ordering::Acquire);
        let mut head = self.head.0.load(Ordering::Acquire);
        while head != tail {
            // SAFETY: what lies between the positions is filled, and both ends have gone.
            drop(unsafe { self.read(head) });
            head = head.wrapping_add(1);
        }
    }
}

pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

pub(crate) fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!((1..=CAPACITY_MAX).contains(&capacity), "a ring holds between 1 and {CAPACITY_MAX} items");
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared {
        tail: Apart(AtomicUsize::new(0)),
        head: Apart(AtomicUsize::new(0)),
        slots,
        capacity,
    });
    (
        Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 },
        Consumer { shared, head: 0, tail_seen: 0 },
    )
}

impl<T: Send> Producer<T> {
    /// Room for at least `wanted` items if there is; looks at the consumer's position only when it must.
    fn room_for(&mut self, wanted: usize) -> usize {
        let room = self.shared.capacity - self.tail.wrapping_sub(self.head_seen);
        if room >= wanted {
            return room;
        }
        self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        self.shared.capacity - self.tail.wrapping_sub(self.head_seen)
    }

    pub(crate) fn enqueue(&mut self, item: T) -> Result<(), T> {
        if self.room_for(1) == 0 {
            return Err(item);
        }
        // SAFETY: there is room, so the slot at the tail is empty; this is the one producer.
        unsafe { self.shared.write(self.tail, item) };
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    pub(crate) fn enqueue_burst(&mut self, batch: &mut Vec<T>) -> usize {
        let count = self.room_for(batch.len()).min(batch.len());
        if count == 0 {
            return 0;
        }
        for item in batch.drain(..count) {
            // SAFETY: there is room for `count` items from the tail on; this is the one producer.
            unsafe { self.shared.write(self.tail, item) };
            self.tail = self.tail.wrapping_add(1);
        }
        self.shared.tail.0.store(self.tail, Ordering::Release);
        count
    }

    pub(crate) fn room(&self) -> usize {
        self.shared.capacity - self.tail.wrapping_sub(self.shared.head.0.load(Ordering::Acquire))
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}

impl<T: Send> Consumer<T> {
    fn waiting_for(&mut self, wanted: usize) -> usize {
        let waiting = self.tail_seen.wrapping_sub(self.head);
        if waiting >= wanted {
            return waiting;
        }
        self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        self.tail_seen.wrapping_sub(self.head)
    }

    pub(crate) fn dequeue(&mut self) -> Option<T> {
        if self.waiting_for(1) == 0 {
            return None;
        }
        // SAFETY: the slot at the head is filled; this is the one consumer, and it moves on below.
        let item = unsafe { self.shared.read(self.head) };
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(item)
    }

    pub(crate) fn dequeue_burst(&mut self, into: &mut Vec<T>, limit: usize) -> usize {
        let count = self.waiting_for(limit).min(limit);
        if count == 0 {
            return 0;
        }
        // First, for it may panic, and no item must be out of its slot by then.
        into.reserve(count);
        for _ in 0..count {
            // SAFETY: `count` slots from the head on are filled; this is the one consumer, and it moves on.
            into.push(unsafe { self.shared.read(self.head) });
            self.head = self.head.wrapping_add(1);
        }
        self.shared.head.0.store(self.head, Ordering::Release);
        count
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.tail.0.load(Ordering::Acquire).wrapping_sub(self.head)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}
