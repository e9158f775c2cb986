//! Integration tests of factory and lifecycle, run in every world.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

mod accepting; // connections, and how a stop ends them
mod assembling; // all errors at once, recipes, decorators, order, long chains
mod building; // built, provided, or failed
mod children; // child factories
mod configuring; // configuration
mod deadlines; // deadlines exceeded
mod draining; // a requested stop that serves on for a while
mod ends; // what the end of a run leads to; single daemons restarted or stopped by request
mod failing; // failures, and how they are reported
mod health; // what daemons answer, and readiness
mod machines; // only in the sim: exact times, power loss
mod named; // several daemons of one type
mod naming; // children by name, listed and replaced; those that depend on their maker
mod optional; // optional dependencies
mod order; // order of prepare, run and stop
mod probes; // the daemon that answers probes over HTTP
mod refs; // refs that outlive their factory
mod running; // policies: restart, leave down, escalate
mod observing; // status and changes
mod sharing; // what a child shares
mod sharing_table; // the same in every combination, against a model
mod stopping; // requests to stop
mod supervising; // children that are built anew when they end
mod threads; // only in the runtime world: blocking, and runtimes that go away
mod traits; // daemons behind traits, one or many
