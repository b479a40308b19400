//! How a link comes up: with a client that says what it likes to a server of ours, and the other way round. Each answer must be
//! the one that the protocol has for it. What happens on the link is `mod.rs`'s.

use std::os::fd::{AsFd, OwnedFd};

use drivers::Pool;
use drivers::fuzz::{MemifClient, MemifEnd, MemifLine, MemifMemory, MemifServer, memif_event};

use super::model::{
    DESCRIPTOR_BYTES, DESCRIPTORS_AT, FLAGS_AT, HEAD_AT, LOG2_SIZE_MAX, Memory, Model, Own, Place, Ring,
};
use super::number;
use crate::input::Input;

/// Every message is as long.
const MESSAGE_BYTES: usize = 128;

/// Of messages: their first word.
const ACK: u16 = 1;
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_REGION: u16 = 4;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const DISCONNECT: u16 = 8;

const VERSION: u16 = 0x0200;
const COOKIE: u32 = 0x03e3_1f20;
const REGIONS_MAX: usize = 16;

/// More than any client has to say that is not let go: it asks for a link, shares all regions and both rings, and is done.
const SERVED_MAX: usize = 1 + REGIONS_MAX + 2 + 1;

/// What an end is given.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Frames of its pool.
    pub frames: usize,
    /// Bytes that each of them has room for.
    pub room: u16,
    /// The longest frame that it sends.
    pub frame_bytes_max: usize,
}

impl Limits {
    fn pool(&self) -> Pool {
        Pool::heap(self.frames, self.room + 128)
    }
}

/// Either kind of end.
pub enum Ours {
    Client(MemifClient),
    Server(MemifServer),
}

impl Ours {
    pub fn end(&mut self) -> &mut MemifEnd {
        match self {
            Ours::Client(client) => &mut client.end,
            Ours::Server(server) => &mut server.end,
        }
    }
}

/// A link that is up.
pub struct Linked {
    pub ours: Ours,
    pub line: MemifLine,
    /// The files of the model's memory.
    pub memories: Vec<MemifMemory>,
    pub model: Model,
    /// By which the peer is woken.
    pub wake: Option<OwnedFd>,
}

fn message(kind: u16, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = kind.to_ne_bytes().to_vec();
    bytes.extend(fields.concat());
    bytes.resize(MESSAGE_BYTES, 0);
    bytes
}

pub fn disconnect() -> Vec<u8> {
    message(DISCONNECT, &[])
}

fn init(version: u16, id: u32, mode: u8) -> Vec<u8> {
    message(INIT, &[&version.to_ne_bytes(), &id.to_ne_bytes(), &[mode]])
}

fn add_region(index: u16, bytes: u64) -> Vec<u8> {
    message(ADD_REGION, &[&index.to_ne_bytes(), &bytes.to_ne_bytes()])
}

fn add_ring(to_server: bool, index: u16, place: Place) -> Vec<u8> {
    let words = [u16::from(to_server), index, place.region].map(u16::to_ne_bytes).concat();
    message(ADD_RING, &[&words, &place.offset.to_ne_bytes(), &[place.log2_size]])
}

/// What comes along with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Along {
    Nothing,
    Memory(usize),
    Event,
}

/// A client made by hand, and the server that it talks to.
struct Caller {
    server: MemifServer,
    line: MemifLine,
    memories: Vec<MemifMemory>,
    memory: Memory,
    /// The ring to the server, and the one back.
    rings: [Option<Place>; 2],
    wake: Option<OwnedFd>,
    has_link: bool,
    served: usize,
}

impl Caller {
    fn new(limits: Limits) -> Caller {
        let (server, line) = MemifServer::new(limits.pool(), limits.frame_bytes_max);
        let (hello, _) = line.hear().expect("a greeting");
        assert_eq!(hello[..2], HELLO.to_ne_bytes());
        Caller {
            server,
            line,
            memories: Vec::new(),
            memory: Memory::default(),
            rings: [None; 2],
            wake: None,
            has_link: false,
            served: 0,
        }
    }

    fn share(&mut self, bytes: usize) -> Along {
        self.memories.push(MemifMemory::create(bytes));
        self.memory.files.push(vec![0; self.memories.last().map_or(0, MemifMemory::bytes)]);
        Along::Memory(self.memories.len() - 1)
    }

    fn write(&mut self, file: usize, at: usize, bytes: &[u8]) {
        self.memories[file].write(at, bytes);
        self.memory.files[file][at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// What the server says to it: nothing where it lets the client go without a word.
    fn ask(&mut self, bytes: &[u8], along: Along) -> Option<u16> {
        let event = memif_event();
        let file = match along {
            Along::Nothing => None,
            Along::Memory(file) => Some(self.memories[file].file()),
            Along::Event => Some(event.as_fd()),
        };
        assert!(self.line.say(bytes, file), "the server listens");
        let is_served = self.server.serve();
        let answer = self.line.hear().map(|(answer, _)| u16::from_ne_bytes([answer[0], answer[1]]));
        assert!(self.line.hear().is_none(), "one answer");
        assert_eq!(is_served, matches!(answer, Some(ACK | CONNECTED)), "{answer:?}");
        assert_eq!(self.server.end.is_up(), answer == Some(CONNECTED));
        assert_eq!(answer, self.due(bytes, along));
        self.served += 1;
        assert!(!is_served || self.served <= SERVED_MAX, "a client that is never done");
        if answer == Some(ACK) {
            self.note(bytes, along);
            if along == Along::Event && bytes[2] & 1 == 0 {
                self.wake = Some(event);
            }
        }
        answer
    }

    /// What the protocol has for a message: an answer, or none for what is no message.
    fn due(&self, bytes: &[u8], along: Along) -> Option<u16> {
        if bytes.len() != MESSAGE_BYTES {
            return None;
        }
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let is_granted = match word(0) {
            INIT => {
                let id = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                !self.has_link && (word(2), id, bytes[8]) == (VERSION, 0, 0)
            }
            ADD_REGION => {
                let length = told(bytes);
                let there = match along {
                    Along::Memory(file) => self.memories[file].bytes() as u64,
                    _ => 0,
                };
                let regions = self.memory.regions.len();
                self.has_link
                    && usize::from(word(2)) == regions
                    && regions < REGIONS_MAX
                    && (1..=there).contains(&length)
            }
            ADD_RING => {
                let is_new = self.rings[usize::from(word(2) & 1 == 0)].is_none();
                self.has_link && word(4) == 0 && is_new && !matches!(along, Along::Memory(_))
            }
            CONNECT => {
                let is_whole = self.has_link && self.rings.iter().all(|ring| self.is_ring(*ring));
                return Some(if is_whole { CONNECTED } else { DISCONNECT });
            }
            ACK | HELLO | CONNECTED => false,
            _ => return None,
        };
        Some(if is_granted { ACK } else { DISCONNECT })
    }

    fn is_ring(&self, ring: Option<Place>) -> bool {
        let Some(place) = ring.filter(|ring| ring.is_in(&self.memory)) else { return false };
        let file = self.memory.regions[usize::from(place.region)].0;
        let at = usize::try_from(place.offset).expect("inside");
        self.memory.files[file][at..at + 4] == COOKIE.to_ne_bytes()
    }

    /// Takes down what the server has granted.
    fn note(&mut self, bytes: &[u8], along: Along) {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        match (word(0), along) {
            (INIT, _) => self.has_link = true,
            (ADD_REGION, Along::Memory(file)) => {
                self.memory.regions.push((file, usize::try_from(told(bytes)).expect("it is there")));
            }
            (ADD_RING, _) => {
                let offset = u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
                let place = Place { region: word(6), offset, log2_size: bytes[12] };
                self.rings[usize::from(word(2) & 1 == 0)] = Some(place);
            }
            _ => {}
        }
    }

    fn linked(self, limits: Limits) -> Option<Linked> {
        let [Some(to_server), Some(to_client)] = self.rings else { return None };
        let (incoming, outgoing) = (Ring::new(to_server, None), Ring::new(to_client, None));
        let model = Model::new(self.memory, incoming, outgoing, limits.frame_bytes_max);
        let Caller { server, line, memories, wake, .. } = self;
        Some(Linked { ours: Ours::Server(server), line, memories, model, wake })
    }
}

/// The length that a region's message tells.
fn told(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes[4..12].try_into().expect("eight bytes"))
}

/// A client that says what it likes.
pub fn any_client(input: &mut Input, limits: Limits) -> Option<Linked> {
    let mut caller = Caller::new(limits);
    while !input.is_empty() {
        let next = u16::try_from(caller.memory.regions.len()).expect("few");
        let (bytes, along) = match input.below(11) {
            0 => (init(VERSION, 0, 0), Along::Nothing),
            1 => (init(input.word(), input.byte().into(), input.byte()), Along::Nothing),
            2 => {
                let bytes = input.of(&[4096, 8192, 16_384, 300_000]);
                let told = bytes - u64::from(input.of(&[0_u8, 1, 96]));
                (add_region(next, told), caller.share(usize::try_from(bytes).expect("small")))
            }
            3 => {
                let along = match input.below(caller.memories.len() + 2) {
                    0 => Along::Nothing,
                    1 => Along::Event,
                    file => Along::Memory(file - 2),
                };
                let high = if input.byte() == 0xff { input.long() } else { 0 };
                (
                    add_region(input.byte().into(), u64::from(high) << 32 | u64::from(number(input, 8192))),
                    along,
                )
            }
            which @ (4 | 5) => {
                let (region, log2_size) = (input.below(3), input.byte());
                let place = Place {
                    region: u16::try_from(region).expect("small"),
                    offset: number(input, 8192),
                    log2_size: log2_size % 32,
                };
                let along = match log2_size >> 5 & 3 {
                    0 | 2 => Along::Event,
                    1 => Along::Nothing,
                    _ => {
                        if caller.memories.is_empty() {
                            Along::Nothing
                        } else {
                            Along::Memory(0)
                        }
                    }
                };
                (add_ring(which == 4, u16::from(log2_size & 0xc0 == 0xc0), place), along)
            }
            6 => (message(CONNECT, &[]), Along::Nothing),
            7 => {
                let kind = u16::from(input.byte());
                let fields: Vec<u8> = (0..input.below(40)).map(|_| input.byte()).collect();
                (message(kind, &[&fields]), Along::Nothing)
            }
            8 => {
                let mut bytes = init(VERSION, 0, 0);
                bytes.resize(usize::from(input.byte()), 0);
                (bytes, Along::Nothing)
            }
            9 => {
                // What makes a ring one, where one was told to be.
                let ring = caller.rings[input.below(2)].filter(|ring| ring.is_in(&caller.memory));
                if let Some(place) = ring {
                    let file = caller.memory.regions[usize::from(place.region)].0;
                    caller.write(file, usize::try_from(place.offset).expect("inside"), &COOKIE.to_ne_bytes());
                }
                continue;
            }
            _ => (disconnect(), Along::Nothing),
        };
        if bytes.is_empty() {
            continue;
        }
        match caller.ask(&bytes, along) {
            Some(ACK) => {}
            Some(CONNECTED) => return caller.linked(limits),
            _ => return None,
        }
    }
    None
}

/// A client that comes as it should: rings of some size, the server's buffers laid out.
pub fn good_client(input: &mut Input, limits: Limits) -> Linked {
    let mut caller = Caller::new(limits);
    assert_eq!(caller.ask(&init(VERSION, 0, 0), Along::Nothing), Some(ACK));
    let shape = input.byte();
    // The largest seldom: there is much to compare.
    let log2_size =
        if shape & 0xe7 == 7 { LOG2_SIZE_MAX } else { [3, 0, 1, 4, 5, 6, 7, 2][usize::from(shape & 7)] };
    let ring_bytes = DESCRIPTORS_AT + (DESCRIPTOR_BYTES << log2_size);
    // What the second region does not share are the last bytes of its page.
    let bytes = 2 * ring_bytes + 12_000;
    for (bytes, less) in [(bytes, 0), (8192, 96)].into_iter().take(if shape & 8 == 0 { 1 } else { 2 }) {
        let along = caller.share(bytes);
        let there = caller.memories.last().map_or(0, MemifMemory::bytes) as u64;
        let index = u16::try_from(caller.memory.regions.len()).expect("few");
        assert_eq!(caller.ask(&add_region(index, there - less), along), Some(ACK));
    }
    let place = |number: usize| Place {
        region: 0,
        offset: u32::try_from(number * ring_bytes).expect("small"),
        log2_size,
    };
    for (number, to_server) in [(0, true), (1, false)] {
        caller.write(0, number * ring_bytes, &COOKIE.to_ne_bytes());
        let flags = u16::from(shape & 16 == 0);
        caller.write(0, number * ring_bytes + FLAGS_AT, &flags.to_ne_bytes());
        assert_eq!(caller.ask(&add_ring(to_server, 0, place(number)), Along::Event), Some(ACK));
    }
    let buffer = [2048_u32, 64, 256, 1500][usize::from(shape >> 5 & 3)];
    let count = 1_usize << log2_size;
    let first = u32::try_from(2 * ring_bytes).expect("small");
    // Several slots share a buffer: there is not room for all.
    let offsets = (0..count).map(|slot| first + [0, 1, 2, 3, 4][slot % 5] * buffer);
    let descriptors: Vec<u8> =
        offsets.flat_map(|offset| [0, buffer, offset, 0].map(u32::to_ne_bytes)).flatten().collect();
    caller.write(0, ring_bytes + DESCRIPTORS_AT, &descriptors);
    let laid_out = u16::try_from(count).expect("2^14");
    caller.write(0, ring_bytes + HEAD_AT, &laid_out.to_ne_bytes());
    assert_eq!(caller.ask(&message(CONNECT, &[]), Along::Nothing), Some(CONNECTED));
    caller.linked(limits).expect("both rings")
}

/// A server that says what it likes, to a client of ours.
pub fn any_server(input: &mut Input, limits: Limits) -> Option<Linked> {
    let (log2_size, buffer_bytes) =
        (u8::try_from(input.below(6)).expect("small"), input.of(&[64, 2048, 256]));
    let (mut client, line) = MemifClient::new(limits.pool(), limits.frame_bytes_max, log2_size, buffer_bytes);
    let is_good = input.byte() & 1 == 0;
    let hello = message(HELLO, &[&[0; 32], &[0, 2, 0, 2, 15, 0, 0, 0, 0, 0, LOG2_SIZE_MAX]]);
    for kind in [HELLO, ACK, ACK, ACK, ACK, CONNECTED] {
        let right = if kind == HELLO { hello.clone() } else { message(kind, &[]) };
        let bytes = match if is_good { 0 } else { input.below(8) } {
            0..=3 => right,
            4 => message(input.byte().into(), &[&[input.byte(); 126]]),
            5 => vec![input.byte(); input.below(200)],
            6 => message(
                HELLO,
                &[&[0; 32], &[input.byte(), input.byte(), input.byte(), 2, 0, 0, 0, 0, 0, 0, 9]],
            ),
            _ => break,
        };
        assert!(bytes.is_empty() || line.say(&bytes, None), "the client is there");
    }
    line.end();
    if !client.agree() {
        assert!(!client.end.is_up());
        return None;
    }
    assert!(client.end.is_up());
    let (mut memory, mut memories, mut places, mut wake) = (Memory::default(), Vec::new(), [None; 2], None);
    while let Some((bytes, file)) = line.hear() {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        match word(0) {
            ADD_REGION => {
                memories.push(MemifMemory::of(file.expect("its file"), told(&bytes)).expect("memory"))
            }
            ADD_RING => {
                let offset = u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
                places[usize::from(word(2) & 1 == 0)] =
                    Some(Place { region: word(6), offset, log2_size: bytes[12] });
                if word(2) & 1 == 1 {
                    wake = file;
                }
            }
            _ => {}
        }
    }
    memory.files = memories.iter().map(MemifMemory::read).collect();
    memory.regions = vec![(0, memory.files[0].len())];
    let [outgoing, incoming] = places.map(|place| {
        let place = place.expect("a ring each way");
        assert!(place.is_in(&memory) && place.log2_size == log2_size);
        let offset = |slot| {
            let at = usize::try_from(place.descriptor_at(slot)).expect("small") + 8;
            u32::from_ne_bytes(memory.files[0][at..at + 4].try_into().expect("four bytes"))
        };
        Ring::new(place, Some(Own { offsets: (0..place.size()).map(offset).collect(), bytes: buffer_bytes }))
    });
    let model = Model::new(memory, incoming, outgoing, limits.frame_bytes_max);
    Some(Linked { ours: Ours::Client(client), line, memories, model, wake })
}
