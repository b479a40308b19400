//! Whole connections between two engines in virtual time.

use core::net::SocketAddr;

use crate::sim::{Client, ClientOptions, Echo, Either, Host, Outcome, World};
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
