//! Log lines about daemons, and the spans that attribute log lines to daemons.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fmt::{self, Write};
use std::sync::Arc;

use steelmill_core::{Daemon, Factory, Result, Scope};
use steelmill_runtime::RuntimeWorld;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Formats each log line with its spans.
struct Capture(UnboundedSender<String>);

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {field}={value}").unwrap();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::INFO {
            return;
        }
        let mut line = level.to_string();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().iter().rev() {
            let extensions = span.extensions();
            write!(line, " [{}{}]", span.name(), extensions.get::<Fields>().unwrap().0).unwrap();
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let _ = self.0.send(line + &fields.0);
    }
}

/// The log lines of a story.
fn log_of(story: impl AsyncFnOnce() -> Result) -> Vec<String> {
    let (sender, mut lines) = unbounded_channel();
    let subscriber = tracing_subscriber::registry().with(Capture(sender));
    let _guard = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story()).unwrap();
    drop(runtime);
    std::iter::from_fn(|| lines.try_recv().ok()).collect()
}

struct Talking;

impl Daemon for Talking {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Talking)
    }

    async fn prepare(&self, _: &Scope) -> Result {
        tracing::info!("preparing");
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.spawn("errand", async {
            tracing::info!("on my way");
            Err(anyhow::anyhow!("lost"))
        });
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        tracing::info!("stopping");
        anyhow::bail!("stuck")
    }
}

#[test]
fn a_log_line_names_daemon_and_task() {
    let lines = log_of(async || {
        let mut factory = Factory::root("demo", RuntimeWorld);
        factory.with::<Talking>()?;
        factory.remain_when_finished();
        let demo = factory.start().await?;
        let mut child = demo.child("child")?;
        child.build::<Talking>()?;
        child.remain_when_finished();
        child.start().await?.stop().await;
        demo.stop().await;
        Ok(())
    });
    let mut expected = Vec::new();
    for factory in ["demo", "demo/child"] {
        let daemon = format!("[daemon factory={factory} daemon=Talking]");
        expected.extend([
            format!("INFO {daemon} message=preparing"),
            format!("INFO {daemon} [task name=errand] message=on my way"),
            format!("ERROR {daemon} message=task failed: lost task=errand"),
            format!("INFO {daemon} message=stopping"),
            format!("ERROR {daemon} message=failed to stop: stuck"),
        ]);
    }
    let (mut lines, mut expected) = (lines, expected);
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn dropping_the_last_handle_is_warned_about() {
    let lines = log_of(async || {
        let demo = Factory::root("demo", RuntimeWorld).start().await?;
        let ended = demo.ended();
        drop(demo);
        ended.await;
        Ok(())
    });
    assert_eq!(
        lines,
        ["WARN message=stopping: its last handle was dropped without a call of stop() factory=demo"]
    );
}

#[test]
fn a_failure_without_a_reader_is_logged_as_a_warning() {
    let lines = log_of(async || {
        let demo = Factory::root("demo", RuntimeWorld).start().await?;
        let mut child = demo.child("child")?;
        child.with::<Talking>()?;
        let child = child.start().await?;
        demo.stop().await;
        drop(child);
        Ok(())
    });
    assert_eq!(
        lines.last().unwrap(),
        "WARN message=demo/child: 2 failures\n  demo/child: Talking: task \"errand\" failed: lost\n  \
         demo/child: Talking failed to stop: stuck\n  demo/child: its daemons are kept alive by 1 handle(s) or \
         children being assembled factory=demo/child"
    );
}

#[test]
fn a_refused_task_is_warned_about() {
    let lines = log_of(async || {
        let (sender, mut receiver) = unbounded_channel::<Scope>();
        struct Open(Arc<UnboundedSender<Scope>>);
        impl Daemon for Open {
            fn build(factory: &mut Factory) -> Result<Self> {
                Ok(Open(factory.value()?))
            }
            async fn prepare(&self, scope: &Scope) -> Result {
                Ok(self.0.send(scope.clone())?)
            }
        }
        let mut factory = Factory::root("demo", RuntimeWorld);
        factory.provide_value(sender)?;
        factory.with::<Open>()?;
        factory.start().await?.stop().await;
        receiver.recv().await.unwrap().spawn("late", async {});
        Ok(())
    });
    assert_eq!(
        lines,
        ["WARN message=refused a task: its daemon has ended factory=demo daemon=Open task=late"]
    );
}
