//! SIGINT, SIGTERM and SIGHUP: the first requests a graceful stop, a second ends the process at once. And the last resort: a stop
//! that does not end by itself within twice its deadline ends with the process.
//!
//! Both must work when daemons hang. So signals have a thread and a tokio runtime of their own, which no daemon can block; and
//! the thread never logs, because a blocked stderr or subscriber would hold it up: others do, for which it waits a moment. Nor does
//! it call `process::exit` itself, which flushes, and calls what was registered for the end: that may block, too.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use steelmill_core::{Deadlines, Remote, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::notify::Notifier;
use crate::reload::Reloads;
use crate::{LogFormat, logging};

/// Signals within this time of the first count as one: `timeout(1)` and shells signal both a process and its group, and
/// no person presses Ctrl-C twice as fast.
const BURST: Duration = Duration::from_millis(100);

/// How long a log line, or the end of the process in order, is waited for at most.
const MOMENT_MAX: Duration = Duration::from_millis(100);

/// How many services have a thread of signals and have not ended. A process may run one after another, or several.
static SERVED: AtomicUsize = AtomicUsize::new(0);

/// The thread that receives the process's signals.
pub(crate) struct Signals {
    launched: oneshot::Sender<Service>,
    notifier: Option<Arc<Notifier>>,
}

impl Signals {
    /// Installs the process's signal handlers, for good. What is said of the service holds until its factory is
    /// [served](Signals::serve).
    pub(crate) fn listen(name: &str, stop_deadline: Duration, format: LogFormat) -> Result<Signals> {
        let notifier = Notifier::from_env()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let source = {
            let _context = runtime.enter();
            Source::new()?
        };
        let (launched, launches) = oneshot::channel();
        let signals = Signals { launched, notifier: notifier.clone() };
        let name = name.to_owned();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut listener = Listener {
                name,
                stop_deadline,
                format,
                source,
                notifier,
                first: None,
                service: State::Launching(launches),
                stopping: None,
                last_resort: None,
            };
            runtime.block_on(listener.listen());
        })?;
        SERVED.fetch_add(1, Ordering::Relaxed);
        Ok(signals)
    }

    /// Stops a factory by the first signal, and the process if that does not end; until what is returned is dropped.
    pub(crate) fn serve(self, remote: Remote, reloads: Arc<Reloads>) -> Served {
        let (served, ended) = oneshot::channel();
        let runtime = Handle::current();
        // The thread is there for as long as the process.
        let _ = self.launched.send(Service { remote, reloads, runtime, ended });
        Served { _served: served, notifier: self.notifier }
    }
}

/// Dropped when nothing can hang any more. The service manager has heard of the stop by then: one that a daemon asked for may be
/// over before anybody who follows the factory is told.
pub(crate) struct Served {
    _served: oneshot::Sender<()>,
    notifier: Option<Arc<Notifier>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(notifier) = &self.notifier {
            notifier.stopping();
        }
    }
}

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
    /// It should have ended, and has to by this time. What is known of it.
    Overdue(Instant, String),
    /// The service has ended, or was never launched.
    Ended,
}

struct Listener {
    /// Of the service, and its stop deadline, until its factory tells.
    name: String,
    stop_deadline: Duration,
    format: LogFormat,
    source: Source,
    /// Of the service manager, if there is one.
    notifier: Option<Arc<Notifier>>,
    first: Option<(Signal, Instant)>,
    service: State,
    stopping: Option<BoxFuture<'static, ()>>,
    last_resort: Option<LastResort>,
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
                        Some((signal, _)) if self.is_reload(signal) => {
                            (self.first, self.last_resort) = (None, None);
                        }
                        Some((signal, at)) => {
                            // The setup may have set other deadlines.
                            self.last_resort = None;
                            self.stop(signal, at);
                        }
                        None => {}
                    }
                }
                Heard::Stopping => self.expect_end(Instant::now()),
                Heard::Overdue(ends, known) => self.end_process(ends, &known),
                Heard::Ended => {
                    SERVED.fetch_sub(1, Ordering::Relaxed);
                    self.service = State::Ended;
                    (self.stopping, self.last_resort) = (None, None);
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
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(context).is_ready()
        {
            self.stopping = None;
            return Poll::Ready(Heard::Stopping);
        }
        if let Some(last_resort) = &mut self.last_resort
            && let Poll::Ready(known) = last_resort.known.as_mut().poll(context)
        {
            return Poll::Ready(Heard::Overdue(last_resort.ends, known));
        }
        Poll::Pending
    }

    fn signal(&mut self, signal: Signal) {
        if self.is_reload(signal) {
            return self.reload(signal);
        }
        match (&self.service, self.first) {
            (_, Some((_, at))) if at.elapsed() < BURST => {}
            (State::Launching(_), None) => {
                let now = Instant::now();
                self.first = Some((signal, now));
                self.expect_end(now);
            }
            (State::Launched(_), None) => {
                let now = Instant::now();
                self.first = Some((signal, now));
                self.stop(signal, now);
            }
            // The next one counts as the second.
            (State::Launched(service), Some(_)) if service.remote.is_draining() => {
                self.first = Some((signal, Instant::now()));
                self.end_drain(signal);
            }
            // A second signal; or a first one, if the factory has ended and something else hangs.
            _ => exit(signal.exit_code(), MOMENT_MAX, || ()),
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

    /// Stops the factory by a signal of that time, after the service manager and the log are told so, if they can be.
    fn stop(&mut self, signal: Signal, at: Instant) {
        let State::Launched(service) = &self.service else { return };
        let (remote, drain) = (service.remote.clone(), service.remote.drain());
        if let Some(begins) = at.checked_add(drain) {
            self.expect_end(begins);
        }
        let notifier = self.notifier.clone();
        // Before the stop, which may end the process at once. The manager first: a log may block.
        aside(self.moment(), move || {
            if let Some(notifier) = notifier {
                notifier.stopping();
            }
            match drain {
                Duration::ZERO => {
                    tracing::info!(parent: None, "{signal}: stopping; another one ends the process at once");
                }
                drain => {
                    tracing::info!(parent: None, "{signal}: draining for {drain:?}; another one ends that");
                }
            }
        });
        remote.request_stop();
    }

    fn end_drain(&mut self, signal: Signal) {
        let State::Launched(service) = &self.service else { return };
        service.remote.stop_at_once();
        self.expect_end(Instant::now());
        aside(
            self.moment(),
            move || tracing::info!(parent: None, "{signal}: draining no longer; another one ends the process at once"),
        );
    }

    fn remote(&self) -> Option<&Remote> {
        match &self.service {
            State::Launched(service) => Some(&service.remote),
            State::Launching(_) | State::Ended => None,
        }
    }

    fn stop_deadline(&self) -> Duration {
        self.remote().map_or(self.stop_deadline, |remote| {
            let Deadlines { stop, rollback, .. } = remote.deadlines();
            stop.max(rollback)
        })
    }

    /// A small part of the stop's time; the sixteenth of its deadline.
    fn moment(&self) -> Duration {
        let within = Deadlines::ends_within(self.stop_deadline());
        within.map_or(MOMENT_MAX, |within| (within / 32).min(MOMENT_MAX))
    }

    /// A stop begins at that time, at the latest, and with it the process has to end.
    fn expect_end(&mut self, begins: Instant) {
        let deadline = self.stop_deadline();
        let after_begin = |time: Option<Duration>| time.and_then(|time| begins.checked_add(time));
        let ends = after_begin(Deadlines::ends_within(deadline));
        let last_resort = after_begin(Deadlines::last_resort(deadline));
        // Else they are too long for a clock.
        if let (Some(ends), Some(due)) = (ends, last_resort)
            && self.last_resort.as_ref().is_none_or(|former| ends < former.ends)
        {
            let known = what_is_known(self.remote().cloned(), due, ends - due).boxed();
            self.last_resort = Some(LastResort { ends, known });
        }
    }

    /// The last resort: says what is known, and ends the process.
    fn end_process(&self, ends: Instant, known: &str) -> ! {
        let (format, deadline) = (self.format, self.stop_deadline());
        let path = self.remote().map_or(&*self.name, Remote::path);
        let text = format!(
            "{path} has not ended by twice its stop deadline of {deadline:?}, so the process is ended{known}"
        );
        let left = ends.saturating_duration_since(Instant::now());
        exit(1, left / 2, move || logging::fatal(format, &text))
    }
}

/// Ends the process a moment before twice the deadline of a stop.
struct LastResort {
    /// When the process must have ended.
    ends: Instant,
    /// Resolves when the process is to be ended.
    known: BoxFuture<'static, String>,
}

/// Tells at that time how the factory stands, which is asked for some time before.
async fn what_is_known(remote: Option<Remote>, due: Instant, before: Duration) -> String {
    sleep_until(due.checked_sub(before).unwrap_or(due)).await;
    let known = match &remote {
        None => ": its setup has not returned".to_owned(),
        Some(remote) => match timeout_at(due, remote.status()).await {
            Ok(Some(status)) => format!(":\n{status}"),
            Ok(None) => ": its supervisor has ended".to_owned(),
            Err(_) => ": its supervisor does not answer".to_owned(),
        },
    };
    sleep_until(due).await;
    known
}

/// Ends the process after some last words: in order, if that takes no longer than this time. Both may block, and an exit that blocks
/// lets no other thread exit.
fn exit(code: i32, within: Duration, last_words: impl FnOnce() + Send + UnwindSafe + 'static) -> ! {
    aside(within, move || {
        let _ = catch_unwind(last_words);
        process::exit(code);
    });
    exit_at_once(code)
}

#[cfg(unix)]
fn exit_at_once(code: i32) -> ! {
    signal_hook::low_level::exit(code)
}

#[cfg(not(unix))]
fn exit_at_once(_: i32) -> ! {
    process::abort()
}

/// Runs code that may block or panic on a thread of its own, and waits for it for a moment.
fn aside(moment: Duration, code: impl FnOnce() + Send + UnwindSafe + 'static) {
    let (done, is_done) = mpsc::channel::<()>();
    let run = move || {
        let _ = catch_unwind(code);
        drop(done);
    };
    if thread::Builder::new().name("signals".to_owned()).spawn(run).is_ok() {
        let _ = is_done.recv_timeout(moment);
    }
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
