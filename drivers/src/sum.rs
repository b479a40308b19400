//! The sum that the Internet checksum folds, of many bytes, by vectors where the processor has them. What is made of it is
//! the stack's.

use core::ptr;

/// Bytes that are added at once.
const BLOCK: usize = 64;

/// Fewer are not worth asking for.
const WORTH: usize = 4 * BLOCK;

/// Add the 32-bit words in the front of `bytes`, as the machine loads them. Returns their sum, and the bytes behind the
/// last that was added: all of them where they are few, or the processor has no AVX2.
///
/// Cost: a tenth of a cycle a byte or less, once the bytes are near.
#[inline]
pub fn sum_front(bytes: &[u8]) -> (u64, &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= WORTH {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F.
            return (unsafe { sum_blocks_wide(blocks) }, rest);
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return (unsafe { sum_blocks(blocks) }, rest);
        }
    }
    (0, bytes)
}

/// Copy the front of `from` to the front of `to`, and add it on the way as [`sum_front`] does. Returns its sum and its length:
/// none where there are few bytes, or the processor has no AVX2.
///
/// Cost: that of the copy, once the bytes are near.
#[inline]
pub fn copy_front(to: &mut [u8], from: &[u8]) -> (u64, usize) {
    let count = to.len().min(from.len());
    // SAFETY: both have as many bytes, and a slice that is written to overlaps no other.
    unsafe { copy_front_at(to.as_mut_ptr(), from.as_ptr(), count) }
}

/// [`copy_front`] where one of the two is memory that another process may write to, so that no slice can be of it. The sum
/// is of the bytes that were written: each is read once.
///
/// # Safety
///
/// `from` is good for reading `count` bytes and `to` for writing them, and they do not overlap.
#[inline]
pub(crate) unsafe fn copy_front_at(to: *mut u8, from: *const u8, count: usize) -> (u64, usize) {
    #[cfg(target_arch = "x86_64")]
    if count >= WORTH && std::is_x86_feature_detected!("avx2") {
        let blocks = count / BLOCK;
        // SAFETY: the processor has AVX2, and so many blocks are not more than the caller's bytes.
        return (unsafe { copy_blocks(to, from, blocks) }, blocks * BLOCK);
    }
    let _ = (to, from, count);
    (0, 0)
}

/// Copy all of `count` bytes, and add them as RFC 1071 does, as 64-bit words with the carry brought round. What is short of a
/// word at the end is filled up with zeros.
///
/// # Safety
///
/// As of [`copy_front_at`].
#[inline]
pub(crate) unsafe fn copy_all_at(to: *mut u8, from: *const u8, count: usize) -> u64 {
    // SAFETY: the caller's promise.
    let (mut sum, mut done) = unsafe { copy_front_at(to, from, count) };
    let mut carries = 0;
    while count - done >= size_of::<u64>() {
        // SAFETY: a word that is inside the caller's bytes; it may lie anywhere.
        let word = unsafe { from.wrapping_add(done).cast::<u64>().read_unaligned() };
        // SAFETY: as above.
        unsafe { to.wrapping_add(done).cast::<u64>().write_unaligned(word) };
        let (more, carry) = sum.overflowing_add(word);
        (sum, carries, done) = (more, carries + u64::from(carry), done + size_of::<u64>());
    }
    let (mut last, left) = ([0; size_of::<u64>()], count - done);
    // SAFETY: the bytes that are left, fewer than a word.
    unsafe { ptr::copy_nonoverlapping(from.wrapping_add(done), last.as_mut_ptr(), left) };
    // SAFETY: as above, and `last` is this function's own.
    unsafe { ptr::copy_nonoverlapping(last.as_ptr(), to.wrapping_add(done), left) };
    let (more, carry) = sum.overflowing_add(u64::from_ne_bytes(last));
    let (sum, carry) = more.overflowing_add(carries + u64::from(carry));
    sum + u64::from(carry)
}

/// What goes through [`sum_blocks`] besides being added.
///
/// # Safety
///
/// As of [`copy_front_at`], for as many bytes as `count` blocks have.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn copy_blocks(to: *mut u8, from: *const u8, count: usize) -> u64 {
    use core::arch::x86_64::{__m256i, _mm256_storeu_si256};
    let mut at: *mut __m256i = to.cast();
    let see = |first, second| {
        // SAFETY: the first half of a block that is the caller's to write; the store asks for no alignment.
        unsafe { _mm256_storeu_si256(at, first) };
        // SAFETY: the second half.
        unsafe { _mm256_storeu_si256(at.wrapping_add(1), second) };
        at = at.wrapping_add(2);
    };
    // SAFETY: the caller's promise for `from`.
    unsafe { sum_each(from, count, see) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    // SAFETY: the slice has so many blocks.
    unsafe { sum_each(blocks.as_ptr().cast(), blocks.len(), |_, _| {}) }
}

/// Add `count` blocks from `from` on, each of which `see` sees in two halves.
///
/// # Safety
///
/// `from` is good for reading so many blocks.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sum_each(
    from: *const u8,
    count: usize,
    mut see: impl FnMut(core::arch::x86_64::__m256i, core::arch::x86_64::__m256i),
) -> u64 {
    use core::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_extract_epi64, _mm256_loadu_si256,
        _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srli_epi64,
    };
    let low = _mm256_set1_epi64x(0xffff_ffff);
    // Lanes of 64 bits, to which 2^32 words can be added.
    let mut sums = [_mm256_setzero_si256(); 4];
    let mut at: *const __m256i = from.cast();
    for _ in 0..count {
        // SAFETY: the first half of a block that the caller has; the load asks for no alignment.
        let first = unsafe { _mm256_loadu_si256(at) };
        // SAFETY: the second half.
        let second = unsafe { _mm256_loadu_si256(at.wrapping_add(1)) };
        at = at.wrapping_add(2);
        see(first, second);
        sums[0] = _mm256_add_epi64(sums[0], _mm256_and_si256(first, low));
        sums[1] = _mm256_add_epi64(sums[1], _mm256_srli_epi64::<32>(first));
        sums[2] = _mm256_add_epi64(sums[2], _mm256_and_si256(second, low));
        sums[3] = _mm256_add_epi64(sums[3], _mm256_srli_epi64::<32>(second));
    }
    let sum = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
    let lanes = [
        _mm256_extract_epi64::<0>(sum),
        _mm256_extract_epi64::<1>(sum),
        _mm256_extract_epi64::<2>(sum),
        _mm256_extract_epi64::<3>(sum),
    ];
    lanes.into_iter().fold(0, |sum, lane| sum + lane.cast_unsigned())
}

/// [`sum_blocks`] where a vector holds a whole block. A copy gains nothing by it: half of what it loads and stores crosses
/// lines then.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_blocks_wide(blocks: &[[u8; BLOCK]]) -> u64 {
    use core::arch::x86_64::{
        _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_reduce_add_epi64, _mm512_set1_epi64,
        _mm512_setzero_si512, _mm512_srli_epi64,
    };
    let low = _mm512_set1_epi64(0xffff_ffff);
    let mut sums = [_mm512_setzero_si512(); 2];
    for block in blocks {
        // SAFETY: the whole block; the load asks for no alignment.
        let block = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        sums[0] = _mm512_add_epi64(sums[0], _mm512_and_si512(block, low));
        sums[1] = _mm512_add_epi64(sums[1], _mm512_srli_epi64::<32>(block));
    }
    _mm512_reduce_add_epi64(_mm512_add_epi64(sums[0], sums[1])).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_added() {
        // Shows of many lengths and alignments, and of room that is longer or shorter, that the sum is that of what was copied,
        // and that nothing behind it was written.
        let bytes: Vec<u8> =
            (0..5000u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]).collect();
        for (from, len) in (0..9).flat_map(|from| (0..700).chain([1448, 4900]).map(move |len| (from, len))) {
            for room in [len, len + 100, len / 2] {
                let (all, mut to) = (&bytes[from..from + len], vec![0xa5; room + 1]);
                let (sum, done) = copy_front(&mut to[1..], all);
                assert!(done.is_multiple_of(BLOCK) && done <= len.min(room), "{len} into {room}");
                assert_eq!(
                    (&to[1..=done], sum),
                    (&all[..done], sum_front(&all[..done]).0 + behind(&all[..done]))
                );
                assert!(to[1 + done..].iter().all(|byte| *byte == 0xa5), "{len} into {room}");
            }
        }
        /// The words that [`sum_front`] leaves for others, where they are whole.
        fn behind(bytes: &[u8]) -> u64 {
            let rest = sum_front(bytes).1;
            rest.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()
        }
    }

    #[test]
    fn all_of_a_copy_is_added() {
        // Shows of every length up to some blocks that the copy is whole, that nothing behind it was written, and that its sum
        // is, folded to 16 bits, that of its words one by one; of nothing but ones too, where every addition carries.
        let random: Vec<u8> =
            (0..600u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]).collect();
        for bytes in [random, vec![0xff; 600]] {
            for (from, len) in (0..3).flat_map(|from| (0..590).map(move |len| (from, len))) {
                let (all, mut to) = (&bytes[from..from + len], vec![0xa5; len + 1]);
                // SAFETY: both have so many bytes, and are apart.
                let sum = unsafe { copy_all_at(to.as_mut_ptr(), all.as_ptr(), len) };
                assert_eq!((&to[..len], to[len]), (all, 0xa5));
                let words = all
                    .chunks(2)
                    .map(|pair| u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
                let slow: u64 = words.map(u64::from).sum();
                // Zero and 0xffff are the same number to RFC 1071.
                assert_eq!(sum % 0xffff, slow % 0xffff, "{len} bytes");
                assert_eq!(sum == 0, slow == 0, "{len} bytes");
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn both_widths_of_vectors_add_alike() {
        // Shows, where the processor has both, that each finds the same sum of any number of blocks, of nothing but ones too.
        if !(std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("avx512f")) {
            return;
        }
        let mut blocks = vec![[0xff; BLOCK]; 100];
        for (at, block) in (0u32..).zip(&mut blocks[..50]) {
            block
                .iter_mut()
                .zip(1u32..)
                .for_each(|(byte, n)| *byte = (at * 64 + n).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]);
        }
        for count in 0..blocks.len() {
            // SAFETY: the processor has AVX2.
            let narrow = unsafe { sum_blocks(&blocks[..count]) };
            // SAFETY: the processor has AVX-512F.
            let wide = unsafe { sum_blocks_wide(&blocks[..count]) };
            assert_eq!(narrow, wide, "{count} blocks");
        }
    }

    #[test]
    fn the_front_and_the_rest_are_the_whole() {
        // Shows of every length and alignment, of random bytes and of nothing but ones, that the sum is that of the words in
        // front, and that the rest begins behind them.
        let random = (0..5000u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]).collect();
        for bytes in [random, vec![0xff; 5000]] {
            for (from, len) in
                (0..9).flat_map(|from| (0..700).chain([1448, 1460, 4900]).map(move |len| (from, len)))
            {
                let all: &[u8] = &bytes[from..from + len];
                let (sum, rest) = sum_front(all);
                let front = &all[..all.len() - rest.len()];
                let words = front.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word)));
                assert_eq!((sum, front.len() % BLOCK), (words.sum(), 0));
                assert_eq!(rest, &all[front.len()..]);
                assert!(front.is_empty() || rest.len() < BLOCK);
            }
        }
    }
}
