//! One direction of the network: what becomes of each frame, and when what is left of it comes out.

use core::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::copies::Copies;
use super::random::Random;
use super::spec::Faults;
use crate::frame::Frame;

/// What happened to the frames of one direction.
///
/// Every frame is accounted for: `offered + duplicated = lost + queue_dropped + held_dropped + passed + held`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathStatistics {
    /// Frames that came to be passed.
    pub offered: u64,
    /// Copies made of them.
    pub duplicated: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames whose bits were flipped.
    pub corrupted: u64,
    /// Frames held back so that others overtake them.
    pub reordered: u64,
    /// Frames marked for the queue in front of the rate.
    pub marked: u64,
    /// Frames dropped because the queue in front of the rate was full.
    pub queue_dropped: u64,
    /// Frames dropped because too many were held.
    pub held_dropped: u64,
    /// Frames left as they were because the pool of copies was empty.
    pub no_copies: u64,
    /// Frames that went through.
    pub passed: u64,
    /// Frames held now.
    pub held: u64,
}

impl PathStatistics {
    pub(super) fn named(&self) -> [(&'static str, u64); 11] {
        let PathStatistics { offered, duplicated, lost, corrupted, reordered, marked, .. } = *self;
        let PathStatistics { queue_dropped, held_dropped, no_copies, passed, held, .. } = *self;
        [
            ("offered", offered),
            ("duplicated", duplicated),
            ("lost", lost),
            ("corrupted", corrupted),
            ("reordered", reordered),
            ("marked", marked),
            ("queue_dropped", queue_dropped),
            ("held_dropped", held_dropped),
            ("no_copies", no_copies),
            ("passed", passed),
            ("held", held),
        ]
    }
}

/// One direction of the network.
pub(super) struct Path {
    faults: Faults,
    fates: Random,
    flips: Random,
    held: BinaryHeap<Reverse<Waiting>>,
    held_max: usize,
    /// Order of admission.
    admitted: u64,
    /// When the line will have passed what was given to it. Units: nanoseconds.
    line_free: u64,
    /// The latest time at which a frame that keeps its place comes out.
    latest: u64,
    statistics: PathStatistics,
}

/// What the dice say of a frame. Always drawn whole: changing one fault leaves the others where they were.
struct Fate {
    lost: bool,
    corrupt: bool,
    duplicate: bool,
    held_back: Option<u64>,
    jitter: u64,
}

impl Fate {
    fn draw(faults: &Faults, random: &mut Random) -> Fate {
        let lost = random.chance(faults.loss);
        let corrupt = random.chance(faults.corrupt);
        let duplicate = random.chance(faults.duplicate);
        let reorder = random.chance(faults.reorder);
        let gap = 1 + random.below(faults.gap);
        let jitter = random.below(faults.jitter.saturating_add(1));
        Fate { lost, corrupt, duplicate, held_back: reorder.then_some(gap), jitter }
    }
}

impl Path {
    pub fn new(faults: Faults, fates: Random, flips: Random, held_max: usize) -> Path {
        Path {
            faults,
            fates,
            flips,
            held: BinaryHeap::with_capacity(held_max),
            held_max,
            admitted: 0,
            line_free: 0,
            latest: 0,
            statistics: PathStatistics::default(),
        }
    }

    /// Decide what becomes of a frame, and hold what is left of it until its time.
    pub fn admit(&mut self, now: u64, mut frame: Frame, copies: &mut Copies) {
        self.statistics.offered += 1;
        let fate = Fate::draw(&self.faults, &mut self.fates);
        if fate.lost {
            self.statistics.lost += 1;
            return;
        }
        if fate.corrupt {
            match copies.corrupted(&frame, &mut self.flips) {
                Some(corrupted) => {
                    frame = corrupted;
                    self.statistics.corrupted += 1;
                }
                None => self.statistics.no_copies += 1,
            }
        }
        let second = if fate.duplicate { copies.duplicate(&frame) } else { None };
        self.statistics.no_copies += u64::from(fate.duplicate && second.is_none());
        self.pass(now, fate.jitter, fate.held_back, frame, copies);
        if let Some(second) = second {
            self.statistics.duplicated += 1;
            self.pass(now, fate.jitter, None, second, copies);
        }
    }

    /// Put a frame on the line.
    fn pass(&mut self, now: u64, jitter: u64, held_back: Option<u64>, mut frame: Frame, copies: &mut Copies) {
        if self.held.len() >= self.held_max {
            self.statistics.held_dropped += 1;
            return;
        }
        let waiting = self.waiting(now);
        let Some(passed) = self.line(now, waiting, frame.total_len()) else {
            self.statistics.queue_dropped += 1;
            return;
        };
        if self.faults.mark.is_some_and(|mark| waiting > mark) {
            self.statistics.marked += u64::from(copies.mark(&mut frame));
        }
        let arrival = passed.saturating_add(self.faults.delay).saturating_add(jitter).max(self.latest);
        let at = match held_back {
            Some(gap) => {
                self.statistics.reordered += 1;
                arrival.saturating_add(gap)
            }
            None => {
                self.latest = arrival;
                arrival
            }
        };
        self.held.push(Reverse(Waiting { at, order: self.admitted, frame }));
        self.admitted += 1;
    }

    /// Bytes that wait in front of the line.
    fn waiting(&self, now: u64) -> u64 {
        let Some(rate) = self.faults.rate else { return 0 };
        let waiting = u128::from(self.line_free.saturating_sub(now)) * u128::from(rate.get()) / LINE_BITS;
        u64::try_from(waiting).unwrap_or(u64::MAX)
    }

    /// When the line will have passed a frame of this length behind those that wait; `None` if the queue in front of it
    /// is full.
    fn line(&mut self, now: u64, waiting: u64, length: usize) -> Option<u64> {
        let Some(rate) = self.faults.rate else { return Some(now) };
        let start = self.line_free.max(now);
        // A frame that finds the line free passes, however short the queue.
        if waiting > 0 && waiting.saturating_add(length as u64) > self.faults.queue {
            return None;
        }
        let takes = (length as u128 * LINE_BITS).div_ceil(u128::from(rate.get()));
        self.line_free = start.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        Some(self.line_free)
    }

    /// Append to `out` at most `max` frames whose time has come.
    pub fn release(&mut self, now: u64, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut count = 0;
        while count < max && self.next_release().is_some_and(|at| at <= now) {
            out.extend(self.held.pop().map(|Reverse(waiting)| waiting.frame));
            count += 1;
        }
        self.statistics.passed += count as u64;
        count
    }

    pub fn next_release(&self) -> Option<u64> {
        self.held.peek().map(|Reverse(waiting)| waiting.at)
    }

    pub fn statistics(&self) -> PathStatistics {
        PathStatistics { held: self.held.len() as u64, ..self.statistics }
    }
}

/// What makes bits a second of bytes and nanoseconds.
const LINE_BITS: u128 = 8 * 1_000_000_000;

/// A frame on its way. Frames of the same time come out in the order they went in.
struct Waiting {
    at: u64,
    order: u64,
    frame: Frame,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}
