//! DCTCP, RFC 8257: the window falls by as much as the share of bytes that were marked. Otherwise it is RFC 5681's. How
//! the receiver reports marks is `ecn`'s.

use super::{CongestionControl, NewReno, Window, reduce_for_mark};
use crate::wire::tcp::SeqNum;

/// RFC 8257's algorithm. Where ECN was not negotiated, RFC 5681's.
#[derive(Clone, Copy, Debug)]
pub struct Dctcp;

/// The variables of RFC 8257 section 3.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DctcpState {
    /// DCTCP.Alpha. Units: `1 / 2^20`.
    pub alpha: u32,
    /// DCTCP.WindowEnd.
    window_end: SeqNum,
    /// DCTCP.BytesAcked.
    acked: u32,
    /// DCTCP.BytesMarked.
    marked: u32,
    started: bool,
}

/// Alpha's scale: finer than the example of RFC 8257 section 4.2, so that an alpha of a hundredth is right to a thousandth.
const SCALE_SHIFT: u32 = 20;

/// Alpha when all bytes are marked.
pub const ALPHA_ONE: u32 = 1 << SCALE_SHIFT;

/// The estimation gain: a sixteenth, as RFC 8257 section 4.2 tells of implementations, Linux's among them.
const GAIN_SHIFT: u32 = 4;

impl CongestionControl for Dctcp {
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.4
    //# A DCTCP sender grows its congestion window in the same way as
    //# conventional TCP.
    fn on_ack(&self, window: &mut Window<'_>, acked: u32) {
        NewReno.on_ack(window, acked);
    }

    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.5
    //# A DCTCP sender MUST react to loss episodes in the same way as
    //# conventional TCP
    fn on_loss(&self, window: &mut Window<'_>, flight: u32) {
        NewReno.on_loss(window, flight);
    }

    fn on_timeout(&self, window: &mut Window<'_>, flight: u32) {
        NewReno.on_timeout(window, flight);
    }

    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.3
    //# the sender SHOULD update cwnd as follows:
    //# cwnd = cwnd * (1 - DCTCP.Alpha / 2)
    fn on_mark(&self, window: &mut Window<'_>, _flight: u32) {
        let alpha = if window.control.dctcp.started { window.control.dctcp.alpha } else { ALPHA_ONE };
        let fall = (u64::from(window.cwnd) * u64::from(alpha)) >> (SCALE_SHIFT + 1);
        let reduced = window.cwnd.saturating_sub(u32::try_from(fall).unwrap_or(u32::MAX));
        reduce_for_mark(window, reduced);
        window.control.bytes_acked = 0;
    }

    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.3
    //# The congestion estimator on the sender MUST process acceptable ACKs
    //# as follows:
    fn on_echo(&self, window: &mut Window<'_>, acked: u32) {
        let state = &mut window.control.dctcp;
        if !state.started {
            let window_end = window.snd_una - acked;
            *state = DctcpState { alpha: ALPHA_ONE, window_end, started: true, ..DctcpState::default() };
        }
        state.acked = state.acked.saturating_add(acked);
        if window.echoed {
            state.marked = state.marked.saturating_add(acked);
        }
        if window.snd_una.gt(state.window_end) && state.acked > 0 {
            state.alpha = estimate(state.alpha, state.marked, state.acked);
            state.window_end = window.snd_nxt;
            (state.acked, state.marked) = (0, 0);
        }
    }
}

/// Alpha after a window with `marked` bytes of `acked`.
fn estimate(alpha: u32, marked: u32, acked: u32) -> u32 {
    let share = (u64::from(marked) << SCALE_SHIFT) / u64::from(acked.max(1));
    let share = u32::try_from(share).unwrap_or(ALPHA_ONE);
    //= https://www.rfc-editor.org/rfc/rfc8257#section-4.2
    //# A scaling
    //# implementation SHOULD ensure that DCTCP.Alpha is able to reach 0 once
    //# it falls below the smallest shifted value
    let kept = if alpha >> GAIN_SHIFT == 0 { 0 } else { alpha - (alpha >> GAIN_SHIFT) };
    //= https://www.rfc-editor.org/rfc/rfc8257#section-4.2
    //# So, DCTCP.Alpha MUST be clamped after
    //# an update.
    (kept + (share >> GAIN_SHIFT)).min(ALPHA_ONE)
}

#[cfg(test)]
mod tests;
