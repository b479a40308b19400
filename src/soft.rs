//! The network inside the process, for examples and tests. Real devices are `drivers`'.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use drivers::soft::{PIPE_CAPABILITIES, PipeEnd, SoftControl, Spread, pipe, spread};
use drivers::{
    OpenOptions, Opened, Pools, Queue, QueueParts, RSS_KEY_BYTES_MIN, RssTable, RssTypes, symmetric_key,
};

/// A wire inside the process with two ends, for two runtimes: each that is made with a clone takes an end.
///
/// With one runtime alone, what it sends waits on the wire, bounded, and nobody answers.
#[derive(Clone)]
pub struct Net(Arc<Mutex<Vec<PipeEnd>>>);

/// Entries of the table that hashes choose a queue by: as many as an 82599 has.
const RETA_ENTRIES: u16 = 128;

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
        let pools = || Pools::heap(options.receive_frames, options.control_frames);
        // A NIC of its own: with several queues it has RSS.
        let types = RssTypes { tcp_ipv4: true, ..RssTypes::default() };
        let reta = (0..RETA_ENTRIES).map(|entry| entry % options.queues.max(1)).collect();
        let table = Arc::new(RssTable::new(symmetric_key(RSS_KEY_BYTES_MIN), reta, types)?);
        let (queues, rss): (Vec<Box<dyn Queue>>, _) = match options.queues {
            0 | 1 => (vec![Box::new(end)], None),
            count => (spread(Box::new(end), count, Spread::Rss(Arc::clone(&table))), Some(table)),
        };
        let queueless = (queues.len()..usize::from(options.lanes)).map(|_| pools()).collect();
        let queues = queues.into_iter().map(|queue| QueueParts { queue, pools: pools() });
        Some(Opened {
            name: format!("net:{last}"),
            // Locally administered, and the same in each run.
            mac: [2, 0, 0, 0, 0, last],
            mtu: options.mtu.unwrap_or(1500).min(PIPE_CAPABILITIES.mtu_max),
            capabilities: PIPE_CAPABILITIES,
            queues: queues.collect(),
            queueless,
            rss,
            control: Box::new(SoftControl),
        })
    }
}
