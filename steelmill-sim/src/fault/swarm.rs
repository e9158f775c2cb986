//! Swarm testing: draws a fault plan from the seed.
//!
//! Each family of faults is omitted in a quarter of the seeds, and draws number, duration and severity of its faults from a
//! stream of its own. So seeds differ in kind, not only in detail, and a change in one family does not change the draws of
//! others. The faults of a family last about equally long in a seed, and for how long differs between seeds. Rare branches
//! are drawn one by one, as there may be many or none. How many seeds that takes to find a bug: docs/bugs.md.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Budget, DiskCall, DiskTrouble, Family, Fault, Kind, Moment, Plan, Segment, When};
use crate::kernel::decisions::Decisions;
use crate::machine::cluster::Cluster;
use crate::machine::machine::Machine;
use crate::schema::decision::{Reseed, Stream};
use crate::schema::rare_branch::RareBranch;

/// A custom fault of the scenario, and how many times a swarm has it.
pub(super) struct Own {
    pub(super) name: &'static str,
    pub(super) times: RangeInclusive<u32>,
}

/// Draws a plan within a budget, for fault injection that begins now.
pub(super) fn draw(run: &mut Cluster, budget: &Budget, own: &[Own]) -> Plan {
    let mut faults = Vec::new();
    for family in budget.families.iter().copied() {
        let mut draws =
            FamilyDraws { run: &mut *run, family, budget, lasts_max: Duration::ZERO, on_moment: 0 };
        draws.severity();
        if family == Family::Own {
            faults.extend(own.iter().flat_map(|own| draws.own(own)));
        } else if family == Family::Latency {
            faults.extend(draws.latencies());
        } else if family != Family::Buggify && draws.below(4) > 0 {
            let most = 3 * (1 + budget.lasts.as_secs() / 10);
            faults.extend((0..1 + draws.below(most)).filter_map(|_| draws.fault()));
        }
    }
    let is_drawn = |family: &Family| !matches!(family, Family::Buggify | Family::Latency | Family::Own);
    let mut striking = budget.families.iter().copied().filter(is_drawn).cycle();
    for _ in 0..budget.faults_min.saturating_sub(faults.len()) * budget.families.len() {
        let Some(family) = striking.next().filter(|_| faults.len() < budget.faults_min) else { break };
        let mut draws =
            FamilyDraws { run: &mut *run, family, budget, lasts_max: Duration::ZERO, on_moment: 0 };
        draws.severity();
        faults.extend(draws.fault());
    }
    // Latencies break nothing, and rare branches affect no machine, so they do not count towards `faults_min`.
    if budget.families.contains(&Family::Buggify) {
        let mut draws =
            FamilyDraws { run, family: Family::Buggify, budget, lasts_max: Duration::ZERO, on_moment: 0 };
        faults.extend(RareBranch::names().into_iter().filter_map(|place| draws.rare_branch(place)));
    }
    faults.sort_by_key(|fault| match fault.when {
        When::At(at) => at,
        When::On { .. } => Duration::ZERO,
    });
    Plan { faults, ..Plan::default() }
}

/// Draws anew what a plan injects after the time of a reseed: half of the times the same faults at other times, as the seed's
/// own mix may be what the run takes, otherwise other faults. Those at a moment of a machine stay, as they may have struck.
pub(super) fn redraw(run: &mut Cluster, budget: &Budget, own: &[Own], plan: &mut Plan, reseed: &Reseed) {
    let decisions = std::mem::replace(&mut run.kernel.decisions, Decisions::new(reseed.seed, false, None));
    let is_later = |fault: &Fault| matches!(fault.when, When::At(at) if at > reseed.at);
    if run.kernel.draw(Stream::Fault, 2) == 0 {
        let end = Duration::from_nanos(run.kernel.now) + budget.lasts;
        let span = end.saturating_sub(reseed.at).as_micros() as u64;
        for fault in plan.faults.iter_mut().filter(|fault| is_later(fault)) {
            let after = Duration::from_micros(1 + run.kernel.draw(Stream::Fault, span.max(1)));
            fault.when = When::At(reseed.at + after);
        }
    } else {
        let other = draw(run, budget, own);
        plan.faults.retain(|fault| !is_later(fault));
        plan.faults.extend(other.faults.into_iter().filter(is_later));
    }
    run.kernel.decisions = decisions;
}

/// The number of ways up to which each has a latency of its own; of more, about so many have.
const WAYS_MAX: usize = 30;

struct FamilyDraws<'a> {
    run: &'a mut Cluster,
    family: Family,
    budget: &'a Budget,
    /// The maximum duration of the family's faults in this seed.
    lasts_max: Duration,
    /// How many eighths of them begin at a moment of a machine's life instead of a time.
    on_moment: u64,
}

impl FamilyDraws<'_> {
    fn below(&mut self, below: u64) -> u64 {
        self.run.kernel.draw(Stream::Plan(self.family), below.max(1))
    }

    fn severity(&mut self) {
        self.lasts_max = self.magnitude(Duration::from_millis(100), self.budget.fault_max);
        self.on_moment = self.below(5);
    }

    /// A duration with a uniformly drawn order of magnitude.
    fn magnitude(&mut self, least: Duration, most: Duration) -> Duration {
        let doublings = (most.as_nanos() / least.as_nanos().max(1)).checked_ilog2().unwrap_or(0);
        let upper = (least * (2 << self.below(u64::from(doublings) + 1))).min(most);
        self.between(upper / 2, upper)
    }

    /// Uniform, in whole microseconds to keep plans readable.
    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros() as u64;
        Duration::from_micros(least.as_micros() as u64 + self.below(span + 1))
    }

    fn own(&mut self, own: &Own) -> Vec<Fault> {
        let (least, most) = (u64::from(*own.times.start()), u64::from(*own.times.end()));
        let times = least + self.below(most - least + 1);
        let mut fault = || {
            let when = self.at();
            let number = self.below(u64::MAX);
            Fault { when, lasts: Duration::ZERO, what: Kind::Own { name: own.name.to_owned(), number } }
        };
        (0..times).map(|_| fault()).collect()
    }

    /// Enables a rare branch in three runs of eight, for all of the fault injection.
    fn rare_branch(&mut self, place: String) -> Option<Fault> {
        let when = When::At(Duration::from_nanos(self.run.kernel.now));
        let is_active = self.below(8) < 3;
        is_active.then_some(Fault { when, lasts: self.budget.lasts, what: Kind::Buggify { place } })
    }

    /// In half of the seeds each way has a latency of its own, for all of the fault injection: as if machines were in one rack
    /// in some seeds, and on several continents in others.
    fn latencies(&mut self) -> Vec<Fault> {
        if self.below(2) == 0 {
            return Vec::new();
        }
        let when = When::At(Duration::from_nanos(self.run.kernel.now));
        let names: Vec<String> = self.budget.links.iter().map(|machine| machine.name().to_owned()).collect();
        let ways = names.iter().flat_map(|from| names.iter().map(move |to| (from, to)));
        let ways: Vec<_> = ways.filter(|(from, to)| from != to).collect();
        let one_in = ways.len().div_ceil(WAYS_MAX) as u64;
        let ways = ways.into_iter().filter(|_| self.below(one_in) == 0).collect::<Vec<_>>();
        let most = self.magnitude(Duration::from_millis(1), self.budget.delay_max);
        let latency = |(from, to): (&String, &String)| {
            let by = self.magnitude(Duration::from_micros(100), most);
            let what = Kind::Latency { from: from.clone(), to: to.clone(), by };
            Fault { when: when.clone(), lasts: self.budget.lasts, what }
        };
        ways.into_iter().map(latency).collect()
    }

    /// One fault; `None` if the budget names no machine for it.
    fn fault(&mut self) -> Option<Fault> {
        let when = self.when();
        let lasts = self.between(self.lasts_max / 4, self.lasts_max);
        let what = self.kind()?;
        let lasts =
            if matches!(what, Kind::Reset { .. } | Kind::ClockJump { .. }) { Duration::ZERO } else { lasts };
        Some(Fault { when, lasts, what })
    }

    fn at(&mut self) -> When {
        let now = Duration::from_nanos(self.run.kernel.now);
        When::At(self.between(now, now + self.budget.lasts))
    }

    /// A time, while a message is in flight or a disk syncs, or shortly after a moment of a machine's lifecycle.
    fn when(&mut self) -> When {
        if self.below(5) == 0 {
            return self.on_message();
        }
        if self.below(8) >= self.on_moment {
            return self.at();
        }
        let with_setup: Vec<&Machine> =
            self.budget.ends.iter().filter(|machine| machine.has_setup()).collect();
        let Some(machine) = with_setup.get(self.below(with_setup.len() as u64) as usize) else {
            return self.at();
        };
        let moment = Moment::OF_LIFECYCLE[self.below(Moment::OF_LIFECYCLE.len() as u64) as usize];
        let nth = 1 + self.below(3) as u32;
        let after = if self.below(2) == 0 {
            Duration::ZERO
        } else {
            self.magnitude(Duration::from_micros(10), Duration::from_millis(100))
        };
        When::On { machine: machine.name().to_owned(), moment, nth, after }
    }

    fn on_message(&mut self) -> When {
        let budget = self.budget;
        let is_of_end = matches!(self.family, Family::PowerLoss | Family::Exit);
        if let Some(machine) = Some(&budget.ends).filter(|_| is_of_end).and_then(|of| self.one_with_disk(of))
        {
            // In the middle of a sync, with the time that one takes.
            let most = 2 << self.below(10);
            let nth = 1 + self.below(most) as u32;
            let after = self.between(Duration::ZERO, Duration::from_millis(2));
            return When::On { machine, moment: Moment::Syncing, nth, after };
        }
        match self.one(&budget.links) {
            Some(machine) => {
                let most = 2 << self.below(10);
                let nth = 1 + self.below(most) as u32;
                When::On { machine, moment: Moment::Sending, nth, after: Duration::ZERO }
            }
            None => self.at(),
        }
    }

    fn one(&mut self, of: &[Machine]) -> Option<String> {
        of.get(self.below(of.len() as u64) as usize).map(|machine| machine.name().to_owned())
    }

    /// A machine of which something has used the disk: trouble with others would be seen by nobody.
    fn one_with_disk(&mut self, of: &[Machine]) -> Option<String> {
        let used: Vec<Machine> =
            of.iter().filter(|machine| self.run.uses_disk(machine.id())).cloned().collect();
        if used.is_empty() { None } else { self.one(&used) }
    }

    fn disk_trouble(&mut self) -> DiskTrouble {
        let family = self.family;
        match family {
            Family::DiskFull if self.below(4) == 0 => DiskTrouble::OverQuota,
            Family::DiskFull => DiskTrouble::Full,
            Family::SlowDisk => DiskTrouble::Slow {
                delay_max: self.magnitude(Duration::from_millis(1), self.budget.delay_max),
            },
            Family::ShortTransfers => DiskTrouble::Short { ppm: self.rate() },
            _ => {
                let of = [DiskCall::Read, DiskCall::Write, DiskCall::Sync][self.below(3) as usize];
                DiskTrouble::Errors { of, ppm: self.rate() }
            }
        }
    }

    fn damage(&mut self) -> DiskTrouble {
        match self.below(5) {
            0 => DiskTrouble::BitRot { sectors: 1 << self.below(6) },
            1 => DiskTrouble::BadSectors { sectors: 1 << self.below(6) },
            2 => DiskTrouble::LostWrites { ppm: self.rate() },
            3 => DiskTrouble::MisdirectedWrites { ppm: self.rate() },
            _ => DiskTrouble::MisdirectedReads { ppm: self.rate() },
        }
    }

    fn pair(&mut self) -> Option<[String; 2]> {
        self.pair_of(&self.budget.links)
    }

    fn pair_of(&mut self, machines: &[Machine]) -> Option<[String; 2]> {
        let first = self.below(machines.len() as u64) as usize;
        let step = 1 + self.below((machines.len() as u64).saturating_sub(1)) as usize;
        let second = machines.get((first + step) % machines.len().max(1))?;
        let first = machines.get(first).filter(|first| first.name() != second.name())?;
        Some([first.name().to_owned(), second.name().to_owned()])
    }

    fn kind(&mut self) -> Option<Kind> {
        let budget = self.budget;
        let delay = Duration::from_millis(1);
        Some(match self.family {
            Family::Partition => Kind::Partition { between: self.pair()? },
            Family::PartitionOneWay => {
                let [from, to] = self.pair()?;
                Kind::PartitionOneWay { from, to }
            }
            Family::Isolation => Kind::Isolation { machine: self.one(&budget.links)? },
            Family::Slow => {
                let between = self.pair()?;
                let delay_max = self.magnitude(delay, budget.delay_max);
                let delay_min = if self.below(2) == 0 { Duration::ZERO } else { delay_max / 2 };
                Kind::Slow { between, delay_min, delay_max }
            }
            Family::Latency | Family::Buggify | Family::Own => return None,
            Family::DiskErrors | Family::DiskFull | Family::SlowDisk | Family::ShortTransfers => {
                let machine = self.one_with_disk(&budget.disks)?;
                Kind::Disk { machine, trouble: self.disk_trouble() }
            }
            Family::Corruption => {
                let machine = self.one_with_disk(&budget.corruptible)?;
                Kind::Disk { machine, trouble: self.damage() }
            }
            Family::Tail => {
                let (between, ppm) = (self.pair()?, self.rate());
                Kind::Tail { between, ppm, delay_max: self.magnitude(delay, budget.delay_max) }
            }
            Family::Loss => Kind::Loss { between: self.pair()?, ppm: self.rate() },
            Family::Duplication => Kind::Duplication { between: self.pair()?, ppm: self.rate() },
            Family::Reordering => Kind::Reordering { between: self.pair()?, ppm: self.rate() },
            Family::Torn => Kind::Torn { between: self.pair()?, ppm: self.rate() },
            Family::CorruptDatagrams => {
                let between = self.pair_of(&budget.corruptible_datagrams)?;
                Kind::CorruptDatagrams { between, ppm: self.rate() }
            }
            Family::CorruptStreams => {
                let between = self.pair_of(&budget.corruptible_streams)?;
                Kind::CorruptStreams { between, ppm: self.rate() }
            }
            Family::LostSegment => {
                let [from, to] = self.pair()?;
                let segment = Segment::ALL[self.below(Segment::ALL.len() as u64) as usize];
                let most = 1 << self.below(6);
                Kind::LostSegment { from, to, segment, nth: 1 + self.below(most) as u32 }
            }
            Family::Lookups => {
                let machine = self.one(&budget.links)?;
                let is_slow = self.below(3) > 0;
                let delay_max =
                    if is_slow { self.magnitude(delay, budget.delay_max) } else { Duration::ZERO };
                let failing_ppm = if !is_slow || self.below(2) == 0 { self.rate() } else { 0 };
                Kind::Lookups { machine, delay_max, failing_ppm }
            }
            Family::Bandwidth => {
                let between = self.pair()?;
                let rate = 10_000 << self.below(10);
                Kind::Bandwidth { between, bytes_per_second: NonZeroU64::new(rate)? }
            }
            Family::Reset => Kind::Reset { between: self.pair()? },
            Family::Exit => Kind::Exit { machine: self.one(&budget.ends)? },
            Family::PowerLoss => Kind::PowerLoss { machine: self.one(&budget.ends)? },
            Family::RestartStorm => {
                let machine = self.one(&budget.ends)?;
                Kind::RestartStorm { machine, times: 2 + self.below(6) as u32 }
            }
            Family::Pause => Kind::Pause { machine: self.one(&budget.pauses)? },
            Family::AddressChange => Kind::AddressChange { machine: self.one(&budget.addresses)? },
            Family::Suspension => Kind::Suspension { machine: self.one(&budget.suspensions)? },
            Family::SlowMachine => {
                let machine = self.one(&budget.pauses)?;
                Kind::SlowMachine { machine, delay_max: self.magnitude(delay / 10, budget.delay_max) }
            }
            Family::ClockOffset => {
                let (machine, by) =
                    (self.one(&budget.clocks)?, self.magnitude(delay, budget.clock_offset_max));
                Kind::ClockOffset { machine, by, behind: self.below(2) == 0 }
            }
            Family::ClockJump => {
                let (machine, by) =
                    (self.one(&budget.clocks)?, self.magnitude(delay, budget.clock_offset_max));
                Kind::ClockJump { machine, by, back: self.below(2) == 0 }
            }
            Family::Drift => {
                let (machine, most) = (self.one(&budget.clocks)?, i64::from(budget.drift_max_ppm));
                // Half of the draws are the bound itself, where a wrong drift bound shows first.
                let ppm = match self.below(4) {
                    0 => -most,
                    1 => most,
                    _ => self.below(2 * most as u64 + 1) as i64 - most,
                };
                Kind::Drift { machine, ppm }
            }
        })
    }

    /// A rate from 0.1 % to 50 %, in parts per million, with a uniformly drawn order of magnitude.
    fn rate(&mut self) -> u32 {
        let upper = (2_000 << self.below(8)).min(500_000);
        (upper / 2 + self.below(upper / 2)) as u32
    }
}
