//! A trace says what a run did, and whose doing it was.
#![expect(clippy::disallowed_methods, reason = "runs get threads of their own")]

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
        scope.spawn(|| simulate(settings, &echo)).join().expect("it does not panic")
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
    outcome
}

#[test]
fn a_trace_tells_the_story_of_a_run() {
    let outcome = run(Settings { trace: true, ..Settings::new(Seed(7)) });
    let trace = outcome.trace.expect("it was asked for");
    let story: Vec<String> = trace.lines().map(|line| line.to_string()).collect();
    // In this order, among much else.
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
        assert!(rest.any(|line| line.contains(expected)), "{expected:?} is not there:\n{}", story.join("\n"));
    }
    assert_eq!(trace.events.last().expect("there are some").digest, outcome.digest);
    assert_eq!((trace.skipped, trace.dropped), (0, 0));
}

#[test]
fn a_trace_is_data() {
    let trace = run(Settings { trace: true, ..Settings::new(Seed(7)) }).trace.expect("it was asked for");
    let (id, client) = trace.tasks.iter().find(|(_, info)| info.name == "client").expect("it was spawned");
    let owner = client.owner.as_ref().expect("a daemon's");
    assert_eq!((owner.factory(), owner.daemon()), ("server", Some("Echo")));
    assert_eq!(trace.machines[client.machine as usize], "server");
    let has = |what: fn(&EventKind) -> bool| trace.events.iter().any(|event| what(&event.what));
    assert!(has(|what| matches!(what, EventKind::Draw { stream: Stream::Schedule, .. })));
    assert!(has(|what| matches!(what, EventKind::Machine { machine: 1, change: MachineChange::PowerLost })));
    let ended = EventKind::End { task: *id, end: TaskEnd::Returned };
    assert!(trace.events.iter().any(|event| event.what == ended && event.task == Some(*id)));
}

#[test]
fn a_window_shows_a_part_of_it_and_what_has_become_of_things_before() {
    let whole =
        run(Settings { trace: true, ..Settings::new(Seed(7)) }).trace.expect("it was asked for").events;
    for start in (0..whole.len()).step_by(7) {
        let end = (start + 40).min(whole.len());
        let trace_window = start as u64..end as u64;
        let outcome = run(Settings { trace: true, trace_window, ..Settings::new(Seed(7)) });
        let trace = outcome.trace.as_ref().expect("it was asked for");
        let (early, part) = trace.events.split_at(trace.events.len() - (end - start));
        let told = |event: &Event| (event.at, event.task, event.what, event.digest);
        assert!(part.iter().map(told).eq(whole[start..end].iter().map(told)), "not {start} to {end}");
        let is_of_a_machine = |event: &&Event| matches!(event.what, EventKind::Machine { .. });
        let before = whole[..start].iter().filter(is_of_a_machine);
        assert!(early.iter().filter(is_of_a_machine).map(told).eq(before.map(told)));
        assert_eq!(
            (trace.skipped, trace.dropped),
            ((start - early.len()) as u64, (whole.len() - end) as u64)
        );
        assert!(
            trace.causes().iter().enumerate().all(|(place, cause)| cause.is_none_or(|cause| cause < place))
        );
        // Whoever reads it bears with what is not there.
        for passage in trace.messages() {
            let is_it = |place: usize, of: fn(&EventKind) -> Option<u32>| {
                of(&trace.events[place].what) == Some(passage.message)
            };
            assert!(is_it(passage.left, |what| match what {
                EventKind::Message { message, .. } => Some(*message),
                _ => None,
            }));
            assert!(passage.ended.is_none_or(|place| is_it(place, |what| match what {
                EventKind::Arrive { message } | EventKind::Lost { message, .. } => Some(*message),
                _ => None,
            })));
        }
        trace.write_lines(std::io::sink()).expect("nothing refuses to be written");
        trace.write_perfetto(std::io::sink()).expect("nothing refuses to be written");
        Picture::of(&outcome).expect("it was traced");
    }
}

#[test]
fn looking_changes_nothing() {
    let plain = run(Settings::new(Seed(7)));
    assert!(plain.trace.is_none());
    assert_eq!(run(Settings { trace: true, ..Settings::new(Seed(7)) }).digest, plain.digest);
}
