//! Byte ranges: what a request asks for, and what that is of a file of some length. Whether a range may be taken out
//! of this version at all is `conditions.rs`'s.
//!
//! One range is answered with 206. Several ranges in one request are answered with the whole file, as RFC 9110
//! section 14.2 allows: what they would save is not worth what overlapping ones could cost.

/// A range as a request writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteRange {
    /// From a byte on, up to and with another one if that is named.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

/// Part of a file: first byte, and the first behind it.
pub type Span = (u64, u64);

impl ByteRange {
    /// The one range of a `Range` field. `None` where the field is to be ignored: another unit, several ranges, or
    /// no range at all.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-14.2
    //# An origin server MUST ignore a Range header field that contains a range
    //# unit it does not understand.
    pub fn parse(value: &[u8]) -> Option<ByteRange> {
        let (unit, set) = value.split_at_checked(6)?;
        let range = set.trim_ascii();
        if !unit.eq_ignore_ascii_case(b"bytes=") {
            return None;
        }
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&range[..dash], &range[dash + 1..]);
        match (first.is_empty(), last.is_empty()) {
            (true, _) => number(last).map(ByteRange::Last),
            (false, true) => number(first).map(|first| ByteRange::From(first, None)),
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(ByteRange::From(first, Some(last)))
            }
        }
    }

    /// The part of a file of `length` bytes, not empty; `None` if it has none such.
    pub fn within(self, length: u64) -> Option<Span> {
        let (start, end) = match self {
            ByteRange::From(first, last) => {
                (first, last.map_or(length, |last| last.saturating_add(1).min(length)))
            }
            ByteRange::Last(count) => (length.saturating_sub(count), length),
        };
        (start < end).then_some((start, end))
    }
}

/// Plain digits. A number beyond 64 bits is beyond every file.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| core::str::from_utf8(digits).ok()?.parse().ok().or(Some(u64::MAX))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str, length: u64) -> Option<Option<Span>> {
        ByteRange::parse(value.as_bytes()).map(|range| range.within(length))
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        // Shows each form, inside, across the end, and exactly at the edges.
        assert_eq!(of("bytes=0-0", 10), Some(Some((0, 1))));
        assert_eq!(of("bytes=2-5", 10), Some(Some((2, 6))));
        assert_eq!(of("BYTES= 2-99 ", 10), Some(Some((2, 10))));
        assert_eq!(of("bytes=9-", 10), Some(Some((9, 10))));
        assert_eq!(of("bytes=-3", 10), Some(Some((7, 10))));
        assert_eq!(of("bytes=-30", 10), Some(Some((0, 10))));
        assert_eq!(of("bytes=0-18446744073709551615", 10), Some(Some((0, 10))));
        assert_eq!(of("bytes=1-99999999999999999999999", 10), Some(Some((1, 10))));
    }

    #[test]
    fn what_the_file_has_not_is_not_satisfiable() {
        // Shows a start at or behind the end, the empty suffix, and a file that is empty.
        for value in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of(value, 10), Some(None), "{value}");
        }
        assert_eq!((of("bytes=0-", 0), of("bytes=-5", 0)), (Some(None), Some(None)));
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        // Shows other units, several ranges, a range that runs backwards, and nonsense.
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=5-2",
            "bytes=1-2,4-5",
            "bytes=-1,-2",
            "bytes=1--2",
            "bytes=+1-2",
            "bytes=1-2-3",
            "items=0-1",
            "bytes 0-1",
            "bytes=0x1-2",
        ] {
            assert_eq!(of(value, 10), None, "{value}");
        }
    }
}
