//! What a scenario does to the links between machines: cutting, holding, slowing, losing.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::machine::cluster::{self, RunId};
use crate::machine::machine::Machine;
use crate::machine::net::{Effect, Impairment, bounds};
use crate::machine::sim::Sim;

impl Sim {
    /// Cuts two machines off from each other until the partition is healed or dropped.
    ///
    /// What is on its way arrives. TCP stalls and loses nothing, unless the cut lasts for longer than its patience
    /// (a connect 127 s, data 925 s); datagrams are lost.
    pub fn partition(&self, a: &Machine, b: &Machine) -> Partition {
        self.cut(vec![(a.id(), b.id()), (b.id(), a.id())], None)
    }

    /// Cuts one direction only.
    pub fn partition_one_way(&self, from: &Machine, to: &Machine) -> Partition {
        self.cut(vec![(from.id(), to.id())], None)
    }

    /// Cuts a machine off from all the others, those included that are made later; from the scenario's own never.
    pub fn isolate(&self, machine: &Machine) -> Partition {
        self.cut(Vec::new(), Some(machine.id()))
    }

    fn cut(&self, ways: Vec<(u32, u32)>, machine: Option<u32>) -> Partition {
        self.with(|run| {
            ways.iter().for_each(|(from, to)| run.cut(*from, *to));
            machine.into_iter().for_each(|machine| run.isolate(machine));
        });
        Partition { run: self.run, ways, machine }
    }

    /// Keeps everything that two machines send each other until it is released, or the hold is dropped. Then all of it
    /// arrives in the order it was sent, one least latency later, before anything that is sent after that.
    ///
    /// To a stream that is a cut that ends without waiting for a retransmission; its patience is the same.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steelmill_sim::{Seed, check};
    ///
    /// check(Seed(1), |sim| async move {
    ///     let (a, b) = (sim.client("a"), sim.client("b"));
    ///     let inbox = b.network().bind_udp("0.0.0.0:9").await?;
    ///     let socket = a.network().bind_udp("0.0.0.0:0").await?;
    ///     let hold = sim.hold(&a, &b);
    ///     for word in ["one", "two", "three"] {
    ///         socket.send_to(word.as_bytes(), "b:9").await?;
    ///     }
    ///     sim.clock().sleep(Duration::from_secs(60)).await;
    ///     hold.release();
    ///     let mut word = [0; 5];
    ///     assert_eq!(inbox.recv(&mut word).await?, 3);
    ///     assert_eq!(&word[..3], b"one");
    ///     Ok(())
    /// });
    /// ```
    pub fn hold(&self, a: &Machine, b: &Machine) -> Hold {
        self.hold_ways(vec![(a.id(), b.id()), (b.id(), a.id())])
    }

    /// Holds one direction only.
    pub fn hold_one_way(&self, from: &Machine, to: &Machine) -> Hold {
        self.hold_ways(vec![(from.id(), to.id())])
    }

    fn hold_ways(&self, ways: Vec<(u32, u32)>) -> Hold {
        self.with(|run| ways.iter().for_each(|(from, to)| run.hold(*from, *to)));
        Hold { run: self.run, ways }
    }

    /// Impairs what two machines send each other until it is repaired or dropped; see [`Impairment`].
    ///
    /// # Panics
    /// When a delay's least is above its greatest, or a rate above a million.
    pub fn impair(&self, a: &Machine, b: &Machine, impairment: Impairment) -> Impaired {
        self.impair_ways(vec![(a.id(), b.id()), (b.id(), a.id())], impairment)
    }

    /// Impairs one direction only.
    ///
    /// # Panics
    /// As [`impair`](Sim::impair).
    pub fn impair_one_way(&self, from: &Machine, to: &Machine, impairment: Impairment) -> Impaired {
        self.impair_ways(vec![(from.id(), to.id())], impairment)
    }

    fn impair_ways(&self, ways: Vec<(u32, u32)>, impairment: Impairment) -> Impaired {
        let effect = impairment.effect();
        self.with(|run| ways.iter().for_each(|(from, to)| run.impair(*from, *to, effect)));
        Impaired { run: self.run, ways, effect }
    }

    /// Resets every TCP connection between two machines, as a middlebox does that has forgotten them: both ends see
    /// `ConnectionReset`, and what was on its way is lost.
    pub fn reset_connections(&self, a: &Machine, b: &Machine) {
        self.with(|run| run.reset_connections(a.id(), b.id()));
    }

    /// How long messages take on links without a latency of their own: drawn anew for each, between the two.
    /// Half a millisecond to two until it is set.
    ///
    /// # Panics
    /// When the range ends before it begins.
    pub fn set_latency(&self, latency: RangeInclusive<Duration>) {
        self.with(|run| run.net.links.latency = bounds(&latency));
    }

    /// How long messages between two machines take, both ways.
    ///
    /// # Panics
    /// When the range ends before it begins.
    pub fn set_link_latency(&self, a: &Machine, b: &Machine, latency: RangeInclusive<Duration>) {
        self.set_latency_between(a, b, Some(bounds(&latency)));
    }

    /// Gives a link the common latency again.
    pub fn reset_link_latency(&self, a: &Machine, b: &Machine) {
        self.set_latency_between(a, b, None);
    }

    fn set_latency_between(&self, a: &Machine, b: &Machine, latency: Option<(u64, u64)>) {
        self.with(|run| {
            run.net.links.set_latency(a.id(), b.id(), latency);
            run.net.links.set_latency(b.id(), a.id(), latency);
        });
    }
}

/// A cut between machines; it heals when it is dropped.
#[derive(Debug)]
#[must_use = "a partition heals when it is dropped"]
pub struct Partition {
    run: RunId,
    ways: Vec<(u32, u32)>,
    /// Who is cut off from all others.
    machine: Option<u32>,
}

impl Partition {
    /// Lets messages through again. Streams go on at their next retransmission.
    pub fn heal(self) {
        drop(self);
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| {
            self.ways.iter().for_each(|(from, to)| run.heal(*from, *to));
            self.machine.into_iter().for_each(|machine| run.rejoin(machine));
        });
    }
}

/// A hold between machines; it is released when it is dropped.
#[derive(Debug)]
#[must_use = "what is held is released when the hold is dropped"]
pub struct Hold {
    run: RunId,
    ways: Vec<(u32, u32)>,
}

impl Hold {
    /// Lets what was held go on its way.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| self.ways.iter().for_each(|(from, to)| run.release(*from, *to)));
    }
}

/// An impairment of a link; it is repaired when it is dropped.
#[derive(Debug)]
#[must_use = "an impairment is repaired when it is dropped"]
pub struct Impaired {
    run: RunId,
    ways: Vec<(u32, u32)>,
    effect: Effect,
}

impl Impaired {
    /// Gives the link back what it was.
    pub fn repair(self) {
        drop(self);
    }
}

impl Drop for Impaired {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| {
            self.ways.iter().for_each(|(from, to)| run.repair(*from, *to, &self.effect));
        });
    }
}
