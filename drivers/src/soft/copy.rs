//! Bytes into frames of a pool, chained where one frame's room does not hold them. For soft ports.

use crate::frame::Frame;
use crate::pool::Pool;

/// A frame that holds `bytes`, of as many segments as that takes; `None` while the pool has too few, or if its frames
/// have no room at all.
pub(crate) fn frame_of(pool: &Pool, mut bytes: &[u8]) -> Option<Frame> {
    let mut frame = part_of(pool, &mut bytes)?;
    while !bytes.is_empty() {
        frame.chain(part_of(pool, &mut bytes)?);
    }
    Some(frame)
}

/// A frame with the front of `bytes`, which is taken off them.
fn part_of(pool: &Pool, bytes: &mut &[u8]) -> Option<Frame> {
    let mut frame = pool.take()?;
    let (here, rest) = bytes.split_at(bytes.len().min(frame.tailroom()));
    if here.is_empty() && !rest.is_empty() {
        return None;
    }
    frame.append(here.len())?.copy_from_slice(here);
    *bytes = rest;
    Some(frame)
}
