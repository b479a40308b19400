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
