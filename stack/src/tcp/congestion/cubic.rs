//! CUBIC, RFC 9438: in congestion avoidance the window follows a cubic function of time, never below what Reno's would
//! be. All in integers: bytes, microseconds, and binary fractions of both.

use super::{CongestionControl, SSTHRESH_SEGMENTS_MIN, Window, hystart, reduce_for_mark, scaled, slow_start};

/// RFC 9438's algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Cubic;

/// The variables of RFC 9438 section 4.1.2. Units: bytes, where not said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CubicState {
    /// W_max: where the function has its plateau. Zero: undefined.
    pub w_max: u32,
    /// The window when `ssthresh` was last set.
    pub cwnd_prior: u32,
    /// W_est: the window that Reno would have.
    pub w_est: u32,
    /// K: how long the function takes to its plateau. Units: microseconds.
    pub k_us: u32,
    /// t: how long this stage of congestion avoidance has lasted, without times at which the application left the window
    /// unused. Units: microseconds; stays at the largest.
    pub elapsed_us: u32,
    /// When `elapsed_us` was right. Units: microseconds, wrapping.
    pub updated_us: u32,
    /// What the last growth left over. Units: bytes in `1 / cwnd`.
    pub remainder: u32,
    /// A stage has begun.
    pub in_stage: bool,
}

/// C, in segments a cubed second. Units: `1 / 2^32` of that.
//= https://www.rfc-editor.org/rfc/rfc9438#section-5.1
//# Therefore, _C_ SHOULD be set to 0.4.
const C: u128 = 1_717_986_918;

/// How far the window falls at a loss (beta): seven tenths.
//= https://www.rfc-editor.org/rfc/rfc9438#section-4.6
//# The parameter β__cubic_ SHOULD be set to 0.7, which is different from
//# the multiplicative decrease factor used in [RFC5681] (and [RFC6675])
//# during fast recovery.
const BETA: (u32, u32) = (7, 10);

/// How far it falls at a mark by RFC 8511: its section 3.1 has 0.85 for CUBIC.
const BETA_MARK: (u32, u32) = (17, 20);

/// `(1 + beta) / 2`, by which a flow that was overtaken leaves room.
//= https://www.rfc-editor.org/rfc/rfc9438#section-4.7
//# To speed up this
//# bandwidth release by existing flows, the following fast convergence
//# mechanism SHOULD be implemented.
const CONVERGENCE: (u32, u32) = (17, 20);

/// `3 · (1 - beta) / (1 + beta)`: Reno's growth of a segment a round trip, made less for falling less.
const ALPHA: (u32, u32) = (9, 17);

/// Time is taken in `2^-20` of a second.
const TIME_SHIFT: u32 = 20;

impl CongestionControl for Cubic {
    fn on_ack(&self, window: &mut Window<'_>, acked: u32) {
        //= https://www.rfc-editor.org/rfc/rfc9438#section-4.10
        //# When _cwnd_ is no more than _ssthresh_, CUBIC MUST employ a slow
        //# start algorithm.
        let left = if window.cwnd >= window.ssthresh {
            acked
        } else if window.ssthresh == u32::MAX && window.hystart {
            if hystart::on_ack(window, acked) {
                // W_max is undefined here: the first stage starts on the plateau (RFC 9438 section 4.10).
                window.control.cubic = CubicState { cwnd_prior: window.cwnd, ..CubicState::default() };
            }
            0
        } else {
            slow_start(window, acked)
        };
        if left > 0 {
            avoid(window, left);
        }
    }

    fn on_loss(&self, window: &mut Window<'_>, _flight: u32) {
        let reduced = decrease(window, BETA);
        window.ssthresh = reduced.max(SSTHRESH_SEGMENTS_MIN * window.mss);
        window.cwnd = window.ssthresh;
    }

    //= https://www.rfc-editor.org/rfc/rfc9438#section-4.6
    //# Note that CUBIC MUST continue to reduce _cwnd_ in response to
    //# congestion events detected by ECN-Echo ACKs until it reaches a value
    //# of 1 SMSS.
    fn on_mark(&self, window: &mut Window<'_>, _flight: u32) {
        let reduced = decrease(window, if window.abe { BETA_MARK } else { BETA });
        reduce_for_mark(window, reduced);
    }

    fn on_timeout(&self, window: &mut Window<'_>, _flight: u32) {
        let reduced = decrease(window, BETA);
        window.ssthresh = reduced.max(SSTHRESH_SEGMENTS_MIN * window.mss);
        window.cwnd = window.mss;
        // The first stage after a timeout starts on the plateau, wherever that is then (RFC 9438 section 4.8).
        window.control.cubic.w_max = 0;
    }
}

/// End the stage; what is left of the window. Fast convergence: a flow whose window was already smaller than before the
/// last reduction takes its plateau down further.
///
/// `cwnd` stands for the bytes in flight, for it opens by bytes alone that were sent while it was full (`validation`),
/// so it is never larger than what once was in flight.
//= https://www.rfc-editor.org/rfc/rfc9438#section-4.6
//# Implementations that use _cwnd_ MUST use other measures to prevent
//# _cwnd_ from growing when the volume of bytes in flight is smaller than
//# _cwnd_.
fn decrease(window: &mut Window<'_>, beta: (u32, u32)) -> u32 {
    // While a loss is repaired the window may be anything; what it will be is the threshold.
    let cwnd = if window.recovering && window.ssthresh < u32::MAX {
        window.cwnd.max(window.ssthresh)
    } else {
        window.cwnd
    };
    let state = &mut window.control.cubic;
    let w_max = if cwnd < state.w_max { scaled(cwnd, CONVERGENCE.0, CONVERGENCE.1) } else { cwnd };
    *state = CubicState { w_max, cwnd_prior: cwnd, ..CubicState::default() };
    window.control.bytes_acked = 0;
    scaled(cwnd, beta.0, beta.1)
}

/// Grow by one acknowledgement, in congestion avoidance.
fn avoid(window: &mut Window<'_>, acked: u32) {
    step(window);
    estimate_reno(window, acked);
    let (mss, srtt_us) = (window.mss, window.srtt_us);
    let state = &mut window.control.cubic;
    let now = w_cubic(state, mss, state.elapsed_us);
    if now < state.w_est {
        //= https://www.rfc-editor.org/rfc/rfc9438#section-4.3
        //# If so, CUBIC is in the
        //# Reno-friendly region and _cwnd_ SHOULD be set to _W_est_ at each
        //# reception of a new ACK.
        window.cwnd = window.cwnd.max(state.w_est);
        state.remainder = 0;
        return;
    }
    let target = w_cubic(state, mss, state.elapsed_us.saturating_add(srtt_us));
    let cwnd = window.cwnd.max(1);
    let target = target.clamp(cwnd, cwnd.saturating_add(cwnd / 2));
    // `(target - cwnd) / cwnd` for each segment acknowledged, in bytes, and nothing lost by rounding.
    let growth = u64::from(target - cwnd) * u64::from(acked.min(cwnd)) + u64::from(state.remainder);
    let (whole, left) = (growth / u64::from(cwnd), growth % u64::from(cwnd));
    window.cwnd = cwnd.saturating_add(u32::try_from(whole).unwrap_or(u32::MAX));
    state.remainder = u32::try_from(left).unwrap_or(0);
}

/// Let time pass, or begin a stage.
//= https://www.rfc-editor.org/rfc/rfc9438#section-4.2
//# The elapsed time _t_ in Figure 1 MUST NOT include periods during
//# which _cwnd_ has not been updated due to application-limited behavior
//# (see Section 5.8).
fn step(window: &mut Window<'_>) {
    let (cwnd, mss, now_us) = (window.cwnd, window.mss, window.now_us);
    let state = &mut window.control.cubic;
    if state.in_stage {
        // A flow that fills its window updates it at least once a round trip; twice that leaves room for a peer that
        // delays an acknowledgement.
        let most = window.srtt_us.saturating_mul(2).max(GAP_US_MIN);
        let passed = now_us.wrapping_sub(state.updated_us).min(most);
        state.elapsed_us = state.elapsed_us.saturating_add(passed);
    } else {
        let w_max = state.w_max.max(cwnd);
        let cwnd_prior = if state.cwnd_prior == 0 { cwnd } else { state.cwnd_prior };
        let k_us = k_us(w_max - cwnd, mss);
        //= https://www.rfc-editor.org/rfc/rfc9438#section-4.8
        //# In
        //# addition, for the Reno-friendly region, _W_est_ SHOULD be set to the
        //# congestion window size at the beginning of the current congestion
        *state = CubicState { w_max, cwnd_prior, w_est: cwnd, k_us, in_stage: true, ..CubicState::default() };
    }
    state.updated_us = now_us;
}

/// Least time between two updates that is taken for the application's doing: longer than a peer delays an
/// acknowledgement by far most often. Units: microseconds.
const GAP_US_MIN: u32 = 50_000;

/// Let the estimate of Reno's window grow: by alpha segments a window, by one once it is where the last reduction was.
//= https://www.rfc-editor.org/rfc/rfc9438#section-4.3
//# the sender SHOULD set α__cubic_ to 1 to ensure that it can achieve
//# the same congestion window increment rate as Reno, which uses AIMD(1,
//# 0.5).
fn estimate_reno(window: &mut Window<'_>, acked: u32) {
    let (cwnd, mss) = (window.cwnd, window.mss);
    let (state, bytes_acked) = (&mut window.control.cubic, &mut window.control.bytes_acked);
    let counted = if state.w_est >= state.cwnd_prior { acked } else { scaled(acked, ALPHA.0, ALPHA.1) };
    *bytes_acked = bytes_acked.saturating_add(counted);
    if *bytes_acked >= cwnd {
        *bytes_acked -= cwnd;
        state.w_est = state.w_est.saturating_add(mss);
    }
}

/// W_cubic(t) = C · (t - K)³ + W_max.
fn w_cubic(state: &CubicState, mss: u32, t_us: u32) -> u32 {
    // From microseconds to binary fractions of a second; the division is by a constant.
    let time = u128::from((u64::from(t_us.abs_diff(state.k_us)) << TIME_SHIFT) / 1_000_000);
    // Below 2^77, and with the factors to come below 2^124.
    let cubed = (time * time * time) >> TIME_SHIFT;
    let bytes = (cubed * u128::from(mss) * C) >> (2 * TIME_SHIFT + 32);
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    if t_us < state.k_us { state.w_max.saturating_sub(bytes) } else { state.w_max.saturating_add(bytes) }
}

/// K = ∛((W_max - cwnd) / C), in microseconds.
fn k_us(below: u32, mss: u32) -> u32 {
    let cubed = u128::from(below) * 5 * 1_000_000_000_000_000_000 / (2 * u128::from(mss.max(1)));
    u32::try_from(cube_root(cubed)).unwrap_or(u32::MAX)
}

/// The largest whole number whose cube is no more than `n`.
fn cube_root(n: u128) -> u64 {
    // Bit by bit from the highest that a cube of 128 bits has room for.
    let mut root: u64 = 0;
    for bit in (0..42).rev() {
        let next = root | 1 << bit;
        let wide = u128::from(next);
        if wide * wide * wide <= n {
            root = next;
        }
    }
    root
}

#[cfg(test)]
mod tests;
