//! Addresses from the first solicitation to the end of their lives, in virtual time.

use super::identifiers::is_reserved;
use super::*;
use crate::wire::Protocol;
use crate::wire::discovery::{Message, RouterAdvertisement, parse};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const LINK_LOCAL: &str = "fe80::ff:fe00:1";
const OTHERS: &str = "fe80::9";

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant(seconds * 1_000_000_000)
}

fn addresses(config: Ipv6Config) -> Addresses {
    Addresses::new(MAC, 1500, config, KeyedHash::new([1, 2]))
}

/// Lets virtual time pass; what happened, and when (in milliseconds).
fn run_until(addresses: &mut Addresses, end: Instant) -> Vec<(u64, Action)> {
    let mut seen = Vec::new();
    while let Some(now) = addresses.next_deadline().filter(|deadline| *deadline <= end) {
        let mut out = Vec::new();
        addresses.advance(now, &mut out);
        seen.extend(out.into_iter().map(|action| (now.0 / 1_000_000, action)));
    }
    seen
}

fn probe(target: Ipv6Addr) -> Action {
    Action::Ask {
        ask: Ask::Neighbour { target, station: None },
        source: Ipv6Addr::UNSPECIFIED,
        destination: ipv6::solicited_node(target),
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.2
//= type=test
//# If the Neighbor Solicitation is going to be the first message sent
//# from an interface after interface (re)initialization, the node SHOULD
//# delay joining the solicited-node multicast address by a random delay
fn an_address_is_asked_for_before_it_is_ours() {
    // Shows the delay below a second, the probes a second apart, the address a second later, and its announcement.
    let mut six = addresses(Ipv6Config { duplicate_transmits: 2, ..Ipv6Config::default() });
    let mut out = Vec::new();
    six.start(at(0), &mut out);
    assert!(out.is_empty() && six.is_tentative(ip(LINK_LOCAL)) && six.link_local().is_none());
    let seen = run_until(&mut six, at(10));
    let (first, link_local) = (seen[0].0, ip(LINK_LOCAL));
    assert!(first < 1000);
    let joined = Action::Joined { address: link_local };
    let announcement = Action::Ask {
        ask: Ask::Ours { target: link_local, station: MAC, solicited: false, overrides: true },
        source: link_local,
        destination: ipv6::ALL_NODES,
    };
    assert_eq!(
        seen,
        [
            (first, joined),
            (first, probe(link_local)),
            (first + 1000, joined),
            (first + 1000, probe(link_local)),
            (first + 2000, Action::Add { address: link_local, prefix_len: 64 }),
            (first + 2000, joined),
            (first + 2000, announcement),
        ]
    );
    assert_eq!((six.link_local(), six.is_assigned(link_local)), (Some(link_local), true));
    assert_eq!(six.next_deadline(), None);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4862#section-5.4.3
//= type=test
//# If the solicitation is from another node, the tentative
//# address is a duplicate and should not be used (by either node).
fn an_address_that_another_has_is_left_to_it() {
    // Shows the end of a static one, that what is ours already stays, and that its groups are left.
    let mut six = addresses(Ipv6Config::default());
    let mut out = Vec::new();
    assert!(six.add_static(ip("fd00::2"), 64, at(0), &mut out));
    six.on_conflict(ip("fd00::2"), at(0), &mut out);
    assert_eq!(out, [Action::Duplicate { address: ip("fd00::2") }]);
    assert!(run_until(&mut six, at(10)).is_empty());
    assert_eq!((six.duplicates(), six.groups().count()), (1, 0));
    six.add_static(ip("fd00::3"), 64, at(10), &mut out);
    run_until(&mut six, at(20));
    out.clear();
    six.on_conflict(ip("fd00::3"), at(20), &mut out);
    assert!(out.is_empty() && six.is_assigned(ip("fd00::3")));
    for bad in ["::", "::1", "ff02::1", "::ffff:10.0.0.1"] {
        assert!(!six.add_static(ip(bad), 64, at(0), &mut out), "{bad}");
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc7217#section-5
//= type=test
//# RID = F(Prefix, Net_Iface, Network_ID, DAD_Counter, secret_key)
fn opaque_identifiers_try_again() {
    // Shows the same address after each start, another for another secret, and three further ones if others have it.
    let of = |secret| {
        let identifiers = Identifiers::Opaque(secret);
        let mut six = addresses(Ipv6Config { identifiers, ..Ipv6Config::default() });
        six.start(at(0), &mut Vec::new());
        six
    };
    fn address(six: &Addresses) -> Option<Ipv6Addr> {
        six.groups().next()
    }
    assert_eq!(address(&of([1, 2])), address(&of([1, 2])));
    assert_ne!(address(&of([1, 2])), address(&of([1, 3])));
    let (mut six, mut out, mut tried) = (of([1, 2]), Vec::new(), Vec::new());
    while let Some(address) = address(&six) {
        assert!(address.is_unicast_link_local() && !tried.contains(&address));
        tried.push(address);
        six.on_conflict(address, at(0), &mut out);
    }
    assert_eq!((tried.len(), out.len(), six.duplicates()), (4, 1, 1));
}

#[test]
fn identifiers_that_are_no_hosts() {
    // Shows the ranges of RFC 5453 at their edges.
    let reserved =
        [0, 0x0200_5eff_fe00_0000, 0x0200_5eff_feff_ffff, 0xfdff_ffff_ffff_ff80, 0xfdff_ffff_ffff_ffff];
    assert!(reserved.into_iter().all(is_reserved));
    let free =
        [1, 0x0200_5eff_fdff_ffff, 0x0200_5eff_ff00_0000, 0xfdff_ffff_ffff_ff7f, 0xfe00_0000_0000_0000];
    assert!(!free.into_iter().any(is_reserved));
}

#[test]
fn without_probes_an_address_is_ours_at_once() {
    // Shows the option, removal, and the bound of addresses.
    let mut six = addresses(Ipv6Config { duplicate_transmits: 0, ..Ipv6Config::default() });
    let mut out = Vec::new();
    six.add_static(ip("fd00::1"), 64, at(0), &mut out);
    assert_eq!(out[0], Action::Add { address: ip("fd00::1"), prefix_len: 64 });
    out.clear();
    six.remove(ip("fd00::1"), &mut out);
    assert_eq!(out, [Action::Remove { address: ip("fd00::1") }]);
    let fitting = (0..100).filter(|n| six.add_static(Ipv6Addr::from(0xfd << 120 | n), 64, at(0), &mut out));
    assert_eq!(fitting.count(), ADDRESSES_MAX);
}

/// What a router says: its lifetime, MTU, and prefixes with flags, valid and preferred lifetimes.
fn said(lifetime: u16, mtu: u16, prefixes: &[(&str, u8, u8, u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![134, 0, 0, 0, 33, 0];
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend([0, 0, 0x75, 0x30, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0]);
    bytes.extend(mtu.to_be_bytes());
    for (prefix, len, flags, valid, preferred) in prefixes {
        bytes.extend([3, 4, *len, *flags]);
        bytes.extend(valid.to_be_bytes());
        bytes.extend(preferred.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(ip(prefix).octets());
    }
    bytes
}

fn advertisement(bytes: &[u8]) -> RouterAdvertisement<'_> {
    let header = ipv6::Header::new(ip(OTHERS), ipv6::ALL_NODES, Protocol::ICMPV6, 255);
    match parse(&header, bytes) {
        Ok(Message::RouterAdvertisement(said)) => said,
        other => panic!("no advertisement: {other:?}"),
    }
}

/// Hears a router at a time; what follows.
fn hear(six: &mut Addresses, router: &str, bytes: &[u8], now: Instant) -> Vec<Action> {
    let mut out = Vec::new();
    six.on_router(ip(router), &advertisement(bytes), now, &mut out);
    out
}

/// An interface that listens to routers and probes nothing.
fn listening() -> Addresses {
    addresses(Ipv6Config { duplicate_transmits: 0, routers: true, ..Ipv6Config::default() })
}

const AUTONOMOUS: u8 = 0xc0;
const DOC: &str = "2001:db8::";
const DOC_ADDRESS: &str = "2001:db8::ff:fe00:1";

#[test]
fn a_router_gives_addresses_and_a_way() {
    // Shows everything an advertisement gives, once, and that a host not told to listen takes nothing.
    let bytes =
        said(1800, 1400, &[(DOC, 64, AUTONOMOUS, 86_400, 14_400), ("2001:db8:1::", 48, 0x80, 100, 100)]);
    let mut six = listening();
    let out = hear(&mut six, OTHERS, &bytes, at(5));
    let due = [
        Action::HopLimit(33),
        Action::Times { reachable: Some(Duration::from_secs(30)), retransmit: None },
        Action::Mtu(1400),
        Action::Router { address: ip(OTHERS), on: true },
        Action::OnLink { prefix: ip(DOC), len: 64, on: true },
        Action::Add { address: ip(DOC_ADDRESS), prefix_len: 128 },
    ];
    assert_eq!(out[..6], due);
    assert_eq!(out[8..], [Action::OnLink { prefix: ip("2001:db8:1::"), len: 48, on: true }]);
    assert_eq!(hear(&mut six, OTHERS, &bytes, at(6)).len(), 3, "what is known is not told again");
    assert!(hear(&mut addresses(Ipv6Config::default()), OTHERS, &bytes, at(5)).is_empty());
    for mtu in [1279, 1501] {
        let out = hear(&mut listening(), OTHERS, &said(0, mtu, &[]), at(0));
        assert!(!out.iter().any(|action| matches!(action, Action::Mtu(_))), "{mtu}");
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4862#section-5.5.3
//= type=test
//# If the sum of the prefix length and interface identifier length
//# does not equal 128 bits, the Prefix Information option MUST be
//# ignored.
fn prefixes_that_give_no_address() {
    // Shows each rule of section 5.5.3 that refuses one.
    for prefix in [
        (DOC, 64, 0x80, 100, 100),
        ("fe80::", 64, AUTONOMOUS, 100, 100),
        (DOC, 64, AUTONOMOUS, 100, 101),
        (DOC, 64, AUTONOMOUS, 0, 0),
        (DOC, 63, AUTONOMOUS, 100, 100),
        (DOC, 65, AUTONOMOUS, 100, 100),
        ("ff00::", 64, AUTONOMOUS, 100, 100),
    ] {
        let out = hear(&mut listening(), OTHERS, &said(0, 1280, &[prefix]), at(0));
        assert!(!out.iter().any(|action| matches!(action, Action::Add { .. })), "{prefix:?}");
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4862#section-5.5.3
//= type=test
//# 1.  If the received Valid Lifetime is greater than 2 hours or
//#     greater than RemainingLifetime, set the valid lifetime of the
//#     corresponding address to the advertised Valid Lifetime.
fn nobody_ends_an_address_by_a_short_life() {
    // Shows the three cases of the rule of two hours, by when the address goes.
    let life = |first: u32, then: u32| {
        let mut six = listening();
        let prefix = |valid| said(0, 1280, &[(DOC, 64, AUTONOMOUS, valid, 0)]);
        hear(&mut six, OTHERS, &prefix(first), at(0));
        hear(&mut six, OTHERS, &prefix(then), at(100));
        let gone = |(_, action): &(u64, Action)| *action == Action::Remove { address: ip(DOC_ADDRESS) };
        run_until(&mut six, at(1 << 32)).into_iter().find(gone).map(|(ms, _)| ms / 1000)
    };
    assert_eq!(life(10_000, 7201), Some(7301));
    assert_eq!(life(600, 1000), Some(1100));
    assert_eq!(life(600, 400), Some(600));
    assert_eq!(life(20_000, 0), Some(7300));
    assert_eq!(life(u32::MAX, 5), Some(7300));
    assert_eq!(life(500, u32::MAX), None);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4862#section-5.5.4
//= type=test
//# An address (and its association with an interface) becomes invalid
//# when its valid lifetime expires.
fn an_address_is_deprecated_and_goes() {
    // Shows both ends, with the prefix's, and that a router can take a deprecation back.
    let mut six = listening();
    let bytes = said(0, 1280, &[(DOC, 64, AUTONOMOUS, 9000, 100)]);
    hear(&mut six, OTHERS, &bytes, at(0));
    let address = ip(DOC_ADDRESS);
    let deprecated = |deprecated| Action::Deprecate { address, deprecated };
    assert_eq!(run_until(&mut six, at(200)), [(100_000, deprecated(true))]);
    assert!(hear(&mut six, OTHERS, &bytes, at(200)).contains(&deprecated(false)));
    let seen = run_until(&mut six, at(20_000));
    let gone = Action::OnLink { prefix: ip(DOC), len: 64, on: false };
    assert_eq!(
        seen,
        [(300_000, deprecated(true)), (9_200_000, Action::Remove { address }), (9_200_000, gone),]
    );
    assert_eq!(six.next_deadline(), None);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
//= type=test
//# - If the address is already present in the host's Default Router
//#   List and the received Router Lifetime value is zero, immediately
//#   time-out the entry
fn routers_come_and_go() {
    // Shows the end by time and by word, the bound of routers, and another in front when the first is lost.
    let mut six = listening();
    let router = |n: usize| format!("fe80::1:{n:x}");
    let on = |n: usize, on| Action::Router { address: ip(&router(n)), on };
    for n in 0..20 {
        let told = hear(&mut six, &router(n), &said(100, 0, &[]), at(0)).contains(&on(n, true));
        assert_eq!(told, n < routers::ROUTERS_MAX);
    }
    assert!(hear(&mut six, &router(1), &said(0, 0, &[]), at(1)).contains(&on(1, false)));
    let mut out = Vec::new();
    six.on_router_lost(ip(&router(0)), false, &mut out);
    assert_eq!(out, [on(0, false), on(0, true)]);
    out.clear();
    six.on_router_lost(ip(&router(2)), true, &mut out);
    assert_eq!(out, [on(2, false)]);
    let seen = run_until(&mut six, at(1000));
    assert_eq!(seen.len(), routers::ROUTERS_MAX - 2);
    assert!(seen.iter().all(|(ms, _)| *ms == 100_000));
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.7
//= type=test
//# Once the host sends a Router Solicitation, and receives a valid
//# Router Advertisement with a non-zero Router Lifetime, the host MUST
//# desist from sending additional solicitations on that interface
fn routers_are_asked_for() {
    // Shows three solicitations four seconds apart from the link-local address, and none after an answer.
    let asks = |answered: bool| {
        let mut six = listening();
        six.start(at(0), &mut Vec::new());
        let mut seen = run_until(&mut six, at(1));
        if answered {
            hear(&mut six, OTHERS, &said(1800, 0, &[]), at(1));
        }
        seen.extend(run_until(&mut six, at(100)));
        let source = ip(LINK_LOCAL);
        let ask = Ask::Routers { station: Some(MAC) };
        let ask = Action::Ask { ask, source, destination: ipv6::ALL_ROUTERS };
        seen.iter().filter(|(_, action)| *action == ask).map(|(ms, _)| *ms).collect::<Vec<_>>()
    };
    assert_eq!(asks(false), [0, 4000, 8000]);
    assert_eq!(asks(true), [0]);
    //= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.7
    //= type=test
    //# Moreover, a host SHOULD send at least one solicitation in the
    //# case where an advertisement is received prior to having sent a
    //# solicitation.
    let mut six = addresses(Ipv6Config { routers: true, ..Ipv6Config::default() });
    six.start(at(0), &mut Vec::new());
    hear(&mut six, OTHERS, &said(1800, 0, &[]), at(0));
    let asked = |(_, action): &(u64, Action)| matches!(action, Action::Ask { ask: Ask::Routers { .. }, .. });
    assert!(run_until(&mut six, at(100)).iter().any(asked));
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc3810#section-6.2
//= type=test
//# Instead of responding immediately, the node
//# delays its response by a random amount of time, bounded by the
fn routers_that_ask_are_told_of_groups_in_time() {
    // Shows one answer to two queries, within the time that the more urgent one leaves.
    let mut six = listening();
    six.on_query(Duration::from_secs(10), at(1));
    six.on_query(Duration::from_secs(1), at(1));
    let seen = run_until(&mut six, at(100));
    assert_eq!(seen.iter().map(|(_, action)| *action).collect::<Vec<_>>(), [Action::Listening]);
    assert!((1000..2000).contains(&seen[0].0), "{seen:?}");
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-6.3.4
//= type=test
//# with the on-link flag set to zero conveys no information concerning
//# on-link determination and MUST NOT be interpreted to mean that
//# addresses covered by the prefix are off-link.
fn a_prefix_without_the_flag_ends_nothing() {
    // Shows a prefix that is on the link, said again without the flag: it stays until its own time is over.
    let mut six = listening();
    let way = |on| Action::OnLink { prefix: ip(DOC), len: 64, on };
    let out = hear(&mut six, OTHERS, &said(0, 1280, &[(DOC, 64, 0x80, 100, 100)]), at(0));
    assert!(out.contains(&way(true)));
    let out = hear(&mut six, OTHERS, &said(0, 1280, &[(DOC, 64, 0, 0, 0)]), at(50));
    assert!(!out.contains(&way(false)));
    assert_eq!(run_until(&mut six, at(1000)), [(100_000, way(false))]);
    let out = hear(&mut listening(), OTHERS, &said(0, 1280, &[(DOC, 64, 0, 100, 100)]), at(0));
    assert!(!out.contains(&way(true)));
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-7.2.1
//= type=test
//# a node MUST NOT
//# leave the solicited-node multicast group until all assigned addresses
//# corresponding to that multicast address have been removed.
fn a_group_stays_while_an_address_needs_it() {
    // Shows two addresses that share a group: it stays when the first of them goes, and goes with the second.
    let mut six = addresses(Ipv6Config { duplicate_transmits: 0, ..Ipv6Config::default() });
    let mut out = Vec::new();
    let (one, other) = (ip("fd00::1:2:3"), ip("fd01::ff01:2:3"));
    let group = ipv6::solicited_node(one);
    assert_eq!(group, ipv6::solicited_node(other));
    let is_in = |six: &Addresses| six.groups().any(|address| ipv6::solicited_node(address) == group);
    six.add_static(one, 64, at(0), &mut out);
    six.add_static(other, 64, at(0), &mut out);
    six.remove(one, &mut out);
    assert!(is_in(&six));
    six.remove(other, &mut out);
    assert!(!is_in(&six));
}
