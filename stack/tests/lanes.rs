//! Hosts with several lanes in virtual time: whichever lane a frame comes to, every byte arrives where it belongs.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

mod common;

use core::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Case, SECOND, lossy, rough, seeds, server, transfer};
use drivers::soft::{FaultSpec, Faults, Faulty, Spread};
use drivers::{Frame, Pool, Queue, RssTable, RssTypes, symmetric_key};
use stack::counters::Report;
use stack::lane::Lane;
use stack::sim::{App, Host, HostId, Trace, World};
use stack::socket::{Event, LaneId, Op, QueueId, SocketId, Tag, Udp};
use stack::time::Instant;

const SERVER: HostId = World::<Node>::FIRST;
const CLIENT: HostId = World::<Node>::SECOND;

fn clean(seed: u64) -> FaultSpec {
    FaultSpec::both(Faults { delay: 10_000, ..Faults::default() }, seed)
}

fn case(bytes: u64, spec: FaultSpec, adjust: fn(&mut Host)) -> Case {
    Case { bytes, spec, frames: 128, pool: 1024, hold: 0, outages: Vec::new(), adjust }
}

/// Give a host two lanes of which `queues` have a queue, and deal frames out by the dice.
fn two_lanes(host: &mut Host, queues: u16) {
    let made = core::mem::replace(host, Host::new(1));
    let seed = u64::from(made.mac[5]);
    *host = made.with_lanes(2, queues, Spread::Random(seed));
}

#[test]
fn every_fault_and_the_wrong_lane_cost_no_byte() {
    // Shows every fault at once between hosts of two lanes: exact, counts back, and the same trace for the same seed.
    for seed in seeds(40) {
        let case = case(100_000, rough(seed), |host| two_lanes(host, 2));
        let outcome = transfer(&case, &Trace::new());
        assert!(outcome.exact, "SIM_SEED={seed}: {outcome:?}");
        if seed <= 3 {
            assert_eq!(outcome, transfer(&case, &Trace::new()), "SIM_SEED={seed}");
        }
    }
}

#[test]
fn every_fault_and_the_wrong_lane_over_ipv6() {
    // Shows the same over IPv6, whose neighbours are asked for by both lanes and answer to either.
    for seed in seeds(20) {
        let case = case(100_000, rough(seed), |host| {
            *host = core::mem::replace(host, Host::new(1)).over_ipv6();
            two_lanes(host, 2);
        });
        let outcome = transfer(&case, &Trace::new());
        assert!(outcome.exact, "SIM_SEED={seed}: {outcome:?}");
    }
}

#[test]
fn a_third_of_all_frames_lost_on_two_lanes_and_one_queue() {
    // Shows 128 KiB over 30 % loss each way, with queues for both lanes and for one: exact, or given up in 10 % at most.
    let seeds = seeds(40);
    for adjust in [|host: &mut Host| two_lanes(host, 2), |host: &mut Host| two_lanes(host, 1)] {
        let given_up = seeds
            .iter()
            .filter(|&&seed| !transfer(&case(128 << 10, lossy(30.0, seed), adjust), &Trace::new()).exact)
            .count();
        assert!(given_up * 10 <= seeds.len(), "{given_up} of {} connections were given up", seeds.len());
    }
}

#[test]
fn a_handful_of_frames_is_enough_for_two_lanes() {
    // Shows pools of 64 frames under a window of thousands, half of the frames another lane's: exact, and all come home.
    for seed in seeds(10) {
        let case = Case { pool: 64, frames: 2873, ..case(200_000, rough(seed), |host| two_lanes(host, 2)) };
        assert!(transfer(&case, &Trace::new()).exact, "SIM_SEED={seed}");
    }
}

/// Echoes on some lanes, and opens connections on all that check their echo.
struct Node {
    /// Where the server is.
    server: SocketAddr,
    /// Lanes that listen.
    listens: Vec<u8>,
    /// Connections that each lane opens, one after the other.
    connects: u16,
    /// The ports they are opened from; `None`: any.
    from: Option<fn(u16) -> SocketAddr>,
    lanes: Vec<Share>,
}

/// What happened on one lane.
#[derive(Clone, Default, Debug)]
struct Share {
    started: bool,
    opened: u16,
    accepted: usize,
    echoed: usize,
    failed: usize,
    received: usize,
}

/// Bytes of each exchange: more than one segment.
const MESSAGE: usize = 4_000;

impl Node {
    fn server(lanes: &[u8]) -> Node {
        Node {
            server: server(),
            listens: lanes.to_vec(),
            connects: 0,
            from: None,
            lanes: vec![Share::default(); 2],
        }
    }

    fn client(connects: u16) -> Node {
        Node { server: server(), listens: Vec::new(), connects, from: None, lanes: vec![Share::default(); 2] }
    }

    fn step(&mut self, lane: &mut Lane) {
        let share = &mut self.lanes[usize::from(lane.id().0)];
        if !share.started {
            share.started = true;
            if self.listens.contains(&lane.id().0) {
                lane.submit(Op::listen_eager(self.server)).unwrap();
            }
        }
        if share.opened < self.connects && usize::from(share.opened) == share.echoed + share.failed {
            let connect = match self.from {
                Some(from) => Op::connect_from(from(share.opened), self.server),
                None => Op::connect(self.server),
            };
            share.opened += 1;
            lane.submit(connect).unwrap();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Accepted { .. } => share.accepted += 1,
                Event::Connected { stream, .. } => {
                    share.received = 0;
                    lane.submit(Op::receive(stream)).unwrap();
                    lane.submit(Op::send(stream, vec![lane.id().0; MESSAGE])).unwrap();
                }
                Event::Received { stream, data } if self.connects == 0 => {
                    lane.submit(Op::send(stream, data)).unwrap();
                }
                Event::Received { stream, data } => {
                    assert!(data.iter().all(|byte| *byte == lane.id().0), "another lane's bytes");
                    share.received += data.len();
                    if share.received == MESSAGE {
                        lane.submit(Op::close(stream)).unwrap();
                    }
                }
                Event::End { stream } => lane.submit(Op::close(stream)).unwrap(),
                Event::Closed { .. } if self.connects > 0 => share.echoed += 1,
                Event::Failed { .. } => share.failed += 1,
                _ => {}
            }
        }
    }

    fn sum(&self, figure: fn(&Share) -> usize) -> usize {
        self.lanes.iter().map(figure).sum()
    }
}

impl App for Node {
    fn run(&mut self, lane: &mut Lane) {
        self.step(lane);
    }

    fn run_beside(&mut self, lane: &mut Lane) {
        self.step(lane);
    }
}

fn table(reta: Vec<u16>) -> Arc<RssTable> {
    let types = RssTypes { tcp_ipv4: true, udp_ipv4: true, tcp_ipv6: true, udp_ipv6: true };
    Arc::new(RssTable::new(symmetric_key(40), reta, types).unwrap())
}

fn rss() -> Spread {
    Spread::Rss(table((0..128).map(|entry| entry % 2).collect()))
}

/// Run a client that opens 60 connections on each of two lanes against a server of two lanes, to the end.
fn exchange(hosts: [Host; 2], apps: [Node; 2]) -> World<Node> {
    let connections = 2 * usize::from(apps[1].connects);
    let mut world = World::under(hosts, apps, &clean(1), &Trace::new());
    let done = world.run_until(Instant(100 * SECOND), |apps| {
        apps[1].sum(|share| share.echoed + share.failed) == connections
    });
    assert!(done, "{:?} of {connections}", world.app(CLIENT).lanes);
    let limit = Instant(world.now().0 + 100 * SECOND);
    world.run_until(limit, |_| false);
    world
}

fn total(world: &World<Node>, host: HostId, figure: fn(&Report) -> u64) -> u64 {
    world.reports(host).iter().map(figure).sum()
}

fn assert_all_echoed(world: &World<Node>, connections: usize) {
    assert_eq!(world.app(CLIENT).sum(|share| share.echoed), connections, "{:?}", world.app(CLIENT).lanes);
    assert_eq!(world.app(CLIENT).sum(|share| share.failed), 0);
    for report in world.reports(SERVER).into_iter().chain(world.reports(CLIENT)) {
        assert_eq!((report.claims, report.flows, report.held_frames), (0, 0, 0), "{report}");
    }
}

#[test]
fn rss_brings_every_frame_to_its_lane() {
    // Shows that with the port's table known, connections are opened from ports whose replies come back, both lanes
    // accept their share, and no frame changes lanes.
    let hosts = [Host::new(1), Host::new(2)].map(|host| host.with_lanes(2, 2, rss()));
    let world = exchange(hosts, [Node::server(&[0, 1]), Node::client(60)]);
    assert_all_echoed(&world, 120);
    for host in [SERVER, CLIENT] {
        assert_eq!(total(&world, host, |report| report.counters.steered_in), 0);
        assert!(total(&world, host, |report| report.counters.rss_compared) > 240);
        assert_eq!(total(&world, host, |report| report.counters.rss_differed), 0);
    }
    let accepted: Vec<_> = world.app(SERVER).lanes.iter().map(|share| share.accepted).collect();
    assert!(accepted.iter().all(|count| *count >= 30), "{accepted:?}");
}

#[test]
fn rss_brings_every_frame_of_ipv6_to_its_lane() {
    // Shows the same over IPv6: but for neighbour discovery, which is every lane's, no frame changes lanes.
    let hosts = [Host::new(1), Host::new(2)].map(|host| host.over_ipv6().with_lanes(2, 2, rss()));
    let server = "[fd00::1]:9".parse().unwrap();
    let apps = [Node { server, ..Node::server(&[0, 1]) }, Node { server, ..Node::client(60) }];
    let world = exchange(hosts, apps);
    assert_all_echoed(&world, 120);
    for host in [SERVER, CLIENT] {
        assert_eq!(total(&world, host, |report| report.counters.steered_in), 0);
        assert!(total(&world, host, |report| report.counters.rss_compared) > 240);
        assert_eq!(total(&world, host, |report| report.counters.rss_differed), 0);
    }
    let accepted: Vec<_> = world.app(SERVER).lanes.iter().map(|share| share.accepted).collect();
    assert!(accepted.iter().all(|count| *count >= 30), "{accepted:?}");
}

#[test]
fn a_port_that_steers_otherwise_costs_time_and_no_connection() {
    // Shows a table that is not what the port does, a port that deals frames out by the dice, and one with a queue for
    // one lane only: the lanes bring the frames home themselves.
    let lies = |host: Host| {
        let mut host = host.with_lanes(2, 2, rss());
        host.config.interfaces[0].rss = Some(table(vec![1, 1, 0, 1]));
        host
    };
    let dice = |host: Host| host.with_lanes(2, 2, Spread::Random(3));
    let single = |host: Host| host.with_lanes(2, 1, Spread::Random(3));
    for adjust in [lies, dice, single] {
        let hosts = [Host::new(1), Host::new(2)].map(adjust);
        let world = exchange(hosts, [Node::server(&[0, 1]), Node::client(60)]);
        assert_all_echoed(&world, 120);
        assert!(total(&world, SERVER, |report| report.counters.steered_in) > 100);
        let accepted: Vec<_> = world.app(SERVER).lanes.iter().map(|share| share.accepted).collect();
        assert!(accepted.iter().all(|count| *count >= 25), "{accepted:?}");
    }
}

#[test]
fn one_lane_may_listen_for_all() {
    // Shows a server whose second lane alone listens: every connection reaches it, whichever its home.
    for spread in [rss(), Spread::Random(5)] {
        let hosts = [Host::new(1), Host::new(2)].map(|host| host.with_lanes(2, 2, spread.clone()));
        let world = exchange(hosts, [Node::server(&[1]), Node::client(20)]);
        assert_all_echoed(&world, 40);
        assert_eq!(world.app(SERVER).lanes[1].accepted, 40);
    }
}

#[test]
fn a_port_that_was_asked_for_is_used() {
    // Shows connections from ports that belong to the other lane as often as not: their replies come home.
    let mut client = Node::client(20);
    client.from = Some(|number| SocketAddr::from(([10, 0, 0, 2], 5_000 + number)));
    let mut hosts = [Host::new(1), Host::new(2)].map(|host| host.with_lanes(2, 2, rss()));
    hosts[1].config.lanes = 2;
    // One lane opens them: two lanes cannot know of each other's.
    client.connects = 20;
    client.lanes[1].opened = 20;
    client.lanes[1].echoed = 20;
    let world = exchange(hosts, [Node::server(&[0, 1]), client]);
    assert_all_echoed(&world, 40);
    assert!(total(&world, CLIENT, |report| report.counters.steered_in) > 20);
}

#[test]
fn lanes_stop_together() {
    // Shows that a lane with nothing left goes on handing frames over until the last has ended, and that all end in order.
    let hosts = [Host::new(1), Host::new(2)].map(|host| host.with_lanes(2, 2, Spread::Random(9)));
    let apps = [Node::server(&[0, 1]), Node::client(60)];
    let mut world = World::under(hosts, apps, &clean(1), &Trace::new());
    let begun = world.run_until(Instant(100 * SECOND), |apps| apps[1].sum(|share| share.echoed) >= 20);
    world.stop(SERVER);
    let limit = Instant(world.now().0 + 20 * SECOND);
    world.run_until(limit, |_| false);
    assert!(begun);
    for report in world.reports(SERVER) {
        let resets = report.counters.timeouts;
        assert_eq!(
            (report.sockets, report.flows, resets),
            (0, 0, 0),
            "lane {:?}: {report}",
            LaneId(report.lane.0)
        );
    }
}

/// A port that takes nothing once it is cut: DPDK's memif without its peer, a NIC without a link.
struct Cut {
    inner: Box<dyn Queue>,
    cut: Arc<AtomicBool>,
}

impl Queue for Cut {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.inner.receive(now, frames, max)
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        if self.cut.load(Ordering::Relaxed) { 0 } else { self.inner.transmit(now, frames) }
    }

    fn next_event(&self) -> Option<u64> {
        self.inner.next_event()
    }

    fn transmit_pool(&self) -> Option<(usize, usize)> {
        self.inner.transmit_pool()
    }
}

#[test]
fn lanes_stop_in_time_without_a_link() {
    // Shows a server that is told to stop while its port takes nothing: with one lane, with two, and with two of which
    // one sends by way of the other, all end within their time, and keep no frame.
    let shapes: [fn(Host) -> Host; 3] = [
        |host| host,
        |host| host.with_lanes(2, 2, Spread::Random(9)),
        |host| host.with_lanes(2, 1, Spread::Random(9)),
    ];
    for shape in shapes {
        let cut = Arc::new(AtomicBool::new(false));
        let hosts = [Host::new(1), Host::new(2)].map(shape);
        let apps = [Node::server(&[0, 1]), Node::client(60)];
        let mut world = World::pair(hosts, apps, |id, inner| {
            if id == CLIENT {
                return inner;
            }
            let inner = Box::new(Faulty::new(inner, &clean(1), Pool::heap(256, 2048)));
            Box::new(Cut { inner, cut: Arc::clone(&cut) })
        });
        assert!(world.run_until(Instant(100 * SECOND), |apps| apps[1].sum(|share| share.echoed) >= 20));
        cut.store(true, Ordering::Relaxed);
        // Long enough for answers that nobody takes.
        let limit = Instant(world.now().0 + SECOND);
        world.run_until(limit, |_| false);
        assert!(
            world.reports(SERVER).iter().any(|report| report.control.available < report.control.capacity)
        );
        world.stop(SERVER);
        let limit = Instant(world.now().0 + 6 * SECOND);
        world.run_until(limit, |_| false);
        assert_eq!(world.leftovers(SERVER, 0), "");
    }
}

/// Listens and connects on a lane by name, from every lane.
#[derive(Default)]
struct Named {
    asked: [bool; 2],
    answers: Vec<String>,
}

impl App for Named {
    fn run(&mut self, lane: &mut Lane) {
        if !core::mem::replace(&mut self.asked[usize::from(lane.id().0)], true) {
            lane.submit(Op::listen(server()).on(LaneId(1))).unwrap();
            lane.submit(Op::connect(server()).on(LaneId(0))).unwrap();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            let answer = match done.event {
                Event::Failed { error, .. } => format!("{error:?}"),
                Event::Listening { listener, .. } => {
                    format!("listens on {:?}", SocketId::from(listener).lane())
                }
                _ => continue,
            };
            self.answers.push(format!("{}: {answer}", lane.id().0));
        }
    }

    fn run_beside(&mut self, lane: &mut Lane) {
        self.run(lane);
    }
}

#[test]
fn a_lane_can_be_named() {
    // Shows that ops which name a lane are done there alone, that others say whose they are, and that sockets know
    // their lane. To connect to oneself is refused as such, on the lane that was named.
    let host = Host::new(1).with_lanes(2, 2, rss());
    let (near, _far) = drivers::soft::pipe(16, 1500);
    let mut world = World::of(vec![(host, Box::new(near))], vec![Named::default()]);
    world.run_until(Instant(10 * SECOND), |apps| apps[0].answers.len() == 4);
    let mut answers = world.app(World::<Named>::FIRST).answers.clone();
    answers.sort();
    assert_eq!(
        answers,
        [
            "0: AddressNotAvailable",
            "0: WrongLane(LaneId(1))",
            "1: WrongLane(LaneId(0))",
            "1: listens on LaneId(1)"
        ]
    );
}

/// Answers datagrams on both lanes, or asks from sockets with one peer and checks that each gets its own answers.
struct Asker {
    server: SocketAddr,
    /// Sockets of each lane; none: it answers.
    sockets: u16,
    /// The ports they have; `None`: any.
    from: Option<fn(u8, u16) -> SocketAddr>,
    /// Each lane has sockets that are bound to the other's ports.
    rivals: bool,
    started: [bool; 2],
    /// Of each lane: its sockets by number, their ports, and answers that each has had.
    asked: [Vec<(Udp, u16, u8)>; 2],
    bound: [usize; 2],
    began: [bool; 2],
    closed: usize,
    strays: usize,
}

/// Questions of each socket.
const QUESTIONS: u8 = 12;

/// What belongs to the sockets that are merely bound.
const RIVAL: Tag = Tag(u64::MAX);

impl Asker {
    fn new(server: &str, sockets: u16) -> Asker {
        Asker {
            server: server.parse().unwrap(),
            sockets,
            from: None,
            rivals: false,
            started: [false; 2],
            asked: [Vec::new(), Vec::new()],
            bound: [0; 2],
            began: [false; 2],
            closed: 0,
            strays: 0,
        }
    }

    fn open(&self, lane: &mut Lane, number: u16) {
        let op = match self.from {
            Some(from) => Op::connect_udp_from(from(lane.id().0, number), self.server),
            None => Op::connect_udp(self.server),
        };
        lane.submit(op.tag(Tag(number.into()))).unwrap();
    }

    fn step(&mut self, lane: &mut Lane) {
        let me = usize::from(lane.id().0);
        if !core::mem::replace(&mut self.started[me], true) {
            if self.sockets == 0 {
                lane.submit(Op::bind(self.server)).unwrap();
            }
            (0..self.sockets).for_each(|number| self.open(lane, number));
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Datagram { socket, from, data } if self.sockets == 0 => {
                    lane.submit(Op::send_to(socket, from, data)).unwrap();
                }
                Event::Datagram { .. } if done.tag == RIVAL => self.strays += 1,
                Event::Datagram { socket, data, .. } => {
                    let (own, port, answers) =
                        self.asked[me].iter_mut().find(|(own, ..)| *own == socket).unwrap();
                    assert_eq!(&data[..], question(me, *port), "another socket's");
                    *answers += 1;
                    if *answers < QUESTIONS {
                        lane.submit(Op::send_to_peer(*own, question(me, *port))).unwrap();
                    } else {
                        lane.submit(Op::close(*own)).unwrap();
                    }
                }
                Event::Bound { .. } if done.tag == RIVAL => self.bound[me] += 1,
                Event::Bound { socket, local, .. } if self.sockets > 0 => {
                    self.asked[me].push((socket, local.port(), 0));
                }
                // IPv6's addresses are ours a while after the start.
                Event::Failed { .. } => self.open(lane, done.tag.0 as u16),
                Event::Closed { .. } => self.closed += 1,
                _ => {}
            }
        }
        self.rival(lane, me);
    }

    /// Once all sockets are open and the other lane is bound to their ports: ask.
    fn rival(&mut self, lane: &mut Lane, me: usize) {
        let wanted = usize::from(self.sockets);
        let all = self.asked.each_ref().map(Vec::len) == [wanted; 2];
        if self.sockets == 0 || !all {
            return;
        }
        if self.rivals && self.bound[me] == 0 {
            self.bound[me] = 1;
            for (_, port, _) in &self.asked[1 - me] {
                let rival = Op::bind(SocketAddr::from(([10, 0, 0, 2], *port)));
                lane.submit(rival.tag(RIVAL)).unwrap();
            }
        }
        let ready = !self.rivals || self.bound == [1 + wanted; 2];
        if ready && !core::mem::replace(&mut self.began[me], true) {
            for (socket, port, _) in &self.asked[me] {
                lane.submit(Op::send_to_peer(*socket, question(me, *port))).unwrap();
            }
        }
    }
}

fn question(lane: usize, port: u16) -> Vec<u8> {
    vec![lane as u8, (port >> 8) as u8, port as u8]
}

impl App for Asker {
    fn run(&mut self, lane: &mut Lane) {
        self.step(lane);
    }

    fn run_beside(&mut self, lane: &mut Lane) {
        self.step(lane);
    }
}

/// Let every socket ask all it has to ask. Returns how many frames changed lanes on the asking host.
fn ask(hosts: [Host; 2], client: Asker) -> u64 {
    let (server, sockets) = (client.server.to_string(), usize::from(client.sockets) * 2);
    let mut world = World::under(hosts, [Asker::new(&server, 0), client], &clean(1), &Trace::new());
    let done = world.run_until(Instant(100 * SECOND), |apps: &[Asker]| apps[1].closed == sockets);
    let app = world.app(World::<Asker>::SECOND);
    assert!(done, "{} of {sockets} are done: {:?}", app.closed, app.asked);
    assert_eq!(app.strays, 0, "went to sockets that are merely bound");
    let limit = Instant(world.now().0 + SECOND);
    world.run_until(limit, |_| false);
    let reports = world.reports(World::<Asker>::SECOND);
    assert!(reports.iter().all(|report| report.claims == 0 && report.held_frames == 0));
    reports.iter().map(|report| report.counters.steered_in).sum()
}

/// A host that knows the other one's station: of many questions that wait for a neighbour most would be lost.
fn neighbour(number: u8) -> Host {
    let mut host = Host::new(number);
    let other = 3 - number;
    let mac = [2, 0, 0, 0, 0, other];
    let six: [u16; 8] = [0xfd00, 0, 0, 0, 0, 0, 0, other.into()];
    host.config.interfaces[0].neighbours = vec![([10, 0, 0, other].into(), mac), (six.into(), mac)];
    host
}

#[test]
fn answers_come_to_the_lane_that_asked() {
    // Shows sockets with one peer on two lanes, over both versions: with the port's table known, their ports are such that no
    // frame changes lanes; where the port deals frames out otherwise, they are brought home.
    for server in ["10.0.0.1:53", "[fd00::1]:53"] {
        let host = |number| {
            let host = neighbour(number);
            if server.starts_with('[') { host.over_ipv6() } else { host }
        };
        let by_rss = [host(1), host(2)].map(|host| host.with_lanes(2, 2, rss()));
        assert_eq!(ask(by_rss, Asker::new(server, 40)), 0);
        let lies = |host: Host| {
            let mut host = host.with_lanes(2, 2, rss());
            host.config.interfaces[0].rss = Some(table(vec![1, 1, 0, 1]));
            host
        };
        let dice = |host: Host| host.with_lanes(2, 2, Spread::Random(3));
        let single = |host: Host| host.with_lanes(2, 1, Spread::Random(3));
        for adjust in [lies, dice, single] {
            let steered = ask([host(1), host(2)].map(adjust), Asker::new(server, 40));
            assert!(steered > 100, "{steered} frames changed lanes");
        }
    }
}

#[test]
fn a_socket_with_a_peer_goes_before_one_that_is_bound_on_another_lane() {
    // Shows sockets with one peer whose ports are bound on the other lane as well, before or after their own draw, with frames
    // dealt out by the dice: every answer comes to the one that asked.
    let named =
        |lane: u8, number: u16| SocketAddr::from(([10, 0, 0, 2], 5_000 + 100 * u16::from(lane) + number));
    for from in [None, Some(named as fn(u8, u16) -> SocketAddr)] {
        for spread in [Spread::Random(11), rss()] {
            let hosts = [1, 2].map(|number| neighbour(number).with_lanes(2, 2, spread.clone()));
            ask(hosts, Asker { rivals: true, from, ..Asker::new("10.0.0.1:53", 20) });
        }
    }
}
