//! The device: raw IP packets from and to the caller, each with the time it was sent. The Ethernet around them, and the
//! answers of the one station at its other end, are made here.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drivers::{Capabilities, Frame, Pool, Queue};
use stack::wire::{Checksum, EtherType, MacAddress, Protocol, arp, ethernet};

/// The host's station, and the one that stands for everybody else.
pub const OWN_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// See `OWN_MAC`.
pub const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// Frames for packets that fit one of usual size: more than all sockets together may hold.
const SMALL_FRAMES: usize = 16_384;
/// Room of such a frame.
const SMALL_ROOM: u16 = 2048 + 128;
/// Frames for larger ones.
const LARGE_FRAMES: usize = 256;

/// A packet that was sent, and when. Units: nanoseconds.
pub type Sent = (u64, Vec<u8>);

struct Line {
    inbox: VecDeque<Frame>,
    outbox: VecDeque<Sent>,
    small: Pool,
    large: Pool,
}

/// One end of the wire; clones are the same end.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<Line>>);

impl Wire {
    /// A wire with nothing on it.
    pub fn new() -> Wire {
        Wire(Arc::new(Mutex::new(Line {
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            small: Pool::heap(SMALL_FRAMES, SMALL_ROOM),
            large: Pool::heap(LARGE_FRAMES, u16::MAX),
        })))
    }

    /// What the device can do: it takes payload by reference, and sums nothing.
    pub const fn capabilities(mtu: u16) -> Capabilities {
        Capabilities { multi_segment: true, segments_max: 64, reads_heap: true, ..Capabilities::plain(mtu) }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet for the host. False if it is none, or there is no frame for it.
    pub fn inject(&self, packet: &[u8]) -> bool {
        let ether_type = match packet.first().map(|byte| byte >> 4) {
            Some(4) => EtherType::IPV4,
            Some(6) => EtherType::IPV6,
            _ => return false,
        };
        let frame = self.frame(OWN_MAC, ether_type, packet);
        let taken = frame.is_some();
        self.line().inbox.extend(frame);
        taken
    }

    fn frame(&self, destination: MacAddress, ether_type: EtherType, payload: &[u8]) -> Option<Frame> {
        let len = ethernet::HEADER_LEN + payload.len();
        let line = self.line();
        let pool = if len <= usize::from(SMALL_ROOM) - 128 { &line.small } else { &line.large };
        let mut frame = pool.take()?;
        let header = ethernet::Header { destination, source: PEER_MAC, vlan: None, ether_type };
        header.emit(frame.append(ethernet::HEADER_LEN)?).ok()?;
        frame.append(payload.len())?.copy_from_slice(payload);
        Some(frame)
    }

    /// The oldest packet that was sent.
    pub fn take(&self) -> Option<Sent> {
        self.line().outbox.pop_front()
    }

    /// What the other station does with a frame.
    fn carry(&self, now: u64, frame: &[u8]) {
        let Ok((header, len)) = ethernet::parse(frame) else { return };
        let payload = frame.get(len..).unwrap_or(&[]);
        let answer = match header.ether_type {
            EtherType::ARP => arp_answer(payload).map(|answer| (EtherType::ARP, answer)),
            EtherType::IPV6 if is_discovery(payload) => {
                discovery_answer(payload).map(|answer| (EtherType::IPV6, answer))
            }
            EtherType::IPV4 | EtherType::IPV6 => {
                self.line().outbox.push_back((now, payload.to_vec()));
                None
            }
            _ => None,
        };
        if let Some((ether_type, answer)) = answer {
            let frame = self.frame(OWN_MAC, ether_type, &answer);
            self.line().inbox.extend(frame);
        }
    }
}

impl Queue for Wire {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut line = self.line();
        let count = max.min(line.inbox.len());
        frames.extend(line.inbox.drain(..count));
        count
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let count = frames.len();
        for frame in frames.drain(..) {
            let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
            self.carry(now, &bytes);
        }
        count
    }

    fn next_event(&self) -> Option<u64> {
        (!self.line().inbox.is_empty()).then_some(0)
    }
}

/// The other station has every address that is asked for, but those of the one who asks.
fn arp_answer(packet: &[u8]) -> Option<Vec<u8>> {
    let asked = arp::parse(packet).ok()?;
    if asked.operation != arp::Operation::Request
        || asked.target == asked.sender
        || asked.sender.is_unspecified()
    {
        return None;
    }
    let answer = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: PEER_MAC,
        sender: asked.target,
        target_mac: asked.sender_mac,
        target: asked.sender,
    };
    let mut bytes = vec![0; answer.header_len()];
    answer.emit(&mut bytes).ok()?;
    Some(bytes)
}

/// Length of an IPv6 header, which has no extension in neighbour discovery.
const IPV6_LEN: usize = 40;

/// ICMPv6 of neighbour discovery and of multicast listeners: types 130 to 137, and 143.
fn is_discovery(packet: &[u8]) -> bool {
    // Reports of listeners have a hop-by-hop header in front.
    let icmp = match packet.get(6) {
        Some(0) => IPV6_LEN + 8,
        Some(58) => IPV6_LEN,
        _ => return false,
    };
    packet.get(icmp).is_some_and(|kind| (130..=137).contains(kind) || *kind == 143)
}

fn ipv6_at(packet: &[u8], at: usize) -> Option<Ipv6Addr> {
    let bytes: &[u8; 16] = packet.get(at..)?.first_chunk()?;
    Some(Ipv6Addr::from(*bytes))
}

/// A neighbour advertisement for whom a solicitation asks (RFC 4861 section 4.4).
fn discovery_answer(packet: &[u8]) -> Option<Vec<u8>> {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    const SOLICITED_OVERRIDE: u8 = 0x60;
    let (source, target) = (ipv6_at(packet, 8)?, ipv6_at(packet, IPV6_LEN + 8)?);
    if packet.get(6) != Some(&58) || packet.get(IPV6_LEN) != Some(&SOLICITATION) || source.is_unspecified() {
        return None;
    }
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, SOLICITED_OVERRIDE, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&PEER_MAC.0);
    let len = u16::try_from(message.len()).ok()?;
    let mut sum = Checksum::pseudo(IpAddr::V6(target), IpAddr::V6(source), Protocol::ICMPV6.0, len)?;
    sum.append(Checksum::ZERO.with(&message));
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    let mut answer = vec![0x60, 0, 0, 0];
    answer.extend_from_slice(&len.to_be_bytes());
    answer.extend_from_slice(&[Protocol::ICMPV6.0, 255]);
    answer.extend_from_slice(&target.octets());
    answer.extend_from_slice(&source.octets());
    answer.extend_from_slice(&message);
    Some(answer)
}
