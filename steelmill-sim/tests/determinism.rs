//! Determinism: a run depends only on its seed, not on earlier runs, threads or processes.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what leaks the real world is planted on purpose, and runs get threads of their own"
)]

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rand::RngExt as _;
use steelmill_core::{Daemon, Factory, Result, Scope};
use steelmill_sim::{Campaign, Cause, Outcome, Reseed, Schedule, Seed, Settings, Sim, Stream, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Three clients and a server race for a lock, with random latencies.
async fn race(sim: Sim) -> Result {
    let server = sim.client("server");
    let listener = server.network().bind("0.0.0.0:7000").await?;
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let world = server.clone();
    server.spawn("accept", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            world.spawn("serve", async move {
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte).await {
                    seen.lock().expect("not poisoned").push(byte[0]);
                    if stream.write_all(&byte).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let mut clients = Vec::new();
    for id in 0..3 {
        let machine = sim.client(&format!("client-{id}"));
        let (network, clock) = (machine.network(), machine.clock());
        let mut rng = machine.entropy().rng();
        clients.push(machine.spawn("client", async move {
            let mut stream = network.connect("server:7000").await?;
            for _ in 0..20 {
                clock.sleep(Duration::from_micros(100 * rng.random_range(0..3))).await;
                stream.write_all(&[id]).await?;
                stream.read_exact(&mut [0]).await?;
            }
            Ok::<_, std::io::Error>(())
        }));
    }
    for client in clients {
        client.await??;
    }
    // Many tasks are ready at once, so that the schedule has a choice.
    let yielding: Vec<_> = (0..5).map(|_| sim.spawn("yield", tokio::task::yield_now())).collect();
    for task in yielding {
        task.await?;
    }
    sim.count("bytes", order.lock().expect("not poisoned").len() as u64);
    Ok(())
}

fn run(settings: Settings) -> Outcome {
    std::thread::scope(|scope| {
        scope.spawn(|| simulate(settings, &race)).join().expect("the simulation does not panic")
    })
}

fn digest(seed: u64) -> u64 {
    let outcome = run(Settings::new(Seed(seed)));
    assert!(outcome.passed(), "{:?}", outcome.failure);
    assert_eq!(outcome.counts["bytes"], 60);
    outcome.digest
}

#[test]
fn the_same_seed_gives_the_same_digest_whatever_ran_before() {
    let first = digest(7);
    for other in 1..20 {
        digest(other);
    }
    assert_eq!(digest(7), first);
    let again = std::thread::scope(|scope| {
        let on_one_thread = || [5, 6, 7].map(|seed| simulate(Settings::new(Seed(seed)), &race).digest);
        scope.spawn(on_one_thread).join().expect("the simulation does not panic")
    });
    assert_eq!(again[2], first);
}

#[test]
fn different_seeds_give_different_runs() {
    let mut digests: Vec<u64> = (0..50).map(digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 50);
}

/// Runs itself in another process and compares the output.
#[test]
fn two_processes_agree() {
    const ASKED: &str = "TEST_PRINTS_DIGEST";
    if std::env::var_os(ASKED).is_some() {
        println!("digest {:016x}", digest(7));
        return;
    }
    let other = || {
        let this = std::env::current_exe().expect("a test has a binary");
        let output = Command::new(this)
            .args(["--exact", "two_processes_agree", "--nocapture"])
            .env(ASKED, "1")
            .output()
            .expect("the test's binary runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let expected = format!("digest {:016x}", digest(7));
    for output in [other(), other()] {
        assert!(output.contains(&expected), "expected {expected}, got: {output}");
    }
}

/// With a fixed latency and no draws by the scenario, only the schedule can differ.
#[test]
fn interleavings_differ_even_with_fixed_latency() {
    let order = |seed| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let kept = order.clone();
        let scenario = move |sim: Sim| {
            let order = kept.clone();
            async move {
                let latency = Duration::from_millis(1);
                sim.set_latency(latency..=latency);
                let tasks: Vec<_> = (0..5)
                    .map(|id| {
                        let (order, clock) = (order.clone(), sim.clock());
                        sim.spawn("task", async move {
                            for _ in 0..3 {
                                clock.sleep(Duration::from_millis(1)).await;
                                order.lock().expect("not poisoned").push(id);
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await?;
                }
                Ok(())
            }
        };
        std::thread::scope(|scope| {
            scope
                .spawn(|| assert!(simulate(Settings::new(Seed(seed)), &scenario).passed()))
                .join()
                .expect("passes");
        });
        order.lock().expect("not poisoned").clone()
    };
    let orders: std::collections::BTreeSet<Vec<i32>> = (0..20).map(order).collect();
    assert!(orders.len() > 15, "only {} different orders in 20 seeds", orders.len());
}

#[test]
fn a_recorded_run_is_replayed_from_its_decisions_alone() {
    let recorded = run(Settings { record: true, ..Settings::new(Seed(7)) });
    assert!(recorded.decisions.iter().any(|decision| decision.stream == Stream::Schedule));
    assert!(recorded.decisions.iter().any(|decision| decision.stream == Stream::Latency));
    // All draws, but not the seed: the digest starts with it, and machines' entropy is keyed by it.
    let replayed =
        run(Settings { replay: Some(recorded.decisions.clone()), record: true, ..Settings::new(Seed(7)) });
    assert_eq!(replayed.digest, recorded.digest);
    assert_eq!(replayed.decisions, recorded.decisions);
    let other_seed =
        run(Settings { replay: Some(recorded.decisions.clone()), record: true, ..Settings::new(Seed(8)) });
    assert_eq!(other_seed.decisions, recorded.decisions);
    assert_eq!(other_seed.simulated, recorded.simulated);
}

#[test]
fn a_replay_past_its_list_takes_the_defaults() {
    let recorded = run(Settings { record: true, ..Settings::new(Seed(7)) });
    let half = recorded.decisions[..recorded.decisions.len() / 2].to_vec();
    let replayed = run(Settings { replay: Some(half.clone()), record: true, ..Settings::new(Seed(7)) });
    assert!(replayed.passed(), "{:?}", replayed.failure);
    assert_eq!(replayed.decisions[..half.len()], half);
    let schedule =
        replayed.decisions[half.len()..].iter().filter(|decision| decision.stream == Stream::Schedule);
    assert!(schedule.clone().count() > 0);
    assert!(schedule.into_iter().all(|decision| decision.value == 0));
}

#[test]
fn a_rekeyed_run_shares_its_past_with_the_original() {
    let original = run(Settings { record: true, ..Settings::new(Seed(7)) });
    let at = original.simulated / 2;
    let reseeded = run(Settings {
        record: true,
        reseeds: vec![Reseed { at, stream: None, seed: 99 }],
        ..Settings::new(Seed(7))
    });
    assert_ne!(reseeded.digest, original.digest);
    let same = original.decisions.iter().zip(&reseeded.decisions).take_while(|(a, b)| a == b).count();
    assert!(same > original.decisions.len() / 4, "only {same} of {} agree", original.decisions.len());
    assert!(same < original.decisions.len());
}

#[test]
fn fifo_needs_no_schedule_draws() {
    let outcome = run(Settings { schedule: Schedule::Fifo, record: true, ..Settings::new(Seed(7)) });
    assert!(outcome.decisions.iter().all(|decision| decision.stream != Stream::Schedule));
}

/// Entropy that std, rand and tokio request from the system is derived from the seed.
async fn leaky(sim: Sim) -> Result {
    let map: HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
    for key in map.keys() {
        sim.count("keys", u64::from(*key) * 31 % 17);
        sim.clock().sleep(Duration::from_nanos(u64::from(*key))).await;
    }
    let drawn: u64 = rand::rng().random_range(0..1_000_000);
    sim.count("drawn", drawn);
    let chosen = tokio::select! {
        () = async {} => 1,
        () = async {} => 2,
        () = async {} => 3,
    };
    sim.count("chosen", chosen);
    let (instant, wall) = (Instant::now(), SystemTime::now());
    sim.clock().sleep(Duration::from_secs(1000)).await;
    assert_eq!(instant.elapsed(), Duration::from_secs(1000), "Instant::now() is virtual");
    assert_eq!(wall.elapsed()?, Duration::from_secs(1000), "SystemTime::now() is virtual");
    assert_eq!(Instant::now(), sim.clock().now());
    Ok(())
}

#[test]
fn hash_maps_rand_and_select_repeat() {
    let digests = |jobs| {
        let summary = Campaign::new(leaky).seeds(30).jobs(jobs).run();
        assert!(summary.passed(), "{}", summary.failed[0].failure.as_ref().expect("the run failed"));
        assert_eq!(summary.impure, 0);
        (summary.digest, summary.counts)
    };
    assert_eq!(digests(1), digests(2));
    assert_ne!(digests(1).1["chosen"].total, 30, "select! is biased");
}

fn failure(
    settings: Settings,
    scenario: impl AsyncFn(Sim) -> Result + Copy + Send + Sync + 'static,
) -> Cause {
    let outcome = std::thread::scope(|scope| {
        let run = move || simulate(settings, &move |sim| async move { scenario(sim).await });
        scope.spawn(run).join().expect("the simulation does not panic")
    });
    outcome.failure.expect("the run fails").cause
}

#[test]
fn a_deadlock_names_its_tasks() {
    let cause = failure(Settings::new(Seed(1)), async |sim| {
        let (to_a, from_b) = tokio::sync::oneshot::channel::<()>();
        let (to_b, from_a) = tokio::sync::oneshot::channel::<()>();
        let a = sim.spawn("philosopher a", async move { drop((from_b.await, to_b.send(()))) });
        let b = sim.spawn("philosopher b", async move { drop((from_a.await, to_a.send(()))) });
        a.await?;
        Ok(b.await?)
    });
    let text = cause.to_string();
    assert!(matches!(cause, Cause::Deadlock { .. }), "{text}");
    for part in ["philosopher a", "philosopher b", "determinism.rs", "a task to end"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_livelock_names_the_busy_task() {
    let settings = Settings { poll_limit: 10_000, ..Settings::new(Seed(1)) };
    let cause = failure(settings, async |sim| {
        sim.spawn("spinner", async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        sim.clock().sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    assert!(matches!(&cause, Cause::Livelock { .. }) && cause.to_string().contains("spinner"), "{cause}");
}

#[test]
fn the_time_limit_ends_a_run_and_names_its_tasks() {
    let settings = Settings { time_limit: Duration::from_secs(10), ..Settings::new(Seed(1)) };
    let cause = failure(settings, async |sim| {
        let clock = sim.clock();
        sim.spawn("beat", async move {
            loop {
                clock.sleep(Duration::from_secs(1)).await;
            }
        })
        .await?;
        Ok(())
    });
    assert!(matches!(&cause, Cause::TimeLimit { .. }) && cause.to_string().contains("beat"), "{cause}");
}

#[test]
fn a_panic_nobody_sees_fails_the_run() {
    let cause = failure(Settings::new(Seed(1)), async |sim| {
        drop(sim.spawn("careless", async { panic!("the sky falls") }));
        sim.clock().sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    let text = cause.to_string();
    assert!(text.contains("the sky falls") && text.contains("careless"), "{text}");
}

#[test]
fn a_handle_used_outside_of_its_run_says_so() {
    let kept = Arc::new(Mutex::new(None));
    let hands_out = kept.clone();
    steelmill_sim::check(Seed(1), move |sim| {
        *hands_out.lock().expect("not poisoned") = Some(sim.clock());
        async { Ok(()) }
    });
    let clock = kept.lock().expect("not poisoned").take().expect("set by the first run");
    let panic = std::panic::catch_unwind(|| clock.now()).expect_err("the run has ended");
    assert!(steelmill_core::panic_message(panic.as_ref()).contains("used outside of it"));
}

#[test]
fn a_wake_from_another_thread_arrives_and_marks_the_run() {
    let (ask, asked) = std::sync::mpsc::channel::<tokio::sync::oneshot::Sender<i32>>();
    // A thread that a task started would be simulated.
    let thread = std::thread::spawn(move || asked.recv().map(|send| send.send(7)));
    let scenario = move |sim: Sim| {
        let ask = ask.clone();
        async move {
            let (send, receive) = tokio::sync::oneshot::channel();
            let waits = sim.spawn("waits", receive);
            sim.clock().sleep(Duration::from_millis(1)).await; // now it waits
            ask.send(send)?;
            while !waits.is_finished() {
                sim.clock().sleep(Duration::from_millis(1)).await;
            }
            anyhow::ensure!(waits.await?? == 7);
            Ok(())
        }
    };
    let summary = Campaign::new(scenario).seeds(1).run();
    assert!(thread.join().is_ok_and(|sent| sent == Ok(Ok(()))));
    assert!(summary.passed(), "{:?}", summary.failed);
    assert_eq!(summary.impure, 1);
    assert!(summary.to_string().contains("may not repeat"), "{summary}");
}

/// Two parallel runs share a channel: reported as not repeatable, but no wake is lost.
#[test]
fn a_wake_from_another_run_arrives() {
    let (send, receive) = tokio::sync::oneshot::channel();
    let (send, receive) = (Mutex::new(Some(send)), Mutex::new(Some(receive)));
    let summary = Campaign::new(|sim: Sim| {
        let send = (sim.seed() == Seed(2)).then(|| send.lock().expect("not poisoned").take()).flatten();
        let receive = (sim.seed() == Seed(1)).then(|| receive.lock().expect("not poisoned").take()).flatten();
        async move {
            if let Some(send) = send {
                pause_in_real_time(Duration::from_millis(100)); // so that the other run waits by now
                send.send(7).expect("a pending receiver");
            }
            if let Some(receive) = receive {
                let waits = sim.spawn("waits", receive);
                while !waits.is_finished() {
                    sim.clock().sleep(Duration::from_millis(1)).await;
                }
                anyhow::ensure!(waits.await?? == 7);
            }
            Ok(())
        }
    })
    .seeds(2)
    .jobs(2)
    .run();
    assert!(summary.passed(), "{:?}", summary.failed);
    assert_eq!(summary.impure, 1);
}

struct Sulking;

impl Daemon for Sulking {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.spawn("sulk", std::future::pending::<()>());
        scope.stopping().await;
        Ok(())
    }
}

#[test]
fn a_deadlock_names_the_daemons_whose_tasks_they_are() {
    let text = failure(Settings::new(Seed(1)), async |sim| {
        let machine = sim.machine("m", |factory| factory.with::<Sulking>()).start().await?;
        let _daemon = machine.get::<Sulking>()?;
        std::future::pending().await
    })
    .to_string();
    let sulk = text.lines().find(|line| line.contains("\"sulk\"")).expect("the task is listed");
    assert!(sulk.contains("of m: Sulking, spawned at steelmill-sim/tests/determinism.rs"), "{text}");
}

/// Keeps the thread busy for so long in real time: `std::thread::sleep` would fail the run.
fn pause_in_real_time(duration: Duration) {
    let mut sleep = std::process::Command::new("sleep");
    // It must not keep open what this process prints to.
    let (output, errors) = (std::process::Stdio::null(), std::process::Stdio::null());
    let slept = sleep.arg(duration.as_secs_f64().to_string()).stdout(output).stderr(errors).status();
    assert!(slept.expect("sleep is installed").success());
}
