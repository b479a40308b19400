//! Bounded rings from one thread to another: DPDK's `rte_ring`, and the same ring without DPDK.
//!
//! [`heap`] and `dpdk` make the two ends; which ring is underneath shows nowhere else. An end can be
//! sent to a thread once and cannot be copied, so «single producer, single consumer» holds by type.
//! Items are moved, whatever their size; what is left when both ends have gone is dropped.
//! The ring on the heap is in `heap.rs`, DPDK's in `dpdk.rs`.
//!
//! ```
//! let (mut producer, mut consumer) = rte_ring::heap::<Box<u32>>(4);
//! let mut batch = vec![Box::new(1), Box::new(2)];
//! assert_eq!(producer.enqueue_burst(&mut batch), 2);
//! assert_eq!(consumer.dequeue().as_deref(), Some(&1));
//! ```

use std::fmt;

#[cfg(feature = "dpdk")]
mod dpdk;
mod heap;

/// The most items a ring may be made for: DPDK's indices are 32 bits, one of them for wrapping.
pub const CAPACITY_MAX: usize = 1 << 30;

/// Makes a ring on the heap that holds `capacity` items.
///
/// Panics: if `capacity` is zero or above [`CAPACITY_MAX`].
pub fn heap<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = heap::ring(capacity);
    (Producer { end: ProducerEnd::Heap(producer) }, Consumer { end: ConsumerEnd::Heap(consumer) })
}

/// Makes a ring of DPDK's that holds `capacity` items, in memory of NUMA node `numa` (`None`: any).
///
/// `name` is seen by DPDK's tools and must be unique in the process.
///
/// Errors: the EAL is not up, the name is taken or too long, or DPDK's memory is used up.
///
/// Panics: if `capacity` is zero or above [`CAPACITY_MAX`].
#[cfg(feature = "dpdk")]
pub fn dpdk<T: Send>(
    name: &str,
    capacity: usize,
    numa: Option<u32>,
) -> Result<(Producer<T>, Consumer<T>), RingError> {
    let (producer, consumer) = dpdk::ring(name, capacity, numa)?;
    Ok((Producer { end: ProducerEnd::Dpdk(producer) }, Consumer { end: ConsumerEnd::Dpdk(consumer) }))
}

/// The end of a ring that puts items in.
pub struct Producer<T> {
    end: ProducerEnd<T>,
}

enum ProducerEnd<T> {
    Heap(heap::Producer<T>),
    #[cfg(feature = "dpdk")]
    Dpdk(dpdk::Producer<T>),
}

impl<T: Send> Producer<T> {
    /// Puts one item in, or gives it back if the ring is full.
    pub fn enqueue(&mut self, item: T) -> Result<(), T> {
        match &mut self.end {
            ProducerEnd::Heap(end) => end.enqueue(item),
            #[cfg(feature = "dpdk")]
            ProducerEnd::Dpdk(end) => end.enqueue(item),
        }
    }

    /// Moves items from the front of `batch` in, as many as fit, and returns how many. The rest stays, in order.
    ///
    /// Cost: one release store for the whole batch; what stays is moved down.
    pub fn enqueue_burst(&mut self, batch: &mut Vec<T>) -> usize {
        match &mut self.end {
            ProducerEnd::Heap(end) => end.enqueue_burst(batch),
            #[cfg(feature = "dpdk")]
            ProducerEnd::Dpdk(end) => end.enqueue_burst(batch),
        }
    }

    /// Items that fit now. The consumer can only raise it.
    pub fn room(&self) -> usize {
        match &self.end {
            ProducerEnd::Heap(end) => end.room(),
            #[cfg(feature = "dpdk")]
            ProducerEnd::Dpdk(end) => end.room(),
        }
    }

    /// Whether the consumer has gone, so that nobody will take what is put in.
    pub fn is_abandoned(&self) -> bool {
        match &self.end {
            ProducerEnd::Heap(end) => end.is_abandoned(),
            #[cfg(feature = "dpdk")]
            ProducerEnd::Dpdk(end) => end.is_abandoned(),
        }
    }
}

/// The end of a ring that takes items out, in the order they went in.
pub struct Consumer<T> {
    end: ConsumerEnd<T>,
}

enum ConsumerEnd<T> {
    Heap(heap::Consumer<T>),
    #[cfg(feature = "dpdk")]
    Dpdk(dpdk::Consumer<T>),
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest item.
    pub fn dequeue(&mut self) -> Option<T> {
        match &mut self.end {
            ConsumerEnd::Heap(end) => end.dequeue(),
            #[cfg(feature = "dpdk")]
            ConsumerEnd::Dpdk(end) => end.dequeue(),
        }
    }

    /// Moves at most `limit` items to the back of `into`, and returns how many.
    ///
    /// Cost: one release store for the whole batch; allocates only if `into` lacks the room.
    pub fn dequeue_burst(&mut self, into: &mut Vec<T>, limit: usize) -> usize {
        match &mut self.end {
            ConsumerEnd::Heap(end) => end.dequeue_burst(into, limit),
            #[cfg(feature = "dpdk")]
            ConsumerEnd::Dpdk(end) => end.dequeue_burst(into, limit),
        }
    }

    /// Items that wait. The producer can only raise it.
    pub fn count(&self) -> usize {
        match &self.end {
            ConsumerEnd::Heap(end) => end.count(),
            #[cfg(feature = "dpdk")]
            ConsumerEnd::Dpdk(end) => end.count(),
        }
    }

    /// Whether the producer has gone. What it put in before can still be taken.
    pub fn is_abandoned(&self) -> bool {
        match &self.end {
            ConsumerEnd::Heap(end) => end.is_abandoned(),
            #[cfg(feature = "dpdk")]
            ConsumerEnd::Dpdk(end) => end.is_abandoned(),
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

/// Why DPDK made no ring. The operator's to handle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// DPDK's memory exists only after the EAL has started.
    EalNotUp,
    /// Longer than DPDK allows, or with a zero byte in it.
    Name(String),
    /// Another ring has this name.
    Exists(String),
    /// Not enough huge-page memory, or too many memory zones.
    Memory {
        /// The size asked for.
        items: usize,
    },
    /// DPDK's error number.
    Other(i32),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::EalNotUp => {
                write!(f, "DPDK is not started: start the EAL before making a ring of its own")
            }
            RingError::Name(name) => {
                write!(f, "`{name}` is no name for a ring: use at most 25 plain characters")
            }
            RingError::Exists(name) => write!(f, "a ring named `{name}` exists already: choose another name"),
            RingError::Memory { items } => {
                write!(f, "DPDK has no memory left for a ring of {items} items: reserve more huge pages")
            }
            RingError::Other(number) => write!(f, "DPDK made no ring: error {number}"),
        }
    }
}

impl std::error::Error for RingError {}

#[cfg(test)]
mod tests;
