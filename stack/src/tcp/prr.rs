//! Proportional Rate Reduction: how much goes out for each acknowledgement while a loss is repaired. How far the window
//! falls is `congestion`'s to say, what goes out `output`'s. RFC 9937, which replaces RFC 6937, has the rules for when
//! slow start is safe, for the first segment, and for what was reported before.

use super::state::Connection;

/// The account of one recovery. Units: bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prr {
    /// prr_delivered.
    pub delivered: u32,
    /// prr_out.
    pub out: u32,
    /// RecoverFS: outstanding when the recovery began, without what SACK had reported before.
    pub flight: u32,
}

/// The state of the network as an acknowledgement leaves it. Units: bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// DeliveredData: newly acknowledged, cumulatively or selectively.
    pub delivered: u32,
    /// What is probably in the network.
    pub pipe: u32,
    /// Slow-start threshold: where the recovery is to end.
    pub ssthresh: u32,
    /// SMSS.
    pub mss: u32,
    /// SND.UNA advanced and no further loss was found.
    pub safe: bool,
}

impl Prr {
    /// What may go out now, in whole segments: window and reports are in bytes, and a byte's worth is a segment's.
    //= https://www.rfc-editor.org/rfc/rfc6937#section-3
    //# sndcnt = CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out
    pub fn quota(&mut self, now: &Progress) -> u32 {
        let Progress { delivered, pipe, ssthresh, mss, safe } = *now;
        self.delivered = self.delivered.saturating_add(delivered);
        let count = if pipe > ssthresh {
            let due =
                (u64::from(self.delivered) * u64::from(ssthresh)).div_ceil(u64::from(self.flight.max(1)));
            u32::try_from(due).unwrap_or(u32::MAX).saturating_sub(self.out)
        } else {
            // Conservative unless all goes well: then the window may grow as in slow start.
            let limit = self.delivered.saturating_sub(self.out).max(delivered);
            let limit = if safe { limit.saturating_add(mss) } else { limit };
            (ssthresh - pipe).min(limit)
        };
        let count = if self.out == 0 { count.max(1) } else { count };
        count.div_ceil(mss).saturating_mul(mss)
    }
}

/// Bytes were sent, for the first time or again.
#[inline]
pub fn note_sent(connection: &mut Connection, bytes: u32) {
    if connection.recovers() {
        let prr = &mut connection.active_mut().loss.prr;
        prr.out = prr.out.saturating_add(bytes);
    }
}

/// Set the congestion window to what is in the network and what may follow it now.
pub fn regulate(connection: &mut Connection, delivered: u32, safe: bool) {
    let (pipe, ssthresh, mss) = (connection.pipe(), connection.cold.ssthresh, connection.send_mss());
    let prr = &mut connection.active_mut().loss.prr;
    if delivered == 0 && prr.out > 0 {
        return;
    }
    let quota = prr.quota(&Progress { delivered, pipe, ssthresh, mss, safe });
    connection.hot.cwnd = pipe.saturating_add(quota);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each acknowledgement of a recovery sends, in segments: `pipe` before the first, and for each whether it is
    /// safe and how many segments it finds lost; and `pipe` behind the last.
    fn sent(prr: &mut Prr, mut pipe: u32, acks: &[(bool, u32)]) -> (Vec<u32>, u32) {
        let mut sent = Vec::new();
        for (safe, lost) in acks {
            pipe -= 1 + lost;
            let now = Progress { delivered: 1, pipe, ssthresh: 10, mss: 1, safe: *safe };
            let quota = prr.quota(&now);
            prr.out += quota;
            pipe += quota;
            sent.push(quota);
        }
        (sent, pipe)
    }

    #[test]
    fn one_loss_spreads_the_reduction_over_the_round_trip() {
        // Shows RFC 6937's first example: of 20 segments the first is lost; two went by limited transmit, and the rest
        // of the round trip sends every other one, to end with ten in the network.
        //= https://www.rfc-editor.org/rfc/rfc6937#section-4
        //= type=test
        //# Normally, PRR will spread voluntary window reductions out evenly
        //# across a full RTT.
        let mut prr = Prr { flight: 20, ..Prr::default() };
        let mut acks = vec![(false, 1)];
        acks.extend([(false, 0); 16]);
        let (sent, pipe) = sent(&mut prr, 20, &acks);
        assert_eq!(sent, [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]);
        assert_eq!(pipe, 10);
    }

    #[test]
    fn a_burst_of_losses_is_repaired_at_the_pace_of_acknowledgements() {
        // Shows RFC 6937's second example: of 20 segments the first 15 are lost and five acknowledgements come; each
        // sends one segment while nothing says that repairs arrive, and two once it is safe.
        //= https://www.rfc-editor.org/rfc/rfc6937#section-3
        //= type=test
        //# sndcnt = MIN(ssthresh - pipe, limit)
        let mut prr = Prr { flight: 20, ..Prr::default() };
        assert_eq!(sent(&mut prr, 20, &[(false, 15), (false, 0), (false, 0)]), (vec![1, 1, 1], 5));
        let mut prr = Prr { flight: 20, ..Prr::default() };
        assert_eq!(sent(&mut prr, 20, &[(true, 15), (true, 0), (true, 0)]), (vec![2, 2, 2], 8));
    }

    #[test]
    fn the_first_segment_always_goes() {
        // Shows that a recovery begins with a segment though nothing was delivered, and that it is whole.
        let now = Progress { delivered: 0, pipe: 30_000, ssthresh: 10_000, mss: 1_460, safe: false };
        let mut prr = Prr { flight: 30_000, ..Prr::default() };
        assert_eq!(prr.quota(&now), 1_460);
        prr.out = 1_460;
        assert_eq!(prr.quota(&now), 0);
    }
}
