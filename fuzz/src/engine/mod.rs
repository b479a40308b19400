//! A whole engine on a wire that the bytes are at the other end of: they choose, in turn, segments of live connections at
//! and around every edge, broken frames, ops of the application, and how much time passes.
//!
//! What must hold after each step: frames out are valid, sent bytes are the application's, received ones the peer's,
//! acknowledgements and windows never go back, each frame is counted once. In the end nothing is left.

mod app;
mod conversation;
mod frames;
mod steps;
mod wire;

use std::sync::{Arc, Mutex};

use drivers::Pool;
use drivers::soft::Spread;
use stack::config::{Congestion, Ecn};
use stack::sim::{Host, HostId, World};
use stack::time::Instant;

use self::app::Application;
use self::conversation::Conversations;
use self::frames::{Family, PEER_MAC};
use self::wire::{Raw, Wire};
use crate::input::Input;

/// Steps of a run: what is behind them in the bytes counts no more.
const STEPS_MAX: usize = 400;

/// Milliseconds and seconds in nanoseconds.
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

const HOST: HostId = World::<Application>::FIRST;

/// What has a run tell each frame and op, for those who look into a fault.
const TRACE: &str = "CORELANE_FUZZ_TRACE";

/// Give `bytes` to an engine.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut bench = Bench::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        bench.step(&mut input);
        bench.check();
    }
    bench.finish();
}

/// The engine, its application, and the other end of its wire.
struct Bench {
    world: World<Application>,
    wire: Arc<Mutex<Wire>>,
    /// Frames of the peer's.
    pool: Pool,
    family: Family,
    conversations: Conversations,
    /// The last frame of the peer's and of ours, to be broken or sent back.
    last: [Vec<u8>; 2],
    /// Something whose payload may be anything has come: from here on nothing is known of received bytes.
    tainted: bool,
    /// The wire has taken fewer frames than it was given.
    behind: bool,
    /// Each frame and op is told.
    told: bool,
}

impl Bench {
    fn new(input: &mut Input<'_>) -> Bench {
        let (flags, more) = (input.byte(), input.byte());
        let mut host = Host::new(1);
        host.receive_frames = input.of(&[256, 128, 64, 48]);
        host.config.sockets = input.of(&[64, 8]);
        host.config.half_open_max = input.of(&[64, 2]);
        host.config.cells_max = input.of(&[4096, 64]);
        host.config.transmit_backlog_max = input.of(&[256, 8]);
        host.config.time_wait_max = input.of(&[64, 2]);
        let tcp = &mut host.config.tcp;
        tcp.receive_frames = input.of(&[128, 64, 11, 4]);
        tcp.receive_frames_max = tcp.receive_frames;
        tcp.fast_path = flags & 1 == 0;
        tcp.timestamps = flags & 2 == 0;
        tcp.sack = flags & 4 == 0;
        tcp.window_scaling = flags & 8 == 0;
        tcp.tlp = more & 1 == 0;
        tcp.slow_start_after_idle = more & 2 == 0;
        tcp.hystart = more & 4 == 0;
        tcp.abe = more & 8 != 0;
        tcp.congestion = [Congestion::Cubic, Congestion::NewReno, Congestion::Dctcp, Congestion::Cubic]
            [usize::from(more >> 4 & 3)];
        tcp.ecn = if more & 64 == 0 { Ecn::Accept } else { Ecn::Request };
        if flags & 16 != 0 {
            host.nic = Some(16);
        }
        let family = if flags & 32 == 0 { Family::V4 } else { Family::V6 };
        if family == Family::V6 {
            host = host.over_ipv6();
        }
        host.config.interfaces[0].neighbours = vec![(family.peer(), PEER_MAC.0)];
        if flags & 64 != 0 {
            host = host.with_lanes(2, 2, Spread::Random(7));
        }
        let wire = Arc::new(Mutex::new(Wire::default()));
        let queue = Box::new(Raw(Arc::clone(&wire)));
        let world = World::of(vec![(host, queue)], vec![Application::default()]);
        let mut bench = Bench {
            world,
            wire,
            pool: Pool::heap(64, 9_216),
            family,
            conversations: Conversations::default(),
            last: [Vec::new(), Vec::new()],
            tainted: false,
            behind: false,
            told: std::env::var_os(TRACE).is_some(),
        };
        bench.wait(1);
        bench
    }

    fn now(&self) -> u64 {
        self.world.now().0
    }

    /// Let `nanoseconds` pass.
    fn wait(&mut self, nanoseconds: u64) {
        let until = Instant(self.now() + nanoseconds);
        self.world.run_until(until, |_| false);
    }

    /// Tell what goes by, if told to.
    fn tell(&self, what: &str, detail: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{:>15} ns {what:4} {}", self.now(), detail());
        }
    }

    /// A frame for the engine, unless the peer's frames are all on their way.
    fn inject(&mut self, bytes: &[u8]) {
        self.tell("in", || frames::text(bytes));
        let Some(mut frame) = self.pool.take() else { return };
        let Some(room) = frame.append(bytes.len()) else { return };
        room.copy_from_slice(bytes);
        self.wire.lock().expect("one thread").inbox.push_back(frame);
        self.wait(0);
    }

    /// What must hold after each step.
    fn check(&mut self) {
        let sent: Vec<Vec<u8>> = self.wire.lock().expect("one thread").outbox.drain(..).collect();
        for bytes in &sent {
            self.tell("out", || frames::text(bytes));
        }
        let app = self.world.app_mut(HOST);
        for bytes in sent {
            if let Some((remote, segment, payload)) = frames::read(&bytes, self.family) {
                self.conversations.sent(remote, &segment, &payload, app.refused, self.behind);
                self.last[1] = bytes;
            }
        }
        for (peer, bytes) in app.received.drain(..) {
            if !self.tainted {
                self.conversations.received(peer, &bytes);
            }
        }
        let report = self.world.report(HOST);
        let counters = &report.counters;
        let received = counters.received_frames + counters.steered_in;
        let ended = counters.consumed_frames + counters.dropped() + counters.steered_out;
        // Pieces of packets end when their packet does.
        let due = received == ended || received > ended && report.waiting_packets > 0;
        assert!(due, "{received} frames received, {ended} consumed or dropped");
    }

    /// End everything, let all time pass that anything may wait for, and count.
    fn finish(mut self) {
        self.wire.lock().expect("one thread").open();
        let app = self.world.app_mut(HOST);
        app.leave();
        let ops = app.ends();
        for op in ops {
            let _ = self.world.lane(HOST).submit(op);
        }
        for _ in 0..8 {
            // Longer in all than the longest timer, keepalive's two hours.
            self.wait(1_000 * SECOND);
            self.check();
            // What was accepted or refused meanwhile.
            for op in self.world.app_mut(HOST).ends() {
                let _ = self.world.lane(HOST).submit(op);
            }
        }
        let left = self.world.leftovers(HOST, 0);
        assert!(left.is_empty(), "{left}{}", self.world.report(HOST));
        drop(self.world);
        let mut wire = self.wire.lock().expect("one thread");
        wire.inbox.clear();
        assert_eq!(self.pool.available(), self.pool.capacity(), "the peer's frames come home");
    }
}
