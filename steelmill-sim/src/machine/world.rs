//! The sim's [`World`](steelmill_core::World): one value is one incarnation of one machine.

use steelmill_core::{Error, Factory};

use crate::machine::clock::Clock;
use crate::machine::cluster::RunId;
use crate::machine::entropy::Entropy;
use crate::machine::net::Network;
use crate::machine::spawn::Spawner;

/// One incarnation of a machine of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) run: RunId,
    pub(crate) machine: u32,
    pub(crate) incarnation: u32,
}

/// Without the run's number, which counts the runs of a real process: it would differ from process to process.
impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run: _, machine, incarnation } = self;
        f.debug_struct("Process").field("machine", machine).field("incarnation", incarnation).finish()
    }
}

/// The capabilities of one incarnation of a machine: clock, network, entropy and spawner for its daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimWorld(pub(crate) Process);

impl steelmill_core::World for SimWorld {
    type Clock = Clock;
    type Network = Network;
    type Entropy = Entropy;
    type Spawner = Spawner;

    fn clock(&self) -> Clock {
        Clock { run: self.0.run, machine: self.0.machine }
    }

    fn network(&self) -> Network {
        Network(self.0)
    }

    fn entropy(&self) -> Entropy {
        Entropy { run: self.0.run, machine: self.0.machine }
    }

    fn spawner(&self) -> Spawner {
        Spawner(self.0)
    }
}

/// The error of building a simulated capability in a factory without a machine.
pub(crate) fn needs_machine<T>(factory: &Factory) -> Error {
    anyhow::anyhow!(
        "{} cannot be built: a machine of the sim provides it, and the factory {:?} was made without one (pass a \
         machine's world to Factory::root or child_in)",
        std::any::type_name::<T>(),
        factory.path(),
    )
}
