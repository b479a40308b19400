//! What a connection says again: ranges that are taken for lost, as segments. What is taken for lost is `loss`'s to say,
//! and when a segment goes again `output`'s.

use super::loss::{LossState, Phase};
use super::output::{Emit, control_flag, payload_max, speak};
use super::send::mark;
use super::state::Connection;
use super::undo::{self, Frto};
use super::{prr, timers};
use crate::wire::tcp::Flags;

/// Something taken for lost, sent again.
#[inline]
pub(super) fn lost(connection: &mut Connection, forced: bool) -> Option<Emit> {
    let LossState { lost, again, frto, phase, .. } = *connection.loss();
    if lost <= again {
        return None;
    }
    // F-RTO's second step tries new data first: repairs wait for what they tell.
    let pipe = connection.pipe();
    if !forced && (frto == Frto::New || pipe >= connection.hot.cwnd) {
        return None;
    }
    //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
    //# Furthermore, upon a timeout (as specified in [RFC2988]) cwnd MUST be
    //# set to no more than the loss window, LW, which equals 1 full-sized
    //# segment (regardless of the value of IW).
    let room = connection.hot.cwnd.saturating_sub(pipe);
    if !forced && phase == Phase::Loss && pipe > 0 && room < payload_max(connection) {
        return None;
    }
    let first = first_lost(connection)?;
    Some(again_from(connection, first, false))
}

/// The first range that is lost and was not sent again.
pub(super) fn first_lost(connection: &mut Connection) -> Option<u32> {
    let mut skips = connection.take_skips();
    let unsent = connection.hot.unsent;
    let (mut index, mut found) =
        (skips.lost_from(&connection.shared.cells).unwrap_or(connection.hot.head), None);
    while index != unsent
        && let Some(cell) = connection.shared.cells.get(index)
    {
        if cell.is(mark::SACKED) {
            let past = skips.past_sacked(&connection.shared.cells, cell.start());
            index = past.map_or(cell.next, |(_, behind)| behind);
            continue;
        }
        if cell.is(mark::LOST) && !cell.is(mark::AGAIN) {
            skips.set_lost_from(cell, index);
            found = Some(index);
            break;
        }
        index = cell.next;
    }
    connection.keep_skips(skips);
    found
}

/// Sequence numbers of the oldest segment in flight: of the ranges from the first on that left together and fit in one.
pub(super) fn first_segment(connection: &Connection) -> u32 {
    let (mss, unsent) = (payload_max(connection), connection.hot.unsent);
    let cells = connection.shared.cells.from(connection.hot.head).take_while(|(index, _)| *index != unsent);
    let (mut len, mut before) = (0, None);
    for (_, cell) in cells {
        // Behind a PSH a FIN alone may ride.
        let rides =
            |(sent_us, pushed): (u32, bool)| cell.sent_us == sent_us && (!pushed || cell.is(mark::CONTROL));
        if before.is_some_and(|before| !rides(before)) || len > 0 && len + cell.payload_len() > mss {
            break;
        }
        len += cell.len;
        before = Some((cell.sent_us, cell.is(mark::PUSHED)));
    }
    len
}

/// Send the ranges from `first` on again, as many as fit a segment: those that are lost, or with `tail` any. A range is
/// cut only if it is longer than a segment, so that what arrives can be told from what does not.
pub(super) fn again_from(connection: &mut Connection, first: u32, tail: bool) -> Emit {
    let mss = payload_max(connection);
    let unsent = connection.hot.unsent;
    let (mut len, mut seq_len, mut lost, mut flags) = (0, 0, 0, Flags::ACK);
    let (mut index, now) = (first, connection.shared.now.micros);
    let seq = connection.shared.cells.get(first).map_or(connection.hot.snd_una, |cell| cell.start());
    while index != unsent && len < mss {
        let Some(cell) = connection.shared.cells.get(index) else { break };
        let wanted = index == first || tail || cell.is(mark::LOST) && !cell.any(mark::AGAIN | mark::SACKED);
        let bytes = cell.payload_len();
        let fits = bytes <= mss - len;
        if !wanted || len > 0 && (!fits || cell.is(mark::CONTROL) && cell.len != 1) {
            break;
        }
        if !fits && !connection.queue(|cells, queue, _| cells.split(queue, index, mss - len)) {
            break;
        }
        let Some(cell) = connection.shared.cells.get_mut(index) else { break };
        if cell.is(mark::CONTROL) {
            flags |= control_flag(connection.hot.state);
        } else {
            len += cell.len;
            // A segment says the same each time it goes.
            if cell.is(mark::PUSHED) {
                flags |= Flags::PSH;
            }
        }
        seq_len += cell.len;
        if cell.is(mark::LOST) && !cell.is(mark::AGAIN) {
            cell.marks |= mark::AGAIN;
            lost += cell.len;
            if let Some(active) = connection.shared.actives.of(connection.cold.active) {
                active.skips.note_again(cell);
            }
        }
        cell.sent_us = now;
        cell.retransmits = cell.retransmits.saturating_add(1);
        index = cell.next;
    }
    if lost > 0 {
        connection.active_mut().loss.again += lost;
    }
    connection.note_amiss();
    let rare = connection.rare_mut();
    rare.history.retransmits = rare.history.retransmits.saturating_add(1);
    rare.tally.bytes_again += u64::from(len);
    undo::note_sent(connection);
    prr::note_sent(connection, seq_len);
    timers::on_sent_again(connection, first == connection.hot.head);
    debug_assert!((seq + seq_len).le(connection.hot.snd_nxt));
    speak(connection, seq, flags, first, len)
}
