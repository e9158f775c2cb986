//! `run`, the `main` of a service: builds its daemons, runs them until a stop, and returns an exit code.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::{Either, select};
use steelmill_core::{Daemon, Deadlines, Error, Factory, Result, StartError, StopRequested};
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::signal::Signals;
use crate::{LogFormat, RuntimeWorld, logging};

/// The options of [`run`]: name, log, stop deadline.
#[derive(Debug, Clone)]
pub struct Options {
    /// The factory's name in reports and logs; by default "service".
    pub name: String,
    /// The format of the log on stderr; by default text.
    pub log: LogFormat,
    /// The log filter, in the syntax of `RUST_LOG`, which overrides it; by default "info".
    pub log_filter: String,
    /// The deadline of a graceful stop, and of the rollback of a failed start; by default 10 seconds. What exceeds it
    /// is aborted and named in the report; see [`Deadlines::stop`].
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

/// Builds daemons with `setup`, starts them, and runs them until the first of:
///
/// - SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal is gone): a graceful stop; exit code 0 if it is clean;
/// - a daemon requests the stop: the same;
/// - a daemon fails: the others are stopped; exit code 1.
///
/// Failures are written to stderr, whatever the log filter. If `setup` or the start fails, the error is written there,
/// too, and the exit code is 1. A second signal, at least 100 ms after the first, ends the process at once with exit code
/// 130, 143 or 129, even if every thread of the daemons is blocked. A process that was started with SIGHUP ignored, as by
/// `nohup`, goes on ignoring it.
///
/// Daemons run on tokio's multi-threaded runtime, which `setup` may use too. The process ends with them; it does not
/// wait for blocking threads.
///
/// # Panics
/// If `setup` panics.
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
    match logging::start(format, &options.log_filter).and_then(|()| run_to_end(options, setup)) {
        Ok(report) => {
            tracing::info!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::fatal(format, &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The report of a clean end; else an error that lists all failures.
fn run_to_end(options: Options, setup: impl FnOnce(&mut Factory) -> Result) -> Result<String> {
    let runtime = Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
    let outcome = {
        let _context = runtime.enter();
        assemble(options, setup).and_then(|(factory, signals)| runtime.block_on(serve(factory, signals)))
    };
    // Dropping the runtime would wait for blocking threads, which may never return.
    runtime.shutdown_background();
    outcome
}

fn assemble(
    options: Options,
    setup: impl FnOnce(&mut Factory) -> Result,
) -> Result<(Factory, watch::Receiver<bool>)> {
    let mut factory = Factory::root(&options.name, RuntimeWorld);
    factory.deadlines(Deadlines {
        stop: options.stop_deadline,
        rollback: options.stop_deadline,
        ..Deadlines::default()
    });
    let signals = Signals::build(&mut factory).context("cannot listen for signals")?;
    let is_stopping = signals.is_stopping();
    factory.provide(signals)?;
    setup(&mut factory)?;
    Ok((factory, is_stopping))
}

async fn serve(factory: Factory, mut is_stopping: watch::Receiver<bool>) -> Result<String> {
    let running = match factory.start().await {
        Ok(running) => running,
        Err(error) => return start_failed(error),
    };
    let ended = running.ended();
    // A handle held at the end would keep the daemons in memory, and the report would list it.
    let drop_at_stop = async move {
        let _ = is_stopping.wait_for(|is_stopping| *is_stopping).await;
        drop(running);
    };
    let report = match select(pin!(ended), pin!(drop_at_stop)).await {
        Either::Left((report, _)) => report,
        Either::Right(((), ended)) => ended.await,
    };
    if report.is_clean() { Ok(report.to_string()) } else { Err(Error::msg(report)) }
}

fn start_failed(error: StartError) -> Result<String> {
    match error.report().failures() {
        // A daemon or a signal requested the stop before all were prepared.
        [failure] if failure.error.is::<StopRequested>() => Ok(failure.to_string()),
        [_] => Err(error.into()),
        _ => {
            Err(Error::msg(error.report().clone())
                .context(format!("{} did not start", error.report().path())))
        }
    }
}
