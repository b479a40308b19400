//! Two ports back to back inside the process. Faults are added by `faulty.rs` around either end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::frame::Frame;
use crate::pool::Pool;
use crate::port::{Capabilities, Control, DeviceStatistics, Link, Queue};
use crate::soft::heap::HEADROOM;

/// Frames that wait at one end before more are refused: a NIC's usual receive ring.
pub const PIPE_FRAMES_MAX: usize = 4096;

type Wire = Arc<Mutex<VecDeque<Frame>>>;

/// One end of a pipe.
pub struct PipeEnd {
    inward: Wire,
    outward: Wire,
    /// What the other end receives into; each frame is copied, as a wire does.
    pool: Pool,
    missed: u64,
}

/// Two ends: what one transmits the other receives, at once and in order, in `frames` frames that hold `mtu` bytes
/// and an Ethernet header with its tags. A frame for which none is free is missed, as by a NIC.
pub fn pipe(frames: usize, mtu: u16) -> (PipeEnd, PipeEnd) {
    let (a, b) = (Wire::default(), Wire::default());
    let room = mtu.saturating_add(LINK_BYTES_MAX).saturating_add(HEADROOM);
    let end = |inward: &Wire, outward: &Wire| PipeEnd {
        inward: Arc::clone(inward),
        outward: Arc::clone(outward),
        pool: Pool::heap(frames, room),
        missed: 0,
    };
    (end(&a, &b), end(&b, &a))
}

/// An Ethernet header with two VLAN tags.
const LINK_BYTES_MAX: u16 = 22;

impl PipeEnd {
    fn copy(&self, frame: &Frame) -> Option<Frame> {
        let mut copy = self.pool.take()?;
        for segment in frame.segments() {
            copy.append(segment.len())?.copy_from_slice(segment);
        }
        Some(copy)
    }

    /// Frames that went nowhere because the other end held every frame of the pool.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// What an end of a pipe can do: everything that is a matter of handing references over.
pub const PIPE_CAPABILITIES: Capabilities =
    Capabilities { multi_segment: true, segments_max: 64, reads_heap: true, ..Capabilities::plain(9000) };

impl Queue for PipeEnd {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut wire = self.inward.lock().unwrap_or_else(PoisonError::into_inner);
        let count = max.min(wire.len());
        frames.extend(wire.drain(..count));
        count
    }

    fn transmit(&mut self, _now: u64, frames: &mut Vec<Frame>) -> usize {
        let outward = Arc::clone(&self.outward);
        let mut wire = outward.lock().unwrap_or_else(PoisonError::into_inner);
        let count = frames.len().min(PIPE_FRAMES_MAX - wire.len());
        for frame in frames.drain(..count) {
            match self.copy(&frame) {
                Some(copy) => wire.push_back(copy),
                None => self.missed += 1,
            }
        }
        count
    }

    fn next_event(&self) -> Option<u64> {
        let wire = self.inward.lock().unwrap_or_else(PoisonError::into_inner);
        (!wire.is_empty()).then_some(0)
    }

    fn transmit_pool(&self) -> Option<(usize, usize)> {
        Some((self.pool.available(), self.pool.capacity()))
    }
}

/// The control side of soft ports: a link that is up and counters that nobody keeps.
pub struct SoftControl;

impl Control for SoftControl {
    fn link(&self) -> Link {
        Link { up: true, megabits: None }
    }

    fn statistics(&self) -> DeviceStatistics {
        DeviceStatistics::default()
    }
}
