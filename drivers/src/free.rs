//! Frames that go home together: what the threads of a pool share is touched once for many of its frames.

use crate::frame::Frame;
use crate::mbuf::{self, HEAP_TAG};
use crate::soft::heap;

/// Give frames back to their pools, as dropping each of them would, but those that lie one behind the other and are of one
/// pool at once.
pub fn free_all(frames: impl IntoIterator<Item = Frame>) {
    let mut homeward = Homeward::default();
    for frame in frames {
        if let Err(frame) = homeward.take(frame) {
            drop(frame);
        }
    }
}

/// Frames on their way home. They arrive when a burst of them is together, and at the latest when this goes.
///
/// Cost: a locked operation for a burst of frames of one pool, instead of one for each frame.
#[derive(Default)]
pub struct Homeward {
    heap: heap::Run,
    #[cfg(feature = "dpdk")]
    dpdk: crate::dpdk::Bulk,
}

impl Homeward {
    /// Take a frame along that is done with. Chains, and frames that refer to memory, come back: they are dropped one by one,
    /// for what becomes of memory is its owner's business.
    ///
    /// Errors: the frame.
    #[inline]
    pub fn take(&mut self, frame: Frame) -> Result<(), Frame> {
        if !frame.is_plain() {
            return Err(frame);
        }
        let mut header = frame.dissolve();
        // SAFETY: the handle's reference of the segment is ours now.
        let shared = unsafe { header.as_ref() };
        if shared.pool & HEAP_TAG == 0 {
            #[cfg(feature = "dpdk")]
            // SAFETY: a single mbuf of DPDK's, as the tag says, whose reference is ours to give up.
            unsafe {
                self.dpdk.add(header)
            };
        } else if mbuf::release(&shared.refcnt) {
            // SAFETY: that was the last reference, so nobody else can see the segment now.
            unsafe { header.as_mut() }.ol_flags = 0;
            // SAFETY: unreferenced, without attachment, and of the heap pool that its tag names.
            unsafe { self.heap.add(header) };
        }
        Ok(())
    }

    /// Let go what is on its way.
    #[inline]
    pub fn flush(&mut self) {
        self.heap.flush();
        #[cfg(feature = "dpdk")]
        self.dpdk.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Extent, Region};
    use crate::{Capabilities, Composer, Pool, Pools};

    #[test]
    fn frames_of_all_kinds_go_home() {
        // Shows of frames of two pools in turns, shared ones, chains, and such that refer to memory: each is home, its memory
        // free, once its last handle has gone, and fresh when it is taken again.
        let pools = [Pool::heap(4, 256), Pool::heap(4, 256)];
        let region = Region::new(1, 4096);
        let capabilities = Capabilities {
            multi_segment: true,
            segments_max: 8,
            reads_heap: true,
            ..Capabilities::plain(1500)
        };
        let mut composer = Composer::new(
            Pools { receive: Pool::heap(1, 256), control: Pool::heap(4, 256), attach: Pool::heap(4, 0) },
            &capabilities,
        );
        let mut frames: Vec<Frame> = (0..8).filter_map(|at: usize| pools[at / 2 % 2].take()).collect();
        assert_eq!((frames.len(), pools[0].available(), pools[1].available()), (8, 0, 0));
        let shared = frames[0].share().expect("one more reference");
        let stored = region.store(&[7; 1000]).expect("a free block");
        let mut chain = composer.header().expect("a frame");
        let lent = Extent::of_bytes(&stored).expect("an extent");
        composer.payload(&mut chain, &lent, <[u8]>::copy_from_slice).expect("a frame");
        drop((stored, lent));
        frames.insert(3, chain);
        frames[1].append(10).expect("room").fill(1);
        free_all(frames.drain(..5));
        assert_eq!((pools[0].available(), pools[1].available(), region.available()), (1, 2, 1));
        free_all(frames);
        drop(shared);
        assert_eq!((pools[0].available(), pools[1].available()), (4, 4));
        let again: Vec<Frame> = (0..4).filter_map(|_| pools[0].take()).collect();
        assert!(again.len() == 4 && again.iter().all(|frame| frame.is_empty() && frame.is_single()));
    }

    #[test]
    fn frames_outlive_their_pool() {
        // Shows that a pool's memory is there as long as one of its frames, whether the others go by themselves or together. So
        // much of it is a mapping of its own: to touch it too late, or to free it twice, ends the test.
        let pool = Pool::heap(700, 60_000);
        let mut frames: Vec<Frame> = (0..700).filter_map(|_| pool.take()).collect();
        free_all(frames.drain(..10));
        drop(pool);
        free_all(frames.drain(..600));
        frames.truncate(1);
        frames[0].append(50_000).expect("room").fill(7);
        assert!(frames.len() == 1 && frames[0].bytes().iter().all(|byte| *byte == 7));
        free_all(frames);
    }
}
