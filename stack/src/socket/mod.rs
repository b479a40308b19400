//! The vocabulary of the batched API: handles, ops, completions, and the memory they carry.
//! The lane that exchanges them lives in `lane.rs`, what they mean to TCP in `engine`.

mod event;
mod handle;
mod info;
mod memory;
mod op;
mod per_socket;

pub use event::{Completion, Event, OpError, Reason, Trouble};
pub use handle::{LaneId, Listener, QueueId, SocketId, Stream, Tag, Udp};
pub use info::{Recovery, TcpInfo, TcpState};
pub(crate) use memory::Returns;
pub use memory::{Payload, Received};
pub use op::{
    Action, CONNECT_TIMEOUT, ListenOptions, NetworkChange, Op, QuickAck, SocketOption, StreamOptions,
};
pub use per_socket::PerSocket;
