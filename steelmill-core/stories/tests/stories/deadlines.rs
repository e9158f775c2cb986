//! Deadlines: a future that exceeds one is aborted and reported, and not awaited.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Daemon, DeadlineExceeded, Deadlines, Factory, Phase, Policy, Result, Scope, World};

use crate::stories;
use crate::support::{Act, BRIEF, Journal, Part, SHORT, Script, assert_absent, assert_before, journal};

stories! {
    a_prepare_that_overstays_is_aborted_and_named
    a_run_that_overstays_is_aborted_and_named
    a_stop_that_overstays_is_aborted_and_named
    tasks_that_overstay_are_aborted_and_named
    the_others_are_stopped_with_time_of_their_own
    two_overstayers_use_up_all_time
    a_child_that_overstays_is_aborted_and_named
    a_child_with_its_parents_deadline_is_named_whoever_gives_up_first
    an_aborted_daemon_is_dropped_before_what_it_needs_stops
    what_is_ready_at_once_needs_no_time
    no_time_to_stop_aborts_what_is_not_ready_at_once
    one_daemon_may_have_less_time_to_prepare
    one_daemon_may_have_less_time_to_stop
}

const SHORTLY: Deadlines =
    Deadlines { prepare: Duration::from_secs(30), stop: BRIEF, rollback: Duration::from_secs(10) };

async fn a_prepare_that_overstays_is_aborted_and_named(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").prepare('b', Act::Hang);
    let error = script.factory(world, Deadlines { prepare: BRIEF, ..SHORTLY })?.start().await.unwrap_err();
    let report = error.report();
    assert_eq!(
        report.to_string(),
        "demo: 1 failure\n  demo: Part<'b'> failed to prepare: took longer than 500ms and was aborted"
    );
    assert_eq!(report.deadline_exceeded().count(), 1);
    let lines = lines.take();
    assert_absent(&lines, "b stops");
    assert_before(&lines, "a stop done", "b dropped");
    Ok(())
}

async fn a_run_that_overstays_is_aborted_and_named(world: impl World) -> Result {
    overstays(world, |script| script.run('b', Act::Hang), Phase::Run).await
}

async fn a_stop_that_overstays_is_aborted_and_named(world: impl World) -> Result {
    overstays(world, |script| script.stop('b', Act::Hang), Phase::Stop).await
}

async fn overstays<W: World>(world: W, hang: impl FnOnce(Script) -> Script, phase: Phase) -> Result {
    let (journal, mut lines) = journal();
    let script = hang(Script::new(&world, journal).part('a', "").part('b', "a"));
    let report = script.factory(world, SHORTLY)?.start().await?.stop().await;
    assert_eq!(
        report.to_string(),
        format!(
            "demo: 1 failure\n  demo: Part<'b'> failed to {phase}: took longer than 500ms and was aborted"
        )
    );
    assert_before(&lines.take(), "a stop done", "b dropped");
    Ok(())
}

struct Leaving;

impl Daemon for Leaving {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Leaving)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        for _ in 0..3 {
            scope.spawn("connection", pending::<()>());
        }
        scope.spawn("flush", pending::<()>());
        scope.spawn("done in time", async {});
        Ok(())
    }
}

async fn tasks_that_overstay_are_aborted_and_named(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.deadlines(SHORTLY);
    factory.with::<Leaving>()?;
    let report = factory.start().await?.stop().await;
    assert_eq!(
        report.to_string(),
        "demo: 2 failures\n  \
         demo: Leaving: task \"connection\" failed: 3 of them: took longer than 500ms and was aborted\n  \
         demo: Leaving: task \"flush\" failed: took longer than 500ms and was aborted"
    );
    assert_eq!(report.deadline_exceeded().count(), 2);
    assert!(report.failures().iter().all(|failure| failure.error.is::<DeadlineExceeded>()));
    Ok(())
}

async fn the_others_are_stopped_with_time_of_their_own(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a");
    let script = script.run('b', Act::Hang).stop('a', Act::Take(SHORT));
    let report = script.factory(world, SHORTLY)?.start().await?.stop().await;
    assert_eq!(report.failures().len(), 1, "{report}");
    assert_before(&lines.take(), "a stops", "a stop done");
    Ok(())
}

async fn two_overstayers_use_up_all_time(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").part('c', "b");
    let script = script.run('c', Act::Hang).run('b', Act::Hang);
    let report = script.factory(world, SHORTLY)?.start().await?.stop().await;
    assert_eq!(
        report.to_string(),
        "demo: 3 failures\n  demo: Part<'c'> failed to run: took longer than 500ms and was aborted\n  \
         demo: Part<'b'> failed to run: took longer than 500ms and was aborted\n  \
         demo: Part<'a'> failed to stop: was aborted without being told to stop: what depends on it had used up the time"
    );
    assert_absent(&lines.take(), "a stops");
    Ok(())
}

async fn a_child_that_overstays_is_aborted_and_named(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.deadlines(SHORTLY);
    let demo = factory.start().await?;
    let mut child = demo.child("slow")?;
    child.deadlines(Deadlines::default());
    child.with::<Leaving>()?;
    let child = child.start().await?;
    let ended = child.ended();
    drop(child);
    let report = demo.stop().await;
    assert_eq!(
        report.to_string(),
        "demo: 1 failure\n  demo: child demo/slow failed to stop: took longer than 500ms and was aborted"
    );
    assert_eq!(ended.await.deadline_exceeded().count(), 2);
    Ok(())
}

async fn a_child_with_its_parents_deadline_is_named_whoever_gives_up_first(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.deadlines(SHORTLY);
    let demo = factory.start().await?;
    let mut child = demo.child("slow")?;
    child.with::<Leaving>()?;
    let child = child.start().await?;
    // Its last handle would stop it when dropped, and that may be so long before its parent stops that it is done.
    let ended = child.ended();
    let report = demo.stop().await;
    assert_eq!(
        report.to_string(),
        "demo: 1 failure\n  demo: child demo/slow failed to stop: took longer than 500ms and was aborted"
    );
    assert_eq!(ended.await.deadline_exceeded().count(), 2);
    Ok(())
}

async fn an_aborted_daemon_is_dropped_before_what_it_needs_stops(world: impl World) -> Result {
    struct Guard(Arc<Journal>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.note("let go");
        }
    }
    /// Holds a value while it hangs.
    struct Holding(
        Arc<Journal>,
        #[expect(dead_code, reason = "needed")] Box<dyn std::any::Any + Send + Sync>,
    );
    impl Daemon for Holding {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Holding(factory.value()?, crate::support::get(factory, 'a')?))
        }
        async fn run(self: &Arc<Self>, _: &Scope) -> Result {
            let _guard = Guard(self.0.clone());
            pending().await
        }
    }
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal.clone()).part('a', "");
    let mut factory = script.factory(world, SHORTLY)?;
    factory.provide_value(journal)?;
    factory.with::<Holding>()?;
    let report = factory.start().await?.stop().await;
    assert!(report.retained().is_empty() && report.held() == 0, "{report}");
    assert_before(&lines.take(), "let go", "a stops");
    Ok(())
}

async fn what_is_ready_at_once_needs_no_time(world: impl World) -> Result {
    let (journal, _) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a");
    let deadlines = Deadlines { stop: Duration::MAX, ..Deadlines::default() };
    let report = script.factory(world, deadlines)?.start().await?.stop().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn no_time_to_stop_aborts_what_is_not_ready_at_once(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").run('a', Act::Hang);
    let deadlines = Deadlines { stop: Duration::ZERO, ..Deadlines::default() };
    let report = script.factory(world, deadlines)?.start().await?.stop().await;
    let failure = &report.failures()[0];
    assert_eq!(failure.to_string(), "demo: Part<'a'> failed to run: took longer than 0ns and was aborted");
    lines.until("a dropped").await;
    Ok(())
}

async fn one_daemon_may_have_less_time_to_prepare(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").part('c', "");
    let script = script.prepare('b', Act::Hang);
    let mut factory = script.factory(world, Deadlines::default())?;
    factory.policy::<Part<'b'>>(Policy { prepare: Some(SHORT), ..Policy::default() });
    let report = factory.start().await.unwrap_err().report().clone();
    assert_eq!(
        report.to_string(),
        "demo: 1 failure\n  demo: Part<'b'> failed to prepare: took longer than 50ms and was aborted"
    );
    assert_before(&lines.take(), "b prepares", "a stop done");
    Ok(())
}

async fn one_daemon_may_have_less_time_to_stop(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").part('c', "b");
    let script = script.stop('b', Act::Hang);
    let mut factory = script.factory(world, Deadlines::default())?;
    factory.policy::<Part<'b'>>(Policy { stop: Some(SHORT), ..Policy::default() });
    let report = factory.start().await?.stop().await;
    assert_eq!(
        report.to_string(),
        "demo: 1 failure\n  demo: Part<'b'> failed to stop: took longer than 50ms and was aborted"
    );
    assert_before(&lines.take(), "b stops", "a stop done");
    Ok(())
}
