//! The queue of a memif link: frames are copied out of one ring and into the other. How they are packed for the way out
//! is `pack.rs`'s, what is summed on the way in `sums.rs`'s.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Keeper;
use super::link::{Link, Rings};
use super::pack::{Filler, Packed};
use super::ring::Filled;
use super::sums::{copy_verified, mark_verified};
use crate::capture::{CapturePoint, Direction};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::port::Queue;
use crate::tally::Counters;

/// How far ahead descriptors are asked for, and where frames probably begin.
const AHEAD: u16 = 4;

/// How far ahead whole frames are asked for. What lies in the other core's cache is 70 % of a receiver's time where each
/// line is asked for as it is copied.
const WHOLE_AHEAD: u16 = 2;

/// How long what a peer has written may take to be seen here, and many times over: it looks at this end's wish right behind its
/// frame, and as any store the frame may still be on its way then.
const UNSEEN: Duration = Duration::from_micros(2);

/// The longest frame that is taken in several buffers.
const FRAME_BYTES_MAX: usize = u16::MAX as usize;

/// One end of a link, for one thread.
pub(super) struct MemifQueue {
    link: Arc<Link>,
    rings: Option<Rings>,
    /// For which turn of the link these are its rings.
    seen: u32,
    /// The peer was asked to wake this end.
    watching: bool,
    pool: Pool,
    frame_bytes_max: usize,
    /// Held so that the link goes with its last owner.
    _keeper: Arc<Keeper>,
}

impl MemifQueue {
    /// Receives into frames of `pool`, and sends frames of at most `frame_bytes_max` bytes.
    pub fn new(link: Arc<Link>, pool: Pool, frame_bytes_max: usize, keeper: Arc<Keeper>) -> MemifQueue {
        MemifQueue { link, rings: None, seen: 0, watching: false, pool, frame_bytes_max, _keeper: keeper }
    }

    /// Frames of the pool that can be taken now.
    #[cfg(feature = "fuzz")]
    pub fn available(&self) -> usize {
        self.pool.available()
    }

    /// Sees to it that the rings are those of the link as it is now.
    #[inline]
    fn look(&mut self) {
        if !self.link.is_at(self.seen) {
            self.change();
        }
    }

    #[cold]
    fn change(&mut self) {
        self.link.watch.clear();
        (self.rings, self.seen) = self.link.take();
        if let Some(rings) = &mut self.rings {
            rings.incoming.begin();
        }
    }

    /// This end looks by itself again.
    #[cold]
    fn rouse(&mut self) {
        self.watching = false;
        if let Some(rings) = &self.rings {
            rings.incoming.be_woken(false);
        }
        self.link.watch.clear();
    }
}

impl Queue for MemifQueue {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        if self.watching {
            self.rouse();
        }
        self.look();
        let Some(rings) = &mut self.rings else { return 0 };
        let waiting = rings.incoming.waiting();
        if waiting == 0 {
            return 0;
        }
        rings.incoming.expect(waiting.min(AHEAD));
        // Where few came, few answers will go, and soon.
        if waiting < AHEAD {
            rings.outgoing.expect(waiting);
        }
        let first = frames.len();
        unpack(rings, &self.pool, &self.link.counters, waiting, frames, max);
        let count = frames.len() - first;
        self.link.counters.received_frames.add(count as u64);
        if self.link.capture.is_running() {
            let record = |frame| CapturePoint::record(frame, Direction::In, 0);
            self.link.capture.leave(frames[first..].iter().map(record));
        }
        count
    }

    fn transmit(&mut self, _now: u64, frames: &mut Vec<Frame>) -> usize {
        self.look();
        let Some(rings) = self.rings.as_mut().filter(|_| !frames.is_empty()) else { return 0 };
        let mut filler = Filler::new(&mut rings.outgoing, frames.len());
        let (mut sent, mut refused, mut bytes) = (0, 0, 0);
        let mut records = self.link.capture.is_running().then(Vec::new);
        for frame in &*frames {
            match filler.pack(frame, self.frame_bytes_max) {
                Packed::Whole { bytes: more } => {
                    (sent, bytes) = (sent + 1, bytes + more);
                    if let Some(records) = &mut records {
                        records.push(CapturePoint::record(frame, Direction::Out, 0));
                    }
                }
                Packed::Refused => refused += 1,
                Packed::Later => break,
            }
        }
        // Before the frames go home: the peer need not wait for that.
        if filler.publish() {
            rings.wake();
        }
        let gone = sent + refused;
        if let Some(records) = records {
            self.link.capture.leave(records);
        }
        crate::free_all(frames.drain(..gone));
        let counters = &self.link.counters;
        counters.sent_frames.add(sent as u64);
        counters.sent_bytes.add(bytes as u64);
        if refused > 0 {
            counters.transmit_errors.add(refused as u64);
        }
        gone
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        // While the link is down, its coming does.
        let is_watched = self.rings.as_ref().is_none_or(|rings| rings.is_watched);
        is_watched.then(|| self.link.watch.as_fd())
    }

    fn watch(&mut self) -> bool {
        self.look();
        self.watching = true;
        let Some(rings) = self.rings.as_ref().filter(|rings| rings.is_watched) else { return true };
        rings.incoming.be_woken(true);
        let asked = Instant::now();
        while rings.incoming.waiting() == 0 {
            if asked.elapsed() > UNSEEN {
                return true;
            }
        }
        false
    }
}

/// Copies at most `max` of the frames that lie in the `waiting` buffers, and appends them to `frames`.
#[inline]
fn unpack(
    rings: &mut Rings,
    pool: &Pool,
    counters: &Counters,
    waiting: u16,
    frames: &mut Vec<Frame>,
    max: usize,
) {
    let (first, wanted) = (frames.len(), max.min(usize::from(waiting)));
    pool.take_many(frames, wanted);
    if frames.len() - first < wanted {
        counters.no_frames.add(1);
    }
    let (mut taken, mut filled, mut bytes) = (0, first, 0);
    while taken < waiting
        && let Some(frame) = frames.get_mut(filled)
    {
        if taken + AHEAD < waiting {
            rings.incoming.expect_ahead(taken + AHEAD);
        }
        if taken + WHOLE_AHEAD < waiting {
            rings.incoming.expect_all(taken + WHOLE_AHEAD);
        }
        match copy(rings, frame, taken) {
            Copied::Whole => {
                bytes += frame.len();
                filled += 1;
            }
            Copied::Nowhere => counters.receive_errors.add(1),
            Copied::Long => {
                // It needs frames of its own: those that were taken for the others go back first.
                frames.truncate(filled);
                taken += unpack_long(rings, pool, counters, taken, waiting, frames);
                filled = frames.len();
                break;
            }
        }
        taken += 1;
    }
    frames.truncate(filled);
    rings.incoming.release(taken);
    counters.received_bytes.add(bytes as u64);
}

/// What came of a buffer.
enum Copied {
    /// It was a frame.
    Whole,
    /// The peer says that it lies where no memory is.
    Nowhere,
    /// The frame is in several buffers, or longer than one of the pool's.
    Long,
}

/// Copies the frame in the buffer `at` of those that wait to `frame`, which is empty.
#[inline]
fn copy(rings: &mut Rings, frame: &mut Frame, at: u16) -> Copied {
    let Filled { buffer, more } = rings.incoming.buffer(at);
    if more {
        return Copied::Long;
    }
    let Some(buffer) = buffer else { return Copied::Nowhere };
    let Some(room) = frame.append(buffer.len()) else { return Copied::Long };
    if copy_verified(buffer, room) {
        mark_verified(frame);
    }
    Copied::Whole
}

/// Copies the frame that begins in the buffer `at`, and appends it to `frames`: unless the peer says that part of it lies where
/// no memory is, or goes on where nothing was filled. Returns how many buffers are done with: none while the pool has too few
/// frames for it.
#[cold]
fn unpack_long(
    rings: &mut Rings,
    pool: &Pool,
    counters: &Counters,
    at: u16,
    waiting: u16,
    frames: &mut Vec<Frame>,
) -> u16 {
    let (mut buffers, mut bytes, mut whole, mut more) = (0, Vec::new(), true, true);
    while more && at + buffers < waiting {
        let filled = rings.incoming.buffer(at + buffers);
        (more, buffers) = (filled.more, buffers + 1);
        match filled.buffer.filter(|buffer| bytes.len() + buffer.len() <= FRAME_BYTES_MAX) {
            Some(buffer) => {
                let start = bytes.len();
                bytes.resize(start + buffer.len(), 0);
                buffer.copy_out(0, &mut bytes[start..]);
            }
            None => whole = false,
        }
    }
    if more || !whole {
        counters.receive_errors.add(1);
        return buffers;
    }
    match crate::soft::frame_of(pool, &bytes) {
        Some(frame) => {
            counters.received_bytes.add(bytes.len() as u64);
            frames.push(frame);
            buffers
        }
        None => {
            counters.no_frames.add(1);
            0
        }
    }
}
