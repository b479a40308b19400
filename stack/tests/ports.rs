//! Hosts with several ports in virtual time: each answers from its own address, by its own port, on any lane; and
//! addresses and routes that come and go.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

use core::net::SocketAddr;
use std::sync::{Arc, Mutex};

use drivers::soft::{FaultSpec, Faults, Faulty, Spread, pipe};
use drivers::{Frame, Pool, Queue, RssTable, RssTypes, symmetric_key};
use stack::config::{Address, Gateway};
use stack::lane::Lane;
use stack::sim::{App, Host, HostId, World};
use stack::socket::{Event, LaneId, NetworkChange, Op, OpError, QueueId, Reason, SocketId, Stream, Tag};
use stack::time::Instant;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

const SERVER: HostId = World::<Node>::FIRST;
const CLIENT: HostId = World::<Node>::SECOND;

/// What crosses one wire, as the server's end sees it: addresses of IP packets, and whether it is up.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Tap>>);

#[derive(Default)]
struct Tap {
    down: bool,
    /// Source and destination of each packet out, and of each in.
    out: Vec<(String, String)>,
    inward: Vec<(String, String)>,
    /// Addresses that were announced.
    announced: Vec<String>,
}

fn ends_of(frame: &Frame) -> Option<(String, String)> {
    let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
    let ip =
        |at: usize| core::net::Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap()).to_string();
    (bytes[12..14] == [8, 0]).then(|| (ip(26), ip(30)))
}

/// The address that a gratuitous ARP request is about.
fn announced_in(frame: &Frame) -> Option<String> {
    let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
    let address = core::net::Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[28..32]).unwrap());
    (bytes[12..14] == [8, 6] && bytes[28..32] == bytes[38..42]).then(|| address.to_string())
}

struct Watched {
    queue: Box<dyn Queue>,
    seen: Seen,
}

impl Queue for Watched {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let before = frames.len();
        self.queue.receive(now, frames, max);
        let mut tap = self.seen.0.lock().unwrap();
        if tap.down {
            frames.truncate(before);
        }
        tap.inward.extend(frames[before..].iter().filter_map(ends_of));
        frames.len() - before
    }

    /// A port that is down takes nothing at all, as a NIC whose ring is full.
    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let mut tap = self.seen.0.lock().unwrap();
        if tap.down {
            return 0;
        }
        tap.out.extend(frames.iter().filter_map(ends_of));
        tap.announced.extend(frames.iter().filter_map(announced_in));
        self.queue.transmit(now, frames)
    }

    fn next_event(&self) -> Option<u64> {
        self.queue.next_event()
    }
}

/// Echoes, or sends messages to addresses and counts what comes back from each.
#[derive(Default)]
struct Node {
    listens: bool,
    /// Whom lane zero talks to: where to, from where, and messages.
    talks: Vec<Talk>,
    started: Vec<u8>,
    failed: usize,
    /// What lane zero is to change.
    changes: Vec<NetworkChange>,
    changed: Vec<Result<(), OpError>>,
    /// How connections ended.
    ended: Vec<Reason>,
}

#[derive(Clone)]
struct Talk {
    to: SocketAddr,
    from: Option<SocketAddr>,
    messages: usize,
    stream: Option<Stream>,
    local: Option<SocketAddr>,
    received: usize,
    closed: bool,
}

const MESSAGE: usize = 5_000;

const CHANGE: Tag = Tag(99);

impl Talk {
    fn new(to: &str, messages: usize) -> Talk {
        let to = to.parse().unwrap();
        Talk { to, from: None, messages, stream: None, local: None, received: 0, closed: false }
    }

    fn from(from: &str, to: &str, messages: usize) -> Talk {
        Talk { from: Some(from.parse().unwrap()), ..Talk::new(to, messages) }
    }
}

impl Node {
    fn server() -> Node {
        Node { listens: true, ..Node::default() }
    }

    fn client(talks: Vec<Talk>) -> Node {
        Node { talks, ..Node::default() }
    }

    fn done(&self) -> bool {
        self.talks.iter().all(|talk| talk.closed)
    }

    fn talk(&mut self, stream: Stream) -> &mut Talk {
        self.talks.iter_mut().find(|talk| talk.stream == Some(stream)).unwrap()
    }

    fn step(&mut self, lane: &mut Lane) {
        if !self.started.contains(&lane.id().0) {
            self.started.push(lane.id().0);
            if self.listens {
                lane.submit(Op::listen_eager("0.0.0.0:7".parse().unwrap())).unwrap();
            }
        }
        if lane.id() == LaneId(0) {
            for change in self.changes.drain(..) {
                lane.submit(Op::configure(change).tag(CHANGE)).unwrap();
            }
        }
        let waiting = self.talks.iter().position(|talk| talk.stream.is_none() && talk.local.is_none());
        if let Some(at) = waiting.filter(|at| at % self.started.len().max(1) == usize::from(lane.id().0)) {
            let talk = &mut self.talks[at];
            talk.local = Some(talk.to);
            lane.submit(match talk.from {
                Some(from) => Op::connect_from(from, talk.to).tag(Tag(at as u64)),
                None => Op::connect(talk.to).tag(Tag(at as u64)),
            })
            .unwrap();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, local } => {
                    let talk = &mut self.talks[done.tag.0 as usize];
                    (talk.stream, talk.local) = (Some(stream), Some(local));
                    lane.submit(Op::receive(stream)).unwrap();
                    lane.submit(Op::send(stream, vec![7; MESSAGE])).unwrap();
                }
                Event::Received { stream, data } if self.listens => {
                    lane.submit(Op::send(stream, data)).unwrap()
                }
                Event::Received { stream, data } => {
                    let talk = self.talk(stream);
                    let before = talk.received / MESSAGE;
                    talk.received += data.len();
                    if talk.received == MESSAGE * talk.messages {
                        lane.submit(Op::close(stream)).unwrap();
                    } else if talk.received / MESSAGE > before {
                        lane.submit(Op::send(stream, vec![7; MESSAGE])).unwrap();
                    }
                }
                Event::End { stream } => lane.submit(Op::close(stream)).unwrap(),
                Event::Configured => self.changed.push(Ok(())),
                Event::Failed { error, .. } if done.tag == CHANGE => self.changed.push(Err(error)),
                Event::Closed { reason, .. } if self.listens => self.ended.push(reason),
                Event::Closed { socket, .. } => {
                    let talk = self
                        .talks
                        .iter_mut()
                        .find(|talk| talk.stream.is_some_and(|stream| SocketId::from(stream) == socket));
                    talk.unwrap().closed = true;
                }
                Event::Failed { .. } => self.failed += 1,
                _ => {}
            }
        }
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

/// A server and a client with two wires between them, and what crosses each.
fn world(hosts: [Host; 2], client: Node) -> (World<Node>, [Seen; 2]) {
    let seen = [Seen::default(), Seen::default()];
    let (mut near, mut far) = (Vec::<Box<dyn Queue>>::new(), Vec::<Box<dyn Queue>>::new());
    for seen in &seen {
        let (a, b) = pipe(4096, 1500);
        near.push(Box::new(Watched { queue: Box::new(a), seen: seen.clone() }));
        // A millisecond each way, so that things happen one after the other.
        let delay = FaultSpec::both(Faults { delay: 1_000_000, ..Faults::default() }, 1);
        far.push(Box::new(Faulty::new(Box::new(b), &delay, Pool::heap(256, 2048))));
    }
    let [server, talker] = hosts;
    (World::wired(vec![(server, near), (talker, far)], vec![Node::server(), client]), seen)
}

fn two_ports(number: u8) -> Host {
    Host::new(number).with_port(1, number)
}

fn settle(world: &mut World<Node>) {
    let done = world.run_until(Instant(world.now().0 + 60 * SECOND), |apps| apps[1].done());
    let got: Vec<usize> = world.app(CLIENT).talks.iter().map(|talk| talk.received).collect();
    assert!(done, "{got:?}\n{}{}", world.report(SERVER), world.report(CLIENT));
    world.run_until(Instant(world.now().0 + 200 * SECOND), |_| false);
}

fn assert_clean(world: &World<Node>, sockets: usize) {
    assert_eq!(world.leftovers(CLIENT, 0), "");
    assert_eq!(world.leftovers(SERVER, sockets), "");
}

#[test]
fn each_subnet_has_its_port() {
    // Shows a connection over each of two ports: each answered from the address that was asked, by its own wire alone.
    let client = Node::client(vec![Talk::new("10.0.0.1:7", 5), Talk::new("10.0.1.1:7", 5)]);
    let (mut world, seen) = world([two_ports(1), two_ports(2)], client);
    settle(&mut world);
    for (net, seen) in seen.iter().enumerate() {
        let tap = seen.0.lock().unwrap();
        assert!(tap.out.len() > 10, "{} packets", tap.out.len());
        let ours = (format!("10.0.{net}.1"), format!("10.0.{net}.2"));
        assert!(tap.out.iter().all(|ends| *ends == ours), "{:?}", tap.out);
    }
    let locals: Vec<String> =
        world.app(CLIENT).talks.iter().map(|talk| talk.local.unwrap().ip().to_string()).collect();
    assert_eq!(locals, ["10.0.0.2", "10.0.1.2"]);
    assert_clean(&world, 1);
}

#[test]
fn one_port_that_is_down_leaves_the_other_alone() {
    // Shows a port that takes nothing for ten seconds while the other goes on, and that its connection then ends well.
    let client = Node::client(vec![Talk::new("10.0.0.1:7", 400), Talk::new("10.0.1.1:7", 400)]);
    let (mut world, seen) = world([two_ports(1), two_ports(2)], client);
    let received = |apps: &[Node], at: usize| apps[1].talks[at].received;
    world.run_until(Instant(SECOND), |apps| {
        received(apps, 0) > 10 * MESSAGE && received(apps, 1) > 10 * MESSAGE
    });
    seen[0].0.lock().unwrap().down = true;
    let stood = world.app(CLIENT).talks[0].received;
    let went = world.run_until(Instant(10 * SECOND), |apps| apps[1].talks[1].closed);
    assert!(went, "{}", world.report(SERVER));
    world.run_until(Instant(10 * SECOND), |_| false);
    assert!(
        world.app(CLIENT).talks[0].received <= stood + 40 * MESSAGE && !world.app(CLIENT).talks[0].closed
    );
    seen[0].0.lock().unwrap().down = false;
    settle(&mut world);
    assert_clean(&world, 1);
}

#[test]
fn what_is_on_no_subnet_goes_by_the_gateway() {
    // Shows a host far away that is behind the second port's gateway: asked on that port's address, the server answers
    // by that port and that gateway, and never by the other.
    let mut hosts = [two_ports(1), two_ports(2)];
    let far = Address { ip: "192.168.9.9".parse().unwrap(), prefix: 32 };
    // The client is its own router: the gateway's address and the one behind it are both its own.
    hosts[1].config.interfaces[1].addresses.push(far);
    let everything = Address { ip: "0.0.0.0".parse().unwrap(), prefix: 0 };
    hosts[0].config.interfaces[1].gateways =
        vec![Gateway { destination: everything, gateway: "10.0.1.2".parse().unwrap() }];
    let client = Node::client(vec![Talk::from("192.168.9.9:0", "10.0.1.1:7", 5), Talk::new("10.0.0.1:7", 5)]);
    let (mut world, seen) = world(hosts, client);
    // Its packets leave by the wire to the subnet it talks to.
    settle(&mut world);
    let tap = seen[1].0.lock().unwrap();
    assert!(
        tap.out.iter().all(|ends| *ends == ("10.0.1.1".to_owned(), "192.168.9.9".to_owned())),
        "{:?}",
        tap.out
    );
    assert!(seen[0].0.lock().unwrap().out.iter().all(|(_, to)| to == "10.0.0.2"));
    drop(tap);
    assert_clean(&world, 1);
}

#[test]
fn each_answer_leaves_by_the_port_of_its_address() {
    // Shows two gateways, one behind each port, and a host behind both: it asks either address and is answered by that
    // address's port, so that no router sees half a conversation.
    let mut hosts = [two_ports(1), two_ports(2)];
    let everything = Address { ip: "0.0.0.0".parse().unwrap(), prefix: 0 };
    for (net, interface) in hosts[0].config.interfaces.iter_mut().enumerate() {
        let gateway = format!("10.0.{net}.2").parse().unwrap();
        interface.gateways = vec![Gateway { destination: everything, gateway }];
    }
    for (net, interface) in hosts[1].config.interfaces.iter_mut().enumerate() {
        interface.addresses.push(Address { ip: format!("192.168.{net}.9").parse().unwrap(), prefix: 32 });
    }
    let client = Node::client(vec![
        Talk::from("192.168.0.9:0", "10.0.0.1:7", 5),
        Talk::from("192.168.1.9:0", "10.0.1.1:7", 5),
    ]);
    let (mut world, seen) = world(hosts, client);
    settle(&mut world);
    for (net, seen) in seen.iter().enumerate() {
        let tap = seen.0.lock().unwrap();
        let ends = (format!("10.0.{net}.1"), format!("192.168.{net}.9"));
        assert!(tap.out.len() > 10 && tap.out.iter().all(|seen| *seen == ends), "{:?}", tap.out);
    }
    assert_clean(&world, 1);
}

fn rss() -> Spread {
    let types = RssTypes { tcp_ipv4: true, ..RssTypes::default() };
    let reta = (0..128).map(|entry| entry % 2).collect();
    Spread::Rss(Arc::new(RssTable::new(symmetric_key(40), reta, types).unwrap()))
}

/// Two lanes, on two ports that steer by RSS, or by the dice, and a queue for each lane or only for one.
fn two_lanes(number: u8, spreads: [Spread; 2], queues: [u16; 2]) -> Host {
    let [first, second] = spreads;
    let mut host = Host::new(number).with_lanes(2, queues[0], first).with_port(1, number);
    if let Spread::Rss(table) = &second {
        host.config.interfaces[1].rss = Some(Arc::clone(table));
    }
    host.more[0].spread = second;
    host.more[0].queues = queues[1];
    host
}

#[test]
fn two_lanes_share_two_ports() {
    // Shows connections from both lanes over both ports, where both steer, where one does, where none does, and where
    // one lane has no queue on one of them: every byte comes back, and with RSS on both no frame changes lanes.
    let dice = |seed| Spread::Random(seed);
    let talks: Vec<Talk> = (0..20).map(|n| Talk::new(["10.0.0.1:7", "10.0.1.1:7"][n / 2 % 2], 3)).collect();
    for (spreads, queues, steered) in [
        ([rss(), rss()], [2, 2], Some(0)),
        ([rss(), dice(1)], [2, 2], None),
        ([dice(1), dice(2)], [2, 2], None),
        ([rss(), dice(3)], [2, 1], None),
        ([dice(4), dice(5)], [1, 1], None),
    ] {
        let hosts = [1, 2].map(|number| two_lanes(number, spreads.clone(), queues));
        let (mut world, _) = world(hosts, Node::client(talks.clone()));
        settle(&mut world);
        let reports = world.reports(SERVER);
        let accepted: Vec<u64> = reports.iter().map(|report| report.counters.accepted).collect();
        assert!(accepted.iter().all(|count| *count >= 3), "{accepted:?} with {spreads:?} {queues:?}");
        let moved: u64 = reports.iter().map(|report| report.counters.steered_in).sum();
        assert!(steered.map_or(moved > 0, |steered| moved == steered), "{moved} with {spreads:?} {queues:?}");
        assert_eq!(world.leftovers(CLIENT, 0), "", "{spreads:?} {queues:?}");
        assert!(reports.iter().all(|report| (report.claims, report.flows, report.sockets) == (0, 0, 1)));
    }
}

#[test]
fn arp_is_answered_for_an_interfaces_own_addresses_alone() {
    // Shows that a packet to the other port's address is taken, as by hosts that are weak in receiving, though nobody
    // is told by ARP that it could be sent there.
    let mut hosts = [two_ports(1), two_ports(2)];
    // The client takes the first wire for the way to 10.0.1.1, and has nothing on the second.
    hosts[1].config.interfaces[1].addresses = vec![Address { ip: "10.0.7.2".parse().unwrap(), prefix: 24 }];
    let beyond = Address { ip: "10.0.1.0".parse().unwrap(), prefix: 24 };
    hosts[1].config.interfaces[0].gateways =
        vec![Gateway { destination: beyond, gateway: "10.0.0.1".parse().unwrap() }];
    let (mut world, seen) = world(hosts, Node::client(vec![Talk::new("10.0.1.1:7", 3)]));
    settle(&mut world);
    assert!(seen[0].0.lock().unwrap().inward.iter().all(|ends| ends.1 == "10.0.1.1"));
    // Asked for directly, it is nobody's on the first wire.
    let mut hosts = [two_ports(1), two_ports(2)];
    hosts[1].config.interfaces[1].addresses = vec![Address { ip: "10.0.7.2".parse().unwrap(), prefix: 24 }];
    hosts[1].config.interfaces[0].addresses.push(Address { ip: "10.0.1.2".parse().unwrap(), prefix: 24 });
    let (mut world, seen) = self::world(hosts, Node::client(vec![Talk::new("10.0.1.1:7", 1)]));
    let failed = world.run_until(Instant(60 * SECOND), |apps| apps[1].failed > 0);
    assert!(failed && seen[0].0.lock().unwrap().inward.is_empty());
}

fn address(text: &str) -> Address {
    let (ip, prefix) = text.split_once('/').unwrap();
    Address { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

/// Let the server's first lane change something, and everything settle for so long.
fn change(world: &mut World<Node>, change: NetworkChange, seconds: u64) -> Result<(), OpError> {
    world.app_mut(SERVER).changes.push(change);
    world.run_until(Instant(world.now().0 + 1_000_000), |_| false);
    world.run_until(Instant(world.now().0 + seconds * SECOND), |_| false);
    world.app_mut(SERVER).changed.pop().unwrap()
}

#[test]
fn an_address_comes_and_goes() {
    // Shows an address that two lanes take at run time and announce once; its connections on both lanes, reset when it
    // goes while others go on; nobody there without it; and the same listener answering once it is back.
    let dice = || [Spread::Random(7), Spread::Random(8)];
    let mut hosts = [1, 2].map(|number| two_lanes(number, dice(), [2, 2]));
    hosts[1].config.interfaces[1].addresses.push(address("10.0.5.2/24"));
    let both: Vec<Talk> = (0..12).map(|n| Talk::new(["10.0.5.1:7", "10.0.0.1:7"][n / 2 % 2], 400)).collect();
    let (mut world, seen) = world(hosts, Node::default());
    let (its, ip) = (address("10.0.5.1/24"), "10.0.5.1".parse().unwrap());
    let add = NetworkChange::AddAddress { address: its, interface: 1 };
    assert_eq!(change(&mut world, add, 1), Ok(()));
    let announced = |net: usize| {
        let tap = seen[net].0.lock().unwrap();
        tap.announced.iter().filter(|address| *address == "10.0.5.1").count()
    };
    assert_eq!((announced(0), announced(1)), (0, 1));
    world.app_mut(CLIENT).talks = both;
    world.run_until(Instant(world.now().0 + SECOND), |apps| {
        apps[1].talks.iter().all(|talk| talk.received > 2 * MESSAGE)
    });
    assert_eq!(world.report(SERVER).flows, 12);
    let gone = NetworkChange::RemoveAddress { address: ip };
    world.app_mut(SERVER).changes.push(gone);
    world.run_until(Instant(world.now().0 + 50_000_000), |_| false);
    assert_eq!(world.app_mut(SERVER).changed.pop(), Some(Ok(())));
    let closed: Vec<bool> = world.app(CLIENT).talks.iter().map(|talk| talk.closed).collect();
    assert_eq!(closed, [true, true, false, false].repeat(3));
    assert_eq!(world.app(SERVER).ended, [Reason::AddressGone; 6]);
    // Which lane has which is the ports' to say, and each connect takes another.
    let flows: Vec<usize> = world.reports(SERVER).iter().map(|report| report.flows).collect();
    assert!(flows.iter().sum::<usize>() == 6 && flows.iter().all(|count| *count > 0), "{flows:?}");
    // Nobody is there now: neither by ARP nor with the station known.
    world.app_mut(CLIENT).talks.push(Talk::new("10.0.5.1:7", 1));
    let failed = world.run_until(Instant(world.now().0 + 400 * SECOND), |apps| apps[1].failed > 0);
    assert!(failed, "{}", world.report(CLIENT));
    assert_eq!(change(&mut world, add, 1), Ok(()));
    assert_eq!(announced(1), 2);
    world.app_mut(CLIENT).talks.retain(|talk| talk.stream.is_some());
    world.app_mut(CLIENT).talks.extend([Talk::new("10.0.5.1:7", 3), Talk::new("10.0.5.1:7", 3)]);
    settle(&mut world);
    // Nothing is left of what the address's connections had claimed elsewhere.
    for report in world.reports(SERVER).into_iter().chain(world.reports(CLIENT)) {
        assert_eq!((report.claims, report.flows, report.half_open), (0, 0, 0), "{report}");
    }
}

#[test]
fn changes_that_cannot_be_are_refused() {
    // Shows the error of each, that nothing has changed then, and that routes come and go.
    let (mut world, _) = world([two_lanes(1, [rss(), rss()], [2, 2]), two_ports(2)], Node::default());
    let ours = |text| NetworkChange::AddAddress { address: address(text), interface: 0 };
    let far = NetworkChange::AddAddress { address: address("10.0.6.1/24"), interface: 2 };
    let unknown = NetworkChange::RemoveAddress { address: "10.0.6.1".parse().unwrap() };
    let way = |text, gateway: &str| {
        NetworkChange::AddRoute(Gateway { destination: address(text), gateway: gateway.parse().unwrap() })
    };
    for (asked, error) in [
        (ours("10.0.1.1/24"), OpError::AddressInUse),
        (ours("224.0.0.1/24"), OpError::AddressNotAvailable),
        (ours("10.0.6.1/33"), OpError::AddressNotAvailable),
        (ours("ff02::1/64"), OpError::AddressNotAvailable),
        (far, OpError::Unreachable),
        (unknown, OpError::AddressNotAvailable),
        (way("0.0.0.0/0", "10.0.9.9"), OpError::Unreachable),
        (way("0.0.0.0/0", "10.0.0.1"), OpError::AddressNotAvailable),
        (NetworkChange::RemoveRoute { destination: address("0.0.0.0/0") }, OpError::Unreachable),
    ] {
        assert_eq!(change(&mut world, asked, 1), Err(error), "{asked:?}");
    }
    assert_eq!(change(&mut world, way("192.168.0.0/16", "10.0.1.2"), 1), Ok(()));
    let route = NetworkChange::RemoveRoute { destination: address("192.168.0.0/16") };
    assert_eq!(change(&mut world, route, 1), Ok(()));
    assert_eq!(change(&mut world, route, 1), Err(OpError::Unreachable));
}
