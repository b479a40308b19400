//! HyStart++, RFC 9406: the initial slow start ends when round trips get longer, before packets are lost.

use super::{SLOW_START_SEGMENTS, Window};
use crate::wire::tcp::SeqNum;

/// What slow start remembers of the current round and the one before. Units: microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HyStart {
    /// The current round ends when this is acknowledged.
    round_end: SeqNum,
    last_min_us: u32,
    current_min_us: u32,
    /// The round trip at which conservative slow start began; [`INFINITY`] outside of it.
    baseline_us: u32,
    samples: u8,
    /// Rounds of conservative slow start.
    rounds: u8,
    started: bool,
}

/// No round trip was measured.
const INFINITY: u32 = u32::MAX;

/// MIN_RTT_THRESH and MAX_RTT_THRESH of section 4.3. Units: microseconds.
const RTT_THRESH_US: (u32, u32) = (4_000, 16_000);
/// MIN_RTT_DIVISOR.
const RTT_DIVISOR: u32 = 8;
/// N_RTT_SAMPLE.
const SAMPLES_MIN: u8 = 8;
/// CSS_GROWTH_DIVISOR.
const CSS_GROWTH_DIVISOR: u32 = 4;
/// CSS_ROUNDS.
const CSS_ROUNDS: u8 = 5;

impl HyStart {
    /// In conservative slow start.
    pub fn is_conservative(&self) -> bool {
        self.started && self.baseline_us != INFINITY
    }

    fn start(&mut self, round_end: SeqNum) {
        *self = HyStart {
            round_end,
            last_min_us: INFINITY,
            current_min_us: INFINITY,
            baseline_us: INFINITY,
            started: true,
            ..HyStart::default()
        };
    }
}

/// Grow by one acknowledgement in the initial slow start. True if that ends with it: `ssthresh` is set.
//= https://www.rfc-editor.org/rfc/rfc9406#section-4.3
//# An implementation SHOULD use HyStart++ only for the initial slow
//# start (when the ssthresh is at its initial value of arbitrarily high
//# per [RFC5681])
pub(super) fn on_ack(window: &mut Window<'_>, acked: u32) -> bool {
    let state = &mut window.control.hystart;
    if !state.started {
        state.start(window.snd_nxt);
    }
    let counted = acked.min(SLOW_START_SEGMENTS * window.mss);
    let growth = if state.is_conservative() { counted / CSS_GROWTH_DIVISOR } else { counted };
    window.cwnd = window.cwnd.saturating_add(growth);
    if window.rtt_us > 0 {
        state.current_min_us = state.current_min_us.min(window.rtt_us);
        state.samples = state.samples.saturating_add(1);
    }
    if state.samples >= SAMPLES_MIN {
        judge(state);
    }
    if !window.snd_una.gt(state.round_end) {
        return false;
    }
    if state.is_conservative() {
        state.rounds += 1;
        if state.rounds >= CSS_ROUNDS {
            //= https://www.rfc-editor.org/rfc/rfc9406#section-4.2
            //# If CSS_ROUNDS rounds are complete, enter congestion avoidance by
            //# setting the ssthresh to the current cwnd.
            window.ssthresh = window.cwnd;
            *state = HyStart::default();
            return true;
        }
    }
    state.last_min_us = state.current_min_us;
    state.current_min_us = INFINITY;
    state.samples = 0;
    state.round_end = window.snd_nxt;
    false
}

/// Enough round trips of this round are known: are they longer than the last round's, or short again?
fn judge(state: &mut HyStart) {
    if state.is_conservative() {
        //= https://www.rfc-editor.org/rfc/rfc9406#section-4.2
        //# For CSS rounds where at least N_RTT_SAMPLE RTT samples have been
        //# obtained, check to see if the current round's minRTT drops below
        //# baseline (cssBaselineMinRtt)
        if state.current_min_us < state.baseline_us {
            state.baseline_us = INFINITY;
            state.rounds = 0;
        }
        return;
    }
    if state.current_min_us == INFINITY || state.last_min_us == INFINITY {
        return;
    }
    let threshold = (state.last_min_us / RTT_DIVISOR).clamp(RTT_THRESH_US.0, RTT_THRESH_US.1);
    if state.current_min_us >= state.last_min_us.saturating_add(threshold) {
        // The round in which conservative slow start begins counts as its first.
        state.baseline_us = state.current_min_us;
        state.rounds = 0;
    }
}

#[cfg(test)]
mod tests;
