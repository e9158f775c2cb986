//! What must hold of a trace, whatever was drawn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use steelmill_core::{Abandoned, DeadlineExceeded, Failure, OnFailure, Phase, Policy, Report, Result};

use super::plan::{End, FactoryPlan, Plan, Script};
use super::trace::{Doing, Happened, How, Trace, Who};

/// What aborting takes at most, on top of deadlines: a tenth of a second, as often as a stop has rounds, and some for
/// those that have a limit of their own.
const ABORTING: Duration = Duration::from_millis(500);

/// Checks every rule. Gives what there was of interest, and how often.
pub(crate) fn check(plan: &Plan, trace: &Trace) -> Result<Vec<(&'static str, u64)>> {
    let known = Known::read(plan, trace)?;
    known.what_can_be_built_is_built().context("daemons are built, or shared with an ancestor")?;
    known.built_and_prepared_in_order().context("dependencies are built and prepared first")?;
    known.prepared_at_once().context("independent daemons prepare at the same time, until one fails")?;
    known.run_when_all_are_prepared().context("run begins when all are prepared")?;
    known.told_after_dependents().context("a daemon is told after all that depends on it has ended")?;
    known.told_at_once().context("independent daemons are told to stop at the same time")?;
    known.each_phase_once().context("each phase happens once")?;
    known.run_again_as_the_policy_says().context("a run is called again as its policy says")?;
    known.nothing_outlives_its_factory().context("nothing outlives its owner")?;
    known.nothing_happens_on_a_dead_machine().context("nothing happens on a machine that is gone")?;
    known.deadlines_are_granted().context("nothing is aborted before its time")?;
    known.deadlines_are_kept().context("deadlines are kept")?;
    known.all_errors_are_reported().context("all errors are reported, in order")?;
    known.nothing_is_made_up().context("what is reported has happened")?;
    known.what_was_cut_is_named().context("what is aborted is named")?;
    known.refs_are_named().context("what is kept is named")?;
    known.ends_have_causes().context("a factory ends for a reason")?;
    known.children_escalate().context("a child's failure is its own unless it escalates")?;
    Ok(known.counts())
}

/// The trace, sorted by whom it is about. Places are those in the trace.
struct Known<'a> {
    trace: &'a Trace,
    spans: Vec<Span>,
    parts: BTreeMap<Who, Part<'a>>,
    factories: BTreeMap<Arc<str>, Factory<'a>>,
    machine_gone: Option<usize>,
}

struct Span {
    who: Who,
    doing: Doing,
    begins: usize,
    ends: Option<(usize, How)>,
}

struct Part<'a> {
    script: &'a Script,
    built: usize,
    needs: &'a [Who],
    leaks: Vec<&'a Who>,
    dropped: Option<usize>,
    /// Places in the list of all.
    spans: Vec<usize>,
}

struct Factory<'a> {
    plan: &'a FactoryPlan,
    maker: Option<&'a (Who, u32)>,
    escalates: bool,
    starts: usize,
    started: Option<usize>,
    /// The end, or that of its start; with the report.
    end: Option<(usize, &'a Report)>,
    asked: Option<usize>,
}

impl Factory<'_> {
    /// Its report, unless it went away with its machine.
    fn report(&self) -> Option<(usize, &Report)> {
        self.end
            .filter(|(_, report)| !report.failures().iter().any(|failure| failure.error.is::<Abandoned>()))
    }
}

impl<'a> Known<'a> {
    fn read(plan: &'a Plan, trace: &'a Trace) -> Result<Self> {
        let plans: BTreeMap<&str, &FactoryPlan> =
            plan.factories().into_iter().map(|factory| (factory.name.as_str(), factory)).collect();
        let plan_of = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
            *plans.get(name).expect("only what was planned is made")
        };
        let mut known = Known {
            trace,
            spans: Vec::new(),
            parts: BTreeMap::new(),
            factories: BTreeMap::new(),
            machine_gone: None,
        };
        let mut open = BTreeMap::new();
        for (place, event) in trace.0.iter().enumerate() {
            let who = || Who { factory: event.factory.clone(), part: event.part.unwrap_or_default() };
            match &event.what {
                Happened::Built { needs } => {
                    let script = &plan_of(&event.factory).parts[&who().part];
                    let part = Part {
                        script,
                        built: place,
                        needs,
                        leaks: Vec::new(),
                        dropped: None,
                        spans: Vec::new(),
                    };
                    ensure!(known.parts.insert(who(), part).is_none(), "{:?} is built twice", who());
                }
                Happened::Begins { doing, span } => {
                    open.insert(*span, known.spans.len());
                    known.part(&who())?.spans.push(open[span]);
                    known.spans.push(Span { who: who(), doing: *doing, begins: place, ends: None });
                }
                Happened::Ends { span, how } => known.spans[open[span]].ends = Some((place, *how)),
                Happened::Leaks(whom) => known.part(&who())?.leaks.push(whom),
                Happened::Dropped => known.part(&who())?.dropped = Some(place),
                Happened::Starts { maker, escalates } => {
                    let factory = Factory {
                        plan: plan_of(&event.factory),
                        maker: maker.as_ref(),
                        escalates: *escalates,
                        starts: place,
                        started: None,
                        end: None,
                        asked: None,
                    };
                    known.factories.insert(event.factory.clone(), factory);
                }
                Happened::Started => known.factory(&event.factory)?.started = Some(place),
                Happened::DidNotStart(report) | Happened::Ended(report) => {
                    known.factory(&event.factory)?.end = Some((place, report));
                }
                Happened::StopAsked => {
                    known.factory(&event.factory)?.asked.get_or_insert(place);
                }
                Happened::MachineGone => known.machine_gone = Some(place),
            }
        }
        Ok(known)
    }

    fn part(&mut self, who: &Who) -> Result<&mut Part<'a>> {
        self.parts.get_mut(who).with_context(|| format!("{who:?} was never built"))
    }

    fn factory(&mut self, path: &str) -> Result<&mut Factory<'a>> {
        self.factories.get_mut(path).with_context(|| format!("{path} was never started"))
    }

    fn spans_of(&self, part: &'a Part) -> impl Iterator<Item = &Span> {
        part.spans.iter().map(|span| &self.spans[*span])
    }

    fn spans_in(&self, factory: &str) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| &*span.who.factory == factory)
    }

    /// Where a part was prepared.
    fn prepared(&self, part: &'a Part) -> Option<usize> {
        let prepare = self.spans_of(part).find(|span| span.doing == Doing::Prepare)?;
        prepare.ends.and_then(|(place, how)| (how == How::Well).then_some(place))
    }

    fn at(&self, place: usize) -> Duration {
        self.trace.0[place].at
    }

    /// The parts that need this one, of its own factory or below.
    fn dependents(&self, who: &'a Who) -> impl Iterator<Item = (&Who, &Part<'a>)> {
        self.parts.iter().filter(move |(_, part)| part.needs.contains(who))
    }

    /// The factories made by a part, and all below them.
    fn made_by(&self, who: &Who, run: Option<u32>) -> impl Iterator<Item = &Arc<str>> {
        let made = self.factories.iter().filter(move |(_, factory)| {
            factory.maker.is_some_and(|(maker, in_run)| maker == who && run.is_none_or(|run| run == *in_run))
        });
        made.flat_map(|(made, _)| {
            let below = format!("{made}/");
            self.factories.keys().filter(move |path| *path == made || path.starts_with(&below))
        })
    }
}

// The rules.
impl Known<'_> {
    fn what_can_be_built_is_built(&self) -> Result {
        for (path, factory) in &self.factories {
            let is_there = |number: usize| {
                let mut above = self.parts.keys().filter(|who| who.part == number);
                above.any(|who| who.factory == *path || path.starts_with(&format!("{}/", who.factory)))
            };
            for (number, script) in &factory.plan.parts {
                let can = script.build == End::Well && script.needs.iter().all(|need| is_there(*need));
                let who = Who { factory: path.clone(), part: *number };
                ensure!(!can || self.parts.contains_key(&who), "{who:?} could have been built");
            }
        }
        Ok(())
    }

    fn built_and_prepared_in_order(&self) -> Result {
        for (who, part) in &self.parts {
            for need in part.needs {
                let needed =
                    self.parts.get(need).with_context(|| format!("{who:?} has {need:?}, never built"))?;
                ensure!(needed.built < part.built, "{who:?} was built before {need:?}");
                if let Some(prepare) = self.spans_of(part).find(|span| span.doing == Doing::Prepare) {
                    let prepared = self.prepared(needed);
                    ensure!(
                        prepared.is_some_and(|prepared| prepared < prepare.begins),
                        "{who:?} prepares before {need:?} is prepared"
                    );
                }
            }
        }
        Ok(())
    }

    fn prepared_at_once(&self) -> Result {
        for path in self.factories.keys() {
            let prepares = || self.spans_in(path).filter(|span| span.doing == Doing::Prepare);
            let Some(first) = prepares().map(|span| self.at(span.begins)).min() else { continue };
            for span in prepares() {
                let needs = self.parts[&span.who].needs.iter();
                let due =
                    needs.filter_map(|need| self.prepared(&self.parts[need])).map(|place| self.at(place));
                let due = due.chain([first]).max().unwrap_or(first);
                ensure!(self.at(span.begins) == due, "{:?} could have prepared at {due:?}", span.who);
            }
            let failed = prepares().filter_map(|span| match span.ends {
                Some((place, How::Failed(_))) => Some(place),
                _ => None,
            });
            if let Some(failed) = failed.min() {
                let mut ends = prepares().filter_map(|span| span.ends);
                let is_over = ends.all(|(place, _)| self.at(place) <= self.at(failed));
                ensure!(is_over, "{path} goes on to prepare after {failed}");
            }
        }
        Ok(())
    }

    fn run_when_all_are_prepared(&self) -> Result {
        for span in self.spans.iter().filter(|span| matches!(span.doing, Doing::Run(_))) {
            let siblings = self.parts.iter().filter(|(who, _)| who.factory == span.who.factory);
            for (sibling, part) in siblings {
                ensure!(
                    self.prepared(part).is_some_and(|prepared| prepared < span.begins),
                    "{:?} runs and {sibling:?} is not prepared",
                    span.who
                );
            }
        }
        Ok(())
    }

    fn told_after_dependents(&self) -> Result {
        for stop in self.spans.iter().filter(|span| span.doing == Doing::Stop) {
            for (dependent, part) in self.dependents(&stop.who) {
                for span in self.spans_of(part) {
                    let has_ended = span.ends.is_some_and(|(place, _)| place < stop.begins);
                    ensure!(
                        has_ended,
                        "{:?} stops, and {:?} of {dependent:?} has not ended",
                        stop.who,
                        span.doing
                    );
                }
            }
            for child in self.made_by(&stop.who, None) {
                for span in self.spans_in(child) {
                    let has_ended = span.ends.is_some_and(|(place, _)| place < stop.begins);
                    ensure!(
                        has_ended,
                        "{:?} stops, and {:?} of {:?} has not ended",
                        stop.who,
                        span.doing,
                        span.who
                    );
                }
            }
        }
        Ok(())
    }

    fn told_at_once(&self) -> Result {
        for path in self.factories.keys() {
            // A child shares what it was handed, even when what asked for it could not be built.
            let may_be_shared = |number: usize| {
                let below = self.factories.iter().filter(|(child, _)| child.starts_with(&format!("{path}/")));
                let mut scripts = below.flat_map(|(_, child)| child.plan.parts.values());
                scripts.any(|script| script.needs.contains(&number))
            };
            // Those that nobody has to wait for, and that have not failed before.
            let is_free = |span: &&Span| {
                let part = &self.parts[&span.who];
                span.doing == Doing::Stop
                    && part.script.policy == Policy::default()
                    && self.dependents(&span.who).next().is_none()
                    && !may_be_shared(span.who.part)
                    && self.made_by(&span.who, None).next().is_none()
            };
            let begins: Vec<_> =
                self.spans_in(path).filter(is_free).map(|span| self.at(span.begins)).collect();
            ensure!(begins.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {begins:?}");
        }
        Ok(())
    }

    fn each_phase_once(&self) -> Result {
        for (who, part) in &self.parts {
            let count = |doing| self.spans_of(part).filter(|span| span.doing == doing).count();
            let (prepares, stops) = (count(Doing::Prepare), count(Doing::Stop));
            ensure!(prepares <= 1 && stops <= 1, "{who:?} prepares {prepares} and stops {stops} times");
            ensure!(stops == 0 || self.prepared(part).is_some(), "{who:?} is stopped and was not prepared");
            let Some((_, report)) = self.factories.get(&who.factory).and_then(Factory::report) else {
                continue;
            };
            let was_aborted = failures_of(report, who).any(|failure| {
                // With no time at all, a stop is aborted before it is polled.
                let is_phase = matches!(failure.phase, Phase::Prepare | Phase::Stop);
                failure.error.is::<DeadlineExceeded>() && is_phase || is_not_told(failure)
            });
            ensure!(
                stops == 1 || self.prepared(part).is_none() || was_aborted,
                "{who:?} was prepared and is not stopped"
            );
        }
        Ok(())
    }

    fn run_again_as_the_policy_says(&self) -> Result {
        for (who, part) in &self.parts {
            let runs: Vec<_> =
                self.spans_of(part).filter(|span| matches!(span.doing, Doing::Run(_))).collect();
            for pair in runs.windows(2) {
                let (first, next) = (pair[0], pair[1]);
                let OnFailure::Restart(backoff) = part.script.policy.on_failure else {
                    anyhow::bail!("{who:?} runs again, and is not to");
                };
                let Some((end, How::Failed(_))) = first.ends else {
                    anyhow::bail!("{who:?} runs again, and its last run has not failed");
                };
                ensure!(
                    self.at(next.begins) - self.at(end) >= backoff.first / 2,
                    "{who:?} runs again too soon"
                );
                let left = self.spans_of(part).filter(|span| matches!(span.doing, Doing::Task(_)));
                let Doing::Run(run) = first.doing else { unreachable!("only runs are in the list") };
                let made = self.made_by(who, Some(run)).flat_map(|child| self.spans_in(child));
                for span in left.filter(|span| span.begins < next.begins).chain(made) {
                    let has_ended = span.ends.is_some_and(|(place, _)| place < next.begins);
                    ensure!(
                        has_ended,
                        "{who:?} runs again, and {:?} of {:?} has not ended",
                        span.doing,
                        span.who
                    );
                }
            }
            if let OnFailure::Restart(backoff) = part.script.policy.on_failure {
                // A failure that was followed by a run was a restart; so many of them are further apart than the window.
                let restarts: Vec<_> =
                    runs.windows(2).filter_map(|pair| Some(self.at(pair[0].ends?.0))).collect();
                let most = backoff.restarts as usize;
                for window in restarts.windows(most + 1) {
                    ensure!(window[most] - window[0] >= backoff.window, "{who:?} runs again too often");
                }
            }
        }
        Ok(())
    }

    fn nothing_outlives_its_factory(&self) -> Result {
        for span in &self.spans {
            ensure!(span.ends.is_some(), "{:?} of {:?} never ends", span.doing, span.who);
        }
        for (path, factory) in &self.factories {
            let Some((end, _)) = factory.end else { continue };
            for span in self.spans_in(path) {
                let has_ended = span.ends.is_some_and(|(place, _)| place < end);
                ensure!(has_ended, "{path} ends, and {:?} of {:?} has not", span.doing, span.who);
            }
        }
        for (who, part) in &self.parts {
            ensure!(part.dropped.is_some(), "{who:?} is never dropped");
        }
        Ok(())
    }

    fn nothing_happens_on_a_dead_machine(&self) -> Result {
        let Some(gone) = self.machine_gone else { return Ok(()) };
        for span in &self.spans {
            ensure!(span.begins < gone, "{:?} begins {:?}", span.who, span.doing);
            let has_been_cut = span.ends.is_some_and(|(place, how)| place < gone || how == How::Cut);
            ensure!(has_been_cut, "{:?} ends {:?}", span.who, span.doing);
        }
        Ok(())
    }

    /// Of the root: whoever aborts a child has a deadline, too.
    fn deadlines_are_granted(&self) -> Result {
        let Some(root) = self.factories.get("root") else { return Ok(()) };
        let (Some((end, report)), deadlines) = (root.report(), &root.plan.deadlines) else { return Ok(()) };
        let limit = if root.started.is_some() { deadlines.stop } else { deadlines.rollback };
        let whose = |span: &&Span| self.parts[&span.who].script.policy.stop.is_none();
        let mut cut = self.spans_in("root").filter(whose).filter_map(|span| match (span.doing, span.ends) {
            (Doing::Stop, Some((place, How::Cut))) => Some(self.at(place)),
            _ => None,
        });
        // The earliest that can have led to the stop. A child that escalates may end at any time.
        let failed = self.spans_in("root").filter_map(|span| match (span.doing, span.ends) {
            (Doing::Prepare | Doing::Run(_), Some((place, How::Failed(_)))) => Some(place),
            _ => None,
        });
        let cause = failed.chain(root.asked).min().filter(|cause| *cause < end);
        let late = report.failures().iter().any(|failure| {
            failure.daemon.starts_with("child ")
                || failure.error.is::<DeadlineExceeded>() && failure.phase == Phase::Prepare
        });
        if let (Some(cause), false) = (cause, late) {
            let granted = self.at(cause) + limit;
            ensure!(cut.all(|cut| cut >= granted), "a stop was cut before {granted:?}");
        }
        Ok(())
    }

    fn deadlines_are_kept(&self) -> Result {
        for (path, factory) in &self.factories {
            let Some((end, _)) = factory.report() else { continue };
            let deadlines = &factory.plan.deadlines;
            let (cause, limit) = match factory.started {
                // It may have waited for its parent before it began.
                None if factory.maker.is_some() || path.contains('/') => continue,
                None => (factory.starts, deadlines.prepare + 2 * deadlines.rollback),
                Some(started) => {
                    let asked = factory.asked.map(|asked| asked.max(started));
                    let failed = self.spans_in(path).filter(|span| {
                        let policy = self.parts[&span.who].script.policy;
                        matches!(span.doing, Doing::Run(_)) && policy.on_failure == OnFailure::StopFactory
                    });
                    let failed = failed.filter_map(|span| match span.ends {
                        Some((place, How::Failed(_))) => Some(place.max(started)),
                        _ => None,
                    });
                    let Some(cause) = asked.into_iter().chain(failed).filter(|cause| *cause < end).min()
                    else {
                        continue;
                    };
                    (cause, 2 * deadlines.stop)
                }
            };
            let took = self.at(end) - self.at(cause);
            ensure!(took <= limit + ABORTING, "{path} takes {took:?} to end, where {limit:?} are granted");
        }
        self.parts.iter().try_for_each(|(who, part)| self.own_limits_are_kept(who, part))
    }

    fn own_limits_are_kept(&self, who: &Who, part: &Part) -> Result {
        let policy = &part.script.policy;
        let stop = self.spans_of(part).find(|span| span.doing == Doing::Stop);
        for span in self.spans_of(part) {
            let Some((end, _)) = span.ends else { continue };
            let (since, limit) = match (span.doing, stop) {
                (Doing::Prepare, _) => (span.begins, policy.prepare),
                (_, Some(stop)) => (stop.begins, policy.stop),
                (_, None) => continue,
            };
            if let Some(limit) = limit {
                let took = self.at(end).saturating_sub(self.at(since));
                ensure!(
                    took <= limit + ABORTING,
                    "{:?} of {who:?} takes {took:?}, limited to {limit:?}",
                    span.doing
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
                    Some((place, How::Failed(token))) => Some((place, span, format!("token {token};"))),
                    _ => None,
                })
                .collect();
            failed.sort_by_key(|(place, ..)| *place);
            let mut last = None;
            let mut restarts: BTreeMap<&Who, (u64, &str)> = BTreeMap::new();
            for (_, span, token) in &failed {
                let label = label(&span.who);
                let places: Vec<_> = (0..texts.len()).filter(|place| texts[*place].contains(token)).collect();
                match places[..] {
                    [place] => {
                        let failure = &report.failures()[place];
                        ensure!(failure.factory == **path && failure.daemon == label, "whose is {failure}?");
                        ensure!(failure.phase == phase(span.doing), "{failure} was {:?}", span.doing);
                        ensure!(last < Some(place), "{failure} is not told in its turn");
                        last = Some(place);
                    }
                    [] if matches!(span.doing, Doing::Run(_)) => {
                        let (times, last) = restarts.entry(&span.who).or_default();
                        (*times, *last) = (*times + 1, token);
                    }
                    [] => anyhow::bail!("{token} of {:?} is not told of", span.who),
                    _ => anyhow::bail!("{token} of {:?} is told of more than once", span.who),
                }
            }
            ensure!(
                restarts.len() == report.restarted().len(),
                "{path} tells of other restarts than there were"
            );
            for (who, (times, last)) in restarts {
                let told = report.restarted().iter().find(|told| told.daemon == label(who));
                let is_right =
                    told.is_some_and(|told| told.times == times && format!("{:#}", told.last).contains(last));
                ensure!(is_right, "{who:?} ran again {times} times, the last time after {last}");
            }
        }
        Ok(())
    }

    fn nothing_is_made_up(&self) -> Result {
        for (path, factory) in &self.factories {
            let Some((_, report)) = factory.report() else { continue };
            for failure in report.failures() {
                ensure!(failure.factory == **path, "{failure} stands in the report of {path}");
                let text = format!("{:#}", failure.error);
                ensure!(
                    !text.contains("blocks its thread"),
                    "nothing here blocks its thread, yet: {failure}"
                );
                if !failure.error.is::<DeadlineExceeded>() || failure.daemon.starts_with("child ") {
                    continue;
                }
                let of_phase =
                    |span: &&Span| label(&span.who) == failure.daemon && phase(span.doing) == failure.phase;
                let is_cut = |span: &Span| matches!(span.ends, Some((_, How::Cut)));
                let cut = self.spans_in(path).filter(of_phase).any(is_cut);
                // It may have been aborted before it was ever polled.
                let unpolled =
                    failure.phase == Phase::Task || self.spans_in(path).filter(of_phase).count() == 0;
                ensure!(cut || unpolled, "{failure}: it was not");
            }
        }
        Ok(())
    }

    fn what_was_cut_is_named(&self) -> Result {
        for span in &self.spans {
            let Some((_, How::Cut)) = span.ends else { continue };
            let Some(factory) = self.factories.get(&span.who.factory) else { continue };
            let Some((_, report)) = factory.report() else { continue };
            let was_told = failures_of(report, &span.who).any(|failure| {
                failure.error.is::<DeadlineExceeded>() && failure.phase == phase(span.doing)
                    || is_not_told(failure)
            });
            let start_failed = span.doing == Doing::Prepare && factory.started.is_none();
            ensure!(
                was_told || start_failed,
                "{:?} of {:?} was cut, and nobody says so",
                span.doing,
                span.who
            );
        }
        Ok(())
    }

    fn refs_are_named(&self) -> Result {
        for (who, part) in &self.parts {
            let Some((end, report)) = self.factories.get(&who.factory).and_then(Factory::report) else {
                continue;
            };
            let is_kept = part.dropped.is_none_or(|dropped| dropped > end);
            let is_named = report.retained().iter().any(|retained| retained.daemon == label(who));
            ensure!(
                !is_kept || is_named || report.held() > 0,
                "{who:?} outlives its factory, and nobody says so"
            );
            // Somebody outside, a part that somebody outside keeps, or a child whose handle somebody keeps.
            let leaked = self.parts.values().any(|part| part.leaks.contains(&who));
            // Or one of a child that came too late: it is gone in the same instant.
            let outlasts = |other: &Who, dropped: usize| {
                dropped > end || (other.factory != who.factory && self.at(dropped) == self.at(end))
            };
            let needed =
                self.dependents(who).any(|(other, part)| part.dropped.is_some_and(|at| outlasts(other, at)));
            let is_held = |(path, factory): (&Arc<str>, &Factory)| {
                path.starts_with(&*who.factory) && factory.end.is_some_and(|(_, report)| report.held() > 0)
            };
            let held = self.factories.iter().any(is_held);
            ensure!(!is_named || leaked || needed || held, "{who:?} is said to be kept, and nobody keeps it");
        }
        Ok(())
    }

    fn ends_have_causes(&self) -> Result {
        for (path, factory) in &self.factories {
            let (Some((end, _)), Some(_)) = (factory.report(), factory.started) else { continue };
            // A child ends with its maker, with what it shares, and with its parent; and when its handle goes.
            if path.contains('/') {
                continue;
            }
            let failed = self.spans_in(path).any(|span| {
                let policy = self.parts[&span.who].script.policy;
                let fatal = policy.on_failure != OnFailure::LeaveDown;
                fatal && matches!(span.doing, Doing::Run(_)) && matches!(span.ends, Some((_, How::Failed(_))))
            });
            let asked = factory.asked.is_some_and(|asked| asked < end);
            // One whose start was dropped may have started all the same, and ended unseen.
            let may_escalate =
                |factory: &Factory| factory.escalates && (factory.end.is_some() || factory.started.is_none());
            let escalated = self.factories.values().any(may_escalate);
            ensure!(asked || failed || escalated, "{path} ends, and nobody wanted it to");
        }
        Ok(())
    }

    fn children_escalate(&self) -> Result {
        for (path, factory) in &self.factories {
            let Some((parent, _)) = path.rsplit_once('/') else { continue };
            let (Some((_, report)), Some(_)) = (factory.report(), factory.started) else { continue };
            let Some((_, above)) = self.factories.get(parent).and_then(Factory::report) else { continue };
            let name = format!("child {path}");
            let mut told = above.failures().iter().filter(|failure| failure.daemon == name);
            let escalated = told.any(|failure| failure.phase == Phase::Run);
            let wants = factory.escalates && !report.is_clean();
            let was_given_up = above.failures().iter().any(|failure| failure.daemon == name);
            ensure!(
                escalated == wants || (wants && was_given_up),
                "{path} escalates: {wants}; told: {escalated}"
            );
        }
        Ok(())
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let reports = || self.factories.values().filter_map(Factory::report).map(|(_, report)| report);
        let restarts = reports().flat_map(|report| report.restarted()).map(|restarted| restarted.times).sum();
        let failures = reports().map(|report| report.failures().len() as u64).sum();
        let overstayed = reports().map(|report| report.deadline_exceeded().count() as u64).sum();
        let cut = self.spans.iter().filter(|span| matches!(span.ends, Some((_, How::Cut)))).count() as u64;
        vec![
            ("factories", self.factories.len() as u64),
            ("daemons", self.parts.len() as u64),
            ("phases and tasks", self.spans.len() as u64),
            ("futures cut short", cut),
            ("failures reported", failures),
            ("overstayers", overstayed),
            ("restarts", restarts),
        ]
    }
}

fn label(who: &Who) -> String {
    format!("Part<{}>", who.part)
}

fn phase(doing: Doing) -> Phase {
    match doing {
        Doing::Prepare => Phase::Prepare,
        Doing::Run(_) => Phase::Run,
        Doing::Stop => Phase::Stop,
        Doing::Task(_) => Phase::Task,
    }
}

fn failures_of<'a>(report: &'a Report, who: &Who) -> impl Iterator<Item = &'a Failure> {
    let label = label(who);
    report.failures().iter().filter(move |failure| failure.daemon == label)
}

fn is_not_told(failure: &Failure) -> bool {
    failure.error.to_string().starts_with("was aborted without being told")
}
