//! The daemons by their names on the command line, and how they are assembled.

use steelmill_core::{Catalog, Factory, Result};

use crate::gateway::{self, Gateway};
use crate::lease::Lease;
use crate::service::Service;
use crate::settings::Settings;
use crate::store::Store;

pub fn catalog() -> Catalog {
    Catalog::new().add::<Store>(Store::NAME).add::<Lease>(Lease::NAME).add::<Gateway>(gateway::NAME)
}

/// Adds the daemons of `settings` to a factory.
///
/// # Errors
/// An unknown name; a gateway without a store or a lease to connect to.
pub fn assemble(factory: &mut Factory, settings: Settings) -> Result {
    let names = settings.daemons.clone();
    factory.provide_value(settings)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    catalog().assemble(factory, &names)
}
