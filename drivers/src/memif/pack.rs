//! From frames to the buffers of a memif ring: segments are gathered, and checksums filled in as the bytes are copied.

use super::ring::Outgoing;
use super::sums::{Sum, checksum_at};
use crate::frame::{Frame, Offload, Transport};

/// How far ahead buffers are asked for.
const AHEAD: u16 = 4;

/// Bytes of the most common headers in front of TCP's: Ethernet's and IPv4's.
const COMMON: usize = 14 + 20;

/// Buffers of a ring that are being filled for the peer.
pub(super) struct Filler<'r> {
    ring: &'r mut Outgoing,
    room: u16,
    filled: u16,
}

/// What came of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packed {
    /// It is in the ring.
    Whole { bytes: usize },
    /// The ring is full.
    Later,
    /// It never will be: longer than the link carries or the peer has room for, or its headers are not where it says.
    Refused,
}

/// A packet's checksum, filled in as it is copied.
#[derive(Clone, Copy)]
struct Fill {
    /// Where what it covers begins; in the headers.
    start: usize,
    /// Where it goes.
    field: usize,
    udp: bool,
}

impl<'r> Filler<'r> {
    pub fn new(ring: &'r mut Outgoing, wanted: usize) -> Filler<'r> {
        let room = ring.room(u16::try_from(wanted).unwrap_or(u16::MAX));
        ring.expect(AHEAD);
        Filler { ring, room, filled: 0 }
    }

    /// Gives the peer what was filled. True: it wants to be woken.
    pub fn publish(self) -> bool {
        self.filled > 0 && self.ring.publish(self.filled)
    }

    /// Puts a frame into the ring.
    #[inline]
    pub fn pack(&mut self, frame: &Frame, frame_bytes_max: usize) -> Packed {
        let (head, bytes) = (frame.bytes(), frame.total_len());
        let offload = frame.offload();
        let fill = offload.as_ref().and_then(Fill::of);
        let is_cut = offload.is_some_and(|offload| offload.segment_bytes > 0);
        if bytes > frame_bytes_max || is_cut || fill.is_some_and(|fill| fill.field + 2 > head.len()) {
            return Packed::Refused;
        }
        self.place(head, frame.behind(), bytes, fill)
    }

    /// `head`: the first segment, with all headers.
    #[inline]
    fn place<'f>(
        &mut self,
        head: &[u8],
        rest: impl Iterator<Item = &'f [u8]>,
        total: usize,
        fill: Option<Fill>,
    ) -> Packed {
        if self.filled >= self.room {
            return Packed::Later;
        }
        if self.filled + AHEAD < self.room {
            self.ring.expect_ahead(self.filled + AHEAD);
        }
        let Some(buffer) = self.ring.buffer(self.filled) else {
            // The peer has no memory where it says: what is meant for it is lost.
            self.ring.fill(self.filled, 0, false);
            self.filled += 1;
            return Packed::Refused;
        };
        if buffer.len() < total {
            return self.chain(head, rest, fill);
        }
        match fill {
            None => {
                buffer.copy_in(0, head);
                let mut at = head.len();
                for piece in rest {
                    buffer.copy_in(at, piece);
                    at += piece.len();
                }
            }
            Some(fill) => {
                let mut sum = Sum::default();
                match head.split_first_chunk::<COMMON>() {
                    // Of a length that the compiler knows: two loads and two stores.
                    Some((front, rest)) if fill.start == COMMON => {
                        buffer.copy_in(0, front);
                        sum.copy_in(buffer, COMMON, rest);
                    }
                    _ => {
                        buffer.copy_in(0, &head[..fill.start]);
                        sum.copy_in(buffer, fill.start, &head[fill.start..]);
                    }
                }
                let mut at = head.len();
                for piece in rest {
                    sum.copy_in(buffer, at, piece);
                    at += piece.len();
                }
                buffer.copy_in(fill.field, &fill.value(sum).to_ne_bytes());
            }
        }
        self.ring.fill(self.filled, total, false);
        self.filled += 1;
        Packed::Whole { bytes: total }
    }

    /// The same into several buffers, where the peer's are short.
    #[cold]
    fn chain<'f>(&mut self, head: &[u8], rest: impl Iterator<Item = &'f [u8]>, fill: Option<Fill>) -> Packed {
        let mut packet = head.to_vec();
        rest.for_each(|piece| packet.extend_from_slice(piece));
        if let Some(fill) = fill {
            let mut sum = Sum::default();
            sum.add(&packet[fill.start..]);
            packet[fill.field..fill.field + 2].copy_from_slice(&fill.value(sum).to_ne_bytes());
        }
        // How long each is, is asked once: the peer may say something else the next time.
        let mut parts = Vec::new();
        let mut left = packet.as_slice();
        while !left.is_empty() {
            let at = self.filled + u16::try_from(parts.len()).unwrap_or(u16::MAX);
            if at >= self.room {
                // More may be free than was needed so far.
                self.room = self.ring.room(u16::MAX);
            }
            if at >= self.room {
                // Not even an empty ring has room for it: it would keep all others waiting.
                let never = self.filled == 0 && self.room == self.ring.size();
                return if never { Packed::Refused } else { Packed::Later };
            }
            let Some(buffer) = self.ring.buffer(at).filter(|buffer| buffer.len() > 0) else {
                return Packed::Refused;
            };
            let (here, behind) = left.split_at(left.len().min(buffer.len()));
            buffer.copy_in(0, here);
            parts.push(here.len());
            left = behind;
        }
        let last = parts.len().saturating_sub(1);
        for (number, length) in parts.into_iter().enumerate() {
            self.ring.fill(self.filled, length, number < last);
            self.filled += 1;
        }
        Packed::Whole { bytes: packet.len() }
    }
}

impl Fill {
    /// `None`: nothing is to be filled in.
    #[inline]
    fn of(offload: &Offload) -> Option<Fill> {
        let udp = offload.checksums.transport? == Transport::Udp;
        let start = usize::from(offload.link_bytes) + usize::from(offload.network_bytes);
        Some(Fill { start, field: start + checksum_at(udp), udp })
    }

    /// What goes into the field: the sum took what was there, the pseudo-header's, along.
    #[inline]
    fn value(self, sum: Sum) -> u16 {
        match !sum.fold() {
            // RFC 768: zero would say that there is none.
            0 if self.udp => 0xffff,
            value => value,
        }
    }
}
