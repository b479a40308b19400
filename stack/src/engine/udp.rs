//! UDP: the sockets, datagrams in and out. What a datagram for nobody is answered with is `packets`'s.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use drivers::{Checksum as Verdict, Frame};
use hashbrown::HashMap;

use super::Engine;
use super::flows::Kind;
use super::packets::Carried;
use crate::buffer::Waiting;
use crate::ip::KeyedHash;
use crate::mode::{View, ViewData};
use crate::socket::{Event, OpError, Reason, Tag, Udp};
use crate::wire::checksum::Tail;
use crate::wire::{Checksum, DropReason, Fill, Protocol, udp};

/// What became of a datagram.
pub(super) enum Fate {
    /// It ended here.
    Here,
    /// It went to the lane that has a socket for it.
    Elsewhere,
    /// Nobody has a socket for it.
    Nobody(Frame),
}

/// One UDP socket.
#[derive(Debug)]
struct UdpState {
    address: SocketAddr,
    queue: u8,
    tag: Tag,
    waiting: Waiting,
    held: usize,
    queued: bool,
}

/// The UDP sockets of a lane.
#[derive(Debug)]
pub struct UdpSockets {
    by_address: HashMap<SocketAddr, u32, KeyedHash>,
    states: Vec<Option<UdpState>>,
}

impl UdpSockets {
    pub fn new(hash: KeyedHash) -> UdpSockets {
        UdpSockets { by_address: HashMap::with_hasher(hash), states: Vec::new() }
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut UdpState> {
        self.states.get_mut(slot as usize)?.as_mut()
    }

    /// Where a socket's completions go.
    pub fn reports(&self, slot: u32) -> Option<(u8, Tag)> {
        self.states.get(slot as usize)?.as_ref().map(|state| (state.queue, state.tag))
    }

    /// A datagram has come back from the application.
    pub fn give_back(&mut self, slot: u32) {
        if let Some(state) = self.get_mut(slot) {
            state.held = state.held.saturating_sub(1);
        }
    }

    pub fn find(&self, local: SocketAddr) -> Option<u32> {
        listening_for(local).find_map(|address| self.by_address.get(&address).copied())
    }
}

impl Engine {
    pub(super) fn on_udp(&mut self, frame: Frame, packet: &Carried) -> Result<Fate, DropReason> {
        let verdict = frame.verdicts().transport;
        if verdict == Verdict::Bad {
            return Err(DropReason::UdpChecksum);
        }
        let bytes = frame.bytes().get(packet.payload.clone()).unwrap_or(&[]);
        let (source, destination) = (packet.source, packet.destination);
        let good = matches!(verdict, Verdict::Good | Verdict::Partial);
        let (header, data) = udp::parse(bytes, Tail::NONE, source, destination, good)?;
        let local = SocketAddr::new(destination, header.destination_port);
        let Some(slot) = self.udp.find(local) else {
            let remote = SocketAddr::new(source, header.source_port);
            if let Some(lane) = self.elsewhere_udp(local, remote) {
                self.steer(lane, frame, packet.link);
                return Ok(Fate::Elsewhere);
            }
            return Ok(Fate::Nobody(frame));
        };
        let data = data.clone();
        let mut frame = self.adopt(frame);
        let max = self.config.datagrams_max;
        let state = self.udp.get_mut(slot).ok_or(DropReason::UdpNoListener)?;
        if state.held >= max || self.flows.frames_left == 0 {
            return Err(DropReason::UdpQueueFull);
        }
        self.flows.frames_left -= 1;
        state.held += 1;
        frame.trim_front(packet.payload.start + data.start);
        frame.truncate(data.len());
        let from = SocketAddr::new(source, header.source_port);
        self.frames.push(&mut state.waiting, frame, Some(from));
        self.drain_datagrams(slot);
        Ok(Fate::Here)
    }

    /// Hand datagrams over, while there is credit.
    pub(super) fn drain_datagrams(&mut self, slot: u32) {
        let Some((queue, tag)) = self.udp.reports(slot) else { return };
        loop {
            let credit = self.has_credit(queue);
            let Some(state) = self.udp.get_mut(slot) else { return };
            state.queued &= !credit;
            if state.waiting.is_empty() {
                return;
            }
            if !credit {
                if !core::mem::replace(&mut state.queued, true) {
                    self.wait_for_credit(queue, slot);
                }
                return;
            }
            let Some((data, Some(from))) = self.frames.pop(&mut state.waiting) else { return };
            let socket = Udp(self.flows.id(slot));
            self.complete(queue, tag, true, Event::Datagram { socket, from, data });
        }
    }

    /// A datagram is said not to have arrived. Whoever forges such messages fills no queue with them: without credit
    /// they are as good as lost on the way.
    pub(super) fn tell_of_datagram_error(&mut self, slot: u32, to: SocketAddr, error: OpError) {
        let Some((queue, tag)) = self.udp.reports(slot) else { return };
        if self.has_credit(queue) {
            let socket = Udp(self.flows.id(slot));
            self.complete(queue, tag, true, Event::DatagramError { socket, to, error });
        }
    }

    pub(super) fn bind(&mut self, address: SocketAddr, queue: u8, tag: Tag) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.stopping.is_some() {
            return self.fail(None, OpError::Cancelled, queue, tag);
        }
        if !self.is_bindable(address.ip()) {
            return self.fail(None, OpError::AddressNotAvailable, queue, tag);
        }
        let taken = |address| equals_of(address).any(|address| self.udp.by_address.contains_key(&address));
        let free = |port: &u16| !taken(SocketAddr::new(address.ip(), *port));
        let port = if address.port() == 0 { (32_768..61_000).find(free) } else { Some(address.port()) };
        let Some(port) = port.filter(free) else {
            return self.fail(None, OpError::AddressInUse, queue, tag);
        };
        let Some(slot) = self.flows.take(Kind::Udp) else {
            return self.fail(None, OpError::NoRoom, queue, tag);
        };
        let local = SocketAddr::new(address.ip(), port);
        let state = UdpState { address: local, queue, tag, waiting: Waiting::EMPTY, held: 0, queued: false };
        if self.udp.states.len() <= slot as usize {
            self.udp.states.resize_with(slot as usize + 1, || None);
        }
        self.udp.states[slot as usize] = Some(state);
        self.udp.by_address.insert(local, slot);
        self.tell_of_udp(local, true);
        let socket = Udp(self.flows.id(slot));
        self.complete(queue, tag, true, Event::Bound { socket, local });
    }

    pub(super) fn send_to(
        &mut self,
        socket: Udp,
        to: SocketAddr,
        view: View,
        notify: bool,
        queue: u8,
        tag: Tag,
    ) {
        let (key, left) = (view.key, u64::from(view.data.len()));
        match self.try_send_to(socket, to, &view) {
            Ok(()) if notify => self.complete(queue, tag, false, Event::SentTo { socket, payload: key }),
            Ok(()) => self.done.push(key),
            Err(error) => {
                let event = Event::Failed { socket: Some(socket.0), error, acked: left, payload: Some(key) };
                self.complete(queue, tag, false, event);
            }
        }
    }

    fn try_send_to(&mut self, socket: Udp, to: SocketAddr, view: &View) -> Result<(), OpError> {
        let (slot, kind) = self.flows.find(socket.0)?;
        if kind != Kind::Udp {
            return Err(OpError::WrongKind);
        }
        let local = self.udp.get_mut(slot).map(|state| state.address).ok_or(OpError::StaleHandle)?;
        if !self.may_send_from(local) {
            return Err(OpError::AddressNotAvailable);
        }
        let destination = to.ip().to_canonical();
        // A socket for every address of IPv6 serves IPv4 as well; all others but their own version.
        let source = match local.ip() {
            any if any.is_unspecified() && (any.is_ipv6() || destination.is_ipv4()) => {
                self.address_towards(destination).ok_or(OpError::Unreachable)?
            }
            source if source.is_ipv4() == destination.is_ipv4() => source,
            _ => return Err(OpError::AddressNotAvailable),
        };
        let data = match &view.data {
            ViewData::Inline(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            ViewData::Extent(extent) => extent.bytes(),
        };
        let len = u16::try_from(udp::HEADER_LEN + data.len()).map_err(|_| OpError::TooLong)?;
        let mut sum = Checksum::pseudo(source, destination, Protocol::UDP.0, len)
            .ok_or(OpError::AddressNotAvailable)?;
        sum.append(Checksum::ZERO.with(data));
        let header = udp::Header { source_port: local.port(), destination_port: to.port() };
        let mut front = [0; udp::HEADER_LEN];
        header.emit(&mut front, data.len(), Fill::Full(sum)).map_err(|_| OpError::TooLong)?;
        self.send_datagram(source, destination, Protocol::UDP, &front, data);
        Ok(())
    }

    /// Close a UDP socket: what waits in it goes.
    pub(super) fn close_udp_socket(&mut self, slot: u32, reason: Reason) {
        let Some(mut state) = self.udp.states.get_mut(slot as usize).and_then(Option::take) else { return };
        self.udp.by_address.remove(&state.address);
        self.tell_of_udp(state.address, false);
        while self.frames.pop(&mut state.waiting).is_some() {}
        let socket = self.flows.id(slot);
        self.complete(state.queue, state.tag, false, Event::Closed { socket, reason, unsent: 0 });
        self.flows.release(slot);
    }

    /// Close every UDP socket.
    pub(super) fn close_udp(&mut self) {
        for slot in 0..self.flows.slots() {
            if self.flows.kind(slot) == Kind::Udp {
                self.close_udp_socket(slot, Reason::Stopping);
            }
        }
    }
}

/// The addresses that a socket for a destination may be bound to, best first: itself, every one of its version, and for
/// IPv4 every one of both, which is what IPv6's unspecified address means.
pub(super) fn listening_for(local: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let any = |ip: IpAddr| SocketAddr::new(ip, local.port());
    let four = local.is_ipv4().then(|| any(Ipv4Addr::UNSPECIFIED.into()));
    [Some(local), four, Some(any(Ipv6Addr::UNSPECIFIED.into()))].into_iter().flatten()
}

/// The addresses that no socket beside one bound to `address` may be bound to: itself, and of every address of IPv4 and
/// every one of both versions each other.
pub(super) fn equals_of(address: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let any = |ip: IpAddr| address.ip().is_unspecified().then(|| SocketAddr::new(ip, address.port()));
    [Some(address), any(Ipv4Addr::UNSPECIFIED.into()), any(Ipv6Addr::UNSPECIFIED.into())]
        .into_iter()
        .flatten()
}
