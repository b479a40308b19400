//! Pools: where frames come from. What a frame is lives in `frame.rs`.

use crate::frame::Frame;
#[cfg(any(test, not(feature = "dpdk")))]
use crate::open::OpenOptions;
use crate::soft::Shortage;
use crate::soft::heap::{HEADROOM, HeapPool};

/// A bounded pool of frames. One lane takes from it; frames come back by themselves, from any thread.
///
/// A pool may be dropped while frames are out: its memory goes with the last of them.
pub struct Pool(Kind);

enum Kind {
    Heap(HeapPool),
    Short(HeapPool, Shortage),
    #[cfg(feature = "dpdk")]
    Dpdk(crate::dpdk::DpdkPool),
}

impl Pool {
    /// A pool on the heap: `frames` frames of `data_room` bytes each, 128 of them headroom.
    ///
    /// Panics: if `frames` is zero.
    pub fn heap(frames: usize, data_room: u16) -> Pool {
        Pool(Kind::Heap(HeapPool::new(frames, data_room, HEADROOM)))
    }

    /// A pool on the heap: `frames` frames that each hold a packet as large as IP has them, without headroom.
    ///
    /// Panics: if `frames` is zero.
    pub fn packets(frames: usize) -> Pool {
        Pool(Kind::Heap(HeapPool::new(frames, u16::MAX, 0)))
    }

    /// The pool, refusing what `shortage` says. A pool of DPDK's is left as it is.
    #[must_use]
    pub fn short(self, shortage: &Shortage) -> Pool {
        match self.0 {
            Kind::Heap(pool) | Kind::Short(pool, _) => Pool(Kind::Short(pool, shortage.clone())),
            #[cfg(feature = "dpdk")]
            Kind::Dpdk(pool) => Pool(Kind::Dpdk(pool)),
        }
    }

    /// A pool of DPDK's.
    #[cfg(feature = "dpdk")]
    pub(crate) fn dpdk(pool: crate::dpdk::DpdkPool) -> Pool {
        Pool(Kind::Dpdk(pool))
    }

    /// An empty frame, or `None` while all are out.
    #[inline]
    pub fn take(&self) -> Option<Frame> {
        match &self.0 {
            Kind::Heap(pool) => pool.take().map(Frame::from_fresh),
            Kind::Short(_, shortage) if shortage.refuses() => None,
            Kind::Short(pool, _) => pool.take().map(Frame::from_fresh),
            #[cfg(feature = "dpdk")]
            Kind::Dpdk(pool) => pool.take().map(Frame::from_fresh),
        }
    }

    /// Append `count` empty frames to `frames`, or as many as there are.
    #[inline]
    pub fn take_many(&self, frames: &mut Vec<Frame>, count: usize) {
        match &self.0 {
            #[cfg(feature = "dpdk")]
            Kind::Dpdk(pool) => pool.take_many(frames, count),
            _ => frames.extend((0..count).map_while(|_| self.take())),
        }
    }

    /// Frames that can be taken now. Cost: on the heap linear in their number; for reports, not for packets.
    pub fn available(&self) -> usize {
        match &self.0 {
            Kind::Heap(pool) | Kind::Short(pool, _) => pool.available(),
            #[cfg(feature = "dpdk")]
            Kind::Dpdk(pool) => pool.available(),
        }
    }

    /// Frames the pool was made with.
    pub fn capacity(&self) -> usize {
        match &self.0 {
            Kind::Heap(pool) | Kind::Short(pool, _) => pool.capacity(),
            #[cfg(feature = "dpdk")]
            Kind::Dpdk(pool) => pool.capacity(),
        }
    }
}

/// The pools of one queue pair. They are apart so that receiving cannot drain what acknowledgements leave in.
pub struct Pools {
    /// Receive frames: 2 KiB of data room.
    pub receive: Pool,
    /// Headers and control frames, with room for a whole frame where the port cannot gather segments.
    pub control: Pool,
    /// Bare headers that carry payload by reference.
    pub attach: Pool,
}

/// The pools of a device whose queues take frames themselves instead of having a ring filled.
pub(crate) struct LanePools {
    /// For each queue the pool that it receives into, and its lane's.
    pub queues: Vec<(Pool, Pools)>,
    /// Of lanes without a queue.
    pub queueless: Vec<Pools>,
}

impl LanePools {
    /// Pools of the heap, for programs without DPDK. A pool has one taker: each queue receives into one of its own, as large
    /// as that by which its lane counts.
    #[cfg(any(test, not(feature = "dpdk")))]
    pub fn heap(options: &OpenOptions, queues: u16, lanes: u16) -> LanePools {
        let receive = || Pool::heap(options.receive_frames, RECEIVE_ROOM);
        let lane = || Pools::heap(options.receive_frames, options.control_frames.max(1));
        LanePools {
            queues: (0..queues).map(|_| (receive(), lane())).collect(),
            queueless: (queues..lanes).map(|_| lane()).collect(),
        }
    }
}

/// Data room of receive frames: DPDK's `RTE_MBUF_DEFAULT_BUF_SIZE`.
pub(crate) const RECEIVE_ROOM: u16 = 2048 + 128;

impl Pools {
    /// Heap pools for a queue that receives into `receive` frames and sends from `control`.
    pub fn heap(receive: usize, control: usize) -> Pools {
        Pools {
            receive: Pool::heap(receive, RECEIVE_ROOM),
            control: Pool::heap(control, RECEIVE_ROOM),
            attach: Pool::heap(control, 0),
        }
    }

    /// The pools, refusing together what `shortage` says.
    #[must_use]
    pub fn short(self, shortage: &Shortage) -> Pools {
        let Pools { receive, control, attach } = self;
        Pools {
            receive: receive.short(shortage),
            control: control.short(shortage),
            attach: attach.short(shortage),
        }
    }
}
