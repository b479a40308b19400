//! What the engine answers in a batch, in order: received bytes and payloads that are done by themselves, for most
//! completions of busy lanes are those, and one that may be anything is large, and is moved as a whole.

use drivers::Frame;

use super::{Back, Key};
use crate::socket::{Event, Stream, Tag};

/// A completion on the engine's side.
///
/// Where it names a payload, the tag and the queue of the op are the application's side's to know, and `acked` of
/// `Failed` is what was **not** acknowledged: the length is known there too.
#[derive(Debug)]
pub struct EngineCompletion {
    /// What happened.
    pub event: Event<Frame, Back>,
    /// Index of the queue it goes to.
    pub queue: u8,
    /// The application's word.
    pub tag: Tag,
    /// Further completions will come.
    pub more: bool,
}

/// Bytes of a stream, in order: what `Event::Received` is on the engine's side.
///
/// By far the most common of completions, and so by itself: copying the largest of all costs what taking its segment in does.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub stream: Stream,
    /// The application's word.
    pub tag: Tag,
    /// The bytes.
    pub data: Frame,
    /// Index of the queue it goes to: a word, for a narrower field is copied by itself.
    pub queue: usize,
}

/// A payload is done, and its op asked to be told: what `Event::Sent` is on the engine's side. By itself as arrivals are.
#[derive(Debug)]
pub struct Sent {
    /// The connection.
    pub stream: Stream,
    /// The payload's name.
    pub key: Key,
    /// Index of the queue it goes to.
    pub queue: u8,
}

/// What the engine answers, in order.
#[derive(Debug, Default)]
pub struct Completions {
    arrivals: Vec<Arrival>,
    /// Payloads that are done, and how many arrivals come before each.
    sent: Vec<(usize, Sent)>,
    /// All else, and how many arrivals and payloads that are done come before each.
    others: Vec<((usize, usize), EngineCompletion)>,
}

impl Completions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.arrivals.len() + self.sent.len() + self.others.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Add bytes of a stream.
    #[inline]
    pub fn arrive(&mut self, arrival: Arrival) {
        self.arrivals.push(arrival);
    }

    /// Add a payload that is done.
    #[inline]
    pub fn sent(&mut self, sent: Sent) {
        self.sent.push((self.arrivals.len(), sent));
    }

    /// Add anything.
    pub fn push(&mut self, completion: EngineCompletion) {
        let EngineCompletion { event, queue, tag, more } = completion;
        match event {
            Event::Received { stream, data } => {
                self.arrive(Arrival { stream, tag, data, queue: usize::from(queue) });
            }
            Event::Sent { stream, payload: Back::Lent(key) } => self.sent(Sent { stream, key, queue }),
            event => {
                let before = (self.arrivals.len(), self.sent.len());
                self.others.push((before, EngineCompletion { event, queue, tag, more }));
            }
        }
    }

    /// Drop all.
    pub fn clear(&mut self) {
        self.arrivals.clear();
        self.sent.clear();
        self.others.clear();
    }

    /// Move everything behind what there is in `into`, which mostly is nothing.
    pub fn pour(&mut self, into: &mut Completions) {
        if into.is_empty() {
            core::mem::swap(into, self);
            return;
        }
        let (arrived, sent) = (into.arrivals.len(), into.sent.len());
        into.arrivals.append(&mut self.arrivals);
        into.sent.extend(self.sent.drain(..).map(|(at, other)| (arrived + at, other)));
        let behind = |(at, sent_at)| (arrived + at, sent + sent_at);
        into.others.extend(self.others.drain(..).map(|(before, other)| (behind(before), other)));
    }

    /// Exchange all arrivals, if there is nothing else, for an empty vector.
    pub(crate) fn exchange(&mut self, empty: &mut Vec<Arrival>) -> bool {
        let only = self.sent.is_empty() && self.others.is_empty() && empty.is_empty();
        if only {
            core::mem::swap(&mut self.arrivals, empty);
        }
        only
    }

    /// Take all out, in order. What may be anything is shown where it lies, for most of it is taken apart there.
    pub(crate) fn drain<T>(
        &mut self,
        to: &mut T,
        mut arrive: impl FnMut(&mut T, Arrival),
        mut sent: impl FnMut(&mut T, Sent),
        mut complete: impl FnMut(&mut T, &mut EngineCompletion),
    ) {
        let (mut arrivals, mut dones) = (self.arrivals.drain(..), self.sent.drain(..));
        let (mut taken, mut told) = (0, 0);
        let mut arrive_to = |to: &mut T, before: usize| {
            arrivals.by_ref().take(before - taken).for_each(|arrival| arrive(to, arrival));
            taken = before;
        };
        for ((before, sent_before), other) in &mut self.others {
            for (before, done) in dones.by_ref().take(*sent_before - told) {
                arrive_to(to, before);
                sent(to, done);
            }
            arrive_to(to, *before);
            told = *sent_before;
            complete(to, other);
        }
        self.others.clear();
        for (before, done) in dones {
            arrive_to(to, before);
            sent(to, done);
        }
        arrive_to(to, usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use drivers::Pool;
    use proptest::prelude::*;

    use super::*;
    use crate::socket::{LaneId, SocketId};

    proptest! {
        #[test]
        fn completions_come_out_in_their_order(kinds in prop::collection::vec(0u8..4, 0..60), poured in 0usize..60) {
            // Shows of bytes, payloads that are done and all else, the first of them poured before the rest came, that they come
            // out as they went in, and that nothing stays.
            let (pool, mut all, mut part) = (Pool::heap(64, 64), Completions::default(), Completions::default());
            let stream = |at: usize| Stream(SocketId::new(LaneId(0), u32::try_from(at).unwrap(), 1));
            for (at, kind) in kinds.iter().enumerate() {
                if at == poured {
                    part.pour(&mut all);
                }
                let (stream, tag) = (stream(at), Tag(0));
                let event = match kind {
                    0 => Event::Received { stream, data: pool.take().unwrap() },
                    1 => Event::Sent { stream, payload: Back::Lent(Key(7)) },
                    2 => Event::Sent { stream, payload: Back::Small(Box::new([])) },
                    _ => Event::End { stream },
                };
                part.push(EngineCompletion { event, queue: 0, tag, more: false });
            }
            part.pour(&mut all);
            prop_assert_eq!((all.len(), part.len()), (kinds.len(), 0));
            let mut seen = Vec::new();
            all.drain(
                &mut seen,
                |seen, arrival| seen.push((arrival.stream, 0)),
                |seen, sent| seen.push((sent.stream, 1)),
                |seen, other| match &other.event {
                    Event::Sent { stream, .. } => seen.push((*stream, 2)),
                    Event::End { stream } => seen.push((*stream, 3)),
                    event => unreachable!("{event:?}"),
                },
            );
            let expected: Vec<_> = kinds.iter().enumerate().map(|(at, kind)| (stream(at), *kind)).collect();
            prop_assert_eq!((seen, all.is_empty()), (expected, true));
        }
    }
}
