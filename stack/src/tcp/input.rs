//! What an arriving segment does to a connection, in the order of RFC 9293 section 3.10.7. This is the specification;
//! `fast` is a shortcut. What an acknowledgement does is in `acknowledge`, what becomes of payload in `text`; what goes
//! out in answer is decided in `output`.

use super::acknowledge::{acknowledge, acknowledge_syn_ack, hear_late, note_window, set_snd_wnd};
use super::challenge::Limit;
use super::ecn;
use super::listen::Offer;
use super::options;
use super::send::{NONE, mark};
use super::state::{Connection, State, decline, flag};
use super::tally;
use super::text::{note_duplicate, note_fin, text};
use super::ticks::Ticks;
use super::timers;
use super::urgent;
use crate::config::TcpConfig;
use crate::wire::DropReason;
use crate::wire::tcp::{Flags, Segment, SeqNum};

/// What of a segment's payload is to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accept {
    /// Payload bytes in front that are not wanted.
    pub skip: u32,
    /// Payload bytes behind those that are.
    pub len: u32,
    /// They are the next ones; else they wait in reassembly.
    pub in_order: bool,
}

/// How a connection ended because of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer refused our SYN.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// Data came after the application had closed, or shut both directions down: we reset it.
    DataAfterClose,
    /// Our FIN in LAST_ACK is acknowledged.
    Done,
    /// Both FINs are acknowledged: the rest is TIME_WAIT's.
    TimeWait,
}

/// What to do about a segment. The caller does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// Keep this of the payload.
    pub accept: Option<Accept>,
    /// Nothing of the segment was used, for this reason.
    pub drop: Option<DropReason>,
    /// Answer with the reset of RFC 9293 section 3.10.7.
    pub reset: bool,
    /// The connection is established now.
    pub connected: bool,
    /// Urgent data that the application does not know of yet ends before this number.
    pub urgent: Option<SeqNum>,
    /// The connection is over.
    pub end: Option<End>,
}

impl Verdict {
    fn dropped(reason: DropReason) -> Verdict {
        Verdict { drop: Some(reason), ..Verdict::default() }
    }

    fn ended(end: End) -> Verdict {
        Verdict { end: Some(end), ..Verdict::default() }
    }
}

/// Take a segment with `len` bytes of payload in.
pub fn input(connection: &mut Connection, segment: &Segment, len: u32) -> Verdict {
    match connection.hot.state {
        State::Closed | State::Listen | State::TimeWait => Verdict {
            reset: !segment.flags.contains(Flags::RST),
            ..Verdict::dropped(DropReason::TcpNoListener)
        },
        State::SynSent => syn_sent(connection, segment, len),
        _ => synchronized(connection, segment, len),
    }
}

/// RFC 9293 section 3.10.7.3.
fn syn_sent(connection: &mut Connection, segment: &Segment, len: u32) -> Verdict {
    let acks = segment.flags.contains(Flags::ACK);
    let acceptable = segment.ack.gt(connection.cold.iss) && segment.ack.le(connection.hot.snd_nxt);
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.3
    //# If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit
    //# is set, if so drop the segment and return)
    if acks && !acceptable {
        let reset = !segment.flags.contains(Flags::RST);
        return Verdict { reset, ..Verdict::dropped(DropReason::TcpNotAcceptable) };
    }
    if segment.flags.contains(Flags::RST) {
        return if acks {
            Verdict::ended(End::Refused)
        } else {
            Verdict::dropped(DropReason::TcpResetNotExact)
        };
    }
    if !segment.flags.contains(Flags::SYN) {
        return Verdict::dropped(DropReason::TcpNotAcceptable);
    }
    tally::begin(connection, segment.seq);
    connection.hot.rcv_adv = connection.hot.rcv_nxt;
    connection.hot.last_ack_sent = connection.hot.rcv_nxt;
    negotiate(connection, &Offer::of(segment));
    ecn::negotiate(connection, segment);
    connection.cold.snd_wl1 = segment.seq;
    connection.hot.snd_wnd = u32::from(segment.window);
    connection.cold.snd_wnd_max = connection.hot.snd_wnd;
    connection.set(flag::ACK_NOW);
    if !acks {
        // Simultaneous open: our SYN goes again, with an acknowledgement of theirs.
        connection.enter(State::SynReceived);
        connection.hot.unsent = connection.hot.head;
        connection.hot.snd_nxt = connection.cold.iss;
        if let Some(cell) = connection.shared.cells.get_mut(connection.hot.head) {
            cell.marks &= !(mark::SENT | mark::LOST | mark::AGAIN);
        }
        connection.active_mut().loss = super::loss::LossState::NONE;
        connection.settle();
        return Verdict::default();
    }
    connection.cold.snd_wl2 = segment.ack;
    acknowledge(connection, segment, 0);
    establish(connection);
    // Text beside the SYN fits the window that our SYN offered.
    connection.hot.rcv_adv += options::window_room(connection).min(u32::from(u16::MAX));
    let accept = text(connection, segment.seq + 1, len);
    note_fin(connection, segment, segment.seq + 1 + len);
    Verdict { accept, connected: true, ..Verdict::default() }
}

/// What the SYNs' options settle.
pub fn negotiate(connection: &mut Connection, offered: &Offer) {
    let TcpConfig { window_scaling, timestamps, sack, .. } = connection.shared.config;
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.7.1
    //# If an MSS Option is not received at connection setup, TCP
    //# implementations MUST assume a default send MSS of 536 (576 - 40) for
    //# IPv4 or 1220 (1280 - 60) for IPv6 (MUST-15).
    // A size of zero is none.
    let offered_mss = offered.mss.filter(|mss| *mss > 0);
    let peer_mss = offered_mss.unwrap_or(mss_default(connection.hot.is_ipv6())).max(MSS_MIN);
    connection.hot.mss = connection.hot.mss.min(peer_mss);
    if let Some(rare) = connection.rare_if() {
        rare.search.bound(peer_mss);
    }
    match offered.window_scale {
        Some(scale) if window_scaling => {
            connection.hot.snd_scale = scale.min(14);
            connection.hot.rcv_scale =
                options::window_scale(&connection.rare().options, &connection.shared.config);
        }
        _ => (connection.hot.snd_scale, connection.hot.rcv_scale) = (0, 0),
    }
    connection.clear(flag::TIMESTAMPS | flag::SACK);
    if let (Some(value), true) = (offered.timestamp, timestamps) {
        connection.set(flag::TIMESTAMPS);
        connection.hot.ts_recent = value;
    }
    if offered.sack_permitted && sack {
        connection.set(flag::SACK);
    }
}

/// RFC 9293 MUST-15.
pub const MSS_DEFAULT: u16 = 536;

/// The same over IPv6.
pub const MSS_DEFAULT_IPV6: u16 = 1220;

/// The MSS of a peer that does not tell it.
pub const fn mss_default(ipv6: bool) -> u16 {
    if ipv6 { MSS_DEFAULT_IPV6 } else { MSS_DEFAULT }
}

/// Least MSS we believe: a smaller one would have us send little but headers. Linux's `TCP_MIN_SND_MSS` is 48.
pub const MSS_MIN: u16 = 48;

pub(super) fn establish(connection: &mut Connection) {
    let mss = connection.send_mss();
    //= https://www.rfc-editor.org/rfc/rfc6928#section-2
    //# unless there have been more than
    //# one SYN or SYN/ACK retransmissions or true loss detection has been
    //# made.
    if connection.rare().history.retransmits > 1 {
        connection.hot.cwnd = mss;
    } else {
        connection.hot.cwnd = super::congestion::initial_window(mss, connection.shared.config.initial_window);
        connection.cold.ssthresh = u32::MAX;
    }
    connection.set_quick_acks(connection.shared.config.quick_acks);
    connection.cold.tuned_at = connection.hot.rcv_nxt;
    connection.cold.data_ms = connection.shared.now.millis;
    connection.set_life(Ticks::OFF);
    if connection.hot.srtt_us == 0 && connection.rare().history.retransmits > 0 {
        //= https://www.rfc-editor.org/rfc/rfc6298#section-5
        //# (5.7) If the timer expires awaiting the ACK of a SYN segment and the TCP implementation
        //# is using an RTO less than 3 seconds, the RTO MUST be re-initialized to 3 seconds when
        //# data transmission begins (i.e., after the three-way handshake completes).
        connection.hot.rttvar_us = RTO_AFTER_SYN_US;
        connection.cold.backoff = 0;
    }
    connection.enter(State::Established);
    timers::heard(connection);
}

/// RTO when the SYN had to be sent again and nothing was measured.
const RTO_AFTER_SYN_US: u32 = 3_000_000;

/// RFC 9293 section 3.10.7.4.
fn synchronized(connection: &mut Connection, segment: &Segment, len: u32) -> Verdict {
    // What is next in an open window, with ACK and neither SYN nor RST, passes all checks in front of the fifth.
    let next = segment.flags.without(Flags::PSH | Flags::FIN) == Flags::ACK
        && segment.seq == connection.hot.rcv_nxt
        && connection.rcv_wnd() > 0;
    let trimmed = if next { None } else { without_old_syn(connection, segment) };
    let segment = trimmed.as_ref().unwrap_or(segment);
    if let Some(verdict) = check_timestamp(connection, segment) {
        return verdict;
    }
    if !next && let Some(verdict) = check_header(connection, segment, len) {
        return verdict;
    }
    // Fifth, the ACK field.
    let Acknowledged { connected, end } = match acknowledgement(connection, segment, len) {
        Ok(acknowledged) => acknowledged,
        Err(verdict) => return verdict,
    };
    heard_in_order(connection, segment.seq, segment.options.timestamps);
    if let Some(end) = end {
        return Verdict::ended(end);
    }
    // Sixth, the URG bit.
    let urgent = urgent::input(connection, segment);
    // Seventh, the segment text.
    let (start, mut accept, mut drop) = (segment.seq, None, None);
    if len > 0 && connection.hot.state.receives() {
        let over = connection.is(flag::DEAF) || connection.hot.decline & decline::SHUT != 0;
        if over && (start + len).gt(connection.hot.rcv_nxt) {
            //= https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1
            //# If such a host issues a CLOSE call while received data is still pending in
            //# the TCP connection, or if new data is received after CLOSE is called, its
            //# TCP implementation SHOULD send a RST to show that data was lost (SHLD-3).
            return Verdict { reset: true, ..Verdict::ended(End::DataAfterClose) };
        }
        ecn::on_data(connection, segment);
        accept = text(connection, start, len);
        if accept.is_none() {
            drop = Some(DropReason::TcpBeyondWindow);
        }
    }
    // Eighth, the FIN bit.
    note_fin(connection, segment, start + len);
    Verdict { accept, drop, reset: false, connected, urgent, end: None }
}

/// The checks in front of the fifth, and that there is an ACK field. `Some`: the segment ends here.
fn check_header(connection: &mut Connection, segment: &Segment, len: u32) -> Option<Verdict> {
    // First, check the sequence number.
    let seq_len = segment.seq_len(len);
    if !is_acceptable(connection, segment.seq, seq_len) {
        return Some(not_acceptable(connection, segment, len));
    }
    // Second, the RST bit.
    if segment.flags.contains(Flags::RST) {
        return Some(reset(connection, segment));
    }
    // Fourth, the SYN bit.
    if segment.flags.contains(Flags::SYN) {
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
        //# If the connection was initiated with a passive OPEN, then
        //# return this connection to the LISTEN state and return.
        if connection.hot.state == State::SynReceived && connection.cold.listener != NONE {
            return Some(Verdict::ended(End::Refused));
        }
        //= https://www.rfc-editor.org/rfc/rfc5961#section-4.2
        //# If the SYN bit is set, irrespective of the sequence number, TCP MUST
        //# send an ACK (also referred to as challenge ACK) to the remote peer
        challenge(connection);
        return Some(Verdict::dropped(DropReason::TcpNotAcceptable));
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
    //# if the ACK bit is off, drop the segment and return
    (!segment.flags.contains(Flags::ACK)).then(|| Verdict::dropped(DropReason::TcpNotAcceptable))
}

/// After a simultaneous open the peer's SYN comes once more, with its acknowledgement of ours: the number it takes lies
/// before the window, so it is trimmed off. Beside a reset it is not, whose number is to be exact.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
//# One could tailor actual segments to fit this assumption by
//# trimming off any portions that lie outside the window (including
//# SYN and FIN)
fn without_old_syn(connection: &Connection, segment: &Segment) -> Option<Segment> {
    let old = connection.hot.state == State::SynReceived
        && segment.flags.contains(Flags::SYN | Flags::ACK)
        && !segment.flags.contains(Flags::RST)
        && segment.seq + 1 == connection.hot.rcv_nxt;
    old.then(|| Segment { seq: segment.seq + 1, flags: segment.flags.without(Flags::SYN), ..*segment })
}

//= https://www.rfc-editor.org/rfc/rfc9293#section-3.4
//# The first part of this test checks to see if the beginning of the
//# segment falls in the window, the second part of the test checks to see if
//# the end of the segment falls in the window
fn is_acceptable(connection: &Connection, seq: SeqNum, seq_len: u32) -> bool {
    let (nxt, window) = (connection.hot.rcv_nxt, connection.rcv_wnd());
    match (seq_len, window) {
        (0, 0) => seq == nxt,
        (0, _) => seq.in_window(nxt, window),
        (_, 0) => false,
        _ => seq.in_window(nxt, window) || (seq + (seq_len - 1)).in_window(nxt, window),
    }
}

fn not_acceptable(connection: &mut Connection, segment: &Segment, len: u32) -> Verdict {
    if segment.flags.contains(Flags::RST) {
        return Verdict::dropped(DropReason::TcpResetNotExact);
    }
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
    //# If the RCV.WND is zero, no segments will be acceptable, but special
    //# allowance should be made to accept valid ACKs, URGs, and RSTs.
    // So it is for one from right behind the window: a peer whose text has filled it, but for a hole, has no other number to
    // say what it acknowledges with.
    let bare = len == 0 && !segment.flags.contains(Flags::FIN) && connection.hot.state != State::SynReceived;
    let at_edge =
        segment.seq == connection.hot.rcv_nxt + connection.rcv_wnd() && (connection.rcv_wnd() == 0 || bare);
    if at_edge && segment.flags.contains(Flags::ACK) && !segment.flags.contains(Flags::SYN) {
        if let Ok(Acknowledged { end: Some(end), .. }) = acknowledgement(connection, segment, len) {
            return Verdict::ended(end);
        }
        timers::heard(connection);
        let urgent = urgent::input(connection, segment);
        if urgent.is_some() {
            connection.set(flag::ACK_NOW);
            return Verdict { urgent, ..Verdict::dropped(DropReason::TcpNotAcceptable) };
        }
    }
    if len > 0 || segment.flags.contains(Flags::FIN) {
        if is_duplicate(connection, segment, len) {
            timers::heard(connection);
            // Its acknowledgement was lost. Echo this transmission's time, not the first one's, so that the peer measures
            // the path and not its own timer: without a measurement its timer would stay backed off. Linux does so only for
            // segments that end where its last acknowledgement was.
            update_timestamp(connection, segment.seq, segment.options.timestamps);
            if !segment.flags.contains(Flags::SYN) {
                note_duplicate(connection, segment.seq, segment.seq + segment.seq_len(len));
            }
        }
        connection.set(flag::ACK_NOW);
    } else {
        challenge(connection);
    }
    Verdict::dropped(DropReason::TcpNotAcceptable)
}

/// The segment lies just before the window and acknowledges what may be acknowledged: it came before.
fn is_duplicate(connection: &Connection, segment: &Segment, len: u32) -> bool {
    let end = segment.seq + segment.seq_len(len);
    let oldest = connection.hot.snd_una - connection.cold.snd_wnd_max;
    segment.flags.contains(Flags::ACK)
        && segment.seq.lt(connection.hot.rcv_nxt)
        && end.le(connection.hot.rcv_nxt)
        && connection.hot.rcv_nxt.since(segment.seq) <= u32::from(u16::MAX) << connection.hot.rcv_scale
        && segment.ack.ge(oldest)
        && segment.ack.le(connection.hot.snd_nxt)
}

//= https://www.rfc-editor.org/rfc/rfc5961#section-3.2
//# If the RST bit is set and the sequence number exactly matches the
//# next expected sequence number (RCV.NXT), then TCP MUST reset the
//# connection.
fn reset(connection: &mut Connection, segment: &Segment) -> Verdict {
    if segment.seq != connection.hot.rcv_nxt {
        challenge(connection);
        return Verdict::dropped(DropReason::TcpResetNotExact);
    }
    if connection.hot.state == State::SynReceived {
        return Verdict::ended(End::Refused);
    }
    Verdict::ended(End::Reset)
}

/// Answer what may be an attack with an acknowledgement, within bounds.
fn challenge(connection: &mut Connection) {
    let known = connection.cold.iss.0 ^ connection.hot.ts_offset;
    let limit = Limit::of(&connection.shared.config);
    if connection.cold.challenges.take(limit, known, connection.shared.now.millis) {
        connection.hot.flags |= flag::ACK_NOW;
    }
}

/// PAWS, RFC 7323 section 5.3 step R1.
fn check_timestamp(connection: &mut Connection, segment: &Segment) -> Option<Verdict> {
    if !connection.is(flag::TIMESTAMPS) || segment.flags.contains(Flags::RST) {
        return None;
    }
    let Some((value, _)) = segment.options.timestamps else {
        //= https://www.rfc-editor.org/rfc/rfc7323#section-3.2
        //# If a non-<RST> segment is received without a TSopt, a TCP SHOULD
        //# silently drop the segment.
        return (!segment.flags.contains(Flags::SYN)).then(|| Verdict::dropped(DropReason::TcpOldTimestamp));
    };
    let older = value.wrapping_sub(connection.hot.ts_recent).cast_signed() < 0;
    if !older || is_outdated(connection) {
        return None;
    }
    connection.set(flag::ACK_NOW);
    Some(Verdict::dropped(DropReason::TcpOldTimestamp))
}

/// So long has nothing come that TS.Recent says nothing any more.
fn is_outdated(connection: &Connection) -> bool {
    connection.shared.now.millis.wrapping_sub(connection.hot.heard_ms) >= TS_RECENT_MS_MAX
}

/// 24 days: RFC 7323 section 5.5.
const TS_RECENT_MS_MAX: u32 = 24 * 24 * 3600 * 1000;

//= https://www.rfc-editor.org/rfc/rfc7323#section-4.3
//# If: SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent
//# then SEG.TSval is copied to TS.Recent; otherwise, it is ignored.
#[inline]
fn update_timestamp(connection: &mut Connection, seq: SeqNum, stamps: Option<(u32, u32)>) {
    if let (Some((value, _)), true) = (stamps, connection.is(flag::TIMESTAMPS))
        && (value.wrapping_sub(connection.hot.ts_recent).cast_signed() >= 0 || is_outdated(connection))
        && seq.le(connection.hot.last_ack_sent)
    {
        connection.hot.ts_recent = value;
    }
}

/// What became of a connection by an acknowledgement.
#[derive(Clone, Copy, Default)]
struct Acknowledged {
    /// It is established now.
    connected: bool,
    /// It is over.
    end: Option<End>,
}

/// The fifth check. `Err`: the segment ends here.
fn acknowledgement(
    connection: &mut Connection,
    segment: &Segment,
    len: u32,
) -> Result<Acknowledged, Verdict> {
    let (una, nxt) = (connection.hot.snd_una, connection.hot.snd_nxt);
    if connection.hot.state == State::SynReceived {
        if !(segment.ack.gt(una) && segment.ack.le(nxt)) {
            return Err(Verdict { reset: true, ..Verdict::dropped(DropReason::TcpNotAcceptable) });
        }
        note_window(connection, segment.seq, segment.ack);
        set_snd_wnd(connection, segment.window);
        if connection.send_queue().is_empty() {
            acknowledge_syn_ack(connection, segment.ack);
        } else {
            acknowledge(connection, segment, len);
        }
        establish(connection);
        let fin = connection.is(flag::FIN_QUEUED);
        if fin {
            connection.enter(State::FinWait1);
        }
        return Ok(Acknowledged { connected: true, end: None });
    }
    //= https://www.rfc-editor.org/rfc/rfc5961#section-5.2
    //# The ACK value is considered acceptable only if it is in the range of
    //# ((SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT).
    let oldest = una - connection.cold.snd_wnd_max;
    if segment.ack.lt(oldest) || segment.ack.gt(nxt) {
        challenge(connection);
        return Err(Verdict::dropped(DropReason::TcpNotAcceptable));
    }
    if segment.ack.ge(una) {
        acknowledge(connection, segment, len);
    } else {
        hear_late(connection, segment, len);
    }
    let fin_acked = connection.is(flag::FIN_QUEUED) && connection.send_queue().is_empty();
    let end = if fin_acked { on_fin_acknowledged(connection) } else { None };
    Ok(Acknowledged { connected: false, end })
}

/// Our FIN is acknowledged.
fn on_fin_acknowledged(connection: &mut Connection) -> Option<End> {
    match connection.hot.state {
        State::FinWait1 => {
            connection.enter(State::FinWait2);
            if connection.is(flag::DEAF) {
                let us = options::fin_timeout_us(connection);
                connection.set_life(connection.shared.now.after(us));
            }
            None
        }
        State::Closing => Some(End::TimeWait),
        State::LastAck => Some(End::Done),
        _ => None,
    }
}

/// An acceptable segment says that the peer is there, and what time it has.
fn heard_in_order(connection: &mut Connection, seq: SeqNum, stamps: Option<(u32, u32)>) {
    update_timestamp(connection, seq, stamps);
    timers::heard(connection);
}
