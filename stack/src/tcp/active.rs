//! The part of a connection that it has only while something is amiss, from a slab of the lane. What is in it is the
//! business of `receive` and `loss`.

use super::loss::LossState;
use super::receive::Reassembly;
use super::send::NONE;
use super::skip::Skips;
use crate::wire::tcp::SackBlock;

/// What a connection needs while segments are missing.
#[derive(Clone, Debug, Default)]
pub struct Active {
    /// What arrived beyond RCV.NXT.
    pub reassembly: Reassembly,
    /// What is known of what we sent.
    pub loss: LossState,
    /// Ways past ranges of it that need no look.
    pub skips: Skips,
    /// What came twice, until the next acknowledgement tells of it (RFC 2883).
    pub dsack: Option<SackBlock>,
}

impl Active {
    /// Nothing in it need be remembered.
    pub fn is_idle(&self) -> bool {
        self.reassembly.is_empty() && self.dsack.is_none() && self.loss.is_idle()
    }
}

/// Active parts of a lane, in a slab.
#[derive(Debug, Default)]
pub struct Actives {
    slots: Vec<Active>,
    free: Vec<u32>,
}

impl Actives {
    /// Parts in use.
    pub fn live(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The part of an index.
    pub fn get(&self, index: u32) -> Option<&Active> {
        self.slots.get(index as usize)
    }

    /// Take a part. Returns its index.
    pub fn insert(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Active::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        })
    }

    /// The part of an index, for changing, if it is in use.
    pub fn of(&mut self, index: u32) -> Option<&mut Active> {
        self.slots.get_mut(index as usize)
    }

    /// The part of an index that is in use, for changing.
    pub fn get_mut(&mut self, index: u32) -> &mut Active {
        &mut self.slots[index as usize]
    }

    /// Give a part back, emptied, its vectors kept for the next.
    pub fn remove(&mut self, index: u32) {
        if let Some(active) = self.slots.get_mut(index as usize) {
            (active.loss, active.dsack) = (LossState::NONE, None);
            active.skips.reset();
            active.reassembly.clear(&mut Vec::new());
            self.free.push(index);
        }
    }
}
