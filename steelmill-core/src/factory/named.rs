//! Several daemons of one type, told apart by a name: `Store[primary]`.
//!
//! A name makes another daemon of it, with a life of its own; everything a factory promises about a type holds for a
//! type with a name.

use super::slots::{Key, Via};
use super::{Daemon, DaemonRef, Factory};
use crate::Result;

impl Factory {
    /// The daemon of this type and name; like [`get`](Factory::get).
    ///
    /// While it is built, [`name`](Factory::name) tells it what it is called. What it asks for without a name it shares
    /// with the others of its type.
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
    ///     assert!(demo.get::<Store>().is_err(), "the one without a name is another one, and nobody asked for it");
    ///     assert!(demo.stop().await.is_clean());
    ///     Ok(())
    /// });
    /// ```
    pub fn get_named<T: Daemon>(&mut self, name: &str) -> Result<DaemonRef<T>> {
        self.get_at(&Key::named::<T>(name), Via::Itself)
    }

    /// The daemon of this type and name, built here whatever an ancestor has; like [`build`](Factory::build).
    ///
    /// # Errors
    /// As [`build`](Factory::build).
    pub fn build_named<T: Daemon>(&mut self, name: &str) -> Result<DaemonRef<T>> {
        self.build_at(&Key::named::<T>(name))
    }

    /// Sees to it that the daemon of this type and name is there; like [`with`](Factory::with).
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    pub fn with_named<T: Daemon>(&mut self, name: &str) -> Result {
        self.with_at::<T>(&Key::named::<T>(name))
    }

    /// The daemon of this type and name if there is one; like [`find`](Factory::find).
    ///
    /// # Errors
    /// As [`find`](Factory::find).
    pub fn find_named<T: Daemon>(&mut self, name: &str) -> Result<Option<DaemonRef<T>>> {
        self.find_at(&Key::named::<T>(name))
    }

    /// Uses `daemon` as the one of its type and this name; like [`provide`](Factory::provide).
    ///
    /// # Errors
    /// As [`provide`](Factory::provide).
    pub fn provide_named<T: Daemon>(&mut self, name: &str, daemon: T) -> Result {
        self.provide_at(&Key::named::<T>(name), daemon)
    }

    /// The name of the daemon that is being built: the one it was asked for by, if it was asked for by one.
    pub fn name(&self) -> Option<&str> {
        self.frames.last()?.key.as_ref()?.name()
    }
}
