//! The packet path asks for no memory once everything that grows has grown. A test program of its own with a single test,
//! for its allocator counts all threads together.

use benches::cases::{CASES, Case, Counted, Plan, Run, Unmeasured};
use benches::rig::PortOptions;
use drivers::CountingAllocator;
use stack::lane::Lane;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Counts what the turns ask for.
#[derive(Default)]
struct Allocations(u64);

impl benches::cases::Meter for Allocations {
    fn turn(&mut self, lane: &mut Lane, application: &mut impl benches::rig::Application) {
        let before = CountingAllocator::times();
        Counted.turn(lane, application);
        self.0 += CountingAllocator::times() - before;
    }
}

#[test]
fn no_packet_request_or_connection_asks_for_memory() {
    // Shows for each case, with checksums by the port and by the lane, and with payload that must be copied, that 2,000 transactions after the first 20,000 take
    // no allocation; and first that one would be seen.
    let (times, bytes) = (CountingAllocator::times(), CountingAllocator::live_bytes());
    let memory = std::hint::black_box(vec![0_u8; 1 << 20]);
    assert!(CountingAllocator::times() > times && CountingAllocator::live_bytes() >= bytes + (1 << 20));
    drop(memory);
    let mut found = Vec::new();
    for (name, case) in CASES {
        for (checksums, segmentation, gather) in
            [(true, true, true), (false, false, true), (false, false, false)]
        {
            let flows = if case == Case::BulkSend { 4 } else { 200 };
            let port = PortOptions { checksums, segmentation, gather };
            let mut run = Run::new(Plan { case, flows, burst: 32, port, fast: true });
            let (mut done, mut counted) = (0, Allocations::default());
            while done < 20_000 {
                done += run.round(&mut Unmeasured);
            }
            while done < 22_000 {
                done += run.round(&mut counted);
            }
            run.check();
            if counted.0 > 0 {
                found.push(format!("{name}: {} allocations in 2,000 transactions", counted.0));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
