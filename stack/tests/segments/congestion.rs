//! When the congestion window opens. How far it does is tested beside the algorithms; losses are in `data.rs`.

use stack::socket::{Event, Op, SocketOption, StreamOptions, TcpInfo};
use stack::wire::tcp::Options;

use crate::driver::{MS, Peer, seg};

const MSS: u32 = 1000;

fn opened() -> Peer {
    let mut peer = Peer::new();
    peer.connected(Options { mss: Some(1000), ..Options::NONE });
    peer
}

fn info(peer: &mut Peer) -> TcpInfo {
    let stream = peer.stream();
    peer.op(Op::inspect(stream));
    loop {
        if let Some(Event::Info { info, .. }) = peer.app().events.pop_front() {
            return *info;
        }
    }
}

/// Send `len` bytes and acknowledge all that comes of it, a round trip of 10 ms at a time.
fn exchange(peer: &mut Peer, len: u32) {
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![b'x'; len as usize]));
    peer.nxt += len;
    loop {
        peer.wait(10 * MS);
        let in_flight = info(peer).in_flight;
        if in_flight == 0 {
            return;
        }
        let edge = highest(peer);
        peer.rx(seg(".", 1, edge).window(65_535));
    }
}

/// The first relative sequence number behind everything the engine has sent since the last look.
fn highest(peer: &mut Peer) -> u32 {
    let iss = peer.iss;
    let frames = peer.frames();
    let ends = frames.iter().filter_map(|(_, bytes)| crate::driver::read(bytes));
    ends.map(|(segment, data)| segment.seq.since(iss) + data.len() as u32).max().expect("something was sent")
}

#[test]
fn the_window_opens_by_what_fills_it_alone() {
    // Shows that a flow which never uses half of its window keeps the initial one; that a transfer as large as the
    // window opens it, with nothing behind it; and that, once opened, it stays as it is while the application sends less.
    //= https://www.rfc-editor.org/rfc/rfc7661#section-4.3
    //= type=test
    //# o  Validated phase: pipeACK >=(1/2)*cwnd, or pipeACK is undefined
    let mut peer = opened();
    let initial = info(&mut peer).cwnd;
    assert_eq!(initial, 10 * MSS);
    for _ in 0..20 {
        exchange(&mut peer, 5 * MSS);
    }
    assert_eq!(info(&mut peer).cwnd, initial, "no more than half the window at a time");
    exchange(&mut peer, initial);
    let opened = info(&mut peer).cwnd;
    assert_eq!(opened, 2 * initial - 2 * MSS, "one acknowledgement counts eight segments");
    for _ in 0..20 {
        exchange(&mut peer, 4 * MSS);
    }
    assert_eq!(info(&mut peer).cwnd, opened, "it is not lost either");
    exchange(&mut peer, 60 * MSS);
    assert!(info(&mut peer).cwnd > opened);
}

#[test]
fn slow_start_goes_on_to_twice_what_is_used() {
    // Shows that nine segments at a time, each acknowledged alone, open an initial window of ten to eighteen and no
    // further, and that in congestion avoidance so little opens it no more at all.
    let mut peer = opened();
    for round in 0..4 {
        let stream = peer.stream();
        peer.op(Op::send(stream, vec![b'x'; 9 * MSS as usize]));
        peer.wait(10 * MS);
        for _ in 0..9 {
            peer.nxt += MSS;
            let ack = peer.nxt;
            peer.rx(seg(".", 1, ack).window(65_535));
        }
        assert_eq!(info(&mut peer).cwnd, 18 * MSS, "in round {round}");
    }
}

#[test]
fn figures_of_a_connection() {
    // Shows each count of what has passed: data both ways, a segment lost and sent again, a handshake and a FIN, and
    // that the last figures come before the end of a connection that is to tell them.
    let mut peer = Peer::new();
    peer.connected(Options { mss: Some(1000), ..Options::NONE });
    let stream = peer.stream();
    let options = StreamOptions { report: true, ..StreamOptions::default() };
    peer.op(Op::set(stream, SocketOption::Stream(options)));
    peer.op(Op::send(stream, vec![b'x'; 2500]));
    peer.wait(10 * MS);
    peer.rx(seg("P.", 1, 1001).data(70));
    let figures = info(&mut peer);
    assert_eq!((figures.bytes_acked, figures.bytes_received, figures.bytes_sent), (1000, 70, 2500));
    assert_eq!((figures.data_segments_sent, figures.data_segments_received, figures.delivered), (3, 1, 2));
    peer.wait(2_000 * MS);
    let figures = info(&mut peer);
    assert!(figures.total_retransmits > 0 && figures.bytes_resent > 0);
    assert_eq!(figures.bytes_sent, 2500 + figures.bytes_resent);
    assert!(
        figures.received_ms_ago == 2_000 && figures.heard_ms_ago == 2_000 && figures.sent_ms_ago >= 2_000
    );
    peer.rx(seg("F.", 71, 2501));
    peer.op(Op::close(stream));
    peer.wait(MS);
    peer.rx(seg(".", 72, 2502));
    let mut last = None;
    while let Some(event) = peer.app().events.pop_front() {
        match event {
            Event::Info { info, .. } => last = Some(info),
            Event::Closed { .. } => {
                let last = last.take().expect("figures come before the end");
                assert_eq!((last.bytes_acked, last.bytes_received, last.delivered), (2500, 70, 4));
                assert_eq!(last.segments_received, 4, "SYN-ACK, data, FIN, and the last acknowledgement");
                return;
            }
            _ => {}
        }
    }
    panic!("the connection has ended");
}

#[test]
fn counts_go_round_with_sequence_numbers() {
    // Shows that bytes received are counted rightly across the end of the sequence space, where the peer's numbers begin.
    let mut peer = opened();
    for part in 0..20 {
        peer.rx(seg("P.", 1 + part * 10, 1).data(10));
        peer.wait(50 * MS);
    }
    let figures = info(&mut peer);
    assert_eq!((figures.bytes_received, figures.data_segments_received), (200, 20));
}
