//! TLS without input or output: ciphertext and plaintext go in and out of memory, on either side of a connection.
//! Streams and what is said on them are the callers'; files with certificates and keys are `setup.rs`'s.

mod session;
mod setup;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

pub use rustls;
pub use session::Session;
pub use setup::{SYSTEM_ROOTS, TlsSetupError, Trust, client_config, server_config};

/// Most bytes that wait to go out: plaintext before the handshake is done, ciphertext after it. Four records.
pub const BUFFER_MAX: usize = 64 * 1024;

/// Why a TLS connection cannot go on. What [`TlsStream::output`] still has tells the peer.
#[derive(Clone, PartialEq, Debug)]
pub enum TlsError {
    /// The peer broke the protocol, or is not who it should be.
    Protocol(rustls::Error),
    /// The peer's bytes end without its word that they are all: somebody may have cut them off.
    Truncated,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Protocol(error) => error.fmt(f),
            TlsError::Truncated => f.write_str("the connection ended without close_notify"),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        TlsError::Protocol(error)
    }
}

/// One end of a TLS connection.
///
/// After each call but `output`, and after an error too, there may be something to send: ask `output`.
#[derive(Debug)]
pub struct TlsStream {
    connection: Connection,
    /// The peer's close_notify has come.
    closed: bool,
    /// Ours was sent.
    closing: bool,
}

impl TlsStream {
    /// The client's end, towards the server of that name. Its first output is there at once.
    pub fn client(config: &Arc<ClientConfig>, name: ServerName<'static>) -> Result<TlsStream, TlsError> {
        Ok(Self::new(ClientConnection::new(Arc::clone(config), name)?.into()))
    }

    /// The server's end.
    pub fn server(config: &Arc<ServerConfig>) -> Result<TlsStream, TlsError> {
        Ok(Self::new(ServerConnection::new(Arc::clone(config))?.into()))
    }

    fn new(mut connection: Connection) -> TlsStream {
        connection.set_buffer_limit(Some(BUFFER_MAX));
        TlsStream { connection, closed: false, closing: false }
    }

    /// Take bytes from the peer, and append what they say to `plain`.
    ///
    /// Shape: `plain` grows by no more than `ciphertext` and one record (16 KiB) that was incomplete before.
    ///
    /// Errors: the connection is over; what was appended before is good.
    pub fn receive(&mut self, mut ciphertext: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        while !ciphertext.is_empty() && !self.closing {
            match self.connection.read_tls(&mut ciphertext) {
                // Nothing that follows the peer's close_notify is of any meaning.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(rustls::Error::General(error.to_string()).into()),
            }
            let state = self.connection.process_new_packets()?;
            self.closed |= state.peer_has_closed();
            let ready = state.plaintext_bytes_to_read();
            let before = plain.len();
            plain.resize(before + ready, 0);
            let read = self.connection.reader().read_exact(&mut plain[before..]);
            debug_assert!(read.is_ok(), "as much was promised");
        }
        Ok(())
    }

    /// The peer has sent its FIN.
    ///
    /// Errors: it did not say before that this was all.
    //= https://www.rfc-editor.org/rfc/rfc8446#section-6.1
    //# If a transport-level close is
    //# received prior to a "close_notify", the receiver cannot know that all the data that was sent has been received.
    pub fn end(&self) -> Result<(), TlsError> {
        if self.is_ended() { Ok(()) } else { Err(TlsError::Truncated) }
    }

    /// The peer has said that nothing more will come.
    pub fn is_ended(&self) -> bool {
        self.closed
    }

    /// Encrypt from the front of `plain`. Returns how many bytes were taken: fewer if [`BUFFER_MAX`] is met, so
    /// that `output` must go out first.
    pub fn send(&mut self, plain: &[u8]) -> usize {
        self.connection.writer().write(plain).unwrap_or(0)
    }

    /// Say that nothing more will be sent. What still comes is of no interest, and is not looked at.
    pub fn close(&mut self) {
        self.closing = true;
        self.connection.send_close_notify();
    }

    /// Append to `out` everything that is to go to the peer.
    pub fn output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let written: io::Result<usize> = self.connection.write_tls(out);
            debug_assert!(written.is_ok(), "memory takes everything");
            if written.is_err() {
                return;
            }
        }
    }

    /// There is something to send.
    pub fn has_output(&self) -> bool {
        self.connection.wants_write()
    }

    /// The handshake is not done yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }
}
