//! A campaign: one scenario over many seeds, on as many threads as there are cores.

use std::future::Future;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use steelmill_core::Result;

pub(crate) use super::runner::on_a_fresh_thread;

use crate::campaign::shard::Shard;
use crate::campaign::summary::Summary;
use crate::kernel::watchdog;
use crate::machine::sim::Sim;
use crate::run::simulate::Scenario;
use crate::schema::outcome::Outcome;
use crate::schema::plan::Faults;
use crate::schema::settings::{Schedule, Seed, Settings};
use crate::schema::verify::Verify;

/// After how many runs a search ends unless it is said.
const EXPLAIN_RUNS: u64 = 3_000;

/// One scenario over many seeds.
///
/// In a plain test, the environment can say more: `STEELMILL_SEED=7` runs that seed alone, `STEELMILL_SEEDS=10000` that
/// many, `STEELMILL_SCHEDULE=pct:3` by another schedule, `STEELMILL_VERIFY=twice` makes sure that seeds repeat, and
/// `STEELMILL_EXPLAIN=/tmp/red` explains a red one, each test's in a folder of its own there. Every flag of
/// [`cli::Args`](crate::cli::Args) is such a variable, but for those that only a program has a use for, such as `--json`.
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
pub struct Campaign<S: ?Sized> {
    /// Where it was made: that is where the scenario is.
    pub(crate) made_at: &'static Location<'static>,
    pub(crate) name: Option<String>,
    pub(crate) first: Seed,
    pub(crate) seeds: u64,
    pub(crate) until_covered: bool,
    pub(crate) shard: Option<Shard>,
    pub(crate) jobs: Option<usize>,
    pub(crate) settings: Settings,
    pub(crate) verify: Option<Verify>,
    pub(crate) failures_max: usize,
    pub(crate) keep: Option<PathBuf>,
    /// Whether of the kept seeds, too, only the first is to run.
    pub(crate) is_single: bool,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) explain_runs: u64,
    pub(crate) program: Option<String>,
    pub(crate) test_command: Option<String>,
    pub(crate) scenario: S,
}

/// A campaign of whichever scenario. All that runs a scenario is compiled for this one type, not again for each test.
pub(crate) type OfAny<'s> = Campaign<dyn Scenario + Send + Sync + 's>;

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// A campaign of 100 seeds, the first being 1, that ends with the first red one.
    #[track_caller]
    pub fn new(scenario: S) -> Self {
        Self {
            made_at: Location::caller(),
            name: None,
            first: Seed(1),
            seeds: 100,
            until_covered: false,
            shard: None,
            jobs: None,
            settings: Settings { poll_time_limit: Some(watchdog::LIMIT), ..Settings::new(Seed(1)) },
            verify: None,
            failures_max: 1,
            keep: None,
            is_single: false,
            stop: Arc::default(),
            explain_runs: EXPLAIN_RUNS,
            program: None,
            test_command: None,
            scenario,
        }
    }

    /// What reports call it, and what its [kept](Campaign::keep) seeds are found by; that of the test that runs it unless
    /// it is said.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How many seeds to run.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// Runs until no new place was hit for a while, and at most so many seeds: as many again as it took to hit the last
    /// one, and at least 200, without another. A place is a use of
    /// [`assert_sometimes!`](steelmill_core::assert_sometimes) and its kin; see [`Coverage`](crate::Coverage). How many
    /// seeds that are depends on the seeds alone, not on time or the number of threads. Takes the place of
    /// [`seeds`](Campaign::seeds). Cannot be cut into shards: none knows what the others have hit.
    pub fn until_covered(mut self, seeds_max: u64) -> Self {
        self.until_covered = true;
        self.seeds(seeds_max)
    }

    /// The first seed; the others follow it.
    pub fn first_seed(mut self, seed: Seed) -> Self {
        self.first = seed;
        self
    }

    /// Runs a part of the seeds only, for one of several machines. One that no seed is left for passes.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = Some(shard);
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

    /// What goes wrong where the scenario lets it, by [`Sim::inject_faults`]: unless it is said, what is drawn from each seed.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.settings.faults = faults;
        self
    }

    /// After how many red seeds to stop.
    pub fn failures_max(mut self, failures: usize) -> Self {
        self.failures_max = failures.max(1);
        self
    }

    /// Keeps red seeds in a file, which may be committed: they are tried before all others, those of this campaign by its
    /// [name](Campaign::name), with the plan, the schedule and the time limit with which they failed, and dropped when they
    /// pass. One that fails counts among those after which to [stop](Campaign::failures_max).
    ///
    /// ```
    /// use steelmill_sim::{Campaign, Seed, Sim};
    ///
    /// let file = std::env::temp_dir().join(format!("red-{}.json", std::process::id()));
    /// let campaign = |is_mended: bool| {
    ///     let all = Campaign::new(move |sim: Sim| async move {
    ///         anyhow::ensure!(is_mended || sim.seed() != Seed(17), "unlucky");
    ///         Ok(())
    ///     });
    ///     all.name("luck").seeds(20).keep(&file)
    /// };
    /// assert_eq!(campaign(false).run().failed.len(), 1);
    /// let kept = campaign(true).run().kept.expect("there is a file");
    /// assert_eq!((kept.tried, kept.passed[0].seed), (1, Seed(17)));
    /// # std::fs::remove_file(file)?;
    /// # anyhow::Ok(())
    /// ```
    ///
    /// The file is made when there is something to keep. Others may keep seeds in it at the same time, and nothing is lost
    /// when the campaign is interrupted. A relative path begins where the program runs, which for a test is the folder of its
    /// package.
    pub fn keep(mut self, file: impl Into<PathBuf>) -> Self {
        self.keep = Some(file.into());
        self
    }

    /// Makes sure that the seeds repeat: each is run twice, and one whose runs differ has failed.
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = Some(verify);
        self
    }

    /// Keeps which code asks the system for time, entropy or threads; see [`Summary::audit`]. A run that asks from more
    /// than 512 different stacks is told of by the first 512.
    pub fn audit(mut self) -> Self {
        self.settings.audit = true;
        self
    }

    /// How long one poll may last in real time, 30 seconds unless it is said: then the process ends, with the seed and
    /// the task named, as a thread cannot be stopped from outside.
    pub fn poll_time_limit(mut self, limit: Duration) -> Self {
        self.settings.poll_time_limit = Some(limit);
        self
    }

    /// Ends the campaign early as soon as the flag is set, when the seeds that run at that moment have ended.
    pub fn stop_when(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = flag;
        self
    }

    /// How many runs [`shrink`](Campaign::shrink) may make of a red seed: 3000 unless it is said. Up to 210 of them, and at
    /// most a quarter, are for when the failure became inevitable.
    pub fn explain_runs(mut self, runs: u64) -> Self {
        self.explain_runs = runs;
        self
    }

    /// The command of a program that runs the same scenario and takes [`cli::Args`](crate::cli::Args): a failing
    /// [`check`](Campaign::check) prints how to run the seed by it, too.
    pub fn program(mut self, command: &str) -> Self {
        self.program = Some(command.to_owned());
        self
    }

    /// What to type in place of `cargo test -p PACKAGE` to run this test: for a package that needs flags of its own.
    pub fn test_command(mut self, command: &str) -> Self {
        self.test_command = Some(command.to_owned());
        self
    }

    /// Runs the seeds.
    ///
    /// # Panics
    /// When there are none to run.
    #[track_caller]
    pub fn run(&self) -> Summary {
        self.run_with(|_| ())
    }

    /// Runs the seeds and calls `watch` after each, with what is known so far: a red one is the last of its list.
    ///
    /// # Panics
    /// When there are none to run; when they are to be verified in another process and the thread has no name; when a shard
    /// of them is to run until all is covered; when the file of kept seeds cannot be read, or holds something else.
    #[track_caller]
    pub fn run_with(&self, mut watch: impl FnMut(&Summary)) -> Summary {
        self.of_any().try_run_with(&mut watch).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// It, without its scenario's type.
    pub(crate) fn of_any(&self) -> &OfAny<'_> {
        self
    }
}

pub(crate) fn failed_text(failed: &Outcome) -> String {
    match &failed.failure {
        Some(failure) => format!("seed {} failed {failure}", failed.seed),
        None => format!("seed {} passed", failed.seed),
    }
}
