//! The Internet checksum of RFC 1071: whole, incremental, over segments, with pseudo-headers.
//! What is summed by vectors, of long payloads, is in `drivers`; the rest needs no `unsafe`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A running ones' complement sum.
///
/// Bytes are added as if each slice followed the one before, also when that one's length was odd.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Checksum {
    /// Sum of big-endian 16-bit words; folded on the way so that it cannot overflow.
    sum: u32,
    /// An odd number of bytes was added so far: the next one is the low half of a word.
    odd: bool,
}

/// What to put in a checksum field when emitting.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Fill {
    /// Zero: the NIC computes all of it, or (UDP over IPv4) there is none.
    Zero,
    /// The sum of the pseudo-header, not complemented: the NIC adds header and payload.
    Partial(Checksum),
    /// The finished checksum; this is the sum of everything but the header: pseudo-header and payload.
    Full(Checksum),
}

/// How to check a received checksum.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Verify {
    /// Already found good, by the NIC or by whoever summed a chain of segments.
    Trusted,
    /// Adding the given bytes to this sum must give all ones: the pseudo-header's, and for a chain of
    /// segments the rest's (`Checksum::behind` the given bytes).
    Sum(Checksum),
}

/// What lies behind the given bytes, in other segments of a chain.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Tail {
    /// Its length. Units: bytes.
    pub len: usize,
    /// Its sum, as if it started at an even offset.
    pub sum: Checksum,
}

impl Tail {
    /// Nothing: the bytes are all there is.
    pub const NONE: Self = Self { len: 0, sum: Checksum::ZERO };
}

impl Verify {
    /// Whether `bytes` pass.
    #[must_use]
    pub fn accepts(self, bytes: &[u8]) -> bool {
        match self {
            Self::Trusted => true,
            Self::Sum(sum) => Checksum { odd: false, ..sum }.with(bytes).is_valid(),
        }
    }
}

impl Checksum {
    /// The sum of nothing.
    pub const ZERO: Self = Self { sum: 0, odd: false };

    /// The sum of a pseudo-header for TCP or UDP over IPv4.
    ///
    /// Units: `len` is the transport header and its payload, in bytes.
    #[inline]
    #[must_use]
    pub fn pseudo_ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: u16) -> Self {
        let addresses = u64::from(u32::from(source)) + u64::from(u32::from(destination));
        let sum = addresses + u64::from(protocol) + u64::from(len);
        // Of 34 bits at most, so that this has 18: as good as folded.
        #[expect(clippy::cast_possible_truncation, reason = "it has 19 bits at most")]
        Self { sum: ((sum >> 16) + (sum & 0xffff)) as u32, odd: false }
    }

    /// The sum of a pseudo-header for TCP, UDP or ICMPv6 over IPv6.
    ///
    /// Units: `len` is the upper-layer header and its payload, in bytes.
    #[must_use]
    pub fn pseudo_ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: u32) -> Self {
        let mut sum = Self::ZERO;
        sum.add_bytes(&source.octets());
        sum.add_bytes(&destination.octets());
        sum.add_u32(len);
        sum.add_u16(u16::from(protocol));
        sum
    }

    /// The sum of a pseudo-header for either version; `None` if the two addresses differ in version.
    #[must_use]
    pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: u16) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Some(Self::pseudo_ipv4(source, destination, protocol, len))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Some(Self::pseudo_ipv6(source, destination, protocol, u32::from(len)))
            }
            _ => None,
        }
    }

    /// Adds bytes that follow those added before.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add_part(sum_of(bytes), bytes.len());
    }

    /// Copies bytes that follow those added before, and adds them on the way.
    ///
    /// Panics: if `to` is not as long as `from`, as slices do.
    pub fn copy_bytes(&mut self, to: &mut [u8], from: &[u8]) {
        let (front, done) = drivers::copy_front(to, from);
        let behind = &from[done..];
        to[done..].copy_from_slice(behind);
        self.add_part(sum_behind(front, behind), from.len());
    }

    #[inline]
    fn add_part(&mut self, part: u16, len: usize) {
        self.sum = fold_once(self.sum + u32::from(if self.odd { part.swap_bytes() } else { part }));
        self.odd ^= len & 1 == 1;
    }

    /// Adds one word, which must stand at an even offset.
    #[inline]
    pub fn add_u16(&mut self, word: u16) {
        self.sum = fold_once(self.sum + u32::from(word));
    }

    /// Adds two words, which must stand at an even offset.
    #[inline]
    pub fn add_u32(&mut self, word: u32) {
        self.sum = fold_once(self.sum + (word >> 16) + (word & 0xffff));
    }

    /// Adds the sum of bytes that follow those added before: sums of segments are taken apart and combined.
    pub fn append(&mut self, tail: Self) {
        let part = fold(tail.sum);
        self.sum = fold_once(self.sum + u32::from(if self.odd { part.swap_bytes() } else { part }));
        self.odd ^= tail.odd;
    }

    /// This sum as it counts when it stands behind `len` other bytes: swapped if they are odd.
    #[must_use]
    pub const fn behind(self, len: usize) -> Self {
        let part = fold(self.sum);
        let part = if len & 1 == 1 { part.swap_bytes() } else { part };
        Self { sum: part as u32, odd: false }
    }

    /// This sum with `bytes` behind it.
    #[must_use]
    #[inline]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.add_bytes(bytes);
        self
    }

    /// The sum itself, folded, not complemented: what a NIC wants in the field it will finish.
    #[must_use]
    pub const fn partial(self) -> u16 {
        fold(self.sum)
    }

    /// The checksum: the complement of the sum.
    #[must_use]
    pub const fn finish(self) -> u16 {
        !fold(self.sum)
    }

    /// Whether a sum that includes a received checksum field is right.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        fold(self.sum) == 0xffff
    }
}

impl Fill {
    /// The value for the checksum field of this header, whose field is zero now.
    ///
    /// The header has an even length, so it does not matter that it is added behind what follows it.
    #[must_use]
    pub(super) fn value(self, header: &[u8]) -> u16 {
        match self {
            Self::Full(_) => self.value_with(Checksum::ZERO.with(header)),
            Self::Zero | Self::Partial(_) => self.value_with(Checksum::ZERO),
        }
    }

    /// As `value`, with the header's sum.
    ///
    /// Cost: less than `value`, which reads a header back just after it was written in small pieces, and stalls.
    #[must_use]
    pub(super) const fn value_with(self, header: Checksum) -> u16 {
        match self {
            Self::Zero => 0,
            Self::Partial(sum) => sum.partial(),
            Self::Full(sum) => !fold(fold_once(sum.sum + header.sum)),
        }
    }
}

/// The checksum of these bytes alone.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Checksum::ZERO.with(bytes).finish()
}

/// The new checksum after one word of what it covers changes from `old` to `new`.
///
/// Source: RFC 1624 section 3, equation 3, which also holds where the sum is zero.
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold((!checksum) as u32 + (!old) as u32 + new as u32)
}

/// Folds until it fits 16 bits: added to itself with its halves exchanged, the lower half carries into the upper one, which is
/// the sum of both.
const fn fold(sum: u32) -> u16 {
    let [a, b, ..] = sum.wrapping_add(sum.rotate_left(16)).to_be_bytes();
    u16::from_be_bytes([a, b])
}

/// One folding step: at most 0x1_fffe for any input.
const fn fold_once(sum: u32) -> u32 {
    (sum >> 16) + (sum & 0xffff)
}

/// The folded sum of big-endian words; an odd last byte is the high half of a word.
///
/// RFC 1071 section 2 (B) and (C): words may be added in any byte order and the sum swapped once, and wide words
/// may be added and folded in the end. So this adds eight bytes at a time as the machine loads them.
#[inline]
fn sum_of(bytes: &[u8]) -> u16 {
    // Of many bytes, the front by vectors.
    let (front, behind) = drivers::sum_front(bytes);
    sum_behind(front, behind)
}

/// The same of bytes whose front was summed.
fn sum_behind(front: u64, bytes: &[u8]) -> u16 {
    let mut even = front;
    let (pairs, mut rest) = bytes.as_chunks::<16>();
    let mut odd = 0u64;
    for &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] in pairs {
        even = add_with_carry(even, u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        odd = add_with_carry(odd, u64::from_ne_bytes([i, j, k, l, m, n, o, p]));
    }
    if let Some((word, behind)) = rest.split_first_chunk() {
        even = add_with_carry(even, u64::from_ne_bytes(*word));
        rest = behind;
    }
    // The rest, at most 4 + 2 + 1 bytes, needs no carries of its own.
    let mut last = 0u64;
    if let Some((word, behind)) = rest.split_first_chunk() {
        last += u64::from(u32::from_ne_bytes(*word));
        rest = behind;
    }
    if let Some((word, behind)) = rest.split_first_chunk() {
        last += u64::from(u16::from_ne_bytes(*word));
        rest = behind;
    }
    if let Some(byte) = rest.first() {
        last += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    let sum = add_with_carry(add_with_carry(even, odd), last);
    // 64 bits to 33, to 18; `fold` does the rest.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + ((sum >> 16) & 0xffff) + (sum & 0xffff);
    let [_, _, _, _, a, b, c, d] = sum.to_be_bytes();
    u16::from_be(fold(u32::from_be_bytes([a, b, c, d])))
}

#[inline]
fn add_with_carry(sum: u64, word: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(word);
    sum + u64::from(carry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        // Shows the sum of the eight bytes of section 3, and its complement.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Checksum::ZERO.with(&bytes).partial(), 0xddf2);
        assert_eq!(checksum(&bytes), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Shows RFC 1624 section 4: the case in which the older equation gives the other zero.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn nothing_sums_to_all_ones() {
        // Shows both zeros: no bytes, and bytes that add to 0xffff.
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(checksum(&[0xff; 64]), 0);
        assert_eq!(checksum(&[0xff; 65_536]), 0);
    }

    #[test]
    fn the_ipv6_pseudo_header_is_its_bytes() {
        // Shows that the pseudo-header's sum equals that of the forty bytes of RFC 8200 section 8.1.
        let (a, b): (Ipv6Addr, Ipv6Addr) = ("2001:db8::1".parse().unwrap(), "fe80::2:3".parse().unwrap());
        let mut bytes = Vec::new();
        bytes.extend(a.octets());
        bytes.extend(b.octets());
        bytes.extend(70_000u32.to_be_bytes());
        bytes.extend([0, 0, 0, 6]);
        assert_eq!(Checksum::pseudo_ipv6(a, b, 6, 70_000).finish(), naive(&bytes));
        assert_eq!(Checksum::pseudo(IpAddr::V6(a), IpAddr::V4(Ipv4Addr::LOCALHOST), 6, 1), None);
    }

    proptest! {
        #[test]
        fn equals_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // Shows the wide sum against the definition for every length and content.
            prop_assert_eq!(checksum(&bytes), naive(&bytes));
        }

        #[test]
        fn what_is_copied_is_added(parts in prop::collection::vec((0u8.., 0usize..2000), 0..5)) {
            // Shows of pieces of any lengths, odd too, that they are copied whole, and that the sum is that of the whole.
            let byte = |seed: &u8, at: usize| (at * 31).to_le_bytes()[0] ^ seed;
            let parts: Vec<Vec<u8>> =
                parts.iter().map(|(seed, len)| (0..*len).map(|at| byte(seed, at)).collect()).collect();
            let mut sum = Checksum::ZERO;
            for part in &parts {
                let mut copy = vec![0; part.len()];
                sum.copy_bytes(&mut copy, part);
                prop_assert_eq!(&copy, part);
            }
            prop_assert_eq!(sum.finish(), naive(&parts.concat()));
        }

        #[test]
        fn segments_combine(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
            // Shows that sums over segments of any lengths, odd too, combine to the sum of the whole.
            let whole: Vec<u8> = parts.concat();
            let (mut running, mut appended) = (Checksum::ZERO, Checksum::ZERO);
            for part in &parts {
                running.add_bytes(part);
                appended.append(Checksum::ZERO.with(part));
            }
            prop_assert_eq!(running.finish(), naive(&whole));
            prop_assert_eq!(appended, running);
            if let [first, second, ..] = parts.as_slice() {
                let turned = Checksum::ZERO.with(second).behind(first.len()).with(first);
                prop_assert_eq!(turned.finish(), naive(&[first.as_slice(), second].concat()));
            }
        }

        #[test]
        fn update_equals_a_new_sum(mut bytes in prop::collection::vec(any::<u8>(), 2..64), new: u16) {
            // Shows that the incremental update accepts where a new sum over the changed bytes does.
            if bytes.len() % 2 == 1 { bytes.pop(); }
            bytes.extend([1, 2]);
            let before = checksum(&bytes);
            let old = u16::from_be_bytes([bytes[0], bytes[1]]);
            bytes[..2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), checksum(&bytes));
        }
    }
}
