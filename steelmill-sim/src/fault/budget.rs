//! What may happen to whom: the terms on which a scenario lets things go wrong.

use std::time::Duration;

use super::{Family, Kind};
use crate::machine::machine::Machine;
use crate::schema::rare_branch::RareBranch;

/// What a system has to bear, and for how long. Faults beyond it do not strike, whatever a plan says.
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::fault::Budget;
/// # use steelmill_sim::{Seed, check};
/// # check(Seed(1), |sim| async move {
/// let (store, gateway) = (sim.client("store"), sim.client("gateway"));
/// // The store keeps nothing on a disk, so it may be cut off but not ended.
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
    /// For how long. Then everything is healed.
    pub lasts: Duration,
    /// The links between these may be cut, slow, lossy, narrow, and their connections reset.
    pub links: Vec<Machine>,
    /// Their processes may die, and they may lose power. They are started again.
    pub ends: Vec<Machine>,
    /// They may be paused, and slow.
    pub pauses: Vec<Machine>,
    /// Their clocks may be wrong.
    pub clocks: Vec<Machine>,
    /// How many machines may be down or paused at once.
    pub down_max: usize,
    /// How long one fault may last; a swarm's are mostly shorter.
    pub fault_max: Duration,
    /// How far clocks may drift, either way, in parts per million.
    pub drift_max_ppm: u32,
    /// How far wall clocks may be off, either way.
    pub clock_offset_max: Duration,
    /// How late messages and slow machines may be.
    pub delay_max: Duration,
    /// Faults that a swarm draws; others strike only from a plan.
    pub families: Vec<Family>,
    /// How many faults a swarm has at least, if there is anybody to strike.
    pub faults_min: usize,
}

impl Default for Budget {
    /// A minute in which nothing may happen to anybody: name the machines.
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(60),
            links: Vec::new(),
            ends: Vec::new(),
            pauses: Vec::new(),
            clocks: Vec::new(),
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

/// More in one fault only take time.
const RESTARTS_MAX: u32 = 1000;

impl Budget {
    /// A minute in which anything may happen to any of these machines, one down at a time.
    pub fn of(machines: &[Machine]) -> Self {
        let all = machines.to_vec();
        Self { links: all.clone(), ends: all.clone(), pauses: all.clone(), clocks: all, ..Self::default() }
    }

    /// Why a fault is beyond it, if it is.
    pub(super) fn refuses(&self, kind: &Kind) -> Option<String> {
        let among = |machines: &[Machine], name: &str, what: &str| {
            let named = machines.iter().any(|machine| machine.name() == name);
            (!named).then(|| format!("{name} {what}; this may happen to: {}", names(machines)))
        };
        let link = |a: &str, b: &str| {
            let what = "may not be cut off or impaired";
            (a == b)
                .then(|| format!("{a} has no link to itself"))
                .or_else(|| among(&self.links, a, what))
                .or_else(|| among(&self.links, b, what))
        };
        let late = |by: &Duration| {
            (*by > self.delay_max).then(|| format!("{by:?} is later than {:?}", self.delay_max))
        };
        match kind {
            Kind::Partition { between: [a, b] } | Kind::PartitionOneWay { from: a, to: b } => link(a, b),
            Kind::Loss { between: [a, b], ppm }
            | Kind::Duplication { between: [a, b], ppm }
            | Kind::Reordering { between: [a, b], ppm } => link(a, b).or_else(|| too_often(*ppm)),
            Kind::Bandwidth { between: [a, b], .. } | Kind::Reset { between: [a, b] } => link(a, b),
            Kind::Slow { between: [a, b], delay_min, delay_max } => {
                link(a, b).or_else(|| late(delay_max)).or_else(|| {
                    (delay_min > delay_max).then(|| format!("{delay_min:?} is more than {delay_max:?}"))
                })
            }
            Kind::Tail { between: [a, b], ppm, delay_max } => {
                link(a, b).or_else(|| too_often(*ppm)).or_else(|| late(delay_max))
            }
            Kind::Isolation { machine } => among(&self.links, machine, "may not be cut off or impaired"),
            Kind::Exit { machine } | Kind::PowerLoss { machine } => {
                among(&self.ends, machine, "may not be ended")
            }
            Kind::RestartStorm { machine, times } => {
                among(&self.ends, machine, "may not be ended").or_else(|| {
                    let is_bearable = (1..=RESTARTS_MAX).contains(times);
                    (!is_bearable).then(|| format!("{times} restarts are not from 1 to {RESTARTS_MAX}"))
                })
            }
            Kind::Pause { machine } => among(&self.pauses, machine, "may not be paused"),
            Kind::SlowMachine { machine, delay_max } => {
                among(&self.pauses, machine, "may not be slow").or_else(|| late(delay_max))
            }
            Kind::ClockOffset { machine, by, .. } | Kind::ClockJump { machine, by, .. } => {
                among(&self.clocks, machine, "may not have a wrong clock").or_else(|| {
                    let most = self.clock_offset_max;
                    (*by > most).then(|| format!("{by:?} is more than {most:?}"))
                })
            }
            Kind::Drift { machine, ppm } => among(&self.clocks, machine, "may not have a wrong clock")
                .or_else(|| {
                    let most = self.drift_max_ppm;
                    (ppm.unsigned_abs() > u64::from(most)).then(|| format!("{ppm} ppm are more than {most}"))
                }),
            Kind::Buggify { place } => {
                let known = RareBranch::names();
                (!known.contains(place)).then(|| {
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    format!("there is no buggify! {place}; those of this program: {known}")
                })
            }
            Kind::Own { .. } => None,
        }
    }
}

fn too_often(ppm: u32) -> Option<String> {
    (ppm > 1_000_000).then(|| format!("{ppm} in a million"))
}

fn names(machines: &[Machine]) -> String {
    let names: Vec<&str> = machines.iter().map(Machine::name).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}
