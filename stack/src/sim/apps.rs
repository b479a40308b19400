//! Applications for simulated hosts: an echo server, and clients that check every byte that comes back.

use core::net::SocketAddr;

use bytes::Bytes;

use super::App;
use crate::lane::Lane;
use crate::socket::{Event, Op, OpError, QueueId, Reason, Stream};

/// The byte at a position of the stream that clients send: no period of a power of two, so that slips show.
pub fn pattern(position: u64) -> u8 {
    u8::try_from(position % 251).unwrap_or(0)
}

/// Sends back whatever arrives.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    started: bool,
    /// Connections that ended, and how.
    pub closed: Vec<Reason>,
    /// Ops that failed.
    pub failed: Vec<OpError>,
}

impl Echo {
    /// A server on `address`.
    pub fn new(address: SocketAddr) -> Echo {
        Echo { address, started: false, closed: Vec::new(), failed: Vec::new() }
    }
}

impl App for Echo {
    fn run(&mut self, lane: &mut Lane) {
        if !self.started {
            self.started = true;
            lane.submit(Op::listen_eager(self.address)).expect("the first op fits");
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            let answer = match done.event {
                Event::Received { stream, data } => Op::send(stream, data),
                Event::End { stream } => Op::close(stream),
                Event::Closed { reason, .. } => {
                    self.closed.push(reason);
                    continue;
                }
                Event::Failed { error, .. } => {
                    self.failed.push(error);
                    continue;
                }
                _ => continue,
            };
            lane.submit(answer).expect("the queue keeps room for answers");
        }
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// The server.
    pub to: SocketAddr,
    /// Bytes to send and to get back.
    pub bytes: u64,
    /// Bytes of each send.
    pub chunk: usize,
    /// Sends under way at most.
    pub window: usize,
}

/// How a client's connection went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every byte came back, and both ends closed.
    Done,
    /// The connection was given up, by the stack's own rules.
    GivenUp,
    /// A byte was wrong, or came twice or not at all.
    Wrong,
}

/// Connects, sends a pattern, checks that it comes back, closes.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    started: bool,
    stream: Option<Stream>,
    sent: u64,
    unfinished: usize,
    received: u64,
    wrong: bool,
    shut: bool,
    /// How it went, once it is over.
    pub outcome: Option<Outcome>,
}

impl Client {
    /// A client that begins at its first turn.
    pub fn new(options: ClientOptions) -> Client {
        Client {
            options,
            started: false,
            stream: None,
            sent: 0,
            unfinished: 0,
            received: 0,
            wrong: false,
            shut: false,
            outcome: None,
        }
    }

    /// Bytes that came back so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    fn pump(&mut self, lane: &mut Lane) {
        let Some(stream) = self.stream else { return };
        while self.sent < self.options.bytes && self.unfinished < self.options.window {
            let len = self.options.bytes.min(self.sent + self.options.chunk as u64) - self.sent;
            let bytes: Vec<u8> = (self.sent..self.sent + len).map(pattern).collect();
            if lane.submit(Op::send(stream, Bytes::from(bytes)).notify()).is_err() {
                return;
            }
            self.sent += len;
            self.unfinished += 1;
        }
        if self.sent == self.options.bytes && !self.shut && lane.submit(Op::shutdown(stream)).is_ok() {
            self.shut = true;
        }
    }

    fn check(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.wrong |= *byte != pattern(self.received);
            self.received += 1;
        }
    }

    fn on_event(&mut self, event: Event, lane: &mut Lane) {
        match event {
            Event::Connected { stream, .. } => {
                self.stream = Some(stream);
                lane.submit(Op::receive(stream)).expect("the queue keeps room for answers");
            }
            Event::Received { data, .. } => self.check(&data),
            Event::Sent { .. } => self.unfinished -= 1,
            Event::End { stream } => {
                // The echo has nothing more to say; neither have we. If both FINs are through, the handle is stale.
                let _ = lane.submit(Op::close(stream));
            }
            Event::Failed { payload: Some(_), .. } => self.unfinished -= 1,
            Event::Failed { socket: None, .. } => self.finish(None),
            Event::Failed { .. } if self.stream.is_none() => self.finish(None),
            Event::Closed { reason, .. } => self.finish(Some(reason)),
            _ => {}
        }
    }

    fn finish(&mut self, reason: Option<Reason>) {
        let whole = self.received == self.options.bytes && self.shut;
        self.outcome = Some(match reason {
            _ if self.wrong || self.received > self.options.bytes => Outcome::Wrong,
            Some(Reason::Done) if whole => Outcome::Done,
            Some(Reason::Done) => Outcome::Wrong,
            _ => Outcome::GivenUp,
        });
    }
}

impl App for Client {
    fn run(&mut self, lane: &mut Lane) {
        if !self.started {
            self.started = true;
            lane.submit(Op::connect(self.options.to)).expect("the first op fits");
        }
        while let Some(done) = lane.take(QueueId::MAIN) {
            self.on_event(done.event, lane);
        }
        if self.outcome.is_none() {
            self.pump(lane);
        }
    }
}

/// Either, so that both ends of a world may differ.
#[derive(Debug)]
pub enum Either {
    /// A server.
    Echo(Echo),
    /// A client.
    Client(Client),
}

impl App for Either {
    fn run(&mut self, lane: &mut Lane) {
        match self {
            Either::Echo(echo) => echo.run(lane),
            Either::Client(client) => client.run(lane),
        }
    }
}

impl Either {
    /// The client. Panics: if it is the server.
    pub fn client(&self) -> &Client {
        match self {
            Either::Client(client) => client,
            Either::Echo(_) => panic!("the client's end was asked for"),
        }
    }
}
