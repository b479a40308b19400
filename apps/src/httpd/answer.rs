//! Answers: heads in blocks of the lane, content by reference. Which answer a request gets is decided in `mod.rs`.

use bytes::Bytes;
use corelane::{Lane, Op, Payload, Received, Stream};

use super::outbox::Outbox;
use crate::http::{Head, HttpClock, Sink};
use crate::tls::Session;

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
        let (page, body) = match content {
            Content::None => (None, None),
            Content::Page(page) => (Some(page), None),
            Content::Bytes(bytes) => (None, (!bytes.is_empty()).then_some(bytes)),
        };
        if let Some(session) = &mut self.session {
            let mut bytes = Vec::new();
            head.write(self.clock, &mut bytes);
            let page = page.as_deref().unwrap_or("").as_bytes();
            let sealed = session.seal(&[&bytes, page, body.as_deref().unwrap_or(&[])]).unwrap_or_default();
            let op = Op::send(stream, sealed);
            return self.outbox.submit(self.lane, if notify { op.notify() } else { op });
        }
        let head = self.head(head, page.as_deref().unwrap_or(""));
        let told = |op: Op| if notify { op.notify() } else { op };
        match body {
            None => self.outbox.submit(self.lane, told(Op::send(stream, head))),
            Some(body) => {
                self.outbox.submit(self.lane, Op::send(stream, head).more());
                self.outbox.submit(self.lane, told(Op::send(stream, body)));
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

    /// A head in a block of the lane; in ordinary memory if all blocks are in flight or it is too long for one.
    fn head(&mut self, head: &Head<'_>, page: &str) -> Payload {
        if let Some(mut block) = self.lane.block()
            && head.write(self.clock, &mut block)
            && block.append(page.as_bytes())
        {
            return block.into();
        }
        let mut bytes = Vec::with_capacity(512 + head.fields.len() + page.len());
        head.write(self.clock, &mut bytes);
        bytes.extend_from_slice(page.as_bytes());
        bytes.into()
    }
}
