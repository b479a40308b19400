use bytes::Bytes;
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_order_of_work_is_that_of_a_plain_queue(
        base: u32,
        steps in prop::collection::vec((0u8..4, any::<u16>(), any::<u16>()), 0..60),
    ) {
        // Shows pushes, cuts and acknowledgements in any order against a queue of bytes: the same bytes in the same
        // places, payloads done in order and when their last byte is, no cell lost.
        const TEXT: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
        let (mut cells, mut queue, start) = (Cells::new(16), SendQueue::EMPTY, SeqNum(base));
        let (mut bytes, mut ends, mut acked, mut finished) = (Vec::new(), Vec::new(), 0usize, Vec::new());
        for (what, a, b) in steps {
            let end = start + u32::try_from(bytes.len()).unwrap();
            match what {
                0 => {
                    let part = &TEXT[usize::from(a) % 20..][..1 + usize::from(b) % 6];
                    let key = u32::try_from(ends.len()).unwrap();
                    if cells.push(&mut queue, end, view(part, key), 0, 0).is_ok() {
                        bytes.extend(part);
                        ends.push(bytes.len());
                    }
                }
                1 | 2 => {
                    let count = cells.from(queue.head).count().max(1);
                    let chosen = cells.from(queue.head).nth(usize::from(a) % count);
                    if let Some((index, len)) = chosen.map(|(index, cell)| (index, cell.len)) {
                        cells.split(&mut queue, index, u32::from(b) % (len + 2));
                    }
                }
                _ => {
                    acked += usize::from(a) % (bytes.len() - acked + 1);
                    let una = start + u32::try_from(acked).unwrap();
                    cells.acknowledge(&mut queue, una, &mut finished, |_, _| {});
                }
            }
            prop_assert_eq!(text(&cells, &queue), &bytes[acked..]);
            let mut at = start + u32::try_from(acked).unwrap();
            for (index, cell) in cells.from(queue.head) {
                prop_assert_eq!(cell.start(), at);
                prop_assert!(cell.len > 0);
                prop_assert_eq!(cell.next == NONE, index == queue.tail);
                at = cell.end;
            }
            let done = ends.iter().filter(|end| **end <= acked).count();
            prop_assert_eq!(finished.len(), done);
            prop_assert!(finished.iter().zip(0..).all(|(finished, key)| finished.key == Key(key)));
            prop_assert_eq!(cells.live(), cells.from(queue.head).count());
        }
    }
}

fn view(bytes: &'static [u8], key: u32) -> View {
    let data = match ViewData::inline(bytes) {
        Some(small) if key.is_multiple_of(2) => small,
        _ => ViewData::Extent(Extent::of_bytes(&Bytes::from_static(bytes)).unwrap()),
    };
    View { data, key: Key(key) }
}

fn text(cells: &Cells, queue: &SendQueue) -> Vec<u8> {
    let mut text = Vec::new();
    for (index, cell) in cells.from(queue.head) {
        match &cell.data {
            Data::None => {}
            Data::Inline => text.extend(cells.text(index)),
            Data::Extent(extent) => text.extend(extent.bytes()),
        }
    }
    text
}

#[test]
fn any_cut_and_any_acknowledgement_keeps_the_bytes() {
    // Shows, for every cut and every acknowledged length, that the rest is right and payloads finish in order.
    for cut in 1..12u32 {
        for acked in 0..=12u32 {
            let (mut cells, mut queue, start) = (Cells::new(8), SendQueue::EMPTY, SeqNum(u32::MAX - 3));
            cells.push(&mut queue, start, view(b"abcdef", 0), mark::NOTIFY, 0).unwrap();
            cells.push(&mut queue, start + 6, view(b"ghijkl", 1), 0, 0).unwrap();
            let (index, n) = if cut <= 6 { (queue.head, cut) } else { (queue.tail, cut - 6) };
            assert!(cells.split(&mut queue, index, n));
            assert_eq!(text(&cells, &queue), b"abcdefghijkl");
            let mut finished = Vec::new();
            cells.acknowledge(&mut queue, start + acked, &mut finished, |_, _| {});
            assert_eq!(text(&cells, &queue), &b"abcdefghijkl"[acked as usize..]);
            let keys: Vec<_> = finished.iter().map(|done| (done.key.0, done.notify)).collect();
            let expected: &[_] = match acked {
                0..6 => &[],
                6..12 => &[(0, true)],
                _ => &[(0, true), (1, false)],
            };
            assert_eq!(keys, expected);
            assert_eq!(queue.is_empty(), acked == 12);
            cells.clear(&mut queue, |_, _| {});
            assert_eq!(cells.live(), 0);
        }
    }
}

#[test]
fn a_full_slab_gives_the_view_back() {
    // Shows that the bound holds, that nothing is lost at it, and that room comes back.
    let (mut cells, mut queue) = (Cells::new(1), SendQueue::EMPTY);
    cells.push(&mut queue, SeqNum(0), view(b"first", 0), 0, 0).unwrap();
    assert_eq!(cells.push(&mut queue, SeqNum(5), view(b"second", 1), 0, 0).unwrap_err().key, Key(1));
    assert!(!cells.split(&mut queue, 0, 2));
    cells.acknowledge(&mut queue, SeqNum(5), &mut Vec::new(), |_, _| {});
    cells.push(&mut queue, SeqNum(5), view(b"second", 1), 0, 0).unwrap();
}

#[test]
fn what_dies_unfinished_says_how_much_was_left() {
    // Shows that a payload partly acknowledged counts only the rest.
    let (mut cells, mut queue, mut lost) = (Cells::new(4), SendQueue::EMPTY, Vec::new());
    cells.push(&mut queue, SeqNum(0), view(b"abcdef", 0), mark::NOTIFY, 3).unwrap();
    cells.push(&mut queue, SeqNum(6), view(b"gh", 1), 0, 0).unwrap();
    cells.acknowledge(&mut queue, SeqNum(2), &mut Vec::new(), |_, _| {});
    cells.clear(&mut queue, |done, bytes| lost.push((done.key.0, done.queue, bytes)));
    assert_eq!(lost, [(0, 3, 4), (1, 0, 2)]);
    assert_eq!(cells.live(), 0);
}
