//! Everything that can happen in a run, as one enum: what the digest takes in, and what only explains.

use serde::Serialize;

use super::decision::Stream;
use super::task::TaskId;

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
        carries: MessageKind,
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
        change: MachineChange,
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
        /// Its place in [`Trace::states`](crate::trace::Trace::states).
        state: u32,
    },
    /// Something was logged. Not in the digest.
    Log {
        /// Its place in [`Trace::logs`](crate::trace::Trace::logs).
        log: u32,
    },
    /// A client is about to do something. Not in the digest.
    Invoke {
        /// Its place in [`Trace::operations`](crate::trace::Trace::operations).
        operation: u32,
    },
    /// A client has its answer, or has stopped waiting for it. Not in the digest.
    Return {
        /// Its place in [`Trace::operations`](crate::trace::Trace::operations).
        operation: u32,
    },
    /// A history turned out not to be linearizable, and this operation is one of those that cannot be ordered. Not in the
    /// digest.
    Blame {
        /// Its place in [`Trace::operations`](crate::trace::Trace::operations).
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
pub enum MessageKind {
    /// Bytes of a TCP connection.
    Bytes,
    /// The end of what one side of a TCP connection sends (FIN), with the last bytes if there are any.
    Fin,
    /// A request for a TCP connection (SYN).
    Syn,
    /// The answer to it (SYN and ACK).
    SynAck,
    /// The last part of the handshake (ACK).
    Ack,
    /// The answer that nobody listens there (RST to a SYN).
    Refused,
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
pub enum MachineChange {
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
    Skipped,
}

impl What {
    /// Whether it tells how things stand from then on.
    pub(crate) fn lasts(self) -> bool {
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
}
