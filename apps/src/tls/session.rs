//! A server's end of a TLS connection, fed with what a lane received: frames wait sealed until somebody wants what is
//! in them, so that they hold the peer's window as they do without TLS. TLS itself is `mod.rs`'s.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ServerConfig;

use super::{TlsError, TlsStream};

/// A connection's TLS, and what came on it that was not asked for yet. `D`: bytes that arrived together.
pub struct Session<D> {
    stream: TlsStream,
    sealed: VecDeque<D>,
}

impl<D> fmt::Debug for Session<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("sealed", &self.sealed.len()).finish_non_exhaustive()
    }
}

impl<D: Deref<Target = [u8]>> Session<D> {
    /// A server's session.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Session<D>, TlsError> {
        Ok(Session { stream: TlsStream::server(config)?, sealed: VecDeque::new() })
    }

    /// Bytes have arrived. They wait.
    pub fn push(&mut self, sealed: D) {
        self.sealed.push_back(sealed);
    }

    /// Open what waits, up to the first plaintext; `None` if all was opened and there is none.
    ///
    /// Afterwards there may be something to send: see [`output`](Session::output), after an error too.
    pub fn open_next(&mut self) -> Result<Option<Bytes>, TlsError> {
        let mut plain = Vec::new();
        while let Some(sealed) = self.sealed.pop_front() {
            self.stream.receive(&sealed, &mut plain)?;
            if !plain.is_empty() {
                return Ok(Some(plain.into()));
            }
        }
        Ok(None)
    }

    /// Nothing waits to be opened.
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty()
    }

    /// What is to go to the peer, with `parts` encrypted behind it; `None` if that is nothing.
    pub fn seal(&mut self, parts: &[&[u8]]) -> Option<Bytes> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // Each record of 16 KiB has 22 bytes of its own.
        let mut out = Vec::with_capacity(if length == 0 { 0 } else { length + length / 512 + 64 });
        for &part in parts {
            let mut left = part;
            while !left.is_empty() {
                let taken = self.stream.send(left);
                left = &left[taken..];
                self.stream.output(&mut out);
                if taken == 0 {
                    break;
                }
            }
        }
        self.stream.output(&mut out);
        (!out.is_empty()).then(|| out.into())
    }

    /// What is to go to the peer by itself: parts of the handshake, and alerts.
    pub fn output(&mut self) -> Option<Bytes> {
        self.seal(&[])
    }

    /// Say that nothing more will be sent, and return what says so.
    pub fn close(&mut self) -> Option<Bytes> {
        self.stream.close();
        self.output()
    }

    /// The handshake is not done yet: nothing is to be sealed.
    pub fn is_handshaking(&self) -> bool {
        self.stream.is_handshaking()
    }
}
