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
//! - A message is named by its number. It leaves with [`What::Message`] and ends with [`What::Arrive`] or [`What::Lost`],
//!   unless the run ends first; a [`What::Delayed`] in between says that it is later than usual, and why.
//!   [`Trace::messages`] gathers each message's story.
//! - A daemon does what its last [`What::State`] says, as long as its machine's process lives: what ends with
//!   [`Change::Exited`] or [`Change::PowerLost`] says nothing any more.
//! - A fault of the plan strikes and is over with [`What::Fault`]; what it is, and [whom](crate::fault::Kind::machines) it
//!   strikes, stands in [`Trace::faults`].
//! - A run that failed ends with [`What::Fail`].

mod causes; // what led to what
mod flying; // messages on their way
pub mod history; // what clients saw, and whether it was linearizable
mod keep; // how log lines get into a trace
mod line; // events as a person reads them
pub mod logging; // log lines with virtual time, machine and daemon
pub(crate) mod record; // how events get into a trace

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steelmill_core::{Owner, State};

use crate::fault::Fault;
use crate::kernel::decisions::Stream;
use crate::kernel::waker::TaskKey;

pub use flying::Passage;
pub(crate) use keep::keep_logs;
pub use line::Line;
pub(crate) use line::reason;
pub(crate) use record::Recorder;

/// The events of a run, in order, and the names of what they speak of.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// What happened.
    pub events: Vec<Event>,
    /// How many events of the beginning were not kept: see [`Settings::trace_window`](crate::Settings::trace_window).
    pub skipped: u64,
    /// How many after those that were kept were not; a [`What::Fail`] always is.
    pub dropped: u64,
    /// Which event matters most, counted among all of the run's, kept or not. Where answers contradict each other it is the
    /// last of these, in a livelock the last at which time passed, and else the last one.
    pub crux: u64,
    /// Every task that was spawned.
    pub tasks: BTreeMap<TaskId, TaskInfo>,
    /// The machines' names, by number; 0 is the scenario's own.
    pub machines: Vec<String>,
    /// What was logged, at `info` and above, or as `RUST_LOG` says.
    pub logs: Vec<Log>,
    /// What factories and daemons came to do.
    pub states: Vec<StateChange>,
    /// What clients did, as far as a [`History`](crate::trace::history::History) was told.
    pub operations: Vec<Operation>,
    /// What was to go wrong.
    pub faults: Vec<Fault>,
}

impl Trace {
    /// How many events there were, kept or not.
    pub(crate) fn all(&self) -> u64 {
        self.skipped + self.events.len() as u64 + self.dropped
    }

    /// Where the [crux](Trace::crux) stands among the events that were kept.
    pub(crate) fn crux_kept(&self) -> usize {
        // Whatever was skipped came before all that is in the window.
        (self.crux.saturating_sub(self.skipped) as usize).min(self.events.len().saturating_sub(1))
    }

    /// The last of the answers that contradict each other, if it is by them that the run failed.
    pub(crate) fn contradiction(&self) -> Option<usize> {
        let crux = self.crux_kept();
        let is_blamed = match self.events.get(crux)?.what {
            What::Return { operation } => self.operations.get(operation as usize)?.is_blamed,
            _ => false,
        };
        is_blamed.then_some(crux)
    }

    /// Drops what comes so many events after the crux, but the failure, which comes of what is last then.
    pub(crate) fn cut_after_crux(&mut self, events: usize) {
        let end = self.crux_kept() + events;
        if let [_, between @ .., failure @ Event { what: What::Fail, .. }] =
            &self.events[end.min(self.events.len())..]
        {
            self.dropped += between.len() as u64 + 1;
            let failure = Event { cause: Some(end as u32 - 1), ..*failure };
            self.events.truncate(end);
            self.events.push(failure);
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// The task that was being polled, if one was.
    pub task: Option<TaskId>,
    /// The event that led to it, if one did: an earlier one.
    pub cause: Option<u32>,
    /// What.
    pub what: What,
    /// The run's digest after it.
    pub digest: u64,
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How bad it is.
    pub level: tracing::Level,
    /// Which part of the program says so: a module's path, unless the program says otherwise.
    pub target: &'static str,
    /// The message, and after it the fields.
    pub text: String,
    /// The file and the line that it comes from, as far as they are known.
    pub place: Option<(&'static str, u32)>,
}

/// A factory, or a daemon of one, does something else from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The machine the factory lives on.
    pub machine: u32,
    /// The factory's path.
    pub factory: String,
    /// The daemon; `None` for the factory as a whole.
    pub daemon: Option<String>,
    /// What it does.
    pub state: State,
}

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: String,
    /// What it acted on.
    pub key: String,
    /// What was asked, as the history's model tells it: `GET a`.
    pub what: String,
    /// What came of it; `None` for one that never returned, whose outcome is unknown.
    pub answer: Option<Answer>,
    /// Whether it is among those that cannot be ordered: the history was checked, and was not linearizable.
    pub is_blamed: bool,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This, question included: `GET a -> "1"`.
    Returned(String),
    /// It certainly did not take effect.
    Failed,
    /// Its client stopped waiting: it may take effect at any time, or never.
    Unknown,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A random number was drawn. For the schedule's draws, the digest takes in the poll that came of them instead.
    Draw {
        /// What for.
        stream: Stream,
        /// How many draws of the stream came before it.
        index: u64,
        /// The number is below this one; 0 for a whole word.
        below: u64,
        /// What was drawn.
        value: u64,
    },
    /// A task was polled.
    Poll {
        /// The task.
        task: TaskId,
        /// Its place among those that were ready, the oldest being 0.
        place: u64,
    },
    /// Time passed.
    Time {
        /// To this time, in nanoseconds.
        to: u64,
    },
    /// A task was made ready to be polled; one that is ready already is not woken again. [`Event::task`] says who woke it;
    /// `None` where that was a timer, the network or another thread. Not in the digest.
    Wake {
        /// The task.
        task: TaskId,
    },
    /// A timer fired. Not in the digest.
    Timer {
        /// The task that set it.
        task: TaskId,
    },
    /// A task was spawned.
    Spawn {
        /// The task.
        task: TaskId,
        /// The machine it lives on.
        machine: u32,
    },
    /// A task ended. Not in the digest.
    End {
        /// The task.
        task: TaskId,
        /// How.
        end: TaskEnd,
    },
    /// Bytes were handed to the network: what a program wrote. They leave in [messages](What::Message). Not in the digest.
    Send {
        /// How many.
        bytes: u64,
        /// The first of them; zeros where there are fewer.
        start: [u8; 16],
    },
    /// A message leaves a machine. Not in the digest.
    Message {
        /// Its number, the next one after that of the message before.
        message: u32,
        /// What it is.
        carries: Carries,
        /// The number of the connection it belongs to, if it belongs to one. Numbers are used again, from a later
        /// [`What::Connect`] on.
        connection: Option<u32>,
        /// From this machine.
        from: u32,
        /// To this one.
        to: u32,
        /// How many bytes of payload it has.
        bytes: u64,
        /// The first of them; zeros where there are fewer.
        start: [u8; 16],
    },
    /// A message will be late. Not in the digest.
    Delayed {
        /// Its number.
        message: u32,
        /// By how many nanoseconds. Several delays of one message add up.
        by: u64,
        /// Why.
        why: Why,
    },
    /// A message has arrived. Not in the digest.
    Arrive {
        /// Its number.
        message: u32,
    },
    /// A message will never arrive, or did and was thrown away. Not in the digest.
    Lost {
        /// Its number.
        message: u32,
        /// Why.
        why: Why,
    },
    /// What one side of a TCP connection sent has arrived. The messages that it came in have arrived just before; there
    /// is none where a sender only asked whether it is still heard.
    Deliver {
        /// The connection's number.
        connection: u32,
        /// The machine that sent.
        from: u32,
        /// The machine it has arrived on.
        to: u32,
        /// How many bytes can be read there.
        readable: u64,
    },
    /// A TCP connection was asked for.
    Connect {
        /// The connection's number.
        connection: u32,
        /// To this machine.
        to: u32,
    },
    /// A datagram has arrived.
    Datagram {
        /// On this machine.
        to: u32,
        /// Its length.
        bytes: u64,
    },
    /// Something was done to a machine.
    Machine {
        /// The machine.
        machine: u32,
        /// What.
        change: Change,
    },
    /// Something was done to the way from one machine to another.
    Link {
        /// From this machine.
        from: u32,
        /// To this one.
        to: u32,
        /// What.
        change: LinkChange,
    },
    /// Something became of a fault of the run's plan.
    Fault {
        /// Its place in the plan.
        fault: u32,
        /// What.
        step: FaultStep,
    },
    /// A factory, or a daemon, does something else from now on. Not in the digest.
    State {
        /// Its place in [`Trace::states`].
        state: u32,
    },
    /// Something was logged. Not in the digest.
    Log {
        /// Its place in [`Trace::logs`].
        log: u32,
    },
    /// A client is about to do something. Not in the digest.
    Invoke {
        /// Its place in [`Trace::operations`].
        operation: u32,
    },
    /// A client has its answer, or has stopped waiting for it. Not in the digest.
    Return {
        /// Its place in [`Trace::operations`].
        operation: u32,
    },
    /// A history turned out not to be linearizable, and this operation is one of those that cannot be ordered. Not in the
    /// digest.
    Blame {
        /// Its place in [`Trace::operations`].
        operation: u32,
    },
    /// The run failed: the last event of its trace. Not in the digest.
    Fail,
    /// The scenario counted something.
    Count {
        /// What.
        what: &'static str,
        /// How many more.
        more: u64,
        /// How many in all.
        total: u64,
    },
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Carries {
    /// Bytes of a TCP connection.
    Bytes,
    /// The end of what one side of a TCP connection sends (FIN), with the last bytes if there are any.
    End,
    /// A request for a TCP connection (SYN).
    Request,
    /// The answer to it (SYN and ACK).
    Answer,
    /// The last part of the handshake (ACK).
    Confirmation,
    /// The answer that nobody listens there (RST to a SYN).
    Refusal,
    /// Word that there is no such connection any more (RST).
    Reset,
    /// A datagram.
    Datagram,
    /// Word that nobody received a datagram (ICMP port unreachable).
    Unreachable,
}

/// Why a message is late, or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// The way was cut. To a stream that is a delay: it is sent again, and gets through after the cut has healed.
    Cut,
    /// The way was held.
    Held,
    /// The way loses messages. To a stream that is a delay, until it is sent again.
    Loss,
    /// The way has a tail of latencies far above the usual.
    Tail,
    /// The way is narrow, and others had to get through before it.
    Narrow,
    /// It was kept back for others to overtake it.
    Overtaken,
    /// The machine that it got to had no power.
    PowerOff,
    /// Its connection was reset, or was given up.
    Reset,
    /// Nobody was there: no such machine, or no such socket.
    Nobody,
    /// Whoever was to receive it had no room for it.
    Full,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// It returned.
    Returned,
    /// It panicked.
    Panicked,
    /// It was aborted.
    Aborted,
}

/// What was done to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// It was made.
    Made,
    /// A process began on it.
    Started,
    /// Its process exited.
    Exited,
    /// It lost power.
    PowerLost,
    /// Its clock goes this much faster than time, in parts per million.
    Drift(i64),
    /// Its wall clock is this many nanoseconds ahead.
    WallOffset(i64),
    /// No task of it runs.
    Paused,
    /// Its tasks run again.
    Resumed,
    /// A task of it that is ready waits for its turn for up to this many nanoseconds.
    Slowness(u64),
}

/// What was done to a way between two machines; between a machine and itself stands for all its ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkChange {
    /// Nothing gets through any more.
    Cut,
    /// One cut was taken off.
    Healed,
    /// It became slow, lossy or narrow.
    Impaired,
    /// One impairment was taken off.
    Repaired,
    /// What is sent waits.
    Held,
    /// One hold was taken off.
    Released,
    /// All connections were reset, both ways.
    Reset,
}

/// What became of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStep {
    /// It begins.
    Strikes,
    /// It is over.
    Ends,
    /// It would have been one too many.
    PassesBy,
}

/// A task of a run; the same in every run of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(u64);

impl TaskId {
    pub(crate) fn of(key: TaskKey) -> Self {
        Self(key.within_run())
    }

    /// Its place in the run's table.
    fn place(self) -> usize {
        TaskKey::parts(self.0).0 as usize
    }
}

impl fmt::Display for TaskId {
    /// Its place in the run's table, and how many tasks had that place before it: `#12`, `#12.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, former) = TaskKey::parts(self.0);
        write!(f, "#{place}")?;
        if former > 0 {
            write!(f, ".{former}")?;
        }
        Ok(())
    }
}

/// What is known of a task.
#[derive(Debug, Clone)]
pub struct TaskInfo {
    /// What its spawner called it.
    pub name: &'static str,
    /// The number of the machine it lives on.
    pub machine: u32,
    /// Whom it works for.
    pub owner: Option<Arc<Owner>>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
}

/// The kind of an event and two words, for the digest.
pub(crate) struct Words(pub(crate) u64, pub(crate) u64, pub(crate) u64);

impl What {
    /// Whether it tells how things stand from then on.
    fn lasts(self) -> bool {
        matches!(
            self,
            What::Machine { .. }
                | What::Link { .. }
                | What::Fault { .. }
                | What::State { .. }
                | What::Invoke { .. }
                | What::Return { .. }
                | What::Blame { .. }
        )
    }

    /// What the digest takes in; `None` for an event that only explains.
    #[inline(always)]
    pub(crate) fn words(self) -> Option<Words> {
        let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
        Some(match self {
            // A draw of the schedule shows in the poll that it decides, one of the plan in the faults that strike (so that
            // the same plan from a file gives the same digest); the bytes are hashed one by one. All else only explains.
            What::Draw { stream: Stream::Schedule | Stream::Plan(_), .. }
            | What::End { .. }
            | What::Send { .. }
            | What::Wake { .. }
            | What::Timer { .. }
            | What::Message { .. }
            | What::Delayed { .. }
            | What::Arrive { .. }
            | What::Lost { .. }
            | What::State { .. }
            | What::Log { .. }
            | What::Invoke { .. }
            | What::Return { .. }
            | What::Blame { .. }
            | What::Fail => return None,
            What::Draw { index, value, .. } => Words(1, index, value),
            What::Poll { task, place } => Words(2, task.0, place),
            What::Time { to } => Words(3, to, 0),
            What::Spawn { task, machine } => Words(4, task.0, u64::from(machine)),
            What::Deliver { connection, from, to, readable } => {
                Words(5, pair(connection, from) ^ u64::from(to) << 16, readable)
            }
            What::Connect { connection, to } => Words(6, u64::from(connection), u64::from(to)),
            What::Datagram { to, bytes } => Words(7, u64::from(to), bytes),
            What::Machine { machine, change } => {
                let (change, by) = match change {
                    Change::Made => (0, 0),
                    Change::Started => (1, 0),
                    Change::Exited => (2, 0),
                    Change::PowerLost => (3, 0),
                    Change::Drift(ppm) => (4, ppm as u64),
                    Change::WallOffset(nanos) => (5, nanos as u64),
                    Change::Paused => (6, 0),
                    Change::Resumed => (7, 0),
                    Change::Slowness(nanos) => (8, nanos),
                };
                Words(8, u64::from(machine) << 8 | change, by)
            }
            What::Link { from, to, change } => Words(9, pair(from, to), change as u64),
            What::Fault { fault, step } => Words(11, u64::from(fault), step as u64),
            What::Count { more, total, .. } => Words(10, total, more),
        })
    }
}
