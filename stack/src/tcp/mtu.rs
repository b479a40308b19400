//! Which size of segments the path takes, as TCP finds out by itself (RFC 4821): the size falls when full segments go
//! unanswered again and again, and rises by probes. What routers tell, and what destinations share, is the engine's.
//!
//! A size is what `Hot::mss` is: a segment's payload and options. The window is counted in bytes: a larger size leaves
//! it as it is, a smaller one makes it smaller.

use super::input::MSS_MIN;
use super::send::mark;
use super::state::{Connection, State};
use crate::config::MtuProbing;
use crate::wire::tcp::SeqNum;

/// Bits of `Hot::mtu`.
pub mod bit {
    /// A larger size than the one in use may pass.
    pub const SEARCHING: u8 = 1 << 0;
    /// A probe is in flight.
    pub const PROBE: u8 = 1 << 1;
    /// The size fell for silence, and nothing of the smaller one was acknowledged yet.
    pub const FELL: u8 = 1 << 2;
    /// What passes was found, for now: others are to hear of it.
    pub const TELL: u8 = 1 << 3;
    /// Routers may cut the connection's packets.
    pub const FRAGMENT: u8 = 1 << 4;
}

/// What is known of the sizes that pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Search {
    /// The most that the interface and the peer take; zero before the size in use was ever less.
    pub most: u16,
    /// search_high: nothing larger is believed to pass.
    high: u16,
    /// Size of the probe in flight.
    probe: u16,
    /// Its first number, and the first behind it.
    probe_start: SeqNum,
    /// See `probe_start`.
    probe_end: SeqNum,
    /// No probe goes before then. Units: milliseconds, wrapping.
    wait_until_ms: u32,
}

impl Search {
    /// Of a connection that begins.
    pub const NEW: Search =
        Search { most: 0, high: 0, probe: 0, probe_start: SeqNum(0), probe_end: SeqNum(0), wait_until_ms: 0 };

    /// The peer takes no larger segments.
    pub fn bound(&mut self, most: u16) {
        self.most = self.most.min(most);
        self.high = self.high.min(most);
    }

    /// A probe has shown that the most does not pass. Silence alone shows nothing: the peer may have been away.
    pub fn is_proven(&self) -> bool {
        self.high < self.most
    }

    /// The same on a clock that runs `millis` ahead of this one.
    pub fn moved(mut self, millis: u32) -> Search {
        self.wait_until_ms = self.wait_until_ms.wrapping_add(millis);
        self
    }
}

/// Timeouts in a row that stand for a full stop: R1 of RFC 1122, which is three at least.
//= https://www.rfc-editor.org/rfc/rfc4821#section-7.7
//# For TCP, this occurs when the R1 timeout threshold described by
//# [RFC1122] expires.
const FULL_STOP_TIMEOUTS: u8 = 3;

/// Sizes this near to each other are not worth a probe: Linux's `tcp_probe_threshold`. Units: bytes.
const NEAR_BYTES: u16 = 8;

/// How long a search that has ended stays so: the path may have become wider.
//= https://www.rfc-editor.org/rfc/rfc4821#section-7.3
//# MUST NOT be less than 5 minutes and is recommended to be 10 minutes,
const AGAIN_MS: u32 = 600_000;

/// Segments that must follow a probe at once, so that acknowledgements tell of its loss and not a timer.
const SEGMENTS_BEHIND: u32 = 4;

/// The connection is established: with probing from the start, it begins with the size that passes everywhere.
pub fn begin(connection: &mut Connection) {
    if connection.shared.config.mtu_probing == MtuProbing::Always {
        let most = connection.hot.mss;
        fall(connection, base(connection).min(most));
        connection.rare_mut().search.wait_until_ms = connection.shared.now.millis;
    }
}

/// Use a size no larger than this from here on. True if it is smaller than before.
pub fn fall(connection: &mut Connection, size: u16) -> bool {
    let before = connection.hot.mss;
    if size >= before {
        return false;
    }
    let search = &mut connection.rare_mut().search;
    if search.most == 0 {
        (search.most, search.high) = (before, before);
    }
    if connection.shared.config.mtu_probing != MtuProbing::Off {
        connection.hot.mtu |= bit::SEARCHING;
    }
    connection.hot.mtu &= !bit::PROBE;
    let old = connection.send_mss();
    connection.hot.mss = size.max(MSS_MIN);
    //= https://www.rfc-editor.org/rfc/rfc4821#section-4
    //# Whenever the MTU is reduced (e.g., when processing ICMP PTB
    //# messages), the congestion state variable SHOULD be rescaled so as not
    //# to raise the window size in packets.
    //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
    //# Specifically, cwnd SHOULD be reduced by the ratio of the old
    //# segment size to the new segment size.
    let cwnd = u64::from(connection.hot.cwnd) * u64::from(connection.send_mss()) / u64::from(old);
    connection.hot.cwnd = u32::try_from(cwnd).unwrap_or(u32::MAX).max(connection.send_mss());
    true
}

/// A router, or what is known of the destination, says that nothing larger than this passes; for a while that is so.
/// True if it is smaller than the size in use.
pub fn told(connection: &mut Connection, size: u16) -> bool {
    let fell = fall(connection, size);
    if fell {
        let (high, millis) = (connection.hot.mss, connection.shared.now.millis);
        let search = &mut connection.rare_mut().search;
        (search.high, search.wait_until_ms) = (high, millis.wrapping_add(AGAIN_MS));
    }
    fell
}

/// A router says so of a packet of this very connection: then a probe that is larger has failed for that.
//= https://www.rfc-editor.org/rfc/rfc4821#section-7.6.2
//# If an ICMP PTB message is received matching the probe packet, then
//# search_high and eff_pmtu MAY be set from the MTU value indicated in
//# the message.
pub fn asked(connection: &mut Connection, size: u16) -> bool {
    if connection.hot.mtu & bit::PROBE != 0 && size < connection.rare().search.probe {
        connection.rare_mut().search.probe = size.saturating_add(1);
    }
    told(connection, size)
}

/// Another connection has found that everything passes: no need to wait until that is tried here.
pub fn may_be_wider(connection: &mut Connection) {
    if connection.hot.mtu & (bit::SEARCHING | bit::PROBE) == bit::SEARCHING {
        let millis = connection.shared.now.millis;
        let search = &mut connection.rare_mut().search;
        (search.high, search.wait_until_ms) = (search.most, millis);
    }
}

/// The size that is expected to pass everywhere.
fn base(connection: &Connection) -> u16 {
    if connection.hot.is_ipv6() { SIZE_IPV6 } else { connection.shared.config.base_mss }
}

/// What every link of IPv6 takes beside the headers: 1,280 bytes less 60. Nothing smaller passes where this does not.
const SIZE_IPV6: u16 = 1_220;

/// The retransmission timer has run out: if full segments have gone unanswered as often as that, try smaller ones.
//= https://www.rfc-editor.org/rfc/rfc4821#section-7.7
//# Upon additional
//# successive timeouts, search_low and eff_pmtu SHOULD be halved, with a
//# lower bound of 68 bytes for IPv4 and 1280 bytes for IPv6.
pub fn on_timeout(connection: &mut Connection) {
    on_probe_timeout(connection);
    let off = connection.shared.config.mtu_probing == MtuProbing::Off;
    if off || connection.cold.timeouts < FULL_STOP_TIMEOUTS || connection.hot.state < State::Established {
        return;
    }
    let (size, base) = (connection.hot.mss, base(connection));
    let smaller = if size > base { base } else { size / 2 };
    let least = if connection.hot.is_ipv6() { SIZE_IPV6 } else { MSS_MIN };
    let smaller = smaller.max(least);
    // A segment that would be as large as before can tell nothing of sizes.
    let options = u32::from(size).saturating_sub(connection.send_mss());
    let stuck = oldest_segment(connection);
    if stuck + options > u32::from(smaller) && fall(connection, smaller) {
        connection.hot.mtu |= bit::FELL;
        connection.rare_mut().search.wait_until_ms = connection.shared.now.millis;
    }
}

/// Payload of the segment that would go again.
fn oldest_segment(connection: &Connection) -> u32 {
    let (mss, mut len) = (connection.send_mss(), 0);
    for (_, cell) in connection.shared.cells.from(connection.hot.head) {
        if len > 0 && len + cell.payload_len() > mss || !cell.is(mark::SENT) {
            break;
        }
        len += cell.payload_len();
    }
    len
}

/// The timer ran out over a probe: it failed if it is what is missing, else nothing is known of it.
fn on_probe_timeout(connection: &mut Connection) {
    if connection.hot.mtu & bit::PROBE == 0 {
        return;
    }
    connection.hot.mtu &= !bit::PROBE;
    if connection.hot.snd_una.ge(connection.rare().search.probe_start) {
        //= https://www.rfc-editor.org/rfc/rfc4821#section-7.6.3
        //# A time interval that is
        //# five times the non-timeout failure case (Section 7.6.2) is
        //# RECOMMENDED.
        fail(connection, 5);
    }
}

/// Nothing as large as the probe passes. `times`: how many of the usual intervals pass before the next one.
//= https://www.rfc-editor.org/rfc/rfc4821#section-7.6.2
//# The simplest estimate of the interval to
//# the next congestion event is the same number of round trips as the
//# current congestion window in packets.
fn fail(connection: &mut Connection, times: u32) {
    let segments = connection.hot.cwnd / connection.send_mss();
    let us = u64::from(connection.hot.srtt_us) * u64::from(segments.max(1)) * u64::from(times);
    let wait_ms = u32::try_from(us / 1_000).unwrap_or(u32::MAX).clamp(1, AGAIN_MS);
    let (size, millis) = (connection.hot.mss, connection.shared.now.millis);
    let search = &mut connection.rare_mut().search;
    search.high = search.probe.saturating_sub(1).max(size);
    search.wait_until_ms = millis.wrapping_add(wait_ms);
    settle(connection);
}

/// See whether the search has come to its end, for a while or for ever.
fn settle(connection: &mut Connection) {
    let (size, millis) = (connection.hot.mss, connection.shared.now.millis);
    let search = &mut connection.rare_mut().search;
    if size >= search.most {
        connection.hot.mtu = connection.hot.mtu & !bit::SEARCHING | bit::TELL;
    } else if search.high.saturating_sub(size) < NEAR_BYTES {
        search.wait_until_ms = millis.wrapping_add(AGAIN_MS);
        connection.hot.mtu |= bit::TELL;
    }
}

/// Payload of the probe that is to go now instead of a segment of the usual size, where so many bytes are `queued` and
/// `usable`.
//= https://www.rfc-editor.org/rfc/rfc4821#section-7.4
//# Before sending a probe, the flow MUST meet at least the following
//# conditions:
pub fn probe(connection: &mut Connection, queued: u32, usable: u32) -> Option<u32> {
    let open = connection.hot.mtu & (bit::SEARCHING | bit::PROBE) == bit::SEARCHING
        && connection.cold.dup_acks == 0
        && connection.loss().is_idle();
    let wait_ms =
        connection.rare().search.wait_until_ms.wrapping_sub(connection.shared.now.millis).cast_signed();
    if !open || wait_ms > 0 {
        return None;
    }
    let mss = connection.hot.mss;
    let search = &mut connection.rare_mut().search;
    if search.high.saturating_sub(mss) < NEAR_BYTES {
        // The search ended long ago.
        search.high = search.most;
    }
    // The largest first: after a way that was merely down for a while, one probe sets everything right.
    let size = if search.high == search.most { search.most } else { mss + (search.high - mss) / 2 };
    let options = u32::from(mss).saturating_sub(connection.send_mss());
    let payload = u32::from(size).saturating_sub(options);
    let wanted = payload + SEGMENTS_BEHIND * connection.send_mss();
    if size <= mss || queued < wanted || usable < wanted {
        return None;
    }
    let start = connection.hot.snd_nxt;
    let search = &mut connection.rare_mut().search;
    (search.probe, search.probe_start, search.probe_end) = (size, start, start + payload);
    // A probe that routers may cut would tell of nothing.
    connection.hot.mtu = connection.hot.mtu & !bit::FRAGMENT | bit::PROBE;
    Some(payload)
}

/// SND.UNA has advanced; `original`: over something never sent again, too.
pub fn on_ack(connection: &mut Connection, original: bool) {
    if connection.hot.mtu & bit::FELL != 0 {
        connection.hot.mtu &= !bit::FELL;
        if !original {
            connection.hot.mtu |= bit::TELL;
        }
    }
    let Search { probe, probe_end, .. } = connection.rare().search;
    if connection.hot.mtu & bit::PROBE != 0 && connection.hot.snd_una.ge(probe_end) {
        connection.hot.mss = connection.hot.mss.max(probe);
        connection.hot.mtu &= !bit::PROBE;
        settle(connection);
    }
}

/// Losses were found: if nothing but the probe is lost, the path is too small for it, and not congested. Otherwise
/// nothing is known of the probe.
//= https://www.rfc-editor.org/rfc/rfc4821#section-7.6.2
//# When only the probe is lost, it is treated as an indication that the
//# Path MTU is smaller than the probe size.  In this case alone, the
//# loss SHOULD NOT be interpreted as congestion signal.
pub fn is_probe_lost(connection: &mut Connection) -> bool {
    if connection.hot.mtu & bit::PROBE == 0 {
        return false;
    }
    connection.hot.mtu &= !bit::PROBE;
    let Search { probe_start: start, probe_end: end, .. } = connection.rare().search;
    let probes = connection.shared.cells.from(connection.hot.head).take_while(|(_, cell)| cell.end.le(end));
    let of_probe: u32 = probes
        .filter(|(_, cell)| cell.is(mark::LOST) && cell.start().ge(start))
        .map(|(_, cell)| cell.len)
        .sum();
    let alone = of_probe > 0 && of_probe == connection.loss().lost;
    if alone {
        fail(connection, 1);
    }
    alone
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use drivers::Extent;

    use super::*;
    use crate::mode::{Key, View, ViewData};
    use crate::tcp::output;
    use crate::tcp::sack::tests::flows_of;

    #[test]
    fn many_small_sends_make_up_a_probe() {
        // Shows that a connection that searches sends a probe as soon as what was sent in small pieces makes up that and the
        // segments behind it, and segments of the usual size as long as it does not.
        for (pieces, first) in [(86, 500), (87, 1_448)] {
            let (mut flows, slot) = flows_of(0);
            let mut connection = flows.connection(slot).unwrap();
            connection.enter(State::Established);
            (connection.hot.mss, connection.hot.cwnd, connection.hot.snd_wnd) = (1_448, 100_000, 100_000);
            assert!(fall(&mut connection, 500));
            connection.hot.cwnd = 100_000;
            connection.rare_mut().search.wait_until_ms = connection.shared.now.millis;
            for _ in 0..pieces {
                let (end, piece) = (connection.queued_end(), Bytes::from(vec![0; 40]));
                let view = View { data: ViewData::Extent(Extent::of_bytes(&piece).unwrap()), key: Key(0) };
                connection.queue(|cells, queue, _| cells.push(queue, end, view, 0, 0).unwrap());
            }
            assert_eq!(output::next(&mut connection).map(|emit| emit.len), Some(first), "{pieces} pieces");
            assert_eq!(output::next(&mut connection).map(|emit| emit.len), Some(500), "{pieces} pieces");
        }
    }
}
