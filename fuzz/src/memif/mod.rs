//! A link through memory that a peer shares which nobody trusts: what it says over the socket, and what it writes to rings,
//! descriptors and buffers between our calls.
//!
//! | file | duty |
//! | --- | --- |
//! | `talk.rs` | messages both ways, until a link is up |
//! | `model.rs` | what is to come of each call; after each, all of the memory is compared |

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::Once;

use drivers::fuzz::memif_message;
use drivers::{Checksums, Frame, Offload, Pool, Transport};

mod model;
mod talk;

use model::{Departure, FLAGS_AT, MORE};
use talk::{Limits, Linked, Ours};

use crate::input::Input;
use crate::packets::Packet;

/// Turns of one run.
const TURNS_MAX: usize = 200;

/// Frames that what is sent is made of.
const FRAMES: usize = 64;

/// Bytes of one of them.
const PIECE: usize = 2048;

/// Give `bytes` to an end: as messages, or once a link is up as what its peer writes.
pub fn run(bytes: &[u8]) {
    // A process keeps a file from its first link on.
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        drop(talk::good_client(&mut Input::new(&[]), Limits { frames: 1, room: 2048, frame_bytes_max: 1518 }))
    });
    let files = open_files();
    let mut input = Input::new(bytes);
    let which = input.below(4);
    if which == 0 {
        return message(&mut input);
    }
    let shape = input.byte();
    let limits = Limits {
        frames: [40, 3, 8, 1][usize::from(shape & 3)],
        room: if shape & 4 == 0 { 2048 } else { 512 },
        frame_bytes_max: if shape & 8 == 0 { 1518 } else { 9234 },
    };
    let linked = match which {
        1 => talk::any_client(&mut input, limits),
        2 => talk::any_server(&mut input, limits),
        _ => Some(talk::good_client(&mut input, limits)),
    };
    if let Some(linked) = linked {
        Run::new(linked, limits).run(&mut input);
    }
    assert_eq!(open_files(), files, "files are left open");
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// What is read and written again says the same, and upsets no terminal.
fn message(input: &mut Input) {
    let mut bytes = [0; 128];
    bytes.iter_mut().zip(input.rest()).for_each(|(to, from)| *to = *from);
    let Some(again) = memif_message(&bytes) else { return };
    if again[..2] == 8_u16.to_ne_bytes() {
        let text = String::from_utf8_lossy(&again[6..]).into_owned();
        assert!(text.trim_end_matches('\0').chars().all(|letter| !letter.is_control()), "{text:?}");
        return;
    }
    assert_eq!(memif_message(&again), Some(again));
}

/// A number of 32 bits, more often than not a small one or one near `limit`.
fn number(input: &mut Input, limit: u32) -> u32 {
    match input.below(5) {
        0 => u32::from(input.byte()) * 64,
        1 => u32::from(input.byte()),
        2 => u32::from(input.word()),
        3 => limit.wrapping_sub(u32::from(input.byte())).wrapping_add(2),
        _ => input.long(),
    }
}

/// A link that is up.
struct Run {
    linked: Linked,
    limits: Limits,
    /// Frames that were received and not given back.
    held: Vec<Frame>,
    pool: Pool,
}

impl Run {
    fn new(linked: Linked, limits: Limits) -> Run {
        if let Some(wake) = &linked.wake {
            // That it can be signalled has been tried.
            read_count(wake);
        }
        Run { linked, limits, held: Vec::new(), pool: Pool::heap(FRAMES, 2048 + 128) }
    }

    fn run(mut self, input: &mut Input) {
        for _ in 0..TURNS_MAX {
            if input.is_empty() {
                break;
            }
            match input.below(9) {
                0 => self.describe(input),
                1 => self.count(input),
                2 => {
                    let (incoming, value) = (input.byte() & 1 == 0, input.word());
                    self.set_count(incoming, value);
                }
                3 => self.scribble(input),
                4 | 5 => self.receive(input),
                6 => self.transmit(input),
                7 => self.held.clear(),
                _ => self.send_packet(input),
            }
            self.compare();
        }
        self.end(input);
    }

    /// The peer writes to a region, or to what of its file lies behind it.
    fn write(&mut self, region: u16, at: usize, bytes: &[u8]) {
        let memory = &mut self.linked.model.memory;
        let file = memory.regions[usize::from(region)].0;
        let room = memory.files[file].len();
        let at = at.min(room);
        let bytes = &bytes[..bytes.len().min(room - at)];
        memory.files[file][at..at + bytes.len()].copy_from_slice(bytes);
        self.linked.memories[file].write(at, bytes);
    }

    fn write_at(&mut self, region: u16, at: u32, bytes: &[u8]) {
        self.write(region, usize::try_from(at).expect("an offset"), bytes);
    }

    fn shared(&self, region: u16) -> u32 {
        let regions = &self.linked.model.memory.regions;
        regions.get(usize::from(region)).map_or(0, |region| u32::try_from(region.1).unwrap_or(u32::MAX))
    }

    /// How far the peer has counted.
    fn peers_count(&self, incoming: bool) -> u16 {
        let model = &self.linked.model;
        let (region, at) = self.count_at(incoming);
        let (file, at) =
            (model.memory.regions[usize::from(region)].0, usize::try_from(at).expect("an offset"));
        let bytes = &model.memory.files[file][at..at + 2];
        u16::from_ne_bytes([bytes[0], bytes[1]])
    }

    fn count_at(&self, incoming: bool) -> (u16, u32) {
        let model = &self.linked.model;
        let place = if incoming { model.incoming.place } else { model.outgoing.place };
        (place.region, place.at(model.peers_count(incoming)))
    }

    fn set_count(&mut self, incoming: bool, value: u16) {
        let (region, at) = self.count_at(incoming);
        self.write_at(region, at, &value.to_ne_bytes());
    }

    /// The peer has filled buffers, or emptied them.
    fn count(&mut self, input: &mut Input) {
        let what = input.byte();
        let incoming = what & 1 == 0;
        let value = self.peers_count(incoming).wrapping_add(u16::from(what >> 1));
        self.set_count(incoming, value);
    }

    /// A descriptor, near the one that comes next.
    fn describe(&mut self, input: &mut Input) {
        let what = input.byte();
        let ring = if what & 1 == 0 { &self.linked.model.incoming } else { &self.linked.model.outgoing };
        let slot = self.peers_count(what & 1 == 0).wrapping_add(u16::from(what >> 3 & 7));
        let (place, own) = (ring.place, ring.own.is_some());
        let region = if what & 0xc0 == 0xc0 { input.word() } else { u16::from(what >> 6) };
        let flags = u16::from(what >> 1 & 1) * MORE;
        let shared = self.shared(region);
        let length = number(input, if own { 2048 } else { shared });
        // Often the last byte of the buffer is about the last that is shared.
        let offset = if what & 4 == 0 {
            number(input, shared)
        } else {
            shared.wrapping_sub(length).wrapping_add(u32::from(input.byte() % 3)).wrapping_sub(1)
        };
        let bytes = [flags.to_ne_bytes(), region.to_ne_bytes()].concat();
        let bytes = [&bytes[..], &length.to_ne_bytes(), &offset.to_ne_bytes()].concat();
        self.write_at(place.region, place.descriptor_at(slot), &bytes);
    }

    /// Any bytes anywhere, or a ring's flags.
    fn scribble(&mut self, input: &mut Input) {
        let model = &self.linked.model;
        let (what, count) = (input.byte(), model.memory.regions.len());
        let bytes: Vec<u8> = (0..input.below(32)).map(|_| input.byte()).collect();
        if what & 1 == 0 {
            let place = if what & 2 == 0 { model.incoming.place } else { model.outgoing.place };
            return self.write_at(place.region, place.at(FLAGS_AT), &bytes[..bytes.len().min(2)]);
        }
        let region = u16::try_from(usize::from(what >> 1) % count).expect("few");
        let at = number(input, self.shared(region));
        self.write_at(region, at, &bytes);
    }

    /// A packet in one buffer or several, and the numbers that tell of it, as a good peer has them; perhaps with a bad byte.
    fn send_packet(&mut self, input: &mut Input) {
        let (what, length) = (input.byte(), usize::from(input.byte()));
        let mut packet = Packet::new(input, if what & 1 == 0 { length } else { length * 8 });
        packet.complete();
        let mut bytes = packet.bytes;
        if what & 2 != 0 {
            let at = usize::from(input.byte()) % bytes.len();
            bytes[at] ^= 1 << (what >> 5);
        }
        // What fills a short frame up.
        bytes.resize(bytes.len() + usize::from(what >> 2 & 1) * 7, 0xff);
        let most = if what & 8 == 0 { PIECE } else { 100 };
        let mut count = self.peers_count(true);
        let ring = self.linked.model.incoming.clone();
        let region = if what & 16 == 0 { 0 } else { 1.min(self.linked.model.memory.regions.len() - 1) };
        let region = u16::try_from(region).expect("few");
        let base = number(input, self.shared(region));
        let chunks =
            bytes.chunks(ring.own.as_ref().map_or(most, |own| usize::try_from(own.bytes).unwrap_or(most)));
        let last = chunks.len() - 1;
        let mut from = 0;
        for (number, chunk) in chunks.enumerate() {
            let length = u32::try_from(chunk.len()).expect("short");
            let at = ring.place.descriptor_at(count);
            let (region, offset) = match &ring.own {
                Some(own) => (0, own.offsets[usize::from(count & (ring.place.size() - 1))]),
                None => {
                    let end = self.shared(region).saturating_sub(length);
                    (region, base.wrapping_add(from).checked_rem(end).unwrap_or(0))
                }
            };
            self.write_at(region, offset, chunk);
            let flags = if number < last { MORE } else { 0 };
            let words = [flags.to_ne_bytes(), region.to_ne_bytes()].concat();
            self.write_at(
                ring.place.region,
                at,
                &[&words[..], &length.to_ne_bytes(), &offset.to_ne_bytes()].concat(),
            );
            (count, from) = (count.wrapping_add(1), from + length);
        }
        self.set_count(true, count);
    }

    fn available(&self) -> usize {
        self.limits.frames - self.held.iter().map(Frame::segment_count).sum::<usize>()
    }

    fn receive(&mut self, input: &mut Input) {
        let (what, available) = (input.byte(), self.available());
        let (max, mut frames) = (usize::from(what & 0x3f), Vec::new());
        let end = self.linked.ours.end();
        assert_eq!(end.available(), available, "frames have leaked");
        let count = end.queue().receive(0, &mut frames, max);
        let due = self.linked.model.receive(max, available, self.limits.room.into());
        assert_eq!((count, frames.len()), (due.len(), due.len()));
        for (frame, due) in frames.iter().zip(&due) {
            let bytes = frame.segments().collect::<Vec<_>>().concat();
            assert_eq!((bytes, frame.is_verified()), (due.bytes.clone(), due.verified));
        }
        if what & 0x40 != 0 {
            self.held.append(&mut frames);
        }
    }

    fn transmit(&mut self, input: &mut Input) {
        let mut frames: Vec<Frame> = (0..input.below(6)).filter_map(|_| self.frame(input)).collect();
        let departures: Vec<Departure> = frames.iter().map(departure).collect();
        let gone = self.linked.ours.end().queue().transmit(0, &mut frames);
        let due = self.linked.model.transmit(&departures);
        assert_eq!((gone, frames.len()), (due, departures.len() - due));
        for (frame, due) in frames.iter().zip(&departures[due..]) {
            assert_eq!(departure(frame).pieces, due.pieces, "what was not sent has changed");
        }
    }

    /// A frame to send, of one segment or several; `None` where it takes too many.
    fn frame(&self, input: &mut Input) -> Option<Frame> {
        let what = input.byte();
        let length =
            if what & 1 == 0 { usize::from(input.byte()) } else { usize::from(input.word()) % 10_000 };
        let (bytes, offload) = if what & 2 == 0 {
            ((0..length).map(|at| u8::try_from(at % 251).expect("below 251")).collect(), None)
        } else {
            let packet = Packet::new(input, length);
            let transport = if packet.udp { Transport::Udp } else { Transport::Tcp };
            let offload = Offload {
                ipv6: packet.ipv6,
                checksums: Checksums { ipv4: false, transport: Some(transport) },
                link_bytes: u8::try_from(packet.network).expect("short"),
                network_bytes: u16::try_from(packet.transport - packet.network).expect("short"),
                transport_bytes: u8::try_from(packet.payload - packet.transport).expect("short"),
                segment_bytes: 0,
            };
            (packet.bytes, Some(offload))
        };
        let offload = if what & 4 == 0 {
            offload
        } else {
            Some(Offload {
                checksums: Checksums {
                    ipv4: false,
                    transport: input.of(&[None, Some(Transport::Tcp), Some(Transport::Udp)]),
                },
                link_bytes: input.byte(),
                network_bytes: number(input, 40).try_into().unwrap_or(20),
                segment_bytes: u16::from(what >> 7),
                ..offload.unwrap_or_default()
            })
        };
        let first = if what & 8 == 0 { PIECE } else { 1 + usize::from(input.byte()) };
        let (head, rest) = bytes.split_at(first.min(bytes.len()));
        let mut frame = self.piece(head)?;
        for piece in rest.chunks(if what & 16 == 0 { PIECE } else { 333 }) {
            frame.chain(self.piece(piece)?);
        }
        if let Some(offload) = offload {
            frame.set_offload(offload);
        }
        Some(frame)
    }

    fn piece(&self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.pool.take()?;
        frame.append(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }

    /// What is shared is as the model has it, and so is what was counted.
    fn compare(&mut self) {
        for (memory, due) in self.linked.memories.iter().zip(&self.linked.model.memory.files) {
            let there = memory.read();
            if there != *due {
                let at = there.iter().zip(due).position(|(there, due)| there != due);
                panic!("the memory is another from {at:?} on");
            }
        }
        assert_eq!(self.linked.ours.end().statistics(), self.linked.model.counted);
    }

    /// The link goes down, one way or another.
    fn end(mut self, input: &mut Input) {
        self.held.clear();
        let how = input.byte() % 3;
        if let Ours::Server(server) = &mut self.linked.ours {
            match how {
                0 => assert!(self.linked.line.say(&talk::disconnect(), None)),
                1 => self.linked.line.end(),
                _ => server.close(),
            }
            assert!(!server.serve() && !server.end.is_up(), "the link is still up");
            let mut frames = Vec::new();
            assert_eq!(server.end.queue().receive(0, &mut frames, 32), 0);
            frames.extend(self.pool.take());
            assert_eq!((server.end.queue().transmit(0, &mut frames), frames.len()), (0, 1));
        }
        self.compare();
        assert_eq!(self.linked.ours.end().available(), self.limits.frames, "frames have leaked");
        assert_eq!(self.pool.available(), FRAMES, "frames that were sent have leaked");
        if let Some(wake) = self.linked.wake.take() {
            assert_eq!(read_count(&wake), self.linked.model.woken, "times woken");
        }
    }
}

/// How often an event was signalled since it was last read.
fn read_count(event: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    let mut file = File::from(event.try_clone().expect("a file"));
    file.read(&mut count).map_or(0, |_| u64::from_ne_bytes(count))
}

fn departure(frame: &Frame) -> Departure {
    Departure { pieces: frame.segments().map(<[u8]>::to_vec).collect(), offload: frame.offload() }
}
