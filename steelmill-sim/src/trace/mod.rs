//! Execution trace of a run: its events in order, with causes, log lines, lifecycle states and client operations.
//!
//! A trace is recorded only if [`Settings::trace`](crate::Settings::trace) is set, which does not affect the run or its
//! digest. Events are plain data that refer to others by number; [`Trace::line`] resolves the names.
//!
//! # How to read a trace
//!
//! - An event's number is its index in [`Trace::events`]. [`Event::cause`] is the number of an earlier event.
//!   [`Trace::causes`] lists all, [`Trace::consequences`] inverts them, and [`Trace::nearest`] skips hidden events.
//! - A machine's number is its index in [`Trace::machines`]. Machine 0 runs the scenario.
//! - A message has a number, too. It is sent at [`EventKind::Message`] and ends at [`EventKind::Arrive`] or [`EventKind::Lost`],
//!   unless in flight when the run ends; [`EventKind::Delayed`] is extra latency. See [`Trace::messages`].
//! - A daemon's state is that of its last [`EventKind::State`]. It ends with the process: at [`MachineChange::Exited`] or
//!   [`MachineChange::PowerLost`].
//! - A daemon's health, and whether a factory is ready, is that of the last [`EventKind::Health`], as long as it runs. Where nobody
//!   requests the health of a factory there is none.
//! - A fault of the plan begins and ends at [`EventKind::Fault`]. [`Trace::faults`] has its kind and the
//!   [machines](crate::fault::Kind::machines) it affects.
//! - A failed run ends with [`EventKind::Fail`].

mod causes; // causality between events
pub(crate) mod conditions; // each factory's and daemon's state with its health
pub mod history; // operation history and linearizability checker
mod line; // events as text
pub mod logging; // log format with virtual time, machine and daemon
pub(crate) mod logs; // the subscriber of a run
mod messages; // each message from send to arrival or loss
mod operations; // records client operations

pub use crate::schema::event::{
    DeliveryProblem, DiskChange, Event, EventKind, FaultStep, LinkChange, MachineChange, MessageKind, TaskEnd,
};
pub use crate::schema::line::Line;
pub use crate::schema::task::TaskId;
pub use crate::schema::trace::{Answer, HealthChange, Log, Operation, StateChange, TaskInfo, Trace};
pub(crate) use line::reason;
pub use messages::MessageTrace;
