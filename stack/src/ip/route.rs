//! Where a packet goes next, and what an address is to us.
//! Stations of next hops are found in `neighbour`.

use crate::wire::DropReason;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Routes: each lookup that is not cached in a path walks them.
pub const ROUTES_MAX: usize = 256;
/// Addresses of this host: each packet in is compared with them.
pub const ADDRESSES_MAX: usize = 64;

/// One way: to these destinations, over this interface.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Route {
    /// Any address of the destinations.
    pub destination: IpAddr,
    /// How many leading bits of it count; zero for a default route.
    pub prefix_len: u8,
    /// The router, or `None` if the destinations are neighbours.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub interface: u8,
    /// The address to send from, or `None` for the interface's best.
    pub source: Option<IpAddr>,
    /// The largest packet that the way takes at first. Units: bytes, with IP header.
    pub mtu: u16,
}

/// An address of this host.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// The subnet: how many leading bits neighbours share.
    pub prefix_len: u8,
    /// The interface.
    pub interface: u8,
}

/// Where to send a packet.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct NextHop {
    /// The interface.
    pub interface: u8,
    /// The neighbour to resolve: the router, or the destination itself.
    pub gateway_or_dst: IpAddr,
    /// The address to send from.
    pub source: IpAddr,
    /// The largest packet. Units: bytes, with IP header.
    pub mtu: u16,
}

/// What an address is to us.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Class {
    /// One of ours.
    Local,
    /// All hosts, of this link or of a subnet of ours.
    Broadcast,
    /// A group.
    Multicast,
    /// Never on a wire: unspecified, loopback, reserved.
    Martian,
    /// Some other host.
    Unicast,
}

/// The route or address is wrong, or there are too many.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum RouteError {
    /// Versions mixed, or the prefix longer than the address.
    #[error(
        "the prefix, gateway and source of a route must be of one IP version, and the prefix no longer than its addresses"
    )]
    Malformed,
    /// The table is full.
    #[error("there are at most 256 routes and 64 addresses: remove some first")]
    Full,
    /// No host can have this address.
    #[error("the address is unspecified, loopback, multicast or broadcast, which a host cannot have")]
    NotUnicast,
}

/// Whether a host can have this address in a subnet of so many bits.
pub fn check(address: IpAddr, prefix_len: u8) -> Result<(), RouteError> {
    if class_of(address) != Class::Unicast {
        return Err(RouteError::NotUnicast);
    }
    if u32::from(prefix_len) > bits(address).1 { Err(RouteError::Malformed) } else { Ok(()) }
}

/// The routes and addresses of this host.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Longest prefixes first; among equals, the earlier added.
    routes: Vec<Route>,
    addresses: Vec<LocalAddress>,
    /// Those of them that connections should no longer begin with.
    deprecated: Vec<IpAddr>,
}

impl Table {
    /// No route and no address.
    #[must_use]
    pub const fn new() -> Self {
        Self { routes: Vec::new(), addresses: Vec::new(), deprecated: Vec::new() }
    }

    /// Adds an address and the route to its subnet.
    pub fn add_address(&mut self, local: LocalAddress, mtu: u16) -> Result<(), RouteError> {
        if !matches!(class_of(local.address), Class::Unicast) {
            return Err(RouteError::NotUnicast);
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            return Err(RouteError::Full);
        }
        self.add_route(Route {
            destination: local.address,
            prefix_len: local.prefix_len,
            gateway: None,
            interface: local.interface,
            source: Some(local.address),
            mtu,
        })?;
        self.addresses.retain(|known| known.address != local.address);
        self.addresses.push(local);
        Ok(())
    }

    /// Removes an address and the routes that send from it, or through a gateway of its subnet that no other address
    /// reaches.
    pub fn remove_address(&mut self, address: IpAddr) {
        let gone = self.addresses.iter().find(|known| known.address == address).copied();
        self.addresses.retain(|known| known.address != address);
        self.deprecated.retain(|known| *known != address);
        let mut routes = core::mem::take(&mut self.routes);
        routes.retain(|route| {
            let lost = |gateway| {
                let through = |gone: LocalAddress| in_prefix(gateway, gone.address, gone.prefix_len);
                gone.is_some_and(through) && !self.is_neighbour(route.interface, gateway)
            };
            route.source != Some(address) && !route.gateway.is_some_and(lost)
        });
        self.routes = routes;
    }

    /// Removes the routes through gateways to exactly these destinations; false if there is none.
    pub fn remove_way(&mut self, destination: IpAddr, prefix_len: u8) -> bool {
        let before = self.routes.len();
        self.routes.retain(|known| {
            known.gateway.is_none()
                || known.prefix_len != prefix_len
                || !in_prefix(known.destination, destination, prefix_len)
        });
        self.routes.len() < before
    }

    /// Connections should no longer begin with an address, or they may again.
    pub fn set_deprecated(&mut self, address: IpAddr, deprecated: bool) {
        self.deprecated.retain(|known| *known != address);
        if deprecated && self.is_local(address) {
            self.deprecated.push(address);
        }
    }

    /// Removes the route that goes exactly this way, and names no source.
    pub fn remove_unsourced(&mut self, way: &Route) {
        self.routes.retain(|known| {
            let same_way = (known.prefix_len, known.interface, known.gateway, known.source)
                == (way.prefix_len, way.interface, way.gateway, None);
            !(same_way && in_prefix(known.destination, way.destination, way.prefix_len))
        });
    }

    /// What an interface's link takes of IPv6, if anything leads there.
    #[must_use]
    pub fn ipv6_mtu(&self, interface: u8) -> Option<u16> {
        let of_link = |route: &&Route| route.interface == interface && route.destination.is_ipv6();
        self.routes.iter().find(of_link).map(|route| route.mtu)
    }

    /// Sets what an interface's link takes of IPv6.
    pub fn set_ipv6_mtu(&mut self, interface: u8, mtu: u16) {
        let of_link = |route: &&mut Route| route.interface == interface && route.destination.is_ipv6();
        self.routes.iter_mut().filter(of_link).for_each(|route| route.mtu = mtu);
    }

    /// Adds a route; one to the same destinations over the same way is replaced.
    pub fn add_route(&mut self, route: Route) -> Result<(), RouteError> {
        let one_version = [route.gateway, route.source]
            .into_iter()
            .flatten()
            .all(|address| address.is_ipv4() == route.destination.is_ipv4());
        if !one_version || u32::from(route.prefix_len) > bits(route.destination).1 {
            return Err(RouteError::Malformed);
        }
        self.routes.retain(|known| {
            let same_way = (known.prefix_len, known.interface, known.gateway, known.source)
                == (route.prefix_len, route.interface, route.gateway, route.source);
            !(same_way && in_prefix(known.destination, route.destination, route.prefix_len))
        });
        if self.routes.len() >= ROUTES_MAX {
            return Err(RouteError::Full);
        }
        let at = self.routes.partition_point(|known| known.prefix_len >= route.prefix_len);
        self.routes.insert(at, route);
        Ok(())
    }

    /// Removes the routes to exactly these destinations.
    pub fn remove_route(&mut self, destination: IpAddr, prefix_len: u8) {
        self.routes.retain(|known| {
            known.prefix_len != prefix_len || !in_prefix(known.destination, destination, prefix_len)
        });
    }

    /// This host's addresses, in the order in which they were added.
    #[must_use]
    pub fn addresses(&self) -> &[LocalAddress] {
        &self.addresses
    }

    /// The way by the longest prefix, or `None` if there is none, or no address to send from.
    ///
    /// A destination of our own is not special here: ask `is_local` first.
    #[must_use]
    pub fn next_hop(&self, destination: IpAddr) -> Option<NextHop> {
        //= https://www.rfc-editor.org/rfc/rfc1122#section-3.3.1.1
        //# To decide if the destination is on a connected network, the
        //# following algorithm MUST be used
        self.routes
            .iter()
            .filter(|route| in_prefix(destination, route.destination, route.prefix_len))
            .find_map(|route| {
                let gateway_or_dst = route.gateway.unwrap_or(destination);
                // IPv6's routers have addresses of the link alone: what counts is whom the packet is for.
                let towards = if destination.is_ipv6() { destination } else { gateway_or_dst };
                let source = route.source.or_else(|| self.source_for(route.interface, towards))?;
                Some(NextHop { interface: route.interface, gateway_or_dst, source, mtu: route.mtu })
            })
    }

    /// The way of a packet from an address of ours: one over that address's own interface where there is one, else as
    /// for any packet.
    ///
    /// So each answer leaves by the interface whose address was asked, as RFC 1122 section 3.3.4.2 has strong hosts do,
    /// and only where that leads nowhere by another, as weak hosts do.
    #[must_use]
    pub fn next_hop_from(&self, source: IpAddr, destination: IpAddr) -> Option<NextHop> {
        let mut fitting =
            self.routes.iter().filter(|route| in_prefix(destination, route.destination, route.prefix_len));
        let first = fitting.next()?;
        let route = match fitting.next() {
            None => first,
            Some(second) => {
                let own = self.interface_of(source);
                let is_own = |route: &&Route| own.is_none_or(|own| own == route.interface);
                let mut fitting = [first, second].into_iter().chain(fitting);
                fitting.find(is_own).unwrap_or(first)
            }
        };
        let gateway_or_dst = route.gateway.unwrap_or(destination);
        Some(NextHop { interface: route.interface, gateway_or_dst, source, mtu: route.mtu })
    }

    /// The interface that has an address of ours.
    #[must_use]
    pub fn interface_of(&self, address: IpAddr) -> Option<u8> {
        self.addresses.iter().find(|local| local.address == address).map(|local| local.interface)
    }

    /// Whether a host is on a subnet of an interface.
    #[must_use]
    pub fn is_neighbour(&self, interface: u8, host: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|local| local.interface == interface && in_prefix(host, local.address, local.prefix_len))
    }

    /// Whether the address is one of ours.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|local| local.address == address)
    }

    /// What the address is to us.
    #[must_use]
    pub fn classify(&self, address: IpAddr) -> Class {
        if self.is_local(address) {
            return Class::Local;
        }
        match class_of(address) {
            Class::Unicast if self.is_subnet_broadcast(address) => Class::Broadcast,
            class => class,
        }
    }

    /// Whether a packet with these addresses is for us, and in what sense: local, broadcast or multicast.
    ///
    /// Errors: `Ipv4Source` if it cannot have come from there (our own address included), `Ipv4Destination`,
    /// `Ipv4NotForUs`.
    pub fn accept(&self, source: IpAddr, destination: IpAddr) -> Result<Class, DropReason> {
        //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.3
        //# A host MUST silently discard an incoming datagram that is not
        //# destined for the host.
        let class = match self.classify(destination) {
            Class::Unicast => return Err(DropReason::Ipv4NotForUs),
            Class::Martian => return Err(DropReason::Ipv4Destination),
            class => class,
        };
        match self.classify(source) {
            Class::Unicast => Ok(class),
            _ => Err(DropReason::Ipv4Source),
        }
    }

    /// The interface's address in the neighbour's subnet, else its first of the version.
    #[must_use]
    pub fn source_for(&self, interface: u8, neighbour: IpAddr) -> Option<IpAddr> {
        if let IpAddr::V6(destination) = neighbour {
            return self.ipv6_source_for(interface, destination).map(IpAddr::V6);
        }
        let mut fitting = self
            .addresses
            .iter()
            .filter(|local| local.interface == interface && local.address.is_ipv4() == neighbour.is_ipv4());
        let first = fitting.clone().next()?;
        let best = fitting.find(|local| in_prefix(neighbour, local.address, local.prefix_len));
        Some(best.unwrap_or(first).address)
    }

    /// The interface's best address of IPv6 to send to a destination from.
    ///
    /// Source: RFC 6724 section 5, rules 1, 2, 3 and 8; the others are about what this host has not.
    fn ipv6_source_for(&self, interface: u8, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let candidates = self.addresses.iter().filter(|local| local.interface == interface);
        let six = candidates.filter_map(|local| match local.address {
            IpAddr::V6(six) => Some(six),
            IpAddr::V4(_) => None,
        });
        let link_local = is_link_local(destination);
        // The first of several equals.
        six.rev().max_by_key(|source| {
            let common = (u128::from(*source) ^ u128::from(destination)).leading_zeros();
            let fits = if link_local { is_link_local(*source) } else { !is_link_local(*source) };
            let preferred = !self.deprecated.contains(&IpAddr::V6(*source));
            (*source == destination, fits, preferred, common.min(64))
        })
    }

    /// The last address of a subnet; subnets of two or one have none (RFC 3021), nor has IPv6.
    fn is_subnet_broadcast(&self, address: IpAddr) -> bool {
        let IpAddr::V4(v4) = address else { return false };
        self.addresses.iter().any(|local| {
            local.prefix_len < 31
                && in_prefix(address, local.address, local.prefix_len)
                && (u32::from(v4) | u32::MAX.checked_shl(32 - u32::from(local.prefix_len)).unwrap_or(0))
                    == u32::MAX
        })
    }
}

/// An address, or a group, of the link alone.
fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || matches!(address.octets(), [0xff, 0x01 | 0x02, ..])
}

/// What an address is to any host.
#[must_use]
pub fn class_of(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            _ if v4 == Ipv4Addr::BROADCAST => Class::Broadcast,
            [0 | 127 | 240.., ..] => Class::Martian,
            [224..=239, ..] => Class::Multicast,
            _ => Class::Unicast,
        },
        IpAddr::V6(v6) if v6.is_unspecified() || v6.is_loopback() || v6.to_ipv4_mapped().is_some() => {
            Class::Martian
        }
        IpAddr::V6(v6) if v6.is_multicast() => Class::Multicast,
        IpAddr::V6(_) => Class::Unicast,
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

/// Whether the first `len` bits of the two are equal.
#[inline]
fn in_prefix(a: IpAddr, b: IpAddr, len: u8) -> bool {
    let len = u32::from(len);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differing = u64::from(a.to_bits() ^ b.to_bits());
            differing >> 32u32.saturating_sub(len) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differing = a.to_bits() ^ b.to_bits();
            differing.checked_shr(128u32.saturating_sub(len)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
