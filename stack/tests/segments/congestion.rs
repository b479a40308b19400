//! When the congestion window opens. How far it does is tested beside the algorithms; losses are in `data.rs`.

use stack::socket::{Event, Op, TcpInfo};
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
            return info;
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
    // Shows that a flow which never fills its window keeps the initial one; that a transfer larger than the window
    // opens it; and that, once opened, it stays as it is while the application sends less.
    let mut peer = opened();
    let initial = info(&mut peer).cwnd;
    assert_eq!(initial, 10 * MSS);
    for _ in 0..20 {
        exchange(&mut peer, 4 * MSS);
    }
    assert_eq!(info(&mut peer).cwnd, initial, "less than the window at a time");
    exchange(&mut peer, 25 * MSS);
    let opened = info(&mut peer).cwnd;
    assert_eq!(opened, 2 * initial - 2 * MSS, "one acknowledgement counts eight segments");
    for _ in 0..20 {
        exchange(&mut peer, 4 * MSS);
        exchange(&mut peer, opened);
    }
    assert_eq!(info(&mut peer).cwnd, opened, "no more than the window at a time");
    exchange(&mut peer, 60 * MSS);
    assert!(info(&mut peer).cwnd > opened);
}
