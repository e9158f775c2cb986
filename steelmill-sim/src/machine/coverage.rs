//! Coverage of a run: visits of each coverage point, and the rare branches (`buggify!`) that may be taken.

use steelmill_core::coverage::{self, Point, Reading};

use crate::schema::decision::Stream;
use crate::schema::outcome::Visits;

/// Visits of coverage points, by [`Point::number`].
#[derive(Default)]
pub(crate) struct CoverageCounts {
    visits: Vec<Visits>,
    /// Rare branches, by number; empty until faults are injected.
    pub(crate) rare: Vec<Rare>,
}

/// The state of a rare branch in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rare {
    /// The number of active faults that enable it.
    pub(crate) faults: u32,
    /// The number of the stream it is drawn from.
    pub(crate) stream: u32,
}

impl CoverageCounts {
    pub(crate) fn new() -> Self {
        let all = coverage::all().len();
        Self { visits: vec![Visits::default(); all], rare: Vec::new() }
    }

    /// Ends the counting: visits during tear-down are not counted.
    pub(crate) fn take_visits(&mut self) -> Vec<Visits> {
        std::mem::take(&mut self.visits)
    }

    pub(crate) fn note(&mut self, point: &'static Point, hit: bool) {
        if let Some(visits) = point.number().and_then(|number| self.visits.get_mut(number)) {
            visits.executed += 1;
            visits.hit += u64::from(hit);
        }
    }

    /// Notes a value of a bound, if none went further.
    pub(crate) fn measure(&mut self, point: &'static Point, reading: Reading) {
        if let Some(visits) = point.number().and_then(|number| self.visits.get_mut(number)) {
            let excess = |reading: &Reading| reading.excess(point.kind());
            if visits.furthest.as_ref().is_none_or(|furthest| excess(furthest) < excess(&reading)) {
                visits.furthest = Some(reading);
            }
        }
    }

    /// The stream of a rare branch, if a fault enables it.
    pub(crate) fn stream(&self, point: &'static Point) -> Option<Stream> {
        let rare = point.number().and_then(|number| self.rare.get(number));
        rare.filter(|rare| rare.faults > 0).map(|rare| Stream::Buggify(rare.stream))
    }
}
