//! What the kernel hands over on a TAP: frames of up to 64 KiB with a header in front that says where to cut them, and frames
//! that are to stay whole. What is to come of each is worked out here anew.

use std::collections::VecDeque;

use drivers::fuzz::TapEnd;
use drivers::{Checksum, Checksums, Frame, Offload, Pool, Transport, Verdicts};

use crate::input::Input;
use crate::packets::{Packet, fold, half, sum};

/// Turns of one run.
const TURNS_MAX: usize = 40;

/// What stands in front of each frame: `struct virtio_net_hdr`.
const HEADER_BYTES: usize = 10;
/// The longest headers that the stack has in front of what is to be cut: no extension header is among them.
const HEADERS_MAX: usize = 14 + 4 + 60 + 60;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GOOD: Verdicts = Verdicts { ip: Checksum::Good, transport: Checksum::Good };
const UNKNOWN: Verdicts = Verdicts { ip: Checksum::Unknown, transport: Checksum::Unknown };
const PARTIAL: Verdicts = Verdicts { ip: Checksum::Unknown, transport: Checksum::Partial };

const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// The header in front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    flags: u8,
    kind: u8,
    headers: u16,
    segment_bytes: u16,
    sum_start: u16,
    sum_field: u16,
}

impl Header {
    fn bytes(self) -> Vec<u8> {
        let Header { flags, kind, headers, segment_bytes, sum_start, sum_field } = self;
        let words = [headers, segment_bytes, sum_start, sum_field].map(u16::to_ne_bytes).concat();
        [&[flags, kind], &words[..]].concat()
    }

    fn read(bytes: &[u8]) -> Header {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Header {
            flags: bytes[0],
            kind: bytes[1],
            headers: word(2),
            segment_bytes: word(4),
            sum_start: word(6),
            sum_field: word(8),
        }
    }
}

/// What is to become of what the kernel hands over.
enum Due {
    /// There was no frame.
    Nothing,
    /// It cannot be cut.
    Refused,
    Frames(Vec<(Vec<u8>, Verdicts)>),
}

/// Give `bytes` to a TAP's queue.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let shape = input.byte();
    let frames = [512, 64, 8, 2][usize::from(shape & 3)];
    let room = [2048_u16, 9216, 512, 128][usize::from(shape >> 2 & 3)];
    let frame_bytes_max = if shape & 16 == 0 { 1518 } else { 9234 };
    let run = Run {
        tap: TapEnd::new(Pool::heap(frames, room + 128), frame_bytes_max),
        pool: Pool::heap(80, 2048 + 128),
        frames,
        room: room.into(),
        frame_bytes_max,
        due: VecDeque::new(),
        refused: 0,
        cut: 0,
        held: Vec::new(),
    };
    run.run(&mut input);
}

struct Run {
    tap: TapEnd,
    /// For what is sent.
    pool: Pool,
    frames: usize,
    room: usize,
    frame_bytes_max: usize,
    /// What is still to come.
    due: VecDeque<(Vec<u8>, Verdicts)>,
    /// Frames that were handed over and cannot be cut, and those that can.
    refused: u64,
    cut: u64,
    held: Vec<Frame>,
}

impl Run {
    fn run(mut self, input: &mut Input) {
        for _ in 0..TURNS_MAX {
            if input.is_empty() {
                break;
            }
            match input.below(6) {
                0 | 1 => {
                    let message = made(input);
                    self.put(&message);
                }
                2 => {
                    let length = usize::from(input.byte());
                    let message: Vec<u8> = (0..length).map(|_| input.byte()).collect();
                    self.put(&message);
                }
                3 => self.send(input),
                4 => _ = self.receive(1 + usize::from(input.byte() & 0x3f)),
                _ => self.held.clear(),
            }
        }
        self.held.clear();
        // Short messages end bursts, so one that brings nothing does not say that nothing is left.
        let mut idle = 0;
        while idle < TURNS_MAX + 1 {
            idle = if self.receive(64) == 0 { idle + 1 } else { 0 };
            self.held.clear();
        }
        let counted = self.tap.statistics();
        assert!(self.due.is_empty() || counted.no_frames > 0, "{} frames did not come", self.due.len());
        assert_eq!((counted.receive_errors, self.tap.cut_frames()), (self.refused, self.cut));
        assert_eq!(self.tap.available(), self.frames, "frames have leaked");
        assert_eq!(self.pool.available(), self.pool.capacity(), "frames that were sent have leaked");
    }

    /// The kernel hands a frame over.
    fn put(&mut self, message: &[u8]) {
        if message.is_empty() || !self.tap.put(message) {
            return;
        }
        match due(message, self.room, self.frames) {
            Due::Nothing => {}
            Due::Refused => self.refused += 1,
            Due::Frames(frames) => {
                self.cut += u64::from(message[1] != 0);
                self.due.extend(frames);
            }
        }
    }

    /// What comes is what is due, in its order: all of it unless there were too few frames.
    fn receive(&mut self, max: usize) -> usize {
        let (before, cut) = (self.tap.statistics(), self.tap.cut_frames());
        let mut frames = Vec::new();
        let count = self.tap.queue().receive(0, &mut frames, max);
        let after = self.tap.statistics();
        assert!(count == frames.len() && count <= max, "{count} frames of at most {max}");
        let fruitless = after.receive_errors - before.receive_errors + after.no_frames - before.no_frames;
        let read = fruitless + self.tap.cut_frames() - cut;
        // One that was cut may have found too few frames too.
        assert!(read <= 2 * max as u64, "{read} frames were read, of at most {max}");
        for frame in &frames {
            let bytes = frame.segments().collect::<Vec<_>>().concat();
            let got = (bytes, frame.verdicts());
            let missing = self.due.iter().position(|due| *due == got).expect("a frame that is due");
            assert!(missing == 0 || after.no_frames > 0, "{missing} frames did not come before this one");
            self.due.drain(..=missing);
        }
        self.held.append(&mut frames);
        count
    }

    /// What we send the kernel hands back: one frame, to be cut or not.
    fn send(&mut self, input: &mut Input) {
        let what = input.byte();
        let payload = if what & 1 == 0 { usize::from(input.byte()) } else { usize::from(input.word()) };
        let mut packet = Packet::new(input, payload);
        let each = if what & 2 == 0 || packet.udp { 0 } else { input.word() };
        if each > 0 {
            // NICs want the length left out.
            packet.set_sum(packet.pseudo(0));
        }
        let (network, transport, payload) = (packet.network, packet.transport, packet.payload);
        let first = if what & 4 == 0 { 2048 } else { usize::from(input.byte()) };
        let (head, rest) = packet.bytes.split_at(first.min(packet.bytes.len()));
        let Some(mut frame) = self.piece(head) else { return };
        for piece in rest.chunks(if what & 8 == 0 { 2048 } else { 1400 }) {
            let Some(piece) = self.piece(piece) else { return };
            frame.chain(piece);
        }
        frame.set_offload(Offload {
            ipv6: packet.ipv6,
            checksums: Checksums {
                ipv4: false,
                transport: Some(if packet.udp { Transport::Udp } else { Transport::Tcp }),
            },
            link_bytes: u8::try_from(network).expect("short"),
            network_bytes: u16::try_from(transport - network).expect("short"),
            transport_bytes: u8::try_from(payload - transport).expect("short"),
            segment_bytes: each,
        });
        let head = head.len();
        let pieces = frame.segment_count();
        let mut frames = vec![frame];
        assert_eq!((self.tap.queue().transmit(0, &mut frames), frames.len()), (1, 0));
        let longest = if each == 0 { packet.bytes.len() } else { payload + usize::from(each) };
        let fits = longest <= self.frame_bytes_max
            && pieces <= 16
            && (each == 0 || payload <= head.min(HEADERS_MAX));
        let message = self.tap.take();
        assert_eq!(message.is_some(), fits, "{longest} bytes in {pieces} pieces");
        let Some(message) = message else { return };
        let short = |at: usize| u16::try_from(at).expect("short");
        let mut said = Header {
            flags: NEEDS_CHECKSUM,
            kind: 0,
            headers: 0,
            segment_bytes: 0,
            sum_start: short(transport),
            sum_field: short(packet.field() - transport),
        };
        if each > 0 {
            said = Header {
                kind: if packet.ipv6 { 4 } else { 1 },
                headers: short(payload),
                segment_bytes: each,
                ..said
            };
            let (field, sum) = (packet.field(), packet.pseudo(packet.bytes.len() - transport));
            let there = half(&message, HEADER_BYTES + field);
            assert_eq!(u32::from(there) % 0xffff, u32::from(sum) % 0xffff, "the pseudo-header's sum");
            packet.set_sum(there);
        }
        assert_eq!(Header::read(&message), said);
        assert_eq!(message[HEADER_BYTES..], packet.bytes);
        self.put(&message);
    }

    fn piece(&self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.pool.take()?;
        frame.append(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }
}

/// A frame as the kernel makes it, but for some bytes.
fn made(input: &mut Input) -> Vec<u8> {
    let what = input.byte();
    let payload = if what & 1 == 0 { usize::from(input.byte()) } else { usize::from(input.word()) };
    let mut packet = Packet::new(input, payload);
    let is_cut = what & 2 != 0;
    if what & 4 != 0 {
        packet.complete();
    }
    let short = |at: usize| u16::try_from(at).expect("short");
    let kind = if packet.ipv6 { 4 } else { 1 };
    let header = Header {
        flags: if what & 4 != 0 { DATA_VALID } else { NEEDS_CHECKSUM },
        kind: if is_cut { kind } else { 0 },
        headers: short(packet.payload),
        segment_bytes: if is_cut { input.word() } else { 0 },
        sum_start: short(packet.transport),
        sum_field: short(packet.field() - packet.transport),
    };
    let mut message = header.bytes();
    message.extend(packet.bytes);
    // Bytes of the headers that are others.
    for _ in 0..what >> 4 & 3 {
        let (at, byte) = (usize::from(input.byte()), input.byte());
        if let Some(there) = message.get_mut(at) {
            *there = byte;
        }
    }
    if what & 64 != 0 {
        message.resize(message.len() + usize::from(input.byte()), 7);
    }
    if what & 8 != 0 {
        message.truncate(usize::from(input.word()));
    }
    message
}

/// What is to become of a message, where the front of its frame is in `room` bytes: no more than `most` frames.
fn due(message: &[u8], room: usize, most: usize) -> Due {
    if message.len() <= HEADER_BYTES {
        return Due::Nothing;
    }
    let (header, frame) = (Header::read(message), &message[HEADER_BYTES..]);
    if header.kind == 0 {
        return Due::Frames(vec![(frame.to_vec(), verdicts(header, &frame[..frame.len().min(room)]))]);
    }
    match segments(frame, header, room, most) {
        Some(segments) => Due::Frames(segments.into_iter().map(|segment| (segment, GOOD)).collect()),
        None => Due::Refused,
    }
}

/// What the kernel knows of the checksums of a frame that begins so.
fn verdicts(header: Header, front: &[u8]) -> Verdicts {
    let needs = header.flags & NEEDS_CHECKSUM != 0;
    if !needs && header.flags & DATA_VALID == 0 {
        return UNKNOWN;
    }
    let found = (front.len() >= 34).then(|| half(front, 12)).and_then(|kind| match kind {
        0x0800 => {
            let is_plain = front[14] == 0x45 && half(front, 20) & 0x3fff == 0;
            (is_plain && sum(&front[14..34]).is_multiple_of(0xffff)).then_some((34, front[23]))
        }
        0x86dd => (front[14] >> 4 == 6).then_some((54, front[20])),
        _ => None,
    });
    let found = found.and_then(|(start, protocol)| match protocol {
        6 => Some((start, 16)),
        17 => Some((start, 6)),
        _ => None,
    });
    match found {
        Some(_) if !needs => GOOD,
        Some(found) if found == (header.sum_start, header.sum_field) => GOOD,
        _ if needs => PARTIAL,
        _ => UNKNOWN,
    }
}

/// The first `most` segments that a frame is to be cut into; `None` if it is no frame of TCP, or its headers are not where `said` has them.
fn segments(frame: &[u8], said: Header, room: usize, most: usize) -> Option<Vec<Vec<u8>>> {
    let front = &frame[..frame.len().min(room)];
    let network = if front.len() >= 14 && half(front, 12) == 0x8100 { 18 } else { 14 };
    let (transport, each) = (usize::from(said.sum_start), usize::from(said.segment_bytes));
    if front.len() < network || front.len() < transport + 20 || each == 0 {
        return None;
    }
    let ipv6 = match half(front, network - 2) {
        0x0800 => false,
        0x86dd => true,
        _ => return None,
    };
    let header = transport.checked_sub(network)?;
    let is_ip = if ipv6 {
        header >= 40 && front[network] >> 4 == 6 && (header > 40 || front[network + 6] == 6)
    } else {
        header >= 20
            && front[network] >> 4 == 4
            && usize::from(front[network] & 15) * 4 == header
            && front[network + 9] == 6
    };
    let payload = transport + usize::from(front[transport + 12] >> 4) * 4;
    let length = frame.len() - network - if ipv6 { 40 } else { 0 };
    if !is_ip
        || payload < transport + 20
        || payload > front.len()
        || payload >= frame.len()
        || length > 65_535
    {
        return None;
    }
    let pieces = frame[payload..].chunks(each);
    let last = pieces.len() - 1;
    let all = (frame.len() - transport) as u64;
    let segments: Vec<Vec<u8>> = (0..most)
        .zip(pieces)
        .map(|(number, piece)| {
            let mut segment = [&frame[..payload], piece].concat();
            let behind = (segment.len() - transport) as u64;
            let put = |segment: &mut [u8], at: usize, bytes: &[u8]| {
                segment[at..at + bytes.len()].copy_from_slice(bytes)
            };
            let ip = segment.len() - network;
            if ipv6 {
                put(&mut segment, network + 4, &u16::try_from(ip - 40).expect("checked").to_be_bytes());
            } else {
                let identification =
                    half(&segment, network + 4).wrapping_add(u16::try_from(number).expect("few"));
                put(&mut segment, network + 2, &u16::try_from(ip).expect("checked").to_be_bytes());
                put(&mut segment, network + 4, &identification.to_be_bytes());
                put(&mut segment, network + 10, &[0, 0]);
                let sum = !sum(&segment[network..transport]);
                put(&mut segment, network + 10, &sum.to_be_bytes());
            }
            let sequence =
                u32::from(half(&segment, transport + 4)) << 16 | u32::from(half(&segment, transport + 6));
            let sequence = sequence.wrapping_add(u32::try_from(number * each).expect("64 KiB"));
            put(&mut segment, transport + 4, &sequence.to_be_bytes());
            if number < last {
                segment[transport + 13] &= !FIN_PSH;
            }
            if number > 0 {
                segment[transport + 13] &= !CWR;
            }
            // One's complement: what the sum has of all segments' length goes, and this one's comes.
            let partial = fold(u64::from(half(&segment, transport + 16)) + 0xffff - all % 0xffff + behind);
            put(&mut segment, transport + 16, &partial.to_be_bytes());
            segment
        })
        .collect();
    prove(&segments, &frame[payload..], (network, transport, payload), each, most);
    Some(segments)
}

/// What the cutting is for, said of its result: each segment is a packet that the stack takes, as long as the kernel has it at
/// most, and together they carry what the frame did.
fn prove(
    segments: &[Vec<u8>],
    carried: &[u8],
    (network, transport, payload): (usize, usize, usize),
    each: usize,
    most: usize,
) {
    let mut together: Vec<u8> = Vec::new();
    for segment in segments {
        let part = &segment[payload..];
        assert!(!part.is_empty() && part.len() <= each);
        together.extend_from_slice(part);
        if half(segment, network - 2) == 0x0800 {
            assert_eq!(usize::from(half(segment, network + 2)), segment.len() - network);
            assert_eq!(sum(&segment[network..transport]), 0xffff);
        } else {
            assert_eq!(usize::from(half(segment, network + 4)), segment.len() - network - 40);
        }
    }
    assert_eq!(together, carried[..together.len()]);
    assert!(together.len() == carried.len() || segments.len() == most, "the rest is not carried");
}
