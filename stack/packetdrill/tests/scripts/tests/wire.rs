//! Packets as bytes.

use crate::language::{TcpOption, flag};
use crate::wire::*;

fn headers() -> [Header; 2] {
    let header = |source: &str, destination: &str| Header {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        tos: 0xb8,
        ttl: 63,
    };
    [header("192.0.2.1", "192.168.0.1"), header("fd3d:fa7b::1", "fd3d:0a0b:17d6::1")]
}

#[test]
fn what_is_built_is_read_again() {
    // Shows that a segment with every option survives both IP versions, its marks too.
    let segment = Segment {
        source_port: 1,
        destination_port: 2,
        seq: 3,
        ack: 4,
        flags: flag::ACK | flag::AE,
        window: 5,
        urgent: 6,
        options: vec![
            TcpOption::Mss(1460),
            TcpOption::SackOk,
            TcpOption::Nop,
            TcpOption::WindowScale(7),
            TcpOption::Timestamps(8, 9),
            TcpOption::Sack(vec![(10, 11)]),
            TcpOption::Other(254, vec![1, 2]),
        ],
        payload: vec![1, 2, 3],
    };
    for header in headers() {
        let seen = read(&tcp(&header, &segment)).unwrap();
        assert_eq!((seen.header.tos, seen.header.ttl), (0xb8, 63));
        assert_eq!((seen.header.source, seen.header.destination), (header.source, header.destination));
        let SeenBody::Tcp(mut read) = seen.body else { panic!() };
        // What fills the last word of the options.
        read.options.retain(|option| *option != TcpOption::End);
        assert_eq!(format!("{read:?}"), format!("{segment:?}"));
    }
}

#[test]
fn a_damaged_packet_is_refused() {
    // Shows that no single bit of a packet can be wrong unnoticed, but for those no checksum covers.
    for header in headers() {
        let bytes = udp(&header, 1, 2, b"hello");
        assert!(read(&bytes).is_ok());
        // IPv6 protects neither its traffic class, flow label nor hop limit.
        let covered = if header.source.is_ipv4() { 0 } else { 8 };
        for bit in covered * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_err(), "bit {bit}");
        }
    }
}
