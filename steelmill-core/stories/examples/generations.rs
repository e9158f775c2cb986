//! One child per generation of the configuration: a new configuration is tried in a new child, and the old child stays up until the
//! new one has started.
//!
//! ```text
//! cargo run -p steelmill-stories --example generations
//! ```
//!
//! Use this where a value cannot be replaced in place: a port, a number of workers, whatever `prepare` makes. What can be replaced
//! in place is read from a [`ConfigWatch`]. [`tour`] is generic over the world, so it runs in the sim, too: see
//! `tests/generations.rs`.

use std::sync::Arc;

use anyhow::ensure;
use steelmill_core::{
    Config, ConfigWatch, Configuration, Daemon, DaemonRef, Factory, Result, RunningFactory, Scope, World,
};
use tokio::sync::watch;

/// The configuration.
#[derive(Debug, Clone)]
struct Shop {
    sign: String,
    shelves: usize,
}

impl Config for Shop {
    fn validate(&self) -> Result {
        ensure!(!self.sign.is_empty(), "a shop needs a sign");
        Ok(())
    }
}

/// A daemon of one generation: it is built from a value that never changes for it.
struct Counter {
    shop: Arc<Shop>,
}

impl Daemon for Counter {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Counter { shop: factory.value()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        // Found out only by trying, as whether a port is free.
        ensure!(self.shop.shelves <= 10, "there is no room for {} shelves", self.shop.shelves);
        Ok(())
    }
}

/// What the generations say of themselves: the sign of the one that serves, and what happened last.
#[derive(Debug, Clone, Default)]
struct Street {
    sign: String,
    news: String,
}

/// Runs one generation at a time.
struct Generations {
    config: ConfigWatch<Shop>,
    street: watch::Sender<Street>,
}

impl Daemon for Generations {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Generations { config: factory.config()?, street: watch::Sender::default() })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let mut config = self.config.clone();
        // The first one has to start, or the whole service does not run.
        let mut serving = start(scope, config.generation(), config.current()).await?;
        self.tell(&serving, "open")?;
        while let Some(shop) = scope.until_stopping(config.changed()).await {
            match start(scope, config.generation(), shop).await {
                Ok(next) => {
                    let former = std::mem::replace(&mut serving, next);
                    self.tell(&serving, "open")?;
                    // Only now: there was a generation that served at all times.
                    former.stop().await;
                }
                // The old one stays up. The new one was rolled back.
                Err(error) => self.tell(&serving, &format!("{error:#}"))?,
            }
        }
        // The last one is a child of this daemon, and has been stopped before this daemon is told to.
        Ok(())
    }
}

/// Starts a generation, as a child of the daemon that runs the generations.
async fn start(scope: &Scope, number: u64, shop: Arc<Shop>) -> Result<RunningFactory> {
    let mut child = scope.child(&format!("generation-{number}"))?;
    child.provide_value(Shop::clone(&shop))?;
    child.with::<Counter>()?;
    Ok(child.start().await?)
}

impl Generations {
    fn tell(&self, serving: &RunningFactory, news: &str) -> Result {
        let sign = serving.get::<Counter>()?.shop.sign.clone();
        let news = news.to_owned();
        self.street.send_replace(Street { sign, news });
        Ok(())
    }
}

/// Tells of a few generations.
pub(crate) async fn tour(world: impl World) -> Result<Vec<String>> {
    let mut told = Vec::new();
    let mut factory = Factory::root("shop", world);
    factory.configure(Shop { sign: "Bread".to_owned(), shelves: 3 })?;
    factory.with::<Generations>()?;
    let shop = factory.start().await?;
    let config = shop.value::<Configuration<Shop>>()?;
    let generations: &DaemonRef<Generations> = shop.get()?;
    let mut street = generations.street.subscribe();

    let mut news = async || -> Result<String> {
        let street = street.wait_for(|street| !street.news.is_empty()).await?.clone();
        generations.street.send_modify(|street| street.news.clear());
        Ok(format!("{}: {}", street.sign, street.news))
    };
    told.push(news().await?);
    config.replace(Shop { sign: "Cake".to_owned(), shelves: 5 })?;
    told.push(news().await?);
    // Valid, but it does not start.
    config.replace(Shop { sign: "Furniture".to_owned(), shelves: 50 })?;
    told.push(news().await?);
    // Not valid.
    let refused = config.replace(Shop { sign: String::new(), shelves: 5 });
    told.push(refused.map_or_else(|error| format!("{error:#}"), |number| number.to_string()));
    config.replace(Shop { sign: "Tea".to_owned(), shelves: 5 })?;
    told.push(news().await?);
    told.push(shop.stop().await.to_string());
    Ok(told)
}

#[cfg_attr(test, allow(dead_code, reason = "the test tours on its own"))]
fn main() -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for line in runtime.block_on(tour(steelmill_runtime::RuntimeWorld))? {
        println!("{line}");
    }
    Ok(())
}
