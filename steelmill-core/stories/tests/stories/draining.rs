//! Draining: a requested stop serves on for a while.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use steelmill_core::{Backoff, Clock, Daemon, Factory, Policy, Result, RunningFactory, Scope, State, World};
use steelmill_sim::{Seed, check};
use tokio::sync::{Notify, watch};

use crate::stories;
use crate::support::{Journal, SHORT, journal};

stories! {
    readiness_is_withdrawn_then_daemons_are_told_and_then_they_stop
    a_drain_can_be_cut_short
    a_failure_cuts_a_drain_short
    a_drain_ends_when_all_daemons_have_finished
    a_single_daemon_is_restarted_while_its_factory_drains
    a_failed_run_is_restarted_while_its_factory_drains
    children_drain_with_their_parent_and_can_be_made
    a_child_drains_if_it_is_stopped_alone
    a_start_is_rolled_back_at_once
    without_a_drain_it_is_told_when_it_is_to_stop
}

const LONG: Duration = Duration::from_secs(3_600);

/// Notes what it is told.
struct Told {
    journal: Journal,
    health: Arc<dyn Fn() -> bool + Send + Sync>,
    fail: watch::Receiver<u32>,
}

impl Daemon for Told {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let mut fail = self.fail.clone();
        fail.mark_unchanged();
        let (told, told_of) = (scope.clone(), self.clone());
        scope.spawn("told", async move {
            told.draining().await;
            let is_ready = (told_of.health)();
            let path = told.path();
            told_of
                .journal
                .note(format!("{path} drains, ready: {is_ready}, stopping: {}", told.is_stopping()));
        });
        tokio::select! {
            () = scope.stopping() => {}
            Ok(()) = fail.changed() => bail!("as told"),
        }
        self.journal.note(format!("{} stops", scope.path()));
        Ok(())
    }
}

/// A started factory whose stop drains for that long.
async fn draining_for(
    time: Duration,
    world: impl World,
    journal: &Journal,
    restarts: u32,
) -> Result<(RunningFactory, watch::Sender<u32>)> {
    let (sender, fail) = watch::channel(0);
    let mut factory = Factory::root("demo", world);
    factory.drain(time);
    let backoff = Backoff { first: Duration::from_millis(1), ..Backoff::default() };
    if restarts > 0 {
        factory.policy::<Told>(Policy::restart(backoff));
    }
    let ready = Arc::new(std::sync::OnceLock::new());
    let is_ready = ready.clone();
    let health = Arc::new(move || {
        is_ready.get().is_some_and(|health: &steelmill_core::HealthWatch| health.current().is_ready())
    });
    factory.provide(Told { journal: journal.clone(), health, fail })?;
    let demo = factory.start().await?;
    let mut health = demo.health();
    health.ready().await?;
    let _ = ready.set(health);
    Ok((demo, sender))
}

async fn state(factory: &RunningFactory, wanted: State) {
    let mut changes = factory.changes();
    while factory.status().await.unwrap().state != wanted {
        changes.next().await.unwrap();
    }
}

async fn readiness_is_withdrawn_then_daemons_are_told_and_then_they_stop(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let (demo, _fail) = draining_for(SHORT, world.clone(), &journal, 0).await?;
    let begun = world.clock().now();
    let report = demo.stop().await;
    assert!(world.clock().now() - begun >= SHORT);
    assert_eq!(lines.take(), ["demo drains, ready: false, stopping: false", "demo stops"]);
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn a_drain_can_be_cut_short(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let (demo, _fail) = draining_for(LONG, world, &journal, 0).await?;
    demo.request_stop();
    demo.request_stop(); // is the same request
    state(&demo, State::Draining).await;
    lines.until("demo drains, ready: false, stopping: false").await;
    assert_eq!(lines.take(), [""; 0]);
    demo.stop_at_once();
    let report = demo.join().await;
    assert_eq!(lines.take(), ["demo stops"]);
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn a_failure_cuts_a_drain_short(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let (demo, fail) = draining_for(LONG, world, &journal, 0).await?;
    let ended = demo.ended();
    demo.request_stop();
    drop(demo); // has no effect while it drains
    lines.until("demo drains, ready: false, stopping: false").await;
    fail.send_replace(1);
    assert_eq!(ended.await.to_string(), "demo: 1 failure\n  demo: Told failed to run: as told");
    Ok(())
}

/// Leaves as soon as it is told of the drain.
struct Leaving;

impl Daemon for Leaving {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Leaving)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.draining().await;
        Ok(())
    }
}

async fn a_drain_ends_when_all_daemons_have_finished(world: impl World) -> Result {
    let clock = world.clock();
    let mut factory = Factory::root("demo", world);
    factory.drain(LONG);
    factory.with::<Leaving>()?;
    let demo = factory.start().await?;
    let report = clock.timeout(LONG / 60, demo.stop()).await.expect("nothing is left to serve");
    assert!(report.is_clean(), "{report}");
    Ok(())
}

/// Its run ends after the stop signal when it is notified.
struct Lingering(Notify);

impl Daemon for Lingering {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Lingering(Notify::new()))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.stopping().await;
        self.0.notified().await;
        Ok(())
    }
}

async fn a_single_daemon_is_restarted_while_its_factory_drains(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.drain(LONG);
    factory.with::<Lingering>()?;
    let demo = factory.start().await?;
    let lingering = demo.get::<Lingering>()?;
    demo.request_stop();
    state(&demo, State::Draining).await;
    let restarted = demo.restart_daemon("Lingering");
    let error = demo.restart_daemon("Lingering").await.unwrap_err();
    assert_eq!(error.to_string(), "demo: Lingering is winding down already");
    lingering.0.notify_one();
    restarted.await?;
    assert_eq!(demo.status().await.expect("it drains").daemons[0].runs, 2);
    demo.stop_at_once();
    lingering.0.notify_one();
    let report = demo.join().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn a_failed_run_is_restarted_while_its_factory_drains(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let (demo, fail) = draining_for(LONG, world, &journal, 1).await?;
    demo.request_stop();
    lines.until("demo drains, ready: false, stopping: false").await;
    fail.send_replace(1);
    lines.until("demo drains, ready: false, stopping: false").await;
    assert_eq!(demo.status().await.unwrap().daemons[0].runs, 2);
    demo.stop_at_once();
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn children_drain_with_their_parent_and_can_be_made(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let (demo, _fail) = draining_for(LONG, world, &journal, 0).await?;
    let child = async |name: &str| -> Result<RunningFactory> {
        let mut child = demo.child(name)?;
        child.provide(Told {
            journal: journal.clone(),
            health: Arc::new(|| false),
            fail: watch::channel(0).1,
        })?;
        Ok(child.start().await?)
    };
    let early = child("early").await?;
    demo.request_stop();
    lines.until("demo/early drains, ready: false, stopping: false").await;
    let late = child("late").await?;
    lines.until("demo/late drains, ready: false, stopping: false").await;
    for child in [&early, &late] {
        assert_eq!(child.status().await.unwrap().state, State::Draining);
    }
    assert!(early.stop().await.is_clean(), "without a drain of its own");
    demo.stop_at_once();
    drop(late);
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn a_child_drains_if_it_is_stopped_alone(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let demo = Factory::root("demo", world).start().await?;
    let child = async |name: &str, time: Duration| -> Result<RunningFactory> {
        let mut child = demo.child(name)?;
        child.drain(time);
        child.provide(Told {
            journal: journal.clone(),
            health: Arc::new(|| false),
            fail: watch::channel(0).1,
        })?;
        Ok(child.start().await?)
    };
    let alone = child("alone", SHORT).await?;
    let with_its_parent = child("with", LONG).await?;
    assert!(alone.stop().await.is_clean());
    assert_eq!(lines.take()[0], "demo/alone drains, ready: false, stopping: false");
    drop(demo.stop().await);
    assert!(with_its_parent.join().await.is_clean());
    lines.until("demo/with stops").await;
    Ok(())
}

struct NeverPrepared;

impl Daemon for NeverPrepared {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(NeverPrepared)
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        scope.request_stop();
        pending().await
    }
}

async fn a_start_is_rolled_back_at_once(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.drain(LONG);
    factory.with::<NeverPrepared>()?;
    assert!(factory.start().await.unwrap_err().to_string().contains("stop"));
    Ok(())
}

async fn without_a_drain_it_is_told_when_it_is_to_stop(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let (demo, _fail) = draining_for(Duration::ZERO, world, &journal, 0).await?;
    demo.stop().await;
    let mut lines = lines.take();
    lines.sort();
    assert_eq!(lines, ["demo drains, ready: false, stopping: true", "demo stops"]);
    Ok(())
}

/// In the sim, time is exact.
#[test]
fn a_stop_begins_when_the_drain_is_over() {
    check(Seed(1), |sim| async move {
        let (journal, _lines) = journal();
        let (demo, _fail) = draining_for(Duration::from_secs(7), sim.world(), &journal, 0).await?;
        let begun = sim.clock().now();
        demo.stop().await;
        assert_eq!(sim.clock().now() - begun, Duration::from_secs(7));
        Ok(())
    });
}
