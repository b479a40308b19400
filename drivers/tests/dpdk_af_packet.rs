//! DPDK's AF_PACKET on one end of a veth pair, in a network namespace of the test's own.
#![cfg(feature = "dpdk")]

mod common;

use std::time::{Duration, Instant};

use common::{
    RawSocket, eal, enter_namespace, ethernet, frame, ip, may_make_interfaces, receive_ours, wait_for_link,
    wait_for_ours, wakes_a_sleeper,
};
use drivers::{Device, OpenOptions, SetupError, open};

#[test]
fn frames_cross_a_veth_pair_both_ways() {
    // Shows AF_PACKET: the interface's own address and MTU, frames out and in, lanes that sleep and are woken, joined fragments,
    // the end. One test, for the namespace is this thread's.
    if !may_make_interfaces("AF_PACKET") {
        return;
    }
    enter_namespace();
    ip("link add clva type veth peer name clvb");
    ip("link set clva address 02:00:00:00:0a:01 mtu 1400 up");
    ip("link set clvb up");
    eal();
    let options = OpenOptions { receive_frames: 512, control_frames: 256, ..OpenOptions::default() };
    let missing = open(&"af_packet:clvc".parse().expect("a name"), &options).err();
    assert_eq!(missing, Some(SetupError::InterfaceMissing { name: "clvc".to_owned() }));

    let device: Device = "af_packet:clva".parse().expect("a name");
    let mut port = open(&device, &options).expect("the port");
    assert_eq!((port.mac, port.mtu), ([2, 0, 0, 0, 0x0a, 1], 1400));
    let wrong = open(&device, &OpenOptions { mtu: Some(1500), ..options.clone() }).err();
    assert!(matches!(wrong, Some(SetupError::Mtu { asked: 1500, most: 1400, .. })), "{wrong:?}");

    let peer = RawSocket::new("clvb");
    let parts = &mut port.queues[0];
    for turn in 0..100_u8 {
        peer.send(&ethernet(turn, 1000));
        assert_eq!(receive_ours(&mut *parts.queue), ethernet(turn, 1000));
        let mut frames = vec![frame(&parts.pools.control, &ethernet(turn, 60))];
        assert_eq!(parts.queue.transmit(0, &mut frames), 1);
        assert_eq!(peer.receive_ours(), ethernet(turn, 60));
    }
    assert_eq!(parts.pools.control.available(), 256);
    assert_eq!(parts.pools.receive.available(), 512);
    wakes_a_sleeper(&mut *parts.queue, &peer);
    // An interface that was down leaves nothing behind that keeps a lane from its sleep.
    ip("link set clva down");
    ip("link set clva up");
    wait_for_link(&mut *parts.queue, &peer);
    wakes_a_sleeper(&mut *parts.queue, &peer);
    // The kernel hands joined fragments over as one frame, longer than the MTU.
    ip("link set clvb mtu 9000");
    ip("link set clva mtu 9000");
    peer.send(&ethernet(7, 8028));
    assert_eq!(receive_ours(&mut *parts.queue).len(), 8042);
    let statistics = port.control.statistics();
    assert!(statistics.sent_frames >= 100 && statistics.received_frames >= 101, "{statistics:?}");
    drop(port);
    drop(open(&device, &options).expect("the interface can be opened again"));
}

#[test]
fn an_interface_that_goes_is_noticed() {
    // Shows the link as the kernel has it, where the driver says «up» for ever: down and up again, then gone, while
    // the queue is polled on; and that an interface made anew under the name is another.
    if !may_make_interfaces("AF_PACKET whose interface goes") {
        return;
    }
    enter_namespace();
    let make = || {
        ip("link add clga type veth peer name clgb");
        ip("link set clga up");
        ip("link set clgb up");
    };
    make();
    eal();
    let options = OpenOptions { receive_frames: 512, control_frames: 256, ..OpenOptions::default() };
    let device: Device = "af_packet:clga".parse().expect("a name");
    let mut port = open(&device, &options).expect("the port");
    let state = |port: &drivers::Opened| (port.control.link().up, port.control.is_gone());
    // The kernel tells of a link in its own time: up to a second later.
    let becomes = |port: &drivers::Opened, up: bool| {
        let start = Instant::now();
        while port.control.link().up != up && start.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
        assert_eq!(state(port), (up, false));
    };
    becomes(&port, true);
    ip("link set clgb down");
    becomes(&port, false);
    ip("link set clgb up");
    becomes(&port, true);
    ip("link del clgb");
    assert_eq!(state(&port), (false, true));
    let parts = &mut port.queues[0];
    for turn in 0..100 {
        let mut frames = vec![frame(&parts.pools.control, &ethernet(turn, 60))];
        parts.queue.transmit(0, &mut frames);
        parts.queue.receive(0, &mut frames, 32);
    }
    make();
    assert_eq!(state(&port), (false, true));
    drop(port);
    becomes(&open(&device, &options).expect("the new interface"), true);
}

#[test]
fn two_queues_and_a_lane_without() {
    // Shows two queue pairs that both send, what arrives on either, which wakes the lane of that one, and pools for a third
    // lane; without RSS to tell.
    if !may_make_interfaces("AF_PACKET with two queues") {
        return;
    }
    enter_namespace();
    ip("link add clqa type veth peer name clqb");
    ip("link set clqa up");
    ip("link set clqb up");
    eal();
    let options = OpenOptions {
        queues: 2,
        lanes: 3,
        receive_frames: 512,
        control_frames: 256,
        ..OpenOptions::default()
    };
    let device: Device = "af_packet:clqa".parse().expect("a name");
    let mut port = open(&device, &options).expect("the port");
    assert_eq!((port.queues.len(), port.queueless.len(), port.rss.is_none()), (2, 1, true));
    assert_eq!(port.queueless[0].receive.available(), 512);
    let peer = RawSocket::new("clqb");
    for turn in 0..20_u8 {
        let parts = &mut port.queues[usize::from(turn % 2)];
        let mut frames = vec![frame(&parts.pools.control, &ethernet(turn, 60))];
        assert_eq!(parts.queue.transmit(0, &mut frames), 1);
        assert_eq!(peer.receive_ours(), ethernet(turn, 60));
    }
    let mut queues: Vec<_> = port.queues.iter_mut().map(|parts| &mut *parts.queue as _).collect();
    for turn in 0..20_u8 {
        peer.send(&ethernet(turn, 60));
        assert_eq!(wait_for_ours(&mut queues), ethernet(turn, 60));
    }
    drop(port);
    let many = OpenOptions { queues: 40, lanes: 40, receive_frames: 256, control_frames: 64, ..options };
    let refused = open(&device, &many).err();
    assert!(matches!(refused, Some(SetupError::Queues { asked: 40, offered: 16, .. })), "{refused:?}");
}
