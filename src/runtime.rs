//! From a configuration to running lanes, and to their end. What each setting means is in `config.rs`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use drivers::clock::Clock;
use drivers::soft::with_faults;
use drivers::{Control, DeviceStatistics, Link, OpenOptions, Opened, Pools, Queue, QueueParts, Region};
use rustix::thread::{CpuSet, sched_setaffinity};
use stack::config::{Address, EngineConfig, Gateway};
use stack::engine::{Engine, Interface};
use stack::lane::{Lane, LaneError, LaneOptions};
use stack::mode::LaneWaker;
use stack::mode::run_to_completion::RunToCompletion;
use stack::run::{Idle, LaneRun, StopFlag, TimeSource};
use stack::socket::{LaneId, SocketId};

use crate::config::{Config, Device, Mode};
use crate::setup::{RunError, SetupError};

/// Least ops of a batch: what the main queue declares for one completion, and as much again.
pub(crate) const OPS_MIN: usize = 8;

/// Least MTU of IPv4 and of IPv6. Units: bytes.
const MTU_MIN: (u16, u16) = (576, 1280);

/// Devices, memory and lanes, claimed and not running yet.
pub struct Runtime {
    config: Config,
    name: String,
    mac: [u8; 6],
    lanes: Vec<LaneParts>,
    control: Box<dyn Control>,
    stopper: Stopper,
}

/// What one lane is made of, before it has a thread.
struct LaneParts {
    id: LaneId,
    core: Option<u16>,
    blocks: Region,
    engine: EngineConfig,
    interface: Interface,
    queue: Box<dyn Queue>,
    pools: Pools,
}

impl Runtime {
    /// Claim devices, cores and memory. Nothing is answered on the network yet.
    ///
    /// Errors: see [`SetupError`]; what was claimed is given back.
    pub fn new(config: Config) -> Result<Runtime, SetupError> {
        check(&config)?;
        let Opened { name, mac, mtu, capabilities, queues, control, .. } = open(&config)?;
        check_mtu(&config, mtu)?;
        let stopper = Stopper::default();
        let engine = engine_config(&config)?;
        let interface = Interface { mac, mtu, vlan: config.vlan, capabilities };
        let lanes = (0..).zip(queues).map(|(index, QueueParts { queue, pools })| LaneParts {
            id: LaneId(index),
            core: config.cores.get(usize::from(index)).copied(),
            blocks: Region::new(config.blocks, config.block_bytes),
            engine: engine.clone(),
            interface,
            queue,
            pools,
        });
        let lanes = lanes.collect();
        Ok(Runtime { name, mac, lanes, control, stopper, config })
    }

    /// Ends the runtime, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.name
    }

    /// The device's Ethernet address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// State of the device's link.
    pub fn link(&self) -> Link {
        self.control.link()
    }

    /// The device's own counters.
    pub fn statistics(&self) -> DeviceStatistics {
        self.control.statistics()
    }

    /// Run `app` once for each lane on its thread, and return when all have ended: the first error, if any.
    ///
    /// Errors: a lane could not begin, or its application ended it. The other lanes are then told to stop.
    pub fn run<A>(self, app: A) -> Result<(), RunError>
    where
        A: Fn(Lane) -> Result<(), LaneError> + Sync,
    {
        let Runtime { config, lanes, control, stopper, .. } = self;
        let Mode::RunToCompletion = config.mode;
        // All lanes' clocks begin at the same moment.
        let clock = Clock::new();
        let result = thread::scope(|scope| {
            let mut threads = Vec::with_capacity(lanes.len());
            let mut first = Ok(());
            for parts in lanes {
                let id = parts.id;
                let (app, stopper, config) = (&app, &stopper, &config);
                let spawned = thread::Builder::new().name(id.to_string()).spawn_scoped(scope, move || {
                    let result = run_lane(parts, config, clock, stopper, app);
                    if result.is_err() {
                        stopper.stop();
                    }
                    result
                });
                match spawned {
                    Ok(thread) => threads.push((id, thread)),
                    Err(error) => {
                        stopper.stop();
                        first = Err(system("a thread", &error).into());
                    }
                }
            }
            for (lane, thread) in threads {
                let result = thread.join().unwrap_or(Err(RunError::Panicked { lane }));
                first = first.and(result);
            }
            first
        });
        // The device outlives every lane.
        drop(control);
        result
    }
}

fn run_lane<A>(
    parts: LaneParts,
    config: &Config,
    clock: Clock,
    stopper: &Stopper,
    app: &A,
) -> Result<(), RunError>
where
    A: Fn(Lane) -> Result<(), LaneError> + Sync,
{
    let LaneParts { id, core, blocks, engine, interface, queue, pools } = parts;
    if let Some(core) = core {
        pin(core)?;
    }
    // Pools are faster for threads that DPDK knows.
    #[cfg(feature = "dpdk")]
    let _known = drivers::dpdk::register_thread();
    let time = TimeSource::Real(clock);
    let engine = Engine::new(id, engine, interface, pools, time.now()).map_err(SetupError::from)?;
    let idle = if config.poll { Idle::Poll } else { Idle::Yield };
    let told = stopper.0.told.clone();
    let run = LaneRun::new(engine, queue, time, told, config.stop_within, idle);
    let lane = Lane::new(id, lane_options(config), blocks, Box::new(RunToCompletion::new(run)));
    stopper.0.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(lane.waker());
    app(lane).map_err(|error| RunError::Application { lane: id, error })
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

fn check(config: &Config) -> Result<(), SetupError> {
    if config.cores.len() > 1 {
        return Err(SetupError::TooManyLanes { asked: config.cores.len() });
    }
    if config.ops < OPS_MIN {
        return Err(SetupError::TooFewOps { ops: config.ops });
    }
    let frames = u32::from(config.tcp.receive_frames_max);
    if config.sends_per_stream < frames {
        return Err(SetupError::TooFewSends { sends: config.sends_per_stream, frames });
    }
    let bounds = [
        ("sockets", config.sockets, SocketId::SLOTS_MAX),
        ("blocks", config.blocks, u32::MAX as usize / 2),
        ("block_bytes", config.block_bytes, u16::MAX as usize),
        ("receive_frames", config.receive_frames, 1 << 24),
        ("control_frames", config.control_frames, 1 << 24),
        ("completions", config.completions as usize, u32::MAX as usize),
        ("descriptors", usize::from(config.descriptors), 1 << 15),
    ];
    for (name, value, most) in bounds {
        if value == 0 || value > most {
            return Err(SetupError::Bound { name, value, most });
        }
    }
    if config.addresses.is_empty() {
        return Err(SetupError::NoAddress);
    }
    config.addresses.iter().try_for_each(check_address)?;
    check_neighbours(config)
}

fn check_address(address: &Address) -> Result<(), SetupError> {
    let Address { ip, prefix } = *address;
    let (good, bits) = match ip {
        IpAddr::V4(ip) => (!ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(), 32),
        IpAddr::V6(ip) => (!ip.is_unspecified() && !ip.is_multicast(), 128),
    };
    if good && prefix <= bits { Ok(()) } else { Err(SetupError::Address { address: ip, prefix }) }
}

fn check_neighbours(config: &Config) -> Result<(), SetupError> {
    let mut seen = BTreeSet::new();
    for &(address, mac) in &config.neighbours {
        let on_subnet = config.addresses.iter().any(|ours| shares_subnet(ours, address));
        let reason = if mac[0] & 1 != 0 || mac == [0; 6] {
            "give the Ethernet address of one station"
        } else if config.addresses.iter().any(|ours| ours.ip == address) {
            "it is this host's own address; give another host's"
        } else if !on_subnet || address.is_unspecified() || address.is_multicast() {
            "give a host's address in the subnet of one of `addresses`"
        } else if !seen.insert(address) {
            "it is named twice in `neighbours`; name it once"
        } else {
            continue;
        };
        return Err(SetupError::Neighbour { address, mac, reason });
    }
    Ok(())
}

/// The first `prefix` bits of an address of ours are those of `other`.
fn shares_subnet(ours: &Address, other: IpAddr) -> bool {
    let host_bits = |bits: u32| bits.saturating_sub(u32::from(ours.prefix));
    match (ours.ip, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(host_bits(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(host_bits(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn check_mtu(config: &Config, mtu: u16) -> Result<(), SetupError> {
    let six = config.addresses.iter().any(|address| address.ip.is_ipv6());
    let least = if six { MTU_MIN.1 } else { MTU_MIN.0 };
    if mtu < least { Err(SetupError::Mtu { mtu, least }) } else { Ok(()) }
}

fn open(config: &Config) -> Result<Opened, SetupError> {
    let options = OpenOptions {
        queues: 1,
        lanes: 1,
        fewer_queues: false,
        receive_frames: config.receive_frames,
        control_frames: config.control_frames,
        descriptors: config.descriptors,
        mtu: config.mtu,
        promiscuous: false,
    };
    let opened = match &config.device {
        Device::Net(net) => net.open(&options).ok_or(SetupError::NetTaken)?,
        Device::Named(device) => {
            start_dpdk(config, device)?;
            drivers::open(device, &options)?
        }
    };
    Ok(match &config.faults {
        Some(faults) => with_faults(opened, faults),
        None => opened,
    })
}

/// Start DPDK as the configuration says, unless it runs in this process already.
#[cfg(feature = "dpdk")]
fn start_dpdk(config: &Config, device: &drivers::Device) -> Result<(), SetupError> {
    use drivers::dpdk::{Eal, EalOptions};
    if Eal::running().is_some() {
        return Ok(());
    }
    let options = EalOptions {
        no_huge_mib: config.no_huge_mib,
        raw: config.eal.clone(),
        verbose: config.verbose,
        ..EalOptions::for_devices([device])
    };
    Eal::init(&options)?;
    Ok(())
}

#[cfg(not(feature = "dpdk"))]
fn start_dpdk(_config: &Config, _device: &drivers::Device) -> Result<(), SetupError> {
    Ok(())
}

fn engine_config(config: &Config) -> Result<EngineConfig, SetupError> {
    let first = config.addresses.first().ok_or(SetupError::NoAddress)?;
    let gateways = config.gateway.map(|gateway| Gateway { destination: everything(gateway), gateway });
    Ok(EngineConfig {
        addresses: config.addresses.clone(),
        gateways: gateways.into_iter().collect(),
        neighbours: config.neighbours.clone(),
        sockets: config.sockets,
        secret: secret()?,
        tcp: config.tcp,
        ..EngineConfig::new(first.ip, first.prefix)
    })
}

/// The destination of a default route.
fn everything(gateway: IpAddr) -> Address {
    let ip = match gateway {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    Address { ip, prefix: 0 }
}

/// What sequence numbers, ports and hashes are made hard to guess with.
fn secret() -> Result<[u64; 4], SetupError> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| system("randomness", &error))?;
    let mut secret = [0; 4];
    for (word, bytes) in secret.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    Ok(secret)
}

fn system(what: &'static str, error: &std::io::Error) -> SetupError {
    SetupError::System { what, reason: error.to_string() }
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
    use std::net::SocketAddr;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use drivers::Frame;
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
        assert!(refusal(|config| config.cores = vec![0, 1]).contains("`cores`"));
        assert!(refusal(|config| config.ops = 1).contains("raise `ops`"));
        assert!(refusal(|config| config.sends_per_stream = 10).contains("4096 frames"));
        assert!(refusal(|config| config.sockets = 0).contains("`sockets` cannot be 0"));
        assert!(refusal(|config| config.addresses.clear()).contains("`addresses`"));
        assert!(refusal(|config| config.addresses = vec![one]).contains("unicast"));
        assert!(refusal(|config| config.mtu = Some(100)).contains("at least 576"));
        for (ip, mac, remedy) in [
            ([10, 0, 0, 2], [1, 0, 0x5e, 0, 0, 1], "one station"),
            ([10, 0, 0, 2], [0; 6], "one station"),
            ([10, 0, 0, 1], [2; 6], "another host's"),
            ([10, 0, 1, 2], [2; 6], "in the subnet of one of `addresses`"),
            ([224, 0, 0, 1], [2; 6], "in the subnet of one of `addresses`"),
            ([10, 0, 0, 9], [2; 6], "named twice"),
        ] {
            let known = (IpAddr::from([10, 0, 0, 9]), [2; 6]);
            let text = refusal(|config| config.neighbours = vec![known, (ip.into(), mac)]);
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
            config.addresses = vec![Address { ip: stations[host].0, prefix: 24 }];
            config.neighbours = if known { vec![stations[1 - host]] } else { Vec::new() };
            let mut runtime = Runtime::new(config).expect("a wire has two ends");
            assert_eq!(runtime.mac(), stations[host].1);
            let lane = runtime.lanes.pop().expect("one lane");
            let [requests, others] = counts.each_ref().map(Arc::clone);
            let queue = Box::new(Watched { queue: lane.queue, requests, others });
            runtime.lanes.push(LaneParts { queue, ..lane });
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
        let runtime = Runtime::new(config(&Net::default())).ok().filter(|runtime| runtime.link().up);
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
