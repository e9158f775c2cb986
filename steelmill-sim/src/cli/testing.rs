//! Helpers for plain unit tests: one seed of a scenario, and one daemon among doubles.

use std::future::Future;

use steelmill_core::{Daemon, DaemonRef, Factory, Result};

use crate::campaign::campaign::{Campaign, environment};
use crate::cli::flags::Args;
use crate::machine::sim::Sim;
use crate::schema::settings::Seed;

/// Runs one seed of a scenario on a fresh thread. Of what the environment says to a [`Campaign`], all but which
/// seeds there are holds here, too: as the test says which it is, it is in every shard, and not kept.
///
/// # Panics
/// When it fails, with the reason, the seed and the command that runs it again; when an environment variable has a wrong
/// value.
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::{Seed, check};
///
/// check(Seed(7), |sim| async move {
///     let begun = sim.clock().now();
///     sim.clock().sleep(Duration::from_millis(10)).await;
///     assert_eq!(sim.clock().now() - begun, Duration::from_millis(10));
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn check<S, F>(seed: Seed, scenario: S)
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    // The test says which seed it is, whatever the environment says to campaigns.
    let said = Args {
        seed: None,
        seeds: None,
        first_seed: None,
        shard: None,
        until_covered: false,
        keep: None,
        ..environment()
    };
    Campaign::new(scenario).first_seed(seed).seeds(1).check_as(&said, false);
}

/// Tests one daemon: builds it with what `setup` provides in place of what it depends on, starts it, lets `talk` talk
/// to it, and stops it.
///
/// # Panics
/// When building, starting, talking or stopping fails; also when the stop's report is not clean.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
/// use steelmill_sim::{Seed, check_daemon};
///
/// struct Price(u32);
/// impl Daemon for Price {
///     fn build(_: &mut Factory) -> Result<Self> {
///         anyhow::bail!("asks the market: not in this test")
///     }
/// }
///
/// struct Till { price: DaemonRef<Price>, taken: AtomicU32 }
/// impl Daemon for Till {
///     fn build(factory: &mut Factory) -> Result<Self> {
///         Ok(Self { price: factory.get()?, taken: AtomicU32::new(0) })
///     }
/// }
/// impl Till {
///     fn sell(&self) -> u32 {
///         self.taken.fetch_add(self.price.0, Ordering::Relaxed) + self.price.0
///     }
/// }
///
/// check_daemon(
///     Seed(1),
///     |factory| factory.provide(Price(3)),
///     |till: DaemonRef<Till>, _sim| async move {
///         till.sell();
///         assert_eq!(till.sell(), 6);
///         Ok(())
///     },
/// );
/// ```
#[track_caller]
pub fn check_daemon<T, S, U, F>(seed: Seed, setup: S, talk: U)
where
    T: Daemon,
    S: Fn(&mut Factory) -> Result + Send + Sync + Clone + 'static,
    U: Fn(DaemonRef<T>, Sim) -> F + Send + Sync + Clone + 'static,
    F: Future<Output = Result> + 'static,
{
    check(seed, |sim| {
        let (setup, talk) = (setup.clone(), talk.clone());
        async move {
            let machine = sim.machine("machine", move |factory| {
                setup(factory)?;
                factory.with::<T>()
            });
            let machine = machine.start().await?;
            talk(machine.get::<T>()?, sim).await?;
            let report = machine.stop().await?;
            anyhow::ensure!(report.is_clean(), "{report}");
            Ok(())
        }
    });
}
