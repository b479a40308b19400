//! Segments of one flow that leave as one frame, for a port that cuts it into them again. What each says is decided
//! one by one in `tcp::output`, as for any port: TCP counts segments, never frames.

use drivers::{Capabilities, Frame};

use crate::tcp::isn::Tuple;
use crate::tcp::output::Emit;
use crate::wire::tcp::{Flags, Segment};

/// Least payload of a segment that a port is asked to cut: Intel's X710 takes none below 256 bytes, and less is not
/// worth the trouble.
const SEGMENT_BYTES_MIN: u32 = 512;

/// A frame under construction.
#[derive(Debug)]
pub struct Bundle {
    /// The payload so far.
    pub frame: Frame,
    /// The first segment's header, with the last one's flags.
    pub segment: Segment,
    /// The way.
    pub path: u16,
    /// The ends.
    pub tuple: Tuple,
    /// The ECN field of each IP header.
    pub field: u8,
    /// The time to live or hop limit of each; zero: the port's.
    pub hop_limit: u8,
    /// Routers may cut its packets.
    pub fragment: bool,
    /// Payload of each segment but the last.
    each: u32,
    len: u32,
    open: bool,
}

impl Bundle {
    /// A bundle of one segment, whose payload `frame` holds.
    pub fn new(frame: Frame, emit: &Emit, path: u16, tuple: Tuple, port: &Capabilities) -> Bundle {
        let open = Bundle::opens(emit, port);
        let Emit { segment, field, hop_limit, fragment, len, .. } = *emit;
        Bundle { frame, segment, path, tuple, field, hop_limit, fragment, each: len, len, open }
    }

    /// Other segments might join this one.
    #[inline]
    pub fn opens(emit: &Emit, port: &Capabilities) -> bool {
        let cuts = port.segmentation_max > 0 && port.transmit_tcp_checksum;
        // Packets that routers may cut need numbers of their own, which not every port gives them.
        cuts && !emit.fragment && emit.len >= SEGMENT_BYTES_MIN && emit.segment.flags == Flags::ACK
    }

    /// Another segment might join.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The port could make `emit` out of the bundle's header, and the frame has room for its `ranges`.
    pub fn takes(&self, emit: &Emit, ranges: usize, port: &Capabilities) -> bool {
        let expected =
            Segment { seq: self.segment.seq + self.len, flags: emit.segment.flags, ..self.segment };
        // The port leaves PSH to the last, and gives all other flags to each. FIN it should leave to the last as well,
        // but QEMU's igb drops both, and a FIN that gets lost costs a time-out: it goes by itself.
        let flags = emit.segment.flags.without(Flags::PSH);
        // A range takes a segment of the frame, or where it must be copied perhaps two.
        let segments = self.frame.segment_count() + 2 * ranges;
        self.open
            && (1..=self.each).contains(&emit.len)
            && emit.segment == expected
            && emit.field == self.field
            && flags == Flags::ACK
            && self.len + emit.len <= port.segmentation_max
            && segments <= port.segments_max
    }

    /// `emit`, whose payload has been put behind the others, is the last so far.
    pub fn add(&mut self, emit: &Emit) {
        self.len += emit.len;
        self.segment.flags = emit.segment.flags;
        self.open = emit.len == self.each && emit.segment.flags == Flags::ACK;
    }

    /// Payload of each segment, for the port; zero if there is nothing to cut. Units: bytes.
    pub fn segment_bytes(&self) -> u16 {
        if self.len > self.each { u16::try_from(self.each).unwrap_or(0) } else { 0 }
    }
}
