//! Packets as a kernel or a good peer makes them, for targets to break: TCP and UDP over both kinds of IP.

use crate::input::Input;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Options for the destination: an extension header of IPv6.
const OPTIONS: u8 = 60;

/// What packets carry, again and again.
const PATTERN: [u8; 251] = {
    let mut bytes = [0_u8; 251];
    let mut at = 1;
    while at < bytes.len() {
        bytes[at] = bytes[at - 1].wrapping_add(31);
        at += 1;
    }
    bytes
};

/// A whole frame, and where its headers are.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The frame.
    pub bytes: Vec<u8>,
    /// Where IP's header begins.
    pub network: usize,
    /// Where the transport's begins.
    pub transport: usize,
    /// Where the payload begins.
    pub payload: usize,
    /// The packet is IPv6's.
    pub ipv6: bool,
    /// The transport is UDP.
    pub udp: bool,
}

impl Packet {
    /// A packet of about so many bytes of payload, of the shape that `input` says, with the pseudo-header's sum where its
    /// checksum goes.
    pub fn new(input: &mut Input, payload: usize) -> Packet {
        let shape = input.byte();
        let [ipv6, udp, tagged, more_network, more_transport] = [1, 2, 4, 8, 16].map(|bit| shape & bit != 0);
        let (network_words, tcp_words) = if shape & 24 == 0 {
            (0, 0)
        } else {
            let words = input.byte();
            (usize::from(words >> 4) % 11, usize::from(words & 15) % 11)
        };
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if tagged {
            bytes.extend([0x81, 0, 0, 5]);
        }
        bytes.extend(if ipv6 { [0x86, 0xdd] } else { [8, 0] });
        let network = bytes.len();
        let header = match (udp, more_transport) {
            (true, _) => 8,
            (false, true) => 20 + 4 * tcp_words,
            (false, false) => 20,
        };
        let network_header = match (ipv6, more_network) {
            (true, true) => 40 + 8 * (network_words / 2 + 1),
            (true, false) => 40,
            (false, true) => 20 + 4 * network_words,
            (false, false) => 20,
        };
        let behind = header + payload.min(65_535 - network_header - header);
        let transport = network + network_header;
        let protocol = if udp { UDP } else { TCP };
        let short = |length: usize| u16::try_from(length).expect("a packet's length").to_be_bytes();
        if ipv6 {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(short(network_header - 40 + behind));
            bytes.extend([if more_network { OPTIONS } else { protocol }, 64]);
            bytes.extend([0xfd; 15].iter().chain(&[1]).chain(&[0xfd; 15]).chain(&[2]));
            if more_network {
                let words = u8::try_from(network_words / 2).expect("few");
                // What follows is one option that fills up.
                bytes.extend([protocol, words, 1, 4 + 8 * words]);
                bytes.resize(transport, 0);
            }
        } else {
            let version = u8::try_from(0x40 + network_header / 4).expect("15 words");
            bytes.extend([version, 0]);
            bytes.extend(short(network_header + behind));
            bytes.extend([1, 2, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            bytes.resize(transport, 1);
            let sum = !sum(&bytes[network..transport]);
            bytes[network + 10..network + 12].copy_from_slice(&sum.to_be_bytes());
        }
        bytes.extend([0, 7, 0, 9]);
        if udp {
            bytes.extend(short(behind));
            bytes.extend([0, 0]);
        } else {
            bytes.extend([0xff, 0xff, 0xfe, 0, 0, 0, 0, 5]);
            bytes.extend([u8::try_from(header * 4).expect("15 words"), 0x99, 1, 0, 0, 0, 0, 0]);
            bytes.resize(transport + header, 1);
        }
        let length = bytes.len() + behind - header;
        while bytes.len() < length {
            bytes.extend_from_slice(&PATTERN[..(length - bytes.len()).min(PATTERN.len())]);
        }
        let mut packet = Packet { bytes, network, transport, payload: transport + header, ipv6, udp };
        let partial = packet.pseudo(behind);
        packet.set_sum(partial);
        packet
    }

    /// Where the transport's checksum goes.
    pub fn field(&self) -> usize {
        self.transport + if self.udp { 6 } else { 16 }
    }

    /// The pseudo-header's sum for so many bytes.
    pub fn pseudo(&self, length: usize) -> u16 {
        let addresses = if self.ipv6 { 8..40 } else { 12..20 };
        let length = u16::try_from(length).expect("a packet's length").to_be_bytes();
        let protocol = if self.udp { UDP } else { TCP };
        sum(&[&self.bytes[self.network..][addresses], &[0, protocol], &length].concat())
    }

    /// Fills the checksum in.
    pub fn complete(&mut self) {
        self.set_sum(!sum(&self.bytes[self.transport..]));
    }

    /// Writes a checksum, or a part of one.
    pub fn set_sum(&mut self, sum: u16) {
        let field = self.field();
        self.bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// RFC 1071's sum: of nothing but zeros it is zero, of others never.
pub fn sum(bytes: &[u8]) -> u16 {
    let (longs, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let sum: u64 = longs.iter().chain(&[last]).map(|long| u64::from(u32::from_be_bytes(*long))).sum();
    fold(sum)
}

/// What a sum of words is in 16 bits.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

/// The word at `at`.
///
/// Panics: if it is not in `bytes`.
pub fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
