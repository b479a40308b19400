//! SYN cookies (RFC 4987 section 3.6): what a half-open connection would remember, put into the numbers that its SYN-ACK
//! carries and the peer gives back. When they are sent is a listener's to decide.
//!
//! The sequence number is a keyed hash of the two ends, the peer's number and the time, plus the index of the peer's MSS
//! in a short table. The six low bits of the timestamp say the rest: window scale, SACK and ECN. Peers without timestamps
//! do without these.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::isn::{Secret, Tuple};
use super::listen::HalfOpen;
use super::send::NONE;
use super::ticks::Now;
use crate::config::TcpConfig;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};

/// How long a cookie is made alike: it is good for this long at least, and twice as long at most.
const EPOCH_NS: u64 = 64_000_000_000;

/// What a peer's MSS is rounded down to, so that no segment is larger than it takes: the least that is believed, a modem's,
/// the defaults of both versions, that of tunnels, and those of Ethernet's MTU and of 9,000 bytes.
const MSS_TABLE: [u16; 8] = [48, 216, 536, 1220, 1380, 1440, 1460, 8940];

/// Low bits of a timestamp that carry options.
const OPTION_BITS: u32 = (1 << 6) - 1;
/// The peer offered no window scale: none is so large.
const NO_SCALE: u32 = 15;
const SACK_BIT: u32 = 1 << 4;
const ECN_BIT: u32 = 1 << 5;

/// Whether cookies are about: an acknowledgement is taken for one only while some may be. And which have done their work:
/// a segment that comes again after its connection has ended must not open another, with the same bytes.
#[derive(Debug, Default)]
pub struct Cookies {
    /// The epoch behind the one in which one was last sent, by any lane; zero: never.
    next: u64,
    /// Cookies that have opened a connection: the keyed hash of its ends, and the cookie, which is one itself.
    spent: HashTable<(u32, SeqNum)>,
    /// The same with the epoch of each, the oldest first.
    order: VecDeque<(u64, (u32, SeqNum))>,
}

/// Spent cookies that are remembered. What a flood invents is never spent, so they are as many as peers that connected in
/// the last two epochs of it.
const SPENT_MAX: usize = 65_536;

impl Cookies {
    /// This one opens a connection now, whose ends have this hash.
    pub fn spend(&mut self, ends: u32, iss: SeqNum, now: Instant) {
        let (epoch, spent) = (epoch_of(now), (ends, iss));
        while let Some((then, oldest)) = self.order.front()
            && (then + 1 < epoch || self.order.len() >= SPENT_MAX)
        {
            if let Ok(entry) = self.spent.find_entry(place_of(oldest), |known| known == oldest) {
                entry.remove();
            }
            self.order.pop_front();
        }
        if !self.is_spent(ends, iss) {
            self.spent.insert_unique(place_of(&spent), spent, place_of);
            self.order.push_back((epoch, spent));
        }
    }

    /// This one has opened a connection before.
    pub fn is_spent(&self, ends: u32, iss: SeqNum) -> bool {
        self.spent.find(place_of(&(ends, iss)), |known| *known == (ends, iss)).is_some()
    }

    /// One is sent now. True if it is the first of its epoch, so that other lanes are to hear of it.
    pub fn note(&mut self, now: Instant) -> bool {
        let next = epoch_of(now) + 1;
        core::mem::replace(&mut self.next, next) != next
    }

    /// Some that were sent may still come back.
    pub fn are_about(&self, now: Instant) -> bool {
        self.next > 0 && epoch_of(now) <= self.next
    }
}

/// Where a spent cookie stands in the table, whose buckets go by the low bits: both words are hashes that nobody can reckon
/// with, and one peer may spend many cookies on one pair of ends.
fn place_of((ends, iss): &(u32, SeqNum)) -> u64 {
    u64::from(*ends) << 32 | u64::from(*ends ^ iss.0)
}

/// Epochs are counted from one: there is always one before.
fn epoch_of(now: Instant) -> u64 {
    now.0 / EPOCH_NS + 1
}

/// The sequence numbers that the SYN-ACK for a SYN with this number and MSS may have: of this epoch, and of the one before.
pub fn numbers(secret: &Secret, tuple: &Tuple, irs: SeqNum, mss: u16, now: Instant) -> [SeqNum; 2] {
    let index = MSS_TABLE.partition_point(|known| *known <= mss).saturating_sub(1);
    let epoch = epoch_of(now);
    [epoch, epoch - 1]
        .map(|epoch| SeqNum(secret.cookie(tuple, irs, epoch)) + u32::try_from(index).unwrap_or(0))
}

/// The peer's MSS, if this is a number that we sent it, in this epoch or the one before.
//= https://www.rfc-editor.org/rfc/rfc4987#section-3.6
//# to prevent replay, some time-dependent random bits must be
//# embedded in the sequence number.
fn mss_of(secret: &Secret, tuple: &Tuple, irs: SeqNum, iss: SeqNum, now: Instant) -> Option<u16> {
    let epoch = epoch_of(now);
    [epoch, epoch - 1].into_iter().find_map(|epoch| {
        let index = iss.since(SeqNum(secret.cookie(tuple, irs, epoch)));
        MSS_TABLE.get(index as usize).copied()
    })
}

/// The SYN-ACK that carries a cookie; `half` is what nobody will remember, with the cookie for its number.
pub fn syn_ack(half: &HalfOpen, config: &TcpConfig, now: &Now) -> Segment {
    let mut half = *half;
    if half.offer.timestamp.is_none() || !config.timestamps {
        // Nothing would tell us later what was agreed.
        half.ecn = false;
        half.offer.window_scale = None;
        half.offer.sack_permitted = false;
    }
    let mut segment = half.syn_ack(config, now);
    if let Some((value, _)) = &mut segment.options.timestamps {
        let offered = segment.options.window_scale.and(half.offer.window_scale);
        let mut bits = offered.map_or(NO_SCALE, |scale| u32::from(scale.min(14)));
        bits |= if segment.options.sack_permitted { SACK_BIT } else { 0 };
        bits |= if half.ecn { ECN_BIT } else { 0 };
        *value = stamp(*value, bits);
    }
    segment
}

/// The latest timestamp not after `clock` with these low bits: it never runs backwards, and what the connection says later
/// is never before it.
fn stamp(clock: u32, bits: u32) -> u32 {
    clock.wrapping_sub(clock.wrapping_sub(bits) & OPTION_BITS)
}

/// What a half-open connection would have remembered, if this segment completes a handshake by cookie. Its windows, its
/// listener and its MSS are the caller's to fill in, as they are for a SYN.
pub fn half_open(
    secret: &Secret,
    tuple: &Tuple,
    segment: &Segment,
    config: &TcpConfig,
    now: &Now,
) -> Option<HalfOpen> {
    let completes = segment.flags.contains(Flags::ACK) && !segment.flags.intersects(Flags::SYN | Flags::RST);
    if !completes {
        return None;
    }
    let (irs, iss) = (segment.seq - 1, segment.ack - 1);
    let mss = mss_of(secret, tuple, irs, iss, now.instant)?;
    let (_, ts_offset) = secret.beginnings(tuple, now.instant);
    let stamps = segment.options.timestamps.filter(|_| config.timestamps);
    let mut syn = Segment::new(tuple.remote.port(), tuple.local.port(), irs, SeqNum(0), Flags::SYN);
    syn.options = Options { mss: Some(mss), timestamps: stamps, ..Options::NONE };
    let mut half = super::listen::half_open(*tuple, NONE, &syn, iss, ts_offset, now);
    half.unmeasured = true;
    if let Some((_, echo)) = stamps {
        let (bits, scale) = (echo & OPTION_BITS, echo & NO_SCALE);
        half.offer.window_scale = u8::try_from(scale).ok().filter(|_| scale != NO_SCALE);
        half.offer.sack_permitted = bits & SACK_BIT != 0;
        half.ecn = bits & ECN_BIT != 0;
        let elapsed_ms = now.millis.wrapping_add(ts_offset).wrapping_sub(echo);
        if u64::from(elapsed_ms) * 1_000_000 < 2 * EPOCH_NS {
            // Rounded up by what the bits took: up to 63 ms.
            half.sent_us = now.micros.wrapping_sub(elapsed_ms * 1_000);
            half.unmeasured = false;
        }
    }
    Some(half)
}

#[cfg(test)]
mod tests;
