//! Nemesis (fault injector): executes a fault plan within a budget, then heals everything.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use futures::future::{self, Either};
use futures::stream::FuturesUnordered;
use steelmill_core::Result;

use super::swarm::{self, Own};
use super::{Broken, Budget, Family, Fault, Faults, Kind, Plan, When};
use crate::fault::coverage::Buggified;
use crate::machine::machine::{Claim, Machine};
use crate::machine::net::{Impairment, LookupTrouble};
use crate::machine::sim::Sim;
use crate::machine::{cluster, moments};
use crate::schema::decision::Reseed;
use crate::schema::event::{EventKind, FaultStep};

/// Fault injector with a budget and the scenario's own faults, made by [`Sim::inject_faults`].
#[must_use = "faults are injected only by `run`"]
pub struct Nemesis<'a> {
    sim: Sim,
    budget: Budget,
    own: Vec<(Own, Handler<'a>)>,
}

type Handler<'a> = Box<dyn Fn(u64) -> Pin<Box<dyn Future<Output = Result> + 'a>> + 'a>;

/// Numbers of faults, returned by [`Nemesis::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultCounts {
    /// Faults that struck.
    pub struck: u64,
    /// Faults that did not: their time or moment was not reached, or they would have exceeded [`Budget::down_max`].
    pub skipped: u64,
}

/// The [counts](Sim::count) of a run's faults, kept by the nemesis.
const STRUCK: &str = "faults struck";
const SKIPPED: &str = "faults skipped";

impl Sim {
    /// A [`Nemesis`] for the run's fault plan, which is drawn from the seed within this budget unless the run's
    /// [`Faults`] say otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steelmill_sim::Campaign;
    /// use steelmill_sim::fault::Budget;
    ///
    /// Campaign::new(|sim| async move {
    ///     let machines = [sim.machine("a", |_| Ok(())).start().await?, sim.machine("b", |_| Ok(())).start().await?];
    ///     let faults = sim.inject_faults(Budget::of(&machines)).run().await?;
    ///     assert!(faults.struck + faults.skipped > 0);
    ///     assert!(machines.iter().all(|machine| machine.is_up()), "everything is healed");
    ///     Ok(())
    /// })
    /// .seeds(20)
    /// .check();
    /// ```
    pub fn inject_faults<'a>(&self, budget: Budget) -> Nemesis<'a> {
        Nemesis { sim: *self, budget, own: Vec::new() }
    }
}

impl<'a> Nemesis<'a> {
    /// Adds a custom fault, implemented by the scenario: for example one aimed at the worst moment of the workload. A
    /// swarm has it `times` times, at drawn times; `handler` gets a drawn number to derive its choices from. The fault
    /// lasts as long as its future, which is dropped when fault injection ends, and must undo its effects on drop.
    ///
    /// # Panics
    /// When the range is empty.
    pub fn own<F>(
        mut self,
        name: &'static str,
        times: RangeInclusive<u32>,
        handler: impl Fn(u64) -> F + 'a,
    ) -> Self
    where
        F: Future<Output = Result> + 'a,
    {
        assert!(!times.is_empty(), "fault {name:?}: the range {times:?} is empty");
        let own = Own { name, times };
        self.own.push((own, Box::new(move |number| Box::pin(handler(number)))));
        self
    }

    /// Injects the faults for [`Budget::lasts`], then heals everything: links, clocks, and machines that ran a factory,
    /// which are restarted if they are down. Counts them as [`Sim::count`] does, for the campaign's summary: `faults struck`
    /// and `faults skipped`.
    ///
    /// # Cancellation
    /// Links are healed and machines resumed; a machine that is down stays down.
    ///
    /// # Errors
    /// When the plan does not fit the scenario; when one of its own faults fails; when a machine does not restart after
    /// everything else is healed.
    pub async fn run(self) -> Result<FaultCounts> {
        self.run_leaving_broken(0).await.map(|(counts, _)| counts)
    }

    /// As [`run`](Nemesis::run), but so many of the budget's machines stay broken: down, isolated or slow. A scenario checks
    /// that the others make progress without them: where two of three replicas must suffice, a writer that waits for all
    /// three would pass if everything were healed. Without fault injection (`--faults none`) none is broken.
    ///
    /// # Errors
    /// As [`run`](Nemesis::run).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use steelmill_sim::Campaign;
    /// # use steelmill_sim::fault::Budget;
    /// Campaign::new(|sim| async move {
    ///     let mut replicas = Vec::new();
    ///     for name in ["a", "b", "c"] {
    ///         replicas.push(sim.machine(name, |_| Ok(())).start().await?);
    ///     }
    ///     let nemesis = sim.inject_faults(Budget::of(&replicas));
    ///     let (_faults, broken) = nemesis.run_leaving_broken(1).await?;
    ///     assert_eq!(broken.machines().count(), 1);
    ///     // ... here a write to two of the replicas must succeed ...
    ///     broken.heal().await
    /// })
    /// .seeds(20)
    /// .check();
    /// ```
    pub async fn run_leaving_broken(self, number: usize) -> Result<(FaultCounts, Broken)> {
        let Self { sim, budget, own } = self;
        let (own, handlers): (Vec<Own>, Vec<Handler<'a>>) = own.into_iter().unzip();
        let plan = validated_plan(sim, &budget, &own)?;
        let handlers = own.iter().map(|own| own.name).zip(handlers).collect::<BTreeMap<_, _>>();
        sim.with(|run| run.tally.count(STRUCK, 0)); // where none strikes, that is the least
        let execution = Execution::new(sim, &budget, handlers);
        let clocks = Clocks::of(&budget.clocks);
        let ran: Vec<&Machine> = budget.ends.iter().filter(|machine| machine.runs_process()).collect();

        let over = sim.clock().sleep(shortened(&sim, budget.lasts));
        let result = select(execution.strike_all(&plan), over).await.unwrap_or(Ok(()));
        sim.with(|run| run.discard_moment_waiters());
        drop(clocks);
        result?;
        for machine in ran.iter().filter(|machine| !machine.runs_process() && !machine.has_exited()) {
            let restarted = machine.restart().await;
            restarted
                .with_context(|| format!("{} does not start after everything was healed", machine.name()))?;
        }
        let struck = execution.struck.get();
        let skipped = plan.faults.len() as u64 - struck;
        let is_quiet = sim.with(|run| {
            run.tally.count(SKIPPED, skipped);
            matches!(run.kernel.settings.faults, Faults::None)
        });
        let broken = Broken::draw(sim, &budget, if is_quiet { 0 } else { number });
        Ok((FaultCounts { struck, skipped }, broken))
    }
}

/// Runs both; the first one's output, or `None` if the second ends first.
async fn select<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Option<T> {
    match future::select(pin!(first), pin!(second)).await {
        Either::Left((first, _)) => Some(first),
        Either::Right(_) => None,
    }
}

/// How long faults are injected: as long as the budget says, unless a plan limits it. So a red seed is shrunk to a short time
/// of faults, whatever its scenario declares.
fn shortened(sim: &Sim, lasts: Duration) -> Duration {
    let range = 1..=lasts.as_secs();
    let is_other = |known: Option<&RangeInclusive<u64>>| known.is_some_and(|known| *known != range);
    // Only the first of several times is limited, unless they are equally long.
    if range.is_empty() || sim.with(|run| is_other(run.tally.limits.get(SECONDS))) {
        return lasts;
    }
    match sim.limit(SECONDS, range.clone()) {
        full if full == *range.end() => lasts,
        seconds => Duration::from_secs(seconds),
    }
}

/// The name of the limit on how long faults are injected.
const SECONDS: &str = "seconds of faults";

fn validated_plan(sim: Sim, budget: &Budget, own: &[Own]) -> Result<Plan> {
    ensure!(
        sim.with(|run| run.tally.plan.is_none()),
        "faults are injected once in a run: raise the budget's `lasts`"
    );
    let plan = sim.with(|run| match &run.kernel.settings.faults {
        Faults::None => Plan::default(),
        Faults::Plan(plan) => plan.clone(),
        Faults::Swarm => {
            let mut plan = swarm::draw(run, budget, own);
            let reseeds = run.kernel.settings.reseeds.clone();
            let is_ahead = |reseed: &&Reseed| {
                reseed.stream.is_none() && reseed.at > Duration::from_nanos(run.kernel.now)
            };
            for reseed in reseeds.iter().filter(is_ahead).collect::<Vec<_>>() {
                swarm::redraw(run, budget, own, &mut plan, reseed);
            }
            plan
        }
    });
    for (index, fault) in plan.faults.iter().enumerate() {
        let problem = || format!("fault {index} of the plan does not fit the scenario ({fault})");
        if let Some(reason) = budget.rejection_reason(&fault.what) {
            bail!("{}: {reason}", problem());
        }
        // A rare branch and a latency are legal behaviour, so their duration is not bounded.
        let is_bounded = !matches!(fault.what, Kind::Buggify { .. } | Kind::Latency { .. });
        if fault.lasts > budget.fault_max && is_bounded {
            bail!("{}: it lasts longer than {:?}", problem(), budget.fault_max);
        }
        if let When::On { machine, .. } = &fault.when
            && sim.with(|run| run.hosts.by_name(machine)).is_none()
        {
            bail!("{}: no machine is called {machine:?}", problem());
        }
        if let When::On { nth: 0, .. } = &fault.when {
            bail!("{}: `nth` is 0, and 1 is the first occurrence", problem());
        }
        if let Kind::Own { name, .. } = &fault.what
            && !own.iter().any(|own| own.name == name)
        {
            let known: Vec<&str> = own.iter().map(|own| own.name).collect();
            bail!("{}: the scenario has no fault {name:?} of its own, only: {}", problem(), known.join(", "));
        }
    }
    sim.with(|run| run.tally.plan = Some(plan.clone()));
    Ok(plan)
}

struct Execution<'t, 'a> {
    sim: Sim,
    budget: &'t Budget,
    handlers: BTreeMap<&'static str, Handler<'a>>,
    struck: Cell<u64>,
    down: Cell<usize>,
    /// The machines whose disks have been damaged.
    corrupted: RefCell<BTreeSet<String>>,
}

impl<'t, 'a> Execution<'t, 'a> {
    fn new(sim: Sim, budget: &'t Budget, handlers: BTreeMap<&'static str, Handler<'a>>) -> Self {
        Self {
            sim,
            budget,
            handlers,
            struck: Cell::new(0),
            down: Cell::new(0),
            corrupted: RefCell::default(),
        }
    }

    /// Executes all faults. Never ends, unless one of the scenario's own faults fails.
    async fn strike_all(&self, plan: &Plan) -> Result {
        let mut faults: FuturesUnordered<_> =
            plan.faults.iter().enumerate().map(|(index, fault)| self.strike(index, fault)).collect();
        while let Some(ended) = faults.next().await {
            ended?;
        }
        pending().await
    }

    async fn strike(&self, index: usize, fault: &Fault) -> Result {
        let clock = self.sim.clock();
        match &fault.when {
            When::At(at) => clock.sleep(at.saturating_sub(self.sim.elapsed())).await,
            When::On { machine, moment, nth, after } => {
                let machine = self.sim.with(|run| run.hosts.by_name(machine));
                let machine = machine.expect("checked when the plan was made");
                moments::wait_for(self.sim.run, machine, *moment, *nth).await;
                clock.sleep(*after).await;
            }
        }
        let ongoing = Ongoing { sim: self.sim, index: index as u32 };
        match self.effect(fault) {
            Some(effect) => {
                tracing::info!("fault {index}: {}", fault.what);
                self.struck.set(self.struck.get() + 1);
                self.sim.with(|run| run.tally.count(STRUCK, 1));
                ongoing.step(FaultStep::Strikes);
                let ended = effect.await;
                tracing::info!("fault {index} ends");
                ended
            }
            None => {
                ongoing.step(FaultStep::Skipped);
                std::mem::forget(ongoing);
                Ok(())
            }
        }
    }

    /// Applies a fault. The future ends with the fault, and undoes it when dropped. `None` if the fault is skipped.
    fn effect<'f>(&'f self, fault: &'f Fault) -> Option<Pin<Box<dyn Future<Output = Result> + 'f>>> {
        let Fault { lasts, what, .. } = fault;
        let sim = self.sim;
        let among = |machines: &'f [Machine], name: &str| {
            let found = machines.iter().find(|machine| machine.name() == name);
            found.expect("checked when the plan was made")
        };
        let link = |[a, b]: &[String; 2]| [among(&self.budget.links, a), among(&self.budget.links, b)];
        Some(match what {
            Kind::Partition { between } => {
                let [a, b] = link(between);
                self.hold_for(*lasts, sim.partition(a, b))
            }
            Kind::PartitionOneWay { from, to } => {
                let (from, to) = (among(&self.budget.links, from), among(&self.budget.links, to));
                self.hold_for(*lasts, sim.partition_one_way(from, to))
            }
            Kind::Latency { from, to, by } => {
                let (from, to) = (among(&self.budget.links, from), among(&self.budget.links, to));
                let late = Impairment { delay_min: *by, delay_max: *by, ..Impairment::default() };
                self.hold_for(*lasts, sim.impair_one_way(from, to, late))
            }
            Kind::Isolation { machine } => {
                self.hold_for(*lasts, sim.isolate(among(&self.budget.links, machine)))
            }
            Kind::Slow { between, .. }
            | Kind::Tail { between, .. }
            | Kind::Loss { between, .. }
            | Kind::Duplication { between, .. }
            | Kind::Reordering { between, .. }
            | Kind::Bandwidth { between, .. }
            | Kind::Torn { between, .. } => {
                let [a, b] = link(between);
                self.hold_for(*lasts, sim.impair(a, b, impairment(what)))
            }
            Kind::CorruptDatagrams { between: [a, b], .. } | Kind::CorruptStreams { between: [a, b], .. } => {
                let machines = match what {
                    Kind::CorruptDatagrams { .. } => &self.budget.corruptible_datagrams,
                    _ => &self.budget.corruptible_streams,
                };
                let (a, b) = (among(machines, a), among(machines, b));
                self.hold_for(*lasts, sim.impair(a, b, impairment(what)))
            }
            Kind::LostSegment { from, to, segment, nth } => {
                let (from, to) = (among(&self.budget.links, from), among(&self.budget.links, to));
                self.hold_for(*lasts, sim.lose_segment(from, to, *segment, *nth))
            }
            Kind::Lookups { machine, delay_max, failing_ppm } => {
                let trouble = LookupTrouble { delay_max: *delay_max, failing_ppm: *failing_ppm };
                self.hold_for(*lasts, among(&self.budget.links, machine).trouble_lookups(trouble))
            }
            Kind::Reset { between } => {
                let [a, b] = link(between);
                sim.reset_connections(a, b);
                self.hold_for(Duration::ZERO, ())
            }
            Kind::Exit { machine } | Kind::PowerLoss { machine } | Kind::RestartStorm { machine, .. } => {
                let machine = among(&self.budget.ends, machine);
                let down = self.take_down(machine)?;
                let times = if let Kind::RestartStorm { times, .. } = what { *times } else { 1 };
                let is_power_loss = matches!(what, Kind::PowerLoss { .. });
                Box::pin(self.end_repeatedly(down, is_power_loss, times, *lasts))
            }
            Kind::Pause { machine } => {
                let down = self.take_down(among(&self.budget.pauses, machine))?;
                self.hold_for(*lasts, Paused::new(down))
            }
            Kind::AddressChange { machine } => {
                let machine = among(&self.budget.addresses, machine);
                machine.change_address();
                self.hold_for(*lasts, Undo(|| machine.restore_address()))
            }
            Kind::Suspension { machine } => {
                let down = self.take_down(among(&self.budget.suspensions, machine))?;
                self.hold_for(*lasts, Suspended::new(down))
            }
            Kind::SlowMachine { machine, delay_max } => {
                let machine = among(&self.budget.pauses, machine);
                machine.set_slowness(*delay_max);
                self.hold_for(*lasts, Undo(|| machine.set_slowness(Duration::ZERO)))
            }
            Kind::ClockOffset { machine, by, behind } => {
                let machine = among(&self.budget.clocks, machine);
                machine.jump_wall(*by, *behind);
                self.hold_for(*lasts, Undo(|| machine.jump_wall(*by, !*behind)))
            }
            Kind::ClockJump { machine, by, back } => {
                among(&self.budget.clocks, machine).jump_wall(*by, *back);
                self.hold_for(Duration::ZERO, ())
            }
            Kind::Drift { machine, ppm } => {
                let machine = among(&self.budget.clocks, machine);
                machine.set_drift(*ppm);
                self.hold_for(*lasts, Undo(|| machine.set_drift(0)))
            }
            Kind::Buggify { place } => self.hold_for(*lasts, Buggified::new(sim.run, place)),
            Kind::Disk { machine, trouble } if trouble.family() == Family::Corruption => {
                let machine = among(&self.budget.corruptible, machine);
                let mut corrupted = self.corrupted.borrow_mut();
                if corrupted.len() >= self.budget.corrupted_max && !corrupted.contains(machine.name()) {
                    return None;
                }
                corrupted.insert(machine.name().to_owned());
                self.hold_for(*lasts, machine.disk().trouble(*trouble))
            }
            Kind::Disk { machine, trouble } => {
                self.hold_for(*lasts, among(&self.budget.disks, machine).disk().trouble(*trouble))
            }
            Kind::Own { name, number } => (self.handlers[name.as_str()])(*number),
        })
    }

    /// Holds the guard of a fault for the fault's duration.
    fn hold_for<'f>(
        &'f self,
        lasts: Duration,
        guard: impl Sized + 'f,
    ) -> Pin<Box<dyn Future<Output = Result> + 'f>> {
        let over = self.sim.clock().sleep(lasts);
        Box::pin(async move {
            over.await;
            drop(guard);
            Ok(())
        })
    }

    /// Claims a machine to end, pause or suspend it. `None` if it is down, paused, suspended or claimed, or `down_max` is reached.
    fn take_down<'f>(&'f self, machine: &'f Machine) -> Option<Down<'f>> {
        let is_standing = machine.is_paused() || machine.is_suspended();
        if self.down.get() >= self.budget.down_max || !machine.is_up() || is_standing {
            return None;
        }
        let claim = machine.claim()?;
        self.down.set(self.down.get() + 1);
        Some(Down { machine, count: &self.down, _claim: claim })
    }

    async fn end_repeatedly(
        &self,
        down: Down<'_>,
        is_power_loss: bool,
        times: u32,
        lasts: Duration,
    ) -> Result {
        let (machine, clock) = (down.machine, self.sim.clock());
        let pause = lasts / (2 * times).saturating_sub(1).max(1);
        for time in 0..times {
            if time > 0 {
                clock.sleep(pause).await;
            }
            if is_power_loss {
                machine.power_loss()
            } else {
                machine.exit()
            }
            clock.sleep(pause).await;
            // It may depend on a machine that is cut off: `run` retries when everything is healed.
            if let Err(error) = machine.restart().await {
                tracing::info!("{} did not restart: {error:#}", machine.name());
            }
        }
        Ok(())
    }
}

fn impairment(kind: &Kind) -> Impairment {
    let whole = Impairment::default();
    match *kind {
        Kind::Slow { delay_min, delay_max, .. } => Impairment { delay_min, delay_max, ..whole },
        Kind::Tail { ppm, delay_max, .. } => Impairment { tail_ppm: ppm, tail_max: delay_max, ..whole },
        Kind::Loss { ppm, .. } => Impairment { loss_ppm: ppm, ..whole },
        Kind::Duplication { ppm, .. } => Impairment { duplication_ppm: ppm, ..whole },
        Kind::Reordering { ppm, .. } => Impairment { reordering_ppm: ppm, ..whole },
        Kind::Torn { ppm, .. } => Impairment { short_ppm: ppm, ..whole },
        Kind::CorruptDatagrams { ppm, .. } => Impairment { corruption_ppm: ppm, ..whole },
        Kind::CorruptStreams { ppm, .. } => Impairment { stream_corruption_ppm: ppm, ..whole },
        Kind::Bandwidth { bytes_per_second, .. } => Impairment { bandwidth: Some(bytes_per_second), ..whole },
        _ => whole,
    }
}

/// Guard of an active fault; its drop records the fault's end.
struct Ongoing {
    sim: Sim,
    index: u32,
}

impl Ongoing {
    fn step(&self, step: FaultStep) {
        cluster::try_with(self.sim.run, |run| {
            run.kernel.happened(EventKind::Fault { fault: self.index, step })
        });
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.step(FaultStep::Ends);
    }
}

struct Down<'a> {
    machine: &'a Machine,
    count: &'a Cell<usize>,
    _claim: Claim,
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

struct Paused<'a>(Down<'a>);

impl<'a> Paused<'a> {
    fn new(down: Down<'a>) -> Self {
        down.machine.pause();
        Self(down)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.machine.resume();
    }
}

struct Suspended<'a>(Down<'a>);

impl<'a> Suspended<'a> {
    fn new(down: Down<'a>) -> Self {
        down.machine.suspend();
        Self(down)
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        self.0.machine.wake();
    }
}

/// Guard that calls its closure when dropped.
struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Clock errors from before fault injection, with machine, drift in ppm and wall offset; restored on drop.
struct Clocks<'a>(Vec<(&'a Machine, i64, i64)>);

impl<'a> Clocks<'a> {
    fn of(machines: &'a [Machine]) -> Self {
        let of = |machine: &'a Machine| {
            let (ppm, wall_offset) = machine.clock_error();
            (machine, ppm, wall_offset)
        };
        Self(machines.iter().map(of).collect())
    }
}

impl Drop for Clocks<'_> {
    fn drop(&mut self) {
        for (machine, ppm, wall_offset) in &self.0 {
            machine.set_clock_error(*ppm, *wall_offset);
        }
    }
}
