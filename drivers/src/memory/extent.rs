//! Extents: counted ranges of memory that frames carry by reference. The blocks they may lie in live in `memory.rs`.

use core::fmt;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::Ordering;

use bytes::Bytes;

use super::{BlockHeader, Class, registry_find};
use crate::frame::Frame;
use crate::mbuf;

/// A counted reference to a range of immutable memory that frames can carry: of a block, of a received frame, of
/// foreign bytes. Sixteen bytes.
pub struct Extent {
    owner: Owner,
    start: u32,
    len: u32,
}

const _: () = assert!(size_of::<Extent>() == 16);

/// A block's header, or with [`Owner::FRAME`] set a frame's.
#[derive(Clone, Copy)]
struct Owner(NonNull<u8>);

enum Kind {
    Block(NonNull<BlockHeader>),
    Frame(NonNull<mbuf::Header>),
}

impl Owner {
    const FRAME: usize = 1;

    fn block(header: NonNull<BlockHeader>) -> Owner {
        Owner(header.cast())
    }

    fn frame(header: NonNull<mbuf::Header>) -> Owner {
        Owner(header.cast().map_addr(|address| address | Self::FRAME))
    }

    fn kind(self) -> Kind {
        let address = self.0.as_ptr().map_addr(|address| address & !Self::FRAME);
        // SAFETY: headers are never at address zero, with or without the tag.
        let untagged = unsafe { NonNull::new_unchecked(address) };
        if self.0.as_ptr().addr() & Self::FRAME == 0 {
            Kind::Block(untagged.cast())
        } else {
            Kind::Frame(untagged.cast())
        }
    }
}

// SAFETY: extents only read memory that nobody writes while a handle exists; counts are atomic.
unsafe impl Send for Extent {}
// SAFETY: as above.
unsafe impl Sync for Extent {}

impl Extent {
    /// A range of a block, whose handle it takes over. The caller has checked the range.
    pub(super) fn of_block(header: NonNull<BlockHeader>, start: u32, len: u32) -> Extent {
        Extent { owner: Owner::block(header), start, len }
    }

    /// The range that `bytes` names: of the region they lie in, else of the bytes themselves (one allocation).
    ///
    /// `None` if there are more than `u32::MAX` of them.
    pub fn of_bytes(bytes: &Bytes) -> Option<Extent> {
        let len = u32::try_from(bytes.len()).ok()?;
        if let Some(extent) = registry_find(bytes.as_ptr(), len) {
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
        mbuf::retain(&header.refcnt).then(|| Extent {
            owner: Owner::frame(NonNull::from(header)),
            start,
            len,
        })
    }

    /// Another reference to `range` of this extent; `None` if it lies outside, or too many refer to the frame.
    pub fn slice(&self, range: Range<u32>) -> Option<Extent> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        match self.owner.kind() {
            // SAFETY: this extent keeps the block alive.
            Kind::Block(header) => unsafe { header.as_ref() }.retain(),
            Kind::Frame(header) => {
                // SAFETY: this extent keeps the frame alive.
                let header = unsafe { header.as_ref() };
                if !mbuf::retain(&header.refcnt) {
                    return None;
                }
            }
        }
        Some(Extent { owner: self.owner, start: self.start + range.start, len: range.end - range.start })
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
        match self.owner.kind() {
            // SAFETY: this extent keeps the block alive.
            Kind::Block(header) => unsafe { header.as_ref() }.class,
            Kind::Frame(_) => Class::Pool,
        }
    }

    fn base(&self) -> *mut u8 {
        let base = match self.owner.kind() {
            // SAFETY: this extent keeps the block alive.
            Kind::Block(header) => unsafe { header.as_ref() }.data.as_ptr(),
            // SAFETY: this extent keeps the frame alive.
            Kind::Frame(header) => unsafe { header.as_ref() }.buf_addr,
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
        let (Kind::Block(block), Ok(len)) = (self.owner.kind(), u16::try_from(self.len)) else {
            return false;
        };
        // SAFETY: this extent keeps the block alive.
        let shared = ptr::addr_of!(unsafe { block.as_ref() }.shared);
        frame.widen_last(shared, self.base(), len)
    }

    /// Make the empty frame `carrier` carry this range, at most 65,535 bytes. False, and nothing done, if it cannot.
    pub(crate) fn attach_to(&self, carrier: &mut Frame) -> bool {
        let Ok(len) = u16::try_from(self.len) else { return false };
        match self.owner.kind() {
            Kind::Block(block) => {
                // SAFETY: this extent keeps the block alive.
                let header = unsafe { block.as_ref() };
                if !mbuf::retain(&header.shared.refcnt) {
                    return false;
                }
                let shared = ptr::addr_of!(header.shared).cast_mut();
                header.shared.opaque.store(block.as_ptr().cast(), Ordering::Relaxed);
                carrier.attach_external(self.base(), header.iova + u64::from(self.start), len, shared);
                true
            }
            Kind::Frame(header) => {
                // SAFETY: this extent keeps the frame alive.
                let owner = unsafe { header.as_ref() };
                carrier.attach_segment(owner, self.base(), len)
            }
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        match self.owner.kind() {
            // SAFETY: the handle is this extent's own, and it is going.
            Kind::Block(header) => unsafe { BlockHeader::release(header) },
            Kind::Frame(header) => {
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
