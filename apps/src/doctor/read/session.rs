//! Which interfaces an ssh session or the default route goes over: those must stay the kernel's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Root;

/// Interfaces that others would be cut off without, down to those that are hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Carriers {
    /// An ssh session goes over these.
    pub ssh: Vec<String>,
    /// The default route does.
    pub default_route: Vec<String>,
}

const SSH_PORT: u16 = 22;

/// `TCP_ESTABLISHED` in the kernel's tables of connections.
const ESTABLISHED: &str = "01";

/// Steps from an interface to the one below: a VLAN on a bridge on a bond on a NIC is three.
const LAYERS_MAX: usize = 8;

/// From `SSH_CONNECTION` and from the connections to port 22: `sudo` takes the former away.
pub(super) fn interfaces(root: &Root, ssh: Option<&str>) -> Carriers {
    let routes = routes(root);
    let mut peers = established(root);
    peers.extend(ssh.and_then(|text| text.split_whitespace().next()?.parse::<IpAddr>().ok()));
    let mut found = Carriers::default();
    for peer in peers.into_iter().filter(|peer| !peer.is_loopback()) {
        if let Some(name) = way(&routes, peer) {
            found.ssh.extend(below(root, name));
        }
    }
    let defaults = routes.iter().filter(|route| route.length == 0);
    found.default_route = defaults.flat_map(|route| below(root, &route.interface)).collect();
    for names in [&mut found.ssh, &mut found.default_route] {
        names.sort();
        names.dedup();
    }
    found
}

struct Route {
    network: IpAddr,
    length: u32,
    interface: String,
}

/// The route with the longest prefix.
fn way(routes: &[Route], peer: IpAddr) -> Option<&str> {
    let fits = |route: &&Route| match (route.network, peer) {
        (IpAddr::V4(network), IpAddr::V4(peer)) => {
            let differs = network.to_bits() ^ peer.to_bits();
            differs.leading_zeros() >= route.length
        }
        (IpAddr::V6(network), IpAddr::V6(peer)) => {
            let differs = network.to_bits() ^ peer.to_bits();
            differs.leading_zeros() >= route.length
        }
        _ => false,
    };
    let best = routes.iter().filter(fits).max_by_key(|route| route.length)?;
    Some(&best.interface)
}

fn routes(root: &Root) -> Vec<Route> {
    let four = root.text("/proc/net/route").unwrap_or_default();
    let six = root.text("/proc/net/ipv6_route").unwrap_or_default();
    let mut routes: Vec<Route> = four.lines().skip(1).filter_map(route_four).collect();
    routes.extend(six.lines().filter_map(route_six));
    routes
}

/// Interface, network, gateway, flags, references, uses, metric, mask: numbers as they lie in memory.
fn route_four(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let network = memory_four(words.get(1)?)?;
    let length = memory_four(words.get(7)?)?.to_bits().count_ones();
    Some(Route { network: network.into(), length, interface: (*words.first()?).to_owned() })
}

/// Network, its length, and at the end the interface: numbers as they are written.
fn route_six(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let network = Ipv6Addr::from_bits(u128::from_str_radix(words.first()?, 16).ok()?);
    let length = u32::from_str_radix(words.get(1)?, 16).ok()?;
    let interface = (*words.last()?).to_owned();
    // The kernel's own entry for "no route" is a default route over loopback.
    (interface != "lo").then_some(Route { network: network.into(), length, interface })
}

/// The other ends of connections to this host's ssh port.
fn established(root: &Root) -> Vec<IpAddr> {
    let mut peers = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = root.text(path).unwrap_or_default();
        peers.extend(table.lines().skip(1).filter_map(peer));
    }
    peers
}

/// Number, here, there, state: addresses as they lie in memory, ports as they are written.
fn peer(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip(1);
    let (here, there, state) = (words.next()?, words.next()?, words.next()?);
    let port = u16::from_str_radix(here.split_once(':')?.1, 16).ok()?;
    let address = there.split_once(':')?.0;
    (state == ESTABLISHED && port == SSH_PORT).then(|| memory_any(address)).flatten()
}

fn memory_any(hex: &str) -> Option<IpAddr> {
    if hex.len() == 8 {
        return memory_four(hex).map(IpAddr::V4);
    }
    let mut bytes = [0; 16];
    for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&memory_four(hex.get(index * 8..index * 8 + 8)?)?.octets());
    }
    Some(Ipv6Addr::from(bytes).to_canonical())
}

/// Four bytes that the kernel printed as one number of this processor's.
fn memory_four(hex: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(hex, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
}

/// An interface and all that it stands on.
fn below(root: &Root, name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    let mut layer = all.clone();
    for _ in 0..LAYERS_MAX {
        layer = layer
            .iter()
            .flat_map(|upper| root.names(&format!("/sys/class/net/{upper}")))
            .filter_map(|file| file.strip_prefix("lower_").map(str::to_owned))
            .collect();
        all.extend(layer.iter().cloned());
    }
    all
}
