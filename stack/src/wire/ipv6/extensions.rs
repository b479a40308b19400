//! Extension headers of IPv6 (RFC 8200 section 4): walked to the transport, within bounds, and never acted on.
//! What is answered to a packet whose headers we refuse is decided in `ip::icmpv6`.

use super::HEADER_LEN;
use crate::wire::{DropReason, NoRoom, Protocol};
use core::ops::Range;

/// Extension headers of one packet. RFC 8200 orders seven, one of which may come twice.
pub const HEADERS_MAX: usize = 8;

/// Options of one header that are no padding, as many as Linux takes: a packet full of them would cost a walk each.
pub const OPTIONS_MAX: usize = 8;

/// Length of a Fragment header. Units: bytes.
pub const FRAGMENT_LEN: usize = 8;

/// Where the payload length stands in the fixed header: what an error points to. Units: bytes.
pub const PAYLOAD_LENGTH_AT: u32 = 4;

/// What a Fragment header says.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Fragment {
    /// What the fragmentable part begins with.
    pub next_header: Protocol,
    /// Where the fragment belongs in it. Units: bytes, a multiple of eight.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Names the packet.
    pub identification: u32,
    /// Where the Fragment header begins, counted from the IPv6 header. Units: bytes. Not used to emit.
    pub at: usize,
    /// Where the field stands that named it. Units: bytes. Not used to emit.
    pub named_at: usize,
}

/// What lies behind the last extension header.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Upper {
    /// The transport, or `Protocol::IPV6_FRAGMENT` if this is a piece of a packet.
    pub protocol: Protocol,
    /// Where its bytes lie, counted from the IPv6 header.
    pub range: Range<usize>,
    /// Where the field stands that named it, for errors to point to. Units: bytes.
    pub named_at: usize,
    /// The packet is a piece of another.
    pub fragment: Option<Fragment>,
    /// It had a Fragment header, and was whole all the same.
    pub atomic: bool,
}

/// Why headers are refused.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Fault {
    /// What the packet is dropped for.
    pub reason: DropReason,
    /// What its sender is told.
    pub problem: Option<Problem>,
}

/// What a Parameter Problem says (RFC 4443 section 3.4).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Problem {
    /// 0: a wrong field, 1: an unknown next header, 2: an unknown option, 3: a first fragment without all headers.
    pub code: u8,
    /// Where in the packet. Units: bytes.
    pub pointer: u32,
    /// It is said even of packets to a group.
    pub to_groups: bool,
}

impl Fault {
    fn silent(reason: DropReason) -> Fault {
        Fault { reason, problem: None }
    }

    /// A fault that the sender is told of, unless the packet went to a group.
    #[must_use]
    pub fn told(reason: DropReason, code: u8, pointer: usize) -> Fault {
        let pointer = u32::try_from(pointer).unwrap_or(0);
        Fault { reason, problem: Some(Problem { code, pointer, to_groups: false }) }
    }
}

impl Fragment {
    /// The piece is the whole packet (RFC 6946).
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// Writes the header into the first eight bytes.
    ///
    /// Errors: `NoRoom` if `out` is shorter; nothing is written then.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out = out.first_chunk_mut::<FRAGMENT_LEN>().ok_or(NoRoom)?;
        let [a, b] = (self.offset & !7 | u16::from(self.more)).to_be_bytes();
        let [c, d, e, f] = self.identification.to_be_bytes();
        *out = [self.next_header.0, 0, a, b, c, d, e, f];
        Ok(())
    }

    fn parse(bytes: &[u8; FRAGMENT_LEN], at: usize, named_at: usize) -> Fragment {
        let &[next_header, _, a, b, c, d, e, f] = bytes;
        let word = u16::from_be_bytes([a, b]);
        Fragment {
            next_header: Protocol(next_header),
            offset: word & !7,
            more: word & 1 != 0,
            identification: u32::from_be_bytes([c, d, e, f]),
            at,
            named_at,
        }
    }
}

/// Reads past the extension headers of `packet`, which begins with the IPv6 header; `payload` is where `parse` found
/// what follows it.
///
/// Errors: an option or header that may not be ignored, or that is malformed.
//= https://www.rfc-editor.org/rfc/rfc8200#section-4.1
//# IPv6 nodes must accept and attempt to process extension headers in
//# any order and occurring any number of times in the same packet,
pub fn walk(packet: &[u8], first: Protocol, payload: Range<usize>) -> Result<Upper, Fault> {
    walk_from(packet, first, payload, 6)
}

/// As `walk`, from an extension header on: that of a first fragment's payload.
pub fn walk_from(
    packet: &[u8],
    first: Protocol,
    payload: Range<usize>,
    named_at: usize,
) -> Result<Upper, Fault> {
    let mut upper = Upper { protocol: first, range: payload, named_at, fragment: None, atomic: false };
    for _ in 0..=HEADERS_MAX {
        let bytes = packet.get(upper.range.clone()).unwrap_or(&[]);
        let at = upper.range.start;
        let len = match upper.protocol {
            //= https://www.rfc-editor.org/rfc/rfc8200#section-4.1
            //# except for the Hop-by-Hop Options header, which is restricted to
            //# appear immediately after an IPv6 header only.
            Protocol::IPV6_HOP_BY_HOP if at != HEADER_LEN => {
                return Err(Fault::told(DropReason::Ipv6NextHeader, 1, upper.named_at));
            }
            Protocol::IPV6_HOP_BY_HOP | Protocol::IPV6_OPTIONS => {
                let len = length_of(bytes)?;
                check_options(bytes.get(2..len).unwrap_or(&[]), at + 2)?;
                len
            }
            Protocol::IPV6_ROUTING => skip_routing(bytes, at)?,
            Protocol::IPV6_FRAGMENT => {
                let header = bytes.first_chunk().ok_or(Fault::silent(DropReason::Ipv6Extension))?;
                let fragment = Fragment::parse(header, at, upper.named_at);
                if !fragment.is_atomic() {
                    let range = at + FRAGMENT_LEN..upper.range.end;
                    return Ok(Upper { range, fragment: Some(fragment), ..upper });
                }
                //= https://www.rfc-editor.org/rfc/rfc6946#section-4
                //# A host that receives an IPv6 packet that includes a Fragment
                //# Header with the "Fragment Offset" equal to 0 and the "M" flag
                //# equal to 0 MUST process that packet in isolation
                upper.atomic = true;
                FRAGMENT_LEN
            }
            Protocol::IPV6_NO_NEXT => return Err(Fault::silent(DropReason::Ipv6NoNextHeader)),
            _ => return Ok(upper),
        };
        upper.protocol = Protocol(bytes.first().copied().unwrap_or(Protocol::IPV6_NO_NEXT.0));
        upper.named_at = at;
        upper.range.start = at + len;
    }
    Err(Fault::silent(DropReason::Ipv6Extension))
}

/// Length of an extension header by its own word, if all of it is there.
fn length_of(bytes: &[u8]) -> Result<usize, Fault> {
    let len = bytes.get(1).map_or(usize::MAX, |units| 8 + 8 * usize::from(*units));
    if len > bytes.len() { Err(Fault::silent(DropReason::Ipv6Extension)) } else { Ok(len) }
}

/// A Routing header whose way has come to its end is skipped; no other is followed.
fn skip_routing(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let len = length_of(bytes)?;
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.4
    //# If Segments Left is zero, the node must ignore the Routing header
    //# and proceed to process the next header in the packet
    //= https://www.rfc-editor.org/rfc/rfc5095#section-3
    //# An IPv6 node that receives a packet with a destination address
    //# assigned to it and that contains an RH0 extension header MUST NOT
    //# execute the algorithm specified in the latter part of Section 4.4 of
    match bytes.get(3) {
        Some(0) => Ok(len),
        _ => Err(Fault::told(DropReason::Ipv6Routing, 0, at + 2)),
    }
}

/// Reads past options. `at` is where they begin in the packet.
fn check_options(options: &[u8], at: usize) -> Result<(), Fault> {
    const PAD_1: u8 = 0;
    const PAD_N: u8 = 1;
    const ROUTER_ALERT: u8 = 5;
    let mut seen = 0;
    let mut rest = options;
    while let Some((&kind, tail)) = rest.split_first() {
        if kind == PAD_1 {
            rest = tail;
            continue;
        }
        let pointer = at + options.len() - rest.len();
        let len = usize::from(*tail.first().ok_or(Fault::silent(DropReason::Ipv6Option))?);
        rest = tail.get(1 + len..).ok_or(Fault::silent(DropReason::Ipv6Option))?;
        if kind == PAD_N || kind == ROUTER_ALERT {
            continue;
        }
        seen += 1;
        //= https://www.rfc-editor.org/rfc/rfc8200#section-4.2
        //# The Option Type identifiers are internally encoded such that their
        //# highest-order 2 bits specify the action that must be taken if the
        //# processing IPv6 node does not recognize the Option Type:
        let told = Fault::told(DropReason::Ipv6Option, 2, pointer);
        match kind >> 6 {
            0 if seen <= OPTIONS_MAX => {}
            0 | 1 => return Err(Fault::silent(DropReason::Ipv6Option)),
            2 => {
                let problem = told.problem.map(|problem| Problem { to_groups: true, ..problem });
                return Err(Fault { problem, ..told });
            }
            _ => return Err(told),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet whose payload begins with a header of protocol `first`.
    fn packet(payload: &[u8]) -> (Vec<u8>, Range<usize>) {
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend(payload);
        let range = HEADER_LEN..bytes.len();
        (bytes, range)
    }

    fn walk_of(first: Protocol, payload: &[u8]) -> Result<Upper, Fault> {
        let (bytes, range) = packet(payload);
        walk(&bytes, first, range)
    }

    const TCP: u8 = 6;

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.1
    //= type=test
    //# IPv6 nodes must accept and attempt to process extension headers in
    //# any order and occurring any number of times in the same packet,
    fn headers_are_skipped_in_any_order() {
        // Shows hop-by-hop, destination options, a spent routing header and an atomic fragment before TCP, in two orders.
        let hop = [60, 0, 5, 2, 0, 0, 1, 0];
        let options = [43, 1, 0x1e, 3, 1, 2, 3, 1, 7, 0, 0, 0, 0, 0, 0, 0];
        let routing = [44, 0, 0, 0, 0, 0, 0, 0];
        let atomic = [TCP, 9, 0, 6, 1, 2, 3, 4];
        let all = [&hop[..], &options, &routing, &atomic, &[1, 2, 3]].concat();
        let upper = walk_of(Protocol::IPV6_HOP_BY_HOP, &all).unwrap();
        assert_eq!((upper.protocol, upper.range, upper.fragment), (Protocol::TCP, 80..83, None));
        assert_eq!(upper.named_at, 72);
        let backwards = [&[60, 9, 0, 6, 1, 2, 3, 4][..], &[TCP, 0, 1, 4, 0, 0, 0, 0]].concat();
        assert_eq!(walk_of(Protocol::IPV6_FRAGMENT, &backwards).unwrap().range, 56..56);
    }

    #[test]
    fn a_piece_ends_the_walk() {
        // Shows the fields of a Fragment header, read and written to the byte.
        let bytes = [17, 0, 0x12, 0x39, 0xaa, 0xbb, 0xcc, 0xdd];
        let upper = walk_of(Protocol::IPV6_FRAGMENT, &[&bytes[..], &[0; 16]].concat()).unwrap();
        let fragment = upper.fragment.unwrap();
        assert_eq!((fragment.offset, fragment.more, fragment.next_header), (0x1238, true, Protocol::UDP));
        assert_eq!((fragment.identification, fragment.at, fragment.named_at), (0xaabb_ccdd, 40, 6));
        assert_eq!(upper.range, 48..64);
        let mut out = [0; 8];
        fragment.emit(&mut out).unwrap();
        assert_eq!(out, bytes);
        assert_eq!(fragment.emit(&mut [0; 7]), Err(NoRoom));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc8200#section-4.2
    //= type=test
    //# The Option Type identifiers are internally encoded such that their
    //# highest-order 2 bits specify the action that must be taken if the
    //# processing IPv6 node does not recognize the Option Type:
    fn unknown_options_say_themselves_what_to_do() {
        // Shows the four actions, where the pointer goes, and options cut short.
        let with = |kind: u8| walk_of(Protocol::IPV6_OPTIONS, &[TCP, 0, 0, kind, 2, 0, 0, 0]);
        assert!(with(0x3e).is_ok());
        assert_eq!(with(0x7e), Err(Fault { reason: DropReason::Ipv6Option, problem: None }));
        let problem = |to_groups| Some(Problem { code: 2, pointer: 43, to_groups });
        assert_eq!(with(0xbe).unwrap_err().problem, problem(true));
        assert_eq!(with(0xfe).unwrap_err().problem, problem(false));
        let long = walk_of(Protocol::IPV6_OPTIONS, &[TCP, 0, 0x1e, 5, 0, 0, 0, 0]);
        assert_eq!(long, Err(Fault { reason: DropReason::Ipv6Option, problem: None }));
    }

    #[test]
    fn bounds() {
        // Shows the most headers and options that are walked, and one more.
        let header = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let chain = |count: usize| -> Vec<u8> {
            (0..count).flat_map(|n| header(if n + 1 == count { TCP } else { 60 })).collect()
        };
        assert!(walk_of(Protocol::IPV6_OPTIONS, &chain(HEADERS_MAX)).is_ok());
        let fault = Err(Fault { reason: DropReason::Ipv6Extension, problem: None });
        assert_eq!(walk_of(Protocol::IPV6_OPTIONS, &chain(HEADERS_MAX + 1)), fault);
        let options = |count: usize| {
            let mut bytes = vec![TCP, 2];
            (0..count).for_each(|_| bytes.extend([0x1e, 0]));
            bytes.resize(24, 0);
            walk_of(Protocol::IPV6_OPTIONS, &bytes)
        };
        assert!(options(OPTIONS_MAX).is_ok());
        assert_eq!(options(OPTIONS_MAX + 1).unwrap_err().reason, DropReason::Ipv6Option);
    }

    #[test]
    fn what_is_refused_and_what_is_told() {
        // Shows a late hop-by-hop header, a routing header with a way to go, no next header, and headers cut short.
        let late = walk_of(Protocol::IPV6_OPTIONS, &[0, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(late, Err(Fault::told(DropReason::Ipv6NextHeader, 1, 40)));
        //= https://www.rfc-editor.org/rfc/rfc5095#section-3
        //= type=test
        //# An IPv6 node that receives a packet with a destination address
        //# assigned to it and that contains an RH0 extension header MUST NOT
        //# execute the algorithm specified in the latter part of Section 4.4 of
        let routed = walk_of(Protocol::IPV6_ROUTING, &[TCP, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(routed, Err(Fault::told(DropReason::Ipv6Routing, 0, 42)));
        let none = walk_of(Protocol::IPV6_NO_NEXT, &[1, 2, 3]);
        assert_eq!(none.unwrap_err().reason, DropReason::Ipv6NoNextHeader);
        for first in [Protocol::IPV6_OPTIONS, Protocol::IPV6_ROUTING, Protocol::IPV6_FRAGMENT] {
            for short in 0..8 {
                let cut = walk_of(first, &[TCP, 0, 1, 4, 0, 0, 0, 0][..short]);
                assert_eq!(cut.unwrap_err().reason, DropReason::Ipv6Extension, "{first:?} {short}");
            }
        }
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(next in 61u8..134, offset: u16, more: bool, identification: u32) {
            // Shows any Fragment header behind the IPv6 header; one that is whole by itself is stepped over.
            let (at, named_at) = (HEADER_LEN, 6);
            let header =
                Fragment { next_header: Protocol(next), offset: offset & !7, more, identification, at, named_at };
            let mut bytes = [0; FRAGMENT_LEN];
            header.emit(&mut bytes).unwrap();
            let (packet, range) = packet(&bytes);
            let upper = walk_from(&packet, Protocol::IPV6_FRAGMENT, range, named_at).unwrap();
            prop_assert_eq!(upper.fragment, (!header.is_atomic()).then_some(header));
            prop_assert_eq!(upper.atomic, header.is_atomic());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(0u8..70, 0..200), first in 0usize..5) {
            // Shows that what is found lies within the packet, whatever the headers say.
            let first = [0, 43, 44, 60, 6][first];
            if let Ok(upper) = walk_of(Protocol(first), &bytes) {
                prop_assert!(upper.range.start <= upper.range.end && upper.range.end == 40 + bytes.len());
            }
        }
    }
}
