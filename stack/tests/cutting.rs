//! A port that cuts frames into segments: what is on the wire is what it would be without, but for IP's identification.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

mod common;

use common::{Case, Outcome, seeds, transfer};
use drivers::soft::{FaultSpec, Faults};
use stack::sim::Trace;

fn faults(loss: f64, reorder: f64) -> Faults {
    Faults { loss, reorder, delay: 2_000_000, jitter: 100_000, ..Faults::default() }
}

/// The same transfer with and without such a port on both hosts, and the wire's trace of each in words.
fn both(faults: Faults, seed: u64, segments: fn(&mut stack::sim::Host)) -> [(Outcome, String); 2] {
    [|_: &mut stack::sim::Host| {}, segments].map(|adjust| {
        let spec = FaultSpec::both(faults, seed);
        let case =
            Case { bytes: 400_000, spec, frames: 128, pool: 2048, hold: 0, outages: Vec::new(), adjust };
        let trace = Trace::with_text(100_000);
        let outcome = transfer(&case, &trace);
        (outcome, trace.text())
    })
}

#[test]
fn the_wire_does_not_tell_who_cut() {
    // Shows that every segment, acknowledgement and retransmission is the same at the same time, on good networks and
    // bad, while most segments leave in a frame with others.
    for seed in seeds(4) {
        for faults in [faults(0.0, 0.0), faults(1.0, 0.0), faults(2.0, 5.0)] {
            let [(whole, plain), (cut, same)] = both(faults, seed, |host| host.nic = Some(16));
            assert!(whole.exact && whole.bundled == 0, "{whole:?}");
            let figures = |outcome: &Outcome| (outcome.exact, outcome.took, outcome.retransmits);
            assert_eq!(figures(&cut), figures(&whole), "seed {seed}");
            let differs = plain.lines().zip(same.lines()).find(|(one, other)| one != other);
            assert_eq!(differs, None, "seed {seed}");
            assert_eq!(plain.lines().count(), same.lines().count(), "seed {seed}");
            assert!(cut.bundled > 100, "{cut:?}");
        }
    }
}

#[test]
fn few_segments_a_frame_do() {
    // Shows a port that reads no more than four pieces of memory a frame.
    let [(whole, plain), (cut, same)] = both(faults(1.0, 0.0), 7, |host| host.nic = Some(4));
    assert!(cut.exact && cut.bundled > 50 && whole.took == cut.took, "{cut:?}");
    assert_eq!(plain, same);
}
