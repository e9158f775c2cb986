//! Daemon types by name, so that a command line can choose what to run.

use anyhow::bail;

use crate::factory::Missing;
use crate::{Daemon, Factory, Result};

/// A registry of daemon types by name.
///
/// # Example
/// ```
/// # use steelmill_core::{Daemon, Factory, Result};
/// # struct Store;
/// # impl Daemon for Store { fn build(_: &mut Factory) -> Result<Self> { Ok(Store) } }
/// use steelmill_core::Catalog;
///
/// let catalog = Catalog::new().add::<Store>("store");
/// assert_eq!(catalog.names().collect::<Vec<_>>(), ["store"]);
/// // in a setup: catalog.assemble(factory, &["store"])?;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: &'static str,
    build: fn(&mut Factory) -> Result,
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a daemon type.
    ///
    /// # Panics
    /// When the name is taken.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "it adds a name, not a number")]
    pub fn add<T: Daemon>(mut self, name: &'static str) -> Self {
        assert!(self.names().all(|taken| taken != name), "two daemons are called {name:?}");
        self.entries.push(Entry { name, build: Factory::with::<T> });
        self
    }

    /// The names, in the order they were added.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }

    /// Builds the named daemons and their dependencies, and nothing else.
    ///
    /// # Errors
    /// On an unknown name, before anything is built: lists the known ones. Otherwise those of building.
    pub fn assemble(&self, factory: &mut Factory, names: &[&str]) -> Result {
        let mut chosen = Vec::new();
        for name in names {
            match self.entry(name) {
                Ok(entry) => chosen.push(entry),
                Err(error) => factory.collect(Err(error))?,
            }
        }
        for entry in chosen {
            (entry.build)(factory)?;
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => Ok(entry),
            None => {
                let known: Vec<_> = self.names().collect();
                bail!(Missing(format!("no daemon is called {name:?}; there are: {}", known.join(", "))))
            }
        }
    }
}
