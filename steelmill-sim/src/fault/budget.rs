//! Fault budget: which faults may strike which machines, how severely and for how long.

use std::time::Duration;

use super::{DiskTrouble, Family, Kind};
use crate::machine::machine::Machine;
use crate::schema::rare_branch::RareBranch;

/// The faults that a scenario allows: machines, severity, duration. [`Nemesis::run`](super::Nemesis::run) rejects a
/// plan with a fault outside of it, and skips a fault that would exceed [`down_max`](Budget::down_max).
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::fault::Budget;
/// # use steelmill_sim::{Seed, check};
/// # check(Seed(1), |sim| async move {
/// let (store, gateway) = (sim.client("store"), sim.client("gateway"));
/// // The store has no durable storage, so it may be partitioned but not crashed.
/// let budget = Budget {
///     lasts: Duration::from_secs(60),
///     links: vec![store.clone(), gateway.clone()],
///     ends: vec![gateway.clone()],
///     pauses: vec![gateway.clone()],
///     clocks: vec![store, gateway],
///     ..Budget::default()
/// };
/// # let _ = budget; Ok(()) });
/// ```
#[derive(Debug, Clone)]
pub struct Budget {
    /// The duration of fault injection. Then everything is healed. Shrinking a red seed lowers it, to whole seconds.
    pub lasts: Duration,
    /// Machines whose links may be cut, slow, lossy or limited in bandwidth, whose connections may be reset, and whose name lookups may
    /// take time or fail.
    pub links: Vec<Machine>,
    /// Machines that may exit or lose power. They are restarted.
    pub ends: Vec<Machine>,
    /// Machines that may be paused or slow.
    pub pauses: Vec<Machine>,
    /// Machines that may be suspended. Their monotonic clock stands still meanwhile, so a lease that is measured by it outlives its time.
    pub suspensions: Vec<Machine>,
    /// Machines whose addresses may change for a while. Nobody is told so: a connection at an old one is half open until somebody sends.
    pub addresses: Vec<Machine>,
    /// Machines whose clocks may drift, jump or be offset.
    pub clocks: Vec<Machine>,
    /// Machines whose disks may fail calls, be full, slow, or transfer less than they could.
    pub disks: Vec<Machine>,
    /// Machines whose disks may lose or change data without a word ([`Family::Corruption`]).
    pub corruptible: Vec<Machine>,
    /// Machines whose links may change bytes of datagrams without a word ([`Family::CorruptDatagrams`]).
    pub corruptible_datagrams: Vec<Machine>,
    /// Machines whose links may change bytes of streams without a word ([`Family::CorruptStreams`]).
    pub corruptible_streams: Vec<Machine>,
    /// The maximum number of machines whose disks are damaged in one run: as many as the redundancy of the system repairs.
    pub corrupted_max: usize,
    /// The maximum number of machines that are down, paused or suspended at once.
    pub down_max: usize,
    /// The maximum duration of one fault; those of a swarm are mostly shorter.
    pub fault_max: Duration,
    /// The maximum clock drift, either way, in parts per million.
    pub drift_max_ppm: u32,
    /// The maximum wall clock offset, either way.
    pub clock_offset_max: Duration,
    /// The maximum extra latency of messages, and delay of polls on slow machines.
    pub delay_max: Duration,
    /// The families that a swarm draws from; other faults occur only if a plan names them.
    pub families: Vec<Family>,
    /// The minimum number of faults in a swarm, if the budget names machines for them.
    pub faults_min: usize,
}

impl Default for Budget {
    /// One minute without any machine: name the machines that may have faults.
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(60),
            links: Vec::new(),
            ends: Vec::new(),
            pauses: Vec::new(),
            suspensions: Vec::new(),
            addresses: Vec::new(),
            clocks: Vec::new(),
            disks: Vec::new(),
            corruptible: Vec::new(),
            corruptible_datagrams: Vec::new(),
            corruptible_streams: Vec::new(),
            corrupted_max: 1,
            down_max: 1,
            fault_max: Duration::from_secs(10),
            drift_max_ppm: 200,
            clock_offset_max: Duration::from_secs(3600),
            delay_max: Duration::from_millis(500),
            families: Family::ALL.to_vec(),
            faults_min: 1,
        }
    }
}

/// The maximum number of restarts in one fault: more only take time.
const RESTARTS_MAX: u32 = 1000;

impl Budget {
    /// One minute in which each of these machines may have any fault but a suspension, a change of address and silent corruption (of
    /// disks, datagrams and streams), one of them down at a time.
    pub fn of(machines: &[Machine]) -> Self {
        let all = || machines.to_vec();
        Self { links: all(), ends: all(), pauses: all(), clocks: all(), disks: all(), ..Self::default() }
    }

    pub(super) fn rejection_reason(&self, kind: &Kind) -> Option<String> {
        let among = |machines: &[Machine], name: &str, what: &str| {
            let named = machines.iter().any(|machine| machine.name() == name);
            (!named).then(|| format!("{name} {what}; the budget allows: {}", names(machines)))
        };
        let link_among = |machines: &[Machine], a: &str, b: &str, what: &str| {
            (a == b)
                .then(|| format!("{a} has no link to itself"))
                .or_else(|| among(machines, a, what))
                .or_else(|| among(machines, b, what))
        };
        let link = |a: &str, b: &str| link_among(&self.links, a, b, "may not be cut off or impaired");
        let late = |by: &Duration| {
            (*by > self.delay_max).then(|| format!("a delay of {by:?} exceeds {:?}", self.delay_max))
        };
        match kind {
            Kind::Partition { between: [a, b] } | Kind::PartitionOneWay { from: a, to: b } => link(a, b),
            Kind::Loss { between: [a, b], ppm }
            | Kind::Duplication { between: [a, b], ppm }
            | Kind::Reordering { between: [a, b], ppm }
            | Kind::Torn { between: [a, b], ppm } => link(a, b).or_else(|| rate_problem(*ppm)),
            Kind::CorruptDatagrams { between: [a, b], ppm } => {
                link_among(&self.corruptible_datagrams, a, b, "may not have corrupt datagrams")
                    .or_else(|| rate_problem(*ppm))
            }
            Kind::CorruptStreams { between: [a, b], ppm } => {
                link_among(&self.corruptible_streams, a, b, "may not have corrupt streams")
                    .or_else(|| rate_problem(*ppm))
            }
            Kind::LostSegment { from, to, nth, .. } => {
                link(from, to).or_else(|| (*nth == 0).then(|| "`nth` is 0, and 1 is the first".to_owned()))
            }
            Kind::Lookups { machine, delay_max, failing_ppm } => {
                among(&self.links, machine, "may not have trouble with name lookups")
                    .or_else(|| rate_problem(*failing_ppm))
                    .or_else(|| late(delay_max))
            }
            Kind::Bandwidth { between: [a, b], .. } | Kind::Reset { between: [a, b] } => link(a, b),
            Kind::Slow { between: [a, b], delay_min, delay_max } => {
                link(a, b).or_else(|| late(delay_max)).or_else(|| {
                    (delay_min > delay_max)
                        .then(|| format!("delay_min {delay_min:?} exceeds delay_max {delay_max:?}"))
                })
            }
            Kind::Latency { from, to, by } => link(from, to).or_else(|| late(by)),
            Kind::Tail { between: [a, b], ppm, delay_max } => {
                link(a, b).or_else(|| rate_problem(*ppm)).or_else(|| late(delay_max))
            }
            Kind::Isolation { machine } => among(&self.links, machine, "may not be cut off or impaired"),
            Kind::Exit { machine } | Kind::PowerLoss { machine } => {
                among(&self.ends, machine, "may not be ended")
            }
            Kind::RestartStorm { machine, times } => {
                among(&self.ends, machine, "may not be ended").or_else(|| {
                    let is_allowed = (1..=RESTARTS_MAX).contains(times);
                    (!is_allowed).then(|| format!("{times} restarts are not from 1 to {RESTARTS_MAX}"))
                })
            }
            Kind::Pause { machine } => among(&self.pauses, machine, "may not be paused"),
            Kind::AddressChange { machine } => among(&self.addresses, machine, "may not change its address"),
            Kind::Suspension { machine } => among(&self.suspensions, machine, "may not be suspended"),
            Kind::SlowMachine { machine, delay_max } => {
                among(&self.pauses, machine, "may not be slow").or_else(|| late(delay_max))
            }
            Kind::ClockOffset { machine, by, .. } | Kind::ClockJump { machine, by, .. } => {
                among(&self.clocks, machine, "may not have a wrong clock").or_else(|| {
                    let most = self.clock_offset_max;
                    (*by > most).then(|| format!("a clock offset of {by:?} exceeds {most:?}"))
                })
            }
            Kind::Drift { machine, ppm } => among(&self.clocks, machine, "may not have a wrong clock")
                .or_else(|| {
                    let most = self.drift_max_ppm;
                    (ppm.unsigned_abs() > u64::from(most))
                        .then(|| format!("a drift of {ppm} ppm exceeds {most}"))
                }),
            Kind::Buggify { place } => {
                let known = RareBranch::names();
                (!known.contains(place)).then(|| {
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    format!("there is no buggify! {place}; those of this program: {known}")
                })
            }
            Kind::Disk { machine, trouble } => {
                let allowed = match trouble.family() {
                    Family::Corruption => among(&self.corruptible, machine, "may not have a corrupt disk"),
                    _ => among(&self.disks, machine, "may not have a faulty disk"),
                };
                allowed.or_else(|| trouble.ppm().and_then(rate_problem)).or_else(|| match trouble {
                    DiskTrouble::Slow { delay_max } => late(delay_max),
                    _ => None,
                })
            }
            Kind::Own { .. } => None,
        }
    }
}

fn rate_problem(ppm: u32) -> Option<String> {
    (ppm > 1_000_000).then(|| format!("a rate of {ppm} exceeds 1000000 ppm"))
}

fn names(machines: &[Machine]) -> String {
    let names: Vec<&str> = machines.iter().map(Machine::name).collect();
    if names.is_empty() { "no machine".to_owned() } else { names.join(", ") }
}
