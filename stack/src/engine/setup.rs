//! An engine made from its configuration, and its start. What it does from then on is `mod.rs`'s.

use core::net::IpAddr;

use drivers::{Pool, Pools};

use super::deliver::CompletionQueue;
use super::flows::Flows;
use super::listener_table::Listeners;
use super::mesh::Mesh;
use super::ops::AppTimers;
use super::path_mtus::Ways;
use super::paths::Paths;
use super::ports::Ports;
use super::udp_sockets::UdpSockets;
use super::{BURST_MAX, Engine, INTERFACES_MAX, Interface, LANES_MAX, SPILL_FRAMES};
use crate::buffer::FrameSlab;
use crate::config::EngineConfig;
use crate::counters::Counters;
use crate::flow::FlowTable;
use crate::ip::fragment::Reassembler;
use crate::ip::icmp::Responder;
use crate::ip::route::{self, LocalAddress, Route};
use crate::ip::{KeyedHash, fragment};
use crate::mode::Completions;
use crate::socket::LaneId;
use crate::tcp::cookie::Cookies;
use crate::tcp::isn::Secret;
use crate::tcp::listen::HalfOpens;
use crate::tcp::source_port::SourcePorts;
use crate::tcp::time_wait::TimeWaits;
use crate::time::{Instant, nanoseconds};
use crate::timer::Wheel;

/// Received frames that nobody may hold: two bursts, with which the port can go on receiving.
const RESERVED_FRAMES: usize = 2 * BURST_MAX;

/// Frames for datagrams that came in pieces, or frames that did: 64 KiB each.
const LARGE_FRAMES: usize = 16;

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
    pub(super) fn start(&mut self) {
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
}
