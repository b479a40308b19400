//! The file thread: everything that may wait for a disk happens here. What it keeps is in `cache.rs`.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use corelane::LaneWaker;

use super::cache::ChunkCache;
use super::root::{Found, Place, Root, identity};
use super::{Answer, CHUNK_BYTES, FileKey, FilesOptions, Identity, OpenError, OpenedFile, Question};
use crate::http::FilePath;

/// A change this recent may be followed by another that leaves the same time of change: the kernel's clock for
/// files ticks every 1 to 10 ms.
const SETTLE: Duration = Duration::from_millis(20);

/// Pause before what could not be done is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// Tries of a file that keeps changing, and of one that finds no memory, before the client is told to come back.
const TRIES_MAX: u32 = 250;

/// Tries that a file just changed is given to settle; after that it is served as it is, and not kept.
const SETTLE_TRIES_MAX: u32 = 12;

/// What reaches the file thread.
#[derive(Debug)]
pub(super) enum Message {
    /// A lane's end was made.
    Lane { lane: usize, answers: SyncSender<Answer>, waker: LaneWaker },
    /// A lane asks.
    Ask { lane: usize, question: Question },
}

struct LaneEnd {
    answers: SyncSender<Answer>,
    waker: LaneWaker,
}

/// A file some lane reads. One descriptor serves all that read the same version.
struct Open {
    file: File,
    identity: Identity,
    users: usize,
}

struct Later {
    lane: usize,
    question: Question,
    tries: u32,
}

/// What came of a question.
enum Outcome {
    Answer(Answer),
    Nothing,
    /// Not now.
    Later(Question),
}

enum ReadError {
    /// The file is not the version it was.
    Changed,
    /// Lanes hold every block.
    NoBlock,
    Failed,
}

pub(super) struct FileThread {
    root: Root,
    cache: ChunkCache,
    inbox: Receiver<Message>,
    lanes: HashMap<usize, LaneEnd>,
    open: HashMap<FileKey, Open>,
    keys: HashMap<Identity, FileKey>,
    next_key: u64,
    /// Shape: at most `UNDERWAY_MAX` for each lane.
    later: VecDeque<Later>,
    /// The chunk to read when nobody asks for anything.
    ahead: Option<(FileKey, u64)>,
}

impl FileThread {
    pub fn new(root: &Path, options: FilesOptions, inbox: Receiver<Message>) -> io::Result<FileThread> {
        Ok(FileThread {
            root: Root::new(root, options.listing)?,
            cache: ChunkCache::new(options.cache),
            inbox,
            lanes: HashMap::new(),
            open: HashMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            later: VecDeque::new(),
            ahead: None,
        })
    }

    /// Serve until every lane's end has gone.
    pub fn run(mut self) {
        loop {
            let message = if self.ahead.is_some() {
                match self.inbox.try_recv() {
                    Ok(message) => message,
                    Err(TryRecvError::Empty) => {
                        self.read_ahead();
                        continue;
                    }
                    Err(TryRecvError::Disconnected) => return,
                }
            } else if self.later.is_empty() {
                let Ok(message) = self.inbox.recv() else { return };
                message
            } else {
                match self.inbox.recv_timeout(PAUSE) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => {
                        self.try_again();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            };
            self.handle(message);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Lane { lane, answers, waker } => {
                self.lanes.insert(lane, LaneEnd { answers, waker });
            }
            Message::Ask { lane, question } => {
                // The chunks of a file are answered in order: none overtakes one that waits for memory.
                if matches!(question, Question::Read { .. }) && self.reads_wait() {
                    self.later.push_back(Later { lane, question, tries: 0 });
                } else {
                    self.attempt(lane, question, 0);
                }
            }
        }
    }

    fn reads_wait(&self) -> bool {
        self.later.iter().any(|later| matches!(later.question, Question::Read { .. }))
    }

    /// Try once more what waits, in order; reads stop at the first that still cannot be done.
    fn try_again(&mut self) {
        let mut reads_blocked = false;
        for _ in 0..self.later.len() {
            let Some(Later { lane, question, tries }) = self.later.pop_front() else { return };
            let is_read = matches!(question, Question::Read { .. });
            if is_read && reads_blocked {
                self.later.push_back(Later { lane, question, tries });
                continue;
            }
            let done = self.attempt(lane, question, tries + 1);
            reads_blocked |= is_read && !done;
        }
    }

    /// Answer a question, or put it off. True if it is answered.
    fn attempt(&mut self, lane: usize, question: Question, tries: u32) -> bool {
        let outcome = match question {
            Question::Open { ticket, path } => self.open(ticket, path, tries),
            Question::Read { ticket, file, index } => self.read(ticket, file, index),
            Question::Close { file } => {
                self.close(file);
                Outcome::Nothing
            }
        };
        match outcome {
            Outcome::Answer(answer) => {
                if let Some(end) = self.lanes.get(&lane) {
                    // A lane's inbox has room for all it asked; a lane that has ended wants no answer.
                    let _ = end.answers.try_send(answer);
                    end.waker.wake();
                }
            }
            Outcome::Nothing => {}
            Outcome::Later(question) => {
                self.later.push_back(Later { lane, question, tries });
                return false;
            }
        }
        true
    }

    fn open(&mut self, ticket: u64, path: FilePath, tries: u32) -> Outcome {
        let result = match self.root.open(&path) {
            Err(error) => Err(error),
            Ok(Place::Listing(page)) => Ok(listed(page)),
            Ok(Place::File(found)) => {
                let settled = is_settled(&found.identity);
                if !settled && tries < SETTLE_TRIES_MAX {
                    return Outcome::Later(Question::Open { ticket, path });
                }
                match self.first_chunk(&found, settled) {
                    Ok(first) => Ok(self.opened(found, first, settled)),
                    Err(ReadError::Failed) => Err(OpenError::Failed),
                    Err(_) if tries < TRIES_MAX => return Outcome::Later(Question::Open { ticket, path }),
                    Err(_) => Err(OpenError::Busy),
                }
            }
        };
        Outcome::Answer(Answer::Opened { ticket, result })
    }

    fn first_chunk(&mut self, found: &Found, settled: bool) -> Result<Bytes, ReadError> {
        if found.identity.length == 0 {
            return Ok(Bytes::new());
        }
        chunk(&mut self.cache, &found.file, &found.identity, 0, settled)
    }

    fn opened(&mut self, found: Found, first: Bytes, settled: bool) -> OpenedFile {
        let Found { file, identity, media_type } = found;
        let rest = (identity.chunks() > 1).then(|| {
            let next = FileKey(self.next_key);
            let key = *self.keys.entry(identity).or_insert(next);
            let open = self.open.entry(key).or_insert_with(|| Open { file, identity, users: 0 });
            open.users += 1;
            self.next_key += u64::from(key == next);
            self.ahead = Some((key, 1));
            key
        });
        OpenedFile { identity, media_type, first, rest, made: false, settled }
    }

    fn read(&mut self, ticket: u64, file: FileKey, index: u64) -> Outcome {
        let result = match self.open.get(&file) {
            None => None,
            Some(Open { file: descriptor, identity, .. }) => {
                let settled = is_settled(identity);
                match chunk(&mut self.cache, descriptor, identity, index, settled) {
                    Ok(bytes) => {
                        self.ahead = Some((file, index + 1));
                        Some(bytes)
                    }
                    Err(ReadError::NoBlock) => return Outcome::Later(Question::Read { ticket, file, index }),
                    Err(ReadError::Changed | ReadError::Failed) => None,
                }
            }
        };
        Outcome::Answer(Answer::Chunk { ticket, index, result })
    }

    /// Nobody asks: have the next chunk of the last stream ready, if memory is plenty.
    fn read_ahead(&mut self) {
        let Some((file, index)) = self.ahead.take() else { return };
        let Some(Open { file, identity, .. }) = self.open.get(&file) else { return };
        if index < identity.chunks() && is_settled(identity) && self.cache.has_spare() {
            // Failing here means nothing: whoever asks for the chunk will be told.
            let _ = chunk(&mut self.cache, file, identity, index, true);
        }
    }

    fn close(&mut self, file: FileKey) {
        let Some(open) = self.open.get_mut(&file) else { return };
        open.users -= 1;
        if open.users == 0 {
            self.keys.remove(&open.identity);
            self.open.remove(&file);
        }
    }
}

/// A folder's list as a file of its own kind. One that is longer than a chunk is made anew for each request, so that
/// lanes do not keep many of them.
fn listed(page: String) -> OpenedFile {
    let length = u64::try_from(page.len()).unwrap_or(u64::MAX);
    let settled = page.len() <= CHUNK_BYTES;
    let identity = Identity { device: 0, inode: 0, length, modified: (0, 0) };
    let first = Bytes::from(page);
    OpenedFile { identity, media_type: "text/html; charset=utf-8", first, rest: None, made: true, settled }
}

fn is_settled(identity: &Identity) -> bool {
    let (seconds, nanoseconds) = identity.modified;
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
        return true;
    };
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    // A time to come is none that a change made now would leave.
    changed.and_then(|changed| SystemTime::now().duration_since(changed).ok()).is_none_or(|age| age > SETTLE)
}

/// A chunk of the version `identity` of a file: from the cache, or read and then checked.
fn chunk(
    cache: &mut ChunkCache,
    file: &File,
    identity: &Identity,
    index: u64,
    keep: bool,
) -> Result<Bytes, ReadError> {
    let chunk_bytes = CHUNK_BYTES as u64;
    let start = index.checked_mul(chunk_bytes).filter(|&start| start < identity.length);
    let start = start.ok_or(ReadError::Failed)?;
    let wanted = usize::try_from((identity.length - start).min(chunk_bytes)).unwrap_or(CHUNK_BYTES);
    if let Some(bytes) = cache.get(&(*identity, index), wanted) {
        return Ok(bytes);
    }
    let mut block = cache.block(wanted).ok_or(ReadError::NoBlock)?;
    match file.read_exact_at(&mut block.spare()[..wanted], start) {
        Ok(()) => block.grow(wanted),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ReadError::Changed),
        Err(_) => return Err(ReadError::Failed),
    }
    // Asked after reading: had the file changed before or meanwhile, this would tell.
    let metadata = file.metadata().map_err(|_| ReadError::Failed)?;
    if self::identity(&metadata) != *identity {
        return Err(ReadError::Changed);
    }
    let bytes = block.freeze();
    if keep {
        cache.put((*identity, index), bytes.clone());
    }
    Ok(bytes)
}
