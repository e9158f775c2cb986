//! The rules of children that are built anew: each generation of one is a factory of its own in the trace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Backoff, OnFailure, OnFinish, Policy, Result, State};

use super::super::plan::{Command, FactoryPlan, SupervisedPlan};
use super::super::trace::{Activity, Ending, path_of, plan_name};
use super::{Factory, History, supervisor_label};

/// The generations of one supervised child, of one generation of its parent.
struct Lineage<'a> {
    parent: &'a str,
    plan: &'a SupervisedPlan,
    /// In order of their beginning.
    generations: Vec<Generation<'a>>,
}

struct Generation<'a> {
    place: &'a Arc<str>,
    factory: &'a Factory<'a>,
    /// Its end, or that of its last phase or task so far, and whether it was without a failure, if that is known.
    end: usize,
    is_clean: Option<bool>,
}

impl Generation<'_> {
    /// Whether it ended without a failure: both, if that is not known.
    fn possible_ends(&self) -> impl Iterator<Item = bool> {
        let is_clean = self.is_clean;
        [true, false].into_iter().filter(move |either| is_clean.is_none_or(|is_clean| is_clean == *either))
    }
}

impl Lineage<'_> {
    fn name(&self) -> &str {
        &self.plan.factory.name
    }

    /// The backoff before it is built anew after such an end; `None` if its policy does not.
    fn backoff_after(&self, is_clean: bool) -> Option<Backoff> {
        let Policy { on_failure, on_finish, .. } = self.plan.policy;
        match (is_clean, on_failure, on_finish) {
            (true, _, OnFinish::Restart(backoff)) | (false, OnFailure::Restart(backoff), _) => Some(backoff),
            _ => None,
        }
    }

    /// Whether its parent stops after such an end, however rare it is.
    fn stops_parent_after(&self, is_clean: bool) -> bool {
        let Policy { on_failure, on_finish, .. } = self.plan.policy;
        match is_clean {
            true => on_finish == OnFinish::StopFactory,
            false => on_failure == OnFailure::StopFactory,
        }
    }
}

// The rules.
impl History<'_> {
    pub(super) fn supervised_are_rebuilt_by_policy(&self) -> Result {
        for lineage in self.lineages() {
            let (parent, name) = (lineage.parent, lineage.name());
            let is_commanded = !self.commands_of(&lineage).is_empty();
            for (nth, pair) in lineage.generations.windows(2).enumerate() {
                let (former, next) = (&pair[0], &pair[1]);
                // Maybe before the first poll of what supervises it.
                let since = nth.checked_sub(1).map_or(0, |before| lineage.generations[before].factory.starts);
                let commands = self.commands_of(&lineage);
                let is_requested = commands.iter().any(|(index, command)| {
                    *command == Command::Restart && (since..next.factory.starts).contains(index)
                });
                if !is_requested {
                    let either = [true, false]
                        .into_iter()
                        .filter(|either| former.is_clean.is_none_or(|is| is == *either));
                    let backoff = either.filter_map(|is_clean| lineage.backoff_after(is_clean)).next();
                    let Some(backoff) = backoff else {
                        anyhow::bail!("{} was built against the policy of {name}", next.place);
                    };
                    ensure!(
                        self.at(next.factory.starts) - self.at(former.end) >= backoff.first / 2,
                        "{} was built before the backoff was over",
                        next.place
                    );
                }
                let stopped = self.stopping_since(parent);
                ensure!(
                    stopped.is_none_or(|stopped| stopped >= self.at(next.factory.starts)),
                    "{} was built after {parent} had begun to stop",
                    next.place
                );
            }
            if is_commanded {
                continue;
            }
            for (nth, generation) in lineage.generations.iter().enumerate() {
                self.is_rebuilt_in_time(&lineage, nth, generation)?;
            }
        }
        Ok(())
    }

    /// Only below the root, which tells when it begins to stop.
    fn is_rebuilt_in_time(&self, lineage: &Lineage, nth: usize, generation: &Generation) -> Result {
        let (place, next) = (generation.place, lineage.generations.get(nth + 1));
        let Some(is_clean) = generation.is_clean else { return Ok(()) };
        let is_over = |time| self.has_stopped_by(time);
        let runs = self.entered.iter().find(|(_, state)| *state == State::Running);
        let Some((runs, _)) = runs.filter(|_| lineage.parent == "root") else { return Ok(()) };
        // What ends before its parent runs is looked at then.
        let runs = self.at(*runs);
        let end = self.at(generation.end).max(runs);
        let backoff = lineage.backoff_after(is_clean);
        if let Some(backoff) = backoff {
            let before = lineage.generations[..nth].iter().rev();
            let ends = before.map(|former| self.at(former.end).max(runs));
            let recent = ends.take_while(|former| end.saturating_sub(*former) < backoff.window).count();
            ensure!(
                next.is_none() || recent < backoff.restarts as usize,
                "{place} was built anew although its limit was reached"
            );
            if recent < backoff.restarts as usize {
                let due = end + backoff.longest;
                let is_built = next.is_some_and(|next| self.at(next.factory.starts) <= due);
                ensure!(
                    is_built || is_over(due),
                    "{place} ended at {end:?}, and was not built anew by {due:?}"
                );
                return Ok(());
            }
        }
        if backoff.is_some() || lineage.stops_parent_after(is_clean) {
            ensure!(is_over(end), "{place} ended at {end:?}, and its parent did not stop");
        }
        Ok(())
    }

    pub(super) fn supervised_end_before_they_are_rebuilt(&self) -> Result {
        for lineage in self.lineages() {
            for pair in lineage.generations.windows(2) {
                let (former, next) = (&pair[0], &pair[1]);
                let below = format!("{}/", former.place);
                let is_of_former =
                    |factory: &Arc<str>| factory == former.place || factory.starts_with(&below);
                for span in self.spans.iter().filter(|span| is_of_former(&span.id.factory)) {
                    let has_ended = span.ends.is_some_and(|(index, _)| index < next.factory.starts);
                    ensure!(
                        has_ended,
                        "{} was built although {:?} of {:?} has not ended",
                        next.place,
                        span.activity,
                        span.id
                    );
                }
                let report = former.factory.report().map(|(_, report)| report);
                let may_be_kept =
                    report.is_none_or(|report| report.held() > 0 || !report.retained().is_empty());
                for (id, part) in self.parts.iter().filter(|(id, _)| id.factory == *former.place) {
                    let is_dropped = part.dropped.is_some_and(|index| index < next.factory.starts);
                    ensure!(
                        is_dropped || may_be_kept,
                        "{} was built although {id:?} is in memory",
                        next.place
                    );
                }
            }
        }
        Ok(())
    }

    pub(super) fn stopped_children_stay_down(&self) -> Result {
        for lineage in self.lineages().into_iter().filter(|lineage| lineage.parent == "root") {
            let stopped = self.stopped_children.iter().find(|(_, child)| *child == lineage.name());
            let Some((stopped, _)) = stopped else { continue };
            let commands = self.commands_of(&lineage);
            for next in lineage.generations.iter().filter(|next| next.factory.starts > *stopped) {
                let mut before = commands.iter().filter(|(index, _)| *index < next.factory.starts);
                let is_requested = before.any(|(_, command)| *command == Command::Restart);
                ensure!(is_requested, "{} was built after {} had been stopped", next.place, lineage.name());
            }
        }
        Ok(())
    }

    pub(super) fn supervised_start_with_their_parent(&self) -> Result {
        for run in self.spans.iter().filter(|span| matches!(span.activity, Activity::Run(_))) {
            let Some(parent) = self.factories.get(&run.id.factory) else { continue };
            for child in &parent.plan.supervised {
                let place = format!("{}/{}~1", run.id.factory, child.factory.name);
                ensure!(self.factories.contains_key(&*place), "{:?} runs, but {place} was not built", run.id);
                for (id, part) in self.parts.iter().filter(|(id, _)| *id.factory == *place) {
                    ensure!(
                        self.prepared(part).is_some_and(|prepared| prepared < run.begins),
                        "{:?} runs although {id:?} is not prepared",
                        run.id
                    );
                }
            }
        }
        Ok(())
    }

    /// Only below the root. What fails elsewhere, or is built anew there, is no cause.
    pub(super) fn supervised_end_for_themselves(&self) -> Result {
        for lineage in self.lineages().into_iter().filter(|lineage| lineage.parent == "root") {
            for generation in &lineage.generations {
                let (place, factory) = (generation.place, generation.factory);
                let (Some((end, _)), Some(_)) = (factory.report(), factory.started) else { continue };
                let below = format!("{place}/");
                let is_told = factory.stop_requested.is_some_and(|index| index < end)
                    || self.commands_of(&lineage).iter().any(|(index, _)| *index < end)
                    // Of a daemon that it may depend on.
                    || self.parts.values().any(|part| part.commanded.iter().any(|index| *index < end));
                let is_over = self.entered.is_empty() || self.has_stopped_by(self.at(end));
                let has_failed = self.spans_in(place).any(|span| {
                    matches!(span.ends, Some((_, Ending::Failed(_) | Ending::Cancelled)))
                        || self.has_returned(span)
                });
                let mut others = self.factories.iter().filter(|(other, _)| other.starts_with(&below));
                let is_by_child = others.any(|(_, other)| other.escalates || other.is_supervised());
                // Nothing runs in it, so that it has finished.
                let is_empty = self.parts.keys().all(|id| id.factory != *place);
                ensure!(
                    is_told || is_over || has_failed || is_by_child || is_empty,
                    "{place} ended without a cause of its own"
                );
            }
        }
        Ok(())
    }

    pub(super) fn supervised_failures_are_passed_on(&self) -> Result {
        for lineage in self.lineages() {
            let Some((_, report)) = self.factories.get(lineage.parent).and_then(Factory::report) else {
                continue;
            };
            let supervisor = supervisor_label(lineage.name());
            for generation in &lineage.generations {
                let report_of_child = generation.factory.report().map(|(_, report)| report);
                let has_failed = generation.factory.recipe_failed.is_some()
                    || report_of_child.is_some_and(|report| !report.is_clean());
                let child = format!("child {}", path_of(generation.place));
                let mut failures = report.failures().iter();
                let is_reported = failures
                    .any(|failure| failure.daemon == supervisor || failure.daemon == child)
                    || report.restarted().iter().any(|restarted| restarted.daemon == supervisor);
                ensure!(
                    !has_failed || is_reported,
                    "{} failed, but the report of {} does not say so",
                    generation.place,
                    lineage.parent
                );
            }
        }
        Ok(())
    }
}

impl History<'_> {
    /// How often a supervised child was built anew.
    pub(super) fn rebuilds(&self) -> u64 {
        self.lineages().iter().map(|lineage| lineage.generations.len() as u64 - 1).sum()
    }

    /// Whether the end of a supervised child may have stopped this factory before `end`.
    pub(super) fn supervised_may_stop(&self, factory: &str, end: usize) -> bool {
        let lineages = self.lineages().into_iter().filter(|lineage| lineage.parent == factory);
        lineages.into_iter().any(|lineage| {
            let stays = |is_clean: bool| {
                lineage.backoff_after(is_clean).is_none() && !lineage.stops_parent_after(is_clean)
            };
            let last = lineage.generations.last();
            last.is_some_and(|last| last.end < end && !last.possible_ends().all(stays))
        })
    }

    /// The policy of a supervised child.
    pub(super) fn policy_of(&self, place: &str) -> Option<Policy> {
        let (parent, _) = place.rsplit_once('/')?;
        supervised_plan(self.factories.get(parent)?.plan, plan_name(place)).map(|plan| plan.policy)
    }

    fn lineages(&self) -> Vec<Lineage<'_>> {
        let mut lineages: BTreeMap<_, Lineage> = BTreeMap::new();
        let mut supervised: Vec<_> =
            self.factories.iter().filter(|(_, factory)| factory.is_supervised()).collect();
        supervised.sort_by_key(|(_, factory)| factory.starts);
        for (place, factory) in supervised {
            let Some((parent, _)) = place.rsplit_once('/') else { continue };
            let Some(plan) =
                self.factories.get(parent).and_then(|parent| supervised_plan(parent.plan, plan_name(place)))
            else {
                continue;
            };
            let (end, is_clean) = self.end_of(place, factory);
            let generation = Generation { place, factory, end, is_clean };
            let lineage = lineages.entry((parent, plan_name(place)));
            lineage
                .or_insert_with(|| Lineage { parent, plan, generations: Vec::new() })
                .generations
                .push(generation);
        }
        lineages.into_values().collect()
    }

    /// The end of a generation, and whether it was without a failure, if that is known.
    fn end_of(&self, place: &Arc<str>, factory: &Factory) -> (usize, Option<bool>) {
        if let Some((end, report)) = factory.report() {
            return (end, Some(report.is_clean()));
        }
        let ends = self.spans_in(place).filter_map(|span| span.ends).map(|(index, _)| index);
        let end = ends.max().unwrap_or(factory.starts);
        (end, factory.recipe_failed.map(|_| false))
    }

    /// The commands on a supervised child.
    fn commands_of(&self, lineage: &Lineage) -> Vec<(usize, Command)> {
        let of_child = self.child_commands.iter().filter(|(_, child, _)| *child == lineage.name());
        match lineage.parent {
            "root" => of_child.map(|(index, _, command)| (*index, *command)).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the root had begun to stop by then, or had gone.
    fn has_stopped_by(&self, time: Duration) -> bool {
        let root = self.factories.get("root");
        self.stopping_since("root").is_some_and(|at| at <= time)
            || root.and_then(|root| root.end).is_some_and(|(index, _)| self.at(index) <= time)
            || self.machine_ended.is_some_and(|index| self.at(index) <= time)
    }

    /// When a factory began to stop, as far as the trace shows it.
    fn stopping_since(&self, factory: &str) -> Option<Duration> {
        let is_stop = |state: &State| matches!(state, State::Stopping | State::Ended);
        let entered = self.entered.iter().filter(|(_, state)| factory == "root" && is_stop(state));
        let stops = self.spans_in(factory).filter(|span| span.activity == Activity::Stop);
        let began = entered.map(|(index, _)| *index).chain(stops.map(|span| span.begins)).min();
        began.map(|index| self.at(index))
    }
}

fn supervised_plan<'a>(parent: &'a FactoryPlan, name: &str) -> Option<&'a SupervisedPlan> {
    parent.supervised.iter().find(|child| child.factory.name == name)
}
