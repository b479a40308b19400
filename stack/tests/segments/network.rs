//! Everything around TCP: ARP, ICMP, UDP, fragments, and what their errors do to connections.

use core::net::{IpAddr, SocketAddr};

use stack::config::MtuProbing;
use stack::socket::{Event, Op, OpError};
use stack::wire::icmp::{self, Message, Unreachable};
use stack::wire::tcp::Options;
use stack::wire::{Checksum, EtherType, Fill, MacAddress, Protocol, Tail, Verify, arp, ethernet, ipv4, udp};

use crate::driver::{
    MS, OUR_MAC, PEER_MAC, PEER_PORT, PEER4 as PEER, PORT, Peer, S, US4 as US, ip_frame, read, read_arp,
    read_ip, seg,
};

fn icmp(message: Message, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; icmp::HEADER_LEN];
    message.emit(&mut bytes, Fill::Full(Checksum::ZERO.with(data))).unwrap();
    bytes.extend_from_slice(data);
    bytes
}

fn icmp_header() -> ipv4::Header {
    ipv4::Header::new(PEER, US, Protocol::ICMP, 64)
}

/// An error about the last packet that the engine sent.
fn error(peer: &mut Peer, message: Message, about: &[u8]) {
    let quoted = &about[ethernet::HEADER_LEN..ethernet::HEADER_LEN + 28];
    peer.inject_ip(&icmp_header(), &icmp(message, quoted));
}

fn unreachable(code: Unreachable) -> Message {
    Message::DestinationUnreachable { code, next_hop_mtu: 0 }
}

#[test]
fn pings_of_any_size_are_answered() {
    // Shows the echo of 0 to 65,507 bytes, in fragments there and back, and of 8,900 in one packet each way, for which
    // no one frame's memory is long enough; byte for byte.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2.6
    //= type=test
    //# Every host MUST implement an ICMP Echo server function that receives
    //# Echo Requests and sends corresponding Echo Replies.
    for (size, mtu) in [
        (0usize, 1500u16),
        (1, 1500),
        (56, 1500),
        (1472, 1500),
        (1473, 1500),
        (3000, 1500),
        (8000, 1500),
        (65_507, 9000),
        (8900, 9000),
    ] {
        let mut peer = Peer::with(|host| host.mtu = mtu);
        let piece = usize::from(mtu - 20) / 8 * 8;
        let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let request = icmp(Message::EchoRequest { identifier: 7, sequence: 3 }, &data);
        let last = request.len().div_ceil(piece) - 1;
        for (index, part) in request.chunks(piece).enumerate() {
            let mut header = icmp_header();
            header.identification = 99;
            header.dont_fragment = false;
            header.more_fragments = index < last;
            header.fragment_offset = (index * piece) as u16;
            peer.inject_ip(&header, part);
        }
        let mut reply = Vec::new();
        for (_, bytes) in peer.frames() {
            let (header, payload) = read_ip(&bytes).unwrap();
            assert_eq!(usize::from(header.fragment_offset), reply.len());
            reply.extend_from_slice(&payload);
        }
        let report = peer.report();
        assert_eq!(reply.len(), request.len(), "{report}");
        let (message, at) = icmp::parse(&reply, Verify::Sum(Checksum::ZERO)).unwrap();
        assert_eq!(message, Message::EchoReply { identifier: 7, sequence: 3 });
        assert_eq!(&reply[at..], data, "{size}");
        assert_eq!(report.counters.received_frames, report.counters.consumed_frames);
    }
}

#[test]
fn fragments_that_stay_alone_go_in_time() {
    // Shows that half a datagram is forgotten, counted, and reported to its sender.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.3.2
    //= type=test
    //# There MUST be a reassembly timeout.
    let mut peer = Peer::new();
    let mut header = icmp_header();
    header.dont_fragment = false;
    header.more_fragments = true;
    peer.inject_ip(&header, &icmp(Message::EchoRequest { identifier: 7, sequence: 3 }, &[0; 64]));
    assert_eq!(peer.report().waiting_packets, 1);
    peer.wait(130 * S);
    assert_eq!(peer.report().waiting_packets, 0);
    let (_, payload) = peer.frames().iter().find_map(|(_, bytes)| read_ip(bytes)).unwrap();
    let (message, _) = icmp::parse(&payload, Verify::Sum(Checksum::ZERO)).unwrap();
    assert_eq!(message, Message::TimeExceeded { reassembly: true });
}

fn datagram(to: u16, data: &[u8]) -> Vec<u8> {
    let len = (udp::HEADER_LEN + data.len()) as u16;
    let mut sum = Checksum::pseudo_ipv4(PEER, US, Protocol::UDP.0, len);
    sum.append(Checksum::ZERO.with(data));
    let header = udp::Header { source_port: PEER_PORT, destination_port: to };
    let mut bytes = vec![0; udp::HEADER_LEN];
    header.emit(&mut bytes, data.len(), Fill::Full(sum)).unwrap();
    bytes.extend_from_slice(data);
    ip_frame(&ipv4::Header::new(PEER, US, Protocol::UDP, 64), &bytes)
}

#[test]
fn datagrams_are_echoed_and_strays_refused() {
    // Shows a datagram there and back, with its addresses, and Port Unreachable where nobody listens.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-4.1.3.1
    //= type=test
    //# If a datagram arrives addressed to a UDP port for which
    //# there is no pending LISTEN call, UDP SHOULD send an ICMP
    //# Port Unreachable message.
    let mut peer = Peer::new();
    peer.op(Op::bind(SocketAddr::new(US.into(), 53)));
    let bytes = datagram(53, b"question");
    peer.app().events.clear();
    peer.inject(&bytes);
    let Some(Event::Datagram { socket, from, data }) = peer.app().events.pop_front() else {
        panic!("a datagram is delivered")
    };
    assert_eq!((from, &data[..]), (SocketAddr::new(PEER.into(), PEER_PORT), &b"question"[..]));
    peer.op(Op::send_to(socket, from, data));
    let frames = peer.frames();
    let (header, payload) = read_ip(&frames[0].1).unwrap();
    let (source, destination) = (IpAddr::V4(header.source), IpAddr::V4(header.destination));
    let (ports, range) = udp::parse(&payload, Tail::NONE, source, destination, false).unwrap();
    assert_eq!((ports.source_port, ports.destination_port), (53, PEER_PORT));
    assert_eq!(&payload[range], b"question");

    let bytes = datagram(54, b"nobody");
    peer.inject(&bytes);
    let frames = peer.frames();
    let (_, payload) = read_ip(&frames[0].1).unwrap();
    let (message, at) = icmp::parse(&payload, Verify::Sum(Checksum::ZERO)).unwrap();
    assert_eq!(message, unreachable(Unreachable::PORT));
    assert_eq!(&payload[at..], &bytes[ethernet::HEADER_LEN..], "the offender is quoted whole");
}

#[test]
fn errors_end_a_connect_and_no_connection() {
    // Shows Port and Host Unreachable against SYN-SENT and against ESTABLISHED, where the application is told once, and an
    // error whose number is not in flight.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.2
    //= type=test
    //# a TCP implementation MUST NOT abort the connection
    //# (MUST-56), and it SHOULD make the information available to the
    //# application (SHLD-25).
    //= https://www.rfc-editor.org/rfc/rfc5927#section-5.2
    //= type=test
    //# most popular TCP implementations treat all ICMP "hard errors" received for
    //# connections in any of the synchronized states (ESTABLISHED, FIN-WAIT-1,
    //# FIN-WAIT-2, CLOSE-WAIT, CLOSING, LAST-ACK, or TIME-WAIT) as "soft errors".
    for (code, due) in [
        (Unreachable::PORT, "failed Refused"),
        (Unreachable::HOST, "failed Unreachable"),
        (Unreachable::NET, "failed NetworkUnreachable"),
    ] {
        let mut peer = Peer::new();
        peer.op(Op::connect(SocketAddr::new(PEER.into(), PEER_PORT)));
        let frames = peer.frames();
        let mut wrong = frames[0].1.clone();
        wrong[ethernet::HEADER_LEN + 20 + 4] ^= 0x80;
        error(&mut peer, unreachable(code), &wrong);
        assert_eq!(peer.event(), "-");
        error(&mut peer, unreachable(code), &frames[0].1);
        assert_eq!(peer.event(), due);
        assert_eq!(peer.report().sockets, 0);
    }
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 10]));
    let frames = peer.frames();
    for code in 0..=13 {
        error(&mut peer, unreachable(Unreachable(code)), &frames[0].1);
    }
    assert_eq!(peer.event(), "trouble Undelivered(NetworkUnreachable)");
    assert_eq!((peer.event(), peer.report().flows), ("-".to_owned(), 1));
}

#[test]
fn a_smaller_path_is_learnt() {
    // Shows RFC 1191: what was too big goes again in smaller segments, at once, and an absurd MTU is not believed.
    let mut peer = Peer::new();
    peer.accepted(Options { mss: Some(1460), ..Options::NONE });
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 1460]));
    let frames = peer.frames();
    let message =
        Message::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, next_hop_mtu: 1000 };
    error(&mut peer, message, &frames[0].1);
    assert_eq!((peer.tx(), peer.tx()), (". 1(960) ack 1".to_owned(), "P. 961(500) ack 1".to_owned()));
}

fn arp_frame(operation: arp::Operation, sender: core::net::Ipv4Addr, target: core::net::Ipv4Addr) -> Vec<u8> {
    let link = ethernet::Header {
        destination: MacAddress::BROADCAST,
        source: PEER_MAC,
        vlan: None,
        ether_type: EtherType::ARP,
    };
    let packet =
        arp::Packet { operation, sender_mac: PEER_MAC, sender, target_mac: MacAddress::ZERO, target };
    let mut bytes = vec![0; link.header_len() + packet.header_len()];
    link.emit(&mut bytes).unwrap();
    packet.emit(&mut bytes[link.header_len()..]).unwrap();
    bytes
}

#[test]
fn a_station_is_asked_for_and_asked_again() {
    // Shows the request, its retries a second apart, the SYN that waits and leaves with the answer, and the failure of a
    // connect to a host that is not there.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.2
    //= type=test
    //# The link layer SHOULD save (rather than discard) at least
    //# one (the latest) packet of each set of packets destined to
    //# the same unresolved IP address
    let mut peer = Peer::with(|host| host.config.interfaces[0].neighbours.clear());
    peer.op(Op::connect(SocketAddr::new(PEER.into(), PEER_PORT)));
    peer.wait(500 * MS);
    let frames = peer.frames();
    let (to, request) = read_arp(&frames[0].1).unwrap();
    assert_eq!((to, request.sender_mac, request.target), (MacAddress::BROADCAST, OUR_MAC, PEER));
    assert_eq!(frames.len(), 1);
    peer.wait(S);
    let again = peer.frames();
    let gap = again[0].0 - frames[0].0;
    assert!(again.len() == 1 && (S..S + MS).contains(&gap), "{gap} ns");
    peer.inject(&arp_frame(arp::Operation::Reply, PEER, US));
    assert_eq!(peer.tx(), "S 0(0)");

    let mut peer = Peer::with(|host| host.config.interfaces[0].neighbours.clear());
    peer.op(Op::connect(SocketAddr::new(PEER.into(), PEER_PORT)));
    peer.wait(10 * S);
    assert_eq!(peer.frames().len(), 3);
    assert_eq!((peer.event(), peer.report().sockets), ("failed Unreachable".to_owned(), 0));
}

#[test]
fn a_neighbour_ages_and_is_probed_while_it_is_used() {
    // Shows that an entry in use is probed at its own station after its time, and one that does not answer goes.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-2.3.2.1
    //= type=test
    //# An implementation of the Address Resolution Protocol (ARP)
    //# [LINK:2] MUST provide a mechanism to flush out-of-date cache
    //# entries.
    let mut peer = Peer::with(|host| host.config.interfaces[0].neighbours.clear());
    peer.inject(&arp_frame(arp::Operation::Request, PEER, US));
    let frames = peer.frames();
    assert_eq!(read_arp(&frames[0].1).unwrap().1.operation, arp::Operation::Reply);
    peer.accepted(Options::NONE);
    peer.wait(20 * S);
    let asked: Vec<_> = peer.frames().iter().filter_map(|(_, bytes)| read_arp(bytes)).collect();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|(to, packet)| *to == PEER_MAC && packet.operation == arp::Operation::Request));
    assert_eq!(asked.len(), 3, "three probes, then the entry goes");
}

#[test]
fn a_refused_connect_is_told_at_once() {
    // Shows RST against SYN as the application sees it.
    let mut peer = Peer::new();
    peer.connecting();
    assert_eq!(peer.answer(seg("R.", 0, 1)), "-");
    assert_eq!((peer.event(), peer.report().sockets), ("failed Refused".to_owned(), 0));
}

#[test]
fn syns_to_groups_vanish() {
    // Shows that a SYN in a broadcast frame, or to a broadcast address, is not answered.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.3
    //= type=test
    //# A TCP implementation MUST silently discard an incoming SYN segment that
    //# is addressed to a broadcast or multicast address [(MUST-57)].
    let mut peer = Peer::new();
    let mut frame = peer.frame(&seg("S", 0, 0));
    frame[..6].fill(0xff);
    peer.inject(&frame);
    assert_eq!(peer.tx(), "-");
    assert_eq!(peer.report().counters.dropped(), 1);
    assert!(read(&frame).is_some());
}

#[test]
fn a_neighbour_is_believed_while_tcp_makes_progress() {
    // Shows that acknowledgements of our data confirm the next hop: in a minute of them nobody is probed, where an idle
    // minute ends in probes and a lost entry (see above).
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.3.1
    //= type=test
    //# In TCP, for example, receipt of a (new) acknowledgment indicates that
    //# previously sent data reached the peer.
    let mut peer = Peer::with(|host| host.config.interfaces[0].neighbours.clear());
    peer.inject(&arp_frame(arp::Operation::Request, PEER, US));
    peer.accepted(Options::NONE);
    peer.frames();
    let stream = peer.stream();
    for byte in 0..60 {
        peer.op(Op::send(stream, &b"x"[..]));
        peer.rx(seg(".", 1, 2 + byte));
        peer.wait(S);
    }
    let asked = peer.frames().iter().filter(|(_, bytes)| read_arp(bytes).is_some()).count();
    assert_eq!(asked, 0);
}

#[test]
fn segments_go_as_far_as_they_are_told() {
    // Shows the time to live that is usual, and one that was asked for.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2
    //= type=test
    //# The TTL value used to send TCP segments MUST be configurable (MUST-49).
    for (asked, told) in [(None, 64), (Some(33), 33)] {
        let mut peer = Peer::with(|host| host.config.interfaces[0].hop_limit = asked);
        peer.op(Op::listen_eager(SocketAddr::new(US.into(), PORT)));
        peer.rx(seg("S", 0, 0));
        let (header, _) = read_ip(&peer.frames()[0].1).expect("an answer");
        assert_eq!(header.ttl, told);
    }
}

#[test]
fn errors_about_datagrams_reach_their_socket() {
    // Shows what a socket hears of a port that nobody has, of a way that is too small, and of a host that is not there;
    // that the next datagram is cut for that way; and that errors about a port of nobody's are dropped.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-4.1.3.3
    //= type=test
    //# UDP MUST pass to the application layer all ICMP error
    //# messages that it receives from the IP layer.
    let mut peer = Peer::new();
    peer.op(Op::bind(SocketAddr::new(US.into(), 53)));
    let Some(Event::Bound { socket, .. }) = peer.app().events.pop_front() else { panic!("it is free") };
    let to = SocketAddr::new(PEER.into(), 5353);
    let sent = |peer: &mut Peer| {
        peer.op(Op::send_to(socket, to, vec![1u8; 1200]));
        peer.frames()
    };
    let frames = sent(&mut peer);
    assert_eq!(frames.len(), 1);
    let narrow =
        Message::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, next_hop_mtu: 1000 };
    for (message, expected) in [
        (unreachable(Unreachable::PORT), OpError::Refused),
        (unreachable(Unreachable::HOST), OpError::Unreachable),
        (narrow, OpError::TooLong),
    ] {
        error(&mut peer, message, &frames[0].1);
        match peer.app().events.pop_front() {
            Some(Event::DatagramError { socket: told, to: whither, error }) => {
                assert_eq!((told, whither, error), (socket, to, expected));
            }
            other => panic!("{other:?}"),
        }
    }
    let pieces = sent(&mut peer);
    assert!(pieces.len() == 2 && pieces.iter().all(|(_, bytes)| bytes.len() <= 1014));
    peer.op(Op::close(socket));
    peer.frames();
    let before = peer.report().counters.dropped();
    error(&mut peer, unreachable(Unreachable::PORT), &frames[0].1);
    assert_eq!(peer.report().counters.dropped(), before + 1);
}

#[test]
fn connections_that_live_learn_of_their_path() {
    // Shows that what a router tells one connection is heeded by the next segment of another one to the same host, and
    // not by the segments of one to another host; and that a router asking for very little has packets cut.
    let mut peer = Peer::new();
    peer.accepted(Options { mss: Some(1460), ..Options::NONE });
    let first = peer.stream();
    let (iss, port) = (peer.iss, peer.peer_port);
    peer.peer_port = 4001;
    assert_eq!(
        peer.answer(seg("S", 0, 0).options(Options { mss: Some(1460), ..Options::NONE })),
        "S. 0(0) ack 1"
    );
    peer.rx(seg(".", 1, 1));
    assert_eq!(peer.event(), "accepted");
    let second = peer.stream();
    (peer.iss, peer.peer_port) = (iss, port);
    peer.op(Op::send(first, vec![1u8; 1460]));
    let frames = peer.frames();
    let narrow =
        |mtu| Message::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, next_hop_mtu: mtu };
    error(&mut peer, narrow(1000), &frames[0].1);
    peer.frames();
    let lens = |peer: &mut Peer| -> Vec<(usize, bool)> {
        let frames = peer.frames();
        let packets = frames.iter().filter_map(|(_, bytes)| read_ip(bytes));
        packets.map(|(header, payload)| (payload.len() - 20, header.dont_fragment)).collect()
    };
    peer.op(Op::send(second, vec![1u8; 1460]));
    assert_eq!(lens(&mut peer), [(960, true), (500, true)]);
    error(&mut peer, narrow(300), &frames[0].1);
    assert_eq!(lens(&mut peer), [(512, false), (448, false), (500, false)]);
    peer.op(Op::send(second, vec![1u8; 1024]));
    assert_eq!(lens(&mut peer), [(512, false), (512, false)]);
}

/// A connection that looks for the size of its path from the start, and has `len` bytes to send into a window of `window`.
fn searching(window: u16, len: usize) -> Peer {
    let mut peer = Peer::with(|host| {
        host.config.tcp.mtu_probing = MtuProbing::Always;
        host.config.tcp.tlp = false;
    });
    peer.accepted(Options { mss: Some(1460), ..Options::NONE });
    let stream = peer.stream();
    peer.rx(seg(".", 1, 1).window(window));
    peer.op(Op::send(stream, vec![7u8; len]));
    peer
}

/// Payloads of the segments sent since the last look.
fn payloads(peer: &mut Peer) -> Vec<usize> {
    peer.frames().iter().filter_map(|(_, bytes)| Some(read(bytes)?.1.len())).filter(|len| *len > 0).collect()
}

#[test]
fn a_larger_size_is_tried_where_the_window_has_room_behind_it() {
    // Shows a probe of the whole size where the peer's window takes it and four segments behind it, and none where the
    // window is a byte smaller.
    //= https://www.rfc-editor.org/rfc/rfc4821#section-7.4
    //= type=test
    //# Before sending a probe, the flow MUST meet at least the following
    //# conditions:
    assert_eq!(payloads(&mut searching(1460 + 4 * 1024, 20_000)), [1460, 1024, 1024, 1024, 1024]);
    assert_eq!(payloads(&mut searching(1460 + 4 * 1024 - 1, 20_000))[..5], [1024; 5]);
}

#[test]
fn a_size_that_ran_into_the_timer_is_not_believed() {
    // Shows a probe over which the retransmission timer runs out: its bytes go again in segments of the size that passes,
    // and what acknowledges these says nothing of the probe, so that no larger segment follows.
    //= https://www.rfc-editor.org/rfc/rfc4821#section-7.6.3
    //= type=test
    //# A time interval that is
    //# five times the non-timeout failure case (Section 7.6.2) is
    //# RECOMMENDED.
    let mut peer = searching(65_535, 6_000);
    assert_eq!(payloads(&mut peer)[..2], [1460, 1024]);
    peer.wait(300 * MS);
    assert_eq!(payloads(&mut peer), [1024]);
    peer.rx(seg(".", 1, 1025));
    peer.rx(seg(".", 1, 1461));
    peer.rx(seg(".", 1, 6001));
    peer.frames();
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![7u8; 3_000]));
    let behind = payloads(&mut peer);
    assert!(!behind.is_empty() && behind.iter().all(|len| *len <= 1024), "{behind:?}");
}

#[test]
fn copies_of_segments_that_may_be_cut_have_numbers_of_their_own() {
    // Shows segments on a way that takes very little: each copy that goes again has another identification than the first,
    // and than any other segment; those that may not be cut, before, had none.
    //= https://www.rfc-editor.org/rfc/rfc6864#section-4.2
    //= type=test
    //# The IPv4 ID of non-atomic datagrams MUST NOT be reused when
    //# sending a copy of an earlier non-atomic datagram.
    let mut peer = Peer::new();
    peer.accepted(Options { mss: Some(1460), ..Options::NONE });
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 1460]));
    let frames = peer.frames();
    let whole = read_ip(&frames[0].1).unwrap().0;
    assert!(whole.dont_fragment && whole.identification == 0);
    let narrow =
        Message::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, next_hop_mtu: 300 };
    error(&mut peer, narrow, &frames[0].1);
    let mut ids = std::collections::BTreeSet::new();
    let mut count = 0;
    for _ in 0..5 {
        for (_, bytes) in peer.frames() {
            let (header, _) = read_ip(&bytes).unwrap();
            assert!(!header.dont_fragment && ids.insert(header.identification), "{}", header.identification);
            count += 1;
        }
        peer.wait(10 * S);
    }
    assert!(count > 5, "{count} segments");
}

#[test]
fn the_identification_of_what_may_not_be_cut_means_nothing() {
    // Shows two datagrams and two segments with the same number, not to be cut: all are taken. Pieces with one number and
    // different senders stay apart.
    //= https://www.rfc-editor.org/rfc/rfc6864#section-4.1
    //= type=test
    //# All devices that examine IPv4 headers MUST ignore the IPv4 ID
    //# field of atomic datagrams.
    let mut peer = Peer::new();
    peer.op(Op::bind(SocketAddr::new(US.into(), 53)));
    peer.app().events.clear();
    for text in [&b"one"[..], b"two", b"two"] {
        let bytes = datagram(53, text);
        let (mut header, payload) = read_ip(&bytes).unwrap();
        header.identification = 7;
        assert!(header.dont_fragment);
        peer.inject_ip(&header, &payload);
        let Some(Event::Datagram { data, .. }) = peer.app().events.pop_front() else { panic!("taken") };
        assert_eq!(&data[..], text);
    }
}
