//! TAPs on DPDK's frames, by our driver and by DPDK's, in network namespaces of the tests' own.
#![cfg(feature = "dpdk")]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{RawSocket, bytes, eal, enter_namespace, ethernet, frame, may_make_interfaces, receive_ours};
use drivers::{Composer, Device, Extent, OpenOptions, Queue, Region, SetupError, open};

fn is_there(interface: &str) -> bool {
    Command::new("ip").args(["-o", "link", "show", interface]).output().expect("ip").status.success()
}

fn kernel_mac(interface: &str) -> String {
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().expect("ip");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address").to_owned()
}

#[test]
fn frames_cross_a_tap_both_ways() {
    // Shows our driver.
    if may_make_interfaces("the TAP") {
        cross("tap:clt0", true);
    }
}

#[test]
fn frames_cross_a_tap_of_dpdks_both_ways() {
    // Shows DPDK's. It sums wrongly behind segments of odd length, so we do it.
    if may_make_interfaces("DPDK's TAP") {
        cross("vdev:net_tap0,iface=clt0", false);
    }
}

/// The TAP from the kernel's side: its name, its address, frames out and in, and its end. In one go, for the namespace is
/// this thread's.
fn cross(name: &str, sums: bool) {
    enter_namespace();
    eal();
    let device: Device = name.parse().expect("a name");
    let options = OpenOptions {
        receive_frames: 256 + 64,
        control_frames: 512,
        descriptors: 256,
        ..OpenOptions::default()
    };
    let mut port = open(&device, &options).expect("the TAP");
    assert_eq!((port.name.as_str(), port.mtu), (name, 1500));
    let ours = port.mac.map(|byte| format!("{byte:02x}")).join(":");
    assert_ne!(ours, kernel_mac("clt0"), "the kernel would take our ARP for its own");
    assert!(port.control.link().up);
    let does = (port.capabilities.multi_segment, port.capabilities.transmit_tcp_checksum);
    assert_eq!(does, (true, sums), "{:?}", port.capabilities);

    let taken = open(&device, &options).err().expect("taken");
    assert_eq!(taken, SetupError::InterfaceTaken { name: "clt0".to_owned() });

    let kernel = RawSocket::new("clt0");
    let parts = &mut port.queues[0];
    // A pool of just the descriptors and 64 frames: what is held is given back, many times round.
    parts.queue.receive(0, &mut Vec::new(), 32);
    let free = parts.pools.receive.available();
    for turn in 0..200_u8 {
        let sent = ethernet(turn, 100 + usize::from(turn));
        kernel.send(&sent);
        assert_eq!(receive_ours(&mut *parts.queue), sent);
        let mut frames = vec![frame(&parts.pools.control, &ethernet(turn, 60))];
        assert_eq!(parts.queue.transmit(0, &mut frames), 1);
        assert_eq!(kernel.receive_ours(), ethernet(turn, 60));
    }
    assert_eq!(parts.pools.receive.available(), free);

    let parts = port.queues.remove(0);
    let (mut queue, composer) = (parts.queue, Composer::new(parts.pools, &port.capabilities));
    let composer = payload_by_reference(&mut *queue, composer, &kernel);
    drop((queue, port));
    // A command that another test begins has its files for a moment.
    let began = Instant::now();
    while is_there("clt0") {
        assert!(began.elapsed() < Duration::from_secs(5), "closing removes the interface");
    }
    let pools = composer.pools();
    assert_eq!(
        (pools.receive.available(), pools.control.available(), pools.attach.available()),
        (320, 512, 512)
    );
    drop(composer);
    drop(open(&device, &options).expect("the name is free again"));
}

/// A header with two payloads behind it, one in DMA-able memory and one on the heap, arrives as one frame.
fn payload_by_reference(queue: &mut dyn Queue, mut composer: Composer, kernel: &RawSocket) -> Composer {
    let region = Region::new(2, 1024);
    let mut first = composer.header().expect("a frame");
    first.append(14).expect("room").copy_from_slice(&ethernet(0, 0));
    for stored in [region.store(&[1; 500]).expect("a block"), Bytes::from(vec![2; 300])] {
        let extent = Extent::of_bytes(&stored).expect("an extent");
        composer.payload(&mut first, &extent, <[u8]>::copy_from_slice).expect("a frame");
    }
    assert_eq!((composer.copied_bytes(), first.segment_count()), (0, 3));
    assert_eq!(queue.transmit(0, &mut vec![first]), 1);
    let mut expected = ethernet(0, 0);
    expected.extend([1; 500]);
    expected.extend([2; 300]);
    assert_eq!(kernel.receive_ours(), expected);
    assert_eq!(region.available(), 2);
    composer
}

#[test]
fn two_queues_share_a_tap_of_dpdks() {
    // Shows two queue pairs with pools of their own: each sends, and what the kernel sends arrives on one of them.
    if !may_make_interfaces("the TAP with two queues") {
        return;
    }
    enter_namespace();
    eal();
    let device: Device = "vdev:net_tap2,iface=clt2".parse().expect("a name");
    let options =
        OpenOptions { queues: 2, receive_frames: 512, control_frames: 256, ..OpenOptions::default() };
    let mut port = open(&device, &options).expect("the TAP");
    assert_eq!(port.queues.len(), 2);
    let kernel = RawSocket::new("clt2");
    let (mut frames, mut arrived) = (Vec::new(), Vec::new());
    for turn in 0..50_u8 {
        let parts = &mut port.queues[usize::from(turn % 2)];
        frames.push(frame(&parts.pools.control, &ethernet(turn, 60)));
        assert_eq!(parts.queue.transmit(0, &mut frames), 1);
        assert_eq!(kernel.receive_ours(), ethernet(turn, 60));
        kernel.send(&ethernet(turn, 70));
        let start = Instant::now();
        while arrived.len() <= usize::from(turn) {
            for parts in &mut port.queues {
                parts.queue.receive(0, &mut frames, 32);
            }
            arrived.extend(
                frames.drain(..).map(|frame| bytes(&frame)).filter(|bytes| bytes[12..14] == [0x88, 0xb5]),
            );
            assert!(start.elapsed().as_secs() < 5, "no frame arrived");
        }
    }
    assert!(arrived.iter().zip(0..).all(|(bytes, turn)| *bytes == ethernet(turn, 70)));
    for parts in &port.queues {
        assert_eq!(parts.pools.control.available(), 256);
    }
}
