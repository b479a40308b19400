//! TAP: an interface of the kernel's whose wire is this program. Frames cross by `readv` and `writev` on `/dev/net/tun`.
//!
//! | file | duty |
//! | --- | --- |
//! | `header.rs` | what stands in front of each frame there: which checksum is not filled in, where to cut |
//! | `queue.rs` | frames out of the kernel and into it |
//! | `by_hand.rs` | a queue whose kernel does as it likes, for tests (feature `fuzz`) |
//!
//! What the kernel hands over whole is cut by `cut.rs`, one level up.
//!
//! DPDK has a driver of its own (`vdev:net_tap0,iface=…`). This one hands over what the kernel would put together again: up to
//! 64 KiB of TCP payload in one frame, and checksums that nobody needs, for the memory never leaves the machine. It wakes a
//! lane that sleeps, and works without DPDK.

use std::ffi::c_short;
use std::fs::OpenOptions as FileOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::capture::{Capture, CapturePoint};
use crate::device::Device;
use crate::kernel::{self, Interface, NET_ADMIN, State, check_capability};
use crate::open::{OpenOptions, SPARE_FRAMES};
use crate::pool::LanePools;
use crate::port::{
    Capabilities, Control, DeviceStatistics, LINK_BYTES, Link, MTU, MTU_MAX, MTU_MIN, Opened, QueueParts,
    SEGMENTS_MAX, made_up_mac,
};
use crate::setup::SetupError;
use crate::tally::{Counter, Counters};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod by_hand;
mod header;
mod queue;
#[cfg(test)]
mod tests;

use queue::TapQueue;

const TUN: &str = "/dev/net/tun";

/// Queue pairs that the kernel gives an interface at most is 256; a runtime has no more lanes than this.
const QUEUES_MAX: u16 = 64;

/// Frames that the kernel keeps for a lane that is busy or sleeps, for each queue. Its own 500 are a few milliseconds.
const QUEUE_FRAMES: u16 = 2048;

/// What one IP packet holds, less the largest headers.
const SEGMENTATION_MAX: u32 = 65_535 - 120;

/// What the kernel may leave to us.
const TAKES: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// What the queues of an interface and its control share.
struct Shared {
    device: String,
    interface: Interface,
    capture: Arc<CapturePoint>,
    queues: Vec<Ends>,
}

/// One queue's file, and what went through it. The interface goes with the last of its files.
struct Ends {
    file: OwnedFd,
    counters: Counters,
    /// Frames that were cut into segments.
    cut_frames: Counter,
}

/// Checks what can be checked of `tap:NAME` before it is opened.
///
/// Errors: the name is taken, the kernel has no TAPs, or the program may not make one.
pub(crate) fn check(device: &Device, name: &str) -> Result<(), SetupError> {
    if kernel::exists(name) {
        return Err(SetupError::InterfaceTaken { name: name.to_owned() });
    }
    if !Path::new(TUN).exists() {
        return Err(SetupError::NoTun { path: TUN });
    }
    check_capability(device, NET_ADMIN)
}

/// Opens `tap:NAME`: makes the interface and brings it up. It goes with the last part of what is returned. `pools`: for so many
/// queues, and as many lanes.
///
/// Errors: those of [`check`], or `options` ask for queues or an MTU that it cannot have.
pub(crate) fn open(
    device: &Device,
    options: &OpenOptions,
    pools: impl FnOnce(u16, u16) -> Result<LanePools, SetupError>,
) -> Result<Opened, SetupError> {
    let text = device.to_string();
    let Device::Tap(name) = device else { return Err(SetupError::NoDpdk { device: text }) };
    let count = options.queues.min(QUEUES_MAX);
    if count == 0 || count < options.queues && !options.fewer_queues {
        return Err(SetupError::Queues { device: text, asked: options.queues, offered: QUEUES_MAX });
    }
    let mtu = options.mtu.unwrap_or(MTU);
    if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
        return Err(SetupError::Mtu { device: text, asked: mtu, least: MTU_MIN, most: MTU_MAX });
    }
    if options.receive_frames < SPARE_FRAMES {
        let (frames, needed) = (options.receive_frames, SPARE_FRAMES);
        return Err(SetupError::TooFewFrames { device: text, frames, needed });
    }
    check(device, name)?;
    let pools = pools(count, options.lanes.max(count))?;
    let files = (0..count).map(|index| attach(device, name, index, count)).collect::<Result<Vec<_>, _>>()?;
    let refused = |error: io::Error| SetupError::Device { device: text.clone(), reason: error.to_string() };
    let gone = || io::Error::other("the interface has gone again");
    let interface = Interface::find(name).ok_or_else(gone).map_err(refused)?;
    if mtu != MTU {
        interface.set_mtu(mtu).map_err(refused)?;
    }
    interface.set_queue_frames(QUEUE_FRAMES).map_err(refused)?;
    interface.bring_up().map_err(refused)?;
    let ends = files
        .into_iter()
        .map(|file| Ends { file, counters: Counters::default(), cut_frames: Counter::default() })
        .collect();
    let shared = Arc::new(Shared { device: text.clone(), interface, capture: Arc::default(), queues: ends });
    let frame_bytes_max = usize::from(mtu + LINK_BYTES);
    let queues = (0..).zip(pools.queues).map(|(index, (receive, pools))| {
        let queue = TapQueue::new(Arc::clone(&shared), index, receive, frame_bytes_max);
        QueueParts { queue: Box::new(queue), pools }
    });
    Ok(Opened {
        name: text,
        mac: made_up_mac(),
        mtu,
        capabilities: capabilities(mtu),
        queues: queues.collect(),
        queueless: pools.queueless,
        rss: None,
        control: Box::new(TapControl { shared: Arc::clone(&shared) }),
    })
}

/// One queue of the interface. The first makes it.
fn attach(device: &Device, name: &str, index: u16, count: u16) -> Result<OwnedFd, SetupError> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            SetupError::Permission { device: device.to_string(), capability: NET_ADMIN.1 }
        }
        Some(libc::EBUSY) => SetupError::InterfaceTaken { name: name.to_owned() },
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => SetupError::NoTun { path: TUN },
        _ => SetupError::Device { device: device.to_string(), reason: error.to_string() },
    };
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if count > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    if index == 0 {
        // Not one that somebody has made meanwhile.
        flags |= libc::IFF_TUN_EXCL;
    }
    let flags = c_short::from_ne_bytes(u16::try_from(flags).unwrap_or(0).to_ne_bytes());
    let file = FileOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN);
    let file = OwnedFd::from(file.map_err(failed)?);
    kernel::attach_tun(&file, name, flags).map_err(failed)?;
    kernel::set_tun_offloads(&file, TAKES).map_err(failed)?;
    Ok(file)
}

fn capabilities(mtu: u16) -> Capabilities {
    Capabilities {
        multi_segment: true,
        segments_max: SEGMENTS_MAX,
        reads_heap: true,
        transmit_tcp_checksum: true,
        transmit_udp_checksum: true,
        receive_checksums: true,
        segmentation_max: SEGMENTATION_MAX,
        ..Capabilities::plain(mtu)
    }
}

/// The side of a TAP that is not its queues.
struct TapControl {
    shared: Arc<Shared>,
}

impl Control for TapControl {
    fn link(&self) -> Link {
        Link { up: self.shared.interface.state() == State::Up, megabits: None }
    }

    fn is_gone(&self) -> bool {
        self.shared.interface.state() == State::Gone
    }

    fn capture(&self, path: &Path) -> Result<Capture, SetupError> {
        self.shared.capture.begin(path, &self.shared.device)
    }

    fn extended_statistics(&self) -> Vec<(String, u64)> {
        let cut = self.shared.queues.iter().map(|queue| queue.cut_frames.value()).sum();
        vec![("rx_cut_frames".to_owned(), cut)]
    }

    fn statistics(&self) -> DeviceStatistics {
        let each = self.shared.queues.iter().map(|queue| queue.counters.statistics());
        each.fold(DeviceStatistics::default(), |all, one| DeviceStatistics {
            received_frames: all.received_frames + one.received_frames,
            received_bytes: all.received_bytes + one.received_bytes,
            sent_frames: all.sent_frames + one.sent_frames,
            sent_bytes: all.sent_bytes + one.sent_bytes,
            missed: all.missed + one.missed,
            receive_errors: all.receive_errors + one.receive_errors,
            transmit_errors: all.transmit_errors + one.transmit_errors,
            no_frames: all.no_frames + one.no_frames,
        })
    }
}
