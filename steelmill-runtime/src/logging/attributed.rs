//! Log lines that name their daemon and task, at no cost to polls.
//!
//! A span that is entered and left with each poll costs as much as the poll. So this subscriber disables core's spans of
//! daemons and tasks, and makes them when there is something to attribute: an event, or a span of the application's own.
//! What is logged is the same.
//!
//! A filter that names spans (`[daemon{daemon=Store}]=debug`) needs them before there is an event: with such a filter this
//! subscriber is left out.

use steelmill_core::LogContext;
use tracing::field::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::callsite::DefaultCallsite;
use tracing_core::metadata::Kind;
use tracing_core::span::Current;

/// A subscriber whose events and spans are in the spans of the daemon and the task that runs.
pub(super) struct Attributed<S> {
    inner: S,
}

/// A span that says what one of core's would. It is described here, because tracing need not describe core's to a subscriber before
/// there is an event: not while another thread makes the first one.
macro_rules! span {
    ($name:literal, $fields:expr) => {{
        static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
        static METADATA: Metadata<'static> = tracing_core::metadata! {
            name: $name,
            target: "steelmill_core::scope::context",
            level: Level::INFO,
            fields: $fields,
            callsite: &CALLSITE,
            kind: Kind::SPAN,
        };
        &METADATA
    }};
}

static DAEMON: &Metadata<'static> = span!("daemon", &["factory", "daemon"]);
static TASK: &Metadata<'static> = span!("task", &["name"]);

/// Whether a filter can do without the spans of daemons and tasks.
pub(super) fn suits(filter: &str) -> bool {
    !filter.contains('[')
}

impl<S: Subscriber> Attributed<S> {
    pub(super) fn new(inner: S) -> Self {
        Attributed { inner }
    }

    /// Calls `with` with the innermost span of the context: `None` outside of daemons, and where a span is entered, as that
    /// was made within the context.
    fn in_context<R>(&self, with: impl FnOnce(Option<&Id>) -> R) -> R {
        if self.inner.current_span().id().is_some() {
            return with(None);
        }
        let (daemon, task) = LogContext::current(|context| self.spans_of(context));
        let output = with(task.as_ref().or(daemon.as_ref()));
        for span in [task, daemon].into_iter().flatten() {
            self.inner.try_close(span);
        }
        output
    }

    fn spans_of(&self, context: Option<&LogContext>) -> (Option<Id>, Option<Id>) {
        let Some(context) = context else { return (None, None) };
        let daemon = self.new_span_with(DAEMON, None, &[&context.factory(), &context.daemon()]);
        let task = context.task().map(|name| self.new_span_with(TASK, Some(&daemon), &[&name]));
        (Some(daemon), task)
    }

    /// A span with the values of its fields.
    fn new_span_with(
        &self,
        metadata: &'static Metadata<'static>,
        parent: Option<&Id>,
        values: &[&dyn Value],
    ) -> Id {
        let values: Vec<_> = values.iter().copied().map(Some).collect();
        let values = metadata.fields().value_set_all(&values);
        self.inner.new_span(&match parent {
            None => Attributes::new_root(metadata, &values),
            Some(parent) => Attributes::child_of(parent.clone(), metadata, &values),
        })
    }
}

impl<S: Subscriber> Subscriber for Attributed<S> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match LogContext::is_span(metadata) {
            true => Interest::never(),
            false => self.inner.register_callsite(metadata),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !LogContext::is_span(metadata) && self.inner.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        self.inner.max_level_hint()
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        if !attributes.is_contextual() {
            return self.inner.new_span(attributes);
        }
        self.in_context(|parent| match parent {
            None => self.inner.new_span(attributes),
            Some(parent) => {
                let (metadata, values) = (attributes.metadata(), attributes.values());
                self.inner.new_span(&Attributes::child_of(parent.clone(), metadata, values))
            }
        })
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.inner.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.inner.record_follows_from(span, follows);
    }

    fn event_enabled(&self, event: &Event<'_>) -> bool {
        self.inner.event_enabled(event)
    }

    fn event(&self, event: &Event<'_>) {
        // Also where it names a parent of its own: the JSON format lists what is entered.
        self.in_context(|span| match span {
            None => self.inner.event(event),
            Some(span) => {
                self.inner.enter(span);
                self.inner.event(event);
                self.inner.exit(span);
            }
        });
    }

    fn enter(&self, span: &Id) {
        self.inner.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.inner.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.inner.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.inner.try_close(id)
    }

    fn current_span(&self) -> Current {
        self.inner.current_span()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use steelmill_core::{Daemon, Factory, Result, Scope};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use tracing::Instrument;
    use tracing_subscriber::EnvFilter;

    use super::*;
    use crate::RuntimeWorld;

    /// Says something everywhere.
    struct Talking;

    impl Daemon for Talking {
        fn build(_: &mut Factory) -> Result<Self> {
            tracing::info!("building");
            Ok(Talking)
        }

        async fn prepare(&self, _: &Scope) -> Result {
            tracing::info!("preparing");
            let span = tracing::info_span!("request", number = 7);
            async { tracing::info!("preparing in a span") }.instrument(span).await;
            Ok(())
        }

        async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
            let (told, tell) = tokio::sync::oneshot::channel::<()>();
            scope.spawn("errand", async move {
                let _told = told;
                tokio::time::sleep(Duration::from_millis(1)).await;
                tracing::info!("on my way");
                let span = tracing::info_span!("request", number = 8);
                span.in_scope(|| tracing::info!("in a span"));
                let inner = span.in_scope(|| tracing::info_span!("inner"));
                tracing::info!(parent: &inner, "in a given span");
                tracing::info!(parent: None, "in no span");
                Err(anyhow::anyhow!("lost"))
            });
            scope.spawn("dropped", {
                let line = SaysSoWhenDropped("dropped");
                async move { drop(line) }
            });
            let _ = tell.await;
            Ok(())
        }

        async fn stop(&self, _: &Scope) -> Result {
            tracing::warn!("stopping");
            anyhow::bail!("stuck")
        }
    }

    struct SaysSoWhenDropped(&'static str);

    impl Drop for SaysSoWhenDropped {
        fn drop(&mut self) {
            tracing::info!("{}", self.0);
        }
    }

    /// A writer of lines.
    #[derive(Clone)]
    struct Lines(UnboundedSender<String>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).trim_end().to_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a factory of talking daemons logs, sorted.
    fn log(is_attributed: bool, is_json: bool, filter: &str) -> Vec<String> {
        let (sender, mut receiver) = unbounded_channel();
        let lines = Lines(sender);
        let builder = tracing_subscriber::fmt()
            .with_writer(move || lines.clone())
            .without_time()
            .with_ansi(false)
            .with_env_filter(EnvFilter::new(filter));
        let dispatch: tracing::Dispatch = match (is_json, is_attributed) {
            (false, false) => builder.finish().into(),
            (false, true) => Attributed::new(builder.finish()).into(),
            (true, false) => builder.json().flatten_event(true).finish().into(),
            (true, true) => Attributed::new(builder.json().flatten_event(true).finish()).into(),
        };
        tracing::dispatcher::with_default(&dispatch, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut factory = Factory::root("demo", RuntimeWorld);
                factory.with::<Talking>().unwrap();
                factory.remain_when_finished();
                let demo = factory.start().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                demo.stop().await;
                tracing::info!("outside");
            });
        });
        drop(dispatch);
        let mut lines: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_is_logged_is_what_entered_spans_would_say() {
        for is_json in [false, true] {
            let lines = log(true, is_json, "info");
            assert_eq!(lines, log(false, is_json, "info"));
            assert_eq!(lines.len(), 12, "{lines:#?}");
        }
    }

    #[test]
    fn a_line_names_its_daemon_its_task_and_the_spans_within() {
        let lines = log(true, false, "info");
        let daemon = "daemon{factory=\"demo\" daemon=\"Talking\"}";
        let task = format!("{daemon}:task{{name=\"errand\"}}");
        let here = module_path!();
        for line in [
            format!(" INFO {here}: building"),
            format!(" INFO {daemon}: {here}: preparing"),
            format!(" INFO {daemon}:request{{number=7}}: {here}: preparing in a span"),
            format!(" INFO {task}: {here}: on my way"),
            format!(" INFO {task}:request{{number=8}}: {here}: in a span"),
            format!(" INFO {task}:request{{number=8}}:inner: {here}: in a given span"),
            format!(" INFO {here}: in no span"),
            format!(" INFO {daemon}:task{{name=\"dropped\"}}: {here}: dropped"),
            format!(" INFO {here}: outside"),
            format!("ERROR {daemon}: steelmill_core::lifecycle::supervisor: failed to stop: stuck"),
        ] {
            assert!(lines.contains(&line), "{line:?} is not in {lines:#?}");
        }
    }

    #[test]
    fn the_spans_made_here_are_described_as_those_of_core() {
        assert!(LogContext::is_span(DAEMON) && LogContext::is_span(TASK));
    }

    /// Spans are INFO: a filter of warnings used to take the daemon's name with them.
    #[test]
    fn a_warning_names_its_daemon_where_only_warnings_are_logged() {
        let line =
            format!(" WARN daemon{{factory=\"demo\" daemon=\"Talking\"}}: {}: stopping", module_path!());
        assert!(log(true, false, "warn").contains(&line));
    }

    #[test]
    fn a_filter_that_names_spans_needs_them_entered() {
        assert!(suits("info") && suits("warn,demo_app::store=debug"));
        assert!(!suits("warn,[daemon{daemon=Store}]=debug"));
    }
}
