//! Names of sockets, lanes, queues and ops. Plain words without lifetimes: a stale one is an error, never a danger.

use core::fmt;

/// One lane of this runtime: one core, one NIC queue pair, its own sockets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LaneId(pub u8);

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

/// Names one socket for its whole life.
///
/// It outlives its socket harmlessly: used later it fails with `StaleHandle`, on another lane with `WrongLane`.
///
/// Shape: slot (24 bits), lane (8), generation (32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(u64);

impl SocketId {
    /// Most sockets of a lane.
    pub const SLOTS_MAX: usize = 1 << 24;

    /// The socket in `slot` of `lane`, in that slot's `generation`-th life.
    pub(crate) fn new(lane: LaneId, slot: u32, generation: u32) -> SocketId {
        debug_assert!((slot as usize) < Self::SLOTS_MAX);
        SocketId(u64::from(generation) << 32 | u64::from(lane.0) << 24 | u64::from(slot))
    }

    /// The slot: dense from zero, so that state per socket can live in an array.
    #[inline]
    pub fn index(self) -> usize {
        self.slot() as usize
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        (self.0 & 0xff_ffff) as u32
    }

    /// The lane the socket lives on.
    #[inline]
    pub fn lane(self) -> LaneId {
        #[expect(clippy::cast_possible_truncation, reason = "the field is eight bits wide")]
        let lane = (self.0 >> 24) as u8;
        LaneId(lane)
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The handle as one word, for C and for shared memory.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// A handle from a word. Any value is well-formed; a wrong one is merely stale.
    pub fn from_bits(bits: u64) -> Self {
        SocketId(bits)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.lane().0, self.slot(), self.generation())
    }
}

macro_rules! typed_handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub(crate) SocketId);

        impl From<$name> for SocketId {
            fn from(handle: $name) -> SocketId {
                handle.0
            }
        }
    };
}

typed_handle! {
    /// A socket that accepts connections.
    Listener
}
typed_handle! {
    /// A TCP connection.
    Stream
}
typed_handle! {
    /// A UDP socket.
    Udp
}

/// The application's own word on an op. It comes back on each of the op's completions and is never interpreted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tag(pub u64);

/// A completion queue of one lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueueId {
    pub(crate) index: u8,
    pub(crate) lane: u8,
}

impl QueueId {
    /// The queue every lane has from the start; ops that name none report to it.
    pub const MAIN: QueueId = QueueId { index: 0, lane: u8::MAX };

    /// Most queues of a lane.
    pub const QUEUES_MAX: usize = 255;
}

impl Default for QueueId {
    fn default() -> Self {
        QueueId::MAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_keeps_its_three_parts() {
        // Shows that slot, lane and generation survive packing, at their edges too, and the trip through raw bits.
        for (lane, slot, generation) in [(0, 0, 0), (255, 0xff_ffff, u32::MAX), (7, 12_345, 99)] {
            let id = SocketId::from_bits(SocketId::new(LaneId(lane), slot, generation).to_bits());
            assert_eq!((id.lane().0, id.slot(), id.generation()), (lane, slot, generation));
        }
    }
}
