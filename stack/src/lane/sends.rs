//! How many sends of each stream are unfinished, so that a refusal is immediate and `Writable` comes in time.

use std::collections::VecDeque;

use crate::socket::{PerSocket, QueueId, Stream, Tag};

/// Sends of one stream, in as few bytes as can be: each connection that ever sent has some.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Of the stream's handle: what an earlier stream in the slot has left counts for nothing.
    generation: u32,
    /// Unfinished sends, and [`REFUSED`].
    unfinished: u32,
}

/// Somebody was refused, and is to be told when there is room.
const REFUSED: u32 = 1 << 31;

/// Streams whose counts a core keeps near: a quarter of a megabyte of them.
const STREAMS_NEAR: usize = 32_768;

impl Count {
    fn unfinished(self) -> u32 {
        self.unfinished & !REFUSED
    }
}

pub(super) struct Sends {
    bound: u32,
    /// By slot, of every stream that has sent, until another takes its place.
    streams: Vec<Count>,
    /// Who was refused.
    refused: PerSocket<(QueueId, Tag)>,
    writable: VecDeque<(QueueId, Tag, Stream)>,
}

impl Sends {
    pub fn new(bound: u32) -> Sends {
        Sends {
            bound: bound.min(!REFUSED),
            streams: Vec::new(),
            refused: PerSocket::new(),
            writable: VecDeque::new(),
        }
    }

    /// The stream's count, which begins where there is none.
    #[inline]
    fn count(&mut self, stream: Stream) -> &mut Count {
        let (slot, generation) = (stream.0.slot() as usize, stream.0.generation());
        let len = self.streams.len();
        let count = if slot < len { &mut self.streams[slot] } else { self.grown(slot) };
        if count.generation != generation {
            *count = Count { generation, unfinished: 0 };
        }
        count
    }

    #[cold]
    fn grown(&mut self, slot: usize) -> &mut Count {
        self.streams.resize(slot + 1, Count::default());
        &mut self.streams[slot]
    }

    /// Count `more` sends; false, and remembered for `Writable`, if the stream has no room for all of them.
    #[inline]
    pub fn take(&mut self, stream: Stream, more: usize, queue: QueueId, tag: Tag) -> bool {
        let bound = self.bound;
        let count = self.count(stream);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more > bound.saturating_sub(count.unfinished()) {
            self.refuse(stream, queue, tag);
            return false;
        }
        count.unfinished += more;
        true
    }

    /// Remember a refused sender, to be told when there is room.
    #[cold]
    pub fn refuse(&mut self, stream: Stream, queue: QueueId, tag: Tag) {
        let count = self.count(stream);
        if count.unfinished & REFUSED == 0 {
            count.unfinished |= REFUSED;
            self.refused.insert(stream, (queue, tag));
        }
    }

    /// There are so many streams that their counts are not near by themselves.
    #[inline]
    pub fn is_far(&self) -> bool {
        self.streams.len() > STREAMS_NEAR
    }

    /// Bring a stream's count near.
    #[inline]
    pub fn prefetch(&self, stream: Stream) {
        if let Some(count) = self.streams.get(stream.0.slot() as usize) {
            drivers::prefetch(count);
        }
    }

    /// A send is finished.
    #[inline]
    pub fn give_back(&mut self, stream: Stream) {
        let half = self.bound / 2;
        let Some(count) = self.streams.get_mut(stream.0.slot() as usize) else { return };
        if count.generation != stream.0.generation() {
            return;
        }
        count.unfinished -= u32::from(count.unfinished() > 0);
        if count.unfinished & REFUSED != 0 && count.unfinished() <= half {
            count.unfinished &= !REFUSED;
            if let Some((queue, tag)) = self.refused.remove(stream) {
                self.writable.push_back((queue, tag, stream));
            }
        }
    }

    /// The next stream whose refused sender is to be told.
    #[inline]
    pub fn writable(&mut self) -> Option<(QueueId, Tag, Stream)> {
        self.writable.pop_front()
    }

    /// Sends the stream still takes.
    pub fn room(&self, stream: Stream) -> usize {
        let count = self.streams.get(stream.0.slot() as usize);
        let count = count.filter(|count| count.generation == stream.0.generation());
        (self.bound - count.map_or(0, |count| count.unfinished())) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{LaneId, SocketId};

    #[test]
    fn a_refused_sender_is_told_once_at_half() {
        // Shows the bound, that the first refusal's tag is told, once, when half the bound is free, and that gathered
        // sends count whole.
        let stream = Stream(SocketId::new(LaneId(0), 1, 1));
        let mut sends = Sends::new(4);
        assert!(sends.take(stream, 3, QueueId::MAIN, Tag(1)));
        assert!(!sends.take(stream, 2, QueueId::MAIN, Tag(2)));
        assert!(sends.take(stream, 1, QueueId::MAIN, Tag(3)));
        assert!(!sends.take(stream, 1, QueueId::MAIN, Tag(4)));
        assert_eq!(sends.room(stream), 0);
        sends.give_back(stream);
        assert_eq!(sends.writable(), None);
        sends.give_back(stream);
        assert_eq!(sends.writable(), Some((QueueId::MAIN, Tag(2), stream)));
        sends.give_back(stream);
        assert_eq!((sends.writable(), sends.room(stream)), (None, 3));
    }
}
