//! The plug-in as its users meet it: a shared object with one function, which fills a table of 32.
//! Each method here is that function of the table, with slices for pointers and results for error numbers.

use core::ffi::{CStr, c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void};
use std::ffi::CString;
use std::path::Path;

use libc::{
    epoll_event, iovec, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval, timezone,
};

type User = *mut c_void;

/// `struct packetdrill_interface`.
#[repr(C)]
struct Table {
    userdata: User,
    free: Option<unsafe extern "C" fn(User)>,
    socket: Option<unsafe extern "C" fn(User, c_int, c_int, c_int) -> c_int>,
    bind: Option<unsafe extern "C" fn(User, c_int, *const sockaddr, socklen_t) -> c_int>,
    listen: Option<unsafe extern "C" fn(User, c_int, c_int) -> c_int>,
    accept: Option<unsafe extern "C" fn(User, c_int, *mut sockaddr, *mut socklen_t) -> c_int>,
    connect: Option<unsafe extern "C" fn(User, c_int, *const sockaddr, socklen_t) -> c_int>,
    read: Option<unsafe extern "C" fn(User, c_int, *mut c_void, size_t) -> ssize_t>,
    readv: Option<unsafe extern "C" fn(User, c_int, *const iovec, c_int) -> ssize_t>,
    recv: Option<unsafe extern "C" fn(User, c_int, *mut c_void, size_t, c_int) -> ssize_t>,
    recvfrom: Option<
        unsafe extern "C" fn(
            User,
            c_int,
            *mut c_void,
            size_t,
            c_int,
            *mut sockaddr,
            *mut socklen_t,
        ) -> ssize_t,
    >,
    recvmsg: Option<unsafe extern "C" fn(User, c_int, *mut msghdr, c_int) -> ssize_t>,
    write: Option<unsafe extern "C" fn(User, c_int, *const c_void, size_t) -> ssize_t>,
    writev: Option<unsafe extern "C" fn(User, c_int, *const iovec, c_int) -> ssize_t>,
    send: Option<unsafe extern "C" fn(User, c_int, *const c_void, size_t, c_int) -> ssize_t>,
    sendto: Option<
        unsafe extern "C" fn(
            User,
            c_int,
            *const c_void,
            size_t,
            c_int,
            *const sockaddr,
            socklen_t,
        ) -> ssize_t,
    >,
    sendmsg: Option<unsafe extern "C" fn(User, c_int, *const msghdr, c_int) -> ssize_t>,
    fcntl: Option<unsafe extern "C" fn(User, c_int, c_int, ...) -> c_int>,
    ioctl: Option<unsafe extern "C" fn(User, c_int, c_ulong, ...) -> c_int>,
    close: Option<unsafe extern "C" fn(User, c_int) -> c_int>,
    shutdown: Option<unsafe extern "C" fn(User, c_int, c_int) -> c_int>,
    getsockopt: Option<unsafe extern "C" fn(User, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int>,
    setsockopt: Option<unsafe extern "C" fn(User, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int>,
    poll: Option<unsafe extern "C" fn(User, *mut pollfd, nfds_t, c_int) -> c_int>,
    netdev_send: Option<unsafe extern "C" fn(User, *const c_void, size_t) -> c_int>,
    netdev_receive: Option<unsafe extern "C" fn(User, *mut c_void, *mut size_t, *mut c_longlong) -> c_int>,
    usleep: Option<unsafe extern "C" fn(User, c_uint) -> c_int>,
    gettimeofday: Option<unsafe extern "C" fn(User, *mut timeval, *mut timezone) -> c_int>,
    epoll_create: Option<unsafe extern "C" fn(User, c_int) -> c_int>,
    epoll_ctl: Option<unsafe extern "C" fn(User, c_int, c_int, c_int, *mut epoll_event) -> c_int>,
    epoll_wait: Option<unsafe extern "C" fn(User, c_int, *mut epoll_event, c_int, c_int) -> c_int>,
    pipe: Option<unsafe extern "C" fn(User, *mut c_int) -> c_int>,
    splice: Option<unsafe extern "C" fn(User, c_int, *mut i64, c_int, *mut i64, size_t, c_uint) -> ssize_t>,
}

type Init = unsafe extern "C" fn(*const c_char, *mut Table);

/// A loaded plug-in.
pub struct Interface {
    table: Table,
}

// SAFETY: the contract has calls of one instance come from two threads at once; the object locks for itself.
unsafe impl Send for Interface {}
// SAFETY: as above.
unsafe impl Sync for Interface {}

/// What a call returned, or the error number.
pub type Answer = Result<i64, i32>;

/// The calling thread's error number.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn answer(returned: impl Into<i64>) -> Answer {
    let returned = returned.into();
    if returned < 0 { Err(errno()) } else { Ok(returned) }
}

/// A length as C's `int` or `socklen_t` has it; what is longer is not meant.
fn clipped<T: TryFrom<usize> + Default>(len: usize) -> T {
    T::try_from(len).unwrap_or_default()
}

/// Call a function of the table.
macro_rules! call {
    ($self:ident . $name:ident ( $($argument:expr),* )) => {{
        let function = $self.table.$name.expect("the plug-in fills its whole table");
        // SAFETY: the function has this signature by contract, and every pointer given is to memory of the length given
        // beside it, alive for the length of the call.
        unsafe { function($self.table.userdata $(, $argument)*) }
    }};
}

/// `struct iovec`s over buffers.
fn vectors(parts: &mut [Vec<u8>]) -> Vec<iovec> {
    parts.iter_mut().map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() }).collect()
}

fn message(address: &mut [u8], vectors: &mut [iovec]) -> msghdr {
    // SAFETY: all fields of the structure are integers and pointers, for which zero is a value.
    let mut message: msghdr = unsafe { core::mem::zeroed() };
    if !address.is_empty() {
        message.msg_name = address.as_mut_ptr().cast();
        message.msg_namelen = clipped(address.len());
    }
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    message
}

impl Interface {
    /// Load an object, and let it fill the table. Errors: what the loader says.
    pub fn load(object: &Path, flags: &str) -> Result<Interface, String> {
        let path = CString::new(object.to_string_lossy().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the path is a C string. What the object does as it is loaded is the platform's start-up code.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return Err(loader_error());
        }
        // SAFETY: the handle is an open one, and the name a C string.
        let symbol = unsafe { libc::dlsym(handle, c"packetdrill_interface_init".as_ptr()) };
        if symbol.is_null() {
            return Err(loader_error());
        }
        // SAFETY: by contract the symbol is a function of this type, and the object is never unloaded.
        let init = unsafe { core::mem::transmute::<*mut c_void, Init>(symbol) };
        let flags = CString::new(flags).map_err(|error| error.to_string())?;
        // SAFETY: null function pointers are `None`, and a null `userdata` is a value.
        let mut table: Table = unsafe { core::mem::zeroed() };
        // SAFETY: both arguments live as long as the call, which writes no more than the table.
        unsafe { init(flags.as_ptr(), &mut table) };
        Ok(Interface { table })
    }

    pub fn free(&self) {
        call!(self.free());
    }

    pub fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Answer {
        answer(call!(self.socket(domain, kind, protocol)))
    }

    pub fn bind(&self, fd: i32, address: &[u8]) -> Answer {
        answer(call!(self.bind(fd, address.as_ptr().cast(), clipped(address.len()))))
    }

    pub fn listen(&self, fd: i32, backlog: i32) -> Answer {
        answer(call!(self.listen(fd, backlog)))
    }

    pub fn accept(&self, fd: i32, address: &mut [u8]) -> Answer {
        let mut len: socklen_t = clipped(address.len());
        answer(call!(self.accept(fd, address.as_mut_ptr().cast(), &mut len)))
    }

    pub fn connect(&self, fd: i32, address: &[u8]) -> Answer {
        answer(call!(self.connect(fd, address.as_ptr().cast(), clipped(address.len()))))
    }

    pub fn read(&self, fd: i32, buffer: &mut [u8]) -> Answer {
        size(call!(self.read(fd, buffer.as_mut_ptr().cast(), buffer.len())))
    }

    pub fn readv(&self, fd: i32, parts: &mut [Vec<u8>]) -> Answer {
        let vectors = vectors(parts);
        size(call!(self.readv(fd, vectors.as_ptr(), clipped(vectors.len()))))
    }

    pub fn recv(&self, fd: i32, buffer: &mut [u8], flags: i32) -> Answer {
        size(call!(self.recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags)))
    }

    pub fn recvfrom(&self, fd: i32, buffer: &mut [u8], flags: i32, address: &mut [u8]) -> Answer {
        let mut len: socklen_t = clipped(address.len());
        let (bytes, room) = (buffer.as_mut_ptr().cast(), buffer.len());
        size(call!(self.recvfrom(fd, bytes, room, flags, address.as_mut_ptr().cast(), &mut len)))
    }

    /// Returns what the call does, and the flags it left.
    pub fn recvmsg(&self, fd: i32, parts: &mut [Vec<u8>], flags: i32, address: &mut [u8]) -> (Answer, i32) {
        let mut vectors = vectors(parts);
        let mut message = message(address, &mut vectors);
        let returned = size(call!(self.recvmsg(fd, &mut message, flags)));
        (returned, message.msg_flags)
    }

    pub fn write(&self, fd: i32, bytes: &[u8]) -> Answer {
        size(call!(self.write(fd, bytes.as_ptr().cast(), bytes.len())))
    }

    pub fn writev(&self, fd: i32, parts: &mut [Vec<u8>]) -> Answer {
        let vectors = vectors(parts);
        size(call!(self.writev(fd, vectors.as_ptr(), clipped(vectors.len()))))
    }

    pub fn send(&self, fd: i32, bytes: &[u8], flags: i32) -> Answer {
        size(call!(self.send(fd, bytes.as_ptr().cast(), bytes.len(), flags)))
    }

    pub fn sendto(&self, fd: i32, bytes: &[u8], flags: i32, address: &[u8]) -> Answer {
        let (pointer, len) = (bytes.as_ptr().cast(), bytes.len());
        size(call!(self.sendto(fd, pointer, len, flags, address.as_ptr().cast(), clipped(address.len()))))
    }

    pub fn sendmsg(&self, fd: i32, parts: &mut [Vec<u8>], flags: i32, address: &mut [u8]) -> Answer {
        let mut vectors = vectors(parts);
        let message = message(address, &mut vectors);
        size(call!(self.sendmsg(fd, &message, flags)))
    }

    pub fn fcntl(&self, fd: i32, command: i32, argument: c_long) -> Answer {
        answer(call!(self.fcntl(fd, command, argument)))
    }

    /// `value` is what the request points to, before and after.
    pub fn ioctl(&self, fd: i32, request: u64, value: &mut c_int) -> Answer {
        answer(call!(self.ioctl(fd, request, core::ptr::from_mut(value))))
    }

    pub fn close(&self, fd: i32) -> Answer {
        answer(call!(self.close(fd)))
    }

    pub fn shutdown(&self, fd: i32, how: i32) -> Answer {
        answer(call!(self.shutdown(fd, how)))
    }

    /// Returns what the call does, and how much of `value` it filled.
    pub fn getsockopt(&self, fd: i32, level: i32, name: i32, value: &mut [u8]) -> (Answer, usize) {
        let mut len: socklen_t = clipped(value.len());
        let returned = answer(call!(self.getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut len)));
        (returned, usize::try_from(len).unwrap_or(usize::MAX))
    }

    pub fn setsockopt(&self, fd: i32, level: i32, name: i32, value: &[u8]) -> Answer {
        answer(call!(self.setsockopt(fd, level, name, value.as_ptr().cast(), clipped(value.len()))))
    }

    pub fn poll(&self, fds: &mut [pollfd], timeout_ms: i32) -> Answer {
        answer(call!(self.poll(fds.as_mut_ptr(), clipped(fds.len()), timeout_ms)))
    }

    pub fn netdev_send(&self, packet: &[u8]) -> Answer {
        answer(call!(self.netdev_send(packet.as_ptr().cast(), packet.len())))
    }

    /// The next packet and the time at which it was sent. `None`: there was none for some seconds.
    pub fn netdev_receive(&self) -> Result<Option<(Vec<u8>, i64)>, i32> {
        let mut packet = vec![0; 65_536];
        let mut len = packet.len();
        let mut micros: c_longlong = 0;
        answer(call!(self.netdev_receive(packet.as_mut_ptr().cast(), &mut len, &mut micros)))?;
        packet.truncate(len);
        Ok((len > 0).then_some((packet, micros)))
    }

    pub fn usleep(&self, micros: u32) -> Answer {
        answer(call!(self.usleep(micros)))
    }

    /// The stack's clock. Units: microseconds.
    pub fn now(&self) -> i64 {
        let mut time = timeval { tv_sec: 0, tv_usec: 0 };
        let returned = call!(self.gettimeofday(&mut time, core::ptr::null_mut()));
        assert_eq!(returned, 0, "the clock can always be read");
        time.tv_sec * 1_000_000 + time.tv_usec
    }

    pub fn epoll_create(&self, size: i32) -> Answer {
        answer(call!(self.epoll_create(size)))
    }

    pub fn epoll_ctl(&self, epoll: i32, op: i32, fd: i32, event: &mut epoll_event) -> Answer {
        answer(call!(self.epoll_ctl(epoll, op, fd, event)))
    }

    pub fn epoll_wait(&self, epoll: i32, events: &mut [epoll_event], timeout_ms: i32) -> Answer {
        answer(call!(self.epoll_wait(epoll, events.as_mut_ptr(), clipped(events.len()), timeout_ms)))
    }

    pub fn pipe(&self, ends: &mut [i32; 2]) -> Answer {
        answer(call!(self.pipe(ends.as_mut_ptr())))
    }

    pub fn splice(&self, from: i32, to: i32, len: usize, flags: u32) -> Answer {
        let none = core::ptr::null_mut();
        size(call!(self.splice(from, none, to, none, len, flags)))
    }
}

fn size(returned: ssize_t) -> Answer {
    answer(i64::try_from(returned).unwrap_or(-1))
}

fn loader_error() -> String {
    // SAFETY: the function takes nothing, and what it returns stays until this thread's next call of the loader.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader failed and does not say why".to_owned();
    }
    // SAFETY: a C string, as just said.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The kernel's number of the calling thread.
pub fn thread_number() -> i32 {
    // SAFETY: the function takes nothing and only returns a number.
    unsafe { libc::gettid() }
}
