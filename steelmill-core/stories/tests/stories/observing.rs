//! Observing a running factory: its status and its changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use steelmill_core::{
    CHANGES_BUFFERED, Changes, Clock, Daemon, DaemonStatus, Deadlines, Factory, Policy, Result, Scope, State,
    World,
};
use steelmill_sim::{Seed, check};

use crate::stories;
use crate::support::{Act, Script, journal, with};

stories! {
    a_status_shows_the_tree
    a_status_shows_what_failed
    an_ended_factory_has_no_status
    a_daemon_sees_its_own_factory
    changes_come_in_order_from_all_below
    a_slow_reader_loses_changes_and_is_told_how_many
}

async fn a_status_shows_the_tree(world: impl World) -> Result {
    let (journal, _) = journal();
    let script = Script::new(&world, journal.clone()).part('a', "").part('b', "a").run('b', Act::Return);
    let demo = script.factory(world.clone(), Deadlines::default())?.start().await?;
    let mut first = demo.child("first")?;
    first.provide_value(Script::new(&world, journal).part('x', ""))?;
    with(&mut first, 'x')?;
    let first = first.start().await?;
    let inner = first.child("inner")?.start().await?;
    let second = demo.child("second")?.start().await?;
    let status = loop {
        let status = demo.status().await.unwrap();
        if status.daemons[1].state == State::Finished {
            break status;
        }
        world.clock().sleep(Duration::from_millis(1)).await;
    };
    assert_eq!((status.factory.as_str(), status.state), ("demo", State::Running));
    let daemons: Vec<_> = status.daemons.iter().map(|d| (d.daemon.as_str(), d.state, d.runs)).collect();
    assert_eq!(daemons, [("Part<'a'>", State::Running, 1), ("Part<'b'>", State::Finished, 1)]);
    let factories: Vec<_> = status.walk().map(|status| status.factory.as_str()).collect();
    assert_eq!(factories, ["demo", "demo/first", "demo/first/inner", "demo/second"]);
    assert_eq!(status.children[0].daemons[0].daemon, "Part<'x'>");
    drop((first, inner, second));
    demo.stop().await;
    Ok(())
}

/// Fails while tasks of two names are alive.
struct Failing;

impl Daemon for Failing {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Failing)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        for name in ["client", "client", "flush"] {
            scope.spawn(name, std::future::pending::<()>());
        }
        bail!("as told")
    }
}

async fn a_status_shows_what_failed(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world.clone());
    factory.policy::<Failing>(Policy { stop: Some(crate::support::SHORT), ..Policy::leave_down() });
    factory.with::<Failing>()?;
    let demo = factory.start().await?;
    let daemon = async |state: State| -> DaemonStatus {
        loop {
            let daemon = demo.status().await.unwrap().daemons.remove(0);
            if daemon.state == state {
                return daemon;
            }
            world.clock().sleep(Duration::from_millis(1)).await;
        }
    };
    let failing = daemon(State::WindingDown).await;
    assert_eq!(failing.tasks, [("client", 2), ("flush", 1)]);
    assert_eq!(failing.tasks_alive(), 3);
    let down = daemon(State::Down).await;
    assert_eq!((down.last_error.as_deref(), down.tasks_alive()), (Some("run: as told"), 0));
    assert!(down.since > failing.since);
    demo.stop().await;
    Ok(())
}

async fn an_ended_factory_has_no_status(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    demo.clone().stop().await;
    assert_eq!(demo.status().await, None);
    assert_eq!(demo.changes().next().await, None);
    Ok(())
}

struct Looking(tokio::sync::mpsc::UnboundedSender<String>);

impl Daemon for Looking {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        let status = scope.status().await.unwrap();
        self.0.send(format!("{} {} {}", status.factory, status.state, status.daemons[0].state))?;
        Ok(())
    }
}

async fn a_daemon_sees_its_own_factory(world: impl World) -> Result {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let mut factory = Factory::root("demo", world);
    factory.provide(Looking(sender))?;
    let demo = factory.start().await?;
    assert_eq!(seen.recv().await.unwrap(), "demo preparing preparing");
    demo.stop().await;
    Ok(())
}

async fn lines_of(changes: &mut Changes, factory: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(change) = changes.next().await {
        let who = change.daemon.as_deref().unwrap_or("all");
        if &*change.factory == factory {
            lines.push(format!("{who} {}", change.state));
        }
    }
    lines
}

async fn changes_come_in_order_from_all_below(world: impl World) -> Result {
    let (journal, _) = journal();
    let demo = Factory::root("demo", world.clone()).start().await?;
    let (mut first, mut second) = (demo.changes(), demo.changes());
    let mut child = demo.child("child")?;
    child.provide_value(Script::new(&world, journal).part('x', ""))?;
    with(&mut child, 'x')?;
    let child = child.start().await?;
    let grandchild = child.child("inner")?.start().await?;
    demo.stop().await;
    drop((child, grandchild));
    let lines = lines_of(&mut first, "demo/child").await;
    let expected =
        ["all preparing", "Part<'x'> preparing", "all running", "Part<'x'> running", "all stopping"];
    assert_eq!(lines[..5], expected);
    assert_eq!(lines[5..], ["Part<'x'> stopping", "Part<'x'> ended", "all ended"]);
    let lines = lines_of(&mut second, "demo/child/inner").await;
    assert_eq!(lines, ["all running", "all ended"], "states that last no time are left out");
    Ok(())
}

async fn a_slow_reader_loses_changes_and_is_told_how_many(world: impl World) -> Result {
    let demo = Factory::root("demo", world).start().await?;
    let mut changes = demo.changes();
    let children = CHANGES_BUFFERED / 2 + 10;
    for _ in 0..children {
        demo.child("child")?.start().await?.stop().await;
    }
    demo.stop().await;
    let mut read = 0;
    while changes.next().await.is_some() {
        read += 1;
    }
    assert_eq!(read, CHANGES_BUFFERED);
    // Two changes of each child, and the end of the factory itself.
    assert_eq!(changes.missed(), (2 * children + 1 - CHANGES_BUFFERED) as u64);
    Ok(())
}

#[test]
fn a_status_says_since_when() {
    check(Seed(1), |sim| async move {
        let (journal, _) = journal();
        let script =
            Script::new(&sim.world(), journal).part('a', "").run('a', Act::Take(Duration::from_secs(2)));
        let mut factory = script.factory(sim.world(), Deadlines::default())?;
        factory.remain_when_finished();
        let demo = factory.start().await?;
        let begun = sim.clock().now();
        sim.clock().sleep(Duration::from_secs(5)).await;
        let status = demo.status().await.unwrap();
        assert_eq!(status.to_string(), "demo: running for 5s\n  Part<'a'>: finished for 3s");
        assert_eq!(status.daemons[0].since, begun + Duration::from_secs(2));
        demo.stop().await;
        Ok(())
    });
}
