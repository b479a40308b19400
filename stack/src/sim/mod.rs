//! Whole hosts on a virtual network in virtual time: deterministic, in one thread, without a clock.
//! The same seed and the same commit give the same trace, byte for byte.

mod apps;
mod shared;
mod trace;
mod world;

pub use apps::{Client, ClientOptions, Echo, Either, Outcome, pattern};
pub use shared::Shared;
pub use trace::{Trace, Traced, describe_segment};
pub use world::{App, Host, HostId, HostPort, World};
