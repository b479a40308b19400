//! What crossed a wire, as one number: equal numbers mean equal frames at equal times. The wire itself is `world`'s.

use core::fmt::Write as _;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drivers::{Frame, Queue};

use crate::wire::tcp::Flags;
use crate::wire::{Checksum, EtherType, Protocol, Verify, arp, ethernet, ipv4, ipv6, tcp};

/// A running hash of frames, with their times and directions. Clones are the same trace.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    hash: u64,
    frames: u64,
    lines: VecDeque<String>,
    lines_max: usize,
}

/// Which way a frame went, as seen from a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    In,
    Out,
}

impl Trace {
    /// A trace that keeps no text.
    pub fn new() -> Trace {
        Trace::default()
    }

    /// A trace that keeps the text of the last `lines_max` frames, for a person who looks for a fault.
    pub fn with_text(lines_max: usize) -> Trace {
        Trace(Arc::new(Mutex::new(State { lines_max, ..State::default() })))
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.state().hash
    }

    /// Frames so far, each counted at every end that it touched.
    pub fn frames(&self) -> u64 {
        self.state().frames
    }

    /// The last frames, a line each: time in µs, host, direction, what it was.
    pub fn text(&self) -> String {
        self.state().lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a frame will count as, once it is known that it went.
    fn digest(&self, frame: &Frame) -> Digest {
        // Where a frame is cut into segments is no matter of the wire, so its bytes are hashed as one run.
        let hash = frame.segments().flatten().fold(BASIS, |hash, byte| mixed_byte(hash, *byte));
        let text = if self.state().lines_max > 0 { describe(frame) } else { String::new() };
        Digest { hash, text }
    }

    fn add(&self, now: u64, host: u8, direction: Direction, digest: Digest) {
        let mut state = self.state();
        let hash = mixed(state.hash, now);
        state.hash = mixed(mixed(hash, u64::from(host) << 1 | direction as u64), digest.hash);
        state.frames += 1;
        if state.lines_max > 0 {
            if state.lines.len() == state.lines_max {
                state.lines.pop_front();
            }
            let arrow = if direction == Direction::Out { ">" } else { "<" };
            state.lines.push_back(format!("{:>10} {host}{arrow} {}", now / 1_000, digest.text));
        }
    }
}

struct Digest {
    hash: u64,
    text: String,
}

/// FNV-1a's basis.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a's prime.
const PRIME: u64 = 0x0100_0000_01b3;

fn mixed_byte(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(PRIME)
}

fn mixed(hash: u64, word: u64) -> u64 {
    word.to_le_bytes().iter().fold(hash, |hash, byte| mixed_byte(hash, *byte))
}

/// One frame in words.
fn describe(frame: &Frame) -> String {
    let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
    let Ok((link, at)) = ethernet::parse(&bytes) else { return format!("{} bytes", bytes.len()) };
    if let (EtherType::ARP, Ok(arp)) = (link.ether_type, arp::parse(bytes.get(at..).unwrap_or(&[]))) {
        return format!("arp {:?} {} for {}", arp.operation, arp.sender, arp.target);
    }
    if link.ether_type == EtherType::IPV6
        && let Some(text) = bytes.get(at..).and_then(describe_ipv6)
    {
        return text;
    }
    if link.ether_type != EtherType::IPV4 {
        return format!("type {:04x}, {} bytes", link.ether_type.0, bytes.len());
    }
    let packet = bytes.get(at..).unwrap_or(&[]);
    let Ok((ip, payload)) = ipv4::parse(packet, true) else { return "bad ip".to_owned() };
    let payload = packet.get(payload).unwrap_or(&[]);
    if ip.protocol != Protocol::TCP || ip.is_fragment() {
        return format!("ip {}, {} bytes", ip.protocol.0, payload.len());
    }
    let sum = Checksum::pseudo_ipv4(ip.source, ip.destination, 6, u16::try_from(payload.len()).unwrap_or(0));
    match tcp::parse(payload, Verify::Sum(sum)) {
        Ok((segment, header)) => describe_segment(&segment, payload.len() - header),
        Err(reason) => format!("tcp: {}", reason.name()),
    }
}

/// A packet of IPv6, if it is a whole one of TCP.
fn describe_ipv6(packet: &[u8]) -> Option<String> {
    let (ip, at) = ipv6::parse(packet).ok()?;
    let payload = packet.get(at).filter(|_| ip.next_header == Protocol::TCP)?;
    let len = u16::try_from(payload.len()).ok()?;
    let sum = Checksum::pseudo_ipv6(ip.source, ip.destination, Protocol::TCP.0, len.into());
    Some(match tcp::parse(payload, Verify::Sum(sum)) {
        Ok((segment, header)) => describe_segment(&segment, payload.len() - header),
        Err(reason) => format!("tcp: {}", reason.name()),
    })
}

/// One segment in words.
pub fn describe_segment(segment: &tcp::Segment, len: usize) -> String {
    let mut text = String::new();
    let names = [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::ACK, '.'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'C'),
    ];
    for (flag, name) in names {
        if segment.flags.contains(flag) {
            text.push(name);
        }
    }
    let end = segment.seq + u32::try_from(len).unwrap_or(0);
    let _ = write!(text, " {}:{end}({len})", segment.seq);
    if segment.flags.contains(Flags::ACK) {
        let _ = write!(text, " ack {}", segment.ack);
    }
    let _ = write!(text, " win {}", segment.window);
    for block in segment.options.sack.as_slice() {
        let _ = write!(text, " sack {}:{}", block.left, block.right);
    }
    text
}

/// A queue whose frames are traced: as its host sends them, and as they arrive there.
pub struct Traced {
    inner: Box<dyn Queue>,
    host: u8,
    trace: Trace,
}

impl Traced {
    /// Trace `inner`, the queue of host number `host`.
    pub fn new(inner: Box<dyn Queue>, host: u8, trace: Trace) -> Traced {
        Traced { inner, host, trace }
    }
}

impl Queue for Traced {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let before = frames.len();
        let count = self.inner.receive(now, frames, max);
        for frame in frames.get(before..).unwrap_or(&[]) {
            self.trace.add(now, self.host, Direction::In, self.trace.digest(frame));
        }
        count
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        // What is not taken comes again, and counts when it is.
        let digests: Vec<_> = frames.iter().map(|frame| self.trace.digest(frame)).collect();
        let taken = self.inner.transmit(now, frames);
        for digest in digests.into_iter().take(taken) {
            self.trace.add(now, self.host, Direction::Out, digest);
        }
        taken
    }

    fn next_event(&self) -> Option<u64> {
        self.inner.next_event()
    }

    fn transmit_pool(&self) -> Option<(usize, usize)> {
        self.inner.transmit_pool()
    }

    fn reclaim(&mut self) {
        self.inner.reclaim();
    }
}
