//! `struct tcp_info`, as Linux lays it out: 280 bytes. The figures are the engine's.

use stack::socket::{Recovery, TcpInfo, TcpState};

/// Length of the structure.
pub const LEN: usize = 280;

/// What Linux says of a threshold that nothing has set.
const INFINITE: u32 = 0x7fff_ffff;

/// The structure's fields, one behind the other.
struct Fields(Vec<u8>);

impl Fields {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn word(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    fn long(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }
}

/// Linux's number of a state.
pub fn state_number(state: TcpState) -> u8 {
    match state {
        TcpState::Established => 1,
        TcpState::SynSent => 2,
        TcpState::SynReceived => 3,
        TcpState::FinWait1 => 4,
        TcpState::FinWait2 => 5,
        TcpState::TimeWait => 6,
        TcpState::Closed => 7,
        TcpState::CloseWait => 8,
        TcpState::LastAck => 9,
        TcpState::Listen => 10,
        TcpState::Closing => 11,
    }
}

/// The structure for a connection. Counts of segments are bytes by the size of a full segment, rounded up.
pub fn tcp_info(info: &TcpInfo) -> Vec<u8> {
    let mss = u32::from(info.mss).max(1);
    let segments = |bytes: u32| bytes.div_ceil(mss);
    let mut fields = Fields(Vec::with_capacity(LEN));
    fields.byte(state_number(info.state));
    fields.byte(match info.recovery {
        Recovery::Open => 0,
        Recovery::Disorder => 1,
        Recovery::Reduced => 2,
        Recovery::Repairing => 3,
        Recovery::TimedOut => 4,
    });
    fields.byte(u8::try_from(info.retransmits).unwrap_or(u8::MAX));
    fields.byte(u8::try_from(info.probes).unwrap_or(u8::MAX));
    fields.byte(info.backoff);
    let (theirs, ours) = info.scales.unwrap_or((0, 0));
    let option = |on: bool, bit: u8| if on { bit } else { 0 };
    let scales = option(info.scales.is_some(), 4);
    fields.byte(option(info.timestamps, 1) | option(info.sack, 2) | scales | option(info.ecn, 8));
    fields.byte(theirs & 15 | ours << 4);
    fields.byte(0);
    fields.word(info.rto_us << info.backoff.min(16));
    fields.word(info.ato_us);
    fields.word(u32::from(info.mss));
    fields.word(u32::from(info.peer_mss));
    fields.word(segments(info.in_flight));
    fields.word(segments(info.sacked));
    fields.word(segments(info.lost));
    fields.word(segments(info.resent));
    fields.word(0);
    // When an acknowledgement was last sent is not kept, by Linux either.
    let ago = [info.sent_ms_ago, 0, info.received_ms_ago, info.heard_ms_ago];
    ago.into_iter().for_each(|ago| fields.word(ago));
    fields.word(u32::from(info.path_mtu));
    fields.word(info.rcv_wnd);
    fields.word(info.rtt_us);
    fields.word(info.rttvar_us);
    fields.word(if info.ssthresh == u32::MAX { INFINITE } else { info.ssthresh / mss });
    fields.word(info.cwnd / mss);
    fields.word(u32::from(info.advertised_mss));
    fields.word(info.reordering);
    fields.word(0);
    fields.word(info.rcv_wnd);
    fields.word(info.total_retransmits);
    let tail = Tail::of(info);
    tail.put(&mut fields);
    fields.0.resize(LEN, 0);
    fields.0
}

/// The fields that came later.
struct Tail<'a>(&'a TcpInfo);

impl Tail<'_> {
    fn of(info: &TcpInfo) -> Tail<'_> {
        Tail(info)
    }

    fn put(&self, fields: &mut Fields) {
        let info = self.0;
        let unknown = u64::MAX;
        fields.long(unknown);
        fields.long(unknown);
        fields.long(info.bytes_acked);
        fields.long(info.bytes_received);
        fields.word(info.segments_sent);
        fields.word(info.segments_received);
        fields.word(info.unsent);
        fields.word(if info.min_rtt_us == 0 { u32::MAX } else { info.min_rtt_us });
        fields.word(info.data_segments_received);
        fields.word(info.data_segments_sent);
        // The rate of delivery, and times by what limited them, are not kept.
        [0; 4].into_iter().for_each(|value| fields.long(value));
        [info.delivered, 0].into_iter().for_each(|value| fields.word(value));
        fields.long(info.bytes_sent);
        fields.long(info.bytes_resent);
        fields.word(info.dsack_dups);
        fields.word(info.reorder_seen);
        fields.word(0);
        fields.word(info.snd_wnd);
        fields.word(info.rcv_wnd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap())
    }

    #[test]
    fn fields_lie_where_linux_has_them() {
        // Shows the offsets of a sample of fields, from include/uapi/linux/tcp.h, and the units of windows.
        let mut info = TcpInfo::default();
        (info.state, info.mss, info.cwnd, info.ssthresh) = (TcpState::Established, 1000, 10_000, u32::MAX);
        (info.rtt_us, info.in_flight, info.unsent, info.snd_wnd) = (100_000, 2500, 77, 4321);
        info.scales = Some((7, 8));
        let bytes = tcp_info(&info);
        assert_eq!((bytes.len(), bytes[0], bytes[6]), (280, 1, 0x87));
        assert_eq!((word(&bytes, 16), word(&bytes, 24)), (1000, 3));
        assert_eq!((word(&bytes, 68), word(&bytes, 76), word(&bytes, 80)), (100_000, INFINITE, 10));
        assert_eq!((word(&bytes, 144), word(&bytes, 228)), (77, 4321));
    }
}
