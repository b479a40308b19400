//! What went through a queue of a driver of ours, counted as it goes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::port::DeviceStatistics;

/// What went through a queue, which alone writes them.
#[derive(Default)]
pub(crate) struct Counters {
    pub received_frames: Counter,
    pub received_bytes: Counter,
    pub sent_frames: Counter,
    pub sent_bytes: Counter,
    pub receive_errors: Counter,
    pub transmit_errors: Counter,
    pub no_frames: Counter,
}

/// A number with one writer.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub fn statistics(&self) -> DeviceStatistics {
        DeviceStatistics {
            received_frames: self.received_frames.value(),
            received_bytes: self.received_bytes.value(),
            sent_frames: self.sent_frames.value(),
            sent_bytes: self.sent_bytes.value(),
            missed: 0,
            receive_errors: self.receive_errors.value(),
            transmit_errors: self.transmit_errors.value(),
            no_frames: self.no_frames.value(),
        }
    }
}
