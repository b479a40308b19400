//! Frames, pools, memory, ports and clocks, as safe types over DPDK and over the heap.
//!
//! # Map
//!
//! | file | duty |
//! | --- | --- |
//! | `mbuf.rs` | the header every frame has: `rte_mbuf`'s layout, for DPDK's buffers and for ours |
//! | `frame.rs` | [`Frame`]: the 16-byte owning handle, its window, its chain, its metadata |
//! | `pool.rs`, `soft/heap.rs` | [`Pool`]: where frames come from and go back to |
//! | `free.rs` | [`Homeward`]: frames that go home together |
//! | `memory.rs` | [`Region`], [`Block`], [`Extent`]: memory that frames carry by reference |
//! | `compose.rs` | [`Composer`]: headers in front of payload; the one place that copies what a port cannot reach |
//! | `cut.rs` | several segments of a TCP flow in one piece, cut |
//! | `port.rs` | [`Queue`], [`Capabilities`], [`Opened`]: what the stack asks of a device |
//! | `device.rs`, `open.rs`, `setup.rs` | [`Device`]: names a person can type; [`open`]; [`SetupError`]: what may be missing |
//! | `soft/` | ports without DPDK: pipe, pcap, faulty; [`open`] opens captures by name where DPDK is left out |
//! | `memif/` | frames through memory that two processes share |
//! | `tap/`, `kernel.rs` | an interface of the kernel's whose wire is this program; the kernel's interfaces |
//! | `dpdk/` | DPDK's EAL, ports and pools (feature `dpdk`) |
//! | `fuzz.rs` | links whose other end is made by hand (feature `fuzz`) |
//! | `steering.rs` | RSS: which queue a packet arrives on |
//! | `capture.rs` | what a port receives and sends, as a pcapng file |
//! | `clock.rs`, `prefetch.rs`, `bell.rs`, `tally.rs` | the lane's clock; cache hints; what ends a sleep; counters |
//! | `allocator.rs` | [`CountingAllocator`]: shows that the packet path asks for no memory |
//! | `sum.rs` | [`sum_front`], [`copy_front`]: what the Internet checksum folds, by vectors, of what lies there or is copied |
//! | `huge_pages.rs` | [`HugePageAllocator`]: lays large tables in huge pages |
//!
//! # Invariants
//!
//! - With `dpdk-sys`, this crate is the only home of `unsafe`. Everything it exports is safe to call in any order.
//! - A frame frees itself, its chain and what is attached to it, on whichever thread drops it.
//! - Nothing with a reference count above one is ever handed out for writing.
//! - A heap frame never reaches C: a port that runs DPDK copies it first (see `compose.rs`).

mod allocator;
mod bell;
mod capture;
pub mod clock;
mod compose;
mod cut;
mod device;
#[cfg(feature = "dpdk")]
pub mod dpdk;
mod frame;
mod free;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod huge_pages;
mod kernel;
mod mbuf;
mod memif;
pub mod memory;
mod open;
mod pool;
mod port;
mod prefetch;
mod setup;
pub mod soft;
mod steering;
mod sum;
mod tally;
mod tap;

pub use allocator::CountingAllocator;
pub use bell::Bell;
pub use capture::{Capture, CapturePoint, Direction};
pub use compose::{Composer, NoFrames};
pub use device::{Device, DeviceNameError, MemifRole, PciAddress};
pub use frame::{Checksum, Checksums, Frame, Held, Offload, Transport, Verdicts};
pub use free::{Homeward, free_all};
pub use huge_pages::HugePageAllocator;
pub use memory::{Block, Class, Extent, Lent, Region};
pub use open::{OpenOptions, SPARE_FRAMES, open};
pub use pool::{Pool, Pools};
pub use port::{Capabilities, Control, DeviceStatistics, Link, Opened, Queue, QueueParts};
pub use prefetch::prefetch;
pub use setup::SetupError;
pub use steering::{RSS_KEY_BYTES_MIN, RssTable, RssTypes, symmetric_key, toeplitz};
pub use sum::{copy_front, sum_front};
