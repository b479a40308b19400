//! Headers to the byte, identities and hostile input.

use super::*;
use crate::wire::Checksum;
use core::net::Ipv4Addr;
use proptest::prelude::*;

fn segment(flags: Flags, options: Options) -> Segment {
    Segment { window: 0x1234, options, ..Segment::new(80, 40_000, SeqNum(1), SeqNum(2), flags) }
}

fn options_of(segment: &Segment) -> Vec<u8> {
    let mut out = vec![0xee; segment.header_len()];
    segment.emit(&mut out, Fill::Zero).unwrap();
    out.split_off(20)
}

fn sack(count: u32) -> SackBlocks {
    let mut blocks = SackBlocks::NONE;
    for at in 0..count {
        assert!(blocks.push(SeqNum(at * 100), SeqNum(at * 100 + 50)));
    }
    blocks
}

/// A segment with these raw options, which must fill words.
fn raw(flags: Flags, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    segment(flags, Options::NONE).emit(&mut bytes, Fill::Zero).unwrap();
    bytes.extend(options);
    bytes[12] = u8::try_from(bytes.len() / 4).unwrap() << 4;
    bytes
}

fn parsed(flags: Flags, options: &[u8]) -> Options {
    parse(&raw(flags, options), Verify::Trusted).unwrap().0.options
}

#[test]
fn syn_options_in_order() {
    // Shows mss, sackOK, timestamps, nop, wscale, and the form without timestamps, to the byte.
    let mut options = Options {
        mss: Some(1460),
        window_scale: Some(8),
        sack_permitted: true,
        timestamps: Some((0x0102_0304, 0)),
        sack: SackBlocks::NONE,
    };
    assert_eq!(
        options_of(&segment(Flags::SYN, options)),
        [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 8]
    );
    options.timestamps = None;
    assert_eq!(options_of(&segment(Flags::SYN, options)), [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 8]);
}

#[test]
fn whole_syn_options_are_read_at_once_like_others() {
    // Shows of what most hosts say with SYN that each option is read, in that order and with a no-operation moved; without
    // SYN only the timestamps count.
    let usual = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 15];
    let moved = [1, 2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 3, 3, 15];
    let all = Options {
        mss: Some(1460),
        window_scale: Some(14),
        sack_permitted: true,
        timestamps: Some((0x0102_0304, 0x0506_0708)),
        sack: SackBlocks::NONE,
    };
    assert_eq!([&usual, &moved].map(|bytes| parsed(Flags::SYN, bytes)), [all; 2]);
    let stamps = Options { timestamps: all.timestamps, ..Options::NONE };
    assert_eq!(parsed(Flags::ACK, &usual), stamps);
}

#[test]
fn data_and_sack_options_in_order() {
    // Shows nop, nop, timestamps, then nop, nop, sack; three blocks fit beside timestamps, four without.
    let mut options = Options { timestamps: Some((1, 2)), sack: sack(4), ..Options::NONE };
    let bytes = options_of(&segment(Flags::ACK, options));
    assert_eq!(bytes.len(), 40);
    assert_eq!(bytes[..16], [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 26]);
    options.timestamps = None;
    let bytes = options_of(&segment(Flags::ACK, options));
    assert_eq!(bytes.len(), 36);
    assert_eq!(bytes[..4], [1, 1, 5, 34]);
    assert!(!sack(4).clone().push(SeqNum(1), SeqNum(2)));
}

#[test]
fn checksum_is_made_and_checked() {
    // Shows the full and the partial sum, and that any flipped bit is noticed.
    let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let payload = b"odd";
    let segment = segment(Flags::ACK | Flags::PSH, Options { timestamps: Some((7, 8)), ..Options::NONE });
    let pseudo = Checksum::pseudo_ipv4(a, b, 6, 35);
    let mut bytes = vec![0; segment.header_len()];
    segment.emit(&mut bytes, Fill::Partial(pseudo)).unwrap();
    assert_eq!(bytes[16..18], pseudo.partial().to_be_bytes());
    segment.emit(&mut bytes, Fill::Full(pseudo.with(payload))).unwrap();
    bytes.extend(payload);
    assert_eq!(parse(&bytes, Verify::Sum(pseudo)).unwrap(), (Segment { header_len: 32, ..segment }, 32));
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(parse(&bytes, Verify::Sum(pseudo)), Err(DropReason::TcpChecksum));
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    // A chain: the first 33 bytes here, the rest summed apart.
    let mut chained = pseudo;
    chained.append(Checksum::ZERO.with(&bytes[..33]));
    chained.append(Checksum::ZERO.with(&bytes[33..]));
    assert!(chained.is_valid());
}

#[test]
fn truncation_at_every_byte() {
    // Shows that no prefix that cuts the header parses, and each that cuts the payload only does.
    let segment = segment(Flags::ACK, Options { timestamps: Some((7, 8)), ..Options::NONE });
    let mut bytes = vec![0; 40];
    segment.emit(&mut bytes, Fill::Zero).unwrap();
    for short in 0..=40 {
        let result = parse(&bytes[..short], Verify::Trusted);
        match short {
            0..20 => assert_eq!(result, Err(DropReason::TcpTruncated)),
            20..32 => assert_eq!(result, Err(DropReason::TcpDataOffset)),
            _ => assert_eq!(result.unwrap().1, 32),
        }
    }
    bytes[12] = 0x40;
    assert_eq!(parse(&bytes, Verify::Trusted), Err(DropReason::TcpDataOffset));
    bytes[12] = 0x50;
    bytes[2..4].fill(0);
    assert_eq!(parse(&bytes, Verify::Trusted), Err(DropReason::TcpPortZero));
    assert_eq!(segment.emit(&mut [0; 31], Fill::Zero), Err(NoRoom));
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.1
//= type=test
//# TCP implementations MUST be prepared to handle an illegal
//# option length (e.g., zero);
fn malformed_options_end_the_reading() {
    // Shows lengths of zero, one and beyond the end: what came before counts, what follows does not.
    let mss = Options { mss: Some(1460), ..Options::NONE };
    for bad in [[8, 0, 1, 1], [8, 1, 1, 1], [253, 9, 1, 1], [0, 2, 4, 9]] {
        let options = [&[2, 4, 5, 0xb4][..], &bad, &[4, 2, 1, 1]].concat();
        assert_eq!(parsed(Flags::SYN, &options), mss, "{bad:?}");
    }
    assert_eq!(parsed(Flags::SYN, &[2, 4, 5, 0xb4, 1, 1, 1, 8]), mss);
    assert_eq!(parsed(Flags::SYN, &[2, 4, 5, 0xb4, 8, 10, 1, 1]), mss);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.1
//= type=test
//# A TCP implementation MUST (MUST-6) ignore without error any TCP
//# Option it does not implement, assuming that the option has a length
//# field.
fn unknown_and_odd_options_are_skipped() {
    // Shows unknown kinds and known kinds of a wrong length skipped, and the rest still read.
    let options = [253, 4, 9, 9, 2, 3, 1, 3, 4, 7, 7, 4, 3, 1, 5, 6, 0, 0, 0, 1, 2, 4, 0, 99];
    assert_eq!(parsed(Flags::SYN, &options), Options { mss: Some(99), ..Options::NONE });
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc7323#section-2.3
//= type=test
//# If a Window Scale option is received with a shift.cnt value larger
//# than 14, the TCP SHOULD log the error but MUST use 14 instead of
//# the specified value.
fn window_scale_is_capped() {
    // Shows a shift of 200 read as 14, and SYN options ignored where there is no SYN.
    assert_eq!(parsed(Flags::SYN, &[1, 3, 3, 200]).window_scale, Some(14));
    assert_eq!(parsed(Flags::ACK, &[1, 3, 3, 2, 2, 4, 5, 0xb4, 1, 1, 4, 2]), Options::NONE);
}

#[test]
fn sequence_length_counts_controls() {
    // Shows SEG.LEN with SYN and FIN.
    assert_eq!(segment(Flags::SYN | Flags::FIN, Options::NONE).seq_len(10), 12);
    assert_eq!(segment(Flags::ACK, Options::NONE).seq_len(10), 10);
}

prop_compose! {
    fn any_options()(
        mss: Option<u16>, window_scale in prop::option::of(0u8..=14), sack_permitted: bool,
        timestamps: Option<(u32, u32)>, blocks in prop::collection::vec(any::<(u32, u32)>(), 0..=4), syn: bool,
    ) -> (Options, bool) {
        let mut options = Options { timestamps, ..Options::NONE };
        if syn {
            options = Options { mss, window_scale, sack_permitted, ..options };
        }
        for (left, right) in blocks {
            options.sack.push(SeqNum(left), SeqNum(right));
        }
        // Only what fits is on the wire.
        let mut fitting = SackBlocks::NONE;
        for block in options.sack.as_slice().iter().take(options.sack_blocks_emitted()) {
            fitting.push(block.left, block.right);
        }
        (Options { sack: fitting, ..options }, syn)
    }
}

proptest! {
    #[test]
    fn parse_of_emit_is_identity(
        (options, syn) in any_options(), ports in any::<(u16, u16)>(), seq: u32, ack: u32, flags: u8,
        window: u16, urgent: u16,
    ) {
        // Shows that every field and option survives emit and parse.
        let mut flags = Flags(flags).without(Flags::SYN);
        if syn { flags |= Flags::SYN; }
        let mut segment = Segment {
            window, urgent, options,
            ..Segment::new(ports.0.max(1), ports.1.max(1), SeqNum(seq), SeqNum(ack), flags)
        };
        let mut out = vec![0; segment.header_len()];
        prop_assert!(out.len() <= HEADER_LEN_MAX && out.len().is_multiple_of(4));
        segment.emit(&mut out, Fill::Full(Checksum::ZERO)).unwrap();
        segment.header_len = u8::try_from(out.len()).unwrap();
        prop_assert_eq!(parse(&out, Verify::Sum(Checksum::ZERO)), Ok((segment, out.len())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn random_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..90), words in 5u8..16) {
        // Shows that what parses lies within the bytes and can be emitted again, whatever they are.
        if let Some(offset) = bytes.get_mut(12) { *offset = words << 4; }
        if let Ok((segment, start)) = parse(&bytes, Verify::Trusted) {
            prop_assert!(start <= bytes.len());
            let mut out = [0; HEADER_LEN_MAX];
            segment.emit(&mut out, Fill::Zero).unwrap();
            let (again, _) = parse(&out, Verify::Trusted).unwrap();
            prop_assert_eq!(again.options.timestamps, segment.options.timestamps);
        }
    }

    #[test]
    fn random_options_do_not_panic(bytes in prop::collection::vec(0u8..12, 0..=40), syn: bool) {
        // Shows the same for options made of small numbers, where kinds and lengths mostly mean something.
        let options = Options::parse(&bytes, syn);
        prop_assert!(options.window_scale.is_none_or(|shift| shift <= WINDOW_SCALE_MAX));
    }
}
