//! What the server knows of one connection. What happens to it is in `mod.rs`.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelane::{Instant, Received, Stream};

use super::log::Note;
use super::secure::Arrived;
use crate::files::{CHUNK_BYTES, FileKey};
use crate::http::{ByteRange, Conditions, HEAD_MAX, Input, Method, Request, Span, Status};
use crate::tls::Session;

/// How long a connection may take for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// A connection that says nothing is closed after this.
    pub idle: Duration,
    /// A request head must be whole this long after its first byte.
    pub head: Duration,
    /// A chunk of 256 KiB, or the answers that fill a connection's bound, must be acknowledged within this: a client
    /// that reads more slowly is dropped.
    pub send: Duration,
    /// How long a client whose last answer is sent is heard out.
    pub linger: Duration,
}

impl Default for Timeouts {
    /// 75 s idle as web servers have it, 10 s for a head, 60 s for a chunk (4 KiB a second), 5 s to hear a client out.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timeouts { idle: seconds(75), head: seconds(10), send: seconds(60), linger: seconds(5) }
    }
}

/// How much there may be of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most connections of a lane; one more is told to come back later.
    pub connections: usize,
    /// Most requests of a connection; the last one's answer ends it.
    pub requests: u64,
    /// Most bytes of a request's line and fields.
    pub header_bytes: usize,
}

impl Default for Limits {
    /// As many connections as a lane has sockets by default, any number of requests, and 16 KiB.
    fn default() -> Self {
        Limits { connections: 65_536, requests: u64::MAX, header_bytes: HEAD_MAX }
    }
}

/// Connections beyond the limit that are being told so. Even more are ended without a word.
pub const REFUSALS_MAX: usize = 64;

/// How much of it is read and thrown away, so that the refusal is not lost to a reset. Units: bytes.
pub const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Chunks of one download that are being read, or sent and not acknowledged: 512 KiB.
pub const CHUNKS_UNDERWAY_MAX: u64 = 2;

/// Content of pipelined answers that is not acknowledged, beyond which no further request is parsed. Units: bytes.
pub const QUEUED_BYTES_MAX: usize = 512 * 1024;

/// Sends of pipelined answers that are not acknowledged, beyond which no further request is parsed.
pub const QUEUED_SENDS_MAX: usize = 32;

/// What was asked for, without its target.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub method: Method,
    pub keep_alive: bool,
    pub old: bool,
    pub conditions: Conditions,
    pub range: Option<ByteRange>,
    /// The status the file is sent with: `Ok`, or `NotFound` for the page that says so.
    pub status: Status,
}

impl Wanted {
    pub fn new(request: &Request<'_>) -> Wanted {
        let Request { method, keep_alive, old, conditions, range, .. } = *request;
        Wanted { method, keep_alive, old, conditions, range, status: Status::Ok }
    }

    /// What a request is taken for that could not be read.
    pub fn refused() -> Wanted {
        Wanted {
            method: Method::Get,
            keep_alive: false,
            old: false,
            conditions: Conditions::default(),
            range: None,
            status: Status::BadRequest,
        }
    }
}

/// An open file of the file thread's, shared by the downloads of one lane. The last to go has it closed.
#[derive(Debug)]
pub struct OpenHandle {
    pub key: FileKey,
    pub returns: Rc<RefCell<Vec<FileKey>>>,
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        self.returns.borrow_mut().push(self.key);
    }
}

/// A file of several chunks, or a part of it, on its way.
#[derive(Debug)]
pub struct Download {
    pub file: Rc<OpenHandle>,
    /// The part: its first byte, and the first behind it.
    pub span: Span,
    /// The first chunk behind the part.
    pub end: u64,
    /// The next chunk to be asked of the file thread.
    pub ask: u64,
    /// The next chunk to be sent.
    pub send: u64,
    /// The next chunk to be acknowledged.
    pub ack: u64,
    pub keep_alive: bool,
    pub status: Status,
}

impl Download {
    /// Bytes of the part that lie before chunk `end`.
    pub fn bytes_before(&self, end: u64) -> u64 {
        (end * CHUNK_BYTES as u64).min(self.span.1).saturating_sub(self.span.0)
    }

    /// What of chunk `index` belongs to the part.
    pub fn cut(&self, index: u64, chunk: &Bytes) -> Bytes {
        let start = index * CHUNK_BYTES as u64;
        let inside =
            |at: u64| usize::try_from(at.saturating_sub(start)).map_or(chunk.len(), |at| at.min(chunk.len()));
        chunk.slice(inside(self.span.0)..inside(self.span.1))
    }
}

/// What a connection is about.
#[derive(Debug)]
pub enum Phase {
    /// Waiting for a request.
    Reading,
    /// Waiting for the file thread to open a file.
    Opening { ticket: u64, wanted: Wanted },
    /// Sending a file's chunks.
    Downloading(Box<Download>),
    /// Enough answers are under way; waiting for their acknowledgement.
    Flushing,
    /// Refused: our side is shut, and this many more bytes are read and thrown away.
    Lingering { left: usize },
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    pub stream: Stream,
    pub peer: IpAddr,
    /// It came through the listener that has the metrics and nothing else.
    pub metrics_only: bool,
    /// Requests so far.
    pub requests: u64,
    /// The request under way, for the log.
    pub note: Note,
    /// TLS, and what came that it has not opened.
    pub session: Option<Box<Session<Received>>>,
    pub input: Input<Arrived>,
    pub phase: Phase,
    /// The peer has sent its FIN.
    pub ended: bool,
    /// It is on the list of those with more to parse.
    pub ready: bool,
    /// A part of a request is here, and its deadline runs.
    pub partial: bool,
    /// Content sent since nothing was under way. Units: bytes.
    pub queued: usize,
    pub deadline: Instant,
    /// Where the wheel has it.
    pub visit: u64,
}

impl Connection {
    pub fn new(stream: Stream, peer: IpAddr, deadline: Instant) -> Connection {
        Connection {
            stream,
            peer,
            metrics_only: false,
            requests: 0,
            note: Note::default(),
            session: None,
            input: Input::default(),
            phase: Phase::Reading,
            ended: false,
            ready: false,
            partial: false,
            queued: 0,
            deadline,
            visit: 0,
        }
    }

    /// Nothing was asked and nothing is owed.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Reading) && self.input.is_empty() && !self.is_sealed()
    }

    /// Something came that TLS has not opened.
    pub fn is_sealed(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.is_empty())
    }

    /// Bytes have arrived.
    pub fn push(&mut self, data: Received) {
        match &mut self.session {
            Some(session) => session.push(data),
            None => self.input.push(Arrived::Frame(data)),
        }
    }
}
