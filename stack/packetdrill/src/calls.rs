//! The functions on descriptors: sockets come to be, connect, change and go. What they carry is in `messages`, what waits
//! for several in `waiting`.

pub mod messages;
pub mod waiting;

use core::ffi::{c_int, c_long, c_ulong, c_void};
use core::time::Duration;

use libc::{sockaddr, socklen_t};
use stack::poll::{Closing, Descriptor, Errno, Family, Kind, level, name};
use stack::socket::{TcpInfo, TcpState};

use crate::address;
use crate::boundary::{self, call, input, load, output, store};
use crate::host::{File, Object, World};
use crate::info;
use crate::numbers;
use crate::waiting::{Answer, Attempt, Guard, Host, Try};

/// The host goes.
///
/// # Safety
///
/// As of [`boundary::free`].
pub unsafe extern "C" fn free(userdata: *mut c_void) {
    // SAFETY: the caller's promise is the same.
    unsafe { boundary::free(userdata) }
}

/// A new number for an object.
fn open(world: &mut World, host: *const Host, object: Object, nonblocking: bool) -> Result<c_int, Errno> {
    let fd = numbers::take(host)?;
    world.files.insert(fd, File { object, nonblocking });
    Ok(fd)
}

/// How long a call on a number may wait: not at all, so long as its option says, or (`None`) for ever.
fn patience(world: &World, fd: c_int, reads: bool, dont_wait: bool) -> Result<Option<Duration>, Errno> {
    let file = world.file(fd)?;
    if file.nonblocking || dont_wait {
        return Ok(Some(Duration::ZERO));
    }
    let Object::Socket(descriptor) = file.object else { return Ok(None) };
    let (to_read, to_write) = world.poller.patience(descriptor);
    Ok(Some(if reads { to_read } else { to_write }).filter(|patience| !patience.is_zero()))
}

pub unsafe extern "C" fn socket(userdata: *mut c_void, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let work = |mut guard: Guard<'_>, host| {
        let family = match domain {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 => Family::V6,
            _ => return Err(Errno::NoFamily),
        };
        let what = match (kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Kind::Stream,
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Kind::Datagram,
            (libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_RAW, _) => return Err(Errno::NoProtocol),
            _ => return Err(Errno::NoSocketType),
        };
        guard.with(|world| {
            world.configure();
            let descriptor = world.poller.open(what, family)?;
            open(world, host, Object::Socket(descriptor), kind & libc::SOCK_NONBLOCK != 0)
        })
    };
    // SAFETY: the table's, as the caller of the table promises.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn bind(
    userdata: *mut c_void,
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: an address of this length, as bind() takes it.
    let bytes = unsafe { input(address.cast(), len as usize) };
    let work = |mut guard: Guard<'_>, _| {
        let address = address::parse(bytes?)?;
        guard.with(|world| {
            let descriptor = world.socket(fd)?;
            world.poller.bind(&mut world.lane, descriptor, address).map(|()| 0)
        })
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        guard.with(|world| {
            let descriptor = world.socket(fd)?;
            world.poller.listen(&mut world.lane, descriptor, backlog).map(|()| 0)
        })
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn accept(
    userdata: *mut c_void,
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let work = |mut guard: Guard<'_>, host| {
        let at_most = patience(guard.world(), fd, true, false)?;
        let attempt: Attempt = Box::new(move |world, _| {
            let listener = world.socket(fd)?;
            let (child, peer) = world.poller.accept(&mut world.lane, listener)?;
            let bytes = address::emit(peer, world.poller.family(listener)?);
            let number = open(world, host, Object::Socket(child), false)?;
            Ok(Answer::Accepted(number, bytes))
        });
        match guard.wait(at_most, attempt)? {
            Answer::Accepted(number, bytes) => {
                // SAFETY: null, or room of the length that is beside it, as accept() takes them.
                unsafe { put_address(address, len, &bytes) }?;
                Ok(number)
            }
            _ => Err(Errno::NotRecoverable),
        }
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

/// Write an address where the caller wants it, and its whole length beside it.
///
/// # Safety
///
/// `place` is null, or `len` points to the length of the room it points to.
unsafe fn put_address(place: *mut sockaddr, len: *mut socklen_t, bytes: &[u8]) -> Result<(), Errno> {
    if place.is_null() {
        return Ok(());
    }
    // SAFETY: the length is there, by the caller's promise.
    let room = unsafe { load(len) }?;
    // SAFETY: so is the room.
    unsafe { output(place.cast(), room as usize, bytes) }?;
    // SAFETY: the length is there.
    unsafe { store(len, socklen_t::try_from(bytes.len()).unwrap_or(0)) }
}

pub unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: an address of this length, as connect() takes it.
    let bytes = unsafe { input(address.cast(), len as usize) };
    let work = |mut guard: Guard<'_>, _| {
        let bytes = bytes?;
        if address::is_unspecified(bytes) {
            let forgotten = guard.with(|world| {
                let descriptor = world.socket(fd)?;
                world.poller.disconnect(&mut world.lane, descriptor)
            });
            return forgotten.map(|()| 0);
        }
        let address = address::parse(bytes)?;
        let at_most = patience(guard.world(), fd, false, false)?;
        let begun = guard.with(|world| {
            let descriptor = world.socket(fd)?;
            world.poller.connect(&mut world.lane, descriptor, address)
        });
        match begun {
            Err(Errno::InProgress) if at_most != Some(Duration::ZERO) => {}
            result => return result.map(|()| 0),
        }
        let attempt: Attempt = Box::new(move |world, _| {
            let descriptor = world.socket(fd)?;
            world.poller.connected(descriptor).map(|()| Answer::Done)
        });
        guard.wait(at_most, attempt).map(|_| 0)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn fcntl(userdata: *mut c_void, fd: c_int, command: c_int, argument: c_long) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        let file = guard.world().files.get_mut(&fd).ok_or(Errno::BadDescriptor)?;
        match command {
            libc::F_GETFL => Ok(libc::O_RDWR | if file.nonblocking { libc::O_NONBLOCK } else { 0 }),
            libc::F_SETFL => {
                file.nonblocking = argument & c_long::from(libc::O_NONBLOCK) != 0;
                Ok(0)
            }
            libc::F_GETFD | libc::F_SETFD => Ok(0),
            _ => Err(Errno::Invalid),
        }
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

/// Bytes that were written and not sent: Linux's own, which libc does not name.
const SIOCOUTQNSD: c_ulong = 0x894b;

/// Whether the next byte is the urgent one.
const SIOCATMARK: c_ulong = 0x8905;

pub unsafe extern "C" fn ioctl(
    userdata: *mut c_void,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_int,
) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        let object = guard.world().file(fd)?.object;
        let value = guard.with(|world| match (object, request) {
            (_, libc::FIONBIO) => Ok(None),
            (Object::Socket(socket), libc::FIONREAD) => world.poller.unread(socket).map(Some),
            (Object::Socket(socket), libc::TIOCOUTQ) => {
                world.poller.unacknowledged(&mut world.lane, socket).map(|(all, _)| Some(all as usize))
            }
            (Object::Socket(socket), SIOCOUTQNSD) => {
                world.poller.unacknowledged(&mut world.lane, socket).map(|(_, unsent)| Some(unsent as usize))
            }
            (Object::Socket(socket), SIOCATMARK) => {
                world.poller.is_at_mark(socket).map(|at| Some(usize::from(at)))
            }
            (Object::Pipe(end), libc::FIONREAD) => Ok(Some(end.peek(usize::MAX).len())),
            _ => Err(Errno::NotForThis),
        })?;
        match value {
            // SAFETY: these requests take a pointer to an int.
            Some(value) => unsafe { store(argument, c_int::try_from(value).unwrap_or(c_int::MAX)) }?,
            None => {
                // SAFETY: so does this one.
                let on = unsafe { load(argument) }? != 0;
                if let Some(file) = guard.world().files.get_mut(&fd) {
                    file.nonblocking = on;
                }
            }
        }
        Ok(0)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    // SAFETY: the table's.
    unsafe { call(userdata, |guard, _| close_number(guard, fd)) }
}

/// Close a number: now, or once its socket has lingered.
pub fn close_number(mut guard: Guard<'_>, fd: c_int) -> Result<c_int, Errno> {
    let object = guard.world().file(fd)?.object;
    let closing = guard.with(|world| match &object {
        Object::Socket(descriptor) => world.poller.close(&mut world.lane, *descriptor),
        Object::Set(set) => world.poller.close_set(*set).map(|()| Closing::Done),
        Object::Pipe(end) => {
            end.close();
            Ok(Closing::Done)
        }
    })?;
    let done = move |world: &mut World| {
        world.files.remove(&fd);
        numbers::release(fd);
    };
    match (closing, object) {
        (Closing::Lingers(at_most), Object::Socket(descriptor)) => {
            let attempt: Attempt = Box::new(move |world, when| {
                if when == Try::Once && !world.poller.has_lingered(&mut world.lane, descriptor) {
                    return Err(Errno::Again);
                }
                let _ = world.poller.close(&mut world.lane, descriptor);
                done(world);
                Ok(Answer::Done)
            });
            guard.wait(Some(at_most), attempt).map(|_| 0)
        }
        _ => {
            done(guard.world());
            Ok(0)
        }
    }
}

pub unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        let (read, write) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno::Invalid),
        };
        guard.with(|world| {
            let descriptor = world.socket(fd)?;
            world.poller.shutdown(&mut world.lane, descriptor, read, write).map(|()| 0)
        })
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let work = |guard: Guard<'_>, _| {
        // SAFETY: room of the length that is beside it, as getsockopt() takes them.
        unsafe { option(guard, fd, level, name, value, len) }
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

/// Read an option.
///
/// # Safety
///
/// `len` is null or points to the length of the room that `value` points to.
pub unsafe fn option(
    mut guard: Guard<'_>,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Result<c_int, Errno> {
    // SAFETY: the caller's promise.
    let room = unsafe { load(len) }?;
    let room = usize::try_from(room.cast_signed()).map_err(|_| Errno::Invalid)?;
    let bytes = guard.with(|world| {
        let descriptor = world.socket(fd)?;
        if (level, name) == (level::TCP, name::TCP_INFO) {
            return tcp_info(world, descriptor);
        }
        world.poller.option(&mut world.lane, descriptor, level, name)
    })?;
    // SAFETY: the caller's promise.
    let copied = unsafe { output(value, room, &bytes) }?;
    // SAFETY: the length was read from there.
    unsafe { store(len, socklen_t::try_from(copied).unwrap_or(0)) }?;
    Ok(0)
}

fn tcp_info(world: &mut World, descriptor: Descriptor) -> Result<Vec<u8>, Errno> {
    let info = match world.poller.tcp_info(&mut world.lane, descriptor)? {
        Some(info) => info,
        None => {
            let mut info = TcpInfo::default();
            info.state = if world.poller.is_listening(descriptor) {
                TcpState::Listen
            } else if world.poller.is_connecting(descriptor) {
                TcpState::SynSent
            } else {
                TcpState::Closed
            };
            info
        }
    };
    Ok(info::tcp_info(&info))
}

pub unsafe extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: a value of this length, as setsockopt() takes it.
    let bytes = unsafe { input(value, len as usize) };
    let work = |mut guard: Guard<'_>, _| {
        let _ = usize::try_from(len.cast_signed()).map_err(|_| Errno::Invalid)?;
        let bytes = bytes?;
        guard.with(|world| {
            let descriptor = world.socket(fd)?;
            world.poller.set_option(&mut world.lane, descriptor, level, name, bytes).map(|()| 0)
        })
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}
