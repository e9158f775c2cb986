//! Children that are built anew when they end: the strategies and restart types of Erlang's supervisors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::bail;
use steelmill_core::{
    Backoff, Daemon, DaemonRef, Factory, Policy, Result, RunningFactory, Scope, State, World,
};
use tokio::sync::{Notify, watch};

use crate::stories;
use crate::support::{Journal, Lines, assert_absent, assert_before, journal};

stories! {
    a_failed_child_is_dropped_and_built_anew_while_the_rest_runs
    what_depends_on_a_supervised_daemon_is_built_anew_with_it
    a_dependent_is_built_anew_alone
    all_of_one_recipe_are_built_anew
    a_child_that_fails_too_often_stops_its_factory
    a_supervised_factory_builds_its_supervised_children_anew_when_they_fail_too_often
    a_permanent_child_is_built_anew_after_a_clean_end_too
    a_transient_child_that_ends_cleanly_stays_away
    a_temporary_child_that_fails_stays_away
    a_child_is_built_anew_by_request
    a_child_is_stopped_by_request_until_it_is_restarted
    a_child_that_does_not_start_keeps_its_factory_from_starting
    a_recipe_may_fail_later_on
    a_child_that_fails_while_its_factory_starts_is_reported_although_that_does_not_start
    a_supervised_name_is_taken
}

const AT_ONCE: Backoff = Backoff {
    first: Duration::ZERO,
    longest: Duration::ZERO,
    restarts: 2,
    window: Duration::from_secs(3600),
};

/// What the daemons here are to do: `(name, what)`, for the ones that run now.
type Orders = watch::Sender<(char, Order)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Nothing,
    Fail,
    Stop,
}

/// Notes its life, and does what it is told to.
struct Unit<const NAME: char> {
    orders: Arc<Orders>,
    journal: Arc<Journal>,
    #[expect(dead_code, reason = "needed")]
    needs: Option<DaemonRef<Unit<'a'>>>,
}

impl<const NAME: char> Daemon for Unit<NAME> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let journal = factory.value::<Journal>()?;
        let needs = match NAME {
            'b' => Some(factory.get::<Unit<'a'>>()?),
            _ => None,
        };
        journal.note(format!("{NAME} built in {}", factory.path()));
        Ok(Unit { orders: factory.value()?, journal, needs })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.journal.note(format!("{NAME} prepares"));
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        // Orders of before are for the run of before.
        let mut orders = self.orders.subscribe();
        self.journal.note(format!("{NAME} runs"));
        let is_mine = |order: &(char, Order)| order.0 == NAME && order.1 != Order::Nothing;
        while let Some(changed) = scope.until_stopping(orders.changed()).await {
            changed?;
            let order = *orders.borrow_and_update();
            match order.1 {
                Order::Fail if is_mine(&order) => bail!("as told"),
                Order::Stop if is_mine(&order) => scope.request_stop(),
                _ => {}
            }
        }
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.journal.note(format!("{NAME} stops"));
        Ok(())
    }
}

impl<const NAME: char> Drop for Unit<NAME> {
    fn drop(&mut self) {
        self.journal.note(format!("{NAME} dropped"));
    }
}

struct Demo {
    running: RunningFactory,
    lines: Lines,
}

impl Demo {
    async fn start(world: impl World, setup: impl FnOnce(&mut Factory) -> Result) -> Result<Demo> {
        let (journal, lines) = journal();
        let mut factory = Factory::root("demo", world);
        factory.provide_value(journal)?;
        factory.provide_value(Orders::new((' ', Order::Nothing)))?;
        setup(&mut factory)?;
        Ok(Demo { running: factory.start().await?, lines })
    }

    /// Waits until so many units run, which get orders then, and forgets what they have noted.
    async fn settle(mut self, units: usize) -> Result<Demo> {
        let mut running = 0;
        while running < units {
            running += usize::from(self.lines.next().await.ends_with(" runs"));
        }
        Ok(self)
    }

    /// Gives an order to a unit that runs.
    fn order(&self, name: char, order: Order) -> Result {
        self.running.value::<Orders>()?.send_replace((name, order));
        Ok(())
    }

    async fn is(&self, daemon: &str, state: State) {
        loop {
            let status = self.running.status().await.expect("it runs");
            if status.daemons.iter().any(|status| status.daemon == daemon && status.state == state) {
                return;
            }
        }
    }
}

/// Waits until a daemon of a child runs, so that it gets orders.
async fn runs(lines: &mut Lines, names: &[char]) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        let line = format!("{name} runs");
        if !all.contains(&line) {
            all.extend(lines.until(&line).await);
        }
    }
    all
}

async fn a_and_c(world: impl World, policy: Policy) -> Result<Demo> {
    let demo = Demo::start(world, |factory| {
        factory.supervise("a", policy, |child| child.with::<Unit<'a'>>())?;
        factory.supervise("c", policy, |child| child.with::<Unit<'c'>>())
    });
    demo.await?.settle(2).await
}

async fn a_failed_child_is_dropped_and_built_anew_while_the_rest_runs(world: impl World) -> Result {
    let mut demo = a_and_c(world, Policy::restart(AT_ONCE)).await?;
    demo.order('a', Order::Fail)?;
    let lines = runs(&mut demo.lines, &['a']).await;
    assert_eq!(lines, ["a stops", "a dropped", "a built in demo/a", "a prepares", "a runs"]);
    assert!(demo.running.child_named("a").await?.get::<Unit<'a'>>().is_ok());
    let report = demo.running.stop().await;
    assert!(report.is_clean(), "{report}");
    let [restarted] = report.restarted() else { panic!("{report}") };
    assert_eq!((&*restarted.daemon, restarted.times), ("Supervised[a]", 1));
    assert_eq!(restarted.text, "demo/a: Unit<'a'> failed to run: as told");
    Ok(())
}

/// `b`, which depends on `a`, is supervised within `a`; `c` beside it.
async fn nested(world: impl World) -> Result<Demo> {
    let policy = Policy::restart(AT_ONCE);
    let demo = Demo::start(world, |factory| {
        factory.supervise("c", policy, |child| child.with::<Unit<'c'>>())?;
        factory.supervise("a", policy, move |child| {
            child.with::<Unit<'a'>>()?;
            child.supervise("b", policy, |child| child.with::<Unit<'b'>>())
        })
    });
    demo.await?.settle(3).await
}

async fn what_depends_on_a_supervised_daemon_is_built_anew_with_it(world: impl World) -> Result {
    let mut demo = nested(world).await?;
    demo.order('a', Order::Fail)?;
    let lines = runs(&mut demo.lines, &['a', 'b']).await;
    for (first, then) in [
        ("b stops", "a stops"),
        ("b dropped", "a dropped"),
        ("a dropped", "a built in demo/a"),
        ("a prepares", "b prepares"),
        ("a built in demo/a", "b built in demo/a/b"),
    ] {
        assert_before(&lines, first, then);
    }
    assert_absent(&lines, "c stops");
    assert!(demo.running.stop().await.is_clean());
    Ok(())
}

async fn a_dependent_is_built_anew_alone(world: impl World) -> Result {
    let mut demo = nested(world).await?;
    demo.order('b', Order::Fail)?;
    let lines = runs(&mut demo.lines, &['b']).await;
    assert_eq!(lines, ["b stops", "b dropped", "b built in demo/a/b", "b prepares", "b runs"]);
    assert!(demo.running.stop().await.is_clean());
    Ok(())
}

async fn all_of_one_recipe_are_built_anew(world: impl World) -> Result {
    let mut demo = Demo::start(world, |factory| {
        factory.supervise("all", Policy::restart(AT_ONCE), |child| {
            child.with::<Unit<'b'>>()?;
            child.with::<Unit<'c'>>()
        })
    })
    .await?
    .settle(3)
    .await?;
    demo.order('c', Order::Fail)?;
    let lines = runs(&mut demo.lines, &['a', 'b', 'c']).await;
    for name in ['a', 'b', 'c'] {
        assert_before(&lines, &format!("{name} dropped"), &format!("{name} runs"));
    }
    assert!(demo.running.stop().await.is_clean());
    Ok(())
}

async fn a_child_that_fails_too_often_stops_its_factory(world: impl World) -> Result {
    let mut demo = a_and_c(world, Policy::restart(AT_ONCE)).await?;
    let ended = demo.running.ended();
    for _ in 0..2 {
        demo.order('a', Order::Fail)?;
        runs(&mut demo.lines, &['a']).await;
    }
    demo.order('a', Order::Fail)?;
    let report = ended.await;
    assert_eq!(report.failures().len(), 1);
    assert_eq!(
        report.failures()[0].to_string(),
        "demo: Supervised[a] failed to run: after 2 restarts within 3600s, which is its limit: demo/a: Unit<'a'> failed \
         to run: as told"
    );
    Ok(())
}

async fn a_supervised_factory_builds_its_supervised_children_anew_when_they_fail_too_often(
    world: impl World,
) -> Result {
    let never = Policy::restart(Backoff { restarts: 0, ..AT_ONCE });
    let mut demo = Demo::start(world, |factory| {
        factory.supervise("outer", Policy::restart(AT_ONCE), move |child| {
            child.with::<Unit<'c'>>()?;
            child.supervise("inner", never, |child| child.with::<Unit<'d'>>())
        })
    })
    .await?
    .settle(2)
    .await?;
    demo.order('d', Order::Fail)?;
    let lines = runs(&mut demo.lines, &['c', 'd']).await;
    assert_before(&lines, "d dropped", "c dropped");
    assert_before(&lines, "c dropped", "c built in demo/outer");
    assert!(demo.running.stop().await.is_clean());
    Ok(())
}

async fn a_permanent_child_is_built_anew_after_a_clean_end_too(world: impl World) -> Result {
    let mut demo = a_and_c(world, Policy::permanent(AT_ONCE)).await?;
    demo.order('a', Order::Stop)?;
    let lines = runs(&mut demo.lines, &['a']).await;
    assert_before(&lines, "a dropped", "a built in demo/a");
    assert!(demo.running.stop().await.is_clean());
    Ok(())
}

async fn a_transient_child_that_ends_cleanly_stays_away(world: impl World) -> Result {
    let demo = a_and_c(world, Policy::restart(AT_ONCE)).await?;
    demo.order('a', Order::Stop)?;
    demo.is("Supervised[a]", State::Finished).await;
    assert!(demo.running.child_named("a").await.is_err());
    // The other one as well: nothing is left to do.
    let ended = demo.running.ended();
    demo.order('c', Order::Stop)?;
    assert!(ended.await.is_clean());
    Ok(())
}

async fn a_temporary_child_that_fails_stays_away(world: impl World) -> Result {
    let demo = a_and_c(world, Policy::leave_down()).await?;
    demo.order('a', Order::Fail)?;
    demo.is("Supervised[a]", State::Down).await;
    assert!(demo.running.child_named("a").await.is_err());
    let report = demo.running.stop().await;
    assert_eq!(report.failures().len(), 1);
    assert_eq!(report.failures()[0].daemon, "Supervised[a]");
    Ok(())
}

async fn a_child_is_built_anew_by_request(world: impl World) -> Result {
    let mut demo = a_and_c(world, Policy::default()).await?;
    for _ in 0..5 {
        demo.running.restart_child("a").await?;
        let lines = runs(&mut demo.lines, &['a']).await;
        assert_eq!(lines, ["a stops", "a dropped", "a built in demo/a", "a prepares", "a runs"]);
    }
    let error = demo.running.restart_child("d").await.unwrap_err().to_string();
    assert_eq!(error, "demo does not supervise a child called d: nobody knows how to build that anew");
    let report = demo.running.stop().await;
    assert_eq!(report.to_string(), "demo: ended cleanly");
    Ok(())
}

async fn a_child_is_stopped_by_request_until_it_is_restarted(world: impl World) -> Result {
    let mut demo = a_and_c(world, Policy::permanent(AT_ONCE)).await?;
    demo.running.stop_child("a").await?;
    assert_eq!(demo.lines.take(), ["a stops", "a dropped"]);
    assert!(demo.running.child_named("a").await.is_err());
    demo.running.restart_child("a").await?;
    runs(&mut demo.lines, &['a']).await;

    // One that is not supervised.
    let other = demo.running.child("other")?.start().await?;
    demo.running.stop_child("other").await?;
    assert!(other.status().await.is_none());
    let error = demo.running.stop_child("other").await.unwrap_err().to_string();
    assert_eq!(error, "no child demo/other is running");
    assert!(demo.running.stop().await.is_clean());
    Ok(())
}

async fn a_child_that_does_not_start_keeps_its_factory_from_starting(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.supervise("a", Policy::permanent(AT_ONCE), |_| bail!("as told"))?;
    let error = factory.start().await.unwrap_err();
    assert_eq!(error.to_string(), "demo did not start: demo: Supervised[a] failed to prepare: as told");
    Ok(())
}

async fn a_recipe_may_fail_later_on(world: impl World) -> Result {
    let count = AtomicU32::new(0);
    let demo = Demo::start(world, |factory| {
        factory.supervise("a", Policy::restart(AT_ONCE), move |child| {
            if count.fetch_add(1, Ordering::Relaxed) > 0 {
                bail!("out of ideas");
            }
            child.with::<Unit<'a'>>()
        })
    })
    .await?;
    let ended = demo.running.ended();
    demo.running.restart_child("a").await?;
    let report = ended.await;
    assert_eq!(report.failures().len(), 1);
    assert_eq!(
        report.failures()[0].to_string(),
        "demo: Supervised[a] failed to run: after 2 restarts within 3600s, which is its limit: out of ideas"
    );
    Ok(())
}

/// Fails at once, and tells when it is dropped.
struct Broken(Arc<Notify>);

impl Daemon for Broken {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Broken(factory.value()?))
    }

    async fn run(self: &Arc<Self>, _: &Scope) -> Result {
        bail!("broken")
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Fails to prepare when the other is gone.
struct Late(Arc<Notify>);

impl Daemon for Late {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Late(factory.value()?))
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.0.notified().await;
        bail!("too late")
    }
}

async fn a_child_that_fails_while_its_factory_starts_is_reported_although_that_does_not_start(
    world: impl World,
) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.provide_value(Notify::new())?;
    factory.supervise("a", Policy::restart(AT_ONCE), |child| child.with::<Broken>())?;
    factory.with::<Late>()?;
    let error = factory.start().await.unwrap_err();
    let failures: Vec<_> = error.report().failures().iter().map(ToString::to_string).collect();
    assert_eq!(
        failures,
        [
            "demo: Late failed to prepare: too late",
            "demo: Supervised[a] failed to stop: demo/a: Broken failed to run: broken",
        ]
    );
    Ok(())
}

async fn a_supervised_name_is_taken(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.supervise("a", Policy::default(), |_| Ok(()))?;
    let error = factory.supervise("a", Policy::default(), |_| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "demo: Supervised[a] cannot be provided: it was provided before");
    let demo = factory.start().await?;
    // Another level is another name.
    let mut child = demo.child_named("a").await?.child("below")?;
    child.supervise("a", Policy::default(), |_| Ok(()))?;
    let child = child.start().await?;
    let taken = demo.child("a")?.start().await.unwrap_err().to_string();
    assert!(taken.contains("demo has a child called a already"), "{taken}");
    drop(child);
    assert!(demo.stop().await.is_clean());
    Ok(())
}
