//! UDP headers (RFC 768).
//! Ports and sockets live in `crate::udp`.

use super::{Checksum, DropReason, Fill, NoRoom, Protocol, Tail};
use core::net::IpAddr;
use core::ops::Range;

/// Length of a header, in bytes.
pub const HEADER_LEN: usize = 8;

/// Where the checksum lies in the header, in bytes: what a NIC that fills it in wants to know.
pub const CHECKSUM_OFFSET: usize = 6;

/// A valid UDP header.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Header {
    /// The sender's port; zero if no answer is expected.
    pub source_port: u16,
    /// The receiver's port, never zero.
    pub destination_port: u16,
}

impl Header {
    /// Length of this header, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header for `payload_len` bytes into the first eight.
    ///
    /// Errors: `NoRoom` if `out` is shorter or the datagram would exceed 65,535 bytes; nothing is written.
    pub fn emit(&self, out: &mut [u8], payload_len: usize, fill: Fill) -> Result<(), NoRoom> {
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
        let len = u16::try_from(payload_len.saturating_add(HEADER_LEN)).map_err(|_| NoRoom)?;
        let [a, b] = self.source_port.to_be_bytes();
        let [c, d] = self.destination_port.to_be_bytes();
        let [e, f] = len.to_be_bytes();
        let sum = match (fill, fill.value(&[a, b, c, d, e, f, 0, 0])) {
            //= https://www.rfc-editor.org/rfc/rfc768
            //# If the computed  checksum  is zero,  it is transmitted  as all ones
            (Fill::Full(_), 0) => 0xffff,
            (_, sum) => sum,
        };
        let [g, h] = sum.to_be_bytes();
        *out = [a, b, c, d, e, f, g, h];
        Ok(())
    }
}

/// Reads the header in front of `bytes`; with it comes where the payload lies.
///
/// `tail` is what the packet has behind `bytes`, in other segments; the range may reach into it. What lies
/// behind the UDP length is left out. `checksum_good` says that the NIC has found the checksum right.
///
/// Errors: the `Udp…` reason that fits.
pub fn parse(
    bytes: &[u8],
    tail: Tail,
    source: IpAddr,
    destination: IpAddr,
    checksum_good: bool,
) -> Result<(Header, Range<usize>), DropReason> {
    let &[a, b, c, d, e, f, g, h] = bytes.first_chunk::<HEADER_LEN>().ok_or(DropReason::UdpTruncated)?;
    let len = u16::from_be_bytes([e, f]);
    let available = bytes.len().saturating_add(tail.len);
    // A chain that is longer than the datagram has a sum of more than the datagram: refused, not guessed.
    let fits = usize::from(len) == available || (usize::from(len) < available && tail.len == 0);
    if usize::from(len) < HEADER_LEN || !fits {
        return Err(DropReason::UdpLength);
    }
    //= https://www.rfc-editor.org/rfc/rfc768
    //# An all zero  transmitted checksum  value means that the
    //# transmitter  generated  no checksum
    let has_checksum = [g, h] != [0, 0];
    //= https://www.rfc-editor.org/rfc/rfc8200#section-8.1
    //# IPv6 receivers must discard UDP packets containing a zero checksum
    if !has_checksum && source.is_ipv6() {
        return Err(DropReason::UdpChecksum);
    }
    //= https://www.rfc-editor.org/rfc/rfc1122#section-4.1.3.4
    //# If a UDP datagram is received with a checksum that is non-
    //# zero and invalid, UDP MUST silently discard the datagram.
    if has_checksum && !checksum_good {
        let mut sum =
            Checksum::pseudo(source, destination, Protocol::UDP.0, len).ok_or(DropReason::UdpChecksum)?;
        sum.add_bytes(bytes.get(..usize::from(len)).unwrap_or(bytes));
        sum.append(tail.sum);
        if !sum.is_valid() {
            return Err(DropReason::UdpChecksum);
        }
    }
    let header =
        Header { source_port: u16::from_be_bytes([a, b]), destination_port: u16::from_be_bytes([c, d]) };
    if header.destination_port == 0 {
        return Err(DropReason::UdpPortZero);
    }
    Ok((header, HEADER_LEN..usize::from(len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 2));

    fn datagram(payload: &[u8], source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let len = u16::try_from(8 + payload.len()).unwrap();
        let sum = Checksum::pseudo(source, destination, 17, len).unwrap().with(payload);
        let mut out = vec![0; 8];
        let header = Header { source_port: 5000, destination_port: 7 };
        header.emit(&mut out, payload.len(), Fill::Full(sum)).unwrap();
        out.extend(payload);
        out
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc1122#section-4.1.3.4
    //= type=test
    //# If a UDP datagram is received with a checksum that is non-
    //# zero and invalid, UDP MUST silently discard the datagram.
    fn checksum_rules() {
        // Shows a bad checksum refused, none accepted for IPv4 only, and zero sent as all ones.
        let mut bytes = datagram(b"hello", A, B);
        assert_eq!(parse(&bytes, Tail::NONE, A, B, false).unwrap().1, 8..13);
        bytes[9] ^= 1;
        assert_eq!(parse(&bytes, Tail::NONE, A, B, false), Err(DropReason::UdpChecksum));
        assert!(parse(&bytes, Tail::NONE, A, B, true).is_ok());
        bytes[6..8].fill(0);
        assert!(parse(&bytes, Tail::NONE, A, B, false).is_ok());
        let (c, d) = (IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(parse(&bytes, Tail::NONE, c, d, true), Err(DropReason::UdpChecksum));
        let bytes = datagram(b"hello", c, d);
        assert!(parse(&bytes, Tail::NONE, c, d, false).is_ok());
        // A payload chosen so that the sum is all ones.
        let open = datagram(&[0, 0], A, B);
        let bytes = datagram(&open[6..8], A, B);
        assert_eq!(bytes[6..8], [0xff, 0xff]);
        assert!(parse(&bytes, Tail::NONE, A, B, false).is_ok());
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc768
    //= type=test
    //# If the computed  checksum  is zero,  it is transmitted  as all ones
    fn a_checksum_of_zero_is_written_as_all_ones() {
        // Shows the one payload of two bytes whose sum comes out as zero, and that it is accepted; all others keep theirs.
        let mut ones = 0;
        for word in 0..=u16::MAX {
            let bytes = datagram(&word.to_be_bytes(), A, B);
            assert_ne!(bytes[6..8], [0, 0], "{word}");
            ones += u32::from(bytes[6..8] == [0xff, 0xff]);
        }
        // Once for the sum of zero; the other zero of ones' complement is no word's.
        assert_eq!(ones, 1);
    }

    #[test]
    fn lengths() {
        // Shows padding trimmed, short datagrams refused at every byte, and lengths below the header's.
        let mut bytes = datagram(b"hello", A, B);
        for short in 0..bytes.len() {
            let reason = if short < 8 { DropReason::UdpTruncated } else { DropReason::UdpLength };
            assert_eq!(parse(&bytes[..short], Tail::NONE, A, B, false), Err(reason));
        }
        bytes.extend([1, 2, 3]);
        assert_eq!(parse(&bytes, Tail::NONE, A, B, false).unwrap().1, 8..13);
        bytes[5] = 7;
        assert_eq!(parse(&bytes, Tail::NONE, A, B, true), Err(DropReason::UdpLength));
        let header = Header { source_port: 1, destination_port: 2 };
        assert_eq!(header.emit(&mut [0; 8], 65_528, Fill::Zero), Err(NoRoom));
        assert_eq!(header.emit(&mut [0; 7], 0, Fill::Zero), Err(NoRoom));
    }

    proptest! {
        #[test]
        fn a_chain_verifies_as_the_whole(payload in prop::collection::vec(any::<u8>(), 0..64), cut in 8usize..72) {
            // Shows a datagram cut anywhere behind its header, odd offsets too, with the rest's sum given.
            let bytes = datagram(&payload, A, B);
            let (front, rest) = bytes.split_at(cut.min(bytes.len()));
            let tail = Tail { len: rest.len(), sum: Checksum::ZERO.with(rest) };
            let header = Header { source_port: 5000, destination_port: 7 };
            prop_assert_eq!(parse(front, tail, A, B, false), Ok((header, 8..bytes.len())));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), len: Option<u8>) {
            // Shows that what parses lies within the bytes.
            let mut bytes = bytes;
            if let (Some(len), Some(field)) = (len, bytes.get_mut(4..6)) { field.copy_from_slice(&[0, len & 63]); }
            if let Ok((_, payload)) = parse(&bytes, Tail::NONE, A, B, true) {
                prop_assert!(payload.start <= payload.end && payload.end <= bytes.len());
            }
        }
    }
}
