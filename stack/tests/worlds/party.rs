//! The applications: a client whose connections each tell their server in their first bytes what is to happen on them,
//! and a server that does it. Both check every byte, and remember how each connection ended.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use stack::lane::Lane;
use stack::sim::App;
use stack::socket::{Event, Op, PerSocket, QueueId, Reason, Received, SocketId, SocketOption, Stream, Tag};
use stack::time::Instant;

use super::dice::mixed;

/// What happens on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Its number: no two connections carry the same bytes.
    pub id: u8,
    /// Bytes of the client, this plan included, and of the server.
    pub up: u32,
    pub down: u32,
    /// The server begins at once; else when all of the client's bytes have come.
    pub both_ways: bool,
    /// The client sends its FIN when it has sent all; else when the server's has come.
    pub client_first: bool,
    /// The client, or the server, resets the connection when it has received this much.
    pub client_aborts: bool,
    pub server_aborts: bool,
    /// Bytes are urgent at times.
    pub urgent: bool,
    /// The client holds each frame this long. Units: milliseconds.
    pub hold_ms: u16,
    /// The client gives up data that stay unacknowledged this long; zero: by the count. Units: milliseconds.
    pub user_timeout_ms: u16,
    /// Bytes of each send.
    pub chunk: u16,
}

/// Bytes a plan takes.
pub const PLAN_BYTES: u32 = 18;

impl Plan {
    fn to_bytes(self) -> Vec<u8> {
        let flags = [self.both_ways, self.client_first, self.client_aborts, self.server_aborts, self.urgent];
        let flags = (0..).zip(flags).fold(0, |all, (bit, flag)| all | u8::from(flag) << bit);
        let mut bytes = vec![self.id, flags];
        bytes.extend(self.up.to_be_bytes());
        bytes.extend(self.down.to_be_bytes());
        for word in [self.hold_ms, self.user_timeout_ms, self.chunk, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Plan {
        let long = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let word = |at: usize| u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap());
        let flag = |bit: u8| bytes[1] >> bit & 1 != 0;
        Plan {
            id: bytes[0],
            up: long(2),
            down: long(6),
            both_ways: flag(0),
            client_first: flag(1),
            client_aborts: flag(2),
            server_aborts: flag(3),
            urgent: flag(4),
            hold_ms: word(10),
            user_timeout_ms: word(12),
            chunk: word(14),
        }
    }

    /// The byte at a position of the client's stream, or of the server's.
    fn byte(self, of_client: bool, position: u64) -> u8 {
        let word = mixed(u64::from(self.id) << 33 | u64::from(of_client) << 32 | position >> 3);
        (word >> (8 * (position & 7))) as u8
    }
}

/// How a connection went for one end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// `None`: it was never connected.
    pub reason: Option<Reason>,
    pub received: u64,
    /// The peer's FIN came.
    pub end: bool,
}

/// One end of a connection.
struct Side {
    plan: Option<Plan>,
    head: Vec<u8>,
    sent: u64,
    unfinished: usize,
    received: u64,
    shut: bool,
    end: bool,
    aborted: bool,
    closed: bool,
}

impl Side {
    fn new(plan: Option<Plan>) -> Side {
        Side {
            plan,
            head: Vec::new(),
            sent: 0,
            unfinished: 0,
            received: 0,
            shut: false,
            end: false,
            aborted: false,
            closed: false,
        }
    }
}

/// Sends of a connection under way at most.
const SENDS: usize = 16;

/// A host's application.
pub struct Party {
    server: SocketAddr,
    is_client: bool,
    started: bool,
    waiting: VecDeque<Plan>,
    /// Plans of connects under way, by tag.
    opening: BTreeMap<u64, Plan>,
    at_once: usize,
    sides: PerSocket<Side>,
    streams: Vec<Stream>,
    /// How each connection ended, by its plan's number.
    pub ended: BTreeMap<u8, Ended>,
    held: VecDeque<(Instant, Received)>,
    /// A byte was not what it should have been.
    pub wrong: Option<String>,
}

impl Party {
    pub fn server(server: SocketAddr) -> Party {
        Party {
            server,
            is_client: false,
            started: false,
            waiting: VecDeque::new(),
            opening: BTreeMap::new(),
            at_once: 0,
            sides: PerSocket::new(),
            streams: Vec::new(),
            ended: BTreeMap::new(),
            held: VecDeque::new(),
            wrong: None,
        }
    }

    /// A client with these connections, so many at a time.
    pub fn client(server: SocketAddr, plans: Vec<Plan>, at_once: usize) -> Party {
        Party { is_client: true, waiting: plans.into(), at_once, ..Party::server(server) }
    }

    /// Nothing is open, and nothing is to be opened.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.opening.is_empty() && self.streams.is_empty() && self.held.is_empty()
    }

    fn open(&mut self, lane: &mut Lane) {
        while self.opening.len() + self.streams.len() < self.at_once
            && let Some(plan) = self.waiting.pop_front()
        {
            // Zero is what every other op has.
            let tag = u64::from(plan.id) + 1;
            if lane.submit(Op::connect(self.server).tag(Tag(tag))).is_ok() {
                self.opening.insert(tag, plan);
            }
        }
    }

    /// Send what there is to send.
    fn pump(&mut self, stream: Stream, lane: &mut Lane) {
        let is_client = self.is_client;
        let Some(side) = self.sides.get_mut(stream) else { return };
        let Some(plan) = side.plan.filter(|_| !side.aborted) else { return };
        let whole = u64::from(if is_client { plan.up } else { plan.down });
        let due = is_client || plan.both_ways || side.received == u64::from(plan.up);
        while due && side.sent < whole && side.unfinished < SENDS {
            let len = (whole - side.sent).min(plan.chunk.into());
            let head = plan.to_bytes();
            let bytes: Vec<u8> = (side.sent..side.sent + len)
                .map(|at| match head.get(at as usize) {
                    Some(byte) if is_client => *byte,
                    _ => plan.byte(is_client, at),
                })
                .collect();
            if lane.submit(Op::send(stream, Bytes::from(bytes)).notify()).is_err() {
                return;
            }
            side.sent += len;
            side.unfinished += 1;
            if plan.urgent && side.sent % 5 == 0 {
                let _ = lane.submit(Op::set(stream, SocketOption::Urgent));
            }
        }
        let over = due && side.sent == whole && (!is_client || plan.client_first || side.end);
        if over && !side.shut && lane.submit(Op::shutdown(stream)).is_ok() {
            side.shut = true;
        }
        if side.shut && side.end && !side.closed {
            side.closed = lane.submit(Op::close(stream)).is_ok();
        }
    }

    fn receive(&mut self, stream: Stream, data: Received, lane: &mut Lane) {
        let is_client = self.is_client;
        let Some(side) = self.sides.get_mut(stream) else { return };
        for byte in data.iter() {
            let at = side.received;
            side.received += 1;
            if !is_client && at < u64::from(PLAN_BYTES) {
                side.head.push(*byte);
                if side.head.len() == PLAN_BYTES as usize {
                    side.plan = Some(Plan::from_bytes(&side.head));
                }
                continue;
            }
            let Some(plan) = side.plan else { continue };
            let most = u64::from(if is_client { plan.down } else { plan.up });
            if *byte != plan.byte(!is_client, at) || at >= most {
                self.wrong.get_or_insert_with(|| format!("byte {at} of {plan:?}"));
            }
        }
        let Some(plan) = side.plan else { return };
        let (aborts, of) =
            if is_client { (plan.client_aborts, plan.down) } else { (plan.server_aborts, plan.up) };
        if aborts
            && side.received > u64::from(of / 2)
            && !side.aborted
            && lane.submit(Op::abort(stream)).is_ok()
        {
            side.aborted = true;
        }
        if is_client && plan.hold_ms > 0 {
            self.held.push_back((Instant(lane.now().0 + u64::from(plan.hold_ms) * 1_000_000), data));
        }
    }

    fn begin(&mut self, stream: Stream, plan: Option<Plan>, lane: &mut Lane) {
        self.streams.push(stream);
        self.sides.insert(stream, Side::new(plan));
        // Who was left behind finds out.
        let keepalive = SocketOption::KeepAlive(Some(Duration::from_secs(20)));
        let _ = lane.submit(Op::set(stream, keepalive));
        if let Some(plan) = plan.filter(|plan| plan.user_timeout_ms > 0) {
            let timeout = Duration::from_millis(plan.user_timeout_ms.into());
            let _ = lane.submit(Op::set(stream, SocketOption::UserTimeout(timeout)));
        }
        if self.is_client {
            let _ = lane.submit(Op::receive(stream));
        }
    }

    fn end(&mut self, socket: SocketId, reason: Reason) {
        let Some(at) = self.streams.iter().position(|stream| SocketId::from(*stream) == socket) else {
            return;
        };
        self.streams.swap_remove(at);
        let Some(side) = self.sides.remove(socket) else { return };
        if let Some(plan) = side.plan {
            let ended = Ended { reason: Some(reason), received: side.received, end: side.end };
            if self.ended.insert(plan.id, ended).is_some() {
                self.wrong.get_or_insert_with(|| format!("two connections were {plan:?}"));
            }
        }
    }

    fn on_event(&mut self, event: Event, tag: Tag, lane: &mut Lane) {
        match event {
            Event::Accepted { stream, .. } => self.begin(stream, None, lane),
            Event::Connected { stream, .. } => {
                let plan = self.opening.remove(&tag.0);
                self.begin(stream, plan, lane);
            }
            Event::Received { stream, data } => self.receive(stream, data, lane),
            Event::Sent { stream, .. } => {
                if let Some(side) = self.sides.get_mut(stream) {
                    side.unfinished -= 1;
                }
            }
            Event::End { stream } => {
                if let Some(side) = self.sides.get_mut(stream) {
                    side.end = true;
                }
            }
            Event::Closed { socket, reason, .. } => self.end(socket, reason),
            Event::Failed { payload: None, .. } => {
                // A connect that never succeeded, or an op that came too late.
                if let Some(plan) = self.opening.remove(&tag.0) {
                    self.ended.insert(plan.id, Ended { reason: None, received: 0, end: false });
                }
            }
            _ => {}
        }
    }
}

impl App for Party {
    fn run(&mut self, lane: &mut Lane) {
        if !self.started {
            self.started = true;
            if !self.is_client {
                lane.submit(Op::listen_eager(self.server)).unwrap();
            }
        }
        while self.held.front().is_some_and(|(until, _)| *until <= lane.now()) {
            self.held.pop_front();
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            self.on_event(done.event, done.tag, lane);
        }
        for index in 0..self.streams.len() {
            self.pump(self.streams[index], lane);
        }
        self.open(lane);
    }

    fn next_event(&self) -> Option<Instant> {
        self.held.front().map(|(until, _)| *until)
    }
}
