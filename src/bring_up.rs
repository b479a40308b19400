//! What a runtime takes from its host before lanes start: DPDK, devices, rings, randomness. What is made of it is
//! `runtime.rs`'s business.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "dpdk")]
use std::sync::atomic::{AtomicU32, Ordering};

use drivers::soft::with_faults;
use drivers::{
    Capture, Control, DeviceStatistics, Link, OpenOptions, Opened, Pools, Queue, QueueParts, RssTable,
};
use stack::config::{Address, EngineConfig, Gateway, InterfaceConfig};
use stack::engine::Interface;
use stack::links::{RING_MESSAGES, Ring};
use stack::socket::LaneId;

use crate::check::Shape;
use crate::config::{Config, Device, DeviceConfig};
use crate::setup::SetupError;

/// A device of a runtime.
pub struct OpenDevice {
    pub(crate) name: String,
    mac: [u8; 6],
    pub(crate) capture: Option<Capture>,
    pub(crate) control: Box<dyn Control>,
}

impl OpenDevice {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// State of its link.
    pub fn link(&self) -> Link {
        self.control.link()
    }

    /// Its own counters.
    pub fn statistics(&self) -> DeviceStatistics {
        self.control.statistics()
    }
}

/// What one lane has of one device.
pub struct PortParts {
    pub interface: Interface,
    pub queue: Option<Box<dyn Queue>>,
    pub pools: Pools,
}

pub fn open(config: &Config, of: &DeviceConfig, shape: Shape) -> Result<Opened, SetupError> {
    let options = OpenOptions {
        queues: config.queues.unwrap_or(shape.lanes.into()),
        lanes: shape.lanes.into(),
        fewer_queues: config.queues.is_none(),
        receive_frames: config.receive_frames,
        control_frames: config.control_frames,
        descriptors: config.descriptors,
        mtu: of.mtu,
        promiscuous: false,
        sleeps: !config.poll,
    };
    let opened = match &of.device {
        Device::Net(net) => net.open(&options).ok_or(SetupError::NetTaken)?,
        Device::Named(device) => {
            start_dpdk(config)?;
            drivers::open(device, &options)?
        }
    };
    Ok(match &config.faults {
        Some(faults) => with_faults(opened, faults),
        None => opened,
    })
}

/// What comes of an opened device: the side that is nobody's, how it steers, and what each lane has of it.
pub struct Apart {
    pub device: OpenDevice,
    pub rss: Option<Arc<RssTable>>,
    pub parts: Vec<PortParts>,
}

/// Give everybody what is his of an opened device.
pub fn take_apart(opened: Opened, config: &Config, number: usize) -> Result<Apart, SetupError> {
    let Opened { name, mac, mtu, capabilities, queues, queueless, rss, control } = opened;
    let file = config.capture.as_ref().map(|path| capture_file(path, number));
    let capture = file.map(|path| control.capture(&path)).transpose()?;
    // Where a lane has no queue, none is where RSS says.
    let rss = rss.filter(|_| queueless.is_empty());
    let vlan = config.devices.get(number).and_then(|of| of.vlan);
    let interface = Interface { mac, mtu, vlan, capabilities };
    let queues = queues.into_iter().map(|QueueParts { queue, pools }| (Some(queue), pools));
    let parts = queues.chain(queueless.into_iter().map(|pools| (None, pools)));
    let parts = parts.map(|(queue, pools)| PortParts { interface, queue, pools }).collect();
    Ok(Apart { device: OpenDevice { name, mac, capture, control }, rss, parts })
}

/// The file that a device is captured to, by its place among the devices.
fn capture_file(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let number = (number + 1).to_string();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) => path.with_extension(format!("{number}.{extension}")),
        None => path.with_extension(number),
    }
}

/// Start DPDK as the configuration says, unless it runs in this process already.
#[cfg(feature = "dpdk")]
fn start_dpdk(config: &Config) -> Result<(), SetupError> {
    use drivers::dpdk::{Eal, EalOptions};
    if Eal::running().is_some() {
        return Ok(());
    }
    let options = EalOptions {
        no_huge_mib: config.no_huge_mib,
        raw: config.eal.clone(),
        verbose: config.verbose,
        ..EalOptions::for_devices(config.devices.iter().filter_map(|of| of.device.named()))
    };
    Eal::init(&options)?;
    Ok(())
}

#[cfg(not(feature = "dpdk"))]
fn start_dpdk(_config: &Config) -> Result<(), SetupError> {
    Ok(())
}

pub fn engine_config(config: &Config) -> Result<EngineConfig, SetupError> {
    let interface = |of: &DeviceConfig| InterfaceConfig {
        addresses: of.addresses.clone(),
        gateways: of
            .gateways
            .iter()
            .map(|&gateway| Gateway { destination: everything(gateway), gateway })
            .collect(),
        neighbours: of.neighbours.clone(),
        rss: None,
        ipv6: of.ipv6,
        hop_limit: None,
    };
    Ok(EngineConfig {
        interfaces: config.devices.iter().map(interface).collect(),
        sockets: config.sockets,
        secret: secret()?,
        tcp: config.tcp,
        ..EngineConfig::default()
    })
}

/// The destination of a default route.
fn everything(gateway: IpAddr) -> Address {
    let ip = match gateway {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    Address { ip, prefix: 0 }
}

/// What sequence numbers, ports and hashes are made hard to guess with.
fn secret() -> Result<[u64; 4], SetupError> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| system("randomness", &error))?;
    let mut secret = [0; 4];
    for (word, bytes) in secret.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    Ok(secret)
}

pub fn system(what: &'static str, error: &std::io::Error) -> SetupError {
    SetupError::System { what, reason: error.to_string() }
}

/// A ring between two lanes: DPDK's where it runs.
pub fn ring(from: LaneId, to: LaneId) -> Result<Ring, SetupError> {
    #[cfg(feature = "dpdk")]
    if drivers::dpdk::Eal::running().is_some() {
        // Names are the process's, and a process may have several runtimes.
        static RINGS: AtomicU32 = AtomicU32::new(0);
        let number = RINGS.fetch_add(1, Ordering::Relaxed);
        let ring = rte_ring::dpdk(&format!("corelane_{number}"), RING_MESSAGES, None);
        return ring.map_err(|error| SetupError::Ring { from: from.0, to: to.0, reason: error.to_string() });
    }
    let _ = (from, to);
    Ok(rte_ring::heap(RING_MESSAGES))
}
