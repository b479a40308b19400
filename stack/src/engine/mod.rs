//! One lane's engine: flows, neighbours, routes, timers, counters. Sans-IO: frames, ops and the time go in; frames,
//! completions and the next deadline come out.
//!
//! | file | duty |
//! | --- | --- |
//! | `flows` | the slots of sockets and the parts of connections |
//! | `common` | the shape of nearly all frames, read and written at constant offsets |
//! | `fast` | the common segment between frames and flows |
//! | `receive` | batches of frames to segments, segments to flows |
//! | `segments` | what a verdict of `tcp` means for frames, sockets and other tables |
//! | `listener_table` | the listeners of a lane |
//! | `listeners` | SYNs, half-open connections, TIME_WAIT |
//! | `cookies` | handshakes that nothing is remembered of |
//! | `deliver` | frames to sockets, completions to queues with credit |
//! | `handover` | a live flow as plain data, and back |
//! | `ops` | what applications ask |
//! | `transmit` | segments to frames, frames to neighbours |
//! | `paths` | next hops of flows |
//! | `bundle` | several segments in one frame, where the port cuts it |
//! | `packets` | everything that is not TCP: ARP, ICMP, fragments |
//! | `udp`, `udp_sockets` | datagrams of UDP; the sockets, their ports and peers |
//! | `packets_ipv6` | the same of IPv6: extension headers, ICMPv6, fragments |
//! | `discovery` | neighbours and addresses of IPv6 |
//! | `ports` | the lane's ports: pools, neighbours and waiting frames of each |
//! | `mesh` | what lanes tell each other |
//! | `network` | addresses and routes that come and go |

mod bundle;
mod common;
mod cookies;
mod deliver;
mod discovery;
mod fast;
pub(crate) mod flows;
mod handover;
mod listener_table;
mod listeners;
mod mesh;
mod network;
mod ops;
mod packets;
mod packets_ipv6;
mod path_mtus;
mod paths;
mod places;
mod ports;
mod receive;
mod segments;
mod sends;
mod transmit;
mod udp;
mod udp_sockets;

#[cfg(test)]
mod tests;

use core::net::IpAddr;
use core::time::Duration;

use drivers::{Capabilities, Frame, Pool, Pools};

pub use self::handover::Frozen;
pub use self::mesh::{LANES_MAX, Message};

use self::deliver::CompletionQueue;
use self::flows::Flows;
use self::listener_table::Listeners;
use self::mesh::Mesh;
use self::ops::{AppTimers, Deferred};
use self::path_mtus::Ways;
use self::paths::Paths;
use self::ports::{Port, Ports};
use self::receive::Parsed;
use self::udp_sockets::UdpSockets;
use crate::buffer::FrameSlab;
use crate::config::{EngineConfig, TcpConfig};
use crate::counters::{Counters, PoolReport, Report, Rests, STALL_US, Turns};
use crate::flow::{FlowTable, Place};
use crate::ip::fragment::Reassembler;
use crate::ip::icmp::Responder;
use crate::ip::neighbour;
use crate::ip::route::{self, LocalAddress, Route};
use crate::ip::{KeyedHash, fragment};
use crate::mode::{Batch, Completions, Done};
use crate::socket::LaneId;
use crate::tcp::cookie::Cookies;
use crate::tcp::isn::Secret;
use crate::tcp::listen::HalfOpens;
use crate::tcp::source_port::SourcePorts;
use crate::tcp::ticks::Ticks;
use crate::tcp::time_wait::TimeWaits;
use crate::time::{Instant, nanoseconds};
use crate::timer::Wheel;
use crate::wire::DropReason;

/// Frames of one burst: the passes of `receive` work on no more at a time.
pub const BURST_MAX: usize = 32;

/// Received frames that nobody may hold: two bursts, with which the port can go on receiving.
const RESERVED_FRAMES: usize = 2 * BURST_MAX;

/// Frames of ordinary memory that payload is copied into once as many received frames are held as may be: promised
/// windows are kept although the port needs its frames back. Made when first needed.
const SPILL_FRAMES: usize = 2048;

/// Room of such a frame: what a receive frame has.
const SPILL_ROOM: u16 = 2048 + 128;

/// Frames for datagrams that came in pieces, or frames that did: 64 KiB each.
const LARGE_FRAMES: usize = 16;

/// When flows that could not say what they have to, for want of a frame or of a port that takes it, try again, if nothing
/// happens before.
const SAID_AGAIN: Duration = Duration::from_millis(10);

/// How long the last words of a lane that was told to stop, its resets among them, may wait for a port that takes
/// nothing: one whose link is down or whose peer has gone may never take them.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Most ports of a runtime: interfaces are numbered in a byte, and each turn asks all of them.
pub const INTERFACES_MAX: usize = 16;

/// What the engine must know of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The port's Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet. Units: bytes.
    pub mtu: u16,
    /// 802.1Q VLAN all frames are in, if any.
    pub vlan: Option<u16>,
    /// What the port can do.
    pub capabilities: Capabilities,
}

/// One lane's engine.
pub struct Engine {
    lane: LaneId,
    config: EngineConfig,
    ports: Ports,
    /// The interface by which the frames came that are being taken in.
    arriving: u8,
    secret: Secret,
    started: bool,
    turn: u64,

    flows: Flows,
    table: FlowTable,
    wheel: Wheel,
    half_opens: HalfOpens,
    cookies: Cookies,
    time_waits: TimeWaits,
    listeners: Listeners,
    udp: UdpSockets,
    app_timers: AppTimers,
    source_ports: SourcePorts,
    /// Connects over IPv6 that wait until an address of ours is.
    deferred: Vec<Deferred>,
    frames: FrameSlab,
    /// Flows with something to say, and the emptied list of those of the turn before.
    dirty: Vec<u32>,
    said: Vec<u32>,
    /// Where in that list the first is, of a turn's output, for whose words a port had no room: the next turn begins with it.
    unserved: Option<usize>,
    /// How far in that list the flows are whose answers were said before their turn came.
    said_to: usize,

    neighbour_actions: Vec<neighbour::Action<Frame>>,
    routes: route::Table,
    path_mtus: Ways,
    paths: Paths,
    fragments: Reassembler<Frame>,
    fragment_output: fragment::Output<Frame>,
    identifications: fragment::Identifications,
    responder: Responder,
    large: Pool,

    mesh: Mesh,
    /// Received frames that sockets and applications may hold together.
    holdable: usize,
    /// Frames the application holds, as of this turn.
    app_held: usize,
    /// Where payload goes that must not hold a received frame.
    spill: Option<Pool>,

    parsed: Vec<Parsed>,

    queues: Vec<CompletionQueue>,
    completions: Completions,
    done: Vec<Done>,
    stopping: Option<Instant>,
    counters: Counters,
}

/// Why an engine cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EngineError {
    /// A route or an address is wrong.
    #[error(transparent)]
    Route(#[from] route::RouteError),
    /// More sockets than handles have room for.
    #[error("a lane has at most 16,777,216 sockets: lower `sockets` from {0}")]
    Sockets(usize),
    /// More lanes than sets of lanes have room for, or a lane beyond them.
    #[error("{0} lanes were asked for, and a runtime has at most {LANES_MAX}: name fewer")]
    Lanes(u8),
    /// A gateway is on no subnet of its interface.
    #[error("gateway {0} is on no subnet of this host: add an address in its subnet, or correct it")]
    Gateway(IpAddr),
    /// Interfaces without a port, or none, or too many.
    #[error(
        "{interfaces} interfaces were configured for {ports} ports: name 1 to {INTERFACES_MAX}, each with its port"
    )]
    Interfaces {
        /// Interfaces configured.
        interfaces: usize,
        /// Ports there are.
        ports: usize,
    },
}

impl Engine {
    /// An engine that answers nothing yet: the first turn starts it. Each of the configuration's interfaces lives on
    /// one of `ports`, in their order.
    ///
    /// Errors: an address or route is malformed, or bounds are beyond what handles can name.
    pub fn new(
        lane: LaneId,
        config: EngineConfig,
        ports: Vec<(Interface, Pools)>,
        now: Instant,
    ) -> Result<Engine, EngineError> {
        if config.sockets > crate::socket::SocketId::SLOTS_MAX {
            return Err(EngineError::Sockets(config.sockets));
        }
        if config.lanes > LANES_MAX || lane.0 >= config.lanes {
            return Err(EngineError::Lanes(config.lanes));
        }
        let (interfaces, count) = (config.interfaces.len(), ports.len());
        if interfaces != count || !(1..=INTERFACES_MAX).contains(&count) {
            return Err(EngineError::Interfaces { interfaces, ports: count });
        }
        let [a, b, c, d] = config.secret;
        let (secret, hash) = (Secret::new([a, b, c, d]), KeyedHash::new([c, d]));
        let rss = config.interfaces.iter().map(|interface| interface.rss.clone()).collect();
        let mut engine = Engine {
            lane,
            ports: Ports::new(ports, &config.interfaces, hash),
            arriving: 0,
            secret,
            started: false,
            turn: 0,
            flows: Flows::new(lane, secret, config.sockets, config.cells_max, config.tcp, now),
            table: FlowTable::new(
                config.sockets,
                config.time_wait_max.saturating_add(2 * config.half_open_max),
            ),
            wheel: Wheel::new(now),
            half_opens: HalfOpens::new(config.half_open_max, &config.tcp),
            cookies: Cookies::default(),
            time_waits: TimeWaits::new(config.time_wait_max, nanoseconds(config.tcp.time_wait) / 1_000),
            listeners: Listeners::new(hash),
            udp: UdpSockets::new(hash),
            app_timers: AppTimers::default(),
            source_ports: SourcePorts::new(&secret, lane),
            deferred: Vec::new(),
            frames: FrameSlab::default(),
            dirty: Vec::new(),
            said: Vec::new(),
            unserved: None,
            said_to: 0,
            neighbour_actions: Vec::new(),
            routes: route::Table::new(),
            path_mtus: Ways::new(hash),
            paths: Paths::new(hash),
            fragments: Reassembler::new(),
            fragment_output: fragment::Output::default(),
            identifications: fragment::Identifications::new(hash, lane.0, config.lanes),
            responder: Responder::hard_to_reckon_with(secret.dice()),
            large: Pool::packets(LARGE_FRAMES),
            mesh: Mesh::new(lane, config.lanes, rss, hash),
            holdable: 0,
            app_held: 0,
            spill: None,
            parsed: Vec::with_capacity(BURST_MAX),
            queues: vec![CompletionQueue::default()],
            completions: Completions::default(),
            done: Vec::new(),
            stopping: None,
            counters: Counters::default(),
            config,
        };
        engine.configure()?;
        Ok(engine)
    }

    fn configure(&mut self) -> Result<(), EngineError> {
        for (number, interface) in (0..).zip(&self.config.interfaces) {
            for address in &interface.addresses {
                if address.ip.is_ipv6() {
                    // It is ours once nobody else turns out to have it.
                    route::check(address.ip, address.prefix)?;
                    continue;
                }
                let local =
                    LocalAddress { address: address.ip, prefix_len: address.prefix, interface: number };
                self.routes.add_address(local, self.ports[number].mtu)?;
            }
        }
        for (number, interface) in (0..).zip(&self.config.interfaces) {
            for way in &interface.gateways {
                if !self.routes.is_neighbour(number, way.gateway) && !interface.reaches(way.gateway) {
                    return Err(EngineError::Gateway(way.gateway));
                }
                self.routes.add_route(Route {
                    destination: way.destination.ip,
                    prefix_len: way.destination.prefix,
                    gateway: Some(way.gateway),
                    interface: number,
                    source: None,
                    mtu: self.ports[number].mtu,
                })?;
            }
        }
        Ok(())
    }

    /// Announce our addresses, once.
    fn start(&mut self) {
        self.started = true;
        // What the port has taken for its descriptors is no longer there. Of the rest some stay free, so that
        // acknowledgements can be received whatever is held. All frames that are held may be of one port, so the one
        // with the fewest decides.
        let spare = self.ports.iter().map(|port| port.composer.pools().receive.available()).min();
        let spare = spare.unwrap_or(0);
        self.holdable = spare - (spare / 2).min(RESERVED_FRAMES);
        let all = self.holdable + SPILL_FRAMES;
        self.flows.shared.frames_in_order = u32::try_from(all / 2).unwrap_or(u32::MAX);
        for number in self.ports.interfaces() {
            self.start_neighbours(number);
            self.start_ipv6(number);
        }
    }

    /// A new turn at a new time: every figure derived from the time is derived here, once.
    pub fn begin_turn(&mut self, now: Instant) {
        let before = self.flows.shared.now.instant;
        self.flows.shared.set_now(now);
        self.turn += 1;
        let pause_us = now.0.saturating_sub(before.0) / 1_000;
        if self.turn > 1 {
            self.counters.stall_us_max = self.counters.stall_us_max.max(pause_us);
            self.counters.stalls += u64::from(pause_us > STALL_US);
        }
        if !self.started {
            self.start();
        }
    }

    /// The lane slept on purpose until now: what passed was no stall.
    pub fn rested(&mut self, now: Instant) {
        self.flows.shared.set_now(now);
    }

    /// Take the application's half of a batch in: credit, returned frames, ops.
    pub fn take_batch(&mut self, batch: &mut Batch) -> bool {
        let busy = !batch.ops.is_empty() || !batch.returned.is_empty();
        self.set_credits(&batch.credits);
        self.app_held = batch.held_frames;
        self.count_frames_left();
        self.apply_all(&mut batch.ops, &batch.returned);
        batch.returned.clear();
        self.serve_queues();
        busy
    }

    /// How many more frames may be held.
    fn count_frames_left(&mut self) {
        let held = self.app_held + self.frames.live() + self.completions.len();
        self.flows.shared.frames_left =
            u32::try_from((self.holdable + SPILL_FRAMES).saturating_sub(held)).unwrap_or(u32::MAX);
    }

    /// The frame to hold for a payload: itself, or a copy while the port needs its frames back.
    #[inline]
    pub(crate) fn spill(&mut self, frame: Frame) -> Frame {
        if self.flows.shared.frames_left as usize > SPILL_FRAMES { frame } else { self.copy_away(frame) }
    }

    fn copy_away(&mut self, frame: Frame) -> Frame {
        let pool = self.spill.get_or_insert_with(|| Pool::heap(SPILL_FRAMES, SPILL_ROOM));
        let copy = pool.take().and_then(|mut copy| {
            copy.append(frame.len())?.copy_from_slice(frame.bytes());
            Some(copy)
        });
        self.counters.spilled_segments += u64::from(copy.is_some());
        copy.unwrap_or(frame)
    }

    /// Give the engine's half of a batch out: completions and finished sends.
    pub fn give_batch(&mut self, batch: &mut Batch) -> bool {
        let (answered, done) = (!self.completions.is_empty(), !self.done.is_empty());
        if answered {
            self.completions.pour(&mut batch.completions);
        }
        if done {
            pour(&mut batch.done, &mut self.done);
        }
        answered || done
    }

    /// Do what is due by the clock. True if something was, and so may have something to say.
    pub fn advance(&mut self) -> bool {
        let (now, backlog) = (self.flows.shared.now, self.backlog());
        let mut due = Vec::new();
        core::mem::swap(&mut due, &mut self.flows.visits);
        self.wheel.advance(now.ticks, |slot, at| due.push((slot, at)));
        let busy = !due.is_empty();
        due.iter().for_each(|(slot, _)| self.flows.prefetch_visit(*slot));
        for (slot, at) in due.drain(..) {
            self.visit(slot, at);
        }
        self.flows.visits = due;
        self.advance_half_opens();
        self.time_waits.advance(now.ticks, crate::timer::VISITS_MAX, forget_rest(&mut self.table));
        for interface in self.ports.interfaces() {
            self.ports[interface].neighbours.advance(now.instant, &mut self.neighbour_actions);
            self.act_on_neighbours(interface);
        }
        self.advance_addresses();
        self.advance_fragments();
        self.advance_app_timers();
        let spread = self.spread_path_mtus();
        if self.stopping.is_some_and(|deadline| now.instant >= deadline) {
            self.reset_all();
        }
        busy || spread || self.backlog() > backlog
    }

    /// When `advance` next has something to do, if ever.
    pub fn next_deadline(&self) -> Option<Instant> {
        let now = self.flows.shared.now;
        let wheel = self.wheel.next_deadline();
        let half = self.half_opens.next_deadline(now.ticks);
        let waits = self.time_waits.next_deadline();
        let ticks = wheel.earlier(half, now.ticks).earlier(waits, now.ticks);
        let ticks = ticks.is_on().then(|| ticks.instant(now.instant));
        [
            ticks,
            self.ports.iter().filter_map(|port| port.neighbours.next_deadline()).min(),
            self.ports.iter().filter_map(|port| port.addresses.next_deadline()).min(),
            self.fragments.next_deadline(),
            self.app_timers.next(),
            self.stopping.filter(|_| self.flows.sockets() > 0),
            self.silence().filter(|_| self.backlog() > 0),
            self.path_mtus.is_spreading().then_some(now.instant),
            (!self.dirty.is_empty()).then(|| now.instant.saturating_add(SAID_AGAIN)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Frames for the port of an interface, most urgent first. What the port does not take stays.
    pub fn transmit(&mut self, interface: u8, mut send: impl FnMut(&mut Vec<Frame>) -> usize) -> usize {
        let mut sent = 0;
        let port = &mut self.ports[interface];
        for queue in [&mut port.urgent, &mut port.data] {
            if !queue.is_empty() {
                sent += send(queue);
            }
            if !queue.is_empty() {
                break;
            }
        }
        self.counters.sent_frames += sent as u64;
        sent
    }

    /// Frames that wait for the ports.
    pub fn backlog(&self) -> usize {
        self.ports.iter().map(Port::backlog).sum()
    }

    /// A frame that was to be sent for another lane could not go.
    pub fn count_unsent(&mut self, reason: DropReason) {
        self.counters.fail(reason);
    }

    /// Interfaces there are; they are numbered from zero.
    pub fn interfaces(&self) -> u8 {
        u8::try_from(self.ports.len()).unwrap_or(u8::MAX)
    }

    /// Stop in order: listeners and UDP sockets close now, streams may finish until `within` has passed.
    pub fn stop(&mut self, within: Duration) {
        if self.stopping.is_none() {
            self.stopping = Some(self.flows.shared.now.instant.saturating_add(within));
            self.close_listeners();
            self.close_udp();
            self.app_timers.clear();
            self.cancel_deferred(None);
        }
    }

    /// The application has gone: stop, and close every stream in order.
    pub fn leave(&mut self, within: Duration) {
        self.stop(within);
        self.close_streams();
    }

    /// Told to stop, and nothing is left: no socket, no frame that waits for the port, unless it waits in vain.
    pub fn is_stopped(&self) -> bool {
        self.stopping.is_some() && self.flows.sockets() == 0 && (self.backlog() == 0 || self.is_overdue())
    }

    /// Told to stop, and the time for it is over: what the port has not taken by now, it need not take.
    pub fn is_overdue(&self) -> bool {
        self.silence().is_some_and(|end| self.flows.shared.now.instant >= end)
    }

    /// When a lane that was told to stop gives up what a port does not take.
    fn silence(&self) -> Option<Instant> {
        self.stopping.map(|deadline| deadline.saturating_add(LAST_WORDS))
    }

    /// Told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Forget everything that is no socket: connections in TIME_WAIT, half-open ones, waiting packets.
    pub fn clear(&mut self) {
        self.time_waits.clear(forget_rest(&mut self.table));
        self.fragments.clear(&mut self.fragment_output);
        self.fragment_output.complete.clear();
        self.fragment_output.dropped.clear();
        self.fragment_output.expired.clear();
        for port in self.ports.iter_mut() {
            port.neighbours.clear(&mut self.neighbour_actions);
            self.neighbour_actions.clear();
            port.urgent.clear();
            port.data.clear();
        }
        self.wheel = Wheel::new(self.flows.shared.now.instant);
    }

    /// The lane's clock, as of this turn.
    pub fn now(&self) -> Instant {
        self.flows.shared.now.instant
    }

    /// Change TCP's settings. What a connection took from them at its start it keeps, and TIME_WAIT its length.
    pub fn set_tcp(&mut self, config: TcpConfig) {
        self.config.tcp = config;
        self.flows.shared.config = config;
        self.flows.shared.set_now(self.flows.shared.now.instant);
        self.half_opens.resize(&config);
    }

    /// The lane's counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Everything the engine knows about itself.
    pub fn report(&self) -> Report {
        let fill = |pool: fn(&Pools) -> &Pool| {
            let mut sum = PoolReport::default();
            for pool in self.ports.iter().map(|port| pool(port.composer.pools())) {
                sum.add(PoolReport { available: pool.available(), capacity: pool.capacity() });
            }
            sum
        };
        Report {
            lane: self.lane,
            flows: self.table.len() - self.half_opens.len() - self.time_waits.len(),
            half_open: self.half_opens.len(),
            time_wait: self.time_waits.len(),
            sockets: self.flows.sockets(),
            timers: self.wheel.len() + self.app_timers.len(),
            held_frames: self.frames.live(),
            cells: self.flows.shared.cells.live(),
            active: self.flows.shared.actives.live() + self.flows.shared.controls.live(),
            lent: 0,
            claims: self.mesh.claims(),
            backlog: self.backlog(),
            waiting_packets: self.fragments.len(),
            duplicate_addresses: self.ports.iter().map(|port| port.addresses.duplicates()).sum(),
            receive: fill(|pools| &pools.receive),
            control: fill(|pools| &pools.control),
            attach: fill(|pools| &pools.attach),
            copied_bytes: self.ports.iter().map(|port| port.composer.copied_bytes()).sum(),
            attached_bytes: self.ports.iter().map(|port| port.composer.attached_bytes()).sum(),
            rests: Rests::default(),
            turns: Turns::default(),
            counters: self.counters.clone(),
        }
    }

    /// Put a flow on the list of those with something to say.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, slot: u32) {
        if self.flows.set_dirty(slot) {
            self.dirty.push(slot);
        }
    }

    /// See that the wheel visits a flow no later than its deadline.
    pub(crate) fn arm(&mut self, slot: u32) {
        let now = self.flows.shared.now.ticks;
        if let Some((deadline, armed)) = self.flows.deadlines(slot)
            && deadline.is_on()
            && (!armed.is_on() || deadline.until(now) < armed.until(now))
        {
            self.wheel.insert(slot, deadline);
            self.flows.set_armed(slot, deadline);
        }
    }

    /// The wheel's visit: act if something is due, and promise the next visit.
    fn visit(&mut self, slot: u32, at: Ticks) {
        if self.flows.armed(slot) != at {
            return;
        }
        self.flows.set_armed(slot, Ticks::OFF);
        if self.flows.kind(slot) != flows::Kind::Stream {
            return;
        }
        self.expire(slot);
        self.arm(slot);
    }
}

/// What the table of TIME_WAIT ends, the flow table forgets.
fn forget_rest(table: &mut FlowTable) -> impl FnMut(u64, u32) {
    |word, rest| {
        table.remove((word >> 32) as u32, Place::Rest(rest).number());
    }
}

/// Move everything behind what there is, which mostly is nothing.
fn pour<T>(into: &mut Vec<T>, from: &mut Vec<T>) {
    if into.is_empty() {
        core::mem::swap(into, from);
    } else {
        into.append(from);
    }
}
