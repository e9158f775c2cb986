//! What comes of the places that are looked at across seeds: noted in each run, gathered over a campaign.
//!
//! A run counts by a place's number among those of the program, which the linker chose and which nothing else may see: a
//! hit is no event and changes no digest. A campaign counts by what a place is called, so that counts from another
//! process can be added.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use steelmill_core::coverage::{self as places, Kind, Observer, Point as Place};

use crate::decisions::Stream;
use crate::outcome::{Cause, LISTED};
use crate::run::{self, RunId};
use crate::settings::Seed;

/// How often a run came to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Visits {
    seen: u64,
    hit: u64,
}

/// The places of the program, as a run knows them: by number.
#[derive(Default)]
pub(crate) struct Places {
    visits: Vec<Visits>,
    /// The rare branches, once there is trouble.
    rare: Vec<Rare>,
}

/// What a run knows of a rare branch.
#[derive(Debug, Clone, Copy, Default)]
struct Rare {
    /// How many faults say at this moment that it may be taken.
    faults: u32,
    /// Which stream it is drawn from.
    stream: u32,
}

impl Places {
    pub(crate) fn new() -> Self {
        let all = places::all().len();
        Self { visits: vec![Visits::default(); all], rare: Vec::new() }
    }

    /// Not again in this run: what still happens while it is taken down counts for nothing.
    pub(crate) fn take_visits(&mut self) -> Vec<Visits> {
        std::mem::take(&mut self.visits)
    }

    fn note(&mut self, place: &'static Place, hit: bool) {
        if let Some(visits) = place.number().and_then(|number| self.visits.get_mut(number)) {
            visits.seen += 1;
            visits.hit += u64::from(hit);
        }
    }

    /// Where it is drawn whether a rare branch is taken, if it may be.
    fn stream(&self, place: &'static Place) -> Option<Stream> {
        let rare = place.number().and_then(|number| self.rare.get(number));
        rare.filter(|rare| rare.faults > 0).map(|rare| Stream::Buggify(rare.stream))
    }
}

/// Notes the places a run comes to, whichever run the thread is inside of.
pub(crate) struct InRun;

impl Observer for InRun {
    fn reached(&self, place: &'static Place, holds: bool) {
        run::with_current(|run| run.places.note(place, holds));
    }

    fn violated(&self, place: &'static Place, message: String) {
        let backtrace = Backtrace::capture();
        let has_backtrace = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = has_backtrace.then(|| backtrace.to_string());
        let text = format!("{} broken at {place}: {message}", place.kind());
        run::with_current(|run| {
            let task = run.tasks.current_key().map(|key| run.task_report(key.index()));
            run.fail(Cause::Assertion { place, message, task, backtrace });
        });
        // It has failed whatever becomes of the panic, so that the hook has nothing to tell.
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(text));
        }
    }

    fn fires(&self, place: &'static Place) -> bool {
        let fires = run::with_current(|run| {
            let stream = run.places.stream(place);
            let fires = stream.is_some_and(|stream| is_taken(place, run.draw(stream, MILLION)));
            run.places.note(place, fires);
            fires
        });
        let fires = fires.unwrap_or(false);
        if fires {
            tracing::debug!("the rare branch at {place} is taken");
        }
        fires
    }
}

const MILLION: u64 = 1_000_000;

/// Whether a rare branch is, when this number was drawn: on the highest, as a replay that knows no better says 0.
fn is_taken(place: &Place, drawn: u64) -> bool {
    drawn >= MILLION - u64::from(place.rate_ppm())
}

/// A rare branch of the program.
pub(crate) struct RareBranch {
    /// The module it is written in, and which of those in there it is: what a plan calls it, and its draws come from. It
    /// stays the same when lines move, and wherever the sources lie.
    pub(crate) name: String,
    place: &'static Place,
}

impl RareBranch {
    /// All there are, by name. What a macro writes twice into one line is two of one name.
    pub(crate) fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<RareBranch>> = OnceLock::new();
        ALL.get_or_init(Self::find_all)
    }

    fn find_all() -> Vec<Self> {
        let mut places: Vec<_> = places::all().iter().filter(|place| place.kind() == Kind::Buggify).collect();
        places.sort_by_key(|place| (place.module(), *place));
        let modules = places.chunk_by(|one, next| one.module() == next.module());
        let of_module = |module: &[&'static Place]| {
            let written = module.chunk_by(|one, next| one == next).zip(1..);
            let named = written.flat_map(|(places, nth)| places.iter().map(move |place| (*place, nth)));
            named
                .map(|(place, nth)| Self { name: format!("{}#{nth}", place.module()), place })
                .collect::<Vec<_>>()
        };
        modules.flat_map(of_module).collect()
    }

    /// What all there are are called, each once, in order.
    pub(crate) fn names() -> Vec<String> {
        let mut names: Vec<String> = Self::all().iter().map(|branch| branch.name.clone()).collect();
        names.dedup();
        names
    }

    /// What a draw of the stream with this number decided, in words.
    pub(crate) fn decided(number: u32, drawn: u64) -> String {
        match Self::all().iter().find(|branch| stream_number(&branch.name) == number) {
            Some(Self { name, place }) if is_taken(place, drawn) => {
                format!("the rare branch {name} is taken")
            }
            Some(Self { name, .. }) => format!("the rare branch {name} is not taken"),
            None => format!("a rare branch draws {drawn}"),
        }
    }

    /// Where the one of that name is written.
    pub(crate) fn place(name: &str) -> Option<&'static Place> {
        Self::all().iter().find(|branch| branch.name == name).map(|branch| branch.place)
    }
}

/// The number of a name's stream of draws (Fowler, Noll and Vo's hash, FNV-1a).
fn stream_number(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A rare branch that may be taken until this is dropped.
pub(crate) struct Buggified {
    run: RunId,
    numbers: Vec<usize>,
}

impl Buggified {
    /// The branch of that name, or those that a macro has written there.
    pub(crate) fn new(run: RunId, name: &str) -> Self {
        let meant = RareBranch::all().iter().filter(|branch| branch.name == name);
        let buggified = Self { run, numbers: meant.filter_map(|branch| branch.place.number()).collect() };
        let stream = stream_number(name);
        buggified.change(|rare| *rare = Rare { faults: rare.faults + 1, stream });
        buggified
    }

    fn change(&self, by: impl Fn(&mut Rare)) {
        run::try_with(self.run, |run| {
            let rare = &mut run.places.rare;
            rare.resize(places::all().len(), Rare::default());
            self.numbers.iter().for_each(|number| by(&mut rare[*number]));
        });
    }
}

impl Drop for Buggified {
    fn drop(&mut self) {
        self.change(|rare| rare.faults -= 1);
    }
}

/// What came of the places of a program in a campaign.
///
/// A place is a use of [`assert_always!`](steelmill_core::assert_always),
/// [`assert_sometimes!`](steelmill_core::assert_sometimes), [`assert_reachable!`](steelmill_core::assert_reachable),
/// [`assert_unreachable!`](steelmill_core::assert_unreachable) or [`buggify!`](steelmill_core::buggify) in any crate that
/// is linked into the program, come to or not. A place that was never hit makes no campaign red; a test that wants all of
/// them asserts that there is none in [`never_hit`](Coverage::never_hit).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Coverage {
    /// Each place, by file, line and column.
    places: Vec<Covered>,
}

/// What came of one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Covered {
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

impl Covered {
    fn of(place: &Place) -> Self {
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

    /// Whether it was never hit, though it should be.
    fn is_missed(&self) -> bool {
        self.hit == 0 && self.kind != Kind::Unreachable
    }
}

type Name<'a> = (&'a str, u32, u32, &'a str, Kind, &'a str);

fn name(place: &Place) -> Name<'static> {
    (place.file(), place.line(), place.column(), place.module(), place.kind(), place.message())
}

/// `src/store.rs:12:9: assert_sometimes! "the queue is full": come to 100 times, never so`
impl fmt::Display for Covered {
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
    /// The places of this program, none of which was hit.
    pub(crate) fn of_program() -> Self {
        let mut places: Vec<Covered> = places::all().iter().map(Covered::of).collect();
        places.sort();
        // What a macro writes twice into one line, with one message, is one.
        places.dedup();
        Self { places }
    }

    /// Adds what came of them in one seed.
    pub(crate) fn add(&mut self, seed: Seed, visits: &[Visits]) {
        for (place, visits) in places::all().iter().zip(visits).filter(|(_, visits)| visits.seen > 0) {
            let first_hit = (visits.hit > 0).then_some(seed);
            if let Ok(index) = self.places.binary_search_by(|covered| covered.name().cmp(&name(place))) {
                self.places[index].add(visits.seen, visits.hit, first_hit);
            }
        }
    }

    /// Adds what came of them in other seeds, by the same program or one that has other places as well.
    pub fn merge(&mut self, other: &Self) {
        for place in &other.places {
            match self.places.binary_search_by(|ours| ours.name().cmp(&place.name())) {
                Ok(index) => self.places[index].add(place.seen, place.hit, place.first_hit),
                Err(index) => self.places.insert(index, place.clone()),
            }
        }
    }

    /// Each place, by file, line and column.
    pub fn places(&self) -> &[Covered] {
        &self.places
    }

    /// The places that no seed hit: whose condition never held, which none came to, and rare branches that were never
    /// taken. One that is unreachable is not among them.
    pub fn never_hit(&self) -> impl Iterator<Item = &Covered> {
        self.places.iter().filter(|place| place.is_missed())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many seeds it took to hit all that was hit.
    pub(crate) fn seeds_taken(&self, first: Seed) -> u64 {
        let hits = self.places.iter().filter_map(|place| place.first_hit);
        hits.map(|seed| seed.0.wrapping_sub(first.0) + 1).max().unwrap_or(0)
    }

    /// The table of those never hit, a line for each; rare branches, too, where any of them could have been taken.
    pub(crate) fn table(&self, with_rare: bool) -> String {
        let is_meant = |place: &&Covered| with_rare || place.kind != Kind::Buggify;
        let all = self.places.iter().filter(is_meant).filter(|place| place.kind != Kind::Unreachable).count();
        let missed: Vec<&Covered> = self.never_hit().filter(is_meant).collect();
        let mut text = match (missed.len(), all) {
            (_, 0) => return String::new(),
            (0, _) => return format!("\n  all {all} places were hit"),
            (missed, _) => format!("\n  {missed} of {all} places never hit"),
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

    fn place(line: u32, kind: Kind, seen: u64, hit: u64, first_hit: Option<u64>) -> Covered {
        Covered {
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
        let coverage = Coverage { places };
        assert_eq!(
            coverage.table(true),
            "\n  4 of 5 places never hit\
             \n    src/store.rs:1:9: assert_sometimes! \"it is full\": come to 40 times, never so\
             \n    src/store.rs:3:9: assert_reachable! \"it is full\": never come to\
             \n    src/store.rs:4:9: assert_always! \"it is full\": never come to\
             \n    src/store.rs:6:9: buggify!: come to 7 times, never taken"
        );
        assert!(coverage.table(false).starts_with("\n  3 of 4 places never hit\n"));
        assert_eq!(Coverage::default().table(true), "");
        let hit = Coverage { places: vec![place(2, Kind::Sometimes, 40, 1, Some(3))] };
        assert_eq!(hit.table(true), "\n  all 1 places were hit");
    }

    #[test]
    fn counts_of_other_seeds_are_added_and_the_first_hit_stays_the_first() {
        let first = [place(1, Kind::Sometimes, 40, 2, Some(5)), place(9, Kind::Reachable, 0, 0, None)];
        let second = [place(1, Kind::Sometimes, 2, 1, Some(3)), place(4, Kind::Always, 1, 1, Some(8))];
        let merged = |first: &[Covered], second: &[Covered]| {
            let mut merged = Coverage { places: first.to_vec() };
            merged.merge(&Coverage { places: second.to_vec() });
            merged
        };
        let expected = [
            place(1, Kind::Sometimes, 42, 3, Some(3)),
            place(4, Kind::Always, 1, 1, Some(8)),
            place(9, Kind::Reachable, 0, 0, None),
        ];
        assert_eq!(merged(&first, &second).places, expected);
        assert_eq!(merged(&second, &first).places, expected);
        assert_eq!(merged(&first, &second).seeds_taken(Seed(3)), 6);
        let json = serde_json::to_string(&merged(&first, &second)).expect("plain data");
        assert_eq!(serde_json::from_str::<Coverage>(&json).expect("the same").places, expected);
    }

    #[test]
    fn a_while_is_as_long_as_it_took_before() {
        assert_eq!([0, 1, 200, 300].map(seeds_until_covered), [200, 201, 400, 600]);
        assert_eq!(seeds_until_covered(u64::MAX), u64::MAX);
    }
}
