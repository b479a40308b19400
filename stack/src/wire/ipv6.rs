//! IPv6 headers (RFC 8200), the fixed part: extension headers are the payload's business.
//! Which addresses are ours is decided in `ip::route`.

use super::{Checksum, DropReason, NoRoom, Protocol};
use core::net::Ipv6Addr;
use core::ops::Range;

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;

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
    Ok((header, HEADER_LEN..end))
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
                source: Ipv6Addr::from(addresses[0]),
                destination: Ipv6Addr::from(addresses[1]),
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
}
