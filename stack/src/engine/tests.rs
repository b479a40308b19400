//! Whole connections between two engines in virtual time.

use core::net::SocketAddr;

use crate::counters::Counters;
use crate::lane::Lane;
use crate::sim::{App, Client, ClientOptions, Echo, Either, Host, Outcome, World};
use crate::socket::{Event, Op, QueueId, Stream};
use crate::time::Instant;

fn server() -> SocketAddr {
    "10.0.0.1:7".parse().unwrap()
}

fn world(bytes: u64, chunk: usize) -> World<Either> {
    let options = ClientOptions { to: server(), bytes, chunk, window: 16 };
    let apps = [Either::Echo(Echo::new(server())), Either::Client(Client::new(options))];
    World::pair([Host::new(1), Host::new(2)], apps, |_, queue| queue)
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn bytes_go_there_and_back() {
    // Shows a whole connection over a clean wire: open, echo, half-close, close, TIME_WAIT, and every count back.
    for (bytes, chunk) in
        [(0, 1), (1, 1), (31, 31), (64, 64), (10_000, 7), (1_000_000, 1_000), (5_000_000, 262_144)]
    {
        let mut world = world(bytes, chunk);
        let done = world.run_until(Instant(60 * SECOND), |apps| apps[1].client().outcome.is_some());
        let report = world.report(World::<Either>::SECOND);
        assert!(done, "{bytes} bytes: {:?}\n{report}", world.app(World::<Either>::SECOND));
        assert_eq!(world.app(World::<Either>::SECOND).client().outcome, Some(Outcome::Done), "{bytes} bytes");
        assert_eq!(
            report.counters.retransmits,
            0,
            "{bytes} bytes:\n{report}{}",
            world.report(World::<Either>::FIRST)
        );
        world.run_until(Instant(world.now().0 + 120 * SECOND), |_| false);
        for host in [World::<Either>::FIRST, World::<Either>::SECOND] {
            let report = world.report(host);
            let left = (
                report.flows,
                report.half_open,
                report.time_wait,
                report.held_frames,
                report.cells,
                report.lent,
            );
            assert_eq!(left, (0, 0, 0, 0, 0, 0), "{bytes} bytes:\n{report}");
            for pool in [report.receive, report.control, report.attach] {
                assert_eq!(pool.available, pool.capacity, "{bytes} bytes:\n{report}");
            }
            let counters = &report.counters;
            assert_eq!(counters.received_frames, counters.consumed_frames + counters.dropped(), "{report}");
        }
    }
}

/// Opens connections to an address, one after the other, and closes each as soon as it is open.
struct Opener {
    to: SocketAddr,
    left: u32,
}

impl App for Opener {
    fn run(&mut self, lane: &mut Lane) {
        let mut next = lane.report().sockets == 0 && self.left == CONNECTIONS;
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Connected { stream, .. } => lane.submit(Op::close(stream)).unwrap(),
                Event::Closed { .. } => next = true,
                event => panic!("{event:?}"),
            }
        }
        if next && self.left > 0 {
            self.left -= 1;
            lane.submit(Op::connect(self.to)).unwrap();
        }
    }
}

const CONNECTIONS: u32 = 500;

enum Side {
    Server(Echo),
    Client(Opener),
}

impl App for Side {
    fn run(&mut self, lane: &mut Lane) {
        match self {
            Side::Server(echo) => echo.run(lane),
            Side::Client(opener) => opener.run(lane),
        }
    }
}

#[test]
fn connections_leave_their_promises_to_the_next() {
    // Shows that the wheel's promises are bounded by slots, not by connections: hundreds of them, one after the other
    // within a second of virtual time, leave no more than a handful behind.
    let apps = [Side::Server(Echo::new(server())), Side::Client(Opener { to: server(), left: CONNECTIONS })];
    let mut world = World::pair([Host::new(1), Host::new(2)], apps, |_, queue| queue);
    world.run_until(Instant(SECOND), |_| false);
    for host in [World::<Side>::FIRST, World::<Side>::SECOND] {
        let report = world.report(host);
        assert!(report.counters.closed >= u64::from(CONNECTIONS) && report.timers < 16, "{report}");
    }
}

/// Flows that ask at once.
const ASKERS: usize = 5;

/// Asks on every connection in one turn, or answers what came in one turn in an order of its own.
enum Order {
    Asker { open: Vec<Stream>, answers: Vec<(Stream, Vec<u8>)>, asks: bool },
    Answerer { order: &'static [usize], streams: Vec<Stream>, asked: usize },
}

impl App for Order {
    fn run(&mut self, lane: &mut Lane) {
        match self {
            Order::Asker { open, answers, asks } => {
                while let Some(done) = lane.take(QueueId::MAIN) {
                    match done.event {
                        Event::Connected { stream, .. } => {
                            lane.submit(Op::receive(stream)).unwrap();
                            open.push(stream);
                        }
                        Event::Received { stream, data } => answers.push((stream, data.to_vec())),
                        event => panic!("{event:?}"),
                    }
                }
                if core::mem::take(asks) {
                    for (number, stream) in (0..).zip(open) {
                        lane.submit(Op::send(*stream, vec![number])).unwrap();
                    }
                }
            }
            Order::Answerer { order, streams, asked } => {
                while let Some(done) = lane.take(QueueId::MAIN) {
                    match done.event {
                        Event::Accepted { stream, .. } => lane.submit(Op::receive(stream)).unwrap(),
                        Event::Received { stream, data } => {
                            let number = usize::from(data[0]);
                            streams.resize(streams.len().max(number + 1), stream);
                            streams[number] = stream;
                            *asked += 1;
                        }
                        Event::Listening { .. } => {}
                        event => panic!("{event:?}"),
                    }
                }
                if *asked == ASKERS {
                    *asked = 0;
                    for (turn, number) in (0..).zip(*order) {
                        let payload = vec![u8::try_from(*number).unwrap(), turn];
                        lane.submit(Op::send(streams[*number], payload)).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn answers_go_in_any_order_and_in_as_few_segments_as_before() {
    // Shows of answers in the order of the questions, in others, two for one question side by side and apart, and some
    // missing: each comes whole and once, those that are side by side share a segment, and none needs an acknowledgement of its
    // own.
    let cases: [(&[usize], u64); 6] = [
        (&[0, 1, 2, 3, 4], 5),
        (&[4, 3, 2, 1, 0], 5),
        (&[2, 0, 4, 1, 3], 5),
        (&[0, 0, 1, 2, 2, 2, 3, 4], 5),
        (&[0, 1, 0, 2, 3, 4, 3], 7),
        (&[1, 3], 2),
    ];
    for (order, segments) in cases {
        let apps = [
            Order::Answerer { order, streams: Vec::new(), asked: 0 },
            Order::Asker { open: Vec::new(), answers: Vec::new(), asks: false },
        ];
        let mut world = World::pair([Host::new(1), Host::new(2)], apps, |_, queue| queue);
        let (first, second) = (World::<Order>::FIRST, World::<Order>::SECOND);
        world.lane(first).submit(Op::listen(server())).unwrap();
        for _ in 0..ASKERS {
            world.lane(second).submit(Op::connect(server())).unwrap();
        }
        // Soon enough for nothing to be idle.
        world.run_until(Instant(SECOND / 100), |_| false);
        let before = world.report(first).counters;
        let Order::Asker { asks, .. } = world.app_mut(second) else { panic!("it asks") };
        *asks = true;
        world.run_until(Instant(2 * SECOND), |_| false);
        let after = world.report(first).counters;
        let data = |counters: &Counters| counters.segments_sent - counters.pure_acks_sent;
        assert_eq!(data(&after) - data(&before), segments, "{order:?}");
        let silent = (0..ASKERS).filter(|number| !order.contains(number)).count() as u64;
        assert_eq!(after.pure_acks_sent - before.pure_acks_sent, silent, "{order:?}");
        let Order::Asker { open, answers, .. } = world.app(second) else { panic!("it asks") };
        for (number, stream) in open.iter().enumerate() {
            let its = answers.iter().filter(|(of, _)| of == stream);
            let got: Vec<u8> = its.flat_map(|(_, bytes)| bytes.clone()).collect();
            let sent = (0..).zip(order).filter(|(_, of)| **of == number);
            let wanted: Vec<u8> = sent.flat_map(|(turn, _)| [u8::try_from(number).unwrap(), turn]).collect();
            assert_eq!(got, wanted, "connection {number} of {order:?}");
        }
    }
}
