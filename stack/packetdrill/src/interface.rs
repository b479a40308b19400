//! The table of functions that packetdrill is given, in its order.

use core::ffi::{c_int, c_long, c_uint, c_ulong, c_void};

use libc::{epoll_event, iovec, loff_t, msghdr, nfds_t, pollfd, sockaddr, socklen_t, timeval, timezone};

use crate::calls::{self, messages, waiting};

type Data = *mut c_void;
type Bytes = *const c_void;

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident: $place:path = fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// `struct packetdrill_interface`.
        #[repr(C)]
        #[expect(missing_docs, reason = "each function is named as in C")]
        pub struct Interface {
            pub userdata: *mut c_void,
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Interface {
            /// The table for a host.
            pub(crate) fn new(userdata: *mut c_void) -> Interface {
                Interface { userdata, $($name: $place,)* }
            }
        }
    };
}

// `fcntl` and `ioctl` are variadic in C. On the ABIs of x86-64 and ARM64 Linux, a caller passes an integer or a pointer
// to a variadic function in the register where a fixed parameter is looked for.
table! {
    free: calls::free = fn(Data);
    socket: calls::socket = fn(Data, c_int, c_int, c_int) -> c_int;
    bind: calls::bind = fn(Data, c_int, *const sockaddr, socklen_t) -> c_int;
    listen: calls::listen = fn(Data, c_int, c_int) -> c_int;
    accept: calls::accept = fn(Data, c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    connect: calls::connect = fn(Data, c_int, *const sockaddr, socklen_t) -> c_int;
    read: messages::read = fn(Data, c_int, Data, usize) -> isize;
    readv: messages::readv = fn(Data, c_int, *const iovec, c_int) -> isize;
    recv: messages::recv = fn(Data, c_int, Data, usize, c_int) -> isize;
    recvfrom: messages::recvfrom = fn(Data, c_int, Data, usize, c_int, *mut sockaddr, *mut socklen_t) -> isize;
    recvmsg: messages::recvmsg = fn(Data, c_int, *mut msghdr, c_int) -> isize;
    write: messages::write = fn(Data, c_int, Bytes, usize) -> isize;
    writev: messages::writev = fn(Data, c_int, *const iovec, c_int) -> isize;
    send: messages::send = fn(Data, c_int, Bytes, usize, c_int) -> isize;
    sendto: messages::sendto = fn(Data, c_int, Bytes, usize, c_int, *const sockaddr, socklen_t) -> isize;
    sendmsg: messages::sendmsg = fn(Data, c_int, *const msghdr, c_int) -> isize;
    fcntl: calls::fcntl = fn(Data, c_int, c_int, c_long) -> c_int;
    ioctl: calls::ioctl = fn(Data, c_int, c_ulong, *mut c_int) -> c_int;
    close: calls::close = fn(Data, c_int) -> c_int;
    shutdown: calls::shutdown = fn(Data, c_int, c_int) -> c_int;
    getsockopt: calls::getsockopt = fn(Data, c_int, c_int, c_int, Data, *mut socklen_t) -> c_int;
    setsockopt: calls::setsockopt = fn(Data, c_int, c_int, c_int, Bytes, socklen_t) -> c_int;
    poll: waiting::poll = fn(Data, *mut pollfd, nfds_t, c_int) -> c_int;
    netdev_send: waiting::netdev_send = fn(Data, Bytes, usize) -> c_int;
    netdev_receive: waiting::netdev_receive = fn(Data, Data, *mut usize, *mut i64) -> c_int;
    usleep: waiting::usleep = fn(Data, c_uint) -> c_int;
    gettimeofday: waiting::gettimeofday = fn(Data, *mut timeval, *mut timezone) -> c_int;
    epoll_create: waiting::epoll_create = fn(Data, c_int) -> c_int;
    epoll_ctl: waiting::epoll_ctl = fn(Data, c_int, c_int, c_int, *mut epoll_event) -> c_int;
    epoll_wait: waiting::epoll_wait = fn(Data, c_int, *mut epoll_event, c_int, c_int) -> c_int;
    pipe: waiting::pipe = fn(Data, *mut c_int) -> c_int;
    splice: waiting::splice = fn(Data, c_int, *mut loff_t, c_int, *mut loff_t, usize, c_uint) -> isize;
}
