//! Assembling: all errors at once, recipes, decorators, order without a dependency, long chains, types of one name.

use std::sync::Arc;

use anyhow::bail;
use steelmill_core::{
    AssemblyErrorKind, Catalog, Daemon, DaemonRef, Deadlines, Factory, Result, Scope, World,
};

use crate::stories;
use crate::support::{Act, Journal, Part, Script, assert_before, journal};

stories! {
    a_setup_is_validated_to_its_end
    a_cycle_is_one_error_whoever_is_requested
    what_a_daemon_handles_is_no_error
    a_validated_factory_starts
    unknown_names_of_a_catalog_are_all_reported
    a_recipe_builds_a_daemon
    a_child_with_a_recipe_builds_its_own_daemon
    a_recipe_comes_before_the_request
    a_child_decorates_what_its_parent_bound
    decorators_are_put_around_each_other
    a_decorator_needs_something_to_decorate
    a_daemon_starts_after_and_stops_before_another
    an_order_is_no_cycle
    a_long_chain_is_shared_or_built_anew
    types_of_one_name_are_told_apart
}

struct Limit;

struct NeedsLimit;
impl Daemon for NeedsLimit {
    fn build(factory: &mut Factory) -> Result<Self> {
        factory.value::<Limit>()?;
        Ok(NeedsLimit)
    }
}

struct Above;
impl Daemon for Above {
    fn build(factory: &mut Factory) -> Result<Self> {
        factory.get::<NeedsLimit>()?;
        Ok(Above)
    }
}

struct Broken;
impl Daemon for Broken {
    fn build(_: &mut Factory) -> Result<Self> {
        panic!("as told")
    }
}

struct Tolerant;
impl Daemon for Tolerant {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(factory.get::<Broken>().map_or(Tolerant, |_| Tolerant))
    }
}

trait Named: Send + Sync {
    fn name(&self) -> String;
}

trait Unbound: Send + Sync {}

struct Plain;
impl Daemon for Plain {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Plain)
    }
}
impl Named for Plain {
    fn name(&self) -> String {
        "plain".to_owned()
    }
}

async fn a_setup_is_validated_to_its_end(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let errors = factory
        .validate(|factory| {
            factory.with::<Above>()?;
            factory.with::<NeedsLimit>()?;
            factory.with::<Broken>()?;
            factory.provide_value(1_u8)?;
            factory.provide_value(2_u8)?;
            factory.bind::<dyn Named, Plain>(|daemon| daemon)?;
            factory.bind::<dyn Named, Plain>(|daemon| daemon)?;
            factory.with::<Plain>()?;
            factory.get_dyn::<dyn Unbound>().map(drop)
        })
        .unwrap_err();
    assert_eq!(
        errors.to_string(),
        "5 errors\n  \
         missing: demo: building Above: building NeedsLimit: demo: no value of type Limit was provided (and 1 more \
         requests fail for it)\n  \
         failed: demo: building Broken: panicked: as told\n  \
         ambiguous: demo: u8 cannot be provided: it was provided before\n  \
         ambiguous: demo: dyn Named cannot be bound: it was bound before\n  \
         missing: demo: nothing is bound as dyn Unbound: call `bind::<dyn Unbound, _>(|daemon| daemon)` before"
    );
    Ok(())
}

struct Hen;
struct Egg;
impl Daemon for Hen {
    fn build(factory: &mut Factory) -> Result<Self> {
        factory.get::<Egg>()?;
        Ok(Hen)
    }
}
impl Daemon for Egg {
    fn build(factory: &mut Factory) -> Result<Self> {
        factory.get::<Hen>()?;
        Ok(Egg)
    }
}

async fn a_cycle_is_one_error_whoever_is_requested(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let errors = factory
        .validate(|factory| {
            factory.with::<Hen>()?;
            factory.with::<Egg>()?;
            factory.with::<Hen>()
        })
        .unwrap_err();
    let [error] = errors.errors() else { panic!("{errors}") };
    assert_eq!((error.kind, error.others), (AssemblyErrorKind::Cyclic, 2));
    assert_eq!(error.text, "demo: dependency cycle: Hen -> Egg -> Hen");
    Ok(())
}

async fn what_a_daemon_handles_is_no_error(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    assert!(factory.validate(|factory| factory.with::<Tolerant>()).is_ok());
    // Nor does it hide the next one.
    let errors = factory.validate(|factory| factory.with::<Above>()).unwrap_err();
    assert_eq!(errors.errors().len(), 1);
    Ok(())
}

async fn a_validated_factory_starts(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.validate(|factory| {
        factory.provide_value(Limit)?;
        factory.with::<Above>()
    })?;
    // From here on, errors are returned as ever.
    assert!(factory.with::<Broken>().is_err());
    let demo = factory.start().await?;
    assert!(demo.get::<NeedsLimit>().is_ok());
    assert!(demo.stop().await.is_clean());
    Ok(())
}

async fn unknown_names_of_a_catalog_are_all_reported(world: impl World) -> Result {
    let catalog = Catalog::new().add::<Plain>("plain").add::<NeedsLimit>("limited");
    let mut factory = Factory::root("demo", world);
    let names = ["lpain", "limited", "limits"];
    let errors = factory.validate(|factory| catalog.assemble(factory, &names)).unwrap_err();
    let kinds: Vec<_> = errors.errors().iter().map(|error| error.kind).collect();
    assert_eq!(kinds, [AssemblyErrorKind::Missing; 3]);
    let texts: Vec<_> = errors.errors().iter().map(|error| &*error.text).collect();
    assert_eq!(texts[0], "no daemon is called \"lpain\"; there are: plain, limited");
    assert!(texts[1].contains("limits") && texts[2].contains("Limit"), "{texts:?}");
    Ok(())
}

/// Says how it was built.
struct Store(String);

impl Daemon for Store {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Store("by build".to_owned()))
    }
}

struct Gateway(DaemonRef<Store>);

impl Daemon for Gateway {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Gateway(factory.get()?))
    }
}

async fn a_recipe_builds_a_daemon(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let how = "by a recipe".to_owned();
    factory.recipe(move |_| Ok(Store(how.clone())))?;
    factory.recipe_named("second", |factory| Ok(Store(format!("{} too", factory.get::<Store>()?.0))))?;
    factory.recipe::<Broken>(|_| bail!("no"))?;
    assert_eq!(factory.get::<Gateway>()?.0.0, "by a recipe");
    assert_eq!(factory.get_named::<Store>("second")?.0, "by a recipe too");
    assert_eq!(factory.get_named::<Store>("third")?.0, "by build");
    let error = factory.with::<Broken>().unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: building Broken: no");
    Ok(())
}

async fn a_child_with_a_recipe_builds_its_own_daemon(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.recipe(|_| Ok(Store("by the parent".to_owned())))?;
    factory.with::<Gateway>()?;
    factory.with_named::<Store>("other")?;
    let demo = factory.start().await?;

    let mut child = demo.child("child")?;
    child.recipe(|_| Ok(Store("by the child".to_owned())))?;
    // The gateway depends on it, so it is built anew, too.
    assert_eq!(child.get::<Gateway>()?.0.0, "by the child");
    assert_eq!(child.get::<Store>()?.0, "by the child");
    let child = child.start().await?;
    let mut grandchild = child.child("grandchild")?;
    assert_eq!(grandchild.get::<Gateway>()?.0.0, "by the child");
    assert_eq!(grandchild.get_named::<Store>("other")?.0, "by build");

    let mut other = demo.child("other")?;
    assert_eq!(other.get::<Gateway>()?.0.0, "by the parent");
    assert!(other.build::<Store>().is_err(), "the gateway, which is shared, was built from it");
    let mut third = demo.child("third")?;
    assert_eq!(third.build::<Store>()?.0, "by the parent", "a recipe is inherited");
    drop((child, grandchild, other, third));
    demo.stop().await;
    Ok(())
}

async fn a_recipe_comes_before_the_request(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.with::<Gateway>()?;
    let late = factory.recipe::<Store>(|_| bail!("no")).unwrap_err().to_string();
    assert_eq!(late, "demo: Store cannot be given a recipe any more: Gateway requested it before");
    factory.recipe::<Plain>(|_| Ok(Plain))?;
    let twice = factory.recipe::<Plain>(|_| Ok(Plain)).unwrap_err().to_string();
    assert_eq!(twice, "demo: Plain cannot be given a recipe: it has one");
    Ok(())
}

/// Decorates a `Named`; each has a number, to be a type of its own.
struct Around<const N: u8>(DaemonRef<dyn Named>);

impl<const N: u8> Daemon for Around<N> {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Around(factory.inner::<dyn Named, Self>()?))
    }
}

impl<const N: u8> Named for Around<N> {
    fn name(&self) -> String {
        format!("{N}({})", self.0.name())
    }
}

/// Depends on whatever is bound.
struct Caller(DaemonRef<dyn Named>);

impl Daemon for Caller {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Caller(factory.get_dyn()?))
    }
}

async fn a_child_decorates_what_its_parent_bound(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.bind::<dyn Named, Plain>(|daemon| daemon)?;
    factory.with::<Caller>()?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.decorate::<dyn Named, Around<1>>(|daemon| daemon)?;
    assert_eq!(child.get::<Caller>()?.0.name(), "1(plain)");
    let child = child.start().await?;
    assert_eq!(child.get_dyn::<dyn Named>()?.name(), "1(plain)");
    assert_eq!(demo.get::<Caller>()?.0.name(), "plain");
    // The parent's own is shared, not built anew.
    let own: Vec<_> =
        child.status().await.expect("it runs").daemons.into_iter().map(|status| status.daemon).collect();
    assert_eq!(own, ["Around<1>", "Caller"]);
    let mut grandchild = child.child("grandchild")?;
    grandchild.decorate::<dyn Named, Around<2>>(|daemon| daemon)?;
    assert_eq!(grandchild.get_dyn::<dyn Named>()?.name(), "2(1(plain))");
    let grandchild = grandchild.start().await?;
    assert_eq!(
        grandchild.status().await.expect("it runs").daemons.len(),
        1,
        "the decorator below it is shared"
    );
    drop((child, grandchild));
    demo.stop().await;
    Ok(())
}

async fn decorators_are_put_around_each_other(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.bind::<dyn Named, Plain>(|daemon| daemon)?;
    factory.decorate::<dyn Named, Around<1>>(|daemon| daemon)?;
    factory.decorate::<dyn Named, Around<2>>(|daemon| daemon)?;
    assert_eq!(factory.get::<Caller>()?.0.name(), "2(1(plain))");
    let demo = factory.start().await?;
    // Bound anew: what is around it is, too.
    let mut child = demo.child("child")?;
    child.bind::<dyn Named, Around<1>>(|daemon| daemon)?;
    let circular = child.get_dyn::<dyn Named>().unwrap_err();
    assert!(format!("{circular:#}").contains("Around<1> decorates no dyn Named"), "{circular:#}");
    demo.stop().await;
    Ok(())
}

async fn a_decorator_needs_something_to_decorate(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let none = factory.decorate::<dyn Named, Around<1>>(|daemon| daemon).unwrap_err().to_string();
    assert_eq!(none, "demo: dyn Named cannot be decorated: nothing is bound as it");
    factory.bind::<dyn Named, Plain>(|daemon| daemon)?;
    let itself = factory.decorate::<dyn Named, Plain>(|daemon| daemon).unwrap_err().to_string();
    assert_eq!(itself, "demo: dyn Named cannot be decorated by Plain: it is provided by that already");
    factory.with::<Caller>()?;
    let late = factory.decorate::<dyn Named, Around<1>>(|daemon| daemon).unwrap_err().to_string();
    assert_eq!(late, "demo: dyn Named cannot be decorated any more: Caller requested it before");
    Ok(())
}

async fn a_daemon_starts_after_and_stops_before_another(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    // Both are built before the order is requested, in the order of their names.
    let script = Script::new(&world, journal).part('a', "").part('b', "").part('c', "a");
    let script = script.prepare('b', Act::Take(std::time::Duration::from_millis(20)));
    let mut factory = script.factory(world, Deadlines::default())?;
    factory.after::<Part<'a'>, Part<'b'>>()?;
    factory.after::<Part<'a'>, Part<'b'>>()?;
    assert!(factory.graph().to_dot().contains("[label=\"after\"]"), "{}", factory.graph().to_dot());
    let cycle = factory.after::<Part<'b'>, Part<'c'>>().unwrap_err();
    assert_eq!(
        format!("{cycle:#}"),
        "demo: dependency cycle: Part<'b'> -> Part<'c'> -> Part<'a'> -> Part<'b'>"
    );
    let report = factory.start().await?.stop().await;
    assert!(report.is_clean());
    let lines = lines.take();
    for (first, then) in [
        ("b prepare done", "a prepares"),
        ("a prepare done", "c prepares"),
        ("c stop done", "a stops"),
        ("a stop done", "b stops"),
    ] {
        assert_before(&lines, first, then);
    }
    Ok(())
}

async fn an_order_is_no_cycle(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let errors = factory
        .validate(|factory| {
            factory.after::<Plain, Store>()?;
            factory.after::<Store, Plain>()?;
            factory.after::<Store, Store>()
        })
        .unwrap_err();
    assert_eq!(
        errors.to_string(),
        "2 errors\n  cyclic: demo: dependency cycle: Store -> Plain -> Store\n  \
         cyclic: demo: dependency cycle: Store -> Store"
    );
    Ok(())
}

/// The nth of a chain; the first depends on a `Store`.
struct Link(Option<DaemonRef<Link>>, Option<DaemonRef<Store>>);

impl Daemon for Link {
    fn build(factory: &mut Factory) -> Result<Self> {
        let number: u32 = factory.name().unwrap_or_default().parse()?;
        Ok(match number.checked_sub(1) {
            Some(before) => Link(Some(factory.get_named(&before.to_string())?), None),
            None => Link(None, Some(factory.get()?)),
        })
    }
}

impl Link {
    fn store(&self) -> &Store {
        let mut link = self;
        while let Some(next) = &link.0 {
            link = next;
        }
        link.1.as_ref().expect("it is the first")
    }
}

/// Long enough that the upper ones do not list what they were built from.
const LINKS: u32 = 300;

fn chain(factory: &mut Factory) -> Result<DaemonRef<Link>> {
    for number in 0..LINKS {
        factory.with_named::<Link>(&number.to_string())?;
    }
    factory.get_named(&(LINKS - 1).to_string())
}

async fn a_long_chain_is_shared_or_built_anew(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    chain(&mut factory)?;
    let late = factory.recipe::<Store>(|_| bail!("no")).unwrap_err().to_string();
    assert_eq!(late, "demo: Store cannot be given a recipe any more: Link[0] requested it before");
    let demo = factory.start().await?;
    let last = demo.get_named::<Link>(&(LINKS - 1).to_string())?;

    let mut same = demo.child("same")?;
    let shared = same.get_named::<Link>(&(LINKS - 1).to_string())?;
    assert!(std::ptr::eq(&**last, &*shared));
    let late = same.recipe::<Store>(|_| bail!("no")).unwrap_err().to_string();
    assert_eq!(
        late,
        "demo/same: Store cannot be given a recipe any more: the setup requested Link[299] of demo before, which was built \
         from it"
    );

    let mut other = demo.child("other")?;
    other.recipe(|_| Ok(Store("of the child".to_owned())))?;
    assert_eq!(chain(&mut other)?.store().0, "of the child");
    assert_eq!(last.store().0, "by build");
    drop((same, shared, other));
    demo.stop().await;
    Ok(())
}

mod first {
    use super::*;

    pub(super) struct Cache;
    impl Daemon for Cache {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Cache)
        }
        async fn stop(&self, _: &Scope) -> Result {
            bail!("of the first")
        }
    }
}

mod second {
    use super::*;

    pub(super) struct Cache(Arc<Journal>);
    impl Daemon for Cache {
        fn build(factory: &mut Factory) -> Result<Self> {
            factory.get::<first::Cache>()?;
            Ok(Cache(factory.value()?))
        }
        async fn stop(&self, scope: &Scope) -> Result {
            self.0.note(scope.daemon());
            bail!("of the second")
        }
    }
}

async fn types_of_one_name_are_told_apart(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let mut factory = Factory::root("demo", world);
    factory.provide_value(journal)?;
    factory.with_named::<second::Cache>("x")?;
    factory.with_named::<first::Cache>("x")?;
    factory.with::<Plain>()?;
    let demo = factory.start().await?;
    let status = demo.status().await.expect("it runs");
    let names: Vec<_> = status.daemons.iter().map(|status| &*status.daemon).collect();
    assert_eq!(names, ["Cache", "second::Cache[x]", "first::Cache[x]", "Plain"]);
    demo.restart_daemon("second::Cache[x]").await?;
    let report = demo.stop().await;
    let mut failures: Vec<_> = report.failures().iter().map(ToString::to_string).collect();
    failures.sort();
    assert_eq!(
        failures,
        [
            "demo: Cache failed to stop: of the first",
            "demo: first::Cache[x] failed to stop: of the first",
            "demo: second::Cache[x] failed to stop: of the second"
        ]
    );
    assert_eq!(lines.take(), ["second::Cache[x]"]);
    Ok(())
}
