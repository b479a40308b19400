//! Targets for fuzzing: each takes bytes that nobody thought of, and panics where Corelane does not keep its word.
//!
//! # Map
//!
//! | file | duty |
//! | --- | --- |
//! | [`wire`] | every parser of headers: in bounds, and what was read can be written and read again |
//! | [`text`] | what people and peers write: HTTP, ranges, configuration files, device names, captures |
//! | [`memif`] | a link through shared memory: messages, and what a peer writes to rings, descriptors and buffers |
//! | [`cut`] | a TAP: what the kernel hands over whole and is cut here, with the header that says how |
//! | [`engine`] | a whole engine, with segments, broken frames, ops and time as the bytes say |
//! | [`input`] | decisions out of bytes |
//! | [`packets`] | packets as they should be, for targets to break |
//! | `targets/` | the same under libFuzzer, with the feature `libfuzzer`; `ci/fuzz` builds and runs them |
//! | `corpus/` | the bytes to begin with, and those that once found a fault; a test replays them all |
//!
//! # Invariants
//!
//! - A target is a function of its bytes: no clock, no random source, nothing kept between two runs.
#![forbid(unsafe_code)]

pub mod cut;
pub mod engine;
pub mod input;
pub mod memif;
pub mod packets;
pub mod text;
pub mod wire;

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("cut", cut::run),
    ("engine", engine::run),
    ("memif", memif::run),
    ("text", text::run),
    ("wire", wire::run),
];
