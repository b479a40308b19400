//! The tests of `segments` that are about TCP once more, over IPv6, and those of IPv6 itself.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

/// Lanes of the engine's host.
const LANES: u8 = 1;

/// It speaks IPv6.
const IPV6: bool = true;

#[path = "segments/congestion.rs"]
mod congestion;
#[path = "segments/cookies.rs"]
mod cookies;
#[path = "segments/data.rs"]
mod data;
#[path = "segments/datagrams.rs"]
mod datagrams;
#[path = "segments/driver.rs"]
mod driver;
#[path = "segments/ecn.rs"]
mod ecn;
#[path = "segments/endings.rs"]
mod endings;
#[path = "segments/errors.rs"]
mod errors;
#[path = "segments/floods.rs"]
mod floods;
#[path = "segments/malformed.rs"]
mod malformed;
#[path = "segments/network_ipv6.rs"]
mod network_ipv6;
#[path = "segments/states.rs"]
mod states;
#[path = "segments/timers.rs"]
mod timers;
