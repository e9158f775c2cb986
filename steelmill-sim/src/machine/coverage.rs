//! How often a run came to each coverage point of the program, and which rare branches may be taken.

use steelmill_core::coverage::{self, Point};

use crate::schema::decision::Stream;
use crate::schema::outcome::Visits;

/// Visits of the coverage points of the program, by number.
#[derive(Default)]
pub(crate) struct CoverageCounts {
    visits: Vec<Visits>,
    /// The rare branches, once faults are injected.
    pub(crate) rare: Vec<Rare>,
}

/// What a run knows of a rare branch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rare {
    /// How many faults say at this moment that it may be taken.
    pub(crate) faults: u32,
    /// Which stream it is drawn from.
    pub(crate) stream: u32,
}

impl CoverageCounts {
    pub(crate) fn new() -> Self {
        let all = coverage::all().len();
        Self { visits: vec![Visits::default(); all], rare: Vec::new() }
    }

    /// Not again in this run: what still happens while it is taken down counts for nothing.
    pub(crate) fn take_visits(&mut self) -> Vec<Visits> {
        std::mem::take(&mut self.visits)
    }

    pub(crate) fn note(&mut self, place: &'static Point, hit: bool) {
        if let Some(visits) = place.number().and_then(|number| self.visits.get_mut(number)) {
            visits.seen += 1;
            visits.hit += u64::from(hit);
        }
    }

    /// Where it is drawn whether a rare branch is taken, if it may be.
    pub(crate) fn stream(&self, place: &'static Point) -> Option<Stream> {
        let rare = place.number().and_then(|number| self.rare.get(number));
        rare.filter(|rare| rare.faults > 0).map(|rare| Stream::Buggify(rare.stream))
    }
}
