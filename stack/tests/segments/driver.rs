//! One engine, and a peer that is made by hand: segments go in as written, and what comes out is read as text with
//! relative numbers. What is right is said in the other files.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use drivers::soft::Spread;
use drivers::{Frame, Pool, Queue};
use stack::counters::Report;
use stack::lane::Lane;
use stack::sim::{App, Host, World};
use stack::socket::{Event, Listener, Op, QueueId, Stream};
use stack::time::Instant;
use stack::wire::tcp::{Flags, Options, Segment, SeqNum};
use stack::wire::{
    Checksum, EtherType, Fill, IpHeader, MacAddress, Protocol, Verify, arp, ethernet, ipv4, ipv6, tcp,
};

/// The engine's address, the peer's, and their stations.
pub const US: IpAddr = if crate::IPV6 { ip6(1) } else { IpAddr::V4(US4) };
pub const PEER: IpAddr = if crate::IPV6 { ip6(2) } else { IpAddr::V4(PEER4) };
/// Those of IPv4, for tests of that alone.
pub const US4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const PEER4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
/// The port that the engine listens on, and the peer's.
pub const PORT: u16 = 9;
pub const PEER_PORT: u16 = 4000;
/// The peer's initial sequence number: near the end of the circle, so that everything wraps.
pub const IRS: SeqNum = SeqNum(u32::MAX - 5);
/// Milliseconds and seconds in nanoseconds.
pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;

#[derive(Default)]
struct Wire {
    inbox: VecDeque<Frame>,
    outbox: VecDeque<(u64, Vec<u8>)>,
    /// Frames that were sent and not given back, as a NIC's transmit ring has them; `None`: given back at once.
    ring: Option<Vec<Frame>>,
}

struct Raw(Arc<Mutex<Wire>>);

impl Queue for Raw {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut wire = self.0.lock().unwrap();
        let count = max.min(wire.inbox.len());
        frames.extend(wire.inbox.drain(..count));
        count
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let mut wire = self.0.lock().unwrap();
        let count = frames.len();
        for frame in frames.drain(..) {
            wire.outbox.push_back((now, frame.segments().flatten().copied().collect()));
            if let Some(ring) = &mut wire.ring {
                ring.push(frame);
            }
        }
        count
    }

    fn next_event(&self) -> Option<u64> {
        (!self.0.lock().unwrap().inbox.is_empty()).then_some(0)
    }
}

/// Keeps what the engine tells its application.
#[derive(Default)]
pub struct Recorder {
    pub events: VecDeque<Event>,
    /// Bytes received, in order. Frames are given back at once, unless they are to be kept.
    pub received: Vec<u8>,
    pub keep: Vec<stack::socket::Received>,
    pub keeps: bool,
    /// Completions to take before the others are left waiting.
    pub takes: Option<u32>,
    /// Ops for the other lane, and what it said.
    pub beside: VecDeque<Op>,
    pub beside_events: VecDeque<Event>,
}

impl App for Recorder {
    fn run(&mut self, lane: &mut Lane) {
        while self.takes != Some(0)
            && let Some(done) = lane.take(QueueId::MAIN)
        {
            self.takes = self.takes.map(|left| left - 1);
            match done.event {
                Event::Received { data, .. } => {
                    self.received.extend_from_slice(&data);
                    if self.keeps {
                        self.keep.push(data);
                    }
                }
                event => self.events.push_back(event),
            }
        }
    }

    fn run_beside(&mut self, lane: &mut Lane) {
        for op in self.beside.drain(..) {
            lane.submit(op).expect("ops fit");
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            self.beside_events.push_back(done.event);
        }
    }
}

/// A segment of the peer's, with relative numbers.
#[derive(Clone)]
pub struct In {
    pub flags: &'static str,
    pub seq: u32,
    pub ack: u32,
    pub data: Vec<u8>,
    pub window: u16,
    pub options: Options,
    /// The ECN field of its IP header.
    pub field: u8,
}

/// A segment of the peer's.
pub fn seg(flags: &'static str, seq: u32, ack: u32) -> In {
    In { flags, seq, ack, data: Vec::new(), window: 65_535, options: Options::NONE, field: 0 }
}

impl In {
    pub fn data(mut self, len: usize) -> In {
        self.data = vec![b'x'; len];
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> In {
        self.data = bytes.to_vec();
        self
    }

    pub fn window(mut self, window: u16) -> In {
        self.window = window;
        self
    }

    pub fn field(mut self, field: u8) -> In {
        self.field = field;
        self
    }

    pub fn stamps(mut self, value: u32, echo: u32) -> In {
        self.options.timestamps = Some((value, echo));
        self
    }

    pub fn options(mut self, options: Options) -> In {
        self.options = options;
        self
    }
}

pub fn flags_of(text: &str) -> Flags {
    text.chars().fold(Flags::NONE, |flags, name| {
        flags
            | match name {
                'S' => Flags::SYN,
                'F' => Flags::FIN,
                'R' => Flags::RST,
                'P' => Flags::PSH,
                '.' => Flags::ACK,
                'E' => Flags::ECE,
                'W' => Flags::CWR,
                other => panic!("no flag {other}"),
            }
    })
}

/// The engine and its hand-made peer.
pub struct Peer {
    pub world: World<Recorder>,
    wire: Arc<Mutex<Wire>>,
    pool: Pool,
    /// The engine's initial sequence number, once seen.
    pub iss: SeqNum,
    /// The engine's port and the peer's.
    pub port: u16,
    pub peer_port: u16,
    /// When the last segment that `tx` told of was sent, and that segment.
    pub at: u64,
    pub last: Option<Segment>,
    /// The ECN field of that segment's IP header.
    pub field: u8,
    pub stream: Option<Stream>,
    pub listener: Option<Listener>,
    /// Relative SND.NXT and RCV.NXT of the engine, as the states of `states.rs` leave them.
    pub nxt: u32,
    pub rcv: u32,
}

const HOST: stack::sim::HostId = World::<Recorder>::FIRST;

impl Peer {
    /// An engine that knows its peer's station.
    pub fn new() -> Peer {
        Peer::with(|_| {})
    }

    pub fn with(adjust: impl FnOnce(&mut Host)) -> Peer {
        let mut host = Host::new(1);
        host.receive_frames = 512;
        if crate::IPV6 {
            host = host.over_ipv6();
        }
        host.config.interfaces[0].neighbours = vec![(PEER, PEER_MAC.0)];
        adjust(&mut host);
        if crate::LANES > 1 {
            // The seed is any: what arrives where is dealt out anew for each test by its own frames.
            host = host.with_lanes(crate::LANES, u16::from(crate::LANES), Spread::Random(7));
        }
        let wire = Arc::new(Mutex::new(Wire::default()));
        let world = World::of(vec![(host, Box::new(Raw(Arc::clone(&wire))))], vec![Recorder::default()]);
        let mut peer = Peer {
            world,
            wire,
            pool: Pool::heap(512, 9_216),
            iss: SeqNum(0),
            port: PORT,
            peer_port: PEER_PORT,
            at: 0,
            last: None,
            field: 0,
            stream: None,
            listener: None,
            nxt: 1,
            rcv: 1,
        };
        peer.wait(1);
        peer.frames();
        peer
    }

    pub fn now(&self) -> u64 {
        self.world.now().0
    }

    /// Let `nanoseconds` pass.
    pub fn wait(&mut self, nanoseconds: u64) {
        let until = Instant(self.now() + nanoseconds);
        self.world.run_until(until, |_| false);
    }

    pub fn op(&mut self, op: Op) {
        self.world.lane(HOST).submit(op).expect("ops fit");
        self.wait(0);
    }

    /// Of each lane.
    #[allow(dead_code, reason = "the tests that share this file have one lane")]
    pub fn reports(&self) -> Vec<Report> {
        self.world.reports(HOST)
    }

    pub fn report(&self) -> Report {
        self.world.report(HOST)
    }

    pub fn app(&mut self) -> &mut Recorder {
        self.world.app_mut(HOST)
    }

    /// The next event, in short.
    pub fn event(&mut self) -> String {
        match self.app().events.pop_front() {
            None => "-".to_owned(),
            Some(Event::Accepted { stream, .. }) => {
                self.stream = Some(stream);
                "accepted".to_owned()
            }
            Some(Event::Connected { stream, .. }) => {
                self.stream = Some(stream);
                "connected".to_owned()
            }
            Some(Event::Listening { listener, .. }) => {
                self.listener = Some(listener);
                "listening".to_owned()
            }
            Some(Event::End { .. }) => "end".to_owned(),
            Some(Event::Closed { reason, .. }) => format!("closed {reason:?}"),
            Some(Event::Sent { payload, .. }) => format!("sent {}", payload.len()),
            Some(Event::Writable { .. }) => "writable".to_owned(),
            Some(Event::Trouble { trouble, .. }) => format!("trouble {trouble:?}"),
            Some(Event::Failed { error, .. }) => format!("failed {error:?}"),
            Some(other) => format!("{other:?}"),
        }
    }

    pub fn stream(&self) -> Stream {
        self.stream.expect("a connection was made")
    }

    /// A whole frame for the engine.
    pub fn inject(&mut self, bytes: &[u8]) {
        let mut frame = self.pool.take().expect("frames come back");
        frame.append(bytes.len()).expect("a frame has room").copy_from_slice(bytes);
        self.wire.lock().unwrap().inbox.push_back(frame);
        self.wait(0);
    }

    /// Segments for the engine, all in one burst.
    pub fn rx_all(&mut self, inputs: &[In]) {
        for input in inputs {
            let bytes = self.frame(input);
            let mut frame = self.pool.take().expect("frames come back");
            frame.append(bytes.len()).expect("a frame has room").copy_from_slice(&bytes);
            self.wire.lock().unwrap().inbox.push_back(frame);
        }
        self.wait(0);
    }

    /// Keep what is sent from now on, as a NIC's transmit ring does, or let everything out of it.
    pub fn keep_sent(&mut self, keep: bool) {
        self.wire.lock().unwrap().ring = keep.then(Vec::new);
        self.wait(0);
    }

    /// The engine's lane.
    pub fn lane(&mut self) -> &mut Lane {
        self.world.lane(HOST)
    }

    /// An IP packet for the engine.
    pub fn inject_ip(&mut self, header: &ipv4::Header, payload: &[u8]) {
        let bytes = ip_frame(header, payload);
        self.inject(&bytes);
    }

    /// A segment for the engine.
    pub fn rx(&mut self, input: In) {
        let frame = self.frame(&input);
        self.inject(&frame);
    }

    /// A segment for the engine with any flags, whose acknowledgement counts from the engine's initial number.
    #[allow(dead_code, reason = "the tests that share this file give flags by name")]
    pub fn rx_flags(&mut self, input: &In, flags: Flags, ack: u32, urgent: u16) {
        let frame = self.frame_of(input, flags, ack, urgent);
        self.inject(&frame);
    }

    /// A segment as a frame.
    pub fn frame(&self, input: &In) -> Vec<u8> {
        self.frame_of(input, flags_of(input.flags), input.ack, 0)
    }

    fn frame_of(&self, input: &In, flags: Flags, ack: u32, urgent: u16) -> Vec<u8> {
        let ack = if flags.contains(Flags::ACK) { self.iss + ack } else { SeqNum(0) };
        let mut segment = Segment::new(self.peer_port, self.port, IRS + input.seq, ack, flags);
        segment.window = input.window;
        segment.urgent = urgent;
        segment.options = input.options;
        let len = u16::try_from(segment.header_len() + input.data.len()).unwrap();
        let mut sum = Checksum::pseudo(PEER, US, Protocol::TCP.0, len).unwrap();
        sum.append(Checksum::ZERO.with(&input.data));
        let mut bytes = vec![0; segment.header_len()];
        segment.emit(&mut bytes, Fill::Full(sum)).unwrap();
        bytes.extend_from_slice(&input.data);
        let mut header = IpHeader::new(PEER, US, Protocol::TCP, 64).unwrap();
        match &mut header {
            IpHeader::V4(header) => header.tos = input.field,
            IpHeader::V6(header) => header.traffic_class = input.field,
        }
        packet_frame(&header, &bytes)
    }

    /// Every frame sent since the last look.
    pub fn frames(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.wire.lock().unwrap().outbox.drain(..).collect()
    }

    /// The next segment that the engine sent, as text with relative numbers, or `-`. Anything but TCP is passed over.
    pub fn tx(&mut self) -> String {
        loop {
            let Some((at, bytes)) = self.wire.lock().unwrap().outbox.pop_front() else {
                return "-".to_owned();
            };
            let Some((segment, data)) = read(&bytes) else { continue };
            if segment.flags.contains(Flags::SYN) {
                self.iss = segment.seq;
                self.port = segment.source_port;
            }
            self.at = at;
            self.last = Some(segment);
            self.field = field_of(&bytes);
            return self.text(&segment, data.len());
        }
    }

    fn text(&self, segment: &Segment, len: usize) -> String {
        let names = [
            (Flags::SYN, 'S'),
            (Flags::FIN, 'F'),
            (Flags::RST, 'R'),
            (Flags::PSH, 'P'),
            (Flags::ACK, '.'),
            (Flags::ECE, 'E'),
            (Flags::CWR, 'W'),
        ];
        let flags: String =
            names.iter().filter(|(flag, _)| segment.flags.contains(*flag)).map(|(_, name)| *name).collect();
        let acks = segment.flags.contains(Flags::ACK);
        // A reset of nothing known has sequence number zero: told as it is.
        let absolute = segment.flags == Flags::RST | Flags::ACK && segment.seq == SeqNum(0);
        let seq = if absolute { 0 } else { segment.seq.since(self.iss).cast_signed() };
        let ack = if acks { format!(" ack {}", segment.ack.since(IRS).cast_signed()) } else { String::new() };
        format!("{flags} {seq}({len}){ack}")
    }

    /// What the engine answers to a segment: the one segment it sends at once, or `-`.
    pub fn answer(&mut self, input: In) -> String {
        self.rx(input);
        let answer = self.tx();
        assert_eq!(self.tx(), "-", "one answer is enough");
        answer
    }

    /// A connection that the peer opened, with these options of its SYN.
    pub fn accepted(&mut self, options: Options) {
        self.op(Op::listen_eager(core::net::SocketAddr::new(US, PORT)));
        assert_eq!(self.event(), "listening");
        assert_eq!(self.answer(seg("S", 0, 0).options(options)), "S. 0(0) ack 1");
        let mut ack = seg(".", 1, 1);
        if let Some((value, _)) = options.timestamps {
            let stamp = self.last.unwrap().options.timestamps.unwrap().0;
            ack = ack.stamps(value, stamp);
        }
        assert_eq!(self.answer(ack), "-");
        assert_eq!(self.event(), "accepted");
    }

    /// A connection that the engine opened, with these options of the peer's SYN.
    pub fn connected(&mut self, options: Options) {
        self.connecting();
        let ack = self.answer(seg("S.", 0, 1).options(options));
        assert_eq!(ack, ". 1(0) ack 1");
        assert_eq!(self.event(), "connected");
        let stream = self.stream();
        self.op(Op::receive(stream));
    }

    /// A SYN of the engine's that nobody has answered.
    pub fn connecting(&mut self) {
        self.op(Op::connect(core::net::SocketAddr::new(PEER, PEER_PORT)));
        assert_eq!(self.tx(), "S 0(0)");
    }

    /// The connection still exists: what lies outside its window is answered with an acknowledgement, else with a reset.
    pub fn is_alive(&mut self) -> bool {
        self.frames();
        // Challenges are limited a second: the next one is sure to be answered.
        self.wait(S);
        self.frames();
        let rcv = self.rcv;
        self.rx(seg(".", rcv.wrapping_sub(1), self.nxt).data(1));
        let answer = self.tx();
        assert!(answer != "-", "an old byte is answered in any state");
        !answer.starts_with('R')
    }
}

/// The ECN field, and the class, of the IP header in a frame.
fn field_of(bytes: &[u8]) -> u8 {
    let at = ethernet::parse(bytes).expect("the engine sends valid frames").1;
    if crate::IPV6 {
        ipv6::parse(&bytes[at..]).map_or(0, |(header, _)| header.traffic_class)
    } else {
        bytes[at + 1]
    }
}

const fn ip6(number: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number))
}

/// An IPv4 packet of the peer's as a frame.
pub fn ip_frame(header: &ipv4::Header, payload: &[u8]) -> Vec<u8> {
    packet_frame(&IpHeader::V4(*header), payload)
}

/// An IP packet of the peer's as a frame.
pub fn packet_frame(header: &IpHeader, payload: &[u8]) -> Vec<u8> {
    let ether_type = header.ether_type();
    let link = ethernet::Header { destination: OUR_MAC, source: PEER_MAC, vlan: None, ether_type };
    let mut bytes = vec![0; link.header_len() + header.header_len()];
    link.emit(&mut bytes).unwrap();
    header.emit(&mut bytes[link.header_len()..], payload.len(), true).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

/// The segment in a frame, checked.
pub fn read(bytes: &[u8]) -> Option<(Segment, Vec<u8>)> {
    let (source, destination, payload) = if crate::IPV6 {
        let (link, at) = ethernet::parse(bytes).expect("the engine sends valid frames");
        if link.ether_type != EtherType::IPV6 {
            return None;
        }
        let (ip, range) = ipv6::parse(&bytes[at..]).expect("the engine sends valid packets");
        if ip.next_header != Protocol::TCP {
            return None;
        }
        (IpAddr::V6(ip.source), IpAddr::V6(ip.destination), bytes[at..][range].to_vec())
    } else {
        let (ip, payload) = read_ip(bytes).filter(|(ip, _)| ip.protocol == Protocol::TCP)?;
        (IpAddr::V4(ip.source), IpAddr::V4(ip.destination), payload)
    };
    let len = u16::try_from(payload.len()).unwrap();
    let sum = Checksum::pseudo(source, destination, Protocol::TCP.0, len).unwrap();
    let (segment, at) = tcp::parse(&payload, Verify::Sum(sum)).expect("the engine sends valid segments");
    Some((segment, payload[at..].to_vec()))
}

/// The IP packet in a frame, checked.
pub fn read_ip(bytes: &[u8]) -> Option<(ipv4::Header, Vec<u8>)> {
    let (link, at) = ethernet::parse(bytes).expect("the engine sends valid frames");
    if link.ether_type != EtherType::IPV4 {
        return None;
    }
    let (header, range) = ipv4::parse(&bytes[at..], false).expect("the engine sends valid packets");
    Some((header, bytes[at..][range].to_vec()))
}

#[allow(dead_code, reason = "the tests over IPv6 share this file")]
/// The ARP packet in a frame, and whom it went to.
pub fn read_arp(bytes: &[u8]) -> Option<(MacAddress, arp::Packet)> {
    let (link, at) = ethernet::parse(bytes).expect("the engine sends valid frames");
    (link.ether_type == EtherType::ARP).then(|| (link.destination, arp::parse(&bytes[at..]).unwrap()))
}
