//! A bad network around any queue: loss, delay, jitter, reordering, duplication, corruption, a rate and marks, from a
//! seed.
//! What is asked for is `faulty/spec.rs`; the numbers come from `faulty/random.rs`.
//!
//! Time is the `now` of the calls and nothing else: the same seed and the same calls give the same faults, in virtual
//! time as well as around a real device.

use core::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::Capture;
use crate::frame::Frame;
use crate::pool::Pool;
use crate::port::{Capabilities, Control, DeviceStatistics, LINK_BYTES, Link, Opened, Queue, QueueParts};
use crate::setup::SetupError;
use crate::soft::copy::frame_of;
use crate::soft::heap::HEADROOM;

use random::Random;

mod marking;
mod random;
mod spec;

pub use spec::{FaultSpec, FaultSpecError, Faults, HELD_FRAMES_MAX, HELD_FRAMES_MIN};

/// Frames that pass at once between two looks at what is due.
const BURST_FRAMES: usize = 32;

/// What happened to the frames of one direction.
///
/// Every frame is accounted for: `offered + duplicated = lost + queue_dropped + held_dropped + passed + held`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathStatistics {
    /// Frames that came to be passed.
    pub offered: u64,
    /// Copies made of them.
    pub duplicated: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames whose bits were flipped.
    pub corrupted: u64,
    /// Frames held back so that others overtake them.
    pub reordered: u64,
    /// Frames marked for the queue in front of the rate.
    pub marked: u64,
    /// Frames dropped because the queue in front of the rate was full.
    pub queue_dropped: u64,
    /// Frames dropped because too many were held.
    pub held_dropped: u64,
    /// Frames left as they were because the pool of copies was empty.
    pub no_copies: u64,
    /// Frames that went through.
    pub passed: u64,
    /// Frames held now.
    pub held: u64,
}

/// What happened to the frames of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultStatistics {
    /// On the way in.
    pub receive: PathStatistics,
    /// On the way out.
    pub transmit: PathStatistics,
}

/// The statistics of a [`Faulty`], for whoever gave the queue away.
#[derive(Clone)]
pub struct FaultWatch(Arc<Mutex<FaultStatistics>>);

impl FaultWatch {
    /// As of the queue's last call.
    pub fn statistics(&self) -> FaultStatistics {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue behind a bad network.
///
/// Frames that are due on the way out leave in the next call of either `receive` or `transmit`; `next_event` tells when
/// that should be.
pub struct Faulty {
    inner: Box<dyn Queue>,
    inward: Path,
    outward: Path,
    arrived: Vec<Frame>,
    /// Due, but refused by the port so far.
    unsent: Vec<Frame>,
    copies: Copies,
    watch: FaultWatch,
}

impl Faulty {
    /// Put `inner` behind the network that `spec` describes.
    ///
    /// Duplicates and corrupted frames are copies, taken from `copies`; while it is empty, frames pass as they are and
    /// are counted. Its frames must hold the port's largest frame if the port sends single segments only. A heap pool
    /// serves every port: those that cannot read the heap copy such frames themselves.
    pub fn new(inner: Box<dyn Queue>, spec: &FaultSpec, copies: Pool) -> Faulty {
        let held = spec.held.max(HELD_FRAMES_MIN);
        Faulty {
            inner,
            inward: Path::new(spec.receive, Random::new(spec.seed, 0), Random::new(spec.seed, 1), held),
            outward: Path::new(spec.transmit, Random::new(spec.seed, 2), Random::new(spec.seed, 3), held),
            arrived: Vec::with_capacity(BURST_FRAMES),
            unsent: Vec::with_capacity(BURST_FRAMES),
            copies: Copies { pool: copies, scratch: Vec::new() },
            watch: FaultWatch(Arc::default()),
        }
    }

    /// What is left of a port's capabilities.
    ///
    /// Checksums and segments that the port would make after the faults would hide them, so both are the stack's. A
    /// port's verdict came before the faults, so the stack is told not to count on verdicts.
    pub fn capabilities(inner: &Capabilities) -> Capabilities {
        Capabilities {
            transmit_ipv4_checksum: false,
            transmit_tcp_checksum: false,
            transmit_udp_checksum: false,
            receive_checksums: false,
            segmentation_max: 0,
            ..*inner
        }
    }

    /// The statistics so far.
    pub fn statistics(&self) -> FaultStatistics {
        let unsent = self.unsent.len() as u64;
        let transmit = self.outward.statistics();
        FaultStatistics {
            receive: self.inward.statistics(),
            transmit: PathStatistics {
                passed: transmit.passed - unsent,
                held: transmit.held + unsent,
                ..transmit
            },
        }
    }

    /// A way to the statistics that stays when the queue has been given away.
    pub fn watch(&self) -> FaultWatch {
        self.watch.clone()
    }

    /// Send what is due. False if the port did not take all of it.
    fn flush(&mut self, now: u64) -> bool {
        loop {
            if self.unsent.is_empty() && self.outward.release(now, &mut self.unsent, BURST_FRAMES) == 0 {
                return true;
            }
            self.inner.transmit(now, &mut self.unsent);
            if !self.unsent.is_empty() {
                return false;
            }
        }
    }

    fn publish(&self) {
        *self.watch.0.lock().unwrap_or_else(PoisonError::into_inner) = self.statistics();
    }
}

impl Queue for Faulty {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.flush(now);
        // What is due comes first: while that fills every call, nothing more is taken from the port.
        let mut count = self.inward.release(now, frames, max);
        let mut asked = 0;
        while count < max && asked < max {
            let burst = BURST_FRAMES.min(max - count);
            asked += burst;
            if self.inner.receive(now, &mut self.arrived, burst) == 0 {
                break;
            }
            for frame in self.arrived.drain(..) {
                self.inward.admit(now, frame, &mut self.copies);
            }
            count += self.inward.release(now, frames, max - count);
        }
        self.publish();
        count
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        let offered = frames.len();
        // A port that takes no more pushes back on the sender, as it would without the network in between.
        let mut open = self.flush(now);
        while open && !frames.is_empty() {
            let burst = frames.len().min(BURST_FRAMES);
            for frame in frames.drain(..burst) {
                self.outward.admit(now, frame, &mut self.copies);
            }
            open = self.flush(now);
        }
        self.publish();
        offered - frames.len()
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.inner.wakes()
    }

    fn watch(&mut self) -> bool {
        self.inner.watch()
    }

    fn next_event(&self) -> Option<u64> {
        let refused = (!self.unsent.is_empty()).then_some(0);
        [self.inner.next_event(), self.inward.next_release(), self.outward.next_release(), refused]
            .into_iter()
            .flatten()
            .min()
    }

    /// The port's, and that of the copies.
    fn transmit_pool(&self) -> Option<(usize, usize)> {
        let (available, capacity) = self.inner.transmit_pool().unwrap_or_default();
        Some((available + self.copies.pool.available(), capacity + self.copies.pool.capacity()))
    }

    fn reclaim(&mut self) {
        self.inner.reclaim();
    }
}

/// One direction of the network.
struct Path {
    faults: Faults,
    fates: Random,
    flips: Random,
    held: BinaryHeap<Reverse<Waiting>>,
    held_max: usize,
    /// Order of admission.
    admitted: u64,
    /// When the line will have passed what was given to it. Units: nanoseconds.
    line_free: u64,
    /// The latest time at which a frame that keeps its place comes out.
    latest: u64,
    statistics: PathStatistics,
}

/// What the dice say of a frame. Always drawn whole: changing one fault leaves the others where they were.
struct Fate {
    lost: bool,
    corrupt: bool,
    duplicate: bool,
    held_back: Option<u64>,
    jitter: u64,
}

impl Fate {
    fn draw(faults: &Faults, random: &mut Random) -> Fate {
        let lost = random.chance(faults.loss);
        let corrupt = random.chance(faults.corrupt);
        let duplicate = random.chance(faults.duplicate);
        let reorder = random.chance(faults.reorder);
        let gap = 1 + random.below(faults.gap);
        let jitter = random.below(faults.jitter.saturating_add(1));
        Fate { lost, corrupt, duplicate, held_back: reorder.then_some(gap), jitter }
    }
}

impl Path {
    fn new(faults: Faults, fates: Random, flips: Random, held_max: usize) -> Path {
        Path {
            faults,
            fates,
            flips,
            held: BinaryHeap::with_capacity(held_max),
            held_max,
            admitted: 0,
            line_free: 0,
            latest: 0,
            statistics: PathStatistics::default(),
        }
    }

    /// Decide what becomes of a frame, and hold what is left of it until its time.
    fn admit(&mut self, now: u64, mut frame: Frame, copies: &mut Copies) {
        self.statistics.offered += 1;
        let fate = Fate::draw(&self.faults, &mut self.fates);
        if fate.lost {
            self.statistics.lost += 1;
            return;
        }
        if fate.corrupt {
            match copies.corrupted(&frame, &mut self.flips) {
                Some(corrupted) => {
                    frame = corrupted;
                    self.statistics.corrupted += 1;
                }
                None => self.statistics.no_copies += 1,
            }
        }
        let second = if fate.duplicate { copies.duplicate(&frame) } else { None };
        self.statistics.no_copies += u64::from(fate.duplicate && second.is_none());
        self.pass(now, fate.jitter, fate.held_back, frame, copies);
        if let Some(second) = second {
            self.statistics.duplicated += 1;
            self.pass(now, fate.jitter, None, second, copies);
        }
    }

    /// Put a frame on the line.
    fn pass(&mut self, now: u64, jitter: u64, held_back: Option<u64>, mut frame: Frame, copies: &mut Copies) {
        if self.held.len() >= self.held_max {
            self.statistics.held_dropped += 1;
            return;
        }
        let waiting = self.waiting(now);
        let Some(passed) = self.line(now, waiting, frame.total_len()) else {
            self.statistics.queue_dropped += 1;
            return;
        };
        if self.faults.mark.is_some_and(|mark| waiting > mark) {
            self.statistics.marked += u64::from(copies.mark(&mut frame));
        }
        let arrival = passed.saturating_add(self.faults.delay).saturating_add(jitter).max(self.latest);
        let at = match held_back {
            Some(gap) => {
                self.statistics.reordered += 1;
                arrival.saturating_add(gap)
            }
            None => {
                self.latest = arrival;
                arrival
            }
        };
        self.held.push(Reverse(Waiting { at, order: self.admitted, frame }));
        self.admitted += 1;
    }

    /// Bytes that wait in front of the line.
    fn waiting(&self, now: u64) -> u64 {
        let Some(rate) = self.faults.rate else { return 0 };
        let waiting = u128::from(self.line_free.saturating_sub(now)) * u128::from(rate.get()) / LINE_BITS;
        u64::try_from(waiting).unwrap_or(u64::MAX)
    }

    /// When the line will have passed a frame of this length behind those that wait; `None` if the queue in front of it
    /// is full.
    fn line(&mut self, now: u64, waiting: u64, length: usize) -> Option<u64> {
        let Some(rate) = self.faults.rate else { return Some(now) };
        let start = self.line_free.max(now);
        // A frame that finds the line free passes, however short the queue.
        if waiting > 0 && waiting.saturating_add(length as u64) > self.faults.queue {
            return None;
        }
        let takes = (length as u128 * LINE_BITS).div_ceil(u128::from(rate.get()));
        self.line_free = start.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        Some(self.line_free)
    }

    /// Append to `out` at most `max` frames whose time has come.
    fn release(&mut self, now: u64, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut count = 0;
        while count < max && self.next_release().is_some_and(|at| at <= now) {
            out.extend(self.held.pop().map(|Reverse(waiting)| waiting.frame));
            count += 1;
        }
        self.statistics.passed += count as u64;
        count
    }

    fn next_release(&self) -> Option<u64> {
        self.held.peek().map(|Reverse(waiting)| waiting.at)
    }

    fn statistics(&self) -> PathStatistics {
        PathStatistics { held: self.held.len() as u64, ..self.statistics }
    }
}

/// What makes bits a second of bytes and nanoseconds.
const LINE_BITS: u128 = 8 * 1_000_000_000;

/// A frame on its way. Frames of the same time come out in the order they went in.
struct Waiting {
    at: u64,
    order: u64,
    frame: Frame,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

/// Makes copies: a frame that is shared, or carries an application's memory, is never written to.
struct Copies {
    pool: Pool,
    scratch: Vec<u8>,
}

impl Copies {
    /// A second frame like this one, with the port's verdicts and hash and the sender's requests.
    fn duplicate(&mut self, frame: &Frame) -> Option<Frame> {
        self.gather(frame);
        let mut copy = frame_of(&self.pool, &self.scratch)?;
        match frame.offload() {
            Some(offload) => copy.set_offload(offload),
            None => copy.set_verdicts(frame.verdicts()),
        }
        if let Some(hash) = frame.hash() {
            copy.set_hash(hash);
        }
        Some(copy)
    }

    /// The frame with bits flipped, and without what a port said of it or was asked to do to it: nobody but the stack
    /// at the end verifies its checksums, and no port makes them right.
    fn corrupted(&mut self, frame: &Frame, random: &mut Random) -> Option<Frame> {
        self.gather(frame);
        flip(&mut self.scratch, random);
        frame_of(&self.pool, &self.scratch)
    }

    /// Mark a frame that is ECN-capable, in place or as a copy. False if it is not, or no copy was to be had.
    fn mark(&mut self, frame: &mut Frame) -> bool {
        if let Some(bytes) = frame.bytes_mut() {
            return marking::mark(bytes);
        }
        let Some(mut copy) = self.duplicate(frame) else { return false };
        let marked = copy.bytes_mut().is_some_and(marking::mark);
        if marked {
            *frame = copy;
        }
        marked
    }

    /// A frame's bytes as they are on the wire: a VLAN tag that the port took off is back in its place.
    fn gather(&mut self, frame: &Frame) {
        const ADDRESSES: usize = 12;
        self.scratch.clear();
        frame.segments().for_each(|segment| self.scratch.extend_from_slice(segment));
        if let Some(tag) = frame.stripped_vlan()
            && self.scratch.len() >= ADDRESSES
        {
            let [high, low] = tag.to_be_bytes();
            self.scratch.splice(ADDRESSES..ADDRESSES, [0x81, 0x00, high, low]);
        }
    }
}

/// Flip one to three bits.
///
/// No two of them are the same bit of a 16-bit word. The Internet checksum is blind to two flips that cancel out in one
/// column, which a real link's CRC would have caught; from distinct columns no sum of up to three is zero, so each
/// checksummed part that was hit no longer fits its checksum, and transfers stay byte-exact.
fn flip(bytes: &mut [u8], random: &mut Random) {
    let bits = bytes.len() * 8;
    let mut columns = 0_u16;
    for _ in 0..1 + random.below(3) {
        let mut bit = usize::try_from(random.below(bits as u64)).unwrap_or(0);
        if bits == 0 {
            continue;
        }
        while columns & 1 << (bit % 16) != 0 {
            bit = (bit + 1) % bits;
        }
        columns |= 1 << (bit % 16);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

/// Put every queue of a device behind the network that `spec` describes, each with moments of its own.
///
/// The faults' counters join the extended statistics, as `rx_q0_fault_lost` and so on. Copies come from the heap.
pub fn with_faults(device: Opened, spec: &FaultSpec) -> Opened {
    let mut watches = Vec::with_capacity(device.queues.len());
    // Each held frame may be a copy, and as many again may wait in the port or with the stack.
    let frames = 2 * spec.held.max(HELD_FRAMES_MIN);
    let room = device.mtu.saturating_add(LINK_BYTES).saturating_add(HEADROOM);
    let queues = (0..).zip(device.queues).map(|(index, QueueParts { queue, pools })| {
        let faulty = Faulty::new(queue, &spec.for_queue(index), Pool::heap(frames, room));
        watches.push(faulty.watch());
        QueueParts { queue: Box::new(faulty), pools }
    });
    let queues = queues.collect();
    Opened {
        capabilities: Faulty::capabilities(&device.capabilities),
        queues,
        control: Box::new(FaultyControl { inner: device.control, watches }),
        ..device
    }
}

/// A port's control with the faults' counters.
struct FaultyControl {
    inner: Box<dyn Control>,
    watches: Vec<FaultWatch>,
}

impl Control for FaultyControl {
    fn link(&self) -> Link {
        self.inner.link()
    }

    fn is_gone(&self) -> bool {
        self.inner.is_gone()
    }

    fn capture(&self, path: &std::path::Path) -> Result<Capture, SetupError> {
        self.inner.capture(path)
    }

    fn statistics(&self) -> DeviceStatistics {
        self.inner.statistics()
    }

    fn extended_statistics(&self) -> Vec<(String, u64)> {
        let mut all = self.inner.extended_statistics();
        for (index, watch) in self.watches.iter().enumerate() {
            let FaultStatistics { receive, transmit } = watch.statistics();
            for (direction, path) in [("rx", receive), ("tx", transmit)] {
                let named =
                    path.named().map(|(name, count)| (format!("{direction}_q{index}_fault_{name}"), count));
                all.extend(named);
            }
        }
        all
    }
}

impl PathStatistics {
    fn named(&self) -> [(&'static str, u64); 11] {
        let PathStatistics { offered, duplicated, lost, corrupted, reordered, marked, .. } = *self;
        let PathStatistics { queue_dropped, held_dropped, no_copies, passed, held, .. } = *self;
        [
            ("offered", offered),
            ("duplicated", duplicated),
            ("lost", lost),
            ("corrupted", corrupted),
            ("reordered", reordered),
            ("marked", marked),
            ("queue_dropped", queue_dropped),
            ("held_dropped", held_dropped),
            ("no_copies", no_copies),
            ("passed", passed),
            ("held", held),
        ]
    }
}

#[cfg(test)]
mod tests;
