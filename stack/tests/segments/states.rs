//! States × segments: RFC 9293 section 3.10.7 with RFC 5961, a row for each state.

use core::net::SocketAddr;

use stack::socket::Op;
use stack::wire::tcp::Options;

use crate::driver::{In, PORT, Peer, S, US, seg};

/// A peer whose engine's connection is in this state.
pub fn peer_in(state: &str) -> Peer {
    let mut peer = Peer::new();
    match state {
        "CLOSED" => {}
        "LISTEN" => {
            peer.op(Op::listen_eager(SocketAddr::new(US, PORT)));
            peer.event();
        }
        "SYN-SENT" => peer.connecting(),
        "SYN-RECEIVED by a listener" => {
            peer.op(Op::listen_eager(SocketAddr::new(US, PORT)));
            peer.event();
            assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
        }
        "SYN-RECEIVED" => {
            peer.connecting();
            assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
        }
        _ => opened(&mut peer, state),
    }
    peer
}

fn opened(peer: &mut Peer, state: &str) {
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    let fin = |peer: &mut Peer| {
        peer.op(Op::shutdown(stream));
        assert_eq!(peer.tx(), format!("F. 1(0) ack {}", peer.rcv));
        peer.nxt = 2;
    };
    let peer_fin = |peer: &mut Peer, ack: u32| {
        let nxt = peer.nxt;
        assert_eq!(peer.answer(seg("F.", 1, ack)), format!(". {nxt}(0) ack 2"));
        peer.rcv = 2;
    };
    match state {
        "ESTABLISHED" => {}
        "FIN-WAIT-1" => fin(peer),
        "FIN-WAIT-2" => {
            fin(peer);
            assert_eq!(peer.answer(seg(".", 1, 2)), "-");
        }
        "CLOSE-WAIT" => peer_fin(peer, 1),
        "CLOSING" => {
            fin(peer);
            peer_fin(peer, 1);
        }
        "LAST-ACK" => {
            peer_fin(peer, 1);
            fin(peer);
        }
        "TIME-WAIT" => {
            fin(peer);
            assert_eq!(peer.answer(seg(".", 1, 2)), "-");
            peer_fin(peer, 2);
        }
        other => panic!("no state {other}"),
    }
}

/// Segments by name, relative to where the connection stands.
fn input(name: &str, peer: &Peer) -> In {
    let (rcv, nxt) = (peer.rcv, peer.nxt);
    match name {
        "RST at RCV.NXT" => seg("R", rcv, 0),
        "RST in window" => seg("R", rcv + 1, 0),
        "RST outside" => seg("R", rcv + 100_000, 0),
        "RST behind" => seg("R", rcv.wrapping_sub(1), 0),
        "SYN in window" => seg("S", rcv + 10, 0),
        "SYN outside" => seg("S", rcv.wrapping_sub(1_000), 0),
        "SYN,ACK in window" => seg("S.", rcv + 10, nxt),
        "ACK of the future" => seg(".", rcv, nxt + 1),
        "ACK of the distant past" => seg(".", rcv, nxt.wrapping_sub(100_000)),
        "no ACK" => seg("P", rcv, 0).data(10),
        "data outside" => seg("P.", rcv + 100_000, nxt).data(10),
        "data again" => seg("P.", rcv.wrapping_sub(1), nxt).data(1),
        other => panic!("no segment {other}"),
    }
}

#[test]
fn synchronized_states_take_nothing_that_is_not_acceptable() {
    // Shows for the six synchronized states what each unacceptable segment is answered with, and that only the exact RST
    // ends the connection.
    //= https://www.rfc-editor.org/rfc/rfc5961#section-3.2
    //= type=test
    //# If the RST bit is set and the sequence number exactly matches the
    //# next expected sequence number (RCV.NXT), then TCP MUST reset the
    //# connection.
    //= https://www.rfc-editor.org/rfc/rfc5961#section-4.2
    //= type=test
    //# If the SYN bit is set, irrespective of the sequence number, TCP MUST
    //# send an ACK (also referred to as challenge ACK) to the remote peer
    //= https://www.rfc-editor.org/rfc/rfc5961#section-5.2
    //= type=test
    //# The ACK value is considered acceptable only if it is in the range of
    //# ((SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT).
    let states = ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK"];
    let rows = [
        ("RST at RCV.NXT", "-", false),
        ("RST in window", "ack", true),
        ("RST outside", "-", true),
        ("RST behind", "-", true),
        ("SYN in window", "ack", true),
        ("SYN outside", "ack", true),
        ("SYN,ACK in window", "ack", true),
        ("ACK of the future", "ack", true),
        ("ACK of the distant past", "ack", true),
        ("no ACK", "-", true),
        ("data outside", "ack", true),
    ];
    for state in states {
        for (name, due, lives) in rows {
            let mut peer = peer_in(state);
            let segment = input(name, &peer);
            let ack = format!(". {}(0) ack {}", peer.nxt, peer.rcv);
            let due = if due == "ack" { ack.as_str() } else { due };
            assert_eq!(peer.answer(segment), due, "{name} in {state}");
            let ended = std::iter::from_fn(|| Some(peer.event()).filter(|event| event != "-"))
                .any(|event| event == "closed Reset");
            assert_eq!(ended, !lives, "{name} in {state}");
            assert_eq!(peer.is_alive(), lives, "{name} in {state}");
        }
    }
}

#[test]
fn time_wait_answers_and_stays() {
    // Shows TIME-WAIT against every unacceptable segment: resets are ignored, the rest is acknowledged.
    //= https://www.rfc-editor.org/rfc/rfc1337#section-3
    //= type=test
    //# (F1) Ignore RST segments in TIME-WAIT state.
    let rows = [
        ("RST at RCV.NXT", "-"),
        ("RST in window", "-"),
        ("RST outside", "-"),
        ("SYN outside", "ack"),
        ("SYN,ACK in window", "ack"),
        ("ACK of the future", "ack"),
        ("no ACK", "-"),
        ("data outside", "ack"),
        ("data again", "ack"),
    ];
    for (name, due) in rows {
        let mut peer = peer_in("TIME-WAIT");
        let segment = input(name, &peer);
        let due = if due == "ack" { ". 2(0) ack 2" } else { due };
        assert_eq!(peer.answer(segment), due, "{name}");
        assert_eq!(peer.report().time_wait, 1, "{name}");
    }
}

#[test]
fn time_wait_acknowledges_the_fin_again_and_waits_anew() {
    // Shows that the peer's FIN coming again restarts 2 MSL, and that TIME-WAIT ends in time.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
    //= type=test
    //# The only thing that can arrive in this state is a retransmission of the
    //# remote FIN. Acknowledge it, and restart the 2 MSL timeout.
    let mut peer = peer_in("TIME-WAIT");
    peer.wait(50 * S);
    assert_eq!(peer.answer(seg("F.", 1, 2)), ". 2(0) ack 2");
    peer.wait(50 * S);
    assert_eq!(peer.report().time_wait, 1);
    peer.wait(11 * S);
    assert_eq!(peer.report().time_wait, 0);
}

#[test]
fn a_new_connection_takes_over_time_wait() {
    // Shows RFC 6191: a SYN beyond the old connection opens a new one, whose numbers lie beyond the old one's.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1
    //= type=test
    //# it MAY accept a new SYN from the remote TCP endpoint to reopen the connection
    //# directly from TIME-WAIT state
    let mut peer = peer_in("TIME-WAIT");
    let before = peer.iss;
    assert_eq!(peer.answer(seg("S", 1_000, 0)), "S. 0(0) ack 1001");
    assert!(peer.iss.gt(before + 2));
    assert_eq!((peer.report().time_wait, peer.report().half_open), (0, 1));
    assert_eq!(peer.answer(seg(".", 1_001, 1)), "-");
    assert_eq!(peer.report().flows, 1);
}

#[test]
fn a_closed_port_resets() {
    // Shows RFC 9293 section 3.10.7.1: whose numbers a reset has, and that a reset is not answered.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.1
    //= type=test
    //# If the ACK bit is off, sequence number zero is used,
    //# <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
    //# If the ACK bit is on, <SEQ=SEG.ACK><CTL=RST>
    let rows = [
        (seg("S", 0, 0), "R. 0(0) ack 1"),
        (seg("S", 7, 0).data(5), "R. 0(0) ack 13"),
        (seg("F", 7, 0), "R. 0(0) ack 8"),
        (seg("P", 7, 0).data(5), "R. 0(0) ack 12"),
        (seg(".", 7, 77), "R 77(0)"),
        (seg("S.", 7, 78), "R 78(0)"),
        (seg("F.", 7, 79).data(3), "R 79(0)"),
        (seg("R", 7, 0), "-"),
        (seg("R.", 7, 7), "-"),
    ];
    for (segment, due) in rows {
        let mut peer = peer_in("CLOSED");
        assert_eq!(peer.answer(segment), due);
    }
}

#[test]
fn a_listener_takes_syns_alone() {
    // Shows RFC 9293 section 3.10.7.2 for each kind of segment.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.2
    //= type=test
    //# Any acknowledgment is bad if it arrives on a connection still in the
    //# LISTEN state. An acceptable reset segment should be formed for any
    //# arriving ACK-bearing segment.
    let rows = [
        (seg("S", 0, 0), "S. 0(0) ack 1"),
        (seg("R", 0, 0), "-"),
        (seg("R.", 0, 5), "-"),
        (seg(".", 7, 77), "R 77(0)"),
        (seg("S.", 7, 78), "R 78(0)"),
        (seg("F", 7, 0), "-"),
        (seg("P", 7, 0).data(5), "-"),
    ];
    for (segment, due) in rows {
        let mut peer = peer_in("LISTEN");
        assert_eq!(peer.answer(segment), due);
        assert_eq!(peer.report().half_open, usize::from(due.starts_with('S')));
    }
}

#[test]
fn syn_sent_checks_the_acknowledgement_first() {
    // Shows RFC 9293 section 3.10.7.3: ACK, RST and SYN in its order, and what the application hears.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.3
    //= type=test
    //# If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit
    //# is set, if so drop the segment and return)
    let rows = [
        (seg(".", 0, 0), "R 0(0)", "-"),
        (seg(".", 0, 2), "R 2(0)", "-"),
        (seg("S.", 0, 2), "R 2(0)", "-"),
        (seg("R.", 0, 2), "-", "-"),
        (seg("R", 0, 0), "-", "-"),
        (seg("R.", 0, 1), "-", "failed Refused"),
        (seg(".", 0, 1), "-", "-"),
        (seg("F.", 0, 1), "-", "-"),
        (seg("S.", 0, 1), ". 1(0) ack 1", "connected"),
        (seg("S", 0, 0), "S. 0(0) ack 1", "-"),
    ];
    for (segment, due, event) in rows {
        let mut peer = peer_in("SYN-SENT");
        let name = format!("{} {}", segment.flags, segment.ack);
        assert_eq!(peer.answer(segment), due, "{name}");
        assert_eq!(peer.event(), event, "{name}");
    }
}

#[test]
fn syn_received_by_a_listener_goes_on_or_is_forgotten() {
    // Shows the half-open connection against each kind of segment, and the backlog's count.
    let rows = [
        (seg("S", 0, 0), "S. 0(0) ack 1", 1),
        (seg("R", 1, 0), "-", 0),
        (seg("R", 2, 0), ". 1(0) ack 1", 1),
        (seg("R", 100_000, 0), "-", 1),
        (seg("S", 10, 0), "-", 0),
        (seg(".", 1, 0), "R 0(0)", 1),
        (seg(".", 1, 2), "R 2(0)", 1),
        (seg("P", 1, 0).data(1), "-", 1),
        (seg(".", 100_000, 1).data(1), ". 1(0) ack 1", 1),
    ];
    for (segment, due, left) in rows {
        let mut peer = peer_in("SYN-RECEIVED by a listener");
        let name = format!("{} {} {}", segment.flags, segment.seq, segment.ack);
        assert_eq!(peer.answer(segment), due, "{name}");
        assert_eq!(peer.report().half_open, left, "{name}");
    }
    let mut peer = peer_in("SYN-RECEIVED by a listener");
    assert_eq!(peer.answer(seg("F.", 1, 1).data(3)), ". 1(0) ack 5");
    assert_eq!((peer.event(), peer.event()), ("accepted".to_owned(), "end".to_owned()));
    assert_eq!(peer.app().received, b"xxx");
}

#[test]
fn simultaneous_open_ends_established() {
    // Shows figure 8 of RFC 9293: SYNs cross, SYN-ACKs cross, and both ends are established.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.5
    //= type=test
    //# A TCP implementation MUST support simultaneous open attempts (MUST-10).
    let mut peer = peer_in("SYN-RECEIVED");
    assert_eq!(peer.answer(seg("S.", 0, 1)), "-");
    assert_eq!(peer.event(), "connected");
    let stream = peer.stream();
    peer.op(Op::receive(stream));
    peer.rx(seg("P.", 1, 1).bytes(b"hello"));
    assert_eq!(peer.tx(), ". 1(0) ack 6");
    assert_eq!(peer.app().received, b"hello");

    // The plain acknowledgement instead of the SYN-ACK does as well.
    let mut peer = peer_in("SYN-RECEIVED");
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    assert_eq!(peer.event(), "connected");

    // What is not acceptable is answered in this state too; an exact reset refuses.
    let mut peer = peer_in("SYN-RECEIVED");
    assert_eq!(peer.answer(seg(".", 100_000, 1).data(1)), ". 1(0) ack 1");
    assert_eq!(peer.answer(seg(".", 1, 2)), "R 2(0)");
    assert_eq!(peer.answer(seg("R", 1, 0)), "-");
    assert_eq!(peer.event(), "failed Refused");
}

#[test]
fn simultaneous_close_ends_in_time_wait() {
    // Shows figure 13 of RFC 9293: FINs cross, both are acknowledged, and the connection is over for the application.
    let mut peer = peer_in("CLOSING");
    assert_eq!(peer.answer(seg(".", 2, 2)), "-", "the peer's FIN was acknowledged before");
    assert_eq!(peer.report().time_wait, 1);
    assert_eq!((peer.event(), peer.event()), ("end".to_owned(), "closed Done".to_owned()));
}

#[test]
fn a_fin_with_data_closes_after_the_data() {
    // Shows FIN in every place: with data, before its data, and again.
    let mut peer = peer_in("ESTABLISHED");
    // Out of order: the FIN waits for what is missing.
    assert_eq!(peer.answer(seg("F.", 4, 1).bytes(b"def")), ". 1(0) ack 1");
    assert_eq!(peer.event(), "-");
    assert_eq!(peer.answer(seg("P.", 1, 1).bytes(b"abc")), ". 1(0) ack 8");
    assert_eq!(peer.app().received, b"abcdef");
    assert_eq!(peer.event(), "end");
    // Again: acknowledged, told once.
    assert_eq!(peer.answer(seg("F.", 4, 1).bytes(b"def")), ". 1(0) ack 8");
    assert_eq!(peer.event(), "-");
}

#[test]
fn half_open_connections_are_found_out() {
    // Shows figure 9 of RFC 9293: a peer that has forgotten the connection sends a SYN, is challenged, and its reset
    // ends the connection.
    let mut peer = peer_in("ESTABLISHED");
    assert_eq!(peer.answer(seg("S", 400, 0)), ". 1(0) ack 1");
    assert_eq!(peer.answer(seg("R", 1, 0)), "-");
    assert_eq!(peer.event(), "closed Reset");
}

#[test]
fn challenges_are_bounded_by_the_second() {
    // Shows that a flood of blind segments gets five to twelve answers a second, and not always as many.
    let mut peer = peer_in("ESTABLISHED");
    let mut counts = Vec::new();
    for _ in 0..8 {
        peer.wait(S - peer.now() % S);
        for _ in 0..50 {
            peer.rx(seg("S", 10, 0));
        }
        counts.push(std::iter::from_fn(|| Some(peer.tx()).filter(|text| text != "-")).count());
    }
    assert!(counts.iter().all(|count| (5..=12).contains(count)), "{counts:?}");
    assert!(counts.iter().any(|count| *count != counts[0]), "{counts:?}");
    peer.wait(S);
    assert_eq!(peer.answer(seg("S", 10, 0)), ". 1(0) ack 1");
}

#[test]
fn challenges_follow_the_settings() {
    // Shows fewer answers in a longer time where that is asked for.
    //= https://www.rfc-editor.org/rfc/rfc5961#section-7
    //= type=test
    //# 2) The values for both the time and number of ACKs SHOULD be tunable
    //# by the system administrator
    let mut peer = Peer::with(|host| {
        host.config.tcp.challenges = 1;
        host.config.tcp.challenge_interval_ms = 10_000;
    });
    peer.accepted(Options::NONE);
    peer.wait(10 * S - peer.now() % (10 * S));
    let mut counts = Vec::new();
    for _ in 0..20 {
        for _ in 0..20 {
            peer.rx(seg("S", 10, 0));
        }
        counts.push(std::iter::from_fn(|| Some(peer.tx()).filter(|text| text != "-")).count());
        peer.wait(S);
    }
    for interval in counts.chunks(10) {
        assert!((1..=8).contains(&interval[0]), "{counts:?}");
        assert!(interval[1..].iter().all(|count| *count == 0), "{counts:?}");
    }
}

#[test]
fn data_after_close_is_reset() {
    // Shows that an application that has closed for good has the peer's further data reset, and not acknowledged.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1
    //= type=test
    //# If such a host issues a CLOSE call while received data is still pending in the TCP
    //# connection, or if new data is received after CLOSE is called, its TCP
    //# implementation SHOULD send a RST to show that data was lost (SHLD-3).
    let mut peer = peer_in("ESTABLISHED");
    let stream = peer.stream();
    peer.op(Op::close(stream));
    assert_eq!(peer.tx(), "F. 1(0) ack 1");
    assert_eq!(peer.answer(seg("P.", 1, 2).bytes(b"late")), "R 2(0)");
    assert_eq!(peer.event(), "closed Reset");
}
