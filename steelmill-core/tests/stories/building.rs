//! How a factory gets daemons: built, provided, or not at all, and then with an error that helps.

use std::io;

use anyhow::{Context, bail};
use steelmill_core::{Catalog, DEPTH_MAX, Daemon, DaemonRef, Deadlines, Factory, Panic, Result, World};

use crate::stories;
use crate::support::{Act, Part, Script, assert_absent, journal, with};

stories! {
    a_cycle_is_an_error_that_prints_its_path
    a_failed_build_says_who_asked_and_keeps_its_source
    a_panic_while_building_is_an_error_and_the_factory_goes_on
    a_provided_daemon_is_used_and_enters_the_lifecycle
    a_provided_daemon_stops_before_what_its_provider_was_handed
    providing_after_the_hand_out_names_who_asked
    providing_twice_is_an_error
    a_value_missed_by_a_daemon_cannot_be_provided_later
    a_value_missed_by_the_setup_can_be_provided_later
    what_completed_before_a_failure_stays_built
    a_chain_of_dependencies_has_a_limit
    a_catalog_builds_what_is_named_and_what_that_needs
    a_running_factory_says_what_it_has
    the_graph_shows_who_needs_whom
}

fn scripted(world: impl World, script: impl FnOnce(Script) -> Script) -> Result<Factory> {
    let (journal, _) = journal();
    let script = script(Script::new(&world, journal));
    let mut factory = Factory::root("demo", world);
    factory.provide_value(script)?;
    Ok(factory)
}

async fn a_cycle_is_an_error_that_prints_its_path(world: impl World) -> Result {
    let mut factory = scripted(world, |script| {
        script.part('a', "b").part('b', "c").part('c', "d").part('d', "b").part('e', "")
    })?;
    let error = with(&mut factory, 'a').unwrap_err();
    assert_eq!(
        error.root_cause().to_string(),
        "dependency cycle: Part<'b'> -> Part<'c'> -> Part<'d'> -> Part<'b'>"
    );
    assert!(
        format!("{error:#}").starts_with("demo: building Part<'a'>: building Part<'b'>: building Part<'c'>:"),
        "{error:#}"
    );
    with(&mut factory, 'e')?;
    factory.start().await?.stop().await;
    Ok(())
}

async fn a_failed_build_says_who_asked_and_keeps_its_source(world: impl World) -> Result {
    #[derive(Debug)]
    struct Disk;
    impl Daemon for Disk {
        fn build(_: &mut Factory) -> Result<Self> {
            Err(io::Error::from(io::ErrorKind::PermissionDenied)).context("opening /data")
        }
    }
    #[derive(Debug)]
    struct Store(#[expect(dead_code, reason = "never built")] DaemonRef<Disk>);
    impl Daemon for Store {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Store(factory.get()?))
        }
    }
    let error = Factory::root("demo", world).get::<Store>().unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: building Store: building Disk: opening /data: permission denied");
    let source = error.downcast_ref::<io::Error>().or(error.root_cause().downcast_ref()).unwrap();
    assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
    Ok(())
}

async fn a_panic_while_building_is_an_error_and_the_factory_goes_on(world: impl World) -> Result {
    let mut factory =
        scripted(world, |script| script.part('a', "").build('a', Act::Panic).part('b', "a").part('c', ""))?;
    let error = with(&mut factory, 'b').unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: building Part<'b'>: building Part<'a'>: panicked: as told");
    assert!(error.root_cause().is::<Panic>());
    with(&mut factory, 'c')?;
    let demo = factory.start().await?;
    assert!(demo.get::<Part<'c'>>().is_ok());
    assert!(demo.get::<Part<'b'>>().is_err());
    assert!(demo.stop().await.is_clean());
    Ok(())
}

/// A daemon that can be told apart, and says what happens to it.
struct Lamp(&'static str, Option<crate::support::Journal>);

impl Daemon for Lamp {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Lamp("built", None))
    }

    async fn prepare(&self, _: &steelmill_core::Scope) -> Result {
        self.1.iter().for_each(|journal| journal.note("lamp prepared"));
        Ok(())
    }

    async fn stop(&self, _: &steelmill_core::Scope) -> Result {
        self.1.iter().for_each(|journal| journal.note("lamp stopped"));
        Ok(())
    }
}

struct Room(DaemonRef<Lamp>);

impl Daemon for Room {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Room(factory.get()?))
    }
}

async fn a_provided_daemon_is_used_and_enters_the_lifecycle(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide(Lamp("provided", Some(journal)))?;
    assert_eq!(factory.get::<Room>()?.0.0, "provided");
    assert!(factory.start().await?.stop().await.is_clean());
    assert_eq!(lines.take(), ["lamp prepared", "lamp stopped"]);
    Ok(())
}

async fn a_provided_daemon_stops_before_what_its_provider_was_handed(world: impl World) -> Result {
    struct Shade(#[expect(dead_code, reason = "held, as a daemon would")] DaemonRef<Part<'a'>>);
    impl Daemon for Shade {
        fn build(_: &mut Factory) -> Result<Self> {
            bail!("only provided")
        }
        async fn prepare(&self, _: &steelmill_core::Scope) -> Result {
            Ok(())
        }
    }
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal.clone()).part('a', "");
    let mut factory = script.factory(world, Deadlines::default())?;
    let part = factory.get::<Part<'a'>>()?;
    factory.provide(Shade(part))?;
    factory.provide(Lamp("after it", Some(journal)))?;
    let report = factory.start().await?.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    let lines = lines.take();
    crate::support::assert_before(&lines, "a prepare done", "lamp prepared");
    crate::support::assert_before(&lines, "lamp stopped", "a stops");
    Ok(())
}

async fn providing_after_the_hand_out_names_who_asked(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world.clone());
    factory.with::<Room>()?;
    let error = factory.provide(Lamp("late", None)).unwrap_err();
    assert_eq!(error.to_string(), "demo: Lamp cannot be provided any more: Room asked for it before");
    let mut factory = Factory::root("demo", world);
    factory.with::<Lamp>()?;
    let error = factory.provide(Lamp("late", None)).unwrap_err();
    assert_eq!(error.to_string(), "demo: Lamp cannot be provided any more: the setup asked for it before");
    Ok(())
}

async fn providing_twice_is_an_error(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.provide(Lamp("first", None))?;
    let error = factory.provide(Lamp("second", None)).unwrap_err();
    assert_eq!(error.to_string(), "demo: Lamp cannot be provided: it was provided before");
    factory.provide_value(7_u32)?;
    let error = factory.provide_value(8_u32).unwrap_err();
    assert_eq!(error.to_string(), "demo: u32 cannot be provided: it was provided before");
    assert_eq!(*factory.value::<u32>()?, 7);
    assert_eq!(factory.get::<Lamp>()?.0, "first");
    Ok(())
}

struct Limits(Option<u32>);

impl Daemon for Limits {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Limits(factory.try_value().map(|limit| *limit)))
    }
}

async fn a_value_missed_by_a_daemon_cannot_be_provided_later(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    assert_eq!(factory.get::<Limits>()?.0, None);
    let error = factory.provide_value(7_u32).unwrap_err();
    assert_eq!(error.to_string(), "demo: u32 cannot be provided any more: Limits asked for it before");
    Ok(())
}

async fn a_value_missed_by_the_setup_can_be_provided_later(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let error = factory.value::<u32>().unwrap_err();
    assert_eq!(error.to_string(), "demo: no value of type u32 was provided");
    if factory.try_value::<u32>().is_none() {
        factory.provide_value(7_u32)?;
    }
    assert_eq!(factory.get::<Limits>()?.0, Some(7));
    Ok(())
}

async fn what_completed_before_a_failure_stays_built(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "").part('b', "a").build('b', Act::Fail);
    let mut factory = Factory::root("demo", world);
    factory.provide_value(script)?;
    assert!(with(&mut factory, 'b').is_err());
    assert!(with(&mut factory, 'b').is_err());
    assert_eq!(lines.take(), ["a built in demo"]);
    assert!(factory.start().await?.stop().await.is_clean());
    assert_absent(&lines.take(), "b prepares");
    Ok(())
}

/// One of a hundred and forty-four types, each of which needs the next.
struct Link<const TENS: usize, const ONES: usize>;

impl<const TENS: usize, const ONES: usize> Daemon for Link<TENS, ONES> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let place = TENS * 12 + ONES;
        if place + 1 < *factory.value::<usize>()? {
            link(factory, place + 1)?;
        }
        Ok(Link)
    }
}

fn link(factory: &mut Factory, place: usize) -> Result {
    fn ones<const TENS: usize>(factory: &mut Factory, place: usize) -> Result {
        [
            Factory::with::<Link<TENS, 0>>,
            Factory::with::<Link<TENS, 1>>,
            Factory::with::<Link<TENS, 2>>,
            Factory::with::<Link<TENS, 3>>,
            Factory::with::<Link<TENS, 4>>,
            Factory::with::<Link<TENS, 5>>,
            Factory::with::<Link<TENS, 6>>,
            Factory::with::<Link<TENS, 7>>,
            Factory::with::<Link<TENS, 8>>,
            Factory::with::<Link<TENS, 9>>,
            Factory::with::<Link<TENS, 10>>,
            Factory::with::<Link<TENS, 11>>,
        ][place % 12](factory)
    }
    [
        ones::<0>, ones::<1>, ones::<2>, ones::<3>, ones::<4>, ones::<5>, ones::<6>, ones::<7>, ones::<8>,
        ones::<9>, ones::<10>, ones::<11>,
    ][place / 12](factory, place)
}

async fn a_chain_of_dependencies_has_a_limit(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world.clone());
    factory.provide_value(DEPTH_MAX)?;
    link(&mut factory, 0)?;
    assert!(factory.start().await?.stop().await.is_clean());

    let mut factory = Factory::root("demo", world);
    factory.provide_value(DEPTH_MAX + 1)?;
    let error = link(&mut factory, 0).unwrap_err();
    assert_eq!(
        error.root_cause().to_string(),
        "Link<10, 8> is the end of a chain of more than 128 daemons that wait for one another to be built"
    );
    Ok(())
}

async fn a_catalog_builds_what_is_named_and_what_that_needs(world: impl World) -> Result {
    let catalog = Catalog::new().add::<Lamp>("lamp").add::<Room>("room").add::<Limits>("limits");
    let mut factory = Factory::root("demo", world.clone());
    catalog.assemble(&mut factory, &["room"])?;
    let demo = factory.start().await?;
    assert!(demo.get::<Lamp>().is_ok());
    assert!(demo.get::<Limits>().is_err());
    demo.stop().await;

    let mut factory = Factory::root("demo", world);
    let error = catalog.assemble(&mut factory, &["room", "kitchen"]).unwrap_err();
    assert_eq!(error.to_string(), "no daemon is called \"kitchen\"; there are: lamp, room, limits");
    assert!(!factory.graph().to_dot().contains("Room"), "nothing is built before all names are known");
    Ok(())
}

async fn a_running_factory_says_what_it_has(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Room>()?;
    factory.provide_value(7_u32)?;
    let demo = factory.start().await?;
    let error = demo.get::<Limits>().unwrap_err().to_string();
    assert!(error.starts_with("demo has no Limits; its own daemons are: "), "{error}");
    assert!(error.ends_with(", Lamp, Room"), "{error}");
    assert_eq!(**demo.value::<u32>()?, 7);
    assert_eq!(demo.value::<u64>().unwrap_err().to_string(), "demo: no value of type u64 was provided");
    demo.stop().await;
    Ok(())
}

async fn the_graph_shows_who_needs_whom(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Room>()?;
    let dot = factory.graph().to_dot();
    assert!(dot.contains("label=\"Lamp\"") && dot.contains("n5 -> n4;"), "{dot}");
    assert_eq!(dot, factory.graph().to_dot());
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.provide(Lamp("its own", None))?;
    child.with::<Room>()?;
    struct Door(#[expect(dead_code, reason = "held, as a daemon would")] DaemonRef<Limits>);
    impl Daemon for Door {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Door(factory.get()?))
        }
    }
    child.with::<Door>()?;
    let mermaid = child.graph().to_mermaid();
    assert_eq!(
        mermaid,
        "flowchart TD\n    n0[\"Lamp\"]\n    n1[\"Room\"]\n    n2[\"Limits\"]\n    n3[\"Door\"]\n    n1 --> n0\n    \
         n3 --> n2\n"
    );
    drop(child);
    demo.stop().await;
    Ok(())
}
