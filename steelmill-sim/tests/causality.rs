//! A trace beyond its events: message outcomes, causality, log lines, lifecycle states and client operations.
#![expect(clippy::disallowed_methods, reason = "each run needs a thread of its own")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::ensure;
use futures::future::join_all;
use steelmill_core::{Daemon, Factory, Health, HealthChecks, Result, State};
use steelmill_sim::fault::Budget;
use steelmill_sim::history::{History, Kv, KvOp, KvReply};
use steelmill_sim::trace::{Answer, Event, EventKind, MessageKind, Trace};
use steelmill_sim::{Impairment, Machine, Outcome, Seed, Settings, Sim, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn run<F>(settings: Settings, scenario: fn(Sim) -> F) -> Outcome
where
    F: Future<Output = Result> + 'static,
{
    std::thread::scope(|scope| {
        scope.spawn(move || simulate(settings, &scenario)).join().expect("the simulation does not panic")
    })
}

fn traced<F>(scenario: fn(Sim) -> F) -> Trace
where
    F: Future<Output = Result> + 'static,
{
    let outcome = run(Settings { trace: true, ..Settings::new(Seed(7)) }, scenario);
    assert!(outcome.passed(), "{:?}", outcome.failure);
    outcome.trace.expect("tracing is on")
}

const MS: Duration = Duration::from_millis(1);

/// An echo server for one client at a time.
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

/// The outcome of each message of a kind: its delays, then arrival or loss, with reasons.
fn outcomes(trace: &Trace, kind: MessageKind) -> Vec<String> {
    let event = |index: usize| trace.events[index].what;
    let outcomes = trace.messages().into_iter().filter_map(|message_trace| {
        let EventKind::Message { carries, .. } = event(message_trace.left) else {
            panic!("a message begins with its departure")
        };
        let mut outcome_text = String::new();
        for delay in &message_trace.delays {
            let EventKind::Delayed { why, .. } = event(*delay) else { panic!("an event that is no delay") };
            outcome_text += &format!("late ({why:?}), ");
        }
        match message_trace.ended.map(event) {
            Some(EventKind::Arrive { .. }) => outcome_text += "arrived",
            Some(EventKind::Lost { why, .. }) => outcome_text += &format!("lost ({why:?})"),
            other => outcome_text += &format!("{other:?}"),
        }
        (carries == kind).then_some(outcome_text)
    });
    outcomes.collect()
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
        assert_eq!(outcomes(&trace, kind), ["arrived"], "{kind:?}");
    }
    assert_eq!(outcomes(&trace, MessageKind::Bytes), ["arrived"; 2]);
    assert_eq!(outcomes(&trace, MessageKind::Fin), ["arrived"; 2], "one FIN from each side");
    // The echoed byte is caused by the client's byte.
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
fn messages_that_arrive_together_are_separate() {
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
    for message_trace in trace.messages() {
        if let EventKind::Message { carries: MessageKind::Bytes, to: 1, bytes, .. } =
            trace.events[message_trace.left].what
        {
            lengths.push(bytes);
            arrived.push(message_trace.ended.expect("the message arrives"));
        }
    }
    assert_eq!(lengths, (1..=20).collect::<Vec<u64>>(), "a message for each write");
    assert!(arrived.is_sorted(), "in order");
    let delivered = trace.events[arrived[0]..=arrived[19]]
        .iter()
        .filter(|event| matches!(event.what, EventKind::Deliver { to: 1, .. }));
    assert!(delivered.count() < 19, "some events deliver several messages");
}

#[test]
fn late_and_lost_messages_have_a_reason() {
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
    let outcomes = outcomes(&trace, MessageKind::Bytes);
    let (there, back) = ("late (Cut), arrived".to_owned(), "arrived".to_owned());
    assert_eq!(outcomes[..3], [there.clone(), there, back]);
    assert_eq!(outcomes[3..6], ["arrived", "late (Held), arrived", "arrived"]);
    assert!(outcomes[6..].iter().any(|outcome_text| outcome_text == "late (Loss), arrived"), "{outcomes:?}");
    assert_eq!(outcomes.last().expect("a lost message"), "lost (Reset)");
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
        sim.clock().sleep(10 * MS).await; // a cut loses what is in flight
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
    assert_eq!(outcomes(&trace, MessageKind::Datagram), expected);
}

#[test]
fn a_syn_is_refused_or_unanswered() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        ensure!(client.network().connect("server:7").await.is_err());
        ensure!(client.network().connect("10.255.255.1:7").await.is_err());
        server.power_loss();
        ensure!(client.network().connect("server:7").await.is_err());
        Ok(())
    });
    let requests = outcomes(&trace, MessageKind::Syn);
    assert_eq!(requests[..2], ["arrived", "lost (NoReceiver)"]);
    assert_eq!(requests[2..], ["lost (PowerOff)"; 11], "a connect sends eleven SYNs");
    assert_eq!(outcomes(&trace, MessageKind::Refused), ["arrived"]);
}

#[test]
fn held_syns_are_separate() {
    let trace = traced(|sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        echo(&server);
        let hold = sim.hold(&client, &server);
        let network = client.network();
        let connecting = client.spawn("connect", async move { network.connect("server:7").await.is_ok() });
        sim.clock().sleep(2500 * MS).await; // it asks again after one second, and after two
        hold.release();
        ensure!(connecting.await?);
        Ok(())
    });
    assert_eq!(outcomes(&trace, MessageKind::Syn), ["late (Held), arrived"; 3]);
}

#[test]
fn the_cause_of_a_wake_through_a_combinator_is_what_it_waited_for() {
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
        let ours: Vec<_> = trace.logs.iter().filter(|log| log.target == "causality").collect();
        let [log] = &ours[..] else { panic!("one line expected: {ours:?}") };
        assert_eq!((log.level, log.text.as_str()), (tracing::Level::INFO, "begins batch=7 name=\"x\""));
        assert!(log.place.is_some_and(|(file, _)| file.ends_with("causality.rs")));
        let line = trace.lines().find(|line| line.what.contains("begins")).expect("a log line in the trace");
        assert_eq!(line.machine.as_deref(), Some("worker"));
        assert!(line.task.is_some_and(|task| task.starts_with("\"job\"")));
    };
    check(traced(scenario));
    // The same beside another subscriber, which must still receive all of its lines.
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
        outcome.trace.expect("tracing is on")
    };
    check(std::thread::scope(|scope| scope.spawn(with_other).join().expect("the simulation does not panic")));
    let seen = String::from_utf8(seen.lock().expect("not poisoned").clone()).expect("UTF-8");
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
fn lifecycle_states_are_in_the_trace() {
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
fn a_world_receives_the_same_state_changes_as_changes() {
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
    let traced: Vec<_> = trace.states.into_iter().map(|change| (change.daemon, change.state)).collect();
    assert!(seen.contains(&(Some("Idle".to_owned()), State::Ended)), "{seen:?}");
    assert!(traced.ends_with(&seen), "{traced:?} does not end with {seen:?}");
}

/// Says how it is as it is told to.
struct Patient(Mutex<Health>);

impl Daemon for Patient {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self(Mutex::new(Health::Healthy)))
    }

    async fn health(&self) -> Health {
        self.0.lock().expect("not poisoned").clone()
    }
}

#[test]
fn health_readiness_and_drain_are_in_the_trace() {
    let trace = traced(|sim| async move {
        let mut factory = Factory::root("app", sim.world());
        factory.with::<Patient>()?;
        factory.with::<Idle>()?;
        factory.health_checks(HealthChecks { every: 10 * MS, timeout: 5 * MS });
        factory.drain(50 * MS);
        let running = factory.start().await?;
        let health = running.health();
        for next in
            [Health::Healthy, Health::degraded("one replica is left"), Health::failing("no replica is left")]
        {
            *running.get::<Patient>()?.0.lock().expect("not poisoned") = next;
            sim.clock().sleep(50 * MS).await;
        }
        *running.get::<Patient>()?.0.lock().expect("not poisoned") = Health::Healthy;
        sim.clock().sleep(50 * MS).await;
        assert!(health.current().is_ready());
        running.stop().await;
        Ok(())
    });
    let is_condition =
        |event: &&Event| matches!(event.what, EventKind::State { .. } | EventKind::Health { .. });
    let lines = trace.events.iter().filter(is_condition).map(|event| trace.line(event).what);
    // The other one has no check.
    let lines: Vec<_> = lines.filter(|line| !line.contains(": Idle is ")).collect();
    let running = lines.iter().position(|line| line == "app is running").expect("it runs");
    assert_eq!(
        lines[running..],
        [
            "app is running",
            "app: Patient is running",
            "app is not ready: Patient is not asked yet; Idle is not asked yet",
            "app: Patient is healthy",
            "app is ready",
            "app: Patient is degraded: one replica is left",
            "app: Patient is failing: no replica is left",
            "app is not ready: Patient is failing: no replica is left",
            "app: Patient is healthy",
            "app is ready",
            "app is draining",
            "app is not ready: app is draining",
            "app is stopping",
            "app: Patient is stopping",
            "app: Patient is ended",
            "app is ended",
        ]
    );
}

#[test]
fn operations_are_in_the_trace_and_those_of_a_violation_are_marked() {
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
    let trace = outcome.trace.expect("tracing is on");
    let traced: Vec<_> =
        trace.operations.iter().map(|op| (&*op.client, &*op.what, op.answer.clone(), op.is_blamed)).collect();
    let returned = |text: &str| Some(Answer::Returned(text.to_owned()));
    let expected = [
        ("a", "SET k \"1\"", returned("SET k \"1\""), true),
        ("b", "GET other", Some(Answer::Failed), false),
        ("b", "DEL other", Some(Answer::Unknown), false),
        ("b", "GET k", returned("GET k -> nil"), true),
        ("c", "GET other", None, false),
    ];
    assert_eq!(traced, expected);
    let last = trace.events.last().expect("there are events");
    assert_eq!((last.what, last.at), (EventKind::Fail, failure.at.as_nanos() as u64));
    let blamed = trace.events.iter().filter(|event| matches!(event.what, EventKind::Blame { .. }));
    assert_eq!(blamed.count(), 2);
    assert!(matches!(trace.events[last.cause.expect("a cause") as usize].what, EventKind::End { .. }));
}

/// Clients and servers over TCP and UDP, under all kinds of faults.
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
fn under_faults_a_trace_is_consistent_and_does_not_change_the_digest() {
    let mut ends = BTreeMap::<String, usize>::new();
    for seed in 1..=10 {
        let settings = Settings { time_limit: Duration::from_secs(600), ..Settings::new(Seed(seed)) };
        let plain = run(settings.clone(), storm);
        let outcome = run(Settings { trace: true, ..settings }, storm);
        assert_eq!(outcome.digest, plain.digest, "seed {seed}");
        let trace = outcome.trace.expect("tracing is on");
        assert_eq!(trace.faults, outcome.faults.expect("the nemesis drew a plan").faults);
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
                assert!(!again, "seed {seed}: message {message} has two outcomes");
            }
        }
        for message_trace in trace.messages() {
            let left = &trace.events[message_trace.left];
            let end = match message_trace.ended {
                Some(place) => match trace.events[place].what {
                    EventKind::Arrive { .. } => {
                        assert_eq!(trace.events[place].cause, Some(message_trace.left as u32));
                        "arrived".to_owned()
                    }
                    EventKind::Lost { why, .. } => format!("lost {why:?}"),
                    other => panic!("{other:?} is no outcome of a message"),
                },
                None => {
                    let end = trace.events.last().expect("there are events").at;
                    let since = Duration::from_nanos(end - left.at); // under faults up to half a second and more
                    assert!(since < 1000 * MS, "seed {seed}: no outcome for {}", trace.line(left));
                    "open".to_owned()
                }
            };
            let EventKind::Message { carries, .. } = left.what else { panic!("not a departure") };
            *ends.entry(format!("{carries:?} {end}")).or_default() += 1;
        }
    }
    for expected in ["Bytes arrived", "Bytes lost Reset", "Datagram lost Cut", "Syn lost PowerOff"] {
        assert!(ends.contains_key(expected), "no {expected:?} in {ends:#?}");
    }
}
