//! Attribution of log lines: the daemon, and its task, whose code runs on this thread.
//!
//! Each phase and each task of a daemon has a span. To enter and leave a span costs as much as a poll of the task does. So
//! the context is also in a thread-local, which costs a few instructions: a subscriber may disable these spans
//! ([`LogContext::is_span`]), and look for the context when an event is logged, which is rare.
//!
//! What always holds: the context is in the thread-local while the daemon's code is polled or dropped, panic or not, and the
//! one before is back in it afterwards.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use tracing::{Metadata, Span};

use crate::Owner;
use crate::panic::forget_panic;

/// The name of the span of a daemon's phases.
const DAEMON: &str = "daemon";

/// The name of the span of a task.
const TASK: &str = "task";

thread_local! {
    // No destructor: it would be looked for with each access. When a thread ends, nothing is polled on it.
    static CURRENT: Cell<ManuallyDrop<Option<Arc<LogContext>>>> = const { Cell::new(ManuallyDrop::new(None)) };
}

/// The daemon, and its task, whose code runs on this thread: for subscribers of `tracing` that attribute log lines.
///
/// The same is in the spans `daemon` (with the fields `factory` and `daemon`) and `task` (with the field `name`), which
/// every subscriber sees. But entering a span costs as much as a poll. A subscriber that disables those spans, and calls
/// [`current`](LogContext::current) when an event is logged, costs tasks nothing; the runtime world's does that.
///
/// The context is there where the spans are disabled; where they are enabled, there is none.
pub struct LogContext {
    owner: Arc<Owner>,
    task: Option<&'static str>,
}

impl LogContext {
    pub(super) fn new(owner: Arc<Owner>, task: Option<&'static str>) -> Arc<Self> {
        Arc::new(LogContext { owner, task })
    }

    /// Calls `visit` with the context of the code that runs on this thread; with `None` outside of daemons, where the spans
    /// are enabled, and within `visit`.
    pub fn current<R>(visit: impl FnOnce(Option<&LogContext>) -> R) -> R {
        /// Puts the context back, even if `visit` panics.
        struct Taken(Option<Arc<LogContext>>);

        impl Drop for Taken {
            fn drop(&mut self) {
                swap(&mut self.0);
            }
        }

        let mut taken = Taken(None);
        swap(&mut taken.0);
        visit(taken.0.as_deref())
    }

    /// Whether this describes one of the spans that say the same as the context.
    pub fn is_span(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == module_path!() && [DAEMON, TASK].contains(&metadata.name())
    }

    /// The path of the factory: `demo/lease-7`.
    pub fn factory(&self) -> &str {
        self.owner.factory()
    }

    /// The daemon's name: `Gateway`, `Store[primary]`.
    pub fn daemon(&self) -> &str {
        self.owner.daemon().unwrap_or_default()
    }

    /// The name of the task; `None` in `prepare`, `run` and `stop` themselves.
    pub fn task(&self) -> Option<&'static str> {
        self.task
    }
}

impl std::fmt::Debug for LogContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogContext({}: {}", self.factory(), self.daemon())?;
        if let Some(task) = self.task {
            write!(f, ": {task}")?;
        }
        f.write_str(")")
    }
}

/// The span of a daemon's phases.
///
/// `None` where it is disabled, and from a subscriber that panics.
pub(super) fn daemon_span(factory: &str, daemon: &str) -> Option<Span> {
    match catch_unwind(|| tracing::info_span!(parent: None, "daemon", factory, daemon)) {
        Ok(span) => (!span.is_disabled()).then_some(span),
        Err(panic) => {
            forget_panic(panic);
            None
        }
    }
}

/// The span of a task, within that of its daemon.
pub(super) fn task_span(daemon: &Span, name: &'static str) -> Span {
    tracing::info_span!(parent: daemon, "task", name)
}

/// Runs a daemon's code in its span or, where that is disabled, in its context, which is in `context` before and after.
/// An error is a panic of `code`.
pub(super) fn run_in<R>(
    span: &Span,
    context: &mut Option<Arc<LogContext>>,
    code: impl FnOnce() -> R,
) -> thread::Result<R> {
    if span.is_disabled() {
        run_without_span(context, code)
    } else {
        catch_unwind(AssertUnwindSafe(|| span.in_scope(code)))
    }
}

/// Runs a daemon's code in its context.
#[inline]
pub(super) fn run_without_span<R>(
    context: &mut Option<Arc<LogContext>>,
    code: impl FnOnce() -> R,
) -> thread::Result<R> {
    swap(context);
    let outcome = catch_unwind(AssertUnwindSafe(code));
    swap(context);
    outcome
}

#[inline]
fn swap(context: &mut Option<Arc<LogContext>>) {
    let former = CURRENT.replace(ManuallyDrop::new(context.take()));
    // There is nothing to drop: `take` has left `None`.
    std::mem::forget(std::mem::replace(context, ManuallyDrop::into_inner(former)));
}
