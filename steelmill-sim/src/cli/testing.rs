//! Campaigns in tests: what the environment says to them, and what a red one tells; one seed of a scenario; one daemon
//! among doubles.

use std::future::Future;
use std::path::Path;

use steelmill_core::{Daemon, DaemonRef, Factory, Result};

use super::flags::{self, Args};
use crate::campaign::campaign::{Campaign, OfAny, failed_text};
use crate::campaign::replay;
use crate::campaign::summary::Summary;
use crate::explain;
use crate::machine::sim::Sim;
use crate::schema::settings::Seed;

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// Runs the seeds and panics if one fails, saying how to run that one again.
    ///
    /// # Panics
    /// When a seed fails; when an environment variable has a wrong value, or begins with `STEELMILL_` and is none of ours.
    #[track_caller]
    pub fn check(self) {
        let said = environment();
        self.check_as(&said, true);
    }

    /// Runs the seeds as the environment says; `names_seed` is whether a seed has to be named to be run again, because
    /// the test does not do it.
    #[track_caller]
    pub(crate) fn check_as(self, said: &Args, names_seed: bool) {
        said.apply(self).of_any().check_applied(said, names_seed);
    }
}

/// Runs one seed of a scenario on a fresh thread. Of what the environment says to a [`Campaign`], all but which
/// seeds there are holds here, too: as the test says which it is, it is in every shard, and not kept.
///
/// # Panics
/// When it fails, with the reason, the seed and the command that runs it again; when an environment variable has a wrong
/// value.
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::{Seed, check};
///
/// check(Seed(7), |sim| async move {
///     let begun = sim.clock().now();
///     sim.clock().sleep(Duration::from_millis(10)).await;
///     assert_eq!(sim.clock().now() - begun, Duration::from_millis(10));
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn check<S, F>(seed: Seed, scenario: S)
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    // The test says which seed it is, whatever the environment says to campaigns.
    let said = Args {
        seed: None,
        seeds: None,
        first_seed: None,
        shard: None,
        until_covered: false,
        keep: None,
        ..environment()
    };
    Campaign::new(scenario).first_seed(seed).seeds(1).check_as(&said, false);
}

/// Tests one daemon: builds it with what `setup` provides in place of what it depends on, starts it, lets `talk` talk
/// to it, and stops it.
///
/// # Panics
/// When building, starting, talking or stopping fails; also when the stop's report is not clean.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
/// use steelmill_sim::{Seed, check_daemon};
///
/// struct Price(u32);
/// impl Daemon for Price {
///     fn build(_: &mut Factory) -> Result<Self> {
///         anyhow::bail!("asks the market: not in this test")
///     }
/// }
///
/// struct Till { price: DaemonRef<Price>, taken: AtomicU32 }
/// impl Daemon for Till {
///     fn build(factory: &mut Factory) -> Result<Self> {
///         Ok(Self { price: factory.get()?, taken: AtomicU32::new(0) })
///     }
/// }
/// impl Till {
///     fn sell(&self) -> u32 {
///         self.taken.fetch_add(self.price.0, Ordering::Relaxed) + self.price.0
///     }
/// }
///
/// check_daemon(
///     Seed(1),
///     |factory| factory.provide(Price(3)),
///     |till: DaemonRef<Till>, _sim| async move {
///         till.sell();
///         assert_eq!(till.sell(), 6);
///         Ok(())
///     },
/// );
/// ```
#[track_caller]
pub fn check_daemon<T, S, U, F>(seed: Seed, setup: S, talk: U)
where
    T: Daemon,
    S: Fn(&mut Factory) -> Result + Send + Sync + Clone + 'static,
    U: Fn(DaemonRef<T>, Sim) -> F + Send + Sync + Clone + 'static,
    F: Future<Output = Result> + 'static,
{
    check(seed, |sim| {
        let (setup, talk) = (setup.clone(), talk.clone());
        async move {
            let machine = sim.machine("machine", move |factory| {
                setup(factory)?;
                factory.with::<T>()
            });
            let machine = machine.start().await?;
            talk(machine.get::<T>()?, sim).await?;
            let report = machine.stop().await?;
            anyhow::ensure!(report.is_clean(), "{report}");
            Ok(())
        }
    });
}

impl OfAny<'_> {
    #[track_caller]
    fn check_applied(&self, said: &Args, names_seed: bool) {
        let summary = self.try_run_with(&mut |_| ()).unwrap_or_else(|error| panic!("{error:#}"));
        let saved = said.save(&summary);
        if let Err(error) = &saved {
            eprintln!("error: {error:#}");
        }
        if let Some(audit) = summary.audit_text() {
            eprintln!("{audit}");
        }
        let kept = summary.kept.as_ref();
        let error = kept.and_then(|kept| kept.error.as_ref());
        if let Some(error) = error {
            eprintln!("error: red seeds are not kept: {error}");
        }
        for passed in kept.iter().flat_map(|kept| &kept.passed) {
            eprintln!("kept seed {} passes now and is dropped: {}", passed.seed, passed.failure);
        }
        if let Some(failed) = summary.red().next() {
            let test = replay::test_command(self.test_command.as_deref());
            let is_kept = kept.is_some_and(|kept| !kept.failed.is_empty());
            let file = self.keep.as_deref().filter(|_| is_kept);
            let variables = match file {
                Some(file) => flags::kept_variables(file, failed.seed),
                None => said.variables(names_seed.then_some(failed.seed)),
            };
            let mut again = match said.explain {
                None => format!("have it explained: {}{variables}{test}\n", flags::explain_variable()),
                Some(_) => String::new(),
            };
            again.push_str(&format!("run it again with: {variables}{test}"));
            if let Some(line) = self.program_line(said, file, failed.seed) {
                again.push_str(&format!("\n               or: {line}"));
            }
            if let Some(folder) = &said.explain {
                match self.explain_first(&summary, said, names_seed, folder) {
                    Ok(text) => eprintln!("{text}"),
                    Err(error) => eprintln!("error: {error:#}"),
                }
            }
            let kept = if is_kept { "kept " } else { "" };
            panic!("{kept}{}\n{again}{}", failed_text(failed), also_red(&summary));
        }
        assert!(error.is_none(), "red seeds are not kept, see above");
        assert!(saved.is_ok(), "the plan is not saved, see above");
    }

    /// Explains the first red seed of a test in a folder of its own in there; what there is to say.
    fn explain_first(
        &self,
        summary: &Summary,
        said: &Args,
        names_seed: bool,
        folder: &Path,
    ) -> Result<String> {
        let kept = summary.kept.as_ref().and_then(|kept| kept.failed.first()).map(|(kept, _)| kept);
        let seed = summary.red().next().expect("asked for where there is one").seed;
        let settings = self.settings_of(seed, kept);
        // One that was kept may have other settings than this test.
        let flags = kept.map_or(said.clone(), |kept| Args::exactly(&settings, kept.verify));
        let variables = Args { faults: None, ..flags }.variables(names_seed.then_some(seed));
        let command = replay::test_command(self.test_command.as_deref());
        let replay = |plan: &Path| format!("{}{variables}{command}", flags::faults_variable(plan));
        let test = replay::this_test();
        let folder = explain::folder_of_seed(folder, test.as_deref(), &summary.campaign.name, seed);
        self.explain(settings, &folder, &replay, &mut |_| ()).map(|(_, text)| text)
    }

    /// What to type to run a red seed of a test by the program, if it can be told there: a plan has to be in a file, and what
    /// was kept is found by the campaign's name, which a program's is not by chance.
    fn program_line(&self, said: &Args, kept: Option<&Path>, seed: Seed) -> Option<String> {
        let program = self.program.as_deref()?;
        match kept {
            Some(file) if self.name.is_some() => {
                Some(flags::kept_command_line(program, &replay::from_anywhere(file), seed))
            }
            Some(_) => None,
            None => Some(said.of_test(&self.settings, self.verify)?.command_line(program, seed)),
        }
    }
}

/// What the environment says to the campaigns of tests.
///
/// # Panics
/// When a variable has a wrong value, or a name that is nearly ours.
#[track_caller]
pub(crate) fn environment() -> Args {
    let args = Args::from_environment(std::env::vars_os());
    let args = args.unwrap_or_else(|error| panic!("{error}"));
    args.check().unwrap_or_else(|error| panic!("{error:#}"));
    args
}

/// A line for each red seed behind the first.
fn also_red(summary: &Summary) -> String {
    let kept = summary.kept.as_ref().map_or(0, |kept| kept.failed.len());
    let also = summary.red().enumerate().skip(1).map(|(place, failed)| {
        let kept = if place < kept { "kept " } else { "" };
        let text = failed_text(failed);
        format!("\nalso red: {kept}{}", text.lines().next().unwrap_or_default())
    });
    also.collect()
}
