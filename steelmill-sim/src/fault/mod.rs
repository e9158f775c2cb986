//! Faults as data: what goes wrong in a run, when, and with whom.
//!
//! A [`Plan`] is a list of faults. It is drawn from the seed (a *swarm*: Groce et al., "Swarm testing", ISSTA 2012), or
//! read from a file, and can be written to one, edited and replayed. A scenario says by a [`Budget`] what may happen to
//! whom, and lets the plan strike by [`Sim::inject_faults`](crate::Sim::inject_faults). When its time is over everything is healed:
//! what is still wrong then is the fault of the system under test.

mod budget; // what may happen to whom
pub(crate) mod coverage; // coverage points
pub(crate) mod limits; // how much of its workload a run has
mod nemesis;
mod swarm; // how a plan is drawn // how it strikes

pub use crate::schema::moment::Moment;
pub use crate::schema::plan::{Choice, Family, Fault, Faults, Kind, Plan, When};
pub use budget::Budget;
pub use nemesis::{FaultCounts, Nemesis};
