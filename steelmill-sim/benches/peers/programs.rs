//! The workloads on programs as they are: tokio and threads, unmodified.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]

use std::path::Path;
use std::thread;
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{DiskSettings, Machine, Seed, Settings, Sim, simulate_alone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::database::use_database;
use crate::harness::{Done, LATENCY, MESSAGE, Sleeps, make_files, message, write_blocks};

/// One run in this process, with the same latency on every link.
fn run<F>(seed: Seed, ops: u64, scenario: impl Fn(Sim) -> F) -> Done
where
    F: Future<Output = Result> + 'static,
{
    let outcome = simulate_alone(Settings::new(seed), &|sim| {
        sim.set_latency(LATENCY..=LATENCY);
        scenario(sim)
    });
    if let Some(failure) = outcome.failure {
        panic!("seed {seed}: {failure}");
    }
    Done { ops, simulated: outcome.simulated, steps: Some(outcome.polls) }
}

async fn succeeds(machine: Machine) -> Result {
    let life = machine.start().await?.ended().await;
    anyhow::ensure!(life.is_success(), "{life}");
    Ok(())
}

/// As w1, between two runtimes of tokio.
pub(crate) fn echo(seed: Seed, n: u64) -> Done {
    async fn serve() -> std::io::Result<()> {
        let (mut stream, _) = TcpListener::bind("0.0.0.0:7000").await?.accept().await?;
        let mut buffer = [0; MESSAGE];
        while stream.read_exact(&mut buffer).await.is_ok() {
            stream.write_all(&buffer).await?;
        }
        Ok(())
    }

    async fn ask(n: u64) -> std::io::Result<()> {
        let mut stream = TcpStream::connect("server:7000").await?;
        let mut buffer = [0; MESSAGE];
        for i in 0..n {
            stream.write_all(&message(i)).await?;
            stream.read_exact(&mut buffer).await?;
        }
        Ok(())
    }

    run(seed, n, move |sim| async move {
        let _server = sim.tokio_program("server", serve).start().await?;
        sim.clock().sleep(Duration::from_secs(1)).await;
        succeeds(sim.tokio_program("client", move || ask(n))).await
    })
}

/// As w5, on the timers of tokio.
pub(crate) fn sleeps(seed: Seed, tasks: u64, reps: u64) -> Done {
    run(seed, tasks * reps, move |sim| async move {
        succeeds(sim.tokio_program("host", move || sleepers(seed.0, tasks, reps))).await
    })
}

/// Tasks that sleep again and again.
async fn sleepers(seed: u64, tasks: u64, reps: u64) {
    let sleeper = |task| async move {
        let mut sleeps = Sleeps::new(seed, task);
        for _ in 0..reps {
            tokio::time::sleep(sleeps.next()).await;
        }
    };
    let running: Vec<_> = (0..tasks).map(|task| tokio::spawn(sleeper(task))).collect();
    for task in running {
        task.await.expect("no task panics");
    }
}

/// Two threads that give the turn to each other.
pub(crate) fn turns(seed: Seed, n: u64) -> Done {
    run(seed, 2 * n, move |sim| async move {
        succeeds(sim.program("host", move || {
            let yields = move || (0..n).for_each(|_| thread::yield_now());
            let other = thread::spawn(yields);
            yields();
            other.join().expect("it does not panic");
        }))
        .await
    })
}

/// A program that writes to a file and syncs, on a disk that takes no time.
pub(crate) fn writes(seed: Seed, n: u64) -> Done {
    run(seed, n, move |sim| async move {
        let program = sim.program("host", move || {
            let file = std::fs::File::create("/tmp/blocks").expect("a name");
            write_blocks(&file, n).expect("the disk has room");
        });
        program.disk().set(DiskSettings {
            sync_min: Duration::ZERO,
            sync_max: Duration::ZERO,
            ..DiskSettings::default()
        });
        succeeds(program).await
    })
}

/// A program with a database, on a disk that takes no time.
pub(crate) fn database(seed: Seed, n: u64) -> Done {
    run(seed, n, move |sim| async move {
        let program = sim.program("host", move || {
            use_database(Path::new("/tmp"), n).expect("the disk has room");
        });
        program.disk().set(DiskSettings {
            sync_min: Duration::ZERO,
            sync_max: Duration::ZERO,
            ..DiskSettings::default()
        });
        succeeds(program).await
    })
}

/// A program that makes many files.
pub(crate) fn files(seed: Seed, n: u64) -> Done {
    run(seed, n, move |sim| async move {
        let main = move || make_files(Path::new("/tmp/files"), n).expect("the disk has room");
        succeeds(sim.program("host", main)).await
    })
}

/// A machine that starts a runtime of tokio and ends, again and again.
pub(crate) fn starts(seed: Seed, n: u64) -> Done {
    run(seed, n, move |sim| async move {
        let machine = sim.tokio_program("host", async || ());
        for _ in 0..n {
            succeeds(machine.clone()).await?;
        }
        Ok(())
    })
}
