//! Schedules that keep the ready tasks in an order of their own, to which the run queue's move before each pick.

use std::sync::Arc;

use super::pct::Pct;
use super::walk::Walk;
use crate::schema::estimates::Estimates;
use crate::schema::settings::{Schedule, Settings};
use crate::schema::task::TaskKey;

/// Draws a random number below its argument.
pub(crate) type Draw<'a> = &'a mut dyn FnMut(u64) -> u64;

pub(crate) enum Policy {
    Pct(Pct),
    Walk(Walk),
}

impl Policy {
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        match settings.schedule {
            Schedule::Weighted | Schedule::Uniform | Schedule::Fifo => None,
            Schedule::Pct { depth } => Some(Self::Pct(Pct::new(depth))),
            Schedule::Walk => Some(Self::Walk(Walk::new(settings.estimates.clone().unwrap_or_default()))),
        }
    }

    pub(crate) fn is_any_ready(&self) -> bool {
        match self {
            Self::Pct(pct) => pct.is_any_ready(),
            Self::Walk(walk) => walk.is_any_ready(),
        }
    }

    pub(super) fn push(
        &mut self,
        key: TaskKey,
        machine: u32,
        name: &'static str,
        machines: &[Arc<str>],
        draw: Draw<'_>,
    ) {
        match self {
            Self::Pct(pct) => pct.push(key, draw),
            Self::Walk(walk) => walk.push(key, machine, name, machines),
        }
    }

    /// Takes the task that runs next, and the number that was drawn for it, if any. `instant` identifies the current virtual time.
    pub(super) fn pick(&mut self, instant: u64, draw: Draw<'_>) -> Option<(u32, usize)> {
        match self {
            Self::Pct(pct) => pct.pick(instant, draw).map(|index| (index, 0)),
            Self::Walk(walk) => walk.pick(instant, draw).map(|(index, drawn)| (index, drawn as usize)),
        }
    }

    /// What other runs may draw by.
    pub(crate) fn counted(&self, machines: &[Arc<str>]) -> Estimates {
        match self {
            Self::Pct(_) => Estimates::default(),
            Self::Walk(walk) => walk.counted(machines),
        }
    }
}
