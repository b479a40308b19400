//! The readiness view of a lane: sockets that are read and written without waiting, and told of when they are ready.
//!
//! A [`Poller`] is a thin layer over one [`Lane`]: descriptors are tags of its ops, `read` copies out of received frames
//! and gives them back as they empty, `write` copies in up to a bound. What calls mean, and which error each misuse
//! earns, follows BSD sockets as Linux has them. No call of it waits; those of [`Blocking`] do, one at a time.
//!
//! | file | duty |
//! | --- | --- |
//! | `socket` | what a socket is, and what the lane's completions do to it |
//! | `open` | addresses, listening, accepting, connecting |
//! | `transfer` | reading and writing of streams |
//! | `datagram` | reading and writing of datagrams |
//! | `blocking` | the same calls for one who waits |
//! | `close` | half-closing, closing, lingering |
//! | `options` | socket options by Linux's numbers |
//! | `readiness` | what a descriptor is ready for, and sets of descriptors |
//! | `errno` | errors by Linux's numbers |

mod blocking;
mod close;
mod datagram;
mod errno;
mod open;
mod options;
mod readiness;
mod socket;
mod transfer;

use core::net::IpAddr;
use std::collections::BTreeMap;

pub use self::blocking::{Blocking, Driver};
pub use self::close::Closing;
pub use self::errno::Errno;
pub use self::options::{Buffers, level, name};
pub use self::readiness::{Readiness, SetId, Told};
pub use self::socket::{Family, Kind};
pub use self::transfer::Flags;

use self::readiness::Set;
use self::socket::Socket;
use crate::lane::{Bound, Lane, LaneError, QueueOptions};
use crate::socket::{Completion, Op, QueueId, Stream, Tag, TcpInfo};

/// Names a socket of a poller. One that was closed names nothing, also when its place is used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Descriptor {
    index: u32,
    generation: u32,
}

/// Which of a socket's ops a completion answers: the upper bits of the op's tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// Listen, connect, receive, bind.
    Main,
    /// Send.
    Send,
    /// Anything whose failure changes nothing: options, shutdown.
    Other,
}

/// Generations go round after so many lives of a place.
const GENERATIONS: u32 = 1 << 28;

impl Descriptor {
    fn tag(self, asked: Asked) -> Tag {
        let asked = match asked {
            Asked::Main => 0,
            Asked::Send => 1,
            Asked::Other => 2,
        };
        Tag(asked << 60 | u64::from(self.generation) << 32 | u64::from(self.index))
    }

    #[expect(clippy::cast_possible_truncation, reason = "each field is masked to its width")]
    fn of(tag: Tag) -> (Descriptor, Asked) {
        let asked = match tag.0 >> 60 {
            0 => Asked::Main,
            1 => Asked::Send,
            _ => Asked::Other,
        };
        let generation = (tag.0 >> 32) as u32 & (GENERATIONS - 1);
        (Descriptor { index: tag.0 as u32, generation }, asked)
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    socket: Option<Box<Socket>>,
}

/// Sockets of one lane, with the manners of BSD's. Any number to a lane, each with a queue of its own.
pub struct Poller {
    queue: QueueId,
    slots: Vec<Slot>,
    free: Vec<u32>,
    sockets_max: usize,
    sets: BTreeMap<SetId, Set>,
    next_set: u32,
    /// The answer to the last question for a stream's figures.
    info: Option<(Stream, TcpInfo)>,
    buffers: Buffers,
    /// This host's addresses, if they are known.
    addresses: Vec<IpAddr>,
    /// Where the search for a free port begins.
    next_port: u16,
}

/// Turns to wait for an answer that comes at once where the engine is on the same thread, and soon elsewhere.
const ANSWER_TURNS_MAX: u32 = 64;

impl Poller {
    /// A poller with at most `sockets_max` sockets, and a queue of its own.
    ///
    /// Errors: the lane has no room for the queue.
    pub fn new(lane: &mut Lane, sockets_max: usize, completions: u32) -> Result<Poller, LaneError> {
        let queue = lane.queue(QueueOptions { completions, ops_each: 2 })?;
        Ok(Poller {
            queue,
            slots: Vec::new(),
            free: Vec::new(),
            sockets_max,
            sets: BTreeMap::new(),
            next_set: 0,
            info: None,
            buffers: Buffers::default(),
            addresses: Vec::new(),
            next_port: 0,
        })
    }

    /// The queue of the lane that its completions come to.
    pub fn queue(&self) -> QueueId {
        self.queue
    }

    /// Bounds that sockets made from here on begin with.
    pub fn set_buffers(&mut self, buffers: Buffers) {
        self.buffers = buffers;
    }

    /// Know this host's addresses, so that `bind` refuses others at once.
    pub fn set_addresses(&mut self, addresses: Vec<IpAddr>) {
        self.addresses = addresses;
    }

    /// One turn of the lane, and what it brought. False once the lane has stopped.
    pub fn turn(&mut self, lane: &mut Lane) -> bool {
        let running = lane.turn();
        self.take(lane);
        running
    }

    /// Take what waits in the lane's queue in.
    fn take(&mut self, lane: &mut Lane) {
        while let Some(completion) = lane.take(self.queue) {
            self.complete(lane, completion);
        }
    }

    fn complete(&mut self, lane: &mut Lane, completion: Completion) {
        let (descriptor, asked) = Descriptor::of(completion.tag);
        self.on_event(lane, descriptor, asked, completion.event);
    }

    /// Submit an op for a descriptor; turns make room where the batch is full.
    ///
    /// Errors: the stream has no room for a further send, or the lane has stopped.
    fn submit(&mut self, lane: &mut Lane, descriptor: Descriptor, asked: Asked, op: Op) -> Result<(), Errno> {
        let mut op = op.to(self.queue).tag(descriptor.tag(asked));
        for _ in 0..ANSWER_TURNS_MAX {
            match lane.submit(op) {
                Ok(()) => return Ok(()),
                Err(full) if full.bound == Bound::Sends => return Err(Errno::Again),
                Err(full) => op = full.op,
            }
            if !lane.turn() {
                return Err(Errno::NoBuffers);
            }
        }
        Err(Errno::NoBuffers)
    }

    /// A stream's figures, as of now.
    ///
    /// Errors: the stream has ended.
    fn inspect(&mut self, lane: &mut Lane, descriptor: Descriptor, stream: Stream) -> Result<TcpInfo, Errno> {
        self.info = None;
        self.submit(lane, descriptor, Asked::Other, Op::inspect(stream))?;
        for _ in 0..ANSWER_TURNS_MAX {
            let running = self.turn(lane);
            if let Some((_, info)) = self.info.take_if(|(of, _)| *of == stream) {
                return Ok(info);
            }
            if !running || self.socket(descriptor)?.stream != Some(stream) {
                break;
            }
        }
        Err(Errno::NotConnected)
    }

    /// Sockets that are open, those that wait to be accepted included.
    pub fn sockets(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn insert(&mut self, socket: Socket) -> Result<Descriptor, Errno> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() >= self.sockets_max => return Err(Errno::TooManyDescriptors),
            None => {
                self.slots.push(Slot::default());
                u32::try_from(self.slots.len() - 1).map_err(|_| Errno::TooManyDescriptors)?
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.socket = Some(Box::new(socket));
        Ok(Descriptor { index, generation: slot.generation })
    }

    fn remove(&mut self, descriptor: Descriptor) -> Option<Box<Socket>> {
        let slot = self.slots.get_mut(descriptor.index as usize)?;
        if slot.generation != descriptor.generation {
            return None;
        }
        let socket = slot.socket.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(descriptor.index);
        for set in self.sets.values_mut() {
            set.forget(descriptor);
        }
        Some(socket)
    }

    fn socket(&self, descriptor: Descriptor) -> Result<&Socket, Errno> {
        self.slots
            .get(descriptor.index as usize)
            .filter(|slot| slot.generation == descriptor.generation)
            .and_then(|slot| slot.socket.as_deref())
            .ok_or(Errno::BadDescriptor)
    }

    fn socket_mut(&mut self, descriptor: Descriptor) -> Result<&mut Socket, Errno> {
        self.slots
            .get_mut(descriptor.index as usize)
            .filter(|slot| slot.generation == descriptor.generation)
            .and_then(|slot| slot.socket.as_deref_mut())
            .ok_or(Errno::BadDescriptor)
    }

    /// Every open socket.
    fn iter(&self) -> impl Iterator<Item = &Socket> {
        self.slots.iter().filter_map(|slot| slot.socket.as_deref())
    }

    /// Something happened to a descriptor: tell the sets that watch it.
    fn notify(&mut self, descriptor: Descriptor, what: Readiness) {
        for set in self.sets.values_mut() {
            set.notify(descriptor, what);
        }
    }
}
