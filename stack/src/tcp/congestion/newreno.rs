//! The window of RFC 5681: slow start and congestion avoidance, with byte counting (RFC 3465).

use super::{CongestionControl, Window, halved, reduce_for_mark, scaled, slow_start};

/// RFC 5681's algorithm.
#[derive(Clone, Copy, Debug)]
pub struct NewReno;

impl CongestionControl for NewReno {
    fn on_ack(&self, window: &mut Window<'_>, acked: u32) {
        let left = slow_start(window, acked);
        let (cwnd, bytes_acked) = (&mut window.cwnd, &mut window.control.bytes_acked);
        *bytes_acked = bytes_acked.saturating_add(left);
        //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
        //# When the number of bytes
        //# acknowledged reaches cwnd, then cwnd can be incremented by up to SMSS
        //# bytes.
        if left > 0 && *bytes_acked >= *cwnd {
            *bytes_acked -= *cwnd;
            *cwnd = cwnd.saturating_add(window.mss);
        }
    }

    fn on_loss(&self, window: &mut Window<'_>, flight: u32) {
        window.ssthresh = halved(flight, window.mss);
        window.cwnd = window.ssthresh;
        window.control.bytes_acked = 0;
    }

    fn on_mark(&self, window: &mut Window<'_>, flight: u32) {
        let flight = flight.min(window.cwnd);
        //= https://www.rfc-editor.org/rfc/rfc8511#section-3
        //# receipt of a packet with the ECN-Echo flag SHOULD
        //# trigger the TCP source to set the slow start threshold (ssthresh) to
        //# 0.8 times the FlightSize
        reduce_for_mark(window, if window.abe { scaled(flight, 4, 5) } else { flight / 2 });
        window.control.bytes_acked = 0;
    }

    fn on_timeout(&self, window: &mut Window<'_>, flight: u32) {
        //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
        //# upon a timeout (as specified in [RFC2988]) cwnd MUST be set to
        //# no more than the loss window, LW, which equals 1 full-sized segment
        window.ssthresh = halved(flight, window.mss);
        window.cwnd = window.mss;
        window.control.bytes_acked = 0;
    }
}
