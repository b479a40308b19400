//! The timer wheel: which flows to look at, and when. A flow's deadline is in its own state; the wheel only promises a
//! visit no later than it, and may visit early.

use crate::tcp::ticks::Ticks;
use crate::time::Instant;

const LEVELS: usize = 4;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;

/// Visits a turn: a lane does not spend a turn on timers alone.
pub const VISITS_MAX: usize = 64;

/// No node.
const NONE: u32 = u32::MAX;

/// A promise, in the list of a slot or of the free ones.
#[derive(Clone, Copy, Debug)]
struct Promise {
    slot: u32,
    at: Ticks,
    next: u32,
}

/// A hierarchical wheel of four levels of 256 slots, 65.5 µs a tick: 78 hours.
///
/// Cost: no memory once as many promises were out as will ever be.
#[derive(Debug)]
pub struct Wheel {
    /// The newest promise of each slot.
    heads: Vec<u32>,
    promises: Vec<Promise>,
    free: u32,
    /// One bit for each slot that is not empty, so that idle time is skipped over.
    occupied: [[u64; SLOTS / 64]; LEVELS],
    tick: u32,
    len: usize,
}

impl Wheel {
    /// An empty wheel at a time.
    pub fn new(now: Instant) -> Wheel {
        Wheel {
            heads: vec![NONE; LEVELS * SLOTS],
            promises: Vec::new(),
            free: NONE,
            occupied: [[0; SLOTS / 64]; LEVELS],
            tick: Ticks::at(now).raw(),
            len: 0,
        }
    }

    /// Promises not kept yet. A flow may have several; it honours the one it remembers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Promise a visit of `slot` at `at`.
    pub fn insert(&mut self, slot: u32, at: Ticks) {
        let number = self.free;
        let number = match self.promises.get_mut(number as usize) {
            Some(promise) => {
                self.free = promise.next;
                *promise = Promise { slot, at, next: NONE };
                number
            }
            None => {
                self.promises.push(Promise { slot, at, next: NONE });
                u32::try_from(self.promises.len() - 1).unwrap_or(NONE)
            }
        };
        self.hang(number);
        self.len += 1;
    }

    /// Put a promise into the list of its slot, in front.
    fn hang(&mut self, number: u32) {
        let Some(promise) = self.promises.get(number as usize) else { return };
        let (level, index) = self.place(promise.at.raw());
        let head = &mut self.heads[level * SLOTS + index];
        self.promises[number as usize].next = core::mem::replace(head, number);
        self.occupied[level][index / 64] |= 1 << (index % 64);
    }

    /// Take the newest promise of a slot of the lowest level.
    fn pop(&mut self, index: usize) -> Option<(u32, Ticks)> {
        let number = self.heads[index];
        let promise = self.promises.get_mut(number as usize)?;
        self.heads[index] = core::mem::replace(&mut promise.next, self.free);
        self.free = number;
        self.len -= 1;
        Some((promise.slot, promise.at))
    }

    fn place(&self, at: u32) -> (usize, usize) {
        let ahead = at.wrapping_sub(self.tick);
        // What is due already is visited at the next tick that is looked at: this one.
        let (at, ahead) = if ahead.cast_signed() < 0 { (self.tick, 0) } else { (at, ahead) };
        let level = match ahead {
            0..0x100 => 0,
            0x100..0x1_0000 => 1,
            0x1_0000..0x100_0000 => 2,
            _ => 3,
        };
        let index = at >> (u32::try_from(level).unwrap_or(0) * SLOT_BITS) & 0xff;
        (level, index as usize)
    }

    /// Take the promises due by `now`, at most [`VISITS_MAX`], and give each to `visit`.
    pub fn advance(&mut self, now: Ticks, mut visit: impl FnMut(u32, Ticks)) {
        let mut visits = 0;
        loop {
            let index = (self.tick & 0xff) as usize;
            while let Some((slot, at)) = self.pop(index) {
                visit(slot, at);
                visits += 1;
                if visits >= VISITS_MAX {
                    return;
                }
            }
            self.occupied[0][index / 64] &= !(1 << (index % 64));
            if self.tick.wrapping_sub(now.raw()).cast_signed() >= 0 {
                return;
            }
            self.step(now.raw());
        }
    }

    /// Move to the next tick that matters: the next occupied slot of level 0, the next cascade, or `limit`.
    fn step(&mut self, limit: u32) {
        // Where no level has anything to spread, a lane that slept long has nothing to walk over.
        let target = match self.next_occupied(0, (self.tick & 0xff) + 1) {
            Some(index) => self.tick & !0xff | index,
            None if self.len == 0 => limit,
            None if self.next_occupied(0, 0).is_some() => (self.tick | 0xff).wrapping_add(1),
            None => self.next_cascade(),
        };
        self.tick = if limit.wrapping_sub(target).cast_signed() < 0 { limit } else { target };
        if self.tick & 0xff == 0 {
            self.cascade(1);
        }
    }

    fn next_occupied(&self, level: usize, from: u32) -> Option<u32> {
        let (first, bit) = (from / 64, from % 64);
        (first..4).find_map(|number| {
            let word = self.occupied[level][number as usize];
            let word = if number == first { word >> bit << bit } else { word };
            (word != 0).then(|| number * 64 + word.trailing_zeros())
        })
    }

    /// Spread a slot of a higher level over the lower ones.
    fn cascade(&mut self, level: usize) {
        let shift = u32::try_from(level).unwrap_or(0) * SLOT_BITS;
        let index = (self.tick >> shift & 0xff) as usize;
        if index == 0 && level + 1 < LEVELS {
            self.cascade(level + 1);
        }
        let mut number = core::mem::replace(&mut self.heads[level * SLOTS + index], NONE);
        self.occupied[level][index / 64] &= !(1 << (index % 64));
        // The oldest first: turned round before each is put in front of its new list.
        let mut behind = NONE;
        while let Some(promise) = self.promises.get_mut(number as usize) {
            behind = core::mem::replace(&mut number, core::mem::replace(&mut promise.next, behind));
        }
        while let Some(promise) = self.promises.get(behind as usize) {
            let next = promise.next;
            self.hang(behind);
            behind = next;
        }
    }

    /// The first tick at which `advance` may have something to do: exact within 16 ms, else the next cascade.
    pub fn next_deadline(&self) -> Ticks {
        if self.len == 0 {
            return Ticks::OFF;
        }
        let at = match self.next_occupied(0, self.tick & 0xff) {
            Some(index) => self.tick & !0xff | index,
            None if self.next_occupied(0, 0).is_some() => (self.tick | 0xff).wrapping_add(1),
            None => self.next_cascade(),
        };
        Ticks::from_raw(at)
    }

    /// The first tick at which a higher level has something to spread.
    fn next_cascade(&self) -> u32 {
        for level in 1..LEVELS {
            let shift = u32::try_from(level).unwrap_or(0) * SLOT_BITS;
            let current = self.tick >> shift & 0xff;
            if let Some(index) = self.next_occupied(level, current + 1) {
                let base = if shift + SLOT_BITS >= 32 {
                    0
                } else {
                    self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS)
                };
                return base | index << shift;
            }
            // The rest of this turn is empty; what lies in its next turn is reached at the turn's end.
            if self.next_occupied(level, 0).is_some() {
                let turn = 1u32.checked_shl(shift + SLOT_BITS).unwrap_or(0);
                return if turn == 0 { 0 } else { (self.tick | (turn - 1)).wrapping_add(1) };
            }
        }
        (self.tick | 0xff).wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tcp::ticks::TICK_SHIFT;

    fn tick(count: u64) -> Ticks {
        Ticks::at(Instant(count << TICK_SHIFT))
    }

    #[test]
    fn no_visit_is_late_and_none_is_lost() {
        // Shows for deadlines on every level that walking by `next_deadline` alone visits each at its very tick.
        let start = 3_000_000_007u64;
        let deadlines = [1, 2, 255, 256, 257, 65_535, 65_536, 70_000, 16_777_216, 40_000_000];
        let mut wheel = Wheel::new(Instant(start << TICK_SHIFT));
        for (slot, ahead) in (0u32..).zip(deadlines) {
            wheel.insert(slot, tick(start + ahead));
        }
        let (mut seen, mut rounds) = (Vec::new(), 0);
        while !wheel.is_empty() {
            let at = wheel.next_deadline();
            wheel.advance(at, |slot, due| {
                assert_eq!(due, at);
                seen.push(slot);
            });
            rounds += 1;
            assert!(rounds < 2000, "the wheel crawls");
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_order_of_inserts_and_steps_keeps_the_promise(
            steps in prop::collection::vec(
                (prop_oneof![0u64..300, 0u64..300_000], prop_oneof![0u64..300, 0u64..400_000]),
                1..80,
            ),
        ) {
            // Shows against a list, for random jumps of time, that exactly the due ones are visited at each jump, and that the
            // next deadline is never behind the first of the others.
            let mut wheel = Wheel::new(Instant(0));
            let (mut now, mut pending) = (1u64, Vec::new());
            for (slot, (jump, ahead)) in (0u32..).zip(steps) {
                wheel.insert(slot, tick(now + ahead));
                pending.push((now + ahead, slot));
                now += jump;
                let mut seen = Vec::new();
                for _ in 0..4 {
                    wheel.advance(tick(now), |slot, _| seen.push(slot));
                }
                let mut due: Vec<_> = pending.iter().filter(|(at, _)| *at <= now).map(|(_, slot)| *slot).collect();
                pending.retain(|(at, _)| *at > now);
                seen.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(seen, due);
                prop_assert_eq!(wheel.len(), pending.len());
                if let Some((first, _)) = pending.iter().min() {
                    prop_assert!(wheel.next_deadline().until(tick(*first)) <= 0, "who sleeps until then is late");
                }
            }
        }
    }
}
