//! Daemons behind traits: one bound as `dyn Trait`, several gathered into a group of them.
//!
//! A binding and a group are plain [values](super::Values) of the factory, and what they name is a daemon like any
//! other. So the rules of both hold: children find them, a child's own comes before its parent's, and a parent's daemon
//! that was built from one is shared only where neither it nor the daemon behind it was replaced.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::slots::{Key, Via};
use super::{Daemon, DaemonRef, Factory};
use crate::Result;
use crate::daemon::{Label, label};

/// What was handed out behind a trait, for lookups in the running factory: a `DaemonRef<I>` by the key of its binding, a
/// `Vec<DaemonRef<I>>` by that of its group.
pub(crate) type Traits = BTreeMap<Key, Box<dyn Any + Send + Sync>>;

/// Whom to ask for whoever wants an `I`.
struct Binding<I: ?Sized>(Arc<dyn Provider<I>>);

/// Whom to ask for whoever wants every `I`.
struct Group<I: ?Sized>(Vec<Arc<dyn Provider<I>>>);

/// Obtains one daemon as an `I`.
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
    /// Says which daemon is handed out as the trait `I`: the one of type `T`, which is asked for as by
    /// [`get`](Factory::get) when somebody wants an `I`. Children find the binding too, unless they make another.
    ///
    /// `as_trait` is always `|daemon| daemon`: it makes the one pointer into the other.
    ///
    /// # Errors
    /// When `I` is bound here already, or was asked for before: names who asked.
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

    /// The daemon that is [bound](Factory::bind) as the trait `I`, here or else by the nearest ancestor that has bound
    /// one; shared or built like any other.
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

    /// The daemon that is [bound](Factory::bind) as the trait `I`, if one is. A daemon that goes on without keeps `I`
    /// from being bound later, as with [`find`](Factory::find).
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

    /// Adds the daemon of type `T` to the group of those that are handed out as the trait `I`. It is asked for, as by
    /// [`get`](Factory::get), when somebody wants the [`group`](Factory::group). A child's group begins with its
    /// parent's.
    ///
    /// `as_trait` is always `|daemon| daemon`: it makes the one pointer into the other.
    ///
    /// # Errors
    /// When it is in the group already, or the group was asked for before: names who asked.
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

    /// All daemons that were [added](Factory::add_to_group) to the group of the trait `I`, in that order, an ancestor's
    /// before this factory's; none when nobody has added any.
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
