//! Putting payload behind headers: by reference where the port can read it, else by the one copy there is.
//! What a port can do is told by `Capabilities` in `port.rs`.

use crate::frame::Frame;
use crate::memory::{Class, Extent};
use crate::pool::Pools;
use crate::port::Capabilities;

/// A pool has no frame left; the caller tries again on a later turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoFrames;

/// Builds frames for one queue pair.
pub struct Composer {
    pools: Pools,
    gather: bool,
    heap_readable: bool,
    segments_max: usize,
    copied_bytes: u64,
    attached_bytes: u64,
}

impl Composer {
    /// A composer for a port of these capabilities.
    pub fn new(pools: Pools, capabilities: &Capabilities) -> Composer {
        Composer {
            pools,
            gather: capabilities.multi_segment,
            heap_readable: capabilities.reads_heap,
            segments_max: capabilities.segments_max.max(1),
            copied_bytes: 0,
            attached_bytes: 0,
        }
    }

    /// The pools frames come from.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// An empty frame for headers, with headroom in front.
    #[inline]
    pub fn header(&self) -> Result<Frame, NoFrames> {
        self.pools.control.take().ok_or(NoFrames)
    }

    /// Put `payload` behind what `frame` holds: by reference if the port can read it there, else by `copy`, which gets room and
    /// as many bytes, piece by piece and in order. True if it was copied.
    ///
    /// Errors: a pool is empty, or a copy does not fit the frame. The frame is then incomplete: drop it.
    pub fn payload(
        &mut self,
        frame: &mut Frame,
        payload: &Extent,
        copy: impl FnMut(&mut [u8], &[u8]),
    ) -> Result<bool, NoFrames> {
        let bytes = u64::from(payload.len());
        let readable = self.heap_readable || payload.class() != Class::Heap;
        if self.gather && readable && payload.widen(frame) {
            self.attached_bytes += bytes;
            return Ok(false);
        }
        if self.gather && readable && frame.segment_count() < self.segments_max {
            let mut carrier = self.pools.attach.take().ok_or(NoFrames)?;
            if payload.attach_to(&mut carrier) {
                frame.chain(carrier);
                self.attached_bytes += bytes;
                return Ok(false);
            }
        }
        self.copy(frame, payload.bytes(), copy)?;
        self.copied_bytes += bytes;
        Ok(true)
    }

    /// Copy the payload of an op that carried it inside itself. Not counted: there is no memory to refer to, or so little in
    /// it that a reference would cost more.
    ///
    /// Errors: as [`payload`](Composer::payload)'s.
    pub fn inline(
        &mut self,
        frame: &mut Frame,
        payload: &[u8],
        copy: impl FnMut(&mut [u8], &[u8]),
    ) -> Result<(), NoFrames> {
        self.copy(frame, payload, copy)
    }

    /// Into the first segment while that is the only one and has room; else, where the port gathers, into as many
    /// frames as it takes.
    fn copy(
        &mut self,
        frame: &mut Frame,
        payload: &[u8],
        mut copy: impl FnMut(&mut [u8], &[u8]),
    ) -> Result<(), NoFrames> {
        let mut rest = payload;
        if frame.segment_count() == 1 {
            let here = if self.gather { rest.len().min(frame.tailroom()) } else { rest.len() };
            let (here, behind) = rest.split_at(here);
            copy(frame.append(here.len()).ok_or(NoFrames)?, here);
            rest = behind;
        }
        while !rest.is_empty() {
            let mut tail = self.pools.control.take().ok_or(NoFrames)?;
            let (here, behind) = rest.split_at(rest.len().min(tail.tailroom()));
            copy(tail.append(here.len()).filter(|room| !room.is_empty()).ok_or(NoFrames)?, here);
            frame.chain(tail);
            rest = behind;
        }
        Ok(())
    }

    /// Payload bytes copied because the port could not read them where they were.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Payload bytes sent by reference.
    pub fn attached_bytes(&self) -> u64 {
        self.attached_bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::pool::Pool;

    fn composer(capabilities: &Capabilities) -> Composer {
        let pools =
            Pools { receive: Pool::heap(1, 256), control: Pool::heap(4, 256), attach: Pool::heap(4, 0) };
        Composer::new(pools, capabilities)
    }

    fn gathering(reads_heap: bool) -> Capabilities {
        Capabilities { multi_segment: true, segments_max: 8, reads_heap, ..Capabilities::plain(9000) }
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        frame.segments().flatten().copied().collect()
    }

    #[test]
    fn neighbours_in_memory_share_a_segment() {
        // Shows that what lies behind the last attached bytes lengthens their segment, that all else does not, and
        // that a frame's end gives the memory back.
        let mut composer = composer(&gathering(true));
        let whole = Extent::of_bytes(&Bytes::from((0..200).collect::<Vec<u8>>())).expect("an extent");
        let part = |range| whole.slice(range).expect("a part");
        let mut frame = composer.header().expect("a frame");
        for (range, segments) in [(0..50, 2), (50..120, 2), (150..160, 3), (160..200, 3), (0..10, 4)] {
            composer.payload(&mut frame, &part(range), <[u8]>::copy_from_slice).expect("frames");
            assert_eq!(frame.segment_count(), segments);
        }
        let expected: Vec<u8> = (0..120).chain(150..200).chain(0..10).collect();
        assert_eq!((bytes(&frame), frame.total_len()), (expected, 180));
        let other = Extent::of_bytes(&Bytes::from(vec![0; 9])).expect("an extent");
        composer.payload(&mut frame, &other, <[u8]>::copy_from_slice).expect("frames");
        assert_eq!((frame.segment_count(), composer.attached_bytes()), (5, 189));
        drop(frame);
        assert_eq!((composer.pools().attach.available(), composer.pools().control.available()), (4, 4));
    }

    #[test]
    fn what_must_be_copied_takes_the_frames_it_needs() {
        // Shows a payload longer than a frame's room where the port gathers, and the refusal where it does not.
        let payload: Vec<u8> = (0..=255).cycle().take(300).collect();
        let payload = Extent::of_bytes(&Bytes::from(payload)).expect("an extent");
        let mut gathers = composer(&gathering(false));
        let mut frame = gathers.header().expect("a frame");
        gathers.payload(&mut frame, &payload, <[u8]>::copy_from_slice).expect("frames");
        assert_eq!((bytes(&frame), frame.segment_count()), (payload.bytes().to_vec(), 3));
        gathers.payload(&mut frame, &payload, <[u8]>::copy_from_slice).expect_err("an empty pool");
        drop(frame);
        assert_eq!(gathers.pools().control.available(), 4);
        let mut plain = composer(&Capabilities::plain(1500));
        let mut frame = plain.header().expect("a frame");
        assert_eq!(plain.payload(&mut frame, &payload, <[u8]>::copy_from_slice), Err(NoFrames));
    }
}
