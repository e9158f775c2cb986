//! `Sim`, the handle of a scenario to its run: makes machines, names, draws and counts.

use std::future::Future;
use std::net::IpAddr;
use std::panic::Location;
use std::time::Duration;

use steelmill_core::{Factory, Result, World as _};

use crate::machine::clock::Clock;
use crate::machine::cluster::{self, Cluster, RunId};
use crate::machine::entropy::Entropy;
use crate::machine::hosts::SCENARIO;
use crate::machine::machine::Machine;
use crate::machine::net::Network;
use crate::machine::spawn::{Task, spawn_at};
use crate::machine::world::{Process, SimWorld};
use crate::schema::decision::Stream;
use crate::schema::event::EventKind;
use crate::schema::settings::Seed;

/// A handle to one simulation run, passed to the scenario.
///
/// The scenario has a machine of its own for clock, network, entropy and tasks. No fault strikes it and its clock never
/// drifts.
#[derive(Debug, Clone, Copy)]
pub struct Sim {
    pub(crate) run: RunId,
}

impl Sim {
    pub(crate) fn with<R>(&self, access: impl FnOnce(&mut Cluster) -> R) -> R {
        cluster::with(self.run, access)
    }

    fn process(&self) -> Process {
        Process { run: self.run, machine: SCENARIO, incarnation: 0 }
    }

    /// The seed of this run.
    pub fn seed(&self) -> Seed {
        self.with(|run| run.kernel.settings.seed)
    }

    /// The world of the scenario's own machine.
    pub fn world(&self) -> SimWorld {
        SimWorld(self.process())
    }

    /// The clock of the scenario's own machine.
    pub fn clock(&self) -> Clock {
        self.world().clock()
    }

    /// The network of the scenario's own machine.
    pub fn network(&self) -> Network {
        self.world().network()
    }

    /// The entropy of the scenario's own machine.
    pub fn entropy(&self) -> Entropy {
        self.world().entropy()
    }

    /// Virtual time since the run began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.with(|run| run.kernel.now))
    }

    /// Spawns a task of the scenario. If its handle was dropped, a panic of the task fails the run.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + 'static,
    {
        spawn_at(self.process(), None, name, Location::caller(), future)
    }

    /// Starts the cluster's factory. Its daemons are shared by every machine that starts afterwards.
    ///
    /// # Errors
    /// Those of `setup` and of starting its daemons; when the cluster has a root factory already.
    pub async fn root(&self, setup: impl FnOnce(&mut Factory) -> Result) -> Result {
        anyhow::ensure!(self.with(|run| run.root.is_none()), "the cluster has a root factory already");
        let mut factory = Factory::root("cluster", self.world());
        setup(&mut factory)?;
        let running = factory.start().await?;
        self.with(|run| run.root = Some(running));
        Ok(())
    }

    /// Makes a machine. It is down until [`Machine::start`]; each start calls `setup` to assemble its daemons.
    ///
    /// `name` is its host name.
    ///
    /// # Panics
    /// When a machine of that name exists.
    pub fn machine(
        &self,
        name: &str,
        setup: impl Fn(&mut Factory) -> Result + Send + Sync + 'static,
    ) -> Machine {
        Machine::new_factory(self.run, name, Box::new(setup))
    }

    /// Makes a machine without daemons, for client code of the scenario. It is up at once.
    ///
    /// # Panics
    /// When a machine of that name exists.
    pub fn client(&self, name: &str) -> Machine {
        Machine::new_client(self.run, name)
    }

    /// Sets the addresses that a host name resolves to, like a DNS record. A connect tries them in turn. An empty list
    /// removes the name. The name of a machine always resolves to that machine.
    ///
    /// ```
    /// # steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    /// let (one, two) = (sim.client("db-1"), sim.client("db-2"));
    /// sim.set_name("db", &[one.address(), two.address()]);
    /// let listener = two.network().bind("0.0.0.0:5432").await?;
    /// let stream = sim.network().connect("db:5432").await?; // nobody listens on db-1
    /// assert_eq!(stream.peer_addr()?.ip(), two.address());
    /// # drop(listener);
    /// # Ok(())
    /// # });
    /// ```
    pub fn set_name(&self, name: &str, addresses: &[IpAddr]) {
        self.with(|run| run.set_name(name, addresses));
    }

    /// A uniformly random number below `below` from the fault stream, for faults of the scenario's own. A replay may
    /// return other numbers, and 0 past its end.
    ///
    /// # Panics
    /// When `below` is 0.
    pub fn draw(&self, below: u64) -> u64 {
        assert!(below > 0, "there is no number below 0");
        self.with(|run| run.kernel.draw(Stream::Fault, below))
    }

    /// Adds `n` to a named count. The campaign's summary shows its total over all seeds.
    pub fn count(&self, what: &'static str, n: u64) {
        self.with(|run| {
            let total = run.tally.count(what, n);
            run.kernel.happened(EventKind::Count { what, more: n, total });
        });
    }

    /// Numbers of live tasks, timers, sockets and other resources, for leak tests.
    pub fn sizes(&self) -> Sizes {
        self.with(|run| {
            let [connections, listeners, udp_sockets, ports, link_rules] = run.net.sizes();
            let (tasks, timers) = (run.kernel.tasks.alive(), run.kernel.timers.len());
            let descriptors = run.descriptors.count();
            Sizes { tasks, timers, connections, listeners, udp_sockets, ports, link_rules, descriptors }
        })
    }
}

/// Numbers of live resources in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Timers of tasks, and messages in flight.
    pub timers: usize,
    /// TCP connections, from the first SYN until both ends are closed.
    pub connections: usize,
    /// TCP listeners.
    pub listeners: usize,
    /// UDP sockets.
    pub udp_sockets: usize,
    /// Bound and ephemeral ports.
    pub ports: usize,
    /// Directions between machines with a latency, cut, hold or impairment of their own.
    pub link_rules: usize,
    /// Descriptors that programs have open.
    pub descriptors: usize,
}
