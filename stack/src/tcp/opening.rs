//! The common segment that opens a connection by way of a listener: it acknowledges our SYN-ACK, and brings the first bytes. What
//! it says of the SYN-ACK is taken in here; the rest is `fast`'s, as of any common segment.

use super::acknowledge::{acknowledge_syn_ack, note_window, set_snd_wnd};
use super::fast::Plain;
use super::input::establish;
use super::state::{Connection, State, flag};

/// Establish a connection by a segment of which `fast` will take all else in. False, and nothing done, if it is not so, and
/// [`input::input`](super::input::input) is to look at it.
pub fn open(connection: &mut Connection, plain: &Plain) -> bool {
    let hot = &*connection.hot;
    let acks = hot.state == State::SynReceived
        && plain.ack == hot.snd_nxt
        && plain.ack.gt(hot.snd_una)
        && connection.send_queue().is_empty();
    let next = plain.seq == hot.rcv_nxt && plain.len > 0 && plain.len <= connection.rcv_wnd();
    let fresh = match (hot.flags & (flag::TIMESTAMPS | flag::FIN_QUEUED), plain.stamps) {
        (flag::TIMESTAMPS, Some((value, _))) => value.wrapping_sub(hot.ts_recent).cast_signed() >= 0,
        _ => false,
    };
    let takes = connection.shared.config.fast_path && connection.shared.frames_left > 0 && plain.window > 0;
    if !(acks && next && fresh && takes && hot.ecn == 0) {
        return false;
    }
    note_window(connection, plain.seq, plain.ack);
    set_snd_wnd(connection, plain.window);
    acknowledge_syn_ack(connection, plain.ack);
    establish(connection);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tcp::listen::Offer;
    use crate::tcp::sack::tests::flows_of;
    use crate::tcp::{fast, input, tally};
    use crate::wire::tcp::{Flags, SeqNum};

    proptest! {
        #[test]
        fn what_opens_a_connection_and_is_common_besides_is_what_any_would_be(
            (len, window) in (0u32..3_000, 0u16..3_000),
            (irs, iss) in (any::<u32>(), any::<u32>()),
            (ahead, beyond) in (prop::sample::select(vec![0u32, 0, 0, 1, u32::MAX]), prop::sample::select(vec![0u32, 0, 0, 1])),
            (clock, stamped) in (prop::sample::select(vec![0u32, 5, u32::MAX]), prop::bool::weighted(0.9)),
            (offered, fast_path) in (prop::option::weighted(0.9, any::<u32>()), prop::bool::weighted(0.9)),
            (sent_us, quick_acks) in (any::<u32>(), 0u8..3),
        ) {
            // Shows of segments with any numbers, on connections with and without timestamps, that both ways leave the same behind,
            // and that of two that are taken in at once the second is the fast path's.
            let offer = Offer { timestamp: offered, mss: Some(1460), window_scale: Some(2), sack_permitted: true };
            let stamps = stamped.then_some((offered.unwrap_or(0).wrapping_add(clock), 7));
            let plain = Plain {
                seq: SeqNum(irs.wrapping_add(1).wrapping_add(ahead)),
                ack: SeqNum(iss.wrapping_add(1).wrapping_add(beyond)),
                window,
                stamps,
                len,
            };
            let [quick, any] = [true, false].map(|quick| {
                let (mut flows, slot) = flows_of(0);
                flows.shared.config.fast_path = fast_path;
                flows.shared.config.quick_acks = quick_acks;
                flows.shared.frames_left = 100;
                let mut connection = flows.connection(slot).unwrap();
                connection.queue(|cells, queue, _| cells.clear(queue, |_, _| {}));
                (connection.cold.iss, connection.hot.snd_una) = (SeqNum(iss), SeqNum(iss));
                (connection.hot.snd_nxt, connection.hot.sent_us) = (SeqNum(iss) + 1, sent_us);
                connection.enter(State::SynReceived);
                tally::begin(&mut connection, SeqNum(irs));
                connection.hot.rcv_adv = SeqNum(irs) + 2_001;
                connection.hot.last_ack_sent = SeqNum(irs) + 1;
                input::negotiate(&mut connection, &offer);
                let opened = quick && open(&mut connection, &plain);
                let mut accepted = opened;
                if opened {
                    assert!(fast::input(&mut connection, &plain).is_some(), "{plain:?}");
                } else {
                    let segment = plain.segment(2, 1, Flags::ACK);
                    let verdict = input::input(&mut connection, &segment, len);
                    tally::note_received(&mut connection, len);
                    accepted = verdict.connected && verdict.accept.is_some_and(|accept| accept.len == len);
                }
                connection.pay();
                // Of what is paid nothing more is told.
                connection.hot.last_len = 0;
                (opened, accepted, format!("{:?} {:?}", connection.hot, connection.cold))
            });
            prop_assert_eq!((quick.1, &quick.2), (any.1, &any.2));
            let usual = ahead == 0 && beyond == 0 && clock != u32::MAX && stamped && offered.is_some();
            let fits = (1..=2_000).contains(&len) && window > 0;
            prop_assert_eq!(quick.0, usual && fits && fast_path);
        }
    }
}
