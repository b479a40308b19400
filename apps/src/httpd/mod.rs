//! The HTTP server on one lane: a state machine over completions and the file thread's answers. Never blocks.
//!
//! # Map
//!
//! | file | duty |
//! | --- | --- |
//! | `connection.rs` | what is known of one connection, and every bound and time-out |
//! | `site.rs`, `hot.rs` | where a target's file is; the lane's own small files |
//! | `opening.rs`, `download.rs` | files that are opened first; files sent in chunks |
//! | `choice.rs` | what of a file a request gets: conditions and ranges |
//! | `answer.rs`, `outbox.rs` | heads and contents as ops; ops that wait for room in the batch |
//! | `wheel.rs` | deadlines of all connections under one timer |
//!
//! Requests of a connection are answered one after the other. What waits unparsed holds its frames, so that a client
//! that asks faster than it reads meets a closed window, not a growing queue.

mod answer;
mod choice;
mod connection;
mod download;
mod hot;
mod opening;
mod outbox;
mod site;
mod wheel;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use corelane::{
    Completion, Event, Instant, Lane, LaneError, Op, PerSocket, QueueId, SocketId, SocketOption, Stream, Tag,
};

use self::answer::{Content, Wire};
use self::choice::Choice;
pub use self::connection::Timeouts;
use self::connection::{Connection, LINGER_BYTES_MAX, Phase, QUEUED_BYTES_MAX, QUEUED_SENDS_MAX, Wanted};
use self::hot::Entry;
pub use self::hot::HotOptions;
use self::outbox::Outbox;
use self::site::{LookUp, Site};
use self::wheel::Wheel;
use crate::files::{Answer, LaneFiles};
use crate::http::{FileFields, Head, HttpClock, Method, Page, Status, Taken, page};
use crate::watch::Watch;

/// The listener's word; its streams begin under it too.
const LISTEN: Tag = Tag(1);

/// The word of the one timer.
const TICK: Tag = Tag(2);

/// What a server is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServerOptions {
    /// How many small files a lane keeps at hand.
    pub hot: HotOptions,
    /// How long a connection may take for what.
    pub timeouts: Timeouts,
}

/// Serve on a lane until it has stopped.
///
/// Errors: the address cannot be listened on, or the lane's bounds are too small.
pub fn serve(
    mut lane: Lane,
    address: SocketAddr,
    files: LaneFiles,
    options: ServerOptions,
    watch: &mut impl Watch,
) -> Result<(), LaneError> {
    let mut server = Server::new(&lane, files, options);
    server.start(&mut lane, address);
    loop {
        let goes_on = if server.is_busy() { lane.turn() } else { lane.wait(&[QueueId::MAIN], None) };
        if !goes_on {
            break;
        }
        server.turn(&mut lane, watch)?;
        watch.turn(&lane);
    }
    drop(server);
    watch.end(&lane);
    Ok(())
}

/// One lane's server.
#[derive(Debug)]
pub struct Server {
    connections: PerSocket<Connection>,
    site: Site,
    outbox: Outbox,
    wheel: Wheel,
    clock: HttpClock,
    timeouts: Timeouts,
    /// Connections with more to parse.
    ready: VecDeque<SocketId>,
    /// Sends a stream takes that has none under way.
    sends_max: usize,
    listening: bool,
    stopping: bool,
}

impl Server {
    /// A server without connections. Files come from `files`.
    pub fn new(lane: &Lane, files: LaneFiles, options: ServerOptions) -> Server {
        Server {
            connections: PerSocket::new(),
            site: Site::new(files, options.hot),
            outbox: Outbox::default(),
            wheel: Wheel::new(lane.now()),
            clock: HttpClock::new(SystemTime::now()),
            timeouts: options.timeouts,
            ready: VecDeque::new(),
            sends_max: 0,
            listening: false,
            stopping: false,
        }
    }

    /// Listen, and start the one timer.
    pub fn start(&mut self, lane: &mut Lane, address: SocketAddr) {
        self.outbox.submit(lane, Op::listen_eager(address).tag(LISTEN));
        self.outbox.submit(lane, Op::timer(self.wheel.next()).tag(TICK));
    }

    /// There is work that no completion will tell of.
    pub fn is_busy(&self) -> bool {
        !self.outbox.is_empty() || !self.ready.is_empty()
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Work off what a turn of the lane and the file thread brought, as far as the lane takes the answers.
    pub fn turn(&mut self, lane: &mut Lane, watch: &mut impl Watch) -> Result<(), LaneError> {
        if lane.is_stopping() && !self.stopping {
            self.stop(lane);
        }
        self.outbox.flush(lane);
        while self.outbox.is_empty()
            && let Some(done) = lane.take(QueueId::MAIN)
        {
            self.handle(lane, done, watch)?;
        }
        while self.outbox.is_empty()
            && let Some(answer) = self.site.poll()
        {
            match answer {
                Answer::Opened { ticket, result } => self.opened(lane, ticket, result),
                Answer::Chunk { ticket, index, result } => {
                    self.chunk(lane, SocketId::from_bits(ticket), index, result);
                }
            }
        }
        while self.outbox.is_empty()
            && let Some(socket) = self.ready.pop_front()
        {
            if let Some(connection) = self.connections.get_mut(socket) {
                connection.ready = false;
                self.advance(lane, socket);
            }
        }
        Ok(())
    }

    /// Work off one completion.
    pub fn handle(
        &mut self,
        lane: &mut Lane,
        done: Completion,
        watch: &mut impl Watch,
    ) -> Result<(), LaneError> {
        match done.event {
            Event::Listening { local, .. } => {
                self.listening = true;
                watch.ready(lane, local);
            }
            Event::Accepted { stream, .. } => self.accept(lane, stream),
            Event::Received { stream, data } => {
                let socket = stream.into();
                let Some(connection) = self.connections.get_mut(socket) else { return Ok(()) };
                if let Phase::Lingering { left } = &mut connection.phase {
                    *left = left.saturating_sub(data.len());
                    if *left == 0 {
                        self.abort(lane, socket);
                    }
                    return Ok(());
                }
                connection.input.push(data);
                self.advance(lane, socket);
            }
            Event::End { stream } => self.end(lane, stream.into()),
            Event::Sent { stream, .. } => self.sent(lane, stream.into()),
            Event::Timer if done.tag == TICK => self.tick(lane),
            Event::Closed { socket, .. } => drop(self.connections.remove(socket)),
            Event::Failed { error, .. } if done.tag == LISTEN && !self.listening => return Err(error.into()),
            // A send that failed is followed by its stream's `Closed`.
            _ => {}
        }
        Ok(())
    }

    fn accept(&mut self, lane: &mut Lane, stream: Stream) {
        if self.stopping {
            return self.outbox.submit(lane, Op::close(stream));
        }
        self.sends_max = lane.send_room(stream);
        let mut connection = Connection::new(stream, lane.now().saturating_add(self.timeouts.idle));
        self.wheel.schedule(stream, connection.deadline, &mut connection.visit);
        self.connections.insert(stream, connection);
        // Heads and contents say themselves what follows; waiting for an acknowledgement would only delay the last.
        self.outbox.submit(lane, Op::set(stream, SocketOption::NoDelay(true)));
    }

    /// Look for the next request of a connection and answer it, or have its file opened.
    fn advance(&mut self, lane: &mut Lane, socket: SocketId) {
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return };
        if !matches!(connection.phase, Phase::Reading) {
            return;
        }
        let site = &mut self.site;
        let taken =
            connection.input.take(|request| (Wanted::new(&request), site.look_up(request.target, now)));
        match taken {
            Taken::Request((wanted, found)) => {
                connection.partial = false;
                match found {
                    LookUp::Hot(entry) => self.answer_entry(lane, socket, wanted, &entry),
                    LookUp::Asked(ticket) => self.wait(socket, wanted, ticket, now),
                    LookUp::Refused(status) => {
                        self.answer_page(lane, socket, wanted, status, Page::default())
                    }
                }
                self.resume(socket);
            }
            Taken::Refused(status) => {
                self.answer_page(lane, socket, Wanted::refused(), status, Page::default())
            }
            Taken::Partial | Taken::Empty if connection.ended => self.close(lane, socket),
            Taken::Partial if !connection.partial => {
                connection.partial = true;
                self.set_deadline(socket, now, self.timeouts.head);
            }
            Taken::Partial | Taken::Empty => {}
        }
    }

    /// Parse on at the next opportunity, if there is something to parse.
    fn resume(&mut self, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let worth_it = !connection.input.is_empty() || connection.ended;
        if worth_it && !connection.ready && matches!(connection.phase, Phase::Reading) {
            connection.ready = true;
            self.ready.push_back(socket);
        }
    }

    fn answer_page(
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

    fn answer_entry(&mut self, lane: &mut Lane, socket: SocketId, wanted: Wanted, entry: &Entry) {
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
    fn answer_unsent(
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
    fn answer(
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
        let full = keep_alive && (connection.queued >= QUEUED_BYTES_MAX || under_way + 2 >= QUEUED_SENDS_MAX);
        let head = Head { status, fields, keep_alive, old: wanted.old };
        let mut wire = Wire { lane, outbox: &mut self.outbox, clock: &self.clock };
        wire.send(connection.stream, &head, content, full);
        connection.phase = if full { Phase::Flushing } else { Phase::Reading };
        if !keep_alive {
            return self.finish(lane, socket);
        }
        self.set_deadline(socket, now, if full { self.timeouts.send } else { self.timeouts.idle });
    }

    /// Something that was sent with `notify` has reached the peer.
    fn sent(&mut self, lane: &mut Lane, socket: SocketId) {
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return };
        match &mut connection.phase {
            Phase::Downloading(download) => {
                download.ack += 1;
                if download.ack < download.end {
                    self.ask_chunks(socket);
                    return self.set_deadline(socket, now, self.timeouts.send);
                }
            }
            Phase::Flushing => {}
            Phase::Reading | Phase::Opening { .. } | Phase::Lingering { .. } => return,
        }
        connection.phase = Phase::Reading;
        if self.stopping && connection.input.is_empty() {
            return self.close(lane, socket);
        }
        self.set_deadline(socket, now, self.timeouts.idle);
        self.advance(lane, socket);
    }

    /// The peer has sent its FIN. What it asked before is still answered.
    fn end(&mut self, lane: &mut Lane, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        connection.ended = true;
        match connection.phase {
            Phase::Lingering { .. } => self.close(lane, socket),
            Phase::Reading => self.advance(lane, socket),
            _ => {}
        }
    }

    /// The last answer is queued. The client is heard out for a while, so that what it still sends does not make a
    /// reset overtake the answer.
    //= https://www.rfc-editor.org/rfc/rfc9112#section-9.6
    //# To avoid the TCP reset problem, servers typically close a connection in
    //# stages.
    fn finish(&mut self, lane: &mut Lane, socket: SocketId) {
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return };
        if connection.ended {
            return self.close(lane, socket);
        }
        connection.input.clear();
        connection.phase = Phase::Lingering { left: LINGER_BYTES_MAX };
        self.outbox.submit(lane, Op::shutdown(connection.stream));
        self.set_deadline(socket, now, self.timeouts.linger);
    }

    /// Forget a connection; what is queued is still sent.
    fn close(&mut self, lane: &mut Lane, socket: SocketId) {
        if let Some(connection) = self.connections.remove(socket) {
            self.outbox.submit(lane, Op::close_within(connection.stream, self.timeouts.send));
        }
    }

    fn abort(&mut self, lane: &mut Lane, socket: SocketId) {
        if self.connections.remove(socket).is_some() {
            self.outbox.submit(lane, Op::abort(socket));
        }
    }

    fn set_deadline(&mut self, socket: SocketId, now: Instant, after: Duration) {
        if let Some(connection) = self.connections.get_mut(socket) {
            connection.deadline = now.saturating_add(after);
            self.wheel.schedule(socket, connection.deadline, &mut connection.visit);
        }
    }

    /// A second has passed: set the clock and look at the connections whose time may have come.
    fn tick(&mut self, lane: &mut Lane) {
        let now = lane.now();
        self.clock.set(SystemTime::now());
        while let Some((tick, sockets)) = self.wheel.due(now) {
            for &socket in &sockets {
                let Some(connection) = self.connections.get_mut(socket) else { continue };
                if connection.visit != tick {
                    continue;
                }
                connection.visit = 0;
                if connection.deadline <= now {
                    self.expire(lane, socket);
                } else {
                    self.wheel.schedule(socket, connection.deadline, &mut connection.visit);
                }
            }
            self.wheel.restore(tick, sockets);
        }
        self.outbox.submit(lane, Op::timer(self.wheel.next()).tag(TICK));
    }

    /// A connection's time is up.
    fn expire(&mut self, lane: &mut Lane, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let status = match connection.phase {
            //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9
            //# The 408 (Request Timeout) status code indicates that the server did
            //# not receive a complete request message within the time that it was
            //# prepared to wait.
            Phase::Reading if connection.partial => Status::RequestTimeout,
            Phase::Opening { .. } => Status::ServiceUnavailable,
            Phase::Reading | Phase::Lingering { .. } => return self.close(lane, socket),
            Phase::Downloading(_) | Phase::Flushing => return self.abort(lane, socket),
        };
        self.answer_page(lane, socket, Wanted::refused(), status, Page::default());
    }

    /// The lane was told to stop: idle connections close now, the others after their answer.
    fn stop(&mut self, lane: &mut Lane) {
        self.stopping = true;
        let idle = self.connections.iter().filter(|(_, connection)| connection.is_idle());
        let idle: Vec<SocketId> = idle.map(|(socket, _)| socket).collect();
        for socket in idle {
            self.close(lane, socket);
        }
    }
}
