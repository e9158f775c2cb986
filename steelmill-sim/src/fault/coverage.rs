//! Coverage points in a run: counts visits, fails the run on a violated assertion, draws rare branches (buggify).

use steelmill_core::coverage::{self, Observer, Point, Reading};

use crate::kernel::backtraces;
use crate::machine::cluster::{self, RunId};
use crate::machine::coverage::Rare;
use crate::schema::outcome::Cause;
use crate::schema::rare_branch::{MILLION, RareBranch, is_taken, stream_number};

pub(crate) struct RunObserver;

impl Observer for RunObserver {
    fn reached(&self, place: &'static Point, holds: bool) {
        cluster::with_current(|run| run.tally.coverage.note(place, holds, run.kernel.now));
    }

    fn measured(&self, place: &'static Point, reading: Reading) {
        cluster::with_current(|run| run.tally.coverage.measure(place, reading, run.kernel.now));
    }

    fn violated(&self, place: &'static Point, message: String) {
        let backtrace = backtraces::capture();
        let text = format!("{} broken at {place}: {message}", place.kind());
        cluster::with_current(|run| {
            let task = run.kernel.tasks.current_key().map(|key| run.kernel.task_report(key.index()));
            run.kernel.fail(Cause::Assertion { place, message, task, backtrace });
        });
        // The run has failed already, so unwind without the panic hook.
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(text));
        }
    }

    fn fires(&self, place: &'static Point) -> bool {
        let fires = cluster::with_current(|run| {
            let stream = run.tally.coverage.stream(place);
            let fires = stream.is_some_and(|stream| is_taken(place, run.kernel.draw(stream, MILLION)));
            run.tally.coverage.note(place, fires, run.kernel.now);
            fires
        });
        let fires = fires.unwrap_or(false);
        if fires {
            tracing::debug!("the rare branch at {place} is taken");
        }
        fires
    }
}

/// Guard that enables a rare branch until it is dropped.
pub(crate) struct Buggified {
    run: RunId,
    numbers: Vec<usize>,
}

impl Buggified {
    /// Enables the branch of that name; several, if a macro expands to the same place more than once.
    pub(crate) fn new(run: RunId, name: &str) -> Self {
        let named = RareBranch::all().iter().filter(|branch| branch.name == name);
        let buggified = Self { run, numbers: named.filter_map(|branch| branch.place.number()).collect() };
        let stream = stream_number(name);
        buggified.change(|rare| *rare = Rare { faults: rare.faults + 1, stream });
        buggified
    }

    fn change(&self, by: impl Fn(&mut Rare)) {
        cluster::try_with(self.run, |run| {
            let rare = &mut run.tally.coverage.rare;
            rare.resize(coverage::all().len(), Rare::default());
            self.numbers.iter().for_each(|number| by(&mut rare[*number]));
        });
    }
}

impl Drop for Buggified {
    fn drop(&mut self) {
        self.change(|rare| rare.faults -= 1);
    }
}
