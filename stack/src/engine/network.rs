//! Addresses, routes and path MTUs that come and go while the runtime runs. Of what an operator changes lane zero
//! decides the order and tells the others.

use core::net::IpAddr;

use super::flows::Kind;
use super::mesh::Message;
use super::{Engine, LocalAddress, Route};
use crate::config::{Address, Gateway};
use crate::ip::neighbour::Action;
use crate::ip::path_mtu;
use crate::ip::route::RouteError;
use crate::socket::{Event, LaneId, NetworkChange, OpError, Reason, Tag};
use crate::tcp::state::{State, flag};

impl Engine {
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
                if !self.routes.remove_gateways(destination.ip, destination.prefix) {
                    return Err(OpError::Unreachable);
                }
            }
        }
        self.find_paths_again();
        Ok(())
    }

    fn add_address(&mut self, address: Address, interface: u8) -> Result<(), OpError> {
        let IpAddr::V4(ip) = address.ip else { return Err(OpError::AddressNotAvailable) };
        if usize::from(interface) >= self.ports.len() {
            return Err(OpError::Unreachable);
        }
        if self.routes.is_local(address.ip) {
            return Err(OpError::AddressInUse);
        }
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
        let IpAddr::V4(v4) = ip else { return Err(OpError::AddressNotAvailable) };
        let interface = self.routes.interface_of(ip).ok_or(OpError::AddressNotAvailable)?;
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
        for listener in self.half_opens.remove_local(ip) {
            self.uncount_half_open(listener);
        }
        self.time_waits.remove_local(ip);
        self.routes.remove_address(ip);
        self.ports[interface].neighbours.remove_address(v4, &mut self.neighbour_actions);
        self.act_on_neighbours(interface);
        Ok(())
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
            mtu: if way.gateway.is_ipv6() { self.ipv6_mtu(interface) } else { self.ports[interface].mtu },
        };
        self.routes.add_route(route).map_err(op_error)
    }

    /// The ways may have changed: every connection looks for its own once more, and keeps the old one if there is none.
    ///
    /// Cost: walks all slots. Changes are an operator's, and rare.
    fn find_paths_again(&mut self) {
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
                self.lower_mtu(slot, self.mtu_to(tuple.local.ip(), tuple.remote.ip(), 0));
            }
        }
    }

    /// A message about a packet of ours that was in flight has named a path MTU: all lanes are to know it.
    pub(super) fn learn_path_mtu(&mut self, slot: u32, destination: IpAddr, mtu: u16) {
        let mtu = mtu.max(path_mtu::least(destination));
        if self.path_mtus.learn(destination, mtu, self.flows.now.instant) {
            self.mesh.tell_all(|| Message::PathMtu { destination, mtu });
        }
        self.lower_mtu(slot, mtu);
    }

    /// A connection keeps to what is known of its path: a new one from its first data on, one whose packets went
    /// unanswered from then on. Others hear of it when the router drops a packet of theirs.
    pub(super) fn heed_path_mtu(&mut self, slot: u32) {
        let Some(tuple) = self.flows.tuple(slot) else { return };
        if let Some(mtu) = self.path_mtus.of(tuple.remote.ip(), self.flows.now.instant)
            && let Some(hot) = self.flows.hot_mut(slot)
        {
            let headers = if hot.is_ipv6() { 60 } else { 40 };
            hot.mss = hot.mss.min(mtu.saturating_sub(headers));
        }
    }

    /// The path takes less than we thought: send smaller segments, and what was too big again.
    pub(super) fn lower_mtu(&mut self, slot: u32, mtu: u16) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let headers = if connection.hot.is_ipv6() { 60 } else { 40 };
        let mss = mtu.saturating_sub(headers).max(crate::tcp::input::MSS_MIN);
        if mss < connection.hot.mss {
            connection.hot.mss = mss;
            crate::tcp::loss::on_too_big(&mut connection);
            connection.set(crate::tcp::state::flag::PROBE);
            self.mark_dirty(slot);
        }
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
