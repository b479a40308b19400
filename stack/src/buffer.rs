//! Frames that wait in sockets: a slab of them, linked into queues by numbers. What waits where is the engine's to know.

use core::net::SocketAddr;

use drivers::Frame;

use crate::tcp::send::NONE;

#[derive(Debug)]
struct Node {
    frame: Option<Frame>,
    from: Option<SocketAddr>,
    next: u32,
}

/// Every waiting frame of a lane.
#[derive(Debug)]
pub struct FrameSlab {
    nodes: Vec<Node>,
    free: u32,
    live: usize,
}

/// A queue of waiting frames: the numbers of its ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The oldest.
    pub head: u32,
    /// The newest.
    pub tail: u32,
}

impl Waiting {
    /// Nothing waits.
    pub const EMPTY: Waiting = Waiting { head: NONE, tail: NONE };

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

impl Default for FrameSlab {
    fn default() -> Self {
        FrameSlab { nodes: Vec::new(), free: NONE, live: 0 }
    }
}

impl FrameSlab {
    /// Frames that wait.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Keep a frame; returns its number.
    pub fn insert(&mut self, frame: Frame, from: Option<SocketAddr>) -> u32 {
        self.live += 1;
        let index = self.free;
        if let Some(node) = self.nodes.get_mut(index as usize) {
            self.free = node.next;
            *node = Node { frame: Some(frame), from, next: NONE };
            return index;
        }
        self.nodes.push(Node { frame: Some(frame), from, next: NONE });
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    /// Take a frame out.
    pub fn remove(&mut self, index: u32) -> Option<(Frame, Option<SocketAddr>)> {
        let node = self.nodes.get_mut(index as usize)?;
        let frame = node.frame.take()?;
        node.next = self.free;
        self.free = index;
        self.live -= 1;
        Some((frame, node.from))
    }

    /// A frame that waits.
    pub fn get(&self, index: u32) -> Option<&Frame> {
        self.nodes.get(index as usize)?.frame.as_ref()
    }

    /// A frame that waits, for narrowing its window or adding to its tail.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Frame> {
        self.nodes.get_mut(index as usize)?.frame.as_mut()
    }

    /// Put a frame at the end of a queue.
    pub fn push(&mut self, queue: &mut Waiting, frame: Frame, from: Option<SocketAddr>) {
        let index = self.insert(frame, from);
        match self.nodes.get_mut(queue.tail as usize) {
            Some(tail) if !queue.is_empty() => tail.next = index,
            _ => queue.head = index,
        }
        queue.tail = index;
    }

    /// Take the oldest of a queue.
    pub fn pop(&mut self, queue: &mut Waiting) -> Option<(Frame, Option<SocketAddr>)> {
        let index = queue.head;
        let next = self.nodes.get(index as usize)?.next;
        let taken = self.remove(index)?;
        queue.head = next;
        if next == NONE {
            queue.tail = NONE;
        }
        Some(taken)
    }

    /// The frames of a queue, oldest first.
    pub fn iter(&self, queue: Waiting) -> impl Iterator<Item = &Frame> {
        let mut index = queue.head;
        core::iter::from_fn(move || {
            let node = self.nodes.get(index as usize)?;
            index = node.next;
            node.frame.as_ref()
        })
    }
}

#[cfg(test)]
mod tests {
    use drivers::Pool;

    use super::*;

    #[test]
    fn queues_share_the_slab_and_keep_their_order() {
        // Shows that two queues interleaved in one slab come out in order, and that numbers are used again.
        let (pool, mut slab) = (Pool::heap(8, 256), FrameSlab::default());
        let (mut a, mut b) = (Waiting::EMPTY, Waiting::EMPTY);
        for round in 0..3u8 {
            for (queue, mark) in [(&mut a, b'a'), (&mut b, b'A')] {
                let mut frame = pool.take().unwrap();
                frame.append(1).unwrap()[0] = mark + round;
                slab.push(queue, frame, None);
            }
        }
        let mut drain = |queue: &mut Waiting| {
            core::iter::from_fn(|| slab.pop(queue)).map(|(frame, _)| frame.bytes()[0]).collect::<Vec<_>>()
        };
        assert_eq!((drain(&mut b), drain(&mut a)), (b"ABC".to_vec(), b"abc".to_vec()));
        assert_eq!((slab.live(), pool.available()), (0, 8));
        assert!(slab.insert(pool.take().unwrap(), None) < 6);
    }
}
