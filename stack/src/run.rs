//! The loop of one lane: the only place that touches a port. What is done with frames is the engine's.

use core::time::Duration;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drivers::clock::Clock;
use drivers::{Bell, Frame, Queue};

use crate::counters::{Report, Rests, Turns};
use crate::engine::{BURST_MAX, Engine};
use crate::links::Links;
use crate::lull::{Helping, Lull, Pause};
use crate::mode::{Batch, Ports, Turn};
use crate::tcp::ticks::{Ticks, next_tick};
use crate::time::Instant;

/// Where a lane's time comes from.
#[derive(Clone, Debug)]
pub enum TimeSource {
    /// The machine's clock.
    Real(Clock),
    /// A simulation's: whoever holds the cell moves it.
    Virtual(Rc<core::cell::Cell<u64>>),
}

impl TimeSource {
    /// Nanoseconds since the runtime started.
    pub fn now(&self) -> Instant {
        match self {
            TimeSource::Real(clock) => Instant(clock.nanoseconds()),
            TimeSource::Virtual(cell) => Instant(cell.get()),
        }
    }
}

/// Tells lanes, from any thread, to stop in order. Clones tell the same lanes.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Stop: listeners close now, and streams have until the runtime's deadline.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether `stop` was called.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How a lane behaves when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Look again at once: the core is the lane's alone.
    Poll,
    /// Yield for a while, then sleep briefly: cores are shared.
    Yield,
}

/// One lane: an engine and its queue pairs.
pub struct LaneRun {
    engine: Engine,
    /// One for each interface of the engine's.
    queues: Vec<Option<Box<dyn Queue>>>,
    links: Links,
    time: TimeSource,
    stop: StopFlag,
    stop_within: Duration,
    idle: Idle,
    lull: Lull,
    helping: Helping,
    /// Nothing is due before, unless something moves.
    quiet_until: Instant,
    /// The tick in which what was due was last looked for.
    advanced: Ticks,
    rests: Rests,
    turns: Turns,
    /// When the last turn began, if something moved in it.
    busy_from: Option<Instant>,
    frames: Vec<Frame>,
}

impl LaneRun {
    /// A lane that polls `queues` for `engine`, one for each of its interfaces in their order. Where there is none, it
    /// receives and sends by way of other lanes.
    pub fn new(
        engine: Engine,
        queues: Vec<Option<Box<dyn Queue>>>,
        links: Links,
        time: TimeSource,
        stop: StopFlag,
        stop_within: Duration,
        idle: Idle,
    ) -> LaneRun {
        let frames = Vec::with_capacity(BURST_MAX);
        LaneRun {
            engine,
            queues,
            links,
            time,
            stop,
            stop_within,
            idle,
            lull: Lull::default(),
            helping: Helping::FIRST,
            quiet_until: Instant::ZERO,
            advanced: Ticks::OFF,
            rests: Rests::default(),
            turns: Turns::default(),
            busy_from: None,
            frames,
        }
    }

    /// One turn: what the application asked, output, transmit; then receive, timers, and what to tell it.
    pub fn turn(&mut self, batch: &mut Batch) -> Turn {
        self.engine.begin_turn(self.time.now());
        let began = self.engine.now();
        if let Some(from) = self.busy_from.take() {
            self.turns.busy_ns += began.0.saturating_sub(from.0);
        }
        if self.stop.is_set() {
            self.engine.stop(self.stop_within);
            self.quiet_until = Instant::ZERO;
        }
        let asked = self.engine.take_batch(batch);
        // Before the segments that they are about can be answered.
        let mut moved = self.links.tell(&mut self.engine);
        moved |= self.speak();
        moved |= self.listen();
        let mut busy = asked;
        // What is due a lane looks for once a tick while it has other work. One that waits for its peer looks at the port again
        // and again, and for what is due once more when that may have changed.
        let (tick, idle) = (Ticks::at(began), !asked && !moved);
        if tick != self.advanced || idle && began >= self.quiet_until {
            busy |= self.engine.advance();
            moved |= self.links.tell(&mut self.engine);
            let next = self.engine.next_deadline().unwrap_or(Instant::FOREVER);
            // A turn sees to so many at once: what is left it looks for in the next.
            self.advanced = if next <= began { Ticks::OFF } else { tick };
            self.quiet_until = match busy | moved {
                true => Instant::ZERO,
                // The wheel goes with the clock, tick by tick.
                false => next.min(next_tick(began)),
            };
        } else {
            self.engine.advance_app_timers();
            if !idle {
                moved |= self.links.tell(&mut self.engine);
                self.quiet_until = Instant::ZERO;
            }
        }
        busy |= moved | self.engine.give_batch(batch);
        if moved {
            // A timer alone does not shorten sleeps: what comes from the port tells what will come.
            self.lull = Lull::default();
        }
        if !busy {
            self.queues.iter_mut().flatten().for_each(|queue| queue.reclaim());
        }
        if self.engine.is_overdue() {
            self.links.clear_relayed();
        }
        let running = !self.engine.is_stopped();
        if !running && self.links.end() {
            self.engine.clear();
        }
        let needed = self.links.is_needed();
        self.turns.count += 1;
        if busy {
            self.turns.busy += 1;
            self.busy_from = Some(began);
        }
        Turn::new(began)
            .with(Turn::RUNNING, running)
            .with(Turn::STOPPING, self.engine.is_stopping())
            .with(Turn::BUSY, busy)
            .with(Turn::NEEDED, needed)
    }

    fn speak(&mut self) -> bool {
        let LaneRun { engine, queues, links, .. } = self;
        let mut sent = 0;
        let mut send = |engine: &mut Engine| {
            let now = engine.now().0;
            for (interface, queue) in (0..).zip(&mut *queues) {
                sent += match queue {
                    Some(queue) => {
                        let relayed = links.relayed(interface).filter(|frames| !frames.is_empty());
                        let relayed = relayed.map_or(0, |frames| queue.transmit(now, frames));
                        engine.transmit(interface, |frames| queue.transmit(now, frames)) + relayed
                    }
                    None => engine.transmit(interface, |frames| links.transmit(interface, frames)),
                };
            }
        };
        let busy = engine.output(&mut send);
        send(engine);
        sent > 0 || busy
    }

    fn listen(&mut self) -> bool {
        let heard = self.links.hear(&mut self.engine);
        let now = self.engine.now().0;
        let (mut received, mut left) = (false, false);
        for (interface, queue) in (0..).zip(&mut self.queues) {
            let Some(queue) = queue else { continue };
            left |= (0..self.helping.bursts).all(|_| {
                let count = queue.receive(now, &mut self.frames, BURST_MAX);
                if count > 0 {
                    received = true;
                    self.engine.receive(interface, &mut self.frames);
                }
                count == BURST_MAX
            });
        }
        self.helping.note(left);
        received || heard
    }

    /// The queue pairs, between turns.
    pub fn ports(&mut self) -> &mut Ports {
        &mut self.queues
    }

    /// Another lane of the thread has had something to do.
    pub fn stir(&mut self) {
        self.lull = Lull::default();
    }

    /// Nothing is to be done before `until`: let others have the core. `others`: ports of the thread's other lanes.
    pub fn idle(&mut self, until: Option<Instant>, others: &mut [&mut Ports]) {
        if self.idle == Idle::Poll {
            return;
        }
        let heeds = self.lull.heeds();
        let watched = heeds && queues(&self.queues, others).all(|queue| queue.wakes().is_some());
        let most = match self.lull.pause(self.engine.now(), watched) {
            Pause::Spin => return,
            Pause::Yield => return std::thread::yield_now(),
            Pause::Sleep(most) => most,
        };
        // Whatever is waiting to go out goes before the lane rests.
        if self.speak() {
            self.lull = Lull::default();
            return;
        }
        let TimeSource::Real(clock) = &self.time else { return };
        let now = Instant(clock.nanoseconds());
        // What is late is not waited for: the port takes no more, or another turn would have seen to it.
        let frame = self.next_frame().filter(|at| *at > now);
        let deadline = [until, frame, self.engine.next_deadline()].into_iter().flatten().min();
        let left = deadline.map_or(most, |deadline| deadline.saturating_since(now).min(most));
        let mut all =
            self.queues.iter_mut().chain(others.iter_mut().flat_map(|ports| ports.iter_mut())).flatten();
        if left.is_zero() {
            return;
        }
        if heeds && !all.all(|queue| queue.watch()) {
            return self.lull.alarm();
        }
        let files = queues(&self.queues, others).filter(|_| heeds).filter_map(|queue| queue.wakes());
        if self.links.bell().sleep_beside(&files.collect::<Vec<_>>(), left) {
            self.lull.alarm();
        }
        let slept = Instant(clock.nanoseconds()).saturating_since(now);
        self.rests.count(left, slept);
        self.engine.rested(now.saturating_add(slept.min(left)));
    }

    /// What ends the lane's sleep.
    pub fn bell(&self) -> &Bell {
        self.links.bell()
    }

    /// The application has gone: stop, and close every stream in order.
    pub fn leave(&mut self) {
        self.quiet_until = Instant::ZERO;
        self.engine.leave(self.stop_within);
    }

    /// When the lane next has something to do without being asked.
    pub fn next_event(&self) -> Option<Instant> {
        [self.next_frame(), self.engine.next_deadline()].into_iter().flatten().min()
    }

    /// When a port next has a frame, where it knows.
    fn next_frame(&self) -> Option<Instant> {
        self.queues.iter().flatten().filter_map(|queue| queue.next_event()).min().map(Instant)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, between turns: for handing flows over.
    pub fn engine_mut(&mut self) -> &mut Engine {
        self.quiet_until = Instant::ZERO;
        &mut self.engine
    }

    /// Everything the lane knows about itself.
    pub fn report(&self) -> Report {
        Report { rests: self.rests, turns: self.turns, ..self.engine.report() }
    }
}

/// A lane's queue pairs and those of the lanes that take turns with it.
fn queues<'q>(own: &'q Ports, others: &'q [&mut Ports]) -> impl Iterator<Item = &'q Box<dyn Queue>> {
    own.iter().chain(others.iter().flat_map(|ports| ports.iter())).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;

    use drivers::{Capabilities, Pools};

    use super::*;
    use crate::config::EngineConfig;
    use crate::engine::Interface;
    use crate::socket::LaneId;

    /// A port that has a file to be woken by, and says whether something has come already.
    struct Door(UnixStream, Arc<AtomicBool>);

    impl Queue for Door {
        fn receive(&mut self, _now: u64, _frames: &mut Vec<Frame>, _max: usize) -> usize {
            0
        }

        fn transmit(&mut self, _now: u64, _frames: &mut Vec<Frame>) -> usize {
            0
        }

        fn wakes(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }

        fn watch(&mut self) -> bool {
            !self.1.load(Ordering::Relaxed)
        }
    }

    /// A lane without ports of its own, and one port of another's, at which `has_come` is what it says. What is written to the
    /// file wakes.
    fn lane_beside(has_come: &Arc<AtomicBool>) -> (LaneRun, [Option<Box<dyn Queue>>; 1], UnixStream) {
        let config = EngineConfig::new([10, 0, 0, 1].into(), 24);
        let interface =
            Interface { mac: [2; 6], mtu: 1500, vlan: None, capabilities: Capabilities::plain(1500) };
        let ports = vec![(interface, Pools::heap(4, 8))];
        let engine = Engine::new(LaneId(0), config, ports, Instant::ZERO).expect("an engine");
        let links = Links::alone(LaneId(0), Bell::default());
        let time = TimeSource::Real(Clock::new());
        let run =
            LaneRun::new(engine, vec![None], links, time, StopFlag::default(), Duration::ZERO, Idle::Yield);
        let (file, far) = UnixStream::pair().expect("a pair");
        (run, [Some(Box::new(Door(file, Arc::clone(has_come))))], far)
    }

    /// A turn without work, and a rest.
    fn turn(run: &mut LaneRun, other: &mut Ports) {
        run.turn(&mut Batch::default());
        run.idle(None, &mut [other]);
    }

    #[test]
    fn a_lane_rests_beside_the_ports_of_all_lanes_of_its_thread() {
        // Shows that what has come for another lane keeps this one from its sleep, and that what comes for it ends one.
        let has_come = Arc::new(AtomicBool::new(true));
        let (mut run, mut other, mut far) = lane_beside(&has_come);
        for _ in 0..1_000_000 {
            turn(&mut run, &mut other);
            if !run.lull.heeds() {
                break;
            }
        }
        assert_eq!((run.lull.heeds(), run.report().rests), (false, Rests::default()));
        has_come.store(false, Ordering::Relaxed);
        far.write_all(b"!").expect("room");
        // A machine that is busy may be late now and then.
        for _ in 0..100 {
            run.stir();
            let count = run.report().rests.count;
            while run.report().rests.count == count {
                turn(&mut run, &mut other);
            }
        }
        assert!(run.report().rests.woken > 0, "{:?}", run.report().rests);
    }

    #[test]
    fn a_port_that_says_in_vain_that_something_has_come_does_not_keep_a_lane_awake() {
        // Shows that both ways of saying so are believed a few times, and that the lane then sleeps for its time.
        for has_come in [true, false] {
            let (mut run, mut other, mut far) = lane_beside(&Arc::new(AtomicBool::new(has_come)));
            far.write_all(b"!").expect("room");
            for _ in 0..1_000_000 {
                turn(&mut run, &mut other);
                if run.report().rests.count == 20 {
                    break;
                }
            }
            let rests = run.report().rests;
            assert!(rests.count == 20 && rests.woken <= 8, "{rests:?}");
        }
    }
}
