//! Echo: whatever arrives goes back, without a copy, over TCP and over UDP (RFC 862). What it forwards still holds the
//! window it came through, so it cannot outrun its peer. For measuring, what arrives can be dropped instead (RFC 863),
//! or connections given bytes without end (RFC 864).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use corelane::{Event, Lane, LaneError, LaneSet, Op, QueueId, Region, Stream};

use crate::outbox::Outbox;
use crate::service::{Service, drive};
use crate::watch::Watch;

/// Senders with ports below this get no datagrams back: they may be echo servers too, or others that answer anything, and
/// one forged datagram would keep the two busy for ever.
const PORT_MIN: u16 = 1024;

/// Bytes of a connection that are under way when it is given them without end, in so many pieces at most.
const UNDER_WAY: usize = 1 << 20;
const PIECES_MAX: usize = 1024;

/// What becomes of what arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Manner {
    /// It goes back.
    #[default]
    Echo,
    /// It is dropped.
    Discard,
    /// It is dropped, and each connection is sent pieces of so many bytes, one at least, without end.
    Generate(usize),
}

/// One lane's server, until the lane has stopped.
///
/// Errors: the address cannot be listened on, or the lane's bounds are too small.
pub fn echo(lane: Lane, address: SocketAddr, watch: &mut impl Watch) -> Result<(), LaneError> {
    serve_all(LaneSet::new(vec![lane]), address, Manner::Echo, watch)
}

/// The same on all lanes of a thread, in any manner.
pub fn serve_all(
    set: LaneSet,
    address: SocketAddr,
    manner: Manner,
    watch: &mut impl Watch,
) -> Result<(), LaneError> {
    drive(set, |_| Echo::new(address, manner), watch).map(drop)
}

/// One lane's server.
struct Echo {
    address: SocketAddr,
    manner: Manner,
    piece: Bytes,
    /// Pieces that did not fit a batch.
    outbox: Outbox,
}

impl Echo {
    fn new(address: SocketAddr, manner: Manner) -> Echo {
        let piece = match manner {
            Manner::Generate(length) => {
                let bytes = vec![b'.'; length.max(1)];
                // Memory that the device reads, if there is any.
                Region::new(1, bytes.len()).store(&bytes).unwrap_or_else(|| bytes.into())
            }
            Manner::Echo | Manner::Discard => Bytes::new(),
        };
        Echo { address, manner, piece, outbox: Outbox::default() }
    }

    /// Send so many pieces, behind what waits.
    fn generate(&mut self, lane: &mut Lane, stream: Stream, pieces: usize) {
        for _ in 0..pieces {
            self.outbox.submit(lane, Op::send(stream, self.piece.clone()).notify());
        }
    }

    fn handle(&mut self, lane: &mut Lane, event: Event, watch: &mut impl Watch) -> Result<(), LaneError> {
        match (event, self.manner) {
            (Event::Listening { local, .. }, _) => watch.ready(lane, local),
            (Event::Received { stream, data }, Manner::Echo) => lane.submit(Op::send(stream, data))?,
            (Event::Datagram { socket, from, data }, Manner::Echo) if from.port() >= PORT_MIN => {
                lane.submit(Op::send_to(socket, from, data))?;
            }
            (Event::Accepted { stream, .. }, Manner::Generate(length)) => {
                self.generate(lane, stream, (UNDER_WAY / length.max(1)).clamp(2, PIECES_MAX));
            }
            (Event::Sent { stream, .. }, Manner::Generate(_)) => self.generate(lane, stream, 1),
            (Event::End { stream }, _) => lane.submit(Op::close(stream))?,
            // Without a socket it is the listener that failed; a stream's failure is followed by its `Closed`.
            (Event::Failed { error, socket: None, .. }, _) => return Err(error.into()),
            _ => {}
        }
        Ok(())
    }
}

impl Service for Echo {
    fn start(&mut self, lane: &mut Lane) {
        let listening =
            lane.submit(Op::bind(self.address)).and_then(|()| lane.submit(Op::listen_eager(self.address)));
        debug_assert!(listening.is_ok(), "the first ops fit");
    }

    fn pause(&self) -> Option<Duration> {
        (!self.outbox.is_empty()).then_some(Duration::ZERO)
    }

    fn turn(&mut self, lane: &mut Lane, watch: &mut impl Watch) -> Result<bool, LaneError> {
        self.outbox.flush(lane);
        while self.outbox.is_empty()
            && let Some(done) = lane.take(QueueId::MAIN)
        {
            self.handle(lane, done.event, watch)?;
            self.outbox.flush(lane);
        }
        Ok(true)
    }

    fn end(&mut self, _lane: &mut Lane) {}
}
