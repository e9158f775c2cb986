//! The `tracing` subscriber of a run: it enables callsites alike in every run of a seed, whoever listens.
//!
//! A log line's fields are expressions of the program, and may draw: `tracing::info!(id = rng.next_u64())`. tracing
//! evaluates them only where a subscriber enables the callsite, so a run that is logged would differ from one that is not.
//! So every run has this subscriber on its threads. It enables each callsite up to [`Settings::log_level`], forwards to the
//! subscriber that was there before what that one enables, and records in a trace `info` and above, or what `RUST_LOG`
//! enables.
//!
//! Callsites of steelmill's own crates have no effects, so they are enabled only for a listener.

use std::fmt;
use std::sync::OnceLock;

use tracing::dispatcher::{self, DefaultGuard};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, NoSubscriber};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;

use super::Log;
use super::operations::is_tracing;
use crate::machine::cluster;
use crate::machine::threads::logging;
use crate::schema::settings::Settings;

/// Installs the run's subscriber on this thread until the guard is dropped. A silent run forwards nothing.
pub(crate) fn install(settings: &Settings, is_silent: bool) -> DefaultGuard {
    let level = settings.log_level;
    let unheard = without_listener(level);
    let inner = dispatcher::get_default(Dispatch::clone);
    let inner = (!is_silent && !inner.is::<NoSubscriber>()).then_some(inner);
    if inner.is_none() && !settings.trace {
        return dispatcher::set_default(unheard);
    }
    let recorded = settings.trace.then(|| {
        let filter = std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse().ok());
        filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
    });
    dispatcher::set_default(&Dispatch::new(RunLogs { level, recorded, inner }))
}

/// The subscriber of all runs that nobody listens to. Made once for each level: tracing asks a new one about every callsite
/// of the program, which would cost each seed of a campaign as much as a short run.
///
/// It is registered twice: of a single subscriber, tracing asks the thread that comes to a callsite first, which may run no
/// simulation, and then remembers for all threads that nobody wants it.
fn without_listener(level: LevelFilter) -> &'static Dispatch {
    static LEVELS: [OnceLock<[Dispatch; 2]>; 6] = [const { OnceLock::new() }; 6];
    let number = level.into_level().map_or(0, |level| match level {
        tracing::Level::ERROR => 1,
        tracing::Level::WARN => 2,
        tracing::Level::INFO => 3,
        tracing::Level::DEBUG => 4,
        tracing::Level::TRACE => 5,
    });
    let new = || Dispatch::new(RunLogs { level, recorded: None, inner: None });
    let [first, _second] = LEVELS[number].get_or_init(|| [new(), new()]);
    first
}

struct RunLogs {
    /// Up to which level callsites are enabled whoever listens.
    level: LevelFilter,
    /// What the trace records; `None` without a trace.
    recorded: Option<Targets>,
    /// The subscriber that was there before, if any.
    inner: Option<Dispatch>,
}

/// The id of a span that the inner subscriber does not want.
const UNHEARD: Id = Id::from_non_zero_u64(std::num::NonZeroU64::MAX);

impl RunLogs {
    fn records(&self, metadata: &Metadata<'_>) -> bool {
        let filter = self.recorded.as_ref().filter(|_| metadata.is_event());
        filter.is_some_and(|filter| filter.would_enable(metadata.target(), metadata.level()))
    }

    /// The inner subscriber, if it enables the callsite. Asked right before each event or span is forwarded: filters of
    /// single layers remember their last answer.
    fn listener(&self, metadata: &Metadata<'_>) -> Option<&Dispatch> {
        self.inner.as_ref().filter(|inner| inner.enabled(metadata))
    }

    fn inner_of(&self, span: &Id) -> Option<&Dispatch> {
        self.inner.as_ref().filter(|_| *span != UNHEARD)
    }
}

/// Whether a callsite is one of steelmill's own.
fn is_own(metadata: &Metadata<'_>) -> bool {
    let name = metadata.module_path().map(|path| path.split("::").next().unwrap_or_default());
    matches!(name, Some("steelmill_core" | "steelmill_sim"))
}

impl Subscriber for RunLogs {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // tracing combines this with the answers of all subscribers. Never `always`: the callsite is for other threads, too,
        // which run no simulation.
        let is_heard = self.recorded.is_some() || self.inner.is_some();
        let may_be_enabled = if is_own(metadata) { is_heard } else { *metadata.level() <= self.level };
        if may_be_enabled { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.recorded.is_some() { LevelFilter::TRACE } else { self.level })
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match is_own(metadata) {
            true => self.records(metadata) || self.listener(metadata).is_some(),
            false => *metadata.level() <= self.level,
        }
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if self.records(metadata) && is_tracing() {
            // A field's `Debug` is user code: it must not run while the run's state is borrowed.
            let mut text = Text::default();
            logging(|| event.record(&mut text));
            let log = Log {
                level: *metadata.level(),
                target: metadata.target(),
                text: text.concatenated(),
                place: metadata.file().zip(metadata.line()),
            };
            cluster::with_current(|run| run.kernel.logged(log));
        }
        if let Some(inner) = self.listener(metadata) {
            logging(|| inner.event(event));
        }
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let Some(inner) = self.listener(attributes.metadata()) else { return UNHEARD };
        match attributes.parent() {
            Some(parent) if *parent == UNHEARD => {
                inner.new_span(&Attributes::new_root(attributes.metadata(), attributes.values()))
            }
            _ => inner.new_span(attributes),
        }
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(inner) = self.inner_of(span) {
            inner.record(span, values);
        }
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        if let Some(inner) = self.inner_of(span).filter(|_| *follows != UNHEARD) {
            inner.record_follows_from(span, follows);
        }
    }

    fn enter(&self, span: &Id) {
        if let Some(inner) = self.inner_of(span) {
            inner.enter(span);
        }
    }

    fn exit(&self, span: &Id) {
        if let Some(inner) = self.inner_of(span) {
            inner.exit(span);
        }
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.inner_of(span).map_or(UNHEARD, |inner| inner.clone_span(span))
    }

    fn try_close(&self, span: Id) -> bool {
        self.inner_of(&span).is_some_and(|inner| inner.try_close(span.clone()))
    }

    fn current_span(&self) -> tracing_core::span::Current {
        self.inner.as_ref().map_or_else(tracing_core::span::Current::none, Dispatch::current_span)
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
