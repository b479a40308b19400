//! How many sends of each stream are unfinished, so that a refusal is immediate and `Writable` comes in time.

use std::collections::VecDeque;

use crate::socket::{PerSocket, QueueId, Stream, Tag};

#[derive(Default)]
struct Count {
    unfinished: u32,
    refused: Option<(QueueId, Tag)>,
}

pub(super) struct Sends {
    bound: u32,
    /// Of every stream that has sent, until another takes its place.
    streams: PerSocket<Count>,
    writable: VecDeque<(QueueId, Tag, Stream)>,
}

impl Sends {
    pub fn new(bound: u32) -> Sends {
        Sends { bound, streams: PerSocket::new(), writable: VecDeque::new() }
    }

    /// Count `more` sends; false, and remembered for `Writable`, if the stream has no room for all of them.
    pub fn take(&mut self, stream: Stream, more: usize, queue: QueueId, tag: Tag) -> bool {
        let count = self.streams.entry(stream, Count::default);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more > self.bound.saturating_sub(count.unfinished) {
            count.refused.get_or_insert((queue, tag));
            return false;
        }
        count.unfinished += more;
        true
    }

    /// Remember a refused sender, to be told when there is room.
    pub fn refuse(&mut self, stream: Stream, queue: QueueId, tag: Tag) {
        self.streams.entry(stream, Count::default).refused.get_or_insert((queue, tag));
    }

    /// A send is finished.
    pub fn give_back(&mut self, stream: Stream) {
        let half = self.bound / 2;
        let Some(count) = self.streams.get_mut(stream) else { return };
        count.unfinished = count.unfinished.saturating_sub(1);
        if count.unfinished <= half
            && let Some((queue, tag)) = count.refused.take()
        {
            self.writable.push_back((queue, tag, stream));
        }
    }

    /// The next stream whose refused sender is to be told.
    pub fn writable(&mut self) -> Option<(QueueId, Tag, Stream)> {
        self.writable.pop_front()
    }

    /// Sends the stream still takes.
    pub fn room(&self, stream: Stream) -> usize {
        (self.bound - self.streams.get(stream).map_or(0, |count| count.unfinished)) as usize
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
