//! The headers of segments over IPv4 without options, written at constant offsets.

use core::net::{IpAddr, Ipv4Addr};

use drivers::{Checksums, Frame, Offload, Transport};

use super::{HEADERS, LINK, NETWORK, NETWORK_LEN, TRANSPORT, TRANSPORT_LEN};
use crate::engine::paths::Hop;
use crate::engine::ports::Port;
use crate::engine::transmit::Form;
use crate::mode::SMALL_MAX;
use crate::tcp::fast::Plain;
use crate::tcp::isn::Tuple;
use crate::tcp::state::Hot;
use crate::tcp::{ecn, output};
use crate::wire::tcp::{Flags, Segment, SeqNum};
use crate::wire::{Checksum, MacAddress, Protocol};

/// What is written into the headers in front of TCP's.
pub(super) struct Front {
    /// Whom the frame is for, and whom it is from.
    pub macs: (MacAddress, MacAddress),
    pub tos: u8,
    pub hop_limit: u8,
    /// Bytes of the packet.
    pub total: u16,
    /// Whom the packet is from, and whom it is for.
    pub addresses: (Ipv4Addr, Ipv4Addr),
}

impl Front {
    /// Write both headers; IPv4's checksum unless the port does.
    #[inline(always)]
    pub fn write(&self, room: &mut [u8; LINK + NETWORK], by_port: bool) {
        let Front { macs, tos, hop_limit, total, addresses } = self;
        let [len_a, len_b] = total.to_be_bytes();
        room[..6].copy_from_slice(&macs.0.0);
        room[6..12].copy_from_slice(&macs.1.0);
        room[12..18].copy_from_slice(&[8, 0, 0x45, *tos, len_a, len_b]);
        room[18..26].copy_from_slice(&[0, 0, 0x40, 0, *hop_limit, Protocol::TCP.0, 0, 0]);
        room[26..30].copy_from_slice(&addresses.0.octets());
        room[30..].copy_from_slice(&addresses.1.octets());
        if !by_port {
            room[24..26].copy_from_slice(&self.sum().to_be_bytes());
        }
    }

    /// The checksum of the IPv4 header.
    fn sum(&self) -> u16 {
        let mut sum = Checksum::pseudo_ipv4(self.addresses.0, self.addresses.1, 0, 0);
        for word in [
            0x4500 | u16::from(self.tos),
            self.total,
            0x4000,
            u16::from(self.hop_limit) << 8 | u16::from(Protocol::TCP.0),
        ] {
            sum.add_u16(word);
        }
        sum.finish()
    }
}

/// What is written into the headers of the common shape.
pub(super) struct Heads<'f> {
    pub front: &'f Front,
    pub ports: (u16, u16),
    pub flags: Flags,
    pub urgent: u16,
    pub plain: Plain,
    pub stamps: (u32, u32),
}

impl<'f> Heads<'f> {
    /// Those of a segment with timestamps and nothing else.
    #[inline(always)]
    pub fn of(front: &'f Front, segment: &Segment, stamps: (u32, u32)) -> Heads<'f> {
        let Segment { seq, ack, window, flags, urgent, .. } = *segment;
        let ports = (segment.source_port, segment.destination_port);
        let plain = Plain { seq, ack, window, stamps: Some(stamps), len: 0 };
        Heads { front, ports, flags, urgent, plain, stamps }
    }

    /// Write them. The port adds up the TCP checksum, of which `sum` is the pseudo-header's part then, else that and the
    /// payload's; or the IPv4 header's too.
    #[inline(always)]
    pub fn write(&self, room: &mut [u8; HEADERS], sum: Checksum, (whole, network): (bool, bool)) {
        let Heads { front, ports, flags, urgent, plain, stamps } = self;
        if let Some(room) = room.first_chunk_mut() {
            front.write(room, network);
        }
        room[34..36].copy_from_slice(&ports.0.to_be_bytes());
        room[36..38].copy_from_slice(&ports.1.to_be_bytes());
        room[38..42].copy_from_slice(&plain.seq.0.to_be_bytes());
        room[42..46].copy_from_slice(&plain.ack.0.to_be_bytes());
        room[46..48].copy_from_slice(&[0x80, flags.0]);
        room[48..50].copy_from_slice(&plain.window.to_be_bytes());
        room[52..54].copy_from_slice(&urgent.to_be_bytes());
        room[54..58].copy_from_slice(&[1, 1, 8, 10]);
        room[58..62].copy_from_slice(&stamps.0.to_be_bytes());
        room[62..66].copy_from_slice(&stamps.1.to_be_bytes());
        let sum = if whole { sum.partial() } else { self.sum(sum).finish() };
        room[50..52].copy_from_slice(&sum.to_be_bytes());
    }

    /// The sum of the segment, with that of all that is not its header.
    fn sum(&self, mut sum: Checksum) -> Checksum {
        for word in [self.ports.0, self.ports.1, self.plain.window, self.urgent] {
            sum.add_u16(word);
        }
        for word in [self.plain.seq.0, self.plain.ack.0, 0x0101_080a, self.stamps.0, self.stamps.1] {
            sum.add_u32(word);
        }
        sum.add_u16(0x8000 | u16::from(self.flags.0));
        sum
    }
}

/// What the headers of a small payload tell that its flow's hot part does not.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Said {
    /// SEG.WND as it stands in the header.
    pub window: u16,
    /// The clock of timestamps.
    pub millis: u32,
}

/// What the packets of all flows over one path begin with, for payloads that go whole in the common shape. What differs is
/// zero in it: IPv4's length and checksum, and the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) struct PathHead {
    bytes: [u8; 32],
    /// The sum of that as far as it is IPv4's.
    sum: u16,
}

impl PathHead {
    /// None that anything is sent with.
    pub const NONE: PathHead = PathHead { bytes: [0; 32], sum: 0 };

    /// That of what goes to this station.
    pub fn new(port: &Port, to: MacAddress) -> PathHead {
        let addresses = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        let front = Front {
            macs: (to, port.mac),
            tos: ecn::codepoint::NOT_ECT,
            hop_limit: port.hop_limit,
            total: 0,
            addresses,
        };
        let mut room = [0; LINK + NETWORK];
        front.write(&mut room, true);
        let mut head = PathHead { sum: Checksum::ZERO.with(&room[LINK..]).partial(), ..PathHead::NONE };
        head.bytes.copy_from_slice(&room[..32]);
        head
    }

    /// Write what is the same for all packets, and the length of this one.
    #[inline(always)]
    pub(super) fn begin(&self, room: &mut [u8], total: u16) {
        room[..32].copy_from_slice(&self.bytes);
        room[16..18].copy_from_slice(&total.to_be_bytes());
    }

    /// The checksum of the IPv4 header of a packet of this length.
    #[inline(always)]
    pub(super) fn sum(&self, source: Ipv4Addr, destination: Ipv4Addr, total: u16) -> u16 {
        let mut sum = Checksum::pseudo_ipv4(source, destination, 0, total);
        sum.add_u16(self.sum);
        sum.finish()
    }

    /// Write all headers of a segment with timestamps in front of a small payload, the last that `hot` counts as sent, with these flags.
    /// `sums`: the port adds up TCP's checksum; and IPv4's.
    #[inline(always)]
    pub fn write(
        &self,
        room: &mut [u8; HEADERS],
        hot: &Hot,
        said: Said,
        flags: Flags,
        (text, len): (&[u8; SMALL_MAX], u8),
        sums: (bool, bool),
    ) {
        let size = u16::from(len);
        let taken = u32::from(size) + u32::from(flags.contains(Flags::FIN));
        let (seq, ack) = (hot.snd_nxt.0.wrapping_sub(taken), hot.rcv_nxt.0);
        let stamps = output::timestamps(hot, said.millis);
        let len = TRANSPORT_LEN + size;
        let addresses = hot.key.rotate_left(32);
        let ports = hot.ports.rotate_left(16);
        let window = (LENGTH | u32::from(flags.0)) << 16 | u32::from(said.window);
        self.begin(room, NETWORK_LEN + len);
        room[26..34].copy_from_slice(&addresses.to_be_bytes());
        room[34..38].copy_from_slice(&ports.to_be_bytes());
        room[38..42].copy_from_slice(&seq.to_be_bytes());
        room[42..46].copy_from_slice(&ack.to_be_bytes());
        room[46..50].copy_from_slice(&window.to_be_bytes());
        room[54..58].copy_from_slice(&OPTIONS.to_be_bytes());
        room[58..62].copy_from_slice(&stamps.0.to_be_bytes());
        room[62..66].copy_from_slice(&stamps.1.to_be_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "each half is an address")]
        let [source, destination] = [(addresses >> 32) as u32, addresses as u32].map(Ipv4Addr::from_bits);
        let pseudo = Checksum::pseudo_ipv4(source, destination, Protocol::TCP.0, len);
        if !sums.1 {
            let sum = self.sum(source, destination, NETWORK_LEN + len);
            room[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let sum = if sums.0 {
            pseudo.partial()
        } else {
            let mut sum = pseudo;
            for word in [ports, seq, ack, window, OPTIONS, stamps.0, stamps.1] {
                sum.add_u32(word);
            }
            sum.with(text.get(..usize::from(size)).unwrap_or(text)).finish()
        };
        // Nothing is urgent.
        room[50..54].copy_from_slice(&(u32::from(sum) << 16).to_be_bytes());
    }
}

/// Of TCP's header with timestamps and nothing else, its length, in front of the flags; and what the options begin with.
const LENGTH: u32 = 0x8000;
const OPTIONS: u32 = 0x0101_080a;

/// The headers of segments that differ in SEG.SEQ and their payload alone.
pub(in crate::engine) struct Template {
    /// With zero for SEG.SEQ.
    bytes: [u8; HEADERS],
    /// The sum of that, and what the port is to do.
    sum: Checksum,
    offload: Option<Offload>,
}

impl Template {
    /// Those of segments as this one, each with `len` bytes of payload and by itself. `None`: they have another shape.
    pub fn new(
        port: &Port,
        hop: &Hop,
        tuple: &Tuple,
        segment: &Segment,
        form: &Form,
        len: u32,
    ) -> Option<Template> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (tuple.local.ip(), tuple.remote.ip()) else {
            return None;
        };
        let plain = segment.header_len() == TRANSPORT && !segment.flags.contains(Flags::SYN);
        let stamps = segment.options.timestamps.filter(|_| plain)?;
        let total = u16::try_from(HEADERS - LINK + len as usize).ok()?;
        if form.fragment || port.vlan.is_some() {
            return None;
        }
        let hop_limit = if form.hop_limit == 0 { port.hop_limit } else { form.hop_limit };
        let macs = (hop.station.mac()?, port.mac);
        let front = Front { macs, tos: form.field, hop_limit, total, addresses: (source, destination) };
        let segment = Segment { seq: SeqNum(0), ..*segment };
        let heads = Heads::of(&front, &segment, stamps);
        let pseudo = Checksum::pseudo_ipv4(source, destination, Protocol::TCP.0, total - NETWORK_LEN);
        let (whole, network) = port.sums();
        let mut bytes = [0; HEADERS];
        heads.write(&mut bytes, pseudo, (whole, network));
        let offload = whole.then(|| orders(network, TRANSPORT, 0));
        Some(Template { bytes, sum: heads.sum(pseudo), offload })
    }

    /// Put the headers in front of a payload of this sum, if that is not for the port. False if they do not fit.
    #[inline]
    pub fn write(&self, frame: &mut Frame, seq: SeqNum, sum: Checksum) -> bool {
        let Some(room) = frame.prepend(HEADERS).and_then(|room| room.first_chunk_mut::<HEADERS>()) else {
            return false;
        };
        *room = self.bytes;
        room[38..42].copy_from_slice(&seq.0.to_be_bytes());
        if let Some(offload) = self.offload {
            frame.set_offload(offload);
        } else {
            let mut all = self.sum;
            all.add_u32(seq.0);
            all.append(sum);
            room[50..52].copy_from_slice(&all.finish().to_be_bytes());
        }
        true
    }
}

/// What the port is to do to a frame.
#[inline]
pub(super) fn orders(network: bool, header_len: usize, segment_bytes: u16) -> Offload {
    Offload {
        ipv6: false,
        checksums: Checksums { ipv4: network, transport: Some(Transport::Tcp) },
        link_bytes: 14,
        network_bytes: 20,
        #[expect(clippy::cast_possible_truncation, reason = "60 at most")]
        transport_bytes: header_len as u8,
        segment_bytes,
    }
}
