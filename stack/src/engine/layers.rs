//! Headers in front of a payload, layer by layer: of TCP, IP and Ethernet. Most segments get all three at once, in
//! `common`.

use drivers::{Checksums, Frame, Offload, Transport};

use super::Engine;
use super::paths::Hop;
use super::transmit::{Form, sum_of};
use crate::tcp::isn::Tuple;
use crate::wire::tcp::{Flags, Segment};
use crate::wire::{Checksum, DropReason, EtherType, Fill, IpHeader, MacAddress, Protocol, ethernet};

impl Engine {
    /// Put TCP's header in front of a payload, and send it on its way.
    pub(super) fn send_layered(
        &mut self,
        mut frame: Frame,
        hop: Hop,
        tuple: &Tuple,
        segment: &Segment,
        form: Form,
    ) {
        let Form { each, field, hop_limit, fragment, sum } = form;
        let port = &self.ports[hop.interface];
        let (source, destination) = (tuple.local.ip(), tuple.remote.ip());
        let hop_limit = if hop_limit == 0 { port.hop_limit } else { hop_limit };
        let Some(mut header) = IpHeader::new(source, destination, Protocol::TCP, hop_limit) else {
            return self.counters.fail(DropReason::NoRoute);
        };
        match &mut header {
            IpHeader::V4(header) => {
                header.tos = field;
                if fragment {
                    header.dont_fragment = false;
                    header.identification =
                        self.identifications.next(header.source, header.destination, Protocol::TCP);
                }
            }
            IpHeader::V6(header) => {
                header.traffic_class = field;
                header.flow_label = self.secret.flow_label(tuple);
            }
        }
        let payload = frame.total_len();
        let header_len = segment.header_len();
        let Ok(len) = u16::try_from(payload + header_len) else {
            return self.counters.fail(DropReason::PacketTooBig);
        };
        // A port that cuts adds each segment's length to the sum itself.
        let summed = if each > 0 { 0 } else { len };
        let pseudo = match Checksum::pseudo(source, destination, Protocol::TCP.0, summed) {
            Some(pseudo) => pseudo,
            None => return self.counters.fail(DropReason::NoRoute),
        };
        let offload = port.capabilities.transmit_tcp_checksum;
        let fill = if offload {
            Fill::Partial(pseudo)
        } else {
            let mut all = pseudo;
            all.append(sum.unwrap_or_else(|| sum_of(&frame)));
            Fill::Full(all)
        };
        let done = frame.prepend(header_len).is_some_and(|room| segment.emit(room, fill).is_ok());
        if !done {
            return self.counters.fail(DropReason::NoRoom);
        }
        let offload = offload.then(|| Offload {
            checksums: Checksums { ipv4: false, transport: Some(Transport::Tcp) },
            transport_bytes: u8::try_from(header_len).unwrap_or(0),
            segment_bytes: each,
            ..Offload::default()
        });
        let urgent = payload == 0 && !segment.flags.contains(Flags::FIN);
        self.send_ip(frame, &header, offload, urgent, hop);
    }

    /// Put IP's header in front, and send it to a next hop. `offload` says what the port is to do above IP.
    pub(super) fn send_ip(
        &mut self,
        mut frame: Frame,
        header: &IpHeader,
        offload: Option<Offload>,
        urgent: bool,
        hop: Hop,
    ) {
        let Hop { interface, next_hop, station } = hop;
        let port = &self.ports[interface];
        let payload = frame.total_len();
        let by_port = port.capabilities.transmit_ipv4_checksum && offload.is_some() && !header.is_ipv6();
        let done = frame
            .prepend(header.header_len())
            .is_some_and(|room| header.emit(room, payload, !by_port).is_ok());
        if !done {
            return self.counters.fail(DropReason::NoRoom);
        }
        if let Some(offload) = offload {
            frame.set_offload(Offload {
                ipv6: header.is_ipv6(),
                checksums: Checksums { ipv4: by_port, ..offload.checksums },
                link_bytes: u8::try_from(port.link_len()).unwrap_or(14),
                network_bytes: u16::try_from(header.header_len()).unwrap_or(20),
                ..offload
            });
        }
        match station.mac() {
            Some(mac) => self.send_link(interface, frame, mac, header.ether_type(), urgent),
            None => self.hold_for(interface, next_hop, header.source(), frame),
        }
    }

    /// Put the Ethernet header in front, and leave the frame for the port.
    pub(super) fn send_link(
        &mut self,
        interface: u8,
        mut frame: Frame,
        to: MacAddress,
        ether_type: EtherType,
        urgent: bool,
    ) {
        let port = &mut self.ports[interface];
        let header = ethernet::Header { destination: to, source: port.mac, vlan: port.tag(), ether_type };
        let done = frame.prepend(header.header_len()).is_some_and(|room| header.emit(room).is_ok());
        if !done {
            return self.counters.fail(DropReason::NoRoom);
        }
        if let Some(vlan) = port.vlan.filter(|_| port.capabilities.vlan_insert) {
            frame.set_vlan(vlan.tci);
        }
        self.enqueue(interface, frame, urgent);
    }
}
