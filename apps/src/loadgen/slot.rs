//! What a client knows of one of its connections. What happens to it is in `events.rs`.

use std::collections::VecDeque;

use corelane::{Instant, Stream, Tag};

use super::answer::{Answer, AnswerReader, Malformed};
use super::plan::DOWNLOAD_CHUNK;
use super::{ErrorKind, Exchange};
use crate::tls::TlsStream;

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// There is none.
    Idle,
    /// There is none, and there will be none for a while: the last one could not be opened.
    Resting,
    /// The connect is under way.
    Connecting,
    /// TLS is being set up.
    Shaking,
    /// Requests can be sent.
    Open,
    /// The last answer has come; the server is to close first.
    Finishing,
}

/// Which list of connections that could take a request it is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listed {
    No,
    Open,
    Idle,
}

/// Reads answers.
#[derive(Debug)]
pub(super) enum Reader {
    /// So many bytes of the answer have come back.
    Ping(usize),
    Http(AnswerReader),
    /// So many bytes of a download have come that are no whole chunk.
    Download(usize),
    /// Nothing is to come.
    Upload,
}

impl Reader {
    pub fn new(exchange: &Exchange) -> Reader {
        match exchange {
            Exchange::Ping(_) => Reader::Ping(0),
            Exchange::Http(_) => Reader::Http(AnswerReader::default()),
            Exchange::Upload(_) => Reader::Upload,
            Exchange::Download => Reader::Download(0),
        }
    }

    /// Read on, up to the end of an answer; `None` if all was read.
    pub fn read(&mut self, bytes: &mut &[u8], exchange: &Exchange) -> Result<Option<Answer>, ErrorKind> {
        match self {
            Reader::Http(reader) => reader.read(bytes).map_err(|Malformed| ErrorKind::Malformed),
            Reader::Ping(at) => {
                let sent = exchange.request();
                let length = bytes.len().min(sent.len() - *at);
                let (piece, rest) = bytes.split_at(length);
                if *piece != sent[*at..*at + length] {
                    return Err(ErrorKind::Malformed);
                }
                *bytes = rest;
                *at += length;
                if *at < sent.len() {
                    return Ok(None);
                }
                *at = 0;
                Ok(Some(Answer::DONE))
            }
            Reader::Download(at) => {
                let length = bytes.len().min(DOWNLOAD_CHUNK - *at);
                *bytes = &bytes[length..];
                *at = (*at + length) % DOWNLOAD_CHUNK;
                Ok((*at == 0).then_some(Answer::DONE))
            }
            Reader::Upload => Err(ErrorKind::Malformed),
        }
    }

    /// The connection has ended: the answer that ended with it, if one did.
    pub fn end(&mut self) -> Result<Option<Answer>, ErrorKind> {
        match self {
            Reader::Http(reader) => reader.end().map_err(|Malformed| ErrorKind::Ended),
            Reader::Ping(0) | Reader::Upload => Ok(None),
            Reader::Ping(_) | Reader::Download(_) => Err(ErrorKind::Ended),
        }
    }
}

/// A place for one connection after the other.
#[derive(Debug)]
pub(super) struct Slot {
    pub state: State,
    pub listed: Listed,
    /// Of the place's connections. What completes under an older one's tag is of no interest any more.
    pub generation: u32,
    pub stream: Option<Stream>,
    pub reader: Reader,
    pub tls: Option<Box<TlsStream>>,
    /// When the unanswered requests were due, in their order.
    pub waiting: VecDeque<Instant>,
    /// When the connect was asked for.
    pub began: Instant,
    /// When patience ends, where something is awaited.
    pub deadline: Instant,
}

impl Slot {
    pub fn new(exchange: &Exchange) -> Slot {
        Slot {
            state: State::Idle,
            listed: Listed::No,
            generation: 0,
            stream: None,
            reader: Reader::new(exchange),
            tls: None,
            waiting: VecDeque::new(),
            began: Instant::ZERO,
            deadline: Instant::FOREVER,
        }
    }

    /// What the ops of the current connection are tagged with.
    pub fn tag(&self, index: usize) -> Tag {
        Tag(u64::from(self.generation) << 32 | index as u64)
    }

    /// Something is awaited that may come too late.
    pub fn is_pressed(&self) -> bool {
        match self.state {
            State::Idle | State::Resting | State::Connecting => false,
            State::Shaking | State::Finishing => true,
            State::Open => !self.waiting.is_empty(),
        }
    }
}

/// Place and generation of a tag.
pub(super) fn untag(tag: Tag) -> (usize, u32) {
    let index = usize::try_from(tag.0 & 0xffff_ffff).unwrap_or(usize::MAX);
    (index, u32::try_from(tag.0 >> 32).unwrap_or(0))
}
