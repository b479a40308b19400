//! How many challenges are answered: a few a second for each connection, and how many is nobody else's to know.

use crate::config::TcpConfig;

/// Most that the settings can ask for: with what is added they are counted in half a byte.
const LEAST_MAX: u8 = 8;

/// How many answers the settings allow a connection: RFC 5961 section 7 leaves the number to us, and a count of its own for
/// each connection is no side channel to others.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// At least so many in an interval.
    least: u8,
    interval_ms: u32,
}

impl Limit {
    /// What the settings say, as far as it can be counted.
    //= https://www.rfc-editor.org/rfc/rfc5961#section-7
    //# 2) The values for both the time and number of ACKs SHOULD be tunable
    //# by the system administrator
    pub fn of(config: &TcpConfig) -> Limit {
        Limit { least: config.challenges.min(LEAST_MAX), interval_ms: config.challenge_interval_ms.max(1) }
    }
}

/// What is left of an interval's answers, in a byte: the interval modulo sixteen, and the answers given in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Challenges(u8);

impl Challenges {
    /// None was answered yet.
    pub const NONE: Challenges = Challenges(0);

    /// Answer one more? As often as the limit says, and up to seven times more: by default five to twelve times a second. How
    /// many it is this time follows from `known`, which only the two ends know: a count that an attacker could reckon with
    /// would tell him how many of his guesses were answered.
    //= https://www.rfc-editor.org/rfc/rfc5961#section-7
    //# An implementation SHOULD include an ACK throttling mechanism to be
    //# conservative.
    pub fn take(&mut self, limit: Limit, known: u32, now_ms: u32) -> bool {
        let interval = u8::try_from(now_ms / limit.interval_ms % 16).unwrap_or(0) << 4;
        if self.0 & 0xf0 != interval {
            self.0 = interval;
        }
        let mixed = (known ^ u32::from(interval)).wrapping_mul(0x9e37_79b1);
        let budget = limit.least + u8::try_from(mixed >> 29).unwrap_or(0);
        let left = self.0 & 0x0f < budget;
        self.0 += u8::from(left);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { least: 5, interval_ms: 1_000 };

    #[test]
    fn budgets_differ_and_are_their_own() {
        // Shows five to twelve answers a second, every number of them about as often over connections and over seconds, anew
        // each second, and that what one connection has used another still has.
        let answers = |known: u32, second: u32| {
            let mut challenges = Challenges::default();
            (0..100).filter(|_| challenges.take(LIMIT, known, second * 1_000)).count()
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
        while challenges.take(LIMIT, 7, 5_999) {}
        assert!(!challenges.take(LIMIT, 7, 5_999) && challenges.take(LIMIT, 7, 6_000));
    }
}
