//! RACK (RFC 8985 section 6): a segment is lost when one that was sent later has arrived and reordering was given its
//! time. What a report newly covers is `sack`'s to say, what follows from a loss `loss`'s.

use super::active::Active;
use super::history::MinRtt;
use super::sack::News;
use super::send::{Cell, mark};
use super::skip::Run;
use super::state::Connection;
use crate::wire::tcp::SeqNum;

/// The segment sent last among those that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rack {
    /// RACK.xmit_ts. Units: microseconds.
    pub xmit_us: u32,
    /// RACK.end_seq.
    pub end: SeqNum,
    /// RACK.rtt. Units: microseconds.
    pub rtt_us: u32,
    /// It had been sent again.
    pub again: bool,
    /// Something has arrived, so that the others mean something.
    pub known: bool,
}

/// A transmission that has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When it was sent. Units: microseconds.
    pub xmit_us: u32,
    /// The first number behind it.
    pub end: SeqNum,
    /// How long ago it was sent. Units: microseconds.
    pub rtt_us: u32,
    /// It was not the first of its range.
    pub again: bool,
}

/// What a look for losses has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Sequence numbers newly taken for lost, those of lost retransmissions included.
    pub lost: u32,
    /// When the next one may be, from now; zero: none waits. Units: microseconds.
    pub wait_us: u32,
}

/// Duplicates that stand for a loss while nothing was seen to be reordered (RFC 6675's DupThresh).
pub const DUPLICATES: u8 = 3;

/// Recoveries that an enlarged reordering window outlives.
const PERSIST: u8 = 16;

/// RACK_sent_after: times are equal for what left in one turn, so sequence numbers decide.
#[inline]
pub(super) fn sent_after(a_us: u32, a_end: SeqNum, b_us: u32, b_end: SeqNum) -> bool {
    let ahead = a_us.wrapping_sub(b_us).cast_signed();
    ahead > 0 || ahead == 0 && a_end.gt(b_end)
}

impl Rack {
    /// A segment has arrived.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //# record the most recent Segment.xmit_ts
    //# in RACK.xmit_ts if it is ahead of RACK.xmit_ts.
    pub fn update(&mut self, arrival: &Arrival) {
        let Arrival { xmit_us, end, rtt_us, again } = *arrival;
        if !self.known || sent_after(xmit_us, end, self.xmit_us, self.end) {
            (self.xmit_us, self.end, self.again) = (xmit_us, end, again);
        }
        (self.rtt_us, self.known) = (rtt_us, true);
    }
}

impl Rack {
    /// RACK.segment was sent after this range was. What left in one turn has one time: then the higher numbers left later,
    /// but for what went again, which left between new segments that may have left before it.
    fn is_later_than(&self, cell: &Cell) -> bool {
        let tie = self.xmit_us == cell.sent_us && cell.retransmits > 0 && !self.again;
        !tie && sent_after(self.xmit_us, self.end, cell.sent_us, cell.end)
    }
}

/// Take in what an acknowledgement newly covers: RACK.segment, and whether the network reorders.
pub fn take_news(connection: &mut Connection, news: &News) {
    if let Some((start, fack)) = news.overtaken {
        //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
        //# If a never-retransmitted segment
        //# that's below RACK.fack is (selectively or cumulatively) acknowledged,
        //# it has been delivered out of order.
        let degree = fack.since(start).div_ceil(connection.send_mss());
        let degree = u16::try_from(degree).unwrap_or(u16::MAX).min(REORDERING_MAX);
        let history = &mut connection.rare_mut().history;
        history.reordered = history.reordered.saturating_add(1);
        history.reordering = history.reordering.max(degree);
    }
    let (edge, latest) = (news.edge, news.latest);
    if edge.is_none() && connection.active().is_none() {
        return;
    }
    let loss = &mut connection.active_mut().loss;
    if let Some(edge) = edge {
        loss.fack = if loss.sacked > news.sacked { loss.fack.max(edge) } else { edge };
    }
    if let Some(arrival) = latest {
        loss.rack.update(&arrival);
    }
}

/// The most reordering that is told of, as Linux's `tcp_max_reordering` has it.
const REORDERING_MAX: u16 = 300;

/// A D-SACK came that tells of our own retransmission: reordering is given more time, once a round trip.
//= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
//# The RACK.reo_wnd
//# increases linearly for every round trip in which the sender receives
//# some DSACK option
pub fn on_duplicate(connection: &mut Connection) {
    let (una, nxt) = (connection.hot.snd_una, connection.hot.snd_nxt);
    let round = &mut connection.active_mut().loss.dsack_round;
    if round.is_some_and(|round| una.lt(round)) {
        return;
    }
    *round = Some(nxt);
    let history = &mut connection.rare_mut().history;
    history.reorder_quarters = history.reorder_quarters.saturating_add(1);
    history.reorder_recoveries = PERSIST;
}

/// A recovery has ended.
//= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
//# RACK persists using the inflated RACK.reo_wnd for up to 16 loss
//# recoveries, after which it resets RACK.reo_wnd to its starting value,
//# min_RTT / 4.
pub fn on_recovered(connection: &mut Connection) {
    let history = &mut connection.rare_mut().history;
    history.reorder_recoveries = history.reorder_recoveries.saturating_sub(1);
    if history.reorder_recoveries == 0 {
        history.reorder_quarters = 1;
    }
}

/// RACK.reo_wnd. Units: microseconds.
fn reordering_window_us(connection: &Connection) -> u32 {
    let (history, loss) = (&connection.rare().history, connection.loss());
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //# when no reordering has been observed, the RACK.reo_wnd
    //# is set to 0 both upon entering and during fast recovery or RTO
    //# recovery.
    // As many SACKed segments as DupThresh are told by RFC 6675's means: by acknowledgements, or by their bytes.
    let many = u32::from(DUPLICATES - 1) * connection.send_mss();
    let enough = connection.cold.dup_acks >= DUPLICATES || loss.sacked > many;
    if history.reordered == 0 && (loss.is_repairing() || enough) {
        return 0;
    }
    let quarter = MinRtt::us(connection.hot, connection.cold).unwrap_or(connection.hot.srtt_us) / 4;
    let window = u32::from(history.reorder_quarters).saturating_mul(quarter).min(connection.hot.srtt_us);
    // Where a round trip takes microseconds, turns of the lanes reorder by more than a quarter of it.
    window.max(REORDER_US_MIN)
}

/// Least time given to reordering, where any is: one tick of the wheel. Units: microseconds.
pub const REORDER_US_MIN: u32 = 66;

/// Mark what is lost by now, and say when to look again. Without a report there is nothing to judge by.
//= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
//# RACK considers that
//# segment lost if another segment that was sent later has been
//# delivered and the reordering window has passed.
pub fn detect(connection: &mut Connection) -> Found {
    let loss = connection.loss();
    let rack = loss.rack;
    if !rack.known {
        return Found::default();
    }
    if loss.sacked == 0 && !loss.is_repairing() {
        // Nothing was overtaken. What arrived last is forgotten, for its time means nothing once the clock has wrapped.
        connection.active_mut().loss.rack = Rack::default();
        return Found::default();
    }
    let patience = rack.rtt_us.saturating_add(reordering_window_us(connection));
    let now = connection.shared.now.micros;
    let (mut index, unsent) = (connection.hot.head, connection.hot.unsent);
    let (mut found, mut marked, mut again) = (Found::default(), 0, 0);
    let (mut skips, mut settled) = (connection.take_skips(), None);
    while index != unsent
        && let Some(cell) = connection.shared.cells.get(index)
    {
        let here = index;
        index = cell.next;
        if cell.is(mark::SACKED) || cell.is(mark::LOST) && !cell.is(mark::AGAIN) {
            let mut run = Run::of(cell, here);
            if let Some((far, behind)) = skips.past_settled(&connection.shared.cells, cell.start()) {
                (run, index) = (far, behind);
            }
            skips.add_settled(Run::extend(&mut settled, run));
            continue;
        }
        let Some(cell) = connection.shared.cells.get_mut(here) else { break };
        if !rack.is_later_than(cell) {
            // What lies behind in the queue was sent no earlier, so a range that never went again ends the search.
            if cell.retransmits == 0 {
                break;
            }
            continue;
        }
        let waited = now.wrapping_sub(cell.sent_us);
        if waited < patience {
            found.wait_us = found.wait_us.max(patience - waited);
            continue;
        }
        found.lost += cell.len;
        (marked, again) = (marked + lose(cell), again + taken_again(cell));
        skips.note_lost(cell, here);
        skips.add_settled(Run::extend(&mut settled, Run::of(cell, here)));
    }
    skips.add_settled(settled);
    connection.keep_skips(skips);
    if found.lost > 0 {
        let loss = &mut connection.active_mut().loss;
        loss.lost += marked;
        loss.again = loss.again.saturating_sub(again);
    }
    found
}

/// Take a range for lost. Returns the sequence numbers that were not before.
pub(super) fn lose(cell: &mut Cell) -> u32 {
    let fresh = if cell.is(mark::LOST) { 0 } else { cell.len };
    cell.marks |= mark::LOST;
    fresh
}

/// What was sent again is lost as well. Returns its sequence numbers.
pub(super) fn taken_again(cell: &mut Cell) -> u32 {
    let again = if cell.is(mark::AGAIN) { cell.len } else { 0 };
    cell.marks &= !mark::AGAIN;
    again
}

/// The retransmission timer ran out: the first range is lost, and others that had their time. `all`: every one is, for
/// nothing that was reported counts any more.
//= https://www.rfc-editor.org/rfc/rfc8985#section-6.3
//# RACK only marks the segment as lost if the time elapsed since the
//# segment was transmitted is at least the sum of the recent RTT and the
//# reordering window.
pub fn on_timeout(connection: &mut Connection, all: bool) {
    let rack = connection.loss().rack;
    let rtt_us = if rack.known { rack.rtt_us } else { connection.hot.srtt_us };
    let patience = rtt_us.saturating_add(reordering_window_us(connection));
    let now = connection.shared.now.micros;
    let (head, unsent) = (connection.hot.head, connection.hot.unsent);
    let (mut sacked, mut lost, mut again, mut index) = (0, 0, 0, head);
    while index != unsent
        && let Some(cell) = connection.shared.cells.get_mut(index)
    {
        if all {
            cell.marks &= !mark::SACKED;
        }
        if cell.is(mark::SACKED) {
            sacked += cell.len;
        } else {
            if all || index == head || now.wrapping_sub(cell.sent_us) >= patience {
                lose(cell);
                taken_again(cell);
            }
            lost += if cell.is(mark::LOST) { cell.len } else { 0 };
            again += if cell.is(mark::AGAIN) { cell.len } else { 0 };
        }
        index = cell.next;
    }
    let Active { loss, skips, .. } = connection.active_mut();
    (loss.sacked, loss.lost, loss.again) = (sacked, lost, again);
    if all {
        skips.clear();
    } else {
        skips.forget_losses();
    }
}
