//! Calls that wait, in virtual time: a client that reads and writes like any BSD program, and a server that is slow.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by panicking")]

use core::net::SocketAddr;
use core::time::Duration;

use stack::lane::Lane;
use stack::poll::{Blocking, Driver, Errno, Family, Flags, Kind, Poller, level, name};
use stack::sim::{App, Host, HostId, World};
use stack::socket::{Event, Op, QueueId, Received, Stream};
use stack::time::Instant;

const SECOND: u64 = 1_000_000_000;

const SERVER: HostId = World::<Node>::FIRST;
const CLIENT: HostId = World::<Node>::SECOND;

/// The server echoes what it gets, a while later; the client's lane is somebody else's, who is told of its queue.
#[derive(Default)]
struct Node {
    serves: bool,
    started: bool,
    /// What came, and when it goes back.
    kept: Vec<(Instant, Stream, Received)>,
    delay: u64,
    /// Of the client: the queue that is waited for, and whether it has something.
    watches: Option<QueueId>,
    ready: bool,
}

impl App for Node {
    fn run(&mut self, lane: &mut Lane) {
        self.ready = self.watches.is_some_and(|queue| lane.has(queue));
        if !self.serves {
            return;
        }
        if !core::mem::replace(&mut self.started, true) {
            lane.submit(Op::listen_eager(server())).unwrap();
            lane.submit(Op::bind(server())).unwrap();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Received { stream, data } => {
                    self.kept.push((Instant(lane.now().0 + self.delay), stream, data));
                }
                Event::Datagram { socket, from, data } => {
                    lane.submit(Op::send_to(socket, from, data)).unwrap()
                }
                Event::End { stream } => lane.submit(Op::close(stream)).unwrap(),
                _ => {}
            }
        }
        while self.kept.first().is_some_and(|(at, ..)| *at <= lane.now()) {
            let (_, stream, data) = self.kept.remove(0);
            lane.submit(Op::send(stream, data)).unwrap();
        }
    }

    fn next_event(&self) -> Option<Instant> {
        self.kept.first().map(|(at, ..)| *at)
    }
}

fn server() -> SocketAddr {
    "10.0.0.1:7".parse().unwrap()
}

/// Turns the client's lane by letting the whole world go on.
struct Simulated(World<Node>);

impl Driver for Simulated {
    fn lane(&mut self) -> &mut Lane {
        self.0.lane(CLIENT)
    }

    fn wait(&mut self, queue: QueueId, at_most: Option<Duration>) -> bool {
        self.0.app_mut(CLIENT).watches = Some(queue);
        let most = at_most.map_or(3_600 * SECOND, |at_most| u64::try_from(at_most.as_nanos()).unwrap());
        let limit = Instant(self.0.now().0 + most);
        self.0.run_until(limit, |apps| apps[1].ready);
        // As a lane of its own does: what it says of the time when the wait is over is of now.
        self.lane().turn()
    }
}

fn world(delay: u64) -> (Simulated, Poller) {
    let apps = [Node { serves: true, delay, ..Node::default() }, Node::default()];
    let mut world = World::pair([Host::new(1), Host::new(2)], apps, |_, queue| queue);
    world.run_until(Instant(SECOND), |_| false);
    let poller = Poller::new(world.lane(CLIENT), 8, 256).unwrap();
    (Simulated(world), poller)
}

fn timeval(milliseconds: i64) -> Vec<u8> {
    let words = [milliseconds / 1_000, milliseconds % 1_000 * 1_000];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn calls_wait_until_they_can_be_done() {
    // Shows connect, a write larger than the send buffer, a read of all of it, the end, and a close that lingers, each
    // returning when it is done and not before.
    let (mut world, mut poller) = world(SECOND / 10);
    let mut calls = Blocking::new(&mut poller, &mut world);
    let (poller, _) = calls.parts();
    let socket = poller.open(Kind::Stream, Family::V4).unwrap();
    calls.connect(socket, server()).unwrap();
    let (poller, lane) = calls.parts();
    poller.set_option(lane, socket, level::SOCKET, name::SO_SNDBUF, &20_000i32.to_ne_bytes()).unwrap();
    let bytes: Vec<u8> = (0..150_000u32).map(|at| at.to_le_bytes()[0]).collect();
    assert_eq!(calls.write(socket, &bytes, Flags::NONE), Ok(bytes.len()));
    let mut back = vec![0; bytes.len()];
    assert_eq!(calls.read(socket, &mut back, Flags::WAIT_ALL), Ok(bytes.len()));
    assert!(back == bytes && calls.parts().1.now() >= Instant(SECOND + SECOND / 10));
    let (poller, lane) = calls.parts();
    poller.shutdown(lane, socket, false, true).unwrap();
    assert_eq!(calls.read(socket, &mut back, Flags::NONE), Ok(0));
    let linger: Vec<u8> = [1i32, 5].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (poller, lane) = calls.parts();
    poller.set_option(lane, socket, level::SOCKET, name::SO_LINGER, &linger).unwrap();
    calls.close(socket).unwrap();
    world.0.run_until(Instant(600 * SECOND), |_| false);
    for host in [SERVER, CLIENT] {
        let report = world.0.report(host);
        assert_eq!((report.flows, report.held_frames, report.cells), (0, 0, 0), "{report}");
    }
}

#[test]
fn calls_wait_no_longer_than_they_may() {
    // Shows a read, a connect and an accept that give up when the socket's time is over, at that time; a read with all
    // of its bytes wanted that returns those it has; and calls that are told not to wait.
    let (mut world, mut poller) = world(5 * SECOND);
    let mut calls = Blocking::new(&mut poller, &mut world);
    let (poller, lane) = calls.parts();
    let [silent, socket, listener] = [(); 3].map(|()| poller.open(Kind::Stream, Family::V4).unwrap());
    for of in [silent, socket, listener] {
        poller.set_option(lane, of, level::SOCKET, name::SO_RCVTIMEO, &timeval(1_500)).unwrap();
        poller.set_option(lane, of, level::SOCKET, name::SO_SNDTIMEO, &timeval(500)).unwrap();
    }
    let waited =
        |calls: &mut Blocking<'_, Simulated>, since: Instant| calls.parts().1.now().saturating_since(since);
    calls.parts().1.turn();
    let begun = calls.parts().1.now();
    assert_eq!(calls.connect(silent, "10.0.0.99:7".parse().unwrap()), Err(Errno::InProgress));
    assert_eq!(waited(&mut calls, begun), Duration::from_millis(500));
    calls.connect(socket, server()).unwrap();
    assert_eq!(calls.write(socket, b"late", Flags::NONE), Ok(4));
    let (mut bytes, begun) = ([0; 8], calls.parts().1.now());
    assert_eq!(calls.read(socket, &mut bytes, Flags::DONT_WAIT), Err(Errno::Again));
    assert_eq!(calls.read(socket, &mut bytes, Flags::NONE), Err(Errno::Again));
    assert_eq!(waited(&mut calls, begun), Duration::from_millis(1_500));
    let (poller, lane) = calls.parts();
    poller.set_option(lane, socket, level::SOCKET, name::SO_RCVTIMEO, &timeval(6_000)).unwrap();
    assert_eq!(calls.read(socket, &mut bytes, Flags::WAIT_ALL), Ok(4));
    assert_eq!(waited(&mut calls, begun), Duration::from_millis(7_500));
    let (poller, lane) = calls.parts();
    poller.bind(lane, listener, "10.0.0.2:80".parse().unwrap()).unwrap();
    poller.listen(lane, listener, 1).unwrap();
    assert_eq!(calls.accept(listener), Err(Errno::Again));
    assert_eq!(waited(&mut calls, begun), Duration::from_millis(9_000));
}

#[test]
fn datagrams_are_waited_for() {
    // Shows a question and its answer, and, of a socket with one peer, that nobody has the port there.
    let (mut world, mut poller) = world(0);
    let mut calls = Blocking::new(&mut poller, &mut world);
    let (poller, lane) = calls.parts();
    let socket = poller.open(Kind::Datagram, Family::V4).unwrap();
    poller.connect(lane, socket, server()).unwrap();
    assert_eq!(calls.write_to(socket, b"who?", None), Ok(4));
    let mut bytes = [0; 8];
    assert_eq!(calls.read_from(socket, &mut bytes, Flags::NONE), Ok((4, 4, server())));
    let (poller, lane) = calls.parts();
    poller.connect(lane, socket, "10.0.0.1:8".parse().unwrap()).unwrap();
    assert_eq!(calls.write_to(socket, b"who?", None), Ok(4));
    assert_eq!(calls.read_from(socket, &mut bytes, Flags::NONE), Err(Errno::Refused));
}

#[test]
fn a_datagram_socket_changes_its_peer() {
    // Shows a bound socket that hears its peer alone, another peer, and anybody again, with the port it was bound to and the
    // address towards its peer; two sockets with one peer each, whose ports are their own; and the misuses.
    let (mut world, mut poller) = world(0);
    let mut calls = Blocking::new(&mut poller, &mut world);
    let (poller, lane) = calls.parts();
    let socket = poller.open(Kind::Datagram, Family::V4).unwrap();
    let name = |calls: &mut Blocking<'_, _>| calls.parts().0.local_name(socket).unwrap().to_string();
    poller.bind(lane, socket, "0.0.0.0:5000".parse().unwrap()).unwrap();
    poller.disconnect(lane, socket).unwrap();
    assert_eq!(poller.connect(lane, socket, "198.51.100.1:7".parse().unwrap()), Err(Errno::HostUnreachable));
    assert_eq!(poller.peer_name(socket), Err(Errno::NotConnected));
    assert_eq!(name(&mut calls), "0.0.0.0:5000");
    let mut bytes = [0; 8];
    for peer in ["10.0.0.1:8", "10.0.0.1:7"] {
        let (poller, lane) = calls.parts();
        poller.connect(lane, socket, peer.parse().unwrap()).unwrap();
        assert_eq!(poller.peer_name(socket).unwrap().to_string(), peer);
        assert_eq!(name(&mut calls), "10.0.0.2:5000");
    }
    assert_eq!(calls.write_to(socket, b"mine", None), Ok(4));
    assert_eq!(calls.read_from(socket, &mut bytes, Flags::NONE), Ok((4, 4, server())));
    let (poller, lane) = calls.parts();
    poller.disconnect(lane, socket).unwrap();
    assert_eq!(poller.peer_name(socket), Err(Errno::NotConnected));
    assert_eq!(name(&mut calls), "0.0.0.0:5000");
    assert_eq!(calls.write_to(socket, b"who?", None), Err(Errno::DestinationRequired));
    assert_eq!(calls.write_to(socket, b"all", Some(server())), Ok(3));
    assert_eq!(calls.read_from(socket, &mut bytes, Flags::NONE), Ok((3, 3, server())));
    let (poller, lane) = calls.parts();
    let two = [(); 2].map(|()| {
        let socket = poller.open(Kind::Datagram, Family::V4).unwrap();
        poller.connect(lane, socket, server()).unwrap();
        socket
    });
    assert_ne!(poller.local_name(two[0]).unwrap().port(), poller.local_name(two[1]).unwrap().port());
    for (socket, text) in two.into_iter().zip([b"one", b"two"]) {
        assert_eq!(calls.write_to(socket, text, None), Ok(3));
    }
    for (socket, text) in two.into_iter().zip([b"one", b"two"]) {
        assert_eq!(calls.read_from(socket, &mut bytes, Flags::NONE), Ok((3, 3, server())));
        assert_eq!(bytes[..3], text[..]);
    }
    let (poller, lane) = calls.parts();
    let stream = poller.open(Kind::Stream, Family::V4).unwrap();
    assert_eq!(poller.disconnect(lane, stream), Err(Errno::NotSupported));
}
