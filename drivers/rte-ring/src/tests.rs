//! The ring on the heap: against a model, across threads, and (with `--cfg loom`) in every interleaving.
//! DPDK's ring needs a process of its own and is tested in `tests/dpdk.rs`.

#[cfg(loom)]
mod every_interleaving {
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn items_arrive_once_and_in_order() {
        // Shows that no interleaving of two bursts and two takes loses, doubles or reorders an item.
        loom::model(|| {
            let (mut producer, mut consumer) = crate::heap::<Box<usize>>(2);
            let sender = loom::thread::spawn(move || {
                let mut batch = vec![Box::new(0), Box::new(1), Box::new(2)];
                while !batch.is_empty() {
                    if producer.enqueue_burst(&mut batch) == 0 {
                        loom::thread::yield_now();
                    }
                }
            });
            let mut got = Vec::new();
            while got.len() < 3 {
                if consumer.dequeue_burst(&mut got, 2) == 0 {
                    loom::thread::yield_now();
                }
            }
            sender.join().expect("the sender");
            assert_eq!(got.iter().map(|item| **item).collect::<Vec<_>>(), [0, 1, 2]);
            assert!(consumer.dequeue().is_none());
        });
    }

    #[test]
    fn what_is_left_is_dropped_once() {
        // Shows that whichever end goes last frees what is left, once.
        struct Counted(std::sync::Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        loom::model(|| {
            let drops = std::sync::Arc::new(AtomicUsize::new(0));
            let (mut producer, mut consumer) = crate::heap::<Counted>(2);
            let (one, two) = (Counted(drops.clone()), Counted(drops.clone()));
            let sender = loom::thread::spawn(move || {
                assert!(producer.enqueue(one).is_ok());
                assert!(producer.enqueue(two).is_ok());
            });
            drop(consumer.dequeue());
            drop(consumer);
            sender.join().expect("the sender");
            assert_eq!(drops.load(Ordering::Relaxed), 2);
        });
    }
}

#[cfg(not(loom))]
mod on_the_heap {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Enqueue,
        Dequeue,
        EnqueueBurst(usize),
        DequeueBurst(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Enqueue),
            Just(Step::Dequeue),
            (0..12usize).prop_map(Step::EnqueueBurst),
            (0..12usize).prop_map(Step::DequeueBurst),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_bounded_queue(capacity in 1..9usize, steps in prop::collection::vec(step(), 0..200)) {
            // Shows that every call answers as a VecDeque with a bound would, at every fill.
            let (mut producer, mut consumer) = crate::heap::<Box<u64>>(capacity);
            let (mut model, mut next) = (VecDeque::new(), 0u64);
            for step in steps {
                match step {
                    Step::Enqueue => {
                        let refused = producer.enqueue(Box::new(next)).err().map(|item| *item);
                        prop_assert_eq!(refused, (model.len() == capacity).then_some(next));
                        if refused.is_none() {
                            model.push_back(next);
                        }
                        next += 1;
                    }
                    Step::Dequeue => prop_assert_eq!(consumer.dequeue().map(|item| *item), model.pop_front()),
                    Step::EnqueueBurst(count) => {
                        let numbers: Vec<u64> = (next..).take(count).collect();
                        next += u64::try_from(count).expect("small");
                        let mut batch: Vec<_> = numbers.iter().copied().map(Box::new).collect();
                        let fits = count.min(capacity - model.len());
                        prop_assert_eq!(producer.enqueue_burst(&mut batch), fits);
                        model.extend(&numbers[..fits]);
                        let left: Vec<u64> = batch.into_iter().map(|item| *item).collect();
                        prop_assert_eq!(left, &numbers[fits..]);
                    }
                    Step::DequeueBurst(limit) => {
                        let mut got = vec![Box::new(u64::MAX)];
                        let expected: Vec<u64> = model.drain(..limit.min(model.len())).collect();
                        prop_assert_eq!(consumer.dequeue_burst(&mut got, limit), expected.len());
                        prop_assert_eq!(got.into_iter().skip(1).map(|item| *item).collect::<Vec<_>>(), expected);
                    }
                }
                prop_assert_eq!(consumer.count(), model.len());
                prop_assert_eq!(producer.room(), capacity - model.len());
            }
        }
    }

    #[test]
    fn a_million_items_cross_between_threads() {
        // Shows order and completeness with real threads, on a ring that is not a power of two.
        const ITEMS: usize = 1_000_000;
        let (mut producer, mut consumer) = crate::heap::<usize>(100);
        let sender = std::thread::spawn(move || {
            let mut batch = Vec::new();
            let mut next = 0;
            while next < ITEMS || !batch.is_empty() {
                while batch.len() < 32 && next < ITEMS {
                    batch.push(next);
                    next += 1;
                }
                if producer.enqueue_burst(&mut batch) == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let (mut expected, mut got) = (0, Vec::new());
        while expected < ITEMS {
            if consumer.dequeue_burst(&mut got, 32) == 0 {
                std::thread::yield_now();
            }
            for item in got.drain(..) {
                assert_eq!(item, expected);
                expected += 1;
            }
        }
        sender.join().expect("the sender");
        assert!(consumer.is_abandoned());
    }

    #[test]
    fn ends_know_that_the_other_has_gone() {
        // Shows that an abandoned ring still gives out what is in it.
        let (mut producer, mut consumer) = crate::heap::<String>(2);
        assert!(!producer.is_abandoned());
        assert_eq!(producer.enqueue("last".to_owned()), Ok(()));
        drop(producer);
        assert!(consumer.is_abandoned());
        assert_eq!(consumer.dequeue().as_deref(), Some("last"));
    }

    #[cfg(feature = "dpdk")]
    #[test]
    fn a_ring_of_dpdk_needs_the_eal() {
        // Shows an error, not a crash, before the EAL has started.
        let error = crate::dpdk::<usize>("early", 8, None).expect_err("the EAL is down");
        assert_eq!(error, crate::RingError::EalNotUp);
    }
}
