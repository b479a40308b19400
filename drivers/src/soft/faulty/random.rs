//! The generator behind every fault: the same numbers for the same seed, on every machine and in every release.

/// xoshiro256++, seeded by SplitMix64 as its authors advise.
///
/// Source: D. Blackman and S. Vigna, "Scrambled linear pseudorandom number generators", 2021.
pub(super) struct Random([u64; 4]);

impl Random {
    /// A sequence of its own for each `stream` of a seed.
    pub fn new(seed: u64, stream: u64) -> Random {
        let (mut seed, mut stream) = (seed, !stream);
        let mut state = split_mix(&mut seed) ^ split_mix(&mut stream);
        Random([(); 4].map(|()| split_mix(&mut state)))
    }

    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// True `percent` times in a hundred. One draw.
    pub fn chance(&mut self, percent: f64) -> bool {
        // 53 bits are what a float holds exactly: the same comparison everywhere.
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        share * 100.0 < percent
    }

    /// A number below `bound`; zero if that is zero. One draw.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// SplitMix64 (G. Steele, D. Lea and C. Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_are_the_published_ones() {
        // Shows the first numbers that the authors' own code gives for these states.
        let mut random = Random([1, 2, 3, 4]);
        let numbers = [(); 4].map(|()| random.next());
        assert_eq!(numbers, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);
    }

    #[test]
    fn draws_keep_their_bounds() {
        // Shows the ends of both draws, and that streams of one seed differ.
        let mut random = Random::new(7, 0);
        assert!((0..1000).all(|_| !random.chance(0.0) && random.chance(100.0) && !random.chance(f64::NAN)));
        assert!((0..1000).all(|_| random.below(3) < 3 && random.below(0) == 0));
        let seen: u64 = (0..100).fold(0, |seen, _| seen | 1 << random.below(3));
        assert_eq!(seen, 0b111);
        assert_ne!(Random::new(7, 0).next(), Random::new(7, 1).next());
        assert_ne!(Random::new(7, 0).next(), Random::new(8, 0).next());
    }
}
