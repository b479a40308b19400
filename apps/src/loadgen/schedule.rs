//! When requests are due in an open loop, whether or not the ones before are answered. Seeded: the same seed gives
//! the same times.

use std::time::Duration;

use corelane::Instant;

/// How arrivals are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// At equal distances.
    #[default]
    Fixed,
    /// At random, as from many clients that know nothing of each other.
    Poisson,
}

/// A small generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Above zero, up to one.
    fn unit(&mut self) -> f64 {
        let steps = u32::try_from(self.next() >> 32).unwrap_or(0);
        (f64::from(steps) + 1.0) / 4_294_967_296.0
    }
}

/// A lane's part of the arrivals.
#[derive(Clone, Debug)]
pub struct Schedule {
    spread: Spread,
    start: Instant,
    /// Arrivals a second.
    rate: f64,
    random: Random,
    /// The next arrival. Units: seconds after the start.
    next: f64,
    /// Arrivals so far, and where between two of them the lane begins.
    count: u64,
    phase: f64,
}

impl Schedule {
    /// The arrivals of lane `index` of `lanes`, which together have `rate` a second.
    pub fn new(
        spread: Spread,
        rate: f64,
        seed: u64,
        (index, lanes): (usize, usize),
        start: Instant,
    ) -> Schedule {
        let float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let (index_f, lanes_f) = (float(index), float(lanes.max(1)));
        let seed = seed.wrapping_add(u64::try_from(index).unwrap_or(0).wrapping_mul(0xa076_1d64_78bd_642f));
        let mut schedule = Schedule {
            spread,
            start,
            rate: rate / lanes_f,
            random: Random(seed),
            next: 0.0,
            count: 0,
            phase: index_f / lanes_f,
        };
        schedule.find();
        schedule
    }

    fn find(&mut self) {
        self.next = match self.spread {
            // From the count, so that rounding does not add up.
            #[expect(clippy::cast_precision_loss, reason = "exact for the first 2^53 arrivals")]
            Spread::Fixed => (self.count as f64 + self.phase) / self.rate,
            Spread::Poisson => self.next - self.random.unit().ln() / self.rate,
        };
    }

    /// When the next request is due.
    pub fn peek(&self) -> Instant {
        self.start.saturating_add(Duration::try_from_secs_f64(self.next).unwrap_or(Duration::MAX))
    }

    /// Step over the next request.
    pub fn step(&mut self) {
        self.count += 1;
        self.find();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(schedule: &mut Schedule, count: usize) -> Vec<u64> {
        (0..count)
            .map(|_| {
                let at = schedule.peek().0;
                schedule.step();
                at
            })
            .collect()
    }

    #[test]
    fn fixed_arrivals_of_two_lanes_interleave() {
        // Shows that two lanes' parts together are the whole rate at equal distances, and that nothing drifts.
        let start = Instant(5_000);
        let lane = |index| Schedule::new(Spread::Fixed, 1000.0, 1, (index, 2), start);
        assert_eq!(times(&mut lane(0), 3), [5_000, 2_005_000, 4_005_000]);
        assert_eq!(times(&mut lane(1), 3), [1_005_000, 3_005_000, 5_005_000]);
        let mut thirds = Schedule::new(Spread::Fixed, 3.0, 1, (0, 1), Instant(0));
        let all = times(&mut thirds, 3_000_001);
        assert_eq!(all.last(), Some(&1_000_000_000_000_000));
    }

    #[test]
    fn poisson_arrivals_are_seeded_and_have_the_rate() {
        // Shows that a seed gives the same times and another seed or lane others, that they never go back, and that
        // mean and deviation of the distances are those of an exponential distribution.
        let make = |seed, index| Schedule::new(Spread::Poisson, 2000.0, seed, (index, 2), Instant(0));
        let first = times(&mut make(7, 0), 20_000);
        assert_eq!(first, times(&mut make(7, 0), 20_000));
        assert_ne!(first[..9], times(&mut make(8, 0), 9));
        assert_ne!(first[..9], times(&mut make(7, 1), 9));
        let gaps: Vec<f64> = first.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((0.97e6..1.03e6).contains(&mean), "mean {mean}");
        assert!((0.95..1.05).contains(&(variance.sqrt() / mean)), "deviation {}", variance.sqrt());
    }
}
