//! What is looked at before a device is touched. What each setting means is in `config.rs`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use stack::config::Address;
use stack::engine::{INTERFACES_MAX, LANES_MAX};
use stack::socket::SocketId;

use crate::config::{Config, Device, DeviceConfig};
use crate::setup::SetupError;

/// Least ops of a batch: what the main queue declares for one completion, and as much again.
pub(crate) const OPS_MIN: usize = 8;

/// Least MTU of IPv4 and of IPv6. Units: bytes.
const MTU_MIN: (u16, u16) = (576, 1280);

/// Lanes and threads, at least one of each and no more threads than lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub lanes: u8,
    pub threads: u8,
}

impl Shape {
    fn of(config: &Config) -> Result<Shape, SetupError> {
        let cores = config.cores.len();
        let named = if cores == 0 { None } else { Some(cores) };
        let lanes = config.lanes.map(usize::from).or(config.threads.map(usize::from)).or(named).unwrap_or(1);
        let threads = config.threads.map(usize::from).or(named).unwrap_or(lanes);
        let wide = u8::try_from(lanes).ok().filter(|lanes| (1..=LANES_MAX).contains(lanes));
        let lanes_of_runtime = wide.ok_or(SetupError::TooManyLanes { asked: lanes })?;
        let narrow = u8::try_from(threads).ok().filter(|threads| (1..=lanes_of_runtime).contains(threads));
        let threads_of_runtime = narrow.ok_or(SetupError::Threads { threads, lanes })?;
        if cores != 0 && cores != threads {
            return Err(SetupError::Cores { cores, threads });
        }
        if let Some(queues) = config.queues.map(usize::from)
            && !(1..=lanes).contains(&queues)
        {
            return Err(SetupError::Queues { queues, lanes });
        }
        Ok(Shape { lanes: lanes_of_runtime, threads: threads_of_runtime })
    }
}

/// Everything about a configuration that can be told before a device is touched.
pub(crate) fn check(config: &Config) -> Result<Shape, SetupError> {
    let shape = Shape::of(config)?;
    if config.ops < OPS_MIN {
        return Err(SetupError::TooFewOps { ops: config.ops });
    }
    let frames = u32::from(config.tcp.receive_frames_max);
    if config.sends_per_stream < frames {
        return Err(SetupError::TooFewSends { sends: config.sends_per_stream, frames });
    }
    let bounds = [
        ("sockets", config.sockets, SocketId::SLOTS_MAX),
        ("blocks", config.blocks, u32::MAX as usize / 2),
        ("block_bytes", config.block_bytes, u16::MAX as usize),
        ("receive_frames", config.receive_frames, 1 << 24),
        ("control_frames", config.control_frames, 1 << 24),
        ("completions", config.completions as usize, u32::MAX as usize),
        ("descriptors", usize::from(config.descriptors), 1 << 15),
    ];
    for (name, value, most) in bounds {
        if value == 0 || value > most {
            return Err(SetupError::Bound { name, value, most });
        }
    }
    check_devices(config)?;
    Ok(shape)
}

fn check_devices(config: &Config) -> Result<(), SetupError> {
    let devices = config.devices.len();
    if !(1..=INTERFACES_MAX).contains(&devices) {
        return Err(SetupError::Devices { devices });
    }
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for of in &config.devices {
        if matches!(of.device, Device::Named(_)) && !names.insert(of.device.to_string()) {
            return Err(SetupError::DeviceTwice { device: of.device.to_string() });
        }
        if of.addresses.is_empty() {
            return Err(SetupError::NoAddress { device: of.device.to_string() });
        }
        of.addresses.iter().try_for_each(check_address)?;
        if let Some(twice) = of.addresses.iter().find(|address| !addresses.insert(address.ip)) {
            return Err(SetupError::AddressTwice { address: twice.ip });
        }
        check_neighbours(of)?;
    }
    Ok(())
}

fn check_address(address: &Address) -> Result<(), SetupError> {
    let Address { ip, prefix } = *address;
    let (good, bits) = match ip {
        IpAddr::V4(ip) => (!ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(), 32),
        IpAddr::V6(ip) => (!ip.is_unspecified() && !ip.is_multicast(), 128),
    };
    if good && prefix <= bits { Ok(()) } else { Err(SetupError::Address { address: ip, prefix }) }
}

fn check_neighbours(config: &DeviceConfig) -> Result<(), SetupError> {
    let mut seen = BTreeSet::new();
    for &(address, mac) in &config.neighbours {
        let on_subnet = config.addresses.iter().any(|ours| shares_subnet(ours, address));
        let reason = if mac[0] & 1 != 0 || mac == [0; 6] {
            "give the Ethernet address of one station"
        } else if config.addresses.iter().any(|ours| ours.ip == address) {
            "it is this host's own address; give another host's"
        } else if !on_subnet || address.is_unspecified() || address.is_multicast() {
            "give a host's address in the subnet of one of `addresses`"
        } else if !seen.insert(address) {
            "it is named twice in `neighbours`; name it once"
        } else {
            continue;
        };
        return Err(SetupError::Neighbour { address, mac, reason });
    }
    Ok(())
}

/// The first `prefix` bits of an address of ours are those of `other`.
fn shares_subnet(ours: &Address, other: IpAddr) -> bool {
    let host_bits = |bits: u32| bits.saturating_sub(u32::from(ours.prefix));
    match (ours.ip, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(host_bits(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(host_bits(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// What only the device's MTU tells.
pub(crate) fn check_mtu(config: &DeviceConfig, mtu: u16) -> Result<(), SetupError> {
    let six = config.addresses.iter().any(|address| address.ip.is_ipv6()) || config.ipv6.routers;
    let least = if six { MTU_MIN.1 } else { MTU_MIN.0 };
    if mtu < least { Err(SetupError::Mtu { mtu, least }) } else { Ok(()) }
}
