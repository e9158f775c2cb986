//! A place for what a daemon makes while it prepares: set once, then read by everyone without a lock.

use std::fmt;
use std::sync::OnceLock;

use crate::Result;
use crate::daemon::label;

/// A value that [`prepare`](crate::Daemon::prepare) sets once and everyone reads afterwards.
///
/// Reading takes no lock and allocates nothing.
///
/// # Example
/// ```
/// let port = steelmill_core::SetOnce::new();
/// assert!(port.get().is_err());
/// port.set(6379)?;
/// assert_eq!(*port.get()?, 6379);
/// assert!(port.set(6380).is_err());
/// # Ok::<(), steelmill_core::Error>(())
/// ```
pub struct SetOnce<T>(OnceLock<T>);

impl<T> SetOnce<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        SetOnce(OnceLock::new())
    }

    /// Sets the value.
    ///
    /// # Errors
    /// When it is set already; the first value stays.
    pub fn set(&self, value: T) -> Result {
        self.0.set(value).map_err(|_| anyhow::anyhow!("{} was set already", label::<T>()))
    }

    /// The value.
    ///
    /// # Errors
    /// When it is not set yet.
    pub fn get(&self) -> Result<&T> {
        self.0
            .get()
            .ok_or_else(|| anyhow::anyhow!("{} is not set yet: has its daemon been prepared?", label::<T>()))
    }
}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for SetOnce<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get() {
            Some(value) => f.debug_tuple("SetOnce").field(value).finish(),
            None => f.write_str("SetOnce(not set yet)"),
        }
    }
}
