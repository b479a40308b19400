//! One lane in run-to-completion mode, as programs have it, on a port that takes its frames from a bench and leaves it
//! what was sent. Time is virtual: a bench moves it.

use core::cell::{Cell, RefCell};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use drivers::{Bell, Capabilities, Frame, Pools, Queue, Region};
use stack::config::{Address, EngineConfig, Gateway};
use stack::counters::Report;
use stack::engine::{Engine, Interface};
use stack::lane::{Lane, LaneOptions};
use stack::links::Links;
use stack::mode::run_to_completion::RunToCompletion;
use stack::mode::{Batch, Crossing, LaneWaker, Ports, Turn};
use stack::places::Place;
use stack::run::{Idle, LaneRun, StopFlag, TimeSource};
use stack::socket::LaneId;
use stack::time::Instant;

use crate::far::GATEWAY;

/// The lane's address and port.
pub const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 80);
/// Its Ethernet address, and the one that all far ends have.
pub const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

/// The lane's pools of frames.
pub fn frame_pools() -> Pools {
    Pools::heap(16_384, 16_384)
}

/// Ops of one batch.
pub const OPS: usize = 4096;

/// What the port does for the lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortOptions {
    /// Checksums are the port's business, in both directions.
    pub checksums: bool,
    /// The port cuts payload into segments.
    pub segmentation: bool,
    /// The port gathers frames of several pieces, from ordinary memory too.
    pub gather: bool,
}

/// Both ends of the port's queue pair.
#[derive(Default)]
struct Wire {
    arriving: Vec<Frame>,
    sent: Vec<Frame>,
}

struct BenchQueue(Arc<Mutex<Wire>>);

impl Queue for BenchQueue {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut wire = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = max.min(wire.arriving.len());
        frames.extend(wire.arriving.drain(..count));
        count
    }

    fn transmit(&mut self, _now: u64, frames: &mut Vec<Frame>) -> usize {
        let count = frames.len();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sent.append(frames);
        count
    }
}

/// Run to completion, in a time that a resting lane moves: nobody else does while it ends.
struct Resting {
    inner: Rc<RefCell<RunToCompletion>>,
    clock: Rc<Cell<u64>>,
}

impl Crossing for Resting {
    fn turn(&mut self, batch: &mut Batch) -> Turn {
        self.inner.borrow_mut().turn(batch)
    }

    fn idle(&mut self, until: Option<Instant>, others: &mut [&mut Ports]) {
        self.clock.set(self.clock.get() + 10_000_000);
        self.inner.borrow_mut().idle(until, others);
    }

    fn leave(&mut self) {
        self.inner.borrow_mut().leave();
    }

    fn report(&self) -> Report {
        self.inner.borrow().report()
    }

    fn waker(&self) -> LaneWaker {
        self.inner.borrow().waker()
    }
}

/// A lane and the two ends that a bench holds of it.
pub struct Rig {
    /// The application's end.
    pub lane: Lane,
    inner: Rc<RefCell<RunToCompletion>>,
    wire: Arc<Mutex<Wire>>,
    clock: Rc<Cell<u64>>,
}

/// What the application does with its lane, once a turn.
pub trait Application {
    /// Take completions, submit ops.
    fn run(&mut self, lane: &mut Lane);
}

/// One turn of the lane and the application's share of it: all that is ever timed, and by its name all that callgrind
/// is told to count.
#[inline(never)]
pub fn timed(lane: &mut Lane, application: &mut impl Application) {
    untimed(lane, application);
}

/// The same where it is not to count.
#[inline(always)]
pub fn untimed(lane: &mut Lane, application: &mut impl Application) {
    lane.turn();
    application.run(lane);
}

impl Rig {
    /// A lane for `flows` connections at a time, with `blocks` blocks of 64 bytes for what the application sends.
    pub fn new(flows: usize, blocks: usize, port: PortOptions, tune: impl FnOnce(&mut EngineConfig)) -> Rig {
        let mut config = EngineConfig::new(IpAddr::V4(SERVER.0), 8);
        config.sockets = flows + 64;
        config.half_open_max = 4096;
        config.cells_max = 2 * flows + 65_536;
        config.secret = [1, 2, 0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];
        config.tcp.time_wait = Duration::from_millis(1);
        // All far ends lie behind one station, known before the first turn.
        let interface = &mut config.interfaces[0];
        let all = Address { ip: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 };
        interface.gateways = vec![Gateway { destination: all, gateway: GATEWAY.into() }];
        interface.neighbours = vec![(GATEWAY.into(), MACS.1)];
        tune(&mut config);
        let capabilities = Capabilities {
            multi_segment: port.gather,
            segments_max: if port.gather { 64 } else { 1 },
            reads_heap: true,
            transmit_ipv4_checksum: port.checksums,
            transmit_tcp_checksum: port.checksums,
            receive_checksums: port.checksums,
            segmentation_max: if port.segmentation { 65_535 - 120 } else { 0 },
            ..Capabilities::plain(1500)
        };
        let interface = Interface { mac: MACS.0, mtu: 1500, vlan: None, capabilities };
        let pools = frame_pools();
        let engine = Engine::new(LaneId(0), config, vec![(interface, pools)], Instant(1_000_000))
            .expect("the bench's configuration is valid");
        let (wire, clock) = (Arc::<Mutex<Wire>>::default(), Rc::new(Cell::new(1_000_000)));
        let queue: Box<dyn Queue> = Box::new(BenchQueue(Arc::clone(&wire)));
        let run = LaneRun::new(
            engine,
            vec![Some(queue)],
            Links::alone(LaneId(0), Bell::default()),
            TimeSource::Virtual(Rc::clone(&clock)),
            StopFlag::default(),
            Duration::from_secs(1),
            Idle::Poll,
        );
        let options = LaneOptions { ops: OPS, ..LaneOptions::default() };
        let blocks = Region::new(blocks, 64);
        let inner = Rc::new(RefCell::new(RunToCompletion::new(run)));
        let crossing = Resting { inner: Rc::clone(&inner), clock: Rc::clone(&clock) };
        let lane = Lane::new(LaneId(0), options, blocks, Box::new(crossing));
        Rig { lane, inner, wire, clock }
    }

    /// Have the port hold these frames for the next turns.
    pub fn arrive(&mut self, frames: &mut Vec<Frame>) {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).arriving.append(frames);
    }

    /// The lane has taken all that the port held for it. A turn may leave some for the next.
    pub fn is_taken(&self) -> bool {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).arriving.is_empty()
    }

    /// What was sent since the last call.
    pub fn sent(&mut self, into: &mut Vec<Frame>) {
        into.append(&mut self.wire.lock().unwrap_or_else(PoisonError::into_inner).sent);
    }

    /// Let virtual time pass.
    pub fn pass(&mut self, nanoseconds: u64) {
        self.clock.set(self.clock.get() + nanoseconds);
    }

    /// Where the lane's tables of connections lie.
    pub fn places(&self) -> Vec<Place> {
        self.inner.borrow().engine().places()
    }

    /// Virtual nanoseconds.
    pub fn now(&self) -> u64 {
        self.clock.get()
    }
}

/// Where the lane listens.
pub fn server() -> SocketAddr {
    SocketAddr::from(SERVER)
}
