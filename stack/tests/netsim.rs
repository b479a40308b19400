//! Whole hosts on bad networks in virtual time: every byte arrives, nothing is left behind, and the same seed gives the
//! same trace. The goodput of a grid of networks is kept in `snapshots/netsim.txt`; `BLESS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Case, Outcome, SECOND, lossy, rough, seeds, transfer};
use drivers::soft::{FaultSpec, Faults, Faulty, pipe};
use drivers::{Frame, Pool, Queue};
use stack::sim::{Client, ClientOptions, Echo, Either, Host, Trace, World};
use stack::socket::{OpError, Tag};
use stack::time::Instant;

fn traced() -> Trace {
    let lines =
        if std::env::var_os("SIM_SEED").or(std::env::var_os("SIM_SHOW")).is_some() { 4000 } else { 0 };
    Trace::with_text(lines)
}

fn case(bytes: u64, spec: FaultSpec) -> Case {
    Case { bytes, spec, frames: 128, pool: 1024, hold: 0, outages: Vec::new(), adjust: |_| {} }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    // Shows that two runs with one seed put the same frames on the wire at the same times, and another seed others.
    let run = |seed| transfer(&case(300_000, rough(seed)), &Trace::new());
    let (first, again, other) = (run(1), run(1), run(2));
    assert_eq!(first, again);
    assert_ne!(first.hash, other.hash);
    assert!(first.exact && other.exact && first.retransmits > 0);
}

#[test]
fn every_fault_at_once_costs_no_byte() {
    // Shows loss, jitter, reordering, duplication and corruption together, over many seeds: exact, and nothing left.
    for seed in seeds(60) {
        let outcome = transfer(&case(100_000, rough(seed)), &traced());
        assert!(outcome.exact, "SIM_SEED={seed}: {outcome:?}");
    }
}

/// Give a host an address of IPv6 instead of its own.
fn over_ipv6(host: &mut Host) {
    *host = core::mem::replace(host, Host::new(1)).over_ipv6();
}

#[test]
fn every_fault_at_once_over_ipv6() {
    // Shows the same over IPv6, on a wire and on a NIC that cuts and sums, and that the fast path changes no byte there
    // either.
    for seed in seeds(30) {
        let plain = Case { adjust: over_ipv6, ..case(100_000, rough(seed)) };
        let slow: fn(&mut Host) = |host| {
            over_ipv6(host);
            host.config.tcp.fast_path = false;
        };
        let nic: fn(&mut Host) = |host| {
            over_ipv6(host);
            host.nic = Some(16);
        };
        let outcome = transfer(&plain, &traced());
        assert!(outcome.exact && outcome.fast > 0, "SIM_SEED={seed}: {outcome:?}");
        let without = transfer(&Case { adjust: slow, ..plain.clone() }, &traced());
        assert_eq!(Outcome { fast: 0, ..outcome }, without, "SIM_SEED={seed}");
        let cut = transfer(&Case { adjust: nic, ..plain }, &traced());
        assert!(cut.exact && cut.bundled > 0, "SIM_SEED={seed}: {cut:?}");
    }
}

#[test]
fn a_third_of_all_frames_lost() {
    // Shows 256 KiB over 30 % loss each way, 200 seeds: exact or ended by the stack's own rules, 10 % at most. Those are the
    // ones whose three ARP requests all went unanswered: as on Linux their connect fails after three seconds.
    let seeds = seeds(200);
    let run = |seeds: &[u64]| -> Vec<Outcome> {
        seeds.iter().map(|&seed| transfer(&case(256 << 10, lossy(30.0, seed)), &traced())).collect()
    };
    // Longer than all other tests of this file: in two halves beside each other.
    let (first, second) = seeds.split_at(seeds.len() / 2);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let first = scope.spawn(|| run(first));
        [run(second), first.join().unwrap()].concat()
    });
    let given_up = outcomes.iter().filter(|outcome| !outcome.exact).count();
    let mut took: Vec<u64> = outcomes.iter().filter(|o| o.exact).map(|o| o.took / SECOND).collect();
    took.sort_unstable();
    println!("{given_up} of {} given up; seconds: {:?}", seeds.len(), took.get(took.len() / 2));
    assert!(given_up * 10 <= seeds.len(), "{given_up} of {} connections were given up", seeds.len());
}

#[test]
fn an_echo_over_a_third_lost_is_never_wrong() {
    // Shows 64 KiB there and back over 30 % loss each way, 50 seeds: each echoed whole or given up, in no more than 10 %.
    let (mut given_up, seeds) = (0, seeds(50));
    for &seed in &seeds {
        let options = ClientOptions { to: common::server(), bytes: 64 << 10, chunk: 4_000, window: 4 };
        let apps = [Either::Echo(Echo::new(common::server())), Either::Client(Client::new(options))];
        let host = |number| Host { receive_frames: 1024, ..Host::new(number) };
        let mut world = World::under([host(1), host(2)], apps, &lossy(30.0, seed), &Trace::new());
        let done = world.run_until(Instant(40_000 * SECOND), |apps| apps[1].client().outcome.is_some());
        let outcome = world.app(CLIENT).client().outcome;
        assert!(done && outcome != Some(stack::sim::Outcome::Wrong), "SIM_SEED={seed}: {outcome:?}");
        given_up += usize::from(outcome == Some(stack::sim::Outcome::GivenUp));
    }
    println!("{given_up} of {} given up", seeds.len());
    assert!(given_up * 10 <= seeds.len(), "{given_up} of {} connections were given up", seeds.len());
}

#[test]
fn the_fast_path_changes_no_byte_on_the_wire() {
    // Shows that transfers with the fast path and without it give the same trace, clean and under every fault.
    for seed in seeds(15) {
        for spec in [rough(seed), lossy(0.0, seed), lossy(1.0, seed)] {
            let with = case(200_000, spec);
            let without = Case { adjust: |host| host.config.tcp.fast_path = false, ..with.clone() };
            let (with, without) = (transfer(&with, &traced()), transfer(&without, &traced()));
            assert!(with.fast > 0 && without.fast == 0, "SIM_SEED={seed} under {spec}: {with:?}");
            assert_eq!(Outcome { fast: 0, ..with }, without, "SIM_SEED={seed} under {spec}");
        }
    }
}

#[test]
fn a_slow_reader_closes_its_window_and_opens_it_again() {
    // Shows a receiver that holds every frame for 300 ms in a buffer of eight: the window closes again and again, and
    // neither a lost update nor a lost probe stops the transfer.
    for seed in seeds(30) {
        let case = Case { frames: 8, hold: 300_000_000, ..case(100_000, lossy(10.0, seed)) };
        let outcome = transfer(&case, &traced());
        assert!(outcome.exact, "SIM_SEED={seed}: {outcome:?}");
        assert!(outcome.took < 600 * SECOND, "SIM_SEED={seed}: {outcome:?}");
    }
}

#[test]
fn connections_outlive_a_link_that_goes_down() {
    // Shows links that are down for seconds, twice, at any moment of a transfer to a slow reader: exact, and no more
    // than twice an outage is waited for after it, for timers back off to no more than that.
    let ways = [(8, 30_000_000, false), (64, 200_000_000, false), (64, 200_000_000, true), (128, 0, true)];
    for seed in seeds(100) {
        let first = 20_000_000 + seed * 7_919_993 % 900_000_000;
        let length = 500_000_000 + seed * 104_729_111 % 3_000_000_000;
        let gap = 300_000_000 + seed * 15_485_863 % 700_000_000;
        let second = first + length + gap;
        for (frames, hold, cuts) in ways {
            let adjust: fn(&mut Host) = if cuts { |host| host.nic = Some(16) } else { |_| {} };
            let outages = vec![(first, first + length), (second, second + length)];
            let case = Case { frames, hold, outages, adjust, ..case(400_000, lossy(0.0, seed)) };
            let outcome = transfer(&case, &traced());
            assert!(outcome.exact, "SIM_SEED={seed}: {outcome:?}");
            let most = 2 * SECOND + gap + 6 * length;
            assert!(outcome.took < most, "SIM_SEED={seed}: {} of {most} ns, {frames} frames", outcome.took);
        }
    }
}

#[test]
fn a_handful_of_frames_is_enough() {
    // Shows pools of 64 frames under a window of thousands: slow, but exact, and every frame comes home.
    for seed in seeds(10) {
        let case = Case { pool: 64, frames: 2873, ..case(200_000, lossy(0.0, seed)) };
        assert!(transfer(&case, &traced()).exact, "SIM_SEED={seed}");
        let case = Case { pool: 64, frames: 2873, ..case };
        let case = Case { spec: rough(seed), ..case };
        assert!(transfer(&case, &traced()).exact, "SIM_SEED={seed}");
    }
}

/// The networks and buffers of the grid.
const LOSSES: [f64; 5] = [0.0, 0.1, 1.0, 5.0, 30.0];
const DELAYS: [(u64, &str); 3] = [(10_000, "10 us"), (1_000_000, "1 ms"), (50_000_000, "50 ms")];
const REORDERINGS: [f64; 2] = [0.0, 10.0];
/// In frames of 1,460 bytes: 16 KiB, 256 KiB, 4 MiB.
const BUFFERS: [u16; 3] = [11, 180, 2873];

/// Bytes that show a network's goodput, without taking long where it is low.
fn worth(loss: f64) -> u64 {
    match loss {
        0.0..0.5 => 2 << 20,
        0.5..2.0 => 512 << 10,
        2.0..10.0 => 256 << 10,
        _ => 48 << 10,
    }
}

/// In kB/s, to three digits at least.
fn rate(bytes: u64, took: u64) -> String {
    let rate = bytes as f64 * 1e6 / took.max(1) as f64;
    if rate < 1.0 {
        format!("{rate:.3}")
    } else if rate < 100.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

fn goodput(loss: f64, delay: u64, reorder: f64, frames: u16) -> String {
    let faults = Faults { loss, delay, reorder, gap: delay.max(100_000), ..Faults::default() };
    let spec = FaultSpec { held: 16_384, ..FaultSpec::both(faults, 1) };
    let case =
        Case { bytes: worth(loss), spec, frames, pool: 6_000, hold: 0, outages: Vec::new(), adjust: |_| {} };
    let outcome = transfer(&case, &Trace::new());
    if std::env::var_os("SIM_SHOW").is_some() {
        println!("{} {frames}: {outcome:?}", case.spec)
    }
    if outcome.exact { rate(case.bytes, outcome.took) } else { "gave up".to_owned() }
}

/// The congestion window that a steady loss leaves, on average. Units: segments.
///
/// Source: RFC 9438 section 4.3, and RFC 5681's response function: both have the same mean by design.
fn mean_window(loss: f64) -> f64 {
    (1.5 / loss).sqrt()
}

#[test]
fn loss_alone_costs_what_the_response_function_says() {
    // Shows 4 MiB at 1 % loss and a round trip of 20 ms, over 20 seeds: CUBIC's mean window is that of its equation for
    // such networks, give or take a third for slow start and lost acknowledgements, and no smaller than Reno's.
    let mean = |adjust: fn(&mut Host)| {
        let windows = (0..20).map(|seed| {
            let faults = Faults { loss: 1.0, delay: 10_000_000, gap: 10_000_000, ..Faults::default() };
            let spec = FaultSpec { held: 16_384, ..FaultSpec::both(faults, seed) };
            let frames = 2048;
            let case =
                Case { bytes: 4 << 20, spec, frames, pool: 6_000, hold: 0, outages: Vec::new(), adjust };
            let outcome = transfer(&case, &Trace::new());
            assert!(outcome.exact, "SIM_SEED={seed}: {outcome:?}");
            let round_trips = outcome.took as f64 / 20e6;
            case.bytes as f64 / 1448.0 / round_trips
        });
        windows.sum::<f64>() / 20.0
    };
    let cubic = mean(|_| {});
    let reno = mean(|host| host.config.tcp.congestion = stack::config::Congestion::NewReno);
    let expected = mean_window(0.01);
    println!("segments: CUBIC {cubic:.1}, Reno {reno:.1}, by the equation {expected:.1}");
    assert!((0.67..1.5).contains(&(cubic / expected)), "CUBIC {cubic}, Reno {reno}, expected {expected}");
    assert!(cubic >= 0.9 * reno, "CUBIC {cubic}, Reno {reno}");
}

#[test]
fn the_grid_of_networks_keeps_its_goodput() {
    // Shows every network of the grid byte-exact, and its goodput equal to the snapshot's: a change shows in the diff.
    let mut table = String::from(
        "Goodput of one transfer in virtual time. Units: kB/s, from the first SYN to the FIN; 1 kB is 1,000 bytes.\n\
         2 MiB at up to 0.1 % loss, 512 KiB at 1 %, 256 KiB at 5 %, 48 KiB at 30 %. Loss and delay are each way.\n\n\
         loss %  delay  reordered %     16 KiB    256 KiB      4 MiB\n",
    );
    for loss in LOSSES {
        for (delay, name) in DELAYS {
            for reorder in REORDERINGS {
                table += &format!("{loss:>6}  {name:>5}  {reorder:>11}");
                for frames in BUFFERS {
                    table += &format!(" {:>10}", goodput(loss, delay, reorder, frames));
                }
                table += "\n";
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/netsim.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &table).expect("the snapshot can be written");
    }
    let kept = std::fs::read_to_string(path).expect("the snapshot is there: BLESS=1 writes it");
    assert!(kept == table, "the goodput has changed; BLESS=1 keeps it:\n{table}");
}

/// One end of a wire that two hosts can be plugged into, one at a time; the other's frames go nowhere.
struct Plug {
    end: Arc<Mutex<Box<dyn Queue>>>,
    plugged: Arc<AtomicUsize>,
    mine: usize,
}

impl Plug {
    fn is_in(&self) -> bool {
        self.plugged.load(Ordering::Relaxed) == self.mine
    }
}

impl Queue for Plug {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        if self.is_in() { self.end.lock().unwrap().receive(now, frames, max) } else { 0 }
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        if self.is_in() {
            return self.end.lock().unwrap().transmit(now, frames);
        }
        frames.drain(..).count()
    }

    fn next_event(&self) -> Option<u64> {
        if self.is_in() { self.end.lock().unwrap().next_event() } else { None }
    }
}

const OLD: stack::sim::HostId = World::<Either>::FIRST;
const CLIENT: stack::sim::HostId = World::<Either>::SECOND;
const NEW: stack::sim::HostId = World::<Either>::THIRD;

/// An echo server twice, the second one not plugged in, and a client behind a bad network.
fn world_of_three(seed: u64, bytes: u64) -> (World<Either>, Arc<AtomicUsize>) {
    let (server, plugged) = (common::server(), Arc::new(AtomicUsize::new(0)));
    let (end, far) = pipe(2048, 1500);
    let end: Arc<Mutex<Box<dyn Queue>>> = Arc::new(Mutex::new(Box::new(end)));
    let plug = |mine| Box::new(Plug { end: Arc::clone(&end), plugged: Arc::clone(&plugged), mine });
    let far = Faulty::new(Box::new(far), &rough(seed), Pool::heap(256, 2048));
    let host = |number| Host { receive_frames: 2048, ..Host::new(number) };
    let hosts: Vec<(Host, Box<dyn Queue>)> =
        vec![(host(1), plug(0)), (host(2), Box::new(far)), (host(1), plug(1))];
    let options = ClientOptions { to: server, bytes, chunk: 10_000, window: 16 };
    let echo = || Either::Echo(Echo::new(server));
    let apps = vec![echo(), Either::Client(Client::new(options)), echo()];
    (World::of(hosts, apps), plugged)
}

#[test]
fn a_live_flow_goes_on_in_another_engine() {
    // Shows a flow frozen in mid-transfer, with bytes in flight both ways and losses under repair, thawed in another
    // engine on the same wire, and back again later: the client's bytes all come back, and nothing is left anywhere.
    let (mut in_flight, mut out_of_order) = (0, 0);
    for seed in seeds(40) {
        let (mut world, plugged) = world_of_three(seed, 400_000);
        let limit = Instant(20_000 * SECOND);
        for (from, to, at) in [(OLD, NEW, 37 * seed % 1_000), (NEW, OLD, 1_000)] {
            let due = |apps: &[Either]| apps[1].client().received() > at * 100 + seed * 3_001;
            assert!(world.run_until(limit, due), "SIM_SEED={seed}");
            let Some(stream) = world.with_engine(from, |engine| engine.streams().first().copied()) else {
                break;
            };
            let frozen = world.with_engine(from, |engine| engine.freeze(stream)).unwrap();
            let again = world.with_engine(from, |engine| engine.freeze(stream)).map(drop);
            assert_eq!(again, Err(OpError::StaleHandle), "SIM_SEED={seed}");
            in_flight += usize::from(frozen.unacknowledged() > 0);
            out_of_order += usize::from(frozen.undelivered() > 0);
            plugged.fetch_xor(1, Ordering::Relaxed);
            let second = frozen.clone();
            world.with_engine(to, |engine| engine.thaw(frozen, 0, Tag(7))).unwrap();
            let refused = world.with_engine(to, |engine| engine.thaw(second, 0, Tag(7))).unwrap_err();
            assert_eq!(refused.0, OpError::AddressInUse, "SIM_SEED={seed}");
        }
        let done = world.run_until(limit, |apps| apps[1].client().outcome.is_some());
        let outcome = world.app(CLIENT).client().outcome;
        assert!(done && outcome == Some(stack::sim::Outcome::Done), "SIM_SEED={seed}: {outcome:?}");
        world.run_until(Instant(world.now().0 + 1_000 * SECOND), |_| false);
        for (host, sockets) in [(OLD, 1), (CLIENT, 0), (NEW, 1)] {
            assert_eq!(world.leftovers(host, sockets), "", "SIM_SEED={seed}: {host:?}");
        }
    }
    if std::env::var_os("SIM_SEED").is_none() {
        assert!(in_flight > 40 && out_of_order > 5, "{in_flight} in flight, {out_of_order} out of order");
    }
}
