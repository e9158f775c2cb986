//! SIGINT, SIGTERM and SIGHUP: the first requests a graceful stop, a second ends the process at once. And the last resort: a stop
//! that does not end by itself ends with the process.
//!
//! Both must work when daemons hang. So signals have a thread and a tokio runtime of their own, which no daemon can block; and
//! the thread never logs, because a blocked stderr or subscriber would hold it up: others do, for which it waits a moment.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::catch_unwind;
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use steelmill_core::{Remote, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::notify::Notifier;
use crate::reload::Reloads;
use crate::{LogFormat, logging};

/// Signals within this time of the first count as one: `timeout(1)` and shells signal both a process and its group, and
/// no person presses Ctrl-C twice as fast.
const BURST: Duration = Duration::from_millis(100);

/// How much longer than twice its deadline a stop may take until the process is ended: by then, the factory has aborted and
/// named everything.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// How long a supervisor may take to answer, and stderr to take a text.
const MOMENT: Duration = Duration::from_millis(200);

/// How many services have a thread of signals and have not ended. A process may run one after another, or several.
static SERVED: AtomicUsize = AtomicUsize::new(0);

/// The thread that receives the process's signals.
pub(crate) struct Signals {
    launched: oneshot::Sender<Service>,
}

impl Signals {
    /// Installs the process's signal handlers, for good.
    pub(crate) fn listen(format: LogFormat) -> Result<Signals> {
        let notifier = Notifier::from_env()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let source = {
            let _context = runtime.enter();
            Source::new()?
        };
        let (launched, launches) = oneshot::channel();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut listener = Listener {
                format,
                source,
                notifier,
                first: None,
                service: State::Launching(launches),
                stopping: None,
                overdue: None,
            };
            runtime.block_on(listener.listen());
        })?;
        SERVED.fetch_add(1, Ordering::Relaxed);
        Ok(Signals { launched })
    }

    /// Stops a factory by the first signal, and the process if that does not end; until what is returned is dropped.
    pub(crate) fn serve(self, remote: Remote, reloads: Arc<Reloads>) -> Served {
        let (served, ended) = oneshot::channel();
        let runtime = Handle::current();
        // The thread is there for as long as the process.
        let _ = self.launched.send(Service { remote, reloads, runtime, ended });
        Served(served)
    }
}

/// Dropped when nothing can hang any more.
pub(crate) struct Served(#[expect(dead_code, reason = "kept for its drop")] oneshot::Sender<()>);

struct Service {
    remote: Remote,
    reloads: Arc<Reloads>,
    /// Where the daemons run.
    runtime: Handle,
    /// Resolves when the service's [`Served`] is dropped.
    ended: oneshot::Receiver<()>,
}

enum State {
    Launching(oneshot::Receiver<Service>),
    Launched(Service),
    Ended,
}

/// What the thread of signals waits for.
enum Heard {
    Signal(Signal),
    Launched(Service),
    /// The factory stops.
    Stopping,
    /// It should have ended.
    Overdue,
    /// The service has ended, or was never launched.
    Ended,
}

struct Listener {
    format: LogFormat,
    source: Source,
    /// Of the service manager, if there is one.
    notifier: Option<Arc<Notifier>>,
    first: Option<(Signal, Instant)>,
    service: State,
    stopping: Option<BoxFuture<'static, ()>>,
    overdue: Option<BoxFuture<'static, ()>>,
}

impl Listener {
    async fn listen(&mut self) {
        loop {
            match poll_fn(|context| self.poll(context)).await {
                // That is for a later call of `run`.
                Heard::Signal(_) if self.has_successor() => {}
                Heard::Signal(signal) => self.signal(signal),
                Heard::Launched(service) => {
                    self.stopping = Some(service.remote.stopping().boxed());
                    if let Some(notifier) = &self.notifier {
                        let (remote, runtime) = (service.remote.clone(), service.runtime.clone());
                        tokio::spawn(notifier.clone().follow(remote, runtime));
                    }
                    self.service = State::Launched(service);
                    match self.first {
                        Some((signal, _)) if self.is_reload(signal) => self.first = None,
                        Some((signal, _)) => self.stop(signal),
                        None => {}
                    }
                }
                Heard::Stopping => self.expect_end(),
                Heard::Overdue => self.end_process().await,
                Heard::Ended => {
                    SERVED.fetch_sub(1, Ordering::Relaxed);
                    self.service = State::Ended;
                    (self.stopping, self.overdue) = (None, None);
                }
            }
        }
    }

    /// Whether its own service has ended, and another one is served in this process.
    fn has_successor(&self) -> bool {
        matches!(self.service, State::Ended) && SERVED.load(Ordering::Relaxed) > 0
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Heard> {
        if let Poll::Ready(signal) = self.source.poll_next(context) {
            return Poll::Ready(Heard::Signal(signal));
        }
        match &mut self.service {
            State::Launching(launches) => {
                if let Poll::Ready(launched) = Pin::new(launches).poll(context) {
                    return Poll::Ready(launched.map_or(Heard::Ended, Heard::Launched));
                }
            }
            State::Launched(service) => {
                if Pin::new(&mut service.ended).poll(context).is_ready() {
                    return Poll::Ready(Heard::Ended);
                }
            }
            State::Ended => {}
        }
        if is_over(&mut self.stopping, context) {
            return Poll::Ready(Heard::Stopping);
        }
        if is_over(&mut self.overdue, context) {
            return Poll::Ready(Heard::Overdue);
        }
        Poll::Pending
    }

    fn signal(&mut self, signal: Signal) {
        if self.is_reload(signal) {
            return self.reload(signal);
        }
        match (&self.service, self.first) {
            (_, Some((_, at))) if at.elapsed() < BURST => {}
            (State::Launching(_), None) => self.first = Some((signal, Instant::now())),
            (State::Launched(_), None) => {
                self.first = Some((signal, Instant::now()));
                self.stop(signal);
            }
            // The next one counts as the second.
            (State::Launched(service), Some(_)) if service.remote.is_draining() => {
                self.first = Some((signal, Instant::now()));
                self.end_drain(signal);
            }
            // A second signal; or a first one, if the factory has ended and something else hangs.
            _ => process::exit(signal.exit_code()),
        }
    }

    /// Whether the signal has the configuration read again.
    fn is_reload(&self, signal: Signal) -> bool {
        let State::Launched(service) = &self.service else { return false };
        signal.hangs_up() && !service.reloads.is_empty()
    }

    fn reload(&self, signal: Signal) {
        let State::Launched(service) = &self.service else { return };
        let notifier = self.notifier.clone();
        if let Some(notifier) = &notifier {
            notifier.reloading();
        }
        service.reloads.reload(move |outcome| {
            let text = match outcome {
                Ok(text) | Err(text) => text,
            };
            if let Some(notifier) = &notifier {
                notifier.reloaded(text);
            }
            match outcome {
                Ok(text) => tracing::info!(parent: None, "{signal}: reloaded: {text}"),
                Err(text) => tracing::error!(parent: None, "{signal}: {text}"),
            }
        });
    }

    /// Stops the factory, after a log line that says so, if that can be written.
    fn stop(&mut self, signal: Signal) {
        let State::Launched(service) = &self.service else { return };
        if let Some(notifier) = &self.notifier {
            notifier.stopping();
        }
        let drain = service.remote.drain();
        aside(move || match drain {
            Duration::ZERO => {
                tracing::info!(parent: None, "{signal}: stopping; another one ends the process at once");
            }
            drain => tracing::info!(parent: None, "{signal}: draining for {drain:?}; another one ends that"),
        });
        service.remote.request_stop();
        self.expect_end();
    }

    fn end_drain(&mut self, signal: Signal) {
        let State::Launched(service) = &self.service else { return };
        service.remote.stop_at_once();
        aside(
            move || tracing::info!(parent: None, "{signal}: draining no longer; another one ends the process at once"),
        );
    }

    fn expect_end(&mut self) {
        if let State::Launched(service) = &self.service
            && self.overdue.is_none()
            && let Some(limit) = last_deadline(&service.remote)
        {
            self.overdue = Some(sleep(limit).boxed());
        }
    }

    /// The last resort: says what is known, and ends the process.
    async fn end_process(&mut self) {
        let State::Launched(service) = &self.service else { return };
        let remote = &service.remote;
        let limit = last_deadline(remote).unwrap_or_default();
        let status = match timeout(MOMENT, remote.status()).await {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => format!("{}: its supervisor has ended", remote.path()),
            Err(_) => format!("{}: its supervisor does not answer", remote.path()),
        };
        let path = remote.path();
        let text =
            format!("{path} has not ended within {limit:?} of its stop, so the process is ended:\n{status}");
        let format = self.format;
        aside(move || logging::fatal(format, &text));
        process::exit(1)
    }
}

/// When the process is ended, if a stop has not ended by itself; `None` if the deadlines are too long for a clock.
fn last_deadline(remote: &Remote) -> Option<Duration> {
    let deadlines = remote.deadlines();
    let stop = deadlines.stop.max(deadlines.rollback).checked_mul(2)?.checked_add(LAST_GRACE)?;
    let limit = stop.checked_add(remote.drain())?;
    Instant::now().checked_add(limit).map(|_| limit)
}

/// Runs code that may block or panic on a thread of its own, and waits for it for a moment.
fn aside(code: impl FnOnce() + Send + std::panic::UnwindSafe + 'static) {
    let (done, is_done) = mpsc::channel::<()>();
    let run = move || {
        let _ = catch_unwind(code);
        drop(done);
    };
    if thread::Builder::new().name("signals".to_owned()).spawn(run).is_ok() {
        let _ = is_done.recv_timeout(BURST);
    }
}

/// Whether a future has ended; it is dropped then.
fn is_over(future: &mut Option<BoxFuture<'static, ()>>, context: &mut Context<'_>) -> bool {
    let is_over = future.as_mut().is_some_and(|future| future.as_mut().poll(context).is_ready());
    if is_over {
        *future = None;
    }
    is_over
}

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy)]
enum Signal {
    Interrupt,
    #[cfg(unix)]
    Terminate,
    /// The terminal is gone, or the session.
    #[cfg(unix)]
    HangUp,
}

impl Signal {
    /// Whether it is SIGHUP.
    fn hangs_up(self) -> bool {
        match self {
            #[cfg(unix)]
            Signal::HangUp => true,
            _ => false,
        }
    }

    /// The exit code that shells report for a process killed by the signal.
    fn exit_code(self) -> i32 {
        match self {
            Signal::Interrupt => 128 + 2,
            #[cfg(unix)]
            Signal::Terminate => 128 + 15,
            #[cfg(unix)]
            Signal::HangUp => 128 + 1,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT",
            #[cfg(unix)]
            Signal::Terminate => "SIGTERM",
            #[cfg(unix)]
            Signal::HangUp => "SIGHUP",
        })
    }
}

#[cfg(unix)]
use unix::Source;

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io;
    use std::task::{Context, Poll};

    use tokio::signal::unix::{self, SignalKind};

    use super::Signal;

    /// Receives SIGINT and SIGTERM.
    pub(super) struct Source {
        interrupt: unix::Signal,
        terminate: unix::Signal,
        /// `None` where it is ignored, as under `nohup`: a service then outlives its terminal.
        hang_up: Option<unix::Signal>,
    }

    impl Source {
        pub(super) fn new() -> io::Result<Source> {
            Ok(Source {
                interrupt: unix::signal(SignalKind::interrupt())?,
                terminate: unix::signal(SignalKind::terminate())?,
                hang_up: match is_ignored(SignalKind::hangup()) {
                    true => None,
                    false => Some(unix::signal(SignalKind::hangup())?),
                },
            })
        }

        pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
            if self.interrupt.poll_recv(context).is_ready() {
                Poll::Ready(Signal::Interrupt)
            } else if self.terminate.poll_recv(context).is_ready() {
                Poll::Ready(Signal::Terminate)
            } else if self.hang_up.as_mut().is_some_and(|signal| signal.poll_recv(context).is_ready()) {
                Poll::Ready(Signal::HangUp)
            } else {
                Poll::Pending
            }
        }
    }

    /// Whether the process was started with this signal ignored. Only Linux tells.
    fn is_ignored(signal: SignalKind) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        ignored(&status) >> (signal.as_raw_value() - 1) & 1 == 1
    }

    /// The mask of ignored signals: the line `SigIgn`, in hexadecimal, whose lowest bit is signal 1.
    fn ignored(status: &str) -> u64 {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }
}

#[cfg(not(unix))]
use other::Source;

#[cfg(not(unix))]
mod other {
    use std::io;
    use std::task::{Context, Poll};

    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::Signal;

    /// Receives Ctrl-C.
    pub(super) struct Source {
        next: BoxFuture<'static, io::Result<()>>,
    }

    impl Source {
        pub(super) fn new() -> io::Result<Source> {
            Ok(Source { next: tokio::signal::ctrl_c().boxed() })
        }

        pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
            match std::task::ready!(self.next.as_mut().poll(context)) {
                Ok(()) => {
                    self.next = tokio::signal::ctrl_c().boxed();
                    Poll::Ready(Signal::Interrupt)
                }
                Err(_) => {
                    self.next = std::future::pending().boxed();
                    Poll::Pending
                }
            }
        }
    }
}
