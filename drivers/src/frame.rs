//! The frame handle: sixteen bytes that own a chain of segments. The layout behind it lives in `mbuf.rs`, what ports
//! say of frames in `frame/metadata.rs`, what applications hold of them in `frame/held.rs`.

use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, size_of};
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::Ordering;

use crate::mbuf::{self, Header, tx};

mod held;
mod metadata;

pub use held::Held;
pub use metadata::{Checksum, Checksums, Offload, Transport, Verdicts};

/// An owned network frame: a chain of one or more segments.
///
/// The handle has a window on the first segment: offset and length, which [`trim_front`](Frame::trim_front) and
/// [`truncate`](Frame::truncate) narrow without touching memory. Several handles may share a segment
/// ([`share`](Frame::share)); bytes are writable only while there is one.
///
/// Shape: a pointer and a packed word of offset, length and RSS hash, passed in two registers.
pub struct Frame {
    header: NonNull<Header>,
    packed: u64,
}

const _: () = assert!(size_of::<Frame>() == 16);
const _: () = assert!(size_of::<Option<Frame>>() == 16);

// SAFETY: a handle owns a reference of each of its segments; counts are atomic, bytes of shared segments are never
// written, and pools take frames back from any thread.
unsafe impl Send for Frame {}
// SAFETY: `&Frame` gives only reads of memory that is written through `&mut Frame` alone.
unsafe impl Sync for Frame {}

const OFFSET_SHIFT: u32 = 48;
const LENGTH_SHIFT: u32 = 32;

#[inline]
fn pack(offset: u16, length: u16, hash: u32) -> u64 {
    u64::from(offset) << OFFSET_SHIFT | u64::from(length) << LENGTH_SHIFT | u64::from(hash)
}

impl Frame {
    /// Take ownership of one reference of a chain.
    ///
    /// # Safety
    ///
    /// `header` is the first segment of a well-formed chain of which the caller gives up one reference a segment.
    #[inline]
    pub(crate) unsafe fn from_raw(header: NonNull<Header>) -> Frame {
        // SAFETY: the chain is alive, for the caller owns a reference.
        let first = unsafe { header.as_ref() };
        Frame { header, packed: pack(first.data_off, first.data_len, first.hash) }
    }

    /// A handle on a segment fresh from its pool.
    #[inline]
    pub(crate) fn from_fresh(header: NonNull<Header>) -> Frame {
        // SAFETY: pools hand out single segments with exactly one reference, which becomes this handle's.
        unsafe { Frame::from_raw(header) }
    }

    /// Give the chain away, with the window written to it as DPDK expects.
    ///
    /// Panics: if the first segment is shared, for then the window is not ours to write.
    #[inline]
    pub(crate) fn into_raw(mut self) -> NonNull<Header> {
        self.store_window();
        ManuallyDrop::new(self).header
    }

    /// Give the chain away as it is; the window is forgotten.
    #[inline]
    pub(crate) fn dissolve(self) -> NonNull<Header> {
        ManuallyDrop::new(self).header
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the handle owns a reference of the segment.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        assert!(self.is_unique(), "a shared frame is read-only");
        // SAFETY: this handle's is the only reference, and it is borrowed mutably.
        unsafe { self.header.as_mut() }
    }

    #[inline]
    fn offset(&self) -> u16 {
        (self.packed >> OFFSET_SHIFT) as u16
    }

    /// Bytes in the window of the first segment.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.length())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the field is sixteen bits of the packed word")]
    fn length(&self) -> u16 {
        (self.packed >> LENGTH_SHIFT) as u16
    }

    /// No byte in the window of the first segment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the whole chain.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.len() + self.rest().map(|segment| usize::from(segment.data_len)).sum::<usize>()
    }

    /// The chain has but one segment.
    #[inline]
    pub fn is_single(&self) -> bool {
        self.header().nb_segs == 1
    }

    /// The chain has but one segment, and that refers to no memory but its own.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.header().next.is_null() && self.header().ol_flags & (tx::EXTERNAL | tx::INDIRECT) == 0
    }

    /// Bring the header of a frame near, and where it came the usual way the first of its bytes.
    #[inline]
    pub fn prefetch(&self) {
        crate::prefetch(self.header());
        let bytes = self.header.as_ptr().cast::<u8>().wrapping_add(size_of::<Header>());
        crate::prefetch::prefetch_at(bytes.wrapping_add(usize::from(self.offset())));
    }

    /// Segments of the chain.
    pub fn segment_count(&self) -> usize {
        1 + self.rest().count()
    }

    fn rest(&self) -> impl Iterator<Item = &Header> {
        let mut next = self.header().next;
        core::iter::from_fn(move || {
            // SAFETY: segments of an owned chain are alive; the chain ends with null.
            let segment = unsafe { next.as_ref() }?;
            next = segment.next;
            Some(segment)
        })
    }

    /// The window of the first segment.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the window lies inside the buffer (every narrowing and widening is checked).
        let start = unsafe { self.header().buf_addr.add(usize::from(self.offset())) };
        // SAFETY: those bytes are initialised (pools are zeroed) and nobody writes them while `&self` lives.
        unsafe { slice::from_raw_parts(start, self.len()) }
    }

    /// The window of the first segment, for writing; `None` while the segment is shared or carries foreign memory.
    #[inline]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        if !self.is_writable() {
            return None;
        }
        // SAFETY: as in `bytes`.
        let start = unsafe { self.header().buf_addr.add(usize::from(self.offset())) };
        // SAFETY: the segment's buffer is its own and this handle's is the only reference.
        Some(unsafe { slice::from_raw_parts_mut(start, self.len()) })
    }

    /// Every segment's bytes, in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(self.bytes()).chain(self.rest().map(segment_bytes))
    }

    /// The bytes of every segment but the first, in order.
    #[inline]
    pub(crate) fn behind(&self) -> Behind<'_> {
        Behind { next: self.header().next, frame: PhantomData }
    }

    /// This handle's is the only reference of the first segment.
    #[inline]
    pub fn is_unique(&self) -> bool {
        self.header().refcnt.load(Ordering::Acquire) == 1
    }

    #[inline]
    fn is_writable(&self) -> bool {
        self.is_unique() && self.header().ol_flags & (tx::EXTERNAL | tx::INDIRECT) == 0
    }

    /// Forget the first `n` bytes of the window. False, and nothing done, if there are fewer.
    #[inline]
    pub fn trim_front(&mut self, n: usize) -> bool {
        let Ok(n) = u16::try_from(n) else { return false };
        if n > self.length() {
            return false;
        }
        self.set_window(self.offset() + n, self.length() - n);
        true
    }

    /// Keep the first `n` bytes of the window.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        if let Ok(n) = u16::try_from(n)
            && n < self.length()
        {
            self.set_window(self.offset(), n);
        }
    }

    /// Keep `len` bytes from `start` on. False, and nothing done, if they are not all in the window.
    #[inline]
    pub fn narrow(&mut self, start: u16, len: u16) -> bool {
        let fits = u32::from(start) + u32::from(len) <= u32::from(self.length());
        if fits {
            let length = u64::from(u16::MAX) << LENGTH_SHIFT;
            self.packed = (self.packed & !length) + pack(start, len, 0);
        }
        fits
    }

    #[inline]
    fn set_window(&mut self, offset: u16, length: u16) {
        self.packed = pack(offset, length, 0) | self.packed & u64::from(u32::MAX);
    }

    /// Bytes that fit in front of the window.
    #[inline]
    pub fn headroom(&self) -> usize {
        if self.is_writable() { usize::from(self.offset()) } else { 0 }
    }

    /// Bytes that fit behind the window of the first segment; zero while the segment is shared.
    #[inline]
    pub fn tailroom(&self) -> usize {
        if self.is_writable() {
            usize::from(self.header().buf_len - self.offset() - self.length())
        } else {
            0
        }
    }

    /// Widen the window by `n` bytes in front and give them for writing; `None` if they do not fit.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        let n16 = u16::try_from(n).ok()?;
        self.set_window(self.offset() - n16, self.length().checked_add(n16)?);
        self.bytes_mut()?.get_mut(..n)
    }

    /// Widen the window by `n` bytes behind and give them for writing; `None` if they do not fit.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let (n16, end) = (u16::try_from(n).ok()?, self.offset() + self.length());
        self.set_window(self.offset(), self.length().checked_add(n16)?);
        // SAFETY: what is behind the window lies inside the buffer, for it has room for `n` bytes more.
        let start = unsafe { self.header().buf_addr.add(usize::from(end)) };
        // SAFETY: with room behind it the segment is writable: its buffer is its own and this handle's is the only reference.
        Some(unsafe { slice::from_raw_parts_mut(start, n) })
    }

    /// Set the window to the first `len` bytes from where it begins, tell the port what to do to them, and give `N` from there on
    /// for writing, whatever they held. `None`, and nothing done, if `len` is more than `N`, or as many do not fit the segment.
    #[inline]
    pub fn begin<const N: usize>(&mut self, len: u16, offload: Option<Offload>) -> Option<&mut [u8; N]> {
        let room = usize::from(self.header().buf_len - self.offset());
        if !self.is_writable() || usize::from(len) > N || room < N {
            return None;
        }
        self.set_window(self.offset(), len);
        if let Some(offload) = offload {
            // SAFETY: this handle's is the only reference, and it is borrowed mutably.
            let header = unsafe { self.header.as_mut() };
            (header.ol_flags, header.tx_offload) = offload.words();
        }
        // SAFETY: the window begins inside the buffer.
        let start = unsafe { self.header().buf_addr.add(usize::from(self.offset())) };
        // SAFETY: so many bytes are left of the buffer, which is the segment's own, and this handle's is the only reference.
        Some(unsafe { &mut *start.cast::<[u8; N]>() })
    }

    /// A second handle on the same single segment; `None` for a chain, or if too many share it already.
    pub fn share(&self) -> Option<Frame> {
        let header = self.header();
        (header.next.is_null() && mbuf::retain(&header.refcnt))
            .then_some(Frame { header: self.header, packed: self.packed })
    }

    /// Hang the chain of `tail` behind this one's last segment.
    ///
    /// Panics: if the first segment is shared.
    pub fn chain(&mut self, tail: Frame) {
        let count = tail.header().nb_segs;
        let tail = tail.into_raw();
        let header = self.header_mut();
        header.nb_segs = header.nb_segs.saturating_add(count);
        let mut last: *mut Header = header;
        loop {
            // SAFETY: segments of an owned chain are alive.
            let next = unsafe { &*last }.next;
            if next.is_null() {
                break;
            }
            last = next;
        }
        // SAFETY: the last segment belongs to this handle's chain, borrowed mutably.
        unsafe { &mut *last }.next = tail.as_ptr();
    }

    /// Split off everything behind the first segment.
    pub fn unchain(&mut self) -> Option<Frame> {
        if self.header().next.is_null() {
            return None;
        }
        let header = self.header_mut();
        let rest = NonNull::new(core::mem::replace(&mut header.next, ptr::null_mut()))?;
        let count = header.nb_segs.saturating_sub(1).max(1);
        header.nb_segs = 1;
        // SAFETY: the rest is a well-formed chain whose references were this handle's.
        let mut rest = unsafe { Frame::from_raw(rest) };
        if rest.is_unique() {
            rest.header_mut().nb_segs = count;
        }
        Some(rest)
    }

    /// Copy bytes forward until the first segment's window holds `n` of them, if the chain has as many and they fit.
    pub fn pull_up(&mut self, n: usize) -> bool {
        while self.len() < n {
            let wanted = n - self.len();
            let Some(mut rest) = self.unchain() else { return false };
            let taken = wanted.min(rest.len());
            let fits = self.append(taken).map(|room| room.copy_from_slice(&rest.bytes()[..taken])).is_some();
            if fits && taken == rest.len() {
                if let Some(further) = rest.unchain() {
                    self.chain(further);
                }
                continue;
            }
            if fits {
                rest.trim_front(taken);
            }
            self.chain(rest);
            if !fits {
                return false;
            }
        }
        true
    }

    /// Make this empty frame carry `len` bytes of a direct segment's buffer, which it then shares.
    ///
    /// Both come from the same kind of pool; the caller has checked `start` and `len` against `owner`'s buffer.
    pub(crate) fn attach_segment(&mut self, owner: &Header, start: *const u8, len: u16) -> bool {
        if (owner.pool ^ self.header().pool) & mbuf::HEAP_TAG != 0 {
            return false;
        }
        if owner.ol_flags & tx::EXTERNAL != 0 {
            // SAFETY: an attached segment's `shinfo` is alive while the segment is.
            let info = unsafe { &*owner.shinfo };
            return mbuf::retain(&info.refcnt) && self.point_at(owner, start, len, tx::EXTERNAL);
        }
        if owner.ol_flags & tx::INDIRECT != 0 {
            // SAFETY: the flag says that the buffer belongs to a direct segment.
            let direct = unsafe { mbuf::direct_of(owner) };
            // SAFETY: `owner` holds a reference of it.
            let direct = unsafe { &*direct };
            return mbuf::retain(&direct.refcnt) && self.point_at(direct, start, len, tx::INDIRECT);
        }
        mbuf::retain(&owner.refcnt) && self.point_at(owner, start, len, tx::INDIRECT)
    }

    fn point_at(&mut self, owner: &Header, start: *const u8, len: u16, kind: u64) -> bool {
        let offset = start.addr().wrapping_sub(owner.buf_addr.addr());
        let offset = u16::try_from(offset).unwrap_or(u16::MAX);
        let header = self.header_mut();
        header.buf_addr = owner.buf_addr;
        header.buf_iova = owner.buf_iova;
        header.buf_len = owner.buf_len;
        header.priv_size = owner.priv_size;
        header.shinfo = owner.shinfo;
        header.ol_flags = kind;
        self.set_window(offset, len);
        true
    }

    /// Make this empty frame carry `len` bytes at `start` of memory that `shinfo` counts; one reference is taken over.
    pub(crate) fn attach_external(
        &mut self,
        start: *mut u8,
        iova: u64,
        len: u16,
        shinfo: *mut mbuf::SharedInfo,
    ) {
        let header = self.header_mut();
        header.buf_addr = start;
        header.buf_iova = iova;
        header.buf_len = len;
        header.shinfo = shinfo;
        header.ol_flags = tx::EXTERNAL;
        self.set_window(0, len);
    }

    /// The first segment's header, for attaching to it.
    pub(crate) fn segment(&self) -> &Header {
        self.header()
    }

    /// Write the window and the chain's totals into the header, where a port reads them.
    #[inline]
    fn store_window(&mut self) {
        let (offset, length, total) = (self.offset(), self.length(), self.total_len());
        let count = self.segment_count();
        let header = self.header_mut();
        header.data_off = offset;
        header.data_len = length;
        header.pkt_len = u32::try_from(total).unwrap_or(u32::MAX);
        header.nb_segs = u16::try_from(count).unwrap_or(u16::MAX);
    }

    /// Widen the last segment by `len` bytes that lie at `start`, right behind those of the same attached memory that
    /// it carries. False, and nothing done, if they do not, or the frame has but one segment.
    pub(crate) fn widen_last(&mut self, shinfo: *const mbuf::SharedInfo, start: *const u8, len: u16) -> bool {
        let mut last = self.header().next;
        // SAFETY: segments of an owned chain are alive; the chain ends with null.
        while let Some(next) = unsafe { last.as_ref() }.filter(|segment| !segment.next.is_null()) {
            last = next.next;
        }
        // SAFETY: the last segment belongs to this handle's chain, borrowed mutably; its count is looked at first.
        let Some(segment) = (unsafe { last.as_mut() }) else { return false };
        let end = segment.buf_addr.addr() + usize::from(segment.data_off) + usize::from(segment.data_len);
        let external = segment.ol_flags & tx::EXTERNAL != 0 && ptr::eq(segment.shinfo, shinfo);
        let unique = segment.refcnt.load(Ordering::Acquire) == 1;
        let whole = segment.data_off.checked_add(segment.data_len).and_then(|used| used.checked_add(len));
        match whole {
            Some(whole) if external && unique && end == start.addr() => {
                segment.buf_len = segment.buf_len.max(whole);
                segment.data_len += len;
                true
            }
            _ => false,
        }
    }
}

/// The segments behind a frame's first. One word, which never goes by way of memory.
pub(crate) struct Behind<'f> {
    next: *const Header,
    frame: PhantomData<&'f Frame>,
}

impl<'f> Iterator for Behind<'f> {
    type Item = &'f [u8];

    #[inline]
    fn next(&mut self) -> Option<&'f [u8]> {
        // SAFETY: segments of an owned chain are alive while the frame is borrowed; the chain ends with null.
        let segment: &'f Header = unsafe { self.next.as_ref() }?;
        self.next = segment.next;
        Some(segment_bytes(segment))
    }
}

fn segment_bytes(segment: &Header) -> &[u8] {
    // SAFETY: DPDK and `store_window` keep `data_off` and `data_len` inside the buffer.
    let start = unsafe { segment.buf_addr.add(usize::from(segment.data_off)) };
    // SAFETY: the segment is alive as long as the borrow, and nobody writes a chained segment.
    unsafe { slice::from_raw_parts(start, usize::from(segment.data_len)) }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the handle owns one reference of each segment and is going.
        unsafe { mbuf::free_chain(self.header.as_ptr()) };
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("len", &self.len())
            .field("total_len", &self.total_len())
            .field("segments", &self.segment_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
