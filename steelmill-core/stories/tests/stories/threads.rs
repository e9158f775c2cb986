//! Only in the runtime world: blocked threads, and runtimes that are shut down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::poll_immediate;
use steelmill_core::{Abandoned, Daemon, Deadlines, Factory, Result, RunningFactory, Scope};
use steelmill_runtime::RuntimeWorld;
use tokio::runtime::{Builder, Runtime};

use crate::support::{Act, BRIEF, SHORT, Script, assert_before, in_the_runtime, journal};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap()
}

/// Blocks its thread in the phase given by the first value, until the second is set.
struct Blocking(&'static str, Arc<AtomicBool>);

impl Daemon for Blocking {
    fn build(factory: &mut Factory) -> Result<Self> {
        crate::support::with(factory, 'a')?;
        Ok(Blocking(*factory.value::<&str>()?, factory.value()?))
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.block("prepare");
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.block("run");
        let daemon = self.clone();
        scope.spawn("blocking", async move { daemon.block("task") });
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.block("stop");
        Ok(())
    }
}

impl Blocking {
    #[expect(clippy::disallowed_methods, reason = "blocking is what it is about")]
    fn block(&self, phase: &str) {
        while self.0 == phase && !self.1.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn blocked(phase: &'static str, expected: &str) {
    let expected = expected.to_owned();
    in_the_runtime(|world| async move {
        let (journal, mut lines) = journal();
        let script = Script::new(&world, journal).part('a', "");
        // The others are to take as long as a busy machine needs.
        let prepare = if phase == "prepare" { BRIEF } else { Deadlines::default().prepare };
        let deadlines = Deadlines { prepare, stop: BRIEF, rollback: BRIEF };
        let mut factory = script.factory(world, deadlines)?;
        factory.provide_value(phase)?;
        factory.provide_value(AtomicBool::new(false))?;
        let let_go = factory.value::<AtomicBool>()?;
        factory.with::<Blocking>()?;
        let report = match factory.start().await {
            Ok(demo) => demo.stop().await,
            Err(error) => error.report().clone(),
        };
        let_go.store(true, Ordering::Relaxed);
        assert_eq!(report.to_string(), expected);
        // Its dependency is stopped nevertheless.
        assert_before(&lines.take(), "a stops", "a stop done");
        Ok(())
    });
}

#[test]
fn a_prepare_that_blocks_its_thread_is_not_waited_for() {
    blocked(
        "prepare",
        "demo: 2 failures\n  demo: Blocking failed to prepare: took longer than 500ms and was aborted\n  \
         demo: Blocking failed to stop: did not end when it was aborted: it blocks its thread\n  \
         demo: Blocking is kept alive by 1 DaemonRef(s)",
    );
}

#[test]
fn a_run_that_blocks_its_thread_is_not_waited_for() {
    blocked(
        "run",
        "demo: 2 failures\n  demo: Blocking failed to run: took longer than 500ms and was aborted\n  \
         demo: Blocking failed to stop: did not end when it was aborted: it blocks its thread\n  \
         demo: Blocking is kept alive by 1 DaemonRef(s)",
    );
}

#[test]
fn a_task_that_blocks_its_thread_is_not_waited_for() {
    blocked(
        "task",
        "demo: 2 failures\n  demo: Blocking: task \"blocking\" failed: took longer than 500ms and was aborted\n  \
         demo: Blocking failed to stop: did not end when it was aborted: it blocks its thread\n  \
         demo: Blocking is kept alive by 1 DaemonRef(s)",
    );
}

/// Awaits work on a blocking thread, which retains the daemon, in a task.
struct Handing(Arc<AtomicBool>);

impl Daemon for Handing {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Handing(factory.value()?))
    }

    #[expect(clippy::disallowed_methods, reason = "blocking is what it is about")]
    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let daemon = self.clone();
        let block = move || {
            while !daemon.0.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        scope.spawn("blocking work", async move { Ok(tokio::task::spawn_blocking(block).await?) });
        Ok(())
    }
}

#[test]
fn a_blocking_thread_is_not_waited_for_and_what_it_keeps_is_named() {
    in_the_runtime(|world| async move {
        let mut factory = Factory::root("demo", world);
        factory.deadlines(Deadlines { stop: SHORT, ..Deadlines::default() });
        factory.provide_value(AtomicBool::new(false))?;
        let let_go = factory.value::<AtomicBool>()?;
        factory.with::<Handing>()?;
        let report = factory.start().await?.stop().await;
        let_go.store(true, Ordering::Relaxed);
        assert_eq!(
            report.to_string(),
            "demo: 1 failure\n  demo: Handing: task \"blocking work\" failed: took longer than 50ms and was aborted\n  \
             demo: Handing is kept alive by 1 DaemonRef(s)"
        );
        Ok(())
    });
}

async fn started() -> RunningFactory {
    let (journal, _) = journal();
    let script = Script::new(&RuntimeWorld, journal).part('a', "");
    script.factory(RuntimeWorld, Deadlines::default()).unwrap().start().await.unwrap()
}

#[test]
fn the_handle_that_stops_a_factory_does_not_count_as_held() {
    in_the_runtime(|world| async move {
        for _ in 0..2_000 {
            let demo = Factory::root("demo", world).start().await?;
            assert_eq!(demo.stop().await.held(), 0);
        }
        Ok(())
    });
}

#[test]
fn a_factory_whose_runtime_went_away_is_abandoned() {
    let first = runtime();
    let demo = first.block_on(started());
    let ended = demo.ended();
    first.shutdown_background();
    let report = runtime().block_on(ended);
    // The runtime's threads drop their tasks in any order: the supervisor's first, or the daemon's `run`.
    let first = report.failures()[0].to_string();
    if report.failures()[0].error.is::<Abandoned>() {
        assert_eq!(first, "demo: abandoned: its runtime or machine went away before it was stopped");
        assert_eq!(report.failures().len(), 1);
    } else {
        assert_eq!(first, "demo: Part<'a'> failed to run: its task was dropped by the runtime");
    }
    let report = runtime().block_on(demo.stop());
    assert!(!report.is_clean());
}

#[test]
fn a_start_whose_runtime_went_away_is_abandoned() {
    let (first, second) = (runtime(), runtime());
    let (journal, mut lines) = journal();
    let script = Script::new(&RuntimeWorld, journal).part('a', "").prepare('a', Act::Hang);
    let factory = script.factory(RuntimeWorld, Deadlines::default()).unwrap();
    let mut start = Box::pin(factory.start());
    first.block_on(async {
        assert!(poll_immediate(&mut start).await.is_none());
        lines.until("a prepares").await;
    });
    drop(first);
    let error = second.block_on(start).unwrap_err();
    assert!(error.report().failures()[0].error.is::<Abandoned>(), "{error}");
}

#[test]
fn children_of_a_factory_whose_runtime_went_away_stop() {
    let (first, second) = (runtime(), runtime());
    let demo = first.block_on(started());
    let child = demo.child("child").unwrap();
    let child = second.block_on(child.start()).unwrap();
    let ended = child.ended();
    first.shutdown_background();
    assert!(second.block_on(ended).is_clean());
}

#[test]
fn a_child_whose_runtime_went_away_does_not_hold_its_parent_up() {
    let (first, second) = (runtime(), runtime());
    let demo = first.block_on(started());
    let mut child = demo.child("child").unwrap();
    crate::support::with(&mut child, 'a').unwrap();
    let child = second.block_on(child.start()).unwrap();
    second.shutdown_background();
    let report = first.block_on(demo.stop());
    assert!(report.is_clean(), "{report}");
    drop(child);
}

#[test]
fn a_task_whose_runtime_went_away_does_not_hold_its_daemon_up() {
    let (first, second) = (runtime(), runtime());
    let (demo, scope) = first.block_on(crate::stopping::open(RuntimeWorld)).unwrap();
    second.block_on(async { scope.spawn("elsewhere", std::future::pending::<()>()) });
    drop(second);
    let report = first.block_on(demo.stop());
    assert!(report.is_clean(), "{report}");
}

/// A value whose destructor takes a while.
struct Slow;

impl Drop for Slow {
    #[expect(clippy::disallowed_methods, reason = "blocking is what it is about")]
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Its thread is blocked when it is woken, so it is polled elsewhere, and ends there, after its task was polled again.
#[test]
#[expect(clippy::disallowed_methods, reason = "a thread that is blocked, and the test waits")]
fn a_supervisor_that_ends_on_another_thread_leaves_no_task() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut factory = Factory::root("demo", RuntimeWorld);
        factory.provide_value(Slow).unwrap();
        let serving = factory.serve();
        // Kept to the end, so that nothing of the supervisor's own wakes its task.
        let remote = serving.remote();
        remote.status().await.unwrap();
        remote.request_stop();
        std::thread::sleep(Duration::from_millis(200));
        assert!(serving.await.unwrap().is_clean());
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..10_000 {
            if alive() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(alive(), 0, "{remote:?} has ended");
    });
}
