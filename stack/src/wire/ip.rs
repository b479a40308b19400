//! The headers of both versions of IP, where what they have in common is all that matters.

use super::{EtherType, NoRoom, Protocol, ipv4, ipv6};
use core::net::IpAddr;

/// A header of either version.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum IpHeader {
    /// Of version 4.
    V4(ipv4::Header),
    /// Of version 6, without extension headers.
    V6(ipv6::Header),
}

impl IpHeader {
    /// A header of ours. `None` if the two addresses differ in version.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, protocol: Protocol, hop_limit: u8) -> Option<IpHeader> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Some(IpHeader::V4(ipv4::Header::new(source, destination, protocol, hop_limit)))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Some(IpHeader::V6(ipv6::Header::new(source, destination, protocol, hop_limit)))
            }
            _ => None,
        }
    }

    /// From whom.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        match self {
            IpHeader::V4(header) => IpAddr::V4(header.source),
            IpHeader::V6(header) => IpAddr::V6(header.source),
        }
    }

    /// To whom.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        match self {
            IpHeader::V4(header) => IpAddr::V4(header.destination),
            IpHeader::V6(header) => IpAddr::V6(header.destination),
        }
    }

    /// It is of version 6.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        matches!(self, IpHeader::V6(_))
    }

    /// Length of the header that `emit` writes, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        match self {
            IpHeader::V4(header) => header.header_len(),
            IpHeader::V6(header) => header.header_len(),
        }
    }

    /// What Ethernet calls it.
    #[must_use]
    pub const fn ether_type(&self) -> EtherType {
        if self.is_ipv6() { EtherType::IPV6 } else { EtherType::IPV4 }
    }

    /// Writes the header for `payload_len` bytes; IPv4's with its checksum, or with none for a port to fill in.
    ///
    /// Errors: `NoRoom` if `out` is shorter, or the packet too long.
    pub fn emit(&self, out: &mut [u8], payload_len: usize, with_checksum: bool) -> Result<(), NoRoom> {
        match self {
            IpHeader::V4(header) => header.emit(out, payload_len, with_checksum),
            IpHeader::V6(header) => header.emit(out, payload_len),
        }
    }
}

/// What Ethernet calls an IP packet that begins with these bytes.
#[must_use]
pub fn ether_type_of(packet: &[u8]) -> EtherType {
    if packet.first().is_some_and(|first| first >> 4 == 6) { EtherType::IPV6 } else { EtherType::IPV4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_in_one() {
        // Shows that each version's header is written as its own module does, and that versions do not mix.
        let ends = |a: &str, b: &str| (a.parse().unwrap(), b.parse().unwrap());
        for (source, destination) in [ends("10.0.0.1", "10.0.0.2"), ends("fd00::1", "fd00::2")] {
            let header = IpHeader::new(source, destination, Protocol::TCP, 64).unwrap();
            assert_eq!((header.source(), header.destination()), (source, destination));
            let mut bytes = vec![0; header.header_len() + 3];
            header.emit(&mut bytes, 3, true).unwrap();
            assert_eq!(header.ether_type(), ether_type_of(&bytes));
            match header {
                IpHeader::V4(_) => assert_eq!(ipv4::parse(&bytes, false).unwrap().1, 20..23),
                IpHeader::V6(header) => assert_eq!(ipv6::parse(&bytes).unwrap(), (header, 40..43)),
            }
        }
        let (four, six) = ends("10.0.0.1", "fd00::2");
        assert_eq!(IpHeader::new(four, six, Protocol::TCP, 64), None);
    }
}
