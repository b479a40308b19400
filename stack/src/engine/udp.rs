//! UDP: datagrams in and out. The sockets are in `udp_sockets`; what a datagram for nobody is answered with is `packets`'s.

use core::net::SocketAddr;

use drivers::{Checksum as Verdict, Frame};

use super::Engine;
use super::flows::Kind;
use super::packets::Carried;
use super::udp_sockets::Place;
use crate::mode::{Done, View};
use crate::socket::{Event, OpError, Tag, Udp};
use crate::tcp::isn::Tuple;
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
        let from = SocketAddr::new(source, header.source_port);
        let tuple = Tuple { local: SocketAddr::new(destination, header.destination_port), remote: from };
        let slot = match self.place_of_datagram(&tuple) {
            Place::Here(slot) => slot,
            Place::There(lane) => {
                self.steer(lane, frame, packet.link);
                return Ok(Fate::Elsewhere);
            }
            Place::Nowhere => return Ok(Fate::Nobody(frame)),
        };
        let data = data.clone();
        let mut frame = self.adopt(frame);
        let max = self.config.datagrams_max;
        let state = self.udp.get_mut(slot).ok_or(DropReason::UdpNoListener)?;
        if state.held >= max || self.flows.shared.frames_left == 0 {
            return Err(DropReason::UdpQueueFull);
        }
        self.flows.shared.frames_left -= 1;
        state.held += 1;
        frame.trim_front(packet.payload.start + data.start);
        frame.truncate(data.len());
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

    pub(super) fn send_to(
        &mut self,
        socket: Udp,
        to: Option<SocketAddr>,
        view: View,
        notify: bool,
        queue: u8,
        tag: Tag,
    ) {
        let left = u64::from(view.data.len());
        match self.try_send_to(socket, to, &view) {
            Ok(()) if notify => {
                self.complete(queue, tag, false, Event::SentTo { socket, payload: view.back() });
            }
            Ok(()) => self.done.push(Done::Lent(view.key)),
            Err(error) => {
                let payload = Some(view.back());
                let event = Event::Failed { socket: Some(socket.0), error, acked: left, payload };
                self.complete(queue, tag, false, event);
            }
        }
    }

    fn try_send_to(&mut self, socket: Udp, to: Option<SocketAddr>, view: &View) -> Result<(), OpError> {
        let (slot, kind) = self.flows.find(socket.0)?;
        if kind != Kind::Udp {
            return Err(OpError::WrongKind);
        }
        let (local, peer) = self.udp.ends(slot).ok_or(OpError::StaleHandle)?;
        let to = to.or(peer).ok_or(OpError::NotOpen)?;
        if !self.may_send_from(local) {
            return Err(OpError::AddressNotAvailable);
        }
        let destination = to.ip().to_canonical();
        let source = self.source_of_datagrams(local.ip(), destination)?;
        let data = view.data.bytes();
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
}
