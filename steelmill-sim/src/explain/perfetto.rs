//! Trace export for Perfetto, <https://ui.perfetto.dev>, in virtual time: Chrome's "Trace Event Format" (JSON).
//!
//! Each machine is a process. Its threads are its up and down times, its network, the lifecycle states of its factories
//! and daemons, and its tasks. Only waiting takes virtual time, so a task's thread shows its waits, each named after
//! the event that ended it. A message is a flow arrow between the network threads of sender and receiver. Faults and
//! client operations are processes of their own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::kernel::timers::Nanos;
use crate::schema::event::{Event, EventKind, FaultStep, MachineChange};
use crate::schema::task::TaskId;
use crate::schema::trace::{Answer, Trace};
use crate::trace::conditions::Conditions;

impl Trace {
    /// Writes the trace in virtual time, as JSON for <https://ui.perfetto.dev>.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn write_perfetto(&self, mut out: impl Write) -> io::Result<()> {
        let rows = Rows::of(self);
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
        for (place, row) in rows.sorted().enumerate() {
            out.write_all(if place == 0 { b"" } else { b",\n" })?;
            serde_json::to_writer(&mut out, &row)?;
        }
        out.write_all(b"\n]}\n")?;
        out.flush()
    }
}

/// A trace event of the format. Times are microseconds, with fractions.
#[derive(Serialize)]
struct Row {
    ph: char,
    name: String,
    cat: &'static str,
    ts: f64,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    /// The id shared by both ends of a flow arrow.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    /// The scope of an instant: `t` for its thread, `g` for global.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<char>,
    /// The binding point of a flow arrow: `e` for the enclosing slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<char>,
    #[serde(skip_serializing_if = "Value::is_null")]
    args: Value,
    #[serde(skip)]
    at: Nanos,
    #[serde(skip)]
    lasts: Nanos,
}

fn micros(nanos: Nanos) -> f64 {
    nanos as f64 / 1000.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Track {
    pid: u32,
    tid: u32,
}

/// The content of a thread. Threads are displayed in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    Uptime,
    Network,
    Log,
    State(String, Option<String>),
    Task(TaskId),
    Fault(u32),
    Links,
    /// Operations of a client; overlapping ones are on separate threads, by number.
    Client(String, usize),
}

struct Rows<'t> {
    trace: &'t Trace,
    end: Nanos,
    tracks: BTreeMap<(u32, Content), Track>,
    rows: Vec<Row>,
}

struct OpenSlice {
    at: Nanos,
    name: String,
}

impl<'t> Rows<'t> {
    fn of(trace: &'t Trace) -> Self {
        let end = trace.events.last().map_or(0, |event| event.at);
        let mut rows = Rows { trace, end, tracks: BTreeMap::new(), rows: Vec::new() };
        rows.machines();
        rows.states();
        rows.tasks();
        rows.faults();
        rows.messages();
        rows.operations();
        rows.instants();
        rows
    }

    /// The process of faults, displayed above the machines.
    fn faults_process(&self) -> u32 {
        1
    }

    /// The process of clients, displayed below the machines.
    fn clients_process(&self) -> u32 {
        self.trace.machines.len() as u32 + 2
    }

    fn machine_process(&self, machine: u32) -> u32 {
        2 + machine
    }

    /// The thread with this content. Thread numbers are above process numbers: with an equal one it is the main thread.
    fn track(&mut self, pid: u32, content: Content) -> Track {
        let tid = self.clients_process() + 1 + self.tracks.len() as u32;
        *self.tracks.entry((pid, content)).or_insert(Track { pid, tid })
    }

    /// The thread of the task that caused an event; outside of tasks, one of the scenario's machine.
    fn task_or_log(&mut self, event: &Event) -> Track {
        match event.task.and_then(|task| Some((task, self.trace.tasks.get(&task)?))) {
            Some((task, info)) => self.track(self.machine_process(info.machine), Content::Task(task)),
            None => self.track(self.machine_process(0), Content::Log),
        }
    }

    fn push(&mut self, ph: char, cat: &'static str, track: Track, at: Nanos, name: String) -> &mut Row {
        let Track { pid, tid } = track;
        let ts = micros(at);
        let (dur, id, s, bp, args, lasts) = (None, None, None, None, Value::Null, 0);
        self.rows.push(Row { ph, name, cat, ts, pid, tid, dur, id, s, bp, args, at, lasts });
        self.rows.last_mut().expect("pushed just now")
    }

    fn slice(
        &mut self,
        cat: &'static str,
        track: Track,
        (from, to): (Nanos, Nanos),
        name: String,
    ) -> &mut Row {
        let row = self.push('X', cat, track, from, name);
        row.lasts = to - from;
        row.dur = Some(micros(row.lasts));
        row
    }

    fn instant(&mut self, cat: &'static str, track: Track, at: Nanos, name: String) -> &mut Row {
        let row = self.push('i', cat, track, at, name);
        row.s = Some('t');
        row
    }

    /// Sorted by time, then the longest first, so that slices nest, then as inserted, so that arrows follow slices.
    fn sorted(mut self) -> impl Iterator<Item = Row> {
        let names = self.names();
        self.rows.sort_by_key(|row| (row.at, Reverse(row.lasts)));
        names.into_iter().chain(self.rows)
    }

    fn names(&self) -> Vec<Row> {
        let mut names = Vec::new();
        let mut name = |what: &str, pid, tid, args| {
            names.push(Row {
                ph: 'M',
                name: what.to_owned(),
                cat: "__metadata",
                ts: 0.0,
                pid,
                tid,
                dur: None,
                id: None,
                s: None,
                bp: None,
                args,
                at: 0,
                lasts: 0,
            });
        };
        let machines = self.trace.machines.iter().enumerate();
        let machines = machines.map(|(number, name)| (2 + number as u32, name.clone()));
        let used: BTreeSet<u32> = self.tracks.keys().map(|(pid, _)| *pid).collect();
        let others =
            [(self.faults_process(), "faults".to_owned()), (self.clients_process(), "clients".to_owned())];
        for (pid, process) in machines.chain(others) {
            if used.contains(&pid) {
                name("process_name", pid, 0, json!({ "name": process }));
                name("process_sort_index", pid, 0, json!({ "sort_index": pid }));
            }
        }
        for (place, ((_, content), track)) in self.tracks.iter().enumerate() {
            name("thread_name", track.pid, track.tid, json!({ "name": self.title(content) }));
            name("thread_sort_index", track.pid, track.tid, json!({ "sort_index": place }));
        }
        names
    }

    fn title(&self, content: &Content) -> String {
        match content {
            Content::Uptime => "machine".to_owned(),
            Content::Network => "network".to_owned(),
            Content::Log => "outside of tasks".to_owned(),
            Content::State(factory, Some(daemon)) => format!("{daemon} of {factory}"),
            Content::State(factory, None) => factory.clone(),
            Content::Task(task) => self.task(*task),
            Content::Fault(fault) => format!("fault {fault}"),
            Content::Links => "links".to_owned(),
            Content::Client(client, 0) => client.clone(),
            Content::Client(client, beside) => format!("{client} ({})", beside + 1),
        }
    }

    fn task(&self, task: TaskId) -> String {
        let Some(info) = self.trace.tasks.get(&task) else { return task.to_string() };
        match info.owner.as_ref().and_then(|owner| owner.daemon()) {
            Some(daemon) => format!("{daemon}: {:?} {task}", info.name),
            None => format!("{:?} {task}", info.name),
        }
    }

    fn machines(&mut self) {
        let mut up: BTreeMap<u32, OpenSlice> = BTreeMap::new();
        let mut paused: BTreeMap<u32, OpenSlice> = BTreeMap::new();
        let mut suspended: BTreeMap<u32, OpenSlice> = BTreeMap::new();
        up.insert(0, OpenSlice { at: 0, name: "up".to_owned() });
        for event in &self.trace.events {
            let EventKind::Machine { machine, change } = event.what else { continue };
            let open = |name: &str| OpenSlice { at: event.at, name: name.to_owned() };
            match change {
                // A machine without daemons is up when it is made; otherwise its start replaces this.
                MachineChange::Made | MachineChange::Started => {
                    up.insert(machine, open("up"));
                }
                MachineChange::Exited | MachineChange::PowerLost => {
                    self.close(machine, paused.remove(&machine), event.at);
                    self.close(machine, up.remove(&machine), event.at);
                    let name = if change == MachineChange::Exited { "exits" } else { "loses power" };
                    let track = self.track(self.machine_process(machine), Content::Uptime);
                    self.instant("machine", track, event.at, name.to_owned());
                }
                MachineChange::Paused => {
                    paused.entry(machine).or_insert_with(|| open("paused"));
                }
                MachineChange::Resumed => self.close(machine, paused.remove(&machine), event.at),
                MachineChange::Suspended => {
                    suspended.insert(machine, open("suspended"));
                }
                MachineChange::Woken => self.close(machine, suspended.remove(&machine), event.at),
                MachineChange::Drift(_)
                | MachineChange::WallOffset(_)
                | MachineChange::Slowness(_)
                | MachineChange::LookupTrouble(_)
                | MachineChange::Address { .. } => {
                    let track = self.track(self.machine_process(machine), Content::Uptime);
                    let text = self.trace.line(event).what;
                    self.instant("machine", track, event.at, text);
                }
            }
        }
        for (machine, open) in up.into_iter().chain(paused).chain(suspended) {
            self.close(machine, Some(open), self.end);
        }
    }

    fn close(&mut self, machine: u32, open: Option<OpenSlice>, to: Nanos) {
        if let Some(OpenSlice { at, name }) = open {
            let track = self.track(self.machine_process(machine), Content::Uptime);
            self.slice("machine", track, (at, to), name);
        }
    }

    /// Lifecycle states of factories and daemons, until their process ends.
    fn states(&mut self) {
        let mut current: BTreeMap<(u32, Track), OpenSlice> = BTreeMap::new();
        let mut conditions = Conditions::new(self.trace);
        for event in &self.trace.events {
            match event.what {
                EventKind::State { .. } | EventKind::Health { .. } => {
                    let Some(((machine, factory, daemon), condition)) = conditions.begins(&event.what) else {
                        continue;
                    };
                    let content = Content::State(factory.to_owned(), daemon.map(str::to_owned));
                    let track = self.track(self.machine_process(machine), content);
                    let key = (machine, track);
                    if let Some(OpenSlice { at, name }) = current.remove(&key) {
                        self.slice("state", track, (at, event.at), name);
                    }
                    if condition == steelmill_core::State::Ended.to_string() {
                        self.instant("state", track, event.at, condition);
                    } else {
                        current.insert(key, OpenSlice { at: event.at, name: condition });
                    }
                }
                EventKind::Machine { machine, change: MachineChange::Exited | MachineChange::PowerLost } => {
                    conditions.begins(&event.what);
                    let is_here = |key: &(u32, Track)| key.0 == machine;
                    let gone: Vec<_> = current.keys().copied().filter(is_here).collect();
                    for key in gone {
                        if let Some(OpenSlice { at, name }) = current.remove(&key) {
                            self.slice("state", key.1, (at, event.at), name);
                        }
                    }
                }
                _ => {}
            }
        }
        for ((_, track), OpenSlice { at, name }) in current {
            self.slice("state", track, (at, self.end), name);
        }
    }

    /// Tasks: a slice from spawn to end, with the task's waits nested in it.
    fn tasks(&mut self) {
        let mut spawned: BTreeMap<TaskId, Nanos> = BTreeMap::new();
        let mut polled: BTreeMap<TaskId, Nanos> = BTreeMap::new();
        for event in &self.trace.events {
            match event.what {
                EventKind::Spawn { task, .. } => {
                    spawned.insert(task, event.at);
                }
                EventKind::Poll { task, .. } => {
                    let last = polled.insert(task, event.at);
                    let since = last.or(spawned.get(&task).copied()).unwrap_or(event.at);
                    if since < event.at {
                        let name = if last.is_some() {
                            self.wait_name(event)
                        } else {
                            "until its first poll".to_owned()
                        };
                        self.wait(task, since, event.at, name);
                    }
                }
                EventKind::End { task, .. } => {
                    let since = polled.remove(&task).unwrap_or(event.at);
                    if since < event.at {
                        self.wait(task, since, event.at, "until it is aborted".to_owned());
                    }
                    if let Some(since) = spawned.remove(&task) {
                        self.lifetime(task, since, event.at);
                    }
                }
                _ => {}
            }
        }
        for (task, since) in spawned {
            if let Some(since) = polled.remove(&task).filter(|since| *since < self.end) {
                self.wait(task, since, self.end, "until the run ends".to_owned());
            }
            self.lifetime(task, since, self.end);
        }
    }

    fn task_track(&mut self, task: TaskId) -> Track {
        let machine = self.trace.tasks.get(&task).map_or(0, |info| info.machine);
        self.track(self.machine_process(machine), Content::Task(task))
    }

    fn lifetime(&mut self, task: TaskId, from: Nanos, to: Nanos) {
        let track = self.task_track(task);
        let name = self.task(task);
        let info = self.trace.tasks.get(&task);
        let args = info.map_or(Value::Null, |info| json!({ "spawned at": info.spawned_at.to_string() }));
        self.slice("task", track, (from, to), name).args = args;
    }

    fn wait(&mut self, task: TaskId, from: Nanos, to: Nanos, name: String) {
        let track = self.task_track(task);
        self.slice("wait", track, (from, to), name);
    }

    /// The name of the wait that a poll ended.
    fn wait_name(&self, poll: &Event) -> String {
        let cause = |event: &Event| event.cause.and_then(|cause| self.trace.events.get(cause as usize));
        match cause(poll).and_then(cause) {
            Some(Event { what: EventKind::Timer { .. }, .. }) => "until a timer".to_owned(),
            Some(arrival @ Event { what: EventKind::Arrive { message }, .. }) => {
                let sender = cause(arrival).and_then(|left| match left.what {
                    EventKind::Message { from, .. } => self.trace.machines.get(from as usize),
                    _ => None,
                });
                let sender = sender.map(|sender| format!(" from {sender}")).unwrap_or_default();
                format!("until message {message}{sender}")
            }
            Some(Event { what: EventKind::Poll { task, .. }, .. }) => {
                format!("until {} wakes it", self.task(*task))
            }
            Some(event) => format!("until {}", self.trace.line(event).what),
            None => "until it is woken".to_owned(),
        }
    }

    fn faults(&mut self) {
        let mut ongoing: BTreeMap<u32, Nanos> = BTreeMap::new();
        for event in &self.trace.events {
            match event.what {
                EventKind::Fault { fault, step: FaultStep::Strikes } => {
                    ongoing.insert(fault, event.at);
                }
                EventKind::Fault { fault, step: FaultStep::Ends } => {
                    if let Some(since) = ongoing.remove(&fault) {
                        self.fault(fault, since, event.at);
                    }
                }
                EventKind::Fault { fault, step: FaultStep::Skipped } => {
                    let track = self.track(self.faults_process(), Content::Fault(fault));
                    let name = format!("skipped: {}", self.fault_name(fault));
                    self.instant("fault", track, event.at, name);
                }
                EventKind::Link { .. } | EventKind::Corrupted { .. } => {
                    let track = self.track(self.faults_process(), Content::Links);
                    let text = self.trace.line(event).what;
                    self.instant("link", track, event.at, text);
                }
                _ => {}
            }
        }
        for (fault, since) in ongoing {
            self.fault(fault, since, self.end);
        }
    }

    fn fault(&mut self, fault: u32, from: Nanos, to: Nanos) {
        let track = self.track(self.faults_process(), Content::Fault(fault));
        let name = self.fault_name(fault);
        self.slice("fault", track, (from, to), name);
    }

    fn fault_name(&self, fault: u32) -> String {
        match self.trace.faults.get(fault as usize) {
            Some(fault) => fault.what.to_string(),
            None => format!("fault {fault}"),
        }
    }

    /// Messages: a slice for the send and one for the arrival or loss, with an arrow between them.
    fn messages(&mut self) {
        for message_trace in self.trace.messages() {
            let left = &self.trace.events[message_trace.left];
            let EventKind::Message { message, from, to, .. } = left.what else { continue };
            let track = self.track(self.machine_process(from), Content::Network);
            let text = self.trace.line(left).what;
            let late: Vec<String> = message_trace
                .delays
                .iter()
                .map(|delay| self.trace.line(&self.trace.events[*delay]).what)
                .collect();
            let args = if late.is_empty() { Value::Null } else { json!({ "late": late }) };
            self.slice("message", track, (left.at, left.at), text).args = args;
            let Some(ended) = message_trace.ended.map(|place| &self.trace.events[place]) else { continue };
            // A message to an address that no machine has ends at its sender.
            let to = if (to as usize) < self.trace.machines.len() { to } else { from };
            self.push('s', "message", track, left.at, "message".to_owned()).id = Some(message);
            let track = self.track(self.machine_process(to), Content::Network);
            let text = self.trace.line(ended).what;
            self.slice("message", track, (ended.at, ended.at), text);
            let end = self.push('f', "message", track, ended.at, "message".to_owned());
            (end.id, end.bp) = (Some(message), Some('e'));
        }
    }

    /// Client operations, a thread for each client; overlapping operations of a client get further threads.
    fn operations(&mut self) {
        let mut spans: Vec<Option<(Nanos, Nanos)>> = vec![None; self.trace.operations.len()];
        for event in &self.trace.events {
            match event.what {
                EventKind::Invoke { operation } => spans[operation as usize] = Some((event.at, self.end)),
                EventKind::Return { operation } => {
                    spans[operation as usize].iter_mut().for_each(|(_, to)| *to = event.at);
                }
                _ => {}
            }
        }
        // For each client the times from which its threads are free.
        let mut free: BTreeMap<&str, Vec<Nanos>> = BTreeMap::new();
        for (operation, span) in self.trace.operations.iter().zip(spans) {
            // An operation after the trace window has no event.
            let Some((from, to)) = span else { continue };
            let lanes = free.entry(&operation.client).or_default();
            let lane = lanes.iter().position(|free| *free <= from).unwrap_or(lanes.len());
            match lanes.get_mut(lane) {
                Some(free) => *free = to,
                None => lanes.push(to),
            }
            let track = self.track(self.clients_process(), Content::Client(operation.client.clone(), lane));
            let name = match &operation.answer {
                Some(Answer::Returned(text)) => text.clone(),
                Some(Answer::Failed) => format!("{}, failed", operation.what),
                Some(Answer::Unknown) | None => format!("{}, outcome unknown", operation.what),
            };
            let args = json!({ "key": operation.key, "cannot be ordered": operation.is_blamed });
            self.slice("operation", track, (from, to), name).args = args;
        }
    }

    fn instants(&mut self) {
        for event in &self.trace.events {
            match event.what {
                EventKind::Log { log } => {
                    let Some(log) = self.trace.logs.get(log as usize) else { continue };
                    let track = self.task_or_log(event);
                    let args = json!({ "level": log.level.as_str(), "target": log.target });
                    self.instant("log", track, event.at, log.text.clone()).args = args;
                }
                EventKind::Count { what, more, .. } => {
                    let track = self.task_or_log(event);
                    self.instant("count", track, event.at, format!("{more} {what}"));
                }
                EventKind::Fail => {
                    let track = self.task_or_log(event);
                    self.instant("failure", track, event.at, "the run fails".to_owned()).s = Some('g');
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Budget;
    use crate::run::simulate::simulate;
    use crate::trace::history::{History, Kv, KvOp, KvReply};
    use crate::{Seed, Settings, Sim};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const MS: Duration = Duration::from_millis(1);

    async fn scenario(sim: Sim) -> steelmill_core::Result {
        let server = sim.machine("server", |_| Ok(())).start().await?;
        let client = sim.client("client");
        let network = server.network();
        server.spawn("echo", async move {
            let listener = network.bind("0.0.0.0:7").await?;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
            }
            anyhow::Ok(())
        });
        sim.clock().sleep(MS).await;
        let history = History::<Kv>::default();
        let mut stream = client.network().connect("server:7").await?;
        for _ in 0..3 {
            let call = history.invoke(sim.elapsed(), "one", "k", KvOp::Get);
            let beside = history.invoke(sim.elapsed(), "one", "k", KvOp::Get);
            stream.write_all(b"x").await?;
            stream.read_exact(&mut [0]).await?;
            call.returned(sim.elapsed(), KvReply::Value(None));
            beside.unknown();
        }
        tracing::info!("three of them");
        sim.count("echoes", 3);
        sim.inject_faults(Budget::of(&[server])).run().await?;
        anyhow::bail!("it has to fail")
    }

    fn rows() -> Vec<Value> {
        let settings = Settings { trace: true, ..Settings::new(Seed(2)) };
        let trace = simulate(settings, &scenario).trace.expect("it was asked for");
        let mut file = Vec::new();
        trace.write_perfetto(&mut file).expect("memory takes everything");
        let file: Value = serde_json::from_slice(&file).expect("it is JSON");
        file["traceEvents"].as_array().expect("a list").clone()
    }

    fn thread(row: &Value) -> (u64, u64) {
        (row["pid"].as_u64().expect("a process"), row["tid"].as_u64().expect("a thread"))
    }

    fn nanos(micros: &Value) -> u64 {
        (micros.as_f64().expect("a number") * 1000.0).round() as u64
    }

    #[test]
    fn events_are_in_order_and_every_thread_has_a_name() {
        let rows = rows();
        let (names, rest): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["ph"] == "M");
        assert!(rest.is_sorted_by_key(|row| nanos(&row["ts"])));
        let named = |name: &str| -> Vec<_> {
            names.iter().filter(|row| row["name"] == name).map(|row| thread(row)).collect()
        };
        let threads = named("thread_name");
        let processes: Vec<u64> = named("process_name").into_iter().map(|(pid, _)| pid).collect();
        for row in rest {
            assert!(threads.contains(&thread(row)) && processes.contains(&thread(row).0), "{row}");
        }
        let mut unique: Vec<u64> = threads.iter().map(|(_, tid)| *tid).collect();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), threads.len(), "a thread's number is its own");
        assert!(!unique.iter().any(|tid| processes.contains(tid)));
    }

    #[test]
    fn slices_of_a_thread_lie_in_each_other_or_beside() {
        let rows = rows();
        let mut open: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row["ph"] == "X") {
            let (from, lasts) = (nanos(&row["ts"]), nanos(&row["dur"]));
            let ends = open.entry(thread(row)).or_default();
            ends.retain(|end| *end > from || (*end == from && lasts == 0));
            assert!(ends.iter().all(|end| from + lasts <= *end), "{row} overlaps another");
            ends.push(from + lasts);
        }
    }

    #[test]
    fn an_arrow_has_two_ends_each_in_a_slice() {
        let rows = rows();
        let mut arrows: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for (place, row) in rows.iter().enumerate() {
            if let Some(id) = row["id"].as_u64() {
                let slice = &rows[place - 1];
                assert_eq!((&slice["ph"], &slice["ts"]), (&json!("X"), &row["ts"]), "{row} belongs to none");
                assert_eq!(thread(slice), thread(row));
                arrows.entry(id).or_default().push(row);
            }
        }
        assert!(arrows.len() >= 9, "a handshake and three bytes each way");
        for ends in arrows.values() {
            let [from, to] = &ends[..] else { panic!("an arrow has two ends: {ends:?}") };
            assert_eq!((&from["ph"], &to["ph"], &to["bp"]), (&json!("s"), &json!("f"), &json!("e")));
            assert!(nanos(&from["ts"]) < nanos(&to["ts"]));
        }
    }

    #[test]
    fn it_contains_waits_states_operations_logs_and_faults() {
        let rows = rows();
        let has = |ph: &str, name: &str| {
            let is_it = |row: &&Value| row["ph"] == ph && row["name"].as_str() == Some(name);
            assert!(rows.iter().any(|row| is_it(&row)), "no {name:?}");
        };
        let messages = ["until message 2 from client", "until message 1 from server"];
        let others = ["up", "running", "until a timer", "GET k -> nil", "GET k, outcome unknown"];
        for slice in messages.into_iter().chain(others) {
            has("X", slice);
        }
        for instant in ["three of them", "3 echoes", "the run fails"] {
            has("i", instant);
        }
        assert!(rows.iter().any(|row| row["cat"] == "fault"), "no fault");
        let names: Vec<_> = rows.iter().filter_map(|row| row["args"]["name"].as_str()).collect();
        for name in ["scenario", "server", "client", "network", "\"echo\" #3", "one", "one (2)", "clients"] {
            assert!(names.contains(&name), "no {name:?} in {names:?}");
        }
    }
}
