//! A kernel-bypass TCP/IP framework on DPDK: one lane for each core, nothing shared between them.
//!
//! An application gives its [`Lane`] *ops* in batches and takes *completions* in batches. Neither ever blocks.
//! Received data are owned slices of the frames they came in; dropping them gives the window back. Payloads move in
//! and come home when they are acknowledged.
//!
//! # Echo, whole
//!
//! ```
#![doc = include_str!("../examples/echo.rs")]
//! ```
//!
//! [`soft::Net`] is a network inside the process; a real program names a device:
//! `Config::new("tap:lane0".parse::<Device>()?, address)`.
//!
//! # Map
//!
//! | module | duty |
//! | --- | --- |
//! | [`Config`] | every setting and every bound |
//! | [`Runtime`] | devices, memory, threads, lanes; their end |
//! | [`soft`] | the network inside the process |
//! | [`prelude`] | what an application needs, in one line |
//!
//! The engine, the lane and the vocabulary of ops and completions are the crate `stack`'s; frames, regions and
//! devices are `drivers`'.
#![forbid(unsafe_code)]

mod bring_up;
mod check;
mod config;
mod provenance;
mod runtime;
mod setup;
pub mod soft;

pub use bytes::Bytes;
pub use drivers::soft::{FaultSpec, FaultSpecError, Faults};
pub use drivers::{Block, DeviceNameError, HugePageAllocator, Region};
pub use stack::config::{Address, Gateway, SynCookies, TcpConfig};
pub use stack::counters::Report;
pub use stack::lane::{Bound, Full, Lane, LaneError, LaneOptions, LaneSet, QueueOptions};
pub use stack::mode::LaneWaker;
pub use stack::poll;
pub use stack::socket::{
    Action, Completion, Event, LaneId, ListenOptions, Listener, NetworkChange, Op, OpError, Payload,
    PerSocket, QueueId, Reason, Received, SocketId, SocketOption, Stream, Tag, TcpInfo, Trouble, Udp,
};
pub use stack::time::Instant;

pub use crate::bring_up::OpenDevice;
pub use crate::config::{Config, Device, DeviceConfig, Mode};
pub use crate::provenance::{PROVENANCE, Provenance};
pub use crate::runtime::{Runtime, Stopper};
pub use crate::setup::{RunError, SetupError};

/// What an application needs: `use corelane::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Block, Bytes, Completion, Config, Device, DeviceConfig, Event, Instant, Lane, LaneError, LaneId,
        LaneSet, LaneWaker, Listener, Op, OpError, Payload, PerSocket, QueueId, Reason, Received, Region,
        Runtime, SocketId, SocketOption, Stopper, Stream, Tag, Trouble, Udp,
    };
}
