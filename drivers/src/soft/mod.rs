//! Ports and pools without DPDK: everything the stack needs on a machine that has none.

pub(crate) mod heap;
mod pipe;

pub use pipe::{PIPE_CAPABILITIES, PIPE_FRAMES_MAX, PipeEnd, SoftControl, pipe};
