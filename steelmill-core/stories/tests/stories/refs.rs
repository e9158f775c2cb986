//! Refs that outlive their factory: they stay valid, and the report names them.

use std::sync::Arc;

use steelmill_core::{Daemon, DaemonRef, Deadlines, Factory, Result, RunningFactory, Scope, SetOnce, World};
use tokio::sync::Notify;

use crate::stories;
use crate::support::{Part, Script, journal};

stories! {
    a_kept_ref_stays_valid_and_is_named
    a_retained_handle_is_reported
    a_ref_of_a_child_keeps_its_parents_daemon_and_is_named
    a_daemon_may_hold_its_own_scope
    a_daemon_may_hold_an_ended_childs_handle
    a_child_per_lease_whose_handle_its_maker_keeps_keeps_nothing_alive
    a_failed_start_reports_retained_daemons
    a_capability_may_be_kept
}

async fn a_kept_ref_stays_valid_and_is_named(world: impl World) -> Result {
    struct Counter(u32);
    impl Daemon for Counter {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Counter(7))
        }
    }
    let mut factory = Factory::root("demo", world);
    let kept = factory.get::<Counter>()?;
    let also_kept = kept.share();
    let report = factory.start().await?.stop().await;
    assert_eq!(kept.0 + also_kept.0, 14);
    assert!(report.is_clean());
    assert_eq!(report.to_string(), "demo: ended cleanly\n  demo: Counter is kept alive by 2 DaemonRef(s)");
    assert_eq!((&*report.retained()[0].daemon, report.retained()[0].refs), ("Counter", 2));
    Ok(())
}

async fn a_retained_handle_is_reported(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    let kept = demo.clone();
    let report = demo.stop().await;
    assert_eq!(report.held(), 1);
    assert_eq!(
        report.to_string(),
        "demo: ended cleanly\n  demo: its daemons are kept alive by 1 handle(s) or children being assembled"
    );
    drop(kept);
    Ok(())
}

async fn a_ref_of_a_child_keeps_its_parents_daemon_and_is_named(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "");
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    let mut child = demo.child("child")?;
    child.with::<Part<'a'>>()?;
    let child = child.start().await?;
    let report = demo.stop().await;
    assert_eq!(report.to_string(), "demo: ended cleanly\n  demo: Part<'a'> is kept alive by 1 DaemonRef(s)");
    assert!(lines.take().iter().all(|line| line != "a dropped"));
    assert!(child.get::<Part<'a'>>().is_ok());
    drop(child);
    assert_eq!(lines.take(), ["a dropped"]);
    Ok(())
}

struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn a_daemon_may_hold_its_own_scope(world: impl World) -> Result {
    struct Server {
        scope: SetOnce<Scope>,
        #[expect(dead_code, reason = "dropped with it")]
        dropped: Dropped,
    }
    impl Daemon for Server {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Server { scope: SetOnce::new(), dropped: Dropped(factory.value()?) })
        }
        async fn prepare(&self, scope: &Scope) -> Result {
            self.scope.set(scope.clone())
        }
    }
    impl Server {
        fn call(&self) -> Result {
            self.scope.get()?.spawn("call", async {});
            Ok(())
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.provide_value(Notify::new())?;
    factory.with::<Server>()?;
    let demo = factory.start().await?;
    demo.get::<Server>()?.call()?;
    let dropped = demo.value::<Notify>()?.clone();
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty() && report.held() == 0, "{report}");
    dropped.notified().await;
    Ok(())
}

async fn a_daemon_may_hold_an_ended_childs_handle(world: impl World) -> Result {
    struct Holder {
        child: SetOnce<RunningFactory>,
        dropped: Dropped,
    }
    impl Daemon for Holder {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Holder { child: SetOnce::new(), dropped: Dropped(factory.value()?) })
        }
        async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
            self.child.set(scope.child("child")?.start().await?)?;
            self.dropped.0.notify_one();
            Ok(())
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.provide_value(Notify::new())?;
    factory.with::<Holder>()?;
    let demo = factory.start().await?;
    let notify = demo.value::<Notify>()?.clone();
    notify.notified().await;
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty() && report.held() == 0, "{report}");
    notify.notified().await;
    Ok(())
}

/// The maker is built before what its children share, so it is dropped after that.
async fn a_child_per_lease_whose_handle_its_maker_keeps_keeps_nothing_alive(world: impl World) -> Result {
    struct Store;
    impl Daemon for Store {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Store)
        }
    }
    struct Leases {
        children: [SetOnce<RunningFactory>; 2],
        started: Arc<Notify>,
    }
    impl Daemon for Leases {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Leases { children: [SetOnce::new(), SetOnce::new()], started: factory.value()? })
        }
        async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
            for (lease, name) in self.children.iter().zip(["lease-1", "lease-2"]) {
                let mut child = scope.child(name)?;
                child.with::<Store>()?;
                lease.set(child.start().await?)?;
            }
            self.started.notify_one();
            scope.stopping().await;
            for lease in &self.children {
                let (path, report) = (lease.get()?.path(), lease.get()?.ended().await);
                assert_eq!(report.to_string(), format!("{path}: ended cleanly"));
            }
            Ok(())
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.provide_value(Notify::new())?;
    factory.with::<Leases>()?;
    factory.with::<Store>()?;
    let demo = factory.start().await?;
    demo.value::<Notify>()?.clone().notified().await;
    let report = demo.stop().await;
    assert_eq!(report.to_string(), "demo: ended cleanly");
    Ok(())
}

async fn a_failed_start_reports_retained_daemons(world: impl World) -> Result {
    struct Broken;
    impl Daemon for Broken {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Broken)
        }
        async fn prepare(&self, _: &Scope) -> Result {
            Err(anyhow::anyhow!("broken"))
        }
    }
    let mut factory = Factory::root("demo", world);
    let kept = factory.get::<Broken>()?;
    let error = factory.start().await.unwrap_err();
    assert_eq!(error.report().retained()[0].daemon, "Broken");
    drop(kept);
    Ok(())
}

async fn a_capability_may_be_kept(world: impl World) -> Result {
    async fn story<W: World>(world: W) -> Result {
        let mut factory = Factory::root("demo", world);
        let clock: DaemonRef<W::Clock> = factory.get()?;
        let report = factory.start().await?.stop().await;
        assert_eq!(report.to_string(), "demo: ended cleanly");
        drop(clock);
        Ok(())
    }
    story(world).await
}
