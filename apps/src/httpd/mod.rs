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
//! | `reply.rs` | answers that are complete at once |
//! | `answer.rs` | heads and contents as ops |
//! | `secure.rs` | TLS under requests and answers |
//! | `equipment.rs`, `serving.rs` | what a server is given; servers on lanes |
//! | `log.rs`, `board.rs`, `metrics.rs` | the access log; what each lane says of itself, and that as text |
//! | `settings.rs`, `status_line.rs` | the program's options; its line on the terminal |
//! | `wheel.rs` | deadlines of all connections under one timer |
//!
//! Requests of a connection are answered one after the other. What waits unparsed holds its frames, so that a client
//! that asks faster than it reads meets a closed window, not a growing queue.

mod answer;
mod board;
mod choice;
mod connection;
mod download;
mod equipment;
mod hot;
mod log;
mod metrics;
mod opening;
mod reply;
mod secure;
mod serving;
pub mod settings;
mod site;
mod status_line;
mod wheel;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use corelane::{
    Completion, Event, Instant, Lane, LaneError, Op, PerSocket, QueueId, SocketId, SocketOption, Stream, Tag,
};

use self::board::Publisher;
pub use self::board::{Board, Snapshot, Statistics};
use self::connection::{Connection, LINGER_BYTES_MAX, Phase, REFUSALS_MAX, Wanted};
pub use self::connection::{Limits, Timeouts};
pub use self::equipment::{Doors, Equipment};
pub use self::hot::HotOptions;
pub use self::log::{AccessLog, LaneLog};
use self::metrics::Metrics;
pub use self::metrics::render;
pub use self::secure::Secure;
pub use self::serving::{serve, serve_all};
use self::site::{LookUp, Site};
pub use self::status_line::{StatusLine, line};
use self::wheel::Wheel;
use crate::files::Answer;
use crate::http::{HttpClock, Page, Status, Taken};
use crate::outbox::Outbox;
use crate::watch::Watch;

/// The word of the one timer.
const TICK: Tag = Tag(2);

/// The word of the first listener; the others' follow. Streams begin under their listener's.
const LISTEN: Tag = Tag(16);

/// What a server is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServerOptions {
    /// How many small files a lane keeps at hand.
    pub hot: HotOptions,
    /// How long a connection may take for what.
    pub timeouts: Timeouts,
    /// How much there may be of what.
    pub limits: Limits,
}

/// What a request asks for.
enum Found {
    File(LookUp),
    Metrics,
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
    limits: Limits,
    statistics: Statistics,
    log: Option<LaneLog>,
    publisher: Option<Publisher>,
    metrics: Option<Metrics>,
    /// The listener that has the metrics and nothing else.
    metrics_door: Option<Tag>,
    /// As whom TLS is spoken, and which listeners speak it.
    secure: Option<Secure>,
    secure_doors: Vec<Tag>,
    /// Connections with more to parse.
    ready: VecDeque<SocketId>,
    /// Sends a stream takes that has none under way.
    sends_max: usize,
    /// Listeners that do not listen yet.
    closed_doors: usize,
    /// What the first of them listens at.
    local: Option<SocketAddr>,
    stopping: bool,
}

impl Server {
    /// A server without connections.
    pub fn new(lane: &Lane, equipment: impl Into<Equipment>, options: ServerOptions) -> Server {
        let Equipment { files, log, board, metrics, secure } = equipment.into();
        Server {
            limits: options.limits,
            statistics: Statistics::default(),
            log,
            publisher: board.map(|board| board.join(lane)),
            metrics: metrics.map(Metrics::new),
            metrics_door: None,
            secure,
            secure_doors: Vec::new(),
            connections: PerSocket::new(),
            site: Site::new(files, options.hot),
            outbox: Outbox::default(),
            wheel: Wheel::new(lane.now()),
            clock: HttpClock::new(SystemTime::now()),
            timeouts: options.timeouts,
            ready: VecDeque::new(),
            sends_max: 0,
            closed_doors: 0,
            local: None,
            stopping: false,
        }
    }

    /// Listen, and start the one timer.
    pub fn start(&mut self, lane: &mut Lane, doors: &Doors) {
        for (address, index) in doors.site.iter().chain(&doors.metrics).zip(0..) {
            self.outbox.submit(lane, Op::listen_eager(*address).tag(Tag(LISTEN.0 + index)));
            self.closed_doors += 1;
        }
        self.secure_doors = self.secure.as_ref().map_or_else(Vec::new, |secure| secure.tags(&doors.site));
        let index = u64::try_from(doors.site.len()).unwrap_or(u64::MAX);
        self.metrics_door = doors.metrics.map(|_| Tag(LISTEN.0.saturating_add(index)));
        self.outbox.submit(lane, Op::timer(self.wheel.next()).tag(TICK));
    }

    /// The lane has stopped: note the downloads that this cut off, and how all ended.
    pub fn wind_up(&mut self, lane: &Lane) {
        let cut: Vec<SocketId> = self.connections.iter().map(|(socket, _)| socket).collect();
        for socket in cut {
            self.forget(socket);
        }
        self.publish(lane);
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
        if self.publisher.as_ref().is_some_and(|publisher| publisher.is_due(lane.now())) {
            self.publish(lane);
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
                let first = *self.local.get_or_insert(local);
                self.closed_doors = self.closed_doors.saturating_sub(1);
                if self.closed_doors == 0 {
                    watch.ready(lane, first);
                }
            }
            Event::Accepted { stream, peer, .. } => self.accept(lane, stream, peer, done.tag),
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
                connection.push(data);
                self.advance(lane, socket);
            }
            Event::End { stream } => self.end(lane, stream.into()),
            Event::Sent { stream, .. } => self.sent(lane, stream.into()),
            Event::Timer if done.tag == TICK => self.tick(lane),
            Event::Closed { socket, .. } => self.forget(socket),
            // Without a socket it is a listener that could not be opened.
            Event::Failed { error, socket: None, .. } if done.tag >= LISTEN && !self.stopping => {
                return Err(error.into());
            }
            // A send that failed is followed by its stream's `Closed`.
            _ => {}
        }
        Ok(())
    }

    fn accept(&mut self, lane: &mut Lane, stream: Stream, peer: SocketAddr, door: Tag) {
        if self.stopping {
            return self.outbox.submit(lane, Op::close(stream));
        }
        self.sends_max = lane.send_room(stream);
        let deadline = lane.now().saturating_add(self.timeouts.idle);
        let mut connection = Connection::new(stream, peer.ip(), deadline);
        connection.metrics_only = self.metrics_door == Some(door);
        self.wheel.schedule(stream, connection.deadline, &mut connection.visit);
        let before = self.connections.len();
        self.connections.insert(stream, connection);
        if !self.secure(stream.into(), door) {
            return self.abort(lane, stream.into());
        }
        if before < self.limits.connections {
            // Heads and contents say themselves what follows; waiting for an acknowledgement would only delay the last.
            return self.outbox.submit(lane, Op::set(stream, SocketOption::NoDelay(true)));
        }
        self.statistics.refused += 1;
        if before >= self.limits.connections.saturating_add(REFUSALS_MAX) {
            return self.abort(lane, stream.into());
        }
        self.answer_page(lane, stream.into(), Wanted::refused(), Status::ServiceUnavailable, Page::default());
    }

    /// Look for the next request of a connection, opening what came sealed as far as that takes.
    fn advance(&mut self, lane: &mut Lane, socket: SocketId) {
        while self.take_request(lane, socket) && self.unseal(lane, socket) {}
    }

    /// Answer the next request of a connection, or have its file opened. True if more must be opened to have one.
    fn take_request(&mut self, lane: &mut Lane, socket: SocketId) -> bool {
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return false };
        if !matches!(connection.phase, Phase::Reading) {
            return false;
        }
        let (site, metrics, logs) = (&mut self.site, &self.metrics, self.log.is_some());
        let own_door = self.metrics_door.is_some();
        let Connection { input, note, metrics_only, .. } = connection;
        let taken = input.take_within(self.limits.header_bytes, |request| {
            if logs {
                note.set(&request);
            }
            let metrics = metrics.as_ref().filter(|_| *metrics_only || !own_door);
            let found = match metrics.is_some_and(|metrics| metrics.is_asked(request.target)) {
                true => Found::Metrics,
                false if *metrics_only => Found::File(LookUp::Refused(Status::NotFound)),
                false => Found::File(site.look_up(request.target, now)),
            };
            (Wanted::new(&request), found)
        });
        match taken {
            Taken::Request((mut wanted, found)) => {
                connection.partial = false;
                connection.requests += 1;
                wanted.keep_alive &= connection.requests < self.limits.requests;
                self.statistics.requests += 1;
                match found {
                    Found::Metrics => self.answer_metrics(lane, socket, wanted),
                    Found::File(LookUp::Hot(entry)) => self.answer_entry(lane, socket, wanted, &entry),
                    Found::File(LookUp::Asked(ticket)) => self.wait(socket, wanted, ticket, now),
                    Found::File(LookUp::Refused(status)) => {
                        self.answer_page(lane, socket, wanted, status, Page::default());
                    }
                }
                self.resume(socket);
            }
            Taken::Refused(status) => {
                self.answer_page(lane, socket, Wanted::refused(), status, Page::default())
            }
            Taken::Partial | Taken::Empty if connection.is_sealed() => return true,
            Taken::Partial | Taken::Empty if connection.ended => self.close(lane, socket),
            Taken::Partial if !connection.partial => {
                connection.partial = true;
                self.set_deadline(socket, now, self.timeouts.head);
            }
            Taken::Partial | Taken::Empty => {}
        }
        false
    }

    /// Parse on at the next opportunity, if there is something to parse.
    fn resume(&mut self, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let worth_it = !connection.input.is_empty() || connection.is_sealed() || connection.ended;
        if worth_it && !connection.ready && matches!(connection.phase, Phase::Reading) {
            connection.ready = true;
            self.ready.push_back(socket);
        }
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
        self.log_download(socket, true);
        let Some(connection) = self.connections.get_mut(socket) else { return };
        connection.phase = Phase::Reading;
        if self.stopping && connection.input.is_empty() && !connection.is_sealed() {
            return self.finish(lane, socket);
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
    //# First, the server performs a half-close by closing only the write side
    //# of the read/write connection. The server then continues to read from the
    //# connection until it receives a corresponding close by the client
    fn finish(&mut self, lane: &mut Lane, socket: SocketId) {
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return };
        if connection.ended {
            return self.close(lane, socket);
        }
        connection.input.clear();
        connection.phase = Phase::Lingering { left: LINGER_BYTES_MAX };
        let stream = connection.stream;
        self.close_session(lane, socket);
        self.outbox.submit(lane, Op::shutdown(stream));
        self.set_deadline(socket, now, self.timeouts.linger);
    }

    /// Forget a connection; what is queued is still sent.
    fn close(&mut self, lane: &mut Lane, socket: SocketId) {
        self.close_session(lane, socket);
        if let Some(connection) = self.connections.remove(socket) {
            self.outbox.submit(lane, Op::close_within(connection.stream, self.timeouts.send));
        }
    }

    /// A connection has ended by itself; what it had of a download is noted.
    fn forget(&mut self, socket: SocketId) {
        self.log_download(socket, false);
        drop(self.connections.remove(socket));
    }

    fn abort(&mut self, lane: &mut Lane, socket: SocketId) {
        self.log_download(socket, false);
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
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// A connection's time is up.
    fn expire(&mut self, lane: &mut Lane, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let slow =
            connection.partial || !matches!(connection.phase, Phase::Reading | Phase::Lingering { .. });
        self.statistics.timed_out += u64::from(slow);
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
        self.publish(lane);
        let idle = self.connections.iter().filter(|(_, connection)| connection.is_idle());
        let idle: Vec<SocketId> = idle.map(|(socket, _)| socket).collect();
        for socket in idle {
            // A request may be under way already: it is read and left, not answered with a reset.
            self.finish(lane, socket);
        }
    }
}
