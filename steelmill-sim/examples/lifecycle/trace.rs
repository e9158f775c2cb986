//! What happened, in order.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use steelmill_core::Report;

/// A part of a factory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) factory: Arc<str>,
    pub(crate) part: usize,
}

/// What a part is doing for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Prepare,
    /// The nth time.
    Run(u32),
    Stop,
    /// A task, begun so many runs after the start.
    Task(u32),
}

/// How it ended; a token is in the error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Well,
    Failed(u32),
    /// Dropped before its end.
    Cut,
}

#[derive(Debug, Clone)]
pub(crate) enum Happened {
    // To a part.
    Built { needs: Vec<Who> },
    Begins { doing: Doing, span: u32 },
    Ends { span: u32, how: How },
    Leaks(Who),
    Dropped,
    // To a factory.
    Starts { maker: Option<(Who, u32)>, escalates: bool },
    Started,
    DidNotStart(Arc<Report>),
    StopAsked,
    Ended(Arc<Report>),
    MachineGone,
}

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) factory: Arc<str>,
    /// None when it is about the factory as a whole.
    pub(crate) part: Option<usize>,
    pub(crate) what: Happened,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(pub(crate) Vec<Event>);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, event) in self.0.iter().enumerate() {
            let Event { at, factory, part, what } = event;
            write!(f, "  {place:3} {:.3} s {factory}", at.as_secs_f64())?;
            if let Some(part) = part {
                write!(f, " {part}")?;
            }
            match what {
                Happened::Built { needs } => {
                    let needs: Vec<_> =
                        needs.iter().map(|need| format!("{} {}", need.factory, need.part)).collect();
                    writeln!(f, " is built from [{}]", needs.join(", "))?;
                }
                Happened::Begins { doing, span } => writeln!(f, " begins {doing:?} ({span})")?,
                Happened::Ends { span, how } => writeln!(f, " ends ({span}): {how:?}")?,
                Happened::Leaks(whom) => writeln!(f, " leaks {} {}", whom.factory, whom.part)?,
                Happened::Starts { maker: Some((maker, run)), .. } => {
                    writeln!(f, " starts, made by {} {} in run {run}", maker.factory, maker.part)?;
                }
                Happened::Starts { maker: None, .. } => writeln!(f, " starts")?,
                Happened::DidNotStart(report) => writeln!(f, " did not start; {report}")?,
                Happened::Ended(report) => writeln!(f, " ended; {report}")?,
                Happened::Dropped | Happened::Started | Happened::StopAsked | Happened::MachineGone => {
                    writeln!(f, " {what:?}")?;
                }
            }
        }
        Ok(())
    }
}
