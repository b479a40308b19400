//! The far ends of a lane's connections: what each has sent and received, distinct frames from them, and a check of every
//! frame that comes back.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use drivers::{Checksum as Verdict, Frame, Pool, Verdicts};
use stack::wire::tcp::{Flags, Options, SackBlocks, Segment, SeqNum, parse};
use stack::wire::{Checksum, EtherType, Fill, IpHeader, MacAddress, Protocol, Verify, ethernet, ipv4};

use crate::rig::{MACS, SERVER};

/// Where all far ends lie, behind one gateway: sixteen connections of each address.
const NET: u32 = 0xac10_0000;
const PORTS: u32 = 16;
const PORT_FIRST: u16 = 1024;

/// The gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// One far end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// The next number it sends.
    pub snd_nxt: u32,
    /// The next number it expects.
    pub rcv_nxt: u32,
    /// The lane's newest timestamp.
    pub ts_recent: u32,
    /// What the lane has acknowledged.
    pub acknowledged: u32,
}

/// A frame of the lane's, understood.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Whose it is.
    pub flow: u32,
    /// Its header.
    pub segment: Segment,
    /// Where its payload begins in the frame, in bytes.
    pub offset: usize,
    /// Bytes of payload, in all segments of the frame.
    pub len: u32,
}

/// What a far end says.
#[derive(Clone, Copy, Debug)]
pub struct Say<'a> {
    /// Flags.
    pub flags: Flags,
    /// How far behind SND.NXT the segment begins: for segments that come out of order. Then SND.NXT stays.
    pub ahead: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

impl Say<'_> {
    /// An acknowledgement and nothing else.
    pub const ACK: Say<'static> = Say { flags: Flags::ACK, ahead: 0, payload: &[] };
}

/// All far ends.
pub struct Far {
    /// Their states, by the number of the flow.
    pub peers: Vec<Peer>,
    pool: Pool,
    checksums: bool,
    /// Their clock. Units: milliseconds.
    pub clock: u32,
    /// A frame's segments one behind the other.
    whole: Vec<u8>,
}

impl Far {
    /// So many far ends, on a port that verifies checksums if `checksums`.
    pub fn new(flows: usize, checksums: bool) -> Far {
        // Each begins with numbers of its own.
        let peer = |flow: u32| Peer { snd_nxt: flow.wrapping_mul(0x9e37_79b9), ..Peer::default() };
        let flows = u32::try_from(flows).expect("fewer flows than fit a word");
        let (peers, pool) = ((0..flows).map(peer).collect(), Pool::heap(8192, 2048));
        Far { peers, pool, checksums, clock: 1, whole: Vec::new() }
    }

    /// The address of a flow's far end.
    pub fn address(flow: u32) -> SocketAddr {
        let port = PORT_FIRST + u16::try_from(flow % PORTS).unwrap_or(0);
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from(NET + flow / PORTS)), port)
    }

    /// The flow of a far end's address.
    ///
    /// Panics: if it is none of ours.
    pub fn flow(address: SocketAddr) -> u32 {
        let IpAddr::V4(ip) = address.ip() else { panic!("no far end has {address}") };
        let flow =
            (u32::from(ip).wrapping_sub(NET)) * PORTS + u32::from(address.port().wrapping_sub(PORT_FIRST));
        assert_eq!(Far::address(flow), address, "no far end has {address}");
        flow
    }

    /// A frame in which a flow's far end says something.
    ///
    /// Panics: if there are more frames under way than any bench has.
    pub fn say(&mut self, flow: u32, say: &Say) -> Frame {
        let remote = Far::address(flow);
        let IpAddr::V4(source) = remote.ip() else { unreachable!("far ends have addresses of IPv4") };
        let (clock, checksums) = (self.clock, self.checksums);
        let peer = &mut self.peers[flow as usize];
        let seq = SeqNum(peer.snd_nxt) + say.ahead;
        let mut segment = Segment::new(remote.port(), SERVER.1, seq, SeqNum(peer.rcv_nxt), say.flags);
        segment.window = 0xffff;
        segment.options.timestamps = Some((clock, peer.ts_recent));
        if say.flags.contains(Flags::SYN) {
            let mss = Some(1460);
            segment.options = Options { mss, window_scale: Some(8), sack_permitted: true, ..segment.options };
        }
        let len = u32::try_from(say.payload.len()).expect("a segment's worth");
        if say.ahead == 0 {
            peer.snd_nxt = peer.snd_nxt.wrapping_add(segment.seq_len(len));
        }
        let ip = IpHeader::V4(ipv4::Header::new(source, SERVER.0, Protocol::TCP, 64));
        let (link, network, transport) = (14, ip.header_len(), segment.header_len());
        let mut frame = self.pool.take().expect("far ends have frames for what is under way");
        let room =
            frame.append(link + network + transport + say.payload.len()).expect("a frame holds a segment");
        let (front, payload) = room.split_at_mut(link + network + transport);
        payload.copy_from_slice(say.payload);
        let ethernet = ethernet::Header {
            destination: MacAddress(MACS.0),
            source: MacAddress(MACS.1),
            vlan: None,
            ether_type: EtherType::IPV4,
        };
        ethernet.emit(&mut front[..link]).expect("room");
        ip.emit(&mut front[link..], transport + payload.len(), true).expect("room");
        let fill = if checksums {
            Fill::Partial(Checksum::ZERO)
        } else {
            let len = u16::try_from(transport + payload.len()).expect("a segment's worth");
            Fill::Full(Checksum::pseudo_ipv4(source, SERVER.0, Protocol::TCP.0, len).with(payload))
        };
        segment.emit(&mut front[link + network..], fill).expect("room");
        if checksums {
            frame.set_verdicts(Verdicts { ip: Verdict::Good, transport: Verdict::Good });
        }
        frame
    }

    /// Understand a frame of the lane's, and note what it acknowledges. `None`: the lane announces its address.
    ///
    /// Panics: if it is none that its far end may get, for then the figure means nothing.
    pub fn hear(&mut self, frame: &Frame) -> Option<Heard> {
        let mut whole = core::mem::take(&mut self.whole);
        whole.clear();
        frame.segments().for_each(|segment| whole.extend_from_slice(segment));
        let heard = self.understand(&whole);
        self.whole = whole;
        heard
    }

    fn understand(&mut self, bytes: &[u8]) -> Option<Heard> {
        let (header, network) = ethernet::parse(bytes).expect("a frame of Ethernet");
        if header.ether_type == EtherType::ARP {
            return None;
        }
        assert_eq!((header.destination.0, header.ether_type), (MACS.1, EtherType::IPV4));
        let (ip, _) = ipv4::parse(&bytes[network..], true).expect("a packet of IPv4");
        let transport = network + 20;
        let (segment, data) = parse(&bytes[transport..], Verify::Trusted).expect("a segment of TCP");
        let flow = Far::flow(SocketAddr::new(IpAddr::V4(ip.destination), segment.destination_port));
        let len = u32::try_from(bytes.len() - transport - data).expect("a segment's worth");
        let peer = &mut self.peers[flow as usize];
        if segment.flags.contains(Flags::SYN) {
            peer.rcv_nxt = segment.seq.0;
        }
        assert!(
            segment.ack.le(SeqNum(peer.snd_nxt)),
            "{flow}: acknowledges what was never sent: {segment:?}"
        );
        assert!(
            segment.flags.contains(Flags::ACK) && !segment.flags.contains(Flags::RST),
            "{flow}: {segment:?}"
        );
        peer.acknowledged = segment.ack.0;
        peer.ts_recent = segment.options.timestamps.map_or(0, |(value, _)| value);
        Some(Heard { flow, segment, offset: transport + data, len })
    }

    /// Note that a far end takes what it heard, in order.
    ///
    /// Panics: if it is out of order.
    pub fn take(&mut self, heard: &Heard) {
        let peer = &mut self.peers[heard.flow as usize];
        assert_eq!(heard.segment.seq.0, peer.rcv_nxt, "flow {}: {:?}", heard.flow, heard.segment);
        peer.rcv_nxt = peer.rcv_nxt.wrapping_add(heard.segment.seq_len(heard.len));
    }

    /// Everything a far end has sent is acknowledged.
    pub fn is_acknowledged(&self, flow: u32) -> bool {
        let peer = &self.peers[flow as usize];
        peer.acknowledged == peer.snd_nxt
    }
}

/// Whether a segment reports blocks that came out of order.
pub fn reports(segment: &Segment) -> bool {
    segment.options.sack != SackBlocks::NONE
}
