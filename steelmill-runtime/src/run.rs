//! `run`, the `main` of a service: builds its daemons, runs them until a stop, and returns an exit code.

use std::env;
use std::mem::forget;
use std::num::NonZero;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use steelmill_core::{Deadlines, Error, Factory, Report, Result, StartError, StopRequested};
use tokio::runtime::Builder;

use crate::reload::{Reloads, ReloadsOf};
use crate::signal::{Served, Signals};
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
    /// is aborted and named in the report; see [`Deadlines::stop`]. The process has ended within twice this, or 800 ms if that is
    /// more, after the drain.
    pub stop_deadline: Duration,
    /// For how long a requested stop goes on serving, after readiness is withdrawn and before the first daemon is told to stop;
    /// by default not at all. See [`Factory::drain`].
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "service".to_owned(),
            log: LogFormat::default(),
            log_filter: "info".to_owned(),
            stop_deadline: Deadlines::default().stop,
            drain: Duration::ZERO,
        }
    }
}

/// Builds daemons with `setup`, starts them, and runs them until the first of:
///
/// - SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal is gone): a graceful stop; exit code 0 if it is clean. With a configuration
///   that can be loaded again ([`configure`](crate::configure)), SIGHUP does that instead;
/// - a daemon requests the stop: the same;
/// - a daemon fails: the others are stopped; exit code 1.
///
/// Failures are written to stderr, whatever the log filter. If `setup` or the start fails, the error is written there,
/// too, and the exit code is 1. A second signal, at least 100 ms after the first, ends the process at once with exit code
/// 130, 143 or 129, even if every thread of the daemons is blocked. While the factory drains, it ends the drain instead, and the
/// next one ends the process. A process that was started with SIGHUP ignored, as by
/// `nohup`, goes on ignoring it.
///
/// A process may call this again after it has returned, and on several threads at a time: signals are for all services that
/// have not ended, each of which stops by its first and ends the process by its second. The logging is that of the first call.
///
/// Daemons run on tokio's multi-threaded runtime, with two threads at least, which `setup` may use too. The process ends with
/// them; it does not wait for blocking threads.
///
/// Under systemd (`Type=notify`), the service manager is told by its protocol, sd_notify(3): `READY` when the factory is
/// [ready](steelmill_core::FactoryHealth) for the first time, `STOPPING` when it drains or stops, `RELOADING`, the health as
/// `STATUS`, and with `WatchdogSec=` a sign of life as long as the supervisors answer, tokio polls tasks, and no daemon is
/// unresponsive. Nothing is done for this when `NOTIFY_SOCKET` is not set.
///
/// The process ends whatever the daemons do, within twice the stop deadline: from the signal, or from when a daemon requests the stop or
/// fails; or, with a [drain](Options::drain), from the end of that. A daemon that blocks a thread, or all of them, is
/// aborted, named in the report and left behind. As a last resort, where a log line blocks, or `setup`, or the machine is too busy, the
/// state of each daemon is written to stderr [shortly before that time](Deadlines::last_resort), and the process ends with exit
/// code 1.
///
/// In a program that is built with `panic = "abort"` none of this holds for panics: each ends the process, and a warning in the
/// log says so at the start.
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
    // Until the last line is written: that may block, too.
    let mut served = None;
    let outcome = logging::start(format, &options.log_filter).and_then(|()| {
        warn_of_aborts(cfg!(panic = "abort"));
        run_to_end(options, setup, |by_signals| served = Some(by_signals))
    });
    match outcome {
        Ok(report) => {
            // A subscriber that panics changes no exit code.
            let _ = catch_unwind(|| tracing::info!("{report}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::fatal(format, &format!("{error:#}"));
            // With the errors of daemons, whose destructors are user code. The process is about to end.
            forget(error);
            ExitCode::FAILURE
        }
    }
}

/// Policies, reports and a stop in order all need panics that can be caught.
fn warn_of_aborts(panics_abort: bool) {
    if panics_abort {
        tracing::warn!(
            "built with panic = \"abort\": a panic in a daemon ends the process at once, without a report, a restart or a stop of the \
             others; remove it from the profile in Cargo.toml to have panics caught"
        );
    }
}

/// The report of a clean end; else an error that lists all failures.
fn run_to_end(
    options: Options,
    setup: impl FnOnce(&mut Factory) -> Result,
    launched: impl FnOnce(Served),
) -> Result<String> {
    let workers = worker_threads();
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.context("cannot start tokio")?;
    let outcome = {
        let _context = runtime.enter();
        let signals = Signals::listen(&options.name, options.stop_deadline, options.log)
            .context("cannot listen for signals");
        let reloads = Arc::new(Reloads::default());
        let assembled = signals.and_then(|signals| Ok((assemble(options, setup, &reloads)?, signals)));
        assembled.and_then(|(factory, signals)| {
            let serving = factory.serve();
            launched(signals.serve(serving.remote(), reloads));
            runtime.block_on(serving).map_or_else(start_failed, ended)
        })
    };
    // Dropping the runtime would wait for blocking threads, which may never return.
    runtime.shutdown_background();
    outcome
}

/// One for each processor, or as many as the environment says; but with a single one, every daemon that blocks its thread would
/// block all others.
fn worker_threads() -> usize {
    let configured = env::var("TOKIO_WORKER_THREADS").ok().and_then(|count| count.trim().parse().ok());
    let count = configured.or_else(|| thread::available_parallelism().ok().map(NonZero::get));
    count.unwrap_or(1).max(2)
}

fn assemble(
    options: Options,
    setup: impl FnOnce(&mut Factory) -> Result,
    reloads: &Arc<Reloads>,
) -> Result<Factory> {
    let mut factory = Factory::root(&options.name, RuntimeWorld);
    factory.deadlines(Deadlines {
        stop: options.stop_deadline,
        rollback: options.stop_deadline,
        ..Deadlines::default()
    });
    factory.drain(options.drain);
    factory.provide_value(ReloadsOf(reloads.clone()))?;
    setup(&mut factory)?;
    Ok(factory)
}

fn ended(report: Arc<Report>) -> Result<String> {
    if !report.is_clean() {
        return Err(Error::msg(report));
    }
    let text = report.to_string();
    // The errors before restarts, as in `run`.
    forget(report);
    Ok(text)
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

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::warn_of_aborts;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_program_whose_panics_end_it_is_warned() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            warn_of_aborts(false);
            assert!(lines.0.lock().expect("nobody panicked").is_empty());
            warn_of_aborts(true);
        });
        let text = String::from_utf8(lines.0.lock().expect("nobody panicked").clone()).expect("text");
        assert!(
            text.contains("WARN") && text.contains("a panic in a daemon ends the process at once"),
            "{text}"
        );
    }
}
