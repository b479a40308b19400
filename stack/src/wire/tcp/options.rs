//! TCP options: those we know, as values, in the order in which we send them.
//! Negotiating them is up to `crate::tcp`.

use super::SeqNum;
use crate::wire::NoRoom;

/// Room for options in a header. Units: bytes. The data offset's four bits allow no more.
pub const OPTIONS_LEN_MAX: usize = 40;
/// Most SACK blocks that fit, without timestamps (RFC 2018 section 3).
pub const SACK_BLOCKS_MAX: usize = 4;
/// The largest shift.
//= https://www.rfc-editor.org/rfc/rfc7323#section-2.3
//# the shift count MUST be limited to 14
pub const WINDOW_SCALE_MAX: u8 = 14;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// One range of sequence numbers that arrived.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct SackBlock {
    /// The first number of the block.
    pub left: SeqNum,
    /// The first number behind the block.
    pub right: SeqNum,
}

/// Up to four SACK blocks, in their order on the wire.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct SackBlocks {
    blocks: [SackBlock; SACK_BLOCKS_MAX],
    len: u8,
}

/// What the options of a segment say.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Options {
    /// The largest segment the sender takes; only with SYN.
    pub mss: Option<u16>,
    /// The shift for the sender's windows, 0 to 14; only with SYN.
    pub window_scale: Option<u8>,
    /// The sender understands SACK; only with SYN.
    pub sack_permitted: bool,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// What arrived beyond the acknowledgement.
    pub sack: SackBlocks,
}

impl SackBlocks {
    /// No block.
    pub const NONE: Self = Self { blocks: [SackBlock { left: SeqNum(0), right: SeqNum(0) }; 4], len: 0 };

    /// Adds a block behind the others; false, and not added, if there are four already.
    pub fn push(&mut self, left: SeqNum, right: SeqNum) -> bool {
        let Some(block) = self.blocks.get_mut(usize::from(self.len)) else { return false };
        *block = SackBlock { left, right };
        self.len += 1;
        true
    }

    /// The blocks.
    #[must_use]
    pub fn as_slice(&self) -> &[SackBlock] {
        self.blocks.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Options {
    /// No option.
    pub const NONE: Self = Self {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        sack: SackBlocks::NONE,
    };

    /// Length when emitted, padding included. Units: bytes, a multiple of four, at most 40.
    #[must_use]
    pub fn len(&self) -> usize {
        let others = self.len_without_sack();
        match self.sack_blocks_emitted() {
            0 => others,
            blocks => others + 4 + 8 * blocks,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// How many SACK blocks fit beside the other options: three beside timestamps, else four.
    #[must_use]
    pub fn sack_blocks_emitted(&self) -> usize {
        let room = OPTIONS_LEN_MAX.saturating_sub(self.len_without_sack() + 4) / 8;
        self.sack.len().min(room)
    }

    fn len_without_sack(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += 12;
        } else if self.sack_permitted {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        len
    }

    /// Reads options. What is malformed ends the reading; what came before it counts.
    ///
    /// `syn` says that the segment has SYN: MSS, window scale and SACK-permitted mean nothing without.
    #[must_use]
    pub(super) fn parse(bytes: &[u8], syn: bool) -> Self {
        // The common shape: nop, nop, timestamps and nothing else.
        if let (Some(&[NOP, NOP, TIMESTAMPS, 10, a, b, c, d, e, f, g, h]), 12) =
            (bytes.first_chunk::<12>(), bytes.len())
        {
            let timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            return Self { timestamps, ..Self::NONE };
        }
        // What Linux and this stack say with SYN, where nothing is left out.
        if syn
            && let (
                &[
                    [MSS, 4, m, n],
                    [SACK_PERMITTED, 2, TIMESTAMPS, 10],
                    value,
                    echo,
                    [NOP, WINDOW_SCALE, 3, shift],
                ],
                [],
            ) = bytes.as_chunks::<4>()
        {
            return Self {
                mss: Some(u16::from_be_bytes([m, n])),
                window_scale: Some(shift.min(WINDOW_SCALE_MAX)),
                sack_permitted: true,
                timestamps: Some((u32::from_be_bytes(value), u32::from_be_bytes(echo))),
                sack: SackBlocks::NONE,
            };
        }
        Self::parse_any(bytes, syn)
    }

    fn parse_any(mut rest: &[u8], syn: bool) -> Self {
        let mut options = Self::NONE;
        while let Some((&kind, tail)) = rest.split_first() {
            //= https://www.rfc-editor.org/rfc/rfc9293#section-3.1
            //# A TCP implementation MUST be able to receive a TCP Option in any
            //# segment (MUST-5).
            match kind {
                END => break,
                NOP => rest = tail,
                _ => {
                    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.1
                    //# TCP implementations MUST be prepared to handle an illegal
                    //# option length (e.g., zero);
                    let Some(&len) = tail.first() else { break };
                    let Some((option, behind)) = rest.split_at_checked(usize::from(len)) else { break };
                    let Some((_, value)) = option.split_first_chunk::<2>() else { break };
                    options.take(kind, value, syn);
                    rest = behind;
                }
            }
        }
        options
    }

    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.1
    //# A TCP implementation MUST (MUST-6) ignore without error any TCP
    //# Option it does not implement, assuming that the option has a length
    //# field.
    fn take(&mut self, kind: u8, value: &[u8], syn: bool) {
        match (kind, value) {
            (MSS, &[a, b]) if syn => self.mss = Some(u16::from_be_bytes([a, b])),
            //= https://www.rfc-editor.org/rfc/rfc7323#section-2.3
            //# If a Window Scale option is received with a shift.cnt value larger
            //# than 14, the TCP SHOULD log the error but MUST use 14 instead of
            //# the specified value.
            (WINDOW_SCALE, &[shift]) if syn => self.window_scale = Some(shift.min(WINDOW_SCALE_MAX)),
            (SACK_PERMITTED, &[]) if syn => self.sack_permitted = true,
            (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                self.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            }
            (SACK, value) if value.len().is_multiple_of(8) => {
                self.sack = SackBlocks::NONE;
                for &[a, b, c, d, e, f, g, h] in value.as_chunks::<8>().0 {
                    let left = SeqNum(u32::from_be_bytes([a, b, c, d]));
                    self.sack.push(left, SeqNum(u32::from_be_bytes([e, f, g, h])));
                }
            }
            _ => {}
        }
    }

    /// Fills `out`, `len()` bytes, in the order that most hosts use, aligned to words; `add` sees each.
    #[inline(always)]
    pub(super) fn emit(&self, out: &mut [u8], add: impl FnMut(u32)) -> Result<(), NoRoom> {
        let mut out = Words { out, add };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            out.put([MSS, 4, a, b])?;
        }
        match (self.timestamps, self.sack_permitted) {
            (Some((value, echo)), permitted) => {
                out.put(if permitted {
                    [SACK_PERMITTED, 2, TIMESTAMPS, 10]
                } else {
                    [NOP, NOP, TIMESTAMPS, 10]
                })?;
                out.put(value.to_be_bytes())?;
                out.put(echo.to_be_bytes())?;
            }
            (None, true) => out.put([NOP, NOP, SACK_PERMITTED, 2])?,
            (None, false) => {}
        }
        if let Some(shift) = self.window_scale {
            out.put([NOP, WINDOW_SCALE, 3, shift.min(WINDOW_SCALE_MAX)])?;
        }
        let blocks = self.sack_blocks_emitted();
        if blocks > 0 {
            let len = u8::try_from(2 + 8 * blocks).map_err(|_| NoRoom)?;
            out.put([NOP, NOP, SACK, len])?;
            for block in self.sack.as_slice().iter().take(blocks) {
                out.put(block.left.0.to_be_bytes())?;
                out.put(block.right.0.to_be_bytes())?;
            }
        }
        Ok(())
    }
}

/// The part of the header not yet written, and who sees what is.
struct Words<'a, F> {
    out: &'a mut [u8],
    add: F,
}

impl<F: FnMut(u32)> Words<'_, F> {
    fn put(&mut self, word: [u8; 4]) -> Result<(), NoRoom> {
        let (front, rest) = core::mem::take(&mut self.out).split_first_chunk_mut::<4>().ok_or(NoRoom)?;
        *front = word;
        (self.add)(u32::from_be_bytes(word));
        self.out = rest;
        Ok(())
    }
}
