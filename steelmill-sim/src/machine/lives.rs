//! The lives of a machine: each process on it, from its start to its end; and the init system that starts the next one.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use steelmill_core::{Backoff, Report, World as _};

use super::cluster::{self, Cluster};
use super::hosts::{HostState, SCENARIO};
use super::machine::Machine;
use super::program::PANICKED;
use super::signals::is_clean_end;
use super::spawn::spawn_at;
use super::world::{Process, SimWorld};
use crate::kernel::tasks::WaitsFor;
use crate::schema::outcome::Cause;

/// One life of a machine: a process on it, from its start to its end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Life {
    /// The name of the machine.
    pub machine: Arc<str>,
    /// When the process started, in virtual time since the run began.
    pub started_at: Duration,
    /// When it ended.
    pub ended_at: Duration,
    /// How it ended.
    pub end: LifeEnd,
    /// The error that its `main` returned, if that is why it exited.
    pub error: Option<Arc<str>>,
}

/// How a process ended.
#[derive(Debug, Clone)]
pub enum LifeEnd {
    /// Its factory ended: it was stopped, requested its own stop, or failed. The report tells which.
    Ended(Arc<Report>),
    /// Its program exited: the code. Any but 0 is a failure.
    ExitCode(i32),
    /// A signal ended its program that this did not handle: the number, as in
    /// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html). It counts as a failure unless it is SIGHUP, SIGINT,
    /// SIGTERM or SIGPIPE, as for systemd.
    Signaled(i32),
    /// Its factory or program did not start: the error.
    NotStarted(Arc<str>),
    /// It was killed, by [`Machine::exit`] or a fault: no report.
    Killed,
    /// The machine lost its power, by [`Machine::power_loss`] or a fault: no report.
    PowerLost,
}

impl LifeEnd {
    fn is_failure(&self) -> bool {
        match self {
            LifeEnd::Ended(report) => report.has_failures(),
            LifeEnd::ExitCode(code) => *code != 0,
            LifeEnd::Signaled(signal) => !is_clean_end(*signal),
            LifeEnd::NotStarted(_) | LifeEnd::Killed => true,
            LifeEnd::PowerLost => false,
        }
    }
}

impl Life {
    /// The report of its factory, if it ended by itself or was stopped.
    pub fn report(&self) -> Option<&Arc<Report>> {
        match &self.end {
            LifeEnd::Ended(report) => Some(report),
            _ => None,
        }
    }

    /// Whether the process ended by itself, or was stopped, and without a failure.
    pub fn is_success(&self) -> bool {
        match &self.end {
            LifeEnd::Ended(report) => report.is_clean(),
            LifeEnd::ExitCode(code) => *code == 0,
            LifeEnd::Signaled(signal) => is_clean_end(*signal),
            LifeEnd::NotStarted(_) | LifeEnd::Killed | LifeEnd::PowerLost => false,
        }
    }
}

/// Whose life, how it ended, and when it was.
impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [started, ended] = [self.started_at, self.ended_at].map(|at| at.as_secs_f64());
        write!(f, "{} {} (it ran from {started:.9} s to {ended:.9} s)", self.machine, self.how())
    }
}

impl Life {
    /// How it ended, and why.
    fn how(&self) -> String {
        let end = match &self.end {
            LifeEnd::Ended(report) => format!("ended: {report}"),
            LifeEnd::ExitCode(code) => format!("exited with code {code}"),
            LifeEnd::Signaled(signal) => format!("was ended by signal {signal}"),
            LifeEnd::NotStarted(error) => format!("did not start: {error}"),
            LifeEnd::Killed => "was killed".to_owned(),
            LifeEnd::PowerLost => "lost its power".to_owned(),
        };
        match &self.error {
            Some(error) => format!("{end}: main returned an error: {error}"),
            None => end,
        }
    }
}

/// After which ends an init system starts a process again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restarts {
    OnFailure,
    Always,
}

/// What a machine keeps of its lives.
#[derive(Default)]
pub(super) struct Lives {
    /// When the present process started.
    started_at: Option<Duration>,
    past: Vec<Past>,
    /// What the `main` of the present process has returned, if that is an error.
    error: Option<Arc<str>>,
    waiting: Vec<oneshot::Sender<Life>>,
    init: Option<(Restarts, Backoff)>,
    /// Its factory is being stopped from outside, so that its end is final.
    is_stopping: bool,
    /// When the init system started it again, within the window of its limit.
    restarted_at: Vec<Duration>,
}

/// A life that is over.
struct Past {
    life: Life,
    /// Whether somebody has been told how it ended. Of a report its own [`was_read`](Report::was_read) counts.
    is_told: bool,
}

impl Past {
    /// Each failure of a life that nobody has looked at.
    fn unread_failures(&self) -> Vec<String> {
        match &self.life.end {
            LifeEnd::Ended(report) if !report.was_read() => {
                report.failures().iter().map(ToString::to_string).collect()
            }
            // A panic of the main thread is judged as a panic.
            LifeEnd::ExitCode(0 | PANICKED) => Vec::new(),
            LifeEnd::Signaled(signal) if is_clean_end(*signal) => Vec::new(),
            LifeEnd::ExitCode(_) | LifeEnd::Signaled(_) | LifeEnd::NotStarted(_) if !self.is_told => {
                vec![self.life.how()]
            }
            _ => Vec::new(),
        }
    }
}

/// How many lives that ended without a failure, or by a kill, are kept.
const UNREMARKABLE_MAX: usize = 64;

impl Lives {
    /// Forgets the earliest of too many lives that have nothing to tell: a machine may have thousands.
    fn forget_unremarkable(&mut self) {
        let is_unremarkable = |past: &Past| match &past.life.end {
            LifeEnd::Ended(report) => !report.has_failures(),
            LifeEnd::Killed | LifeEnd::PowerLost | LifeEnd::ExitCode(0) => true,
            LifeEnd::Signaled(signal) => is_clean_end(*signal),
            LifeEnd::ExitCode(_) | LifeEnd::NotStarted(_) => false,
        };
        if self.past.iter().filter(|past| is_unremarkable(past)).count() > UNREMARKABLE_MAX
            && let Some(first) = self.past.iter().position(is_unremarkable)
        {
            self.past.remove(first);
        }
    }

    pub(super) fn was_started(&self) -> bool {
        self.started_at.is_some() || !self.past.is_empty()
    }

    pub(super) fn begin_stop(&mut self) {
        self.is_stopping = true;
    }

    /// For how long an init system waits before it starts the process again; `None` if it leaves the machine down.
    fn pause(&mut self, end: &LifeEnd, now: Duration) -> Option<Duration> {
        let (restarts, backoff) = self.init?;
        if restarts == Restarts::OnFailure && !end.is_failure() {
            return None;
        }
        self.restarted_at.retain(|at| now - *at < backoff.window);
        let before = self.restarted_at.len() as u32;
        if before >= backoff.restarts {
            return None;
        }
        self.restarted_at.push(now);
        let doubled = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
        Some(backoff.first.saturating_mul(doubled).min(backoff.longest))
    }
}

impl Machine {
    /// Starts the process again after each failure: a factory that failed or did not start, or a kill. As systemd's
    /// `Restart=on-failure` and Kubernetes' `OnFailure`. A [`stop`](Machine::stop) and a power loss are final.
    ///
    /// The pauses double from `first` to `longest`; after `restarts` of them within `window` the machine stays down. While
    /// somebody holds its [`claim`](Machine::claim), as a fault does, it is left to them.
    pub fn restart_on_failure(&self, backoff: Backoff) {
        self.lives().init = Some((Restarts::OnFailure, backoff));
    }

    /// Starts the process again whenever its factory ends by itself, or as
    /// [`restart_on_failure`](Machine::restart_on_failure). As systemd's `Restart=always` and Kubernetes' `Always`.
    pub fn restart_always(&self, backoff: Backoff) {
        self.lives().init = Some((Restarts::Always, backoff));
    }

    /// The lives of the machine that are over, the earliest first: all that failed, and of the others the last 64.
    ///
    /// A run fails at its end if a process failed and nobody looked at that: a factory whose report nobody read, a program
    /// whose exit code neither this nor [`ended`](Machine::ended) has told of. Unless the scenario
    /// [allowed](crate::Sim::allow_failure) the failure.
    pub fn past_lives(&self) -> Vec<Life> {
        let mut lives = self.lives();
        lives.past.iter_mut().for_each(|past| past.is_told = true);
        lives.past.iter().map(|past| past.life.clone()).collect()
    }

    /// Whether its program has exited by itself: nobody but its init system starts it again.
    pub(crate) fn has_exited(&self) -> bool {
        let lives = self.lives();
        lives.started_at.is_none()
            && lives
                .past
                .last()
                .is_some_and(|past| matches!(past.life.end, LifeEnd::ExitCode(_) | LifeEnd::Signaled(_)))
    }

    /// Waits until the process that runs now has ended, and tells how; tells of the last one if none runs. On a machine
    /// that was never started it waits for its first life.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub fn ended(&self) -> impl Future<Output = Life> + Send + 'static {
        let mut lives = self.lives();
        let (sender, receiver) = oneshot::channel();
        let is_down = lives.started_at.is_none();
        match lives.past.last_mut().filter(|_| is_down) {
            Some(last) => {
                last.is_told = true;
                drop(sender.send(last.life.clone()));
            }
            None => lives.waiting.push(sender),
        }
        let waits_for = if lives.was_started() { WaitsFor::ProcessEnd } else { WaitsFor::FirstLife };
        let run = self.run();
        async move {
            let mut receiver = receiver;
            let told = poll_fn(|context| {
                // If nobody ends it, this is who is stuck.
                cluster::try_with(run, |run| run.kernel.waits_for(waits_for));
                Pin::new(&mut receiver).poll(context)
            });
            match told.await {
                Ok(life) => life,
                Err(oneshot::Canceled) => std::future::pending().await, // the run is over
            }
        }
    }

    /// The `main` of its program returned an error.
    pub(super) fn main_failed(&self, error: &str) {
        self.lives().error = Some(error.into());
    }

    pub(super) fn life_begins(&self) {
        let now = self.with(|run| run.now());
        let mut lives = self.lives();
        (lives.started_at, lives.error) = (Some(now), None);
    }

    /// Ends a life, once: tells those who wait for it, and has the init system decide.
    pub(super) fn life_ends(&self, end: LifeEnd) {
        let Some((now, incarnation)) =
            cluster::try_with(self.run(), |run| (run.now(), run.hosts[self.id()].incarnation))
        else {
            return;
        };
        let (waiting, life, pause) = {
            let mut lives = self.lives();
            let Some(started_at) = lives.started_at.take() else { return };
            let error = lives.error.take().filter(|_| matches!(end, LifeEnd::ExitCode(_)));
            let life = Life { machine: self.name().into(), started_at, ended_at: now, end, error };
            // Whoever starts a machine is told that it did not start.
            let is_told = !lives.waiting.is_empty() || matches!(life.end, LifeEnd::NotStarted(_));
            lives.past.push(Past { life: life.clone(), is_told });
            lives.forget_unremarkable();
            let is_final = std::mem::take(&mut lives.is_stopping) || matches!(life.end, LifeEnd::PowerLost);
            let is_left = is_final || self.is_claimed() || !self.has_setup();
            let pause = if is_left { None } else { lives.pause(&life.end, now) };
            (std::mem::take(&mut lives.waiting), life, pause)
        };
        for waiting in waiting {
            // Who no longer waits has dropped the other end.
            let _ = waiting.send(life.clone());
        }
        if let Some(pause) = pause {
            self.start_after(pause, incarnation);
        }
    }

    /// What an init system does: it lives outside of the process that it starts.
    fn start_after(&self, pause: Duration, incarnation: u32) {
        let machine = self.clone();
        let place = Process { run: self.run(), machine: SCENARIO, incarnation: 0 };
        drop(spawn_at(place, None, "init", Location::caller(), async move {
            SimWorld(place).clock().sleep(pause).await;
            let is_down = |run: &mut Cluster| {
                let host = &run.hosts[machine.id()];
                host.incarnation == incarnation && host.state == HostState::ProcessEnded
            };
            if machine.with(is_down)
                && !machine.is_claimed()
                && let Err(error) = machine.start_process().await
            {
                tracing::info!("the init system of {} did not start it: {error:#}", machine.name());
                if let Some(last) = machine.lives().past.last_mut() {
                    last.is_told = false;
                }
            }
        }));
    }

    /// The failure of a life that nobody has looked at and that the scenario did not allow.
    pub(crate) fn unread_failure(&self) -> Option<Cause> {
        let unread: Vec<(Life, Vec<String>)> = {
            let lives = self.lives();
            lives.past.iter().map(|past| (past.life.clone(), past.unread_failures())).collect()
        };
        let is_allowed = |text: &String| self.with(|run| run.is_allowed(self.name(), text));
        let (life, _) = unread.into_iter().find(|(_, failures)| !failures.iter().all(is_allowed))?;
        let (at, failure) = (life.ended_at, life.how());
        Some(Cause::ProcessFailed { machine: self.name().to_owned(), at, failure })
    }
}
