//! Children, and when an ancestor's daemon is shared with them instead of built anew.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use anyhow::bail;

use super::slots::{BuiltFrom, Key, Known, Lookup, Place, Shared};
use super::values::Values;
use super::{DEPTH_MAX, Factory, Node};
use crate::control::{Refusal, Refused, SlotId};
use crate::driver::{Driver, WorldDriver};
use crate::label::Label;
use crate::{Result, World};

impl Factory {
    /// A child in the parent's world.
    pub(crate) fn child(name: &str, parent: Arc<Node>, maker: Option<SlotId>) -> Result<Factory> {
        let driver = parent.control.driver.clone();
        Self::inside(name, parent, maker, driver)
    }

    /// A child in another world.
    pub(crate) fn child_in<W: World>(
        name: &str,
        parent: Arc<Node>,
        maker: Option<SlotId>,
        world: W,
    ) -> Result<Factory> {
        let driver = Arc::new(WorldDriver::new(&world));
        let mut factory = Self::inside(name, parent, maker, driver)?;
        factory.supply(world);
        Ok(factory)
    }

    fn inside(
        name: &str,
        parent: Arc<Node>,
        maker: Option<SlotId>,
        driver: Arc<dyn Driver>,
    ) -> Result<Factory> {
        let path = &parent.control.path;
        if parent.control.is_stopping() {
            bail!(Refused { by: path.clone(), why: Refusal::NotMade(name.into()) });
        }
        if parent.control.depth >= DEPTH_MAX {
            bail!(
                "{path} is nested {DEPTH_MAX} factories deep, which is the limit: {name} cannot be made in it"
            );
        }
        let path = [path, "/", name].concat().into(); // a third of what `format!` costs
        let values = Values::inside(parent.values.clone());
        let mut factory = Self::new(path, driver, parent.control.settings.clone(), values);
        factory.maker = maker;
        factory.ancestors.reserve_exact(parent.control.depth + 1);
        let mut next = Some(parent);
        while let Some(node) = next {
            next = node.parent.as_ref().and_then(Weak::upgrade);
            factory.ancestors.push(node);
        }
        Ok(factory)
    }

    /// Shares the nearest ancestor's daemon, unless one of its dependencies was replaced here or in between.
    pub(super) fn share(&mut self, key: &Key) -> Option<Place> {
        let mut owners = self.ancestors.iter().enumerate();
        let (level, slot) = owners.find_map(|(level, node)| Some((level, node.own_slot(key)?)))?;
        let slot_there = self.ancestors[level].slots.get(slot);
        let is_being_built = |key: &Key| self.stack.iter().any(|frame| frame.key.as_ref() == Some(key));
        let has_recipe = |values: &Values| values.has_recipes() && values.has_own(key);
        let between = || self.ancestors[..level].iter();
        let is_replaced = is_being_built(key)
            || has_recipe(&self.values)
            || between().any(|node| has_recipe(&node.values))
            || self.is_any_below(level, slot, |from| {
                from.keys.iter().any(is_being_built)
                    || replaces(&self.lookup, &self.values, &from.keys)
                    || between().any(|node| replaces(&node.lookup, &node.values, &from.keys))
            });
        if is_replaced {
            return None;
        }
        let place = Place::Shared(u32::try_from(self.shared.len()).ok()?);
        let shared = Shared { daemon: slot_there.daemon.clone(), level, slot };
        let owner = &self.ancestors[level].control.path;
        let mut absent = Vec::new();
        self.is_any_below(level, slot, |from| {
            absent.extend_from_slice(&from.absent);
            false
        });
        let who: Option<Label> =
            (!absent.is_empty()).then(|| format!("{} of {owner}", slot_there.label).into());
        for key in absent {
            self.absent.entry(key).or_insert_with(|| who.clone().unwrap_or_default());
        }
        self.shared.push(shared);
        self.insert(key, place);
        Some(place)
    }
}

impl Factory {
    /// Whether something is true of what a daemon of an ancestor was built from, or of what one that it depends on was.
    pub(super) fn is_any_below(
        &self,
        level: usize,
        slot: SlotId,
        mut is_it: impl FnMut(&BuiltFrom) -> bool,
    ) -> bool {
        let slot_there = self.ancestors[level].slots.get(slot);
        if slot_there.built_from.is_complete {
            return is_it(&slot_there.built_from); // the usual case allocates nothing
        }
        let mut seen = BTreeSet::new();
        let mut left = vec![(level, slot)];
        while let Some((level, id)) = left.pop() {
            if !seen.insert((level, id)) {
                continue;
            }
            let node = &self.ancestors[level];
            let slot = node.slots.get(id);
            if is_it(&slot.built_from) {
                return true;
            }
            if !slot.built_from.is_complete {
                left.extend(slot.needs.iter().map(|need| {
                    let (above, slot) = node.origin(need.place);
                    (level + above, slot)
                }));
            }
        }
        false
    }
}

/// Whether a factory replaces any of `built_from`, which is sorted, by something of its own.
fn replaces(lookup: &Lookup, values: &Values, built_from: &[Key]) -> bool {
    let is_own = |known: &Known| matches!(known.place, Place::Own(_));
    if lookup.len() + values.own_len() <= built_from.len() {
        let daemons = lookup.iter().filter(|(_, known)| is_own(known)).map(|(key, _)| key);
        daemons.chain(values.own_keys()).any(|key| built_from.binary_search(key).is_ok())
    } else {
        built_from.iter().any(|key| lookup.get(key).is_some_and(is_own) || values.has_own(key))
    }
}
