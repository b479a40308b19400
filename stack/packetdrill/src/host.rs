//! One host in virtual time: the engine, its sockets, the wire, and the clock that callers move. Who waits, and who moves
//! the clock meanwhile, is in `waiting`.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use drivers::{Bell, Pools, Queue, Region};
use stack::config::{Address, EngineConfig, Gateway};
use stack::engine::{Engine, Interface};
use stack::lane::{Lane, LaneOptions};
use stack::links::{Links, RING_MESSAGES, Ring};
use stack::poll::{Descriptor, Errno, Poller, SetId};
use stack::run::{Idle, LaneRun, StopFlag, TimeSource};
use stack::sim::Shared;
use stack::socket::LaneId;
use stack::time::Instant;

use crate::pipe::End;
use crate::settings::{Flags, Settings};
use crate::waiting::Waiters;
use crate::wire::{OWN_MAC, PEER_MAC, Wire};

/// What a number stands for.
#[derive(Clone)]
pub enum Object {
    /// A socket.
    Socket(Descriptor),
    /// An epoll instance.
    Set(SetId),
    /// An end of a pipe.
    Pipe(End),
}

/// A number's object, and how calls on it wait.
#[derive(Clone)]
pub struct File {
    /// The object.
    pub object: Object,
    /// O_NONBLOCK.
    pub nonblocking: bool,
}

/// The host.
pub struct World {
    /// Its lane.
    pub lane: Lane,
    /// Its sockets.
    pub poller: Poller,
    /// Its device.
    pub wire: Wire,
    /// Its numbers.
    pub files: BTreeMap<i32, File>,
    /// Calls of threads that wait.
    pub waiters: Waiters,
    run: Rc<RefCell<LaneRun>>,
    clock: Rc<Cell<u64>>,
    flags: Flags,
    /// When something happens next by itself.
    next: Option<u64>,
}

/// Virtual time at the start: a whole number of milliseconds, so that timestamps tick just before whole milliseconds of
/// the caller's script.
const START_NS: u64 = 1_000_000_000;

/// Turns at one moment before the host is taken for livelocked.
const TURNS_AT_ONCE_MAX: u32 = 100_000;

/// Moments that one call may step through.
const STEPS_MAX: u32 = 10_000_000;

/// The secret of the host's sequence numbers, ports and hashes: one and the same in every run.
const SECRET: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

impl World {
    /// A host as the flags have it, that has said nothing yet.
    ///
    /// Errors: its addresses contradict each other.
    pub fn new(flags: Flags) -> Result<World, String> {
        let settings = Settings::read(&flags);
        let clock = Rc::new(Cell::new(START_NS));
        let wire = Wire::new();
        let run = start(&flags, &settings, &clock, Box::new(wire.clone()))?;
        let run = Rc::new(RefCell::new(run));
        let crossing = Shared::new(&run, &clock);
        let options = LaneOptions { ops: 4096, completions: 65_536, ..LaneOptions::default() };
        let mut lane = Lane::new(LaneId(0), options, Region::new(1, 64), Box::new(crossing));
        let mut poller = Poller::new(&mut lane, 4096, 32_768).map_err(|error| error.to_string())?;
        poller.set_addresses(flags.local.iter().map(|address| address.ip).collect());
        let (files, waiters) = (BTreeMap::new(), Waiters::default());
        let mut world = World { lane, poller, wire, files, waiters, run, clock, flags, next: None };
        world.settle();
        // What the host announces as it starts is nobody's business.
        while world.wire.take().is_some() {}
        Ok(world)
    }

    /// Virtual nanoseconds.
    pub fn now(&self) -> u64 {
        self.clock.get()
    }

    /// Read the settings anew: they hold for sockets from here on.
    pub fn configure(&mut self) {
        let settings = Settings::read(&self.flags);
        self.run.borrow_mut().engine_mut().set_tcp(settings.tcp);
        self.poller.set_buffers(settings.buffers);
    }

    /// A number's object.
    ///
    /// Errors: it is none of ours.
    pub fn file(&self, fd: i32) -> Result<File, Errno> {
        self.files.get(&fd).cloned().ok_or(Errno::BadDescriptor)
    }

    /// A number's socket.
    ///
    /// Errors: it is none of ours, or no socket.
    pub fn socket(&self, fd: i32) -> Result<Descriptor, Errno> {
        match self.file(fd)?.object {
            Object::Socket(descriptor) => Ok(descriptor),
            Object::Set(_) | Object::Pipe(_) => Err(Errno::NotSocket),
        }
    }

    /// Let everything happen that happens at this moment.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_AT_ONCE_MAX {
            self.poller.turn(&mut self.lane);
            if self.lane.is_busy() || self.lane.has_ops() {
                continue;
            }
            if !self.serve_waiters() {
                break;
            }
        }
        self.next = self.lane.next_event().map(|at| at.0);
    }

    /// When something happens next by itself: in the engine, or because a waiting call is over.
    pub fn next_event(&self) -> Option<u64> {
        [self.next, self.waiters.next_deadline()].into_iter().flatten().min()
    }

    /// Move the clock to the next event, if that is no later than `limit`. False if there is none.
    pub fn step(&mut self, limit: u64) -> bool {
        let Some(next) = self.next_event().filter(|next| *next <= limit) else { return false };
        // An event that is overdue makes way for the next, at the latest a tick later.
        let now = self.now();
        self.clock.set(if next > now { next } else { now + 1_000 });
        self.settle();
        true
    }

    /// Move the clock to a moment, and let everything happen on the way.
    pub fn advance(&mut self, to: u64) {
        for _ in 0..STEPS_MAX {
            if !self.step(to) {
                break;
            }
        }
        self.clock.set(to.max(self.now()));
    }

    /// Move the clock until a packet is sent, at most for so long. The packet, and when it was sent.
    pub fn listen(&mut self, at_most: Duration) -> Option<(u64, Vec<u8>)> {
        let limit = self.now().saturating_add(u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX));
        for _ in 0..STEPS_MAX {
            if let Some(sent) = self.wire.take() {
                return Some(sent);
            }
            if !self.step(limit) {
                break;
            }
        }
        self.clock.set(limit.max(self.now()));
        self.wire.take()
    }

    /// One look at the clock takes a microsecond, for there are callers that look until it is late enough.
    pub fn look(&mut self) -> u64 {
        self.clock.set(self.now() + 1_000);
        if self.next_event().is_some_and(|next| next <= self.now()) {
            self.settle();
        }
        self.now()
    }
}

fn start(
    flags: &Flags,
    settings: &Settings,
    clock: &Rc<Cell<u64>>,
    queue: Box<dyn Queue>,
) -> Result<LaneRun, String> {
    let first = flags.local.first().ok_or("no address is given")?;
    let mut config = EngineConfig::new(first.ip, first.prefix);
    config.sockets = 4096;
    config.cells_max = 1 << 18;
    config.secret = SECRET;
    config.tcp = settings.tcp;
    let device = &mut config.interfaces[0];
    device.addresses = flags.local.clone();
    // Nobody else is on the wire, and scripts begin at once.
    device.ipv6.duplicate_transmits = 0;
    for (family, any) in [(4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)), (6, IpAddr::V6(Ipv6Addr::UNSPECIFIED))] {
        let of_family = |ip: &IpAddr| ip.is_ipv4() == (family == 4);
        let local = flags.local.iter().find(|address| of_family(&address.ip));
        if let Some(gateway) = local.and_then(|local| gateway(flags, local)) {
            device.gateways.push(Gateway { destination: Address { ip: any, prefix: 0 }, gateway });
            device.neighbours.push((gateway, PEER_MAC.0));
        }
    }
    let mtu = flags.mtu;
    let interface = Interface { mac: OWN_MAC.0, mtu, vlan: None, capabilities: Wire::capabilities(mtu) };
    let pools = Pools::heap(16_384, 16_384);
    let engine = Engine::new(LaneId(0), config, vec![(interface, pools)], Instant(clock.get()))
        .map_err(|error| error.to_string())?;
    let ring = |_, _| Ok::<Ring, Infallible>(rte_ring::heap(RING_MESSAGES));
    let Ok(mut links) = Links::mesh(&[Bell::default()], &[1], ring);
    let links = links.pop().ok_or("a lane has links")?;
    let time = TimeSource::Virtual(Rc::clone(clock));
    let within = Duration::from_secs(5);
    Ok(LaneRun::new(engine, vec![Some(queue)], links, time, StopFlag::default(), within, Idle::Poll))
}

/// The station that stands for everybody beyond a subnet: the gateway that was named, unless that is the host itself, as
/// it is where the caller owns both ends of the device; then any other address of the subnet will do.
fn gateway(flags: &Flags, local: &Address) -> Option<IpAddr> {
    let (own, bits) = match local.ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let host = bits - u32::from(local.prefix).min(bits);
    let is_other = |ip: &IpAddr| match (ip, local.ip) {
        (IpAddr::V4(ip), IpAddr::V4(_)) => {
            let ip = u128::from(u32::from(*ip));
            ip != own && (host == 32 || ip >> host == own >> host)
        }
        (IpAddr::V6(ip), IpAddr::V6(_)) => {
            let ip = u128::from(*ip);
            ip != own && (host == 128 || ip >> host == own >> host)
        }
        _ => false,
    };
    if let Some(named) = flags.gateways.iter().copied().find(is_other) {
        return Some(named);
    }
    // The last but one address of the subnet, or the one before it.
    let mask = (1u128 << host).wrapping_sub(1);
    let of = |number: u128| match local.ip {
        IpAddr::V4(_) => u32::try_from(number).ok().map(|number| IpAddr::V4(Ipv4Addr::from(number))),
        IpAddr::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(number))),
    };
    let last = (own & !mask) | (mask.saturating_sub(1) & mask);
    [last, last.saturating_sub(1)].into_iter().filter_map(of).find(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway_of(text: &str) -> Option<IpAddr> {
        let flags = Flags::parse(text);
        gateway(&flags, &flags.local[0])
    }

    #[test]
    fn somebody_stands_for_everybody_else() {
        // Shows a gateway that is named, one that is the host itself, one outside the subnet, and IPv6.
        let is = |text, gateway: &str| assert_eq!(gateway_of(text), gateway.parse().ok(), "{text}");
        is("local=10.0.0.2/24,gw=10.0.0.1", "10.0.0.1");
        is("local=192.168.0.1/16,gw=192.168.0.1", "192.168.255.254");
        is("local=192.168.255.254/16", "192.168.255.253");
        is("local=10.0.0.2/24,gw=10.0.1.1", "10.0.0.254");
        is("local=fd3d:a0b:17d6::1/64,gw=fd3d:a0b:17d6:8888::1", "fd3d:a0b:17d6::ffff:ffff:ffff:fffe");
        assert!(World::new(Flags::parse("local=192.168.0.1/16,gw=192.168.0.1,mtu=1500")).is_ok());
    }
}
