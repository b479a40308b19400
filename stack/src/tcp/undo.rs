//! Repairs that were begun for nothing: how that is found out (F-RTO, the Eifel detection, D-SACK) and how the window
//! gets back what it lost. What begins a repair lives in `loss`.

use super::active::Active;
use super::loss::Phase;
use super::sack::News;
use super::send::{Cell, mark};
use super::state::{Connection, flag};
use crate::wire::tcp::SeqNum;

/// What is needed to take a repair back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Undo {
    /// Congestion window before. Units: bytes.
    pub cwnd: u32,
    /// Slow-start threshold before, or what was in flight if that is more: pipe_prev of RFC 4015. Units: bytes.
    pub ssthresh: u32,
    /// Segments sent again since.
    pub sent: u32,
    /// Segments that came twice since, as D-SACK says.
    pub twice: u32,
    /// RetransmitTS of RFC 3522: the time in the first segment sent again.
    pub stamp: Option<u32>,
    /// A D-SACK behind this number is of another repair.
    pub until: SeqNum,
}

/// Where F-RTO stands (RFC 5682).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Frto {
    /// Not under way.
    #[default]
    Off,
    /// Step 2: the first segment went again, and an acknowledgement is waited for.
    Again,
    /// Step 3: new segments went, and the next acknowledgement decides.
    New,
}

/// Remember how things stand before a repair changes them.
//= https://www.rfc-editor.org/rfc/rfc4015#section-3.2
//# The TCP sender stores in pipe_prev what is considered a safe slow-
//# start threshold (ssthresh) before loss recovery is initiated
pub fn remember(connection: &mut Connection) {
    let (cwnd, flight) = (connection.hot.cwnd, connection.flight());
    let (ssthresh, until) = (connection.cold.ssthresh.max(flight), connection.hot.snd_nxt);
    let undo = Undo { cwnd, ssthresh, until, ..Undo::default() };
    connection.active_mut().loss.undo = Some(undo);
}

/// A segment goes again to repair a loss.
pub fn note_sent(connection: &mut Connection) {
    let stamp = connection.shared.now.millis.wrapping_add(connection.hot.ts_offset);
    let stamp = connection.is(flag::TIMESTAMPS).then_some(stamp);
    if !connection.loss().is_repairing() {
        return;
    }
    if let Some(undo) = &mut connection.active_mut().loss.undo {
        undo.sent += 1;
        //= https://www.rfc-editor.org/rfc/rfc3522#section-3.2
        //# Set a "RetransmitTS" variable to the value of the
        //# Timestamp Value field of the Timestamps option included in
        //# the retransmit sent when loss recovery is initiated.
        undo.stamp = undo.stamp.or(stamp);
    }
}

/// `segments` came twice.
pub fn note_twice(connection: &mut Connection, segments: u32) {
    if let Some(undo) = &mut connection.active_mut().loss.undo {
        undo.twice = undo.twice.saturating_add(segments);
    }
}

/// The acknowledgement shows that the repair was for nothing.
pub fn is_spurious(connection: &Connection, news: &News) -> bool {
    let Some(undo) = connection.loss().undo else { return false };
    // Everything that went again came twice, so nothing had been lost.
    undo.sent > 0 && undo.twice >= undo.sent || answers_original(connection, &undo, news)
}

/// The Eifel detection: what is acknowledged is the first transmission.
//= https://www.rfc-editor.org/rfc/rfc3522#section-3.2
//# If the value of the Timestamp Echo Reply field of the
//# acceptable ACK's Timestamps option is smaller than the
//# value of RetransmitTS, then proceed to step (5)
fn answers_original(connection: &Connection, undo: &Undo, news: &News) -> bool {
    let (Some(stamp), Some(echo)) = (undo.stamp, news.echo) else { return false };
    let earlier = echo.wrapping_sub(stamp).cast_signed() < 0;
    //= https://www.rfc-editor.org/rfc/rfc3522#section-3.2
    //# if during the lifetime of the TCP connection the TCP
    //# sender has previously received an ACK with a DSACK option,
    //# or the acceptable ACK does not acknowledge all outstanding
    let tells = connection.rare().history.reports_duplicates || connection.flight() > 0;
    news.again && earlier && news.dsack.is_none() && tells
}

/// Take the repair back: nothing was lost, and the window is what it was.
pub fn revert(connection: &mut Connection, news: &News) {
    let after_timeout = connection.loss().phase == Phase::Loss;
    clear_marks(connection);
    let initial =
        super::congestion::initial_window(connection.send_mss(), connection.shared.config.initial_window);
    let pipe = connection.pipe();
    let loss = &mut connection.active_mut().loss;
    (loss.phase, loss.frto) = (Phase::Open, Frto::Off);
    let undo = loss.undo.take();
    //= https://www.rfc-editor.org/rfc/rfc5682#section-2.1
    //# set the value of the "recover" variable to SND.UNA
    //# (the oldest unacknowledged sequence number [Pos81]).
    connection.rare_mut().recover = connection.hot.snd_una;
    connection.cold.dup_acks = 0;
    connection.cold.timeouts = 0;
    // What was taken for lost without a timeout was overtaken.
    if !after_timeout {
        let history = &mut connection.rare_mut().history;
        history.reordered = history.reordered.max(1);
    }
    //= https://www.rfc-editor.org/rfc/rfc4015#section-3.4
    //# This is unless the acceptable ACK signals
    //# congestion through the ECN-Echo flag [RFC3168].
    let Some(undo) = undo.filter(|_| !news.congested) else { return };
    let reduced = connection.hot.cwnd;
    connection.congestion(|algorithm, window| algorithm.on_spurious(window));
    let cwnd = if after_timeout {
        //= https://www.rfc-editor.org/rfc/rfc4015#section-3.4
        //# If the ECN-Echo flag is not set, cwnd is reset to the sum of the
        //# current FlightSize and the minimum of bytes_acked and IW.
        pipe.saturating_add(news.acked.min(initial)).min(undo.cwnd)
    } else {
        undo.cwnd
    };
    connection.hot.cwnd = reduced.max(cwnd);
    connection.cold.ssthresh = connection.cold.ssthresh.max(undo.ssthresh);
}

/// No range is taken for lost any more.
fn clear_marks(connection: &mut Connection) {
    let (mut index, unsent) = (connection.hot.head, connection.hot.unsent);
    while index != unsent
        && let Some(Cell { marks, next, .. }) = connection.shared.cells.get_mut(index)
    {
        *marks &= !(mark::LOST | mark::AGAIN);
        index = *next;
    }
    let sack = connection.is(flag::SACK);
    let Active { loss, skips, .. } = connection.active_mut();
    skips.forget_losses();
    (loss.lost, loss.again) = (0, 0);
    if !sack {
        loss.sacked = 0;
    }
}

/// The timer ran out: F-RTO may follow, unless a repair was under way or this timeout is of another segment.
//= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
//# This algorithm
//# SHOULD NOT be applied if the TCP sender is already in loss recovery
//# when a retransmission timeout occurs.
pub fn may_follow(connection: &Connection) -> bool {
    match connection.loss().phase {
        Phase::Open => true,
        Phase::Recovery => false,
        Phase::Loss => connection.cold.timeouts > 1,
    }
}

/// What F-RTO makes of an acknowledgement after a timeout. True: the timeout was spurious.
pub fn judge(connection: &mut Connection, news: &News, duplicate: bool) -> bool {
    let frto = connection.loss().frto;
    let covers = connection.hot.snd_una.ge(connection.recover());
    let sack = connection.is(flag::SACK);
    let next = match frto {
        Frto::Off => return false,
        //= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
        //# If duplicate ACKs arrive before
        //# the cumulative acknowledgment for retransmitted data, adjust the
        //# scoreboard according to the incoming SACK information.
        Frto::Again if news.acked == 0 && (sack || !duplicate) => Frto::Again,
        //= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
        //# Else, if the Cumulative Acknowledgment field does not cover
        //# "RecoveryPoint" but is larger than SND.UNA, transmit up to two
        //# new (previously unsent) segments and proceed to step 3.
        Frto::Again if news.acked > 0 && news.again && !covers && can_send_new(connection) => {
            connection.rare_mut().recover = connection.hot.snd_nxt;
            Frto::New
        }
        Frto::Again => Frto::Off,
        //= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
        //# declare the timeout spurious and set SpuriousRecovery to
        //# SPUR_TO.
        Frto::New if news.original => return true,
        Frto::New if duplicate || news.acked > 0 || news.sacked > 0 => {
            //= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
            //# set the congestion window to
            //# no more than 3 * MSS and proceed with the conventional RTO
            //# recovery, retransmitting unacknowledged segments.
            // Without SACK nothing tells that the new segments have left the network: with less than this, none but them could
            // be in it until the timer runs out again.
            let most = 3 * connection.send_mss();
            connection.hot.cwnd = if sack { connection.hot.cwnd.min(most) } else { most };
            Frto::Off
        }
        Frto::New => Frto::New,
    };
    connection.active_mut().loss.frto = next;
    false
}

/// A full segment of new data may go, whatever Nagle says; else the ordinary repair is the better use of the time.
fn can_send_new(connection: &Connection) -> bool {
    let mss = connection.send_mss();
    let queued = connection.queued_end().since(connection.hot.snd_nxt);
    let window = connection.hot.snd_wnd.saturating_sub(connection.flight());
    queued.min(window) >= mss
}
