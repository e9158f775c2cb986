//! What a trace tells beyond events: messages and how they fared, what led to what, log lines, states, operations.
#![expect(clippy::disallowed_methods, reason = "runs get threads of their own")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::ensure;
use futures::future::join_all;
use steelmill_core::{Daemon, Factory, Result, State};
use steelmill_sim::fault::Budget;
use steelmill_sim::history::{History, Kv, KvOp, KvReply};
use steelmill_sim::trace::{Answer, EventKind, MessageKind, Trace};
use steelmill_sim::{Impairment, Machine, Outcome, Seed, Settings, Sim, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn run<F>(settings: Settings, scenario: fn(Sim) -> F) -> Outcome
where
    F: Future<Output = Result> + 'static,
{
    std::thread::scope(|scope| {
        scope.spawn(move || simulate(settings, &scenario)).join().expect("it does not panic")
    })
}

fn traced<F>(scenario: fn(Sim) -> F) -> Trace
where
    F: Future<Output = Result> + 'static,
{
    let outcome = run(Settings { trace: true, ..Settings::new(Seed(7)) }, scenario);
    assert!(outcome.passed(), "{:?}", outcome.failure);
    outcome.trace.expect("it was asked for")
}

const MS: Duration = Duration::from_millis(1);

/// Sends what it reads back, to one client after another.
fn echo(machine: &Machine) {
    let network = machine.network();
    machine.spawn("echo", async move {
        let listener = network.bind("0.0.0.0:7").await?;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                if stream.write_all(&byte).await.is_err() {
                    break;
                }
            }
        }
        anyhow::Ok(())
    });
}

/// What became of the messages that were of a kind, and for what reasons.
fn stories(trace: &Trace, kind: MessageKind) -> Vec<String> {
    let of = |place: usize| trace.events[place].what;
    let stories = trace.messages().into_iter().filter_map(|passage| {
        let EventKind::Message { carries, .. } = of(passage.left) else { panic!("a message leaves first") };
        let mut story = String::new();
        for delay in &passage.delays {
            let EventKind::Delayed { why, .. } = of(*delay) else { panic!("it is a delay") };
            story += &format!("late ({why:?}), ");
        }
        match passage.ended.map(of) {
            Some(EventKind::Arrive { .. }) => story += "arrived",
            Some(EventKind::Lost { why, .. }) => story += &format!("lost ({why:?})"),
            other => story += &format!("{other:?}"),
        }
        (carries == kind).then_some(story)
    });
    stories.collect()
}

#[test]
fn every_message_of_a_connection_arrives_and_its_consequences_follow() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        echo(&server);
        sim.clock().sleep(MS).await;
        let mut stream = client.network().connect("server:7").await?;
        stream.write_all(b"x").await?;
        stream.read_exact(&mut [0]).await?;
        drop(stream);
        sim.clock().sleep(100 * MS).await;
        Ok(())
    });
    for kind in [MessageKind::Syn, MessageKind::SynAck, MessageKind::Ack] {
        assert_eq!(stories(&trace, kind), ["arrived"], "{kind:?}");
    }
    assert_eq!(stories(&trace, MessageKind::Bytes), ["arrived"; 2]);
    assert_eq!(stories(&trace, MessageKind::Fin), ["arrived"; 2], "each side ends");
    // The client's byte comes back because it went there.
    let bytes = |what: &EventKind| matches!(what, EventKind::Message { carries: MessageKind::Bytes, .. });
    let [there, back] = [0, 1].map(|nth| {
        trace.events.iter().enumerate().filter(|(_, event)| bytes(&event.what)).nth(nth).expect("two").0
    });
    assert_eq!(trace.nearest(|event| bytes(&event.what))[back], Some(there));
    let EventKind::Message { from, to, connection, bytes, start, .. } = trace.events[there].what else {
        panic!()
    };
    let name = |machine: u32| trace.machines[machine as usize].as_str();
    assert_eq!((name(from), name(to), connection, bytes, start[0]), ("client", "server", Some(0), 1, b'x'));
}

#[test]
fn messages_that_arrive_together_are_told_apart() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        echo(&server);
        sim.clock().sleep(MS).await;
        let mut stream = client.network().connect("server:7").await?;
        for n in 1..=20 {
            stream.write_all(&[n; 20][..n.into()]).await?; // none waits, so that later ones catch up with earlier ones
        }
        stream.read_exact(&mut [0; 210]).await?;
        Ok(())
    });
    let (mut lengths, mut arrived) = (Vec::new(), Vec::new());
    for passage in trace.messages() {
        if let EventKind::Message { carries: MessageKind::Bytes, to: 1, bytes, .. } =
            trace.events[passage.left].what
        {
            lengths.push(bytes);
            arrived.push(passage.ended.expect("it arrives"));
        }
    }
    assert_eq!(lengths, (1..=20).collect::<Vec<u64>>(), "a message for each write");
    assert!(arrived.is_sorted(), "in order");
    let delivered = trace.events[arrived[0]..=arrived[19]]
        .iter()
        .filter(|event| matches!(event.what, EventKind::Deliver { to: 1, .. }));
    assert!(delivered.count() < 19, "some arrive with one event");
}

#[test]
fn what_is_late_or_lost_says_why() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        echo(&server);
        sim.clock().sleep(MS).await;
        let mut stream = client.network().connect("server:7").await?;
        let cut = sim.partition(&server, &client);
        stream.write_all(b"x").await?;
        stream.write_all(b"y").await?;
        sim.clock().sleep(1000 * MS).await;
        cut.heal();
        stream.read_exact(&mut [0; 2]).await?;
        let hold = sim.hold(&client, &server);
        stream.write_all(b"z").await?;
        sim.clock().sleep(1000 * MS).await;
        hold.release();
        stream.read_exact(&mut [0]).await?;
        let lossy = sim.impair(&server, &client, Impairment { loss_ppm: 500_000, ..Impairment::default() });
        for _ in 0..10 {
            stream.write_all(b"!").await?;
            stream.read_exact(&mut [0]).await?;
        }
        drop(lossy);
        stream.write_all(b"?").await?;
        sim.reset_connections(&server, &client);
        Ok(())
    });
    let stories = stories(&trace, MessageKind::Bytes);
    let (there, back) = ("late (Cut), arrived".to_owned(), "arrived".to_owned());
    assert_eq!(stories[..3], [there.clone(), there, back]);
    assert_eq!(stories[3..6], ["arrived", "late (Held), arrived", "arrived"]);
    assert!(stories[6..].iter().any(|story| story == "late (Loss), arrived"), "{stories:?}");
    assert_eq!(stories.last().expect("there are some"), "lost (Reset)");
}

#[test]
fn a_datagram_is_lost_to_a_cut_to_nobody_and_to_a_machine_without_power() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        let receiver = server.network().bind_udp("0.0.0.0:9").await?;
        let socket = client.network().bind_udp("0.0.0.0:0").await?;
        socket.send_to(b"one", "server:9").await?;
        receiver.recv_from(&mut [0; 8]).await?;
        socket.send_to(b"two", "server:10").await?;
        socket.send_to(b"three", "10.255.255.1:9").await?;
        let cut = sim.partition(&server, &client);
        socket.send_to(b"four", "server:9").await?;
        cut.heal();
        let hold = sim.hold(&client, &server);
        socket.send_to(b"five", "server:9").await?;
        sim.clock().sleep(10 * MS).await;
        hold.release();
        receiver.recv_from(&mut [0; 8]).await?;
        server.power_loss();
        socket.send_to(b"six", "server:9").await?;
        sim.clock().sleep(100 * MS).await;
        Ok(())
    });
    let expected = [
        "arrived",
        "lost (NoReceiver)",
        "lost (NoReceiver)",
        "lost (Cut)",
        "late (Held), arrived",
        "lost (PowerOff)",
    ];
    assert_eq!(stories(&trace, MessageKind::Datagram), expected);
}

#[test]
fn a_request_that_is_refused_and_one_that_nobody_answers() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        ensure!(client.network().connect("server:7").await.is_err());
        ensure!(client.network().connect("10.255.255.1:7").await.is_err());
        server.power_loss();
        ensure!(client.network().connect("server:7").await.is_err());
        Ok(())
    });
    let requests = stories(&trace, MessageKind::Syn);
    assert_eq!(requests[..2], ["arrived", "lost (NoReceiver)"]);
    assert_eq!(requests[2..], ["lost (PowerOff)"; 7], "a connect asks seven times");
    assert_eq!(stories(&trace, MessageKind::Refused), ["arrived"]);
}

#[test]
fn requests_that_wait_together_are_told_apart() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        echo(&server);
        let hold = sim.hold(&client, &server);
        let network = client.network();
        let connecting = client.spawn("connect", async move { network.connect("server:7").await.is_ok() });
        sim.clock().sleep(4000 * MS).await; // it asks again after one second, and after three
        hold.release();
        ensure!(connecting.await?);
        Ok(())
    });
    assert_eq!(stories(&trace, MessageKind::Syn), ["late (Held), arrived"; 3]);
}

#[test]
fn a_wake_through_a_combinator_comes_of_what_it_waited_for() {
    let trace = traced(|sim| async move {
        let clock = sim.clock();
        join_all((1..=50).map(|n| async move {
            clock.sleep(n * MS).await;
            sim.count("slept", 1);
        }))
        .await;
        Ok(())
    });
    let causes = trace.causes();
    let wakes =
        trace.events.iter().enumerate().filter(|(_, event)| matches!(event.what, EventKind::Wake { .. }));
    let fired = wakes.filter(|(wake, event)| {
        let cause = &trace.events[causes[*wake].expect("a wake has a cause")];
        matches!(cause.what, EventKind::Timer { .. }) && cause.at == event.at
    });
    assert_eq!(fired.count(), 50);
}

#[test]
fn log_lines_are_kept_with_the_task_that_wrote_them() {
    let scenario: fn(Sim) -> _ = |sim: Sim| async move {
        let machine = sim.client("worker");
        let at_work = machine.spawn("job", async {
            tracing::info!(batch = 7, name = "x", "begins");
            tracing::debug!("is not kept");
        });
        at_work.await?;
        Ok(())
    };
    let check = |trace: Trace| {
        let ours: Vec<_> = trace.logs.iter().filter(|log| log.target == "told").collect();
        let [log] = &ours[..] else { panic!("one line is kept: {ours:?}") };
        assert_eq!((log.level, log.text.as_str()), (tracing::Level::INFO, "begins batch=7 name=\"x\""));
        assert!(log.place.is_some_and(|(file, _)| file.ends_with("told.rs")));
        let line = trace.lines().find(|line| line.what.contains("begins")).expect("it is an event");
        assert_eq!(line.machine.as_deref(), Some("worker"));
        assert!(line.task.is_some_and(|task| task.starts_with("\"job\"")));
    };
    check(traced(scenario));
    // The same where somebody else logs, who still gets everything that it wants.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = {
        let seen = seen.clone();
        move || Seen(seen.clone())
    };
    let other = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(log).finish();
    let settings = Settings { trace: true, ..Settings::new(Seed(7)) };
    let with_other = || {
        let span = tracing::info_span!("around");
        let outcome =
            tracing::subscriber::with_default(other, || span.in_scope(|| simulate(settings, &scenario)));
        outcome.trace.expect("it was asked for")
    };
    check(std::thread::scope(|scope| scope.spawn(with_other).join().expect("it does not panic")));
    let seen = String::from_utf8(seen.lock().expect("not poisoned").clone()).expect("it is text");
    assert!(seen.contains("begins") && seen.contains("is not kept"), "{seen}");
}

struct Seen(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Idle;

impl Daemon for Idle {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self)
    }
}

#[test]
fn states_of_factories_and_daemons_are_told() {
    let trace = traced(|sim| async move {
        let machine = sim.machine("node", |factory| factory.with::<Idle>()).start().await?;
        machine.stop().await?;
        Ok(())
    });
    let of = |daemon: Option<&str>| -> Vec<State> {
        let states = trace.events.iter().filter_map(|event| match event.what {
            EventKind::State { state } => trace.states.get(state as usize),
            _ => None,
        });
        states
            .filter(|change| trace.machines[change.machine as usize] == "node" && change.factory == "node")
            .filter(|change| change.daemon.as_deref() == daemon)
            .map(|change| change.state)
            .collect()
    };
    assert_eq!(of(None), [State::Preparing, State::Running, State::Stopping, State::Ended]);
    assert_eq!(of(Some("Idle")).last(), Some(&State::Ended));
    assert!(of(Some("Idle")).contains(&State::Running));
}

#[test]
fn a_world_is_told_what_changes_tells() {
    static SEEN: Mutex<Vec<(Option<String>, State)>> = Mutex::new(Vec::new());
    let trace = traced(|sim| async move {
        let mut factory = Factory::root("app", sim.world());
        factory.with::<Idle>()?;
        let running = factory.start().await?;
        let mut changes = running.changes();
        running.stop().await;
        let mut seen = Vec::new();
        while let Some(change) = changes.next().await {
            seen.push((change.daemon.map(|daemon| daemon.into_owned()), change.state));
        }
        *SEEN.lock().expect("not poisoned") = seen;
        Ok(())
    });
    let seen = SEEN.lock().expect("not poisoned").clone();
    let told: Vec<_> = trace.states.into_iter().map(|change| (change.daemon, change.state)).collect();
    assert!(seen.contains(&(Some("Idle".to_owned()), State::Ended)), "{seen:?}");
    assert!(told.ends_with(&seen), "{told:?} does not end with {seen:?}");
}

#[test]
fn operations_are_told_and_those_that_cannot_be_ordered_are_blamed() {
    let settings = Settings { trace: true, ..Settings::new(Seed(7)) };
    let outcome = run(settings, |sim| async move {
        let history = History::<Kv>::default();
        history.invoke(sim.elapsed(), "a", "k", KvOp::Set("1".into())).returned(sim.elapsed(), KvReply::Ok);
        history.invoke(sim.elapsed(), "b", "other", KvOp::Get).failed();
        history.invoke(sim.elapsed(), "b", "other", KvOp::Del).unknown();
        let stale = history.invoke(sim.elapsed(), "b", "k", KvOp::Get);
        sim.clock().sleep(MS).await;
        stale.returned(sim.elapsed(), KvReply::Value(None));
        let _open = history.invoke(sim.elapsed(), "c", "other", KvOp::Get);
        history.check().into_result().map_err(|_| anyhow::anyhow!("not linearizable"))
    });
    let failure = outcome.failure.expect("a stale read");
    let trace = outcome.trace.expect("it was asked for");
    let told: Vec<_> =
        trace.operations.iter().map(|op| (&*op.client, &*op.what, op.answer.clone(), op.is_blamed)).collect();
    let returned = |text: &str| Some(Answer::Returned(text.to_owned()));
    let expected = [
        ("a", "SET k \"1\"", returned("SET k \"1\""), true),
        ("b", "GET other", Some(Answer::Failed), false),
        ("b", "DEL other", Some(Answer::Unknown), false),
        ("b", "GET k", returned("GET k -> nil"), true),
        ("c", "GET other", None, false),
    ];
    assert_eq!(told, expected);
    let last = trace.events.last().expect("there are events");
    assert_eq!((last.what, last.at), (EventKind::Fail, failure.at.as_nanos() as u64));
    let blamed = trace.events.iter().filter(|event| matches!(event.what, EventKind::Blame { .. }));
    assert_eq!(blamed.count(), 2);
    assert!(matches!(trace.events[last.cause.expect("it has one") as usize].what, EventKind::End { .. }));
}

/// Clients that talk to servers by TCP and UDP while everything goes wrong.
async fn storm(sim: Sim) -> Result {
    let serve = |factory: &mut Factory| factory.with::<Idle>();
    let mut machines = Vec::new();
    for name in ["a", "b", "c"] {
        machines.push(sim.machine(name, serve).start().await?);
    }
    let budget = Budget::of(&machines);
    for machine in machines.clone() {
        let peers = machines.clone();
        sim.spawn("talk", async move {
            loop {
                echo(&machine);
                for peer in &peers {
                    let talk = async {
                        let network = machine.network();
                        let socket = network.bind_udp("0.0.0.0:0").await?;
                        socket.send_to(b"datagram", (peer.address(), 7)).await?;
                        let mut stream = network.connect((peer.address(), 7)).await?;
                        for _ in 0..5 {
                            stream.write_all(b"hello").await?;
                            stream.read_exact(&mut [0; 5]).await?;
                        }
                        std::io::Result::Ok(())
                    };
                    let _ =
                        steelmill_core::Clock::timeout(&machine.clock(), Duration::from_secs(2), talk).await;
                }
                sim.clock().sleep(300 * MS).await;
            }
        });
    }
    sim.inject_faults(budget).run().await?;
    Ok(())
}

#[test]
fn whatever_goes_wrong_a_trace_changes_nothing_and_holds_together() {
    let mut ends = BTreeMap::<String, usize>::new();
    for seed in 1..=10 {
        let settings = Settings { time_limit: Duration::from_secs(600), ..Settings::new(Seed(seed)) };
        let plain = run(settings.clone(), storm);
        let outcome = run(Settings { trace: true, ..settings }, storm);
        assert_eq!(outcome.digest, plain.digest, "seed {seed}");
        let trace = outcome.trace.expect("it was asked for");
        assert_eq!(trace.faults, outcome.faults.expect("there is trouble").faults);
        for (number, event) in trace.events.iter().enumerate() {
            assert!(event.cause.is_none_or(|cause| (cause as usize) < number), "seed {seed}: {event:?}");
            match event.what {
                EventKind::Wake { .. } if event.task.is_none() => {
                    assert!(event.cause.is_some(), "seed {seed}: {}", trace.line(event));
                }
                EventKind::Poll { .. } => {
                    assert!(event.cause.is_some(), "seed {seed}: {}", trace.line(event))
                }
                EventKind::Deliver { .. } => {
                    assert!(event.cause.is_some(), "seed {seed}: {}", trace.line(event))
                }
                _ => {}
            }
        }
        let mut ended = vec![false; trace.messages().len()];
        for event in &trace.events {
            if let EventKind::Arrive { message } | EventKind::Lost { message, .. } = event.what {
                let again = std::mem::replace(&mut ended[message as usize], true);
                assert!(!again, "seed {seed}: message {message} ends twice");
            }
        }
        for passage in trace.messages() {
            let left = &trace.events[passage.left];
            let end = match passage.ended {
                Some(place) => match trace.events[place].what {
                    EventKind::Arrive { .. } => {
                        assert_eq!(trace.events[place].cause, Some(passage.left as u32));
                        "arrived".to_owned()
                    }
                    EventKind::Lost { why, .. } => format!("lost {why:?}"),
                    other => panic!("{other:?} ends nothing"),
                },
                None => {
                    let end = trace.events.last().expect("there are events").at;
                    let since = Duration::from_nanos(end - left.at);
                    assert!(since < 5 * MS, "seed {seed}: lost without a word: {}", trace.line(left));
                    "open".to_owned()
                }
            };
            let EventKind::Message { carries, .. } = left.what else { panic!("it is a message") };
            *ends.entry(format!("{carries:?} {end}")).or_default() += 1;
        }
    }
    for expected in ["Bytes arrived", "Bytes lost Reset", "Datagram lost Cut", "Syn lost PowerOff"] {
        assert!(ends.contains_key(expected), "no {expected:?} in {ends:#?}");
    }
}
