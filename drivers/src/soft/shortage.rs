//! Pools that refuse frames at chosen moments: what a lane does then is tested, not hoped for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which takes find nothing, counted over all pools that share it. Clones are the same count.
#[derive(Clone, Debug)]
pub struct Shortage(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    takes: AtomicU64,
    first: u64,
    count: u64,
}

impl Shortage {
    /// Refuse `count` takes in a row, beginning with number `first`; the first take of all is number one.
    pub fn new(first: u64, count: u64) -> Shortage {
        Shortage(Arc::new(Plan { takes: AtomicU64::new(0), first, count }))
    }

    /// Frames asked for so far.
    pub fn takes(&self) -> u64 {
        self.0.takes.load(Ordering::Relaxed)
    }

    /// Count a take. True if it is to find nothing.
    pub(crate) fn refuses(&self) -> bool {
        let Plan { takes, first, count } = &*self.0;
        let number = takes.fetch_add(1, Ordering::Relaxed) + 1;
        number.checked_sub(*first).is_some_and(|after| after < *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    #[test]
    fn chosen_takes_find_nothing() {
        // Shows that exactly the chosen takes fail, counted over two pools, and that no frame is lost by it.
        let shortage = Shortage::new(3, 2);
        let pools = [Pool::heap(8, 256).short(&shortage), Pool::heap(8, 256).short(&shortage)];
        let taken: Vec<bool> = (0..6).map(|number| pools[number % 2].take().is_some()).collect();
        assert_eq!(taken, [true, true, false, false, true, true]);
        assert_eq!((shortage.takes(), pools[0].available(), pools[0].capacity()), (6, 8, 8));
    }
}
