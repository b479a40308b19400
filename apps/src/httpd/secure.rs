//! TLS under the requests of a connection: what is opened when, and what is sealed before it goes out. TLS itself is
//! `crate::tls`'s, what requests mean `mod.rs`'s.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use corelane::{Lane, Op, Received, SocketId, Tag};

use super::{LISTEN, Server};
use crate::http::Chunk;
use crate::tls::Session;
use crate::tls::rustls::ServerConfig;

/// Listeners that speak TLS, and as whom.
#[derive(Clone, Debug)]
pub struct Secure {
    /// Which of the site's addresses.
    pub doors: Vec<SocketAddr>,
    /// Certificate and key.
    pub config: Arc<ServerConfig>,
}

impl Secure {
    /// The listeners among `doors`, which have their tags in this order, that speak TLS.
    pub(super) fn tags(&self, doors: &[SocketAddr]) -> Vec<Tag> {
        let tags = doors.iter().zip(0..).filter(|(door, _)| self.doors.contains(door));
        tags.map(|(_, index)| Tag(LISTEN.0 + index)).collect()
    }
}

/// What requests are parsed in.
#[derive(Debug)]
pub enum Arrived {
    /// A frame as it came.
    Frame(Received),
    /// What TLS made of some.
    Plain(Bytes),
}

impl Deref for Arrived {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Arrived::Frame(frame) => frame,
            Arrived::Plain(bytes) => bytes,
        }
    }
}

impl Chunk for Arrived {
    fn forget(&mut self, n: usize) {
        match self {
            Arrived::Frame(frame) => frame.advance(n),
            Arrived::Plain(bytes) => bytes.advance(n),
        }
    }
}

impl Server {
    /// Give a connection TLS, if it came through a listener that speaks it. False if there is no TLS to be had.
    pub(super) fn secure(&mut self, socket: SocketId, door: Tag) -> bool {
        let Some(config) = self.secure.as_ref().filter(|_| self.secure_doors.contains(&door)) else {
            return true;
        };
        let Some(connection) = self.connections.get_mut(socket) else { return true };
        connection.session = Session::server(&config.config).ok().map(Box::new);
        connection.session.is_some()
    }

    /// Open the next of what came sealed. False if nothing came of it.
    pub(super) fn unseal(&mut self, lane: &mut Lane, socket: SocketId) -> bool {
        let now = lane.now();
        let Some(connection) = self.connections.get_mut(socket) else { return false };
        let stream = connection.stream;
        let Some(session) = &mut connection.session else { return false };
        let shaking = session.is_handshaking();
        let opened = session.open_next();
        let shaken = shaking && !session.is_handshaking();
        if let Some(output) = session.output() {
            self.outbox.submit(lane, Op::send(stream, output));
        }
        match opened {
            Ok(plain) => {
                let goes_on = plain.is_some();
                connection.input.extend(plain.map(Arrived::Plain));
                if shaken {
                    self.set_deadline(socket, now, self.timeouts.idle);
                }
                goes_on || self.connections.get_mut(socket).is_some_and(|connection| connection.ended)
            }
            // The alert that says so goes first.
            Err(_) => {
                self.close(lane, socket);
                false
            }
        }
    }

    /// End a connection's TLS, if it has one: nothing more will be sent, and what is still sealed is of no interest.
    pub(super) fn close_session(&mut self, lane: &mut Lane, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(socket) else { return };
        let stream = connection.stream;
        if let Some(output) = connection.session.take().and_then(|mut session| session.close()) {
            self.outbox.submit(lane, Op::send(stream, output));
        }
    }
}
