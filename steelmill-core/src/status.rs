//! The status of a factory: the state of each daemon and child, collected from the supervisors on request.
//!
//! Nothing is kept up to date for it, so it costs nothing until it is requested.

use std::fmt;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::Health;

/// The lifecycle state of a daemon, or of a factory as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum State {
    /// Waiting until its dependencies are prepared.
    Waiting,
    /// Its `prepare` runs. A factory: some daemon's does.
    Preparing,
    /// Prepared, and waiting until all daemons are.
    Prepared,
    /// Its `run` runs. A factory: all daemons are prepared.
    Running,
    /// Its `run` has returned `Ok`; it can still be called.
    Finished,
    /// Its `run` has failed; the children it made and its tasks are ending.
    WindingDown,
    /// In backoff before a restart.
    Pausing,
    /// Its `run` has failed and is not restarted; it can still be called.
    Down,
    /// A factory: it will stop, is not ready any more, and still serves. Its daemons run.
    Draining,
    /// It was told to stop; its `stop`, `run` or tasks have not ended yet.
    Stopping,
    /// Ended.
    Ended,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Waiting => "waiting",
            State::Preparing => "preparing",
            State::Prepared => "prepared",
            State::Running => "running",
            State::Finished => "finished",
            State::WindingDown => "winding down",
            State::Pausing => "pausing",
            State::Down => "down",
            State::Draining => "draining",
            State::Stopping => "stopping",
            State::Ended => "ended",
        })
    }
}

/// The state of a factory, its daemons and its children; see [`RunningFactory::status`](crate::RunningFactory::status).
///
/// The factories of the tree answer one after another, so this is not a snapshot of one instant. `Display` prints a line
/// for each factory and daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The factory's path.
    pub factory: String,
    /// Its state as a whole.
    pub state: State,
    /// When that state was entered, on the factory's monotonic clock.
    pub since: Instant,
    /// For how long it has been in that state.
    pub lasted: Duration,
    /// Its own daemons, dependencies first.
    pub daemons: Vec<DaemonStatus>,
    /// Its started children, the oldest first.
    pub children: Vec<Status>,
}

/// The state of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonStatus {
    /// The daemon's name.
    pub daemon: String,
    /// Its state.
    pub state: State,
    /// When that state was entered, on the factory's monotonic clock.
    pub since: Instant,
    /// For how long it has been in that state.
    pub lasted: Duration,
    /// How long its `build` took, without that of its dependencies; zero if it was provided.
    pub build: Duration,
    /// How long its `prepare` took, if it is over.
    pub prepare: Option<Duration>,
    /// How long its stop took, from the stop signal to the end of its last task, if it is over.
    pub stop: Option<Duration>,
    /// How often its `run` was called: 1 plus restarts.
    pub runs: u32,
    /// The last error of its phases and tasks.
    pub last_error: Option<String>,
    /// What it answered last in this run, if anybody [requested](crate::RunningFactory::health) the health of the factory.
    pub health: Option<Health>,
    /// Its live tasks by name, in the order of first use, with the number of each.
    pub tasks: Vec<(&'static str, usize)>,
}

impl DaemonStatus {
    /// A daemon that has not been prepared yet, for tests of what shows a status; its fields can be changed.
    pub fn new(daemon: &str, state: State, since: Instant) -> Self {
        let (build, lasted, tasks) = (Duration::ZERO, Duration::ZERO, Vec::new());
        let (prepare, stop, runs, last_error, health) = (None, None, 0, None, None);
        DaemonStatus {
            daemon: daemon.to_owned(),
            state,
            since,
            lasted,
            build,
            prepare,
            stop,
            runs,
            last_error,
            health,
            tasks,
        }
    }

    /// The number of its live tasks.
    pub fn tasks_alive(&self) -> usize {
        self.tasks.iter().map(|(_, alive)| alive).sum()
    }
}

impl Status {
    /// A factory without daemons and children, for tests of what shows a status; its fields can be changed.
    pub fn new(factory: &str, state: State, since: Instant) -> Self {
        let (daemons, children) = (Vec::new(), Vec::new());
        Status { factory: factory.to_owned(), state, since, lasted: Duration::ZERO, daemons, children }
    }

    /// This status and all below it, each before its children.
    pub fn walk(&self) -> impl Iterator<Item = &Status> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let next = left.pop()?;
            left.extend(next.children.iter().rev());
            Some(next)
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, status) in self.walk().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {} for {:?}", status.factory, status.state, status.lasted)?;
            for daemon in &status.daemons {
                write!(f, "\n  {daemon}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DaemonStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DaemonStatus { daemon, state, lasted, runs, last_error, health, tasks, .. } = self;
        write!(f, "{daemon}: {state} for {lasted:?}")?;
        if *runs > 1 {
            write!(f, ", run {runs}")?;
        }
        for (name, alive) in tasks {
            write!(f, ", {alive} {name:?}")?;
        }
        if let Some(error) = last_error {
            write!(f, ", last failed to {error}")?;
        }
        if let Some(health) = health.as_ref().filter(|health| health.reason().is_some()) {
            write!(f, ", {health}")?;
        }
        Ok(())
    }
}

/// The answer of one supervisor: its own part, and the receivers of its children's.
pub(crate) struct Snapshot {
    pub(crate) own: Status,
    pub(crate) children: Vec<oneshot::Receiver<Snapshot>>,
}

impl Snapshot {
    /// Collects the whole tree; `None` if the factory has ended. Omits children that have ended meanwhile.
    pub(crate) fn gather(answer: oneshot::Receiver<Snapshot>) -> BoxFuture<'static, Option<Status>> {
        async move {
            let Snapshot { mut own, children } = answer.await.ok()?;
            for child in children {
                own.children.extend(Snapshot::gather(child).await);
            }
            Some(own)
        }
        .boxed()
    }
}
