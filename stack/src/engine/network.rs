//! Addresses and routes that come and go while the runtime runs. Lane zero decides their order and tells the others.

use core::net::{IpAddr, SocketAddr};

use super::Engine;
use super::flows::Kind;
use super::mesh::Message;
use crate::config::{Address, Gateway};
use crate::flow::Place;
use crate::ip::neighbour::Action;
use crate::ip::route::{LocalAddress, Route, RouteError};
use crate::socket::{Event, LaneId, NetworkChange, OpError, Reason, Tag};
use crate::tcp::state::{State, flag};
use crate::wire::MacAddress;

impl Engine {
    /// Announce an interface's addresses of IPv4, and note the neighbours that are known beforehand.
    pub(super) fn start_neighbours(&mut self, number: u8) {
        let Some(interface) = self.config.interfaces.get(usize::from(number)) else { return };
        let neighbours = &mut self.ports[number].neighbours;
        for address in &interface.addresses {
            if let IpAddr::V4(ip) = address.ip {
                neighbours.add_address(ip, &mut self.neighbour_actions);
            }
        }
        if self.lane.0 > 0 {
            // One lane's announcement is enough.
            self.neighbour_actions.clear();
        }
        for (ip, mac) in &interface.neighbours {
            let now = self.flows.shared.now.instant;
            neighbours.add_static(*ip, MacAddress(*mac), now, &mut self.neighbour_actions);
        }
        self.act_on_neighbours(number);
    }

    /// Change addresses or routes as the application asks. Changes meet on one lane, so that all lanes see them in one
    /// order.
    pub(super) fn configure_op(&mut self, change: NetworkChange, queue: u8, tag: Tag) {
        let done = match self.lane {
            LaneId(0) => self.change(&change),
            _ => Err(OpError::WrongLane(LaneId(0))),
        };
        match done {
            Ok(()) => {
                self.tell_of_change(change);
                self.complete(queue, tag, false, Event::Configured);
            }
            Err(error) => self.fail(None, error, queue, tag),
        }
    }

    /// Do here what lane zero has done.
    pub(super) fn hear_of_change(&mut self, change: &NetworkChange) {
        // It has succeeded there, and all tables are alike.
        let done = self.change(change);
        debug_assert_eq!(done, Ok(()));
    }

    fn change(&mut self, change: &NetworkChange) -> Result<(), OpError> {
        match *change {
            NetworkChange::AddAddress { address, interface } => self.add_address(address, interface)?,
            NetworkChange::RemoveAddress { address } => self.remove_address(address)?,
            NetworkChange::AddRoute(way) => self.add_way(&way)?,
            NetworkChange::RemoveRoute { destination } => {
                if !self.routes.remove_way(destination.ip, destination.prefix) {
                    return Err(OpError::Unreachable);
                }
            }
        }
        self.find_paths_again();
        Ok(())
    }

    fn add_address(&mut self, address: Address, interface: u8) -> Result<(), OpError> {
        if usize::from(interface) >= self.ports.len() {
            return Err(OpError::Unreachable);
        }
        if self.routes.is_local(address.ip) {
            return Err(OpError::AddressInUse);
        }
        let ip = match address.ip {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(ip) => return self.add_ipv6_address(ip, address.prefix, interface),
        };
        let local = LocalAddress { address: address.ip, prefix_len: address.prefix, interface };
        self.routes.add_address(local, self.ports[interface].mtu).map_err(op_error)?;
        let neighbours = &mut self.ports[interface].neighbours;
        neighbours.remove(address.ip, &mut self.neighbour_actions);
        neighbours.add_address(ip, &mut self.neighbour_actions);
        if self.lane != LaneId(0) {
            // One lane's announcement is enough.
            self.neighbour_actions.retain(|action| !matches!(action, Action::Transmit { .. }));
        }
        self.act_on_neighbours(interface);
        Ok(())
    }

    /// An address goes. Its connections end first, while their peers can still be told by resets: whoever has it next
    /// knows nothing of them. Listeners and UDP sockets bound to it stay, and hear nothing until it comes back.
    fn remove_address(&mut self, ip: IpAddr) -> Result<(), OpError> {
        if let IpAddr::V6(ip) = ip {
            return self.remove_ipv6_address(ip);
        }
        let interface = self.routes.interface_of(ip).ok_or(OpError::AddressNotAvailable)?;
        self.end_address(ip);
        if let IpAddr::V4(ip) = ip {
            self.ports[interface].neighbours.remove_address(ip, &mut self.neighbour_actions);
            self.act_on_neighbours(interface);
        }
        Ok(())
    }

    /// An address is ours no longer: its connections end, and no way leads by it.
    pub(super) fn end_address(&mut self, ip: IpAddr) {
        for slot in 0..self.flows.slots() {
            let is_its = self.flows.tuple(slot).is_some_and(|tuple| tuple.local.ip() == ip);
            let Some(hot) = self.flows.hot(slot).filter(|_| is_its) else { continue };
            if self.flows.kind(slot) != Kind::Stream || hot.flags & flag::DEAD != 0 {
                continue;
            }
            if hot.state == State::SynSent {
                self.fail_connect(slot, OpError::AddressNotAvailable);
            } else {
                self.send_abort(slot);
                self.bring_down(slot, Reason::AddressGone);
            }
        }
        // What is in TIME_WAIT there waits on, should the address come back.
        let (table, listeners) = (&mut self.table, &mut self.listeners);
        self.half_opens.remove_local(ip, |placed| {
            table.remove(placed.hash, Place::HalfOpen(placed.place).number());
            listeners.uncount(placed.half.listener);
        });
        self.routes.remove_address(ip);
    }

    fn add_way(&mut self, way: &Gateway) -> Result<(), OpError> {
        let near = |interface: &u8| self.routes.is_neighbour(*interface, way.gateway);
        let interface = self.ports.interfaces().find(near).ok_or(OpError::Unreachable)?;
        if self.routes.is_local(way.gateway) {
            return Err(OpError::AddressNotAvailable);
        }
        let route = Route {
            destination: way.destination.ip,
            prefix_len: way.destination.prefix,
            gateway: Some(way.gateway),
            interface,
            source: None,
            mtu: self.ports[interface].mtu,
        };
        self.routes.add_route(route).map_err(op_error)
    }

    /// The ways may have changed: every connection looks for its own once more, and keeps the old one if there is none.
    ///
    /// Cost: walks all slots. Changes are an operator's, and rare.
    pub(super) fn find_paths_again(&mut self) {
        for slot in 0..self.flows.slots() {
            let Some(tuple) = self.flows.tuple(slot) else { continue };
            let alive = self.flows.hot(slot).filter(|hot| hot.flags & flag::DEAD == 0);
            let Some(old) = alive.filter(|_| self.flows.kind(slot) == Kind::Stream).map(|hot| hot.path)
            else {
                continue;
            };
            let Some(path) = self.paths.take(&self.routes, &tuple) else { continue };
            self.paths.release(old);
            if path != old {
                if let Some(hot) = self.flows.hot_mut(slot) {
                    hot.path = path;
                }
                self.lower_mtu(slot, self.mtu_of(&tuple));
            }
        }
    }

    /// An address to send from is ours still.
    pub(super) fn may_send_from(&self, local: SocketAddr) -> bool {
        local.ip().is_unspecified() || self.routes.is_local(local.ip())
    }

    fn tell_of_change(&mut self, change: NetworkChange) {
        self.mesh.tell_all(|| Message::Network(change));
    }
}

fn op_error(error: RouteError) -> OpError {
    match error {
        RouteError::Full => OpError::NoRoom,
        RouteError::Malformed | RouteError::NotUnicast => OpError::AddressNotAvailable,
    }
}
