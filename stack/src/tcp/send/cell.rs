//! One range of the send queue: where its bytes are, and what is known of it.

use drivers::Extent;

use super::NONE;
use crate::mode::Key;
use crate::wire::tcp::SeqNum;

/// What is known of a range. Bits of [`Cell::marks`].
pub mod mark {
    /// Was transmitted.
    pub const SENT: u8 = 1 << 0;
    /// The peer has it, says a SACK block.
    pub const SACKED: u8 = 1 << 1;
    /// Taken for lost.
    pub const LOST: u8 = 1 << 2;
    /// Transmitted again since it was taken for lost.
    pub const AGAIN: u8 = 1 << 3;
    /// The last range of its payload.
    pub const LAST: u8 = 1 << 4;
    /// The application wants to hear when the payload is free.
    pub const NOTIFY: u8 = 1 << 5;
    /// The next payload follows at once.
    pub const MORE: u8 = 1 << 6;
    /// Once it was sent: its segment ended there and said PSH.
    pub const PUSHED: u8 = MORE;
    /// Not data: SYN or FIN, one sequence number and no byte.
    pub const CONTROL: u8 = 1 << 7;
}

/// Where a range's bytes are.
#[derive(Debug)]
pub enum Data {
    /// Nowhere: SYN and FIN have none.
    None,
    /// Beside the cell: see [`Cells::text`](super::Cells::text).
    Inline,
    /// In memory that frames can refer to.
    Extent(Extent),
}

/// One range.
#[derive(Debug)]
#[repr(align(64))]
pub struct Cell {
    /// Where the bytes are.
    pub data: Data,
    /// The range behind, or [`NONE`].
    pub next: u32,
    /// The first sequence number behind the range.
    pub end: SeqNum,
    /// Sequence numbers in the range.
    pub len: u32,
    /// When it was last transmitted. Units: microseconds.
    pub sent_us: u32,
    /// The payload it belongs to.
    pub key: Key,
    /// What is known of it.
    pub marks: u8,
    /// How often it was transmitted again.
    pub retransmits: u8,
    /// Where its completion goes.
    pub queue: u8,
}

const _: () = assert!(size_of::<Cell>() == 64);

impl Cell {
    #[inline]
    pub(super) fn new(data: Data, end: SeqNum, len: u32, key: Key) -> Cell {
        Cell { data, next: NONE, end, len, sent_us: 0, key, marks: 0, retransmits: 0, queue: 0 }
    }

    /// The first sequence number of the range.
    #[inline]
    pub fn start(&self) -> SeqNum {
        self.end - self.len
    }

    /// Every mark of `marks` is set.
    #[inline]
    pub fn is(&self, marks: u8) -> bool {
        self.marks & marks == marks
    }

    /// Some mark of `marks` is set.
    #[inline]
    pub fn any(&self, marks: u8) -> bool {
        self.marks & marks != 0
    }

    /// Bytes of payload in the range.
    #[inline]
    pub fn payload_len(&self) -> u32 {
        if self.is(mark::CONTROL) { 0 } else { self.len }
    }
}
