//! Named daemons: several of one type, each with its own lifecycle.

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, World};

use crate::stories;
use crate::support::{Journal, assert_before, journal};

stories! {
    each_name_is_a_daemon_of_its_own
    a_name_is_built_once
    a_named_daemon_is_called_by_its_name
    a_provided_name_is_used
    names_are_shared_and_rebuilt_like_types
    a_daemon_may_ask_for_its_like_by_another_name
    a_cycle_through_names_is_found
}

struct Store {
    called: String,
    disk: DaemonRef<Disk>,
    journal: Journal,
}

/// What both stores have in common.
struct Disk {
    built_in: String,
}

impl Daemon for Disk {
    fn build(factory: &mut Factory) -> Result<Self> {
        factory.try_value::<u8>();
        Ok(Disk { built_in: factory.path().to_owned() })
    }
}

impl Daemon for Store {
    fn build(factory: &mut Factory) -> Result<Self> {
        let called = factory.name().unwrap_or("nameless").to_owned();
        let journal = Journal::clone(&*factory.value()?);
        anyhow::ensure!(called != "broken", "as told");
        Ok(Store { called, disk: factory.get()?, journal })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.journal.note(format!("{} prepared", scope.daemon()));
        Ok(())
    }

    async fn stop(&self, scope: &Scope) -> Result {
        self.journal.note(format!("{} stopped", scope.daemon()));
        anyhow::ensure!(self.called != "unhappy", "as told");
        Ok(())
    }
}

struct Copier {
    from: DaemonRef<Store>,
    to: DaemonRef<Store>,
}

impl Daemon for Copier {
    fn build(factory: &mut Factory) -> Result<Self> {
        assert_eq!(factory.name(), None);
        let copier = Copier { from: factory.get_named("primary")?, to: factory.get_named("backup")? };
        assert_eq!(factory.name(), None);
        Ok(copier)
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.from.journal.note("copier stopped");
        Ok(())
    }
}

fn factory(world: impl World) -> Result<(Factory, crate::support::Lines)> {
    let (journal, lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    Ok((factory, lines))
}

async fn each_name_is_a_daemon_of_its_own(world: impl World) -> Result {
    let (mut factory, mut lines) = factory(world)?;
    assert_eq!(factory.name(), None);
    let copier = factory.get::<Copier>()?;
    assert_eq!((&*copier.from.called, &*copier.to.called), ("primary", "backup"));
    assert!(std::ptr::eq(&*copier.from.disk, &*copier.to.disk), "what has no name is shared");
    assert_eq!(factory.get::<Store>()?.called, "nameless");
    drop(copier);
    let demo = factory.start().await?;
    assert_eq!(demo.get_named::<Store>("backup")?.called, "backup");
    assert_eq!(demo.get::<Store>()?.called, "nameless");
    let error = demo.get_named::<Store>("third").unwrap_err().to_string();
    assert!(error.starts_with("demo has no Store[third]; its own daemons are: "), "{error}");
    assert!(error.ends_with("Disk, Store[primary], Store[backup], Copier, Store"), "{error}");
    assert!(demo.stop().await.is_clean());
    let lines = lines.take();
    for name in ["Store[primary]", "Store[backup]"] {
        assert_before(&lines, &format!("{name} prepared"), "copier stopped");
        assert_before(&lines, "copier stopped", &format!("{name} stopped"));
    }
    Ok(())
}

async fn a_name_is_built_once(world: impl World) -> Result {
    let (mut factory, _lines) = factory(world)?;
    let name = String::from("pri") + "mary";
    let first = factory.get_named::<Store>(&name)?;
    assert!(std::ptr::eq(&*first, &*factory.build_named::<Store>("primary")?));
    assert!(std::ptr::eq(&*first, &*factory.find_named::<Store>("primary")?.unwrap()));
    assert!(factory.find_named::<Store>("backup")?.is_none());
    assert!(factory.find::<Store>()?.is_none());
    Ok(())
}

async fn a_named_daemon_is_called_by_its_name(world: impl World) -> Result {
    let (mut factory, _lines) = factory(world)?;
    let error = factory.with_named::<Store>("broken").unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: building Store[broken]: as told");
    factory.with_named::<Store>("unhappy")?;
    let graph = factory.graph();
    assert!(graph.to_dot().contains("[label=\"Store[unhappy]\"];"), "{}", graph.to_dot());
    let report = factory.start().await?.stop().await;
    assert_eq!(report.to_string(), "demo: 1 failure\n  demo: Store[unhappy] failed to stop: as told");
    Ok(())
}

async fn a_provided_name_is_used(world: impl World) -> Result {
    let (mut factory, lines) = factory(world)?;
    let disk = factory.get()?;
    let journal = Journal::clone(&*factory.value()?);
    factory.provide_named("backup", Store { called: "by hand".to_owned(), disk, journal })?;
    assert_eq!(factory.get::<Copier>()?.to.called, "by hand");
    let (disk, journal) = (factory.get()?, Journal::clone(&*factory.value()?));
    let late = Store { called: "late".to_owned(), disk, journal };
    let error = factory.provide_named("primary", late).unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo: Store[primary] cannot be provided any more: Copier requested it before"
    );
    drop(lines);
    Ok(())
}

async fn names_are_shared_and_rebuilt_like_types(world: impl World) -> Result {
    let (mut factory, _lines) = factory(world)?;
    factory.with::<Copier>()?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    let copier = child.get::<Copier>()?;
    assert!(std::ptr::eq(&*copier, &**demo.get::<Copier>()?));
    drop((copier, child));

    let mut child = demo.child("child")?;
    child.build_named::<Store>("backup")?;
    let copier = child.get::<Copier>()?;
    assert!(std::ptr::eq(&*copier.from, &**demo.get_named::<Store>("primary")?));
    assert!(!std::ptr::eq(&*copier.to, &**demo.get_named::<Store>("backup")?));
    drop((copier, child));

    let mut child = demo.child("child")?;
    child.provide_value(1_u8)?;
    let copier = child.get::<Copier>()?;
    assert_eq!((&*copier.from.disk.built_in, &*copier.to.disk.built_in), ("demo/child", "demo/child"));
    drop((copier, child));
    assert!(demo.stop().await.is_clean());
    Ok(())
}

/// Each depends on the one before.
struct Floor(#[expect(dead_code, reason = "held, as a daemon would")] Option<DaemonRef<Floor>>);

impl Daemon for Floor {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Floor(match factory.name() {
            Some("second") => Some(factory.get_named("first")?),
            Some("first") => Some(factory.get()?),
            Some("round") => Some(factory.get_named("and round")?),
            Some("and round") => Some(factory.get_named("round")?),
            _ => None,
        }))
    }
}

async fn a_daemon_may_ask_for_its_like_by_another_name(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with_named::<Floor>("second")?;
    let dot = factory.graph().to_dot();
    assert!(dot.contains("n4 [label=\"Floor\"]") && dot.contains("n6 [label=\"Floor[second]\"]"), "{dot}");
    assert!(dot.contains("n5 -> n4;\n    n6 -> n5;"), "{dot}");
    assert!(factory.start().await?.stop().await.is_clean());
    Ok(())
}

async fn a_cycle_through_names_is_found(world: impl World) -> Result {
    let error = Factory::root("demo", world).with_named::<Floor>("round").unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "demo: dependency cycle: Floor[round] -> Floor[and round] -> Floor[round]"
    );
    Ok(())
}

/// Each depends on the one with the previous number.
struct Story(#[expect(dead_code, reason = "held, as a daemon would")] Option<DaemonRef<Story>>);

impl Daemon for Story {
    fn build(factory: &mut Factory) -> Result<Self> {
        let number: u32 = factory.name().unwrap_or("0").parse()?;
        Ok(Story(match number {
            0 => None,
            _ => Some(factory.get_named(&(number - 1).to_string())?),
        }))
    }
}

/// One seed: only the depth matters, not the schedule.
#[test]
fn a_tower_is_built_from_its_ground_and_taken_down_from_its_top() {
    steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
        let mut factory = Factory::root("demo", sim.world());
        let error = factory.with_named::<Story>("500").unwrap_err();
        assert!(error.root_cause().to_string().starts_with("Story[372] is the end of a chain"), "{error:#}");
        for number in 0..=500 {
            factory.with_named::<Story>(&number.to_string())?;
        }
        let top = factory.get_named::<Story>("500")?;
        let report = factory.start().await?.stop().await;
        assert_eq!(report.retained()[0].daemon, "Story[500]");
        drop(top);
        Ok(())
    });
}
