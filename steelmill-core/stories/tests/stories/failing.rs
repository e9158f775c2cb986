//! Failures, and how they are reported.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use steelmill_core::{
    Daemon, Deadlines, Error, Factory, Panic, Phase, Result, Scope, TASK_FAILURES_LISTED, World,
};
use tokio::sync::Notify;

use crate::stories;
use crate::support::{Act, BRIEF, SHORT, Script, assert_absent, assert_before, journal};

stories! {
    a_failed_prepare_rolls_back_in_reverse
    a_rollback_has_a_deadline_of_its_own
    a_panic_in_prepare_is_a_failed_start
    a_prepare_under_way_is_dropped_when_another_fails
    a_failed_run_stops_the_factory
    a_panic_in_run_stops_the_factory
    a_failed_stop_is_reported_and_the_others_still_stop
    a_panic_in_stop_is_reported_and_the_others_still_stop
    a_panic_in_drop_is_reported
    all_failures_are_reported_the_first_one_first
    a_failure_keeps_its_source
    a_failing_task_is_reported_and_its_daemon_goes_on
    a_report_lists_the_first_tasks_that_failed_and_counts_the_others
}

async fn a_failed_prepare_rolls_back_in_reverse(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").part('c', "b").part('d', "c");
    let script = script.prepare('c', Act::Fail);
    let error = script.factory(world, Deadlines::default())?.start().await.unwrap_err();
    assert_eq!(error.to_string(), "demo did not start: demo: Part<'c'> failed to prepare: as told");
    let lines = lines.take();
    assert_before(&lines, "b stop done", "a stops");
    for never in ["a runs", "c stops", "d prepares", "d stops"] {
        assert_absent(&lines, never);
    }
    assert_before(&lines, "d dropped", "c dropped");
    assert_before(&lines, "c dropped", "b dropped");
    assert_before(&lines, "b dropped", "a dropped");
    Ok(())
}

async fn a_rollback_has_a_deadline_of_its_own(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a");
    let script = script.stop('a', Act::Take(SHORT)).prepare('b', Act::Hang);
    let deadlines = Deadlines { prepare: BRIEF, stop: SHORT / 10, ..Deadlines::default() };
    let error = script.factory(world, deadlines)?.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo did not start: demo: Part<'b'> failed to prepare: took longer than 500ms and was aborted"
    );
    assert_before(&lines.take(), "a stops", "a stop done");
    Ok(())
}

async fn a_panic_in_prepare_is_a_failed_start(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").prepare('b', Act::Panic);
    let error = script.factory(world, Deadlines::default())?.start().await.unwrap_err();
    let [failure] = error.report().failures() else { panic!("{error}") };
    assert_eq!(failure.to_string(), "demo: Part<'b'> failed to prepare: panicked: as told");
    assert!(failure.error.is::<Panic>());
    assert_before(&lines.take(), "a stops", "a stop done");
    Ok(())
}

async fn a_prepare_under_way_is_dropped_when_another_fails(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "").part('c', "b");
    let script = script.prepare('a', Act::Hang).prepare('c', Act::Fail);
    let error = script.factory(world, Deadlines::default())?.start().await.unwrap_err();
    assert_eq!(error.report().failures().len(), 1, "{}", error.report());
    let lines = lines.take();
    assert_absent(&lines, "a stops");
    assert_before(&lines, "b stops", "b stop done");
    Ok(())
}

async fn a_failed_run_stops_the_factory(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").part('c', "b");
    let script = script.run('b', Act::Fail);
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    let report = demo.ended().await;
    assert_eq!(
        report.to_string(),
        "demo: 1 failure\n  demo: Part<'b'> failed to run: as told\n  \
         demo: its daemons are kept alive by 1 handle(s) or children being assembled"
    );
    let lines = lines.take();
    for (first, then) in [("c", "b"), ("b", "a")] {
        assert_before(&lines, &format!("{first} stop done"), &format!("{then} stops"));
    }
    Ok(())
}

async fn a_panic_in_run_stops_the_factory(world: impl World) -> Result {
    let (journal, _) = journal();
    let script = Script::new(&world, journal).part('a', "").run('a', Act::Panic);
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    let report = demo.stop().await;
    let [failure] = report.failures() else { panic!("{report}") };
    assert_eq!(failure.to_string(), "demo: Part<'a'> failed to run: panicked: as told");
    Ok(())
}

async fn a_failed_stop_is_reported_and_the_others_still_stop(world: impl World) -> Result {
    others_still_stop(world, Act::Fail, "as told").await
}

async fn a_panic_in_stop_is_reported_and_the_others_still_stop(world: impl World) -> Result {
    others_still_stop(world, Act::Panic, "panicked: as told").await
}

async fn others_still_stop(world: impl World, act: Act, error: &str) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").stop('b', act);
    let report = script.factory(world, Deadlines::default())?.start().await?.stop().await;
    assert_eq!(report.to_string(), format!("demo: 1 failure\n  demo: Part<'b'> failed to stop: {error}"));
    assert_before(&lines.take(), "b run done", "a stop done");
    Ok(())
}

async fn a_panic_in_drop_is_reported(world: impl World) -> Result {
    struct Fragile;
    impl Daemon for Fragile {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Fragile)
        }
    }
    impl Drop for Fragile {
        fn drop(&mut self) {
            panic!("broken");
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.with::<Fragile>()?;
    let report = factory.start().await?.stop().await;
    assert_eq!(
        report.to_string(),
        "demo: 1 failure\n  demo: Fragile failed to stop: while it was dropped: panicked: broken"
    );
    Ok(())
}

async fn all_failures_are_reported_the_first_one_first(world: impl World) -> Result {
    let (journal, _) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").part('c', "b");
    let script = script.stop('a', Act::Fail).run('b', Act::Fail).run('c', Act::FailAtStop);
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    let report = demo.ended().await;
    let failures: Vec<_> =
        report.failures().iter().map(|failure| (&*failure.daemon, failure.phase)).collect();
    assert_eq!(failures, [("Part<'b'>", Phase::Run), ("Part<'c'>", Phase::Run), ("Part<'a'>", Phase::Stop)]);
    assert!(report.failures().iter().all(|failure| failure.factory == "demo"));
    Ok(())
}

async fn a_failure_keeps_its_source(world: impl World) -> Result {
    struct Server;
    impl Daemon for Server {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Server)
        }
        async fn prepare(&self, _: &Scope) -> Result {
            Err(io::Error::from(io::ErrorKind::AddrInUse)).context("listening on port 1")
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.with::<Server>()?;
    let error = factory.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo did not start: demo: Server failed to prepare: listening on port 1: address in use"
    );
    let source = error.report().failures()[0].error.root_cause().downcast_ref::<io::Error>();
    assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::AddrInUse));
    Ok(())
}

/// Spawns tasks that end in every way, and records that it has.
struct Spawning(Arc<Notify>);

impl Daemon for Spawning {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Spawning(factory.value()?))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.spawn("fine", async {});
        scope.spawn("also fine", async { Ok::<(), Error>(()) });
        scope.spawn("failing", async {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(())
        });
        scope.spawn("panicking", panic_at_stop(scope.clone(), self.0.clone()));
        Ok(())
    }
}

async fn panic_at_stop(scope: Scope, stopping: Arc<Notify>) {
    stopping.notify_one();
    scope.stopping().await;
    panic!("as told");
}

async fn a_failing_task_is_reported_and_its_daemon_goes_on(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.provide_value(Notify::new())?;
    factory.with::<Spawning>()?;
    let demo = factory.start().await?;
    let stopping = demo.value::<Notify>()?.clone();
    stopping.notified().await;
    assert!(demo.get::<Spawning>().is_ok());
    let report = demo.stop().await;
    let mut failures: Vec<_> = report.failures().iter().map(ToString::to_string).collect();
    failures.sort();
    assert_eq!(
        failures,
        [
            "demo: Spawning: task \"failing\" failed: broken pipe",
            "demo: Spawning: task \"panicking\" failed: panicked: as told"
        ]
    );
    assert!(report.failures().iter().all(|failure| failure.phase == Phase::Task));
    Ok(())
}

async fn a_report_lists_the_first_tasks_that_failed_and_counts_the_others(world: impl World) -> Result {
    struct Unlucky;
    impl Daemon for Unlucky {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Unlucky)
        }
        async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
            for _ in 0..TASK_FAILURES_LISTED + 7 {
                scope.spawn("unlucky", async { Err(anyhow::anyhow!("bad luck")) });
            }
            Ok(())
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.with::<Unlucky>()?;
    factory.remain_when_finished();
    let report = factory.start().await?.stop().await;
    assert_eq!(report.failures().len(), TASK_FAILURES_LISTED);
    assert_eq!(report.unlisted(), 7);
    assert!(report.to_string().ends_with("\n  demo: 7 more tasks failed (see the log)"), "{report}");
    Ok(())
}
