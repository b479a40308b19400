//! A sans-IO TCP/IP engine.
#![forbid(unsafe_code)]

pub mod config;
pub mod flow;
pub mod ip;
pub mod lane;
pub mod mode;
pub mod socket;
pub mod tcp;
pub mod time;
pub mod timer;
pub mod wire;
