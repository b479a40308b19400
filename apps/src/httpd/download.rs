//! Files of more than a chunk: read ahead a little, sent by reference, aborted if the file changes on the way.

use std::rc::Rc;

use bytes::Bytes;
use corelane::{Lane, SocketId};

use super::Server;
use super::answer::{Content, Wire};
use super::connection::{CHUNKS_UNDERWAY_MAX, Download, OpenHandle, Phase, Wanted};
use crate::files::OpenedFile;
use crate::http::{Head, Method, Status, date_text, file_fields};

impl Server {
    pub(super) fn start_download(
        &mut self,
        lane: &mut Lane,
        socket: SocketId,
        wanted: Wanted,
        file: &OpenedFile,
        handle: &Rc<OpenHandle>,
    ) {
        let modified = file.identity.modified_time();
        if wanted.has(modified) {
            return self.answer(lane, socket, wanted, Status::NotModified, b"", Content::None);
        }
        let fields = file_fields(file.media_type, file.identity.length, &date_text(modified));
        if wanted.method == Method::Head {
            return self.answer(lane, socket, wanted, wanted.status, &fields, Content::None);
        }
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let keep_alive = wanted.keep_alive && !self.stopping;
        let head = Head { status: wanted.status, fields: &fields, keep_alive, old: wanted.old };
        let mut wire = Wire { lane, outbox: &mut self.outbox, clock: &self.clock };
        wire.send(connection.stream, &head, Content::Bytes(file.first.clone()), true);
        connection.phase = Phase::Downloading(Box::new(Download {
            file: Rc::clone(handle),
            chunks: file.identity.chunks(),
            asked: 1,
            sent: 1,
            acked: 0,
            keep_alive,
        }));
        self.ask_chunks(socket);
        self.set_deadline(socket, now, self.timeouts.send);
    }

    /// Have further chunks of a download read, as far as its bound allows.
    pub(super) fn ask_chunks(&mut self, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let Phase::Downloading(download) = &mut connection.phase else { return };
        while download.asked < download.chunks && download.asked - download.acked < CHUNKS_UNDERWAY_MAX {
            self.site.read(download.file.key, download.asked, socket);
            download.asked += 1;
        }
    }

    /// A chunk has been read, or the file has changed under its download.
    pub(super) fn chunk(&mut self, lane: &mut Lane, socket: SocketId, index: u64, result: Option<Bytes>) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let Phase::Downloading(download) = &mut connection.phase else { return };
        let Some(bytes) = result.filter(|_| index == download.sent) else {
            // What was promised in the head cannot be kept: the client must see that the answer is not whole.
            return self.abort(lane, socket);
        };
        download.sent += 1;
        let over = download.sent == download.chunks && !download.keep_alive;
        let mut wire = Wire { lane, outbox: &mut self.outbox, clock: &self.clock };
        wire.send_on(connection.stream, bytes);
        if over {
            self.finish(lane, socket);
        }
    }
}
