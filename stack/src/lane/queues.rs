//! Completion queues of one lane, and the credit that keeps the engine from overfilling one.

use std::collections::VecDeque;
use std::rc::Rc;

use super::QueueOptions;
use crate::mode::{Arrival, Completions};
use crate::socket::{Completion, Event, LaneId, QueueId, Received, Returns, SocketId, Stream};

/// Completions of one queue, in order.
struct Queue {
    arrivals: VecDeque<Arrival>,
    /// How many of these there ever were.
    arrived: u64,
    /// All else, and how many arrivals ever came before each.
    others: VecDeque<(u64, Completion)>,
    bound: usize,
    ops_each: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.arrivals.len() + self.others.len()
    }

    /// Arrivals that were taken.
    fn taken(&self) -> u64 {
        self.arrived - self.arrivals.len() as u64
    }

    /// Drop what waits of a stream's received direction. Returns whether bytes were among it.
    fn discard(&mut self, socket: SocketId, returns: &Rc<Returns>) -> bool {
        let is_end =
            |completion: &Completion| matches!(completion.event, Event::End { stream } if stream.0 == socket);
        if self.others.iter().any(|(_, other)| is_end(other)) {
            self.others.retain(|(_, other)| !is_end(other));
        }
        let Some(first) = self.arrivals.iter().position(|arrival| arrival.stream.0 == socket) else {
            return false;
        };
        let (mut number, mut gone) = (self.taken() + first as u64, Vec::new());
        for arrival in self.arrivals.split_off(first) {
            if arrival.stream.0 == socket {
                drop(received(arrival, returns));
                gone.push(number);
            } else {
                self.arrivals.push_back(arrival);
            }
            number += 1;
        }
        self.arrived -= gone.len() as u64;
        for (before, _) in &mut self.others {
            *before -= gone.partition_point(|number| number < before) as u64;
        }
        true
    }
}

fn received(arrival: Arrival, returns: &Rc<Returns>) -> Received {
    Received::new(arrival.data, arrival.stream.0, returns)
}

pub(super) struct Queues {
    lane: LaneId,
    queues: Vec<Queue>,
    left: u32,
    returns: Rc<Returns>,
    /// The stream whose end was taken last.
    ended: Option<Stream>,
}

impl Queues {
    pub fn new(lane: LaneId, completions: u32, returns: Rc<Returns>) -> Queues {
        let mut queues = Queues { lane, queues: Vec::new(), left: completions, returns, ended: None };
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
        self.queues.push(Queue {
            arrivals: VecDeque::with_capacity(bound),
            arrived: 0,
            others: VecDeque::with_capacity(bound),
            bound,
            ops_each: options.ops_each as usize,
        });
        Some(QueueId { index, lane: self.lane.0 })
    }

    /// Panics: if the queue is not this lane's, which is a fault of the program.
    #[inline]
    pub fn index(&self, queue: QueueId) -> u8 {
        let ours = queue.lane == self.lane.0 || queue == QueueId::MAIN;
        assert!(
            ours && usize::from(queue.index) < self.queues.len(),
            "{queue:?} is not a queue of {}",
            self.lane
        );
        queue.index
    }

    pub fn has(&self, queue: QueueId) -> bool {
        self.queues[usize::from(self.index(queue))].len() > 0
    }

    /// Bytes of a stream have come.
    #[inline]
    pub fn arrive(&mut self, arrival: Arrival) {
        if let Some(queue) = self.queues.get_mut(arrival.queue) {
            queue.arrivals.push_back(arrival);
            queue.arrived += 1;
        }
    }

    /// Bytes of streams have come, and nothing else: all of it at once, where there is but one queue and nothing waits in
    /// it. False if not, and nothing was done.
    pub fn arrive_all(&mut self, completions: &mut Completions) -> bool {
        let [queue] = &mut self.queues[..] else { return false };
        if !queue.arrivals.is_empty() {
            return false;
        }
        let mut arrivals = Vec::from(core::mem::take(&mut queue.arrivals));
        let all = completions.exchange(&mut arrivals);
        queue.arrived += arrivals.len() as u64;
        queue.arrivals = VecDeque::from(arrivals);
        all
    }

    /// Anything else has happened.
    #[inline]
    pub fn push(&mut self, queue: u8, completion: Completion) {
        if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
            queue.others.push_back((queue.arrived, completion));
        }
    }

    /// The oldest completion, if `ops_left` ops are enough for the answers it may ask for.
    #[inline]
    pub fn take(&mut self, queue: QueueId, ops_left: usize) -> Option<Completion> {
        let index = self.index(queue);
        let queue = self.queues.get_mut(usize::from(index))?;
        if ops_left < queue.ops_each {
            return None;
        }
        if queue.others.front().is_some_and(|(before, _)| *before <= queue.taken()) {
            let (_, completion) = queue.others.pop_front()?;
            if let Event::End { stream } = completion.event {
                self.ended = Some(stream);
            }
            return Some(completion);
        }
        let arrival = queue.arrivals.pop_front()?;
        let (stream, tag) = (arrival.stream, arrival.tag);
        let event = Event::Received { stream, data: received(arrival, &self.returns) };
        Some(Completion { event, tag, more: true })
    }

    /// Drop what waits of a stream's received direction. Returns whether bytes were among it.
    //
    // Closing looks for them: a count for each stream would be kept at each `Received`, the far more common event.
    pub fn discard(&mut self, socket: SocketId) -> bool {
        // Most are closed when their end was taken, behind which nothing waits where all waits in one queue.
        if self.queues.len() == 1 && self.ended == Some(Stream(socket)) {
            return false;
        }
        let mut bytes = false;
        for queue in &mut self.queues {
            bytes |= queue.discard(socket, &self.returns);
        }
        bytes
    }

    /// The streams of which received bytes wait, each once.
    pub fn unread(&self) -> Vec<SocketId> {
        let arrivals = self.queues.iter().flat_map(|queue| &queue.arrivals);
        let mut streams: Vec<SocketId> = arrivals.map(|arrival| arrival.stream.0).collect();
        streams.sort_unstable_by_key(|socket| socket.to_bits());
        streams.dedup();
        streams
    }

    /// Received frames that wait.
    pub fn arrivals(&self) -> usize {
        self.queues.iter().map(|queue| queue.arrivals.len()).sum()
    }

    /// How many more completions each queue can take.
    pub fn credits(&self, into: &mut Vec<u32>) {
        into.clear();
        let room = |queue: &Queue| queue.bound.saturating_sub(queue.len());
        into.extend(self.queues.iter().map(|queue| u32::try_from(room(queue)).unwrap_or(u32::MAX)));
    }

    /// Drop everything that waits: nobody will take it.
    pub fn clear(&mut self) {
        for queue in &mut self.queues {
            queue.arrivals.drain(..).for_each(|arrival| drop(received(arrival, &self.returns)));
            queue.others.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use drivers::Pool;
    use proptest::prelude::*;

    use super::*;
    use crate::socket::Tag;

    fn stream(number: u32) -> Stream {
        Stream(SocketId::new(LaneId(0), number, 1))
    }

    /// What a completion is, in a word.
    fn said(completion: &Completion) -> (u32, u64, u8) {
        match &completion.event {
            Event::Received { stream, .. } => (stream.0.slot(), completion.tag.0, 0),
            Event::End { stream } => (stream.0.slot(), completion.tag.0, 1),
            _ => (0, completion.tag.0, 2),
        }
    }

    proptest! {
        #[test]
        fn what_happened_is_told_in_order(steps in prop::collection::vec((0u8..9, 0u32..3), 1..100)) {
            // Shows against a list: bytes, ends and all else come out as they went in, whatever is taken or discarded in
            // between, and every frame that nobody took has given its window back.
            let (pool, returns) = (Pool::heap(200, 64), Returns::new(0));
            let mut queues = Queues::new(LaneId(0), 1_000, Rc::clone(&returns));
            let (mut model, mut bytes, mut taken, mut ends) = (VecDeque::new(), 0, 0, [0; 3]);
            for (tag, (step, of)) in (0u64..).zip(steps) {
                // Behind an end come another stream's bytes; what is closed may be either.
                let ended = &mut ends[of as usize];
                let before = u32::from(step == 8 && tag % 2 == 0);
                let of = of + 3 * u32::saturating_sub(*ended, before);
                let (stream, tag) = (stream(of), Tag(tag));
                match step {
                    0..=2 => {
                        let arrival = Arrival { stream, tag, data: pool.take().unwrap(), queue: 0 };
                        queues.arrive(arrival);
                        bytes += 1;
                        model.push_back((of, tag.0, 0));
                    }
                    7 => {
                        // A turn's, all at once where nothing waits.
                        let mut completions = Completions::default();
                        for _ in 0..2 {
                            completions.arrive(Arrival { stream, tag, data: pool.take().unwrap(), queue: 0 });
                            bytes += 1;
                            model.push_back((of, tag.0, 0));
                        }
                        let alone = queues.arrivals() == 0;
                        prop_assert_eq!(queues.arrive_all(&mut completions), alone);
                        completions.drain(&mut queues, |queues, arrival| queues.arrive(arrival), |_, _| {}, |_, _| {});
                    }
                    3 => {
                        queues.push(0, Completion { event: Event::End { stream }, tag, more: false });
                        *ended += 1;
                        model.push_back((of, tag.0, 1));
                    }
                    4 => {
                        queues.push(0, Completion { event: Event::Timer, tag, more: false });
                        model.push_back((0, tag.0, 2));
                    }
                    5 | 6 => {
                        let next = queues.take(QueueId::MAIN, usize::MAX);
                        taken += usize::from(matches!(next, Some(Completion { event: Event::Received { .. }, .. })));
                        prop_assert_eq!(next.as_ref().map(said), model.pop_front());
                    }
                    _ => {
                        let any = model.iter().any(|(its, _, what)| (*its, *what) == (of, 0));
                        prop_assert_eq!(queues.discard(stream.0), any);
                        model.retain(|(its, _, what)| *its != of || *what == 2);
                    }
                }
                let waiting = model.iter().filter(|(_, _, what)| *what == 0).count();
                prop_assert_eq!((queues.arrivals(), queues.has(QueueId::MAIN)), (waiting, !model.is_empty()));
                prop_assert_eq!(returns.out(), 0);
            }
            queues.clear();
            let mut back = Vec::new();
            returns.drain(&mut back);
            returns.free();
            prop_assert_eq!((back.len(), pool.available()), (bytes, 200));
            prop_assert!(taken <= bytes && !queues.has(QueueId::MAIN));
        }
    }
}
