//! Answers: heads in blocks of the lane, short content behind them, all other by reference. Which answer a request gets is decided in `mod.rs`.

use bytes::Bytes;
use corelane::{Lane, Op, Payload, Received, Stream};

use crate::http::{Head, HttpClock, Sink};
use crate::outbox::Outbox;
use crate::tls::Session;

/// Content that goes behind its head in the same memory. To refer to so little costs more than to copy it: an op, a range of
/// the send queue and a segment of the frame. Units: bytes.
const SHORT_MAX: usize = 256;

/// What follows a head.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing.
    None,
    /// Bytes that stay where they are.
    Bytes(Bytes),
    /// A short page, which fits behind its head in the same memory.
    Page(String),
}

impl Content {
    /// Units: bytes.
    pub fn len(&self) -> usize {
        match self {
            Content::None => 0,
            Content::Bytes(bytes) => bytes.len(),
            Content::Page(page) => page.len(),
        }
    }
}

/// The way out of the server.
pub(super) struct Wire<'a> {
    pub lane: &'a mut Lane,
    pub outbox: &'a mut Outbox,
    pub clock: &'a HttpClock,
    pub session: Option<&'a mut Session<Received>>,
}

impl Wire<'_> {
    /// Queue a head and its content. `notify`: a `Sent` comes once the peer has all of it.
    pub fn send(&mut self, stream: Stream, head: &Head<'_>, content: Content, notify: bool) {
        let (short, long) = match content {
            Content::None => (Bytes::new(), None),
            Content::Page(page) => (page.into(), None),
            Content::Bytes(bytes) if bytes.len() <= SHORT_MAX => (bytes, None),
            Content::Bytes(bytes) => (Bytes::new(), Some(bytes)),
        };
        let told = |op: Op| if notify { op.notify() } else { op };
        if let Some(session) = &mut self.session {
            let mut bytes = Vec::new();
            head.write(self.clock, &mut bytes);
            let sealed = session.seal(&[&bytes, &short, &long.unwrap_or_default()]).unwrap_or_default();
            return self.outbox.submit(self.lane, told(Op::send(stream, sealed)));
        }
        let head = self.head(head, &short);
        match long {
            None => self.outbox.submit(self.lane, told(Op::send(stream, head))),
            Some(long) => {
                self.outbox.submit(self.lane, Op::send(stream, head).more());
                self.outbox.submit(self.lane, told(Op::send(stream, long)));
            }
        }
    }

    /// Queue content whose head has gone before.
    pub fn send_on(&mut self, stream: Stream, bytes: Bytes) {
        let bytes = match &mut self.session {
            Some(session) => session.seal(&[&bytes]).unwrap_or_default(),
            None => bytes,
        };
        self.outbox.submit(self.lane, Op::send(stream, bytes).notify());
    }

    /// A head and what is `short` behind it in a block of the lane; in ordinary memory if all blocks are in flight or they are
    /// too long for one.
    fn head(&mut self, head: &Head<'_>, short: &[u8]) -> Payload {
        if let Some(mut block) = self.lane.block()
            && head.write(self.clock, &mut block)
            && block.append(short)
        {
            return block.into();
        }
        let mut bytes = Vec::with_capacity(512 + head.fields.len() + short.len());
        head.write(self.clock, &mut bytes);
        bytes.extend_from_slice(short);
        bytes.into()
    }
}
