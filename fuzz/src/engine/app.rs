//! The application above the engine: does nothing by itself, remembers what it may be told to do something with.

use std::collections::VecDeque;

use bytes::Bytes;
use stack::lane::Lane;
use stack::sim::App;
use stack::socket::{
    Completion, Event, Listener, Op, OpError, PerSocket, QueueId, Received, SocketId, Stream, Tag, Udp,
};

use super::conversation::{Pair, payload_byte};

/// Sockets of each kind that ops go to; beyond them the oldest is ended.
const SOCKETS: usize = 16;

/// Received data that is held at most.
const HELD: usize = 256;

/// See the module.
#[derive(Default)]
pub struct Application {
    pub streams: VecDeque<Stream>,
    pub listeners: VecDeque<Listener>,
    pub sockets: VecDeque<Udp>,
    /// Of each stream its ports, and how many bytes were sent on it.
    known: PerSocket<(Pair, u64)>,
    /// Received bytes since the last look.
    pub received: Vec<(Pair, Vec<u8>)>,
    /// Received data that is not given back yet.
    pub held: Vec<Received>,
    pub holds: bool,
    /// Completions are left waiting.
    pub pauses: bool,
    /// A send was refused, so that what follows on its stream is not what was counted.
    pub refused: bool,
    ops: Vec<Op>,
    leaving: bool,
}

impl Application {
    /// The next payload for a stream.
    pub fn payload(&mut self, stream: Stream, len: usize) -> Bytes {
        let Some((_, sent)) = self.known.get_mut(stream) else { return Bytes::from(vec![0; len]) };
        let bytes: Vec<u8> = (*sent..*sent + len as u64).map(payload_byte).collect();
        *sent += len as u64;
        bytes.into()
    }

    /// It is over: everything that opens from here on is ended at once.
    pub fn leave(&mut self) {
        (self.leaving, self.pauses, self.holds) = (true, false, false);
        self.held.clear();
    }

    /// What ends everything that is open.
    pub fn ends(&mut self) -> Vec<Op> {
        let mut ops: Vec<Op> = self.streams.drain(..).map(Op::abort).collect();
        ops.extend(self.listeners.drain(..).map(Op::close));
        ops.extend(self.sockets.drain(..).map(Op::close));
        ops.append(&mut self.ops);
        ops
    }

    fn opened(&mut self, stream: Stream, pair: Pair) {
        if self.known.get(stream).is_none() {
            self.known.insert(stream, (pair, 0));
            self.streams.push_back(stream);
        }
        if self.streams.len() > SOCKETS {
            self.ops.extend(self.streams.pop_front().map(Op::abort));
        }
    }

    fn on_completion(&mut self, Completion { event, tag, .. }: Completion) {
        match event {
            Event::Listening { listener, .. } => {
                self.listeners.push_back(listener);
                if self.listeners.len() > SOCKETS {
                    self.ops.extend(self.listeners.pop_front().map(Op::close));
                }
            }
            Event::Accepted { stream, peer, .. } => self.opened(stream, (port_of(tag), peer.port())),
            Event::Connecting { stream, local } | Event::Connected { stream, local } => {
                self.opened(stream, (local.port(), port_of(tag)));
            }
            Event::Received { stream, data } => {
                if let Some((pair, _)) = self.known.get(stream) {
                    self.received.push((*pair, data.to_vec()));
                }
                if self.holds && self.held.len() < HELD {
                    self.held.push(data);
                }
            }
            Event::Bound { socket, .. } => {
                self.sockets.push_back(socket);
                if self.sockets.len() > SOCKETS {
                    self.ops.extend(self.sockets.pop_front().map(Op::close));
                }
            }
            Event::Failed { payload: Some(_), error, .. } => self.refused |= error != OpError::Reset,
            Event::Closed { socket, .. } => self.forget(socket),
            // Of a connect it is the socket's end; what else an op may fail with leaves the socket as it was.
            Event::Failed { socket: Some(socket), payload: None, error, .. } if ends(error) => {
                self.forget(socket)
            }
            _ => {}
        }
    }

    fn forget(&mut self, socket: SocketId) {
        if self.streams.iter().any(|stream| SocketId::from(*stream) == socket) {
            self.streams.retain(|stream| SocketId::from(*stream) != socket);
        }
        self.listeners.retain(|listener| SocketId::from(*listener) != socket);
        self.sockets.retain(|udp| SocketId::from(*udp) != socket);
    }
}

/// Whether what failed was a connect, or its socket was gone before.
fn ends(error: OpError) -> bool {
    use OpError::{Refused, Reset, StaleHandle, TimedOut, Unreachable};
    matches!(error, Refused | Reset | StaleHandle | TimedOut | Unreachable)
}

/// The port that an op's tag names.
fn port_of(tag: Tag) -> u16 {
    u16::try_from(tag.0).unwrap_or(0)
}

impl App for Application {
    fn run(&mut self, lane: &mut Lane) {
        while !self.pauses
            && let Some(done) = lane.take(QueueId::MAIN)
        {
            self.on_completion(done);
        }
        let ops = if self.leaving { self.ends() } else { core::mem::take(&mut self.ops) };
        for op in ops {
            let _ = lane.submit(op);
        }
    }
}
