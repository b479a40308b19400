//! What each lane last said of itself, for whoever asks: the metrics, the status line. A lane writes its own slot a
//! few times a second and never waits for a reader.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use corelane::{Instant, Lane, Report};

use crate::http::Status;

/// How often a lane says something.
const EVERY: Duration = Duration::from_millis(100);

/// What a server counts. Plain sums since start; its lane alone writes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Requests that could be read.
    pub requests: u64,
    /// Answers by the first digit of their status, from 1 on.
    pub answers: [u64; 5],
    /// Connections that were one too many.
    pub refused: u64,
    /// Connections that were ended because the client took too long.
    pub timed_out: u64,
    /// Records that are not in the access log.
    pub log_dropped: u64,
    /// Connections that are open.
    pub connections: usize,
    /// The lane was told to stop.
    pub stopping: bool,
}

impl Statistics {
    pub(super) fn count(&mut self, status: Status) {
        let digit = status.text().as_bytes().first().map_or(0, |digit| usize::from(digit - b'0'));
        if let Some(count) = self.answers.get_mut(digit.wrapping_sub(1)) {
            *count += 1;
        }
    }
}

/// What a lane said.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The lane's counters.
    pub report: Report,
    /// Its server's.
    pub server: Statistics,
}

type Slot = Arc<Mutex<Snapshot>>;

/// All lanes' slots.
#[derive(Debug, Default)]
pub struct Board {
    slots: Mutex<Vec<Slot>>,
}

impl Board {
    /// A lane's end. Its slot stays when the lane has gone, so that sums do not shrink.
    pub(super) fn join(self: &Arc<Board>, lane: &Lane) -> Publisher {
        let slot = Slot::new(Mutex::new(Snapshot { report: lane.report(), server: Statistics::default() }));
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&slot));
        Publisher { board: Arc::clone(self), slot, due: lane.now() }
    }

    /// Bring `seen` up to date, without waiting: what is being written right now stays as it was seen last.
    pub fn look(&self, seen: &mut Vec<Snapshot>) {
        let slots = match self.slots.try_lock() {
            Ok(slots) => slots,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        for (index, slot) in slots.iter().enumerate() {
            let Ok(snapshot) = slot.try_lock() else { continue };
            match seen.get_mut(index) {
                Some(old) => old.clone_from(&snapshot),
                None => seen.push(snapshot.clone()),
            }
        }
    }
}

/// A lane's end of the board.
#[derive(Debug)]
pub(super) struct Publisher {
    pub board: Arc<Board>,
    slot: Slot,
    due: Instant,
}

impl Publisher {
    /// It is time to say something.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Say what there is to say. A reader who looks right now is not waited for.
    pub fn publish(&mut self, lane: &Lane, server: Statistics) {
        self.due = lane.now().saturating_add(EVERY);
        if let Ok(mut slot) = self.slot.try_lock() {
            *slot = Snapshot { report: lane.report(), server };
        }
    }
}
