//! ICMP for IPv6 (RFC 4443): echo, the errors, and the packet that an error quotes. Neighbour discovery's messages,
//! which are ICMPv6 too, are in `discovery`; what to answer, and how often, is decided in `ip::icmpv6`.

use super::icmp::Quoted;
use super::{Checksum, DropReason, Fill, NoRoom, Protocol, Verify, ipv6};
use core::net::{IpAddr, Ipv6Addr};

/// Length of a header, in bytes; for errors the quoted packet follows.
pub const HEADER_LEN: usize = 8;

/// Why a destination cannot be reached.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Unreachable(pub u8);

impl Unreachable {
    /// No route to it.
    pub const NO_ROUTE: Self = Self(0);
    /// Forbidden by an administrator.
    pub const PROHIBITED: Self = Self(1);
    /// The host does not answer.
    pub const ADDRESS: Self = Self(3);
    /// Nobody listens on the port.
    pub const PORT: Self = Self(4);
}

/// The header of a message: what it is.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Message {
    /// Type 1.
    DestinationUnreachable {
        /// Why.
        code: Unreachable,
    },
    /// Type 2.
    PacketTooBig {
        /// The next link's MTU. Units: bytes.
        mtu: u32,
    },
    /// Type 3.
    TimeExceeded {
        /// The whole packet did not arrive in time; otherwise, the hop limit ran out.
        reassembly: bool,
    },
    /// Type 4.
    ParameterProblem {
        /// 0: a wrong field, 1: an unknown next header, 2: an unknown option, 3: a first fragment without all headers.
        code: u8,
        /// The offending byte of the quoted packet.
        pointer: u32,
    },
    /// Type 128.
    EchoRequest {
        /// The asking process's.
        identifier: u16,
        /// Counts the requests.
        sequence: u16,
    },
    /// Type 129.
    EchoReply {
        /// The asking process's.
        identifier: u16,
        /// Counts the requests.
        sequence: u16,
    },
}

impl Message {
    /// Length of the header, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Whether it reports an error, and so must never be answered by another.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        !matches!(self, Self::EchoReply { .. } | Self::EchoRequest { .. })
    }

    /// Writes the header into the first eight bytes; `fill` is `Full` with the sum of the pseudo-header and of what
    /// follows.
    ///
    /// Errors: `NoRoom` if `out` is shorter; nothing is written then.
    pub fn emit(&self, out: &mut [u8], fill: Fill) -> Result<(), NoRoom> {
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
        let echo = |kind, identifier: u16, sequence: u16| {
            let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
            [kind, 0, 0, 0, a, b, c, d]
        };
        let wide = |kind, code, word: u32| {
            let [a, b, c, d] = word.to_be_bytes();
            [kind, code, 0, 0, a, b, c, d]
        };
        let mut header = match *self {
            Self::DestinationUnreachable { code } => wide(1, code.0, 0),
            Self::PacketTooBig { mtu } => wide(2, 0, mtu),
            Self::TimeExceeded { reassembly } => wide(3, u8::from(reassembly), 0),
            Self::ParameterProblem { code, pointer } => wide(4, code, pointer),
            Self::EchoRequest { identifier, sequence } => echo(128, identifier, sequence),
            Self::EchoReply { identifier, sequence } => echo(129, identifier, sequence),
        };
        [header[2], header[3]] = fill.value(&header).to_be_bytes();
        *out = header;
        Ok(())
    }
}

/// How a message of ICMPv6 is checked: with the pseudo-header, over `len` bytes.
#[must_use]
pub fn verify(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Verify {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    Verify::Sum(Checksum::pseudo_ipv6(source, destination, Protocol::ICMPV6.0, len))
}

/// Reads the header in front of `bytes`; with it comes its length, where the data starts.
///
/// Errors: the `Icmp…` reason that fits; `IcmpType` for what we do nothing with.
pub fn parse(bytes: &[u8], verify: Verify) -> Result<(Message, usize), DropReason> {
    let &[kind, code, _, _, a, b, c, d] =
        bytes.first_chunk::<HEADER_LEN>().ok_or(DropReason::IcmpTruncated)?;
    if !verify.accepts(bytes) {
        return Err(DropReason::IcmpChecksum);
    }
    let (identifier, sequence) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let word = u32::from_be_bytes([a, b, c, d]);
    let message = match (kind, code) {
        (1, code) => Message::DestinationUnreachable { code: Unreachable(code) },
        // Its code is ignored by the receiver (RFC 4443 section 3.2).
        (2, _) => Message::PacketTooBig { mtu: word },
        (3, code @ 0..=1) => Message::TimeExceeded { reassembly: code == 1 },
        (4, code) => Message::ParameterProblem { code, pointer: word },
        (128, 0) => Message::EchoRequest { identifier, sequence },
        (129, 0) => Message::EchoReply { identifier, sequence },
        //= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
        //# (b) If an ICMPv6 informational message of unknown type is received,
        //#     it MUST be silently discarded.
        _ => return Err(DropReason::IcmpType),
    };
    Ok((message, HEADER_LEN))
}

/// Reads the packet that an error quotes: its headers, and eight bytes of its transport's.
///
/// Errors: `IcmpQuote` if it is cut short, no IPv6, or a later fragment (no ports).
//= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
//# the upper-layer
//# protocol type is extracted from the original packet (contained in
//# the body of the ICMPv6 error message) and used to select the
pub fn parse_quoted(bytes: &[u8]) -> Result<Quoted, DropReason> {
    // As many bytes as the packet had: the quotation may hold but its front.
    let (header, payload) = ipv6::parse_front(bytes, usize::MAX).map_err(|_| DropReason::IcmpQuote)?;
    let there = payload.start..payload.end.min(bytes.len());
    let mut upper = ipv6::walk(bytes, header.next_header, there).map_err(|_| DropReason::IcmpQuote)?;
    if let Some(fragment) = upper.fragment {
        if fragment.offset > 0 {
            return Err(DropReason::IcmpQuote);
        }
        upper = ipv6::walk_from(bytes, fragment.next_header, upper.range, fragment.at)
            .map_err(|_| DropReason::IcmpQuote)?;
    }
    let &[a, b, c, d, e, f, g, h] =
        bytes.get(upper.range).and_then(<[u8]>::first_chunk).ok_or(DropReason::IcmpQuote)?;
    let (local_port, remote_port, seq) = match upper.protocol {
        Protocol::TCP => {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u32::from_be_bytes([e, f, g, h]))
        }
        Protocol::UDP => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0),
        Protocol::ICMPV6 => (u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]), 0),
        _ => (0, 0, 0),
    };
    Ok(Quoted {
        protocol: upper.protocol,
        local: IpAddr::V6(header.source),
        remote: IpAddr::V6(header.destination),
        local_port,
        remote_port,
        seq,
        total_len: u16::try_from(payload.end).unwrap_or(u16::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tcp;
    use proptest::prelude::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    fn with_data(message: Message, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 8];
        let len = u32::try_from(8 + data.len()).unwrap();
        let sum = Checksum::pseudo_ipv6(A, B, 58, len).with(data);
        message.emit(&mut out, Fill::Full(sum)).unwrap();
        out.extend(data);
        out
    }

    #[test]
    fn an_echo_request_to_the_byte() {
        // Shows the format, truncation at every byte of the header, a flipped bit, and another pseudo-header.
        let request = Message::EchoRequest { identifier: 0x1234, sequence: 1 };
        let mut bytes = with_data(request, b"abc");
        assert_eq!((bytes[0], &bytes[4..]), (128, &[0x12, 0x34, 0, 1, b'a', b'b', b'c'][..]));
        let check = verify(A, B, bytes.len());
        assert_eq!(parse(&bytes, check), Ok((request, 8)));
        for short in 0..8 {
            assert_eq!(parse(&bytes[..short], check), Err(DropReason::IcmpTruncated));
        }
        assert_eq!(parse(&bytes, verify(A, A, bytes.len())), Err(DropReason::IcmpChecksum));
        bytes[10] ^= 4;
        assert_eq!(parse(&bytes, check), Err(DropReason::IcmpChecksum));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
    //= type=test
    //# (b) If an ICMPv6 informational message of unknown type is received,
    //#     it MUST be silently discarded.
    fn unknown_types_are_dropped() {
        // Shows every type and code: those that we use parse, all others are refused.
        for kind in 0..=255u8 {
            for code in 0..=255u8 {
                let known = matches!((kind, code), (1 | 2 | 4, _) | (3, 0..=1) | (128 | 129, 0));
                assert_eq!(parse(&[kind, code, 0, 0, 0, 0, 0, 0], Verify::Trusted).is_ok(), known);
            }
        }
    }

    #[test]
    fn a_quoted_segment() {
        // Shows the flow and number of a segment that an error quotes behind options, cut at every byte, and a piece.
        let mut quote = vec![0; 40];
        ipv6::Header::new(A, B, Protocol::IPV6_OPTIONS, 3).emit(&mut quote, 1460).unwrap();
        quote.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        let at = quote.len();
        quote.resize(at + 20, 0);
        let segment =
            tcp::Segment::new(40_000, 80, tcp::SeqNum(0x0102_0304), tcp::SeqNum(0), tcp::Flags::ACK);
        segment.emit(&mut quote[at..], Fill::Zero).unwrap();
        let expected = Quoted {
            protocol: Protocol::TCP,
            local: A.into(),
            remote: B.into(),
            local_port: 40_000,
            remote_port: 80,
            seq: 0x0102_0304,
            total_len: 1500,
        };
        for short in 0..=quote.len() {
            let result = if short < 56 { Err(DropReason::IcmpQuote) } else { Ok(expected) };
            assert_eq!(parse_quoted(&quote[..short]), result, "{short}");
        }
        quote[6] = 44;
        quote[40..48].copy_from_slice(&[6, 0, 0, 1, 0, 0, 0, 9]);
        assert_eq!(parse_quoted(&quote), Ok(expected));
        quote[43] = 9;
        assert_eq!(parse_quoted(&quote), Err(DropReason::IcmpQuote));
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(which in 0..6, a: u16, b: u16, wide: u32, code: u8, on: bool, data: Vec<u8>) {
            // Shows that every message survives emit and parse, with odd lengths of data too.
            let message = match which {
                0 => Message::DestinationUnreachable { code: Unreachable(code) },
                1 => Message::PacketTooBig { mtu: wide },
                2 => Message::TimeExceeded { reassembly: on },
                3 => Message::ParameterProblem { code, pointer: wide },
                4 => Message::EchoRequest { identifier: a, sequence: b },
                _ => Message::EchoReply { identifier: a, sequence: b },
            };
            let bytes = with_data(message, &data);
            prop_assert_eq!(parse(&bytes, verify(A, B, bytes.len())), Ok((message, 8)));
            prop_assert_eq!(message.emit(&mut [0; 7], Fill::Zero), Err(NoRoom));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn random_bytes_do_not_panic(mut bytes in prop::collection::vec(0u8..70, 0..120), first in 0x5fu8..0x62) {
            // Shows that no quoted packet can do harm, and that one that parses is of IPv6.
            let _ = parse(&bytes, Verify::Trusted);
            if let Some(byte) = bytes.first_mut() { *byte = first; }
            if let Ok(quoted) = parse_quoted(&bytes) { prop_assert!(quoted.local.is_ipv6()); }
        }
    }
}
