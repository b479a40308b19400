//! The scoreboard: what an acknowledgement newly reports of the ranges in flight, by its number and by its SACK blocks.
//! What follows from it is for `rack`, `undo` and `loss` to say.

use super::history::MinRtt;
use super::rack::{self, Arrival};
use super::send::{Cell, mark};
use super::skip::{Run, STRIDE, Skips};
use super::state::{Connection, flag};
use crate::wire::tcp::{Flags, SackBlock, SackBlocks, Segment, SeqNum};

/// Ranges that blocks ending inside them may cut in two during one repair. Honest receivers cut few segments, those at
/// the edge of a window; one that reports byte by byte gets no more than this of our memory.
pub const CUTS_MAX: u8 = 64;

/// What one acknowledgement newly tells.
#[derive(Clone, Copy, Debug)]
pub struct News {
    now_us: u32,
    /// Microseconds since the lane's clock began, for what timestamps said then.
    now_full_us: u64,
    stamp_offset: u32,
    min_rtt_us: u32,
    /// RACK.fack before this acknowledgement, if SACK had reported anything.
    fack: Option<SeqNum>,
    /// The time echoed.
    pub echo: Option<u32>,
    /// Behind everything sent when the timer last ran out: only what lies before tells of that time.
    recover: SeqNum,
    /// Sequence numbers acknowledged cumulatively.
    pub acked: u32,
    /// Sequence numbers newly reported by SACK.
    pub sacked: u32,
    /// Bytes reported by SACK before.
    pub sacked_before: u32,
    /// SND.UNA before.
    pub una_before: SeqNum,
    /// Among what arrived is something never sent again, from before the last timeout.
    pub original: bool,
    /// Something that was sent again is acknowledged cumulatively.
    pub again: bool,
    /// Of those, when the last was sent, before now. Units: microseconds.
    pub again_us: Option<u32>,
    /// How long ago the last range was sent that was acknowledged or reported, and never sent again.
    pub sample_us: Option<u32>,
    /// Of what arrived, the transmission that was the last.
    pub latest: Option<Arrival>,
    /// The highest sequence number reported by SACK.
    pub edge: Option<SeqNum>,
    /// A range that others overtook: its start, and the highest number that had arrived before it.
    pub overtaken: Option<(SeqNum, SeqNum)>,
    /// The D-SACK block.
    pub dsack: Option<SackBlock>,
    /// No payload, no SACK block, and nothing new acknowledged.
    pub plain: bool,
    /// Congestion was notified with it.
    pub congested: bool,
}

impl News {
    /// Nothing yet, of a segment with `len` bytes of payload.
    pub fn new(connection: &Connection, segment: &Segment, len: u32) -> News {
        let stamps = segment.options.timestamps.filter(|_| connection.is(flag::TIMESTAMPS));
        let loss = connection.loss();
        News {
            now_us: connection.shared.now.micros,
            now_full_us: connection.shared.now.instant.0 / 1_000,
            stamp_offset: connection.hot.ts_offset,
            min_rtt_us: MinRtt::us(connection.hot, connection.cold).unwrap_or(0),
            fack: (loss.sacked > 0 && connection.is(flag::SACK)).then_some(loss.fack),
            echo: stamps.map(|(_, echo)| echo),
            recover: connection.recover(),
            acked: segment.ack.since(connection.hot.snd_una),
            sacked: 0,
            sacked_before: loss.sacked,
            una_before: connection.hot.snd_una,
            original: false,
            again: false,
            again_us: None,
            sample_us: None,
            latest: None,
            edge: None,
            overtaken: None,
            dsack: None,
            plain: len == 0 && segment.options.sack.is_empty() && segment.ack == connection.hot.snd_una,
            congested: segment.flags.contains(Flags::ECE),
        }
    }

    /// The same of a segment that acknowledges less than others did.
    pub fn late(connection: &Connection, segment: &Segment, len: u32) -> News {
        News { acked: 0, congested: false, ..News::new(connection, segment, len) }
    }

    /// A range has arrived that nothing had reported before; `cumulative`: SND.UNA is behind it now.
    #[inline]
    pub fn arrived(&mut self, cell: &Cell, cumulative: bool) {
        let rtt_us = self.now_us.wrapping_sub(cell.sent_us);
        if cell.retransmits == 0 {
            self.sample_us = Some(rtt_us);
            self.original |= cell.end.le(self.recover);
            if let Some(fack) = self.fack
                && cell.end.lt(fack)
                && self.overtaken.is_none()
            {
                self.overtaken = Some((cell.start(), fack));
            }
        } else if rtt_us < self.min_rtt_us || cumulative && self.answers_earlier(rtt_us) {
            return;
        }
        let newer = |latest: Arrival| rack::sent_after(cell.sent_us, cell.end, latest.xmit_us, latest.end);
        if self.latest.is_none_or(newer) {
            let (xmit_us, end, again) = (cell.sent_us, cell.end, cell.retransmits > 0);
            self.latest = Some(Arrival { xmit_us, end, rtt_us, again });
        }
    }

    /// The echoed time says that not the last transmission arrived, which was `rtt_us` ago. Only where SND.UNA advances
    /// does it tell: what fills no hole does not change the time that a receiver echoes.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //# ignore a segment as invalid if any of
    //# its sequence range has been retransmitted before and if either of two
    //# conditions is true
    fn answers_earlier(&self, rtt_us: u32) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "timestamps wrap by design")]
        let sent_ms = (self.now_full_us.saturating_sub(u64::from(rtt_us)) / 1_000) as u32;
        let stamp = sent_ms.wrapping_add(self.stamp_offset);
        self.echo.is_some_and(|echo| echo.wrapping_sub(stamp).cast_signed() < 0)
    }

    /// Sequence numbers that this acknowledgement says have left the network: DeliveredData of RFC 6937.
    pub fn delivered(&self, sacked_now: u32) -> u32 {
        (self.acked + sacked_now).saturating_sub(self.sacked_before)
    }
}

/// Take the SACK blocks of an acknowledgement with the number `ack` in; SND.UNA and the queue's head say already what that
/// told.
//= https://www.rfc-editor.org/rfc/rfc6675#section-4
//# each octet that is
//# cumulatively ACKed or SACKed should be marked accordingly in the
//# scoreboard data structure
pub fn update(connection: &mut Connection, blocks: &SackBlocks, ack: SeqNum, news: &mut News) {
    news.dsack = duplicate(connection, blocks, ack);
    let (una, nxt) = (connection.hot.snd_una, connection.hot.snd_nxt);
    let valid = |block: &&SackBlock| block.left.lt(block.right) && block.left.gt(una) && block.right.le(nxt);
    // What came twice may be named again, as all of what is held.
    let held = blocks.as_slice().iter().skip(usize::from(news.dsack.is_some()));
    let mut sorted = [SackBlock::default(); crate::wire::tcp::SACK_BLOCKS_MAX];
    let mut count = 0;
    for (place, block) in sorted.iter_mut().zip(held.filter(valid)) {
        *place = *block;
        count += 1;
    }
    let Some(sorted) = sorted.get_mut(..count).filter(|sorted| !sorted.is_empty()) else { return };
    sorted.sort_unstable_by_key(|block| block.left.since(una));
    mark(connection, sorted, news);
}

/// Mark what sorted blocks cover, in one walk.
fn mark(connection: &mut Connection, blocks: &[SackBlock], news: &mut News) {
    let mut skips = connection.take_skips();
    let (mut index, before) = (connection.hot.head, news.sacked);
    let mut gone = Gone::default();
    for block in blocks {
        index = mark_block(connection, block, index, &mut skips, news, &mut gone);
    }
    let fresh = news.sacked - before;
    if fresh > 0 {
        let loss = &mut connection.active_mut().loss;
        loss.sacked += fresh;
        loss.lost = loss.lost.saturating_sub(gone.lost);
        loss.again = loss.again.saturating_sub(gone.again);
    }
    connection.keep_skips(skips);
}

/// What ranges were that are reported now.
#[derive(Clone, Copy, Default)]
struct Gone {
    lost: u32,
    again: u32,
}

/// Mark what a block covers, from a cell on that does not lie behind its first. Returns the first cell behind.
fn mark_block(
    connection: &mut Connection,
    block: &SackBlock,
    first: u32,
    skips: &mut Skips,
    news: &mut News,
    gone: &mut Gone,
) -> u32 {
    let (SackBlock { left, right }, unsent) = (*block, connection.hot.unsent);
    let (mut index, mut run, mut steps) = (first, None, 0_u32);
    if let Some(start) = connection.shared.cells.get(first).map(Cell::start)
        && let Some((seq, place)) = skips.seek(&connection.shared.cells, left)
        && start.lt(seq)
    {
        index = place;
    }
    while index != unsent
        && let Some(cell) = connection.shared.cells.get(index)
        && cell.start().lt(right)
    {
        let start = cell.start();
        if cell.is(mark::SACKED) {
            let past = skips.past_sacked(&connection.shared.cells, start);
            let (reported, behind) = past.unwrap_or((Run::of(cell, index), cell.next));
            if let Some(over) = Run::extend(&mut run, reported) {
                skips.add_sacked(over);
            }
            index = behind;
            continue;
        }
        if cell.end.le(left) {
            steps += 1;
            if steps.is_multiple_of(STRIDE) {
                skips.add_place(start, index);
            }
            index = cell.next;
            continue;
        }
        let Some(cell) = connection.shared.cells.get_mut(index) else { break };
        let cut = if cell.start().lt(left) {
            left.since(cell.start())
        } else if cell.end.gt(right) {
            right.since(cell.start())
        } else {
            news.arrived(cell, false);
            news.sacked += cell.len;
            gone.lost += if cell.is(mark::LOST) { cell.len } else { 0 };
            gone.again += if cell.is(mark::AGAIN) { cell.len } else { 0 };
            cell.marks = cell.marks & !(mark::LOST | mark::AGAIN) | mark::SACKED;
            news.edge = Some(cell.end);
            if let Some(over) = Run::extend(&mut run, Run::of(cell, index)) {
                skips.add_sacked(over);
            }
            index = cell.next;
            continue;
        };
        // A block ends inside the range. Its first part is looked at anew, unless it lies before the block; a range that
        // cannot be cut counts as not reported.
        let (next, before) = (cell.next, cell.start().lt(left));
        let done = cut_at(connection, index, cut);
        if before || !done {
            index =
                if done { connection.shared.cells.get(index).map_or(next, |cell| cell.next) } else { next };
        }
    }
    if let Some(run) = run {
        skips.add_sacked(run);
    }
    index
}

/// Cut a range in two, within bounds.
fn cut_at(connection: &mut Connection, index: u32, n: u32) -> bool {
    if connection.loss().cuts >= CUTS_MAX {
        return false;
    }
    let cut = connection.queue(|cells, queue, _| cells.split(queue, index, n));
    if cut {
        connection.active_mut().loss.cuts += 1;
    }
    cut
}

/// The first block, if it tells of something that came twice.
//= https://www.rfc-editor.org/rfc/rfc2883#section-4
//# first block of the SACK option should be a D-SACK block specifying
//# the sequence numbers for the duplicate segment that triggers the
//# acknowledgement.
//= https://www.rfc-editor.org/rfc/rfc2883#section-5
//# An implementation MUST NOT compare the
//# sequence space in the SACK block to the TCP state variable snd.una
fn duplicate(connection: &Connection, blocks: &SackBlocks, ack: SeqNum) -> Option<SackBlock> {
    let (first, second) = (blocks.as_slice().first()?, blocks.as_slice().get(1));
    let una = connection.hot.snd_una;
    let below = first.right.le(ack);
    let inside = second.is_some_and(|second| second.left.le(first.left) && first.right.le(second.right));
    let oldest = una - connection.cold.snd_wnd_max.max(connection.send_mss());
    let plausible =
        first.left.lt(first.right) && first.left.ge(oldest) && first.right.le(connection.hot.snd_nxt);
    (plausible && (below || inside)).then_some(*first)
}

#[cfg(test)]
pub(super) mod tests;
