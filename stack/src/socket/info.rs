//! A connection's figures, for those who ask. Where they are kept is `tcp`'s.

/// The states of RFC 9293 section 3.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum TcpState {
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    #[default]
    Closed,
}

/// What a connection makes of losses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Recovery {
    /// Nothing is amiss.
    #[default]
    Open,
    /// Duplicates or SACKs have come, and nothing was taken for lost.
    Disorder,
    /// The window was reduced, for another reason than loss.
    Reduced,
    /// A loss is being repaired.
    Repairing,
    /// The retransmission timer expired.
    TimedOut,
}

/// A connection's figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Its state.
    pub state: TcpState,
    /// What it makes of losses.
    pub recovery: Recovery,
    /// Both ends send timestamps.
    pub timestamps: bool,
    /// Both ends understand SACK.
    pub sack: bool,
    /// Both ends use ECN.
    pub ecn: bool,
    /// Both ends scale windows: by the peer's shift and by ours.
    pub scales: Option<(u8, u8)>,
    /// Smoothed round-trip time. Units: microseconds; zero before the first measurement.
    pub rtt_us: u32,
    /// Its mean deviation. Units: microseconds.
    pub rttvar_us: u32,
    /// Retransmission timeout, not backed off. Units: microseconds.
    pub rto_us: u32,
    /// How often it is doubled.
    pub backoff: u8,
    /// Congestion window. Units: bytes.
    pub cwnd: u32,
    /// Slow-start threshold. Units: bytes; `u32::MAX` before the first loss.
    pub ssthresh: u32,
    /// The peer's window. Units: bytes.
    pub snd_wnd: u32,
    /// Our window. Units: bytes.
    pub rcv_wnd: u32,
    /// Largest payload a segment carries. Units: bytes, options of the segment excluded.
    pub mss: u16,
    /// MSS we announced. Units: bytes.
    pub advertised_mss: u16,
    /// Largest payload the peer has sent in a segment. Units: bytes.
    pub peer_mss: u16,
    /// Bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Bytes written and not acknowledged, sent or not.
    pub queued: u32,
    /// Bytes written and not sent.
    pub unsent: u32,
    /// Of the bytes in flight, those said to have arrived by SACK or by duplicates.
    pub sacked: u32,
    /// Of the bytes in flight, those taken for lost.
    pub lost: u32,
    /// Of the bytes taken for lost, those sent again.
    pub resent: u32,
    /// Segments sent again in a row without an answer.
    pub retransmits: u32,
    /// Window or keepalive probes in a row without an answer.
    pub probes: u32,
    /// Segments sent again, all in all.
    pub total_retransmits: u32,
    /// Segments by which reordering was seen to delay one. Units: segments.
    pub reordering: u32,
    /// How often reordering was seen.
    pub reorder_seen: u32,
    /// D-SACKs received.
    pub dsack_dups: u32,
    /// Least round-trip time of late. Units: microseconds; zero before the first measurement.
    pub min_rtt_us: u32,
    /// How long an acknowledgement may wait. Units: microseconds.
    pub ato_us: u32,
    /// Largest packet the path is believed to take. Units: bytes, with IP header.
    pub path_mtu: u16,
    /// Bytes that the peer has acknowledged.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes of payload sent, those sent again included.
    pub bytes_sent: u64,
    /// Bytes of payload sent again.
    pub bytes_resent: u64,
    /// Segments received, from the handshake's end on.
    pub segments_received: u32,
    /// Of them, those with payload.
    pub data_segments_received: u32,
    /// Segments sent.
    pub segments_sent: u32,
    /// Of them, those with payload.
    pub data_segments_sent: u32,
    /// Segments said to have arrived, by number or by SACK; one that went twice counts once, and so does the SYN.
    pub delivered: u32,
    /// When data was last sent. Units: milliseconds ago, modulo 71 minutes.
    pub sent_ms_ago: u32,
    /// When data last came. Units: milliseconds ago.
    pub received_ms_ago: u32,
    /// When anything last came. Units: milliseconds ago.
    pub heard_ms_ago: u32,
    /// Frames held for the application.
    pub held_frames: u32,
}
