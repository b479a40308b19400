//! Files for lanes that never touch the file system: a file thread and, for each lane, its end of two bounded queues.
//!
//! # Map
//!
//! | file | duty |
//! | --- | --- |
//! | `thread.rs` | the file thread: opens, checks, reads; answers lanes in the order they asked |
//! | `cache.rs` | the bounded chunk cache: memory the port reads, least recently used goes first |
//! | `root.rs` | opening below the root and nowhere else |
//! | `listing.rs` | the page of a folder that has no index |
//!
//! # Invariants
//!
//! - A file is served from one descriptor, under one [`Identity`]. A chunk counts only if the descriptor still had
//!   that identity after it was read. So a download is of one version of a file, or it ends early.
//! - A lane has at most [`UNDERWAY_MAX`] questions under way, so an answer always has room and the file thread never
//!   waits for a lane.

mod cache;
mod listing;
mod root;
mod thread;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;
use corelane::LaneWaker;

pub use cache::CacheOptions;
pub(crate) use cache::SMALL_BYTES;

use crate::http::{EntityTag, FilePath};
use thread::{FileThread, Message};

/// Bytes of a chunk: large enough that a crossing is rare, small enough that a stream holds little.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Most questions of one lane that are under way.
pub const UNDERWAY_MAX: usize = 1024;

/// How a folder is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FilesOptions {
    /// How much memory the cache has.
    pub cache: CacheOptions,
    /// A folder without `index.html` is answered with a list of what is in it.
    pub listing: bool,
}

impl From<CacheOptions> for FilesOptions {
    fn from(cache: CacheOptions) -> Self {
        FilesOptions { cache, listing: false }
    }
}

/// One version of one file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The file system.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// Units: bytes.
    pub length: u64,
    /// When its bytes last changed. Units: seconds and nanoseconds since the epoch.
    pub modified: (i64, i64),
}

impl Identity {
    /// Time of the last change, whole seconds as HTTP has them.
    pub fn modified_time(&self) -> SystemTime {
        let seconds = u64::try_from(self.modified.0).unwrap_or(0);
        SystemTime::UNIX_EPOCH + core::time::Duration::from_secs(seconds)
    }

    /// What tells this version from every other.
    pub fn tag(&self) -> EntityTag {
        let (seconds, nanoseconds) = self.modified;
        EntityTag::of(&[self.inode, self.length, seconds.cast_unsigned(), nanoseconds.cast_unsigned()])
    }

    /// Chunks of the file.
    pub fn chunks(&self) -> u64 {
        self.length.div_ceil(CHUNK_BYTES as u64)
    }
}

/// A file that the file thread keeps open for a lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileKey(pub(crate) u64);

/// A lane's question. `ticket` comes back with the answer.
#[derive(Debug)]
pub enum Question {
    /// Open a file and read its first chunk.
    Open {
        /// The lane's word.
        ticket: u64,
        /// Which file.
        path: FilePath,
    },
    /// Read a chunk of an open file.
    Read {
        /// The lane's word.
        ticket: u64,
        /// Which file.
        file: FileKey,
        /// Which chunk.
        index: u64,
    },
    /// The file is needed no more. Not answered.
    Close {
        /// Which file.
        file: FileKey,
    },
}

/// The file thread's answer.
#[derive(Debug)]
pub enum Answer {
    /// To `Open`.
    Opened {
        /// The question's.
        ticket: u64,
        /// The file, or why there is none.
        result: Result<OpenedFile, OpenError>,
    },
    /// To `Read`.
    Chunk {
        /// The question's.
        ticket: u64,
        /// The question's.
        index: u64,
        /// The bytes, or nothing: the file has changed, or cannot be read. What was promised cannot be sent.
        result: Option<Bytes>,
    },
}

/// A file that was opened.
#[derive(Clone, Debug)]
pub struct OpenedFile {
    /// Which version of it.
    pub identity: Identity,
    /// Its media type.
    pub media_type: &'static str,
    /// Its first chunk; empty if the file is.
    pub first: Bytes,
    /// Where the other chunks are read; to be closed. `None` if there are none.
    pub rest: Option<FileKey>,
    /// It is no file but a list of a folder's, made for this answer: there is no version of it.
    pub made: bool,
    /// The same bytes may be given to others for a while: the file did not change just now.
    pub settled: bool,
}

/// Why a file could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// There is none, or it lies outside the root.
    NotFound,
    /// It may not be read.
    Forbidden,
    /// It is a folder; its address ends with a slash.
    Folder,
    /// Descriptors or memory are used up, or the file changes faster than it can be read.
    Busy,
    /// The file system failed.
    Failed,
}

/// The file thread, and what makes a lane's end.
#[derive(Debug)]
pub struct Files {
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
    lanes: AtomicUsize,
}

impl Files {
    /// Serve what lies below `root`.
    ///
    /// Errors: the root is no folder that can be read, or there is no thread to be had.
    pub fn start(root: &Path, options: impl Into<FilesOptions>) -> io::Result<Files> {
        // Lanes hold back what does not fit, so the bound is only a matter of pace.
        let (messages, inbox) = sync_channel(UNDERWAY_MAX);
        let thread = FileThread::new(root, options.into(), inbox)?;
        let thread = std::thread::Builder::new().name("files".into()).spawn(move || thread.run())?;
        Ok(Files { messages, thread, lanes: AtomicUsize::new(0) })
    }

    /// A lane's end. `waker` ends the lane's wait when an answer comes.
    pub fn lane(&self, waker: LaneWaker) -> LaneFiles {
        let (answers, inbox) = sync_channel(UNDERWAY_MAX);
        let lane = self.lanes.fetch_add(1, Ordering::Relaxed);
        // To a thread that has ended this is lost, as every question will be; connections then time out.
        let _ = self.messages.send(Message::Lane { lane, answers, waker });
        LaneFiles { lane, messages: self.messages.clone(), inbox, waiting: VecDeque::new(), underway: 0 }
    }

    /// Wait for the file thread to end, which it does once every lane's end has gone.
    pub fn join(self) {
        let Files { messages, thread, lanes: _ } = self;
        drop(messages);
        // A panic there was printed there.
        let _ = thread.join();
    }
}

/// A lane's end. Never blocks.
#[derive(Debug)]
pub struct LaneFiles {
    lane: usize,
    messages: SyncSender<Message>,
    inbox: Receiver<Answer>,
    /// Shape: bounded by what the lane's connections ask, each at most twice.
    waiting: VecDeque<Question>,
    underway: usize,
}

impl LaneFiles {
    /// Ask, now or as soon as there is room.
    pub fn ask(&mut self, question: Question) {
        self.waiting.push_back(question);
        self.flush();
    }

    /// The next answer, if one is there.
    pub fn poll(&mut self) -> Option<Answer> {
        let answer = self.inbox.try_recv().ok();
        if answer.is_some() {
            self.underway -= 1;
        }
        if !self.waiting.is_empty() {
            self.flush();
        }
        answer
    }

    /// Questions that have no answer yet.
    pub fn underway(&self) -> usize {
        self.underway + self.waiting.len()
    }

    fn flush(&mut self) {
        while self.underway < UNDERWAY_MAX
            && let Some(question) = self.waiting.pop_front()
        {
            let answered = !matches!(question, Question::Close { .. });
            match self.messages.try_send(Message::Ask { lane: self.lane, question }) {
                Ok(()) => self.underway += usize::from(answered),
                Err(TrySendError::Full(Message::Ask { question, .. })) => {
                    self.waiting.push_front(question);
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
