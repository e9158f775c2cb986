//! `simulate`: sets up one run of a scenario, drives the executor, and tears the run down into an `Outcome`.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::time::Duration;

use steelmill_core::coverage;
use steelmill_core::{Error, Result, TaskError, panic_message};
use tokio::runtime::{self, Runtime};

use crate::fault::coverage::RunObserver;
use crate::host::{self, audit, holders, purity, stuck};
use crate::kernel::tasks::MAIN;
use crate::kernel::watchdog;
use crate::machine::cluster::{self, Isolation, RunId};
use crate::machine::deadline_exceeded::ExceededDeadlines;
use crate::machine::executor;
use crate::machine::hosts::SCENARIO;
use crate::machine::lock_watch::LockWatch;
use crate::machine::machine::Machine;
use crate::machine::panic_log;
use crate::machine::panics;
use crate::machine::runtimes;
use crate::machine::sim::Sim;
use crate::machine::spawn::spawn_at;
use crate::machine::threads::{self, ThreadSetup};
use crate::machine::world::Process;
use crate::schema::decision::Redraws;
use crate::schema::look::Look;
use crate::schema::outcome::{Cause, Failure, Outcome, Panicked};
use crate::schema::settings::Settings;
use crate::trace::logs;

/// Runs a scenario once, on this thread.
///
/// std keeps the keys of its hash maps, and `rand::rng()` its state, as long as a thread lives. A scenario that uses them
/// repeats only on a fresh thread: [`Campaign`](crate::Campaign) and [`check`](crate::check) run each seed on one. A
/// scenario with [programs](crate::Sim::program) repeats only in a fresh process, which they give it, too.
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
    simulate_in(Isolation::Lent, settings, &scenario, Location::caller())
}

/// Runs a scenario once, on this thread, as [`simulate`], in a process in which nothing else executes meanwhile: a program
/// with a `main` of its own, under a debugger or a profiler, and not a test beside others. Then programs have statics,
/// arguments and environments of their own, as in a [`Campaign`](crate::Campaign).
///
/// # Panics
/// When this thread is inside a simulation already.
#[track_caller]
pub fn simulate_alone<F>(settings: Settings, scenario: &dyn Fn(Sim) -> F) -> Outcome
where
    F: Future<Output = Result> + 'static,
{
    threads::share_one_arena();
    simulate_in(Isolation::Own, settings, &scenario, Location::caller())
}

fn simulate_in(
    isolation: Isolation,
    settings: Settings,
    scenario: &dyn Scenario,
    caller: &'static Location<'static>,
) -> Outcome {
    let once = |settings, look| run_once(settings, scenario, caller, look, isolation);
    let trial =
        |settings| tracing::dispatcher::with_default(&tracing::Dispatch::none(), || once(settings, None));
    run_and_explain(settings.after_trial(|settings| trial(settings).counted), &once)
}

pub(crate) trait Scenario {
    fn begin(&self, sim: Sim) -> Pin<Box<dyn Future<Output = Result>>>;
}

impl<S, F> Scenario for S
where
    S: Fn(Sim) -> F,
    F: Future<Output = Result> + 'static,
{
    fn begin(&self, sim: Sim) -> Pin<Box<dyn Future<Output = Result>>> {
        Box::pin(self(sim))
    }
}

/// Makes a run by `once`. If it fails, repeats it to find where tasks waited that exceeded a deadline, and who held the locks
/// that others wait for.
pub(crate) fn run_and_explain(
    settings: Settings,
    once: &dyn Fn(Settings, Option<Look>) -> Outcome,
) -> Outcome {
    let mut outcome = once(settings.clone(), None);
    if settings.stacks {
        let settings = Settings { trace: false, record: false, audit: false, ..settings };
        let again = |look| once(settings.clone(), Some(look));
        stuck::explain_exceeded_deadlines(&mut outcome, again);
        holders::explain(&mut outcome, again);
    }
    outcome
}

/// Makes one run, which may repeat another to look at something.
pub(crate) fn run_once(
    settings: Settings,
    scenario: &dyn Scenario,
    caller: &'static Location<'static>,
    look: Option<Look>,
    isolation: Isolation,
) -> Outcome {
    host::panics::install_hook();
    keep_tokio_real();
    if settings.poll_time_limit.is_some() {
        watchdog::start();
    }
    let seed = settings.seed.0;
    let (is_audited, is_inspected) = (settings.audit, settings.stacks);
    // A repeated run logs nothing: the first one did.
    let _logs = logs::install(&settings, look.is_some());
    let id = cluster::begin(settings);
    let _observed = coverage::observe(&RunObserver);
    if let Some(Look::Aborted { polls }) = &look {
        let inspecting = ExceededDeadlines::inspecting(*polls, stuck::inspect_aborted);
        cluster::with(id, |run| run.tally.exceeded_deadlines = inspecting);
    }
    if let Some(Look::Threads { locks }) = &look {
        cluster::with(id, |run| run.lock_watches = locks.iter().copied().map(LockWatch::new).collect());
    }
    purity::draw_hash_keys();
    if is_audited {
        audit::begin();
    }
    cluster::with(id, |run| {
        run.guest_setup = guest_setup();
        run.isolation = isolation;
    });
    let watch = cluster::with(id, |run| {
        run.add_host(&"scenario".into());
        run.kernel.watch.clone()
    });
    let mut outcome = inside_of_runtimes(id, seed, || {
        watch.iter().for_each(|watch| watch.beginning());
        begin(id, scenario, caller);
    });
    watch.iter().for_each(|watch| watch.tearing_down());
    // The inspection must not affect the outcome, nor may panics in it.
    if is_inspected {
        stuck::inspect(id, &mut outcome);
        match look {
            Some(Look::Holder { task, backwards }) => holders::search(id, &mut outcome, task, backwards),
            Some(Look::Threads { .. }) => holders::seen(id, &mut outcome),
            _ => {}
        }
        panic_log::take();
    }
    let cause = tear_down(id);
    if let (None, Some((cause, panicked))) = (&outcome.failure, cause) {
        outcome.failure = Some(Failure::new(outcome.simulated, cause, panicked));
    }
    watch.iter().for_each(|watch| watch.idle());
    outcome
}

/// Calls the scenario, and makes the future that it gives the first task.
fn begin(id: RunId, scenario: &dyn Scenario, caller: &'static Location<'static>) {
    match catch_unwind(AssertUnwindSafe(|| scenario.begin(Sim { run: id }))) {
        Ok(future) => {
            let place = Process { run: id, machine: SCENARIO, incarnation: 0 };
            let main = spawn_at(place, None, "scenario", caller, future);
            std::mem::forget(main); // `outcome` takes its result
        }
        Err(payload) => {
            let message = panic_message(payload.as_ref());
            let error = Error::msg(format!("the scenario panicked before its first await: {message}"));
            cluster::with(id, |run| {
                run.kernel.fail(Cause::Error(error));
                run.tally.last_panic = panic_log::take().pop();
            });
            panic_log::drop_payload(payload);
        }
    }
}

/// Polls tasks until the run is over, inside of tokio runtimes: each until a task claims it. `begin` is called in the first.
fn inside_of_runtimes(id: RunId, seed: u64, begin: impl FnOnce()) -> Outcome {
    let mut begin = Some(begin);
    for number in 0.. {
        let mut poll = || {
            if let Some(begin) = begin.take() {
                begin();
            }
            drive(id);
            let is_over = cluster::with(id, |run| run.kernel.over.is_some() || !run.runtimes.is_claimed());
            is_over.then(|| outcome(id))
        };
        let build = || seeded_runtime(seed ^ number);
        // tokio's `block_on` seeds the random generator of `tokio::select!`. It is entered through its handle, so that tokio
        // sees no scheduler and `yield_now` wakes at once, instead of leaving that to a scheduler that does not run.
        // `unconstrained` lifts tokio's budget of polls: counting ours, it would stop a task that waits for a channel.
        let over = runtimes::inside_of_one(id, build, |runtime| {
            runtime.handle().block_on(tokio::task::unconstrained(async { poll() }))
        });
        if let Some(outcome) = over {
            return outcome;
        }
    }
    unreachable!("a run ends")
}

/// Polls; in a process of its own no program's system calls go past the simulation meanwhile.
fn drive(id: RunId) {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    let _caught = match cluster::with(id, |run| run.isolation) {
        Isolation::Own => (host::raw_calls::catch(), host::counter::catch()),
        _ => (None, None),
    };
    executor::drive(id);
}

/// The first runtime of a process makes a socket pair for signals, which all later ones duplicate. It must be real, for a
/// runtime that is built outside of a run. It is built by another thread, because it draws this thread's hash keys.
#[expect(clippy::disallowed_methods, reason = "the thread is joined before the run begins")]
fn keep_tokio_real() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let built = std::thread::spawn(|| drop(runtime::Builder::new_current_thread().enable_io().build()));
        built.join().expect("a runtime or an error");
    });
}

/// With `tokio_unstable`, `tokio::select!` repeats in it.
fn seeded_runtime(seed: u64) -> Runtime {
    let mut builder = runtime::Builder::new_current_thread();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    builder.enable_all();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    runtimes::tell_of_tasks(&mut builder);
    #[cfg(tokio_unstable)]
    builder.rng_seed(runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    let _ = seed;
    builder.build().expect("a runtime asks the simulation alone")
}

/// A machine's life that failed, if its report was not read and the failure is not allowed.
fn unread_failure(id: RunId) -> Option<Cause> {
    let machines = cluster::with(id, |run| run.machines.clone());
    machines.iter().find_map(Machine::unread_failure)
}

/// Whether what a program asks of the system comes to the simulation.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn can_have_guests() -> Result<(), String> {
    let not_ours = host::libc::symbols::not_ours();
    let names = || not_ours.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ");
    match not_ours.is_empty() {
        true => can_have_allocators(),
        false => Err(format!(
            "programs cannot be simulated in this executable, because these functions are not the simulation's in it: {}; \
             link steelmill-sim into the executable itself, not into a shared library, and preload none that has them",
            names()
        )),
    }
}

/// Whether what allocators ask of the system goes past the simulation.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
fn can_have_allocators() -> Result<(), String> {
    host::allocators::are_real()
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(target_pointer_width = "64")))]
fn can_have_allocators() -> Result<(), String> {
    Ok(())
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn can_have_guests() -> Result<(), String> {
    Err("programs, threads and tokio are simulated on Linux with glibc alone; daemons on a `World` everywhere".to_owned())
}

/// What guest threads do first: logs, coverage points and the audit go where those of the run's other tasks go.
fn guest_setup() -> Result<ThreadSetup, String> {
    can_have_guests()?;
    let join_audit = audit::joining();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    Ok(Arc::new(move || {
        // They last for as long as the thread.
        std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        std::mem::forget(coverage::observe(&RunObserver));
        join_audit();
    }))
}

fn outcome(id: RunId) -> Outcome {
    let unread = unread_failure(id);
    let audit = audit::end(|machine| cluster::with(id, |run| run.hosts[machine].name.to_string()));
    cluster::with(id, |run| {
        let failed = match run.kernel.tasks.take_main() {
            Some(Ok(output)) => {
                output.downcast::<Result>().expect("a scenario returns a Result").err().map(Cause::Error)
            }
            // A panic in the scenario's task fails the run even if it is allowed, because the scenario did not return.
            Some(Err(TaskError::Panicked(panic))) => {
                Some(Cause::Panic { message: panic.to_string(), task: run.kernel.task_report(MAIN) })
            }
            _ => None,
        };
        let mut cause =
            run.kernel.over.take().flatten().or(failed).or(unread).or_else(|| run.unknown_limit());
        if let Some(Cause::Deadlock { tasks } | Cause::TimeLimit { tasks, .. }) = &mut cause {
            tasks.extend(run.tasks_of_tokio());
        }
        let panicked = run.tally.last_panic.take();
        let at = Duration::from_nanos(run.kernel.now);
        let deadline_exceeded = run.tally.exceeded_deadlines.take();
        let trace = run.kernel.take_trace(cause.as_ref(), run.tally.plan.as_ref());
        Outcome {
            seed: run.kernel.settings.seed,
            failure: cause.map(|cause| Failure { deadline_exceeded, ..Failure::new(at, cause, panicked) }),
            digest: run.kernel.digest.value(),
            simulated: at,
            polls: run.kernel.tasks.polls,
            events: run.kernel.events,
            counts: std::mem::take(&mut run.tally.counts),
            counted: run.kernel.counted(),
            redraws: Redraws::of(&run.kernel.settings.reseeds),
            reached: run.tally.coverage.take_reached(),
            coverage: run.tally.coverage.take_visits(),
            faults: run.tally.plan.take(),
            limits: std::mem::take(&mut run.tally.limits),
            decisions: run.kernel.decisions.take_recorded(),
            trace,
            audit,
            impure: run.kernel.impure,
            needs_process: run.isolation == Isolation::Wanted,
            is_lost: false,
        }
    })
}

/// Drops all tasks and machines, detached; a panic fails a run that passed.
fn tear_down(id: RunId) -> Option<(Cause, Option<Panicked>)> {
    let (orphans, root, machines) = cluster::with(id, |run| {
        run.detach();
        (run.kernel.tasks.take_all(), run.root.take(), std::mem::take(&mut run.machines))
    });
    panics::drop_orphans(id, orphans);
    machines.into_iter().for_each(panic_log::drop_caught);
    let ends = cluster::with(id, |run| run.kernel.tasks.take_ends());
    ends.into_iter().for_each(panic_log::drop_caught);
    panic_log::drop_caught(root);
    let failed = cluster::with(id, |run| {
        if panic_log::has_any() {
            run.judge_panics(run.kernel.task_report(MAIN));
        }
        let cause = run.kernel.over.take().flatten()?;
        Some((cause, run.tally.last_panic.take()))
    });
    panic_log::drop_caught(cluster::end(id));
    failed
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;
    use crate::schema::settings::Seed;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a program as people write it")]
    fn threads_that_change_by_futex_run_as_those_that_change_in_user_space() {
        let digest = |by_futex| {
            threads::change_by_futex(by_futex);
            let outcome = simulate(Settings::new(Seed(1)), &|sim| async move {
                let program = sim.program("program", || {
                    let other = std::thread::spawn(|| std::thread::sleep(Duration::from_secs(1)));
                    let (sender, receiver) = std::sync::mpsc::channel();
                    let sending =
                        std::thread::spawn(move || (0..100).for_each(|n| sender.send(n).expect("received")));
                    assert_eq!(receiver.iter().sum::<i32>(), 4950);
                    sending.join().and(other.join()).expect("neither panics");
                });
                anyhow::ensure!(program.start().await?.ended().await.is_success());
                // One that is killed where it waits.
                let waits =
                    sim.program("waits", || std::thread::sleep(Duration::from_secs(1000))).start().await?;
                sim.clock().sleep(Duration::from_secs(1)).await;
                waits.exit();
                Ok(())
            });
            assert!(outcome.passed(), "{:?}", outcome.failure);
            outcome.digest
        };
        assert_eq!(digest(true), digest(false));
    }

    #[test]
    fn a_lock_of_the_simulation_itself_is_one_of_real_threads() {
        let outcome = simulate(Settings::new(Seed(1)), &|sim| async move {
            let program = sim.program("program", || {
                let process = threads::process().expect("a guest thread is of a process");
                let word = std::sync::atomic::AtomicU32::new(0);
                // While the run is borrowed, the simulation itself executes.
                let woken = cluster::with(process.run, |_| host::libc::futex::wake_at(&word));
                assert_eq!((woken, host::libc::futex::wake_at(&word)), (0, 0), "nobody waits");
            });
            anyhow::ensure!(program.start().await?.ended().await.is_success());
            Ok(())
        });
        assert!(outcome.passed(), "{:?}", outcome.failure);
    }
}
