//! A red seed, explained in a folder: what failed, the least that makes it fail, and what happened then.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use steelmill_core::Result;

use crate::campaign::failed_text;
use crate::shrink::Shrunk;

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
    let Shrunk { plan, faults_before, runs, outcome } = shrunk;
    let mut text = format!("{}\n\n", failed_text(outcome));
    match (plan.faults.len(), faults_before) {
        (0, 0) => text.push_str("nothing was to go wrong\n"),
        (0, all) => text += &format!("it takes none of its {all} faults (found in {runs} runs)\n"),
        (some, all) => text += &format!("it takes {some} of its {all} faults (found in {runs} runs):\n"),
    }
    for fault in &plan.faults {
        text += &format!("  {fault}\n");
    }
    text
}
