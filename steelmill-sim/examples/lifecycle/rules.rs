//! The rules of the lifecycle: invariants of every trace, for any plan.

mod supervised; // children that are built anew when they end

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use steelmill_core::{
    Abandoned, Backoff, DeadlineExceeded, Deadlines, FactoryHealth, Failure, OnFailure, OnFinish, Phase,
    Policy, Report, Result, State,
};

use super::part::CHECKS;
use super::plan::Command;
use super::plan::{Answer, FactoryEnd, FactoryPlan, Outcome, Plan, Script, Until};
use super::trace::{Activity, Ending, EventKind, Maker, PartId, Trace, path_of, plan_name};

/// Checks every rule. Returns counts for the campaign's summary.
pub(crate) fn check(plan: &Plan, trace: &Trace) -> Result<Vec<(&'static str, u64)>> {
    let history = History::read(plan, trace)?;
    history
        .buildable_daemons_are_built()
        .context("a daemon is built if its dependencies are, or shared with an ancestor")?;
    history.built_and_prepared_in_order().context("dependencies are built and prepared first")?;
    history
        .independent_daemons_prepare_concurrently()
        .context("independent daemons prepare concurrently, until one fails")?;
    history.run_when_all_are_prepared().context("run begins after all daemons are prepared")?;
    history.stopped_after_dependents().context("a daemon stops after all of its dependents have ended")?;
    history.independent_daemons_stop_concurrently().context("independent daemons stop concurrently")?;
    history.phases_are_called_once().context("prepare and stop are called at most once")?;
    history.restarted_by_policy().context("run is restarted according to its policy, or by request")?;
    history.finished_factories_end().context("a factory ends when all of its daemons have finished")?;
    history.names_are_unique().context("no two live children have one name")?;
    history.no_future_outlives_its_factory().context("no future outlives its factory")?;
    history.no_future_runs_on_an_ended_machine().context("no future runs on a machine that has ended")?;
    history.no_abort_before_the_deadline().context("no stop is aborted before its deadline")?;
    history.deadlines_are_kept().context("deadlines are kept")?;
    history.drains_before_it_stops().context("a requested stop serves on, unless something fails")?;
    history.told_of_the_drain().context("daemons are told of a drain, when readiness is withdrawn")?;
    history.ready_if_daemons_are().context("a factory is ready while it runs and its daemons say so")?;
    history
        .ready_when_daemons_are()
        .context("a factory becomes ready when its daemons say that they can serve")?;
    history.hung_checks_are_found().context("a daemon that does not answer is unresponsive")?;
    history
        .supervised_are_rebuilt_by_policy()
        .context("a supervised child is built anew as its policy says")?;
    history
        .supervised_end_before_they_are_rebuilt()
        .context("what is built anew has ended as a whole before")?;
    history
        .supervised_start_with_their_parent()
        .context("supervised children start before their parent runs")?;
    history
        .stopped_children_stay_down()
        .context("a supervised child that was stopped by request is not built anew without one")?;
    history
        .supervised_end_for_themselves()
        .context("a supervised child ends for itself, or with what it depends on")?;
    history
        .supervised_failures_are_passed_on()
        .context("the failure of a supervised child is its parent's")?;
    history.all_errors_are_reported().context("all errors are reported, in order of occurrence")?;
    history.reported_failures_occurred().context("every reported failure has occurred")?;
    history.aborted_futures_are_reported().context("every aborted future is reported")?;
    history.retained_daemons_are_reported().context("every retained daemon is reported")?;
    history.ends_have_causes().context(
        "a factory ends only after a stop request, a failure, an escalation, or when it has finished",
    )?;
    history.children_escalate().context("a child's failure reaches its parent only if it escalates")?;
    Ok(history.counts())
}

/// The trace, indexed by part and factory. Indices are those of events in the trace.
struct History<'a> {
    plan: &'a Plan,
    trace: &'a Trace,
    spans: Vec<Span>,
    parts: BTreeMap<PartId, Part<'a>>,
    factories: BTreeMap<Arc<str>, Factory<'a>>,
    machine_ended: Option<usize>,
    /// Children whose name was given to another one while they ran.
    twins: Vec<Arc<str>>,
    /// The states that the root as a whole has entered. Empty if nobody looked.
    entered: Vec<(usize, State)>,
    /// When somebody requested that a supervised child of the root is built anew or stopped.
    child_commands: Vec<(usize, &'a str, Command)>,
    /// When a supervised child of the root was stopped by request.
    stopped_children: Vec<(usize, &'a str)>,
}

struct Span {
    id: PartId,
    activity: Activity,
    begins: usize,
    ends: Option<(usize, Ending)>,
}

struct Part<'a> {
    script: &'a Script,
    built: usize,
    dependencies: &'a [PartId],
    leaks: Vec<&'a PartId>,
    /// When somebody requested that it is restarted or stopped alone.
    commanded: Vec<usize>,
    dropped: Option<usize>,
    /// Indices into all spans.
    spans: Vec<usize>,
    /// Tasks that wait for a drain: when they begin, and when they end.
    watches: Vec<(u32, usize, Option<usize>)>,
}

struct Factory<'a> {
    plan: &'a FactoryPlan,
    maker: &'a Maker,
    escalates: bool,
    /// The recipe of a supervised child has failed.
    recipe_failed: Option<usize>,
    starts: usize,
    started: Option<usize>,
    /// The end, or the failed start, with the report.
    end: Option<(usize, &'a Report)>,
    stop_requested: Option<usize>,
    /// What was published of its health.
    health: Vec<(usize, &'a FactoryHealth)>,
}

impl Factory<'_> {
    /// The part that has made it, and in which of its runs.
    fn creator(&self) -> Option<(&PartId, u32)> {
        match self.maker {
            Maker::Part(part, run) => Some((part, *run)),
            Maker::Outside | Maker::Supervisor => None,
        }
    }

    fn is_supervised(&self) -> bool {
        matches!(self.maker, Maker::Supervisor)
    }

    /// The end and its report; none if its machine ended first.
    fn report(&self) -> Option<(usize, &Report)> {
        self.end
            .filter(|(_, report)| !report.failures().iter().any(|failure| failure.error.is::<Abandoned>()))
    }
}

impl<'a> History<'a> {
    fn read(plan: &'a Plan, trace: &'a Trace) -> Result<Self> {
        let plans: BTreeMap<&str, &FactoryPlan> =
            plan.factories().into_iter().map(|factory| (factory.name.as_str(), factory)).collect();
        let plan_of = |path: &str| *plans.get(plan_name(path)).expect("every factory was planned");
        let mut history = History {
            plan,
            trace,
            spans: Vec::new(),
            parts: BTreeMap::new(),
            factories: BTreeMap::new(),
            machine_ended: None,
            twins: Vec::new(),
            entered: Vec::new(),
            child_commands: Vec::new(),
            stopped_children: Vec::new(),
        };
        let mut open = BTreeMap::new();
        for (index, event) in trace.0.iter().enumerate() {
            let id = || PartId { factory: event.factory.clone(), part: event.part.unwrap_or_default() };
            match &event.what {
                EventKind::Built { dependencies } => {
                    let script = &plan_of(&event.factory).parts[&id().part];
                    let part = Part {
                        script,
                        built: index,
                        dependencies,
                        leaks: Vec::new(),
                        commanded: Vec::new(),
                        dropped: None,
                        spans: Vec::new(),
                        watches: Vec::new(),
                    };
                    ensure!(history.parts.insert(id(), part).is_none(), "{:?} was built twice", id());
                }
                EventKind::Begins { activity, span } => {
                    open.insert(*span, history.spans.len());
                    history.part(&id())?.spans.push(open[span]);
                    history.spans.push(Span { id: id(), activity: *activity, begins: index, ends: None });
                }
                EventKind::Ends { span, ending } => history.spans[open[span]].ends = Some((index, *ending)),
                EventKind::Leaks(target) => history.part(&id())?.leaks.push(target),
                EventKind::WatchesDrain { watch } => history.part(&id())?.watches.push((*watch, index, None)),
                EventKind::Drains { watch, .. } | EventKind::WatchAborted { watch } => {
                    let mut watches = history.part(&id())?.watches.iter_mut();
                    if let Some(found) = watches.find(|(number, ..)| number == watch) {
                        found.2 = Some(index);
                    }
                }
                EventKind::Health(health) => history.factory(&event.factory)?.health.push((index, health)),
                EventKind::Dropped => history.part(&id())?.dropped = Some(index),
                EventKind::Commanded => {
                    // Unless it was not built.
                    if let Some(part) = history.parts.get_mut(&id()) {
                        part.commanded.push(index);
                    }
                }
                EventKind::TwinStarted => history.twins.push(event.factory.clone()),
                EventKind::Starts { maker, escalates } => {
                    let factory = Factory {
                        plan: plan_of(&event.factory),
                        maker,
                        escalates: *escalates,
                        recipe_failed: None,
                        starts: index,
                        started: None,
                        end: None,
                        stop_requested: None,
                        health: Vec::new(),
                    };
                    history.factories.insert(event.factory.clone(), factory);
                }
                EventKind::Started => history.factory(&event.factory)?.started = Some(index),
                EventKind::StartFailed(report) | EventKind::Ended(report) => {
                    history.factory(&event.factory)?.end = Some((index, report));
                }
                EventKind::StopRequested => {
                    history.factory(&event.factory)?.stop_requested.get_or_insert(index);
                }
                EventKind::MachineEnded => history.machine_ended = Some(index),
                EventKind::RecipeFails => {
                    history.factory(&event.factory)?.recipe_failed = Some(index);
                }
                EventKind::Entered(state) => history.entered.push((index, *state)),
                EventKind::ChildStopped { child } => history.stopped_children.push((index, child)),
                EventKind::ChildCommanded { child, command } => {
                    history.child_commands.push((index, child, *command));
                }
            }
        }
        Ok(history)
    }

    fn part(&mut self, id: &PartId) -> Result<&mut Part<'a>> {
        self.parts.get_mut(id).with_context(|| format!("{id:?} was never built"))
    }

    fn factory(&mut self, path: &str) -> Result<&mut Factory<'a>> {
        self.factories.get_mut(path).with_context(|| format!("{path} was never started"))
    }

    fn spans_of(&self, part: &'a Part) -> impl Iterator<Item = &Span> {
        part.spans.iter().map(|span| &self.spans[*span])
    }

    fn spans_in(&self, factory: &str) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| &*span.id.factory == factory)
    }

    /// The index at which `prepare` succeeded.
    fn prepared(&self, part: &'a Part) -> Option<usize> {
        let prepare = self.spans_of(part).find(|span| span.activity == Activity::Prepare)?;
        prepare.ends.and_then(|(index, ending)| (ending == Ending::Succeeded).then_some(index))
    }

    fn at(&self, index: usize) -> Duration {
        self.trace.0[index].at
    }

    /// The parts that depend on this one, in its factory or below.
    fn dependents(&self, id: &'a PartId) -> impl Iterator<Item = (&PartId, &Part<'a>)> {
        self.parts.iter().filter(move |(_, part)| part.dependencies.contains(id))
    }

    /// The factories created by a part, and all below them.
    fn created_by(&self, id: &PartId, run: Option<u32>) -> impl Iterator<Item = &Arc<str>> {
        let made = self.factories.iter().filter(move |(_, factory)| {
            factory
                .creator()
                .is_some_and(|(creator, in_run)| creator == id && run.is_none_or(|run| run == in_run))
        });
        made.flat_map(|(made, _)| {
            let below = format!("{made}/");
            self.factories.keys().filter(move |path| *path == made || path.starts_with(&below))
        })
    }
}

// The rules.
impl History<'_> {
    fn buildable_daemons_are_built(&self) -> Result {
        for (path, factory) in &self.factories {
            let is_built = |number: usize| {
                let mut above = self.parts.keys().filter(|id| id.part == number);
                above.any(|id| id.factory == *path || path.starts_with(&format!("{}/", id.factory)))
            };
            for (number, script) in &factory.plan.parts {
                let can = script.build == Outcome::Succeeds
                    && script.dependencies.iter().all(|dependency| is_built(*dependency));
                let id = PartId { factory: path.clone(), part: *number };
                ensure!(
                    !can || self.parts.contains_key(&id),
                    "{id:?} was not built although its dependencies were"
                );
            }
        }
        Ok(())
    }

    fn built_and_prepared_in_order(&self) -> Result {
        for (id, part) in &self.parts {
            for dependency in part.dependencies {
                let needed = self
                    .parts
                    .get(dependency)
                    .with_context(|| format!("{id:?} depends on {dependency:?}, which was never built"))?;
                ensure!(needed.built < part.built, "{id:?} was built before {dependency:?}");
                if let Some(prepare) = self.spans_of(part).find(|span| span.activity == Activity::Prepare) {
                    let prepared = self.prepared(needed);
                    ensure!(
                        prepared.is_some_and(|prepared| prepared < prepare.begins),
                        "{id:?} was prepared before {dependency:?}"
                    );
                }
            }
        }
        Ok(())
    }

    fn independent_daemons_prepare_concurrently(&self) -> Result {
        for path in self.factories.keys() {
            let prepares = || self.spans_in(path).filter(|span| span.activity == Activity::Prepare);
            let Some(first) = prepares().map(|span| self.at(span.begins)).min() else { continue };
            for span in prepares() {
                let dependencies = self.parts[&span.id].dependencies.iter();
                let due = dependencies
                    .filter_map(|dependency| self.prepared(&self.parts[dependency]))
                    .map(|index| self.at(index));
                let due = due.chain([first]).max().unwrap_or(first);
                ensure!(self.at(span.begins) == due, "{:?} did not begin to prepare at {due:?}", span.id);
            }
            let failed = prepares().filter_map(|span| match span.ends {
                Some((index, Ending::Failed(_))) => Some(index),
                _ => None,
            });
            if let Some(failed) = failed.min() {
                let mut ends = prepares().filter_map(|span| span.ends);
                let is_over = ends.all(|(index, _)| self.at(index) <= self.at(failed));
                ensure!(is_over, "{path} continued to prepare after the failure at index {failed}");
            }
        }
        Ok(())
    }

    fn run_when_all_are_prepared(&self) -> Result {
        for span in self.spans.iter().filter(|span| matches!(span.activity, Activity::Run(_))) {
            let siblings = self.parts.iter().filter(|(id, _)| id.factory == span.id.factory);
            for (sibling, part) in siblings {
                ensure!(
                    self.prepared(part).is_some_and(|prepared| prepared < span.begins),
                    "{:?} runs although {sibling:?} is not prepared",
                    span.id
                );
            }
        }
        Ok(())
    }

    fn stopped_after_dependents(&self) -> Result {
        for stop in self.spans.iter().filter(|span| span.activity == Activity::Stop) {
            for (dependent, part) in self.dependents(&stop.id) {
                for span in self.spans_of(part) {
                    let has_ended = span.ends.is_some_and(|(index, _)| index < stop.begins);
                    ensure!(
                        has_ended,
                        "{:?} stops although {:?} of {dependent:?} has not ended",
                        stop.id,
                        span.activity
                    );
                }
            }
            for child in self.created_by(&stop.id, None) {
                for span in self.spans_in(child) {
                    let has_ended = span.ends.is_some_and(|(index, _)| index < stop.begins);
                    ensure!(
                        has_ended,
                        "{:?} stops although {:?} of {:?} has not ended",
                        stop.id,
                        span.activity,
                        span.id
                    );
                }
            }
        }
        Ok(())
    }

    fn independent_daemons_stop_concurrently(&self) -> Result {
        for path in self.factories.keys() {
            // A child shares a part that it got, even if the build that requested the part failed.
            let may_be_shared = |number: usize| {
                let below = self.factories.iter().filter(|(child, _)| child.starts_with(&format!("{path}/")));
                let mut scripts = below.flat_map(|(_, child)| child.plan.parts.values());
                scripts.any(|script| script.dependencies.contains(&number))
            };
            // Without dependents, and without a policy by which they may have ended before.
            let is_free = |span: &&Span| {
                let part = &self.parts[&span.id];
                span.activity == Activity::Stop
                    && part.script.policy == Policy::default()
                    && part.commanded.is_empty()
                    && self.dependents(&span.id).next().is_none()
                    && !may_be_shared(span.id.part)
                    && self.created_by(&span.id, None).next().is_none()
            };
            let begins: Vec<_> =
                self.spans_in(path).filter(is_free).map(|span| self.at(span.begins)).collect();
            ensure!(
                begins.windows(2).all(|pair| pair[0] == pair[1]),
                "{path}: independent stops began at {begins:?}"
            );
        }
        Ok(())
    }

    fn phases_are_called_once(&self) -> Result {
        for (id, part) in &self.parts {
            let count = |activity| self.spans_of(part).filter(|span| span.activity == activity).count();
            let (prepares, stops) = (count(Activity::Prepare), count(Activity::Stop));
            ensure!(prepares <= 1 && stops <= 1, "{id:?} was prepared {prepares} and stopped {stops} times");
            ensure!(
                stops == 0 || self.prepared(part).is_some(),
                "{id:?} was stopped although it was not prepared"
            );
            let Some((_, report)) = self.factories.get(&id.factory).and_then(Factory::report) else {
                continue;
            };
            let was_aborted = failures_of(report, id).any(|failure| {
                // With a deadline of zero, a stop is aborted before its first poll.
                let is_phase = matches!(failure.phase, Phase::Prepare | Phase::Stop);
                failure.error.is::<DeadlineExceeded>() && is_phase || is_aborted_before_stop_request(failure)
            });
            ensure!(
                stops == 1 || self.prepared(part).is_none() || was_aborted,
                "{id:?} was prepared but not stopped"
            );
        }
        Ok(())
    }

    fn restarted_by_policy(&self) -> Result {
        for (id, part) in &self.parts {
            let runs: Vec<_> =
                self.spans_of(part).filter(|span| matches!(span.activity, Activity::Run(_))).collect();
            for (nth, pair) in runs.windows(2).enumerate() {
                let (first, next) = (pair[0], pair[1]);
                let Some((end, ending)) = first.ends else {
                    anyhow::bail!("{id:?} was restarted although its last run has not ended");
                };
                // Maybe before the first poll of the run that ended.
                let since = nth.checked_sub(1).map_or(0, |before| runs[before].begins);
                let is_requested = part.commanded.iter().any(|index| (since..next.begins).contains(index));
                if !is_requested {
                    let Some(backoff) = backoff_after(&part.script.policy, ending) else {
                        anyhow::bail!("{id:?} was restarted against its policy");
                    };
                    ensure!(
                        self.at(next.begins) - self.at(end) >= backoff.first / 2,
                        "{id:?} was restarted before its backoff"
                    );
                }
                let left = self.spans_of(part).filter(|span| matches!(span.activity, Activity::Task(_)));
                let Activity::Run(run) = first.activity else { unreachable!("filtered above") };
                let made = self.created_by(id, Some(run)).flat_map(|child| self.spans_in(child));
                for span in left.filter(|span| span.begins < next.begins).chain(made) {
                    let has_ended = span.ends.is_some_and(|(index, _)| index < next.begins);
                    ensure!(
                        has_ended,
                        "{id:?} was restarted although {:?} of {:?} has not ended",
                        span.activity,
                        span.id
                    );
                }
            }
            let policy = &part.script.policy;
            let backoff = [Ending::Failed(0), Ending::Succeeded].map(|ending| backoff_after(policy, ending));
            if let Some(backoff) = backoff.into_iter().flatten().next().filter(|_| part.commanded.is_empty())
            {
                // An end followed by a run is a restart. More than the limit must not fall into one window.
                let restarts: Vec<_> =
                    runs.windows(2).filter_map(|pair| Some(self.at(pair[0].ends?.0))).collect();
                let most = backoff.restarts as usize;
                for window in restarts.windows(most + 1) {
                    ensure!(
                        window[most] - window[0] >= backoff.window,
                        "{id:?} was restarted too often within its window"
                    );
                }
            }
        }
        Ok(())
    }

    /// Those without children and requests. A task that only the stop ends is as late as that.
    fn finished_factories_end(&self) -> Result {
        for (path, factory) in &self.factories {
            if factory.report().is_none() || factory.started.is_none() {
                continue;
            }
            let is_simple = !self.factories.keys().any(|other| other.starts_with(&format!("{path}/")));
            let (mut last, mut has_any_finished) = (None, false);
            let is_over = self.parts.iter().filter(|(id, _)| id.factory == *path).all(|(_, part)| {
                let mut runs = self.spans_of(part).filter(|span| matches!(span.activity, Activity::Run(_)));
                let run = runs.next().and_then(|run| run.ends);
                let watches = part.watches.iter().filter_map(|(.., ends)| *ends);
                // Without those of its stop.
                let is_work = |span: &&Span| matches!(span.activity, Activity::Task(run) if run != u32::MAX);
                let tasks = self.spans_of(part).filter(is_work);
                let tasks = tasks.filter_map(|span| span.ends).map(|(index, _)| index);
                last = last.max(run.map(|(index, _)| index)).max(watches.chain(tasks).max());
                let is_down = |ending| {
                    matches!(ending, Ending::Failed(_))
                        && part.script.policy.on_failure == OnFailure::LeaveDown
                };
                let is_finished = run.is_some_and(|(_, ending)| ending == Ending::Succeeded);
                has_any_finished |= is_finished;
                (is_finished || run.is_some_and(|(_, ending)| is_down(ending)))
                    && runs.next().is_none()
                    && part.commanded.is_empty()
                    && part.script.run.until == Until::Now
                    && part.script.policy.on_finish == OnFinish::Stay
            });
            let Some(last) =
                last.filter(|_| is_simple && is_over && has_any_finished && !factory.plan.remains)
            else {
                continue;
            };
            let stops = self.spans_in(path).filter(|span| span.activity == Activity::Stop);
            let Some(begun) = stops.map(|span| self.at(span.begins)).min() else { continue };
            ensure!(
                begun <= self.at(last).max(self.at(factory.started.unwrap_or(last))),
                "{path} had nothing left to do at {:?}, and began to stop at {begun:?}",
                self.at(last)
            );
        }
        Ok(())
    }

    fn names_are_unique(&self) -> Result {
        match self.twins.first() {
            Some(twin) => anyhow::bail!("two children called {twin} ran at a time"),
            None => Ok(()),
        }
    }

    /// Whether a run has ended by itself, so that its policy decided.
    fn has_returned(&self, span: &Span) -> bool {
        let part = &self.parts[&span.id];
        matches!(span.activity, Activity::Run(_))
            && part.script.run.until == Until::Now
            && matches!(span.ends, Some((_, Ending::Succeeded)))
    }

    fn no_future_outlives_its_factory(&self) -> Result {
        for span in &self.spans {
            ensure!(span.ends.is_some(), "{:?} of {:?} never ended", span.activity, span.id);
        }
        for (path, factory) in &self.factories {
            let Some((end, _)) = factory.end else { continue };
            for span in self.spans_in(path) {
                let has_ended = span.ends.is_some_and(|(index, _)| index < end);
                ensure!(has_ended, "{path} ended although {:?} of {:?} has not", span.activity, span.id);
            }
        }
        for (id, part) in &self.parts {
            ensure!(part.dropped.is_some(), "{id:?} was never dropped");
        }
        Ok(())
    }

    fn no_future_runs_on_an_ended_machine(&self) -> Result {
        let Some(gone) = self.machine_ended else { return Ok(()) };
        for span in &self.spans {
            ensure!(span.begins < gone, "{:?} begins {:?} after its machine ended", span.id, span.activity);
            let has_been_cut =
                span.ends.is_some_and(|(index, ending)| index < gone || ending == Ending::Cancelled);
            ensure!(has_been_cut, "{:?} ends {:?} after its machine ended", span.id, span.activity);
        }
        Ok(())
    }

    /// Only for the root: the abort of a child may be due to the deadline of its creator.
    fn no_abort_before_the_deadline(&self) -> Result {
        let Some(root) = self.factories.get("root") else { return Ok(()) };
        let (Some((end, report)), deadlines) = (root.report(), &root.plan.deadlines) else { return Ok(()) };
        let limit = if root.started.is_some() { deadlines.stop } else { deadlines.rollback };
        let has_factory_limit = |span: &&Span| self.parts[&span.id].script.policy.stop.is_none();
        let mut cut = self.spans_in("root").filter(has_factory_limit).filter_map(|span| {
            match (span.activity, span.ends) {
                (Activity::Stop, Some((index, Ending::Cancelled))) => Some(self.at(index)),
                _ => None,
            }
        });
        // The earliest possible cause of the stop. A child that escalates may end at any time.
        let failed = self.spans_in("root").filter_map(|span| match (span.activity, span.ends) {
            (Activity::Prepare | Activity::Run(_), Some((index, Ending::Failed(_)))) => Some(index),
            (_, Some((index, _))) if self.has_returned(span) => Some(index),
            _ => None,
        });
        let cause = failed.chain(root.stop_requested).min().filter(|cause| *cause < end);
        let late = report.failures().iter().any(|failure| {
            failure.daemon.starts_with("child ")
                || failure.daemon.starts_with("Supervised[")
                || failure.error.is::<DeadlineExceeded>() && failure.phase == Phase::Prepare
        });
        if let (Some(cause), false) = (cause, late) {
            let granted = self.at(cause) + limit;
            ensure!(cut.all(|cut| cut >= granted), "a stop was aborted before {granted:?}");
        }
        Ok(())
    }

    fn deadlines_are_kept(&self) -> Result {
        for (path, factory) in &self.factories {
            let Some((end, _)) = factory.report() else { continue };
            let deadlines = &factory.plan.deadlines;
            let (cause, limit) = match factory.started {
                // Its start may have waited for its parent.
                None if path.contains('/') => continue,
                None => (factory.starts, deadlines.prepare + ends_within(deadlines.rollback)),
                Some(started) => {
                    let stop_requested =
                        factory.stop_requested.map(|stop_requested| stop_requested.max(started));
                    // A run that was told to end alone is no cause.
                    let runs = self.spans_in(path).filter(|span| {
                        matches!(span.activity, Activity::Run(_)) && self.parts[&span.id].commanded.is_empty()
                    });
                    let failed = runs.filter_map(|span| {
                        let policy = &self.parts[&span.id].script.policy;
                        match span.ends {
                            Some((index, Ending::Failed(_)))
                                if policy.on_failure == OnFailure::StopFactory =>
                            {
                                Some(index.max(started))
                            }
                            Some((index, Ending::Succeeded))
                                if policy.on_finish == OnFinish::StopFactory && self.has_returned(span) =>
                            {
                                Some(index.max(started))
                            }
                            _ => None,
                        }
                    });
                    let Some(cause) =
                        stop_requested.into_iter().chain(failed).filter(|cause| *cause < end).min()
                    else {
                        continue;
                    };
                    (cause, factory.plan.drain + ends_within(deadlines.stop))
                }
            };
            let took = self.at(end) - self.at(cause);
            ensure!(took <= limit, "{path} took {took:?} to end, over its limit of {limit:?}");
        }
        self.parts.iter().try_for_each(|(id, part)| self.own_limits_are_kept(id, part))
    }

    /// When the root was requested to stop after its start, and when its drain is over, if it is to drain then.
    fn drain_requested(&self) -> Option<(usize, Duration)> {
        let plan = self.plan;
        let root = self.factories.get("root")?;
        let is_in_time = |requested: &usize| {
            root.started.is_some_and(|at| at < *requested)
                && root.end.as_ref().is_none_or(|(end, _)| requested < end)
        };
        let requested = root.stop_requested.filter(is_in_time)?;
        // These end it without a request, or without a drain.
        if matches!(plan.end, FactoryEnd::Dropped(_) | FactoryEnd::JoinDropped(_))
            || plan.root.drain.is_zero()
        {
            return None;
        }
        let drained = self.at(requested) + plan.root.drain;
        Some((requested, drained))
    }

    /// Whether something failed by then that stops the root at once.
    fn failed_by(&self, time: Duration) -> bool {
        let failed = |span: &Span| matches!(span.ends, Some((at, Ending::Failed(_) | Ending::Cancelled)) if self.at(at) <= time);
        // A child may fail without a span, if a stop is aborted before its first poll.
        let escalated = |factory: &Factory| {
            let is_clean = |(end, report): &(usize, &Report)| self.at(*end) > time || report.is_clean();
            (factory.escalates || factory.is_supervised()) && !factory.end.as_ref().is_none_or(is_clean)
                || factory.recipe_failed.is_some_and(|index| self.at(index) <= time)
        };
        self.spans.iter().any(failed)
            || self.factories.values().any(escalated)
            || self.machine_ended.is_some_and(|ended| self.at(ended) <= time)
    }

    /// Whether the root was stopped by then without a request: something failed, a run returned whose policy stops it then, or
    /// all of its daemons had finished.
    fn ended_itself_by(&self, time: Duration) -> bool {
        self.failed_by(time) || self.returned_too_often_by(time) || self.had_finished_by(time)
    }

    /// Whether a run of the root had returned by then that its policy does not bear, or not so often.
    fn returned_too_often_by(&self, time: Duration) -> bool {
        let parts = self.parts.iter().filter(|(id, _)| &*id.factory == "root");
        let supervised_may_stop = self.factories.iter().any(|(path, factory)| {
            let has_ended = factory.end.is_none_or(|(index, _)| self.at(index) <= time);
            let stays = factory.is_supervised()
                && self.policy_of(path).is_some_and(|policy| policy.on_finish == OnFinish::Stay);
            factory.is_supervised() && path.matches('/').count() == 1 && has_ended && !stays
        });
        if supervised_may_stop {
            return true;
        }
        parts.into_iter().any(|(_, part)| {
            let returned = self.spans_of(part).filter(|span| self.has_returned(span));
            let returned = returned.filter_map(|span| span.ends).map(|(index, _)| self.at(index));
            let returned: Vec<_> = returned.filter(|at| *at <= time).collect();
            match part.script.policy.on_finish {
                OnFinish::Stay => false,
                OnFinish::StopFactory => !returned.is_empty(),
                OnFinish::Restart(backoff) => {
                    let mut windows = returned.windows(backoff.restarts as usize + 1);
                    windows.any(|window| window[window.len() - 1] - window[0] < backoff.window)
                }
                other => unreachable!("no rule knows {other:?}"),
            }
        })
    }

    /// Whether nothing was left to do for the root by then: its runs had returned, and its tasks and children had ended.
    fn had_finished_by(&self, time: Duration) -> bool {
        let is_over = |ends: Option<usize>| ends.is_some_and(|index| self.at(index) <= time);
        let parts = self.parts.iter().filter(|(id, _)| &*id.factory == "root");
        let have_finished = parts.into_iter().all(|(_, part)| {
            let begun = self.spans_of(part).filter(|span| self.at(span.begins) <= time);
            let mut last_run = None;
            for span in begun {
                match span.activity {
                    Activity::Run(_) => last_run = Some(span),
                    // That of a stop begins after all had finished.
                    Activity::Task(run) if run != u32::MAX && !is_over(span.ends.map(|(index, _)| index)) => {
                        return false;
                    }
                    _ => {}
                }
            }
            last_run.is_some_and(|run| self.has_returned(run) && is_over(run.ends.map(|(index, _)| index)))
                && part.watches.iter().all(|(.., ends)| is_over(*ends))
        });
        let is_child = |path: &str| path.strip_prefix("root/").is_some_and(|name| !name.contains('/'));
        let children = self.factories.iter().filter(|(path, _)| is_child(path));
        // One whose start was dropped may have ended unobserved.
        let mut observed = children.filter(|(_, child)| child.started.is_some() || child.end.is_some());
        let are_gone = observed.all(|(_, child)| {
            self.at(child.starts) > time || is_over(child.end.as_ref().map(|(index, _)| *index))
        });
        have_finished && are_gone && !self.plan.root.remains
    }

    /// Whether a task of a part was told to stop by then because its daemon wound down: the run that made it, the last before
    /// `made`, had returned and is restarted by its policy, or was to be restarted or stopped by request.
    fn winds_down(&self, part: &Part, made: usize, told: usize) -> bool {
        let runs = self.spans_of(part).filter(|span| matches!(span.activity, Activity::Run(_)));
        let Some(run) = runs.filter(|run| run.begins < made).last() else { return false };
        let has_returned = self.has_returned(run) && run.ends.is_some_and(|(ends, _)| ends < told);
        // Maybe before the first poll of the run.
        let is_of_run = |index: &usize| *index > run.begins || self.at(*index) == self.at(run.begins);
        has_returned && matches!(part.script.policy.on_finish, OnFinish::Restart(_))
            || part.commanded.iter().any(|index| *index < told && is_of_run(index))
    }

    /// Whether a child, or one that it is in, had not started or had begun to stop when the root was to drain.
    fn did_not_run_below_root_at(&self, path: &str, requested: usize) -> bool {
        let is_around = |factory: &str| {
            factory != "root"
                && path.strip_prefix(factory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut around = self.factories.iter().filter(|(factory, _)| is_around(factory));
        around.any(|(factory, known)| {
            let mut stops = self.spans_in(factory).filter(|span| span.activity == Activity::Stop);
            known.started.is_none_or(|index| index > requested)
                || known.stop_requested.is_some_and(|index| index < requested)
                || stops.any(|stop| stop.begins < requested)
        })
    }

    fn drains_before_it_stops(&self) -> Result {
        let Some((requested, drained)) = self.drain_requested() else { return Ok(()) };
        let drained = match self.plan.end {
            FactoryEnd::DrainCut(after, cut) => {
                // The request may be another one than that of the plan.
                let started = self.factories["root"].started.unwrap_or(requested);
                drained.min(self.at(started) + after + cut)
            }
            _ => drained,
        };
        if self.ended_itself_by(drained) {
            return Ok(());
        }
        for stop in self.spans_in("root").filter(|span| span.activity == Activity::Stop) {
            let begins = self.at(stop.begins);
            ensure!(
                begins >= drained,
                "{:?} was stopped at {begins:?}, within the drain up to {drained:?}",
                stop.id
            );
        }
        Ok(())
    }

    fn told_of_the_drain(&self) -> Result {
        let Some((requested, _)) = self.drain_requested() else { return Ok(()) };
        let at = self.at(requested);
        if self.ended_itself_by(at) {
            return Ok(());
        }
        for (id, part) in &self.parts {
            for (_, begins, told) in &part.watches {
                let waits = *begins < requested && told.is_none_or(|told| told > requested);
                if !waits {
                    continue;
                }
                let Some(told) = told else { anyhow::bail!("{id:?} was not told of the drain") };
                if self.did_not_run_below_root_at(&id.factory, requested) {
                    continue; // its daemons are told when it runs, or when it is their turn to stop
                }
                ensure!(self.at(*told) == at, "{id:?} was told of the drain at {:?}", self.at(*told));
                if self.winds_down(part, *begins, *told) {
                    continue;
                }
                let is_stopping = match self.trace.0[*told].what {
                    EventKind::Drains { is_stopping, is_ready, .. } => {
                        ensure!(
                            is_ready != Some(true),
                            "{id:?} was told of the drain while the root was ready"
                        );
                        is_stopping
                    }
                    _ => true,
                };
                // A child may stop at the same time. So may the root, if its drain is cut short at once.
                let is_cut = matches!(self.plan.end, FactoryEnd::DrainCut(_, cut) if cut.is_zero());
                let may_stop = &*id.factory != "root" || is_cut;
                ensure!(!is_stopping || may_stop, "{id:?} was told of the drain by its stop");
            }
        }
        Ok(())
    }

    fn ready_if_daemons_are(&self) -> Result {
        let Some(root) = self.factories.get("root") else { return Ok(()) };
        for (index, health) in root.health.iter().filter(|(_, health)| health.is_ready()) {
            let unwell = |id: &&PartId| {
                let script = self.parts[*id].script;
                &*id.factory == "root" && matches!(script.health, Answer::Failing | Answer::Hangs)
            };
            // One that is down, which the root does without, is not asked.
            let is_down = |id: &PartId| {
                health.daemons.iter().any(|daemon| daemon.daemon == label(id) && daemon.state == State::Down)
            };
            let unwell = self.parts.keys().filter(unwell).find(|id| !is_down(id));
            ensure!(unwell.is_none(), "the root is ready at index {index} although {unwell:?} is not");
            let is_over = root.stop_requested.is_some_and(|requested| self.at(requested) < self.at(*index));
            ensure!(!is_over, "the root became ready at index {index}, after a stop was requested");
        }
        Ok(())
    }

    /// Only if all of its daemons run from its start on, and nothing ends one of them until all have answered.
    fn ready_when_daemons_are(&self) -> Result {
        let Some(root) = self.factories.get("root") else { return Ok(()) };
        let (true, Some(started)) = (self.plan.watches_health, root.started) else { return Ok(()) };
        let answered = self.at(started) + CHECKS.timeout;
        let can_serve = |part: &Part| {
            let mut runs = self.spans_of(part).filter(|span| matches!(span.activity, Activity::Run(_)));
            let lasts = |run: &Span| run.ends.is_some_and(|(index, _)| self.at(index) > answered);
            matches!(part.script.health, Answer::Healthy | Answer::Degraded)
                && part.commanded.is_empty()
                && runs.next().is_some_and(lasts)
        };
        // A child that escalates counts as well, and one that is built anew is not there for a while.
        let is_simple = |(path, child): (&Arc<str>, &Factory)| {
            &**path == "root"
                || !child.escalates
                    && (!child.is_supervised()
                        || child.end.is_some_and(|(index, _)| self.at(index) > answered))
        };
        let mut parts = self.parts.iter().filter(|(id, _)| &*id.factory == "root").peekable();
        let stops = root.stop_requested.map_or(Duration::MAX, |index| self.at(index));
        if parts.peek().is_none()
            || stops <= answered
            || !parts.all(|(_, part)| can_serve(part))
            || !self.factories.iter().all(is_simple)
            || !self.child_commands.is_empty()
            || self.ended_itself_by(answered)
        {
            return Ok(());
        }
        let is_ready =
            root.health.iter().any(|(index, health)| health.is_ready() && self.at(*index) <= answered);
        ensure!(is_ready, "the daemons of the root can serve, but it is not ready at {answered:?}");
        Ok(())
    }

    fn hung_checks_are_found(&self) -> Result {
        let Some(root) = self.factories.get("root") else { return Ok(()) };
        let (true, Some(started)) = (self.plan.watches_health, root.started) else { return Ok(()) };
        // The time that finding out takes.
        let found = self.at(started) + CHECKS.every + CHECKS.timeout;
        for (id, part) in self.parts.iter().filter(|(id, _)| &*id.factory == "root") {
            let runs = self.spans_of(part).find(|span| matches!(span.activity, Activity::Run(_)));
            let Some(run) = runs.filter(|_| part.script.health == Answer::Hangs) else { continue };
            // Only its first run, if that lasts long enough, and nothing ends it or the root before.
            let ends = run.ends.map_or(Duration::MAX, |(at, _)| self.at(at));
            let stops = root.stop_requested.map_or(Duration::MAX, |at| self.at(at));
            let is_restarted = part.commanded.iter().any(|index| self.at(*index) <= found);
            if ends <= found || stops <= found || is_restarted || self.ended_itself_by(found) {
                continue;
            }
            let is_found = root.health.iter().any(|(index, health)| {
                let mut daemons = health.daemons.iter();
                let daemon = daemons.find(|daemon| daemon.daemon == label(id));
                self.at(*index) <= found && daemon.is_some_and(|daemon| !daemon.is_live())
            });
            ensure!(is_found, "{id:?} never answers, but is not said to be unresponsive at {found:?}");
        }
        Ok(())
    }

    fn own_limits_are_kept(&self, id: &PartId, part: &Part) -> Result {
        let policy = &part.script.policy;
        let stop = self.spans_of(part).find(|span| span.activity == Activity::Stop);
        for span in self.spans_of(part) {
            let Some((end, _)) = span.ends else { continue };
            let (since, limit) = match (span.activity, stop) {
                (Activity::Prepare, _) => (span.begins, policy.prepare),
                (_, Some(stop)) => (stop.begins, policy.stop),
                (_, None) => continue,
            };
            if let Some(limit) = limit {
                let took = self.at(end).saturating_sub(self.at(since));
                ensure!(
                    took <= limit,
                    "{:?} of {id:?} took {took:?}, over its limit of {limit:?}",
                    span.activity
                );
            }
        }
        Ok(())
    }

    fn all_errors_are_reported(&self) -> Result {
        for (path, factory) in &self.factories {
            let Some((_, report)) = factory.report() else { continue };
            let texts: Vec<_> =
                report.failures().iter().map(|failure| format!("{:#}", failure.error)).collect();
            let mut failed: Vec<_> = self
                .spans_in(path)
                .filter_map(|span| match span.ends {
                    Some((index, Ending::Failed(token))) => Some((index, span, format!("token {token};"))),
                    _ => None,
                })
                .collect();
            failed.sort_by_key(|(index, ..)| *index);
            let mut last = None;
            let mut restarts: BTreeMap<&PartId, (u64, &str)> = BTreeMap::new();
            for (_, span, token) in &failed {
                let label = label(&span.id);
                let indices: Vec<_> =
                    (0..texts.len()).filter(|index| texts[*index].contains(token)).collect();
                match indices[..] {
                    [index] => {
                        let failure = &report.failures()[index];
                        ensure!(
                            failure.factory == path_of(path) && failure.daemon == label,
                            "{failure} is reported for another daemon than {label} of {path}"
                        );
                        ensure!(
                            failure.phase == phase_of(span.activity),
                            "{failure} is reported for another phase than {:?}",
                            span.activity
                        );
                        ensure!(last < Some(index), "{failure} is reported out of order");
                        last = Some(index);
                    }
                    [] if matches!(span.activity, Activity::Run(_)) => {
                        let (times, last) = restarts.entry(&span.id).or_default();
                        *times += 1;
                        *last = token;
                    }
                    // A part that is restarted for half a minute has more failing tasks than a report lists.
                    [] if matches!(span.activity, Activity::Task(_)) && report.unlisted() > 0 => {}
                    [] => anyhow::bail!("{token} of {:?} is not reported", span.id),
                    _ => anyhow::bail!("{token} of {:?} is reported more than once", span.id),
                }
            }
            self.restarts_are_reported(path, report, &restarts)?;
        }
        Ok(())
    }

    /// Given how often each part was restarted after a failure, and the last of these.
    fn restarts_are_reported(
        &self,
        path: &str,
        report: &Report,
        failed: &BTreeMap<&PartId, (u64, &str)>,
    ) -> Result {
        for (id, part) in self.parts.iter().filter(|(id, _)| *id.factory == *path) {
            let reported = report.restarted().iter().find(|restarted| restarted.daemon == label(id));
            let (times, last) = failed.get(id).copied().unwrap_or((0, ""));
            // After a run that has returned, too, if that was before the stop.
            let returned = match part.script.policy.on_finish {
                OnFinish::Restart(_) => {
                    self.spans_of(part).filter(|span| self.has_returned(span)).count() as u64
                }
                _ => 0,
            };
            let is_right = match reported {
                None => times == 0,
                Some(restarted) => {
                    let text = format!("{:#}", restarted.last);
                    (times..=times + returned).contains(&restarted.times)
                        && (times > 0 && text.contains(last) || returned > 0 && text == "its run returned")
                }
            };
            ensure!(
                is_right,
                "{id:?} was restarted after {times} failures, the last time after {last}, and after at most {returned} \
                 returns, but the report says {reported:?}"
            );
        }
        let supervised = self.factories.get(path).map(|factory| &factory.plan.supervised);
        let known = |restarted: &steelmill_core::Restarted| {
            let mut supervised = supervised.into_iter().flatten();
            self.parts.keys().any(|id| *id.factory == *path && label(id) == restarted.daemon)
                || supervised.any(|child| supervisor_label(&child.factory.name) == restarted.daemon)
        };
        ensure!(report.restarted().iter().all(known), "{path} reports restarts of another daemon");
        Ok(())
    }

    fn reported_failures_occurred(&self) -> Result {
        for (path, factory) in &self.factories {
            let Some((_, report)) = factory.report() else { continue };
            for failure in report.failures() {
                ensure!(failure.factory == path_of(path), "{failure} is in the report of {path}");
                let text = format!("{:#}", failure.error);
                ensure!(
                    !text.contains("blocks its thread"),
                    "reported, but no daemon here blocks its thread: {failure}"
                );
                let is_of_child =
                    failure.daemon.starts_with("child ") || failure.daemon.starts_with("Supervised[");
                if !failure.error.is::<DeadlineExceeded>() || is_of_child {
                    continue;
                }
                let of_phase = |span: &&Span| {
                    label(&span.id) == failure.daemon && phase_of(span.activity) == failure.phase
                };
                let is_cut = |span: &Span| matches!(span.ends, Some((_, Ending::Cancelled)));
                let cut = self.spans_in(path).filter(of_phase).any(is_cut);
                // One that was restarted by request may have been told so before the first poll of its run.
                let of_part =
                    |(id, _): &(&PartId, &Part)| *id.factory == **path && label(id) == failure.daemon;
                if self.parts.iter().filter(of_part).any(|(_, part)| !part.commanded.is_empty()) {
                    continue;
                }
                // It may have been aborted before its first poll.
                let unpolled =
                    failure.phase == Phase::Task || self.spans_in(path).filter(of_phase).count() == 0;
                ensure!(cut || unpolled, "{failure}: reported, but no such future was aborted");
            }
        }
        Ok(())
    }

    fn aborted_futures_are_reported(&self) -> Result {
        for span in &self.spans {
            let Some((_, Ending::Cancelled)) = span.ends else { continue };
            let Some(factory) = self.factories.get(&span.id.factory) else { continue };
            let Some((_, report)) = factory.report() else { continue };
            let is_reported = failures_of(report, &span.id).any(|failure| {
                failure.error.is::<DeadlineExceeded>() && failure.phase == phase_of(span.activity)
                    || is_aborted_before_stop_request(failure)
            });
            let start_failed = span.activity == Activity::Prepare && factory.started.is_none();
            ensure!(
                is_reported || start_failed,
                "{:?} of {:?} was aborted but not reported",
                span.activity,
                span.id
            );
        }
        Ok(())
    }

    /// Whether a daemon made the factory, and its parent was stopping when the factory ended at `end`: the parent, or a
    /// factory above it, was asked to stop, had a failure before, which may be that of a child that escalates, or a run of it
    /// had returned.
    fn ends_with_maker(&self, path: &str, end: usize) -> bool {
        if self.factories.get(path).is_none_or(|factory| matches!(factory.maker, Maker::Outside)) {
            return false;
        }
        let mut ancestors = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        ancestors.any(|ancestor| {
            let requested = self.factories.get(ancestor).and_then(|factory| factory.stop_requested);
            let below = format!("{ancestor}/");
            let failed = self.spans.iter().any(|span| {
                let factory = &*span.id.factory;
                let is_of_ancestor = factory == ancestor || factory != path && factory.starts_with(&below);
                let begins_stop = span.activity == Activity::Stop && span.begins < end;
                is_of_ancestor
                    && (begins_stop && factory == ancestor
                        || matches!(span.ends, Some((at, Ending::Failed(_) | Ending::Cancelled)) if at < end)
                        || span.ends.is_some_and(|(at, _)| at < end) && self.has_returned(span))
            });
            failed || requested.is_some_and(|at| at < end)
        })
    }

    fn retained_daemons_are_reported(&self) -> Result {
        for (id, part) in &self.parts {
            let Some((end, report)) = self.factories.get(&id.factory).and_then(Factory::report) else {
                continue;
            };
            let is_kept = part.dropped.is_none_or(|dropped| dropped > end);
            let is_named = report.retained().iter().any(|retained| retained.daemon == label(id));
            // A child that a daemon made and that ends with its parent is not blamed for the handle that daemon still holds.
            ensure!(
                !is_kept || is_named || report.held() > 0 || self.ends_with_maker(&id.factory, end),
                "{id:?} outlives its factory but is not reported"
            );
            // Retained by a leaked ref, by a retained part, or by a child whose handle is still held.
            let leaked = self.parts.values().any(|part| part.leaks.contains(&id));
            // Or by a part of a child that was rejected too late, and dropped at the same instant.
            let outlasts = |other: &PartId, dropped: usize| {
                dropped > end || (other.factory != id.factory && self.at(dropped) == self.at(end))
            };
            let needed =
                self.dependents(id).any(|(other, part)| part.dropped.is_some_and(|at| outlasts(other, at)));
            let is_held = |(path, factory): (&Arc<str>, &Factory)| {
                path.starts_with(&*id.factory) && factory.end.is_some_and(|(_, report)| report.held() > 0)
            };
            let held = self.factories.iter().any(is_held);
            // Or by a child that ended with it, whose maker still held the handle: no report names that.
            let below = format!("{}/", id.factory);
            let unnamed = self.factories.iter().any(|(path, factory)| {
                path.starts_with(&below)
                    && factory.end.is_some_and(|(end, _)| self.ends_with_maker(path, end))
            });
            ensure!(
                !is_named || leaked || needed || held || unnamed,
                "{id:?} is reported as retained but is not"
            );
        }
        Ok(())
    }

    fn ends_have_causes(&self) -> Result {
        for (path, factory) in &self.factories {
            let (Some((end, _)), Some(_)) = (factory.report(), factory.started) else { continue };
            // Only the root: a child also ends with its creator, a shared daemon, its parent or its handle.
            if path.contains('/') {
                continue;
            }
            let failed = self.spans_in(path).any(|span| {
                let policy = self.parts[&span.id].script.policy;
                let fatal = policy.on_failure != OnFailure::LeaveDown;
                let has_failed = matches!(span.activity, Activity::Run(_))
                    && matches!(span.ends, Some((_, Ending::Failed(_))));
                fatal && has_failed || policy.on_finish != OnFinish::Stay && self.has_returned(span)
            });
            // Every daemon has finished, or is down after a failure.
            let mut parts = self.parts.iter().filter(|(id, _)| id.factory == *path);
            let has_finished = !factory.plan.remains
                && parts.all(|(_, part)| {
                    let run =
                        self.spans_of(part).filter(|span| matches!(span.activity, Activity::Run(_))).last();
                    run.is_some_and(|run| {
                        self.has_returned(run) || matches!(run.ends, Some((_, Ending::Failed(_))))
                    })
                });
            let stop_requested = factory.stop_requested.is_some_and(|stop_requested| stop_requested < end);
            // A child whose start was dropped may still have started, and ended unobserved.
            let may_escalate =
                |factory: &Factory| factory.escalates && (factory.end.is_some() || factory.started.is_none());
            let escalated = self.factories.values().any(may_escalate);
            let by_supervised = self.supervised_may_stop(path, end);
            ensure!(
                stop_requested || failed || escalated || has_finished || by_supervised,
                "{path} ended without a cause"
            );
        }
        Ok(())
    }

    fn children_escalate(&self) -> Result {
        for (path, factory) in &self.factories {
            let Some((parent, _)) = path.rsplit_once('/') else { continue };
            let (Some((_, report)), Some(_)) = (factory.report(), factory.started) else { continue };
            let Some((_, above)) = self.factories.get(parent).and_then(Factory::report) else { continue };
            let name = format!("child {}", path_of(path));
            let mut reported = above.failures().iter().filter(|failure| failure.daemon == name);
            let escalated = reported.any(|failure| failure.phase == Phase::Run);
            let wants = factory.escalates && !report.is_clean();
            let was_given_up = above.failures().iter().any(|failure| failure.daemon == name);
            ensure!(
                escalated == wants || (wants && was_given_up),
                "{path} must escalate: {wants}; escalated: {escalated}"
            );
        }
        Ok(())
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let reports = || self.factories.values().filter_map(Factory::report).map(|(_, report)| report);
        let restarts = reports().flat_map(|report| report.restarted()).map(|restarted| restarted.times).sum();
        let failures = reports().map(|report| report.failures().len() as u64).sum();
        let deadline_exceeded = reports().map(|report| report.deadline_exceeded().count() as u64).sum();
        let cancelled =
            self.spans.iter().filter(|span| matches!(span.ends, Some((_, Ending::Cancelled)))).count() as u64;
        vec![
            ("factories", self.factories.len() as u64),
            ("daemons", self.parts.len() as u64),
            ("phases and tasks", self.spans.len() as u64),
            ("futures cut short", cancelled),
            ("failures reported", failures),
            ("overstayers", deadline_exceeded),
            ("restarts", restarts),
            ("supervised children built anew", self.rebuilds()),
        ]
    }
}

/// Within which time of its beginning a stop with this deadline ends.
fn ends_within(deadline: Duration) -> Duration {
    Deadlines::ends_within(deadline).unwrap_or(Duration::MAX)
}

/// The backoff before a restart after such an end; `None` if the policy restarts it not.
fn backoff_after(policy: &Policy, ending: Ending) -> Option<Backoff> {
    match (ending, policy.on_failure, policy.on_finish) {
        (Ending::Failed(_), OnFailure::Restart(backoff), _) => Some(backoff),
        (Ending::Succeeded, _, OnFinish::Restart(backoff)) => Some(backoff),
        _ => None,
    }
}

/// The name of the daemon that supervises a child.
fn supervisor_label(child: &str) -> String {
    format!("Supervised[{child}]")
}

fn label(id: &PartId) -> String {
    format!("Part<{}>", id.part)
}

fn phase_of(activity: Activity) -> Phase {
    match activity {
        Activity::Prepare => Phase::Prepare,
        Activity::Run(_) => Phase::Run,
        Activity::Stop => Phase::Stop,
        Activity::Task(_) => Phase::Task,
    }
}

fn failures_of<'a>(report: &'a Report, id: &PartId) -> impl Iterator<Item = &'a Failure> {
    let label = label(id);
    report.failures().iter().filter(move |failure| failure.daemon == label)
}

fn is_aborted_before_stop_request(failure: &Failure) -> bool {
    failure.error.to_string().starts_with("was aborted without being told")
}
