//! What a child shares: an ancestor's daemon, unless one of its dependencies was replaced.

use std::sync::Arc;

use steelmill_core::{Clock, Daemon, DaemonRef, Factory, Result, RunningFactory, World};

use crate::stories;

stories! {
    a_child_shares_what_its_parent_has
    a_child_builds_what_nobody_has_and_its_parent_does_not_get_it
    a_value_of_the_childs_own_rebuilds_what_was_built_from_the_parents
    a_value_the_parent_missed_rebuilds_what_missed_it
    a_daemon_of_the_childs_own_rebuilds_what_was_built_from_the_parents
    what_lies_between_counts
    a_grandchild_shares_with_its_grandparent
    build_makes_a_new_one_and_rebuilds_what_needs_it
    build_twice_is_one
    providing_after_sharing_names_who_asked_for_what
    building_after_sharing_names_who_asked
    a_daemon_never_gets_itself_from_an_ancestor
    a_daemon_shaped_by_a_failure_is_rebuilt_where_it_may_succeed
    a_place_of_its_own_rebuilds_what_reads_the_clock
    values_come_from_the_nearest_factory
}

/// Built from a value; records it, and the factory that built it.
struct Store {
    limit: Option<u32>,
    built_in: String,
}

impl Daemon for Store {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Store {
            limit: factory.try_value::<u32>().map(|limit| *limit),
            built_in: factory.path().to_owned(),
        })
    }
}

/// Built from the store.
struct Api {
    store: DaemonRef<Store>,
    built_in: String,
}

impl Daemon for Api {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Api { store: factory.get()?, built_in: factory.path().to_owned() })
    }
}

/// Built from nothing.
struct Plain {
    built_in: String,
}

impl Daemon for Plain {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Plain { built_in: factory.path().to_owned() })
    }
}

/// A running factory with one daemon of each type.
async fn demo(world: impl World, limit: Option<u32>) -> Result<RunningFactory> {
    let mut factory = Factory::root("demo", world);
    if let Some(limit) = limit {
        factory.provide_value(limit)?;
    }
    factory.with::<Api>()?;
    factory.with::<Plain>()?;
    Ok(factory.start().await?)
}

async fn a_child_shares_what_its_parent_has(world: impl World) -> Result {
    let demo = demo(world, Some(1)).await?;
    let mut child = demo.child("child")?;
    assert_eq!(child.path(), "demo/child");
    assert!(std::ptr::eq(&*child.get::<Api>()?, &**demo.get::<Api>()?));
    let child = child.start().await?;
    assert!(std::ptr::eq(&**child.get::<Api>()?, &**demo.get::<Api>()?));
    assert!(child.get::<Plain>().is_err(), "it did not ask for it");
    assert!(child.stop().await.is_clean());
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    Ok(())
}

async fn a_child_builds_what_nobody_has_and_its_parent_does_not_get_it(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    let mut child = demo.child("child")?;
    assert_eq!(child.get::<Plain>()?.built_in, "demo/child");
    let child = child.start().await?;
    assert!(child.get::<Plain>().is_ok());
    assert!(demo.get::<Plain>().is_err());
    demo.stop().await;
    Ok(())
}

async fn a_value_of_the_childs_own_rebuilds_what_was_built_from_the_parents(world: impl World) -> Result {
    let demo = demo(world, Some(1)).await?;
    let mut child = demo.child("child")?;
    child.provide_value(2_u32)?;
    let api = child.get::<Api>()?;
    assert_eq!(api.built_in, "demo/child");
    assert_eq!(api.store.limit, Some(2));
    assert_eq!(child.get::<Plain>()?.built_in, "demo");
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn a_value_the_parent_missed_rebuilds_what_missed_it(world: impl World) -> Result {
    let demo = demo(world, None).await?;
    assert_eq!(demo.get::<Store>()?.limit, None);
    let mut child = demo.child("child")?;
    child.provide_value(2_u32)?;
    assert_eq!(child.get::<Api>()?.store.limit, Some(2));
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn a_daemon_of_the_childs_own_rebuilds_what_was_built_from_the_parents(world: impl World) -> Result {
    let demo = demo(world, None).await?;
    let mut child = demo.child("child")?;
    child.provide(Store { limit: Some(9), built_in: "by hand".to_owned() })?;
    let api = child.get::<Api>()?;
    assert_eq!((&*api.built_in, &*api.store.built_in), ("demo/child", "by hand"));
    drop((api, child));
    demo.stop().await;
    Ok(())
}

async fn what_lies_between_counts(world: impl World) -> Result {
    let demo = demo(world, Some(1)).await?;
    let mut middle = demo.child("middle")?;
    middle.provide_value(2_u32)?;
    let middle = middle.start().await?;
    let mut child = middle.child("child")?;
    let api = child.get::<Api>()?;
    assert_eq!(api.built_in, "demo/middle/child", "nothing is added to a factory that has started");
    assert_eq!(api.store.limit, Some(2));
    assert_eq!(child.get::<Plain>()?.built_in, "demo");
    drop((api, child));
    demo.stop().await;
    Ok(())
}

async fn a_grandchild_shares_with_its_grandparent(world: impl World) -> Result {
    let demo = demo(world, Some(1)).await?;
    let middle = demo.child("middle")?.start().await?;
    let mut child = middle.child("child")?;
    assert_eq!(child.get::<Api>()?.built_in, "demo");
    let child = child.start().await?;
    assert!(std::ptr::eq(&**child.get::<Api>()?, &**demo.get::<Api>()?));
    assert_eq!(**child.value::<u32>()?, 1);
    drop(child);
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn build_makes_a_new_one_and_rebuilds_what_needs_it(world: impl World) -> Result {
    let demo = demo(world, Some(1)).await?;
    let mut child = demo.child("child")?;
    assert_eq!(child.build::<Store>()?.built_in, "demo/child");
    let api = child.get::<Api>()?;
    assert_eq!((&*api.built_in, &*api.store.built_in), ("demo/child", "demo/child"));
    assert_eq!(child.get::<Plain>()?.built_in, "demo");
    drop((api, child));
    demo.stop().await;
    Ok(())
}

async fn build_twice_is_one(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let first = factory.build::<Plain>()?;
    assert!(std::ptr::eq(&*first, &*factory.build::<Plain>()?));
    assert!(std::ptr::eq(&*first, &*factory.get::<Plain>()?));
    Ok(())
}

async fn providing_after_sharing_names_who_asked_for_what(world: impl World) -> Result {
    struct Door(DaemonRef<Api>);
    impl Daemon for Door {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Door(factory.get()?))
        }
    }
    let demo = demo(world, Some(1)).await?;
    let mut child = demo.child("child")?;
    assert_eq!(child.get::<Door>()?.0.built_in, "demo");
    let error = child.provide_value(2_u32).unwrap_err();
    assert_eq!(error.to_string(), "demo/child: u32 cannot be provided any more: Door requested it before");
    let mut child = demo.child("child")?;
    child.with::<Api>()?;
    let error = child.provide_value(2_u32).unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/child: u32 cannot be provided any more: the setup requested Api of demo before, which was built from it"
    );
    let error = child.provide(Store { limit: None, built_in: String::new() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/child: Store cannot be provided any more: the setup requested Api of demo before, which was built from it"
    );
    child.provide_value(2_u64)?;
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn building_after_sharing_names_who_asked(world: impl World) -> Result {
    let demo = demo(world, Some(1)).await?;
    let mut child = demo.child("child")?;
    child.with::<Store>()?;
    let error = child.build::<Store>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/child: Store cannot be built here any more: the setup requested it before"
    );
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn a_daemon_never_gets_itself_from_an_ancestor(world: impl World) -> Result {
    /// Gets a daemon of its own type where there is a parent.
    struct Mirror;
    impl Daemon for Mirror {
        fn build(factory: &mut Factory) -> Result<Self> {
            if factory.path() != "demo" {
                factory.with::<Mirror>()?;
            }
            Ok(Mirror)
        }
    }
    let mut factory = Factory::root("demo", world);
    factory.with::<Mirror>()?;
    let demo = factory.start().await?;
    let Err(error) = demo.child("child")?.build::<Mirror>() else { panic!("it got its parent's") };
    assert_eq!(error.root_cause().to_string(), "dependency cycle: Mirror -> Mirror");
    demo.stop().await;
    Ok(())
}

async fn a_daemon_shaped_by_a_failure_is_rebuilt_where_it_may_succeed(world: impl World) -> Result {
    struct Strict(u32);
    impl Daemon for Strict {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Strict(*factory.value()?))
        }
    }
    struct Lenient(Option<DaemonRef<Strict>>);
    impl Daemon for Lenient {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Lenient(factory.get().ok()))
        }
    }
    let mut factory = Factory::root("demo", world);
    assert!(factory.get::<Lenient>()?.0.is_none());
    let error = factory.provide_value(5_u32).unwrap_err();
    assert!(error.to_string().contains("Lenient requested it before"), "{error}");
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.provide_value(5_u32)?;
    assert_eq!(child.get::<Lenient>()?.0.as_ref().map(|strict| strict.0), Some(5));
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn a_place_of_its_own_rebuilds_what_reads_the_clock(world: impl World) -> Result {
    async fn story<W: World>(world: W) -> Result {
        struct Watch<W: World> {
            clock: DaemonRef<W::Clock>,
            built_in: String,
        }
        impl<W: World> Daemon for Watch<W> {
            fn build(factory: &mut Factory) -> Result<Self> {
                Ok(Watch { clock: factory.get()?, built_in: factory.path().to_owned() })
            }
        }
        let mut factory = Factory::root("demo", world.clone());
        factory.with::<Watch<W>>()?;
        factory.with::<Plain>()?;
        let demo = factory.start().await?;

        let mut lease = demo.child("lease")?;
        assert_eq!(lease.get::<Watch<W>>()?.built_in, "demo");
        drop(lease);

        let mut machine = demo.child_in("machine", world)?;
        let watch = machine.get::<Watch<W>>()?;
        assert_eq!(watch.built_in, "demo/machine");
        assert_eq!(machine.get::<Plain>()?.built_in, "demo");
        watch.clock.now();
        drop(watch);
        let machine = machine.start().await?;

        let mut lease = machine.child("lease")?;
        assert_eq!(lease.get::<Watch<W>>()?.built_in, "demo/machine");
        drop((lease, machine));
        assert!(demo.stop().await.is_clean());
        Ok(())
    }
    story(world).await
}

async fn values_come_from_the_nearest_factory(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.provide_value("outer")?;
    factory.provide_value(1_u8)?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.provide_value("inner")?;
    assert_eq!(*child.value::<&str>()?, "inner");
    let child = child.start().await?;
    assert_eq!(**child.value::<&str>()?, "inner");
    assert_eq!(**demo.value::<&str>()?, "outer");
    assert!(Arc::ptr_eq(child.value::<u8>()?, demo.value::<u8>()?));
    assert!(child.value::<u16>().is_err());
    demo.stop().await;
    Ok(())
}
