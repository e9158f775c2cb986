//! Children by name: found, listed, refused when the name is taken, replaced; and children that depend on their maker.

use std::sync::Arc;

use anyhow::bail;
use steelmill_core::{
    Clock, Daemon, DaemonRef, Factory, Replaced, Result, RunningFactory, Scope, SetOnce, World,
};
use tokio::sync::Notify;

use crate::stories;
use crate::support::{Journal, SHORT, journal};

stories! {
    children_are_listed_and_found_by_name
    a_child_whose_name_is_taken_is_refused
    a_name_is_free_again_after_the_end
    a_child_replaces_its_namesake
    a_child_that_does_not_start_leaves_its_namesake_alone
    a_child_is_replaced_only_by_one_of_the_same_maker
    a_child_that_depends_on_its_maker_starts_after_that_is_prepared
    a_prepare_that_awaits_a_child_that_depends_on_it_fails_at_once
}

fn names(children: &[RunningFactory]) -> Vec<&str> {
    children.iter().map(RunningFactory::path).collect()
}

async fn children_are_listed_and_found_by_name(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    let first = demo.child("first")?.start().await?;
    let inner = first.child("inner")?.start().await?;
    let second = demo.child("second")?.start().await?;
    let assembling = demo.child("third")?;
    assert_eq!(names(&demo.children().await), ["demo/first", "demo/second"]);
    assert_eq!(demo.child_named("second").await?.path(), "demo/second");
    assert_eq!(first.child_named("inner").await?.path(), "demo/first/inner");
    for none in ["third", "inner", "first/inner", ""] {
        let error = demo.child_named(none).await.unwrap_err().to_string();
        assert_eq!(error, format!("no child demo/{none} is running"));
    }
    drop(assembling);
    // A handle that was found keeps the child running, as others do.
    let found = demo.child_named("first").await?;
    drop((first, inner, second));
    assert!(found.status().await.is_some());
    let ended = found.stop();
    assert!(demo.stop().await.is_clean());
    assert!(ended.await.is_clean());
    Ok(())
}

async fn a_child_whose_name_is_taken_is_refused(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    let first = demo.child("twin")?.start().await?;
    let error = demo.child("twin")?.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/twin did not start: demo/twin: demo has a child called twin already: stop that before, or call \
         `replace` instead of `start`"
    );
    // Another level is another name.
    let below = first.child("twin")?.start().await?;
    assert_eq!(names(&demo.children().await), ["demo/twin"]);
    drop(below);
    assert!(first.stop().await.is_clean());
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn a_name_is_free_again_after_the_end(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    for _ in 0..10 {
        let child = demo.child("again")?.start().await?;
        assert!(child.stop().await.is_clean());
    }
    assert!(demo.children().await.is_empty());
    assert!(demo.stop().await.is_clean());
    Ok(())
}

/// Fails to prepare if it is told to.
struct Plugin {
    version: Arc<u32>,
}

impl Daemon for Plugin {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Plugin { version: factory.value()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        if *self.version == 13 {
            bail!("as told");
        }
        Ok(())
    }
}

fn plugin(host: &RunningFactory, version: u32) -> Result<Factory> {
    let mut plugin = host.child("plugin")?;
    plugin.provide_value(version)?;
    plugin.with::<Plugin>()?;
    Ok(plugin)
}

async fn a_child_replaces_its_namesake(world: impl World) -> Result {
    let host = Factory::root("host", world).start().await?;
    let Replaced { factory: first, former } = plugin(&host, 1)?.replace().await?;
    assert!(former.is_none());
    let ended = first.ended();
    drop(first.clone());
    let Replaced { factory: second, former } = plugin(&host, 2)?.replace().await?;
    assert!(former.is_some_and(|report| report.is_clean()));
    assert!(ended.await.is_clean());
    assert_eq!(**host.child_named("plugin").await?.value::<u32>()?, 2);
    // The name is that of the new one, also after the end of the former was heard of.
    assert!(plugin(&host, 3)?.start().await.is_err());
    assert_eq!(names(&host.children().await), ["host/plugin"]);
    drop((first, second));
    assert!(host.stop().await.is_clean());
    Ok(())
}

async fn a_child_that_does_not_start_leaves_its_namesake_alone(world: impl World) -> Result {
    let host = Factory::root("host", world).start().await?;
    let first = plugin(&host, 1)?.start().await?;
    let error = plugin(&host, 13)?.replace().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "host/plugin did not start: host/plugin: Plugin failed to prepare: as told"
    );
    assert!(first.status().await.is_some());
    assert_eq!(**host.child_named("plugin").await?.value::<u32>()?, 1);
    assert!(first.stop().await.is_clean());
    assert!(host.stop().await.is_clean());
    Ok(())
}

/// Makes a child called `plugin` in its run.
struct Host {
    made: Arc<Notify>,
}

impl Daemon for Host {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Host { made: factory.value()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let plugin = scope.child("plugin")?.start().await?;
        assert_eq!(names(&scope.children().await), ["host/plugin"]);
        assert_eq!(scope.child_named("plugin").await?.path(), "host/plugin");
        self.made.notify_one();
        scope.stopping().await;
        drop(plugin);
        Ok(())
    }
}

async fn a_child_is_replaced_only_by_one_of_the_same_maker(world: impl World) -> Result {
    let mut factory = Factory::root("host", world);
    factory.provide_value(Notify::new())?;
    factory.with::<Host>()?;
    let host = factory.start().await?;
    host.value::<Notify>()?.notified().await;
    let error = plugin(&host, 1)?.replace().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "host/plugin did not start: host/plugin: host has a child called plugin that Host made, and nobody else may \
         replace it"
    );
    assert!(host.stop().await.is_clean());
    Ok(())
}

/// Starts a child that depends on it: awaits that in `prepare`, or lets a task do so.
struct Maker {
    journal: Arc<Journal>,
    in_a_task: bool,
    child: Arc<SetOnce<RunningFactory>>,
    me: SetOnce<Scope>,
}

/// Whether `Maker` lets a task start its child.
struct InATask(bool);

struct Dependent {
    maker: DaemonRef<Maker>,
}

impl Daemon for Dependent {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Dependent { maker: factory.get()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.maker.journal.note("dependent prepares");
        Ok(())
    }
}

impl Daemon for Maker {
    fn build(factory: &mut Factory) -> Result<Self> {
        let in_a_task = factory.value::<InATask>()?.0;
        Ok(Maker { journal: factory.value()?, in_a_task, child: Arc::default(), me: SetOnce::new() })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        let (inner, child) = (scope.clone(), self.child.clone());
        let start = async move {
            let mut factory = inner.child("child")?;
            factory.with::<Dependent>()?;
            child.set(factory.start().await?)
        };
        match self.in_a_task {
            true => scope.spawn("start", start),
            false => start.await?,
        }
        // Gives the task its turn.
        self.me.set(scope.clone())?;
        let _ = scope.until_stopping(scope.status()).await;
        self.journal.note("maker is prepared");
        Ok(())
    }
}

async fn a_child_that_depends_on_its_maker_starts_after_that_is_prepared(world: impl World) -> Result {
    let clock = world.clock();
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.provide_value(InATask(true))?;
    factory.with::<Maker>()?;
    let demo = factory.start().await?;
    assert_eq!(lines.until("dependent prepares").await, ["maker is prepared", "dependent prepares"]);
    while demo.get::<Maker>()?.child.get().is_err() {
        clock.sleep(SHORT).await;
    }
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn a_prepare_that_awaits_a_child_that_depends_on_it_fails_at_once(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.provide_value(InATask(false))?;
    factory.with::<Maker>()?;
    let error = factory.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo did not start: demo: Maker failed to prepare: demo/child did not start: demo/child: demo cannot start it \
         in `prepare` of Maker, on which it depends: start it in `run`"
    );
    assert!(lines.take().is_empty());
    Ok(())
}
