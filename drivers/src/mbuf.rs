//! The header of every frame: `rte_mbuf`'s layout, so that one handle serves DPDK's buffers and the heap's.
//! Ownership lives in `frame.rs`, memory that frames refer to in `memory.rs`.
//!
//! The offsets are those of DPDK 22.11 to 26.07; the shim asserts them against the C headers.

use core::ffi::c_void;
use core::mem::{offset_of, size_of};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, Ordering};

use crate::soft::heap;

/// The first 128 bytes of a frame's buffer.
#[repr(C, align(64))]
pub(crate) struct Header {
    pub buf_addr: *mut u8,
    pub buf_iova: u64,
    pub data_off: u16,
    pub refcnt: AtomicU16,
    pub nb_segs: u16,
    pub port: u16,
    pub ol_flags: u64,
    pub packet_type: u32,
    pub pkt_len: u32,
    pub data_len: u16,
    pub vlan_tci: u16,
    pub hash: u32,
    pub hash_high: u32,
    pub vlan_tci_outer: u16,
    pub buf_len: u16,
    /// DPDK's pool, or a heap pool with [`HEAP_TAG`] set.
    pub pool: usize,
    pub next: *mut Header,
    pub tx_offload: u64,
    pub shinfo: *mut SharedInfo,
    pub priv_size: u16,
    pub timesync: u16,
    pub dynfield: [u32; 8],
    /// How many slices of the frame an application holds: a dynamic field of ours, reserved at this offset.
    pub holders: AtomicU32,
}

const _: () = {
    assert!(offset_of!(Header, buf_addr) == 0);
    assert!(offset_of!(Header, buf_iova) == 8);
    assert!(offset_of!(Header, data_off) == 16);
    assert!(offset_of!(Header, refcnt) == 18);
    assert!(offset_of!(Header, nb_segs) == 20);
    assert!(offset_of!(Header, port) == 22);
    assert!(offset_of!(Header, ol_flags) == 24);
    assert!(offset_of!(Header, packet_type) == 32);
    assert!(offset_of!(Header, pkt_len) == 36);
    assert!(offset_of!(Header, data_len) == 40);
    assert!(offset_of!(Header, vlan_tci) == 42);
    assert!(offset_of!(Header, hash) == 44);
    assert!(offset_of!(Header, buf_len) == 54);
    assert!(offset_of!(Header, pool) == 56);
    assert!(offset_of!(Header, next) == 64);
    assert!(offset_of!(Header, tx_offload) == 72);
    assert!(offset_of!(Header, shinfo) == 80);
    assert!(offset_of!(Header, priv_size) == 88);
    assert!(offset_of!(Header, holders) == 124);
    assert!(size_of::<Header>() == 128);
};

/// `rte_mbuf_ext_shared_info`: how C gives back memory that frames carry by reference.
#[repr(C)]
pub(crate) struct SharedInfo {
    pub free_cb: Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>,
    pub opaque: AtomicPtr<c_void>,
    pub refcnt: AtomicU16,
}

/// Set in `Header::pool` for frames of the heap. DPDK's pools are aligned to cache lines, so theirs is clear.
pub(crate) const HEAP_TAG: usize = 1;

/// Receive flags of `ol_flags` (`rte_mbuf_core.h`).
pub(crate) mod rx {
    pub const RSS_HASH: u64 = 1 << 1;
    pub const L4_BAD: u64 = 1 << 3;
    pub const IP_BAD: u64 = 1 << 4;
    pub const VLAN_STRIPPED: u64 = 1 << 6;
    pub const IP_GOOD: u64 = 1 << 7;
    pub const L4_GOOD: u64 = 1 << 8;
}

/// Transmit flags of `ol_flags` (`rte_mbuf_core.h`).
pub(crate) mod tx {
    pub const TCP_SEGMENTATION: u64 = 1 << 50;
    pub const TCP_CHECKSUM: u64 = 1 << 52;
    pub const UDP_CHECKSUM: u64 = 3 << 52;
    pub const IP_CHECKSUM: u64 = 1 << 54;
    pub const IPV4: u64 = 1 << 55;
    pub const IPV6: u64 = 1 << 56;
    pub const VLAN: u64 = 1 << 57;
    pub const EXTERNAL: u64 = 1 << 61;
    pub const INDIRECT: u64 = 1 << 62;
}

/// References a count of 16 bits may reach before we refuse more; DPDK does not check.
pub(crate) const REFERENCES_MAX: u16 = 0xf000;

/// Add a reference unless the count is close to its end.
#[inline]
pub(crate) fn retain(refcnt: &AtomicU16) -> bool {
    let mut seen = refcnt.load(Ordering::Relaxed);
    while seen < REFERENCES_MAX {
        match refcnt.compare_exchange_weak(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// Drop a reference. True if it was the last: the count then stands at one again, ready for the next owner.
#[inline]
pub(crate) fn release(refcnt: &AtomicU16) -> bool {
    if refcnt.load(Ordering::Acquire) == 1 {
        return true;
    }
    if refcnt.fetch_sub(1, Ordering::AcqRel) == 1 {
        refcnt.store(1, Ordering::Relaxed);
        return true;
    }
    false
}

/// Free every segment of a chain.
///
/// # Safety
///
/// `header` is the first segment of a chain that the caller owns (one reference of each segment), and is not used
/// after this call.
#[inline]
pub(crate) unsafe fn free_chain(header: *mut Header) {
    let mut segment = header;
    while !segment.is_null() {
        // SAFETY: the caller owns the chain, so each segment is alive until it is freed below.
        let current = unsafe { &*segment };
        let (next, heap) = (current.next, current.pool & HEAP_TAG != 0);
        if heap {
            // SAFETY: one reference of this segment is the caller's; the tag says it came from a heap pool.
            unsafe { free_heap_segment(segment) };
        } else {
            #[cfg(feature = "dpdk")]
            // SAFETY: one reference of this segment is the caller's; without the tag it is one of DPDK's mbufs.
            unsafe {
                crate::dpdk::free_segment(segment)
            };
        }
        segment = next;
    }
}

/// Free one segment of a heap pool, and what is attached to it.
///
/// # Safety
///
/// `segment` is a heap segment of which the caller owns one reference, given up by this call.
pub(crate) unsafe fn free_heap_segment(segment: *mut Header) {
    // SAFETY: the caller's reference keeps the segment alive.
    let shared = unsafe { &*segment };
    if !release(&shared.refcnt) {
        return;
    }
    // SAFETY: `release` said this was the last reference, so nobody else can see the segment now.
    let unique = unsafe { &mut *segment };
    if unique.ol_flags & tx::EXTERNAL != 0 {
        // SAFETY: an external attachment holds one reference of its `shinfo`, given up here, once.
        unsafe { release_external(unique.shinfo, unique.buf_addr) };
    } else if unique.ol_flags & tx::INDIRECT != 0 {
        // SAFETY: an indirect attachment points into the buffer of a direct segment, of which it holds a reference.
        let direct = unsafe { direct_of(unique) };
        // SAFETY: that reference is given up here, once; heap segments attach to heap segments only.
        unsafe { free_heap_segment(direct) };
    }
    unique.ol_flags = 0;
    unique.nb_segs = 1;
    // SAFETY: the segment is unreferenced, detached, and belongs to the heap pool its tag names.
    unsafe { heap::give_back(NonNull::from(unique)) };
}

/// Drop one reference of attached external memory; the last calls its owner.
///
/// # Safety
///
/// `shinfo` is alive and one of its references is the caller's to give up.
pub(crate) unsafe fn release_external(shinfo: *mut SharedInfo, buffer: *mut u8) {
    // SAFETY: the caller's reference keeps `shinfo` alive.
    let info = unsafe { &*shinfo };
    let (callback, opaque) = (info.free_cb, info.opaque.load(Ordering::Relaxed));
    if info.refcnt.fetch_sub(1, Ordering::AcqRel) == 1
        && let Some(free) = callback
    {
        // SAFETY: the last reference has gone; the callback was registered for exactly this call.
        unsafe { free(buffer.cast(), opaque) };
    }
}

/// The direct segment whose buffer an indirect one points into.
///
/// # Safety
///
/// `header` is attached with [`tx::INDIRECT`].
pub(crate) unsafe fn direct_of(header: &Header) -> *mut Header {
    let distance = size_of::<Header>() + usize::from(header.priv_size);
    // SAFETY: a direct buffer lies right behind its header and private area, in the same allocation.
    unsafe { header.buf_addr.sub(distance) }.cast()
}
