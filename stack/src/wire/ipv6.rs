//! IPv6 headers (RFC 8200), the fixed part; what may follow it is in `extensions`.
//! Which addresses are ours is decided in `ip::route`.

mod extensions;

pub use extensions::{
    FRAGMENT_LEN, Fault, Fragment, HEADERS_MAX, OPTIONS_MAX, PAYLOAD_LENGTH_AT, Problem, Upper, walk,
    walk_from,
};

use super::{Checksum, DropReason, MacAddress, NoRoom, Protocol};
use core::net::Ipv6Addr;
use core::ops::Range;

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;

/// What every link of IPv6 takes. Units: bytes, with IP header.
/// Source: RFC 8200 section 5.
pub const MTU_MIN: u16 = 1280;

/// The hop limit of what may not come from beyond the link (RFC 4861 section 6.1).
pub const HOP_LIMIT_LINK: u8 = 255;

/// A valid IPv6 header.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Header {
    /// From whom.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// What follows: a transport, or an extension header.
    pub next_header: Protocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// Differentiated services (6 bits) and ECN (2 bits).
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
}

impl Header {
    /// A header of ours, with no class and no label.
    #[must_use]
    pub const fn new(source: Ipv6Addr, destination: Ipv6Addr, next_header: Protocol, hop_limit: u8) -> Self {
        Self { source, destination, next_header, hop_limit, traffic_class: 0, flow_label: 0 }
    }

    /// Length of this header, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// The sum of the pseudo-header for `len` bytes of transport header and payload.
    #[must_use]
    pub fn pseudo(&self, len: u32) -> Checksum {
        Checksum::pseudo_ipv6(self.source, self.destination, self.next_header.0, len)
    }

    /// Writes the header for `payload_len` bytes into the first forty.
    ///
    /// Errors: `NoRoom` if `out` is shorter or the payload longer than 65,535 bytes; nothing is written.
    pub fn emit(&self, out: &mut [u8], payload_len: usize) -> Result<(), NoRoom> {
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
        let len = u16::try_from(payload_len).map_err(|_| NoRoom)?;
        let first = 0x6000_0000 | (u32::from(self.traffic_class) << 20) | (self.flow_label & 0xf_ffff);
        let parts: [&[u8]; 5] = [
            &first.to_be_bytes(),
            &len.to_be_bytes(),
            &[self.next_header.0, self.hop_limit],
            &self.source.octets(),
            &self.destination.octets(),
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        Ok(())
    }
}

/// Reads the header in front of `bytes`; with it comes where its payload lies.
///
/// What lies behind the payload length is padding and left out.
///
/// Errors: the `Ipv6…` reason that fits.
pub fn parse(bytes: &[u8]) -> Result<(Header, Range<usize>), DropReason> {
    parse_front(bytes, bytes.len())
}

/// As `parse`, where `bytes` are but the front of a packet of `available` bytes in several segments.
pub fn parse_front(bytes: &[u8], available: usize) -> Result<(Header, Range<usize>), DropReason> {
    let (&[a, b, c, d, e, f, next_header, hop_limit], rest) =
        bytes.split_first_chunk::<8>().ok_or(DropReason::Ipv6Truncated)?;
    let (source, rest) = rest.split_first_chunk::<16>().ok_or(DropReason::Ipv6Truncated)?;
    let destination = rest.first_chunk::<16>().ok_or(DropReason::Ipv6Truncated)?;
    if a >> 4 != 6 {
        return Err(DropReason::Ipv6Version);
    }
    let end = HEADER_LEN + usize::from(u16::from_be_bytes([e, f]));
    if end > available {
        return Err(DropReason::Ipv6PayloadLength);
    }
    let header = Header {
        source: Ipv6Addr::from(*source),
        destination: Ipv6Addr::from(*destination),
        next_header: Protocol(next_header),
        hop_limit,
        traffic_class: (a << 4) | (b >> 4),
        flow_label: u32::from_be_bytes([0, b & 0x0f, c, d]),
    };
    check_addresses(header.source, header.destination)?;
    Ok((header, HEADER_LEN..end))
}

/// Refuses what may not be on any wire, whatever our addresses are. The unspecified address may be a source: of a host
/// that has none yet.
fn check_addresses(source: Ipv6Addr, destination: Ipv6Addr) -> Result<(), DropReason> {
    let is_mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
    //= https://www.rfc-editor.org/rfc/rfc4291#section-2.5.3
    //# A packet received on an interface with a
    //# destination address of loopback must be dropped.
    if destination.is_unspecified() || destination.is_loopback() || is_mapped(destination) {
        return Err(DropReason::Ipv6Destination);
    }
    if source.is_loopback() || source.is_multicast() || is_mapped(source) {
        return Err(DropReason::Ipv6Source);
    }
    Ok(())
}

/// The group that everybody who has this address is in, so that he can be asked for (RFC 4291 section 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The group of every node on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The prefix of the addresses that every interface gives itself, of 64 bits.
pub const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

/// The group of every router on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The Ethernet group that an IPv6 group's frames go to (RFC 2464 section 7).
#[must_use]
pub fn group_mac(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    MacAddress([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(
            addresses: [u128; 2], next_header: u8, hop_limit: u8, traffic_class: u8,
            flow_label in 0u32..1 << 20, len in 0usize..100,
        ) {
            // Shows that every field survives emit and parse, and each truncation is refused.
            let header = Header {
                source: Ipv6Addr::from(addresses[0] >> 8 | 0xfd << 120),
                destination: Ipv6Addr::from(addresses[1] | 1 << 127),
                next_header: Protocol(next_header),
                hop_limit, traffic_class, flow_label,
            };
            let mut out = vec![0; HEADER_LEN + len];
            header.emit(&mut out, len).unwrap();
            out.push(0);
            prop_assert_eq!(parse(&out), Ok((header, 40..40 + len)));
            for short in 0..40 + len {
                let reason =
                    if short < 40 { DropReason::Ipv6Truncated } else { DropReason::Ipv6PayloadLength };
                prop_assert_eq!(parse(&out[..short]), Err(reason));
            }
            out[0] = 0x45;
            prop_assert_eq!(parse(&out), Err(DropReason::Ipv6Version));
            prop_assert_eq!(header.emit(&mut out, 65_536), Err(NoRoom));
        }
    }

    #[test]
    fn addresses_that_no_wire_carries() {
        // Shows each address that is refused as source or as destination, and that a host without one may speak.
        //= https://www.rfc-editor.org/rfc/rfc4291#section-2.5.3
        //= type=test
        //# A packet received on an interface with a
        //# destination address of loopback must be dropped.
        let result = |source: &str, destination: &str| {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let mut out = [0; HEADER_LEN];
            Header::new(source, destination, Protocol::IPV6_NO_NEXT, 64).emit(&mut out, 0).unwrap();
            parse(&out).map(|_| ())
        };
        assert_eq!(result("::", "ff02::1"), Ok(()));
        for source in ["::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert_eq!(result(source, "fd00::1"), Err(DropReason::Ipv6Source), "{source}");
        }
        for destination in ["::", "::1", "::ffff:10.0.0.1"] {
            assert_eq!(result("fd00::1", destination), Err(DropReason::Ipv6Destination), "{destination}");
        }
    }

    #[test]
    fn groups() {
        // Shows the solicited-node group of RFC 4291's example, and its station.
        let group = solicited_node("4037::01:800:200E:8C6C".parse().unwrap());
        assert_eq!(group, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert_eq!(group_mac(group), MacAddress([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }
}
