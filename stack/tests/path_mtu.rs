//! A router with a small MTU between simulated hosts: what it tells one lane, all lanes heed (RFC 1191).
#![allow(clippy::unwrap_used, reason = "tests state their expectations by panicking")]

use core::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use drivers::soft::{FaultSpec, Faults, Faulty, Spread};
use drivers::{Frame, Pool, Queue};
use stack::lane::Lane;
use stack::sim::{App, Host, HostId, World};
use stack::socket::{Event, Op, QueueId};
use stack::time::Instant;
use stack::wire::icmp::{self, Message, Unreachable};
use stack::wire::{Checksum, Fill, Protocol, ipv4};

const SECOND: u64 = 1_000_000_000;

const SERVER: HostId = World::<Node>::FIRST;
const CLIENT: HostId = World::<Node>::SECOND;

/// One side of a router: packets of the host here that are larger than the way beyond are answered by an error.
struct Narrow {
    queue: Box<dyn Queue>,
    mtu: Arc<AtomicUsize>,
    /// The router names the MTU that it wants.
    names: bool,
    pool: Pool,
    errors: Mutex<Vec<Frame>>,
    dropped: Arc<AtomicUsize>,
}

impl Narrow {
    fn error(&self, packet: &[u8]) -> Frame {
        let next_hop_mtu =
            if self.names { u16::try_from(self.mtu.load(Ordering::Relaxed)).unwrap() } else { 0 };
        let message =
            Message::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, next_hop_mtu };
        let quoted = &packet[14..14 + 28];
        let mut bytes = vec![0; 14 + ipv4::HEADER_LEN + icmp::HEADER_LEN];
        message.emit(&mut bytes[14 + ipv4::HEADER_LEN..], Fill::Full(Checksum::ZERO.with(quoted))).unwrap();
        let to = <[u8; 4]>::try_from(&packet[26..30]).unwrap();
        let header = ipv4::Header::new([10, 0, 0, 254].into(), to.into(), Protocol::ICMP, 64);
        header.emit(&mut bytes[14..], icmp::HEADER_LEN + quoted.len(), true).unwrap();
        bytes[..6].copy_from_slice(&packet[6..12]);
        bytes[6..12].copy_from_slice(&packet[..6]);
        bytes[12..14].copy_from_slice(&[8, 0]);
        bytes.extend_from_slice(quoted);
        let mut frame = self.pool.take().unwrap();
        frame.append(bytes.len()).unwrap().copy_from_slice(&bytes);
        frame
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
        let mtu = self.mtu.load(Ordering::Relaxed);
        let mut pass = Vec::new();
        for frame in frames.drain(..) {
            let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
            if bytes[12..14] != [8, 0] || bytes.len() - 14 <= mtu {
                pass.push(frame);
                continue;
            }
            assert!(bytes[20] & 0x40 != 0, "what is not to be fragmented says so");
            self.dropped.fetch_add(1, Ordering::Relaxed);
            let error = self.error(&bytes);
            self.errors.lock().unwrap().push(error);
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
}

const BYTES: usize = 60_000;

fn server() -> SocketAddr {
    "10.0.0.1:7".parse().unwrap()
}

impl Node {
    fn step(&mut self, lane: &mut Lane) {
        if !self.started.contains(&lane.id().0) {
            self.started.push(lane.id().0);
            if self.listens {
                lane.submit(Op::listen_eager(server())).unwrap();
            }
        }
        if !self.busy && self.turns.first() == Some(&lane.id().0) {
            self.turns.remove(0);
            self.busy = true;
            lane.submit(Op::connect(server())).unwrap();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, .. } => {
                    self.received = 0;
                    lane.submit(Op::receive(stream)).unwrap();
                    lane.submit(Op::send(stream, vec![9; BYTES])).unwrap();
                }
                Event::Received { stream, data } if self.listens => {
                    lane.submit(Op::send(stream, data)).unwrap()
                }
                Event::Received { stream, data } => {
                    assert!(data.iter().all(|byte| *byte == 9));
                    self.received += data.len();
                    if self.received == BYTES {
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

/// Two hosts of two lanes, and a router between them that takes `mtu` bytes. Its drops, of either's packets.
fn world(mtu: &Arc<AtomicUsize>, names: bool) -> (World<Node>, [Arc<AtomicUsize>; 2]) {
    let dropped = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let hosts = [1, 2].map(|number| Host::new(number).with_lanes(2, 2, Spread::Random(number.into())));
    let apps = [Node { listens: true, ..Node::default() }, Node::default()];
    let world = World::pair(hosts, apps, |id, queue| {
        let delay = FaultSpec::both(Faults { delay: 1_000_000, ..Faults::default() }, 1);
        let queue =
            if id == SERVER { Box::new(Faulty::new(queue, &delay, Pool::heap(256, 2048))) } else { queue };
        let dropped = Arc::clone(&dropped[usize::from(id != SERVER)]);
        let (pool, errors, mtu) = (Pool::heap(1024, 512), Mutex::default(), Arc::clone(mtu));
        Box::new(Narrow { queue, mtu, names, pool, errors, dropped })
    });
    (world, dropped)
}

/// Let the client's lanes talk in turn. Returns how many packets of the server's and the client's were too big.
fn talk(world: &mut World<Node>, dropped: &[Arc<AtomicUsize>; 2], turns: &[u8]) -> [usize; 2] {
    let before = dropped.each_ref().map(|count| count.load(Ordering::Relaxed));
    world.app_mut(CLIENT).turns = turns.to_vec();
    let wanted = world.app(CLIENT).done + turns.len();
    let limit = Instant(world.now().0 + 60 * SECOND);
    let done = world.run_until(limit, |apps| apps[1].done == wanted);
    assert!(done, "{}{}", world.report(SERVER), world.report(CLIENT));
    [0, 1].map(|at: usize| dropped[at].load(Ordering::Relaxed) - before[at])
}

#[test]
fn what_one_connection_learns_all_lanes_know() {
    // Shows that a connection whose packets are too big sends them again, smaller, without a time-out; that later ones
    // on either lane send none that is too big; and that ten minutes later they try again.
    for names in [true, false] {
        let mtu = Arc::new(AtomicUsize::new(1006));
        let (mut world, dropped) = world(&mtu, names);
        let first = talk(&mut world, &dropped, &[0]);
        assert!(first[0] > 0 && first[1] > 0, "{first:?}");
        assert_eq!(world.report(SERVER).counters.timeouts + world.report(CLIENT).counters.timeouts, 0);
        assert_eq!(talk(&mut world, &dropped, &[1, 0, 1, 0]), [0, 0], "named: {names}");
        world.run_until(Instant(world.now().0 + 601 * SECOND), |_| false);
        let again = talk(&mut world, &dropped, &[1]);
        assert!(again[0] > 0 && again[1] > 0, "{again:?}");
        assert_eq!(talk(&mut world, &dropped, &[0]), [0, 0], "named: {names}");
        world.run_until(Instant(world.now().0 + 200 * SECOND), |_| false);
        for report in world.reports(SERVER).into_iter().chain(world.reports(CLIENT)) {
            assert_eq!((report.flows, report.claims, report.held_frames), (0, 0, 0), "{report}");
        }
    }
}

#[test]
fn a_way_that_grows_narrower_twice_is_followed() {
    // Shows a second, smaller MTU after the first, and that a way which grows wider again changes nothing for a while.
    let mtu = Arc::new(AtomicUsize::new(1400));
    let (mut world, dropped) = world(&mtu, true);
    let first = talk(&mut world, &dropped, &[0]);
    mtu.store(600, Ordering::Relaxed);
    let second = talk(&mut world, &dropped, &[1]);
    assert!(first.iter().chain(&second).all(|count| *count > 0), "{first:?} {second:?}");
    mtu.store(1500, Ordering::Relaxed);
    let sent = |world: &World<Node>| world.report(CLIENT).counters.segments_sent;
    let before = sent(&world);
    assert_eq!(talk(&mut world, &dropped, &[0]), [0, 0]);
    assert!(sent(&world) - before > BYTES as u64 / 560, "segments are as small as they were");
}
