//! The socket between the two ends of a memif link: whole messages, with a file or without, and what ends a wait for
//! them. What they mean is `message.rs`'s.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, socket_with,
};

use super::message::{MESSAGE_BYTES, Message};

/// Clients that the kernel lets wait.
const BACKLOG: i32 = 16;

/// What is said of ourselves: name and version.
const NAME: &str = concat!("corelane ", env!("CARGO_PKG_VERSION"));

/// One end of a connection. It never waits by itself.
pub(super) struct Channel(OwnedFd);

/// Why a connection ends, in words for whoever runs the other end or this one.
pub(super) type Trouble = String;

impl Channel {
    /// Goes to the server at `path`.
    pub fn connect(path: &Path) -> io::Result<Channel> {
        let socket = socket()?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Channel(socket))
    }

    /// Both ends of a connection that nobody came for.
    #[cfg(feature = "fuzz")]
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (near, far) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Channel(near), Channel(far)))
    }

    /// The next of those who came, if one did.
    ///
    /// Errors: the process has no file for it left.
    pub fn accept(listener: &OwnedFd) -> io::Result<Option<Channel>> {
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => Ok(Some(Channel(socket))),
            // Nobody, or one who has gone again.
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a message, and a file with it.
    pub fn send(&self, message: &Message, file: Option<BorrowedFd<'_>>) -> Result<(), Trouble> {
        self.send_bytes(&message.encode(NAME), file)
    }

    /// The same of a message that is written already.
    pub fn send_bytes(&self, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> Result<(), Trouble> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        let files = file.as_slice();
        if !files.is_empty() {
            along.push(SendAncillaryMessage::ScmRights(files));
        }
        let sent = sendmsg(&self.0, &[IoSlice::new(bytes)], &mut along, SendFlags::NOSIGNAL);
        match sent {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(_) => Err("a message was cut".to_owned()),
            Err(error) => Err(format!("its socket is gone ({})", io::Error::from(error))),
        }
    }

    /// The next message, if there is one, and the file that came with it.
    pub fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>, Trouble> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; MESSAGE_BYTES];
        // The length of one that is longer is told too.
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut along, flags);
        let length = match received {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(format!("its socket is gone ({})", io::Error::from(error))),
        };
        // Those that are not asked for are closed.
        let file = along.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        match length {
            0 => Err("it has gone".to_owned()),
            MESSAGE_BYTES => match Message::decode(&bytes) {
                Some(message) => Ok(Some((message, file))),
                None => Err("it says what is no message of memif's".to_owned()),
            },
            _ => Err("it sends messages of another length than memif's".to_owned()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// A socket at `path` for clients to come to.
pub(super) fn listener(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket()?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Ends the waits of one thread, from others.
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    pub fn new() -> io::Result<Alarm> {
        Ok(Alarm(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn raise(&self) {
        wake(self.0.as_fd());
    }

    /// Forgets what was raised.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tells the other side of an event file. One that is full has been told.
pub(super) fn wake(file: BorrowedFd<'_>) {
    let _ = rustix::io::write(file, &1_u64.to_ne_bytes());
}

/// A file to be woken by.
pub(super) fn event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Waits until there is something to read from one of `files`, at most `most`. True for those that have something, or
/// have ended.
pub(super) fn wait<const N: usize>(files: [BorrowedFd<'_>; N], most: Option<Duration>) -> [bool; N] {
    let mut asked = files.map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN));
    wait_for(&mut asked, most);
    asked.map(|file| !file.revents().is_empty())
}

/// [`wait`] for any number of files.
pub(super) fn wait_for(files: &mut [PollFd<'_>], most: Option<Duration>) {
    let most = most.and_then(|most| Timespec::try_from(most).ok());
    // A signal ends a wait early; whoever waits looks what there is and waits again.
    let _ = poll(files, most.as_ref());
}
