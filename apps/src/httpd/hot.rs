//! A lane's own small files: a request for one needs no crossing, no copy and no allocation.
//! Larger files, and whether one has changed, are the file thread's.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelane::Instant;

use super::choice::{Version, describe};
use crate::files::{OpenedFile, SMALL_BYTES};
use crate::http::FileFields;

/// How long an entry is believed before the file thread is asked again.
const FRESH: Duration = Duration::from_secs(1);

/// How many entries a lane keeps. They hold blocks of the chunk cache, so both stay well below its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HotOptions {
    /// Entries whose body lies in a small block.
    pub small: usize,
    /// Entries whose body lies in a large one.
    pub large: usize,
}

impl Default for HotOptions {
    /// Half of the small and a third of the large blocks that the cache has by default.
    fn default() -> Self {
        HotOptions { small: 256, large: 64 }
    }
}

/// A small file, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Fields of the head.
    pub fields: FileFields,
    pub body: Bytes,
    /// Which version of a file it is; none of what was made.
    pub version: Option<Version>,
    fresh_until: Instant,
}

impl Entry {
    pub fn new(file: &OpenedFile, now: Instant) -> Entry {
        let (fields, version) = describe(file);
        Entry { fields, body: file.first.clone(), version, fresh_until: now.saturating_add(FRESH) }
    }

    fn is_small(&self) -> bool {
        self.body.len() <= SMALL_BYTES
    }
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    used: bool,
}

/// The entries, by target as it was sent. Those not used between two rounds of the clock go first.
#[derive(Debug)]
pub(super) struct Hot {
    options: HotOptions,
    entries: HashMap<Rc<str>, Kept>,
    /// Small ones and large ones. Shape: each entry's target once.
    small: VecDeque<Rc<str>>,
    large: VecDeque<Rc<str>>,
}

impl Hot {
    pub fn new(options: HotOptions) -> Hot {
        Hot { options, entries: HashMap::new(), small: VecDeque::new(), large: VecDeque::new() }
    }

    /// A fresh entry. Cost: one keyed hash of the target; no allocation.
    pub fn get(&mut self, target: &str, now: Instant) -> Option<Entry> {
        let kept = self.entries.get_mut(target)?;
        kept.used = true;
        (now < kept.entry.fresh_until).then(|| kept.entry.clone())
    }

    /// Forget a target.
    pub fn remove(&mut self, target: &str) {
        let Some(kept) = self.entries.remove(target) else { return };
        let order = if kept.entry.is_small() { &mut self.small } else { &mut self.large };
        order.retain(|kept| **kept != *target);
    }

    /// Keep an entry, in place of what the target had.
    pub fn insert(&mut self, target: &str, entry: Entry) {
        if let Some(kept) = self.entries.get_mut(target)
            && kept.entry.is_small() == entry.is_small()
        {
            kept.entry = entry;
            return;
        }
        self.remove(target);
        let (order, max) = match entry.is_small() {
            true => (&mut self.small, self.options.small),
            false => (&mut self.large, self.options.large),
        };
        while order.len() >= max {
            let Some(oldest) = order.pop_front() else { return };
            match self.entries.get_mut(&oldest) {
                Some(kept) if kept.used => {
                    kept.used = false;
                    order.push_back(oldest);
                }
                _ => drop(self.entries.remove(&oldest)),
            }
        }
        let target: Rc<str> = target.into();
        order.push_back(Rc::clone(&target));
        self.entries.insert(target, Kept { entry, used: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(length: usize, fresh_until: u64) -> Entry {
        Entry {
            fields: FileFields::made("", 0),
            body: vec![0; length].into(),
            version: None,
            fresh_until: Instant(fresh_until),
        }
    }

    #[test]
    fn entries_are_believed_for_a_while_only() {
        // Shows that an entry is found until its time, and a newer one replaces it.
        let mut hot = Hot::new(HotOptions::default());
        hot.insert("/a", entry(3, 100));
        assert!(hot.get("/a", Instant(99)).is_some_and(|entry| entry.body.len() == 3));
        assert!(hot.get("/a", Instant(100)).is_none());
        hot.insert("/a", entry(SMALL_BYTES + 1, 200));
        assert!(hot.get("/a", Instant(150)).is_some_and(|entry| entry.body.len() > SMALL_BYTES));
        assert_eq!((hot.small.len(), hot.large.len()), (0, 1));
        hot.remove("/a");
        assert_eq!((hot.entries.len(), hot.large.len()), (0, 0));
    }

    #[test]
    fn each_size_has_its_own_bound_and_the_used_stay() {
        // Shows that the unused goes first, that the bound holds when all are used, and that sizes do not mix.
        let mut hot = Hot::new(HotOptions { small: 2, large: 1 });
        hot.insert("/large", entry(SMALL_BYTES + 1, 100));
        hot.insert("/a", entry(1, 100));
        hot.insert("/b", entry(1, 100));
        assert!(hot.get("/a", Instant(0)).is_some());
        hot.insert("/c", entry(1, 100));
        let here = ["/a", "/b", "/c", "/large"].map(|target| hot.get(target, Instant(0)).is_some());
        assert_eq!(here, [true, false, true, true]);
        hot.insert("/d", entry(1, 100));
        assert_eq!((hot.small.len(), hot.entries.len()), (2, 3));
    }
}
