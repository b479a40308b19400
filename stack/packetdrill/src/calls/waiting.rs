//! The functions that wait for several descriptors, the device, the clock, pipes and splicing.

use core::ffi::{c_int, c_uint, c_void};
use core::time::Duration;

use libc::{epoll_event, loff_t, nfds_t, pollfd, timeval, timezone};
use stack::poll::{Errno, Flags, Readiness};

use super::{open, patience};
use crate::boundary::{call, input, load, output, store};
use crate::host::{Object, World};
use crate::numbers;
use crate::pipe;
use crate::waiting::{Answer, Attempt, Guard, Try};

/// How long a packet is waited for.
const LISTEN: Duration = Duration::from_secs(5);

/// Descriptors of one `poll`.
const POLL_MAX: u64 = 65_536;

/// Milliseconds as `poll` and `epoll_wait` take them: negative is for ever.
fn milliseconds(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

/// What a number is ready for, of what is asked.
fn readiness(world: &mut World, fd: c_int, asked: u32) -> u32 {
    if fd < 0 {
        return 0;
    }
    let readiness = match world.file(fd).map(|file| file.object) {
        Ok(Object::Socket(socket)) => world.poller.readiness(socket),
        Ok(Object::Pipe(end)) if end.writes && end.room() > 0 => Readiness::OUT,
        Ok(Object::Pipe(end)) if !end.writes && !end.peek(1).is_empty() => Readiness::IN,
        Ok(_) => Readiness::NONE,
        Err(_) => return Readiness::INVALID.0,
    };
    readiness.told_to(Readiness(asked)).0
}

pub unsafe extern "C" fn poll(
    userdata: *mut c_void,
    polled: *mut pollfd,
    len: nfds_t,
    timeout: c_int,
) -> c_int {
    let work = |guard: Guard<'_>, _| {
        if len > POLL_MAX {
            return Err(Errno::Invalid);
        }
        let mut asked = Vec::new();
        for index in 0..usize::try_from(len).unwrap_or(0) {
            // SAFETY: each index is below the length, as poll() takes it.
            let one = unsafe { load(polled.wrapping_add(index)) }?;
            asked.push((one.fd, u32::from(one.events.cast_unsigned())));
        }
        let attempt: Attempt = Box::new(move |world, when| {
            let ready: Vec<u32> = asked.iter().map(|(fd, events)| readiness(world, *fd, *events)).collect();
            let none = ready.iter().all(|ready| *ready == 0);
            if none && when == Try::Once { Err(Errno::Again) } else { Ok(Answer::Ready(ready)) }
        });
        let Answer::Ready(ready) = guard.wait(milliseconds(timeout), attempt)? else {
            return Err(Errno::NotRecoverable);
        };
        for (index, ready) in ready.iter().enumerate() {
            let place = polled.wrapping_add(index);
            // SAFETY: as above.
            let one = unsafe { load(place) }?;
            let revents = u16::try_from(ready & 0xffff).unwrap_or(0).cast_signed();
            // SAFETY: as above.
            unsafe { store(place, pollfd { revents, ..one }) }?;
        }
        c_int::try_from(ready.iter().filter(|ready| **ready != 0).count()).map_err(|_| Errno::Invalid)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn netdev_send(userdata: *mut c_void, data: *const c_void, len: usize) -> c_int {
    // SAFETY: a packet of this length, as the table's function takes it.
    let packet = unsafe { input(data, len) };
    let work = |mut guard: Guard<'_>, _| {
        let packet = packet?;
        guard.moving(|world| if world.wire.inject(packet) { Ok(0) } else { Err(Errno::NoBuffers) })
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn netdev_receive(
    userdata: *mut c_void,
    data: *mut c_void,
    len: *mut usize,
    at: *mut i64,
) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        // SAFETY: the length of the room is there, as the table's function takes it.
        let room = unsafe { load(len) }?;
        let sent = guard.moving(|world| world.listen(LISTEN));
        let (when, packet) = sent.unwrap_or_default();
        // SAFETY: so is the room.
        let copied = unsafe { output(data, room, &packet) }?;
        // SAFETY: the length was read from there.
        unsafe { store(len, copied) }?;
        if !at.is_null() && !packet.is_empty() {
            // SAFETY: a place for the time, as the table's function takes it.
            unsafe { store(at, i64::try_from(when / 1_000).unwrap_or(i64::MAX)) }?;
        }
        Ok(0)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn usleep(userdata: *mut c_void, us: c_uint) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        guard.moving(|world| world.advance(world.now() + u64::from(us) * 1_000));
        Ok(0)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn gettimeofday(
    userdata: *mut c_void,
    place: *mut timeval,
    zone: *mut timezone,
) -> c_int {
    let _ = zone;
    let work = |mut guard: Guard<'_>, _| {
        let us = i64::try_from(guard.time() / 1_000).unwrap_or(i64::MAX);
        let time = timeval { tv_sec: us / 1_000_000, tv_usec: us % 1_000_000 };
        if !place.is_null() {
            // SAFETY: a place for the time, as gettimeofday() takes it.
            unsafe { store(place, time) }?;
        }
        Ok(0)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn epoll_create(userdata: *mut c_void, size: c_int) -> c_int {
    let work = |mut guard: Guard<'_>, host| {
        if size <= 0 {
            return Err(Errno::Invalid);
        }
        let world = guard.world();
        let set = world.poller.new_set();
        open(world, host, Object::Set(set), false)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn epoll_ctl(
    userdata: *mut c_void,
    set: c_int,
    op: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        let event = if op == libc::EPOLL_CTL_DEL {
            epoll_event { events: 0, u64: 0 }
        } else {
            // SAFETY: an event, as epoll_ctl() takes it.
            unsafe { load(event) }?
        };
        let (interest, data) = (Readiness(event.events), event.u64);
        let world = guard.world();
        let (its, other) = (world.file(set)?.object, world.file(fd)?.object);
        let Object::Set(id) = its else { return Err(Errno::Invalid) };
        if set == fd {
            return Err(Errno::Invalid);
        }
        let Object::Socket(socket) = other else { return Err(Errno::NotPermitted) };
        guard.with(|world| match op {
            libc::EPOLL_CTL_ADD => world.poller.watch(id, socket, interest, data),
            libc::EPOLL_CTL_MOD => world.poller.rewatch(id, socket, interest, data),
            libc::EPOLL_CTL_DEL => world.poller.unwatch(id, socket),
            _ => Err(Errno::Invalid),
        })?;
        Ok(0)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn epoll_wait(
    userdata: *mut c_void,
    set: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    let work = |mut guard: Guard<'_>, _| {
        let max = usize::try_from(max).ok().filter(|max| *max > 0).ok_or(Errno::Invalid)?;
        let Object::Set(id) = guard.world().file(set)?.object else { return Err(Errno::Invalid) };
        let attempt: Attempt = Box::new(move |world, when| {
            let told = world.poller.ready(id, max)?;
            if told.is_empty() && when == Try::Once { Err(Errno::Again) } else { Ok(Answer::Told(told)) }
        });
        let Answer::Told(told) = guard.wait(milliseconds(timeout), attempt)? else {
            return Err(Errno::NotRecoverable);
        };
        for (index, told) in told.iter().enumerate() {
            let event = epoll_event { events: told.readiness.0, u64: told.data };
            // SAFETY: at most `max` events, as epoll_wait() takes them.
            unsafe { store(events.wrapping_add(index), event) }?;
        }
        c_int::try_from(told.len()).map_err(|_| Errno::Invalid)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

pub unsafe extern "C" fn pipe(userdata: *mut c_void, places: *mut c_int) -> c_int {
    let work = |mut guard: Guard<'_>, host| {
        let (reader, writer) = pipe::pipe();
        let world = guard.world();
        let reader = open(world, host, Object::Pipe(reader), false)?;
        let writer = open(world, host, Object::Pipe(writer), false).inspect_err(|_| {
            world.files.remove(&reader);
            numbers::release(reader);
        })?;
        // SAFETY: room for two, as pipe() takes it.
        unsafe { store(places, reader) }?;
        // SAFETY: as above.
        unsafe { store(places.wrapping_add(1), writer) }?;
        Ok(0)
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

/// Of `splice`: do not wait for the pipe; more follows.
const SPLICE_NONBLOCK: c_uint = 2;
/// See `SPLICE_NONBLOCK`.
const SPLICE_MORE: c_uint = 4;

pub unsafe extern "C" fn splice(
    userdata: *mut c_void,
    from: c_int,
    from_offset: *mut loff_t,
    to: c_int,
    to_offset: *mut loff_t,
    len: usize,
    flags: c_uint,
) -> isize {
    let work = |mut guard: Guard<'_>, _| {
        if !from_offset.is_null() || !to_offset.is_null() {
            return Err(Errno::NoSeek);
        }
        let world = guard.world();
        let dont_wait = flags & SPLICE_NONBLOCK != 0;
        let (patient, _) = (patience(world, from, true, dont_wait)?, world.file(to)?);
        let attempt: Attempt = Box::new(move |world, _| {
            move_bytes(world, from, to, len, flags & SPLICE_MORE != 0).map(Answer::Count)
        });
        match guard.wait(patient, attempt)? {
            Answer::Count(count) => isize::try_from(count).map_err(|_| Errno::Invalid),
            _ => Err(Errno::NotRecoverable),
        }
    };
    // SAFETY: the table's.
    unsafe { call(userdata, work) }
}

/// Move bytes through a pipe: none is taken that does not arrive.
fn move_bytes(world: &mut World, from: c_int, to: c_int, len: usize, more: bool) -> Result<usize, Errno> {
    match (world.file(from)?.object, world.file(to)?.object) {
        (Object::Socket(socket), Object::Pipe(end)) => {
            let room = end.room().min(len);
            if room == 0 && len > 0 {
                return Err(Errno::Again);
            }
            if world.poller.received(socket) > 0 && world.poller.unread(socket) == Ok(0) {
                // The urgent byte is next, which is not spliced; nor is it waited for.
                return Ok(0);
            }
            let mut bytes = vec![0; room];
            let count = world.poller.read(socket, &mut bytes, Flags::NONE)?;
            end.write(bytes.get(..count).unwrap_or(&[]))
        }
        (Object::Pipe(end), Object::Socket(socket)) => {
            let bytes = end.peek(len);
            if bytes.is_empty() {
                return end.read(&mut vec![0; len.min(1)]);
            }
            let flags = if more { Flags::MORE } else { Flags::NONE };
            let count = world.poller.write(&mut world.lane, socket, &bytes, flags)?;
            end.read(&mut vec![0; count])
        }
        (Object::Pipe(reader), Object::Pipe(writer)) => {
            let mut bytes = vec![0; writer.room().min(len)];
            let count = reader.read(&mut bytes)?;
            writer.write(bytes.get(..count).unwrap_or(&[]))
        }
        _ => Err(Errno::Invalid),
    }
}
