//! Health: what daemons answer, and what follows for their factory and its parent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::bail;
use steelmill_core::{
    Backoff, Clock, Daemon, Factory, FactoryHealth, Health, HealthChecks, HealthWatch, OnFailure, Policy,
    Result, Scope, State, World,
};
use tokio::sync::watch;

use crate::stories;
use crate::support::{SHORT, in_the_runtime};

stories! {
    a_factory_is_ready_while_its_daemons_say_so
    a_check_that_hangs_or_panics_holds_nothing_up
    a_check_keeps_no_finished_factory_going
    a_failed_run_withholds_readiness_until_it_runs_again
    a_childs_health_counts_if_its_failures_do
    a_late_child_is_asked_too
    health_is_in_status_and_changes
    nobody_is_asked_until_somebody_wants_to_know
    a_watch_ends_with_its_factory
}

const CHECKS: HealthChecks = HealthChecks { every: Duration::from_millis(10), timeout: SHORT };

/// Answers what it is given.
struct Answering {
    answer: watch::Receiver<Health>,
    asked: Arc<AtomicU32>,
}

impl Daemon for Answering {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn health(&self) -> Health {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer.borrow().clone()
    }
}

fn answering(health: Health) -> (watch::Sender<Health>, Answering) {
    let (sender, answer) = watch::channel(health);
    (sender, Answering { answer, asked: Arc::default() })
}

/// Waits for a health of which this holds.
async fn until(health: &mut HealthWatch, holds: impl Fn(&FactoryHealth) -> bool) -> Arc<FactoryHealth> {
    loop {
        let current = health.current();
        if holds(&current) {
            return current;
        }
        health.changed().await.expect("the factory has not ended");
    }
}

async fn a_factory_is_ready_while_its_daemons_say_so(world: impl World) -> Result {
    let (answer, daemon) = answering(Health::failing("no disk"));
    let mut factory = Factory::root("demo", world);
    factory.health_checks(CHECKS);
    factory.provide(daemon)?;
    let demo = factory.start().await?;
    let mut health = demo.health();
    assert!(!health.current().is_ready());
    let failing =
        until(&mut health, |health| health.problems() == ["demo: Answering is failing: no disk"]).await;
    assert!(!failing.is_ready() && failing.is_live());

    answer.send_replace(Health::degraded("a slow disk"));
    let degraded = health.ready().await?;
    assert_eq!(degraded.to_string(), "demo: ready\n  demo: Answering is degraded: a slow disk");

    answer.send_replace(Health::Healthy);
    until(&mut health, |health| health.to_string() == "demo: ready").await;
    answer.send_replace(Health::Unresponsive("it lost its memory".into()));
    until(&mut health, |health| !health.is_ready() && !health.is_live()).await;
    assert!(demo.stop().await.is_clean());
    Ok(())
}

struct Hanging;

impl Daemon for Hanging {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Hanging)
    }

    async fn health(&self) -> Health {
        std::future::pending().await
    }
}

struct Panicking;

impl Daemon for Panicking {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Panicking)
    }

    fn health(&self) -> impl Future<Output = Health> + Send {
        panic!("as told");
        #[expect(unreachable_code, reason = "gives the type")]
        async {
            Health::Healthy
        }
    }
}

async fn a_check_that_hangs_or_panics_holds_nothing_up(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world.clone());
    factory.health_checks(HealthChecks { every: 4 * SHORT, ..CHECKS });
    factory.with::<Hanging>()?;
    factory.with::<Panicking>()?;
    let (_answer, daemon) = answering(Health::Healthy);
    let asked = daemon.asked.clone();
    factory.provide(daemon)?;
    let demo = factory.start().await?;
    let mut health = demo.health();
    let all = until(&mut health, |health| health.problems().len() == 2 && health.daemons[2].is_ready()).await;
    let problems = [
        "demo: Hanging is unresponsive: did not answer within 50ms",
        "demo: Panicking is unresponsive: panicked: as told",
    ];
    let not_asked = "demo: Hanging is not asked yet";
    if all.problems()[0] == not_asked {
        until(&mut health, |health| health.problems() == problems).await;
    } else {
        assert_eq!(all.problems(), problems);
    }
    let before = asked.load(Ordering::Relaxed);
    while asked.load(Ordering::Relaxed) < before + 2 {
        world.clock().sleep(Duration::from_millis(1)).await;
    }
    assert!(demo.stop().await.is_clean(), "that a check fails is no failure");
    Ok(())
}

/// Finishes while it is asked for its health.
struct Finishing(watch::Sender<bool>);

impl Daemon for Finishing {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let (mut asked, mut asked_too) = (self.0.subscribe(), self.0.subscribe());
        scope.spawn("work", async move {
            asked_too.wait_for(|is_asked| *is_asked).await?;
            Ok(())
        });
        asked.wait_for(|is_asked| *is_asked).await?;
        Ok(())
    }

    async fn health(&self) -> Health {
        self.0.send_replace(true);
        std::future::pending().await
    }
}

async fn a_check_keeps_no_finished_factory_going(world: impl World) -> Result {
    let clock = world.clock();
    let mut factory = Factory::root("demo", world);
    let hour = Duration::from_secs(3_600);
    factory.health_checks(HealthChecks { every: hour, timeout: hour });
    factory.provide(Finishing(watch::channel(false).0))?;
    let demo = factory.start().await?;
    let _health = demo.health();
    let report = clock.timeout(hour / 60, demo.join()).await.expect("it ends while it is asked");
    // It may end before `join` gives up the handle, and be said to be kept alive by that.
    assert!(report.is_clean(), "{report}");
    Ok(())
}

/// Blocks the thread on which it is asked, until it is released.
struct Blocking(Arc<AtomicBool>);

impl Daemon for Blocking {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn health(&self) -> Health {
        while !self.0.load(Ordering::Relaxed) {
            #[expect(clippy::disallowed_methods, reason = "a daemon that blocks on purpose")]
            std::thread::sleep(Duration::from_millis(1));
        }
        Health::Healthy
    }
}

/// Not in the sim, where one thread is all there is.
#[test]
fn a_check_that_blocks_its_thread_is_left_alone() {
    in_the_runtime(async |world| {
        let released = Arc::new(AtomicBool::new(false));
        let mut factory = Factory::root("demo", world);
        factory.health_checks(CHECKS);
        factory.provide(Blocking(released.clone()))?;
        let demo = factory.start().await?;
        let mut health = demo.health();
        let unresponsive = "demo: Blocking is unresponsive: did not answer within 50ms";
        // The other one may wait for the blocked thread, which tokio has given its task to.
        until(&mut health, |health| health.problems().iter().any(|problem| problem == unresponsive)).await;
        assert!(demo.status().await.is_some());
        released.store(true, Ordering::Relaxed);
        until(&mut health, |health| health.to_string() == "demo: ready").await;
        assert!(demo.stop().await.is_clean());
        Ok(())
    });
}

/// Its first run fails when it is told to.
struct FailingOnce {
    runs: AtomicU32,
    fail: watch::Receiver<bool>,
}

impl Daemon for FailingOnce {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        if self.runs.fetch_add(1, Ordering::Relaxed) == 0 {
            self.fail.clone().wait_for(|fail| *fail).await?;
            bail!("as told");
        }
        scope.stopping().await;
        Ok(())
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }
}

async fn a_failed_run_withholds_readiness_until_it_runs_again(world: impl World) -> Result {
    let (fail, told) = watch::channel(false);
    let mut factory = Factory::root("demo", world);
    factory.health_checks(CHECKS);
    let backoff = Backoff { first: SHORT, ..Backoff::default() };
    let on_failure = OnFailure::Restart(backoff);
    factory.policy::<FailingOnce>(Policy { on_failure, ..Policy::default() });
    factory.provide(FailingOnce { runs: AtomicU32::new(0), fail: told })?;
    let demo = factory.start().await?;
    let mut health = demo.health();
    health.ready().await?;
    fail.send_replace(true);
    let pausing = until(&mut health, |health| health.daemons[0].state == State::Pausing).await;
    assert_eq!(pausing.to_string(), "demo: not ready\n  demo: FailingOnce is pausing");
    assert!(pausing.is_live());
    let ready = health.ready().await?;
    assert_eq!(ready.daemons[0].health, Some(Health::Healthy), "asked again");
    demo.stop().await;
    Ok(())
}

async fn a_childs_health_counts_if_its_failures_do(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.health_checks(CHECKS);
    let demo = factory.start().await?;
    let mut health = demo.health();
    health.ready().await?;

    let mut plugin = demo.child("plugin")?;
    plugin.provide(answering(Health::failing("a bad plugin")).1)?;
    let plugin = plugin.start().await?;
    let shown = "demo: ready\n  demo/plugin: Answering is failing: a bad plugin";
    until(&mut health, |health| health.to_string() == shown).await;

    let mut core = demo.child("core")?;
    core.escalate();
    core.provide(answering(Health::failing("a bad core")).1)?;
    let core = core.start().await?;
    let bad = "demo/core: Answering is failing: a bad core";
    let counts = until(&mut health, |health| health.problems().iter().any(|problem| problem == bad)).await;
    assert!(!counts.is_ready());

    core.stop().await;
    plugin.stop().await;
    until(&mut health, |health| health.to_string() == "demo: ready").await;
    demo.stop().await;
    Ok(())
}

async fn a_late_child_is_asked_too(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.health_checks(CHECKS);
    let demo = factory.start().await?;
    let mut health = demo.health();
    let child = demo.child("child")?.start().await?;
    let mut grandchild = child.child("grandchild")?;
    grandchild.provide(answering(Health::degraded("old")).1)?;
    let grandchild = grandchild.start().await?;
    let shown = "demo: ready\n  demo/child/grandchild: Answering is degraded: old";
    until(&mut health, |health| health.to_string() == shown).await;
    drop((grandchild, child));
    demo.stop().await;
    Ok(())
}

async fn health_is_in_status_and_changes(world: impl World) -> Result {
    let (answer, daemon) = answering(Health::Healthy);
    let mut factory = Factory::root("demo", world);
    factory.health_checks(CHECKS);
    factory.provide(daemon)?;
    let demo = factory.start().await?;
    assert_eq!(demo.status().await.unwrap().daemons[0].health, None, "nobody has asked");
    let mut changes = demo.changes();
    let mut health = demo.health();
    health.ready().await?;
    answer.send_replace(Health::failing("no disk"));
    let change = loop {
        let change = changes.next().await.unwrap();
        if change.health == Some(Health::failing("no disk")) {
            break change;
        }
    };
    assert_eq!((change.daemon.as_deref(), change.state), (Some("Answering"), State::Running));
    let status = demo.status().await.unwrap();
    assert_eq!(status.daemons[0].health, Some(Health::failing("no disk")));
    assert!(status.to_string().ends_with(", failing: no disk"), "{status}");
    demo.stop().await;
    Ok(())
}

async fn nobody_is_asked_until_somebody_wants_to_know(world: impl World) -> Result {
    let (_answer, daemon) = answering(Health::Healthy);
    let asked = daemon.asked.clone();
    let mut factory = Factory::root("demo", world.clone());
    factory.health_checks(CHECKS);
    factory.provide(daemon)?;
    let demo = factory.start().await?;
    world.clock().sleep(SHORT).await;
    demo.status().await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    demo.health().ready().await?;
    assert_ne!(asked.load(Ordering::Relaxed), 0);
    demo.stop().await;
    Ok(())
}

async fn a_watch_ends_with_its_factory(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    let mut health = demo.health();
    health.ready().await?;
    demo.stop().await;
    while health.changed().await.is_some() {}
    assert_eq!(health.current().state, State::Ended);
    assert_eq!(health.ready().await.unwrap_err().to_string(), "demo is ended");
    Ok(())
}
