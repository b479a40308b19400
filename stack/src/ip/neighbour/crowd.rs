//! Who goes when the cache is full, and how many strangers may be asked for.

use super::{Cache, Entry, State};

/// Neighbours that are asked for at once and not known yet, at most, and at most half of all: who makes us look for many, as a
/// flood from addresses of the link does, may neither have the entries of those we know nor have us shout without end.
const UNRESOLVED_MAX: usize = 256;

/// Entries that are looked at for the one to go when a new one comes.
pub(super) const CANDIDATES: usize = 16;

impl<P> Cache<P> {
    /// As many neighbours are asked for as may be.
    pub(super) fn is_crowded(&self) -> bool {
        self.unresolved >= UNRESOLVED_MAX.min(self.config.entries_max.div_ceil(2))
    }

    /// The entry to go: of the next few that may, one that is not resolved, else one that nobody has confirmed, else one that
    /// is, and of these the one that was not used for longest. `None` if all are static.
    ///
    /// Cost: a look at [`CANDIDATES`] entries, but where the operator has set more than these in a row.
    pub(super) fn victim(&mut self) -> Option<usize> {
        let count = self.entries.len();
        for _ in 0..count.div_ceil(CANDIDATES) {
            let first = self.hand % count;
            self.hand = first + CANDIDATES;
            #[cfg(test)]
            {
                self.looked_at += CANDIDATES.min(count);
            }
            let rank = |entry: &Entry<P>| match entry.state {
                State::Incomplete => 0,
                State::Stale => 1,
                _ => 2,
            };
            let victim = (0..CANDIDATES.min(count))
                .map(|step| (first + step) % count)
                .filter_map(|at| self.entries.get(at).map(|entry| (at, entry)))
                .filter(|(_, entry)| entry.state != State::Static)
                .min_by_key(|(_, entry)| (rank(entry), entry.used))
                .map(|(at, _)| at);
            if victim.is_some() {
                return victim;
            }
        }
        None
    }
}
