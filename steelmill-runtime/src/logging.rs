//! The log: tracing's events on stderr, for people or for machines.
//!
//! A stderr that nobody reads any more (a closed pipe) costs the messages, never the process.

mod attributed; // the daemon and task of each line

use std::env;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use steelmill_core::Result;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};

use crate::Options;
use attributed::Attributed;

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people, in colour on a terminal (unless `NO_COLOR` is set).
    #[default]
    Text,
    /// A JSON object on each line.
    Json,
}

/// Where the filter comes from in preference to [`Options::log_filter`].
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Starts logging. A subscriber that the program has already installed stays.
///
/// # Errors
/// When the filter makes no sense: a typo there must not silence a service.
pub(crate) fn start(options: &Options) -> Result {
    let filter = filter(options)?;
    let is_attributed = attributed::suits(&filter.to_string());
    match options.log {
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

/// Says why the process fails, whatever the filter.
pub(crate) fn fatal(format: LogFormat, text: &str) {
    match format {
        LogFormat::Text => {
            // Where stderr is gone, the exit code has to tell alone.
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
    // Its own errors would go to stderr by `eprintln!`, which panics where there is none.
    tracing_subscriber::fmt().with_writer(io::stderr as fn() -> io::Stderr).log_internal_errors(false)
}

fn filter(options: &Options) -> Result<EnvFilter> {
    let (from, text) = match env::var_os(FILTER_VARIABLE).filter(|text| !text.is_empty()) {
        Some(text) => (FILTER_VARIABLE, text.to_string_lossy().into_owned()),
        None => ("the log filter", options.log_filter.clone()),
    };
    EnvFilter::builder().parse(&text).map_err(|error| {
        anyhow::anyhow!(
            "{from} is {text:?}, which is no filter: {error}; write for example info or warn,demo_app=debug"
        )
    })
}
