//! Several queue pairs over one, for tests of lanes without a NIC: frames go to queues as told. What really spreads
//! them is a NIC (`steering.rs`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::{Frame, Transport};
use crate::port::Queue;
use crate::steering::RssTable;

/// Which queue a frame is given to.
#[derive(Clone, Debug)]
pub enum Spread {
    /// Any, by the dice: seeded, so that the same frames go the same way again.
    Random(u64),
    /// As a NIC would. The hash is noted in the frame. What is not hashed goes to the first queue.
    Rss(Arc<RssTable>),
}

/// Frames that wait in all queues together before more are dropped: each had one descriptor of a usual ring.
const WAITING_MAX: usize = 16_384;

/// Frames taken from the queue below at a time.
const BURST: usize = 32;

struct Shared {
    inner: Box<dyn Queue>,
    waiting: Vec<VecDeque<Frame>>,
    spread: Spread,
    burst: Vec<Frame>,
}

/// One of the queue pairs.
struct SpreadEnd {
    shared: Arc<Mutex<Shared>>,
    index: usize,
}

/// `count` queue pairs over `inner`.
pub fn spread(inner: Box<dyn Queue>, count: u16, how: Spread) -> Vec<Box<dyn Queue>> {
    let waiting = (0..count).map(|_| VecDeque::new()).collect();
    let shared = Arc::new(Mutex::new(Shared { inner, waiting, spread: how, burst: Vec::new() }));
    let end = |index| Box::new(SpreadEnd { shared: Arc::clone(&shared), index: usize::from(index) });
    (0..count).map(|index| end(index) as Box<dyn Queue>).collect()
}

impl Shared {
    fn deal(&mut self, now: u64) {
        let mut burst = core::mem::take(&mut self.burst);
        while self.inner.receive(now, &mut burst, BURST) > 0 {
            for mut frame in burst.drain(..) {
                let queue = self.choose(&mut frame);
                if self.waiting.iter().map(VecDeque::len).sum::<usize>() < WAITING_MAX {
                    self.waiting[queue].push_back(frame);
                }
            }
        }
        self.burst = burst;
    }

    fn choose(&mut self, frame: &mut Frame) -> usize {
        let count = self.waiting.len();
        match &mut self.spread {
            Spread::Random(seed) => {
                // Steele, Lea and Flood's SplitMix64: one addition a step, and good enough for dice.
                *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (*seed ^ *seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                usize::try_from((mixed >> 32) % count as u64).unwrap_or(0)
            }
            Spread::Rss(table) => {
                let Some(hash) = hash(table, frame.bytes()) else { return 0 };
                frame.set_hash(hash);
                usize::from(table.queue(hash)) % count
            }
        }
    }
}

/// The hash of a frame that holds a whole datagram of TCP or UDP, with or without a VLAN tag; over IPv6 one without
/// extension headers, as NICs have it.
fn hash(table: &RssTable, bytes: &[u8]) -> Option<u32> {
    let link = if bytes.get(12..14)? == [0x81, 0] { 18 } else { 14 };
    let ip = bytes.get(link..)?;
    if bytes.get(link - 2..link)? == [0x86, 0xdd] {
        let transport = transport(*ip.get(6)?)?;
        let end = |address: usize, port: usize| {
            let address: [u8; 16] = ip.get(address..address + 16)?.try_into().ok()?;
            let port: [u8; 2] = ip.get(40 + port..42 + port)?.try_into().ok()?;
            Some((address, u16::from_be_bytes(port)).into())
        };
        return table.hash(transport, end(8, 0)?, end(24, 2)?);
    }
    let (first, fragment) = (*ip.first()?, ip.get(6..8)?);
    let whole = fragment[0] & 0x3f == 0 && fragment[1] == 0;
    if bytes.get(link - 2..link)? != [8, 0] || first >> 4 != 4 || !whole {
        return None;
    }
    let transport = transport(*ip.get(9)?)?;
    let ports = ip.get(usize::from(first & 15) * 4..)?;
    let end = |address: usize, port: usize| {
        let address: [u8; 4] = ip.get(address..address + 4)?.try_into().ok()?;
        let port: [u8; 2] = ports.get(port..port + 2)?.try_into().ok()?;
        Some((address, u16::from_be_bytes(port)).into())
    };
    table.hash(transport, end(12, 0)?, end(16, 2)?)
}

fn transport(protocol: u8) -> Option<Transport> {
    match protocol {
        6 => Some(Transport::Tcp),
        17 => Some(Transport::Udp),
        _ => None,
    }
}

impl SpreadEnd {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue for SpreadEnd {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut shared = self.shared();
        shared.deal(now);
        let waiting = &mut shared.waiting[self.index];
        let count = max.min(waiting.len());
        frames.extend(waiting.drain(..count));
        count
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        self.shared().inner.transmit(now, frames)
    }

    fn next_event(&self) -> Option<u64> {
        let shared = self.shared();
        if shared.waiting[self.index].is_empty() { shared.inner.next_event() } else { Some(0) }
    }

    fn transmit_pool(&self) -> Option<(usize, usize)> {
        self.shared().inner.transmit_pool()
    }

    fn reclaim(&mut self) {
        self.shared().inner.reclaim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use crate::soft::pipe;
    use crate::steering::{RssTypes, symmetric_key};

    /// An Ethernet frame with the headers of a TCP segment.
    fn segment(pool: &Pool, port: u16, fragment: u8) -> Frame {
        let mut bytes = [0; 54];
        bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
        bytes[20] = fragment;
        bytes[23] = 6;
        bytes[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        bytes[34..36].copy_from_slice(&port.to_be_bytes());
        let mut frame = pool.take().expect("a frame");
        frame.append(54).expect("room").copy_from_slice(&bytes);
        frame
    }

    fn counts(how: Spread, fragment: u8) -> (Vec<usize>, Vec<Frame>) {
        let (mut near, far) = pipe(64, 1500);
        let pool = Pool::heap(64, 256);
        near.transmit(0, &mut (1..=64).map(|port| segment(&pool, port, fragment)).collect());
        let mut ends = spread(Box::new(far), 2, how);
        let mut frames = Vec::new();
        assert_eq!(ends[1].next_event(), Some(0));
        let counts = ends.iter_mut().map(|end| end.receive(0, &mut frames, 64)).collect();
        (counts, frames)
    }

    #[test]
    fn dice_give_each_queue_its_share() {
        // Shows that nothing is lost, that neither queue starves, and that a seed repeats itself.
        let (first, _) = counts(Spread::Random(1), 0);
        assert!(first[0] > 16 && first[1] > 16 && first[0] + first[1] == 64, "{first:?}");
        assert_eq!(first, counts(Spread::Random(1), 0).0);
        assert_ne!(first, counts(Spread::Random(2), 0).0);
    }

    #[test]
    fn frames_go_where_a_nic_would_send_them_and_say_why() {
        // Shows the table's queue for segments, with their hash, and the first queue for fragments.
        let types = RssTypes { tcp_ipv4: true, ..RssTypes::default() };
        let table = Arc::new(RssTable::new(symmetric_key(40), vec![0, 1], types).expect("a good table"));
        let (spread, frames) = counts(Spread::Rss(Arc::clone(&table)), 0);
        assert!(spread[0] > 0 && spread[1] > 0 && spread[0] + spread[1] == 64, "{spread:?}");
        let queues: Vec<_> = frames.iter().map(|frame| frame.hash().map(|hash| table.queue(hash))).collect();
        assert!(queues[..spread[0]].iter().all(|queue| *queue == Some(0)), "{queues:?}");
        assert!(queues[spread[0]..].iter().all(|queue| *queue == Some(1)), "{queues:?}");
        assert_eq!(counts(Spread::Rss(table), 0x20).0, [64, 0]);
    }
}
