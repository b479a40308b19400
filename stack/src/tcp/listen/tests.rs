use super::*;
use crate::time::Instant;

fn syn(flags: Flags) -> Segment {
    Segment::new(1000, 80, SeqNum(500), SeqNum(0), flags)
}

fn entry(port: u16, now: &Now) -> HalfOpen {
    let tuple = Tuple {
        local: "10.0.0.1:80".parse().unwrap(),
        remote: core::net::SocketAddr::new("10.0.0.2".parse().unwrap(), port),
    };
    HalfOpen { window: 1000, ..half_open(tuple, 0, &syn(Flags::SYN), SeqNum(9000), 0, now) }
}

fn table(max: usize) -> (HalfOpens, TcpConfig) {
    let config = TcpConfig::default();
    (HalfOpens::new(max, &config), config)
}

#[test]
fn a_listener_answers_syns_alone() {
    // Shows the order of section 3.10.7.2: RST first, then ACK, then SYN, then anything else.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.2
    //= type=test
    //# Any acknowledgment is bad if it arrives on a connection still in the
    //# LISTEN state. An acceptable reset segment should be formed for any
    //# arriving ACK-bearing segment.
    assert!(matches!(on_listen(&syn(Flags::RST | Flags::SYN | Flags::ACK)), Listening::Drop(_)));
    assert_eq!(on_listen(&syn(Flags::SYN | Flags::ACK)), Listening::Reset);
    assert_eq!(on_listen(&syn(Flags::SYN | Flags::FIN)), Listening::Answer);
    assert!(matches!(on_listen(&syn(Flags::FIN)), Listening::Drop(_)));
}

#[test]
fn a_half_open_connection_judges_each_segment() {
    // Shows each verdict of SYN_RECEIVED, at the window's edges too.
    let (_, config) = table(1);
    let entry = entry(1, &Now::new(Instant(0)));
    let segment = |seq, ack, flags| Segment::new(1, 80, SeqNum(seq), SeqNum(ack), flags);
    let judge = |seq, ack, flags| entry.on_segment(&segment(seq, ack, flags), 0, &config);
    assert_eq!(judge(501, 9001, Flags::ACK), Half::Open);
    assert_eq!(judge(501, 9001, Flags::ACK | Flags::FIN), Half::Open);
    assert_eq!(judge(501, 9000, Flags::ACK), Half::Reset);
    assert_eq!(judge(501, 9002, Flags::ACK), Half::Reset);
    assert_eq!(judge(500, 0, Flags::SYN), Half::Again);
    assert!(matches!(judge(500, 0, Flags::SYN | Flags::RST), Half::Drop(_)));
    assert!(matches!(judge(501, 0, Flags::SYN), Half::Forget(_)));
    assert!(matches!(judge(501, 0, Flags::RST), Half::Forget(_)));
    assert!(matches!(judge(502, 0, Flags::RST), Half::Challenge(_)));
    assert!(matches!(judge(1501, 0, Flags::RST), Half::Drop(_)));
    assert!(matches!(judge(500, 9001, Flags::ACK), Half::Challenge(_)));
    assert!(matches!(judge(1501, 9001, Flags::ACK), Half::Challenge(_)));
    assert!(matches!(judge(501, 9001, Flags::NONE), Half::Drop(_)));
}

#[test]
fn what_lacks_its_timestamp_opens_nothing() {
    // Shows that where both have agreed on timestamps, an acknowledgement without one does not make a connection, which
    // would drop it and then wait for nothing.
    let (_, config) = table(1);
    let mut half = entry(1, &Now::new(Instant(0)));
    half.offer.timestamp = Some(100);
    let mut ack = Segment::new(1, 80, SeqNum(501), SeqNum(9001), Flags::ACK);
    assert_eq!(half.on_segment(&ack, 0, &config), Half::Drop(DropReason::TcpOldTimestamp));
    ack.options.timestamps = Some((100, 0));
    assert_eq!(half.on_segment(&ack, 0, &config), Half::Open);
    ack.options.timestamps = Some((99, 0));
    assert_eq!(half.on_segment(&ack, 0, &config), Half::Challenge(DropReason::TcpOldTimestamp));
}

#[test]
fn a_challenge_promises_no_more_than_the_syn() {
    // Shows that the window of an acknowledgement is shifted where that of the SYN-ACK before it is not.
    let (_, config) = table(1);
    let now = Now::new(Instant(0));
    let mut half = HalfOpen { window: 65_535, scale: 8, ..entry(1, &now) };
    assert_eq!(half.challenge(&config, &now).window, 65_535);
    half.offer.window_scale = Some(3);
    assert_eq!((half.syn_ack(&config, &now).window, half.challenge(&config, &now).window), (65_535, 255));
}

#[test]
fn abandoned_handshakes_are_forgotten() {
    // Shows the SYN-ACK's times (1, 3, 7, 15, 31 s), the end at 63 s, and that the count comes back.
    let (mut table, config) = table(4);
    table.insert(entry(1, &Now::new(Instant(0))), 0, &config, &Now::new(Instant(0)));
    let mut times = Vec::new();
    for ms in 0..70_000u64 {
        let now = Now::new(Instant(ms * 1_000_000));
        while let Some((_, again)) = table.next_due(&config, &now) {
            times.push((ms / 1_000, again));
        }
    }
    assert_eq!(times, [(1, true), (3, true), (7, true), (15, true), (31, true), (63, false)]);
    assert!(table.is_empty());
    assert_eq!(table.next_deadline(Ticks::at(Instant(0))), Ticks::OFF);
}

#[test]
fn a_full_table_makes_room_from_the_abandoned() {
    // Shows that a fresh handshake is never evicted for another, and one that did not answer is; and where the reserve
    // ends.
    let (mut table, config) = table(2);
    let now = Now::new(Instant(0));
    let mut insert = |port| table.insert(entry(port, &now), u32::from(port), &config, &now);
    assert_eq!([1, 2, 3, 4, 5].map(&mut insert), [Some(0), Some(1), Some(2), Some(3), None]);
    assert_eq!(
        table.remove(2).unwrap().half,
        HalfOpen { due: Ticks::after(now.instant, 1_000_000), ..entry(3, &now) }
    );
    assert_eq!(table.remove(3).unwrap().hash, 4);
    assert_eq!((table.remove(3), table.get(3, &entry(4, &now).tuple)), (None, None));
    assert!(table.is_full());
    assert_eq!(table.evict(), None);
    let later = Now::new(Instant(1_001_000_000));
    assert!(table.next_due(&config, &later).is_some());
    assert_eq!(table.evict().unwrap().half.tuple, entry(1, &now).tuple);
    assert_eq!((table.len(), table.get(1, &entry(2, &now).tuple).is_some()), (1, true));
}

#[test]
fn places_are_used_again_and_queues_keep_their_order() {
    // Shows, over many handshakes of three listeners that end in every way, that each is asked again in its order, that
    // what goes with a listener or an address goes whole, and that no more places are made than were ever needed.
    let (mut table, config) = table(64);
    let (mut due, mut live) = (Vec::new(), 0);
    for n in 0..2_000u16 {
        let now = Now::new(Instant(u64::from(n) * 50_000_000));
        let half = HalfOpen { listener: u32::from(n % 3), ..entry(n, &now) };
        live += usize::from(table.insert(half, n.into(), &config, &now).is_some());
        if n % 5 == 0 {
            live -= usize::from(table.remove(u32::from(n % 64)).is_some());
        }
        while let Some((placed, again)) = table.next_due(&config, &now) {
            assert_eq!(u32::from(placed.half.tuple.remote.port()), placed.hash);
            due.push((placed.half.retries, placed.half.sent_us));
            live -= usize::from(!again);
        }
        if n % 700 == 699 {
            table.remove_listener(1, |placed| {
                assert_eq!(placed.half.listener, 1);
                live -= 1;
            });
        }
        assert_eq!(table.len(), live);
    }
    for retries in 1..3 {
        let times: Vec<_> = due.iter().filter(|(its, _)| *its == retries).map(|(_, time)| *time).collect();
        assert!(times.len() > 100 && times.is_sorted());
    }
    assert!(table.entries.len() <= 128);
    let mut gone = 0;
    table.remove_local("10.0.0.3".parse().unwrap(), |_| gone += 1);
    assert_eq!(gone, 0);
    table.remove_local("10.0.0.1".parse().unwrap(), |_| gone += 1);
    assert_eq!((gone, table.len(), table.next_deadline(Ticks::at(Instant(0)))), (live, 0, Ticks::OFF));
}
