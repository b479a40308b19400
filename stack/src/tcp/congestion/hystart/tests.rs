use crate::tcp::congestion::tests::Flow;
use crate::tcp::congestion::{CongestionControl, Cubic};

const MSS: u32 = 1000;

/// A round of slow start, one acknowledgement for each two segments, each measuring `rtt_us`.
fn round(flow: &mut Flow, rtt_us: u32) {
    flow.rtt_us = rtt_us;
    for _ in 0..flow.cwnd / (2 * MSS) {
        flow.now_us = flow.now_us.wrapping_add(100);
        flow.ack(Cubic, 2 * MSS);
    }
}

fn slow_start() -> Flow {
    Flow::new(20 * MSS, u32::MAX, MSS)
}

#[test]
fn longer_round_trips_end_slow_start_in_six_rounds() {
    // Shows doubling while round trips stay, growth by a quarter of that once they are longer, and congestion avoidance
    // after five such rounds, the one in which they began included.
    //= https://www.rfc-editor.org/rfc/rfc9406#section-4.2
    //= type=test
    //# If CSS_ROUNDS rounds are complete, enter congestion avoidance by
    //# setting the ssthresh to the current cwnd.
    let mut flow = slow_start();
    for _ in 0..3 {
        let before = flow.cwnd;
        round(&mut flow, 40_000);
        assert!(flow.cwnd >= 2 * before - 2 * MSS && !flow.control.hystart.is_conservative());
    }
    let mut rounds = 0;
    while flow.ssthresh == u32::MAX {
        round(&mut flow, 60_000);
        rounds += 1;
        assert!(flow.control.hystart.is_conservative() || flow.ssthresh < u32::MAX);
    }
    assert!((5..=6).contains(&rounds), "{rounds} rounds");
    // The first of them ends as it began, doubling half way; each of the others adds a quarter.
    let threshold = f64::from(flow.ssthresh) / f64::from(160 * MSS);
    assert!((2.4..4.8).contains(&threshold), "{threshold} windows");
    assert_eq!(flow.control.cubic.k_us, 0);
}

#[test]
fn a_passing_delay_ends_nothing() {
    // Shows that slow start goes on, doubling, when round trips are short again within the five rounds.
    //= https://www.rfc-editor.org/rfc/rfc9406#section-4.2
    //= type=test
    //# For CSS rounds where at least N_RTT_SAMPLE RTT samples have been
    //# obtained, check to see if the current round's minRTT drops below
    //# baseline (cssBaselineMinRtt)
    let mut flow = slow_start();
    round(&mut flow, 40_000);
    round(&mut flow, 40_000);
    round(&mut flow, 50_000);
    assert!(flow.control.hystart.is_conservative());
    round(&mut flow, 40_000);
    assert!(!flow.control.hystart.is_conservative());
    let before = flow.cwnd;
    round(&mut flow, 40_000);
    assert!(flow.cwnd >= 2 * before - 2 * MSS && flow.ssthresh == u32::MAX);
}

#[test]
fn the_threshold_is_an_eighth_within_its_bounds() {
    // Shows the least delay that counts at round trips of 1, 32, 80 and 400 ms, and that one microsecond less does not.
    for (rtt_us, threshold) in [(1_000, 4_000), (32_000, 4_000), (80_000, 10_000), (400_000, 16_000)] {
        for (late, conservative) in [(threshold - 1, false), (threshold, true)] {
            let mut flow = slow_start();
            round(&mut flow, rtt_us);
            round(&mut flow, rtt_us);
            round(&mut flow, rtt_us + late);
            assert_eq!(flow.control.hystart.is_conservative(), conservative, "{rtt_us} + {late}");
        }
    }
}

#[test]
fn few_samples_say_nothing() {
    // Shows that seven round trips in a round do not end slow start, and the eighth does.
    let mut flow = slow_start();
    round(&mut flow, 40_000);
    round(&mut flow, 40_000);
    while flow.control.hystart.samples > 0 {
        flow.ack(Cubic, 2 * MSS);
    }
    flow.rtt_us = 80_000;
    for _ in 0..7 {
        flow.ack(Cubic, 2 * MSS);
        assert!(!flow.control.hystart.is_conservative());
    }
    flow.ack(Cubic, 2 * MSS);
    assert!(flow.control.hystart.is_conservative());
}

#[test]
fn a_round_ends_behind_its_last_number() {
    // Shows that an acknowledgement up to what was sent next when the round began is the round's last, and the one behind
    // it begins another.
    //= https://www.rfc-editor.org/rfc/rfc9406#section-4.2
    //= type=test
    //# When windowEnd is ACKed, the current round ends and windowEnd is
    //# set to SND.NXT.
    let mut flow = slow_start();
    flow.rtt_us = 40_000;
    flow.ack(Cubic, MSS);
    let end = flow.control.hystart.round_end;
    while flow.una != end {
        flow.ack(Cubic, MSS);
        assert!(flow.control.hystart.samples > 0 && flow.control.hystart.round_end == end);
    }
    flow.ack(Cubic, MSS);
    assert!(flow.control.hystart.samples == 0 && flow.control.hystart.round_end.gt(end));
}

#[test]
fn a_loss_ends_it_for_good() {
    // Shows that after a loss slow start is the standard one, however long round trips are.
    //= https://www.rfc-editor.org/rfc/rfc9406#section-4.3
    //= type=test
    //# An implementation SHOULD use HyStart++ only for the initial slow
    //# start (when the ssthresh is at its initial value of arbitrarily high
    //# per [RFC5681])
    let mut flow = Flow::new(200 * MSS, u32::MAX, MSS);
    flow.with(|window| Cubic.on_timeout(window, 200 * MSS));
    assert_eq!((flow.cwnd, flow.ssthresh), (MSS, 140 * MSS));
    for rtt_ms in [10, 10, 100, 200, 400, 800] {
        let before = flow.cwnd;
        flow.rtt_us = rtt_ms * 1_000;
        for _ in 0..before / MSS {
            flow.ack(Cubic, MSS);
        }
        assert_eq!(flow.cwnd, 2 * before);
    }
}
