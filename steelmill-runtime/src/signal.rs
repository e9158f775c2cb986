//! SIGINT, SIGTERM and SIGHUP: the first asks for a graceful stop, a second ends the process at once.
//!
//! The second is for when something hangs, so nothing that can hang stands in its way: signals have a thread and a tokio
//! runtime of their own, which no daemon can keep busy, and that thread never logs, so that a blocked stderr cannot hold
//! it up either.

use std::fmt;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use steelmill_core::{Daemon, Factory, Result, Scope};
use tokio::sync::watch;

/// Signals within this time of the first are the same wish: `timeout(1)` and shells send one to a process and one to its
/// group, and no person presses Ctrl-C twice as fast.
const BURST: Duration = Duration::from_millis(100);

/// Asks its factory to stop when the first signal comes, be it still preparing or running.
#[derive(Debug)]
pub(crate) struct Signals {
    first: watch::Receiver<Option<Signal>>,
    is_stopping: watch::Sender<bool>,
}

impl Signals {
    /// Becomes true when the factory begins to stop, which then waits for the receiver to be dropped: time to let go of
    /// what would keep the daemons in memory.
    pub(crate) fn is_stopping(&self) -> watch::Receiver<bool> {
        self.is_stopping.subscribe()
    }
}

impl Daemon for Signals {
    /// From here on the process handles its signals, and nothing undoes that.
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
                // Asked for the second time; or for the first, when the factory has ended and something else hangs.
                process::exit(signal.exit_code())
            })
        })?;
        Ok(Signals { first, is_stopping: watch::Sender::new(false) })
    }

    /// A task, because a `run` would begin only when everybody has prepared.
    async fn prepare(&self, scope: &Scope) -> Result {
        let (first, asked) = (first(self.first.clone()), scope.clone());
        scope.spawn("first signal", async move {
            if let Some(Some(signal)) = asked.until_stopping(first).await {
                tracing::info!(parent: None, "{signal}: stopping; another one ends the process at once");
                asked.request_stop();
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

/// A wish that the process end.
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
    /// What a shell reports for a process that the signal killed.
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

    /// Where signals come from.
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

    /// Where signals come from: Ctrl-C alone.
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
