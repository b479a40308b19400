//! Every parser of headers. What it takes lies within the bytes, and written and read again it is the same.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use stack::wire::{
    Checksum, EtherType, Fill, Protocol, Tail, Verify, arp, discovery, ethernet, icmp, icmpv6, ipv4, ipv6,
    mld, tcp, udp,
};

/// Room for any header.
const ROOM: usize = 128;

/// Give `bytes` to the parser that their first byte names.
pub fn run(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let (a, b) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
    match which % 12 {
        0 => frame(bytes),
        1 => arp_packet(bytes),
        2 => drop(ipv4_packet(bytes, false)),
        3 => drop(ipv4_packet(bytes, true)),
        4 => drop(ipv6_packet(bytes)),
        5 => icmp_message(bytes, Verify::Trusted),
        6 => icmpv6_message(bytes, Verify::Trusted, &ipv6::Header::new(a, b, Protocol::ICMPV6, 255)),
        7 => segment(bytes, Verify::Trusted),
        8 => datagram(bytes, a.into(), b.into(), true),
        9 => front(bytes),
        10 => quoted(bytes),
        _ => extensions(bytes),
    }
}

fn of(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range.clone()).unwrap_or_else(|| panic!("{range:?} of {} bytes", bytes.len()))
}

/// A whole frame, layer by layer as a lane reads it.
fn frame(bytes: &[u8]) {
    let Ok((header, at)) = ethernet::parse(bytes) else { return };
    let mut out = [0; ROOM];
    header.emit(&mut out).expect("there is room");
    assert_eq!(header.header_len(), at);
    assert_eq!(ethernet::parse(&out[..at]), Ok((header, at)));
    let packet = of(bytes, at..bytes.len());
    match header.ether_type {
        EtherType::ARP => arp_packet(packet),
        EtherType::IPV4 => {
            let Some((header, range)) = ipv4_packet(packet, false) else { return };
            let payload = of(packet, range);
            let len = u16::try_from(payload.len()).expect("an IPv4 packet has at most 65,535 bytes");
            let (source, destination) = (IpAddr::V4(header.source), IpAddr::V4(header.destination));
            match header.protocol {
                _ if header.is_fragment() => {}
                Protocol::ICMP => icmp_message(payload, Verify::Sum(Checksum::ZERO)),
                Protocol::TCP => segment(payload, Verify::Sum(header.pseudo(len))),
                Protocol::UDP => datagram(payload, source, destination, false),
                _ => {}
            }
        }
        EtherType::IPV6 => {
            let Some((header, range)) = ipv6_packet(packet) else { return };
            let Ok(upper) = ipv6::walk(packet, header.next_header, range) else { return };
            let payload = of(packet, upper.range.clone());
            if upper.fragment.is_some() {
                return;
            }
            match upper.protocol {
                Protocol::ICMPV6 => {
                    let verify = icmpv6::verify(header.source, header.destination, payload.len());
                    icmpv6_message(payload, verify, &header);
                }
                Protocol::TCP => {
                    let len = u32::try_from(payload.len()).expect("a packet's length");
                    let sum = Checksum::pseudo_ipv6(header.source, header.destination, Protocol::TCP.0, len);
                    segment(payload, Verify::Sum(sum));
                }
                Protocol::UDP => datagram(payload, header.source.into(), header.destination.into(), false),
                _ => {}
            }
        }
        _ => {}
    }
}

fn arp_packet(bytes: &[u8]) {
    let Ok(packet) = arp::parse(bytes) else { return };
    let mut out = [0; ROOM];
    packet.emit(&mut out).expect("there is room");
    assert_eq!(arp::parse(&out[..packet.header_len()]), Ok(packet));
}

fn ipv4_packet(bytes: &[u8], checksum_good: bool) -> Option<(ipv4::Header, Range<usize>)> {
    let (header, range) = ipv4::parse(bytes, checksum_good).ok()?;
    let payload = of(bytes, range.clone());
    assert_eq!(range.start, usize::from(header.header_len));
    assert_eq!(range.end, usize::from(header.total_len));
    let mut out = [0; ROOM];
    header.emit(&mut out, payload.len(), true).expect("there is room");
    let (again, at) =
        ipv4::parse_front(&out[..20], 20 + payload.len(), false).expect("what was written can be read");
    let (header_len, total_len) = (20, header.total_len - u16::from(header.header_len) + 20);
    assert_eq!((again, at), (ipv4::Header { header_len, total_len, ..header }, 20..20 + payload.len()));
    Some((header, range))
}

fn ipv6_packet(bytes: &[u8]) -> Option<(ipv6::Header, Range<usize>)> {
    let (header, range) = ipv6::parse(bytes).ok()?;
    let payload = of(bytes, range.clone());
    let mut out = [0; ROOM];
    header.emit(&mut out, payload.len()).expect("there is room");
    let again = ipv6::parse_front(&out[..40], 40 + payload.len()).expect("what was written can be read");
    assert_eq!(again, (header, 40..40 + payload.len()));
    Some((header, range))
}

fn icmp_message(bytes: &[u8], verify: Verify) {
    let Ok((message, at)) = icmp::parse(bytes, verify) else { return };
    let data = of(bytes, at..bytes.len());
    let mut out = vec![0; message.header_len() + data.len()];
    out[message.header_len()..].copy_from_slice(data);
    message.emit(&mut out, Fill::Full(Checksum::ZERO.with(data))).expect("there is room");
    assert_eq!(icmp::parse(&out, Verify::Sum(Checksum::ZERO)), Ok((message, message.header_len())));
    if message.is_error() {
        let _ = icmp::parse_quoted(data);
    }
}

fn icmpv6_message(bytes: &[u8], verify: Verify, header: &ipv6::Header) {
    if let Ok(discovery::Message::RouterAdvertisement(advertisement)) = discovery::parse(header, bytes) {
        advertisement.prefixes().for_each(|prefix| assert!(prefix.len <= 128));
    }
    let _ = mld::parse_query(header, bytes);
    let Ok((message, at)) = icmpv6::parse(bytes, verify) else { return };
    let data = of(bytes, at..bytes.len());
    let mut out = vec![0; message.header_len() + data.len()];
    out[message.header_len()..].copy_from_slice(data);
    let len = u32::try_from(out.len()).expect("a message's length");
    let sum = Checksum::pseudo_ipv6(header.source, header.destination, Protocol::ICMPV6.0, len);
    message.emit(&mut out, Fill::Full(sum.with(data))).expect("there is room");
    let verify = icmpv6::verify(header.source, header.destination, out.len());
    assert_eq!(icmpv6::parse(&out, verify), Ok((message, message.header_len())));
    if message.is_error() {
        let _ = icmpv6::parse_quoted(data);
    }
}

fn segment(bytes: &[u8], verify: Verify) {
    let Ok((segment, at)) = tcp::parse(bytes, verify) else { return };
    let data = of(bytes, at..bytes.len());
    let mut out = vec![0; segment.header_len() + data.len()];
    out[segment.header_len()..].copy_from_slice(data);
    segment.emit(&mut out, Fill::Full(Checksum::ZERO.with(data))).expect("there is room");
    let (again, at) = tcp::parse(&out, Verify::Sum(Checksum::ZERO)).expect("what was written can be read");
    assert_eq!(at, segment.header_len());
    // A header with more blocks than fit beside timestamps in our order loses the last of them.
    let mut due = tcp::Segment { header_len: again.header_len, ..segment };
    let mut blocks = tcp::SackBlocks::NONE;
    for block in segment.options.sack.as_slice().iter().take(segment.options.sack_blocks_emitted()) {
        blocks.push(block.left, block.right);
    }
    due.options.sack = blocks;
    assert_eq!(again, due);
}

fn datagram(bytes: &[u8], source: IpAddr, destination: IpAddr, checksum_good: bool) {
    let none = Tail::default();
    let Ok((header, range)) = udp::parse(bytes, none, source, destination, checksum_good) else { return };
    let data = of(bytes, range);
    let mut out = vec![0; header.header_len() + data.len()];
    out[header.header_len()..].copy_from_slice(data);
    let len = u16::try_from(out.len()).expect("a datagram's length");
    let sum = Checksum::pseudo(source, destination, Protocol::UDP.0, len).expect("addresses of one family");
    header.emit(&mut out, data.len(), Fill::Full(sum.with(data))).expect("there is room");
    assert_eq!(udp::parse(&out, none, source, destination, false), Ok((header, 8..out.len())));
}

/// A packet of which only the front is at hand, as in a frame of several segments.
fn front(bytes: &[u8]) {
    let Some((available, bytes)) = bytes.split_first_chunk::<2>() else { return };
    let available = usize::from(u16::from_be_bytes(*available));
    if available < bytes.len() {
        return;
    }
    if let Ok((_, range)) = ipv4::parse_front(bytes, available, true) {
        assert!(range.start <= range.end && range.end <= available);
    }
    if let Ok((_, range)) = ipv6::parse_front(bytes, available) {
        assert!(range.start <= range.end && range.end <= available);
    }
    let tail = Tail { len: available - bytes.len(), ..Tail::default() };
    let (a, b) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into());
    if let Ok((_, range)) = udp::parse(bytes, tail, a, b, true) {
        assert!(range.start <= range.end && range.end <= available);
    }
}

/// What errors quote.
fn quoted(bytes: &[u8]) {
    let _ = icmp::parse_quoted(bytes);
    let _ = icmpv6::parse_quoted(bytes);
}

/// Extension headers, from any first one.
fn extensions(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    if bytes.len() < 40 {
        return;
    }
    match ipv6::walk(bytes, Protocol(first), 40..bytes.len()) {
        Ok(upper) => {
            assert!(40 <= upper.range.start && upper.range.start <= upper.range.end);
            assert!(upper.range.end <= bytes.len() && upper.named_at < bytes.len());
            if let Some(fragment) = upper.fragment {
                assert!(fragment.offset % 8 == 0 && !fragment.is_atomic() && fragment.at >= 40);
            }
        }
        Err(fault) => {
            let pointer = fault.problem.map_or(0, |problem| problem.pointer as usize);
            assert!(pointer <= bytes.len(), "{fault:?} of {} bytes", bytes.len());
        }
    }
}
