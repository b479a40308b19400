//! Where the packets of flows go first: next hops of living flows, each once, and their stations as of this turn.

use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashMap;

use super::Engine;
use super::common::PathHead;
use crate::ip::{KeyedHash, route};
use crate::tcp::isn::Tuple;
use crate::time::Instant;
use crate::wire::MacAddress;

/// Where the packets of a flow go first.
#[derive(Clone, Copy, Debug)]
struct Path {
    interface: u8,
    next_hop: IpAddr,
    /// The next hop's station, as the neighbour table had it in turn `turn`.
    station: Station,
    turn: u64,
    /// What is sent there begins with, once the station was known; and the hop limit in it.
    head: PathHead,
    hop_limit: u8,
    /// The turn in which both were last found good for the common shape, which is IPv4's, or `NEVER`.
    open: u64,
    /// When TCP last said that the next hop is there.
    confirmed: Instant,
    flows: u32,
}

/// Where a packet goes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// The interface it leaves by.
    pub interface: u8,
    /// Its address.
    pub next_hop: IpAddr,
    /// Its station, if it is known.
    pub station: Station,
}

/// A station's address in one word, or none. To copy six bytes and a tag apart and read them together costs a wait for every
/// store before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Station(u64);

impl Station {
    /// Not known.
    pub const NONE: Station = Station(u64::MAX);

    /// Its address.
    #[inline]
    pub fn mac(self) -> Option<MacAddress> {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        (self != Station::NONE).then_some(MacAddress([a, b, c, d, e, f]))
    }
}

impl From<Option<MacAddress>> for Station {
    #[inline]
    fn from(mac: Option<MacAddress>) -> Station {
        mac.map_or(Station::NONE, |MacAddress([a, b, c, d, e, f])| {
            Station(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
        })
    }
}

/// Next hops of living flows, each once.
#[derive(Debug)]
pub struct Paths {
    paths: Vec<Path>,
    free: Vec<u16>,
    by_hop: HashMap<(u8, IpAddr), u16, KeyedHash>,
    /// The path that was taken last: mostly the next one is the same.
    last: u16,
    /// The path whose next hop was last said to be there, as of this turn.
    confirmed: u16,
}

/// No turn: the first has the number zero.
const NEVER: u64 = u64::MAX;

/// In place of a path's number: look the way up.
pub(super) const NO_PATH: u16 = u16::MAX;

/// Between two confirmations of a next hop: far less than a neighbour stays believed.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

impl Paths {
    pub fn new(hash: KeyedHash) -> Paths {
        Paths {
            paths: Vec::new(),
            free: Vec::new(),
            by_hop: HashMap::with_hasher(hash),
            last: NO_PATH,
            confirmed: NO_PATH,
        }
    }

    /// The path of a connection, counted until `release`. `None` without a route, or with 65,535 paths in use.
    pub fn take(&mut self, routes: &route::Table, tuple: &Tuple) -> Option<u16> {
        let hop = routes.next_hop_from(tuple.local.ip(), tuple.remote.ip())?;
        let (interface, next_hop) = (hop.interface, hop.gateway_or_dst);
        let known = self.last_to(&hop).or_else(|| self.by_hop.get(&(interface, next_hop)).copied());
        if let Some(index) = known {
            self.paths.get_mut(usize::from(index))?.flows += 1;
            self.last = index;
            return Some(index);
        }
        let station = Station::NONE;
        let path = Path {
            interface,
            next_hop,
            station,
            turn: 0,
            head: PathHead::NONE,
            hop_limit: 0,
            open: NEVER,
            confirmed: Instant::ZERO,
            flows: 1,
        };
        let index = match self.free.pop() {
            Some(index) => {
                *self.paths.get_mut(usize::from(index))? = path;
                index
            }
            None => {
                let index = u16::try_from(self.paths.len()).ok().filter(|index| *index < NO_PATH)?;
                self.paths.push(path);
                index
            }
        };
        self.by_hop.insert((interface, next_hop), index);
        self.last = index;
        Some(index)
    }

    /// The path that was taken last, if it is in use and leads the same way.
    pub fn last_to(&self, way: &route::NextHop) -> Option<u16> {
        let path = self.paths.get(usize::from(self.last))?;
        let same = (path.interface, path.next_hop) == (way.interface, way.gateway_or_dst);
        (same && path.flows > 0).then_some(self.last)
    }

    /// The interface of a path that is in use.
    #[inline]
    pub fn interface(&self, index: u16) -> u8 {
        self.paths.get(usize::from(index)).map_or(0, |path| path.interface)
    }

    /// The interface of a path in use, and what packets of the common shape begin with over it: if it was asked for in this
    /// turn, its station is known, and such packets go there.
    #[inline]
    pub fn open(&self, index: u16, turn: u64) -> Option<(u8, &PathHead)> {
        let path = self.paths.get(usize::from(index)).filter(|path| path.open == turn)?;
        Some((path.interface, &path.head))
    }

    /// Another turn: another time at which next hops are said to be there.
    pub fn begin_turn(&mut self) {
        self.confirmed = NO_PATH;
    }

    /// A flow that used the path has ended.
    pub fn release(&mut self, index: u16) {
        let Some(path) = self.paths.get_mut(usize::from(index)) else { return };
        path.flows = path.flows.saturating_sub(1);
        if path.flows == 0 {
            self.by_hop.remove(&(path.interface, path.next_hop));
            self.free.push(index);
        }
    }
}

impl Engine {
    /// The next hop of a path, or else of a packet between two addresses.
    pub(super) fn hop(&mut self, path: u16, source: IpAddr, destination: IpAddr) -> Option<Hop> {
        self.hop_by_path(path).or_else(|| {
            let way = self.routes.next_hop_from(source, destination)?;
            Some(self.hop_of(&way))
        })
    }

    pub(super) fn hop_by_path(&mut self, path: u16) -> Option<Hop> {
        let (turn, now) = (self.turn, self.flows.shared.now.instant);
        let path = self.paths.paths.get_mut(usize::from(path))?;
        if path.turn != turn || path.station == Station::NONE {
            let port = &mut self.ports[path.interface];
            let mac = port.neighbours.resolve(path.next_hop, now);
            let known = (path.station, path.hop_limit);
            (path.station, path.hop_limit, path.turn) = (mac.into(), port.hop_limit, turn);
            if let Some(mac) = mac.filter(|_| known != (path.station, path.hop_limit)) {
                path.head = PathHead::new(port, mac);
            }
            if mac.is_some() && path.next_hop.is_ipv4() && port.vlan.is_none() {
                path.open = turn;
            }
        }
        Some(Hop { interface: path.interface, next_hop: path.next_hop, station: path.station })
    }

    /// The next hop of a way: as a path has it, where connections lead the same way.
    pub(super) fn hop_of(&mut self, way: &route::NextHop) -> Hop {
        if let Some(index) = self.paths.last_to(way)
            && let Some(hop) = self.hop_by_path(index)
        {
            return hop;
        }
        let (interface, next_hop) = (way.interface, way.gateway_or_dst);
        let station =
            self.ports[interface].neighbours.resolve(next_hop, self.flows.shared.now.instant).into();
        Hop { interface, next_hop, station }
    }

    /// TCP made progress over this path, so the next hop is there: no need to ask it, for a while.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.3.1
    //# In TCP, for example, receipt of a (new) acknowledgment indicates that
    //# previously sent data reached the peer.
    #[inline]
    pub(super) fn confirm(&mut self, path: u16) {
        if self.paths.confirmed != path {
            self.confirm_anew(path);
        }
    }

    #[inline(never)]
    fn confirm_anew(&mut self, path: u16) {
        self.paths.confirmed = path;
        let now = self.flows.shared.now.instant;
        let Some(path) = self.paths.paths.get_mut(usize::from(path)) else { return };
        if now.saturating_since(path.confirmed) >= CONFIRM_INTERVAL {
            path.confirmed = now;
            self.ports[path.interface].neighbours.confirm(path.next_hop, now);
        }
    }
}
