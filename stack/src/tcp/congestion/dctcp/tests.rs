use super::*;
use crate::tcp::congestion::Control;
use crate::tcp::congestion::tests::Flow;

const MSS: u32 = 1000;

/// RFC 8257 section 3.3 in floating point, step by step.
struct Published {
    alpha: f64,
    window_end: SeqNum,
    acked: f64,
    marked: f64,
}

impl Published {
    fn ack(&mut self, una: SeqNum, nxt: SeqNum, marked: bool) {
        self.acked += f64::from(MSS);
        self.marked += if marked { f64::from(MSS) } else { 0.0 };
        if una.gt(self.window_end) {
            self.alpha = self.alpha * (1.0 - 1.0 / 16.0) + self.marked / self.acked / 16.0;
            self.window_end = nxt;
            (self.acked, self.marked) = (0.0, 0.0);
        }
    }
}

fn alpha(control: &Control) -> f64 {
    f64::from(control.dctcp.alpha) / f64::from(ALPHA_ONE)
}

#[test]
fn alpha_follows_the_published_average() {
    // Shows alpha beside RFC 8257's equation in floating point, over windows with every share of marks: within 1 %.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.3
    //= type=test
    //# DCTCP.Alpha = DCTCP.Alpha * (1 - g) + g * M
    for segments in [10, 64, 1_000] {
        let mut flow = Flow::new(segments * MSS, 50_000, MSS);
        let mut published = Published { alpha: 1.0, window_end: flow.una, acked: 0.0, marked: 0.0 };
        for n in 0..200 * segments {
            // The share of marks changes with each window.
            let marks = n / segments * 7_919 % (segments + 1);
            flow.una += MSS;
            flow.echoed = n % segments < marks;
            flow.with(|window| Dctcp.on_echo(window, MSS));
            published.ack(flow.una, flow.una + flow.cwnd, flow.echoed);
            let (found, expected) = (alpha(&flow.control), published.alpha);
            assert!((found - expected).abs() <= 0.01 * expected, "segment {n}: {found} not {expected}");
        }
    }
}

#[test]
fn without_marks_alpha_gets_to_nothing_and_with_all_to_one() {
    // Shows both ends of the range, reached and never passed.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-4.2
    //= type=test
    //# So, DCTCP.Alpha MUST be clamped after
    //# an update.
    let (mut down, mut up) = (ALPHA_ONE, 0);
    for _ in 0..400 {
        (down, up) = (estimate(down, 0, 1_000), estimate(up, 1_000, 1_000));
        assert!(up <= ALPHA_ONE);
    }
    assert_eq!(down, 0);
    assert!(ALPHA_ONE - up < 16, "{up}");
    assert_eq!(estimate(ALPHA_ONE, 3_000, 1_000), ALPHA_ONE);
}

#[test]
fn the_window_falls_by_half_of_alpha() {
    // Shows the reduction at alphas from none to one, before the first estimate as at one.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.3
    //= type=test
    //# the sender SHOULD update cwnd as follows:
    //# cwnd = cwnd * (1 - DCTCP.Alpha / 2)
    for (alpha, expected) in
        [(0, 100_000), (ALPHA_ONE / 10, 95_000), (ALPHA_ONE / 2, 75_000), (ALPHA_ONE, 50_000)]
    {
        let mut flow = Flow::new(100_000, 90_000, MSS);
        flow.control.dctcp = DctcpState { alpha, started: true, ..DctcpState::default() };
        flow.with(|window| Dctcp.on_mark(window, 100_000));
        assert!(flow.cwnd.abs_diff(expected) <= 1 && flow.ssthresh == flow.cwnd, "{alpha}: {}", flow.cwnd);
    }
    let mut flow = Flow::new(100_000, u32::MAX, MSS);
    flow.with(|window| Dctcp.on_mark(window, 100_000));
    assert_eq!(flow.cwnd, 50_000);
}

#[test]
fn a_loss_counts_as_ever() {
    // Shows that losses and timeouts halve and restart the window, whatever alpha is.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.5
    //= type=test
    //# A DCTCP sender MUST react to loss episodes in the same way as
    //# conventional TCP
    let mut flow = Flow::new(100_000, 90_000, MSS);
    flow.control.dctcp = DctcpState { alpha: 0, started: true, ..DctcpState::default() };
    flow.with(|window| Dctcp.on_loss(window, 100_000));
    assert_eq!((flow.cwnd, flow.ssthresh), (50_000, 50_000));
    flow.with(|window| Dctcp.on_timeout(window, 50_000));
    assert_eq!((flow.cwnd, flow.ssthresh), (MSS, 25_000));
}

#[test]
fn alpha_fades_and_reaches_zero() {
    // Shows what is left of alpha without a mark, above, at and below the smallest value that the gain can take from.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-4.2
    //= type=test
    //# A scaling
    //# implementation SHOULD ensure that DCTCP.Alpha is able to reach 0 once
    //# it falls below the smallest shifted value
    let gain = 1 << GAIN_SHIFT;
    let left: Vec<u32> =
        [4 * gain, 2 * gain, gain + 1, gain, gain - 1, 1, 0].map(|alpha| estimate(alpha, 0, 1)).into();
    assert_eq!(left, [4 * gain - 4, 2 * gain - 2, gain, gain - 1, 0, 0, 0]);
    assert_eq!(estimate(ALPHA_ONE, 7, 7), ALPHA_ONE);
    assert_eq!(estimate(0, 7, 7), ALPHA_ONE >> GAIN_SHIFT);
}
