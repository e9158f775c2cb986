//! Children that are built anew when they end: Erlang's supervisors, made of child factories.
//!
//! Built daemons never move, so a daemon cannot be built anew in its place. A child factory can: it is dropped as a whole, and
//! another one takes its name. A daemon, [`Supervised`], makes it by a recipe, and its [`Policy`] decides on restarts, as for
//! every daemon. So backoff, limits, reports and status are those of any restart, and no lookup pays for it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::cell::Counter;
use crate::control::Refused;
use crate::factory::Key;
use crate::report::ChildFailed;
use crate::{
    Daemon, Error, Factory, Policy, Report, Result, RunningFactory, Scope, SetOnce, StartError, StopRequested,
};

/// The daemon that keeps a child running: made by [`Factory::supervise`], and named like the child.
pub struct Supervised {
    name: Box<str>,
    recipe: Box<dyn Fn(&mut Factory) -> Result + Send + Sync>,
    /// The end of the first child, which is started by `prepare`.
    first: SetOnce<Ended>,
    runs: Counter,
}

/// The end of a child. Keeps it running, but not in memory.
type Ended = Shared<BoxFuture<'static, Arc<Report>>>;

impl Factory {
    /// Adds a child factory that is built anew from its recipe when it ends, as `policy` says: everything in it is stopped,
    /// dropped, built and prepared again, under the same name.
    ///
    /// What shares a fate belongs into one recipe. That gives the strategies of Erlang's
    /// ([supervisor(3erl)](https://www.erlang.org/doc/apps/stdlib/supervisor.html)):
    ///
    /// | strategy | how |
    /// |---|---|
    /// | `one_for_one` | a call of `supervise` for each |
    /// | `one_for_all` | one recipe for all: a failed daemon stops the child |
    /// | `rest_for_one`: a daemon, and what depends on it | `supervise` the dependents within the recipe of what they depend on, whose daemons they share |
    ///
    /// `policy` decides after each end, and limits how often: by its [`on_failure`](Policy::on_failure) if the child failed,
    /// by its [`on_finish`](Policy::on_finish) if it ended without a failure. So it is built anew always with
    /// [`Policy::permanent`], after a failure with [`Policy::restart`], never with [`Policy::leave_down`]. When the limit is
    /// exceeded, this factory stops with that failure; if it is supervised in turn, it is built anew by its own policy.
    ///
    /// The child is found by [`child_named`](RunningFactory::child_named), and its present daemons by that. A handle or a ref
    /// to the former ones stays valid, but these are stopped. Its supervisor is a daemon called `Supervised[NAME]`, which
    /// [`restart_child`](RunningFactory::restart_child) and [`stop_child`](RunningFactory::stop_child) act on.
    ///
    /// # Order
    /// The recipe is called first when this factory prepares, in a task, and the child starts before the start of this
    /// factory is complete. It shares the daemons of this factory, and stops before those that it shares.
    ///
    /// # Errors
    /// When a child of this name is supervised already. If the first start of the child fails, so does the start of this
    /// factory. If the child fails later, but before this factory has started, `policy` decides when it has; if it never
    /// does, the failure is in its report.
    ///
    /// # Example
    /// The parser depends on the reader, so it is built anew with it. The metrics go on.
    /// ```
    /// use std::sync::Arc;
    /// use steelmill_core::{Backoff, Clock as _, Daemon, DaemonRef, Factory, Policy, Result, Scope};
    /// use tokio::sync::Notify;
    ///
    /// struct Metrics;
    /// # impl Daemon for Metrics { fn build(_: &mut Factory) -> Result<Self> { Ok(Metrics) } }
    ///
    /// struct Reader {
    ///     broken: Notify,
    /// }
    ///
    /// impl Daemon for Reader {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(Reader { broken: Notify::new() })
    ///     }
    ///     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
    ///         match scope.until_stopping(self.broken.notified()).await {
    ///             Some(()) => Err(anyhow::anyhow!("the pipe is broken")),
    ///             None => Ok(()),
    ///         }
    ///     }
    /// }
    ///
    /// struct Parser {
    ///     reader: DaemonRef<Reader>,
    /// }
    /// # impl Daemon for Parser { fn build(factory: &mut Factory) -> Result<Self> { Ok(Parser { reader: factory.get()? }) } }
    ///
    /// fn setup(factory: &mut Factory) -> Result {
    ///     let policy = Policy::restart(Backoff::default());
    ///     factory.with::<Metrics>()?;
    ///     factory.supervise("reader", policy, move |child| {
    ///         child.with::<Reader>()?;
    ///         child.supervise("parser", policy, |child| child.with::<Parser>())
    ///     })
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     setup(&mut factory)?;
    ///     let demo = factory.start().await?;
    ///     let reader = demo.child_named("reader").await?;
    ///     let parser = reader.child_named("parser").await?;
    ///     let ended = parser.ended();
    ///     parser.get::<Parser>()?.reader.broken.notify_one();
    ///     drop((reader, parser));
    ///     ended.await;
    ///
    ///     sim.clock().sleep(std::time::Duration::from_secs(1)).await;
    ///     let parser = demo.child_named("reader").await?.child_named("parser").await?;
    ///     assert!(parser.get::<Parser>().is_ok(), "another one");
    ///     drop(parser);
    ///     let report = demo.stop().await;
    ///     assert_eq!(report.restarted()[0].daemon, "Supervised[reader]");
    ///     Ok(())
    /// });
    /// ```
    pub fn supervise(
        &mut self,
        name: &str,
        policy: Policy,
        recipe: impl Fn(&mut Factory) -> Result + Send + Sync + 'static,
    ) -> Result {
        self.provide_named(
            name,
            Supervised {
                name: name.into(),
                recipe: Box::new(recipe),
                first: SetOnce::new(),
                runs: Counter::default(),
            },
        )?;
        self.policy_named::<Supervised>(name, policy);
        Ok(())
    }
}

impl RunningFactory {
    /// Stops the child of this name that [`supervise`](Factory::supervise) has started, and builds it anew, while the rest of
    /// this factory runs; waits until the new one is being built. It does not count towards the limit of its policy.
    ///
    /// # Cancellation
    /// As of [`restart_daemon`](RunningFactory::restart_daemon).
    ///
    /// # Errors
    /// When this factory supervises no such child; otherwise as [`restart_daemon`](RunningFactory::restart_daemon). If the new
    /// child does not start, that is a failure of it, after which its policy decides.
    pub fn restart_child(&self, name: &str) -> impl Future<Output = Result> + Send + use<> {
        let supervisor = supervisor(self, name).map(|supervisor| self.restart_daemon(&supervisor));
        async move { supervisor?.await }
    }

    /// Stops the child of this name, supervised or not, while the rest of this factory runs, and waits for its end. A
    /// supervised one is not built anew until [`restart_child`](RunningFactory::restart_child).
    ///
    /// # Cancellation
    /// Dropping the future before the first poll does nothing; afterwards the stop goes on.
    ///
    /// # Errors
    /// When no such child runs or is supervised. Its failures are in its report.
    pub fn stop_child(&self, name: &str) -> impl Future<Output = Result> + Send + use<> {
        let supervised = supervisor(self, name).map(|supervisor| self.stop_daemon(&supervisor));
        let running = self.child_named(name);
        async move {
            match supervised {
                Ok(stopped) => stopped.await,
                Err(_) => {
                    running.await?.stop().await;
                    Ok(())
                }
            }
        }
    }
}

/// The name of the daemon that supervises this child.
fn supervisor(factory: &RunningFactory, name: &str) -> Result<String> {
    let label = factory.own_label(&Key::named::<Supervised>(name)).map(ToString::to_string);
    let none = || {
        let path = factory.path();
        anyhow!("{path} does not supervise a child called {name}: nobody knows how to build that anew")
    };
    label.ok_or_else(none)
}

impl Supervised {
    /// Builds and starts the child.
    async fn start(&self, scope: &Scope) -> Result<Ended> {
        let mut factory = scope.child(&self.name)?;
        (self.recipe)(&mut factory)?;
        let child = factory.start().await?;
        Ok(child.join().boxed().shared())
    }
}

impl Daemon for Supervised {
    /// Fails: [`Factory::supervise`] makes them.
    fn build(factory: &mut Factory) -> Result<Self> {
        let name = factory.name().unwrap_or_default();
        bail!("nothing is supervised under the name {name:?}: call `supervise` before")
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.first.set(self.start(scope).await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let is_first = self.runs.next() == 0;
        let ended = match is_first {
            true => self.first.get()?.clone(),
            false => match self.start(scope).await {
                Ok(ended) => ended,
                Err(error) if is_cut_short(&error) => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        outcome(ended.await)
    }

    /// The child has ended by now. If its end was never waited for, because another daemon failed to prepare, its failure is
    /// reported here.
    async fn stop(&self, _: &Scope) -> Result {
        match self.first.get() {
            Ok(first) if self.runs.count() == 0 => outcome(first.clone().await),
            _ => Ok(()),
        }
    }
}

/// The failure of a child is its supervisor's.
fn outcome(report: Arc<Report>) -> Result {
    if report.is_clean() { Ok(()) } else { Err(ChildFailed(report).into()) }
}

/// Whether a start has failed only because the factory or its supervisor stops.
fn is_cut_short(error: &Error) -> bool {
    match error.downcast_ref::<StartError>() {
        Some(error) => error.report().failures().iter().all(|failure| is_stop(&failure.error)),
        None => is_stop(error),
    }
}

fn is_stop(error: &Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    error.is::<StopRequested>() || refused.is_some_and(|refused| refused.why.is_late())
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supervised({})", self.name)
    }
}
