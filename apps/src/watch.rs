//! What a program wants to know of a running lane. Nothing a server does depends on it.

use std::net::SocketAddr;

use corelane::Lane;

/// Told of a lane's life by its server, on the lane's thread.
pub trait Watch {
    /// The server listens at `local`.
    fn ready(&mut self, lane: &Lane, local: SocketAddr);

    /// A turn is over. Called often: look at a flag, no more.
    fn turn(&mut self, lane: &Lane);

    /// The lane has stopped.
    fn end(&mut self, lane: &Lane);
}

/// Nobody wants to know.
impl Watch for () {
    fn ready(&mut self, _lane: &Lane, _local: SocketAddr) {}
    fn turn(&mut self, _lane: &Lane) {}
    fn end(&mut self, _lane: &Lane) {}
}
