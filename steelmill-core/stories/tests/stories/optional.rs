//! Optional dependencies: found if they exist, never built on demand, and not built after a daemon was built without.

use steelmill_core::{Daemon, DaemonRef, Deadlines, Factory, Result, World};

use crate::stories;
use crate::support::{Part, Script, assert_before, journal};

stories! {
    what_is_there_is_found_and_what_is_not_is_not_built
    what_was_found_is_a_dependency
    what_a_daemon_went_on_without_cannot_appear_afterwards
    the_setup_may_look_first_and_decide_then
    a_daemon_may_look_first_and_build_then
    a_child_finds_what_it_can_share
    a_child_that_has_what_its_parent_missed_rebuilds_what_missed_it
    what_a_shared_daemon_went_on_without_cannot_appear_in_the_child
    looking_for_one_that_waits_for_the_looker_is_a_cycle
    the_graph_shows_what_is_optional
}

struct Metrics {
    built_in: String,
}

impl Daemon for Metrics {
    fn build(factory: &mut Factory) -> Result<Self> {
        // A factory with a value of its own gets metrics of its own.
        factory.try_value::<u8>();
        Ok(Metrics { built_in: factory.path().to_owned() })
    }
}

/// Its dependency is optional.
struct Gateway {
    metrics: Option<DaemonRef<Metrics>>,
    built_in: String,
}

impl Daemon for Gateway {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Gateway { metrics: factory.find()?, built_in: factory.path().to_owned() })
    }
}

async fn what_is_there_is_found_and_what_is_not_is_not_built(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world.clone());
    assert!(factory.get::<Gateway>()?.metrics.is_none());
    let demo = factory.start().await?;
    assert!(demo.get::<Metrics>().is_err());
    demo.stop().await;

    let mut factory = Factory::root("demo", world.clone());
    factory.provide(Metrics { built_in: "by hand".to_owned() })?;
    assert_eq!(factory.get::<Gateway>()?.metrics.as_ref().unwrap().built_in, "by hand");

    let mut factory = Factory::root("demo", world);
    factory.with::<Metrics>()?;
    assert_eq!(factory.get::<Gateway>()?.metrics.as_ref().unwrap().built_in, "demo");
    let error = factory.provide(Metrics { built_in: String::new() }).unwrap_err();
    assert!(error.to_string().ends_with("the setup requested it before"), "{error}");
    Ok(())
}

async fn what_was_found_is_a_dependency(world: impl World) -> Result {
    struct Finder(Option<DaemonRef<Part<'a'>>>);
    impl Daemon for Finder {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Finder(factory.find()?))
        }
        async fn stop(&self, _: &steelmill_core::Scope) -> Result {
            self.0.as_ref().unwrap().note("finder stopped");
            Ok(())
        }
    }
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal).part('a', "");
    let mut factory = script.factory(world, Deadlines::default())?;
    factory.with::<Finder>()?;
    assert!(factory.start().await?.stop().await.is_clean());
    assert_before(&lines.take(), "finder stopped", "a stops");
    Ok(())
}

async fn what_a_daemon_went_on_without_cannot_appear_afterwards(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Gateway>()?;
    let error = factory.provide(Metrics { built_in: String::new() }).unwrap_err();
    assert_eq!(error.to_string(), "demo: Metrics cannot be provided any more: Gateway requested it before");
    let error = factory.get::<Metrics>().map(drop).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "demo: building Metrics: Gateway requested it before and continued without it; request Metrics first"
    );
    let error = factory.build::<Metrics>().map(drop).unwrap_err();
    assert_eq!(error.to_string(), "demo: Metrics cannot be built here any more: Gateway requested it before");
    assert!(factory.find::<Metrics>()?.is_none());
    // Another name is another daemon.
    factory.with_named::<Metrics>("own")?;
    Ok(())
}

async fn the_setup_may_look_first_and_decide_then(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    if factory.find::<Metrics>()?.is_none() {
        factory.provide(Metrics { built_in: "by hand".to_owned() })?;
    }
    assert!(factory.get::<Gateway>()?.metrics.is_some());
    Ok(())
}

async fn a_daemon_may_look_first_and_build_then(world: impl World) -> Result {
    struct Keen(DaemonRef<Metrics>);
    impl Daemon for Keen {
        fn build(factory: &mut Factory) -> Result<Self> {
            match factory.find()? {
                Some(metrics) => Ok(Keen(metrics)),
                None => Ok(Keen(factory.get()?)),
            }
        }
    }
    let mut factory = Factory::root("demo", world);
    assert_eq!(factory.get::<Keen>()?.0.built_in, "demo");
    assert!(factory.get::<Gateway>()?.metrics.is_some());
    Ok(())
}

async fn a_child_finds_what_it_can_share(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Metrics>()?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    let gateway = child.get::<Gateway>()?;
    assert_eq!(gateway.metrics.as_ref().unwrap().built_in, "demo");
    drop((gateway, child));

    let mut other = demo.child("other")?;
    other.provide_value(1_u8)?;
    assert!(other.get::<Gateway>()?.metrics.is_none(), "its parent's is not for it, and none is built");
    drop(other);
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn a_child_that_has_what_its_parent_missed_rebuilds_what_missed_it(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Gateway>()?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.with::<Metrics>()?;
    let gateway = child.get::<Gateway>()?;
    assert_eq!(gateway.built_in, "demo/child");
    assert!(gateway.metrics.is_some());
    drop((gateway, child));
    demo.stop().await;
    Ok(())
}

async fn what_a_shared_daemon_went_on_without_cannot_appear_in_the_child(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Gateway>()?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    assert_eq!(child.get::<Gateway>()?.built_in, "demo");
    let error = child.get::<Metrics>().map(drop).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "demo/child: building Metrics: Gateway of demo requested it before and continued without it; request Metrics \
         first"
    );
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn looking_for_one_that_waits_for_the_looker_is_a_cycle(world: impl World) -> Result {
    struct Chicken(#[expect(dead_code, reason = "never built")] DaemonRef<Egg>);
    impl Daemon for Chicken {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Chicken(factory.get()?))
        }
    }
    struct Egg(Option<DaemonRef<Chicken>>);
    impl Daemon for Egg {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Egg(factory.find()?))
        }
    }
    let mut factory = Factory::root("demo", world);
    let error = factory.with::<Chicken>().unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: dependency cycle: Chicken -> Egg -> Chicken");
    assert!(factory.get::<Egg>()?.0.is_none());
    Ok(())
}

async fn the_graph_shows_what_is_optional(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Metrics>()?;
    factory.with::<Gateway>()?;
    let graph = factory.graph();
    assert!(graph.to_dot().contains("n5 -> n4 [label=\"optional\", style=dashed];"), "{}", graph.to_dot());
    assert!(graph.to_mermaid().contains("n5 -.->|\"optional\"| n4"), "{}", graph.to_mermaid());
    Ok(())
}
