//! Checksums on the way through a memif ring: bytes are summed as they are copied, so that neither end reads them twice.
//! What the Internet checksum is, is RFC 1071's; the vectors are `sum.rs`'s.

use super::region::Buffer;
use crate::frame::{Checksum, Frame, Verdicts};

/// A one's complement sum of bytes that come piece by piece. It is of words as the machine has them.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    total: u64,
    /// An odd number of bytes is in it: the next is the second half of a word.
    odd: bool,
}

impl Sum {
    /// Copies all of `from` to `to` from `at` on, and adds it.
    #[inline]
    pub fn copy_in(&mut self, to: Buffer<'_>, at: usize, from: &[u8]) {
        self.add_piece(to.sum_in(at, from), from.len());
    }

    /// Copies from `from`, from `at` on, as many bytes as `to` has room for, and adds them.
    #[inline]
    pub fn copy_out(&mut self, from: Buffer<'_>, at: usize, to: &mut [u8]) {
        self.add_piece(from.sum_out(at, to), to.len());
    }

    /// Adds bytes that stay where they are.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let (longs, behind) = bytes.as_chunks::<8>();
        let sum = longs.iter().map(|long| u64::from_ne_bytes(*long)).fold(0, add);
        // What is left fills up with zeros, as RFC 1071 has it.
        let mut last = [0; 8];
        last[..behind.len()].copy_from_slice(behind);
        self.add_piece(add(sum, u64::from_ne_bytes(last)), bytes.len());
    }

    #[inline]
    fn add_piece(&mut self, sum: u64, bytes: usize) {
        let piece = fold(sum);
        let piece = if self.odd { piece.swap_bytes() } else { piece };
        self.total += u64::from(piece);
        self.odd ^= bytes % 2 == 1;
    }

    /// Adds a number of 16 bits that a header would carry.
    #[inline]
    pub fn add_word(&mut self, word: u16) {
        self.total += u64::from(word.to_be());
    }

    /// The sum, as it lies in memory.
    #[inline]
    pub fn fold(self) -> u16 {
        fold(self.total)
    }
}

#[inline]
fn add(sum: u64, long: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(long);
    sum + u64::from(carry)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the upper half is zero by then")]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Where what a packet's checksum covers lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Covered {
    /// Bytes of the frame in front of the transport's header.
    start: usize,
    /// Bytes of the transport's header and what it carries.
    length: u16,
    /// Where the IP addresses are.
    addresses: (usize, usize),
    protocol: u8,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Bytes of Ethernet's header and IPv4's without options; of Ethernet's and IPv6's.
const IPV4: usize = 14 + 20;
const IPV6: usize = 14 + 40;

/// Copies a frame of `buffer` to `to`, which has as many bytes, and says whether its checksums were looked at and right.
/// One that is wrong the stack finds wrong itself.
#[inline]
pub(super) fn copy_verified(buffer: Buffer<'_>, to: &mut [u8]) -> bool {
    let covered = match to.first_chunk_mut::<IPV4>() {
        Some(head) => {
            buffer.copy_out(0, head);
            covered(buffer, to)
        }
        None => None,
    };
    let Some(covered) = covered else {
        buffer.copy_out(0, to);
        return false;
    };
    let Covered { start, length, addresses, protocol } = covered;
    let end = start + usize::from(length);
    let mut sum = Sum::default();
    sum.add(&to[addresses.0..addresses.1]);
    sum.add_word(u16::from(protocol));
    sum.add_word(length);
    sum.copy_out(buffer, start, &mut to[start..end]);
    // What fills a short frame up is in no sum.
    if end < to.len() {
        buffer.copy_out(end, &mut to[end..]);
    }
    let says_none = protocol == UDP && to[start + 6..start + 8] == [0, 0];
    sum.fold() == 0xffff && !says_none
}

/// Reads the headers of a frame of which the first bytes are in `to`; those of IPv6 are copied there too. `None`: another
/// shape, or an IPv4 header whose own checksum is wrong.
#[inline]
fn covered(buffer: Buffer<'_>, to: &mut [u8]) -> Option<Covered> {
    let head: [u8; IPV4] = *to.first_chunk()?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let covered = match half(12) {
        0x0800 => {
            let mut header = Sum::default();
            header.add(&head[14..IPV4]);
            // Version, no options; neither a fragment's offset nor more to come.
            let plain = head[14] == 0x45 && half(20) & 0x3fff == 0 && header.fold() == 0xffff;
            let length = half(16).checked_sub(20).filter(|_| plain)?;
            Covered { start: IPV4, length, addresses: (26, IPV4), protocol: head[23] }
        }
        0x86dd => {
            buffer.copy_out(IPV4, to.get_mut(IPV4..IPV6)?);
            (head[14] >> 4 == 6).then_some(())?;
            Covered { start: IPV6, length: half(18), addresses: (22, IPV6), protocol: head[20] }
        }
        _ => return None,
    };
    let least = match covered.protocol {
        TCP => 20,
        UDP => 8,
        _ => return None,
    };
    let fits = covered.length >= least && covered.start + usize::from(covered.length) <= to.len();
    fits.then_some(covered)
}

/// Says of a frame that the port has looked at its checksums, and they are right.
#[inline]
pub(super) fn mark_verified(frame: &mut Frame) {
    frame.set_verdicts(Verdicts { ip: Checksum::Good, transport: Checksum::Good });
}

/// Bytes of a transport's header up to its checksum.
#[inline]
pub(super) fn checksum_at(udp: bool) -> usize {
    if udp { 6 } else { 16 }
}
