//! `Machine`, the handle to a simulated host: start, stop, exit, power loss, restart, pause, slowness and clock faults.
//!
//! A process ends in three ways. *Stop* is graceful: its daemons stop in order. *Exit* is a process death (SIGKILL):
//! the kernel closes its sockets, so peers get a FIN or a RST. *Power loss* sends nothing. Each way detaches the
//! process before its tasks are dropped, so that destructors cannot send or spawn.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Error, Factory, Result, RunningFactory, World as _};

use crate::kernel::tasks::{Orphan, WaitsFor};
use crate::kernel::timers::nanos;
use crate::machine::clock::Clock;
use crate::machine::cluster::{self, Cluster, RunId};
use crate::machine::entropy::Entropy;
use crate::machine::hosts::HostState;
use crate::machine::lives::{Life, LifeEnd, Lives};
use crate::machine::net::Network;
use crate::machine::panic_log;
use crate::machine::panics;
use crate::machine::program::{self, Main};
use crate::machine::runtimes;
use crate::machine::signals::Signal;
use crate::machine::spawn::{Task, spawn_at};
use crate::machine::statics::Startup;
use crate::machine::world::{Process, SimWorld};
use crate::schema::event::{EventKind, MachineChange};
use crate::schema::moment::Moment;

type Setup = Box<dyn Fn(&mut Factory) -> Result + Send + Sync>;

/// What a machine's process is.
enum Workload {
    /// The scenario's own tasks.
    Tasks,
    /// The daemons of a factory.
    Factory(Setup),
    /// A program's threads.
    Program(Main),
}

/// A handle to a machine of the cluster.
#[derive(Clone)]
pub struct Machine(Arc<Inner>);

struct Inner {
    run: RunId,
    id: u32,
    name: Arc<str>,
    workload: Workload,
    running: Mutex<Option<RunningFactory>>,
    is_claimed: AtomicBool,
    lives: Mutex<Lives>,
    /// What a program is started with.
    startup: Mutex<Startup>,
}

/// An end of a process without a graceful stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessEnd {
    Exit,
    PowerLoss,
}

impl Machine {
    /// One that a scenario's own tasks run on, up at once.
    pub(crate) fn new_client(run: RunId, name: &str) -> Self {
        Self::new(run, name, Workload::Tasks)
    }

    /// One that runs a factory, down until it is started.
    pub(crate) fn new_factory(run: RunId, name: &str, setup: Setup) -> Self {
        Self::new(run, name, Workload::Factory(setup))
    }

    /// One that runs a program, down until it is started.
    pub(crate) fn new_program(run: RunId, name: &str, main: Main) -> Self {
        cluster::with(run, Cluster::want_own_process);
        Self::new(run, name, Workload::Program(main))
    }

    fn new(run: RunId, name: &str, workload: Workload) -> Self {
        let name: Arc<str> = name.into();
        let is_up = matches!(workload, Workload::Tasks);
        let id = cluster::with(run, |run| {
            assert!(run.hosts.by_name(&name).is_none(), "a machine called {name:?} exists already");
            let id = run.add_host(&name);
            if !is_up {
                run.hosts[id].state = HostState::ProcessEnded; // until it is started
            }
            run.kernel.happened(EventKind::Machine { machine: id, change: MachineChange::Made });
            id
        });
        let machine = Self(Arc::new(Inner {
            run,
            id,
            name,
            workload,
            running: Mutex::new(None),
            is_claimed: AtomicBool::new(false),
            lives: Mutex::default(),
            startup: Mutex::default(),
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

    /// What the command line of its program has behind the name.
    pub(super) fn arguments(&self) -> Vec<String> {
        let startup = self.0.startup.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        startup.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }

    pub(super) fn startup(&self) -> MutexGuard<'_, Startup> {
        assert!(
            matches!(self.0.workload, Workload::Program(_)),
            "the machine {:?} runs no program that could be given arguments or an environment",
            self.0.name
        );
        self.0.startup.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.0.is_claimed.load(Ordering::Relaxed)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The IPv4 address.
    pub fn address(&self) -> IpAddr {
        self.with(|run| run.net.addresses.v4(self.0.id).into())
    }

    /// Gives the machine other addresses, as DHCP does, or another network for a mobile client, and returns that of IPv4. From now on
    /// its name stands for that one; what is sent to the one before finds nobody.
    ///
    /// Its sockets are what they are on Linux: those at no address go on, listeners included. TCP connections at the old
    /// address send and receive nothing; they time out after 925 s, unless the machine gets that address back. UDP sockets that are
    /// bound or connected there fail to send with `ENETUNREACH`, and receive nothing. A bind to it fails with `EADDRNOTAVAIL`.
    ///
    /// ```
    /// use steelmill_sim::{Seed, check};
    ///
    /// check(Seed(1), |sim| async move {
    ///     let (server, client) = (sim.client("server"), sim.client("client"));
    ///     let _listener = server.network().bind("0.0.0.0:80").await?;
    ///     let before = server.address();
    ///     let address = server.change_address();
    ///     assert_eq!(client.network().connect("server:80").await?.peer_addr()?.ip(), address);
    ///     assert!(client.network().connect((before, 80)).await.is_err());
    ///     Ok(())
    /// });
    /// ```
    pub fn change_address(&self) -> IpAddr {
        self.with(|run| run.change_address(self.0.id, false).into())
    }

    /// Gives the machine its first addresses back. Connections at these go on.
    pub fn restore_address(&self) {
        self.with(|run| {
            run.change_address(self.0.id, true);
        });
    }

    /// The world of the current incarnation: its clock, network, entropy and spawner.
    pub fn world(&self) -> SimWorld {
        let incarnation = self.with(|run| run.hosts[self.0.id].incarnation);
        SimWorld(Process { run: self.0.run, machine: self.0.id, incarnation })
    }

    /// The machine's clock.
    pub fn clock(&self) -> Clock {
        self.world().clock()
    }

    /// The network, from this machine.
    pub fn network(&self) -> Network {
        self.world().network()
    }

    /// The machine's random number generator.
    pub fn entropy(&self) -> Entropy {
        self.world().entropy()
    }

    /// Whether a process runs on the machine.
    pub fn is_up(&self) -> bool {
        self.with(|run| run.hosts[self.0.id].state == HostState::Up)
    }

    /// Spawns a task on the machine. It is dropped when the process ends, and never runs on a machine that is down.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + 'static,
    {
        spawn_at(self.world().0, None, name, Location::caller(), future)
    }

    /// A daemon of the machine's running factory.
    ///
    /// # Errors
    /// When no factory runs, or it has no such daemon.
    pub fn get<T: Daemon>(&self) -> Result<DaemonRef<T>> {
        match &*self.running() {
            Some(running) => Ok(running.get::<T>()?.share()),
            None => Err(self.error("runs no factory: it was not started, or has ended")),
        }
    }

    fn error(&self, what: &str) -> Error {
        Error::msg(format!("the machine {:?} {what}", self.0.name))
    }

    /// Starts a process: calls the setup and starts the factory's daemons.
    ///
    /// # Errors
    /// Those of the setup and of starting the daemons; when the machine is up already; when its process ends meanwhile.
    pub async fn start(self) -> Result<Machine> {
        self.start_process().await?;
        Ok(self)
    }

    /// [Exits](Machine::exit) the process, if one runs, and starts the next incarnation with the same setup.
    ///
    /// # Errors
    /// As [`start`](Machine::start).
    pub async fn restart(&self) -> Result {
        self.exit();
        self.start_process().await
    }

    pub(super) async fn start_process(&self) -> Result {
        let (process, root) = self
            .with(|run| run.begin_process(self.0.run, self.0.id))
            .ok_or_else(|| self.error("is up already"))?;
        self.life_begins();
        match &self.0.workload {
            Workload::Tasks => return Ok(()),
            Workload::Factory(_) => {}
            Workload::Program(main) => {
                let started = program::start(self, process, main.clone());
                return started.inspect_err(|error| {
                    self.end(ProcessEnd::Exit, LifeEnd::NotStarted(format!("{error:#}").into()));
                });
            }
        }
        let machine = self.clone();
        // Starting runs as a task of the machine, so that it reads the machine's clock and ends with its process.
        let started = spawn_at(process, None, "start", Location::caller(), async move {
            let world = SimWorld(process);
            let mut factory = match root {
                Some(root) => root.child_in(machine.name(), world)?,
                None => Factory::root(machine.name(), world),
            };
            if let Workload::Factory(setup) = &machine.0.workload {
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
                drop(spawn_at(process, None, "main", Location::caller(), async move {
                    let mut ended = pin!(ended);
                    let report = poll_fn(|context| {
                        let polled = ended.as_mut().poll(context);
                        if polled.is_pending() {
                            machine.with(|run| run.kernel.waits_for(WaitsFor::Factory));
                        }
                        polled
                    })
                    .await;
                    machine.end(ProcessEnd::Exit, LifeEnd::Ended(report));
                }));
                Ok(())
            }
            Ok(Err(error)) => {
                let error = error.context(format!("the machine {:?} did not start", self.0.name));
                self.end_failed_start(process, &error);
                Err(error)
            }
            Err(error) => {
                let error = self.error(&format!("lost its process while it started: {error}"));
                self.end_failed_start(process, &error);
                Err(error)
            }
        }
    }

    /// Ends a process that did not start, unless another has taken its place meanwhile.
    fn end_failed_start(&self, process: Process, error: &Error) {
        if self.with(|run| run.hosts[self.0.id].incarnation) == process.incarnation {
            self.end(ProcessEnd::Exit, LifeEnd::NotStarted(format!("{error:#}").into()));
        }
    }

    /// Stops the process gracefully, and waits for its end: stops the factory, or sends SIGTERM to the program (see
    /// [`signal`](Machine::signal)), as an init system does. A program may take its time, or never end; an init system kills
    /// it after some time, which is left to the scenario.
    ///
    /// # Errors
    /// When nothing runs on the machine that could be stopped.
    pub async fn stop(&self) -> Result<Life> {
        let is_program = matches!(self.0.workload, Workload::Program(_)) && self.is_up();
        let running = self.running().take();
        if running.is_none() && !is_program {
            return Err(self.error(match self.has_setup() && !self.lives().was_started() {
                true => "was never started, so there is nothing to stop",
                false => "runs no factory or program that could be stopped",
            }));
        }
        let ended = self.ended();
        self.lives().begin_stop();
        match running {
            Some(running) => {
                let report = running.stop().await;
                self.end(ProcessEnd::Exit, LifeEnd::Ended(report));
            }
            None => self.signal(Signal::Terminate),
        }
        Ok(ended.await)
    }

    /// Claims exclusive control of the machine's process until the claim is dropped; `None` while another claim exists.
    ///
    /// [`Sim::inject_faults`](crate::Sim::inject_faults) claims a machine to end or pause it. A scenario that ends
    /// machines during fault injection should do the same. The lock is advisory.
    pub fn claim(&self) -> Option<Claim> {
        let is_free = !self.0.is_claimed.swap(true, Ordering::Relaxed);
        is_free.then(|| Claim(self.clone()))
    }

    /// Kills the process at once, as SIGKILL does: its tasks are dropped, and the kernel closes its sockets.
    pub fn exit(&self) {
        self.end(ProcessEnd::Exit, LifeEnd::Killed);
    }

    /// Cuts the power: its tasks are dropped, no FIN or RST is sent, and nothing answers until the next start.
    pub fn power_loss(&self) {
        self.end(ProcessEnd::PowerLoss, LifeEnd::PowerLost);
    }

    pub(super) fn end(&self, ending: ProcessEnd, end: LifeEnd) {
        let running = self.running().take();
        let ended = cluster::try_with(self.0.run, |run| run.end_process(self.0.id, ending));
        let (orphans, lost) = ended.unwrap_or_default();
        for lost in lost {
            tracing::info!("the power loss of {}: {lost}", self.0.name);
        }
        panics::drop_orphans(self.0.run, orphans);
        runtimes::dropping(self.0.run, self.0.id, || panic_log::drop_caught(running));
        self.life_ends(end);
    }

    /// Pauses the process, as SIGSTOP or a hypervisor does: its tasks do not run until [`resume`](Machine::resume). Its
    /// clocks go on, and its kernel completes handshakes and fills receive buffers.
    ///
    /// A [`stop`](Machine::stop) waits until the process is resumed. The end of the process ends the pause.
    pub fn pause(&self) {
        self.with(|run| {
            run.kernel.happened(EventKind::Machine { machine: self.0.id, change: MachineChange::Paused });
            run.pause_process(self.0.id, true);
        });
    }

    /// Whether the process is paused.
    pub fn is_paused(&self) -> bool {
        self.with(|run| run.is_process_paused(self.0.id))
    }

    /// Whether a process runs on it that was started: a factory, or a program.
    pub(crate) fn runs_process(&self) -> bool {
        match self.0.workload {
            Workload::Tasks => false,
            Workload::Factory(_) => self.running().is_some(),
            Workload::Program(_) => self.is_up(),
        }
    }

    /// Whether it has a process to start: daemons, or a program.
    pub(crate) fn has_setup(&self) -> bool {
        !matches!(self.0.workload, Workload::Tasks)
    }

    /// The clock's drift in parts per million, and the wall clock's offset in nanoseconds.
    pub(crate) fn clock_error(&self) -> (i64, i64) {
        self.with(|run| (run.drift(self.0.id), run.wall_offset(self.0.id)))
    }

    /// Sets drift and offset; does nothing after the run.
    pub(crate) fn set_clock_error(&self, ppm: i64, wall_offset: i64) {
        cluster::try_with(self.0.run, |run| {
            run.set_drift(self.0.id, ppm);
            run.set_wall_offset(self.0.id, wall_offset);
        });
    }

    /// Resumes the process. Timers that fell due during the pause fire at once.
    pub fn resume(&self) {
        self.with(|run| {
            run.kernel.happened(EventKind::Machine { machine: self.0.id, change: MachineChange::Resumed });
            run.pause_process(self.0.id, false);
        });
    }

    /// Makes the machine slow: each poll of a task is delayed by a random time up to `delay_max`. Zero makes it as fast
    /// as the others.
    pub fn set_slowness(&self, delay_max: Duration) {
        self.with(|run| {
            run.kernel.happened(EventKind::Machine {
                machine: self.0.id,
                change: MachineChange::Slowness(nanos(delay_max)),
            });
            run.set_slowness(self.0.id, nanos(delay_max));
        });
    }

    /// Sets the clock drift in parts per million: positive is faster than virtual time.
    ///
    /// # Panics
    /// When `ppm` is not above -1,000,000, at which the clock would stand still.
    pub fn set_drift(&self, ppm: i64) {
        assert!(ppm > -1_000_000, "a drift of {ppm} ppm: the clock must go forward");
        self.with(|run| {
            run.kernel.happened(EventKind::Machine { machine: self.0.id, change: MachineChange::Drift(ppm) });
            run.set_drift(self.0.id, ppm);
        });
    }

    /// Sets the wall clock's offset: ahead of virtual time, or behind if `is_behind`. The monotonic clock is unchanged.
    pub fn set_wall_offset(&self, offset: Duration, is_behind: bool) {
        self.with(|run| run.set_wall_offset(self.0.id, signed_nanos(offset, is_behind)));
    }

    /// Steps the wall clock forward, or back if `is_back`. The monotonic clock is unchanged.
    pub fn jump_wall(&self, by: Duration, is_back: bool) {
        self.with(|run| {
            let offset = run.wall_offset(self.0.id).saturating_add(signed_nanos(by, is_back));
            run.set_wall_offset(self.0.id, offset);
        });
    }
}

fn signed_nanos(duration: Duration, is_negative: bool) -> i64 {
    let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    if is_negative { -nanos } else { nanos }
}

/// Exclusive control of a machine's process; see [`Machine::claim`].
#[derive(Debug)]
#[must_use = "dropping a claim releases it"]
pub struct Claim(Machine);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.0.is_claimed.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = cluster::try_with(self.0.run, |run| run.net.addresses.v4(self.0.id));
        let mut shown = f.debug_struct("Machine");
        shown.field("name", &self.0.name);
        if let Some(address) = address {
            shown.field("address", &address);
        }
        shown.finish()
    }
}

impl Cluster {
    /// Starts a process on a machine; returns it with the cluster's factory. `None` if one runs already.
    fn begin_process(&mut self, run: RunId, machine: u32) -> Option<(Process, Option<RunningFactory>)> {
        let before = self.hosts[machine].state;
        if before == HostState::Up {
            return None;
        }
        self.hosts[machine].state = HostState::Up;
        self.unmap_ended(machine);
        if self.hosts[machine].incarnation > 0 {
            self.moment_reached(machine, Moment::Restarting);
        }
        self.kernel.happened(EventKind::Machine { machine, change: MachineChange::Started });
        if before == HostState::PoweredOff {
            self.machine_hears_again(machine);
        }
        Some((Process { run, machine, incarnation: self.hosts[machine].incarnation }, self.root.clone()))
    }

    /// Detaches a machine's process. Its futures come back, to be dropped when nothing of it can act any more, and what its disk
    /// lost, in words.
    fn end_process(&mut self, machine: u32, ending: ProcessEnd) -> (Vec<Orphan>, Vec<String>) {
        self.wake_machine(machine);
        let was_up = self.hosts[machine].state == HostState::Up;
        if ending == ProcessEnd::PowerLoss {
            self.hosts[machine].state = HostState::PoweredOff; // also where only the process had ended
        } else if was_up {
            self.hosts[machine].state = HostState::ProcessEnded;
        }
        if !was_up {
            if ending == ProcessEnd::PowerLoss {
                self.close_sockets(machine, false); // orphaned sockets stop sending
                return (Vec::new(), self.disk_lost_power(machine));
            }
            return Default::default();
        }
        self.statics_gone(machine, self.hosts[machine].incarnation);
        self.hosts[machine].incarnation += 1;
        let change = match ending {
            ProcessEnd::Exit => MachineChange::Exited,
            ProcessEnd::PowerLoss => MachineChange::PowerLost,
        };
        self.kernel.happened(EventKind::Machine { machine, change });
        self.resume(machine);
        self.close_sockets(machine, ending == ProcessEnd::Exit);
        self.disk_process_ended(machine);
        self.descriptors_gone(machine);
        self.limits_gone(machine);
        self.attributes_gone(machine);
        self.exit_functions_gone(machine);
        let lost = match ending {
            ProcessEnd::PowerLoss => self.disk_lost_power(machine),
            ProcessEnd::Exit => Vec::new(),
        };
        self.futexes_gone(machine);
        self.threads_gone(machine);
        self.tasks_of_tokio_gone(machine);
        self.signals_gone(machine);
        let orphans = self.kernel.tasks.of(machine).into_iter().filter_map(|task| self.kernel.abort(task));
        (orphans.collect(), lost)
    }
}
