//! What a runtime is made of: every setting and every bound. Bringing it up is `runtime.rs`'s.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use drivers::DeviceNameError;
use drivers::soft::FaultSpec;
use stack::config::{Address, Ipv6Config, TcpConfig};

use crate::soft::Net;

/// What a runtime runs on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// A device by the name a person types: see [`drivers::Device`].
    Named(drivers::Device),
    /// A network inside the process.
    Net(Net),
}

impl Device {
    /// The device of a name, if it is no network inside the process.
    #[cfg(feature = "dpdk")]
    pub(crate) fn named(&self) -> Option<&drivers::Device> {
        match self {
            Device::Named(device) => Some(device),
            Device::Net(_) => None,
        }
    }
}

impl From<drivers::Device> for Device {
    fn from(device: drivers::Device) -> Self {
        Device::Named(device)
    }
}

impl From<Net> for Device {
    fn from(net: Net) -> Self {
        Device::Net(net)
    }
}

impl FromStr for Device {
    type Err = DeviceNameError;

    fn from_str(text: &str) -> Result<Device, DeviceNameError> {
        text.parse().map(Device::Named)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Named(device) => device.fmt(f),
            Device::Net(_) => f.write_str("net"),
        }
    }
}

/// Where the application runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Mode {
    /// On the lane's own thread, in its turn.
    #[default]
    RunToCompletion,
}

/// A device, and how its interface is configured.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// The device.
    pub device: Device,
    /// Our addresses on it, and their subnets.
    pub addresses: Vec<Address>,
    /// The way to everything beyond its subnets: one for each version of IP. Where several devices have one, a packet leaves by the device whose
    /// address it is from, and by the first device's where that is open.
    pub gateways: Vec<IpAddr>,
    /// Hosts on those subnets whose Ethernet addresses are known: they are never asked for, and never forgotten. What
    /// others say of them in ARP is not believed.
    pub neighbours: Vec<(IpAddr, [u8; 6])>,
    /// Largest IP packet; `None`: the device's own. Units: bytes.
    pub mtu: Option<u16>,
    /// The 802.1Q VLAN that all frames are in; `None`: untagged.
    pub vlan: Option<u16>,
    /// How it speaks IPv6, which it does once it has an address of it, or listens to routers.
    pub ipv6: Ipv6Config,
}

impl DeviceConfig {
    /// A device with one address, in a subnet of the usual size (24 bits, or 64 for IPv6).
    pub fn new(device: impl Into<Device>, address: IpAddr) -> DeviceConfig {
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        DeviceConfig {
            device: device.into(),
            addresses: vec![Address { ip: address, prefix }],
            gateways: Vec::new(),
            neighbours: Vec::new(),
            mtu: None,
            vlan: None,
            ipv6: Ipv6Config::default(),
        }
    }
}

/// What a runtime is made of. All bounds are here.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it runs on: at least one device, and each lane has a queue pair of every one.
    pub devices: Vec<DeviceConfig>,
    /// Lanes; `None`: one for each thread.
    pub lanes: Option<u16>,
    /// Threads, each of which runs its share of the lanes in turn; `None`: one for each core named, else for each lane.
    pub threads: Option<u16>,
    /// Cores the threads are pinned to, one for each. Empty: wherever the system runs them.
    pub cores: Vec<u16>,
    /// Queue pairs of each device; `None`: one for each lane, or as many as it has. Lanes beyond them receive and send
    /// by way of the others.
    pub queues: Option<u16>,
    /// Where the application runs.
    pub mode: Mode,
    /// Ops of one batch.
    pub ops: usize,
    /// Completions that may wait, all queues of a lane together.
    pub completions: u32,
    /// Sockets of a lane.
    pub sockets: usize,
    /// Sends of one stream that may be unfinished. At least as many as the frames it may hold.
    pub sends_per_stream: u32,
    /// Received frames a lane may lend to other threads.
    pub detached_frames_max: usize,
    /// Blocks of a lane's transmit pool.
    pub blocks: usize,
    /// Bytes of each.
    pub block_bytes: usize,
    /// How long streams may take to end once the runtime was told to stop.
    pub stop_within: Duration,
    /// Frames of a lane to receive into, for each device.
    pub receive_frames: usize,
    /// Frames of a lane for headers and control, and as many to attach payload with, for each device.
    pub control_frames: usize,
    /// Descriptors of each ring.
    pub descriptors: u16,
    /// A bad network in front of every device, for tests.
    pub faults: Option<FaultSpec>,
    /// Write everything the device receives and sends to this file, as pcapng. Devices beyond the first have files of
    /// their own: their number, from 2 on, goes before the last dot.
    pub capture: Option<PathBuf>,
    /// TCP's settings.
    pub tcp: TcpConfig,
    /// Run DPDK without huge pages, in this much ordinary memory. Units: MiB.
    pub no_huge_mib: Option<u32>,
    /// Arguments for DPDK's EAL, in its own words.
    pub eal: Vec<String>,
    /// Never sleep, even when there is nothing to do.
    pub poll: bool,
    /// Let DPDK say all it has to say.
    pub verbose: bool,
}

impl Config {
    /// One lane on one device with one address, in a subnet of the usual size (24 bits, or 64 for IPv6), and defaults.
    pub fn new(device: impl Into<Device>, address: IpAddr) -> Config {
        Config::on(vec![DeviceConfig::new(device, address)])
    }

    /// One lane on these devices, and defaults.
    pub fn on(devices: Vec<DeviceConfig>) -> Config {
        Config {
            devices,
            lanes: None,
            threads: None,
            cores: Vec::new(),
            queues: None,
            mode: Mode::default(),
            ops: 1024,
            completions: 8192,
            sockets: 65_536,
            sends_per_stream: 8192,
            detached_frames_max: 1024,
            blocks: 8192,
            block_bytes: 1024,
            stop_within: Duration::from_secs(5),
            receive_frames: 8192,
            control_frames: 8192,
            descriptors: 512,
            faults: None,
            capture: None,
            tcp: TcpConfig::default(),
            no_huge_mib: None,
            eal: Vec::new(),
            poll: false,
            verbose: false,
        }
    }
}
