//! Echo: whatever arrives goes back, without a copy, over TCP and over UDP (RFC 862). What it forwards still holds the
//! window it came through, so it cannot outrun its peer.

use std::net::SocketAddr;
use std::time::Duration;

use corelane::{Event, Lane, LaneError, LaneSet, Op, QueueId};

use crate::service::{Service, drive};
use crate::watch::Watch;

/// Senders with ports below this get no datagrams back: they may be echo servers too, or others that answer anything, and
/// one forged datagram would keep the two busy for ever.
const PORT_MIN: u16 = 1024;

/// One lane's server, until the lane has stopped.
///
/// Errors: the address cannot be listened on, or the lane's bounds are too small.
pub fn echo(lane: Lane, address: SocketAddr, watch: &mut impl Watch) -> Result<(), LaneError> {
    echo_all(LaneSet::new(vec![lane]), address, watch)
}

/// The same on all lanes of a thread.
pub fn echo_all(set: LaneSet, address: SocketAddr, watch: &mut impl Watch) -> Result<(), LaneError> {
    drive(set, |_| Echo { address }, watch).map(drop)
}

/// One lane's server.
struct Echo {
    address: SocketAddr,
}

impl Service for Echo {
    fn start(&mut self, lane: &mut Lane) {
        let listening =
            lane.submit(Op::bind(self.address)).and_then(|()| lane.submit(Op::listen_eager(self.address)));
        debug_assert!(listening.is_ok(), "the first ops fit");
    }

    fn pause(&self) -> Option<Duration> {
        None
    }

    fn turn(&mut self, lane: &mut Lane, watch: &mut impl Watch) -> Result<bool, LaneError> {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Listening { local, .. } => watch.ready(lane, local),
                Event::Received { stream, data } => lane.submit(Op::send(stream, data))?,
                Event::Datagram { socket, from, data } if from.port() >= PORT_MIN => {
                    lane.submit(Op::send_to(socket, from, data))?;
                }
                Event::End { stream } => lane.submit(Op::close(stream))?,
                // Without a socket it is the listener that failed; a stream's failure is followed by its `Closed`.
                Event::Failed { error, socket: None, .. } => return Err(error.into()),
                _ => {}
            }
        }
        Ok(true)
    }

    fn end(&mut self, _lane: &mut Lane) {}
}
