//! What the engine answered, as applications see it: frames become received bytes, and payloads come home.

use super::Lane;
use crate::mode::{Back, Done, EngineCompletion, Sent};
use crate::socket::{Completion, Event, Received, SocketId, Stream, Tag};

impl Lane {
    /// Turn what the engine answered into what applications see.
    pub(super) fn lift(&mut self) {
        if self.sends.is_far() {
            for done in &self.batch.done {
                if let Done::Small(stream) = done {
                    self.sends.prefetch(*stream);
                }
            }
        }
        for done in self.batch.done.drain(..) {
            let stream = match done {
                Done::Small(stream) => {
                    self.small -= 1;
                    Some(stream)
                }
                Done::Lent(key) => self.lent.finish(key),
            };
            if let Some(stream) = stream {
                self.sends.give_back(stream);
            }
        }
        if self.lent.is_waiting() {
            for (queue, completion) in self.lent.settled() {
                self.queues.push(queue, completion);
            }
        }
        if !self.batch.completions.is_empty() && !self.queues.arrive_all(&mut self.batch.completions) {
            let mut completions = core::mem::take(&mut self.batch.completions);
            let arrive = |lane: &mut Lane, arrival| lane.queues.arrive(arrival);
            completions.drain(self, arrive, Lane::lift_sent, Lane::lift_one);
            self.batch.completions = completions;
        }
        self.tell_writable();
    }

    #[inline]
    fn tell_writable(&mut self) {
        while let Some((queue, tag, stream)) = self.sends.writable() {
            let event = Event::Writable { stream };
            self.queues.push(self.queues.index(queue), Completion { event, tag, more: false });
        }
    }

    /// The tag of the op that a payload came with; what its stream may send is counted again.
    fn origin(&mut self, payload: &Back, socket: Option<SocketId>, tag: Tag) -> Tag {
        let (stream, tag) = match payload {
            Back::Lent(key) => self.lent.origin(*key).unwrap_or((None, tag)),
            Back::Small(_) => {
                self.small -= 1;
                (socket.map(Stream), tag)
            }
        };
        if let Some(stream) = stream {
            self.sends.give_back(stream);
        }
        tag
    }

    /// A payload is done: it goes home, unless a transmit ring still refers to it.
    fn lift_sent(&mut self, sent: Sent) {
        let Sent { stream, key, queue } = sent;
        let tag = self.origin(&Back::Lent(key), None, Tag(0));
        if let Some(payload) = self.lent.take_or_park(Back::Lent(key), (queue, tag, false)) {
            self.queues.push(queue, Completion { event: Event::Sent { stream, payload }, tag, more: false });
        }
    }

    /// What the life of a connection comes to is told as it is. A match of its own, for what is the same for any event is made of
    /// all that an event may hold.
    #[inline]
    fn lift_one(&mut self, completion: &mut EngineCompletion) {
        let EngineCompletion { ref mut event, queue, tag, more } = *completion;
        match *event {
            Event::Accepted { listener, stream, peer } => {
                let event = Event::Accepted { listener, stream, peer };
                self.queues.push(queue, Completion { event, tag, more });
            }
            Event::End { stream } => {
                self.queues.push(queue, Completion { event: Event::End { stream }, tag, more });
            }
            Event::Closed { socket, reason, unsent } => {
                let event = Event::Closed { socket, reason, unsent };
                self.lift_last(socket, queue, Completion { event, tag, more });
            }
            _ => {
                let event = core::mem::replace(event, Event::Timer);
                self.lift_any(EngineCompletion { event, queue, tag, more });
            }
        }
    }

    /// The same of any event.
    #[inline(never)]
    fn lift_any(&mut self, completion: EngineCompletion) {
        let EngineCompletion { event, queue, mut tag, more } = completion;
        match &event {
            Event::Sent { payload, .. } | Event::SentTo { payload, .. } => {
                tag = self.origin(payload, None, tag);
            }
            Event::Failed { payload: Some(payload), socket, .. } => tag = self.origin(payload, *socket, tag),
            _ => {}
        }
        let (lent, returns) = (&mut self.lent, &self.returns);
        let event = match event {
            Event::Listening { listener, local } => Event::Listening { listener, local },
            Event::Accepted { listener, stream, peer } => Event::Accepted { listener, stream, peer },
            Event::Connecting { stream, local } => Event::Connecting { stream, local },
            Event::Connected { stream, local } => Event::Connected { stream, local },
            Event::Received { stream, data } => {
                Event::Received { stream, data: Received::new(data, stream.into(), returns) }
            }
            Event::Urgent { stream, ahead } => Event::Urgent { stream, ahead },
            Event::Trouble { stream, trouble } => Event::Trouble { stream, trouble },
            Event::End { stream } => Event::End { stream },
            Event::Sent { stream, payload } => match lent.take_or_park(payload, (queue, tag, more)) {
                Some(payload) => Event::Sent { stream, payload },
                None => return,
            },
            Event::Writable { stream } => Event::Writable { stream },
            Event::Bound { socket, local, peer } => Event::Bound { socket, local, peer },
            Event::Datagram { socket, from, data } => {
                Event::Datagram { socket, from, data: Received::new(data, socket.into(), returns) }
            }
            Event::DatagramError { socket, to, error } => Event::DatagramError { socket, to, error },
            Event::SentTo { socket, payload } => match lent.take(payload) {
                Some(payload) => Event::SentTo { socket, payload },
                None => return,
            },
            Event::Timer => Event::Timer,
            Event::Configured => Event::Configured,
            Event::Info { stream, info } => Event::Info { stream, info },
            Event::Closed { socket, reason, unsent } => {
                let event = Event::Closed { socket, reason, unsent };
                return self.lift_last(socket, queue, Completion { event, tag, more });
            }
            Event::Failed { socket, error, acked: left, payload } => {
                let payload = payload.and_then(|payload| lent.take(payload));
                let whole = payload.as_ref().map_or(0, |payload| payload.len() as u64);
                Event::Failed { socket, error, acked: whole.saturating_sub(left), payload }
            }
        };
        self.queues.push(queue, Completion { event, tag, more });
    }

    /// A socket's `Closed`, behind everything else there is to say of the socket.
    #[inline]
    fn lift_last(&mut self, socket: SocketId, queue: u8, closed: Completion) {
        self.tell_writable();
        if self.lent.has_parked(socket) {
            self.lent.hold_last(socket, queue, closed);
        } else {
            self.queues.push(queue, closed);
        }
    }
}
