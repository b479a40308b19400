//! State per socket, for applications.

use super::SocketId;

/// State for each socket, in an array by the handle's index. A stale handle finds nothing.
#[derive(Debug)]
pub struct PerSocket<T> {
    slots: Vec<Option<(SocketId, T)>>,
    len: usize,
}

impl<T> Default for PerSocket<T> {
    fn default() -> Self {
        PerSocket { slots: Vec::new(), len: 0 }
    }
}

impl<T> PerSocket<T> {
    /// No state yet.
    pub fn new() -> PerSocket<T> {
        PerSocket::default()
    }

    /// Sockets with state.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No socket has state.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Set a socket's state. Returns what the slot held: of this socket, or of an earlier one never removed.
    pub fn insert(&mut self, socket: impl Into<SocketId>, state: T) -> Option<T> {
        let id = socket.into();
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        let before = self.slots[id.index()].replace((id, state));
        self.len += usize::from(before.is_none());
        before.map(|(_, state)| state)
    }

    /// A socket's state.
    #[inline]
    pub fn get(&self, socket: impl Into<SocketId>) -> Option<&T> {
        let id = socket.into();
        self.slots.get(id.index())?.as_ref().filter(|(owner, _)| *owner == id).map(|(_, state)| state)
    }

    /// A socket's state, for changing.
    #[inline]
    pub fn get_mut(&mut self, socket: impl Into<SocketId>) -> Option<&mut T> {
        let id = socket.into();
        self.slots.get_mut(id.index())?.as_mut().filter(|(owner, _)| *owner == id).map(|(_, state)| state)
    }

    /// Take a socket's state away.
    pub fn remove(&mut self, socket: impl Into<SocketId>) -> Option<T> {
        let id = socket.into();
        let slot = self.slots.get_mut(id.index())?;
        if slot.as_ref()?.0 != id {
            return None;
        }
        self.len -= 1;
        slot.take().map(|(_, state)| state)
    }

    /// A socket's state, made by `make` if there is none; what an earlier socket left in the slot goes.
    #[inline]
    pub fn entry(&mut self, socket: impl Into<SocketId>, make: impl FnOnce() -> T) -> &mut T {
        let id = socket.into();
        let known =
            self.slots.get(id.index()).is_some_and(|slot| slot.as_ref().is_some_and(|slot| slot.0 == id));
        if !known {
            self.insert(id, make());
        }
        let slot = self.slots[id.index()].as_mut();
        &mut slot.expect("filled above").1
    }

    /// Every socket with state, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (SocketId, &T)> {
        self.slots.iter().flatten().map(|(id, state)| (*id, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::LaneId;

    #[test]
    fn a_stale_handle_finds_nothing() {
        // Shows that a slot's next socket does not see, change or remove the state of the one before.
        let (old, new) = (SocketId::new(LaneId(0), 3, 1), SocketId::new(LaneId(0), 3, 2));
        let mut states = PerSocket::new();
        assert_eq!(states.insert(old, 'a'), None);
        assert_eq!(states.remove(new), None);
        assert_eq!((states.get(old), states.get(new)), (Some(&'a'), None));
        assert_eq!(*states.entry(new, || 'b'), 'b');
        assert_eq!(states.get_mut(new), Some(&mut 'b'));
        assert_eq!((states.get(old), states.len()), (None, 1));
        assert_eq!(states.remove(new), Some('b'));
        assert!(states.is_empty());
    }
}
