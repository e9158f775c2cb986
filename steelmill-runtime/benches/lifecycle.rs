//! What starting, running and stopping cost, beside tasks by hand; `cargo xtask bench` runs both sides in turn.
//!
//! - `poll`: a poll of a task on a scope that does nothing, against one of tokio's own, under the logging that `run`
//!   installs by default;
//! - `message`: such a task receives a message from another one;
//! - `task`: spawning such a task, and its end, against the same;
//! - `turn`: a turn of a loop that waits, with `until_stopping` around the wait and without;
//! - `daemons`: building, starting and stopping a factory of a thousand daemons, per daemon, against spawning a task that
//!   waits for a signal, telling it, and joining it;
//! - `child`: making, starting and stopping a child factory with one daemon, against one such task.

use std::future::{Future, poll_fn};
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use steelmill_core::{Daemon, DaemonRef, Factory, Result, RunningFactory, Scope};
use steelmill_meter as meter;
use steelmill_runtime::RuntimeWorld;
use tokio::sync::{mpsc, oneshot, watch};

#[derive(Parser)]
struct Options {
    #[arg(long)]
    workload: Workload,
    #[arg(long)]
    side: Side,
    /// Polls, tasks, turns, factories of a thousand daemons, or children
    #[arg(long, default_value_t = 100)]
    n: u64,
    /// Counts allocations
    #[arg(long)]
    allocs: bool,
    /// What `cargo bench` adds for every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Workload {
    Poll,
    Message,
    Task,
    Turn,
    Daemons,
    Child,
}

#[derive(Clone, Copy, ValueEnum)]
enum Side {
    Plain,
    Steelmill,
}

/// How many daemons are in a factory.
const DAEMONS: u64 = 1_000;

fn main() -> Result {
    let options = Options::parse();
    if matches!(options.workload, Workload::Poll | Workload::Message | Workload::Task) {
        // Everything here happens in a service, for the logging.
        let code = steelmill_runtime::run(steelmill_runtime::Options::default(), |factory| {
            factory.provide(Spawning(options))
        });
        anyhow::ensure!(code == ExitCode::SUCCESS, "the service failed (see above)");
        return Ok(());
    }
    // One thread: which of several wakes first is luck, and counts with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let took = runtime.block_on(run(&options))?;
    print(&options, took);
    Ok(())
}

fn print(options: &Options, took: Duration) {
    meter::count_allocations(false);
    let (allocations, _) = meter::allocations();
    let (cpu, _) = meter::usage();
    let ops = match options.workload {
        Workload::Daemons => options.n * DAEMONS,
        Workload::Poll | Workload::Message | Workload::Task | Workload::Turn | Workload::Child => options.n,
    };
    println!(
        "{{\"ops\":{ops},\"wall_seconds\":{},\"cpu_seconds\":{cpu},\"allocs_per_op\":{}}}",
        took.as_secs_f64(),
        allocations as f64 / ops as f64
    );
}

async fn run(options: &Options) -> Result<Duration> {
    let n = options.n;
    let mut factory = Factory::root("bench", RuntimeWorld);
    factory.with::<Tally>()?;
    let bench = factory.start().await?;
    meter::count_allocations(options.allocs);
    let begin = Instant::now();
    match (options.workload, options.side) {
        (Workload::Poll | Workload::Message | Workload::Task, _) => {
            anyhow::bail!("a service of its own measures it")
        }
        (Workload::Turn, Side::Plain) => tokio::spawn(turns_plain(n)).await?,
        (Workload::Turn, Side::Steelmill) => turns(&bench, n).await?,
        (Workload::Daemons, Side::Plain) => {
            for _ in 0..n {
                tasks_by_hand(DAEMONS).await?;
            }
        }
        (Workload::Daemons, Side::Steelmill) => {
            for _ in 0..n {
                factory_of(DAEMONS).await?;
            }
        }
        (Workload::Child, Side::Plain) => {
            for _ in 0..n {
                tasks_by_hand(1).await?;
            }
        }
        (Workload::Child, Side::Steelmill) => {
            for _ in 0..n {
                let mut child = bench.child("child")?;
                child.with::<Session>()?;
                child.start().await?.stop().await;
            }
        }
    }
    Ok(begin.elapsed())
}

/// Pending once, and ready when it is polled again: what waiting for the next connection comes to.
fn once() -> impl Future<Output = ()> + Send {
    let mut is_polled = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut is_polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

async fn turns_plain(n: u64) {
    for _ in 0..n {
        once().await;
    }
}

/// Takes its turns as an accept loop does.
struct Loop(u64, std::sync::Mutex<Option<oneshot::Sender<()>>>);

impl Daemon for Loop {
    fn build(_: &mut Factory) -> Result<Self> {
        anyhow::bail!("it is provided")
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        for _ in 0..self.0 {
            scope.until_stopping(once()).await;
        }
        if let Some(done) = self.1.lock().ok().and_then(|mut done| done.take()) {
            let _ = done.send(());
        }
        Ok(())
    }
}

async fn turns(bench: &RunningFactory, n: u64) -> Result {
    let (done, when_done) = oneshot::channel();
    let mut child = bench.child("loop")?;
    child.provide(Loop(n, std::sync::Mutex::new(Some(done))))?;
    let child = child.start().await?;
    when_done.await?;
    child.stop().await;
    Ok(())
}

/// Measures tasks on its scope, and stops the service.
struct Spawning(Options);

impl Daemon for Spawning {
    fn build(_: &mut Factory) -> Result<Self> {
        anyhow::bail!("it is provided")
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let (daemon, tasks) = (self.clone(), scope.clone());
        // A thread of its own, with a runtime that has no other: which of several wakes first is luck.
        let measure = move || -> Result {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let took = runtime.block_on(daemon.measure(&tasks))?;
            print(&daemon.0, took);
            Ok(())
        };
        tokio::task::spawn_blocking(measure).await??;
        scope.request_stop();
        Ok(())
    }
}

impl Spawning {
    async fn measure(&self, scope: &Scope) -> Result<Duration> {
        let Options { workload, side, n, allocs, .. } = self.0;
        meter::count_allocations(allocs);
        let begin = Instant::now();
        match workload {
            Workload::Poll => {
                let (done, when_done) = oneshot::channel();
                spawn(side, scope, async move {
                    turns_plain(n).await;
                    let _ = done.send(());
                });
                when_done.await?;
            }
            Workload::Message => {
                // There and back, so that each message is a poll.
                let (question, mut questions) = mpsc::channel::<u64>(1);
                let (answer, mut answers) = mpsc::channel(1);
                spawn(side, scope, async move {
                    while let Some(number) = questions.recv().await {
                        let _ = answer.send(number).await;
                    }
                });
                for number in 0..n {
                    question.send(number).await?;
                    answers.recv().await.context("an answer")?;
                }
            }
            _ => {
                for _ in 0..n {
                    let (done, when_done) = oneshot::channel();
                    spawn(side, scope, async move {
                        once().await;
                        let _ = done.send(());
                    });
                    when_done.await?;
                }
            }
        }
        Ok(begin.elapsed())
    }
}

fn spawn(side: Side, scope: &Scope, work: impl Future<Output = ()> + Send + 'static) {
    match side {
        Side::Plain => drop(tokio::spawn(work)),
        Side::Steelmill => scope.spawn("work", work),
    }
}

struct Tally;

impl Daemon for Tally {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Tally)
    }
}

/// What a child has of its own; it shares the tally.
struct Session {
    _tally: DaemonRef<Tally>,
}

impl Daemon for Session {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Session { _tally: factory.get()? })
    }
}

async fn factory_of(daemons: u64) -> Result {
    let mut factory = Factory::root("many", RuntimeWorld);
    for number in 0..daemons {
        factory.with_named::<Session>(&number.to_string())?;
    }
    factory.start().await?.stop().await;
    Ok(())
}

async fn tasks_by_hand(tasks: u64) -> Result {
    let (stop, is_stopping) = watch::channel(false);
    let spawn = |_| {
        let mut is_stopping = is_stopping.clone();
        tokio::spawn(async move { drop(is_stopping.wait_for(|is_stopping| *is_stopping).await) })
    };
    let tasks: Vec<_> = (0..tasks).map(spawn).collect();
    tokio::task::yield_now().await; // they begin to wait
    stop.send_replace(true);
    for task in tasks {
        task.await?;
    }
    Ok(())
}
