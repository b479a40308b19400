//! What an end of ours is to do with memory that its peer writes to: the slow way, on a copy, in the same order.
//! Nothing here trusts the peer either; what it checks is written anew, from the protocol.

use drivers::{DeviceStatistics, Offload, Transport};

use crate::packets::{half, sum};

/// Where a ring's parts are.
pub const FLAGS_AT: usize = 4;
pub const HEAD_AT: usize = 6;
pub const TAIL_AT: usize = 64;
pub const DESCRIPTORS_AT: usize = 128;
pub const DESCRIPTOR_BYTES: usize = 16;

/// The largest ring that indices of 16 bits allow, full and empty told apart.
pub const LOG2_SIZE_MAX: u8 = 14;

/// The frame goes on in the next buffer.
pub const MORE: u16 = 1;

/// A frame in several buffers is no longer than this.
const CHAIN_BYTES_MAX: usize = 65_535;

/// Memory as both ends should see it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// All bytes of each file.
    pub files: Vec<Vec<u8>>,
    /// Of each region its file, and how much of that the peer said is shared.
    pub regions: Vec<(usize, usize)>,
}

impl Memory {
    /// These bytes, if the region has them.
    fn part(&self, region: u16, at: u32, length: u32) -> Option<&[u8]> {
        let (file, shared) = *self.regions.get(usize::from(region))?;
        let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
        (at.checked_add(length)? <= shared).then(|| &self.files[file][at..at + length])
    }

    fn put(&mut self, region: u16, at: u32, bytes: &[u8]) {
        let (file, shared) = self.regions[usize::from(region)];
        let at = usize::try_from(at).expect("an offset");
        assert!(at + bytes.len() <= shared, "the model stays inside");
        self.files[file][at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self, region: u16, at: u32) -> u16 {
        let bytes = self.part(region, at, 2).expect("a ring lies inside");
        u16::from_ne_bytes([bytes[0], bytes[1]])
    }
}

/// Where a ring lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub region: u16,
    pub offset: u32,
    pub log2_size: u8,
}

impl Place {
    /// All of it lies in its region, where its numbers can be read at once.
    pub fn is_in(&self, memory: &Memory) -> bool {
        if self.log2_size > LOG2_SIZE_MAX {
            return false;
        }
        let bytes = DESCRIPTORS_AT + (DESCRIPTOR_BYTES << self.log2_size);
        let bytes = u32::try_from(bytes).expect("small");
        self.offset.is_multiple_of(8) && memory.part(self.region, self.offset, bytes).is_some()
    }

    pub fn size(&self) -> u16 {
        1 << self.log2_size
    }

    pub fn at(&self, part: usize) -> u32 {
        self.offset + u32::try_from(part).expect("small")
    }

    pub fn descriptor_at(&self, slot: u16) -> u32 {
        self.at(DESCRIPTORS_AT + DESCRIPTOR_BYTES * usize::from(slot & (self.size() - 1)))
    }
}

/// Buffers that an end has laid out itself, of which it believes nobody else.
#[derive(Clone, Debug)]
pub struct Own {
    pub offsets: Vec<u32>,
    pub bytes: u32,
}

/// A ring as one end sees it.
#[derive(Clone, Debug)]
pub struct Ring {
    pub place: Place,
    pub own: Option<Own>,
    pub next: u16,
    end: u16,
}

/// A descriptor, as far as it is believed.
struct Buffer {
    region: u16,
    offset: u32,
    length: u32,
    more: bool,
    /// It is not where memory is, or longer than it can be.
    nowhere: bool,
}

impl Ring {
    pub fn new(place: Place, own: Option<Own>) -> Ring {
        Ring { place, own, next: 0, end: 0 }
    }

    fn word(&self, memory: &Memory, part: usize) -> u16 {
        memory.word(self.place.region, self.place.at(part))
    }

    fn set_word(&self, memory: &mut Memory, part: usize, value: u16) {
        memory.put(self.place.region, self.place.at(part), &value.to_ne_bytes());
    }

    fn buffer(&self, memory: &Memory, ahead: u16, is_filled: bool) -> Buffer {
        let slot = self.next.wrapping_add(ahead);
        let at = self.place.descriptor_at(slot);
        let length = u32::from(memory.word(self.place.region, at + 4))
            | u32::from(memory.word(self.place.region, at + 6)) << 16;
        let offset = u32::from(memory.word(self.place.region, at + 8))
            | u32::from(memory.word(self.place.region, at + 10)) << 16;
        let region = memory.word(self.place.region, at + 2);
        let more = memory.word(self.place.region, at) & MORE != 0;
        match &self.own {
            Some(own) => {
                let offset = own.offsets[usize::from(slot & (self.place.size() - 1))];
                let length = if is_filled { length } else { own.bytes };
                Buffer { region: 0, offset, length, more, nowhere: length > own.bytes }
            }
            None => {
                let nowhere = memory.part(region, offset, length).is_none();
                Buffer { region, offset, length, more, nowhere }
            }
        }
    }

    /// Writes a descriptor; where its buffer is only of an own one.
    fn describe(&self, memory: &mut Memory, slot: u16, length: u32, more: bool) {
        let (at, flags) = (self.place.descriptor_at(slot), if more { MORE } else { 0 });
        let region = if self.own.is_some() { 0 } else { memory.word(self.place.region, at + 2) };
        let mut bytes = [flags.to_ne_bytes(), region.to_ne_bytes()].concat();
        bytes.extend(length.to_ne_bytes());
        if let Some(own) = &self.own {
            bytes.extend(u64::from(own.offsets[usize::from(slot & (self.place.size() - 1))]).to_ne_bytes());
        }
        memory.put(self.place.region, at, &bytes);
    }
}

/// A frame that is to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub bytes: Vec<u8>,
    pub verified: bool,
}

/// A frame that is to go.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The bytes of each segment.
    pub pieces: Vec<Vec<u8>>,
    pub offload: Option<Offload>,
}

enum Packed {
    Whole(usize),
    Later,
    Refused,
}

/// What one end does.
#[derive(Clone, Debug)]
pub struct Model {
    pub memory: Memory,
    pub incoming: Ring,
    pub outgoing: Ring,
    pub counted: DeviceStatistics,
    /// How often the peer was woken.
    pub woken: u64,
    frame_bytes_max: usize,
    has_begun: bool,
}

impl Model {
    pub fn new(memory: Memory, incoming: Ring, outgoing: Ring, frame_bytes_max: usize) -> Model {
        Model {
            memory,
            incoming,
            outgoing,
            counted: DeviceStatistics::default(),
            woken: 0,
            frame_bytes_max,
            has_begun: false,
        }
    }

    /// The first look at a link that has come up.
    fn begin(&mut self) {
        if !self.has_begun {
            self.has_begun = true;
            self.incoming.set_word(&mut self.memory, FLAGS_AT, 1);
            self.release(0);
        }
    }

    /// Which of a ring's numbers the peer counts with: of the incoming ring, or of the outgoing one.
    pub fn peers_count(&self, incoming: bool) -> usize {
        let ring = if incoming { &self.incoming } else { &self.outgoing };
        if ring.own.is_some() { TAIL_AT } else { HEAD_AT }
    }

    /// Takes what has come, into at most `max` of `available` frames with `room` each.
    pub fn receive(&mut self, max: usize, available: usize, room: usize) -> Vec<Arrival> {
        self.begin();
        let filled = self.incoming.word(&self.memory, self.peers_count(true));
        let waiting = filled.wrapping_sub(self.incoming.next).min(self.incoming.place.size());
        if waiting == 0 {
            return Vec::new();
        }
        let wanted = max.min(usize::from(waiting));
        let most = wanted.min(available);
        self.counted.no_frames += u64::from(most < wanted);
        let (mut taken, mut arrived) = (0, Vec::new());
        while taken < waiting && arrived.len() < most {
            let buffer = self.incoming.buffer(&self.memory, taken, true);
            let fits = buffer.nowhere || usize::try_from(buffer.length).is_ok_and(|length| length <= room);
            if buffer.more || !fits {
                taken += self.receive_long(taken, waiting, available - arrived.len(), room, &mut arrived);
                break;
            }
            taken += 1;
            match self.memory.part(buffer.region, buffer.offset, buffer.length).filter(|_| !buffer.nowhere) {
                Some(bytes) => {
                    self.counted.received_bytes += bytes.len() as u64;
                    arrived.push(Arrival { verified: is_verified(bytes), bytes: bytes.to_vec() });
                }
                None => self.counted.receive_errors += 1,
            }
        }
        self.release(taken);
        self.counted.received_frames += arrived.len() as u64;
        arrived
    }

    /// A frame in several buffers, or in several frames of the pool. Returns how many buffers are done with.
    fn receive_long(
        &mut self,
        first: u16,
        waiting: u16,
        available: usize,
        room: usize,
        arrived: &mut Vec<Arrival>,
    ) -> u16 {
        let (mut count, mut bytes, mut is_whole, mut more) = (0, Vec::new(), true, true);
        while more && first + count < waiting {
            let buffer = self.incoming.buffer(&self.memory, first + count, true);
            (count, more) = (count + 1, buffer.more);
            let part = self.memory.part(buffer.region, buffer.offset, buffer.length);
            match part.filter(|part| !buffer.nowhere && bytes.len() + part.len() <= CHAIN_BYTES_MAX) {
                Some(part) => bytes.extend_from_slice(part),
                None => is_whole = false,
            }
        }
        if more || !is_whole {
            self.counted.receive_errors += 1;
            return count;
        }
        if bytes.len() > room * available || available == 0 {
            self.counted.no_frames += 1;
            return 0;
        }
        self.counted.received_bytes += bytes.len() as u64;
        arrived.push(Arrival { bytes, verified: false });
        count
    }

    fn release(&mut self, count: u16) {
        let (ring, memory) = (&mut self.incoming, &mut self.memory);
        let end = ring.next.wrapping_add(count);
        match &ring.own {
            None => ring.set_word(memory, TAIL_AT, end),
            Some(own) => {
                for ahead in 0..count {
                    ring.describe(memory, ring.next.wrapping_add(ahead), own.bytes, false);
                }
                ring.set_word(memory, HEAD_AT, end.wrapping_add(ring.place.size()));
            }
        }
        ring.next = end;
    }

    /// Sends from the front of `frames`. Returns how many are gone.
    pub fn transmit(&mut self, frames: &[Departure]) -> usize {
        self.begin();
        if frames.is_empty() {
            return 0;
        }
        let mut room = self.room(u16::try_from(frames.len()).expect("few"));
        let (mut filled, mut gone) = (0, 0);
        for frame in frames {
            match self.pack(frame, &mut room, &mut filled) {
                Packed::Whole(bytes) => {
                    self.counted.sent_frames += 1;
                    self.counted.sent_bytes += bytes as u64;
                }
                Packed::Refused => self.counted.transmit_errors += 1,
                Packed::Later => break,
            }
            gone += 1;
        }
        if filled > 0 {
            let ring = &mut self.outgoing;
            ring.next = ring.next.wrapping_add(filled);
            let part = if ring.own.is_some() { HEAD_AT } else { TAIL_AT };
            ring.set_word(&mut self.memory, part, ring.next);
            self.woken += u64::from(ring.word(&self.memory, FLAGS_AT) & 1 == 0);
        }
        gone
    }

    /// Buffers that may be filled. What was once seen free stays so.
    fn room(&mut self, wanted: u16) -> u16 {
        let ring = &mut self.outgoing;
        let known = ring.end.wrapping_sub(ring.next);
        if known >= wanted {
            return known;
        }
        let (size, next) = (ring.place.size(), ring.next);
        let room = match ring.own {
            Some(_) => size.saturating_sub(next.wrapping_sub(ring.word(&self.memory, TAIL_AT))),
            None => ring.word(&self.memory, HEAD_AT).wrapping_sub(next).min(size),
        };
        ring.end = next.wrapping_add(room);
        room
    }

    fn pack(&mut self, frame: &Departure, room: &mut u16, filled: &mut u16) -> Packed {
        let mut packet = frame.pieces.concat();
        let transport = frame.offload.and_then(|offload| offload.checksums.transport);
        let is_cut = frame.offload.is_some_and(|offload| offload.segment_bytes > 0);
        if packet.len() > self.frame_bytes_max || is_cut {
            return Packed::Refused;
        }
        if let (Some(transport), Some(offload)) = (transport, frame.offload) {
            let start = usize::from(offload.link_bytes) + usize::from(offload.network_bytes);
            let field = start + if transport == Transport::Udp { 6 } else { 16 };
            if field + 2 > frame.pieces[0].len() {
                return Packed::Refused;
            }
            let value = match !sum(&packet[start..]) {
                0 if transport == Transport::Udp => 0xffff,
                value => value,
            };
            packet[field..field + 2].copy_from_slice(&value.to_be_bytes());
        }
        if *filled >= *room {
            return Packed::Later;
        }
        let buffer = self.outgoing.buffer(&self.memory, *filled, false);
        if buffer.nowhere {
            self.fill(*filled, 0, false);
            *filled += 1;
            return Packed::Refused;
        }
        if usize::try_from(buffer.length).is_ok_and(|length| length < packet.len()) {
            return self.pack_long(&packet, room, filled);
        }
        self.memory.put(buffer.region, buffer.offset, &packet);
        self.fill(*filled, packet.len(), false);
        *filled += 1;
        Packed::Whole(packet.len())
    }

    /// The same into several buffers.
    fn pack_long(&mut self, packet: &[u8], room: &mut u16, filled: &mut u16) -> Packed {
        let (mut left, mut lengths) = (packet, Vec::new());
        while !left.is_empty() {
            let at = *filled + u16::try_from(lengths.len()).expect("a ring's");
            if at >= *room {
                *room = self.room(u16::MAX);
            }
            if at >= *room {
                let never = *filled == 0 && *room == self.outgoing.place.size();
                return if never { Packed::Refused } else { Packed::Later };
            }
            let buffer = self.outgoing.buffer(&self.memory, at, false);
            if buffer.nowhere || buffer.length == 0 {
                return Packed::Refused;
            }
            let length = usize::try_from(buffer.length).expect("a length").min(left.len());
            self.memory.put(buffer.region, buffer.offset, &left[..length]);
            left = &left[length..];
            lengths.push(length);
        }
        let last = lengths.len() - 1;
        for (number, length) in lengths.into_iter().enumerate() {
            self.fill(*filled, length, number < last);
            *filled += 1;
        }
        Packed::Whole(packet.len())
    }

    fn fill(&mut self, ahead: u16, length: usize, more: bool) {
        let length = u32::try_from(length).expect("a frame's");
        let ring = &self.outgoing;
        ring.describe(&mut self.memory, ring.next.wrapping_add(ahead), length, more);
    }
}

/// A packet of TCP or UDP whose sums are all right, of the shape that an end looks at.
fn is_verified(frame: &[u8]) -> bool {
    if frame.len() < 34 {
        return false;
    }
    let (start, length, addresses, protocol) = match half(frame, 12) {
        0x0800 => {
            let is_plain = frame[14] == 0x45 && half(frame, 20) & 0x3fff == 0;
            if !is_plain || sum(&frame[14..34]) != 0xffff || half(frame, 16) < 20 {
                return false;
            }
            (34, half(frame, 16) - 20, 26..34, frame[23])
        }
        0x86dd if frame.len() >= 54 && frame[14] >> 4 == 6 => (54, half(frame, 18), 22..54, frame[20]),
        _ => return false,
    };
    let least = match protocol {
        6 => 20,
        17 => 8,
        _ => return false,
    };
    let end = start + usize::from(length);
    if length < least || end > frame.len() {
        return false;
    }
    let pseudo = [&frame[addresses], &[0, protocol], &length.to_be_bytes(), &frame[start..end]].concat();
    let says_none = protocol == 17 && half(frame, start + 6) == 0;
    sum(&pseudo) == 0xffff && !says_none
}
