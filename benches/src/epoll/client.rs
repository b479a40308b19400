//! The client: opens its connections, then pings, uploads or downloads on all of them until its time is up.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::found::{Found, processor_time};
use super::{CHUNK, Load, Poll};

/// Connections that may be opening at a time.
const CONNECTING_MAX: usize = 256;

/// Pieces that one event may write before others get their turn.
const PIECES_MAX: usize = 64;

/// How long answers may take that are still awaited when the time is up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than this nobody waits for the connections.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Link {
    fd: Option<OwnedFd>,
    is_open: bool,
    /// When the unanswered pings were sent; with a connection each, when it was asked for.
    waiting: VecDeque<Instant>,
    /// Bytes that did not fit the socket.
    unsent: usize,
    /// Bytes of all pings that went out, and that came back.
    sent: usize,
    came: usize,
}

struct Client<'a> {
    options: &'a Load,
    poll: Poll,
    links: Vec<Link>,
    /// As many pings behind each other as are ever looked at at once.
    pattern: Vec<u8>,
    chunk: Vec<u8>,
    found: Found,
    /// No ping begins outside of it.
    running: bool,
    now: Instant,
    connecting: usize,
    open: usize,
    waiting: usize,
}

/// Load a server. Prints `begins` on standard error when all connections are open; returns what it found as JSON.
pub fn load(options: &Load) -> io::Result<String> {
    let size = options.ping;
    let byte = |at: usize| u8::try_from((at % size / 7 + at % size * 3) % 251).unwrap_or(0);
    let pattern = (0..CHUNK.max(size * usize::from(options.pipeline)) + size).map(byte).collect();
    let links = (0..options.connections).map(|_| Link::default()).collect();
    let mut client = Client {
        options,
        poll: Poll::new()?,
        links,
        pattern,
        chunk: vec![0; CHUNK],
        found: Found::new(),
        running: false,
        now: Instant::now(),
        connecting: 0,
        open: 0,
        waiting: 0,
    };
    if !options.close {
        client.open_all()?;
    }
    eprintln!("begins");
    let (began, processor) = (Instant::now(), processor_time());
    client.run(began + options.duration)?;
    let (span, processor) = (began.elapsed(), processor_time().saturating_sub(processor));
    Ok(client.found.json(span, processor))
}

impl Client<'_> {
    fn open_all(&mut self) -> io::Result<()> {
        let (mut next, began) = (0, Instant::now());
        while self.open < self.links.len() {
            while next < self.links.len() && self.connecting < CONNECTING_MAX {
                self.connect(next)?;
                next += 1;
            }
            self.turn(Some(PATIENCE))?;
            if self.found.errors > 0 || began.elapsed() > OPEN_WITHIN {
                let (open, all) = (self.open, self.links.len());
                return Err(io::Error::other(format!("{open} of {all} connections were opened")));
            }
        }
        Ok(())
    }

    fn run(&mut self, until: Instant) -> io::Result<()> {
        self.running = true;
        self.now = Instant::now();
        for index in 0..self.links.len() {
            match self.options.close {
                true => self.connect(index)?,
                false => self.begin(index)?,
            }
        }
        while self.now < until {
            self.turn(Some(until.saturating_duration_since(self.now)))?;
        }
        self.running = false;
        let patience = self.now + PATIENCE;
        while self.waiting > 0 && self.now < patience {
            self.turn(Some(patience.saturating_duration_since(self.now)))?;
        }
        self.found.errors += self.waiting as u64;
        Ok(())
    }

    fn turn(&mut self, within: Option<Duration>) -> io::Result<()> {
        self.poll.wait(within)?;
        self.now = Instant::now();
        let mut events = core::mem::take(&mut self.poll.events);
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            self.handle(index, event.flags)?;
        }
        self.poll.events = events;
        Ok(())
    }

    fn handle(&mut self, index: usize, flags: EventFlags) -> io::Result<()> {
        let link = &mut self.links[index];
        let Some(fd) = &link.fd else { return Ok(()) };
        if !link.is_open {
            return match sockopt::socket_error(fd)? {
                Ok(()) => self.opened(index),
                Err(_) => self.fail(index),
            };
        }
        if flags.contains(EventFlags::OUT) {
            match self.options.upload {
                Some(_) => self.upload(index)?,
                None => self.send(index, 0)?,
            }
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.receive(index)?;
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let address = self.options.address;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        self.poll.add(&fd, index as u64, EventFlags::OUT)?;
        let link = &mut self.links[index];
        *link = Link { fd: Some(fd), ..Link::default() };
        self.connecting += 1;
        if self.options.close {
            link.waiting.push_back(self.now);
            self.waiting += 1;
        }
        Ok(())
    }

    fn opened(&mut self, index: usize) -> io::Result<()> {
        self.found.opened += 1;
        self.connecting -= 1;
        self.open += 1;
        let link = &mut self.links[index];
        link.is_open = true;
        if let Some(fd) = &link.fd {
            self.poll.change(fd, index as u64, EventFlags::IN)?;
        }
        if self.options.close { self.send(index, self.options.ping) } else { Ok(()) }
    }

    /// The first pings of a connection, or the first piece.
    fn begin(&mut self, index: usize) -> io::Result<()> {
        if self.options.download {
            return Ok(());
        }
        if self.options.upload.is_some() {
            return match &self.links[index].fd {
                Some(fd) => self.poll.change(fd, index as u64, EventFlags::OUT),
                None => Ok(()),
            };
        }
        let pings = usize::from(self.options.pipeline);
        self.ping(index, pings)
    }

    fn ping(&mut self, index: usize, pings: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        link.waiting.extend((0..pings).map(|_| self.now));
        self.waiting += pings;
        self.send(index, pings * self.options.ping)
    }

    /// Send what waits, and so many bytes more.
    fn send(&mut self, index: usize, more: usize) -> io::Result<()> {
        let size = self.options.ping;
        let link = &mut self.links[index];
        let waited = link.unsent > 0;
        link.unsent += more;
        let Some(fd) = &link.fd else { return Ok(()) };
        while link.unsent > 0 {
            let from = link.sent % size;
            let length = link.unsent.min(self.pattern.len() - from);
            match write(fd, &self.pattern[from..from + length]) {
                Ok(length) => {
                    (link.sent, link.unsent) = (link.sent + length, link.unsent - length);
                    self.found.sent_bytes += length as u64;
                }
                Err(Errno::AGAIN) => break,
                Err(_) => return self.fail(index),
            }
        }
        if waited != (link.unsent > 0) {
            let writes = if waited { EventFlags::empty() } else { EventFlags::OUT };
            self.poll.change(fd, index as u64, EventFlags::IN | writes)?;
        }
        Ok(())
    }

    fn upload(&mut self, index: usize) -> io::Result<()> {
        let size = self.options.upload.unwrap_or(1).min(self.pattern.len());
        let Some(fd) = &self.links[index].fd else { return Ok(()) };
        for _ in 0..PIECES_MAX {
            match write(fd, &self.pattern[..size]) {
                Ok(length) => self.found.sent_bytes += length as u64,
                Err(Errno::AGAIN) => break,
                Err(_) => return self.fail(index),
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let (size, link) = (self.options.ping, &mut self.links[index]);
        let Some(fd) = &link.fd else { return Ok(()) };
        let length = match read(fd, &mut self.chunk[..]) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Ok(0) | Err(_) => return self.fail(index),
            Ok(length) => length,
        };
        self.found.received_bytes += length as u64;
        if self.options.download {
            return Ok(());
        }
        let from = link.came % size;
        if self.chunk[..length] != self.pattern[from..from + length] {
            return self.fail(index);
        }
        link.came += length;
        let answers = (from + length) / size;
        for _ in 0..answers {
            let Some(sent) = link.waiting.pop_front() else { return self.fail(index) };
            self.found.record(self.now.saturating_duration_since(sent));
        }
        self.waiting -= answers;
        match answers {
            0 => Ok(()),
            _ if self.options.close => self.again(index),
            _ if self.running => self.ping(index, answers),
            _ => Ok(()),
        }
    }

    /// A connection has served its one ping.
    fn again(&mut self, index: usize) -> io::Result<()> {
        self.links[index] = Link::default();
        self.open -= 1;
        if self.running { self.connect(index) } else { Ok(()) }
    }

    /// A connection is of no use any more.
    fn fail(&mut self, index: usize) -> io::Result<()> {
        let link = core::mem::take(&mut self.links[index]);
        self.waiting -= link.waiting.len();
        self.found.errors += (link.waiting.len() as u64).max(1);
        match link.is_open {
            true => self.open -= 1,
            false => self.connecting -= 1,
        }
        Ok(())
    }
}
