//! What a service's `main` calls: assembles its daemons, runs them until they are told to stop, and tells how it went.

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
/// - SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal is gone): a graceful stop, and 0 when all went well;
/// - a daemon that asks for the stop: the same;
/// - a daemon that fails: the others are stopped, and 1.
///
/// What went wrong is told on stderr, whatever the log filter; so is what keeps the daemons from being assembled or
/// started, which also gives 1. A second signal, a tenth of a second after the first or later, ends the process at once,
/// with 130, 143 or 129; it works however busy or stuck the daemons are. A process that was started with SIGHUP ignored, as
/// `nohup` does it, goes on ignoring it.
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
    match logging::start(&options).and_then(|()| live(options, setup)) {
        Ok(goodbye) => {
            tracing::info!("{goodbye}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::fatal(format, &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What there is to say when all went well; else an error that tells everything that did not.
fn live(options: Options, setup: impl FnOnce(&mut Factory) -> Result) -> Result<String> {
    let runtime = Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
    let outcome = {
        let _context = runtime.enter();
        assemble(options, setup).and_then(|(factory, signals)| runtime.block_on(serve(factory, signals)))
    };
    // Dropping the runtime would wait for blocking threads, and those may never return.
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
        Err(error) => return did_not_start(error),
    };
    let ended = running.ended();
    // Whoever holds the factory when it ends keeps its daemons in memory, and stands in the report for it.
    let let_go = async move {
        let _ = is_stopping.wait_for(|is_stopping| *is_stopping).await;
        drop(running);
    };
    let report = match select(pin!(ended), pin!(let_go)).await {
        Either::Left((report, _)) => report,
        Either::Right(((), ended)) => ended.await,
    };
    if report.is_clean() { Ok(report.to_string()) } else { Err(Error::msg(report)) }
}

fn did_not_start(error: StartError) -> Result<String> {
    match error.report().failures() {
        // One of the daemons, or a signal, asked for the stop before all were prepared.
        [failure] if failure.error.is::<StopRequested>() => Ok(failure.to_string()),
        [_] => Err(error.into()),
        _ => {
            Err(Error::msg(error.report().clone())
                .context(format!("{} did not start", error.report().path())))
        }
    }
}
