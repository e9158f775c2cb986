//! What a factory is doing at this moment: a tree that its supervisors draw when they are asked.
//!
//! Nothing is shared or counted for it, so it costs nothing until somebody asks.

use std::fmt;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// What a daemon, or a factory as a whole, is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// For what it depends on to be prepared.
    Waiting,
    /// Its `prepare` runs; of a factory: some daemon's does.
    Preparing,
    /// It is prepared, and waits for the others.
    Prepared,
    /// Its `run` runs; of a factory: all daemons are prepared.
    Running,
    /// Its `run` has returned; it can still be called.
    Finished,
    /// Its `run` has failed, and the children it made and its tasks are ending.
    WindingDown,
    /// It is about to run again.
    Pausing,
    /// Its `run` has failed, and it is left down; it can still be called.
    Down,
    /// It has been told to stop; its `stop`, its `run` or its tasks have not ended.
    Stopping,
    /// It has ended.
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
            State::Stopping => "stopping",
            State::Ended => "ended",
        })
    }
}

/// A factory, its daemons and its children at one moment.
///
/// Each factory of the tree answers for itself, one after another, so they are not all of the same instant.
///
/// Its `Display` has a line for each factory and each daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The factory's path.
    pub factory: String,
    /// What it does as a whole.
    pub state: State,
    /// Since when, on the factory's own monotonic clock.
    pub since: Instant,
    /// For how long that has been so.
    pub lasted: Duration,
    /// Its own daemons, what others depend on first.
    pub daemons: Vec<DaemonStatus>,
    /// Its children that have been started, the oldest first.
    pub children: Vec<Status>,
}

/// One daemon at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonStatus {
    /// What the daemon is called.
    pub daemon: String,
    /// What it does.
    pub state: State,
    /// Since when, on the factory's own monotonic clock.
    pub since: Instant,
    /// For how long that has been so.
    pub lasted: Duration,
    /// How often its `run` has been called.
    pub runs: u32,
    /// What went wrong last, in one of its phases or tasks.
    pub last_error: Option<String>,
    /// Its tasks that are alive: their names, in the order of first use, and how many of each.
    pub tasks: Vec<(&'static str, usize)>,
}

impl DaemonStatus {
    /// How many tasks it has.
    pub fn tasks_alive(&self) -> usize {
        self.tasks.iter().map(|(_, alive)| alive).sum()
    }
}

impl Status {
    /// This factory and all below it, each before its children.
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
        let DaemonStatus { daemon, state, lasted, runs, last_error, tasks, .. } = self;
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
        Ok(())
    }
}

/// What a supervisor answers: its own part, and where those of its children will come.
pub(crate) struct Snapshot {
    pub(crate) own: Status,
    pub(crate) children: Vec<oneshot::Receiver<Snapshot>>,
}

impl Snapshot {
    /// The whole tree; none when the factory has ended. A child that has ended meanwhile is left out.
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
