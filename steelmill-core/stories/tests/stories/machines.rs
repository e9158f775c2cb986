//! Only in the simulated world: exact times, and power losses.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Abandoned, Clock, Daemon, Deadlines, Factory, Result, RunningFactory, Scope, World};
use steelmill_sim::{Campaign, Sim};

use crate::support::{Act, Script, journal, with};

fn check<F: Future<Output = Result> + 'static>(story: impl Fn(Sim) -> F + Send + Sync) {
    Campaign::new(story).seeds(20).check();
}

const SECOND: Duration = Duration::from_secs(1);

const DEADLINES: Deadlines = Deadlines {
    prepare: Duration::from_secs(30),
    stop: Duration::from_secs(10),
    rollback: Duration::from_secs(5),
};

/// A factory with default deadlines and these parts.
fn demo(world: impl World, script: impl FnOnce(Script) -> Script) -> Result<Factory> {
    let (journal, _) = journal();
    script(Script::new(&world, journal)).factory(world, DEADLINES)
}

#[test]
fn a_stop_shares_one_deadline() {
    check(|sim| async move {
        // They stop one after the other, four seconds each: two are left for the third.
        let demo = demo(sim.world(), |script| {
            let script = script.part('a', "").part('b', "a").part('c', "b");
            script
                .stop('a', Act::Take(4 * SECOND))
                .stop('b', Act::Take(4 * SECOND))
                .stop('c', Act::Take(4 * SECOND))
        })?;
        let report = demo.start().await?.stop().await;
        assert_eq!(report.failures().len(), 1, "{report}");
        assert_eq!(report.failures()[0].daemon, "Part<'a'>");
        assert_eq!(sim.elapsed(), 10 * SECOND);
        Ok(())
    });
}

#[test]
fn independent_daemons_stop_at_the_same_time() {
    check(|sim| async move {
        let demo = demo(sim.world(), |script| {
            let script = script.part('a', "").part('b', "a").part('c', "a");
            script
                .stop('b', Act::Take(4 * SECOND))
                .stop('c', Act::Take(5 * SECOND))
                .prepare('b', Act::Take(SECOND))
                .prepare('c', Act::Take(2 * SECOND))
        })?;
        let demo = demo.start().await?;
        assert_eq!(sim.elapsed(), 2 * SECOND);
        assert!(demo.stop().await.is_clean());
        assert_eq!(sim.elapsed(), 7 * SECOND);
        Ok(())
    });
}

#[test]
fn a_stop_takes_no_more_than_twice_its_deadline() {
    check(|sim| async move {
        let demo = demo(sim.world(), |script| {
            let script = script.part('a', "").part('b', "a").part('c', "b").part('d', "c");
            script.run('a', Act::Hang).run('b', Act::Hang).run('c', Act::Hang).stop('d', Act::Hang)
        })?;
        let report = demo.start().await?.stop().await;
        assert_eq!(report.failures().len(), 4, "{report}");
        // The last of it is for aborting, and for what comes after the factory.
        assert_eq!(sim.elapsed(), 20 * SECOND - 11 * SECOND / 10);
        Ok(())
    });
}

#[test]
fn a_rollback_begins_its_deadline_when_the_start_has_failed() {
    check(|sim| async move {
        let demo = demo(sim.world(), |script| {
            let script = script.part('a', "").part('b', "a");
            script.prepare('b', Act::Hang).stop('a', Act::Take(4 * SECOND))
        })?;
        let error = demo.start().await.unwrap_err();
        assert_eq!(error.report().failures().len(), 1, "{error}");
        assert_eq!(sim.elapsed(), 34 * SECOND);
        Ok(())
    });
}

#[test]
fn a_rollback_that_overstays_ends_too() {
    check(|sim| async move {
        let demo = demo(sim.world(), |script| {
            let script = script.part('a', "").part('b', "a");
            script.prepare('b', Act::Fail).stop('a', Act::Hang)
        })?;
        let error = demo.start().await.unwrap_err();
        assert_eq!(error.report().failures().len(), 2, "{error}");
        assert_eq!(sim.elapsed(), 5 * SECOND);
        Ok(())
    });
}

#[test]
fn a_factory_whose_machine_loses_power_is_abandoned() {
    check(|sim| async move {
        let machine = sim.client("machine");
        let demo = demo(machine.world(), |script| script.part('a', "").stop('a', Act::Take(SECOND)))?;
        let demo = demo.start().await?;
        let ended = demo.clone().stop();
        sim.clock().sleep(SECOND / 2).await;
        machine.power_loss();
        let report = ended.await;
        assert!(report.failures()[0].error.is::<Abandoned>(), "{report}");
        assert_eq!(sim.elapsed(), SECOND / 2);
        assert!(!demo.ended().await.is_clean());
        Ok(())
    });
}

#[test]
fn a_start_on_a_machine_without_power_is_abandoned() {
    check(|sim| async move {
        let machine = sim.client("machine");
        let world = machine.world();
        machine.power_loss();
        let error = demo(world, |script| script.part('a', ""))?.start().await.unwrap_err();
        assert!(error.report().failures()[0].error.is::<Abandoned>(), "{error}");
        Ok(())
    });
}

/// The cluster's factory, and a child of it on a machine that shares a part.
async fn cluster(sim: &Sim, world: impl World) -> Result<(RunningFactory, RunningFactory)> {
    let cluster = demo(sim.world(), |script| script.part('a', ""))?.start().await?;
    let mut node = cluster.child_in("machine", world)?;
    with(&mut node, 'a')?;
    let node = node.start().await?;
    Ok((cluster, node))
}

#[test]
fn a_machine_without_power_does_not_hold_its_cluster_up() {
    check(|sim| async move {
        let machine = sim.client("machine");
        let (cluster, node) = cluster(&sim, machine.world()).await?;
        machine.power_loss();
        assert!(node.ended().await.failures()[0].error.is::<Abandoned>());
        drop(node);
        let report = cluster.stop().await;
        assert!(report.is_clean() && report.retained().is_empty() && report.held() == 0, "{report}");
        assert_eq!(sim.elapsed(), Duration::ZERO);
        Ok(())
    });
}

#[test]
fn a_machine_that_loses_power_while_it_stops_does_not_hold_its_cluster_up() {
    /// Takes its time.
    struct Slow<W: World>(steelmill_core::DaemonRef<W::Clock>);
    impl<W: World> Daemon for Slow<W> {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Slow(factory.get()?))
        }
        async fn stop(&self, _: &Scope) -> Result {
            self.0.sleep(5 * SECOND).await;
            Ok(())
        }
    }
    check(|sim| async move {
        let machine = sim.client("machine");
        let cluster = Factory::root("cluster", sim.world()).start().await?;
        let mut node = cluster.child_in("machine", machine.world())?;
        node.with::<Slow<steelmill_sim::SimWorld>>()?;
        let node = node.start().await?;
        let ended = cluster.stop();
        sim.clock().sleep(SECOND).await;
        machine.power_loss();
        assert!(ended.await.is_clean());
        assert_eq!(sim.elapsed(), SECOND);
        drop(node);
        Ok(())
    });
}

#[test]
fn a_cluster_that_stops_ends_its_machines_daemons_first() {
    check(|sim| async move {
        let machine = sim.client("machine");
        let (cluster, node) = cluster(&sim, machine.world()).await?;
        let ended = node.ended();
        drop(node);
        assert!(cluster.stop().await.is_clean());
        assert!(ended.await.is_clean());
        Ok(())
    });
}

#[test]
fn deadlines_run_on_the_machines_own_clock() {
    struct Hanging;
    impl Daemon for Hanging {
        fn build(_: &mut Factory) -> Result<Self> {
            Ok(Hanging)
        }
        async fn run(self: &Arc<Self>, _: &Scope) -> Result {
            pending().await
        }
    }
    check(|sim| async move {
        let machine = sim.client("machine");
        machine.set_drift(1_000_000); // twice as fast
        let mut factory = Factory::root("demo", machine.world());
        factory.deadlines(DEADLINES);
        factory.with::<Hanging>()?;
        let report = factory.start().await?.stop().await;
        assert_eq!(report.deadline_exceeded().count(), 1, "{report}");
        assert_eq!(sim.elapsed(), 5 * SECOND);
        Ok(())
    });
}
