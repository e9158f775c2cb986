//! The end of a factory: its report, for everybody who waits for it. One allocation for all.
//!
//! `tests/cells.rs` includes this file, and runs it under loom.

use std::sync::Arc;

use crate::Report;
use crate::sync::{Notify, OnceLock};

/// The end of a factory that may not have ended yet.
#[derive(Clone)]
pub(crate) struct Ended(Arc<End>);

/// The supervisor's side of it. Its drop says that there will be no report.
pub(crate) struct EndSender(Option<Arc<End>>);

#[derive(Default)]
struct End {
    /// `None` when the supervisor was dropped by its executor.
    report: OnceLock<Option<Arc<Report>>>,
    waiters: Notify,
}

/// Both sides of the end of a factory.
pub(crate) fn end() -> (EndSender, Ended) {
    let end = Arc::<End>::default();
    (EndSender(Some(end.clone())), Ended(end))
}

impl Ended {
    /// Waits for the report; `None` if the supervisor was dropped.
    pub(crate) async fn report(&self) -> Option<Arc<Report>> {
        // In this order: who is made before the notification receives it.
        let notified = self.0.waiters.notified();
        if let Some(report) = self.0.report.get() {
            return report.clone();
        }
        notified.await;
        self.0.report.get().cloned().flatten()
    }
}

impl EndSender {
    pub(crate) fn send(mut self, report: Arc<Report>) {
        self.set(Some(report));
    }

    fn set(&mut self, report: Option<Arc<Report>>) {
        if let Some(end) = self.0.take() {
            let _ = end.report.set(report); // once, because it is taken
            end.waiters.notify_waiters();
        }
    }
}

impl Drop for EndSender {
    fn drop(&mut self) {
        self.set(None);
    }
}
