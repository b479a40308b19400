//! The flow table: from a hash to the slots of the flows that have it. Comparing addresses is the caller's, who has
//! the flow's hot state at hand anyway.

/// Candidates in a bucket.
const WAYS: usize = 8;

/// One cache line: tags first, then slots, then how many flows went on to later buckets.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u16; WAYS],
    slots: [u32; WAYS],
    overflow: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

const EMPTY: u32 = u32::MAX;

/// A bounded table of flow slots, by hash.
#[derive(Debug)]
pub struct FlowTable {
    buckets: Vec<Bucket>,
    mask: usize,
    len: usize,
}

impl FlowTable {
    /// A table for `flows` flows: buckets are half full when all are there.
    pub fn new(flows: usize) -> FlowTable {
        let count = (flows * 2).div_ceil(WAYS).next_power_of_two().max(2);
        let bucket = Bucket { tags: [0; WAYS], slots: [EMPTY; WAYS], overflow: 0 };
        FlowTable { buckets: vec![bucket; count], mask: count - 1, len: 0 }
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bucket comes from the high bits, for RSS has steered by the low ones; the tag from the low ones.
    #[inline]
    fn home(&self, hash: u32) -> (usize, u16) {
        #[expect(clippy::cast_possible_truncation, reason = "the tag is the low half")]
        let tag = hash as u16;
        (((hash as usize) >> 8) & self.mask, tag)
    }

    /// Bring the bucket of a hash near.
    #[inline]
    pub fn prefetch(&self, hash: u32) {
        if let Some(bucket) = self.buckets.get(self.home(hash).0) {
            drivers::prefetch(bucket);
        }
    }

    /// The first of the slots that may be the flow's, of those in its own bucket.
    #[inline]
    pub fn first(&self, hash: u32) -> Option<u32> {
        let (home, tag) = self.home(hash);
        let bucket = self.buckets.get(home)?;
        let ways = bucket.tags.iter().zip(&bucket.slots);
        ways.filter(|(its, slot)| **its == tag && **slot != EMPTY).map(|(_, slot)| *slot).next()
    }

    /// Slots that may be the flow's, in a fixed order.
    #[inline]
    pub fn candidates(&self, hash: u32) -> impl Iterator<Item = u32> {
        let (home, tag) = self.home(hash);
        let mut step = 0;
        let mut way = 0;
        core::iter::from_fn(move || {
            loop {
                let bucket = self.buckets.get((home + step) & self.mask)?;
                while way < WAYS {
                    let at = way;
                    way += 1;
                    if bucket.tags.get(at) == Some(&tag)
                        && let Some(&slot) = bucket.slots.get(at)
                        && slot != EMPTY
                    {
                        return Some(slot);
                    }
                }
                if bucket.overflow == 0 || step >= self.mask {
                    return None;
                }
                step += 1;
                way = 0;
            }
        })
    }

    /// Add a flow. False if every bucket is full.
    pub fn insert(&mut self, hash: u32, slot: u32) -> bool {
        let (home, tag) = self.home(hash);
        for step in 0..=self.mask {
            let index = (home + step) & self.mask;
            let Some(bucket) = self.buckets.get_mut(index) else { return false };
            if let Some(at) = bucket.slots.iter().position(|&slot| slot == EMPTY) {
                bucket.tags[at] = tag;
                bucket.slots[at] = slot;
                for passed in 0..step {
                    self.buckets[(home + passed) & self.mask].overflow += 1;
                }
                self.len += 1;
                return true;
            }
        }
        false
    }

    /// Remove a flow. False if it is not there.
    pub fn remove(&mut self, hash: u32, slot: u32) -> bool {
        let (home, _) = self.home(hash);
        for step in 0..=self.mask {
            let Some(bucket) = self.buckets.get_mut((home + step) & self.mask) else { return false };
            if let Some(at) = bucket.slots.iter().position(|&other| other == slot) {
                bucket.slots[at] = EMPTY;
                for passed in 0..step {
                    self.buckets[(home + passed) & self.mask].overflow -= 1;
                }
                self.len -= 1;
                return true;
            }
            if bucket.overflow == 0 {
                return false;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_flow_is_found_until_it_is_removed(
            hashes in prop::collection::vec(prop_oneof![0u32..4, any::<u32>()], 1..200),
            removals in prop::collection::vec(any::<prop::sample::Index>(), 0..100),
        ) {
            // Shows against a list that flows are found whatever collides, and gone once removed, with no overflow left.
            let mut table = FlowTable::new(200);
            let mut flows: Vec<_> = hashes.into_iter().zip(0u32..).collect();
            for &(hash, slot) in &flows {
                prop_assert!(table.insert(hash, slot));
            }
            for index in removals {
                if flows.is_empty() { break }
                let (hash, slot) = flows.swap_remove(index.index(flows.len()));
                prop_assert!(table.remove(hash, slot));
                prop_assert!(!table.candidates(hash).any(|found| found == slot));
            }
            for &(hash, slot) in &flows {
                prop_assert!(table.candidates(hash).any(|found| found == slot));
            }
            prop_assert_eq!(table.len(), flows.len());
            for (hash, slot) in flows {
                table.remove(hash, slot);
            }
            prop_assert!(table.buckets.iter().all(|bucket| bucket.overflow == 0));
        }
    }

    #[test]
    fn a_full_table_refuses() {
        // Shows the bound: a table takes twice what it was made for, and no more.
        let mut table = FlowTable::new(8);
        assert!((0..16).all(|slot| table.insert(7, slot)));
        assert!(!table.insert(7, 16));
        assert_eq!(table.candidates(7).count(), 16);
    }
}
