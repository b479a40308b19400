//! IPv4 headers. Options are read past, not kept; we send none.
//! Whether a source or destination fits our addresses is decided in `ip::route`.

use super::{Checksum, DropReason, NoRoom, Protocol};
use core::net::Ipv4Addr;
use core::ops::Range;

/// Length of a header without options, in bytes: the only one we send.
pub const HEADER_LEN: usize = 20;

/// Length of the longest header, in bytes.
pub const HEADER_LEN_MAX: usize = 60;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A valid IPv4 header.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Header {
    /// From whom.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// What follows.
    pub protocol: Protocol,
    /// Time to live.
    pub ttl: u8,
    /// Differentiated services (6 bits) and ECN (2 bits).
    pub tos: u8,
    /// Names the datagram that a fragment belongs to.
    pub identification: u16,
    /// Routers may not fragment it.
    pub dont_fragment: bool,
    /// Not the last fragment.
    pub more_fragments: bool,
    /// Where the payload belongs in the whole datagram's. Units: bytes, a multiple of eight.
    pub fragment_offset: u16,
    /// As received, with options. Units: bytes. Not used to emit.
    pub header_len: u8,
    /// As received, header and payload. Units: bytes. Not used to emit.
    pub total_len: u16,
}

impl Header {
    /// A header for an unfragmented packet of ours: not to be fragmented, identification zero.
    #[must_use]
    pub const fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, ttl: u8) -> Self {
        //= https://www.rfc-editor.org/rfc/rfc6864#section-4.1
        //# Originating sources MAY set the IPv4 ID field of atomic datagrams
        //# to any value.
        Self {
            source,
            destination,
            protocol,
            ttl,
            tos: 0,
            identification: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            header_len: 20,
            total_len: 20,
        }
    }

    /// Whether this is not a whole datagram.
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// The sum of the pseudo-header for `len` bytes of transport header and payload.
    #[must_use]
    pub fn pseudo(&self, len: u16) -> Checksum {
        Checksum::pseudo_ipv4(self.source, self.destination, self.protocol.0, len)
    }

    /// Length of this header when emitted, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes a header without options for `payload_len` bytes into the first 20 bytes.
    ///
    /// `with_checksum` is false where the NIC fills it in.
    ///
    /// Errors: `NoRoom` if `out` is shorter or the packet would exceed 65,535 bytes; nothing is written.
    pub fn emit(&self, out: &mut [u8], payload_len: usize, with_checksum: bool) -> Result<(), NoRoom> {
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
        let total = u16::try_from(payload_len.saturating_add(HEADER_LEN)).map_err(|_| NoRoom)?;
        let [len_a, len_b] = total.to_be_bytes();
        let [id_a, id_b] = self.identification.to_be_bytes();
        let mut flags = (self.fragment_offset >> 3) & OFFSET_MASK;
        if self.dont_fragment {
            flags |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            flags |= MORE_FRAGMENTS;
        }
        let [flag_a, flag_b] = flags.to_be_bytes();
        let [s, t, u, v] = self.source.octets();
        let [w, x, y, z] = self.destination.octets();
        let mut header = [
            0x45,
            self.tos,
            len_a,
            len_b,
            id_a,
            id_b,
            flag_a,
            flag_b,
            self.ttl,
            self.protocol.0,
            0,
            0,
            s,
            t,
            u,
            v,
            w,
            x,
            y,
            z,
        ];
        if with_checksum {
            let mut sum = Checksum::ZERO;
            for word in [u16::from_be_bytes([0x45, self.tos]), total, self.identification, flags] {
                sum.add_u16(word);
            }
            sum.add_u16(u16::from_be_bytes([self.ttl, self.protocol.0]));
            sum.add_u32(u32::from(self.source));
            sum.add_u32(u32::from(self.destination));
            [header[10], header[11]] = sum.finish().to_be_bytes();
        }
        *out = header;
        Ok(())
    }
}

/// Reads the header in front of `bytes`, which hold the whole packet; with it comes where its payload lies.
///
/// What lies behind the total length is Ethernet padding and left out. `checksum_good` says that the NIC has
/// found the header checksum right; it is checked here otherwise.
///
/// Errors: the `Ipv4…` reason that fits.
pub fn parse(bytes: &[u8], checksum_good: bool) -> Result<(Header, Range<usize>), DropReason> {
    parse_front(bytes, bytes.len(), checksum_good)
}

/// As `parse`, where `bytes` are but the front of a packet of `available` bytes in several segments.
///
/// The range may reach beyond `bytes`, never beyond `available`.
pub fn parse_front(
    bytes: &[u8],
    available: usize,
    checksum_good: bool,
) -> Result<(Header, Range<usize>), DropReason> {
    let fixed = bytes.first_chunk::<HEADER_LEN>().ok_or(DropReason::Ipv4Truncated)?;
    let &[first, tos, len_a, len_b, id_a, id_b, flag_a, flag_b, ttl, protocol, _, _, s, t, u, v, w, x, y, z] =
        fixed;
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.1
    //# A datagram whose version number is not 4 MUST be silently
    //# discarded.
    if first >> 4 != 4 {
        return Err(DropReason::Ipv4Version);
    }
    let header_len = (first & 0x0f) << 2;
    if usize::from(header_len) < HEADER_LEN {
        return Err(DropReason::Ipv4HeaderLength);
    }
    let whole = bytes.get(..usize::from(header_len)).ok_or(DropReason::Ipv4HeaderLength)?;
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.2
    //# A host MUST verify the IP header checksum on every received
    //# datagram and silently discard every datagram that has a bad
    //# checksum.
    if !checksum_good && !Checksum::ZERO.with(whole).is_valid() {
        return Err(DropReason::Ipv4Checksum);
    }
    let total_len = u16::from_be_bytes([len_a, len_b]);
    if total_len < u16::from(header_len) || usize::from(total_len) > available {
        return Err(DropReason::Ipv4TotalLength);
    }
    let flags = u16::from_be_bytes([flag_a, flag_b]);
    let header = Header {
        source: Ipv4Addr::new(s, t, u, v),
        destination: Ipv4Addr::new(w, x, y, z),
        protocol: Protocol(protocol),
        ttl,
        tos,
        identification: u16::from_be_bytes([id_a, id_b]),
        dont_fragment: flags & DONT_FRAGMENT != 0,
        more_fragments: flags & MORE_FRAGMENTS != 0,
        fragment_offset: (flags & OFFSET_MASK) << 3,
        header_len,
        total_len,
    };
    check_addresses(header.source, header.destination)?;
    if let Some((_, options)) = whole.split_first_chunk::<HEADER_LEN>() {
        check_options(options)?;
    }
    Ok((header, usize::from(header_len)..usize::from(total_len)))
}

/// Refuses what may not be on any wire, whatever our addresses are.
fn check_addresses(source: Ipv4Addr, destination: Ipv4Addr) -> Result<(), DropReason> {
    let is_class_e = |address: Ipv4Addr| address.octets()[0] >= 240;
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.3
    //# A host MUST silently discard an incoming datagram containing
    //# an IP source address that is invalid by the rules of this
    //# section.
    if source.octets()[0] == 0 || source.is_loopback() || source.is_multicast() || is_class_e(source) {
        return Err(DropReason::Ipv4Source);
    }
    let is_reserved = is_class_e(destination) && !destination.is_broadcast();
    if destination.octets()[0] == 0 || destination.is_loopback() || is_reserved {
        return Err(DropReason::Ipv4Destination);
    }
    Ok(())
}

/// Reads past the options. Those that we do not know are ignored (RFC 1122 section 3.2.1.8).
fn check_options(mut rest: &[u8]) -> Result<(), DropReason> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let Some((&kind, tail)) = rest.split_first() {
        match kind {
            END => break,
            NOP => rest = tail,
            //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.8
            //= type=exception
            //= reason=RFC 7126 (BCP 186) sections 4.3 and 4.4: packets with source routes should be dropped
            //# A host MUST support originating a source route and MUST be
            //# able to act as the final destination of a source route.
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(DropReason::Ipv4SourceRoute),
            _ => {
                let len = usize::from(*tail.first().ok_or(DropReason::Ipv4Options)?);
                rest = rest.get(len..).filter(|_| len >= 2).ok_or(DropReason::Ipv4Options)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::checksum;
    use proptest::prelude::*;

    fn sample() -> Header {
        Header::new(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), Protocol::TCP, 64)
    }

    /// A packet with these options and this payload, checksum and all.
    fn with_options(options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 20];
        sample().emit(&mut out, options.len() + payload.len(), false).unwrap();
        out.extend(options);
        out[0] = 0x40 | u8::try_from(out.len() / 4).unwrap();
        let sum = checksum(&out).to_be_bytes();
        out[10..12].copy_from_slice(&sum);
        out.extend(payload);
        out
    }

    #[test]
    fn a_known_header() {
        // Shows a header captured elsewhere, checksum b861, read and written to the byte.
        let bytes = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        let (header, payload) = parse_front(&bytes, 115, false).unwrap();
        assert_eq!((header.protocol, header.ttl, payload), (Protocol::UDP, 64, 20..115));
        assert!(header.dont_fragment && !header.is_fragment());
        let mut out = [0; 20];
        header.emit(&mut out, 95, true).unwrap();
        assert_eq!(out, bytes);
    }

    #[test]
    fn padding_is_trimmed_and_short_frames_refused() {
        // Shows the total length against the frame: longer is trimmed, shorter refused at every byte.
        let mut bytes = with_options(&[], b"abc");
        bytes.extend([0; 23]);
        assert_eq!(parse(&bytes, false).unwrap().1, 20..23);
        for short in 0..23 {
            let reason = if short < 20 { DropReason::Ipv4Truncated } else { DropReason::Ipv4TotalLength };
            assert_eq!(parse(&bytes[..short], false), Err(reason));
        }
        assert_eq!(parse_front(&bytes[..20], 23, false).unwrap().1, 20..23);
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.1
    //= type=test
    //# A datagram whose version number is not 4 MUST be silently
    //# discarded.
    fn each_fault_has_its_reason() {
        // Shows one broken field at a time, and the reason each gives.
        let good = with_options(&[], b"");
        let broken = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            parse(&bytes, true)
        };
        assert_eq!(broken(0, 0x65), Err(DropReason::Ipv4Version));
        assert_eq!(broken(0, 0x44), Err(DropReason::Ipv4HeaderLength));
        assert_eq!(broken(0, 0x46), Err(DropReason::Ipv4HeaderLength));
        assert_eq!(broken(3, 19), Err(DropReason::Ipv4TotalLength));
        for first in [0, 127, 224, 240, 255] {
            assert_eq!(broken(12, first), Err(DropReason::Ipv4Source), "{first}");
        }
        for first in [0, 127, 240] {
            assert_eq!(broken(16, first), Err(DropReason::Ipv4Destination), "{first}");
        }
        assert!(broken(16, 224).is_ok());
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.2
    //= type=test
    //# A host MUST verify the IP header checksum on every received
    //# datagram and silently discard every datagram that has a bad
    //# checksum.
    fn every_flipped_bit_is_noticed() {
        // Shows that no header with one bit flipped passes, unless the NIC vouched for it.
        let good = with_options(&[], b"");
        assert!(parse(&good, false).is_ok());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes, false).is_err(), "bit {bit}");
        }
        let mut bytes = good.clone();
        bytes[8] = 1;
        assert_eq!(parse(&bytes, false), Err(DropReason::Ipv4Checksum));
        assert!(parse(&bytes, true).is_ok());
    }

    #[test]
    fn options_are_skipped_or_refused() {
        // Shows unknown options skipped, malformed ones and source routes refused, and the end respected.
        let try_options = |options: &[u8]| parse(&with_options(options, b"xy"), false);
        let (header, payload) = try_options(&[1, 7, 3, 4, 0, 9, 9, 9]).unwrap();
        assert_eq!((header.header_len, payload), (28, 28..30));
        assert_eq!(try_options(&[148, 4, 0, 0]).unwrap().1, 24..26);
        for bad in [[7, 1, 0, 0], [7, 0, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
            assert_eq!(try_options(&bad), Err(DropReason::Ipv4Options), "{bad:?}");
        }
        for route in [[131, 3, 4, 0], [1, 137, 3, 4]] {
            assert_eq!(try_options(&route), Err(DropReason::Ipv4SourceRoute));
        }
    }

    #[test]
    fn too_long_to_emit() {
        // Shows the bound of the total length, and of the buffer.
        assert_eq!(sample().emit(&mut [0; 20], 65_516, true), Err(NoRoom));
        assert_eq!(sample().emit(&mut [0; 20], usize::MAX, true), Err(NoRoom));
        assert_eq!(sample().emit(&mut [0; 19], 0, true), Err(NoRoom));
        assert_eq!(sample().emit(&mut [0; 20], 65_515, true), Ok(()));
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(
            addresses: [[u8; 3]; 2], protocol: u8, ttl: u8, tos: u8, identification: u16,
            dont_fragment: bool, more_fragments: bool, offset in 0u16..8192, len in 0usize..65_516,
        ) {
            // Shows that every field survives emit and parse.
            let [[a, b, c], [d, e, f]] = addresses;
            let header = Header {
                source: Ipv4Addr::new(10, a, b, c),
                destination: Ipv4Addr::new(172, d, e, f),
                protocol: Protocol(protocol),
                ttl, tos, identification, dont_fragment, more_fragments,
                fragment_offset: offset * 8,
                header_len: 20,
                total_len: u16::try_from(20 + len).unwrap(),
            };
            let mut out = [0; 20];
            header.emit(&mut out, len, true).unwrap();
            prop_assert_eq!(parse_front(&out, 20 + len, false), Ok((header, 20..20 + len)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn random_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), first in 0x44u8..0x50) {
            // Shows that what parses lies within the bytes, whatever they are.
            if let Some(byte) = bytes.first_mut() { *byte = first; }
            if let Ok((header, payload)) = parse(&bytes, true) {
                prop_assert!(payload.start <= payload.end && payload.end <= bytes.len());
                prop_assert!(usize::from(header.header_len) <= HEADER_LEN_MAX);
            }
        }
    }
}
