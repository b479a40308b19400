//! The window of RFC 5681: slow start and congestion avoidance, with byte counting (RFC 3465).

use super::{CongestionControl, Window, halved};

/// RFC 5681's algorithm.
#[derive(Clone, Copy, Debug)]
pub struct NewReno;

/// Segments one acknowledgement may open slow start by: L of RFC 3465, as RFC 9406 section 4.3 sets it where sending is
/// not paced. Receivers that take segments in batches answer a batch with one acknowledgement.
const SLOW_START_SEGMENTS: u32 = 8;

impl CongestionControl for NewReno {
    fn name(&self) -> &'static str {
        "newreno"
    }

    fn on_ack(&self, window: &mut Window, acked: u32) {
        let Window { cwnd, ssthresh, bytes_acked, mss } = window;
        //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
        //# The slow start algorithm is used when cwnd < ssthresh, while the
        //# congestion avoidance algorithm is used when cwnd > ssthresh.
        if *cwnd < *ssthresh {
            *cwnd = cwnd.saturating_add(acked.min(SLOW_START_SEGMENTS * *mss));
            return;
        }
        *bytes_acked = bytes_acked.saturating_add(acked);
        if *bytes_acked >= *cwnd {
            *bytes_acked -= *cwnd;
            *cwnd = cwnd.saturating_add(*mss);
        }
    }

    fn on_loss(&self, window: &mut Window, flight: u32) {
        window.ssthresh = halved(flight, window.mss);
        window.cwnd = window.ssthresh;
        window.bytes_acked = 0;
    }

    fn on_timeout(&self, window: &mut Window, flight: u32) {
        //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
        //# upon a timeout (as specified in [RFC2988]) cwnd MUST be set to
        //# no more than the loss window, LW, which equals 1 full-sized segment
        window.ssthresh = halved(flight, window.mss);
        window.cwnd = window.mss;
        window.bytes_acked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::congestion::initial_window;

    #[test]
    fn the_window_follows_the_equations() {
        // Shows doubling in slow start, one segment a window in avoidance, halving at loss, one segment after timeout.
        //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
        //= type=test
        //# ssthresh = max (FlightSize / 2, 2*SMSS)
        let mss = 1000;
        let mut window = Window { cwnd: 10_000, ssthresh: u32::MAX, bytes_acked: 0, mss };
        for _ in 0..10 {
            NewReno.on_ack(&mut window, mss);
        }
        assert_eq!(window.cwnd, 20_000);
        NewReno.on_loss(&mut window, 20_000);
        assert_eq!((window.cwnd, window.ssthresh), (10_000, 10_000));
        for _ in 0..10 {
            NewReno.on_ack(&mut window, mss);
        }
        assert_eq!(window.cwnd, 11_000);
        NewReno.on_timeout(&mut window, 3_000);
        assert_eq!((window.cwnd, window.ssthresh), (1_000, 2_000));
    }

    #[test]
    fn the_initial_window_is_ten_segments() {
        // Shows RFC 6928's formula at an Ethernet's MSS and at a jumbo one.
        //= https://www.rfc-editor.org/rfc/rfc6928#section-2
        //= type=test
        //# the upper bound for the initial window will be
        //# min (10*MSS, max (2*MSS, 14600))
        assert_eq!(initial_window(1460, 10), 14_600);
        assert_eq!(initial_window(8960, 10), 17_920);
        assert_eq!(initial_window(536, 10), 5_360);
    }
}
