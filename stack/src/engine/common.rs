//! The shape that nearly every frame of an established connection has: Ethernet without a tag, IPv4 without options, TCP
//! with timestamps and nothing else. Read at constant offsets; what has another shape, or may not be ours, is declined, and
//! the layered parsers of `wire` read it.

use core::net::{IpAddr, SocketAddr};

use drivers::{Checksum as Verdict, Frame};

use super::Engine;
use super::fast::Fast;
use super::paths::Hop;
use super::ports::{FRONT, Port};
use super::segments::Arrived;
use super::transmit::{Form, sum_of};
use crate::mode::SMALL_MAX;
use crate::tcp::ecn;
use crate::tcp::fast::Plain;
use crate::tcp::isn::Tuple;
use crate::tcp::state::Hot;
use crate::wire::tcp::{Flags, Segment, SeqNum};
use crate::wire::{Checksum, DropReason, Fill, Protocol};
use heads::{Front, Heads, orders};
pub(super) use heads::{PathHead, Said, Template};

/// Bytes of its headers: Ethernet, IPv4, TCP, and timestamps behind two no-operations.
pub(super) const HEADERS: usize = LINK + NETWORK + TRANSPORT;

/// Where IPv4's header begins, and bytes of each header.
pub(super) const LINK: usize = 14;
pub(super) const NETWORK: usize = 20;
pub(super) const TRANSPORT: usize = 32;

/// All of them, and the latter two, as lengths.
const HEADERS_LEN: u16 = 66;
const NETWORK_LEN: u16 = 20;
const TRANSPORT_LEN: u16 = 32;

/// More fragments, or an offset, which make a piece of a packet; and the protocol.
const FRAGMENT: u32 = 0x3fff_00ff;

impl Engine {
    /// See whether a frame has the common shape, whole and for us. `Some`: by what the table is searched for its flow.
    ///
    /// Its addresses are not looked at: it is worth something only to a flow that has them, which has had them judged.
    #[inline]
    pub(super) fn glance(&self, frame: &Frame) -> Option<u32> {
        let bytes = frame.bytes();
        let head = bytes.first_chunk::<HEADERS>()?;
        let port = &self.ports[self.arriving];
        // Type, version and header length; the second byte is the type of service.
        let shape = word(head, 12) & 0xffff_ff00 == 0x0800_4500
            // No fragment; behind the time to live, the protocol.
            && word(head, 20) & FRAGMENT == u32::from(Protocol::TCP.0)
            // Length, no flag beyond the eight, and of these ACK, without SYN, RST and URG.
            && half(head, 46) & 0xf136 == 0x8010
            && word(head, 54) == 0x0101_080a;
        let total = usize::from(half(head, 16));
        let fits = total >= NETWORK + TRANSPORT && LINK + total <= bytes.len() && frame.is_single();
        let ours = front(head) & FRONT == port.front;
        if !(shape && fits && ours) {
            return None;
        }
        if !frame.is_verified() && (frame.stripped_vlan().is_some() || !is_whole(frame, head, total)) {
            return None;
        }
        let (addresses, ports) = ends(head);
        Some(self.secret.flow_hash(addresses, ports))
    }

    /// Take a frame of the common shape in. `slot` is the flow that its hash names, if it named one; `leader` the frame
    /// before, if its data went straight to the application.
    #[inline]
    pub(super) fn take_common(
        &mut self,
        mut frame: Frame,
        hash: u32,
        slot: u32,
        leader: Option<Leader>,
    ) -> Option<Leader> {
        let head = frame.bytes().first_chunk::<HEADERS>()?;
        let field = head[15] & ecn::codepoint::MASK;
        if is_plain(head) && payload_len(head) > 0 && !self.mesh.compares {
            let (ends, plain) = (ends(head), plain(head));
            frame = match leader {
                Some(leader) if leader.slot == slot && leader.is_alike(ends, &plain, field) => {
                    match self.follow(slot, plain, frame) {
                        Some(back) => back,
                        None => return Some(leader),
                    }
                }
                _ => frame,
            };
            // Mostly it is the flow that the hash names first, and all is well.
            frame = match self.take_plain(slot, Some(ends), &plain, field, OFFSET, frame) {
                Fast::Delivered => return Some(Leader { slot, ends, plain, field }),
                Fast::Taken => return None,
                Fast::Declined(frame) => frame,
            };
        }
        self.take_other(frame, hash, slot);
        None
    }

    /// Take a frame of the common shape in that is not the next bytes of the flow that its hash names first, or not of one on
    /// which nothing is amiss. What its headers say is read anew, and so need not be kept for it.
    #[inline(always)]
    fn take_other(&mut self, frame: Frame, hash: u32, first: u32) {
        let Some(head) = frame.bytes().first_chunk::<HEADERS>() else { return };
        let (ends, plain, is_plain) = (ends(head), plain(head), is_plain(head));
        let field = head[15] & ecn::codepoint::MASK;
        let is_its = |slot: u32| self.flows.is_ends_ipv4(slot, ends.0, ends.1);
        let found = match is_its(first) {
            true => Some(first),
            false => self.table.candidates(hash).find(|&slot| is_its(slot)),
        };
        let Some(slot) = found else { return self.take_astray(frame) };
        self.compare_hash(&frame, slot);
        let fast = match is_plain && !self.flows.declines(slot) {
            true if plain.len == 0 => self.take_bare(slot, plain, field, frame),
            true => self.take_next(slot, plain, field, OFFSET, frame),
            false => Fast::Declined(frame),
        };
        if let Fast::Declined(frame) = fast {
            if let Some(arrived) = arrived(&frame) {
                self.on_segment(slot, &arrived, frame);
            }
            self.arm(slot);
        }
    }

    /// Take a frame of the common shape in that is no flow's.
    #[inline(never)]
    fn take_astray(&mut self, mut frame: Frame) {
        // What is no flow yet, or no longer, had its addresses judged when it began. All others have it before them.
        if let Some(arrived) = arrived(&frame) {
            let key = self.secret.flow_key(&arrived.tuple);
            if let Some(stray) = self.find_stray(&arrived.tuple, &key) {
                return self.on_known_stray(stray, &arrived, &key, frame);
            }
        }
        let parsed = self.parse(&mut frame);
        self.process(frame, &parsed);
    }

    /// Put all headers in front of a payload at once, and leave the frame for the port. `Some`: they are not IPv4's without
    /// options, or its station is not known; the frame comes back as it was.
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
        let Some(mac) = hop.station.mac() else { return Some(frame) };
        let (header_len, payload) = (segment.header_len(), frame.total_len());
        let Ok(total) = u16::try_from(NETWORK + header_len + payload) else { return Some(frame) };
        if form.fragment || port.vlan.is_some() || frame.headroom() < LINK + NETWORK + header_len {
            return Some(frame);
        }
        let (offload, by_port) = port.sums();
        let hop_limit = if form.hop_limit == 0 { port.hop_limit } else { form.hop_limit };
        // A port that cuts adds each segment's length to the sum itself.
        let summed = if form.each > 0 { 0 } else { total - NETWORK_LEN };
        let mut sum = Checksum::pseudo_ipv4(source, destination, Protocol::TCP.0, summed);
        if !offload {
            sum.append(form.sum.unwrap_or_else(|| sum_of(&frame)));
        }
        let front = Front {
            macs: (mac, port.mac),
            tos: form.field,
            hop_limit,
            total,
            addresses: (source, destination),
        };
        let plain = header_len == TRANSPORT && !segment.flags.contains(Flags::SYN);
        let done = match segment.options.timestamps.filter(|_| plain) {
            Some(stamps) => {
                let room = frame.prepend(HEADERS).and_then(|room| room.first_chunk_mut::<HEADERS>());
                room.is_some_and(|room| {
                    Heads::of(&front, segment, stamps).write(room, sum, (offload, by_port));
                    true
                })
            }
            None => {
                let fill = if offload { Fill::Partial(sum) } else { Fill::Full(sum) };
                let room = frame.prepend(LINK + NETWORK + header_len);
                room.and_then(|room| room.split_first_chunk_mut()).is_some_and(|(head, room)| {
                    front.write(head, by_port);
                    segment.emit(room, fill).is_ok()
                })
            }
        };
        if !done {
            self.counters.fail(DropReason::NoRoom);
            return None;
        }
        if offload {
            frame.set_offload(orders(by_port, header_len, form.each));
        }
        let urgent = payload == 0 && !segment.flags.contains(Flags::FIN);
        self.enqueue(hop.interface, frame, urgent);
        None
    }
}

impl Port {
    /// Whether the port fills TCP's checksum in, and with it IPv4's.
    #[inline]
    fn sums(&self) -> (bool, bool) {
        let tcp = self.capabilities.transmit_tcp_checksum;
        (tcp, tcp && self.capabilities.transmit_ipv4_checksum)
    }

    /// Put headers of the common shape and a small payload into an empty frame, and leave it for the port: the last that `hot`
    /// counts as sent, with ACK and PSH, by way of a path that begins with `head`. False, and nothing done, if it does not fit.
    #[inline]
    pub(super) fn send_small(
        &mut self,
        mut frame: Frame,
        head: &PathHead,
        hot: &Hot,
        said: Said,
        (text, len): (&[u8; SMALL_MAX], u8),
    ) -> bool {
        let size = HEADERS_LEN + u16::from(len);
        let (offload, by_port) = self.sums();
        let room =
            frame.begin::<{ HEADERS + SMALL_MAX }>(size, offload.then(|| orders(by_port, TRANSPORT, 0)));
        let Some((room, behind)) = room.and_then(|room| room.split_first_chunk_mut::<HEADERS>()) else {
            return false;
        };
        // What is behind the payload counts for nothing: to copy all is to copy a number of bytes that is known.
        behind.copy_from_slice(text);
        head.write(room, hot, said, Flags::ACK | Flags::PSH, (text, len), (offload, by_port));
        self.data.push(frame);
        true
    }

    /// The same of a segment without payload, with these flags.
    pub(super) fn send_bare(
        &mut self,
        mut frame: Frame,
        head: &PathHead,
        hot: &Hot,
        said: Said,
        flags: Flags,
    ) -> bool {
        let (offload, by_port) = self.sums();
        let orders = offload.then(|| orders(by_port, TRANSPORT, 0));
        let Some(room) = frame.begin::<HEADERS>(HEADERS_LEN, orders) else { return false };
        head.write(room, hot, said, flags, (&[0; SMALL_MAX], 0), (offload, by_port));
        let urgent = !flags.contains(Flags::FIN);
        if urgent { &mut self.urgent } else { &mut self.data }.push(frame);
        true
    }
}

/// A segment whose data went straight to the application: those that follow it, and say nothing else, cost little.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leader {
    slot: u32,
    ends: (u64, u32),
    plain: Plain,
    field: u8,
}

impl Leader {
    /// A segment says what this one did, but for its own data.
    #[inline]
    fn is_alike(&self, ends: (u64, u32), plain: &Plain, field: u8) -> bool {
        let Plain { ack, window, stamps, .. } = self.plain;
        self.ends == ends
            && field == self.field
            && (plain.ack, plain.window, plain.stamps) == (ack, window, stamps)
    }
}

/// Where the payload begins.
pub(super) const OFFSET: u16 = 66;

/// So many bytes of the header: as one, for bytes that are put together one by one are loaded so too where not all count.
#[inline(always)]
fn part<const N: usize>(head: &[u8], at: usize) -> [u8; N] {
    head.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// A number of the header.
#[inline(always)]
fn word(head: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(part(head, at))
}

#[inline(always)]
fn half(head: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(part(head, at))
}

/// Whom the frame is for, and the first two bytes of whom it is from.
#[inline(always)]
fn front(head: &[u8]) -> u64 {
    u64::from_be_bytes(part(head, 0))
}

/// The sender's address and ours in one word, and the ports in another, as the flow table has them.
#[inline]
fn ends(head: &[u8; HEADERS]) -> (u64, u32) {
    (u64::from_be_bytes(part(head, 26)), word(head, 34))
}

/// Both checksums are right: by the port's verdicts, else by summing.
#[inline]
fn is_whole(frame: &Frame, head: &[u8; HEADERS], total: usize) -> bool {
    let verdicts = frame.verdicts();
    let summed = match verdicts.ip {
        Verdict::Good => true,
        Verdict::Unknown => Checksum::ZERO.with(&head[LINK..LINK + NETWORK]).is_valid(),
        Verdict::Bad | Verdict::Partial => false,
    };
    summed
        && match verdicts.transport {
            Verdict::Good | Verdict::Partial => true,
            Verdict::Bad => false,
            Verdict::Unknown => {
                let (source, destination) = (word(head, 26).into(), word(head, 30).into());
                let sum =
                    Checksum::pseudo_ipv4(source, destination, Protocol::TCP.0, half(head, 16) - NETWORK_LEN);
                frame.bytes().get(LINK + NETWORK..LINK + total).is_some_and(|rest| sum.with(rest).is_valid())
            }
        }
}

/// What the header says.
#[inline]
fn plain(head: &[u8; HEADERS]) -> Plain {
    Plain {
        seq: SeqNum(word(head, 38)),
        ack: SeqNum(word(head, 42)),
        window: half(head, 48),
        stamps: Some((word(head, 58), word(head, 62))),
        len: u32::from(payload_len(head)),
    }
}

/// Bytes of payload. Its glance has seen that there are no fewer than none.
#[inline(always)]
fn payload_len(head: &[u8; HEADERS]) -> u16 {
    half(head, 16).wrapping_sub(NETWORK_LEN + TRANSPORT_LEN)
}

/// ACK is its only flag, but for PSH.
#[inline(always)]
fn is_plain(head: &[u8; HEADERS]) -> bool {
    Flags(head[47]).without(Flags::PSH) == Flags::ACK
}

/// The same as the layered parsers say it.
fn arrived(frame: &Frame) -> Option<Arrived> {
    let head = frame.bytes().first_chunk::<HEADERS>()?;
    let plain = plain(head);
    let mut segment = plain.segment(half(head, 34), half(head, 36), Flags(head[47]));
    (segment.urgent, segment.header_len) = (half(head, 52), 32);
    let end = |at: usize, port: u16| SocketAddr::new(IpAddr::V4(word(head, at).into()), port);
    let (source, destination) = (end(26, segment.source_port), end(30, segment.destination_port));
    let (len, field) = (u16::try_from(plain.len).ok()?, head[15] & ecn::codepoint::MASK);
    let tuple = Tuple { local: destination, remote: source };
    Some(Arrived { segment, tuple, link: 14, offset: OFFSET, len, field })
}

mod heads;
mod syns;
#[cfg(test)]
mod tests;
