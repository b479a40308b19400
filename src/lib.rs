//! A kernel-bypass TCP/IP framework on DPDK: one lane for each core, nothing shared between them.
#![forbid(unsafe_code)]

pub use drivers::{Block, Region};
pub use stack::lane::{Bound, Full, Lane, LaneError, LaneOptions, QueueOptions};
pub use stack::mode::LaneWaker;
pub use stack::socket::{
    Action, Completion, Event, LaneId, ListenOptions, Listener, Op, OpError, Payload, PerSocket, QueueId,
    Reason, Received, SocketId, SocketOption, Stream, Tag, TcpInfo, Udp,
};
pub use stack::time::Instant;
