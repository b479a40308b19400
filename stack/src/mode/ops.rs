//! The ops of a batch, in order: sends by themselves, for most ops of busy lanes are those, and an op that may be anything is
//! large, and is moved as a whole. Of small ones nothing is ever to be dropped.

use std::collections::VecDeque;

use drivers::Extent;

use super::{EngineOp, Key, SMALL_MAX, View, ViewData};
use crate::socket::{LaneId, SocketId, Stream, Tag};

/// Bytes of a stream to send, no more than fit the op: what [`Action::Send`](crate::socket::Action::Send) is where nobody
/// waits for its end.
#[derive(Clone, Copy, Debug)]
pub struct SmallSend {
    /// The connection.
    pub stream: Stream,
    /// The application's word, if it fails.
    pub tag: Tag,
    /// Bytes, of which `len` count.
    pub text: [u8; SMALL_MAX],
    /// How many there are.
    pub len: u8,
    /// Index of the queue its completions go to.
    pub queue: u8,
    /// Another send follows.
    pub more: bool,
}

impl SmallSend {
    /// The payload as other ops have it.
    pub fn view(&self) -> View {
        View { data: ViewData::Inline(self.len, self.text), key: Key::SMALL }
    }
}

/// Bytes of a stream to send that lie in memory: what all other sends are.
#[derive(Debug)]
pub struct LargeSend {
    /// The connection.
    pub stream: Stream,
    /// The application's word.
    pub tag: Tag,
    /// Where the bytes are.
    pub extent: Extent,
    /// The payload's name.
    pub key: Key,
    /// Index of the queue its completions go to.
    pub queue: u8,
    /// It is told when the payload is done.
    pub notify: bool,
    /// Another send follows.
    pub more: bool,
}

/// What the application asks, in order.
#[derive(Debug, Default)]
pub struct Ops {
    /// Small sends: the first of them are this batch's, the others room for those of another.
    sends: Vec<SmallSend>,
    small: usize,
    /// Large ones, and how many small ones come before each.
    larges: VecDeque<(usize, LargeSend)>,
    /// All else, and how many small and large sends come before each.
    others: Vec<((usize, usize), EngineOp)>,
    count: usize,
}

impl Ops {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// There is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Add a small send of these bytes; false, and nothing done, if they are too many.
    #[inline]
    pub fn send(&mut self, stream: Stream, bytes: &[u8], more: bool, queue: u8, tag: Tag) -> bool {
        let Some(len) = u8::try_from(bytes.len()).ok().filter(|len| usize::from(*len) <= SMALL_MAX) else {
            return false;
        };
        if self.small == self.sends.len() {
            self.grow();
        }
        // Written where it is to lie, and nowhere before.
        let Some(send) = self.sends.get_mut(self.small) else { return false };
        match bytes.first_chunk() {
            Some(whole) => send.text = *whole,
            None => send.text = padded(bytes),
        }
        (send.stream, send.tag, send.len, send.queue, send.more) = (stream, tag, len, queue, more);
        self.small += 1;
        self.count += 1;
        true
    }

    /// Have room for another small send.
    #[inline(never)]
    fn grow(&mut self) {
        let (stream, tag) = (Stream(SocketId::new(LaneId(0), 0, 0)), Tag(0));
        let blank = SmallSend { stream, tag, text: [0; SMALL_MAX], len: 0, queue: 0, more: false };
        self.sends.push(blank);
        self.sends.resize(self.sends.capacity(), blank);
    }

    /// Add a send of bytes that lie in memory.
    #[inline]
    pub fn send_large(&mut self, send: LargeSend) {
        self.larges.push_back((self.small, send));
        self.count += 1;
    }

    /// Add something else.
    #[inline]
    pub fn push(&mut self, op: EngineOp) {
        self.others.push(((self.small, self.larges.len()), op));
        self.count += 1;
    }

    /// Take all out, in order; of a small send it is told whether the op behind it may be of another socket only. What may be
    /// anything is shown where it lies.
    #[inline]
    pub(crate) fn drain<T>(
        &mut self,
        to: &mut T,
        mut send: impl FnMut(&mut T, &SmallSend, bool),
        mut send_large: impl FnMut(&mut T, LargeSend),
        mut apply: impl FnMut(&mut T, &mut EngineOp),
    ) {
        let (mut taken, mut large_taken, mut applied) = (0, 0, 0);
        loop {
            let other = self.others.get(applied).map(|(before, _)| *before);
            let first = other.is_none_or(|(_, before)| large_taken < before);
            let large = self.larges.front().filter(|_| first).map(|(before, _)| *before);
            let end = large.or(other.map(|(before, _)| before)).unwrap_or(self.small);
            let mut sends = &self.sends[taken..end];
            while let Some((small, behind)) = sends.split_first() {
                let last = match behind.first() {
                    Some(next) => next.stream != small.stream,
                    None => large.is_none() && other.is_none(),
                };
                send(to, small, last);
                sends = behind;
            }
            taken = end;
            if large.is_some()
                && let Some((_, large)) = self.larges.pop_front()
            {
                large_taken += 1;
                send_large(to, large);
            } else if let Some((_, op)) = self.others.get_mut(applied) {
                applied += 1;
                apply(to, op);
            } else {
                break;
            }
        }
        self.others.clear();
        (self.small, self.count) = (0, 0);
    }
}

/// Fewer bytes than fit, with zeros behind.
#[inline(never)]
fn padded(bytes: &[u8]) -> [u8; SMALL_MAX] {
    let mut text = [0; SMALL_MAX];
    text.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::socket::Action;

    #[test]
    fn ops_come_out_in_their_order() {
        // Shows sends, small and large, between, before and behind other ops, which payloads are small, and that only a send with
        // nothing of its socket behind it is called its last.
        let mut ops = Ops::default();
        let stream = Stream(SocketId::new(LaneId(0), 1, 1));
        let other = |tag| EngineOp {
            action: Action::Cancel { of: Tag(tag) },
            queue: 0,
            tag: Tag(tag),
            unread: false,
        };
        let small = |ops: &mut Ops, len: usize| ops.send(stream, &vec![7; len], false, 0, Tag(0));
        let large = |tag| LargeSend {
            stream,
            tag: Tag(tag),
            extent: Extent::of_bytes(&Bytes::from_static(b"large")).unwrap(),
            key: Key(0),
            queue: 0,
            notify: false,
            more: false,
        };
        for round in 0..2 {
            assert!(small(&mut ops, 1));
            ops.push(other(100));
            ops.push(other(101));
            assert!(small(&mut ops, 63) && small(&mut ops, 64) && !small(&mut ops, 65));
            ops.send_large(large(200));
            ops.send_large(large(201));
            assert!(small(&mut ops, 2));
            ops.push(other(102));
            ops.send_large(large(202));
            ops.push(other(103));
            ops.send_large(large(203));
            assert!(small(&mut ops, 0));
            assert_eq!((ops.len(), ops.is_empty()), (13, false));
            let mut seen = Vec::new();
            ops.drain(
                &mut seen,
                |seen, small, last| seen.push((u64::from(small.len), last)),
                |seen, large| seen.push((large.tag.0, false)),
                |seen, op| seen.push((op.tag.0, false)),
            );
            let order: Vec<u64> = seen.iter().map(|(op, _)| *op).collect();
            assert_eq!(order, [1, 100, 101, 63, 64, 200, 201, 2, 102, 202, 103, 203, 0], "round {round}");
            assert!(seen.iter().all(|(op, last)| *last == (*op == 0)), "round {round}: {seen:?}");
            assert!(ops.is_empty());
        }
        small(&mut ops, 5);
        ops.drain(
            &mut (),
            |(), small, _| assert_eq!(small.view().data.bytes(), [7; 5]),
            |(), _| unreachable!(),
            |(), _| unreachable!(),
        );
    }
}
