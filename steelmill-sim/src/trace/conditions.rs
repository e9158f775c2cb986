//! The condition of each factory and daemon: its lifecycle state, with its health while it runs.

use std::collections::BTreeMap;

use steelmill_core::State;

use crate::schema::event::{EventKind, MachineChange};
use crate::schema::trace::Trace;

/// Whose condition it is: machine, factory and, unless it is the factory's, daemon.
pub(crate) type ConditionOf<'t> = (u32, &'t str, Option<&'t str>);

/// The conditions at one event of a trace.
pub(crate) struct Conditions<'t> {
    trace: &'t Trace,
    known: BTreeMap<ConditionOf<'t>, Condition<'t>>,
}

#[derive(Default)]
struct Condition<'t> {
    state: Option<State>,
    /// In words.
    health: Option<&'t str>,
}

impl<'t> Conditions<'t> {
    pub(crate) fn new(trace: &'t Trace) -> Self {
        Conditions { trace, known: BTreeMap::new() }
    }

    /// The condition that begins at the next event, in words: `running, degraded: one replica is left`. `None` if no condition
    /// does.
    pub(crate) fn begins(&mut self, event: &EventKind) -> Option<(ConditionOf<'t>, String)> {
        let of = match *event {
            EventKind::State { state } => {
                let change = self.trace.states.get(state as usize)?;
                let of = (change.machine, &*change.factory, change.daemon.as_deref());
                let condition = self.known.entry(of).or_default();
                condition.state = Some(change.state);
                if !has_health(change.state) {
                    condition.health = None;
                }
                of
            }
            EventKind::Health { health } => {
                let change = self.trace.health.get(health as usize)?;
                let of = (change.machine, &*change.factory, change.daemon.as_deref());
                let condition = self.known.entry(of).or_default();
                // What does not run is not ready, as its state says.
                if condition.state.is_none_or(has_health) {
                    condition.health = Some(&change.text);
                }
                of
            }
            EventKind::Machine { machine, change: MachineChange::Exited | MachineChange::PowerLost } => {
                self.known.retain(|(on, ..), _| *on != machine);
                return None;
            }
            _ => return None,
        };
        let words = match self.known.get(&of)? {
            Condition { state: Some(state), health: None } => state.to_string(),
            Condition { state: Some(state), health: Some(health) } => format!("{state}, {health}"),
            // Its state is from before the trace.
            Condition { state: None, health } => format!("running, {}", health.unwrap_or_default()),
        };
        Some((of, words))
    }
}

fn has_health(state: State) -> bool {
    matches!(state, State::Running | State::Finished)
}
