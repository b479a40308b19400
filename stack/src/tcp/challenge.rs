//! How many challenges are answered: a few a second for each connection, and how many is nobody else's to know.

/// Fewest challenges answered a second, for each connection: RFC 5961 section 7 leaves the number to us, and a count of its
/// own for each connection is no side channel to others.
const CHALLENGES_MIN: u8 = 5;

/// What is left of a second's answers, in a byte: the second modulo sixteen, and the answers given in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Challenges(u8);

impl Challenges {
    /// Answer one more? [`CHALLENGES_MIN`] to twelve a second; how many it is this second follows from `known`, which only the
    /// two ends know: a count that an attacker could reckon with would tell him how many of his guesses were answered.
    //= https://www.rfc-editor.org/rfc/rfc5961#section-7
    //# An implementation SHOULD include an ACK throttling mechanism to be
    //# conservative.
    pub fn take(&mut self, known: u32, now_ms: u32) -> bool {
        let second = u8::try_from(now_ms / 1_000 % 16).unwrap_or(0) << 4;
        if self.0 & 0xf0 != second {
            self.0 = second;
        }
        let mixed = (known ^ u32::from(second)).wrapping_mul(0x9e37_79b1);
        let budget = CHALLENGES_MIN + u8::try_from(mixed >> 29).unwrap_or(0);
        let left = self.0 & 0x0f < budget;
        self.0 += u8::from(left);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_differ_and_are_their_own() {
        // Shows five to twelve answers a second, every number of them about as often over connections and over seconds, anew
        // each second, and that what one connection has used another still has.
        let answers = |known: u32, second: u32| {
            let mut challenges = Challenges::default();
            (0..100).filter(|_| challenges.take(known, second * 1_000)).count()
        };
        let mut counts = [0; 16];
        for known in 0..4_000u32 {
            counts[answers(known.wrapping_mul(2_654_435_761), known % 16)] += 1;
        }
        assert_eq!(counts.iter().sum::<i32>(), counts[5..=12].iter().sum());
        assert!(counts[5..=12].iter().all(|count| (300..700).contains(count)), "{counts:?}");
        let seconds: Vec<usize> = (0..16).map(|second| answers(0x1234_5678, second)).collect();
        assert!(seconds.iter().any(|count| *count != seconds[0]), "{seconds:?}");
        let mut challenges = Challenges::default();
        while challenges.take(7, 5_999) {}
        assert!(!challenges.take(7, 5_999) && challenges.take(7, 6_000));
    }
}
