//! What targets for fuzzing reach and nobody else does (feature `fuzz`): links whose other end is made by hand, in one thread
//! and without a clock. The targets are the crate `fuzz`'s.

pub use crate::memif::by_hand::{
    MemifClient, MemifEnd, MemifLine, MemifMemory, MemifServer, memif_event, memif_message,
};
pub use crate::tap::by_hand::TapEnd;
