//! The load generator: a client of many connections on one lane, as a state machine that whoever runs the lane turns.
//! Nothing is shared between lanes; what they found is merged at the end.
//!
//! # Map
//!
//! | file | duty |
//! | --- | --- |
//! | `target.rs` | URLs, names and addresses |
//! | `sources.rs` | the addresses that connections come from |
//! | `plan.rs` | what is to be done, and each lane's part of it |
//! | `schedule.rs` | when requests are due in an open loop |
//! | `answer.rs` | where HTTP answers end |
//! | `slot.rs` | what is known of one connection |
//! | `client.rs` | a lane's client: which request goes where; in `client/phases.rs` what it is at |
//! | `events.rs` | what completions do to a connection |
//! | `results.rs` | latencies and errors of a lane, and their sum |
//! | `report.rs` | results as text and as JSON |
//! | `progress.rs` | how far the lanes are, on a terminal |
//! | `options.rs` | the command line |
//!
//! # Invariants
//!
//! - A latency begins when its request was due: in an open loop by the schedule, however late it could be sent.
//! - Every request that was begun ends as one answer or one error.
//! - Times are the lane's clock at the beginning of its turns, so they are as fine as turns are short.

mod answer;
mod client;
mod events;
pub mod options;
mod plan;
mod progress;
mod report;
mod results;
mod schedule;
mod slot;
mod sources;
mod target;

pub use answer::{Answer, AnswerReader, Malformed};
pub use client::{Client, drive, drive_all};
pub use plan::{Exchange, Pace, Plan, Tls};
pub use progress::{Progress, show};
pub use report::{json, text};
pub use results::{ErrorKind, Results};
pub use schedule::{Schedule, Spread};
pub use sources::{SOURCES_MAX, SourceRange, addresses};
pub use target::{Pin, Scheme, Target};
