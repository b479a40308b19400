//! Lanes of one runtime: whose a frame is, and what lanes tell each other. The rings it goes over are `links`'s.
//!
//! All lanes agree on the *home* of every connection: the lane of the queue that the NIC's RSS steers it to, as its key
//! and table say, or else the lane that a keyed hash names. No answer depends on where a frame really arrived. A frame
//! that finds nothing on the lane it came to goes to its home, so a NIC that steers otherwise costs time and nothing
//! else; connections that live elsewhere (their port was asked for, or only one lane listens) are claimed at their home.

mod message;

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use drivers::{Frame, RssTable, Transport};
use hashbrown::HashMap;

pub use self::message::Message;
use super::Engine;
use super::udp_sockets::listening_for;
use crate::ip::KeyedHash;
use crate::ip::fragment::Key as DatagramKey;
use crate::ip::neighbour::Action;
use crate::socket::LaneId;
use crate::tcp::isn::{Secret, Tuple};
use crate::tcp::source_port::PORTS;
use crate::wire::{DropReason, EtherType, arp, ether_type_of};

/// Most lanes of a runtime: the sets of lanes in the tables are words of as many bits.
pub const LANES_MAX: u8 = 64;

/// Where connections are at home.
#[derive(Clone, Debug)]
struct Homes {
    me: LaneId,
    lanes: u8,
    /// Of each interface.
    rss: Vec<Option<Arc<RssTable>>>,
}

/// A lane's part in the mesh.
#[derive(Debug)]
pub struct Mesh {
    homes: Homes,
    outboxes: Vec<Vec<Message>>,
    /// Connections at home here that live elsewhere.
    claims: HashMap<Tuple, LaneId, KeyedHash>,
    listeners: HashMap<SocketAddr, u64, KeyedHash>,
    udp: HashMap<SocketAddr, u64, KeyedHash>,
    /// UDP sockets with a peer that live elsewhere.
    pairs: HashMap<Tuple, LaneId, KeyedHash>,
    /// Of the message that is being taken in: who sent it, and lanes it has left.
    pub(super) came: Option<(LaneId, u8)>,
    /// Frames whose hash has been compared with the computed one.
    compared: u32,
    /// Those of this burst are.
    pub compares: bool,
}

/// Frames that may wait for room in the ring to one lane. What comes beyond is dropped; what is no frame waits.
const OUTBOX_FRAMES_MAX: usize = 1024;

/// Lanes a frame may leave: fragments go to where they are joined, datagrams home, segments from there to who has
/// claimed them.
const HOPS_MAX: u8 = 3;

/// Frames of each lane whose hash is compared with what the port's key gives, as traffic starts.
const COMPARED_MAX: u32 = 4096;

impl Homes {
    /// The home of a connection whose local address is on `interface`: by that one its frames come as a rule.
    fn of(&self, secret: &Secret, transport: Transport, interface: u8, tuple: &Tuple) -> LaneId {
        let queue = self
            .table(interface)
            .and_then(|table| Some(table.queue(table.hash(transport, tuple.remote, tuple.local)?)));
        match queue.and_then(|queue| u8::try_from(queue).ok()).filter(|queue| *queue < self.lanes) {
            Some(queue) => LaneId(queue),
            None => self.pick(secret.flow_key(tuple).hash),
        }
    }

    fn table(&self, interface: u8) -> Option<&Arc<RssTable>> {
        self.rss.get(usize::from(interface))?.as_ref()
    }

    fn pick(&self, hash: u32) -> LaneId {
        LaneId(u8::try_from(pick(hash, u32::from(self.lanes))).unwrap_or(0))
    }
}

/// One of `count`, evenly. The flow table uses the hash's bits as they are, so these are others.
fn pick(hash: u32, count: u32) -> u32 {
    // Knuth's multiplicative hashing: 2³² by the golden ratio.
    let mixed = hash.wrapping_mul(0x9e37_79b9);
    u32::try_from((u64::from(mixed ^ (mixed >> 15)) * u64::from(count)) >> 32).unwrap_or(0)
}

/// The lane whose bit in a set is the one that `hash` picks.
fn member(set: u64, hash: u32) -> Option<LaneId> {
    let nth = pick(hash, set.count_ones());
    let mut rest = set;
    for _ in 0..nth {
        rest &= rest.wrapping_sub(1);
    }
    (set != 0).then(|| LaneId(u8::try_from(rest.trailing_zeros()).unwrap_or(0)))
}

impl Mesh {
    /// The part of lane `me` of `lanes`, on ports that steer by `rss`.
    pub fn new(me: LaneId, lanes: u8, rss: Vec<Option<Arc<RssTable>>>, hash: KeyedHash) -> Mesh {
        Mesh {
            homes: Homes { me, lanes, rss },
            outboxes: (0..lanes).map(|_| Vec::new()).collect(),
            claims: HashMap::with_hasher(hash),
            listeners: HashMap::with_hasher(hash),
            udp: HashMap::with_hasher(hash),
            pairs: HashMap::with_hasher(hash),
            came: None,
            compared: 0,
            compares: false,
        }
    }

    /// There is no other lane.
    pub fn is_alone(&self) -> bool {
        self.homes.lanes <= 1
    }

    /// Connections at home here that live elsewhere, and UDP sockets with a peer there.
    pub fn claims(&self) -> usize {
        self.claims.len() + self.pairs.len()
    }

    fn tell(&mut self, lane: LaneId, message: Message) {
        if lane != self.homes.me
            && let Some(outbox) = self.outboxes.get_mut(usize::from(lane.0))
        {
            outbox.push(message);
        }
    }

    pub(super) fn tell_all(&mut self, mut message: impl FnMut() -> Message) {
        for lane in (0..self.homes.lanes).map(LaneId) {
            self.tell(lane, message());
        }
    }

    /// What is being taken in was joined here, of pieces that came from wherever: who sent the last is not the one to
    /// decide about it.
    pub fn note_joined(&mut self) {
        let me = self.homes.me;
        self.came = self.came.map(|(_, hops)| (me, hops));
    }

    /// A message whose sender is the one to decide: it is not sent back.
    fn is_final(&self, from: LaneId) -> bool {
        self.came.is_some_and(|(sender, hops)| sender == from || hops >= HOPS_MAX)
    }

    fn others_with(&self, set: Option<u64>, hash: u32) -> Option<LaneId> {
        member(set? & !(1 << self.homes.me.0), hash)
    }
}

fn note(sets: &mut HashMap<SocketAddr, u64, KeyedHash>, address: SocketAddr, lane: LaneId, open: bool) {
    let bit = 1 << lane.0;
    let set = sets.entry(address).or_insert(0);
    *set = if open { *set | bit } else { *set & !bit };
    if *set == 0 {
        sets.remove(&address);
    }
}

/// The lanes that have a socket for a destination: for that very address, else for every address.
fn lookup(sets: &HashMap<SocketAddr, u64, KeyedHash>, local: SocketAddr) -> Option<u64> {
    listening_for(local).find_map(|address| sets.get(&address).copied())
}

impl Engine {
    /// Take a message of another lane's in. A frame that it asks to send is given back, with its interface.
    pub fn receive_message(&mut self, from: LaneId, message: Message) -> Option<(u8, Frame)> {
        match message {
            Message::Transmit { frame, interface } => return Some((interface, frame)),
            Message::Frame { mut frame, interface, hops } => {
                self.counters.steered_in += 1;
                self.arriving = interface;
                self.mesh.came = Some((from, hops));
                let parsed = self.parse(&mut frame);
                self.process(frame, &parsed);
                self.mesh.came = None;
            }
            Message::Datagram { frame, interface, hops } => {
                self.counters.steered_in += 1;
                self.arriving = interface;
                self.mesh.came = Some((from, hops));
                let parsed = match ether_type_of(frame.bytes()) {
                    EtherType::IPV6 => self.parse_ipv6(&frame, 0, false),
                    _ => self.parse_network(&frame, 0, false),
                };
                self.process(frame, &parsed);
                self.mesh.came = None;
            }
            Message::Neighbour { packet, interface, good } => {
                self.hear_of_neighbour(&packet, interface, good);
            }
            Message::Discovery { mut frame, interface } => self.hear_of_discovery(&mut frame, interface),
            Message::Claim { tuple, lives: true } => {
                self.mesh.claims.insert(tuple, from);
            }
            Message::Claim { tuple, lives: false } => {
                self.mesh.claims.remove(&tuple);
            }
            Message::Listener { address, open } => note(&mut self.mesh.listeners, address, from, open),
            Message::PathMtu { destination, mtu, found, sure } => {
                self.hear_of_path_mtu(destination, mtu, found, sure);
            }
            Message::Cookies => self.hear_of_cookies(),
            Message::Network(change) => self.hear_of_change(&change),
            Message::Udp { address, open } => {
                note(&mut self.mesh.udp, address, from, open);
                if open {
                    self.tell_pairs_at(address);
                }
            }
            Message::Pair { tuple, lives: true } => drop(self.mesh.pairs.insert(tuple, from)),
            Message::Pair { tuple, lives: false } => {
                // Two lanes may have been asked for the same: one that ends does not end the other.
                if self.mesh.pairs.get(&tuple) == Some(&from) {
                    self.mesh.pairs.remove(&tuple);
                }
            }
        }
        None
    }

    /// What is to go to another lane. What the ring to it does not take stays.
    pub fn outbox(&mut self, lane: LaneId) -> Option<&mut Vec<Message>> {
        self.mesh.outboxes.get_mut(usize::from(lane.0))
    }

    /// Which lane has what belongs to a tuple that this one knows nothing of; `None`: this one.
    pub(super) fn elsewhere(&self, tuple: &Tuple) -> Option<LaneId> {
        let mesh = &self.mesh;
        if mesh.is_alone() {
            return None;
        }
        let home = self.home(Transport::Tcp, tuple);
        if home != mesh.homes.me {
            return Some(home).filter(|home| !mesh.is_final(*home));
        }
        let claimed = mesh.claims.get(tuple).copied();
        let other = claimed.or_else(|| {
            let served = self.listeners.is_served(tuple.local);
            let hash = self.secret.flow_key(tuple).hash;
            if served { None } else { mesh.others_with(lookup(&mesh.listeners, tuple.local), hash) }
        });
        // It may go back to the lane it came from, which asks only once.
        other.filter(|_| mesh.came.is_none_or(|(_, hops)| hops < HOPS_MAX))
    }

    /// Which lane has a UDP socket for a datagram that this one has none for, or would have drawn its port.
    pub(super) fn elsewhere_udp(&self, tuple: &Tuple) -> Option<LaneId> {
        if self.mesh.is_alone() {
            return None;
        }
        let hash = self.secret.flow_hash(self.secret.addresses(tuple), u32::from(tuple.remote.port()));
        if let Some(other) = self.mesh.others_with(lookup(&self.mesh.udp, tuple.local), hash) {
            return self.mesh.came.is_none_or(|(_, hops)| hops < HOPS_MAX - 1).then_some(other);
        }
        let home = self.home(Transport::Udp, tuple);
        let elsewhere = PORTS.contains(&tuple.local.port()) && home != self.mesh.homes.me;
        Some(home).filter(|home| elsewhere && !self.mesh.is_final(*home))
    }

    /// Which lane has a UDP socket with this peer, as it has told, if a datagram may still go there.
    pub(super) fn paired_elsewhere(&self, tuple: &Tuple) -> Option<LaneId> {
        let lane = self.mesh.pairs.get(tuple).copied()?;
        (!self.mesh.is_final(lane)).then_some(lane)
    }

    /// Another lane has told of a UDP socket between these ends.
    pub(super) fn is_paired_elsewhere(&self, tuple: &Tuple) -> bool {
        self.mesh.pairs.contains_key(tuple)
    }

    /// Another lane has a UDP socket that receives there from anybody.
    pub(super) fn is_bound_elsewhere(&self, local: SocketAddr) -> bool {
        lookup(&self.mesh.udp, local).is_some()
    }

    /// Which lane joins the fragments of a datagram, if it is another.
    pub(super) fn elsewhere_fragment(&self, key: &DatagramKey) -> Option<LaneId> {
        let end = |ip| SocketAddr::new(ip, key.protocol.0.into());
        let ends = Tuple { local: end(key.destination), remote: end(key.source) };
        let hash = self.secret.flow_hash(self.secret.addresses(&ends), key.identification);
        let lane = self.mesh.homes.pick(hash);
        (lane != self.mesh.homes.me && self.mesh.came.is_none()).then_some(lane)
    }

    /// Hand a frame over to the lane it belongs to. `link`: where the IP header begins.
    pub(super) fn steer(&mut self, lane: LaneId, frame: Frame, link: usize) {
        let hops = self.mesh.came.map_or(0, |(_, hops)| hops) + 1;
        let room = self.outbox(lane).is_some_and(|outbox| outbox.len() < OUTBOX_FRAMES_MAX);
        if !room {
            return self.counters.drop(DropReason::LaneRingFull);
        }
        self.counters.steered_out += 1;
        let interface = self.arriving;
        let message = match link {
            0 => Message::Datagram { frame, interface, hops },
            _ => Message::Frame { frame, interface, hops },
        };
        self.mesh.tell(lane, message);
    }

    /// Frames that another lane's pool is short of may not wait here: what is kept of a steered frame is a copy in a
    /// frame of our own, while there is one.
    #[inline]
    pub(super) fn adopt(&mut self, frame: Frame) -> Frame {
        if self.mesh.came.is_none() {
            return frame;
        }
        let copy = self.ports[self.arriving].composer.pools().receive.take().and_then(|mut copy| {
            copy.append(frame.len())?.copy_from_slice(frame.bytes());
            Some(copy)
        });
        self.counters.adopted_segments += u64::from(copy.is_some());
        copy.unwrap_or(frame)
    }

    /// Tell the others of an ARP packet that came here though it concerns them as well.
    pub(super) fn tell_of_neighbour(&mut self, packet: &arp::Packet, good: bool) {
        let ours = self.routes.is_local(IpAddr::V4(packet.target)) || packet.sender == packet.target;
        if !self.mesh.is_alone() && ours {
            let interface = self.arriving;
            self.mesh.tell_all(|| Message::Neighbour { packet: *packet, interface, good });
        }
    }

    /// Tell the others of a message of neighbour discovery, for it concerns them as well.
    pub(super) fn tell_of_discovery(&mut self, frame: &Frame) {
        if self.mesh.is_alone() {
            return;
        }
        let (interface, me) = (self.arriving, self.lane);
        for lane in (0..self.mesh.homes.lanes).map(LaneId).filter(|lane| *lane != me) {
            let room = self.outbox(lane).is_some_and(|outbox| outbox.len() < OUTBOX_FRAMES_MAX);
            let copy = self.ports[interface].composer.header().ok().filter(|_| room).and_then(|mut copy| {
                copy.append(frame.len())?.copy_from_slice(frame.bytes());
                Some(copy)
            });
            // Without a frame for it the lane learns by asking.
            if let Some(frame) = copy {
                self.mesh.tell(lane, Message::Discovery { frame, interface });
            }
        }
    }

    /// Learn from an ARP packet that another lane has answered.
    fn hear_of_neighbour(&mut self, packet: &arp::Packet, interface: u8, good: bool) {
        let now = self.flows.shared.now.instant;
        let before = self.neighbour_actions.len();
        // That it was not for us was counted where it arrived.
        let neighbours = &mut self.ports[interface].neighbours;
        let known = neighbours.receive(packet, now, &mut self.neighbour_actions);
        if good && known == Err(DropReason::ArpNotForUs) {
            neighbours.learn(packet, now, &mut self.neighbour_actions);
        }
        let fresh = self.neighbour_actions.split_off(before);
        let silent = |action: &Action<Frame>| !matches!(action, Action::Transmit { .. });
        self.neighbour_actions.extend(fresh.into_iter().filter(silent));
        self.act_on_neighbours(interface);
    }

    /// The lane that a connection is at home on.
    fn home(&self, transport: Transport, tuple: &Tuple) -> LaneId {
        // With one interface there is nothing to look for.
        let interface =
            if self.ports.len() == 1 { 0 } else { self.routes.interface_of(tuple.local.ip()).unwrap_or(0) };
        self.mesh.homes.of(&self.secret, transport, interface, tuple)
    }

    /// A connection at home on another lane begins or ends here.
    pub(super) fn claim(&mut self, tuple: &Tuple, lives: bool) {
        if self.mesh.is_alone() {
            return;
        }
        let home = self.home(Transport::Tcp, tuple);
        self.mesh.tell(home, Message::Claim { tuple: *tuple, lives });
    }

    /// The same of a stream that ends.
    pub(super) fn disclaim(&mut self, slot: u32) {
        if !self.mesh.is_alone()
            && let Some(tuple) = self.flows.tuple(slot)
        {
            self.claim(&tuple, false);
        }
    }

    /// Replies to a connection come to this lane by themselves.
    pub(super) fn is_home(&self, tuple: &Tuple) -> bool {
        self.mesh.is_alone() || self.home(Transport::Tcp, tuple) == self.mesh.homes.me
    }

    /// So do datagrams.
    pub(super) fn is_home_udp(&self, tuple: &Tuple) -> bool {
        self.mesh.is_alone() || self.home(Transport::Udp, tuple) == self.mesh.homes.me
    }

    /// A listener or a UDP socket opened or closed here.
    pub(super) fn tell_of_listener(&mut self, address: SocketAddr, open: bool) {
        self.mesh.tell_all(|| Message::Listener { address, open });
    }

    /// See `tell_of_listener`.
    pub(super) fn tell_of_udp(&mut self, address: SocketAddr, open: bool) {
        self.mesh.tell_all(|| Message::Udp { address, open });
    }

    /// A UDP socket here has a peer, or no longer.
    pub(super) fn tell_of_pair(&mut self, tuple: &Tuple, lives: bool) {
        self.mesh.tell_all(|| Message::Pair { tuple: *tuple, lives });
    }

    /// As traffic starts, see whether the port's hash is the one its key gives.
    #[inline]
    pub(super) fn compare_hash(&mut self, frame: &Frame, slot: u32) {
        if self.mesh.compares {
            self.compare_hash_of(frame, slot);
        }
    }

    /// Frames come by another interface.
    pub(super) fn begin_comparing(&mut self) {
        self.mesh.compares =
            self.mesh.compared < COMPARED_MAX && self.mesh.homes.table(self.arriving).is_some();
    }

    #[cold]
    fn compare_hash_of(&mut self, frame: &Frame, slot: u32) {
        if let Some(table) = self.mesh.homes.table(self.arriving)
            && let Some(tuple) = self.flows.tuple(slot)
            && let (Some(given), Some(computed)) =
                (frame.hash(), table.hash(Transport::Tcp, tuple.remote, tuple.local))
            && self.mesh.came.is_none()
        {
            self.mesh.compared += 1;
            self.mesh.compares = self.mesh.compared < COMPARED_MAX;
            self.counters.rss_compared += 1;
            self.counters.rss_differed += u64::from(given != computed);
        }
    }
}

#[cfg(test)]
mod tests;
