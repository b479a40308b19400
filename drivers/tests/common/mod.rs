//! What the tests on DPDK's virtual devices share: the EAL of a test's process, frames, namespaces.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "each test binary uses its part")]

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use drivers::dpdk::{Eal, EalOptions};
use drivers::{Frame, Pool, Queue};

/// Huge pages of 2 MiB that the largest test takes, with room.
const HUGE_PAGES: u64 = 256;

/// The EAL, with huge pages where they can be had, else without, which is said.
pub fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    let start = || {
        let mut options = EalOptions::default();
        if free_huge_pages() < HUGE_PAGES {
            reserve_huge_pages();
        }
        if free_huge_pages() < HUGE_PAGES {
            eprintln!("left out: huge pages, for there are none and this is not root: running without");
            options.no_huge_mib = Some(384);
        }
        Eal::init(&options).expect("the EAL")
    };
    EAL.get_or_init(start).clone()
}

/// The EAL for a NIC, which needs the huge pages that somebody has set up for it.
pub fn eal_for(device: &drivers::Device) -> Eal {
    let options = EalOptions { huge_mib_min: Some(16), ..EalOptions::for_devices([device]) };
    Eal::init(&options).expect("the EAL")
}

const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

fn free_huge_pages() -> u64 {
    let text = fs::read_to_string(format!("{PAGES}/free_hugepages")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn reserve_huge_pages() {
    let path = format!("{PAGES}/nr_hugepages");
    let now: u64 = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    // Fails unless root, which the caller sees by the pages that are free.
    let _ = fs::write(path, (now + HUGE_PAGES).to_string());
}

/// Whether this test may make interfaces; says so if not.
pub fn may_make_interfaces(what: &str) -> bool {
    // SAFETY: asks for a number.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("left out: {what}, which needs root");
    }
    root
}

/// Moves this thread, and what it starts, into a network namespace of its own.
pub fn enter_namespace() {
    // SAFETY: changes this thread's namespace alone.
    let status = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(status, 0, "unshare: {}", std::io::Error::last_os_error());
}

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("ip");
    assert!(status.success(), "ip {words}");
}

/// An Ethernet frame with a type that nothing else sends, and `payload` bytes counted up from `first`.
pub fn ethernet(first: u8, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([0x02, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    bytes.extend((0..payload).map(|at| first.wrapping_add(at.to_le_bytes()[0])));
    bytes
}

pub fn frame(pool: &Pool, bytes: &[u8]) -> Frame {
    let mut frame = pool.take().expect("a frame");
    frame.append(bytes.len()).expect("room").copy_from_slice(bytes);
    frame
}

/// Every byte of a frame's chain.
pub fn bytes(frame: &Frame) -> Vec<u8> {
    frame.segments().flatten().copied().collect()
}

/// How long a test polls for what the kernel is to hand over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Polls until a frame of the tests' own type arrives, and gives its bytes.
pub fn receive_ours(queue: &mut dyn Queue) -> Vec<u8> {
    let (start, mut frames) = (Instant::now(), Vec::new());
    loop {
        queue.receive(0, &mut frames, 32);
        for frame in frames.drain(..) {
            let bytes = bytes(&frame);
            if bytes.get(12..14) == Some(&[0x88, 0xb5]) {
                return bytes;
            }
        }
        assert!(start.elapsed() < PATIENCE, "no frame arrived");
        std::thread::yield_now();
    }
}

/// What can be read of each file that a lane sleeps beside, after a wait of at most this long for any.
fn woken(queues: &[&mut (dyn Queue + '_)], most: Duration) -> Vec<bool> {
    use std::os::fd::AsRawFd;
    let file = |queue: &&mut (dyn Queue + '_)| libc::pollfd {
        fd: queue.wakes().expect("something to be woken by").as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut files: Vec<_> = queues.iter().map(file).collect();
    let most = most.as_millis().try_into().expect("small");
    // SAFETY: so many files there are.
    unsafe { libc::poll(files.as_mut_ptr(), queues.len() as libc::nfds_t, most) };
    assert!(
        files.iter().all(|file| file.revents & !libc::POLLIN == 0),
        "a file that nobody can sleep beside"
    );
    files.iter().map(|file| file.revents & libc::POLLIN != 0).collect()
}

/// Sleeps beside queues until a frame of the tests' own type has come on one of them, and gives its bytes. Whoever is woken has
/// something to do.
pub fn wait_for_ours(queues: &mut [&mut (dyn Queue + '_)]) -> Vec<u8> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut frames = Vec::new();
        let rests: Vec<bool> = queues.iter_mut().map(|queue| queue.watch()).collect();
        let most = if rests.contains(&false) { Duration::ZERO } else { PATIENCE };
        for (index, woken) in woken(queues, most).into_iter().enumerate() {
            let count = queues[index].receive(0, &mut frames, 32);
            assert!(count > 0 || rests[index] && !woken, "queue {index} has woken its lane for nothing");
        }
        let ours = |bytes: &Vec<u8>| bytes.get(12..14) == Some(&[0x88, 0xb5]);
        if let Some(bytes) = frames.iter().map(bytes).find(ours) {
            return bytes;
        }
    }
    panic!("no frame has woken anybody");
}

/// Sends until a frame arrives: for a while behind an interface's coming up the kernel drops what its peer sends.
pub fn wait_for_link(queue: &mut dyn Queue, peer: &RawSocket) {
    let (start, mut frames) = (Instant::now(), Vec::new());
    loop {
        peer.send(&ethernet(76, 60));
        queue.receive(0, &mut frames, 32);
        if frames.drain(..).any(|frame| bytes(&frame) == ethernet(76, 60)) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "the link carries nothing");
        std::thread::yield_now();
    }
}

/// Shows that a queue to which nothing comes lets its lane sleep, and that a frame ends the sleep.
pub fn wakes_a_sleeper(queue: &mut dyn Queue, peer: &RawSocket) {
    let (start, mut frames) = (Instant::now(), Vec::new());
    // What the kernel says by itself comes to an end.
    while { queue.receive(0, &mut frames, 32) } > 0 || !queue.watch() || woken(&[queue], Duration::ZERO)[0] {
        assert!(start.elapsed() < PATIENCE, "a lane without work finds no sleep");
        frames.clear();
    }
    peer.send(&ethernet(77, 60));
    assert_eq!(wait_for_ours(&mut [queue]), ethernet(77, 60));
}

/// A socket that sees every frame of an interface in this thread's namespace.
pub struct RawSocket(std::os::fd::OwnedFd);

impl RawSocket {
    pub fn new(interface: &str) -> RawSocket {
        use std::os::fd::{AsRawFd, FromRawFd};
        let all = libc::ETH_P_ALL.to_be_bytes();
        let protocol = u16::from_ne_bytes([all[2], all[3]]);
        // SAFETY: opens a descriptor.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol)) };
        assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
        // SAFETY: the socket has just been opened, and nobody else has it.
        let socket = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
        let name = std::ffi::CString::new(interface).expect("a name");
        // SAFETY: all-zero bytes are an empty address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).expect("small");
        address.sll_protocol = protocol;
        // SAFETY: the name is a C string.
        address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) }.cast_signed();
        assert_ne!(address.sll_ifindex, 0, "no interface {interface}");
        let length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("small");
        // SAFETY: the address is as long as is said.
        let status = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        assert_eq!(status, 0, "bind: {}", std::io::Error::last_os_error());
        let patience = libc::timeval { tv_sec: 5, tv_usec: 0 };
        let length = u32::try_from(size_of::<libc::timeval>()).expect("small");
        // SAFETY: the value is as long as is said.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const patience).cast(),
                length,
            )
        };
        RawSocket(socket)
    }

    pub fn send(&self, bytes: &[u8]) {
        use std::os::fd::AsRawFd;
        // SAFETY: the bytes are as many as is said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(usize::try_from(sent), Ok(bytes.len()), "send: {}", std::io::Error::last_os_error());
    }

    /// The next frame of the tests' own type.
    pub fn receive_ours(&self) -> Vec<u8> {
        use std::os::fd::AsRawFd;
        let mut buffer = vec![0; 65_536];
        loop {
            // SAFETY: the buffer is as long as is said.
            let count =
                unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let count = usize::try_from(count).expect("a frame before the time is over");
            if buffer.get(12..14) == Some(&[0x88, 0xb5]) {
                buffer.truncate(count);
                return buffer;
            }
        }
    }
}
