use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(destination: &str, prefix_len: u8, gateway: Option<&str>) -> Route {
    let gateway = gateway.map(ip);
    Route { destination: ip(destination), prefix_len, gateway, interface: 0, source: None, mtu: 1500 }
}

fn table() -> Table {
    let mut table = Table::new();
    let local = |address, prefix_len| LocalAddress { address: ip(address), prefix_len, interface: 0 };
    table.add_address(local("10.0.0.1", 24), 1500).unwrap();
    table.add_address(local("192.168.7.9", 16), 9000).unwrap();
    table.add_address(local("2001:db8::1", 64), 1500).unwrap();
    table.add_route(route("0.0.0.0", 0, Some("10.0.0.254"))).unwrap();
    table
}

#[test]
fn ipv6_sends_from_the_address_that_fits() {
    // Shows the choice by scope, by preference and by common bits (RFC 6724's rules 1, 2, 3 and 8), towards neighbours
    // and by a router that has but an address of the link.
    let mut table = Table::new();
    let local = |address, prefix_len| LocalAddress { address: ip(address), prefix_len, interface: 0 };
    for (address, len) in [("fe80::1", 64), ("fd00::1", 128), ("2001:db8:1::1", 128), ("2001:db8:2::1", 128)]
    {
        table.add_address(local(address, len), 1500).unwrap();
    }
    let router = route("::", 0, Some("fe80::9"));
    table.add_route(router).unwrap();
    table.add_route(route("2001:db8:1::", 64, None)).unwrap();
    let from = |table: &Table, to| table.next_hop(ip(to)).map(|hop| hop.source.to_string());
    for (to, due) in [
        ("fe80::7", "fe80::1"),
        ("2001:db8:1::7", "2001:db8:1::1"),
        ("2001:db8:2::7", "2001:db8:2::1"),
        ("fd00:9::7", "fd00::1"),
    ] {
        assert_eq!(from(&table, to).as_deref(), Some(due), "{to}");
    }
    table.set_deprecated(ip("2001:db8:2::1"), true);
    assert_eq!(from(&table, "2001:db8:2::7").as_deref(), Some("2001:db8:1::1"));
    table.set_deprecated(ip("2001:db8:2::1"), false);
    assert_eq!(from(&table, "2001:db8:2::7").as_deref(), Some("2001:db8:2::1"));
    table.set_ipv6_mtu(0, 1400);
    assert_eq!((table.ipv6_mtu(0), table.ipv6_mtu(1)), (Some(1400), None));
    table.remove_unsourced(&route("fe80::", 64, None));
    assert!(table.next_hop(ip("fe80::7")).is_some(), "an address's own subnet stays");
    table.remove_unsourced(&router);
    assert_eq!(from(&table, "2001:db8:2::7"), None);
}

#[test]
fn the_longest_prefix_wins() {
    // Shows connected subnets, the default gateway, a more specific route, and its removal.
    let mut table = table();
    let hop = |table: &Table, to: &str| table.next_hop(ip(to)).map(|hop| (hop.gateway_or_dst, hop.source));
    assert_eq!(hop(&table, "10.0.0.7"), Some((ip("10.0.0.7"), ip("10.0.0.1"))));
    assert_eq!(hop(&table, "192.168.1.1"), Some((ip("192.168.1.1"), ip("192.168.7.9"))));
    assert_eq!(table.next_hop(ip("192.168.1.1")).unwrap().mtu, 9000);
    assert_eq!(hop(&table, "8.8.8.8"), Some((ip("10.0.0.254"), ip("10.0.0.1"))));
    assert_eq!(hop(&table, "2001:db8::5"), Some((ip("2001:db8::5"), ip("2001:db8::1"))));
    assert_eq!(hop(&table, "2001:db9::5"), None);
    table.add_route(route("8.8.0.0", 16, Some("192.168.0.1"))).unwrap();
    table.add_route(route("8.8.8.8", 32, Some("192.168.0.2"))).unwrap();
    assert_eq!(hop(&table, "8.8.8.8"), Some((ip("192.168.0.2"), ip("192.168.7.9"))));
    assert_eq!(hop(&table, "8.8.8.9"), Some((ip("192.168.0.1"), ip("192.168.7.9"))));
    table.remove_route(ip("8.8.8.8"), 32);
    assert_eq!(hop(&table, "8.8.8.8"), Some((ip("192.168.0.1"), ip("192.168.7.9"))));
    // A router that is reached by other means, as those of IPv6 are by their own word.
    table.add_route(route("2001:db9::", 32, Some("fe80::9"))).unwrap();
    table.remove_address(ip("10.0.0.1"));
    assert!(!table.is_local(ip("10.0.0.1")));
    // Its gateway is no neighbour any more; the others are what they were.
    assert_eq!(hop(&table, "10.0.0.7"), None);
    assert_eq!(hop(&table, "2001:db9::5"), Some((ip("fe80::9"), ip("2001:db8::1"))));
    assert!(table.remove_way(ip("8.8.0.0"), 16) && !table.remove_way(ip("8.8.0.0"), 16));
    assert_eq!(hop(&table, "8.8.8.8"), None);
}

#[test]
fn classes_of_addresses() {
    // Shows each class, subnet broadcasts and the lack of them in tiny subnets.
    let mut table = table();
    for (address, class) in [
        ("10.0.0.1", Class::Local),
        ("10.0.0.255", Class::Broadcast),
        ("192.168.255.255", Class::Broadcast),
        ("192.168.7.255", Class::Unicast),
        ("255.255.255.255", Class::Broadcast),
        ("224.0.0.1", Class::Multicast),
        ("240.0.0.1", Class::Martian),
        ("127.0.0.1", Class::Martian),
        ("0.0.0.0", Class::Martian),
        ("10.0.1.255", Class::Unicast),
        ("ff02::1", Class::Multicast),
        ("::1", Class::Martian),
        ("::ffff:10.0.0.1", Class::Martian),
        ("fe80::1", Class::Unicast),
    ] {
        assert_eq!(table.classify(ip(address)), class, "{address}");
    }
    let pair = LocalAddress { address: ip("172.16.0.0"), prefix_len: 31, interface: 0 };
    table.add_address(pair, 1500).unwrap();
    assert_eq!(table.classify(ip("172.16.0.1")), Class::Unicast);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.1.3
//= type=test
//# A host MUST silently discard an incoming datagram that is not
//# destined for the host.
fn what_is_accepted() {
    // Shows packets for us and for others, and sources that cannot be.
    let table = table();
    let accept = |from, to| table.accept(ip(from), ip(to));
    assert_eq!(accept("8.8.8.8", "10.0.0.1"), Ok(Class::Local));
    assert_eq!(accept("10.0.0.9", "10.0.0.255"), Ok(Class::Broadcast));
    assert_eq!(accept("10.0.0.9", "10.0.0.8"), Err(DropReason::Ipv4NotForUs));
    assert_eq!(accept("10.0.0.9", "127.0.0.1"), Err(DropReason::Ipv4Destination));
    for from in ["10.0.0.1", "10.0.0.255", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"] {
        assert_eq!(accept(from, "10.0.0.1"), Err(DropReason::Ipv4Source), "{from}");
    }
}

#[test]
fn bounds_and_malformed_routes() {
    // Shows what is refused, and that both tables are bounded.
    let mut table = table();
    assert_eq!(table.add_route(route("10.0.0.0", 33, None)), Err(RouteError::Malformed));
    assert_eq!(table.add_route(route("10.0.0.0", 8, Some("fe80::1"))), Err(RouteError::Malformed));
    let loopback = LocalAddress { address: ip("127.0.0.1"), prefix_len: 8, interface: 0 };
    assert_eq!(table.add_address(loopback, 1500), Err(RouteError::NotUnicast));
    let mut added = Ok(());
    for host in 0..1000u32 {
        let destination = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + host));
        added = table.add_route(Route { destination, ..route("0.0.0.0", 32, Some("10.0.0.254")) });
    }
    assert_eq!((added, table.routes.len()), (Err(RouteError::Full), ROUTES_MAX));
}

proptest! {
    #[test]
    fn equals_a_naive_search(routes in prop::collection::vec((0u32..16, 26u8..=32), 0..20), to in 0u32..64) {
        // Shows the sorted walk against a search for the longest of all matching prefixes.
        let mut table = table();
        for (destination, prefix_len) in &routes {
            let destination = IpAddr::V4(Ipv4Addr::from(0x0c00_0000 + destination * 4));
            table.add_route(Route { destination, ..route("0.0.0.0", *prefix_len, Some("10.0.0.254")) }).unwrap();
        }
        let to = IpAddr::V4(Ipv4Addr::from(0x0c00_0000 + to));
        let longest = table.routes.iter().filter(|r| in_prefix(to, r.destination, r.prefix_len))
            .map(|r| r.prefix_len).max();
        let first = table.routes.iter().find(|r| in_prefix(to, r.destination, r.prefix_len));
        prop_assert_eq!(first.map(|r| r.prefix_len), longest);
        prop_assert!(table.routes.is_sorted_by_key(|r| core::cmp::Reverse(r.prefix_len)));
    }
}
