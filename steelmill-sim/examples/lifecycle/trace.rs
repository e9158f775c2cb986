//! The event trace of a run, in order.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{FactoryHealth, Report, State};

use super::plan::Command;

/// Identifies a part: its factory and its number.
///
/// A factory is identified by its path, in which each supervised child has its generation: `root/s1~2/c3.7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartId {
    pub(crate) factory: Arc<str>,
    pub(crate) part: usize,
}

/// The name that a factory has in the plan. A child that a part makes has the number of the run as a suffix, a supervised one
/// its generation.
pub(crate) fn plan_name(factory: &str) -> &str {
    let name = factory.rsplit('/').next().unwrap_or_default();
    name.split(['.', '~']).next().unwrap_or_default()
}

/// The path of a factory: without the generations.
pub(crate) fn path_of(factory: &str) -> String {
    let names: Vec<_> = factory.split('/').map(|name| name.split('~').next().unwrap_or_default()).collect();
    names.join("/")
}

/// An activity of a part, from a `Begins` to an `Ends` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    Prepare,
    /// With a number that is unique per call.
    Run(u32),
    Stop,
    /// A task or child task, with the number of the run that spawned it.
    Task(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Succeeded,
    /// With a token that is part of the error text.
    Failed(u32),
    /// Its future was dropped.
    Cancelled,
}

/// Who has made a factory.
#[derive(Debug, Clone)]
pub(crate) enum Maker {
    /// The scenario.
    Outside,
    /// A part, in the run of this number.
    Part(PartId, u32),
    /// The supervisor of a child, by its recipe.
    Supervisor,
}

#[derive(Debug, Clone)]
pub(crate) enum EventKind {
    // Events of a part.
    Built {
        dependencies: Vec<PartId>,
    },
    Begins {
        activity: Activity,
        span: u32,
    },
    Ends {
        span: u32,
        ending: Ending,
    },
    Leaks(PartId),
    /// A task of it waits until the factory drains; with a number of its own.
    WatchesDrain {
        watch: u32,
    },
    /// It does not wait any more. The last published readiness of the root, if somebody watches that.
    Drains {
        watch: u32,
        is_stopping: bool,
        is_ready: Option<bool>,
    },
    /// It does not wait any more: its task was aborted.
    WatchAborted {
        watch: u32,
    },
    Dropped,
    /// Somebody requests that it is restarted or stopped alone.
    Commanded,
    // Events of a factory.
    Starts {
        maker: Maker,
        escalates: bool,
    },
    /// The recipe of a supervised child fails.
    RecipeFails,
    /// Somebody requests that a supervised child of the root is built anew or stopped.
    ChildCommanded {
        child: String,
        command: Command,
    },
    /// A supervised child of the root was stopped by request.
    ChildStopped {
        child: String,
    },
    /// The root as a whole has entered this state.
    Entered(State),
    Started,
    StartFailed(Arc<Report>),
    StopRequested,
    Health(Arc<FactoryHealth>),
    Ended(Arc<Report>),
    MachineEnded,
    /// A child of its name started while it ran.
    TwinStarted,
}

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) factory: Arc<str>,
    /// None for an event of the factory.
    pub(crate) part: Option<usize>,
    pub(crate) what: EventKind,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(pub(crate) Vec<Event>);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, event) in self.0.iter().enumerate() {
            let Event { at, factory, part, what } = event;
            write!(f, "  {index:3} {:.3} s {factory}", at.as_secs_f64())?;
            if let Some(part) = part {
                write!(f, " {part}")?;
            }
            match what {
                EventKind::Built { dependencies } => {
                    let dependencies: Vec<_> = dependencies
                        .iter()
                        .map(|dependency| format!("{} {}", dependency.factory, dependency.part))
                        .collect();
                    writeln!(f, " is built from [{}]", dependencies.join(", "))?;
                }
                EventKind::Begins { activity, span } => writeln!(f, " begins {activity:?} ({span})")?,
                EventKind::Ends { span, ending } => writeln!(f, " ends ({span}): {ending:?}")?,
                EventKind::Leaks(target) => writeln!(f, " leaks {} {}", target.factory, target.part)?,
                EventKind::WatchesDrain { .. }
                | EventKind::Drains { .. }
                | EventKind::WatchAborted { .. } => writeln!(f, " {what:?}")?,
                EventKind::Health(health) => {
                    writeln!(f, " is well: {}", health.to_string().replace('\n', ","))?;
                }
                EventKind::Starts { maker: Maker::Part(maker, run), .. } => {
                    writeln!(f, " starts, created by {} {} in run {run}", maker.factory, maker.part)?;
                }
                EventKind::Starts { maker: Maker::Supervisor, .. } => writeln!(f, " is built by its recipe")?,
                EventKind::Starts { maker: Maker::Outside, .. } => writeln!(f, " starts")?,
                EventKind::StartFailed(report) => writeln!(f, " did not start; {report}")?,
                EventKind::Ended(report) => writeln!(f, " ended; {report}")?,
                EventKind::Dropped
                | EventKind::RecipeFails
                | EventKind::ChildCommanded { .. }
                | EventKind::ChildStopped { .. }
                | EventKind::Entered(_)
                | EventKind::Commanded
                | EventKind::TwinStarted
                | EventKind::Started
                | EventKind::StopRequested
                | EventKind::MachineEnded => {
                    writeln!(f, " {what:?}")?;
                }
            }
        }
        Ok(())
    }
}
