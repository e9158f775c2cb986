//! The daemons by the names of the command line.

use steelmill_core::{Catalog, Factory, Result};

use crate::gateway::{self, Gateway};
use crate::lease::Lease;
use crate::service::Service;
use crate::settings::Settings;
use crate::store::Store;

/// The daemons by name.
pub fn catalog() -> Catalog {
    Catalog::new().add::<Store>(Store::NAME).add::<Lease>(Lease::NAME).add::<Gateway>(gateway::NAME)
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
