//! TCP segments over IPv4 as raw packets, written and read by hand.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{LOCAL, REMOTE};

/// Flags in the header's bits.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

/// A segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    pub from: u16,
    pub to: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<u8>,
    pub data: Vec<u8>,
    pub tos: u8,
}

fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = from.octets().to_vec();
    bytes.extend(to.octets());
    bytes.extend([0, protocol]);
    bytes.extend((len as u16).to_be_bytes());
    bytes
}

/// An IPv4 packet from the remote host.
pub fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + payload.len() as u16).to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(REMOTE.octets());
    header.extend(LOCAL.octets());
    let check = sum(&[&header]);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    [header, payload.to_vec()].concat()
}

/// The sum of a segment over IPv6, or what is wrong with it.
pub fn sum_ipv6(from: Ipv6Addr, to: Ipv6Addr, tcp: &[u8]) -> u16 {
    let len = (tcp.len() as u32).to_be_bytes();
    sum(&[&from.octets(), &to.octets(), &len, &[0, 0, 0, 6], tcp])
}

impl Segment {
    /// The segment as an IPv6 packet.
    pub fn packet_ipv6(&self, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
        let mut tcp = self.header();
        tcp.extend(&self.data);
        let check = sum_ipv6(from, to, &tcp);
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((tcp.len() as u16).to_be_bytes());
        packet.extend([6, 64]);
        [packet, from.octets().to_vec(), to.octets().to_vec(), tcp].concat()
    }

    /// The segment as a packet from the remote host.
    pub fn packet(&self) -> Vec<u8> {
        let mut tcp = self.header();
        tcp.extend(&self.data);
        let check = sum(&[&pseudo(REMOTE, LOCAL, 6, tcp.len()), &tcp]);
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        packet(6, &tcp)
    }

    /// The header, its sum left out.
    fn header(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.to_be_bytes());
        tcp.extend(self.to.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let mut options = self.options.clone();
        while !options.len().is_multiple_of(4) {
            options.push(1);
        }
        tcp.extend([((5 + options.len() / 4) << 4) as u8, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 2]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(&options);
        tcp
    }

    /// The segment of a packet to the remote host; its lengths and sums must be right.
    pub fn parse(packet: &[u8]) -> Segment {
        assert_eq!((packet[0], packet[9]), (0x45, 6), "an IPv4 packet without options, TCP in it");
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!(sum(&[&packet[..20]]), 0, "the header's sum");
        assert_eq!((&packet[12..16], &packet[16..20]), (&LOCAL.octets()[..], &REMOTE.octets()[..]));
        let tcp = &packet[20..];
        assert_eq!(sum(&[&pseudo(LOCAL, REMOTE, 6, tcp.len()), tcp]), 0, "the segment's sum");
        let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
        let header = usize::from(tcp[12] >> 4) * 4;
        Segment {
            from: word(0),
            to: word(2),
            seq: long(4),
            ack: long(8),
            flags: tcp[13],
            window: word(14),
            urgent: word(18),
            options: tcp[20..header].to_vec(),
            data: tcp[header..].to_vec(),
            tos: packet[1],
        }
    }
}
