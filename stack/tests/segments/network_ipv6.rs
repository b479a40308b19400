//! Everything around TCP over IPv6: neighbours, addresses, ICMPv6, UDP, fragments, and headers that are refused.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use stack::config::Address;
use stack::socket::{Event, NetworkChange, Op};
use stack::wire::discovery::{self, Ask};
use stack::wire::icmpv6::{self, Message, Unreachable};
use stack::wire::ipv6::{self, Header};
use stack::wire::tcp::Options;
use stack::wire::{Checksum, EtherType, Fill, IpHeader, MacAddress, Protocol, Tail, ethernet, ipv4, udp};

use crate::driver::{
    MS, OUR_MAC, PEER, PEER_MAC, PEER_PORT, PEER4, Peer, S, US, US4, packet_frame, read, seg,
};

fn six(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V6(ip) => ip,
        IpAddr::V4(_) => panic!("these tests speak IPv6"),
    }
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// An ICMPv6 message between two addresses.
fn icmp(message: Message, data: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut bytes = vec![0; icmpv6::HEADER_LEN];
    let len = (bytes.len() + data.len()) as u32;
    let sum = Checksum::pseudo_ipv6(source, destination, 58, len).with(data);
    message.emit(&mut bytes, Fill::Full(sum)).unwrap();
    bytes.extend_from_slice(data);
    bytes
}

fn from_peer(protocol: Protocol) -> Header {
    Header::new(six(PEER), six(US), protocol, 64)
}

/// Hand the engine a packet.
fn give(peer: &mut Peer, header: Header, payload: &[u8]) {
    let bytes = packet_frame(&IpHeader::V6(header), payload);
    peer.inject(&bytes);
}

/// Hand the engine a packet in a frame to a group.
fn give_group(peer: &mut Peer, header: Header, payload: &[u8]) {
    let mut bytes = packet_frame(&IpHeader::V6(header), payload);
    bytes[..6].copy_from_slice(&ipv6::group_mac(header.destination).0);
    peer.inject(&bytes);
}

/// The IPv6 packets the engine has sent since the last look: where to, header and payload.
fn sent(peer: &mut Peer) -> Vec<(MacAddress, Header, Vec<u8>)> {
    let frames = peer.frames().into_iter();
    frames
        .filter_map(|(_, bytes)| {
            let (link, at) = ethernet::parse(&bytes).unwrap();
            let (header, range) =
                (link.ether_type == EtherType::IPV6).then(|| ipv6::parse(&bytes[at..]).unwrap())?;
            Some((link.destination, header, bytes[at..][range].to_vec()))
        })
        .collect()
}

/// The first ICMPv6 message but of discovery that the engine has sent since the last look, checked.
fn answer(peer: &mut Peer) -> Option<(Message, Vec<u8>)> {
    let (_, header, bytes) = sent(peer).into_iter().find(|(_, header, bytes)| {
        header.next_header == Protocol::ICMPV6 && !discovery::KINDS.contains(&bytes[0])
    })?;
    let check = icmpv6::verify(header.source, header.destination, bytes.len());
    let (message, at) = icmpv6::parse(&bytes, check).expect("the engine sends valid messages");
    Some((message, bytes[at..].to_vec()))
}

/// Hand the engine a message of discovery from an address, and say what came of it.
fn ask(peer: &mut Peer, ask: Ask, source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8) {
    let mut bytes = vec![0; ask.len()];
    ask.emit(&mut bytes, source, destination).unwrap();
    let header = Header::new(source, destination, Protocol::ICMPV6, hop_limit);
    if destination.is_multicast() { give_group(peer, header, &bytes) } else { give(peer, header, &bytes) }
}

/// The messages of discovery the engine has sent since the last look: to which station and address, from which, and
/// what they say in short.
fn discovery(peer: &mut Peer) -> Vec<(MacAddress, Ipv6Addr, Ipv6Addr, String)> {
    let packets = sent(peer).into_iter();
    packets
        .filter_map(|(mac, header, bytes)| {
            let message = discovery::parse(&header, &bytes).ok()?;
            assert!(icmpv6::verify(header.source, header.destination, bytes.len()).accepts(&bytes));
            let text = match message {
                discovery::Message::RouterSolicitation => "routers?".to_owned(),
                discovery::Message::NeighbourSolicitation { target, station } => {
                    format!("{target}? {}", station.is_some())
                }
                discovery::Message::NeighbourAdvertisement(said) => {
                    let flag = |set, name| if set { name } else { "" };
                    format!("{} {}{}", said.target, flag(said.solicited, "S"), flag(said.overrides, "O"))
                }
                other => format!("{other:?}"),
            };
            Some((mac, header.destination, header.source, text))
        })
        .collect()
}

#[test]
fn pings_of_any_size_are_answered() {
    // Shows the echo of 0 to 8,000 bytes, in fragments there and back, byte for byte, and of one to all nodes.
    //= https://www.rfc-editor.org/rfc/rfc4443#section-4.2
    //= type=test
    //# Every node MUST implement an ICMPv6 Echo responder function that
    //# receives Echo Requests and originates corresponding Echo Replies.
    let request = Message::EchoRequest { identifier: 7, sequence: 3 };
    for size in [0usize, 1, 56, 1472, 1473, 3000, 8000] {
        let mut peer = Peer::new();
        let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let request = icmp(request, &data, six(PEER), six(US));
        if request.len() <= 1480 {
            give(&mut peer, from_peer(Protocol::ICMPV6), &request);
        } else {
            let last = request.len().div_ceil(1448) - 1;
            for (index, part) in request.chunks(1448).enumerate() {
                give_fragment(&mut peer, Protocol::ICMPV6, (index * 1448) as u16, index < last, part);
            }
        }
        let mut reply = Vec::new();
        for (_, header, payload) in sent(&mut peer) {
            let upper =
                if header.next_header == Protocol::IPV6_FRAGMENT { &payload[8..] } else { &payload[..] };
            assert!(payload.len() + 40 <= 1520);
            reply.extend_from_slice(upper);
        }
        let check = icmpv6::verify(six(US), six(PEER), reply.len());
        let (message, at) = icmpv6::parse(&reply, check).unwrap();
        assert_eq!(message, Message::EchoReply { identifier: 7, sequence: 3 });
        assert_eq!(&reply[at..], data, "{size}");
        let report = peer.report();
        assert_eq!(report.counters.dropped(), 0, "{report}");
    }
    let mut peer = Peer::new();
    let header = Header { destination: ipv6::ALL_NODES, ..from_peer(Protocol::ICMPV6) };
    give_group(&mut peer, header, &icmp(request, b"x", six(PEER), ipv6::ALL_NODES));
    let (_, header, _) = sent(&mut peer).remove(0);
    assert_eq!((header.source, header.destination), (six(US), six(PEER)));
}

fn give_fragment(peer: &mut Peer, next_header: Protocol, offset: u16, more: bool, part: &[u8]) {
    let fragment = ipv6::Fragment { next_header, offset, more, identification: 99, at: 0, named_at: 0 };
    let mut payload = vec![0; 8];
    fragment.emit(&mut payload).unwrap();
    payload.extend_from_slice(part);
    give(peer, from_peer(Protocol::IPV6_FRAGMENT), &payload);
}

#[test]
fn fragments_that_stay_alone_go_in_time() {
    // Shows that half a packet is forgotten after a minute, and reported to its sender; and that overlaps end a packet
    // without a word.
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.5
    //= type=test
    //# o  If the length and offset of a fragment are such that the
    //#    Payload Length of the packet reassembled from that fragment
    //#    would exceed 65,535 octets, then that fragment must be
    let mut peer = Peer::new();
    let request = icmp(Message::EchoRequest { identifier: 7, sequence: 3 }, &[0; 64], six(PEER), six(US));
    give_fragment(&mut peer, Protocol::ICMPV6, 0, true, &request);
    assert_eq!(peer.report().waiting_packets, 1);
    peer.wait(59 * S);
    assert_eq!(peer.report().waiting_packets, 1);
    peer.wait(2 * S);
    assert_eq!(peer.report().waiting_packets, 0);
    assert_eq!(answer(&mut peer).unwrap().0, Message::TimeExceeded { reassembly: true });
    give_fragment(&mut peer, Protocol::ICMPV6, 0, true, &request);
    give_fragment(&mut peer, Protocol::ICMPV6, 64, true, &[0; 64]);
    give_fragment(&mut peer, Protocol::ICMPV6, 128, false, &[0; 8]);
    assert_eq!(sent(&mut peer), []);
    let told = |peer: &mut Peer| answer(peer).map(|(message, _)| message);
    let problem = |code, pointer| Some(Message::ParameterProblem { code, pointer });
    let mut peer = Peer::new();
    give_fragment(&mut peer, Protocol::UDP, 0, true, &[0; 9]);
    assert_eq!(told(&mut peer), problem(0, 4));
    give_fragment(&mut peer, Protocol::ICMPV6, 65_528, false, &[0; 64]);
    assert_eq!(
        told(&mut peer),
        None,
        "what message a later piece is of cannot be told, so it might be an error"
    );
    give_fragment(&mut peer, Protocol::UDP, 65_528, false, &[0; 64]);
    assert_eq!(told(&mut peer), problem(0, 42));
    give_fragment(&mut peer, Protocol::TCP, 800, true, &[0; 9]);
    assert_eq!(told(&mut peer), problem(0, 4));
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.5
    //= type=test
    //# o  If the first fragment does not include all headers through an
    //#    Upper-Layer header, then that fragment should be discarded and
    //#    an ICMP Parameter Problem, Code 3, message should be sent to
    give_fragment(&mut peer, Protocol::TCP, 0, true, &[0; 16]);
    assert_eq!(told(&mut peer), problem(3, 0));
    assert_eq!(peer.report().waiting_packets, 0);
}

#[test]
fn headers_that_are_refused_are_told() {
    // Shows an unknown transport, an unknown option of each kind, one of them to a group, and a way to go.
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4
    //= type=test
    //# If, as a result of processing a header, the destination node is
    //# required to proceed to the next header but the Next Header value in
    //# the current header is unrecognized by the node, it should discard the
    let mut peer = Peer::new();
    let mut told = |first: Protocol, payload: &[u8]| {
        give(&mut peer, from_peer(first), payload);
        answer(&mut peer).map(|(message, _)| message)
    };
    let problem = |code, pointer| Some(Message::ParameterProblem { code, pointer });
    assert_eq!(told(Protocol(99), &[0; 8]), problem(1, 6));
    assert_eq!(told(Protocol::IPV6_OPTIONS, &[99, 0, 1, 4, 0, 0, 0, 0]), problem(1, 40));
    assert_eq!(told(Protocol::IPV6_OPTIONS, &[6, 0, 0xc5, 4, 0, 0, 0, 0]), problem(2, 42));
    assert_eq!(told(Protocol::IPV6_OPTIONS, &[6, 0, 0x45, 4, 0, 0, 0, 0]), None);
    assert_eq!(told(Protocol::IPV6_ROUTING, &[6, 0, 0, 1, 0, 0, 0, 0]), problem(0, 42));
    assert_eq!(told(Protocol::IPV6_NO_NEXT, &[]), None);
    let header = Header { destination: ipv6::ALL_NODES, ..from_peer(Protocol::IPV6_OPTIONS) };
    give_group(&mut peer, header, &[6, 0, 0x85, 4, 0, 0, 0, 0]);
    assert_eq!(answer(&mut peer).map(|(message, _)| message), problem(2, 42));
    give_group(&mut peer, header, &[6, 0, 0xc5, 4, 0, 0, 0, 0]);
    assert_eq!(answer(&mut peer), None);
    let drops = peer.report().counters.dropped();
    assert_eq!((drops, peer.report().counters.consumed_frames), (8, 0));
}

#[test]
fn segments_behind_extension_headers_are_segments() {
    // Shows a handshake whose segments come behind options, and in one piece that says it is one.
    let mut peer = Peer::new();
    peer.op(Op::listen_eager(SocketAddr::new(US, 9)));
    let behind = |frame: &[u8], header: [u8; 8], first: Protocol| {
        let segment = &frame[ethernet::HEADER_LEN + ipv6::HEADER_LEN..];
        packet_frame(&IpHeader::V6(from_peer(first)), &[&header[..], segment].concat())
    };
    let syn = peer.frame(&seg("S", 0, 0));
    let syn = behind(&syn, [6, 0, 1, 4, 0, 0, 0, 0], Protocol::IPV6_OPTIONS);
    peer.inject(&syn);
    assert!(peer.tx().starts_with("S."));
    let ack = peer.frame(&seg(".", 1, 1));
    let ack = behind(&ack, [6, 0, 0, 0, 1, 2, 3, 4], Protocol::IPV6_FRAGMENT);
    peer.inject(&ack);
    assert_eq!((peer.event(), peer.event()), ("listening".to_owned(), "accepted".to_owned()));
}

#[test]
fn who_asks_for_us_is_answered() {
    // Shows the answers to a neighbour and to somebody who wants our address, and silence to everything else.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.4
    //= type=test
    //# If the source of the solicitation is the unspecified address, the
    //# node MUST set the Solicited flag to zero and multicast the
    //# advertisement to the all-nodes address.
    let mut peer = Peer::new();
    let (us, them) = (six(US), six(PEER));
    let group = ipv6::solicited_node(us);
    let question = |target, station| Ask::Neighbour { target, station };
    ask(&mut peer, question(us, Some(PEER_MAC)), them, group, 255);
    assert_eq!(discovery(&mut peer), [(PEER_MAC, them, us, format!("{us} SO"))]);
    ask(&mut peer, question(us, None), Ipv6Addr::UNSPECIFIED, group, 255);
    let all = ipv6::group_mac(ipv6::ALL_NODES);
    assert_eq!(discovery(&mut peer), [(all, ipv6::ALL_NODES, us, format!("{us} O"))]);
    let link_local = ip("fe80::ff:fe00:1");
    ask(&mut peer, question(link_local, Some(PEER_MAC)), them, ipv6::solicited_node(link_local), 255);
    assert_eq!(discovery(&mut peer).len(), 1, "the address that every interface has");
    ask(&mut peer, question(us, Some(PEER_MAC)), them, group, 254);
    ask(&mut peer, question(ip("fd00::9"), Some(PEER_MAC)), them, us, 255);
    ask(&mut peer, question(ip("fd00::9"), Some(PEER_MAC)), them, ipv6::solicited_node(ip("fd00::9")), 255);
    assert!(discovery(&mut peer).is_empty());
    assert_eq!(peer.report().counters.dropped(), 3);
}

#[test]
fn a_neighbour_is_asked_for() {
    // Shows the question to the group of the address, the SYN that waits and leaves with the answer, and the failure of
    // a connect to nobody after three questions.
    let mut peer = Peer::with(|host| host.config.interfaces[0].neighbours.clear());
    peer.op(Op::connect(SocketAddr::new(PEER, PEER_PORT)));
    let (us, them) = (six(US), six(PEER));
    let group = ipv6::solicited_node(them);
    let question = (ipv6::group_mac(group), group, us, format!("{them}? true"));
    assert_eq!(discovery(&mut peer), core::slice::from_ref(&question));
    peer.wait(1500 * MS);
    assert_eq!(discovery(&mut peer), [question]);
    let answer = Ask::Ours { target: them, station: PEER_MAC, solicited: true, overrides: true };
    ask(&mut peer, answer, them, us, 255);
    assert_eq!(peer.tx(), "S 0(0)");
    let mut peer = Peer::with(|host| host.config.interfaces[0].neighbours.clear());
    peer.op(Op::connect(SocketAddr::new(PEER, PEER_PORT)));
    peer.wait(10 * S);
    assert_eq!(discovery(&mut peer).len(), 3);
    assert_eq!((peer.event(), peer.report().sockets), ("failed Unreachable".to_owned(), 0));
}

#[test]
fn an_address_is_ours_once_nobody_else_has_it() {
    // Shows the probes of both addresses, a connect that waits for them and goes then, and one that fails because
    // another has the address, whose pings stay unanswered.
    let tentative = || {
        Peer::with(|host| {
            host.config.interfaces[0].ipv6.duplicate_transmits = 1;
            host.config.interfaces[0].neighbours = vec![(PEER, PEER_MAC.0)];
        })
    };
    let us = six(US);
    let mut peer = tentative();
    peer.op(Op::connect(SocketAddr::new(PEER, PEER_PORT)));
    assert_eq!((peer.tx(), peer.event()), ("-".to_owned(), "-".to_owned()));
    peer.wait(3 * S);
    let mut seen = false;
    for (_, header, bytes) in sent(&mut peer) {
        seen |= header.next_header == Protocol::TCP && bytes.len() >= 20;
        if header.source.is_unspecified() {
            assert!(!seen && header.destination.is_multicast(), "probes come first");
        }
    }
    assert!(seen);
    let mut peer = tentative();
    peer.op(Op::connect(SocketAddr::new(PEER, PEER_PORT)));
    let probe = Ask::Neighbour { target: us, station: None };
    ask(&mut peer, probe, Ipv6Addr::UNSPECIFIED, ipv6::solicited_node(us), 255);
    peer.wait(3 * S);
    let request = icmp(Message::EchoRequest { identifier: 7, sequence: 3 }, b"", six(PEER), us);
    give(&mut peer, from_peer(Protocol::ICMPV6), &request);
    assert_eq!(answer(&mut peer), None);
    assert_eq!(peer.report().duplicate_addresses, 1);
    let conflict = stack::wire::DropReason::DiscoveryConflict as usize;
    assert_eq!(peer.report().counters.drops[conflict], 1);
}

/// What a router at `fe80::9` says: a way for half an hour, and a prefix in which hosts make themselves addresses.
fn advertise(peer: &mut Peer) {
    let (router, prefix) = (ip("fe80::9"), ip("2001:db8::"));
    let mut bytes = vec![134, 0, 0, 0, 33, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    bytes.extend(PEER_MAC.0);
    bytes.extend([5, 1, 0, 0, 0, 0, 5, 0x78, 3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    bytes.extend(prefix.octets());
    let len = bytes.len() as u32;
    let sum = Checksum::pseudo_ipv6(router, ipv6::ALL_NODES, 58, len).with(&bytes).finish();
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    give_group(peer, Header::new(router, ipv6::ALL_NODES, Protocol::ICMPV6, 255), &bytes);
}

#[test]
fn a_router_leads_to_everybody_else() {
    // Shows that with a router's word there is an address, a way to strangers by the router's station, its MTU and its hop
    // limit; and that a host that does not listen to routers has no such way.
    let stranger = SocketAddr::new(ip("2001:db8:ffff::1").into(), 80);
    let mut deaf = Peer::new();
    advertise(&mut deaf);
    deaf.op(Op::connect(stranger));
    assert_eq!(deaf.event(), "failed Unreachable");
    let mut peer = Peer::with(|host| host.config.interfaces[0].ipv6.routers = true);
    advertise(&mut peer);
    peer.frames();
    peer.op(Op::connect(stranger));
    let (station, header, bytes) = sent(&mut peer).remove(0);
    assert_eq!((station, header.source, header.hop_limit), (PEER_MAC, ip("2001:db8::ff:fe00:1"), 33));
    let sum = Checksum::pseudo_ipv6(header.source, header.destination, 6, bytes.len() as u32);
    let (syn, _) = stack::wire::tcp::parse(&bytes, stack::wire::Verify::Sum(sum)).unwrap();
    assert_eq!(syn.options.mss, Some(1400 - 60));
}

#[test]
fn errors_end_a_connect_and_no_connection() {
    // Shows «port unreachable» against SYN-SENT with the number and with another, and against ESTABLISHED.
    let unreachable = Message::DestinationUnreachable { code: Unreachable::PORT };
    let complain = |peer: &mut Peer, message, about: &[u8]| {
        let bytes = icmp(message, &about[ethernet::HEADER_LEN..], six(PEER), six(US));
        give(peer, from_peer(Protocol::ICMPV6), &bytes);
    };
    let mut peer = Peer::new();
    peer.op(Op::connect(SocketAddr::new(PEER, PEER_PORT)));
    let frames = peer.frames();
    let mut wrong = frames[0].1.clone();
    wrong[ethernet::HEADER_LEN + ipv6::HEADER_LEN + 4] ^= 0x80;
    complain(&mut peer, unreachable, &wrong);
    assert_eq!(peer.event(), "-");
    complain(&mut peer, unreachable, &frames[0].1);
    assert_eq!((peer.event(), peer.report().sockets), ("failed Refused".to_owned(), 0));
    let mut peer = Peer::new();
    peer.accepted(Options { mss: Some(1460), ..Options::NONE });
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 1460]));
    let frames = peer.frames();
    complain(&mut peer, unreachable, &frames[0].1);
    assert_eq!(peer.event(), "trouble Undelivered(Refused)");
    assert_eq!((peer.event(), peer.report().flows), ("-".to_owned(), 1));
    // RFC 8201: what was too big goes again in smaller segments, and less than the least MTU is not believed.
    complain(&mut peer, Message::PacketTooBig { mtu: 1279 }, &frames[0].1);
    assert_eq!(peer.tx(), "-");
    complain(&mut peer, Message::PacketTooBig { mtu: 1280 }, &frames[0].1);
    assert_eq!((peer.tx(), peer.tx()), (". 1(1220) ack 1".to_owned(), "P. 1221(240) ack 1".to_owned()));
}

#[test]
fn without_an_mss_option_segments_are_small() {
    // Shows the default over IPv6.
    let mut peer = Peer::new();
    peer.accepted(Options::NONE);
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 2000]));
    assert_eq!(peer.tx(), ". 1(1220) ack 1");
}

fn datagram(to: u16, data: &[u8], source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let len = (udp::HEADER_LEN + data.len()) as u16;
    let mut sum = Checksum::pseudo(source, destination, Protocol::UDP.0, len).unwrap();
    sum.append(Checksum::ZERO.with(data));
    let header = udp::Header { source_port: PEER_PORT, destination_port: to };
    let mut bytes = vec![0; udp::HEADER_LEN];
    header.emit(&mut bytes, data.len(), Fill::Full(sum)).unwrap();
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn one_socket_takes_datagrams_of_both_versions() {
    // Shows a socket bound to every address of IPv6: datagrams of both versions come, and are answered in their own; one
    // without a checksum is dropped, and one for nobody refused.
    let mut peer = Peer::with(|host| {
        let address = Address { ip: US4.into(), prefix: 24 };
        host.config.interfaces[0].addresses.push(address);
        host.config.interfaces[0].neighbours = vec![(PEER, PEER_MAC.0), (PEER4.into(), PEER_MAC.0)];
    });
    peer.op(Op::bind("[::]:53".parse().unwrap()));
    peer.app().events.clear();
    give(&mut peer, from_peer(Protocol::UDP), &datagram(53, b"six", PEER, US));
    let four = datagram(53, b"four", PEER4.into(), US4.into());
    peer.inject_ip(&ipv4::Header::new(PEER4, US4, Protocol::UDP, 64), &four);
    for (version, text) in [(PEER, &b"six"[..]), (PEER4.into(), b"four")] {
        let Some(Event::Datagram { socket, from, data }) = peer.app().events.pop_front() else {
            panic!("a datagram is delivered")
        };
        assert_eq!((from, &data[..]), (SocketAddr::new(version, PEER_PORT), text));
        peer.op(Op::send_to(socket, from, data));
    }
    let frames = peer.frames();
    let types: Vec<_> =
        frames.iter().map(|(_, bytes)| ethernet::parse(bytes).unwrap().0.ether_type).collect();
    assert_eq!(types, [EtherType::IPV6, EtherType::IPV4]);
    let (_, range) = ipv6::parse(&frames[0].1[14..]).unwrap();
    let bytes = &frames[0].1[14..][range];
    assert_eq!(&bytes[udp::parse(bytes, Tail::NONE, US, PEER, false).unwrap().1], b"six");
    let mut bare = datagram(53, b"six", PEER, US);
    bare[6..8].fill(0);
    give(&mut peer, from_peer(Protocol::UDP), &bare);
    assert!(peer.app().events.is_empty());
    give(&mut peer, from_peer(Protocol::UDP), &datagram(54, b"nobody", PEER, US));
    let refused = Message::DestinationUnreachable { code: Unreachable::PORT };
    assert_eq!(answer(&mut peer).map(|(message, _)| message), Some(refused));
}

#[test]
fn a_listener_for_every_address_takes_both_versions() {
    // Shows a connection of each version at one listener, and that a second listener for every address is one too many.
    let mut peer = Peer::with(|host| {
        let address = Address { ip: US4.into(), prefix: 24 };
        host.config.interfaces[0].addresses.push(address);
        host.config.interfaces[0].neighbours = vec![(PEER, PEER_MAC.0), (PEER4.into(), PEER_MAC.0)];
    });
    peer.op(Op::listen_eager("[::]:9".parse().unwrap()));
    peer.op(Op::listen("0.0.0.0:9".parse().unwrap()));
    assert_eq!((peer.event(), peer.event()), ("listening".to_owned(), "failed AddressInUse".to_owned()));
    peer.rx(seg("S", 0, 0));
    assert!(peer.tx().starts_with("S."));
    let mut segment = stack::wire::tcp::Segment::new(
        PEER_PORT,
        9,
        stack::wire::tcp::SeqNum(7),
        stack::wire::tcp::SeqNum(0),
        stack::wire::tcp::Flags::SYN,
    );
    segment.window = 1000;
    let mut bytes = vec![0; segment.header_len()];
    let sum = Checksum::pseudo_ipv4(PEER4, US4, 6, bytes.len() as u16);
    segment.emit(&mut bytes, Fill::Full(sum)).unwrap();
    peer.inject_ip(&ipv4::Header::new(PEER4, US4, Protocol::TCP, 64), &bytes);
    let frames = peer.frames();
    let (link, at) = ethernet::parse(&frames[0].1).unwrap();
    let (answer, _) = ipv4::parse(&frames[0].1[at..], false).unwrap();
    assert_eq!((link.ether_type, link.source, answer.destination), (EtherType::IPV4, OUR_MAC, PEER4));
}

#[test]
fn syns_to_groups_vanish() {
    // Shows that a SYN in a frame to a group, or to a group's address, is not answered.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.3
    //= type=test
    //# A TCP implementation MUST silently discard an incoming SYN segment
    //# that is addressed to a broadcast or multicast address [(MUST-57)].
    let mut peer = Peer::new();
    let mut frame = peer.frame(&seg("S", 0, 0));
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    peer.inject(&frame);
    assert_eq!((peer.tx(), peer.report().counters.dropped()), ("-".to_owned(), 1));
    assert!(read(&frame).is_some());
}

#[test]
fn addresses_come_and_go_at_run_time() {
    // Shows an address that an op adds, answered for at once where nobody is asked first, one that is ours already, and
    // the end of its connections, told to their peers, when it goes.
    let mut peer = Peer::new();
    let other = ip("fd00::77");
    let add = NetworkChange::AddAddress { address: Address { ip: other.into(), prefix: 64 }, interface: 0 };
    peer.op(Op::configure(add));
    assert_eq!(peer.event(), "Configured");
    peer.frames();
    let question = Ask::Neighbour { target: other, station: Some(PEER_MAC) };
    ask(&mut peer, question, six(PEER), ipv6::solicited_node(other), 255);
    assert_eq!(discovery(&mut peer).len(), 1);
    peer.op(Op::configure(add));
    assert_eq!(peer.event(), "failed AddressInUse");
    peer.accepted(Options::NONE);
    peer.frames();
    peer.op(Op::configure(NetworkChange::RemoveAddress { address: US }));
    let told: Vec<String> = (0..8).map(|_| peer.event()).filter(|event| event != "-").collect();
    assert_eq!(told, ["closed AddressGone", "Configured"]);
    assert!(peer.tx().starts_with('R'));
    let question = Ask::Neighbour { target: six(US), station: Some(PEER_MAC) };
    ask(&mut peer, question, six(PEER), ipv6::solicited_node(six(US)), 255);
    assert!(discovery(&mut peer).is_empty());
    let gone = NetworkChange::RemoveAddress { address: US };
    peer.op(Op::configure(gone));
    assert_eq!(peer.event(), "failed AddressNotAvailable");
}

#[test]
fn routers_hear_of_our_groups() {
    // Shows the report of both addresses' groups that answers a query within its time, with hop limit 1.
    let mut peer = Peer::new();
    let (router, mut query) = (ip("fe80::9"), vec![0; 28]);
    (query[0], query[4], query[5]) = (130, 0x03, 0xe8);
    let len = query.len() as u32;
    let sum = Checksum::pseudo_ipv6(router, ipv6::ALL_NODES, 58, len).with(&query).finish();
    query[2..4].copy_from_slice(&sum.to_be_bytes());
    let payload = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &query].concat();
    let header = Header::new(router, ipv6::ALL_NODES, Protocol::IPV6_HOP_BY_HOP, 1);
    give_group(&mut peer, header, &payload);
    peer.wait(S);
    let (_, header, bytes) = sent(&mut peer).remove(0);
    assert_eq!((header.destination, header.hop_limit), (ip("ff02::16"), 1));
    assert_eq!((bytes[8], bytes[15], bytes.len()), (143, 2, 16 + 40));
}

#[test]
fn a_host_is_no_router() {
    // Shows that who asks for routers hears nothing, and that a host which listens to them sends nothing that only they
    // may: neither advertisements nor redirects, whatever comes for others.
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.2.6
    //= type=test
    //# A host MUST silently discard any received Router Solicitation messages.
    let mut peer = Peer::with(|host| host.config.interfaces[0].ipv6.routers = true);
    advertise(&mut peer);
    peer.frames();
    ask(&mut peer, Ask::Routers { station: Some(PEER_MAC) }, six(PEER), ipv6::ALL_ROUTERS, 255);
    ask(&mut peer, Ask::Routers { station: None }, Ipv6Addr::UNSPECIFIED, ipv6::ALL_ROUTERS, 255);
    let stranger = Header { destination: ip("2001:db8:ffff::1"), ..from_peer(Protocol::UDP) };
    give(&mut peer, stranger, &[0; 8]);
    peer.wait(100 * S);
    let only_routers_say = |(_, header, bytes): &(MacAddress, Header, Vec<u8>)| {
        header.next_header == Protocol::ICMPV6 && matches!(bytes[0], 134 | 137)
    };
    assert_eq!(sent(&mut peer).iter().filter(|packet| only_routers_say(packet)).count(), 0);
    assert_eq!(peer.report().counters.dropped(), 3);
}

#[test]
fn what_reaches_us_is_taken_whatever_is_left_of_its_hops() {
    // Shows an echo request whose hop limit has come down to zero, answered as any other.
    //= https://www.rfc-editor.org/rfc/rfc8200#section-3
    //= type=test
    //# A node that is the destination of a packet should not
    //# discard a packet with Hop Limit equal to zero; it should
    //# process the packet normally.
    let mut peer = Peer::new();
    let request = icmp(Message::EchoRequest { identifier: 7, sequence: 3 }, b"x", six(PEER), six(US));
    give(&mut peer, Header { hop_limit: 0, ..from_peer(Protocol::ICMPV6) }, &request);
    assert_eq!(
        answer(&mut peer).map(|(message, _)| message),
        Some(Message::EchoReply { identifier: 7, sequence: 3 })
    );
}
