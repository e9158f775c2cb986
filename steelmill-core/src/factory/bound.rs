//! Daemons behind traits: one bound as `dyn Trait`, or several in a group.
//!
//! Bindings and groups are [values](super::Values) of the factory that name daemons, so the rules for both apply: children
//! inherit and may replace them, and a daemon that depends on one is shared only if neither the binding nor the daemon
//! behind it was replaced.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::Factory;
use super::slots::{Key, Via};
use crate::label::{Label, label};
use crate::{Daemon, DaemonRef, Result};

/// Refs that were handed out behind traits, for lookups in the running factory: a `DaemonRef<I>` by the key of its
/// binding, a `Vec<DaemonRef<I>>` by the key of its group.
pub(crate) type Traits = BTreeMap<Key, Box<dyn Any + Send + Sync>>;

/// The daemon that provides trait `I`.
struct Binding<I: ?Sized>(Arc<dyn Provider<I>>);

/// The daemons in the group of trait `I`.
struct Group<I: ?Sized>(Vec<Arc<dyn Provider<I>>>);

/// Resolves to a daemon as an `I`.
trait Provider<I: ?Sized>: Send + Sync {
    fn obtain(&self, factory: &mut Factory, via: Via) -> Result<DaemonRef<I>>;

    fn key(&self) -> &Key;
}

struct Behind<T, I: ?Sized> {
    key: Key,
    as_trait: fn(Arc<T>) -> Arc<I>,
}

impl<T: Daemon, I: ?Sized> Provider<I> for Behind<T, I> {
    fn obtain(&self, factory: &mut Factory, via: Via) -> Result<DaemonRef<I>> {
        let daemon = factory.get_at::<T>(&self.key, via)?;
        Ok(DaemonRef::new((self.as_trait)(daemon.arc().clone())))
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl Factory {
    /// Binds the trait `I` to the daemon of type `T`: [`get_dyn`](Factory::get_dyn) resolves to it, as
    /// [`get`](Factory::get) would. Children inherit the binding and may replace it.
    ///
    /// `as_trait` is always `|daemon| daemon`, the conversion from `Arc<T>` to `Arc<dyn I>`.
    ///
    /// # Errors
    /// When `I` is bound here already, or was requested before: names the requester.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
    ///
    /// trait Store: Send + Sync {
    ///     fn get(&self, key: &str) -> Option<String>;
    /// }
    ///
    /// struct MemoryStore;
    ///
    /// impl Daemon for MemoryStore {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(MemoryStore)
    ///     }
    /// }
    ///
    /// impl Store for MemoryStore {
    ///     fn get(&self, key: &str) -> Option<String> {
    ///         (key == "a").then(|| "1".to_owned())
    ///     }
    /// }
    ///
    /// struct Gateway {
    ///     store: DaemonRef<dyn Store>,
    /// }
    ///
    /// impl Daemon for Gateway {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Self { store: factory.get_dyn()? })
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     factory.bind::<dyn Store, MemoryStore>(|daemon| daemon)?;
    ///     assert_eq!(factory.get::<Gateway>()?.store.get("a").as_deref(), Some("1"));
    ///     let demo = factory.start().await?;
    ///     assert!(demo.get_dyn::<dyn Store>()?.get("b").is_none());
    ///     assert!(demo.stop().await.is_clean());
    ///     Ok(())
    /// });
    /// ```
    pub fn bind<I, T>(&mut self, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        self.bind_at(Key::daemon::<T>(), as_trait)
    }

    /// Like [`bind`](Factory::bind), for the daemon of type `T` and this name.
    ///
    /// # Errors
    /// As [`bind`](Factory::bind).
    pub fn bind_named<I, T>(&mut self, name: &str, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        self.bind_at(Key::named::<T>(name), as_trait)
    }

    /// The daemon [bound](Factory::bind) as the trait `I`, here or by the nearest ancestor with a binding; it is shared or
    /// built like any other.
    ///
    /// # Errors
    /// When nothing is bound as `I`; otherwise as [`get`](Factory::get).
    pub fn get_dyn<I: ?Sized + Send + Sync + 'static>(&mut self) -> Result<DaemonRef<I>> {
        let found = self.find_dyn()?;
        found.ok_or_else(|| {
            let (path, label) = (&self.path, label::<I>());
            anyhow!("{path}: nothing is bound as {label}: call `bind::<{label}, _>(|daemon| daemon)` before")
        })
    }

    /// Like [`get_dyn`](Factory::get_dyn), but `None` when nothing is bound as `I`. After a daemon was built without it, `I`
    /// cannot be bound here any more, as with [`find`](Factory::find).
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    pub fn find_dyn<I: ?Sized + Send + Sync + 'static>(&mut self) -> Result<Option<DaemonRef<I>>> {
        let Some(binding) = self.try_value::<Binding<I>>() else {
            return Ok(None);
        };
        let daemon = binding.0.obtain(self, Via::Trait(label::<I>))?;
        self.traits.insert(Key::value::<Binding<I>>(), Box::new(daemon.share()));
        Ok(Some(daemon))
    }

    /// Adds the daemon of type `T` to the group of the trait `I` (multibinding): [`group`](Factory::group) resolves to all
    /// of its members. A child's group begins with its parent's members.
    ///
    /// `as_trait` is always `|daemon| daemon`, the conversion from `Arc<T>` to `Arc<dyn I>`.
    ///
    /// # Errors
    /// When it is in the group already, or the group was requested before: names the requester.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
    ///
    /// trait Command: Send + Sync {
    ///     fn name(&self) -> &str;
    /// }
    ///
    /// struct Ping;
    /// struct Echo;
    /// # impl Daemon for Ping { fn build(_: &mut Factory) -> Result<Self> { Ok(Ping) } }
    /// # impl Daemon for Echo { fn build(_: &mut Factory) -> Result<Self> { Ok(Echo) } }
    /// # impl Command for Ping { fn name(&self) -> &str { "PING" } }
    /// # impl Command for Echo { fn name(&self) -> &str { "ECHO" } }
    ///
    /// struct Gateway {
    ///     commands: Vec<DaemonRef<dyn Command>>,
    /// }
    ///
    /// impl Daemon for Gateway {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Self { commands: factory.group()? })
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     factory.add_to_group::<dyn Command, Ping>(|daemon| daemon)?;
    ///     factory.add_to_group::<dyn Command, Echo>(|daemon| daemon)?;
    ///     let gateway = factory.get::<Gateway>()?;
    ///     let names: Vec<_> = gateway.commands.iter().map(|command| command.name()).collect();
    ///     assert_eq!(names, ["PING", "ECHO"]);
    ///     Ok(())
    /// });
    /// ```
    pub fn add_to_group<I, T>(&mut self, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        self.add_to_group_at(Key::daemon::<T>(), as_trait)
    }

    /// Like [`add_to_group`](Factory::add_to_group), for the daemon of type `T` and this name.
    ///
    /// # Errors
    /// As [`add_to_group`](Factory::add_to_group).
    pub fn add_to_group_named<I, T>(&mut self, name: &str, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        self.add_to_group_at(Key::named::<T>(name), as_trait)
    }

    /// All daemons [added](Factory::add_to_group) to the group of the trait `I`, in that order, ancestors' first. May be
    /// empty.
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    pub fn group<I: ?Sized + Send + Sync + 'static>(&mut self) -> Result<Vec<DaemonRef<I>>> {
        let members = self.try_value::<Group<I>>();
        let members = members.as_ref().map_or(&[][..], |group| &group.0);
        let obtain = |member: &Arc<dyn Provider<I>>| member.obtain(self, Via::Group(label::<I>));
        let daemons: Vec<_> = members.iter().map(obtain).collect::<Result<_>>()?;
        let shared: Vec<_> = daemons.iter().map(DaemonRef::share).collect();
        self.traits.insert(Key::value::<Group<I>>(), Box::new(shared));
        Ok(daemons)
    }
}

// For lookups in the running factory.
pub(crate) fn bound<I: ?Sized + Send + Sync + 'static>(traits: &Traits) -> Option<&DaemonRef<I>> {
    traits.get(&Key::value::<Binding<I>>())?.downcast_ref()
}

pub(crate) fn group<I: ?Sized + Send + Sync + 'static>(traits: &Traits) -> Option<&Vec<DaemonRef<I>>> {
    traits.get(&Key::value::<Group<I>>())?.downcast_ref()
}

impl Factory {
    fn bind_at<I, T>(&mut self, behind: Key, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        let (key, label) = (Key::value::<Binding<I>>(), label::<I>());
        self.refuse_if_asked(&key, &label, "bound")?;
        if self.values.has_own(&key) {
            bail!("{}: {label} cannot be bound: it was bound before", self.path);
        }
        self.values.insert(Binding(Arc::new(Behind { key: behind, as_trait })));
        Ok(())
    }

    fn add_to_group_at<I, T>(&mut self, behind: Key, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        let group: Label = format!("the group of {}", label::<I>()).into();
        self.refuse_if_asked(&Key::value::<Group<I>>(), &group, "added to")?;
        let mut members: Vec<_> =
            self.values.get::<Group<I>>().map_or_else(Vec::new, |group| group.0.clone());
        if members.iter().any(|member| *member.key() == behind) {
            let label = behind.label::<T>();
            bail!("{}: {label} cannot be added to {group}: it is in it already", self.path);
        }
        members.push(Arc::new(Behind { key: behind, as_trait }));
        self.values.insert(Group(members));
        Ok(())
    }
}
