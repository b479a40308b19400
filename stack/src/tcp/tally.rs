//! What a connection counts of what has passed. Bytes follow from sequence numbers, so that only their rounds are
//! counted; segments are counted in the few bits that the hot part has left, in the cold part when those are full, and
//! here when those are.

use super::state::{Cold, Connection, Hot, State, flag};
use crate::wire::tcp::SeqNum;

/// Counts of a whole life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    /// How often SND.UNA has passed the end of the sequence space.
    una_rounds: u16,
    /// How often RCV.NXT has.
    nxt_rounds: u16,
    /// Segments received, but for those that the other parts count: in 2^24s.
    segments_in: u8,
    segments_out: u8,
    data_in: u8,
    data_out: u8,
    /// Bytes of payload sent again.
    pub bytes_again: u64,
}

impl Tally {
    /// Of a connection that begins.
    pub const NEW: Tally = Tally {
        una_rounds: 0,
        nxt_rounds: 0,
        segments_in: 0,
        segments_out: 0,
        data_in: 0,
        data_out: 0,
        bytes_again: 0,
    };

    /// Segments received, and of them those with data.
    pub fn received(&self, hot: &Hot, cold: &Cold) -> (u32, u32) {
        let all = count(self.segments_in, cold.segments_in, hot.segments_in);
        (all, count(self.data_in, cold.data_in, hot.data_in))
    }

    /// Segments sent, and of them those with data.
    pub fn sent(&self, hot: &Hot, cold: &Cold) -> (u32, u32) {
        let all = count(self.segments_out, cold.segments_out, hot.segments_out);
        (all, count(self.data_out, cold.data_out, hot.data_out))
    }
}

fn count(rare: u8, cold: u16, hot: u8) -> u32 {
    u32::from(rare) << 24 | u32::from(cold) << 8 | u32::from(hot)
}

/// The peer's SYN has this number, and what follows it is expected next.
pub fn begin(connection: &mut Connection, irs: SeqNum) {
    connection.cold.irs = irs;
    connection.hot.rcv_nxt = irs + 1;
    note_nxt(connection, irs);
}

/// One of the counts in the hot part has run over.
#[cold]
fn carry(connection: &mut Connection, cold: fn(&mut Cold) -> &mut u16, rare: fn(&mut Tally) -> &mut u8) {
    let count = cold(connection.cold);
    *count = count.wrapping_add(1);
    if *count == 0 {
        let count = rare(&mut connection.rare_mut().tally);
        *count = count.wrapping_add(1);
    }
}

/// A segment with `len` bytes of payload has come.
#[inline]
pub fn note_received(connection: &mut Connection, len: u32) {
    connection.hot.segments_in = connection.hot.segments_in.wrapping_add(1);
    if connection.hot.segments_in == 0 {
        carry(connection, |cold| &mut cold.segments_in, |tally| &mut tally.segments_in);
    }
    if len > 0 {
        connection.hot.data_in = connection.hot.data_in.wrapping_add(1);
        if connection.hot.data_in == 0 {
            carry(connection, |cold| &mut cold.data_in, |tally| &mut tally.data_in);
        }
    }
}

/// A segment with `len` bytes of payload goes.
#[inline(always)]
pub fn note_sent(connection: &mut Connection, len: u32) {
    connection.hot.segments_out = connection.hot.segments_out.wrapping_add(1);
    if connection.hot.segments_out == 0 {
        carry(connection, |cold| &mut cold.segments_out, |tally| &mut tally.segments_out);
    }
    if len > 0 {
        connection.hot.data_out = connection.hot.data_out.wrapping_add(1);
        if connection.hot.data_out == 0 {
            carry(connection, |cold| &mut cold.data_out, |tally| &mut tally.data_out);
        }
    }
}

/// SND.UNA has moved from `before`.
#[inline]
pub fn note_una(connection: &mut Connection, before: SeqNum) {
    if connection.hot.snd_una.0 < before.0 {
        let tally = &mut connection.rare_mut().tally;
        tally.una_rounds = tally.una_rounds.wrapping_add(1);
    }
}

/// RCV.NXT has moved from `before`.
#[inline]
pub fn note_nxt(connection: &mut Connection, before: SeqNum) {
    if connection.hot.rcv_nxt.0 < before.0 {
        let tally = &mut connection.rare_mut().tally;
        tally.nxt_rounds = tally.nxt_rounds.wrapping_add(1);
    }
}

/// Sequence numbers from `first` to `now`, which has passed the end of the space so often.
fn between(first: SeqNum, now: SeqNum, rounds: u16) -> u64 {
    (u64::from(rounds) << 32 | u64::from(now.0)).saturating_sub(u64::from(first.0))
}

/// Bytes that the peer has acknowledged, without SYN and FIN.
pub fn bytes_acked(connection: &Connection) -> u64 {
    let all = between(connection.cold.iss, connection.hot.snd_una, connection.rare().tally.una_rounds);
    let fin = connection.is(flag::FIN_QUEUED) && connection.send_queue().is_empty();
    all.saturating_sub(1 + u64::from(fin && connection.hot.state.is_synchronized()))
}

/// Bytes received in order, without SYN and FIN.
pub fn bytes_received(connection: &Connection) -> u64 {
    if !connection.hot.state.is_synchronized() {
        return 0;
    }
    let (irs, nxt_rounds) = (connection.cold.irs, connection.rare().tally.nxt_rounds);
    let fin = u64::from(connection.is(flag::FIN_RECEIVED));
    between(irs, connection.hot.rcv_nxt, nxt_rounds).saturating_sub(1 + fin)
}

/// Bytes of payload sent, those sent again included.
pub fn bytes_sent(connection: &Connection) -> u64 {
    let unsent = connection.hot.unsent;
    let in_flight =
        connection.shared.cells.from(connection.hot.head).take_while(|(index, _)| *index != unsent);
    let in_flight: u64 = in_flight.map(|(_, cell)| u64::from(cell.payload_len())).sum();
    if connection.hot.state == State::SynSent {
        return 0;
    }
    bytes_acked(connection) + in_flight + connection.rare().tally.bytes_again
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::sack::tests::flows_of;

    #[test]
    fn counts_go_on_where_a_part_is_full() {
        // Shows the last segment before each of a count's two lower parts is full, and the first behind it, of segments that
        // came and went, with payload and without.
        let (mut flows, slot) = flows_of(0);
        let mut connection = flows.connection(slot).unwrap();
        let figures = |connection: &Connection| {
            let (hot, cold, tally) = (&*connection.hot, &*connection.cold, &connection.rare().tally);
            (tally.received(hot, cold), tally.sent(hot, cold))
        };
        for (cold, full) in [(0, 0xff), (0xffff, 0xff_ffff)] {
            let (hot, its) = (&mut *connection.hot, &mut *connection.cold);
            (hot.segments_in, hot.segments_out, hot.data_in, hot.data_out) = (0xff, 0xff, 0xff, 0xff);
            (its.segments_in, its.segments_out, its.data_in, its.data_out) = (cold, cold, cold, cold);
            assert_eq!(figures(&connection), ((full, full), (full, full)));
            note_received(&mut connection, 0);
            note_sent(&mut connection, 0);
            assert_eq!(figures(&connection), ((full + 1, full), (full + 1, full)));
            note_received(&mut connection, 1);
            note_sent(&mut connection, 1);
            assert_eq!(figures(&connection), ((full + 2, full + 1), (full + 2, full + 1)));
        }
    }
}
