//! One seed, from beginning to end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::time::Duration;

use steelmill_core::{Error, Result, TaskError, panic_message};

use crate::executor::{self, MAIN};
use crate::hosts::SCENARIO;
use crate::outcome::{Cause, Failure, Outcome};
use crate::run::{self, RunId};
use crate::settings::Settings;
use crate::sim::Sim;
use crate::spawn::spawn_at;
use crate::world::Place;
use crate::{panics, purity, watchdog};

/// Runs a scenario once, on this thread.
///
/// For a run that repeats whatever ran before it, use a thread that has not used a randomly keyed map or `rand::rng()`
/// before, as [`Campaign`](crate::Campaign) and [`check`](crate::check) do: those keep state for the life of a thread.
///
/// # Panics
/// When this thread is inside a simulation already.
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::{Seed, Settings, simulate};
///
/// let outcome = simulate(Settings::new(Seed(7)), &|sim| async move {
///     sim.clock().sleep(Duration::from_secs(3600)).await; // takes no real time
///     Ok(())
/// });
/// assert!(outcome.passed());
/// assert_eq!(outcome.simulated, Duration::from_secs(3600));
/// ```
#[track_caller]
pub fn simulate<F>(settings: Settings, scenario: &dyn Fn(Sim) -> F) -> Outcome
where
    F: Future<Output = Result> + 'static,
{
    let caller = Location::caller();
    panics::install_hook();
    if settings.watched {
        watchdog::start();
    }
    let seed = settings.seed.0;
    host::prepare();
    let id = run::begin(settings);
    run::with(id, |run| run.hosts.add("scenario"));
    host::host(seed, || {
        match catch_unwind(AssertUnwindSafe(|| scenario(Sim { run: id }))) {
            Ok(future) => {
                let place = Place { run: id, machine: SCENARIO, life: 0 };
                let main = spawn_at(place, "scenario", caller, future);
                executor::drive(id);
                std::mem::forget(main); // `outcome` looks at its end
            }
            Err(payload) => {
                let message = panic_message(payload.as_ref());
                let error = Error::msg(format!("the scenario panicked before its first await: {message}"));
                run::with(id, |run| run.fail(Cause::Error(error)));
            }
        }
        let outcome = outcome(id);
        tear_down(id);
        outcome
    })
}

fn outcome(id: RunId) -> Outcome {
    let panicked = panics::take_last();
    run::with(id, |run| {
        let failed = match run.tasks.take_main() {
            Some(Ok(output)) => output.downcast::<Result>().expect("a scenario returns a Result").err().map(Cause::Error),
            Some(Err(TaskError::Panicked(panic))) => {
                Some(Cause::Panic { message: panic.to_string(), task: run.task_report(MAIN) })
            }
            _ => None,
        };
        let cause = run.over.take().flatten().or(failed);
        let at = Duration::from_nanos(run.now);
        Outcome {
            seed: run.settings.seed,
            failure: cause.map(|cause| Failure { at, cause, panicked }),
            digest: run.digest.value(),
            simulated: at,
            polls: run.tasks.polls,
            events: run.events,
            counts: std::mem::take(&mut run.counts),
            decisions: run.decisions.take_recorded(),
            impure: run.impure,
            thread_marked: purity::is_thread_marked(),
        }
    })
}

/// Ends what is left. Every machine is detached first, so that destructors can send, spawn and break nothing.
fn tear_down(id: RunId) {
    let (futures, root) = run::with(id, |run| {
        run.over = Some(None);
        for machine in 0..run.hosts.len() as u32 {
            run.hosts[machine].life += 1;
        }
        (run.tasks.take_all(), run.root.take())
    });
    for future in futures {
        // A destructor that panics must not keep the others from running; the outcome is settled.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
    let _ = catch_unwind(AssertUnwindSafe(|| drop(root)));
    let run = run::end(id);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
    panics::take_last();
}

/// Where a run executes.
///
/// `tokio::select!` draws from a generator of tokio's that can be seeded only by a runtime, and only inside its
/// `block_on`. Nothing is ever spawned on that runtime, and its budget of polls must not count ours, or a task that
/// waits for a channel would stop making progress.
#[cfg(tokio_unstable)]
mod host {
    use std::sync::{Mutex, OnceLock};

    use tokio::runtime::{Builder, RngSeed};

    /// Making a builder draws the keys of a hash map, for the life of the thread that makes it. So one is made for
    /// the process, on a thread that never simulates, and every run builds its runtime from it.
    static BUILDER: OnceLock<Mutex<Builder>> = OnceLock::new();

    pub(super) fn prepare() {
        BUILDER.get_or_init(|| {
            let made = std::thread::scope(|scope| scope.spawn(Builder::new_current_thread).join());
            Mutex::new(made.expect("a builder can be made"))
        });
    }

    pub(super) fn host<R>(seed: u64, run: impl FnOnce() -> R) -> R {
        let builder = BUILDER.get().expect("prepared before the run began");
        let runtime = {
            let mut builder = builder.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            builder.rng_seed(RngSeed::from_bytes(&seed.to_le_bytes())).build()
        };
        let runtime = runtime.expect("a runtime without drivers asks nothing of the system");
        runtime.block_on(tokio::task::unconstrained(async { run() }))
    }
}

#[cfg(not(tokio_unstable))]
mod host {
    pub(super) fn prepare() {}

    pub(super) fn host<R>(_: u64, run: impl FnOnce() -> R) -> R {
        run()
    }
}
