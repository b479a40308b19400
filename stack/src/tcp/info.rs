//! A connection's figures, for those who ask.

use super::ecn;
use super::loss::{LossState, Phase};
use super::state::{Connection, State, flag};
use crate::socket::{Recovery, TcpInfo, TcpState};

/// What is known of a connection.
pub fn info(connection: &Connection) -> TcpInfo {
    let (hot, cold) = (&*connection.hot, &*connection.cold);
    let LossState { sacked, lost, again, .. } = *connection.loss();
    let history = &cold.history;
    let payload = |first| -> u32 { connection.cells.from(first).map(|(_, cell)| cell.payload_len()).sum() };
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
        rto_us: hot.rto_us,
        backoff: cold.backoff,
        cwnd: hot.cwnd,
        ssthresh: hot.ssthresh,
        snd_wnd: hot.snd_wnd,
        rcv_wnd: connection.rcv_wnd(),
        mss: u16::try_from(connection.send_mss()).unwrap_or(u16::MAX),
        advertised_mss: cold.adv_mss,
        peer_mss: cold.rcv_mss,
        in_flight: connection.flight(),
        queued: payload(hot.head),
        unsent: payload(hot.unsent),
        sacked,
        lost,
        resent: again,
        retransmits: if closed { 0 } else { timeouts },
        probes: u32::from(cold.probes).max(if closed { timeouts } else { 0 }),
        total_retransmits: history.retransmits,
        reordering: u32::from(history.reordering),
        reorder_seen: u32::from(history.reordered),
        dsack_dups: history.duplicates,
        min_rtt_us: history.min_rtt.us().unwrap_or(0),
        ato_us: connection.config.delayed_ack_us,
        path_mtu: hot.mss.saturating_add(HEADERS_LEN),
        held_frames: u32::from(hot.held),
        ..TcpInfo::default()
    }
}

/// Bytes of the headers before a segment's payload and options.
const HEADERS_LEN: u16 = 40;

fn recovery(connection: &Connection) -> Recovery {
    let loss = connection.loss();
    match loss.phase {
        Phase::Loss => Recovery::TimedOut,
        Phase::Recovery => Recovery::Repairing,
        Phase::Open if connection.hot.ecn & ecn::bit::REDUCED != 0 => Recovery::Reduced,
        Phase::Open if connection.hot.dup_acks > 0 || loss.sacked > 0 => Recovery::Disorder,
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
