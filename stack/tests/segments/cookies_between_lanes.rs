//! SYN cookies that another lane has sent: the acknowledgement opens the connection wherever it is taken in.

use core::net::SocketAddr;

use stack::config::SynCookies;
use stack::socket::{Event, Listener, Op, Stream};
use stack::wire::tcp::Options;

use crate::driver::{MS, PORT, Peer, S, US, seg};

/// Connections of each test: some at home on either lane, and frames that arrive at either.
const PORTS: core::ops::Range<u16> = 4000..4040;

fn here() -> SocketAddr {
    SocketAddr::new(US, PORT)
}

/// What the peer offers in each SYN.
fn offer() -> Options {
    Options {
        mss: Some(1400),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((500, 0)),
        ..Options::NONE
    }
}

fn ask_beside(peer: &mut Peer, op: Op) {
    peer.app().beside.push_back(op);
    peer.wait(MS);
}

fn listen_beside(peer: &mut Peer) -> Listener {
    ask_beside(peer, Op::listen_eager(here()));
    match peer.app().beside_events.pop_front() {
        Some(Event::Listening { listener, .. }) => listener,
        other => panic!("{other:?}"),
    }
}

/// Cookies that each lane has sent, and taken.
fn cookies(peer: &Peer) -> [(u64, u64); 2] {
    let reports = peer.reports();
    [0, 1].map(|lane: usize| (reports[lane].counters.cookies_sent, reports[lane].counters.cookies_accepted))
}

/// A SYN from each port. Returns the engine's numbers: of the port, its initial one and its timestamp.
fn knock(peer: &mut Peer) -> Vec<(u16, stack::wire::tcp::SeqNum, u32)> {
    PORTS
        .map(|port| {
            peer.peer_port = port;
            assert_eq!(peer.answer(seg("S", 0, 0).options(offer())), "S. 0(0) ack 1");
            (port, peer.iss, peer.last.unwrap().options.timestamps.unwrap().0)
        })
        .collect()
}

/// The connection of an acknowledgement, whichever lane it opens on, has all that its SYN offered: our segments are as
/// large as it said, go as far as its scaled window reaches, and carry timestamps; and holes are told by SACK.
fn open(peer: &mut Peer, port: u16, stamp: u32) {
    assert_eq!(peer.answer(seg(".", 1, 1).window(11).stamps(600, stamp)), "-", "{port}");
    let beside = peer.app().events.is_empty();
    let event = if beside { peer.app().beside_events.pop_front() } else { peer.app().events.pop_front() };
    let Some(Event::Accepted { stream, peer: remote, .. }) = event else { panic!("{port}: {event:?}") };
    assert_eq!(remote.port(), port);
    let send = |stream: Stream| Op::send(stream, vec![7; 3_000]);
    if beside {
        ask_beside(peer, send(stream))
    } else {
        peer.op(send(stream))
    }
    assert_eq!(peer.tx(), ". 1(1368) ack 1");
    assert_eq!(peer.last.unwrap().options.timestamps.map(|(_, echo)| echo), Some(600));
    assert_eq!(peer.tx(), "-", "11 of 128 bytes are open");
    peer.rx(seg(".", 11, 1).data(10).window(11).stamps(700, stamp));
    peer.tx();
    assert_eq!(peer.last.unwrap().options.sack.as_slice().len(), 1);
    peer.frames();
}

fn both_lanes() -> Peer {
    let mut peer = Peer::with(|host| host.config.tcp.syn_cookies = SynCookies::Always);
    peer.op(Op::listen_eager(here()));
    assert_eq!(peer.event(), "listening");
    peer
}

#[test]
fn a_lane_that_listens_no_longer_leaves_its_cookies_to_the_other() {
    // Shows SYNs that both lanes have answered: once one of them has closed its listener, the other takes what comes back
    // of either, with all that was offered; and what brings a wrong number is reset there.
    let mut peer = both_lanes();
    let listener = listen_beside(&mut peer);
    let known = knock(&mut peer);
    let [(first, 0), (second, 0)] = cookies(&peer) else { panic!("nothing was acknowledged") };
    assert!(first > 8 && second > 8 && first + second == 40, "{first} and {second}");
    ask_beside(&mut peer, Op::close(listener));
    peer.wait(S / 10);
    for (port, iss, stamp) in &known {
        (peer.peer_port, peer.iss) = (*port, *iss);
        assert!(peer.answer(seg(".", 1, 77).stamps(600, *stamp)).starts_with('R'));
        open(&mut peer, *port, *stamp);
    }
    assert_eq!(cookies(&peer), [(first, 40), (second, 0)]);
}

#[test]
fn a_lane_that_begins_to_listen_takes_the_other_s_cookies() {
    // Shows SYNs that one lane has answered for both: those at home on the other are taken by that one, which has sent no
    // cookie itself, once it listens.
    let mut peer = both_lanes();
    let known = knock(&mut peer);
    assert_eq!(cookies(&peer), [(40, 0), (0, 0)]);
    listen_beside(&mut peer);
    peer.wait(S / 10);
    for (port, iss, stamp) in &known {
        (peer.peer_port, peer.iss) = (*port, *iss);
        open(&mut peer, *port, *stamp);
    }
    let [(40, first), (0, second)] = cookies(&peer) else { panic!("{:?}", cookies(&peer)) };
    assert!(first > 8 && second > 8 && first + second == 40, "{first} and {second}");
}
