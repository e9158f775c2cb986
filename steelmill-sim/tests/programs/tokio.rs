//! tokio inside daemons and tasks of the simulation: tasks, timers, sockets and blocking threads belong to the machine.
#![expect(clippy::disallowed_methods, reason = "these daemons were written for tokio")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steelmill_core::{Daemon, Factory, Result, Scope};
use steelmill_sim::{Campaign, Sim, Verify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn each_seed<F: Future<Output = Result> + 'static>(scenario: impl Fn(Sim) -> F + Send + Sync) {
    Campaign::new(scenario).seeds(20).verify(Verify::Twice).check();
}

/// A daemon as people write it for tokio: it answers every line with its length, which a blocking thread computes.
struct Lengths;

impl Daemon for Lengths {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let listener = TcpListener::bind("0.0.0.0:7").await?;
        let serve = async {
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(answer(stream));
            }
        };
        scope.until_stopping(serve).await.unwrap_or(io::Result::Ok(()))?;
        Ok(())
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = stream.read_u8().await?;
        let mut text = vec![0; length.into()];
        stream.read_exact(&mut text).await?;
        let length = tokio::task::spawn_blocking(move || {
            std::thread::sleep(SECOND / 10);
            text.len() as u8
        });
        stream.write_u8(length.await?).await?;
    }
}

async fn ask(text: &str) -> io::Result<u8> {
    let mut stream = TcpStream::connect("server:7").await?;
    stream.write_u8(text.len() as u8).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.read_u8().await
}

#[test]
fn a_daemon_uses_tokio_and_so_does_the_scenario() {
    each_seed(|sim| async move {
        let _server = sim.machine("server", |factory| factory.with::<Lengths>()).start().await?;
        let begun = sim.elapsed();
        let mut asked = JoinSet::new();
        for text in ["a", "bc", "def"] {
            asked.spawn(async move { (ask(text).await.expect("it answers"), text) });
        }
        while let Some(answered) = asked.join_next().await {
            let (length, text) = answered?;
            assert_eq!(usize::from(length), text.len());
        }
        let took = sim.elapsed() - begun;
        assert!(took >= SECOND / 10 && took < SECOND, "{took:?}");
        let late = tokio::time::timeout(SECOND, std::future::pending::<()>()).await;
        assert!(late.is_err() && sim.elapsed() - begun >= SECOND);
        Ok(())
    });
}

#[test]
fn a_crash_ends_what_tokio_runs_and_a_restart_begins_anew() {
    each_seed(|sim| async move {
        let server = sim.machine("server", |factory| factory.with::<Lengths>()).start().await?;
        assert_eq!(ask("hello").await?, 5);
        for restart in 0..3 {
            server.power_loss();
            assert!(ask("nobody").await.is_err(), "restart {restart}");
            server.restart().await?;
            assert_eq!(ask("hello").await?, 5);
        }
        let life = server.stop().await?;
        assert!(life.is_success(), "{life}");
        Ok(())
    });
}

/// Notes the time on its machine once a second.
struct Ticks(Arc<Mutex<Vec<Duration>>>);

impl Daemon for Ticks {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self(factory.value::<Arc<Mutex<Vec<Duration>>>>()?.as_ref().clone()))
    }

    async fn run(self: &Arc<Self>, _: &Scope) -> Result {
        let begun = tokio::time::Instant::now();
        let mut interval = tokio::time::interval(SECOND);
        loop {
            interval.tick().await;
            self.0.lock().expect("not poisoned").push(begun.elapsed());
        }
    }
}

#[test]
fn timers_of_tokio_go_by_the_clock_of_their_machine() {
    each_seed(|sim| async move {
        // A clock that is behind, and one that is ahead, of that of the scenario.
        sim.clock().sleep(100 * SECOND).await;
        for (name, ppm) in [("slow", -100_000), ("fast", 100_000)] {
            let ticks = Arc::<Mutex<Vec<Duration>>>::default();
            let noted = ticks.clone();
            let machine = sim.machine(name, move |factory| {
                factory.provide_value(noted.clone())?;
                factory.with::<Ticks>()
            });
            machine.set_drift(ppm);
            sim.clock().sleep(100 * SECOND).await;
            let machine = machine.start().await?;
            sim.clock().sleep(Duration::from_millis(10_500)).await;
            machine.exit();
            let ticks = ticks.lock().expect("not poisoned").len() as i64;
            assert_eq!(ticks, 11 + ppm / 100_000, "{name}");
        }
        Ok(())
    });
}

#[test]
fn a_thread_of_a_daemon_is_simulated_and_wakes_its_tasks() {
    each_seed(|sim| async move {
        let (send, receive) = tokio::sync::oneshot::channel();
        let begun = sim.elapsed();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(3600 * SECOND);
            send.send(std::thread::current().id())
        });
        let id = receive.await?;
        assert_eq!((id, sim.elapsed() - begun), (thread.thread().id(), 3600 * SECOND));
        Ok(())
    });
}

#[test]
fn a_task_that_blocks_its_thread_is_red_and_says_what_to_use() {
    let scenarios: [fn(); 3] = [
        || std::thread::sleep(SECOND),
        || std::thread::spawn(|| std::thread::sleep(SECOND)).join().unwrap_or_default(),
        || drop(std::net::UdpSocket::bind("0.0.0.0:9").and_then(|socket| socket.recv(&mut [0]))),
    ];
    for blocks in scenarios {
        let summary = Campaign::new(|_: Sim| async move {
            blocks();
            tokio::task::yield_now().await;
            Ok(())
        });
        let summary = summary.seeds(1).run();
        let failure = summary.failed[0].failure.as_ref().expect("it is red").to_string();
        assert!(failure.contains("blocks its thread") && failure.contains("spawn_blocking"), "{failure}");
    }
}

/// A thread that is killed releases nothing, so who holds the lock cannot be found out.
#[test]
fn a_lock_that_a_thread_holds_is_not_blamed_on_who_waits() {
    let campaign = Campaign::new(|sim: Sim| async move {
        let waits = sim.client("m").spawn("waits", async {
            let lock = Arc::new(tokio::sync::Mutex::new(()));
            let held = lock.clone();
            drop(std::thread::spawn(move || {
                let _held = held.blocking_lock();
                std::thread::park();
            }));
            tokio::time::sleep(SECOND).await;
            drop(lock.lock().await);
        });
        waits.await?;
        Ok(())
    });
    let summary = campaign.seeds(1).run();
    let failure = summary.failed[0].failure.as_ref().expect("it is red").to_string();
    assert!(failure.contains("a lock (a Mutex)") && !failure.contains("held by"), "{failure}");
}

#[test]
fn tasks_of_a_local_set_share_what_may_not_leave_their_thread() {
    each_seed(async |sim: Sim| {
        let machine = sim.client("m");
        let counted = machine.spawn("local", async {
            let count = std::rc::Rc::new(std::cell::Cell::new(0));
            let local = tokio::task::LocalSet::new();
            for n in 1..=4 {
                let count = count.clone();
                local.spawn_local(async move {
                    tokio::time::sleep(n * SECOND).await;
                    count.set(count.get() + n);
                });
            }
            local.await;
            count.get()
        });
        anyhow::ensure!(counted.await.expect("it does not panic") == 10);
        anyhow::ensure!(sim.elapsed().as_secs() == 4, "{:?}", sim.elapsed());
        Ok(())
    });
}

/// Tokio tells of its tasks through unstable functions alone.
#[cfg(tokio_unstable)]
#[test]
fn a_deadlock_names_the_tasks_of_tokio_by_the_place_where_they_were_spawned() {
    let scenario = |sim: Sim| async move {
        let program = sim.tokio_program("program", || async {
            tokio::spawn(async {}).await.expect("no panic");
            tokio::spawn(std::future::pending::<()>()).await.expect("no panic");
        });
        program.start().await?.ended().await;
        Ok(())
    };
    let summary = Campaign::new(scenario).seeds(1).run();
    let failure = summary.failed[0].failure.as_ref().expect("it is a deadlock").to_string();
    let line = "program: \"a task of tokio\", spawned at steelmill-sim/tests/programs/tokio.rs:";
    assert_eq!(failure.matches(line).count(), 1, "{failure}");
    assert!(!failure.contains("polled 0 times"), "{failure}");
}
