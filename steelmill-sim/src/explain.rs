//! A red seed, explained in a folder: what failed, the least that makes it fail, and what happened then.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use steelmill_core::Result;

use crate::campaign::failed_text;
use crate::decisions::Stream;
use crate::fault::Choice;
use crate::outcome::Outcome;
use crate::shrink::{Prospect, Shrunk};
use crate::trace::What;

/// Writes a folder that explains a red seed: `plan.json`, the least plan; `trace.jsonl`, every event of the run with that
/// plan, a line of JSON each; and `summary.txt`, which comes back. `replay` runs the seed, given `--faults` as well.
///
/// # Errors
/// When something cannot be written; says what.
pub(crate) fn write(folder: &Path, shrunk: &Shrunk, replay: &str) -> Result<String> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let plan = save("plan.json", &shrunk.plan.to_json())?;
    let mut trace = String::new();
    if let Some(events) = &shrunk.outcome.trace {
        for line in events.lines() {
            trace.push_str(&serde_json::to_string(&line)?);
            trace.push('\n');
        }
    }
    let trace = save("trace.jsonl", &trace)?;
    let mut text = summary(shrunk);
    writeln!(text, "\nevery event of that run: {}", trace.display())?;
    writeln!(text, "run it again with: {replay} --faults={}", plan.display())?;
    save("summary.txt", &text)?;
    Ok(text)
}

fn summary(shrunk: &Shrunk) -> String {
    let Shrunk { plan, faults_before, choices_before, runs, outcome, prospects } = shrunk;
    let mut text =
        format!("{}\n\nThe least with which it fails, found in {runs} runs:\n", failed_text(outcome));
    text += &format!("- {} of {faults_before} faults\n", plan.faults.len());
    for fault in &plan.faults {
        text += &format!("    {fault}\n");
    }
    match (&plan.order, choices_before) {
        (Some(order), Some(before)) => {
            text += &format!("- {} of {before} tasks that go before older ones\n", order.len());
            for choice in order.iter().take(LISTED) {
                text += &format!("    {}\n", told(*choice, outcome));
            }
        }
        (None, Some(before)) => text += &format!("- all of {before} tasks that go before older ones\n"),
        (_, None) => {}
    }
    if !prospects.is_empty() {
        text += "\nHow often it fails when all goes otherwise from a time on:\n";
    }
    for Prospect { until, runs, failed } in prospects {
        let bar = "#".repeat((40 * failed / runs) as usize);
        text += &format!("  {:>12.6} s  {:>3} %  {bar}\n", until.as_secs_f64(), 100 * failed / runs);
    }
    text
}

/// How many choices are told one by one.
const LISTED: usize = 20;

/// What a choice of the schedule decided.
fn told(choice: Choice, outcome: &Outcome) -> String {
    let Choice { nth, place } = choice;
    let decided = outcome.trace.as_ref().and_then(|trace| {
        let drawn = |what| matches!(what, What::Draw { stream: Stream::Schedule, index, .. } if index == nth);
        let at = trace.events.iter().position(|event| drawn(event.what))?;
        let polled = trace.events[at..].iter().find(|event| matches!(event.what, What::Poll { .. }))?;
        Some(trace.line(polled))
    });
    match decided {
        Some(line) => format!("{line}, {place} of them older"),
        None => format!("choice {nth}, place {place}"),
    }
}
