//! RFC behaviour at the level of segments: one engine, and a peer made by hand in virtual time.
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
const IPV6: bool = false;

mod congestion;
mod cookies;
mod data;
mod datagrams;
mod driver;
mod ecn;
mod endings;
mod errors;
mod floods;
mod loss;
mod malformed;
mod network;
mod states;
mod timers;
