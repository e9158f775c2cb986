//! Stories of the factory and the lifecycle, told in every world.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

mod accepting; // connections, and how a stop ends them
mod building; // how a factory gets daemons
mod children; // factories inside factories
mod deadlines; // what overstays
mod failing; // what goes wrong, and what is said about it
mod machines; // what only the sim does: exact times, and power loss
mod named; // several daemons of one type
mod optional; // what a daemon can do without
mod order; // what comes before what
mod refs; // what outlives its owner
mod running; // what a failing run leads to
mod seeing; // what can be seen of it
mod sharing; // whose instance a child gets
mod sharing_table; // the same in every combination, beside a model
mod stopping; // who may stop, when and how often
mod threads; // what only real threads do
mod traits; // daemons behind traits, one or many
