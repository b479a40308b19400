//! Ports and pools without DPDK: everything the stack needs on a machine that has none.

mod copy;
mod faulty;
pub(crate) mod heap;
mod nic;
mod pcap;
mod pipe;
mod shortage;
mod spread;

pub(crate) use copy::frame_of;
pub use faulty::{
    FaultSpec, FaultSpecError, FaultStatistics, FaultWatch, Faults, Faulty, HELD_FRAMES_MAX, HELD_FRAMES_MIN,
    PathStatistics, with_faults,
};
pub use nic::Nic;
pub use pcap::{
    PCAP_CAPABILITIES, Pace, PcapControl, PcapError, PcapQueue, PcapStatistics, RECORD_BYTES_MAX, open_pcap,
};
pub use pipe::{PIPE_CAPABILITIES, PIPE_FRAMES_MAX, PipeEnd, SoftControl, pipe};
pub use shortage::Shortage;
pub use spread::{Spread, spread};
