//! What a descriptor is ready for, and sets that wait for several. Which event makes which bit is the sockets' to say.

use core::ops::{BitAnd, BitOr, BitOrAssign};
use std::collections::{BTreeMap, VecDeque};

use super::{Descriptor, Errno, Poller};

/// What a descriptor is ready for, or what is waited for. The bits are those of Linux's `poll` and `epoll`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness(pub u32);

impl Readiness {
    /// Nothing.
    pub const NONE: Readiness = Readiness(0);
    /// Something can be read, or the end was reached.
    pub const IN: Readiness = Readiness(0x001 | 0x040);
    /// Urgent data.
    pub const PRI: Readiness = Readiness(0x002);
    /// Something can be written.
    pub const OUT: Readiness = Readiness(0x004 | 0x100);
    /// An error waits. Always told.
    pub const ERR: Readiness = Readiness(0x008);
    /// Both directions are over, or never began. Always told.
    pub const HUP: Readiness = Readiness(0x010);
    /// No such descriptor: of meaning to `poll` alone.
    pub const INVALID: Readiness = Readiness(0x020);
    /// The peer will send no more.
    pub const RDHUP: Readiness = Readiness(0x2000);
    /// Tell of it once, then wait to be asked again.
    pub const ONE_SHOT: Readiness = Readiness(1 << 30);
    /// Tell of events, not of states.
    pub const EDGE: Readiness = Readiness(1 << 31);

    /// Some bit of `other` is set.
    pub fn any(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// No bit is set.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// What of it is told to one who asks for `interest`.
    #[must_use]
    pub fn told_to(self, interest: Readiness) -> Readiness {
        self & (interest | Readiness::ERR | Readiness::HUP)
    }
}

impl BitOr for Readiness {
    type Output = Readiness;
    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Readiness) {
        self.0 |= other.0;
    }
}

impl BitAnd for Readiness {
    type Output = Readiness;
    fn bitand(self, other: Readiness) -> Readiness {
        Readiness(self.0 & other.0)
    }
}

/// How often [`SetId`]s of one number were used is no secret to them: a closed set is an error, never another set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SetId(u32);

/// Interest in one descriptor.
#[derive(Debug)]
struct Item {
    interest: Readiness,
    data: u64,
    /// On the list of those that may be ready.
    listed: bool,
    /// One-shot, and told: waits to be asked for again.
    spent: bool,
}

/// Descriptors that are waited for together, as an epoll instance has them.
#[derive(Debug, Default)]
pub(super) struct Set {
    items: BTreeMap<Descriptor, Item>,
    /// Those that may be ready, in the order in which they became so.
    ready: VecDeque<Descriptor>,
}

impl Set {
    fn list(&mut self, descriptor: Descriptor) {
        if let Some(item) = self.items.get_mut(&descriptor)
            && !item.spent
            && !core::mem::replace(&mut item.listed, true)
        {
            self.ready.push_back(descriptor);
        }
    }

    /// Something happened to a descriptor.
    pub(super) fn notify(&mut self, descriptor: Descriptor, what: Readiness) {
        if self.items.get(&descriptor).is_some_and(|item| !what.told_to(item.interest).is_none()) {
            self.list(descriptor);
        }
    }

    /// A descriptor was closed.
    pub(super) fn forget(&mut self, descriptor: Descriptor) {
        if self.items.remove(&descriptor).is_some() {
            self.ready.retain(|listed| *listed != descriptor);
        }
    }
}

/// What a set of descriptors tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// What the descriptor is ready for.
    pub readiness: Readiness,
    /// The word that was given with the interest.
    pub data: u64,
}

impl Poller {
    /// A new set, with no interest yet.
    pub fn new_set(&mut self) -> SetId {
        let id = SetId(self.next_set);
        self.next_set += 1;
        self.sets.insert(id, Set::default());
        id
    }

    /// End a set.
    ///
    /// Errors: there is none.
    pub fn close_set(&mut self, set: SetId) -> Result<(), Errno> {
        self.sets.remove(&set).map(|_| ()).ok_or(Errno::BadDescriptor)
    }

    /// Wait for `interest` of a descriptor too.
    ///
    /// Errors: there is no such set or descriptor, or it is in the set already.
    pub fn watch(
        &mut self,
        set: SetId,
        descriptor: Descriptor,
        interest: Readiness,
        data: u64,
    ) -> Result<(), Errno> {
        self.socket(descriptor)?;
        let items = &mut self.sets.get_mut(&set).ok_or(Errno::BadDescriptor)?.items;
        if items.contains_key(&descriptor) {
            return Err(Errno::Exists);
        }
        items.insert(descriptor, Item { interest, data, listed: false, spent: false });
        self.list_if_ready(set, descriptor);
        Ok(())
    }

    /// Wait for something else of a descriptor.
    ///
    /// Errors: there is no such set or descriptor, or it is not in the set.
    pub fn rewatch(
        &mut self,
        set: SetId,
        descriptor: Descriptor,
        interest: Readiness,
        data: u64,
    ) -> Result<(), Errno> {
        self.socket(descriptor)?;
        let items = &mut self.sets.get_mut(&set).ok_or(Errno::BadDescriptor)?.items;
        let item = items.get_mut(&descriptor).ok_or(Errno::NoEntry)?;
        *item = Item { interest, data, spent: false, listed: item.listed };
        self.list_if_ready(set, descriptor);
        Ok(())
    }

    /// Wait for a descriptor no longer.
    ///
    /// Errors: there is no such set or descriptor, or it is not in the set.
    pub fn unwatch(&mut self, set: SetId, descriptor: Descriptor) -> Result<(), Errno> {
        self.socket(descriptor)?;
        let set = self.sets.get_mut(&set).ok_or(Errno::BadDescriptor)?;
        if !set.items.contains_key(&descriptor) {
            return Err(Errno::NoEntry);
        }
        set.forget(descriptor);
        Ok(())
    }

    fn list_if_ready(&mut self, set: SetId, descriptor: Descriptor) {
        let readiness = self.readiness(descriptor);
        if let Some(set) = self.sets.get_mut(&set) {
            set.notify(descriptor, readiness);
        }
    }

    /// What at most `max` descriptors of a set are ready for, the longest ready first.
    ///
    /// Errors: there is no such set.
    pub fn ready(&mut self, set: SetId, max: usize) -> Result<Vec<Told>, Errno> {
        let mut told = Vec::new();
        let listed = self.sets.get(&set).ok_or(Errno::BadDescriptor)?.ready.len();
        for _ in 0..listed {
            if told.len() >= max {
                break;
            }
            let Some(descriptor) = self.sets.get_mut(&set).and_then(|set| set.ready.pop_front()) else {
                break;
            };
            let readiness = self.readiness(descriptor);
            let Some(set) = self.sets.get_mut(&set) else { break };
            let Some(item) = set.items.get_mut(&descriptor) else { continue };
            item.listed = false;
            let readiness = readiness.told_to(item.interest);
            if readiness.is_none() || item.spent {
                continue;
            }
            told.push(Told { readiness, data: item.data });
            if item.interest.any(Readiness::ONE_SHOT) {
                item.spent = true;
            } else if !item.interest.any(Readiness::EDGE) {
                // A state lasts until somebody has seen that it is over.
                set.list(descriptor);
            }
        }
        Ok(told)
    }
}
