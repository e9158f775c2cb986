//! What a run did, event by event: every one that the digest takes in, and many that only explain.
//!
//! A trace is kept only where [`Settings::trace`](crate::Settings::trace) asks for one, and changes nothing: a traced run
//! has the digest of one that is not. Its events are plain data; [`Trace::line`] puts names to the numbers in one.
//!
//! # How to read one
//!
//! - An event is named by its place in [`Trace::events`], everywhere: in [`Event::cause`], too, which is the event that
//!   led to it and always an earlier one. [`Trace::causes`] has them all, [`Trace::consequences`] the other way round, and
//!   [`Trace::nearest`] skips what is not to be shown.
//! - A machine is its number, the place of its name in [`Trace::machines`]. Machine 0 is the scenario's own.
//! - A message is named by its number. It leaves with [`EventKind::Message`] and ends with [`EventKind::Arrive`] or [`EventKind::Lost`],
//!   unless the run ends first; a [`EventKind::Delayed`] in between says that it is later than usual, and why.
//!   [`Trace::messages`] gathers each message's story.
//! - A daemon does what its last [`EventKind::State`] says, as long as its machine's process lives: what ends with
//!   [`MachineChange::Exited`] or [`MachineChange::PowerLost`] says nothing any more.
//! - A fault of the plan strikes and is over with [`EventKind::Fault`]; what it is, and [whom](crate::fault::Kind::machines) it
//!   strikes, stands in [`Trace::faults`].
//! - A run that failed ends with [`EventKind::Fail`].

mod causes; // what led to what
pub mod history; // what clients saw, and whether it was linearizable
mod line; // events as a person reads them
pub mod logging; // log lines with virtual time, machine and daemon
mod logs; // how log lines get into a trace
mod messages; // messages from their leaving to their end
mod operations; // how clients' operations get into a trace

pub use crate::schema::event::{
    DeliveryProblem, Event, EventKind, FaultStep, LinkChange, MachineChange, MessageKind, TaskEnd,
};
pub use crate::schema::line::Line;
pub use crate::schema::task::TaskId;
pub use crate::schema::trace::{Answer, Log, Operation, StateChange, TaskInfo, Trace};
pub(crate) use line::reason;
pub(crate) use logs::keep_logs;
pub use messages::MessageTrace;
