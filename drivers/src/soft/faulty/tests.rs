#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

use super::copies::flip;
use super::*;
use crate::frame::{Checksum, Checksums, Offload, Transport, Verdicts};
use crate::mbuf::rx;
use crate::soft::copy::frame_of;
use crate::soft::{PIPE_CAPABILITIES, PIPE_FRAMES_MAX, PipeEnd, SoftControl, pipe};
use crate::{Control, Pools};

const ROOM: u16 = 256;

fn filled(pool: &Pool, bytes: &[u8]) -> Frame {
    frame_of(pool, bytes).unwrap()
}

/// Both ends of a pipe that never wants frames.
fn wire() -> (PipeEnd, PipeEnd) {
    pipe(16_384, 1500)
}

/// A queue behind the faults of `text`, and the pipe's far end.
fn rig(text: &str) -> (Faulty, PipeEnd) {
    let (near, far) = wire();
    (Faulty::new(Box::new(near), &text.parse().unwrap(), Pool::heap(4096, ROOM)), far)
}

fn drain(queue: &mut impl Queue, now: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    while queue.receive(now, &mut frames, 32) > 0 {}
    frames
}

fn contents(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.segments().flatten().copied().collect()).collect()
}

/// Frame number `index`: its number in front, then bytes that depend on it, of lengths that differ.
fn numbered(index: u32) -> Vec<u8> {
    let length = 60 + index as usize % 40;
    let mut bytes = vec![index as u8; length];
    bytes[..4].copy_from_slice(&index.to_be_bytes());
    bytes
}

/// Offer `count` numbered frames to `queue`, one each microsecond.
fn offer(queue: &mut impl Queue, pool: &Pool, count: u32) {
    for index in 0..count {
        let mut frames = vec![filled(pool, &numbered(index))];
        assert_eq!(queue.transmit(u64::from(index) * 1_000, &mut frames), 1);
    }
}

/// Everything that comes out of either end of a faulty queue, with its time, while numbered frames go both ways.
fn trace(text: &str, count: u32) -> (Vec<(u64, bool, Vec<u8>)>, FaultStatistics) {
    let pool = Pool::heap(16_384, ROOM);
    let (mut faulty, mut far) = rig(text);
    let mut trace = Vec::new();
    let mut index = 0;
    let mut now = 0;
    loop {
        trace.extend(contents(&drain(&mut faulty, now)).into_iter().map(|bytes| (now, true, bytes)));
        trace.extend(contents(&drain(&mut far, now)).into_iter().map(|bytes| (now, false, bytes)));
        if index < count {
            for queue in [&mut faulty as &mut dyn Queue, &mut far] {
                assert_eq!(queue.transmit(now, &mut vec![filled(&pool, &numbered(index))]), 1);
            }
            index += 1;
            now += 1_000;
        } else if let Some(next) = [faulty.next_event(), far.next_event()].into_iter().flatten().min() {
            now = now.max(next);
        } else {
            break;
        }
    }
    assert_eq!(pool.available(), pool.capacity(), "frames are out");
    for (available, capacity) in [faulty.transmit_pool(), far.transmit_pool()].into_iter().flatten() {
        assert_eq!(available, capacity, "copies or a pipe's frames are out");
    }
    (trace, faulty.statistics())
}

fn balanced(path: PathStatistics) -> bool {
    let PathStatistics { offered, duplicated, lost, queue_dropped, held_dropped, passed, held, .. } = path;
    offered + duplicated == lost + queue_dropped + held_dropped + passed + held
}

const EVERYTHING: &str = "loss=5,delay=50us,jitter=30us,reorder=10,gap=20us,duplicate=4,corrupt=3,rate=1G";

#[test]
fn without_faults_frames_pass_as_they_are() {
    // Shows bytes, order, segments and time of 3,000 frames each way, some of them chained, through no faults at all.
    let pool = Pool::heap(16_384, 160);
    let (mut faulty, mut far) = rig("");
    let sent: Vec<_> = (0..3_000).map(numbered).collect();
    let mut frames: Vec<_> = sent.iter().map(|bytes| filled(&pool, bytes)).collect();
    assert!(frames.iter().any(|frame| frame.segment_count() > 2));
    assert_eq!(faulty.transmit(0, &mut frames), sent.len());
    let received = drain(&mut far, 0);
    assert_eq!(contents(&received), sent);
    frames.extend(received);
    assert_eq!(far.transmit(0, &mut frames), sent.len());
    assert_eq!(faulty.next_event(), Some(0));
    let received = drain(&mut faulty, 0);
    assert_eq!(contents(&received), sent);
    assert_eq!(faulty.next_event(), None);
    let path = PathStatistics { offered: 3_000, passed: 3_000, ..PathStatistics::default() };
    assert_eq!(faulty.statistics(), FaultStatistics { receive: path, transmit: path });
    assert_eq!(faulty.watch().statistics(), faulty.statistics());
    drop(received);
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    // Shows that bytes and times of all that comes out depend on the seed and on nothing else, and differ by direction.
    let (first, statistics) = trace(&format!("{EVERYTHING},seed=7"), 2_000);
    assert_eq!(trace(&format!("{EVERYTHING},seed=7"), 2_000), (first.clone(), statistics));
    assert_ne!(trace(&format!("{EVERYTHING},seed=8"), 2_000).0, first);
    assert_ne!(statistics.receive, statistics.transmit);
    let spec: FaultSpec = "seed=7".parse().unwrap();
    assert_eq!(spec.for_queue(0), spec);
    assert_ne!(spec.for_queue(1).seed, spec.seed);
}

#[test]
fn faults_come_as_often_as_asked() {
    // Shows counts for one seed, exactly, and that each lies within four standard deviations of its binomial mean.
    let count = 10_000;
    let (_, statistics) = trace("loss=10,reorder=20,duplicate=1,corrupt=5,seed=1", count);
    let off = |seen: u64, of: u64, percent: f64| {
        let (mean, of) = (of as f64 * percent / 100.0, of as f64);
        (seen as f64 - mean).abs() / (of * percent / 100.0 * (1.0 - percent / 100.0)).sqrt()
    };
    for path in [statistics.receive, statistics.transmit] {
        let left = path.offered - path.lost;
        assert_eq!(path.offered, u64::from(count));
        assert!(off(path.lost, path.offered, 10.0) < 4.0, "{path:?}");
        assert!(off(path.reordered, left, 20.0) < 4.0, "{path:?}");
        assert!(off(path.duplicated, left, 1.0) < 4.0, "{path:?}");
        assert!(off(path.corrupted, left, 5.0) < 4.0, "{path:?}");
        assert!(balanced(path) && path.held == 0 && path.no_copies == 0, "{path:?}");
    }
    let exact = [statistics.receive, statistics.transmit]
        .map(|path| [path.lost, path.reordered, path.duplicated, path.corrupted]);
    assert_eq!(exact, [[981, 1770, 100, 459], [967, 1767, 95, 461]]);
}

#[test]
fn one_fault_does_not_move_another() {
    // Shows that the same frames are lost whether or not others are doubled, held back and delayed.
    let lost = |text: &str| {
        let mut there = [false; 2_000];
        for (_, inward, bytes) in trace(text, 2_000).0 {
            if !inward {
                there[u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize] = true;
            }
        }
        there.iter().enumerate().filter(|(_, there)| !**there).map(|(index, _)| index).collect::<Vec<_>>()
    };
    let alone = lost("loss=20,seed=3");
    assert!(alone.len() > 300);
    assert_eq!(lost("loss=20,reorder=50,duplicate=50,jitter=100us,rate=10G,seed=3"), alone);
}

#[test]
fn no_frame_is_lost_or_leaked() {
    // Shows that the statistics account for every frame after a run, and that a queue dropped in mid-run gives back all.
    let (trace, statistics) = trace(&format!("{EVERYTHING},seed=2"), 5_000);
    assert!(balanced(statistics.receive) && balanced(statistics.transmit));
    assert_eq!(trace.len() as u64, statistics.receive.passed + statistics.transmit.passed);
    let pool = Pool::heap(1024, ROOM);
    let (mut faulty, far) = rig("delay=1s,duplicate=50");
    offer(&mut faulty, &pool, 500);
    let path = faulty.statistics().transmit;
    assert!(path.held > 500 && balanced(path));
    drop((faulty, far));
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn a_delay_is_exact_and_known_in_advance() {
    // Shows both directions' delays to the nanosecond, and that `receive` sends what is due on the way out.
    let pool = Pool::heap(8, ROOM);
    let (mut faulty, mut far) = rig("tx.delay=5ms,rx.delay=7ms");
    assert_eq!(faulty.transmit(100, &mut vec![filled(&pool, b"out")]), 1);
    assert_eq!(far.transmit(100, &mut vec![filled(&pool, b"in")]), 1);
    assert!(drain(&mut faulty, 200).is_empty() && drain(&mut far, 200).is_empty());
    assert_eq!(faulty.next_event(), Some(5_000_100));
    assert!(drain(&mut faulty, 5_000_099).is_empty() && drain(&mut far, 5_000_099).is_empty());
    assert!(drain(&mut faulty, 5_000_100).is_empty());
    assert_eq!(contents(&drain(&mut far, 5_000_100)), [b"out"]);
    assert_eq!(faulty.next_event(), Some(7_000_200), "counted from when it was taken from the port");
    assert!(drain(&mut faulty, 7_000_199).is_empty());
    assert_eq!(contents(&drain(&mut faulty, 7_000_200)), [b"in"]);
    assert_eq!(faulty.next_event(), None);
}

#[test]
fn jitter_keeps_the_order_and_reordering_breaks_it() {
    // Shows the order of arrivals, and their delays' bounds, with jitter alone and with frames held back alone.
    let numbers = |text: &str| -> Vec<(u64, u32)> {
        let outward = trace(text, 1_000).0.into_iter().filter(|(_, inward, _)| !inward);
        outward.map(|(now, _, bytes)| (now, u32::from_be_bytes(*bytes.first_chunk().unwrap()))).collect()
    };
    let jittered = numbers("delay=10us,jitter=5us");
    assert!(jittered.is_sorted_by_key(|(_, index)| *index));
    let delays = || jittered.iter().map(|(now, index)| now - u64::from(*index) * 1_000);
    // The trace looks once a microsecond, so a delay may show up to that much longer.
    assert!(delays().all(|delay| (10_000..=16_000).contains(&delay)));
    assert!(delays().min() < Some(12_000) && delays().max() > Some(14_000));
    let reordered = numbers("delay=10us,reorder=10,gap=5us");
    assert_eq!(reordered.len(), 1_000);
    let overtaken = reordered.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
    assert!((50..=150).contains(&overtaken), "{overtaken}");
    assert!(
        reordered.iter().all(|(now, index)| (10_000..=16_000).contains(&(now - u64::from(*index) * 1_000)))
    );
}

#[test]
fn a_rate_spaces_frames_and_drops_from_the_tail() {
    // Shows when each of ten frames of 1,000 bytes leaves a line of a byte a microsecond whose queue holds 3,000.
    let pool = Pool::heap(16, 2048);
    let (mut faulty, mut far) = rig("tx.rate=8M,tx.queue=3000");
    let mut frames: Vec<_> = (0..10).map(|index| filled(&pool, &[index; 1000])).collect();
    assert_eq!(faulty.transmit(0, &mut frames), 10);
    let mut left = Vec::new();
    while let Some(at) = faulty.next_event() {
        drain(&mut faulty, at);
        left.extend(drain(&mut far, at).iter().map(|frame| (at, frame.bytes()[0])));
    }
    assert_eq!(left, [(1_000_000, 0), (2_000_000, 1), (3_000_000, 2)]);
    assert_eq!(faulty.statistics().transmit.queue_dropped, 7);
    assert!(balanced(faulty.statistics().transmit));
    // An idle line does not save its time up.
    assert_eq!(faulty.transmit(9_000_000, &mut vec![filled(&pool, &[9; 1000])]), 1);
    assert_eq!(faulty.next_event(), Some(10_000_000));
}

#[test]
fn what_is_held_is_bounded() {
    // Shows that frames beyond the bound are dropped and counted, in both directions, with the pool as it was.
    let pool = Pool::heap(256, ROOM);
    let (mut faulty, mut far) = rig("delay=1s,held=64");
    offer(&mut faulty, &pool, 100);
    offer(&mut far, &pool, 100);
    assert_eq!(faulty.receive(200_000, &mut Vec::new(), 100), 0);
    for path in [faulty.statistics().receive, faulty.statistics().transmit] {
        assert_eq!((path.held, path.held_dropped, path.passed), (64, 36, 0));
    }
    let missing = |pool: Option<(usize, usize)>| pool.map(|(available, capacity)| capacity - available);
    assert_eq!((pool.capacity() - pool.available(), missing(far.transmit_pool())), (64, Some(64)));
    assert_eq!(drain(&mut faulty, 2_000_000_000).len(), 64);
    assert_eq!(drain(&mut far, 2_000_000_000).len(), 64);
    assert_eq!((pool.capacity() - pool.available(), missing(far.transmit_pool())), (0, Some(0)));
    assert_eq!(missing(faulty.transmit_pool()), Some(0), "the pipe's and the copies'");
}

#[test]
fn doubled_bursts_fit_the_least_bound() {
    // Shows that duplicating everything without delay drops nothing, however many frames come at once.
    let pool = Pool::heap(1024, ROOM);
    let (mut faulty, mut far) = rig("duplicate=100,held=64");
    let burst = || (0..500).map(|index| filled(&pool, &numbered(index))).collect::<Vec<_>>();
    assert_eq!(faulty.transmit(0, &mut burst()), 500);
    let expected: Vec<_> = (0..1_000).map(|index| numbered(index / 2)).collect();
    assert_eq!(contents(&drain(&mut far, 0)), expected);
    assert_eq!(far.transmit(0, &mut burst()), 500);
    let mut received = Vec::new();
    while faulty.receive(0, &mut received, 1_000) > 0 {}
    assert_eq!(contents(&received), expected);
}

#[test]
fn a_full_port_pushes_back() {
    // Shows that frames a port refuses stay with the sender but for a burst, and that all come out in order later.
    let pool = Pool::heap(8192, ROOM);
    let (mut faulty, mut far) = rig("");
    let mut frames: Vec<_> = (0..5_000).map(|index| filled(&pool, &numbered(index))).collect();
    assert_eq!(faulty.transmit(0, &mut frames), PIPE_FRAMES_MAX + BURST_FRAMES);
    assert_eq!(faulty.transmit(0, &mut frames), 0);
    assert_eq!(faulty.next_event(), Some(0));
    let path = faulty.statistics().transmit;
    assert_eq!((path.passed, path.held), (PIPE_FRAMES_MAX as u64, BURST_FRAMES as u64));
    let mut received = drain(&mut far, 0);
    faulty.transmit(0, &mut frames);
    assert!(frames.is_empty());
    received.extend(drain(&mut far, 0));
    assert_eq!(contents(&received), (0..5_000).map(numbered).collect::<Vec<_>>());
    assert!(balanced(faulty.statistics().transmit));
}

#[test]
fn corruption_shows_in_every_checksum_it_hits() {
    // Shows that one to three bits differ, never two of a column, so that any part of the frame sums to another value.
    let mut random = Random::new(1, 0);
    let mut seen = [0; 4];
    for length in (1..2_000).chain([1; 50]) {
        let mut bytes = vec![0x5a; length];
        flip(&mut bytes, &mut random);
        let flips: Vec<_> =
            (0..length * 8).filter(|bit| (bytes[bit / 8] ^ 0x5a) >> (bit % 8) & 1 == 1).collect();
        seen[flips.len()] += 1;
        for subset in 1..1_u32 << flips.len() {
            let sum: i64 =
                flips.iter().enumerate().filter(|(n, _)| subset >> n & 1 == 1).fold(0, |sum, (_, bit)| {
                    let weight = 1_i64 << (bit % 8) << if bit / 8 % 2 == 0 { 8 } else { 0 };
                    sum + if bytes[bit / 8] >> (bit % 8) & 1 == 1 { weight } else { -weight }
                });
            assert_ne!(sum % 0xffff, 0);
        }
    }
    assert!(seen[0] == 0 && seen[1..].iter().all(|count| *count > 500), "{seen:?}");
    flip(&mut [], &mut random);
}

#[test]
fn corruption_writes_to_a_copy() {
    // Shows that a shared frame's other handle and a chain keep their bytes, and that the port's verdict is gone.
    let pool = Pool::heap(16, 160);
    let (near, mut far) = wire();
    let mut faulty = Faulty::new(Box::new(near), &"corrupt=100".parse().unwrap(), Pool::heap(16, 512));
    let bytes = numbered(39);
    let shared = filled(&pool, &bytes[..32]);
    let mut frames = vec![shared.share().unwrap(), filled(&pool, &bytes)];
    assert!(frames[1].segment_count() > 1);
    assert_eq!(faulty.transmit(0, &mut frames), 2);
    assert_eq!(shared.bytes(), &bytes[..32]);
    let received = contents(&drain(&mut far, 0));
    for (received, sent) in received.iter().zip([&bytes[..32], &bytes]) {
        let flips: u32 = received.iter().zip(sent).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(received.len(), sent.len());
        assert!((1..=3).contains(&flips));
    }
    assert_eq!(faulty.statistics().transmit.corrupted, 2);
    let mut verified = filled(&pool, &bytes[..32]);
    verified.set_verdicts(Verdicts { ip: Checksum::Good, transport: Checksum::Partial });
    verified.set_hash(7);
    let corrupted = faulty.copies.corrupted(&verified, &mut Random::new(0, 0)).unwrap();
    assert_eq!(corrupted.verdicts(), Verdicts { ip: Checksum::Unknown, transport: Checksum::Unknown });
    assert_eq!((corrupted.hash(), corrupted.offload()), (None, None));
}

#[test]
fn a_duplicate_carries_what_was_said_of_the_frame() {
    // Shows verdicts, hash, offloads and a tag that the port took off in the copy, each as the original has it.
    let pool = Pool::heap(4, ROOM);
    let mut copies = Copies { pool: Pool::heap(4, ROOM), scratch: Vec::new() };
    let mut frame = filled(&pool, &numbered(1));
    let verdicts = Verdicts { ip: Checksum::Good, transport: Checksum::Bad };
    frame.set_verdicts(verdicts);
    frame.set_hash(7);
    let copy = copies.duplicate(&frame).unwrap();
    assert_eq!((copy.verdicts(), copy.hash(), copy.bytes()), (verdicts, Some(7), frame.bytes()));
    let mut frame = filled(&pool, &numbered(2));
    let checksums = Checksums { ipv4: true, transport: Some(Transport::Tcp) };
    let offload = Offload { checksums, link_bytes: 14, network_bytes: 20, ..Offload::default() };
    frame.set_offload(offload);
    assert_eq!(copies.duplicate(&frame).unwrap().offload(), Some(offload));

    let raw = filled(&pool, &numbered(3)).into_raw().as_ptr();
    // SAFETY: the frame was just made and given away: nobody else has it.
    let header = unsafe { &mut *raw };
    header.ol_flags |= rx::VLAN_STRIPPED;
    header.vlan_tci = 0x0123;
    // SAFETY: the chain is the one that was given away, once.
    let tagged = unsafe { Frame::from_raw(header.into()) };
    let copy = copies.duplicate(&tagged).unwrap();
    let plain = numbered(3);
    assert_eq!(copy.bytes(), [&plain[..12], &[0x81, 0, 0x01, 0x23], &plain[12..]].concat());
    assert_eq!(copy.stripped_vlan(), None);
}

#[test]
fn without_copies_frames_pass_as_they_are() {
    // Shows that an exhausted pool of copies costs faults, not frames, and that they come again with its frames.
    let pool = Pool::heap(16, ROOM);
    let (near, mut far) = wire();
    let mut faulty =
        Faulty::new(Box::new(near), &"duplicate=100,corrupt=100".parse().unwrap(), Pool::heap(2, ROOM));
    // In one burst, so that no copy is home again before the last frame.
    assert_eq!(faulty.transmit(0, &mut (0..3).map(|index| filled(&pool, &numbered(index))).collect()), 3);
    let received = drain(&mut far, 0);
    assert_eq!(received.len(), 4);
    assert_eq!(contents(&received)[2..], [numbered(1), numbered(2)]);
    let path = faulty.statistics().transmit;
    assert_eq!((path.corrupted, path.duplicated, path.no_copies), (1, 1, 4));
    drop(received);
    assert_eq!(faulty.transmit(9_000, &mut vec![filled(&pool, &numbered(1))]), 1);
    assert_eq!(drain(&mut far, 9_000).len(), 2);
}

#[test]
fn a_device_with_faults_tells_of_them() {
    // Shows what is left of the capabilities, and that each queue's counters are among the extended statistics.
    let (near, _far) = wire();
    let (other, _rest) = wire();
    let queues = [near, other].map(|queue| QueueParts { queue: Box::new(queue), pools: Pools::heap(4, 4) });
    let all = Capabilities {
        transmit_ipv4_checksum: true,
        transmit_tcp_checksum: true,
        transmit_udp_checksum: true,
        receive_checksums: true,
        segmentation_max: 65_000,
        rss_hash: true,
        ..PIPE_CAPABILITIES
    };
    let device = Opened {
        name: "pipe".to_owned(),
        mac: [2; 6],
        mtu: 1500,
        capabilities: all,
        queues: queues.into(),
        queueless: Vec::new(),
        rss: None,
        control: Box::new(SoftControl) as Box<dyn Control>,
    };
    let mut device = with_faults(device, &"loss=100,seed=1".parse().unwrap());
    assert_eq!(device.capabilities, Capabilities { rss_hash: true, ..PIPE_CAPABILITIES });
    let pool = Pool::heap(4, ROOM);
    assert_eq!(device.queues[1].queue.transmit(0, &mut vec![filled(&pool, b"gone")]), 1);
    let statistics = device.control.extended_statistics();
    let count = |name: &str| statistics.iter().find(|(seen, _)| seen == name).map(|(_, count)| *count);
    assert_eq!(count("tx_q0_fault_lost"), Some(0));
    assert_eq!(count("tx_q1_fault_lost"), Some(1));
    assert_eq!(statistics.len(), 44);
    assert!(device.control.link().up);
}

#[test]
fn a_long_queue_marks_what_can_be_marked() {
    // Shows a line of a byte a microsecond whose queue marks beyond 2,000 bytes: of ten frames at once, those from the
    // fourth on, with the IPv4 checksum right; and that frames that are not ECN-capable pass as they are.
    for (field, marked) in [(0b10u8, 7), (0b01, 7), (0b00, 0), (0b11, 0)] {
        let pool = Pool::heap(64, 2_048);
        let (mut faulty, mut far) = rig("tx.rate=8M,tx.mark=2000");
        let mut bytes = vec![0; 1_000];
        bytes[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x04 | field]);
        let sum = 0xffff - u16::from_be_bytes([0x45, 0x04 | field]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut frames: Vec<_> = (0..10).map(|_| filled(&pool, &bytes)).collect();
        faulty.transmit(0, &mut frames);
        assert_eq!(faulty.statistics().transmit.marked, marked, "{field:02b}");
        drain(&mut faulty, 100_000_000);
        let came = contents(&drain(&mut far, 100_000_000));
        assert_eq!(came.len(), 10);
        for (number, frame) in came.iter().enumerate() {
            let expected = if marked > 0 && number >= 3 { 0b11 } else { field };
            assert_eq!(frame[15], 0x04 | expected, "frame {number}");
            let words = frame[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
            let sum: u32 = words.sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "frame {number}");
        }
    }
}
