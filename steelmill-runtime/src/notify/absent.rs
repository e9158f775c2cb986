//! Without Unix there is no systemd, and nothing that is told.

use std::sync::Arc;

use steelmill_core::{Remote, Result};
use tokio::runtime::Handle;

/// There is none.
pub(crate) enum Notifier {}

impl Notifier {
    pub(crate) fn from_env() -> Result<Option<Arc<Notifier>>> {
        Ok(None)
    }

    pub(crate) fn stopping(&self) {
        match *self {}
    }

    pub(crate) fn reloading(&self) {
        match *self {}
    }

    pub(crate) fn reloaded(&self, _: &str) {
        match *self {}
    }

    pub(crate) async fn follow(self: Arc<Self>, _: Remote, _: Handle) {
        match *self {}
    }
}
