use proptest::prelude::*;

use super::*;
use crate::tcp::sack::tests::{flows_of, queue_bytes};
use crate::tcp::state::State;
use crate::wire::tcp::Segment;

/// What happens to a connection on which all is well.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes. Units: milliseconds.
    Pass(u32),
    /// So many bytes come, with an acknowledgement of some of what is in flight, or of all of it, and a window.
    Hear { len: u32, part: u8, window: u16 },
    /// So many bytes come behind what the last segment said.
    Follow(u32),
    /// A payload goes, if nothing is in flight.
    Say(usize),
    /// Two go at once, by the slow path.
    SayTwo(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u32..200_000).prop_map(Step::Pass),
        (prop_oneof![Just(0u32), 1u32..100], 0u8..3, 300u16..2_000)
            .prop_map(|(len, part, window)| Step::Hear { len, part, window }),
        (1u32..100).prop_map(Step::Follow),
        (1usize..100).prop_map(Step::Say),
        (1usize..100).prop_map(Step::SayTwo),
    ]
}

fn take(connection: &mut Connection, step: Step, last: &mut Option<Plain>) {
    let (una, flight) = (connection.hot.snd_una, connection.flight());
    match step {
        Step::Pass(_) => {}
        Step::Hear { len, part, window } => {
            let ack = una + flight / 2 * u32::from(part);
            let seq = connection.hot.rcv_nxt;
            let plain =
                Plain { seq, ack: if part == 2 { una + flight } else { ack }, window, stamps: None, len };
            *last = input(connection, &plain).map(|_| plain);
        }
        Step::Follow(len) => {
            let seq = connection.hot.rcv_nxt;
            let plain = last.map(|last| Plain { seq, len, ..last });
            if let Some(plain) = plain.filter(|plain| follows(connection.hot, plain)) {
                follow(connection.hot, connection.cold, &plain);
            }
        }
        Step::Say(len) => {
            if connection.send_queue().is_empty() {
                queue_bytes(connection, len);
                match whole(connection) {
                    Some(found) => assert!(output(connection, found).is_some()),
                    None => {
                        connection.pay();
                        assert!(output::next(connection).is_some());
                    }
                }
            }
        }
        Step::SayTwo(len) => {
            for _ in 0..2 {
                queue_bytes(connection, len);
            }
            while output::next(connection).is_some() {}
        }
    }
    connection.shared.finished.clear();
}

/// All that a connection says now, by full segments at a time where `fast`: how many those were, what each segment said,
/// and what is left behind.
fn say_all(lens: &[usize], (cwnd, window): (u32, u32), fast: bool) -> (usize, String) {
    let (mut flows, slot) = flows_of(0);
    let mut connection = flows.connection(slot).unwrap();
    connection.enter(State::Established);
    (connection.hot.cwnd, connection.hot.snd_wnd, connection.cold.snd_wnd_max) = (cwnd, window, window);
    lens.iter().for_each(|len| queue_bytes(&mut connection, *len));
    let (mut said, mut quick) = (Vec::new(), 0);
    while let Some(emit) = output::next(&mut connection) {
        let mut before = Plain::of(&emit.segment, emit.len).filter(|_| fast);
        said.push((emit.segment, emit.first, emit.len));
        while let Some(plain) = before
            && let Some(found) = full(&connection)
        {
            before = output_full(&mut connection, found, &plain);
            let Segment { source_port, destination_port, .. } = emit.segment;
            let segment = before.unwrap().segment(source_port, destination_port, Flags::ACK);
            said.push((segment, found.first, found.len));
            quick += 1;
        }
    }
    let cells = connection.shared.cells.from(connection.hot.head);
    let cells: Vec<_> =
        cells.map(|(_, cell)| (cell.len, cell.end, cell.marks, cell.sent_us, cell.key)).collect();
    connection.pay();
    (quick, format!("{said:?} {cells:?} {:?} {:?}", connection.hot, connection.cold))
}

proptest! {
    #[test]
    fn full_segments_are_what_the_slow_path_says(
        lens in prop::collection::vec(prop_oneof![1usize..40, 60usize..140, 150usize..900], 1..12),
        cwnd in 50u32..3_000,
        window in 50u32..3_000,
    ) {
        // Shows of payloads of all lengths, whose ends lie anywhere in segments, that both say the same, with the same
        // flags, and leave the same behind.
        let [(quick, said), (_, slowly)] = [true, false].map(|fast| say_all(&lens, (cwnd, window), fast));
        prop_assert_eq!(said, slowly);
        prop_assert!(quick > 0 || lens[0] < 300 || cwnd.min(window) < 300);
    }

    #[test]
    fn what_is_owed_is_paid(steps in prop::collection::vec(step(), 1..40), two in any::<bool>()) {
        // Shows of random segments and payloads that the cold part is the same whether what it is owed is paid at once,
        // or when the slow path asks, or at the end.
        let [mut at_once, mut late] = [(); 2].map(|()| {
            let (mut flows, slot) = flows_of(0);
            let mut connection = flows.connection(slot).unwrap();
            connection.enter(State::Established);
            connection.shared.frames_left = 100;
            connection.hot.rcv_adv = connection.hot.rcv_nxt + 60_000;
            connection.hot.cwnd = if two { 300 } else { 10_000 };
            (connection.hot.snd_wnd, connection.cold.snd_wnd_max) = (10_000, 10_000);
            (connection.cold.snd_wl1, connection.cold.snd_wl2) = (connection.hot.rcv_nxt, connection.hot.snd_una);
            flows.shared.frames_left = 100;
            (flows, slot, None)
        });
        for step in steps {
            for (flows, ..) in [&mut at_once, &mut late] {
                if let Step::Pass(ms) = step {
                    let pause = core::time::Duration::from_millis(ms.into());
                    flows.shared.set_now(flows.shared.now.instant.saturating_add(pause));
                }
            }
            let slow = matches!(step, Step::SayTwo(_));
            for (paid, (flows, slot, last)) in [(true, &mut at_once), (false, &mut late)] {
                let found = if slow { flows.connection(*slot) } else { flows.connection_owing(*slot) };
                let mut connection = found.unwrap();
                take(&mut connection, step, last);
                if paid {
                    // A segment that follows may be told so by what is owed.
                    let window = connection.hot.owed & owed::WINDOW;
                    let timed = connection.hot.owed & owed::TIMER != 0;
                    connection.pay();
                    connection.hot.owed |= window;
                    let (now, soonest) = (connection.shared.now.ticks, connection.shared.soonest);
                    let wait = connection.hot.retransmit_at.until(now);
                    assert!(!timed || wait >= soonest.until(now), "the wheel would come too late");
                }
            }
        }
        let parts = [at_once, late].map(|(mut flows, slot, _)| {
            let connection = flows.connection(slot).unwrap();
            if connection.flight() == 0 {
                // Nobody asks before something goes again.
                connection.cold.out_max = 0;
            }
            (format!("{:?}", connection.hot), format!("{:?}", connection.cold))
        });
        prop_assert_eq!(&parts[0], &parts[1]);
    }
}
