//! Records log lines in the trace, with a `tracing` subscriber that wraps the current one.
//!
//! Forwards everything, so that other output is unchanged; records `info` and above, or what `RUST_LOG` enables.

use std::fmt;

use tracing::dispatcher::{self, DefaultGuard};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;

use super::Log;
use super::operations::is_tracing;
use crate::machine::cluster;

/// Records this thread's log lines in the current run's trace until the guard is dropped.
pub(crate) fn record_logs() -> DefaultGuard {
    let filter = std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let inner = dispatcher::get_default(Dispatch::clone);
    dispatcher::set_default(&Dispatch::new(RecordLogs { filter, inner }))
}

struct RecordLogs {
    filter: Targets,
    inner: Dispatch,
}

impl RecordLogs {
    fn records(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.filter.would_enable(metadata.target(), metadata.level())
    }
}

impl Subscriber for RecordLogs {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The inner subscriber's interest may change with its filters.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.records(metadata) || self.inner.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if self.records(metadata) && is_tracing() {
            // A field's `Debug` is user code: it must not run while the run's state is borrowed.
            let mut text = Text::default();
            event.record(&mut text);
            let log = Log {
                level: *metadata.level(),
                target: metadata.target(),
                text: text.concatenated(),
                place: metadata.file().zip(metadata.line()),
            };
            cluster::with_current(|run| run.kernel.logged(log));
        }
        if self.inner.enabled(metadata) {
            self.inner.event(event);
        }
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.inner.new_span(attributes)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.inner.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.inner.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.inner.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.inner.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.inner.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.inner.try_close(span)
    }

    fn current_span(&self) -> tracing_core::span::Current {
        self.inner.current_span()
    }
}

/// Text of a log line: the message, then its fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn concatenated(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message += &format!("{value:?}"),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }
}
