//! The notify protocol of systemd, sd_notify(3): tells the service manager that the service is ready, stops or reloads, what it is
//! doing, and that it is alive.
//!
//! The service manager says by variables where to send to, and whether it expects a sign of life. Without them nothing here exists.
//!
//! What always holds: a full socket holds nobody up for longer than [`SEND_TIMEOUT`], and what it did not take is sent again: a
//! manager that never hears of READY ends the service. Its queue may be as short as ten messages, so status texts that change fast
//! do not fill it. A sign of life is sent only after a supervisor has answered, tokio has polled a task, and no daemon is
//! unresponsive.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::pin::{Pin, pin};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::{Either, select};
use steelmill_core::{FactoryHealth, HealthWatch, Remote, Result, State};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, Sleep, interval, sleep, timeout};

/// How long a message may wait for room in the socket, and after what time one that found none is sent again.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// The least time between two status texts.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// The longest status text.
const STATUS_MAX: usize = 500;

/// The connection to the service manager.
pub(crate) struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// Within which time the manager wants a sign of life.
    watchdog: Option<Duration>,
    /// The manager was told READY.
    is_ready: AtomicBool,
    stop: AtomicU8,
}

/// Nothing is to be said of a stop.
const NO_STOP: u8 = 0;
/// STOPPING is to be sent.
const STOP_UNSENT: u8 = 1;
/// The manager was told STOPPING.
const STOP_SENT: u8 = 2;

impl Notifier {
    /// As the environment says; `None` if there is no service manager.
    ///
    /// # Errors
    /// When the variables are there and wrong.
    pub(crate) fn from_env() -> Result<Option<Arc<Notifier>>> {
        let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let text = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let watchdog =
            watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), process::id())?;
        let manager = address(&path).with_context(|| format!("NOTIFY_SOCKET is {path:?}"))?;
        let socket = UnixDatagram::unbound().context("cannot make a socket for NOTIFY_SOCKET")?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        let (is_ready, stop) = (AtomicBool::new(false), AtomicU8::new(NO_STOP));
        Ok(Some(Arc::new(Notifier { socket, manager, watchdog, is_ready, stop })))
    }

    /// Whether the manager's socket took it. Nobody else is to be told if it did not.
    fn send(&self, state: &str) -> bool {
        self.socket.send_to_addr(state.as_bytes(), &self.manager).is_ok()
    }

    /// The service begins to stop.
    pub(crate) fn stopping(&self) {
        let is_first = |stop| (stop == NO_STOP).then_some(STOP_UNSENT);
        if self.stop.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_first).is_ok() {
            self.tell_of_the_stop();
        }
    }

    /// False if STOPPING is still to be sent.
    fn tell_of_the_stop(&self) -> bool {
        if self.stop.load(Ordering::Relaxed) == STOP_UNSENT && self.send("STOPPING=1") {
            self.stop.store(STOP_SENT, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed) != STOP_UNSENT
    }

    /// The configuration is being read again.
    pub(crate) fn reloading(&self) {
        if self.is_ready.load(Ordering::Relaxed) {
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
        }
    }

    /// It was read again, with this outcome.
    pub(crate) fn reloaded(&self, outcome: &str) {
        if self.is_ready.load(Ordering::Relaxed) {
            self.send(&format!("READY=1\nSTATUS={}", one_line(outcome)));
        }
    }

    /// Follows the factory to its end.
    pub(crate) async fn follow(self: Arc<Self>, remote: Remote, runtime: Handle) {
        let mut health = remote.health();
        let published = health.clone();
        // At half of the time, as sd_watchdog_enabled(3) recommends.
        let mut beat = self.watchdog.map(|within| interval((within / 2).max(Duration::from_millis(1))));
        if let Some(beat) = &mut beat {
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut told = String::new();
        // Until when no other status is sent; and nothing at all, if the socket was full.
        let mut pause: Option<Pin<Box<Sleep>>> = None;
        let mut was_full = false;
        loop {
            let current = published.current();
            if pause.is_none() || (!was_full && self.owes(&current)) {
                let waits = self.tell(&current, &mut told);
                was_full = waits == Some(SEND_TIMEOUT);
                pause = waits.map(|waits| Box::pin(sleep(waits))).or(pause);
            }
            let tick = async {
                match &mut beat {
                    Some(beat) => beat.tick().await,
                    None => std::future::pending().await,
                }
            };
            let paused = async {
                match &mut pause {
                    Some(pause) => pause.await,
                    None => std::future::pending().await,
                }
            };
            let is_pause_over = match select(pin!(health.changed()), select(pin!(tick), pin!(paused))).await {
                Either::Left((changed, _)) if changed.is_none() => return,
                Either::Left(_) => false,
                Either::Right((Either::Left(_), _)) => {
                    let patience = self.watchdog.unwrap_or_default() / 4;
                    if is_alive(&remote, &published, &runtime, patience).await {
                        self.send("WATCHDOG=1");
                    }
                    false
                }
                Either::Right((Either::Right(_), _)) => true,
            };
            if is_pause_over {
                pause = None;
            }
        }
    }

    /// Whether there is more to tell than a status.
    fn owes(&self, health: &FactoryHealth) -> bool {
        let owes_stop = match self.stop.load(Ordering::Relaxed) {
            NO_STOP => health.state >= State::Draining,
            stop => stop == STOP_UNSENT,
        };
        owes_stop || (health.is_ready() && !self.is_ready.load(Ordering::Relaxed))
    }

    /// Tells what the manager does not know yet, and for how long it is to be told nothing more, if it was told anything.
    fn tell(&self, health: &FactoryHealth, told: &mut String) -> Option<Duration> {
        if health.state >= State::Draining {
            self.stopping();
        }
        if !self.tell_of_the_stop() {
            return Some(SEND_TIMEOUT);
        }
        let status = format!("STATUS={}", one_line(&health.to_string()));
        let becomes_ready = health.is_ready() && !self.is_ready.load(Ordering::Relaxed);
        let is_sent = match becomes_ready {
            true => self.send(&format!("READY=1\n{status}")),
            false if status == *told => return None,
            false => self.send(&status),
        };
        if !is_sent {
            return Some(SEND_TIMEOUT);
        }
        self.is_ready.fetch_or(becomes_ready, Ordering::Relaxed);
        *told = status;
        Some(STATUS_EVERY)
    }
}

/// Whether the supervisors answer, no daemon is unresponsive, and tokio polls tasks.
async fn is_alive(remote: &Remote, health: &HealthWatch, runtime: &Handle, patience: Duration) -> bool {
    let polled = runtime.spawn(async {});
    let answers = timeout(patience, remote.status()).await.is_ok_and(|status| status.is_some());
    answers
        && timeout(patience, polled).await.is_ok_and(|polled| polled.is_ok())
        && health.current().is_live()
}

/// A path, or an abstract name after `@`.
fn address(path: &OsStr) -> Result<SocketAddr> {
    match path.as_bytes() {
        [b'/', ..] => Ok(SocketAddr::from_pathname(path)?),
        [b'@', name @ ..] => Ok(abstract_address(name)?),
        _ => bail!("it must begin with / or @"),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract names exist on Linux only"))
}

/// Within which time the manager wants a sign of life of process `id`; sd_watchdog_enabled(3).
fn watchdog(micros: Option<&str>, of: Option<&str>, id: u32) -> Result<Option<Duration>> {
    let Some(micros) = micros else { return Ok(None) };
    let within = micros.parse().ok().filter(|micros| *micros > 0);
    let within =
        within.with_context(|| format!("WATCHDOG_USEC is {micros:?}, which is no number of microseconds"))?;
    if let Some(of) = of {
        let of: u32 =
            of.parse().with_context(|| format!("WATCHDOG_PID is {of:?}, which is no process id"))?;
        if of != id {
            return Ok(None);
        }
    }
    Ok(Some(Duration::from_micros(within)))
}

/// `CLOCK_MONOTONIC` in microseconds, which the manager compares with its own.
fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

/// Fields are separated by line breaks, so a value has none.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split(['\n', '\r']).map(str::trim).collect();
    let mut line = words.join("; ");
    if line.len() > STATUS_MAX {
        let end = (0..=STATUS_MAX).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        let path = address(OsStr::new("/run/notify")).expect("a path");
        assert_eq!(path.as_pathname(), Some("/run/notify".as_ref()));
        if cfg!(target_os = "linux") {
            assert!(address(OsStr::new("@name")).expect("a name").as_pathname().is_none());
        }
        assert!(address(OsStr::new("vsock:2:1")).is_err());
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(watchdog(None, Some("7"), 7).expect("valid"), None);
        assert_eq!(watchdog(Some("3000000"), None, 7).expect("valid"), seconds(3));
        assert_eq!(watchdog(Some("3000000"), Some("7"), 7).expect("valid"), seconds(3));
        assert_eq!(watchdog(Some("3000000"), Some("8"), 7).expect("valid"), None);
        assert!(watchdog(Some("0"), None, 7).is_err() && watchdog(Some("3s"), None, 7).is_err());
        assert!(watchdog(Some("3"), Some("me"), 7).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_full_socket_did_not_take_is_sent_again() {
        let name = format!("@steelmill-full-{}", process::id());
        let address = address(OsStr::new(&name)).expect("a name");
        let queue = UnixDatagram::bind_addr(&address).expect("free");
        queue.set_nonblocking(true).expect("a socket");
        let other = UnixDatagram::unbound().expect("a socket");
        other.set_nonblocking(true).expect("a socket");
        while other.send_to_addr(b"other", &address).is_ok() {}
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.set_write_timeout(Some(Duration::from_millis(1))).expect("a socket");
        let (is_ready, stop) = (AtomicBool::new(false), AtomicU8::new(NO_STOP));
        let notifier = Notifier { socket, manager: address, watchdog: None, is_ready, stop };
        notifier.stopping();
        assert!(!notifier.tell_of_the_stop(), "the queue is full");
        let mut buffer = [0; 16];
        while queue.recv(&mut buffer).is_ok_and(|count| &buffer[..count] == b"other") {}
        assert!(notifier.tell_of_the_stop());
        assert!(queue.recv(&mut buffer).is_ok_and(|count| &buffer[..count] == b"STOPPING=1"));
        notifier.stopping();
        assert!(notifier.tell_of_the_stop() && queue.recv(&mut buffer).is_err(), "it is told once");
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(
            one_line("demo: not ready\n  demo: Store is failing"),
            "demo: not ready; demo: Store is failing"
        );
        let long = one_line(&"\u{e9}".repeat(STATUS_MAX));
        assert!(long.len() <= STATUS_MAX && long.ends_with('\u{e9}'));
    }
}
