//! What a peer, or somebody in its name, can make us hold and say: bounds, each at its worst case.

use core::net::SocketAddr;

use stack::socket::{Action, ListenOptions, Op, StreamOptions};
use stack::wire::DropReason;
use stack::wire::tcp::Options;

use crate::driver::{PORT, Peer, S, US, seg};

/// SACK and timestamps, as everybody offers them.
fn offer() -> Options {
    Options { mss: Some(1460), sack_permitted: true, ..Options::NONE }
}

/// Segments among what was sent since the last look.
fn segments(peer: &mut Peer) -> usize {
    std::iter::from_fn(|| Some(peer.tx()).filter(|text| text != "-")).count()
}

#[test]
fn single_bytes_with_holes_between_hold_few_frames() {
    // Shows every second byte of a window as a segment of its own, upwards, downwards and mixed: twice the frames of a stream
    // are held at most, what is farthest goes first, and once the holes are filled every byte is there once.
    for order in 0..3 {
        let mut peer = Peer::new();
        peer.accepted(offer());
        let count = 2_000;
        for n in 0..count {
            let place = [n, count - 1 - n, n * 7 % count][order];
            peer.rx(seg(".", 3 + 2 * place as u32, 1).data(1));
        }
        peer.frames();
        let report = peer.report();
        assert!(report.held_frames <= 256, "{} frames held", report.held_frames);
        assert_eq!(peer.answer(seg(".", 1, 1).data(1)), ". 1(0) ack 2");
        // What was given up comes again, as it would: the peer keeps what is not acknowledged.
        for place in 0..=2 * count as u32 {
            peer.rx(seg(".", 1 + place, 1).data(1));
        }
        assert_eq!((peer.app().received.len(), peer.report().held_frames), (2 * count + 1, 0));
        assert_eq!(peer.report().active, 0);
    }
}

#[test]
fn single_bytes_in_a_row_share_frames() {
    // Shows 2,000 bytes behind a hole, a segment each: they are kept in a frame or two, reported as one block, and delivered
    // when the hole is filled.
    let mut peer = Peer::new();
    peer.accepted(offer());
    for n in 0..2_000u32 {
        peer.rx(seg(".", 2 + n, 1).bytes(&[n.to_be_bytes()[3]]));
    }
    let mut last = None;
    while peer.tx() != "-" {
        last = peer.last;
    }
    let sack = last.unwrap().options.sack;
    assert_eq!((sack.len(), sack.as_slice()[0].right.since(sack.as_slice()[0].left)), (1, 2_000));
    assert!(peer.report().held_frames <= 3, "{} frames held", peer.report().held_frames);
    assert_eq!(peer.answer(seg(".", 1, 1).bytes(&[77])), ". 1(0) ack 2002");
    let received = std::mem::take(&mut peer.app().received);
    assert!(received[1..].iter().enumerate().all(|(n, byte)| *byte == n.to_be_bytes()[7]));
    assert_eq!((received.len(), peer.report().held_frames), (2_001, 0));
}

#[test]
fn half_open_connections_answer_few_challenges() {
    // Shows a hundred segments that a half-open connection does not accept: five to twelve are answered a second.
    let mut peer = Peer::new();
    peer.op(Op::listen_eager(SocketAddr::new(US, PORT)));
    assert_eq!(peer.event(), "listening");
    assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
    for _ in 0..2 {
        (0..100).for_each(|n| peer.rx(seg(".", 200_000 + n, 1)));
        let answers = segments(&mut peer);
        assert!((5..=12).contains(&answers), "{answers} answers");
        peer.wait(S);
        peer.frames();
    }
    assert_eq!(peer.answer(seg(".", 1, 1)), "-");
    assert_eq!(peer.event(), "accepted");
}

#[test]
fn time_wait_answers_little() {
    // Shows a hundred old segments, and a hundred FINs again, to a connection in TIME_WAIT: few are answered a second, and
    // nothing more is remembered.
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::close(stream));
    assert_eq!(peer.tx(), "F. 1(0) ack 1");
    assert_eq!(peer.answer(seg("F.", 1, 2)), ". 2(0) ack 2");
    for flags in [".", "F."] {
        peer.wait(S);
        (0..100).for_each(|_| peer.rx(seg(flags, if flags == "." { 0 } else { 1 }, 2)));
        let answers = segments(&mut peer);
        assert!((5..=12).contains(&answers), "{answers} answers");
        assert_eq!(peer.report().time_wait, 1);
    }
    peer.wait(61 * S);
    assert_eq!(peer.report().time_wait, 0);
}

#[test]
fn resets_are_limited() {
    // Shows 5,000 segments to a closed port at one moment: about 2,000 are refused, the others dropped, and later ones are
    // refused again.
    let mut peer = Peer::new();
    (0..5_000).for_each(|_| peer.rx(seg(".", 1, 1)));
    let answers = segments(&mut peer);
    assert!((1_800..2_200).contains(&answers), "{answers} resets");
    let unsent = peer.report().counters.unsent[DropReason::ResetRateLimited as usize];
    assert_eq!(unsent as usize, 5_000 - answers);
    peer.wait(S);
    assert_eq!(peer.answer(seg(".", 1, 1)), "R 1(0)");
}

#[test]
fn dead_peers_cost_nothing_for_long() {
    // Shows 100 connections whose peers fall silent, half of them idle with keepalive, half with data under way and a user
    // timeout: within a minute all that they held is back.
    let mut peer = Peer::new();
    let stream = StreamOptions {
        keepalive: true,
        keepalive_idle_s: 10,
        keepalive_interval_s: 5,
        keepalive_probes: 3,
        user_timeout_ms: 20_000,
        ..StreamOptions::default()
    };
    let options = ListenOptions { eager: true, stream, ..ListenOptions::default() };
    peer.op(Op::new(Action::Listen { address: SocketAddr::new(US, PORT), options }));
    assert_eq!(peer.event(), "listening");
    for n in 0..100 {
        peer.peer_port = 5_000 + n;
        assert_eq!(peer.answer(seg("S", 0, 0)), "S. 0(0) ack 1");
        assert_eq!(peer.answer(seg(".", 1, 1)), "-");
        assert_eq!(peer.event(), "accepted");
        if n % 2 == 0 {
            let stream = peer.stream();
            peer.op(Op::send(stream, vec![7; 5_000]));
            peer.frames();
        }
        // Out of order: it waits with the connection.
        peer.rx(seg(".", 100, 1).data(100));
        peer.frames();
    }
    let report = peer.report();
    assert_eq!((report.flows, report.held_frames), (100, 100));
    peer.wait(60 * S);
    let report = peer.report();
    let held = (report.flows, report.held_frames, report.cells, report.active, report.half_open);
    assert_eq!(held, (0, 0, 0, 0, 0));
    assert_eq!((report.receive.available, report.sockets), (report.receive.capacity, 1));
}
