//! Congestion control: how many bytes may be in flight. One file for each algorithm; what was lost is `loss`'s to say.

mod newreno;
pub mod validation;

pub use newreno::NewReno;

/// A flow's congestion state as an algorithm sees it. Units: bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Congestion window.
    pub cwnd: u32,
    /// Slow-start threshold; `u32::MAX` before the first loss.
    pub ssthresh: u32,
    /// Bytes acknowledged since `cwnd` last grew.
    pub bytes_acked: u32,
    /// SMSS.
    pub mss: u32,
}

/// One algorithm. It has no state of its own: all of it is in the flow.
pub trait CongestionControl: Sync {
    /// The algorithm's name, as people select it.
    fn name(&self) -> &'static str;
    /// `acked` new bytes were acknowledged, outside of recovery, while the window was what held the sender back.
    fn on_ack(&self, window: &mut Window, acked: u32);
    /// Loss was found by duplicates, with `flight` bytes outstanding: once for each window.
    fn on_loss(&self, window: &mut Window, flight: u32);
    /// The retransmission timer ran out, with `flight` bytes outstanding.
    fn on_timeout(&self, window: &mut Window, flight: u32);
}

/// Every algorithm, by the number a flow keeps.
pub static ALGORITHMS: [&dyn CongestionControl; 1] = [&NewReno];

/// The algorithm of a number; the first if there is none.
pub fn algorithm(number: u8) -> &'static dyn CongestionControl {
    ALGORITHMS.get(usize::from(number)).copied().unwrap_or(&NewReno)
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
