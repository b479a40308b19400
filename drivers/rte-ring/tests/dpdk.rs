//! DPDK's ring, in a process whose EAL runs without huge pages.
#![cfg(feature = "dpdk")]

use std::ffi::CString;
use std::sync::Arc;

use rte_ring::RingError;

fn start_eal() {
    let words =
        ["rte-ring", "--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=4"];
    let mut pointers: Vec<_> =
        words.iter().map(|word| CString::new(*word).expect("plain").into_raw()).collect();
    let count = i32::try_from(pointers.len()).expect("few");
    pointers.push(std::ptr::null_mut());
    let pointers = pointers.leak();
    // SAFETY: the strings and their array are leaked, so they live as long as the process; the tests
    // share one call of this function.
    let parsed = unsafe { dpdk_sys::eal_init(count, pointers.as_mut_ptr()) };
    assert!(parsed >= 0, "rte_eal_init");
}

/// An item of seven bytes: not in DPDK's units, so it needs padding.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Odd([u8; 7]);

#[test]
fn dpdks_ring_behaves_as_the_heaps() {
    // Shows bursts, bounds, padding, names and the dropping of what is left. One test, for there is one EAL.
    start_eal();
    let (mut producer, mut consumer) = rte_ring::dpdk::<Arc<usize>>("first", 5, Some(0)).expect("a ring");
    let items: Vec<_> = (0..8).map(Arc::new).collect();
    let mut batch = items.clone();
    assert_eq!(producer.enqueue_burst(&mut batch), 5);
    assert_eq!(batch, items[5..]);
    assert_eq!(producer.enqueue(items[7].clone()).expect_err("full"), items[7]);
    assert_eq!((producer.room(), consumer.count()), (0, 5));
    assert_eq!(consumer.dequeue().as_ref(), Some(&items[0]));
    let mut got = Vec::new();
    assert_eq!(consumer.dequeue_burst(&mut got, 2), 2);
    assert_eq!(got, items[1..3]);
    assert_eq!(producer.enqueue_burst(&mut batch), 3);

    let error = rte_ring::dpdk::<usize>("first", 5, None).expect_err("taken");
    assert_eq!(error, RingError::Exists("first".to_owned()));
    let error = rte_ring::dpdk::<usize>(&"n".repeat(99), 5, None).expect_err("too long");
    assert!(matches!(error, RingError::Name(_)), "{error}");

    // Whichever end goes last, what is left is dropped, once.
    drop(producer);
    assert!(consumer.is_abandoned());
    drop(consumer);
    drop((got, batch));
    assert!(items.iter().all(|item| Arc::strong_count(item) == 1), "{items:?}");

    let (mut producer, mut consumer) =
        rte_ring::dpdk::<Odd>("first", 100, None).expect("the name is free again");
    let odd: Vec<_> = (0..90u8).map(|n| Odd([n, 1, 2, 3, 4, 5, n])).collect();
    let mut batch = odd.clone();
    assert_eq!(producer.enqueue_burst(&mut batch), 90);
    let mut got = Vec::new();
    assert_eq!(consumer.dequeue_burst(&mut got, 200), 90);
    assert_eq!(got, odd);
    across_threads(producer, consumer);
}

fn across_threads(mut producer: rte_ring::Producer<Odd>, mut consumer: rte_ring::Consumer<Odd>) {
    let sender = std::thread::spawn(move || {
        for n in 0..50_000u32 {
            let [a, b, c, d] = n.to_le_bytes();
            while producer.enqueue(Odd([a, b, c, d, 0, 0, 0])).is_err() {
                std::thread::yield_now();
            }
        }
    });
    for n in 0..50_000u32 {
        let item = loop {
            match consumer.dequeue() {
                Some(item) => break item,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(item.0[..4], n.to_le_bytes());
    }
    sender.join().expect("the sender");
}
