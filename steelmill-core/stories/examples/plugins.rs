//! Plugins as child factories: installed, called, upgraded and removed while their host runs.
//!
//! ```text
//! cargo run -p steelmill-stories --example plugins
//! ```
//!
//! [`tour`] is generic over the world, so it runs in the sim, too: see `tests/plugins.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail, ensure};
use steelmill_core::{
    Daemon, DaemonRef, Factory, Replaced, Report, Result, RunningFactory, Scope, SetOnce, World,
};
use tokio::sync::watch;

/// A daemon of the host, shared by all plugins.
#[derive(Default)]
struct Ledger {
    calls: AtomicU32,
}

impl Daemon for Ledger {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Ledger::default())
    }
}

/// A plugin's settings: a value of its own factory.
struct Greeting(String);

/// The work of a plugin. Its ledger is the host's, shared.
struct Greeter {
    greeting: Arc<Greeting>,
    ledger: DaemonRef<Ledger>,
}

impl Daemon for Greeter {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Greeter { greeting: factory.value()?, ledger: factory.get()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        ensure!(!self.greeting.0.is_empty(), "it has nothing to say");
        Ok(())
    }
}

impl Greeter {
    fn greet(&self, whom: &str) -> String {
        let nth = self.ledger.calls.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}, {whom}! (call {nth})", self.greeting.0)
    }
}

/// The host. Plugins are children made on its scope, so they end before it.
struct Plugins {
    /// Not called here, but it must exist before the plugins, so that they share it.
    _ledger: DaemonRef<Ledger>,
    scope: SetOnce<Scope>,
    installed: watch::Sender<BTreeMap<String, RunningFactory>>,
}

impl Daemon for Plugins {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Plugins { _ledger: factory.get()?, scope: SetOnce::new(), installed: watch::Sender::default() })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.scope.set(scope.clone())
    }
}

impl Plugins {
    /// Starts a plugin in the place of the one of that name, if any, which is called until it has ended. If the start fails,
    /// the old one stays.
    async fn install(&self, name: &str, greeting: &str) -> Result {
        let mut factory = self.scope.get()?.child(name)?;
        factory.provide_value(Greeting(greeting.to_owned()))?;
        factory.with::<Greeter>()?;
        let Replaced { factory: plugin, former } = factory.replace().await?;
        self.installed.send_modify(|installed| drop(installed.insert(name.to_owned(), plugin)));
        former.map_or(Ok(()), |report| ended(&report))
    }

    async fn remove(&self, name: &str) -> Result {
        let mut removed = None;
        self.installed.send_modify(|installed| removed = installed.remove(name));
        stop(removed.with_context(|| format!("there is no plugin called {name}"))?).await
    }

    fn call(&self, name: &str, whom: &str) -> Result<String> {
        let installed = self.installed.borrow();
        let plugin = installed.get(name).with_context(|| format!("there is no plugin called {name}"))?;
        Ok(plugin.get::<Greeter>()?.greet(whom))
    }
}

/// Stops a plugin. Its failures are printed here; they are no failures of the host.
async fn stop(plugin: RunningFactory) -> Result {
    ended(&*plugin.stop().await)
}

fn ended(report: &Report) -> Result {
    if !report.is_clean() || !report.retained().is_empty() {
        bail!("{report}");
    }
    Ok(())
}

/// Installs, calls, upgrades and removes plugins of a host, and prints what happens.
pub(crate) async fn tour(world: impl World) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let mut factory = Factory::root("host", world);
    factory.with::<Plugins>()?;
    let host = factory.start().await?;
    let plugins = host.get::<Plugins>()?.share();

    plugins.install("greeter", "Hello").await?;
    said.push(plugins.call("greeter", "Ada")?);
    plugins.install("greeter", "Good evening").await?;
    said.push(plugins.call("greeter", "Ada")?);
    if let Err(error) = plugins.install("greeter", "").await {
        said.push(format!("no upgrade: {error:#}"));
    }
    plugins.install("parting", "Good-bye").await?;
    said.push(plugins.call("parting", "Ada")?);

    let status = host.status().await.context("the host runs")?;
    said.extend(status.walk().map(|factory| format!("{} is {}", factory.factory, factory.state)));

    plugins.remove("greeter").await?;
    if let Err(error) = plugins.call("greeter", "Ada") {
        said.push(error.to_string());
    }
    // The other one is left installed: it ends with its host.
    drop(plugins);
    said.push(host.stop().await.to_string());
    Ok(said)
}

#[cfg_attr(test, allow(dead_code, reason = "the test tours on its own"))]
fn main() -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for line in runtime.block_on(tour(steelmill_runtime::RuntimeWorld))? {
        println!("{line}");
    }
    Ok(())
}
