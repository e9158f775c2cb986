//! Daemons behind traits: bound as `dyn Trait`, and in groups.

use std::sync::Arc;

use steelmill_core::{Daemon, DaemonRef, Deadlines, Factory, Result, Scope, World};

use crate::stories;
use crate::support::{Part, Script, assert_before, journal};

stories! {
    what_is_bound_is_handed_out_behind_its_trait
    nothing_bound_is_an_error_that_says_what_to_do
    binding_after_the_hand_out_names_who_asked
    what_is_bound_stops_after_those_who_asked_for_the_trait
    a_child_finds_its_parents_binding_and_may_make_another
    a_daemon_behind_a_trait_is_rebuilt_where_it_is_replaced
    a_trait_can_be_bound_to_a_name
    what_nobody_bound_can_be_gone_without
    a_group_has_all_its_members_in_order
    a_group_without_members_is_empty
    adding_after_the_group_was_asked_for_names_who_asked
    a_child_adds_to_its_parents_group
    a_member_may_not_ask_for_its_own_group
    the_graph_shows_traits_and_groups
    lookups_behind_traits_leave_nothing_behind
}

trait Store: Send + Sync {
    fn kind(&self) -> String;
}

struct Disk(String);
struct Memory;

impl Daemon for Disk {
    fn build(factory: &mut Factory) -> Result<Self> {
        let name = factory.name().map(|name| format!("[{name}]")).unwrap_or_default();
        Ok(Disk(format!("disk{name} of {}", factory.path())))
    }
}

impl Daemon for Memory {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Memory)
    }
}

impl Store for Disk {
    fn kind(&self) -> String {
        self.0.clone()
    }
}

impl Store for Memory {
    fn kind(&self) -> String {
        "memory".to_owned()
    }
}

struct Gateway {
    store: DaemonRef<dyn Store>,
    built_in: String,
}

impl Daemon for Gateway {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Gateway { store: factory.get_dyn()?, built_in: factory.path().to_owned() })
    }
}

fn same<A: ?Sized, B: ?Sized>(a: &A, b: &B) -> bool {
    std::ptr::addr_eq(a, b)
}

async fn what_is_bound_is_handed_out_behind_its_trait(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.bind::<dyn Store, Disk>(|daemon| daemon)?;
    let gateway = factory.get::<Gateway>()?;
    assert_eq!(gateway.store.kind(), "disk of demo");
    assert!(same(&*gateway.store, &*factory.get::<Disk>()?), "it is the daemon of that type");
    drop(gateway);
    let demo = factory.start().await?;
    assert!(same(&**demo.get_dyn::<dyn Store>()?, &**demo.get::<Disk>()?));
    let error = demo.get_dyn::<dyn Command>().map(drop).unwrap_err();
    assert_eq!(error.to_string(), "demo: dyn Command was not requested before the start");
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    Ok(())
}

async fn nothing_bound_is_an_error_that_says_what_to_do(world: impl World) -> Result {
    let error = Factory::root("demo", world).with::<Gateway>().unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "demo: building Gateway: demo: nothing is bound as dyn Store: call `bind::<dyn Store, _>(|daemon| daemon)` before"
    );
    Ok(())
}

async fn binding_after_the_hand_out_names_who_asked(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.bind::<dyn Store, Disk>(|daemon| daemon)?;
    let error = factory.bind::<dyn Store, Memory>(|daemon| daemon).unwrap_err();
    assert_eq!(error.to_string(), "demo: dyn Store cannot be bound: it was bound before");
    factory.with::<Gateway>()?;
    let error = factory.bind::<dyn Store, Memory>(|daemon| daemon).unwrap_err();
    assert_eq!(error.to_string(), "demo: dyn Store cannot be bound any more: Gateway requested it before");
    let error = factory.provide(Disk(String::new())).unwrap_err();
    assert_eq!(error.to_string(), "demo: Disk cannot be provided any more: Gateway requested it before");

    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.with::<Gateway>()?;
    let error = child.bind::<dyn Store, Memory>(|daemon| daemon).unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo/child: dyn Store cannot be bound any more: the setup requested Gateway of demo before, which was built \
         from it"
    );
    drop(child);
    demo.stop().await;
    Ok(())
}

async fn what_is_bound_stops_after_those_who_asked_for_the_trait(world: impl World) -> Result {
    trait Letter: Send + Sync {
        fn note(&self, line: &str);
    }
    impl Letter for Part<'a'> {
        fn note(&self, line: &str) {
            Part::note(self, line);
        }
    }
    struct Writer(DaemonRef<dyn Letter>);
    impl Daemon for Writer {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Writer(factory.get_dyn()?))
        }
        async fn prepare(&self, _: &Scope) -> Result {
            self.0.note("writer prepared");
            Ok(())
        }
        async fn stop(&self, _: &Scope) -> Result {
            self.0.note("writer stopped");
            Ok(())
        }
    }
    let (journal, mut lines) = journal();
    let mut factory = Script::new(&world, journal).part('a', "").factory(world, Deadlines::default())?;
    factory.bind::<dyn Letter, Part<'a'>>(|daemon| daemon)?;
    factory.with::<Writer>()?;
    let report = factory.start().await?.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    let lines = lines.take();
    assert_before(&lines, "a prepare done", "writer prepared");
    assert_before(&lines, "writer stopped", "a stops");
    Ok(())
}

async fn a_child_finds_its_parents_binding_and_may_make_another(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.bind::<dyn Store, Disk>(|daemon| daemon)?;
    factory.with::<Gateway>()?;
    let demo = factory.start().await?;

    let mut child = demo.child("child")?;
    assert_eq!(child.get::<Gateway>()?.built_in, "demo");
    assert_eq!(child.get_dyn::<dyn Store>()?.kind(), "disk of demo");
    let child = child.start().await?;
    assert!(same(&**child.get_dyn::<dyn Store>()?, &**demo.get::<Disk>()?));
    let report = child.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");

    let mut child = demo.child("child")?;
    child.bind::<dyn Store, Memory>(|daemon| daemon)?;
    let gateway = child.get::<Gateway>()?;
    assert_eq!((&*gateway.built_in, &*gateway.store.kind()), ("demo/child", "memory"));
    drop((gateway, child));
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    Ok(())
}

async fn a_daemon_behind_a_trait_is_rebuilt_where_it_is_replaced(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.bind::<dyn Store, Disk>(|daemon| daemon)?;
    factory.with::<Gateway>()?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.build::<Disk>()?;
    let gateway = child.get::<Gateway>()?;
    assert_eq!((&*gateway.built_in, &*gateway.store.kind()), ("demo/child", "disk of demo/child"));
    drop((gateway, child));
    demo.stop().await;
    Ok(())
}

async fn a_trait_can_be_bound_to_a_name(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.bind_named::<dyn Store, Disk>("fast", |daemon| daemon)?;
    assert_eq!(factory.get::<Gateway>()?.store.kind(), "disk[fast] of demo");
    assert!(factory.find::<Disk>()?.is_none());
    Ok(())
}

async fn what_nobody_bound_can_be_gone_without(world: impl World) -> Result {
    struct Lenient(Option<DaemonRef<dyn Store>>);
    impl Daemon for Lenient {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Lenient(factory.find_dyn()?))
        }
    }
    let mut factory = Factory::root("demo", world);
    assert!(factory.find_dyn::<dyn Store>()?.is_none());
    assert!(factory.get::<Lenient>()?.0.is_none());
    let error = factory.bind::<dyn Store, Disk>(|daemon| daemon).unwrap_err();
    assert_eq!(error.to_string(), "demo: dyn Store cannot be bound any more: Lenient requested it before");
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    child.bind::<dyn Store, Disk>(|daemon| daemon)?;
    assert!(child.get::<Lenient>()?.0.is_some());
    drop(child);
    demo.stop().await;
    Ok(())
}

trait Command: Send + Sync {
    fn name(&self) -> &str;
}

macro_rules! commands {
    ($($name:ident)*) => {
        $(
            struct $name;
            impl Daemon for $name {
                fn build(_: &mut Factory) -> Result<Self> {
                    Ok($name)
                }
            }
            impl Command for $name {
                fn name(&self) -> &str {
                    stringify!($name)
                }
            }
        )*
    };
}

commands!(Ping Echo Quit);

impl Command for Disk {
    fn name(&self) -> &str {
        &self.0
    }
}

struct Shell {
    commands: Vec<DaemonRef<dyn Command>>,
    built_in: String,
}

impl Shell {
    fn names(&self) -> Vec<&str> {
        self.commands.iter().map(|command| command.name()).collect()
    }
}

impl Daemon for Shell {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Shell { commands: factory.group()?, built_in: factory.path().to_owned() })
    }
}

fn shell(world: impl World) -> Result<Factory> {
    let mut factory = Factory::root("demo", world);
    factory.add_to_group::<dyn Command, Ping>(|daemon| daemon)?;
    factory.add_to_group::<dyn Command, Echo>(|daemon| daemon)?;
    Ok(factory)
}

async fn a_group_has_all_its_members_in_order(world: impl World) -> Result {
    let mut factory = shell(world)?;
    factory.add_to_group_named::<dyn Command, Disk>("b", |daemon| daemon)?;
    factory.add_to_group_named::<dyn Command, Disk>("a", |daemon| daemon)?;
    let error = factory.add_to_group_named::<dyn Command, Disk>("a", |daemon| daemon).unwrap_err();
    assert_eq!(
        error.to_string(),
        "demo: Disk[a] cannot be added to the group of dyn Command: it is in it already"
    );
    assert!(factory.find::<Ping>()?.is_none(), "the group was not requested");
    factory.with::<Echo>()?;
    let shell = factory.get::<Shell>()?;
    assert_eq!(shell.names(), ["Ping", "Echo", "disk[b] of demo", "disk[a] of demo"]);
    assert!(same(&*shell.commands[1], &*factory.get::<Echo>()?));
    drop(shell);
    let demo = factory.start().await?;
    assert_eq!(demo.group::<dyn Command>()?.len(), 4);
    assert!(same(&*demo.group::<dyn Command>()?[0], &**demo.get::<Ping>()?));
    let error = demo.group::<dyn Store>().map(drop).unwrap_err();
    assert_eq!(error.to_string(), "demo: the group of dyn Store was not requested before the start");
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    Ok(())
}

async fn a_group_without_members_is_empty(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    assert!(factory.group::<dyn Command>()?.is_empty());
    factory.add_to_group::<dyn Command, Ping>(|daemon| daemon)?;
    assert_eq!(factory.get::<Shell>()?.names(), ["Ping"]);
    let demo = factory.start().await?;
    assert_eq!(demo.group::<dyn Command>()?.len(), 1);
    demo.stop().await;
    Ok(())
}

async fn adding_after_the_group_was_asked_for_names_who_asked(world: impl World) -> Result {
    for is_empty in [true, false] {
        let mut factory = if is_empty { Factory::root("demo", world.clone()) } else { shell(world.clone())? };
        factory.with::<Shell>()?;
        let error = factory.add_to_group::<dyn Command, Quit>(|daemon| daemon).unwrap_err();
        assert_eq!(
            error.to_string(),
            "demo: the group of dyn Command cannot be added to any more: Shell requested it before"
        );
    }
    Ok(())
}

async fn a_child_adds_to_its_parents_group(world: impl World) -> Result {
    let mut factory = shell(world)?;
    factory.with::<Shell>()?;
    let demo = factory.start().await?;
    let mut child = demo.child("child")?;
    assert_eq!(child.get::<Shell>()?.built_in, "demo");
    drop(child);

    let mut child = demo.child("child")?;
    child.add_to_group::<dyn Command, Quit>(|daemon| daemon)?;
    child.build::<Echo>()?;
    let shell = child.get::<Shell>()?;
    assert_eq!(shell.built_in, "demo/child");
    assert_eq!(shell.names(), ["Ping", "Echo", "Quit"]);
    assert!(same(&*shell.commands[0], &**demo.get::<Ping>()?));
    assert!(same(&*shell.commands[1], &*child.get::<Echo>()?));
    drop((shell, child));
    assert_eq!(demo.get::<Shell>()?.names(), ["Ping", "Echo"]);
    demo.stop().await;
    Ok(())
}

async fn a_member_may_not_ask_for_its_own_group(world: impl World) -> Result {
    struct Help(#[expect(dead_code, reason = "never built")] Vec<DaemonRef<dyn Command>>);
    impl Daemon for Help {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Help(factory.group()?))
        }
    }
    impl Command for Help {
        fn name(&self) -> &str {
            "Help"
        }
    }
    let mut factory = shell(world)?;
    factory.add_to_group::<dyn Command, Help>(|daemon| daemon)?;
    let error = factory.with::<Shell>().unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: building Shell: dependency cycle: Help -> Help");
    Ok(())
}

async fn the_graph_shows_traits_and_groups(world: impl World) -> Result {
    let mut factory = shell(world)?;
    factory.bind::<dyn Store, Disk>(|daemon| daemon)?;
    factory.with::<Gateway>()?;
    factory.with::<Shell>()?;
    let mermaid = factory.graph().to_mermaid();
    for line in [
        "    n5[\"Gateway\"]\n    n6[\"Ping\"]\n    n7[\"Echo\"]\n    n8[\"Shell\"]\n",
        "    n5 -->|\"dyn Store\"| n4\n",
        "    n8 -->|\"each dyn Command\"| n6\n    n8 -->|\"each dyn Command\"| n7\n",
    ] {
        assert!(mermaid.contains(line), "{mermaid}");
    }
    Ok(())
}

/// A factory keeps refs of its own behind traits; they go when it ends, and when it is never started.
async fn lookups_behind_traits_leave_nothing_behind(world: impl World) -> Result {
    struct Counted(#[expect(dead_code, reason = "lives as long as the daemon")] Arc<()>);
    impl Daemon for Counted {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Counted(Arc::clone(&*factory.value::<Arc<()>>()?)))
        }
    }
    trait Anything: Send + Sync {}
    impl Anything for Counted {}
    let token = Arc::new(());
    let assemble = |world| -> Result<Factory> {
        let mut factory = Factory::root("demo", world);
        factory.provide_value(token.clone())?;
        factory.bind::<dyn Anything, Counted>(|daemon| daemon)?;
        factory.add_to_group::<dyn Anything, Counted>(|daemon| daemon)?;
        factory.get_dyn::<dyn Anything>()?;
        factory.group::<dyn Anything>()?;
        Ok(factory)
    };
    drop(assemble(world.clone())?);
    assert_eq!(Arc::strong_count(&token), 1);
    let demo = assemble(world)?.start().await?;
    let mut child = demo.child("child")?;
    child.get_dyn::<dyn Anything>()?;
    let child = child.start().await?;
    assert!(child.stop().await.is_clean());
    let report = demo.stop().await;
    assert!(report.is_clean() && report.retained().is_empty(), "{report}");
    assert_eq!(Arc::strong_count(&token), 1);
    Ok(())
}
