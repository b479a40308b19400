//! What the algorithms remember of a flow: plain data in a slab of the lane, and only for flows whose window has held
//! them back. What it means is each algorithm's own.

use super::cubic::CubicState;
use super::dctcp::DctcpState;
use super::hystart::HyStart;
use crate::tcp::send::NONE;
use crate::wire::tcp::SeqNum;

/// A flow's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Control {
    /// Bytes acknowledged since the window, or CUBIC's estimate of Reno's, last grew.
    pub bytes_acked: u32,
    /// SND.NXT when the window was last made smaller for marks.
    pub cwr_end: SeqNum,
    /// CUBIC's variables.
    pub cubic: CubicState,
    /// DCTCP's estimate.
    pub dctcp: DctcpState,
    /// The initial slow start.
    pub hystart: HyStart,
    /// Where the receiver stood when the mark last changed, if that is still to be told.
    pub early_ack: SeqNum,
    /// Before the last reduction: congestion window (zero: nothing is saved), threshold and CUBIC's variables.
    saved_cwnd: u32,
    saved_ssthresh: u32,
    saved_cubic: CubicState,
}

const _: () = assert!(size_of::<Control>() <= 144);

impl Control {
    /// Remember what a reduction that may turn out to be spurious is about to change.
    pub(super) fn save(&mut self, cwnd: u32, ssthresh: u32) {
        self.saved_cwnd = cwnd;
        self.saved_ssthresh = ssthresh;
        self.saved_cubic = self.cubic;
    }

    /// Congestion window and threshold before the last reduction, if they may come back.
    pub(super) fn saved(&self) -> Option<(u32, u32)> {
        (self.saved_cwnd > 0).then_some((self.saved_cwnd, self.saved_ssthresh))
    }

    /// Take CUBIC's variables back.
    pub(super) fn restore(&mut self) {
        self.cubic = self.saved_cubic;
    }

    pub(super) fn forget_saved(&mut self) {
        self.saved_cwnd = 0;
    }

    /// The same memory on a clock that shows `by_us` more.
    pub fn shift(&mut self, by_us: u32) {
        for cubic in [&mut self.cubic, &mut self.saved_cubic] {
            cubic.updated_us = cubic.updated_us.wrapping_add(by_us);
        }
    }
}

/// The memories of a lane's flows, in a slab.
#[derive(Debug, Default)]
pub struct Controls {
    slots: Vec<Control>,
    free: Vec<u32>,
}

impl Controls {
    /// Memories in use.
    pub fn live(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The memory of an index, if it is one.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Control> {
        self.slots.get(index as usize)
    }

    /// The memory of an index; a new one, and its index, if it is none.
    pub fn obtain(&mut self, index: &mut u32) -> &mut Control {
        if *index == NONE {
            *index = self.free.pop().unwrap_or_else(|| {
                self.slots.push(Control::default());
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            });
        }
        &mut self.slots[*index as usize]
    }

    /// Give a memory back, emptied.
    pub fn remove(&mut self, index: &mut u32) {
        let index = core::mem::replace(index, NONE);
        if let Some(control) = self.slots.get_mut(index as usize) {
            *control = Control::default();
            self.free.push(index);
        }
    }
}
