//! Several checks in a row: all of them run, even after a failure, and a summary lists the result of each.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

pub(crate) struct Outcome {
    pub(crate) green: bool,
    /// Shown in the summary, such as a count; may be empty.
    pub(crate) note: String,
}

impl From<bool> for Outcome {
    fn from(green: bool) -> Self {
        Self { green, note: String::new() }
    }
}

pub(crate) struct Steps {
    title: &'static str,
    done: Vec<(&'static str, Duration, Outcome)>,
}

impl Steps {
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, done: Vec::new() }
    }

    /// Runs one step; whether it was green. The next one runs even if it fails, unless it needs this one: one round should show
    /// every failure.
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<Outcome>) -> bool {
        println!("\n=== {name}");
        let begin = Instant::now();
        let outcome = step().unwrap_or_else(|error| Outcome { green: false, note: format!("{error:#}") });
        let green = outcome.green;
        self.done.push((name, begin.elapsed(), outcome));
        green
    }

    /// Prints the summary; true when all steps were green.
    pub(crate) fn finish(&self) -> bool {
        print!("\n{}", summary(self.title, &self.done));
        self.done.iter().all(|(_, _, outcome)| outcome.green)
    }
}

fn summary(title: &str, done: &[(&'static str, Duration, Outcome)]) -> String {
    let width = done.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = format!("=== {title}: summary\n");
    for (name, took, Outcome { green, note }) in done {
        let word = if *green { "ok" } else { "FAILED" };
        let line = format!("{word:<6}  {name:<width$}  {:>6.1} s  {note}", took.as_secs_f64());
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Waits for a process; `None` when it was still running at the deadline, and was killed.
pub(crate) fn wait(mut child: Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_every_step_and_how_it_ended() {
        let done = [
            ("format", Duration::from_millis(1500), Outcome::from(true)),
            ("tests", Duration::from_secs(2), Outcome { green: false, note: "3 passed, 1 failed".into() }),
        ];
        assert_eq!(
            summary("ci", &done),
            "=== ci: summary\nok      format     1.5 s\nFAILED  tests      2.0 s  3 passed, 1 failed\n"
        );
    }

    #[test]
    fn an_error_in_one_step_is_red_and_the_next_still_runs() {
        let mut steps = Steps::new("test");
        steps.run("breaks", || anyhow::bail!("no such file"));
        steps.run("works", || Ok(true.into()));
        assert_eq!(steps.done[0].2.note, "no such file");
        assert!(steps.done[1].2.green);
        assert!(!steps.finish());
    }
}
