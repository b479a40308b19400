//! A router with a small MTU between simulated hosts: what it tells one lane, all lanes heed (RFC 1191, RFC 8201); and
//! what it does not tell, connections find out (RFC 4821).
#![allow(clippy::unwrap_used, reason = "tests state their expectations by panicking")]

use core::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use drivers::soft::{FaultSpec, Faults, Faulty, Spread};
use drivers::{Frame, Pool, Queue};
use stack::config::MtuProbing;
use stack::ip::fragment::{Plan, Span};
use stack::lane::Lane;
use stack::sim::{App, Host, HostId, World};
use stack::socket::{Event, Op, QueueId};
use stack::time::Instant;
use stack::wire::icmp::{self, Message, Unreachable};
use stack::wire::{Checksum, Fill, Protocol, icmpv6, ipv4, ipv6};

const SECOND: u64 = 1_000_000_000;

const SERVER: HostId = World::<Node>::FIRST;
const CLIENT: HostId = World::<Node>::SECOND;

/// What a router says of a packet that is too big.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Which MTU it wants.
    Mtu,
    /// That it was too big (RFC 792's message, before RFC 1191).
    TooBig,
    /// Nothing.
    Nothing,
}

/// What a router does, and what it has seen.
struct Router {
    mtu: AtomicUsize,
    says: Says,
    /// Packets that were too big, of the server and the client, and fragments made of them.
    dropped: [AtomicUsize; 2],
    cut: AtomicUsize,
    /// The largest packet that has passed.
    largest: AtomicUsize,
}

/// One side of a router: packets of the host here that are larger than the way beyond are cut, if they may be, or else
/// answered by an error.
struct Narrow {
    queue: Box<dyn Queue>,
    router: Arc<Router>,
    side: usize,
    pool: Pool,
    errors: Mutex<Vec<Frame>>,
}

impl Narrow {
    fn frame(&self, packet: &[u8], kind: [u8; 2], ip: &[u8]) -> Frame {
        let mut frame = self.pool.take().unwrap();
        let mut bytes = packet[..12].to_vec();
        bytes.extend_from_slice(&kind);
        bytes.extend_from_slice(ip);
        frame.append(bytes.len()).unwrap().copy_from_slice(&bytes);
        frame
    }

    fn error(&self, packet: &[u8]) -> Frame {
        let mtu = u16::try_from(self.router.mtu.load(Ordering::Relaxed)).unwrap();
        let mut back = packet[6..12].to_vec();
        back.extend_from_slice(&packet[..6]);
        if packet[12..14] == [0x86, 0xdd] {
            let from = core::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 254);
            let to = core::net::Ipv6Addr::from(<[u8; 16]>::try_from(&packet[22..38]).unwrap());
            let quoted = &packet[14..14 + 600];
            let mut ip = vec![0; ipv6::HEADER_LEN + icmpv6::HEADER_LEN];
            let len = icmpv6::HEADER_LEN + quoted.len();
            let sum =
                Checksum::pseudo(from.into(), to.into(), Protocol::ICMPV6.0, u16::try_from(len).unwrap());
            let mut sum = sum.unwrap();
            sum.append(Checksum::ZERO.with(quoted));
            let message = icmpv6::Message::PacketTooBig { mtu: mtu.into() };
            message.emit(&mut ip[ipv6::HEADER_LEN..], Fill::Full(sum)).unwrap();
            ipv6::Header::new(from, to, Protocol::ICMPV6, 64).emit(&mut ip, len).unwrap();
            ip.extend_from_slice(quoted);
            return self.frame(&back, [0x86, 0xdd], &ip);
        }
        let next_hop_mtu = if self.router.says == Says::Mtu { mtu } else { 0 };
        let message =
            Message::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, next_hop_mtu };
        let quoted = &packet[14..14 + 28];
        let mut ip = vec![0; ipv4::HEADER_LEN + icmp::HEADER_LEN];
        message.emit(&mut ip[ipv4::HEADER_LEN..], Fill::Full(Checksum::ZERO.with(quoted))).unwrap();
        let to = <[u8; 4]>::try_from(&packet[26..30]).unwrap();
        let header = ipv4::Header::new([10, 0, 0, 254].into(), to.into(), Protocol::ICMP, 64);
        header.emit(&mut ip, icmp::HEADER_LEN + quoted.len(), true).unwrap();
        ip.extend_from_slice(quoted);
        self.frame(&back, [8, 0], &ip)
    }

    /// The fragments of a packet that may be cut.
    fn pieces(&self, packet: &[u8], mtu: usize) -> Vec<Frame> {
        let (header, range) = ipv4::parse(&packet[14..], true).unwrap();
        let payload = &packet[14..][range];
        let plan = Plan::new(payload.len(), u16::try_from(mtu).unwrap()).unwrap();
        plan.map(|Span { offset, len, more }| {
            let header = ipv4::Header { fragment_offset: offset, more_fragments: more, ..header };
            let mut ip = vec![0; ipv4::HEADER_LEN];
            header.emit(&mut ip, len.into(), true).unwrap();
            ip.extend_from_slice(&payload[usize::from(offset)..][..usize::from(len)]);
            self.frame(packet, [8, 0], &ip)
        })
        .collect()
    }
}

impl Queue for Narrow {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut errors = self.errors.lock().unwrap();
        let count = errors.len().min(max);
        frames.extend(errors.drain(..count));
        count + self.queue.receive(now, frames, max - count)
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let sent = frames.len();
        let mtu = self.router.mtu.load(Ordering::Relaxed);
        let mut pass = Vec::new();
        for frame in frames.drain(..) {
            let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
            let kind = [bytes[12], bytes[13]];
            if kind == [8, 6] || bytes.len() - 14 <= mtu {
                self.router.largest.fetch_max(bytes.len() - 14, Ordering::Relaxed);
                pass.push(frame);
                continue;
            }
            if kind == [8, 0] && bytes[20] & 0x40 == 0 {
                let pieces = self.pieces(&bytes, mtu);
                self.router.cut.fetch_add(pieces.len(), Ordering::Relaxed);
                pass.extend(pieces);
                continue;
            }
            self.router.dropped[self.side].fetch_add(1, Ordering::Relaxed);
            if self.router.says != Says::Nothing {
                let error = self.error(&bytes);
                self.errors.lock().unwrap().push(error);
            }
        }
        self.queue.transmit(now, &mut pass);
        assert!(pass.is_empty(), "the wire takes all");
        sent
    }

    fn next_event(&self) -> Option<u64> {
        let waiting = (!self.errors.lock().unwrap().is_empty()).then_some(0);
        waiting.or(self.queue.next_event())
    }
}

/// Echoes on every lane; or sends so many bytes over a connection of each lane, one after the other, and takes them back.
#[derive(Default)]
struct Node {
    listens: bool,
    started: Vec<u8>,
    /// Lanes to connect from, next first.
    turns: Vec<u8>,
    busy: bool,
    received: usize,
    done: usize,
    over_ipv6: bool,
    /// Bytes to send, if not as many as usual.
    bytes: usize,
}

const BYTES: usize = 60_000;

/// Enough for a search to come to its end.
const LONG_BYTES: usize = 4_000_000;

fn server(over_ipv6: bool) -> SocketAddr {
    if over_ipv6 { "[fd00::1]:7".parse().unwrap() } else { "10.0.0.1:7".parse().unwrap() }
}

impl Node {
    fn wanted(&self) -> usize {
        if self.bytes > 0 { self.bytes } else { BYTES }
    }

    fn step(&mut self, lane: &mut Lane) {
        if !self.started.contains(&lane.id().0) {
            self.started.push(lane.id().0);
            if self.listens {
                lane.submit(Op::listen_eager(server(self.over_ipv6))).unwrap();
            }
        }
        if !self.busy && self.turns.first() == Some(&lane.id().0) {
            self.turns.remove(0);
            self.busy = true;
            lane.submit(Op::connect(server(self.over_ipv6))).unwrap();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, .. } => {
                    self.received = 0;
                    lane.submit(Op::receive(stream)).unwrap();
                    lane.submit(Op::send(stream, vec![9; self.wanted()])).unwrap();
                }
                Event::Received { stream, data } if self.listens => {
                    lane.submit(Op::send(stream, data)).unwrap()
                }
                Event::Received { stream, data } => {
                    assert!(data.iter().all(|byte| *byte == 9));
                    self.received += data.len();
                    if self.received == self.wanted() {
                        lane.submit(Op::close(stream)).unwrap();
                    }
                }
                Event::End { stream } => lane.submit(Op::close(stream)).unwrap(),
                Event::Closed { .. } if !self.listens => {
                    self.busy = false;
                    self.done += 1;
                }
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

/// Two hosts of two lanes, adjusted, and a router between them that takes `mtu` bytes.
fn world_of(mtu: usize, says: Says, over_ipv6: bool, adjust: fn(&mut Host)) -> (World<Node>, Arc<Router>) {
    world_on(2, mtu, says, over_ipv6, adjust)
}

/// The same of hosts with so many lanes. Lanes that frames are dealt out to at random reorder them, which makes some
/// probes tell of nothing.
fn world_on(
    lanes: u8,
    mtu: usize,
    says: Says,
    over_ipv6: bool,
    adjust: fn(&mut Host),
) -> (World<Node>, Arc<Router>) {
    let router = Arc::new(Router {
        mtu: AtomicUsize::new(mtu),
        says,
        dropped: [AtomicUsize::new(0), AtomicUsize::new(0)],
        cut: AtomicUsize::new(0),
        largest: AtomicUsize::new(0),
    });
    let hosts = [1, 2].map(|number| {
        let host = Host::new(number);
        let mut host = if over_ipv6 { host.over_ipv6() } else { host };
        adjust(&mut host);
        host.with_lanes(lanes, lanes.into(), Spread::Random(number.into()))
    });
    let apps = [Node { listens: true, over_ipv6, ..Node::default() }, Node { over_ipv6, ..Node::default() }];
    let between = Arc::clone(&router);
    let world = World::pair(hosts, apps, move |id, queue| {
        let delay = FaultSpec::both(Faults { delay: 1_000_000, ..Faults::default() }, 1);
        let queue =
            if id == SERVER { Box::new(Faulty::new(queue, &delay, Pool::heap(256, 2048))) } else { queue };
        let (router, side) = (Arc::clone(&between), usize::from(id != SERVER));
        Box::new(Narrow { queue, router, side, pool: Pool::heap(1024, 1024), errors: Mutex::default() })
    });
    (world, router)
}

fn world(mtu: usize, says: Says) -> (World<Node>, Arc<Router>) {
    world_of(mtu, says, false, |_| {})
}

/// Let the client's lanes talk in turn. Returns how many packets of the server's and the client's were too big.
fn talk(world: &mut World<Node>, router: &Router, turns: &[u8]) -> [usize; 2] {
    let before = router.dropped.each_ref().map(|count| count.load(Ordering::Relaxed));
    router.largest.store(0, Ordering::Relaxed);
    world.app_mut(CLIENT).turns = turns.to_vec();
    let wanted = world.app(CLIENT).done + turns.len();
    let limit = Instant(world.now().0 + 300 * SECOND);
    let done = world.run_until(limit, |apps| apps[1].done == wanted);
    assert!(done, "{}{}", world.report(SERVER), world.report(CLIENT));
    [0, 1].map(|at: usize| router.dropped[at].load(Ordering::Relaxed) - before[at])
}

fn timeouts(world: &World<Node>) -> u64 {
    world.report(SERVER).counters.timeouts + world.report(CLIENT).counters.timeouts
}

#[test]
fn what_one_connection_learns_all_lanes_know() {
    // Shows that a connection whose packets are too big sends them again, smaller, without a time-out; that later ones
    // on either lane send none that is too big; and that ten minutes later they try again.
    for says in [Says::Mtu, Says::TooBig] {
        let names = says == Says::Mtu;
        let (mut world, router) = world(1006, says);
        let first = talk(&mut world, &router, &[0]);
        assert!(first[0] > 0 && first[1] > 0, "{first:?}");
        assert_eq!(timeouts(&world), 0);
        assert_eq!(talk(&mut world, &router, &[1, 0, 1, 0]), [0, 0], "named: {names}");
        world.run_until(Instant(world.now().0 + 601 * SECOND), |_| false);
        let again = talk(&mut world, &router, &[1]);
        assert!(again[0] > 0 && again[1] > 0, "{again:?}");
        assert_eq!(talk(&mut world, &router, &[0]), [0, 0], "named: {names}");
        world.run_until(Instant(world.now().0 + 200 * SECOND), |_| false);
        for report in world.reports(SERVER).into_iter().chain(world.reports(CLIENT)) {
            assert_eq!((report.flows, report.claims, report.held_frames), (0, 0, 0), "{report}");
        }
    }
}

#[test]
fn a_way_that_grows_narrower_twice_is_followed() {
    // Shows a second, smaller MTU after the first, and that a way which grows wider again changes nothing for a while.
    let (mut world, router) = world(1400, Says::Mtu);
    let first = talk(&mut world, &router, &[0]);
    router.mtu.store(600, Ordering::Relaxed);
    let second = talk(&mut world, &router, &[1]);
    assert!(first.iter().chain(&second).all(|count| *count > 0), "{first:?} {second:?}");
    router.mtu.store(1500, Ordering::Relaxed);
    let sent = |world: &World<Node>| world.report(CLIENT).counters.segments_sent;
    let before = sent(&world);
    assert_eq!(talk(&mut world, &router, &[0]), [0, 0]);
    assert!(sent(&world) - before > BYTES as u64 / 560, "segments are as small as they were");
}

#[test]
fn a_black_hole_is_found_and_told() {
    // Shows that full segments which vanish without a word become smaller after three timeouts, that probes then find
    // what passes, and that later connections of either lane lose none; and that all of it is for want of a word: told
    // to leave the size alone, a connection gets nowhere.
    //= https://www.rfc-editor.org/rfc/rfc4821#section-7.7
    //= type=test
    //# If there is a full-stop timeout and there was not an ICMP message
    //# indicating a reason (PTB, Net unreachable, etc., or the ICMP message
    //# was ignored for some reason), the RECOMMENDED first recovery action
    let (mut world, router) = world(1400, Says::Nothing);
    let first = talk(&mut world, &router, &[0]);
    assert!(first[0] > 0 && first[1] > 0, "{first:?}");
    assert!((3..=10).contains(&timeouts(&world)), "{}", timeouts(&world));
    let largest = router.largest.load(Ordering::Relaxed);
    assert!((1064..=1400).contains(&largest), "{largest}");
    let before = timeouts(&world);
    assert_eq!(talk(&mut world, &router, &[1, 0, 1]), [0, 0]);
    assert_eq!(timeouts(&world), before);
    let (mut world, _) =
        world_of(1400, Says::Nothing, false, |host| host.config.tcp.mtu_probing = MtuProbing::Off);
    world.app_mut(CLIENT).turns = vec![0];
    assert!(!world.run_until(Instant(60 * SECOND), |apps| apps[1].done == 1));
}

#[test]
fn probes_rise_towards_what_passes() {
    // Shows that within one transfer of a few megabytes, which lasts seconds, probes come more than half of the way from
    // what passes everywhere to what passes here, however they began; that one alone finds a way which takes all; and
    // that a search from the start needs no timeout.
    for (probing, mtu) in
        [(MtuProbing::BlackHole, 1400), (MtuProbing::Always, 1333), (MtuProbing::Always, 1500)]
    {
        let (mut world, router) = match probing {
            MtuProbing::Always => world_on(1, mtu, Says::Nothing, false, |host| {
                host.config.tcp.mtu_probing = MtuProbing::Always;
            }),
            _ => world_on(1, mtu, Says::Nothing, false, |_| {}),
        };
        world.app_mut(SERVER).bytes = LONG_BYTES;
        world.app_mut(CLIENT).bytes = LONG_BYTES;
        talk(&mut world, &router, &[0]);
        let largest = router.largest.load(Ordering::Relaxed);
        let least = if mtu == 1500 { 1500 } else { 1064 + (mtu - 1064) / 2 };
        assert!((least..=mtu).contains(&largest), "{largest} of {mtu}");
        if probing == MtuProbing::Always {
            assert_eq!(timeouts(&world), 0);
        }
    }
}

#[test]
fn a_way_that_was_down_gets_full_segments_again() {
    // Shows that a silence of everything makes segments smaller in vain, and that the first probe behind it finds so:
    // the transfer ends with full segments, and those of the next connection are full at once.
    let (mut world, router) = world_on(1, 1500, Says::Nothing, false, |_| {});
    world.app_mut(SERVER).bytes = LONG_BYTES;
    world.app_mut(CLIENT).bytes = LONG_BYTES;
    world.app_mut(CLIENT).turns = vec![0];
    world.run_until(Instant(SECOND / 50), |_| false);
    router.mtu.store(0, Ordering::Relaxed);
    world.run_until(Instant(4 * SECOND), |_| false);
    router.mtu.store(1500, Ordering::Relaxed);
    router.largest.store(0, Ordering::Relaxed);
    assert!(world.run_until(Instant(60 * SECOND), |apps| apps[1].done == 1));
    assert_eq!(router.largest.load(Ordering::Relaxed), 1500);
    let sent = |world: &World<Node>| world.report(CLIENT).counters.segments_sent;
    let before = sent(&world);
    assert_eq!(talk(&mut world, &router, &[0]), [0, 0]);
    assert_eq!(router.largest.load(Ordering::Relaxed), 1500);
    assert!(sent(&world) - before < 2 * LONG_BYTES as u64 / 1448, "no segment is as small as before");
}

#[test]
fn ways_below_the_least_work() {
    // Shows that a way which asks for less than we believe gets packets that may be cut, of 552 bytes, without a
    // timeout; and that one which says nothing is found by ever smaller segments.
    let (mut world, router) = world(296, Says::Mtu);
    let first = talk(&mut world, &router, &[0]);
    assert!(first[0] > 0 && first[1] > 0, "{first:?}");
    assert_eq!(timeouts(&world), 0);
    let cut = router.cut.load(Ordering::Relaxed);
    assert!(cut > 2 * BYTES / 512, "{cut}");
    assert_eq!(talk(&mut world, &router, &[1, 0]), [0, 0]);
    let (mut silent, router) = self::world(296, Says::Nothing);
    talk(&mut silent, &router, &[0]);
    assert_eq!(router.cut.load(Ordering::Relaxed), 0);
}

#[test]
fn routers_of_ipv6_are_heeded() {
    // Shows the same of IPv6: smaller segments without a timeout, on all lanes; a message that asks for less than 1,280
    // bytes discarded, so that there is no way at all; and that a silent router is found.
    //= https://www.rfc-editor.org/rfc/rfc8201#section-4
    //= type=test
    //# If a node receives a Packet Too Big message reporting a next-hop MTU
    //# that is less than the IPv6 minimum link MTU, it must discard it.
    let (mut world, router) = world_of(1300, Says::Mtu, true, |_| {});
    let first = talk(&mut world, &router, &[0]);
    assert!(first[0] > 0 && first[1] > 0, "{first:?}");
    assert_eq!(timeouts(&world), 0);
    assert_eq!(talk(&mut world, &router, &[1, 0, 1]), [0, 0]);
    let (mut silent, router) = world_of(1280, Says::Nothing, true, |_| {});
    talk(&mut silent, &router, &[0]);
    assert_eq!(talk(&mut silent, &router, &[1, 0]), [0, 0]);
    let (mut below, _) = world_of(1279, Says::Mtu, true, |_| {});
    below.app_mut(CLIENT).turns = vec![0];
    assert!(!below.run_until(Instant(60 * SECOND), |apps| apps[1].done == 1));
}
