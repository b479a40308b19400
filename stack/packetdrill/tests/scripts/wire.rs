//! Packets as bytes: those of the script are built here, those of the stack are read and checked here.
//! It shares no code with the stack, so that neither hides a fault of the other.

use core::net::IpAddr;

use crate::language::{TcpOption, flag};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// An IP header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Type of service or traffic class: the last two bits are ECN's.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
}

/// A TCP segment with live numbers.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    pub source_port: u16,
    pub destination_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u16,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<TcpOption>,
    pub payload: Vec<u8>,
}

/// What the stack sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub header: Header,
    pub body: SeenBody,
}

/// What it carries.
#[derive(Clone, Debug)]
pub enum SeenBody {
    Tcp(Segment),
    Udp { source_port: u16, destination_port: u16, payload: Vec<u8> },
    Icmp { kind: u8, code: u8 },
}

/// The Internet checksum of bytes, before it is inverted.
fn sum(bytes: &[u8], initial: u32) -> u32 {
    let mut sum = initial;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

fn inverted(sum: u32) -> u16 {
    let [_, _, high, low] = sum.to_be_bytes();
    !u16::from_be_bytes([high, low])
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

fn pseudo(header: &Header, protocol: u8, len: u16) -> u32 {
    let sum_of = |address| sum(&octets(address), 0);
    sum(&[0, protocol], sum(&len.to_be_bytes(), sum_of(header.source) + sum_of(header.destination)))
}

/// Put an IP header in front of a payload whose checksum, at `checksum_at`, is still zero.
fn packet(header: &Header, protocol: u8, mut payload: Vec<u8>, checksum_at: usize) -> Vec<u8> {
    let begin = if protocol == ICMP { 0 } else { pseudo(header, protocol, length(&payload)) };
    let check = inverted(sum(&payload, begin));
    payload[checksum_at..checksum_at + 2].copy_from_slice(&check.to_be_bytes());
    let mut bytes = ip_header(header, protocol, length(&payload));
    bytes.extend_from_slice(&payload);
    bytes
}

fn ip_header(header: &Header, protocol: u8, len: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    if header.source.is_ipv4() {
        bytes.extend_from_slice(&[0x45, header.tos]);
        bytes.extend_from_slice(&(len + 20).to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0x40, 0, header.ttl, protocol, 0, 0]);
    } else {
        bytes.extend_from_slice(&[0x60 | header.tos >> 4, header.tos << 4, 0, 0]);
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&[protocol, header.ttl]);
    }
    bytes.extend_from_slice(&octets(header.source));
    bytes.extend_from_slice(&octets(header.destination));
    if header.source.is_ipv4() {
        let check = inverted(sum(&bytes, 0));
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
    }
    bytes
}

/// A TCP packet.
pub fn tcp(header: &Header, segment: &Segment) -> Vec<u8> {
    let mut options = Vec::new();
    for option in &segment.options {
        emit_option(option, &mut options);
    }
    while !options.len().is_multiple_of(4) {
        options.push(0);
    }
    let words = u16::try_from(5 + options.len() / 4).unwrap_or(15);
    let mut bytes = tcp_begin(segment);
    bytes.extend_from_slice(&(words << 12 | segment.flags).to_be_bytes());
    bytes.extend_from_slice(&segment.window.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&segment.urgent.to_be_bytes());
    bytes.extend_from_slice(&options);
    bytes.extend_from_slice(&segment.payload);
    packet(header, TCP, bytes, 16)
}

fn tcp_begin(segment: &Segment) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&segment.source_port.to_be_bytes());
    bytes.extend_from_slice(&segment.destination_port.to_be_bytes());
    bytes.extend_from_slice(&segment.seq.to_be_bytes());
    bytes.extend_from_slice(&segment.ack.to_be_bytes());
    bytes
}

fn emit_option(option: &TcpOption, bytes: &mut Vec<u8>) {
    match option {
        TcpOption::End => bytes.push(0),
        TcpOption::Nop => bytes.push(1),
        TcpOption::Mss(mss) => {
            bytes.extend_from_slice(&[2, 4]);
            bytes.extend_from_slice(&mss.to_be_bytes());
        }
        TcpOption::WindowScale(shift) => bytes.extend_from_slice(&[3, 3, *shift]),
        TcpOption::SackOk => bytes.extend_from_slice(&[4, 2]),
        TcpOption::Sack(blocks) => {
            bytes.extend_from_slice(&[5, u8::try_from(2 + 8 * blocks.len()).unwrap_or(u8::MAX)]);
            for (left, right) in blocks {
                bytes.extend_from_slice(&left.to_be_bytes());
                bytes.extend_from_slice(&right.to_be_bytes());
            }
        }
        TcpOption::Timestamps(value, echo) => {
            bytes.extend_from_slice(&[8, 10]);
            bytes.extend_from_slice(&value.to_be_bytes());
            bytes.extend_from_slice(&echo.to_be_bytes());
        }
        TcpOption::Other(kind, data) => {
            bytes.extend_from_slice(&[*kind, u8::try_from(2 + data.len()).unwrap_or(u8::MAX)]);
            bytes.extend_from_slice(data);
        }
    }
}

/// A UDP packet.
pub fn udp(header: &Header, source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&source_port.to_be_bytes());
    bytes.extend_from_slice(&destination_port.to_be_bytes());
    bytes.extend_from_slice(&(length(payload) + 8).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    packet(header, UDP, bytes, 6)
}

/// An ICMP error about a segment of `len` bytes that the stack sent: `quoted` is that packet's header.
pub fn icmp(
    header: &Header,
    kind: u8,
    code: u8,
    mtu: u32,
    quoted: &Header,
    segment: &Segment,
    len: u16,
) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend_from_slice(&mtu.to_be_bytes());
    bytes.extend_from_slice(&ip_header(quoted, TCP, len + 20));
    bytes.extend_from_slice(&tcp_begin(segment));
    bytes.extend_from_slice(&[0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    let protocol = if header.source.is_ipv4() { ICMP } else { ICMPV6 };
    packet(header, protocol, bytes, 2)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Read a packet of the stack's. Errors: whatever is not valid in it.
pub fn read(bytes: &[u8]) -> Result<Seen, String> {
    let version = bytes.first().map(|first| first >> 4);
    let (header, protocol, payload) = match version {
        Some(4) if bytes.len() >= 20 => read_ipv4(bytes)?,
        Some(6) if bytes.len() >= 40 => read_ipv6(bytes)?,
        _ => return Err(format!("neither an IPv4 nor an IPv6 packet: {bytes:?}")),
    };
    let begin = if protocol == ICMP { 0 } else { pseudo(&header, protocol, length(payload)) };
    if inverted(sum(payload, begin)) != 0 {
        return Err(format!("the checksum of protocol {protocol} is wrong"));
    }
    let body = match protocol {
        TCP if payload.len() >= 20 => SeenBody::Tcp(read_tcp(payload)?),
        UDP if payload.len() >= 8 => SeenBody::Udp {
            source_port: u16_at(payload, 0),
            destination_port: u16_at(payload, 2),
            payload: payload[8..].to_vec(),
        },
        ICMP | ICMPV6 if payload.len() >= 8 => SeenBody::Icmp { kind: payload[0], code: payload[1] },
        _ => return Err(format!("a packet of protocol {protocol} with {} bytes", payload.len())),
    };
    Ok(Seen { header, body })
}

fn read_ipv4(bytes: &[u8]) -> Result<(Header, u8, &[u8]), String> {
    if usize::from(u16_at(bytes, 2)) != bytes.len() || bytes[0] != 0x45 {
        return Err("an IPv4 header with another length".to_owned());
    }
    if inverted(sum(&bytes[..20], 0)) != 0 {
        return Err("the checksum of the IPv4 header is wrong".to_owned());
    }
    let address = |at: usize| IpAddr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let header = Header { source: address(12), destination: address(16), tos: bytes[1], ttl: bytes[8] };
    Ok((header, bytes[9], &bytes[20..]))
}

fn read_ipv6(bytes: &[u8]) -> Result<(Header, u8, &[u8]), String> {
    if usize::from(u16_at(bytes, 4)) + 40 != bytes.len() {
        return Err("an IPv6 header with another length".to_owned());
    }
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[at..at + 16]);
        IpAddr::from(octets)
    };
    let tos = bytes[0] << 4 | bytes[1] >> 4;
    let header = Header { source: address(8), destination: address(24), tos, ttl: bytes[7] };
    Ok((header, bytes[6], &bytes[40..]))
}

fn read_tcp(bytes: &[u8]) -> Result<Segment, String> {
    let begin = usize::from(bytes[12] >> 4) * 4;
    if begin < 20 || begin > bytes.len() {
        return Err("a TCP header with another length".to_owned());
    }
    let flags = u16_at(bytes, 12) & 0x1ff;
    if bytes[12] & 0xe != 0 {
        return Err("reserved bits of the TCP header are set".to_owned());
    }
    Ok(Segment {
        source_port: u16_at(bytes, 0),
        destination_port: u16_at(bytes, 2),
        seq: u32_at(bytes, 4),
        ack: u32_at(bytes, 8),
        flags,
        window: u16_at(bytes, 14),
        urgent: u16_at(bytes, 18),
        options: read_options(&bytes[20..begin])?,
        payload: bytes[begin..].to_vec(),
    })
}

fn read_options(mut bytes: &[u8]) -> Result<Vec<TcpOption>, String> {
    let mut options = Vec::new();
    while let Some(kind) = bytes.first().copied() {
        if kind < 2 {
            options.push(if kind == 0 { TcpOption::End } else { TcpOption::Nop });
            bytes = &bytes[1..];
            continue;
        }
        let len = bytes.get(1).map_or(0, |len| usize::from(*len));
        if len < 2 || len > bytes.len() {
            return Err(format!("option {kind} is longer than the header"));
        }
        let (option, rest) = bytes.split_at(len);
        options.push(match (kind, len) {
            (2, 4) => TcpOption::Mss(u16_at(option, 2)),
            (3, 3) => TcpOption::WindowScale(option[2]),
            (4, 2) => TcpOption::SackOk,
            (5, 10 | 18 | 26 | 34) => {
                let block = |pair: &[u8]| (u32_at(pair, 0), u32_at(pair, 4));
                TcpOption::Sack(option[2..].chunks(8).map(block).collect())
            }
            (8, 10) => TcpOption::Timestamps(u32_at(option, 2), u32_at(option, 6)),
            _ => TcpOption::Other(kind, option[2..].to_vec()),
        });
        bytes = rest;
    }
    Ok(options)
}

/// Flag bits as letters.
pub fn letters(flags: u16) -> String {
    let set = flag::LETTERS.iter().filter(|(_, bit)| flags & bit != 0);
    let text: String = set.map(|(letter, _)| *letter).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}
