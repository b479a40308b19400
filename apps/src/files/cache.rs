//! The chunk cache: immutable pieces of files in memory the port reads, bounded, least recently used goes first.
//! What a chunk's bytes are worth is judged in `thread.rs` before they come here.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use corelane::{Block, Region};

use super::{CHUNK_BYTES, Identity};

/// Bytes of a small block: a web page, so that many of them do not each hold a whole chunk's memory.
pub(crate) const SMALL_BYTES: usize = 16 * 1024;

/// How much memory the cache has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheOptions {
    /// Blocks of 256 KiB.
    pub large_blocks: usize,
    /// Blocks of 16 KiB.
    pub small_blocks: usize,
}

impl Default for CacheOptions {
    /// 48 MiB in large blocks and 8 MiB in small ones: fits 256 MiB of ordinary pages beside every pool.
    fn default() -> Self {
        CacheOptions { large_blocks: 192, small_blocks: 512 }
    }
}

/// One chunk of one version of a file.
pub(super) type ChunkKey = (Identity, u64);

#[derive(Debug)]
struct Class {
    region: Region,
    chunks: HashMap<ChunkKey, (Bytes, u64)>,
    /// By last use. Shape: one entry for each chunk.
    order: BTreeMap<u64, ChunkKey>,
}

impl Class {
    fn new(blocks: usize, block_bytes: usize) -> Class {
        Class { region: Region::new(blocks, block_bytes), chunks: HashMap::new(), order: BTreeMap::new() }
    }

    fn get(&mut self, key: &ChunkKey, clock: u64) -> Option<Bytes> {
        let (bytes, used) = self.chunks.get_mut(key)?;
        self.order.remove(used);
        self.order.insert(clock, *key);
        *used = clock;
        Some(bytes.clone())
    }

    /// A block, from whatever was used longest ago. `None` if lanes hold all of them.
    fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.region.take() {
                return Some(block);
            }
            let (_, key) = self.order.pop_first()?;
            self.chunks.remove(&key);
        }
    }
}

/// Every chunk in memory.
#[derive(Debug)]
pub(super) struct ChunkCache {
    small: Class,
    large: Class,
    clock: u64,
}

impl ChunkCache {
    pub fn new(options: CacheOptions) -> ChunkCache {
        ChunkCache {
            small: Class::new(options.small_blocks.max(1), SMALL_BYTES),
            large: Class::new(options.large_blocks.max(2), CHUNK_BYTES),
            clock: 0,
        }
    }

    fn class(&mut self, bytes: usize) -> &mut Class {
        if bytes <= SMALL_BYTES { &mut self.small } else { &mut self.large }
    }

    /// A chunk of `bytes` bytes, if it is here.
    pub fn get(&mut self, key: &ChunkKey, bytes: usize) -> Option<Bytes> {
        self.clock += 1;
        let clock = self.clock;
        self.class(bytes).get(key, clock)
    }

    /// Room for a chunk of `bytes` bytes.
    pub fn block(&mut self, bytes: usize) -> Option<Block> {
        self.class(bytes).block()
    }

    /// Keep a chunk.
    pub fn put(&mut self, key: ChunkKey, bytes: Bytes) {
        self.clock += 1;
        let clock = self.clock;
        let class = self.class(bytes.len());
        if let Some((_, used)) = class.chunks.insert(key, (bytes, clock)) {
            class.order.remove(&used);
        }
        class.order.insert(clock, key);
    }

    /// Reading ahead would not push out what others need: a quarter of the large blocks is free.
    pub fn has_spare(&self) -> bool {
        self.large.region.available() * 4 > self.large.region.blocks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(inode: u64) -> ChunkKey {
        (Identity { device: 1, inode, length: 10, modified: (0, 0) }, 0)
    }

    fn put(cache: &mut ChunkCache, inode: u64) -> Bytes {
        let mut block = cache.block(4).expect("something can go");
        assert!(block.extend(b"abcd"));
        let bytes = block.freeze();
        cache.put(key(inode), bytes.clone());
        bytes
    }

    #[test]
    fn the_least_recently_used_chunk_goes_first() {
        // Shows with room for two that the third pushes out the one that was not touched.
        let mut cache = ChunkCache::new(CacheOptions { large_blocks: 2, small_blocks: 2 });
        put(&mut cache, 1);
        put(&mut cache, 2);
        assert!(cache.get(&key(1), 4).is_some());
        put(&mut cache, 3);
        let here = [1, 2, 3].map(|inode| cache.get(&key(inode), 4).is_some());
        assert_eq!(here, [true, false, true]);
    }

    #[test]
    fn chunks_that_lanes_hold_are_never_overwritten() {
        // Shows that with every block held there is none to be had, and again one as soon as a holder lets go.
        let mut cache = ChunkCache::new(CacheOptions { large_blocks: 2, small_blocks: 2 });
        let held = [put(&mut cache, 1), put(&mut cache, 2)];
        assert!(cache.block(4).is_none());
        assert_eq!(held.each_ref().map(|bytes| &bytes[..]), [b"abcd", b"abcd"]);
        drop(held);
        assert!(cache.block(4).is_some());
    }

    #[test]
    fn putting_a_chunk_twice_keeps_one() {
        // Shows that the order of use has one entry for each chunk, however often it is put.
        let mut cache = ChunkCache::new(CacheOptions { large_blocks: 2, small_blocks: 4 });
        put(&mut cache, 1);
        put(&mut cache, 1);
        assert_eq!(
            (cache.small.order.len(), cache.small.chunks.len(), cache.small.region.available()),
            (1, 1, 3)
        );
    }
}
