//! Every message, every rule that refuses one, and random bytes.

use super::*;
use crate::wire::icmpv6;
use proptest::prelude::*;

const ROUTER: &str = "fe80::1";
const US: &str = "fd00::2";
const STATION: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn header(source: &str, destination: &str) -> ipv6::Header {
    ipv6::Header::new(ip(source), ip(destination), Protocol::ICMPV6, 255)
}

fn with_target(kind: u8, flags: u8, target: &str, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    bytes.extend(ip(target).octets());
    bytes.extend(options);
    bytes
}

fn station_option(kind: u8) -> Vec<u8> {
    [&[kind, 1][..], &STATION].concat()
}

const BAD: Result<Message<'static>, DropReason> = Err(DropReason::DiscoveryMalformed);

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-7.1.1
//= type=test
//# A node MUST silently discard any received Neighbor Solicitation
//# messages that do not satisfy all of the following validity checks:
fn solicitations() {
    // Shows one that is good, and each check of section 7.1.1 alone.
    let group = "ff02::1:ff00:2";
    let good = with_target(135, 0, US, &station_option(1));
    let message = Message::NeighbourSolicitation { target: ip(US), station: Some(MacAddress(STATION)) };
    assert_eq!(parse(&header("fd00::1", group), &good), Ok(message));
    let far = ipv6::Header { hop_limit: 254, ..header("fd00::1", group) };
    assert_eq!(parse(&far, &good), BAD, "hop limit");
    let mut code = good.clone();
    code[1] = 1;
    assert_eq!(parse(&header("fd00::1", group), &code), BAD, "code");
    for short in 0..good.len() {
        let whole = short == 24;
        assert_eq!(parse(&header("fd00::1", group), &good[..short]).is_ok(), whole, "{short} bytes");
    }
    let multicast = with_target(135, 0, "ff02::1", &[]);
    assert_eq!(parse(&header("fd00::1", group), &multicast), BAD, "target");
    let empty = with_target(135, 0, US, &[1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(parse(&header("fd00::1", group), &empty), BAD, "an option of no length");
    let plain = with_target(135, 0, US, &[]);
    assert!(parse(&header("::", group), &plain).is_ok());
    assert_eq!(parse(&header("::", US), &plain), BAD, "from nobody, but not to a solicited-node group");
    assert_eq!(parse(&header("::", group), &good), BAD, "from nobody, but with a station");
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-7.1.2
//= type=test
//# A node MUST silently discard any received Neighbor Advertisement
//# messages that do not satisfy all of the following validity checks:
fn advertisements() {
    // Shows the flags, each check of section 7.1.2 alone, and a group that claims to be a station.
    let good = with_target(136, 0xe0, US, &station_option(2));
    let expected = NeighbourAdvertisement {
        router: true,
        solicited: true,
        overrides: true,
        target: ip(US),
        station: Some(MacAddress(STATION)),
    };
    assert_eq!(parse(&header(US, "fd00::1"), &good), Ok(Message::NeighbourAdvertisement(expected)));
    assert_eq!(parse(&header(US, "ff02::1"), &good), BAD, "solicited, but to a group");
    assert!(parse(&header(US, "ff02::1"), &with_target(136, 0x20, US, &[])).is_ok());
    assert_eq!(parse(&header(US, "fd00::1"), &with_target(136, 0, "ff02::1", &[])), BAD, "target");
    let far = ipv6::Header { hop_limit: 64, ..header(US, "fd00::1") };
    assert_eq!(parse(&far, &good), BAD, "hop limit");
    let cut = with_target(136, 0, US, &[2, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(parse(&header(US, "fd00::1"), &cut), BAD, "an option beyond the message");
    let group = with_target(136, 0, US, &[2, 1, 0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(parse(&header(US, "fd00::1"), &group), BAD, "a group's station");
}

fn advertisement() -> Vec<u8> {
    let mut bytes = vec![134, 0, 0, 0, 32, 0, 7, 8, 0, 0, 0x75, 0x30, 0, 0, 3, 0xe8];
    bytes.extend(station_option(1));
    bytes.extend([5, 1, 0, 0, 0, 0, 5, 0x14]);
    for (len, flags) in [(64, 0xc0), (129, 0xc0), (48, 0x80)] {
        bytes.extend([3, 4, len, flags, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0]);
        bytes.extend(ip("2001:db8:1:2:3:4:5:6").octets());
    }
    bytes.extend([200, 1, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-6.1.2
//= type=test
//# A node MUST silently discard any received Router Advertisement
//# messages that do not satisfy all of the following validity checks:
fn routers() {
    // Shows every field of a router's advertisement with an option nobody knows, a prefix of too many bits left out, and
    // that one from no link-local address, from afar or cut short is refused.
    let bytes = advertisement();
    let Ok(Message::RouterAdvertisement(said)) = parse(&header(ROUTER, "ff02::1"), &bytes) else {
        panic!("a good advertisement")
    };
    assert_eq!(
        (said.hop_limit, said.lifetime_s, said.reachable_ms, said.retransmit_ms),
        (32, 1800, 30_000, 1000)
    );
    assert_eq!((said.station, said.mtu), (Some(MacAddress(STATION)), Some(1300)));
    let prefixes: Vec<_> = said.prefixes().collect();
    let first = Prefix {
        prefix: ip("2001:db8:1:2::"),
        len: 64,
        on_link: true,
        autonomous: true,
        valid_s: 3600,
        preferred_s: 1800,
    };
    let second = Prefix { prefix: ip("2001:db8:1::"), len: 48, autonomous: false, ..first };
    assert_eq!(prefixes, [first, second]);
    assert_eq!(parse(&header("fd00::1", "ff02::1"), &bytes), BAD, "source");
    let far = ipv6::Header { hop_limit: 254, ..header(ROUTER, "ff02::1") };
    assert_eq!(parse(&far, &bytes), BAD, "hop limit");
    assert_eq!(parse(&header(ROUTER, "ff02::1"), &bytes[..15]), BAD, "length");
    assert_eq!(parse(&header(ROUTER, "ff02::1"), &[1, 2, 3]), BAD);
    let other = [128, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(parse(&header(ROUTER, "ff02::1"), &other), Err(DropReason::IcmpType));
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-8.1
//= type=test
//# A host MUST silently discard any received Redirect message that does
//# not satisfy all of the following validity checks:
fn redirects() {
    // Shows one to a router and one to a neighbour, and each check of section 8.1 that needs no table.
    let redirect = |target: &str, to: &str| {
        let mut bytes = with_target(137, 0, target, &[]);
        bytes.extend(ip(to).octets());
        bytes
    };
    let from = |source: &str, bytes: &[u8]| parse(&header(source, US), bytes).is_ok();
    assert!(from(ROUTER, &redirect("fe80::9", "2001:db8::1")));
    assert!(from(ROUTER, &redirect("2001:db8::1", "2001:db8::1")));
    assert!(!from("fd00::1", &redirect("fe80::9", "2001:db8::1")), "source");
    assert!(!from(ROUTER, &redirect("fe80::9", "ff02::5")), "destination");
    assert!(!from(ROUTER, &redirect("2001:db8::2", "2001:db8::1")), "target");
    assert!(!from(ROUTER, &redirect("fe80::9", "2001:db8::1")[..39]), "length");
}

#[test]
fn what_we_send_is_what_we_read() {
    // Shows that each message of ours keeps the rules, checksum included, and fits no shorter buffer.
    let (station, target) = (MacAddress(STATION), ip(US));
    let group = ipv6::solicited_node(target);
    let ours = Ask::Ours { target, station, solicited: true, overrides: true };
    let cases = [
        (Ask::Routers { station: None }, "::", ipv6::ALL_ROUTERS),
        (Ask::Routers { station: Some(station) }, ROUTER, ipv6::ALL_ROUTERS),
        (Ask::Neighbour { target, station: None }, "::", group),
        (Ask::Neighbour { target, station: Some(station) }, "fd00::1", group),
        (ours, US, ip("fd00::1")),
    ];
    for (ask, source, destination) in cases {
        let mut bytes = vec![0; ask.len()];
        ask.emit(&mut bytes, ip(source), destination).unwrap();
        let check = icmpv6::verify(ip(source), destination, bytes.len());
        assert!(check.accepts(&bytes), "{ask:?}");
        let header = ipv6::Header::new(ip(source), destination, Protocol::ICMPV6, 255);
        let read = parse(&header, &bytes).unwrap();
        let expected = match ask {
            Ask::Routers { .. } => Message::RouterSolicitation,
            Ask::Neighbour { target, station } => Message::NeighbourSolicitation { target, station },
            Ask::Ours { target, station, solicited, overrides } => {
                let station = Some(station);
                let router = false;
                Message::NeighbourAdvertisement(NeighbourAdvertisement {
                    router,
                    solicited,
                    overrides,
                    target,
                    station,
                })
            }
        };
        assert_eq!(read, expected);
        bytes.pop();
        assert_eq!(ask.emit(&mut bytes, ip(source), destination), Err(NoRoom));
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4861#section-9
//= type=test
//# Options in Neighbor Discovery packets can appear in any order;
//# receivers MUST be prepared to process them independently of their
//# order.
fn options_of_other_messages_are_passed_over() {
    // Shows solicitations and advertisements with each other's options, a router's, one nobody knows, and reserved fields
    // that are not zero, before and behind the one option that counts: they say what they say without.
    let strange: &[&[u8]] = &[
        &[5, 1, 0, 0, 0, 0, 5, 0],
        &[4, 1, 0, 0, 0, 0, 0, 0],
        &[200, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[[3, 4, 64, 0xc0].as_slice(), &[0; 28]].concat(),
    ];
    for more in strange {
        for (kind, own, others) in [(135, 1, 2), (136, 2, 1)] {
            let own = station_option(own);
            let foreign = [&[others, 1][..], &[2, 0, 0, 0, 0, 7]].concat();
            let expected = parse(&header(US, "fd00::1"), &with_target(kind, 0, US, &own))
                .map(|said| format!("{said:?}"));
            for options in [[&own, *more, &foreign].concat(), [*more, &foreign, &own].concat()] {
                let mut bytes = with_target(kind, 0x1f, US, &options);
                bytes[5..8].fill(0xff);
                let said = parse(&header(US, "fd00::1"), &bytes).map(|said| format!("{said:?}"));
                assert_eq!(said, expected, "{kind} {options:?}");
                assert!(said.is_ok());
            }
        }
    }
    let station = [advertisement(), station_option(2)].concat();
    let Ok(Message::RouterAdvertisement(said)) = parse(&header(ROUTER, "ff02::1"), &station) else {
        panic!("a good advertisement")
    };
    assert_eq!(said.station, Some(MacAddress(STATION)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn random_bytes_do_not_panic(mut bytes in prop::collection::vec(0u8..8, 0..200), kind in 130u8..140) {
        // Shows that no message can do harm, and that its prefixes are bounded by its options.
        if let Some(first) = bytes.first_mut() { *first = kind; }
        if let Some(code) = bytes.get_mut(1) { *code = 0; }
        if let Ok(Message::RouterAdvertisement(said)) = parse(&header(ROUTER, "ff02::1"), &bytes) {
            prop_assert!(said.prefixes().count() <= OPTIONS_MAX);
        }
    }
}
