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
    streams: PerSocket<Count>,
    writable: VecDeque<(QueueId, Tag, Stream)>,
}

impl Sends {
    pub fn new(bound: u32) -> Sends {
        Sends { bound, streams: PerSocket::new(), writable: VecDeque::new() }
    }

    /// Count one more send; false, and remembered for `Writable`, if the stream is full.
    pub fn take(&mut self, stream: Stream, queue: QueueId, tag: Tag) -> bool {
        let count = self.streams.entry(stream, Count::default);
        if count.unfinished >= self.bound {
            count.refused.get_or_insert((queue, tag));
            return false;
        }
        count.unfinished += 1;
        true
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
        if count.unfinished == 0 {
            self.streams.remove(stream);
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
