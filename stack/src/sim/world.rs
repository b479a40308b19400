//! Hosts, the links between them, and the clock that moves from event to event.

use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use drivers::soft::{PIPE_CAPABILITIES, pipe};
use drivers::{Pools, Queue, Region};

use crate::config::EngineConfig;
use crate::counters::Report;
use crate::engine::{Engine, Interface};
use crate::lane::{Lane, LaneOptions};
use crate::mode::run_to_completion::RunToCompletion;
use crate::run::{Idle, LaneRun, StopFlag, TimeSource};
use crate::socket::LaneId;
use crate::time::Instant;

/// An application of a simulated host. It is given the lane whenever something may have happened, and never waits.
pub trait App {
    /// Take completions, submit ops.
    fn run(&mut self, lane: &mut Lane);

    /// When it wants to be run though nothing happened.
    fn next_event(&self) -> Option<Instant> {
        None
    }
}

/// Names a host of a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostId(usize);

/// How a host is made.
pub struct Host {
    /// Its engine's configuration.
    pub config: EngineConfig,
    /// Bounds of its application's end.
    pub lane: LaneOptions,
    /// Frames of its receive pool.
    pub receive_frames: usize,
    /// Largest IP packet of its link.
    pub mtu: u16,
}

impl Host {
    /// A host with the address 10.0.0.`number`/24.
    pub fn new(number: u8) -> Host {
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number));
        let mut config = EngineConfig::new(ip, 24);
        config.sockets = 1024;
        config.cells_max = 65_536;
        config.secret = [u64::from(number), 2, 0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];
        Host { config, lane: LaneOptions::default(), receive_frames: 16_384, mtu: 1500 }
    }
}

struct Running {
    lane: Option<Lane>,
    stop: StopFlag,
}

/// Two hosts and the wire between them. `A` is what runs on each.
pub struct World<A> {
    clock: Rc<Cell<u64>>,
    hosts: Vec<Running>,
    apps: Vec<A>,
    turns: u64,
}

/// Turns without time moving before the world is taken for livelocked.
const TURNS_AT_ONCE_MAX: u32 = 100_000;

impl<A: App> World<A> {
    /// Two hosts back to back. `wrap` may put faults around an end of the wire.
    pub fn pair(
        hosts: [Host; 2],
        apps: [A; 2],
        mut wrap: impl FnMut(HostId, Box<dyn Queue>) -> Box<dyn Queue>,
    ) -> World<A> {
        let clock = Rc::new(Cell::new(1_000_000));
        let frames = hosts.iter().map(|host| host.receive_frames).max().unwrap_or(1);
        let mtu = hosts.iter().map(|host| host.mtu).max().unwrap_or(1500);
        let (a, b) = pipe(frames, mtu);
        let ends: [Box<dyn Queue>; 2] = [Box::new(a), Box::new(b)];
        let mut running = Vec::new();
        for (index, (host, end)) in hosts.into_iter().zip(ends).enumerate() {
            let queue = wrap(HostId(index), end);
            running.push(start(index, host, queue, &clock));
        }
        World { clock, hosts: running, apps: apps.into(), turns: 0 }
    }

    /// The first and the second host.
    pub const FIRST: HostId = HostId(0);
    /// See `FIRST`.
    pub const SECOND: HostId = HostId(1);

    /// Virtual nanoseconds since the world began.
    pub fn now(&self) -> Instant {
        Instant(self.clock.get())
    }

    /// Turns taken by all hosts.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// A host's application.
    pub fn app(&self, host: HostId) -> &A {
        &self.apps[host.0]
    }

    /// A host's application, for changing.
    pub fn app_mut(&mut self, host: HostId) -> &mut A {
        &mut self.apps[host.0]
    }

    /// A host's lane. Panics: if the host has ended.
    pub fn lane(&mut self, host: HostId) -> &mut Lane {
        self.hosts[host.0].lane.as_mut().expect("the host runs")
    }

    /// What a host's lane knows of itself. Panics: if the host has ended.
    pub fn report(&self, host: HostId) -> Report {
        self.hosts[host.0].lane.as_ref().expect("the host runs").report()
    }

    /// Tell a host to stop in order.
    pub fn stop(&self, host: HostId) {
        self.hosts[host.0].stop.stop();
    }

    /// Run until `done` says so, or virtual time reaches `limit`. True if it was done.
    pub fn run_until(&mut self, limit: Instant, mut done: impl FnMut(&[A]) -> bool) -> bool {
        loop {
            self.settle();
            if done(&self.apps) {
                return true;
            }
            let Some(next) = self.next_event() else { return false };
            if next > limit {
                self.clock.set(limit.0);
                return false;
            }
            self.clock.set(next.0.max(self.clock.get() + 1));
        }
    }

    /// Take turns at this moment until nothing moves.
    fn settle(&mut self) {
        for round in 0..=TURNS_AT_ONCE_MAX {
            assert!(round < TURNS_AT_ONCE_MAX, "the hosts keep each other busy without time passing");
            let mut busy = false;
            for (host, app) in self.hosts.iter_mut().zip(&mut self.apps) {
                let Some(lane) = &mut host.lane else { continue };
                self.turns += 1;
                lane.turn();
                app.run(lane);
                busy |= lane.is_busy() || lane.has_ops();
            }
            if !busy {
                return;
            }
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let lanes = self.hosts.iter().filter_map(|host| host.lane.as_ref()?.next_event());
        lanes.chain(self.apps.iter().filter_map(App::next_event)).min()
    }
}

fn start(index: usize, host: Host, queue: Box<dyn Queue>, clock: &Rc<Cell<u64>>) -> Running {
    let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
    let interface = Interface {
        mac: [2, 0, 0, 0, 0, number],
        mtu: host.mtu,
        vlan: None,
        capabilities: PIPE_CAPABILITIES,
    };
    let pools = Pools::heap(host.receive_frames, host.receive_frames);
    let stop_within = core::time::Duration::from_secs(5);
    let engine = Engine::new(LaneId(0), host.config, interface, pools, Instant(clock.get()))
        .expect("a simulated host's configuration is valid");
    let stop = StopFlag::default();
    let time = TimeSource::Virtual(Rc::clone(clock));
    let run = LaneRun::new(engine, queue, time, stop.clone(), stop_within, Idle::Poll);
    let blocks = Region::new(1024, 2048);
    let lane = Lane::new(LaneId(0), host.lane, blocks, Box::new(RunToCompletion::new(run)));
    Running { lane: Some(lane), stop }
}
