//! TCP headers: a segment's fields as a valid value. Options are in `options`, sequence numbers in `seq`.
//! What a segment means to a connection is decided in `crate::tcp`.

mod options;
mod seq;

pub use options::{OPTIONS_LEN_MAX, Options, SACK_BLOCKS_MAX, SackBlock, SackBlocks, WINDOW_SCALE_MAX};
pub use seq::SeqNum;

use super::{Checksum, DropReason, Fill, NoRoom, Verify};
use core::ops::{BitAnd, BitOr, BitOrAssign};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

/// Length of the longest header, in bytes.
pub const HEADER_LEN_MAX: usize = HEADER_LEN + OPTIONS_LEN_MAX;

/// Where the checksum lies in the header, in bytes: what a NIC that fills it in wants to know.
pub const CHECKSUM_OFFSET: usize = 16;

/// The control bits, as they lie in the header.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Default)]
pub struct Flags(pub u8);

/// A valid TCP header; its payload lies behind it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Segment {
    /// The sender's port, never zero.
    pub source_port: u16,
    /// The receiver's port, never zero.
    pub destination_port: u16,
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK: meaningful if `Flags::ACK` is set.
    pub ack: SeqNum,
    /// The control bits.
    pub flags: Flags,
    /// SEG.WND as it stands in the header, not scaled.
    pub window: u16,
    /// SEG.UP: meaningful if `Flags::URG` is set.
    pub urgent: u16,
    /// What the options say.
    pub options: Options,
    /// As received, with options. Units: bytes. Not used to emit.
    pub header_len: u8,
}

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement field is meaningful.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is meaningful.
    pub const URG: Self = Self(0x20);
    /// ECN echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);
    /// No bit.
    pub const NONE: Self = Self(0);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These bits without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl BitAnd for Flags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Segment {
    /// A segment without options, with a window of zero.
    #[must_use]
    pub const fn new(
        source_port: u16,
        destination_port: u16,
        seq: SeqNum,
        ack: SeqNum,
        flags: Flags,
    ) -> Self {
        Self {
            source_port,
            destination_port,
            seq,
            ack,
            flags,
            window: 0,
            urgent: 0,
            options: Options::NONE,
            header_len: 20,
        }
    }

    /// Length of this header when emitted, options included, in bytes.
    #[must_use]
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// SEG.LEN: how much sequence space the segment takes with `payload_len` bytes of payload.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.4
    //# SEG.LEN =  the number of octets occupied by the data in the segment
    //# (counting SYN and FIN)
    #[must_use]
    pub fn seq_len(&self, payload_len: u32) -> u32 {
        payload_len + u32::from(self.flags.contains(Flags::SYN)) + u32::from(self.flags.contains(Flags::FIN))
    }

    /// Writes the header into the first `header_len()` bytes.
    ///
    /// SACK blocks beyond what fits beside the other options are left out; `header_len()` knows.
    ///
    /// Errors: `NoRoom` if `out` is shorter; what it holds then is undefined.
    pub fn emit(&self, out: &mut [u8], fill: Fill) -> Result<(), NoRoom> {
        let header_len = self.header_len();
        let out = out.get_mut(..header_len).ok_or(NoRoom)?;
        let (fixed, options) = out.split_first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
        let [a, b] = self.source_port.to_be_bytes();
        let [c, d] = self.destination_port.to_be_bytes();
        let [e, f, g, h] = self.seq.0.to_be_bytes();
        let [i, j, k, l] = self.ack.0.to_be_bytes();
        // At most 60 bytes, so at most fifteen words.
        let words = u8::try_from(header_len / 4).map_err(|_| NoRoom)?;
        let [m, n] = self.window.to_be_bytes();
        let [o, p] = self.urgent.to_be_bytes();
        let mut sum = Checksum::ZERO;
        if let Fill::Full(_) = fill {
            self.options.emit(options, |word| sum.add_u32(word))?;
            for word in [self.source_port, self.destination_port, self.window, self.urgent] {
                sum.add_u16(word);
            }
            sum.add_u32(self.seq.0);
            sum.add_u32(self.ack.0);
            sum.add_u16(u16::from_be_bytes([words << 4, self.flags.0]));
        } else {
            self.options.emit(options, |_| {})?;
        }
        let [q, r] = fill.value_with(sum).to_be_bytes();
        *fixed = [a, b, c, d, e, f, g, h, i, j, k, l, words << 4, self.flags.0, m, n, q, r, o, p];
        Ok(())
    }
}

/// Reads the header in front of `bytes`; with it comes its length, where the payload starts.
///
/// With `Verify::Sum` the bytes must be the whole segment, or the sum must hold what is not in them.
///
/// Errors: the `Tcp…` reason that fits.
pub fn parse(bytes: &[u8], verify: Verify) -> Result<(Segment, usize), DropReason> {
    let (fixed, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(DropReason::TcpTruncated)?;
    let &[a, b, c, d, e, f, g, h, i, j, k, l, offset, flags, m, n, _, _, o, p] = fixed;
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.1
    //# The TCP checksum is never optional.  The sender MUST generate it
    //# (MUST-2) and the receiver MUST check it (MUST-3).
    if !verify.accepts(bytes) {
        return Err(DropReason::TcpChecksum);
    }
    let header_len = (offset >> 4) << 2;
    let options_len = usize::from(header_len).checked_sub(HEADER_LEN).ok_or(DropReason::TcpDataOffset)?;
    let options = rest.get(..options_len).ok_or(DropReason::TcpDataOffset)?;
    let flags = Flags(flags);
    let segment = Segment {
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
        seq: SeqNum(u32::from_be_bytes([e, f, g, h])),
        ack: SeqNum(u32::from_be_bytes([i, j, k, l])),
        flags,
        window: u16::from_be_bytes([m, n]),
        urgent: u16::from_be_bytes([o, p]),
        options: Options::parse(options, flags.contains(Flags::SYN)),
        header_len,
    };
    if segment.source_port == 0 || segment.destination_port == 0 {
        return Err(DropReason::TcpPortZero);
    }
    Ok((segment, usize::from(header_len)))
}

#[cfg(test)]
mod tests;
