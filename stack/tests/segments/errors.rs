//! What ICMP errors do to connections, over both versions: which are believed, and how far (RFC 5927).

use core::net::{IpAddr, SocketAddr};

use stack::socket::Op;
use stack::wire::tcp::{Flags, Options, Segment, SeqNum};
use stack::wire::{Checksum, DropReason, Fill, IpHeader, Protocol, ethernet, icmp, icmpv6};

use crate::driver::{PEER, PEER_PORT, Peer, US, packet_frame, seg};
use crate::states::peer_in;

/// An error, whichever version tells it.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    Port,
    Host,
    Prohibited,
    TooBig(u16),
    Hops,
    Parameter,
}

/// An error about the packet in a frame, as a frame.
pub fn error(told: Told, about: &[u8]) -> Vec<u8> {
    let quoted = &about[ethernet::HEADER_LEN..];
    let mut bytes = vec![0; 8];
    let protocol = match (PEER, US) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let unreachable = |code| icmpv6::Message::DestinationUnreachable { code };
            let message = match told {
                Told::Port => unreachable(icmpv6::Unreachable::PORT),
                Told::Host => unreachable(icmpv6::Unreachable(3)),
                Told::Prohibited => unreachable(icmpv6::Unreachable(1)),
                Told::TooBig(mtu) => icmpv6::Message::PacketTooBig { mtu: mtu.into() },
                Told::Hops => icmpv6::Message::TimeExceeded { reassembly: false },
                Told::Parameter => icmpv6::Message::ParameterProblem { code: 0, pointer: 6 },
            };
            let sum = Checksum::pseudo_ipv6(from, to, 58, 8 + quoted.len() as u32).with(quoted);
            message.emit(&mut bytes, Fill::Full(sum)).unwrap();
            Protocol::ICMPV6
        }
        _ => {
            let unreachable = |code| icmp::Message::DestinationUnreachable { code, next_hop_mtu: 0 };
            let message = match told {
                Told::Port => unreachable(icmp::Unreachable::PORT),
                Told::Host => unreachable(icmp::Unreachable::HOST),
                Told::Prohibited => unreachable(icmp::Unreachable(13)),
                Told::TooBig(next_hop_mtu) => icmp::Message::DestinationUnreachable {
                    code: icmp::Unreachable::FRAGMENTATION_NEEDED,
                    next_hop_mtu,
                },
                Told::Hops => icmp::Message::TimeExceeded { reassembly: false },
                Told::Parameter => icmp::Message::ParameterProblem { code: 0, pointer: 8 },
            };
            message.emit(&mut bytes, Fill::Full(Checksum::ZERO.with(quoted))).unwrap();
            Protocol::ICMP
        }
    };
    bytes.extend_from_slice(quoted);
    packet_frame(&IpHeader::new(PEER, US, protocol, 64).unwrap(), &bytes)
}

/// A segment of the engine's with this relative number, as an error may quote it.
fn quoted(peer: &Peer, seq: u32) -> Vec<u8> {
    let segment = Segment::new(peer.port, peer.peer_port, peer.iss + seq, SeqNum(0), Flags::ACK);
    let mut bytes = vec![0; segment.header_len()];
    segment.emit(&mut bytes, Fill::Zero).unwrap();
    packet_frame(&IpHeader::new(US, PEER, Protocol::TCP, 64).unwrap(), &bytes)
}

/// Hand the engine an error about its segment with this number. Returns why it was dropped, if it was.
fn tell(peer: &mut Peer, told: Told, about: &[u8]) -> Option<DropReason> {
    let before = peer.report().counters.drops;
    peer.inject(&error(told, about));
    let after = peer.report().counters.drops;
    let reasons = [DropReason::IcmpSequence, DropReason::IcmpNoFlow, DropReason::IcmpQuote];
    reasons.into_iter().find(|reason| after[*reason as usize] > before[*reason as usize])
}

const ALL: [Told; 6] =
    [Told::Port, Told::Host, Told::Prohibited, Told::TooBig(1300), Told::Hops, Told::Parameter];

/// A connection with 1,000 bytes acknowledged and two full segments in flight: 1,001 to 3,920.
fn in_flight() -> Peer {
    let mut peer = Peer::new();
    peer.accepted(Options { mss: Some(1460), ..Options::NONE });
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1; 1000]));
    assert_eq!(peer.tx(), "P. 1(1000) ack 1");
    peer.rx(seg(".", 1, 1001));
    peer.op(Op::send(stream, vec![2; 2920]));
    assert_eq!((peer.tx(), peer.tx()), (". 1001(1460) ack 1".to_owned(), "P. 2461(1460) ack 1".to_owned()));
    peer
}

#[test]
fn errors_about_what_is_not_in_flight_are_nobody_s() {
    // Shows for each kind of error the numbers at the edges of what is in flight: one before the first and those from the one
    // behind the last on are dropped, and change nothing; the first and the last are heeded.
    //= https://www.rfc-editor.org/rfc/rfc5927#section-4.1
    //= type=test
    //# This means that they require that the
    //# sequence number be within the range of the data already sent but not
    //# yet acknowledged.  If an ICMP error message does not pass this check,
    for told in ALL {
        let mut peer = in_flight();
        for seq in [1000, 1, 0, 3921, 3922, 1001 + (1 << 31)] {
            let about = quoted(&peer, seq);
            assert_eq!(tell(&mut peer, told, &about), Some(DropReason::IcmpSequence), "{told:?} {seq}");
            assert_eq!((peer.event(), peer.tx()), ("-".to_owned(), "-".to_owned()), "{told:?} {seq}");
        }
        for seq in [1001, 3920] {
            let mut peer = in_flight();
            let about = quoted(&peer, seq);
            assert_eq!(tell(&mut peer, told, &about), None, "{told:?} {seq}");
            let expected = match told {
                Told::TooBig(_) => ("-".to_owned(), true),
                Told::Port => ("trouble Undelivered(Refused)".to_owned(), false),
                _ => ("trouble Undelivered(Unreachable)".to_owned(), false),
            };
            assert_eq!((peer.event(), peer.tx() != "-"), expected, "{told:?} {seq}");
        }
    }
}

#[test]
fn what_an_error_quotes_must_be_ours_and_enough() {
    // Shows an error that quotes too little, another connection, another peer, or has a wrong checksum: nothing happens. One
    // about the same segment that is as it should be is heeded.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
    //= type=test
    //# the IP protocol number MUST be extracted from the original header and
    //# used to select the appropriate transport protocol entity to handle the
    //# error.
    let mut peer = in_flight();
    let about = quoted(&peer, 1001);
    let ip = about.len() - 20;
    let patched = |at: usize, value: u8| {
        let mut bytes = about.clone();
        bytes[at] ^= value;
        bytes
    };
    assert_eq!(tell(&mut peer, Told::Host, &about[..ip + 7]), Some(DropReason::IcmpQuote));
    for (what, bytes) in [
        ("our port", patched(ip + 1, 1)),
        ("its port", patched(ip + 3, 1)),
        ("its address", patched(ip - 1, 4)),
        (
            "the protocol",
            patched(if crate::IPV6 { ethernet::HEADER_LEN + 6 } else { ethernet::HEADER_LEN + 9 }, 6 ^ 132),
        ),
    ] {
        assert_eq!(tell(&mut peer, Told::Host, &bytes), Some(DropReason::IcmpNoFlow), "{what}");
    }
    let mut bytes = error(Told::Host, &about);
    *bytes.last_mut().unwrap() ^= 1;
    let before = peer.report().counters.drops[DropReason::IcmpChecksum as usize];
    peer.inject(&bytes);
    assert_eq!(peer.report().counters.drops[DropReason::IcmpChecksum as usize], before + 1);
    assert_eq!((peer.event(), peer.tx()), ("-".to_owned(), "-".to_owned()));
    assert_eq!(tell(&mut peer, Told::Host, &about), None);
    assert_eq!(peer.event(), "trouble Undelivered(Unreachable)");
}

#[test]
fn no_error_ends_a_connection_that_has_begun() {
    // Shows each kind of error in each state from SYN-RECEIVED on, about the number that is most likely in flight and about
    // those beside it: the connection is still there.
    //= https://www.rfc-editor.org/rfc/rfc5927#section-5.2
    //= type=test
    //# most popular TCP implementations treat all ICMP "hard errors" received for
    //# connections in any of the synchronized states (ESTABLISHED, FIN-WAIT-1,
    //# FIN-WAIT-2, CLOSE-WAIT, CLOSING, LAST-ACK, or TIME-WAIT) as "soft errors".
    for state in [
        "SYN-RECEIVED",
        "SYN-RECEIVED by a listener",
        "ESTABLISHED",
        "FIN-WAIT-1",
        "FIN-WAIT-2",
        "CLOSE-WAIT",
        "CLOSING",
        "LAST-ACK",
        "TIME-WAIT",
    ] {
        let mut peer = peer_in(state);
        if state == "ESTABLISHED" {
            let stream = peer.stream();
            peer.op(Op::send(stream, &b"x"[..]));
            assert_eq!(peer.tx(), "P. 1(1) ack 1");
            peer.nxt = 2;
        }
        for told in ALL {
            for seq in 0..3 {
                let about = quoted(&peer, seq);
                tell(&mut peer, told, &about);
            }
        }
        assert!(peer.is_alive(), "{state}");
    }
}

#[test]
fn soft_errors_pass_a_connect_by() {
    // Shows SYN-SENT: what passes does not end it, nor does a hard error about another number; what is hard does.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.2
    //= type=test
    //# a TCP implementation MUST NOT abort the connection
    //# (MUST-56), and it SHOULD make the information available to the
    //# application (SHLD-25).
    let mut peer = Peer::new();
    peer.connecting();
    for told in [Told::Hops, Told::Parameter, Told::TooBig(1300)] {
        let about = quoted(&peer, 0);
        assert_eq!(tell(&mut peer, told, &about), None);
    }
    for seq in [1, 1 << 31, u32::MAX] {
        let about = quoted(&peer, seq);
        assert_eq!(tell(&mut peer, Told::Port, &about), Some(DropReason::IcmpSequence));
    }
    assert_eq!(peer.event(), "-");
    peer.frames();
    assert_eq!(peer.answer(seg("S.", 0, 1)), ". 1(0) ack 1");
    assert_eq!(peer.event(), "connected");
    let mut peer = Peer::new();
    peer.op(Op::connect(SocketAddr::new(PEER, PEER_PORT)));
    assert_eq!(peer.tx(), "S 0(0)");
    let about = quoted(&peer, 0);
    assert_eq!(tell(&mut peer, Told::Port, &about), None);
    assert_eq!(peer.event(), "failed Refused");
}

#[test]
fn a_path_gets_no_wider_by_being_told_so() {
    // Shows that a router that names a larger MTU than ours, or ours, changes nothing; that one that names a smaller one is
    // heeded; and that thereafter a larger one than that is not.
    //= https://www.rfc-editor.org/rfc/rfc1191#section-3
    //= type=test
    //# A host MUST not increase its estimate of the Path MTU in response to
    //# the contents of a Datagram Too Big message.
    let mut peer = in_flight();
    let about = quoted(&peer, 1001);
    let ours = if crate::IPV6 { 1520 } else { 1500 };
    for mtu in [u16::MAX, 9000, ours] {
        assert_eq!(tell(&mut peer, Told::TooBig(mtu), &about), None);
        assert_eq!((peer.event(), peer.tx()), ("-".to_owned(), "-".to_owned()), "{mtu}");
    }
    tell(&mut peer, Told::TooBig(1300), &about);
    let each = if crate::IPV6 { 1240 } else { 1260 };
    assert_eq!(peer.tx(), format!(". 1001({each}) ack 1"));
    peer.frames();
    tell(&mut peer, Told::TooBig(1400), &about);
    peer.rx(seg(".", 1, 3921));
    peer.frames();
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![3; 1400]));
    assert_eq!(peer.tx(), format!(". 3921({each}) ack 1"));
}
