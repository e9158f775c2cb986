//! Code written against tokio's own socket methods compiles and works in both worlds.
#![expect(clippy::duplicate_mod, reason = "one code, with the types of either world")]

mod in_the_runtime;
mod in_the_sim;
