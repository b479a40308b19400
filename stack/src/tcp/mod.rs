//! TCP, as RFC 9293 has it: pure decisions over plain data. Knows neither frames nor modes.
//!
//! | file | duty |
//! | --- | --- |
//! | `state`, `parts` | what a connection is, of which parts |
//! | `shared` | what all of a lane share |
//! | `active`, `rare` | its part for what is amiss; its part for what few connections have |
//! | `input` | what an arriving segment does to it, in the order of RFC 9293 section 3.10.7 |
//! | `acknowledge`, `text` | the acknowledgement's and the payload's part of that |
//! | `fast`, `bare` | the common segment, in and out, or nothing; out without payload |
//! | `opening` | the common segment that opens a connection |
//! | `output` | what it says next |
//! | `retransmission` | what it says again |
//! | `window` | the window that it advertises |
//! | `timers` | what happens when nothing arrives |
//! | `loss`, `congestion` | when losses are repaired; how much may be in flight |
//! | `sack`, `rack`, `tlp` | what the peer reports; what is lost by it; probes of a silent tail |
//! | `prr`, `undo` | the pace of a repair; repairs that were for nothing |
//! | `history` | what was learnt of the path |
//! | `mtu` | which size of segments the path takes |
//! | `ecn` | what was marked, and how both ends tell each other |
//! | `urgent` | where urgent data ends |
//! | `send`, `skip`, `receive` | ranges on their way out, and ways past them; ranges beyond RCV.NXT |
//! | `listen`, `time_wait` | compact types for connections that are not yet, or no longer |
//! | `cookie` | the first of these in the numbers of a SYN-ACK, and remembered nowhere |
//! | `challenge`, `source_port` | how often strangers are answered; which ports a connect tries |
//! | `info`, `tally` | its figures, for those who ask; what it counts for them |
//! | `options` | what it does otherwise than the configuration says |
//! | `isn`, `rtt`, `ticks` | initial sequence numbers, ports and hashes; round trips; deadlines |

pub mod acknowledge;
mod active;
pub mod bare;
pub mod challenge;
pub mod congestion;
pub mod cookie;
pub mod ecn;
pub mod fast;
pub mod history;
pub mod info;
pub mod input;
pub mod isn;
pub mod listen;
pub mod loss;
pub mod mtu;
pub mod opening;
pub mod options;
pub mod output;
pub mod parts;
pub mod prr;
pub mod rack;
mod rare;
pub mod receive;
mod retransmission;
pub mod rtt;
pub mod sack;
pub mod send;
mod shared;
mod skip;
pub mod source_port;
pub mod state;
pub mod tally;
pub mod text;
pub mod ticks;
pub mod time_wait;
pub mod timers;
pub mod tlp;
pub mod undo;
pub mod urgent;
pub mod window;

pub use crate::wire::tcp::SeqNum;
