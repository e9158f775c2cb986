//! A machine: a simulated host with an address, a clock, randomness, tasks, and a factory of its own.
//!
//! A process on it can be paused, and can end in three ways. *Stop* is graceful: its daemons are told. *Exit* is the death of the process:
//! its kernel closes the sockets, so peers see a FIN or a reset. *Power loss* is silence. In each case the machine
//! is detached first, so that destructors of what is dropped can send, spawn and break nothing.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Error, Factory, Report, Result, RunningFactory, World as _};

use crate::kernel::panic_log;
use crate::kernel::tasks::Orphan;
use crate::kernel::timers::nanos;
use crate::machine::clock::Clock;
use crate::machine::cluster::{self, Cluster, RunId};
use crate::machine::entropy::Entropy;
use crate::machine::hosts::Power;
use crate::machine::lives::{LifeEnd, Lives};
use crate::machine::net::{Network, address_of};
use crate::machine::panics;
use crate::machine::spawn::{Task, spawn_at};
use crate::machine::world::{Process, SimWorld};
use crate::schema::event::{EventKind, MachineChange};
use crate::schema::moment::Moment;

type Setup = Box<dyn Fn(&mut Factory) -> Result + Send + Sync>;

/// A handle to a machine of the cluster.
#[derive(Clone)]
pub struct Machine(Arc<Inner>);

struct Inner {
    run: RunId,
    id: u32,
    name: Arc<str>,
    setup: Option<Setup>,
    running: Mutex<Option<RunningFactory>>,
    is_claimed: AtomicBool,
    lives: Mutex<Lives>,
}

/// How a process ends without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Exit,
    PowerLoss,
}

impl Machine {
    pub(crate) fn new(run: RunId, name: &str, setup: Option<Setup>) -> Self {
        let name: Arc<str> = name.into();
        let id = cluster::with(run, |run| {
            assert!(run.hosts.by_name(&name).is_none(), "there is a machine called {name:?} already");
            let id = run.add_host(&name);
            if setup.is_some() {
                run.hosts[id].power = Power::ProcessEnded; // until it is started
            }
            run.kernel.happened(EventKind::Machine { machine: id, change: MachineChange::Made });
            id
        });
        let is_up = setup.is_none();
        let machine = Self(Arc::new(Inner {
            run,
            id,
            name,
            setup,
            running: Mutex::new(None),
            is_claimed: AtomicBool::new(false),
            lives: Mutex::default(),
        }));
        if is_up {
            machine.life_begins();
        }
        // It lives as long as the run, whoever drops its handles.
        cluster::with(run, |run| run.machines.push(machine.clone()));
        machine
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id
    }

    pub(super) fn run(&self) -> RunId {
        self.0.run
    }

    pub(super) fn with<R>(&self, look: impl FnOnce(&mut Cluster) -> R) -> R {
        cluster::with(self.0.run, look)
    }

    fn running(&self) -> MutexGuard<'_, Option<RunningFactory>> {
        self.0.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn lives(&self) -> MutexGuard<'_, Lives> {
        self.0.lives.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.0.is_claimed.load(Ordering::Relaxed)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its address on the cluster's network.
    pub fn address(&self) -> IpAddr {
        address_of(self.0.id)
    }

    /// What its present life supplies to daemons and tasks.
    pub fn world(&self) -> SimWorld {
        let incarnation = self.with(|run| run.hosts[self.0.id].incarnation);
        SimWorld(Process { run: self.0.run, machine: self.0.id, incarnation })
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.world().clock()
    }

    /// The network, seen from it.
    pub fn network(&self) -> Network {
        self.world().network()
    }

    /// Its randomness.
    pub fn entropy(&self) -> Entropy {
        self.world().entropy()
    }

    /// Whether a process runs on it.
    pub fn is_up(&self) -> bool {
        self.with(|run| run.hosts[self.0.id].power == Power::Up)
    }

    /// Starts a task on it that ends with the process. On a machine that is down it never runs.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + 'static,
    {
        spawn_at(self.world().0, None, name, Location::caller(), future)
    }

    /// A daemon of it.
    ///
    /// # Errors
    /// When the machine runs no factory, or one without such a daemon.
    pub fn get<T: Daemon>(&self) -> Result<DaemonRef<T>> {
        match &*self.running() {
            Some(running) => Ok(running.get::<T>()?.share()),
            None => Err(self.error("runs no factory: it was not started, or has ended")),
        }
    }

    fn error(&self, what: &str) -> Error {
        Error::msg(format!("the machine {:?} {what}", self.0.name))
    }

    /// Assembles its factory and starts it.
    ///
    /// # Errors
    /// Those of its setup and of starting its daemons; a machine that is up; one that lost its process meanwhile.
    pub async fn start(self) -> Result<Machine> {
        self.start_process().await?;
        Ok(self)
    }

    /// Ends the process if there is one, and starts a fresh factory from the same setup.
    ///
    /// # Errors
    /// As [`start`](Machine::start).
    pub async fn restart(&self) -> Result {
        self.exit();
        self.start_process().await
    }

    pub(super) async fn start_process(&self) -> Result {
        let (place, root) = self
            .with(|run| run.begin_process(self.0.run, self.0.id))
            .ok_or_else(|| self.error("is up already"))?;
        self.life_begins();
        if self.0.setup.is_none() {
            return Ok(());
        }
        let machine = self.clone();
        // Building runs on the machine, so that it reads the machine's clock and dies with it.
        let started = spawn_at(place, None, "start", Location::caller(), async move {
            let world = SimWorld(place);
            let mut factory = match root {
                Some(root) => root.child_in(machine.name(), world)?,
                None => Factory::root(machine.name(), world),
            };
            if let Some(setup) = &machine.0.setup {
                setup(&mut factory)?;
            }
            Ok::<_, Error>(factory.start().await?)
        });
        match started.await {
            Ok(Ok(running)) => {
                let ended = running.ended();
                *self.running() = Some(running);
                let machine = self.clone();
                // As `main` does: when the factory has ended, so has the process.
                drop(spawn_at(place, None, "main", Location::caller(), async move {
                    let report = ended.await;
                    machine.end(Ending::Exit, LifeEnd::Ended(report));
                }));
                Ok(())
            }
            Ok(Err(error)) => {
                let error = error.context(format!("the machine {:?} did not start", self.0.name));
                self.end(Ending::Exit, LifeEnd::NotStarted(format!("{error:#}").into()));
                Err(error)
            }
            Err(error) => {
                let error = self.error(&format!("lost its process while it started: {error}"));
                self.end(Ending::Exit, LifeEnd::NotStarted(format!("{error:#}").into()));
                Err(error)
            }
        }
    }

    /// Stops its factory gracefully, and then its process.
    ///
    /// # Errors
    /// When it runs no factory.
    pub async fn stop(&self) -> Result<Arc<Report>> {
        let running =
            self.running().take().ok_or_else(|| self.error("runs no factory that could be stopped"))?;
        self.lives().begin_stop();
        let report = running.stop().await;
        self.end(Ending::Exit, LifeEnd::Ended(report.clone()));
        Ok(report)
    }

    /// The right to end it and to start it again, until the claim is dropped; `None` while somebody else has it. What
    /// [`Sim::inject_faults`](crate::Sim::inject_faults) ends or pauses it claims: a scenario that stops machines meanwhile should, too.
    pub fn claim(&self) -> Option<Claim> {
        let is_free = !self.0.is_claimed.swap(true, Ordering::Relaxed);
        is_free.then(|| Claim(self.clone()))
    }

    /// Ends its process at once: tasks are dropped where they are, and the kernel closes the sockets.
    pub fn exit(&self) {
        self.end(Ending::Exit, LifeEnd::Killed);
    }

    /// Ends it without a word: nothing is sent any more, and nothing that is sent to it is answered.
    pub fn power_loss(&self) {
        self.end(Ending::PowerLoss, LifeEnd::PowerLost);
    }

    fn end(&self, ending: Ending, end: LifeEnd) {
        let running = self.running().take();
        let orphans = cluster::try_with(self.0.run, |run| run.end_process(self.0.id, ending));
        panics::drop_orphans(self.0.run, orphans.into_iter().flatten());
        panic_log::drop_caught(running);
        self.life_ends(end);
    }

    /// Pauses its process, as SIGSTOP or a hypervisor does: none of its tasks runs until it is resumed, while its
    /// clocks go on and its kernel accepts connections and takes in what is sent to it, as far as there is room.
    ///
    /// What waits for it waits: a [`stop`](Machine::stop), too. A paused process that ends is not paused any more.
    pub fn pause(&self) {
        self.with(|run| {
            run.kernel.happened(EventKind::Machine { machine: self.0.id, change: MachineChange::Paused });
            run.pause(self.0.id);
        });
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.with(|run| run.hosts[self.0.id].paused.is_some())
    }

    /// Whether its factory has started, and not been stopped from here.
    pub(crate) fn runs_factory(&self) -> bool {
        self.running().is_some()
    }

    /// Whether it has daemons to start.
    pub(crate) fn has_setup(&self) -> bool {
        self.0.setup.is_some()
    }

    /// Its clock's drift in parts per million, and how many nanoseconds its wall clock is ahead.
    pub(crate) fn clock_error(&self) -> (i64, i64) {
        self.with(|run| (run.drift(self.0.id), run.wall_offset(self.0.id)))
    }

    /// Sets both; does nothing after the run.
    pub(crate) fn set_clock_error(&self, ppm: i64, wall_offset: i64) {
        cluster::try_with(self.0.run, |run| {
            run.set_drift(self.0.id, ppm);
            run.set_wall_offset(self.0.id, wall_offset);
        });
    }

    /// Lets its process go on. Timers that were due meanwhile fire at once.
    pub fn resume(&self) {
        self.with(|run| {
            run.kernel.happened(EventKind::Machine { machine: self.0.id, change: MachineChange::Resumed });
            run.resume(self.0.id);
        });
    }

    /// Makes it slow: a task that is ready waits for its turn for up to `delay_max`, drawn anew each time; zero for a
    /// machine as fast as all others.
    pub fn set_slowness(&self, delay_max: Duration) {
        self.with(|run| {
            run.kernel.happened(EventKind::Machine {
                machine: self.0.id,
                change: MachineChange::Slowness(nanos(delay_max)),
            });
            run.set_slowness(self.0.id, nanos(delay_max));
        });
    }

    /// Makes its clock go faster or slower than the cluster's time, by parts per million.
    ///
    /// # Panics
    /// Unless it is above -1,000,000, where time would stand still.
    pub fn set_drift(&self, ppm: i64) {
        assert!(ppm > -1_000_000, "a clock that does not go forward: {ppm} ppm");
        self.with(|run| {
            run.kernel.happened(EventKind::Machine { machine: self.0.id, change: MachineChange::Drift(ppm) });
            run.set_drift(self.0.id, ppm);
        });
    }

    /// Sets how far its wall clock is ahead; behind if `is_behind`. The monotonic clock does not notice.
    pub fn set_wall_offset(&self, offset: Duration, is_behind: bool) {
        self.with(|run| run.set_wall_offset(self.0.id, signed(offset, is_behind)));
    }

    /// Lets its wall clock jump from where it is, forward, or back if `is_back`. The monotonic clock does not notice.
    pub fn jump_wall(&self, by: Duration, is_back: bool) {
        self.with(|run| {
            let offset = run.wall_offset(self.0.id).saturating_add(signed(by, is_back));
            run.set_wall_offset(self.0.id, offset);
        });
    }
}

/// A duration as nanoseconds with a sign.
fn signed(duration: Duration, is_negative: bool) -> i64 {
    let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    if is_negative { -nanos } else { nanos }
}

/// The right to end a machine and to start it again; see [`Machine::claim`].
#[derive(Debug)]
#[must_use = "a claim is given back when it is dropped"]
pub struct Claim(Machine);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.0.is_claimed.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("name", &self.0.name).field("address", &self.address()).finish()
    }
}

impl Cluster {
    /// A new process on a machine: where its tasks live, and the cluster's factory. `None` if one runs already.
    fn begin_process(&mut self, run: RunId, machine: u32) -> Option<(Process, Option<RunningFactory>)> {
        let before = self.hosts[machine].power;
        if before == Power::Up {
            return None;
        }
        self.hosts[machine].power = Power::Up;
        if self.hosts[machine].incarnation > 0 {
            self.moment(machine, Moment::Restarting);
        }
        self.kernel.happened(EventKind::Machine { machine, change: MachineChange::Started });
        if before == Power::Off {
            self.reachable_again(machine);
        }
        Some((Process { run, machine, incarnation: self.hosts[machine].incarnation }, self.root.clone()))
    }

    /// Detaches a machine's process. Its futures come back, to be dropped when nothing of it can act any more.
    fn end_process(&mut self, machine: u32, ending: Ending) -> Vec<Orphan> {
        let was_up = self.hosts[machine].power == Power::Up;
        if ending == Ending::PowerLoss {
            self.hosts[machine].power = Power::Off; // also where only the process had ended
        } else if was_up {
            self.hosts[machine].power = Power::ProcessEnded;
        }
        if !was_up {
            if ending == Ending::PowerLoss {
                self.sockets_gone(machine, false); // of what its kernel still had to send, nothing is sent any more
            }
            return Vec::new();
        }
        self.hosts[machine].incarnation += 1;
        let change = match ending {
            Ending::Exit => MachineChange::Exited,
            Ending::PowerLoss => MachineChange::PowerLost,
        };
        self.kernel.happened(EventKind::Machine { machine, change });
        self.resume(machine);
        self.sockets_gone(machine, ending == Ending::Exit);
        self.kernel.tasks.of(machine).into_iter().filter_map(|task| self.kernel.abort(task)).collect()
    }
}
