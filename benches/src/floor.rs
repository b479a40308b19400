//! The floor: what no engine can do less of for a request. Each frame is parsed, hashed and looked up, one line of its flow's
//! state changes, and the answer's header is written over the request's; in passes over a burst, as the engine does it.
//! There is no timer, no application, nothing is kept, and nothing can go wrong.

use core::net::IpAddr;

use drivers::Frame;
use stack::flow::FlowTable;
use stack::tcp::isn::Secret;
use stack::wire::tcp::Flags;

use crate::far::{Far, Say};
use crate::rig::SERVER;

/// What the floor keeps of a flow.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Line {
    addresses: u64,
    ports: u32,
    rcv_nxt: u32,
    snd_nxt: u32,
    ts_recent: u32,
}

/// Bytes of the headers: Ethernet, IPv4, and TCP with timestamps.
const HEADERS: usize = 66;
/// Bytes that come and go back.
const TEXT: u32 = 64;

/// Requests and their answers on so many flows.
pub struct Floor {
    secret: Secret,
    table: FlowTable,
    lines: Vec<Line>,
    far: Far,
    frames: Vec<Frame>,
    /// Hash and slot of each frame of the burst.
    found: Vec<(u32, u32)>,
    /// Flows of the burst.
    asked: Vec<u32>,
    random: u64,
}

impl Floor {
    /// So many flows, none of which has said anything.
    ///
    /// Panics: if they are more than fit a word.
    pub fn new(flows: usize) -> Floor {
        let secret = Secret::new([1, 2, 0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9]);
        let (far, mut table) = (Far::new(flows, true), FlowTable::new(flows, 0));
        let lines = (0..).zip(&far.peers).map(|(flow, peer)| {
            let remote = Far::address(flow);
            let IpAddr::V4(ip) = remote.ip() else { unreachable!("far ends have addresses of IPv4") };
            let addresses = u64::from(ip.to_bits()) << 32 | u64::from(SERVER.0.to_bits());
            let ports = u32::from(remote.port()) << 16 | u32::from(SERVER.1);
            assert!(
                table.insert(secret.flow_hash(addresses, ports), flow),
                "the table has room for every flow"
            );
            Line { addresses, ports, rcv_nxt: peer.snd_nxt, snd_nxt: peer.rcv_nxt, ts_recent: 0 }
        });
        let lines = lines.collect();
        Floor {
            secret,
            table,
            lines,
            far,
            frames: Vec::new(),
            found: Vec::new(),
            asked: Vec::new(),
            random: 0x1234_5678_9abc_def1,
        }
    }

    /// Requests of as many flows at random.
    pub fn prepare(&mut self, burst: usize) {
        for _ in 0..burst {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let flow = u32::try_from(self.random % self.lines.len() as u64).unwrap_or(0);
            let say = Say { flags: Flags::ACK | Flags::PSH, ahead: 0, payload: &[0x2a; TEXT as usize] };
            self.frames.push(self.far.say(flow, &say));
        }
    }

    /// Answer them.
    #[inline(never)]
    pub fn pass(&mut self) {
        self.found.clear();
        for at in 0..self.frames.len() {
            if let Some(ahead) = self.frames.get(at + 4) {
                ahead.prefetch();
            }
            let hash = ends(&self.frames[at])
                .map_or(0, |(addresses, ports)| self.secret.flow_hash(addresses, ports));
            self.table.prefetch(hash);
            self.found.push((hash, u32::MAX));
        }
        for (hash, slot) in &mut self.found {
            if let Some(found) = self.table.first(*hash)
                && let Some(line) = self.lines.get(found as usize)
            {
                *slot = found;
                drivers::prefetch(line);
            }
        }
        for (frame, &(hash, slot)) in self.frames.iter_mut().zip(&self.found) {
            let Some(ends) = ends(frame) else { continue };
            let is_its = |slot: &u32| {
                self.lines.get(*slot as usize).is_some_and(|line| (line.addresses, line.ports) == ends)
            };
            let slot = if is_its(&slot) { Some(slot) } else { self.table.candidates(hash).find(is_its) };
            let line = slot.and_then(|slot| self.lines.get_mut(slot as usize));
            if let (Some(line), Some(head)) =
                (line, frame.bytes_mut().and_then(|bytes| bytes.first_chunk_mut()))
            {
                answer(line, head);
            }
        }
    }

    /// Every request of the burst was answered, each by what its far end expects.
    ///
    /// Panics: if not.
    pub fn check(&mut self) {
        for frame in &self.frames {
            let heard = self.far.hear(frame).expect("an answer");
            assert_eq!(heard.len, TEXT, "as many bytes as came");
            self.far.take(&heard);
            // Of what a flow has asked more than once in a burst the last answer tells.
            self.asked.push(heard.flow);
        }
        self.frames.clear();
        let far = &self.far;
        let unanswered = self.asked.drain(..).filter(|flow| !far.is_acknowledged(*flow)).count();
        assert_eq!(unanswered, 0, "every request is acknowledged");
    }
}

fn word(head: &[u8; HEADERS], at: usize) -> u32 {
    u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// The addresses and the ports of a frame that has the common shape.
#[inline]
fn ends(frame: &Frame) -> Option<(u64, u32)> {
    let head = frame.bytes().first_chunk::<HEADERS>()?;
    let common =
        word(head, 12) & 0xffff_ff00 == 0x0800_4500 && head[23] == 6 && word(head, 54) == 0x0101_080a;
    common.then(|| (u64::from(word(head, 26)) << 32 | u64::from(word(head, 30)), word(head, 34)))
}

/// Take the request in, and make its headers the answer's.
#[inline]
fn answer(line: &mut Line, head: &mut [u8; HEADERS]) {
    if word(head, 38) != line.rcv_nxt {
        return;
    }
    line.rcv_nxt = line.rcv_nxt.wrapping_add(TEXT);
    line.ts_recent = word(head, 58);
    let (front, rest) = head.split_at_mut(6);
    front.swap_with_slice(&mut rest[..6]);
    let (source, destination) = (word(head, 26), word(head, 30));
    let ports = word(head, 34).rotate_left(16);
    let seq = line.snd_nxt;
    line.snd_nxt = line.snd_nxt.wrapping_add(TEXT);
    let words = [
        (26, destination),
        (30, source),
        (34, ports),
        (38, seq),
        (42, line.rcv_nxt),
        (58, line.ts_recent.wrapping_add(1)),
        (62, line.ts_recent),
    ];
    for (at, word) in words {
        head[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_answers() {
        // Shows that what is measured as the floor answers each request of three rounds on few flows.
        let mut floor = Floor::new(5);
        for _ in 0..3 {
            floor.prepare(32);
            floor.pass();
            floor.check();
        }
    }
}
