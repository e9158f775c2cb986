//! What a run did, event by event: every one that the digest takes in, and a few that only explain.
//!
//! A trace is kept only where [`Settings::trace`](crate::Settings::trace) asks for one. Its events are plain data;
//! [`Trace::line`] puts names to the numbers in one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IoSlice;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steelmill_core::Owner;

use crate::decisions::{Decision, Stream};
use crate::run::Run;
use crate::timers::Nanos;
use crate::waker::TaskKey;

/// The events of a run, in order, and the names of what they speak of.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// What happened.
    pub events: Vec<Event>,
    /// How many events there were beyond those that were kept.
    pub dropped: u64,
    /// Every task that was spawned.
    pub tasks: BTreeMap<TaskId, TaskInfo>,
    /// The machines' names, by number; 0 is the scenario's own.
    pub machines: Vec<String>,
}

/// How many events a trace keeps: some 150 MB.
const EVENTS_MAX: usize = 1 << 21;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// The task that was being polled, if one was.
    pub task: Option<TaskId>,
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
    /// Bytes were handed to the network.
    Send {
        /// How many.
        bytes: u64,
        /// The first of them; zeros where there are fewer.
        start: [u8; 16],
    },
    /// What one side of a TCP connection sent has arrived.
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
    /// What the digest takes in; `None` for an event that only explains.
    #[inline(always)]
    pub(crate) fn words(self) -> Option<Words> {
        let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
        Some(match self {
            // A draw of the schedule shows in the poll that it decides, one of the plan in the faults that strike (so that
            // the same plan from a file gives the same digest), an end in the last poll; the bytes are hashed one by one.
            What::Draw { stream: Stream::Schedule | Stream::Plan(_), .. }
            | What::End { .. }
            | What::Send { .. } => {
                return None;
            }
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

impl Trace {
    fn note(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        } else {
            self.dropped += 1;
        }
    }

    /// An event with names in place of numbers.
    pub fn line(&self, event: &Event) -> Line {
        let task = event.task.and_then(|id| Some((id, self.tasks.get(&id)?)));
        let owner = task.and_then(|(_, info)| info.owner.as_deref());
        Line {
            at: Duration::from_nanos(event.at),
            machine: task.map(|(_, info)| self.machine(info.machine)),
            factory: owner.map(|owner| owner.factory().to_owned()),
            daemon: owner.and_then(Owner::daemon).map(str::to_owned),
            task: task.map(|(id, info)| format!("{:?} {id}", info.name)),
            what: self.text(event.what),
            digest: event.digest,
        }
    }

    /// All of it, with names.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.events.iter().map(|event| self.line(event))
    }

    fn machine(&self, number: u32) -> String {
        // Somebody may well send to an address that is nobody's.
        self.machines.get(number as usize).cloned().unwrap_or_else(|| format!("machine {number}"))
    }

    fn task(&self, id: TaskId) -> String {
        match self.tasks.get(&id) {
            Some(info) => format!("{:?} {id}", info.name),
            None => id.to_string(),
        }
    }

    fn text(&self, what: What) -> String {
        let machine = |number| self.machine(number);
        match what {
            What::Draw { stream, index, below: 0, value } => {
                format!("draw {stream:?} #{index} -> {value:#x}")
            }
            What::Draw { stream, index, below, value } => {
                format!("draw {stream:?} #{index} below {below} -> {value}")
            }
            What::Poll { place, .. } => format!("poll, place {place} of those ready"),
            What::Time { to } => format!("time passes, to {}", seconds(to)),
            What::Spawn { task, machine: on } => {
                let info = self.tasks.get(&task);
                let place = info.map(|info| format!(", at {}", info.spawned_at)).unwrap_or_default();
                format!("spawn {} on {}{place}", self.task(task), machine(on))
            }
            What::End { task, end } => {
                let end = match end {
                    TaskEnd::Returned => "returned",
                    TaskEnd::Panicked => "panicked",
                    TaskEnd::Aborted => "was aborted",
                };
                format!("{} {end}", self.task(task))
            }
            What::Send { bytes, start } => {
                let shown = &start[..start.len().min(bytes as usize)];
                let more = if shown.len() < bytes as usize { "..." } else { "" };
                format!("send {bytes} bytes: \"{}\"{more}", shown.escape_ascii())
            }
            What::Deliver { connection, from, to, readable } => {
                let (from, to) = (machine(from), machine(to));
                format!("deliver {from} -> {to}, connection {connection}: {readable} bytes to read")
            }
            What::Connect { connection, to } => {
                format!("connect to {}, connection {connection}", machine(to))
            }
            What::Datagram { to, bytes } => format!("datagram of {bytes} bytes arrives at {}", machine(to)),
            What::Machine { machine: which, change } => {
                let which = machine(which);
                match change {
                    Change::Made => format!("machine {which} made"),
                    Change::Started => format!("machine {which} starts"),
                    Change::Exited => format!("machine {which} exits"),
                    Change::PowerLost => format!("machine {which} loses power"),
                    Change::Drift(ppm) => format!("clock of {which} drifts by {ppm} ppm"),
                    Change::WallOffset(nanos) => format!("wall clock of {which} is {nanos} ns ahead"),
                    Change::Paused => format!("machine {which} is paused"),
                    Change::Resumed => format!("machine {which} goes on"),
                    Change::Slowness(nanos) => format!("machine {which} is up to {nanos} ns late"),
                }
            }
            What::Fault { fault, step } => match step {
                FaultStep::Strikes => format!("fault {fault} strikes"),
                FaultStep::Ends => format!("fault {fault} is over"),
                FaultStep::PassesBy => format!("fault {fault} passes by"),
            },
            What::Link { from, to, change } => {
                let change = match change {
                    LinkChange::Cut => "cut",
                    LinkChange::Healed => "healed",
                    LinkChange::Impaired => "impaired",
                    LinkChange::Repaired => "repaired",
                    LinkChange::Held => "held",
                    LinkChange::Released => "released",
                    LinkChange::Reset => "reset",
                };
                match from == to {
                    true => format!("all links of {} {change}", machine(from)),
                    false => format!("link {} -> {} {change}", machine(from), machine(to)),
                }
            }
            What::Count { what, more, total } => format!("count {more} {what}, {total} in all"),
        }
    }
}

/// An event as a person reads it: nothing in it needs the rest of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in virtual time.
    pub at: Duration,
    /// The machine whose task was being polled; `None` for what the world does.
    pub machine: Option<String>,
    /// The factory the task works for.
    pub factory: Option<String>,
    /// The daemon the task works for.
    pub daemon: Option<String>,
    /// The task's name and number.
    pub task: Option<String>,
    /// What happened.
    pub what: String,
    /// The run's digest after it.
    pub digest: u64,
}

impl fmt::Display for Line {
    /// `12.000345678 gateway-1: Cache (gateway-1/lease-7): "refresh" #12: send 14 bytes: "..."`. A factory that is called
    /// as its machine is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", seconds(self.at.as_nanos() as Nanos), self.machine.as_deref().unwrap_or("-"))?;
        let factory = self.factory.as_ref().filter(|factory| Some(*factory) != self.machine.as_ref());
        match (&self.daemon, factory) {
            (Some(daemon), Some(factory)) => write!(f, "{daemon} ({factory}): ")?,
            (Some(daemon), None) => write!(f, "{daemon}: ")?,
            (None, Some(factory)) => write!(f, "({factory}): ")?,
            (None, None) => {}
        }
        if let Some(task) = &self.task {
            write!(f, "{task}: ")?;
        }
        f.write_str(&self.what)
    }
}

fn seconds(nanos: Nanos) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

impl Run {
    /// Takes an event into the digest, and into the trace where there is one.
    #[inline]
    pub(crate) fn happened(&mut self, what: What) {
        self.happened_often(|| what);
    }

    /// The same for what happens all the time. It is put together twice, once for the few words that the digest needs
    /// and once for the trace, so that nothing is written to memory for a trace that there is not.
    #[inline(always)]
    pub(crate) fn happened_often(&mut self, what: impl Fn() -> What) {
        if let Some(words) = what().words() {
            self.digest.event(words);
        }
        if self.trace.is_some() {
            self.note(what());
        }
    }

    /// Bytes were handed to the network; the digest has taken them in.
    #[inline]
    pub(crate) fn sent(&mut self, parts: &[IoSlice<'_>], bytes: usize) {
        if self.trace.is_some() {
            let mut start = [0; 16];
            let sent = parts.iter().flat_map(|part| part.iter()).take(bytes);
            start.iter_mut().zip(sent).for_each(|(to, from)| *to = *from);
            self.note(What::Send { bytes: bytes as u64, start });
        }
    }

    /// A random number was drawn below `below`, or as a whole word where that is 0.
    #[inline]
    pub(crate) fn drawn(&mut self, Decision { stream, index, value }: Decision, below: u64) {
        self.happened_often(|| What::Draw { stream, index, below, value });
    }

    #[cold]
    fn note(&mut self, what: What) {
        // Which task is next is nobody's own doing.
        let is_scheduling = matches!(what, What::Draw { stream: Stream::Schedule | Stream::Slowness, .. });
        let task = self.tasks.current_key().filter(|_| !is_scheduling).map(TaskId::of);
        let event = Event { at: self.now, task, what, digest: self.digest.value() };
        if let Some(trace) = &mut self.trace {
            trace.note(event);
        }
    }

    /// A task has been spawned.
    #[inline]
    pub(crate) fn spawned(&mut self, key: TaskKey, info: impl FnOnce() -> TaskInfo) {
        if let Some(trace) = &mut self.trace {
            trace.tasks.insert(TaskId::of(key), info());
        }
    }

    /// The trace, to be kept beyond the run.
    pub(crate) fn take_trace(&mut self) -> Option<Trace> {
        let mut trace = self.trace.take()?;
        trace.machines = self.hosts.names();
        Some(*trace)
    }
}
