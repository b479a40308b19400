//! A bad network around any queue: loss, delay, jitter, reordering, duplication, corruption, a rate and marks, from a
//! seed.
//! What is asked for is `faulty/spec.rs`, what becomes of a frame `faulty/path.rs`; the numbers come from
//! `faulty/random.rs`.
//!
//! Time is the `now` of the calls and nothing else: the same seed and the same calls give the same faults, in virtual
//! time as well as around a real device.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::Capture;
use crate::frame::Frame;
use crate::pool::Pool;
use crate::port::{Capabilities, Control, DeviceStatistics, LINK_BYTES, Link, Opened, Queue, QueueParts};
use crate::setup::SetupError;
use crate::soft::heap::HEADROOM;

use copies::Copies;
use path::Path;
use random::Random;

mod copies;
mod marking;
mod path;
mod random;
mod spec;

pub use path::PathStatistics;
pub use spec::{FaultSpec, FaultSpecError, Faults, HELD_FRAMES_MAX, HELD_FRAMES_MIN};

/// Frames that pass at once between two looks at what is due.
const BURST_FRAMES: usize = 32;

/// What happened to the frames of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultStatistics {
    /// On the way in.
    pub receive: PathStatistics,
    /// On the way out.
    pub transmit: PathStatistics,
}

/// The statistics of a [`Faulty`], for whoever gave the queue away.
#[derive(Clone)]
pub struct FaultWatch(Arc<Mutex<FaultStatistics>>);

impl FaultWatch {
    /// As of the queue's last call.
    pub fn statistics(&self) -> FaultStatistics {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue behind a bad network.
///
/// Frames that are due on the way out leave in the next call of either `receive` or `transmit`; `next_event` tells when
/// that should be.
pub struct Faulty {
    inner: Box<dyn Queue>,
    inward: Path,
    outward: Path,
    arrived: Vec<Frame>,
    /// Due, but refused by the port so far.
    unsent: Vec<Frame>,
    copies: Copies,
    watch: FaultWatch,
}

impl Faulty {
    /// Put `inner` behind the network that `spec` describes.
    ///
    /// Duplicates and corrupted frames are copies, taken from `copies`; while it is empty, frames pass as they are and
    /// are counted. Its frames must hold the port's largest frame if the port sends single segments only. A heap pool
    /// serves every port: those that cannot read the heap copy such frames themselves.
    pub fn new(inner: Box<dyn Queue>, spec: &FaultSpec, copies: Pool) -> Faulty {
        let held = spec.held.max(HELD_FRAMES_MIN);
        Faulty {
            inner,
            inward: Path::new(spec.receive, Random::new(spec.seed, 0), Random::new(spec.seed, 1), held),
            outward: Path::new(spec.transmit, Random::new(spec.seed, 2), Random::new(spec.seed, 3), held),
            arrived: Vec::with_capacity(BURST_FRAMES),
            unsent: Vec::with_capacity(BURST_FRAMES),
            copies: Copies { pool: copies, scratch: Vec::new() },
            watch: FaultWatch(Arc::default()),
        }
    }

    /// What is left of a port's capabilities.
    ///
    /// Checksums and segments that the port would make after the faults would hide them, so both are the stack's. A
    /// port's verdict came before the faults, so the stack is told not to count on verdicts.
    pub fn capabilities(inner: &Capabilities) -> Capabilities {
        Capabilities {
            transmit_ipv4_checksum: false,
            transmit_tcp_checksum: false,
            transmit_udp_checksum: false,
            receive_checksums: false,
            segmentation_max: 0,
            ..*inner
        }
    }

    /// The statistics so far.
    pub fn statistics(&self) -> FaultStatistics {
        let unsent = self.unsent.len() as u64;
        let transmit = self.outward.statistics();
        FaultStatistics {
            receive: self.inward.statistics(),
            transmit: PathStatistics {
                passed: transmit.passed - unsent,
                held: transmit.held + unsent,
                ..transmit
            },
        }
    }

    /// A way to the statistics that stays when the queue has been given away.
    pub fn watch(&self) -> FaultWatch {
        self.watch.clone()
    }

    /// Send what is due. False if the port did not take all of it.
    fn flush(&mut self, now: u64) -> bool {
        loop {
            if self.unsent.is_empty() && self.outward.release(now, &mut self.unsent, BURST_FRAMES) == 0 {
                return true;
            }
            self.inner.transmit(now, &mut self.unsent);
            if !self.unsent.is_empty() {
                return false;
            }
        }
    }

    fn publish(&self) {
        *self.watch.0.lock().unwrap_or_else(PoisonError::into_inner) = self.statistics();
    }
}

impl Queue for Faulty {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.flush(now);
        // What is due comes first: while that fills every call, nothing more is taken from the port.
        let mut count = self.inward.release(now, frames, max);
        let mut asked = 0;
        while count < max && asked < max {
            let burst = BURST_FRAMES.min(max - count);
            asked += burst;
            if self.inner.receive(now, &mut self.arrived, burst) == 0 {
                break;
            }
            for frame in self.arrived.drain(..) {
                self.inward.admit(now, frame, &mut self.copies);
            }
            count += self.inward.release(now, frames, max - count);
        }
        self.publish();
        count
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let offered = frames.len();
        // A port that takes no more pushes back on the sender, as it would without the network in between.
        let mut open = self.flush(now);
        while open && !frames.is_empty() {
            let burst = frames.len().min(BURST_FRAMES);
            for frame in frames.drain(..burst) {
                self.outward.admit(now, frame, &mut self.copies);
            }
            open = self.flush(now);
        }
        self.publish();
        offered - frames.len()
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.inner.wakes()
    }

    fn watch(&mut self) -> bool {
        self.inner.watch()
    }

    fn next_event(&self) -> Option<u64> {
        let refused = (!self.unsent.is_empty()).then_some(0);
        [self.inner.next_event(), self.inward.next_release(), self.outward.next_release(), refused]
            .into_iter()
            .flatten()
            .min()
    }

    /// The port's, and that of the copies.
    fn transmit_pool(&self) -> Option<(usize, usize)> {
        let (available, capacity) = self.inner.transmit_pool().unwrap_or_default();
        Some((available + self.copies.pool.available(), capacity + self.copies.pool.capacity()))
    }

    fn reclaim(&mut self) {
        self.inner.reclaim();
    }
}

/// Put every queue of a device behind the network that `spec` describes, each with moments of its own.
///
/// The faults' counters join the extended statistics, as `rx_q0_fault_lost` and so on. Copies come from the heap.
pub fn with_faults(device: Opened, spec: &FaultSpec) -> Opened {
    let mut watches = Vec::with_capacity(device.queues.len());
    // Each held frame may be a copy, and as many again may wait in the port or with the stack.
    let frames = 2 * spec.held.max(HELD_FRAMES_MIN);
    let room = device.mtu.saturating_add(LINK_BYTES).saturating_add(HEADROOM);
    let queues = (0..).zip(device.queues).map(|(index, QueueParts { queue, pools })| {
        let faulty = Faulty::new(queue, &spec.for_queue(index), Pool::heap(frames, room));
        watches.push(faulty.watch());
        QueueParts { queue: Box::new(faulty), pools }
    });
    let queues = queues.collect();
    Opened {
        capabilities: Faulty::capabilities(&device.capabilities),
        queues,
        control: Box::new(FaultyControl { inner: device.control, watches }),
        ..device
    }
}

/// A port's control with the faults' counters.
struct FaultyControl {
    inner: Box<dyn Control>,
    watches: Vec<FaultWatch>,
}

impl Control for FaultyControl {
    fn link(&self) -> Link {
        self.inner.link()
    }

    fn is_gone(&self) -> bool {
        self.inner.is_gone()
    }

    fn capture(&self, path: &std::path::Path) -> Result<Capture, SetupError> {
        self.inner.capture(path)
    }

    fn statistics(&self) -> DeviceStatistics {
        self.inner.statistics()
    }

    fn extended_statistics(&self) -> Vec<(String, u64)> {
        let mut all = self.inner.extended_statistics();
        for (index, watch) in self.watches.iter().enumerate() {
            let FaultStatistics { receive, transmit } = watch.statistics();
            for (direction, path) in [("rx", receive), ("tx", transmit)] {
                let named =
                    path.named().map(|(name, count)| (format!("{direction}_q{index}_fault_{name}"), count));
                all.extend(named);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
