//! The health of a factory: whether it is ready and live, and why not.
//!
//! Each supervisor publishes its own part, and passes it to its parent. So reading it waits for nobody.

mod watch; // the published health, for those who wait for it

use std::fmt;
use std::sync::Arc;

use crate::{Health, State};

pub use watch::HealthWatch;
pub(crate) use watch::{HealthSender, health_watch};

/// The health of a factory, its daemons and its children, as it was published last.
///
/// A factory is *ready* while it runs, does not drain, and every daemon is well enough to serve. It is *live* as long as none
/// of its daemons is unresponsive, also while it starts, drains and stops. The distinction is that of Kubernetes' probes: who
/// is not ready gets no requests, who is not live is started again.
///
/// A daemon withholds readiness while it is failing or unresponsive, while its `run` has failed and is about to restart, and
/// until it was asked for the first time. One that was left down by its policy does not: the factory is meant to do without.
///
/// A child counts if it [escalates](crate::Factory::escalate), because then its failures are its parent's: while it runs, its
/// daemons count as the parent's own. Other children are shown without effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FactoryHealth {
    /// The factory's path.
    pub factory: Arc<str>,
    /// Its state as a whole.
    pub state: State,
    /// Whether its failures, and so its health, count for its parent.
    pub escalates: bool,
    /// Its own daemons, dependencies first.
    pub daemons: Vec<DaemonHealth>,
    /// Its children that have answered, the oldest first.
    pub children: Vec<Arc<FactoryHealth>>,
}

/// The health of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonHealth {
    /// The daemon's name.
    pub daemon: String,
    /// Its state.
    pub state: State,
    /// What it answered last in this run; `None` before the first answer.
    pub health: Option<Health>,
}

impl DaemonHealth {
    /// A daemon that was not asked yet, for tests of what shows the health; its fields can be changed.
    pub fn new(daemon: &str, state: State) -> Self {
        DaemonHealth { daemon: daemon.to_owned(), state, health: None }
    }

    /// Whether the daemon can serve.
    pub fn is_ready(&self) -> bool {
        match self.state {
            State::Running | State::Finished => self.health.as_ref().is_some_and(Health::is_ready),
            State::Down => true,
            _ => false,
        }
    }

    /// Whether the daemon answers.
    pub fn is_live(&self) -> bool {
        self.health.as_ref().is_none_or(Health::is_live)
    }

    /// What is not well with it: `failing: no replica is left`. May be there although it is ready.
    pub fn problem(&self) -> Option<String> {
        match (&self.health, self.state) {
            (Some(health), _) if health.reason().is_some() => Some(health.to_string()),
            (None, State::Running | State::Finished) => Some("not asked yet".to_owned()),
            (_, State::Running | State::Finished) => None,
            (_, state) => Some(state.to_string()),
        }
    }
}

impl FactoryHealth {
    /// A factory without daemons and children, for tests of what shows the health; its fields can be changed.
    pub fn new(factory: &str, state: State) -> Self {
        let (daemons, children) = (Vec::new(), Vec::new());
        FactoryHealth { factory: factory.into(), state, escalates: false, daemons, children }
    }

    /// That of a factory which has not published any.
    pub(crate) fn unknown(factory: Arc<str>) -> Self {
        let (daemons, children) = (Vec::new(), Vec::new());
        FactoryHealth { factory, state: State::Waiting, escalates: false, daemons, children }
    }

    /// Whether requests should be sent to it.
    pub fn is_ready(&self) -> bool {
        self.state == State::Running && self.all(DaemonHealth::is_ready)
    }

    /// Whether it works, or may still come to work, without being started again.
    pub fn is_live(&self) -> bool {
        self.all(DaemonHealth::is_live)
    }

    /// What is not well, a line each, of this factory and all below it: `demo: Store is failing: the disk is full`. Empty in a
    /// factory that is ready, unless something is degraded or a child that does not count is not well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for health in self.walk() {
            let path = &health.factory;
            if health.state != State::Running {
                problems.push(format!("{path} is {}", health.state));
            }
            let of_daemons = health
                .daemons
                .iter()
                .filter_map(|daemon| Some(format!("{path}: {} is {}", daemon.daemon, daemon.problem()?)));
            problems.extend(of_daemons);
        }
        problems
    }

    /// This health and all below it, each before its children.
    pub fn walk(&self) -> impl Iterator<Item = &FactoryHealth> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let next = left.pop()?;
            left.extend(next.children.iter().rev().map(|child| &**child));
            Some(next)
        })
    }

    /// Whether it holds for all daemons that count.
    fn all(&self, holds: fn(&DaemonHealth) -> bool) -> bool {
        let counts = |child: &&Arc<FactoryHealth>| child.escalates && child.state == State::Running;
        self.daemons.iter().all(holds) && self.children.iter().filter(counts).all(|child| child.all(holds))
    }
}

impl fmt::Display for FactoryHealth {
    /// `demo: ready`, or `demo: not ready, not live`, and a line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = if self.is_ready() { "ready" } else { "not ready" };
        let live = if self.is_live() { "" } else { ", not live" };
        write!(f, "{}: {ready}{live}", self.factory)?;
        self.problems().iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(state: State, health: Option<Health>) -> DaemonHealth {
        DaemonHealth { daemon: "Store".to_owned(), state, health }
    }

    fn factory(state: State, daemons: Vec<DaemonHealth>) -> FactoryHealth {
        FactoryHealth { state, daemons, ..FactoryHealth::unknown("demo".into()) }
    }

    #[test]
    fn readiness_and_liveness_follow_from_states_and_answers() {
        use Health::{Healthy, Unchecked};
        for (state, health, is_ready, is_live) in [
            (State::Running, Some(Healthy), true, true),
            (State::Running, Some(Unchecked), true, true),
            (State::Finished, Some(Healthy), true, true),
            (State::Running, Some(Health::degraded("slow")), true, true),
            (State::Running, Some(Health::failing("full")), false, true),
            (State::Running, Some(Health::Unresponsive("hangs".into())), false, false),
            (State::Running, None, false, true),
            (State::Pausing, None, false, true),
            (State::Down, None, true, true),
        ] {
            let health = factory(State::Running, vec![daemon(state, health)]);
            assert_eq!((health.is_ready(), health.is_live()), (is_ready, is_live), "{health:?}");
        }
    }

    #[test]
    fn a_factory_is_ready_only_while_it_runs() {
        for state in [State::Waiting, State::Preparing, State::Draining, State::Stopping, State::Ended] {
            let health = factory(state, vec![daemon(State::Running, Some(Health::Healthy))]);
            assert!(!health.is_ready() && health.is_live(), "{state}");
        }
    }

    #[test]
    fn a_child_counts_if_it_escalates_and_while_it_runs() {
        for (escalates, state, counts) in [
            (true, State::Running, true),
            (false, State::Running, false),
            (true, State::Preparing, false),
            (true, State::Stopping, false),
        ] {
            let health = Health::Unresponsive("hangs".into());
            let child = factory(state, vec![daemon(State::Running, Some(health))]);
            let mut parent = factory(State::Running, Vec::new());
            parent.children.push(Arc::new(FactoryHealth { escalates, ..child }));
            assert_eq!((parent.is_ready(), parent.is_live()), (!counts, !counts), "{parent:?}");
            assert!(parent.to_string().contains("Store is unresponsive: hangs"), "{parent}");
        }
    }
}
