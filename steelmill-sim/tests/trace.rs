//! The event trace of a run: its events, their order, and the task of each.
#![expect(clippy::disallowed_methods, reason = "each run needs a thread of its own")]

use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::trace::{Event, EventKind, MachineChange, TaskEnd};
use steelmill_sim::{Network, Outcome, Picture, Seed, Settings, Sim, Stream, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct Echo {
    network: DaemonRef<Network>,
}

impl Daemon for Echo {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let listener = self.network.bind("0.0.0.0:7").await?;
        while let Some(accepted) = scope.until_stopping(listener.accept()).await {
            let (mut stream, _) = accepted?;
            scope.spawn("client", async move {
                let mut message = [0; 5];
                stream.read_exact(&mut message).await?;
                stream.write_all(&message).await?;
                Ok(())
            });
        }
        Ok(())
    }
}

async fn echo(sim: Sim) -> Result {
    let server = sim.machine("server", |factory| factory.with::<Echo>()).start().await?;
    let client = sim.client("client");
    let mut stream = client.network().connect("server:7").await?;
    stream.write_all(b"hello").await?;
    stream.read_exact(&mut [0; 5]).await?;
    let cut = sim.partition(&server, &client);
    sim.clock().sleep(Duration::from_secs(1)).await;
    cut.heal();
    server.power_loss();
    sim.count("echoes", 1);
    Ok(())
}

fn run(settings: Settings) -> Outcome {
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| simulate(settings, &echo)).join().expect("the simulation does not panic")
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
    outcome
}

#[test]
fn a_trace_lists_the_events_of_a_run_in_order() {
    let outcome = run(Settings { trace: true, ..Settings::new(Seed(7)) });
    let trace = outcome.trace.expect("tracing is on");
    let story: Vec<String> = trace.lines().map(|line| line.to_string()).collect();
    // In this order, with other events in between.
    let mut rest = story.iter();
    for expected in [
        "machine server made",
        "server: Echo: \"run\" #",
        "connect to server, connection 0",
        "draw Latency #0 below ",
        "send 5 bytes: \"hello\"",
        "spawn \"client\" #",
        "deliver client -> server, connection 0: 5 bytes to read",
        "server: Echo: \"client\" #",
        "link server -> client cut",
        "time passes, to 1.",
        "link server -> client healed",
        "machine server loses power",
        "count 1 echoes, 1 in all",
        "\"scenario\" #0 returned",
    ] {
        assert!(rest.any(|line| line.contains(expected)), "no {expected:?} in order:\n{}", story.join("\n"));
    }
    assert_eq!(trace.events.last().expect("the trace has events").digest, outcome.digest);
    assert_eq!((trace.skipped, trace.dropped), (0, 0));
}

#[test]
fn a_trace_is_data() {
    let trace = run(Settings { trace: true, ..Settings::new(Seed(7)) }).trace.expect("tracing is on");
    let (id, client) =
        trace.tasks.iter().find(|(_, info)| info.name == "client").expect("the task was spawned");
    let owner = client.owner.as_ref().expect("a daemon's task");
    assert_eq!((owner.factory(), owner.daemon()), ("server", Some("Echo")));
    assert_eq!(trace.machines[client.machine as usize], "server");
    let has = |what: fn(&EventKind) -> bool| trace.events.iter().any(|event| what(&event.what));
    assert!(has(|what| matches!(what, EventKind::Draw { stream: Stream::Schedule, .. })));
    assert!(has(|what| matches!(what, EventKind::Machine { machine: 1, change: MachineChange::PowerLost })));
    let ended = EventKind::End { task: *id, end: TaskEnd::Returned };
    assert!(trace.events.iter().any(|event| event.what == ended && event.task == Some(*id)));
}

#[test]
fn a_trace_window_holds_its_events_and_the_machine_events_before() {
    let whole = run(Settings { trace: true, ..Settings::new(Seed(7)) }).trace.expect("tracing is on").events;
    for start in (0..whole.len()).step_by(7) {
        let end = (start + 40).min(whole.len());
        let trace_window = start as u64..end as u64;
        let outcome = run(Settings { trace: true, trace_window, ..Settings::new(Seed(7)) });
        let trace = outcome.trace.as_ref().expect("tracing is on");
        let (early, part) = trace.events.split_at(trace.events.len() - (end - start));
        let key = |event: &Event| (event.at, event.task, event.what, event.digest);
        assert!(part.iter().map(key).eq(whole[start..end].iter().map(key)), "events {start} to {end} differ");
        let is_of_a_machine = |event: &&Event| matches!(event.what, EventKind::Machine { .. });
        let before = whole[..start].iter().filter(is_of_a_machine);
        assert!(early.iter().filter(is_of_a_machine).map(key).eq(before.map(key)));
        assert_eq!(
            (trace.skipped, trace.dropped),
            ((start - early.len()) as u64, (whole.len() - end) as u64)
        );
        assert!(
            trace.causes().iter().enumerate().all(|(index, cause)| cause.is_none_or(|cause| cause < index))
        );
        // Messages and exports must tolerate events that are missing outside of the window.
        for message in trace.messages() {
            let is_of_message = |index: usize, of: fn(&EventKind) -> Option<u32>| {
                of(&trace.events[index].what) == Some(message.message)
            };
            assert!(is_of_message(message.left, |what| match what {
                EventKind::Message { message, .. } => Some(*message),
                _ => None,
            }));
            assert!(message.ended.is_none_or(|index| is_of_message(index, |what| match what {
                EventKind::Arrive { message } | EventKind::Lost { message, .. } => Some(*message),
                _ => None,
            })));
        }
        trace.write_lines(std::io::sink()).expect("a sink accepts everything");
        trace.write_perfetto(std::io::sink()).expect("a sink accepts everything");
        Picture::of(&outcome).expect("the run was traced");
    }
}

#[test]
fn tracing_does_not_change_the_digest() {
    let plain = run(Settings::new(Seed(7)));
    assert!(plain.trace.is_none());
    assert_eq!(run(Settings { trace: true, ..Settings::new(Seed(7)) }).digest, plain.digest);
}
