//! Extents: counted ranges of memory that frames carry by reference. The blocks they may lie in live in `memory.rs`.

use core::fmt;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::Ordering;

use bytes::Bytes;

use super::{BlockHeader, Class, HANDLES, registry};
use crate::frame::Frame;
use crate::mbuf;

/// A counted reference to a range of immutable memory that frames can carry: of a block, of a received frame, of
/// foreign bytes. Twenty-four bytes.
///
/// An extent of a block holds many of its handles, so that a range is cut and put together without a count that other
/// cores may share: [`split_off`](Extent::split_off), [`absorb`](Extent::absorb).
pub struct Extent {
    owner: NonNull<u8>,
    start: u32,
    len: u32,
    /// Handles of the block that are this extent's; of a frame it is always one reference.
    handles: u32,
    kind: Kind,
}

const _: () = assert!(size_of::<Extent>() == 24);

/// What the owner is: a block's header or a frame's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Frame,
}

/// Where the memory is.
enum Owner<'e> {
    Block(&'e BlockHeader),
    Frame(&'e mbuf::Header),
}

// SAFETY: extents only read memory that nobody writes while a handle exists; counts are atomic.
unsafe impl Send for Extent {}
// SAFETY: as above.
unsafe impl Sync for Extent {}

impl Extent {
    /// A range of a block, of which it takes [`HANDLES`] over. The caller has checked the range.
    pub(super) fn of_block(header: NonNull<BlockHeader>, start: u32, len: u32) -> Extent {
        Extent { owner: header.cast(), start, len, handles: HANDLES, kind: Kind::Block }
    }

    /// The range that `bytes` names: of the region they lie in, else of the bytes themselves (one allocation).
    ///
    /// `None` if there are more than `u32::MAX` of them.
    pub fn of_bytes(bytes: &Bytes) -> Option<Extent> {
        let len = u32::try_from(bytes.len()).ok()?;
        if let Some(extent) = registry::find(bytes, len) {
            return Some(extent);
        }
        Some(Extent::of_block(BlockHeader::foreign(bytes, len), 0, len))
    }

    /// The window of a frame's first segment. `None` if too many share it.
    pub fn of_frame(frame: &Frame) -> Option<Extent> {
        let header = frame.segment();
        let len = u32::try_from(frame.len()).ok()?;
        let start = frame.bytes().as_ptr().addr() - header.buf_addr.addr();
        let start = u32::try_from(start).ok()?;
        let owner = NonNull::from(header).cast();
        mbuf::retain(&header.refcnt).then_some(Extent { owner, start, len, handles: 1, kind: Kind::Frame })
    }

    #[inline]
    fn owner(&self) -> Owner<'_> {
        match self.kind {
            // SAFETY: of this kind the owner is a block's header, and this extent keeps the block alive.
            Kind::Block => Owner::Block(unsafe { self.owner.cast().as_ref() }),
            // SAFETY: of this kind it is a frame's, and this extent keeps the frame alive.
            Kind::Frame => Owner::Frame(unsafe { self.owner.cast().as_ref() }),
        }
    }

    /// Another reference to `range` of this extent; `None` if it lies outside, or too many refer to the frame.
    pub fn slice(&self, range: Range<u32>) -> Option<Extent> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        let handles = self.retain()?;
        let (start, len) = (self.start + range.start, range.end - range.start);
        Some(Extent { owner: self.owner, start, len, handles, kind: self.kind })
    }

    /// Handles for one more extent; `None` if too many refer to the frame.
    #[inline(never)]
    fn retain(&self) -> Option<u32> {
        match self.owner() {
            Owner::Block(header) => {
                header.retain();
                Some(HANDLES)
            }
            Owner::Frame(header) => mbuf::retain(&header.refcnt).then_some(1),
        }
    }

    /// Cut the range in two behind its first `n` bytes, and give what is behind. `None`, and nothing done, if there are
    /// fewer, or too many refer to the frame.
    ///
    /// Cost: no atomic operation, unless the extent was cut very often.
    #[inline]
    pub fn split_off(&mut self, n: u32) -> Option<Extent> {
        let len = self.len.checked_sub(n)?;
        let handles = match self.handles {
            0 | 1 => self.retain()?,
            handles => {
                self.handles = 1;
                handles - 1
            }
        };
        self.len = n;
        Some(Extent { owner: self.owner, start: self.start + n, len, handles, kind: self.kind })
    }

    /// Let `other` go. Where both are of one block, its handles become this extent's, without an atomic operation.
    #[inline]
    pub fn absorb(&mut self, other: Extent) {
        let same = self.kind == Kind::Block && other.kind == Kind::Block && self.owner == other.owner;
        if let Some(handles) = self.handles.checked_add(other.handles).filter(|_| same) {
            self.handles = handles;
            core::mem::forget(other);
        }
    }

    /// Bytes of the range.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// The range is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keep the first `n` bytes.
    pub fn truncate(&mut self, n: u32) {
        self.len = self.len.min(n);
    }

    /// Forget the first `n` bytes, or all if there are fewer.
    pub fn advance(&mut self, n: u32) {
        let n = n.min(self.len);
        self.start += n;
        self.len -= n;
    }

    /// What the memory is.
    pub fn class(&self) -> Class {
        match self.owner() {
            Owner::Block(header) => header.class,
            Owner::Frame(_) => Class::Pool,
        }
    }

    fn base(&self) -> *mut u8 {
        let base = match self.owner() {
            Owner::Block(header) => header.data.as_ptr(),
            Owner::Frame(header) => header.buf_addr,
        };
        // SAFETY: the range was checked against its owner's memory when it was made.
        unsafe { base.add(self.start as usize) }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range lies in its owner's memory, which nobody writes while this extent lives.
        unsafe { slice::from_raw_parts(self.base(), self.len as usize) }
    }

    /// Put this range behind what the last segment of `frame` carries, if it lies right behind that in the same block.
    pub(crate) fn widen(&self, frame: &mut Frame) -> bool {
        let (Owner::Block(header), Ok(len)) = (self.owner(), u16::try_from(self.len)) else {
            return false;
        };
        frame.widen_last(ptr::from_ref(&header.shared), self.base(), len)
    }

    /// Make the empty frame `carrier` carry this range, at most 65,535 bytes. False, and nothing done, if it cannot.
    pub(crate) fn attach_to(&self, carrier: &mut Frame) -> bool {
        let Ok(len) = u16::try_from(self.len) else { return false };
        match self.owner() {
            Owner::Block(header) => {
                if !mbuf::retain(&header.shared.refcnt) {
                    return false;
                }
                let block = self.owner.as_ptr().cast::<BlockHeader>();
                header.shared.opaque.store(block.cast(), Ordering::Relaxed);
                // SAFETY: `block` is the header's address, and the field lies in it.
                let shared = unsafe { ptr::addr_of_mut!((*block).shared) };
                carrier.attach_external(self.base(), header.iova + u64::from(self.start), len, shared);
                true
            }
            Owner::Frame(owner) => carrier.attach_segment(owner, self.base(), len),
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        match self.kind {
            // SAFETY: these handles are this extent's own, and they are going.
            Kind::Block => unsafe { BlockHeader::release(self.owner.cast(), u64::from(self.handles)) },
            Kind::Frame => {
                let header = self.owner.cast::<mbuf::Header>();
                // SAFETY: this extent keeps the frame alive until the reference below is given up.
                let first = unsafe { header.as_ref() };
                let single = first.next.is_null();
                debug_assert!(single, "extents refer to single segments");
                // SAFETY: one reference of the segment is this extent's, and it is going.
                unsafe { mbuf::free_chain(header.as_ptr()) };
            }
        }
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extent").field("len", &self.len).field("class", &self.class()).finish()
    }
}
