//! memif: frames through memory that two processes share, by the protocol of VPP and of DPDK's driver, which are peers of
//! this one's.
//!
//! | file | duty |
//! | --- | --- |
//! | `message.rs`, `channel.rs` | what the two ends say, and the socket that they say it over |
//! | `path.rs` | what is wrong with a socket's path, before anything is made |
//! | `client.rs`, `server.rs` | the talk that brings a link up and down, on a thread of its own |
//! | `link.rs` | what that thread, the queue and the control share |
//! | `region.rs`, `ring.rs` | the memory; the rings in it |
//! | `wake.rs` | how they wake each other |
//! | `queue.rs`, `pack.rs`, `sums.rs` | frames out of a ring and into one: copied and summed in one pass |
//! | `by_hand.rs` | ends without threads, and peers that do as they like (feature `fuzz`) |
//!
//! DPDK has a driver of its own (`vdev:net_memif`). This one asks for the lines of a frame that the other core has all at
//! once instead of one after the other, sums what it copies, gathers segments, and does not trust the peer:
//! what that writes is checked, and its memory cannot be taken away under a lane. A client whose server has left comes
//! again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::capture::Capture;
use crate::device::{Device, MemifRole};
use crate::open::OpenOptions;
use crate::pool::LanePools;
use crate::port::{
    Capabilities, Control, DeviceStatistics, LINK_BYTES, Link as LinkState, MTU, MTU_MAX, MTU_MIN, Opened,
    QueueParts, SEGMENTS_MAX, made_up_mac,
};
use crate::setup::SetupError;

#[cfg(feature = "fuzz")]
pub(crate) mod by_hand;
mod channel;
mod client;
mod link;
mod message;
mod pack;
mod path;
mod queue;
mod region;
mod ring;
mod server;
mod sums;
#[cfg(test)]
mod tests;
mod wake;

use client::{Client, Wish};
use link::Link;
pub(crate) use path::check;
use queue::MemifQueue;
use ring::Layout;
use server::Place;

/// Buffers of each ring: two to the power of this. DPDK's default.
const LOG2_RING: u8 = 10;

/// Bytes of a buffer, where the MTU asks for no more. DPDK's default.
const BUFFER_BYTES: u16 = 2048;

const _: () = assert!(cfg!(target_endian = "little"), "descriptors are read and written as two words");

/// What keeps a link: it goes with the last of its queue and its control.
#[expect(dead_code, reason = "held for what dropping them does")]
enum Keeper {
    Client(Client),
    Server(Place),
    #[cfg(feature = "fuzz")]
    ByHand,
}

/// Opens `memif:ROLE,SOCKET,ID`. The link comes up by itself once the other end is there. `pools`: for so many queues, and as
/// many lanes.
///
/// Errors: the socket cannot be made or is not there, or `options` ask for several queues or an MTU that the link cannot
/// have.
pub(crate) fn open(
    device: &Device,
    options: &OpenOptions,
    pools: impl FnOnce(u16, u16) -> Result<LanePools, SetupError>,
) -> Result<Opened, SetupError> {
    let name = device.to_string();
    let Device::Memif { role, socket, id } = device else {
        return Err(SetupError::NoDpdk { device: name });
    };
    if options.queues == 0 || options.queues > 1 && !options.fewer_queues {
        return Err(SetupError::Queues { device: name, asked: options.queues, offered: 1 });
    }
    let mtu = options.mtu.unwrap_or(MTU);
    if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
        return Err(SetupError::Mtu { device: name, asked: mtu, least: MTU_MIN, most: MTU_MAX });
    }
    if options.receive_frames == 0 {
        return Err(SetupError::TooFewFrames { device: name, frames: 0, needed: 1 });
    }
    check(*role, Path::new(socket))?;
    let LanePools { queues, queueless } = pools(1, options.lanes.max(1))?;
    let refused = |error: io::Error| SetupError::Device { device: name.clone(), reason: error.to_string() };
    let link = Arc::new(Link::new(name.clone()).map_err(refused)?);
    let socket = Path::new(socket);
    let keeper = match role {
        MemifRole::Client => {
            let buffer_bytes = u32::from((mtu + LINK_BYTES).max(BUFFER_BYTES)).next_multiple_of(64);
            let layout = Layout { log2_size: LOG2_RING, buffer_bytes };
            let wish = Wish { socket: socket.to_owned(), id: *id, layout };
            Client::start(wish, Arc::clone(&link)).map(Keeper::Client)
        }
        MemifRole::Server => Place::open(socket, *id, Arc::clone(&link)).map(Keeper::Server),
    };
    let keeper = Arc::new(keeper.map_err(refused)?);
    let frame_bytes_max = usize::from(mtu + LINK_BYTES);
    let queues = queues.into_iter().map(|(receive, pools)| {
        let queue = MemifQueue::new(Arc::clone(&link), receive, frame_bytes_max, Arc::clone(&keeper));
        QueueParts { queue: Box::new(queue), pools }
    });
    Ok(Opened {
        name,
        mac: made_up_mac(),
        mtu,
        capabilities: capabilities(mtu),
        queues: queues.collect(),
        queueless,
        rss: None,
        control: Box::new(MemifControl { link, _keeper: keeper }),
    })
}

fn capabilities(mtu: u16) -> Capabilities {
    Capabilities {
        multi_segment: true,
        segments_max: SEGMENTS_MAX,
        reads_heap: true,
        transmit_tcp_checksum: true,
        transmit_udp_checksum: true,
        receive_checksums: true,
        ..Capabilities::plain(mtu)
    }
}

/// The side of a link that is not its queue.
struct MemifControl {
    link: Arc<Link>,
    _keeper: Arc<Keeper>,
}

impl Control for MemifControl {
    fn link(&self) -> LinkState {
        LinkState { up: self.link.is_up(), megabits: None }
    }

    fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    fn capture(&self, path: &Path) -> Result<Capture, SetupError> {
        self.link.capture.begin(path, &self.link.device)
    }

    fn statistics(&self) -> DeviceStatistics {
        self.link.counters.statistics()
    }
}
