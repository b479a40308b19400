//! TAPs in network namespaces of the tests' own, and what stands in front of frames.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use super::header::{HEADER_BYTES, Header};
use super::*;
use crate::cut::{Whole, add_length};
use crate::frame::{Checksum, Checksums, Frame, Offload, Transport, Verdicts};
use crate::pool::Pool;
use crate::port::Queue;

const PARTIAL: Verdicts = Verdicts { ip: Checksum::Unknown, transport: Checksum::Partial };
const GOOD: Verdicts = Verdicts { ip: Checksum::Good, transport: Checksum::Good };
const UNKNOWN: Verdicts = Verdicts { ip: Checksum::Unknown, transport: Checksum::Unknown };

/// Moves this thread, and what it starts, into a network namespace of its own, if it may.
fn in_a_namespace(what: &str) -> bool {
    // SAFETY: changes this thread's namespace alone.
    let status = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if status != 0 {
        eprintln!("left out: {what}, which needs root");
    }
    status == 0
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("ip");
    assert!(status.success(), "ip {words}");
}

fn open_with(name: &str, options: &OpenOptions) -> Result<Opened, SetupError> {
    let device: Device = format!("tap:{name}").parse().expect("a name");
    open(&device, options, |queues, lanes| Ok(LanePools::heap(options, queues, lanes)))
}

fn options() -> OpenOptions {
    OpenOptions { receive_frames: 64, control_frames: 64, ..OpenOptions::default() }
}

/// A TAP `name` whose kernel's end is `10.9.NET.1`, and that has told it where `10.9.NET.2` is.
fn tap(name: &str, net: u8, options: &OpenOptions) -> Opened {
    let port = open_with(name, options).expect("a TAP");
    ip(&format!("address add 10.9.{net}.1/24 dev {name}"));
    let mac = port.mac.map(|byte| format!("{byte:02x}")).join(":");
    ip(&format!("neigh add 10.9.{net}.2 lladdr {mac} dev {name} nud permanent"));
    port
}

fn kernel_mac(name: &str) -> [u8; 6] {
    let output = Command::new("ip").args(["-o", "link", "show", name]).output().expect("ip");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mac = text.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    let mut bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte"));
    [(); 6].map(|()| bytes.next().expect("six bytes"))
}

fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

/// The sum of the pseudo-header of `packet`, of IPv4 and behind Ethernet's header, for `length` bytes.
fn pseudo(packet: &[u8], length: usize) -> u16 {
    let [high, low] = u16::try_from(length).expect("short").to_be_bytes();
    sum(&[&packet[26..34], &[0, packet[23], high, low]].concat())
}

/// Ethernet's and IPv4's header of a packet with `behind` bytes, and those.
fn packet(to: [u8; 6], (source, destination): ([u8; 4], [u8; 4]), protocol: u8, behind: &[u8]) -> Vec<u8> {
    let mut bytes = [&to[..], &[2, 0, 0, 0, 0, 7, 8, 0, 0x45, 0]].concat();
    bytes.extend(u16::try_from(20 + behind.len()).expect("short").to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    bytes.extend([source, destination].concat());
    let header = !sum(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&header.to_be_bytes());
    bytes.extend(behind);
    bytes
}

/// A datagram whose checksum is left to the port, or with `offload` false one that says it has none.
fn datagram(to: [u8; 6], net: u8, port: u16, text: &[u8], offload: bool) -> Vec<u8> {
    let length = u16::try_from(8 + text.len()).expect("short");
    let mut udp = [port.to_be_bytes(), port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    udp.extend(text);
    let mut bytes = packet(to, ([10, 9, net, 2], [10, 9, net, 1]), 17, &udp);
    if offload {
        let partial = pseudo(&bytes, udp.len());
        bytes[40..42].copy_from_slice(&partial.to_be_bytes());
    }
    bytes
}

fn left_to_the_port(transport: Transport, segment_bytes: u16) -> Offload {
    let checksums = Checksums { ipv4: false, transport: Some(transport) };
    let transport_bytes = if transport == Transport::Tcp { 20 } else { 8 };
    Offload {
        checksums,
        link_bytes: 14,
        network_bytes: 20,
        transport_bytes,
        segment_bytes,
        ..Offload::default()
    }
}

fn frame(pool: &Pool, bytes: &[u8]) -> Frame {
    let mut frame = pool.take().expect("a frame");
    frame.append(bytes.len()).expect("room").copy_from_slice(bytes);
    frame
}

fn bytes(frame: &Frame) -> Vec<u8> {
    frame.segments().flatten().copied().collect()
}

/// The next packet of this protocol over IPv4: the kernel says other things too.
fn next(queue: &mut dyn Queue, protocol: u8) -> Frame {
    let (start, mut frames) = (Instant::now(), Vec::new());
    loop {
        queue.receive(0, &mut frames, 1);
        let is_it = |frame: &Frame| frame.bytes()[12..14] == [8, 0] && frame.bytes()[23] == protocol;
        if let Some(frame) = frames.pop().filter(is_it) {
            return frame;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "nothing arrived");
    }
}

#[test]
fn headers_say_what_is_left_to_the_kernel() {
    // Shows the bytes for a plain frame, for one with a checksum to fill in, and for those that are to be cut.
    let words = |flags: u8, kind: u8, rest: [u16; 4]| {
        [&[flags, kind][..], &rest.map(u16::to_ne_bytes).concat()].concat()
    };
    assert_eq!(Header::of(&Offload::default()).bytes(), [0; HEADER_BYTES]);
    let udp = Header::of(&left_to_the_port(Transport::Udp, 0));
    assert_eq!(udp.bytes()[..], words(1, 0, [0, 0, 34, 6]));
    let tcp = left_to_the_port(Transport::Tcp, 1448);
    assert_eq!(Header::of(&tcp).bytes()[..], words(1, 1, [54, 1448, 34, 16]));
    let ipv6 = Offload { ipv6: true, link_bytes: 18, network_bytes: 40, ..tcp };
    assert_eq!(Header::of(&ipv6).bytes()[..], words(1, 4, [78, 1448, 58, 16]));
    assert_eq!(Header::read(&udp.bytes()), udp);
}

#[test]
fn lengths_are_added_to_the_sum() {
    // Shows the carry brought round, and that headers which end before the field are left alone.
    let offload = left_to_the_port(Transport::Tcp, 1000);
    let mut headers = [0xff; 54];
    assert!(add_length(&mut headers, &offload, 34 + 3));
    assert_eq!(headers[48..54], [0xff, 0xff, 0, 3, 0xff, 0xff]);
    assert!(!add_length(&mut headers[..51], &offload, 100));
    assert!(!add_length(&mut headers, &offload, 33));
}

#[test]
fn verdicts_are_of_what_the_kernel_says() {
    // Shows which frames need no look at their checksums, and that what is odd is left to the stack.
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let pool = Pool::heap(1, 2176);
    let text = datagram([2; 6], 0, 9, b"hello", true);
    let judged = |change: Change<'_>, header: [u8; HEADER_BYTES]| {
        let mut text = text.clone();
        change(&mut text);
        let mut frame = frame(&pool, &text);
        Header::read(&header).judge(&mut frame);
        frame.verdicts()
    };
    let same = |_: &mut Vec<u8>| {};
    let partial = Header::of(&left_to_the_port(Transport::Udp, 0)).bytes();
    let mut valid = [0; HEADER_BYTES];
    assert_eq!(judged(&same, valid), UNKNOWN);
    valid[0] = 2;
    assert_eq!((judged(&same, valid), judged(&same, partial)), (GOOD, GOOD));
    let elsewhere = Header::of(&left_to_the_port(Transport::Tcp, 0)).bytes();
    assert_eq!(judged(&same, elsewhere), PARTIAL);
    // A wrong header, options, a fragment, another protocol, another EtherType, a frame that ends early.
    let odd: [Change<'_>; 6] = [
        &|text| text[25] ^= 1,
        &|text| text[14] = 0x46,
        &|text| text[20] = 0x20,
        &|text| text[23] = 132,
        &|text| text[13] = 6,
        &|text| text.truncate(33),
    ];
    for change in odd {
        assert_eq!((judged(change, valid), judged(change, partial)), (UNKNOWN, PARTIAL));
    }
}

#[test]
fn datagrams_cross_both_ways() {
    // Shows a datagram in two segments whose checksum is left to the kernel, its answer with the kernel's, what is counted,
    // that a lane which sleeps is woken, and that all goes with the last part of the port.
    if !in_a_namespace("a TAP both ways") {
        return;
    }
    let mut port = tap("clu0", 1, &options());
    assert_eq!((port.name.as_str(), port.mtu, port.control.link().up), ("tap:clu0", 1500, true));
    assert_eq!(
        open_with("clu0", &options()).err(),
        Some(SetupError::InterfaceTaken { name: "clu0".to_owned() })
    );
    let socket = UdpSocket::bind("10.9.1.1:9").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("patience");
    let parts = &mut port.queues[0];
    let text = datagram(kernel_mac("clu0"), 1, 9, b"hello", true);
    let mut first = frame(&parts.pools.control, &text[..42]);
    first.chain(frame(&parts.pools.control, &text[42..]));
    first.set_offload(left_to_the_port(Transport::Udp, 0));
    assert_eq!(parts.queue.transmit(0, &mut vec![first]), 1);
    let mut buffer = [0; 100];
    let (length, from) = socket.recv_from(&mut buffer).expect("the datagram");
    assert_eq!((&buffer[..length], from), (&b"hello"[..], "10.9.1.2:9".parse().expect("an address")));

    while parts.queue.receive(0, &mut Vec::new(), 32) > 0 {}
    socket.send_to(b"and back", from).expect("sent");
    let began = Instant::now();
    let file = parts.queue.wakes().expect("a file");
    crate::Bell::default().sleep_beside(&[file], Duration::from_secs(60));
    assert!(began.elapsed() < Duration::from_secs(30), "nobody woke");
    let answer = next(&mut *parts.queue, 17);
    assert_eq!((&answer.bytes()[42..], answer.verdicts()), (&b"and back"[..], GOOD));
    let partial = pseudo(answer.bytes(), 8 + 8);
    assert_eq!(answer.bytes()[40..42], partial.to_be_bytes());
    drop(answer);
    let counted = port.control.statistics();
    assert_eq!((counted.sent_frames, counted.sent_bytes, counted.transmit_errors), (1, text.len() as u64, 0));
    assert!(counted.received_frames > 0 && counted.received_bytes >= 50);

    let Opened { queues, control, .. } = port;
    drop(queues);
    assert!(!control.is_gone() && kernel::exists("clu0"));
    drop(control);
    // A command that another test begins has its files for a moment.
    let began = Instant::now();
    while kernel::exists("clu0") {
        assert!(began.elapsed() < Duration::from_secs(5), "it stays");
    }
}

#[test]
fn the_kernel_cuts_what_a_network_does_not_take_whole() {
    // Shows three segments' payload that go as one frame, in three pieces, and that the kernel makes of it, on its way to
    // another TAP, three segments whose headers and sums are right.
    if !in_a_namespace("a TAP whose frames are cut") {
        return;
    }
    let (mut here, mut there) = (tap("clu1", 1, &options()), tap("clu2", 2, &options()));
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("this namespace's");
    let payload: Vec<u8> = (0..2500_u32).map(|at| at.to_le_bytes()[0]).collect();
    let mut tcp = vec![0, 7, 0, 9, 0, 0, 1, 0, 0, 0, 0, 5, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    tcp.extend(&payload);
    let mut text = packet(kernel_mac("clu1"), ([10, 9, 1, 2], [10, 9, 2, 2]), 6, &tcp);
    let partial = pseudo(&text, 0);
    text[50..52].copy_from_slice(&partial.to_be_bytes());
    let parts = &mut here.queues[0];
    let mut sent = frame(&parts.pools.control, &text[..100]);
    sent.chain(frame(&parts.pools.control, &text[100..1100]));
    sent.chain(frame(&parts.pools.control, &text[1100..]));
    sent.set_offload(left_to_the_port(Transport::Tcp, 1000));
    assert_eq!(parts.queue.transmit(0, &mut vec![sent]), 1);
    let mut arrived: Vec<u8> = Vec::new();
    for part in payload.chunks(1000) {
        let frame = next(&mut *there.queues[0].queue, 6);
        let bytes = bytes(&frame);
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        assert_eq!((length, sum(&bytes[14..34]), frame.verdicts()), (20 + 20 + part.len(), 0xffff, GOOD));
        let at = 0x100 + u32::try_from(arrived.len()).expect("short");
        assert_eq!(bytes[38..42], at.to_be_bytes());
        assert_eq!(bytes[50..52], pseudo(&bytes, 20 + part.len()).to_be_bytes());
        arrived.extend(&bytes[54..14 + length]);
    }
    assert_eq!(arrived, payload);
}

/// What each segment of a frame says, each looked at: IP's lengths and sums, and the pseudo-header's sum in its place.
/// Returns sequence number, flags and payload.
fn said(frame: &Frame) -> (u32, u8, Vec<u8>) {
    let bytes = bytes(frame);
    let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    assert_eq!((14 + length, sum(&bytes[14..34]), frame.verdicts()), (bytes.len(), 0xffff, GOOD));
    assert_eq!(bytes[50..52], pseudo(&bytes, length - 20).to_be_bytes());
    let sequence = u32::from_be_bytes([bytes[38], bytes[39], bytes[40], bytes[41]]);
    let payload = 34 + usize::from(bytes[46] >> 4) * 4;
    (sequence, bytes[47], bytes[payload..].to_vec())
}

#[test]
fn what_comes_whole_is_cut() {
    // Shows sequence numbers, flags, identifications and lengths of segments, with frames that have room for each or not,
    // wherever the front ends; the same of IPv6 with a tag; a pool that runs dry; and that what cannot be is refused.
    let payload: Vec<u8> = (0..5000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let mut tcp = vec![0, 7, 0, 9, 0xff, 0xff, 0xff, 0, 0, 0, 0, 5, 0x60, 0x99, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0];
    let headers = 34 + tcp.len();
    tcp.extend(&payload);
    let mut text = packet([2; 6], ([10, 9, 1, 2], [10, 9, 2, 2]), 6, &tcp);
    let partial = pseudo(&text, tcp.len());
    text[50..52].copy_from_slice(&partial.to_be_bytes());
    for (front, room) in
        [(2048, 2176), (headers, 2176), (headers + 1000, 2176), (headers + 1, 500), (text.len(), 2176)]
    {
        let (pool, mut frames) = (Pool::heap(64, room), Vec::new());
        let (here, behind) = text.split_at(front);
        assert!(Whole::new([here, behind], 34, 1000).expect("a whole").cut(&pool, &mut frames));
        assert_eq!(frames.len(), 5);
        for (number, (frame, part)) in (0_u8..).zip(frames.iter().zip(payload.chunks(1000))) {
            let flags = [0x90, 0x10, 0x10, 0x10, 0x19][usize::from(number)];
            let sequence = 0xffff_ff00_u32.wrapping_add(1000 * u32::from(number));
            assert_eq!(said(frame), (sequence, flags, part.to_vec()));
            assert_eq!(bytes(frame)[18..20], [0, number]);
        }
    }
    let (pool, mut frames) = (Pool::heap(3, 2176), Vec::new());
    let whole = |pieces, transport, each| Whole::new(pieces, transport, each);
    assert!(!whole([&text, &[]], 34, 1000).expect("a whole").cut(&pool, &mut frames));
    assert_eq!(frames.len(), 3);

    let mut ipv6 =
        [&[2; 12][..], &[0x81, 0, 0, 5, 0x86, 0xdd, 0x60, 0, 0, 0, 0xff, 0xff, 6, 64], &[1; 32]].concat();
    ipv6.extend(&tcp);
    frames.clear();
    assert!(whole([&ipv6, &[]], 58, 4000).expect("a whole").cut(&Pool::heap(9, 9000), &mut frames));
    let lengths: Vec<_> = frames.iter().map(|frame| bytes(frame)[22..24].to_vec()).collect();
    assert_eq!(lengths, [4024_u16, 1024].map(|length| length.to_be_bytes().to_vec()));

    let refused: [([&[u8]; 2], usize, usize); 7] = [
        ([&text, &[]], 34, 0),
        ([&text, &[]], 33, 1000),
        ([&text[..headers], &[]], 34, 1000),
        ([&text[..headers - 1], &text], 34, 1000),
        ([&text, &[0; 61_000]], 34, 1000),
        ([&text[..40], &[]], 34, 1000),
        ([&[], &[]], 34, 1000),
    ];
    assert!(refused.into_iter().all(|(pieces, transport, each)| whole(pieces, transport, each).is_none()));
    // Another EtherType, options or a version that IP does not have, another protocol.
    let other = |at: usize, byte: u8| [&text[..at], &[byte], &text[at + 1..]].concat();
    for text in [other(13, 6), other(14, 0x46), other(14, 0x55), other(23, 17)] {
        assert!(Whole::new([&text, &[]], 34, 1000).is_none());
    }
    for (at, byte) in [(18, 0x20), (24, 17)] {
        let other = [&ipv6[..at], &[byte], &ipv6[at + 1..]].concat();
        assert!(Whole::new([&other, &[]], 58, 4000).is_none());
    }
    // As long as IP's length can say, and a byte longer.
    for (text, transport, most) in [(&text, 34, 14 + 65_535), (&ipv6, 58, 18 + 40 + 65_535)] {
        for (length, is_taken) in [(most, true), (most + 1, false)] {
            let behind = vec![0; length - text.len()];
            assert_eq!(Whole::new([text, &behind], transport, 65_535).is_some(), is_taken);
        }
    }
}

#[test]
fn a_burst_ends_though_nothing_comes_of_it() {
    // Shows twenty frames that cannot be cut: a burst reads as many of them as it may have frames, and the rest wait; a good
    // one behind them arrives, and goes back.
    let mut tap = by_hand::TapEnd::new(Pool::heap(8, 2176), 1518);
    let bad = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    assert!((0..20).all(|_| tap.put(&bad)) && tap.put(&[&[0; HEADER_BYTES][..], &[7; 60]].concat()));
    let (mut frames, mut bursts) = (Vec::new(), 0);
    while frames.is_empty() {
        assert_eq!(tap.statistics().receive_errors, bursts);
        tap.queue().receive(0, &mut frames, 1);
        bursts += 1;
    }
    assert_eq!((bursts, bytes(&frames[0]), tap.cut_frames()), (21, vec![7; 60], 0));
    assert_eq!((tap.queue().transmit(0, &mut frames), tap.available()), (1, 8));
    assert_eq!(tap.take().map(|message| message[HEADER_BYTES..].to_vec()), Some(vec![7; 60]));
}

#[test]
fn the_kernels_stream_comes_in_segments() {
    // Shows a connection of the kernel's that sends what its first window takes: in one piece or a few, and here as segments
    // of the size that was agreed on, one behind the other.
    if !in_a_namespace("a TAP on which the kernel sends") {
        return;
    }
    let mut port = tap("clu7", 1, &options());
    let client = std::thread::spawn(|| {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect("10.9.1.2:9").expect("connected");
        let text: Vec<u8> = (0..10_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        stream.write_all(&text).expect("sent");
        (stream, text)
    });
    let parts = &mut port.queues[0];
    let syn = next(&mut *parts.queue, 6);
    let (first, flags, _) = said(&syn);
    assert_eq!(flags & 0x3f, 2);
    // Segments of 1,000 bytes, and no other option.
    let mut answer = [&[0, 9][..], &syn.bytes()[34..36], &[0, 0, 1, 0]].concat();
    answer.extend(first.wrapping_add(1).to_be_bytes());
    answer.extend([0x60, 0x12, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 3, 232]);
    let mut text = packet(kernel_mac("clu7"), ([10, 9, 1, 2], [10, 9, 1, 1]), 6, &answer);
    let partial = pseudo(&text, answer.len());
    text[50..52].copy_from_slice(&partial.to_be_bytes());
    let mut frame = frame(&parts.pools.control, &text);
    frame.set_offload(Offload { transport_bytes: 24, ..left_to_the_port(Transport::Tcp, 0) });
    assert_eq!(parts.queue.transmit(0, &mut vec![frame]), 1);
    let (mut arrived, mut longest) = (Vec::new(), 0);
    while arrived.len() < 10_000 {
        let (sequence, _, payload) = said(&next(&mut *parts.queue, 6));
        let at = sequence.wrapping_sub(first).wrapping_sub(1) as usize;
        if at == arrived.len() {
            longest = longest.max(payload.len());
            arrived.extend(payload);
        }
    }
    let (_stream, text) = client.join().expect("the client");
    assert_eq!((arrived == text, longest), (true, 1000));
    let cut = port.control.extended_statistics();
    assert!(cut.iter().any(|(name, count)| name == "rx_cut_frames" && *count > 0), "{cut:?}");
}

#[test]
fn long_frames_arrive_whole() {
    // Shows a datagram that needs several frames of the pool, that what finds none waits in the kernel, and what is refused on
    // the way out.
    if !in_a_namespace("a TAP with long frames") {
        return;
    }
    let mut port = tap("clu3", 1, &OpenOptions { mtu: Some(9000), ..options() });
    let socket = UdpSocket::bind("10.9.1.1:9").expect("a socket");
    let text: Vec<u8> = (0..8000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let parts = &mut port.queues[0];
    for _ in 0..20 {
        socket.send_to(&text, "10.9.1.2:9").expect("sent");
        let frame = next(&mut *parts.queue, 17);
        assert_eq!((&bytes(&frame)[42..], frame.segment_count(), frame.verdicts()), (&text[..], 4, GOOD));
    }
    let mut held = Vec::new();
    (0..100).for_each(|_| assert_eq!(socket.send_to(b"short", "10.9.1.2:9").ok(), Some(5)));
    while parts.queue.receive(0, &mut held, 32) > 0 {}
    let (first, missed) = (held.len(), port.control.statistics().no_frames);
    held.clear();
    let mut later = 0;
    while parts.queue.receive(0, &mut held, 8) > 0 {
        later += held.drain(..).count();
    }
    assert!(first + later >= 100, "{later} of those that waited");
    assert!(first == 64 && missed > 0, "{first} frames of 64, and {missed} times none");
    let counted = port.control.statistics();
    let mut long = frame(&parts.pools.control, &[0; 2000]);
    (0..4).for_each(|_| long.chain(frame(&parts.pools.control, &[0; 2000])));
    assert_eq!(parts.queue.transmit(0, &mut vec![long]), 1);
    assert_eq!(port.control.statistics().transmit_errors, counted.transmit_errors + 1);
}

#[test]
fn a_link_that_is_down_loses_what_is_sent() {
    // Shows a kernel's end that is taken down, brought up again, and removed, each seen by the port.
    if !in_a_namespace("a TAP that goes down") {
        return;
    }
    let mut port = tap("clu4", 1, &options());
    let text = datagram(kernel_mac("clu4"), 1, 9, b"hello", false);
    let parts = &mut port.queues[0];
    let mut send = |control: &dyn Control| {
        assert_eq!(parts.queue.transmit(0, &mut vec![frame(&parts.pools.control, &text)]), 1);
        let counted = control.statistics();
        (counted.sent_frames, counted.transmit_errors)
    };
    ip("link set clu4 down");
    assert_eq!((port.control.link().up, send(&*port.control)), (false, (0, 1)));
    ip("link set clu4 up");
    assert_eq!((port.control.link().up, send(&*port.control)), (true, (1, 1)));
    ip("link del clu4");
    assert_eq!((port.control.is_gone(), send(&*port.control)), (true, (1, 2)));
    assert_eq!(parts.queue.receive(0, &mut Vec::new(), 32), 0);
    // There is nothing to wait for any more, and no loop without a sleep.
    let (began, file) = (Instant::now(), parts.queue.wakes().expect("a file"));
    crate::Bell::default().sleep_beside(&[file], Duration::from_millis(20));
    assert!(began.elapsed() >= Duration::from_millis(20));
}

#[test]
fn several_queues_share_an_interface() {
    // Shows two queue pairs of three lanes: each sends, and what the kernel sends comes on one of them. And what cannot be had.
    if !in_a_namespace("a TAP with two queues") {
        return;
    }
    let two = OpenOptions { queues: 2, lanes: 3, ..options() };
    let mut port = tap("clu5", 1, &two);
    assert_eq!((port.queues.len(), port.queueless.len()), (2, 1));
    let socket = UdpSocket::bind("10.9.1.1:9").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("patience");
    let mac = kernel_mac("clu5");
    for (number, parts) in port.queues.iter_mut().enumerate() {
        let text = datagram(mac, 1, 9, &[number.to_le_bytes()[0]], false);
        assert_eq!(parts.queue.transmit(0, &mut vec![frame(&parts.pools.control, &text)]), 1);
        let mut buffer = [0xff; 9];
        let (length, from) = socket.recv_from(&mut buffer).expect("the datagram");
        assert_eq!((length, usize::from(buffer[0])), (1, number));
        // What a flow sent on last tells the kernel where its answers belong.
        socket.send_to(b"back", from).expect("sent");
        assert_eq!(next(&mut *parts.queue, 17).bytes()[42..], *b"back");
    }
    let refused = |options: OpenOptions| open_with("clu6", &options).err().expect("refused").to_string();
    assert!(refused(OpenOptions { queues: 65, ..options() }).contains("has 64 queues and 65 were asked for"));
    assert!(refused(OpenOptions { mtu: Some(9217), ..options() }).contains("between 68 and 9216"));
    assert!(refused(OpenOptions { receive_frames: 63, ..options() }).contains("at least 64"));
    let many = open_with("clu6", &OpenOptions { queues: 65, fewer_queues: true, ..options() }).expect("64");
    assert_eq!(many.queues.len(), 64);
}
