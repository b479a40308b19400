//! Loss: which ranges are taken for lost, and when a repair begins and ends. When they go out again is `output`'s
//! business, how far the window falls `congestion`'s.

use super::congestion::validation;
use super::send::{NONE, mark};
use super::state::{Connection, LossState, flag};
use crate::wire::tcp::{SackBlocks, SeqNum};

/// Duplicates that stand for a loss (RFC 5681 section 3.2).
pub const DUPLICATES: u8 = 3;

/// What an acknowledgement told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ack {
    /// Sequence numbers newly acknowledged.
    pub acked: u32,
    /// Sequence numbers newly reported by SACK.
    pub sacked: u32,
    /// A duplicate by RFC 5681's definition, or with new SACK information.
    pub duplicate: bool,
}

/// A way of finding and repairing losses.
pub trait LossRecovery: Sync {
    /// An acknowledgement came; SND.UNA and the ranges' marks say already what it told.
    fn on_ack(&self, connection: &mut Connection, ack: Ack);
    /// The retransmission timer ran out.
    fn on_timeout(&self, connection: &mut Connection);
}

/// RFC 6582's NewReno; with SACK, RFC 6675's rule for what is lost and how much is in the network.
#[derive(Clone, Copy, Debug)]
pub struct NewReno;

impl LossRecovery for NewReno {
    fn on_ack(&self, connection: &mut Connection, ack: Ack) {
        let loss = connection.loss();
        if loss.recovering {
            repair(connection, ack);
        } else if ack.duplicate {
            suspect(connection);
        } else if ack.acked > 0 {
            connection.hot.dup_acks = 0;
            let counted = validation::counted(connection, ack.acked);
            if counted > 0 {
                connection.congestion(|algorithm, window| algorithm.on_ack(window, counted));
            }
            if loss != LossState::default() && !connection.is(flag::SACK) {
                connection.active_mut().loss = LossState::default();
            }
        }
        if connection.cold.active != NONE || connection.hot.decline != 0 {
            connection.settle();
        }
    }

    fn on_timeout(&self, connection: &mut Connection) {
        let flight = connection.flight();
        //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
        //# when a TCP sender detects segment loss using the retransmission timer and the
        //# given segment has already been retransmitted by way of the retransmission
        //# timer at least once, the value of ssthresh is held constant.
        let first = connection.cold.timeouts <= 1;
        connection.congestion(|algorithm, window| {
            let ssthresh = window.ssthresh;
            algorithm.on_timeout(window, flight);
            if !first {
                window.ssthresh = ssthresh;
            }
        });
        connection.cold.recover = connection.hot.snd_nxt;
        connection.hot.dup_acks = 0;
        // A receiver may have thrown out-of-order data away (RFC 2018 section 8): if the oldest range was reported,
        // it did, and no report counts any more.
        let reneged = connection.cells.get(connection.hot.head).is_some_and(|cell| cell.is(mark::SACKED));
        let (mut lost, mut sacked) = (0, 0);
        for_each_sent(connection, |marks, len| {
            if reneged {
                *marks &= !mark::SACKED;
            }
            *marks &= !mark::AGAIN;
            if *marks & mark::SACKED != 0 {
                sacked += len;
            } else {
                *marks |= mark::LOST;
                lost += len;
            }
        });
        let state = LossState { sacked, lost, again: 0, recovering: true, after_timeout: true };
        connection.active_mut().loss = state;
        connection.refresh_decline();
    }
}

/// The path takes smaller packets than those in flight: they are lost, but not for congestion's sake, so the window stays.
pub fn on_too_big(connection: &mut Connection) {
    let mut lost = 0;
    for_each_sent(connection, |marks, len| {
        if *marks & mark::SACKED == 0 {
            *marks = *marks & !mark::AGAIN | mark::LOST;
            lost += len;
        }
    });
    connection.cold.recover = connection.hot.snd_nxt;
    let loss = &mut connection.active_mut().loss;
    *loss = LossState { lost, again: 0, recovering: true, after_timeout: true, ..*loss };
    connection.refresh_decline();
}

/// Duplicates arrive: count, and begin a repair once they are enough.
fn suspect(connection: &mut Connection) {
    connection.hot.dup_acks = connection.hot.dup_acks.saturating_add(1);
    let enough = connection.hot.dup_acks >= DUPLICATES;
    if connection.is(flag::SACK) {
        mark_lost(connection);
    } else {
        count_duplicate(connection);
    }
    //= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
    //# the TCP sender first checks the value of recover to see if the
    //# Cumulative Acknowledgment field covers more than recover.
    let covers = connection.hot.snd_una.gt(connection.cold.recover);
    if covers && (enough || connection.loss().lost > 0) {
        begin(connection);
    }
    connection.refresh_decline();
}

fn begin(connection: &mut Connection) {
    let flight = connection.flight();
    connection.congestion(|algorithm, window| algorithm.on_loss(window, flight));
    connection.cold.recover = connection.hot.snd_nxt;
    connection.active_mut().loss.recovering = true;
    connection.active_mut().loss.after_timeout = false;
    mark_head_lost(connection);
    // RFC 5681 section 3.2 step 3: the lost segment goes out at once, whatever the window says.
    connection.set(flag::PROBE);
}

/// A repair goes on, or is done.
fn repair(connection: &mut Connection, ack: Ack) {
    let sack = connection.is(flag::SACK);
    if connection.hot.snd_una.ge(connection.cold.recover) {
        finish(connection);
        return;
    }
    if sack {
        mark_lost(connection);
    } else if ack.duplicate {
        count_duplicate(connection);
    } else if ack.acked > 0 {
        // Of what a partial acknowledgement covers, one segment was the hole; the rest were the duplicates.
        let mss = connection.send_mss();
        let eaten = ack.acked.saturating_sub(mss);
        let loss = &mut connection.active_mut().loss;
        loss.sacked = loss.sacked.saturating_sub(eaten);
    }
    //= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
    //# If this ACK does *not* acknowledge all of the data up to and including
    //# recover, then this is a partial ACK.  In this case, retransmit the first
    //# unacknowledged segment.
    if ack.acked > 0 && !connection.loss().after_timeout {
        mark_head_lost(connection);
    }
    if ack.acked > 0 && connection.loss().after_timeout {
        connection.congestion(|algorithm, window| algorithm.on_ack(window, ack.acked));
    }
}

//= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
//# Set cwnd to either (1) min (ssthresh, max(FlightSize, SMSS) + SMSS) or
//# (2) ssthresh
fn finish(connection: &mut Connection) {
    let (flight, mss) = (connection.flight(), connection.send_mss());
    if !connection.loss().after_timeout {
        connection.hot.cwnd = connection.hot.ssthresh.min(flight.max(mss) + mss);
    }
    connection.hot.dup_acks = 0;
    let sack = connection.is(flag::SACK);
    let loss = &mut connection.active_mut().loss;
    let sacked = if sack { loss.sacked } else { 0 };
    *loss = LossState { sacked, lost: loss.lost, again: loss.again, recovering: false, after_timeout: false };
}

/// Without SACK each duplicate says that one segment has left the network.
fn count_duplicate(connection: &mut Connection) {
    let (flight, mss) = (connection.flight(), connection.send_mss());
    let loss = &mut connection.active_mut().loss;
    loss.sacked = (loss.sacked + mss).min(flight.saturating_sub(loss.lost));
}

fn mark_head_lost(connection: &mut Connection) {
    let Some(cell) = connection.cells.get_mut(connection.hot.head) else { return };
    if cell.is(mark::SENT) && !cell.any(mark::LOST | mark::SACKED) {
        cell.marks |= mark::LOST;
        let len = cell.len;
        connection.active_mut().loss.lost += len;
    }
}

//= https://www.rfc-editor.org/rfc/rfc6675#section-4
//# The routine returns true when either DupThresh discontiguous SACKed
//# sequences have arrived above 'SeqNum' or more than (DupThresh - 1) * SMSS
//# bytes with sequence numbers greater than 'SeqNum' have been SACKed.
fn mark_lost(connection: &mut Connection) {
    let mut above = connection.loss().sacked;
    let threshold = u32::from(DUPLICATES - 1) * connection.send_mss();
    let mut lost = 0;
    for_each_sent(connection, |marks, len| {
        if *marks & mark::SACKED != 0 {
            above = above.saturating_sub(len);
        } else if above > threshold && *marks & mark::LOST == 0 {
            *marks |= mark::LOST;
            lost += len;
        }
    });
    if lost > 0 {
        connection.active_mut().loss.lost += lost;
    }
}

fn for_each_sent(connection: &mut Connection, mut work: impl FnMut(&mut u8, u32)) {
    let (mut index, unsent) = (connection.hot.head, connection.hot.unsent);
    while index != unsent
        && let Some(cell) = connection.cells.get_mut(index)
    {
        work(&mut cell.marks, cell.len);
        index = cell.next;
    }
}

/// Mark what SACK blocks report. Returns how many sequence numbers are newly known to have arrived.
///
/// Blocks below SND.UNA (D-SACK) and beyond SND.NXT tell nothing here.
pub fn apply_sack(connection: &mut Connection, blocks: &SackBlocks) -> u32 {
    let (una, nxt) = (connection.hot.snd_una, connection.hot.snd_nxt);
    let valid = |left: SeqNum, right: SeqNum| left.lt(right) && left.gt(una) && right.le(nxt);
    let blocks = blocks.as_slice().iter().filter(|block| valid(block.left, block.right));
    let (mut sacked, mut lost, mut again) = (0, 0, 0);
    let unsent = connection.hot.unsent;
    for block in blocks {
        let mut index = connection.hot.head;
        while index != unsent
            && let Some(cell) = connection.cells.get_mut(index)
        {
            index = cell.next;
            if cell.start().ge(block.right) {
                break;
            }
            if cell.start().lt(block.left) || cell.end.gt(block.right) || cell.is(mark::SACKED) {
                continue;
            }
            sacked += cell.len;
            lost += if cell.is(mark::LOST) { cell.len } else { 0 };
            again += if cell.is(mark::AGAIN) { cell.len } else { 0 };
            cell.marks = cell.marks & !(mark::LOST | mark::AGAIN) | mark::SACKED;
        }
    }
    if sacked > 0 {
        let loss = &mut connection.active_mut().loss;
        loss.sacked += sacked;
        loss.lost = loss.lost.saturating_sub(lost);
        loss.again = loss.again.saturating_sub(again);
    }
    sacked
}
