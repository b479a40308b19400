//! The network inside the process, for examples and tests. Real devices are `drivers`'.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use drivers::soft::{PIPE_CAPABILITIES, PipeEnd, SoftControl, pipe};
use drivers::{OpenOptions, Opened, Pools, QueueParts};

/// A wire inside the process with two ends, for two runtimes: each that is made with a clone takes an end.
///
/// With one runtime alone, what it sends waits on the wire, bounded, and nobody answers.
#[derive(Clone)]
pub struct Net(Arc<Mutex<Vec<PipeEnd>>>);

/// Frames in each direction: what both ends' sockets may hold and the wire carry.
const FRAMES: usize = 4096;

impl Default for Net {
    fn default() -> Self {
        let (left, right) = pipe(FRAMES, PIPE_CAPABILITIES.mtu_max);
        Net(Arc::new(Mutex::new(vec![right, left])))
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("free_ends", &self.free_ends()).finish()
    }
}

impl Net {
    fn free_ends(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Take an end, as a device that is up; `None` if both are taken.
    pub(crate) fn open(&self, options: &OpenOptions) -> Option<Opened> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = ends.pop()?;
        let last = u8::try_from(2 - ends.len()).unwrap_or(0);
        let pools = Pools::heap(options.receive_frames, options.control_frames);
        Some(Opened {
            name: format!("net:{last}"),
            // Locally administered, and the same in each run.
            mac: [2, 0, 0, 0, 0, last],
            mtu: options.mtu.unwrap_or(1500).min(PIPE_CAPABILITIES.mtu_max),
            capabilities: PIPE_CAPABILITIES,
            queues: vec![QueueParts { queue: Box::new(end), pools }],
            queueless: Vec::new(),
            rss: None,
            control: Box::new(SoftControl),
        })
    }
}
