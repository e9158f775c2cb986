//! The published health of a factory: a subscriber has the last one, and can wait for the next.
//!
//! What always holds: a subscriber holds the lock of the channel only to copy a pointer, so it cannot hold up the supervisor.

use std::sync::Arc;

use anyhow::bail;
use tokio::sync::watch;

use super::FactoryHealth;
use crate::{Result, State};

/// A subscription to the health of a factory; see [`RunningFactory::health`](crate::RunningFactory::health).
///
/// From the first subscription on, the daemons of the factory and of all factories below it are asked for their health, as
/// [`HealthChecks`](crate::HealthChecks) says, until the factory stops.
///
/// # Example
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::time::Duration;
/// use steelmill_core::{Clock, Daemon, Factory, Health, HealthChecks, Result};
///
/// #[derive(Default)]
/// struct Store {
///     is_full: AtomicBool,
/// }
///
/// impl Daemon for Store {
///     fn build(_: &mut Factory) -> Result<Self> {
///         Ok(Store::default())
///     }
///
///     async fn health(&self) -> Health {
///         match self.is_full.load(Ordering::Relaxed) {
///             true => Health::failing("the disk is full"),
///             false => Health::Healthy,
///         }
///     }
/// }
///
/// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
///     let mut factory = Factory::root("demo", sim.world());
///     factory.health_checks(HealthChecks { every: Duration::from_secs(2), ..HealthChecks::default() });
///     factory.with::<Store>()?;
///     let demo = factory.start().await?;
///
///     let mut health = demo.health();
///     assert_eq!(health.ready().await?.to_string(), "demo: ready");
///
///     demo.get::<Store>()?.is_full.store(true, Ordering::Relaxed);
///     let full = health.changed().await.expect("it has not ended");
///     assert_eq!(full.to_string(), "demo: not ready\n  demo: Store is failing: the disk is full");
///     assert!(full.is_live());
///     demo.stop().await;
///     Ok(())
/// });
/// ```
#[derive(Debug, Clone)]
pub struct HealthWatch(watch::Receiver<Arc<FactoryHealth>>);

impl HealthWatch {
    /// The health that was published last. A factory that has published none yet is [waiting](State::Waiting), and not ready.
    pub fn current(&self) -> Arc<FactoryHealth> {
        self.0.borrow().clone()
    }

    /// Waits for another health than the one returned last by this handle; `None` after the factory has ended. Of several
    /// changes, only the last one is returned.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<Arc<FactoryHealth>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until the factory is ready.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the factory stops or has ended: it will not be ready again.
    pub async fn ready(&mut self) -> Result<Arc<FactoryHealth>> {
        loop {
            let health = self.0.borrow_and_update().clone();
            if health.is_ready() {
                return Ok(health);
            }
            if health.state >= State::Draining {
                bail!("{} is {}", health.factory, health.state);
            }
            if self.0.changed().await.is_err() {
                bail!("{} has ended", self.current().factory);
            }
        }
    }
}

/// The sending side of a [`HealthWatch`].
pub(crate) struct HealthSender(watch::Sender<Arc<FactoryHealth>>);

impl HealthSender {
    /// Publishes another health.
    pub(crate) fn send(&self, health: &Arc<FactoryHealth>) {
        self.0.send_replace(health.clone());
    }

    pub(crate) fn has_reader(&self) -> bool {
        !self.0.is_closed()
    }
}

pub(crate) fn health_watch(factory: Arc<str>) -> (HealthSender, HealthWatch) {
    let (sender, receiver) = watch::channel(Arc::new(FactoryHealth::unknown(factory)));
    (HealthSender(sender), HealthWatch(receiver))
}
