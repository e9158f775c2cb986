//! Daemons built by a closure instead of their `build`: for those that are configured where they are assembled.

use std::sync::Arc;

use anyhow::bail;

use super::Factory;
use super::slots::Key;
use super::validating::Ambiguous;
use crate::{Daemon, Result};

impl Factory {
    /// Builds the daemon of type `T` by `recipe` instead of [`Daemon::build`], whoever requests it. The recipe requests
    /// dependencies as `build` does. Children inherit it, and may have another one; then they build their own daemon.
    ///
    /// Daemons of this type that have a name are built by [`recipe_named`](Factory::recipe_named).
    ///
    /// # Errors
    /// When this type was requested or provided here before; when it has a recipe here already.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result};
    /// use steelmill_sim::Clock;
    ///
    /// struct Store {
    ///     file: String,
    ///     clock: DaemonRef<Clock>,
    /// }
    ///
    /// impl Daemon for Store {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Store { file: "store.db".to_owned(), clock: factory.get()? })
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     let file = "test.db".to_owned();
    ///     factory.recipe(move |factory| Ok(Store { file: file.clone(), clock: factory.get()? }))?;
    ///     assert_eq!(factory.get::<Store>()?.file, "test.db");
    ///     Ok(())
    /// });
    /// ```
    pub fn recipe<T: Daemon>(
        &mut self,
        recipe: impl Fn(&mut Factory) -> Result<T> + Send + Sync + 'static,
    ) -> Result {
        let added = self.add_recipe(Key::daemon::<T>(), recipe);
        self.collect(added)
    }

    /// Like [`recipe`](Factory::recipe), for the daemon of this type and name.
    ///
    /// # Errors
    /// As [`recipe`](Factory::recipe).
    pub fn recipe_named<T: Daemon>(
        &mut self,
        name: &str,
        recipe: impl Fn(&mut Factory) -> Result<T> + Send + Sync + 'static,
    ) -> Result {
        let added = self.add_recipe(Key::named::<T>(name), recipe);
        self.collect(added)
    }

    fn add_recipe<T: Daemon>(
        &mut self,
        key: Key,
        recipe: impl Fn(&mut Factory) -> Result<T> + Send + Sync + 'static,
    ) -> Result {
        let label = key.label::<T>();
        self.refuse_if_asked(&key, &label, "given a recipe")?;
        self.refuse_if_present(&key, &label, "given a recipe")?;
        if self.values.has_own_recipe(&key) {
            bail!(Ambiguous(format!("{}: {label} cannot be given a recipe: it has one", self.path)));
        }
        self.values.insert_recipe::<T>(key, Arc::new(recipe));
        Ok(())
    }
}
