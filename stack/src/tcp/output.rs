//! What a connection says next. Every decision to acknowledge is made here, for the fast path and the slow one alike.
//! Frames are built by the engine from what this returns.

use super::congestion::validation;
use super::ecn;
use super::history::Timer;
use super::loss::LossState;
use super::options;
use super::send::{NONE, mark};
use super::state::{Connection, Hot, State, flag, hint};
use super::ticks::Ticks;
use super::undo::Frto;
use super::{mtu, prr, retransmission, tally, timers, tlp, urgent, window};
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};

/// One segment to send: a header, and where its payload begins in the send queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Emit {
    /// The header.
    pub segment: Segment,
    /// The first range of its payload; ranges end where the payload does.
    pub first: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Its IP header's type of service or traffic class; the two lowest bits are the ECN field.
    pub field: u8,
    /// Its IP header's time to live or hop limit; zero: the port's.
    pub hop_limit: u8,
    /// Routers may cut its packet.
    pub fragment: bool,
}

/// How long a short segment waits for more before it goes anyway (RFC 9293 section 3.8.6.2.1 asks for 0.1 to 1 s).
const OVERRIDE_US: u32 = 200_000;

/// The next segment, or `None` when there is nothing to say. What it says counts as said: call it only with a frame
/// at hand. If the frame cannot be built after all, the segment counts as lost on the way.
pub fn next(connection: &mut Connection) -> Option<Emit> {
    if connection.is(flag::DEAD) || connection.hot.state == State::Closed {
        return None;
    }
    let (forced, nxt) = (connection.is(flag::PROBE), connection.hot.snd_nxt);
    // Where nothing is amiss, nothing is lost and no loss is probed for.
    let amiss = connection.has_active();
    let mut emit = amiss
        .then(|| retransmission::lost(connection, forced).or_else(|| tlp::probe(connection)))
        .flatten()
        .or_else(|| forced.then(|| probe(connection)).flatten())
        .or_else(|| fresh(connection))
        .or_else(|| keepalive(connection))
        .or_else(|| acknowledgement(connection));
    if let Some(emit) = &mut emit {
        connection.clear(flag::PROBE);
        ecn::stamp(connection, emit, nxt);
        emit.field |= options::traffic_class(connection);
        emit.hop_limit = options::hop_limit(connection);
        emit.fragment = connection.hot.mtu & mtu::bit::FRAGMENT != 0;
        tally::note_sent(connection, emit.len);
        urgent::stamp(connection, emit);
    }
    emit
}

/// There is nothing to say: `next` would give `None` and change nothing.
#[inline]
pub fn is_silent(connection: &Connection) -> bool {
    connection.hot.unsent == NONE
        && !connection.has_active()
        && connection.hot.unacked == 0
        && !connection.is(flag::ACK_NOW | flag::PROBE | flag::KEEPALIVE_PROBE)
}

/// There may be something to acknowledge, and there is nothing else to say: then `next` asks the cold part for no more than
/// deadlines.
#[inline]
pub fn only_acknowledges(connection: &Connection) -> bool {
    connection.hot.unsent == NONE
        && !connection.has_active()
        && !connection.is(flag::PROBE | flag::KEEPALIVE_PROBE)
}

/// SYN or FIN, whichever a control range of this state stands for.
pub(super) fn control_flag(state: State) -> Flags {
    if matches!(state, State::SynSent | State::SynReceived) { Flags::SYN } else { Flags::FIN }
}

/// Forced by a timer: what is in flight again, or new bytes beyond what windows and Nagle allow.
fn probe(connection: &mut Connection) -> Option<Emit> {
    if connection.flight() > 0 {
        let head = connection.hot.head;
        if take_probe_back(connection) {
            // At least the byte, where something else holds the rest back.
            return fresh(connection).or_else(|| send_new(connection, 1, true));
        }
        return (head != NONE && head != connection.hot.unsent)
            .then(|| retransmission::again_from(connection, head, false));
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.1
    //# The sending TCP peer must regularly transmit at least one octet of new
    //# data (if available), or retransmit to the receiving TCP peer even if the
    //# send window is zero, in order to "probe" the window.
    let usable = connection.hot.snd_wnd.max(1);
    let len = unsent_bytes(connection, usable).min(payload_max(connection)).min(usable);
    send_new(connection, len, true)
}

/// Where the window has opened, and the byte that it was probed with is all that is in flight: it was refused, and goes again
/// with what is queued behind it, as if it had not gone before. False, and nothing done, if it is not so.
fn take_probe_back(connection: &mut Connection) -> bool {
    let head = connection.hot.head;
    let Some(cell) = connection.shared.cells.get(head) else { return false };
    let single = connection.flight() == 1 && cell.payload_len() == 1 && cell.next == connection.hot.unsent;
    if !single || connection.hot.snd_wnd == 0 || connection.loss().is_repairing() {
        return false;
    }
    if let Some(cell) = connection.shared.cells.get_mut(head) {
        cell.marks &= !(mark::SENT | mark::PUSHED | mark::LOST | mark::AGAIN);
        // Which of its copies is acknowledged nobody can tell.
        cell.retransmits = cell.retransmits.saturating_add(1);
    }
    connection.hot.unsent = head;
    connection.hot.snd_nxt = connection.hot.snd_una;
    connection.rare_mut().tally.bytes_again += 1;
    if connection.has_active() {
        connection.active_mut().loss = LossState::NONE;
    }
    connection.note_amiss();
    true
}

/// New data, and SYN and FIN.
fn fresh(connection: &mut Connection) -> Option<Emit> {
    let cell = connection.shared.cells.get(connection.hot.unsent)?;
    if cell.is(mark::CONTROL) {
        let open = !connection.hot.state.is_synchronized() || connection.hot.state == State::SynReceived;
        if open && connection.hot.snd_nxt != connection.cold.iss {
            //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.4
            //# otherwise, queue for processing after entering ESTABLISHED state.
            return None;
        }
        let window = connection.hot.snd_wnd > connection.flight();
        return if open || window { send_new(connection, 0, true) } else { hold_back(connection) };
    }
    if !connection.hot.state.is_synchronized() || connection.hot.state == State::SynReceived {
        return None;
    }
    if ecn::holds(connection) {
        return None;
    }
    restart_after_idle(connection);
    let mss = payload_max(connection);
    let window = connection.hot.snd_wnd.saturating_sub(connection.flight());
    // Segments that duplicates or SACK report make room for new ones: RFC 3042's limited transmit, RFC 6675's step 3.
    let mut congestion = connection.hot.cwnd.saturating_sub(connection.pipe());
    if connection.loss().frto == Frto::New {
        let sent = connection.hot.snd_nxt.since(connection.recover());
        congestion = congestion.min((2 * mss).saturating_sub(sent));
    }
    let usable = window.min(congestion);
    let searches = connection.hot.mtu & mtu::bit::SEARCHING != 0;
    // Beyond a segment it matters to a probe of the path alone how much is queued, and counting costs a look at each send.
    let enough = if searches { mss.max(usable) } else { mss };
    let queued = unsent_bytes(connection, enough.saturating_add(1));
    if searches && let Some(len) = mtu::probe(connection, queued, usable) {
        return send_new(connection, len, false);
    }
    let len = queued.min(mss).min(usable);
    if congestion < window && congestion < mss && queued > congestion {
        validation::note_sent(connection, len, true);
        if connection.flight() > 0 && len < mss {
            return None;
        }
    }
    if !is_worth_sending(connection, len, mss, queued) {
        return hold_back(connection);
    }
    validation::note_sent(connection, len, congestion <= window && congestion - len < mss);
    send_new(connection, len, len == queued)
}

//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.2.1
//# Send data:  (1) if a maximum-sized segment can be sent, i.e., if:
//#  min(D,U) >= Eff.snd.MSS;
fn is_worth_sending(connection: &Connection, len: u32, mss: u32, queued: u32) -> bool {
    if len == 0 {
        return false;
    }
    if len >= mss {
        return true;
    }
    let all = len == queued;
    if all && urgent::is_under_way(connection) {
        return true;
    }
    let lets_go = connection.is(flag::FIN_QUEUED) || urgent::is_pushed(connection);
    let more = || connection.shared.cells.get(connection.hot.tail).is_some_and(|cell| cell.is(mark::MORE));
    if all && !lets_go && (options::is_corked(connection) || more()) {
        return false;
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.7.4
    //# the sending TCP endpoint buffers all user data (regardless of the PSH
    //# bit) until the outstanding data has been acknowledged or until the TCP
    //# endpoint can send a full-sized segment (Eff.snd.MSS bytes).
    // Of what is outstanding, only another short segment makes one wait, as on Linux: the end of a long write does not.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.7.4
    //# some implementations use minor
    //# variations of the Nagle algorithm, such as the one described in
    //# Appendix A.3.
    let nagle = !connection.is(flag::NO_DELAY)
        && connection.flight() > 0
        && is_short_outstanding(connection)
        && !lets_go;
    !nagle && (all || len >= connection.cold.snd_wnd_max / 2)
}

/// A segment of less than the full size is not acknowledged yet.
fn is_short_outstanding(connection: &Connection) -> bool {
    let end = connection.cold.short_end;
    end.gt(connection.hot.snd_una) && end.le(connection.hot.snd_nxt)
}

/// Nothing goes now: see that a timer looks again if nothing in flight will.
fn hold_back(connection: &mut Connection) -> Option<Emit> {
    if connection.flight() == 0 && !connection.hot.retransmit_at.is_on() {
        if connection.hot.snd_wnd == 0 {
            timers::arm_retransmit(connection);
        } else {
            timers::arm(connection, Timer::Retransmit, OVERRIDE_US);
        }
    }
    None
}

//= https://www.rfc-editor.org/rfc/rfc5681#section-4.1
//# a TCP SHOULD set cwnd to no more than RW before beginning transmission if
//# the TCP has not sent data in an interval exceeding the retransmission
//# timeout.
fn restart_after_idle(connection: &mut Connection) {
    if connection.flight() > 0 || !connection.shared.config.slow_start_after_idle {
        return;
    }
    let idle = connection.shared.now.micros.wrapping_sub(connection.hot.sent_us);
    if idle > connection.rto_us() {
        let mss = connection.send_mss();
        let restart = super::congestion::initial_window(mss, connection.shared.config.initial_window);
        connection.hot.cwnd = connection.hot.cwnd.min(restart);
    }
}

/// Bytes of new data queued, counted no further than `enough`.
pub(super) fn unsent_bytes(connection: &Connection, enough: u32) -> u32 {
    let mut bytes = 0;
    for (_, cell) in connection.shared.cells.from(connection.hot.unsent) {
        bytes += cell.payload_len();
        if bytes >= enough {
            break;
        }
    }
    bytes
}

/// Send `len` new bytes, and with the last of them a FIN if one follows. `None` if the queue could not be cut.
pub(super) fn send_new(connection: &mut Connection, len: u32, may_fin: bool) -> Option<Emit> {
    let first = connection.hot.unsent;
    let seq = connection.hot.snd_nxt;
    if connection.flight() == 0 {
        // What the timer was to do while nothing was in flight it need not do any more.
        connection.hot.retransmit_at = Ticks::OFF;
    }
    let (mut index, mut left, mut flags, now) = (first, len, Flags::ACK, connection.shared.now.micros);
    let (mut seq_len, mut last) = (0, NONE);
    while let Some(cell) = connection.shared.cells.get(index) {
        let control = cell.is(mark::CONTROL);
        let over = !control && cell.len > left;
        if control && (left > 0 || !may_fin) || !control && left == 0 {
            break;
        }
        if over && !connection.queue(|cells, queue, _| cells.split(queue, index, left)) {
            break;
        }
        let cell = connection.shared.cells.get_mut(index)?;
        if cell.is(mark::CONTROL) {
            flags |= control_flag(connection.hot.state);
        } else {
            left -= cell.len;
            last = index;
        }
        cell.marks = cell.marks & !mark::PUSHED | mark::SENT;
        cell.sent_us = now;
        seq_len += cell.len;
        index = cell.next;
    }
    if seq_len == 0 {
        return None;
    }
    connection.hot.unsent = index;
    connection.hot.snd_nxt = seq + seq_len;
    connection.hot.sent_us = now;
    let len = len - left;
    if len > 0 && len < payload_max(connection) && !connection.is(flag::NO_DELAY) {
        connection.cold.short_end = seq + len;
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.1.2
    //# MUST set the PSH bit in the last buffered segment (i.e., when there is
    //# no more queued data to be sent) (MUST-61).
    if len > 0 && index == NONE {
        flags |= Flags::PSH;
        if let Some(cell) = connection.shared.cells.get_mut(last) {
            cell.marks |= mark::PUSHED;
        }
    }
    prr::note_sent(connection, seq_len);
    timers::on_sent(connection);
    Some(speak(connection, seq, flags, first, len))
}

//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4
//# An implementation SHOULD send a keep-alive segment with no data (SHLD-12);
//# however, it MAY be configurable to send a keep-alive segment containing one
//# garbage octet (MAY-6)
fn keepalive(connection: &mut Connection) -> Option<Emit> {
    if !connection.is(flag::KEEPALIVE_PROBE) {
        return None;
    }
    connection.clear(flag::KEEPALIVE_PROBE);
    let seq = connection.hot.snd_una - 1;
    Some(speak(connection, seq, Flags::ACK, NONE, 0))
}

/// A segment that does nothing but acknowledge, if one is due.
fn acknowledgement(connection: &mut Connection) -> Option<Emit> {
    if !connection.hot.state.is_synchronized() {
        return None;
    }
    if !connection.is(flag::ACK_NOW) && !is_ack_due(connection) {
        if connection.hot.unacked > 0 && connection.hot.hints & hint::DELAYED == 0 {
            connection
                .set_delack(connection.shared.now.after(u64::from(connection.shared.config.delayed_ack_us)));
        }
        return None;
    }
    let seq = acceptable_seq(connection);
    Some(speak(connection, seq, Flags::ACK, NONE, 0))
}

/// The number of a segment without data: SND.NXT, or the edge of the peer's window where a probe has gone beyond it, or
/// the peer has taken it back. It believes no acknowledgement from outside (RFC 9293 section 3.10.7.4).
pub(super) fn acceptable_seq(connection: &Connection) -> SeqNum {
    let edge = connection.hot.snd_una + connection.hot.snd_wnd;
    if connection.hot.snd_nxt.le(edge) { connection.hot.snd_nxt } else { edge }
}

//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.3
//# An ACK SHOULD be generated for at least every second full-sized segment or
//# 2*RMSS bytes of new data
pub(super) fn is_ack_due(connection: &Connection) -> bool {
    if connection.hot.unacked == 0 {
        return false;
    }
    let behind = connection.hot.rcv_nxt.since(connection.hot.last_ack_sent);
    connection.hot.hints & hint::QUICK != 0 || behind >= 2 * u32::from(connection.hot.rcv_mss)
}

/// Build the header, and count as said what it says.
pub(super) fn speak(connection: &mut Connection, seq: SeqNum, flags: Flags, first: u32, len: u32) -> Emit {
    let syn = flags.contains(Flags::SYN);
    let window = if syn { window::syn_window(connection) } else { window::advertise(connection) };
    // Only in SYN_SENT is there nothing to acknowledge yet.
    let flags = if connection.hot.state == State::SynSent { flags.without(Flags::ACK) } else { flags };
    let mut segment = Segment::new(
        connection.hot.local_port(),
        connection.hot.remote_port(),
        seq,
        if flags.contains(Flags::ACK) { connection.hot.rcv_nxt } else { SeqNum(0) },
        flags,
    );
    segment.window = window;
    segment.options = if syn { syn_options(connection) } else { data_options(connection) };
    if flags.contains(Flags::ACK) {
        note_acknowledged(connection);
        if connection.has_active() && connection.active_mut().dsack.take().is_some() {
            //= https://www.rfc-editor.org/rfc/rfc2883#section-4
            //# (2) Each duplicate contiguous sequence of data received is reported
            //# in at most one D-SACK block.
            connection.settle();
        }
    }
    Emit { segment, first, len, field: ecn::codepoint::NOT_ECT, hop_limit: 0, fragment: false }
}

/// A segment goes that acknowledges all that has come.
#[inline(always)]
pub(super) fn note_acknowledged(connection: &mut Connection) {
    connection.clear(flag::ACK_NOW);
    connection.hot.last_ack_sent = connection.hot.rcv_nxt;
    connection.hot.unacked = 0;
    if connection.hot.hints & (hint::DELAYED | hint::QUICK) != 0 {
        connection.set_delack(Ticks::OFF);
        connection.take_quick_ack();
    }
}

/// TSval and TSecr of a segment sent now, where the clock says `millis`.
#[inline]
pub fn timestamps(hot: &Hot, millis: u32) -> (u32, u32) {
    (millis.wrapping_add(hot.ts_offset), hot.ts_recent)
}

fn syn_options(connection: &Connection) -> Options {
    let config = &connection.shared.config;
    let answer = connection.hot.state == State::SynReceived;
    let offered = |ours: bool, theirs: bool| ours && (!answer || theirs);
    let stamps = offered(config.timestamps, connection.is(flag::TIMESTAMPS));
    Options {
        mss: Some(connection.cold.adv_mss),
        window_scale: offered(
            config.window_scaling,
            connection.hot.snd_scale.max(connection.hot.rcv_scale) > 0,
        )
        .then(|| options::window_scale(&connection.rare().options, config)),
        sack_permitted: offered(config.sack, connection.is(flag::SACK)),
        timestamps: stamps.then(|| timestamps(connection.hot, connection.shared.now.millis)),
        ..Options::NONE
    }
}

fn data_options(connection: &Connection) -> Options {
    let mut options = Options::NONE;
    if connection.is(flag::TIMESTAMPS) {
        options.timestamps = Some(timestamps(connection.hot, connection.shared.now.millis));
    }
    if connection.is(flag::SACK)
        && let Some(active) = connection.active()
    {
        //= https://www.rfc-editor.org/rfc/rfc2883#section-4
        //# (4) If the D-SACK block reports a duplicate contiguous sequence from
        //# a (possibly larger) block of data in the receiver's data queue above
        //# the cumulative acknowledgement, then the second SACK block in that
        if let Some(block) = active.dsack {
            options.sack.push(block.left, block.right);
        }
        for block in active.reassembly.sack_blocks().as_slice() {
            options.sack.push(block.left, block.right);
        }
    }
    options
}

/// Largest payload of a segment sent now: less than usual while SACK blocks go with it.
pub(super) fn payload_max(connection: &Connection) -> u32 {
    if !connection.has_active() {
        return connection.send_mss();
    }
    let options = u32::try_from(data_options(connection).len()).unwrap_or(40);
    u32::from(connection.hot.mss).saturating_sub(options).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::sack::tests::{flows_of, queue_bytes};

    #[test]
    fn no_short_segment_waits_for_one_that_was_not_sent() {
        // Shows of sequence numbers that pass the end of their circle that the end of a write goes behind its full segments.
        let (mut flows, slot) = flows_of(0);
        let mut connection = flows.connection(slot).unwrap();
        connection.enter(State::Established);
        (connection.hot.cwnd, connection.hot.snd_wnd, connection.cold.snd_wnd_max) = (5_000, 5_000, 5_000);
        let first = connection.hot.snd_nxt;
        queue_bytes(&mut connection, 1_250);
        let sent: Vec<u32> = core::iter::from_fn(|| next(&mut connection)).map(|emit| emit.len).collect();
        assert_eq!((sent.len(), sent.last()), (13, Some(&50)));
        assert!(connection.hot.snd_nxt.0 < first.0, "the numbers have not passed the end");
    }
}
