//! One lane's engine: flows, neighbours, routes, timers, counters. Sans-IO: frames, ops and the time go in; frames,
//! completions and the next deadline come out.
//!
//! | file | duty |
//! | --- | --- |
//! | `setup` | an engine made from its configuration, and its start |
//! | `flows` | the slots of sockets and the parts of connections |
//! | `common` | the shape of nearly all frames, read and written at constant offsets |
//! | `fast` | the common segment between frames and flows |
//! | `receive` | batches of frames to segments, segments to flows |
//! | `segments` | what a verdict of `tcp` means for frames, sockets and other tables |
//! | `ends` | how streams end |
//! | `listener_table` | the listeners of a lane |
//! | `listeners` | SYNs, half-open connections |
//! | `strays` | segments of what is no flow: whose they are |
//! | `time_waits` | connections that are no more |
//! | `cookies` | handshakes that nothing is remembered of |
//! | `deliver` | frames to sockets, completions to queues with credit |
//! | `handover` | a live flow as plain data, and back |
//! | `ops` | what applications ask |
//! | `connects` | connections that we open |
//! | `transmit` | segments to frames, frames to neighbours |
//! | `layers` | headers in front of a payload, one by one |
//! | `paths` | next hops of flows |
//! | `bundle` | several segments in one frame, where the port cuts it |
//! | `packets` | everything that is not TCP: ARP, ICMP, fragments |
//! | `udp`, `udp_sockets` | datagrams of UDP; the sockets, their ports and peers |
//! | `packets_ipv6` | the same of IPv6: extension headers, ICMPv6, fragments |
//! | `discovery` | neighbours and addresses of IPv6 |
//! | `ports` | the lane's ports: pools, neighbours and waiting frames of each |
//! | `mesh` | what lanes tell each other |
//! | `network` | addresses and routes that come and go |
//! | `stop` | the end of an engine |

mod bundle;
mod common;
mod connects;
mod cookies;
mod deliver;
mod discovery;
mod ends;
mod fast;
pub(crate) mod flows;
mod handover;
mod layers;
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
mod setup;
mod stop;
mod strays;
mod time_waits;
mod transmit;
mod udp;
mod udp_sockets;

#[cfg(test)]
mod tests;

use core::time::Duration;

use drivers::{Capabilities, Frame, Pool, Pools};

pub use self::handover::Frozen;
pub use self::mesh::{LANES_MAX, Message};
pub use self::setup::EngineError;

use self::connects::Deferred;
use self::deliver::CompletionQueue;
use self::flows::Flows;
use self::listener_table::Listeners;
use self::mesh::Mesh;
use self::ops::AppTimers;
use self::path_mtus::Ways;
use self::paths::Paths;
use self::ports::{Port, Ports};
use self::receive::Made;
use self::time_waits::forget_rest;
use self::udp_sockets::UdpSockets;
use crate::buffer::FrameSlab;
use crate::config::{EngineConfig, TcpConfig};
use crate::counters::{Counters, PoolReport, Report, Rests, STALL_US, Turns};
use crate::flow::FlowTable;
use crate::ip::fragment::Reassembler;
use crate::ip::icmp::Responder;
use crate::ip::{fragment, neighbour, route};
use crate::mode::{Batch, Completions, Done};
use crate::socket::LaneId;
use crate::tcp::cookie::Cookies;
use crate::tcp::isn::Secret;
use crate::tcp::listen::HalfOpens;
use crate::tcp::source_port::SourcePorts;
use crate::tcp::ticks::Ticks;
use crate::tcp::time_wait::TimeWaits;
use crate::time::Instant;
use crate::timer::Wheel;
use crate::wire::DropReason;

/// Frames of one burst: the passes of `receive` work on no more at a time.
pub const BURST_MAX: usize = 32;

/// Frames of ordinary memory that payload is copied into once as many received frames are held as may be: promised
/// windows are kept although the port needs its frames back. Made when first needed.
const SPILL_FRAMES: usize = 2048;

/// Room of such a frame: what a receive frame has.
const SPILL_ROOM: u16 = 2048 + 128;

/// When flows that could not say what they have to, for want of a frame or of a port that takes it, try again, if nothing
/// happens before.
const SAID_AGAIN: Duration = Duration::from_millis(10);

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

    parsed: Vec<Made>,

    queues: Vec<CompletionQueue>,
    completions: Completions,
    done: Vec<Done>,
    stopping: Option<Instant>,
    counters: Counters,
}

impl Engine {
    /// A new turn at a new time: every figure derived from the time is derived here, once.
    pub fn begin_turn(&mut self, now: Instant) {
        let before = self.flows.shared.now.instant;
        self.flows.shared.set_now(now);
        self.turn += 1;
        self.paths.begin_turn();
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

/// Move everything behind what there is, which mostly is nothing.
fn pour<T>(into: &mut Vec<T>, from: &mut Vec<T>) {
    if into.is_empty() {
        core::mem::swap(into, from);
    } else {
        into.append(from);
    }
}
