//! Bursts of frames through one queue pair of a port. What the port is and can do is `port.rs`'s.
//!
//! Here frames cross to C, so here is where each is made fit for it: no heap frame, no shared first segment, no
//! more segments and no more bytes than the port sends. What is not fit is copied, and counted.

use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use dpdk_sys as ffi;

use super::gate::Gate;
use super::plan::Plan;
use super::pool::DpdkPool;
use super::port::Shared;
use super::probe::Traits;
use super::wake::{Wake, Watched};
use crate::capture::{CapturePoint, Direction};
use crate::frame::Frame;
use crate::mbuf::{HEAP_TAG, Header, tx};
use crate::port::{LINK_BYTES, Queue};

/// Frames that cross in one call: DPDK's vector drivers work in multiples of 32.
const BURST_FRAMES_MAX: usize = 64;

/// One queue pair. Moves to the thread that polls it; frames move through it by value.
pub struct PortQueue {
    // Before the pools: the port gives its frames back as it closes.
    shared: Arc<Shared>,
    /// Held so that the pool is nobody else's while the receive ring takes from it.
    _receive: DpdkPool,
    /// For copies of frames that the port cannot send as they are.
    copies: DpdkPool,
    index: u16,
    segments_max: usize,
    frame_bytes_max: usize,
    prepares: bool,
    loops: bool,
    reclaims: bool,
    /// For ports that lose their memory while lanes are in it.
    gate: Option<Gate>,
    /// From the time that the port is started.
    wake: Option<Wake>,
}

/// Why a frame does not go.
enum Unfit {
    /// No frame to copy it into: later.
    Wait(Frame),
    /// It never will. It has been dropped and counted.
    Refused,
}

impl PortQueue {
    pub(super) fn new(
        shared: Arc<Shared>,
        index: u16,
        (receive, copies): (DpdkPool, DpdkPool),
        plan: &Plan,
        traits: Traits,
    ) -> PortQueue {
        let reclaims = survives_reclaim(shared.port.driver());
        PortQueue {
            shared,
            _receive: receive,
            copies,
            index,
            segments_max: plan.capabilities.segments_max,
            frame_bytes_max: usize::from(plan.mtu + LINK_BYTES),
            prepares: plan.prepares(),
            loops: traits.loops,
            reclaims,
            gate: traits.unmaps_at_will.then(Gate::new),
            wake: None,
        }
    }

    /// The port has been started.
    pub(super) fn begin(&mut self) {
        self.wake = Wake::of(&self.shared, self.index);
    }

    /// Sends from the front of `frames`, at most a burst. Returns how many left `frames`, and whether to go on.
    fn transmit_burst(&mut self, frames: &mut Vec<Frame>) -> (usize, bool) {
        let mut burst = [ptr::null_mut::<ffi::rte_mbuf>(); BURST_FRAMES_MAX];
        let offered = frames.len().min(BURST_FRAMES_MAX);
        let (mut count, mut refused, mut waiting) = (0_u16, 0, None);
        let mut records = self.shared.capture.is_running().then(Vec::new);
        for frame in frames.drain(..offered) {
            if waiting.is_some() {
                // Bounded by a burst, and rare: an empty pool ends the turn.
                waiting.get_or_insert_with(Vec::new).push(frame);
                continue;
            }
            let record = records.as_ref().map(|_| CapturePoint::record(&frame, Direction::Out, self.index));
            match self.fit(frame) {
                Ok(header) => {
                    if let Some(records) = records.as_mut() {
                        records.extend(record);
                    }
                    burst[usize::from(count)] = header.as_ptr().cast();
                    count += 1;
                }
                Err(Unfit::Refused) => refused += 1,
                Err(Unfit::Wait(frame)) => waiting = Some(vec![frame]),
            }
        }
        let sent = self.send(&mut burst, count);
        if let Some(records) = records {
            self.shared.capture.leave(records.into_iter().take(sent.taken));
        }
        let unsent = &burst[sent.taken..usize::from(count)];
        let left = unsent.len() + waiting.as_ref().map_or(0, Vec::len);
        if left > 0 {
            // SAFETY: DPDK did not take these, so their references are still ours.
            let unsent = unsent
                .iter()
                .filter_map(|mbuf| NonNull::new(*mbuf))
                .map(|mbuf| unsafe { Frame::from_raw(mbuf.cast()) });
            frames.splice(..0, unsent.chain(waiting.into_iter().flatten()));
        }
        let refused: u64 = refused + sent.invalid;
        if refused > 0 {
            self.shared.counters.refused_frames.fetch_add(refused, Ordering::Relaxed);
        }
        (offered - left, left == 0)
    }

    /// Hands the first `count` mbufs of `burst` to DPDK. Those it refuses for good are freed.
    fn send(&mut self, burst: &mut [*mut ffi::rte_mbuf; BURST_FRAMES_MAX], count: u16) -> Sent {
        let (port, mut sent) = (self.shared.port.id, Sent { taken: 0, invalid: 0 });
        while sent.taken < usize::from(count) {
            let rest = &mut burst[sent.taken..usize::from(count)];
            let wanted = u16::try_from(rest.len()).unwrap_or(0);
            let ready = if self.prepares {
                // SAFETY: the queue is this handle's, and `rest` holds `wanted` mbufs that are ours.
                unsafe { ffi::corelane_tx_prepare(port, self.index, rest.as_mut_ptr(), wanted) }
            } else {
                wanted
            };
            let Ok(_inside) = Gate::enter(self.gate.as_ref()) else { break };
            // SAFETY: the port is started, the queue is this handle's, and `rest` holds at least `ready` mbufs that
            // are ours; those that are taken are DPDK's from here on.
            let taken = unsafe { ffi::corelane_tx_burst(port, self.index, rest.as_mut_ptr(), ready) };
            sent.taken += usize::from(taken);
            if taken < ready || ready == wanted {
                break;
            }
            // The driver says that it can never send this one.
            if let Some(mbuf) = NonNull::new(burst[sent.taken]) {
                // SAFETY: DPDK did not take it, so its references are still ours.
                drop(unsafe { Frame::from_raw(mbuf.cast()) });
            }
            sent.taken += 1;
            sent.invalid += 1;
        }
        sent
    }

    /// Makes a frame fit for C: as it is where the port can send it so, else as a copy.
    #[inline]
    fn fit(&self, frame: Frame) -> Result<NonNull<Header>, Unfit> {
        let header = frame.segment();
        let (mut bytes, mut segments, mut tags) = (frame.len(), 1, header.pool);
        let mut next = header.next;
        // SAFETY: segments of an owned chain are alive; the chain ends with null.
        while let Some(segment) = unsafe { next.as_ref() } {
            bytes += usize::from(segment.data_len);
            segments += 1;
            tags |= segment.pool;
            next = segment.next;
        }
        if !self.fits_length(header, bytes) {
            return Err(Unfit::Refused);
        }
        if tags & HEAP_TAG == 0 && segments <= self.segments_max && frame.is_unique() {
            return Ok(frame.into_raw());
        }
        self.copy(frame)
    }

    /// The driver sends as much. Too long a frame would block the queue (TAP) or vanish (AF_PACKET).
    #[inline]
    fn fits_length(&self, header: &Header, bytes: usize) -> bool {
        if header.ol_flags & tx::TCP_SEGMENTATION == 0 {
            return bytes <= self.frame_bytes_max;
        }
        let field = |shift: u32, bits: u32| header.tx_offload >> shift & ((1 << bits) - 1);
        // Of each segment: link, network and transport header, and payload (rte_mbuf's tx_offload).
        let segment = field(0, 7) + field(7, 9) + field(16, 8) + field(24, 16);
        segment <= self.frame_bytes_max as u64 && bytes <= usize::from(u16::MAX)
    }

    /// Copies a frame into one of the control pool's, with what the port is to do to it.
    #[cold]
    fn copy(&self, frame: Frame) -> Result<NonNull<Header>, Unfit> {
        let Some(fresh) = self.copies.take() else { return Err(Unfit::Wait(frame)) };
        let mut copy = Frame::from_fresh(fresh);
        let length = frame.total_len();
        let Some(mut room) = copy.append(length) else { return Err(Unfit::Refused) };
        for segment in frame.segments() {
            let (here, rest) = room.split_at_mut(segment.len());
            here.copy_from_slice(segment);
            room = rest;
        }
        let &Header { tx_offload: offload, ol_flags: flags, vlan_tci: vlan, .. } = frame.segment();
        let raw = copy.into_raw();
        // SAFETY: the frame has just been made, and its one reference is ours.
        let header = unsafe { &mut *raw.as_ptr() };
        header.tx_offload = offload;
        header.vlan_tci = vlan;
        header.ol_flags = flags & !(tx::EXTERNAL | tx::INDIRECT);
        let counters = &self.shared.counters;
        counters.copied_frames.fetch_add(1, Ordering::Relaxed);
        counters.copied_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(raw)
    }
}

/// Whether a port that was made to give back what it has sent goes on sending.
///
/// igb's and igc's `tx_done_cleanup` makes each descriptor of a frame the last of its own. Of a frame of several
/// segments only the last is ever marked as done, so the next time round the ring their transmit waits for a mark on
/// another for good. These drivers give frames back as they take new ones.
fn survives_reclaim(driver: &[u8]) -> bool {
    !driver.starts_with(b"net_e1000_igb") && !driver.starts_with(b"net_igc")
}

struct Sent {
    /// Mbufs that are ours no more.
    taken: usize,
    /// Of those, the ones the driver can never send.
    invalid: u64,
}

impl Queue for PortQueue {
    fn receive(&mut self, _now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut burst = [const { MaybeUninit::<*mut ffi::rte_mbuf>::uninit() }; BURST_FRAMES_MAX];
        let limit = u16::try_from(max.min(BURST_FRAMES_MAX)).unwrap_or(0);
        if let Some(wake) = self.wake.as_mut().filter(|wake| wake.is_armed()) {
            wake.disarm(&self.shared);
        }
        let Ok(_inside) = Gate::enter(self.gate.as_ref()) else { return 0 };
        // SAFETY: the port is started, the queue is this handle's, and `burst` has room for `limit` mbufs.
        let count = unsafe {
            ffi::corelane_rx_burst(self.shared.port.id, self.index, burst.as_mut_ptr().cast(), limit)
        };
        for mbuf in &burst[..usize::from(count)] {
            // SAFETY: DPDK has written so many of them.
            let mbuf = unsafe { mbuf.assume_init() };
            // SAFETY: each is a well-formed chain of mbufs that DPDK gave up.
            frames.extend(NonNull::new(mbuf).map(|mbuf| unsafe { Frame::from_raw(mbuf.cast()) }));
        }
        if self.shared.capture.is_running() {
            let first = frames.len() - usize::from(count);
            let record = |frame| CapturePoint::record(frame, Direction::In, self.index);
            self.shared.capture.leave(frames[first..].iter().map(record));
        }
        if self.loops {
            let first = frames.len() - usize::from(count);
            for frame in frames[first..].iter_mut().filter(|frame| frame.is_unique()) {
                frame.clear_metadata();
            }
        }
        usize::from(count)
    }

    fn transmit(&mut self, _now: u64, frames: &mut Vec<Frame>) -> usize {
        let mut total = 0;
        while !frames.is_empty() {
            let (gone, all) = self.transmit_burst(frames);
            total += gone;
            if !all {
                break;
            }
        }
        total
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(Wake::file)
    }

    fn watch(&mut self) -> bool {
        match self.wake.as_mut().map(|wake| wake.watch(&self.shared)) {
            None | Some(Watched::Rest) => true,
            Some(Watched::Come) => false,
            Some(Watched::Refused) => {
                self.wake = None;
                false
            }
        }
    }

    fn reclaim(&mut self) {
        if self.reclaims {
            // SAFETY: the queue is this handle's; 0 means all that can be freed.
            let status = unsafe { ffi::rte_eth_tx_done_cleanup(self.shared.port.id, self.index, 0) };
            self.reclaims = status >= 0;
        }
    }
}
