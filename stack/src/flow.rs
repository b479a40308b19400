//! The flow table: from a hash to the slots of the flows that have it, and to what is not yet or no longer a flow.
//! Comparing addresses is the caller's, who has the flow's hot state at hand anyway.

use crate::places;

/// What the table finds: what its numbers stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A slot of a flow.
    Flow(u32),
    /// A half-open connection.
    HalfOpen(u32),
    /// What is left of one, in TIME_WAIT.
    Rest(u32),
}

impl Place {
    /// The number is of one of 2^30.
    const BITS: u32 = 0x3fff_ffff;

    /// What a number of the table stands for.
    #[must_use]
    pub const fn of(number: u32) -> Place {
        let place = number & Place::BITS;
        match number >> 30 {
            0 => Place::Flow(number),
            1 => Place::HalfOpen(place),
            _ => Place::Rest(place),
        }
    }

    /// Its number in the table. A flow's is its slot; no other is one.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Place::Flow(slot) => slot,
            Place::HalfOpen(place) => place & Place::BITS | 1 << 30,
            Place::Rest(place) => place & Place::BITS | 2 << 30,
        }
    }
}

/// Candidates in a bucket.
const WAYS: usize = 8;

/// One cache line: tags first, then slots, then how many flows went on to later buckets.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [[u8; 2]; WAYS],
    slots: [u32; WAYS],
    overflow: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

const EMPTY: u32 = u32::MAX;

/// The lowest bit of each of four tags in a word, and the highest.
const LOWEST: u64 = 0x0001_0001_0001_0001;
const HIGHEST: u64 = LOWEST << 15;

impl Bucket {
    const NONE: Bucket = Bucket { tags: [[0; 2]; WAYS], slots: [EMPTY; WAYS], overflow: 0 };

    /// The ways with this tag, a bit each, for [`Bucket::slot`]. Behind one of them another may seem to have it.
    #[inline]
    fn ways(&self, tag: u16) -> u64 {
        let wanted = u64::from(tag).wrapping_mul(LOWEST);
        // In bytes, for two words are read of them wherever this is made part of a function.
        let [front, back] = [0, 8].map(|at| {
            let four = self.tags.as_flattened().get(at..).and_then(<[u8]>::first_chunk);
            let differing = four.map_or(0, |four| u64::from_le_bytes(*four)) ^ wanted;
            // Of four differences less one only those borrow that are none.
            differing.wrapping_sub(LOWEST) & !differing & HIGHEST
        });
        front >> 1 | back
    }

    /// The slot of the first of these ways, if there is one in it.
    #[inline]
    fn slot(&self, ways: u64) -> Option<u32> {
        let bit = ways.trailing_zeros() as usize;
        let slot = *self.slots.get(bit >> 4 | (bit & 1) << 2)?;
        (slot != EMPTY).then_some(slot)
    }
}

/// A bounded table of flow slots, by hash.
#[derive(Debug)]
pub struct FlowTable {
    buckets: Vec<Bucket>,
    len: usize,
}

impl FlowTable {
    /// A table for `flows` flows and `others` beside them: buckets are half full when all flows are there, and never full.
    pub fn new(flows: usize, others: usize) -> FlowTable {
        let all = flows.saturating_add(others);
        let ways = (flows * 2).max(all.saturating_add(all / 8));
        let count = ways.div_ceil(WAYS).max(2);
        FlowTable { buckets: vec![Bucket::NONE; count], len: 0 }
    }

    /// Where its buckets lie.
    pub(crate) fn place(&self) -> places::Place {
        places::Place::of("bucket", &self.buckets)
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
        let home = (u64::from(hash) * self.buckets.len() as u64) >> 32;
        (home as usize, tag)
    }

    /// The bucket so many behind one.
    #[inline]
    fn behind(&self, home: usize, step: usize) -> usize {
        let index = home + step;
        if index < self.buckets.len() { index } else { index - self.buckets.len() }
    }

    /// Bring the bucket of a hash near.
    #[inline]
    pub fn prefetch(&self, hash: u32) {
        if let Some(bucket) = self.buckets.get(self.home(hash).0) {
            drivers::prefetch(bucket);
        }
    }

    /// The first of the slots that may be the flow's, of those in its own bucket; or what is no slot.
    #[inline]
    pub fn first(&self, hash: u32) -> Option<u32> {
        let (home, tag) = self.home(hash);
        let bucket = self.buckets.get(home)?;
        let tag = tag.to_le_bytes();
        bucket.tags.iter().zip(&bucket.slots).find(|(its, _)| **its == tag).map(|(_, slot)| *slot)
    }

    /// Slots that may be the flow's, in a fixed order.
    #[inline]
    pub fn candidates(&self, hash: u32) -> impl Iterator<Item = u32> {
        let (home, tag) = self.home(hash);
        let mut step = 0;
        let mut bucket = self.buckets.get(home);
        let mut ways = bucket.map_or(0, |bucket| bucket.ways(tag));
        core::iter::from_fn(move || {
            loop {
                let its = bucket?;
                while ways != 0 {
                    let slot = its.slot(ways);
                    ways &= ways - 1;
                    if slot.is_some() {
                        return slot;
                    }
                }
                if its.overflow == 0 || step + 1 >= self.buckets.len() {
                    return None;
                }
                step += 1;
                bucket = self.buckets.get(self.behind(home, step));
                ways = bucket.map_or(0, |bucket| bucket.ways(tag));
            }
        })
    }

    /// Add a flow. False if every bucket is full.
    pub fn insert(&mut self, hash: u32, slot: u32) -> bool {
        let (home, tag) = self.home(hash);
        for step in 0..self.buckets.len() {
            let index = self.behind(home, step);
            let Some(bucket) = self.buckets.get_mut(index) else { return false };
            if let Some(at) = bucket.slots.iter().position(|&slot| slot == EMPTY) {
                bucket.tags[at] = tag.to_le_bytes();
                bucket.slots[at] = slot;
                for passed in 0..step {
                    let passed = self.behind(home, passed);
                    self.buckets[passed].overflow += 1;
                }
                self.len += 1;
                return true;
            }
        }
        false
    }

    /// Put a flow where another is that has the same hash. False if that is not there.
    pub fn replace(&mut self, hash: u32, old: u32, slot: u32) -> bool {
        let Some((_, bucket, at)) = self.find(hash, old) else { return false };
        bucket.slots[at] = slot;
        true
    }

    /// Remove a flow. False if it is not there.
    pub fn remove(&mut self, hash: u32, slot: u32) -> bool {
        let (home, tag) = self.home(hash);
        let Some((step, bucket, at)) = self.find(hash, slot) else { return false };
        // A way that is empty has another tag than whoever was there: mostly the first that is found is the right one.
        (bucket.tags[at], bucket.slots[at]) = ((!tag).to_le_bytes(), EMPTY);
        for passed in 0..step {
            let passed = self.behind(home, passed);
            self.buckets[passed].overflow -= 1;
        }
        self.len -= 1;
        true
    }

    /// Where a flow is: how many buckets behind its own, the bucket, and the way in it.
    #[inline]
    fn find(&mut self, hash: u32, slot: u32) -> Option<(usize, &mut Bucket, usize)> {
        let (home, _) = self.home(hash);
        for step in 0..self.buckets.len() {
            let index = self.behind(home, step);
            let bucket = self.buckets.get(index)?;
            if let Some(at) = bucket.slots.iter().position(|&other| other == slot) {
                return Some((step, self.buckets.get_mut(index)?, at));
            }
            if bucket.overflow == 0 {
                return None;
            }
        }
        None
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
            let mut table = FlowTable::new(200, 0);
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
    fn numbers_tell_what_they_stand_for() {
        // Shows that each kind of place comes back from its number, and that none has the number of an empty way.
        for place in [0, 1, 0xff_ffff] {
            for place in [Place::Flow(place), Place::HalfOpen(place), Place::Rest(place)] {
                assert_eq!(Place::of(place.number()), place);
            }
        }
        assert_eq!(Place::of(Place::Rest(0x3fff_ffff).number()), Place::Rest(0x3fff_ffff));
        assert_ne!(Place::Rest(0x3fff_ffff).number(), EMPTY);
    }

    #[test]
    fn one_takes_the_place_of_another() {
        // Shows that what is put where another is is found in its stead, of a full bucket and of the one behind it, and that
        // nobody takes the place of who is not there.
        let mut table = FlowTable::new(8, 0);
        assert!((0..12).all(|slot| table.insert(7, slot)));
        for slot in [3, 11] {
            assert!(table.replace(7, slot, slot + 100) && !table.replace(7, slot, slot + 200));
            assert!(table.candidates(7).any(|found| found == slot + 100));
            assert!(!table.candidates(7).any(|found| found == slot));
        }
        assert_eq!((table.len(), table.candidates(7).count()), (12, 12));
        assert!(table.remove(7, 103) && table.remove(7, 111) && !table.remove(7, 3));
    }

    #[test]
    fn a_full_table_refuses() {
        // Shows the bound: a table takes twice what it was made for, and no more.
        let mut table = FlowTable::new(8, 0);
        assert!((0..16).all(|slot| table.insert(7, slot)));
        assert!(!table.insert(7, 16));
        assert_eq!(table.candidates(7).count(), 16);
    }
}
