//! All errors of an assembly at once, for a check before anything is started.
//!
//! A setup ends with its first error, because of its `?`. While it is validated, whatever hands out nothing (`with`, `provide`,
//! `bind`, ...) notes an error and succeeds, so that the setup goes on. What several daemons fail for is noted once.

use std::collections::BTreeMap;
use std::fmt;

use super::Factory;
use super::building::Cycle;
use super::slots::Key;
use crate::panic::Fault;
use crate::{Error, Result};

/// What the lookup did not find.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Missing(pub(crate) String);

/// A request that contradicts another.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Ambiguous(pub(crate) String);

/// The kind of an [`AssemblyError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AssemblyErrorKind {
    /// Nothing was provided or bound that was requested, or has this name.
    Missing,
    /// Daemons depend on each other, or come after each other, in a circle.
    Cyclic,
    /// Two daemons or values would be meant: something was provided or bound twice, or after it had been requested.
    Ambiguous,
    /// A `build` or recipe returned an error or panicked, or a limit was exceeded.
    Failed,
}

impl fmt::Display for AssemblyErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            AssemblyErrorKind::Missing => "missing",
            AssemblyErrorKind::Cyclic => "cyclic",
            AssemblyErrorKind::Ambiguous => "ambiguous",
            AssemblyErrorKind::Failed => "failed",
        })
    }
}

/// One error of an assembly.
///
/// `Display` prints a line: `missing: demo: building Gateway: no value of type Limit was provided`.
#[derive(Debug)]
#[non_exhaustive]
pub struct AssemblyError {
    /// Its kind.
    pub kind: AssemblyErrorKind,
    /// The error, with the chain of requesters in front.
    pub error: Error,
    /// The text of the error and its sources.
    pub text: String,
    /// How many other requests of the setup failed for the same reason.
    pub others: usize,
}

impl fmt::Display for AssemblyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)?;
        match self.others {
            0 => Ok(()),
            others => write!(f, " (and {others} more requests fail for it)"),
        }
    }
}

/// All errors of an assembly, in the order in which they were met; see [`Factory::validate`].
///
/// `Display` prints a line for each.
#[derive(Debug)]
pub struct AssemblyErrors {
    errors: Vec<AssemblyError>,
}

impl AssemblyErrors {
    /// The errors; there is at least one.
    pub fn errors(&self) -> &[AssemblyError] {
        &self.errors
    }
}

impl fmt::Display for AssemblyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.errors[..] {
            [one] => write!(f, "{one}"),
            all => {
                write!(f, "{} errors", all.len())?;
                all.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
        }
    }
}

impl std::error::Error for AssemblyErrors {}

/// The errors of an assembly that is being validated.
#[derive(Default)]
pub(super) struct Collected {
    errors: Vec<AssemblyError>,
    /// The daemons whose `build` an error came from, and the index of that.
    origins: BTreeMap<Key, usize>,
    /// Where the error came from that is being returned from one `build` to the next.
    origin: Option<Key>,
}

impl Factory {
    /// Runs a setup and returns all errors of it, not only the first: what is missing, cyclic, ambiguous or fails to be built. A
    /// check for CI, and for the start of a process, because a factory without errors can be started.
    ///
    /// While it runs, methods that hand out nothing ([`with`](Factory::with), [`provide`](Factory::provide),
    /// [`bind`](Factory::bind), [`Catalog::assemble`](crate::Catalog::assemble), ...) return `Ok`, so that the setup goes on
    /// after an error of theirs; one that it returns itself is the last. Of a daemon only the first dependency that fails is known,
    /// because its `build` does not go on without it. Recipes of [`supervise`](Factory::supervise) are not run.
    ///
    /// # Errors
    /// All of them. The factory should not be started then.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{AssemblyErrorKind, Daemon, DaemonRef, Factory, Result};
    ///
    /// struct Limit(u32);
    ///
    /// struct Store;
    /// # impl Daemon for Store {
    /// #     fn build(factory: &mut Factory) -> Result<Self> {
    /// #         factory.value::<Limit>()?;
    /// #         Ok(Store)
    /// #     }
    /// # }
    ///
    /// struct Gateway;
    /// # impl Daemon for Gateway {
    /// #     fn build(factory: &mut Factory) -> Result<Self> {
    /// #         factory.get::<Store>()?;
    /// #         Ok(Gateway)
    /// #     }
    /// # }
    ///
    /// struct Metrics;
    /// # impl Daemon for Metrics {
    /// #     fn build(factory: &mut Factory) -> Result<Self> { Err(anyhow::anyhow!("no registry")) }
    /// # }
    ///
    /// fn setup(factory: &mut Factory) -> Result {
    ///     factory.with::<Store>()?; // requests a `Limit`, which nobody provides
    ///     factory.with::<Gateway>()?; // requests a `Store`
    ///     factory.with::<Metrics>()
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     let errors = factory.validate(setup).unwrap_err();
    ///     assert_eq!(
    ///         errors.to_string(),
    ///         "2 errors\n  \
    ///          missing: demo: building Store: demo: no value of type Limit was provided (and 1 more requests fail for it)\n  \
    ///          failed: demo: building Metrics: no registry"
    ///     );
    ///     assert_eq!(errors.errors()[0].kind, AssemblyErrorKind::Missing);
    ///     Ok(())
    /// });
    /// ```
    pub fn validate(
        &mut self,
        setup: impl FnOnce(&mut Factory) -> Result,
    ) -> std::result::Result<(), AssemblyErrors> {
        self.collected.get_or_insert_default();
        let outcome = setup(self);
        // What it returns was not noted yet: else it would not have been returned.
        let _ = self.collect(outcome);
        match self.collected.take() {
            Some(collected) if !collected.errors.is_empty() => {
                Err(AssemblyErrors { errors: collected.errors })
            }
            _ => Ok(()),
        }
    }

    /// Notes an error of the setup, while it is validated.
    pub(crate) fn collect(&mut self, outcome: Result) -> Result {
        let is_setup = self.stack.len() == 1;
        match (outcome, self.collected.as_deref_mut().filter(|_| is_setup)) {
            (Err(error), Some(collected)) => {
                collected.add(error);
                Ok(())
            }
            (outcome, _) => outcome,
        }
    }

    /// A daemon was built, or was not: notes where an error comes from.
    pub(super) fn note_origin(&mut self, key: &Key, error: Option<&Error>) {
        let Some(collected) = &mut self.collected else { return };
        let Some(error) = error else {
            collected.origin = None;
            return;
        };
        match error.downcast_ref::<Cycle>() {
            // Whichever of its daemons is requested.
            Some(cycle) => {
                let of_cycle = self.stack.get(cycle.start..).unwrap_or_default();
                let keys = of_cycle.iter().filter_map(|frame| frame.key.as_ref()).chain([key]);
                let former = collected.origin.take();
                collected.origin = keys.chain(&former).min().cloned();
            }
            None => {
                collected.origin.get_or_insert_with(|| key.clone());
            }
        }
    }
}

impl Collected {
    fn add(&mut self, error: Error) {
        let origin = self.origin.take();
        if let Some(known) = origin.as_ref().and_then(|origin| self.origins.get(origin)) {
            self.errors[*known].others += 1;
            return;
        }
        if let Some(origin) = origin {
            self.origins.insert(origin, self.errors.len());
        }
        let kind = match () {
            () if error.is::<Missing>() => AssemblyErrorKind::Missing,
            () if error.is::<Cycle>() => AssemblyErrorKind::Cyclic,
            () if error.is::<Ambiguous>() => AssemblyErrorKind::Ambiguous,
            () => AssemblyErrorKind::Failed,
        };
        let Fault { error, text } = Fault::of(error);
        self.errors.push(AssemblyError { kind, error, text, others: 0 });
    }
}
