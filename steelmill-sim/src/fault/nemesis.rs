//! Letting a plan strike: each fault in its time, within the budget, until all is healed.

use std::cell::Cell;
use std::collections::BTreeMap;
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
use super::{Budget, Fault, Faults, Kind, Plan, When};
use crate::fault::coverage::Buggified;
use crate::machine::machine::{Claim, Machine};
use crate::machine::net::Impairment;
use crate::machine::sim::Sim;
use crate::machine::{cluster, moments};
use crate::schema::event::{EventKind, FaultStep};

/// What may strike, and how to do what only the scenario can; made by [`Sim::inject_faults`].
#[must_use = "faults are injected when it is run"]
pub struct Nemesis<'a> {
    sim: Sim,
    budget: Budget,
    own: Vec<(Own, Handler<'a>)>,
}

type Handler<'a> = Box<dyn Fn(u64) -> Pin<Box<dyn Future<Output = Result> + 'a>> + 'a>;

/// How many faults there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultCounts {
    /// Those that struck.
    pub struck: u64,
    /// Those that did not: their moment did not come, or they would have been too many at once.
    pub skipped: u64,
}

impl Sim {
    /// Lets faults strike: those of the run's plan, which is drawn from the seed within this budget unless the run was
    /// given another, or none.
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
    /// Adds something that only the scenario knows how to do: aimed at the worst moment, with the workload's help. A
    /// swarm has it that many times, at times that are drawn, and with a number to take its choices from. It ends by
    /// itself; when the fault injection is over its future is dropped, and must undo in destructors what it has done.
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
        assert!(!times.is_empty(), "{name} happens {times:?} times");
        let own = Own { name, times };
        self.own.push((own, Box::new(move |number| Box::pin(handler(number)))));
        self
    }

    /// Lets the faults strike, waits until the budget's time is over, and heals everything: links are whole, clocks
    /// right, and every machine that ran a factory does so again.
    ///
    /// # Cancellation
    /// Links are healed and machines resumed; what is down stays down.
    ///
    /// # Errors
    /// A plan that does not fit the scenario; one of the scenario's own faults that fails; a machine that does not start
    /// although everything else is healed.
    pub async fn run(self) -> Result<FaultCounts> {
        let Self { sim, budget, own } = self;
        let (own, handlers): (Vec<Own>, Vec<Handler<'a>>) = own.into_iter().unzip();
        let plan = plan_of(sim, &budget, &own)?;
        let handlers = own.iter().map(|own| own.name).zip(handlers).collect::<BTreeMap<_, _>>();
        let striking = Striking::new(sim, &budget, handlers);
        let clocks = Clocks::of(&budget.clocks);
        let ran: Vec<&Machine> = budget.ends.iter().filter(|machine| machine.runs_factory()).collect();

        let over = sim.clock().sleep(budget.lasts);
        let result = select(striking.strike_all(&plan), over).await.unwrap_or(Ok(()));
        sim.with(|run| run.forget_moments());
        drop(clocks);
        result?;
        for machine in ran.iter().filter(|machine| !machine.runs_factory()) {
            let restarted = machine.restart().await;
            restarted.with_context(|| format!("{} does not start although all is healed", machine.name()))?;
        }
        let faults = striking.struck.get();
        Ok(FaultCounts { struck: faults, skipped: plan.faults.len() as u64 - faults })
    }
}

/// The first to be done; `None` when that is the second.
async fn select<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Option<T> {
    match future::select(pin!(first), pin!(second)).await {
        Either::Left((first, _)) => Some(first),
        Either::Right(_) => None,
    }
}

/// The plan of this run, which fits the scenario.
fn plan_of(sim: Sim, budget: &Budget, own: &[Own]) -> Result<Plan> {
    ensure!(sim.with(|run| run.tally.plan.is_none()), "there is trouble once in a run: make its time longer");
    let plan = sim.with(|run| match &run.kernel.settings.faults {
        Faults::None => Plan::default(),
        Faults::Plan(plan) => plan.clone(),
        Faults::Swarm => swarm::draw(run, budget, own),
    });
    for (index, fault) in plan.faults.iter().enumerate() {
        let problem = || format!("fault {index} of the plan does not fit the scenario ({fault})");
        if let Some(reason) = budget.refuses(&fault.what) {
            bail!("{}: {reason}", problem());
        }
        // A rare branch is legal for however long.
        let is_rare_branch = matches!(fault.what, Kind::Buggify { .. });
        if fault.lasts > budget.fault_max && !is_rare_branch {
            bail!("{}: it lasts for longer than {:?}", problem(), budget.fault_max);
        }
        if let When::On { machine, .. } = &fault.when
            && sim.with(|run| run.hosts.by_name(machine)).is_none()
        {
            bail!("{}: no machine is called {machine:?}", problem());
        }
        if let When::On { nth: 0, .. } = &fault.when {
            bail!("{}: it waits for the 0th time, and 1 is the first", problem());
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

/// A plan while it strikes.
struct Striking<'t, 'a> {
    sim: Sim,
    budget: &'t Budget,
    handlers: BTreeMap<&'static str, Handler<'a>>,
    struck: Cell<u64>,
    /// How many machines are down or paused.
    down: Cell<usize>,
}

impl<'t, 'a> Striking<'t, 'a> {
    fn new(sim: Sim, budget: &'t Budget, handlers: BTreeMap<&'static str, Handler<'a>>) -> Self {
        Self { sim, budget, handlers, struck: Cell::new(0), down: Cell::new(0) }
    }

    /// Ends early only when one of the scenario's own faults fails.
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
                moments::come(self.sim.run, machine, *moment, *nth).await;
                clock.sleep(*after).await;
            }
        }
        let ongoing = Ongoing { sim: self.sim, index: index as u32 };
        match self.effect(fault) {
            Some(effect) => {
                tracing::info!("fault {index}: {}", fault.what);
                self.struck.set(self.struck.get() + 1);
                ongoing.step(FaultStep::Strikes);
                let ended = effect.await;
                tracing::info!("fault {index} is over");
                ended
            }
            None => {
                ongoing.step(FaultStep::Skipped);
                std::mem::forget(ongoing);
                Ok(())
            }
        }
    }

    /// What a fault does, until it is over; dropping it undoes it. `None` when it would be one too many.
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
                self.while_it_lasts(*lasts, sim.partition(a, b))
            }
            Kind::PartitionOneWay { from, to } => {
                let (from, to) = (among(&self.budget.links, from), among(&self.budget.links, to));
                self.while_it_lasts(*lasts, sim.partition_one_way(from, to))
            }
            Kind::Isolation { machine } => {
                self.while_it_lasts(*lasts, sim.isolate(among(&self.budget.links, machine)))
            }
            Kind::Slow { between, .. }
            | Kind::Tail { between, .. }
            | Kind::Loss { between, .. }
            | Kind::Duplication { between, .. }
            | Kind::Reordering { between, .. }
            | Kind::Bandwidth { between, .. } => {
                let [a, b] = link(between);
                self.while_it_lasts(*lasts, sim.impair(a, b, impairment(what)))
            }
            Kind::Reset { between } => {
                let [a, b] = link(between);
                sim.reset_connections(a, b);
                self.while_it_lasts(Duration::ZERO, ())
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
                self.while_it_lasts(*lasts, Paused::new(down))
            }
            Kind::SlowMachine { machine, delay_max } => {
                let machine = among(&self.budget.pauses, machine);
                machine.set_slowness(*delay_max);
                self.while_it_lasts(*lasts, Undo(|| machine.set_slowness(Duration::ZERO)))
            }
            Kind::ClockOffset { machine, by, behind } => {
                let machine = among(&self.budget.clocks, machine);
                machine.jump_wall(*by, *behind);
                self.while_it_lasts(*lasts, Undo(|| machine.jump_wall(*by, !*behind)))
            }
            Kind::ClockJump { machine, by, back } => {
                among(&self.budget.clocks, machine).jump_wall(*by, *back);
                self.while_it_lasts(Duration::ZERO, ())
            }
            Kind::Drift { machine, ppm } => {
                let machine = among(&self.budget.clocks, machine);
                machine.set_drift(*ppm);
                self.while_it_lasts(*lasts, Undo(|| machine.set_drift(0)))
            }
            Kind::Buggify { place } => self.while_it_lasts(*lasts, Buggified::new(sim.run, place)),
            Kind::Own { name, number } => (self.handlers[name.as_str()])(*number),
        })
    }

    /// Keeps what holds a fault in place for as long as it lasts.
    fn while_it_lasts<'f>(
        &'f self,
        lasts: Duration,
        hold: impl Sized + 'f,
    ) -> Pin<Box<dyn Future<Output = Result> + 'f>> {
        let over = self.sim.clock().sleep(lasts);
        Box::pin(async move {
            over.await;
            drop(hold);
            Ok(())
        })
    }

    /// The right to end or pause a machine, if that is not one too many, and nobody else is at it.
    fn take_down<'f>(&'f self, machine: &'f Machine) -> Option<Down<'f>> {
        if self.down.get() >= self.budget.down_max || !machine.is_up() || machine.is_paused() {
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
            // It may need what is cut off: it is tried again when all is healed.
            if let Err(error) = machine.restart().await {
                tracing::info!("{} did not start again: {error:#}", machine.name());
            }
        }
        Ok(())
    }
}

/// What a kind of fault does to a link.
fn impairment(kind: &Kind) -> Impairment {
    let whole = Impairment::default();
    match *kind {
        Kind::Slow { delay_min, delay_max, .. } => Impairment { delay_min, delay_max, ..whole },
        Kind::Tail { ppm, delay_max, .. } => Impairment { tail_ppm: ppm, tail_max: delay_max, ..whole },
        Kind::Loss { ppm, .. } => Impairment { loss_ppm: ppm, ..whole },
        Kind::Duplication { ppm, .. } => Impairment { duplication_ppm: ppm, ..whole },
        Kind::Reordering { ppm, .. } => Impairment { reordering_ppm: ppm, ..whole },
        Kind::Bandwidth { bytes_per_second, .. } => Impairment { bandwidth: Some(bytes_per_second), ..whole },
        _ => whole,
    }
}

/// A fault that is going on; its drop says that it is over.
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

/// A machine that is ended or paused.
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

/// Undoes something when it is dropped.
struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// How clocks were before the fault injection; its drop sets them so again.
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
