//! A caller of the plug-in, as packetdrill is one: it loads the object, takes the table of functions by its layout alone,
//! hands in raw packets and reads what comes out.

use core::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use core::net::Ipv4Addr;
use core::ptr::{null, null_mut};
use std::ffi::CString;
use std::path::PathBuf;

use libc::{
    epoll_event, iovec, loff_t, msghdr, nfds_t, pollfd, sockaddr, sockaddr_in, socklen_t, timeval, timezone,
};

/// The plug-in's address, and the address of who hands packets in.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// See `LOCAL`.
pub const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

type Data = *mut c_void;

/// The table, as the contract writes it down.
#[repr(C)]
#[allow(dead_code, reason = "each test uses some of it")]
pub struct Table {
    pub userdata: Data,
    pub free: unsafe extern "C" fn(Data),
    pub socket: unsafe extern "C" fn(Data, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: unsafe extern "C" fn(Data, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(Data, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(Data, c_int, Data, usize) -> isize,
    pub readv: unsafe extern "C" fn(Data, c_int, *const iovec, c_int) -> isize,
    pub recv: unsafe extern "C" fn(Data, c_int, Data, usize, c_int) -> isize,
    pub recvfrom:
        unsafe extern "C" fn(Data, c_int, Data, usize, c_int, *mut sockaddr, *mut socklen_t) -> isize,
    pub recvmsg: unsafe extern "C" fn(Data, c_int, *mut msghdr, c_int) -> isize,
    pub write: unsafe extern "C" fn(Data, c_int, *const c_void, usize) -> isize,
    pub writev: unsafe extern "C" fn(Data, c_int, *const iovec, c_int) -> isize,
    pub send: unsafe extern "C" fn(Data, c_int, *const c_void, usize, c_int) -> isize,
    pub sendto:
        unsafe extern "C" fn(Data, c_int, *const c_void, usize, c_int, *const sockaddr, socklen_t) -> isize,
    pub sendmsg: unsafe extern "C" fn(Data, c_int, *const msghdr, c_int) -> isize,
    pub fcntl: unsafe extern "C" fn(Data, c_int, c_int, ...) -> c_int,
    pub ioctl: unsafe extern "C" fn(Data, c_int, c_ulong, ...) -> c_int,
    pub close: unsafe extern "C" fn(Data, c_int) -> c_int,
    pub shutdown: unsafe extern "C" fn(Data, c_int, c_int) -> c_int,
    pub getsockopt: unsafe extern "C" fn(Data, c_int, c_int, c_int, Data, *mut socklen_t) -> c_int,
    pub setsockopt: unsafe extern "C" fn(Data, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(Data, *mut pollfd, nfds_t, c_int) -> c_int,
    pub netdev_send: unsafe extern "C" fn(Data, *const c_void, usize) -> c_int,
    pub netdev_receive: unsafe extern "C" fn(Data, Data, *mut usize, *mut i64) -> c_int,
    pub usleep: unsafe extern "C" fn(Data, c_uint) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(Data, *mut timeval, *mut timezone) -> c_int,
    pub epoll_create: unsafe extern "C" fn(Data, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(Data, c_int, c_int, c_int, *mut epoll_event) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(Data, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(Data, *mut c_int) -> c_int,
    pub splice: unsafe extern "C" fn(Data, c_int, *mut loff_t, c_int, *mut loff_t, usize, c_uint) -> isize,
}

/// Where the tests' build leaves the object.
pub fn object() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let folder = own.parent().expect("a test lies in a folder");
    let found = [folder.join("libpacketdrill.so"), folder.with_file_name("libpacketdrill.so")];
    found.into_iter().find(|path| path.exists()).expect("the object is built with its tests")
}

/// The loaded plug-in. `Sync`: several threads may call it, as the contract says.
pub struct Host {
    pub table: Table,
}

// SAFETY: the table is read alone, and its functions may be called from any thread.
unsafe impl Sync for Host {}
// SAFETY: as above.
unsafe impl Send for Host {}

/// A result as POSIX has it: minus one and `errno`.
pub type Answer = Result<usize, i32>;

fn answer(result: i64) -> Answer {
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

macro_rules! call {
    ($host:expr, $name:ident $(, $argument:expr)*) => {{
        // SAFETY: arguments are numbers, or point to memory of the calling method that outlives the call.
        let result = unsafe { ($host.table.$name)($host.table.userdata $(, $argument)*) };
        answer(result as i64)
    }};
}

#[allow(dead_code, reason = "each test uses some of it")]
impl Host {
    /// Load the object, with these flags.
    pub fn load(flags: &str) -> Host {
        let path = CString::new(object().to_string_lossy().as_bytes()).expect("a path without a zero");
        // SAFETY: a C string; the object's constructors do nothing.
        let object = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!object.is_null(), "the object cannot be loaded");
        let name: &CStr = c"packetdrill_interface_init";
        // SAFETY: the object was loaded above.
        let symbol = unsafe { libc::dlsym(object, name.as_ptr()) };
        assert!(!symbol.is_null(), "the object has no packetdrill_interface_init");
        type Init = unsafe extern "C" fn(*const c_char, *mut Table);
        // SAFETY: the contract gives the function this type.
        let init = unsafe { core::mem::transmute::<*mut c_void, Init>(symbol) };
        let flags = CString::new(flags).expect("flags without a zero");
        let mut table = core::mem::MaybeUninit::<Table>::uninit();
        // SAFETY: a C string, and room for the table.
        unsafe { init(flags.as_ptr(), table.as_mut_ptr()) };
        // SAFETY: init has filled it.
        Host { table: unsafe { table.assume_init() } }
    }

    /// The usual host.
    pub fn new() -> Host {
        Host::load("local=192.168.0.1/16,gw=192.168.0.1,mtu=1500")
    }

    pub fn socket(&self) -> c_int {
        let fd = call!(self, socket, libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP);
        c_int::try_from(fd.expect("a socket")).expect("a small number")
    }

    pub fn datagram_socket(&self) -> c_int {
        let fd = call!(self, socket, libc::AF_INET, libc::SOCK_DGRAM, 0);
        c_int::try_from(fd.expect("a socket")).expect("a small number")
    }

    pub fn open(&self, domain: c_int, kind: c_int, protocol: c_int) -> Answer {
        call!(self, socket, domain, kind, protocol)
    }

    pub fn bind(&self, fd: c_int, ip: Ipv4Addr, port: u16) -> Answer {
        let address = address(ip, port);
        call!(self, bind, fd, (&raw const address).cast(), ADDRESS_LEN)
    }

    pub fn bind_ipv6(&self, fd: c_int, port: u16) -> Answer {
        let mut address = [0u8; 28];
        address[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&port.to_be_bytes());
        call!(self, bind, fd, address.as_ptr().cast(), 28)
    }

    pub fn listen(&self, fd: c_int, backlog: c_int) -> Answer {
        call!(self, listen, fd, backlog)
    }

    pub fn accept(&self, fd: c_int) -> Result<c_int, i32> {
        let (mut peer, mut len) = (address(Ipv4Addr::UNSPECIFIED, 0), ADDRESS_LEN);
        let fd = call!(self, accept, fd, (&raw mut peer).cast(), &raw mut len)?;
        assert_eq!((peer.sin_family, len), (libc::AF_INET as u16, ADDRESS_LEN));
        Ok(c_int::try_from(fd).expect("a small number"))
    }

    pub fn connect(&self, fd: c_int, ip: Ipv4Addr, port: u16) -> Answer {
        let address = address(ip, port);
        call!(self, connect, fd, (&raw const address).cast(), ADDRESS_LEN)
    }

    /// A connect to no address, by which a socket of datagrams forgets its peer.
    pub fn disconnect(&self, fd: c_int) -> Answer {
        let address = [0u8; 16];
        call!(self, connect, fd, address.as_ptr().cast(), ADDRESS_LEN)
    }

    pub fn read(&self, fd: c_int, most: usize) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0; most];
        let len = call!(self, read, fd, bytes.as_mut_ptr().cast(), most)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    pub fn recv(&self, fd: c_int, most: usize, flags: c_int) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0; most];
        let len = call!(self, recv, fd, bytes.as_mut_ptr().cast(), most, flags)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    pub fn write(&self, fd: c_int, bytes: &[u8]) -> Answer {
        call!(self, write, fd, bytes.as_ptr().cast(), bytes.len())
    }

    pub fn send(&self, fd: c_int, bytes: &[u8], flags: c_int) -> Answer {
        call!(self, send, fd, bytes.as_ptr().cast(), bytes.len(), flags)
    }

    pub fn send_to(&self, fd: c_int, bytes: &[u8], ip: Ipv4Addr, port: u16) -> Answer {
        let address = address(ip, port);
        let (data, len) = (bytes.as_ptr().cast(), bytes.len());
        call!(self, sendto, fd, data, len, 0, (&raw const address).cast(), ADDRESS_LEN)
    }

    pub fn writev(&self, fd: c_int, parts: &[&[u8]]) -> Answer {
        let vectors: Vec<iovec> = parts
            .iter()
            .map(|part| iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
            .collect();
        call!(self, writev, fd, vectors.as_ptr(), vectors.len() as c_int)
    }

    pub fn readv(&self, fd: c_int, lens: &[usize]) -> Result<Vec<Vec<u8>>, i32> {
        let mut parts: Vec<Vec<u8>> = lens.iter().map(|len| vec![0; *len]).collect();
        let vectors: Vec<iovec> = parts
            .iter_mut()
            .map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() })
            .collect();
        let mut left = call!(self, readv, fd, vectors.as_ptr(), vectors.len() as c_int)?;
        for part in &mut parts {
            part.truncate(left);
            left -= part.len();
        }
        Ok(parts)
    }

    pub fn sendmsg(&self, fd: c_int, bytes: &[u8], flags: c_int) -> Answer {
        let mut vector = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let message = message(&mut vector);
        call!(self, sendmsg, fd, &raw const message, flags)
    }

    pub fn recvmsg(&self, fd: c_int, most: usize, flags: c_int) -> Result<(Vec<u8>, c_int), i32> {
        let mut bytes = vec![0; most];
        let mut vector = iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: most };
        let mut message = message(&mut vector);
        let len = call!(self, recvmsg, fd, &raw mut message, flags)?;
        bytes.truncate(len);
        Ok((bytes, message.msg_flags))
    }

    pub fn close(&self, fd: c_int) -> Answer {
        call!(self, close, fd)
    }

    pub fn shutdown(&self, fd: c_int, how: c_int) -> Answer {
        call!(self, shutdown, fd, how)
    }

    pub fn set_nonblocking(&self, fd: c_int) {
        assert_eq!(call!(self, fcntl, fd, libc::F_SETFL, c_long::from(libc::O_NONBLOCK)), Ok(0));
        assert_eq!(call!(self, fcntl, fd, libc::F_GETFL), Ok((libc::O_RDWR | libc::O_NONBLOCK) as usize));
    }

    pub fn ioctl(&self, fd: c_int, request: c_ulong) -> Answer {
        let mut value: c_int = -1;
        call!(self, ioctl, fd, request, &raw mut value)?;
        Ok(value as usize)
    }

    pub fn set_option(&self, fd: c_int, level: c_int, name: c_int, value: &[c_int]) -> Answer {
        let len = size_of_val(value) as socklen_t;
        call!(self, setsockopt, fd, level, name, value.as_ptr().cast(), len)
    }

    pub fn option(&self, fd: c_int, level: c_int, name: c_int) -> Result<c_int, i32> {
        let bytes = self.option_bytes(fd, level, name, 4)?;
        Ok(c_int::from_ne_bytes(*bytes.first_chunk().expect("an int")))
    }

    pub fn option_bytes(&self, fd: c_int, level: c_int, name: c_int, room: usize) -> Result<Vec<u8>, i32> {
        let (mut bytes, mut len) = (vec![0; room], room as socklen_t);
        call!(self, getsockopt, fd, level, name, bytes.as_mut_ptr().cast(), &raw mut len)?;
        bytes.truncate(len as usize);
        Ok(bytes)
    }

    pub fn poll(&self, fd: c_int, events: i16, timeout: c_int) -> Result<i16, i32> {
        let mut polled = pollfd { fd, events, revents: 0 };
        call!(self, poll, &raw mut polled, 1, timeout)?;
        Ok(polled.revents)
    }

    pub fn epoll_create(&self) -> c_int {
        c_int::try_from(call!(self, epoll_create, 1).expect("a set")).expect("a small number")
    }

    pub fn epoll_ctl(&self, set: c_int, op: c_int, fd: c_int, events: c_int) -> Answer {
        let mut event = epoll_event { events: events as u32, u64: fd as u64 };
        call!(self, epoll_ctl, set, op, fd, &raw mut event)
    }

    pub fn epoll_wait(&self, set: c_int, timeout: c_int) -> Result<Vec<(c_int, u32)>, i32> {
        let mut events = [epoll_event { events: 0, u64: 0 }; 8];
        let count = call!(self, epoll_wait, set, events.as_mut_ptr(), 8, timeout)?;
        Ok(events[..count].iter().map(|event| (event.u64 as c_int, event.events)).collect())
    }

    pub fn pipe(&self) -> (c_int, c_int) {
        let mut ends = [0; 2];
        assert_eq!(call!(self, pipe, ends.as_mut_ptr()), Ok(0));
        (ends[0], ends[1])
    }

    pub fn splice(&self, from: c_int, to: c_int, len: usize) -> Answer {
        call!(self, splice, from, null_mut(), to, null_mut(), len, 0)
    }

    /// Microseconds.
    pub fn now(&self) -> i64 {
        let mut time = timeval { tv_sec: 0, tv_usec: 0 };
        assert_eq!(call!(self, gettimeofday, &raw mut time, null_mut()), Ok(0));
        time.tv_sec * 1_000_000 + time.tv_usec
    }

    pub fn sleep(&self, us: c_uint) {
        assert_eq!(call!(self, usleep, us), Ok(0));
    }

    /// Hand a packet in.
    pub fn inject(&self, packet: &[u8]) {
        assert_eq!(call!(self, netdev_send, packet.as_ptr().cast(), packet.len()), Ok(0));
    }

    /// The next packet that was sent, and when; `None` after five seconds without one.
    pub fn sniff(&self) -> Option<(i64, Vec<u8>)> {
        let (mut bytes, mut len, mut at) = (vec![0; 65_536], 65_536, 0);
        let (place, length) = (bytes.as_mut_ptr().cast(), &raw mut len);
        assert_eq!(call!(self, netdev_receive, place, length, &raw mut at), Ok(0));
        bytes.truncate(len);
        (len > 0).then_some((at, bytes))
    }

    /// Call a function with a descriptor that it does not have, and one it is no function of.
    pub fn free(self) {
        // SAFETY: the host is not used again.
        unsafe { (self.table.free)(self.table.userdata) };
    }
}

fn message(vector: &mut iovec) -> msghdr {
    msghdr {
        msg_name: null_mut(),
        msg_namelen: 0,
        msg_iov: vector,
        msg_iovlen: 1,
        msg_control: null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

const ADDRESS_LEN: socklen_t = size_of::<sockaddr_in>() as socklen_t;

fn address(ip: Ipv4Addr, port: u16) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
        sin_zero: [0; 8],
    }
}

/// Libc's `getsockopt`, as callers use it beside the table: `TCP_INFO`'s length.
#[allow(dead_code, reason = "one test's")]
pub fn libc_info_len(fd: c_int) -> Answer {
    let (mut bytes, mut len) = ([0u8; 512], 512);
    // SAFETY: room of the length that is beside it.
    let result = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, bytes.as_mut_ptr().cast(), &mut len)
    };
    answer(i64::from(result)).map(|_| len as usize)
}

/// Libc's `close`.
#[allow(dead_code, reason = "one test's")]
pub fn libc_close(fd: c_int) -> Answer {
    // SAFETY: the number is the test's.
    answer(i64::from(unsafe { libc::close(fd) }))
}

/// The calling thread's number, and whether a thread sleeps, as `/proc` tells.
#[allow(dead_code, reason = "one test's")]
pub fn thread() -> i32 {
    // SAFETY: the call takes nothing.
    unsafe { libc::gettid() }
}

/// See [`thread`].
#[allow(dead_code, reason = "one test's")]
pub fn is_asleep(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// Nothing: arguments of functions that take a pointer.
#[allow(dead_code, reason = "one test's")]
pub const NOTHING: *const c_void = null();
