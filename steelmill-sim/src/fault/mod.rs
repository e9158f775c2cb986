//! Fault injection: fault plans, the budget that bounds them, and the nemesis that executes them.
//!
//! A [`Plan`] is a list of faults. It is drawn from the seed (a *swarm*: Groce et al., "Swarm testing", ISSTA 2012) or
//! read from a file, and can be saved, edited and replayed. A scenario's [`Budget`] bounds faults by machine and
//! severity. [`Sim::inject_faults`](crate::Sim::inject_faults) executes the plan and heals everything at the end: what
//! is still wrong then is a failure of the system under test.

mod budget; // allowed faults per machine
pub(crate) mod coverage; // coverage points, assertions, rare branches (buggify)
pub(crate) mod limits; // workload size, which shrinking reduces
mod lasting; // machines that stay broken
mod nemesis; // executes a plan
mod swarm; // draws a plan from the seed

pub use crate::schema::disk_trouble::{DiskCall, DiskTrouble};
pub use crate::schema::moment::Moment;
pub use crate::schema::plan::{Choice, Family, Fault, Faults, Kind, Plan, When};
pub use crate::schema::segment::Segment;
pub use budget::Budget;
pub use lasting::Broken;
pub use nemesis::{FaultCounts, Nemesis};
