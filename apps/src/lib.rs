//! The programs that come with Corelane: an HTTP server, a load generator and an echo server.
//! The network they run on is `corelane`'s; nothing here knows of frames, segments or devices.
//!
//! # Map
//!
//! | module | duty |
//! | --- | --- |
//! | [`http`] | requests, targets, response heads: bytes to values and back, no I/O |
//! | [`files`] | the file thread, its bounded chunk cache, each lane's end of it |
//! | [`httpd`] | the server on a lane: connections, deadlines, answers |
//! | [`echo`] | whatever arrives goes back |
//! | [`loadgen`] | the client that loads servers: connections, schedules, results |
//! | [`tls`] | TLS in memory, for either side |
//! | [`configuration`] | files of options, checked whole |
//! | [`doctor`] | whether a host is ready, and what mends it |
//! | [`devices`] | which device an option is for |
//! | [`options`] | the command line all programs share |
//! | [`service`] | servers and clients in steps, on all lanes of a thread |
//! | [`reports`] | what lanes count, printed and written |
//! | [`program`] | from options to a running program: runtime, signals, reports |
//!
//! # Invariants
//!
//! - A lane never opens, reads or stats a file; only the file thread does.
//! - A request for a file that is small and hot allocates nothing and copies nothing.
//! - Everything that a client can make grow has a named bound.
#![forbid(unsafe_code)]

pub mod configuration;
pub mod devices;
pub mod doctor;
pub mod echo;
pub mod files;
pub mod http;
pub mod httpd;
pub mod loadgen;
pub mod options;
mod outbox;
pub mod program;
pub mod reports;
pub mod service;
pub mod tls;
pub mod watch;
