//! The shape that nearly every SYN has, and its answer: Ethernet without a tag, IPv4 without options, TCP with the options of
//! Linux and of this stack where nothing is left out, and no payload. Any other is for the layers of `wire`.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use drivers::Frame;

use super::heads::{PathHead, orders};
use super::{FRAGMENT, HEADERS, LINK, NETWORK, NETWORK_LEN, front, half, is_whole, word};
use crate::engine::Engine;
use crate::engine::ports::FRONT;
use crate::engine::receive::Parsed;
use crate::engine::segments::Arrived;
use crate::ip::route::{Class, NextHop};
use crate::tcp::ecn;
use crate::tcp::isn::Tuple;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum, WINDOW_SCALE_MAX};
use crate::wire::{Checksum, Protocol};

/// Bytes of its headers, and of TCP's among them.
const SYN_HEADERS: usize = LINK + NETWORK + SYN_TRANSPORT;
const SYN_TRANSPORT: usize = 40;

/// The same as lengths.
const SYN_HEADERS_LEN: u16 = 74;
const SYN_TRANSPORT_LEN: u16 = 40;

/// What of its options is always the same: in front of the MSS, of the timestamps and of the shift.
const MSS: u32 = 0x0204_0000;
const PERMITTED: u32 = 0x0402_080a;
const SCALE: u32 = 0x0103_0300;

impl Engine {
    /// Read a frame with a SYN of the shape, whole and for us. `None`: it is no such frame, or the layers are to say what is
    /// wrong with it.
    #[inline]
    pub(in crate::engine) fn parse_syn(&self, frame: &Frame) -> Option<Parsed> {
        let head = frame.bytes().first_chunk::<SYN_HEADERS>()?;
        // Type, version and header length; the second byte is the type of service.
        let shape = word(head, 12) & 0xffff_ff00 == 0x0800_4500
            && word(head, 20) & FRAGMENT == u32::from(Protocol::TCP.0)
            && half(head, 16) == NETWORK_LEN + SYN_TRANSPORT_LEN
            // Length, and of the flags SYN, without FIN, RST, PSH, ACK and URG.
            && half(head, 46) & 0xf03f == 0xa002
            && word(head, 54) & 0xffff_0000 == MSS
            && word(head, 58) == PERMITTED
            && word(head, 70) & 0xffff_ff00 == SCALE;
        let ours = front(head) & FRONT == self.ports[self.arriving].front;
        let (source_port, destination_port) = (half(head, 34), half(head, 36));
        if !(shape && ours && frame.is_single() && source_port != 0 && destination_port != 0) {
            return None;
        }
        if !frame.is_verified() {
            let first = head.first_chunk::<HEADERS>()?;
            if frame.stripped_vlan().is_some() || !is_whole(frame, first, NETWORK + SYN_TRANSPORT) {
                return None;
            }
        }
        let [source, destination] = [26, 30].map(|at| IpAddr::V4(Ipv4Addr::from_bits(word(head, at))));
        if self.routes.accept(source, destination) != Ok(Class::Local) {
            return None;
        }
        let tuple = Tuple {
            local: SocketAddr::new(destination, destination_port),
            remote: SocketAddr::new(source, source_port),
        };
        let segment = Segment {
            source_port,
            destination_port,
            seq: SeqNum(word(head, 38)),
            ack: SeqNum(word(head, 42)),
            flags: Flags(head[47]),
            window: half(head, 48),
            urgent: half(head, 52),
            options: Options {
                mss: Some(half(head, 56)),
                window_scale: Some(head[73].min(WINDOW_SCALE_MAX)),
                sack_permitted: true,
                timestamps: Some((word(head, 62), word(head, 66))),
                ..Options::NONE
            },
            header_len: 40,
        };
        let key = self.secret.flow_key(&tuple);
        let field = head[15] & ecn::codepoint::MASK;
        let arrived = Arrived { segment, tuple, link: 14, offset: SYN_HEADERS_LEN, len: 0, field };
        Some(Parsed::Tcp { arrived, key, judged: true })
    }

    /// Send a segment with SYN the way that the path leads which was taken last, if it is this one and the segment has the
    /// shape, to a station that is known. False if it is not so, and nothing was done.
    #[inline]
    pub(in crate::engine) fn send_syn(&mut self, way: &NextHop, tuple: &Tuple, segment: &Segment) -> bool {
        let Some(path) = self.paths.last_to(way) else { return false };
        if self.paths.open(path, self.turn).is_none() {
            self.hop_by_path(path);
        }
        let Some((interface, head)) = self.paths.open(path, self.turn) else { return false };
        let port = &mut self.ports[interface];
        if port.backlog() >= self.config.transmit_backlog_max {
            return false;
        }
        let Ok(mut frame) = port.composer.header() else { return false };
        let sums = port.sums();
        let orders = sums.0.then(|| orders(sums.1, SYN_TRANSPORT, 0));
        let room = frame.begin::<SYN_HEADERS>(SYN_HEADERS_LEN, orders);
        if !room.is_some_and(|room| head.write_syn(room, tuple, segment, sums)) {
            return false;
        }
        port.urgent.push(frame);
        self.counters.segments_sent += 1;
        true
    }
}

impl PathHead {
    /// Write all headers of a segment with SYN. `sums`: the port adds up TCP's checksum; and IPv4's. False if the segment has not
    /// the shape.
    #[inline(always)]
    fn write_syn(
        &self,
        room: &mut [u8; SYN_HEADERS],
        tuple: &Tuple,
        segment: &Segment,
        sums: (bool, bool),
    ) -> bool {
        let Segment { seq, ack, flags, window, urgent, options, .. } = segment;
        let Options { mss: Some(mss), window_scale: Some(scale), timestamps: Some(stamps), .. } = *options
        else {
            return false;
        };
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (tuple.local.ip(), tuple.remote.ip()) else {
            return false;
        };
        if !options.sack_permitted || !options.sack.is_empty() {
            return false;
        }
        let ports = u32::from(segment.source_port) << 16 | u32::from(segment.destination_port);
        let window = (LENGTH | u32::from(flags.0)) << 16 | u32::from(*window);
        let mss = MSS | u32::from(mss);
        let scale = SCALE | u32::from(scale.min(WINDOW_SCALE_MAX));
        self.begin(room, NETWORK_LEN + SYN_TRANSPORT_LEN);
        room[26..30].copy_from_slice(&source.octets());
        room[30..34].copy_from_slice(&destination.octets());
        room[34..38].copy_from_slice(&ports.to_be_bytes());
        room[38..42].copy_from_slice(&seq.0.to_be_bytes());
        room[42..46].copy_from_slice(&ack.0.to_be_bytes());
        room[46..50].copy_from_slice(&window.to_be_bytes());
        room[52..54].copy_from_slice(&urgent.to_be_bytes());
        room[54..58].copy_from_slice(&mss.to_be_bytes());
        room[58..62].copy_from_slice(&PERMITTED.to_be_bytes());
        room[62..66].copy_from_slice(&stamps.0.to_be_bytes());
        room[66..70].copy_from_slice(&stamps.1.to_be_bytes());
        room[70..].copy_from_slice(&scale.to_be_bytes());
        if !sums.1 {
            let sum = self.sum(source, destination, NETWORK_LEN + SYN_TRANSPORT_LEN);
            room[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let mut sum = Checksum::pseudo_ipv4(source, destination, Protocol::TCP.0, SYN_TRANSPORT_LEN);
        let sum = if sums.0 {
            sum.partial()
        } else {
            sum.add_u16(*urgent);
            for word in [ports, seq.0, ack.0, window, mss, PERMITTED, stamps.0, stamps.1, scale] {
                sum.add_u32(word);
            }
            sum.finish()
        };
        room[50..52].copy_from_slice(&sum.to_be_bytes());
        true
    }
}

/// Of TCP's header, its length, in front of the flags.
const LENGTH: u32 = 0xa000;

#[cfg(test)]
mod tests;
