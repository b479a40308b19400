//! Completion queues of one lane, and the credit that keeps the engine from overfilling one.

use std::collections::VecDeque;

use super::QueueOptions;
use crate::socket::{Completion, Event, LaneId, QueueId, SocketId};

struct Queue {
    completions: VecDeque<Completion>,
    bound: usize,
    ops_each: usize,
}

pub(super) struct Queues {
    lane: LaneId,
    queues: Vec<Queue>,
    left: u32,
}

impl Queues {
    pub fn new(lane: LaneId, completions: u32) -> Queues {
        let mut queues = Queues { lane, queues: Vec::new(), left: completions };
        let options = QueueOptions::default();
        let main = QueueOptions { completions: options.completions.min(completions), ..options };
        queues.add(main);
        queues
    }

    /// A further queue, if the lane's completions and the number of queues allow it.
    pub fn add(&mut self, options: QueueOptions) -> Option<QueueId> {
        if options.completions > self.left || self.queues.len() >= QueueId::QUEUES_MAX {
            return None;
        }
        self.left -= options.completions;
        let index = u8::try_from(self.queues.len()).ok()?;
        let bound = options.completions as usize;
        let completions = VecDeque::with_capacity(bound);
        self.queues.push(Queue { completions, bound, ops_each: options.ops_each as usize });
        Some(QueueId { index, lane: self.lane.0 })
    }

    /// Panics: if the queue is not this lane's, which is a fault of the program.
    pub fn index(&self, queue: QueueId) -> u8 {
        let ours = queue.lane == self.lane.0 || queue == QueueId::MAIN;
        assert!(
            ours && usize::from(queue.index) < self.queues.len(),
            "{queue:?} is not a queue of {}",
            self.lane
        );
        queue.index
    }

    fn queue(&mut self, queue: QueueId) -> &mut Queue {
        let index = self.index(queue);
        &mut self.queues[usize::from(index)]
    }

    pub fn has(&self, queue: QueueId) -> bool {
        !self.queues[usize::from(self.index(queue))].completions.is_empty()
    }

    pub fn push(&mut self, queue: u8, completion: Completion) {
        if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
            queue.completions.push_back(completion);
        }
    }

    /// The oldest completion, if `ops_left` ops are enough for the answers it may ask for.
    pub fn take(&mut self, queue: QueueId, ops_left: usize) -> Option<Completion> {
        let queue = self.queue(queue);
        if ops_left < queue.ops_each {
            return None;
        }
        queue.completions.pop_front()
    }

    /// Drop what waits of a stream's received direction. Returns whether bytes were among it.
    //
    // Closing looks for them: a count for each stream would be kept at each `Received`, the far more common event.
    pub fn discard(&mut self, socket: SocketId) -> bool {
        let mut bytes = false;
        let mut is_one = |completion: &Completion| match &completion.event {
            Event::Received { stream, .. } if stream.0 == socket => {
                bytes = true;
                true
            }
            Event::End { stream } => stream.0 == socket,
            _ => false,
        };
        for queue in &mut self.queues {
            if let Some(first) = queue.completions.iter().position(&mut is_one) {
                let mut index = 0;
                queue.completions.retain(|completion| {
                    index += 1;
                    index <= first || !is_one(completion)
                });
            }
        }
        bytes
    }

    /// The streams of which received bytes wait, each once.
    pub fn unread(&self) -> Vec<SocketId> {
        let completions = self.queues.iter().flat_map(|queue| &queue.completions);
        let mut streams: Vec<SocketId> = completions
            .filter_map(|completion| match &completion.event {
                Event::Received { stream, .. } => Some(stream.0),
                _ => None,
            })
            .collect();
        streams.sort_unstable_by_key(|socket| socket.to_bits());
        streams.dedup();
        streams
    }

    /// How many more completions each queue can take.
    pub fn credits(&self, into: &mut Vec<u32>) {
        into.clear();
        let room = |queue: &Queue| queue.bound.saturating_sub(queue.completions.len());
        into.extend(self.queues.iter().map(|queue| u32::try_from(room(queue)).unwrap_or(u32::MAX)));
    }

    /// Drop everything that waits: nobody will take it.
    pub fn clear(&mut self) {
        for queue in &mut self.queues {
            queue.completions.clear();
        }
    }
}
