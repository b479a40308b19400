//! Whole connections between two engines in virtual time.

use core::net::SocketAddr;

use crate::lane::Lane;
use crate::sim::{App, Client, ClientOptions, Echo, Either, Host, Outcome, World};
use crate::socket::{Event, Op, QueueId};
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
