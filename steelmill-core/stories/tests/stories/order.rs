//! The order in which daemons prepare, run and stop.

use std::sync::Arc;

use steelmill_core::{Daemon, DaemonRef, Deadlines, Factory, Result, Scope, SetOnce, World};
use tokio::sync::{Barrier, Notify};

use crate::stories;
use crate::support::{Act, Journal, Part, SHORT, Script, assert_before, journal};

stories! {
    dependencies_prepare_first_and_stop_last
    a_diamond_shares_its_tip
    independent_daemons_prepare_at_the_same_time
    run_starts_when_all_are_prepared
    a_daemon_whose_run_returned_can_still_be_called_and_is_stopped
    stop_runs_beside_run
    tasks_are_awaited_after_run_and_stop
    what_prepare_makes_is_kept_for_run
}

async fn dependencies_prepare_first_and_stop_last(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").part('c', "b");
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    let report = demo.stop().await;
    assert_eq!(report.to_string(), "demo: ended cleanly");
    let lines = lines.take();
    for (needed, by) in [("a", "b"), ("b", "c")] {
        assert_before(&lines, &format!("{needed} prepare done"), &format!("{by} prepares"));
        assert_before(&lines, &format!("{by} run done"), &format!("{needed} stops"));
        assert_before(&lines, &format!("{by} stop done"), &format!("{needed} stops"));
        assert_before(&lines, &format!("{by} dropped"), &format!("{needed} dropped"));
    }
    Ok(())
}

async fn a_diamond_shares_its_tip(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal);
    let script = script.part('a', "").part('b', "a").part('c', "a").part('d', "bc");
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    assert!(demo.stop().await.is_clean());
    let lines = lines.take();
    assert_eq!(lines.iter().filter(|line| *line == "a built in demo").count(), 1);
    assert_eq!(lines.iter().filter(|line| *line == "a prepares").count(), 1);
    assert_eq!(lines.iter().filter(|line| *line == "a stops").count(), 1);
    for middle in ["b", "c"] {
        assert_before(&lines, &format!("{middle} prepare done"), "d prepares");
        assert_before(&lines, "d stop done", &format!("{middle} stops"));
        assert_before(&lines, &format!("{middle} stop done"), "a stops");
    }
    Ok(())
}

async fn independent_daemons_prepare_at_the_same_time(world: impl World) -> Result {
    struct Left(Arc<Barrier>);
    struct Right(Arc<Barrier>);
    impl Daemon for Left {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Left(factory.value()?))
        }
        async fn prepare(&self, _: &Scope) -> Result {
            self.0.wait().await;
            Ok(())
        }
    }
    impl Daemon for Right {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Right(factory.value()?))
        }
        async fn prepare(&self, _: &Scope) -> Result {
            self.0.wait().await;
            Ok(())
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.provide_value(Barrier::new(2))?;
    factory.with::<Left>()?;
    factory.with::<Right>()?;
    factory.start().await?.stop().await;
    Ok(())
}

async fn run_starts_when_all_are_prepared(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "").part('c', "b");
    let script = script.prepare('c', Act::Take(SHORT));
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    demo.stop().await;
    let lines = lines.take();
    for part in ["a", "b", "c"] {
        assert_before(&lines, "c prepare done", &format!("{part} runs"));
    }
    Ok(())
}

async fn a_daemon_whose_run_returned_can_still_be_called_and_is_stopped(world: impl World) -> Result {
    struct Adder(Arc<Journal>);
    impl Daemon for Adder {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Adder(factory.value()?))
        }
        async fn run(self: &Arc<Self>, _: &Scope) -> Result {
            self.0.note("ran");
            Ok(())
        }
        async fn stop(&self, _: &Scope) -> Result {
            self.0.note("stopped");
            Ok(())
        }
    }
    impl Adder {
        fn add(&self, a: u32, b: u32) -> u32 {
            a + b
        }
    }
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.with::<Adder>()?;
    let demo = factory.start().await?;
    lines.until("ran").await;
    assert_eq!(demo.get::<Adder>()?.add(1, 2), 3);
    assert!(demo.stop().await.is_clean());
    assert_eq!(lines.take(), ["stopped"]);
    Ok(())
}

async fn stop_runs_beside_run(world: impl World) -> Result {
    /// Its run ends only after its stop has begun.
    struct Server(Notify);
    impl Daemon for Server {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Server(Notify::new()))
        }
        async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
            self.0.notified().await;
            assert!(scope.is_stopping());
            Ok(())
        }
        async fn stop(&self, _: &Scope) -> Result {
            self.0.notify_one();
            Ok(())
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.with::<Server>()?;
    let report = factory.start().await?.stop().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn tasks_are_awaited_after_run_and_stop(world: impl World) -> Result {
    /// Flushes its buffer in a task when the stop begins.
    struct Writer {
        journal: Arc<Journal>,
        needs: DaemonRef<Part<'a'>>,
    }
    impl Daemon for Writer {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Writer { journal: factory.value()?, needs: factory.get()? })
        }
        async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
            let daemon = self.clone();
            let task = scope.clone();
            scope.spawn("outer", async move {
                task.stopping().await;
                let journal = daemon.journal.clone();
                let needs = daemon.needs.share();
                task.spawn("inner", async move {
                    journal.note("written");
                    drop(needs);
                });
            });
            Ok(())
        }
        async fn stop(&self, _: &Scope) -> Result {
            Ok(())
        }
    }
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal.clone()).part('a', "");
    let mut factory = script.factory(world, Deadlines::default())?;
    factory.provide_value(journal)?;
    factory.with::<Writer>()?;
    let report = factory.start().await?.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    assert_before(&lines.take(), "written", "a stops");
    Ok(())
}

async fn what_prepare_makes_is_kept_for_run(world: impl World) -> Result {
    struct Port(SetOnce<u16>);
    impl Daemon for Port {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Port(SetOnce::new()))
        }
        async fn prepare(&self, _: &Scope) -> Result {
            assert!(self.0.get().unwrap_err().to_string().contains("not set yet"));
            self.0.set(6379)
        }
        async fn run(self: &Arc<Self>, _: &Scope) -> Result {
            assert_eq!(*self.0.get()?, 6379);
            Ok(())
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.with::<Port>()?;
    let demo = factory.start().await?;
    assert_eq!(*demo.get::<Port>()?.0.get()?, 6379);
    assert!(demo.get::<Port>()?.0.set(1).is_err());
    assert!(demo.stop().await.is_clean());
    Ok(())
}
