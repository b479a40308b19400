//! When to look at which connection: buckets of a second. What its deadline means is `connection.rs`'s.

use corelane::{Instant, SocketId};

/// Length of a bucket. Units: nanoseconds.
const TICK: u64 = 1_000_000_000;

/// Buckets; a deadline further away is looked at this much earlier and put back.
const BUCKETS: u64 = 128;

/// Connections by the second at which to look at them.
///
/// A deadline that moves later costs nothing until its old time comes; one that moves earlier leaves an entry
/// behind, which is recognised because the connection no longer has that tick.
#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<SocketId>>,
    /// Every tick up to this one has been handed out.
    done: u64,
}

impl Wheel {
    pub fn new(now: Instant) -> Wheel {
        Wheel { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), done: now.0 / TICK }
    }

    /// Look at `socket` at `deadline`. `visit` is where it waits already, zero for nowhere; it is kept up to date.
    pub fn schedule(&mut self, socket: impl Into<SocketId>, deadline: Instant, visit: &mut u64) {
        let tick = deadline.0.div_ceil(TICK).clamp(self.done + 1, self.done + BUCKETS - 1);
        if *visit == 0 || tick < *visit {
            *visit = tick;
            self.bucket(tick).push(socket.into());
        }
    }

    fn bucket(&mut self, tick: u64) -> &mut Vec<SocketId> {
        let index = usize::try_from(tick % BUCKETS).unwrap_or(0);
        &mut self.buckets[index]
    }

    /// The next tick whose time has come, and its sockets; to be given back by [`restore`](Wheel::restore).
    pub fn due(&mut self, now: Instant) -> Option<(u64, Vec<SocketId>)> {
        if self.done >= now.0 / TICK {
            return None;
        }
        self.done += 1;
        let tick = self.done;
        Some((tick, core::mem::take(self.bucket(tick))))
    }

    /// Keep the memory of a bucket that was handed out.
    pub fn restore(&mut self, tick: u64, mut sockets: Vec<SocketId>) {
        sockets.clear();
        let bucket = self.bucket(tick);
        if bucket.is_empty() {
            *bucket = sockets;
        }
    }

    /// When to ask again.
    pub fn next(&self) -> Instant {
        Instant((self.done + 1) * TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Instant {
        Instant(seconds * TICK)
    }

    #[test]
    fn a_socket_is_handed_out_once_its_time_has_come() {
        // Shows near and far deadlines: none early beyond the wheel's turn, none late by more than a tick.
        let mut wheel = Wheel::new(seconds(1000));
        let mut visits = [0; 3];
        for (index, after) in [1, 5, 500].into_iter().enumerate() {
            wheel.schedule(SocketId::from_bits(index as u64), seconds(1000 + after), &mut visits[index]);
        }
        assert_eq!(visits, [1001, 1005, 1000 + BUCKETS - 1]);
        let mut seen = Vec::new();
        assert!(wheel.due(seconds(1000)).is_none());
        while let Some((tick, sockets)) = wheel.due(seconds(1200)) {
            seen.extend(sockets.iter().map(|socket| (tick, socket.to_bits())));
            wheel.restore(tick, sockets);
        }
        assert_eq!(seen, [(1001, 0), (1005, 1), (1000 + BUCKETS - 1, 2)]);
        assert_eq!(wheel.next(), seconds(1201));
    }

    #[test]
    fn only_an_earlier_deadline_adds_an_entry() {
        // Shows that moving a deadline later is free, and that an earlier one is found at its own tick.
        let mut wheel = Wheel::new(seconds(0));
        let (socket, mut visit) = (SocketId::from_bits(9), 0);
        wheel.schedule(socket, seconds(10), &mut visit);
        wheel.schedule(socket, seconds(20), &mut visit);
        wheel.schedule(socket, seconds(4), &mut visit);
        assert_eq!(visit, 4);
        let entries: usize = wheel.buckets.iter().map(Vec::len).sum();
        assert_eq!(entries, 2);
    }
}
