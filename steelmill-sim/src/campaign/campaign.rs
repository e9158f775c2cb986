//! Campaign: runs one scenario over many seeds, in parallel on all cores.

use std::future::Future;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use steelmill_core::Result;

use crate::campaign::processes::Processes;
use crate::campaign::shard::Shard;
use crate::campaign::summary::Summary;
use crate::kernel::watchdog;
use crate::machine::sim::Sim;
use crate::run::simulate::Scenario;
use crate::schema::decision::Redraws;
use crate::schema::estimates::Estimates;
use crate::schema::outcome::Outcome;
use crate::schema::plan::Faults;
use crate::schema::settings::{Schedule, Seed, Settings};
use crate::schema::verify::Verify;

/// The default limit on the runs that shrink and explain one red seed.
const EXPLAIN_RUNS: u64 = 3_000;

/// Runs one scenario over many seeds.
///
/// Environment variables override a test's settings: `STEELMILL_SEED=7` runs only that seed, `STEELMILL_SEEDS=10000` that
/// many, `STEELMILL_SCHEDULE=pct:3` selects a schedule, `STEELMILL_VERIFY=twice` verifies that seeds repeat, and
/// `STEELMILL_EXPLAIN=/tmp/red` explains a red seed in a subfolder per test. Every flag of [`cli::Args`](crate::cli::Args)
/// is such a variable, except those for command lines only: `--json`, `--junit` and `--merge`.
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
    /// Where the campaign was constructed, and with it the scenario.
    pub(crate) made_at: &'static Location<'static>,
    pub(crate) name: Option<String>,
    pub(crate) first: Seed,
    pub(crate) seeds: u64,
    pub(crate) until_covered: bool,
    pub(crate) guided: bool,
    pub(crate) shard: Option<Shard>,
    pub(crate) jobs: Option<usize>,
    pub(crate) settings: Settings,
    pub(crate) verify: Option<Verify>,
    pub(crate) failures_max: usize,
    pub(crate) keep: Option<PathBuf>,
    /// Whether only the seed `first` runs, of the kept seeds too.
    pub(crate) is_single: bool,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) explain_runs: u64,
    pub(crate) program: Option<String>,
    pub(crate) test_command: Option<String>,
    pub(crate) processes: Processes,
    /// What the trial run has counted, if the schedule needs one.
    pub(crate) estimates: OnceLock<Estimates>,
    pub(crate) scenario: S,
}

/// A campaign with a type-erased scenario, so that its code is compiled once, not for each test.
pub(crate) type AnyCampaign<'s> = Campaign<dyn Scenario + Send + Sync + 's>;

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// A campaign of the seeds 1 to 100 that stops at the first red seed.
    #[track_caller]
    pub fn new(scenario: S) -> Self {
        Self {
            made_at: Location::caller(),
            name: None,
            first: Seed(1),
            seeds: 100,
            until_covered: false,
            guided: false,
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
            processes: Processes::default(),
            estimates: OnceLock::new(),
            scenario,
        }
    }

    /// The name in reports and in the file of [kept](Campaign::keep) seeds; by default that of the test.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The number of seeds; 100 by default.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// Runs until no new coverage point is hit for as many seeds as it took to hit the last one, and at least 200; stops
    /// after `seeds_max` seeds. A coverage point is a use of [`assert_sometimes!`](steelmill_core::assert_sometimes) or a
    /// similar macro; see [`Coverage`](crate::Coverage). The number of seeds does not depend on time or on the number of
    /// threads. Replaces [`seeds`](Campaign::seeds). Cannot be combined with [`shard`](Campaign::shard): no shard knows what
    /// the others hit.
    pub fn until_covered(mut self, seeds_max: u64) -> Self {
        self.until_covered = true;
        self.seeds(seeds_max)
    }

    /// Learns: half of the runs are varied from former ones that came to a rare place. They are the same up to the moment
    /// at which they did, and drawn anew from there on, with other faults or the same ones at other times.
    ///
    /// Places are coverage points (`assert_sometimes!` and its kin) and how far the values of
    /// [bounds](steelmill_core::coverage#bounds) went, so a campaign finds sooner what takes several steps, if the code says
    /// which steps are rare: a retry counter that climbs, a queue that fills up. Where it says nothing of the kind, half of the
    /// runs are wasted. What it pays is in docs/bugs.md.
    ///
    /// The runs do not depend on the number of threads. Each shard learns by itself. A red run is the seed it began with and
    /// its [`Redraws`](crate::Redraws), with which it replays alone. Cannot be combined with
    /// [`until_covered`](Campaign::until_covered) and [`Verify::Process`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use steelmill_core::assert_sometimes_at_least;
    /// use steelmill_sim::{Campaign, Sim};
    ///
    /// // Eight steps, each with a chance of one in four: one run in 65,536.
    /// let campaign = || {
    ///     Campaign::new(|sim: Sim| async move {
    ///         let mut steps = 0;
    ///         while steps < 8 && sim.draw(4) == 0 {
    ///             steps += 1;
    ///             assert_sometimes_at_least!(steps, 8, "all steps");
    ///             sim.clock().sleep(Duration::from_secs(1)).await;
    ///         }
    ///         anyhow::ensure!(steps < 8, "that was the last step");
    ///         Ok(())
    ///     })
    /// };
    /// assert!(campaign().seeds(1000).run().passed());
    /// assert!(!campaign().seeds(1000).guided().run().passed());
    /// ```
    pub fn guided(mut self) -> Self {
        self.guided = true;
        self
    }

    /// Varies every run from its seed's own, as a [guided](Campaign::guided) campaign has varied one: replays that run, if the
    /// campaign has its seed alone.
    pub fn redraws(mut self, redraws: Redraws) -> Self {
        self.settings.reseeds = redraws.reseeds();
        self
    }

    /// The first seed, 1 by default; the others are consecutive.
    pub fn first_seed(mut self, seed: Seed) -> Self {
        self.first = seed;
        self
    }

    /// Runs only one part of the seeds, as one of several machines. A shard without seeds passes.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = Some(shard);
        self
    }

    /// The number of threads, at least 1; by default one per core.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = Some(jobs.max(1));
        self
    }

    /// The limit on a seed's virtual time, a day by default. A seed that exceeds it fails.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// The schedule: which ready task runs next.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.schedule = schedule;
        self
    }

    /// The faults that [`Sim::inject_faults`] injects; by default drawn from each seed.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.settings.faults = faults;
        self
    }

    /// The number of red seeds after which the campaign stops, at least 1; 1 by default. These are the lowest ones, whatever
    /// the number of threads, and seeds beyond them are not reported.
    pub fn failures_max(mut self, failures: usize) -> Self {
        self.failures_max = failures.max(1);
        self
    }

    /// Keeps red seeds in a file that can be committed. Kept seeds of this campaign, by its [name](Campaign::name), run
    /// before all others, with the faults, the schedule and the time limit they failed with, and are dropped when they pass.
    /// All of them run, and one that fails counts for [`failures_max`](Campaign::failures_max).
    ///
    /// ```
    /// use steelmill_sim::{Campaign, Seed, Sim};
    ///
    /// let file = std::env::temp_dir().join(format!("red-{}.json", std::process::id()));
    /// let campaign = |is_fixed: bool| {
    ///     let all = Campaign::new(move |sim: Sim| async move {
    ///         anyhow::ensure!(is_fixed || sim.seed() != Seed(17), "unlucky");
    ///         Ok(())
    ///     });
    ///     all.name("luck").seeds(20).keep(&file)
    /// };
    /// assert_eq!(campaign(false).run().failed.len(), 1);
    /// let kept = campaign(true).run().kept.expect("there is a file");
    /// assert_eq!((kept.ran, kept.passed[0].seed), (1, Seed(17)));
    /// # std::fs::remove_file(file)?;
    /// # anyhow::Ok(())
    /// ```
    ///
    /// The file is created with the first red seed. Several campaigns may use it at the same time, and an interrupted one
    /// loses nothing. A relative path starts at the working directory, which for a test is its package's folder.
    pub fn keep(mut self, file: impl Into<PathBuf>) -> Self {
        self.keep = Some(file.into());
        self
    }

    /// Verifies that seeds repeat: runs each twice, once traced and once not; a seed whose runs differ fails.
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = Some(verify);
        self
    }

    /// Records which code asks the system for time, entropy or threads; see [`Summary::audit`]. Per run, the first 512
    /// distinct stacks are recorded.
    pub fn audit(mut self) -> Self {
        self.settings.audit = true;
        self
    }

    /// The limit on one poll's real time, 30 seconds by default. A seed that exceeds it fails, and the failure has the stack of the
    /// poll. Its thread is stopped where it is, and stays with all that it holds until the process ends: on Linux, and if the poll
    /// executes the program's own code, not the C library's, and holds no stream of std. Otherwise the process exits, and names the seed, the task and the stack on standard error.
    pub fn poll_time_limit(mut self, limit: Duration) -> Self {
        self.settings.poll_time_limit = Some(limit);
        self
    }

    /// Stops the campaign when the flag is set, after the seeds that are running at that moment.
    pub fn stop_when(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = flag;
        self
    }

    /// The limit on the runs that [`shrink`](Campaign::shrink) makes of a red seed; 3000 by default. Up to 210 of them, at
    /// most a quarter, measure when the failure became inevitable.
    pub fn explain_runs(mut self, runs: u64) -> Self {
        self.explain_runs = runs;
        self
    }

    /// The command of a program that runs the same scenario and takes [`cli::Args`](crate::cli::Args). A failing
    /// [`check`](Campaign::check) also prints how to replay the seed with it.
    pub fn program(mut self, command: &str) -> Self {
        self.program = Some(command.to_owned());
        self
    }

    /// The command that replaces `cargo test -p PACKAGE` in printed replay commands: for a package that needs other flags.
    pub fn test_command(mut self, command: &str) -> Self {
        self.test_command = Some(command.to_owned());
        self
    }

    /// Runs the seeds and returns the result; a red seed does not panic, unlike in [`check`](Campaign::check).
    ///
    /// # Panics
    /// As [`run_with`](Campaign::run_with).
    #[track_caller]
    pub fn run(&self) -> Summary {
        self.run_with(|_| ())
    }

    /// Runs the seeds, and calls `watch` after each, in their order, with the result so far; a new red seed is the last of
    /// its list.
    ///
    /// # Panics
    /// When the number of seeds is 0; with [`Verify::Process`] on a thread without a name; with both
    /// [`shard`](Campaign::shard) and [`until_covered`](Campaign::until_covered); when the plan's order contradicts the
    /// schedule; when the file of kept seeds cannot be read or is no such file, and when the campaign has no name for it.
    #[track_caller]
    pub fn run_with(&self, mut watch: impl FnMut(&Summary)) -> Summary {
        self.as_any().try_run_with(&mut watch).unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub(crate) fn as_any(&self) -> &AnyCampaign<'_> {
        self
    }
}

pub(crate) fn failed_text(failed: &Outcome) -> String {
    match &failed.failure {
        Some(failure) => format!("seed {} failed {failure}", failed.seed),
        None => format!("seed {} passed", failed.seed),
    }
}
