//! Tail loss probes (RFC 8985 section 7): one segment that asks for an acknowledgement long before the retransmission
//! timer would. What the answer shows of losses is `rack`'s business.

use super::ecn;
use super::loss;
use super::output::{self, Emit};
use super::sack::News;
use super::send::{Cell, NONE};
use super::state::{Connection, State, flag};
use super::{retransmission, timers};
use crate::wire::tcp::SeqNum;

/// A probe that nothing has answered yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// TLP.end_seq.
    pub end: SeqNum,
    /// TLP.is_retrans.
    pub again: bool,
    /// What was in flight without it. Units: bytes.
    pub flight: u32,
}

/// PTO without a round trip measured. Units: microseconds.
const UNMEASURED_US: u32 = 1_000_000;

/// A probe may follow what is in flight.
//= https://www.rfc-editor.org/rfc/rfc8985#section-7.2
//# unless it is already in fast recovery, RTO
//# recovery, or segments have been SACKed
#[inline]
pub fn is_wanted(connection: &Connection) -> bool {
    if !connection.is(flag::SACK) || !connection.shared.config.tlp || connection.hot.snd_wnd == 0 {
        return false;
    }
    let open = connection.hot.state.is_synchronized() && connection.hot.state != State::SynReceived;
    // What a mark holds back until the retransmission timer runs out is not to be asked after either.
    let held = connection.hot.ecn & ecn::bit::HELD != 0;
    if !open || !connection.is_marked_amiss() {
        return open && !held;
    }
    if !connection.rare().history.measured || connection.cold.timeouts > 0 {
        return false;
    }
    let loss = connection.loss();
    !held && !loss.is_repairing() && loss.sacked == 0 && loss.probe.is_none() && !loss.probe_due
}

/// PTO, but for its bound by the retransmission timeout. Units: microseconds.
//= https://www.rfc-editor.org/rfc/rfc8985#section-7.2
//# TLP_calc_PTO():
//# If SRTT is available:
//# PTO = 2 * SRTT
pub fn timeout_us(connection: &Connection) -> u32 {
    let srtt_us = connection.hot.srtt_us;
    if srtt_us == 0 {
        return UNMEASURED_US;
    }
    // A receiver need not acknowledge less than two full segments at once.
    let flight = connection.flight();
    let single = flight <= connection.send_mss() && retransmission::first_segment(connection) == flight;
    let delay_us = if single { connection.shared.config.tlp_ack_delay_us } else { 0 };
    srtt_us.saturating_mul(2).max(connection.shared.config.tlp_us_min).saturating_add(delay_us)
}

/// PTO has passed: have a probe sent, and the retransmission timer watch over it.
//= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
//# When the PTO timer expires, the sender MUST check whether both of the
//# following conditions are met before sending a loss probe
pub fn expire(connection: &mut Connection) {
    if connection.flight() == 0 {
        return;
    }
    if is_wanted(connection) {
        connection.active_mut().loss.probe_due = true;
        connection.refresh_decline();
    }
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
    //# the sender MUST re-arm the RTO timer, not the PTO
    //# timer, if the FlightSize is not zero.
    timers::arm_timeout(connection);
}

/// The probe, if one is due.
pub fn probe(connection: &mut Connection) -> Option<Emit> {
    if !connection.loss().probe_due {
        return None;
    }
    connection.active_mut().loss.probe_due = false;
    if connection.flight() == 0 {
        connection.settle();
        return None;
    }
    let mss = output::payload_max(connection);
    let window = connection.hot.snd_wnd.saturating_sub(connection.flight());
    let (end, unsent, flight) =
        (connection.hot.snd_nxt, connection.hot.unsent, loss::flight_before(connection));
    // There is a probe from here on, so that the timer armed behind it is the one of retransmission.
    connection.active_mut().loss.probe = Some(Probe { end, again: true, flight });
    connection.rare_mut().history.measured = false;
    connection.note_amiss();
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
    //# the sender SHOULD transmit a
    //# previously unsent data segment, if one exists and the receive window
    //# allows
    let len = output::unsent_bytes(connection, mss).min(mss).min(window);
    let fresh = if unsent != NONE && window > 0 { output::send_new(connection, len, true) } else { None };
    if let Some(emit) = fresh {
        let end = connection.hot.snd_nxt;
        connection.active_mut().loss.probe = Some(Probe { end, again: false, flight });
        return Some(emit);
    }
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
    //# If such an unsent segment is not available, then the sender SHOULD
    //# retransmit the highest-sequence segment sent so far and set
    //# TLP.is_retrans to true.
    let last = last_segment(connection, mss)?;
    Some(retransmission::again_from(connection, last, true))
}

/// The first range of the highest segment sent: the last range, and those before that left with it and fit beside it.
fn last_segment(connection: &mut Connection, mss: u32) -> Option<u32> {
    let unsent = connection.hot.unsent;
    let sent = || connection.shared.cells.from(connection.hot.head).take_while(|(index, _)| *index != unsent);
    let (mut first, mut len, mut last): (Option<u32>, u32, Option<(u32, u32)>) = (None, 0, None);
    for (index, Cell { len: bytes, sent_us, .. }) in sent() {
        if last.is_none_or(|(_, us)| us != *sent_us) || len + bytes > mss {
            (first, len) = (Some(index), 0);
        }
        len += bytes;
        last = Some((index, *sent_us));
    }
    // A range longer than a segment is of a time when segments were longer: its end is what is asked for.
    let first = first?;
    if len > mss && connection.queue(|cells, queue, _| cells.split(queue, first, len - mss)) {
        return connection.shared.cells.get(first).map(|cell| cell.next);
    }
    Some(first)
}

/// What an acknowledgement says of the probe.
//= https://www.rfc-editor.org/rfc/rfc8985#section-7.4.2
//# TLP_process_ack(ACK):
//# If TLP.end_seq is not None AND ACK's ack. number >= TLP.end_seq:
pub fn on_ack(connection: &mut Connection, news: &News) {
    let Some(probe) = connection.loss().probe else { return };
    let una = connection.hot.snd_una;
    if una.lt(probe.end) {
        return;
    }
    let twice = news.dsack.is_some_and(|block| block.right == probe.end);
    let repaired = probe.again && !twice && una.gt(probe.end);
    if !probe.again || twice || repaired || news.plain {
        connection.active_mut().loss.probe = None;
    }
    if repaired {
        //= https://www.rfc-editor.org/rfc/rfc8985#section-7.4.2
        //# The sender then
        //# SHOULD invoke a congestion control response equivalent to a fast
        //# recovery.
        connection.congestion(|algorithm, window| algorithm.on_loss(window, probe.flight));
    }
}

/// The range is the probe's, or part of it: what came twice of it says nothing of reordering.
pub fn is_probes(connection: &Connection, right: SeqNum) -> bool {
    connection.loss().probe.is_some_and(|probe| probe.again && probe.end == right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::acknowledge::acknowledge;
    use crate::tcp::sack::tests::{BYTES, flows, segment};

    #[test]
    fn a_probe_that_nothing_needs_any_more_leaves_nothing_behind() {
        // Shows a probe that was due and could not go, as without a frame: meanwhile everything is acknowledged, so that
        // nothing goes, and what was remembered for the probe is given back.
        //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
        //= type=test
        //# When the PTO timer expires, the sender MUST check whether both of the
        //# following conditions are met before sending a loss probe
        let (mut flows, slot) = flows();
        let mut connection = flows.connection(slot).unwrap();
        connection.active_mut().loss.probe_due = true;
        acknowledge(&mut connection, &segment(BYTES, &[]), 0);
        assert_eq!((output::next(&mut connection), connection.cold.active), (None, NONE));
    }
}
