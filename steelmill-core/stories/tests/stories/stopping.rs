//! Requests to stop, from anywhere and repeated: there is one stop, with one report.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;

use anyhow::bail;
use futures::future::{join, poll_immediate, select};
use steelmill_core::{Clock, Daemon, Deadlines, Factory, Result, Scope, Spawn, StopRequested, Task, World};
use tokio::sync::Notify;

use crate::stories;
use crate::support::{Act, Journal, SHORT, Script, assert_absent, assert_before, journal};

stories! {
    stopping_twice_gives_one_report
    stopping_from_two_tasks_gives_one_report
    a_daemon_can_stop_its_own_factory
    a_stop_after_the_end_gives_the_same_report
    a_daemon_can_stop_its_factory_while_it_starts
    a_dropped_stop_future_does_not_cancel_the_stop
    a_dropped_start_future_rolls_back
    a_start_future_that_was_never_polled_does_nothing
    dropping_the_last_handle_stops_the_factory
    dropping_one_of_two_handles_does_not
    a_stopped_scope_says_so
    until_stopping_ends_a_loop_that_always_has_work
    an_ended_daemon_takes_no_tasks
    a_child_can_stop_its_parent
    who_joins_a_factory_keeps_it_alive_but_not_its_daemons
    a_dropped_join_drops_the_handle
}

fn parts(world: &impl World, journal: Journal) -> Script {
    Script::new(world, journal).part('a', "").part('b', "a")
}

async fn stopping_twice_gives_one_report(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let demo = parts(&world, journal).factory(world, Deadlines::default())?.start().await?;
    let (first, second) = join(demo.clone().stop(), demo.stop()).await;
    assert!(Arc::ptr_eq(&first, &second));
    let lines = lines.take();
    assert_eq!(lines.iter().filter(|line| *line == "b stops").count(), 1);
    Ok(())
}

async fn stopping_from_two_tasks_gives_one_report(world: impl World) -> Result {
    let (journal, _) = journal();
    let demo = parts(&world, journal).stop('b', Act::Take(SHORT));
    let demo = demo.factory(world.clone(), Deadlines::default())?.start().await?;
    let first = world.spawner().spawn("first", demo.clone().stop());
    let second = world.spawner().spawn("second", demo.clone().stop());
    let ended = demo.ended();
    drop(demo);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &ended.await));
    assert!(first.is_clean() && first.held() == 0, "{first}");
    Ok(())
}

/// Requests a stop in the phase given by the value.
struct Quitter(&'static str);

impl Daemon for Quitter {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Quitter(*factory.value::<&str>()?))
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        if self.0 == "prepare" {
            scope.request_stop();
            scope.request_stop();
            pending().await
        }
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.request_stop();
        scope.stopping().await;
        Ok(())
    }
}

async fn a_daemon_can_stop_its_own_factory(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.provide_value("run")?;
    factory.with::<Quitter>()?;
    let demo = factory.start().await?;
    let report = demo.ended().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn a_stop_after_the_end_gives_the_same_report(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    let first = demo.clone().stop().await;
    assert!(Arc::ptr_eq(&first, &demo.ended().await));
    assert!(Arc::ptr_eq(&first, &demo.stop().await));
    Ok(())
}

async fn a_daemon_can_stop_its_factory_while_it_starts(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let mut factory = parts(&world, journal).factory(world, Deadlines::default())?;
    factory.provide_value("prepare")?;
    factory.with::<Quitter>()?;
    let error = factory.start().await.unwrap_err();
    assert_eq!(error.to_string(), "demo did not start: demo: it was told to stop before it had started");
    assert!(error.report().failures()[0].error.is::<StopRequested>());
    assert_absent(&lines.take(), "a runs");
    Ok(())
}

async fn a_dropped_stop_future_does_not_cancel_the_stop(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let demo = parts(&world, journal).stop('b', Act::Take(SHORT));
    let demo = demo.factory(world, Deadlines::default())?.start().await?;
    let ended = demo.ended();
    assert!(poll_immediate(demo.stop()).await.is_none());
    let report = ended.await;
    assert!(report.is_clean() && report.held() == 0, "{report}");
    assert_before(&lines.take(), "b stop done", "a stop done");
    Ok(())
}

async fn a_dropped_start_future_rolls_back(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let factory = parts(&world, journal).prepare('b', Act::Hang).factory(world, Deadlines::default())?;
    {
        let start = pin!(factory.start());
        let reached = pin!(lines.until("b prepares"));
        select(start, reached).await;
    }
    let lines = lines.until("a dropped").await;
    assert_before(&lines, "a stop done", "b dropped");
    assert_absent(&lines, "b stops");
    Ok(())
}

async fn a_start_future_that_was_never_polled_does_nothing(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let factory = parts(&world, journal).factory(world, Deadlines::default())?;
    drop(factory.start());
    assert_eq!(lines.take(), ["a built in demo", "b built in demo", "b dropped", "a dropped"]);
    Ok(())
}

async fn dropping_the_last_handle_stops_the_factory(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let demo = parts(&world, journal).factory(world, Deadlines::default())?.start().await?;
    let ended = demo.ended();
    drop(demo);
    let report = ended.await;
    assert!(report.is_clean() && report.held() == 0, "{report}");
    assert_before(&lines.take(), "b stop done", "a stops");
    Ok(())
}

async fn dropping_one_of_two_handles_does_not(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let demo = parts(&world, journal).factory(world.clone(), Deadlines::default())?.start().await?;
    drop(demo.clone());
    world.clock().sleep(SHORT).await;
    assert_absent(&lines.take(), "b stops");
    demo.stop().await;
    Ok(())
}

struct Open(Arc<tokio::sync::mpsc::UnboundedSender<Scope>>);

impl Daemon for Open {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Open(factory.value()?))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.0.send(scope.clone())?;
        scope.stopping().await;
        Ok(())
    }
}

/// A running factory and the scope of a daemon in it.
pub(crate) async fn open(world: impl World) -> Result<(steelmill_core::RunningFactory, Scope)> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(sender)?;
    factory.with::<Open>()?;
    let demo = factory.start().await?;
    match receiver.recv().await {
        Some(scope) => Ok((demo, scope)),
        None => bail!("no scope came"),
    }
}

async fn a_stopped_scope_says_so(world: impl World) -> Result {
    let (demo, scope) = open(world).await?;
    assert_eq!((scope.path(), scope.daemon()), ("demo", "Open"));
    assert!(!scope.is_stopping());
    let report = demo.stop().await;
    assert!(report.is_clean() && report.held() == 0, "a scope holds nothing: {report}");
    assert!(scope.is_stopping());
    scope.stopping().await;
    let error = scope.child("late").map(drop).unwrap_err();
    assert_eq!(error.to_string(), "demo has ended: late cannot be made in it");
    Ok(())
}

async fn until_stopping_ends_a_loop_that_always_has_work(world: impl World) -> Result {
    let (demo, scope) = open(world).await?;
    assert_eq!(scope.until_stopping(async { 7 }).await, Some(7));
    let waiting = scope.until_stopping(pending::<()>());
    let report = demo.stop();
    assert_eq!(waiting.await, None);
    report.await;
    assert_eq!(scope.until_stopping(async { 7 }).await, None);
    Ok(())
}

async fn an_ended_daemon_takes_no_tasks(world: impl World) -> Result {
    let (demo, scope) = open(world.clone()).await?;
    demo.stop().await;
    let raised = Arc::new(Notify::new());
    let task = raised.clone();
    scope.spawn("late", async move { task.notify_one() });
    assert!(world.clock().timeout(SHORT, raised.notified()).await.is_err());
    assert_eq!(Arc::strong_count(&raised), 1, "the rejected task was dropped");
    Ok(())
}

fn _a_stop_can_move_to_another_task(demo: steelmill_core::RunningFactory) -> impl Future + Send + 'static {
    demo.stop()
}

/// Stops its creator's factory from inside a child.
struct Mutineer(Scope);

impl Daemon for Mutineer {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.0.request_stop();
        scope.stopping().await;
        Ok(())
    }
}

async fn a_child_can_stop_its_parent(world: impl World) -> Result {
    let (demo, scope) = open(world).await?;
    let mut child = demo.child("child")?;
    child.provide(Mutineer(scope))?;
    let child = child.start().await?;
    assert!(demo.join().await.is_clean());
    assert!(child.join().await.is_clean());
    Ok(())
}

async fn who_joins_a_factory_keeps_it_alive_but_not_its_daemons(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let demo = parts(&world, journal).factory(world.clone(), Deadlines::default())?.start().await?;
    let joined = world.spawner().spawn("join", demo.join());
    world.clock().sleep(SHORT).await;
    assert_absent(&lines.take(), "b stops");
    joined.abort();
    lines.until("a dropped").await;
    Ok(())
}

async fn a_dropped_join_drops_the_handle(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let demo = parts(&world, journal).factory(world, Deadlines::default())?.start().await?;
    let ended = demo.ended();
    drop(demo.join());
    let report = ended.await;
    assert!(report.is_clean() && report.held() == 0, "{report}");
    assert_before(&lines.take(), "b stop done", "a stops");
    Ok(())
}
