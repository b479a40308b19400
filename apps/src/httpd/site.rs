//! Where a target's file is: at hand, being opened, or nowhere. Sending it is `answer.rs`'s.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use corelane::{Instant, SocketId};

use super::connection::OpenHandle;
use super::hot::{Entry, Hot, HotOptions};
use crate::files::{Answer, FileKey, LaneFiles, OpenedFile, Question};
use crate::http::{Status, file_path};

/// Outcome of looking for a target's file.
#[derive(Debug)]
pub(super) enum LookUp {
    /// Here it is.
    Hot(Entry),
    /// The file thread is opening it, under this ticket.
    Asked(u64),
    /// There can be none.
    Refused(Status),
}

/// A file that is being opened, and who waits for it.
#[derive(Debug)]
pub(super) struct Opening {
    pub target: Rc<str>,
    /// Shape: at most one entry for each connection.
    pub waiters: Vec<SocketId>,
}

/// A lane's view of the site.
#[derive(Debug)]
pub(super) struct Site {
    files: LaneFiles,
    pub hot: Hot,
    opening: HashMap<u64, Opening>,
    tickets: HashMap<Rc<str>, u64>,
    next_ticket: u64,
    /// Files whose last download has gone.
    closed: Rc<RefCell<Vec<FileKey>>>,
}

impl Site {
    pub fn new(files: LaneFiles, options: HotOptions) -> Site {
        Site {
            files,
            hot: Hot::new(options),
            opening: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            closed: Rc::default(),
        }
    }

    /// Find a target's file, or have it opened: once, however many ask.
    pub fn look_up(&mut self, target: &str, now: Instant) -> LookUp {
        if let Some(entry) = self.hot.get(target, now) {
            return LookUp::Hot(entry);
        }
        if let Some(&ticket) = self.tickets.get(target) {
            return LookUp::Asked(ticket);
        }
        let path = match file_path(target) {
            Ok(path) => path,
            Err(status) => return LookUp::Refused(status),
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let target: Rc<str> = target.into();
        self.tickets.insert(Rc::clone(&target), ticket);
        self.opening.insert(ticket, Opening { target, waiters: Vec::new() });
        self.files.ask(Question::Open { ticket, path });
        LookUp::Asked(ticket)
    }

    /// Tell `socket` when the file of `ticket` is open.
    pub fn wait(&mut self, ticket: u64, socket: SocketId) {
        if let Some(opening) = self.opening.get_mut(&ticket) {
            opening.waiters.push(socket);
        }
    }

    /// The opening a ticket was for; it is over.
    pub fn finish(&mut self, ticket: u64) -> Option<Opening> {
        let opening = self.opening.remove(&ticket)?;
        self.tickets.remove(&opening.target);
        Some(opening)
    }

    /// A handle for the chunks of an opened file that has more than one.
    pub fn handle(&self, file: &OpenedFile) -> Option<Rc<OpenHandle>> {
        let key = file.rest?;
        Some(Rc::new(OpenHandle { key, returns: Rc::clone(&self.closed) }))
    }

    /// Have a chunk read.
    pub fn read(&mut self, file: FileKey, index: u64, socket: SocketId) {
        self.files.ask(Question::Read { ticket: socket.to_bits(), file, index });
    }

    /// The next answer of the file thread.
    pub fn poll(&mut self) -> Option<Answer> {
        if !self.closed.borrow().is_empty() {
            for file in self.closed.borrow_mut().drain(..) {
                self.files.ask(Question::Close { file });
            }
        }
        self.files.poll()
    }
}
