//! What a connection counts of what has passed. Bytes follow from sequence numbers, so that only their rounds are
//! counted; segments are counted in the few bits that the hot part has left, and here when those are full.

use super::state::{Connection, Hot, State, flag};
use crate::wire::tcp::SeqNum;

/// Counts of a whole life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    /// IRS.
    pub irs: SeqNum,
    /// How often SND.UNA has passed the end of the sequence space.
    una_rounds: u16,
    /// How often RCV.NXT has.
    nxt_rounds: u16,
    /// Segments received, but for those that the hot part counts.
    segments_in: u32,
    segments_out: u32,
    data_in: u32,
    data_out: u32,
    /// Bytes of payload sent again.
    pub bytes_again: u64,
}

impl Tally {
    /// Of a connection that begins.
    pub const NEW: Tally = Tally {
        irs: SeqNum(0),
        una_rounds: 0,
        nxt_rounds: 0,
        segments_in: 0,
        segments_out: 0,
        data_in: 0,
        data_out: 0,
        bytes_again: 0,
    };

    /// Segments received, and of them those with data.
    pub fn received(&self, hot: &Hot) -> (u32, u32) {
        let all = self.segments_in.wrapping_add(u32::from(hot.segments_in));
        (all, self.data_in.wrapping_add(u32::from(hot.data_in)))
    }

    /// Segments sent, and of them those with data.
    pub fn sent(&self, hot: &Hot) -> (u32, u32) {
        let all = self.segments_out.wrapping_add(u32::from(hot.segments_out));
        (all, self.data_out.wrapping_add(u32::from(hot.data_out)))
    }
}

/// The peer's SYN has this number, and what follows it is expected next.
pub fn begin(connection: &mut Connection, irs: SeqNum) {
    connection.beside.tally.irs = irs;
    connection.hot.rcv_nxt = irs + 1;
    note_nxt(connection, irs);
}

/// A segment with `len` bytes of payload has come.
#[inline]
pub fn note_received(connection: &mut Connection, len: u32) {
    let hot = &mut *connection.hot;
    hot.segments_in = hot.segments_in.wrapping_add(1);
    if hot.segments_in == 0 {
        connection.beside.tally.segments_in = connection.beside.tally.segments_in.wrapping_add(1 << 16);
    }
    if len > 0 {
        hot.data_in = hot.data_in.wrapping_add(1);
        if hot.data_in == 0 {
            connection.beside.tally.data_in = connection.beside.tally.data_in.wrapping_add(1 << 8);
        }
    }
}

/// A segment with `len` bytes of payload goes.
#[inline]
pub fn note_sent(connection: &mut Connection, len: u32) {
    let hot = &mut *connection.hot;
    hot.segments_out = hot.segments_out.wrapping_add(1);
    if hot.segments_out == 0 {
        connection.beside.tally.segments_out = connection.beside.tally.segments_out.wrapping_add(1 << 16);
    }
    if len > 0 {
        hot.data_out = hot.data_out.wrapping_add(1);
        if hot.data_out == 0 {
            connection.beside.tally.data_out = connection.beside.tally.data_out.wrapping_add(1 << 8);
        }
    }
}

/// SND.UNA has moved from `before`.
#[inline]
pub fn note_una(connection: &mut Connection, before: SeqNum) {
    if connection.hot.snd_una.0 < before.0 {
        let tally = &mut connection.beside.tally;
        tally.una_rounds = tally.una_rounds.wrapping_add(1);
    }
}

/// RCV.NXT has moved from `before`.
#[inline]
pub fn note_nxt(connection: &mut Connection, before: SeqNum) {
    if connection.hot.rcv_nxt.0 < before.0 {
        let tally = &mut connection.beside.tally;
        tally.nxt_rounds = tally.nxt_rounds.wrapping_add(1);
    }
}

/// Sequence numbers from `first` to `now`, which has passed the end of the space so often.
fn between(first: SeqNum, now: SeqNum, rounds: u16) -> u64 {
    (u64::from(rounds) << 32 | u64::from(now.0)).saturating_sub(u64::from(first.0))
}

/// Bytes that the peer has acknowledged, without SYN and FIN.
pub fn bytes_acked(connection: &Connection) -> u64 {
    let all = between(connection.cold.iss, connection.hot.snd_una, connection.beside.tally.una_rounds);
    let fin = connection.is(flag::FIN_QUEUED) && connection.send_queue().is_empty();
    all.saturating_sub(1 + u64::from(fin && connection.hot.state.is_synchronized()))
}

/// Bytes received in order, without SYN and FIN.
pub fn bytes_received(connection: &Connection) -> u64 {
    if !connection.hot.state.is_synchronized() {
        return 0;
    }
    let Tally { irs, nxt_rounds, .. } = connection.beside.tally;
    let fin = u64::from(connection.is(flag::FIN_RECEIVED));
    between(irs, connection.hot.rcv_nxt, nxt_rounds).saturating_sub(1 + fin)
}

/// Bytes of payload sent, those sent again included.
pub fn bytes_sent(connection: &Connection) -> u64 {
    let unsent = connection.hot.unsent;
    let in_flight = connection.cells.from(connection.hot.head).take_while(|(index, _)| *index != unsent);
    let in_flight: u64 = in_flight.map(|(_, cell)| u64::from(cell.payload_len())).sum();
    if connection.hot.state == State::SynSent {
        return 0;
    }
    bytes_acked(connection) + in_flight + connection.beside.tally.bytes_again
}
