//! A child that takes the place of its namesake, which stays if the new one does not start.

use std::sync::Arc;

use super::children::running;
use crate::{Factory, Report, RunningFactory, StartError};

/// A child that has taken the place of its namesake; see [`Factory::replace`].
#[derive(Debug)]
#[must_use = "dropping it stops the new child"]
pub struct Replaced {
    /// The new child.
    pub factory: RunningFactory,
    /// The report of the former one; `None` if there was none.
    pub former: Option<Arc<Report>>,
}

impl Factory {
    /// Starts this child in the place of the one of its name, which runs until this one does and is stopped then. If there is
    /// none, it is a [`start`](Factory::start).
    ///
    /// # Order
    /// While both run, [`child_named`](RunningFactory::child_named) gives the new one as soon as that has started. What both
    /// want for themselves alone, such as a port, the new one cannot have before the old one has ended: stop that, and then
    /// `start` this one.
    ///
    /// # Cancellation
    /// Dropping the future before the new one has started rolls that back, and leaves the former alone; afterwards the new
    /// one stops, and so does the former.
    ///
    /// # Errors
    /// As of [`start`](Factory::start); the former goes on running then. Also when the one of its name was made by somebody
    /// else: what [`supervise`](Factory::supervise) has started, nobody else replaces.
    ///
    /// # Example
    /// ```
    /// # use std::sync::Arc;
    /// # use steelmill_core::{Daemon, Factory, Replaced, Result, RunningFactory};
    /// # struct Greeter;
    /// # impl Daemon for Greeter {
    /// #     fn build(_: &mut Factory) -> Result<Self> { Ok(Greeter) }
    /// # }
    /// async fn install(host: &RunningFactory, greeting: &'static str) -> Result<RunningFactory> {
    ///     let mut plugin = host.child("greeter")?;
    ///     plugin.provide_value(greeting)?;
    ///     plugin.with::<Greeter>()?;
    ///     Ok(plugin.replace().await?.factory)
    /// }
    ///
    /// # steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    /// # let host = Factory::root("host", sim.world()).start().await?;
    /// let old = install(&host, "hello").await?;
    /// let new = install(&host, "good evening").await?;
    /// assert!(old.ended().await.is_clean());
    /// assert_eq!(**new.value::<&str>()?, "good evening");
    ///
    /// let taken = host.child("greeter")?.start().await.unwrap_err();
    /// assert_eq!(
    ///     taken.to_string(),
    ///     "host/greeter did not start: host/greeter: host has a child called greeter already: \
    ///      stop that before, or call `replace` instead of `start`"
    /// );
    /// # drop((old, new));
    /// # host.stop().await;
    /// # Ok(())
    /// # });
    /// ```
    pub async fn replace(self) -> Result<Replaced, StartError> {
        let former = match self.parent() {
            Some(parent) => running(&parent, Some(self.path().into())).await.into_iter().next(),
            None => None,
        };
        let factory = self.start_as(true).await?;
        let former = match former {
            Some(former) => Some(former.stop().await),
            None => None,
        };
        Ok(Replaced { factory, former })
    }
}
