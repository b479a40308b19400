//! Round-trip time and the retransmission timeout, by RFC 6298. When to time and when to arm is `input`'s and
//! `timers`' business.

use crate::config::TcpConfig;

/// What is known of the path's round trip. Units: microseconds. The retransmission timeout follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rtt {
    /// Smoothed round-trip time; zero before the first measurement.
    pub srtt_us: u32,
    /// Its mean deviation; before the first measurement the least timeout.
    pub rttvar_us: u32,
}

impl Rtt {
    /// The retransmission timeout, not backed off. Units: microseconds.
    //= https://www.rfc-editor.org/rfc/rfc6298#section-2
    //# (2.1) Until a round-trip time (RTT) measurement has been made for a
    //#       segment sent between the sender and receiver, the sender SHOULD
    //#       set RTO <- 1 second
    #[inline]
    pub fn rto_us(&self, config: &TcpConfig) -> u32 {
        if self.srtt_us == 0 {
            return config.rto_initial_us.max(self.rttvar_us);
        }
        let rto = self.srtt_us.saturating_add(self.rttvar_us.saturating_mul(4).max(GRANULARITY_US));
        rto.clamp(config.rto_min_us, config.rto_max_us)
    }

    /// Take a measurement in.
    //= https://www.rfc-editor.org/rfc/rfc6298#section-2
    //# (2.3) When a subsequent RTT measurement R' is made, a host MUST set
    //#       RTTVAR <- (1 - beta) * RTTVAR + beta * |SRTT - R'|
    //#       SRTT <- (1 - alpha) * SRTT + alpha * R'
    #[inline(always)]
    pub fn measure(&mut self, sample_us: u32) {
        let sample = sample_us.max(1);
        if self.srtt_us == 0 {
            //= https://www.rfc-editor.org/rfc/rfc6298#section-2
            //# (2.2) When the first RTT measurement R is made, the host MUST set
            //#       SRTT <- R
            //#       RTTVAR <- R/2
            self.srtt_us = sample;
            self.rttvar_us = sample / 2;
        } else {
            self.rttvar_us = self.rttvar_us - self.rttvar_us / 4 + self.srtt_us.abs_diff(sample) / 4;
            self.srtt_us = (self.srtt_us - self.srtt_us / 8 + sample / 8).max(1);
        }
    }
}

/// G of RFC 6298: the wheel's tick, rounded up.
const GRANULARITY_US: u32 = 66;

/// The timeout after `backoff` timeouts in a row.
//= https://www.rfc-editor.org/rfc/rfc6298#section-5
//# (5.5) The host MUST set RTO <- RTO * 2 ("back off the timer").
#[inline]
pub fn backed_off(rto_us: u32, backoff: u8, max_us: u32) -> u32 {
    if backoff == 0 {
        return rto_us.min(max_us);
    }
    rto_us
        .checked_shl(u32::from(backoff.min(20)))
        .filter(|us| us >> backoff.min(20) == rto_us)
        .map_or(max_us, |us| us.min(max_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_equations() {
        // Shows the first and a later measurement against section 2 computed by hand, and the bounds of the RTO.
        //= https://www.rfc-editor.org/rfc/rfc6298#section-2
        //= type=test
        //# (2.2) When the first RTT measurement R is made, the host MUST set
        //#       SRTT <- R
        //#       RTTVAR <- R/2
        let config = TcpConfig { rto_min_us: 1, ..TcpConfig::default() };
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto_us(&config), 1_000_000);
        assert_eq!(
            Rtt { rttvar_us: 3_000_000, ..rtt }.rto_us(&config),
            3_000_000,
            "the least, where it is said"
        );
        rtt.measure(80_000);
        assert_eq!((rtt, rtt.rto_us(&config)), (Rtt { srtt_us: 80_000, rttvar_us: 40_000 }, 240_000));
        rtt.measure(40_000);
        assert_eq!((rtt, rtt.rto_us(&config)), (Rtt { srtt_us: 75_000, rttvar_us: 40_000 }, 235_000));
        let config = TcpConfig::default();
        rtt.measure(1);
        for _ in 0..100 {
            rtt.measure(50);
        }
        assert_eq!(rtt.rto_us(&config), config.rto_min_us);
        rtt.measure(u32::MAX);
        assert_eq!(rtt.rto_us(&config), config.rto_max_us);
    }

    #[test]
    fn the_timer_backs_off_to_its_bound() {
        // Shows doubling, and that no shift overflows past the bound.
        //= https://www.rfc-editor.org/rfc/rfc6298#section-5
        //= type=test
        //# (5.5) The host MUST set RTO <- RTO * 2 ("back off the timer").
        assert_eq!(backed_off(200_000, 0, 120_000_000), 200_000);
        assert_eq!(backed_off(200_000, 3, 120_000_000), 1_600_000);
        for backoff in 10..=255 {
            assert_eq!(backed_off(1_000_000, backoff, 120_000_000), 120_000_000);
        }
    }
}
