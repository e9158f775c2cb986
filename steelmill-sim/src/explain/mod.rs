//! Failure reports: a folder for a red seed with the shrunk plan, its trace, a picture of the run and a summary.

pub(crate) mod perfetto; // trace export for Perfetto
pub(crate) mod picture; // space-time diagram of a run as an HTML page
pub(crate) mod shrink; // minimizes plan, workload and schedule

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use steelmill_core::Result;

use crate::campaign::campaign::{AnyCampaign, failed_text};
use crate::campaign::replay::absolute;
use crate::explain::shrink::{FailureRate, Progress, Shrunk, Stopped};
use crate::schema::decision::Stream;
use crate::schema::event::{Event, EventKind};
use crate::schema::outcome::Outcome;
use crate::schema::plan::Choice;
use crate::schema::settings::{Seed, Settings};
use crate::schema::trace::Trace;
use picture::Picture;

impl AnyCampaign<'_> {
    /// Shrinks a failing run, writes a report into `folder`, and returns the result and the summary. `replay` makes the
    /// command that runs the seed with the plan in a file.
    ///
    /// # Errors
    /// When the run passes; when a file cannot be written.
    pub(crate) fn explain(
        &self,
        settings: Settings,
        folder: &Path,
        replay: &dyn Fn(&Path) -> String,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(Shrunk, String)> {
        let seed = settings.seed;
        let shrunk = self.shrink_run(settings, watch).map_err(|error| anyhow!("seed {seed} {error}"))?;
        let text = write(folder, &shrunk, replay)?;
        Ok((shrunk, text))
    }
}

/// The report folder of a red seed, unique by test and campaign: concurrent tests may share `folder` and campaign name.
pub(crate) fn folder_of_seed(folder: &Path, test: Option<&str>, campaign: &str, seed: Seed) -> PathBuf {
    let is_plain = |letter: char| letter.is_alphanumeric() || letter == '_';
    // An unnamed campaign is named after its test.
    let test = test.filter(|test| !campaign.starts_with(test)).unwrap_or_default();
    let words = [test, campaign].into_iter().flat_map(|name| name.split(|letter| !is_plain(letter)));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    absolute(folder).join(format!("{}-seed-{seed}", words.join("-")))
}

/// Writes the report of a red seed: `plan.json`, the shrunk plan; `trace.jsonl`, the events of its run, one a line;
/// `trace.perfetto.json`, the same for Perfetto; `picture.html`, a space-time diagram; and `summary.txt`, returned.
///
/// # Errors
/// When a file cannot be written; names it.
fn write(folder: &Path, shrunk: &Shrunk, replay: &dyn Fn(&Path) -> String) -> Result<String> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let plan = save("plan.json", &shrunk.plan.to_json())?;
    let write = |name: &str, write: &dyn Fn(&Trace, BufWriter<&File>) -> io::Result<()>| {
        let path = folder.join(name);
        let written = File::create(&path).and_then(|file| {
            shrunk.outcome.trace.iter().try_for_each(|trace| write(trace, BufWriter::new(&file)))
        });
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let lines = write("trace.jsonl", &|trace, file| trace.write_lines(file))?;
    let perfetto = write("trace.perfetto.json", &|trace, file| trace.write_perfetto(file))?;
    let mut text = summary(shrunk);
    let omitted = shrunk.outcome.trace.as_ref().map_or((0, 0), |trace| (trace.skipped, trace.dropped));
    let events = match omitted {
        (0, 0) => "all events of that run".to_owned(),
        (early, 0) => format!("the events of that run, without {early} early ones"),
        (0, late) => format!("the events of that run, without the last {late}"),
        (early, late) => {
            format!("the events of that run, without {early} early ones and the last {late}")
        }
    };
    writeln!(text, "\n{events}: {}", lines.display())?;
    writeln!(text, "the same trace for https://ui.perfetto.dev: {}", perfetto.display())?;
    let command = replay(&plan);
    if let Some(picture) = Picture::of_shrunk(shrunk, &command) {
        writeln!(
            text,
            "the run as a space-time diagram{}: {}",
            if shrunk.nearest_green.is_some() { ", with the run that passes beside it" } else { "" },
            save("picture.html", &picture.to_html())?.display()
        )?;
    }
    writeln!(text, "run it again with: {command}")?;
    save("summary.txt", &text)?;
    Ok(text)
}

fn summary(shrunk: &Shrunk) -> String {
    let Shrunk { plan, faults_before, limits, choices_before, runs, stopped, outcome, failure_rates, .. } =
        shrunk;
    let found = match stopped {
        None => format!("The minimal plan that fails, found in {runs} runs:"),
        Some(Stopped::Interrupted) => {
            format!("The smallest failing plan found in {runs} runs, when the search was interrupted:")
        }
        Some(Stopped::OutOfRuns) => {
            format!("The smallest failing plan found in {runs} runs (--explain-runs allows more):")
        }
    };
    let mut text = format!("{}\n{}\n{found}\n", failed_text(outcome), context(outcome));
    text += &format!("- {} of {faults_before} faults\n", plan.faults.len());
    for fault in &plan.faults {
        text += &format!("    {fault}\n");
    }
    for (name, range) in limits {
        let full = range.end();
        match plan.limits.get(*name) {
            Some(limit) => text += &format!("- {limit} of {full} {name}\n"),
            None => text += &format!("- all of {full} {name}\n"),
        }
    }
    match (&plan.order, choices_before) {
        (Some(order), Some(before)) => {
            text += &match order.len() {
                0 => format!("- 0 of {before} reorderings: scheduling order does not matter\n"),
                needed => {
                    format!("- {needed} of {before} reorderings (a task polled before older ready ones)\n")
                }
            };
            for choice in order.iter().take(LISTED_MAX) {
                text += &format!("    {}\n", choice_text(*choice, outcome));
            }
        }
        (None, Some(before)) => {
            text += &format!("- all of {before} reorderings (a task polled before older ready ones)\n")
        }
        (_, None) => {}
    }
    if !failure_rates.is_empty() {
        text += "\nIf everything after this time is drawn anew, how often does it still fail?\n";
    }
    for FailureRate { until, runs, failed } in failure_rates {
        let bar = "#".repeat((40 * failed / runs) as usize);
        text += &format!("  {:>12.6} s  {:>3} %  {bar}\n", until.as_secs_f64(), 100 * failed / runs);
    }
    text += &turning_point(shrunk);
    if let Some(green) = &shrunk.nearest_green {
        text += &format!("\nThe nearest run that passes: {}.\n", green.differs);
    }
    text
}

/// When the failure became inevitable, and what happened since the last sample when it was not.
fn turning_point(shrunk: &Shrunk) -> String {
    let Some(sampled) = shrunk.inevitable_from() else { return String::new() };
    let before = shrunk.failure_rates.iter().map(|rate| rate.until).take_while(|until| *until < sampled);
    let Some(open) = before.last() else {
        return "  So with this plan it always fails, whatever else is drawn.\n".to_owned();
    };
    let Some(trace) = &shrunk.outcome.trace else { return String::new() };
    // At the latest when it had happened, however long before the next sample that was.
    let happened = trace.contradiction().map(|place| Duration::from_nanos(trace.events[place].at + 1));
    let certain = happened.filter(|happened| (open..sampled).contains(happened)).unwrap_or(sampled);
    let mut text = format!("  So the failure was inevitable from {:.6} s on.", certain.as_secs_f64());
    let is_between = |event: &&Event| (open..certain).contains(&Duration::from_nanos(event.at));
    let concerned = concerned(shrunk, trace);
    let mut between: Vec<(usize, &Event)> = trace.events.iter().filter(is_between).enumerate().collect();
    between.retain(|(_, event)| picture::shows(&event.what));
    let all = between.len();
    // The most telling ones, and of these the last, in order of time.
    between.sort_by_key(|(place, event)| (weight(event, trace, &concerned), Reverse(*place)));
    between.truncate(LISTED_MAX);
    between.sort_by_key(|(place, _)| *place);
    if !between.is_empty() {
        text += &format!(" Since {:.6} s there was:", open.as_secs_f64());
    }
    for (_, event) in &between {
        text += &format!("\n    {}", trace.line(event));
    }
    if let more @ 1.. = all - between.len() {
        text += &format!("\n    and {more} more");
    }
    text + "\n"
}

/// The machines that have to do with a failure: where it failed, what the faults strike, and who sent what led to it.
fn concerned(shrunk: &Shrunk, trace: &Trace) -> BTreeSet<u32> {
    let number =
        |name: &str| trace.machines.iter().position(|machine| machine == name).map(|number| number as u32);
    let failed = shrunk.outcome.failure.as_ref().and_then(|failure| failure.machine());
    let struck = shrunk.plan.faults.iter().flat_map(|fault| fault.what.machines());
    let mut machines: BTreeSet<u32> = struck.filter_map(number).collect();
    machines.extend(failed.and_then(number));
    let key = trace.events.get(trace.key_event_kept());
    let causes = iter::successors(key, |event| trace.events.get(event.cause? as usize));
    machines.extend(causes.take(CAUSES_MAX).filter_map(|event| match event.what {
        EventKind::Message { from, .. } => Some(from),
        _ => None,
    }));
    machines
}

/// How far down an event belongs among those before a failure: faults come first, then what concerned machines log and send.
fn weight(event: &Event, trace: &Trace, concerned: &BTreeSet<u32>) -> u32 {
    let is_concerned = |machine: u32| concerned.contains(&machine);
    let machine = event.task.and_then(|task| trace.tasks.get(&task)).map(|info| info.machine);
    let others = u32::from(!machine.is_some_and(is_concerned));
    match event.what {
        EventKind::Fault { .. } | EventKind::Machine { .. } | EventKind::Link { .. } => 0,
        EventKind::Log { .. } | EventKind::Invoke { .. } | EventKind::Return { .. } => 1 + 2 * others,
        EventKind::Message { from, to, .. } => 2 + 2 * u32::from(!is_concerned(from) && !is_concerned(to)),
        EventKind::State { .. } | EventKind::Health { .. } | EventKind::Lost { .. } => 5,
        _ => 6,
    }
}

/// How many causes of a failure are followed.
const CAUSES_MAX: usize = 200;

/// The location of the failure, and the log before it.
fn context(outcome: &Outcome) -> String {
    let mut text = String::new();
    let location = outcome.failure.as_ref().and_then(|failure| failure.location());
    if let Some(location) = &location {
        text += &format!("\nWhere it failed:\n  {}\n", location.to_string().replace('\n', "\n  "));
    }
    let Some(trace) = &outcome.trace else { return text };
    let log = |event: &Event| match event.what {
        EventKind::Log { log } => trace.logs.get(log as usize).map(|log| (trace.line(event), log)),
        _ => None,
    };
    // A check at the end of the run finds a violation that occurred long before.
    let contradiction = trace.contradiction();
    let (before, event) = match contradiction {
        Some(place) => {
            (place, format!("the last contradicting reply, at {:?}", trace.line(&trace.events[place]).at))
        }
        None => (trace.events.len(), "the failure".to_owned()),
    };
    let mut last: Vec<_> = trace.events[..before].iter().rev().filter_map(log).take(LOG_LINES_MAX).collect();
    last.reverse();
    if last.is_empty() {
        let shortly = if trace.skipped > 0 { "shortly " } else { "" };
        return text + &format!("\nNothing was logged {shortly}before {event}.\n");
    }
    let failed = location.as_ref().map(|location| location.machine);
    let failed = failed.filter(|_| contradiction.is_none());
    text += &match failed {
        Some(_) => format!("\nThe log before {event} (> marks the machine that failed):\n"),
        None => format!("\nThe log before {event}:\n"),
    };
    for (mut line, log) in last {
        let mark = if failed.is_some() && line.machine.as_deref() == failed { '>' } else { ' ' };
        line.what = format!("{} {}: {}", log.level, log.target, log.text);
        text += &format!("{mark} {line}\n");
    }
    text
}

const LOG_LINES_MAX: usize = 20;

const LISTED_MAX: usize = 20;

/// A scheduling choice as text: the poll it led to.
fn choice_text(choice: Choice, outcome: &Outcome) -> String {
    let Choice { nth, place } = choice;
    let decided = outcome.trace.as_ref().and_then(|trace| {
        let drawn =
            |what| matches!(what, EventKind::Draw { stream: Stream::Schedule, index, .. } if index == nth);
        let at = trace.events.iter().position(|event| drawn(event.what))?;
        let polled = trace.events[at..].iter().find(|event| matches!(event.what, EventKind::Poll { .. }))?;
        Some(trace.line(polled))
    });
    match decided {
        Some(line) => format!("{line}, before {place} older"),
        None => format!("choice {nth}, run queue position {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Budget;
    use crate::schema::line::Line;
    use crate::schema::plan::Plan;
    use crate::{Campaign, Seed, Sim};

    #[test]
    fn the_log_shown_is_that_before_the_contradiction() {
        use crate::trace::history::{History, Kv, KvOp, KvReply};
        let campaign = Campaign::new(|sim: Sim| async move {
            let history = History::<Kv>::default();
            let now = || sim.elapsed();
            history.invoke(now(), "a", "k", KvOp::Set("1".into())).returned(now(), KvReply::Ok);
            tracing::info!("the cache is cleared too late");
            sim.clock().sleep(Duration::from_secs(1)).await;
            history.invoke(now(), "b", "k", KvOp::Get).returned(now(), KvReply::Value(None));
            tracing::info!("long after");
            history.check().into_result().map_err(|_| anyhow::anyhow!("not linearizable"))
        });
        let text = context(&campaign.shrink(Seed(1), |_| ()).expect("it is red").outcome);
        let heading = "The log before the last contradicting reply, at 1s:\n";
        assert!(
            text.contains(heading) && text.contains("too late") && !text.contains("long after"),
            "{text}"
        );
    }

    #[test]
    fn the_event_that_made_it_inevitable_is_listed() {
        use rand_core::Rng as _;
        let campaign = Campaign::new(|sim: Sim| async move {
            sim.clock().sleep(Duration::from_secs(1)).await;
            let toss = sim.client("dealer").entropy().rng().next_u64() % 2;
            tracing::info!("the die is cast");
            sim.clock().sleep(Duration::from_secs(2)).await;
            tracing::info!("long after");
            anyhow::ensure!(toss == 0, "lost");
            Ok(())
        });
        let shrunk = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("one is red");
        let text = turning_point(&shrunk);
        assert!(text.starts_with("  So the failure was inevitable from 1.000"), "{text}");
        assert!(text.contains("the die is cast\n") && !text.contains("long after"), "{text}");
    }

    /// The trace of a run that is longer than its trace window, and the context of its failure.
    fn long_run<F: Future<Output = Result> + 'static>(
        scenario: impl Fn(Sim) -> F + Send + Sync + 'static,
    ) -> (Trace, String) {
        let mut campaign = Campaign::new(scenario).explain_runs(1);
        (campaign.settings.trace_window, campaign.settings.poll_limit) = (0..200, 1_000);
        let outcome = campaign.shrink(Seed(1), |_| ()).expect("it is red").outcome;
        let text = context(&outcome);
        (outcome.trace.expect("it is traced"), text)
    }

    async fn sleep_and_log(sim: &Sim) {
        for nap in 0..200 {
            sim.clock().sleep(Duration::from_secs(1)).await;
            tracing::info!("nap {nap}");
        }
    }

    #[test]
    fn of_a_long_run_the_end_is_kept() {
        let (trace, text) = long_run(|sim| async move {
            sleep_and_log(&sim).await;
            anyhow::bail!("it has slept enough")
        });
        assert!(trace.skipped > 200 && trace.dropped == 0, "{} {}", trace.skipped, trace.dropped);
        assert!(text.contains("nap 199") && !text.contains("nap 100"), "{text}");
    }

    #[test]
    fn of_a_livelock_its_beginning_is_kept() {
        let (trace, text) = long_run(|sim| async move {
            sleep_and_log(&sim).await;
            tracing::info!("round and round");
            loop {
                tokio::task::yield_now().await;
            }
        });
        assert!(trace.skipped > 200 && trace.dropped > 200, "{} {}", trace.skipped, trace.dropped);
        assert!(matches!(trace.events[trace.key_event_kept()].what, EventKind::Time { .. }));
        assert!(text.contains("nap 199") && text.contains("round and round"), "{text}");
        let mut cut = trace.clone();
        cut.cut_after_key_event(10);
        let key_event = trace.key_event_kept();
        assert_eq!(cut.events[..key_event + 10], trace.events[..key_event + 10]);
        assert_eq!((cut.events.len(), cut.all()), (key_event + 11, trace.all()));
        assert_eq!(
            (cut.events[key_event + 10].what, cut.events[key_event + 10].cause),
            (EventKind::Fail, Some(key_event as u32 + 9))
        );
        cut.cut_after_key_event(10);
        assert_eq!(cut.all(), trace.all(), "it is not cut again");
    }

    #[test]
    fn of_a_contradiction_its_events_are_kept_for_an_error_and_a_panic() {
        use crate::trace::history::{History, Kv, KvOp, KvReply};
        for panics in [false, true] {
            let (trace, text) = long_run(move |sim| async move {
                sleep_and_log(&sim).await;
                let (history, now) = (History::<Kv>::default(), || sim.elapsed());
                history.invoke(now(), "a", "k", KvOp::Set("1".into())).returned(now(), KvReply::Ok);
                tracing::info!("forgotten");
                history.invoke(now(), "b", "k", KvOp::Get).returned(now(), KvReply::Value(None));
                sleep_and_log(&sim).await;
                let verdict = history.check().into_result().map_err(|_| anyhow::anyhow!("not linearizable"));
                assert!(!panics || verdict.is_ok(), "not linearizable");
                verdict
            });
            assert!(trace.skipped > 200 && trace.dropped > 200, "{} {}", trace.skipped, trace.dropped);
            assert_eq!(trace.contradiction(), Some(trace.key_event_kept()));
            assert!(text.contains("forgotten"), "{text}");
        }
    }

    #[test]
    fn campaigns_of_one_name_have_folders_of_their_own() {
        let folder = |test, campaign| folder_of_seed(Path::new("/red"), test, campaign, Seed(7));
        let test = Some("demo/cluster::tests::it_holds");
        assert_eq!(folder(test, "leases"), Path::new("/red/demo-cluster-tests-it_holds-leases-seed-7"));
        let unnamed = "demo/cluster::tests::it_holds #2";
        assert_eq!(folder(test, unnamed), Path::new("/red/demo-cluster-tests-it_holds-2-seed-7"));
        assert_eq!(folder(None, "scenario"), Path::new("/red/scenario-seed-7"));
    }

    #[test]
    fn a_folder_holds_a_plan_a_trace_and_what_to_type() {
        let campaign = Campaign::new(|sim: Sim| async move {
            let machine = sim.machine("a", |_| Ok(())).start().await?;
            sim.inject_faults(Budget::of(std::slice::from_ref(&machine))).run().await?;
            for n in 0..30 {
                tracing::info!(n, "counted");
            }
            machine.spawn("loud", async { tracing::warn!("not this machine") }).await?;
            tracing::debug!("nobody asked for this");
            anyhow::bail!("always")
        });
        let shrunk = campaign.shrink(Seed(3), |_| ()).expect("it is red");
        let folder = std::env::temp_dir().join(format!("steelmill-explained-{}", std::process::id()));
        let again = |plan: &Path| format!("cargo xtask sim --seed 3 --faults={}", plan.display());
        let text = write(&folder, &shrunk, &again).expect("it can be written");
        let read = |name| fs::read_to_string(folder.join(name)).expect("it was written");
        assert_eq!(read("summary.txt"), text);
        assert!(read("picture.html").starts_with("<!doctype html>"));
        assert_eq!(Plan::from_json(&read("plan.json")).expect("a plan"), shrunk.plan);
        let events = read("trace.jsonl");
        assert!(events.lines().all(|line| serde_json::from_str::<Line>(line).is_ok()));
        let trace = shrunk.outcome.trace.as_ref().expect("it is traced");
        assert_eq!(events.lines().count(), trace.events.len());
        for (number, (line, event)) in events.lines().zip(&trace.events).enumerate() {
            let data: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
            assert_eq!(data["number"], number);
            assert_eq!(data["cause"].as_u64(), event.cause.map(u64::from));
            assert!(data["event"]["kind"].is_string(), "{line}");
        }
        let perfetto = read("trace.perfetto.json");
        assert!(
            serde_json::from_str::<serde_json::Value>(&perfetto)
                .is_ok_and(|file| file["traceEvents"].is_array())
        );
        let replay = again(&folder.join("plan.json"));
        let place = "Where it failed:\n  machine  scenario\n  task     \"scenario\"\n";
        let counted = "INFO steelmill_sim::explain::tests: counted n=11\n> ";
        let loud = "\"loud\" #3: WARN steelmill_sim::explain::tests: not this machine\n\n";
        for part in ["seed 3 failed", "always", place, counted, loud, "- 0 of ", "100 %", &replay] {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
        assert!(!text.contains("n=10") && !text.contains("nobody asked"), "twenty lines of the log: {text}");
        fs::remove_dir_all(&folder).expect("it is ours");
        let error =
            write(Path::new("/dev/null/x"), &shrunk, &again).expect_err("that is no folder").to_string();
        assert!(error.contains("cannot make the folder /dev/null/x"), "{error}");
    }
}
