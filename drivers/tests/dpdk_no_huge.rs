//! DPDK without huge pages, and what becomes of a second start.
#![cfg(feature = "dpdk")]

mod common;

use common::{bytes, ethernet, frame};
use drivers::dpdk::{Eal, EalOptions};
use drivers::{Class, Device, OpenOptions, Region, SetupError, open};

#[test]
fn a_ring_works_without_huge_pages() {
    // Shows ordinary memory: pools, a region and a port in it; and that DPDK starts once.
    assert!(Eal::running().is_none());
    let options = EalOptions { no_huge_mib: Some(128), ..EalOptions::default() };
    Eal::init(&options).expect("the EAL");
    assert!(Eal::running().is_some());
    assert_eq!(Eal::init(&options).err(), Some(SetupError::EalTwice));
    let small = OpenOptions { receive_frames: 512, control_frames: 256, ..OpenOptions::default() };
    let mut port = open(&Device::Ring, &small).expect("a port");
    let parts = &mut port.queues[0];
    let mut frames = vec![frame(&parts.pools.control, &ethernet(1, 100))];
    assert_eq!(parts.queue.transmit(0, &mut frames), 1);
    assert_eq!(parts.queue.receive(0, &mut frames, 32), 1);
    assert_eq!(bytes(&frames[0]), ethernet(1, 100));
    assert_eq!(Region::new(4, 4096).class(), Class::Registered);
    // More than DPDK has: the region lives on the heap, and ports that cannot read it get copies.
    assert_eq!(Region::new(4096, 65_536).class(), Class::Heap);
    let prefix = std::path::Path::new("/var/run/dpdk/rte/config");
    assert!(!prefix.exists(), "a file was left");
}
