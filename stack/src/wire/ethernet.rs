//! Ethernet II headers, with at most one 802.1Q tag, and station addresses.
//! Which addresses and VLANs are ours is decided in `engine`.

use super::{DropReason, NoRoom};
use core::fmt;
use core::str::FromStr;

/// Length of a header without a tag, in bytes.
pub const HEADER_LEN: usize = 14;
/// Length of an 802.1Q tag, in bytes.
pub const VLAN_LEN: usize = 4;

/// A station or group address.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct MacAddress(pub [u8; 6]);

/// What an Ethernet frame carries.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct EtherType(pub u16);

/// An 802.1Q tag: priority (3 bits), drop eligible (1), VLAN identifier (12).
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct Vlan {
    /// Tag control information.
    pub tci: u16,
}

/// An Ethernet header.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Header {
    /// To whom.
    pub destination: MacAddress,
    /// From whom.
    pub source: MacAddress,
    /// The tag, if there is one.
    pub vlan: Option<Vlan>,
    /// What follows.
    pub ether_type: EtherType,
}

impl MacAddress {
    /// Every station.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No station.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether it names every station.
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        matches!(self.0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }

    /// Whether it names a group, the broadcast address included.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 1
    }

    /// Whether one station can have it.
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("a MAC address is six pairs of hexadecimal digits, as in 02:00:00:00:00:01")]
pub struct MacAddressError;

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let mut parts = text.split(':');
        let mut octets = [0; 6];
        for octet in &mut octets {
            let part = parts.next().ok_or(MacAddressError)?;
            if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(MacAddressError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacAddressError)?;
        }
        if parts.next().is_some() { Err(MacAddressError) } else { Ok(Self(octets)) }
    }
}

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// An 802.1Q tag.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
}

impl Vlan {
    /// The VLAN identifier, 12 bits; zero means priority only, no VLAN.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority, 0 to 7.
    #[must_use]
    pub const fn priority(self) -> u8 {
        let [high, _] = self.tci.to_be_bytes();
        high >> 5
    }
}

impl Header {
    /// Length of this header, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        if self.vlan.is_some() { HEADER_LEN + VLAN_LEN } else { HEADER_LEN }
    }

    /// Writes the header into the first `header_len()` bytes.
    ///
    /// Errors: `NoRoom` if `out` is shorter; nothing is written then.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let MacAddress([a, b, c, d, e, f]) = self.destination;
        let MacAddress([g, h, i, j, k, l]) = self.source;
        let [m, n] = self.ether_type.0.to_be_bytes();
        if let Some(vlan) = self.vlan {
            let [s, t] = EtherType::VLAN.0.to_be_bytes();
            let [u, v] = vlan.tci.to_be_bytes();
            let out = out.first_chunk_mut().ok_or(NoRoom)?;
            *out = [a, b, c, d, e, f, g, h, i, j, k, l, s, t, u, v, m, n];
        } else {
            let out = out.first_chunk_mut().ok_or(NoRoom)?;
            *out = [a, b, c, d, e, f, g, h, i, j, k, l, m, n];
        }
        Ok(())
    }
}

/// Reads the header in front of `bytes`; with it comes its length, where the payload starts.
///
/// A second tag is left as the payload's type, which nobody here speaks.
///
/// Errors: `EthernetTruncated`; `EthernetSource` if a group claims to be the sender.
pub fn parse(bytes: &[u8]) -> Result<(Header, usize), DropReason> {
    let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n] =
        bytes.first_chunk::<HEADER_LEN>().ok_or(DropReason::EthernetTruncated)?;
    let mut header = Header {
        destination: MacAddress([a, b, c, d, e, f]),
        source: MacAddress([g, h, i, j, k, l]),
        vlan: None,
        ether_type: EtherType(u16::from_be_bytes([m, n])),
    };
    if header.source.is_multicast() {
        return Err(DropReason::EthernetSource);
    }
    if header.ether_type == EtherType::VLAN {
        let &[.., s, t, u, v] =
            bytes.first_chunk::<{ HEADER_LEN + VLAN_LEN }>().ok_or(DropReason::EthernetTruncated)?;
        header.vlan = Some(Vlan { tci: u16::from_be_bytes([s, t]) });
        header.ether_type = EtherType(u16::from_be_bytes([u, v]));
    }
    Ok((header, header.header_len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_as_text() {
        // Shows Display and FromStr as inverses, and what is refused.
        let address = MacAddress([0x02, 0, 0xab, 0, 0, 0x1f]);
        assert_eq!(address.to_string(), "02:00:ab:00:00:1f");
        assert_eq!("02:00:AB:00:00:1f".parse(), Ok(address));
        for bad in ["", "02:00:ab:00:00", "02:00:ab:00:00:1f:00", "2:0:ab:0:0:1f", "02:00:ab:00:00:+f", "0é:"]
        {
            assert_eq!(bad.parse::<MacAddress>(), Err(MacAddressError), "{bad}");
        }
        assert!(MacAddress::BROADCAST.is_multicast() && MacAddress::BROADCAST.is_broadcast());
        assert!(address.is_unicast() && !MacAddress::ZERO.is_unicast());
    }

    #[test]
    fn a_tagged_frame() {
        // Shows a frame with priority 5 in VLAN 100, and its truncation at every byte.
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 1, 0x81, 0x00, 0xa0, 100, 0x08, 0x06]);
        let (header, len) = parse(&bytes).unwrap();
        let vlan = header.vlan.unwrap();
        assert_eq!((vlan.id(), vlan.priority(), header.ether_type, len), (100, 5, EtherType::ARP, 18));
        for short in 0..bytes.len() {
            assert_eq!(parse(&bytes[..short]), Err(DropReason::EthernetTruncated));
        }
    }

    #[test]
    fn a_group_cannot_send() {
        // Shows that a frame from a group address is refused.
        assert_eq!(parse(&[0xff; 14]), Err(DropReason::EthernetSource));
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(destination: [u8; 6], mut source: [u8; 6], tci: Option<u16>, ether_type: u16) {
            // Shows that what is emitted parses to the same, and that short buffers are refused untouched.
            source[0] &= 0xfe;
            prop_assume!(ether_type != EtherType::VLAN.0 || tci.is_some());
            let header = Header {
                destination: MacAddress(destination),
                source: MacAddress(source),
                vlan: tci.map(|tci| Vlan { tci }),
                ether_type: EtherType(ether_type),
            };
            let mut out = vec![0; header.header_len()];
            header.emit(&mut out).unwrap();
            prop_assert_eq!(parse(&out), Ok((header, out.len())));
            out.pop();
            prop_assert_eq!(header.emit(&mut out), Err(NoRoom));
        }

        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            // Shows that a header that parses lies within the bytes.
            if let Ok((_, len)) = parse(&bytes) { prop_assert!(len <= bytes.len()); }
        }
    }
}
