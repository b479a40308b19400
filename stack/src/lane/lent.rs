//! The table of lent payloads: they never leave the application's side, so no mode can lose one.

use drivers::{Extent, Lent};

use crate::mode::{Back, Key, View, ViewData};
use crate::socket::{Completion, Event, Payload, SocketId, Stream, Tag};

enum Entry {
    Free { next: u32 },
    Lent { payload: Stored, stream: Option<Stream>, tag: Tag },
}

enum Stored {
    Payload(Payload),
    Block(Lent),
}

const NONE: u32 = u32::MAX;

/// A `Sent` whose block a transmit ring still refers to.
struct Parked {
    block: Lent,
    stream: Stream,
    answer: (u8, Tag, bool),
}

/// The `Closed` of a socket that has parked answers.
struct Last {
    socket: SocketId,
    queue: u8,
    completion: Completion,
}

pub(super) struct LentTable {
    entries: Vec<Entry>,
    free: u32,
    count: usize,
    parked: Vec<Parked>,
    /// Behind the parked: empty while nothing is.
    last: Vec<Last>,
}

impl Default for LentTable {
    fn default() -> Self {
        LentTable { entries: Vec::new(), free: NONE, count: 0, parked: Vec::new(), last: Vec::new() }
    }
}

impl LentTable {
    /// Keep a payload, and give a view of it.
    pub fn lend(&mut self, payload: Payload, stream: Option<Stream>, tag: Tag) -> View {
        match self.lend_memory(payload, stream, tag) {
            Ok((extent, key)) => View { data: ViewData::Extent(extent), key },
            Err(payload) => {
                let data = ViewData::inline(payload.as_slice());
                let data = data.expect("an op carries more than an application may put into it");
                View {
                    data,
                    key: self.insert(Entry::Lent { payload: Stored::Payload(payload), stream, tag }),
                }
            }
        }
    }

    /// The same of a payload that lies in memory; one inside its op comes back.
    // Each kind is put into its place by itself: moved as a whole, it is written in small pieces and read in large ones, which
    // wait for them.
    #[inline]
    pub fn lend_memory(
        &mut self,
        payload: Payload,
        stream: Option<Stream>,
        tag: Tag,
    ) -> Result<(Extent, Key), Payload> {
        let lent = |payload| Entry::Lent { payload, stream, tag };
        Ok(match payload {
            Payload::Inline(..) => return Err(payload),
            Payload::Block(block) => {
                let (block, extent) = block.lend();
                (extent, self.insert(lent(Stored::Block(block))))
            }
            Payload::Bytes(bytes) => {
                let extent = Extent::of_bytes(&bytes).expect("a payload has fewer than 2^32 bytes");
                (extent, self.insert(lent(Stored::Payload(Payload::Bytes(bytes)))))
            }
            Payload::Received(received) => {
                let extent = received.frame().and_then(Extent::of_frame);
                let extent = extent.expect("fewer than 60,000 slices of one frame");
                (extent, self.insert(lent(Stored::Payload(Payload::Received(received)))))
            }
        })
    }

    #[inline(always)]
    fn insert(&mut self, entry: Entry) -> Key {
        self.count += 1;
        let index = self.free;
        if let Some(slot) = self.entries.get_mut(index as usize) {
            if let Entry::Free { next } = slot {
                self.free = *next;
            }
            *slot = entry;
            return Key(index);
        }
        self.entries.push(entry);
        Key(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 lent payloads"))
    }

    fn remove(&mut self, key: Key) -> Option<(Stored, Option<Stream>)> {
        let slot = self.entries.get_mut(key.0 as usize)?;
        match core::mem::replace(slot, Entry::Free { next: self.free }) {
            Entry::Lent { payload, stream, .. } => {
                self.free = key.0;
                self.count -= 1;
                Some((payload, stream))
            }
            Entry::Free { next } => {
                *slot = Entry::Free { next };
                None
            }
        }
    }

    /// The stream whose send this payload was, if it was one's, and the tag of its op.
    pub fn origin(&self, key: Key) -> Option<(Option<Stream>, Tag)> {
        match self.entries.get(key.0 as usize)? {
            Entry::Lent { stream, tag, .. } => Some((*stream, *tag)),
            Entry::Free { .. } => None,
        }
    }

    /// A quiet send is done: let the payload go. Returns its stream.
    pub fn finish(&mut self, key: Key) -> Option<Stream> {
        self.remove(key)?.1
    }

    /// Take a payload back. A block that a transmit ring still reads is not given out for writing: its bytes are.
    pub fn take(&mut self, payload: Back) -> Option<Payload> {
        let key = match payload {
            Back::Lent(key) => key,
            Back::Small(bytes) => return Some(Payload::from(bytes.into_vec())),
        };
        Some(match self.remove(key)?.0 {
            Stored::Payload(payload) => payload,
            Stored::Block(lent) => match lent.reclaim() {
                Ok(block) => Payload::Block(block),
                Err(lent) => Payload::Bytes(lent.freeze()),
            },
        })
    }

    /// Take a payload back for its `Sent`; `None` if a transmit ring still refers to it, and `settled` will tell.
    pub fn take_or_park(&mut self, payload: Back, answer: (u8, Tag, bool)) -> Option<Payload> {
        let Back::Lent(key) = payload else { return self.take(payload) };
        let (stored, stream) = self.remove(key)?;
        match (stored, stream) {
            (Stored::Payload(payload), _) => Some(payload),
            (Stored::Block(lent), Some(stream)) => match lent.reclaim() {
                Ok(block) => Some(Payload::Block(block)),
                Err(block) => {
                    self.parked.push(Parked { block, stream, answer });
                    None
                }
            },
            (Stored::Block(lent), None) => Some(Payload::Bytes(lent.freeze())),
        }
    }

    /// Give a socket's `Closed` its place behind what is parked of the socket.
    pub fn hold_last(&mut self, socket: SocketId, queue: u8, completion: Completion) {
        self.last.push(Last { socket, queue, completion });
    }

    /// Something of a socket is parked.
    pub fn has_parked(&self, socket: SocketId) -> bool {
        self.parked.iter().any(|parked| parked.stream.0 == socket)
    }

    /// Answers wait for their blocks.
    pub fn is_waiting(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Answers whose blocks have come out of the transmit rings since, each socket's `Closed` behind the last of them.
    pub fn settled(&mut self) -> Vec<(u8, Completion)> {
        let mut settled = Vec::new();
        for Parked { block, stream, answer } in self.parked.extract_if(.., |parked| parked.block.is_idle()) {
            if let Ok(block) = block.reclaim() {
                let (queue, tag, more) = answer;
                let event = Event::Sent { stream, payload: Payload::Block(block) };
                settled.push((queue, Completion { event, tag, more }));
            }
        }
        if settled.is_empty() || self.last.is_empty() {
            return settled;
        }
        let parked = &self.parked;
        let free = |last: &mut Last| !parked.iter().any(|parked| parked.stream.0 == last.socket);
        settled.extend(self.last.extract_if(.., free).map(|last| (last.queue, last.completion)));
        settled
    }

    /// Payloads the lane holds.
    pub fn len(&self) -> usize {
        self.count + self.parked.len()
    }
}
