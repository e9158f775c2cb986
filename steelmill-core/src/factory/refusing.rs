//! Refusing requests that would let two daemons of a factory disagree: cycles, late replacements, duplicates.

use anyhow::bail;

use super::Factory;
use super::building::Cycle;
use super::slots::{Key, Known, Place};
use super::validating::Ambiguous;
use crate::{Daemon, Result};

impl Factory {
    /// A daemon cannot wait for itself to be built.
    pub(super) fn refuse_cycle<T: Daemon>(&self, key: &Key) -> Result {
        let Some(start) = self.stack.iter().position(|frame| frame.key.as_ref() == Some(key)) else {
            return Ok(());
        };
        let mut names: Vec<&str> = self.stack[start..].iter().map(|frame| &*frame.label).collect();
        let again = key.label::<T>();
        names.push(&again);
        Err(Cycle { names: names.join(" -> "), start }.into())
    }

    /// A daemon cannot be built after another was built without it.
    pub(super) fn refuse_if_absent(&self, key: &Key, label: &str) -> Result {
        // The innermost is the requester, which may retry.
        let outer = &self.stack[..self.stack.len() - 1];
        let while_building =
            outer.iter().find(|frame| frame.built_from.absent.contains(key)).map(|frame| &frame.label);
        if let Some(who) = self.absent.get(key).or(while_building) {
            bail!(Ambiguous(format!(
                "{who} requested it before and continued without it; request {label} first"
            )));
        }
        Ok(())
    }

    /// A daemon cannot be replaced after it, or one that depends on it, was handed out.
    pub(super) fn refuse_if_asked(&self, key: &Key, label: &str, what: &str) -> Result {
        let path = &self.path;
        let asked_daemon = self.lookup.get(key).and_then(|known| known.requested_by.as_ref());
        let asked_while_building = || self.stack.iter().find(|frame| frame.built_from.contains(key));
        // One that does not list all depends on one that lists this.
        let asked_before =
            || self.slots.iter().find(|(_, slot)| slot.built_from.keys.binary_search(key).is_ok());
        let requester = asked_daemon
            .or_else(|| asked_while_building().map(|frame| &frame.label))
            .or_else(|| asked_before().map(|(_, slot)| &slot.label));
        if let Some(requester) = requester {
            bail!(Ambiguous(format!(
                "{path}: {label} cannot be {what} any more: {requester} requested it before"
            )));
        }
        for known in self.lookup.values() {
            let Known { place: Place::Shared(index), requested_by: Some(requester) } = known else {
                continue;
            };
            let shared = &self.shared[*index as usize];
            let owner = &self.ancestors[shared.level];
            let slot = owner.slots.get(shared.slot);
            if self.is_any_below(shared.level, shared.slot, |from| from.keys.binary_search(key).is_ok()) {
                bail!(Ambiguous(format!(
                    "{path}: {label} cannot be {what} any more: {requester} requested {} of {} before, which was built from it",
                    slot.label, owner.control.path
                )));
            }
        }
        Ok(())
    }

    /// A daemon cannot be built or provided twice.
    pub(super) fn refuse_if_present(&self, key: &Key, label: &str, what: &str) -> Result {
        let path = &self.path;
        if self.lookup.contains_key(key) || self.values.has_own_value(key) {
            bail!(Ambiguous(format!("{path}: {label} cannot be {what}: it was provided before")));
        }
        if self.stack.iter().any(|frame| frame.key.as_ref() == Some(key)) {
            bail!(Ambiguous(format!("{path}: {label} cannot be {what}: it is being built")));
        }
        Ok(())
    }
}
