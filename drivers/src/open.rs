//! One way to open any device. What a device is named is `device.rs`; how DPDK opens it is `dpdk/port.rs`, how captures
//! are opened without it `soft/pcap/device.rs`.

use crate::device::Device;
#[cfg(not(feature = "dpdk"))]
use crate::pool::LanePools;
use crate::port::Opened;
use crate::setup::SetupError;

/// How to open a device.
///
/// Frames are counted for each queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Lanes that are to live from the device: at least as many as queues. Zero: as many.
    pub lanes: u16,
    /// Queue pairs.
    pub queues: u16,
    /// Make do with fewer queue pairs where the device has fewer.
    pub fewer_queues: bool,
    /// Frames to receive into. The receive ring takes what is above [`SPARE_FRAMES`], up to its size.
    pub receive_frames: usize,
    /// Frames for headers and control, and bare headers to attach payload with: as many of each.
    pub control_frames: usize,
    /// Descriptors of each ring; less if the pool or the device is smaller.
    pub descriptors: u16,
    /// Largest IP packet; `None`: the device's own. Units: bytes.
    pub mtu: Option<u16>,
    /// Take frames for other addresses too.
    pub promiscuous: bool,
    /// Lanes may sleep until something comes: where a NIC can, it interrupts then.
    pub sleeps: bool,
}

/// Receive frames that the ring leaves for those the stack holds.
pub const SPARE_FRAMES: usize = 64;

impl Default for OpenOptions {
    /// One queue that holds a window of 64 KiB for each of some hundred connections.
    fn default() -> OpenOptions {
        OpenOptions {
            lanes: 0,
            queues: 1,
            fewer_queues: false,
            receive_frames: 4096,
            control_frames: 2048,
            descriptors: 512,
            mtu: None,
            promiscuous: false,
            sleeps: true,
        }
    }
}

/// Opens `device`: claims it, its memory and its queues, and starts it. Frames arrive from now on.
///
/// Starts DPDK with its defaults if nobody has. Built without DPDK, captures, memif and TAPs can be opened.
///
/// Errors: see [`SetupError`]; nothing is left behind.
pub fn open(device: &Device, options: &OpenOptions) -> Result<Opened, SetupError> {
    #[cfg(feature = "dpdk")]
    {
        crate::dpdk::open(device, options)
    }
    #[cfg(not(feature = "dpdk"))]
    match device {
        Device::Memif { .. } => {
            crate::memif::open(device, options, |queues, lanes| Ok(LanePools::heap(options, queues, lanes)))
        }
        Device::Tap(_) => {
            crate::tap::open(device, options, |queues, lanes| Ok(LanePools::heap(options, queues, lanes)))
        }
        Device::Pcap { input, output } => crate::soft::open_pcap(input, output, options),
        _ => Err(SetupError::NoDpdk { device: device.to_string() }),
    }
}
