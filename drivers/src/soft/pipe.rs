//! Two ports back to back inside the process. Faults are added by `faulty.rs` around either end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::frame::{Checksum, Frame, Verdicts};
use crate::port::{Capabilities, Control, DeviceStatistics, Link, Queue};

/// Frames that wait at one end before more are refused: a NIC's usual receive ring.
pub const PIPE_FRAMES_MAX: usize = 4096;

type Wire = Arc<Mutex<VecDeque<Frame>>>;

/// One end of a pipe.
pub struct PipeEnd {
    inward: Wire,
    outward: Wire,
}

/// Two ends: what one transmits the other receives, at once and in order.
pub fn pipe() -> (PipeEnd, PipeEnd) {
    let (a, b) = (Wire::default(), Wire::default());
    (PipeEnd { inward: Arc::clone(&a), outward: Arc::clone(&b) }, PipeEnd { inward: b, outward: a })
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
        let mut wire = self.outward.lock().unwrap_or_else(PoisonError::into_inner);
        let count = frames.len().min(PIPE_FRAMES_MAX - wire.len());
        wire.extend(frames.drain(..count).map(|mut frame| {
            frame.clear_metadata();
            frame.set_verdicts(Verdicts { ip: Checksum::Unknown, transport: Checksum::Unknown });
            frame
        }));
        count
    }

    fn next_event(&self) -> Option<u64> {
        let wire = self.inward.lock().unwrap_or_else(PoisonError::into_inner);
        (!wire.is_empty()).then_some(0)
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
