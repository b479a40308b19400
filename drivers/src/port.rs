//! What the stack asks of a device: queues, capabilities, link and statistics. Devices live in `soft/` and `dpdk/`.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use crate::capture::Capture;
use crate::frame::Frame;
use crate::pool::Pools;
use crate::setup::SetupError;
use crate::steering::RssTable;

/// Bytes around an IP packet: Ethernet's header and one VLAN tag.
pub(crate) const LINK_BYTES: u16 = 14 + 4;

/// Ethernet's MTU. Units: bytes.
pub(crate) const MTU: u16 = 1500;

/// The least that IPv4 allows. Units: bytes.
pub(crate) const MTU_MIN: u16 = 68;

/// The largest MTU asked for: what most switches pass. Units: bytes.
pub(crate) const MTU_MAX: u16 = 9_216;

/// Segments of one frame where a driver names no bound: what the stack puts together, twice over.
pub(crate) const SEGMENTS_MAX: usize = 16;

/// An address of a station that was made up: local, of one station, and nobody else's.
pub(crate) fn made_up_mac() -> [u8; 6] {
    let [a, b, c, d, e, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    [0x02, a, b, c, d, e]
}

/// What a port can do, asked of it and never assumed. What it cannot, the stack does in software.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Largest IP packet the port sends and receives. Units: bytes without the Ethernet header.
    pub mtu_max: u16,
    /// Sends frames of several segments.
    pub multi_segment: bool,
    /// Most segments of one frame.
    pub segments_max: usize,
    /// Reads memory that is neither a pool's nor registered.
    pub reads_heap: bool,
    /// Fills in IPv4 header checksums.
    pub transmit_ipv4_checksum: bool,
    /// Fills in TCP checksums.
    pub transmit_tcp_checksum: bool,
    /// Fills in UDP checksums.
    pub transmit_udp_checksum: bool,
    /// Puts the frame's VLAN tag into it.
    pub vlan_insert: bool,
    /// Gives verdicts on received checksums.
    pub receive_checksums: bool,
    /// Largest TCP payload the port cuts into segments by itself; zero: none.
    pub segmentation_max: u32,
    /// Frames carry the hash that RSS steered them by.
    pub rss_hash: bool,
}

impl Capabilities {
    /// A port that moves single-segment frames of at most `mtu` bytes and does nothing else.
    pub const fn plain(mtu: u16) -> Capabilities {
        Capabilities {
            mtu_max: mtu,
            multi_segment: false,
            segments_max: 1,
            reads_heap: false,
            transmit_ipv4_checksum: false,
            transmit_tcp_checksum: false,
            transmit_udp_checksum: false,
            vlan_insert: false,
            receive_checksums: false,
            segmentation_max: 0,
            rss_hash: false,
        }
    }
}

/// One queue pair. Belongs to one thread at a time: it moves, it is never shared.
pub trait Queue: Send {
    /// Append at most `max` received frames to `frames`; returns how many. `now` is the lane's clock in nanoseconds.
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize;

    /// Send from the front of `frames`. What was taken is removed, what was not stays, in order; returns how many went.
    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize;

    /// The time at which `receive` will next have something, where the queue can know. Units: nanoseconds.
    fn next_event(&self) -> Option<u64> {
        None
    }

    /// Frames available and frames there are in the pool that a soft port copies what it sends into, if it has one.
    fn transmit_pool(&self) -> Option<(usize, usize)> {
        None
    }

    /// What becomes readable when something has come, for a lane that sleeps. `None`: it has to look for itself.
    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The lane is about to sleep beside [`wakes`](Queue::wakes): what comes is to make that readable until the next `receive`.
    /// False: something has come already.
    fn watch(&mut self) -> bool {
        true
    }

    /// Give back frames that were sent and are still held, where the driver can be asked to.
    fn reclaim(&mut self) {}
}

/// State of a port's link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Frames can pass.
    pub up: bool,
    /// Units: megabits a second; `None` if the port does not say.
    pub megabits: Option<u32>,
}

/// A port's own counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceStatistics {
    /// Frames received.
    pub received_frames: u64,
    /// Bytes received, Ethernet headers included.
    pub received_bytes: u64,
    /// Frames sent.
    pub sent_frames: u64,
    /// Bytes sent, Ethernet headers included.
    pub sent_bytes: u64,
    /// Frames the port dropped because nobody took them in time.
    pub missed: u64,
    /// Received frames the port found broken.
    pub receive_errors: u64,
    /// Frames the port failed to send.
    pub transmit_errors: u64,
    /// Receptions that failed for want of a frame in the pool.
    pub no_frames: u64,
}

/// The side of a port that is not its queues.
pub trait Control: Send + Sync {
    /// State of the link, polled.
    fn link(&self) -> Link;
    /// The device, or the kernel's interface below it, has been taken away: the link is down for good.
    fn is_gone(&self) -> bool {
        false
    }

    /// Why the link is down, where the port knows: one line.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Begins to write what all queues receive and send to a pcapng file, made anew. It ends with what is returned.
    ///
    /// Errors: the port cannot be captured, the file cannot be made, or a capture of the port runs already.
    fn capture(&self, path: &Path) -> Result<Capture, SetupError> {
        Err(SetupError::NoCapture { path: path.display().to_string() })
    }

    /// The port's counters.
    fn statistics(&self) -> DeviceStatistics;
    /// The driver's own counters by name, where it has any.
    fn extended_statistics(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
}

/// One queue pair and the pools it lives from.
pub struct QueueParts {
    /// The queue pair.
    pub queue: Box<dyn Queue>,
    /// Its pools.
    pub pools: Pools,
}

/// A device that is up. Dropping every part of it stops it and gives everything back.
pub struct Opened {
    /// The name a person typed.
    pub name: String,
    /// The port's Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet. Units: bytes.
    pub mtu: u16,
    /// What the port can do.
    pub capabilities: Capabilities,
    /// The first lanes' queue pairs.
    pub queues: Vec<QueueParts>,
    /// Pools of the lanes that have no queue pair: they receive and send by way of the others.
    pub queueless: Vec<Pools>,
    /// How RSS spreads packets over the queues; `None` where that cannot be told.
    pub rss: Option<Arc<RssTable>>,
    /// Link and statistics.
    pub control: Box<dyn Control>,
}
