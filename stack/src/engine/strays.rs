//! Segments of what is no flow yet, or no longer: whose they are. What is done about them is in `listeners` and `time_waits`.

use drivers::Frame;

use super::Engine;
use super::segments::Arrived;
use crate::flow::Place;
use crate::tcp::isn::{FlowKey, Tuple};

impl Engine {
    /// A segment that is no flow's: for TIME_WAIT, a half-open connection, a listener, or nobody.
    pub(super) fn on_stray(&mut self, stray: Option<Place>, arrived: &Arrived, key: &FlowKey, frame: Frame) {
        match stray {
            Some(stray) => self.on_known_stray(stray, arrived, key, frame),
            None => {
                if let Some(lane) = self.elsewhere(&arrived.tuple) {
                    return self.steer(lane, frame, usize::from(arrived.link));
                }
                self.on_listen(arrived, key, None, frame);
            }
        }
    }

    /// A segment for what is no flow yet, or no longer, and has this place.
    pub(super) fn on_known_stray(&mut self, stray: Place, arrived: &Arrived, key: &FlowKey, frame: Frame) {
        match stray {
            Place::Flow(_) => {}
            Place::HalfOpen(place) => {
                if let Some(half) = self.half_opens.of(place).copied() {
                    self.on_half_open(place, &half, arrived, key, frame);
                }
            }
            Place::Rest(number) => {
                if let Some(rest) = self.time_waits.get(number, key.word) {
                    self.on_rest(number, &rest, arrived, key, frame);
                }
            }
        }
    }

    /// Where that is which a tuple is known for that is no flow's.
    pub(super) fn find_stray(&self, tuple: &Tuple, key: &FlowKey) -> Option<Place> {
        self.table.candidates(key.hash).map(Place::of).find(|place| self.is_stray(*place, tuple, key))
    }

    #[inline]
    fn is_stray(&self, place: Place, tuple: &Tuple, key: &FlowKey) -> bool {
        match place {
            Place::Flow(_) => false,
            Place::HalfOpen(place) => self.half_opens.get(place, tuple).is_some(),
            Place::Rest(number) => self.time_waits.has(number, key.word),
        }
    }

    /// The flow of a tuple, or else where that is which it is known for otherwise.
    #[inline]
    pub(super) fn find_place(&self, key: &FlowKey, tuple: &Tuple) -> Option<Place> {
        let mut stray = None;
        for place in self.table.candidates(key.hash).map(Place::of) {
            match place {
                Place::Flow(slot) if self.flows.is_tuple(slot, key, tuple) => return Some(place),
                _ if stray.is_none() && self.is_stray(place, tuple, key) => stray = Some(place),
                _ => {}
            }
        }
        stray
    }
}
