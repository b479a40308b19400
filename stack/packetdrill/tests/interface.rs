//! The plug-in through its C interface, driven as packetdrill drives it.

mod host;

#[path = "host/peer.rs"]
mod peer;
#[path = "host/segment.rs"]
mod segment;

use std::sync::atomic::{AtomicI32, Ordering};

use host::{Host, LOCAL, REMOTE, is_asleep, object, thread};
use peer::Peer;
use segment::{ACK, FIN, PSH, RST, SYN};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;

#[test]
fn a_passive_connection_carries_data_both_ways() {
    // Shows the three-way handshake, the SYN-ACK's options in their order, data, acknowledgements and an orderly end.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let listener = host.socket();
    assert_eq!(host.set_option(listener, libc::SOL_SOCKET, libc::SO_REUSEADDR, &[1]), Ok(0));
    assert_eq!(host.bind(listener, "0.0.0.0".parse().unwrap(), 8080), Ok(0));
    assert_eq!(host.listen(listener, 1), Ok(0));
    peer.send(SYN, &[]);
    let answer = peer.expect(SYN | ACK);
    assert_eq!(answer.options, [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 8], "mss, nop, nop, sackOK, nop, wscale");
    peer.send(ACK, &[]);
    let stream = host.accept(listener).unwrap();
    peer.send(ACK | PSH, b"hello");
    assert_eq!(host.read(stream, 100).unwrap(), b"hello");
    assert_eq!(peer.expect(ACK).ack, peer.seq);
    assert_eq!(host.write(stream, &[7; 1000]), Ok(1000));
    assert_eq!(peer.expect(ACK | PSH).data, [7; 1000]);
    peer.send(ACK, &[]);
    assert_eq!(host.close(stream), Ok(0));
    peer.expect(FIN | ACK);
    peer.send(FIN | ACK, &[]);
    assert_eq!(peer.expect(ACK).ack, peer.seq);
    assert_eq!(host.close(listener), Ok(0));
    assert!(host.sniff().is_none());
    host.free();
}

#[test]
fn an_active_connection_is_told_of_when_it_is_open() {
    // Shows a connect that does not wait, its SYN's options, the error it leaves, and that a second one is refused.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let stream = host.socket();
    host.set_nonblocking(stream);
    assert_eq!(host.connect(stream, REMOTE, 8080), Err(libc::EINPROGRESS));
    assert_eq!(host.connect(stream, REMOTE, 8080), Err(libc::EALREADY));
    let syn = peer.accept_syn();
    assert_eq!((syn.options.len(), &syn.options[..4], syn.options[4]), (20, &[2, 4, 5, 180][..], 4));
    assert_eq!((&syn.options[6..8], &syn.options[16..]), (&[8, 10][..], &[1, 3, 3, 8][..]));
    peer.send(SYN | ACK, &[]);
    peer.expect(ACK);
    assert_eq!(host.option(stream, libc::SOL_SOCKET, libc::SO_ERROR), Ok(0));
    assert_eq!(host.connect(stream, REMOTE, 8080), Ok(0));
    assert_eq!(host.connect(stream, REMOTE, 8080), Err(libc::EISCONN));
    assert_eq!(host.read(stream, 10), Err(libc::EAGAIN));
    assert_eq!(host.write(stream, b"x"), Ok(1));
    assert_eq!(peer.expect(ACK | PSH).data, b"x");
}

#[test]
fn a_refused_connect_fails() {
    // Shows a connect that waits, alone with the clock: the answer must be there, or time ends it.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let stream = host.socket();
    host.set_nonblocking(stream);
    assert_eq!(host.connect(stream, REMOTE, 8080), Err(libc::EINPROGRESS));
    peer.accept_syn();
    peer.send(RST | ACK, &[]);
    assert_eq!(host.option(stream, libc::SOL_SOCKET, libc::SO_ERROR), Ok(libc::ECONNREFUSED));
    assert_eq!(host.option(stream, libc::SOL_SOCKET, libc::SO_ERROR), Ok(0));
    let lonely = host.socket();
    let before = host.now();
    assert_eq!(host.connect(lonely, REMOTE, 8081), Err(libc::ETIMEDOUT));
    let waited = (host.now() - before) / 1_000_000;
    assert!((180..300).contains(&waited), "gave up after {waited} s");
}

#[test]
fn a_second_thread_sleeps_until_its_call_is_done() {
    // Shows a blocking read: its thread sleeps (the kernel says so) while this one moves the clock, and sees first the
    // time at which its bytes came, however late it runs.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    let (sleeper, woken) = (AtomicI32::new(0), AtomicI32::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            sleeper.store(thread(), Ordering::Release);
            let bytes = host.read(stream, 100);
            let at = host.now();
            woken.store(1, Ordering::Release);
            (bytes, at)
        });
        while !is_asleep(sleeper.load(Ordering::Acquire)) {
            std::thread::yield_now();
        }
        host.sleep(100_000);
        let before = host.now();
        peer.send(ACK | PSH, b"late");
        host.sleep(500_000);
        let (bytes, at) = reader.join().unwrap();
        assert_eq!(bytes.unwrap(), b"late");
        assert!((before..before + 10).contains(&at), "woken at {at}, the bytes came at {before}");
        assert!(host.now() >= before + 500_000);
    });
}

#[test]
fn a_blocking_write_goes_on_as_acknowledgements_come() {
    // Shows that a write beyond the send buffer waits on its thread, and is done for it by who hands packets in.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    assert_eq!(host.set_option(stream, libc::SOL_SOCKET, libc::SO_SNDBUF, &[10_000]), Ok(0));
    let sleeper = AtomicI32::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            sleeper.store(thread(), Ordering::Release);
            host.write(stream, &[1; 50_000])
        });
        while !is_asleep(sleeper.load(Ordering::Acquire)) {
            std::thread::yield_now();
        }
        let mut got = 0;
        while got < 50_000 {
            got += peer.take_data().len();
            peer.send(ACK, &[]);
        }
        assert_eq!(writer.join().unwrap(), Ok(50_000));
    });
}

#[test]
fn epoll_tells_of_edges_and_levels() {
    // Shows EPOLLIN as a level, as an edge that each arrival makes, one-shot, and what a reset and a FIN tell.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    host.set_nonblocking(stream);
    let (level, edge) = (host.epoll_create(), host.epoll_create());
    assert_eq!(host.epoll_ctl(level, libc::EPOLL_CTL_ADD, stream, libc::EPOLLIN), Ok(0));
    assert_eq!(host.epoll_ctl(level, libc::EPOLL_CTL_ADD, stream, libc::EPOLLIN), Err(libc::EEXIST));
    let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET | libc::EPOLLRDHUP;
    assert_eq!(host.epoll_ctl(edge, libc::EPOLL_CTL_ADD, stream, interest), Ok(0));
    assert_eq!(host.epoll_wait(level, 0), Ok(vec![]));
    assert_eq!(host.epoll_wait(edge, 0), Ok(vec![(stream, OUT)]));
    assert_eq!(host.epoll_wait(edge, 0), Ok(vec![]));
    peer.send(ACK | PSH, b"one");
    for _ in 0..2 {
        assert_eq!(host.epoll_wait(level, 0), Ok(vec![(stream, IN)]));
    }
    assert_eq!(host.epoll_wait(edge, 0), Ok(vec![(stream, IN | OUT)]));
    assert_eq!(host.epoll_wait(edge, 0), Ok(vec![]));
    peer.send(ACK | PSH, b"two");
    assert_eq!(host.epoll_wait(edge, 0), Ok(vec![(stream, IN | OUT)]));
    assert_eq!(host.read(stream, 100).unwrap(), b"onetwo");
    assert_eq!(host.epoll_wait(level, 0), Ok(vec![]));
    assert_eq!(host.epoll_ctl(level, libc::EPOLL_CTL_MOD, stream, libc::EPOLLIN | libc::EPOLLONESHOT), Ok(0));
    peer.send(ACK | FIN, &[]);
    assert_eq!(host.epoll_wait(level, 0), Ok(vec![(stream, IN)]));
    assert_eq!(host.epoll_wait(level, 0), Ok(vec![]));
    assert_eq!(host.epoll_wait(edge, 0), Ok(vec![(stream, IN | OUT | libc::EPOLLRDHUP as u32)]));
    peer.send(RST | ACK, &[]);
    let all = IN | OUT | (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
    assert_eq!(host.epoll_wait(edge, 0), Ok(vec![(stream, all)]));
    assert_eq!(host.write(stream, b"x"), Err(libc::EPIPE));
    assert_eq!(host.epoll_ctl(level, libc::EPOLL_CTL_DEL, stream, 0), Ok(0));
    assert_eq!(host.epoll_ctl(level, libc::EPOLL_CTL_DEL, stream, 0), Err(libc::ENOENT));
}

#[test]
fn a_wait_that_nobody_ends_takes_virtual_time() {
    // Shows time-outs of poll and epoll_wait, and a read that its option lets wait for so long.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    let set = host.epoll_create();
    assert_eq!(host.epoll_ctl(set, libc::EPOLL_CTL_ADD, stream, libc::EPOLLIN), Ok(0));
    let took = |work: &dyn Fn()| {
        let before = host.now();
        work();
        (host.now() - before) / 1_000
    };
    assert_eq!(took(&|| assert_eq!(host.epoll_wait(set, 250), Ok(vec![]))), 250);
    assert_eq!(took(&|| assert_eq!(host.poll(stream, libc::POLLIN, 100), Ok(0))), 100);
    assert_eq!(host.set_option(stream, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &[2, 0, 500_000, 0]), Ok(0));
    assert_eq!(took(&|| assert_eq!(host.read(stream, 1), Err(libc::EAGAIN))), 2_500);
    assert_eq!(host.set_option(stream, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &[0, 0, 0, 0]), Ok(0));
    assert_eq!(host.read(stream, 1), Err(libc::EDEADLK));
    peer.send(ACK | PSH, b"x");
    assert_eq!(host.poll(stream, libc::POLLIN | libc::POLLOUT, -1), Ok(libc::POLLIN | libc::POLLOUT));
}

#[test]
fn retransmissions_come_in_their_time() {
    // Shows the clock of netdev_receive: a lost segment goes again after the RTO, with the time it was sent.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    assert_eq!(host.write(stream, b"x"), Ok(1));
    let (first, _) = host.sniff().unwrap();
    let (again, packet) = host.sniff().unwrap();
    assert_eq!(segment::Segment::parse(&packet).data, b"x");
    assert!(again - first >= 200_000 && again - first < 400_000, "again after {} µs", again - first);
    assert!(host.now() - again < 1_000);
}

#[test]
fn tcp_info_tells_the_connection_s_figures() {
    // Shows the structure's length and a sample of fields, whole and cut short, and states of sockets without one.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (listener, stream) = peer.passive(&host);
    assert_eq!(host.write(stream, &[1; 2920]), Ok(2920));
    let info = host.option_bytes(stream, libc::IPPROTO_TCP, libc::TCP_INFO, 512).unwrap();
    let word = |at: usize| u32::from_ne_bytes(*info[at..].first_chunk().unwrap());
    assert_eq!((info.len(), info[0], info[1]), (280, 1, 0));
    assert_eq!((word(16), word(24), word(76), word(80)), (1460, 2, 0x7fff_ffff, 10));
    let short = host.option_bytes(stream, libc::IPPROTO_TCP, libc::TCP_INFO, 104).unwrap();
    assert_eq!(short, info[..104]);
    let state = |fd| host.option_bytes(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 280).map(|info| info[0]);
    assert_eq!((state(listener), state(host.socket())), (Ok(10), Ok(7)));
    assert_eq!(host.ioctl(stream, libc::TIOCOUTQ), Ok(2920));
    peer.send(ACK | FIN, b"bytes");
    assert_eq!((state(stream), host.ioctl(stream, libc::FIONREAD)), (Ok(8), Ok(5)));
    assert_eq!(host.close(stream), Ok(0));
}

#[test]
fn close_and_getsockopt_of_libc_know_our_numbers() {
    // Shows that the object, loaded before libc, answers for its own numbers, and hands others to the kernel. The test
    // runs itself once more for that.
    const AGAIN: &str = "CORELANE_PRELOADED";
    if std::env::var_os(AGAIN).is_none() {
        let own = std::env::current_exe().unwrap();
        let name = "close_and_getsockopt_of_libc_know_our_numbers";
        let mut child = std::process::Command::new(own);
        child.args(["--exact", name, "--test-threads=1"]).env(AGAIN, "1").env("LD_PRELOAD", object());
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    assert_eq!(host::libc_info_len(stream), Ok(280));
    assert_eq!(host::libc_info_len(0), Err(libc::ENOTSOCK));
    assert_eq!(host::libc_close(stream), Ok(0));
    peer.expect(FIN | ACK);
    assert_eq!(host::libc_close(stream), Err(libc::EBADF));
    assert_eq!(host.close(stream), Err(libc::EBADF));
}

#[test]
fn datagrams_come_and_go() {
    // Shows UDP: a bound socket, an answer to who sent, truncation, and the unreachable port.
    let host = Host::new();
    let socket = host.datagram_socket();
    assert_eq!(host.bind(socket, LOCAL, 7000), Ok(0));
    let datagram = |port: u16| {
        let mut udp = Vec::new();
        udp.extend(9000u16.to_be_bytes());
        udp.extend(port.to_be_bytes());
        udp.extend([0, 12, 0, 0]);
        udp.extend(b"ping");
        segment::packet(17, &udp)
    };
    host.inject(&datagram(7000));
    host.inject(&datagram(7000));
    assert_eq!(host.recvmsg(socket, 100, 0), Ok((b"ping".to_vec(), 0)));
    assert_eq!(host.recvmsg(socket, 2, 0), Ok((b"pi".to_vec(), libc::MSG_TRUNC)));
    assert_eq!(host.recv(socket, 100, libc::MSG_DONTWAIT), Err(libc::EAGAIN));
    assert_eq!(host.send_to(socket, b"pong", REMOTE, 9000), Ok(4));
    let (_, packet) = host.sniff().unwrap();
    assert_eq!((packet[9], &packet[28..]), (17, &b"pong"[..]));
    assert_eq!(host.write(socket, b"x"), Err(libc::EDESTADDRREQ));
    host.inject(&datagram(7001));
    let (_, packet) = host.sniff().unwrap();
    assert_eq!((packet[9], packet[20], packet[21]), (1, 3, 3));
}
