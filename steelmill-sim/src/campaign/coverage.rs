//! Coverage points over a campaign: which were reached, how often, and by which seed first.
//!
//! A run counts by a point's index in the program, which the linker chooses. A campaign counts by file, line and message,
//! so that counts from another process can be added.

use std::fmt;

use serde::{Deserialize, Serialize};
use steelmill_core::coverage::{self, Amount, Kind, Point, Reading};

use crate::schema::decision::Redraws;
use crate::schema::outcome::{LISTED, Visits};
use crate::schema::portable;
use crate::schema::settings::Seed;

/// Which coverage points of a program a campaign reached.
///
/// A coverage point is a use of [`assert_always!`](steelmill_core::assert_always),
/// [`assert_sometimes!`](steelmill_core::assert_sometimes), [`assert_reachable!`](steelmill_core::assert_reachable),
/// [`assert_unreachable!`](steelmill_core::assert_unreachable), [`buggify!`](steelmill_core::buggify) or one of the macros for
/// [bounds](steelmill_core::coverage#bounds), such as
/// [`assert_always_at_most!`](steelmill_core::assert_always_at_most), in any crate linked into the program, executed
/// or not. A point that was never hit does not make a campaign red; a test that needs all of them asserts that [`never_reached`](Coverage::never_reached) is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Coverage {
    /// Sorted by file, line and column.
    points: Vec<CoveragePoint>,
}

/// One coverage point, and how often a campaign executed and hit it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CoveragePoint {
    /// The source file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The path of the module.
    pub module: String,
    /// The macro.
    #[serde(with = "kind")]
    pub kind: Kind,
    /// The message given to the macro; empty for `buggify!`.
    pub message: String,
    /// How often it was executed.
    pub executed: u64,
    /// How often it was hit: its condition held, or the branch of `buggify!` was taken.
    pub hit: u64,
    /// The lowest seed that hit it; varied runs of a guided campaign are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_hit: Option<Seed>,
    /// Of a bound that was executed: the value that went furthest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub furthest: Option<Furthest>,
}

/// How far the value of a [bound](steelmill_core::coverage#bounds) went: the highest one under an upper limit or towards a goal above,
/// otherwise the lowest. Where limits differ, the value that came closest to its own, or furthest beyond it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Furthest {
    /// The value.
    #[serde(with = "portable::amount")]
    pub value: Amount,
    /// Its limit, or the goal.
    #[serde(with = "portable::amount")]
    pub limit: Amount,
    /// The lowest seed that came there.
    pub seed: Seed,
    /// How the run was varied from the seed's own, in a guided campaign.
    #[serde(default, skip_serializing_if = "Redraws::is_empty")]
    pub redraws: Redraws,
}

impl Furthest {
    fn reading(&self) -> Reading {
        Reading { value: self.value, limit: self.limit }
    }

    /// `highest 97, limit 100 (seed 12)`
    fn describe(&self, kind: Kind) -> String {
        let (went, seed) = (self.reading().describe(kind), self.seed);
        match self.redraws.is_empty() {
            true => format!("{went} (seed {seed})"),
            false => format!("{went} (seed {seed}, redraws {})", self.redraws),
        }
    }
}

impl CoveragePoint {
    fn of(point: &Point) -> Self {
        Self {
            file: point.file().to_owned(),
            line: point.line(),
            column: point.column(),
            module: point.module().to_owned(),
            kind: point.kind(),
            message: point.message().to_owned(),
            executed: 0,
            hit: 0,
            first_hit: None,
            furthest: None,
        }
    }

    /// Identifies the point in any build of the same source.
    fn name(&self) -> Name<'_> {
        (&self.file, self.line, self.column, &self.module, self.kind, &self.message)
    }

    fn add(&mut self, executed: u64, hit: u64, first_hit: Option<Seed>) {
        self.executed += executed;
        self.hit += hit;
        self.first_hit = self.first_hit.into_iter().chain(first_hit).min();
    }

    /// The further of two values stays; of equals, that of the lower seed.
    fn measure(&mut self, other: Option<Furthest>) {
        let rank = |furthest: &Furthest| {
            (-furthest.reading().excess(self.kind), furthest.redraws.clone(), furthest.seed, furthest.clone())
        };
        self.furthest = self.furthest.take().into_iter().chain(other).min_by_key(rank);
    }

    fn is_missed(&self) -> bool {
        self.hit == 0 && self.kind != Kind::Unreachable
    }
}

type Name<'a> = (&'a str, u32, u32, &'a str, Kind, &'a str);

fn name(point: &Point) -> Name<'static> {
    (point.file(), point.line(), point.column(), point.module(), point.kind(), point.message())
}

/// `src/store.rs:12:9: assert_sometimes! "the queue is full": executed 100 times, never true`
impl fmt::Display for CoveragePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, kind, message, executed, hit, .. } = self;
        write!(f, "{file}:{line}:{column}: {kind}")?;
        if !message.is_empty() {
            write!(f, " {message:?}")?;
        }
        match (executed, hit) {
            (0, _) => f.write_str(": never executed"),
            (_, 0) if *kind == Kind::Buggify => write!(f, ": executed {executed} times, never taken"),
            (_, 0) => write!(f, ": executed {executed} times, never true"),
            _ => write!(f, ": executed {executed} times, hit {hit}"),
        }?;
        match &self.furthest {
            Some(furthest) => {
                write!(f, ": {}", furthest.describe(*kind))
            }
            None => Ok(()),
        }
    }
}

impl Coverage {
    pub(crate) fn of_program() -> Self {
        let mut points: Vec<CoveragePoint> = coverage::all().iter().map(CoveragePoint::of).collect();
        points.sort();
        // A macro may expand to two points with one line and message: they count as one.
        points.dedup();
        Self { points }
    }

    pub(crate) fn add(&mut self, seed: Seed, redraws: &Redraws, visits: &[Visits]) {
        for (point, visits) in coverage::all().iter().zip(visits).filter(|(_, visits)| visits.executed > 0) {
            let first_hit = (visits.hit > 0 && redraws.is_empty()).then_some(seed);
            if let Ok(index) = self.points.binary_search_by(|covered| covered.name().cmp(&name(point))) {
                self.points[index].add(visits.executed, visits.hit, first_hit);
                let furthest = visits.furthest.map(|Reading { value, limit }| Furthest {
                    value,
                    limit,
                    seed,
                    redraws: redraws.clone(),
                });
                self.points[index].measure(furthest);
            }
        }
    }

    /// Adds the counts of other seeds, run by the same program or by one with other points.
    pub fn merge(&mut self, other: &Self) {
        for point in &other.points {
            match self.points.binary_search_by(|ours| ours.name().cmp(&point.name())) {
                Ok(index) => {
                    self.points[index].add(point.executed, point.hit, point.first_hit);
                    self.points[index].measure(point.furthest.clone());
                }
                Err(index) => self.points.insert(index, point.clone()),
            }
        }
    }

    /// All coverage points of the program, sorted by file, line and column.
    pub fn points(&self) -> &[CoveragePoint] {
        &self.points
    }

    /// The points that no seed hit: never executed, the condition never held, or the branch of `buggify!` never taken.
    /// `assert_unreachable!` is not among them.
    pub fn never_reached(&self) -> impl Iterator<Item = &CoveragePoint> {
        self.points.iter().filter(|point| point.is_missed())
    }

    /// Whether the program has no coverage points.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The number of seeds up to the one that hit the last new point.
    pub(crate) fn seeds_to_last_hit(&self, first: Seed) -> u64 {
        let hits = self.points.iter().filter_map(|point| point.first_hit);
        hits.map(|seed| seed.0.wrapping_sub(first.0) + 1).max().unwrap_or(0)
    }

    /// Goes on a line with whether all were hit, and lists the points never hit, one per line; those of `buggify!` only with `with_rare`, as faults must be on for them.
    pub(crate) fn table(&self, with_rare: bool) -> String {
        let is_listed = |point: &&CoveragePoint| with_rare || point.kind != Kind::Buggify;
        let all =
            self.points.iter().filter(is_listed).filter(|point| point.kind != Kind::Unreachable).count();
        let missed: Vec<&CoveragePoint> = self.never_reached().filter(is_listed).collect();
        let mut text = match (missed.len(), all) {
            (_, 0) => return String::new(),
            (0, _) => format!(", all {all} coverage points were reached"),
            (missed, _) => format!("\n  {missed} of {all} coverage points never reached"),
        };
        missed.iter().take(LISTED).for_each(|point| text.push_str(&format!("\n    {point}")));
        if missed.len() > LISTED {
            text.push_str(&format!("\n    and {} more, which --json lists", missed.len() - LISTED));
        }
        text + &self.bounds()
    }

    /// Lists how far the values of bounds went, one per line; those not missed, which are listed with it.
    fn bounds(&self) -> String {
        let mut text = String::new();
        let bounds: Vec<_> = self
            .points
            .iter()
            .filter(|point| !point.is_missed())
            .filter_map(|point| Some((point, point.furthest.as_ref()?)))
            .collect();
        if !bounds.is_empty() {
            text.push_str("\n  how far values went");
        }
        for (CoveragePoint { file, line, column, kind, message, .. }, furthest) in bounds.iter().take(LISTED)
        {
            let went = furthest.describe(*kind);
            text.push_str(&format!("\n    {file}:{line}:{column}: {kind} {message:?}: {went}"));
        }
        if bounds.len() > LISTED {
            text.push_str(&format!("\n    and {} more, which --json lists", bounds.len() - LISTED));
        }
        text
    }
}

/// How many seeds `--until-covered` runs when the last new point was hit after `taken` seeds: as many again without a new
/// point, and at least 200.
pub(crate) fn seeds_until_covered(taken: u64) -> u64 {
    taken.saturating_add(taken.max(WITHOUT_NEW_MIN))
}

const WITHOUT_NEW_MIN: u64 = 200;

/// A kind in JSON is the name of its macro.
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
            D::Error::custom(format!("{name:?} is no kind of coverage point, such as \"assert_sometimes!\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(line: u32, kind: Kind, executed: u64, hit: u64, first_hit: Option<u64>) -> CoveragePoint {
        CoveragePoint {
            file: "src/store.rs".into(),
            line,
            column: 9,
            module: "app::store".into(),
            kind,
            message: if kind == Kind::Buggify { String::new() } else { "it is full".into() },
            executed,
            hit,
            first_hit: first_hit.map(Seed),
            furthest: None,
        }
    }

    fn bound(kind: Kind, hit: u64, (value, limit, seed): (i128, i128, u64)) -> CoveragePoint {
        let (value, limit) = (Amount::Number(value), Amount::Number(limit));
        let furthest = Some(Furthest { value, limit, seed: Seed(seed), redraws: Redraws::default() });
        CoveragePoint { furthest, ..point(1, kind, 9, hit, Some(1).filter(|_| hit > 0)) }
    }

    #[test]
    fn how_far_a_bound_went_is_listed_with_its_seed() {
        let points = vec![
            bound(Kind::AlwaysAtMost, 9, (97, 100, 12)),
            bound(Kind::AlwaysAtLeast, 9, (-2, -3, 4)),
            bound(Kind::SometimesAtLeast, 0, (7, 8, 5)),
            bound(Kind::SometimesAtMost, 1, (0, 1, 6)),
        ];
        assert_eq!(
            Coverage { points }.table(true),
            "\n  1 of 4 coverage points never reached\
             \n    src/store.rs:1:9: assert_sometimes_at_least! \"it is full\": executed 9 times, never true: highest 7, wanted 8 (seed 5)\
             \n  how far values went\
             \n    src/store.rs:1:9: assert_always_at_most! \"it is full\": highest 97, limit 100 (seed 12)\
             \n    src/store.rs:1:9: assert_always_at_least! \"it is full\": lowest -2, limit -3 (seed 4)\
             \n    src/store.rs:1:9: assert_sometimes_at_most! \"it is full\": lowest 0, wanted 1 (seed 6)"
        );
    }

    #[test]
    fn the_value_that_went_furthest_stays_and_of_equals_that_of_the_lower_seed() {
        let merged = |kind, first, second| {
            let mut merged = Coverage { points: vec![bound(kind, 9, first)] };
            merged.merge(&Coverage { points: vec![bound(kind, 9, second)] });
            merged.points[0].furthest.clone().expect("a bound")
        };
        for (kind, further, other) in [
            (Kind::AlwaysAtMost, (8, 9, 5), (7, 9, 1)),
            (Kind::AlwaysAtMost, (8, 9, 5), (8, 9, 7)),
            (Kind::AlwaysAtMost, (8, 9, 5), (10, 12, 1)),
            (Kind::SometimesAtLeast, (i128::from(u64::MAX), 9, 5), (7, 9, 1)),
            (Kind::AlwaysAtLeast, (i128::from(i64::MIN), 9, 5), (8, 9, 1)),
            (Kind::SometimesAtMost, (7, 9, 5), (8, 9, 1)),
        ] {
            let expected = bound(kind, 9, further).furthest.expect("a bound");
            assert_eq!(merged(kind, further, other), expected, "{kind}");
            assert_eq!(merged(kind, other, further), expected, "{kind}");
            let json = serde_json::to_string(&expected).expect("plain data");
            assert_eq!(serde_json::from_str::<Furthest>(&json).expect("the same"), expected, "{json}");
        }
    }

    #[test]
    fn points_never_hit_are_listed_with_how_often_they_were_executed() {
        let points = vec![
            point(1, Kind::Sometimes, 40, 0, None),
            point(2, Kind::Sometimes, 40, 1, Some(3)),
            point(3, Kind::Reachable, 0, 0, None),
            point(4, Kind::Always, 0, 0, None),
            point(5, Kind::Unreachable, 0, 0, None),
            point(6, Kind::Buggify, 7, 0, None),
        ];
        let coverage = Coverage { points };
        assert_eq!(
            coverage.table(true),
            "\n  4 of 5 coverage points never reached\
             \n    src/store.rs:1:9: assert_sometimes! \"it is full\": executed 40 times, never true\
             \n    src/store.rs:3:9: assert_reachable! \"it is full\": never executed\
             \n    src/store.rs:4:9: assert_always! \"it is full\": never executed\
             \n    src/store.rs:6:9: buggify!: executed 7 times, never taken"
        );
        assert!(coverage.table(false).starts_with("\n  3 of 4 coverage points never reached\n"));
        assert_eq!(Coverage::default().table(true), "");
        let hit = Coverage { points: vec![point(2, Kind::Sometimes, 40, 1, Some(3))] };
        assert_eq!(hit.table(true), ", all 1 coverage points were reached");
    }

    #[test]
    fn counts_of_other_seeds_are_added_and_the_first_hit_stays_the_first() {
        let first = [point(1, Kind::Sometimes, 40, 2, Some(5)), point(9, Kind::Reachable, 0, 0, None)];
        let second = [point(1, Kind::Sometimes, 2, 1, Some(3)), point(4, Kind::Always, 1, 1, Some(8))];
        let merged = |first: &[CoveragePoint], second: &[CoveragePoint]| {
            let mut merged = Coverage { points: first.to_vec() };
            merged.merge(&Coverage { points: second.to_vec() });
            merged
        };
        let expected = [
            point(1, Kind::Sometimes, 42, 3, Some(3)),
            point(4, Kind::Always, 1, 1, Some(8)),
            point(9, Kind::Reachable, 0, 0, None),
        ];
        assert_eq!(merged(&first, &second).points, expected);
        assert_eq!(merged(&second, &first).points, expected);
        assert_eq!(merged(&first, &second).seeds_to_last_hit(Seed(3)), 6);
        let json = serde_json::to_string(&merged(&first, &second)).expect("plain data");
        assert_eq!(serde_json::from_str::<Coverage>(&json).expect("the same").points, expected);
    }

    #[test]
    fn as_many_seeds_again_run_without_a_new_point() {
        assert_eq!([0, 1, 200, 300].map(seeds_until_covered), [200, 201, 400, 600]);
        assert_eq!(seeds_until_covered(u64::MAX), u64::MAX);
    }
}
