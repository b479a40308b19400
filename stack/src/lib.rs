//! A sans-IO TCP/IP engine.
#![forbid(unsafe_code)]

pub mod ip;
pub mod lane;
pub mod mode;
pub mod socket;
pub mod time;
pub mod wire;
