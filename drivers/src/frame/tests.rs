use super::*;
use crate::memory::{Extent, Region};
use crate::pool::Pool;

fn filled(pool: &Pool, bytes: &[u8]) -> Frame {
    let mut frame = pool.take().unwrap();
    frame.append(bytes.len()).unwrap().copy_from_slice(bytes);
    frame
}

#[test]
fn a_frame_goes_home_when_it_is_dropped() {
    // Shows that taking and dropping leaves the pool as it was, also from another thread and past the pool's end.
    let pool = Pool::heap(4, 512);
    let frames: Vec<_> = core::iter::from_fn(|| pool.take()).collect();
    assert_eq!((frames.len(), pool.available()), (4, 0));
    std::thread::spawn(move || drop(frames)).join().unwrap();
    assert_eq!(pool.available(), 4);
    let late = filled(&pool, b"late");
    drop(pool);
    assert_eq!(late.bytes(), b"late");
}

#[test]
fn the_window_narrows_and_widens_within_the_buffer() {
    // Shows each edge of the window: trim, truncate, prepend, append, and their refusals.
    let pool = Pool::heap(1, 256);
    let mut frame = filled(&pool, b"0123456789");
    assert!(frame.trim_front(2));
    assert!(!frame.trim_front(9));
    frame.truncate(4);
    assert_eq!(frame.bytes(), b"2345");
    frame.prepend(2).unwrap().copy_from_slice(b"xy");
    assert_eq!(frame.bytes(), b"xy2345");
    let room = frame.headroom();
    assert!(frame.prepend(room + 1).is_none());
    let room = frame.tailroom();
    assert!(frame.append(room + 1).is_none());
    frame.append(room).unwrap().fill(7);
    assert_eq!(frame.tailroom(), 0);
}

#[test]
fn shared_bytes_are_read_only() {
    // Shows that a second handle takes writing away from both, and gives it back when it goes.
    let pool = Pool::heap(2, 256);
    let mut frame = filled(&pool, b"abc");
    let second = frame.share().unwrap();
    assert!(frame.bytes_mut().is_none() && frame.append(1).is_none() && frame.prepend(1).is_none());
    drop(second);
    assert!(frame.bytes_mut().is_some());
    drop(frame);
    assert_eq!(pool.available(), 2);
}

#[test]
fn pull_up_makes_the_front_contiguous() {
    // Shows every split of a chain of three, and that nothing is lost or left behind.
    let pool = Pool::heap(3, 256);
    for wanted in 0..=9 {
        let mut frame = filled(&pool, b"abc");
        frame.chain(filled(&pool, b"def"));
        frame.chain(filled(&pool, b"ghi"));
        assert!(frame.pull_up(wanted));
        assert!(frame.len() >= wanted);
        assert_eq!(frame.segments().flatten().copied().collect::<Vec<u8>>(), b"abcdefghi");
        assert!(!frame.pull_up(10));
        assert_eq!(frame.total_len(), 9);
        drop(frame);
        assert_eq!(pool.available(), 3);
    }
}

#[test]
fn attached_memory_outlives_every_order_of_dropping() {
    // Shows that a block, an extent and a carrier frame can go in any order and the region gets its block back last.
    let (pool, region) = (Pool::heap(2, 0), Region::new(1, 64));
    for order in 0..3 {
        let mut block = region.take().unwrap();
        assert!(block.extend(b"payload"));
        let (lent, extent) = block.lend();
        let mut carrier = pool.take().unwrap();
        assert!(extent.attach_to(&mut carrier));
        assert_eq!(carrier.bytes(), b"payload");
        assert!(carrier.bytes_mut().is_none());
        let lent = lent.reclaim().unwrap_err();
        match order {
            0 => {
                drop(extent);
                let lent = lent.reclaim().unwrap_err();
                drop(carrier);
                assert_eq!(&*lent.reclaim().unwrap(), b"payload");
            }
            1 => {
                drop(lent);
                drop(extent);
                assert_eq!(region.available(), 0);
                assert_eq!(carrier.bytes(), b"payload");
                drop(carrier);
            }
            _ => {
                drop(carrier);
                drop(lent);
                assert_eq!(extent.bytes(), b"payload");
                drop(extent);
            }
        }
        assert_eq!((pool.available(), region.available()), (2, 1));
    }
}

#[test]
fn a_received_frame_is_forwarded_by_reference() {
    // Shows attaching to a frame, to an attached frame again, and that slices keep the first one out of its pool.
    let (pool, bare) = (Pool::heap(1, 256), Pool::heap(2, 0));
    let extent = {
        let mut frame = filled(&pool, b"headers and data");
        frame.trim_front(12);
        Extent::of_frame(&frame).unwrap()
    };
    let part = extent.slice(1..3).unwrap();
    drop(extent);
    let (mut first, mut second) = (bare.take().unwrap(), bare.take().unwrap());
    assert!(part.attach_to(&mut first));
    let again = Extent::of_frame(&first).unwrap();
    assert!(again.attach_to(&mut second));
    drop((part, again, first));
    assert_eq!(second.bytes(), b"at");
    assert_eq!((pool.available(), bare.available()), (0, 1));
    drop(second);
    assert_eq!((pool.available(), bare.available()), (1, 2));
}

#[test]
fn offloads_survive_the_packed_word() {
    // Shows that what is asked of a port is what it reads.
    let pool = Pool::heap(1, 256);
    let mut frame = pool.take().unwrap();
    assert_eq!(frame.offload(), None);
    let offload = Offload {
        ipv6: true,
        checksums: Checksums { ipv4: false, transport: Some(Transport::Udp) },
        link_bytes: 18,
        network_bytes: 60,
        transport_bytes: 8,
        segment_bytes: 1448,
    };
    frame.set_offload(offload);
    assert_eq!(frame.offload(), Some(offload));
    frame.clear_metadata();
    assert_eq!(frame.offload(), None);
}

#[test]
fn a_frame_is_begun_in_one_piece() {
    // Shows that the window is what was asked for from where it began, with the port's orders, and of room that is not there,
    // or of a shared frame, nothing.
    let pool = Pool::heap(1, 256);
    let mut frame = filled(&pool, b"before");
    let orders = Offload { link_bytes: 14, network_bytes: 20, transport_bytes: 20, ..Offload::default() };
    let before = frame.headroom();
    frame.begin::<8>(3, Some(orders)).unwrap().copy_from_slice(b"begun...");
    assert_eq!((frame.bytes(), frame.headroom(), frame.offload()), (&b"beg"[..], before, Some(orders)));
    assert!(frame.begin::<8>(9, None).is_none() && frame.begin::<256>(3, None).is_none());
    let room = frame.tailroom() + frame.len();
    assert_eq!(room, 128);
    assert!(frame.begin::<128>(128, None).is_some() && frame.begin::<129>(1, None).is_none());
    let shared = frame.share().unwrap();
    assert!(frame.begin::<8>(3, None).is_none() && frame.len() == 128);
    drop(shared);
}
