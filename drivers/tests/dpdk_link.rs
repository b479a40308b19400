//! A TAP of DPDK's with all its queues, taken away from below. In a process of its own: the children that other tests start
//! would for a moment hold the descriptors of their TAPs.
#![cfg(feature = "dpdk")]

mod common;

use common::{RawSocket, eal, enter_namespace, ethernet, frame, may_make_interfaces};
use drivers::{Device, OpenOptions, SetupError, open};

#[test]
fn a_tap_has_the_queues_it_can_and_is_missed() {
    // Shows a wish for more queues than there are, the pools of the lanes without, and a TAP taken away from below.
    if !may_make_interfaces("the TAP with all its queues") {
        return;
    }
    enter_namespace();
    eal();
    let device: Device = "vdev:net_tap3,iface=clt3".parse().expect("a name");
    let options = OpenOptions {
        queues: 18,
        lanes: 18,
        fewer_queues: true,
        receive_frames: 192,
        control_frames: 64,
        descriptors: 128,
        ..OpenOptions::default()
    };
    let mut port = open(&device, &options).expect("the TAP");
    // Four with DPDK 22.11, sixteen with later ones.
    let offered = port.queues.len();
    assert!((4..=16).contains(&offered), "{offered}");
    assert_eq!((offered + port.queueless.len(), port.rss.is_none()), (18, true));
    assert_eq!(port.queueless[1].control.available(), 64);
    assert!(port.control.link().up && !port.control.is_gone());
    let kernel = RawSocket::new("clt3");
    for (turn, parts) in (0..).zip(&mut port.queues) {
        let mut frames = vec![frame(&parts.pools.control, &ethernet(turn, 60))];
        assert_eq!(parts.queue.transmit(0, &mut frames), 1);
        assert_eq!(kernel.receive_ours(), ethernet(turn, 60));
    }
    let strict = OpenOptions { fewer_queues: false, ..options };
    let refused = open(&"vdev:net_tap4,iface=clt4".parse().expect("a name"), &strict).err();
    assert!(matches!(refused, Some(SetupError::Queues { asked: 18, .. })), "{refused:?}");
    common::ip("link del clt3");
    assert!(!port.control.link().up && port.control.is_gone());
    let parts = &mut port.queues[0];
    let mut frames = vec![frame(&parts.pools.control, &ethernet(1, 60))];
    parts.queue.transmit(0, &mut frames);
    parts.queue.receive(0, &mut frames, 32);
}
