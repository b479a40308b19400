//! From segments to frames, and from frames to the neighbours they go to. What is said is decided in `tcp::output`.

use core::cell::Cell;
use core::net::IpAddr;

use drivers::{Composer, Frame, NoFrames};

use super::Engine;
use super::bundle::Bundle;
use super::common::Said;
use super::fast::promise;
use super::listeners::reset_for;
use super::paths::{Hop, NO_PATH};
use super::ports::Port;
use super::segments::Arrived;
use crate::ip::neighbour;
use crate::tcp::isn::Tuple;
use crate::tcp::output::{self, Emit};
use crate::tcp::send::{Cells, Data, NONE};
use crate::tcp::state::{State, decline, flag};
use crate::tcp::{bare, ecn};
use crate::wire::tcp::{Flags, Segment};
use crate::wire::{Checksum, DropReason, EtherType, ether_type_of};

/// How a segment leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The port is to cut it into segments of so many bytes, if that is not zero.
    pub each: u16,
    /// The ECN field of its IP header.
    pub field: u8,
    /// Its time to live or hop limit; zero: the port's.
    pub hop_limit: u8,
    /// Routers may cut its packet.
    pub fragment: bool,
    /// The sum of its payload, if that is known.
    pub sum: Option<Checksum>,
}

/// Segments one flow may send in a turn, so that one bulk transfer does not starve the others.
const SEGMENTS_A_TURN: usize = 64;

/// Frames that wait for their ports before more are made. Those that hundreds of others are made behind have left the cache
/// when they go, as have the buffers that the next are made in.
const FRAMES_AHEAD: usize = 64;

impl Engine {
    /// Let every flow with something to say say it; `send` hands what waits to the ports, now and then. True if a flow could: a
    /// port that is behind, or a pool that is empty, is no reason to stay awake.
    pub fn output(&mut self, mut send: impl FnMut(&mut Engine)) -> bool {
        let mut dirty = core::mem::replace(&mut self.dirty, core::mem::take(&mut self.said));
        let (asked, sent) = (dirty.len(), self.counters.segments_sent);
        let mut ahead = FRAMES_AHEAD;
        // Mostly those in front have answered already.
        let first = dirty.iter().position(|slot| *slot != NONE).unwrap_or(asked);
        for at in first..asked {
            self.look_ahead(&dirty[at..]);
            let slot = dirty[at];
            if slot == NONE {
                continue;
            }
            let said = match self.flows.hot(slot) {
                Some(hot) if hot.decline & decline::LOSS != 0 => false,
                Some(hot) if hot.unsent != NONE && hot.flags & flag::FIN_QUEUED == 0 => self.say_whole(slot),
                _ => self.say_bare(slot),
            };
            if !said {
                if let Some(hot) = self.flows.hot_mut(slot) {
                    hot.flags &= !flag::DIRTY;
                }
                self.output_flow(slot);
                self.arm(slot);
            }
            if self.backlog() >= ahead {
                send(self);
                // A port that is behind is not asked again.
                ahead = if self.backlog() >= ahead { usize::MAX } else { ahead };
            }
        }
        let busy = self.dirty.len() < asked || self.counters.segments_sent > sent;
        if let Some(first) = self.unserved.take() {
            // Else whoever comes first and always has more would have all that a port takes, turn by turn.
            self.dirty.rotate_left(first);
        }
        dirty.clear();
        self.said = dirty;
        busy
    }

    /// Bring near what flows need that have their turn soon: first their hot lines, then what those lead to.
    #[inline]
    fn look_ahead(&self, dirty: &[u32]) {
        if let Some(hot) = dirty.get(8).and_then(|slot| self.flows.hot(*slot)) {
            drivers::prefetch(hot);
            drivers::prefetch(&hot.tag);
        }
        if let Some(slot) = dirty.get(4) {
            self.flows.prefetch_said(*slot);
        }
    }

    /// Send what a flow has to say, if that is one segment without payload in the common shape, and take it off the list of those
    /// that have something. False if it is not, and nothing was done.
    #[inline(never)]
    fn say_bare(&mut self, slot: u32) -> bool {
        let Some(mut connection) = self.flows.connection_owing(slot) else { return false };
        let Some(flags) = bare::flags(&connection) else { return false };
        let Some((interface, head)) = self.paths.open(connection.hot.path, self.turn) else { return false };
        let port = &mut self.ports[interface];
        if port.backlog() >= self.config.transmit_backlog_max {
            return false;
        }
        let Ok(frame) = port.composer.header() else { return false };
        let window = bare::say(&mut connection, flags);
        connection.clear(flag::DIRTY);
        self.counters.segments_sent += 1;
        if flags.contains(Flags::FIN) {
            promise(&mut self.wheel, &mut connection, slot);
        } else {
            self.counters.pure_acks_sent += 1;
        }
        let said = Said { window, millis: connection.shared.now.millis };
        if !port.send_bare(frame, head, connection.hot, said, flags) {
            self.counters.fail(DropReason::NoRoom);
        }
        true
    }

    #[inline(never)]
    fn output_flow(&mut self, slot: u32) {
        let (mut bundle, mut spare, sent) = (None, None, self.counters.segments_sent);
        let more = self.fill_bundles(slot, &mut bundle, &mut spare);
        self.send_bundle(&mut bundle);
        if more {
            if self.counters.segments_sent == sent {
                self.unserved.get_or_insert(self.dirty.len());
            }
            self.mark_dirty(slot);
        }
    }

    /// Say what a flow has to say, and leave the last frame of it. True if there may be more on a later turn.
    fn fill_bundles(&mut self, slot: u32, bundle: &mut Option<Bundle>, spare: &mut Option<Frame>) -> bool {
        let Some(connection) = self.flows.connection_owing(slot) else { return false };
        let (path, mut silent) = (connection.hot.path, output::is_silent(&connection));
        let interface = self.paths.interface(path);
        let mut left = SEGMENTS_A_TURN;
        while left > 0 {
            left -= 1;
            if silent {
                return false;
            }
            if self.ports[interface].backlog() >= self.config.transmit_backlog_max {
                // The port is behind: say it on a later turn, when it may have been said better.
                return true;
            }
            let Some(mut frame) = spare.take().or_else(|| self.ports[interface].composer.header().ok())
            else {
                self.counters.fail(DropReason::NoRoom);
                return true;
            };
            let Some(mut connection) = self.flows.connection_owing(slot) else { return false };
            if !output::only_acknowledges(&connection) {
                connection.pay();
            }
            let nxt = connection.hot.snd_nxt;
            let Some(emit) = output::next(&mut connection) else { return false };
            silent = output::is_silent(&connection);
            let again = emit.segment.seq.lt(nxt) && emit.segment.seq_len(emit.len) > 0;
            self.counters.segments_sent += 1;
            self.counters.retransmits += u64::from(again);
            self.counters.pure_acks_sent += u64::from(emit.len == 0 && emit.segment.flags == Flags::ACK);
            let Some(tuple) = self.flows.tuple(slot) else { return false };
            if bundle.is_none() && !Bundle::opens(&emit, &self.ports[interface].capabilities) {
                // A segment by itself.
                let Ok(sum) = self.attach(interface, &mut frame, (emit.first, emit.len)) else {
                    self.counters.fail(DropReason::NoRoom);
                    return false;
                };
                let Emit { segment, field, hop_limit, fragment, .. } = emit;
                let form = Form { each: 0, field, hop_limit, fragment, sum };
                self.send_by_path(frame, path, &tuple, &segment, form);
                if emit.len > 0 && !again {
                    left -= self.say_full(slot, path, &tuple, &emit, left);
                    silent =
                        self.flows.connection(slot).is_none_or(|connection| output::is_silent(&connection));
                }
                continue;
            }
            let joins = match bundle {
                Some(begun) => begun.takes(&emit, self.ranges(&emit), &self.ports[interface].capabilities),
                None => false,
            };
            if !joins {
                self.send_bundle(bundle);
            }
            let into = bundle.as_mut().map_or(&mut frame, |bundle| &mut bundle.frame);
            if self.attach(interface, into, (emit.first, emit.len)).is_err() {
                // What could not be built counts as lost on the way: the retransmission timer is armed.
                self.counters.fail(DropReason::NoRoom);
                *bundle = None;
                return false;
            }
            if let Some(bundle) = bundle {
                bundle.add(&emit);
                self.counters.bundled_segments += 1;
                *spare = Some(frame);
            } else {
                *bundle = Some(Bundle::new(frame, &emit, path, tuple, &self.ports[interface].capabilities));
            }
            if bundle.as_ref().is_some_and(|bundle| !bundle.is_open()) {
                self.send_bundle(bundle);
            }
        }
        true
    }

    fn send_bundle(&mut self, bundle: &mut Option<Bundle>) {
        if let Some(bundle) = bundle.take() {
            let each = bundle.segment_bytes();
            let Bundle { frame, path, tuple, segment, field, hop_limit, fragment, .. } = bundle;
            self.send_by_path(
                frame,
                path,
                &tuple,
                &segment,
                Form { each, field, hop_limit, fragment, sum: None },
            );
        }
    }

    #[inline]
    pub(super) fn send_by_path(
        &mut self,
        frame: Frame,
        path: u16,
        tuple: &Tuple,
        segment: &Segment,
        form: Form,
    ) {
        match self.hop(path, tuple.local.ip(), tuple.remote.ip()) {
            Some(hop) => self.send_tcp(frame, hop, tuple, segment, form),
            None => self.counters.fail(DropReason::NoRoute),
        }
    }

    /// Ranges of the send queue that a segment's payload lies in.
    fn ranges(&self, emit: &Emit) -> usize {
        let (mut index, mut left, mut ranges) = (emit.first, emit.len, 0);
        while let Some(cell) = self.flows.shared.cells.get(index).filter(|_| left > 0) {
            left -= cell.payload_len().min(left);
            index = cell.next;
            ranges += 1;
        }
        ranges
    }

    /// Put a segment's payload into its frame: so many bytes, of this range and those behind. Returns its sum, unless the port
    /// adds that.
    pub(super) fn attach(
        &mut self,
        interface: u8,
        frame: &mut Frame,
        payload: (u32, u32),
    ) -> Result<Option<Checksum>, NoFrames> {
        let Port { composer, capabilities, .. } = &mut self.ports[interface];
        if capabilities.transmit_tcp_checksum {
            attach_to(&self.flows.shared.cells, composer, frame, payload, <[u8]>::copy_from_slice, |_| {})?;
            return Ok(None);
        }
        let sum = Cell::new(Checksum::ZERO);
        attach_to(
            &self.flows.shared.cells,
            composer,
            frame,
            payload,
            |to, from| add(&sum, |sum| sum.copy_bytes(to, from)),
            |bytes| add(&sum, |sum| sum.add_bytes(bytes)),
        )?;
        Ok(Some(sum.get()))
    }

    /// Reset a stream's peer, if there is one that could care.
    pub(super) fn send_abort(&mut self, slot: u32) {
        let Some(connection) = self.flows.connection(slot) else { return };
        let hot = &*connection.hot;
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.5
        //# Send a reset segment:
        //# <SEQ=SND.NXT><CTL=RST>
        if !hot.state.is_synchronized() || hot.state == State::TimeWait {
            return;
        }
        let flags = Flags::RST | Flags::ACK;
        // A window probe has gone beyond the window, where RFC 5961's receivers believe no reset.
        let edge = hot.snd_una + hot.snd_wnd;
        let seq = if hot.snd_nxt.lt(edge) { hot.snd_nxt } else { edge };
        let mut segment = Segment::new(hot.local_port(), hot.remote_port(), seq, hot.rcv_nxt, flags);
        //= https://www.rfc-editor.org/rfc/rfc7323#section-5.2
        //# If an <RST> is being generated because of a user abort, and
        //# Snd.TS.OK is set, then a Timestamps option SHOULD be included in the
        //# <RST>.
        let millis = connection.shared.now.millis;
        segment.options.timestamps =
            connection.is(flag::TIMESTAMPS).then(|| output::timestamps(connection.hot, millis));
        let path = hot.path;
        let field = if hot.ecn & ecn::bit::OK != 0 {
            ecn::control_field(connection.cold.congestion)
        } else {
            ecn::codepoint::NOT_ECT
        };
        let Some(tuple) = self.flows.tuple(slot) else { return };
        self.counters.resets_sent += 1;
        self.send_segment(path, &tuple, &segment, field);
    }

    /// Answer a segment with a reset.
    pub(super) fn send_reset(&mut self, arrived: &Arrived) {
        if let Some(segment) = reset_for(arrived) {
            if !self.responder.may_reset(self.flows.shared.now.instant) {
                return self.counters.fail(DropReason::ResetRateLimited);
            }
            self.counters.resets_sent += 1;
            self.send_unpathed(&arrived.tuple, &segment, ecn::codepoint::NOT_ECT);
        }
    }

    /// Send a segment without payload to where no flow leads.
    pub(super) fn send_unpathed(&mut self, tuple: &Tuple, segment: &Segment, field: u8) {
        self.send_segment(NO_PATH, tuple, segment, field);
    }

    /// Send a segment without payload, with this ECN field.
    pub(super) fn send_segment(&mut self, path: u16, tuple: &Tuple, segment: &Segment, field: u8) {
        let hop = self.hop(path, tuple.local.ip(), tuple.remote.ip());
        self.send_by_hop(hop, tuple, segment, field);
    }

    /// The same by a hop, if there is a way at all.
    pub(super) fn send_by_hop(&mut self, hop: Option<Hop>, tuple: &Tuple, segment: &Segment, field: u8) {
        self.counters.segments_sent += 1;
        let Some(hop) = hop else {
            return self.counters.fail(DropReason::NoRoute);
        };
        match self.ports[hop.interface].composer.header() {
            Ok(frame) => {
                let form = Form { each: 0, field, hop_limit: 0, fragment: false, sum: None };
                self.send_tcp(frame, hop, tuple, segment, form);
            }
            Err(NoFrames) => self.counters.fail(DropReason::NoRoom),
        }
    }

    /// Put TCP's and IP's headers in front of a payload, and send it on its way.
    pub(super) fn send_tcp(&mut self, frame: Frame, hop: Hop, tuple: &Tuple, segment: &Segment, form: Form) {
        if let Some(frame) = self.send_common(frame, hop, tuple, segment, form) {
            self.send_layered(frame, hop, tuple, segment, form);
        }
    }

    /// Keep a packet until its next hop's station is known, and ask for it by an address of that interface.
    pub(super) fn hold_for(&mut self, interface: u8, next_hop: IpAddr, source: IpAddr, frame: Frame) {
        let asks = match self.routes.interface_of(source) {
            Some(own) if own == interface => source,
            _ => self.routes.source_for(interface, next_hop).unwrap_or(source),
        };
        let now = self.flows.shared.now.instant;
        self.ports[interface].neighbours.hold(next_hop, asks, frame, now, &mut self.neighbour_actions);
        self.act_on_neighbours(interface);
    }

    /// Leave a frame for the port.
    #[inline]
    pub(super) fn enqueue(&mut self, interface: u8, frame: Frame, urgent: bool) {
        let port = &mut self.ports[interface];
        if port.backlog() >= 2 * self.config.transmit_backlog_max {
            return self.counters.fail(DropReason::NoRoom);
        }
        if urgent {
            port.urgent.push(frame);
        } else {
            port.data.push(frame);
        }
    }

    /// The MSS of a connection: what an IP packet without options holds beside the headers.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.7.1
    //# The MSS value to be sent in an MSS Option should be equal to the
    //# effective MTU minus the fixed IP and TCP headers.
    pub(super) fn mss_of(&self, tuple: &Tuple) -> u16 {
        self.mss_within(self.mtu_of(tuple), tuple.remote.is_ipv6())
    }

    /// The same where packets have at most `mtu` bytes.
    pub(super) fn mss_within(&self, mtu: u16, ipv6: bool) -> u16 {
        let headers = if ipv6 { 60 } else { 40 };
        mtu.saturating_sub(headers).clamp(crate::tcp::input::MSS_MIN, self.flows.shared.config.mss_max)
    }

    /// The largest IP packet of a connection. Units: bytes.
    pub(super) fn mtu_of(&self, tuple: &Tuple) -> u16 {
        self.mtu_to(tuple.local.ip(), tuple.remote.ip(), 0)
    }

    /// The largest packet of the way between two addresses; without one, of an interface.
    pub(super) fn mtu_to(&self, source: IpAddr, destination: IpAddr, interface: u8) -> u16 {
        let way = self.routes.next_hop_from(source, destination);
        way.map_or(self.ports[interface].mtu, |way| way.mtu)
    }

    /// Do what an interface's neighbour table asks.
    pub(super) fn act_on_neighbours(&mut self, interface: u8) {
        let mut actions = core::mem::take(&mut self.neighbour_actions);
        for action in actions.drain(..) {
            match action {
                neighbour::Action::Transmit { to, packet } => {
                    let built = self.ports[interface].composer.header().ok().and_then(|mut frame| {
                        packet.emit(frame.append(packet.header_len())?).ok()?;
                        Some(frame)
                    });
                    match built {
                        Some(frame) => self.send_link(interface, frame, to, EtherType::ARP, true),
                        None => self.counters.fail(DropReason::NoRoom),
                    }
                }
                neighbour::Action::Solicit { to, source, target } => {
                    self.solicit(interface, to, source, target);
                }
                neighbour::Action::Release { packet, to } => {
                    let ether_type = ether_type_of(packet.bytes());
                    self.send_link(interface, packet, to, ether_type, true);
                }
                neighbour::Action::Failed { packet, address, reason } => {
                    self.counters.fail(reason);
                    if reason == DropReason::NeighbourFailed {
                        self.on_unreachable(&packet);
                        self.on_neighbour_lost(interface, address);
                    }
                }
            }
        }
        self.neighbour_actions = actions;
    }
}

/// Put a payload into a frame: `copy` copies what must be, `refer` sees what need not be, in order.
fn attach_to(
    cells: &Cells,
    composer: &mut Composer,
    frame: &mut Frame,
    (mut index, mut left): (u32, u32),
    mut copy: impl FnMut(&mut [u8], &[u8]),
    mut refer: impl FnMut(&[u8]),
) -> Result<(), NoFrames> {
    while left > 0 {
        let Some(cell) = cells.get(index) else { return Err(NoFrames) };
        let len = cell.payload_len().min(left);
        match &cell.data {
            Data::None => {}
            Data::Inline => {
                let bytes = cells.text(index).get(..len as usize).ok_or(NoFrames)?;
                composer.inline(frame, bytes, &mut copy)?;
            }
            Data::Extent(extent) => {
                let part;
                let extent = if extent.len() == len {
                    extent
                } else {
                    part = extent.slice(0..len).ok_or(NoFrames)?;
                    &part
                };
                if !composer.payload(frame, extent, &mut copy)? {
                    refer(extent.bytes());
                }
            }
        }
        left -= len;
        index = cell.next;
    }
    Ok(())
}

fn add(to: &Cell<Checksum>, work: impl FnOnce(&mut Checksum)) {
    let mut sum = to.get();
    work(&mut sum);
    to.set(sum);
}

/// The sum of a payload that was not summed as it came into its frame.
pub(super) fn sum_of(frame: &Frame) -> Checksum {
    frame.segments().fold(Checksum::ZERO, Checksum::with)
}
