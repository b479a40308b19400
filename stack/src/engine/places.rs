//! Where the tables of connections lie.

use super::Engine;
use crate::places::Place;

impl Engine {
    /// The tables that have something of each connection.
    pub fn places(&self) -> Vec<Place> {
        let mut places = vec![self.table.place()];
        places.extend(self.flows.places());
        places
    }
}
