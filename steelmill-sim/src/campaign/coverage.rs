//! Coverage points over a campaign: which were reached, how often, and by which seed first.
//!
//! A run counts by a point's number among those of the program, which the linker chose and which nothing else may see. A
//! campaign counts by what a point is called, so that counts from another process can be added.

use std::fmt;

use serde::{Deserialize, Serialize};
use steelmill_core::coverage::{self, Kind, Point};

use crate::schema::outcome::{LISTED, Visits};
use crate::schema::settings::Seed;

/// Which coverage points of a program a campaign reached.
///
/// A place is a use of [`assert_always!`](steelmill_core::assert_always),
/// [`assert_sometimes!`](steelmill_core::assert_sometimes), [`assert_reachable!`](steelmill_core::assert_reachable),
/// [`assert_unreachable!`](steelmill_core::assert_unreachable) or [`buggify!`](steelmill_core::buggify) in any crate that
/// is linked into the program, come to or not. A place that was never hit makes no campaign red; a test that wants all of
/// them asserts that there is none in [`never_reached`](Coverage::never_reached).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Coverage {
    /// Each place, by file, line and column.
    points: Vec<CoveragePoint>,
}

/// What came of one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CoveragePoint {
    /// The file it is written in.
    pub file: String,
    /// The line there.
    pub line: u32,
    /// The column there.
    pub column: u32,
    /// The module it is written in.
    pub module: String,
    /// What is claimed of it.
    #[serde(with = "kind")]
    pub kind: Kind,
    /// What it was called where it is written; empty for a rare branch.
    pub message: String,
    /// How often a run came to it.
    pub seen: u64,
    /// How often that was a hit: its condition held, or the rare branch was taken.
    pub hit: u64,
    /// The first of the seeds in which it was hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_hit: Option<Seed>,
}

impl CoveragePoint {
    fn of(place: &Point) -> Self {
        Self {
            file: place.file().to_owned(),
            line: place.line(),
            column: place.column(),
            module: place.module().to_owned(),
            kind: place.kind(),
            message: place.message().to_owned(),
            seen: 0,
            hit: 0,
            first_hit: None,
        }
    }

    /// What tells it from all others.
    fn name(&self) -> Name<'_> {
        (&self.file, self.line, self.column, &self.module, self.kind, &self.message)
    }

    fn add(&mut self, seen: u64, hit: u64, first_hit: Option<Seed>) {
        self.seen += seen;
        self.hit += hit;
        self.first_hit = self.first_hit.into_iter().chain(first_hit).min();
    }

    /// Whether it was never reached, though it should be.
    fn is_missed(&self) -> bool {
        self.hit == 0 && self.kind != Kind::Unreachable
    }
}

type Name<'a> = (&'a str, u32, u32, &'a str, Kind, &'a str);

fn name(place: &Point) -> Name<'static> {
    (place.file(), place.line(), place.column(), place.module(), place.kind(), place.message())
}

/// `src/store.rs:12:9: assert_sometimes! "the queue is full": come to 100 times, never so`
impl fmt::Display for CoveragePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, kind, message, seen, hit, .. } = self;
        write!(f, "{file}:{line}:{column}: {kind}")?;
        if !message.is_empty() {
            write!(f, " {message:?}")?;
        }
        match (seen, hit) {
            (0, _) => f.write_str(": never come to"),
            (_, 0) if *kind == Kind::Buggify => write!(f, ": come to {seen} times, never taken"),
            (_, 0) => write!(f, ": come to {seen} times, never so"),
            _ => write!(f, ": come to {seen} times, hit {hit}"),
        }
    }
}

impl Coverage {
    /// The coverage points of this program, none of them reached.
    pub(crate) fn of_program() -> Self {
        let mut places: Vec<CoveragePoint> = coverage::all().iter().map(CoveragePoint::of).collect();
        places.sort();
        // What a macro writes twice into one line, with one message, is one.
        places.dedup();
        Self { points: places }
    }

    /// Adds what came of them in one seed.
    pub(crate) fn add(&mut self, seed: Seed, visits: &[Visits]) {
        for (place, visits) in coverage::all().iter().zip(visits).filter(|(_, visits)| visits.seen > 0) {
            let first_hit = (visits.hit > 0).then_some(seed);
            if let Ok(index) = self.points.binary_search_by(|covered| covered.name().cmp(&name(place))) {
                self.points[index].add(visits.seen, visits.hit, first_hit);
            }
        }
    }

    /// Adds what came of them in other seeds, by the same program or one that has other places as well.
    pub fn merge(&mut self, other: &Self) {
        for place in &other.points {
            match self.points.binary_search_by(|ours| ours.name().cmp(&place.name())) {
                Ok(index) => self.points[index].add(place.seen, place.hit, place.first_hit),
                Err(index) => self.points.insert(index, place.clone()),
            }
        }
    }

    /// Each place, by file, line and column.
    pub fn points(&self) -> &[CoveragePoint] {
        &self.points
    }

    /// The places that no seed hit: whose condition never held, which none came to, and rare branches that were never
    /// taken. One that is unreachable is not among them.
    pub fn never_reached(&self) -> impl Iterator<Item = &CoveragePoint> {
        self.points.iter().filter(|place| place.is_missed())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// How many seeds it took to hit all that was hit.
    pub(crate) fn seeds_taken(&self, first: Seed) -> u64 {
        let hits = self.points.iter().filter_map(|place| place.first_hit);
        hits.map(|seed| seed.0.wrapping_sub(first.0) + 1).max().unwrap_or(0)
    }

    /// The table of those never hit, a line for each; rare branches, too, where any of them could have been taken.
    pub(crate) fn table(&self, with_rare: bool) -> String {
        let is_meant = |place: &&CoveragePoint| with_rare || place.kind != Kind::Buggify;
        let all = self.points.iter().filter(is_meant).filter(|place| place.kind != Kind::Unreachable).count();
        let missed: Vec<&CoveragePoint> = self.never_reached().filter(is_meant).collect();
        let mut text = match (missed.len(), all) {
            (_, 0) => return String::new(),
            (0, _) => return format!("\n  all {all} coverage points were reached"),
            (missed, _) => format!("\n  {missed} of {all} coverage points never reached"),
        };
        missed.iter().take(LISTED).for_each(|place| text.push_str(&format!("\n    {place}")));
        if missed.len() > LISTED {
            text.push_str(&format!("\n    and {} more, which --json lists", missed.len() - LISTED));
        }
        text
    }
}

/// How many seeds a campaign that runs until all is covered is to have, when the last new place was hit by the seed with
/// this number: as many as it took again, and at least 200, without another.
pub(crate) fn seeds_until_covered(taken: u64) -> u64 {
    taken.saturating_add(taken.max(AWHILE))
}

/// How many seeds without a new place are many, where the last one was hit soon.
const AWHILE: u64 = 200;

/// A kind is called by its macro.
mod kind {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use steelmill_core::coverage::Kind;

    pub(super) fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        let name = String::deserialize(deserializer)?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| {
            D::Error::custom(format!("{name:?} is no kind of place, such as \"assert_sometimes!\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, kind: Kind, seen: u64, hit: u64, first_hit: Option<u64>) -> CoveragePoint {
        CoveragePoint {
            file: "src/store.rs".into(),
            line,
            column: 9,
            module: "app::store".into(),
            kind,
            message: if kind == Kind::Buggify { String::new() } else { "it is full".into() },
            seen,
            hit,
            first_hit: first_hit.map(Seed),
        }
    }

    #[test]
    fn what_was_never_hit_is_told_with_how_often_it_could_have_been() {
        let places = vec![
            place(1, Kind::Sometimes, 40, 0, None),
            place(2, Kind::Sometimes, 40, 1, Some(3)),
            place(3, Kind::Reachable, 0, 0, None),
            place(4, Kind::Always, 0, 0, None),
            place(5, Kind::Unreachable, 0, 0, None),
            place(6, Kind::Buggify, 7, 0, None),
        ];
        let coverage = Coverage { points: places };
        assert_eq!(
            coverage.table(true),
            "\n  4 of 5 coverage points never reached\
             \n    src/store.rs:1:9: assert_sometimes! \"it is full\": come to 40 times, never so\
             \n    src/store.rs:3:9: assert_reachable! \"it is full\": never come to\
             \n    src/store.rs:4:9: assert_always! \"it is full\": never come to\
             \n    src/store.rs:6:9: buggify!: come to 7 times, never taken"
        );
        assert!(coverage.table(false).starts_with("\n  3 of 4 coverage points never reached\n"));
        assert_eq!(Coverage::default().table(true), "");
        let hit = Coverage { points: vec![place(2, Kind::Sometimes, 40, 1, Some(3))] };
        assert_eq!(hit.table(true), "\n  all 1 coverage points were reached");
    }

    #[test]
    fn counts_of_other_seeds_are_added_and_the_first_hit_stays_the_first() {
        let first = [place(1, Kind::Sometimes, 40, 2, Some(5)), place(9, Kind::Reachable, 0, 0, None)];
        let second = [place(1, Kind::Sometimes, 2, 1, Some(3)), place(4, Kind::Always, 1, 1, Some(8))];
        let merged = |first: &[CoveragePoint], second: &[CoveragePoint]| {
            let mut merged = Coverage { points: first.to_vec() };
            merged.merge(&Coverage { points: second.to_vec() });
            merged
        };
        let expected = [
            place(1, Kind::Sometimes, 42, 3, Some(3)),
            place(4, Kind::Always, 1, 1, Some(8)),
            place(9, Kind::Reachable, 0, 0, None),
        ];
        assert_eq!(merged(&first, &second).points, expected);
        assert_eq!(merged(&second, &first).points, expected);
        assert_eq!(merged(&first, &second).seeds_taken(Seed(3)), 6);
        let json = serde_json::to_string(&merged(&first, &second)).expect("plain data");
        assert_eq!(serde_json::from_str::<Coverage>(&json).expect("the same").points, expected);
    }

    #[test]
    fn a_while_is_as_long_as_it_took_before() {
        assert_eq!([0, 1, 200, 300].map(seeds_until_covered), [200, 201, 400, 600]);
        assert_eq!(seeds_until_covered(u64::MAX), u64::MAX);
    }
}
