//! Configuration: a value that is validated before anything is built from it, and can be replaced while daemons run.
//!
//! What always holds: a value that is not valid is never seen by a daemon; the current one is read without waiting.

use std::fmt;
use std::sync::Arc;

use anyhow::anyhow;
use tokio::sync::watch;

use crate::Result;
use crate::label::label;

/// A configuration: a type of its own for each part of a program that is configured by itself.
pub trait Config: Send + Sync + 'static {
    /// Checks the value as a whole.
    ///
    /// # Order
    /// Called by [`Factory::configure`](crate::Factory::configure) before a daemon can request it, and by
    /// [`Configuration::replace`] before a daemon is told.
    ///
    /// # Errors
    /// When it must not be used: says what is wrong with it.
    fn validate(&self) -> Result;
}

/// The current configuration of type `C`, and the way to replace it. A value of the factory that was
/// [configured](crate::Factory::configure).
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use anyhow::ensure;
/// use steelmill_core::{Config, ConfigWatch, Configuration, Daemon, Factory, Result, Scope};
///
/// struct Limits {
///     clients: u32,
/// }
///
/// impl Config for Limits {
///     fn validate(&self) -> Result {
///         ensure!(self.clients > 0, "clients must be at least 1");
///         Ok(())
///     }
/// }
///
/// struct Gateway {
///     limits: ConfigWatch<Limits>,
/// }
///
/// impl Daemon for Gateway {
///     fn build(factory: &mut Factory) -> Result<Self> {
///         Ok(Self { limits: factory.config()? })
///     }
///
///     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
///         let mut limits = self.limits.clone();
///         while let Some(limits) = scope.until_stopping(limits.changed()).await {
///             tracing::info!("now {} clients", limits.clients);
///         }
///         Ok(())
///     }
/// }
///
/// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
///     let mut factory = Factory::root("demo", sim.world());
///     factory.configure(Limits { clients: 10 })?;
///     factory.with::<Gateway>()?;
///     let demo = factory.start().await?;
///
///     let limits = demo.value::<Configuration<Limits>>()?;
///     assert_eq!(limits.replace(Limits { clients: 20 })?, 2);
///     assert_eq!(demo.get::<Gateway>()?.limits.current().clients, 20);
///
///     let refused = limits.replace(Limits { clients: 0 }).unwrap_err();
///     assert_eq!(
///         format!("{refused:#}"),
///         "demo: the new Limits is refused, and generation 2 stays: clients must be at least 1"
///     );
///     assert_eq!(limits.current().clients, 20);
///     demo.stop().await;
///     Ok(())
/// });
/// ```
pub struct Configuration<C> {
    /// The path of the factory that was configured.
    factory: Arc<str>,
    current: watch::Sender<Generation<C>>,
}

/// A value, and how many there were up to it.
struct Generation<C> {
    number: u64,
    value: Arc<C>,
}

impl<C> Clone for Generation<C> {
    fn clone(&self) -> Self {
        Generation { number: self.number, value: self.value.clone() }
    }
}

impl<C: Config> Configuration<C> {
    /// The first generation.
    pub(crate) fn new(factory: Arc<str>, value: C) -> Result<Self> {
        value.validate().map_err(|error| error.context(format!("{factory}: {} is refused", label::<C>())))?;
        let (current, _) = watch::channel(Generation { number: 1, value: Arc::new(value) });
        Ok(Configuration { factory, current })
    }

    /// Replaces the value, if the new one is valid; returns the number of its generation, of which the first is 1. Daemons that
    /// asked for a [`ConfigWatch`] are told.
    ///
    /// # Errors
    /// When it is not valid: the current one stays.
    pub fn replace(&self, value: C) -> Result<u64> {
        value.validate().map_err(|error| self.refused(error))?;
        let (value, mut number) = (Arc::new(value), 0);
        let mut former = None;
        self.current.send_modify(|generation| {
            generation.number += 1;
            number = generation.number;
            // Its destructor is user code, which is not to be run under the lock.
            former = Some(std::mem::replace(&mut generation.value, value));
        });
        drop(former);
        Ok(number)
    }

    /// The error of a value that was not even made, because it could not be read or parsed: says that the current one stays.
    pub fn refused(&self, error: crate::Error) -> crate::Error {
        let number = self.generation();
        let factory = &self.factory;
        error
            .context(format!("{factory}: the new {} is refused, and generation {number} stays", label::<C>()))
    }

    /// The current value.
    pub fn current(&self) -> Arc<C> {
        self.current.borrow().value.clone()
    }

    /// How many values there were, up to the current one.
    pub fn generation(&self) -> u64 {
        self.current.borrow().number
    }

    /// Subscribes to the values from the current one on.
    pub fn watch(&self) -> ConfigWatch<C> {
        ConfigWatch(self.current.subscribe())
    }
}

impl<C> fmt::Debug for Configuration<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Configuration<{}>(generation {})", label::<C>(), self.current.borrow().number)
    }
}

/// The current configuration, as a daemon sees it; see [`Factory::config`](crate::Factory::config).
pub struct ConfigWatch<C>(watch::Receiver<Generation<C>>);

impl<C> Clone for ConfigWatch<C> {
    fn clone(&self) -> Self {
        ConfigWatch(self.0.clone())
    }
}

impl<C> ConfigWatch<C> {
    /// The current value.
    pub fn current(&self) -> Arc<C> {
        self.0.borrow().value.clone()
    }

    /// How many values there were, up to the current one.
    pub fn generation(&self) -> u64 {
        self.0.borrow().number
    }

    /// Waits for a value that this handle has not returned from here, and was not there when it was made; a clone goes on from
    /// where the original is. Of several replacements, only the last one is returned.
    ///
    /// Never resolves after the factory has gone: wait in [`Scope::until_stopping`](crate::Scope::until_stopping).
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Arc<C> {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().value.clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl<C> fmt::Debug for ConfigWatch<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigWatch<{}>(generation {})", label::<C>(), self.generation())
    }
}

/// The error for a daemon that asks for what nobody has configured.
pub(crate) fn not_configured<C>(factory: &str) -> crate::Error {
    anyhow!("{factory}: {} was not configured", label::<C>())
}
