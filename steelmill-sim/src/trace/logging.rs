//! Log format for simulations: virtual time, machine, the spans of daemon and task, and the message.
//!
//! ```text
//!     12.003456789 gateway-1 INFO  daemon{factory=cluster/gateway-1 daemon=Gateway} demo_app::gateway: the lease is lost
//! ```

use std::fmt;
use std::io;

use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use crate::machine::cluster;
use crate::machine::hosts::SCENARIO;

/// Event formatter that prefixes virtual time and machine; outside of a simulation, a dash for each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines;

/// A `tracing` layer that writes [`Lines`] to `writer`.
pub fn layer<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().with_ansi(false).event_format(Lines).with_writer(writer)
}

/// Installs a global subscriber that writes [`Lines`] to stderr. `RUST_LOG` overrides `filter`.
///
/// # Errors
/// When a global subscriber is installed already.
pub fn init(filter: &str) -> Result<(), TryInitError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::registry().with(filter).with(layer(io::stderr)).try_init()
}

/// A subscriber for tests that writes [`Lines`] to the output that the test harness captures. `RUST_LOG` overrides
/// `filter`.
pub(crate) fn captured(filter: &str) -> Dispatch {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let writer = tracing_subscriber::fmt::TestWriter::with_stderr;
    Dispatch::new(tracing_subscriber::registry().with(filter).with(layer(writer)))
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let current = cluster::with_current(|run| {
            let machine = run.kernel.tasks.current_machine().unwrap_or(SCENARIO);
            (run.kernel.now, run.hosts[machine].name.clone())
        });
        match current {
            Some((now, machine)) => {
                write!(writer, "{:>6}.{:09} {machine}", now / 1_000_000_000, now % 1_000_000_000)?
            }
            None => write!(writer, "{:>16} -", "-")?,
        }
        let metadata = event.metadata();
        write!(writer, " {:<5} ", metadata.level().as_str())?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(writer, "{}", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, "{{{fields}}}")?;
            }
            writer.write_char(' ')?;
        }
        write!(writer, "{}: ", metadata.target())?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
