//! Child factories: a child depends on its creator and on everything it shares.

use std::sync::Arc;

use futures::future::join_all;
use steelmill_core::{
    DEPTH_MAX, Daemon, DaemonRef, Deadlines, Factory, Result, RunningFactory, Scope, SetOnce, World,
};
use tokio::sync::Notify;

use crate::stories;
use crate::support::{Act, BRIEF, Journal, Part, SHORT, Script, assert_before, get, journal, with};

stories! {
    a_child_stops_before_what_it_shares
    a_child_stops_before_its_maker
    a_grandchild_stops_before_what_it_shares_with_its_grandparent
    a_child_that_shares_nothing_is_waited_for
    a_child_can_end_alone
    a_failed_child_leaves_its_parent_alone
    a_child_that_fails_to_start_leaves_its_parent_alone
    no_child_is_made_in_a_stopping_factory
    no_child_is_started_in_a_stopping_factory
    no_child_is_started_in_an_ended_factory
    children_of_children_stop_first
    nesting_has_a_limit
    a_thousand_children_leave_nothing
    a_child_takes_its_parents_deadlines
    a_child_made_in_prepare_waits_for_what_it_shares
}

async fn demo(
    world: impl World,
    script: impl FnOnce(Script) -> Script,
) -> Result<(RunningFactory, crate::support::Lines)> {
    let (journal, lines) = journal();
    let script = script(Script::new(&world, journal));
    Ok((script.factory(world, Deadlines::default())?.start().await?, lines))
}

/// A daemon of a child: gets its dependency, the part called `NAME`, and records its stop.
struct Leaf {
    journal: Arc<Journal>,
    #[expect(dead_code, reason = "needed")]
    needs: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Daemon for Leaf {
    fn build(factory: &mut Factory) -> Result<Self> {
        let need = factory.try_value::<char>();
        Ok(Leaf { journal: factory.value()?, needs: need.map(|need| get(factory, *need)).transpose()? })
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.journal.note("leaf stop done");
        Ok(())
    }
}

/// Adds a leaf that depends on this part to a factory.
fn leaf(factory: &mut Factory, journal: &Journal, need: Option<char>) -> Result {
    factory.provide_value(journal.clone())?;
    if let Some(need) = need {
        factory.provide_value(need)?;
    }
    factory.with::<Leaf>()
}

async fn a_child_stops_before_what_it_shares(world: impl World) -> Result {
    let (journal, _lines) = journal();
    let (demo, mut lines) = demo(world, |script| script.part('a', "").part('b', "a")).await?;
    drop(journal);
    let journal = demo_journal(&demo)?;
    let mut child = demo.child("child")?;
    leaf(&mut child, &journal, Some('b'))?;
    let child = child.start().await?;
    let ended = child.ended();
    drop(child);
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty() && report.held() == 0, "{report}");
    assert!(ended.await.is_clean());
    let lines = lines.take();
    assert_before(&lines, "leaf stop done", "b stops");
    assert_before(&lines, "b stop done", "a stops");
    Ok(())
}

fn demo_journal(demo: &RunningFactory) -> Result<Journal> {
    Ok(demo.value::<Script>()?.journal())
}

/// Creates a child in its run, and keeps the handle.
struct Maker {
    journal: Arc<Journal>,
    child: SetOnce<RunningFactory>,
    made: Arc<Notify>,
}

impl Daemon for Maker {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Maker { journal: factory.value()?, child: SetOnce::new(), made: factory.value()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let mut child = scope.child("child")?;
        leaf(&mut child, &self.journal, None)?;
        self.child.set(child.start().await?)?;
        self.made.notify_one();
        scope.stopping().await;
        self.journal.note("maker told");
        Ok(())
    }
}

struct User {
    journal: Arc<Journal>,
    maker: DaemonRef<Maker>,
}

impl Daemon for User {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(User { journal: factory.value()?, maker: factory.get()? })
    }

    async fn stop(&self, _: &Scope) -> Result {
        assert!(self.maker.child.get()?.get::<Leaf>().is_ok());
        self.journal.note("user stop done");
        Ok(())
    }
}

async fn a_child_stops_before_its_maker(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.provide_value(Notify::new())?;
    factory.with::<User>()?;
    let demo = factory.start().await?;
    demo.value::<Notify>()?.clone().notified().await;
    assert_eq!(demo.get::<Maker>()?.child.get()?.path(), "demo/child");
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty() && report.held() == 0, "{report}");
    assert_eq!(lines.take(), ["user stop done", "leaf stop done", "maker told"]);
    Ok(())
}

async fn a_grandchild_stops_before_what_it_shares_with_its_grandparent(world: impl World) -> Result {
    let (demo, mut lines) = demo(world, |script| script.part('a', "").part('b', "")).await?;
    let journal = demo_journal(&demo)?;
    let middle = demo.child("middle")?.start().await?;
    let mut child = middle.child("child")?;
    leaf(&mut child, &journal, Some('a'))?;
    let child = child.start().await?;
    // `demo` waits for the grandchild although no other part of `middle` uses `a`.
    let ends = [child.ended(), middle.ended()];
    drop((child, middle));
    let report = demo.stop().await;
    assert!(report.is_clean() && report.held() == 0, "{report}");
    assert!(join_all(ends).await.iter().all(|report| report.is_clean()));
    assert_before(&lines.take(), "leaf stop done", "a stops");
    Ok(())
}

async fn a_child_that_shares_nothing_is_waited_for(world: impl World) -> Result {
    let demo = Factory::root("demo", world.clone()).start().await?;
    let (journal, mut lines) = journal();
    let mut child = demo.child("child")?;
    child.provide_value(Script::new(&world, journal).part('a', "").stop('a', Act::Take(SHORT)))?;
    with(&mut child, 'a')?;
    let child = child.start().await?;
    demo.stop().await;
    assert_before(&lines.take(), "a stops", "a stop done");
    assert!(child.stop().await.is_clean());
    Ok(())
}

async fn a_child_can_end_alone(world: impl World) -> Result {
    let (demo, mut lines) = demo(world, |script| script.part('a', "")).await?;
    let mut child = demo.child("child")?;
    with(&mut child, 'a')?;
    let child = child.start().await?;
    assert!(child.stop().await.is_clean());
    assert!(lines.take().iter().all(|line| line != "a stops"));
    assert!(demo.get::<Part<'a'>>().is_ok());
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn a_failed_child_leaves_its_parent_alone(world: impl World) -> Result {
    let (demo, mut lines) = demo(world.clone(), |script| script.part('a', "")).await?;
    let (journal, _) = journal();
    let mut child = demo.child("child")?;
    child.provide_value(Script::new(&world, journal).part('x', "").run('x', Act::Fail))?;
    with(&mut child, 'x')?;
    let child = child.start().await?;
    let report = child.ended().await;
    assert_eq!(report.failures()[0].to_string(), "demo/child: Part<'x'> failed to run: as told");
    assert!(lines.take().iter().all(|line| line != "a stops"));
    drop(child);
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn a_child_that_fails_to_start_leaves_its_parent_alone(world: impl World) -> Result {
    let (demo, _) = demo(world.clone(), |script| script.part('a', "")).await?;
    let (journal, _) = journal();
    let mut child = demo.child("child")?;
    child.provide_value(Script::new(&world, journal).part('x', "").prepare('x', Act::Fail))?;
    with(&mut child, 'x')?;
    let error = child.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/child did not start: demo/child: Part<'x'> failed to prepare: as told"
    );
    let report = demo.stop().await;
    assert!(report.is_clean() && report.held() == 0, "{report}");
    Ok(())
}

async fn no_child_is_made_in_a_stopping_factory(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    demo.request_stop();
    let error = demo.child("late").map(drop).unwrap_err();
    assert_eq!(error.to_string(), "demo is stopping: late cannot be made in it");
    demo.stop().await;
    Ok(())
}

async fn no_child_is_started_in_a_stopping_factory(world: impl World) -> Result {
    let (demo, mut lines) = demo(world, |script| script.part('a', "").stop('a', Act::Take(SHORT))).await?;
    let late = demo.child("late")?;
    let ended = demo.stop();
    lines.until("a stops").await;
    let error = late.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/late did not start: demo/late: demo is stopping: nothing can be started in it any more"
    );
    ended.await;
    Ok(())
}

async fn no_child_is_started_in_an_ended_factory(world: impl World) -> Result {
    let (demo, _) = demo(world, |script| script.part('a', "")).await?;
    let mut late = demo.child("late")?;
    with(&mut late, 'a')?;
    let report = demo.stop().await;
    assert_eq!(report.held(), 1, "{report}");
    let error = late.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/late did not start: demo/late: demo has ended: nothing can be started in it any more"
    );
    Ok(())
}

struct Level<const LEVEL: usize>(Arc<Journal>);

impl<const LEVEL: usize> Daemon for Level<LEVEL> {
    fn build(factory: &mut Factory) -> Result<Self> {
        match LEVEL {
            1 => factory.with::<Level<0>>()?,
            2 => factory.with::<Level<1>>()?,
            3 => factory.with::<Level<2>>()?,
            _ => {}
        }
        Ok(Level(factory.value()?))
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.0.note(format!("level {LEVEL} stops"));
        Ok(())
    }
}

async fn children_of_children_stop_first(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.with::<Level<0>>()?;
    let demo = factory.start().await?;
    let mut factory = demo.child("1")?;
    factory.with::<Level<1>>()?;
    let one = factory.start().await?;
    let mut factory = one.child("2")?;
    factory.with::<Level<2>>()?;
    let two = factory.start().await?;
    let mut factory = two.child("3")?;
    factory.with::<Level<3>>()?;
    let three = factory.start().await?;
    assert_eq!(three.path(), "demo/1/2/3");
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(lines.take(), ["level 3 stops", "level 2 stops", "level 1 stops", "level 0 stops"]);
    Ok(())
}

async fn nesting_has_a_limit(world: impl World) -> Result {
    let mut nested = vec![Factory::root("demo", world).start().await?];
    for depth in 0..DEPTH_MAX {
        let child = nested[depth].child("n")?.start().await?;
        nested.push(child);
    }
    let error = nested[DEPTH_MAX].child("n").map(drop).unwrap_err().to_string();
    assert!(
        error.ends_with("/n is nested 128 factories deep, which is the limit: n cannot be made in it"),
        "{error}"
    );
    let ended = nested[DEPTH_MAX].ended();
    assert!(nested.swap_remove(0).stop().await.is_clean());
    assert!(ended.await.is_clean());
    Ok(())
}

async fn a_thousand_children_leave_nothing(world: impl World) -> Result {
    let (demo, _) = demo(world, |script| script.part('a', "")).await?;
    let start = |number: usize| {
        let demo = demo.clone();
        async move {
            let mut child = demo.child(&format!("child-{number}"))?;
            with(&mut child, 'a')?;
            anyhow::Ok(child.start().await?)
        }
    };
    let children = join_all((0..1_000).map(start)).await.into_iter().collect::<Result<Vec<_>>>()?;
    let (ours, theirs) =
        children.into_iter().enumerate().partition::<Vec<_>, _>(|(number, _)| number % 2 == 0);
    let reports = join_all(ours.into_iter().map(|(_, child)| child.stop())).await;
    assert!(reports.iter().all(|report| report.is_clean()));
    let ends: Vec<_> = theirs.iter().map(|(_, child)| child.ended()).collect();
    drop(theirs);
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty() && report.held() == 0, "{report}");
    join_all(ends).await;
    Ok(())
}

async fn a_child_takes_its_parents_deadlines(world: impl World) -> Result {
    let (journal, _) = journal();
    let script = Script::new(&world, journal).part('a', "");
    let deadlines = Deadlines { prepare: BRIEF, ..Deadlines::default() };
    let demo = script.factory(world.clone(), deadlines)?.start().await?;
    let mut child = demo.child("child")?;
    let (journal, _) = self::journal();
    child.provide_value(Script::new(&world, journal).part('x', "").prepare('x', Act::Hang))?;
    with(&mut child, 'x')?;
    let error = child.start().await.unwrap_err();
    assert!(error.to_string().ends_with("took longer than 500ms and was aborted"), "{error}");
    demo.stop().await;
    Ok(())
}

async fn a_child_made_in_prepare_waits_for_what_it_shares(world: impl World) -> Result {
    /// Creates a child in `prepare`, and does not await its start.
    struct Eager(Arc<Journal>);
    impl Daemon for Eager {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Eager(factory.value()?))
        }
        async fn prepare(&self, scope: &Scope) -> Result {
            let mut child = scope.child("child")?;
            leaf(&mut child, &self.0, Some('a'))?;
            let (journal, task) = (self.0.clone(), scope.clone());
            scope.spawn("child", async move {
                let child = child.start().await?;
                journal.note("child started");
                task.stopping().await;
                child.stop().await;
                Ok(())
            });
            Ok(())
        }
    }
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal.clone()).part('a', "").prepare('a', Act::Take(SHORT));
    let mut factory = script.factory(world, Deadlines::default())?;
    factory.provide_value(journal)?;
    factory.with::<Eager>()?;
    let demo = factory.start().await?;
    let mut seen = lines.until("child started").await;
    assert_before(&seen, "a prepare done", "child started");
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    seen.extend(lines.take());
    assert_before(&seen, "leaf stop done", "a stops");
    Ok(())
}
