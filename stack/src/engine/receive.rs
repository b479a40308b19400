//! From a burst of frames to segments of flows, in passes: parse all and prefetch their buckets, find candidates and
//! prefetch their hot lines, then what those lead to, then process in order.

use core::net::{IpAddr, SocketAddr};

use drivers::{Checksum as Verdict, Frame};

use super::packets::{Carried, Packet};
use super::packets_ipv6::Packet6;
use super::segments::Arrived;
use super::{BURST_MAX, Engine};
use crate::flow::Place;
use crate::ip::route::Class;
use crate::tcp::ecn;
use crate::tcp::isn::{FlowKey, Tuple};
use crate::tcp::send::NONE;
use crate::wire::{Checksum, DropReason, EtherType, Protocol, Verify, ethernet, ipv4, tcp};

/// What the first pass made of a frame.
#[derive(Debug)]
pub enum Parsed {
    /// A whole TCP segment: how the table finds its flow, and the segment.
    Tcp {
        /// The segment and where its payload lies.
        arrived: Arrived,
        /// What the table is searched by.
        key: FlowKey,
        /// Its addresses were found to be ours and a host's: only a flow may take it otherwise.
        judged: bool,
    },
    /// Anything else over IPv4.
    Packet(Packet),
    /// Anything else over IPv6.
    Packet6(Packet6),
    /// ARP; the payload begins at this byte.
    Arp(usize),
}

/// The same, or why there is nothing to work on.
pub type Made = Result<Parsed, DropReason>;

/// What the first pass found of a frame.
#[derive(Clone, Copy, Debug)]
struct Glance {
    /// By what the table is searched for its flow.
    hash: u32,
    /// The first flow it names, or `NONE`.
    slot: u32,
    shape: Shape,
    /// The frame behind it may be of the same flow.
    leads: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// What nearly all have: it is read once more when its flow is near.
    Common,
    /// Another with a TCP segment.
    Tcp,
    /// Anything else, or no frame.
    Other,
}

/// How far ahead the first pass asks for frames.
const AHEAD: usize = 4;

impl Glance {
    const NONE: Glance = Glance::of(0, Shape::Other);

    const fn of(hash: u32, shape: Shape) -> Glance {
        Glance { hash, slot: NONE, shape, leads: false }
    }
}

impl Engine {
    /// Take a burst of frames in that came by an interface. At most [`BURST_MAX`] at a time are in the passes.
    pub fn receive(&mut self, interface: u8, frames: &mut Vec<Frame>) {
        self.arriving = interface;
        self.begin_comparing();
        while !frames.is_empty() {
            self.receive_burst(frames);
        }
    }

    fn receive_burst(&mut self, frames: &mut Vec<Frame>) {
        let count = frames.len().min(BURST_MAX);
        self.counters.received_frames += count as u64;
        let mut parsed = core::mem::take(&mut self.parsed);
        let mut glances = [Glance::NONE; BURST_MAX];
        self.parse_all(&mut frames[..], &mut glances[..count], &mut parsed);
        self.find_all(&mut glances[..count]);
        self.take_all(frames, &glances[..count], &mut parsed);
        self.parsed = parsed;
    }

    /// The first pass: parse, and prefetch buckets. Each pass is a function, for it has the registers to itself.
    #[inline(never)]
    fn parse_all(&mut self, frames: &mut [Frame], glances: &mut [Glance], parsed: &mut Vec<Made>) {
        let this = &*self;
        let (mut next, mut ahead) = (frames.iter(), frames.get(AHEAD..).unwrap_or_default().iter());
        let mut common = 0;
        for glance in glances.iter_mut() {
            if let Some(frame) = ahead.next() {
                frame.prefetch();
            }
            let Some(frame) = next.next() else { break };
            if let Some(hash) = this.glance(frame) {
                *glance = Glance::of(hash, Shape::Common);
                this.table.prefetch(hash);
                common += 1;
            }
        }
        if common < glances.len() {
            self.parse_others(frames, glances, parsed);
        }
    }

    /// The same of the frames of another shape.
    #[inline(never)]
    fn parse_others(&mut self, frames: &mut [Frame], glances: &mut [Glance], parsed: &mut Vec<Made>) {
        let others = glances.iter_mut().zip(frames).filter(|(glance, _)| glance.shape != Shape::Common);
        for (glance, frame) in others {
            let result = self.parse(frame);
            if let Ok(Parsed::Tcp { key, .. }) = &result {
                *glance = Glance::of(key.hash, Shape::Tcp);
                self.table.prefetch(key.hash);
            }
            parsed.push(result);
        }
    }

    /// The second and the third: find candidates and prefetch their hot lines, then what those lead to.
    #[inline(never)]
    fn find_all(&self, glances: &mut [Glance]) {
        // Segments often come one behind the other: what was found of one holds for the next.
        let mut before = Glance::NONE;
        for glance in glances.iter_mut().filter(|glance| glance.shape != Shape::Other) {
            if glance.hash != before.hash
                && let Some(slot) = self.table.first(glance.hash)
                && let Some(hot) = self.flows.hot(slot)
            {
                before = Glance { slot, ..*glance };
                drivers::prefetch(hot);
                drivers::prefetch(&hot.tag);
            }
            glance.slot = if glance.hash == before.hash { before.slot } else { NONE };
        }
        let mut before = &mut { Glance::NONE };
        for glance in glances {
            before.leads = glance.slot == before.slot;
            if !before.leads {
                self.flows.prefetch_rest(glance.slot);
            }
            before = glance;
        }
    }

    /// The last: process in order.
    #[inline(never)]
    fn take_all(&mut self, frames: &mut Vec<Frame>, glances: &[Glance], parsed: &mut Vec<Made>) {
        let (mut others, mut leader) = (parsed.iter(), None);
        for (glance, frame) in glances.iter().zip(frames.drain(..glances.len())) {
            if glance.shape == Shape::Common {
                leader = self.take_common(frame, glance.hash, glance.slot, leader).filter(|_| glance.leads);
            } else if let Some(parsed) = others.next() {
                leader = None;
                self.process(frame, parsed);
            }
        }
        parsed.clear();
    }

    pub(super) fn process(&mut self, mut frame: Frame, parsed: &Made) {
        match parsed {
            Ok(Parsed::Tcp { arrived, key, judged }) => match self.find_place(key, &arrived.tuple) {
                Some(Place::Flow(slot)) => {
                    self.compare_hash(&frame, slot);
                    if let Some(frame) = self.on_fast(slot, arrived, frame) {
                        self.on_segment(slot, arrived, frame);
                    }
                    self.arm(slot);
                }
                stray if *judged => self.on_stray(stray, arrived, key, frame),
                _ => {
                    let parsed = self.parse(&mut frame);
                    self.process(frame, &parsed);
                }
            },
            Ok(Parsed::Packet(packet)) => self.on_packet(frame, packet),
            Ok(Parsed::Packet6(packet)) => self.on_packet_ipv6(frame, packet),
            Ok(Parsed::Arp(offset)) => self.on_arp(&frame, *offset),
            Err(reason) => self.counters.drop(*reason),
        }
    }

    /// The flow of a tuple, if there is one.
    #[inline]
    pub(super) fn find_flow(&self, key: &FlowKey, tuple: &Tuple) -> Option<u32> {
        self.table.candidates(key.hash).find(|&slot| self.flows.is_tuple(slot, key, tuple))
    }

    /// Read the headers of a frame.
    pub(super) fn parse(&mut self, frame: &mut Frame) -> Made {
        if frame.segment_count() > 1 && !self.join(frame) {
            return Err(DropReason::NoRoom);
        }
        if let Some(syn) = self.parse_syn(frame) {
            return Ok(syn);
        }
        self.parse_layers(frame)
    }

    /// The same, layer by layer.
    pub(super) fn parse_layers(&self, frame: &Frame) -> Made {
        match self.parse_link(frame)? {
            (EtherType::IPV4, offset, group) => self.parse_network(frame, offset, group),
            (EtherType::ARP, offset, _) => Ok(Parsed::Arp(offset)),
            (EtherType::IPV6, offset, group) => self.parse_ipv6(frame, offset, group),
            _ => Err(DropReason::EtherTypeUnknown),
        }
    }

    /// Make a frame of several segments one: into a frame that has room for all of it.
    fn join(&mut self, frame: &mut Frame) -> bool {
        let Some(mut whole) = self.large.take() else { return false };
        for segment in frame.segments() {
            let Some(room) = whole.append(segment.len()) else { return false };
            room.copy_from_slice(segment);
        }
        whole.copy_metadata(frame);
        *frame = whole;
        true
    }

    /// The Ethernet header: what follows, where, and whether the frame went to a group.
    fn parse_link(&self, frame: &Frame) -> Result<(EtherType, usize, bool), DropReason> {
        let (header, len) = ethernet::parse(frame.bytes())?;
        let port = &self.ports[self.arriving];
        if header.destination != port.mac && header.destination.is_unicast() {
            return Err(DropReason::EthernetNotForUs);
        }
        let tag =
            header.vlan.map(|vlan| vlan.id()).or(frame.stripped_vlan().map(|tci| tci & 0xfff)).unwrap_or(0);
        // A priority tag (VLAN 0) names no VLAN.
        if tag != port.vlan.map_or(0, |vlan| vlan.id()) {
            return Err(DropReason::VlanUnknown);
        }
        Ok((header.ether_type, len, !header.destination.is_unicast()))
    }

    pub(super) fn parse_network(&self, frame: &Frame, link: usize, group: bool) -> Made {
        let verdicts = frame.verdicts();
        if verdicts.ip == Verdict::Bad {
            return Err(DropReason::Ipv4Checksum);
        }
        let bytes = frame.bytes().get(link..).unwrap_or(&[]);
        let (header, payload) = ipv4::parse(bytes, verdicts.ip == Verdict::Good)?;
        let (source, destination) = (IpAddr::V4(header.source), IpAddr::V4(header.destination));
        let to = self.routes.accept(source, destination)?;
        let packet = Packet { header, link, payload: link + payload.start..link + payload.end, to, group };
        if header.protocol != Protocol::TCP || header.is_fragment() {
            return Ok(Parsed::Packet(packet));
        }
        self.parse_segment(frame, &packet.carried())
    }

    /// Read the TCP header of a whole packet.
    #[inline(always)]
    pub(super) fn parse_segment(&self, frame: &Frame, packet: &Carried) -> Made {
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.3
        //# A TCP implementation MUST silently discard an incoming SYN segment
        //# that is addressed to a broadcast or multicast address [(MUST-57)].
        if packet.to != Class::Local || packet.group {
            return Err(DropReason::TcpNotUnicast);
        }
        let Carried { source, destination, ref payload, .. } = *packet;
        let segment = frame.bytes().get(payload.clone()).unwrap_or(&[]);
        let verify = match frame.verdicts().transport {
            Verdict::Bad => return Err(DropReason::TcpChecksum),
            Verdict::Good | Verdict::Partial => Verify::Trusted,
            Verdict::Unknown => {
                let len = u16::try_from(segment.len()).unwrap_or(u16::MAX);
                let pseudo = Checksum::pseudo(source, destination, Protocol::TCP.0, len);
                Verify::Sum(pseudo.ok_or(DropReason::TcpChecksum)?)
            }
        };
        let (parsed, data) = tcp::parse(segment, verify)?;
        let tuple = Tuple {
            local: SocketAddr::new(destination, parsed.destination_port),
            remote: SocketAddr::new(source, parsed.source_port),
        };
        let link = u16::try_from(packet.link).unwrap_or(u16::MAX);
        let offset = u16::try_from(payload.start + data).unwrap_or(u16::MAX);
        let len = u16::try_from(segment.len() - data).unwrap_or(u16::MAX);
        let field = packet.traffic_class & ecn::codepoint::MASK;
        let key = self.secret.flow_key(&tuple);
        let arrived = Arrived { segment: parsed, tuple, link, offset, len, field };
        Ok(Parsed::Tcp { arrived, key, judged: true })
    }
}
