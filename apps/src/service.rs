//! Servers and clients in steps, and the loop that turns them on all lanes of a thread. What they do is their own.

use std::time::Duration;

use corelane::{Lane, LaneError, LaneSet};

use crate::watch::Watch;

/// What runs on one lane.
pub trait Service {
    /// Begin: submit the first ops.
    fn start(&mut self, lane: &mut Lane);

    /// How long it has nothing to do unless a completion comes; `None`: for as long as that takes.
    fn pause(&self) -> Option<Duration>;

    /// Work off what a turn of the lane brought. False: it is done.
    ///
    /// Errors: what ends the lane's application.
    fn turn(&mut self, lane: &mut Lane, watch: &mut impl Watch) -> Result<bool, LaneError>;

    /// The lane has stopped, or all are done.
    fn end(&mut self, lane: &mut Lane);
}

/// Run a service, made by `make`, on each lane of a thread until all are done or the lanes have stopped. Returns the
/// services.
///
/// Errors: the first that a service returns.
pub fn drive<S: Service>(
    mut set: LaneSet,
    make: impl FnMut(&Lane) -> S,
    watch: &mut impl Watch,
) -> Result<Vec<S>, LaneError> {
    let mut services: Vec<(S, bool)> = set.lanes().iter().map(make).map(|service| (service, true)).collect();
    for (lane, (service, _)) in set.lanes().iter_mut().zip(&mut services) {
        service.start(lane);
    }
    while services.iter().any(|(_, goes_on)| *goes_on) {
        let pauses =
            services.iter().filter(|(_, goes_on)| *goes_on).filter_map(|(service, _)| service.pause());
        let pause = pauses.min();
        let running = if pause == Some(Duration::ZERO) { set.turn() } else { set.wait(pause) };
        if !running {
            // What is told at the end is told when nothing of it is under way.
            set.hand_over();
            break;
        }
        for (lane, (service, goes_on)) in set.lanes().iter_mut().zip(&mut services) {
            *goes_on = *goes_on && service.turn(lane, watch)?;
            watch.turn(lane);
        }
    }
    for (lane, (service, _)) in set.lanes().iter_mut().zip(&mut services) {
        service.end(lane);
    }
    set.lanes().iter().for_each(|lane| watch.end(lane));
    Ok(services.into_iter().map(|(service, _)| service).collect())
}
