//! A simulated disk: the part of a machine's state that survives its process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steelmill_core::{Factory, Result};

/// Durable state. The machine's setup provides it to each incarnation. A write is durable at once.
#[derive(Default)]
pub(crate) struct Disk<T>(Arc<Mutex<T>>);

impl<T: Send + 'static> Disk<T> {
    /// The disk that the machine's setup has provided.
    pub(crate) fn of(factory: &mut Factory) -> Result<Self> {
        Ok(Self::clone(&*factory.value::<Self>()?))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Disk<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
