//! The functions that read and write, in all the forms C has for it.

use core::ffi::{c_int, c_void};

use libc::{iovec, msghdr, sockaddr, socklen_t};
use stack::poll::{Errno, Flags};

use super::{patience, put_address};
use crate::address;
use crate::boundary::{call, input, load, output, store};
use crate::host::{Object, World};
use crate::waiting::{Answer, Attempt, Guard, Try};

/// Most bytes of one call: Linux's MAX_RW_COUNT is more, but what is asked for is made room for here.
const CALL_BYTES_MAX: usize = 64 << 20;

/// Most vectors of one call, as on Linux.
const VECTORS_MAX: c_int = 1024;

/// What was read: the bytes, how many there would have been, and who sent them.
type Taken = (Vec<u8>, usize, Option<Vec<u8>>);

/// Read at most `most` bytes.
fn receive(
    mut guard: Guard<'_>,
    fd: c_int,
    most: usize,
    flags: c_int,
    is_recv: bool,
) -> Result<Taken, Errno> {
    let flags = Flags(flags.cast_unsigned());
    let at_most = patience(guard.world(), fd, true, flags.any(Flags::DONT_WAIT | Flags::ERROR_QUEUE))?;
    let attempt: Attempt = Box::new(move |world, when| {
        let flags = if when == Try::Last { flags | Flags::DONT_WAIT } else { flags };
        try_receive(world, fd, most.min(CALL_BYTES_MAX), flags, is_recv)
    });
    match guard.wait(at_most, attempt)? {
        Answer::Bytes(bytes, whole, from) => Ok((bytes, whole, from)),
        _ => Err(Errno::NotRecoverable),
    }
}

fn try_receive(
    world: &mut World,
    fd: c_int,
    most: usize,
    flags: Flags,
    is_recv: bool,
) -> Result<Answer, Errno> {
    let (len, whole, from);
    let mut bytes = Vec::new();
    match world.file(fd)?.object {
        Object::Socket(socket) if world.poller.is_datagram(socket) => {
            bytes = vec![0; most.min(65_536)];
            let peer;
            (len, whole, peer) = world.poller.read_from(socket, &mut bytes, flags)?;
            from = Some(address::emit(peer, world.poller.family(socket)?));
        }
        Object::Socket(socket) => {
            // Room for what is there: what is asked for may be far more.
            let there = world.poller.received(socket);
            let all = flags.any(Flags::WAIT_ALL | Flags::OUT_OF_BAND);
            let room = if all { most } else { most.min(there.max(1)) };
            bytes.resize(room, 0);
            len = world.poller.read(socket, &mut bytes, flags)?;
            (whole, from) = (len, None);
        }
        Object::Pipe(end) if !is_recv => {
            bytes.resize(most.min(65_536), 0);
            len = end.read(&mut bytes)?;
            (whole, from) = (len, None);
        }
        Object::Pipe(_) => return Err(Errno::NotSocket),
        Object::Set(_) if is_recv => return Err(Errno::NotSocket),
        Object::Set(_) => return Err(Errno::Invalid),
    }
    bytes.truncate(len);
    Ok(Answer::Bytes(bytes, whole, from))
}

/// Write bytes, all of them if it may wait for that.
fn transmit(
    mut guard: Guard<'_>,
    fd: c_int,
    bytes: &[u8],
    flags: c_int,
    to: Option<core::net::SocketAddr>,
    is_send: bool,
) -> Result<isize, Errno> {
    let flags = Flags(flags.cast_unsigned());
    let at_most = patience(guard.world(), fd, false, flags.any(Flags::DONT_WAIT))?;
    let (bytes, mut done) = (bytes.to_vec(), 0);
    let attempt: Attempt = Box::new(move |world, when| {
        let rest = bytes.get(done..).unwrap_or(&[]);
        match try_transmit(world, fd, rest, flags, to, is_send) {
            Ok(count) => done += count,
            Err(error) if done == 0 || error == Errno::Again && when == Try::Once => return Err(error),
            Err(_) => return Ok(Answer::Count(done)),
        }
        if done < bytes.len() && when == Try::Once { Err(Errno::Again) } else { Ok(Answer::Count(done)) }
    });
    match guard.wait(at_most, attempt)? {
        Answer::Count(count) => isize::try_from(count).map_err(|_| Errno::Invalid),
        _ => Err(Errno::NotRecoverable),
    }
}

fn try_transmit(
    world: &mut World,
    fd: c_int,
    bytes: &[u8],
    flags: Flags,
    to: Option<core::net::SocketAddr>,
    is_send: bool,
) -> Result<usize, Errno> {
    match world.file(fd)?.object {
        Object::Socket(socket) if world.poller.is_datagram(socket) => {
            world.poller.write_datagram(&mut world.lane, socket, bytes, to)
        }
        Object::Socket(socket) => world.poller.write(&mut world.lane, socket, bytes, flags),
        Object::Pipe(end) if !is_send => end.write(bytes),
        Object::Pipe(_) => Err(Errno::NotSocket),
        Object::Set(_) if is_send => Err(Errno::NotSocket),
        Object::Set(_) => Err(Errno::Invalid),
    }
}

fn count(len: usize) -> isize {
    isize::try_from(len).unwrap_or(isize::MAX)
}

pub unsafe extern "C" fn read(userdata: *mut c_void, fd: c_int, data: *mut c_void, len: usize) -> isize {
    let work = |guard: Guard<'_>, _| {
        let (bytes, _, _) = receive(guard, fd, len, 0, false)?;
        // SAFETY: room of this length, as read() takes it.
        unsafe { output(data, len, &bytes) }.map(count)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    data: *mut c_void,
    len: usize,
    flags: c_int,
) -> isize {
    // SAFETY: the same, without an address.
    unsafe { recvfrom(userdata, fd, data, len, flags, core::ptr::null_mut(), core::ptr::null_mut()) }
}

pub unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    data: *mut c_void,
    len: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> isize {
    let work = |guard: Guard<'_>, _| {
        let (bytes, whole, from) = receive(guard, fd, len, flags, true)?;
        let truncate = flags & libc::MSG_TRUNC != 0;
        if !truncate || from.is_some() {
            // SAFETY: room of this length, as recvfrom() takes it.
            unsafe { output(data, len, &bytes) }?;
        }
        let told = if truncate { whole } else { bytes.len() };
        // SAFETY: null, or room of the length that is beside it.
        unsafe { put_address(address, address_len, &from.unwrap_or_default()) }?;
        Ok(count(told))
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

/// The caller's vectors.
///
/// # Safety
///
/// `vectors` points to as many as `len` says.
unsafe fn vectors(vectors: *const iovec, len: c_int) -> Result<Vec<(*mut c_void, usize)>, Errno> {
    if !(0..=VECTORS_MAX).contains(&len) {
        return Err(Errno::Invalid);
    }
    let mut all = Vec::new();
    for index in 0..usize::try_from(len).unwrap_or(0) {
        // SAFETY: each index is below the length.
        let vector = unsafe { load(vectors.wrapping_add(index)) }?;
        all.push((vector.iov_base, vector.iov_len));
    }
    let total = all.iter().try_fold(0usize, |sum, (_, len)| sum.checked_add(*len));
    total.filter(|total| isize::try_from(*total).is_ok()).ok_or(Errno::Invalid)?;
    Ok(all)
}

/// Spread bytes over vectors.
///
/// # Safety
///
/// Each vector points to room of its length.
unsafe fn scatter(vectors: &[(*mut c_void, usize)], mut bytes: &[u8]) -> Result<(), Errno> {
    for (place, room) in vectors {
        // SAFETY: the caller's promise.
        let copied = unsafe { output(*place, *room, bytes) }?;
        bytes = bytes.get(copied..).unwrap_or(&[]);
    }
    Ok(())
}

/// Join what vectors hold.
///
/// # Safety
///
/// Each vector points to bytes of its length.
unsafe fn gather(vectors: &[(*mut c_void, usize)]) -> Result<Vec<u8>, Errno> {
    let mut all = Vec::new();
    for (place, len) in vectors {
        // SAFETY: the caller's promise.
        all.extend_from_slice(unsafe { input(*place, *len) }?);
    }
    Ok(all)
}

pub unsafe extern "C" fn readv(userdata: *mut c_void, fd: c_int, places: *const iovec, len: c_int) -> isize {
    let work = |guard: Guard<'_>, _| {
        // SAFETY: as readv() takes them.
        let places = unsafe { vectors(places, len) }?;
        let most = places.iter().map(|(_, len)| *len).sum();
        let (bytes, _, _) = receive(guard, fd, most, 0, false)?;
        // SAFETY: as above.
        unsafe { scatter(&places, &bytes) }?;
        Ok(count(bytes.len()))
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn recvmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> isize {
    let work = |guard: Guard<'_>, _| {
        // SAFETY: as recvmsg() takes it.
        let mut header = unsafe { load(message) }?;
        let len = c_int::try_from(header.msg_iovlen).map_err(|_| Errno::TooLong)?;
        // SAFETY: as above.
        let places = unsafe { vectors(header.msg_iov, len) }?;
        let most = places.iter().map(|(_, len)| *len).sum();
        let (bytes, whole, from) = receive(guard, fd, most, flags, true)?;
        // SAFETY: as above.
        unsafe { scatter(&places, &bytes) }?;
        let name = from.unwrap_or_default();
        // SAFETY: null, or room of the length that is beside it.
        unsafe { output(header.msg_name, header.msg_namelen as usize, &name) }?;
        header.msg_namelen = socklen_t::try_from(name.len()).unwrap_or(0);
        header.msg_controllen = 0;
        header.msg_flags = if whole > most { libc::MSG_TRUNC } else { 0 };
        // SAFETY: it was read from there.
        unsafe { store(message, header) }?;
        let told = if flags & libc::MSG_TRUNC != 0 { whole } else { bytes.len() };
        Ok(count(told))
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn write(userdata: *mut c_void, fd: c_int, data: *const c_void, len: usize) -> isize {
    // SAFETY: bytes of this length, as write() takes them.
    let bytes = unsafe { input(data, len) };
    // SAFETY: the table's.
    unsafe { call(userdata, |guard, _| transmit(guard, fd, bytes?, 0, None, false)) }
}

pub unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: usize,
    flags: c_int,
) -> isize {
    // SAFETY: the same, without an address.
    unsafe { sendto(userdata, fd, data, len, flags, core::ptr::null(), 0) }
}

pub unsafe extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: usize,
    flags: c_int,
    address: *const sockaddr,
    address_len: socklen_t,
) -> isize {
    // SAFETY: bytes of this length, as sendto() takes them.
    let bytes = unsafe { input(data, len) };
    // SAFETY: null, or an address of this length.
    let address = unsafe { input(address.cast(), if address.is_null() { 0 } else { address_len as usize }) };
    let work = |guard: Guard<'_>, _| {
        let address = address?;
        let to = if address.is_empty() { None } else { Some(address::parse(address)?) };
        transmit(guard, fd, bytes?, flags, to, true)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn writev(userdata: *mut c_void, fd: c_int, places: *const iovec, len: c_int) -> isize {
    let work = |guard: Guard<'_>, _| {
        // SAFETY: as writev() takes them.
        let places = unsafe { vectors(places, len) }?;
        // SAFETY: as above.
        let bytes = unsafe { gather(&places) }?;
        transmit(guard, fd, &bytes, 0, None, false)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn sendmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> isize {
    let work = |guard: Guard<'_>, _| {
        // SAFETY: as sendmsg() takes it.
        let header = unsafe { load(message) }?;
        let len = c_int::try_from(header.msg_iovlen).map_err(|_| Errno::TooLong)?;
        // SAFETY: as above.
        let places = unsafe { vectors(header.msg_iov, len) }?;
        // SAFETY: as above.
        let bytes = unsafe { gather(&places) }?;
        let name_len = if header.msg_name.is_null() { 0 } else { header.msg_namelen as usize };
        // SAFETY: null, or an address of this length.
        let address = unsafe { input(header.msg_name, name_len) }?;
        let to = if address.is_empty() { None } else { Some(address::parse(address)?) };
        transmit(guard, fd, &bytes, flags, to, true)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}
