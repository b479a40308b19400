//! UDP sockets with one peer: what they hear, what they are told, and how they get their ends.

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

use stack::socket::{Event, Op, OpError, Udp};
use stack::wire::{Checksum, EtherType, Fill, IpHeader, Protocol, Tail, ethernet, ipv4, ipv6, udp};

use crate::driver::{MS, PEER, PEER_MAC, Peer, US, packet_frame};
use crate::errors;

/// A UDP datagram between these ends, as a frame.
fn datagram(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let len = (udp::HEADER_LEN + data.len()) as u16;
    let mut sum = Checksum::pseudo(from.ip(), to.ip(), Protocol::UDP.0, len).unwrap();
    sum.append(Checksum::ZERO.with(data));
    let header = udp::Header { source_port: from.port(), destination_port: to.port() };
    let mut bytes = vec![0; udp::HEADER_LEN];
    header.emit(&mut bytes, data.len(), Fill::Full(sum)).unwrap();
    bytes.extend_from_slice(data);
    packet_frame(&IpHeader::new(from.ip(), to.ip(), Protocol::UDP, 64).unwrap(), &bytes)
}

/// The datagrams that the engine has sent since the last look: ports and data.
fn sent(peer: &mut Peer) -> Vec<(u16, u16, Vec<u8>)> {
    let read = |(_, bytes): &(u64, Vec<u8>)| {
        let (link, at) = ethernet::parse(bytes).unwrap();
        let (protocol, range) = match link.ether_type {
            EtherType::IPV4 => {
                ipv4::parse(&bytes[at..], false).map(|(header, range)| (header.protocol, range))
            }
            EtherType::IPV6 => ipv6::parse(&bytes[at..]).map(|(header, range)| (header.next_header, range)),
            _ => return None,
        }
        .unwrap();
        let payload = &bytes[at..][range];
        (protocol == Protocol::UDP).then_some(())?;
        let (ports, data) = udp::parse(payload, Tail::NONE, US, PEER, false).unwrap();
        Some((ports.source_port, ports.destination_port, payload[data].to_vec()))
    };
    peer.frames().iter().filter_map(read).collect()
}

fn ours(port: u16) -> SocketAddr {
    SocketAddr::new(US, port)
}

fn theirs(port: u16) -> SocketAddr {
    SocketAddr::new(PEER, port)
}

/// The socket an op opens or changes, and what is said of it.
fn bound(peer: &mut Peer, op: Op) -> (Udp, SocketAddr, Option<SocketAddr>) {
    peer.op(op);
    match peer.app().events.pop_front() {
        Some(Event::Bound { socket, local, peer }) => (socket, local, peer),
        other => panic!("{other:?}"),
    }
}

fn failed(peer: &mut Peer, op: Op) -> OpError {
    peer.op(op);
    match peer.app().events.pop_front() {
        Some(Event::Failed { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

/// Who hears of a datagram to one of our ports from one of the peer's.
fn heard(peer: &mut Peer, from: u16, to: u16) -> Option<Udp> {
    peer.inject(&datagram(theirs(from), ours(to), b"hello"));
    match peer.app().events.pop_front() {
        Some(Event::Datagram { socket, from: said, data }) => {
            assert_eq!((said, &data[..]), (theirs(from), &b"hello"[..]));
            Some(socket)
        }
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_socket_with_a_peer_hears_it_alone_and_before_others() {
    // Shows three sockets at one port: two with a peer each hear theirs, the one that is merely bound to the port
    // everybody else, and theirs too once they have closed; and that a second socket for the same peer is refused.
    let mut peer = Peer::new();
    let (open, ..) = bound(&mut peer, Op::bind(ours(53)));
    let (first, local, named) = bound(&mut peer, Op::connect_udp_from(ours(53), theirs(4000)));
    assert_eq!((local, named), (ours(53), Some(theirs(4000))));
    let (second, ..) = bound(&mut peer, Op::connect_udp_from(ours(53), theirs(4001)));
    assert_eq!(failed(&mut peer, Op::connect_udp_from(ours(53), theirs(4000))), OpError::AddressInUse);
    for (from, socket) in [(4000, first), (4001, second), (4002, open), (4000, first)] {
        assert_eq!(heard(&mut peer, from, 53), Some(socket));
    }
    peer.op(Op::close(first));
    assert!(peer.event().starts_with("closed"));
    for (from, socket) in [(4000, open), (4001, second)] {
        assert_eq!(heard(&mut peer, from, 53), Some(socket));
    }
    for socket in [second, open] {
        peer.op(Op::close(socket));
        assert!(peer.event().starts_with("closed"));
    }
    assert_eq!((peer.report().sockets, heard(&mut peer, 4001, 53)), (0, None));
}

#[test]
fn a_socket_with_a_peer_alone_refuses_others() {
    // Shows an address and a port chosen for a peer; datagrams to it without naming it, and to somebody else by name; its
    // answers, and that what others send there is refused as if nobody had the port.
    let mut peer = Peer::new();
    let (socket, local, named) = bound(&mut peer, Op::connect_udp(theirs(53)));
    assert_eq!((local.ip(), named), (US, Some(theirs(53))));
    assert!((32_768..61_000).contains(&local.port()));
    peer.frames();
    peer.op(Op::send_to_peer(socket, &b"one"[..]));
    peer.op(Op::send_to(socket, theirs(54), &b"two"[..]));
    let expected = [(local.port(), 53, b"one".to_vec()), (local.port(), 54, b"two".to_vec())];
    assert_eq!(sent(&mut peer), expected);
    assert_eq!(heard(&mut peer, 53, local.port()), Some(socket));
    peer.frames();
    assert_eq!(heard(&mut peer, 54, local.port()), None);
    assert_eq!(peer.frames().len(), 1, "an error goes back");
}

#[test]
fn peers_come_and_go() {
    // Shows a bound socket that gets a peer, another one, and none again: what it hears and where it sends each time; that
    // its port stays its own meanwhile, and what cannot be a peer.
    let mut peer = Peer::new();
    let any = SocketAddr::new(if crate::IPV6 { "::" } else { "0.0.0.0" }.parse().unwrap(), 53);
    let (socket, local, named) = bound(&mut peer, Op::bind(any));
    assert_eq!((local, named), (any, None));
    assert_eq!(failed(&mut peer, Op::send_to_peer(socket, &b"?"[..])), OpError::NotOpen);
    for to in [4000, 4001, 4001] {
        let said = bound(&mut peer, Op::set_peer(socket, Some(theirs(to))));
        assert_eq!(said, (socket, ours(53), Some(theirs(to))));
        peer.frames();
        peer.op(Op::send_to_peer(socket, &b"x"[..]));
        assert_eq!(sent(&mut peer), [(53, to, b"x".to_vec())]);
        assert_eq!(heard(&mut peer, to, 53), Some(socket));
        assert_eq!(heard(&mut peer, to ^ 1, 53), None);
        assert_eq!(failed(&mut peer, Op::bind(any)), OpError::AddressInUse);
    }
    assert_eq!(bound(&mut peer, Op::set_peer(socket, None)), (socket, any, None));
    assert_eq!(heard(&mut peer, 4000, 53), Some(socket));
    assert_eq!(failed(&mut peer, Op::send_to_peer(socket, &b"?"[..])), OpError::NotOpen);
    for (wrong, error) in [
        (theirs(0), OpError::AddressNotAvailable),
        (ours(9), OpError::AddressNotAvailable),
        (
            if crate::IPV6 { "[ff02::1]:9" } else { "224.0.0.1:9" }.parse().unwrap(),
            OpError::AddressNotAvailable,
        ),
        (if crate::IPV6 { "[fd77::1]:9" } else { "198.51.100.1:9" }.parse().unwrap(), OpError::Unreachable),
    ] {
        assert_eq!(failed(&mut peer, Op::set_peer(socket, Some(wrong))), error, "{wrong}");
        assert_eq!(failed(&mut peer, Op::connect_udp(wrong)), error, "{wrong}");
    }
    assert_eq!(heard(&mut peer, 4001, 53), Some(socket), "what failed has changed nothing");
    // A stream is no socket of datagrams; and one that has ended is none at all.
    peer.op(Op::close(socket));
    assert!(peer.event().starts_with("closed"));
    assert_eq!(failed(&mut peer, Op::set_peer(socket, None)), OpError::StaleHandle);
}

#[test]
fn a_socket_that_was_drawn_for_its_peer_can_forget_it() {
    // Shows that such a socket is then bound to its port for everybody, unless another one is.
    let mut peer = Peer::new();
    let (socket, local, _) = bound(&mut peer, Op::connect_udp(theirs(53)));
    let any = SocketAddr::new(if crate::IPV6 { "::" } else { "0.0.0.0" }.parse().unwrap(), local.port());
    let (other, ..) = bound(&mut peer, Op::bind(any));
    assert_eq!(failed(&mut peer, Op::set_peer(socket, None)), OpError::AddressInUse);
    assert_eq!(heard(&mut peer, 53, local.port()), Some(socket));
    peer.op(Op::close(other));
    assert!(peer.event().starts_with("closed"));
    assert_eq!(bound(&mut peer, Op::set_peer(socket, None)), (socket, any, None));
    assert_eq!(heard(&mut peer, 54, local.port()), Some(socket));
    assert_eq!(failed(&mut peer, Op::bind(any)), OpError::AddressInUse);
}

#[test]
fn what_waits_of_others_goes_when_a_socket_gets_a_peer() {
    // Shows datagrams of two senders that wait in a socket whose queue is full: once one of them is its peer, those of the
    // other do not come any more, and the room they took is there again.
    let mut peer = Peer::with(|host| host.config.datagrams_max = 16);
    let queue = peer.lane().queue(stack::lane::QueueOptions { completions: 2, ops_each: 1 }).unwrap();
    peer.op(Op::bind(ours(53)).to(queue));
    let lane = peer.lane();
    let Some(Event::Bound { socket, .. }) = lane.take(queue).map(|done| done.event) else {
        panic!("the port is free")
    };
    let round = |peer: &mut Peer| {
        for from in [4000, 4001, 4000, 4001, 4000, 4001, 4000, 4001] {
            peer.inject(&datagram(theirs(from), ours(53), b"hello"));
        }
    };
    round(&mut peer);
    round(&mut peer);
    peer.op(Op::set_peer(socket, Some(theirs(4001))));
    let mut from = Vec::new();
    let mut said = 0;
    let mut take = |peer: &mut Peer| {
        for _ in 0..64 {
            while let Some(done) = peer.lane().take(queue) {
                if let Event::Datagram { from: sender, .. } = done.event {
                    from.push(sender.port());
                }
            }
            peer.wait(MS);
            said += u32::from(matches!(peer.app().events.pop_front(), Some(Event::Bound { .. })));
        }
        core::mem::take(&mut from)
    };
    // Two had been handed over before.
    let heard = take(&mut peer);
    assert_eq!(heard, [4000, 4001, 4001, 4001, 4001, 4001, 4001, 4001, 4001]);
    let drops = peer.report().counters.dropped();
    round(&mut peer);
    assert_eq!(take(&mut peer), [4001; 4]);
    assert_eq!((peer.report().counters.dropped(), said, peer.report().held_frames), (drops + 4, 1, 0));
}

#[test]
fn a_socket_with_a_peer_is_told_of_errors() {
    // Shows Port Unreachable for what was sent to the peer, told to that socket and not to the one bound to its port; and
    // that an error about a datagram to somebody else is told to nobody but the one that is bound there.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-4.1.3.3
    //= type=test
    //# UDP MUST pass to the application layer all ICMP error
    //# messages that it receives from the IP layer.
    let mut peer = Peer::new();
    let (socket, ..) = bound(&mut peer, Op::connect_udp_from(ours(53), theirs(5353)));
    let error = |peer: &mut Peer, to: u16| {
        peer.frames();
        peer.op(Op::send_to(socket, theirs(to), &b"x"[..]));
        let frames = peer.frames();
        peer.inject(&errors::error(errors::Told::Port, &frames[0].1));
        match peer.app().events.pop_front() {
            Some(Event::DatagramError { socket, to, error: OpError::Refused }) => Some((socket, to)),
            None => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error(&mut peer, 5353), Some((socket, theirs(5353))));
    let drops = peer.report().counters.dropped();
    assert_eq!((error(&mut peer, 5354), peer.report().counters.dropped()), (None, drops + 1));
    let (open, ..) = bound(&mut peer, Op::bind(ours(53)));
    assert_eq!(error(&mut peer, 5353), Some((socket, theirs(5353))));
    assert_eq!(error(&mut peer, 5354), Some((open, theirs(5354))));
}

#[test]
fn every_port_towards_a_peer_is_used_before_none_is_left() {
    // Shows that a socket is opened for each port of the range, or on two lanes for each of the half at home here, before
    // the next one is told that there are no ports; that towards another peer there are; and that ports come in no order
    // that could be told.
    //= https://www.rfc-editor.org/rfc/rfc6056#section-3.3.1
    //= type=test
    //# This algorithm selects ephemeral port numbers randomly and thus
    //# reduces the chances that an attacker will guess the ephemeral port
    //# selected for a target transport-protocol instance.
    let mut peer = Peer::with(|host| host.config.sockets = 30_000);
    let (mut ports, mut refused) = (Vec::new(), None);
    while refused.is_none() {
        for _ in 0..8 {
            peer.lane().submit(Op::connect_udp(theirs(53))).unwrap();
        }
        peer.wait(0);
        while let Some(event) = peer.app().events.pop_front() {
            match event {
                Event::Bound { local, .. } => ports.push(local.port()),
                Event::Failed { error, .. } => refused = Some(error),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(refused, Some(OpError::NoPorts));
    let steps: BTreeSet<u16> = ports[..1_000].windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 950, "{} steps between 1,000 ports", steps.len());
    ports.sort_unstable();
    if crate::LANES == 1 {
        assert!(ports.iter().copied().eq(32_768..61_000));
        assert_eq!(failed(&mut peer, Op::bind(ours(0))), OpError::NoPorts);
    }
    ports.dedup();
    let share = 28_232 / usize::from(crate::LANES);
    assert!(ports.len().abs_diff(share) < 500, "{} of {share}", ports.len());
    bound(&mut peer, Op::connect_udp(theirs(54)));
}

/// Whether the packet in a frame may be cut or is a piece of one, its identification, and where it goes.
fn identified(bytes: &[u8]) -> Option<(u32, IpAddr)> {
    let at = ethernet::HEADER_LEN;
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    if crate::IPV6 {
        let to: [u8; 16] = bytes[at + 24..at + 40].try_into().unwrap();
        return (bytes[at + 6] == 44).then(|| (number(at + 44), to.into()));
    }
    let to: [u8; 4] = bytes[at + 16..at + 20].try_into().unwrap();
    let word = number(at + 4);
    (word & 0x4000 == 0).then(|| (word >> 16, to.into()))
}

#[test]
fn datagrams_in_pieces_have_numbers_of_their_own() {
    // Shows 1,000 datagrams from every lane to each of two hosts: the pieces of one have one number, and no two datagrams
    // between the same hosts the same; what one host sees tells nothing of the other's; and a datagram that is sent whole
    // may not be cut and has none.
    //= https://www.rfc-editor.org/rfc/rfc6864#section-4.3
    //= type=test
    //# Sources emitting non-atomic datagrams MUST NOT repeat IPv4 ID
    //# values within one MDL for a given source address/destination
    //# address/protocol tuple.
    //= https://www.rfc-editor.org/rfc/rfc7739#section-4
    //= type=test
    //# the Identification value
    //# must be different than that of any other fragmented packet sent
    //# recently with the same Source Address and Destination Address.
    let other: IpAddr = if crate::IPV6 { "fd00::3" } else { "10.0.0.3" }.parse().unwrap();
    let mut peer = Peer::with(|host| {
        host.config.interfaces[0].neighbours.push((other, PEER_MAC.0));
    });
    let (socket, ..) = bound(&mut peer, Op::bind(ours(53)));
    peer.op(Op::send_to(socket, theirs(9), vec![0; 1000]));
    assert!(peer.frames().iter().all(|(_, bytes)| identified(bytes).is_none()));
    let mut beside = None;
    if crate::LANES > 1 {
        peer.app().beside.push_back(Op::bind(ours(54)));
        peer.wait(MS);
        let Some(Event::Bound { socket, .. }) = peer.app().beside_events.pop_front() else {
            panic!("the port is free")
        };
        beside = Some(socket);
    }
    let (mut ids, mut firsts): (BTreeMap<(IpAddr, u32), usize>, _) = (BTreeMap::new(), Vec::new());
    let mut count = 0;
    for _ in 0..1_000 {
        for to in [theirs(9), SocketAddr::new(other, 9)] {
            peer.op(Op::send_to(socket, to, vec![0; 4000]));
            count += 1;
            if let Some(socket) = beside {
                peer.app().beside.push_back(Op::send_to(socket, to, vec![0; 4000]));
                peer.wait(MS);
                count += 1;
            }
        }
        for (_, bytes) in peer.frames() {
            let (id, to) = identified(&bytes).expect("a piece");
            *ids.entry((to, id)).or_default() += 1;
            if to == PEER && firsts.last() != Some(&id) {
                firsts.push(id);
            }
        }
    }
    assert_eq!(ids.len(), count, "numbers of {count} datagrams");
    assert!(ids.values().all(|pieces| *pieces == 3));
    let first = firsts[0];
    let near = |id: u32| {
        let distance = id.wrapping_sub(first);
        if crate::IPV6 {
            distance.min(distance.wrapping_neg())
        } else {
            (distance & 0xffff).min(distance.wrapping_neg() & 0xffff)
        }
    };
    let closest = ids.keys().filter(|(to, _)| *to == other).map(|(_, id)| near(*id)).min();
    assert!(closest > Some(500), "{closest:?}");
}
