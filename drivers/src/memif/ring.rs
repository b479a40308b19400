//! A memif ring: descriptors of buffers that go from one end to the other. What goes into the buffers is `queue.rs`'s.
//!
//! Both rings lie in the client's memory. In the ring to the server `head` counts what was filled and `tail` what was
//! emptied. In the ring to the client `head` counts the buffers that the client has laid out, and `tail` what the
//! server has filled. So each number has one writer, and each end knows its own without reading it.
//!
//! What a peer writes is asked of it each time and checked each time. An end that lies loses its own frames.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering, fence};

use super::channel::Trouble;
use super::message::RingPlace;
use super::region::{Buffer, Region};
use crate::prefetch::{prefetch_at, prefetch_to_write};

/// What a ring begins with.
const COOKIE: u64 = 0x03e3_1f20;

/// Where a ring's numbers lie in it. Cookie, flags and `head` share a line.
const FLAGS_AT: usize = 4;
const HEAD_AT: usize = 6;
const TAIL_AT: usize = 64;
const DESCRIPTORS_AT: usize = 128;

/// The ring's consumer looks by itself: it need not be woken.
const POLLED: u16 = 1;

/// The frame goes on in the next buffer.
const MORE: u64 = 1;

/// The largest ring that indices of 16 bits allow, full and empty told apart.
pub(super) const LOG2_SIZE_MAX: u8 = 14;

/// So much of a frame is asked for early: an ordinary one.
const HINT_BYTES_MAX: usize = 1536;

/// A line of the cache.
const LINE: usize = 64;

/// The client's layout of its memory: the ring to the server, the ring to the client, then their buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub log2_size: u8,
    pub buffer_bytes: u32,
}

impl Layout {
    fn size(self) -> usize {
        1 << self.log2_size
    }

    fn ring_bytes(self) -> usize {
        (DESCRIPTORS_AT + 2 * size_of::<AtomicU64>() * self.size()).next_multiple_of(LINE)
    }

    /// Bytes of all of it.
    pub fn bytes(self) -> usize {
        2 * (self.ring_bytes() + self.size() * self.buffer_bytes as usize)
    }

    /// Where a ring is, for the server to be told.
    pub fn place(self, to_server: bool) -> RingPlace {
        let offset = if to_server { 0 } else { self.ring_bytes() };
        let offset = u32::try_from(offset).unwrap_or(0);
        RingPlace { to_server, index: 0, region: 0, offset, log2_size: self.log2_size }
    }

    /// Where a ring's first buffer is.
    fn buffers(self, to_server: bool) -> u32 {
        let before = if to_server { 0 } else { self.size() * self.buffer_bytes as usize };
        u32::try_from(2 * self.ring_bytes() + before).unwrap_or(u32::MAX)
    }
}

/// A ring, and the memory that it and its buffers lie in.
struct Ring {
    head: NonNull<AtomicU16>,
    tail: NonNull<AtomicU16>,
    flags: NonNull<AtomicU16>,
    descriptors: NonNull<[AtomicU64]>,
    size: u16,
    /// Behind what points into it: it goes last.
    memory: Arc<[Region]>,
}

// SAFETY: what it points to is atomics in regions that it owns a part of, which any thread may reach.
unsafe impl Send for Ring {}

/// What a descriptor says of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Descriptor {
    region: u16,
    length: u32,
    offset: u32,
    more: bool,
}

impl Ring {
    /// Errors: the ring is not in its memory, or no ring.
    fn new(memory: &Arc<[Region]>, place: RingPlace) -> Result<Ring, Trouble> {
        if place.log2_size > LOG2_SIZE_MAX {
            return Err(format!("its ring of 2^{} entries is too large", place.log2_size));
        }
        Ring::find(memory, place).ok_or_else(|| "its ring is not in its memory".to_owned())
    }

    fn find(memory: &Arc<[Region]>, place: RingPlace) -> Option<Ring> {
        let (region, at) = (memory.get(usize::from(place.region))?, usize::try_from(place.offset).ok()?);
        let size = 1_u16 << place.log2_size;
        Some(Ring {
            head: region.word(at + HEAD_AT)?.into(),
            tail: region.word(at + TAIL_AT)?.into(),
            flags: region.word(at + FLAGS_AT)?.into(),
            descriptors: region.longs(at + DESCRIPTORS_AT, 2 * usize::from(size))?.into(),
            size,
            memory: Arc::clone(memory),
        })
    }

    fn head(&self) -> &AtomicU16 {
        // SAFETY: it lies in memory that this ring keeps mapped.
        unsafe { self.head.as_ref() }
    }

    fn tail(&self) -> &AtomicU16 {
        // SAFETY: as above.
        unsafe { self.tail.as_ref() }
    }

    fn flags(&self) -> &AtomicU16 {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }
    }

    #[inline]
    fn words(&self, slot: u16) -> &[AtomicU64; 2] {
        // SAFETY: as above.
        let all = unsafe { self.descriptors.as_ref() };
        &all.as_chunks().0[usize::from(slot & (self.size - 1))]
    }

    #[inline]
    fn read(&self, slot: u16) -> Descriptor {
        let [first, second] = self.words(slot).each_ref().map(|word| word.load(Ordering::Relaxed));
        #[expect(clippy::cast_possible_truncation, reason = "fields of the packed words")]
        Descriptor {
            region: (first >> 16) as u16,
            length: (first >> 32) as u32,
            offset: second as u32,
            more: first & MORE != 0,
        }
    }

    /// All of a descriptor but where its buffer is.
    #[inline]
    fn write_length(&self, slot: u16, region: u16, length: u32, more: bool) {
        let flags = if more { MORE } else { 0 };
        let first = flags | u64::from(region) << 16 | u64::from(length) << 32;
        self.words(slot)[0].store(first, Ordering::Relaxed);
    }

    fn write(&self, slot: u16, descriptor: Descriptor) {
        let Descriptor { region, length, offset, more } = descriptor;
        self.words(slot)[1].store(u64::from(offset), Ordering::Relaxed);
        self.write_length(slot, region, length, more);
    }

    fn region(&self, region: u16) -> Option<&Region> {
        self.memory.get(usize::from(region))
    }
}

/// Where a ring's buffers are.
enum Buffers {
    /// Where this end has laid them out. What the descriptors say is not asked.
    Own { first: u32, bytes: u32 },
    /// Where the peer says, each time. What it said the last time round is where they are looked for early.
    Told { guesses: Box<[*const u8]> },
}

// SAFETY: guesses are for hints: nothing is read where they point.
unsafe impl Send for Buffers {}

impl Buffers {
    fn told(ring: &Ring) -> Buffers {
        Buffers::Told { guesses: vec![std::ptr::null(); usize::from(ring.size)].into() }
    }

    /// The descriptor of an own buffer that is empty.
    #[inline]
    fn empty(first: u32, bytes: u32, slot: u16, size: u16) -> Descriptor {
        let offset = first + u32::from(slot & (size - 1)) * bytes;
        Descriptor { region: 0, length: bytes, offset, more: false }
    }

    /// What is in a slot, from where it can be believed.
    #[inline]
    fn descriptor(&mut self, ring: &Ring, slot: u16) -> Descriptor {
        let said = ring.read(slot);
        match self {
            Buffers::Own { first, bytes } => {
                Descriptor { region: 0, ..said }.at(Buffers::empty(*first, *bytes, slot, ring.size).offset)
            }
            Buffers::Told { guesses } => {
                let region = ring.region(said.region).map(|region| region.address(said.offset));
                guesses[usize::from(slot & (ring.size - 1))] = region.unwrap_or(std::ptr::null());
                said
            }
        }
    }

    /// Where a slot's buffer probably is.
    #[inline]
    fn guess(&self, ring: &Ring, slot: u16) -> *const u8 {
        match self {
            Buffers::Own { first, bytes } => {
                let offset = Buffers::empty(*first, *bytes, slot, ring.size).offset;
                ring.memory.first().map_or(std::ptr::null(), |region| region.address(offset))
            }
            Buffers::Told { guesses } => guesses[usize::from(slot & (ring.size - 1))],
        }
    }
}

impl Descriptor {
    fn at(self, offset: u32) -> Descriptor {
        Descriptor { offset, ..self }
    }
}

/// The ring that frames come from.
pub(super) struct Incoming {
    ring: Ring,
    buffers: Buffers,
    /// The first that was not taken.
    next: u16,
}

/// A filled buffer.
pub(super) struct Filled<'r> {
    /// `None`: the peer says that it is where no memory is, or longer than it can be.
    pub buffer: Option<Buffer<'r>>,
    /// The frame goes on in the next one.
    pub more: bool,
}

impl Incoming {
    fn new(ring: Ring, buffers: Buffers) -> Incoming {
        Incoming { ring, buffers, next: 0 }
    }

    /// Both ends have agreed. A client has its buffers filled from now on: DPDK's server forgets what it was told before.
    pub fn begin(&mut self) {
        self.be_woken(false);
        self.release(0);
    }

    /// Whether the peer is to wake this end with the next frame.
    pub fn be_woken(&self, wish: bool) {
        self.ring.flags().store(if wish { 0 } else { POLLED }, Ordering::Relaxed);
        // What is looked at behind this is not older than the wish.
        fence(Ordering::SeqCst);
    }

    /// Buffers that were filled.
    #[inline]
    pub fn waiting(&self) -> u16 {
        let filled = match self.buffers {
            Buffers::Told { .. } => self.ring.head(),
            Buffers::Own { .. } => self.ring.tail(),
        };
        filled.load(Ordering::Acquire).wrapping_sub(self.next).min(self.ring.size)
    }

    /// Asks for the first `count` to come near, all at the same time: descriptors, and where their frames probably begin.
    #[inline]
    pub fn expect(&self, count: u16) {
        (0..count).for_each(|ahead| self.expect_ahead(ahead));
    }

    /// The same of the one `ahead` of the first.
    #[inline]
    pub fn expect_ahead(&self, ahead: u16) {
        let slot = self.next.wrapping_add(ahead);
        if slot.is_multiple_of(4) || ahead == 0 {
            prefetch_at(std::ptr::from_ref(self.ring.words(slot)).cast());
        }
        let guess = self.buffers.guess(&self.ring, slot);
        prefetch_at(guess);
        prefetch_at(guess.wrapping_add(LINE));
    }

    /// Asks for all of the frame `ahead` of the first, as far as its descriptor, which was asked for before, says so.
    #[inline]
    pub fn expect_all(&self, ahead: u16) {
        let slot = self.next.wrapping_add(ahead);
        let said = self.ring.read(slot);
        let start = match self.buffers {
            Buffers::Own { .. } => self.buffers.guess(&self.ring, slot),
            Buffers::Told { .. } => {
                self.ring.region(said.region).map_or(std::ptr::null(), |region| region.address(said.offset))
            }
        };
        for at in (0..(said.length as usize).min(HINT_BYTES_MAX)).step_by(LINE) {
            prefetch_at(start.wrapping_add(at));
        }
    }

    /// The buffer `ahead` of the first. It has been filled.
    #[inline]
    pub fn buffer(&mut self, ahead: u16) -> Filled<'_> {
        let Descriptor { region, length, offset, more } =
            self.buffers.descriptor(&self.ring, self.next.wrapping_add(ahead));
        let fits = match self.buffers {
            Buffers::Own { bytes, .. } => length <= bytes,
            Buffers::Told { .. } => true,
        };
        let region = self.ring.region(region).filter(|_| fits);
        Filled { buffer: region.and_then(|region| region.buffer(offset, length)), more }
    }

    /// Gives the first `count` back to the peer.
    #[inline]
    pub fn release(&mut self, count: u16) {
        let end = self.next.wrapping_add(count);
        match self.buffers {
            Buffers::Told { .. } => self.ring.tail().store(end, Ordering::Release),
            Buffers::Own { first, bytes } => {
                for slot in (0..count).map(|ahead| self.next.wrapping_add(ahead)) {
                    self.ring.write(slot, Buffers::empty(first, bytes, slot, self.ring.size));
                }
                self.ring.head().store(end.wrapping_add(self.ring.size), Ordering::Release);
            }
        }
        self.next = end;
    }
}

/// The ring that frames go to.
pub(super) struct Outgoing {
    ring: Ring,
    buffers: Buffers,
    /// The first that was not filled.
    next: u16,
    /// Where those end that may be filled, as far as was looked.
    end: u16,
}

impl Outgoing {
    fn new(ring: Ring, buffers: Buffers) -> Outgoing {
        Outgoing { ring, buffers, next: 0, end: 0 }
    }

    /// Buffers that may be filled. The peer is asked where fewer than `wanted` are known.
    #[inline]
    pub fn room(&mut self, wanted: u16) -> u16 {
        let known = self.end.wrapping_sub(self.next);
        if known >= wanted {
            return known;
        }
        let room = match self.buffers {
            // What was filled is this end's to fill again once it was emptied.
            Buffers::Own { .. } => {
                let filled = self.next.wrapping_sub(self.ring.tail().load(Ordering::Acquire));
                self.ring.size.saturating_sub(filled)
            }
            Buffers::Told { .. } => {
                self.ring.head().load(Ordering::Acquire).wrapping_sub(self.next).min(self.ring.size)
            }
        };
        self.end = self.next.wrapping_add(room);
        room
    }

    /// Buffers that the ring has.
    pub fn size(&self) -> u16 {
        self.ring.size
    }

    /// Asks for the first `count` of those that are known to be free, to write to them: descriptors, and the first
    /// lines of their buffers.
    #[inline]
    pub fn expect(&self, count: u16) {
        for slot in
            (0..count.min(self.end.wrapping_sub(self.next))).map(|ahead| self.next.wrapping_add(ahead))
        {
            self.expect_slot(slot);
        }
    }

    /// The same of the one `ahead` of the first.
    #[inline]
    pub fn expect_ahead(&self, ahead: u16) {
        self.expect_slot(self.next.wrapping_add(ahead));
    }

    #[inline]
    fn expect_slot(&self, slot: u16) {
        if slot.is_multiple_of(4) || slot == self.next {
            prefetch_to_write(std::ptr::from_ref(self.ring.words(slot)).cast());
        }
        let guess = self.buffers.guess(&self.ring, slot);
        prefetch_to_write(guess);
        prefetch_to_write(guess.wrapping_add(LINE));
    }

    /// The buffer `ahead` of the first, which may be filled. `None`: the peer says that it is where no memory is.
    #[inline]
    pub fn buffer(&mut self, ahead: u16) -> Option<Buffer<'_>> {
        let slot = self.next.wrapping_add(ahead);
        let Descriptor { region, length, offset, .. } = match self.buffers {
            Buffers::Own { first, bytes } => Buffers::empty(first, bytes, slot, self.ring.size),
            Buffers::Told { .. } => self.buffers.descriptor(&self.ring, slot),
        };
        self.ring.region(region)?.buffer(offset, length)
    }

    /// Says how much is in the buffer `ahead` of the first.
    #[inline]
    pub fn fill(&mut self, ahead: u16, length: usize, more: bool) {
        let (slot, length) = (self.next.wrapping_add(ahead), u32::try_from(length).unwrap_or(0));
        match self.buffers {
            Buffers::Own { first, bytes } => {
                let own = Buffers::empty(first, bytes, slot, self.ring.size);
                self.ring.write(slot, Descriptor { length, more, ..own });
            }
            Buffers::Told { .. } => {
                let region = self.ring.read(slot).region;
                self.ring.write_length(slot, region, length, more);
            }
        }
    }

    /// Gives the first `count` to the peer. True: it wants to be woken.
    #[inline]
    pub fn publish(&mut self, count: u16) -> bool {
        self.next = self.next.wrapping_add(count);
        let filled = match self.buffers {
            Buffers::Own { .. } => self.ring.head(),
            Buffers::Told { .. } => self.ring.tail(),
        };
        filled.store(self.next, Ordering::Release);
        self.ring.flags().load(Ordering::Relaxed) & POLLED == 0
    }
}

/// The client's rings in memory that it has just made, and says nothing of yet.
pub(super) fn lay_out(memory: &Arc<[Region]>, layout: Layout) -> Result<(Incoming, Outgoing), Trouble> {
    let ring = |to_server| -> Result<(Ring, Buffers), Trouble> {
        let ring = Ring::new(memory, layout.place(to_server))?;
        let (first, bytes) = (layout.buffers(to_server), layout.buffer_bytes);
        for slot in 0..ring.size {
            ring.write(slot, Buffers::empty(first, bytes, slot, ring.size));
        }
        // Cookie, flags and head lie in one word: nobody else writes it yet.
        let place = layout.place(to_server);
        let region = memory.first().and_then(|region| region.longs(place.offset as usize, 1));
        if let Some([first]) = region {
            first.store(COOKIE | u64::from(POLLED) << 32, Ordering::Relaxed);
        }
        Ok((ring, Buffers::Own { first, bytes }))
    };
    let ((incoming, received), (outgoing, sent)) = (ring(false)?, ring(true)?);
    Ok((Incoming::new(incoming, received), Outgoing::new(outgoing, sent)))
}

/// The client's rings as the server finds them.
///
/// Errors: they are not where the client says, or no rings.
pub(super) fn find(
    memory: &Arc<[Region]>,
    to_server: RingPlace,
    to_client: RingPlace,
) -> Result<(Incoming, Outgoing), Trouble> {
    let ring = |place: RingPlace| -> Result<(Ring, Buffers), Trouble> {
        let ring = Ring::new(memory, place)?;
        let region = memory.get(usize::from(place.region));
        let first = region.and_then(|region| region.longs(place.offset as usize, 1));
        let cookie = first.and_then(<[_]>::first).map(|word| word.load(Ordering::Relaxed) & 0xffff_ffff);
        if cookie != Some(COOKIE) {
            return Err("its ring does not begin as memif's do".to_owned());
        }
        let buffers = Buffers::told(&ring);
        Ok((ring, buffers))
    };
    let ((incoming, received), (outgoing, sent)) = (ring(to_server)?, ring(to_client)?);
    Ok((Incoming::new(incoming, received), Outgoing::new(outgoing, sent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_lies_is_not_believed() {
        // Shows a client's own ring after a server has written to its descriptors: a length beyond the buffer is none, a
        // buffer somewhere else is not looked at, and more than the ring holds is not there.
        let layout = Layout { log2_size: 4, buffer_bytes: 64 };
        let memory: Arc<[Region]> = Arc::new([Region::create(layout.bytes()).expect("memory").0]);
        let (mut incoming, mut outgoing) = lay_out(&memory, layout).expect("rings");
        incoming.begin();
        let ring = Ring::new(&memory, layout.place(false)).expect("the ring");
        ring.write(0, Descriptor { region: 9, length: 64, offset: u32::MAX, more: false });
        ring.write(1, Descriptor { region: 0, length: 65, offset: 0, more: false });
        ring.tail().store(40_000, Ordering::Release);
        assert_eq!((incoming.waiting(), ring.head().load(Ordering::Relaxed)), (16, 16));
        assert_eq!(incoming.buffer(0).buffer.map(|buffer| buffer.len()), Some(64));
        assert!(incoming.buffer(1).buffer.is_none());
        // The other ring: a server that has emptied more than there was gives no more room than there is.
        let ring = Ring::new(&memory, layout.place(true)).expect("the ring");
        ring.tail().store(5, Ordering::Release);
        assert_eq!(outgoing.room(u16::MAX), 0);
        ring.tail().store(0, Ordering::Release);
        assert_eq!(outgoing.room(u16::MAX), 16);
    }
}
