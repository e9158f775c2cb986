//! A green seed means that nothing failed: no panic is lost, no failed service is, and a process that has ended is gone.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use steelmill_core::{Backoff, Daemon, DaemonRef, Factory, Policy, Result, Scope};
use steelmill_sim::{Cause, Failure, LifeEnd, Machine, Network, Outcome, Seed, Settings, Sim, simulate};
use tokio::io::AsyncReadExt as _;

const SECOND: Duration = Duration::from_secs(1);

fn run<F: Future<Output = Result> + 'static>(scenario: impl Fn(Sim) -> F) -> Outcome {
    simulate(Settings::new(Seed(1)), &scenario)
}

/// The failure of a run, which is a panic with that text.
fn panic_of(outcome: Outcome, text: &str) -> (Failure, steelmill_sim::TaskReport) {
    let failure = outcome.failure.unwrap_or_else(|| panic!("{text:?} is lost"));
    let Cause::Panic { message, task } = &failure.cause else { panic!("not by a panic: {failure}") };
    assert!(message.contains(text), "{failure}");
    let task = task.clone();
    (failure, task)
}

/// A daemon that panics in one of its phases, told by its type parameter.
struct Panics<const PHASE: u8>;

const BUILD: u8 = 0;
const PREPARE: u8 = 1;
const RUN: u8 = 2;
const STOP: u8 = 3;
const DROP: u8 = 4;
const TASK: u8 = 5;
const CAUGHT: u8 = 6;

impl<const PHASE: u8> Panics<PHASE> {
    fn in_phase(phase: u8) {
        assert!(PHASE != phase, "planted");
    }
}

impl<const PHASE: u8> Daemon for Panics<PHASE> {
    fn build(_: &mut Factory) -> Result<Self> {
        Self::in_phase(BUILD);
        Ok(Self)
    }

    async fn prepare(&self, _: &Scope) -> Result {
        Self::in_phase(PREPARE);
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        Self::in_phase(RUN);
        if PHASE == TASK {
            scope.spawn("careless", async { Self::in_phase(TASK) });
        }
        if PHASE == CAUGHT {
            let _ = catch_unwind(|| Self::in_phase(CAUGHT));
        }
        scope.stopping().await;
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        Self::in_phase(STOP);
        Ok(())
    }
}

impl<const PHASE: u8> Drop for Panics<PHASE> {
    fn drop(&mut self) {
        Self::in_phase(DROP);
    }
}

/// Runs such a daemon for a second, with a policy that would mend it, and looks at nothing.
fn careless<const PHASE: u8>() -> Outcome {
    run(|sim| async move {
        let machine = sim.machine("server", |factory| {
            factory.policy::<Panics<PHASE>>(Policy::restart(Backoff::default()));
            factory.with::<Panics<PHASE>>()
        });
        // A caller that goes on whatever the start says.
        if let Ok(machine) = machine.start().await {
            sim.clock().sleep(SECOND).await;
            let _ = machine.stop().await?;
        }
        Ok(())
    })
}

#[test]
fn a_panic_of_a_daemon_is_the_failure_of_the_run_in_every_phase() {
    let all = [
        careless::<BUILD>(),
        careless::<PREPARE>(),
        careless::<RUN>(),
        careless::<STOP>(),
        careless::<DROP>(),
        careless::<TASK>(),
        careless::<CAUGHT>(),
    ];
    for outcome in all {
        let (failure, task) = panic_of(outcome, "planted");
        assert_eq!(task.machine, "server", "{failure}");
        assert!(failure.panicked_at.as_ref().is_some_and(|at| at.contains("tests/green.rs")), "{failure}");
    }
    let (failure, task) = panic_of(careless::<RUN>(), "planted");
    assert!(task.owner.is_some_and(|owner| owner.daemon().is_some_and(|daemon| daemon.contains("Panics"))));
    assert_eq!(failure.at.as_secs(), 0, "at once, and not when the scenario ends: {failure}");
}

#[test]
fn a_panic_that_the_scenario_allowed_is_no_failure_and_any_other_is() {
    let outcome = |machine: &'static str, text: &'static str| {
        run(move |sim| async move {
            sim.allow_failure(machine, text);
            let _server = sim.machine("server", |factory| factory.with::<Panics<RUN>>()).start().await?;
            sim.clock().sleep(SECOND).await;
            Ok(())
        })
    };
    let allowed = outcome("server", "plant");
    assert!(allowed.passed(), "{}", allowed.failure.expect("it failed"));
    panic_of(outcome("client", "plant"), "planted");
    panic_of(outcome("server", "something else"), "planted");
}

struct DropPanics(&'static str);

impl Drop for DropPanics {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[test]
fn a_panic_in_a_destructor_while_a_machine_is_ended_names_the_machine_and_the_task() {
    for power_loss in [false, true] {
        let outcome = run(move |sim| async move {
            let server = sim.client("server");
            let clock = server.clock();
            drop(server.spawn("holder", async move {
                let _bad = DropPanics("in the destructor");
                clock.sleep(1000 * SECOND).await;
            }));
            sim.clock().sleep(SECOND).await;
            if power_loss {
                server.power_loss()
            } else {
                server.exit()
            }
            sim.clock().sleep(SECOND).await;
            Ok(())
        });
        let (failure, task) = panic_of(outcome, "in the destructor");
        assert_eq!((task.machine.as_str(), task.name, failure.at), ("server", "holder", SECOND));
    }
}

#[test]
fn a_panic_while_the_run_is_torn_down_is_a_failure_too() {
    let outcome = run(|sim| async move {
        let clock = sim.clock();
        drop(sim.spawn("left over", async move {
            let _bad = DropPanics("at the very end");
            clock.sleep(1000 * SECOND).await;
        }));
        sim.clock().sleep(SECOND).await;
        Ok(())
    });
    let (_, task) = panic_of(outcome, "at the very end");
    assert_eq!(task.name, "left over");
}

#[test]
fn a_panic_whose_handle_tells_of_it_is_a_failure_unless_it_was_allowed() {
    let outcome = |is_allowed| {
        run(move |sim| async move {
            if is_allowed {
                sim.allow_failure("scenario", "told");
            }
            let task = sim.spawn("tells", async { panic!("told") });
            assert!(task.await.is_err());
            Ok(())
        })
    };
    panic_of(outcome(false), "told");
    assert!(outcome(true).passed());
}

/// A payload whose destructor panics: a second panic, while nobody is left to catch it.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("the payload's destructor");
    }
}

#[test]
fn a_value_or_a_payload_whose_destructor_panics_fails_its_seed_and_no_other() {
    let scenario = |sim: Sim| async move {
        match sim.seed().0 {
            1 => drop(sim.spawn("output", async { DropPanics("an output that nobody takes") })),
            2 => drop(sim.spawn("payload", async { std::panic::panic_any(Payload) })),
            3 => drop(sim.spawn("resumed", async { std::panic::resume_unwind(Box::new(Payload)) })),
            _ => {}
        }
        sim.clock().sleep(SECOND).await;
        Ok(())
    };
    let summary = steelmill_sim::Campaign::new(scenario).seeds(5).failures_max(5).run();
    let red: Vec<Seed> = summary.red().map(|red| red.seed).collect();
    assert_eq!(red, [Seed(1), Seed(2), Seed(3)], "{summary}");
    assert_eq!(summary.seeds, 5, "the others went on: {summary}");
}

#[test]
fn two_panics_at_once_say_which_seed_it_was() {
    // What unwinds into a destructor that panics ends the process, so it is run in another one.
    if std::env::var_os("DOUBLE_PANIC").is_some() {
        let scenario = |_: Sim| async {
            let _bad = DropPanics("the second");
            panic!("the first");
        };
        steelmill_sim::check(Seed(71), scenario);
    }
    let program = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(program)
        .args(["--exact", "two_panics_at_once_say_which_seed_it_was", "--nocapture"])
        .env("DOUBLE_PANIC", "1")
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for part in ["seed 71", "the first", "the second", "tests/green.rs"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}

// Factories that fail, and processes that end.

/// Listens, and fails or requests its stop after a second.
struct Server<const FAILS: bool> {
    network: DaemonRef<Network>,
    clock: DaemonRef<steelmill_sim::Clock>,
}

impl<const FAILS: bool> Daemon for Server<FAILS> {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, clock: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let _listener = self.network.bind("0.0.0.0:80").await?;
        self.clock.sleep(SECOND).await;
        anyhow::ensure!(!FAILS, "out of luck");
        scope.request_stop();
        scope.stopping().await;
        Ok(())
    }
}

async fn served<const FAILS: bool>(sim: Sim) -> Result<Machine> {
    let server = sim.machine("server", |factory| factory.with::<Server<FAILS>>()).start().await?;
    sim.clock().sleep(SECOND / 2).await;
    assert!(server.is_up());
    Ok(server)
}

#[test]
fn a_factory_that_fails_is_the_failure_of_a_run_in_which_nobody_reads_its_report() {
    let outcome = run(|sim| async move {
        served::<true>(sim).await?;
        sim.clock().sleep(10 * SECOND).await;
        Ok(())
    });
    let failure = outcome.failure.expect("it is not lost");
    let Cause::ProcessFailed { machine, at, failure: report } = &failure.cause else { panic!("{failure}") };
    assert_eq!((machine.as_str(), *at), ("server", SECOND));
    assert!(report.contains("out of luck") && report.contains("Server"), "{report}");
}

#[test]
fn a_report_that_is_handed_out_and_not_read_is_lost_as_well() {
    struct StopFails;
    impl Daemon for StopFails {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Self)
        }

        async fn stop(&self, _: &Scope) -> Result {
            anyhow::bail!("cannot flush")
        }
    }
    let outcome = |is_read| {
        run(move |sim| async move {
            let server = sim.machine("server", |factory| factory.with::<StopFails>()).start().await?;
            let life = server.stop().await?;
            if is_read {
                assert_eq!(life.report().expect("of its factory").failures().len(), 1);
            }
            Ok(())
        })
    };
    assert!(outcome(false).failure.expect("it is not lost").to_string().contains("cannot flush"));
    assert!(outcome(true).passed());
}

#[test]
fn a_failure_that_was_read_or_allowed_is_none_of_the_run() {
    let read = run(|sim| async move {
        let server = served::<true>(sim).await?;
        let life = server.ended().await;
        let LifeEnd::Ended(report) = &life.end else { panic!("{life}") };
        assert!(report.failures()[0].to_string().contains("out of luck"));
        assert_eq!((life.started_at, life.ended_at), (Duration::ZERO, SECOND));
        Ok(())
    });
    assert!(read.passed(), "{:?}", read.failure);
    let allowed = run(|sim| async move {
        sim.allow_failure("server", "out of luck");
        served::<true>(sim).await?;
        sim.clock().sleep(10 * SECOND).await;
        Ok(())
    });
    assert!(allowed.passed(), "{:?}", allowed.failure);
}

#[test]
fn a_process_that_ended_by_itself_is_gone_and_its_port_refuses() {
    for fails in [true, false] {
        let outcome = run(move |sim| async move {
            sim.allow_failure("server", "out of luck");
            let server = if fails { served::<true>(sim).await? } else { served::<false>(sim).await? };
            let mut client = sim.network().connect("server:80").await?;
            sim.clock().sleep(SECOND).await;
            assert!(!server.is_up(), "its factory has ended");
            let mut byte = [0];
            let read = client.read(&mut byte).await;
            assert!(matches!(read, Ok(0) | Err(_)), "its sockets are closed: {read:?}");
            let refused = sim.network().connect("server:80").await.expect_err("nobody listens");
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            let ran = Arc::new(AtomicU32::new(0));
            let runs = ran.clone();
            drop(server.spawn("late", async move { runs.fetch_add(1, Relaxed) }));
            sim.clock().sleep(SECOND).await;
            assert_eq!(ran.load(Relaxed), 0, "its tasks have ended");
            Ok(())
        });
        assert!(outcome.passed(), "{:?}", outcome.failure);
    }
}

#[test]
fn a_machine_lives_as_long_as_its_run_whoever_drops_its_handles() {
    steelmill_sim::check(Seed(1), |sim| async move {
        drop(sim.machine("server", |factory| factory.with::<Panics<9>>()).start().await?);
        let other = sim.machine("other", |factory| {
            let ended = factory.get::<Network>()?;
            drop(ended);
            Ok(())
        });
        drop(other.start().await?);
        sim.clock().sleep(100 * SECOND).await;
        let stream = sim.network().connect("server:80").await;
        assert_eq!(
            stream.expect_err("it is up, and listens on nothing").kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        Ok(())
    });
}

#[test]
fn an_init_system_starts_again_what_failed_with_pauses_that_double_up_to_its_limit() {
    steelmill_sim::check(Seed(1), |sim| async move {
        sim.allow_failure("server", "out of luck");
        let server = sim.machine("server", |factory| factory.with::<Server<true>>());
        let backoff = Backoff { first: SECOND, longest: 3 * SECOND, restarts: 3, window: 100 * SECOND };
        server.restart_on_failure(backoff);
        let server = server.start().await?;
        sim.clock().sleep(60 * SECOND).await;
        let started: Vec<u64> = server.past_lives().iter().map(|life| life.started_at.as_secs()).collect();
        // Each life takes a second; the pauses are 1, 2 and 3 seconds.
        assert_eq!(started, [0, 2, 5, 9]);
        assert!(!server.is_up(), "the limit is three restarts");
        Ok(())
    });
}

#[test]
fn an_init_system_restarts_on_failure_or_always_and_never_after_a_stop() {
    steelmill_sim::check(Seed(1), |sim| async move {
        let lives_after = |machine: Machine| async move {
            let machine = machine.start().await?;
            sim.clock().sleep(3 * SECOND).await;
            Ok::<_, anyhow::Error>(machine.past_lives().len())
        };
        let backoff = Backoff { first: SECOND, ..Backoff::default() };
        let on_failure = sim.machine("on-failure", |factory| factory.with::<Server<false>>());
        on_failure.restart_on_failure(backoff);
        assert_eq!(lives_after(on_failure.clone()).await?, 1, "it ended cleanly");
        let always = sim.machine("always", |factory| factory.with::<Server<false>>());
        always.restart_always(backoff);
        assert_eq!(lives_after(always.clone()).await?, 1);
        assert!(always.is_up(), "it was started again after two seconds");
        always.exit();
        sim.clock().sleep(10 * SECOND).await;
        let killed = always.past_lives().iter().filter(|life| matches!(life.end, LifeEnd::Killed)).count();
        assert_eq!(killed, 1);
        let stopping = sim.machine("stopped", |factory| factory.with::<Panics<9>>());
        stopping.restart_always(backoff);
        let stopping = stopping.start().await?;
        assert!(stopping.stop().await?.is_success());
        sim.clock().sleep(10 * SECOND).await;
        assert!(!stopping.is_up(), "somebody wanted it to stop");
        Ok(())
    });
}

#[test]
fn a_machine_that_its_init_system_cannot_start_again_is_not_lost() {
    let outcome = run(|sim| async move {
        sim.allow_failure("server", "out of luck");
        let starts = AtomicU32::new(0);
        let server = sim.machine("server", move |factory| {
            anyhow::ensure!(starts.fetch_add(1, Relaxed) == 0, "no second start");
            factory.with::<Server<true>>()
        });
        server.restart_on_failure(Backoff { restarts: 1, ..Backoff::default() });
        drop(server.start().await?);
        sim.clock().sleep(60 * SECOND).await;
        Ok(())
    });
    let failure = outcome.failure.expect("it is not lost").to_string();
    assert!(failure.contains("no second start"), "{failure}");
}
