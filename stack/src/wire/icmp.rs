//! ICMP for IPv4 (RFC 792): echo, the errors, and the packet that an error quotes.
//! What to answer, how often, and to whom an error goes is decided in `ip::icmp`.

use super::{DropReason, Fill, NoRoom, Protocol, Verify};
use core::net::{IpAddr, Ipv4Addr};

/// Length of a header, in bytes; for errors the quoted packet follows.
pub const HEADER_LEN: usize = 8;

/// Why a destination cannot be reached.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Unreachable(pub u8);

impl Unreachable {
    /// No route to its network.
    pub const NET: Self = Self(0);
    /// The host does not answer.
    pub const HOST: Self = Self(1);
    /// The host does not speak the protocol.
    pub const PROTOCOL: Self = Self(2);
    /// Nobody listens on the port.
    pub const PORT: Self = Self(3);
    /// Too big for the path and not to be fragmented.
    pub const FRAGMENTATION_NEEDED: Self = Self(4);
    /// The source route failed.
    pub const SOURCE_ROUTE_FAILED: Self = Self(5);
    /// The network is not known.
    pub const NET_UNKNOWN: Self = Self(6);
    /// An administrator lets nobody to the network.
    pub const NET_PROHIBITED: Self = Self(9);
    /// No way to the network for this type of service.
    pub const NET_FOR_SERVICE: Self = Self(11);
    /// Forbidden by an administrator.
    pub const PROHIBITED: Self = Self(13);
}

/// The header of a message: what it is.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Message {
    /// Type 0.
    EchoReply {
        /// The asking process's.
        identifier: u16,
        /// Counts the requests.
        sequence: u16,
    },
    /// Type 3.
    DestinationUnreachable {
        /// Why.
        code: Unreachable,
        /// The next hop's MTU (RFC 1191) if fragmentation is needed; zero from old routers. Units: bytes.
        next_hop_mtu: u16,
    },
    /// Type 8.
    EchoRequest {
        /// The asking process's.
        identifier: u16,
        /// Counts the requests.
        sequence: u16,
    },
    /// Type 11.
    TimeExceeded {
        /// The whole datagram did not arrive in time; otherwise, the time to live ran out.
        reassembly: bool,
    },
    /// Type 12.
    ParameterProblem {
        /// 0: the pointer says where; 1: an option is missing; 2: bad length.
        code: u8,
        /// The offending byte of the quoted packet.
        pointer: u8,
    },
}

/// The packet that an error quotes: what we once sent.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Quoted {
    /// Its transport.
    pub protocol: Protocol,
    /// Its source: ours.
    pub local: IpAddr,
    /// Its destination.
    pub remote: IpAddr,
    /// Its source port, for TCP and UDP; for an ICMP echo the identifier.
    pub local_port: u16,
    /// Its destination port, for TCP and UDP; for an ICMP echo the sequence.
    pub remote_port: u16,
    /// Its sequence number, for TCP; zero otherwise.
    pub seq: u32,
    /// Its total length: the MTU to fall below when a router names none. Units: bytes.
    pub total_len: u16,
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

    /// Writes the header into the first eight bytes; `fill` is `Full` with the sum of what follows.
    ///
    /// Errors: `NoRoom` if `out` is shorter; nothing is written then.
    pub fn emit(&self, out: &mut [u8], fill: Fill) -> Result<(), NoRoom> {
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
        let echo = |kind, identifier: u16, sequence: u16| {
            let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
            [kind, 0, 0, 0, a, b, c, d]
        };
        let mut header = match *self {
            Self::EchoReply { identifier, sequence } => echo(0, identifier, sequence),
            Self::DestinationUnreachable { code, next_hop_mtu } => {
                let [a, b] = next_hop_mtu.to_be_bytes();
                [3, code.0, 0, 0, 0, 0, a, b]
            }
            Self::EchoRequest { identifier, sequence } => echo(8, identifier, sequence),
            Self::TimeExceeded { reassembly } => [11, u8::from(reassembly), 0, 0, 0, 0, 0, 0],
            Self::ParameterProblem { code, pointer } => [12, code, 0, 0, pointer, 0, 0, 0],
        };
        [header[2], header[3]] = fill.value(&header).to_be_bytes();
        *out = header;
        Ok(())
    }
}

/// Reads the header in front of `bytes`; with it comes its length, where the data starts.
///
/// ICMP for IPv4 has no pseudo-header: give `Verify::Sum(Checksum::ZERO)`, or the sum of the rest of a chain.
///
/// Errors: the `Icmp…` reason that fits; `IcmpType` for what we do nothing with.
pub fn parse(bytes: &[u8], verify: Verify) -> Result<(Message, usize), DropReason> {
    let &[kind, code, _, _, a, b, c, d] =
        bytes.first_chunk::<HEADER_LEN>().ok_or(DropReason::IcmpTruncated)?;
    if !verify.accepts(bytes) {
        return Err(DropReason::IcmpChecksum);
    }
    let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let message = match (kind, code) {
        (0, 0) => Message::EchoReply { identifier: first, sequence: second },
        (3, code @ 0..=15) => Message::DestinationUnreachable {
            code: Unreachable(code),
            // Only there does the field have a meaning.
            next_hop_mtu: if Unreachable(code) == Unreachable::FRAGMENTATION_NEEDED { second } else { 0 },
        },
        // Whatever its code says: every request is to be answered (RFC 1122 section 3.2.2.6).
        (8, _) => Message::EchoRequest { identifier: first, sequence: second },
        (11, 0) => Message::TimeExceeded { reassembly: false },
        (11, 1) => Message::TimeExceeded { reassembly: true },
        (12, code @ 0..=2) => Message::ParameterProblem { code, pointer: a },
        //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
        //# If an ICMP message of unknown type is received, it MUST be
        //# silently discarded.
        _ => return Err(DropReason::IcmpType),
    };
    Ok((message, HEADER_LEN))
}

/// Reads the packet that an error quotes: its IPv4 header and eight bytes more.
///
/// Its checksum is not looked at, for routers quote it after changing the header.
///
/// Errors: `IcmpQuote` if it is cut short, no IPv4, or not the first fragment (no ports).
pub fn parse_quoted(bytes: &[u8]) -> Result<Quoted, DropReason> {
    let &[first, _, len_a, len_b, _, _, flag_a, flag_b, _, protocol, _, _, s, t, u, v, w, x, y, z] =
        bytes.first_chunk::<20>().ok_or(DropReason::IcmpQuote)?;
    let header_len = usize::from(first & 0x0f) * 4;
    let later_fragment = [flag_a & 0x1f, flag_b] != [0, 0];
    if first >> 4 != 4 || header_len < 20 || later_fragment {
        return Err(DropReason::IcmpQuote);
    }
    let &[a, b, c, d, e, f, g, h] =
        bytes.get(header_len..).and_then(<[u8]>::first_chunk).ok_or(DropReason::IcmpQuote)?;
    let protocol = Protocol(protocol);
    let (local_port, remote_port, seq) = match protocol {
        Protocol::TCP => {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u32::from_be_bytes([e, f, g, h]))
        }
        Protocol::UDP => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0),
        Protocol::ICMP => (u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]), 0),
        _ => (0, 0, 0),
    };
    Ok(Quoted {
        protocol,
        local: IpAddr::V4(Ipv4Addr::new(s, t, u, v)),
        remote: IpAddr::V4(Ipv4Addr::new(w, x, y, z)),
        local_port,
        remote_port,
        seq,
        total_len: u16::from_be_bytes([len_a, len_b]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Checksum, ipv4, tcp};
    use proptest::prelude::*;

    const SUM: Verify = Verify::Sum(Checksum::ZERO);

    fn with_data(message: Message, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 8];
        message.emit(&mut out, Fill::Full(Checksum::ZERO.with(data))).unwrap();
        out.extend(data);
        out
    }

    #[test]
    fn an_echo_request_to_the_byte() {
        // Shows the format and checksum, truncation at every byte of the header, and a flipped bit.
        let request = Message::EchoRequest { identifier: 0x1234, sequence: 1 };
        let mut bytes = with_data(request, b"abc");
        assert_eq!(bytes[..2], [8, 0]);
        assert_eq!(bytes[4..], [0x12, 0x34, 0, 1, b'a', b'b', b'c']);
        assert_eq!(parse(&bytes, SUM), Ok((request, 8)));
        for short in 0..8 {
            assert_eq!(parse(&bytes[..short], SUM), Err(DropReason::IcmpTruncated));
        }
        bytes[10] ^= 4;
        assert_eq!(parse(&bytes, SUM), Err(DropReason::IcmpChecksum));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
    //= type=test
    //# If an ICMP message of unknown type is received, it MUST be
    //# silently discarded.
    fn unknown_types_are_dropped() {
        // Shows every type and code: those in RFC 792 that we use parse, all others are refused.
        for kind in 0..=255u8 {
            for code in 0..=255u8 {
                let known = matches!((kind, code), (0, 0) | (8, _) | (3, 0..=15) | (11, 0..=1) | (12, 0..=2));
                assert_eq!(parse(&[kind, code, 0, 0, 0, 0, 0, 0], Verify::Trusted).is_ok(), known);
            }
        }
    }

    #[test]
    fn a_quoted_segment() {
        // Shows the flow and sequence number of a TCP segment that an error quotes, cut at every byte.
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut quote = vec![0; 40];
        ipv4::Header::new(a, b, Protocol::TCP, 3).emit(&mut quote, 1480, false).unwrap();
        let segment =
            tcp::Segment::new(40_000, 80, tcp::SeqNum(0x0102_0304), tcp::SeqNum(0), tcp::Flags::ACK);
        segment.emit(&mut quote[20..], Fill::Zero).unwrap();
        let expected = Quoted {
            protocol: Protocol::TCP,
            local: a.into(),
            remote: b.into(),
            local_port: 40_000,
            remote_port: 80,
            seq: 0x0102_0304,
            total_len: 1500,
        };
        for short in 0..=40 {
            let result = if short < 28 { Err(DropReason::IcmpQuote) } else { Ok(expected) };
            assert_eq!(parse_quoted(&quote[..short]), result);
        }
        quote[7] = 1;
        assert_eq!(parse_quoted(&quote), Err(DropReason::IcmpQuote));
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(which in 0..5, a: u16, b: u16, code: u8, reassembly: bool, data: Vec<u8>) {
            // Shows that every message survives emit and parse, with odd lengths of data too.
            let message = match which {
                0 => Message::EchoReply { identifier: a, sequence: b },
                1 => {
                    let code = Unreachable(code % 16);
                    let mtu = if code == Unreachable::FRAGMENTATION_NEEDED { a } else { 0 };
                    Message::DestinationUnreachable { code, next_hop_mtu: mtu }
                }
                2 => Message::EchoRequest { identifier: a, sequence: b },
                3 => Message::TimeExceeded { reassembly },
                _ => Message::ParameterProblem { code: code % 3, pointer: a.to_be_bytes()[0] },
            };
            prop_assert_eq!(parse(&with_data(message, &data), SUM), Ok((message, 8)));
            prop_assert_eq!(message.emit(&mut [0; 7], Fill::Zero), Err(NoRoom));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn random_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), first in 0x44u8..0x50) {
            // Shows that no quoted packet can do harm, and that one that parses is of IPv4.
            let _ = parse(&bytes, Verify::Trusted);
            if let Some(byte) = bytes.first_mut() { *byte = first; }
            if let Ok(quoted) = parse_quoted(&bytes) { prop_assert!(quoted.local.is_ipv4()); }
        }
    }
}
