//! Whole hosts whose pools have no frame at a chosen moment: whichever one it is that cannot be had, every byte arrives
//! or the connection ends with a reason, and every frame comes home.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by panicking")]

use core::net::SocketAddr;

use drivers::soft::Shortage;
use stack::lane::Lane;
use stack::sim::{App, Client, ClientOptions, Echo, Host, HostId, Outcome, World};
use stack::socket::QueueId;
use stack::time::Instant;

const SECOND: u64 = 1_000_000_000;

/// Between two clients. Units: nanoseconds.
const PAUSE: u64 = 1_000_000;

/// A server, or clients one after the other.
enum Node {
    Server(Echo),
    Clients { waiting: Vec<Client>, outcomes: Vec<Outcome>, pause: Option<Instant> },
}

impl App for Node {
    fn run(&mut self, lane: &mut Lane) {
        match self {
            Node::Server(echo) => echo.run(lane),
            Node::Clients { waiting, outcomes, pause } => {
                if pause.is_some_and(|until| lane.now() < until) {
                    // Answers to what the one before asked last, when its connection was over already.
                    while lane.take(QueueId::MAIN).is_some() {}
                    return;
                }
                *pause = None;
                let Some(client) = waiting.last_mut() else { return };
                client.run(lane);
                if let Some(outcome) = client.outcome {
                    outcomes.push(outcome);
                    waiting.pop();
                    *pause = (!waiting.is_empty()).then(|| Instant(lane.now().0 + PAUSE));
                }
            }
        }
    }

    fn next_event(&self) -> Option<Instant> {
        match self {
            Node::Clients { pause, .. } => *pause,
            Node::Server(_) => None,
        }
    }
}

impl Node {
    fn outcomes(&self) -> &[Outcome] {
        match self {
            Node::Server(_) => &[],
            Node::Clients { outcomes, .. } => outcomes,
        }
    }
}

const SERVER: HostId = World::<Node>::FIRST;
const CLIENT: HostId = World::<Node>::SECOND;

/// Three connections: a short one, one with `bytes` there and back, one with a byte. `side`'s pools refuse what `shortage`
/// says. Returns how they went.
///
/// Panics: a byte was wrong, a connection never ended, or something was not given back.
fn exchange(side: HostId, shortage: &Shortage, bytes: u64, context: &str) -> Vec<Outcome> {
    let server: SocketAddr = "10.0.0.1:9".parse().unwrap();
    let client = |bytes, chunk| Client::new(ClientOptions { to: server, bytes, chunk, window: 64 });
    let apps = [
        Node::Server(Echo::new(server)),
        Node::Clients {
            waiting: vec![client(1, 1), client(bytes, 4_000), client(1_000, 100)],
            outcomes: Vec::new(),
            pause: None,
        },
    ];
    let host = |id, number| {
        let shortage = (id == side).then(|| shortage.clone());
        Host { receive_frames: 512, shortage, ..Host::new(number) }
    };
    let mut world = World::pair([host(SERVER, 1), host(CLIENT, 2)], apps, |_, queue| queue);
    let done = world.run_until(Instant(5_000 * SECOND), |apps| apps[1].outcomes().len() == 3);
    let outcomes = world.app(CLIENT).outcomes().to_vec();
    assert!(done && !outcomes.contains(&Outcome::Wrong), "{context}: {outcomes:?}\n{}", world.report(side));
    if outcomes.iter().all(|outcome| *outcome == Outcome::Done) {
        // Whoever gave up may have left a peer behind that was told nothing, and has nothing to ask.
        world.run_until(Instant(world.now().0 + 1_000 * SECOND), |_| false);
        for (host, sockets) in [(SERVER, 1), (CLIENT, 0)] {
            assert_eq!(world.leftovers(host, sockets), "", "{context}: {host:?}\n{}", world.report(host));
        }
    }
    world.stop(SERVER);
    world.stop(CLIENT);
    world.run_until(Instant(world.now().0 + 100 * SECOND), |_| false);
    for host in [SERVER, CLIENT] {
        assert_eq!(world.leftovers(host, 0), "", "{context}, stopped: {host:?}\n{}", world.report(host));
    }
    outcomes
}

/// How many takes are tried each by itself, and how many bytes make as many.
fn extent() -> (u64, u64) {
    if std::env::var_os("CORELANE_FULL").is_some() { (10_000, 8_000_000) } else { (500, 400_000) }
}

/// Each of the first 500 takes, and beyond them every fourth.
fn takes(most: u64) -> impl Iterator<Item = u64> {
    (1..=most).filter(|number| *number <= 500 || number % 4 == 0)
}

fn every_take_fails_once(side: HostId) {
    let (most, bytes) = extent();
    let none = Shortage::new(0, 0);
    assert_eq!(exchange(side, &none, bytes, "no shortage"), [Outcome::Done; 3]);
    assert!(none.takes() >= most, "only {} takes: the run is too short for the test", none.takes());
    for number in takes(most) {
        let outcomes = exchange(side, &Shortage::new(number, 1), bytes, &format!("take {number}"));
        assert_eq!(outcomes, [Outcome::Done; 3], "take {number}");
    }
}

#[test]
fn each_frame_of_the_server_cannot_be_had_once() {
    // Shows connects, transfers both ways and closes while the server's n-th take finds nothing, for each n: all whole.
    every_take_fails_once(SERVER);
}

#[test]
fn each_frame_of_the_client_cannot_be_had_once() {
    // Shows the same of the client's.
    every_take_fails_once(CLIENT);
}

#[test]
fn several_frames_in_a_row_cannot_be_had() {
    // Shows the same where 2, 5, 20 or 300 takes in a row find nothing, from each n on and on either side: whole, or ended
    // with a reason.
    let (most, bytes) = extent();
    let mut whole = 0;
    let mut runs = 0;
    for number in takes(most).step_by(3) {
        for side in [SERVER, CLIENT] {
            let count = [2, 5, 20, 300][(number / 3 % 4) as usize];
            let context = format!("takes {number} and {count} on");
            let outcomes = exchange(side, &Shortage::new(number, count), bytes, &context);
            whole += u32::from(outcomes == [Outcome::Done; 3]);
            runs += 1;
        }
    }
    println!("{whole} of {runs} whole");
    assert!(whole * 10 >= runs * 7, "{whole} of {runs} whole");
}
