//! Configuration: validated, watched, replaced.

use anyhow::ensure;
use steelmill_core::{Config, ConfigWatch, Configuration, Daemon, Factory, Result, World};

use crate::stories;

stories! {
    what_is_not_valid_is_refused_before_anything_is_built
    a_watch_sees_the_last_of_several_values
    a_child_follows_its_parents_configuration_or_has_its_own
    what_was_not_configured_is_told
}

#[derive(Debug, PartialEq)]
struct Limit(u32);

impl Config for Limit {
    fn validate(&self) -> Result {
        ensure!(self.0 > 0, "must be at least 1");
        Ok(())
    }
}

struct Gateway(ConfigWatch<Limit>);

impl Daemon for Gateway {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Gateway(factory.config()?))
    }
}

async fn what_is_not_valid_is_refused_before_anything_is_built(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    let refused = factory.configure(Limit(0)).unwrap_err();
    assert_eq!(format!("{refused:#}"), "demo: Limit is refused: must be at least 1");
    factory.configure(Limit(1))?;
    assert!(factory.configure(Limit(2)).is_err(), "it is there already");
    assert_eq!(factory.get::<Gateway>()?.0.current().0, 1);
    Ok(())
}

async fn a_watch_sees_the_last_of_several_values(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.configure(Limit(1))?;
    factory.with::<Gateway>()?;
    let demo = factory.start().await?;
    let limit = demo.value::<Configuration<Limit>>()?;
    let mut watch = demo.get::<Gateway>()?.0.clone();
    limit.replace(Limit(2))?;
    assert!(limit.replace(Limit(0)).is_err());
    assert_eq!(limit.replace(Limit(3))?, 3);
    assert_eq!(*watch.changed().await, Limit(3));
    assert_eq!((watch.generation(), limit.generation()), (3, 3));
    assert!(futures::FutureExt::now_or_never(watch.changed()).is_none());
    demo.stop().await;
    Ok(())
}

async fn a_child_follows_its_parents_configuration_or_has_its_own(world: impl World) -> Result {
    let mut factory = Factory::root("demo", world);
    factory.configure(Limit(1))?;
    factory.with::<Gateway>()?;
    let demo = factory.start().await?;
    let mut shares = demo.child("shares")?;
    let shared = shares.get::<Gateway>()?;
    let mut own = demo.child("own")?;
    own.configure(Limit(7))?;
    let rebuilt = own.get::<Gateway>()?;
    demo.value::<Configuration<Limit>>()?.replace(Limit(2))?;
    assert_eq!((shared.0.current().0, rebuilt.0.current().0), (2, 7));
    drop((shares, shared, own, rebuilt));
    demo.stop().await;
    Ok(())
}

async fn what_was_not_configured_is_told(world: impl World) -> Result {
    let error = Factory::root("demo", world).with::<Gateway>().unwrap_err();
    assert_eq!(format!("{error:#}"), "demo: building Gateway: demo: Limit was not configured");
    Ok(())
}
