//! What ICMP we answer and send, how often, and which flow an error that we receive is about.
//! Messages as bytes live in `wire::icmp`; whether a flow believes an error is decided there.

use super::route::{Class, class_of};
use crate::time::Instant;
use crate::wire::icmp::{Message, Quoted, Unreachable, parse_quoted};
use crate::wire::{DropReason, Protocol, ipv4};
use core::net::IpAddr;

/// Errors sent a second, on average (as many as Linux sends).
pub const ERRORS_PER_SECOND: u64 = 1000;
/// Errors sent at once after a pause.
pub const ERRORS_BURST: u64 = 50;
/// Resets sent a second, on average, to what belongs to no connection: refusing must not cost more than serving, nor make a
/// mirror of us.
pub const RESETS_PER_SECOND: u64 = 10_000;
/// Resets sent at once after a pause: what a peer with many connections to us is to hear when they are gone.
pub const RESETS_BURST: u64 = 2_000;
/// The longest error that we send. Units: bytes, with IP and ICMP headers.
pub const ERROR_LEN_MAX: usize = 576;
/// The smallest MTU that a router may name (RFC 791 section 3.2). Units: bytes.
pub const MTU_MIN: u16 = 68;

const NANOS: u64 = 1_000_000_000;

/// A token bucket on the lane's clock.
#[derive(Copy, Clone, Debug)]
pub struct TokenBucket {
    /// What one token costs. Units: nanoseconds.
    cost: u64,
    /// The most credit there may be. Units: nanoseconds.
    credit_max: u64,
    credit: u64,
    filled: Instant,
    /// What the next roll follows from; zero: nothing is rolled.
    dice: u64,
}

impl TokenBucket {
    /// A full bucket; no tokens at all with a rate or burst of zero.
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Self {
        match NANOS.checked_div(per_second) {
            Some(cost) if cost > 0 => {
                let credit_max = cost.saturating_mul(burst);
                Self { cost, credit_max, credit: credit_max, filled: Instant::ZERO, dice: 0 }
            }
            _ => Self { cost: 1, credit_max: 0, credit: 0, filled: Instant::ZERO, dice: 0 },
        }
    }

    /// The same bucket, of which nobody outside can tell how full it is: what is taken costs nothing, one token or two, one
    /// on average, as the dice have it. Who counts our answers to learn of those to others (as to forged sources in
    /// search of open ports) counts in the dark.
    #[must_use]
    pub const fn with_dice(self, seed: u64) -> Self {
        Self { dice: seed | 1, ..self }
    }

    /// Zero to two: SplitMix64, whose seed is secret.
    fn roll(&mut self) -> u64 {
        if self.dice == 0 {
            return 1;
        }
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ self.dice >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % 3
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.0.saturating_sub(self.filled.0);
        self.filled = self.filled.max(now);
        self.credit = self.credit.saturating_add(elapsed).min(self.credit_max);
        // What may be rolled must be there, or the last token would be cheaper than it is.
        let most = if self.dice == 0 { self.cost } else { self.cost.saturating_mul(2) };
        let is_there = self.credit >= most;
        if is_there {
            self.credit = self.credit.saturating_sub(self.cost.saturating_mul(self.roll()));
        }
        is_there
    }
}

/// A packet that we received and may have to answer.
#[derive(Copy, Clone, Debug)]
pub struct Offender<'a> {
    /// Its header.
    pub header: &'a ipv4::Header,
    /// Its bytes from the IP header on, as many as are at hand.
    pub bytes: &'a [u8],
    /// What its source is to us.
    pub source: Class,
    /// What its destination is to us.
    pub destination: Class,
    /// It came in a frame to a group or to all stations.
    pub link_broadcast: bool,
}

/// Decides what to answer. One for each lane.
#[derive(Copy, Clone, Debug)]
pub struct Responder {
    limit: TokenBucket,
    resets: TokenBucket,
    answer_group_echo: bool,
}

impl Default for Responder {
    fn default() -> Self {
        Self::new(TokenBucket::new(ERRORS_PER_SECOND, ERRORS_BURST), false)
    }
}

impl Responder {
    /// A responder that sends errors within `limit`, and answers echo requests to groups if told so.
    #[must_use]
    pub const fn new(limit: TokenBucket, answer_group_echo: bool) -> Self {
        Self { limit, resets: TokenBucket::new(RESETS_PER_SECOND, RESETS_BURST), answer_group_echo }
    }

    /// The usual responder, with a limit that nobody can reckon with who does not know `seed`.
    #[must_use]
    pub const fn hard_to_reckon_with(seed: u64) -> Self {
        let Self { limit, resets, answer_group_echo } =
            Self::new(TokenBucket::new(ERRORS_PER_SECOND, ERRORS_BURST), false);
        let resets = resets.with_dice(seed.rotate_left(32));
        Self { limit: limit.with_dice(seed), resets, answer_group_echo }
    }

    /// Takes the token of one reset to what belongs to no connection, if there is one.
    pub fn may_reset(&mut self, now: Instant) -> bool {
        self.resets.take(now)
    }

    /// Takes the token of one error, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.limit.take(now)
    }

    /// The header of the answer to an echo request; its data go back as they came, whatever their size.
    ///
    /// Send it from the request's destination, or where that was a group from the interface's address.
    ///
    /// Errors: `IcmpEchoRefused` to groups, `IcmpType` if `message` is no request.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2.6
    //# Every host MUST implement an ICMP Echo server function that
    //# receives Echo Requests and sends corresponding Echo Replies.
    pub fn echo(&self, message: Message, destination: Class) -> Result<Message, DropReason> {
        let Message::EchoRequest { identifier, sequence } = message else {
            return Err(DropReason::IcmpType);
        };
        match destination {
            Class::Local => Ok(Message::EchoReply { identifier, sequence }),
            //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2.6
            //# An ICMP Echo Request destined to an IP broadcast or IP
            //# multicast address MAY be silently discarded.
            Class::Broadcast | Class::Multicast if self.answer_group_echo => {
                Ok(Message::EchoReply { identifier, sequence })
            }
            _ => Err(DropReason::IcmpEchoRefused),
        }
    }

    /// Whether an error about this packet may be sent now; takes a token if so.
    ///
    /// Follow with the message's header and `quote`.
    ///
    /// Errors: `IcmpRateLimited`; else `silent`, the reason for which the packet was dropped in the first place.
    //= https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.8
    //# A router SHOULD also be able to limit the rate at which it sends other
    //# sorts of ICMP error messages
    pub fn may_report(
        &mut self,
        about: &Offender<'_>,
        silent: DropReason,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !deserves_error(about) {
            return Err(silent);
        }
        if self.limit.take(now) { Ok(()) } else { Err(DropReason::IcmpRateLimited) }
    }
}

/// The rules for all errors but the rate.
fn deserves_error(about: &Offender<'_>) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
    //# An ICMP error message MUST NOT be sent as the result of
    //# receiving:
    // The five bullets that follow there, in their order.
    let may_be_error = about.header.protocol == Protocol::ICMP && !is_query(about);
    let to_one_host = matches!(about.destination, Class::Local | Class::Unicast);
    let is_later_fragment = about.header.fragment_offset != 0;
    let from_one_host =
        about.source == Class::Unicast && class_of(IpAddr::V4(about.header.source)) == Class::Unicast;
    !may_be_error && to_one_host && !about.link_broadcast && !is_later_fragment && from_one_host
}

/// Whether it is a query of ICMP: what is cut short or not known might be an error.
fn is_query(about: &Offender<'_>) -> bool {
    const QUERIES: [u8; 8] = [0, 8, 9, 10, 13, 14, 17, 18];
    about.bytes.get(usize::from(about.header.header_len)).is_some_and(|kind| QUERIES.contains(kind))
}

/// What an error quotes of the packet that it is about: its front, so that the error has at most 576 bytes.
//= https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.3
//# the ICMP datagram SHOULD contain as much of the original datagram as
//# possible without the length of the ICMP datagram exceeding 576 bytes.
#[must_use]
pub fn quote<'a>(about: &Offender<'a>) -> &'a [u8] {
    let max = ERROR_LEN_MAX - ipv4::HEADER_LEN - crate::wire::icmp::HEADER_LEN;
    // Padding behind the packet is no part of it.
    let len = max.min(usize::from(about.header.total_len)).min(about.bytes.len());
    about.bytes.get(..len).unwrap_or(&[])
}

/// What an error says about a flow of ours.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ErrorKind {
    /// The destination cannot be reached; whether that is final is the transport's to say.
    Unreachable {
        /// Why.
        code: Unreachable,
    },
    /// A packet was too big for the path.
    FragmentationNeeded {
        /// What the path takes. Units: bytes, with IP header; at least 68.
        mtu: u16,
    },
    /// The time to live ran out, or the time for reassembly.
    TimeExceeded,
    /// A header field was wrong.
    ParameterProblem,
}

/// An error that we received, to be delivered to the flow that it names.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct IcmpError {
    /// The packet of ours that caused it: flow and sequence number.
    pub quoted: Quoted,
    /// What happened to it.
    pub kind: ErrorKind,
}

impl IcmpError {
    /// Reads a received error; `data` is what follows the header.
    ///
    /// Errors: `IcmpType` if it is no error; `IcmpQuote` if what it quotes is malformed.
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
    //# the IP protocol number MUST be extracted from the original header and
    //# used to select the appropriate transport protocol entity to handle the
    //# error.
    pub fn parse(message: Message, data: &[u8]) -> Result<Self, DropReason> {
        if !message.is_error() {
            return Err(DropReason::IcmpType);
        }
        let quoted = parse_quoted(data)?;
        let kind = match message {
            Message::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, next_hop_mtu } => {
                ErrorKind::FragmentationNeeded { mtu: path_mtu(next_hop_mtu, quoted.total_len) }
            }
            Message::DestinationUnreachable { code, .. } => ErrorKind::Unreachable { code },
            Message::TimeExceeded { .. } => ErrorKind::TimeExceeded,
            Message::ParameterProblem { .. } => ErrorKind::ParameterProblem,
            Message::EchoReply { .. } | Message::EchoRequest { .. } => return Err(DropReason::IcmpType),
        };
        Ok(Self { quoted, kind })
    }
}

/// The MTU that a router names, or the plateau below the packet's length if it names none that helps.
fn path_mtu(next_hop_mtu: u16, total_len: u16) -> u16 {
    /// RFC 1191 section 7.1.
    const PLATEAUS: [u16; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, MTU_MIN];
    if next_hop_mtu >= MTU_MIN {
        return next_hop_mtu;
    }
    //= https://www.rfc-editor.org/rfc/rfc1191#section-3
    //# A host MUST never reduce its estimate of the Path MTU below 68 octets.
    if next_hop_mtu > 0 {
        return MTU_MIN;
    }
    PLATEAUS.into_iter().find(|plateau| *plateau < total_len).unwrap_or(MTU_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const REQUEST: Message = Message::EchoRequest { identifier: 1, sequence: 2 };

    fn header(protocol: Protocol) -> ipv4::Header {
        let mut header =
            ipv4::Header::new(Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1), protocol, 64);
        header.total_len = 1000;
        header
    }

    fn offender<'a>(header: &'a ipv4::Header, bytes: &'a [u8]) -> Offender<'a> {
        Offender { header, bytes, source: Class::Unicast, destination: Class::Local, link_broadcast: false }
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2.6
    //= type=test
    //# Every host MUST implement an ICMP Echo server function that
    //# receives Echo Requests and sends corresponding Echo Replies.
    fn echo_requests() {
        // Shows the reply to one of ours, silence to groups unless configured, and no reply to a reply.
        let reply = Message::EchoReply { identifier: 1, sequence: 2 };
        let (quiet, chatty) = (Responder::default(), Responder::new(TokenBucket::new(1, 1), true));
        assert_eq!(quiet.echo(REQUEST, Class::Local), Ok(reply));
        for group in [Class::Broadcast, Class::Multicast] {
            assert_eq!(quiet.echo(REQUEST, group), Err(DropReason::IcmpEchoRefused));
            assert_eq!(chatty.echo(REQUEST, group), Ok(reply));
        }
        assert_eq!(chatty.echo(REQUEST, Class::Unicast), Err(DropReason::IcmpEchoRefused));
        assert_eq!(quiet.echo(reply, Class::Local), Err(DropReason::IcmpType));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
    //= type=test
    //# An ICMP error message MUST NOT be sent as the result of
    //# receiving:
    fn about_what_no_error_is_sent() {
        // Shows one datagram that deserves an error, and each rule that forbids one, alone.
        let good = header(Protocol::UDP);
        let bytes = [0u8; 600];
        let may = |about: Offender<'_>| {
            Responder::default().may_report(&about, DropReason::UdpNoListener, Instant::ZERO).is_ok()
        };
        assert!(may(offender(&good, &bytes)));
        for destination in [Class::Broadcast, Class::Multicast, Class::Martian] {
            assert!(!may(Offender { destination, ..offender(&good, &bytes) }));
        }
        for source in [Class::Broadcast, Class::Multicast, Class::Martian, Class::Local] {
            assert!(!may(Offender { source, ..offender(&good, &bytes) }));
        }
        assert!(!may(Offender { link_broadcast: true, ..offender(&good, &bytes) }));
        let (first, mut later) = (ipv4::Header { more_fragments: true, ..good }, good);
        later.fragment_offset = 8;
        assert!(may(offender(&first, &bytes)));
        assert!(!may(offender(&later, &bytes)));
        let icmp = header(Protocol::ICMP);
        for kind in 0..=255u8 {
            let mut bytes = bytes;
            bytes[20] = kind;
            let is_query = matches!(kind, 0 | 8 | 9 | 10 | 13 | 14 | 17 | 18);
            assert_eq!(may(offender(&icmp, &bytes)), is_query, "{kind}");
        }
        assert!(!may(offender(&icmp, &bytes[..20])));
    }

    #[test]
    fn errors_are_limited() {
        // Shows the burst, then one a millisecond, a refill no larger than the burst, and a clock that stands.
        let header = header(Protocol::UDP);
        let about = offender(&header, &[]);
        let mut responder = Responder::default();
        let mut sent = |now: u64, tries: usize| {
            (0..tries)
                .filter(|_| responder.may_report(&about, DropReason::UdpNoListener, Instant(now)).is_ok())
                .count()
        };
        assert_eq!(sent(0, 100), 50);
        assert_eq!(sent(999_999, 5), 0);
        assert_eq!(sent(1_000_000, 5), 1);
        assert_eq!(sent(10_000_000, 50), 9);
        assert_eq!(sent(3_600_000_000_000, 100), 50);
        assert_eq!(sent(0, 1), 0);
        let limited = responder.may_report(&about, DropReason::UdpNoListener, Instant::ZERO);
        assert_eq!(limited, Err(DropReason::IcmpRateLimited));
        assert!(!TokenBucket::new(0, 5).take(Instant(u64::MAX)));
        assert!(!TokenBucket::new(u64::MAX, 5).take(Instant(0)));
    }

    #[test]
    fn limits_are_not_to_be_reckoned_with() {
        // Shows that bursts differ in length, around what is meant, with each secret, and that the rate is kept on average.
        let bursts: Vec<usize> = (0..64)
            .map(|seed| {
                let mut bucket = TokenBucket::new(1000, 50).with_dice(seed * 7_919);
                (0..200).filter(|_| bucket.take(Instant::ZERO)).count()
            })
            .collect();
        let (least, most) = (bursts.iter().min().unwrap(), bursts.iter().max().unwrap());
        assert!(*least >= 30 && *most <= 80 && most - least >= 10, "{bursts:?}");
        let mut bucket = TokenBucket::new(1000, 50).with_dice(5);
        let sent = (0..100_000u64).filter(|n| bucket.take(Instant(n * 100_000))).count();
        assert!((9_500..10_600).contains(&sent), "{sent} in ten seconds");
    }

    #[test]
    fn what_is_quoted() {
        // Shows 548 bytes at most, never the padding behind the packet, never more than is at hand.
        let mut header = header(Protocol::UDP);
        let bytes = [7u8; 1000];
        assert_eq!(quote(&offender(&header, &bytes)).len(), 548);
        assert_eq!(quote(&offender(&header, &bytes[..100])).len(), 100);
        header.total_len = 29;
        assert_eq!(quote(&offender(&header, &bytes)).len(), 29);
    }

    #[test]
    fn received_errors() {
        // Shows each kind with its flow, the MTU of old routers, and what is no error.
        let mut quoted = [0; 28];
        let mut ours =
            ipv4::Header::new(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), Protocol::UDP, 64);
        ours.identification = 3;
        ours.emit(&mut quoted, 1480, true).unwrap();
        quoted[20..24].copy_from_slice(&[0, 5, 0, 6]);
        let kind = |message| IcmpError::parse(message, &quoted).map(|error| error.kind);
        let unreachable = |code, next_hop_mtu| Message::DestinationUnreachable { code, next_hop_mtu };
        let error = IcmpError::parse(unreachable(Unreachable::PORT, 0), &quoted).unwrap();
        assert_eq!((error.quoted.local_port, error.quoted.remote_port), (5, 6));
        assert_eq!(error.kind, ErrorKind::Unreachable { code: Unreachable::PORT });
        for (named, mtu) in [(1400, 1400), (0, 1492), (67, 68), (68, 68), (1, 68)] {
            let needed = unreachable(Unreachable::FRAGMENTATION_NEEDED, named);
            assert_eq!(kind(needed), Ok(ErrorKind::FragmentationNeeded { mtu }), "{named}");
        }
        assert_eq!(kind(Message::TimeExceeded { reassembly: false }), Ok(ErrorKind::TimeExceeded));
        let problem = Message::ParameterProblem { code: 0, pointer: 9 };
        assert_eq!(kind(problem), Ok(ErrorKind::ParameterProblem));
        assert_eq!(kind(REQUEST), Err(DropReason::IcmpType));
        let short = IcmpError::parse(unreachable(Unreachable::PORT, 0), &quoted[..27]);
        assert_eq!(short, Err(DropReason::IcmpQuote));
        assert_eq!((path_mtu(0, 68), path_mtu(0, 0), path_mtu(0, u16::MAX)), (68, 68, 32_000));
    }
}
