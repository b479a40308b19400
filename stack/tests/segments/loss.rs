//! What is lost and how it is repaired, from both ends: SACK and D-SACK, RACK-TLP, rate reduction, F-RTO and undo.
//! Segments are told by their numbers: number `n` begins at `1 + n · MSS`.

use stack::config::Congestion;
use stack::sim::Host;
use stack::socket::{Event, Op, Recovery, SocketOption, TcpInfo};
use stack::wire::tcp::{Options, SackBlocks};

use crate::driver::{IRS, In, MS, PEER, PEER_PORT, PORT, Peer, S, US, read, seg};

const MSS: u32 = 1000;

fn sack() -> Options {
    Options { mss: Some(1000), sack_permitted: true, ..Options::NONE }
}

fn plain() -> Options {
    Options { mss: Some(1000), ..Options::NONE }
}

/// A connection that the peer opened, whose handshake has taken `rtt_ms`; NewReno, for its figures are simple.
fn opened(rtt_ms: u64, options: Options, adjust: fn(&mut Host)) -> Peer {
    let mut peer = Peer::with(|host| {
        host.config.tcp.congestion = Congestion::NewReno;
        adjust(host);
    });
    peer.op(Op::listen_eager(core::net::SocketAddr::new(US, PORT)));
    assert_eq!(peer.event(), "listening");
    assert_eq!(peer.answer(seg("S", 0, 0).options(options)), "S. 0(0) ack 1");
    let stamp = peer.last.unwrap().options.timestamps;
    peer.wait(rtt_ms * MS);
    let mut ack = seg(".", 1, 1);
    if let (Some((value, _)), Some((stamp, _))) = (options.timestamps, stamp) {
        ack = ack.stamps(value, stamp);
    }
    peer.rx(ack);
    assert_eq!(peer.event(), "accepted");
    let stream = peer.stream();
    peer.op(Op::set(stream, SocketOption::NoDelay(true)));
    peer
}

fn send(peer: &mut Peer, segments: u32) {
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![7u8; (segments * MSS) as usize]));
}

/// An acknowledgement of everything before segment `next`, with these blocks, told by their segments.
fn ack(peer: &Peer, next: u32, blocks: &[(u32, u32)]) -> In {
    let mut ack = seg(".", 1, 1 + next * MSS);
    let mut reported = SackBlocks::NONE;
    for (first, behind) in blocks {
        reported.push(peer.iss + (1 + first * MSS), peer.iss + (1 + behind * MSS));
    }
    ack.options.sack = reported;
    ack
}

fn report(peer: &mut Peer, next: u32, blocks: &[(u32, u32)]) {
    let ack = ack(peer, next, blocks);
    peer.rx(ack);
}

/// Numbers of the segments with data sent since the last look, in order, and when each went, since `begun`.
fn timed(peer: &mut Peer, begun: u64) -> Vec<(u32, u64)> {
    let iss = peer.iss;
    let frames = peer.frames();
    let sent = frames.iter().filter_map(|(at, bytes)| Some((*at, read(bytes)?)));
    sent.filter(|(_, (_, data))| !data.is_empty())
        .map(|(at, (segment, _))| ((segment.seq.since(iss) - 1) / MSS, (at - begun) / MS))
        .collect()
}

fn sent(peer: &mut Peer) -> Vec<u32> {
    let begun = peer.now() % MS;
    timed(peer, begun).into_iter().map(|(number, _)| number).collect()
}

/// What goes within `ms`, and when.
fn within(peer: &mut Peer, ms: u64) -> Vec<(u32, u64)> {
    let begun = peer.now();
    peer.frames();
    peer.wait(ms * MS);
    timed(peer, begun)
}

fn info(peer: &mut Peer) -> TcpInfo {
    let stream = peer.stream();
    peer.op(Op::inspect(stream));
    loop {
        if let Some(Event::Info { info, .. }) = peer.app().events.pop_front() {
            return *info;
        }
    }
}

fn range(first: u32, behind: u32) -> Vec<u32> {
    (first..behind).collect()
}

/// The blocks of the last segment the engine sent, relative.
fn blocks(peer: &Peer) -> Vec<(u32, u32)> {
    let blocks = peer.last.unwrap().options.sack;
    blocks.as_slice().iter().map(|block| (block.left.since(IRS), block.right.since(IRS))).collect()
}

#[test]
fn what_comes_twice_is_reported_once() {
    // Shows RFC 2883's examples 1 to 4: a duplicate, a duplicate beside a block, a duplicate inside a block, and a
    // segment of which half came before; each told in one acknowledgement, the first block of it.
    //= https://www.rfc-editor.org/rfc/rfc2883#section-4
    //= type=test
    //# (2) Each duplicate contiguous sequence of data received is reported
    //# in at most one D-SACK block.
    //= https://www.rfc-editor.org/rfc/rfc2883#section-4
    //= type=test
    //# (4) If the D-SACK block reports a duplicate contiguous sequence from
    //# a (possibly larger) block of data in the receiver's data queue above
    //# the cumulative acknowledgement, then the second SACK block in that
    let mut peer = opened(0, sack(), |_| {});
    assert_eq!(peer.answer(seg(".", 1, 1).data(500)), ". 1(0) ack 501");
    assert_eq!(peer.answer(seg(".", 501, 1).data(500)), ". 1(0) ack 1001");
    assert_eq!(peer.answer(seg(".", 1, 1).data(500)), ". 1(0) ack 1001");
    assert_eq!(blocks(&peer), [(1, 501)]);
    assert_eq!(peer.answer(seg(".", 1501, 1).data(500)), ". 1(0) ack 1001");
    assert_eq!(blocks(&peer), [(1501, 2001)]);
    assert_eq!(peer.answer(seg(".", 1, 1).data(500)), ". 1(0) ack 1001");
    assert_eq!(blocks(&peer), [(1, 501), (1501, 2001)]);
    assert_eq!(peer.answer(seg(".", 3001, 1).data(500)), ". 1(0) ack 1001");
    assert_eq!(peer.answer(seg(".", 2001, 1).data(500)), ". 1(0) ack 1001");
    assert_eq!(peer.answer(seg(".", 1501, 1).data(500)), ". 1(0) ack 1001");
    assert_eq!(blocks(&peer), [(1501, 2001), (1501, 2501), (3001, 3501)]);
    assert_eq!(peer.answer(seg(".", 501, 1).data(1000)), ". 1(0) ack 2501");
    assert_eq!(blocks(&peer), [(501, 1001), (3001, 3501)]);
    assert_eq!(peer.answer(seg(".", 2501, 1).data(600)), ". 1(0) ack 3501");
    assert_eq!(blocks(&peer), [(3001, 3101)]);
    assert_eq!(peer.answer(seg(".", 3501, 1).data(100)), ". 1(0) ack 3601");
    assert_eq!(blocks(&peer), []);
    assert_eq!(peer.report().active, 0);
}

#[test]
fn without_sack_no_duplicate_is_reported() {
    // Shows that a peer which did not offer SACK gets no D-SACK block.
    let mut peer = opened(0, plain(), |_| {});
    assert_eq!(peer.answer(seg(".", 1, 1).data(500)), ". 1(0) ack 501");
    assert_eq!(peer.answer(seg(".", 1, 1).data(500)), ". 1(0) ack 501");
    assert_eq!(blocks(&peer), []);
}

#[test]
fn two_duplicates_send_new_segments_and_the_third_the_lost_one() {
    // Shows limited transmit, with SACK and without: one new segment for each of two duplicates, beyond the window.
    //= https://www.rfc-editor.org/rfc/rfc3042#section-2
    //= type=test
    //# it SHOULD use the Limited Transmit algorithm, which calls for a TCP
    //# sender to transmit new data upon the arrival of the first two
    //# consecutive duplicate ACKs
    for selective in [false, true] {
        let mut peer = opened(100, if selective { sack() } else { plain() }, |_| {});
        send(&mut peer, 20);
        assert_eq!(sent(&mut peer), range(0, 10));
        peer.wait(100 * MS);
        for (count, due) in [(1, 10), (2, 11), (3, 0)] {
            let reported = [(1, 1 + count)];
            report(&mut peer, 0, if selective { &reported } else { &[] });
            assert_eq!(sent(&mut peer), [due], "duplicate {count}, SACK {selective}");
        }
    }
}

#[test]
fn a_reduction_is_spread_over_the_round_trip() {
    // Shows rate reduction on the wire: of 14 segments the first is lost, and after limited transmit and the repair every
    // other acknowledgement sends one, until half the window is in flight.
    //= https://www.rfc-editor.org/rfc/rfc6937#section-3
    //= type=test
    //# sndcnt = CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out
    let mut peer = opened(100, sack(), |host| host.config.tcp.initial_window = 14);
    send(&mut peer, 60);
    assert_eq!(sent(&mut peer), range(0, 14));
    peer.wait(100 * MS);
    let mut counts = Vec::new();
    for behind in 2..=14 {
        report(&mut peer, 0, &[(1, behind)]);
        counts.push(sent(&mut peer).len());
    }
    assert_eq!(counts, [1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]);
    report(&mut peer, 16, &[]);
    let info = info(&mut peer);
    assert_eq!((info.cwnd, info.ssthresh), (7 * MSS, 7 * MSS));
}

#[test]
fn several_losses_of_a_window_reduce_it_once() {
    // Shows three losses in one window: each repaired once, in order, and the threshold halved once.
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 10);
    assert_eq!(sent(&mut peer), range(0, 10));
    peer.wait(100 * MS);
    let mut again = Vec::new();
    for blocks in [&[(1, 2)][..], &[(1, 3)], &[(4, 5), (1, 3)], &[(4, 6), (1, 3)], &[(7, 8), (4, 6), (1, 3)]]
    {
        report(&mut peer, 0, blocks);
        again.extend(sent(&mut peer));
    }
    for behind in [9, 10] {
        report(&mut peer, 0, &[(7, behind), (4, 6), (1, 3)]);
        again.extend(sent(&mut peer));
    }
    assert_eq!(again, [0, 3, 6]);
    peer.wait(100 * MS);
    for next in [3, 6, 10] {
        report(&mut peer, next, &[]);
        assert_eq!(sent(&mut peer), []);
    }
    assert_eq!(info(&mut peer).ssthresh, 5 * MSS);
}

#[test]
fn a_probe_asks_for_news_of_a_tail() {
    // Shows the probe's time, two round trips after the last segment; that it is the highest segment, or a new one if
    // there is; that there is one of it; and that the retransmission timer follows it.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
    //= type=test
    //# If such an unsent segment is not available, then the sender SHOULD
    //# retransmit the highest-sequence segment sent so far and set
    //# TLP.is_retrans to true.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
    //= type=test
    //# the sender MUST re-arm the RTO timer, not the PTO
    //# timer, if the FlightSize is not zero.
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 3);
    assert_eq!(sent(&mut peer), range(0, 3));
    assert_eq!(within(&mut peer, 600), [(2, 200), (0, 500)]);

    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 12);
    assert_eq!(sent(&mut peer), range(0, 10));
    assert_eq!(within(&mut peer, 450), [(10, 200)]);
    assert_eq!(info(&mut peer).cwnd, 10 * MSS);
}

#[test]
fn a_probe_waits_for_what_may_delay_an_acknowledgement() {
    // Shows that a single segment is probed no sooner than the retransmission timer would run out, for its
    // acknowledgement may be delayed; that the window stays; that a timeout follows; and the floor of 2 ms.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.2
    //= type=test
    //# If Now() + PTO > TCP_RTO_expiration():
    //# PTO = TCP_RTO_expiration() - Now()
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 1);
    assert_eq!(within(&mut peer, 550), [(0, 300)]);
    assert_eq!(info(&mut peer).cwnd, 10 * MSS);
    peer.wait(100 * MS);
    assert_eq!((sent(&mut peer), info(&mut peer).cwnd), (vec![0], MSS));

    let mut peer = opened(100, sack(), |host| host.config.tcp.tlp_ack_delay_us = 30_000);
    send(&mut peer, 1);
    assert_eq!(within(&mut peer, 290), [(0, 230)]);

    let mut peer = opened(0, sack(), |_| {});
    send(&mut peer, 3);
    assert_eq!(within(&mut peer, 100), [(2, 2)]);
}

#[test]
fn nothing_is_probed_without_sack_or_where_it_is_switched_off() {
    // Shows that only the retransmission timer runs for a peer without SACK, and with the option off.
    for (options, adjust) in
        [(plain(), (|_| {}) as fn(&mut Host)), (sack(), |host| host.config.tcp.tlp = false)]
    {
        let mut peer = opened(100, options, adjust);
        send(&mut peer, 3);
        assert_eq!(within(&mut peer, 350), [(0, 300)]);
    }
}

#[test]
fn what_a_probe_has_repaired_counts_as_a_loss() {
    // Shows the three ends of a probe that was sent again: acknowledged with D-SACK, or by a duplicate, nothing was lost;
    // with neither, something was, and the window falls when the next segment is acknowledged.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.4.2
    //= type=test
    //# The sender then
    //# SHOULD invoke a congestion control response equivalent to a fast
    //# recovery.
    // The ten segments fill the window, so that their acknowledgement opens it by eight.
    for (answer, due) in [("dsack", 18), ("duplicate", 18), ("nothing", 5)] {
        let mut peer = opened(100, sack(), |_| {});
        send(&mut peer, 10);
        peer.frames();
        assert_eq!(within(&mut peer, 250), [(9, 200)]);
        report(&mut peer, 10, if answer == "dsack" { &[(9, 10)] } else { &[] });
        if answer == "duplicate" {
            report(&mut peer, 10, &[]);
        }
        send(&mut peer, 1);
        report(&mut peer, 11, &[]);
        assert_eq!(info(&mut peer).cwnd, due * MSS, "{answer}");
    }
}

#[test]
fn a_probe_tells_of_the_whole_tail() {
    // Shows RFC 8985's case of a flight of which only the head arrived: the answer to the probe shows that all before it
    // were lost, and they are sent again without a timeout.
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 10);
    peer.frames();
    peer.wait(100 * MS);
    report(&mut peer, 2, &[]);
    assert_eq!(within(&mut peer, 250), [(9, 200)]);
    peer.wait(51 * MS);
    report(&mut peer, 2, &[(9, 10)]);
    let mut again = sent(&mut peer);
    for next in [3, 5, 8] {
        peer.wait(100 * MS);
        report(&mut peer, next, &[(9, 10)]);
        again.extend(sent(&mut peer));
    }
    assert_eq!(again, range(2, 9));
    assert_eq!(peer.report().counters.timeouts, 0);
}

#[test]
fn a_lost_head_and_a_lost_tail_are_repaired_without_a_timer() {
    // Shows RFC 8985 section 9.1's first example: of three segments, sent more than the reordering window apart, the
    // first and the last are lost; the second's report brings the first back, and that one's the last.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //= type=test
    //# RACK considers that
    //# segment lost if another segment that was sent later has been
    //# delivered and the reordering window has passed.
    let mut peer = opened(100, sack(), |_| {});
    for _ in 0..3 {
        send(&mut peer, 1);
        peer.wait(30 * MS);
    }
    assert_eq!(sent(&mut peer), range(0, 3));
    peer.wait(40 * MS);
    report(&mut peer, 0, &[(1, 2)]);
    assert_eq!(sent(&mut peer), [0]);
    peer.wait(100 * MS);
    report(&mut peer, 2, &[]);
    assert_eq!(sent(&mut peer), [2]);
}

#[test]
fn a_lost_retransmission_is_noticed() {
    // Shows that a retransmission is taken for lost once one that was sent later has arrived, and goes again at once.
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 10);
    peer.frames();
    peer.wait(100 * MS);
    for behind in 3..=5 {
        report(&mut peer, 0, &[(2, behind)]);
    }
    assert_eq!(sent(&mut peer), [0]);
    peer.wait(MS);
    report(&mut peer, 0, &[(2, 7)]);
    assert_eq!(sent(&mut peer), [1]);
    peer.wait(100 * MS);
    report(&mut peer, 0, &[(1, 10)]);
    assert_eq!(sent(&mut peer), [0]);
    report(&mut peer, 10, &[]);
    assert_eq!((sent(&mut peer), peer.report().counters.timeouts), (vec![], 0));
}

#[test]
fn a_segment_has_a_quarter_of_a_round_trip_to_be_overtaken() {
    // Shows that fewer reports than stand for a loss send nothing again until a quarter of the least round trip has
    // passed, that nothing goes if the segment comes in that time, and that no timeout is needed otherwise.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //= type=test
    //# it is RECOMMENDED that the
    //# sender install a reordering timer.
    for late in [20, 40] {
        let mut peer = opened(100, sack(), |_| {});
        send(&mut peer, 3);
        peer.frames();
        peer.wait(100 * MS);
        report(&mut peer, 0, &[(1, 3)]);
        let again = within(&mut peer, late);
        report(&mut peer, 3, &[]);
        assert_eq!(again, if late == 20 { vec![] } else { vec![(0, 25)] });
    }
}

#[test]
fn reordering_is_learnt() {
    // Shows a segment 30 ms late, beyond a quarter of the round trip: the first time it goes again for nothing, and D-SACK
    // gives the window back; from then on the same reordering costs nothing, and the next window is wider.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //= type=test
    //# The RACK.reo_wnd
    //# increases linearly for every round trip in which the sender receives
    //# some DSACK option
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 10);
    peer.frames();
    peer.wait(100 * MS);
    for behind in 2..=4 {
        report(&mut peer, 0, &[(1, behind)]);
    }
    assert_eq!(sent(&mut peer), [0]);
    peer.wait(30 * MS);
    report(&mut peer, 10, &[]);
    assert_eq!((info(&mut peer).cwnd, info(&mut peer).ssthresh), (5 * MSS, 5 * MSS));
    peer.wait(70 * MS);
    report(&mut peer, 10, &[(0, 1)]);
    assert_eq!((info(&mut peer).cwnd, info(&mut peer).ssthresh), (10 * MSS, u32::MAX));
    for round in 1..4 {
        send(&mut peer, 10);
        assert_eq!(sent(&mut peer).len(), 10);
        peer.wait(100 * MS);
        for behind in 2..=10 {
            report(&mut peer, 10 * round, &[(10 * round + 1, 10 * round + behind)]);
        }
        assert_eq!(within(&mut peer, 30), []);
        report(&mut peer, 10 * (round + 1), &[]);
    }
}

#[test]
fn a_timeout_for_nothing_is_taken_back() {
    // Shows F-RTO with SACK and without: the acknowledgements were merely late, new segments go instead of old ones, the
    // window comes back, and nothing but the first segment went twice.
    //= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
    //= type=test
    //# declare the timeout spurious and set SpuriousRecovery to
    //# SPUR_TO.
    for options in [sack(), plain()] {
        let mut peer = opened(100, options, |host| host.config.tcp.tlp = false);
        send(&mut peer, 20);
        assert_eq!(sent(&mut peer), range(0, 10));
        assert_eq!(within(&mut peer, 350), [(0, 300)]);
        assert_eq!(info(&mut peer).cwnd, MSS);
        report(&mut peer, 1, &[]);
        assert_eq!(sent(&mut peer), [10, 11]);
        report(&mut peer, 2, &[]);
        assert_eq!((sent(&mut peer), info(&mut peer).cwnd), (vec![], 10 * MSS));
        let mut rest = Vec::new();
        for next in 3..=20 {
            report(&mut peer, next, &[]);
            rest.extend(sent(&mut peer));
        }
        assert_eq!(rest, range(12, 20));
    }
}

#[test]
fn a_timeout_for_a_reason_is_not_taken_back() {
    // Shows F-RTO's other end: the answers to the new segments are duplicates, so the loss was real, and what is missing
    // goes again in slow start, from no more than three segments on.
    //= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
    //= type=test
    //# set the congestion window to
    //# no more than 3 * MSS and proceed with the conventional RTO
    //# recovery, retransmitting unacknowledged segments.
    let mut peer = opened(100, sack(), |host| host.config.tcp.tlp = false);
    send(&mut peer, 20);
    peer.frames();
    assert_eq!(within(&mut peer, 400), [(0, 300)]);
    report(&mut peer, 1, &[]);
    assert_eq!(sent(&mut peer), [10, 11]);
    peer.wait(100 * MS);
    report(&mut peer, 1, &[(10, 11)]);
    assert_eq!(sent(&mut peer), [1]);
    report(&mut peer, 1, &[(10, 12)]);
    assert_eq!(sent(&mut peer), [2]);
    assert!(info(&mut peer).cwnd <= 3 * MSS);
    peer.wait(100 * MS);
    report(&mut peer, 3, &[(10, 12)]);
    assert_eq!(sent(&mut peer), [3, 4, 5]);
}

#[test]
fn without_new_data_a_timeout_repairs_in_slow_start() {
    // Shows that F-RTO does not wait where no new segment can ask: the next lost ones go.
    let mut peer = opened(100, sack(), |host| host.config.tcp.tlp = false);
    send(&mut peer, 6);
    peer.frames();
    assert_eq!(within(&mut peer, 400), [(0, 300)]);
    report(&mut peer, 1, &[]);
    assert_eq!(sent(&mut peer), [1, 2]);
    report(&mut peer, 3, &[]);
    assert_eq!(sent(&mut peer), [3, 4, 5]);
}

#[test]
fn timestamps_show_that_a_timeout_was_for_nothing() {
    // Shows the Eifel detection: an acknowledgement that echoes the first transmission's time takes the timeout back at
    // once; one that echoes the second's does not.
    //= https://www.rfc-editor.org/rfc/rfc3522#section-3.2
    //= type=test
    //# If the value of the Timestamp Echo Reply field of the
    //# acceptable ACK's Timestamps option is smaller than the
    //# value of RetransmitTS, then proceed to step (5)
    for original in [true, false] {
        let options = Options { timestamps: Some((1000, 0)), mss: Some(1012), ..sack() };
        let mut peer = opened(100, options, |host| host.config.tcp.tlp = false);
        send(&mut peer, 10);
        let first = peer.frames();
        let stamp = |bytes: &[u8]| read(bytes).unwrap().0.options.timestamps.unwrap().0;
        let first = stamp(&first[0].1);
        peer.wait(350 * MS);
        let second = stamp(&peer.frames()[0].1);
        let ack = ack(&peer, 1, &[]).stamps(1100, if original { first } else { second });
        peer.rx(ack);
        let (again, info) = (sent(&mut peer), info(&mut peer));
        if original {
            assert_eq!((again, info.cwnd, info.ssthresh), (vec![], 10 * MSS, u32::MAX));
        } else {
            assert_eq!((again, info.cwnd, info.ssthresh), (vec![1, 2], 2 * MSS, 5 * MSS));
        }
    }
}

#[test]
fn a_receiver_may_change_its_mind() {
    // Shows reneging: what was reported and is thrown away after all goes again once the timer has run out.
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 4);
    peer.frames();
    peer.wait(100 * MS);
    report(&mut peer, 0, &[(1, 4)]);
    assert_eq!(sent(&mut peer), [0]);
    peer.wait(100 * MS);
    report(&mut peer, 1, &[]);
    assert_eq!(sent(&mut peer), []);
    let again = within(&mut peer, 400);
    assert_eq!(again.first().map(|(number, _)| *number), Some(1));
    report(&mut peer, 2, &[]);
    assert_eq!(sent(&mut peer), [2, 3]);
}

#[test]
fn without_sack_a_partial_acknowledgement_brings_the_next() {
    // Shows NewReno: two losses of one window are repaired one after the other, without a timeout, by one reduction.
    //= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
    //= type=test
    //# If this ACK does *not* acknowledge all of the data up to and including
    //# recover, then this is a partial ACK.  In this case, retransmit the first
    //# unacknowledged segment.
    let mut peer = opened(100, plain(), |_| {});
    send(&mut peer, 10);
    peer.frames();
    peer.wait(100 * MS);
    let mut again = Vec::new();
    for _ in 0..8 {
        report(&mut peer, 0, &[]);
        again.extend(sent(&mut peer));
    }
    assert_eq!(again, [0]);
    peer.wait(100 * MS);
    report(&mut peer, 4, &[]);
    assert_eq!(sent(&mut peer), [4]);
    peer.wait(100 * MS);
    report(&mut peer, 10, &[]);
    assert_eq!((sent(&mut peer), info(&mut peer).ssthresh), (vec![], 5 * MSS));
    assert_eq!(peer.report().counters.timeouts, 0);
    //= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
    //= type=test
    //# the TCP sender first checks the value of recover to see if the
    //# Cumulative Acknowledgment field covers more than recover.
    send(&mut peer, 5);
    peer.frames();
    for _ in 0..4 {
        report(&mut peer, 10, &[]);
    }
    assert_eq!(
        sent(&mut peer),
        [12, 13],
        "duplicates of what went again for nothing bring new segments only"
    );
}

#[test]
fn without_sack_a_short_flight_waits_no_longer_than_its_timeout() {
    // Shows RTO restart: the timer of a second segment counts from when it was sent, not from the first one's
    // acknowledgement.
    //= https://www.rfc-editor.org/rfc/rfc7765#section-4
    //= type=test
    //# (a)  RTO - T_earliest, if RTO - T_earliest > 0.
    let mut peer = opened(100, plain(), |_| {});
    send(&mut peer, 1);
    peer.wait(50 * MS);
    send(&mut peer, 1);
    peer.wait(50 * MS);
    report(&mut peer, 1, &[]);
    let rto = u64::from(info(&mut peer).rto_us / 1000);
    assert_eq!(within(&mut peer, 400), [(1, rto - 50)]);
}

#[test]
fn a_connection_begins_small_if_its_syn_was_lost_twice() {
    // Shows one segment as the initial window after two timeouts of the SYN, and ten after one.
    //= https://www.rfc-editor.org/rfc/rfc6928#section-2
    //= type=test
    //# unless there have been more than
    //# one SYN or SYN/ACK retransmissions or true loss detection has been
    //# made.
    for (seconds, due) in [(2, 10), (4, 1)] {
        let mut peer = Peer::new();
        peer.op(Op::connect(core::net::SocketAddr::new(PEER, PEER_PORT)));
        assert_eq!(peer.tx(), "S 0(0)");
        peer.wait(seconds * S);
        peer.frames();
        assert_eq!(peer.answer(seg("S.", 0, 1).options(sack())), ". 1(0) ack 1");
        assert_eq!(peer.event(), "connected");
        send(&mut peer, 20);
        assert_eq!(sent(&mut peer).len(), due, "after {seconds} s");
    }
}

#[test]
fn a_probe_without_a_measurement_waits_a_second() {
    // Shows the probe's time where the handshake measured nothing, for its SYN-ACK went twice.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.2
    //= type=test
    //# when there is no SRTT estimate available, the PTO SHOULD be 1
    //# second.
    let mut peer = opened(1_500, sack(), |_| {});
    send(&mut peer, 2);
    peer.frames();
    assert_eq!(within(&mut peer, 1_100), [(1, 1_000)]);
}

#[test]
fn what_was_reported_is_kept_beyond_a_recovery() {
    // Shows that the end of a recovery forgets nothing of what lies behind it: a segment that was lost from what went out
    // during the recovery goes again alone, and the reported ones around it do not.
    //= https://www.rfc-editor.org/rfc/rfc6675#section-5
    //= type=test
    //# Any information contained in the scoreboard for sequence numbers
    //# greater than the new value of HighACK SHOULD NOT be cleared when
    //# leaving the loss recovery phase.
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 10);
    assert_eq!(sent(&mut peer), range(0, 10));
    send(&mut peer, 4);
    peer.wait(100 * MS);
    for behind in 2..=9 {
        report(&mut peer, 0, &[(1, behind)]);
    }
    let during = sent(&mut peer);
    assert_eq!(during[..5], [10, 11, 0, 12, 13]);
    peer.wait(100 * MS);
    report(&mut peer, 10, &[(11, 14)]);
    assert_eq!(sent(&mut peer), [10]);
    peer.wait(100 * MS);
    report(&mut peer, 14, &[]);
    assert_eq!((within(&mut peer, 2_000), peer.report().counters.timeouts), (vec![], 0));
}

#[test]
fn a_report_of_what_came_twice_is_known() {
    // Shows D-SACK's first block below the acknowledgement, and inside the second block at its left, at its right and in
    // the middle; and that a first block which is the beginning of news, or beyond what was sent, is none.
    //= https://www.rfc-editor.org/rfc/rfc2883#section-4
    //= type=test
    //# first block of the SACK option should be a D-SACK block specifying
    //# the sequence numbers for the duplicate segment that triggers the
    //# acknowledgement.
    let reports: [(&[(u32, u32)], u32); 7] = [
        (&[(4, 9)], 0),
        (&[(4, 5), (4, 9)], 1),
        (&[(8, 9), (4, 9)], 1),
        (&[(5, 6), (4, 9)], 1),
        (&[(1, 2), (4, 9)], 1),
        (&[(3, 5), (4, 9)], 0),
        (&[(8, 12), (4, 9)], 0),
    ];
    for (blocks, due) in reports {
        let mut peer = opened(100, sack(), |_| {});
        send(&mut peer, 10);
        peer.frames();
        peer.wait(100 * MS);
        report(&mut peer, 2, &[(4, 9)]);
        report(&mut peer, 2, blocks);
        assert_eq!(info(&mut peer).dsack_dups, due, "{blocks:?}");
    }
}

#[test]
fn a_probe_repeats_the_last_segment_alone() {
    // Shows a probe of a short last segment while more waits for the window: it says what that segment said, no more.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
    //= type=test
    //# If such an unsent segment is not available, then the sender SHOULD
    //# retransmit the highest-sequence segment sent so far
    let mut peer = opened(100, sack(), |_| {});
    peer.rx(seg(".", 1, 1).window(1_300));
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![7u8; 1_300]));
    assert_eq!((peer.tx(), peer.tx()), (". 1(1000) ack 1".to_owned(), "P. 1001(300) ack 1".to_owned()));
    peer.op(Op::send(stream, vec![7u8; 200]));
    assert_eq!(peer.tx(), "-", "the window is full");
    peer.wait(250 * MS);
    assert_eq!((peer.tx(), peer.tx()), ("P. 1001(300) ack 1".to_owned(), "-".to_owned()));
}

#[test]
fn without_sack_a_loss_just_behind_a_recovery_waits() {
    // Shows a flight right behind one that was repaired: two duplicates send new segments, and the third is not believed,
    // for it may be of what went twice.
    //= https://www.rfc-editor.org/rfc/rfc6582#section-3.2
    //= type=test
    //# the TCP sender first checks the value of recover to see if the
    //# Cumulative Acknowledgment field covers more than recover.
    let mut peer = opened(100, plain(), |_| {});
    send(&mut peer, 5);
    peer.frames();
    peer.wait(100 * MS);
    for _ in 0..3 {
        report(&mut peer, 0, &[]);
    }
    assert_eq!(sent(&mut peer), [0]);
    peer.wait(100 * MS);
    report(&mut peer, 5, &[]);
    let window = info(&mut peer).cwnd / MSS;
    send(&mut peer, 20);
    assert_eq!(sent(&mut peer), range(5, 5 + window));
    let mut after = Vec::new();
    for _ in 0..4 {
        report(&mut peer, 5, &[]);
        after.push(sent(&mut peer).len());
    }
    assert_eq!(after, [1, 1, 0, 0]);
}

#[test]
fn probes_of_a_window_are_counted() {
    // Shows the figures of a closed window: unanswered probes, and no retransmission.
    let mut peer = opened(100, sack(), |_| {});
    peer.rx(seg(".", 1, 1).window(0));
    send(&mut peer, 1);
    let mut seen = Vec::new();
    for _ in 0..3 {
        while sent(&mut peer).is_empty() {
            peer.wait(10 * MS);
        }
        let figures = info(&mut peer);
        seen.push((figures.probes, figures.retransmits));
    }
    assert_eq!(seen, [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn the_retransmission_timer_runs_on_behind_that_of_reordering() {
    // Shows a timeout after which the window is full of segments that left just before it: one of these is lost as well,
    // which the timer of reordering finds, but the window has no room for it. With that nothing hangs: if no
    // acknowledgement comes any more, the retransmission timer runs out as it would have.
    //= https://www.rfc-editor.org/rfc/rfc6298#section-5
    //= type=test
    //# (5.1) Every time a packet containing data is sent (including a
    //#       retransmission), if the timer is not running, start it running
    let mut peer = opened(100, sack(), |host| host.config.tcp.tlp = false);
    send(&mut peer, 2);
    peer.frames();
    peer.wait(100 * MS);
    report(&mut peer, 0, &[(1, 2)]);
    peer.wait(10 * MS);
    report(&mut peer, 2, &[]);
    assert_eq!(info(&mut peer).reorder_seen, 1, "a segment was overtaken");
    let rto = u64::from(info(&mut peer).rto_us / 1000);
    send(&mut peer, 2);
    peer.wait((rto - 20) * MS);
    send(&mut peer, 6);
    assert_eq!(sent(&mut peer), range(2, 10));
    assert_eq!(within(&mut peer, 25), [(2, 20)]);
    peer.wait(100 * MS);
    report(&mut peer, 2, &[(5, 10)]);
    assert_eq!(within(&mut peer, 60), []);
    let again = within(&mut peer, 2 * rto);
    assert_eq!(again.first().map(|(number, _)| *number), Some(2));
}

#[test]
fn a_second_timeout_for_nothing_is_taken_back_too() {
    // Shows F-RTO after two timeouts of one segment in a row, as a path makes them that was silent for a while: what
    // acknowledges the first transmissions brings new segments, and the window comes back.
    //= https://www.rfc-editor.org/rfc/rfc5682#section-3.1
    //= type=test
    //# declare the timeout spurious and set SpuriousRecovery to
    //# SPUR_TO.
    let mut peer = opened(100, sack(), |host| host.config.tcp.tlp = false);
    send(&mut peer, 20);
    assert_eq!(sent(&mut peer), range(0, 10));
    assert_eq!(within(&mut peer, 1_000), [(0, 300), (0, 900)]);
    report(&mut peer, 1, &[]);
    assert_eq!(sent(&mut peer), [10, 11]);
    report(&mut peer, 2, &[]);
    assert_eq!((sent(&mut peer), info(&mut peer).cwnd), (vec![], 10 * MSS));
}

#[test]
fn a_recovery_for_nothing_is_taken_back_while_it_lasts() {
    // Shows D-SACK before everything is acknowledged that was in flight: the one segment that went again came twice, so the
    // recovery ends at once, and the window is what it was.
    let mut peer = opened(100, sack(), |_| {});
    send(&mut peer, 10);
    peer.frames();
    peer.wait(100 * MS);
    for behind in 2..=4 {
        report(&mut peer, 0, &[(1, behind)]);
    }
    assert_eq!(sent(&mut peer), [0]);
    report(&mut peer, 4, &[]);
    assert_eq!((info(&mut peer).recovery, info(&mut peer).ssthresh), (Recovery::Repairing, 5 * MSS));
    report(&mut peer, 4, &[(0, 1)]);
    let figures = info(&mut peer);
    assert_eq!((figures.recovery, figures.cwnd, figures.ssthresh), (Recovery::Open, 10 * MSS, u32::MAX));
}

#[test]
fn an_acknowledgement_of_one_byte_ends_a_row_of_duplicates() {
    // Shows, without SACK, that three duplicates mean a loss only in a row: two, an acknowledgement of a single byte, and
    // another two send nothing again; the third of that number does.
    //= https://www.rfc-editor.org/rfc/rfc5681#section-3.2
    //= type=test
    //# The TCP sender SHOULD use the "fast retransmit" algorithm to detect
    //# and repair loss, based on incoming duplicate ACKs.
    let mut peer = opened(100, plain(), |_| {});
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![7u8]));
    peer.op(Op::send(stream, vec![7u8; 6_000]));
    let first = peer.frames().len();
    peer.wait(100 * MS);
    let mut again = Vec::new();
    for number in [1, 1, 2, 2, 2, 2] {
        peer.rx(seg(".", 1, number));
        again.push(peer.frames().len());
    }
    assert_eq!((first, again), (7, vec![0, 0, 0, 0, 0, 1]));
}

#[test]
fn a_probe_repeats_all_of_the_last_segment() {
    // Shows a last segment that carries what was written in two pieces: the probe carries both.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-7.3
    //= type=test
    //# If such an unsent segment is not available, then the sender SHOULD
    //# retransmit the highest-sequence segment sent so far
    let mut peer = opened(100, sack(), |host| host.config.tcp.tlp_ack_delay_us = 0);
    let stream = peer.stream();
    for _ in 0..2 {
        peer.lane().submit(Op::send(stream, vec![7u8; 100])).expect("ops fit");
    }
    peer.wait(0);
    assert_eq!(peer.tx(), "P. 1(200) ack 1");
    peer.wait(250 * MS);
    assert_eq!((peer.tx(), info(&mut peer).backoff), ("P. 1(200) ack 1".to_owned(), 0));
}

#[test]
fn a_lost_retransmission_is_noticed_whatever_is_echoed() {
    // Shows the same with timestamps: while a hole is open a receiver echoes an old time, and a retransmission that it
    // reports by SACK has arrived all the same.
    //= https://www.rfc-editor.org/rfc/rfc8985#section-6.2
    //= type=test
    //# record the most recent Segment.xmit_ts
    //# in RACK.xmit_ts if it is ahead of RACK.xmit_ts.
    let options = Options { timestamps: Some((1000, 0)), mss: Some(1012), ..sack() };
    let mut peer = opened(100, options, |_| {});
    let old = peer.last.unwrap().options.timestamps.unwrap().0;
    send(&mut peer, 10);
    peer.frames();
    peer.wait(100 * MS);
    let say = |peer: &mut Peer, blocks: &[(u32, u32)]| {
        let ack = ack(peer, 0, blocks).stamps(1100, old);
        peer.rx(ack);
        sent(peer)
    };
    assert_eq!((say(&mut peer, &[(2, 3)]), say(&mut peer, &[(2, 4)])), (vec![], vec![]));
    assert_eq!(say(&mut peer, &[(2, 5)]), [0]);
    peer.wait(MS);
    assert_eq!(say(&mut peer, &[(2, 7)]), [1]);
    peer.wait(100 * MS);
    assert_eq!((say(&mut peer, &[(1, 10)]), peer.report().counters.timeouts), (vec![0], 0));
}
