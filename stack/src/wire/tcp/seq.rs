//! Sequence numbers: 32 bits that wrap round, compared by the shorter way.
//! Windows and states that are made of them live in `crate::tcp`.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A TCP sequence number.
///
/// It has no `Ord`: «less» is not transitive once three numbers go round the circle.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// How far it is from `earlier` forwards to this. Units: bytes of sequence space, modulo 2^32.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How far this lies ahead of `other` (positive) or behind it (negative).
    #[must_use]
    pub const fn distance(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.4
    //# This unsigned arithmetic preserves the relationship of sequence
    //# numbers as they cycle from 2^32 - 1 to 0 again.
    /// Before `other`.
    #[must_use]
    pub const fn lt(self, other: Self) -> bool {
        self.distance(other) < 0
    }

    /// Before `other`, or the same.
    #[must_use]
    pub const fn le(self, other: Self) -> bool {
        self.distance(other) <= 0
    }

    /// Behind `other`.
    #[must_use]
    pub const fn gt(self, other: Self) -> bool {
        self.distance(other) > 0
    }

    /// Behind `other`, or the same.
    #[must_use]
    pub const fn ge(self, other: Self) -> bool {
        self.distance(other) >= 0
    }

    /// Whether it is one of the `len` numbers from `start` on.
    #[must_use]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.since(start) < len
    }

    /// The later of the two.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of the two.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.gt(other) { other } else { self }
    }
}

impl Add<u32> for SeqNum {
    type Output = Self;
    fn add(self, len: u32) -> Self {
        Self(self.0.wrapping_add(len))
    }
}

impl AddAssign<u32> for SeqNum {
    fn add_assign(&mut self, len: u32) {
        *self = *self + len;
    }
}

impl Sub<u32> for SeqNum {
    type Output = Self;
    fn sub(self, len: u32) -> Self {
        Self(self.0.wrapping_sub(len))
    }
}

impl fmt::Display for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_is_that_of_the_distance(start: u32, len in 0u32..0x8000_0000) {
            // Shows that what is up to 2^31 - 1 ahead is greater, across the wrap too.
            let (a, b) = (SeqNum(start), SeqNum(start) + len);
            prop_assert_eq!(b.since(a), len);
            prop_assert_eq!(a.lt(b), len > 0);
            prop_assert_eq!(b.gt(a), len > 0);
            prop_assert!(a.le(b) && b.ge(a));
            prop_assert!(!a.lt(a) && !a.gt(a) && a.le(a) && a.ge(a));
            prop_assert_eq!(b - len, a);
            prop_assert_eq!((a.max(b), a.min(b), b.max(a), b.min(a)), (b, a, b, a));
        }

        #[test]
        fn order_does_not_move(a: u32, b: u32, by: u32) {
            // Shows that adding the same to both sides keeps their order.
            let (a, b) = (SeqNum(a), SeqNum(b));
            prop_assert_eq!(a.lt(b), (a + by).lt(b + by));
            prop_assert_eq!(a.distance(b), (a + by).distance(b + by));
        }

        #[test]
        fn a_window_is_its_numbers(start: u32, len: u32, offset: u32) {
            // Shows that the window holds exactly the numbers at offsets below its length.
            prop_assert_eq!((SeqNum(start) + offset).in_window(SeqNum(start), len), offset < len);
            prop_assert!(!(SeqNum(start) + len).in_window(SeqNum(start), len));
            prop_assert_eq!((SeqNum(start) + len - 1).in_window(SeqNum(start), len), len > 0);
        }
    }
}
