//! How sockets end, as the application sees it: what is told last, and when a close is a reset. What the states of a
//! connection do is in `states.rs`.

use core::net::SocketAddr;
use core::time::Duration;

use stack::sim::World;
use stack::socket::{Event, Op, OpError, Reason, Stream};
use stack::wire::tcp::Options;

use crate::driver::{PORT, Peer, Recorder, S, US, read, seg};

/// A connection over which a block was sent and acknowledged, while the ring still has its frame.
fn acknowledged_and_kept() -> Peer {
    let mut peer = Peer::new();
    peer.connected(Options::NONE);
    peer.keep_sent(true);
    let mut block = peer.lane().block().expect("blocks are free");
    assert!(block.extend(b"block"), "a block has room");
    let stream = peer.stream();
    peer.op(Op::send(stream, block).notify());
    assert_eq!(peer.tx(), "P. 1(5) ack 1");
    peer.rx(seg(".", 1, 6));
    assert_eq!(peer.event(), "-", "the ring still refers to the block");
    peer
}

#[test]
fn closed_comes_behind_the_last_sent() {
    // Shows that a socket's `Closed` waits for blocks that a transmit ring holds, and that other sockets' do not.
    let mut peer = acknowledged_and_kept();
    peer.op(Op::listen(SocketAddr::new(US, PORT)).tag(stack::socket::Tag(7)));
    assert_eq!(peer.event(), "listening");
    let stream = peer.stream();
    peer.op(Op::abort(stream));
    peer.op(Op::cancel(stack::socket::Tag(7)));
    assert_eq!((peer.event(), peer.event()), ("closed Aborted".to_owned(), "-".to_owned()), "the listener");
    peer.wait(S);
    assert_eq!((peer.event(), peer.lane().lent()), ("-".to_owned(), 1));
    peer.keep_sent(false);
    assert_eq!((peer.event(), peer.event()), ("sent 5".to_owned(), "closed Aborted".to_owned()));
    assert_eq!((peer.event(), peer.lane().lent()), ("-".to_owned(), 0));
}

#[test]
fn closed_comes_behind_writable() {
    // Shows that a refused sender is told of room before its socket's last word, not after it.
    let mut peer = Peer::with(|host| host.lane.sends_per_stream = 2);
    peer.connected(Options::NONE);
    let stream = peer.stream();
    for taken in [true, true, false] {
        assert_eq!(peer.lane().submit(Op::send(stream, &b"x"[..]).notify()).is_ok(), taken);
    }
    peer.op(Op::abort(stream));
    let events: Vec<String> = (0..5).map(|_| peer.event()).collect();
    assert!(events[0].starts_with("failed") && events[1].starts_with("failed"), "{events:?}");
    assert_eq!(events[2..], ["writable", "closed Aborted", "-"]);
}

#[test]
fn small_sends_hold_nothing_and_come_back_if_they_fail() {
    // Shows a quiet send of a small block: the block is free at once, and the send counted until its bytes are acknowledged,
    // also in parts and sent again; and that one which cannot be taken comes back as its bytes.
    let mut peer = Peer::with(|host| host.lane.sends_per_stream = 2);
    peer.connected(Options::NONE);
    let stream = peer.stream();
    let mut block = peer.lane().block().expect("blocks are free");
    assert!(block.extend(b"block"), "a block has room");
    peer.op(Op::send(stream, block));
    assert_eq!(peer.tx(), "P. 1(5) ack 1");
    let held = |peer: &mut Peer| (peer.lane().lent(), peer.lane().send_room(stream));
    assert_eq!(held(&mut peer), (1, 1));
    peer.rx(seg(".", 1, 3));
    peer.wait(S);
    let (_, frame) = peer.frames().pop().expect("the rest goes again");
    let (segment, payload) = read(&frame).expect("a segment");
    assert_eq!((segment.seq.since(peer.iss), payload.as_slice()), (3, &b"ock"[..]));
    assert_eq!(held(&mut peer), (1, 1));
    peer.rx(seg(".", 1, 6));
    assert_eq!((peer.event(), held(&mut peer)), ("-".to_owned(), (0, 2)));
    peer.op(Op::abort(stream));
    assert_eq!(peer.event(), "closed Aborted");
    peer.op(Op::send(stream, &b"late"[..]));
    let failed = peer.app().events.pop_front();
    let Some(Event::Failed { error: OpError::StaleHandle, acked: 0, payload: Some(payload), .. }) = failed
    else {
        panic!("{failed:?}")
    };
    assert_eq!((payload.as_slice(), held(&mut peer)), (&b"late"[..], (0, 2)));
}

/// A connection on which two segments arrived, of which the application has taken the first `taken`.
fn arrived(taken: u32) -> (Peer, Stream) {
    let mut peer = Peer::new();
    peer.connected(Options::NONE);
    peer.app().takes = Some(taken);
    peer.rx(seg(".", 1, 1).data(3));
    peer.rx(seg(".", 4, 1).data(4));
    peer.frames();
    let stream = peer.stream();
    (peer, stream)
}

#[test]
fn a_close_with_bytes_untaken_is_a_reset() {
    // Shows that a close resets while received bytes wait for `take`, whatever time it was given, and is a FIN once
    // they were taken; that they are not handed out any more; and that their frames are given back.
    //= https://www.rfc-editor.org/rfc/rfc2525#section-2.17
    //= type=test
    //# When an application closes a connection in such a way that it can no
    //# longer read any received data, the TCP SHOULD, per section 4.2.2.13
    //# of RFC 1122, send a RST if there is any unread received data
    let ways: [fn(Stream) -> Op; 2] =
        [|stream| Op::close(stream), |stream| Op::close_within(stream, Duration::from_secs(9))];
    for close in ways {
        for (taken, answer, bytes) in
            [(0, "R. 1(0) ack 8", 0), (1, "R. 1(0) ack 8", 3), (2, "F. 1(0) ack 8", 7)]
        {
            let (mut peer, stream) = arrived(taken);
            peer.op(close(stream));
            assert_eq!((peer.tx().as_str(), peer.tx().as_str()), (answer, "-"), "{taken} taken");
            peer.app().takes = None;
            peer.wait(0);
            let told = if taken == 2 { "-" } else { "closed Aborted" };
            assert_eq!((peer.event().as_str(), peer.app().received.len()), (told, bytes), "{taken} taken");
            let report = peer.report();
            assert_eq!(report.receive.available, report.receive.capacity, "{taken} taken");
        }
    }
}

#[test]
fn an_application_that_goes_resets_what_it_has_not_read() {
    // Shows the same of a lane that is dropped: a reset for bytes untaken, a FIN for none.
    for (taken, answer) in [(0, "R. 1(0) ack 8"), (2, "F. 1(0) ack 8")] {
        let (mut peer, _) = arrived(taken);
        peer.world.leave(World::<Recorder>::FIRST);
        assert_eq!(peer.tx(), answer, "{taken} taken");
    }
}

#[test]
fn an_end_untaken_does_not_outlive_the_close() {
    // Shows that a close with only the peer's FIN untaken is in order, and that `End` is not told any more.
    let mut peer = Peer::new();
    peer.connected(Options::NONE);
    peer.app().takes = Some(0);
    assert_eq!(peer.answer(seg("F.", 1, 1)), ". 1(0) ack 2");
    let stream = peer.stream();
    peer.op(Op::close(stream));
    assert_eq!(peer.tx(), "F. 1(0) ack 2");
    peer.rx(seg(".", 2, 2));
    peer.app().takes = None;
    peer.wait(0);
    assert_eq!((peer.event(), peer.event()), (format!("closed {:?}", Reason::Done), "-".to_owned()));
}

#[test]
fn bytes_never_asked_for_make_a_close_a_reset() {
    // Shows the same of bytes that wait in the socket because no `receive` was given: the peer is reset, and the
    // application told. Where the connection had ended by itself, there is nobody left to reset.
    let mut peer = Peer::new();
    peer.connecting();
    peer.answer(seg("S.", 0, 1));
    assert_eq!(peer.event(), "connected");
    let stream = peer.stream();
    peer.rx(seg(".", 1, 1).data(3));
    peer.frames();
    peer.op(Op::close(stream));
    assert_eq!((peer.tx(), peer.event()), ("R. 1(0) ack 4".to_owned(), "closed Aborted".to_owned()));
    assert_eq!((peer.report().flows, peer.report().sockets), (0, 0));

    let mut peer = Peer::new();
    peer.connecting();
    peer.answer(seg("S.", 0, 1));
    assert_eq!(peer.event(), "connected");
    let stream = peer.stream();
    peer.rx(seg("F.", 1, 1).data(3));
    peer.op(Op::shutdown(stream));
    peer.rx(seg(".", 5, 2));
    peer.frames();
    peer.op(Op::close(stream));
    assert_eq!((peer.tx(), peer.event()), ("-".to_owned(), "closed Done".to_owned()));
    assert_eq!((peer.report().counters.closed, peer.report().sockets), (1, 0));
}
