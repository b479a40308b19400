//! The send queue: ranges of sequence space over payload references, with what is known of each.
//! What to send next is decided in `output`, what was lost in `loss`.

mod cell;

use drivers::Extent;

pub use self::cell::{Cell, Data, mark};
use crate::mode::{Key, SMALL_MAX, View, ViewData};
use crate::places::Place;
use crate::wire::tcp::SeqNum;

/// Index that names no cell.
pub const NONE: u32 = u32::MAX;

/// A range, and behind it a cache line for the bytes of a small payload.
#[derive(Debug)]
#[repr(C, align(64))]
struct Slot {
    cell: Cell,
    text: [u8; SMALL_MAX],
}

const _: () = assert!(size_of::<Slot>() == 128);

/// A payload the lane is done with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Which.
    pub key: Key,
    /// The application wants to hear of it.
    pub notify: bool,
    /// Where.
    pub queue: u8,
}

impl Finished {
    /// A small payload of which nobody is told.
    pub const SMALL: Finished = Finished { key: Key::SMALL, notify: false, queue: 0 };
}

/// Every cell of a lane, in one bounded slab.
#[derive(Debug)]
pub struct Cells {
    slots: Vec<Slot>,
    free: u32,
    live: usize,
    max: usize,
    /// How often a cell was looked at.
    #[cfg(test)]
    pub looks: core::cell::Cell<usize>,
}

/// The queue of one flow: its part of the slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendQueue {
    /// The oldest range not acknowledged.
    pub head: u32,
    /// The newest.
    pub tail: u32,
    /// The oldest never transmitted.
    pub unsent: u32,
}

impl SendQueue {
    /// Nothing queued.
    pub const EMPTY: SendQueue = SendQueue { head: NONE, tail: NONE, unsent: NONE };

    /// Nothing queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

impl Cells {
    /// Where the ranges lie, and the small payloads beside them.
    pub(crate) fn place(&self) -> Place {
        Place::of("range", &self.slots)
    }

    /// A slab of at most `max` cells.
    pub fn new(max: usize) -> Cells {
        Cells {
            slots: Vec::with_capacity(max.min(4096)),
            free: NONE,
            live: 0,
            max: max.min(NONE as usize),
            #[cfg(test)]
            looks: core::cell::Cell::new(0),
        }
    }

    /// Cells in use.
    pub fn live(&self) -> usize {
        self.live
    }

    /// The cell of an index.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Cell> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        Some(&self.slots.get(index as usize)?.cell)
    }

    /// The cell of an index, for changing.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Cell> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        Some(&mut self.slots.get_mut(index as usize)?.cell)
    }

    /// Bring the cell of an index near.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        if let Some(slot) = self.slots.get(index as usize) {
            drivers::prefetch(&slot.cell);
            drivers::prefetch(&slot.text);
        }
    }

    /// The bytes of a small payload's range.
    #[inline]
    pub fn text(&self, index: u32) -> &[u8] {
        let slot = self.slots.get(index as usize);
        slot.and_then(|slot| slot.text.get(..slot.cell.len as usize)).unwrap_or(&[])
    }

    /// The same with how many they are, and zeros behind them; `None` if it is no small payload's.
    #[inline]
    pub fn small(&self, index: u32) -> Option<(&[u8; SMALL_MAX], u8)> {
        let Slot { cell, text } = self.slots.get(index as usize)?;
        let len = u8::try_from(cell.len).ok()?;
        matches!(cell.data, Data::Inline).then_some((text, len))
    }

    /// Forget the first `n` bytes of a small payload's range.
    fn shift_text(&mut self, index: u32, n: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.text = shifted(&slot.text, n);
        }
    }

    /// A range, with the bytes of a small payload if it has one.
    #[inline(always)]
    fn insert(&mut self, cell: Cell, text: Option<&[u8; SMALL_MAX]>) -> Option<u32> {
        let index = self.free;
        let Some(slot) = self.slots.get_mut(index as usize) else { return self.extend(cell, text) };
        self.free = slot.cell.next;
        slot.cell = cell;
        if let Some(text) = text {
            slot.text = *text;
        }
        self.live += 1;
        Some(index)
    }

    /// A cell with nothing in it.
    #[inline(always)]
    fn allocate(&mut self) -> Option<u32> {
        let index = self.free;
        let Some(slot) = self.slots.get(index as usize) else {
            return self.extend(Cell::new(Data::None, SeqNum(0), 0, Key(NONE)), None);
        };
        self.free = slot.cell.next;
        self.live += 1;
        Some(index)
    }

    #[inline(never)]
    fn extend(&mut self, cell: Cell, text: Option<&[u8; SMALL_MAX]>) -> Option<u32> {
        if self.slots.len() >= self.max {
            return None;
        }
        let index = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot { cell, text: *text.unwrap_or(&[0; SMALL_MAX]) });
        self.live += 1;
        Some(index)
    }

    /// Give a cell back, and with it what was in it.
    #[inline]
    fn remove(&mut self, index: u32) -> Data {
        let Some(Slot { cell, .. }) = self.slots.get_mut(index as usize) else { return Data::None };
        cell.marks = 0;
        cell.next = self.free;
        self.free = index;
        self.live -= 1;
        core::mem::replace(&mut cell.data, Data::None)
    }

    /// Queue a payload behind what is queued, which ends at `end`. The view comes back if the slab is full.
    pub fn push(
        &mut self,
        queue: &mut SendQueue,
        end: SeqNum,
        view: View,
        marks: u8,
        completions: u8,
    ) -> Result<(), View> {
        if self.live >= self.max {
            return Err(view);
        }
        let key = view.key;
        match view.data {
            ViewData::Inline(len, bytes) => {
                self.push_small(queue, end, (&bytes, len), key, marks, completions);
                Ok(())
            }
            ViewData::Extent(extent) => self
                .push_extent(queue, end, (extent, key), marks, completions)
                .map_err(|extent| View { data: ViewData::Extent(extent), key }),
        }
    }

    /// The same of bytes that lie in memory.
    #[inline(always)]
    pub fn push_extent(
        &mut self,
        queue: &mut SendQueue,
        end: SeqNum,
        (extent, key): (Extent, Key),
        marks: u8,
        completions: u8,
    ) -> Result<(), Extent> {
        if self.live >= self.max {
            return Err(extent);
        }
        let len = extent.len();
        let cell = Cell::new(Data::Extent(extent), end + len, len, key);
        self.append(queue, Cell { marks: marks | mark::LAST, queue: completions, ..cell }, None);
        Ok(())
    }

    /// The same of a payload's bytes. False if the slab is full.
    #[inline(always)]
    pub fn push_small(
        &mut self,
        queue: &mut SendQueue,
        end: SeqNum,
        (bytes, len): (&[u8; SMALL_MAX], u8),
        key: Key,
        marks: u8,
        completions: u8,
    ) -> bool {
        let len = u32::from(len);
        let cell = Cell::new(Data::Inline, end + len, len, key);
        self.append(queue, Cell { marks: marks | mark::LAST, queue: completions, ..cell }, Some(bytes))
    }

    /// A range by itself: of a small payload that goes as one segment at `now_us`, where nothing else is queued. `None` if no
    /// place that was used before is free.
    #[inline(always)]
    pub fn push_sent(
        &mut self,
        end: SeqNum,
        (bytes, len): (&[u8; SMALL_MAX], u8),
        completions: u8,
        now_us: u32,
    ) -> Option<u32> {
        let len = u32::from(len);
        let cell = Cell {
            marks: mark::LAST | mark::SENT | mark::PUSHED,
            queue: completions,
            sent_us: now_us,
            ..Cell::new(Data::Inline, end + len, len, Key::SMALL)
        };
        let slot = self.slots.get_mut(self.free as usize)?;
        let index = core::mem::replace(&mut self.free, slot.cell.next);
        (slot.cell, slot.text) = (cell, *bytes);
        self.live += 1;
        Some(index)
    }

    /// Queue a SYN or a FIN: one sequence number behind `end`. False if the slab is full.
    pub fn push_control(&mut self, queue: &mut SendQueue, end: SeqNum) -> bool {
        let cell = Cell { marks: mark::CONTROL, ..Cell::new(Data::None, end + 1, 1, Key(NONE)) };
        self.append(queue, cell, None)
    }

    #[inline(always)]
    fn append(&mut self, queue: &mut SendQueue, cell: Cell, text: Option<&[u8; SMALL_MAX]>) -> bool {
        let Some(index) = self.insert(cell, text) else { return false };
        if let Some(tail) = self.get_mut(queue.tail) {
            tail.next = index;
        } else {
            queue.head = index;
        }
        queue.tail = index;
        if queue.unsent == NONE {
            queue.unsent = index;
        }
        true
    }

    /// Cut a range in two behind its first `n` sequence numbers. False, and nothing done, if that cannot be.
    pub fn split(&mut self, queue: &mut SendQueue, index: u32, n: u32) -> bool {
        let Some(cell) = self.get(index) else { return false };
        if n == 0 || n >= cell.len {
            return n == cell.len;
        }
        let Some(second) = self.allocate() else { return false };
        let Ok([slot, behind]) = self.slots.get_disjoint_mut([index as usize, second as usize]) else {
            return false;
        };
        let (Slot { cell, text }, Slot { cell: rest, text: rest_text }) = (slot, behind);
        let inline = matches!(cell.data, Data::Inline);
        let behind = match &mut cell.data {
            Data::Extent(extent) => extent.split_off(n),
            Data::None | Data::Inline => None,
        };
        rest.data = match behind {
            Some(behind) => Data::Extent(behind),
            None if inline => Data::Inline,
            None => {
                self.remove(second);
                return false;
            }
        };
        (rest.next, rest.end, rest.len) = (cell.next, cell.end, cell.len - n);
        (rest.sent_us, rest.key, rest.marks) = (cell.sent_us, cell.key, cell.marks);
        (rest.retransmits, rest.queue) = (cell.retransmits, cell.queue);
        (cell.next, cell.end, cell.len) = (second, cell.end - rest.len, n);
        cell.marks &= !(mark::LAST | mark::NOTIFY | mark::MORE);
        if inline {
            *rest_text = shifted(text, n);
        }
        if queue.tail == index {
            queue.tail = second;
        }
        true
    }

    /// Drop what `una` acknowledges from the front, reporting each payload that is done, and for each range how many
    /// of its sequence numbers went.
    pub fn acknowledge(
        &mut self,
        queue: &mut SendQueue,
        una: SeqNum,
        finished: &mut Vec<Finished>,
        mut gone: impl FnMut(&Cell, u32),
    ) {
        while let Some(cell) = self.get(queue.head) {
            if cell.end.gt(una) {
                break;
            }
            gone(cell, cell.len);
            self.pop(queue, finished);
        }
        if let Some(cell) = self.get_mut(queue.head)
            && cell.start().lt(una)
        {
            let n = una.since(cell.start());
            gone(cell, n);
            cell.len -= n;
            match &mut cell.data {
                Data::None => {}
                Data::Inline => self.shift_text(queue.head, n),
                Data::Extent(extent) => extent.advance(n),
            }
        }
    }

    /// Drop a range that `una` acknowledges just so, if it is all that is queued, and a small payload of which nobody is told, or
    /// a SYN or FIN. Returns when it was sent, and whether it is a payload; `None`, and nothing done, if it is not so.
    #[inline(always)]
    pub fn acknowledge_only(&mut self, index: u32, una: SeqNum) -> Option<(u32, bool)> {
        let Slot { cell, .. } = self.slots.get_mut(index as usize)?;
        if cell.end != una || cell.next != NONE {
            return None;
        }
        let small = match cell.marks & (mark::LAST | mark::NOTIFY | mark::CONTROL) {
            mark::LAST if cell.key == Key::SMALL && matches!(cell.data, Data::Inline) => true,
            mark::CONTROL => false,
            _ => return None,
        };
        // Nothing of it is to be dropped.
        cell.marks = 0;
        cell.next = self.free;
        self.free = index;
        self.live -= 1;
        Some((cell.sent_us, small))
    }

    #[inline(never)]
    fn pop(&mut self, queue: &mut SendQueue, finished: &mut Vec<Finished>) {
        let index = queue.head;
        let Some(cell) = self.get(index) else { return };
        if cell.is(mark::LAST) {
            finished.push(Finished { key: cell.key, notify: cell.is(mark::NOTIFY), queue: cell.queue });
        }
        let next = cell.next;
        queue.head = next;
        if queue.unsent == index {
            queue.unsent = next;
        }
        if next == NONE {
            queue.tail = NONE;
        }
        // Ranges of one payload go one behind the other: only with the last its block has one user less.
        if let Data::Extent(gone) = self.remove(index)
            && let Some(Cell { data: Data::Extent(kept), .. }) = self.get_mut(next)
        {
            kept.absorb(gone);
        }
    }

    /// Drop everything, reporting each payload that goes unfinished and how many of its bytes were never acknowledged.
    pub fn clear(&mut self, queue: &mut SendQueue, mut lost: impl FnMut(Finished, u64)) {
        let mut bytes = 0;
        while let Some(cell) = self.get(queue.head) {
            bytes += u64::from(cell.payload_len());
            if cell.is(mark::LAST) {
                lost(Finished { key: cell.key, notify: cell.is(mark::NOTIFY), queue: cell.queue }, bytes);
                bytes = 0;
            }
            let next = cell.next;
            self.remove(queue.head);
            queue.head = next;
        }
        *queue = SendQueue::EMPTY;
    }

    /// The cells of a queue from `index` on, in order.
    pub fn from(&self, index: u32) -> impl Iterator<Item = (u32, &Cell)> {
        let mut index = index;
        core::iter::from_fn(move || {
            let cell = self.get(index)?;
            let here = index;
            index = cell.next;
            Some((here, cell))
        })
    }
}

fn shifted(bytes: &[u8; SMALL_MAX], n: u32) -> [u8; SMALL_MAX] {
    let mut copy = [0; SMALL_MAX];
    let rest = bytes.get(n as usize..).unwrap_or(&[]);
    if let Some(front) = copy.get_mut(..rest.len()) {
        front.copy_from_slice(rest);
    }
    copy
}

#[cfg(test)]
mod tests;
