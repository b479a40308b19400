//! Whole hosts as a seed makes them, with everything at once: every fault of the network, links that go down, frames cut
//! short or dealt to the wrong lane, small pools, pools that refuse, both versions of IP, every setting of TCP, half
//! closes, urgent data, resets, time-outs. `SIM_SEED` runs one seed and shows its frames.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

#[path = "worlds/dice.rs"]
mod dice;
#[path = "worlds/network.rs"]
mod network;
#[path = "worlds/party.rs"]
mod party;

use core::net::SocketAddr;

use drivers::Pool;
use drivers::soft::Faulty;
use stack::sim::{Trace, Traced, World};
use stack::socket::Reason;
use stack::time::Instant;

use self::dice::Dice;
use self::network::Rough;
use self::party::{Ended, PLAN_BYTES, Party, Plan};

const SECOND: u64 = 1_000_000_000;

/// Until when everything must have ended. With R2 at 15 retransmissions and at most two minutes between them, a side
/// that is left alone needs a quarter of an hour, and a connect three minutes; connections come one after the other.
const LIMIT: u64 = 20_000 * SECOND;

/// Seeds of a run: in turn for two tests, which run beside each other.
fn seeds(part: u64) -> Vec<u64> {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed: u64 = seed.parse().expect("SIM_SEED is a number");
        return vec![seed].into_iter().filter(|seed| seed % 2 == part).collect();
    }
    let count = if std::env::var_os("CORELANE_FULL").is_some() { 10_000 } else { 200 };
    (1..=count).filter(|seed| seed % 2 == part).collect()
}

fn plan(dice: &mut Dice, id: u8) -> Plan {
    let bytes = |dice: &mut Dice| dice.of(&[0_u32, 1, 500, 5_000, 40_000]) + dice.below(3_000) as u32;
    Plan {
        id,
        up: PLAN_BYTES + bytes(dice),
        down: bytes(dice),
        both_ways: dice.is(50),
        client_first: dice.is(50),
        client_aborts: dice.is(10),
        server_aborts: dice.is(10),
        urgent: dice.is(20),
        hold_ms: if dice.is(20) { dice.below(200) as u16 } else { 0 },
        user_timeout_ms: if dice.is(20) { 1_000 + dice.below(20_000) as u16 } else { 0 },
        chunk: dice.of(&[1_u16, 100, 1_460, 4_000]),
    }
}

/// How a seed's connections went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Tally {
    hash: u64,
    done: u32,
    /// As its plan said, by either side.
    aborted: u32,
    given_up: u32,
    never: u32,
}

/// Run the world of a seed, and see that every byte and every count is right.
fn run(seed: u64, trace: &Trace) -> Tally {
    let mut dice = Dice::new(seed);
    let ipv6 = dice.is(40);
    let hosts = [network::host(&mut dice, 1, ipv6), network::host(&mut dice, 2, ipv6)];
    let server = SocketAddr::new(hosts[0].config.interfaces[0].addresses[0].ip, 9);
    let plans: Vec<Plan> = (0..1 + dice.below(5) as u8).map(|id| plan(&mut dice, id)).collect();
    let apps = [Party::server(server), Party::client(server, plans.clone(), 1 + dice.below(4) as usize)];
    let spec = network::network(&mut dice, seed);
    let (outages, cut) = (network::outages(&mut dice), dice.of(&[0, 0, 2]));
    let mut world = World::pair(hosts, apps, |id, queue| {
        let first = id == World::<Party>::FIRST;
        let queue = match first {
            true => Box::new(Faulty::new(queue, &spec, Pool::heap(256, 2048))) as Box<_>,
            false => queue,
        };
        let dice = Dice::new(dice.next());
        let queue = Box::new(Rough { queue, outages: outages.clone(), cut, dice });
        Box::new(Traced::new(queue, if first { 1 } else { 2 }, trace.clone()))
    });
    let context = || format!("SIM_SEED={seed} under {spec}, {plans:?}, ipv6 {ipv6}, {outages:?}");
    let ended = world.run_until(Instant(LIMIT), |apps| apps.iter().all(Party::is_idle));
    let hosts = [World::<Party>::FIRST, World::<Party>::SECOND];
    let reports = || hosts.map(|host| world.report(host).to_string()).concat();
    for host in hosts {
        assert_eq!(world.app(host).wrong, None, "{}\n{}", context(), trace.text());
    }
    assert!(ended, "stuck: {}\n{}\n{}", context(), reports(), trace.text());
    let mut tally = Tally::default();
    for plan in &plans {
        let client = world.app(hosts[1]).ended.get(&plan.id).copied();
        let server = world.app(hosts[0]).ended.get(&plan.id).copied();
        count(&mut tally, plan, client, server, &context);
    }
    world.run_until(Instant(world.now().0 + 1_000 * SECOND), |_| false);
    for (host, sockets) in [(hosts[0], 1), (hosts[1], 0)] {
        let left = world.leftovers(host, sockets);
        assert_eq!(left, "", "{host:?}: {}\n{}", context(), world.report(host));
    }
    hosts.iter().for_each(|host| world.stop(*host));
    world.run_until(Instant(world.now().0 + 100 * SECOND), |_| false);
    for host in hosts {
        let left = world.leftovers(host, 0);
        assert_eq!(left, "", "stopped, {host:?}: {}\n{}", context(), world.report(host));
    }
    tally.hash = trace.hash();
    tally
}

/// Judge how a connection went.
fn count(
    tally: &mut Tally,
    plan: &Plan,
    client: Option<Ended>,
    server: Option<Ended>,
    context: &dyn Fn() -> String,
) {
    let whole = |ended: Ended, bytes: u32| ended.end && ended.received == u64::from(bytes);
    let may_abort = plan.client_aborts || plan.server_aborts;
    let Some(client) = client else { panic!("a connection of the client's has no end: {}", context()) };
    match client.reason {
        None => tally.never += 1,
        Some(Reason::Done) => {
            tally.done += 1;
            // An abort that comes when TCP is done already takes back what was not handed out yet.
            assert!(whole(client, plan.down) || plan.client_aborts, "{client:?} of {plan:?}: {}", context());
            let server = server.unwrap_or_else(|| panic!("{plan:?} never came: {}", context()));
            // The client's end says that the server's TCP has all; whether its application was told in time, a reset of
            // its own may have decided.
            assert!(whole(server, plan.up) || may_abort, "{server:?} of {plan:?}: {}", context());
        }
        Some(Reason::Aborted) if plan.client_aborts => tally.aborted += 1,
        Some(Reason::Reset) if plan.server_aborts => tally.aborted += 1,
        // Whoever gives up resets, and what it held back may be a reset's cause.
        Some(Reason::TimedOut | Reason::Reset) => tally.given_up += 1,
        other => panic!("ended by {other:?}: {plan:?}: {}", context()),
    }
    if let Some(Ended { reason: Some(Reason::Done), .. }) = server {
        let server = server.unwrap_or(client);
        assert!(whole(server, plan.up) || plan.server_aborts, "{server:?} of {plan:?}: {}", context());
    }
}

fn every_seed(part: u64) {
    let lines = if std::env::var_os("SIM_SEED").is_some() { 4_000 } else { 0 };
    let mut sum = Tally::default();
    let seeds = seeds(part);
    for &seed in &seeds {
        let tally = run(seed, &Trace::with_text(lines));
        // A tenth is enough to see that nothing but the seed decides; all where there is time.
        if seed % 10 <= 1 || seeds.len() > 1_000 {
            assert_eq!(tally, run(seed, &Trace::new()), "SIM_SEED={seed}: another run of the same seed");
        }
        sum.done += tally.done;
        sum.aborted += tally.aborted;
        sum.given_up += tally.given_up;
        sum.never += tally.never;
    }
    println!("{} seeds: {sum:?}", seeds.len());
    if seeds.len() >= 100 {
        let all = sum.done + sum.aborted + sum.given_up + sum.never;
        assert!(sum.done * 10 >= all * 7, "too few ended in order: {sum:?}");
        assert!(sum.aborted > 0 && sum.given_up > 0, "faults that do nothing show nothing: {sum:?}");
    }
}

#[test]
fn every_odd_seed_keeps_every_byte_and_every_count() {
    // Shows all of it at once, a seed a world: bytes exact or the connection ended with a reason, nobody stuck, counts
    // back, the same trace again.
    every_seed(1);
}

#[test]
fn every_even_seed_keeps_every_byte_and_every_count() {
    // Shows the same of the other half.
    every_seed(0);
}
