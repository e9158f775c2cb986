//! What a service's `main` calls: assembles its daemons, runs them until they are told to stop, and tells how it went.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use steelmill_core::{Deadlines, Factory, Report, Result};
use tokio::runtime::Builder;

use crate::signal::Signals;
use crate::{LogFormat, RuntimeWorld, logging};

/// How [`run`] runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// What reports and logs call the factory: "service" if nothing better is said.
    pub name: String,
    /// How the log is written to stderr.
    pub log: LogFormat,
    /// What is logged, as in `RUST_LOG`, which wins where it is set: "info".
    pub log_filter: String,
    /// How long a graceful stop, or the rollback of a failed start, may take: 10 seconds. What overstays is aborted and
    /// named; see [`Deadlines::stop`].
    pub stop_deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "service".to_owned(),
            log: LogFormat::default(),
            log_filter: "info".to_owned(),
            stop_deadline: Deadlines::default().stop,
        }
    }
}

/// Assembles daemons with `setup`, starts them, and keeps them running until the first of:
///
/// - SIGINT (Ctrl-C) or SIGTERM: a graceful stop, and 0 when all went well;
/// - a daemon that asks for the stop: the same;
/// - a daemon that fails: the others are stopped, and 1.
///
/// What went wrong is told on stderr, whatever the log filter; so is what keeps the daemons from being assembled or
/// started, which also gives 1. A second SIGINT or SIGTERM ends the process at once, with 130 or 143; it works however
/// busy or stuck the daemons are.
///
/// The daemons run on tokio's multi-threaded runtime, which `setup` may use too. When they have ended the process waits
/// for nothing else, not for a blocking thread either.
///
/// # Panics
/// Where `setup` does.
///
/// # Example
/// ```no_run
/// use std::process::ExitCode;
///
/// use steelmill_core::{Daemon, Factory, Result};
/// use steelmill_runtime::{Options, run};
///
/// struct Greeter;
///
/// impl Daemon for Greeter {
///     fn build(_: &mut Factory) -> Result<Self> {
///         Ok(Greeter)
///     }
/// }
///
/// fn main() -> ExitCode {
///     let options = Options { name: "greetings".to_owned(), ..Options::default() };
///     run(options, |factory| factory.with::<Greeter>())
/// }
/// ```
pub fn run(options: Options, setup: impl FnOnce(&mut Factory) -> Result) -> ExitCode {
    let format = options.log;
    let outcome = logging::start(&options).and_then(|()| live(options, setup));
    match outcome {
        Ok(report) if report.is_clean() => {
            tracing::info!("{report}");
            ExitCode::SUCCESS
        }
        Ok(report) => {
            logging::fatal(format, &report.to_string());
            ExitCode::FAILURE
        }
        Err(error) => {
            logging::fatal(format, &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn live(options: Options, setup: impl FnOnce(&mut Factory) -> Result) -> Result<Arc<Report>> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start tokio")?;
    let outcome = {
        let _context = runtime.enter();
        assemble(options, setup).and_then(|factory| runtime.block_on(until_the_end(factory)))
    };
    // Dropping the runtime would wait for blocking threads, and those may never return.
    runtime.shutdown_background();
    outcome
}

fn assemble(options: Options, setup: impl FnOnce(&mut Factory) -> Result) -> Result<Factory> {
    let mut factory = Factory::root(&options.name, RuntimeWorld);
    factory.deadlines(Deadlines {
        stop: options.stop_deadline,
        rollback: options.stop_deadline,
        ..Deadlines::default()
    });
    factory.with::<Signals>()?;
    setup(&mut factory)?;
    Ok(factory)
}

async fn until_the_end(factory: Factory) -> Result<Arc<Report>> {
    match factory.start().await {
        Ok(running) => Ok(running.ended().await),
        Err(error) => match error.report().failures() {
            [_] => Err(error.into()),
            // More than one line can tell; or nothing but a signal that came early.
            _ => Ok(error.report().clone()),
        },
    }
}
