//! Servers on lanes, until these have stopped. What a server does is `mod.rs`'s.

use std::time::Duration;

use corelane::{Lane, LaneError, LaneSet};

use super::{Doors, Equipment, Server, ServerOptions};
use crate::service::{Service, drive};
use crate::watch::Watch;

/// Serve on a lane until it has stopped.
///
/// Errors: an address cannot be listened on, or the lane's bounds are too small.
pub fn serve(
    lane: Lane,
    doors: impl Into<Doors>,
    equipment: impl Into<Equipment>,
    options: ServerOptions,
    watch: &mut impl Watch,
) -> Result<(), LaneError> {
    let (doors, mut equipment) = (doors.into(), Some(equipment.into()));
    let make = |_: &Lane| equipment.take();
    serve_all(LaneSet::new(vec![lane]), &doors, make, options, watch)
}

/// Serve on all lanes of a thread until they have stopped. `equip` is asked once for each lane.
///
/// Errors: as `serve`'s.
pub fn serve_all(
    set: LaneSet,
    doors: &Doors,
    mut equip: impl FnMut(&Lane) -> Option<Equipment>,
    options: ServerOptions,
    watch: &mut impl Watch,
) -> Result<(), LaneError> {
    let make = |lane: &Lane| {
        let server = equip(lane).map(|equipment| Server::new(lane, equipment, options));
        Serving { server, doors: doors.clone() }
    };
    drive(set, make, watch).map(drop)
}

/// A lane's server as a service.
struct Serving {
    server: Option<Server>,
    doors: Doors,
}

impl Service for Serving {
    fn start(&mut self, lane: &mut Lane) {
        if let Some(server) = &mut self.server {
            server.start(lane, &self.doors);
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.server.as_ref().filter(|server| server.is_busy()).map(|_| Duration::ZERO)
    }

    fn turn(&mut self, lane: &mut Lane, watch: &mut impl Watch) -> Result<bool, LaneError> {
        match &mut self.server {
            Some(server) => server.turn(lane, watch).map(|()| true),
            None => Ok(false),
        }
    }

    fn end(&mut self, lane: &mut Lane) {
        // What it holds goes before the lane is asked what it has.
        if let Some(mut server) = self.server.take() {
            server.wind_up(lane);
        }
    }
}
