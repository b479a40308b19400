//! A port of DPDK's: configured, then started, as two types. How it is found is `probe.rs`, its bursts `queue.rs`.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as ffi;

use super::pool::{DpdkPool, PoolShape};
use super::probe::{CONTROL, OwnedPort, Traits, muffled, probe};
use super::queue::PortQueue;
use super::{Eal, chatter, error_text};
use crate::device::Device;
use crate::open::{OpenOptions, SPARE_FRAMES};
use crate::pool::{Pool, Pools, RECEIVE_ROOM};
use crate::port::{Capabilities, Control, DeviceStatistics, Link};
use crate::setup::SetupError;

/// State of a [`Port`]: its queues are set up, and nothing moves yet.
#[derive(Debug)]
pub enum Configured {}

/// State of a [`Port`]: frames arrive and leave.
#[derive(Debug)]
pub enum Started {}

/// A port. It stops and closes once it, its queues and its control have all gone.
pub struct Port<State> {
    shared: Arc<Shared>,
    queues: Vec<(PortQueue, Pools)>,
    capabilities: Capabilities,
    mac: [u8; 6],
    mtu: u16,
    promiscuous: bool,
    nic: bool,
    state: PhantomData<State>,
}

/// What a port's owners share.
pub(super) struct Shared {
    pub port: OwnedPort,
    pub counters: Counters,
    device: String,
    /// Statistics and link are asked for one at a time.
    asking: Mutex<()>,
}

/// What a port's queues did that DPDK does not count.
#[derive(Default)]
pub(super) struct Counters {
    pub copied_frames: AtomicU64,
    pub copied_bytes: AtomicU64,
    pub refused_frames: AtomicU64,
}

/// Bytes around an IP packet: Ethernet's header and one VLAN tag.
const LINK_BYTES: u16 = 14 + 4;

/// Segments of one frame where the driver names no bound: what the stack puts together, twice over.
const SEGMENTS_MAX: usize = 16;

/// A driver that cuts TCP payload takes what one IP packet holds, less the largest headers.
const SEGMENTATION_MAX: u32 = 65_535 - 120;

/// AF_PACKET sends no more than this, whatever its interface's MTU.
const AF_PACKET_MTU_MAX: u16 = 1500;

/// AF_PACKET's driver has no more rings (`RTE_PMD_AF_PACKET_MAX_RINGS`).
const AF_PACKET_QUEUES_MAX: u16 = 16;

const RECEIVE_OFFLOADS: u64 = ffi::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
    | ffi::RTE_ETH_RX_OFFLOAD_UDP_CKSUM
    | ffi::RTE_ETH_RX_OFFLOAD_TCP_CKSUM;

const TRANSMIT_OFFLOADS: u64 = ffi::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
    | ffi::RTE_ETH_TX_OFFLOAD_UDP_CKSUM
    | ffi::RTE_ETH_TX_OFFLOAD_TCP_CKSUM;

const RSS_TYPES: u64 = ffi::RTE_ETH_RSS_NONFRAG_IPV4_TCP
    | ffi::RTE_ETH_RSS_NONFRAG_IPV4_UDP
    | ffi::RTE_ETH_RSS_NONFRAG_IPV6_TCP
    | ffi::RTE_ETH_RSS_NONFRAG_IPV6_UDP;

/// The device's name and what went wrong, for errors.
struct Failure<'d>(&'d Device);

impl Failure<'_> {
    /// `Ok` for a status of zero; else DPDK's last words.
    fn check(&self, status: i32) -> Result<(), SetupError> {
        if status == 0 {
            return Ok(());
        }
        let reason = chatter::cause(&chatter::take()).unwrap_or_else(|| error_text(status));
        Err(SetupError::Device { device: self.0.to_string(), reason })
    }
}

/// What to ask the port for, after asking what it offers.
struct Plan {
    receive_offloads: u64,
    transmit_offloads: u64,
    rss_types: u64,
    receive_descriptors: u16,
    transmit_descriptors: u16,
    mtu: u16,
    capabilities: Capabilities,
}

impl Port<Configured> {
    /// Opens `device`, gives each queue its pools and sets its rings up.
    ///
    /// Errors: see [`SetupError`]; nothing is left behind.
    pub fn open(_eal: &Eal, device: &Device, options: &OpenOptions) -> Result<Port<Configured>, SetupError> {
        check_before_probe(device, options)?;
        let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        let port = probe(device, options.queues);
        // The port's own drop takes the lock, should a step below fail.
        drop(control);
        let mut port = port?;
        let failure = Failure(device);
        let info = port.info().or_else(|status| failure.check(status).map(|()| Default::default()))?;
        let traits = Traits::of(device);
        let plan = Plan::new(device, options, &info, traits, current_mtu(device, port.id))?;
        let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        let muffled = muffled(device);
        let pools = set_up(&port, &failure, &plan, options, traits);
        drop(muffled);
        drop(control);
        let pools = pools?;
        let mac = mac(port.id, traits);
        let counters = Counters::default();
        let shared = Arc::new(Shared { port, counters, device: device.to_string(), asking: Mutex::new(()) });
        let queues = (0..).zip(pools).map(|(index, (receive, control, attach))| {
            let pools = Pools {
                receive: Pool::dpdk(receive.clone()),
                control: Pool::dpdk(control.clone()),
                attach: Pool::dpdk(attach),
            };
            let prepares = plan.transmit_offloads & TRANSMIT_OFFLOADS != 0;
            let limit = usize::from(plan.mtu + LINK_BYTES);
            let kept = (receive, control);
            (
                PortQueue::new(Arc::clone(&shared), index, kept, &plan.capabilities, traits, prepares, limit),
                pools,
            )
        });
        Ok(Port {
            queues: queues.collect(),
            shared,
            capabilities: plan.capabilities,
            mac,
            mtu: plan.mtu,
            promiscuous: options.promiscuous,
            nic: matches!(device, Device::Pci(_)),
            state: PhantomData,
        })
    }

    /// Starts the port.
    pub fn start(self) -> Result<Port<Started>, SetupError> {
        let Port { shared, queues, capabilities, mac, mtu, promiscuous, nic, state: _ } = self;
        let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        let id = shared.port.id;
        chatter::take();
        // SAFETY: the port is configured and its queues are set up.
        let status = unsafe { ffi::rte_eth_dev_start(id) };
        if status == 0 && promiscuous {
            // SAFETY: the port is open. A port that cannot filter refuses, and receives all the same.
            unsafe { ffi::rte_eth_promiscuous_enable(id) };
        }
        if status == 0 && nic {
            // IPv6's neighbours are found by multicast.
            // SAFETY: the port is open. A port that cannot filter refuses, and receives all the same.
            unsafe { ffi::rte_eth_allmulticast_enable(id) };
        }
        drop(control);
        if status != 0 {
            let reason = chatter::cause(&chatter::take()).unwrap_or_else(|| error_text(status));
            return Err(SetupError::Device { device: shared.device.clone(), reason });
        }
        Ok(Port { shared, queues, capabilities, mac, mtu, promiscuous, nic, state: PhantomData })
    }
}

impl Port<Started> {
    /// The queue pairs with their pools, to be handed to their threads. Empty the second time.
    pub fn claim_queues(&mut self) -> Vec<(PortQueue, Pools)> {
        std::mem::take(&mut self.queues)
    }

    /// The side of the port that is not its queues.
    pub fn into_control(self) -> PortControl {
        PortControl { shared: self.shared }
    }
}

impl<State> Port<State> {
    /// What the port can do.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The address to answer with: the port's own, or beside it where the kernel's end has that.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Largest IP packet. Units: bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }
}

/// Checks what AF_PACKET's port would be refused for.
///
/// Its driver closes its sockets as a started port stops and at no other time: those of a port that was never
/// started would stay, and take frames away from the next.
fn check_before_probe(device: &Device, options: &OpenOptions) -> Result<(), SetupError> {
    let Device::AfPacket(interface) = device else { return Ok(()) };
    if let Some(current) = kernel_mtu(interface) {
        mtu(device, options, &ffi::corelane_port_info::default(), current)?;
    }
    if !(1..=AF_PACKET_QUEUES_MAX).contains(&options.queues) {
        let (device, asked) = (device.to_string(), options.queues);
        return Err(SetupError::Queues { device, asked, offered: AF_PACKET_QUEUES_MAX });
    }
    descriptors(device, options, &ffi::corelane_port_info::default()).map(drop)
}

impl Plan {
    fn new(
        device: &Device,
        options: &OpenOptions,
        info: &ffi::corelane_port_info,
        traits: Traits,
        current_mtu: u16,
    ) -> Result<Plan, SetupError> {
        let offered = info.rx_queues_max.min(info.tx_queues_max);
        if options.queues > offered || options.queues == 0 {
            return Err(SetupError::Queues { device: device.to_string(), asked: options.queues, offered });
        }
        let mtu = mtu(device, options, info, current_mtu)?;
        let receive = info.rx_offloads & RECEIVE_OFFLOADS;
        let transmit = if traits.sums_any_segments { info.tx_offloads & TRANSMIT_OFFLOADS } else { 0 };
        let mut receive_offloads = receive;
        if mtu + LINK_BYTES > traits.receive_room - 128 {
            receive_offloads |= info.rx_offloads & ffi::RTE_ETH_RX_OFFLOAD_SCATTER;
        }
        let rss_types = if traits.steers { info.rss_types & RSS_TYPES } else { 0 };
        let rss_hash = rss_types != 0 && info.rx_offloads & ffi::RTE_ETH_RX_OFFLOAD_RSS_HASH != 0;
        if rss_hash {
            receive_offloads |= ffi::RTE_ETH_RX_OFFLOAD_RSS_HASH;
        }
        let gathers = traits.gathers && info.tx_offloads & ffi::RTE_ETH_TX_OFFLOAD_MULTI_SEGS != 0;
        let segments =
            gathers && traits.segments_tcp && info.tx_offloads & ffi::RTE_ETH_TX_OFFLOAD_TCP_TSO != 0;
        let mut transmit_offloads = transmit;
        if gathers {
            transmit_offloads |= ffi::RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
        }
        if segments {
            transmit_offloads |= ffi::RTE_ETH_TX_OFFLOAD_TCP_TSO;
        }
        let capabilities = Capabilities {
            mtu_max: mtu,
            multi_segment: gathers,
            segments_max: match (gathers, info.tx_segments_max) {
                (false, _) => 1,
                (true, 0 | u16::MAX) => SEGMENTS_MAX,
                (true, most) => usize::from(most).min(SEGMENTS_MAX),
            },
            reads_heap: traits.reads_heap,
            transmit_ipv4_checksum: transmit & ffi::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM != 0,
            transmit_tcp_checksum: transmit & ffi::RTE_ETH_TX_OFFLOAD_TCP_CKSUM != 0,
            transmit_udp_checksum: transmit & ffi::RTE_ETH_TX_OFFLOAD_UDP_CKSUM != 0,
            receive_checksums: receive == RECEIVE_OFFLOADS,
            segmentation_max: if segments { SEGMENTATION_MAX } else { 0 },
            rss_hash,
        };
        let (receive_descriptors, transmit_descriptors) = descriptors(device, options, info)?;
        Ok(Plan {
            receive_offloads,
            transmit_offloads,
            rss_types,
            receive_descriptors,
            transmit_descriptors,
            mtu,
            capabilities,
        })
    }
}

/// Ring sizes that the pools can feed and the device can have.
fn descriptors(
    device: &Device,
    options: &OpenOptions,
    info: &ffi::corelane_port_info,
) -> Result<(u16, u16), SetupError> {
    let fit = |wanted: usize, least: u16, most: u16, step: u16| {
        let most = if most == 0 { u16::MAX } else { most };
        // Below the largest power of two: drivers take no other, or mask with it.
        let wanted = wanted.min(usize::from(options.descriptors)).min(usize::from(most)).max(1);
        let wanted = u16::try_from(1_usize << wanted.ilog2()).unwrap_or(u16::MAX);
        let step = step.max(1);
        (wanted - wanted % step).max(least).max(step)
    };
    let spare = options.receive_frames.saturating_sub(SPARE_FRAMES);
    let receive = fit(spare, info.rx_descriptors_min, info.rx_descriptors_max, info.rx_descriptors_step);
    let needed = usize::from(receive) + SPARE_FRAMES;
    if options.receive_frames < needed {
        let frames = options.receive_frames;
        return Err(SetupError::TooFewFrames { device: device.to_string(), frames, needed });
    }
    // Frames that were sent stay in the ring until the driver gets round to them: half must be left to send with.
    let spare = options.control_frames / 2;
    let transmit = fit(spare, info.tx_descriptors_min, info.tx_descriptors_max, info.tx_descriptors_step);
    Ok((receive, transmit))
}

fn mtu(
    device: &Device,
    options: &OpenOptions,
    info: &ffi::corelane_port_info,
    current: u16,
) -> Result<u16, SetupError> {
    let most = match device {
        // The kernel's interface is not ours to change.
        Device::AfPacket(_) => current.min(AF_PACKET_MTU_MAX),
        _ if info.mtu_max == 0 => current,
        _ => info.mtu_max.min(9_216),
    };
    let asked = options.mtu.unwrap_or(current.min(most));
    // IPv4 asks for 68 (RFC 791); drivers say the same or nothing.
    let least = info.mtu_min.max(68);
    if (least..=most).contains(&asked) {
        return Ok(asked);
    }
    Err(SetupError::Mtu { device: device.to_string(), asked, least, most })
}

/// The MTU of the kernel's interface below AF_PACKET, else the port's own.
fn current_mtu(device: &Device, id: u16) -> u16 {
    if let Device::AfPacket(interface) = device
        && let Some(mtu) = kernel_mtu(interface)
    {
        return mtu;
    }
    let mut mtu = 1500;
    // SAFETY: the port is open; `mtu` is written on success.
    unsafe { ffi::rte_eth_dev_get_mtu(id, &raw mut mtu) };
    mtu
}

fn kernel_mtu(interface: &str) -> Option<u16> {
    // SAFETY: all-zero bytes are an empty request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = CString::new(interface).ok()?;
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
        *to = std::ffi::c_char::from_ne_bytes([*from]);
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
    // SAFETY: SIOCGIFMTU reads the name and writes the number into a request of this size.
    let status =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCGIFMTU, &raw mut request) };
    // SAFETY: on success the kernel wrote this variant.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    (status == 0).then(|| u16::try_from(mtu).unwrap_or(u16::MAX))
}

type QueuePools = (DpdkPool, DpdkPool, DpdkPool);

/// Configures the port and sets every queue's rings up from pools of its own.
fn set_up(
    port: &OwnedPort,
    failure: &Failure<'_>,
    plan: &Plan,
    options: &OpenOptions,
    traits: Traits,
) -> Result<Vec<QueuePools>, SetupError> {
    let config = ffi::corelane_port_config {
        rx_offloads: plan.receive_offloads,
        tx_offloads: plan.transmit_offloads,
        rss_types: plan.rss_types,
        rss_key: std::ptr::null(),
        mtu: u32::from(plan.mtu),
        rx_queues: options.queues,
        tx_queues: options.queues,
        rss_key_bytes: 0,
    };
    chatter::take();
    // SAFETY: the port is open and stopped; the configuration is read during the call.
    failure.check(unsafe { ffi::corelane_port_configure(port.id, &raw const config) })?;
    if options.mtu.is_some() && !matches!(failure.0, Device::AfPacket(_)) {
        // SAFETY: the port is configured and stopped. Drivers without a setting keep the configuration's.
        unsafe { ffi::rte_eth_dev_set_mtu(port.id, plan.mtu) };
    }
    // SAFETY: the port is open.
    let numa = unsafe { ffi::rte_eth_dev_socket_id(port.id) }.max(ffi::SOCKET_ID_ANY);
    let shape = |frames, data_room, in_rings| PoolShape { frames, data_room, in_rings };
    let in_rings = usize::from(plan.receive_descriptors);
    let mut pools = Vec::with_capacity(usize::from(options.queues));
    for queue in 0..options.queues {
        let receive = DpdkPool::new(shape(options.receive_frames, traits.receive_room, in_rings), numa)?;
        let control = DpdkPool::new(shape(options.control_frames, RECEIVE_ROOM, 0), numa)?;
        let attach = DpdkPool::new(shape(options.control_frames, 0, 0), numa)?;
        chatter::take();
        // SAFETY: the port is configured with this queue, and the pool is never freed.
        let status = unsafe {
            ffi::corelane_rx_queue_setup(port.id, queue, plan.receive_descriptors, numa, receive.as_ptr())
        };
        failure.check(status)?;
        // SAFETY: the port is configured with this queue.
        let status = unsafe { ffi::corelane_tx_queue_setup(port.id, queue, plan.transmit_descriptors, numa) };
        failure.check(status)?;
        pools.push((receive, control, attach));
    }
    Ok(pools)
}

fn mac(id: u16, traits: Traits) -> [u8; 6] {
    let mut address = ffi::rte_ether_addr::default();
    // SAFETY: the port is open; the address is written on success, and stays zero else.
    unsafe { ffi::rte_eth_macaddr_get(id, &raw mut address) };
    let mut mac = address.addr_bytes;
    let group = mac[0] & 1 != 0;
    if mac == [0; 6] || group {
        // Locally administered, and told apart by the port.
        let [high, low] = id.to_be_bytes();
        mac = [0x02, 0, 0, 0x43, high, low];
    } else if traits.shares_mac {
        mac[0] |= 0x02;
        mac[5] ^= 1;
    }
    mac
}

/// Link and statistics of a started port. Any thread may ask.
pub struct PortControl {
    shared: Arc<Shared>,
}

impl Control for PortControl {
    fn link(&self) -> Link {
        let _asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut link = ffi::corelane_link::default();
        // SAFETY: the port is open; `link` is written on success, and is down else.
        unsafe { ffi::corelane_link(self.shared.port.id, &raw mut link) };
        let known = link.speed_mbps != 0 && link.speed_mbps != ffi::RTE_ETH_SPEED_NUM_UNKNOWN;
        Link { up: link.up != 0, megabits: known.then_some(link.speed_mbps) }
    }

    fn statistics(&self) -> DeviceStatistics {
        let _asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = ffi::rte_eth_stats::default();
        // SAFETY: the port is open; the numbers are written on success, and stay zero else.
        unsafe { ffi::rte_eth_stats_get(self.shared.port.id, &raw mut now) };
        DeviceStatistics {
            received_frames: now.ipackets,
            received_bytes: now.ibytes,
            sent_frames: now.opackets,
            sent_bytes: now.obytes,
            missed: now.imissed,
            receive_errors: now.ierrors,
            transmit_errors: now.oerrors + self.shared.counters.refused_frames.load(Ordering::Relaxed),
            no_frames: now.rx_nombuf,
        }
    }

    fn extended_statistics(&self) -> Vec<(String, u64)> {
        let _asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = xstats(self.shared.port.id).unwrap_or_default();
        let Counters { copied_frames, copied_bytes, refused_frames } = &self.shared.counters;
        for (name, counter) in [
            ("tx_copied_frames", copied_frames),
            ("tx_copied_bytes", copied_bytes),
            ("tx_refused_frames", refused_frames),
        ] {
            all.push((name.to_owned(), counter.load(Ordering::Relaxed)));
        }
        all
    }
}

/// The driver's counters. `None` if it has none, or changes their number meanwhile.
fn xstats(id: u16) -> Option<Vec<(String, u64)>> {
    // SAFETY: the port is open; without room DPDK only says how many there are.
    let count = unsafe { ffi::rte_eth_xstats_get_names(id, std::ptr::null_mut(), 0) };
    let count = u32::try_from(count).ok()?;
    let mut names = vec![ffi::rte_eth_xstat_name::default(); count as usize];
    // SAFETY: the port is open, and there is room for `count` names.
    let named = unsafe { ffi::rte_eth_xstats_get_names(id, names.as_mut_ptr(), count) };
    let mut values = vec![ffi::rte_eth_xstat::default(); count as usize];
    // SAFETY: the port is open, and there is room for `count` values.
    let valued = unsafe { ffi::rte_eth_xstats_get(id, values.as_mut_ptr(), count) };
    if u32::try_from(named) != Ok(count) || u32::try_from(valued) != Ok(count) {
        return None;
    }
    let name = |index: u64| {
        let bytes = names.get(usize::try_from(index).ok()?)?.name.map(|byte| byte.to_ne_bytes()[0]);
        Some(CStr::from_bytes_until_nul(&bytes).ok()?.to_string_lossy().into_owned())
    };
    Some(values.iter().filter_map(|xstat| Some((name(xstat.id)?, xstat.value))).collect())
}
