//! A sans-IO TCP/IP engine.
#![forbid(unsafe_code)]

pub mod buffer;
pub mod config;
pub mod counters;
pub mod engine;
pub mod flow;
pub mod ip;
pub mod lane;
pub mod mode;
pub mod run;
pub mod sim;
pub mod socket;
pub mod tcp;
pub mod time;
pub mod timer;
pub mod wire;
