//! Asking a factory for a daemon or a value: the public lookups, and how a request resolves to a slot.
//!
//! A request takes what this factory has, else what an ancestor can [share](super::sharing), else builds. Whatever is
//! handed out is recorded as a dependency of the requester, the daemon on top of the construction stack.

use std::sync::Arc;

use super::building::Frame;
use super::slots::{Key, Need, Place, Via};
use super::validating::Missing;
use super::{Factory, reference};
use crate::label::label;
use crate::{Daemon, DaemonRef, Result};

impl Factory {
    /// Resolves a dependency: this factory's own daemon of this type; else the nearest ancestor's, if none of its
    /// dependencies was provided or rebuilt in between; else a new one, built here.
    ///
    /// # Errors
    /// An error or panic of `build`, with the chain of requesters in front; a dependency cycle, with its path; a chain
    /// longer than [`DEPTH_MAX`](crate::DEPTH_MAX).
    pub fn get<T: Daemon>(&mut self) -> Result<DaemonRef<T>> {
        self.get_at(&Key::daemon::<T>(), Via::Itself)
    }

    /// Like [`get`](Factory::get), but never shares an ancestor's daemon.
    ///
    /// # Errors
    /// As [`get`](Factory::get). Also when an ancestor's daemon of this type, or one that depends on it, was handed out
    /// here before: names the requester.
    pub fn build<T: Daemon>(&mut self) -> Result<DaemonRef<T>> {
        self.build_at(&Key::daemon::<T>())
    }

    /// Like [`get`](Factory::get), without returning the daemon: for a setup that only chooses what runs.
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    pub fn with<T: Daemon>(&mut self) -> Result {
        self.with_at::<T>(&Key::daemon::<T>())
    }

    /// An optional dependency: like [`get`](Factory::get), but `None` instead of building one.
    ///
    /// # Order
    /// Build or provide optional dependencies first. Once a daemon was built without one, building or providing it here
    /// is an error that names that daemon.
    ///
    /// # Errors
    /// A dependency cycle: the daemon is under construction and waits for the requester.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
    ///
    /// struct Metrics;
    ///
    /// impl Daemon for Metrics {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(Metrics)
    ///     }
    /// }
    ///
    /// struct Gateway {
    ///     metrics: Option<DaemonRef<Metrics>>,
    /// }
    ///
    /// impl Daemon for Gateway {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Self { metrics: factory.find()? })
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut plain = Factory::root("plain", sim.world());
    ///     assert!(plain.get::<Gateway>()?.metrics.is_none());
    ///     let error = plain.with::<Metrics>().unwrap_err();
    ///     assert_eq!(
    ///         format!("{error:#}"),
    ///         "plain: building Metrics: Gateway requested it before and continued without it; request Metrics first"
    ///     );
    ///
    ///     let mut measured = Factory::root("measured", sim.world());
    ///     measured.with::<Metrics>()?;
    ///     assert!(measured.get::<Gateway>()?.metrics.is_some());
    ///     Ok(())
    /// });
    /// ```
    pub fn find<T: Daemon>(&mut self) -> Result<Option<DaemonRef<T>>> {
        self.find_at(&Key::daemon::<T>())
    }

    /// Uses `daemon` as the one of its type, instead of building one. It has the same lifecycle.
    ///
    /// It is treated as depending on everything its provider had obtained, because it may hold refs to that. Children
    /// always share it, because they cannot build another.
    ///
    /// # Errors
    /// When there is one already; when this type, or one that depends on it, was handed out before: names the requester.
    pub fn provide<T: Daemon>(&mut self, daemon: T) -> Result {
        self.provide_at(&Key::daemon::<T>(), daemon)
    }

    /// Adds a plain value, such as a configuration. It has no lifecycle. Children see it, too.
    ///
    /// # Errors
    /// As [`provide`](Factory::provide).
    pub fn provide_value<V: Send + Sync + 'static>(&mut self, value: V) -> Result {
        let key = Key::value::<V>();
        let refused = self.refuse_if_asked(&key, &label::<V>(), "provided");
        let refused = refused.and_then(|()| self.refuse_if_present(&key, &label::<V>(), "provided"));
        if refused.is_ok() {
            self.values.insert(value);
        }
        self.collect(refused)
    }

    /// The value of this type: this factory's own, else the nearest ancestor's.
    ///
    /// # Errors
    /// When there is none.
    pub fn value<V: Send + Sync + 'static>(&mut self) -> Result<Arc<V>> {
        self.try_value().ok_or_else(|| {
            Missing(format!("{}: no value of type {} was provided", self.path, label::<V>())).into()
        })
    }

    /// The value of this type, if there is one.
    pub fn try_value<V: Send + Sync + 'static>(&mut self) -> Option<Arc<V>> {
        let value = self.values.get().cloned();
        let requester = self.requester();
        // Absence is recorded for daemons only: the setup may still provide it.
        if value.is_some() || requester.key.is_some() {
            requester.built_from.keys.push(Key::value::<V>());
        }
        value
    }
}

impl Factory {
    pub(super) fn get_at<T: Daemon>(&mut self, key: &Key, via: Via) -> Result<DaemonRef<T>> {
        let place = self.obtain::<T>(key)?;
        Ok(self.hand_out(key, place, via))
    }

    pub(super) fn build_at<T: Daemon>(&mut self, key: &Key) -> Result<DaemonRef<T>> {
        let own = self.lookup.get(key);
        if !own.is_some_and(|known| matches!(known.place, Place::Own(_))) {
            self.refuse_if_asked(key, &key.label::<T>(), "built here")?;
            self.refuse_if_present(key, &key.label::<T>(), "built here")?;
            self.construct::<T>(key)?;
        }
        self.get_at(key, Via::Itself)
    }

    pub(super) fn with_at<T: Daemon>(&mut self, key: &Key) -> Result {
        if self.stack.len() == 1 {
            // The setup gets no ref, so what it provides later cannot depend on this one.
            let obtained = self.obtain::<T>(key).map(drop);
            self.collect(obtained)
        } else {
            self.get_at::<T>(key, Via::Itself).map(drop)
        }
    }

    pub(super) fn find_at<T: Daemon>(&mut self, key: &Key) -> Result<Option<DaemonRef<T>>> {
        self.refuse_cycle::<T>(key)?;
        let known = self.lookup.get(key).map(|known| known.place);
        let Some(place) = known.or_else(|| self.share(key)) else {
            let requester = self.requester();
            // Absence is recorded for daemons only: the setup may still ask for it.
            if requester.key.is_some() {
                requester.built_from.keys.push(key.clone());
                requester.built_from.absent.push(key.clone());
            }
            return Ok(None);
        };
        self.note_requester(key);
        Ok(Some(self.hand_out(key, place, Via::Optional)))
    }

    pub(super) fn provide_at<T: Daemon>(&mut self, key: &Key, daemon: T) -> Result {
        let provided = self.try_provide(key, daemon);
        self.collect(provided)
    }

    fn try_provide<T: Daemon>(&mut self, key: &Key, daemon: T) -> Result {
        let label = key.label::<T>();
        self.refuse_if_asked(key, &label, "provided")?;
        self.refuse_if_present(key, &label, "provided")?;
        let frame = Frame { label, needs: self.requester().needs.clone(), ..Frame::default() };
        self.add(key, daemon, frame);
        Ok(())
    }

    /// Finds a daemon or builds it.
    pub(super) fn obtain<T: Daemon>(&mut self, key: &Key) -> Result<Place> {
        let place = match self.lookup.get(key) {
            Some(known) => known.place,
            None => match self.share(key) {
                Some(place) => place,
                None => Place::Own(self.construct::<T>(key)?),
            },
        };
        self.note_requester(key);
        Ok(place)
    }

    fn note_requester(&mut self, key: &Key) {
        let requester = &self.stack.last().expect("the setup's frame is never popped").label;
        if let Some(known) = self.lookup.get_mut(key)
            && known.requested_by.is_none()
        {
            known.requested_by = Some(requester.clone());
        }
    }

    /// Gives the requester a ref, and records the dependency.
    fn hand_out<T: Daemon>(&mut self, key: &Key, place: Place, via: Via) -> DaemonRef<T> {
        let requester = self.stack.last_mut().expect("the setup's frame is never popped");
        requester.needs.push(Need { place, via });
        let slot = match place {
            Place::Own(slot) => self.slots.get(slot),
            Place::Shared(index) => {
                let shared = &self.shared[index as usize];
                self.ancestors[shared.level].slots.get(shared.slot)
            }
        };
        if requester.key.is_some() {
            requester.built_from.keys.push(key.clone());
            requester.built_from.inherit(&slot.built_from);
        }
        reference::<T>(&*slot.daemon).share()
    }
}
