//! How log lines get into a trace, whoever else logs them.
//!
//! A traced run gets a subscriber of its own. It hands everything on to the one that was there, which so logs as if it was
//! alone, and keeps what is logged at `info` and above, or what `RUST_LOG` says.

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

/// From here on what this thread logs goes into its run's trace as well, until the guard is dropped.
pub(crate) fn keep_logs() -> DefaultGuard {
    let said = std::env::var("RUST_LOG").ok().and_then(|said| said.parse().ok());
    let kept = said.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let other = dispatcher::get_default(Dispatch::clone);
    dispatcher::set_default(&Dispatch::new(Keep { kept, other }))
}

/// Keeps log lines, and hands them on.
struct Keep {
    kept: Targets,
    other: Dispatch,
}

impl Keep {
    fn keeps(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.kept.would_enable(metadata.target(), metadata.level())
    }
}

impl Subscriber for Keep {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // What the other one thinks may change with its filters.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.keeps(metadata) || self.other.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if self.keeps(metadata) && is_tracing() {
            // A field's `Debug` is a user's code, so the text is put together before the run is looked into.
            let mut text = Text::default();
            event.record(&mut text);
            let log = Log {
                level: *metadata.level(),
                target: metadata.target(),
                text: text.whole(),
                place: metadata.file().zip(metadata.line()),
            };
            cluster::with_current(|run| run.kernel.logged(log));
        }
        if self.other.enabled(metadata) {
            self.other.event(event);
        }
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.other.new_span(attributes)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.other.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.other.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.other.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.other.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.other.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.other.try_close(span)
    }

    fn current_span(&self) -> tracing_core::span::Current {
        self.other.current_span()
    }
}

/// A message, and its fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
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
