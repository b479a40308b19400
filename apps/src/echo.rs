//! Echo: whatever arrives goes back, without a copy. What it forwards still holds the window it came through, so it
//! cannot outrun its peer.

use std::net::SocketAddr;

use corelane::{Event, Lane, LaneError, Op, QueueId};

use crate::watch::Watch;

/// One lane's server, until the lane has stopped.
///
/// Errors: the address cannot be listened on, or the lane's bounds are too small.
pub fn echo(mut lane: Lane, address: SocketAddr, watch: &mut impl Watch) -> Result<(), LaneError> {
    lane.submit(Op::listen_eager(address))?;
    while lane.wait(&[QueueId::MAIN], None) {
        while let Some(done) = lane.take(QueueId::MAIN) {
            match done.event {
                Event::Listening { local, .. } => watch.ready(&lane, local),
                Event::Received { stream, data } => lane.submit(Op::send(stream, data))?,
                Event::End { stream } => lane.submit(Op::close(stream))?,
                // Without a socket it is the listener that failed; a stream's failure is followed by its `Closed`.
                Event::Failed { error, socket: None, .. } => return Err(error.into()),
                _ => {}
            }
        }
        watch.turn(&lane);
    }
    watch.end(&lane);
    Ok(())
}
