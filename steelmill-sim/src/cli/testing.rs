//! Test helpers: `Campaign::check`, which reads environment variables and panics with the replay command; `check` for one
//! seed; `check_daemon` for one daemon among test doubles.

use std::future::Future;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Once;

use steelmill_core::{Daemon, DaemonRef, Factory, Result};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, dispatcher};

use super::flags::{Args, explain_variable, faults_variable, kept_command_line, kept_variables};
use crate::campaign::again;
use crate::campaign::campaign::{AnyCampaign, Campaign, failed_text};
use crate::campaign::replay;
use crate::campaign::summary::Summary;
use crate::explain;
use crate::machine::sim::Sim;
use crate::schema::outcome::Outcome;
use crate::schema::settings::Seed;
use crate::trace::logging;

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// Runs the seeds in a test, with the settings that environment variables override, prints the
    /// [summary](crate::Summary), and panics if one fails. With `STEELMILL_SEED` or `RUST_LOG` set it also prints the log,
    /// unless the test has a `tracing` subscriber of its own. The test harness captures both.
    ///
    /// # Panics
    /// When a seed fails, with its error and the command that replays it; when a variable that begins with `STEELMILL_` has
    /// an invalid value or an unknown name; otherwise as [`run_with`](Campaign::run_with).
    #[track_caller]
    pub fn check(self) {
        let flags = environment_flags();
        self.check_with(&flags, true);
    }

    /// Runs the seeds with `flags` applied. `names_seed`: whether the replay command must name the seed, as the test itself
    /// does not.
    #[track_caller]
    pub(crate) fn check_with(self, flags: &Args, names_seed: bool) {
        flags.apply(self).as_any().check_applied(flags, names_seed);
    }
}

/// Runs one seed of a scenario in a test, on a new thread. The environment variables of a [`Campaign`] apply, except those
/// that select seeds: the seed runs in every shard, and is not kept.
///
/// # Panics
/// When the seed fails, with the error and the command that replays it; when an environment variable has an invalid value
/// or an unknown name.
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
    let flags = Args {
        seed: None,
        seeds: None,
        first_seed: None,
        shard: None,
        until_covered: false,
        keep: None,
        ..environment_flags()
    };
    Campaign::new(scenario).first_seed(seed).seeds(1).check_with(&flags, false);
}

/// Unit test of one daemon: `setup` provides test doubles for its dependencies; the daemon is built and started, `talk`
/// calls it, and it is stopped.
///
/// # Panics
/// When building, starting, `talk` or stopping fails, and when the report of the stop is not clean.
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
            let life = machine.stop().await?;
            anyhow::ensure!(life.is_success(), "{life}");
            Ok(())
        }
    });
}

impl AnyCampaign<'_> {
    #[track_caller]
    fn check_applied(&self, flags: &Args, names_seed: bool) {
        warn_of_select();
        let run = || self.try_run_with(&mut |_| ());
        let has_subscriber = !dispatcher::get_default(Dispatch::is::<NoSubscriber>);
        let summary = match wants_log() && !has_subscriber {
            true => dispatcher::with_default(&logging::captured("info"), run),
            false => run(),
        };
        let summary = summary.unwrap_or_else(|error| panic!("{error:#}"));
        println!("{summary}\n");
        let saved = flags.save(&summary);
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
                Some(file) => kept_variables(file, failed.seed),
                None => flags.redrawn(&failed.redraws).variables(names_seed.then_some(failed.seed)),
            };
            let mut commands = match flags.explain {
                None => format!("explain it: {}{variables}{test}\n", explain_variable()),
                Some(_) => String::new(),
            };
            commands.push_str(&format!("run it again with: {variables}{test}"));
            if let Some(line) = self.program_line(flags, file, failed) {
                commands.push_str(&format!("\n               or: {line}"));
            }
            if let Some(folder) = &flags.explain {
                match self.explain_first(&summary, flags, names_seed, folder) {
                    Ok(text) => eprintln!("{text}"),
                    Err(error) => eprintln!("error: {error:#}"),
                }
            }
            let kept = if is_kept { "kept " } else { "" };
            let select = select_note(cfg!(tokio_unstable));
            panic!("{kept}{}\n{commands}{}{select}", failed_text(failed), also_red(&summary));
        }
        assert!(error.is_none(), "red seeds are not kept, see above");
        assert!(saved.is_ok(), "the plan is not saved, see above");
    }

    /// Explains the first red seed of a test in a subfolder of `folder`; returns the text of the explanation.
    fn explain_first(
        &self,
        summary: &Summary,
        flags: &Args,
        names_seed: bool,
        folder: &Path,
    ) -> Result<String> {
        let kept = summary.kept.as_ref().and_then(|kept| kept.failed.first()).map(|(kept, _)| kept);
        let red = summary.red().next().expect("asked for where there is one");
        let seed = red.seed;
        let settings = self.settings_of(seed, Some(&red.redraws), kept);
        // A kept seed may have other settings than this test.
        let flags = kept.map_or(flags.redrawn(&red.redraws), |kept| Args::explicit(&settings, kept.verify));
        let variables = Args { faults: None, ..flags }.variables(names_seed.then_some(seed));
        let command = replay::test_command(self.test_command.as_deref());
        let replay = |plan: &Path| format!("{}{variables}{command}", faults_variable(plan));
        let test = replay::current_test();
        let folder = explain::folder_of_seed(folder, test.as_deref(), &summary.campaign.name, seed);
        self.explain(settings, &folder, &replay, &mut |_| ()).map(|(_, text)| text)
    }

    /// The command by which the program replays a red seed of a test. `None` if it cannot: a plan must be in a file, and a
    /// kept seed is found only if test and program give their campaign the same explicit name.
    fn program_line(&self, flags: &Args, kept: Option<&Path>, red: &Outcome) -> Option<String> {
        let program = self.program.as_deref()?;
        match kept {
            Some(file) if self.name.is_some() => {
                Some(kept_command_line(program, &replay::absolute(file), red.seed))
            }
            Some(_) => None,
            None => {
                let flags = flags.for_program(&self.settings, self.verify)?.redrawn(&red.redraws);
                Some(flags.command_line(program, red.seed))
            }
        }
    }
}

/// The flags from the environment variables of a test.
///
/// # Panics
/// When a variable has an invalid value or an unknown name.
#[track_caller]
pub(crate) fn environment_flags() -> Args {
    let args = Args::from_environment(std::env::vars_os());
    let args = args.unwrap_or_else(|error| panic!("{error}"));
    args.check().unwrap_or_else(|error| panic!("{error:#}"));
    args
}

/// Whether the environment asks for the log: as on a command line, where one seed is looked at, or by name.
fn wants_log() -> bool {
    ["STEELMILL_SEED", "RUST_LOG"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Says in the first campaign of a process what does not repeat. Green tests too should show it, so it goes past the test
/// harness, which captures what is printed by macros.
fn warn_of_select() {
    static ONCE: Once = Once::new();
    // A process that is started for a run was started by one that has said it.
    let is_ours = again::OURS.iter().any(|name| std::env::var_os(name).is_some());
    if !cfg!(tokio_unstable) && !is_ours {
        ONCE.call_once(|| {
            let _ = writeln!(io::stderr(), "\nwarning:{}", select_note(false).replace('\n', " "));
        });
    }
}

/// What to add to a failure where `tokio::select!` does not repeat.
fn select_note(repeats: bool) -> &'static str {
    match repeats {
        true => "",
        false => {
            "\nbuilt without --cfg tokio_unstable: tokio::select! does not repeat, so the seed may pass when it is run again; \
             set rustflags = [\"--cfg\", \"tokio_unstable\"] in .cargo/config.toml"
        }
    }
}

fn also_red(summary: &Summary) -> String {
    let kept = summary.kept.as_ref().map_or(0, |kept| kept.failed.len());
    let also = summary.red().enumerate().skip(1).map(|(index, failed)| {
        let kept = if index < kept { "kept " } else { "" };
        let text = failed_text(failed);
        format!("\nalso red: {kept}{}", text.lines().next().unwrap_or_default())
    });
    also.collect()
}

#[cfg(test)]
mod tests {
    use super::select_note;

    #[test]
    fn a_failure_says_that_select_does_not_repeat() {
        assert_eq!(select_note(true), "");
        let note = select_note(false);
        assert!(
            note.contains("tokio::select! does not repeat") && note.contains(".cargo/config.toml"),
            "{note}"
        );
    }
}
