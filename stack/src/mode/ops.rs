//! The ops of a batch, in order: small sends by themselves, for most ops of busy lanes are those, and nothing of one is ever
//! to be dropped.

use super::{EngineOp, Key, SMALL_MAX, View, ViewData};
use crate::socket::{Stream, Tag};

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

/// What the application asks, in order.
#[derive(Debug, Default)]
pub struct Ops {
    sends: Vec<SmallSend>,
    /// All else, and how many small sends come before each.
    others: Vec<(usize, EngineOp)>,
}

impl Ops {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.sends.len() + self.others.len()
    }

    /// There is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.others.is_empty()
    }

    /// Add a small send of these bytes; false, and nothing done, if they are too many.
    #[inline]
    pub fn send(&mut self, stream: Stream, bytes: &[u8], more: bool, queue: u8, tag: Tag) -> bool {
        let Some(len) = u8::try_from(bytes.len()).ok().filter(|len| usize::from(*len) <= SMALL_MAX) else {
            return false;
        };
        let send = |text| SmallSend { stream, tag, text, len, queue, more };
        self.sends.push(match bytes.first_chunk() {
            Some(whole) => send(*whole),
            None => send(padded(bytes)),
        });
        true
    }

    /// Add something else.
    pub fn push(&mut self, op: EngineOp) {
        self.others.push((self.sends.len(), op));
    }

    /// Take all out, in order; of a small send it is told whether the op behind it may be of another socket only.
    #[inline]
    pub(crate) fn drain<T>(
        &mut self,
        to: &mut T,
        mut send: impl FnMut(&mut T, &SmallSend, bool),
        mut apply: impl FnMut(&mut T, EngineOp),
    ) {
        let (mut others, mut taken) = (self.others.drain(..), 0);
        loop {
            let other = others.next();
            let end = other.as_ref().map_or(self.sends.len(), |(before, _)| *before);
            let sends = &self.sends[taken..end];
            for (small, next) in sends.iter().zip(1..) {
                let last = match sends.get(next) {
                    Some(next) => next.stream != small.stream,
                    None => other.is_none(),
                };
                send(to, small, last);
            }
            taken = end;
            let Some((_, op)) = other else { break };
            apply(to, op);
        }
        drop(others);
        self.sends.clear();
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
    use super::*;
    use crate::socket::{Action, LaneId, SocketId};

    #[test]
    fn ops_come_out_in_their_order() {
        // Shows small sends between, before and behind other ops, which payloads are small, and that only a send with nothing of
        // its socket behind it is called its last.
        let mut ops = Ops::default();
        let stream = Stream(SocketId::new(LaneId(0), 1, 1));
        let other = |tag| EngineOp {
            action: Action::Cancel { of: Tag(tag) },
            queue: 0,
            tag: Tag(tag),
            unread: false,
        };
        let small = |ops: &mut Ops, len: usize| ops.send(stream, &vec![7; len], false, 0, Tag(0));
        for round in 0..2 {
            assert!(small(&mut ops, 1));
            ops.push(other(100));
            ops.push(other(101));
            assert!(small(&mut ops, 63) && small(&mut ops, 64) && !small(&mut ops, 65));
            ops.push(other(102));
            assert!(small(&mut ops, 0));
            assert_eq!((ops.len(), ops.is_empty()), (7, false));
            let mut seen = Vec::new();
            ops.drain(
                &mut seen,
                |seen, small, last| seen.push((u64::from(small.len), last)),
                |seen, op| seen.push((op.tag.0, false)),
            );
            let (order, last): (Vec<u64>, Vec<bool>) = seen.into_iter().unzip();
            assert_eq!(order, [1, 100, 101, 63, 64, 102, 0], "round {round}");
            assert_eq!(last, [false, false, false, false, false, false, true], "round {round}");
            assert!(ops.is_empty());
        }
        small(&mut ops, 5);
        ops.drain(
            &mut (),
            |(), small, _| assert_eq!(small.view().data.bytes(), [7; 5]),
            |(), _| unreachable!(),
        );
    }
}
