//! Data of the page, as columns: one array for each field of all events, all messages, and so on. In this format
//! 100,000 events take a few megabytes; each text is stored once.
//!
//! An event's number is its index in the columns of events; -1 is none.

mod twin; // a green run beside the red one

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;
use steelmill_core::Owner;

use super::bands::{self, Band};
use super::nanos;
use crate::explain::shrink;
use crate::schema::event::{DeliveryProblem, Event, EventKind, FaultStep, MachineChange, MessageKind};
use crate::schema::task::TaskId;
use crate::schema::trace::{Answer, Trace};
use crate::trace::conditions::{ConditionOf, Conditions};
use crate::trace::reason;
use twin::Twin;

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Columns {
    pub(super) title: String,
    pub(super) end: u64,
    pub(super) failure: Option<Failure>,
    pub(super) replay: Option<String>,
    pub(super) failure_rates: Vec<FailureRate>,
    /// Events omitted at the beginning and at the end; then events that the trace does not contain.
    left_off: [usize; 2],
    missing: u64,
    faults: Vec<Fault>,
    /// The machines' names; then one for unknown addresses, if a message was sent to one.
    lanes: Vec<String>,
    words: Vec<String>,
    kinds: &'static [&'static str],
    fates: &'static [&'static str],
    events: Events,
    tasks: Tasks,
    messages: Messages,
    /// Names of TCP connections: the number in the trace, and, if it was reused, how often: `12`, `12.1`.
    connections: Vec<String>,
    logs: Logs,
    operations: Operations,
    states: States,
    bands: Vec<Band>,
    twin: Option<Twin>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Failure {
    at: u64,
    text: String,
    event: i64,
    /// The machine on which it failed; -1 if it concerns none, or all.
    lane: i64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct FailureRate {
    until: u64,
    runs: u32,
    failed: u32,
}

impl FailureRate {
    pub(super) fn of(rate: &shrink::FailureRate) -> Self {
        Self { until: nanos(rate.until), runs: rate.runs, failed: rate.failed }
    }
}

#[derive(Debug, Clone, Serialize)]
struct Fault {
    text: String,
    event: i64,
}

/// A text's index in [`Columns::words`].
type Word = i64;

#[derive(Debug, Clone, Default, Serialize)]
struct Events {
    /// Nanoseconds since the previous event.
    at: Vec<u64>,
    kind: Vec<u8>,
    lane: Vec<i64>,
    task: Vec<i64>,
    /// How many events before this one its nearest shown cause is; 0 for none.
    cause: Vec<usize>,
    /// Its details: an index into the columns of its kind, or a word.
    of: Vec<i64>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Tasks {
    name: Vec<Word>,
    lane: Vec<u32>,
    factory: Vec<Word>,
    daemon: Vec<Word>,
    place: Vec<Word>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Messages {
    sent: Vec<usize>,
    /// The event of its arrival or loss.
    arrived: Vec<i64>,
    from: Vec<u32>,
    to: Vec<u32>,
    connection: Vec<i64>,
    bytes: Vec<u64>,
    fate: Vec<u8>,
    what: Vec<Word>,
    why: Vec<Word>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Logs {
    level: Vec<Word>,
    target: Vec<Word>,
    text: Vec<Word>,
    place: Vec<Word>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Operations {
    client: Vec<Word>,
    key: Vec<Word>,
    what: Vec<Word>,
    /// The operation with its reply.
    told: Vec<Word>,
    invoke: Vec<usize>,
    #[serde(rename = "return")]
    returned: Vec<i64>,
    open: Vec<u8>,
    blamed: Vec<u8>,
    lane: Vec<u32>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct States {
    lane: Vec<u32>,
    factory: Vec<Word>,
    daemon: Vec<Word>,
    state: Vec<Word>,
    /// The event at which it begins; -1 for the beginning.
    event: Vec<i64>,
    until: Vec<i64>,
}

/// The kinds of events that the page distinguishes, in the order of [`KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Arrival,
    Lost,
    Log,
    State,
    Invoke,
    Return,
    Fault,
    Machine,
    Link,
    Spawn,
    End,
    Timer,
    Count,
    Failure,
}

const KINDS: &[&str] = &[
    "message", "arrival", "lost", "log", "state", "invoke", "return", "fault", "machine", "link", "spawn",
    "end", "timer", "count", "failure",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    Late,
    Lost,
    Reset,
    InFlight,
}

const FATES: &[&str] = &["delivered", "late", "lost", "reset", "under_way"];

/// Whether an event is shown, as opposed to polls, draws and time steps.
pub(crate) fn shows(what: &EventKind) -> bool {
    Kind::of(what).is_some()
}

impl Kind {
    /// The kind of an event; `None` if it is not shown.
    fn of(what: &EventKind) -> Option<Self> {
        Some(match what {
            EventKind::Message { .. } => Kind::Message,
            EventKind::Arrive { .. } => Kind::Arrival,
            EventKind::Lost { .. } => Kind::Lost,
            EventKind::Log { .. } => Kind::Log,
            EventKind::State { .. } | EventKind::Health { .. } => Kind::State,
            EventKind::Invoke { .. } => Kind::Invoke,
            EventKind::Return { .. } => Kind::Return,
            EventKind::Fault { .. } => Kind::Fault,
            EventKind::Machine { change: MachineChange::Made, .. } => return None,
            EventKind::Machine { change, .. } if is_harmful(*change) => Kind::Fault,
            EventKind::Machine { .. } => Kind::Machine,
            EventKind::Link { .. } | EventKind::Corrupted { .. } => Kind::Link,
            EventKind::Spawn { .. } => Kind::Spawn,
            EventKind::End { .. } => Kind::End,
            EventKind::Timer { .. } => Kind::Timer,
            EventKind::Count { .. } => Kind::Count,
            EventKind::Fail => Kind::Failure,
            // Polls, draws and time steps are too many; sends and deliveries repeat messages, blame repeats operations.
            _ => return None,
        })
    }
}

impl Columns {
    /// The columns of a trace, with at most `most` events around its key event, and the failure.
    pub(super) fn of(trace: &Trace, most: usize) -> Self {
        let is_shown = |event: &Event| shows(&event.what);
        let shown: Vec<usize> =
            (0..trace.events.len()).filter(|number| is_shown(&trace.events[*number])).collect();
        let before = shown.partition_point(|number| *number < trace.key_event_kept());
        let first = before.saturating_sub(most / 2).min(shown.len().saturating_sub(most));
        let end = shown.len().min(first + most);
        // The part's bounds are shown events, so that a hidden event that changes a state is on one side of them.
        let event_at = |nth: usize| shown.get(nth).copied().unwrap_or(trace.events.len());
        let part = event_at(first)..event_at(end);
        let mut builder = Builder::new(trace, part.clone());
        for (number, event) in trace.events.iter().enumerate().take(part.end) {
            builder.add(event, number >= part.start && is_shown(event));
        }
        let mut late = shown.len() - end;
        if let Some(failure @ Event { what: EventKind::Fail, .. }) = trace.events[part.end..].last() {
            builder.add(failure, true);
            late -= 1;
        }
        builder.columns.left_off = [shown.len() - builder.columns.events.kind.len() - late, late];
        builder.finish();
        builder.columns
    }

    /// The failure, with its event if that is shown, and the machine on which it failed.
    pub(super) fn failed(&self, at: u64, text: String, machine: Option<&str>) -> Failure {
        let event = self.events.kind.iter().rposition(|kind| *kind == Kind::Failure as u8);
        let lane = self.lanes.iter().position(|lane| Some(lane.as_str()) == machine);
        Failure { at, text, event: event.map_or(NONE, index), lane: lane.map_or(NONE, index) }
    }
}

const NONE: i64 = -1;

fn index(index: usize) -> i64 {
    index as i64
}

struct Builder<'a> {
    trace: &'a Trace,
    part: Range<usize>,
    /// The lane of its first machine.
    first_lane: u32,
    /// The lane for unknown addresses, if one was needed.
    nobody: Option<u32>,
    /// For each event of the trace its number in the columns, if it is shown.
    numbers: Vec<Option<usize>>,
    /// The same, or the number of its nearest shown cause.
    nearest: Vec<Option<usize>>,
    at: u64,
    words: BTreeMap<String, Word>,
    tasks: BTreeMap<TaskId, i64>,
    messages: BTreeMap<u32, usize>,
    /// How often each connection number was reused.
    reuses: BTreeMap<u32, u32>,
    /// The connections of shown messages, by number and reuse.
    connections: BTreeMap<(u32, u32), i64>,
    operations: BTreeMap<u32, usize>,
    /// The current state of each factory and daemon: an index into the states.
    current: BTreeMap<ConditionOf<'a>, usize>,
    conditions: Conditions<'a>,
    columns: Columns,
}

impl<'a> Builder<'a> {
    fn new(trace: &'a Trace, part: Range<usize>) -> Self {
        let columns = Columns {
            missing: trace.skipped + trace.dropped,
            lanes: trace.machines.clone(),
            kinds: KINDS,
            fates: FATES,
            end: trace.events.last().map_or(0, |event| event.at),
            ..Columns::default()
        };
        Self {
            trace,
            part,
            first_lane: 0,
            nobody: None,
            numbers: Vec::with_capacity(trace.events.len()),
            nearest: Vec::with_capacity(trace.events.len()),
            at: 0,
            words: BTreeMap::new(),
            tasks: BTreeMap::new(),
            messages: BTreeMap::new(),
            reuses: BTreeMap::new(),
            connections: BTreeMap::new(),
            operations: BTreeMap::new(),
            current: BTreeMap::new(),
            conditions: Conditions::new(trace),
            columns,
        }
    }

    /// Adds the next event of the trace, shown or not.
    fn add(&mut self, event: &'a Event, is_shown: bool) {
        self.number_connection(event.what);
        let nearest = match event.what {
            // The shown cause of an arrival is the send, not the change of a link that released it.
            EventKind::Arrive { message } | EventKind::Lost { message, .. } => {
                self.messages.get(&message).map(|shown| self.columns.messages.sent[*shown])
            }
            _ => event.cause.and_then(|cause| self.nearest.get(cause as usize).copied().flatten()),
        };
        let of = self.of(event, is_shown);
        let shown = of.filter(|_| is_shown).map(|of| self.show(event, of, nearest));
        self.numbers.push(shown);
        self.nearest.push(shown.or(nearest));
    }

    fn show(&mut self, event: &Event, of: i64, cause: Option<usize>) -> usize {
        let number = self.columns.events.kind.len();
        let kind = Kind::of(&event.what).expect("what is shown has a kind");
        let (lane, task) = self.lane(event);
        let task = task.map_or(NONE, |task| self.task(task));
        let events = &mut self.columns.events;
        events.at.push(event.at - self.at);
        events.kind.push(kind as u8);
        events.lane.push(i64::from(lane));
        events.task.push(task);
        events.cause.push(cause.map_or(0, |cause| number - cause));
        events.of.push(of);
        self.at = event.at;
        number
    }

    /// The lane of an event, and its task if that belongs to the same machine.
    fn lane(&self, event: &Event) -> (u32, Option<TaskId>) {
        let machine_of = |task: TaskId| self.trace.tasks.get(&task).map(|info| info.machine);
        let task = match event.what {
            EventKind::Spawn { task, .. } | EventKind::End { task, .. } | EventKind::Timer { task } => {
                Some(task)
            }
            _ => event.task,
        };
        let task_machine = task.and_then(machine_of);
        let ours = |machine: u32| self.first_lane + machine;
        let lane = match event.what {
            EventKind::Message { from, .. } => ours(from),
            EventKind::Arrive { message } | EventKind::Lost { message, .. } => {
                let shown = self.messages.get(&message);
                shown.map_or(ours(0), |shown| self.columns.messages.to[*shown])
            }
            EventKind::State { state } => ours(self.trace.states[state as usize].machine),
            EventKind::Health { health } => ours(self.trace.health[health as usize].machine),
            EventKind::Machine { machine, .. } => ours(machine),
            EventKind::Link { from, .. } | EventKind::Corrupted { from, .. } => ours(from),
            EventKind::Fault { fault, .. } => {
                ours(bands::struck(self.trace, fault as usize).first().copied().unwrap_or(0))
            }
            // Other events outside of tasks are on the scenario's lane.
            _ => ours(task_machine.unwrap_or(0)),
        };
        (lane, task.filter(|_| task_machine.map(ours) == Some(lane)))
    }

    /// The details of an event; `None` if not shown. Hidden events still count if they change a state or a message.
    fn of(&mut self, event: &'a Event, is_shown: bool) -> Option<i64> {
        let number = self.columns.events.kind.len();
        if !is_shown
            && !matches!(
                event.what,
                EventKind::State { .. }
                    | EventKind::Health { .. }
                    | EventKind::Machine { .. }
                    | EventKind::Delayed { .. }
            )
        {
            return None;
        }
        Some(match event.what {
            EventKind::Message { message, .. } => self.message(message, &event.what),
            EventKind::Delayed { message, why, .. } => {
                let shown = *self.messages.get(&message)?;
                let why = self.word(reason(why));
                self.columns.messages.fate[shown] = Fate::Late as u8;
                self.columns.messages.why[shown] = why;
                return None;
            }
            EventKind::Arrive { message } => {
                let shown = *self.messages.get(&message)?;
                let messages = &mut self.columns.messages;
                messages.arrived[shown] = index(number);
                if messages.fate[shown] == Fate::InFlight as u8 {
                    messages.fate[shown] = Fate::Delivered as u8;
                }
                index(shown)
            }
            EventKind::Lost { message, why } => {
                let shown = *self.messages.get(&message)?;
                let fate = if why == DeliveryProblem::Reset { Fate::Reset } else { Fate::Lost };
                let why = self.word(reason(why));
                let messages = &mut self.columns.messages;
                (messages.arrived[shown], messages.fate[shown]) = (index(number), fate as u8);
                messages.why[shown] = why;
                index(shown)
            }
            EventKind::Log { log } => self.log(log),
            EventKind::State { .. } | EventKind::Health { .. } => {
                let (of, condition) = self.conditions.begins(&event.what)?;
                self.condition(of, &condition, is_shown.then_some(number))
            }
            EventKind::Invoke { operation } => {
                let (lane, _) = self.lane(event);
                self.operation(operation, lane)
            }
            EventKind::Return { operation } => {
                let shown = *self.operations.get(&operation)?;
                self.columns.operations.returned[shown] = index(number);
                index(shown)
            }
            EventKind::Machine { machine, change } => {
                if matches!(change, MachineChange::Exited | MachineChange::PowerLost) {
                    self.conditions.begins(&event.what);
                    self.end_states(machine, is_shown.then_some(number));
                }
                let text = self.trace.line(event).what;
                self.word(&text)
            }
            EventKind::Fault { fault, step } => {
                let what = match self.trace.faults.get(fault as usize) {
                    Some(fault) => fault.what.to_string(),
                    None => format!("fault {fault}"),
                };
                self.word(&match step {
                    FaultStep::Strikes => what,
                    FaultStep::Ends => format!("ends: {what}"),
                    FaultStep::Skipped => format!("skipped: {what}"),
                })
            }
            _ => {
                let text = self.trace.line(event).what;
                self.word(&text)
            }
        })
    }

    /// Counts reuses of connection numbers: a connect with a known number is a reuse.
    fn number_connection(&mut self, what: EventKind) {
        match what {
            EventKind::Connect { connection, .. } => {
                self.reuses.entry(connection).and_modify(|reuses| *reuses += 1).or_default();
            }
            EventKind::Message { connection: Some(connection), .. }
            | EventKind::Deliver { connection, .. } => {
                self.reuses.entry(connection).or_default();
            }
            _ => {}
        }
    }

    fn connection(&mut self, number: u32) -> i64 {
        let reuses = self.reuses.get(&number).copied().unwrap_or_default();
        let names = &mut self.columns.connections;
        *self.connections.entry((number, reuses)).or_insert_with(|| {
            names.push(if reuses == 0 { number.to_string() } else { format!("{number}.{reuses}") });
            index(names.len() - 1)
        })
    }

    /// The lane of a machine; unknown addresses share one, `nobody`.
    fn lane_of(&mut self, machine: u32) -> u32 {
        if (machine as usize) < self.trace.machines.len() {
            return self.first_lane + machine;
        }
        let lanes = &mut self.columns.lanes;
        *self.nobody.get_or_insert_with(|| {
            lanes.push("nobody".to_owned());
            lanes.len() as u32 - 1
        })
    }

    fn message(&mut self, message: u32, what: &EventKind) -> i64 {
        let EventKind::Message { carries, connection, from, to, bytes, start, .. } = *what else {
            return NONE;
        };
        let connection = connection.map_or(NONE, |connection| self.connection(connection));
        let to = self.lane_of(to);
        let what = self.word(&label(carries, bytes, &start));
        let number = self.columns.events.kind.len();
        let messages = &mut self.columns.messages;
        let shown = messages.sent.len();
        messages.sent.push(number);
        messages.arrived.push(NONE);
        messages.from.push(self.first_lane + from);
        messages.to.push(to);
        messages.connection.push(connection);
        messages.bytes.push(bytes);
        messages.fate.push(Fate::InFlight as u8);
        messages.what.push(what);
        messages.why.push(NONE);
        self.messages.insert(message, shown);
        index(shown)
    }

    fn log(&mut self, log: u32) -> i64 {
        let log = &self.trace.logs[log as usize];
        let location = log.place.map_or(NONE, |(file, line)| self.word(&format!("{file}:{line}")));
        let (level, target, text) =
            (self.word(log.level.as_str()), self.word(log.target), self.word(&log.text));
        let logs = &mut self.columns.logs;
        logs.level.push(level);
        logs.target.push(target);
        logs.text.push(text);
        logs.place.push(location);
        index(logs.text.len() - 1)
    }

    /// Begins a condition of a factory or daemon at `event`, or at the beginning.
    fn condition(&mut self, of: ConditionOf<'a>, condition: &str, event: Option<usize>) -> i64 {
        let (machine, factory, daemon) = of;
        let name = self.word(condition);
        let (factory, daemon) = (self.word(factory), self.word_or_none(daemon));
        let states = &mut self.columns.states;
        let shown = states.event.len();
        if let Some(before) = self.current.insert(of, shown) {
            states.until[before] = event.map_or(NONE, index);
            if event.is_none() {
                // Before the beginning only the last state counts.
                states.state[before] = name;
                self.current.insert(of, before);
                return index(before);
            }
        }
        states.lane.push(self.first_lane + machine);
        states.factory.push(factory);
        states.daemon.push(daemon);
        states.state.push(name);
        states.event.push(event.map_or(NONE, index));
        states.until.push(NONE);
        index(shown)
    }

    fn end_states(&mut self, machine: u32, event: Option<usize>) {
        let ended = self.word("ended");
        let states = &mut self.columns.states;
        self.current.retain(|(lane, ..), state| {
            if *lane == machine {
                match event {
                    Some(event) => states.until[*state] = index(event),
                    None => states.state[*state] = ended,
                }
            }
            *lane != machine
        });
    }

    fn operation(&mut self, operation: u32, lane: u32) -> i64 {
        let known = &self.trace.operations[operation as usize];
        let with_reply = match &known.answer {
            Some(Answer::Returned(all)) => all.clone(),
            Some(Answer::Failed) => format!("{} refused", known.what),
            Some(Answer::Unknown) | None => format!("{} -> ?", known.what),
        };
        let (client, key) = (self.word(&known.client), self.word(&known.key));
        let (what, with_reply) = (self.word(&known.what), self.word(&with_reply));
        let number = self.columns.events.kind.len();
        let operations = &mut self.columns.operations;
        let shown = operations.invoke.len();
        operations.client.push(client);
        operations.key.push(key);
        operations.what.push(what);
        operations.told.push(with_reply);
        operations.invoke.push(number);
        operations.returned.push(NONE);
        operations.open.push(u8::from(matches!(known.answer, None | Some(Answer::Unknown))));
        operations.blamed.push(u8::from(known.is_blamed));
        operations.lane.push(lane);
        self.operations.insert(operation, shown);
        index(shown)
    }

    fn task(&mut self, id: TaskId) -> i64 {
        if let Some(known) = self.tasks.get(&id) {
            return *known;
        }
        let Some(info) = self.trace.tasks.get(&id) else { return NONE };
        let owner = info.owner.as_deref();
        let name = self.word(&format!("{:?} {id}", info.name));
        let factory = self.word_or_none(owner.map(Owner::factory));
        let daemon = self.word_or_none(owner.and_then(Owner::daemon));
        let spawned_at = self.word(&info.spawned_at.to_string());
        let tasks = &mut self.columns.tasks;
        tasks.name.push(name);
        tasks.lane.push(self.first_lane + info.machine);
        tasks.factory.push(factory);
        tasks.daemon.push(daemon);
        tasks.place.push(spawned_at);
        let number = index(tasks.name.len() - 1);
        self.tasks.insert(id, number);
        number
    }

    fn word(&mut self, text: &str) -> Word {
        if let Some(known) = self.words.get(text) {
            return *known;
        }
        let number = index(self.columns.words.len());
        self.columns.words.push(text.to_owned());
        self.words.insert(text.to_owned(), number);
        number
    }

    fn word_or_none(&mut self, text: Option<&str>) -> Word {
        text.map_or(NONE, |text| self.word(text))
    }

    fn finish(&mut self) {
        let at = |event: usize| self.numbers.get(event).copied().flatten().map_or(NONE, index);
        let bands = bands::of(self.trace, self.part.clone(), at);
        self.columns.bands.extend(bands.into_iter().map(|band| band.moved(self.first_lane)));
        let strikes = |fault: usize| {
            let is_it = |event: &Event| matches!(event.what, EventKind::Fault { fault: it, step: FaultStep::Strikes } if it as usize == fault);
            self.trace.events.iter().position(is_it).map_or(NONE, at)
        };
        let faults = self.trace.faults.iter().enumerate();
        self.columns.faults =
            faults.map(|(n, fault)| Fault { text: fault.to_string(), event: strikes(n) }).collect();
    }
}

/// Printable text of a payload, with a blank for a line end, and a dot for other bytes.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\r' => {}
            b'\n' => text.push(' '),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ if text.ends_with('·') => {}
            _ => text.push('·'),
        }
    }
    text.trim_end().to_owned()
}

/// Whether a change is a fault, as opposed to a recovery.
fn is_harmful(change: MachineChange) -> bool {
    match change {
        MachineChange::Exited
        | MachineChange::PowerLost
        | MachineChange::Paused
        | MachineChange::Suspended => true,
        MachineChange::Drift(by) | MachineChange::WallOffset(by) => by != 0,
        MachineChange::Slowness(by) => by != 0,
        MachineChange::LookupTrouble(begins) => begins,
        MachineChange::Address { is_first, .. } => !is_first,
        _ => false,
    }
}

fn label(carries: MessageKind, bytes: u64, start: &[u8; 16]) -> String {
    let what = match carries {
        MessageKind::Bytes | MessageKind::Datagram => "",
        MessageKind::Fin => "end",
        MessageKind::Syn => "connect",
        MessageKind::SynAck => "accepted",
        MessageKind::Ack => "connected",
        MessageKind::Refused => "refused",
        MessageKind::Reset => "reset",
        MessageKind::Unreachable => "unreachable",
    };
    let shown = &start[..start.len().min(bytes as usize)];
    let letters = shown.iter().filter(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()).count();
    // For a binary payload the page shows the length, which says more.
    if 2 * letters <= shown.len() {
        return what.to_owned();
    }
    let more = if shown.len() < bytes as usize { "…" } else { "" };
    let text = format!("{}{more}", printable(shown));
    match what {
        "" => text,
        what => format!("{what}, {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::simulate::simulate;
    use crate::trace::history::{History, Kv, KvOp, KvReply};
    use crate::{Seed, Settings, Sim};

    pub(super) fn trace<F: Future<Output = steelmill_core::Result> + 'static>(
        scenario: impl Fn(Sim) -> F,
    ) -> Trace {
        let settings = Settings { trace: true, ..Settings::new(Seed(1)) };
        simulate(settings, &scenario).trace.expect("it was asked for")
    }

    pub(super) fn all(trace: &Trace) -> Columns {
        Columns::of(trace, usize::MAX)
    }

    impl Columns {
        pub(super) fn is(&self, event: usize, kind: Kind) -> bool {
            self.events.kind[event] == kind as u8
        }

        pub(super) fn cause(&self, event: usize) -> usize {
            event - self.events.cause[event]
        }

        pub(super) fn word(&self, word: Word) -> &str {
            &self.words[word as usize]
        }
    }

    /// Datagrams from a to b: delivered, lost on a cut link, held, and in flight at the end.
    async fn datagrams(sim: Sim) -> steelmill_core::Result {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let socket = a.network().bind_udp("0.0.0.0:0").await?;
        socket.send_to(b"plain", "b:9").await?;
        let size = inbox.recv(&mut [0; 9]).await?;
        tracing::info!("got {size}");
        let cut = sim.partition(&a, &b);
        socket.send_to(b"in vain", "b:9").await?;
        cut.heal();
        let hold = sim.hold(&a, &b);
        socket.send_to(b"held", "b:9").await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        hold.release();
        inbox.recv(&mut [0; 9]).await?;
        socket.send_to(b"last", "b:9").await?;
        Ok(())
    }

    #[test]
    fn a_message_goes_from_lane_to_lane_or_is_lost() {
        let columns = all(&trace(datagrams));
        let Messages { sent, arrived, from, to, fate, what, why, .. } = &columns.messages;
        assert_eq!(fate, &[Fate::Delivered, Fate::Lost, Fate::Late, Fate::InFlight].map(|fate| fate as u8));
        assert!(from.iter().all(|lane| *lane == 1) && to.iter().all(|lane| *lane == 2));
        let whats: Vec<_> = what.iter().map(|what| columns.word(*what)).collect();
        assert_eq!(whats, ["plain", "in vain", "held", "last"]);
        assert_eq!(columns.word(why[1]), "the link was cut");
        assert_eq!(columns.word(why[2]), "the link was held");
        assert_eq!(arrived[3], NONE);
        for (sent, arrived) in sent.iter().zip(arrived).take(3) {
            let arrived = *arrived as usize;
            assert!(columns.is(*sent, Kind::Message) && columns.events.lane[*sent] == 1);
            assert_eq!(columns.cause(arrived), *sent, "an arrival is caused by the send");
            assert_eq!(columns.events.lane[arrived], 2);
        }
        assert!(columns.is(arrived[0] as usize, Kind::Arrival));
        assert!(columns.is(arrived[1] as usize, Kind::Lost));
    }

    #[test]
    fn a_log_line_is_caused_by_the_arrival_that_woke_its_task() {
        let columns = all(&trace(datagrams));
        let log = columns.events.kind.iter().position(|kind| *kind == Kind::Log as u8).expect("there is one");
        assert_eq!(columns.word(columns.logs.text[columns.events.of[log] as usize]), "got 5");
        assert_eq!(columns.cause(log) as i64, columns.messages.arrived[0]);
    }

    #[test]
    fn the_last_events_are_kept_and_what_ends_something_older_is_not() {
        let trace = trace(datagrams);
        let whole = all(&trace);
        let count = whole.events.kind.len();
        for most in 0..=count {
            let columns = Columns::of(&trace, most);
            let kept = columns.events.kind.len();
            assert_eq!(columns.left_off.iter().sum::<usize>() + kept, count);
            assert!(kept <= most && most - kept <= 3, "{kept} of {most}");
            assert!(columns.messages.sent.iter().all(|sent| columns.is(*sent, Kind::Message)));
            let times: u64 = columns.events.at.iter().sum();
            assert!(most == 0 || times == whole.events.at.iter().sum::<u64>(), "times are true");
        }
    }

    #[test]
    fn a_reused_connection_number_is_distinguished() {
        let trace = trace(|sim: Sim| async move {
            let (server, a, b) = (sim.client("server"), sim.client("a"), sim.client("b"));
            let listener = server.network().bind("0.0.0.0:7").await?;
            for client in [&a, &b, &a] {
                let stream = client.network().connect("server:7").await?;
                // The number is in use until both ends are dropped.
                drop((stream, listener.accept().await?));
                sim.clock().sleep(Duration::from_secs(300)).await;
            }
            Ok(())
        });
        let columns = all(&trace);
        assert_eq!(columns.connections, ["0", "0.1", "0.2"]);
        let Messages { from, to, connection, .. } = &columns.messages;
        for ((from, to), connection) in from.iter().zip(to).zip(connection) {
            let client = if *connection == 1 { 3 } else { 2 };
            assert!([(1, client), (client, 1)].contains(&(*from, *to)), "{connection}: {from} -> {to}");
        }
        let part = Columns::of(&trace, 12);
        assert_eq!(part.connections, ["0.2"]);
        assert!(part.messages.connection.len() > 2 && part.messages.connection.iter().all(|it| *it == 0));
    }

    #[test]
    fn messages_to_unknown_addresses_have_a_lane_of_their_own() {
        let columns = all(&trace(|sim: Sim| async move {
            let a = sim.client("a");
            let socket = a.network().bind_udp("0.0.0.0:0").await?;
            socket.send_to(b"to nobody", "10.9.9.9:9").await?;
            let own = a.network().bind_udp("[::1]:0").await?;
            own.send_to(b"nowhere", "[fd00::7]:9").await?;
            a.network().connect("10.9.9.9:1").await.expect_err("nobody is there");
            Ok(())
        }));
        assert_eq!(columns.lanes, ["scenario", "a", "nobody"]);
        let Messages { sent, arrived, to, fate, .. } = &columns.messages;
        assert_eq!(to, &[2, 2, 2]);
        assert_eq!(fate, &[Fate::Lost as u8; 3]);
        for (sent, arrived) in sent.iter().zip(arrived) {
            assert_eq!((columns.events.lane[*sent], columns.events.lane[*arrived as usize]), (1, 2));
        }
        assert_eq!(
            all(&trace(datagrams)).lanes,
            ["scenario", "a", "b"],
            "nobody is there only where it is needed"
        );
    }

    #[test]
    fn operations_that_cannot_be_ordered_are_marked() {
        let ms = Duration::from_millis;
        let columns = all(&trace(|_: Sim| async move {
            let history = History::<Kv>::default();
            let write = history.invoke(ms(1), "c1", "a", KvOp::Set("1".into()));
            write.returned(ms(2), KvReply::Ok);
            history.invoke(ms(2), "c3", "b", KvOp::Get).unknown();
            let stale = history.invoke(ms(3), "c2", "a", KvOp::Get);
            stale.returned(ms(4), KvReply::Value(None));
            history.check().into_result().map_err(|_| anyhow::anyhow!("not linearizable"))
        }));
        let operations = &columns.operations;
        assert_eq!((&operations.blamed[..], &operations.open[..]), (&[1, 0, 1][..], &[0, 1, 0][..]));
        let told: Vec<_> = operations.told.iter().map(|told| columns.word(*told)).collect();
        assert_eq!(told[1], "GET b -> ?");
        assert!(told[0].starts_with("SET a") && told[2].starts_with("GET a -> "), "{told:?}");
        let last = columns.events.kind.len() - 1;
        assert!(columns.is(last, Kind::Failure));
        assert_eq!(columns.failed(7, "x".into(), Some("c1")).event, last as i64);
    }

    #[test]
    fn of_a_long_run_the_contradiction_is_shown() {
        let trace = trace(|sim: Sim| async move {
            let (a, b) = (sim.client("a"), sim.client("b"));
            sim.partition(&a, &b).heal();
            let cut = sim.partition(&a, &b);
            (0..100).for_each(|n| tracing::info!(n, "before"));
            let (history, now) = (History::<Kv>::default(), Duration::ZERO);
            history.invoke(now, "c1", "a", KvOp::Set("1".into())).returned(now, KvReply::Ok);
            history.invoke(now, "c2", "a", KvOp::Get).returned(now, KvReply::Value(None));
            (0..100).for_each(|n| tracing::info!(n, "after"));
            cut.heal();
            sim.hold(&a, &b).release();
            history.check().into_result().map_err(|_| anyhow::anyhow!("not linearizable"))
        });
        let count = all(&trace).events.kind.len();
        let columns = Columns::of(&trace, 20);
        assert_eq!(columns.operations.blamed, [1, 1]);
        let [early, late] = columns.left_off;
        assert_eq!((early + late + 21, columns.events.kind.len()), (count, 21));
        assert!(early > 90 && late > 90, "{early} {late}");
        assert!(columns.is(20, Kind::Failure));
        // Only the cut that spans the shown part, not the one before, nor the hold after.
        assert_eq!(columns.bands.len(), 1);
        assert_eq!(all(&trace).bands.len(), 3);
    }

    #[test]
    fn states_last_until_the_next_one_or_until_the_machine_ends() {
        let columns = all(&trace(|sim: Sim| async move {
            let machine = sim.machine("a", |_| Ok(())).start().await?;
            sim.clock().sleep(Duration::from_secs(1)).await;
            machine.power_loss();
            sim.clock().sleep(Duration::from_secs(1)).await;
            Ok(())
        }));
        let States { state, until, event, .. } = &columns.states;
        let running = state.iter().position(|state| columns.word(*state) == "running").expect("it ran");
        assert!(until[running] > event[running]);
        assert!(columns.is(until[running] as usize, Kind::Fault));
        for n in 0..running {
            assert_eq!(until[n], event[n + 1]);
        }
    }

    #[test]
    fn health_divides_the_state_of_what_runs() {
        let trace = trace(|sim: Sim| async move {
            let mut factory = steelmill_core::Factory::root("app", sim.world());
            factory.drain(Duration::from_secs(1));
            let app = factory.start().await?;
            let _health = app.health();
            sim.clock().sleep(Duration::from_secs(1)).await;
            app.stop().await;
            Ok(())
        });
        let states = |columns: &Columns| -> Vec<_> {
            columns.states.state.iter().map(|state| columns.word(*state).to_owned()).collect()
        };
        let (columns, expected) = (all(&trace), ["running", "running, ready", "draining"]);
        let shown = states(&columns);
        let running = shown.iter().position(|state| state == "running").expect("it ran");
        assert_eq!(shown[running..running + 3], expected, "{shown:?}");
        let States { until, event, .. } = &columns.states;
        assert_eq!(until[running + 1], event[running + 2]);
        // Of what begins before the shown part, only the last condition is shown.
        let few = Columns::of(&trace, 2);
        assert!(!states(&few).contains(&"running".to_owned()), "{:?}", states(&few));
    }

    #[test]
    fn a_label_shows_the_printable_part_of_a_payload() {
        let text = |bytes: &[u8], of: u64| {
            let mut start = [0; 16];
            start[..bytes.len()].copy_from_slice(bytes);
            label(MessageKind::Bytes, of, &start)
        };
        assert_eq!(text(b"*2\r\n$3\r\nGET\r\n", 13), "*2 $3 GET");
        assert_eq!(text(b"GET kv\0\x01", 8), "GET kv·");
        assert_eq!(text(b"\0\0\0)\0\0kv\x80", 400), "", "mostly no text");
        assert_eq!(label(MessageKind::Fin, 0, &[0; 16]), "end");
    }

    #[test]
    fn names_match_the_discriminants() {
        assert_eq!(KINDS[Kind::Failure as usize], "failure");
        assert_eq!(KINDS[Kind::Fault as usize], "fault");
        assert_eq!(KINDS.len(), Kind::Failure as usize + 1);
        assert_eq!(FATES[Fate::InFlight as usize], "under_way");
        assert_eq!(FATES.len(), Fate::InFlight as usize + 1);
    }
}
