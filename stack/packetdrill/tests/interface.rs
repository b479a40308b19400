//! The plug-in through its C interface, driven as packetdrill drives it.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "C's types, and numbers a test has chosen"
)]

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
    // Shows UDP: a bound socket, an answer to who sent, truncation, one peer and none again, and the unreachable port.
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
    // With a peer: what others send is refused, until the socket forgets it.
    assert_eq!(host.connect(socket, REMOTE, 9001), Ok(0));
    assert_eq!(host.write(socket, b"mine"), Ok(4));
    let (_, packet) = host.sniff().unwrap();
    assert_eq!((&packet[20..24], &packet[28..]), (&[0x1b, 0x58, 0x23, 0x29][..], &b"mine"[..]));
    host.inject(&datagram(7000));
    assert_eq!(host.sniff().unwrap().1[9], 1);
    assert_eq!(host.disconnect(socket), Ok(0));
    host.inject(&datagram(7000));
    assert_eq!(host.recv(socket, 100, 0), Ok(b"ping".to_vec()));
    assert_eq!(host.write(socket, b"x"), Err(libc::EDESTADDRREQ));
    host.inject(&datagram(7001));
    let (_, packet) = host.sniff().unwrap();
    assert_eq!((packet[9], packet[20], packet[21]), (1, 3, 3));
}

#[test]
fn options_have_linux_s_errors() {
    // Shows what each option takes, gives back, and refuses, and the errors of misused calls.
    let host = Host::new();
    let fd = host.socket();
    let (socket, tcp, ip) = (libc::SOL_SOCKET, libc::IPPROTO_TCP, libc::IPPROTO_IP);
    let set = |level, name, value: &[i32]| host.set_option(fd, level, name, value).err().unwrap_or(0);
    let get = |level, name| host.option(fd, level, name);
    for (level, name, value, back) in [
        (socket, libc::SO_REUSEADDR, 1, 1),
        (socket, libc::SO_SNDBUF, 10_000, 20_000),
        (socket, libc::SO_RCVBUF, 10_000, 20_000),
        (socket, libc::SO_RCVBUF, 1, 2304),
        (socket, libc::SO_SNDBUF, 1, 4608),
        (socket, libc::SO_KEEPALIVE, 7, 1),
        (tcp, libc::TCP_NODELAY, 1, 1),
        (tcp, libc::TCP_CORK, 1, 1),
        (tcp, libc::TCP_MAXSEG, 1000, 1000),
        (tcp, libc::TCP_KEEPIDLE, 5, 5),
        (tcp, libc::TCP_KEEPINTVL, 6, 6),
        (tcp, libc::TCP_KEEPCNT, 7, 7),
        (tcp, libc::TCP_SYNCNT, 3, 3),
        (tcp, libc::TCP_USER_TIMEOUT, 30_000, 30_000),
        (ip, libc::IP_TOS, 0x13, 0x10),
        (ip, libc::IP_TTL, 7, 7),
    ] {
        assert_eq!((set(level, name, &[value]), get(level, name)), (0, Ok(back)), "{level} {name}");
    }
    for (level, name, value, error) in [
        (tcp, libc::TCP_MAXSEG, 20, libc::EINVAL),
        (tcp, libc::TCP_MAXSEG, 40_000, libc::EINVAL),
        (tcp, libc::TCP_KEEPIDLE, 0, libc::EINVAL),
        (tcp, libc::TCP_KEEPCNT, 128, libc::EINVAL),
        (tcp, libc::TCP_USER_TIMEOUT, -1, libc::EINVAL),
        (tcp, libc::TCP_INFO, 0, libc::ENOPROTOOPT),
        (tcp, 999, 0, libc::ENOPROTOOPT),
        (socket, libc::SO_ERROR, 0, libc::ENOPROTOOPT),
        (ip, libc::IP_MTU_DISCOVER, 9, libc::EINVAL),
        (ip, libc::IP_TTL, 256, libc::EINVAL),
        (77, 1, 0, libc::ENOPROTOOPT),
    ] {
        assert_eq!(set(level, name, &[value]), error, "{level} {name} {value}");
    }
    assert_eq!(set(tcp, libc::TCP_NODELAY, &[]), libc::EINVAL);
    assert_eq!(set(socket, libc::SO_RCVTIMEO, &[0, 0, 1_000_000, 0]), libc::EDOM);
    assert_eq!(get(tcp, 999), Err(libc::ENOPROTOOPT));
    assert_eq!(
        (get(socket, libc::SO_TYPE), get(socket, libc::SO_ACCEPTCONN)),
        (Ok(libc::SOCK_STREAM), Ok(0))
    );
    assert_eq!(host.open(99, libc::SOCK_STREAM, 0), Err(libc::EAFNOSUPPORT));
    assert_eq!(host.open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_UDP), Err(libc::EPROTONOSUPPORT));
    assert_eq!(host.open(libc::AF_INET, 99, 0), Err(libc::ESOCKTNOSUPPORT));
    assert_eq!((host.read(fd, 1), host.write(fd, b"x")), (Err(libc::ENOTCONN), Err(libc::EPIPE)));
    assert_eq!((host.accept(fd), host.shutdown(fd, 1)), (Err(libc::EINVAL), Err(libc::ENOTCONN)));
    assert_eq!(host.shutdown(fd, 9), Err(libc::EINVAL));
    assert_eq!(host.poll(fd, libc::POLLOUT, 0), Ok(libc::POLLOUT | libc::POLLHUP));
    assert_eq!(host.bind(fd, REMOTE, 80), Err(libc::EADDRNOTAVAIL));
    assert_eq!((host.bind(fd, LOCAL, 80), host.bind(fd, LOCAL, 80)), (Ok(0), Err(libc::EINVAL)));
    let other = host.socket();
    assert_eq!(host.bind(other, "0.0.0.0".parse().unwrap(), 80), Err(libc::EADDRINUSE));
    assert_eq!((host.close(other), host.close(other)), (Ok(0), Err(libc::EBADF)));
    assert_eq!((host.read(other, 1), host.poll(other, 1, 0)), (Err(libc::EBADF), Ok(libc::POLLNVAL)));
    assert_eq!(host.epoll_ctl(fd, libc::EPOLL_CTL_ADD, fd, 1), Err(libc::EINVAL));
}

#[test]
fn buffers_and_vectors_are_read_and_written() {
    // Shows MSG_PEEK, MSG_WAITALL with a partial end, readv and writev, sendmsg, and SIOCINQ.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    peer.send(ACK | PSH, b"hello ");
    peer.send(ACK | PSH, b"world");
    assert_eq!(host.ioctl(stream, libc::FIONREAD), Ok(11));
    assert_eq!(host.recv(stream, 8, libc::MSG_PEEK).unwrap(), b"hello wo");
    assert_eq!(host.readv(stream, &[4, 4]).unwrap(), [b"hell".to_vec(), b"o wo".to_vec()]);
    assert_eq!(host.recvmsg(stream, 2, 0), Ok((b"rl".to_vec(), 0)));
    assert_eq!(host.recv(stream, 9, libc::MSG_WAITALL | libc::MSG_DONTWAIT).unwrap(), b"d");
    assert_eq!(host.recv(stream, 9, libc::MSG_OOB), Err(libc::EINVAL));
    assert_eq!(host.writev(stream, &[b"ab", b"", b"cde"]), Ok(5));
    assert_eq!(peer.take_data(), b"abcde");
    peer.send(ACK, &[]);
    assert_eq!(host.sendmsg(stream, b"f", libc::MSG_NOSIGNAL), Ok(1));
    assert_eq!(peer.take_data(), b"f");
    let (reader, writer) = host.pipe();
    peer.send(ACK | PSH, b"piped");
    assert_eq!(host.splice(stream, writer, 100), Ok(5));
    assert_eq!(host.splice(reader, stream, 100), Ok(5));
    assert_eq!(peer.take_data(), b"piped");
    assert_eq!(host.write(writer, b"rest"), Ok(4));
    assert_eq!(host.close(writer), Ok(0));
    assert_eq!((host.read(reader, 9).unwrap(), host.read(reader, 9).unwrap()), (b"rest".to_vec(), vec![]));
}

#[test]
fn a_corked_write_waits_for_more() {
    // Shows TCP_CORK and MSG_MORE: a short segment waits until it is full, uncorked, or 200 ms old.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    let cork = |on| host.set_option(stream, libc::IPPROTO_TCP, libc::TCP_CORK, &[on]);
    assert_eq!((cork(1), host.write(stream, b"head"), host.write(stream, b"body")), (Ok(0), Ok(4), Ok(4)));
    let before = host.now();
    assert_eq!(cork(0), Ok(0));
    assert_eq!(peer.take_data(), b"headbody");
    assert!(host.now() < before + 1000);
    peer.send(ACK, &[]);
    assert_eq!(host.send(stream, b"more", libc::MSG_MORE), Ok(4));
    assert_eq!(host.send(stream, b"over", 0), Ok(4));
    assert_eq!(peer.take_data(), b"moreover");
    peer.send(ACK, &[]);
    let before = host.now();
    assert_eq!(host.send(stream, b"late", libc::MSG_MORE), Ok(4));
    assert_eq!(peer.take_data(), b"late");
    assert!((200_000..201_000).contains(&(host.now() - before)));
}

#[test]
fn closing_lingers_resets_and_half_closes() {
    // Shows SO_LINGER of zero and of a second, close with unread data, and each direction of shutdown.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (listener, stream) = peer.passive(&host);
    let next = |peer: &mut Peer| {
        peer.port += 1;
        peer.send(SYN, &[]);
        peer.expect(SYN | ACK);
        peer.send(ACK, &[]);
        host.accept(listener).unwrap()
    };
    assert_eq!(host.set_option(stream, libc::SOL_SOCKET, libc::SO_LINGER, &[1, 0]), Ok(0));
    assert_eq!(host.close(stream), Ok(0));
    peer.expect(RST | ACK);

    let stream = next(&mut peer);
    peer.send(ACK | PSH, b"unread");
    peer.expect(ACK);
    assert_eq!(host.close(stream), Ok(0));
    peer.expect(RST | ACK);

    let stream = next(&mut peer);
    assert_eq!(host.set_option(stream, libc::SOL_SOCKET, libc::SO_LINGER, &[1, 1]), Ok(0));
    let before = host.now();
    assert_eq!(host.close(stream), Ok(0));
    assert!((1_000_000..1_001_000).contains(&(host.now() - before)), "nobody acknowledges the FIN");
    peer.expect(FIN | ACK);
    peer.send(RST | ACK, &[]);
    while host.sniff().is_some() {}

    let stream = next(&mut peer);
    assert_eq!(host.shutdown(stream, libc::SHUT_WR), Ok(0));
    peer.expect(FIN | ACK);
    assert_eq!((host.write(stream, b"x"), host.shutdown(stream, libc::SHUT_WR)), (Err(libc::EPIPE), Ok(0)));
    peer.send(ACK | PSH, b"still");
    assert_eq!(host.read(stream, 9).unwrap(), b"still");
    assert_eq!(host.shutdown(stream, libc::SHUT_RD), Ok(0));
    assert_eq!(host.read(stream, 9).unwrap(), b"");
    peer.send(ACK | FIN, &[]);
    assert_eq!(host.poll(stream, libc::POLLIN, 0), Ok(libc::POLLIN | libc::POLLHUP));
    assert_eq!(host.close(stream), Ok(0));
}

#[test]
fn a_small_receive_buffer_closes_the_window() {
    // Shows SO_RCVBUF: its window in SYN-ACK without a scale, closed by what is not read, opened by reading.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let listener = host.socket();
    assert_eq!(host.set_option(listener, libc::SOL_SOCKET, libc::SO_RCVBUF, &[4000]), Ok(0));
    assert_eq!((host.bind(listener, LOCAL, 8080), host.listen(listener, 1)), (Ok(0), Ok(0)));
    peer.send(SYN, &[]);
    let answer = peer.expect(SYN | ACK);
    assert_eq!((answer.window, answer.options.last()), (4000, Some(&0)));
    peer.send(ACK, &[]);
    let stream = host.accept(listener).unwrap();
    for left in [3000, 2000, 1000, 0] {
        peer.send(ACK | PSH, &[1; 1000]);
        assert_eq!(peer.expect(ACK).window, left);
    }
    assert_eq!(host.read(stream, 4000).map(|bytes| bytes.len()), Ok(4000));
    assert_eq!(peer.expect(ACK).window, 4000);
}

#[test]
fn a_backlog_is_no_longer_than_asked() {
    // Shows that one connection more than the backlog waits, as on Linux, and that accepting makes room.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let listener = host.socket();
    assert_eq!((host.bind(listener, LOCAL, 8080), host.listen(listener, 1)), (Ok(0), Ok(0)));
    for _ in 0..2 {
        peer.port += 1;
        peer.send(SYN, &[]);
        peer.expect(SYN | ACK);
        peer.send(ACK, &[]);
    }
    peer.port += 1;
    peer.send(SYN, &[]);
    assert!(host.sniff().is_none());
    assert!(host.accept(listener).is_ok());
    peer.send(SYN, &[]);
    peer.expect(SYN | ACK);
}

#[test]
fn settings_come_from_a_file_at_each_socket() {
    // Shows that the file is read as a socket is made: SACK and timestamps off, fewer SYNs. A run of its own, for the
    // variable that names the file is the process's.
    const FILE: &str = "PD_SYSCTL_FILE";
    let Some(path) = std::env::var_os(FILE) else {
        let path = std::env::temp_dir().join(format!("corelane-settings-{}", std::process::id()));
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "settings_come_from_a_file_at_each_socket";
        let output = child.args(["--exact", name]).env(FILE, &path).output().unwrap();
        let _ = std::fs::remove_file(path);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let host = Host::new();
    let syn = |settings: &str| {
        std::fs::write(&path, settings).unwrap();
        let mut peer = Peer::of(&host);
        let stream = host.socket();
        host.set_nonblocking(stream);
        assert_eq!(host.connect(stream, REMOTE, 8080), Err(libc::EINPROGRESS));
        let syn = peer.accept_syn();
        assert_eq!(host.close(stream), Ok(0));
        syn.options
    };
    assert_eq!(syn("").len(), 20);
    assert_eq!(syn("net.ipv4.tcp_timestamps=0\ntcp_sack=0\n"), [2, 4, 5, 180, 1, 3, 3, 8]);
    assert_eq!(syn("tcp_timestamps=0\ntcp_window_scaling=0\ntcp_sack=0"), [2, 4, 5, 180]);
    assert_eq!(syn("tcp_rmem=4096 131072 6291456\n")[19], 7);
}

#[test]
fn the_type_of_service_is_in_each_packet() {
    // Shows IP_TOS in the SYN-ACK, in data and in acknowledgements, and that ECN's bits are not the application's.
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let listener = host.socket();
    assert_eq!(host.set_option(listener, libc::IPPROTO_IP, libc::IP_TOS, &[0x2b]), Ok(0));
    assert_eq!((host.bind(listener, LOCAL, 8080), host.listen(listener, 1)), (Ok(0), Ok(0)));
    peer.send(SYN, &[]);
    assert_eq!(peer.expect(SYN | ACK).tos, 0x28);
    peer.send(ACK, &[]);
    let stream = host.accept(listener).unwrap();
    assert_eq!(host.write(stream, b"x"), Ok(1));
    assert_eq!(peer.expect(ACK | PSH).tos, 0x28);
    assert_eq!(host.set_option(stream, libc::IPPROTO_IP, libc::IP_TOS, &[0x10]), Ok(0));
    peer.send(ACK | PSH, b"y");
    assert_eq!(peer.expect(ACK).tos, 0x10);
}

#[test]
fn urgent_data_is_told_of_and_read_in_line_or_aside() {
    // Shows MSG_OOB both ways, SO_OOBINLINE, SIOCATMARK, POLLPRI, and the urgent pointer behind the last urgent byte.
    const SIOCATMARK: libc::c_ulong = 0x8905;
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.5
    //= type=test
    //# The urgent pointer MUST point to the sequence number of the octet
    //# following the urgent data (MUST-62).
    let host = Host::new();
    let mut peer = Peer::of(&host);
    let (_, stream) = peer.passive(&host);
    host.set_nonblocking(stream);
    assert_eq!(host.recv(stream, 1, libc::MSG_OOB), Err(libc::EINVAL));
    peer.send_urgent(b"abc", 3);
    assert_eq!(host.poll(stream, libc::POLLPRI | libc::POLLIN, 0), Ok(libc::POLLPRI | libc::POLLIN));
    assert_eq!(host.ioctl(stream, SIOCATMARK), Ok(0));
    assert_eq!(host.read(stream, 9).unwrap(), b"ab");
    assert_eq!(host.ioctl(stream, SIOCATMARK), Ok(1));
    assert_eq!(host.recv(stream, 1, libc::MSG_OOB).unwrap(), b"c");
    assert_eq!(host.recv(stream, 1, libc::MSG_OOB), Err(libc::EINVAL));
    assert_eq!(host.read(stream, 9), Err(libc::EAGAIN));
    peer.send(ACK | PSH, b"de");
    assert_eq!(host.read(stream, 9).unwrap(), b"de");
    assert_eq!(host.set_option(stream, libc::SOL_SOCKET, libc::SO_OOBINLINE, &[1]), Ok(0));
    peer.send_urgent(b"fgh", 2);
    assert_eq!(host.read(stream, 9).unwrap(), b"f");
    assert_eq!((host.ioctl(stream, SIOCATMARK), host.read(stream, 9).unwrap()), (Ok(1), b"gh".to_vec()));
    assert_eq!(host.recv(stream, 1, libc::MSG_OOB), Err(libc::EINVAL));
    assert_eq!(host.send(stream, b"xyz", libc::MSG_OOB), Ok(3));
    let segment = loop {
        let segment = peer.next();
        if !segment.data.is_empty() {
            break segment;
        }
    };
    assert_eq!(
        (&segment.data[..], segment.urgent, segment.flags & segment::URG),
        (&b"xyz"[..], 3, segment::URG)
    );
    peer.send(ACK, &[]);
    assert_eq!(host.write(stream, b"plain"), Ok(5));
    assert_eq!(peer.expect(ACK | PSH).urgent, 0);
}

#[test]
fn a_host_of_ipv6_is_reached_without_discovery() {
    // Shows a handshake over IPv6 with the flags' addresses; what neighbours say to each other is not the caller's.
    let host = Host::load("local=fd3d:0a0b:17d6::1/48,gw=fd3d:0a0b:17d6:8888::1,mtu=1500");
    let listener = host.open(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap() as i32;
    assert_eq!((host.bind_ipv6(listener, 8080), host.listen(listener, 1)), (Ok(0), Ok(0)));
    let syn =
        segment::Segment { from: 40_000, to: 8080, seq: 7, flags: SYN, window: 1000, ..Default::default() };
    let [local, remote] = ["fd3d:0a0b:17d6::1", "fd3d:fa7b:d17d::1"].map(|ip| ip.parse().unwrap());
    host.inject(&syn.packet_ipv6(remote, local));
    let (_, packet) = host.sniff().unwrap();
    let tcp = &packet[40..];
    assert_eq!((packet[0] >> 4, packet[6], tcp[13]), (6, 6, SYN | ACK));
    assert_eq!(&tcp[20..24], [2, 4, 1440u16.to_be_bytes()[0], 1440u16.to_be_bytes()[1]]);
    assert_eq!(segment::sum_ipv6(local, remote, tcp), 0, "the segment's sum");
    assert_eq!((&packet[8..24], &packet[24..40]), (&local.octets()[..], &remote.octets()[..]));
    let iss = u32::from_be_bytes(*tcp[4..].first_chunk().unwrap());
    let ack = segment::Segment { seq: 8, ack: iss.wrapping_add(1), flags: ACK, ..syn };
    host.inject(&ack.packet_ipv6(remote, local));
    assert_eq!(host.poll(listener, libc::POLLIN, 0), Ok(libc::POLLIN));
}
