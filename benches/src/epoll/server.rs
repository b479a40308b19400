//! The server: all connections on one thread, with as few system calls as `epoll` by level needs.

use std::io;

use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt};

use super::{CHUNK, Poll, Serve};

/// The listener's token; connections have those from 0.
const LISTENER: u64 = u64::MAX;

/// Pieces that one event may write before others get their turn.
const PIECES_MAX: usize = 64;

enum Manner {
    Echo,
    Discard,
    Generate(Vec<u8>),
}

struct Connection {
    fd: OwnedFd,
    /// What did not fit the socket.
    unsent: Vec<u8>,
}

struct Server {
    poll: Poll,
    listener: OwnedFd,
    manner: Manner,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    chunk: Vec<u8>,
}

/// Serve until a signal ends the process. Prints a line once it listens.
pub fn serve(options: &Serve) -> io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = if options.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let listener = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    // What it accepts has this too.
    sockopt::set_tcp_nodelay(&listener, true)?;
    bind(&listener, &options.address)?;
    listen(&listener, 4096)?;
    let manner = match options.generate {
        Some(bytes) => Manner::Generate(vec![0x5a; bytes]),
        None if options.discard => Manner::Discard,
        None => Manner::Echo,
    };
    let poll = Poll::new()?;
    poll.add(&listener, LISTENER, EventFlags::IN)?;
    println!("epoll: listening at {}", options.address);
    let (connections, free) = (Vec::new(), Vec::new());
    let mut server = Server { poll, listener, manner, connections, free, chunk: vec![0; CHUNK] };
    loop {
        server.poll.wait(None)?;
        let mut events = core::mem::take(&mut server.poll.events);
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => server.accept()?,
                token => server.turn(usize::try_from(token).unwrap_or(usize::MAX), event.flags)?,
            }
        }
        server.poll.events = events;
    }
}

impl Server {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let fd = match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => fd,
                Err(Errno::AGAIN) => return Ok(()),
                // The peer thought better of it.
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let index = self.free.pop().unwrap_or(self.connections.len());
            let generates = matches!(self.manner, Manner::Generate(_));
            let wanted = if generates { EventFlags::OUT } else { EventFlags::IN };
            self.poll.add(&fd, index as u64, wanted)?;
            let connection = Some(Connection { fd, unsent: Vec::new() });
            match self.connections.get_mut(index) {
                Some(place) => *place = connection,
                None => self.connections.push(connection),
            }
        }
    }

    fn turn(&mut self, index: usize, flags: EventFlags) -> io::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return Ok(()) };
        let goes_on = match &self.manner {
            Manner::Generate(piece) => generate(connection, piece),
            Manner::Discard => read(&connection.fd, &mut self.chunk[..]).map(|length| length > 0),
            Manner::Echo if flags.contains(EventFlags::OUT) => {
                let sent = write(&connection.fd, &connection.unsent);
                sent.inspect(|&length| drop(connection.unsent.drain(..length))).map(|_| true)
            }
            Manner::Echo => echo(connection, &mut self.chunk),
        };
        match goes_on {
            Ok(true) if matches!(self.manner, Manner::Echo) => {
                let waits = !connection.unsent.is_empty();
                if waits != flags.contains(EventFlags::OUT) {
                    let wanted = if waits { EventFlags::OUT } else { EventFlags::IN };
                    self.poll.change(&connection.fd, index as u64, wanted)?;
                }
            }
            Ok(true) | Err(Errno::AGAIN | Errno::INTR) => {}
            // The peer has ended it, or broken it off: its place is free.
            Ok(false) | Err(_) => {
                self.connections[index] = None;
                self.free.push(index);
            }
        }
        Ok(())
    }
}

/// Send back what came. False: the peer has ended.
fn echo(connection: &mut Connection, chunk: &mut [u8]) -> Result<bool, Errno> {
    let length = read(&connection.fd, &mut *chunk)?;
    if length == 0 {
        return Ok(false);
    }
    let sent = match write(&connection.fd, &chunk[..length]) {
        Err(Errno::AGAIN) => 0,
        sent => sent?,
    };
    connection.unsent.extend_from_slice(&chunk[sent..length]);
    Ok(true)
}

fn generate(connection: &mut Connection, piece: &[u8]) -> Result<bool, Errno> {
    for _ in 0..PIECES_MAX {
        write(&connection.fd, piece)?;
    }
    Ok(true)
}
