//! Data in both directions: windows, reassembly, SACK, timestamps, Nagle, silly windows, delayed acknowledgements.

use stack::socket::{Op, SocketOption, StreamOptions};
use stack::wire::tcp::{Options, SackBlocks};

use crate::driver::{IRS, In, MS, Peer, S, seg};

fn sack() -> Options {
    Options { mss: Some(1460), sack_permitted: true, ..Options::NONE }
}

fn mss(mss: u16) -> Options {
    Options { mss: Some(mss), ..Options::NONE }
}

/// An accepted connection past its first segments, which are acknowledged at once.
fn settled(options: Options) -> Peer {
    let mut peer = Peer::with(|host| host.config.tcp.quick_acks = 0);
    peer.accepted(options);
    peer
}

/// The blocks of the last segment, relative.
fn blocks(peer: &Peer) -> Vec<(u32, u32)> {
    let blocks = peer.last.unwrap().options.sack;
    blocks.as_slice().iter().map(|block| (block.left.since(IRS), block.right.since(IRS))).collect()
}

#[test]
fn an_acknowledgement_waits_for_a_second_segment_or_40_ms() {
    // Shows the delayed acknowledgement's time, that two full segments end the wait, and data out of order too.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.3
    //= type=test
    //# An ACK SHOULD be generated for at least every second full-sized segment
    let mut peer = settled(mss(1460));
    assert_eq!(peer.answer(seg("P.", 1, 1).data(100)), "-");
    let sent = peer.now();
    peer.wait(S);
    assert_eq!(peer.tx(), ". 1(0) ack 101");
    assert!((40 * MS..41 * MS).contains(&(peer.at - sent)), "{} ns", peer.at - sent);
    assert_eq!(peer.answer(seg(".", 101, 1).data(1460)), "-");
    assert_eq!(peer.answer(seg(".", 1561, 1).data(1460)), ". 1(0) ack 3021");
    assert_eq!(peer.answer(seg(".", 4481, 1).data(1460)), ". 1(0) ack 3021");
}

#[test]
fn first_segments_are_acknowledged_at_once() {
    // Shows that a new connection does not keep the peer's small window waiting.
    let mut peer = Peer::new();
    peer.accepted(mss(1460));
    assert_eq!(peer.answer(seg("P.", 1, 1).data(100)), ". 1(0) ack 101");
}

#[test]
fn the_first_sack_block_is_the_newest() {
    // Shows order, merging and the number of blocks, and that they go once the hole is filled.
    //= https://www.rfc-editor.org/rfc/rfc2018#section-4
    //= type=test
    //# The first SACK block (i.e., the one immediately following the kind and length fields in the
    //# option) MUST specify the contiguous block of data containing the segment which triggered
    //# this ACK, unless that segment advanced the Acknowledgment Number field in the header.
    let mut peer = settled(sack());
    for (seq, due) in [
        (201, vec![(201, 301)]),
        (401, vec![(401, 501), (201, 301)]),
        (601, vec![(601, 701), (401, 501), (201, 301)]),
        (301, vec![(201, 401), (601, 701)]),
    ] {
        let due = if seq == 301 { vec![(201, 501), (601, 701)] } else { due };
        assert_eq!(peer.answer(seg(".", seq, 1).data(100)), ". 1(0) ack 1");
        assert_eq!(blocks(&peer), due);
    }
    assert_eq!(peer.answer(seg(".", 1, 1).data(200)), ". 1(0) ack 501");
    assert_eq!(blocks(&peer), [(601, 701)]);
    assert_eq!(peer.answer(seg(".", 501, 1).data(100)), ". 1(0) ack 701");
    assert_eq!(blocks(&peer), []);
    assert_eq!(peer.app().received.len(), 700);
}

#[test]
fn without_the_option_nothing_is_selective() {
    // Shows that SACK is sent to a peer that offered it, and to no other.
    let mut peer = settled(mss(1460));
    assert_eq!(peer.answer(seg(".", 201, 1).data(100)), ". 1(0) ack 1");
    assert_eq!(blocks(&peer), []);
}

#[test]
fn three_duplicates_bring_the_segment_back_without_a_timer() {
    // Shows fast retransmit by SACK and without it: the head goes again at the third duplicate, at once.
    //= https://www.rfc-editor.org/rfc/rfc5681#section-3.2
    //= type=test
    //# The TCP sender SHOULD use the "fast retransmit" algorithm to detect
    //# and repair loss, based on incoming duplicate ACKs.
    for selective in [false, true] {
        let mut peer = Peer::new();
        peer.accepted(if selective { sack() } else { mss(1460) });
        let stream = peer.stream();
        peer.op(Op::send(stream, vec![1u8; 8 * 1460]));
        let sent = peer.frames().len();
        assert_eq!(sent, 8);
        let begun = peer.now();
        for count in 1..=3u32 {
            let mut duplicate = seg(".", 1, 1);
            if selective {
                let mut blocks = SackBlocks::NONE;
                blocks.push(peer.iss + 1461, peer.iss + 1461 + count * 1460);
                duplicate.options.sack = blocks;
            }
            peer.rx(duplicate);
            let answers: Vec<_> = std::iter::from_fn(|| Some(peer.tx()).filter(|text| text != "-")).collect();
            let again = answers.iter().any(|text| text.contains(" 1(1460)"));
            assert_eq!(again, count == 3, "duplicate {count}: {answers:?}");
        }
        assert_eq!(peer.now(), begun);
    }
}

#[test]
fn nagle_waits_unless_told_otherwise() {
    // Shows that a second small segment waits for the first's acknowledgement, that a full one does not, and NoDelay.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.7.4
    //= type=test
    //# the sending TCP endpoint buffers all user data (regardless of the PSH
    //# bit) until the outstanding data has been acknowledged or until the TCP
    //# endpoint can send a full-sized segment (Eff.snd.MSS bytes).
    let mut peer = Peer::new();
    peer.connected(mss(1000));
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 10]));
    assert_eq!(peer.tx(), "P. 1(10) ack 1");
    peer.op(Op::send(stream, vec![2u8; 10]));
    peer.op(Op::send(stream, vec![3u8; 10]));
    assert_eq!(peer.tx(), "-");
    assert_eq!(peer.answer(seg(".", 1, 11)), "P. 11(20) ack 1");
    peer.op(Op::send(stream, vec![4u8; 1010]));
    assert_eq!((peer.tx(), peer.tx()), (". 31(1000) ack 1".to_owned(), "-".to_owned()));
    peer.op(Op::set(stream, SocketOption::NoDelay(true)));
    assert_eq!(peer.tx(), "P. 1031(10) ack 1");
    peer.op(Op::send(stream, vec![5u8; 10]));
    assert_eq!(peer.tx(), "P. 1041(10) ack 1");
}

#[test]
fn a_sender_does_not_fill_silly_windows() {
    // Shows that a few bytes of window are not used up at once while more could be sent, but by the override timer.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.2.1
    //= type=test
    //# A TCP implementation MUST include a SWS avoidance algorithm in the sender
    let mut peer = Peer::new();
    peer.accepted(mss(1000));
    let stream = peer.stream();
    peer.rx(seg(".", 1, 1).window(65_535));
    peer.rx(seg(".", 1, 1).window(50));
    peer.op(Op::send(stream, vec![1u8; 5000]));
    assert_eq!(peer.tx(), "-");
    let begun = peer.now();
    peer.wait(S);
    assert_eq!(peer.tx(), ". 1(50) ack 1");
    let waited = peer.at - begun;
    assert!((100 * MS..=S).contains(&waited), "RFC 9293 has 0.1 to 1 s, not {waited} ns");
}

#[test]
fn a_receiver_does_not_offer_silly_windows() {
    // Shows that a window that was used up opens again by a segment at least, and is never taken back.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.2.2
    //= type=test
    //# A TCP implementation MUST include a SWS avoidance algorithm in the
    //# receiver (MUST-39).
    let mut peer = Peer::with(|host| {
        host.config.tcp.receive_frames = 4;
        host.config.tcp.receive_frames_max = 4;
    });
    peer.accepted(mss(1460));
    peer.app().keeps = true;
    let mut seq = 1;
    let mut edge = 0;
    for _ in 0..12 {
        peer.rx(seg(".", seq, 1).data(500));
        while peer.tx() != "-" {
            let last = peer.last.unwrap();
            let now = last.ack.since(IRS) + u32::from(last.window);
            assert!(now >= edge, "the edge went back from {edge} to {now}");
            edge = now;
            seq = last.ack.since(IRS);
        }
    }
    assert_eq!(peer.last.unwrap().window, 0);
    peer.app().keep.remove(0);
    peer.wait(MS);
    let opened = peer.tx();
    assert!(opened == "-" || peer.last.unwrap().window >= 500, "a silly window: {:?}", peer.last);
    peer.app().keep.clear();
    peer.wait(MS);
    while peer.tx() != "-" {}
    assert!(peer.last.unwrap().window >= 1000, "{:?}", peer.last);
}

#[test]
fn windows_are_scaled_if_both_offer_it() {
    // Shows our shift of eight in the SYN-ACK and after it, the peer's shift in what we send, and neither without.
    //= https://www.rfc-editor.org/rfc/rfc7323#section-2.2
    //= type=test
    //# The window field in a segment where the SYN bit is set (i.e., a <SYN>
    //# or <SYN,ACK>) MUST NOT be scaled.
    let mut peer = Peer::new();
    peer.accepted(Options { mss: Some(1460), window_scale: Some(2), ..Options::NONE });
    assert_eq!(peer.last.unwrap().options.window_scale, Some(8));
    let first = peer.last.unwrap().window;
    assert_eq!(first, 65_535);
    assert_eq!(peer.answer(seg("P.", 1, 1).data(1)), ". 1(0) ack 2");
    assert!(peer.last.unwrap().window < 1024, "scaled: {}", peer.last.unwrap().window);
    let stream = peer.stream();
    peer.rx(seg(".", 2, 1).window(500));
    peer.op(Op::send(stream, vec![1u8; 10_000]));
    let sent: usize =
        peer.frames().iter().filter_map(|(_, bytes)| crate::driver::read(bytes)).map(|s| s.1.len()).sum();
    assert_eq!(sent, 1460, "a window of 500 << 2, without its silly rest");

    let mut peer = Peer::new();
    peer.accepted(mss(1460));
    assert_eq!(peer.last.unwrap().options.window_scale, None);
}

fn stamped() -> Options {
    Options { mss: Some(1460), timestamps: Some((1000, 0)), ..Options::NONE }
}

#[test]
fn old_timestamps_are_refused() {
    // Shows PAWS: older data is acknowledged and dropped, segments without the option vanish, resets count.
    //= https://www.rfc-editor.org/rfc/rfc7323#section-5.3
    //= type=test
    //# If there is a Timestamps option in the arriving segment,
    //# SEG.TSval < TS.Recent, TS.Recent is valid (see later discussion), and
    //# if the RST bit is not set, then treat the arriving segment as not acceptable
    let mut peer = Peer::new();
    peer.accepted(stamped());
    assert_eq!(peer.answer(seg("P.", 1, 1).data(10).stamps(1010, 0)), ". 1(0) ack 11");
    assert_eq!(peer.answer(seg("P.", 11, 1).data(10).stamps(1009, 0)), ". 1(0) ack 11");
    assert_eq!(peer.answer(seg("P.", 11, 1).data(10)), "-");
    assert_eq!(peer.app().received.len(), 10);
    assert_eq!(peer.answer(seg("P.", 11, 1).data(10).stamps(1010, 0)), ". 1(0) ack 21");
    assert_eq!(peer.answer(seg("R", 21, 0)), "-");
    assert_eq!(peer.event(), "closed Reset");
}

#[test]
fn the_echoed_timestamp_is_that_of_the_edge() {
    // Shows the Last.ACK.sent rule: data out of order does not move TS.Recent, what fills the hole does, and a segment
    // that came before brings its own time.
    //= https://www.rfc-editor.org/rfc/rfc7323#section-4.3
    //= type=test
    //# If: SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent
    //# then SEG.TSval is copied to TS.Recent; otherwise, it is ignored.
    let mut peer = Peer::new();
    peer.accepted(stamped());
    let echo = |peer: &Peer| peer.last.unwrap().options.timestamps.unwrap().1;
    peer.answer(seg("P.", 101, 1).data(100).stamps(1100, 0));
    assert_eq!(echo(&peer), 1000);
    assert_eq!(peer.answer(seg("P.", 1, 1).data(100).stamps(1200, 0)), ". 1(0) ack 201");
    assert_eq!(echo(&peer), 1200);
    assert_eq!(peer.answer(seg("P.", 101, 1).data(100).stamps(1300, 0)), ". 1(0) ack 201");
    assert_eq!(echo(&peer), 1300);
}

#[test]
fn the_peers_mss_bounds_segments() {
    // Shows segments no longer than the MSS of the peer's SYN, the version's default without one, and less by the options each carries.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.7.1
    //= type=test
    //# If an MSS Option is not received at connection setup, TCP
    //# implementations MUST assume a default send MSS of 536 (576 - 40) for
    //# IPv4 or 1220 (1280 - 60) for IPv6 (MUST-15).
    let default = if crate::IPV6 { 1220 } else { 536 };
    for (options, due) in [(mss(700), 700), (Options::NONE, default), (mss(9000), 1460), (stamped(), 1448)] {
        let mut peer = Peer::new();
        peer.accepted(options);
        let stream = peer.stream();
        peer.op(Op::send(stream, vec![1u8; 3000]));
        assert_eq!(peer.tx(), format!(". 1({due}) ack 1"));
    }
}

#[test]
fn the_initial_window_is_ten_segments() {
    // Shows RFC 6928: ten segments go before anything is acknowledged, and no more.
    let mut peer = Peer::new();
    peer.accepted(mss(1000));
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![1u8; 50_000]));
    assert_eq!(peer.frames().len(), 10);
}

/// The peer sends so many segments with data, and how many of them the fast path took.
fn fast(peer: &mut Peer, segments: u32) -> u64 {
    let before = peer.report().counters.fast_segments;
    for _ in 0..segments {
        peer.rx(seg("P.", peer.rcv, peer.nxt).data(100));
        peer.rcv += 100;
    }
    peer.report().counters.fast_segments - before
}

#[test]
fn what_was_pressing_once_costs_nothing_later() {
    // Shows that a cork which was pulled and urgent data make a connection's segments dearer only until they have gone, or
    // are acknowledged: from then on every segment takes the fast path as before.
    let mut peer = settled(mss(1460));
    let stream = peer.stream();
    let cork = |cork| SocketOption::Stream(StreamOptions { cork, ..StreamOptions::default() });
    assert_eq!(fast(&mut peer, 4), 4);
    peer.op(Op::set(stream, cork(true)));
    peer.op(Op::send(stream, vec![7u8; 100]));
    peer.op(Op::set(stream, cork(false)));
    peer.nxt = 101;
    assert_eq!(fast(&mut peer, 4), 4);
    peer.op(Op::send(stream, vec![7u8; 100]));
    peer.op(Op::set(stream, SocketOption::Urgent));
    peer.nxt = 201;
    peer.rx(seg(".", peer.rcv, 201));
    peer.op(Op::send(stream, vec![7u8; 100]));
    peer.nxt = 301;
    assert_eq!(fast(&mut peer, 4), 4);
}

#[test]
fn a_window_that_did_not_open_is_not_told() {
    // Shows a receive buffer of a few bytes: one of two segments is taken out of it, but what still lies there fills it,
    // so the peer hears nothing; once that is taken too, it does.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.2.2
    //= type=test
    //# A TCP implementation MUST include a SWS avoidance algorithm in the
    //# receiver (MUST-39).
    let mut peer = settled(mss(1460));
    let stream = peer.stream();
    let options = StreamOptions { receive_bytes: 3, ..StreamOptions::default() };
    peer.op(Op::set(stream, SocketOption::Stream(options)));
    peer.app().keeps = true;
    peer.op(Op::receive(stream));
    peer.rx(seg("P.", 1, 1).data(1));
    peer.rx(seg("P.", 2, 1).data(1));
    peer.wait(S);
    peer.frames();
    assert_eq!(peer.app().received.len(), 2);
    peer.app().keep.remove(0);
    peer.wait(S);
    assert_eq!(peer.tx(), "-");
}

/// Bursts of segments, most of them in order: each of another length, and now and then one that acknowledges more, tells
/// another window or time, comes again, leaves a hole or carries a mark.
fn bursts(stamp: u32) -> Vec<Vec<In>> {
    let (mut bursts, mut nxt, mut dice) = (Vec::new(), 1, 12_345u32);
    let mut roll = move |sides: u32| {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (dice >> 16) % sides
    };
    let (mut ack, mut window, mut time) = (1, 60_000, 1_000);
    for number in 0..60 {
        let mut burst = Vec::new();
        for _ in 0..1 + roll(32) {
            let len = 1 + roll(90);
            let seq = match roll(40) {
                0 => nxt + 7,
                1 => nxt - len.min(nxt - 1),
                _ => nxt,
            };
            match roll(24) {
                0 => ack = 9,
                1 => window = 50_000 + u16::try_from(number).unwrap(),
                2 => time += 1,
                _ => {}
            }
            let flags = if roll(5) == 0 { "P." } else { "." };
            let field = if roll(50) == 0 { 3 } else { 0 };
            let text: Vec<u8> = (seq..seq + len).map(|at| (at % 251).to_le_bytes()[0]).collect();
            burst.push(seg(flags, seq, ack).bytes(&text).window(window).stamps(time, stamp).field(field));
            if seq == nxt {
                nxt += len;
            }
        }
        bursts.push(burst);
    }
    bursts
}

#[test]
fn segments_in_a_row_are_taken_alike() {
    // Shows of sixty bursts, with the fast path and without: the same bytes, the same segments in answer, the same figures.
    let outcome = |fast: bool| {
        let mut peer = Peer::with(|host| host.config.tcp.fast_path = fast);
        let options = Options { timestamps: Some((1_000, 0)), sack_permitted: true, ..Options::NONE };
        peer.accepted(options);
        let stamp = peer.last.unwrap().options.timestamps.unwrap().0;
        let stream = peer.stream();
        peer.op(Op::send(stream, &b"question"[..]));
        let mut answers = vec![peer.tx()];
        for burst in bursts(stamp) {
            peer.rx_all(&burst);
            peer.wait(S / 1_000);
            answers.extend(core::iter::from_fn(|| Some(peer.tx()).filter(|text| text != "-")));
        }
        peer.op(Op::inspect(stream));
        let (figures, fast_segments) = (peer.event(), peer.report().counters.fast_segments);
        let received = core::mem::take(&mut peer.app().received);
        assert!(received.iter().zip(1u32..).all(|(byte, at)| *byte == (at % 251).to_le_bytes()[0]));
        // Two lanes deal the segments out, which puts most out of order.
        let many = if crate::LANES == 1 { 500 } else { 50 };
        assert_eq!(fast_segments > many, fast, "{fast_segments}");
        (received.len(), answers, figures)
    };
    let (with, without) = (outcome(true), outcome(false));
    assert!(with.0 > 10_000, "{}", with.0);
    assert_eq!(with, without);
}
