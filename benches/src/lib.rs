//! What the benches share.
//!
//! | file | duty |
//! | --- | --- |
//! | `hosts` | worlds of two whole hosts on a clean wire |
//! | `rig` | one lane of the real thing on a port whose frames a bench makes: what is timed, and what is not |
//! | `far` | the far ends of its connections: distinct frames in, every answer checked |
//! | `cases` | what is asked of the lane: requests, data, acknowledgements, connections, holes, timeouts, bulk; `cases/rounds`: one round of each |
//! | `floor` | what no engine can do less of for a request |
//! | `cycles` | windows of processor cycles, and their percentiles |
#![forbid(unsafe_code)]

pub mod cases;
pub mod cycles;
pub mod far;
pub mod floor;
pub mod hosts;
pub mod rig;
