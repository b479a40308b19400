//! From a device's name to one of DPDK's ports, and back to nothing. What the port then does is `port.rs`'s.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use dpdk_sys as ffi;

use super::{chatter, error_text, surroundings};
use crate::device::Device;
use crate::setup::SetupError;

/// DPDK's lists of devices have no lock of their own.
pub(super) static CONTROL: Mutex<()> = Mutex::new(());

/// One of DPDK's ports, owned: dropping it closes the port and removes the device.
pub(super) struct OwnedPort {
    pub id: u16,
    device: Option<NonNull<ffi::rte_device>>,
    /// Libraries below its driver print to this process's standard streams.
    prints: bool,
    /// DPDK's own thread reads from the port's sockets, and waits if there is nothing.
    awaits: bool,
}

// SAFETY: the device is touched only by the drop, under `CONTROL`.
unsafe impl Send for OwnedPort {}
// SAFETY: `&OwnedPort` reads the number alone.
unsafe impl Sync for OwnedPort {}

/// Bytes of a frame in AF_PACKET's rings. The kernel joins fragments before it hands them over, and a joined
/// datagram that is longer than this arrives cut.
const AF_PACKET_FRAME_BYTES: u16 = 12_288;

/// Whole pages and whole frames: the driver takes the ring's frames to lie without gaps.
const AF_PACKET_BLOCK_BYTES: u32 = 5 * AF_PACKET_FRAME_BYTES as u32;

/// Frames of each ring of AF_PACKET's: with fewer, bursts spill to the other queues.
const AF_PACKET_FRAMES: u32 = 1020;

/// AF_PACKET sends no more than this, whatever its interface's MTU.
const AF_PACKET_MTU_MAX: u16 = 1500;

/// AF_PACKET's driver has no more rings (`RTE_PMD_AF_PACKET_MAX_RINGS`).
const AF_PACKET_QUEUES_MAX: u16 = 16;

/// TAP's driver names the descriptors of all its queues, two each, in one message for other processes, and writes past
/// the message's end with more.
#[expect(clippy::cast_possible_truncation, reason = "8 to 253, by version")]
const TAP_QUEUES_MAX: u16 = (ffi::RTE_MP_MAX_FD_NUM / 2) as u16;

/// TAP sends no more than this: longer frames are not taken, and block the queue.
const TAP_MTU_MAX: u16 = 1504;

/// What [`AF_XDP_ROOM`] leaves beside DPDK's headroom, the kernel's and Ethernet's header.
const AF_XDP_MTU_MAX: u16 = AF_XDP_ROOM - 128 - 256 - 18;

/// The frames with which its driver fills the kernel's ring (`ETH_AF_XDP_DFLT_NUM_DESCS`).
const AF_XDP_FRAMES: u16 = 2048;

/// The kernel takes frames of at most a page, of which the pool's and the mbuf's headers have their part. An odd
/// number of cache lines, for else the pool makes each frame one line longer.
const AF_XDP_ROOM: u16 = 63 * 64 - 64 - 128;

/// What both ends agree on without being told.
const MEMIF_MTU_MAX: u16 = 1500;

/// What a kind of device is known to do, where DPDK's own answers do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Queue pairs to ask the driver for at most.
    pub queues_max: u16,
    /// Largest IP packet that gets through, where the driver's own answer is wrong.
    pub mtu_max: Option<u16>,
    /// The port is an interface of the kernel's, which keeps its MTU.
    pub kernel_interface: bool,
    /// Frames that the driver takes whatever the size of its rings.
    pub kept_frames: u16,
    /// Data room of receive frames.
    pub receive_room: u16,
    /// DPDK's own thread takes memory away that bursts are in: they go through a gate.
    pub unmaps_at_will: bool,
    /// Frames are copied by the CPU, so any memory of the process can be sent from.
    pub reads_heap: bool,
    /// Frames that are sent come back as they are: flags, references and all.
    pub loops: bool,
    /// Sends each frame of several segments whole.
    pub gathers: bool,
    /// Cuts TCP payload into segments well enough to rely on.
    pub segments_tcp: bool,
    /// Steers by a hash of its own and says which.
    pub steers: bool,
    /// Fills in checksums rightly whatever the lengths of a frame's segments.
    pub sums_any_segments: bool,
    /// The kernel's end of the link has the port's address, so ours must be another.
    pub shares_mac: bool,
}

impl Traits {
    pub(super) fn of(device: &Device) -> Traits {
        let copying = Traits {
            queues_max: u16::MAX,
            mtu_max: None,
            kernel_interface: false,
            kept_frames: 0,
            receive_room: crate::pool::RECEIVE_ROOM,
            unmaps_at_will: false,
            reads_heap: true,
            loops: false,
            gathers: true,
            // TAP cuts in software, and frames it cannot cut vanish.
            segments_tcp: false,
            steers: false,
            sums_any_segments: true,
            shares_mac: false,
        };
        match driver(device) {
            // TAP sums in software, segment by segment, and wrongly behind one of odd length.
            "net_tap" => Traits {
                queues_max: TAP_QUEUES_MAX,
                mtu_max: Some(TAP_MTU_MAX),
                shares_mac: true,
                sums_any_segments: false,
                ..copying
            },
            "net_af_packet" => Traits {
                queues_max: AF_PACKET_QUEUES_MAX,
                mtu_max: Some(AF_PACKET_MTU_MAX),
                kernel_interface: true,
                receive_room: AF_PACKET_FRAME_BYTES + 128,
                ..copying
            },
            "net_af_xdp" => Traits {
                queues_max: 1,
                mtu_max: Some(AF_XDP_MTU_MAX),
                kernel_interface: true,
                kept_frames: AF_XDP_FRAMES,
                receive_room: AF_XDP_ROOM,
                gathers: false,
                ..copying
            },
            // It leaves the mark of a frame of several segments in its ring, where it falsifies later ones.
            "net_memif" => Traits {
                queues_max: 1,
                mtu_max: Some(MEMIF_MTU_MAX),
                gathers: false,
                unmaps_at_will: true,
                ..copying
            },
            "net_pcap" => copying,
            "net_null" => Traits { gathers: false, ..copying },
            "net_ring" => Traits { loops: true, ..copying },
            // What is not known to copy may read memory by DMA.
            _ => Traits { reads_heap: false, segments_tcp: true, steers: true, ..copying },
        }
    }
}

/// The name of DPDK's driver, as far as the device's name tells.
fn driver(device: &Device) -> &str {
    match device {
        Device::AfPacket(_) => "net_af_packet",
        Device::AfXdp(_) => "net_af_xdp",
        Device::Memif { .. } => "net_memif",
        Device::Null => "net_null",
        Device::Pcap { .. } => "net_pcap",
        Device::Pci(_) => "",
        Device::Ring => "net_ring",
        Device::Tap(_) => "net_tap",
        Device::Vdev(text) => {
            let name = text.split_once(',').map_or(text.as_str(), |(name, _)| name);
            name.trim_end_matches(|last: char| last.is_ascii_digit())
        }
    }
}

static NEXT_DEVICE: AtomicU32 = AtomicU32::new(0);

/// DPDK's text for a device that is to have `queues` queues.
fn text(device: &Device, queues: u16) -> String {
    let number = match device {
        Device::Pci(_) | Device::Vdev(_) => 0,
        _ => NEXT_DEVICE.fetch_add(1, Ordering::Relaxed),
    };
    match device {
        Device::AfPacket(interface) => format!(
            "net_af_packet_c{number},iface={interface},qpairs={queues},blocksz={AF_PACKET_BLOCK_BYTES},\
             framesz={AF_PACKET_FRAME_BYTES},framecnt={AF_PACKET_FRAMES}"
        ),
        Device::AfXdp(interface) => format!("net_af_xdp_c{number},iface={interface}"),
        Device::Memif { role, socket, id } => {
            format!("net_memif_c{number},role={role},id={id},socket={socket},socket-abstract=no")
        }
        Device::Null => format!("net_null_c{number}"),
        Device::Pcap { input, output } => format!("net_pcap_c{number},rx_pcap={input},tx_pcap={output}"),
        Device::Pci(address) => address.to_string(),
        Device::Ring => format!("net_ring_c{number}"),
        Device::Tap(interface) => format!("net_tap_c{number},iface={interface}"),
        Device::Vdev(text) => text.clone(),
    }
}

/// Makes DPDK open `device`. Call it with [`CONTROL`] held.
pub(super) fn probe(device: &Device, queues: u16) -> Result<OwnedPort, SetupError> {
    surroundings::check_device(device)?;
    let text = text(device, queues);
    let name = text.split_once(',').map_or(text.as_str(), |(name, _)| name);
    let failed = |reason: String| SetupError::Device { device: device.to_string(), reason };
    let name = CString::new(name).map_err(|_| failed("its name holds a zero byte".to_owned()))?;
    chatter::take();
    if let Some(id) = find(&name) {
        // The EAL opened a NIC as it started; a virtual device would be somebody else's.
        return match device {
            Device::Pci(_) => Ok(OwnedPort { id, device: None, prints: false, awaits: false }),
            _ => Err(failed("it is open already".to_owned())),
        };
    }
    let text = CString::new(text.as_str()).map_err(|_| failed("its text holds a zero byte".to_owned()))?;
    let status = {
        let _muffled = muffled(device);
        // SAFETY: the EAL is up, as every caller holds an `Eal`; the text is a C string, which DPDK copies.
        unsafe { ffi::rte_dev_probe(text.as_ptr()) }
    };
    if status != 0 {
        return Err(failed(chatter::cause(&chatter::take()).unwrap_or_else(|| error_text(status))));
    }
    match find(&name) {
        Some(id) => {
            let awaits = Traits::of(device).unmaps_at_will;
            Ok(OwnedPort { id, device: None, prints: prints(device), awaits })
        }
        None => Err(failed("it is no network device".to_owned())),
    }
}

/// Keeps what libraries below some drivers (AF_XDP's) print from the user.
pub(super) fn muffled(device: &Device) -> chatter::Muffled {
    muffled_if(prints(device))
}

fn prints(device: &Device) -> bool {
    matches!(device, Device::AfXdp(_) | Device::Vdev(_))
}

fn muffled_if(prints: bool) -> chatter::Muffled {
    chatter::Muffled::new(if prints { &[libc::STDERR_FILENO] } else { &[] })
}

fn find(name: &CString) -> Option<u16> {
    let mut id = 0;
    // SAFETY: the name is a C string, and `id` is written only on success.
    let status = unsafe { ffi::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
    (status == 0).then_some(id)
}

impl OwnedPort {
    /// What DPDK calls the port's driver.
    pub(super) fn driver(&self) -> &'static [u8] {
        let mut info = ffi::corelane_port_info::default();
        // SAFETY: the port is open; `info` is written on success, and keeps its null pointer else.
        unsafe { ffi::corelane_port_info(self.id, &raw mut info) };
        if info.driver_name.is_null() {
            return &[];
        }
        // SAFETY: a driver's name is a C string that lives as long as the driver, which is never unloaded.
        unsafe { CStr::from_ptr(info.driver_name) }.to_bytes()
    }

    /// What DPDK says of the port.
    pub(super) fn info(&mut self) -> Result<ffi::corelane_port_info, i32> {
        let mut info = ffi::corelane_port_info::default();
        // SAFETY: the port is open, `info` is written on success.
        let status = unsafe { ffi::corelane_port_info(self.id, &raw mut info) };
        if status != 0 {
            return Err(status);
        }
        self.device = NonNull::new(info.device);
        // SAFETY: the port is open.
        unsafe { ffi::corelane_port_watch(self.id) };
        Ok(info)
    }
}

impl Drop for OwnedPort {
    fn drop(&mut self) {
        let _control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        let _muffled = muffled_if(self.prints);
        // SAFETY: the port is this owner's. Stopping a stopped port does nothing.
        unsafe { ffi::rte_eth_dev_stop(self.id) };
        // SAFETY: the port is open.
        unsafe { ffi::corelane_port_unwatch(self.id) };
        // SAFETY: it is stopped, and its queues have gone with their last owner.
        unsafe { ffi::rte_eth_dev_close(self.id) };
        if self.awaits {
            // The next port opened may get the number of a socket just closed, and DPDK's thread may still have an
            // event of the old one to deal with: it would wait for a message on the new one, for ever.
            // SAFETY: the EAL is up, and this thread is none of DPDK's.
            unsafe { ffi::corelane_events_settle() };
        }
        if let Some(device) = self.device {
            // SAFETY: the device belongs to the port just closed, and nobody else removes it.
            unsafe { ffi::rte_dev_remove(device.as_ptr()) };
        }
        chatter::take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_dpdks_text() {
        // Shows what DPDK is told, and that names never repeat.
        let device = |text: &str| text.parse::<Device>().expect(text);
        let first = text(&device("tap:tp0"), 1);
        assert!(first.starts_with("net_tap_c") && first.ends_with(",iface=tp0"), "{first}");
        assert_ne!(first, text(&device("tap:tp0"), 1));
        assert!(text(&device("af_packet:va"), 3).contains(",iface=va,qpairs=3,"));
        assert!(text(&device("pcap:a,b"), 1).ends_with(",rx_pcap=a,tx_pcap=b"));
        assert_eq!(text(&device("3:0.0"), 1), "0000:03:00.0");
        assert_eq!(driver(&device("vdev:net_tap12,iface=x")), "net_tap");
        assert!(Traits::of(&device("vdev:net_tap12,iface=x")).shares_mac);
        assert!(!Traits::of(&device("vdev:net_virtio_user0")).reads_heap);
    }
}
