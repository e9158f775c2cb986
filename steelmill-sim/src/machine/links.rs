//! Link faults of a scenario: partition, isolation, hold, impairment, connection reset, latency.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::machine::cluster::{self, RunId};
use crate::machine::machine::Machine;
use crate::machine::net::{Effect, Impairment, InFlightAtCut, SynSchedule, bounds};
use crate::machine::sim::Sim;
use crate::schema::segment::Segment;

impl Sim {
    /// Partitions two machines from each other until the partition is healed or dropped.
    ///
    /// Messages in flight are lost, unless [`set_in_flight_at_cut`](Sim::set_in_flight_at_cut) says otherwise, and so are
    /// datagrams. TCP stalls and retransmits after the heal, unless the cut outlasts its timeout (a connect 131 s, data 925 s).
    pub fn partition(&self, a: &Machine, b: &Machine) -> Partition {
        self.cut(vec![(a.id(), b.id()), (b.id(), a.id())], None)
    }

    /// Partitions one direction only.
    pub fn partition_one_way(&self, from: &Machine, to: &Machine) -> Partition {
        self.cut(vec![(from.id(), to.id())], None)
    }

    /// Isolates a machine from all others, including machines made later, but not from the scenario's own.
    pub fn isolate(&self, machine: &Machine) -> Partition {
        self.cut(Vec::new(), Some(machine.id()))
    }

    fn cut(&self, links: Vec<(u32, u32)>, machine: Option<u32>) -> Partition {
        self.with(|run| {
            links.iter().for_each(|(from, to)| run.cut(*from, *to));
            machine.into_iter().for_each(|machine| run.isolate(machine));
        });
        Partition { run: self.run, links, isolated: machine }
    }

    /// Holds all messages between two machines until the hold is released or dropped. Then they arrive in the order
    /// they were sent, one minimum latency later, before any later message.
    ///
    /// A TCP stream continues at the release, without waiting for a retransmission. Its timeouts are those of a
    /// [partition](Sim::partition).
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
        self.hold_links(vec![(a.id(), b.id()), (b.id(), a.id())])
    }

    /// Holds one direction only.
    pub fn hold_one_way(&self, from: &Machine, to: &Machine) -> Hold {
        self.hold_links(vec![(from.id(), to.id())])
    }

    fn hold_links(&self, links: Vec<(u32, u32)>) -> Hold {
        self.with(|run| links.iter().for_each(|(from, to)| run.hold(*from, *to)));
        Hold { run: self.run, links }
    }

    /// Impairs the links between two machines until the impairment is repaired or dropped; see [`Impairment`].
    ///
    /// # Panics
    /// When `delay_min` is above `delay_max`, or a rate above 1,000,000 ppm.
    pub fn impair(&self, a: &Machine, b: &Machine, impairment: Impairment) -> Impaired {
        self.impair_links(vec![(a.id(), b.id()), (b.id(), a.id())], impairment)
    }

    /// Impairs one direction only.
    ///
    /// # Panics
    /// As [`impair`](Sim::impair).
    pub fn impair_one_way(&self, from: &Machine, to: &Machine, impairment: Impairment) -> Impaired {
        self.impair_links(vec![(from.id(), to.id())], impairment)
    }

    fn impair_links(&self, links: Vec<(u32, u32)>, impairment: Impairment) -> Impaired {
        let effect = impairment.effect();
        self.with(|run| links.iter().for_each(|(from, to)| run.impair(*from, *to, effect)));
        Impaired { run: self.run, links, effect }
    }

    /// Loses exactly one TCP segment: the `nth` of a kind that is sent from one machine to another from now on, by any connection. The
    /// first is 1. It is sent again as Linux does, unless it is a reset. Of data a retransmission is not counted, of a handshake it is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steelmill_sim::fault::Segment;
    /// use steelmill_sim::{Seed, check};
    ///
    /// check(Seed(1), |sim| async move {
    ///     let (a, b) = (sim.client("a"), sim.client("b"));
    ///     let _listener = b.network().bind("0.0.0.0:80").await?;
    ///     let _loss = sim.lose_segment(&a, &b, Segment::Syn, 1);
    ///     a.network().connect("b:80").await?; // by the second SYN
    ///     assert!(sim.elapsed() > Duration::from_secs(1));
    ///     Ok(())
    /// });
    /// ```
    ///
    /// # Panics
    /// When `nth` is 0.
    pub fn lose_segment(&self, from: &Machine, to: &Machine, segment: Segment, nth: u32) -> SegmentLoss {
        assert!(nth > 0, "`nth` is 0, and 1 is the first");
        let link = (from.id(), to.id());
        SegmentLoss { run: self.run, link, number: self.with(|run| run.lose_segment(link, segment, nth)) }
    }

    /// Resets every TCP connection between two machines, as a middlebox does that lost its connection table: both ends
    /// get `ConnectionReset`, and data in flight is lost.
    pub fn reset_connections(&self, a: &Machine, b: &Machine) {
        self.with(|run| run.reset_connections(a.id(), b.id()));
    }

    /// Decides what becomes of messages in flight when a cut begins, from now on. Resets and acknowledgements in flight always
    /// arrive.
    pub fn set_in_flight_at_cut(&self, in_flight: InFlightAtCut) {
        self.with(|run| run.net.links.in_flight_at_cut = in_flight);
    }

    /// Decides when a connect that gets no answer sends its SYN again, and when it gives up, from now on.
    pub fn set_syn_schedule(&self, schedule: SynSchedule) {
        self.with(|run| run.net.links.syn_schedule = schedule);
    }

    /// Sets the default latency of links, drawn anew for each message from the range. 0.5 to 2 ms until it is set.
    ///
    /// # Panics
    /// When the minimum is above the maximum.
    pub fn set_latency(&self, latency: RangeInclusive<Duration>) {
        self.with(|run| run.net.links.latency = bounds(&latency));
    }

    /// Sets the latency between two machines, in both directions.
    ///
    /// # Panics
    /// When the minimum is above the maximum.
    pub fn set_link_latency(&self, a: &Machine, b: &Machine, latency: RangeInclusive<Duration>) {
        self.set_latency_between(a, b, Some(bounds(&latency)));
    }

    /// Gives the links between two machines the default latency again.
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

/// A network partition; it heals when it is dropped.
#[derive(Debug)]
#[must_use = "a partition heals when it is dropped"]
pub struct Partition {
    run: RunId,
    links: Vec<(u32, u32)>,
    isolated: Option<u32>,
}

impl Partition {
    /// Heals the partition. TCP streams continue at their next retransmission.
    pub fn heal(self) {
        drop(self);
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| {
            self.links.iter().for_each(|(from, to)| run.heal(*from, *to));
            self.isolated.into_iter().for_each(|machine| run.rejoin(machine));
        });
    }
}

/// A hold on links; it is released when it is dropped.
#[derive(Debug)]
#[must_use = "what is held is released when the hold is dropped"]
pub struct Hold {
    run: RunId,
    links: Vec<(u32, u32)>,
}

impl Hold {
    /// Releases the held messages.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| self.links.iter().for_each(|(from, to)| run.release(*from, *to)));
    }
}

/// An impairment of links; it is repaired when it is dropped.
#[derive(Debug)]
#[must_use = "an impairment is repaired when it is dropped"]
pub struct Impaired {
    run: RunId,
    links: Vec<(u32, u32)>,
    effect: Effect,
}

impl Impaired {
    /// Removes the impairment.
    pub fn repair(self) {
        drop(self);
    }
}

impl Drop for Impaired {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| {
            self.links.iter().for_each(|(from, to)| run.repair(*from, *to, &self.effect));
        });
    }
}

/// The loss of one segment, past or to come; a segment that was not sent until this is dropped is not lost.
#[derive(Debug)]
#[must_use = "a segment is lost only until this is dropped"]
pub struct SegmentLoss {
    run: RunId,
    link: (u32, u32),
    number: u32,
}

impl Drop for SegmentLoss {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| run.keep_segments(self.link, self.number));
    }
}
