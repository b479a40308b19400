//! TIME_WAIT: what becomes of segments for connections that are no more. What of these is remembered is
//! `tcp::time_wait`'s.

use drivers::Frame;

use super::Engine;
use super::segments::Arrived;
use crate::flow::{FlowTable, Place};
use crate::tcp::challenge::Limit;
use crate::tcp::ecn;
use crate::tcp::isn::FlowKey;
use crate::tcp::time_wait::{Rest, Waiting};
use crate::wire::DropReason;

impl Engine {
    /// A segment for a connection in TIME_WAIT.
    pub(super) fn on_rest(
        &mut self,
        number: u32,
        rest: &Rest,
        arrived: &Arrived,
        key: &FlowKey,
        frame: Frame,
    ) {
        match rest.on_segment(&arrived.segment, u32::from(arrived.len)) {
            Waiting::Drop(reason) => {
                self.counters.drop(reason);
                self.time_waits.note_timestamp(number, &arrived.segment);
            }
            Waiting::Acknowledge(reason) => {
                self.counters.drop(reason);
                self.answer_time_wait(number, rest, arrived);
            }
            Waiting::Restart => {
                self.counters.consumed_frames += 1;
                if self.answer_time_wait(number, rest, arrived)
                    && let Some(rest) = self.time_waits.get(number, key.word)
                {
                    self.forget_rest(number, key);
                    self.wait_out(key, &rest);
                }
            }
            Waiting::Reuse(beyond) if self.listeners.is_served(arrived.tuple.local) => {
                self.forget_rest(number, key);
                self.on_listen(arrived, key, Some(beyond), frame);
            }
            // Nobody listens: it is a SYN in a synchronized state like any other.
            Waiting::Reuse(_) => {
                self.counters.drop(DropReason::TcpNotAcceptable);
                self.answer_time_wait(number, rest, arrived);
            }
        }
    }

    /// Acknowledge, as often as is good; true if so.
    fn answer_time_wait(&mut self, number: u32, rest: &Rest, arrived: &Arrived) -> bool {
        let now = self.flows.shared.now;
        let answers = self.time_waits.challenge(number, Limit::of(&self.flows.shared.config), &now);
        if answers {
            let (_, ts_offset) = self.secret.beginnings(&arrived.tuple, now.instant);
            let segment = rest.acknowledgement(&arrived.tuple, ts_offset, &now);
            self.send_unpathed(&arrived.tuple, &segment, ecn::codepoint::NOT_ECT);
        }
        answers
    }

    /// Begin TIME_WAIT with what is left of a connection.
    pub(super) fn wait_out(&mut self, key: &FlowKey, rest: &Rest) {
        let number =
            self.time_waits.insert(key.word, rest, &self.flows.shared.now, forget_rest(&mut self.table));
        // Room for it was made with the table's own bound.
        if !self.table.insert(key.hash, Place::Rest(number).number()) {
            self.time_waits.remove(number);
        }
    }

    fn forget_rest(&mut self, number: u32, key: &FlowKey) {
        self.time_waits.remove(number);
        self.table.remove(key.hash, Place::Rest(number).number());
    }
}

/// What the table of TIME_WAIT ends, the flow table forgets.
pub(super) fn forget_rest(table: &mut FlowTable) -> impl FnMut(u64, u32) {
    |word, rest| {
        table.remove((word >> 32) as u32, Place::Rest(rest).number());
    }
}
