//! Why a runtime cannot be brought up, or ended badly: the operator's to handle, each text with its remedy.

use std::net::IpAddr;

use stack::engine::{INTERFACES_MAX, LANES_MAX};
use thiserror::Error;

/// Why there is no runtime. One line: the cause, then the remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The device, its memory or DPDK cannot be had.
    #[error(transparent)]
    Device(#[from] drivers::SetupError),
    /// Addresses and routes do not fit together.
    #[error(transparent)]
    Engine(#[from] stack::engine::EngineError),
    /// Both ends of a network inside the process are taken.
    #[error("both ends of this `Net` are taken: make another one for further runtimes")]
    NetTaken,
    /// More lanes than there can be.
    #[error("{asked} lanes were asked for and a runtime has 1 to {LANES_MAX}: change `lanes` or `cores`")]
    TooManyLanes {
        /// Lanes asked for.
        asked: usize,
    },
    /// Threads without a lane, or none.
    #[error(
        "{threads} threads cannot share {lanes} lanes: ask for at least one `threads`, and no more than `lanes`"
    )]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// Lanes asked for.
        lanes: usize,
    },
    /// Cores and threads do not match.
    #[error(
        "{cores} cores are named for {threads} threads: name one core in `cores` for each of `threads`, or none"
    )]
    Cores {
        /// Cores named.
        cores: usize,
        /// Threads asked for.
        threads: usize,
    },
    /// Queues without a lane, or none.
    #[error(
        "{queues} queues cannot feed {lanes} lanes: ask for at least one of `queues`, and no more than `lanes`"
    )]
    Queues {
        /// Queues asked for.
        queues: usize,
        /// Lanes asked for.
        lanes: usize,
    },
    /// A ring between two lanes could not be made.
    #[error("no ring from lane {from} to lane {to} ({reason}): reserve more huge pages, or name fewer lanes")]
    Ring {
        /// The lane that would send.
        from: u8,
        /// The lane that would receive.
        to: u8,
        /// DPDK's words.
        reason: String,
    },
    /// The application takes one lane, and a thread has several.
    #[error(
        "{lanes} lanes share {threads} threads, and this program runs one on each: set `threads` to {lanes}"
    )]
    LanesShareThreads {
        /// Lanes asked for.
        lanes: usize,
        /// Threads asked for.
        threads: usize,
    },
    /// No device, or too many.
    #[error("{devices} devices were named and a runtime has 1 to {INTERFACES_MAX}: change `devices`")]
    Devices {
        /// Devices named.
        devices: usize,
    },
    /// One device twice.
    #[error("`{device}` is named twice: name each device once, with all its addresses")]
    DeviceTwice {
        /// Its name.
        device: String,
    },
    /// A device without an address.
    #[error(
        "no address is given for `{device}`: add at least one to its `addresses`, or leave the device out"
    )]
    NoAddress {
        /// The device.
        device: String,
    },
    /// One address twice.
    #[error("{address} is given twice: give each address once, to one device")]
    AddressTwice {
        /// The address.
        address: IpAddr,
    },
    /// An address that cannot be a host's.
    #[error("{address}/{prefix} cannot be a host's address: give a unicast address and its prefix length")]
    Address {
        /// The address.
        address: IpAddr,
        /// Its prefix.
        prefix: u8,
    },
    /// A static neighbour that packets could not go to.
    #[error("{address} cannot be a neighbour at {}: {reason}", mac_text(*.mac))]
    Neighbour {
        /// Its IP address.
        address: IpAddr,
        /// Its Ethernet address.
        mac: [u8; 6],
        /// What is wrong, and the remedy.
        reason: &'static str,
    },
    /// Packets could not carry what IP asks for.
    #[error("an MTU of {mtu} is too small: at least {least} is needed for these addresses")]
    Mtu {
        /// Units: bytes.
        mtu: u16,
        /// Units: bytes.
        least: u16,
    },
    /// A batch too small for the main queue.
    #[error("a batch of {ops} ops is too small: raise `ops` to at least {}", crate::check::OPS_MIN)]
    TooFewOps {
        /// Ops asked for.
        ops: usize,
    },
    /// A stream could hold more frames than it may forward.
    #[error("`sends_per_stream` is {sends} and a stream may hold {frames} frames: raise it to at least that")]
    TooFewSends {
        /// Sends asked for.
        sends: u32,
        /// Frames a stream may hold.
        frames: u32,
    },
    /// A bound that must not be zero, or is beyond what its index can name.
    #[error("`{name}` cannot be {value}: choose a number between 1 and {most}")]
    Bound {
        /// The setting.
        name: &'static str,
        /// What it is.
        value: usize,
        /// The most it can be.
        most: usize,
    },
    /// A core that is not there, or not ours.
    #[error("core {core} cannot be used ({reason}): choose one that `taskset -p $$` allows, or name none")]
    Core {
        /// The core.
        core: u16,
        /// What the system said.
        reason: String,
    },
    /// The system has no randomness or no thread to give.
    #[error("the system refused {what}: {reason}; check its limits")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        reason: String,
    },
}

fn mac_text([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// Why a runtime ended badly.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A lane could not begin.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An application ended its lane.
    #[error("{lane}: {error}")]
    Application {
        /// Which lane.
        lane: stack::socket::LaneId,
        /// Why.
        error: stack::lane::LaneError,
    },
    /// An application panicked.
    #[error("{lane} panicked: see the message above")]
    Panicked {
        /// Which lane.
        lane: stack::socket::LaneId,
    },
}
