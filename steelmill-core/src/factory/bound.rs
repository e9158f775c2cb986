//! Daemons behind traits: one bound as `dyn Trait`, or several in a group.
//!
//! Bindings and groups are [values](super::Values) of the factory that name daemons, so the rules for both apply: children
//! inherit and may replace them, and a daemon that depends on one is shared only if neither the binding nor the daemon
//! behind it was replaced.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::bail;

use super::Factory;
use super::slots::{Key, Via};
use super::validating::{Ambiguous, Missing};
use crate::label::{Label, label};
use crate::{Daemon, DaemonRef, Result};

/// Refs that were handed out behind traits, for lookups in the running factory: a `DaemonRef<I>` by the key of its
/// binding, a `Vec<DaemonRef<I>>` by the key of its group.
pub(crate) type Traits = BTreeMap<Key, Box<dyn Any + Send + Sync>>;

/// The daemons that provide trait `I`: the one that was bound, then its decorators, each around the one before.
struct Binding<I: ?Sized>(Vec<Arc<dyn Provider<I>>>);

/// Replaced with the daemon that was bound. A decorator depends on this, not on the [`Binding`], which has those around it, too.
struct Bound<I: ?Sized>(PhantomData<fn() -> Box<I>>);

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
        let bound = self.bind_at(Key::daemon::<T>(), as_trait);
        self.collect(bound)
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
        let bound = self.bind_at(Key::named::<T>(name), as_trait);
        self.collect(bound)
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
            let text = format!(
                "{path}: nothing is bound as {label}: call `bind::<{label}, _>(|daemon| daemon)` before"
            );
            Missing(text).into()
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
        let outermost = binding.0.last().expect("something is bound");
        let daemon = outermost.obtain(self, Via::Trait(label::<I>))?;
        self.traits.insert(Key::value::<Binding<I>>(), Box::new(daemon.share()));
        Ok(Some(daemon))
    }

    /// Puts the daemon of type `T` around the one that is bound as the trait `I`, here or by an ancestor:
    /// [`get_dyn`](Factory::get_dyn) resolves to the decorator from now on, and the decorator gets what it is put around from
    /// [`inner`](Factory::inner). Several may be put around each other.
    ///
    /// In a child, the parent's daemon stays as it is: it is shared, and decorated for the child alone. Daemons that depend on the
    /// trait are built anew there.
    ///
    /// `as_trait` is always `|daemon| daemon`, the conversion from `Arc<T>` to `Arc<dyn I>`.
    ///
    /// # Errors
    /// When nothing is bound as `I`; when `I` was requested here before: names the requester; when `T` provides `I` already.
    ///
    /// # Example
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
    ///
    /// trait Store: Send + Sync {
    ///     fn get(&self, key: &str) -> String;
    /// }
    ///
    /// struct Disk;
    /// # impl Daemon for Disk { fn build(_: &mut Factory) -> Result<Self> { Ok(Disk) } }
    /// # impl Store for Disk { fn get(&self, key: &str) -> String { format!("{key} from disk") } }
    ///
    /// struct Counted {
    ///     inner: DaemonRef<dyn Store>,
    ///     calls: AtomicU32,
    /// }
    ///
    /// impl Daemon for Counted {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Counted { inner: factory.inner::<dyn Store, Self>()?, calls: AtomicU32::new(0) })
    ///     }
    /// }
    ///
    /// impl Store for Counted {
    ///     fn get(&self, key: &str) -> String {
    ///         let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
    ///         format!("{} (call {call})", self.inner.get(key))
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     factory.bind::<dyn Store, Disk>(|daemon| daemon)?;
    ///     factory.with::<Disk>()?;
    ///     let demo = factory.start().await?;
    ///
    ///     let mut tenant = demo.child("tenant")?;
    ///     tenant.decorate::<dyn Store, Counted>(|daemon| daemon)?;
    ///     assert_eq!(tenant.get_dyn::<dyn Store>()?.get("a"), "a from disk (call 1)");
    ///     drop(tenant);
    ///     demo.stop().await;
    ///     Ok(())
    /// });
    /// ```
    pub fn decorate<I, T>(&mut self, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        let decorated = self.decorate_at(Key::daemon::<T>(), as_trait);
        self.collect(decorated)
    }

    /// What the decorator `T` was put around by [`decorate`](Factory::decorate); to be called by its `build`.
    ///
    /// # Errors
    /// When `T` decorates no `I` here; otherwise as [`get`](Factory::get).
    pub fn inner<I: ?Sized + Send + Sync + 'static, T: Daemon>(&mut self) -> Result<DaemonRef<I>> {
        let by = Key::daemon::<T>();
        let providers = self.values.get::<Binding<I>>().map_or(&[][..], |binding| &binding.0);
        let nth = providers.iter().position(|provider| *provider.key() == by);
        let Some(inner) = nth.and_then(|nth| nth.checked_sub(1)).map(|inner| providers[inner].clone()) else {
            let (path, label, by) = (&self.path, label::<I>(), label::<T>());
            bail!(Missing(format!(
                "{path}: {by} decorates no {label}: call `decorate::<{label}, {by}>(|daemon| daemon)` before"
            )));
        };
        // Notes the dependency.
        let _ = self.try_value::<Bound<I>>();
        inner.obtain(self, Via::Trait(label::<I>))
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
        let added = self.add_to_group_at(Key::daemon::<T>(), as_trait);
        self.collect(added)
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
        let added = self.add_to_group_at(Key::named::<T>(name), as_trait);
        self.collect(added)
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
            bail!(Ambiguous(format!("{}: {label} cannot be bound: it was bound before", self.path)));
        }
        self.values.insert(Binding(vec![Arc::new(Behind { key: behind, as_trait })]));
        self.values.insert(Bound::<I>(PhantomData));
        Ok(())
    }

    fn decorate_at<I, T>(&mut self, by: Key, as_trait: fn(Arc<T>) -> Arc<I>) -> Result
    where
        I: ?Sized + Send + Sync + 'static,
        T: Daemon,
    {
        let (key, label, path) = (Key::value::<Binding<I>>(), label::<I>(), self.path.clone());
        self.refuse_if_asked(&key, &label, "decorated")?;
        let Some(inner) = self.values.get::<Binding<I>>() else {
            bail!(Missing(format!("{path}: {label} cannot be decorated: nothing is bound as it")));
        };
        let mut providers = inner.0.clone();
        if providers.iter().any(|provider| *provider.key() == by) {
            let by = by.label::<T>();
            bail!(Ambiguous(format!(
                "{path}: {label} cannot be decorated by {by}: it is provided by that already"
            )));
        }
        providers.push(Arc::new(Behind { key: by, as_trait }));
        self.values.insert(Binding(providers));
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
            bail!(Ambiguous(format!(
                "{}: {label} cannot be added to {group}: it is in it already",
                self.path
            )));
        }
        members.push(Arc::new(Behind { key: behind, as_trait }));
        self.values.insert(Group(members));
        Ok(())
    }
}
