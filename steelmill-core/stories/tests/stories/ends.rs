//! What the end of a `run` leads to, and single daemons that are restarted or stopped by request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::bail;
use steelmill_core::{
    Backoff, Clock, Daemon, DaemonRef, Deadlines, Factory, OnFailure, OnFinish, Policy, Result,
    RunningFactory, Scope, State, World,
};
use tokio::sync::Notify;

use crate::stories;
use crate::support::{Act, Journal, SHORT, Script, assert_before, journal};

stories! {
    a_permanent_daemon_runs_again_after_it_has_returned
    a_daemon_that_returns_too_often_stops_its_factory
    a_transient_daemon_runs_again_only_after_a_failure
    a_daemon_that_has_finished_may_stop_its_factory
    a_factory_whose_daemons_have_all_finished_ends
    a_factory_goes_on_while_a_finished_daemon_has_tasks
    a_factory_goes_on_while_it_has_children
    a_factory_remains_if_it_is_asked_to
    a_named_daemon_has_a_policy_of_its_own
    a_single_daemon_is_restarted_while_the_others_run
    a_single_daemon_is_stopped_and_runs_again
    a_daemon_that_is_unknown_or_of_a_stopping_factory_is_not_restarted
    a_run_that_fails_when_it_is_restarted_is_reported
    a_daemon_that_awaits_the_stop_of_its_factory_is_told_so_at_once
}

const AT_ONCE: Backoff = Backoff {
    first: Duration::ZERO,
    longest: Duration::ZERO,
    restarts: 3,
    window: Duration::from_secs(3600),
};

/// Returns, or fails, in each of its first runs; then waits for the stop.
struct Returning {
    runs: AtomicU32,
    journal: Arc<Journal>,
    early: u32,
    fails: bool,
}

/// How many runs of `Returning` end early.
struct Early(u32);
/// Whether these fail.
struct Fails(bool);

impl Daemon for Returning {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Returning {
            runs: AtomicU32::new(0),
            journal: factory.value()?,
            early: factory.value::<Early>()?.0,
            fails: factory.value::<Fails>()?.0,
        })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        self.journal.note(format!("run {run}"));
        if run <= self.early && self.fails {
            bail!("as told");
        }
        if run > self.early {
            scope.stopping().await;
        }
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.journal.note("stopped");
        Ok(())
    }
}

fn returning(
    world: impl World,
    early: u32,
    fails: bool,
    policy: Policy,
) -> Result<(Factory, crate::support::Lines)> {
    let (journal, lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.provide_value(Early(early))?;
    factory.provide_value(Fails(fails))?;
    factory.policy::<Returning>(policy);
    factory.with::<Returning>()?;
    Ok((factory, lines))
}

async fn a_permanent_daemon_runs_again_after_it_has_returned(world: impl World) -> Result {
    let (factory, mut lines) = returning(world, 2, false, Policy::permanent(AT_ONCE))?;
    let demo = factory.start().await?;
    assert_eq!(lines.until("run 3").await, ["run 1", "run 2", "run 3"]);
    let report = demo.stop().await;
    assert!(report.is_clean());
    assert_eq!(
        report.to_string(),
        "demo: ended cleanly\n  demo: Returning ran again 2 time(s), the last time after: its run returned"
    );
    Ok(())
}

async fn a_daemon_that_returns_too_often_stops_its_factory(world: impl World) -> Result {
    let (factory, mut lines) = returning(world, 9, false, Policy::permanent(AT_ONCE))?;
    let report = factory.start().await?.join().await;
    assert_eq!(report.failures().len(), 1);
    assert_eq!(
        report.failures()[0].to_string(),
        "demo: Returning failed to run: after 3 restarts within 3600s, which is its limit: its run returned"
    );
    assert_eq!(lines.take(), ["run 1", "run 2", "run 3", "run 4", "stopped"]);
    Ok(())
}

async fn a_transient_daemon_runs_again_only_after_a_failure(world: impl World) -> Result {
    let (factory, mut lines) = returning(world.clone(), 2, true, Policy::restart(AT_ONCE))?;
    let demo = factory.start().await?;
    lines.until("run 3").await;
    assert!(demo.stop().await.is_clean());

    let (factory, mut lines) = returning(world, 2, false, Policy::restart(AT_ONCE))?;
    assert!(factory.start().await?.join().await.is_clean());
    assert_eq!(lines.take(), ["run 1", "stopped"]);
    Ok(())
}

async fn a_daemon_that_has_finished_may_stop_its_factory(world: impl World) -> Result {
    let policy = Policy { on_finish: OnFinish::StopFactory, ..Policy::default() };
    let (mut factory, mut lines) = returning(world, 1, false, policy)?;
    factory.with::<Idle>()?;
    let report = factory.start().await?.join().await;
    assert!(report.is_clean());
    assert_eq!(lines.take(), ["run 1", "stopped"]);
    Ok(())
}

/// Runs until it is stopped.
struct Idle;

impl Daemon for Idle {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Idle)
    }
}

async fn a_factory_whose_daemons_have_all_finished_ends(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a");
    let script = script.run('a', Act::Take(SHORT)).run('b', Act::Return);
    let report = script.factory(world, Deadlines::default())?.start().await?.join().await;
    assert!(report.is_clean());
    let lines = lines.take();
    assert_before(&lines, "a run done", "b stops");
    assert_before(&lines, "b stop done", "a stops");
    Ok(())
}

/// Returns at once, and leaves a task that ends when it is notified; which spawns another one.
struct Spawner(Arc<Notify>, Arc<Journal>);

impl Daemon for Spawner {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Spawner(factory.value()?, factory.value()?))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let (this, inner) = (self.clone(), scope.clone());
        scope.spawn("first", async move {
            this.0.notified().await;
            let journal = this.1.clone();
            let scope = inner.clone();
            inner.spawn("second", async move { journal.note(format!("stopping: {}", scope.is_stopping())) });
        });
        Ok(())
    }
}

async fn a_factory_goes_on_while_a_finished_daemon_has_tasks(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let notify = Notify::new();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.provide_value(notify)?;
    factory.with::<Spawner>()?;
    let demo = factory.start().await?;
    let notify = demo.value::<Notify>()?.clone();
    let is_running =
        |status: Option<steelmill_core::Status>| status.is_some_and(|status| status.state == State::Running);
    while demo.status().await.is_none_or(|status| status.daemons[0].state != State::Finished) {}
    assert!(is_running(demo.status().await));
    let ended = demo.join();
    notify.notify_one();
    assert!(ended.await.is_clean());
    assert_eq!(lines.take(), ["stopping: false"]);
    Ok(())
}

async fn a_factory_goes_on_while_it_has_children(world: impl World) -> Result {
    let (factory, _lines) = returning(world, 1, false, Policy::default())?;
    // The child is there before the run returns, as the factory cannot end while it starts.
    let demo = factory.start().await?;
    let Ok(child) = demo.child("child") else {
        return Ok(()); // it has ended already
    };
    if let Ok(child) = child.start().await {
        let status = demo.status().await.expect("it has a child");
        assert_eq!((status.state, status.children.len()), (State::Running, 1));
        assert!(child.stop().await.is_clean());
    }
    assert!(demo.join().await.is_clean());
    Ok(())
}

async fn a_factory_remains_if_it_is_asked_to(world: impl World) -> Result {
    let clock = world.clock();
    let (mut factory, mut lines) = returning(world, 1, false, Policy::default())?;
    factory.remain_when_finished();
    let demo = factory.start().await?;
    lines.until("run 1").await;
    assert!(clock.timeout(SHORT, demo.ended()).await.is_err(), "it remains");
    assert!(demo.stop().await.is_clean());
    Ok(())
}

/// Fails in its first run.
struct Store(AtomicU32);

impl Daemon for Store {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Store(AtomicU32::new(0)))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            bail!("as told");
        }
        scope.stopping().await;
        Ok(())
    }
}

async fn a_named_daemon_has_a_policy_of_its_own(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.policy_named::<Store>("cache", Policy::restart(AT_ONCE));
    // Called later, for all names, and yet it counts less.
    factory.policy::<Store>(Policy { on_failure: OnFailure::LeaveDown, ..Policy::default() });
    factory.with_named::<Store>("cache")?;
    factory.with_named::<Store>("ledger")?;
    factory.with::<Idle>()?;
    let demo = factory.start().await?;
    loop {
        let status = demo.status().await.expect("it runs");
        let of = |daemon: &str| {
            let status = status.daemons.iter().find(|status| status.daemon == daemon).expect("it is there");
            (status.state, status.runs)
        };
        if (of("Store[cache]"), of("Store[ledger]")) == ((State::Running, 2), (State::Down, 1)) {
            break;
        }
    }
    let report = demo.stop().await;
    assert_eq!(report.failures().len(), 1);
    assert_eq!(report.failures()[0].daemon, "Store[ledger]");
    Ok(())
}

/// A dependent of `Returning` that calls it.
struct User(DaemonRef<Returning>);

impl Daemon for User {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(User(factory.get()?))
    }
}

async fn user(world: impl World) -> Result<(RunningFactory, crate::support::Lines)> {
    let (mut factory, lines) = returning(world, 0, false, Policy::default())?;
    factory.with::<User>()?;
    Ok((factory.start().await?, lines))
}

fn state_of(status: &steelmill_core::Status, daemon: &str) -> (State, u32) {
    let status = status.daemons.iter().find(|status| status.daemon == daemon).expect("it is there");
    (status.state, status.runs)
}

async fn a_single_daemon_is_restarted_while_the_others_run(world: impl World) -> Result {
    let (demo, mut lines) = user(world).await?;
    demo.restart_daemon("Returning").await?;
    lines.until("run 2").await;
    let status = demo.status().await.expect("it runs");
    assert_eq!(state_of(&status, "Returning"), (State::Running, 2));
    assert_eq!(state_of(&status, "User"), (State::Running, 1));
    assert_eq!(demo.get::<User>()?.0.runs.load(Ordering::Relaxed), 2, "the same daemon");
    let report = demo.stop().await;
    assert_eq!(report.to_string(), "demo: ended cleanly", "it is no restart by a policy");
    assert_eq!(lines.take(), ["stopped"]);
    Ok(())
}

async fn a_single_daemon_is_stopped_and_runs_again(world: impl World) -> Result {
    let (demo, mut lines) = user(world).await?;
    demo.stop_daemon("Returning").await?;
    let status = demo.status().await.expect("it runs");
    assert_eq!(state_of(&status, "Returning").0, State::Down);
    assert_eq!(state_of(&status, "User"), (State::Running, 1));
    assert_eq!(demo.get::<User>()?.0.early, 0, "it can still be called");
    demo.stop_daemon("Returning").await?;
    demo.restart_daemon("Returning").await?;
    lines.until("run 2").await;
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn a_daemon_that_is_unknown_or_of_a_stopping_factory_is_not_restarted(world: impl World) -> Result {
    let (demo, _lines) = user(world).await?;
    let unknown = demo.restart_daemon("Retruning").await.unwrap_err().to_string();
    assert_eq!(unknown, "demo has no daemon Retruning; its daemons are: Returning, User");
    let late = demo.clone();
    let ended = demo.stop();
    let error = late.restart_daemon("User").await.unwrap_err().to_string();
    let expected =
        ["demo is stopping: User can be restarted or stopped only while it is running", "demo has ended"];
    assert!(expected.contains(&&*error), "{error}");
    drop(late);
    assert!(ended.await.is_clean());
    Ok(())
}

async fn a_run_that_fails_when_it_is_restarted_is_reported(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "").run('a', Act::FailAtStop);
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    demo.restart_daemon("Part<'a'>").await?;
    demo.stop_daemon("Part<'a'>").await?;
    let report = demo.stop().await;
    assert_eq!(
        report.to_string(),
        "demo: 2 failures\n  demo: Part<'a'> failed to run: as told\n  demo: Part<'a'> failed to run: as told"
    );
    assert_before(&lines.take(), "a runs", "a stop done");
    Ok(())
}

/// Awaits the end of its own factory, by a handle that it was given.
struct Suicidal(tokio::sync::watch::Sender<Option<RunningFactory>>, Arc<Journal>);

impl Daemon for Suicidal {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Suicidal(tokio::sync::watch::Sender::default(), factory.value()?))
    }

    async fn run(self: &Arc<Self>, _: &Scope) -> Result {
        let mut handles = self.0.subscribe();
        drop(handles.wait_for(Option::is_some).await?);
        let handle = self.0.send_replace(None).expect("it was sent");
        self.1.note(handle.stop().await.to_string());
        Ok(())
    }
}

async fn a_daemon_that_awaits_the_stop_of_its_factory_is_told_so_at_once(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.with::<Suicidal>()?;
    let demo = factory.start().await?;
    let ended = demo.ended();
    demo.get::<Suicidal>()?.0.send_modify(|handle| *handle = Some(demo.clone()));
    drop(demo);
    assert!(ended.await.is_clean(), "nothing waits until the deadline");
    assert_eq!(
        lines.take(),
        [
            "demo: 1 failure\n  demo: it stops, but Suicidal of demo must not await that, because it would wait for \
          itself: call `Scope::request_stop`"
        ]
    );
    Ok(())
}
