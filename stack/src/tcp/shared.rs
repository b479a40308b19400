//! What the connections of a lane share: slabs of their parts, settings, the time, and what the segment at hand tells.

use super::active::Actives;
use super::congestion::Controls;
use super::rare::Rares;
use super::send::{Cells, Finished};
use super::ticks::{Now, Ticks};
use super::timers;
use crate::config::TcpConfig;
use crate::time::Instant;

/// What all connections of a lane share.
#[derive(Debug)]
pub struct Shared {
    /// Rare parts.
    pub rares: Rares,
    /// Active parts.
    pub actives: Actives,
    /// What congestion controls remember.
    pub controls: Controls,
    /// Send ranges.
    pub cells: Cells,
    /// Payloads that are done; the engine empties it after each event.
    pub finished: Vec<Finished>,
    /// TCP's settings.
    pub config: TcpConfig,
    /// Received frames that may still be held.
    pub frames_left: u32,
    /// Of those, frames for what arrives in order alone, so that holes can be filled.
    pub frames_in_order: u32,
    /// The time of this turn.
    pub now: Now,
    /// No timer that is armed in this turn for what the fast path sends is due before.
    pub soonest: Ticks,
    /// Where nothing went for no longer than this, no flow begins anew with a small window. Units: microseconds.
    pub idle_us: u32,
    /// What the segment at hand tells beside its header.
    pub signals: Signals,
}

impl Shared {
    /// With room for so many ranges, and no connection yet.
    pub fn new(cells_max: usize, config: TcpConfig, now: Instant) -> Shared {
        Shared {
            rares: Rares::default(),
            actives: Actives::default(),
            controls: Controls::default(),
            cells: Cells::new(cells_max),
            finished: Vec::new(),
            config,
            frames_left: 0,
            frames_in_order: 0,
            now: Now::new(now),
            soonest: Ticks::at(now),
            idle_us: u32::MAX,
            signals: Signals::default(),
        }
    }

    /// It is so late now.
    pub fn set_now(&mut self, now: Instant) {
        self.now = Now::new(now);
        self.soonest = self.now.after(timers::least_us(&self.config).into());
        self.idle_us = timers::idle_us(&self.config);
    }
}

/// What an arriving segment tells the congestion control.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signals {
    /// The round trip it has measured, or zero. Units: microseconds.
    pub rtt_us: u32,
    /// The ECN field of its IP header.
    pub field: u8,
    /// It echoes a congestion mark.
    pub echoed: bool,
}
