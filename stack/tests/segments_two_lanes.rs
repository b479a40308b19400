//! The tests of `segments` once more, on a host with two lanes whose frames arrive on either by the dice.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

/// Lanes of the engine's host.
const LANES: u8 = 2;

/// It speaks IPv6.
const IPV6: bool = false;

#[path = "segments/congestion.rs"]
mod congestion;
#[path = "segments/cookies.rs"]
mod cookies;
#[path = "segments/cookies_between_lanes.rs"]
mod cookies_between_lanes;
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
#[path = "segments/network.rs"]
mod network;
#[path = "segments/states.rs"]
mod states;
#[path = "segments/timers.rs"]
mod timers;
