//! Trace events: one enum of everything that a run records. Some enter the digest; the others are only for diagnosis.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::decision::Stream;
use super::portable::{self, StaticStr};
use super::task::TaskId;

/// One event of a run: its time, task, cause and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Nanoseconds of virtual time since the run began.
    pub at: u64,
    /// The task that was being polled, if any.
    pub task: Option<TaskId>,
    /// The index of the earlier event that caused it, if any.
    pub cause: Option<u32>,
    /// Its kind and data.
    pub what: EventKind,
    /// The run's digest after it.
    pub digest: u64,
}

/// The kind of an event, with its data. Part of the digest unless the variant says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A random number was drawn. Not in the digest for the schedule and the plan: the resulting polls and faults are.
    Draw {
        /// Its purpose.
        stream: Stream,
        /// How many draws of the stream came before it.
        index: u64,
        /// The exclusive upper bound; 0 for any `u64`.
        below: u64,
        /// The number.
        value: u64,
    },
    /// A task was polled.
    Poll {
        /// The task.
        task: TaskId,
        /// Its position in the run queue; 0 is the oldest.
        place: u64,
    },
    /// Virtual time advanced.
    Time {
        /// The new time, in nanoseconds since the run began.
        to: u64,
    },
    /// A task became ready to be polled; waking a ready task records nothing. [`Event::task`] is the task that woke it, or
    /// `None` for a timer, the network or another thread. Not in the digest.
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
        /// Its machine.
        machine: u32,
    },
    /// A task ended. Not in the digest.
    End {
        /// The task.
        task: TaskId,
        /// How it ended.
        end: TaskEnd,
    },
    /// A program wrote bytes to a socket; they leave in [messages](EventKind::Message). The digest has the bytes instead.
    Send {
        /// How many bytes.
        bytes: u64,
        /// The first of them, padded with zeros.
        start: [u8; 16],
    },
    /// A message leaves a machine. Not in the digest.
    Message {
        /// Its number, counted up from one message to the next.
        message: u32,
        /// What kind of segment or datagram it is.
        carries: MessageKind,
        /// The number of its TCP connection, if any. Numbers are reused, from a later [`EventKind::Connect`] on.
        connection: Option<u32>,
        /// The sending machine.
        from: u32,
        /// The receiving machine.
        to: u32,
        /// Its payload in bytes.
        bytes: u64,
        /// The first of them, padded with zeros.
        start: [u8; 16],
    },
    /// A message was delayed beyond its latency. Not in the digest.
    Delayed {
        /// Its number.
        message: u32,
        /// The delay in nanoseconds. Several delays of one message add up.
        by: u64,
        /// The reason.
        why: DeliveryProblem,
    },
    /// A message arrived. Not in the digest.
    Arrive {
        /// Its number.
        message: u32,
    },
    /// A message was lost on the link, or arrived and was dropped. Not in the digest.
    Lost {
        /// Its number.
        message: u32,
        /// The reason.
        why: DeliveryProblem,
    },
    /// A byte of a datagram, or of what a stream has delivered, was changed on its way. Not in the digest: its draws are.
    Corrupted {
        /// The sending machine.
        from: u32,
        /// The receiving machine.
        to: u32,
        /// Its place in the datagram, or among the bytes that arrived together.
        offset: u64,
    },
    /// Data of a TCP connection can be read. Its messages arrived just before; a probe of a silent peer has none.
    Deliver {
        /// The connection's number.
        connection: u32,
        /// The sending machine.
        from: u32,
        /// The receiving machine.
        to: u32,
        /// How many bytes can be read there.
        readable: u64,
    },
    /// A client began to open a TCP connection.
    Connect {
        /// The connection's number.
        connection: u32,
        /// The server's machine.
        to: u32,
    },
    /// A datagram arrived.
    Datagram {
        /// The receiving machine.
        to: u32,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A machine's state changed.
    Machine {
        /// The machine.
        machine: u32,
        /// The change.
        change: MachineChange,
    },
    /// Something was done with a machine's disk.
    Disk {
        /// The machine.
        machine: u32,
        /// What.
        change: DiskChange,
    },
    /// The state of the link from one machine to another changed.
    Link {
        /// The sending machine.
        from: u32,
        /// The receiving machine.
        to: u32,
        /// The change.
        change: LinkChange,
    },
    /// A fault of the run's plan began, ended or was skipped.
    Fault {
        /// Its index in the plan.
        fault: u32,
        /// Which of these.
        step: FaultStep,
    },
    /// The lifecycle state of a factory or a daemon changed. Not in the digest.
    State {
        /// Its index in [`Trace::states`](crate::trace::Trace::states).
        state: u32,
    },
    /// The health of a daemon or the readiness of a factory changed. Not in the digest.
    Health {
        /// Its index in [`Trace::health`](crate::trace::Trace::health).
        health: u32,
    },
    /// A log line was written. Not in the digest.
    Log {
        /// Its index in [`Trace::logs`](crate::trace::Trace::logs).
        log: u32,
    },
    /// A client invoked an operation. Not in the digest.
    Invoke {
        /// Its index in [`Trace::operations`](crate::trace::Trace::operations).
        operation: u32,
    },
    /// A client's operation returned, or the client stopped waiting for it. Not in the digest.
    Return {
        /// Its index in [`Trace::operations`](crate::trace::Trace::operations).
        operation: u32,
    },
    /// A history is not linearizable, and this operation is among those that no order explains. Not in the digest.
    Blame {
        /// Its index in [`Trace::operations`](crate::trace::Trace::operations).
        operation: u32,
    },
    /// The run failed: the last event of its trace. Not in the digest.
    Fail,
    /// The scenario increased a counter ([`Sim::count`](crate::Sim::count)).
    Count {
        /// The counter's name.
        #[serde(deserialize_with = "portable::text")]
        what: StaticStr,
        /// The increment.
        more: u64,
        /// Its new value.
        total: u64,
    },
}

/// The kind of a message: a TCP segment by its flags, a UDP datagram, or an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MessageKind {
    /// Data of a TCP connection.
    Bytes,
    /// FIN: half-closes a TCP connection, after the last data if there is any.
    Fin,
    /// SYN: asks for a TCP connection.
    Syn,
    /// SYN and ACK: accepts it.
    SynAck,
    /// ACK: completes the handshake.
    Ack,
    /// RST to a SYN: connection refused, no listener.
    Refused,
    /// RST: connection reset.
    Reset,
    /// A UDP datagram.
    Datagram,
    /// ICMP port unreachable: no socket received a datagram.
    Unreachable,
}

/// Why a message is delayed or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryProblem {
    /// Partition. It delays a TCP segment, which is retransmitted until the partition has healed.
    Cut,
    /// The link is held.
    Held,
    /// Message loss on the link. It delays a TCP segment until its retransmission.
    Loss,
    /// Tail latency, far above the link's usual one.
    Tail,
    /// Limited bandwidth: the message queued behind others.
    Narrow,
    /// Reordering: the message was delayed so that later ones overtake it.
    Overtaken,
    /// The receiving machine had no power, or the sending one lost it before it was sent.
    PowerOff,
    /// The receiving machine was suspended.
    Suspended,
    /// Its connection was reset or timed out.
    Reset,
    /// There is no such machine, or no such socket.
    #[serde(rename = "nobody")]
    NoReceiver,
    /// The receiver's buffer was full, or the backlog of its listener.
    Full,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskEnd {
    /// It returned.
    Returned,
    /// It panicked.
    Panicked,
    /// It was aborted.
    Aborted,
}

/// A change of a machine's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MachineChange {
    /// It was created.
    Made,
    /// A process started on it.
    Started,
    /// Its process exited.
    Exited,
    /// It lost power.
    PowerLost,
    /// Its clock runs faster than virtual time by this many parts per million; slower if negative.
    Drift(i64),
    /// Its wall clock is ahead by this many nanoseconds; behind if negative.
    WallOffset(i64),
    /// Its tasks are no longer polled.
    Paused,
    /// Its tasks are polled again.
    Resumed,
    /// Its ready tasks are polled up to this many nanoseconds late.
    Slowness(u64),
    /// Whether its name lookups take time or fail.
    LookupTrouble(bool),
    /// It has another IPv4 address, or its first one again.
    Address {
        /// Which.
        ip: Ipv4Addr,
        /// Whether it is the first.
        is_first: bool,
    },
    /// It sleeps: its monotonic clock stands still.
    Suspended,
    /// It sleeps no more.
    Woken,
}

/// What was done with a disk. A file is named by its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiskChange {
    /// Bytes were written.
    Written {
        /// The file.
        file: u32,
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// A file or a directory was synced.
    Synced {
        /// Which.
        file: u32,
        /// How many pages of 4 KiB that made durable.
        pages: u64,
    },
    /// A sync of a file or a directory failed.
    SyncFailed {
        /// Which.
        file: u32,
    },
}

/// A change of the link between two machines; from a machine to itself, of all its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkChange {
    /// It was partitioned.
    Cut,
    /// One partition was healed.
    Healed,
    /// It was impaired: latency, loss or limited bandwidth.
    Impaired,
    /// One impairment ended.
    Repaired,
    /// It was held: messages wait.
    Held,
    /// One hold was released.
    Released,
    /// All connections over it were reset, in both directions.
    Reset,
}

/// A step in the life of a planned fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultStep {
    /// It begins.
    Strikes,
    /// It is over.
    Ends,
    /// It was skipped: it would have exceeded the budget.
    Skipped,
}

impl EventKind {
    /// Whether it changes a state that later events depend on; a trace keeps these before its window, too.
    pub(crate) fn is_state_change(self) -> bool {
        matches!(
            self,
            EventKind::Machine { .. }
                | EventKind::Link { .. }
                | EventKind::Fault { .. }
                | EventKind::State { .. }
                | EventKind::Health { .. }
                | EventKind::Invoke { .. }
                | EventKind::Return { .. }
                | EventKind::Blame { .. }
        )
    }
}
