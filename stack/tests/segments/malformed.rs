//! Malformed frames of every layer: counted or answered, never a panic, a hang or a leak.

use core::net::SocketAddr;

use stack::socket::Op;
use stack::wire::tcp::{Options, SackBlocks};

use crate::driver::{Peer, S, US, seg};

/// Frames of a run.
const FRAMES: u64 = 1_000_000;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        // xorshift64*, from Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

/// Frames as they should be, to be broken.
fn models(peer: &Peer) -> Vec<Vec<u8>> {
    let mut blocks = SackBlocks::NONE;
    blocks.push(peer.iss + 5, peer.iss + 9);
    let full = Options { sack: blocks, timestamps: Some((7, 7)), ..Options::NONE };
    let syn = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..Options::NONE };
    let segments = [
        seg("S", 0, 0).options(syn),
        seg(".", 1, 1),
        seg("P.", 1, 1).data(100),
        seg("P.", 50, 1).data(300).options(full),
        seg("F.", 1, 1),
        seg("R", 1, 0),
    ];
    let mut models: Vec<Vec<u8>> = segments.iter().map(|segment| peer.frame(segment)).collect();
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
    arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    models.push(arp);
    let mut ping = models[1][..34].to_vec();
    ping[16..18].copy_from_slice(&84u16.to_be_bytes());
    ping[23] = 1;
    ping.extend([8, 0, 0, 0, 0, 1, 0, 1]);
    ping.extend([0x5a; 56]);
    models.push(mend(ping));
    let mut error = models[1][..34].to_vec();
    error[16..18].copy_from_slice(&56u16.to_be_bytes());
    error[23] = 1;
    error.extend([3, 3, 0, 0, 0, 0, 0, 0]);
    error.extend_from_slice(&models[1][14..42]);
    models.push(mend(error));
    let mut udp = models[1][..34].to_vec();
    udp[16..18].copy_from_slice(&36u16.to_be_bytes());
    udp[23] = 17;
    udp.extend([15, 160, 0, 53, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    models.push(mend(udp));
    models
}

/// Put the checksums right again, so that what is broken gets past them.
fn mend(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() < 34 || bytes[12..14] != [8, 0] {
        return bytes;
    }
    let header = usize::from(bytes[14] & 15) * 4;
    if header < 20 || bytes.len() < 14 + header {
        return bytes;
    }
    bytes[24..26].fill(0);
    let sum = stack::wire::checksum::checksum(&bytes[14..14 + header]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    let total = usize::from(u16::from_be_bytes([bytes[16], bytes[17]])).min(bytes.len() - 14);
    let Some(len) = total.checked_sub(header) else { return bytes };
    let (start, end) = (14 + header, 14 + header + len);
    let at = match bytes[23] {
        1 => 2,
        6 => 16,
        17 => 6,
        _ => return bytes,
    };
    if len < at + 2 {
        return bytes;
    }
    bytes[start + at..start + at + 2].fill(0);
    let mut pseudo = Vec::new();
    if bytes[23] != 1 {
        pseudo.extend_from_slice(&bytes[26..34]);
        pseudo.extend([0, bytes[23]]);
        pseudo.extend((len as u16).to_be_bytes());
    }
    pseudo.extend_from_slice(&bytes[start..end]);
    let sum = stack::wire::checksum::checksum(&pseudo);
    bytes[start + at..start + at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn broken(model: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = model.to_vec();
    for _ in 0..=dice.roll(3) {
        let at = if dice.roll(2) == 0 { dice.roll(bytes.len().min(80)) } else { dice.roll(bytes.len()) };
        match dice.roll(6) {
            0 => bytes[at] ^= 1 << dice.roll(8),
            1 => bytes[at] = dice.roll(256) as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.roll(5)],
            3 => bytes.truncate(at.max(1)),
            4 => bytes.extend((0..dice.roll(64)).map(|n| n as u8)),
            _ => {
                let fill = dice.roll(256) as u8;
                let end = bytes.len().min(at + 4);
                bytes[at..end].fill(fill);
            }
        }
    }
    bytes
}

#[test]
fn broken_frames_are_counted_and_nothing_leaks() {
    // Shows random and mutated frames against a listener, a connection, a UDP socket and reassembly: every frame is
    // accounted for, and all that they made goes by itself.
    let mut peer = Peer::new();
    peer.op(Op::bind(SocketAddr::new(US, 53)));
    peer.app().events.clear();
    peer.accepted(Options::NONE);
    let models = models(&peer);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for count in 0..FRAMES {
        let bytes = if dice.roll(10) == 0 {
            (0..1 + dice.roll(120)).map(|_| dice.roll(256) as u8).collect()
        } else {
            let bytes = broken(&models[dice.roll(models.len())], &mut dice);
            if dice.roll(4) > 0 { mend(bytes) } else { bytes }
        };
        peer.inject(&bytes);
        if count % 64 == 0 {
            peer.frames();
            peer.app().events.clear();
        }
        if dice.roll(50) == 0 {
            peer.wait(dice.roll(S as usize) as u64);
        }
    }
    // Half-open connections, TIME-WAIT, fragments and what the connection was about: all of it ends by itself.
    if let Some(stream) = peer.stream {
        peer.op(Op::abort(stream));
    }
    for _ in 0..40 {
        peer.wait(100 * S);
        peer.frames();
        peer.app().events.clear();
        peer.app().received.clear();
    }
    let left = peer.world.leftovers(stack::sim::World::<crate::driver::Recorder>::FIRST, 2);
    assert_eq!(left, "", "{}", peer.report());
    assert!(peer.report().counters.dropped() > 1000);
}
