//! One queue of a TAP: a system call for each frame, either way. Several segments of one flow are one frame there.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::{Errno, readv, writev};

use super::header::{HEADER_BYTES, HEADERS_MAX, Header};
use super::{Ends, Shared};
use crate::capture::{CapturePoint, Direction};
use crate::cut::{Whole, add_length};
use crate::frame::{Frame, Offload};
use crate::pool::Pool;
use crate::port::{Queue, SEGMENTS_MAX};
use crate::soft::frame_of;
use crate::tally::Counters;

/// Pieces that a frame is written in: what stands in front of it, and its segments.
const PIECES_MAX: usize = 1 + SEGMENTS_MAX;

/// One queue, for one thread.
pub(super) struct TapQueue {
    shared: Arc<Shared>,
    index: u16,
    pool: Pool,
    /// What the next frame is read into.
    landing: Option<Frame>,
    /// What of it has no room there.
    overflow: Box<[u8]>,
    /// Segments that were read and not asked for yet.
    ready: VecDeque<Frame>,
    /// Frames to read in one burst, if they are there. To find that there are no more takes a system call too: so it is as
    /// many as lately came, and more while they do.
    burst: usize,
    frame_bytes_max: usize,
}

/// What came of a frame.
enum Sent {
    /// The kernel has it.
    Whole { bytes: usize },
    /// The kernel takes no more.
    Later,
    /// It never will: longer than the link carries, or the interface is down.
    Refused,
}

impl TapQueue {
    /// Receives into frames of `pool`, and sends packets of at most `frame_bytes_max` bytes, Ethernet's header included.
    pub fn new(shared: Arc<Shared>, index: u16, pool: Pool, frame_bytes_max: usize) -> TapQueue {
        let overflow = vec![0; usize::from(u16::MAX)].into_boxed_slice();
        TapQueue {
            shared,
            index,
            pool,
            landing: None,
            overflow,
            ready: VecDeque::new(),
            burst: 1,
            frame_bytes_max,
        }
    }

    /// Frames of the pool that can be taken now, or were and wait to be filled.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn available(&self) -> usize {
        self.pool.available() + usize::from(self.landing.is_some())
    }

    #[inline]
    fn ends(&self) -> &Ends {
        &self.shared.queues[usize::from(self.index)]
    }

    #[inline]
    fn counters(&self) -> &Counters {
        &self.ends().counters
    }

    /// Reads one frame, and appends it to `frames`, or the segments that it stands for. False: there was none.
    #[inline]
    fn read(&mut self, frames: &mut Vec<Frame>) -> bool {
        let Some(mut frame) = self.landing.take().or_else(|| self.pool.take()) else {
            self.counters().no_frames.add(1);
            return false;
        };
        let room = frame.append(frame.tailroom()).unwrap_or_default();
        let (mut head, size) = ([0; HEADER_BYTES], room.len());
        let mut pieces =
            [IoSliceMut::new(&mut head), IoSliceMut::new(room), IoSliceMut::new(&mut self.overflow)];
        let file = &self.shared.queues[usize::from(self.index)].file;
        let count = readv(file, &mut pieces).unwrap_or(0);
        let bytes = count.saturating_sub(HEADER_BYTES);
        frame.truncate(bytes);
        if bytes == 0 {
            self.landing = Some(frame);
            return false;
        }
        self.counters().received_bytes.add(bytes as u64);
        let header = Header::read(&head);
        if let Some((transport, each)) = header.segments() {
            self.cut(&frame, (bytes, size), (transport, each), frames);
            frame.truncate(0);
            self.landing = Some(frame);
            return true;
        }
        if bytes > size {
            let Some(rest) = frame_of(&self.pool, &self.overflow[..bytes - size]) else {
                self.counters().no_frames.add(1);
                return true;
            };
            frame.chain(rest);
        }
        header.judge(&mut frame);
        frames.push(frame);
        true
    }

    /// Cuts what was read in one piece of so many bytes, of which `frame` had room for `size`.
    #[inline(never)]
    fn cut(
        &self,
        frame: &Frame,
        (bytes, size): (usize, usize),
        (transport, each): (usize, usize),
        frames: &mut Vec<Frame>,
    ) {
        let counters = self.counters();
        let pieces = [frame.bytes(), &self.overflow[..bytes.saturating_sub(size)]];
        let Some(whole) = Whole::new(pieces, transport, each) else { return counters.receive_errors.add(1) };
        self.ends().cut_frames.add(1);
        if !whole.cut(&self.pool, frames) {
            counters.no_frames.add(1);
        }
    }

    fn send(&self, frame: &Frame) -> Sent {
        let offload = frame.offload().unwrap_or_default();
        let bytes = frame.total_len();
        let mut front = [0; HEADER_BYTES + HEADERS_MAX];
        front[..HEADER_BYTES].copy_from_slice(&Header::of(&offload).bytes());
        let head = frame.bytes();
        let Some(copied) = self.front(&offload, head, bytes, &mut front[HEADER_BYTES..]) else {
            return Sent::Refused;
        };
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        pieces[0] = IoSlice::new(&front[..HEADER_BYTES + copied]);
        pieces[1] = IoSlice::new(&head[copied..]);
        let mut count = 2;
        for segment in frame.behind() {
            let Some(piece) = pieces.get_mut(count) else { return Sent::Refused };
            *piece = IoSlice::new(segment);
            count += 1;
        }
        match writev(&self.ends().file, &pieces[..count]) {
            Ok(_) => Sent::Whole { bytes },
            Err(Errno::AGAIN | Errno::INTR) => Sent::Later,
            Err(_) => Sent::Refused,
        }
    }

    /// Copies the headers of a frame that is to be cut to `front`, as the kernel wants them. Returns how many bytes those are:
    /// none of another. `None`: the link does not carry it.
    #[inline]
    fn front(&self, offload: &Offload, head: &[u8], bytes: usize, front: &mut [u8]) -> Option<usize> {
        if offload.segment_bytes == 0 {
            return (bytes <= self.frame_bytes_max).then_some(0);
        }
        let transport = usize::from(offload.link_bytes) + usize::from(offload.network_bytes);
        let headers = transport + usize::from(offload.transport_bytes);
        let segment = headers + usize::from(offload.segment_bytes);
        let (front, head) = (front.get_mut(..headers)?, head.get(..headers)?);
        front.copy_from_slice(head);
        (segment <= self.frame_bytes_max && add_length(front, offload, bytes)).then_some(headers)
    }
}

impl Queue for TapQueue {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let (first, wanted) = (frames.len(), max.min(self.burst));
        frames.extend(self.ready.drain(..self.ready.len().min(max)));
        // As many reads at most: not each makes a frame, and the kernel may have more without end.
        for _ in 0..wanted {
            if frames.len() - first >= wanted || !self.read(frames) {
                break;
            }
        }
        self.ready.extend(frames.drain(frames.len().min(first + max)..));
        let count = frames.len() - first;
        self.burst = if count >= wanted { (2 * wanted).min(max) } else { count.max(self.burst / 2) }.max(1);
        self.counters().received_frames.add(count as u64);
        if self.shared.capture.is_running() {
            let record = |frame| CapturePoint::record(frame, Direction::In, self.index);
            self.shared.capture.leave(frames[first..].iter().map(record));
        }
        count
    }

    fn transmit(&mut self, _now: u64, frames: &mut Vec<Frame>) -> usize {
        let (mut sent, mut refused, mut bytes) = (0, 0, 0);
        let mut records = self.shared.capture.is_running().then(Vec::new);
        for frame in &*frames {
            match self.send(frame) {
                Sent::Whole { bytes: more } => {
                    (sent, bytes) = (sent + 1, bytes + more);
                    if let Some(records) = &mut records {
                        records.push(CapturePoint::record(frame, Direction::Out, self.index));
                    }
                }
                Sent::Refused => refused += 1,
                Sent::Later => break,
            }
        }
        let gone = sent + refused;
        if let Some(records) = records {
            self.shared.capture.leave(records);
        }
        crate::free_all(frames.drain(..gone));
        let counters = self.counters();
        counters.sent_frames.add(sent as u64);
        counters.sent_bytes.add(bytes as u64);
        counters.transmit_errors.add(refused as u64);
        gone
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ends().file.as_fd())
    }
}
