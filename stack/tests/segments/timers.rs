//! What happens when nothing arrives: retransmission and its end, probes, time-outs of every state.

use core::net::SocketAddr;
use core::time::Duration;

use stack::config::SynCookies;
use stack::socket::{Action, ListenOptions, Op, SocketOption};
use stack::wire::tcp::{Options, SackBlocks};

use crate::driver::{MS, PEER, PEER_PORT, PORT, Peer, S, US, seg};

/// Times at which segments of this text were sent within `limit`, relative to now.
fn times(peer: &mut Peer, text: &str, limit: u64) -> Vec<u64> {
    let begun = peer.now();
    peer.wait(limit);
    let mut times = Vec::new();
    loop {
        let sent = peer.tx();
        if sent == "-" {
            return times;
        }
        if sent == text {
            times.push(peer.at - begun);
        }
    }
}

fn near(time: u64, due: u64) -> bool {
    time >= due && time < due + MS
}

#[test]
fn the_timeout_doubles_until_the_connection_is_given_up() {
    // Shows RFC 6298's back-off from the minimum of 200 ms to the maximum of 120 s, and R2: over 100 s, then the end.
    //= https://www.rfc-editor.org/rfc/rfc6298#section-5
    //= type=test
    //# (5.5) The host MUST set RTO <- RTO * 2 ("back off the timer").
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3
    //= type=test
    //# When the number of transmissions of the same segment reaches a
    //# threshold R2 greater than R1, close the connection.
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 10]));
    assert_eq!(peer.tx(), "P. 1(10) ack 1");
    let times = times(&mut peer, "P. 1(10) ack 1", 3_000 * S);
    assert_eq!(times.len(), 15);
    let (mut due, mut rto) = (0, 200 * MS);
    for time in &times {
        due += rto;
        assert!(near(*time, due), "{times:?}");
        due = *time;
        rto = (2 * rto).min(120 * S);
    }
    assert!(times[14] > 100 * S);
    assert_eq!(peer.event(), "trouble Unanswered");
    assert_eq!(peer.event(), "closed TimedOut");
    assert_eq!(peer.report().flows, 0);
}

#[test]
fn a_user_timeout_ends_sooner() {
    // Shows RFC 5482's user timeout: given up about when it says, not after fifteen tries.
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::set(stream, SocketOption::UserTimeout(Duration::from_secs(5))));
    peer.op(Op::send(stream, vec![1u8; 10]));
    peer.wait(4 * S);
    assert_eq!((peer.event().as_str(), peer.event().as_str()), ("trouble Unanswered", "-"));
    peer.wait(9 * S);
    assert_eq!(peer.event(), "closed TimedOut");
}

#[test]
fn a_connect_is_tried_for_three_minutes() {
    // Shows a SYN's retransmissions without an answer, and the application's timeout.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3
    //= type=test
    //# However, the values of R1 and R2 may be different for SYN and data
    //# segments.  In particular, R2 for a SYN segment MUST be set large enough
    //# to provide retransmission of the segment for at least 3 minutes (MUST-23).
    let mut peer = Peer::new();
    peer.connecting();
    let times = times(&mut peer, "S 0(0)", 179 * S);
    assert_eq!(times.len(), 7, "{times:?}");
    assert_eq!(peer.event(), "-");
    peer.wait(2 * S);
    assert_eq!(peer.event(), "failed TimedOut");
    assert_eq!(peer.report().sockets, 0);

    let mut peer = Peer::new();
    let to = SocketAddr::new(PEER, PEER_PORT);
    let mut op = Op::connect(to);
    op.action =
        Action::Connect { to, from: None, timeout: Duration::from_secs(2), lane: None, options: None };
    peer.op(op);
    peer.wait(3 * S);
    assert_eq!(peer.event(), "failed TimedOut");
}

#[test]
fn a_half_open_connection_is_forgotten() {
    // Shows the SYN-ACK's retransmissions, and that the backlog recovers without the peer.
    let mut peer = Peer::new();
    peer.op(Op::listen_eager(SocketAddr::new(US, PORT)));
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    let times = times(&mut peer, "S. 0(0) ack 1", 100 * S);
    assert_eq!(times.len(), 5);
    assert!(times.iter().zip([1, 3, 7, 15, 31]).all(|(time, due)| near(*time, due * S)), "{times:?}");
    assert_eq!(peer.report().half_open, 0);
}

#[test]
fn a_full_backlog_drops_syns_and_recovers() {
    // Shows the bound of a listener without cookies, and that new peers get in once old ones are forgotten.
    let mut peer = Peer::with(|host| host.config.tcp.syn_cookies = SynCookies::Off);
    let address = SocketAddr::new(US, PORT);
    let mut op = Op::listen_eager(address);
    op.action = Action::Listen {
        address,
        options: ListenOptions { backlog: 4, eager: true, ..ListenOptions::default() },
    };
    peer.op(op);
    for port in 0..4 {
        peer.peer_port = 5000 + port;
        assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    }
    peer.peer_port = 6000;
    assert_eq!(peer.answer(seg("S", 0, 0)), "-");
    assert_eq!(peer.report().half_open, 4);
    peer.wait(70 * S);
    peer.frames();
    assert_eq!(peer.report().half_open, 0);
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    assert_eq!((peer.event(), peer.event()), ("listening".to_owned(), "accepted".to_owned()));
}

#[test]
fn three_silent_retransmissions_are_told_once() {
    // Shows R1: with the third retransmission the application is told, not before and not again, and anew once the peer
    // has acknowledged something in between.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3
    //= type=test
    //# (e) TCP implementations SHOULD inform the application of the delivery
    //# problem (unless such information has been disabled by the
    //# application
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 10]));
    assert_eq!(peer.tx(), "P. 1(10) ack 1");
    let sent = times(&mut peer, "P. 1(10) ack 1", 700 * MS);
    assert_eq!((sent.len(), peer.event()), (2, "-".to_owned()), "{sent:?}");
    let sent = times(&mut peer, "P. 1(10) ack 1", 10 * S);
    assert_eq!((sent.len(), peer.event()), (3, "trouble Unanswered".to_owned()), "{sent:?}");
    assert_eq!(peer.event(), "-");
    peer.rx(seg(".", 1, 11));
    peer.op(Op::send(stream, vec![1u8; 10]));
    let sent = times(&mut peer, "P. 11(10) ack 1", 300 * S);
    assert!(sent.len() > 4, "{sent:?}");
    assert_eq!(peer.event(), "trouble Unanswered");
    assert_eq!((peer.event(), peer.report().flows), ("-".to_owned(), 1));
}

#[test]
fn a_closed_window_is_probed_with_back_off() {
    // Shows zero-window probes: the first after an RTO, each later twice as long, never given up while answered; and
    // the window's opening.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.1
    //= type=test
    //# The transmitting host SHOULD send the first zero-window probe when a
    //# zero window has existed for the retransmission timeout period (SHLD-29)
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.1
    //= type=test
    //# SHOULD increase exponentially the interval between successive probes (SHLD-30).
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.rx(seg(".", 1, 1).window(0));
    peer.op(Op::send(stream, vec![7u8; 1000]));
    assert_eq!(peer.tx(), "-");
    let (mut before, mut gaps) = (peer.now(), Vec::new());
    for _ in 0..25 {
        while peer.tx() == "-" {
            peer.wait(10 * MS);
        }
        assert!(peer.last.unwrap().seq == peer.iss + 1, "{:?}", peer.last);
        gaps.push(peer.at - before);
        before = peer.at;
        peer.rx(seg(".", 1, 1).window(0));
    }
    assert!(near(gaps[0], 200 * MS), "{gaps:?}");
    for pair in gaps.windows(2) {
        assert!(pair[1].abs_diff((2 * pair[0]).min(120 * S)) < 2 * MS, "{gaps:?}");
    }
    peer.rx(seg(".", 1, 1).window(65_535));
    let sent: Vec<_> = std::iter::from_fn(|| Some(peer.tx()).filter(|text| text != "-")).collect();
    assert!(!sent.is_empty(), "an open window is used at once");
    assert_eq!(peer.event(), "-");
    let at = peer.now();
    peer.wait(S);
    assert_ne!(peer.tx(), "-", "what went then is not backed off as the probes were");
    assert!(near(peer.at - at, 200 * MS), "{}", peer.at - at);
}

#[test]
fn a_reset_behind_a_window_probe_lies_in_the_window() {
    // Shows that an abort while a probe is out beyond a closed window resets at the number the peer waits for, for
    // RFC 5961's receivers answer any other with a challenge, or not at all.
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.rx(seg(".", 1, 1).window(0));
    peer.op(Op::send(stream, vec![7u8; 1000]));
    while peer.tx() == "-" {
        peer.wait(10 * MS);
    }
    peer.op(Op::abort(stream));
    let text = peer.tx();
    assert!(text.contains('R') && peer.last.unwrap().seq == peer.iss + 1, "{text}: {:?}", peer.last);
}

#[test]
fn an_idle_peer_is_probed_if_asked_for() {
    // Shows keepalive: off by default, from the idle time on at its interval, answered or given up after nine.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4
    //= type=test
    //# Keep-alive packets MUST only be sent when no sent data is outstanding,
    //# and no data or acknowledgment packets have been received for the
    //# connection within an interval (MUST-26).
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    assert_eq!(times(&mut peer, ". 0(0) ack 1", 20_000 * S), []);
    let stream = peer.stream();
    peer.op(Op::set(stream, SocketOption::KeepAlive(Some(Duration::from_secs(100)))));
    let first = times(&mut peer, ". 0(0) ack 1", 101 * S);
    assert!(first.len() == 1 && near(first[0], 100 * S), "{first:?}");
    peer.rx(seg(".", 1, 1));
    let rest = times(&mut peer, ". 0(0) ack 1", 2_000 * S);
    assert_eq!(rest.len(), 9);
    assert!(near(rest[0], 100 * S) && near(rest[1] - rest[0], 75 * S), "{rest:?}");
    assert_eq!(peer.event(), "closed TimedOut");
}

#[test]
fn fin_wait_2_does_not_last_for_ever() {
    // Shows that a connection closed by the application is forgotten if the peer never sends its FIN.
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::close(stream));
    assert_eq!(peer.tx(), "F. 1(0) ack 1");
    assert_eq!(peer.answer(seg(".", 1, 2)), "-");
    peer.wait(59 * S);
    assert_eq!(peer.report().flows, 1);
    peer.wait(2 * S);
    assert_eq!((peer.report().flows, peer.event()), (0, "closed Done".to_owned()));
}

#[test]
fn a_fin_is_sent_again() {
    // Shows that a FIN has a timer as data has, in FIN-WAIT-1 and in LAST-ACK.
    for peer_first in [false, true] {
        let mut peer = Peer::new();
        peer.accepted(Options::NONE);
        let stream = peer.stream();
        if peer_first {
            assert_eq!(peer.answer(seg("F.", 1, 1)), ". 1(0) ack 2");
        }
        peer.op(Op::shutdown(stream));
        let due = format!("F. 1(0) ack {}", 1 + u32::from(peer_first));
        assert_eq!(peer.tx(), due);
        assert_eq!(times(&mut peer, &due, 700 * MS).len(), 2);
    }
}

#[test]
fn a_round_trip_is_measured_and_not_from_what_was_sent_again() {
    // Shows the RTO after one measurement of 300 ms: SRTT + 4 × RTTVAR is 900 ms; and Karn's algorithm without
    // timestamps: what was sent again leaves the timer backed off.
    //= https://www.rfc-editor.org/rfc/rfc6298#section-3
    //= type=test
    //# TCP MUST use Karn's algorithm [KP87] for taking RTT samples.
    let mut peer = Peer::new();
    peer.op(Op::listen_eager(SocketAddr::new(US, PORT)));
    peer.event();
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    peer.wait(300 * MS);
    peer.rx(seg(".", 1, 1));
    peer.event();
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 10]));
    peer.tx();
    let first = times(&mut peer, "P. 1(10) ack 1", S);
    assert!(first.len() == 1 && near(first[0], 900 * MS), "{first:?}");
    peer.rx(seg(".", 1, 11));
    peer.op(Op::send(stream, vec![1u8; 10]));
    peer.tx();
    let second = times(&mut peer, "P. 11(10) ack 1", 2 * S);
    assert!(second.len() == 1 && near(second[0], 1800 * MS), "{second:?}");
}

#[test]
fn after_a_timeout_what_was_reported_is_not_sent_again() {
    // Shows that a timeout sends one segment, the head, and that SACKed ranges are left out while the peer still has them.
    // Before that, two reported segments were given a quarter of a round trip to have been overtaken by.
    let mut peer = Peer::new();
    peer.accepted(Options { mss: Some(1000), sack_permitted: true, ..Options::NONE });
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 5000]));
    assert_eq!(peer.frames().len(), 5);
    let mut blocks = SackBlocks::NONE;
    blocks.push(peer.iss + 1001, peer.iss + 3001);
    let mut report = seg(".", 1, 1);
    report.options.sack = blocks;
    peer.rx(report);
    assert_eq!(peer.tx(), "-");
    peer.wait(MS);
    assert_eq!((peer.tx(), peer.tx()), (". 1(1000) ack 1".to_owned(), "-".to_owned()));
    peer.wait(250 * MS);
    assert_eq!((peer.tx(), peer.tx()), (". 1(1000) ack 1".to_owned(), "-".to_owned()));
    // Slow start by one segment: two may go now, and nothing of what was reported does.
    peer.rx(seg(".", 1, 3001));
    assert_eq!((peer.tx(), peer.tx()), (". 3001(1000) ack 1".to_owned(), "P. 4001(1000) ack 1".to_owned()));
}

#[test]
fn a_measurement_ends_the_back_off_however_little_it_measures() {
    // Shows Karn's algorithm to its end: what went again is acknowledged and measures nothing, a single new byte does,
    // and the next timeout is not backed off any more.
    //= https://www.rfc-editor.org/rfc/rfc6298#section-3
    //= type=test
    //# TCP MUST use Karn's algorithm [KP87] for taking RTT samples.
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 10]));
    assert_eq!(times(&mut peer, "P. 1(10) ack 1", 1_500 * MS).len(), 4);
    peer.rx(seg(".", 1, 11));
    peer.op(Op::send(stream, vec![1u8; 1]));
    assert_eq!(peer.tx(), "P. 11(1) ack 1");
    peer.wait(10 * MS);
    peer.rx(seg(".", 1, 12));
    peer.op(Op::send(stream, vec![1u8; 1]));
    assert_eq!(peer.tx(), "P. 12(1) ack 1");
    let again = times(&mut peer, "P. 12(1) ack 1", 300 * MS);
    assert!(again.len() == 1 && near(again[0], 200 * MS), "{again:?}");
}
