//! What an acceptable acknowledgement does: SND.UNA, the send window, round trips, the retransmission timer.
//! Whether it is acceptable is decided in `input`.

use super::ecn;
use super::sack::{self, News};
use super::send::{Cell, Finished, NONE, mark};
use super::state::{Connection, State, decline, flag, owed};
use super::ticks::Ticks;
use super::{loss, mtu, tally, timers};
use crate::wire::tcp::{Flags, Segment, SeqNum};

/// SND.UNA advances, or an acknowledgement came again; the window may have changed.
pub(super) fn acknowledge(connection: &mut Connection, segment: &Segment, len: u32) {
    if is_quiet_segment(connection, segment) {
        update_window(connection, segment.seq, segment.ack, segment.window);
        if acknowledge_quietly(connection, segment.ack, false) {
            connection.shared.finished.push(Finished::SMALL);
        }
        return;
    }
    connection.pay_timer();
    ecn::note(connection, segment);
    let mut news = News::new(connection, segment, len);
    let window_before = connection.hot.snd_wnd;
    if connection.hot.state != State::SynSent {
        update_window(connection, segment.seq, segment.ack, segment.window);
    }
    if news.acked > 0 {
        forget_unanswered(connection);
        if let Some(rare) = connection.rare_if() {
            rare.troubles = 0;
        }
        connection.hot.snd_una = segment.ack;
        tally::note_una(connection, news.una_before);
        take_acknowledged(connection, &mut news);
    } else if connection.hot.snd_wnd == 0 {
        // The peer is there and says so: only its window is closed.
        forget_unanswered(connection);
        connection.cold.timeouts = 0;
    }
    if connection.is(flag::SACK) && !segment.options.sack.is_empty() {
        sack::update(connection, &segment.options.sack, segment.ack, &mut news);
    }
    time(connection, &news);
    if connection.hot.snd_wnd > 0 && window_before == 0 && connection.hot.state.is_synchronized() {
        reopen(connection);
    }
    //= https://www.rfc-editor.org/rfc/rfc5681#section-2
    //# (a) the receiver of the ACK has outstanding data, (b) the incoming acknowledgment
    //# carries no data, (c) the SYN and FIN bits are both off, (d) the acknowledgment
    //# number is equal to the greatest acknowledgment received on the given connection
    // An answer to a window probe is none: it says that the window is closed, not that something is missing.
    let duplicate = connection.flight() > 0
        && connection.hot.snd_wnd > 0
        && if connection.is(flag::SACK) {
            news.sacked > 0
        } else {
            news.acked == 0
                && len == 0
                && !segment.flags.intersects(Flags::SYN | Flags::FIN)
                && connection.hot.snd_wnd == window_before
        };
    let wait_us = loss::on_ack(connection, &news, duplicate);
    if connection.hot.mtu & (mtu::bit::PROBE | mtu::bit::FELL) != 0 && news.acked > 0 {
        mtu::on_ack(connection, news.original);
    }
    timers::on_ack(connection, news.acked > 0, wait_us);
    ecn::react(connection, news.acked);
}

/// The SYN-ACK of a listener's connection is acknowledged, which was sent once, when `sent_us` says, and of which the send queue
/// does not know.
pub(super) fn acknowledge_syn_ack(connection: &mut Connection, ack: SeqNum) {
    let (before, now) = (connection.hot.snd_una, connection.shared.now.micros);
    connection.hot.snd_una = ack;
    tally::note_una(connection, before);
    connection.measure_exactly(now.wrapping_sub(connection.hot.sent_us));
    connection.hot.sent_us = now;
}

/// The segment does nothing but acknowledge the FIN with which the connection ends, and passes all that `input` would ask of it.
/// What that tells besides nobody will ask. False, and nothing done, if it is not so.
pub fn ends(connection: &mut Connection, segment: &Segment, len: u32) -> bool {
    let hot = &*connection.hot;
    let last = hot.state == State::LastAck && segment.ack == hot.snd_nxt;
    let next = segment.flags == Flags::ACK && segment.seq == hot.rcv_nxt && connection.rcv_wnd() > 0;
    let Some((value, _)) = segment.options.timestamps else { return false };
    let fresh = value.wrapping_sub(hot.ts_recent).cast_signed() >= 0;
    let quiet = hot.ecn == 0 && hot.mtu & mtu::bit::TELL == 0 && hot.decline & decline::OFF == 0;
    let usual = connection.is(flag::TIMESTAMPS) && quiet;
    last && next && len == 0 && fresh && usual && take_last(connection, segment.ack)
}

/// The FIN with which the connection ends is all that is queued, and is acknowledged: of what else that tells nobody will ask.
/// False, and nothing done, if it is not so.
fn take_last(connection: &mut Connection, ack: SeqNum) -> bool {
    // The rare part holds what an application may have asked to be told at the end.
    if connection.cold.rare != NONE
        || connection.shared.cells.acknowledge_only(connection.hot.head, ack).is_none()
    {
        return false;
    }
    (connection.hot.head, connection.hot.tail) = (NONE, NONE);
    connection.hot.snd_una = ack;
    connection.hot.owed &= !owed::TIMER;
    true
}

/// An acknowledgement that another overtook: its number and its window say nothing any more, but its SACK blocks may.
pub(super) fn hear_late(connection: &mut Connection, segment: &Segment, len: u32) {
    let blocks = &segment.options.sack;
    if blocks.is_empty() || !connection.is(flag::SACK) || connection.flight() == 0 {
        return;
    }
    connection.pay_timer();
    let mut news = News::late(connection, segment, len);
    sack::update(connection, blocks, segment.ack, &mut news);
    if news.sacked == 0 && news.dsack.is_none() {
        return;
    }
    time(connection, &news);
    let wait_us = loss::on_ack(connection, &news, news.sacked > 0);
    timers::on_ack(connection, false, wait_us);
}

/// Nothing is amiss, and nothing was, that an acknowledgement must be searched for.
#[inline]
pub(super) fn is_quiet(connection: &Connection) -> bool {
    !connection.is_marked_amiss()
        && connection.hot.ecn == 0
        && connection.hot.mtu & (mtu::bit::PROBE | mtu::bit::FELL) == 0
}

/// [`acknowledge_quietly`] does it, where shortcuts are taken at all: nothing is amiss, and the segment tells of progress and
/// an open window alone.
fn is_quiet_segment(connection: &Connection, segment: &Segment) -> bool {
    let hot = &*connection.hot;
    is_quiet(connection)
        && connection.shared.config.fast_path
        && hot.decline & decline::LOSS == 0
        && hot.state != State::SynSent
        && segment.ack.gt(hot.snd_una)
        && segment.window > 0
        && hot.snd_wnd > 0
        && segment.options.sack.is_empty()
}

/// The peer has answered.
fn forget_unanswered(connection: &mut Connection) {
    if let Some(rare) = connection.rare_if() {
        rare.unanswered_since = Ticks::OFF;
    }
}

/// What `acknowledge` does on a connection on which nothing is amiss, nothing ever went again, and neither congestion marks
/// nor searches for packet sizes are to be heeded; the segment tells no more than its number and an open window, which is
/// taken in already.
///
/// `heard`: that the peer was heard of is noted already.
///
/// Returns whether a small payload is done that nobody is told of; others go to the connection's list.
#[inline(always)]
pub(super) fn acknowledge_quietly(connection: &mut Connection, ack: SeqNum, heard: bool) -> bool {
    let before = connection.hot.snd_una;
    let acked = ack.since(before);
    if acked == 0 {
        timers::on_ack(connection, false, 0);
        return false;
    }
    let all = ack == connection.hot.snd_nxt;
    if connection.hot.owed & (owed::OUT | owed::TIMER) != 0 && !all {
        // Not all that is in flight: what was the most of it is to be remembered, and a timer to be restarted.
        connection.pay();
    }
    connection.hot.snd_una = ack;
    tally::note_una(connection, before);
    let only = connection.shared.cells.acknowledge_only(connection.hot.head, ack);
    let sent_us = match only {
        Some((sent_us, _)) => {
            (connection.hot.head, connection.hot.tail) = (NONE, NONE);
            Some(sent_us)
        }
        None => take_quietly(connection, ack),
    };
    if let Some(sent_us) = sent_us {
        let sample_us = connection.shared.now.micros.wrapping_sub(sent_us);
        if heard {
            connection.measure_heard(sample_us);
        } else {
            connection.measure_exactly(sample_us);
        }
    }
    loss::grow(connection, acked);
    connection.hot.owed &= !owed::TIMER;
    if all {
        connection.hot.retransmit_at = Ticks::OFF;
    } else {
        timers::on_ack(connection, true, 0);
    }
    only.is_some_and(|(_, small)| small)
}

/// Drop acknowledged ranges that were sent once. Returns when the last of them was.
#[inline(never)]
fn take_quietly(connection: &mut Connection, una: SeqNum) -> Option<u32> {
    let mut sent_us = None;
    connection.queue(|cells, queue, finished| {
        cells.acknowledge(queue, una, finished, |cell: &Cell, _| sent_us = Some(cell.sent_us));
    });
    sent_us
}

/// Drop acknowledged ranges.
fn take_acknowledged(connection: &mut Connection, news: &mut News) {
    let (una, now) = (connection.hot.snd_una, connection.shared.now.micros);
    let (mut sacked, mut lost, mut again) = (0, 0, 0);
    connection.queue(|cells, queue, finished| {
        cells.acknowledge(queue, una, finished, |cell, n| {
            sacked += if cell.is(mark::SACKED) { n } else { 0 };
            lost += if cell.is(mark::LOST) { n } else { 0 };
            again += if cell.is(mark::AGAIN) { n } else { 0 };
            if cell.retransmits > 0 {
                let since = now.wrapping_sub(cell.sent_us);
                news.again = true;
                news.again_us = Some(news.again_us.map_or(since, |before| before.min(since)));
            }
            if !cell.is(mark::SACKED) {
                news.arrived(cell, true);
            }
        });
    });
    if connection.has_active() {
        let sack = connection.is(flag::SACK);
        let loss = &mut connection.active_mut().loss;
        if sack {
            loss.sacked = loss.sacked.saturating_sub(sacked);
        }
        loss.lost = loss.lost.saturating_sub(lost);
        loss.again = loss.again.saturating_sub(again);
    }
    connection.cold.timeouts = 0;
}

/// Measure the round trip by what has newly arrived.
//= https://www.rfc-editor.org/rfc/rfc6298#section-3
//# TCP MUST use Karn's algorithm [KP87] for taking RTT samples.
fn time(connection: &mut Connection, news: &News) {
    let sample = match news.again_us {
        Some(since_us) => echoed(connection, news.echo, since_us),
        None => news.sample_us.map(|us| (us, true)),
    };
    let Some((us, exact)) = sample else { return };
    if exact {
        connection.measure_exactly(us);
    } else {
        connection.measure(us);
    }
    // Without a measurement the timer stays backed off (Karn's algorithm), or a round trip longer than the timeout would
    // never be measured.
    //= https://www.rfc-editor.org/rfc/rfc6298#section-5
    //# the computations outlined in Section 2 are performed, including the
    //# computation of RTO, which may result in "collapsing" RTO back down
    //# after it has been subject to exponential back off (rule 5.5).
    connection.cold.backoff = 0;
}

/// The round trip that the echoed timestamp tells of segments last sent again `since_us` ago, if it tells which of the
/// transmissions is answered. A receiver that had the first echoes its time for ever after, so an old echo with an answer
/// to the last is a measure of our own waiting. Also tells whether it is exact, or counted in timestamps.
//= https://www.rfc-editor.org/rfc/rfc6298#section-3
//# RTT samples MUST NOT be made using segments that were retransmitted (and
//# thus for which it is ambiguous whether the reply was for the first instance
//# of the packet or a later instance).
fn echoed(connection: &Connection, echo: Option<u32>, since_us: u32) -> Option<(u32, bool)> {
    let echo = echo?;
    let elapsed_ms = connection.shared.now.millis.wrapping_add(connection.hot.ts_offset).wrapping_sub(echo);
    if elapsed_ms <= since_us / 1_000 + 1 {
        return Some((since_us, true));
    }
    // Too early for an answer to the last transmission: it answers the one whose time it echoes.
    (since_us < connection.hot.srtt_us / 2 && elapsed_ms < 600_000).then(|| (elapsed_ms * 1_000, false))
}

/// A window has opened: what was probed with is lost unless acknowledged, and everything may go.
fn reopen(connection: &mut Connection) {
    connection.cold.backoff = 0;
    connection.hot.retransmit_at = Ticks::OFF;
    if connection.flight() > 0 {
        // What was in flight was refused while the window was closed.
        connection.set(flag::PROBE);
        timers::arm_retransmit(connection);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
//# If SND.UNA =< SEG.ACK =< SND.NXT, the send window should be updated.
//# If (SND.WL1 < SEG.SEQ or (SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK)), set
//# SND.WND <- SEG.WND, set SND.WL1 <- SEG.SEQ, and set SND.WL2 <- SEG.ACK.
#[inline]
fn update_window(connection: &mut Connection, seq: SeqNum, ack: SeqNum, window: u16) {
    let (wl1, wl2) = (connection.cold.snd_wl1, connection.cold.snd_wl2);
    if wl1.lt(seq) || wl1 == seq && wl2.le(ack) {
        set_snd_wnd(connection, window);
        note_window(connection, seq, ack);
    }
}

/// SND.WL1 and SND.WL2 are of this segment. SND.WL2 never exceeds SND.UNA, so that of segments in order only those have
/// nothing new to say of the window that came behind one from beyond.
pub(super) fn note_window(connection: &mut Connection, seq: SeqNum, ack: SeqNum) {
    (connection.cold.snd_wl1, connection.cold.snd_wl2) = (seq, ack);
    connection.hot.decline &= !decline::WINDOW;
    if seq.gt(connection.hot.rcv_nxt) {
        connection.hot.decline |= decline::WINDOW;
    }
}

#[inline]
pub(super) fn set_snd_wnd(connection: &mut Connection, window: u16) {
    let before = connection.hot.snd_wnd;
    connection.hot.snd_wnd = u32::from(window) << connection.hot.snd_scale;
    if connection.hot.snd_wnd > before {
        connection.cold.snd_wnd_max = connection.cold.snd_wnd_max.max(connection.hot.snd_wnd);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::tcp::output;
    use crate::tcp::sack::tests::{flows_of, queue_bytes};

    proptest! {
        #[test]
        fn a_quiet_acknowledgement_does_what_any_does(
            rounds in prop::collection::vec((prop::collection::vec(1usize..3000, 1..5), 0u64..300_000, 0u32..=4, 1u16..2_000), 1..12),
            cwnd in 300u32..20_000,
        ) {
            // Shows for payloads of any sizes, acknowledged in part or whole after any time with any open window, that a
            // connection is the same whether its acknowledgements may be taken in quietly or not, and that the same payloads
            // are reported.
            let [short, whole] = [true, false].map(|fast_path| {
                let (mut flows, slot) = flows_of(0);
                let mut told = Vec::new();
                let mut connection = flows.connection(slot).unwrap();
                connection.enter(State::Established);
                connection.shared.config.fast_path = fast_path;
                (connection.hot.cwnd, connection.hot.snd_wnd, connection.cold.snd_wnd_max) = (cwnd, 5_000, 5_000);
                (connection.cold.snd_wl1, connection.cold.snd_wl2) = (connection.hot.rcv_nxt, connection.hot.snd_una);
                for (payloads, us, quarters, window) in &rounds {
                    let mut connection = flows.connection(slot).unwrap();
                    payloads.iter().for_each(|len| queue_bytes(&mut connection, *len));
                    while output::next(&mut connection).is_some() {}
                    flows.shared.set_now(flows.shared.now.instant.saturating_add(Duration::from_micros(*us)));
                    let mut connection = flows.connection(slot).unwrap();
                    let hot = &*connection.hot;
                    let ack = hot.snd_una + connection.flight() / 4 * quarters;
                    let mut segment = Segment::new(hot.remote_port(), hot.local_port(), hot.rcv_nxt, ack, Flags::ACK);
                    segment.window = *window;
                    acknowledge(&mut connection, &segment, 1);
                    told.append(&mut connection.shared.finished);
                }
                let connection = flows.connection(slot).unwrap();
                (format!("{:?}", connection.hot), format!("{:?}", connection.cold), told)
            });
            prop_assert_eq!(short, whole);
        }
    }
}
