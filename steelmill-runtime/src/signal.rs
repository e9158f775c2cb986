//! SIGINT, SIGTERM and SIGHUP: the first requests a graceful stop, a second ends the process at once.
//!
//! The second signal must work when daemons hang. So signals have a thread and a tokio runtime of their own, which no
//! daemon can block; and the thread never logs, because a blocked stderr would hold it up.

use std::fmt;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use steelmill_core::{Daemon, Factory, Result, Scope};
use tokio::sync::watch;

/// Signals within this time of the first count as one: `timeout(1)` and shells signal both a process and its group, and
/// no person presses Ctrl-C twice as fast.
const BURST: Duration = Duration::from_millis(100);

/// The daemon that requests the stop at the first signal, whether its factory is starting or running.
#[derive(Debug)]
pub(crate) struct Signals {
    first: watch::Receiver<Option<Signal>>,
    is_stopping: watch::Sender<bool>,
}

impl Signals {
    /// Becomes true when the factory begins to stop. The stop then waits until the receiver is dropped, so that its
    /// owner can first drop what would keep daemons in memory.
    pub(crate) fn is_stopping(&self) -> watch::Receiver<bool> {
        self.is_stopping.subscribe()
    }
}

impl Daemon for Signals {
    /// Installs the process's signal handlers, for good.
    fn build(_: &mut Factory) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut source = {
            let _context = runtime.enter();
            Source::new()?
        };
        let (sender, first) = watch::channel(None);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut signal = source.next().await;
                let first_at = Instant::now();
                if sender.send(Some(signal)).is_ok() {
                    signal = source.next().await;
                    while first_at.elapsed() < BURST {
                        signal = source.next().await;
                    }
                }
                // A second signal; or a first one, if the factory has ended and something else hangs.
                process::exit(signal.exit_code())
            })
        })?;
        Ok(Signals { first, is_stopping: watch::Sender::new(false) })
    }

    /// Spawns a task, because `run` begins only once every daemon is prepared.
    async fn prepare(&self, scope: &Scope) -> Result {
        let (first, stop) = (first(self.first.clone()), scope.clone());
        scope.spawn("first signal", async move {
            if let Some(Some(signal)) = stop.until_stopping(first).await {
                tracing::info!(parent: None, "{signal}: stopping; another one ends the process at once");
                stop.request_stop();
            }
        });
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.stopping().await;
        self.is_stopping.send_replace(true);
        self.is_stopping.closed().await;
        Ok(())
    }
}

async fn first(mut signals: watch::Receiver<Option<Signal>>) -> Option<Signal> {
    signals.wait_for(Option::is_some).await.ok().and_then(|signal| *signal)
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
    use std::future::poll_fn;
    use std::io;
    use std::task::Poll;

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

        pub(super) async fn next(&mut self) -> Signal {
            poll_fn(|context| {
                if self.interrupt.poll_recv(context).is_ready() {
                    Poll::Ready(Signal::Interrupt)
                } else if self.terminate.poll_recv(context).is_ready() {
                    Poll::Ready(Signal::Terminate)
                } else if self.hang_up.as_mut().is_some_and(|signal| signal.poll_recv(context).is_ready()) {
                    Poll::Ready(Signal::HangUp)
                } else {
                    Poll::Pending
                }
            })
            .await
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
    use std::future::pending;
    use std::io;

    use super::Signal;

    /// Receives Ctrl-C.
    pub(super) struct Source;

    impl Source {
        pub(super) fn new() -> io::Result<Source> {
            Ok(Source)
        }

        pub(super) async fn next(&mut self) -> Signal {
            match tokio::signal::ctrl_c().await {
                Ok(()) => Signal::Interrupt,
                Err(_) => pending().await,
            }
        }
    }
}
