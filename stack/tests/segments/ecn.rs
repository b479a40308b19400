//! Explicit congestion notification: who agrees to it, what is marked as ECN-capable, what echoes do. Flags are written
//! E for ECE and W for CWR.

use stack::config::{Congestion, Ecn};
use stack::socket::{Event, Op, SocketOption, TcpInfo};
use stack::wire::tcp::Options;

use crate::driver::{MS, PEER, PEER_PORT, PORT, Peer, S, US, seg};

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;
const MSS: u32 = 1000;

fn options() -> Options {
    Options { mss: Some(1000), ..Options::NONE }
}

fn listening(adjust: impl FnOnce(&mut stack::sim::Host)) -> Peer {
    let mut peer = Peer::with(|host| {
        host.config.tcp.quick_acks = 0;
        adjust(host);
    });
    peer.op(Op::listen_eager(core::net::SocketAddr::new(US, PORT)));
    assert_eq!(peer.event(), "listening");
    peer
}

/// A connection that the peer opened and that uses ECN, with Reno's window.
fn agreed() -> Peer {
    agreed_with(Congestion::NewReno)
}

fn agreed_with(congestion: Congestion) -> Peer {
    let mut peer = listening(|host| host.config.tcp.congestion = congestion);
    assert_eq!(peer.answer(seg("SEW", 0, 0).options(options())), "S.E 0(0) ack 1");
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    assert_eq!(peer.event(), "accepted");
    peer
}

/// Send `len` bytes; what goes out at once, as text and ECN field.
fn send(peer: &mut Peer, len: usize) -> Vec<(String, u8)> {
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![b'x'; len]));
    sent(peer)
}

fn sent(peer: &mut Peer) -> Vec<(String, u8)> {
    core::iter::from_fn(|| Some((peer.tx(), peer.field)).filter(|(text, _)| text != "-")).collect()
}

fn info(peer: &mut Peer) -> TcpInfo {
    let stream = peer.stream();
    peer.op(Op::inspect(stream));
    loop {
        match peer.app().events.pop_front() {
            Some(Event::Info { info, .. }) => return *info,
            Some(_) => {}
            None => panic!("an inspection is answered at once"),
        }
    }
}

#[test]
fn a_listener_grants_what_is_asked_for_as_it_should_be() {
    // Shows the SYN-ACK to every form of SYN, in each mode, and that data are ECN-capable where both agreed alone.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
    //= type=test
    //# If a host has received an ECN-setup SYN packet, then it MAY send
    //# an ECN-setup SYN-ACK packet.  Otherwise, it MUST NOT send an
    //# ECN-setup SYN-ACK packet.
    for (mode, syn, field, granted) in [
        (Ecn::Accept, "SEW", NOT_ECT, true),
        (Ecn::Request, "SEW", NOT_ECT, true),
        (Ecn::Off, "SEW", NOT_ECT, false),
        (Ecn::Accept, "S", NOT_ECT, false),
        (Ecn::Accept, "SE", NOT_ECT, false),
        (Ecn::Accept, "SW", NOT_ECT, false),
        (Ecn::Accept, "SEW", ECT_0, false),
        (Ecn::Accept, "SEW", ECT_1, false),
        (Ecn::Accept, "SEW", CE, false),
    ] {
        let context = format!("{mode:?} {syn} {field}");
        let mut peer = listening(|host| host.config.tcp.ecn = mode);
        let answer = peer.answer(seg(syn, 0, 0).options(options()).field(field));
        assert_eq!(answer, if granted { "S.E 0(0) ack 1" } else { "S. 0(0) ack 1" }, "{context}");
        assert_eq!(peer.field, NOT_ECT, "{context}");
        peer.answer(seg(".", 1, 1));
        peer.event();
        let expected = if granted { ECT_0 } else { NOT_ECT };
        assert_eq!(send(&mut peer, 10), [("P. 1(10) ack 1".to_owned(), expected)], "{context}");
        // A mark means something to those alone who agreed.
        let answer = peer.answer(seg("P.", 1, 11).data(1).field(CE));
        let echo = if granted { ".E 11(0) ack 2" } else { "-" };
        assert_eq!(answer, echo, "{context}");
    }
}

#[test]
fn a_client_asks_where_it_should_and_knows_a_grant() {
    // Shows the SYN in each mode, every form of SYN-ACK, and that data are ECN-capable after the right one alone: one
    // that reflects both bits is no grant.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
    //= type=test
    //# we call a SYN-ACK packet with only the ECE
    //# flag set but the CWR flag not set an "ECN-setup SYN-ACK packet"
    for (mode, syn_ack, granted) in [
        (Ecn::Request, "S.E", true),
        (Ecn::Request, "S.", false),
        (Ecn::Request, "S.W", false),
        (Ecn::Request, "S.EW", false),
        (Ecn::Accept, "S.E", false),
        (Ecn::Off, "S.E", false),
    ] {
        let context = format!("{mode:?} {syn_ack}");
        let mut peer = Peer::with(|host| host.config.tcp.ecn = mode);
        peer.op(Op::connect(core::net::SocketAddr::new(PEER, PEER_PORT)));
        let syn = if mode == Ecn::Request { "SEW 0(0)" } else { "S 0(0)" };
        assert_eq!((peer.tx(), peer.field), (syn.to_owned(), NOT_ECT), "{context}");
        assert_eq!(peer.answer(seg(syn_ack, 0, 1).options(options())), ". 1(0) ack 1", "{context}");
        assert_eq!(peer.event(), "connected");
        let expected = if granted { ECT_0 } else { NOT_ECT };
        assert_eq!(send(&mut peer, 10), [("P. 1(10) ack 1".to_owned(), expected)], "{context}");
    }
}

#[test]
fn a_syn_that_is_not_answered_goes_again_without_asking() {
    // Shows that the second SYN asks for nothing; that with a late grant of the first our data are not ECN-capable, but
    // marks of the peer's are echoed all the same.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1.1
    //= type=test
    //# A host that receives no reply to an ECN-setup SYN within the normal
    //# SYN retransmission timeout interval MAY resend the SYN and any
    //# subsequent SYN retransmissions with CWR and ECE cleared.
    let mut peer = Peer::with(|host| host.config.tcp.ecn = Ecn::Request);
    peer.op(Op::connect(core::net::SocketAddr::new(PEER, PEER_PORT)));
    assert_eq!(peer.tx(), "SEW 0(0)");
    peer.wait(1_100 * MS);
    assert_eq!(peer.tx(), "S 0(0)");
    assert_eq!(peer.answer(seg("S.E", 0, 1).options(options())), ". 1(0) ack 1");
    assert_eq!(peer.event(), "connected");
    let stream = peer.stream();
    peer.op(Op::receive(stream));
    assert_eq!(send(&mut peer, 10), [("P. 1(10) ack 1".to_owned(), NOT_ECT)]);
    assert_eq!(peer.answer(seg("P.", 1, 11).data(1).field(CE)), ".E 11(0) ack 2");
}

#[test]
fn a_peer_that_stops_asking_is_granted_nothing() {
    // Shows a listener that has granted ECN and is asked again, without it: neither its SYN-ACK nor its data have it.
    let mut peer = listening(|_| {});
    assert_eq!(peer.answer(seg("SEW", 0, 0).options(options())), "S.E 0(0) ack 1");
    assert_eq!(peer.answer(seg("S", 0, 0).options(options())), "S. 0(0) ack 1");
    peer.answer(seg(".", 1, 1));
    peer.event();
    assert_eq!(send(&mut peer, 10), [("P. 1(10) ack 1".to_owned(), NOT_ECT)]);
}

#[test]
fn two_that_open_at_once_agree_too() {
    // Shows a simultaneous open: both SYNs ask, our SYN-ACK grants.
    let mut peer = Peer::with(|host| host.config.tcp.ecn = Ecn::Request);
    peer.op(Op::connect(core::net::SocketAddr::new(PEER, PEER_PORT)));
    assert_eq!(peer.tx(), "SEW 0(0)");
    assert_eq!(peer.answer(seg("SEW", 0, 0).options(options())), "S.E 0(0) ack 1");
    peer.answer(seg(".", 1, 1));
    assert_eq!(peer.event(), "connected");
    assert_eq!(send(&mut peer, 10), [("P. 1(10) ack 1".to_owned(), ECT_0)]);
}

#[test]
fn a_mark_is_echoed_until_the_window_was_made_smaller() {
    // Shows ECE on every acknowledgement and on data from the mark to the peer's CWR, at once at both; that CWR with
    // another mark goes on; and that neither a pure acknowledgement's mark nor one out of the window is echoed.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.3
    //= type=test
    //# After a TCP receiver sends an ACK packet with the ECN-Echo bit set,
    //# that TCP receiver continues to set the ECN-Echo flag in all the ACK
    //# packets it sends
    let mut peer = agreed();
    assert_eq!(peer.answer(seg(".", 1, 1).field(CE)), "-");
    assert_eq!(peer.answer(seg("P.", 70_000, 1).data(10).field(CE)), ". 1(0) ack 1");
    assert_eq!(peer.answer(seg("P.", 1, 1).data(10).field(ECT_0)), "-");
    peer.wait(S);
    assert_eq!(peer.tx(), ". 1(0) ack 11");
    assert_eq!(peer.answer(seg("P.", 11, 1).data(10).field(CE)), ".E 1(0) ack 21");
    assert_eq!(peer.answer(seg("P.", 21, 1).data(10).field(ECT_0)), "-");
    peer.wait(S);
    assert_eq!(peer.tx(), ".E 1(0) ack 31");
    assert_eq!(send(&mut peer, 10), [("P.E 1(10) ack 31".to_owned(), ECT_0)]);
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.3
    //= type=test
    //# After the receipt of the CWR packet, acknowledgments for
    //# subsequent non-CE data packets do not have the ECN-Echo flag set.
    assert_eq!(peer.answer(seg("P.W", 31, 11).data(10).field(ECT_0)), ". 11(0) ack 41");
    assert_eq!(peer.answer(seg("P.", 41, 11).data(10).field(CE)), ".E 11(0) ack 51");
    assert_eq!(peer.answer(seg("P.W", 51, 11).data(10).field(CE)), ".E 11(0) ack 61");
    assert_eq!(peer.answer(seg("P.W", 61, 11).data(10)), ". 11(0) ack 71");
    // Out of order, a mark counts as well: the segment lies in the window.
    assert_eq!(peer.answer(seg("P.", 91, 11).data(10).field(CE)), ".E 11(0) ack 71");
}

#[test]
fn an_echo_makes_the_window_smaller_once_a_window() {
    // Shows the reduction to half, CWR on the first new segment alone, no second reduction while acknowledgements are
    // of what was in flight then, and one after that.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
    //= type=test
    //# The indication
    //# of congestion should be treated just as a congestion loss in non-
    //# ECN-Capable TCP.
    let mut peer = agreed();
    let first = send(&mut peer, 40 * MSS as usize);
    assert_eq!(first.len(), 10);
    assert!(first.iter().all(|(text, field)| text.starts_with(". ") && *field == ECT_0), "{first:?}");
    peer.rx(seg(".E", 1, 1 + 2 * MSS));
    assert_eq!(info(&mut peer).cwnd, 5 * MSS);
    assert_eq!(sent(&mut peer), []);
    peer.rx(seg(".E", 1, 1 + 6 * MSS));
    assert_eq!(info(&mut peer).cwnd, 5 * MSS);
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
    //= type=test
    //# When the TCP data sender is ready to set the CWR bit after reducing
    //# the congestion window, it SHOULD set the CWR bit only on the first
    //# new data packet that it transmits.
    assert_eq!(sent(&mut peer), [(".W 10001(1000) ack 1".to_owned(), ECT_0)]);
    peer.rx(seg(".E", 1, 1 + 10 * MSS));
    assert_eq!(info(&mut peer).cwnd, 5 * MSS, "the peer cannot have had CWR yet");
    sent(&mut peer);
    peer.rx(seg(".E", 1, 1 + 11 * MSS));
    assert_eq!(info(&mut peer).cwnd, 5 * MSS / 2, "a mark of what was sent after the reduction");
    peer.rx(seg(".", 1, 1 + 15 * MSS));
    let texts: Vec<_> = sent(&mut peer).into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts[0], ".W 15001(1000) ack 1");
}

#[test]
fn what_is_no_new_data_is_not_ecn_capable() {
    // Shows a retransmission, an acknowledgement, a window probe and a keepalive probe: none carries ECT or CWR, not even
    // while CWR is due.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.5
    //= type=test
    //# This document specifies ECN-capable TCP implementations MUST NOT set
    //# either ECT codepoint (ECT(0) or ECT(1)) in the IP header for
    //# retransmitted data packets
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.6
    //= type=test
    //# Therefore, the TCP data sender MUST NOT set either an ECT codepoint
    //# or the CWR bit on window probe packets.
    let mut peer = agreed();
    assert_eq!(send(&mut peer, 100), [("P. 1(100) ack 1".to_owned(), ECT_0)]);
    peer.wait(4 * S);
    let again = sent(&mut peer);
    assert!(again.len() >= 2 && again.iter().all(|one| *one == ("P. 1(100) ack 1".to_owned(), NOT_ECT)));
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.4
    //= type=test
    //# pure
    //# acknowledgement packets (e.g., packets that do not contain any
    //# accompanying data) MUST be sent with the not-ECT codepoint.
    peer.rx(seg("P.", 1, 101).data(10).window(0));
    peer.wait(S);
    assert_eq!(sent(&mut peer), [(". 101(0) ack 11".to_owned(), NOT_ECT)]);
    // The timeouts made the window smaller, so CWR is due; the window is closed.
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![b'x'; 50]));
    peer.wait(20 * S);
    let probes = sent(&mut peer);
    assert!(!probes.is_empty());
    for (text, field) in probes {
        assert!(text.ends_with(" 101(1) ack 11") && !text.contains('W') && field == NOT_ECT, "{text}");
    }
    // The window opens: the probes' byte goes again, with what is behind it.
    peer.rx(seg(".", 11, 101));
    assert_eq!(sent(&mut peer), [("P. 101(50) ack 11".to_owned(), NOT_ECT)]);
    peer.rx(seg(".", 11, 151));
    assert_eq!(send(&mut peer, 10), [("P.W 151(10) ack 11".to_owned(), ECT_0)]);
    peer.rx(seg(".", 11, 161));
    peer.op(Op::set(stream, SocketOption::KeepAlive(Some(core::time::Duration::from_secs(1)))));
    peer.wait(1_500 * MS);
    assert_eq!(sent(&mut peer), [(". 160(0) ack 11".to_owned(), NOT_ECT)]);
    peer.op(Op::shutdown(stream));
    assert_eq!(sent(&mut peer), [("F. 161(0) ack 11".to_owned(), NOT_ECT)]);
}

#[test]
fn a_window_of_one_segment_waits_for_the_timer() {
    // Shows that marks bring the window down to one segment, and that an echo then holds new data back until the
    // retransmission timer has run its time, counted from that echo.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
    //= type=test
    //# Therefore, the sending TCP MUST reset the
    //# retransmit timer on receiving the ECN-Echo packet when the congestion
    //# window is one.
    let mut peer = agreed();
    send(&mut peer, 100 * MSS as usize);
    let mut acked = 1 + 10 * MSS;
    for expected in [5_000, 2_500, 1_000] {
        peer.rx(seg(".E", 1, acked));
        assert_eq!(info(&mut peer).cwnd, expected);
        acked += sent(&mut peer).len() as u32 * MSS;
    }
    peer.wait(20 * MS);
    let echoed_at = peer.now();
    peer.rx(seg(".E", 1, acked));
    assert_eq!((info(&mut peer).cwnd, sent(&mut peer)), (MSS, vec![]));
    peer.wait(150 * MS);
    assert_eq!(sent(&mut peer), []);
    peer.wait(S);
    let late = sent(&mut peer);
    assert!(!late.is_empty());
    // The least timeout is 200 ms, and a tick is 66 us.
    let after = info(&mut peer).rto_us;
    assert!(after >= 200_000 && peer.now() - echoed_at > 200 * MS);
    assert!(late[0].0.contains(&format!(" {acked}(1000)")) && late[0].1 == ECT_0, "{late:?}");
}

#[test]
fn losses_say_so_too() {
    // Shows CWR on the first new data after a fast retransmit and after a timeout, and not on what goes again.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
    //= type=test
    //# When an ECN-Capable TCP sender reduces its congestion window for any
    //# reason (because of a retransmit timeout, a Fast Retransmit, or in
    //# response to an ECN Notification), the TCP sender sets the CWR flag
    for timeout in [false, true] {
        let mut peer = agreed();
        assert_eq!(send(&mut peer, 30 * MSS as usize).len(), 10);
        if timeout {
            peer.wait(1_100 * MS);
        } else {
            (0..3).for_each(|_| peer.rx(seg(".", 1, 1)));
        }
        let mut all = sent(&mut peer);
        peer.rx(seg(".", 1, 1 + 10 * MSS));
        all.extend(sent(&mut peer));
        peer.rx(seg(".", 1, 1 + 12 * MSS));
        all.extend(sent(&mut peer));
        let again =
            all.iter().find(|(text, _)| text.contains(" 1(1000)")).expect("the first segment was lost");
        assert_eq!((again.0.contains('W'), again.1), (false, NOT_ECT));
        // New data that limited transmit had sent before the loss was known say nothing of it.
        let marked: Vec<_> = all.iter().filter(|(text, _)| text.contains('W')).collect();
        assert_eq!((marked.len(), marked[0].1), (1, ECT_0), "{all:?}");
    }
}

#[test]
fn dctcp_echoes_each_change_at_once() {
    // Shows RFC 8257's receiver: ECE as the last segment was marked; at a change, one acknowledgement for what came
    // before in its state, and one for the new; delayed as ever in between. CWR does not end an echo.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.2
    //= type=test
    //# When sending an ACK,
    //# the ECE flag MUST be set if and only if DCTCP.CE is true.
    let mut peer = agreed_with(Congestion::Dctcp);
    assert_eq!(peer.answer(seg("P.", 1, 1).data(10).field(ECT_0)), "-");
    peer.rx(seg("P.", 11, 1).data(10).field(CE));
    let texts = |peer: &mut Peer| sent(peer).into_iter().map(|(text, _)| text).collect::<Vec<_>>();
    assert_eq!(texts(&mut peer), [". 1(0) ack 11", ".E 1(0) ack 21"]);
    assert_eq!(peer.answer(seg("P.W", 21, 1).data(10).field(CE)), "-");
    peer.rx(seg("P.", 31, 1).data(10).field(ECT_0));
    assert_eq!(texts(&mut peer), [".E 1(0) ack 31", ". 1(0) ack 41"]);
    // With nothing unacknowledged, one is enough.
    peer.rx(seg("P.", 41, 1).data(10).field(CE));
    assert_eq!(texts(&mut peer), [".E 1(0) ack 51"]);
    assert_eq!(send(&mut peer, 10), [("P.E 1(10) ack 51".to_owned(), ECT_0)]);
}

#[test]
fn dctcp_marks_its_control_segments_as_asked() {
    // Shows ECT on SYN, SYN-ACK and reset, and on acknowledgements and retransmissions only if that is asked for.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.6
    //= type=test
    //# Hence, for DCTCP connections, the sender SHOULD set
    //# ECT for SYN, SYN-ACK, and RST packets.
    for always in [false, true] {
        let dctcp = |host: &mut stack::sim::Host| {
            host.config.tcp.congestion = Congestion::Dctcp;
            host.config.tcp.dctcp_ect_always = always;
        };
        let mut peer = Peer::with(dctcp);
        peer.op(Op::connect(core::net::SocketAddr::new(PEER, PEER_PORT)));
        assert_eq!((peer.tx().as_str(), peer.field), ("SEW 0(0)", ECT_0));
        let mut peer = listening(dctcp);
        assert_eq!(peer.answer(seg("SEW", 0, 0).options(options()).field(ECT_0)), "S.E 0(0) ack 1");
        assert_eq!(peer.field, ECT_0);
        peer.answer(seg(".", 1, 1));
        peer.event();
        let expected = if always { ECT_0 } else { NOT_ECT };
        peer.rx(seg("P.", 1, 1).data(10).field(CE));
        assert_eq!(sent(&mut peer), [(".E 1(0) ack 11".to_owned(), expected)]);
        assert_eq!(send(&mut peer, 10)[0].1, ECT_0);
        peer.wait(1_100 * MS);
        assert_eq!(sent(&mut peer)[0], ("P.E 1(10) ack 11".to_owned(), expected));
        let stream = peer.stream();
        peer.op(Op::abort(stream));
        let reset = sent(&mut peer);
        assert!(reset[0].0.starts_with("R.") && reset[0].1 == ECT_0, "{reset:?}");
    }
}

#[test]
fn a_socket_chooses_its_congestion_control() {
    // Shows the answer to a mark after each choice by option: a half for Reno and DCTCP's first, seven tenths for CUBIC.
    for (choice, cwnd) in
        [(Congestion::NewReno, 5_000), (Congestion::Cubic, 7_000), (Congestion::Dctcp, 5_000)]
    {
        let mut peer = agreed();
        let stream = peer.stream();
        peer.op(Op::set(stream, SocketOption::Congestion(choice)));
        send(&mut peer, 40 * MSS as usize);
        peer.rx(seg(".E", 1, 1 + MSS));
        assert_eq!(info(&mut peer).cwnd, cwnd, "{choice:?}");
    }
}

#[test]
fn dctcp_falls_by_the_share_of_marks() {
    // Shows that an echo costs less than a half after windows without a mark: each of them takes a sixteenth of alpha away.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.3
    //= type=test
    //# DCTCP.Alpha = DCTCP.Alpha * (1 - g) + g * M
    let mut peer = agreed_with(Congestion::Dctcp);
    for window in 1..=16 {
        assert_eq!(send(&mut peer, 5 * MSS as usize).len(), 5);
        peer.rx(seg(".", 1, 1 + 5 * window * MSS));
    }
    let before = info(&mut peer).cwnd;
    send(&mut peer, 5 * MSS as usize);
    peer.rx(seg(".E", 1, 1 + 81 * MSS));
    let fall = f64::from(before - info(&mut peer).cwnd) / f64::from(before);
    // (15/16)^17 + 1/16, halved.
    assert!((fall - 0.198).abs() < 0.02, "{fall}");
}
