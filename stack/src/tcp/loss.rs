//! Loss: when a repair begins and ends, and what is lost where SACK does not tell. What SACK reports is `sack`'s
//! business, what follows from its times `rack`'s, what goes out `output`'s, how far the window falls `congestion`'s.

use super::active::Active;
use super::congestion::validation;
use super::prr::{self, Prr};
use super::rack::{self, DUPLICATES, Found, Rack};
use super::sack::News;
use super::send::{NONE, mark};
use super::state::{Connection, flag};
use super::tlp::{self, Probe};
use super::undo::{self, Frto, Undo};
use super::{history::Timer, mtu, retransmission, timers};
use crate::wire::tcp::SeqNum;

/// What is being repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// Nothing.
    #[default]
    Open,
    /// Losses that reports told of: fast recovery.
    Recovery,
    /// What a timeout, or a smaller path, has made of everything in flight.
    Loss,
}

/// Bytes in flight by what is known of them, and the repair under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LossState {
    /// Said to have arrived by SACK, or counted by duplicates without it.
    pub sacked: u32,
    /// Taken for lost.
    pub lost: u32,
    /// Sent again since.
    pub again: u32,
    /// What is being repaired: until `recover` is acknowledged.
    pub phase: Phase,
    /// RACK.fack: the highest number reported, while anything is.
    pub fack: SeqNum,
    /// The segment sent last among those that arrived.
    pub rack: Rack,
    /// The account of a fast recovery.
    pub prr: Prr,
    /// What takes the repair back, if it was for nothing.
    pub undo: Option<Undo>,
    /// Whether a timeout may have been for nothing.
    pub frto: Frto,
    /// A tail loss probe is due.
    pub probe_due: bool,
    /// One is in flight.
    pub probe: Option<Probe>,
    /// RACK.dsack_round: SND.NXT when reordering was last given more time.
    pub dsack_round: Option<SeqNum>,
    /// Ranges that SACK blocks have cut in two.
    pub cuts: u8,
}

impl LossState {
    /// Nothing is amiss.
    pub const NONE: LossState = LossState {
        sacked: 0,
        lost: 0,
        again: 0,
        phase: Phase::Open,
        fack: SeqNum(0),
        rack: Rack { xmit_us: 0, end: SeqNum(0), rtt_us: 0, again: false, known: false },
        prr: Prr { delivered: 0, out: 0, flight: 0 },
        undo: None,
        frto: Frto::Off,
        probe_due: false,
        probe: None,
        dsack_round: None,
        cuts: 0,
    };

    /// Nothing need be remembered.
    pub fn is_idle(&self) -> bool {
        let LossState { sacked, lost, again, phase, undo, probe_due, probe, dsack_round, .. } = self;
        let counts = sacked | lost | again;
        let waits = undo.is_some() || probe.is_some() || dsack_round.is_some();
        counts == 0 && *phase == Phase::Open && !waits && !probe_due
    }

    /// A repair is under way.
    pub fn is_repairing(&self) -> bool {
        self.phase != Phase::Open
    }
}

impl Default for LossState {
    fn default() -> Self {
        LossState::NONE
    }
}

/// An acknowledgement came; SND.UNA and the ranges' marks say already what it told. `duplicate`: by RFC 5681's
/// definition, or with new SACK information. Returns how long reordering is given still. Units: microseconds.
pub fn on_ack(connection: &mut Connection, news: &News, duplicate: bool) -> u32 {
    let quiet = connection.cold.active == NONE && connection.cold.dup_acks == 0;
    if quiet && !duplicate && news.dsack.is_none() {
        grow(connection, news.acked);
        return 0;
    }
    if news.acked > 0 {
        connection.cold.dup_acks = 0;
    }
    if duplicate {
        connection.cold.dup_acks = connection.cold.dup_acks.saturating_add(1);
    }
    take_duplicates(connection, news);
    tlp::on_ack(connection, news);
    rack::take_news(connection, news);
    let before = connection.loss().phase;
    let mut opens = false;
    match before {
        Phase::Open => reconsider(connection, news),
        Phase::Recovery => go_on(connection, news),
        Phase::Loss => opens = !after_timeout(connection, news, duplicate) && news.acked > 0,
    }
    let found =
        if connection.is(flag::SACK) { rack::detect(connection) } else { count(connection, news, duplicate) };
    if before == Phase::Open && connection.loss().phase == Phase::Open && found.lost == 0 {
        // What SACK, or duplicates, had reported before is no news. Where much is reordered nearly all is reported so, and it
        // counts, as on Linux: or the window would hardly open.
        let usual = u32::from(connection.rare().history.reordering) <= u32::from(DUPLICATES);
        let fresh = if usual { news.delivered(connection.loss().sacked) } else { news.acked };
        grow_by(connection, news.acked, fresh);
    }
    begin_if_lost(connection, Some(news));
    match connection.loss().phase {
        Phase::Recovery => {
            let delivered = news.delivered(connection.loss().sacked);
            prr::regulate(connection, delivered, news.acked > 0 && found.lost == 0);
        }
        // That which ends a timeout's repair too.
        _ if opens => {
            // One acknowledgement may cover much that was not sent again: it opens the window by one segment (RFC 3465).
            let acked = news.acked.min(connection.send_mss());
            connection.congestion(|algorithm, window| algorithm.on_ack(window, acked));
        }
        _ => {}
    }
    connection.settle();
    found.wait_us
}

/// The congestion window opens by what was acknowledged while it was full.
#[inline]
pub(super) fn grow(connection: &mut Connection, acked: u32) {
    grow_by(connection, acked, acked);
}

/// The same where at most `fresh` bytes of it were not known before to have arrived.
//= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
//# N is the number of previously unacknowledged
//# bytes acknowledged in the incoming ACK.
#[inline]
fn grow_by(connection: &mut Connection, acked: u32, fresh: u32) {
    if acked == 0 {
        return;
    }
    let counted = validation::counted(connection, acked).min(fresh);
    if counted > 0 {
        connection.congestion(|algorithm, window| algorithm.on_ack(window, counted));
    }
}

/// What the peer says came twice.
fn take_duplicates(connection: &mut Connection, news: &News) {
    if connection.loss().dsack_round.is_some_and(|round| connection.hot.snd_una.ge(round)) {
        connection.active_mut().loss.dsack_round = None;
    }
    let Some(block) = news.dsack else { return };
    let segments = block.right.since(block.left).div_ceil(connection.send_mss());
    let history = &mut connection.rare_mut().history;
    history.reports_duplicates = true;
    history.duplicates = history.duplicates.saturating_add(segments);
    // The network makes copies too: more duplicates than segments went again are not ours. Nor does a probe's copy say
    // that segments overtake each other.
    let ours = history.duplicates <= history.retransmits;
    if ours && !tlp::is_probes(connection, block.right) {
        undo::note_twice(connection, segments);
        rack::on_duplicate(connection);
    }
}

/// No repair is under way, but the last one may yet turn out to have been for nothing.
fn reconsider(connection: &mut Connection, news: &News) {
    let Some(undo) = connection.loss().undo else { return };
    if undo.sent > 0 && undo.twice >= undo.sent {
        undo::revert(connection, news);
    } else if connection.hot.snd_una.gt(undo.until) {
        connection.active_mut().loss.undo = None;
    }
}

/// A fast recovery goes on, or ends.
fn go_on(connection: &mut Connection, news: &News) {
    if undo::is_spurious(connection, news) {
        undo::revert(connection, news);
    } else if connection.hot.snd_una.ge(connection.recover()) {
        finish(connection);
    }
}

/// The repair after a timeout goes on, or ends. True: it was for nothing.
fn after_timeout(connection: &mut Connection, news: &News, duplicate: bool) -> bool {
    let spurious = news.acked > 0 && undo::is_spurious(connection, news);
    if spurious || undo::judge(connection, news, duplicate) {
        undo::revert(connection, news);
        return true;
    }
    if connection.hot.snd_una.ge(connection.recover()) {
        finish(connection);
    }
    false
}

//= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
//# Set cwnd to either (1) min (ssthresh, max(FlightSize, SMSS) + SMSS) or
//# (2) ssthresh
fn finish(connection: &mut Connection) {
    let (flight, mss, sack) = (connection.flight(), connection.send_mss(), connection.is(flag::SACK));
    if connection.loss().phase == Phase::Recovery {
        // Rate reduction has led here by SACK's count of what is in the network; without SACK that count is a guess.
        let most = if sack { u32::MAX } else { flight.max(mss) + mss };
        connection.hot.cwnd = connection.cold.ssthresh.min(most);
    }
    connection.cold.dup_acks = 0;
    rack::on_recovered(connection);
    let nxt = connection.hot.snd_nxt;
    let loss = &mut connection.active_mut().loss;
    (loss.phase, loss.frto) = (Phase::Open, Frto::Off);
    if !sack {
        loss.sacked = 0;
    }
    if let Some(undo) = &mut loss.undo {
        undo.until = nxt;
    }
    // Without D-SACK nothing more will be heard of it.
    if !sack {
        loss.undo = None;
    }
}

/// Begin a repair if anything is lost and none is under way.
//= https://www.rfc-editor.org/rfc/rfc6675#section-5
//# (4.1) RecoveryPoint = HighData
fn begin_if_lost(connection: &mut Connection, news: Option<&News>) {
    let loss = connection.loss();
    if loss.is_repairing() || loss.lost == 0 {
        return;
    }
    let sacked = news.map_or(loss.sacked, |news| news.sacked_before);
    if mtu::is_probe_lost(connection) {
        connection.rare_mut().recover = connection.hot.snd_nxt;
        let loss = &mut connection.active_mut().loss;
        (loss.phase, loss.frto, loss.undo) = (Phase::Loss, Frto::Off, None);
        (loss.probe, loss.probe_due) = (None, false);
        return;
    }
    let una = news.map_or(connection.hot.snd_una, |news| news.una_before);
    undo::remember(connection);
    let flight = flight_before(connection);
    connection.congestion(|algorithm, window| algorithm.on_loss(window, flight));
    connection.rare_mut().recover = connection.hot.snd_nxt;
    let flight = connection.hot.snd_nxt.since(una).saturating_sub(sacked);
    let loss = &mut connection.active_mut().loss;
    loss.phase = Phase::Recovery;
    loss.prr = Prr { flight, ..Prr::default() };
    (loss.probe, loss.probe_due) = (None, false);
}

/// FlightSize for a reduction of the window.
//= https://www.rfc-editor.org/rfc/rfc6675#section-5
//# segments sent as part of the Limited Transmit mechanism not
//# be counted in FlightSize for the purpose of the above
//# equation.
pub fn flight_before(connection: &Connection) -> u32 {
    connection.flight().min(connection.hot.cwnd)
}

/// Reordering was given its time.
pub fn on_reordering_over(connection: &mut Connection) {
    let Found { wait_us, .. } = rack::detect(connection);
    begin_if_lost(connection, None);
    if connection.recovers() {
        prr::regulate(connection, 0, false);
    }
    connection.hot.set_timer(Timer::Reorder);
    timers::on_ack(connection, false, wait_us);
    connection.refresh_decline();
}

/// The retransmission timer ran out.
pub fn on_timeout(connection: &mut Connection) {
    // The first sign of a loss in this window, or of another one while the last was repaired by the timer.
    let (phase, first) = (connection.loss().phase, connection.cold.timeouts <= 1);
    let frto = if undo::may_follow(connection) { Frto::Again } else { Frto::Off };
    if phase == Phase::Open {
        undo::remember(connection);
    }
    reduce(connection, phase == Phase::Open || phase == Phase::Loss && first);
    connection.rare_mut().recover = connection.hot.snd_nxt;
    connection.cold.dup_acks = 0;
    // A receiver may have thrown out-of-order data away (RFC 2018 section 8): if the oldest range was reported,
    // it did, and no report counts any more.
    let reneged = connection.shared.cells.get(connection.hot.head).is_some_and(|cell| cell.is(mark::SACKED));
    let sack = connection.is(flag::SACK);
    rack::on_timeout(connection, reneged || !sack);
    let loss = &mut connection.active_mut().loss;
    (loss.phase, loss.frto) = (Phase::Loss, frto);
    (loss.probe, loss.probe_due) = (None, false);
    connection.refresh_decline();
}

/// The window falls to one segment. `anew`: the threshold falls too, for this is the first sign of a loss in this window.
fn reduce(connection: &mut Connection, anew: bool) {
    let flight = flight_before(connection);
    connection.congestion(|algorithm, window| {
        let ssthresh = window.ssthresh;
        algorithm.on_timeout(window, flight);
        if !anew {
            //= https://www.rfc-editor.org/rfc/rfc5681#section-3.1
            //# when a TCP sender detects segment loss using the retransmission timer and the
            //# given segment has already been retransmitted by way of the retransmission
            //# timer at least once, the value of ssthresh is held constant.
            window.ssthresh = ssthresh;
        }
    });
}

/// The path takes smaller packets than those in flight may be: those that are too big are lost, but not for congestion's sake,
/// so no window falls. True: there are such.
//= https://www.rfc-editor.org/rfc/rfc1191#section-6.2
//# Retransmission should be done for only for those packets that are
//# known to be dropped, as indicated by a Datagram Too Big message.
pub fn on_too_big(connection: &mut Connection) -> bool {
    let (mss, unsent) = (connection.send_mss(), connection.hot.unsent);
    let (mut index, mut big, mut lost, mut again) = (connection.hot.head, false, 0, 0);
    while index != unsent {
        let (len, behind) = left_together(connection, index);
        if behind == index {
            break;
        }
        while index != behind
            && let Some(cell) = connection.shared.cells.get_mut(index)
        {
            if len > mss && !cell.is(mark::SACKED) {
                cell.marks = cell.marks & !mark::AGAIN | mark::LOST;
                big = true;
            }
            lost += if cell.is(mark::LOST) { cell.len } else { 0 };
            again += if cell.is(mark::AGAIN) { cell.len } else { 0 };
            index = cell.next;
        }
    }
    if !big {
        return false;
    }
    connection.rare_mut().recover = connection.hot.snd_nxt;
    let Active { loss, skips, .. } = connection.active_mut();
    skips.forget_losses();
    (loss.lost, loss.again) = (lost, again);
    (loss.phase, loss.frto, loss.undo) = (Phase::Loss, Frto::Off, None);
    connection.refresh_decline();
    true
}

/// Bytes of the ranges from `first` on that left at the same time, up to where a PSH was set: of one segment, or of several, all of
/// which but the last were full. And the range behind them.
fn left_together(connection: &Connection, first: u32) -> (u32, u32) {
    let unsent = connection.hot.unsent;
    let (mut len, mut index, mut sent_us) = (0, first, None);
    while index != unsent
        && let Some(cell) = connection.shared.cells.get(index)
        && *sent_us.get_or_insert(cell.sent_us) == cell.sent_us
    {
        len += cell.payload_len();
        index = cell.next;
        if cell.is(mark::PUSHED) {
            break;
        }
    }
    (len, index)
}

/// Without SACK: each duplicate says that one segment has left the network, three that the oldest is lost, and a partial
/// acknowledgement that the next is.
fn count(connection: &mut Connection, news: &News, duplicate: bool) -> Found {
    let (flight, mss) = (connection.flight(), connection.send_mss());
    let phase = connection.loss().phase;
    let third = connection.cold.dup_acks >= DUPLICATES;
    //= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
    //# the TCP sender first checks the value of recover to see if the
    //# Cumulative Acknowledgment field covers more than recover.
    let covers = connection.hot.snd_una.gt(connection.recover());
    //= https://www.rfc-editor.org/rfc/rfc3042#section-2
    //# it SHOULD use the Limited Transmit algorithm, which calls for a TCP
    //# sender to transmit new data upon the arrival of the first two
    //# consecutive duplicate ACKs
    let counts = phase == Phase::Recovery || phase == Phase::Open && (covers || !third);
    if duplicate && counts {
        let loss = &mut connection.active_mut().loss;
        loss.sacked = (loss.sacked + mss).min(flight.saturating_sub(loss.lost));
    }
    if news.acked > 0 && connection.active().is_some() {
        // Of what a partial acknowledgement covers, one segment was the hole; the rest were the duplicates.
        let loss = &mut connection.active_mut().loss;
        let eaten = news.acked.saturating_sub(mss);
        loss.sacked = if phase == Phase::Recovery { loss.sacked.saturating_sub(eaten) } else { 0 };
    }
    let third = phase == Phase::Open && covers && third;
    //= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
    //# If this ACK does *not* acknowledge all of the data up to and including
    //# recover, then this is a partial ACK.  In this case, retransmit the first
    //# unacknowledged segment.
    let partial = phase == Phase::Recovery && news.acked > 0;
    Found { lost: if third || partial { lose_oldest(connection) } else { 0 }, wait_us: 0 }
}

/// The oldest segment is lost. Returns its sequence numbers if that is news.
//= https://www.rfc-editor.org/rfc/rfc5681#section-3.2
//# The lost segment starting at SND.UNA MUST be retransmitted and
//# cwnd set to ssthresh plus 3*SMSS.
fn lose_oldest(connection: &mut Connection) -> u32 {
    let head = connection.shared.cells.get(connection.hot.head);
    if head.is_none_or(|cell| !cell.is(mark::SENT) || cell.any(mark::LOST | mark::SACKED)) {
        return 0;
    }
    let (mut index, mut left, mut len) = (connection.hot.head, retransmission::first_segment(connection), 0);
    while left > 0
        && let Some(cell) = connection.shared.cells.get_mut(index)
    {
        if !cell.any(mark::LOST | mark::SACKED) {
            cell.marks |= mark::LOST;
            len += cell.len;
        }
        left = left.saturating_sub(cell.len);
        index = cell.next;
    }
    let Active { loss, skips, .. } = connection.active_mut();
    skips.forget_losses();
    loss.lost += len;
    len
}
