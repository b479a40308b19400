//! One-way transfers between simulated hosts, checked by SHA-256. Hosts and wires are `stack::sim`'s.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use drivers::soft::{FaultSpec, Faults, Faulty};
use drivers::{Frame, Pool, Queue};
use sha2::{Digest, Sha256};
use stack::lane::Lane;
use stack::sim::{App, Host, Trace, Traced, World};
use stack::socket::{Event, Op, QueueId, Reason, Received, SocketOption, Stream};
use stack::time::Instant;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Where the receiving host listens.
pub fn server() -> SocketAddr {
    "10.0.0.1:9".parse().unwrap()
}

/// The seeds to run: those given, or the one that `SIM_SEED` names.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIM_SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

/// A link that loses so many frames in a hundred, each way.
#[allow(dead_code, reason = "not every test that shares this file wants it")]
pub fn lossy(loss: f64, seed: u64) -> FaultSpec {
    FaultSpec::both(Faults { loss, delay: 1_000_000, ..Faults::default() }, seed)
}

/// A link with every fault at once.
#[allow(dead_code, reason = "not every test that shares this file wants it")]
pub fn rough(seed: u64) -> FaultSpec {
    let faults = Faults {
        loss: 3.0,
        delay: 500_000,
        jitter: 200_000,
        reorder: 10.0,
        duplicate: 5.0,
        corrupt: 3.0,
        ..Faults::default()
    };
    FaultSpec::both(faults, seed)
}

/// Sends bytes that follow from a seed, and closes.
pub struct Source {
    bytes: u64,
    block: Bytes,
    hasher: Sha256,
    sent: u64,
    unfinished: usize,
    started: bool,
    stream: Option<Stream>,
    shut: bool,
    to: SocketAddr,
    /// How it ended; `None` inside: the connect failed.
    pub ended: Option<Option<Reason>>,
}

/// Bytes of one send, and sends under way: enough to fill the largest window.
const CHUNK: u64 = 32 << 10;
const SENDS: usize = 256;

impl Source {
    fn new(to: SocketAddr, bytes: u64, seed: u64) -> Source {
        let mut state = seed | 1;
        let block: Vec<u8> = (0..2 * CHUNK)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        Source {
            to,
            bytes,
            block: block.into(),
            hasher: Sha256::new(),
            sent: 0,
            unfinished: 0,
            started: false,
            stream: None,
            shut: false,
            ended: None,
        }
    }

    fn pump(&mut self, lane: &mut Lane) {
        let Some(stream) = self.stream else { return };
        while self.sent < self.bytes && self.unfinished < SENDS {
            let len = CHUNK.min(self.bytes - self.sent) as usize;
            // A different slice each time, so that bytes in a wrong place show.
            let at = (self.sent / 7 % CHUNK) as usize;
            let chunk = self.block.slice(at..at + len);
            self.hasher.update(&chunk);
            lane.submit(Op::send(stream, chunk).notify()).expect("fewer sends than a stream takes");
            self.sent += len as u64;
            self.unfinished += 1;
        }
        if self.sent == self.bytes && !self.shut {
            lane.submit(Op::shutdown(stream)).expect("ops fit");
            self.shut = true;
        }
    }
}

impl App for Source {
    fn run(&mut self, lane: &mut Lane) {
        if !self.started {
            self.started = true;
            lane.submit(Op::connect(self.to)).expect("the first op fits");
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, .. } => {
                    self.stream = Some(stream);
                    lane.submit(Op::receive(stream)).expect("ops fit");
                }
                Event::Sent { .. } => self.unfinished -= 1,
                Event::End { stream } => drop(lane.submit(Op::close(stream))),
                Event::Failed { payload: None, .. } if self.stream.is_none() => self.ended = Some(None),
                Event::Closed { reason, .. } => self.ended = Some(Some(reason)),
                _ => {}
            }
        }
        if self.ended.is_none() {
            self.pump(lane);
        }
    }
}

/// Takes one connection's bytes.
pub struct Sink {
    address: SocketAddr,
    hasher: Sha256,
    started: bool,
    /// Bytes that came.
    pub received: u64,
    /// How the connection ended.
    pub closed: Option<Reason>,
    /// How long each frame is held before it is given back, and those held now. Units: nanoseconds.
    hold: u64,
    held: VecDeque<(Instant, Received)>,
    /// When the peer's FIN came.
    pub end_at: Option<Instant>,
}

impl App for Sink {
    fn next_event(&self) -> Option<Instant> {
        self.held.front().map(|(until, _)| *until)
    }

    fn run(&mut self, lane: &mut Lane) {
        if !self.started {
            self.started = true;
            lane.submit(Op::listen_eager(self.address)).expect("the first op fits");
        }
        while self.held.front().is_some_and(|(until, _)| *until <= lane.now()) {
            self.held.pop_front();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Accepted { stream, .. } => {
                    // A source that gave up, and whose reset was lost, is found out by probing.
                    let option = SocketOption::KeepAlive(Some(Duration::from_secs(60)));
                    lane.submit(Op::set(stream, option)).expect("ops fit");
                }
                Event::Received { data, .. } => {
                    self.received += data.len() as u64;
                    self.hasher.update(&data[..]);
                    if self.hold > 0 {
                        self.held.push_back((Instant(lane.now().0 + self.hold), data));
                    }
                }
                Event::End { stream } => {
                    self.end_at = Some(lane.now());
                    lane.submit(Op::close(stream)).expect("ops fit");
                }
                Event::Closed { reason, .. } => self.closed = Some(reason),
                _ => {}
            }
        }
    }
}

/// Either end.
#[allow(clippy::large_enum_variant, reason = "a world has two of them")]
pub enum Bulk {
    Source(Source),
    Sink(Sink),
}

impl App for Bulk {
    fn next_event(&self) -> Option<Instant> {
        match self {
            Bulk::Source(source) => source.next_event(),
            Bulk::Sink(sink) => sink.next_event(),
        }
    }

    fn run(&mut self, lane: &mut Lane) {
        match self {
            Bulk::Source(source) => source.run(lane),
            Bulk::Sink(sink) => sink.run(lane),
        }
    }
}

/// An end of a link that is down at times: what is sent then is lost, and what comes then too.
struct Dark {
    queue: Box<dyn Queue>,
    outages: Vec<(u64, u64)>,
}

impl Dark {
    fn is_down(&self, now: u64) -> bool {
        self.outages.iter().any(|(from, until)| (*from..*until).contains(&now))
    }
}

impl Queue for Dark {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let before = frames.len();
        self.queue.receive(now, frames, max);
        if self.is_down(now) {
            frames.truncate(before);
        }
        frames.len() - before
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        if self.is_down(now) {
            return frames.drain(..).count();
        }
        self.queue.transmit(now, frames)
    }

    fn next_event(&self) -> Option<u64> {
        self.queue.next_event()
    }

    fn transmit_pool(&self) -> Option<(usize, usize)> {
        self.queue.transmit_pool()
    }
}

/// One transfer under faults.
#[derive(Clone)]
pub struct Case {
    pub bytes: u64,
    pub spec: FaultSpec,
    /// Frames that a stream may hold.
    pub frames: u16,
    /// Frames of each pool.
    pub pool: usize,
    /// How long the receiver holds each frame. Units: nanoseconds.
    pub hold: u64,
    /// When the link is down: from and until. Units: nanoseconds since the world began.
    pub outages: Vec<(u64, u64)>,
    /// Applied to both hosts' configurations.
    pub adjust: fn(&mut Host),
}

/// How a transfer went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Every byte came, in order, and both ends closed. Else the stack gave up by its own rules.
    pub exact: bool,
    /// From the first SYN to the FIN's arrival. Units: nanoseconds.
    pub took: u64,
    pub hash: u64,
    pub retransmits: u64,
    pub timeouts: u64,
    /// Segments that the fast path took.
    pub fast: u64,
    /// Segments that left in a frame with others.
    pub bundled: u64,
}

/// Run a case to its end and beyond, and see that nothing is left behind.
///
/// Panics, naming the seed, on a wrong byte, on a connection that never ends, and on anything not given back.
pub fn transfer(case: &Case, trace: &Trace) -> Outcome {
    let mut hosts = [Host::new(1), Host::new(2)];
    for host in &mut hosts {
        host.receive_frames = case.pool;
        host.config.tcp.receive_frames = case.frames;
        host.config.tcp.receive_frames_max = case.frames;
        (case.adjust)(host);
    }
    let (hold, held) = (case.hold, VecDeque::new());
    // Whatever it was given last, the first host is the server.
    let address = SocketAddr::new(hosts[0].config.interfaces[0].addresses[0].ip, server().port());
    let sink = Sink {
        address,
        hold,
        held,
        hasher: Sha256::new(),
        started: false,
        received: 0,
        closed: None,
        end_at: None,
    };
    let apps = [Bulk::Sink(sink), Bulk::Source(Source::new(address, case.bytes, case.spec.seed))];
    let mut world = World::pair(hosts, apps, |id, queue| {
        let number = if id == World::<Bulk>::FIRST { 1 } else { 2 };
        let queue = match number {
            1 => Box::new(Faulty::new(queue, &case.spec, Pool::heap(256, 2048))) as Box<dyn Queue>,
            _ => queue,
        };
        let queue = Box::new(Dark { queue, outages: case.outages.clone() });
        Box::new(Traced::new(queue, number, trace.clone()))
    });
    let begun = world.now().0;
    let context = format!("SIM_SEED={} under {}", case.spec.seed, case.spec);
    let ended = world.run_until(Instant(begun + 40_000 * SECOND), |apps| match &apps[1] {
        Bulk::Source(source) => source.ended.is_some(),
        Bulk::Sink(_) => false,
    });
    let reports = [World::<Bulk>::FIRST, World::<Bulk>::SECOND].map(|host| world.report(host));
    assert!(ended, "the transfer is stuck: {context}\n{}{}{}", reports[0], reports[1], trace.text());
    let (Bulk::Sink(sink), Bulk::Source(source)) =
        (world.app(World::<Bulk>::FIRST), world.app(World::<Bulk>::SECOND))
    else {
        unreachable!("the ends are where they were put")
    };
    let exact = source.ended == Some(Some(Reason::Done));
    let same =
        sink.received == source.sent && sink.hasher.clone().finalize() == source.hasher.clone().finalize();
    assert!(!exact || same, "{} bytes of {} came: {context}\n{}", sink.received, source.sent, trace.text());
    assert!(
        exact
            || matches!(source.ended, Some(None | Some(Reason::TimedOut)))
            || sink.closed == Some(Reason::TimedOut),
        "ended by {:?}: {context}\n{}",
        source.ended,
        trace.text()
    );
    if !exact && std::env::var_os("SIM_SHOW").is_some() {
        println!("{context}: {:?}, {:?}\n{}", source.ended, sink.closed, trace.text());
    }
    let took = sink.end_at.map_or(0, |at| at.0 - begun);
    world.run_until(Instant(world.now().0 + 1_000 * SECOND), |_| false);
    for (host, sockets) in [(World::<Bulk>::FIRST, 1), (World::<Bulk>::SECOND, 0)] {
        let left = world.leftovers(host, sockets);
        assert_eq!(left, "", "{host:?}: {context}\n{}", world.report(host));
    }
    let sum =
        |figure: fn(&stack::counters::Counters) -> u64| reports.iter().map(|r| figure(&r.counters)).sum();
    let (retransmits, timeouts, fast) =
        (sum(|c| c.retransmits), sum(|c| c.timeouts), sum(|c| c.fast_segments));
    let bundled = sum(|c| c.segments_sent.saturating_sub(c.sent_frames));
    Outcome { exact, took, hash: trace.hash(), retransmits, timeouts, fast, bundled }
}
