//! Everything that is not TCP: ARP, fragments, ICMP. UDP's sockets are in `udp`, IPv6's own in `packets_ipv6`.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::Range;

use drivers::Frame;

use super::Engine;
use super::receive::Parsed;
use super::udp::Fate;
use crate::flow::Place;
use crate::ip::fragment::{Key as DatagramKey, Plan, Span, joined_field};
use crate::ip::icmp::{IcmpError, Offender, quote};
use crate::ip::route::Class;
use crate::socket::{LaneId, OpError};
use crate::tcp::isn::Tuple;
use crate::tcp::state::State;
use crate::wire::icmp::{Message, Quoted, Unreachable};
use crate::wire::{
    Checksum, DropReason, EtherType, Fill, IpHeader, Protocol, Verify, arp, ether_type_of, icmp, icmpv6,
    ipv4, ipv6,
};

/// An IPv4 packet that is no whole TCP segment.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its header.
    pub header: ipv4::Header,
    /// Where the IP header begins in the frame.
    pub link: usize,
    /// Where its payload lies in the frame.
    pub payload: Range<usize>,
    /// What its destination is to us.
    pub to: Class,
    /// It came in a frame to a group or to all stations.
    pub group: bool,
}

/// A transport's bytes, whichever version of IP they came by.
#[derive(Clone, Debug)]
pub struct Carried {
    /// From whom.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Where the IP header begins in the frame.
    pub link: usize,
    /// Where they lie in the frame.
    pub payload: Range<usize>,
    /// What the destination is to us.
    pub to: Class,
    /// They came in a frame to a group or to all stations.
    pub group: bool,
    /// IPv4's type of service, or IPv6's traffic class.
    pub traffic_class: u8,
}

impl Packet {
    /// What the transport needs to know.
    pub fn carried(&self) -> Carried {
        let Packet { header, link, ref payload, to, group } = *self;
        let (source, destination) = (IpAddr::V4(header.source), IpAddr::V4(header.destination));
        let traffic_class = header.tos;
        Carried { source, destination, link, payload: payload.clone(), to, group, traffic_class }
    }
}

impl Engine {
    /// An ARP packet.
    pub(super) fn on_arp(&mut self, frame: &Frame, offset: usize) {
        let bytes = frame.bytes().get(offset..).unwrap_or(&[]);
        let now = self.flows.shared.now.instant;
        let result = arp::parse(bytes).and_then(|packet| {
            let result =
                self.ports[self.arriving].neighbours.receive(&packet, now, &mut self.neighbour_actions);
            self.tell_of_neighbour(&packet, result.is_ok());
            result
        });
        match result {
            Ok(()) => self.counters.consumed_frames += 1,
            Err(reason) => self.counters.drop(reason),
        }
        self.act_on_neighbours(self.arriving);
    }

    /// An IPv4 packet that is no whole TCP segment.
    pub(super) fn on_packet(&mut self, frame: Frame, packet: &Packet) {
        if packet.header.is_fragment() {
            return self.on_fragment(frame, packet);
        }
        let result = match packet.header.protocol {
            Protocol::ICMP => match self.on_icmp(&frame, packet) {
                Ok(Some(lane)) => return self.steer(lane, frame, packet.link),
                result => result.map(|_| true),
            },
            Protocol::UDP => match self.on_udp(frame, &packet.carried()) {
                Ok(Fate::Here) => Ok(true),
                Ok(Fate::Elsewhere) => Ok(false),
                Ok(Fate::Nobody(frame)) => {
                    self.refuse(&frame, packet, Unreachable::PORT, DropReason::UdpNoListener).map(|()| true)
                }
                Err(reason) => Err(reason),
            },
            _ => self.refuse(&frame, packet, Unreachable::PROTOCOL, DropReason::Ipv4Protocol).map(|()| true),
        };
        match result {
            Ok(here) => self.counters.consumed_frames += u64::from(here),
            Err(reason) => self.counters.drop(reason),
        }
    }

    fn on_fragment(&mut self, mut frame: Frame, packet: &Packet) {
        let header = &packet.header;
        let key = DatagramKey::of(header);
        if let Some(lane) = self.elsewhere_fragment(&key) {
            return self.steer(lane, frame, packet.link);
        }
        let len = u16::try_from(packet.payload.len()).unwrap_or(u16::MAX);
        let span = Span { offset: header.fragment_offset, len, more: header.more_fragments };
        // The holder begins with the IP header, for the first one's is the datagram's.
        frame.truncate(packet.payload.end);
        frame.trim_front(packet.link);
        let frame = self.adopt(frame);
        let held = frame.len() + frame.tailroom() + frame.headroom();
        let now = self.flows.shared.now.instant;
        let mut output = core::mem::take(&mut self.fragment_output);
        if self.fragments.insert(key, span, frame, held, now, &mut output) {
            self.on_complete(&mut output.complete, packet);
        }
        self.settle_fragments(&mut output);
        self.fragment_output = output;
    }

    pub(super) fn settle_fragments(&mut self, output: &mut crate::ip::fragment::Output<Frame>) {
        for (reason, _) in output.dropped.drain(..) {
            self.counters.drop(reason);
        }
        for (key, first) in output.expired.drain(..) {
            self.counters.drop(DropReason::FragmentTimeout);
            match key.source {
                IpAddr::V4(_) => self.report_expired(&first),
                IpAddr::V6(_) => self.report_expired_ipv6(&first),
            }
        }
    }

    /// A datagram is whole: one frame of it, and once more through the receive path.
    fn on_complete(&mut self, pieces: &mut Vec<crate::ip::fragment::Piece<Frame>>, packet: &Packet) {
        let whole = self.join_pieces(pieces);
        // All but one of the frames have done what they came for; the last one's end is the datagram's.
        self.counters.consumed_frames += (pieces.len() as u64).saturating_sub(1);
        pieces.clear();
        let Some((frame, header)) = whole else { return self.counters.drop(DropReason::NoRoom) };
        self.mesh.note_joined();
        let payload = header.header_len()..frame.len();
        let whole = Packet { header, link: 0, payload, to: packet.to, group: packet.group };
        if header.protocol == Protocol::TCP {
            return self.on_whole_segment(frame, &whole);
        }
        self.on_packet(frame, &whole);
    }

    /// A TCP segment that came in fragments: rare, and none of the fast passes' business.
    fn on_whole_segment(&mut self, frame: Frame, packet: &Packet) {
        match self.parse_segment(&frame, &packet.carried()) {
            Ok(Parsed::Tcp { arrived, key, .. }) => match self.find_place(&key, &arrived.tuple) {
                Some(Place::Flow(slot)) => {
                    self.on_segment(slot, &arrived, frame);
                    self.arm(slot);
                }
                stray => self.on_stray(stray, &arrived, &key, frame),
            },
            Ok(_) => self.counters.drop(DropReason::Ipv4Protocol),
            Err(reason) => self.counters.drop(reason),
        }
    }

    /// One frame with the header of the first piece and the payload of all.
    fn join_pieces(&mut self, pieces: &[crate::ip::fragment::Piece<Frame>]) -> Option<(Frame, ipv4::Header)> {
        let first = pieces.first()?.holder.bytes();
        let (header, _) = ipv4::parse(first, true).ok()?;
        let mut whole = self.large.take()?;
        let (mut len, mut field) = (0, header.tos & 3);
        whole.append(ipv4::HEADER_LEN)?;
        for piece in pieces {
            let bytes = piece.holder.bytes();
            let (piece, payload) = ipv4::parse(bytes, true).ok()?;
            field = joined_field(field, piece.tos & 3)?;
            let part = bytes.get(payload)?;
            whole.append(part.len())?.copy_from_slice(part);
            len += part.len();
        }
        let whole_header = ipv4::Header {
            more_fragments: false,
            fragment_offset: 0,
            header_len: u8::try_from(ipv4::HEADER_LEN).ok()?,
            total_len: u16::try_from(ipv4::HEADER_LEN + len).ok()?,
            tos: header.tos & !3 | field,
            ..header
        };
        whole_header.emit(whole.bytes_mut()?, len, true).ok()?;
        Some((whole, whole_header))
    }

    /// Give up on datagrams whose time is over.
    pub(super) fn advance_fragments(&mut self) {
        let now = self.flows.shared.now.instant;
        if self.fragments.next_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let mut output = core::mem::take(&mut self.fragment_output);
        self.fragments.advance(now, &mut output);
        self.settle_fragments(&mut output);
        self.fragment_output = output;
    }

    fn report_expired(&mut self, first: &Frame) {
        let bytes = first.bytes();
        let Ok((header, _)) = ipv4::parse(bytes, true) else { return };
        let source = self.routes.classify(IpAddr::V4(header.source));
        let destination = self.routes.classify(IpAddr::V4(header.destination));
        let about = Offender { header: &header, bytes, source, destination, link_broadcast: false };
        let message = Message::TimeExceeded { reassembly: true };
        let now = self.flows.shared.now.instant;
        if self.responder.may_report(&about, DropReason::FragmentTimeout, now).is_ok() {
            self.send_icmp(header.destination, header.source, message, quote(&about));
        }
    }

    /// Say that a packet could not be delivered; `Err` with the reason it is dropped for either way.
    fn refuse(
        &mut self,
        frame: &Frame,
        packet: &Packet,
        code: Unreachable,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let bytes = frame.bytes().get(packet.link..packet.payload.end).unwrap_or(&[]);
        let source = self.routes.classify(IpAddr::V4(packet.header.source));
        let about = Offender {
            header: &packet.header,
            bytes,
            source,
            destination: packet.to,
            link_broadcast: packet.group,
        };
        let now = self.flows.shared.now.instant;
        self.responder.may_report(&about, reason, now)?;
        let message = Message::DestinationUnreachable { code, next_hop_mtu: 0 };
        self.send_icmp(packet.header.destination, packet.header.source, message, quote(&about));
        Err(reason)
    }

    /// `Ok` with a lane if the message is for a connection there.
    fn on_icmp(&mut self, frame: &Frame, packet: &Packet) -> Result<Option<LaneId>, DropReason> {
        let bytes = frame.bytes().get(packet.payload.clone()).unwrap_or(&[]);
        let (message, offset) = icmp::parse(bytes, Verify::Sum(Checksum::ZERO))?;
        let data = bytes.get(offset..).unwrap_or(&[]);
        if message.is_error() {
            let error = IcmpError::parse(message, data)?;
            return self.on_icmp_error(&error);
        }
        let reply = self.responder.echo(message, packet.to)?;
        let from = match packet.to {
            Class::Local => packet.header.destination,
            _ => match self.address_towards(packet.header.source.into()).ok_or(DropReason::NoRoute)? {
                IpAddr::V4(from) => from,
                IpAddr::V6(_) => return Err(DropReason::NoRoute),
            },
        };
        self.send_icmp(from, packet.header.source, reply, data);
        Ok(None)
    }

    pub(super) fn address_towards(&self, to: IpAddr) -> Option<IpAddr> {
        self.routes.next_hop(to).map(|way| way.source)
    }

    fn send_icmp(&mut self, from: Ipv4Addr, to: Ipv4Addr, message: Message, data: &[u8]) {
        let mut front = [0; icmp::HEADER_LEN];
        let sum = Checksum::ZERO.with(data);
        if message.emit(&mut front, Fill::Full(sum)).is_ok() {
            self.send_datagram(from.into(), to.into(), Protocol::ICMP, &front, data);
        }
    }

    /// Send an IP packet of two parts, in fragments if it is larger than the MTU.
    pub(super) fn send_datagram(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        protocol: Protocol,
        front: &[u8],
        data: &[u8],
    ) {
        let Some(hop) = self.hop(u16::MAX, from, to) else {
            return self.counters.fail(DropReason::NoRoute);
        };
        let Some(mut header) = IpHeader::new(from, to, protocol, self.ports[hop.interface].hop_limit) else {
            return self.counters.fail(DropReason::NoRoute);
        };
        let known = self.path_mtus.of_datagrams(to, self.flows.shared.now.instant);
        let mtu = known.mtu.min(self.mtu_to(from, to, hop.interface));
        let len = front.len() + data.len();
        let plan = if header.is_ipv6() { Plan::new_ipv6(len, mtu) } else { Plan::new(len, mtu) };
        let Some(plan) = plan else { return self.counters.fail(DropReason::PacketTooBig) };
        let mut pieces = None;
        if len + header.header_len() > usize::from(mtu) || known.fragments {
            match &mut header {
                IpHeader::V4(header) => {
                    header.dont_fragment = false;
                    header.identification =
                        self.identifications.next(header.source, header.destination, protocol);
                }
                IpHeader::V6(header) => pieces = Some(self.begin_fragments(header)),
            }
        }
        for Span { offset, len, more } in plan {
            let range = usize::from(offset)..usize::from(offset) + usize::from(len);
            let Some(mut frame) = self.copy_range(hop.interface, front, data, range) else {
                return self.counters.fail(DropReason::NoRoom);
            };
            if let IpHeader::V4(header) = &mut header {
                header.more_fragments = more;
                header.fragment_offset = offset;
            }
            if let Some(piece) = pieces {
                let piece = ipv6::Fragment { offset, more, ..piece };
                let room = frame.prepend(ipv6::FRAGMENT_LEN);
                if room.is_none_or(|room| piece.emit(room).is_err()) {
                    return self.counters.fail(DropReason::NoRoom);
                }
            }
            self.send_ip(frame, &header, None, true, hop);
        }
    }

    /// A frame with the bytes of a range over two slices, one behind the other; of several segments, if need be.
    fn copy_range(&self, interface: u8, front: &[u8], data: &[u8], range: Range<usize>) -> Option<Frame> {
        let mut frame = self.ports[interface].composer.header().ok()?;
        let split = front.len();
        let head = front.get(range.start.min(split)..range.end.min(split))?;
        frame.append(head.len())?.copy_from_slice(head);
        let tail = data.get(range.start.saturating_sub(split)..range.end.saturating_sub(split))?;
        let (here, mut rest) = tail.split_at(tail.len().min(frame.tailroom()));
        frame.append(here.len())?.copy_from_slice(here);
        while !rest.is_empty() {
            let mut segment = self.ports[interface].composer.header().ok()?;
            let (here, later) = rest.split_at(rest.len().min(segment.tailroom()));
            segment.append(here.len())?.copy_from_slice(here);
            frame.chain(segment);
            rest = later;
        }
        Some(frame)
    }

    pub(super) fn find_quoted(&self, quoted: &Quoted) -> Option<u32> {
        let tuple = tuple_of(quoted);
        self.find_flow(&self.secret.flow_key(&tuple), &tuple)
    }

    /// A packet of ours waited for a neighbour in vain: a connect that it was for fails.
    pub(super) fn on_unreachable(&mut self, packet: &Frame) {
        let bytes = packet.bytes();
        let quoted = match ether_type_of(bytes) {
            EtherType::IPV6 => icmpv6::parse_quoted(bytes),
            _ => icmp::parse_quoted(bytes),
        };
        let Ok(quoted) = quoted else { return };
        if let Some(slot) = self.find_quoted(&quoted)
            && quoted.protocol == Protocol::TCP
            && self.flows.hot(slot).is_some_and(|hot| hot.state == State::SynSent)
        {
            self.fail_connect(slot, OpError::Unreachable);
        }
    }
}

/// The connection that a quoted header belongs to.
pub(super) fn tuple_of(quoted: &Quoted) -> Tuple {
    Tuple {
        local: SocketAddr::new(quoted.local, quoted.local_port),
        remote: SocketAddr::new(quoted.remote, quoted.remote_port),
    }
}
