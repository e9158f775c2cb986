//! How all daemons of a factory start and stop.
//!
//! Each running factory has one supervisor: a task that owns everything there is to know about the lifecycle, so that
//! nothing is locked. All that happens reaches it as an [`Event`]; a plain state machine, [`plan`], decides; the
//! supervisor acts. User code runs in tasks of its own and can neither block nor break the supervisor.

mod event;

pub(crate) use event::{ChildId, Ended, Event, Events, Join, Membership};

use crate::{Factory, Phase, Report, RunningFactory, StartError};

impl Factory {
    /// Prepares all daemons, dependencies first, and runs them.
    pub async fn start(self) -> Result<RunningFactory, StartError> {
        let error = anyhow::anyhow!("the lifecycle is not built yet");
        let report = Report::of(self.path().into(), Phase::Prepare, error);
        Err(StartError::new(std::sync::Arc::new(report)))
    }
}
