#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the published equations are computed in floating point, to compare with"
)]

use super::*;
use crate::tcp::congestion::tests::Flow;
use proptest::prelude::*;

const MSS: u32 = 1448;

/// RFC 9438 section 4.2 in floating point: segments at `t` seconds.
fn published(w_max: f64, k: f64, t: f64) -> f64 {
    0.4 * (t - k).powi(3) + w_max
}

fn segments(flow: &Flow) -> f64 {
    f64::from(flow.cwnd) / f64::from(flow.mss)
}

/// Let a full window be acknowledged, a segment at a time, evenly over a round trip.
fn round(flow: &mut Flow, rtt_us: u32) {
    let count = (flow.cwnd / flow.mss).max(1);
    flow.srtt_us = rtt_us;
    let begun = flow.now_us;
    for n in 1..=count {
        flow.now_us = begun.wrapping_add((u64::from(rtt_us) * u64::from(n) / u64::from(count)) as u32);
        flow.ack(Cubic, flow.mss);
    }
}

#[test]
fn the_window_follows_the_published_curve() {
    // Shows, at round trips of 20 to 200 ms and windows of 400 to 20,000 segments, that from a loss on to twice K the
    // window is within 1 % of W(t) = C(t-K)³ + W_max, acknowledged segment by segment in virtual time.
    //= https://www.rfc-editor.org/rfc/rfc9438#section-5.1
    //= type=test
    //# Therefore, _C_ SHOULD be set to 0.4.
    for (rtt_us, w_max) in
        [(20_000, 2_000), (50_000, 1_000), (100_000, 400), (100_000, 5_000), (200_000, 20_000)]
    {
        let mut flow = Flow::new(w_max * MSS, w_max * MSS, MSS);
        flow.srtt_us = rtt_us;
        flow.with(|window| Cubic.on_loss(window, w_max * MSS));
        let start = segments(&flow);
        let k = ((f64::from(w_max) - start) / 0.4).cbrt();
        let begun = flow.now_us;
        let (mut worst, mut rounds): (f64, u32) = (0.0, 0);
        loop {
            let t = f64::from(flow.now_us.wrapping_sub(begun)) / 1e6;
            if t > 2.0 * k {
                break;
            }
            let expected = published(f64::from(w_max), k, t);
            worst = worst.max((segments(&flow) - expected).abs() / expected);
            round(&mut flow, rtt_us);
            rounds += 1;
        }
        assert!(rounds > 20 && worst < 0.01, "{rtt_us} us, {w_max} segments: {:.2} % off", worst * 100.0);
    }
}

#[test]
fn time_that_the_application_left_unused_does_not_count() {
    // Shows that a flow which sent little for 30 s in the middle of the curve goes on where it was, plus two round trips
    // at most.
    //= https://www.rfc-editor.org/rfc/rfc9438#section-4.2
    //= type=test
    //# The elapsed time _t_ in Figure 1 MUST NOT include periods during
    //# which _cwnd_ has not been updated due to application-limited behavior
    //# (see Section 5.8).
    let mut flow = Flow::new(1_000 * MSS, 1_000 * MSS, MSS);
    flow.srtt_us = 100_000;
    flow.with(|window| Cubic.on_loss(window, 0));
    for _ in 0..20 {
        round(&mut flow, 100_000);
    }
    let before = (flow.cwnd, flow.control.cubic.elapsed_us);
    flow.now_us = flow.now_us.wrapping_add(30_000_000);
    flow.ack(Cubic, MSS);
    assert!(flow.cwnd - before.0 < MSS);
    assert_eq!(flow.control.cubic.elapsed_us - before.1, 200_000);
}

#[test]
fn the_window_grows_as_renos_where_that_is_faster() {
    // Shows at a round trip of 1 ms: 9/17 of a segment a round trip until the window is where it was reduced, then one.
    //= https://www.rfc-editor.org/rfc/rfc9438#section-4.3
    //= type=test
    //# If so, CUBIC is in the
    //# Reno-friendly region and _cwnd_ SHOULD be set to _W_est_ at each
    //# reception of a new ACK.
    let mut flow = Flow::new(40 * MSS, 40 * MSS, MSS);
    flow.with(|window| Cubic.on_loss(window, 0));
    assert_eq!(flow.cwnd, 28 * MSS);
    let mut rounds = 0;
    while flow.cwnd < 40 * MSS {
        round(&mut flow, 1_000);
        rounds += 1;
    }
    // Twelve segments; a full window of acknowledgements is a little more than a round of whole segments at times.
    let expected = 12.0 / (9.0 / 17.0);
    assert!((f64::from(rounds) - expected).abs() <= 2.0, "{rounds} rounds, not {expected}");
    for _ in 0..20 {
        round(&mut flow, 1_000);
    }
    assert!((segments(&flow) - 60.0).abs() <= 1.0, "{}", segments(&flow));
}

#[test]
fn the_window_falls_to_seven_tenths() {
    // Shows the decrease, the plateau with and without fast convergence, and the least values.
    //= https://www.rfc-editor.org/rfc/rfc9438#section-4.7
    //= type=test
    //# To speed up this
    //# bandwidth release by existing flows, the following fast convergence
    //# mechanism SHOULD be implemented.
    let mut flow = Flow::new(1_000_000, 500_000, 1000);
    flow.with(|window| Cubic.on_loss(window, 0));
    assert_eq!((flow.cwnd, flow.ssthresh, flow.control.cubic.w_max), (700_000, 700_000, 1_000_000));
    // Reduced again before it was back: it leaves room for whoever takes it.
    flow.with(|window| Cubic.on_loss(window, 0));
    assert_eq!((flow.cwnd, flow.control.cubic.w_max), (490_000, 595_000));
    flow.cwnd = 600_000;
    flow.with(|window| Cubic.on_loss(window, 0));
    assert_eq!((flow.cwnd, flow.control.cubic.w_max), (420_000, 600_000));
    flow.cwnd = 2_000;
    flow.with(|window| Cubic.on_loss(window, 0));
    assert_eq!((flow.cwnd, flow.ssthresh), (2_000, 2_000));
}

#[test]
fn after_a_timeout_the_curve_starts_on_its_plateau() {
    // Shows slow start from one segment to seven tenths of the window, and then W(t) with K = 0 from there.
    //= https://www.rfc-editor.org/rfc/rfc9438#section-4.10
    //= type=test
    //# When _cwnd_ is no more than _ssthresh_, CUBIC MUST employ a slow
    //# start algorithm.
    let mut flow = Flow::new(1_000 * MSS, 1_000 * MSS, MSS);
    flow.with(|window| Cubic.on_timeout(window, 0));
    assert_eq!((flow.cwnd, flow.ssthresh), (MSS, 700 * MSS));
    let mut rounds = 0;
    while flow.cwnd < flow.ssthresh {
        round(&mut flow, 100_000);
        rounds += 1;
    }
    assert_eq!(rounds, 10, "2^10 is the first power of two beyond 700");
    assert_eq!(flow.control.cubic.k_us, 0);
    let (begun, plateau) =
        (flow.now_us.wrapping_sub(flow.control.cubic.elapsed_us), flow.control.cubic.w_max);
    while segments(&flow) < 900.0 {
        round(&mut flow, 100_000);
        let t = f64::from(flow.now_us.wrapping_sub(begun)) / 1e6;
        let expected = published(f64::from(plateau) / f64::from(MSS), 0.0, t).max(700.0);
        assert!((segments(&flow) - expected).abs() / expected < 0.015, "{} not {expected}", segments(&flow));
    }
}

#[test]
fn a_stage_may_last_for_ever() {
    // Shows that hours without a loss neither wrap the curve nor make the window fall.
    let mut flow = Flow::new(100 * MSS, 50 * MSS, MSS);
    flow.srtt_us = 1_000_000;
    let mut before = flow.cwnd;
    for _ in 0..10_000 {
        flow.now_us = flow.now_us.wrapping_add(1_900_000);
        flow.ack(Cubic, MSS);
        assert!(flow.cwnd >= before);
        before = flow.cwnd;
    }
    assert_eq!(flow.control.cubic.elapsed_us, u32::MAX);
}

#[test]
fn a_segment_of_no_bytes_divides_nothing() {
    // Shows K for a segment size that no connection has, taken for one byte.
    assert_eq!(k_us(1_000_000, 0), k_us(1_000_000, 1));
}

proptest! {
    #[test]
    fn the_curve_in_integers_is_the_curve(w_max in 0u32..1 << 30, k_us in 0u32..200_000_000, t_us in 0u32..400_000_000, mss in 48u32..9_000) {
        // Shows the integer function beside floating point: right to a hundred-thousandth, or a byte.
        let state = CubicState { w_max, k_us, ..CubicState::default() };
        let apart = (f64::from(t_us) - f64::from(k_us)) / 1e6;
        let expected = (f64::from(w_max) + 0.4 * f64::from(mss) * apart.powi(3)).clamp(0.0, f64::from(u32::MAX));
        let found = f64::from(w_cubic(&state, mss, t_us));
        let grown = (expected - f64::from(w_max)).abs();
        prop_assert!((found - expected).abs() <= 2.0 + grown / 50_000.0, "{found} not {expected}");
    }

    #[test]
    fn k_takes_the_curve_to_its_plateau(below in 0u32..1 << 30, mss in 48u32..9_000) {
        // Shows that K is the time at which the function has grown by what was missing.
        let expected = (f64::from(below) / 0.4 / f64::from(mss)).cbrt() * 1e6;
        prop_assert!((f64::from(k_us(below, mss)) - expected).abs() <= 1.0 + expected / 1e9);
    }

    #[test]
    fn a_cube_root_is_the_largest_that_fits(n in any::<u128>()) {
        // Shows the root's cube below, and its successor's above, for any number.
        let root = u128::from(cube_root(n));
        prop_assert!(root * root * root <= n);
        prop_assert!((root + 1).checked_pow(3).is_none_or(|above| above > n) || root + 1 == 1 << 42);
    }
}
