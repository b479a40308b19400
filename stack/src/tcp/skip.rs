//! Ways past ranges in flight that need no look, so that an acknowledgement costs what it tells and not what is in flight.
//! What is told is `sack`'s and `rack`'s business.
//!
//! All of it is hints: what none leads past is walked. Ranges leave the queue at its front alone, and are cut but never
//! joined, so the number of a cell stands for what begins or ends at a sequence number until that is acknowledged; and
//! both are compared before use.

use super::send::{Cell, Cells};
use crate::wire::tcp::SeqNum;

/// Ranges in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where the first begins.
    pub left: SeqNum,
    /// Where the last ends.
    pub right: SeqNum,
    /// The last one's cell.
    pub last: u32,
}

/// What is known of the ranges of a connection.
#[derive(Clone, Debug, Default)]
pub struct Skips {
    /// Runs that SACK has reported, by their numbers; no two touch.
    sacked: Vec<Run>,
    /// Places to begin at, by their numbers: where a cell begins.
    places: Vec<(SeqNum, u32)>,
    /// A run in which all is reported, or lost and not sent again.
    settled: Option<Run>,
    /// Before it nothing is lost that was not sent again.
    lost_from: Option<(SeqNum, u32)>,
}

/// Most runs and most places of a connection: 80 KiB, for 4,096 holes in a quarter of a million ranges. What lies beyond is
/// walked.
const RUNS_MAX: usize = 4096;

/// Most of either that one keeps room for while it has none.
const KEPT_MAX: usize = 64;

/// Ranges between two places.
pub const STRIDE: u32 = 64;

impl Run {
    /// A run of one range.
    pub fn of(cell: &Cell, index: u32) -> Run {
        Run { left: cell.start(), right: cell.end, last: index }
    }

    /// What lies behind, if `seq` is inside.
    fn past(&self, cells: &Cells, seq: SeqNum) -> Option<u32> {
        let inside = self.left.le(seq) && seq.lt(self.right);
        self.behind(cells).filter(|_| inside)
    }

    fn behind(&self, cells: &Cells) -> Option<u32> {
        cells.get(self.last).filter(|cell| cell.end == self.right).map(|cell| cell.next)
    }

    /// Take what follows in, or begin anew with it. Returns the run that is over.
    pub fn extend(run: &mut Option<Run>, by: Run) -> Option<Run> {
        match run {
            Some(run) if run.right == by.left => {
                (run.right, run.last) = (by.right, by.last);
                None
            }
            _ => run.replace(by),
        }
    }
}

impl Skips {
    /// Forget what `una` acknowledges: its cells may be others by now.
    pub fn trim(&mut self, una: SeqNum) {
        let gone = self.sacked.partition_point(|run| run.right.le(una));
        self.sacked.drain(..gone);
        let gone = self.places.partition_point(|(seq, _)| seq.lt(una));
        self.places.drain(..gone);
        self.settled = self.settled.filter(|run| run.right.gt(una));
        self.lost_from = self.lost_from.filter(|(seq, _)| seq.ge(una));
    }

    /// Everything may be otherwise now.
    pub fn clear(&mut self) {
        self.sacked.clear();
        self.places.clear();
        self.forget_losses();
    }

    /// What is lost may be otherwise now.
    pub fn forget_losses(&mut self) {
        (self.settled, self.lost_from) = (None, None);
    }

    /// Be empty, and hold little memory: whoever had many holes is not to leave their room behind.
    #[inline]
    pub fn reset(&mut self) {
        self.clear();
        self.sacked.shrink_to(KEPT_MAX);
        self.places.shrink_to(KEPT_MAX);
    }

    fn sacked_beyond(&self, seq: SeqNum) -> usize {
        self.sacked.partition_point(|run| run.right.le(seq))
    }

    /// What is left of the run of reported ranges that one at `seq` is in, and what lies behind it.
    pub fn past_sacked(&self, cells: &Cells, seq: SeqNum) -> Option<(Run, u32)> {
        let run = self.sacked.get(self.sacked_beyond(seq))?;
        run.past(cells, seq).map(|index| (Run { left: seq, ..*run }, index))
    }

    /// What is left of the settled run that a range at `seq` is in, or of the reported one, and what lies behind it.
    pub fn past_settled(&self, cells: &Cells, seq: SeqNum) -> Option<(Run, u32)> {
        let settled = self.settled.and_then(|run| Some((Run { left: seq, ..run }, run.past(cells, seq)?)));
        settled.or_else(|| self.past_sacked(cells, seq))
    }

    /// The last known place not behind `seq`, or the end of the reported run that it is in: a number, and the cell that
    /// begins there.
    pub fn seek(&self, cells: &Cells, seq: SeqNum) -> Option<(SeqNum, u32)> {
        if let Some((run, behind)) = self.past_sacked(cells, seq) {
            return Some((run.right, behind));
        }
        let run = self.sacked_beyond(seq).checked_sub(1).and_then(|before| self.sacked.get(before));
        let behind = run.and_then(|run| Some((run.right, run.behind(cells)?)));
        let place = self.places.partition_point(|(place, _)| place.le(seq)).checked_sub(1);
        let place =
            place.and_then(|before| self.places.get(before)).copied().filter(|place| is_at(cells, *place));
        match (behind, place) {
            (Some(behind), Some(place)) if behind.0.lt(place.0) => Some(place),
            (behind, place) => behind.or(place),
        }
    }

    /// Ranges are reported.
    pub fn add_sacked(&mut self, mut run: Run) {
        let from = self.sacked.partition_point(|other| other.right.lt(run.left));
        let to = self.sacked.partition_point(|other| other.left.le(run.right));
        if from >= to {
            if self.sacked.len() < RUNS_MAX {
                self.sacked.insert(from, run);
            }
            return;
        }
        let touched = self.sacked.get(from..to).unwrap_or(&[]);
        for other in touched {
            if other.left.lt(run.left) {
                run.left = other.left;
            }
            if other.right.gt(run.right) {
                (run.right, run.last) = (other.right, other.last);
            }
        }
        self.sacked.drain(from + 1..to);
        if let Some(place) = self.sacked.get_mut(from) {
            *place = run;
        }
    }

    /// A range begins there.
    pub fn add_place(&mut self, seq: SeqNum, index: u32) {
        let at = self.places.partition_point(|(place, _)| place.lt(seq));
        if self.places.len() < RUNS_MAX && self.places.get(at).is_none_or(|(place, _)| *place != seq) {
            self.places.insert(at, (seq, index));
        }
    }

    /// All ranges of a run are reported, or lost and not sent again. Of two such runs the longer one is kept.
    pub fn add_settled(&mut self, run: Option<Run>) {
        let long = |run: Run| run.right.since(run.left);
        if let Some(run) = run
            && self.settled.is_none_or(|other| long(run) >= long(other))
        {
            self.settled = Some(run);
        }
    }

    /// A range was lost.
    pub fn note_lost(&mut self, cell: &Cell, index: u32) {
        if self.lost_from.is_some_and(|(seq, _)| cell.start().lt(seq)) {
            self.lost_from = Some((cell.start(), index));
        }
    }

    /// Where to look for what is lost and was not sent again.
    pub fn lost_from(&self, cells: &Cells) -> Option<u32> {
        self.lost_from.filter(|place| is_at(cells, *place)).map(|(_, index)| index)
    }

    /// Before this range nothing is lost that was not sent again.
    pub fn set_lost_from(&mut self, cell: &Cell, index: u32) {
        self.lost_from = Some((cell.start(), index));
    }

    /// A range was sent again: it is settled no longer.
    pub fn note_again(&mut self, cell: &Cell) {
        if let Some(run) = &mut self.settled
            && run.left.lt(cell.end)
            && cell.start().lt(run.right)
        {
            run.left = cell.end;
            self.settled = self.settled.filter(|run| run.left.lt(run.right));
        }
    }
}

fn is_at(cells: &Cells, (seq, index): (SeqNum, u32)) -> bool {
    cells.get(index).is_some_and(|cell| cell.start() == seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_are_one() {
        // Shows reports that end where another begins, on either side and between two, so that a window reported piece by
        // piece takes one place of those there are.
        let run = |left, right| Run { left: SeqNum(left), right: SeqNum(right), last: right };
        let mut skips = Skips::default();
        for (left, right, runs) in [
            (10, 20, &[(10, 20)][..]),
            (20, 30, &[(10, 30)]),
            (5, 10, &[(5, 30)]),
            (40, 50, &[(5, 30), (40, 50)]),
        ] {
            skips.add_sacked(run(left, right));
            let found: Vec<_> = skips.sacked.iter().map(|run| (run.left.0, run.right.0)).collect();
            assert_eq!(found, runs);
        }
        skips.add_sacked(run(30, 40));
        assert_eq!(skips.sacked, [run(5, 50)]);
    }
}
