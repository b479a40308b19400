//! A connection's figures, for those who ask.

use super::ecn;
use super::history::MinRtt;
use super::loss::{LossState, Phase};
use super::send::mark;
use super::state::{Connection, State, flag};
use super::tally;
use crate::socket::{Recovery, TcpInfo, TcpState};

/// What is known of a connection.
pub fn info(connection: &Connection) -> TcpInfo {
    let (hot, cold) = (&*connection.hot, &*connection.cold);
    let LossState { sacked, lost, again, .. } = *connection.loss();
    let rare = connection.rare();
    let history = &rare.history;
    let payload =
        |first| -> u32 { connection.shared.cells.from(first).map(|(_, cell)| cell.payload_len()).sum() };
    // What runs out on a closed window are probes, though the byte they carry is in flight.
    let closed = connection.flight() == 0 || hot.snd_wnd == 0 && hot.state.is_synchronized();
    let timeouts = u32::from(cold.timeouts);
    let scaled = (hot.snd_scale, hot.rcv_scale);
    TcpInfo {
        state: state(hot.state),
        recovery: recovery(connection),
        timestamps: connection.is(flag::TIMESTAMPS),
        sack: connection.is(flag::SACK),
        ecn: hot.ecn & ecn::bit::OK != 0,
        scales: (scaled != (0, 0)).then_some(scaled),
        rtt_us: hot.srtt_us,
        rttvar_us: hot.rttvar_us,
        rto_us: connection.rto_us(),
        backoff: cold.backoff,
        cwnd: hot.cwnd,
        ssthresh: cold.ssthresh,
        snd_wnd: hot.snd_wnd,
        rcv_wnd: connection.rcv_wnd(),
        mss: u16::try_from(connection.send_mss()).unwrap_or(u16::MAX),
        advertised_mss: cold.adv_mss,
        peer_mss: hot.rcv_mss,
        in_flight: connection.flight(),
        queued: payload(hot.head),
        unsent: payload(hot.unsent),
        sacked,
        lost,
        resent: again,
        retransmits: if closed { 0 } else { timeouts },
        probes: u32::from(rare.probes).max(if closed { timeouts } else { 0 }),
        total_retransmits: history.retransmits,
        reordering: u32::from(history.reordering),
        reorder_seen: history.reordered.into(),
        dsack_dups: history.duplicates,
        min_rtt_us: MinRtt::us(hot, cold).unwrap_or(0),
        ato_us: connection.shared.config.delayed_ack_us,
        held_frames: u32::from(hot.held),
        ..counts(connection)
    }
}

/// What has passed, and when it last did.
fn counts(connection: &Connection) -> TcpInfo {
    let (hot, cold, tally) = (&*connection.hot, &*connection.cold, &connection.rare().tally);
    let (segments_received, data_segments_received) = tally.received(hot, cold);
    let (segments_sent, data_segments_sent) = tally.sent(hot, cold);
    let ago = |millis: u32| connection.shared.now.millis.wrapping_sub(millis);
    TcpInfo {
        bytes_acked: tally::bytes_acked(connection),
        bytes_received: tally::bytes_received(connection),
        bytes_sent: tally::bytes_sent(connection),
        bytes_resent: tally.bytes_again,
        segments_received,
        data_segments_received,
        segments_sent,
        data_segments_sent,
        delivered: delivered(connection, data_segments_sent),
        sent_ms_ago: connection.shared.now.micros.wrapping_sub(hot.sent_us) / 1_000,
        received_ms_ago: ago(cold.data_ms),
        heard_ms_ago: ago(hot.heard_ms),
        ..TcpInfo::default()
    }
}

/// Segments with payload that went for the first time, less those of which nothing was heard, and the SYN.
fn delivered(connection: &Connection, data_sent: u32) -> u32 {
    if !connection.hot.state.is_synchronized() || connection.hot.state == State::SynReceived {
        return 0;
    }
    let unsent = connection.hot.unsent;
    let in_flight =
        connection.shared.cells.from(connection.hot.head).take_while(|(index, _)| *index != unsent);
    let unheard = in_flight.filter(|(_, cell)| !cell.any(mark::SACKED | mark::CONTROL)).count();
    let unheard = u32::try_from(unheard).unwrap_or(u32::MAX);
    (data_sent + 1).saturating_sub(connection.rare().history.retransmits).saturating_sub(unheard)
}

fn recovery(connection: &Connection) -> Recovery {
    let loss = connection.loss();
    match loss.phase {
        Phase::Loss => Recovery::TimedOut,
        Phase::Recovery => Recovery::Repairing,
        Phase::Open if connection.hot.ecn & ecn::bit::REDUCED != 0 => Recovery::Reduced,
        Phase::Open if connection.cold.dup_acks > 0 || loss.sacked > 0 => Recovery::Disorder,
        Phase::Open => Recovery::Open,
    }
}

fn state(state: State) -> TcpState {
    match state {
        State::Listen => TcpState::Listen,
        State::SynSent => TcpState::SynSent,
        State::SynReceived => TcpState::SynReceived,
        State::Established => TcpState::Established,
        State::FinWait1 => TcpState::FinWait1,
        State::FinWait2 => TcpState::FinWait2,
        State::CloseWait => TcpState::CloseWait,
        State::Closing => TcpState::Closing,
        State::LastAck => TcpState::LastAck,
        State::TimeWait => TcpState::TimeWait,
        State::Closed => TcpState::Closed,
    }
}
