//! Packets of IPv6 that are no whole TCP segment: extension headers that are refused, fragments, ICMPv6, UDP. Neighbour
//! discovery, which is ICMPv6 too, is `discovery`'s; what both versions share is in `packets`.

use core::net::{IpAddr, Ipv6Addr};
use core::ops::Range;

use drivers::Frame;

use super::Engine;
use super::packets::Carried;
use super::receive::{Made, Parsed};
use super::udp::Fate;
use crate::ip::fragment::{Key, Piece, Span, joined_field};
use crate::ip::icmpv6::{Offender, echo, is_member, may_report, parse_error, quote};
use crate::ip::route::Class;
use crate::socket::LaneId;
use crate::wire::icmpv6::{self, Message, Unreachable};
use crate::wire::ipv6::{self, Fault, Fragment, Header};
use crate::wire::{Checksum, DropReason, Fill, Protocol, discovery, mld};

/// An IPv6 packet that is no whole TCP segment.
#[derive(Clone, Debug)]
pub struct Packet6 {
    /// Its fixed header.
    pub header: Header,
    /// What follows its extension headers.
    pub protocol: Protocol,
    /// Where the IPv6 header begins in the frame.
    pub link: usize,
    /// Where what follows the extension headers lies in the frame.
    pub payload: Range<usize>,
    /// What its destination is to us.
    pub to: Class,
    /// It came in a frame to a group.
    pub group: bool,
    /// It is a piece of a packet.
    pub fragment: Option<Fragment>,
    /// It came in pieces, or in one that says it is one.
    pub pieces: bool,
    /// Where the field stands that named the protocol, counted from the IPv6 header.
    named_at: usize,
    /// Its headers are refused.
    fault: Option<Fault>,
}

impl Packet6 {
    fn carried(&self) -> Carried {
        let Packet6 { header, link, ref payload, to, group, .. } = *self;
        let (source, destination) = (IpAddr::V6(header.source), IpAddr::V6(header.destination));
        let traffic_class = header.traffic_class;
        Carried { source, destination, link, payload: payload.clone(), to, group, traffic_class }
    }
}

impl Engine {
    /// Read the headers of an IPv6 packet that begins at `link`.
    pub(super) fn parse_ipv6(&self, frame: &Frame, link: usize, group: bool) -> Made {
        let bytes = frame.bytes().get(link..).unwrap_or(&[]);
        let (header, payload) = ipv6::parse(bytes)?;
        let to = self.accept_ipv6(&header)?;
        let mut packet = Packet6 {
            header,
            protocol: header.next_header,
            link,
            payload: link + payload.start..link + payload.end,
            to,
            group,
            fragment: None,
            pieces: link == 0,
            named_at: 6,
            fault: None,
        };
        if header.next_header != Protocol::TCP {
            match ipv6::walk(bytes, header.next_header, payload) {
                Ok(upper) => {
                    packet.protocol = upper.protocol;
                    packet.payload.start = link + upper.range.start;
                    packet.named_at = upper.named_at;
                    packet.fragment = upper.fragment;
                    packet.pieces |= upper.atomic;
                }
                Err(fault) => packet.fault = Some(fault),
            }
        }
        if packet.protocol == Protocol::TCP && packet.fault.is_none() {
            return self.parse_segment(frame, &packet.carried());
        }
        Ok(Parsed::Packet6(packet))
    }

    /// Whether a packet is for us, and in what sense: to one of our addresses, or to a group that we are in.
    fn accept_ipv6(&self, header: &Header) -> Result<Class, DropReason> {
        let ours = &self.ports[self.arriving].addresses;
        if !ours.is_enabled() {
            return Err(DropReason::Ipv6Unsupported);
        }
        let Header { source, destination, .. } = *header;
        let class = if destination.is_multicast() {
            if !is_member(destination, ours.groups()) {
                return Err(DropReason::Ipv6NotForUs);
            }
            Class::Multicast
        } else {
            // An address of the link is one on that link alone.
            let here = if destination.is_unicast_link_local() {
                ours.is_assigned(destination)
            } else {
                self.routes.is_local(IpAddr::V6(destination))
            };
            if !here {
                return Err(DropReason::Ipv6NotForUs);
            }
            Class::Local
        };
        // Whoever has no address yet speaks to groups alone.
        let nobody = source.is_unspecified() && class != Class::Multicast;
        if nobody || self.routes.is_local(IpAddr::V6(source)) {
            return Err(DropReason::Ipv6Source);
        }
        Ok(class)
    }

    /// An IPv6 packet that is no whole TCP segment.
    pub(super) fn on_packet_ipv6(&mut self, frame: Frame, packet: &Packet6) {
        let result = match (packet.fault, packet.protocol) {
            (Some(Fault { reason, problem: None }), _) => Err(reason),
            (Some(Fault { reason, problem: Some(problem) }), _) => {
                let message = Message::ParameterProblem { code: problem.code, pointer: problem.pointer };
                self.complain(&frame, packet, message, problem.to_groups, reason)
            }
            _ if packet.fragment.is_some() => return self.on_fragment_ipv6(frame, packet),
            (None, Protocol::ICMPV6) => match self.on_icmpv6(&frame, packet) {
                Ok(Some(lane)) => return self.steer(lane, frame, packet.link),
                result => result.map(|_| true),
            },
            (None, Protocol::UDP) => match self.on_udp(frame, &packet.carried()) {
                Ok(Fate::Here) => Ok(true),
                Ok(Fate::Elsewhere) => Ok(false),
                Ok(Fate::Nobody(frame)) => {
                    let message = Message::DestinationUnreachable { code: Unreachable::PORT };
                    self.complain(&frame, packet, message, false, DropReason::UdpNoListener)
                }
                Err(reason) => Err(reason),
            },
            //= https://www.rfc-editor.org/rfc/rfc8200#section-4
            //# If, as a result of processing a header, the destination node is
            //# required to proceed to the next header but the Next Header value in
            //# the current header is unrecognized by the node, it should discard the
            _ => {
                let pointer = u32::try_from(packet.named_at).unwrap_or(0);
                let message = Message::ParameterProblem { code: 1, pointer };
                self.complain(&frame, packet, message, false, DropReason::Ipv6NextHeader)
            }
        };
        match result {
            Ok(here) => self.counters.consumed_frames += u64::from(here),
            Err(reason) => self.counters.drop(reason),
        }
    }

    /// Say what is wrong with a packet; always `Err`, with the reason it is dropped for either way.
    fn complain(
        &mut self,
        frame: &Frame,
        packet: &Packet6,
        message: Message,
        to_groups: bool,
        reason: DropReason,
    ) -> Result<bool, DropReason> {
        let bytes = frame.bytes().get(packet.link..packet.payload.end).unwrap_or(&[]);
        self.report_about(bytes, &packet.header, (packet.to, packet.group), message, to_groups, reason)?;
        Err(reason)
    }

    fn report_about(
        &mut self,
        bytes: &[u8],
        header: &Header,
        (destination, link_group): (Class, bool),
        message: Message,
        to_groups: bool,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let about = Offender { header, bytes, destination, link_group };
        let now = self.flows.shared.now.instant;
        may_report(&mut self.responder, &about, to_groups, reason, now)?;
        let from = match destination {
            Class::Local => header.destination,
            _ => self.ipv6_towards(header.source).ok_or(reason)?,
        };
        self.send_icmpv6(from, header.source, message, quote(&about));
        Ok(())
    }

    fn ipv6_towards(&self, to: Ipv6Addr) -> Option<Ipv6Addr> {
        match self.routes.source_for(self.arriving, IpAddr::V6(to))? {
            IpAddr::V6(from) => Some(from),
            IpAddr::V4(_) => None,
        }
    }

    /// `Ok` with a lane if the message is for a connection there.
    fn on_icmpv6(&mut self, frame: &Frame, packet: &Packet6) -> Result<Option<LaneId>, DropReason> {
        let Header { source, destination, .. } = packet.header;
        let bytes = frame.bytes().get(packet.payload.clone()).unwrap_or(&[]);
        let verify = icmpv6::verify(source, destination, bytes.len());
        if bytes.first().is_some_and(|kind| discovery::KINDS.contains(kind) || *kind == mld::QUERY) {
            if !verify.accepts(bytes) {
                return Err(DropReason::IcmpChecksum);
            }
            return self.on_discovery(frame, packet, true).map(|()| None);
        }
        let (message, offset) = icmpv6::parse(bytes, verify)?;
        let data = bytes.get(offset..).unwrap_or(&[]);
        if message.is_error() {
            let error = parse_error(message, data)?;
            return self.on_icmp_error(&error);
        }
        let reply = echo(message, packet.to)?;
        let from = match packet.to {
            Class::Local => destination,
            _ => self.ipv6_towards(source).ok_or(DropReason::NoRoute)?,
        };
        self.send_icmpv6(from, source, reply, data);
        Ok(None)
    }

    fn send_icmpv6(&mut self, from: Ipv6Addr, to: Ipv6Addr, message: Message, data: &[u8]) {
        let mut front = [0; icmpv6::HEADER_LEN];
        let len = u32::try_from(front.len() + data.len()).unwrap_or(u32::MAX);
        let sum = Checksum::pseudo_ipv6(from, to, Protocol::ICMPV6.0, len).with(data);
        if message.emit(&mut front, Fill::Full(sum)).is_ok() {
            self.send_datagram(from.into(), to.into(), Protocol::ICMPV6, &front, data);
        }
    }

    /// The header of the fragments of a packet with this header, offsets left open; the packet's becomes theirs.
    pub(super) fn begin_fragments(&mut self, header: &mut Header) -> Fragment {
        let next_header = core::mem::replace(&mut header.next_header, Protocol::IPV6_FRAGMENT);
        let identification = self.identifications.next_ipv6(header.source, header.destination);
        Fragment { next_header, offset: 0, more: false, identification, at: 0, named_at: 0 }
    }

    fn on_fragment_ipv6(&mut self, mut frame: Frame, packet: &Packet6) {
        let Some(fragment) = packet.fragment else { return };
        let key = Key::of_ipv6(&packet.header, &fragment);
        if let Some(lane) = self.elsewhere_fragment(&key) {
            return self.steer(lane, frame, packet.link);
        }
        if let Err((fault, code, pointer)) = check_fragment(&frame, packet, &fragment) {
            let message = Message::ParameterProblem { code, pointer };
            let reason = self.complain(&frame, packet, message, false, fault).err().unwrap_or(fault);
            return self.counters.drop(reason);
        }
        let len = u16::try_from(packet.payload.len()).unwrap_or(u16::MAX);
        let span = Span { offset: fragment.offset, len, more: fragment.more };
        // The holder begins with the IPv6 header, for the first one's headers are the packet's.
        frame.truncate(packet.payload.end);
        frame.trim_front(packet.link);
        let frame = self.adopt(frame);
        let held = frame.len() + frame.tailroom() + frame.headroom();
        let now = self.flows.shared.now.instant;
        let mut output = core::mem::take(&mut self.fragment_output);
        if self.fragments.insert(key, span, frame, held, now, &mut output) {
            self.on_complete_ipv6(&mut output.complete, packet.group);
        }
        self.settle_fragments(&mut output);
        self.fragment_output = output;
    }

    /// A packet is whole: one frame of it, and once more through the receive path.
    fn on_complete_ipv6(&mut self, pieces: &mut Vec<Piece<Frame>>, group: bool) {
        let whole = self.join_ipv6(pieces);
        // All but one of the frames have done what they came for; the last one's end is the packet's.
        self.counters.consumed_frames += (pieces.len() as u64).saturating_sub(1);
        pieces.clear();
        let Some(frame) = whole else { return self.counters.drop(DropReason::NoRoom) };
        self.mesh.note_joined();
        let parsed = self.parse_ipv6(&frame, 0, group);
        self.process(frame, &parsed);
    }

    /// One frame with the headers of the first piece and the payload of all.
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.5
    //# The Next Header field of the last header of the Per-Fragment
    //# headers is obtained from the Next Header field of the first
    //# fragment's Fragment header.
    fn join_ipv6(&mut self, pieces: &[Piece<Frame>]) -> Option<Frame> {
        let first = pieces.first()?.holder.bytes();
        let (_, fragment) = payload_of(first)?;
        let mut whole = self.large.take()?;
        let mut field = ipv6::parse(first).ok()?.0.traffic_class & 3;
        whole.append(fragment.at)?.copy_from_slice(first.get(..fragment.at)?);
        for piece in pieces {
            let bytes = piece.holder.bytes();
            let (payload, _) = payload_of(bytes)?;
            field = joined_field(field, ipv6::parse(bytes).ok()?.0.traffic_class & 3)?;
            let part = bytes.get(payload)?;
            whole.append(part.len())?.copy_from_slice(part);
        }
        let len = u16::try_from(whole.len().checked_sub(ipv6::HEADER_LEN)?).ok()?;
        let bytes = whole.bytes_mut()?;
        *bytes.get_mut(fragment.named_at)? = fragment.next_header.0;
        bytes.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
        // The traffic class lies across two bytes: ECN's field is in the second.
        let second = bytes.get_mut(1)?;
        *second = *second & !0x30 | field << 4;
        Some(whole)
    }

    /// The rest of a packet did not come in time: tell its sender, by what came first.
    pub(super) fn report_expired_ipv6(&mut self, first: &Frame) {
        let bytes = first.bytes();
        let Ok((header, _)) = ipv6::parse(bytes) else { return };
        let local = self.routes.is_local(IpAddr::V6(header.destination));
        let to = (if local { Class::Local } else { Class::Multicast }, false);
        let message = Message::TimeExceeded { reassembly: true };
        // Whether it was told or not: its end has been counted.
        let _ = self.report_about(bytes, &header, to, message, false, DropReason::FragmentTimeout);
    }
}

/// Where a piece's share of the packet lies, and what its Fragment header says.
fn payload_of(bytes: &[u8]) -> Option<(Range<usize>, Fragment)> {
    let (header, payload) = ipv6::parse(bytes).ok()?;
    let upper = ipv6::walk(bytes, header.next_header, payload).ok()?;
    Some((upper.range, upper.fragment?))
}

/// What a fragment may be refused for whatever else comes: the reason, and code and pointer of what its sender is told.
fn check_fragment(frame: &Frame, packet: &Packet6, fragment: &Fragment) -> Result<(), (DropReason, u8, u32)> {
    let len = packet.payload.len();
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.5
    //# o  If the length of a fragment, as derived from the fragment
    //#    packet's Payload Length field, is not a multiple of 8 octets
    //#    and the M flag of that fragment is 1, then that fragment must
    if fragment.more && !len.is_multiple_of(8) {
        return Err((DropReason::FragmentMalformed, 0, ipv6::PAYLOAD_LENGTH_AT));
    }
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.5
    //# o  If the length and offset of a fragment are such that the
    //#    Payload Length of the packet reassembled from that fragment
    //#    would exceed 65,535 octets, then that fragment must be
    let headers = fragment.at.saturating_sub(ipv6::HEADER_LEN);
    if headers + usize::from(fragment.offset) + len > usize::from(u16::MAX) {
        let pointer = u32::try_from(fragment.at + 2).unwrap_or(0);
        return Err((DropReason::FragmentTooLong, 0, pointer));
    }
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.5
    //# o  If the first fragment does not include all headers through an
    //#    Upper-Layer header, then that fragment should be discarded and
    //#    an ICMP Parameter Problem, Code 3, message should be sent to
    if fragment.offset == 0 {
        let bytes = frame.bytes().get(packet.link..packet.payload.end).unwrap_or(&[]);
        let range = packet.payload.start - packet.link..bytes.len();
        let least = |protocol| match protocol {
            Protocol::TCP => 20,
            Protocol::UDP => 8,
            Protocol::ICMPV6 => 4,
            _ => 0,
        };
        let whole = match ipv6::walk_from(bytes, fragment.next_header, range, fragment.at) {
            Ok(upper) => upper.range.len() >= least(upper.protocol),
            Err(fault) => fault.reason != DropReason::Ipv6Extension,
        };
        if !whole {
            return Err((DropReason::Ipv6Extension, 3, 0));
        }
    }
    Ok(())
}
