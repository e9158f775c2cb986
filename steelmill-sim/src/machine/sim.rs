//! The handle a scenario gets: its clock, its machines, and what it may do to them.

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

/// One run of the simulation, as its scenario sees it.
///
/// Its own clock, network and tasks are those of a machine that is never faulted and never drifts.
#[derive(Debug, Clone, Copy)]
pub struct Sim {
    pub(crate) run: RunId,
}

impl Sim {
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Cluster) -> R) -> R {
        cluster::with(self.run, look)
    }

    fn place(&self) -> Process {
        Process { run: self.run, machine: SCENARIO, incarnation: 0 }
    }

    /// The seed of this run.
    pub fn seed(&self) -> Seed {
        self.with(|run| run.kernel.settings.seed)
    }

    /// The scenario's own world.
    pub fn world(&self) -> SimWorld {
        SimWorld(self.place())
    }

    /// The scenario's own clock.
    pub fn clock(&self) -> Clock {
        self.world().clock()
    }

    /// The scenario's own network.
    pub fn network(&self) -> Network {
        self.world().network()
    }

    /// The scenario's own randomness.
    pub fn entropy(&self) -> Entropy {
        self.world().entropy()
    }

    /// Virtual time since the run began.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.with(|run| run.kernel.now))
    }

    /// Starts a task of the scenario. If it panics and its handle was dropped, the run fails.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + 'static,
    {
        spawn_at(self.place(), None, name, Location::caller(), future)
    }

    /// Starts the cluster's factory: what is provided there is shared by every machine that is started after it.
    ///
    /// # Errors
    /// Those of `setup` and of starting; and a second root.
    pub async fn root(&self, setup: impl FnOnce(&mut Factory) -> Result) -> Result {
        anyhow::ensure!(self.with(|run| run.root.is_none()), "the cluster has a root already");
        let mut factory = Factory::root("cluster", self.world());
        setup(&mut factory)?;
        let running = factory.start().await?;
        self.with(|run| run.root = Some(running));
        Ok(())
    }

    /// Makes a machine, down until it is started. `setup` assembles its daemons, at every start anew.
    ///
    /// Others reach it by `name`, or by its address.
    ///
    /// # Panics
    /// When there is a machine of that name.
    pub fn machine(
        &self,
        name: &str,
        setup: impl Fn(&mut Factory) -> Result + Send + Sync + 'static,
    ) -> Machine {
        Machine::new(self.run, name, Some(Box::new(setup)))
    }

    /// Makes a machine without daemons, up at once: a place for the scenario's own code.
    ///
    /// # Panics
    /// When there is a machine of that name.
    pub fn client(&self, name: &str) -> Machine {
        Machine::new(self.run, name, None)
    }

    /// Gives a name to addresses, as an entry in a name server does: whoever connects to it tries them in turn. No
    /// address takes the name away. Machines are known by their own names without this, and a machine's name wins.
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

    /// Draws a number below `below` from the stream of faults: for what a scenario does to its cluster. A replay may
    /// give other numbers, and 0 past its end.
    ///
    /// # Panics
    /// When `below` is 0.
    pub fn draw(&self, below: u64) -> u64 {
        assert!(below > 0, "there is no number below 0");
        self.with(|run| run.kernel.draw(Stream::Fault, below))
    }

    /// Adds to a total that the campaign's summary shows over all seeds.
    pub fn count(&self, what: &'static str, n: u64) {
        self.with(|run| {
            let total = run.tally.counts.entry(what).or_default();
            *total += n;
            let total = *total;
            run.kernel.happened(EventKind::Count { what, more: n, total });
        });
    }

    /// What the run holds at this moment: for tests that nothing is left behind.
    pub fn sizes(&self) -> Sizes {
        self.with(|run| {
            let [connections, listeners, udp_sockets, ports, link_rules] = run.net.sizes();
            let (tasks, timers) = (run.kernel.tasks.alive(), run.kernel.timers.len());
            Sizes { tasks, timers, connections, listeners, udp_sockets, ports, link_rules }
        })
    }
}

/// How much of everything a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Timers of tasks, and messages on their way.
    pub timers: usize,
    /// TCP connections, from the first SYN until both ends have let go.
    pub connections: usize,
    /// TCP listeners.
    pub listeners: usize,
    /// UDP sockets.
    pub udp_sockets: usize,
    /// Ports that are taken.
    pub ports: usize,
    /// Directions between machines that have something of their own: a latency, a cut, an impairment.
    pub link_rules: usize,
}
