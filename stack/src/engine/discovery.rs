//! Neighbour discovery and the addresses of IPv6, as far as frames, routes and other lanes are concerned: whom we ask,
//! what we answer, and what follows when an address is ours. The rules are `ip::neighbour`'s and `ip::slaac`'s.

use core::net::{IpAddr, Ipv6Addr};

use drivers::Frame;

use super::Engine;
use super::packets_ipv6::Packet6;
use super::receive::Parsed;
use crate::ip::neighbour::Change;
use crate::ip::route::{self, LocalAddress, Route};
use crate::ip::slaac::Action;
use crate::socket::OpError;
use crate::wire::discovery::{self, Ask, Message, NeighbourAdvertisement};
use crate::wire::ipv6::{self, HOP_LIMIT_LINK, Header};
use crate::wire::{DropReason, EtherType, MacAddress, Protocol, ethernet, mld};

impl Engine {
    /// Begin to speak IPv6 on an interface that has an address of it, or is to get one.
    pub(super) fn start_ipv6(&mut self, number: u8) {
        let Some(interface) = self.config.interfaces.get(usize::from(number)) else { return };
        let six = interface.addresses.iter().filter_map(|address| match address.ip {
            IpAddr::V6(ip) => Some((ip, address.prefix)),
            IpAddr::V4(_) => None,
        });
        let six: Vec<(Ipv6Addr, u8)> = six.collect();
        if six.is_empty() && !interface.ipv6.routers {
            return;
        }
        let (now, mut actions) = (self.flows.shared.now.instant, Vec::new());
        let addresses = &mut self.ports[number].addresses;
        // One that the operator has named may be of the link alone.
        for (ip, prefix) in six {
            addresses.add_static(ip, prefix, now, &mut actions);
        }
        addresses.start(now, &mut actions);
        self.act_on_addresses(number, actions);
    }

    /// Do what is due for the addresses of all interfaces.
    pub(super) fn advance_addresses(&mut self) {
        let now = self.flows.shared.now.instant;
        for number in self.ports.interfaces() {
            let addresses = &mut self.ports[number].addresses;
            if addresses.next_deadline().is_some_and(|deadline| deadline <= now) {
                let mut actions = Vec::new();
                addresses.advance(now, &mut actions);
                self.act_on_addresses(number, actions);
            }
        }
    }

    /// Do what an interface's addresses ask.
    fn act_on_addresses(&mut self, interface: u8, actions: Vec<Action>) {
        let ways = |action: &Action| matches!(action, Action::OnLink { .. } | Action::Router { .. });
        let ways_change = actions.iter().any(ways);
        let changed = !actions.is_empty();
        for action in actions {
            match action {
                // All lanes have the same addresses; one asks and tells for all.
                Action::Ask { ask, source, destination } if self.lane.0 == 0 => {
                    let to = Some(ipv6::group_mac(destination));
                    self.send_discovery(interface, &ask, source, destination, to);
                }
                Action::Joined { address } if self.lane.0 == 0 => {
                    self.report_groups(interface, &[ipv6::solicited_node(address)], mld::Why::Joined);
                }
                Action::Listening if self.lane.0 == 0 => {
                    let groups = self.ports[interface].addresses.groups().map(ipv6::solicited_node);
                    let groups: Vec<Ipv6Addr> = groups.collect();
                    self.report_groups(interface, &groups, mld::Why::Asked);
                }
                Action::Ask { .. } | Action::Joined { .. } | Action::Listening => {}
                Action::Add { address, prefix_len } => {
                    let local = LocalAddress { address: IpAddr::V6(address), prefix_len, interface };
                    let mtu = self.ipv6_mtu(interface);
                    // A full table was told when the engine was made; what routers give has bounds of its own.
                    let _ = self.routes.add_address(local, mtu);
                }
                Action::Remove { address } => self.end_address(IpAddr::V6(address)),
                Action::Deprecate { address, deprecated } => {
                    self.routes.set_deprecated(IpAddr::V6(address), deprecated);
                }
                Action::Duplicate { .. } => {}
                Action::OnLink { prefix, len, on } => self.set_way(interface, prefix, len, None, on),
                Action::Router { address, on } => {
                    self.set_way(interface, Ipv6Addr::UNSPECIFIED, 0, Some(address), on);
                }
                Action::Mtu(mtu) => self.routes.set_ipv6_mtu(interface, mtu),
                Action::HopLimit(limit) => self.ports[interface].hop_limit = limit,
                Action::Times { reachable, retransmit } => {
                    self.ports[interface].neighbours.set_times(reachable, retransmit);
                }
            }
        }
        if ways_change {
            self.find_paths_again();
        }
        if changed {
            self.connect_deferred();
        }
    }

    /// The operator adds an address: it is ours once nobody else turns out to have it.
    pub(super) fn add_ipv6_address(
        &mut self,
        ip: Ipv6Addr,
        prefix: u8,
        interface: u8,
    ) -> Result<(), OpError> {
        if route::check(IpAddr::V6(ip), prefix).is_err() {
            return Err(OpError::AddressNotAvailable);
        }
        if self.ports.iter().any(|port| port.addresses.is_tentative(ip)) {
            return Err(OpError::AddressInUse);
        }
        let (now, mut actions) = (self.flows.shared.now.instant, Vec::new());
        let addresses = &mut self.ports[interface].addresses;
        let added = addresses.add_static(ip, prefix, now, &mut actions);
        addresses.start(now, &mut actions);
        self.act_on_addresses(interface, actions);
        if added { Ok(()) } else { Err(OpError::NoRoom) }
    }

    /// The operator takes an address away, whoever named it.
    pub(super) fn remove_ipv6_address(&mut self, ip: Ipv6Addr) -> Result<(), OpError> {
        let has = |number: &u8| {
            let addresses = &self.ports[*number].addresses;
            addresses.is_assigned(ip) || addresses.is_tentative(ip)
        };
        let interface = self.ports.interfaces().find(has).ok_or(OpError::AddressNotAvailable)?;
        let mut actions = Vec::new();
        self.ports[interface].addresses.remove(ip, &mut actions);
        self.act_on_addresses(interface, actions);
        Ok(())
    }

    /// What an interface's link takes of IPv6, as its routes know it.
    fn ipv6_mtu(&self, interface: u8) -> u16 {
        self.routes.ipv6_mtu(interface).unwrap_or(self.ports[interface].mtu)
    }

    fn set_way(
        &mut self,
        interface: u8,
        destination: Ipv6Addr,
        len: u8,
        gateway: Option<Ipv6Addr>,
        on: bool,
    ) {
        let way = Route {
            destination: IpAddr::V6(destination),
            prefix_len: len,
            gateway: gateway.map(IpAddr::V6),
            interface,
            source: None,
            mtu: self.ipv6_mtu(interface),
        };
        if on {
            // With a full table the way is as good as not told.
            let _ = self.routes.add_route(way);
        } else {
            self.routes.remove_unsourced(&way);
        }
    }

    /// Send a message of discovery; to a neighbour whose station is not known once it is.
    fn send_discovery(
        &mut self,
        interface: u8,
        ask: &Ask,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        to: Option<MacAddress>,
    ) {
        let header = Header::new(source, destination, Protocol::ICMPV6, HOP_LIMIT_LINK);
        let built = self.ports[interface].composer.header().ok().and_then(|mut frame| {
            ask.emit(frame.append(ask.len())?, source, destination).ok()?;
            header.emit(frame.prepend(ipv6::HEADER_LEN)?, ask.len()).ok()?;
            Some(frame)
        });
        match (built, to) {
            (Some(frame), Some(mac)) => self.send_link(interface, frame, mac, EtherType::IPV6, true),
            (Some(frame), None) => self.hold_for(interface, destination.into(), source.into(), frame),
            (None, _) => self.counters.fail(DropReason::NoRoom),
        }
    }

    /// Tell routers and switches that we listen to groups; before we have an address, from none (RFC 3590).
    fn report_groups(&mut self, interface: u8, groups: &[Ipv6Addr], why: mld::Why) {
        let port = &self.ports[interface];
        let source = port.addresses.link_local().unwrap_or(Ipv6Addr::UNSPECIFIED);
        let len = mld::report_len(groups.len());
        let built = port.composer.header().ok().and_then(|mut frame| {
            mld::emit_report(frame.append(len)?, source, groups, why).ok()?;
            mld::header(source).emit(frame.prepend(ipv6::HEADER_LEN)?, len).ok()?;
            Some(frame)
        });
        let to = ipv6::group_mac(mld::REPORTS_TO);
        match built {
            Some(frame) => self.send_link(interface, frame, to, EtherType::IPV6, true),
            None => self.counters.fail(DropReason::NoRoom),
        }
    }

    /// Ask for a neighbour: at its station, or where that is not known at its group.
    pub(super) fn solicit(
        &mut self,
        interface: u8,
        station: Option<MacAddress>,
        source: Ipv6Addr,
        target: Ipv6Addr,
    ) {
        let mac = self.ports[interface].mac;
        let ask = Ask::Neighbour { target, station: Some(mac) };
        let group = ipv6::solicited_node(target);
        let (destination, to) = match station {
            Some(station) => (target, station),
            None => (group, ipv6::group_mac(group)),
        };
        self.send_discovery(interface, &ask, source, destination, Some(to));
    }

    /// A neighbour did not answer: if it is a router, another comes first.
    pub(super) fn on_neighbour_lost(&mut self, interface: u8, neighbour: IpAddr) {
        let IpAddr::V6(router) = neighbour else { return };
        let mut actions = Vec::new();
        self.ports[interface].addresses.on_router_lost(router, false, &mut actions);
        self.act_on_addresses(interface, actions);
    }

    /// Learn of a message of discovery that came to another lane.
    pub(super) fn hear_of_discovery(&mut self, frame: &mut Frame, interface: u8) {
        self.arriving = interface;
        if let Ok(Parsed::Packet6(packet)) = self.parse(frame) {
            // What it was worth was counted where it came.
            let _ = self.on_discovery(frame, &packet, false);
        }
    }

    /// A message of neighbour discovery, its checksum good. `first`: it came here, so we answer it.
    pub(super) fn on_discovery(
        &mut self,
        frame: &Frame,
        packet: &Packet6,
        first: bool,
    ) -> Result<(), DropReason> {
        //= https://www.rfc-editor.org/rfc/rfc6980#section-5
        //# Nodes MUST silently ignore the following Neighbor Discovery and
        //# SEcure Neighbor Discovery messages if the packets carrying them
        //# include an IPv6 Fragmentation Header:
        if packet.pieces {
            return Err(DropReason::DiscoveryMalformed);
        }
        let interface = self.arriving;
        let (link, _) = ethernet::parse(frame.bytes())?;
        if link.source == self.ports[interface].mac {
            // Our own voice, from a link that hands it back.
            return Err(DropReason::DiscoveryNotForUs);
        }
        let bytes = frame.bytes().get(packet.payload.clone()).unwrap_or(&[]);
        if bytes.first() == Some(&mld::QUERY) {
            let within = mld::parse_query(&packet.header, bytes)?;
            if first {
                self.tell_of_discovery(frame);
            }
            let now = self.flows.shared.now.instant;
            self.ports[interface].addresses.on_query(within, now);
            return Ok(());
        }
        let message = discovery::parse(&packet.header, bytes)?;
        if first {
            self.tell_of_discovery(frame);
        }
        let (source, now) = (packet.header.source, self.flows.shared.now.instant);
        let mut actions = Vec::new();
        let result = match message {
            Message::RouterSolicitation | Message::Redirect { .. } => Err(DropReason::DiscoveryNotForUs),
            Message::RouterAdvertisement(said) => {
                match said.station {
                    Some(station) => self.learn_station(source, station, Some(true)),
                    None => self.ports[interface].neighbours.note_router(source),
                }
                self.ports[interface].addresses.on_router(source, &said, now, &mut actions);
                Ok(())
            }
            Message::NeighbourSolicitation { target, station } => {
                self.on_solicitation(source, target, station, first, &mut actions)
            }
            Message::NeighbourAdvertisement(said) => self.on_advertisement(&said, &mut actions),
        };
        self.act_on_addresses(interface, actions);
        self.act_on_neighbours(interface);
        result
    }

    fn learn_station(&mut self, address: Ipv6Addr, station: MacAddress, router: Option<bool>) {
        let (interface, now) = (self.arriving, self.flows.shared.now.instant);
        let ours = self.routes.source_for(interface, IpAddr::V6(address));
        let Some(IpAddr::V6(ours)) = ours else { return };
        let neighbours = &mut self.ports[interface].neighbours;
        neighbours.learn_station(address, station, router, ours, now, &mut self.neighbour_actions);
    }

    /// Somebody asks for an address.
    fn on_solicitation(
        &mut self,
        source: Ipv6Addr,
        target: Ipv6Addr,
        station: Option<MacAddress>,
        first: bool,
        actions: &mut Vec<Action>,
    ) -> Result<(), DropReason> {
        let (interface, now) = (self.arriving, self.flows.shared.now.instant);
        let port = &mut self.ports[interface];
        if port.addresses.is_tentative(target) {
            //= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.3
            //# In all cases, a node MUST NOT respond to a Neighbor
            //# Solicitation for a tentative address.
            if source.is_unspecified() {
                port.addresses.on_conflict(target, now, actions);
                return Err(DropReason::DiscoveryConflict);
            }
            return Err(DropReason::DiscoveryNotForUs);
        }
        if !port.addresses.is_assigned(target) {
            return Err(DropReason::DiscoveryNotForUs);
        }
        let mac = port.mac;
        if let Some(station) = station.filter(|_| !source.is_unspecified()) {
            self.learn_station(source, station, None);
        }
        if !first {
            return Ok(());
        }
        //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.4
        //# If the source of the solicitation is the unspecified address, the
        //# node MUST set the Solicited flag to zero and multicast the
        //# advertisement to the all-nodes address.
        let solicited = !source.is_unspecified();
        let ask = Ask::Ours { target, station: mac, solicited, overrides: true };
        let (destination, to) = if solicited {
            (source, self.ports[interface].neighbours.resolve(IpAddr::V6(source), now))
        } else {
            (ipv6::ALL_NODES, Some(ipv6::group_mac(ipv6::ALL_NODES)))
        };
        self.send_discovery(interface, &ask, target, destination, to);
        Ok(())
    }

    /// Somebody says which station has an address.
    fn on_advertisement(
        &mut self,
        said: &NeighbourAdvertisement,
        actions: &mut Vec<Action>,
    ) -> Result<(), DropReason> {
        let (interface, now) = (self.arriving, self.flows.shared.now.instant);
        let port = &mut self.ports[interface];
        //= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.4
        //# If the target address is tentative, the tentative address is not
        //# unique.
        if port.addresses.is_tentative(said.target) {
            port.addresses.on_conflict(said.target, now, actions);
            return Err(DropReason::DiscoveryConflict);
        }
        if port.addresses.is_assigned(said.target) {
            return Err(DropReason::DiscoveryConflict);
        }
        let change = port.neighbours.receive_advertisement(said, now, &mut self.neighbour_actions)?;
        if change == Change::NoRouter {
            port.addresses.on_router_lost(said.target, true, actions);
        }
        Ok(())
    }
}
