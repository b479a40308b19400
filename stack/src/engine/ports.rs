//! The ports of a lane: what each can do, its pools and neighbours, and the frames that wait for it.

use core::ops::{Index, IndexMut};

use drivers::{Capabilities, Composer, Frame, Pools};

use super::Interface;
use crate::config::InterfaceConfig;
use crate::ip::{KeyedHash, neighbour, slaac};
use crate::wire::MacAddress;
use crate::wire::ethernet::{self, Vlan};

/// Of a frame's first eight bytes, whom it is for, and the bit that says that it is from a group, which none is.
pub(super) const FRONT: u64 = 0xffff_ffff_ffff_0100;

/// One port, seen from one lane.
pub(super) struct Port {
    pub mac: MacAddress,
    /// The first eight bytes of frames for us, as far as [`FRONT`] goes; where they carry a tag, what none begins with.
    pub front: u64,
    pub mtu: u16,
    pub vlan: Option<Vlan>,
    pub capabilities: Capabilities,
    pub composer: Composer,
    pub neighbours: neighbour::Cache<Frame>,
    /// Its addresses of IPv6.
    pub addresses: slaac::Addresses,
    /// The hop limit of what we send.
    pub hop_limit: u8,
    /// Frames that go before those in `data`.
    pub urgent: Vec<Frame>,
    pub data: Vec<Frame>,
}

impl Port {
    fn new(interface: &Interface, pools: Pools, config: &InterfaceConfig, hash: KeyedHash) -> Port {
        let mac = MacAddress(interface.mac);
        // An eighth of the frames that they are in, and of those half for all neighbours together.
        let waiting_max = neighbour::WAITING_MAX.max(pools.control.capacity() / 8);
        let neighbours = neighbour::Config { waiting_max, ..neighbour::Config::default() };
        Port {
            mac,
            front: match interface.vlan {
                None => mac.0.iter().fold(0, |front, octet| front << 8 | u64::from(*octet)) << 16,
                Some(_) => u64::MAX,
            },
            mtu: interface.mtu,
            vlan: interface.vlan.map(|id| Vlan { tci: id & 0xfff }),
            capabilities: interface.capabilities,
            composer: Composer::new(pools, &interface.capabilities),
            neighbours: neighbour::Cache::new(mac, neighbours, hash),
            addresses: slaac::Addresses::new(mac, interface.mtu, config.ipv6, hash),
            //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2
            //# The TTL value used to send TCP segments MUST be configurable (MUST-49).
            hop_limit: config.hop_limit.unwrap_or(HOP_LIMIT),
            urgent: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Frames that wait for the port.
    #[inline]
    pub fn backlog(&self) -> usize {
        self.urgent.len() + self.data.len()
    }

    /// The VLAN tag that frames carry in front of IP, unless the port puts it there.
    pub fn tag(&self) -> Option<Vlan> {
        self.vlan.filter(|_| !self.capabilities.vlan_insert)
    }

    /// Bytes in front of IP.
    pub fn link_len(&self) -> usize {
        if self.tag().is_some() { ethernet::HEADER_LEN + ethernet::VLAN_LEN } else { ethernet::HEADER_LEN }
    }
}

/// The hop limit until a router names one (RFC 1700's value, and Linux's).
const HOP_LIMIT: u8 = 64;

/// All of them, by the number of their interface. A number that is none is a mistake of ours.
pub(super) struct Ports(Vec<Port>);

impl Ports {
    pub fn new(ports: Vec<(Interface, Pools)>, interfaces: &[InterfaceConfig], hash: KeyedHash) -> Ports {
        let ports = ports.into_iter().zip(interfaces);
        let port = |((interface, pools), config): ((Interface, Pools), &InterfaceConfig)| {
            Port::new(&interface, pools, config, hash)
        };
        Ports(ports.map(port).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Their numbers.
    pub fn interfaces(&self) -> impl Iterator<Item = u8> + use<> {
        (0..).take(self.0.len())
    }

    pub fn iter(&self) -> core::slice::Iter<'_, Port> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> core::slice::IterMut<'_, Port> {
        self.0.iter_mut()
    }
}

impl Index<u8> for Ports {
    type Output = Port;

    #[inline]
    fn index(&self, interface: u8) -> &Port {
        &self.0[usize::from(interface)]
    }
}

impl IndexMut<u8> for Ports {
    #[inline]
    fn index_mut(&mut self, interface: u8) -> &mut Port {
        &mut self.0[usize::from(interface)]
    }
}
