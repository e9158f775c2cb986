//! The daemons by the names of the command line.

use steelmill_core::{Catalog, Factory, Result};

use crate::gateway::{self, Gateway};
use crate::lease::Lease;
use crate::service::Service;
use crate::settings::Settings;
use crate::store::Store;

/// Each daemon's name, with one line about it.
pub const DAEMONS: [(&str, &str); 3] = [
    (
        Store::NAME,
        "the data, and the truth about it (127.0.0.1:6380 when it runs without a gateway)",
    ),
    (
        Lease::NAME,
        "says which gateway serves (127.0.0.1:6381 when it runs without a gateway)",
    ),
    (
        gateway::NAME,
        "speaks RESP2 with Redis clients (127.0.0.1:6379); needs a store and a lease, here or elsewhere",
    ),
];

/// The daemons by name.
pub fn catalog() -> Catalog {
    Catalog::new()
        .add::<Store>(Store::NAME)
        .add::<Lease>(Lease::NAME)
        .add::<Gateway>(gateway::NAME)
}

/// Puts the daemons of `settings` together.
///
/// # Errors
/// An unknown name; a gateway without a way to a store or a lease.
pub fn assemble(factory: &mut Factory, settings: Settings) -> Result {
    let names = settings.daemons.clone();
    factory.provide_value(settings)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    catalog().assemble(factory, &names)
}
