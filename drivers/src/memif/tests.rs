//! Both ends of a link in one process, and ends that do not keep to the protocol. DPDK's driver as the other end is
//! `tests/dpdk_memif.rs`'s.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::channel::{Channel, event, wait};
use super::message::{Message, RingPlace};
use super::region::Region;
use super::ring::{Incoming, Layout, Outgoing, lay_out};
use super::*;
use crate::frame::{Checksums, Frame, Offload, Transport};

/// A socket's folder, which goes with it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("corelane-memif-unit-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }

    fn device(&self, role: &str, id: u32) -> Device {
        format!("memif:{role},{},{id}", self.socket().display()).parse().expect("a device")
    }

    fn open(&self, role: &str, id: u32) -> Result<Opened, SetupError> {
        let options = OpenOptions { receive_frames: 64, control_frames: 64, ..OpenOptions::default() };
        self.open_with(role, id, &options)
    }

    fn open_with(&self, role: &str, id: u32, options: &OpenOptions) -> Result<Opened, SetupError> {
        open(&self.device(role, id), options, |queues, lanes| Ok(LanePools::heap(options, queues, lanes)))
    }

    fn end(&self, role: &str) -> Opened {
        self.open(role, 0).expect("an end")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Looks until it is so: what is waited for comes of another thread.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::yield_now();
    }
}

fn is_up(port: &Opened) -> bool {
    port.control.link().up
}

/// Both ends of a link that is up, and the server's buffers laid out.
fn pair(folder: &Folder) -> (Opened, Opened) {
    let (mut server, mut client) = (folder.end("server"), folder.end("client"));
    until("the link comes up", || is_up(&server) && is_up(&client));
    for port in [&mut client, &mut server] {
        assert_eq!(port.queues[0].queue.receive(0, &mut Vec::new(), 32), 0);
    }
    (server, client)
}

fn frame(port: &Opened, bytes: &[u8]) -> Frame {
    let mut frame = port.queues[0].pools.control.take().expect("a frame");
    frame.append(bytes.len()).expect("room").copy_from_slice(bytes);
    frame
}

fn transmit(port: &mut Opened, frames: impl IntoIterator<Item = Frame>) -> usize {
    port.queues[0].queue.transmit(0, &mut frames.into_iter().collect())
}

fn receive(port: &mut Opened) -> Vec<Frame> {
    let mut frames = Vec::new();
    port.queues[0].queue.receive(0, &mut frames, 32);
    frames
}

fn bytes(frame: &Frame) -> Vec<u8> {
    frame.segments().flatten().copied().collect()
}

/// An Ethernet frame with a packet of `length` bytes of payload behind TCP's or UDP's header, all but the transport's
/// checksum filled in: there the pseudo-header's sum is.
fn packet(ipv6: bool, transport: Transport, length: usize) -> (Vec<u8>, Offload) {
    let header = if transport == Transport::Tcp { 32 } else { 8 };
    let protocol = if transport == Transport::Tcp { 6 } else { 17 };
    let carried = u16::try_from(header + length).expect("it fits");
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let mut sum = sums::Sum::default();
    if ipv6 {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend(carried.to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes.extend([0xfd; 15].iter().chain(&[1]).chain(&[0xfd; 15]).chain(&[2]));
        sum.add(&bytes[22..54]);
    } else {
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend((carried + 20).to_be_bytes());
        bytes.extend([1, 2, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let mut header = sums::Sum::default();
        header.add(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&(!header.fold()).to_ne_bytes());
        sum.add(&bytes[26..34]);
    }
    sum.add_word(u16::from(protocol));
    sum.add_word(carried);
    let start = bytes.len();
    bytes.extend((0..header).map(|at| u8::try_from(at * 7 % 251).expect("below 251")));
    let field = start + sums::checksum_at(transport == Transport::Udp);
    bytes[field..field + 2].copy_from_slice(&sum.fold().to_ne_bytes());
    if transport == Transport::Udp {
        bytes[start + 4..start + 6].copy_from_slice(&carried.to_be_bytes());
    }
    bytes.extend((0..length).map(|at| u8::try_from(at * 31 % 253).expect("below 253")));
    let offload = Offload {
        ipv6,
        checksums: Checksums { ipv4: false, transport: Some(transport) },
        link_bytes: 14,
        network_bytes: if ipv6 { 40 } else { 20 },
        transport_bytes: u8::try_from(header).expect("it fits"),
        segment_bytes: 0,
    };
    (bytes, offload)
}

/// RFC 1071's sum of a whole packet, the slow way: of the pseudo-header and what the transport has.
fn is_right(ipv6: bool, bytes: &[u8]) -> bool {
    let (addresses, start) = if ipv6 { (22..54, 54) } else { (26..34, 34) };
    let protocol = bytes[if ipv6 { 20 } else { 23 }];
    let length = u16::try_from(bytes.len() - start).expect("it fits").to_be_bytes();
    let whole = [&bytes[addresses], &[0, protocol], &length, &bytes[start..]].concat();
    let words =
        whole.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum: u64 = words.map(u64::from).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (folded & 0xffff) + (folded >> 16) == 0xffff
}

#[test]
fn frames_cross_whole_summed_and_verified() {
    // Shows of both kinds of IP and of transport, many lengths and any cut into segments, odd ones too, both ways: the
    // checksum that arrives is right by a slow sum, the bytes are the sender's, and the receiver has been told so.
    let folder = Folder::new();
    let (mut server, mut client) = pair(&folder);
    let lengths = (0..40).chain([63, 64, 65, 255, 256, 257, 700, 1000, 1447, 1448]);
    for (turn, length) in lengths.enumerate() {
        for (ipv6, transport) in [(false, Transport::Tcp), (false, Transport::Udp), (true, Transport::Tcp)] {
            let (sent, offload) = packet(ipv6, transport, length.min(if ipv6 { 1428 } else { 1448 }));
            let (from, to) =
                if turn % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            // Headers, and the payload in pieces of turn + 1 bytes and the rest.
            let start = usize::from(offload.link_bytes)
                + usize::from(offload.network_bytes)
                + usize::from(offload.transport_bytes);
            let mut whole = frame(from, &sent[..start]);
            let (piece, rest) = sent[start..].split_at((turn + 1).min(sent.len() - start));
            for part in [piece, rest].into_iter().filter(|part| !part.is_empty()) {
                whole.chain(frame(from, part));
            }
            whole.set_offload(offload);
            assert_eq!(transmit(from, [whole]), 1);
            let got = receive(to);
            let field =
                start - usize::from(offload.transport_bytes) + sums::checksum_at(transport == Transport::Udp);
            let mut seen = bytes(&got[0]);
            assert!(is_right(ipv6, &seen), "{length} bytes, {transport:?}");
            assert!(got[0].is_verified(), "{length} bytes, {transport:?}");
            seen[field..field + 2].copy_from_slice(&sent[field..field + 2]);
            assert_eq!(seen, sent);
        }
    }
    let statistics = server.control.statistics();
    assert_eq!((statistics.receive_errors, statistics.transmit_errors, statistics.no_frames), (0, 0, 0));
    assert_eq!(statistics.sent_frames, client.control.statistics().received_frames);
}

#[test]
fn what_is_wrong_is_not_called_right() {
    // Shows that a changed byte anywhere behind the addresses' own header, a fragment, options, another protocol, a frame
    // cut short and UDP without a checksum leave the verdict to the stack, and that padding does not.
    let folder = Folder::new();
    let (mut server, mut client) = pair(&folder);
    let (mut good, offload) = packet(false, Transport::Tcp, 30);
    let mut filled = frame(&client, &good);
    filled.set_offload(offload);
    transmit(&mut client, [filled]);
    good = bytes(&receive(&mut server)[0]);
    let mut verdict = |sent: &[u8]| {
        let sent = frame(&client, sent);
        assert_eq!(transmit(&mut client, [sent]), 1);
        receive(&mut server)[0].is_verified()
    };
    assert!(verdict(&good) && verdict(&[&good[..], &[0xaa; 9]].concat()));
    for at in 14..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(!verdict(&bad), "byte {at}");
    }
    assert!((0..good.len()).all(|length| !verdict(&good[..length])));
    // Right in all sums, and still another shape: a first fragment, a later one, options.
    for (at, value) in [(20, 0x20), (21, 1), (14, 0x46)] {
        let mut other = good.clone();
        other[at] = value;
        other[24..26].fill(0);
        let mut header = sums::Sum::default();
        header.add(&other[14..34]);
        other[24..26].copy_from_slice(&(!header.fold()).to_ne_bytes());
        assert!(!verdict(&other), "byte {at}");
    }
    // UDP's zero says that there is no checksum, even where the sum comes out.
    let (mut silent, _) = packet(false, Transport::Udp, 30);
    let mut sum = sums::Sum::default();
    sum.add(&silent[40..42]);
    silent[40..42].fill(0);
    silent[70..72].fill(0);
    sum.add(&silent[34..]);
    silent[70..72].copy_from_slice(&(!sum.fold()).to_ne_bytes());
    assert!(is_right(false, &silent) && !verdict(&silent));
}

#[test]
fn a_full_ring_takes_no_more_and_loses_nothing() {
    // Shows what a ring of 1,024 holds, that what it did not take stays in order, and that all of it arrives.
    let folder = Folder::new();
    let (mut server, mut client) = pair(&folder);
    for to_server in [true, false] {
        let (from, to) = if to_server { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let (mut sent, mut seen, mut waiting) = (0_u32, 0_u32, Vec::new());
        while seen < 3000 {
            while waiting.len() < 40 && sent < 3000 {
                waiting.push(frame(from, &[&[0xab; 60][..], &sent.to_be_bytes()].concat()));
                sent += 1;
            }
            let taken = from.queues[0].queue.transmit(0, &mut waiting);
            assert!(sent - u32::try_from(waiting.len()).expect("few") - seen <= 1024);
            if taken == 0 || sent == 3000 {
                for frame in receive(to) {
                    assert_eq!(bytes(&frame)[60..], seen.to_be_bytes());
                    seen += 1;
                }
            }
        }
    }
}

#[test]
fn each_link_of_a_socket_has_its_client() {
    // Shows two links of one socket at the same time, the refusal of a third that the server has not, of a second client,
    // and of a link that is open, each in words.
    let folder = Folder::new();
    let mut servers = [folder.open("server", 0).expect("a link"), folder.open("server", 7).expect("a link")];
    let mut clients = [folder.open("client", 0).expect("a link"), folder.open("client", 7).expect("a link")];
    until("both links come up", || servers.iter().chain(&clients).all(is_up));
    for (number, (server, client)) in (1..).zip(servers.iter_mut().zip(&mut clients)) {
        let sent = frame(client, &[number; 70]);
        until("the frame goes", || transmit(client, [sent.share().expect("a handle")]) == 1);
        receive(server);
        let sent = frame(server, &[number; 80]);
        receive(client);
        assert_eq!(transmit(server, [sent]), 1);
        assert_eq!(bytes(&receive(client)[0]), vec![number; 80]);
    }
    let taken = folder.open("server", 7).err().expect("no second one").to_string();
    assert!(taken.contains("link 7 of its socket is open already"), "{taken}");
    for (id, expected) in [(3, "there is no link 3 here"), (7, "link 7 has a client")] {
        let stranger = folder.open("client", id).expect("a client");
        until(expected, || stranger.control.trouble().is_some_and(|why| why.contains(expected)));
        assert!(!is_up(&stranger));
    }
    assert!(servers.iter().chain(&clients).all(is_up));
    drop(servers);
    assert!(!folder.socket().exists());
}

/// What a lane sleeps beside ends its sleep.
fn is_woken(port: &Opened, most: Duration) -> bool {
    wait([port.queues[0].queue.wakes().expect("a file")], Some(most))[0]
}

#[test]
fn an_end_that_sleeps_is_woken_and_one_that_does_not_is_left_alone() {
    // Shows both ways, again and again: what is sent to an end that watches wakes it, once; where it looks by itself nothing is
    // signalled, and where something has come already it is told so.
    let folder = Folder::new();
    let (mut server, mut client) = pair(&folder);
    for turn in 0..100 {
        let (from, to) = if turn % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        assert!(to.queues[0].queue.watch() && !is_woken(to, Duration::ZERO));
        for _ in 0..2 {
            let sent = frame(from, &[1; 60]);
            assert_eq!(transmit(from, [sent]), 1);
            assert!(is_woken(to, Duration::from_secs(10)));
        }
        assert_eq!(receive(to).len(), 2);
        assert!(!is_woken(to, Duration::ZERO));
        let sent = frame(from, &[2; 60]);
        assert_eq!(transmit(from, [sent]), 1);
        assert!(!is_woken(to, Duration::ZERO) && !to.queues[0].queue.watch());
        assert_eq!(receive(to).len(), 1);
        assert!(to.queues[0].queue.watch());
        assert_eq!(receive(to).len(), 0);
    }
}

#[test]
fn a_link_that_comes_or_goes_wakes() {
    // Shows an end alone, whose link comes, goes and comes again.
    let folder = Folder::new();
    let mut server = folder.end("server");
    for _ in 0..3 {
        assert!(server.queues[0].queue.watch() && !is_woken(&server, Duration::ZERO));
        let client = folder.end("client");
        assert!(is_woken(&server, Duration::from_secs(10)));
        until("the link comes up", || is_up(&server) && is_up(&client));
        receive(&mut server);
        assert!(server.queues[0].queue.watch());
        drop(client);
        until("the server notices", || !is_up(&server));
        assert!(is_woken(&server, Duration::from_secs(10)));
        receive(&mut server);
    }
}

#[test]
fn a_lane_does_not_wait_for_its_peers_files() {
    // Shows a client that sleeps, and to wake which would take a write that waits for ever; and one with a file that is none
    // of events.
    let folder = Folder::new();
    let mut server = folder.end("server");
    let files = [(); 2].map(|()| eventfd(0, EventfdFlags::CLOEXEC).expect("a file that waits"));
    let peer = ByHand::new(&folder);
    let (incoming, _outgoing, _memory) = peer.link_by(SMALL, &files);
    until("the link comes up", || is_up(&server));
    receive(&mut server);
    incoming.be_woken(true);
    for file in &files {
        rustix::io::read(file, &mut [0; 8]).expect("emptied");
        rustix::io::write(file, &(u64::MAX - 1).to_ne_bytes()).expect("filled");
    }
    let sent = frame(&server, &[1; 60]);
    assert_eq!((transmit(&mut server, [sent]), incoming.waiting()), (1, 1));
    assert!(server.queues[0].queue.watch());
    assert_eq!(receive(&mut server).len(), 0);
    drop(peer);
    until("the server notices", || !is_up(&server));
    let (_, pipe) = rustix::pipe::pipe().expect("a pipe");
    let peer = ByHand::new(&folder);
    peer.share(SMALL.bytes());
    let refused = peer.refused(&Message::AddRing { ring: SMALL.place(false) }, Some(&pipe));
    assert!(refused.contains("no event file"), "{refused}");
}

#[test]
fn ends_come_and_go() {
    // Shows a client that leaves and one that comes in its place, and a server that leaves and comes again, to which the
    // same client finds back by itself; frames cross each time.
    let folder = Folder::new();
    let (mut server, client) = pair(&folder);
    drop(client);
    until("the server notices", || !is_up(&server));
    assert_eq!(transmit(&mut server, []), 0);
    let mut client = folder.end("client");
    until("the link comes up", || is_up(&server) && is_up(&client));
    drop(server);
    until("the client notices", || !is_up(&client));
    assert_eq!(receive(&mut client).len(), 0);
    let mut waiting = vec![frame(&client, &[1; 60])];
    assert_eq!((client.queues[0].queue.transmit(0, &mut waiting), waiting.len()), (0, 1));
    let mut server = folder.end("server");
    until("the client comes again", || is_up(&server) && is_up(&client));
    receive(&mut client);
    assert_eq!(client.queues[0].queue.transmit(0, &mut waiting), 1);
    assert_eq!(bytes(&receive(&mut server)[0]), [1; 60]);
    let answer = frame(&server, &[2; 60]);
    assert_eq!(transmit(&mut server, [answer]), 1);
    assert_eq!(bytes(&receive(&mut client)[0]), [2; 60]);
}

#[test]
fn what_cannot_be_opened_is_told_with_its_remedy() {
    // Shows queues, MTUs and pools that a link cannot have, and a socket that cannot be made.
    let folder = Folder::new();
    let refusal = |change: fn(&mut OpenOptions)| {
        let mut options = OpenOptions { receive_frames: 64, control_frames: 64, ..OpenOptions::default() };
        change(&mut options);
        folder.open_with("server", 0, &options).err().map_or_else(String::new, |error| error.to_string())
    };
    assert!(refusal(|options| options.queues = 2).contains("use 1 lanes or fewer"));
    assert_eq!(refusal(|options| (options.queues, options.fewer_queues, options.lanes) = (2, true, 2)), "");
    assert!(refusal(|options| options.queues = 0).contains("lanes"));
    assert!(refusal(|options| options.mtu = Some(9_217)).contains("between 68 and 9216"));
    assert!(refusal(|options| options.receive_frames = 0).contains("at least 1"));
    std::fs::write(folder.socket(), "").expect("a file");
    assert!(refusal(|_| ()).contains("no socket"));
}

#[test]
fn jumbo_frames_cross() {
    // Shows frames as long as the MTU allows, longer than one of the pool's, and the refusal of a longer one.
    let folder = Folder::new();
    let options =
        OpenOptions { receive_frames: 64, control_frames: 64, mtu: Some(9000), ..OpenOptions::default() };
    let mut server = folder.open_with("server", 0, &options).expect("an end");
    let mut client = folder.open_with("client", 0, &options).expect("an end");
    until("the link comes up", || is_up(&server) && is_up(&client));
    receive(&mut client);
    for (length, arrives) in [(9014, true), (9018, true), (9019, false)] {
        let sent: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
        let long = crate::soft::frame_of(&server.queues[0].pools.control, &sent).expect("frames");
        assert_eq!(transmit(&mut server, [long]), 1);
        let got = receive(&mut client);
        assert_eq!(got.first().map(bytes), arrives.then_some(sent));
    }
    // Twelve take five frames each, of the 64 that there are: none is in the way of another.
    let long =
        |port: &Opened| crate::soft::frame_of(&port.queues[0].pools.control, &[7; 9014]).expect("frames");
    for _ in 0..12 {
        let sent = long(&server);
        assert_eq!(transmit(&mut server, [sent]), 1);
    }
    let mut got = Vec::new();
    while got.len() < 12 {
        let more = receive(&mut client);
        assert!(!more.is_empty());
        got.extend(more);
    }
    assert!(got.iter().all(|frame| bytes(frame) == [7; 9014]));
    assert_eq!(server.control.statistics().transmit_errors, 1);
}

/// A client made by hand: it says what it likes.
struct ByHand {
    channel: Channel,
}

impl ByHand {
    /// Comes to the server and asks for link 0.
    fn new(folder: &Folder) -> ByHand {
        let peer = ByHand { channel: Channel::connect(&folder.socket()).expect("a server") };
        assert!(matches!(peer.hear(), Message::Hello { log2_ring_max: 14, .. }));
        assert_eq!(peer.ask(&Message::init(0), None), Message::Ack);
        peer
    }

    fn hear(&self) -> Message {
        loop {
            assert!(wait([self.channel.as_fd()], Some(Duration::from_secs(10)))[0], "an answer");
            if let Some((message, _)) = self.channel.receive().expect("a message") {
                return message;
            }
        }
    }

    fn ask(&self, message: &Message, file: Option<&OwnedFd>) -> Message {
        self.channel.send(message, file.map(AsFd::as_fd)).expect("a server");
        self.hear()
    }

    /// What the server says as it lets the client go.
    fn refused(&self, message: &Message, file: Option<&OwnedFd>) -> String {
        match self.ask(message, file) {
            Message::Disconnect { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn share(&self, bytes: usize) -> Region {
        let (region, file) = Region::create(bytes).expect("memory");
        let told = Message::AddRegion { index: 0, bytes: region.bytes() as u64 };
        assert_eq!(self.ask(&told, Some(&file)), Message::Ack);
        region
    }

    /// All that a good client does, with buffers as small as it likes.
    fn link(&self, layout: Layout) -> (Incoming, Outgoing, Arc<[Region]>) {
        self.link_by(layout, &[(); 2].map(|()| event().expect("a file")))
    }

    /// The same, with what the server and then the client is to be woken by.
    fn link_by(&self, layout: Layout, files: &[OwnedFd; 2]) -> (Incoming, Outgoing, Arc<[Region]>) {
        let memory: Arc<[Region]> = Arc::new([self.share(layout.bytes())]);
        let (mut incoming, outgoing) = lay_out(&memory, layout).expect("rings");
        for (to_server, file) in [true, false].into_iter().zip(files) {
            let told = Message::AddRing { ring: layout.place(to_server) };
            assert_eq!(self.ask(&told, Some(file)), Message::Ack);
        }
        assert_eq!(self.ask(&Message::Connect, None), Message::Connected);
        incoming.begin();
        (incoming, outgoing, memory)
    }
}

const SMALL: Layout = Layout { log2_size: 4, buffer_bytes: 64 };

#[test]
fn a_client_that_breaks_the_protocol_is_told_and_let_go() {
    // Shows one refusal for each thing that a client can get wrong, and that a good one is served afterwards.
    let folder = Folder::new();
    let mut server = folder.end("server");
    let (_, file) = Region::create(4096).expect("memory");
    let come = || ByHand::new(&folder);
    let region = |index, bytes| Message::AddRegion { index, bytes };
    assert!(come().refused(&Message::init(0), None).contains("one link"));
    assert!(come().refused(&Message::Ack, None).contains("not what the protocol has next"));
    assert!(come().refused(&Message::Connect, None).contains("a ring each way"));
    assert!(come().refused(&region(1, 4096), Some(&file)).contains("in order"));
    assert!(come().refused(&region(0, 4096), None).contains("no file"));
    assert!(come().refused(&region(0, 4097), Some(&file)).contains("has not the 4097 bytes"));
    let ring = SMALL.place(true);
    let peer = come();
    peer.share(4096);
    let second = RingPlace { index: 1, ..ring };
    assert!(peer.refused(&Message::AddRing { ring: second }, None).contains("one ring each way"));
    for to_server in [true, false] {
        let (peer, told) = (come(), Message::AddRing { ring: SMALL.place(to_server) });
        assert_eq!(peer.ask(&told, None), Message::Ack);
        assert!(peer.refused(&told, None).contains("one ring each way"));
    }
    let (_socket, pipe) = std::os::unix::net::UnixStream::pair().expect("a socket");
    for file in [&pipe.into(), &file] {
        let told = Message::AddRing { ring: SMALL.place(false) };
        assert!(come().refused(&told, Some(file)).contains("no event file"));
    }
    let peer = come();
    peer.channel.send_bytes(&[&Message::Connect.encode("x")[..], &[0]].concat(), None).expect("a server");
    until("the server lets go", || peer.channel.receive().is_err());
    let wrong = [
        (RingPlace { region: 1, ..ring }, "not in its memory"),
        (RingPlace { offset: 4032, ..ring }, "not in its memory"),
        (RingPlace { offset: 4, ..ring }, "not in its memory"),
        (RingPlace { offset: u32::MAX, ..ring }, "not in its memory"),
        (RingPlace { log2_size: 9, ..ring }, "not in its memory"),
        (RingPlace { log2_size: 15, ..ring }, "too large"),
        (RingPlace { log2_size: 255, ..ring }, "too large"),
        (ring, "does not begin"),
    ];
    for (ring, expected) in wrong {
        let peer = come();
        peer.share(4096);
        for to_server in [true, false] {
            assert_eq!(
                peer.ask(&Message::AddRing { ring: RingPlace { to_server, ..ring } }, None),
                Message::Ack
            );
        }
        let refused = peer.refused(&Message::Connect, None);
        assert!(refused.contains(expected), "{refused}");
    }
    assert!(server.control.trouble().is_some_and(|why| why.contains("a client was refused")));
    assert!(!is_up(&server));
    let mut client = folder.end("client");
    until("the link comes up", || is_up(&server) && is_up(&client));
    assert_eq!(server.control.trouble(), None);
    receive(&mut client);
    let sent = frame(&server, &[5; 60]);
    assert_eq!(transmit(&mut server, [sent]), 1);
    assert_eq!(bytes(&receive(&mut client)[0]), [5; 60]);
}

#[test]
fn frames_go_through_buffers_that_are_shorter() {
    // Shows frames in several buffers both ways, as long as the ring has room for them, with the checksum that is filled in.
    let folder = Folder::new();
    let mut server = folder.end("server");
    let peer = ByHand::new(&folder);
    let (mut incoming, mut outgoing, _memory) = peer.link(SMALL);
    until("the link comes up", || is_up(&server));
    receive(&mut server);
    let (sent, offload) = packet(false, Transport::Tcp, 333);
    let mut long = frame(&server, &sent);
    long.set_offload(offload);
    assert_eq!(transmit(&mut server, [long]), 1);
    let mut got = Vec::new();
    let count = incoming.waiting();
    for ahead in 0..count {
        let filled = incoming.buffer(ahead);
        let buffer = filled.buffer.expect("a buffer");
        let mut here = vec![0; buffer.len()];
        buffer.copy_out(0, &mut here);
        got.extend(here);
        assert_eq!(filled.more, ahead + 1 < count);
    }
    assert_eq!((got.len(), usize::from(count)), (sent.len(), sent.len().div_ceil(64)));
    assert!(is_right(false, &got));
    // As long as the ring, and one byte more: both wait while something is in it, then the first goes and the other cannot.
    let mut waiting = vec![frame(&server, &[3; 64 * 16]), frame(&server, &[3; 64 * 16 + 1])];
    assert_eq!(server.queues[0].queue.transmit(0, &mut waiting), 0);
    incoming.release(count);
    assert_eq!((server.queues[0].queue.transmit(0, &mut waiting), incoming.waiting()), (1, 16));
    incoming.release(16);
    assert_eq!((server.queues[0].queue.transmit(0, &mut waiting), incoming.waiting()), (1, 0));
    assert_eq!(server.control.statistics().transmit_errors, 1);
    // And the other way.
    let parts: Vec<&[u8]> = got.chunks(64).collect();
    assert!(usize::from(outgoing.room(16)) >= parts.len());
    for (ahead, part) in (0..).zip(&parts) {
        outgoing.buffer(ahead).expect("a buffer").copy_in(0, part);
        outgoing.fill(ahead, part.len(), usize::from(ahead) + 1 < parts.len());
    }
    outgoing.publish(u16::try_from(parts.len()).expect("few"));
    assert_eq!(receive(&mut server).iter().map(bytes).collect::<Vec<_>>(), [got]);
}

#[test]
fn a_peer_that_lies_loses_its_own_frames() {
    // Shows descriptors that point outside, are longer than can be, name no region, or never end, and numbers that have run
    // away: nothing is read, all of it is counted, and a good frame behind them arrives.
    let folder = Folder::new();
    let mut server = folder.end("server");
    let peer = ByHand::new(&folder);
    let (_incoming, mut outgoing, memory) = peer.link(SMALL);
    until("the link comes up", || is_up(&server));
    // Descriptors of the ring to the server lie behind its first two lines: flags, region, length; offset.
    let word = |slot: usize, first: u64, second: u64| {
        let words = memory[0].longs(128 + 16 * slot, 2).expect("a descriptor");
        words[0].store(first, Ordering::Relaxed);
        words[1].store(second, Ordering::Relaxed);
    };
    let length = |bytes: u64| bytes << 32;
    word(0, length(64), u64::from(u32::MAX));
    word(1, length(u64::from(u32::MAX)), 0);
    word(2, length(60) | 9 << 16, 0);
    outgoing.publish(3);
    assert_eq!(receive(&mut server).len(), 0);
    assert_eq!(server.control.statistics().receive_errors, 3);
    outgoing.buffer(0).expect("a buffer").copy_in(0, &[7; 60]);
    outgoing.fill(0, 60, false);
    outgoing.publish(1);
    assert_eq!(bytes(&receive(&mut server)[0]), [7; 60]);
    // Chains: one with a part that is nowhere, one that goes on where nothing was filled.
    (4..6).for_each(|slot| word(slot, length(60) | 1, 9999));
    word(5, length(60), u64::from(u32::MAX));
    outgoing.publish(2);
    word(6, length(60) | 1, 0);
    outgoing.publish(1);
    // A chain ends a burst.
    assert_eq!((receive(&mut server).len(), receive(&mut server).len()), (0, 0));
    assert_eq!(server.control.statistics().receive_errors, 5);
    // More than the ring holds: no more than that is looked at.
    (0..16).for_each(|slot| word(slot, length(60), 9999));
    outgoing.publish(40_000);
    assert_eq!(receive(&mut server).len(), 0);
    assert_eq!(server.control.statistics().receive_errors, 5 + 16);
    // And a server that is given buffers which are nowhere loses what it puts there.
    let place = SMALL.place(false);
    let words = memory[0].longs(usize::try_from(place.offset).expect("it fits") + 128, 32).expect("the ring");
    words.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
    let lost = (0..8).map(|_| frame(&server, &[1; 60])).collect::<Vec<_>>();
    assert_eq!(transmit(&mut server, lost), 8);
    assert!(is_up(&server));
}

#[test]
fn strangers_do_not_keep_clients_away() {
    // Shows a hundred who come and say nothing, and a client that is served all the same.
    let folder = Folder::new();
    let server = folder.end("server");
    let mut strangers = Vec::new();
    for _ in 0..100 {
        let mut come = || Channel::connect(&folder.socket()).map(|stranger| strangers.push(stranger)).is_ok();
        until("the server lets one in", &mut come);
    }
    let client = folder.end("client");
    until("the link comes up", || is_up(&server) && is_up(&client));
}
