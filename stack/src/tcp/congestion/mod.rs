//! Congestion control: how many bytes may be in flight. One file for each algorithm; what was lost is `loss`'s to say,
//! what was marked `ecn`'s.

mod control;
mod cubic;
mod dctcp;
mod hystart;
mod newreno;
pub mod validation;

pub use control::{Control, Controls};
pub use cubic::Cubic;
pub use dctcp::Dctcp;
pub use newreno::NewReno;

use crate::config::Congestion;
use crate::wire::tcp::SeqNum;

/// A flow's congestion state as an algorithm sees it. Units: bytes, but for what says otherwise.
#[derive(Debug)]
pub struct Window<'a> {
    /// Congestion window.
    pub cwnd: u32,
    /// Slow-start threshold; `u32::MAX` before the first loss.
    pub ssthresh: u32,
    /// SMSS.
    pub mss: u32,
    /// What the algorithm remembers of the flow.
    pub control: &'a mut Control,
    /// SND.UNA, moved already by the acknowledgement at hand.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// The time. Units: microseconds, wrapping.
    pub now_us: u32,
    /// The round trip that the acknowledgement at hand measured, or zero. Units: microseconds.
    pub rtt_us: u32,
    /// Smoothed round-trip time. Units: microseconds; zero before the first measurement.
    pub srtt_us: u32,
    /// The acknowledgement at hand echoes a congestion mark.
    pub echoed: bool,
    /// The window was made smaller for marks, and bytes of that time are still in flight.
    pub in_cwr: bool,
    /// A loss is being repaired.
    pub recovering: bool,
    /// Slow start ends by HyStart++, where the algorithm has it.
    pub hystart: bool,
    /// Marks count less than losses (RFC 8511).
    pub abe: bool,
    /// The window was made smaller by this event.
    pub reduced: bool,
}

/// One algorithm. It has no state of its own: all of it is in the flow.
pub trait CongestionControl {
    /// `acked` new bytes were acknowledged, outside of recovery, while the window was what held the sender back.
    fn on_ack(&self, window: &mut Window<'_>, acked: u32);
    /// Loss was found by duplicates, with `flight` bytes outstanding: once for each window.
    fn on_loss(&self, window: &mut Window<'_>, flight: u32);
    /// The peer echoes a congestion mark, with `flight` bytes outstanding: once for each window.
    fn on_mark(&self, window: &mut Window<'_>, flight: u32);
    /// The retransmission timer ran out, with `flight` bytes outstanding.
    fn on_timeout(&self, window: &mut Window<'_>, flight: u32);
    /// `acked` new bytes were acknowledged, whatever held the sender back; `window.echoed` says whether under a mark.
    fn on_echo(&self, _window: &mut Window<'_>, _acked: u32) {}
}

/// A flow's algorithm, and what all of them have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Algorithm(pub Congestion);

impl Algorithm {
    /// `acked` new bytes were acknowledged, outside of recovery, while the window was what held the sender back.
    pub fn on_ack(self, window: &mut Window<'_>, acked: u32) {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
        //# The sending
        //# TCP SHOULD NOT increase the congestion window in response to the
        //# receipt of an ECN-Echo ACK packet.
        if window.echoed {
            return;
        }
        match self.0 {
            Congestion::Cubic => Cubic.on_ack(window, acked),
            Congestion::Dctcp => Dctcp.on_ack(window, acked),
            Congestion::NewReno => NewReno.on_ack(window, acked),
        }
    }

    /// `acked` new bytes were acknowledged, whatever held the sender back.
    pub fn on_echo(self, window: &mut Window<'_>, acked: u32) {
        match self.0 {
            Congestion::Cubic => Cubic.on_echo(window, acked),
            Congestion::Dctcp => Dctcp.on_echo(window, acked),
            Congestion::NewReno => NewReno.on_echo(window, acked),
        }
    }

    /// Loss was found by duplicates, with `flight` bytes outstanding: once for each window.
    pub fn on_loss(self, window: &mut Window<'_>, flight: u32) {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
        //# That is, the TCP sender's congestion window should be reduced
        //# only once in response to a series of dropped and/or CE packets from a
        //# single window of data.
        if window.in_cwr {
            return;
        }
        window.reduced = true;
        window.control.save(window.cwnd, window.ssthresh);
        match self.0 {
            Congestion::Cubic => Cubic.on_loss(window, flight),
            Congestion::Dctcp => Dctcp.on_loss(window, flight),
            Congestion::NewReno => NewReno.on_loss(window, flight),
        }
    }

    /// The peer echoes a congestion mark, with `flight` bytes outstanding: once for each window.
    pub fn on_mark(self, window: &mut Window<'_>, flight: u32) {
        window.reduced = true;
        // A mark is never spurious: what was there before is not to come back.
        window.control.forget_saved();
        match self.0 {
            Congestion::Cubic => Cubic.on_mark(window, flight),
            Congestion::Dctcp => Dctcp.on_mark(window, flight),
            Congestion::NewReno => NewReno.on_mark(window, flight),
        }
    }

    /// The retransmission timer ran out, with `flight` bytes outstanding.
    pub fn on_timeout(self, window: &mut Window<'_>, flight: u32) {
        window.reduced = true;
        window.control.save(window.cwnd, window.ssthresh);
        match self.0 {
            Congestion::Cubic => Cubic.on_timeout(window, flight),
            Congestion::Dctcp => Dctcp.on_timeout(window, flight),
            Congestion::NewReno => NewReno.on_timeout(window, flight),
        }
    }

    /// The last loss or timeout was none after all: the window is what it was before, unless it has grown beyond that.
    ///
    /// RFC 9438 section 4.9.2 restores all of CUBIC's variables, and nothing once `cwnd` has passed what it was.
    pub fn on_spurious(self, window: &mut Window<'_>) {
        if let Some((cwnd, ssthresh)) = window.control.saved()
            && window.cwnd < cwnd
        {
            window.control.restore();
            window.cwnd = cwnd;
            window.ssthresh = ssthresh;
        }
        window.control.forget_saved();
    }
}

/// The initial window.
//= https://www.rfc-editor.org/rfc/rfc6928#section-2
//# the upper bound for the initial window will be
//# min (10*MSS, max (2*MSS, 14600))
pub fn initial_window(mss: u32, segments: u8) -> u32 {
    (u32::from(segments) * mss).min((2 * mss).max(14_600))
}

/// Least slow-start threshold, in segments.
const SSTHRESH_SEGMENTS_MIN: u32 = 2;

/// Half of what is in flight.
//= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
//# ssthresh = max (FlightSize / 2, 2*SMSS)
pub(crate) fn halved(flight: u32, mss: u32) -> u32 {
    (flight / 2).max(SSTHRESH_SEGMENTS_MIN * mss)
}

/// `bytes · numerator / denominator`, rounded down.
fn scaled(bytes: u32, numerator: u32, denominator: u32) -> u32 {
    u32::try_from(u64::from(bytes) * u64::from(numerator) / u64::from(denominator)).unwrap_or(u32::MAX)
}

/// The window after a mark: `cwnd` becomes `reduced`, but never less than a segment, nor more than it was.
//= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
//# However, the value of the congestion window is
//# bounded below by a value of one MSS.
fn reduce_for_mark(window: &mut Window<'_>, reduced: u32) {
    window.ssthresh = reduced.max(SSTHRESH_SEGMENTS_MIN * window.mss);
    window.cwnd = reduced.max(window.mss).min(window.cwnd);
}

/// Segments one acknowledgement may open slow start by: L of RFC 3465, as RFC 9406 section 4.3 sets it where sending is
/// not paced. Receivers that take segments in batches answer a batch with one acknowledgement.
const SLOW_START_SEGMENTS: u32 = 8;

/// Standard slow start, no further than the threshold. Returns how many of the bytes are left for congestion avoidance.
//= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
//# The slow start algorithm is used when cwnd < ssthresh, while the
//# congestion avoidance algorithm is used when cwnd > ssthresh.
fn slow_start(window: &mut Window<'_>, acked: u32) -> u32 {
    let room = window.ssthresh.saturating_sub(window.cwnd);
    if room == 0 {
        return acked;
    }
    let counted = acked.min(SLOW_START_SEGMENTS * window.mss);
    let growth = counted.min(room);
    window.cwnd = window.cwnd.saturating_add(growth);
    counted - growth
}

#[cfg(test)]
mod tests;
