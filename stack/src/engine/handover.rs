//! A live flow as plain data, and the same flow in another engine. When flows move and how the data travel is the
//! caller's business.

use bytes::Bytes;
use drivers::{Extent, Frame};

use super::Engine;
use super::flows::{Birth, Kind};
use crate::buffer::Waiting;
use crate::mode::{Key, View, ViewData};
use crate::socket::{Event, OpError, Reason, Stream, Tag};
use crate::tcp::congestion::Control;
use crate::tcp::isn::Tuple;
use crate::tcp::loss::LossState;
use crate::tcp::send::{Data, NONE, SendQueue, mark};
use crate::tcp::state::{Cold, Connection, Hot, Rare, State, flag};
use crate::tcp::ticks::{Now, Ticks};
use crate::wire::tcp::SeqNum;

/// A connection taken out of its engine: no index, no reference, only values and bytes. Its time stands still.
#[derive(Clone, Debug)]
pub struct Frozen {
    tuple: Tuple,
    hot: Hot,
    cold: Cold,
    rare: Option<Rare>,
    loss: LossState,
    control: Option<Control>,
    sends: Vec<FrozenSend>,
    waiting: Vec<u8>,
    ranges: Vec<(SeqNum, Vec<u8>)>,
    at: Now,
}

/// One range of the send queue.
#[derive(Clone, Debug)]
struct FrozenSend {
    /// Empty: a FIN.
    bytes: Vec<u8>,
    marks: u8,
    retransmits: u8,
    sent_us: u32,
}

impl Frozen {
    /// The two ends.
    pub fn tuple(&self) -> Tuple {
        self.tuple
    }

    /// Bytes that were sent and not acknowledged, or not sent yet.
    pub fn unacknowledged(&self) -> usize {
        self.sends.iter().map(|send| send.bytes.len()).sum()
    }

    /// Bytes that came, in order and out of order, and that no application has.
    pub fn undelivered(&self) -> usize {
        self.waiting.len() + self.ranges.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }
}

impl Engine {
    /// Every stream that can be frozen, by slot. Cost: walks all slots.
    pub fn streams(&self) -> Vec<Stream> {
        let open = |slot: &u32| self.flows.kind(*slot) == Kind::Stream && self.may_freeze(*slot);
        (0..self.flows.slots()).filter(open).map(|slot| Stream(self.flows.id(slot))).collect()
    }

    fn may_freeze(&self, slot: u32) -> bool {
        self.flows.hot(slot).is_some_and(|hot| hot.state.is_synchronized() && hot.state != State::SynReceived)
    }

    /// Take a connection out as plain data, between turns. Its application hears `Closed` with [`Reason::Moved`], and
    /// gets back what it has lent; frames that it holds stay its own. The peer hears nothing.
    ///
    /// Errors: the handle is stale, or the connection is not established yet or has ended.
    pub fn freeze(&mut self, stream: Stream) -> Result<Frozen, OpError> {
        let (slot, kind) = self.flows.find(stream.0)?;
        if kind != Kind::Stream {
            return Err(OpError::WrongKind);
        }
        if !self.may_freeze(slot) {
            return Err(OpError::NotOpen);
        }
        let tuple = self.flows.tuple(slot).ok_or(OpError::StaleHandle)?;
        let frozen = {
            let waiting = self.frames.iter(self.flows.waiting(slot)).flat_map(|frame| frame.bytes().to_vec());
            let waiting = waiting.collect();
            let connection = self.flows.connection(slot).ok_or(OpError::StaleHandle)?;
            let reassembly = connection.active().map(|active| active.reassembly.ranges());
            let bytes = |held| self.frames.get(held).map_or(Vec::new(), |frame| frame.bytes().to_vec());
            Frozen {
                tuple,
                hot: connection.hot.clone(),
                cold: connection.cold.clone(),
                rare: connection.shared.rares.get(connection.cold.rare).copied(),
                loss: *connection.loss(),
                control: connection.shared.controls.get(connection.cold.control).copied(),
                sends: sends_of(&connection),
                waiting,
                ranges: reassembly
                    .into_iter()
                    .flatten()
                    .map(|range| (range.start, bytes(range.held)))
                    .collect(),
                at: connection.shared.now,
            }
        };
        self.bring_down(slot, Reason::Moved);
        Ok(frozen)
    }

    /// Go on with a connection that was frozen, here or elsewhere. Completions go to `queue` under `tag`: `Connected`
    /// first, then what it has received. What it still has to send is the engine's own; nobody hears when it is done.
    ///
    /// Errors: the address is not ours, the tuple is taken, or a bound is reached; the connection comes back.
    pub fn thaw(&mut self, frozen: Frozen, queue: u8, tag: Tag) -> Result<Stream, (OpError, Box<Frozen>)> {
        match self.try_thaw(&frozen, queue, tag) {
            Ok(slot) => {
                let stream = Stream(self.flows.id(slot));
                self.complete(queue, tag, true, Event::Connected { stream, local: frozen.tuple.local });
                self.drain(slot);
                self.mark_dirty(slot);
                self.arm(slot);
                Ok(stream)
            }
            Err(error) => Err((error, Box::new(frozen))),
        }
    }

    fn try_thaw(&mut self, frozen: &Frozen, queue: u8, tag: Tag) -> Result<u32, OpError> {
        let tuple = frozen.tuple;
        if !self.routes.is_local(tuple.local.ip()) {
            return Err(OpError::AddressNotAvailable);
        }
        if !self.is_tuple_free(&tuple) {
            return Err(OpError::AddressInUse);
        }
        let waiting = self.frames_of(&frozen.waiting).ok_or(OpError::NoRoom)?;
        let ranges: Option<Vec<_>> =
            frozen.ranges.iter().map(|(start, bytes)| Some((*start, self.frame_of(bytes)?))).collect();
        let ranges = ranges.ok_or(OpError::NoRoom)?;
        let path = self.paths.take(&self.routes, &tuple).ok_or(OpError::Unreachable)?;
        let Some(slot) = self.flows.take(Kind::Stream) else {
            self.paths.release(path);
            return Err(OpError::NoRoom);
        };
        self.begin_thawed(slot, frozen, path, queue, tag);
        let hash = self.secret.flow_key(&tuple).hash;
        if !self.queue_thawed(slot, frozen) || !self.table.insert(hash, slot) {
            if let Some(mut connection) = self.flows.connection(slot) {
                connection.queue(|cells, queue, _| cells.clear(queue, |_, _| {}));
            }
            self.paths.release(path);
            self.flows.release(slot);
            return Err(OpError::NoRoom);
        }
        self.claim(&tuple, true);
        self.hold_thawed(slot, frozen, waiting, ranges);
        Ok(slot)
    }

    /// Fill the slot with the state's values, on this engine's clock.
    fn begin_thawed(&mut self, slot: u32, frozen: &Frozen, path: u16, queue: u8, tag: Tag) {
        let Frozen { tuple, hot, cold, at, .. } = frozen;
        let birth = Birth {
            tuple: *tuple,
            iss: cold.iss,
            ts_offset: hot.ts_offset,
            mss: hot.mss,
            path,
            queue,
            tag: tag.0,
            listener: NONE,
            options: None,
            state: hot.state,
        };
        let Some(mut connection) = self.flows.begin(slot, &birth) else { return };
        let now = connection.shared.now;
        let later = |ticks: Ticks| match ticks.is_on() {
            true => Ticks::from_raw(ticks.raw().wrapping_add(now.ticks.raw()).wrapping_sub(at.ticks.raw())),
            false => ticks,
        };
        let millis = now.millis.wrapping_sub(at.millis);
        let ours = flag::DIRTY | flag::WAITING | flag::END_TOLD;
        if let Some(rare) = frozen.rare {
            *connection.rare_mut() = Rare {
                search: rare.search.moved(millis),
                unanswered_since: later(rare.unanswered_since),
                keepalive_at: later(rare.keepalive_at),
                ..rare
            };
        }
        *connection.hot = Hot {
            key: connection.hot.key,
            generation: connection.hot.generation,
            head: NONE,
            tail: NONE,
            unsent: NONE,
            path,
            queue,
            tag: tag.0,
            held: 0,
            armed_at: Ticks::OFF,
            flags: hot.flags & !ours | flag::RECEIVING,
            retransmit_at: later(hot.retransmit_at),
            // Our timestamps go on from where they stood, whatever this clock says.
            ts_offset: hot.ts_offset.wrapping_sub(millis),
            heard_ms: hot.heard_ms.wrapping_add(millis),
            sent_us: hot.sent_us.wrapping_add(now.micros.wrapping_sub(at.micros)),
            ..hot.clone()
        };
        *connection.cold = Cold {
            active: NONE,
            rare: connection.cold.rare,
            control: NONE,
            listener: NONE,
            waiting_head: NONE,
            waiting_tail: NONE,
            delack_at: later(cold.delack_at),
            life_at: later(cold.life_at),
            data_ms: cold.data_ms.wrapping_add(millis),
            ..cold.clone()
        };
        if let Some(control) = frozen.control {
            let memory = connection.shared.controls.obtain(&mut connection.cold.control);
            *memory = control;
            memory.shift(now.micros.wrapping_sub(at.micros));
        }
    }

    /// Put what was queued for sending back into the queue; false if it does not fit.
    fn queue_thawed(&mut self, slot: u32, frozen: &Frozen) -> bool {
        let Some(mut connection) = self.flows.connection(slot) else { return false };
        let elapsed_us = connection.shared.now.micros.wrapping_sub(frozen.at.micros);
        let mut end = connection.hot.snd_una;
        connection.queue(|cells, queue, _| {
            for send in &frozen.sends {
                let queued = if send.bytes.is_empty() {
                    cells.push_control(queue, end)
                } else {
                    let Some(extent) = Extent::of_bytes(&Bytes::copy_from_slice(&send.bytes)) else {
                        return false;
                    };
                    let view = View { data: ViewData::Extent(extent), key: Key(NONE) };
                    cells.push(queue, end, view, 0, 0).is_ok()
                };
                let Some(cell) = cells.get_mut(queue.tail).filter(|_| queued) else { return false };
                cell.marks = send.marks;
                cell.retransmits = send.retransmits;
                cell.sent_us = send.sent_us.wrapping_add(elapsed_us);
                end = cell.end;
            }
            let unsent = cells.from(queue.head).find(|(_, cell)| !cell.is(mark::SENT));
            *queue = SendQueue { unsent: unsent.map_or(NONE, |(index, _)| index), ..*queue };
            true
        })
    }

    /// Give the slot the frames with what it had received.
    fn hold_thawed(&mut self, slot: u32, frozen: &Frozen, frames: Vec<Frame>, ranges: Vec<(SeqNum, Frame)>) {
        let held = u16::try_from(frames.len() + ranges.len()).unwrap_or(u16::MAX);
        let mut waiting = Waiting::EMPTY;
        for frame in frames {
            self.frames.push(&mut waiting, frame, None);
        }
        self.flows.set_waiting(slot, waiting);
        let mut freed = Vec::new();
        for (start, frame) in ranges {
            let len = u32::try_from(frame.len()).unwrap_or(0);
            let held = self.frames.insert(frame, None);
            let Some(mut connection) = self.flows.connection(slot) else { return };
            if connection.active_mut().reassembly.insert(start, len, held, &mut freed).is_none() {
                self.frames.remove(held);
            }
        }
        let Some(mut connection) = self.flows.connection(slot) else { return };
        if !frozen.loss.is_idle() {
            let elapsed_us = connection.shared.now.micros.wrapping_sub(frozen.at.micros);
            let mut loss = frozen.loss;
            loss.rack.xmit_us = loss.rack.xmit_us.wrapping_add(elapsed_us);
            connection.active_mut().loss = loss;
        }
        connection.hot.held = held;
        connection.refresh_decline();
    }

    /// Bytes in a frame of the first port's receive pool.
    fn frame_of(&self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.ports[0].composer.pools().receive.take()?;
        frame.append(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }

    /// Bytes in as many frames as they need.
    fn frames_of(&self, bytes: &[u8]) -> Option<Vec<Frame>> {
        bytes.chunks(CHUNK_BYTES).map(|chunk| self.frame_of(chunk)).collect()
    }
}

/// Bytes that fit a frame of any receive pool.
const CHUNK_BYTES: usize = 1024;

fn sends_of(connection: &Connection) -> Vec<FrozenSend> {
    let told = mark::LAST | mark::NOTIFY;
    let cells = connection.shared.cells.from(connection.hot.head);
    cells
        .map(|(index, cell)| FrozenSend {
            bytes: match &cell.data {
                Data::None => Vec::new(),
                Data::Inline => connection.shared.cells.text(index).to_vec(),
                Data::Extent(extent) => extent.bytes().to_vec(),
            },
            marks: cell.marks & !told,
            retransmits: cell.retransmits,
            sent_us: cell.sent_us,
        })
        .collect()
}
