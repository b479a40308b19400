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
            match (slot.try_lock(), seen.get_mut(index)) {
                (Ok(snapshot), Some(old)) => old.clone_from(&snapshot),
                (Ok(snapshot), None) => seen.push(snapshot.clone()),
                (Err(_), Some(_)) => {}
                // Those behind it have their places behind it.
                (Err(_), None) => return,
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

#[cfg(test)]
pub(super) mod tests {
    use std::net::IpAddr;

    use corelane::soft::Net;
    use corelane::{Config, LaneId, Runtime};

    use super::*;

    /// What so many lanes said that have done nothing yet.
    pub fn snapshots(count: u8) -> Vec<Snapshot> {
        let small = Config::new(Net::default(), IpAddr::from([10, 0, 0, 1]));
        let config = Config { receive_frames: 64, control_frames: 64, blocks: 4, ..small };
        let seen = Mutex::new(Vec::new());
        let runtime = Runtime::new(config).expect("a wire of its own");
        let look = |lane: Lane| {
            for number in 0..count {
                let report = Report { lane: LaneId(number), ..lane.report() };
                let snapshot = Snapshot { report, server: Statistics::default() };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(snapshot);
            }
            Ok(())
        };
        runtime.run(look).expect("nothing can go wrong");
        seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_slot_that_is_written_is_not_waited_for() {
        // Shows with a slot held: before it was ever seen nothing behind it is, so that places stay; afterwards the
        // others are brought up to date, and the held one once it is let go.
        let slots: Vec<Slot> =
            snapshots(2).into_iter().map(|snapshot| Arc::new(Mutex::new(snapshot))).collect();
        let board = Board { slots: Mutex::new(slots.clone()) };
        let mut seen = Vec::new();
        let connections =
            |seen: &[Snapshot]| seen.iter().map(|lane| lane.server.connections).collect::<Vec<_>>();
        let held = slots[0].lock().expect("nobody panics");
        board.look(&mut seen);
        assert!(seen.is_empty());
        drop(held);
        board.look(&mut seen);
        assert_eq!(connections(&seen), [0, 0]);
        let mut held = slots[0].lock().expect("nobody panics");
        held.server.connections = 1;
        slots[1].lock().expect("nobody panics").server.connections = 2;
        board.look(&mut seen);
        assert_eq!(connections(&seen), [0, 2]);
        drop(held);
        board.look(&mut seen);
        assert_eq!(connections(&seen), [1, 2]);
    }

    #[test]
    fn answers_are_counted_by_class() {
        // Shows one of each class that there is.
        let mut statistics = Statistics::default();
        for status in [Status::Ok, Status::PartialContent, Status::NotModified, Status::NotFound] {
            statistics.count(status);
        }
        statistics.count(Status::ServiceUnavailable);
        assert_eq!(statistics.answers, [0, 2, 1, 1, 1]);
    }
}
