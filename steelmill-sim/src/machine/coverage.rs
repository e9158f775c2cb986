//! Coverage of a run: visits of each coverage point, and the rare branches (`buggify!`) that may be taken.

use std::time::Duration;

use steelmill_core::coverage::{self, Kind, Point, Reading};

use crate::schema::decision::Stream;
use crate::schema::outcome::{Reached, Visits};

/// Visits of coverage points, by [`Point::number`].
#[derive(Default)]
pub(crate) struct CoverageCounts {
    visits: Vec<Visits>,
    reached: Vec<Reached>,
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
        Self { visits: vec![Visits::default(); all], reached: Vec::new(), rare: Vec::new() }
    }

    /// Ends the counting: visits during tear-down are not counted.
    pub(crate) fn take_visits(&mut self) -> Vec<Visits> {
        std::mem::take(&mut self.visits)
    }

    /// The places that the run came to, each when it first did.
    pub(crate) fn take_reached(&mut self) -> Vec<Reached> {
        std::mem::take(&mut self.reached)
    }

    pub(crate) fn note(&mut self, point: &'static Point, hit: bool, now: u64) {
        if let Some((number, visits)) = self.visits_of(point) {
            let is_first = hit && visits.hit == 0 && visits.furthest.is_none();
            visits.executed += 1;
            visits.hit += u64::from(hit);
            if is_first && point.kind() != Kind::Buggify {
                self.reached.push(Reached { point: number, level: 0, at: Duration::from_nanos(now) });
            }
        }
    }

    fn visits_of(&mut self, point: &'static Point) -> Option<(usize, &mut Visits)> {
        let number = point.number()?;
        Some((number, self.visits.get_mut(number)?))
    }

    /// Notes a value of a bound, if none went further.
    pub(crate) fn measure(&mut self, point: &'static Point, reading: Reading, now: u64) {
        let excess = |reading: &Reading| reading.excess(point.kind());
        let Some((number, visits)) = self.visits_of(point) else { return };
        let former = visits.furthest.as_ref().map(excess);
        if former.is_none_or(|former| former < excess(&reading)) {
            visits.furthest = Some(reading);
            let level = level(excess(&reading));
            if former.is_none_or(|former| self::level(former) < level) {
                self.reached.push(Reached { point: number, level, at: Duration::from_nanos(now) });
            }
        }
    }

    /// The stream of a rare branch, if a fault enables it.
    pub(crate) fn stream(&self, point: &'static Point) -> Option<Stream> {
        let rare = point.number().and_then(|number| self.rare.get(number));
        rare.filter(|rare| rare.faults > 0).map(|rare| Stream::Buggify(rare.stream))
    }
}

/// How close a value is to its limit, in steps: single ones at the limit, about a tenth of the distance each far from it. So
/// few steps lead from anywhere to the limit, also for durations.
fn level(excess: i128) -> i32 {
    const SINGLE: u128 = 16;
    const PER_DOUBLING: u128 = 8;
    let distance = excess.unsigned_abs();
    let steps = match distance / SINGLE {
        0 => distance,
        times => {
            let doublings = u128::from(times.ilog2());
            SINGLE + PER_DOUBLING * doublings + PER_DOUBLING * ((distance >> doublings) - SINGLE) / SINGLE
        }
    };
    i32::try_from(steps).unwrap_or(i32::MAX) * excess.signum() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_with_the_value_and_are_few() {
        assert_eq!([-3, 0, 2].map(level), [-3, 0, 2]);
        assert_eq!([-50, -48, -47].map(level), [-28, -28, -27]);
        let day = 24 * 3600 * 1_000_000_000;
        assert_eq!(level(-day), -353, "a day, in nanoseconds");
        assert_eq!(level(i128::MIN + 1), -level(i128::MAX));
        let distances = (0..100_000).map(|excess| level(-excess));
        assert!(distances.clone().zip(distances.skip(1)).all(|(near, far)| near >= far && near - far <= 1));
    }
}
