//! Files of more than a chunk: read ahead a little, sent by reference, aborted if the file changes on the way.

use std::rc::Rc;

use bytes::Bytes;
use corelane::{Lane, SocketId};

use super::Server;
use super::answer::{Content, Wire};
use super::choice::{Choice, describe};
use super::connection::{CHUNKS_UNDERWAY_MAX, Download, OpenHandle, Phase, Wanted};
use crate::files::{CHUNK_BYTES, OpenedFile};
use crate::http::{Head, Method, Status};

impl Server {
    pub(super) fn start_download(
        &mut self,
        lane: &mut Lane,
        socket: SocketId,
        wanted: Wanted,
        file: &OpenedFile,
        handle: &Rc<OpenHandle>,
    ) {
        let (fields, version) = describe(file);
        let length = file.identity.length;
        let choice = wanted.choose(version.as_ref(), self.clock.now());
        let (Choice::Whole | Choice::Part(_)) = choice else {
            return self.answer_unsent(lane, socket, wanted, choice, &fields, length);
        };
        if wanted.method == Method::Head {
            return self.answer(lane, socket, wanted, wanted.status, fields.whole(), Content::None);
        }
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let keep_alive = wanted.keep_alive && !self.stopping;
        let (status, span, fields) = match choice {
            Choice::Part(span) => (Status::PartialContent, span, &fields.part(span, length)[..]),
            _ => (wanted.status, (0, length), fields.whole()),
        };
        let head = Head { status, fields, keep_alive, old: wanted.old };
        let session = connection.session.as_deref_mut();
        let mut wire = Wire { lane, outbox: &mut self.outbox, clock: &self.clock, session };
        let first = span.0 / CHUNK_BYTES as u64;
        let mut download = Box::new(Download {
            file: Rc::clone(handle),
            span,
            end: span.1.div_ceil(CHUNK_BYTES as u64),
            ask: first,
            send: first,
            ack: first,
            keep_alive,
            status,
        });
        self.statistics.count(status);
        if first == 0 {
            (download.ask, download.send) = (1, 1);
            let content = Content::Bytes(download.cut(0, &file.first));
            wire.send(connection.stream, &head, content, true);
        } else {
            wire.send(connection.stream, &head, Content::None, false);
        }
        let over = download.send == download.end && !keep_alive;
        connection.phase = Phase::Downloading(download);
        if over {
            self.log_download(socket, true);
            return self.finish(lane, socket);
        }
        self.ask_chunks(socket);
        self.set_deadline(socket, now, self.timeouts.send);
    }

    /// Have further chunks of a download read, as far as its bound allows.
    pub(super) fn ask_chunks(&mut self, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let Phase::Downloading(download) = &mut connection.phase else { return };
        while download.ask < download.end && download.ask - download.ack < CHUNKS_UNDERWAY_MAX {
            self.site.read(download.file.key, download.ask, socket);
            download.ask += 1;
        }
    }

    /// A chunk has been read, or the file has changed under its download.
    pub(super) fn chunk(&mut self, lane: &mut Lane, socket: SocketId, index: u64, result: Option<Bytes>) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let Phase::Downloading(download) = &mut connection.phase else { return };
        let Some(bytes) = result.filter(|_| index == download.send) else {
            // What was promised in the head cannot be kept: the client must see that the answer is not whole.
            return self.abort(lane, socket);
        };
        download.send += 1;
        let over = download.send == download.end && !download.keep_alive;
        let bytes = download.cut(index, &bytes);
        let session = connection.session.as_deref_mut();
        let mut wire = Wire { lane, outbox: &mut self.outbox, clock: &self.clock, session };
        wire.send_on(connection.stream, bytes);
        if over {
            self.log_download(socket, true);
            self.finish(lane, socket);
        }
    }

    /// Write a download into the log: as much as was sent, or as much as arrived if it ends early.
    pub(super) fn log_download(&mut self, socket: SocketId, whole: bool) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let Phase::Downloading(download) = &connection.phase else { return };
        let bytes = download.bytes_before(if whole { download.end } else { download.ack });
        let status = download.status;
        self.log(socket, status, bytes);
    }
}
