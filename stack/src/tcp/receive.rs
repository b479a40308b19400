//! Reassembly: which ranges beyond RCV.NXT have arrived. The frames that hold their bytes are the engine's; here they
//! are numbers.

use std::collections::VecDeque;

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
    ranges: VecDeque<Range>,
    /// What the ranges cover, without gaps: so that nobody need walk over many small ones to tell how far they reach.
    blocks: VecDeque<(SeqNum, SeqNum)>,
    /// A number inside each of the blocks last added to, newest first: the order SACK reports them in.
    recent: [Option<SeqNum>; SACK_BLOCKS_MAX],
    /// Ranges and blocks that were looked at or moved, but for binary searches: what a peer makes us work.
    #[cfg(test)]
    work: usize,
}

impl Reassembly {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = &Range> + DoubleEndedIterator {
        self.ranges.iter()
    }

    #[cfg(test)]
    fn count(&mut self, work: usize) {
        self.work += work;
    }

    #[cfg(not(test))]
    fn count(&self, _work: usize) {}

    /// Add the `len` bytes at `start`, kept under the number `held`.
    ///
    /// Ranges that the new one covers whole leave for `freed`. `None`: nothing in it was new, or there are too many.
    /// Cost: a binary search, and room made among at most [`RANGES_MAX`]; no walk but over what leaves.
    pub fn insert(&mut self, start: SeqNum, len: u32, held: u32, freed: &mut Vec<u32>) -> Option<Place> {
        let (mut first, mut last) = (start, start + len);
        let at = self.ranges.partition_point(|range| range.start.le(first));
        if let Some(before) = at.checked_sub(1).and_then(|index| self.ranges.get(index))
            && before.end.gt(first)
        {
            first = before.end;
        }
        let mut covered = 0;
        while let Some(range) = self.ranges.get(at + covered)
            && range.start.lt(last)
        {
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
        self.count(covered + at.min(self.ranges.len() - at));
        let fresh = Range { start: first, end: last, held };
        match self.ranges.get_mut(at) {
            Some(range) if covered > 0 => {
                *range = fresh;
                self.ranges.drain(at + 1..at + covered);
            }
            _ => self.ranges.insert(at, fresh),
        }
        self.cover(first, last);
        self.note_recent(first);
        Some(Place { skip: first.since(start), len: last.since(first) })
    }

    /// The number of what holds the range that ends where these new bytes begin, if nothing of them is there yet: they may be
    /// kept with it, and `extend` says that they are.
    pub fn neighbour(&self, start: SeqNum, len: u32) -> Option<u32> {
        let at = self.ranges.partition_point(|range| range.start.le(start));
        let before = self.ranges.get(at.checked_sub(1)?)?;
        let free = self.ranges.get(at).is_none_or(|behind| behind.start.ge(start + len));
        (before.end == start && free).then_some(before.held)
    }

    /// The range that ends at `start` has become longer.
    pub fn extend(&mut self, start: SeqNum, len: u32) {
        let at = self.ranges.partition_point(|range| range.start.le(start));
        if let Some(before) = at.checked_sub(1).and_then(|index| self.ranges.get_mut(index)) {
            before.end = start + len;
            self.cover(start, start + len);
            self.note_recent(start);
        }
    }

    /// Note that ranges cover this.
    fn cover(&mut self, first: SeqNum, last: SeqNum) {
        let from = self.blocks.partition_point(|block| block.1.lt(first));
        let (mut left, mut right, mut to) = (first, last, from);
        while let Some(block) = self.blocks.get(to)
            && block.0.le(last)
        {
            left = if block.0.lt(left) { block.0 } else { left };
            right = right.max(block.1);
            to += 1;
        }
        self.count(to - from + from.min(self.blocks.len() - from));
        match self.blocks.get_mut(from) {
            Some(block) if to > from => {
                *block = (left, right);
                self.blocks.drain(from + 1..to);
            }
            _ => self.blocks.insert(from, (left, right)),
        }
    }

    /// The first numbers between `start` and `end` that are there already. The block they lie in is reported next.
    pub fn overlap(&mut self, start: SeqNum, end: SeqNum) -> Option<(SeqNum, SeqNum)> {
        let first = self.blocks.partition_point(|block| block.1.le(start));
        let (left, right) = *self.blocks.get(first)?;
        let at = left.max(start);
        if at.ge(end) {
            return None;
        }
        self.note_recent(at);
        Some((at, if right.lt(end) { right } else { end }))
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
        let index = self.blocks.partition_point(|block| block.0.le(at)).checked_sub(1)?;
        self.blocks.get(index).filter(|block| block.1.gt(at)).copied()
    }

    /// The next range that RCV.NXT has reached, and how many of its bytes are there already.
    pub fn next(&mut self, rcv_nxt: SeqNum) -> Option<(Range, u32)> {
        let range = *self.ranges.front()?;
        if range.start.gt(rcv_nxt) {
            return None;
        }
        self.ranges.pop_front();
        if let Some(block) = self.blocks.front_mut() {
            block.0 = range.end;
            if block.0 == block.1 {
                self.blocks.pop_front();
            }
        }
        Some((range, rcv_nxt.since(range.start).min(range.end.since(range.start))))
    }

    /// Give the newest bytes up: the range farthest from RCV.NXT. Nothing acknowledged it, so the peer sends it again.
    pub fn give_up_last(&mut self) -> Option<Range> {
        let range = self.ranges.pop_back()?;
        if let Some(block) = self.blocks.back_mut() {
            block.1 = range.start;
            let left = block.0;
            if left == block.1 {
                self.blocks.pop_back();
            } else {
                // What is left of the block is reported in its stead.
                let gone = self.recent.iter_mut().flatten().filter(|seq| seq.ge(range.start));
                gone.for_each(|seq| *seq = left);
            }
        }
        Some(range)
    }

    /// Drop everything, reporting what held it.
    pub fn clear(&mut self, freed: &mut Vec<u32>) {
        freed.extend(self.ranges.drain(..).map(|range| range.held));
        self.blocks.clear();
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

    /// What the ranges cover, by a walk.
    fn blocks_of(reassembly: &Reassembly) -> Vec<(SeqNum, SeqNum)> {
        let mut blocks: Vec<(SeqNum, SeqNum)> = Vec::new();
        for range in reassembly.ranges() {
            match blocks.last_mut() {
                Some(block) if block.1 == range.start => block.1 = range.end,
                _ => blocks.push((range.start, range.end)),
            }
        }
        blocks
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
            prop_assert_eq!(blocks_of(&reassembly), reassembly.blocks.iter().copied().collect::<Vec<_>>());
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

    #[test]
    fn what_is_given_up_is_not_reported_and_the_rest_is() {
        // Shows the reports after each of three ranges was given up, the newest numbers first: a block goes, or shrinks to
        // what is still there.
        //= https://www.rfc-editor.org/rfc/rfc2018#section-8
        //= type=test
        //# Except for the newest segment, all SACK blocks MUST NOT report
        //# any old data which is no longer actually held by the receiver.
        let (mut reassembly, base, mut freed) = (Reassembly::default(), SeqNum(u32::MAX - 12), Vec::new());
        for start in [10, 15, 30] {
            reassembly.insert(base + start, 5, start, &mut freed).unwrap();
        }
        assert_eq!(blocks(&reassembly, base), [(30, 35), (10, 20)]);
        for left in [&[(10, 20)][..], &[(10, 15)], &[]] {
            reassembly.give_up_last().unwrap();
            assert_eq!(blocks(&reassembly, base), left);
        }
    }

    #[test]
    fn blocks_follow_whatever_is_done() {
        // Shows the blocks equal to a walk over the ranges, after ranges were inserted, extended, taken and given up in every
        // mixture, around the end of the circle.
        for seed in 1..200u64 {
            let (mut dice, mut reassembly, mut freed) = (seed, Reassembly::default(), Vec::new());
            let mut nxt = SeqNum(u32::MAX - 300);
            for held in 0..200 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let [action, at, len, ..] = dice.to_be_bytes();
                let (start, len) = (nxt + 1 + u32::from(at), 1 + u32::from(len % 16));
                match action % 8 {
                    0 => nxt = reassembly.next(nxt + 4).map_or(nxt, |(range, _)| nxt.max(range.end)),
                    1 => drop(reassembly.give_up_last()),
                    2 if reassembly.neighbour(start, len).is_some() => reassembly.extend(start, len),
                    _ => drop(reassembly.insert(start, len, held, &mut freed)),
                }
                assert_eq!(blocks_of(&reassembly), Vec::from(reassembly.blocks.clone()), "seed {seed}");
            }
        }
    }

    #[test]
    fn the_work_of_a_segment_is_bounded() {
        // Shows what 1-byte segments cost, in ranges looked at or moved, as an attacker would send them: with a hole each and
        // without, upwards, downwards and by the dice, ten times as many as are kept, each acknowledged with SACK; then a
        // segment over all of them. No more than half of each list is ever moved, and nothing is walked over twice.
        let count = 10 * u32::try_from(RANGES_MAX).unwrap();
        let base = SeqNum(u32::MAX - 5_000);
        let dice = |n: u32| n.wrapping_mul(2_654_435_761) % count;
        type Order = fn(u32, u32) -> u32;
        let orders: [(&str, Order); 3] =
            [("up", |n, _| n), ("down", |n, count| count - n), ("dice", |n, _| n.wrapping_mul(40_503))];
        for (name, order) in orders {
            for step in [1, 2] {
                let (mut reassembly, mut freed, mut worst) = (Reassembly::default(), Vec::new(), 0);
                for n in 0..count {
                    let place = if name == "dice" { dice(n) } else { order(n, count) };
                    let before = reassembly.work;
                    reassembly.insert(base + 1 + step * place, 1, n, &mut freed);
                    reassembly.overlap(base + 1 + step * place, base + 2 + step * place);
                    assert!(reassembly.sack_blocks().len() <= SACK_BLOCKS_MAX);
                    worst = worst.max(reassembly.work - before);
                    assert!(reassembly.ranges.len() <= RANGES_MAX && reassembly.blocks.len() <= RANGES_MAX);
                }
                assert!(worst <= RANGES_MAX + 2, "{name}, every {step}: {worst}");
                let before = reassembly.work;
                reassembly.insert(base, 2 * count + 2, count, &mut freed);
                assert!(reassembly.work - before <= 2 * RANGES_MAX + 4 && reassembly.ranges.len() == 1);
            }
        }
    }
}
