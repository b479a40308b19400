use super::*;

#[test]
fn sets_are_picked_from_evenly() {
    // Shows that every lane of a set is picked, none outside it, and each about as often.
    let set = 0b1010_0100;
    let mut counts = [0_u32; 8];
    for hash in 0..3_000_u32 {
        let lane = member(set, hash.wrapping_mul(0x0101_0101)).expect("the set has members");
        counts[usize::from(lane.0)] += 1;
    }
    assert!(
        counts.iter().enumerate().all(|(lane, count)| (set >> lane & 1 == 1) == (*count > 800)),
        "{counts:?}"
    );
    assert_eq!(member(0, 5), None);
}

#[test]
fn homes_follow_the_table_or_the_dice() {
    // Shows that without a table connections spread evenly, with the interface's each goes to its queue, and a queue
    // beyond the lanes is nobody's.
    let secret = Secret::new([1, 2, 0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9]);
    let tuple = |port| Tuple {
        local: SocketAddr::from(([10, 0, 0, 1], 80)),
        remote: SocketAddr::from(([10, 0, 0, 2], port)),
    };
    let table = |reta: Vec<u16>| {
        let types = drivers::RssTypes { tcp_ipv4: true, ..drivers::RssTypes::default() };
        RssTable::new(drivers::symmetric_key(40), reta, types).map(Arc::new)
    };
    let count = |rss| {
        let homes = Homes { me: LaneId(0), lanes: 4, rss: vec![None, rss] };
        let mut counts = [0; 4];
        (1..=4000)
            .for_each(|port| counts[usize::from(homes.of(&secret, Transport::Tcp, 1, &tuple(port)).0)] += 1);
        counts
    };
    assert!(count(None).iter().all(|count| (800..1200).contains(count)), "{:?}", count(None));
    assert_eq!(count(table(vec![3])), [0, 0, 0, 4000]);
    assert_eq!(count(table(vec![9])), count(None));
}
