//! Order without a dependency: a daemon that starts after another one, and stops before it, without a ref to it.

use anyhow::bail;

use super::Factory;
use super::building::Cycle;
use super::slots::{Key, Need, Place, Via};
use crate::control::SlotId;
use crate::{Daemon, Result};

impl Factory {
    /// Adds both daemons, `T` after `U`: `T` is prepared after `U` is, and `U` stops after `T` has ended, as if `T` depended
    /// on `U`. As systemd's `After=` does
    /// ([systemd.unit(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html)). A `build` that wants
    /// this for its own daemon calls [`with`](Factory::with).
    ///
    /// # Errors
    /// A cycle: `U` depends on `T`, or comes after it. When `T` belongs to an ancestor, which has started it already.
    /// Otherwise as [`get`](Factory::get).
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Daemon, Factory, Result};
    ///
    /// struct Migrations;
    /// # impl Daemon for Migrations { fn build(_: &mut Factory) -> Result<Self> { Ok(Self) } }
    /// struct Store;
    /// # impl Daemon for Store { fn build(_: &mut Factory) -> Result<Self> { Ok(Self) } }
    ///
    /// fn setup(factory: &mut Factory) -> Result {
    ///     factory.after::<Store, Migrations>()
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     setup(&mut factory)?;
    ///     let cycle = format!("{:#}", factory.after::<Migrations, Store>().unwrap_err());
    ///     assert_eq!(cycle, "demo: dependency cycle: Migrations -> Store -> Migrations");
    ///     Ok(())
    /// });
    /// ```
    pub fn after<T: Daemon, U: Daemon>(&mut self) -> Result {
        let ordered = self.order::<T, U>();
        self.collect(ordered)
    }

    fn order<T: Daemon, U: Daemon>(&mut self) -> Result {
        let before = self.obtain::<U>(&Key::daemon::<U>())?;
        let Place::Own(after) = self.obtain::<T>(&Key::daemon::<T>())? else {
            let (path, label) = (&self.path, Key::daemon::<T>().label::<T>());
            bail!("{path}: {label} belongs to an ancestor, which has started it already");
        };
        if let Place::Own(before) = before
            && let Some(mut names) = self.way_to(before, after)
        {
            names.insert(0, self.slots.get(after).label.to_string());
            let cycle = Cycle { names: names.join(" -> "), start: 0 };
            return Err(anyhow::Error::new(cycle).context(self.path.clone()));
        }
        let slot = self.slots.get_mut(after);
        if slot.needs.iter().all(|need| need.place != before) {
            let mut needs = std::mem::take(&mut slot.needs).into_vec();
            needs.push(Need { place: before, via: Via::Order });
            needs.sort_by_key(|need| need.place);
            slot.needs = needs.into();
        }
        Ok(())
    }

    /// The daemons by which one leads to another that it depends on.
    fn way_to(&self, from: SlotId, to: SlotId) -> Option<Vec<String>> {
        let mut came_from = vec![None; self.slots.iter().count()];
        let mut left = vec![from];
        while let Some(slot) = left.pop() {
            if slot == to {
                let mut way = vec![slot];
                while let Some(before) = way.last().and_then(|last| came_from[last.index()]) {
                    way.push(before);
                }
                let names = way.into_iter().rev().map(|slot| self.slots.get(slot).label.to_string());
                return Some(names.collect());
            }
            for need in self.slots.get(slot).own_needs() {
                if need != from && came_from[need.index()].is_none() {
                    came_from[need.index()] = Some(slot);
                    left.push(need);
                }
            }
        }
        None
    }
}
