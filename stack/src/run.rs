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
use crate::mode::{Batch, Turn};
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

/// How long a yielding lane keeps its core with nothing to do: a peer on another core answers over Linux's links in some
/// 20 us. Whoever yields a shared core may not have it again for milliseconds. By the clock, for a turn without work
/// takes 0.5 us where looking at the port calls the system (TAP), and 0.1 where its ring is memory (AF_PACKET).
const SPIN: Duration = Duration::from_micros(32);

/// How long it stays awake with nothing to do, the time in which it yields included. The shortest sleep takes no less: by
/// itself Linux lets timers be 50 us late.
const AWAKE: Duration = Duration::from_micros(48);

/// The first sleep. Each that ends with nothing to do doubles the next.
const SLEEP_MIN: Duration = Duration::from_micros(16);

/// The longest sleep at first. Other lanes and wakers end a sleep at once; only what comes from a port waits for it, and not
/// where the port wakes whoever sleeps.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// Sleeps, about a quarter of a second, after which a lane sleeps longer: a thousand wake-ups a second cost two per cent
/// of a core.
const DOZE_SLEEPS: u32 = 256;

/// The longest sleep of all: latency after idling is at most this and the scheduler's wake-up.
pub(crate) const DOZE_MAX: Duration = Duration::from_millis(4);

/// The longest sleep of a lane that what comes from its ports wakes: a stop waits for it.
const WATCH_MAX: Duration = Duration::from_millis(50);

/// A burst may follow a burst within a turn, up to so many of each port: applications get their turn too.
const BURSTS_MAX: u32 = 4;

/// Turns that left something waiting, one behind the other, after which a turn takes twice as much.
const FULL_TURNS: u32 = 8;

/// Bursts of each port that a turn takes.
///
/// Answers go at the end of a turn. A peer all of whose requests are answered in one turn has nothing to do meanwhile, and then
/// leaves the lane without: sixty-four requests in flight over shared memory were answered at half the rate. So it is one
/// burst while ports are emptied, and more while they are not, for a turn has its own cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Helping {
    bursts: u32,
    /// Turns that left something waiting, up to the last, since it grew.
    full: u32,
}

/// The time in which nothing moves, and what a yielding lane does with it.
#[derive(Clone, Copy, Debug, Default)]
struct Lull {
    /// When the first turn without work began.
    since: Option<Instant>,
    sleeps: u32,
}

/// What to do with a turn's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pause {
    /// Look again at once.
    Spin,
    /// Let others have the core, if there are any.
    Yield,
    /// For no longer than that.
    Sleep(Duration),
}

impl Helping {
    const FIRST: Helping = Helping { bursts: 1, full: 0 };

    /// A turn has ended: `left` if a port had as much as it was asked for, and so perhaps more.
    fn note(&mut self, left: bool) {
        if !left {
            *self = Helping::FIRST;
            return;
        }
        self.full += 1;
        if self.full == FULL_TURNS {
            *self = Helping { bursts: (2 * self.bursts).min(BURSTS_MAX), full: 0 };
        }
    }
}

impl Lull {
    /// A turn that began at `now` had nothing to do. `watched`: whatever comes ends a sleep.
    fn pause(&mut self, now: Instant, watched: bool) -> Pause {
        let lasted = now.saturating_since(*self.since.get_or_insert(now));
        if lasted < SPIN {
            return Pause::Spin;
        }
        if lasted < AWAKE {
            return Pause::Yield;
        }
        if watched {
            return Pause::Sleep(WATCH_MAX);
        }
        let most = if self.sleeps < DOZE_SLEEPS { SLEEP_MAX } else { DOZE_MAX };
        let sleep = most.min(SLEEP_MIN * (1 << self.sleeps.min(16)));
        self.sleeps = self.sleeps.saturating_add(1);
        Pause::Sleep(sleep)
    }
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

    /// Nothing is to be done before `until`: let others have the core.
    pub fn idle(&mut self, until: Option<Instant>) {
        if self.idle == Idle::Poll {
            return;
        }
        let watched = self.queues.iter().flatten().all(|queue| queue.wakes().is_some());
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
        if !left.is_zero() && self.queues.iter_mut().flatten().all(|queue| queue.watch()) {
            let files: Vec<_> = self.queues.iter().flatten().filter_map(|queue| queue.wakes()).collect();
            self.links.bell().sleep_beside(&files, left);
            let slept = Instant(clock.nanoseconds()).saturating_since(now);
            self.rests.count(left, slept);
            self.engine.rested(now.saturating_add(slept.min(left)));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a lull's turns end with, each `turn` after the one before, in order and without repetitions.
    fn pauses(turn: Duration, turns: u32) -> Vec<Pause> {
        let mut lull = Lull::default();
        let began =
            (0..turns).map(|number| Instant::ZERO.saturating_add(Duration::from_secs(1) + turn * number));
        let mut pauses: Vec<_> = began.map(|now| lull.pause(now, false)).collect();
        pauses.dedup();
        pauses
    }

    #[test]
    fn a_turn_takes_more_while_more_is_waiting() {
        // Shows how a turn's bursts grow, up to their bound, and that one that leaves nothing begins anew.
        let mut helping = Helping::FIRST;
        let mut turns = |full: bool, turns: u32| {
            (0..turns).for_each(|_| helping.note(full));
            helping.bursts
        };
        assert_eq!([turns(true, 7), turns(true, 1), turns(true, 8), turns(true, 80)], [1, 2, 4, 4]);
        assert_eq!([turns(false, 1), turns(true, 7), turns(false, 1), turns(true, 7)], [1; 4]);
    }

    #[test]
    fn a_lane_keeps_awake_by_the_clock() {
        // Shows that turns of any length, as links differ in it, end in the first sleep at the same time.
        for turn in [50, 500, 4_000].map(Duration::from_nanos) {
            let turns = u32::try_from(AWAKE.as_nanos() / turn.as_nanos()).expect("few");
            assert_eq!(pauses(turn, turns), [Pause::Spin, Pause::Yield]);
            assert_eq!(pauses(turn, turns + 1), [Pause::Spin, Pause::Yield, Pause::Sleep(SLEEP_MIN)]);
        }
        // Who lost its core meanwhile has looked once more.
        assert_eq!(pauses(SLEEP_MAX, 2), [Pause::Spin, Pause::Sleep(SLEEP_MIN)]);
    }

    #[test]
    fn sleeps_grow_to_their_bounds() {
        // Shows each length of a sleep once, the last one only after many of the one before.
        let expected =
            [16, 32, 64, 128, 256, 512, 1_000, 4_000].map(|us| Pause::Sleep(Duration::from_micros(us)));
        assert_eq!(pauses(AWAKE, DOZE_SLEEPS + 2)[1..], expected);
        assert_eq!(pauses(AWAKE, DOZE_SLEEPS + 1)[1..], expected[..7]);
        let mut lull = Lull::default();
        let began = Instant::ZERO.saturating_add(AWAKE);
        assert_eq!(
            [lull.pause(Instant::ZERO, true), lull.pause(began, true)],
            [Pause::Spin, Pause::Sleep(WATCH_MAX)]
        );
    }
}
