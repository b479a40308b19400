//! What a NIC does to frames on their way out, in software: checksums, VLAN tags, cutting TCP payload into segments.
//! For tests of what the stack asks of such a port; DPDK's ports do it themselves.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cut::{Whole, add_length};
use crate::frame::{Frame, Offload, Transport};
use crate::pool::Pool;
use crate::port::{Capabilities, Queue};
use crate::soft::copy::frame_of;

/// A port around another that fills in, tags and cuts.
pub struct Nic {
    inner: Box<dyn Queue>,
    pool: Pool,
    waiting: Vec<Frame>,
    cut: Arc<AtomicU64>,
}

impl Nic {
    /// A NIC whose wire is `inner`. What it sends is made in frames of `pool`.
    pub fn new(inner: Box<dyn Queue>, pool: Pool) -> Nic {
        Nic { inner, pool, waiting: Vec::new(), cut: Arc::default() }
    }

    /// What it can do around a wire that can do `inner`, on frames of at most `segments` segments.
    pub fn capabilities(inner: &Capabilities, segments: usize) -> Capabilities {
        Capabilities {
            multi_segment: true,
            segments_max: segments,
            transmit_ipv4_checksum: true,
            transmit_tcp_checksum: true,
            transmit_udp_checksum: true,
            vlan_insert: true,
            segmentation_max: 65_535 - 120,
            ..*inner
        }
    }

    /// Frames that were cut so far, to be looked at once the NIC has been given away.
    pub fn frames_cut(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.cut)
    }

    /// Sends what waits. True if nothing is left.
    fn flush(&mut self, now: u64) -> bool {
        self.inner.transmit(now, &mut self.waiting);
        self.waiting.is_empty()
    }

    /// The packets on the wire that a frame stands for.
    fn packets(&mut self, frame: &Frame) -> Vec<Vec<u8>> {
        let mut bytes: Vec<u8> = frame.segments().flatten().copied().collect();
        let mut packets = match frame.offload() {
            None => vec![bytes],
            Some(offload) if offload.segment_bytes == 0 => {
                let mut packet = bytes;
                fill(&mut packet, &offload);
                vec![packet]
            }
            Some(offload) => {
                self.cut.fetch_add(1, Ordering::Relaxed);
                cut(&mut bytes, &offload)
            }
        };
        if let Some(tci) = frame.vlan() {
            let [high, low] = tci.to_be_bytes();
            packets.iter_mut().for_each(|packet| drop(packet.splice(12..12, [0x81, 0, high, low])));
        }
        packets
    }
}

/// Cuts a frame as Intel's NICs do: headers are repeated, the sequence number and IP's identification go on, FIN and
/// PSH are left to the last.
fn cut(bytes: &mut [u8], offload: &Offload) -> Vec<Vec<u8>> {
    let transport = usize::from(offload.link_bytes) + usize::from(offload.network_bytes);
    let total = bytes.len();
    add_length(bytes, offload, total);
    let Some(whole) = Whole::new([bytes, &[]], transport, offload.segment_bytes.into()) else {
        return Vec::new();
    };
    let mut packets: Vec<_> = (0..whole.count()).map(|number| whole.segment(number)).collect();
    packets.iter_mut().for_each(|packet| fill(packet, offload));
    packets
}

/// Fills in the checksums of one packet.
fn fill(packet: &mut [u8], offload: &Offload) {
    let link = usize::from(offload.link_bytes);
    let transport = link + usize::from(offload.network_bytes);
    if offload.checksums.ipv4 {
        packet[link + 10..link + 12].fill(0);
        let sum = !sum(&packet[link..transport]);
        packet[link + 10..link + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let field = match offload.checksums.transport {
        Some(Transport::Tcp) => transport + 16,
        Some(Transport::Udp) => transport + 6,
        None => return,
    };
    let sum = !sum(&packet[transport..]);
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071's sum.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    fold(bytes.chunks(2).map(word).sum())
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

impl Queue for Nic {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.flush(now);
        self.inner.receive(now, frames, max)
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let mut gone = 0;
        for frame in frames.iter() {
            if !self.flush(now) {
                break;
            }
            for packet in self.packets(frame) {
                // Without a frame for it the packet is lost, as on any wire.
                self.waiting.extend(frame_of(&self.pool, &packet));
            }
            gone += 1;
        }
        crate::free_all(frames.drain(..gone));
        self.flush(now);
        gone
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.inner.wakes()
    }

    fn watch(&mut self) -> bool {
        self.inner.watch()
    }

    /// What the wire refused is offered again with each call: no time makes it ready.
    fn next_event(&self) -> Option<u64> {
        self.inner.next_event()
    }

    fn transmit_pool(&self) -> Option<(usize, usize)> {
        self.inner.transmit_pool()
    }

    fn reclaim(&mut self) {
        self.inner.reclaim();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "the tests' packets are short")]

    use super::*;
    use crate::frame::Checksums;
    use crate::soft::pipe;

    /// A TCP frame with the sums that a stack leaves for a port.
    fn frame(pool: &Pool, payload: &[u8], segment_bytes: u16) -> Frame {
        let mut bytes = vec![0; 54];
        bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
        bytes[23] = 6;
        bytes[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        bytes[38..42].copy_from_slice(&[0xff, 0xff, 0xff, 0xf0]);
        bytes[46..48].copy_from_slice(&[0x50, 0x19]);
        let length = if segment_bytes > 0 { 0 } else { 20 + u32::try_from(payload.len()).expect("small") };
        let pseudo = fold(u32::from(sum(&bytes[26..34])) + 6 + length);
        bytes[50..52].copy_from_slice(&pseudo.to_be_bytes());
        bytes.extend(payload);
        let mut frame = pool.take().expect("a frame");
        frame.append(bytes.len()).expect("room").copy_from_slice(&bytes);
        frame.set_offload(Offload {
            checksums: Checksums { ipv4: true, transport: Some(Transport::Tcp) },
            link_bytes: 14,
            network_bytes: 20,
            transport_bytes: 20,
            segment_bytes,
            ..Offload::default()
        });
        frame
    }

    fn sent(segment_bytes: u16, vlan: Option<u16>) -> Vec<Vec<u8>> {
        let (near, mut far) = pipe(16, 1500);
        let pool = Pool::heap(16, 2048);
        let mut nic = Nic::new(Box::new(near), Pool::heap(16, 2048));
        let payload: Vec<u8> = (0..250).collect();
        let mut frame = frame(&pool, &payload, segment_bytes);
        vlan.into_iter().for_each(|tci| frame.set_vlan(tci));
        assert_eq!(nic.transmit(0, &mut vec![frame]), 1);
        let mut frames = Vec::new();
        far.receive(0, &mut frames, 16);
        frames.iter().map(|frame| frame.bytes().to_vec()).collect()
    }

    #[test]
    fn a_frame_is_cut_as_intels_nics_do() {
        // Shows lengths, sequence numbers across their end, identifications, flags, payload and both checksums.
        let packets = sent(100, None);
        let lengths: Vec<usize> = packets.iter().map(|packet| packet.len() - 54).collect();
        assert_eq!(lengths, [100, 100, 50]);
        let payload: Vec<u8> = packets.iter().flat_map(|packet| packet[54..].to_vec()).collect();
        assert!(payload.into_iter().eq(0..250));
        let seq = |packet: &Vec<u8>| u32::from_be_bytes(packet[38..42].try_into().expect("four bytes"));
        assert_eq!(packets.iter().map(seq).collect::<Vec<_>>(), [0xffff_fff0, 0x54, 0xb8]);
        assert_eq!(packets.iter().map(|packet| packet[47]).collect::<Vec<_>>(), [0x10, 0x10, 0x19]);
        for (number, packet) in packets.iter().enumerate() {
            assert_eq!(
                (packet[16..18].to_vec(), packet[19]),
                (vec![0, packet.len() as u8 - 14], number as u8)
            );
            assert_eq!(sum(&packet[14..34]), 0xffff);
            let pseudo = u32::from(sum(&packet[26..34])) + 6 + packet.len() as u32 - 34;
            assert_eq!(fold(u32::from(sum(&packet[34..])) + pseudo), 0xffff);
        }
    }

    #[test]
    fn a_frame_of_ipv6_is_cut_too() {
        // Shows lengths without the header, sequence numbers and the checksum over IPv6's pseudo-header.
        let pool = Pool::heap(16, 2048);
        let mut bytes = vec![0; 74];
        bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        bytes[20] = 6;
        bytes[22..54].iter_mut().zip(1..).for_each(|(byte, value)| *byte = value);
        bytes[66..68].copy_from_slice(&[0x50, 0x10]);
        let pseudo = fold(u32::from(sum(&bytes[22..54])) + 6);
        bytes[70..72].copy_from_slice(&pseudo.to_be_bytes());
        bytes.extend(0..250);
        let mut frame = pool.take().expect("a frame");
        frame.append(bytes.len()).expect("room").copy_from_slice(&bytes);
        frame.set_offload(Offload {
            ipv6: true,
            checksums: Checksums { ipv4: false, transport: Some(Transport::Tcp) },
            link_bytes: 14,
            network_bytes: 40,
            transport_bytes: 20,
            segment_bytes: 100,
        });
        let (near, mut far) = pipe(16, 1500);
        let mut nic = Nic::new(Box::new(near), Pool::heap(16, 2048));
        assert_eq!(nic.transmit(0, &mut vec![frame]), 1);
        let mut frames = Vec::new();
        far.receive(0, &mut frames, 16);
        let packets: Vec<&[u8]> = frames.iter().map(Frame::bytes).collect();
        assert_eq!(packets.iter().map(|packet| packet[19]).collect::<Vec<_>>(), [120, 120, 70]);
        assert_eq!(packets.iter().map(|packet| packet[61]).collect::<Vec<_>>(), [0, 100, 200]);
        for packet in packets {
            let pseudo = u32::from(sum(&packet[22..54])) + 6 + packet.len() as u32 - 54;
            assert_eq!(fold(u32::from(sum(&packet[54..])) + pseudo), 0xffff);
        }
    }

    #[test]
    fn a_whole_frame_is_summed_and_tagged() {
        // Shows a frame that is not cut, and the tag between the addresses and the type.
        let packets = sent(0, Some(100));
        assert_eq!((packets.len(), &packets[0][12..18]), (1, &[0x81, 0, 0, 100, 8, 0][..]));
        let pseudo = u32::from(sum(&packets[0][30..38])) + 6 + packets[0].len() as u32 - 38;
        assert_eq!(fold(u32::from(sum(&packets[0][38..])) + pseudo), 0xffff);
        assert_eq!(packets[0].len(), 58 + 250);
    }
}
