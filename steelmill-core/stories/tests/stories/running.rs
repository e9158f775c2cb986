//! Policies: what happens after a failed `run`; and escalation of a failed child.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake};
use std::time::Duration;

use anyhow::bail;
use steelmill_core::{
    Abandoned, Backoff, Daemon, DaemonRef, Deadlines, Factory, Policy, Result, RunningFactory, Scope, World,
};
use steelmill_sim::Campaign;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::stories;
use crate::support::{Act, Journal, Lines, Script, assert_absent, assert_before, journal, with};

stories! {
    a_daemon_runs_again_and_those_who_need_it_keep_their_refs
    its_tasks_and_children_end_before_it_runs_again
    a_panic_runs_again_too
    too_many_restarts_stop_the_factory
    each_run_has_a_scope_of_its_own
    whoever_hears_that_a_run_has_ended_finds_its_scope_closed
    a_task_that_does_not_end_is_named_and_the_daemon_runs_again
    a_daemon_left_down_can_still_be_called_and_is_stopped
    a_stop_while_it_pauses_ends_it
    a_failure_while_it_stops_is_a_failure
    a_child_that_escalates_stops_its_parent
    a_child_that_escalates_and_ends_well_does_not
    a_failed_stop_escalates_too
    a_task_of_prepare_ends_at_the_first_restart
}

/// With a backoff too short to matter.
const AT_ONCE: Backoff = Backoff {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(1),
    restarts: 3,
    window: Duration::from_secs(3600),
};

/// Its first `fails` runs fail.
struct Shaky {
    fails: u32,
    panics: bool,
    runs: AtomicU32,
    journal: Arc<Journal>,
}

struct Fails(u32);
struct Panics;

impl Daemon for Shaky {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Shaky {
            fails: factory.value::<Fails>()?.0,
            panics: factory.try_value::<Panics>().is_some(),
            runs: AtomicU32::new(0),
            journal: factory.value()?,
        })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        assert!(!scope.is_stopping());
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        self.journal.note(format!("run {run}"));
        let mut child = scope.child("inner")?;
        child.provide(Inner(self.journal.clone(), run))?;
        let child = child.start().await?;
        let (journal, inner) = (self.journal.clone(), scope.clone());
        scope.spawn("errand", async move {
            inner.stopping().await;
            journal.note(format!("task {run} ends"));
        });
        if run <= self.fails && self.panics {
            panic!("as told");
        }
        if run <= self.fails {
            bail!("as told");
        }
        self.journal.note("runs well");
        scope.stopping().await;
        drop(child);
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.journal.note("stops");
        Ok(())
    }
}

struct Inner(Arc<Journal>, u32);

impl Daemon for Inner {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.0.note(format!("child {} ends", self.1));
        Ok(())
    }
}

/// Depends on the failing daemon.
struct Relying(DaemonRef<Shaky>);

impl Daemon for Relying {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Relying(factory.get()?))
    }
}

fn factory(world: impl World, fails: u32, policy: Policy) -> Result<(Factory, Lines)> {
    let (journal, lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.provide_value(Fails(fails))?;
    factory.policy::<Shaky>(policy);
    Ok((factory, lines))
}

async fn shaky(world: impl World, fails: u32, policy: Policy) -> Result<(RunningFactory, Lines)> {
    let (mut factory, lines) = factory(world, fails, policy)?;
    factory.with::<Relying>()?;
    Ok((factory.start().await?, lines))
}

async fn a_daemon_runs_again_and_those_who_need_it_keep_their_refs(world: impl World) -> Result {
    let (demo, mut lines) = shaky(world, 2, Policy::restart(AT_ONCE)).await?;
    lines.until("runs well").await;
    assert_eq!(demo.get::<Relying>()?.0.runs.load(Ordering::Relaxed), 3);
    let report = demo.stop().await;
    assert!(report.is_clean(), "what was mended is no failure: {report}");
    assert_eq!(
        report.to_string(),
        "demo: ended cleanly\n  demo: Shaky ran again 2 time(s), the last time after: as told"
    );
    assert_eq!(lines.take().iter().filter(|line| *line == "stops").count(), 1);
    Ok(())
}

async fn its_tasks_and_children_end_before_it_runs_again(world: impl World) -> Result {
    let (demo, mut lines) = shaky(world, 1, Policy::restart(AT_ONCE)).await?;
    let lines = lines.until("runs well").await;
    assert_before(&lines, "run 1", "task 1 ends");
    assert_before(&lines, "task 1 ends", "run 2");
    assert_before(&lines, "child 1 ends", "run 2");
    assert_absent(&lines, "stops");
    demo.stop().await;
    Ok(())
}

async fn a_panic_runs_again_too(world: impl World) -> Result {
    let (mut factory, mut lines) = factory(world, 1, Policy::restart(AT_ONCE))?;
    factory.provide_value(Panics)?;
    factory.with::<Shaky>()?;
    let demo = factory.start().await?;
    lines.until("runs well").await;
    let report = demo.stop().await;
    assert_eq!(format!("{:#}", report.restarted()[0].last), "panicked: as told");
    Ok(())
}

async fn too_many_restarts_stop_the_factory(world: impl World) -> Result {
    let (demo, mut lines) = shaky(world, 9, Policy::restart(AT_ONCE)).await?;
    let report = demo.join().await;
    assert_eq!(
        report.failures()[0].to_string(),
        "demo: Shaky failed to run: after 3 restarts within 3600s, which is its limit: as told"
    );
    assert_eq!((report.failures().len(), report.restarted()[0].times), (1, 3), "{report}");
    let lines = lines.take();
    assert_before(&lines, "run 4", "stops");
    assert_absent(&lines, "run 5");
    Ok(())
}

/// Keeps the scope of its `prepare`, and exposes those of its runs.
struct Keeping(UnboundedSender<Scope>);

impl Daemon for Keeping {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.0.send(scope.clone())?;
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.0.send(scope.clone())?;
        bail!("as told")
    }
}

async fn each_run_has_a_scope_of_its_own(world: impl World) -> Result {
    let (sender, mut scopes) = tokio::sync::mpsc::unbounded_channel();
    let mut factory = Factory::root("demo", world);
    factory.policy::<Keeping>(Policy::restart(Backoff {
        first: Duration::MAX,
        longest: Duration::MAX,
        ..AT_ONCE
    }));
    factory.provide(Keeping(sender))?;
    let demo = factory.start().await?;
    let (prepare, run) = (scopes.recv().await.unwrap(), scopes.recv().await.unwrap());
    prepare.stopping().await;
    assert!(run.is_stopping(), "one and the same");
    run.spawn("refused", async {
        assert_eq!("refused", "run");
    });
    assert!(demo.stop().await.is_clean());
    Ok(())
}

/// Shows the scope of its run, and fails when told to.
struct FailsWhenTold(UnboundedSender<Scope>, Arc<Notify>);

impl Daemon for FailsWhenTold {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.0.send(scope.clone())?;
        self.1.notified().await;
        bail!("as told")
    }
}

/// Spawns a task at the very moment it is woken.
struct SpawnsWhenWoken(Scope, UnboundedSender<()>);

impl Wake for SpawnsWhenWoken {
    fn wake(self: Arc<Self>) {
        let ran = self.1.clone();
        self.0.spawn("late", async move { Ok(ran.send(())?) });
    }
}

async fn whoever_hears_that_a_run_has_ended_finds_its_scope_closed(world: impl World) -> Result {
    let (sender, mut scopes) = tokio::sync::mpsc::unbounded_channel();
    let fail = Arc::new(Notify::new());
    let mut factory = Factory::root("demo", world);
    factory.policy::<FailsWhenTold>(Policy::leave_down());
    factory.provide(FailsWhenTold(sender, fail.clone()))?;
    let demo = factory.start().await?;
    let scope = scopes.recv().await.unwrap();
    let (ran, mut late) = tokio::sync::mpsc::unbounded_channel();
    let waker = Arc::new(SpawnsWhenWoken(scope.clone(), ran)).into();
    let mut stopping = pin!(scope.stopping());
    assert!(stopping.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    fail.notify_one();
    scope.clone().stopping().await;
    assert_eq!(demo.stop().await.failures().len(), 1);
    assert!(late.try_recv().is_err(), "a task was admitted after the end of its daemon");
    Ok(())
}

/// Has a task that does not heed the stop, in its first run.
struct Leaving(AtomicU32, Arc<Journal>);

impl Daemon for Leaving {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Leaving(AtomicU32::new(0), factory.value()?))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            scope.spawn("endless", std::future::pending::<()>());
            bail!("as told");
        }
        self.1.note("runs well");
        Ok(())
    }
}

async fn a_task_that_does_not_end_is_named_and_the_daemon_runs_again(world: impl World) -> Result {
    let (mut factory, mut lines) = factory(world, 0, Policy::default())?;
    let stop = Some(crate::support::SHORT);
    factory.policy::<Leaving>(Policy { stop, ..Policy::restart(AT_ONCE) });
    factory.with::<Leaving>()?;
    factory.remain_when_finished();
    let demo = factory.start().await?;
    lines.until("runs well").await;
    assert_eq!(
        demo.stop().await.to_string(),
        "demo: 1 failure\n  demo: Leaving: task \"endless\" failed: took longer than 50ms and was aborted\n  \
         demo: Leaving ran again 1 time(s), the last time after: as told"
    );
    Ok(())
}

async fn a_daemon_left_down_can_still_be_called_and_is_stopped(world: impl World) -> Result {
    let (demo, mut lines) = shaky(world, 9, Policy::leave_down()).await?;
    let so_far = lines.until("task 1 ends").await;
    assert_before(&so_far, "child 1 ends", "task 1 ends");
    assert_eq!(demo.get::<Shaky>()?.runs.load(Ordering::Relaxed), 1);
    let report = demo.stop().await;
    assert_eq!(report.to_string(), "demo: 1 failure\n  demo: Shaky failed to run: as told");
    assert_eq!(lines.take(), ["stops"]);
    Ok(())
}

async fn a_stop_while_it_pauses_ends_it(world: impl World) -> Result {
    let forever = Backoff { first: Duration::MAX, longest: Duration::MAX, ..AT_ONCE };
    let (demo, mut lines) = shaky(world, 9, Policy::restart(forever)).await?;
    lines.until("task 1 ends").await;
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(lines.take(), ["stops"]);
    Ok(())
}

async fn a_failure_while_it_stops_is_a_failure(world: impl World) -> Result {
    let (journal, _) = journal();
    let script = Script::new(&world, journal).part('a', "").run('a', Act::FailAtStop);
    let mut factory = script.factory(world, Deadlines::default())?;
    factory.policy::<crate::support::Part<'a'>>(Policy::restart(AT_ONCE));
    let report = factory.start().await?.stop().await;
    assert_eq!(report.to_string(), "demo: 1 failure\n  demo: Part<'a'> failed to run: as told");
    Ok(())
}

/// A factory with an escalating child, whose part acts like this.
async fn escalating<W: World>(
    world: W,
    act: impl FnOnce(Script) -> Script,
) -> Result<(RunningFactory, RunningFactory)> {
    let (journal, _) = journal();
    let script = Script::new(&world, journal.clone()).part('a', "");
    let demo = script.factory(world.clone(), Deadlines::default())?.start().await?;
    let mut child = demo.child("plugin")?;
    child.escalate();
    child.provide_value(act(Script::new(&world, journal).part('x', "")))?;
    with(&mut child, 'x')?;
    let child = child.start().await?;
    Ok((demo, child))
}

async fn a_child_that_escalates_stops_its_parent(world: impl World) -> Result {
    let (demo, child) = escalating(world, |script| script.run('x', Act::Fail)).await?;
    let report = demo.join().await;
    // Not the whole text: the parent may end before `join` lets go of its handle, which is then in the report.
    let failures: Vec<_> = report.failures().iter().map(ToString::to_string).collect();
    assert_eq!(
        failures,
        ["demo: child demo/plugin failed to run: demo/plugin: Part<'x'> failed to run: as told"]
    );
    assert_eq!(child.join().await.failures().len(), 1);
    Ok(())
}

async fn a_child_that_escalates_and_ends_well_does_not(world: impl World) -> Result {
    let (demo, child) = escalating(world, |script| script).await?;
    assert!(child.stop().await.is_clean());
    assert!(demo.child("another").is_ok());
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn a_failed_stop_escalates_too(world: impl World) -> Result {
    let (demo, child) = escalating(world, |script| script.stop('x', Act::Panic)).await?;
    child.stop().await;
    let report = demo.join().await;
    assert_eq!(
        report.failures()[0].to_string(),
        "demo: child demo/plugin failed to run: demo/plugin: Part<'x'> failed to stop: panicked: as told"
    );
    Ok(())
}

#[test]
fn a_child_that_escalates_and_loses_its_machine_stops_its_parent() {
    Campaign::new(|sim: steelmill_sim::Sim| async move {
        let machine = sim.client("elsewhere");
        let demo = Factory::root("demo", sim.world()).start().await?;
        let mut child = demo.child_in("remote", machine.world())?;
        child.escalate();
        let child = child.start().await?;
        machine.power_loss();
        let report = demo.join().await;
        assert_eq!(report.failures().len(), 1, "{report}");
        assert_eq!(report.failures()[0].daemon, "child demo/remote");
        assert!(child.join().await.failures()[0].error.is::<Abandoned>());
        Ok(())
    })
    .seeds(10)
    .check();
}

#[test]
fn the_pause_doubles_and_is_drawn_from_the_worlds_entropy() {
    struct Timed(UnboundedSender<Duration>, steelmill_sim::Sim);

    impl Daemon for Timed {
        fn build(_: &mut Factory) -> Result<Self> {
            bail!("it is provided")
        }

        async fn run(self: &Arc<Self>, _: &Scope) -> Result {
            self.0.send(self.1.elapsed())?;
            bail!("as told")
        }
    }

    let (shared, pauses) = std::sync::mpsc::channel();
    Campaign::new(move |sim: steelmill_sim::Sim| {
        let shared = shared.clone();
        async move {
            let (sender, mut times) = tokio::sync::mpsc::unbounded_channel();
            let mut factory = Factory::root("demo", sim.world());
            factory.policy::<Timed>(Policy::restart(Backoff {
                first: Duration::from_secs(1),
                longest: Duration::from_secs(4),
                restarts: 4,
                window: Duration::from_secs(60),
            }));
            factory.provide(Timed(sender, sim))?;
            factory.start().await?.join().await;
            let mut last = times.recv().await.unwrap();
            for longest in [1, 2, 4, 4].map(Duration::from_secs) {
                let next = times.recv().await.unwrap();
                let pause = next - last;
                assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
                shared.send(pause)?;
                last = next;
            }
            assert_eq!(times.recv().await, None, "the fifth failure was one too many");
            Ok(())
        }
    })
    .seeds(5)
    .check();
    let mut all: Vec<_> = pauses.try_iter().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20, "no two pauses are the same");
}

/// Has a task of its preparation, and fails its first run.
struct Warming {
    runs: AtomicU32,
    journal: Arc<Journal>,
}

impl Daemon for Warming {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Warming { runs: AtomicU32::new(0), journal: factory.value()? })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        let (inner, journal) = (scope.clone(), self.journal.clone());
        scope.spawn("warming", async move {
            inner.stopping().await;
            journal.note("the task of its preparation ends");
        });
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        self.journal.note(format!("run {run}"));
        if run == 1 {
            bail!("as told");
        }
        scope.stopping().await;
        Ok(())
    }
}

async fn a_task_of_prepare_ends_at_the_first_restart(world: impl World) -> Result {
    let (mut factory, mut lines) = factory(world, 0, Policy::default())?;
    factory.policy::<Warming>(Policy::restart(AT_ONCE));
    factory.with::<Warming>()?;
    let demo = factory.start().await?;
    for expected in ["run 1", "the task of its preparation ends", "run 2"] {
        assert_eq!(lines.next().await, expected);
    }
    assert!(demo.stop().await.is_clean());
    Ok(())
}
