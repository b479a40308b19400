//! Handshakes by SYN cookies: what is remembered, who is let in, and who is not.

use core::net::SocketAddr;

use stack::config::SynCookies;
use stack::socket::{Action, ListenOptions, Op, SocketOption};
use stack::wire::tcp::Options;

use crate::driver::{PORT, Peer, S, US, seg};

/// A listener that answers every SYN by a cookie.
fn always() -> Peer {
    let mut peer = Peer::with(|host| host.config.tcp.syn_cookies = SynCookies::Always);
    peer.op(Op::listen_eager(SocketAddr::new(US, PORT)));
    assert_eq!(peer.event(), "listening");
    peer
}

fn stamped(value: u32) -> Options {
    Options {
        mss: Some(1400),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((value, 0)),
        ..Options::NONE
    }
}

/// Cookies sent, accepted and refused.
fn cookies(peer: &Peer) -> (u64, u64, u64) {
    let counters = peer.report().counters;
    (counters.cookies_sent, counters.cookies_accepted, counters.cookies_refused)
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4987#section-3.7
//= type=test
//# in the event that the cache becomes full, then SYN cookies
//# can be sent instead of purging cache entries upon the arrival of new
//# SYNs.
fn a_full_backlog_sends_cookies() {
    // Shows a backlog of two: what comes beyond is answered and let in all the same, and holds nothing until then; without
    // cookies it is dropped.
    for (mode, answered) in [(SynCookies::WhenFull, 64), (SynCookies::Off, 2)] {
        let mut peer = Peer::with(|host| host.config.tcp.syn_cookies = mode);
        let options = ListenOptions { backlog: 2, eager: true, ..ListenOptions::default() };
        peer.op(Op::new(Action::Listen { address: SocketAddr::new(US, PORT), options }));
        assert_eq!(peer.event(), "listening");
        let mut numbers = Vec::new();
        for port in 0..64 {
            peer.peer_port = 4000 + port;
            if peer.answer(seg("S", 0, 0)) != "-" {
                numbers.push((port, peer.iss));
            }
        }
        assert_eq!((numbers.len() as u64, peer.report().half_open), (answered, 2));
        let by_cookie = answered - 2;
        assert_eq!(cookies(&peer), (by_cookie, 0, 0));
        for (port, iss) in numbers {
            (peer.peer_port, peer.iss) = (4000 + port, iss);
            assert_eq!(peer.answer(seg(".", 1, 1)), "-");
            assert_eq!(peer.event(), "accepted");
        }
        assert_eq!(cookies(&peer), (by_cookie, by_cookie, 0));
        assert_eq!((peer.report().half_open, peer.report().flows as u64), (0, answered));
    }
}

#[test]
fn a_cookie_opens_one_connection() {
    // Shows that a segment which comes again after its connection was reset opens no second one with the same bytes, but is
    // reset; and that the peer may connect anew, even from the same number.
    let mut peer = always();
    for again in 0..2 {
        assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1", "{again}");
        let data = || seg("P.", 1, 1).bytes(b"hello");
        assert_eq!(peer.answer(data()), ". 1(0) ack 6");
        assert_eq!(peer.event(), "accepted");
        assert_eq!(peer.app().received.split_off(0), b"hello");
        peer.op(Op::abort(peer.stream()));
        assert_eq!(peer.tx(), "R. 1(0) ack 6");
        assert_eq!(peer.event(), "closed Aborted");
        assert_eq!(peer.answer(data()), "R 1(0)");
        assert_eq!((peer.event(), cookies(&peer).1), ("-".into(), again + 1));
        assert_eq!(peer.app().received, b"");
    }
}

#[test]
fn a_cookie_costs_nothing_until_it_comes_back() {
    // Shows no half-open connection, no flow and no deadline for 1,000 SYNs, and no SYN-ACK sent again.
    let mut peer = always();
    let before = peer.report();
    for port in 0..1_000 {
        peer.peer_port = 2000 + port;
        assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    }
    peer.wait(S);
    let after = peer.report();
    let held = |report: &stack::counters::Report| {
        (report.half_open, report.flows, report.timers, report.cells, report.receive, report.control)
    };
    assert_eq!((held(&before), cookies(&peer)), (held(&after), (1_000, 0, 0)));
    peer.wait(200 * S);
    assert_eq!(peer.tx(), "-");
}

#[test]
fn what_the_syn_offered_is_kept() {
    // Shows window scaling, SACK, timestamps and the MSS of a connection by a cookie on the wire: as its peer offered them.
    let mut peer = always();
    assert_eq!(peer.answer(seg("S", 0, 0).options(stamped(500))), "S. 0(0) ack 1");
    let offer = peer.last.unwrap().options;
    assert_eq!((offer.window_scale, offer.sack_permitted), (Some(8), true));
    let (value, echo) = offer.timestamps.unwrap();
    assert_eq!(echo, 500);
    peer.wait(S / 10);
    assert_eq!(peer.answer(seg(".", 1, 1).window(512).stamps(600, value)), "-");
    assert_eq!(peer.event(), "accepted");
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![7; 3_000]));
    assert_eq!(peer.tx(), ". 1(1368) ack 1");
    let (later, _) = peer.last.unwrap().options.timestamps.unwrap();
    assert!(later.wrapping_sub(value).cast_signed() >= 100, "timestamps go on");
    peer.frames();
    peer.rx(seg(".", 11, 1).data(10).window(512).stamps(700, later));
    let sack = loop {
        assert_ne!(peer.tx(), "-");
        if !peer.last.unwrap().options.sack.is_empty() {
            break peer.last.unwrap().options.sack;
        }
    };
    assert_eq!(sack.as_slice()[0].right.since(sack.as_slice()[0].left), 10);
}

#[test]
fn a_peer_without_timestamps_gets_neither_scale_nor_sack() {
    // Shows what the SYN-ACK leaves out, and that the handshake works without.
    let mut peer = always();
    let offer = Options { timestamps: None, ..stamped(0) };
    assert_eq!(peer.answer(seg("S", 0, 0).options(offer)), "S. 0(0) ack 1");
    let said = peer.last.unwrap().options;
    assert!(said.mss.is_some() && said.window_scale.is_none() && !said.sack_permitted);
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    assert_eq!(peer.event(), "accepted");
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![7; 3_000]));
    // 1,400 is not in the table; 1,380 is.
    assert_eq!(peer.tx(), ". 1(1380) ack 1");
}

#[test]
fn data_may_come_first() {
    // Shows a handshake whose acknowledgement was lost, completed by the data behind it, with a FIN too.
    let mut peer = always();
    for (port, flags, answers) in [(4000, "P.", ". 1(0) ack 6"), (4001, "FP.", ". 1(0) ack 7")] {
        peer.peer_port = port;
        assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
        assert_eq!(peer.answer(seg(flags, 1, 1).bytes(b"hello")), answers);
        assert_eq!(peer.event(), "accepted");
        assert_eq!(std::mem::take(&mut peer.app().received), b"hello");
    }
    assert_eq!(peer.event(), "end");
    assert_eq!(cookies(&peer), (2, 2, 0));
}

#[test]
fn what_brings_no_cookie_is_reset() {
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.2
    //= type=test
    //# Any acknowledgment is bad if it arrives on a connection still in the
    //# LISTEN state. An acceptable reset segment should be formed for any
    //# arriving ACK-bearing segment.
    // Shows a wrong number, a wrong number of the peer's, another port, and a cookie after its time; then one in time.
    let mut peer = always();
    assert_eq!(peer.answer(seg(".", 1, 1)), "R 1(0)");
    assert_eq!(cookies(&peer), (0, 0, 0), "no cookie is looked for before one was sent");
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    assert_eq!(peer.answer(seg(".", 1, 1_000)), "R 1000(0)");
    assert_eq!(peer.answer(seg(".", 2, 1)), "R 1(0)");
    peer.peer_port += 1;
    assert_eq!(peer.answer(seg(".", 1, 1)), "R 1(0)");
    peer.peer_port -= 1;
    peer.wait(130 * S);
    assert_eq!(peer.answer(seg(".", 1, 1)), "R 1(0)");
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    peer.wait(60 * S);
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    assert_eq!(peer.event(), "accepted");
    assert_eq!((cookies(&peer).0, cookies(&peer).1), (2, 1));
}

#[test]
fn a_full_accept_queue_lets_nobody_in() {
    // Shows that a SYN is dropped and a cookie waits while the application takes nothing more, without a reset, and that data
    // bring it in later.
    let mut peer = always();
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    let listener = peer.listener.unwrap();
    let backlog = |peer: &mut Peer, room| peer.op(Op::set(listener, SocketOption::Backlog(room)));
    backlog(&mut peer, 0);
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    peer.peer_port += 1;
    assert_eq!(peer.answer(seg("S", 0, 0)), "-");
    peer.peer_port -= 1;
    assert_eq!((peer.event(), cookies(&peer)), ("-".to_owned(), (1, 0, 0)));
    backlog(&mut peer, 5);
    assert_eq!(peer.answer(seg("P.", 1, 1).bytes(b"hello")), ". 1(0) ack 6");
    assert_eq!((peer.event(), cookies(&peer)), ("accepted".to_owned(), (1, 1, 0)));
}

#[test]
fn a_peer_in_time_wait_needs_no_cookie() {
    // Shows that a new connection of a tuple in TIME_WAIT begins beyond the old one's numbers: it is remembered, for its peer
    // is no fiction.
    let mut peer = always();
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    let old = peer.iss;
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    assert_eq!(peer.event(), "accepted");
    let stream = peer.stream();
    peer.op(Op::close(stream));
    assert_eq!(peer.tx(), "F. 1(0) ack 1");
    assert_eq!(peer.answer(seg("F.", 1, 2)), ". 2(0) ack 2");
    assert_eq!(peer.report().time_wait, 1);
    assert_eq!(peer.answer(seg("S", 100_000, 0)), "S. 0(0) ack 100001");
    assert!(peer.iss.gt(old + 1));
    assert_eq!((peer.report().half_open, cookies(&peer)), (1, (1, 1, 0)));
}
