use super::*;

#[test]
fn bytes_of_a_region_are_recognised() {
    // Shows that frozen bytes and slices of them become extents of the block, and other bytes of their own memory.
    let region = Region::new(2, 64);
    let stored = region.store(b"0123456789").unwrap();
    let extent = Extent::of_bytes(&stored.slice(3..6)).unwrap();
    assert_eq!((extent.bytes(), extent.class()), (&b"345"[..], region.class()));
    assert_eq!(extent.bytes().as_ptr(), stored[3..].as_ptr());
    drop(stored);
    assert_eq!(region.available(), 1);
    drop(extent);
    assert_eq!(region.available(), 2);
    let foreign = Extent::of_bytes(&Bytes::from_static(b"elsewhere")).unwrap();
    assert_eq!((foreign.bytes(), foreign.class()), (&b"elsewhere"[..], Class::Heap));
}

#[test]
fn blocks_are_taken_and_given_back_by_many_threads() {
    // Shows that no block is handed out twice and none is lost, however takes and drops interleave.
    let region = Region::new(8, 16);
    std::thread::scope(|scope| {
        for mark in 0..4u8 {
            let region = region.clone();
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let Some(mut block) = region.take() else { continue };
                    assert!(block.extend(&[mark; 16]));
                    assert!(block.iter().all(|&byte| byte == mark));
                }
            });
        }
    });
    assert_eq!(region.available(), 8);
}

#[test]
fn a_block_keeps_its_region_alive() {
    // Shows that the last block frees the region's memory, not the region's handle.
    let region = Region::new(1, 16);
    let mut block = region.take().unwrap();
    drop(region);
    assert!(block.extend(b"still here"));
    let frozen = block.freeze();
    assert_eq!(&frozen[..], b"still here");
}

#[test]
fn slices_outside_the_extent_are_refused() {
    // Shows both edges of `slice`, and that `advance` and `truncate` stay inside.
    let mut extent = Extent::of_bytes(&Bytes::from_static(b"abcdef")).unwrap();
    assert!(extent.slice(4..7).is_none());
    assert!(extent.slice(6..6).unwrap().is_empty());
    extent.truncate(4);
    extent.advance(1);
    assert_eq!(extent.bytes(), b"bcd");
    extent.advance(9);
    assert!(extent.is_empty());
}

#[test]
fn extents_are_cut_and_put_together_and_every_handle_comes_back() {
    // Shows that pieces cut off are the bytes behind the cut, that more can be cut than an extent has handles, and that the
    // block comes back when the last piece has gone, whether pieces were absorbed or dropped.
    let region = Region::new(1, 4096);
    let bytes: Vec<u8> = (0..4096u32).map(|at| at.to_le_bytes()[0]).collect();
    for absorbing in [true, false] {
        let mut rest = Extent::of_bytes(&region.store(&bytes).unwrap()).unwrap();
        let mut pieces = Vec::new();
        for at in (0..4000).step_by(20) {
            let behind = rest.split_off(20).unwrap();
            let front = core::mem::replace(&mut rest, behind);
            assert_eq!(front.bytes(), &bytes[at..at + 20]);
            pieces.push(front);
        }
        assert!(pieces.len() > 2 * HANDLES as usize && rest.split_off(97).is_none());
        // The first piece again, cut when it has one handle left.
        assert_eq!(pieces[0].split_off(5).unwrap().bytes(), &bytes[5..20]);
        for piece in pieces {
            if absorbing {
                rest.absorb(piece);
            }
        }
        assert_eq!((rest.bytes(), region.available()), (&bytes[4000..], 0));
        drop(rest);
        assert_eq!(region.available(), 1);
    }
}

#[test]
fn extents_of_different_blocks_do_not_absorb_each_other() {
    // Shows that an absorbed extent of another block, or of a frame, is let go at once.
    let region = Region::new(2, 16);
    let [mut kept, other] =
        [b"kept!", b"other"].map(|bytes| Extent::of_bytes(&region.store(bytes).unwrap()).unwrap());
    kept.absorb(other);
    assert_eq!((kept.bytes(), region.available()), (&b"kept!"[..], 1));
    let pool = crate::pool::Pool::heap(1, 256);
    let of_frame = Extent::of_frame(&pool.take().unwrap()).unwrap();
    assert_eq!(pool.available(), 0);
    kept.absorb(of_frame);
    assert_eq!(pool.available(), 1);
    drop(kept);
    assert_eq!(region.available(), 2);
}

#[test]
fn bytes_are_recognised_however_regions_come_and_go() {
    // Shows that a thread that has looked before sees regions that have come since, that bytes in memory where a region has been
    // are their own, and that another thread's regions are known here.
    for round in 0..64u8 {
        let region = Region::new(1, 64);
        let stored = region.store(&[round; 64]).unwrap();
        let extent = Extent::of_bytes(&stored).unwrap();
        assert_eq!((extent.bytes().as_ptr(), region.available()), (stored.as_ptr(), 0));
        drop((stored, extent));
        assert_eq!(region.available(), 1);
        drop(region);
        let own = Bytes::from(vec![round; 64]);
        let extent = Extent::of_bytes(&own).unwrap();
        assert_eq!((extent.bytes(), extent.class()), (&[round; 64][..], Class::Heap));
        let (region, stored) = std::thread::spawn(|| {
            let region = Region::new(1, 8);
            let stored = region.store(b"there").unwrap();
            (region, stored)
        })
        .join()
        .unwrap();
        let extent = Extent::of_bytes(&stored).unwrap();
        drop(stored);
        assert_eq!((extent.bytes(), region.available()), (&b"there"[..], 0));
    }
}
