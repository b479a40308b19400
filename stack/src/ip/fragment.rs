//! Fragments of both versions: reassembly (RFC 791, 815, 8200, with RFC 5722's care) and the plan to send what exceeds
//! the MTU.
//! The bytes stay with the caller: this knows offsets and lengths, and hands holders back in order.

use super::KeyedHash;
use crate::time::Instant;
use crate::wire::{DropReason, Protocol, ipv4, ipv6};
use core::hash::BuildHasher;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

/// Datagrams in reassembly at once: enough for pings and UDP, too few to hold much of the pool.
pub const DATAGRAMS_MAX: usize = 64;
/// Fragments of one datagram: 65,535 bytes at an MTU of 576 are 119.
pub const FRAGMENTS_MAX: usize = 128;
/// What all fragments in reassembly may hold together. Units: bytes, as the caller accounts them.
pub const HELD_BYTES_MAX: usize = 256 * 1024;
/// How long the rest of a datagram may take: what RFC 8200 section 4.5 says, and RFC 1122 section 3.3.2 allows.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest payload of a datagram with an IPv4 header of twenty bytes; IPv6's length leaves its header out. Units:
/// bytes.
const PAYLOAD_MAX: u32 = 65_535 - 20;

/// Which datagram a fragment belongs to (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct Key {
    /// From whom.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The transport; for IPv6, whose fragments need not agree on it, that of fragments.
    pub protocol: Protocol,
    /// The identification.
    pub identification: u32,
}

/// The ECN field of what two fragments with these fields are joined to; `None`: they may not be joined.
//= https://www.rfc-editor.org/rfc/rfc3168#section-5.3
//# Reassembly of a fragmented packet MUST NOT lose indications of
//# congestion.
pub const fn joined_field(one: u8, other: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0b00;
    const CE: u8 = 0b11;
    match (one, other) {
        (CE, NOT_ECT) | (NOT_ECT, CE) => None,
        (CE, _) | (_, CE) => Some(CE),
        // Of other mixtures nothing is asked: that nobody was ECN-capable is on the safe side.
        _ => Some(one & other),
    }
}

/// Where a fragment's payload lies in its datagram's.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Span {
    /// Units: bytes, a multiple of eight.
    pub offset: u16,
    /// Units: bytes.
    pub len: u16,
    /// More fragments follow.
    pub more: bool,
}

/// A fragment in its place.
#[derive(Eq, PartialEq, Debug)]
pub struct Piece<H> {
    /// Its place.
    pub span: Span,
    /// What the caller keeps its bytes in.
    pub holder: H,
    held: usize,
}

/// What `insert` and `advance` hand back; the caller keeps one and empties it each time.
#[derive(Debug)]
pub struct Output<H> {
    /// The pieces of a datagram that is complete, in order, without gap or overlap.
    pub complete: Vec<Piece<H>>,
    /// Holders of fragments that go nowhere, and why.
    pub dropped: Vec<(DropReason, H)>,
    /// First fragments of datagrams that timed out: each deserves an ICMP time exceeded.
    pub expired: Vec<(Key, H)>,
}

impl<H> Default for Output<H> {
    fn default() -> Self {
        Self { complete: Vec::new(), dropped: Vec::new(), expired: Vec::new() }
    }
}

#[derive(Debug)]
struct Datagram<H> {
    key: Key,
    deadline: Instant,
    /// Sorted by offset, without overlaps.
    pieces: Vec<Piece<H>>,
    /// Payload bytes in `pieces`.
    len: u32,
    /// Payload bytes of the whole, once the last fragment is there.
    total: Option<u32>,
    /// An overlap was seen: whatever still comes goes too.
    poisoned: bool,
}

/// The datagrams in reassembly. `H` holds a fragment's bytes.
#[derive(Debug)]
pub struct Reassembler<H> {
    /// Oldest first.
    datagrams: Vec<Datagram<H>>,
    /// Emptied lists for reuse.
    spare: Vec<Vec<Piece<H>>>,
    held: usize,
}

impl<H> Default for Reassembler<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H> Reassembler<H> {
    /// Nothing in reassembly.
    #[must_use]
    pub fn new() -> Self {
        Self { datagrams: Vec::with_capacity(DATAGRAMS_MAX), spare: Vec::new(), held: 0 }
    }

    /// How many datagrams are in reassembly.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// What the fragments hold together. Units: bytes, as the caller accounts them.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held
    }

    /// Takes a fragment in; true if its datagram is complete now, in `out.complete`.
    ///
    /// `held` is what the holder costs, in bytes: a frame's buffer, not just its payload.
    pub fn insert(
        &mut self,
        key: Key,
        span: Span,
        holder: H,
        held: usize,
        now: Instant,
        out: &mut Output<H>,
    ) -> bool {
        let max = if key.source.is_ipv4() { PAYLOAD_MAX } else { u16::MAX.into() };
        if let Err(reason) = check(span, max) {
            out.dropped.push((reason, holder));
            return false;
        }
        let at = match self.datagrams.iter().position(|datagram| datagram.key == key) {
            Some(at) => at,
            None => self.open(key, now, out),
        };
        let Some(datagram) = self.datagrams.get_mut(at) else {
            out.dropped.push((DropReason::FragmentTableFull, holder));
            return false;
        };
        match datagram.place(span) {
            Ok(place) => {
                datagram.pieces.insert(place, Piece { span, holder, held });
                datagram.len += u32::from(span.len);
                if !span.more {
                    datagram.total = Some(u32::from(span.offset) + u32::from(span.len));
                }
                self.held += held;
            }
            Err(DropReason::FragmentDuplicate) => {
                out.dropped.push((DropReason::FragmentDuplicate, holder));
                return false;
            }
            Err(reason) => {
                //= https://www.rfc-editor.org/rfc/rfc5722#section-4
                //# the entire datagram (and any constituent fragments, including
                //# those not yet received) MUST be silently discarded.
                out.dropped.push((reason, holder));
                self.poison(at, reason, out);
                return false;
            }
        }
        if self.datagrams.get(at).is_some_and(|datagram| datagram.total == Some(datagram.len)) {
            let mut datagram = self.close(at);
            out.complete.append(&mut datagram.pieces);
            self.recycle(datagram.pieces);
            return true;
        }
        // The newest is kept: it has the best chance to be completed.
        while self.held > HELD_BYTES_MAX {
            self.evict_oldest(out);
        }
        false
    }

    /// When `advance` has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.datagrams.first().map(|oldest| oldest.deadline)
    }

    /// Gives up on the datagrams whose time is over.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.3.2
    //# There MUST be a reassembly timeout.
    pub fn advance(&mut self, now: Instant, out: &mut Output<H>) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            let mut datagram = self.close(0);
            for piece in datagram.pieces.drain(..) {
                //= https://www.rfc-editor.org/rfc/rfc1122#section-3.3.2
                //# an ICMP Time Exceeded message sent to the source host (if
                //# fragment zero has been received).
                if piece.span.offset == 0 {
                    out.expired.push((datagram.key, piece.holder));
                } else {
                    out.dropped.push((DropReason::FragmentTimeout, piece.holder));
                }
            }
            self.recycle(datagram.pieces);
        }
    }

    /// Takes every holder back, when the lane ends.
    pub fn clear(&mut self, out: &mut Output<H>) {
        while !self.datagrams.is_empty() {
            self.evict_oldest(out);
        }
    }

    /// A place for a new datagram, at the end; the oldest makes room.
    fn open(&mut self, key: Key, now: Instant, out: &mut Output<H>) -> usize {
        if self.datagrams.len() >= DATAGRAMS_MAX {
            self.evict_oldest(out);
        }
        // All wait equally long, so the last opened is the last due.
        let newest = self.datagrams.last().map_or(Instant::ZERO, |newest| newest.deadline);
        self.datagrams.push(Datagram {
            key,
            deadline: newest.max(now.saturating_add(REASSEMBLY_TIMEOUT)),
            pieces: self.spare.pop().unwrap_or_default(),
            len: 0,
            total: None,
            poisoned: false,
        });
        self.datagrams.len() - 1
    }

    /// Takes a datagram out of the table and its bytes off the account. The index must be in range.
    fn close(&mut self, at: usize) -> Datagram<H> {
        let datagram = self.datagrams.remove(at);
        self.held -= datagram.pieces.iter().map(|piece| piece.held).sum::<usize>();
        datagram
    }

    fn recycle(&mut self, pieces: Vec<Piece<H>>) {
        debug_assert!(pieces.is_empty());
        if self.spare.len() < DATAGRAMS_MAX {
            self.spare.push(pieces);
        }
    }

    fn evict_oldest(&mut self, out: &mut Output<H>) {
        if self.datagrams.is_empty() {
            return;
        }
        let mut datagram = self.close(0);
        out.dropped
            .extend(datagram.pieces.drain(..).map(|piece| (DropReason::FragmentTableFull, piece.holder)));
        self.recycle(datagram.pieces);
    }

    /// Drops what there is of a datagram, and remembers to drop the rest until it times out.
    fn poison(&mut self, at: usize, reason: DropReason, out: &mut Output<H>) {
        let Some(datagram) = self.datagrams.get_mut(at) else { return };
        datagram.poisoned = true;
        for piece in datagram.pieces.drain(..) {
            self.held -= piece.held;
            out.dropped.push((reason, piece.holder));
        }
    }
}

/// Refuses a fragment that cannot belong to any datagram.
fn check(span: Span, max: u32) -> Result<(), DropReason> {
    if span.len == 0 || !span.offset.is_multiple_of(8) || (span.more && !span.len.is_multiple_of(8)) {
        return Err(DropReason::FragmentMalformed);
    }
    if u32::from(span.offset) + u32::from(span.len) > max {
        return Err(DropReason::FragmentTooLong);
    }
    Ok(())
}

impl<H> Datagram<H> {
    /// Where among the pieces the fragment belongs.
    ///
    /// Errors: `FragmentDuplicate` for an exact repetition, which harms nothing; anything else ends the
    /// datagram.
    fn place(&self, span: Span) -> Result<usize, DropReason> {
        if self.poisoned {
            return Err(DropReason::FragmentOverlap);
        }
        let end = |span: Span| u32::from(span.offset) + u32::from(span.len);
        let place = self.pieces.partition_point(|piece| piece.span.offset < span.offset);
        let before = place.checked_sub(1).and_then(|place| self.pieces.get(place));
        let behind = self.pieces.get(place);
        if behind.is_some_and(|piece| piece.span == span) {
            return Err(DropReason::FragmentDuplicate);
        }
        let overlaps = before.is_some_and(|piece| end(piece.span) > u32::from(span.offset))
            || behind.is_some_and(|piece| end(span) > u32::from(piece.span.offset));
        // A second end, or bytes beyond the end.
        let contradicts = if span.more {
            self.total.is_some_and(|total| end(span) >= total)
        } else {
            behind.is_some() || self.total.is_some()
        };
        if overlaps || contradicts {
            return Err(DropReason::FragmentOverlap);
        }
        if self.pieces.len() >= FRAGMENTS_MAX {
            return Err(DropReason::FragmentTooMany);
        }
        Ok(place)
    }
}

/// How to cut a payload that exceeds the MTU: the places of its fragments, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    offset: u16,
    len: u16,
    /// Payload of each fragment but the last. Units: bytes, a multiple of eight.
    each: u16,
}

impl Plan {
    /// Cuts `payload_len` bytes for packets of at most `mtu` bytes with headers of twenty.
    ///
    /// A payload that fits gives one span, whole. `None` if it exceeds what a datagram can carry, or the MTU
    /// has no room for eight bytes.
    #[must_use]
    pub fn new(payload_len: usize, mtu: u16) -> Option<Self> {
        let len = u16::try_from(payload_len).ok().filter(|len| u32::from(*len) <= PAYLOAD_MAX)?;
        let room = mtu.checked_sub(20)?;
        Self::of(len, room, room)
    }

    /// The same for IPv6, whose fragments carry a header more.
    #[must_use]
    pub fn new_ipv6(payload_len: usize, mtu: u16) -> Option<Self> {
        let len = u16::try_from(payload_len).ok()?;
        Self::of(len, mtu.checked_sub(40)?, mtu.checked_sub(48)?)
    }

    /// `whole` bytes fit in one packet, and `room` in each of several.
    fn of(len: u16, whole: u16, room: u16) -> Option<Self> {
        let each = if len <= whole { len } else { room & !7 };
        (len == 0 || each > 0).then_some(Self { offset: 0, len, each })
    }
}

impl Iterator for Plan {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let left = self.len - self.offset;
        if left == 0 {
            return None;
        }
        let span = Span { offset: self.offset, len: left.min(self.each), more: left > self.each };
        self.offset += span.len;
        Some(span)
    }
}

/// Identifications for datagrams that may be fragmented.
///
/// Source: RFC 6864 section 4, and RFC 7739 section 5.3: a counter for each hash of the addresses, offset by
/// another hash, so that nobody can guess another pair's. Lanes, which send from the same addresses, share them out.
#[derive(Debug)]
pub struct Identifications {
    hash: KeyedHash,
    counters: Vec<u32>,
    /// Which one of so many in a row is this lane's. A power of two, so that it stays so when numbers wrap.
    lane: u32,
    every: u32,
}

impl Identifications {
    /// Counters: a pair shares its counter with one in so many others. A power of two.
    const COUNTERS: usize = 1024;

    /// Counters under this key, the same for all of so many lanes, for one of them.
    #[must_use]
    pub fn new(hash: KeyedHash, lane: u8, lanes: u8) -> Self {
        let every = u32::from(lanes).next_power_of_two();
        Self { hash, counters: vec![0; Self::COUNTERS], lane: lane.into(), every }
    }

    /// The next identification between these hosts.
    //= https://www.rfc-editor.org/rfc/rfc6864#section-4.3
    //# Sources emitting non-atomic datagrams MUST NOT repeat IPv4 ID values
    //# within one MDL for a given source address/destination
    //# address/protocol tuple.
    pub fn next(&mut self, source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol) -> u16 {
        let [.., a, b] = self.after(self.hash.hash_one((source, destination, protocol))).to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// The next identification of an IPv6 packet between these hosts.
    pub fn next_ipv6(&mut self, source: Ipv6Addr, destination: Ipv6Addr) -> u32 {
        self.after(self.hash.hash_one((source, destination)))
    }

    fn after(&mut self, hash: u64) -> u32 {
        let [a, b, c, d, .., e, f] = hash.to_be_bytes();
        let offset = u32::from_be_bytes([e, f, a, b]);
        let at = usize::from(u16::from_be_bytes([c, d])) & (Self::COUNTERS - 1);
        let Some(counter) = self.counters.get_mut(at) else { return offset };
        *counter = counter.wrapping_add(1);
        counter.wrapping_mul(self.every).wrapping_add(self.lane).wrapping_add(offset)
    }
}

impl Key {
    /// The datagram that this header's packet is a fragment of.
    #[must_use]
    pub fn of(header: &ipv4::Header) -> Self {
        Self {
            source: IpAddr::V4(header.source),
            destination: IpAddr::V4(header.destination),
            protocol: header.protocol,
            identification: header.identification.into(),
        }
    }

    /// The packet that one with these headers is a fragment of.
    #[must_use]
    pub fn of_ipv6(header: &ipv6::Header, fragment: &ipv6::Fragment) -> Self {
        Self {
            source: IpAddr::V6(header.source),
            destination: IpAddr::V6(header.destination),
            protocol: Protocol::IPV6_FRAGMENT,
            identification: fragment.identification,
        }
    }
}

#[cfg(test)]
mod tests;
