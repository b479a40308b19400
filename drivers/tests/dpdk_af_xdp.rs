//! DPDK's AF_XDP on one end of a veth pair, in a network namespace of the test's own.
#![cfg(feature = "dpdk")]

mod common;

use common::{
    RawSocket, eal, enter_namespace, ethernet, frame, ip, may_make_interfaces, receive_ours, wakes_a_sleeper,
};
use drivers::{Composer, Device, Extent, OpenOptions, SetupError, open};

#[test]
fn frames_cross_a_veth_pair_both_ways() {
    // Shows AF_XDP: one queue, single segments, frames out and in, a lane that sleeps and is woken, pools that stay whole, an
    // interface that goes.
    if !may_make_interfaces("AF_XDP") {
        return;
    }
    enter_namespace();
    ip("link add clxa type veth peer name clxb");
    ip("link set clxa address 02:00:00:00:0b:01 up");
    ip("link set clxb up");
    eal();
    let options = OpenOptions { receive_frames: 4096, control_frames: 512, ..OpenOptions::default() };
    let missing = open(&"af_xdp:clxc".parse().expect("a name"), &options).err();
    assert_eq!(missing, Some(SetupError::InterfaceMissing { name: "clxc".to_owned() }));
    let device: Device = "af_xdp:clxa".parse().expect("a name");
    let two = open(&device, &OpenOptions { queues: 2, ..options.clone() }).err();
    assert!(matches!(two, Some(SetupError::Queues { asked: 2, offered: 1, .. })), "{two:?}");

    let wish = OpenOptions { queues: 2, lanes: 2, fewer_queues: true, ..options.clone() };
    let mut port = match open(&device, &wish) {
        Ok(port) => port,
        Err(error) => {
            eprintln!("left out: AF_XDP, which this kernel does not have: {error}");
            return;
        }
    };
    assert_eq!((port.mac, port.mtu), ([2, 0, 0, 0, 0x0b, 1], 1500));
    assert_eq!((port.queues.len(), port.queueless.len(), port.rss.is_none()), (1, 1, true));
    assert!(!port.capabilities.multi_segment && !port.capabilities.transmit_tcp_checksum);
    assert!(port.control.link().up && !port.control.is_gone());

    let peer = RawSocket::new("clxb");
    let parts = port.queues.remove(0);
    let (mut queue, mut composer) = (parts.queue, Composer::new(parts.pools, &port.capabilities));
    let payload = Extent::of_bytes(&bytes::Bytes::from(vec![9; 300])).expect("an extent");
    for turn in 0..100_u8 {
        peer.send(&ethernet(turn, 1400));
        assert_eq!(receive_ours(&mut *queue), ethernet(turn, 1400));
        let mut first = frame(&composer.pools().control, &ethernet(turn, 60));
        composer.payload(&mut first, &payload, <[u8]>::copy_from_slice).expect("room");
        assert_eq!(queue.transmit(0, &mut vec![first]), 1);
        assert_eq!(peer.receive_ours(), [&ethernet(turn, 60)[..], &[9; 300]].concat());
    }
    assert_eq!((composer.pools().control.available(), composer.copied_bytes()), (512, 30_000));
    wakes_a_sleeper(&mut *queue, &peer);

    // The kernel says so once it has told everybody.
    let said = |what: &str, done: &dyn Fn() -> bool| {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !done() {
            assert!(std::time::Instant::now() < patience, "the link is not said to {what}");
            std::thread::yield_now();
        }
    };
    ip("link set clxb down");
    said("go down", &|| !port.control.link().up);
    assert!(!port.control.is_gone());
    ip("link set clxb up");
    said("come back", &|| port.control.link().up);
    ip("link del clxb");
    said("be gone", &|| !port.control.link().up && port.control.is_gone());
    // The lane goes on polling and sending, to nobody.
    let mut frames = vec![frame(&composer.pools().control, &ethernet(1, 60))];
    queue.transmit(0, &mut frames);
    // What the kernel itself said as the link came up may still lie in the ring, and no more.
    let left = (0..100).filter(|_| queue.receive(0, &mut frames, 32) > 0).count();
    assert!(left < 10, "frames from an interface that is gone");
}
