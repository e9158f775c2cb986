//! Events of a trace as text, and as JSON lines.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use steelmill_core::Owner;

use super::{
    Answer, DeliveryProblem, DiskChange, Event, EventKind, FaultStep, HealthChange, LinkChange,
    MachineChange, MessageKind, TaskEnd, TaskId, Trace,
};
use crate::schema::decision::Stream;
use crate::schema::line::{Line, seconds};
use crate::schema::rare_branch::RareBranch;

impl Trace {
    /// An event as text, with names in place of numbers.
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

    /// All events as [`Line`]s, in order.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.events.iter().map(|event| self.line(event))
    }

    /// Writes one line of JSON for each event: its `number`, its `cause`, the fields of its [`Line`], and the `event`.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn write_lines(&self, mut out: impl Write) -> io::Result<()> {
        for (number, event) in self.events.iter().enumerate() {
            let line = self.line(event);
            serde_json::to_writer(
                &mut out,
                &JsonLine { number, cause: event.cause, line, event: event.what },
            )?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    fn machine(&self, number: u32) -> String {
        // A message may be sent to an address that no machine has.
        self.machines.get(number as usize).cloned().unwrap_or_else(|| format!("machine {number}"))
    }

    fn task(&self, id: TaskId) -> String {
        match self.tasks.get(&id) {
            Some(info) => format!("{:?} {id}", info.name),
            None => id.to_string(),
        }
    }

    fn operation(&self, number: u32, text: impl Fn(Option<&Answer>, &str) -> String) -> String {
        match self.operations.get(number as usize) {
            Some(operation) => {
                format!("{} {}", operation.client, text(operation.answer.as_ref(), &operation.what))
            }
            None => format!("operation {number}"),
        }
    }

    fn text(&self, what: EventKind) -> String {
        let machine = |number| self.machine(number);
        match what {
            EventKind::Draw { stream, index, below: 0, value } => {
                format!("draw {stream:?} #{index} -> {value:#x}")
            }
            EventKind::Draw { stream: Stream::Buggify(branch), value, .. } => {
                RareBranch::describe_draw(branch, value)
            }
            EventKind::Draw { stream, index, below, value } => {
                format!("draw {stream:?} #{index} below {below} -> {value}")
            }
            EventKind::Poll { place, .. } => format!("poll, run queue position {place}"),
            EventKind::Time { to } => format!("time passes, to {}", seconds(to)),
            EventKind::Wake { task } => format!("wake {}", self.task(task)),
            EventKind::Timer { task } => format!("a timer of {} fires", self.task(task)),
            EventKind::Spawn { task, machine: on } => {
                let info = self.tasks.get(&task);
                let location = info.map(|info| format!(", at {}", info.spawned_at)).unwrap_or_default();
                format!("spawn {} on {}{location}", self.task(task), machine(on))
            }
            EventKind::End { task, end } => {
                let end = match end {
                    TaskEnd::Returned => "returned",
                    TaskEnd::Panicked => "panicked",
                    TaskEnd::Aborted => "was aborted",
                };
                format!("{} {end}", self.task(task))
            }
            EventKind::Send { bytes, start } => {
                format!("send {bytes} bytes: {}", preview(bytes, &start))
            }
            EventKind::Message { message, carries, connection, from, to, bytes, start } => {
                let route = format!("message {message} sent from {} to {}", machine(from), machine(to));
                let connection =
                    connection.map(|number| format!(", connection {number}")).unwrap_or_default();
                let payload = match bytes {
                    0 => String::new(),
                    _ => format!(", {bytes} bytes: {}", preview(bytes, &start)),
                };
                format!("{route}{connection}: {}{payload}", description(carries))
            }
            EventKind::Delayed { message, by, why } => {
                format!("message {message} delayed by {} s: {}", seconds(by), reason(why))
            }
            EventKind::Arrive { message } => format!("message {message} arrives"),
            EventKind::Lost { message, why } => format!("message {message} is lost: {}", reason(why)),
            EventKind::Corrupted { from, to, offset } => {
                format!("byte {offset} from {} to {} was changed on its way", machine(from), machine(to))
            }
            EventKind::Deliver { connection, from, to, readable } => {
                let (from, to) = (machine(from), machine(to));
                format!("deliver {from} -> {to}, connection {connection}: {readable} bytes to read")
            }
            EventKind::Connect { connection, to } => {
                format!("connect to {}, connection {connection}", machine(to))
            }
            EventKind::Datagram { to, bytes } => {
                format!("datagram of {bytes} bytes arrives at {}", machine(to))
            }
            EventKind::Machine { machine: which, change } => {
                let which = machine(which);
                match change {
                    MachineChange::Made => format!("machine {which} made"),
                    MachineChange::Started => format!("machine {which} starts"),
                    MachineChange::Exited => format!("machine {which} exits"),
                    MachineChange::PowerLost => format!("machine {which} loses power"),
                    MachineChange::Drift(0) => format!("clock of {which} no longer drifts"),
                    MachineChange::Drift(ppm) => format!("clock of {which} drifts by {ppm} ppm"),
                    MachineChange::WallOffset(0) => format!("wall clock of {which} is correct"),
                    MachineChange::WallOffset(nanos) => {
                        let by = Duration::from_nanos(nanos.unsigned_abs());
                        let direction = if nanos > 0 { "ahead" } else { "behind" };
                        format!("wall clock of {which} is {by:?} {direction}")
                    }
                    MachineChange::Paused => format!("machine {which} is paused"),
                    MachineChange::Resumed => format!("machine {which} is resumed"),
                    MachineChange::Address { ip, is_first: false } => {
                        format!("machine {which} moves to {ip}")
                    }
                    MachineChange::Address { ip, is_first: true } => {
                        format!("machine {which} is at {ip} again")
                    }
                    MachineChange::Suspended => format!("machine {which} is suspended"),
                    MachineChange::Woken => format!("machine {which} wakes"),
                    MachineChange::LookupTrouble(true) => {
                        format!("name lookups of {which} take time or fail")
                    }
                    MachineChange::LookupTrouble(false) => format!("name lookups of {which} work again"),
                    MachineChange::Slowness(0) => format!("machine {which} is no longer slow"),
                    MachineChange::Slowness(nanos) => {
                        format!("machine {which} delays polls by up to {:?}", Duration::from_nanos(nanos))
                    }
                }
            }
            EventKind::Fault { fault, step } => match step {
                FaultStep::Strikes => format!("fault {fault} strikes"),
                FaultStep::Ends => format!("fault {fault} ends"),
                FaultStep::Skipped => format!("fault {fault} skipped"),
            },
            EventKind::Disk { machine: of, change } => match change {
                DiskChange::Written { file, offset, bytes } => {
                    format!("{bytes} bytes written to file {file} of {} at {offset}", machine(of))
                }
                DiskChange::Synced { file, pages } => {
                    format!("file {file} of {} synced: {pages} pages", machine(of))
                }
                DiskChange::SyncFailed { file } => format!("sync of file {file} of {} failed", machine(of)),
            },
            EventKind::Link { from, to, change } => {
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
            EventKind::State { state } => match self.states.get(state as usize) {
                Some(change) => match &change.daemon {
                    Some(daemon) => format!("{}: {daemon} is {}", change.factory, change.state),
                    None => format!("{} is {}", change.factory, change.state),
                },
                None => format!("state {state}"),
            },
            EventKind::Health { health } => match self.health.get(health as usize) {
                Some(HealthChange { factory, daemon: Some(daemon), text, .. }) => {
                    format!("{factory}: {daemon} is {text}")
                }
                Some(HealthChange { factory, daemon: None, text, .. }) => format!("{factory} is {text}"),
                None => format!("health {health}"),
            },
            EventKind::Log { log } => match self.logs.get(log as usize) {
                Some(log) => format!("log {} {}: {}", log.level, log.target, log.text),
                None => format!("log {log}"),
            },
            EventKind::Invoke { operation } => self.operation(operation, |_, what| format!("invokes {what}")),
            EventKind::Return { operation } => {
                let text = |answer: Option<&Answer>, what: &str| match answer {
                    Some(Answer::Returned(all)) => format!("gets reply {all}"),
                    Some(Answer::Failed) => format!("failed: {what}"),
                    Some(Answer::Unknown) | None => format!("outcome unknown: {what}"),
                };
                self.operation(operation, text)
            }
            EventKind::Blame { operation } => {
                let text = |answer: Option<&Answer>, what: &str| match answer {
                    Some(Answer::Returned(all)) => format!("not linearizable: {all}"),
                    _ => format!("not linearizable: {what}, outcome unknown"),
                };
                self.operation(operation, text)
            }
            EventKind::Fail => "the run fails".to_owned(),
            EventKind::Count { what, more, total } => format!("count {more} {what}, {total} in all"),
        }
    }
}

fn preview(bytes: u64, start: &[u8; 16]) -> String {
    let shown = &start[..start.len().min(bytes as usize)];
    let more = if shown.len() < bytes as usize { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}

fn description(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Bytes => "bytes",
        MessageKind::Fin => "FIN, the end of the stream",
        MessageKind::Syn => "SYN",
        MessageKind::SynAck => "SYN-ACK",
        MessageKind::Ack => "ACK of the handshake",
        MessageKind::Refused => "RST: connection refused",
        MessageKind::Reset => "RST: connection reset",
        MessageKind::Datagram => "a datagram",
        MessageKind::Unreachable => "ICMP: port unreachable",
    }
}

pub(crate) fn reason(why: DeliveryProblem) -> &'static str {
    match why {
        DeliveryProblem::Cut => "the link was cut",
        DeliveryProblem::Held => "the link was held",
        DeliveryProblem::Loss => "the link loses messages",
        DeliveryProblem::Tail => "a latency outlier of the link",
        DeliveryProblem::Narrow => "the link's bandwidth is limited",
        DeliveryProblem::Overtaken => "reordered by the link",
        DeliveryProblem::PowerOff => "the machine had no power",
        DeliveryProblem::Suspended => "the machine was suspended",
        DeliveryProblem::Reset => "the connection was reset",
        DeliveryProblem::NoReceiver => "no such machine or socket",
        DeliveryProblem::Full => "the receive buffer was full",
    }
}

#[derive(Serialize)]
struct JsonLine {
    number: usize,
    cause: Option<u32>,
    #[serde(flatten)]
    line: Line,
    event: EventKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_and_slowness_changes_as_text() {
        let trace = Trace { machines: vec!["scenario".into(), "a".into()], ..Trace::default() };
        let text = |change| trace.text(EventKind::Machine { machine: 1, change });
        assert_eq!(text(MachineChange::WallOffset(250_000_000)), "wall clock of a is 250ms ahead");
        assert_eq!(text(MachineChange::WallOffset(-1_500_000_000)), "wall clock of a is 1.5s behind");
        assert_eq!(text(MachineChange::WallOffset(0)), "wall clock of a is correct");
        assert_eq!(text(MachineChange::Drift(-20)), "clock of a drifts by -20 ppm");
        assert_eq!(text(MachineChange::Drift(0)), "clock of a no longer drifts");
        assert_eq!(text(MachineChange::Slowness(5_000_000)), "machine a delays polls by up to 5ms");
        assert_eq!(text(MachineChange::Slowness(0)), "machine a is no longer slow");
    }
}
