//! Dependency injection: daemons that are built or provided, and the errors when they are not.

use std::io;

use anyhow::{Context, bail};
use steelmill_core::{Catalog, DEPTH_MAX, Daemon, DaemonRef, Deadlines, Factory, Panic, Result, World};

use crate::stories;
use crate::support::{Act, Part, Script, assert_absent, journal, with};

stories! {
    a_cycle_is_an_error_that_prints_the_cycle_and_who_led_to_it
    a_cycle_in_a_child_says_which_factory
    a_failed_build_says_who_asked_and_keeps_its_source
    a_panic_while_building_is_an_error_and_the_factory_goes_on
    a_provided_daemon_is_used_and_enters_the_lifecycle
    a_provided_daemon_stops_before_what_its_provider_was_handed
    providing_after_the_hand_out_names_who_asked
    providing_twice_is_an_error
    a_value_missed_by_a_daemon_cannot_be_provided_later
    a_value_missed_by_the_setup_can_be_provided_later
    what_completed_before_a_failure_stays_built
    what_failed_can_be_asked_for_again
    what_failed_and_was_gone_without_stays_absent
    a_daemon_may_ask_again_for_what_failed
    what_a_daemon_provides_while_it_is_built_is_there_for_others
    a_chain_of_dependencies_has_a_limit
    a_chain_that_is_asked_for_from_its_end_has_none
    a_catalog_builds_what_is_named_and_what_that_needs
    a_running_factory_says_what_it_has
    the_graph_shows_who_needs_whom
    the_graph_shows_what_is_shared_from_several_levels
}

fn scripted(world: impl World, script: impl FnOnce(Script) -> Script) -> Result<Factory> {
    let (journal, _) = journal();
    let script = script(Script::new(&world, journal));
    let mut factory = Factory::root("demo", world);
    factory.provide_value(script)?;
    Ok(factory)
}

async fn a_cycle_is_an_error_that_prints_the_cycle_and_who_led_to_it(world: impl World) -> Result {
    let mut factory = scripted(world, |script| {
        script.part('a', "x").part('x', "b").part('b', "c").part('c', "d").part('d', "b").part('e', "")
    })?;
    let cycle = "dependency cycle: Part<'b'> -> Part<'c'> -> Part<'d'> -> Part<'b'>";
    let error = with(&mut factory, 'a').unwrap_err();
    assert_eq!(error.root_cause().to_string(), cycle);
    assert_eq!(format!("{error:#}"), format!("demo: building Part<'a'>: building Part<'x'>: {cycle}"));
    // No daemon outside of the cycle leads into it.
    let error = with(&mut factory, 'b').unwrap_err();
    assert_eq!(format!("{error:#}"), format!("demo: {cycle}"));
    with(&mut factory, 'e')?;
    assert!(factory.start().await?.stop().await.is_clean());
    Ok(())
}

async fn a_cycle_in_a_child_says_which_factory(world: impl World) -> Result {
    let demo = scripted(world, |script| script.part('a', "b").part('b', "b"))?.start().await?;
    let mut child = demo.child("child")?;
    let error = with(&mut child, 'a').unwrap_err();
    let expected = "demo/child: building Part<'a'>: dependency cycle: Part<'b'> -> Part<'b'>";
    assert_eq!(format!("{error:#}"), expected);
    drop(child);
    demo.stop().await;
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

/// A daemon with a name, which records its lifecycle events.
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
    assert_eq!(error.to_string(), "demo: Lamp cannot be provided any more: Room requested it before");
    let mut factory = Factory::root("demo", world);
    factory.with::<Lamp>()?;
    let error = factory.provide(Lamp("late", None)).unwrap_err();
    assert_eq!(error.to_string(), "demo: Lamp cannot be provided any more: the setup requested it before");
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
    assert_eq!(error.to_string(), "demo: u32 cannot be provided any more: Limits requested it before");
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

/// Its first build fails.
struct Moody;

impl Daemon for Moody {
    fn build(factory: &mut Factory) -> Result<Self> {
        let attempts = factory.value::<std::sync::atomic::AtomicU32>()?;
        match attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => bail!("not yet"),
            _ => Ok(Moody),
        }
    }
}

fn with_a_moody_part(world: impl World) -> Result<Factory> {
    let mut factory = Factory::root("demo", world);
    factory.provide_value(std::sync::atomic::AtomicU32::new(0))?;
    Ok(factory)
}

async fn what_failed_can_be_asked_for_again(world: impl World) -> Result {
    struct Strict(#[expect(dead_code, reason = "held, as a daemon would")] DaemonRef<Moody>);
    impl Daemon for Strict {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Strict(factory.get()?))
        }
    }
    let mut factory = with_a_moody_part(world)?;
    let error = factory.with::<Strict>().unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: building Strict: building Moody: not yet");
    factory.with::<Strict>()?;
    assert!(factory.start().await?.stop().await.is_clean());
    Ok(())
}

async fn what_failed_and_was_gone_without_stays_absent(world: impl World) -> Result {
    struct Lenient(Option<DaemonRef<Moody>>);
    impl Daemon for Lenient {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Lenient(factory.get().ok()))
        }
    }
    let mut factory = with_a_moody_part(world)?;
    assert!(factory.get::<Lenient>()?.0.is_none());
    let error = factory.with::<Moody>().unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "demo: building Moody: Lenient requested it before and continued without it; request Moody first"
    );
    assert!(factory.start().await?.stop().await.is_clean());
    Ok(())
}

async fn a_daemon_may_ask_again_for_what_failed(world: impl World) -> Result {
    struct Patient(#[expect(dead_code, reason = "held, as a daemon would")] DaemonRef<Moody>);
    impl Daemon for Patient {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Patient(factory.get().or_else(|_| factory.get())?))
        }
    }
    let mut factory = with_a_moody_part(world)?;
    factory.with::<Patient>()?;
    factory.with::<Moody>()?;
    Ok(())
}

async fn what_a_daemon_provides_while_it_is_built_is_there_for_others(world: impl World) -> Result {
    struct Electrician;
    impl Daemon for Electrician {
        fn build(factory: &mut Factory) -> Result<Self> {
            factory.provide(Lamp("by the electrician", None))?;
            Ok(Electrician)
        }
    }
    let mut factory = Factory::root("demo", world.clone());
    factory.with::<Electrician>()?;
    assert_eq!(factory.get::<Room>()?.0.0, "by the electrician");
    let mut factory = Factory::root("demo", world);
    factory.with::<Room>()?;
    let error = factory.with::<Electrician>().unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "demo: building Electrician: demo: Lamp cannot be provided any more: Room requested it before"
    );
    Ok(())
}

/// One of 144 types, each of which depends on the next.
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
        "Link<10, 8> is the end of a chain of more than 128 daemons that wait for one another to be built: ask for some \
         of them earlier"
    );
    Ok(())
}

async fn a_chain_that_is_asked_for_from_its_end_has_none(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.provide_value(144_usize)?;
    assert!(link(&mut factory, 0).is_err(), "it can go on after that");
    for place in (0..144).rev() {
        link(&mut factory, place)?;
    }
    assert!(factory.start().await?.stop().await.is_clean());
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
    let limits: Option<DaemonRef<Limits>> = child.find()?;
    assert!(limits.is_some());
    let mermaid = child.graph().to_mermaid();
    assert_eq!(
        mermaid,
        "flowchart TD\n    n0[\"Lamp\"]\n    n1[\"Room\"]\n    n2[\"Limits\"]\n    n3[\"Door\"]\n    n1 --> n0\n    \
         n3 --> n2\n"
    );
    drop((limits, child));
    let mut child = demo.child("another")?;
    child.with::<Room>()?;
    child.with::<Lamp>()?;
    assert_eq!(
        child.graph().to_mermaid(),
        "flowchart TD\n    n0[\"Room (demo)\"]\n    n1[\"Lamp (demo)\"]\n    n0 --> n1\n"
    );
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn the_graph_shows_what_is_shared_from_several_levels(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Limits>()?;
    factory.with::<Lamp>()?;
    let demo = factory.start().await?;
    let mut middle = demo.child("middle")?;
    middle.with::<Room>()?;
    let middle = middle.start().await?;
    let mut child = middle.child("child")?;
    child.with::<Room>()?;
    child.with::<Lamp>()?;
    assert_eq!(
        child.graph().to_mermaid(),
        "flowchart TD\n    n0[\"Room (demo/middle)\"]\n    n1[\"Lamp (demo)\"]\n    n0 --> n1\n"
    );
    drop((child, middle));
    demo.stop().await;
    Ok(())
}
