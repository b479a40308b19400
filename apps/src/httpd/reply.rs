//! Answers that are complete at once: which head and content, what becomes of the connection, and the record of it.
//! Files of several chunks are `download.rs`'s; how a head becomes an op, `answer.rs`'s.

use corelane::{Lane, SocketId};

use super::Server;
use super::answer::{Content, Wire};
use super::choice::Choice;
use super::connection::{Phase, QUEUED_BYTES_MAX, QUEUED_SENDS_MAX, Wanted};
use super::hot::Entry;
use super::log::LaneLog;
use super::metrics::MEDIA_TYPE;
use crate::http::{FileFields, Head, Method, Page, Status, page};

impl Server {
    pub(super) fn answer_page(
        &mut self,
        lane: &mut Lane,
        socket: SocketId,
        wanted: Wanted,
        status: Status,
        about: Page<'_>,
    ) {
        let (fields, page) = page(status, about);
        self.answer(lane, socket, wanted, status, &fields, Content::Page(page));
    }

    pub(super) fn answer_entry(&mut self, lane: &mut Lane, socket: SocketId, wanted: Wanted, entry: &Entry) {
        let length = entry.version.map_or(0, |version| version.length);
        match wanted.choose(entry.version.as_ref(), self.clock.now()) {
            Choice::Whole => {
                let body = Content::Bytes(entry.body.clone());
                self.answer(lane, socket, wanted, wanted.status, entry.fields.whole(), body);
            }
            Choice::Part((start, end)) => {
                let fields = entry.fields.part((start, end), length);
                let inside =
                    |at: u64| usize::try_from(at).map_or(entry.body.len(), |at| at.min(entry.body.len()));
                let body = Content::Bytes(entry.body.slice(inside(start)..inside(end)));
                self.answer(lane, socket, wanted, Status::PartialContent, &fields, body);
            }
            other => self.answer_unsent(lane, socket, wanted, other, &entry.fields, length),
        }
    }

    /// Answer without anything of the file.
    pub(super) fn answer_unsent(
        &mut self,
        lane: &mut Lane,
        socket: SocketId,
        wanted: Wanted,
        choice: Choice,
        fields: &FileFields,
        length: u64,
    ) {
        match choice {
            Choice::Refused(status) => {
                let about = Page {
                    length: (status == Status::RangeNotSatisfiable).then_some(length),
                    location: None,
                };
                self.answer_page(lane, socket, wanted, status, about);
            }
            _ => self.answer(lane, socket, wanted, Status::NotModified, fields.unchanged(), Content::None),
        }
    }

    /// Queue an answer that is complete, and decide what becomes of the connection.
    pub(super) fn answer(
        &mut self,
        lane: &mut Lane,
        socket: SocketId,
        wanted: Wanted,
        status: Status,
        fields: &[u8],
        content: Content,
    ) {
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let keep_alive = wanted.keep_alive && !self.stopping;
        let content = if wanted.method == Method::Head { Content::None } else { content };
        let under_way = self.sends_max.saturating_sub(lane.send_room(connection.stream));
        if under_way == 0 {
            connection.queued = 0;
        }
        connection.queued += content.len();
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let full = keep_alive && (connection.queued >= QUEUED_BYTES_MAX || under_way + 2 >= QUEUED_SENDS_MAX);
        let head = Head { status, fields, keep_alive, old: wanted.old };
        let session = connection.session.as_deref_mut();
        let mut wire = Wire { lane, outbox: &mut self.outbox, clock: &self.clock, session };
        wire.send(connection.stream, &head, content, full);
        connection.phase = if full { Phase::Flushing } else { Phase::Reading };
        self.statistics.count(status);
        self.log(socket, status, bytes);
        if !keep_alive {
            return self.finish(lane, socket);
        }
        self.set_deadline(socket, now, if full { self.timeouts.send } else { self.timeouts.idle });
    }

    /// Answer with the metrics.
    pub(super) fn answer_metrics(&mut self, lane: &mut Lane, socket: SocketId, wanted: Wanted) {
        let now = lane.now();
        self.publish(lane);
        let (Some(metrics), Some(publisher)) = (&mut self.metrics, &self.publisher) else { return };
        let page = metrics.page(publisher, now);
        let fields = FileFields::made(MEDIA_TYPE, u64::try_from(page.len()).unwrap_or(u64::MAX));
        self.answer(lane, socket, wanted, Status::Ok, fields.whole(), Content::Bytes(page));
    }

    /// Write an answer into the access log, if there is one.
    pub(super) fn log(&mut self, socket: SocketId, status: Status, bytes: u64) {
        if let (Some(log), Some(connection)) = (&mut self.log, self.connections.get_mut(socket)) {
            log.record(&self.clock, connection.peer, &connection.note, status, bytes);
            connection.note.clear();
        }
    }

    /// Tell the board how the lane is.
    pub(super) fn publish(&mut self, lane: &Lane) {
        let Some(publisher) = &mut self.publisher else { return };
        self.statistics.connections = self.connections.len();
        self.statistics.stopping = self.stopping;
        self.statistics.log_dropped = self.log.as_ref().map_or(0, LaneLog::dropped);
        publisher.publish(lane, self.statistics);
    }
}
