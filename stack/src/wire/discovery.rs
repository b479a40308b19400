//! Neighbour discovery as bytes (RFC 4861 section 4): its five messages and their options, checked whole.
//! Who is asked and what is believed is decided in `ip::neighbour`, `ip::slaac` and the engine.

use super::{Checksum, DropReason, Fill, MacAddress, NoRoom, Protocol, ipv6};
use core::net::Ipv6Addr;

/// Types of the messages: router solicitation to redirect.
pub const KINDS: core::ops::RangeInclusive<u8> = 133..=137;

/// Options of one message. A router advertisement of a home or a data centre has three to six.
pub const OPTIONS_MAX: usize = 32;

/// The longest message that we send: a solicitation or an advertisement with one option. Units: bytes.
pub const MESSAGE_LEN_MAX: usize = 32;

/// A message of neighbour discovery that keeps every rule of RFC 4861 sections 6.1, 7.1 and 8.1.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Message<'a> {
    /// A host asks for routers.
    RouterSolicitation,
    /// A router tells of itself and of the link.
    RouterAdvertisement(RouterAdvertisement<'a>),
    /// Somebody asks for a station, or whether anybody has an address.
    NeighbourSolicitation {
        /// Whom he asks for.
        target: Ipv6Addr,
        /// His own station, if he says it.
        station: Option<MacAddress>,
    },
    /// Somebody says which station has an address.
    NeighbourAdvertisement(NeighbourAdvertisement),
    /// A router knows a better way.
    Redirect {
        /// The better next hop.
        target: Ipv6Addr,
        /// To what.
        destination: Ipv6Addr,
        /// The next hop's station, if the router says it.
        station: Option<MacAddress>,
    },
}

/// What a router says of itself.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct RouterAdvertisement<'a> {
    /// The hop limit to use; zero: not said.
    pub hop_limit: u8,
    /// How long it is a default router. Units: seconds; zero: it is none.
    pub lifetime_s: u16,
    /// How long a confirmation is good for; zero: not said. Units: milliseconds.
    pub reachable_ms: u32,
    /// Time between solicitations; zero: not said. Units: milliseconds.
    pub retransmit_ms: u32,
    /// Its station, if it says it.
    pub station: Option<MacAddress>,
    /// The link's MTU, if it says one.
    pub mtu: Option<u32>,
    options: &'a [u8],
}

/// Who has an address.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct NeighbourAdvertisement {
    /// It is a router.
    pub router: bool,
    /// It answers a solicitation of ours.
    pub solicited: bool,
    /// It replaces what was known.
    pub overrides: bool,
    /// The address.
    pub target: Ipv6Addr,
    /// The station, if it is said.
    pub station: Option<MacAddress>,
}

/// A prefix of the link.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Prefix {
    /// Its leading bits, and zeroes.
    pub prefix: Ipv6Addr,
    /// How many bits it has.
    pub len: u8,
    /// Its addresses are neighbours.
    pub on_link: bool,
    /// Hosts may make themselves addresses in it.
    pub autonomous: bool,
    /// How long that is so. Units: seconds; all ones: for ever.
    pub valid_s: u32,
    /// How long such addresses may begin connections. Units: seconds.
    pub preferred_s: u32,
}

const SOURCE_STATION: u8 = 1;
const TARGET_STATION: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;

/// Reads a message of a packet with this header; `bytes` are its ICMPv6 part, whose checksum is not looked at here.
///
/// Errors: `IcmpType` if it is none of discovery's, `DiscoveryMalformed` if it breaks a rule.
//= https://www.rfc-editor.org/rfc/rfc4861#section-6.1.2
//# A node MUST silently discard any received Router Advertisement
//# messages that do not satisfy all of the following validity checks:
//= https://www.rfc-editor.org/rfc/rfc4861#section-7.1.1
//# A node MUST silently discard any received Neighbor Solicitation
//# messages that do not satisfy all of the following validity checks:
//= https://www.rfc-editor.org/rfc/rfc4861#section-7.1.2
//# A node MUST silently discard any received Neighbor Advertisement
//# messages that do not satisfy all of the following validity checks:
pub fn parse<'a>(header: &ipv6::Header, bytes: &'a [u8]) -> Result<Message<'a>, DropReason> {
    const MALFORMED: DropReason = DropReason::DiscoveryMalformed;
    let (&[kind, code, _, _, a, _, c, d], rest) = bytes.split_first_chunk::<8>().ok_or(MALFORMED)?;
    if !KINDS.contains(&kind) {
        return Err(DropReason::IcmpType);
    }
    if code != 0 || header.hop_limit != ipv6::HOP_LIMIT_LINK {
        return Err(MALFORMED);
    }
    let message = match kind {
        133 => {
            check_options(rest)?;
            Message::RouterSolicitation
        }
        134 => {
            let (&[e, f, g, h, i, j, k, l], options) = rest.split_first_chunk::<8>().ok_or(MALFORMED)?;
            check_options(options)?;
            Message::RouterAdvertisement(RouterAdvertisement {
                hop_limit: a,
                lifetime_s: u16::from_be_bytes([c, d]),
                reachable_ms: u32::from_be_bytes([e, f, g, h]),
                retransmit_ms: u32::from_be_bytes([i, j, k, l]),
                station: station(options, SOURCE_STATION)?,
                mtu: mtu(options),
                options,
            })
        }
        135 => {
            let (target, options) = address(rest)?;
            check_options(options)?;
            Message::NeighbourSolicitation { target, station: station(options, SOURCE_STATION)? }
        }
        136 => {
            let (target, options) = address(rest)?;
            check_options(options)?;
            Message::NeighbourAdvertisement(NeighbourAdvertisement {
                router: a & 0x80 != 0,
                solicited: a & 0x40 != 0,
                overrides: a & 0x20 != 0,
                target,
                station: station(options, TARGET_STATION)?,
            })
        }
        _ => {
            let (target, rest) = address(rest)?;
            let (destination, options) = address(rest)?;
            check_options(options)?;
            Message::Redirect { target, destination, station: station(options, TARGET_STATION)? }
        }
    };
    if keeps_rules(header, &message) { Ok(message) } else { Err(MALFORMED) }
}

/// The rules about addresses, in the order of the sections.
fn keeps_rules(header: &ipv6::Header, message: &Message<'_>) -> bool {
    let ipv6::Header { source, destination, .. } = *header;
    match *message {
        Message::RouterSolicitation => true,
        Message::RouterAdvertisement(_) => source.is_unicast_link_local(),
        Message::NeighbourSolicitation { target, station } => {
            let asks_for_itself = source.is_unspecified();
            let to_group = is_solicited_node(destination);
            !target.is_multicast() && !(asks_for_itself && (station.is_some() || !to_group))
        }
        Message::NeighbourAdvertisement(NeighbourAdvertisement { target, solicited, .. }) => {
            !(target.is_multicast() || destination.is_multicast() && solicited)
        }
        //= https://www.rfc-editor.org/rfc/rfc4861#section-8.1
        //# A host MUST silently discard any received Redirect message that does
        //# not satisfy all of the following validity checks:
        Message::Redirect { target, destination: to, .. } => {
            source.is_unicast_link_local()
                && !to.is_multicast()
                && (target.is_unicast_link_local() || target == to)
        }
    }
}

/// A solicited-node group of anybody's.
fn is_solicited_node(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ..])
}

fn address(bytes: &[u8]) -> Result<(Ipv6Addr, &[u8]), DropReason> {
    let (octets, rest) = bytes.split_first_chunk::<16>().ok_or(DropReason::DiscoveryMalformed)?;
    Ok((Ipv6Addr::from(*octets), rest))
}

/// The options by type, body behind type and length. What is behind a malformed one is not there: see `check_options`.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        let (&kind, tail) = bytes.split_first()?;
        let len = 8 * usize::from(*tail.first()?);
        let body = bytes.get(2..len)?;
        bytes = bytes.get(len..)?;
        Some((kind, body))
    })
}

/// Every option has a length, and lies within the message.
//= https://www.rfc-editor.org/rfc/rfc4861#section-4.6
//# Nodes MUST silently discard an ND packet that contains
//# an option with length zero.
fn check_options(bytes: &[u8]) -> Result<(), DropReason> {
    let (mut count, mut len) = (0, 0);
    for (_, body) in options(bytes) {
        count += 1;
        len += 2 + body.len();
    }
    let good = len == bytes.len() && count <= OPTIONS_MAX;
    if good { Ok(()) } else { Err(DropReason::DiscoveryMalformed) }
}

/// The station that an option names: only a unicast one is believed.
fn station(bytes: &[u8], kind: u8) -> Result<Option<MacAddress>, DropReason> {
    let Some((_, body)) = options(bytes).find(|(known, _)| *known == kind) else { return Ok(None) };
    let mac = body.first_chunk::<6>().map(|octets| MacAddress(*octets)).filter(|mac| mac.is_unicast());
    mac.map(Some).ok_or(DropReason::DiscoveryMalformed)
}

fn mtu(bytes: &[u8]) -> Option<u32> {
    let (_, body) = options(bytes).find(|(kind, _)| *kind == MTU)?;
    body.get(2..6)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

impl<'a> RouterAdvertisement<'a> {
    /// Its prefixes, those of too many bits left out.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + 'a {
        options(self.options).filter(|(kind, _)| *kind == PREFIX).filter_map(|(_, body)| {
            let (&[len, flags, a, b, c, d, e, f, g, h], rest) = body.split_first_chunk::<10>()?;
            let octets = rest.get(4..20)?.first_chunk::<16>()?;
            let bits = u32::from(len);
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits)?).unwrap_or(0);
            Some(Prefix {
                prefix: Ipv6Addr::from(u128::from_be_bytes(*octets) & mask),
                len,
                on_link: flags & 0x80 != 0,
                autonomous: flags & 0x40 != 0,
                valid_s: u32::from_be_bytes([a, b, c, d]),
                preferred_s: u32::from_be_bytes([e, f, g, h]),
            })
        })
    }
}

/// A message that we send.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Ask {
    /// Who is a router?
    Routers {
        /// Our station, if we have an address to be answered at.
        station: Option<MacAddress>,
    },
    /// Who has this address?
    Neighbour {
        /// The address.
        target: Ipv6Addr,
        /// Our station; none while we ask whether we may have the address ourselves.
        station: Option<MacAddress>,
    },
    /// We have this address.
    Ours {
        /// The address.
        target: Ipv6Addr,
        /// Our station.
        station: MacAddress,
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces what was known.
        overrides: bool,
    },
}

impl Ask {
    /// Length of the message, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Routers { station: None } => 8,
            Self::Routers { station: Some(_) } => 16,
            Self::Neighbour { station: None, .. } => 24,
            Self::Neighbour { station: Some(_), .. } | Self::Ours { .. } => 32,
        }
    }

    /// There is no empty message.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the message for a packet between these addresses into the first `len()` bytes.
    ///
    /// Errors: `NoRoom` if `out` is shorter.
    pub fn emit(&self, out: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<(), NoRoom> {
        let out = out.get_mut(..self.len()).ok_or(NoRoom)?;
        let (kind, flags, target, option, station) = match *self {
            Self::Routers { station } => (133, 0, None, SOURCE_STATION, station),
            Self::Neighbour { target, station } => (135, 0, Some(target), SOURCE_STATION, station),
            Self::Ours { target, station, solicited, overrides } => {
                let flags = u8::from(solicited) << 6 | u8::from(overrides) << 5;
                (136, flags, Some(target), TARGET_STATION, Some(station))
            }
        };
        let mut bytes = [0; MESSAGE_LEN_MAX];
        let head = [kind, 0, 0, 0, flags, 0, 0, 0];
        let target = target.map(|target| target.octets());
        let option = station.map(|MacAddress([a, b, c, d, e, f])| [option, 1, a, b, c, d, e, f]);
        let parts: [&[u8]; 3] = [
            &head,
            target.as_ref().map_or(&[], |octets| octets),
            option.as_ref().map_or(&[], |octets| octets),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        let len = u32::try_from(self.len()).unwrap_or(0);
        let pseudo = Checksum::pseudo_ipv6(source, destination, Protocol::ICMPV6.0, len);
        let bytes = bytes.get(..self.len()).ok_or(NoRoom)?;
        out.copy_from_slice(bytes);
        let [high, low] = Fill::Full(pseudo).value(bytes).to_be_bytes();
        out[2] = high;
        out[3] = low;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
