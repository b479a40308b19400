//! Many flows through one narrow link, whole hosts in virtual time: how they share it, and what marks spare them.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use drivers::soft::{FaultSpec, FaultStatistics, FaultWatch, Faults, Faulty};
use drivers::{Frame, Pool, Queue};
use stack::config::{Congestion, Ecn};
use stack::counters::Counters;
use stack::lane::Lane;
use stack::sim::{App, Host, World};
use stack::socket::{Event, Op, PerSocket, QueueId, Stream};
use stack::time::Instant;

const MS: u64 = 1_000_000;

/// Bytes of one send, and sends of a stream under way: more than any window here.
const CHUNK: usize = 32 << 10;
const SENDS: usize = 64;

/// Sends on every stream as much as it takes.
struct Sender {
    block: Bytes,
    wanted: usize,
    started: bool,
    /// Each stream, and its sends under way.
    streams: Vec<(Stream, usize)>,
}

impl Sender {
    fn run(&mut self, lane: &mut Lane) {
        if !self.started {
            self.started = true;
            for _ in 0..self.wanted {
                lane.submit(Op::connect("10.0.0.1:9".parse().unwrap())).expect("ops fit");
            }
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, .. } => self.streams.push((stream, 0)),
                Event::Sent { stream, .. } => {
                    let one = self.streams.iter_mut().find(|(known, _)| *known == stream);
                    one.expect("it was sent on a stream of ours").1 -= 1;
                }
                // Sixty-four flows on a short queue: some lose the same segment more than once.
                Event::Trouble { .. } => {}
                other => panic!("a sender expects no {other:?}"),
            }
        }
        for (stream, unfinished) in &mut self.streams {
            while *unfinished < SENDS && lane.submit(Op::send(*stream, self.block.clone()).notify()).is_ok() {
                *unfinished += 1;
            }
        }
    }
}

/// Counts each stream's bytes.
#[derive(Default)]
struct Counter {
    started: bool,
    bytes: PerSocket<usize>,
    counts: Vec<u64>,
}

impl Counter {
    fn run(&mut self, lane: &mut Lane) {
        if !self.started {
            self.started = true;
            lane.submit(Op::listen_eager("10.0.0.1:9".parse().unwrap())).expect("the first op fits");
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Accepted { stream, .. } => {
                    self.bytes.insert(stream, self.counts.len());
                    self.counts.push(0);
                }
                Event::Received { stream, data } => {
                    let index = *self.bytes.get(stream).expect("the stream was accepted");
                    self.counts[index] += data.len() as u64;
                }
                _ => {}
            }
        }
    }
}

enum End {
    Counter(Counter),
    Sender(Sender),
}

impl App for End {
    fn run(&mut self, lane: &mut Lane) {
        match self {
            End::Counter(counter) => counter.run(lane),
            End::Sender(sender) => sender.run(lane),
        }
    }
}

/// A narrow link, and what goes through it.
#[derive(Clone, Copy)]
struct Case {
    flows: usize,
    congestion: Congestion,
    ecn: Ecn,
    /// Bits a second.
    rate: u64,
    /// Round trip without a queue.
    rtt_ms: u64,
    /// Bytes.
    queue: u64,
    mark: Option<u64>,
    /// Seconds until bytes are counted, and for which they are.
    warm_up: u64,
    seconds: u64,
}

struct Result {
    shares: Vec<u64>,
    link: FaultStatistics,
    sender: Counters,
}

/// Jain's index: one if all are equal, 1/n if one has it all.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

fn run(case: &Case) -> Result {
    let mut hosts = [Host::new(1), Host::new(2)];
    for host in &mut hosts {
        host.config.tcp.congestion = case.congestion;
        host.config.tcp.ecn = case.ecn;
        host.config.tcp.receive_frames = 1024;
        host.config.tcp.window_scale = 6;
        // All SYNs leave at once: none is to wait for an answer to ARP.
        host.config.interfaces[0].neighbours =
            (1..=2).map(|n| (IpAddr::from([10, 0, 0, n]), [2, 0, 0, 0, 0, n])).collect();
    }
    let sender =
        Sender { block: vec![7; CHUNK].into(), wanted: case.flows, started: false, streams: Vec::new() };
    let apps = [End::Counter(Counter::default()), End::Sender(sender)];
    let half = case.rtt_ms * MS / 2;
    // Some noise on the way back, so that no flow always finds the queue as another left it.
    let back = Faults { delay: half, jitter: 200_000, ..Faults::default() };
    let there = Faults {
        delay: half,
        rate: NonZeroU64::new(case.rate),
        queue: case.queue,
        mark: case.mark,
        ..Faults::default()
    };
    let spec = FaultSpec { receive: there, transmit: back, held: 16_384, seed: 1 };
    let mut watch: Option<FaultWatch> = None;
    let mut world = World::pair(hosts, apps, |id, queue| {
        if id != World::<End>::FIRST {
            return queue;
        }
        let faulty = Faulty::new(queue, &spec, Pool::heap(256, 2048));
        watch = Some(faulty.watch());
        Box::new(faulty)
    });
    let counts = |world: &World<End>| match world.app(World::<End>::FIRST) {
        End::Counter(counter) => counter.counts.clone(),
        End::Sender(_) => panic!("the first end counts"),
    };
    let second = 1_000 * MS;
    world.run_until(Instant(case.warm_up * second), |_| false);
    let before = counts(&world);
    assert_eq!(before.len(), case.flows, "all are connected");
    world.run_until(Instant((case.warm_up + case.seconds) * second), |_| false);
    let shares: Vec<_> = counts(&world).iter().zip(before).map(|(after, before)| after - before).collect();
    let sender = world.report(World::<End>::SECOND).counters;
    Result { shares, link: watch.unwrap().statistics(), sender }
}

/// Run a case and say what came of it.
fn told(name: &str, case: &Case) -> Result {
    let result = run(case);
    let bits = 8 * result.shares.iter().sum::<u64>() / case.seconds;
    let least = result.shares.iter().min().unwrap() * 8 / case.seconds / 1_000;
    let most = result.shares.iter().max().unwrap() * 8 / case.seconds / 1_000;
    println!(
        "{name}: {} flows, Jain {:.4}, {:.1} % of the link, {least} to {most} kbit/s, {} dropped, {} marked, {} timeouts",
        case.flows,
        jain(&result.shares),
        100.0 * bits as f64 / case.rate as f64,
        result.link.receive.queue_dropped,
        result.link.receive.marked,
        result.sender.timeouts
    );
    result
}

/// Two, eight and sixty-four flows over a link wide enough that each has a window worth the name.
fn cases(congestion: Congestion, ecn: Ecn, mark: Option<u64>) -> [Case; 3] {
    [(2, 20_000_000, 30, 60), (8, 40_000_000, 10, 30), (64, 160_000_000, 5, 10)].map(
        |(flows, rate, warm_up, seconds)| {
            let queue = rate / 8 / 50;
            Case { flows, congestion, ecn, rate, rtt_ms: 20, queue, mark, warm_up, seconds }
        },
    )
}

fn goodput_share(case: &Case, result: &Result) -> f64 {
    8.0 * result.shares.iter().sum::<u64>() as f64 / case.seconds as f64 / case.rate as f64
}

#[test]
fn equal_flows_share_a_link_equally() {
    // Shows 2, 8 and 64 flows of CUBIC through a link whose queue holds one bandwidth-delay product and drops what does
    // not fit: Jain's index at least 0.95, and the link well used.
    for case in cases(Congestion::Cubic, Ecn::Off, None) {
        let result = told("CUBIC", &case);
        assert!(jain(&result.shares) >= 0.95, "{} flows: {:?}", case.flows, result.shares);
        assert!(goodput_share(&case, &result) > 0.8, "{} flows", case.flows);
    }
}

#[test]
fn connections_begun_together_wait_for_one_answer() {
    // Shows that of a thousand connections to a neighbour that is not known, an eighth of as many frames as there are, none
    // loses its SYN while it is asked for: all are open before any would try again.
    let mut hosts = [Host::new(1), Host::new(2)];
    for host in &mut hosts {
        (host.receive_frames, host.config.cells_max) = (8_192, 1 << 18);
    }
    let block: Bytes = vec![7; 64].into();
    let sender = Sender { block, wanted: 1_000, started: false, streams: Vec::new() };
    let apps = [End::Counter(Counter::default()), End::Sender(sender)];
    let way = Faults { delay: MS / 20, ..Faults::default() };
    let spec = FaultSpec { receive: way, transmit: way, held: 4096, seed: 1 };
    let mut world = World::pair(hosts, apps, |id, queue| match id {
        World::<End>::FIRST => Box::new(Faulty::new(queue, &spec, Pool::heap(4096, 2048))),
        _ => queue,
    });
    let are_open = |ends: &[End]| {
        ends.iter().any(|end| matches!(end, End::Counter(counter) if counter.counts.len() == 1_000))
    };
    assert!(world.run_until(Instant(20 * MS), are_open));
}

#[test]
fn flows_take_turns_at_a_port_that_is_behind() {
    // Shows that where a port takes less in a turn than one flow has to say, all get their share: sixteen flows at a port of
    // sixteen frames a turn, over a link without a bottleneck.
    let mut hosts = [Host::new(1), Host::new(2)];
    for host in &mut hosts {
        host.config.transmit_backlog_max = 16;
        host.config.interfaces[0].neighbours =
            (1..=2).map(|n| (IpAddr::from([10, 0, 0, n]), [2, 0, 0, 0, 0, n])).collect();
        host.config.tcp.receive_frames = 1024;
        host.config.tcp.window_scale = 6;
    }
    let block: Bytes = vec![7; CHUNK].into();
    let sender = Sender { block, wanted: 16, started: false, streams: Vec::new() };
    let apps = [End::Counter(Counter::default()), End::Sender(sender)];
    let way = Faults { delay: MS / 20, ..Faults::default() };
    let spec = FaultSpec { receive: way, transmit: way, held: 16_384, seed: 1 };
    let mut world = World::pair(hosts, apps, |id, queue| match id {
        World::<End>::FIRST => Box::new(Faulty::new(queue, &spec, Pool::heap(256, 2048))),
        _ => queue,
    });
    world.run_until(Instant(20 * MS), |_| false);
    let End::Counter(counter) = world.app(World::<End>::FIRST) else { panic!("the first end counts") };
    assert_eq!(counter.counts.len(), 16);
    assert!(jain(&counter.counts) >= 0.95, "{:?}", counter.counts);
}

/// Sees how many frames are left for a port at a time.
struct Widest {
    queue: Box<dyn Queue>,
    most: Arc<AtomicUsize>,
}

impl Queue for Widest {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.queue.receive(now, frames, max)
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        self.most.fetch_max(frames.len(), Ordering::Relaxed);
        self.queue.transmit(now, frames)
    }

    fn next_event(&self) -> Option<u64> {
        self.queue.next_event()
    }
}

#[test]
fn frames_go_before_many_more_are_made() {
    // Shows that however much sixteen flows have to say in a turn, no more frames wait for a port that takes them than one
    // flow makes beyond what calls for it.
    let mut hosts = [Host::new(1), Host::new(2)];
    for host in &mut hosts {
        (host.config.tcp.receive_frames, host.config.tcp.window_scale) = (1024, 6);
    }
    let sender = Sender { block: vec![7; CHUNK].into(), wanted: 16, started: false, streams: Vec::new() };
    let apps = [End::Counter(Counter::default()), End::Sender(sender)];
    let most = Arc::new(AtomicUsize::new(0));
    let way = Faults { delay: MS / 20, ..Faults::default() };
    let spec = FaultSpec { receive: way, transmit: way, held: 16_384, seed: 1 };
    let mut world = World::pair(hosts, apps, |id, queue| match id {
        World::<End>::FIRST => Box::new(Faulty::new(queue, &spec, Pool::heap(256, 2048))),
        _ => Box::new(Widest { queue, most: Arc::clone(&most) }),
    });
    world.run_until(Instant(20 * MS), |_| false);
    let End::Counter(counter) = world.app(World::<End>::FIRST) else { panic!("the first end counts") };
    assert!(counter.counts.iter().sum::<u64>() > 50 << 20, "{:?}", counter.counts);
    let most = most.load(Ordering::Relaxed);
    assert!((64..128).contains(&most), "{most}");
}

#[test]
fn renos_flows_share_it_as_well() {
    // Shows the same of eight flows of Reno.
    let [_, case, _] = cases(Congestion::NewReno, Ecn::Off, None);
    let result = told("Reno", &case);
    assert!(jain(&result.shares) >= 0.95, "{:?}", result.shares);
    assert!(goodput_share(&case, &result) > 0.8);
}

#[test]
fn marks_do_what_losses_do_without_a_loss() {
    // Shows CUBIC with ECN through the same link, which marks from half of its queue on: as fair, and, once slow start
    // is over, next to nothing lost.
    for case in cases(Congestion::Cubic, Ecn::Request, None) {
        let case = Case { mark: Some(case.queue / 2), queue: 4 * case.queue, ..case };
        let result = told("CUBIC with ECN", &case);
        assert!(jain(&result.shares) >= 0.95, "{} flows: {:?}", case.flows, result.shares);
        assert!(goodput_share(&case, &result) > 0.85, "{} flows", case.flows);
        assert!(result.link.receive.marked > 0 && result.link.receive.queue_dropped == 0);
    }
}

#[test]
fn dctcp_shares_a_short_queue() {
    // Shows DCTCP where switches mark from a seventh of the bandwidth-delay product on, as RFC 8257 section 3.1 suggests
    // at least: fair, the link full, nothing lost.
    for case in cases(Congestion::Dctcp, Ecn::Off, None) {
        // No less than a few segments for each flow: below that no window can be.
        let mark = (case.queue / 7).max(case.flows as u64 * 3_000);
        // Windows that hardly move take longer to even out.
        let (warm_up, seconds) = (2 * case.warm_up, 2 * case.seconds);
        let case = Case { mark: Some(mark), queue: 8 * case.queue, warm_up, seconds, ..case };
        let result = told("DCTCP", &case);
        assert!(jain(&result.shares) >= 0.95, "{} flows: {:?}", case.flows, result.shares);
        assert!(goodput_share(&case, &result) > 0.9, "{} flows", case.flows);
        assert_eq!(result.link.receive.queue_dropped, 0);
    }
}
