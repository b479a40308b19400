use super::*;
use crate::tcp::listen::Offer;

const SECRET: [u64; 4] = [1, 2, 3, 4];

fn tuple(port: u16) -> Tuple {
    Tuple {
        local: "10.0.0.1:80".parse().unwrap(),
        remote: core::net::SocketAddr::new("10.0.0.2".parse().unwrap(), port),
    }
}

fn at(seconds: u64) -> Now {
    Now::new(Instant(seconds * 1_000_000_000))
}

/// A SYN with these options, as a half-open connection whose number is a cookie.
fn asked(options: Options, ecn: bool, now: &Now) -> HalfOpen {
    let (secret, tuple) = (Secret::new(SECRET), tuple(5));
    let mut syn = Segment::new(5, 80, SeqNum(1000), SeqNum(0), Flags::SYN);
    syn.options = options;
    let iss = numbers(&secret, &tuple, syn.seq, options.mss.unwrap_or(536), now.instant)[0];
    let half =
        super::super::listen::half_open(tuple, 0, &syn, iss, secret.beginnings(&tuple, now.instant).1, now);
    HalfOpen { ecn, window: 1000, scale: 7, ..half }
}

/// The acknowledgement that a peer sends to a SYN-ACK.
fn answer(syn_ack: &Segment) -> Segment {
    let mut ack = Segment::new(5, 80, syn_ack.ack, syn_ack.seq + 1, Flags::ACK);
    ack.options.timestamps = syn_ack.options.timestamps.map(|(value, echo)| (echo, value));
    ack
}

fn offer(scale: Option<u8>, sack: bool, stamps: bool) -> Options {
    Options {
        mss: Some(1460),
        window_scale: scale,
        sack_permitted: sack,
        timestamps: stamps.then_some((77, 0)),
        ..Options::NONE
    }
}

#[test]
fn options_come_back_in_the_timestamp() {
    // Shows every combination of window scale, SACK and ECN told by the timestamp and understood from its echo.
    let (config, secret, now) = (TcpConfig::default(), Secret::new(SECRET), at(100));
    for scale in [None, Some(0), Some(7), Some(14)] {
        for (sack, ecn) in [(false, false), (true, false), (false, true), (true, true)] {
            let syn_ack = syn_ack(&asked(offer(scale, sack, true), ecn, &now), &config, &now);
            assert_eq!(syn_ack.flags.contains(Flags::ECE), ecn);
            assert_eq!(
                (syn_ack.options.window_scale, syn_ack.options.sack_permitted),
                (scale.map(|_| 7), sack)
            );
            let half = half_open(&secret, &tuple(5), &answer(&syn_ack), &config, &now).unwrap();
            let said = half.offer;
            assert_eq!(
                (said.window_scale, said.sack_permitted, half.ecn, said.mss),
                (scale, sack, ecn, Some(1460))
            );
            assert_eq!((half.irs, half.iss, half.unmeasured), (SeqNum(1000), syn_ack.seq, false));
        }
    }
}

#[test]
fn an_echo_older_than_any_cookie_measures_nothing() {
    // Shows a handshake's round trip measured by the echo at ages that a cookie may have, up to 128 s, and at none beyond:
    // there the peer has made the echo up.
    let (config, secret, now) = (TcpConfig::default(), Secret::new(SECRET), at(1_000));
    let ack = answer(&syn_ack(&asked(offer(None, false, true), false, &now), &config, &now));
    let (value, echo) = ack.options.timestamps.unwrap();
    for (age_ms, unmeasured) in
        [(100, false), (127_000, false), (128_064, true), (150_000, true), (200_000, true)]
    {
        let mut ack = ack;
        ack.options.timestamps = Some((value, echo.wrapping_sub(age_ms)));
        let half = half_open(&secret, &tuple(5), &ack, &config, &now).unwrap();
        assert_eq!(half.unmeasured, unmeasured, "{age_ms} ms");
        if !unmeasured {
            assert!((now.micros.wrapping_sub(half.sent_us) / 1_000).abs_diff(age_ms) < 64);
        }
    }
}

#[test]
fn without_timestamps_nothing_else_is_agreed() {
    // Shows that a SYN-ACK whose options nobody would remember does not offer any, whichever end lacks timestamps.
    let (secret, now) = (Secret::new(SECRET), at(100));
    let off = TcpConfig { timestamps: false, ..TcpConfig::default() };
    for (stamps, config) in [(false, TcpConfig::default()), (true, off)] {
        let syn_ack = syn_ack(&asked(offer(Some(7), true, stamps), true, &now), &config, &now);
        assert_eq!(syn_ack.options, Options { mss: Some(0), ..Options::NONE });
        assert!(!syn_ack.flags.contains(Flags::ECE));
        let half = half_open(&secret, &tuple(5), &answer(&syn_ack), &config, &now).unwrap();
        let plain = Offer { timestamp: None, mss: Some(1460), window_scale: None, sack_permitted: false };
        assert_eq!(half.offer, plain);
        assert!(half.unmeasured);
    }
}

#[test]
fn an_mss_is_never_rounded_up() {
    // Shows the MSS that comes back for every one there is: the largest of the table that the peer takes.
    let (secret, tuple, now) = (Secret::new(SECRET), tuple(5), at(100));
    for mss in 48..=u16::MAX {
        let iss = numbers(&secret, &tuple, SeqNum(9), mss, now.instant)[0];
        let known = mss_of(&secret, &tuple, SeqNum(9), iss, now.instant).unwrap();
        let next = MSS_TABLE.iter().find(|larger| **larger > known).copied().unwrap_or(u16::MAX);
        assert!(known <= mss && (mss < next || known == 8940), "{mss} became {known}");
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc4987#section-3.6
//= type=test
//# to prevent replay, some time-dependent random bits must be
//# embedded in the sequence number.
fn cookies_are_good_for_their_peer_and_their_time() {
    // Shows one cookie refused under another port, another number of the peer's, another secret, as another number, and
    // once its epoch and the next are over; and accepted in both.
    let config = TcpConfig::default();
    let (secret, made) = (Secret::new(SECRET), at(64 * 5 + 63));
    let ack = answer(&syn_ack(&asked(offer(None, false, true), false, &made), &config, &made));
    let good = |secret: &Secret, port, ack: &Segment, now| {
        half_open(secret, &tuple(port), ack, &config, &now).is_some()
    };
    assert!(good(&secret, 5, &ack, made));
    assert!(good(&secret, 5, &ack, at(64 * 6)) && good(&secret, 5, &ack, at(64 * 7 - 1)));
    assert!(!good(&secret, 5, &ack, at(64 * 7)) && !good(&secret, 5, &ack, at(64 * 4)));
    assert!(!good(&secret, 6, &ack, made));
    assert!(!good(&Secret::new([1, 3, 3, 4]), 5, &ack, made));
    assert!(!good(&secret, 5, &Segment { seq: ack.seq + 1, ..ack }, made));
    assert!(!good(&secret, 5, &Segment { ack: ack.ack + 8, ..ack }, made));
    assert!(!good(&secret, 5, &Segment { ack: ack.ack - 8, ..ack }, made));
    for flags in [Flags::SYN, Flags::RST, Flags::SYN | Flags::ACK, Flags::RST | Flags::ACK, Flags::NONE] {
        assert!(!good(&secret, 5, &Segment { flags, ..ack }, made), "{flags:?}");
    }
    assert!(good(&secret, 5, &Segment { flags: Flags::ACK | Flags::FIN | Flags::PSH, ..ack }, made));
}

#[test]
fn a_guess_is_as_good_as_one_in_2_to_the_28() {
    // Shows that of all numbers eight an epoch are good: those of the table.
    let (secret, tuple, now) = (Secret::new(SECRET), tuple(5), at(100));
    let good = |guess: u32| mss_of(&secret, &tuple, SeqNum(9), SeqNum(guess), now.instant).is_some();
    let base = secret.cookie(&tuple, SeqNum(9), 1);
    assert_eq!((0..16).filter(|step| good(base.wrapping_add(*step))).count(), 8);
    assert_eq!((0..1 << 16).filter(|step: &u32| good(step.wrapping_mul(65_537))).count(), 0);
}

#[test]
fn timestamps_never_run_backwards() {
    // Shows for each pattern of bits, over two turns of them and the clock's wrap, that a stamp is not after the clock, not
    // 64 ms before it, never before the one a moment earlier, and says its bits.
    for bits in 0..=OPTION_BITS {
        let mut before = stamp(u32::MAX - 64, bits);
        for step in 0..130u32 {
            let clock = (u32::MAX - 64).wrapping_add(step);
            let value = stamp(clock, bits);
            assert!(clock.wrapping_sub(value) < 64 && value.wrapping_sub(before) < 128);
            assert_eq!(value & OPTION_BITS, bits);
            before = value;
        }
    }
}

#[test]
fn acknowledgements_are_judged_while_cookies_are_about() {
    // Shows that the first cookie of an epoch is told of, and that two epochs later none is about.
    let mut cookies = Cookies::default();
    assert!(!cookies.are_about(Instant(0)));
    assert!(cookies.note(at(10).instant) && !cookies.note(at(63).instant));
    assert!(cookies.are_about(at(127).instant) && !cookies.are_about(at(128).instant));
    assert!(cookies.note(at(130).instant) && cookies.are_about(at(130).instant));
}

#[test]
fn a_cookie_is_spent_for_as_long_as_it_is_good() {
    // Shows that a spent cookie is known until its epoch and the next are over, that others are not, and the bound.
    let mut cookies = Cookies::default();
    cookies.spend(7, SeqNum(1), at(10).instant);
    let good =
        |cookies: &Cookies| [(7, 1), (7, 2), (8, 1)].map(|(ends, iss)| cookies.is_spent(ends, SeqNum(iss)));
    cookies.spend(9, SeqNum(1), at(127).instant);
    assert_eq!(good(&cookies), [true, false, false]);
    cookies.spend(9, SeqNum(2), at(128).instant);
    assert_eq!((good(&cookies), cookies.spent.len()), ([false; 3], 2));
    for iss in 0..2 * u32::try_from(SPENT_MAX).unwrap() {
        cookies.spend(10, SeqNum(iss), at(128).instant);
    }
    assert_eq!((cookies.spent.len(), cookies.order.len()), (SPENT_MAX, SPENT_MAX));
}
