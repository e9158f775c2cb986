//! Logging of `tracing` events to stderr, as text or JSON. If stderr is closed (a broken pipe), messages are lost and
//! the process continues.

mod attributed; // the daemon and task of each line

use std::env;
use std::io::{self, IsTerminal, Write};

use steelmill_core::Result;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};

use attributed::Attributed;

/// The format of the log on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[non_exhaustive]
pub enum LogFormat {
    /// Lines of text, in colour on a terminal (unless `NO_COLOR` is set).
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The environment variable that overrides the program's log filter.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Installs the global `tracing` subscriber, unless the program has installed one.
///
/// # Errors
/// If the filter cannot be parsed: a typo must not silence a service.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result {
    let filter = parse_filter(filter)?;
    let is_attributed = attributed::suits(&filter.to_string());
    match format {
        LogFormat::Text => {
            let is_coloured =
                io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            install(builder().with_ansi(is_coloured).with_env_filter(filter).finish(), is_attributed);
        }
        LogFormat::Json => {
            install(builder().json().flatten_event(true).with_env_filter(filter).finish(), is_attributed);
        }
    }
    Ok(())
}

fn install(subscriber: impl Subscriber + Send + Sync, is_attributed: bool) {
    // An error means that there is a subscriber already.
    let _ = if is_attributed {
        tracing::subscriber::set_global_default(Attributed::new(subscriber))
    } else {
        tracing::subscriber::set_global_default(subscriber)
    };
}

/// Logs the error that ends the process, whatever the filter.
pub(crate) fn fatal(format: LogFormat, text: &str) {
    match format {
        LogFormat::Text => {
            // If stderr is closed, the exit code alone reports the failure.
            let _ = writeln!(io::stderr(), "error: {text}");
        }
        LogFormat::Json => {
            let subscriber = builder().json().flatten_event(true).finish();
            tracing::subscriber::with_default(subscriber, || tracing::error!("{text}"));
        }
    }
}

fn builder()
-> SubscriberBuilder<DefaultFields, Format, tracing::level_filters::LevelFilter, fn() -> io::Stderr> {
    // Internal errors would be written by `eprintln!`, which panics if stderr is closed.
    tracing_subscriber::fmt().with_writer(io::stderr as fn() -> io::Stderr).log_internal_errors(false)
}

/// Parses `RUST_LOG`, or `configured` if that is not set.
fn parse_filter(configured: &str) -> Result<EnvFilter> {
    let (source, text) = match env::var_os(FILTER_VARIABLE).filter(|text| !text.is_empty()) {
        Some(text) => (FILTER_VARIABLE, text.to_string_lossy().into_owned()),
        None => ("the log filter", configured.to_owned()),
    };
    EnvFilter::builder().parse(&text).map_err(|error| {
        anyhow::anyhow!(
            "{source} is {text:?}, which is not a valid filter: {error}; write for example info or warn,demo_app=debug"
        )
    })
}
