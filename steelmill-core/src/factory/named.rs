//! Named daemons: several of one type, such as `Store[primary]`.
//!
//! Each name is another daemon with its own lifecycle; what a factory promises about a type holds for a type and name.

use super::Factory;
use super::slots::{Key, Via};
use crate::{Daemon, DaemonRef, Result};

impl Factory {
    /// Like [`get`](Factory::get), for the daemon of this type and name.
    ///
    /// Its `build` reads the name from [`name`](Factory::name). It shares its own unnamed dependencies with the others of
    /// its type.
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
    ///
    /// struct Store {
    ///     file: String,
    /// }
    ///
    /// impl Daemon for Store {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Self { file: format!("{}.db", factory.name().unwrap_or("store")) })
    ///     }
    /// }
    ///
    /// struct Copier {
    ///     from: DaemonRef<Store>,
    ///     to: DaemonRef<Store>,
    /// }
    ///
    /// impl Daemon for Copier {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Self { from: factory.get_named("primary")?, to: factory.get_named("backup")? })
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     let copier = factory.get::<Copier>()?;
    ///     assert_eq!((&*copier.from.file, &*copier.to.file), ("primary.db", "backup.db"));
    ///     drop(copier);
    ///     let demo = factory.start().await?;
    ///     assert_eq!(demo.get_named::<Store>("backup")?.file, "backup.db");
    ///     assert!(demo.get::<Store>().is_err(), "the unnamed Store is another daemon, which nobody requested");
    ///     assert!(demo.stop().await.is_clean());
    ///     Ok(())
    /// });
    /// ```
    pub fn get_named<T: Daemon>(&mut self, name: &str) -> Result<DaemonRef<T>> {
        self.get_at(&Key::named::<T>(name), Via::Itself)
    }

    /// Like [`build`](Factory::build), for the daemon of this type and name.
    ///
    /// # Errors
    /// As [`build`](Factory::build).
    pub fn build_named<T: Daemon>(&mut self, name: &str) -> Result<DaemonRef<T>> {
        self.build_at(&Key::named::<T>(name))
    }

    /// Like [`with`](Factory::with), for the daemon of this type and name.
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    pub fn with_named<T: Daemon>(&mut self, name: &str) -> Result {
        self.with_at::<T>(&Key::named::<T>(name))
    }

    /// Like [`find`](Factory::find), for the daemon of this type and name.
    ///
    /// # Errors
    /// As [`find`](Factory::find).
    pub fn find_named<T: Daemon>(&mut self, name: &str) -> Result<Option<DaemonRef<T>>> {
        self.find_at(&Key::named::<T>(name))
    }

    /// Like [`provide`](Factory::provide), for the daemon of this type and name.
    ///
    /// # Errors
    /// As [`provide`](Factory::provide).
    pub fn provide_named<T: Daemon>(&mut self, name: &str, daemon: T) -> Result {
        self.provide_at(&Key::named::<T>(name), daemon)
    }

    /// The name of the daemon under construction, if it was requested by name.
    pub fn name(&self) -> Option<&str> {
        self.stack.last()?.key.as_ref()?.name()
    }
}
