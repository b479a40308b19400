//! The shape that nearly every frame of an established connection has: Ethernet without a tag, IPv4 without options, TCP
//! with timestamps and nothing else. Read at constant offsets; what has another shape, or may not be ours, is declined, and
//! the layered parsers of `wire` read it.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use drivers::{Checksum as Verdict, Checksums, Frame, Offload, Transport};

use super::Engine;
use super::receive::Parsed;
use super::segments::Arrived;
use super::transmit::{Form, Hop};
use crate::tcp::ecn;
use crate::tcp::isn::Tuple;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};
use crate::wire::{Checksum, Protocol};

/// Bytes of its headers: Ethernet, IPv4, TCP, and timestamps behind two no-operations.
pub(super) const HEADERS: usize = LINK + NETWORK + TRANSPORT;

/// Where IPv4's header begins, and bytes of each header.
pub(super) const LINK: usize = 14;
pub(super) const NETWORK: usize = 20;
pub(super) const TRANSPORT: usize = 32;

/// More fragments, or an offset: a piece of a packet.
const FRAGMENT: u16 = 0x3fff;

impl Engine {
    /// Read a frame of the common shape. `None`: read it by layers.
    ///
    /// Its addresses are not looked at: it is worth something only to a flow that has them, which has had them judged.
    #[inline]
    pub(super) fn parse_common(&self, frame: &Frame) -> Option<Parsed> {
        let bytes = frame.bytes();
        let head = bytes.first_chunk::<HEADERS>()?;
        let port = &self.ports[self.arriving];
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        // Type, version and header length; the second byte is the type of service.
        let shape = word(12) & 0xffff_ff00 == 0x0800_4500
            && half(20) & FRAGMENT == 0
            && head[23] == Protocol::TCP.0
            && head[46] >> 4 == 8
            && word(54) == 0x0101_080a;
        let flags = Flags(head[47]);
        let total = usize::from(half(16));
        let fits = total >= NETWORK + TRANSPORT && LINK + total <= bytes.len() && frame.segment_count() == 1;
        let ours = head[..6] == port.mac.0 && head[6] & 1 == 0 && port.vlan.is_none();
        if !(shape && fits && ours && flags.without(Flags::PSH) == Flags::ACK)
            || frame.stripped_vlan().is_some()
        {
            return None;
        }
        let (source, destination) = (Ipv4Addr::from_bits(word(26)), Ipv4Addr::from_bits(word(30)));
        let verdicts = frame.verdicts();
        let summed = match verdicts.ip {
            Verdict::Good => true,
            Verdict::Unknown => Checksum::ZERO.with(&head[LINK..LINK + NETWORK]).is_valid(),
            Verdict::Bad | Verdict::Partial => false,
        };
        let segment = &bytes[LINK + NETWORK..LINK + total];
        let whole = match verdicts.transport {
            Verdict::Good | Verdict::Partial => true,
            Verdict::Unknown => {
                let len = half(16) - 20;
                Checksum::pseudo_ipv4(source, destination, Protocol::TCP.0, len).with(segment).is_valid()
            }
            Verdict::Bad => false,
        };
        if !summed || !whole {
            return None;
        }
        let options = Options { timestamps: Some((word(58), word(62))), ..Options::NONE };
        let parsed = Segment {
            source_port: half(34),
            destination_port: half(36),
            seq: SeqNum(word(38)),
            ack: SeqNum(word(42)),
            flags,
            window: half(48),
            urgent: half(52),
            options,
            header_len: 32,
        };
        let tuple = Tuple {
            local: SocketAddr::new(IpAddr::V4(destination), parsed.destination_port),
            remote: SocketAddr::new(IpAddr::V4(source), parsed.source_port),
        };
        let key = self.secret.flow_key_ipv4(source, destination, word(34));
        let field = head[15] & ecn::codepoint::MASK;
        let len = half(16) - 52;
        let arrived = Arrived { segment: parsed, tuple, link: 14, offset: 66, len, field };
        Some(Parsed::Tcp { arrived, key, judged: false })
    }

    /// Put all headers of the common shape in front of a payload at once, and leave the frame for the port. `Some`: it has
    /// another shape; the frame comes back as it was.
    #[inline]
    pub(super) fn send_common(
        &mut self,
        mut frame: Frame,
        hop: Hop,
        tuple: &Tuple,
        segment: &Segment,
        form: Form,
    ) -> Option<Frame> {
        let port = &self.ports[hop.interface];
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (tuple.local.ip(), tuple.remote.ip()) else {
            return Some(frame);
        };
        let (Some(mac), Some((value, echo))) = (hop.mac, segment.options.timestamps) else {
            return Some(frame);
        };
        let plain = segment.header_len() == TRANSPORT && !segment.flags.contains(Flags::SYN);
        let payload = frame.total_len();
        let Ok(total) = u16::try_from(NETWORK + TRANSPORT + payload) else { return Some(frame) };
        if !plain || form.fragment || port.vlan.is_some() || frame.headroom() < HEADERS {
            return Some(frame);
        }
        let offload = port.capabilities.transmit_tcp_checksum;
        let by_port = offload && port.capabilities.transmit_ipv4_checksum;
        let hop_limit = if form.hop_limit == 0 { port.hop_limit } else { form.hop_limit };
        // A port that cuts adds each segment's length to the sum itself.
        let summed = if form.each > 0 { 0 } else { total - 20 };
        let mut sum = Checksum::pseudo_ipv4(source, destination, Protocol::TCP.0, summed);
        if !offload {
            sum.append(frame.segments().fold(Checksum::ZERO, Checksum::with));
        }
        let Some(room) = frame.prepend(HEADERS).and_then(|room| room.first_chunk_mut::<HEADERS>()) else {
            return Some(frame);
        };
        let [len_a, len_b] = total.to_be_bytes();
        let tos = form.field;
        room[..6].copy_from_slice(&mac.0);
        room[6..12].copy_from_slice(&port.mac.0);
        room[12..18].copy_from_slice(&[8, 0, 0x45, tos, len_a, len_b]);
        room[18..26].copy_from_slice(&[0, 0, 0x40, 0, hop_limit, Protocol::TCP.0, 0, 0]);
        room[26..30].copy_from_slice(&source.octets());
        room[30..34].copy_from_slice(&destination.octets());
        room[34..36].copy_from_slice(&segment.source_port.to_be_bytes());
        room[36..38].copy_from_slice(&segment.destination_port.to_be_bytes());
        room[38..42].copy_from_slice(&segment.seq.0.to_be_bytes());
        room[42..46].copy_from_slice(&segment.ack.0.to_be_bytes());
        room[46..48].copy_from_slice(&[0x80, segment.flags.0]);
        room[48..50].copy_from_slice(&segment.window.to_be_bytes());
        room[52..54].copy_from_slice(&segment.urgent.to_be_bytes());
        room[54..58].copy_from_slice(&[1, 1, 8, 10]);
        room[58..62].copy_from_slice(&value.to_be_bytes());
        room[62..66].copy_from_slice(&echo.to_be_bytes());
        if !by_port {
            let mut header = Checksum::pseudo_ipv4(source, destination, 0, 0);
            for word in [
                0x4500 | u16::from(tos),
                total,
                0x4000,
                u16::from(hop_limit) << 8 | u16::from(Protocol::TCP.0),
            ] {
                header.add_u16(word);
            }
            room[24..26].copy_from_slice(&header.finish().to_be_bytes());
        }
        if !offload {
            for word in [segment.source_port, segment.destination_port, segment.window, segment.urgent] {
                sum.add_u16(word);
            }
            for word in [segment.seq.0, segment.ack.0, 0x0101_080a, value, echo] {
                sum.add_u32(word);
            }
            sum.add_u16(0x8000 | u16::from(segment.flags.0));
        }
        let field = if offload { sum.partial() } else { sum.finish() };
        room[50..52].copy_from_slice(&field.to_be_bytes());
        if offload {
            frame.set_offload(Offload {
                ipv6: false,
                checksums: Checksums { ipv4: by_port, transport: Some(Transport::Tcp) },
                link_bytes: 14,
                network_bytes: 20,
                transport_bytes: 32,
                segment_bytes: form.each,
            });
        }
        let urgent = payload == 0 && !segment.flags.contains(Flags::FIN);
        self.enqueue(hop.interface, frame, urgent);
        None
    }
}

#[cfg(test)]
mod tests;
