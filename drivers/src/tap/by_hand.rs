//! A queue of a TAP whose kernel is made by hand: a socket that keeps messages apart is its file. For the targets for fuzzing,
//! and for tests that need no rights.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::{read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::queue::TapQueue;
use super::{Ends, Shared};
use crate::kernel::Interface;
use crate::pool::Pool;
use crate::port::{DeviceStatistics, Queue};
use crate::tally::{Counter, Counters};

/// More than the longest message: a header, and 64 KiB of payload behind its own.
const MESSAGE_BYTES_MAX: usize = 70_000;

/// A queue, and the kernel's end of its file.
pub struct TapEnd {
    shared: Arc<Shared>,
    queue: TapQueue,
    kernel: OwnedFd,
}

impl TapEnd {
    /// A queue that receives into frames of `pool` and sends packets of at most `frame_bytes_max` bytes, Ethernet's header
    /// included.
    ///
    /// Panics: if the process has no file left.
    pub fn new(pool: Pool, frame_bytes_max: usize) -> TapEnd {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (file, kernel) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        let interface = Interface::find("lo").expect("the loopback");
        let queues = vec![Ends { file, counters: Counters::default(), cut_frames: Counter::default() }];
        let shared =
            Arc::new(Shared { device: "by hand".to_owned(), interface, capture: Arc::default(), queues });
        TapEnd { queue: TapQueue::new(Arc::clone(&shared), 0, pool, frame_bytes_max), shared, kernel }
    }

    /// Has the kernel hand over a frame, with what stands in front of it. False: it has too many waiting.
    pub fn put(&self, bytes: &[u8]) -> bool {
        write(&self.kernel, bytes).is_ok_and(|length| length == bytes.len())
    }

    /// The next frame that the kernel was given, with what stands in front of it.
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let length = read(&self.kernel, &mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    /// The queue.
    pub fn queue(&mut self) -> &mut dyn Queue {
        &mut self.queue
    }

    /// What it has counted.
    pub fn statistics(&self) -> DeviceStatistics {
        self.shared.queues[0].counters.statistics()
    }

    /// Frames that were cut.
    pub fn cut_frames(&self) -> u64 {
        self.shared.queues[0].cut_frames.value()
    }

    /// Frames of the pool that can be taken now.
    pub fn available(&self) -> usize {
        self.queue.available()
    }
}
