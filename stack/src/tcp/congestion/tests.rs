use super::*;

mod bottleneck;

/// A flow for an algorithm to work on, with no connection around it.
pub(super) struct Flow {
    pub control: Control,
    pub cwnd: u32,
    pub ssthresh: u32,
    pub mss: u32,
    pub una: SeqNum,
    pub now_us: u32,
    pub srtt_us: u32,
    pub rtt_us: u32,
    pub echoed: bool,
    pub in_cwr: bool,
    pub abe: bool,
}

impl Flow {
    pub fn new(cwnd: u32, ssthresh: u32, mss: u32) -> Flow {
        Flow {
            control: Control::default(),
            cwnd,
            ssthresh,
            mss,
            // Near the end of the circles, so that numbers and clock wrap.
            una: SeqNum(u32::MAX - 100_000),
            now_us: u32::MAX - 5_000_000,
            srtt_us: 0,
            rtt_us: 0,
            echoed: false,
            in_cwr: false,
            abe: false,
        }
    }

    /// Let an algorithm work on the window, all of which is in flight.
    pub fn with<R>(&mut self, work: impl FnOnce(&mut Window<'_>) -> R) -> R {
        let mut window = Window {
            cwnd: self.cwnd,
            ssthresh: self.ssthresh,
            mss: self.mss,
            control: &mut self.control,
            snd_una: self.una,
            snd_nxt: self.una + self.cwnd,
            now_us: self.now_us,
            rtt_us: self.rtt_us,
            srtt_us: self.srtt_us,
            echoed: self.echoed,
            in_cwr: self.in_cwr,
            recovering: false,
            hystart: true,
            abe: self.abe,
            reduced: false,
        };
        let result = work(&mut window);
        let Window { cwnd, ssthresh, .. } = window;
        (self.cwnd, self.ssthresh) = (cwnd, ssthresh);
        result
    }

    /// Acknowledge `acked` bytes.
    pub fn ack(&mut self, algorithm: impl CongestionControl, acked: u32) {
        self.una += acked;
        self.with(|window| algorithm.on_ack(window, acked));
    }
}

const ALL: [Congestion; 3] = [Congestion::Cubic, Congestion::Dctcp, Congestion::NewReno];

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

#[test]
fn renos_window_follows_the_equations() {
    // Shows doubling in slow start, one segment a window in avoidance, halving at loss, one segment after timeout.
    //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
    //= type=test
    //# ssthresh = max (FlightSize / 2, 2*SMSS)
    let mss = 1000;
    let mut flow = Flow::new(10_000, u32::MAX, mss);
    for _ in 0..10 {
        flow.ack(NewReno, mss);
    }
    assert_eq!(flow.cwnd, 20_000);
    flow.with(|window| NewReno.on_loss(window, 20_000));
    assert_eq!((flow.cwnd, flow.ssthresh), (10_000, 10_000));
    for _ in 0..10 {
        flow.ack(NewReno, mss);
    }
    assert_eq!(flow.cwnd, 11_000);
    flow.with(|window| NewReno.on_timeout(window, 3_000));
    assert_eq!((flow.cwnd, flow.ssthresh), (1_000, 2_000));
}

#[test]
fn slow_start_stops_at_the_threshold() {
    // Shows that one acknowledgement opens the window by eight segments at most and not past the threshold, and that
    // what is left of it counts for congestion avoidance.
    let mut flow = Flow::new(10_000, 13_000, 1000);
    flow.ack(NewReno, 8_000);
    assert_eq!((flow.cwnd, flow.control.bytes_acked), (13_000, 5_000));
    let mut flow = Flow::new(10_000, u32::MAX, 1000);
    flow.ack(NewReno, 10_000);
    assert_eq!(flow.cwnd, 18_000);
}

#[test]
fn a_mark_is_answered_once_a_window_and_never_below_a_segment() {
    // Shows for each algorithm that marks bring the window down to one segment and the threshold to two, that a loss in
    // the same window takes nothing more, and that an acknowledgement which echoes a mark does not open it.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
    //= type=test
    //# That is, the TCP sender's congestion window should be reduced
    //# only once in response to a series of dropped and/or CE packets from a
    //# single window of data.
    for algorithm in ALL.map(Algorithm) {
        let mut flow = Flow::new(20_000, u32::MAX, 1000);
        flow.with(|window| algorithm.on_mark(window, 20_000));
        let once = (flow.cwnd, flow.ssthresh);
        assert!(once.0 < 20_000 && once.0 == once.1, "{algorithm:?}: {once:?}");
        flow.in_cwr = true;
        flow.with(|window| algorithm.on_loss(window, 20_000));
        assert_eq!((flow.cwnd, flow.ssthresh), once, "{algorithm:?}");
        flow.echoed = true;
        flow.with(|window| algorithm.on_ack(window, 1000));
        assert_eq!(flow.cwnd, once.0, "{algorithm:?}");
        for _ in 0..20 {
            let flight = flow.cwnd;
            flow.with(|window| algorithm.on_mark(window, flight));
        }
        assert_eq!((flow.cwnd, flow.ssthresh), (1000, 2000), "{algorithm:?}");
    }
}

#[test]
fn a_mark_counts_less_where_that_is_asked_for() {
    // Shows RFC 8511's factors: 0.8 for Reno, 0.85 for CUBIC, instead of 0.5 and 0.7.
    //= https://www.rfc-editor.org/rfc/rfc8511#section-3
    //= type=test
    //# receipt of a packet with the ECN-Echo flag SHOULD
    //# trigger the TCP source to set the slow start threshold (ssthresh) to
    //# 0.8 times the FlightSize
    for (algorithm, plain, abe) in
        [(Congestion::NewReno, 50_000, 80_000), (Congestion::Cubic, 70_000, 85_000)]
    {
        for (asked, expected) in [(false, plain), (true, abe)] {
            let mut flow = Flow { abe: asked, ..Flow::new(100_000, u32::MAX, 1000) };
            flow.with(|window| Algorithm(algorithm).on_mark(window, 100_000));
            assert_eq!((flow.cwnd, flow.ssthresh), (expected, expected), "{algorithm:?}");
        }
    }
}

#[test]
fn what_was_spurious_is_taken_back() {
    // Shows for each algorithm that after a loss or timeout that was none, window, threshold and CUBIC's variables are
    // what they were; and that nothing is taken back twice, nor after a mark.
    for algorithm in ALL.map(Algorithm) {
        for timeout in [false, true] {
            let mut flow = Flow::new(90_000, 80_000, 1000);
            flow.srtt_us = 20_000;
            flow.with(|window| algorithm.on_ack(window, 1000));
            let before = (flow.cwnd, flow.ssthresh, flow.control.cubic);
            flow.with(|window| match timeout {
                true => algorithm.on_timeout(window, 90_000),
                false => algorithm.on_loss(window, 90_000),
            });
            assert!(flow.cwnd < before.0);
            let mut marked = flow.control;
            flow.with(|window| algorithm.on_spurious(window));
            assert_eq!((flow.cwnd, flow.ssthresh, flow.control.cubic), before, "{algorithm:?}");
            flow.cwnd = 1000;
            flow.with(|window| algorithm.on_spurious(window));
            assert_eq!(flow.cwnd, 1000);
            core::mem::swap(&mut flow.control, &mut marked);
            flow.with(|window| algorithm.on_mark(window, 1000));
            flow.with(|window| algorithm.on_spurious(window));
            assert_eq!(flow.cwnd, 1000, "{algorithm:?}");
            // Long after the loss, with a window that has grown beyond what it was, nothing goes back.
            let mut flow = Flow::new(90_000, 80_000, 1000);
            flow.with(|window| algorithm.on_loss(window, 90_000));
            flow.cwnd = 90_000;
            let after = (flow.cwnd, flow.ssthresh);
            flow.with(|window| algorithm.on_spurious(window));
            assert_eq!((flow.cwnd, flow.ssthresh), after, "{algorithm:?}");
        }
    }
}

#[test]
fn names_find_their_algorithms() {
    // Shows that each algorithm is found by its own name and Linux's, and no other is.
    for algorithm in ALL {
        assert_eq!(Congestion::by_name(algorithm.name()), Some(algorithm));
    }
    assert_eq!(Congestion::by_name("newreno"), Some(Congestion::NewReno));
    assert_eq!(Congestion::by_name("vegas"), None);
}

#[test]
fn memories_are_taken_when_needed_and_given_back() {
    // Shows that a slot is used again, and empty, after it was given back, and that none is given back twice.
    let (mut controls, mut first, mut second) = (Controls::default(), u32::MAX, u32::MAX);
    controls.obtain(&mut first).bytes_acked = 7;
    controls.obtain(&mut second);
    assert_eq!((first, second, controls.live()), (0, 1, 2));
    controls.remove(&mut first);
    controls.remove(&mut first);
    assert_eq!((first, controls.live()), (u32::MAX, 1));
    assert_eq!(*controls.obtain(&mut first), Control::default());
    assert_eq!(first, 0);
}
