//! A gate between a lane's bursts and DPDK's interrupt thread, for memif: when a peer leaves, that thread unmaps the
//! memory they share, whoever is reading it. Which ports need it is `probe.rs`'s to say.
//!
//! DPDK has no lock for this. But alarms run on the same thread as the rest of what it does. So an alarm keeps it
//! waiting, with all gates open, most of the time; then shuts them and lets it go on for a moment, until the next
//! alarm opens them again. A lane that finds its gate shut polls again later.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use std::{ptr, thread};

use dpdk_sys as ffi;

/// How long lanes have the memory to themselves: bounds how late a peer's coming and going is noticed.
const OPEN: Duration = Duration::from_millis(10);

/// How long DPDK's thread has at least for what it is woken by. Units: microseconds.
const SHUT_US: u64 = 50;

/// States of a gate. Only DPDK's thread shuts and opens it, only the lane is inside.
const OPENED: u32 = 0;
const INSIDE: u32 = 1;
const CLOSED: u32 = 2;

/// One lane's gate.
pub(super) struct Gate {
    state: Arc<AtomicU32>,
}

/// The gates there are, and whether an alarm is set for them.
struct Gates {
    all: Vec<Weak<AtomicU32>>,
    running: bool,
}

static GATES: Mutex<Gates> = Mutex::new(Gates { all: Vec::new(), running: false });

/// The gate is shut: later.
pub(super) struct Shut;

/// Keeps DPDK's thread out while it lives.
pub(super) struct Inside<'g>(Option<&'g AtomicU32>);

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            state.store(OPENED, Ordering::Release);
        }
    }
}

impl Gate {
    /// A gate, shut for now. The EAL is up.
    pub fn new() -> Gate {
        let state = Arc::new(AtomicU32::new(CLOSED));
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        gates.all.push(Arc::downgrade(&state));
        if !gates.running {
            gates.running = arm();
        }
        Gate { state }
    }

    /// Goes inside; always, where there is no gate.
    #[inline]
    pub fn enter(gate: Option<&Gate>) -> Result<Inside<'_>, Shut> {
        let Some(gate) = gate else { return Ok(Inside(None)) };
        match gate.state.compare_exchange(OPENED, INSIDE, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Inside(Some(&gate.state))),
            Err(_) => Err(Shut),
        }
    }
}

fn arm() -> bool {
    // SAFETY: the EAL is up; the callback is a function, and has no argument.
    unsafe { ffi::rte_eal_alarm_set(SHUT_US, Some(on_alarm), ptr::null_mut()) == 0 }
}

/// Runs on DPDK's thread, which does nothing else meanwhile.
unsafe extern "C" fn on_alarm(_argument: *mut core::ffi::c_void) {
    let living = |gates: &Gates| gates.all.iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
    let lock = || GATES.lock().unwrap_or_else(PoisonError::into_inner);
    for gate in living(&lock()) {
        gate.store(OPENED, Ordering::Release);
    }
    thread::sleep(OPEN);
    let mut gates = lock();
    gates.all.retain(|gate| gate.strong_count() > 0);
    if gates.all.is_empty() {
        gates.running = false;
        return;
    }
    // Those made since are shut.
    for gate in living(&gates) {
        while gate.compare_exchange(OPENED, CLOSED, Ordering::Acquire, Ordering::Relaxed) == Err(INSIDE) {
            thread::yield_now();
        }
    }
    gates.running = arm();
    if !gates.running {
        // Without a next alarm nobody would open them: better the danger than silence.
        living(&gates).iter().for_each(|gate| gate.store(OPENED, Ordering::Release));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_and_dpdks_thread_exclude_each_other() {
        // Shows the three states: shut keeps the lane out, inside keeps the other out, leaving opens.
        let gate = Gate { state: Arc::new(AtomicU32::new(CLOSED)) };
        assert!(Gate::enter(Some(&gate)).is_err());
        gate.state.store(OPENED, Ordering::Release);
        let inside = Gate::enter(Some(&gate));
        assert!(inside.is_ok());
        let shut = || gate.state.compare_exchange(OPENED, CLOSED, Ordering::Acquire, Ordering::Relaxed);
        assert_eq!(shut(), Err(INSIDE));
        drop(inside);
        assert_eq!(shut(), Ok(OPENED));
        assert!(Gate::enter(None).is_ok());
    }
}
