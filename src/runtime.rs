//! From a configuration to running lanes, and to their end. What each setting means is in `config.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use drivers::clock::Clock;
use drivers::{Bell, Link, Region};
use rustix::thread::{CpuSet, sched_setaffinity};
use stack::config::EngineConfig;
use stack::engine::Engine;
use stack::lane::{Departed, Lane, LaneError, LaneOptions, LaneSet};
use stack::links::Links;
use stack::mode::run_to_completion::RunToCompletion;
use stack::mode::{Batch, Crossing, LaneWaker, Turn};
use stack::run::{Idle, LaneRun, StopFlag, TimeSource};
use stack::socket::LaneId;

use crate::bring_up::{Apart, OpenDevice, PortParts, engine_config, open, ring, system, take_apart};
use crate::check::{Shape, check, check_mtu};
use crate::config::{Config, Mode};
use crate::setup::{RunError, SetupError};

/// Devices, memory and lanes, claimed and not running yet.
pub struct Runtime {
    config: Config,
    shape: Shape,
    devices: Vec<OpenDevice>,
    threads: Vec<ThreadParts>,
    stopper: Stopper,
}

/// What one thread is made of.
struct ThreadParts {
    core: Option<u16>,
    lanes: Vec<LaneParts>,
}

/// What one lane is made of, before it has a thread.
struct LaneParts {
    id: LaneId,
    blocks: Region,
    engine: EngineConfig,
    ports: Vec<PortParts>,
    links: Links,
}

impl Runtime {
    /// Claim devices, cores and memory. Nothing is answered on the network yet.
    ///
    /// Errors: see [`SetupError`]; what was claimed is given back.
    pub fn new(config: Config) -> Result<Runtime, SetupError> {
        let shape = check(&config)?;
        // Before there are threads of DPDK's or the application's that it would interrupt.
        #[cfg(feature = "dpdk")]
        drivers::dpdk::refuse_tap_signal();
        let mut engine = EngineConfig { lanes: shape.lanes, ..engine_config(&config)? };
        let (mut devices, mut queues) = (Vec::new(), Vec::new());
        let mut ports: Vec<Vec<PortParts>> = (0..shape.lanes).map(|_| Vec::new()).collect();
        for (number, of) in config.devices.iter().enumerate() {
            let opened = open(&config, of, shape)?;
            check_mtu(of, opened.mtu)?;
            queues.push(opened.queues.len());
            let Apart { device, rss, parts } = take_apart(opened, &config, number)?;
            devices.push(device);
            engine.interfaces[number].rss = rss.filter(|_| shape.lanes > 1);
            ports.iter_mut().zip(parts).for_each(|(ports, parts)| ports.push(parts));
        }
        let bells: Vec<Bell> = (0..shape.threads).map(|_| Bell::default()).collect();
        let of_lanes: Vec<Bell> = bells.iter().cycle().take(usize::from(shape.lanes)).cloned().collect();
        let links = Links::mesh(&of_lanes, &queues, ring)?;
        let thread = |index: u8| ThreadParts {
            core: config.cores.get(usize::from(index)).copied(),
            lanes: Vec::new(),
        };
        let mut threads: Vec<ThreadParts> = (0..shape.threads).map(thread).collect();
        for ((index, ports), links) in (0..).zip(ports).zip(links) {
            let blocks = Region::new(config.blocks, config.block_bytes);
            let lane = LaneParts { id: LaneId(index), blocks, engine: engine.clone(), ports, links };
            threads[usize::from(index) % usize::from(shape.threads)].lanes.push(lane);
        }
        Ok(Runtime { shape, devices, threads, stopper: Stopper::default(), config })
    }

    /// Ends the runtime, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Its devices, in the order of the configuration.
    pub fn devices(&self) -> &[OpenDevice] {
        &self.devices
    }

    /// How many lanes there will be.
    pub fn lanes(&self) -> usize {
        usize::from(self.shape.lanes)
    }

    /// Run `app` once for each lane on its thread, and return when all have ended: the first error, if any.
    ///
    /// Errors: lanes share threads, a lane could not begin, or its application ended it. The other lanes are then told
    /// to stop.
    pub fn run<A>(self, app: A) -> Result<(), RunError>
    where
        A: Fn(Lane) -> Result<(), LaneError> + Sync,
    {
        let Shape { lanes, threads, .. } = self.shape;
        let shared = || SetupError::LanesShareThreads { lanes: lanes.into(), threads: threads.into() };
        if lanes != threads {
            return Err(shared().into());
        }
        self.run_sets(|set| match set.into_only() {
            Ok(lane) => app(lane),
            Err(set) => {
                drop(set);
                Err(LaneError::Application(Box::new(shared())))
            }
        })
    }

    /// Run `app` once for each thread with the lanes it has, and return when all have ended: the first error, if any.
    ///
    /// Errors: a lane could not begin, or the application ended it. The other threads are then told to stop.
    pub fn run_sets<A>(self, app: A) -> Result<(), RunError>
    where
        A: Fn(LaneSet) -> Result<(), LaneError> + Sync,
    {
        let Runtime { config, devices, threads: parts, stopper, .. } = self;
        let Mode::RunToCompletion = config.mode;
        // All lanes' clocks begin at the same moment.
        let clock = Clock::new();
        let (over, bell) = (AtomicBool::new(false), Bell::default());
        let result = thread::scope(|scope| {
            let watch = || watch_links(&devices, &over, &bell);
            let mut first = thread::Builder::new()
                .name("link".into())
                .spawn_scoped(scope, watch)
                .map_or_else(|error| Err(system("a thread", &error).into()), |_| Ok(()));
            let mut threads = Vec::with_capacity(parts.len());
            for parts in parts {
                let (app, stopper, config) = (&app, &stopper, &config);
                let lane = parts.lanes.first().map_or(LaneId(0), |lane| lane.id);
                let spawned = thread::Builder::new().name(lane.to_string()).spawn_scoped(scope, move || {
                    // A panic and a lane that could not begin stop the others too.
                    let result =
                        catch_unwind(AssertUnwindSafe(|| run_thread(parts, config, clock, stopper, app)));
                    if !matches!(result, Ok(Ok(()))) {
                        stopper.stop();
                    }
                    result.unwrap_or_else(|panic| resume_unwind(panic))
                });
                match spawned {
                    Ok(thread) => threads.push((lane, thread)),
                    Err(error) => first = Err(system("a thread", &error).into()),
                }
            }
            if first.is_err() {
                stopper.stop();
            }
            for (lane, thread) in threads {
                let result = thread.join().unwrap_or(Err(RunError::Panicked { lane }));
                first = first.and(result);
            }
            over.store(true, Ordering::Release);
            bell.ring();
            first
        });
        for (name, capture) in
            devices.iter().filter_map(|device| Some((&device.name, device.capture.as_ref()?)))
        {
            if capture.dropped() > 0 {
                tracing::warn!(
                    "the capture of {name} lacks {} frames: its disk was too slow",
                    capture.dropped()
                );
            }
        }
        // The devices outlive every lane.
        drop(devices);
        result
    }
}

/// How often the links are looked at: some drivers tell of no change by themselves.
const LINK_INTERVAL: Duration = Duration::from_millis(250);

/// Say when a link goes down and comes back. Connections outlive it: what is lost meanwhile is sent again.
fn watch_links(devices: &[OpenDevice], over: &AtomicBool, bell: &Bell) {
    let mut seen: Vec<(Link, bool, Option<String>)> =
        devices.iter().map(|device| (device.link(), false, None)).collect();
    while !over.load(Ordering::Acquire) {
        bell.sleep(LINK_INTERVAL);
        for (device, (link, gone, told)) in devices.iter().zip(&mut seen) {
            let name = &device.name;
            if !*gone && device.control.is_gone() {
                *gone = true;
                tracing::error!(
                    "{name} has been taken away: nothing comes any more; start again once it is back"
                );
            }
            let trouble = device.control.trouble();
            if let Some(why) = trouble.as_ref().filter(|_| trouble != *told) {
                tracing::warn!("{name} has no link: {why}");
            }
            *told = trouble;
            let now = device.link();
            match (link.up, now.up) {
                (true, false) => tracing::warn!("the link of {name} is down: connections wait for it"),
                (false, true) => tracing::warn!("the link of {name} is up"),
                _ => {}
            }
            *link = now;
        }
    }
}

fn run_thread<A>(
    parts: ThreadParts,
    config: &Config,
    clock: Clock,
    stopper: &Stopper,
    app: &A,
) -> Result<(), RunError>
where
    A: Fn(LaneSet) -> Result<(), LaneError> + Sync,
{
    let ThreadParts { core, lanes } = parts;
    if let Some(core) = core {
        pin(core)?;
    }
    // Pools are faster for threads that DPDK knows.
    #[cfg(feature = "dpdk")]
    let _known = drivers::dpdk::register_thread();
    let first = lanes.first().map_or(LaneId(0), |lane| lane.id);
    let started: Result<Vec<Lane>, RunError> =
        lanes.into_iter().map(|parts| start_lane(parts, config, clock, stopper)).collect();
    let mut lanes = started?;
    let departed = Departed::default();
    lanes.iter_mut().for_each(|lane| lane.depart_to(&departed));
    let result = app(LaneSet::new(lanes)).map_err(|error| RunError::Application { lane: first, error });
    if result.is_err() {
        stopper.stop();
    }
    hand_over(&mut departed.borrow_mut());
    result
}

/// Hand over what comes for other lanes, until they have ended too.
fn hand_over(departed: &mut [Box<dyn Crossing>]) {
    let (mut batch, mut needed) = (Batch::default(), true);
    while needed {
        let turns: Vec<Turn> = departed.iter_mut().map(|crossing| crossing.turn(&mut batch)).collect();
        batch.completions.clear();
        needed = turns.iter().any(|turn| turn.is(Turn::NEEDED));
        if needed
            && !turns.iter().any(|turn| turn.is(Turn::BUSY))
            && let Some((first, others)) = departed.split_first_mut()
        {
            let others = others.iter_mut().map(|crossing| crossing.ports());
            first.idle(None, &mut others.collect::<Vec<_>>());
        }
    }
}

fn start_lane(parts: LaneParts, config: &Config, clock: Clock, stopper: &Stopper) -> Result<Lane, RunError> {
    let LaneParts { id, blocks, engine, ports, links } = parts;
    let time = TimeSource::Real(clock);
    let (mut queues, mut interfaces) = (Vec::new(), Vec::new());
    for PortParts { interface, queue, pools } in ports {
        queues.push(queue);
        interfaces.push((interface, pools));
    }
    let engine = Engine::new(id, engine, interfaces, time.now()).map_err(SetupError::from)?;
    let idle = if config.poll { Idle::Poll } else { Idle::Yield };
    let told = stopper.0.told.clone();
    let run = LaneRun::new(engine, queues, links, time, told, config.stop_within, idle);
    let lane = Lane::new(id, lane_options(config), blocks, Box::new(RunToCompletion::new(run)));
    stopper.0.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(lane.waker());
    Ok(lane)
}

fn pin(core: u16) -> Result<(), SetupError> {
    let refused = |reason: String| SetupError::Core { core, reason };
    if usize::from(core) >= CpuSet::MAX_CPU {
        return Err(refused(format!("cores are numbered below {}", CpuSet::MAX_CPU)));
    }
    let mut cores = CpuSet::new();
    cores.set(usize::from(core));
    sched_setaffinity(None, &cores).map_err(|error| refused(error.to_string()))
}

fn lane_options(config: &Config) -> LaneOptions {
    LaneOptions {
        ops: config.ops,
        completions: config.completions,
        sends_per_stream: config.sends_per_stream,
        detached_frames_max: config.detached_frames_max,
    }
}

/// Ends a runtime. Clones end the same one.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<Stop>);

#[derive(Debug, Default)]
struct Stop {
    told: StopFlag,
    wakers: Mutex<Vec<LaneWaker>>,
}

impl Stopper {
    /// Close listeners now, and give streams the runtime's `stop_within` to end.
    pub fn stop(&self) {
        self.0.told.stop();
        for waker in self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests;
