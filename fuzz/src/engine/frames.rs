//! Frames of the peer's, whole and broken, and the engine's, read.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stack::wire::tcp::{self, Segment};
use stack::wire::{Checksum, EtherType, Fill, IpHeader, MacAddress, Protocol, Verify, ethernet, ipv4, ipv6};

use super::conversation::Pair;
use crate::input::Input;

/// The two stations.
pub const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// See `OUR_MAC`.
pub const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// Which version of IP is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn host(self, number: u8) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::new(10, 0, 0, number).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// The engine's address.
    pub fn us(self) -> IpAddr {
        self.host(1)
    }

    /// The peer's.
    pub fn peer(self) -> IpAddr {
        self.host(2)
    }

    /// Of a host that does not answer.
    pub fn nobody(self) -> IpAddr {
        self.host(77)
    }
}

/// An IP packet as a frame.
pub fn packet(header: &IpHeader, payload: &[u8]) -> Vec<u8> {
    let ether_type = header.ether_type();
    let link = ethernet::Header { destination: OUR_MAC, source: PEER_MAC, vlan: None, ether_type };
    let mut bytes = vec![0; link.header_len() + header.header_len()];
    link.emit(&mut bytes).expect("there is room");
    header.emit(&mut bytes[link.header_len()..], payload.len(), true).expect("a packet's length");
    bytes.extend_from_slice(payload);
    bytes
}

/// The header of a packet of the peer's.
pub fn ip(family: Family, protocol: Protocol, field: u8) -> IpHeader {
    let header = IpHeader::new(family.peer(), family.us(), protocol, 64);
    let mut header = header.expect("addresses of one family");
    match &mut header {
        IpHeader::V4(header) => header.tos = field,
        IpHeader::V6(header) => header.traffic_class = field,
    }
    header
}

/// A segment of the peer's as a frame.
pub fn segment(family: Family, segment: &Segment, payload: &[u8], field: u8) -> Vec<u8> {
    let mut bytes = vec![0; segment.header_len()];
    let len = u16::try_from(bytes.len() + payload.len()).expect("a segment's length");
    let sum = Checksum::pseudo(family.peer(), family.us(), Protocol::TCP.0, len);
    let sum = sum.expect("addresses of one family").with(payload);
    segment.emit(&mut bytes, Fill::Full(sum)).expect("there is room");
    bytes.extend_from_slice(payload);
    packet(&ip(family, Protocol::TCP, field), &bytes)
}

/// A frame with the header of its family around any payload, whose own checksum is put right if it has one.
pub fn around(family: Family, protocol: u8, payload: &[u8]) -> Vec<u8> {
    mend(packet(&ip(family, Protocol(protocol), 0), payload))
}

/// A frame for the eye: a segment's header and length if there is one in it, and its bytes.
pub fn text(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let packet = bytes.get(14..).unwrap_or(&[]);
    let payload = match ipv4::parse(packet, false) {
        Ok((header, range)) if header.protocol == Protocol::TCP => Some(&packet[range]),
        Ok(_) => None,
        Err(_) => ipv6::parse(packet).ok().map(|(_, range)| &packet[range]),
    };
    let Some((segment, at)) = payload.and_then(|bytes| tcp::parse(bytes, Verify::Trusted).ok()) else {
        return hex;
    };
    let len = payload.map_or(0, |payload| payload.len() - at);
    let Segment { source_port, destination_port, seq, ack, flags, window, .. } = segment;
    format!(
        "{source_port}>{destination_port} {flags:?} {seq:?} {ack:?} window {window} len {len} {:?} {hex}",
        segment.options
    )
}

/// The segment in a frame of the engine's, and its ports. Panics: it is not valid.
pub fn read(bytes: &[u8], family: Family) -> Option<(Pair, Segment, Vec<u8>)> {
    let (link, at) = ethernet::parse(bytes).expect("frames out are valid");
    let packet = &bytes[at..];
    let (source, destination, payload) = match (family, link.ether_type) {
        (Family::V4, EtherType::IPV4) => {
            let (header, range) = ipv4::parse(packet, false).expect("packets out are valid");
            if header.protocol != Protocol::TCP || header.is_fragment() {
                return None;
            }
            (IpAddr::V4(header.source), IpAddr::V4(header.destination), &packet[range])
        }
        (Family::V6, EtherType::IPV6) => {
            let (header, range) = ipv6::parse(packet).expect("packets out are valid");
            if header.next_header != Protocol::TCP {
                return None;
            }
            (IpAddr::V6(header.source), IpAddr::V6(header.destination), &packet[range])
        }
        _ => return None,
    };
    let len = u16::try_from(payload.len()).expect("a packet's length");
    let sum = Checksum::pseudo(source, destination, Protocol::TCP.0, len).expect("addresses of one family");
    let (segment, at) = tcp::parse(payload, Verify::Sum(sum)).expect("segments out are valid");
    if (source, destination) != (family.us(), family.peer()) {
        return None;
    }
    Some(((segment.source_port, segment.destination_port), segment, payload[at..].to_vec()))
}

/// A frame with some of its bytes changed, cut or added to.
pub fn broken(model: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = model.to_vec();
    for _ in 0..=input.below(3) {
        if bytes.is_empty() {
            break;
        }
        let (kind, at, value) = (input.below(5), input.below(bytes.len().min(120)), input.byte());
        match kind {
            0 => bytes[at] ^= 1 << (value & 7),
            1 => bytes[at] = value,
            2 => bytes.truncate(at.max(1)),
            3 => bytes.extend(core::iter::repeat_n(value, usize::from(value & 63))),
            _ => {
                let end = bytes.len().min(at + 4);
                bytes[at..end].fill(value);
            }
        }
    }
    if input.below(4) > 0 { mend(bytes) } else { bytes }
}

/// The frame with its checksums put right as far as they can be found, so that what is broken gets past them.
pub fn mend(mut bytes: Vec<u8>) -> Vec<u8> {
    let Some(link) = bytes.get(12..14) else { return bytes };
    let found = match link {
        [8, 0] => mend_ipv4(&mut bytes),
        [0x86, 0xdd] => bytes.get(20).copied().map(|next| (54, next, 22..54)),
        _ => None,
    };
    let Some((at, protocol, addresses)) = found else { return bytes };
    let field = match protocol {
        1 | 58 => at + 2,
        6 => at + 16,
        17 => at + 6,
        _ => return bytes,
    };
    if bytes.len() < field + 2 || bytes.len() < addresses.end {
        return bytes;
    }
    bytes[field..field + 2].fill(0);
    let mut sum = Checksum::ZERO;
    if protocol != 1 {
        sum.add_bytes(&bytes[addresses]);
        sum.add_u32(u32::try_from(bytes.len() - at).unwrap_or(0));
        sum.add_u16(protocol.into());
    }
    let sum = sum.with(&bytes[at..]).finish();
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

type Found = (usize, u8, core::ops::Range<usize>);

/// Put the header's sum right. Where the payload begins, its protocol, and where the addresses lie.
fn mend_ipv4(bytes: &mut [u8]) -> Option<Found> {
    let header = 4 * usize::from(bytes.get(14)? & 15);
    if header < 20 || bytes.len() < 14 + header {
        return None;
    }
    bytes[24..26].fill(0);
    let sum = stack::wire::checksum::checksum(&bytes[14..14 + header]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    Some((14 + header, bytes[23], 26..34))
}
