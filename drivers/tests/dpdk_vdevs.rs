//! DPDK's virtual devices that need no rights: null, ring and pcap. One EAL serves all tests of this file.
#![cfg(feature = "dpdk")]

mod common;

use std::fs;

use bytes::Bytes;
use common::{bytes, eal, ethernet, frame};
use drivers::{
    Checksums, Class, Composer, Device, Extent, Frame, Homeward, Offload, OpenOptions, Opened, Pool, Region,
    Transport, open,
};

fn small() -> OpenOptions {
    OpenOptions { receive_frames: 512, control_frames: 256, descriptors: 128, ..OpenOptions::default() }
}

fn opened(device: &str) -> Opened {
    eal();
    open(&device.parse().expect(device), &small()).expect(device)
}

fn counter(opened: &Opened, name: &str) -> u64 {
    let all = opened.control.extended_statistics();
    all.iter().find(|(other, _)| other == name).map(|(_, value)| *value).expect(name)
}

/// Every frame of every pool is home.
fn assert_all_home(parts: &drivers::QueueParts) {
    for (name, pool) in [
        ("receive", &parts.pools.receive),
        ("control", &parts.pools.control),
        ("attach", &parts.pools.attach),
    ] {
        assert_eq!(pool.available(), pool.capacity(), "{name}");
    }
}

#[test]
fn the_ring_gives_back_what_is_sent() {
    // Shows bytes, order, metadata and counts through DPDK's queue, and that every frame comes home.
    let mut port = opened("ring");
    let parts = &mut port.queues[0];
    let sent: Vec<Vec<u8>> = (0..100).map(|n| ethernet(n, 46 + usize::from(n))).collect();
    let mut frames: Vec<Frame> = sent.iter().map(|bytes| frame(&parts.pools.control, bytes)).collect();
    frames[0].set_offload(Offload {
        checksums: Checksums { ipv4: true, transport: Some(Transport::Tcp) },
        link_bytes: 14,
        network_bytes: 20,
        transport_bytes: 20,
        ..Offload::default()
    });
    assert_eq!(parts.queue.transmit(0, &mut frames), 100);
    assert!(frames.is_empty());
    while parts.queue.receive(0, &mut frames, 32) > 0 {}
    assert_eq!(frames.iter().map(bytes).collect::<Vec<_>>(), sent);
    assert_eq!(frames[0].verdicts().transport, drivers::Checksum::Unknown);
    assert_eq!(parts.pools.control.available(), 156);
    drop(frames);
    assert_all_home(parts);
    let statistics = port.control.statistics();
    assert_eq!(
        (statistics.sent_frames, statistics.received_frames, statistics.transmit_errors),
        (100, 100, 0)
    );
    assert!(port.control.link().up);
}

#[test]
fn a_full_ring_leaves_the_rest_in_order() {
    // Shows that what DPDK does not take stays with the caller, and that nothing is lost on the way.
    let options = OpenOptions { control_frames: 4096, ..small() };
    eal();
    let mut port = open(&Device::Ring, &options).expect("a port");
    let parts = &mut port.queues[0];
    // net_ring's own rings hold 1,023 frames.
    let mut frames: Vec<Frame> = (0..2000_u16)
        .map(|n| frame(&parts.pools.control, &[&ethernet(0, 60)[..], &n.to_be_bytes()].concat()))
        .collect();
    let (mut got, mut turns) = (Vec::new(), 0);
    while !frames.is_empty() || got.len() < 2000 {
        parts.queue.transmit(0, &mut frames);
        turns += 1;
        while parts.queue.receive(0, &mut got, 64) > 0 {}
    }
    assert!(turns > 1, "the ring never was full");
    let numbers = got.iter().map(|frame| u16::from_be_bytes([frame.bytes()[74], frame.bytes()[75]]));
    assert!(numbers.eq(0..2000));
    drop(got);
    assert_all_home(parts);
}

#[test]
fn payload_goes_by_reference_and_comes_home() {
    // Shows attached segments of a region and of a received frame, and when each is released.
    let mut port = opened("ring");
    let region = Region::new(4, 4096);
    assert_eq!(region.class(), Class::Registered);
    let parts = port.queues.remove(0);
    let (mut queue, mut composer) = (parts.queue, Composer::new(parts.pools, &port.capabilities));
    let mut block = region.take().expect("a block");
    assert!(block.extend(&[7; 1000]));
    let (lent, extent) = block.lend();
    let mut first = composer.header().expect("a frame");
    first.append(14).expect("room").copy_from_slice(&ethernet(0, 0));
    composer.payload(&mut first, &extent, <[u8]>::copy_from_slice).expect("a frame");
    drop(extent);
    let mut frames = vec![first];
    assert_eq!(queue.transmit(0, &mut frames), 1);
    let lent = lent.reclaim().expect_err("the frame still refers to the block");
    assert_eq!(queue.receive(0, &mut frames, 32), 1);
    assert_eq!(bytes(&frames[0])[14..], [7; 1000]);

    // Forwarded: the payload's segment rides on behind a new header.
    let mut received = frames.remove(0);
    let payload = received.unchain().expect("two segments");
    let extent = Extent::of_frame(&payload).expect("an extent");
    drop((received, payload));
    let mut second = composer.header().expect("a frame");
    composer.payload(&mut second, &extent, <[u8]>::copy_from_slice).expect("a frame");
    drop(extent);
    frames.push(second);
    assert_eq!(queue.transmit(0, &mut frames), 1);
    assert_eq!(queue.receive(0, &mut frames, 32), 1);
    assert_eq!(bytes(&frames[0]), [7; 1000]);
    assert_eq!((composer.copied_bytes(), composer.attached_bytes()), (0, 2000));
    let lent = lent.reclaim().expect_err("the forwarded frame refers to it");
    drop(frames);
    let block = lent.reclaim().expect("nothing refers to the block");
    assert_eq!(&block[..], [7; 1000]);
    assert_eq!(region.available(), 3);
    assert_eq!(counter(&port, "tx_copied_frames"), 0);
    let pools = composer.pools();
    assert_eq!((pools.control.available(), pools.attach.available()), (256, 256));
}

#[test]
fn a_received_frame_is_shared_while_it_is_sent_on() {
    // Shows an indirect attachment: the received buffer stays until the last frame that carries it has gone.
    let mut port = opened("ring");
    let parts = port.queues.remove(0);
    let (mut queue, mut composer) = (parts.queue, Composer::new(parts.pools, &port.capabilities));
    let received = frame(&composer.pools().receive, &[3; 500]);
    let extent = Extent::of_frame(&received).expect("an extent");
    let mut header = composer.header().expect("a frame");
    composer.payload(&mut header, &extent, <[u8]>::copy_from_slice).expect("a frame");
    drop((received, extent));
    assert_eq!(composer.pools().receive.available(), 511);
    let mut frames = vec![header];
    assert_eq!(queue.transmit(0, &mut frames), 1);
    assert_eq!(queue.receive(0, &mut frames, 32), 1);
    assert_eq!(bytes(&frames[0]), [3; 500]);
    drop(frames);
    assert_eq!(composer.pools().receive.available(), 512);
}

#[test]
fn what_c_must_not_see_is_copied_and_counted() {
    // Shows the copies: a heap frame, a frame with another handle; and the frame that is too long, refused.
    let mut port = opened("ring");
    let heap = Pool::heap(4, 2048);
    let parts = &mut port.queues[0];
    let original = frame(&parts.pools.control, &ethernet(5, 100));
    let mut chained = frame(&parts.pools.control, &ethernet(6, 0));
    chained.chain(frame(&heap, &[1; 50]));
    let shared = original.share().expect("a second handle");
    let long = frame(&parts.pools.control, &ethernet(9, 1600));
    let mut frames = vec![frame(&heap, &ethernet(4, 100)), long, shared, chained];
    assert_eq!(parts.queue.transmit(0, &mut frames), 4);
    assert_eq!(heap.available(), 4);
    assert_eq!(parts.queue.receive(0, &mut frames, 32), 3);
    assert_eq!(bytes(&frames[0]), ethernet(4, 100));
    assert_eq!(bytes(&frames[1]), bytes(&original));
    assert_eq!(bytes(&frames[2])[14..], [1; 50]);
    drop((frames, original));
    assert_all_home(&port.queues[0]);
    assert_eq!(counter(&port, "tx_copied_frames"), 3);
    assert_eq!(counter(&port, "tx_copied_bytes"), 114 + 114 + 64);
    assert_eq!(counter(&port, "tx_refused_frames"), 1);
}

#[test]
fn without_a_frame_to_copy_into_a_frame_waits() {
    // Shows that an empty pool loses nothing: frames stay, in order, and go later.
    let mut port = opened("ring");
    let heap = Pool::heap(4, 2048);
    let parts = &mut port.queues[0];
    let mut hoard: Vec<Frame> = std::iter::from_fn(|| parts.pools.control.take()).collect();
    let mut frames = vec![frame(&heap, &ethernet(1, 50)), frame(&heap, &ethernet(2, 50))];
    assert_eq!(parts.queue.transmit(0, &mut frames), 0);
    assert_eq!(frames.iter().map(bytes).collect::<Vec<_>>(), [ethernet(1, 50), ethernet(2, 50)]);
    hoard.truncate(hoard.len() - 1);
    assert_eq!(parts.queue.transmit(0, &mut frames), 1);
    hoard.clear();
    assert_eq!(parts.queue.transmit(0, &mut frames), 1);
    while parts.queue.receive(0, &mut frames, 32) > 0 {}
    assert_eq!(frames.iter().map(bytes).collect::<Vec<_>>(), [ethernet(1, 50), ethernet(2, 50)]);
}

#[test]
fn null_takes_everything_and_gives_frames() {
    // Shows the plainest port, one that cannot gather: payload is copied behind the header.
    let mut port = opened("null");
    assert!(!port.capabilities.multi_segment);
    let parts = port.queues.remove(0);
    let (mut queue, mut composer) = (parts.queue, Composer::new(parts.pools, &port.capabilities));
    let payload = Extent::of_bytes(&Bytes::from(vec![1; 1000])).expect("an extent");
    let mut frames: Vec<Frame> = (0..64)
        .map(|_| {
            let mut frame = composer.header().expect("a frame");
            composer.payload(&mut frame, &payload, <[u8]>::copy_from_slice).expect("room");
            frame
        })
        .collect();
    assert_eq!((composer.copied_bytes(), frames[0].segment_count()), (64_000, 1));
    assert_eq!(queue.transmit(0, &mut frames), 64);
    assert_eq!(queue.receive(0, &mut frames, 16), 16);
    drop(frames);
    queue.reclaim();
    let pools = composer.pools();
    assert_eq!((pools.receive.available(), pools.control.available()), (512, 256));
}

#[test]
fn captures_are_read_and_written() {
    // Shows the pcap port: the frames of one file arrive, what is sent is in the other once the port has closed.
    let folder = std::env::temp_dir().join(format!("corelane-pcap-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (input, output) = (folder.join("in.pcap"), folder.join("out.pcap"));
    let sent = [ethernet(1, 60), ethernet(2, 1400)];
    fs::write(&input, capture(&sent)).expect("a file");
    let mut port = opened(&format!("pcap:{},{}", input.display(), output.display()));
    let (parts, mut frames) = (&mut port.queues[0], Vec::new());
    while parts.queue.receive(0, &mut frames, 32) > 0 {}
    assert_eq!(frames.iter().map(bytes).collect::<Vec<_>>(), sent);
    assert_eq!(parts.queue.transmit(0, &mut frames), 2);
    drop(port);
    let written = fs::read(&output).expect("the capture");
    fs::remove_dir_all(&folder).expect("the folder");
    assert_eq!(records(&written), sent);
}

#[test]
fn a_capture_shows_what_went_by() {
    // Shows --capture's file as tshark reads it, where it is there: both directions of a loop, from its start to its
    // end; that a second one at the same time is refused, and that the port goes on after it.
    let path = std::env::temp_dir().join(format!("corelane-capture-{}.pcapng", std::process::id()));
    let mut port = opened("ring");
    let cross = |port: &mut Opened, first: u8| {
        let parts = &mut port.queues[0];
        let mut frames = vec![frame(&parts.pools.control, &ethernet(first, 200))];
        assert_eq!(parts.queue.transmit(0, &mut frames), 1);
        assert_eq!(parts.queue.receive(0, &mut frames, 32), 1);
    };
    cross(&mut port, 1);
    let capture = port.control.capture(&path).expect("a capture");
    let second = port.control.capture(&path).err().expect("one is enough").to_string();
    assert!(second.contains("runs already") && !second.contains('\n'), "{second}");
    for first in 2..5 {
        cross(&mut port, first);
    }
    assert_eq!((capture.captured(), capture.dropped()), (6, 0));
    capture.finish().expect("a closed file");
    cross(&mut port, 9);
    let nowhere = port.control.capture(std::path::Path::new("/nowhere/x.pcapng")).err().expect("no folder");
    assert!(nowhere.to_string().contains("/nowhere/x.pcapng"), "{nowhere}");
    let file = fs::read(&path).expect("the file");
    let whole = |first| file.windows(214).filter(|bytes| *bytes == ethernet(first, 200)).count();
    assert_eq!([1, 2, 3, 4, 9].map(whole), [0, 2, 2, 2, 0]);
    let words = ["-Tfields", "-eframe.len", "-eframe.packet_flags_direction", "-eframe.interface_name", "-r"];
    match std::process::Command::new("tshark").args(words).arg(&path).output() {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let lines: Vec<&str> = said.lines().collect();
            assert_eq!(lines.len(), 6, "{said}");
            assert!(lines.iter().all(|line| line.starts_with("214\t") && line.ends_with("ring")), "{said}");
        }
        _ => eprintln!("left out: reading the capture with tshark, which is not here"),
    }
    fs::remove_file(&path).expect("the file");
}

/// A classic pcap file of Ethernet frames.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("small");
        for word in [0, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn records(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut frames) = (24, Vec::new());
    while at + 16 <= file.len() {
        let length = u32::from_le_bytes(file[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        frames.push(file[at + 16..at + 16 + length].to_vec());
        at += 16 + length;
    }
    frames
}

#[test]
fn frames_outlive_their_port_and_pools_serve_again() {
    // Shows that a frame can be read and dropped after all else has gone, fifty times over without using memory up.
    for turn in 0..50_u8 {
        let mut port = opened("ring");
        let parts = &mut port.queues[0];
        let mut frames = vec![frame(&parts.pools.control, &ethernet(turn, 100))];
        assert_eq!(parts.queue.transmit(0, &mut frames), 1);
        assert_eq!(parts.queue.receive(0, &mut frames, 32), 1);
        drop(port);
        assert_eq!(bytes(&frames[0]), ethernet(turn, 100));
    }
}

#[test]
fn frames_go_home_together() {
    // Shows of frames of DPDK's and of the heap, in turns, some with a second handle: the burst that is together is home, the
    // rest once it is let go, and what has a second handle once that has gone too.
    let port = opened("null");
    let pools = &port.queues[0].pools;
    let heap = Pool::heap(64, 256);
    let mut frames: Vec<Frame> = (0..64).filter_map(|_| pools.control.take()).collect();
    let shared: Vec<Frame> = frames.iter().step_by(8).filter_map(Frame::share).collect();
    frames.extend((0..64).filter_map(|_| heap.take()));
    let mut homeward = Homeward::default();
    let (ours, theirs) = (0..40).flat_map(|at| [at, at + 64]).partition::<Vec<_>, _>(|at| *at < 64);
    let mut slots: Vec<Option<Frame>> = frames.into_iter().map(Some).collect();
    for at in ours.into_iter().zip(theirs).flat_map(|(ours, theirs)| [ours, theirs]) {
        assert!(homeward.take(slots[at].take().expect("one")).is_ok(), "frame {at} is plain");
    }
    assert_eq!((heap.available(), pools.control.available()), (32, 256 - 64 + 32 - 4));
    homeward.flush();
    assert_eq!((heap.available(), pools.control.available()), (40, 256 - 64 + 40 - 5));
    drop(shared);
    drivers::free_all(slots.into_iter().flatten());
    assert_eq!(heap.available(), 64);
    assert_all_home(&port.queues[0]);
}

#[test]
fn queues_move_to_threads_that_dpdk_knows() {
    // Shows a lane's thread: registered, polling, its frames dropped on another thread.
    let mut port = opened("ring");
    let mut parts = port.queues.remove(0);
    let lane = std::thread::spawn(move || {
        let registered = drivers::dpdk::register_thread();
        assert!(registered.is_some());
        assert!(drivers::dpdk::register_thread().is_none(), "once is enough");
        let mut frames: Vec<Frame> = (0..32).map(|n| frame(&parts.pools.control, &ethernet(n, 60))).collect();
        assert_eq!(parts.queue.transmit(0, &mut frames), 32);
        assert_eq!(parts.queue.receive(0, &mut frames, 32), 32);
        (parts, frames)
    });
    let (parts, frames) = lane.join().expect("the lane");
    drop(frames);
    assert_all_home(&parts);
}

#[test]
fn what_a_device_cannot_do_is_one_line() {
    // Shows the errors of opening, each with its remedy, and that the next opening works.
    eal();
    let refused = |device: &str, options: OpenOptions, words: &[&str]| {
        let error = open(&device.parse().expect(device), &options).err().expect(device).to_string();
        assert!(!error.contains('\n') && words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused("ring", OpenOptions { queues: 900, ..small() }, &["900 were asked for", "lanes or fewer"]);
    refused("null", OpenOptions { mtu: Some(10), ..small() }, &["an MTU of 10", "choose between"]);
    refused("ring", OpenOptions { receive_frames: 10, ..small() }, &["10 receive frames", "at least"]);
    refused(
        "ring",
        OpenOptions { receive_frames: 50_000_000, ..small() },
        &["no memory for 50000000 frames", "huge pages"],
    );
    refused("pcap:/nowhere/in,/tmp/out", small(), &["/nowhere/in", "No such file"]);
    refused("vdev:net_nonsense0", small(), &["net_nonsense0"]);
    refused("vdev:net_null7,nonsense=1", small(), &["net_null7", "nonsense"]);
    refused("0000:ff:1f.7", small(), &["is not there", "dpdk-devbind.py"]);
    assert!(drivers::dpdk::Eal::init(&drivers::dpdk::EalOptions::default()).is_err());
    opened("ring");
}
