//! The common segment without payload that goes out: an acknowledgement, or a FIN behind all that was acknowledged. What it says
//! is what `output` would have said.

use super::options;
use super::output::{acceptable_seq, is_ack_due, note_acknowledged};
use super::send::{NONE, mark};
use super::state::{Connection, State, decline, flag, owed};
use super::ticks::Ticks;
use super::{mtu, tally, window};
use crate::wire::tcp::Flags;

/// The flags of the segment that [`output::next`](super::output::next) would give, if it has no payload and no option but
/// timestamps, and nothing else is to be said or thought of. Reads only.
#[inline]
pub fn flags(connection: &Connection) -> Option<Flags> {
    let hot = &*connection.hot;
    let odd = flag::DEAD | flag::PROBE | flag::KEEPALIVE_PROBE;
    let common = hot.flags & (odd | flag::TIMESTAMPS) == flag::TIMESTAMPS && !hot.is_ipv6();
    let other = hot.ecn != 0 || hot.mtu & mtu::bit::FRAGMENT != 0 || hot.decline & decline::OFF != 0;
    let synchronized = hot.state.is_synchronized() && hot.state != State::SynReceived;
    if !common || other || !synchronized || options::is_said(connection) || connection.has_active() {
        return None;
    }
    if hot.unsent == NONE {
        let due = connection.is(flag::ACK_NOW) || is_ack_due(connection);
        return (due && acceptable_seq(connection) == hot.snd_nxt).then_some(Flags::ACK);
    }
    let cell = connection.shared.cells.get(hot.unsent)?;
    let single = hot.head == hot.unsent && cell.next == NONE && cell.is(mark::CONTROL);
    (single && hot.snd_una == hot.snd_nxt && hot.snd_wnd > 0).then_some(Flags::ACK | Flags::FIN)
}

/// Say the segment for which [`flags`] gave these: all that [`output::next`](super::output::next) would do, but for the timer,
/// which is owed. Returns the window field.
#[inline]
pub fn say(connection: &mut Connection, flags: Flags) -> u16 {
    if flags.contains(Flags::FIN) {
        // What is owed is told by numbers that change now.
        connection.pay();
        let now_us = connection.shared.now.micros;
        if let Some(cell) = connection.shared.cells.get_mut(connection.hot.unsent) {
            cell.marks |= mark::SENT;
            cell.sent_us = now_us;
        }
        let hot = &mut *connection.hot;
        hot.unsent = NONE;
        hot.snd_nxt += 1;
        hot.sent_us = now_us;
        // What the timer was to do while nothing was in flight it need not do any more.
        hot.retransmit_at = Ticks::OFF;
        hot.owed |= owed::TIMER;
    }
    let window = window::advertise(connection);
    note_acknowledged(connection);
    tally::note_sent(connection, 0);
    window
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tcp::output;
    use crate::tcp::sack::tests::{flows_of, queue_bytes};

    proptest! {
        #[test]
        fn a_bare_segment_is_what_any_would_be(
            fin in any::<bool>(),
            sent in any::<bool>(),
            at_once in any::<bool>(),
            (unacked, bytes) in (0u8..4, 0u32..3_000),
            (snd_wnd, held) in (0u32..300, 0u16..40),
            state in prop::sample::select(vec![State::Established, State::FinWait1, State::CloseWait, State::LastAck]),
        ) {
            // Shows of connections in all states in which one goes, with windows of any size, that both ways say the same and
            // leave the same behind, with the timer paid.
            let [bare, any] = [true, false].map(|bare| {
                let (mut flows, slot) = flows_of(0);
                let mut connection = flows.connection(slot).unwrap();
                connection.enter(State::Established);
                connection.set(flag::TIMESTAMPS);
                (connection.shared.frames_left, connection.hot.frames_max, connection.hot.rcv_mss) = (100, 64, 536);
                (connection.hot.cwnd, connection.hot.snd_wnd) = (10_000, snd_wnd.max(u32::from(sent)));
                if sent {
                    queue_bytes(&mut connection, 1);
                    assert!(output::next(&mut connection).is_some());
                }
                connection.hot.snd_wnd = snd_wnd;
                if fin {
                    let end = connection.queued_end();
                    connection.queue(|cells, queue, _| cells.push_control(queue, end));
                    connection.set(flag::FIN_QUEUED);
                }
                connection.enter(state);
                (connection.hot.unacked, connection.hot.held) = (unacked, held);
                connection.hot.rcv_nxt += bytes;
                connection.hot.rcv_adv = connection.hot.rcv_nxt + 20_000;
                if at_once {
                    connection.set(flag::ACK_NOW);
                }
                let found = flags(&connection);
                let said = match found {
                    Some(flags) if bare => {
                        let seq = connection.hot.snd_nxt;
                        let window = say(&mut connection, flags);
                        let stamps = output::timestamps(connection.hot, connection.shared.now.millis);
                        Some((flags, seq, connection.hot.rcv_nxt, window, Some(stamps)))
                    }
                    Some(_) => output::next(&mut connection).map(|emit| {
                        let segment = emit.segment;
                        (segment.flags, segment.seq, segment.ack, segment.window, segment.options.timestamps)
                    }),
                    None => None,
                };
                connection.pay();
                let cells = connection.shared.cells.from(connection.hot.head);
                let cells: Vec<_> = cells.map(|(_, cell)| (cell.end, cell.marks, cell.sent_us)).collect();
                (found.is_some(), said, cells, format!("{:?} {:?}", connection.hot, connection.cold))
            });
            prop_assert!(bare.0 == bare.1.is_some());
            prop_assert_eq!(bare, any);
        }
    }
}
