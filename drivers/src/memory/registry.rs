//! Every living region, so that [`Bytes`] which lie in one are recognised by their address: asked once a payload, by every
//! lane, so each thread has a copy and looks whether it is the newest. Regions come and go rarely.

use core::cell::RefCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::{Extent, Inner};

/// Where a region's memory lies. A region is alive as long as it is listed, and it is until its memory goes.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    bytes: usize,
    region: *const Inner,
}

// SAFETY: a region may be looked at by any thread while it is alive.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

static SPANS: RwLock<Vec<Span>> = RwLock::new(Vec::new());

/// How often the list has changed. Written while it is locked.
static CHANGES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The list as it was after so many changes.
    static KNOWN: RefCell<(u64, Vec<Span>)> = const { RefCell::new((0, Vec::new())) };
}

pub(super) fn add(region: &Arc<Inner>) {
    let (start, bytes) = (region.backing.start.as_ptr().addr(), region.bytes);
    let mut spans = SPANS.write().unwrap_or_else(PoisonError::into_inner);
    spans.push(Span { start, bytes, region: Arc::as_ptr(region) });
    CHANGES.fetch_add(1, Ordering::Release);
}

/// A region ends: before its memory goes.
pub(super) fn remove(region: &Inner) {
    let mut spans = SPANS.write().unwrap_or_else(PoisonError::into_inner);
    spans.retain(|span| !ptr::eq(span.region, region));
    CHANGES.fetch_add(1, Ordering::Release);
}

/// The extent of all `len` bytes, if they lie in a region. Cost: a walk of the regions, and where there are new ones a lock.
pub(super) fn find(bytes: &Bytes, len: u32) -> Option<Extent> {
    // A thread that ends knows of none: bytes of a region are then as good as foreign ones.
    let span = KNOWN.try_with(|known| {
        let mut known = known.borrow_mut();
        if known.0 != CHANGES.load(Ordering::Acquire) {
            let spans = SPANS.read().unwrap_or_else(PoisonError::into_inner);
            known.0 = CHANGES.load(Ordering::Relaxed);
            known.1.clone_from(&spans);
        }
        let holds = |span: &&Span| bytes.as_ptr().addr().wrapping_sub(span.start) < span.bytes;
        known.1.iter().find(holds).copied()
    });
    let span = span.ok().flatten()?;
    // SAFETY: the region is alive. Had it ended, its change of the list came before its memory was given back, and so before
    // anything else could lie where these bytes do; whoever holds those has seen that change. Bytes of the region itself hold
    // one of its blocks, which keeps it alive for as long as they are borrowed here.
    let region = unsafe { &*span.region };
    let (header, within) = region.find(bytes.as_ptr(), len as usize)?;
    let start = u32::try_from(within).ok()?;
    header.retain();
    Some(Extent::of_block(NonNull::from(header), start, len))
}
