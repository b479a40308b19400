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
        if needed && !turns.iter().any(|turn| turn.is(Turn::BUSY)) {
            departed.iter_mut().take(1).for_each(|crossing| crossing.idle(None));
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
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use drivers::{Frame, Queue};
    use stack::config::Address;
    use stack::socket::{Event, Op, OpError, QueueId, Reason};

    use super::*;
    use crate::soft::Net;

    fn config(net: &Net) -> Config {
        let small = Config::new(net.clone(), IpAddr::from([10, 0, 0, 1]));
        Config { receive_frames: 256, control_frames: 256, blocks: 16, ..small }
    }

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config(&Net::default());
        change(&mut config);
        Runtime::new(config).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn bad_settings_are_refused_with_their_remedy() {
        // Shows one line for each kind, which names the setting to change.
        let one = Address { ip: [224, 0, 0, 1].into(), prefix: 24 };
        assert!(refusal(|config| config.lanes = Some(65)).contains("1 to 64"));
        assert!(refusal(|config| (config.lanes, config.threads) = (Some(1), Some(2))).contains("`threads`"));
        assert!(refusal(|config| (config.threads, config.cores) = (Some(1), vec![0, 1])).contains("`cores`"));
        assert!(refusal(|config| config.queues = Some(2)).contains("`queues`"));
        assert!(refusal(|config| config.ops = 1).contains("raise `ops`"));
        assert!(refusal(|config| config.sends_per_stream = 10).contains("4096 frames"));
        assert!(refusal(|config| config.sockets = 0).contains("`sockets` cannot be 0"));
        assert!(refusal(|config| config.devices[0].addresses.clear()).contains("`addresses`"));
        assert!(refusal(|config| config.devices[0].addresses = vec![one]).contains("unicast"));
        assert!(refusal(|config| config.devices[0].mtu = Some(100)).contains("at least 576"));
        for (ip, mac, remedy) in [
            ([10, 0, 0, 2], [1, 0, 0x5e, 0, 0, 1], "one station"),
            ([10, 0, 0, 2], [0; 6], "one station"),
            ([10, 0, 0, 1], [2; 6], "another host's"),
            ([10, 0, 1, 2], [2; 6], "in the subnet of one of `addresses`"),
            ([224, 0, 0, 1], [2; 6], "in the subnet of one of `addresses`"),
            ([10, 0, 0, 9], [2; 6], "named twice"),
        ] {
            let known = (IpAddr::from([10, 0, 0, 9]), [2; 6]);
            let text = refusal(|config| config.devices[0].neighbours = vec![known, (ip.into(), mac)]);
            assert!(text.contains("cannot be a neighbour at") && text.contains(remedy), "{text}");
        }
        assert_eq!(refusal(|_| ()), "");
    }

    /// Connects to an echo server, sends a byte and takes it back.
    fn greet(mut lane: Lane, to: SocketAddr) -> Result<(), LaneError> {
        lane.submit(Op::connect(to))?;
        while lane.wait(&[QueueId::MAIN], None) {
            while let Some(done) = lane.take(QueueId::MAIN) {
                match done.event {
                    Event::Connected { stream, .. } => {
                        lane.submit(Op::receive(stream))?;
                        lane.submit(Op::send(stream, &b"!"[..]))?;
                    }
                    Event::Received { stream, .. } => lane.submit(Op::close(stream))?,
                    Event::Closed { reason: Reason::Done, .. } => return Ok(()),
                    Event::Failed { error, .. } => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Err(OpError::Cancelled.into())
    }

    fn echo(mut lane: Lane, address: SocketAddr, listening: &Barrier) -> Result<(), LaneError> {
        lane.submit(Op::listen_eager(address))?;
        while lane.wait(&[QueueId::MAIN], None) {
            while let Some(done) = lane.take(QueueId::MAIN) {
                match done.event {
                    Event::Listening { .. } => drop(listening.wait()),
                    Event::Received { stream, data } => lane.submit(Op::send(stream, data))?,
                    Event::End { stream } => lane.submit(Op::close(stream))?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// A device whose frames are looked at on their way out: counts ARP requests.
    struct Watched {
        queue: Box<dyn Queue>,
        requests: Arc<AtomicUsize>,
        others: Arc<AtomicUsize>,
    }

    impl Queue for Watched {
        fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
            self.queue.receive(now, frames, max)
        }

        fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
            for frame in frames.iter() {
                let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
                // EtherType ARP, and a target that is not the sender: no announcement of the host's own address.
                let asks = bytes[12..14] == [8, 6] && bytes[28..32] != bytes[38..42];
                let count = if asks { &self.requests } else { &self.others };
                count.fetch_add(1, Ordering::Relaxed);
            }
            self.queue.transmit(now, frames)
        }
    }

    /// Let two runtimes talk that know each other's stations if `known`. Returns ARP requests and other frames sent.
    fn talk(known: bool) -> (usize, usize) {
        let (net, counts) = (Net::default(), [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))]);
        let stations =
            [(IpAddr::from([10, 0, 0, 1]), [2, 0, 0, 0, 0, 1]), ([10, 0, 0, 2].into(), [2, 0, 0, 0, 0, 2])];
        let [server, client] = [0, 1].map(|host: usize| {
            let mut config = config(&net);
            config.devices[0].addresses = vec![Address { ip: stations[host].0, prefix: 24 }];
            config.devices[0].neighbours = if known { vec![stations[1 - host]] } else { Vec::new() };
            let mut runtime = Runtime::new(config).expect("a wire has two ends");
            assert_eq!(runtime.devices()[0].mac(), stations[host].1);
            let lane = &mut runtime.threads[0].lanes[0];
            let [requests, others] = counts.each_ref().map(Arc::clone);
            let queue = lane.ports[0].queue.take().expect("a lane of its own has a queue");
            lane.ports[0].queue = Some(Box::new(Watched { queue, requests, others }));
            runtime
        });
        let (address, listening) = (SocketAddr::new(stations[0].0, 7), Barrier::new(2));
        let stopper = server.stopper();
        thread::scope(|scope| {
            let served = scope.spawn(|| server.run(|lane| echo(lane, address, &listening)));
            listening.wait();
            let greeted = client.run(|lane| greet(lane, address));
            stopper.stop();
            assert!(matches!((greeted, served.join()), (Ok(()), Ok(Ok(())))));
        });
        let [requests, others] = counts.map(|count| count.load(Ordering::Relaxed));
        (requests, others)
    }

    #[test]
    fn known_neighbours_are_never_asked_for() {
        // Shows that two runtimes which know each other talk without an ARP request, and that else there is one.
        let (requests, others) = talk(true);
        assert!(requests == 0 && others > 4, "{requests} requests, {others} other frames");
        assert!(talk(false).0 > 0);
    }

    #[test]
    fn a_wire_has_two_ends() {
        // Shows that a third runtime is told, and that the first two are not hurt.
        let net = Net::default();
        let first_two = [Runtime::new(config(&net)), Runtime::new(config(&net))];
        assert!(matches!(Runtime::new(config(&net)), Err(SetupError::NetTaken)));
        assert!(first_two.iter().all(Result::is_ok));
    }

    #[test]
    fn an_error_of_the_application_ends_the_runtime() {
        // Shows that `run` returns what the application returned, with the lane's name.
        let runtime = Runtime::new(config(&Net::default())).ok();
        let result = runtime.map(|runtime| runtime.run(|_lane| Err(OpError::NoPorts.into())));
        let text = result.and_then(Result::err).map(|error| error.to_string());
        assert_eq!(text, Some(format!("lane 0: {}", OpError::NoPorts)));
    }

    #[test]
    fn stopping_closes_the_listener_and_ends_the_loop() {
        // Shows that a loop which knows nothing of stopping ends once another thread says so.
        let runtime =
            Runtime::new(config(&Net::default())).ok().filter(|runtime| runtime.devices()[0].link().up);
        let stopper = runtime.as_ref().map(Runtime::stopper);
        let result = runtime.map(|runtime| {
            runtime.run(|mut lane| {
                lane.submit(Op::listen(([10, 0, 0, 1], 80).into()))?;
                while lane.wait(&[QueueId::MAIN], None) {
                    while let Some(done) = lane.take(QueueId::MAIN) {
                        if let (Event::Listening { .. }, Some(stopper)) = (done.event, &stopper) {
                            stopper.stop();
                        }
                    }
                }
                Ok(())
            })
        });
        assert!(matches!(result, Some(Ok(()))));
    }
}
