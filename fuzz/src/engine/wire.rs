//! The wire: frames in as they are put there, frames out as bytes; at times it takes nothing, or keeps what it sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use drivers::{Frame, Queue};

/// Both ends' view of it.
#[derive(Default)]
pub struct Wire {
    /// For the engine.
    pub inbox: VecDeque<Frame>,
    /// From the engine.
    pub outbox: VecDeque<Vec<u8>>,
    /// Frames it takes before it is full; `None`: any number.
    pub takes: Option<usize>,
    /// Frames that were sent and not given back, as a transmit ring has them.
    pub ring: Vec<Frame>,
    /// It keeps what it sends.
    pub keeps: bool,
}

/// Frames that a transmit ring keeps at most.
const RING: usize = 16;

impl Wire {
    /// Take everything again, and give all back.
    pub fn open(&mut self) {
        (self.takes, self.keeps) = (None, false);
        self.ring.clear();
    }
}

/// The engine's end.
pub struct Raw(pub Arc<Mutex<Wire>>);

impl Queue for Raw {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut wire = self.0.lock().expect("one thread");
        let count = max.min(wire.inbox.len());
        frames.extend(wire.inbox.drain(..count));
        count
    }

    fn transmit(&mut self, _now: u64, frames: &mut Vec<Frame>) -> usize {
        let mut wire = self.0.lock().expect("one thread");
        let count = frames.len().min(wire.takes.unwrap_or(usize::MAX));
        for frame in frames.drain(..count) {
            wire.takes = wire.takes.map(|takes| takes - 1);
            wire.outbox.push_back(frame.segments().flatten().copied().collect());
            if wire.keeps {
                wire.ring.push(frame);
            }
            if wire.ring.len() > RING {
                wire.ring.remove(0);
            }
        }
        count
    }

    fn next_event(&self) -> Option<u64> {
        (!self.0.lock().expect("one thread").inbox.is_empty()).then_some(0)
    }
}
