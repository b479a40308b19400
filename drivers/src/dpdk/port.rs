//! A port of DPDK's: configured, then started, as two types. How it is found is `probe.rs`, its bursts `queue.rs`.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as ffi;

use super::control::PortControl;
use super::plan::{self, Plan};
use super::pool::{DpdkPool, PoolShape};
use super::probe::{CONTROL, OwnedPort, Traits, muffled, probe};
use super::queue::PortQueue;
use super::rss::RssPlan;
use super::wake::Wakes;
use super::{Eal, chatter, error_text, signals};
use crate::capture::CapturePoint;
use crate::device::Device;
use crate::kernel::Interface;
use crate::open::OpenOptions;
use crate::pool::{LanePools, Pool, Pools, RECEIVE_ROOM};
use crate::port::Capabilities;
use crate::setup::SetupError;
use crate::steering::RssTable;

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
    queueless: Vec<Pools>,
    rss_plan: Option<RssPlan>,
    rss: Option<Arc<RssTable>>,
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
    pub capture: Arc<CapturePoint>,
    pub device: String,
    /// Statistics and link are asked for one at a time.
    pub asking: Mutex<()>,
    /// The kernel's interface below.
    pub interface: Option<Interface>,
    /// A NIC's folder in /sys, which goes with it.
    pub folder: Option<PathBuf>,
    /// What its queues are woken by.
    pub wakes: Wakes,
}

impl Shared {
    /// The device has been taken away.
    pub fn is_removed(&self) -> bool {
        // SAFETY: the port is open.
        let removed = unsafe { ffi::corelane_port_is_removed(self.port.id) } != 0;
        removed || self.folder.as_ref().is_some_and(|folder| !folder.exists())
    }
}

/// What a port's queues did that DPDK does not count.
#[derive(Default)]
pub(super) struct Counters {
    pub copied_frames: AtomicU64,
    pub copied_bytes: AtomicU64,
    pub refused_frames: AtomicU64,
}

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

impl Port<Configured> {
    /// Opens `device`, gives each queue its pools and sets its rings up.
    ///
    /// Errors: see [`SetupError`]; nothing is left behind.
    pub fn open(_eal: &Eal, device: &Device, options: &OpenOptions) -> Result<Port<Configured>, SetupError> {
        let traits = Traits::of(device);
        let interface = device.kernel_interface().and_then(Interface::find);
        let most = check_before_probe(device, options, traits, interface.as_ref())?;
        let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        let port = probe(device, most);
        // The port's own drop takes the lock, should a step below fail.
        drop(control);
        let mut port = port?;
        let failure = Failure(device);
        let info = port.info().or_else(|status| failure.check(status).map(|()| Default::default()))?;
        let mtu = interface.as_ref().filter(|_| traits.kernel_interface).and_then(Interface::mtu);
        let plan = Plan::new(device, options, &info, traits, mtu.unwrap_or_else(|| port_mtu(port.id)))?;
        let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = device.folder();
        let mut wakes = Wakes::of(port.driver(), folder.as_deref().filter(|_| options.sleeps));
        let sockets = wakes.sockets();
        let muffled = muffled(device);
        let pools = set_up(&port, &failure, &plan, options, traits, wakes.interrupts());
        wakes.find(&sockets);
        drop(muffled);
        drop(control);
        let (pools, queueless) = pools?;
        let mac = mac(port.id, traits);
        // A TAP's interface has been made by now.
        let interface = interface.or_else(|| device.kernel_interface().and_then(Interface::find));
        let shared = Arc::new(Shared {
            port,
            counters: Counters::default(),
            capture: Arc::default(),
            device: device.to_string(),
            asking: Mutex::new(()),
            interface,
            folder,
            wakes,
        });
        let queues = (0..).zip(pools).map(|(index, pools)| {
            let kept = (pools.0.clone(), pools.1.clone());
            (PortQueue::new(Arc::clone(&shared), index, kept, &plan, traits), lend(pools))
        });
        Ok(Port {
            queues: queues.collect(),
            queueless: queueless.into_iter().map(lend).collect(),
            rss_plan: plan.rss,
            rss: None,
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
        let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.shared.port.id;
        signals::silence_taps().map_err(|error| SetupError::Device {
            device: self.shared.device.clone(),
            reason: format!("/proc/self/fd cannot be read: {error}; mount /proc"),
        })?;
        chatter::take();
        // SAFETY: the port is configured and its queues are set up.
        let status = unsafe { ffi::rte_eth_dev_start(id) };
        if status == 0 && self.promiscuous {
            // SAFETY: the port is open. A port that cannot filter refuses, and receives all the same.
            unsafe { ffi::rte_eth_promiscuous_enable(id) };
        }
        if status == 0 && self.nic {
            // IPv6's neighbours are found by multicast.
            // SAFETY: the port is open. A port that cannot filter refuses, and receives all the same.
            unsafe { ffi::rte_eth_allmulticast_enable(id) };
        }
        let rss = self.rss_plan.as_ref().filter(|_| status == 0).and_then(|plan| plan.apply(id));
        drop(control);
        if status != 0 {
            let reason = chatter::cause(&chatter::take()).unwrap_or_else(|| error_text(status));
            return Err(SetupError::Device { device: self.shared.device.clone(), reason });
        }
        let Port {
            shared, mut queues, queueless, rss_plan, capabilities, mac, mtu, promiscuous, nic, ..
        } = self;
        queues.iter_mut().for_each(|(queue, _)| queue.begin());
        chatter::take();
        Ok(Port {
            shared,
            queues,
            queueless,
            rss_plan,
            rss: rss.map(Arc::new),
            capabilities,
            mac,
            mtu,
            promiscuous,
            nic,
            state: PhantomData,
        })
    }
}

impl Port<Started> {
    /// The queue pairs with their pools, to be handed to their threads. Empty the second time.
    pub fn claim_queues(&mut self) -> Vec<(PortQueue, Pools)> {
        std::mem::take(&mut self.queues)
    }

    /// The pools of lanes without a queue pair. Empty the second time.
    pub fn claim_queueless(&mut self) -> Vec<Pools> {
        std::mem::take(&mut self.queueless)
    }

    /// How packets are spread over the queues, where the port tells.
    pub fn rss(&self) -> Option<Arc<RssTable>> {
        self.rss.clone()
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

/// The queue pairs to ask the driver for, where it must be told before it says how many it has.
///
/// AF_PACKET's driver closes its sockets as a started port stops and at no other time: those of a port that was never
/// started would stay, and take frames away from the next. So what it would be refused for is checked first.
fn check_before_probe(
    device: &Device,
    options: &OpenOptions,
    traits: Traits,
    interface: Option<&Interface>,
) -> Result<u16, SetupError> {
    let queues = plan::queues(device, options, traits.queues_max)?;
    if traits.kernel_interface {
        let nothing = ffi::corelane_port_info::default();
        if let Some(current) = interface.and_then(Interface::mtu) {
            plan::mtu(device, options, &nothing, traits, current)?;
        }
        plan::descriptors(device, options, &nothing, traits)?;
    }
    Ok(queues)
}

fn port_mtu(id: u16) -> u16 {
    let mut mtu = 1500;
    // SAFETY: the port is open; `mtu` is written on success.
    unsafe { ffi::rte_eth_dev_get_mtu(id, &raw mut mtu) };
    mtu
}

type QueuePools = (DpdkPool, DpdkPool, DpdkPool);

fn lend((receive, control, attach): QueuePools) -> Pools {
    Pools { receive: Pool::dpdk(receive), control: Pool::dpdk(control), attach: Pool::dpdk(attach) }
}

/// Pools for a port that is not DPDK's, of so many queues and lanes.
pub(super) fn pools(options: &OpenOptions, queues: u16, lanes: u16) -> Result<LanePools, SetupError> {
    let one = |_| lane_pools(options, RECEIVE_ROOM, 0, lanes, ffi::SOCKET_ID_ANY);
    let with_queue = |number| one(number).map(|pools| (Pool::dpdk(pools.0.clone()), lend(pools)));
    Ok(LanePools {
        queues: (0..queues).map(with_queue).collect::<Result<_, _>>()?,
        queueless: (queues..lanes).map(|number| one(number).map(lend)).collect::<Result<_, _>>()?,
    })
}

/// One lane's pools. `in_rings`: frames that receive rings are going to hold.
fn lane_pools(
    options: &OpenOptions,
    receive_room: u16,
    in_rings: usize,
    lanes: u16,
    numa: i32,
) -> Result<QueuePools, SetupError> {
    let shape = |frames, data_room, in_rings| PoolShape { frames, data_room, in_rings, threads: lanes };
    let receive = DpdkPool::new(shape(options.receive_frames, receive_room, in_rings), numa)?;
    let control = DpdkPool::new(shape(options.control_frames, RECEIVE_ROOM, 0), numa)?;
    let attach = DpdkPool::new(shape(options.control_frames, 0, 0), numa)?;
    Ok((receive, control, attach))
}

/// Configures the port and sets every queue's rings up from pools of its own. Then come the pools of lanes without.
fn set_up(
    port: &OwnedPort,
    failure: &Failure<'_>,
    plan: &Plan,
    options: &OpenOptions,
    traits: Traits,
    interrupts: bool,
) -> Result<(Vec<QueuePools>, Vec<QueuePools>), SetupError> {
    configure(port, failure, plan, interrupts)?;
    if options.mtu.is_some() && !traits.kernel_interface {
        // SAFETY: the port is configured and stopped. Drivers without a setting keep the configuration's.
        unsafe { ffi::rte_eth_dev_set_mtu(port.id, plan.mtu) };
    }
    // SAFETY: the port is open.
    let numa = unsafe { ffi::rte_eth_dev_socket_id(port.id) }.max(ffi::SOCKET_ID_ANY);
    let lanes = options.lanes.max(plan.queues);
    let pools = |in_rings| lane_pools(options, traits.receive_room, in_rings, lanes, numa);
    let mut with_queues = Vec::with_capacity(usize::from(plan.queues));
    for queue in 0..plan.queues {
        let pools: QueuePools = pools(usize::from(plan.receive_descriptors.max(traits.kept_frames)))?;
        chatter::take();
        // SAFETY: the port is configured with this queue, and the pool is never freed.
        let status = unsafe {
            ffi::corelane_rx_queue_setup(port.id, queue, plan.receive_descriptors, numa, pools.0.as_ptr())
        };
        failure.check(status)?;
        // SAFETY: the port is configured with this queue.
        let status = unsafe { ffi::corelane_tx_queue_setup(port.id, queue, plan.transmit_descriptors, numa) };
        failure.check(status)?;
        with_queues.push(pools);
    }
    let queueless = (plan.queues..lanes).map(|_| pools(0)).collect::<Result<_, SetupError>>()?;
    Ok((with_queues, queueless))
}

/// Configures the port; with its own RSS key if it refuses ours.
fn configure(
    port: &OwnedPort,
    failure: &Failure<'_>,
    plan: &Plan,
    interrupts: bool,
) -> Result<(), SetupError> {
    let key = plan.rss.as_ref().map_or(&[][..], |rss| &rss.key);
    // Drivers keep the pointer and read it as the port starts.
    let key: &'static [u8] = if key.is_empty() { &[] } else { key.to_vec().leak() };
    let config = |key: &'static [u8]| ffi::corelane_port_config {
        rx_offloads: plan.receive_offloads,
        tx_offloads: plan.transmit_offloads,
        rss_types: plan.rss.as_ref().map_or(0, |rss| rss.types),
        rss_key: if key.is_empty() { std::ptr::null() } else { key.as_ptr() },
        mtu: u32::from(plan.mtu),
        rx_queues: plan.queues,
        tx_queues: plan.queues,
        rss_key_bytes: u8::try_from(key.len()).unwrap_or(0),
        rx_interrupts: interrupts.into(),
    };
    chatter::take();
    let ours = config(key);
    // SAFETY: the port is open and stopped; the configuration is read during the call, its key lives for ever.
    let mut status = unsafe { ffi::corelane_port_configure(port.id, &raw const ours) };
    if status != 0 && !key.is_empty() {
        chatter::take();
        let its = config(&[]);
        // SAFETY: as above, without a key.
        status = unsafe { ffi::corelane_port_configure(port.id, &raw const its) };
    }
    failure.check(status)
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
