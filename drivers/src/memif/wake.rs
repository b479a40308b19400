//! How the ends of a link wake each other. The files for it are the client's, and each end has a handle of both: so they are
//! neither read nor written here, for either could wait for as long as a peer likes. Events are signalled as the kernel does
//! it for itself, and heard of by `epoll`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use super::channel::{Trouble, event};

/// A peer's event file.
pub(super) struct Event(OwnedFd);

impl Event {
    /// Errors: it is another kind of file, or nothing can be signalled here. What is found out by signalling it: a peer looks
    /// once for nothing.
    pub fn new(file: OwnedFd) -> Result<Event, Trouble> {
        let event = Event(file);
        match event.signal() {
            Ok(()) => Ok(event),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Err("what its ring is to be woken by is no event file".to_owned())
            }
            Err(error) => Err(format!(
                "no peer can be woken: the system refuses asynchronous I/O ({error}); raise fs.aio-max-nr"
            )),
        }
    }

    /// Wakes whoever waits for it. Never waits, however full it is.
    pub fn signal(&self) -> io::Result<()> {
        Signals::of_process()?.signal(self.0.as_fd())
    }
}

/// What a lane that sleeps is woken by: its peer, and the link's coming and going.
pub(super) struct Watch {
    epoll: OwnedFd,
    /// Ours alone.
    changed: OwnedFd,
    peer: Mutex<Option<Event>>,
}

impl Watch {
    pub fn new() -> io::Result<Watch> {
        let watch = Watch {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            changed: event()?,
            peer: Mutex::new(None),
        };
        watch.add(&watch.changed)?;
        Ok(watch)
    }

    /// Each signal is heard of once: the file need not be emptied.
    fn add(&self, file: &OwnedFd) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, file, epoll::EventData::new_u64(0), flags)?)
    }

    /// From now on a peer wakes by this, or none does.
    ///
    /// Errors: the system has no room to watch one more file.
    pub fn follow(&self, peer: Option<Event>) -> io::Result<()> {
        let mut there = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = there.take() {
            // It is there, and its file is open.
            let _ = epoll::delete(&self.epoll, &before.0);
        }
        if let Some(peer) = peer {
            self.add(&peer.0)?;
            *there = Some(peer);
        }
        Ok(())
    }

    /// The link has come or gone.
    pub fn tell(&self) {
        super::channel::wake(self.changed.as_fd());
    }

    /// Forgets what was signalled until now.
    pub fn clear(&self) {
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 2];
        // An interrupted one ends the next sleep, and nothing else.
        let _ = epoll::wait(&self.epoll, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Requests of which the results are not asked for yet, before they must be.
const REQUESTS: usize = 32;

/// Signals event files. A write to one waits while its counter is full, unless a flag forbids that, and both are the peer's to
/// set. What the kernel signals when an asynchronous request is done it signals without waiting: so that is what is asked
/// for, of a request that is done at once.
struct Signals {
    context: libc::c_ulong,
    /// Can always be written to, and never is.
    ready: OwnedFd,
}

/// `IOCB_CMD_POLL` and `IOCB_FLAG_RESFD` of Linux's `aio_abi.h`.
const COMMAND_POLL: u16 = 5;
const FLAG_EVENT: u32 = 1;

impl Signals {
    /// Those of this process, made when first asked for.
    fn of_process() -> io::Result<&'static Signals> {
        static SIGNALS: OnceLock<Result<Signals, i32>> = OnceLock::new();
        SIGNALS
            .get_or_init(|| Signals::new().map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)))
            .as_ref()
            .map_err(|error| io::Error::from_raw_os_error(*error))
    }

    fn new() -> io::Result<Signals> {
        let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: `io_setup` writes a context's name to the address that it is given, which is this number's.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, REQUESTS, &raw mut context) };
        if made == 0 { Ok(Signals { context, ready }) } else { Err(io::Error::last_os_error()) }
    }

    fn signal(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        match self.submit(file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.reap();
                self.submit(file)
            }
            done => done,
        }
    }

    fn submit(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: it is numbers, for all of which zero is good.
        let mut request: libc::iocb = unsafe { std::mem::zeroed() };
        request.aio_lio_opcode = COMMAND_POLL;
        request.aio_fildes = self.ready.as_raw_fd().cast_unsigned();
        request.aio_buf = u64::from(libc::POLLOUT.cast_unsigned());
        request.aio_flags = FLAG_EVENT;
        request.aio_resfd = file.as_raw_fd().cast_unsigned();
        let mut requests = [&raw mut request];
        // SAFETY: the context is ours, and there is one request, which the kernel copies before it returns.
        let taken = unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1, requests.as_mut_ptr()) };
        if taken == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Takes the results of what was asked for, so that more can be.
    fn reap(&self) {
        /// Linux's `struct io_event`.
        type Done = [u64; 4];
        let mut done: [Done; REQUESTS] = [[0; 4]; REQUESTS];
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes at most as many results as there is room for.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                0,
                done.len(),
                done.as_mut_ptr(),
                &raw const at_once,
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::channel::wait;
    use super::*;

    fn is_heard(watch: &Watch) -> bool {
        wait([watch.as_fd()], Some(Duration::ZERO))[0]
    }

    #[test]
    fn signals_are_heard_once_whatever_the_peer_does_with_the_file() {
        // Shows that each signal wakes, that it is forgotten without being read, and that neither a file that nobody can
        // write to any more without waiting nor one that somebody else has emptied makes a difference.
        let file = eventfd(0, EventfdFlags::CLOEXEC).expect("a file that waits");
        let peer = file.try_clone().expect("the peer's handle");
        let (event, watch) =
            (Event::new(file.try_clone().expect("ours")).expect("an event"), Watch::new().expect("a watch"));
        watch.follow(Some(Event(file))).expect("room");
        watch.clear();
        assert!(!is_heard(&watch));
        let full = (u64::MAX - 1).to_ne_bytes();
        rustix::io::read(&peer, &mut [0; 8]).expect("emptied");
        rustix::io::write(&peer, &full).expect("filled");
        // More than may be under way without their results being taken.
        for _ in 0..10 * REQUESTS {
            event.signal().expect("signalled");
            assert!(is_heard(&watch));
            watch.clear();
            assert!(!is_heard(&watch));
        }
        rustix::io::read(&peer, &mut [0; 8]).expect("emptied");
        assert!(!is_heard(&watch));
        event.signal().expect("signalled");
        rustix::io::read(&peer, &mut [0; 8]).expect("emptied");
        // That it was is not undone; nothing waits for it either.
        watch.clear();
        watch.follow(None).expect("nothing to watch");
        watch.tell();
        assert!(is_heard(&watch));
        watch.clear();
        event.signal().expect("signalled");
        assert!(!is_heard(&watch));
    }

    #[test]
    fn other_files_are_refused() {
        // Shows a pipe, on which a write would wait once it is full, and memory.
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let memory = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
        for file in [reader, writer, memory] {
            assert_eq!(
                Event::new(file).err().as_deref(),
                Some("what its ring is to be woken by is no event file")
            );
        }
    }
}
