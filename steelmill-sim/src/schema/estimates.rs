//! How many steps each task makes, as a trial run counted them: see [`Schedule::Walk`](crate::Schedule::Walk).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many steps (polls) each task makes while time stands still: by machine, by name, and by the order of their spawns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Estimates(BTreeMap<String, BTreeMap<String, Vec<u64>>>);

impl Estimates {
    pub(crate) fn insert(&mut self, machine: &str, name: &str, steps: Vec<u64>) {
        self.0.entry(machine.to_owned()).or_default().insert(name.to_owned(), steps);
    }

    /// Of the nth task of a name on a machine, counted from 0; of the last known one, if the trial had fewer. At least 1.
    pub(crate) fn of(&self, machine: &str, name: &str, nth: usize) -> u64 {
        let known = self.0.get(machine).and_then(|names| names.get(name));
        known.and_then(|steps| steps.get(nth).or(steps.last())).map_or(1, |steps| (*steps).max(1))
    }
}
