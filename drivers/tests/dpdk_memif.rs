//! memif on DPDK's frames: two ends in one process, DPDK's own driver as either end, and a peer in another process that is
//! killed.
#![cfg(feature = "dpdk")]

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{bytes, eal, ethernet, frame, receive_ours};
use drivers::{Bell, OpenOptions, Opened, SetupError, open};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("corelane-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    fn device(&self, role: &str) -> String {
        format!("memif:{role},{}", self.0.join("s").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn opened(device: &str) -> Result<Opened, SetupError> {
    let options =
        OpenOptions { receive_frames: 512, control_frames: 256, descriptors: 128, ..OpenOptions::default() };
    open(&device.parse().expect(device), &options)
}

fn wait_for_link(port: &Opened, up: bool) {
    let start = Instant::now();
    while port.control.link().up != up {
        assert!(start.elapsed() < Duration::from_secs(5), "the link stays {}", !up);
        std::thread::yield_now();
    }
}

/// Sends from one to the other. A server has no room before its client has polled.
fn cross(from: &mut Opened, to: &mut Opened, mark: u8) {
    let parts = &mut from.queues[0];
    let mut frames = vec![frame(&parts.pools.control, &ethernet(mark, 1000))];
    let start = Instant::now();
    while parts.queue.transmit(0, &mut frames) == 0 {
        to.queues[0].queue.receive(0, &mut Vec::new(), 32);
        assert!(start.elapsed() < Duration::from_secs(5), "nothing is taken: {mark}");
    }
    assert_eq!(receive_ours(&mut *to.queues[0].queue), ethernet(mark, 1000));
}

#[test]
fn a_peer_leaves_and_another_comes() {
    // Shows both roles, frames both ways, a client and then a server that leave while the other end sends on, and new
    // ones in their place.
    eal();
    let folder = Folder::new("memif");
    let missing = opened(&folder.device("client")).err().expect("no server").to_string();
    assert!(missing.contains("start the server first"), "{missing}");
    let mut server = opened(&folder.device("server")).expect("the server");
    assert!(!server.control.link().up && !server.control.is_gone());
    for turn in 0..3_u8 {
        let mut client = opened(&folder.device("client")).expect("the client");
        wait_for_link(&client, true);
        wait_for_link(&server, true);
        for mark in 0..100 {
            cross(&mut client, &mut server, mark);
            cross(&mut server, &mut client, mark ^ turn);
        }
        drop(client);
        wait_for_link(&server, false);
        let parts = &mut server.queues[0];
        let mut frames: Vec<_> = (0..8).map(|n| frame(&parts.pools.control, &ethernet(n, 60))).collect();
        parts.queue.transmit(0, &mut frames);
        assert_eq!(parts.queue.receive(0, &mut frames, 32), 0);
    }
    let mut client = opened(&folder.device("client")).expect("the client");
    wait_for_link(&client, true);
    drop(server);
    wait_for_link(&client, false);
    let mut server = opened(&folder.device("server")).expect("the server again");
    wait_for_link(&client, true);
    wait_for_link(&server, true);
    cross(&mut client, &mut server, 7);
    cross(&mut server, &mut client, 8);
}

#[test]
fn dpdks_own_driver_is_a_peer() {
    // Shows each role against DPDK's driver: the link comes up, more frames than a ring holds cross both ways, small and
    // full ones, the other end wakes this one, and this one outlives it.
    eal();
    let folder = Folder::new("memif-dpdk");
    let theirs = |role: &str| {
        let socket = folder.0.join("s");
        format!("vdev:net_memif_peer,role={role},id=0,socket={},socket-abstract=no", socket.display())
    };
    for ours in ["server", "client"] {
        let (mut server, mut client) = if ours == "server" {
            let server = opened(&folder.device("server")).expect("our server");
            (server, opened(&theirs("client")).expect("DPDK's client"))
        } else {
            let server = opened(&theirs("server")).expect("DPDK's server");
            (server, opened(&folder.device("client")).expect("our client"))
        };
        wait_for_link(&client, true);
        wait_for_link(&server, true);
        for turn in 0..1100_u32 {
            let mark = turn.to_be_bytes()[3];
            cross(&mut client, &mut server, mark);
            cross(&mut server, &mut client, mark ^ 0x55);
        }
        let (mut mine, mut other) = if ours == "server" { (server, client) } else { (client, server) };
        let parts = &mut mine.queues[0];
        assert!(parts.queue.watch());
        let frames = &mut vec![frame(&other.queues[0].pools.control, &ethernet(9, 60))];
        assert_eq!(other.queues[0].queue.transmit(0, frames), 1);
        Bell::default().sleep_beside(&[parts.queue.wakes().expect("a file")], Duration::from_secs(3600));
        assert_eq!(receive_ours(&mut *parts.queue), ethernet(9, 60));
        drop(other);
        wait_for_link(&mine, false);
    }
}

/// Names the socket to the process that plays the peer.
const SOCKET: &str = "CORELANE_MEMIF_PEER";

#[test]
fn play_the_peer() {
    // Shows nothing by itself: it is the process that the next test kills.
    let Ok(device) = std::env::var(SOCKET) else { return };
    // Not to outlive the test, should that fail.
    // SAFETY: asks the kernel for a signal at the parent's end.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let options = drivers::dpdk::EalOptions { no_huge_mib: Some(64), ..Default::default() };
    drivers::dpdk::Eal::init(&options).expect("the EAL");
    let mut port = opened(&device).expect("the client");
    let parts = &mut port.queues[0];
    let mut frames = Vec::new();
    loop {
        // As fast as it goes, so that the other end is inside the shared memory when this one dies.
        frames.extend(parts.pools.control.take().map(|mut frame| {
            frame.append(1000).expect("room").copy_from_slice(&ethernet(1, 986));
            frame
        }));
        parts.queue.transmit(0, &mut frames);
        parts.queue.receive(0, &mut frames, 32);
        frames.clear();
    }
}

#[test]
fn a_peer_that_is_killed_takes_nobody_along() {
    // Shows twenty processes killed in the middle of traffic both ways, which this end survives polling and sending.
    eal();
    let folder = Folder::new("memif-kill");
    let mut server = opened(&folder.device("server")).expect("the server");
    for turn in 0..20 {
        let mut peer = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "play_the_peer", "--nocapture"])
            .env(SOCKET, folder.device("client"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a process");
        let parts = &mut server.queues[0];
        let (start, mut received, mut frames) = (Instant::now(), 0, Vec::new());
        let mut killed = false;
        while !killed || server.control.link().up {
            let kept = parts.pools.control.take();
            frames.extend(kept.map(|mut frame| {
                frame.append(1000).expect("room").copy_from_slice(&ethernet(2, 986));
                frame
            }));
            parts.queue.transmit(0, &mut frames);
            frames.clear();
            received += parts.queue.receive(0, &mut frames, 32);
            assert!(frames.iter().all(|frame| bytes(frame) == ethernet(1, 986)));
            frames.clear();
            if received > 2000 + 100 * turn && !killed {
                peer.kill().expect("a living process");
                killed = true;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "turn {turn}: {received} frames");
        }
        peer.wait().expect("its end");
    }
    let parts = &server.queues[0];
    assert_eq!(parts.pools.receive.available(), 512);
}
