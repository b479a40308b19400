//! Hosts, the links between them, and the clock that moves from event to event.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use drivers::soft::{FaultSpec, Faulty, Nic, PIPE_CAPABILITIES, Shortage, Spread, pipe, spread};
use drivers::{Bell, Pool, Pools, Queue, Region};

use crate::config::{Address, EngineConfig};
use crate::counters::Report;
use crate::engine::{Engine, Interface};
use crate::lane::{Lane, LaneOptions};
use crate::links::{Links, RING_MESSAGES, Ring};
use crate::run::{Idle, LaneRun, StopFlag, TimeSource};
use crate::sim::shared::Shared;
use crate::sim::trace::{Trace, Traced};
use crate::socket::{LaneId, QueueId};
use crate::time::Instant;

/// An application of a simulated host. It is given the lane whenever something may have happened, and never waits.
pub trait App {
    /// Take completions, submit ops.
    fn run(&mut self, lane: &mut Lane);

    /// The same for a lane of the host beyond the first: unless told otherwise, nobody is at home there.
    fn run_beside(&mut self, lane: &mut Lane) {
        while lane.take(QueueId::MAIN).is_some() {}
    }

    /// When it wants to be run though nothing happened.
    fn next_event(&self) -> Option<Instant> {
        None
    }
}

/// Names a host of a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostId(usize);

/// How a host is made.
pub struct Host {
    /// Its engine's configuration.
    pub config: EngineConfig,
    /// Bounds of its application's end.
    pub lane: LaneOptions,
    /// Frames of its receive pool.
    pub receive_frames: usize,
    /// Largest IP packet of its link.
    pub mtu: u16,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its port is a NIC that sums, tags and cuts frames of at most so many segments, else but a wire.
    pub nic: Option<usize>,
    /// How frames are dealt out to its lanes, if it has several.
    pub spread: Spread,
    /// Lanes that have a queue; the others receive and send by way of these.
    pub queues: u16,
    /// Its ports beyond the first.
    pub more: Vec<HostPort>,
    /// When its lanes' pools refuse frames.
    pub shortage: Option<Shortage>,
}

/// A further port of a host. What it means is told at [`Host`]'s fields of the same names.
#[derive(Clone)]
#[allow(missing_docs, reason = "told at `Host`")]
pub struct HostPort {
    pub mtu: u16,
    pub mac: [u8; 6],
    pub nic: Option<usize>,
    pub spread: Spread,
    pub queues: u16,
}

impl Host {
    /// A host with the address 10.0.0.`number`/24.
    pub fn new(number: u8) -> Host {
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number));
        let mut config = EngineConfig::new(ip, 24);
        config.sockets = 1024;
        config.cells_max = 65_536;
        config.secret = [u64::from(number), 2, 0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];
        Host {
            config,
            lane: LaneOptions::default(),
            receive_frames: 16_384,
            mtu: 1500,
            mac: [2, 0, 0, 0, 0, number],
            nic: None,
            spread: Spread::Random(u64::from(number)),
            queues: 1,
            more: Vec::new(),
            shortage: None,
        }
    }

    /// The host with the address fd00::`number` instead, ours at once, on a link whose packets carry as much TCP as IPv4's.
    pub fn over_ipv6(mut self) -> Host {
        let number = self.mac[5];
        let interface = &mut self.config.interfaces[0];
        let ip = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()));
        interface.addresses = vec![Address { ip, prefix: 64 }];
        interface.ipv6.duplicate_transmits = 0;
        self.mtu += 20;
        self
    }

    /// The host with `lanes` lanes, the first `queues` of which have a queue, and frames that are dealt out so.
    pub fn with_lanes(mut self, lanes: u8, queues: u16, spread: Spread) -> Host {
        if let Spread::Rss(table) = &spread {
            self.config.interfaces[0].rss = Some(Arc::clone(table));
        }
        self.config.lanes = lanes;
        self.queues = queues;
        self.spread = spread;
        self
    }

    /// The host with one more port, with the address 10.0.`net`.`number`/24 and as many queues as the first.
    pub fn with_port(mut self, net: u8, number: u8) -> Host {
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, net, number));
        self.config.interfaces.extend(EngineConfig::new(ip, 24).interfaces);
        let Host { mtu, nic, queues, .. } = self;
        let (mac, spread) =
            ([2, 0, 0, 0, net, number], Spread::Random(u64::from(net) << 8 | u64::from(number)));
        self.more.push(HostPort { mtu, mac, nic, spread, queues });
        self
    }

    fn ports(&self) -> Vec<HostPort> {
        let Host { mtu, mac, nic, queues, .. } = *self;
        let first = HostPort { mtu, mac, nic, spread: self.spread.clone(), queues };
        core::iter::once(first).chain(self.more.iter().cloned()).collect()
    }
}

struct Running {
    lanes: Vec<(Lane, Rc<RefCell<LaneRun>>)>,
    stop: StopFlag,
}

/// Hosts and the wire between them. `A` is what runs on each.
pub struct World<A> {
    clock: Rc<Cell<u64>>,
    hosts: Vec<Running>,
    apps: Vec<A>,
    turns: u64,
}

/// Frames for the copies that a bad network makes.
const COPIES: usize = 256;

/// Turns without time moving before the world is taken for livelocked.
const TURNS_AT_ONCE_MAX: u32 = 100_000;

impl<A: App> World<A> {
    /// Two hosts back to back. `wrap` may put faults around an end of the wire.
    pub fn pair(
        hosts: [Host; 2],
        apps: [A; 2],
        mut wrap: impl FnMut(HostId, Box<dyn Queue>) -> Box<dyn Queue>,
    ) -> World<A> {
        let frames = hosts.iter().map(|host| host.receive_frames).max().unwrap_or(1);
        let mtu = hosts.iter().map(|host| host.mtu).max().unwrap_or(1500);
        let (a, b) = pipe(frames, mtu);
        let ends: [Box<dyn Queue>; 2] = [Box::new(a), Box::new(b)];
        let hosts = hosts.into_iter().zip(ends).enumerate();
        let hosts = hosts.map(|(index, (host, end))| (host, wrap(HostId(index), end))).collect();
        World::of(hosts, apps.into())
    }

    /// Two hosts with a bad network between them, and what crosses it traced.
    pub fn under(hosts: [Host; 2], apps: [A; 2], spec: &FaultSpec, trace: &Trace) -> World<A> {
        World::pair(hosts, apps, |id, queue| {
            // One end is enough: it has both directions.
            let queue = if id == Self::FIRST {
                Box::new(Faulty::new(queue, spec, Pool::heap(COPIES, 2048))) as Box<dyn Queue>
            } else {
                queue
            };
            let host = u8::try_from(id.0 + 1).unwrap_or(u8::MAX);
            Box::new(Traced::new(queue, host, trace.clone()))
        })
    }

    /// Hosts with the queues they live on.
    pub fn of(hosts: Vec<(Host, Box<dyn Queue>)>, apps: Vec<A>) -> World<A> {
        World::wired(hosts.into_iter().map(|(host, queue)| (host, vec![queue])).collect(), apps)
    }

    /// Hosts with the queues their ports live on.
    pub fn wired(hosts: Vec<(Host, Vec<Box<dyn Queue>>)>, apps: Vec<A>) -> World<A> {
        let clock = Rc::new(Cell::new(1_000_000));
        let hosts = hosts.into_iter().map(|(host, queues)| start(host, queues, &clock)).collect();
        World { clock, hosts, apps, turns: 0 }
    }

    /// The first and the second host.
    pub const FIRST: HostId = HostId(0);
    /// See `FIRST`.
    pub const SECOND: HostId = HostId(1);
    /// A third host, in worlds that have one.
    pub const THIRD: HostId = HostId(2);

    /// Virtual nanoseconds since the world began.
    pub fn now(&self) -> Instant {
        Instant(self.clock.get())
    }

    /// Turns taken by all hosts.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// A host's application.
    pub fn app(&self, host: HostId) -> &A {
        &self.apps[host.0]
    }

    /// A host's application, for changing.
    pub fn app_mut(&mut self, host: HostId) -> &mut A {
        &mut self.apps[host.0]
    }

    /// A host's first lane.
    pub fn lane(&mut self, host: HostId) -> &mut Lane {
        &mut self.hosts[host.0].lanes[0].0
    }

    /// What a host's lanes know of themselves, all together.
    pub fn report(&self, host: HostId) -> Report {
        let mut reports = self.reports(host).into_iter();
        let mut sum = reports.next().expect("a host has a lane");
        reports.for_each(|report| sum.add(&report));
        sum
    }

    /// What each of a host's lanes knows of itself.
    pub fn reports(&self, host: HostId) -> Vec<Report> {
        self.hosts[host.0].lanes.iter().map(|(lane, _)| lane.report()).collect()
    }

    /// The engine of a host's first lane, between turns.
    pub fn with_engine<R>(&mut self, host: HostId, work: impl FnOnce(&mut Engine) -> R) -> R {
        work(self.hosts[host.0].lanes[0].1.borrow_mut().engine_mut())
    }

    /// What a host has not given back, in words; empty if its counts are what they were after start, with `sockets`
    /// sockets open on its first lane, and every received frame was counted once.
    pub fn leftovers(&self, host: HostId, sockets: usize) -> String {
        let (mut text, mut received, mut ended) = (String::new(), 0, 0);
        for (lane, _) in &self.hosts[host.0].lanes {
            let report = lane.report();
            let counters = &report.counters;
            received += counters.received_frames + counters.steered_in;
            ended += counters.consumed_frames + counters.dropped() + counters.steered_out;
            let sockets = if lane.id() == LaneId(0) { sockets } else { 0 };
            text += &leftovers_of(&report, lane.held_frames(), sockets);
        }
        if received != ended {
            text += &format!("{received} frames received, {ended} ended\n");
        }
        text
    }
    /// Tell a host to stop in order.
    pub fn stop(&self, host: HostId) {
        self.hosts[host.0].stop.stop();
    }

    /// Take a host's application away: its lane is dropped, and ends while virtual time goes on for it alone.
    pub fn leave(&mut self, host: HostId) {
        self.hosts[host.0].lanes.clear();
    }

    /// Run until `done` says so, or virtual time reaches `limit`. True if it was done.
    pub fn run_until(&mut self, limit: Instant, mut done: impl FnMut(&[A]) -> bool) -> bool {
        loop {
            self.settle();
            if done(&self.apps) {
                return true;
            }
            let Some(next) = self.next_event().filter(|next| *next <= limit) else {
                self.clock.set(limit.0.max(self.clock.get()));
                return false;
            };
            self.clock.set(next.0.max(self.clock.get() + 1));
        }
    }

    /// Take turns at this moment until nothing moves.
    fn settle(&mut self) {
        for round in 0..=TURNS_AT_ONCE_MAX {
            assert!(round < TURNS_AT_ONCE_MAX, "the hosts keep each other busy without time passing");
            let mut busy = false;
            for (host, app) in self.hosts.iter_mut().zip(&mut self.apps) {
                for (lane, _) in &mut host.lanes {
                    self.turns += 1;
                    let running = lane.turn();
                    if lane.id() == LaneId(0) {
                        app.run(lane);
                    } else {
                        app.run_beside(lane);
                    }
                    busy |= lane.is_busy() || running && lane.has_ops();
                }
            }
            if !busy {
                return;
            }
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let lanes = self.hosts.iter().flat_map(|host| &host.lanes).filter_map(|(lane, _)| lane.next_event());
        lanes.chain(self.apps.iter().filter_map(App::next_event)).min()
    }
}

/// What a lane has not given back, in words.
fn leftovers_of(report: &Report, held: usize, sockets: usize) -> String {
    let counts = [
        ("flows", report.flows, 0),
        ("half_open", report.half_open, 0),
        ("time_wait", report.time_wait, 0),
        ("sockets", report.sockets, sockets),
        ("timers", report.timers, 0),
        ("held_frames", report.held_frames, 0),
        ("cells", report.cells, 0),
        ("active", report.active, 0),
        ("lent", report.lent, 0),
        ("backlog", report.backlog, 0),
        ("waiting_packets", report.waiting_packets, 0),
        ("receive pool", report.receive.available, report.receive.capacity),
        ("control pool", report.control.available, report.control.capacity),
        ("attach pool", report.attach.available, report.attach.capacity),
        ("frames with the application", held, 0),
    ];
    let mut text = String::new();
    for (name, is, due) in counts {
        if is != due {
            text += &format!("{name}: {is}, not {due}\n");
        }
    }
    text
}

/// A host's lanes over its ends of wires.
fn start(host: Host, queues: Vec<Box<dyn Queue>>, clock: &Rc<Cell<u64>>) -> Running {
    let lanes = host.config.lanes;
    let ports = host.ports();
    assert_eq!(ports.len(), queues.len(), "each port has its end of a wire");
    let ends = |(port, queue): (&HostPort, Box<dyn Queue>)| {
        let queue = match port.nic {
            Some(_) => Box::new(Nic::new(queue, Pool::heap(NIC_FRAMES, 2048))),
            None => queue,
        };
        let ends = if lanes > 1 { spread(queue, port.queues, port.spread.clone()) } else { vec![queue] };
        ends.into_iter()
    };
    let mut ends: Vec<_> = ports.iter().zip(queues).map(ends).collect();
    let bells = vec![Bell::default(); usize::from(lanes)];
    let ring = |_, _| Ok::<Ring, Infallible>(rte_ring::heap(RING_MESSAGES));
    let counts: Vec<usize> = ports.iter().map(|port| usize::from(port.queues)).collect();
    let Ok(links) = Links::mesh(&bells, &counts, ring);
    let stop = StopFlag::default();
    let lanes = (0..).map(LaneId).zip(links).map(|(id, links)| {
        let queues = ends.iter_mut().map(Iterator::next).collect();
        start_lane(id, &host, queues, links, &stop, clock)
    });
    Running { lanes: lanes.collect(), stop: stop.clone() }
}

fn start_lane(
    id: LaneId,
    host: &Host,
    queues: Vec<Option<Box<dyn Queue>>>,
    links: Links,
    stop: &StopFlag,
    clock: &Rc<Cell<u64>>,
) -> (Lane, Rc<RefCell<LaneRun>>) {
    let port = |port: &HostPort| {
        let capabilities = match port.nic {
            Some(segments) => Nic::capabilities(&PIPE_CAPABILITIES, segments),
            None => PIPE_CAPABILITIES,
        };
        let interface = Interface { mac: port.mac, mtu: port.mtu, vlan: None, capabilities };
        let pools = Pools::heap(host.receive_frames, host.receive_frames);
        let pools = match &host.shortage {
            Some(shortage) => pools.short(shortage),
            None => pools,
        };
        (interface, pools)
    };
    let ports = host.ports().iter().map(port).collect();
    let stop_within = core::time::Duration::from_secs(5);
    let engine = Engine::new(id, host.config.clone(), ports, Instant(clock.get()))
        .expect("a simulated host's configuration is valid");
    let time = TimeSource::Virtual(Rc::clone(clock));
    let run = LaneRun::new(engine, queues, links, time, stop.clone(), stop_within, Idle::Poll);
    let run = Rc::new(RefCell::new(run));
    let blocks = Region::new(BLOCKS, 2048);
    let crossing = Shared::new(&run, clock);
    (Lane::new(id, host.lane, blocks, Box::new(crossing)), run)
}

/// Frames into which a simulated NIC cuts what it sends: it waits for the wire, so two full frames are many.
const NIC_FRAMES: usize = 1024;

/// Blocks of a simulated host's transmit pool.
const BLOCKS: usize = 64;
