//! What a link's thread, its queue and its control share. The thread brings the link up and down; the queue looks for it
//! with each burst, at the cost of one load.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::channel::Trouble;
use super::ring::{Incoming, Outgoing};
use super::wake::{Event, Watch};
use crate::capture::CapturePoint;
use crate::tally::Counters;

/// Both rings of a link that is up.
pub(super) struct Rings {
    pub incoming: Incoming,
    pub outgoing: Outgoing,
    /// Wakes a peer that sleeps.
    pub wake: Option<Event>,
    /// The peer can wake this end.
    pub is_watched: bool,
}

impl Rings {
    #[cold]
    pub fn wake(&self) {
        if let Some(event) = &self.wake {
            // It was signalled before: so it is again.
            let _ = event.signal();
        }
    }
}

/// A link, up or down.
pub(super) struct Link {
    /// As a person typed it.
    pub device: String,
    pub counters: Counters,
    pub capture: Arc<CapturePoint>,
    /// What a lane sleeps beside.
    pub watch: Watch,
    /// Grows each time that the link comes or goes.
    turn: AtomicU32,
    up: AtomicBool,
    rings: Mutex<Option<Rings>>,
    trouble: Mutex<Option<Trouble>>,
}

impl Link {
    /// Errors: the process can open no more files.
    pub fn new(device: String) -> io::Result<Link> {
        Ok(Link {
            device,
            counters: Counters::default(),
            capture: Arc::default(),
            watch: Watch::new()?,
            turn: AtomicU32::new(0),
            up: AtomicBool::new(false),
            rings: Mutex::new(None),
            trouble: Mutex::new(None),
        })
    }

    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Why the link is down, where that is not merely that nobody came or the peer left.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings the link up, with what this end is woken by, if the peer can.
    ///
    /// Errors: the system has no room to watch for that.
    pub fn begin(&self, rings: Rings, woken: Option<Event>) -> Result<(), Trouble> {
        let refused = |error| format!("the system cannot watch one more file: {error}");
        self.watch.follow(woken).map_err(refused)?;
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.change(Some(rings));
        Ok(())
    }

    /// Takes the link down, if it is up.
    pub fn end(&self) {
        if self.is_up() {
            // There is no file that it could have no room for.
            let _ = self.watch.follow(None);
            self.change(None);
        }
    }

    /// Says why there is no link.
    pub fn complain(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    fn change(&self, rings: Option<Rings>) {
        let up = rings.is_some();
        let mut there = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        *there = rings;
        self.turn.fetch_add(1, Ordering::Release);
        drop(there);
        self.watch.tell();
        self.up.store(up, Ordering::Release);
    }

    /// Nothing has changed since `seen`.
    #[inline]
    pub fn is_at(&self, seen: u32) -> bool {
        self.turn.load(Ordering::Relaxed) == seen
    }

    /// The rings, if the link is up and nobody has them; and for [`is_at`](Link::is_at).
    pub fn take(&self) -> (Option<Rings>, u32) {
        let mut there = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        (there.take(), self.turn.load(Ordering::Relaxed))
    }
}
