//! What ICMPv6 we answer and send, and what an error that we receive means, in the words of `icmp`, whose rate limit
//! both versions share. Messages as bytes live in `wire::icmpv6`.

use super::icmp::{ErrorKind, IcmpError, Responder};
use super::route::Class;
use crate::time::Instant;
use crate::wire::icmpv6::{Message, Unreachable, parse_quoted};
use crate::wire::{DropReason, Protocol, icmp, icmpv6, ipv6};
use core::net::Ipv6Addr;

/// A packet that we received and may have to answer.
#[derive(Copy, Clone, Debug)]
pub struct Offender<'a> {
    /// Its fixed header.
    pub header: &'a ipv6::Header,
    /// Its bytes from the IPv6 header on, as many as are at hand.
    pub bytes: &'a [u8],
    /// What its destination is to us.
    pub destination: Class,
    /// It came in a frame to a group or to all stations.
    pub link_group: bool,
}

/// Whether an error about this packet may be sent now; takes a token if so. `to_groups`: also about one to a group.
///
/// Follow with the message's header and `quote`.
///
/// Errors: `IcmpRateLimited`; else `silent`, the reason for which the packet was dropped in the first place.
//= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
//# an IPv6 node MUST
//# limit the rate of ICMPv6 error messages it originates.
pub fn may_report(
    responder: &mut Responder,
    about: &Offender<'_>,
    to_groups: bool,
    silent: DropReason,
    now: Instant,
) -> Result<(), DropReason> {
    //= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
    //# (e) An ICMPv6 error message MUST NOT be originated as a result of
    //#     receiving the following:
    // The six bullets that follow there.
    let to_one_host = about.destination == Class::Local && !about.link_group;
    let from_one_host = !about.header.source.is_unspecified() && !about.header.source.is_multicast();
    if !(to_one_host || to_groups) || !from_one_host || may_be_error(about) {
        return Err(silent);
    }
    if responder.take(now) { Ok(()) } else { Err(DropReason::IcmpRateLimited) }
}

/// It is an error or a redirect, or cut short so that it might be one.
fn may_be_error(about: &Offender<'_>) -> bool {
    const REDIRECT: u8 = 137;
    let payload = ipv6::HEADER_LEN..about.bytes.len();
    match ipv6::walk(about.bytes, about.header.next_header, payload) {
        Ok(upper) => {
            let (mut protocol, mut at) = (upper.protocol, upper.range.start);
            if let Some(fragment) = upper.fragment {
                // What kind of message a later piece is of cannot be told, nor what stands behind further headers.
                if fragment.offset > 0 {
                    return !matches!(fragment.next_header, Protocol::TCP | Protocol::UDP);
                }
                (protocol, at) = (fragment.next_header, upper.range.start);
            }
            let kind = about.bytes.get(at).copied().unwrap_or(0);
            protocol == Protocol::ICMPV6 && (kind < 128 || kind == REDIRECT)
        }
        // The headers are what the error is about: an error of a peer's has none that we would refuse.
        Err(_) => about.header.next_header == Protocol::ICMPV6,
    }
}

/// What an error quotes of the packet that it is about.
//= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
//# (c) Every ICMPv6 error message (type < 128) MUST include as much of
//#     the IPv6 offending (invoking) packet (the packet that caused the
//#     error) as possible without making the error message packet exceed
#[must_use]
pub fn quote<'a>(about: &Offender<'a>) -> &'a [u8] {
    let max = usize::from(ipv6::MTU_MIN) - ipv6::HEADER_LEN - icmpv6::HEADER_LEN;
    about.bytes.get(..max).unwrap_or(about.bytes)
}

/// The header of the answer to an echo request; its data go back as they came.
///
/// Errors: `IcmpEchoRefused` to groups, `IcmpType` if `message` is no request.
//= https://www.rfc-editor.org/rfc/rfc4443#section-4.2
//# Every node MUST implement an ICMPv6 Echo responder function that
//# receives Echo Requests and originates corresponding Echo Replies.
pub fn echo(message: Message, destination: Class) -> Result<Message, DropReason> {
    match (message, destination) {
        (Message::EchoRequest { identifier, sequence }, Class::Local) => {
            Ok(Message::EchoReply { identifier, sequence })
        }
        //= https://www.rfc-editor.org/rfc/rfc4443#section-4.2
        //# An Echo Reply SHOULD be sent in response to an Echo Request message
        //# sent to an IPv6 multicast or anycast address.
        // To the group of all nodes of the link, which nobody beyond it can reach.
        (Message::EchoRequest { identifier, sequence }, Class::Multicast) => {
            Ok(Message::EchoReply { identifier, sequence })
        }
        (Message::EchoRequest { .. }, _) => Err(DropReason::IcmpEchoRefused),
        _ => Err(DropReason::IcmpType),
    }
}

/// Reads a received error; `data` is what follows the header.
///
/// Errors: `IcmpType` if it is no error, or one that is not believed; `IcmpQuote` if what it quotes is malformed.
pub fn parse_error(message: Message, data: &[u8]) -> Result<IcmpError, DropReason> {
    if !message.is_error() {
        return Err(DropReason::IcmpType);
    }
    let quoted = parse_quoted(data)?;
    let kind = match message {
        Message::DestinationUnreachable { code } => ErrorKind::Unreachable { code: in_ipv4(code) },
        //= https://www.rfc-editor.org/rfc/rfc8201#section-4
        //# If a node receives a Packet Too Big message reporting a next-hop MTU
        //# that is less than the IPv6 minimum link MTU, it must discard it.
        Message::PacketTooBig { mtu } if mtu < u32::from(ipv6::MTU_MIN) => return Err(DropReason::IcmpType),
        Message::PacketTooBig { mtu } => {
            ErrorKind::FragmentationNeeded { mtu: u16::try_from(mtu).unwrap_or(u16::MAX) }
        }
        Message::TimeExceeded { .. } => ErrorKind::TimeExceeded,
        Message::ParameterProblem { .. } => ErrorKind::ParameterProblem,
        Message::EchoReply { .. } | Message::EchoRequest { .. } => return Err(DropReason::IcmpType),
    };
    Ok(IcmpError { quoted, kind })
}

/// What IPv4 calls it, for transports that serve both.
const fn in_ipv4(code: Unreachable) -> icmp::Unreachable {
    match code {
        Unreachable::PORT => icmp::Unreachable::PORT,
        Unreachable::NO_ROUTE => icmp::Unreachable::NET,
        Unreachable::PROHIBITED | Unreachable(5 | 6) => icmp::Unreachable::PROHIBITED,
        _ => icmp::Unreachable::HOST,
    }
}

/// Whether we may be asked at this group: that of all nodes, or one of our own addresses'.
#[must_use]
pub fn is_member(group: Ipv6Addr, mut ours: impl Iterator<Item = Ipv6Addr>) -> bool {
    const INTERFACE_LOCAL: Ipv6Addr = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1);
    group == ipv6::ALL_NODES
        || group == INTERFACE_LOCAL
        || ours.any(|address| ipv6::solicited_node(address) == group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::icmp::TokenBucket;

    const A: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    fn packet(source: Ipv6Addr, next_header: Protocol, payload: &[u8]) -> (ipv6::Header, Vec<u8>) {
        let header = ipv6::Header::new(source, A, next_header, 64);
        let mut bytes = vec![0; 40];
        header.emit(&mut bytes, payload.len()).unwrap();
        bytes.extend(payload);
        (header, bytes)
    }

    fn may(
        source: Ipv6Addr,
        protocol: Protocol,
        payload: &[u8],
        to: Class,
        group: bool,
        to_groups: bool,
    ) -> bool {
        let (header, bytes) = packet(source, protocol, payload);
        let about = Offender { header: &header, bytes: &bytes, destination: to, link_group: group };
        let mut responder = Responder::default();
        may_report(&mut responder, &about, to_groups, DropReason::UdpNoListener, Instant::ZERO).is_ok()
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
    //= type=test
    //# (e) An ICMPv6 error message MUST NOT be originated as a result of
    //#     receiving the following:
    fn about_what_no_error_is_sent() {
        // Shows one packet that deserves an error, each rule that forbids one, and the exception for groups.
        let udp = [0; 8];
        assert!(may(B, Protocol::UDP, &udp, Class::Local, false, false));
        assert!(may(B, Protocol::ICMPV6, &[128, 0, 0, 0], Class::Local, false, false));
        for kind in [1, 2, 3, 4, 100, 127, 137] {
            assert!(!may(B, Protocol::ICMPV6, &[kind, 0, 0, 0], Class::Local, false, false), "{kind}");
            let behind = [58, 0, 1, 4, 0, 0, 0, 0, kind, 0];
            assert!(!may(B, Protocol::IPV6_OPTIONS, &behind, Class::Local, false, false), "{kind}");
        }
        assert!(!may(B, Protocol::UDP, &udp, Class::Multicast, true, false));
        assert!(!may(B, Protocol::UDP, &udp, Class::Local, true, false));
        assert!(may(B, Protocol::UDP, &udp, Class::Multicast, true, true));
        assert!(!may(Ipv6Addr::UNSPECIFIED, Protocol::UDP, &udp, Class::Local, false, true));
        // A later piece of what may be a message, or behind further headers; and one that cannot be.
        for (next, told) in [(58, false), (60, false), (17, true), (6, true)] {
            let later = [next, 0, 1, 0, 0, 0, 0, 9, 1, 2];
            assert_eq!(may(B, Protocol::IPV6_FRAGMENT, &later, Class::Local, false, false), told, "{next}");
        }
        let first = [17, 0, 0, 1, 0, 0, 0, 9, 1, 2];
        assert!(may(B, Protocol::IPV6_FRAGMENT, &first, Class::Local, false, false));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc4443#section-2.4
    //= type=test
    //# an IPv6 node MUST
    //# limit the rate of ICMPv6 error messages it originates.
    fn errors_are_limited() {
        // Shows that the bucket's tokens are all there is, and that a whole packet is quoted up to the least MTU.
        let (header, bytes) = packet(B, Protocol::UDP, &[0; 2000]);
        let about = Offender { header: &header, bytes: &bytes, destination: Class::Local, link_group: false };
        let mut responder = Responder::new(TokenBucket::new(1, 2), false);
        let mut may = || may_report(&mut responder, &about, false, DropReason::UdpNoListener, Instant::ZERO);
        assert_eq!((may(), may(), may()), (Ok(()), Ok(()), Err(DropReason::IcmpRateLimited)));
        assert_eq!(quote(&about).len() + 48, 1280);
    }

    #[test]
    fn errors_in_ipv4s_words() {
        // Shows each kind, codes translated, and an MTU below the least that is not believed.
        let (_, mut bytes) = packet(B, Protocol::TCP, &[0; 20]);
        bytes[40..44].copy_from_slice(&[0, 80, 1, 0]);
        let kind = |message| parse_error(message, &bytes).map(|error| error.kind);
        for (code, due) in [(0, 0), (1, 13), (2, 1), (3, 1), (4, 3), (5, 13), (9, 1)] {
            let unreachable = ErrorKind::Unreachable { code: icmp::Unreachable(due) };
            let message = Message::DestinationUnreachable { code: Unreachable(code) };
            assert_eq!(kind(message), Ok(unreachable), "{code}");
        }
        //= https://www.rfc-editor.org/rfc/rfc8201#section-4
        //= type=test
        //# If a node receives a Packet Too Big message reporting a next-hop MTU
        //# that is less than the IPv6 minimum link MTU, it must discard it.
        let too_big = |mtu| kind(Message::PacketTooBig { mtu });
        assert_eq!(too_big(1279), Err(DropReason::IcmpType));
        assert_eq!(too_big(1280), Ok(ErrorKind::FragmentationNeeded { mtu: 1280 }));
        assert_eq!(too_big(100_000), Ok(ErrorKind::FragmentationNeeded { mtu: u16::MAX }));
        assert_eq!(kind(Message::EchoReply { identifier: 0, sequence: 0 }), Err(DropReason::IcmpType));
        assert_eq!(
            parse_error(Message::TimeExceeded { reassembly: false }, &bytes[..47]),
            Err(DropReason::IcmpQuote)
        );
    }

    #[test]
    fn echoes_and_groups() {
        // Shows whom we answer, and the groups that we are in.
        let request = Message::EchoRequest { identifier: 7, sequence: 9 };
        let reply = Message::EchoReply { identifier: 7, sequence: 9 };
        assert_eq!((echo(request, Class::Local), echo(request, Class::Multicast)), (Ok(reply), Ok(reply)));
        assert_eq!(echo(request, Class::Unicast), Err(DropReason::IcmpEchoRefused));
        assert_eq!(echo(reply, Class::Local), Err(DropReason::IcmpType));
        let member = |group: &str| is_member(group.parse().unwrap(), [A].into_iter());
        assert!(member("ff02::1") && member("ff01::1") && member("ff02::1:ff00:1"));
        assert!(!member("ff02::2") && !member("ff02::1:ff00:2") && !member("ff05::1"));
    }
}
