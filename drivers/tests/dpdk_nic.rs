//! A NIC with several queues, named by `CORELANE_NIC` (its PCI address), whose other end sends UDP datagrams to port 9
//! from many ports. Left out where no NIC is named.
#![cfg(feature = "dpdk")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::eal_for;
use drivers::{Checksum, Checksums, Device, Frame, Offload, OpenOptions, Transport, open};

/// Datagrams to look at before the verdict.
const DATAGRAMS: usize = 100;

#[test]
fn rss_offloads_and_cutting_are_as_told() {
    // Shows the table that was read back against the queue and the hash of each datagram that arrives, the checksums'
    // verdicts, and a frame that the NIC cuts into four; what is on the wire is the other end's to look at.
    let Ok(name) = std::env::var("CORELANE_NIC") else {
        eprintln!("left out: a NIC's RSS and offloads, for CORELANE_NIC names none");
        return;
    };
    let device: Device = name.parse().expect("a PCI address");
    eal_for(&device);
    let options = OpenOptions { queues: 2, lanes: 2, receive_frames: 1024, ..OpenOptions::default() };
    let mut port = open(&device, &options).expect("the NIC");
    eprintln!("{:?}", port.capabilities);
    let capabilities = port.capabilities;
    assert!(capabilities.rss_hash && capabilities.receive_checksums && capabilities.segmentation_max > 0);
    let rss = port.rss.clone().expect("a table");
    let ends: [SocketAddr; 2] = [([10, 0, 0, 1], 80).into(), ([192, 168, 7, 9], 40_000).into()];
    let hash = |from, to| rss.hash(Transport::Tcp, from, to).expect("TCP is hashed");
    assert_eq!(hash(ends[0], ends[1]), hash(ends[1], ends[0]), "the key is symmetric");
    println!("ready");

    let (start, mut counts, mut unhashed, mut frames) = (Instant::now(), [0, 0], 0, Vec::new());
    let mut last = None;
    while counts[0] + counts[1] < DATAGRAMS {
        assert!(start.elapsed() < Duration::from_secs(30), "{counts:?} datagrams, {unhashed} without a hash");
        for (index, parts) in port.queues.iter_mut().enumerate() {
            parts.queue.receive(0, &mut frames, 32);
            for frame in frames.drain(..) {
                let Some((source, destination)) = datagram(frame.bytes()) else { continue };
                // Datagrams are hashed by their ports only where the NIC says so.
                match (frame.hash(), rss.hash(Transport::Udp, source, destination)) {
                    (Some(seen), Some(computed)) => {
                        assert_eq!((seen, usize::from(rss.queue(seen))), (computed, index));
                    }
                    _ => unhashed += 1,
                }
                assert_ne!(frame.verdicts().ip, Checksum::Bad);
                assert_ne!(frame.verdicts().transport, Checksum::Bad);
                counts[index] += 1;
                last = Some(frame.bytes().to_vec());
            }
        }
    }
    eprintln!("{counts:?} datagrams, {unhashed} without a hash of ours");
    assert!(unhashed > 0 || counts.iter().all(|count| *count > 0), "{counts:?}");
    let last = last.expect("a datagram");
    let parts = &mut port.queues[1];
    let mut long = long_segment(&last, parts.pools.control.take().expect("a frame"));
    let rest = parts.pools.control.take();
    let mut rest = rest.expect("a frame");
    rest.append(1600).expect("room").fill(b'b');
    long.chain(rest);
    assert_eq!(parts.queue.transmit(0, &mut vec![long]), 1);
    let wait = Instant::now();
    while wait.elapsed() < Duration::from_secs(2) {
        parts.queue.receive(0, &mut frames, 32);
        frames.clear();
        parts.queue.reclaim();
    }
    // The NIC's ring may keep the last frame until the next goes.
    assert!(parts.pools.control.capacity() - parts.pools.control.available() <= 2);
    assert!(!port.control.is_gone());
}

/// The ends of a UDP datagram to port 9 over IPv4 without options.
fn datagram(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = bytes.get(14..)?;
    let word = |at: usize| Some(u16::from_be_bytes(ip.get(at..at + 2)?.try_into().ok()?));
    if bytes.get(12..15)? != [8, 0, 0x45] || ip.get(9) != Some(&17) || word(22)? != 9 {
        return None;
    }
    let address = |at: usize| <[u8; 4]>::try_from(ip.get(at..at + 4)?).ok();
    Some(((address(12)?, word(20)?).into(), (address(16)?, 9).into()))
}

/// Half of a TCP segment of 3,500 bytes back to where `from` came from, to be cut into segments of 1,000.
fn long_segment(from: &[u8], mut frame: Frame) -> Frame {
    let mut bytes = [&from[6..12], &from[..6], &[8, 0, 0x45, 0]].concat();
    bytes.extend(3_540_u16.to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend([&from[30..34], &from[26..30]].concat());
    bytes.extend([0, 7, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0]);
    // The addresses and the protocol, without the length.
    let words = bytes[26..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.sum::<u32>() + 6;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes.extend(&sum.to_be_bytes()[2..]);
    bytes.extend([0, 0]);
    bytes.resize(54 + 1900, b'a');
    frame.append(bytes.len()).expect("room").copy_from_slice(&bytes);
    frame.set_offload(Offload {
        ipv6: false,
        checksums: Checksums { ipv4: true, transport: Some(Transport::Tcp) },
        link_bytes: 14,
        network_bytes: 20,
        transport_bytes: 20,
        segment_bytes: 1000,
    });
    frame
}
