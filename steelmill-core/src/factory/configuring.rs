//! Configuring a factory: a validated value, which daemons can watch.

use super::Factory;
use crate::config::not_configured;
use crate::{Config, ConfigWatch, Configuration, Result};

impl Factory {
    /// Validates a configuration and adds it, before daemons that use it are built. Children see it, too; one that is given its
    /// own of this type builds the daemons that use it anew.
    ///
    /// Replace it later by [`Configuration::replace`]: the [`Configuration`] is a [value](Factory::value) of the factory.
    ///
    /// # Errors
    /// When it is not valid, with what is wrong; as [`provide_value`](Factory::provide_value).
    pub fn configure<C: Config>(&mut self, config: C) -> Result {
        let configuration = Configuration::new(self.path.clone(), config)?;
        self.provide_value(configuration)
    }

    /// The configuration of this type: this factory's own, else the nearest ancestor's. A daemon that only reads it once takes
    /// [`current`](ConfigWatch::current); one that is to follow keeps the watch.
    ///
    /// # Errors
    /// When there is none.
    pub fn config<C: Config>(&mut self) -> Result<ConfigWatch<C>> {
        let configuration = self.try_value::<Configuration<C>>();
        configuration
            .map(|configuration| configuration.watch())
            .ok_or_else(|| not_configured::<C>(&self.path))
    }
}
