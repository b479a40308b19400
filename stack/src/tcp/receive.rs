//! Reassembly: which ranges beyond RCV.NXT have arrived. The frames that hold their bytes are the engine's; here they
//! are numbers.

use crate::wire::tcp::{SACK_BLOCKS_MAX, SackBlocks, SeqNum};

/// Ranges a flow may hold out of order. More are refused, as if lost: a peer that makes more holes than this in one
/// window is not helped by remembering them.
pub const RANGES_MAX: usize = 2048;

/// One range and the number of what holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First sequence number.
    pub start: SeqNum,
    /// First sequence number behind.
    pub end: SeqNum,
    /// Number of the frame that holds it.
    pub held: u32,
}

/// What of a new segment found a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Bytes at its front that are there already.
    pub skip: u32,
    /// Bytes behind those that are new.
    pub len: u32,
}

/// Ranges beyond RCV.NXT: sorted, apart from each other in what they hold, bounded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reassembly {
    ranges: Vec<Range>,
    /// A number inside each of the blocks last added to, newest first: the order SACK reports them in.
    recent: [Option<SeqNum>; SACK_BLOCKS_MAX],
}

impl Reassembly {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Add the `len` bytes at `start`, kept under the number `held`.
    ///
    /// Ranges that the new one covers whole leave for `freed`. `None`: nothing in it was new, or there are too many.
    pub fn insert(&mut self, start: SeqNum, len: u32, held: u32, freed: &mut Vec<u32>) -> Option<Place> {
        let (mut first, mut last) = (start, start + len);
        let at = self.ranges.partition_point(|range| range.start.le(first));
        if let Some(before) = at.checked_sub(1).and_then(|index| self.ranges.get(index))
            && before.end.gt(first)
        {
            first = before.end;
        }
        let mut covered = 0;
        for range in self.ranges.get(at..).unwrap_or(&[]) {
            if range.start.ge(last) {
                break;
            }
            if range.end.gt(last) {
                last = range.start;
                break;
            }
            covered += 1;
            freed.push(range.held);
        }
        if first.ge(last) || covered == 0 && self.ranges.len() >= RANGES_MAX {
            return None;
        }
        let fresh = Range { start: first, end: last, held };
        self.ranges.splice(at..at + covered, core::iter::once(fresh));
        self.note_recent(first);
        Some(Place { skip: first.since(start), len: last.since(first) })
    }

    /// The first numbers between `start` and `end` that are there already. The block they lie in is reported next.
    pub fn overlap(&mut self, start: SeqNum, end: SeqNum) -> Option<(SeqNum, SeqNum)> {
        let first = self.ranges.partition_point(|range| range.end.le(start));
        let at = self.ranges.get(first)?.start.max(start);
        let (_, right) = self.block_around(at).filter(|_| at.lt(end))?;
        self.note_recent(at);
        Some((at, right.min(end)))
    }

    fn note_recent(&mut self, at: SeqNum) {
        let block = self.block_around(at);
        let mut kept = [None; SACK_BLOCKS_MAX];
        let [newest, older @ ..] = &mut kept;
        *newest = Some(at);
        let others = self.recent.iter().flatten().filter(|seq| !in_block(block, **seq));
        for (slot, seq) in older.iter_mut().zip(others) {
            *slot = Some(*seq);
        }
        self.recent = kept;
    }

    /// The contiguous block of ranges that `at` lies in.
    fn block_around(&self, at: SeqNum) -> Option<(SeqNum, SeqNum)> {
        let index = self.ranges.partition_point(|range| range.start.le(at)).checked_sub(1)?;
        let range = self.ranges.get(index).filter(|range| range.end.gt(at))?;
        let (mut left, mut right) = (range.start, range.end);
        for before in self.ranges.get(..index)?.iter().rev() {
            if before.end != left {
                break;
            }
            left = before.start;
        }
        for behind in self.ranges.get(index + 1..)? {
            if behind.start != right {
                break;
            }
            right = behind.end;
        }
        Some((left, right))
    }

    /// The next range that RCV.NXT has reached, and how many of its bytes are there already.
    pub fn next(&mut self, rcv_nxt: SeqNum) -> Option<(Range, u32)> {
        let range = *self.ranges.first()?;
        if range.start.gt(rcv_nxt) {
            return None;
        }
        self.ranges.remove(0);
        Some((range, rcv_nxt.since(range.start).min(range.end.since(range.start))))
    }

    /// Give the newest bytes up: the range farthest from RCV.NXT. Nothing acknowledged it, so the peer sends it again.
    pub fn give_up_last(&mut self) -> Option<Range> {
        self.ranges.pop()
    }

    /// Drop everything, reporting what held it.
    pub fn clear(&mut self, freed: &mut Vec<u32>) {
        freed.extend(self.ranges.drain(..).map(|range| range.held));
        self.recent = [None; SACK_BLOCKS_MAX];
    }

    /// What a SACK option says now.
    //= https://www.rfc-editor.org/rfc/rfc2018#section-4
    //# The first SACK block (i.e., the one immediately following the kind and length fields in the
    //# option) MUST specify the contiguous block of data containing the segment which triggered
    //# this ACK, unless that segment advanced the Acknowledgment Number field in the header.
    pub fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::NONE;
        for seq in self.recent.iter().flatten() {
            if let Some((left, right)) = self.block_around(*seq)
                && !blocks.as_slice().iter().any(|block| block.left == left)
            {
                blocks.push(left, right);
            }
        }
        blocks
    }
}

fn in_block(block: Option<(SeqNum, SeqNum)>, seq: SeqNum) -> bool {
    block.is_some_and(|(left, right)| left.le(seq) && seq.lt(right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(reassembly: &Reassembly, base: SeqNum) -> Vec<(u32, u32)> {
        reassembly
            .sack_blocks()
            .as_slice()
            .iter()
            .map(|b| (b.left.since(base), b.right.since(base)))
            .collect()
    }

    #[test]
    fn the_first_block_is_the_newest() {
        // Shows RFC 2018's order: the block that was added to last comes first, older ones behind, merged ones once.
        //= https://www.rfc-editor.org/rfc/rfc2018#section-4
        //= type=test
        //# The first SACK block (i.e., the one immediately following the kind and length fields in the
        //# option) MUST specify the contiguous block of data containing the segment which triggered this ACK,
        //# unless that segment advanced the Acknowledgment Number field in the header.
        let (mut reassembly, base, mut freed) = (Reassembly::default(), SeqNum(u32::MAX - 50), Vec::new());
        for (start, len) in [(10, 5), (30, 5), (20, 5)] {
            reassembly.insert(base + start, len, start, &mut freed).unwrap();
        }
        assert_eq!(blocks(&reassembly, base), [(20, 25), (30, 35), (10, 15)]);
        reassembly.insert(base + 15, 5, 15, &mut freed).unwrap();
        assert_eq!(blocks(&reassembly, base), [(10, 25), (30, 35)]);
        assert!(freed.is_empty());
    }

    proptest! {
        #[test]
        fn any_overlap_leaves_each_byte_once(
            segments in prop::collection::vec((0u32..200, 1u32..40), 1..60),
            base in any::<u32>(),
        ) {
            // Shows against a byte map that ranges stay sorted and apart, that every byte that came is there, that
            // nothing else is, and that each holder is in the ranges or freed, once.
            let (mut reassembly, base) = (Reassembly::default(), SeqNum(base));
            let (mut map, mut freed, mut alive) = ([false; 240], Vec::new(), Vec::new());
            for (number, (start, len)) in segments.into_iter().enumerate() {
                let held = u32::try_from(number).unwrap();
                if let Some(place) = reassembly.insert(base + start, len, held, &mut freed) {
                    prop_assert!(place.skip + place.len <= len && place.len > 0);
                    alive.push(held);
                }
                map[start as usize..(start + len) as usize].fill(true);
            }
            let mut seen = [false; 240];
            let mut end = base;
            for range in reassembly.ranges() {
                prop_assert!(range.start.ge(end) && range.start.lt(range.end));
                end = range.end;
                seen[range.start.since(base) as usize..range.end.since(base) as usize].fill(true);
                alive.retain(|held| *held != range.held);
            }
            alive.retain(|held| !freed.contains(held));
            prop_assert_eq!(seen, map);
            prop_assert!(alive.is_empty());
        }
    }

    #[test]
    fn ranges_are_taken_as_the_hole_fills() {
        // Shows `next` at a hole, at its end, and past the start of a range.
        let (mut reassembly, mut freed) = (Reassembly::default(), Vec::new());
        reassembly.insert(SeqNum(10), 5, 1, &mut freed).unwrap();
        reassembly.insert(SeqNum(20), 5, 2, &mut freed).unwrap();
        assert_eq!(reassembly.next(SeqNum(9)), None);
        assert_eq!(
            reassembly.next(SeqNum(12)),
            Some((Range { start: SeqNum(10), end: SeqNum(15), held: 1 }, 2))
        );
        assert_eq!(reassembly.next(SeqNum(15)), None);
        assert_eq!(reassembly.next(SeqNum(30)).unwrap().1, 5);
        assert!(reassembly.is_empty());
    }
}
