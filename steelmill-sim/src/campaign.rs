//! A campaign: one scenario over many seeds, on as many threads as there are cores.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use steelmill_core::Result;

use crate::outcome::Outcome;
use crate::purity::is_pure;
use crate::settings::{Schedule, Seed, Settings};
use crate::sim::Sim;
use crate::simulate::simulate;

/// One scenario over many seeds.
///
/// In a plain test, the environment can say more: `STEELMILL_SEED=7` runs that seed alone, `STEELMILL_SEEDS=10000` that
/// many, `STEELMILL_JOBS=1` on one thread.
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::Campaign;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// Campaign::new(|sim| async move {
///     let (server, client) = (sim.client("server"), sim.client("client"));
///     let listener = server.network().bind("0.0.0.0:7000").await?;
///     server.spawn("echo", async move {
///         let (mut stream, _) = listener.accept().await?;
///         let mut message = [0; 5];
///         stream.read_exact(&mut message).await?;
///         stream.write_all(&message).await
///     });
///     let mut stream = client.network().connect("server:7000").await?;
///     let cut = sim.partition(&server, &client);
///     stream.write_all(b"hello").await?;
///     sim.clock().sleep(Duration::from_secs(5)).await;
///     cut.heal();
///     let mut answer = [0; 5];
///     stream.read_exact(&mut answer).await?;
///     anyhow::ensure!(&answer == b"hello");
///     Ok(())
/// })
/// .seeds(20)
/// .check();
/// ```
#[derive(Debug)]
#[must_use = "a campaign runs when it is checked or run"]
pub struct Campaign<S> {
    scenario: S,
    name: String,
    first: Seed,
    seeds: u64,
    jobs: Option<usize>,
    settings: Settings,
    failures_max: usize,
}

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// A campaign of 100 seeds, the first being 1, that ends with the first red one.
    pub fn new(scenario: S) -> Self {
        Self {
            scenario,
            name: "scenario".to_owned(),
            first: Seed(1),
            seeds: 100,
            jobs: None,
            settings: Settings { watched: true, ..Settings::new(Seed(1)) },
            failures_max: 1,
        }
    }

    /// What reports call it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// How many seeds to run.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// The first seed; the others follow it.
    pub fn first_seed(mut self, seed: Seed) -> Self {
        self.first = seed;
        self
    }

    /// On how many threads; as many as there are cores unless it is said.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = Some(jobs.max(1));
        self
    }

    /// How much virtual time a seed may take.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// Which of the ready tasks runs next.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.schedule = schedule;
        self
    }

    /// After how many red seeds to stop.
    pub fn failures_max(mut self, failures: usize) -> Self {
        self.failures_max = failures.max(1);
        self
    }

    /// Runs the seeds and panics if one fails, saying how to run that one again.
    ///
    /// # Panics
    /// When a seed fails; when an environment variable that is set is not a number.
    #[track_caller]
    pub fn check(mut self) {
        if let Some(seed) = from_environment("STEELMILL_SEED") {
            (self.first, self.seeds) = (Seed(seed), 1);
        } else if let Some(seeds) = from_environment("STEELMILL_SEEDS") {
            self.seeds = seeds;
        }
        if let Some(jobs) = from_environment("STEELMILL_JOBS") {
            self = self.jobs(jobs as usize);
        }
        if let Some(failed) = self.run().failed.first() {
            panic!("{}\nrun it again with: {}", failed_text(failed), test_command(failed.seed));
        }
    }

    /// Runs the seeds.
    ///
    /// # Panics
    /// When there are none to run.
    pub fn run(&self) -> Summary {
        self.run_with(|_| ())
    }

    /// Runs the seeds and calls `watch` after each, with what is known so far: a red one is the last of `failed`.
    ///
    /// # Panics
    /// When there are none to run.
    #[expect(
        clippy::disallowed_methods,
        reason = "a campaign's speed is measured in real time, outside of any run"
    )]
    pub fn run_with(&self, mut watch: impl FnMut(&Summary)) -> Summary {
        assert!(self.seeds > 0, "a campaign of no seeds would show nothing");
        let begun = Instant::now();
        let jobs =
            self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
        let queue = Queue {
            next: AtomicU64::new(0),
            asked: self.seeds,
            failures: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        };
        let (report, outcomes) = mpsc::channel();
        let mut summary = Summary::new(&self.name, self.seeds);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let (report, queue) = (report.clone(), &queue);
                scope.spawn(move || self.work(queue, &report));
            }
            drop(report);
            for outcome in outcomes {
                summary.add(outcome);
                summary.wall = begun.elapsed();
                watch(&summary);
            }
        });
        summary.failed.sort_by_key(|outcome| outcome.seed);
        summary.wall = begun.elapsed();
        summary
    }

    /// Works seeds off until there is none left.
    fn work(&self, queue: &Queue, report: &mpsc::Sender<Outcome>) {
        while let Some(offset) = queue.take() {
            let settings =
                Settings { seed: Seed(self.first.0.wrapping_add(offset)), ..self.settings.clone() };
            let outcome = on_a_fresh_thread(|| simulate(settings, &self.scenario));
            if !outcome.passed() && queue.failures.fetch_add(1, Ordering::Relaxed) + 1 >= self.failures_max {
                queue.is_over.store(true, Ordering::Relaxed);
            }
            if report.send(outcome).is_err() {
                return;
            }
        }
    }
}

/// The seeds that are left.
struct Queue {
    next: AtomicU64,
    asked: u64,
    failures: AtomicUsize,
    is_over: AtomicBool,
}

impl Queue {
    fn take(&self) -> Option<u64> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let offset = self.next.fetch_add(1, Ordering::Relaxed);
        (offset < self.asked).then_some(offset)
    }
}

/// Runs something where std has drawn no keys for hash maps, and `rand::rng()` no state, before. Starting a thread takes
/// some 50 µs.
#[expect(clippy::disallowed_methods, reason = "the thread is joined before anything else happens")]
pub(crate) fn on_a_fresh_thread<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("simulation".into()).stack_size(STACK);
        let handle = thread.spawn_scoped(scope, run).expect("a thread can be started");
        handle.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    })
}

/// Room for a scenario's deepest poll; only what is used is ever backed by memory.
const STACK: usize = 16 << 20;

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value:?} is not a number")))
}

pub(crate) fn failed_text(failed: &Outcome) -> String {
    match &failed.failure {
        Some(failure) => format!("seed {} failed {failure}", failed.seed),
        None => format!("seed {} passed", failed.seed),
    }
}

/// How to run a seed of a plain test again. The test harness names its threads after its tests.
pub(crate) fn test_command(seed: Seed) -> String {
    let current = std::thread::current();
    let test = current.name().filter(|name| *name != "main").unwrap_or_default();
    format!("STEELMILL_SEED={seed} cargo test {test}").trim_end().to_owned()
}

/// What a campaign came to.
#[derive(Debug)]
pub struct Summary {
    /// What the campaign is called.
    pub name: String,
    /// How many seeds were asked for.
    pub asked: u64,
    /// How many ran.
    pub seeds: u64,
    /// Those that failed, by seed.
    pub failed: Vec<Outcome>,
    /// Virtual time, over all seeds.
    pub simulated: Duration,
    /// Polls, over all seeds.
    pub polls: u64,
    /// Timers that fired and messages that arrived, over all seeds.
    pub events: u64,
    /// What the scenario counted, over all seeds.
    pub counts: BTreeMap<&'static str, Count>,
    /// The digests of all seeds taken together, whatever the order they ran in.
    pub digest: u64,
    /// Seeds that something from outside reached.
    pub impure: u64,
    /// How long it took.
    pub wall: Duration,
}

/// A number that the scenario counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Over all seeds.
    pub total: u64,
    /// The least of any seed that counted it.
    pub least: u64,
}

impl Summary {
    fn new(name: &str, asked: u64) -> Self {
        Self {
            name: name.to_owned(),
            asked,
            seeds: 0,
            failed: Vec::new(),
            simulated: Duration::ZERO,
            polls: 0,
            events: 0,
            counts: BTreeMap::new(),
            digest: 0,
            impure: 0,
            wall: Duration::ZERO,
        }
    }

    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.polls += outcome.polls;
        self.events += outcome.events;
        self.impure += u64::from(outcome.impure);
        self.digest =
            self.digest.wrapping_add((outcome.digest ^ outcome.seed.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (what, n) in &outcome.counts {
            let count = self.counts.entry(what).or_insert(Count { total: 0, least: u64::MAX });
            count.total += n;
            count.least = count.least.min(*n);
        }
        if !outcome.passed() {
            self.failed.push(outcome);
        }
    }

    /// Whether every seed passed.
    pub fn passed(&self) -> bool {
        self.failed.is_empty()
    }

    /// How many seeds a minute ran.
    pub fn seeds_per_minute(&self) -> f64 {
        60.0 * self.seeds as f64 / self.wall.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed.len() as u64;
        writeln!(
            f,
            "{}: {} seed(s), {} passed, {failed} failed",
            self.name,
            self.seeds,
            self.seeds - failed
        )?;
        if self.seeds < self.asked {
            writeln!(f, "  stopped early: {} of {} seeds did not run", self.asked - self.seeds, self.asked)?;
        }
        writeln!(f, "  {:.1} s, {:.0} seeds a minute", self.wall.as_secs_f64(), self.seeds_per_minute())?;
        let simulated = self.simulated.as_secs_f64();
        let each = simulated / self.seeds.max(1) as f64;
        writeln!(
            f,
            "  {simulated:.0} simulated seconds ({each:.0} each), {} polls, {} events",
            self.polls, self.events
        )?;
        for (what, Count { total, least }) in &self.counts {
            writeln!(f, "  {total} {what} (at least {least} in a seed)")?;
        }
        write!(f, "  digest {:016x}", self.digest)?;
        if !is_pure() {
            write!(f, ", purity: off (the system's clock and entropy are not simulated on this platform)")?;
        }
        if self.impure > 0 {
            write!(f, "\n  {} seeds were reached by something from outside and may not repeat", self.impure)?;
        }
        if cfg!(not(tokio_unstable)) {
            write!(f, "\n  built without --cfg tokio_unstable: tokio::select! is not repeatable")?;
        }
        Ok(())
    }
}
