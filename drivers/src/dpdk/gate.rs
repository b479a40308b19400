//! A gate between a lane's bursts and DPDK's interrupt thread, for memif: when a peer leaves, that thread unmaps the
//! memory they share, whoever is reading it. Which ports need it is `probe.rs`'s to say.
//!
//! DPDK has no lock for this. But alarms run on the same thread as the rest of what it does. So an alarm keeps it
//! waiting, with all gates open, most of the time; then shuts them and lets it go on for a moment, until the next
//! alarm opens them again. A lane that finds its gate shut polls again later.

use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use std::{hint, ptr, thread};

use dpdk_sys as ffi;

/// How long lanes have the memory to themselves: bounds how late a peer's coming and going is noticed.
const OPEN: Duration = Duration::from_millis(10);

/// How long DPDK's thread has at least for what it is woken by. Units: microseconds.
const SHUT_US: u64 = 50;

/// Looks at a lane that is inside before it is let go on: some ten microseconds, in which one on another core leaves.
const LOOKS: u32 = 256;

/// One lane's gate.
pub(super) struct Gate {
    state: Arc<State>,
    barrier: Barrier,
}

/// Each side tells what it does and then looks at what the other has told. One of the two is always seen.
#[derive(Default)]
struct State {
    /// Told by the lane alone.
    inside: AtomicBool,
    /// Told by DPDK's thread alone.
    shut: AtomicBool,
}

/// What is between telling and looking. The lane does it each burst and the other a hundred times a second, so the kernel does
/// the lane's part for it where it can: before the other looks, each thread of the process has passed a barrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Barrier {
    Kernel,
    Own,
}

/// The gates there are, and whether an alarm is set for them.
struct Gates {
    all: Vec<Weak<State>>,
    running: bool,
}

static GATES: Mutex<Gates> = Mutex::new(Gates { all: Vec::new(), running: false });

/// Asked once for all gates: both sides do the same.
static BARRIER: LazyLock<Barrier> =
    LazyLock::new(|| match membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
        true => Barrier::Kernel,
        false => Barrier::Own,
    });

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes a command, flags and a processor, and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

impl Barrier {
    /// On the lane's side.
    #[inline]
    fn light(self) {
        match self {
            Barrier::Kernel => compiler_fence(Ordering::SeqCst),
            Barrier::Own => fence(Ordering::SeqCst),
        }
    }

    /// On the other side. False: the kernel has refused it, and what the lane has told may not be seen yet.
    fn heavy(self) -> bool {
        fence(Ordering::SeqCst);
        self == Barrier::Own || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }
}

impl State {
    /// Shuts the gate, if the lane is out or leaves soon. One that has the core to share with this thread cannot.
    fn shut(&self, barrier: Barrier) -> bool {
        self.shut.store(true, Ordering::Relaxed);
        if barrier.heavy() {
            for _ in 0..LOOKS {
                if !self.inside.load(Ordering::Acquire) {
                    return true;
                }
                hint::spin_loop();
            }
        }
        self.open();
        false
    }

    fn open(&self) {
        self.shut.store(false, Ordering::Release);
    }
}

/// The gate is shut: later.
pub(super) struct Shut;

/// Keeps DPDK's thread out while it lives.
pub(super) struct Inside<'g>(Option<&'g State>);

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            state.inside.store(false, Ordering::Release);
        }
    }
}

impl Gate {
    /// A gate, shut for now. The EAL is up.
    pub fn new() -> Gate {
        let gate = Gate::shut(*BARRIER);
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        gates.all.push(Arc::downgrade(&gate.state));
        if !gates.running {
            gates.running = arm();
        }
        gate
    }

    fn shut(barrier: Barrier) -> Gate {
        let state = State { shut: AtomicBool::new(true), ..State::default() };
        Gate { state: Arc::new(state), barrier }
    }

    /// Goes inside; always, where there is no gate.
    #[inline]
    pub fn enter(gate: Option<&Gate>) -> Result<Inside<'_>, Shut> {
        let Some(Gate { state, barrier }) = gate else { return Ok(Inside(None)) };
        state.inside.store(true, Ordering::Relaxed);
        barrier.light();
        let inside = Inside(Some(state));
        if state.shut.load(Ordering::Acquire) { Err(Shut) } else { Ok(inside) }
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
        gate.open();
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
        while !gate.shut(*BARRIER) {
            thread::yield_now();
        }
    }
    gates.running = arm();
    if !gates.running {
        // Without a next alarm nobody would open them: better the danger than silence.
        living(&gates).iter().for_each(|gate| gate.open());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_and_dpdks_thread_exclude_each_other() {
        // Shows the three states, with both kinds of barrier: shut keeps the lane out, inside keeps the other out, leaving opens.
        for barrier in [*BARRIER, Barrier::Own] {
            let gate = Gate::shut(barrier);
            assert!(Gate::enter(Some(&gate)).is_err());
            gate.state.open();
            let inside = Gate::enter(Some(&gate));
            assert!(inside.is_ok());
            assert!(!gate.state.shut(barrier));
            drop(inside);
            assert!(gate.state.shut(barrier) && Gate::enter(Some(&gate)).is_err());
            gate.state.open();
            assert!(Gate::enter(Some(&gate)).is_ok());
        }
        assert!(Gate::enter(None).is_ok());
    }

    #[test]
    fn nobody_is_inside_while_the_gate_is_shut() {
        // Shows on two threads that a lane that goes in and out all the time is never seen inside behind a gate that was shut.
        for barrier in [*BARRIER, Barrier::Own] {
            let (gate, here, over) = (Gate::shut(barrier), AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let Ok(_inside) = Gate::enter(Some(&gate)) else { continue };
                        here.store(true, Ordering::Relaxed);
                        (0..4).for_each(|_| hint::spin_loop());
                        here.store(false, Ordering::Relaxed);
                    }
                });
                for _ in 0..5_000 {
                    gate.state.open();
                    while !gate.state.shut(barrier) {
                        thread::yield_now();
                    }
                    // Told apart at once, so that the other ends whatever is found.
                    let seen = (0..100).any(|_| here.load(Ordering::Relaxed));
                    over.store(seen, Ordering::Relaxed);
                    assert!(!seen, "{barrier:?}");
                }
                over.store(true, Ordering::Relaxed);
            });
        }
    }
}
