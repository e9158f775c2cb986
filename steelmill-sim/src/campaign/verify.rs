//! Proof that a seed repeats: it is run twice, and where the runs differ the first event that does is shown.
//!
//! Both runs are traced. The second one is in this process, or in another: then this program is run again with the same
//! arguments, finds in its environment which campaign and which seed is meant and where to write, and ends once it has
//! written. In a test the arguments are the harness's, for the one test that asks.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use crate::campaign::record::KeptSeed;
use crate::schema::line::Line;
use crate::schema::outcome::{Cause, Failure, Outcome};
use crate::schema::settings::Seed;
use crate::schema::trace::Trace;
use crate::schema::verify::{Difference, SHOWN, Side, Verify};

/// What is told of a run, from process to process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    digest: u64,
    end: String,
}

impl Told {
    fn of(outcome: &Outcome) -> Self {
        let end = match &outcome.failure {
            Some(failure) => format!("failed at {:?}: {}", failure.at, failure.cause),
            None => "passed".to_owned(),
        };
        Self { digest: outcome.digest, end }
    }

    fn side(self, event: Option<Line>) -> Side {
        Side { event, end: self.end, digest: self.digest }
    }
}

type Lines<'a> = Box<dyn Iterator<Item = io::Result<Line>> + 'a>;

/// Where seeds are run for the second time.
#[derive(Debug)]
pub(crate) enum Again {
    Here,
    Elsewhere(Elsewhere),
}

impl Again {
    /// For the campaign with that number on this thread.
    pub(crate) fn new(verify: Verify, campaign: u64) -> Result<Self> {
        Ok(match verify {
            Verify::Twice => Again::Here,
            Verify::Process => Again::Elsewhere(Elsewhere::here(campaign)?),
        })
    }

    /// The outcome of a seed that was run with a trace: failed with its own cause if a second run differs. `again` is a
    /// second run here.
    pub(crate) fn confirm(
        &self,
        mut first: Outcome,
        kept: Option<&KeptSeed>,
        again: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let trace = first.trace.take().unwrap_or_default();
        let cause = match self.difference(&first, kept, &trace, again) {
            Ok(None) => return first,
            Ok(Some(difference)) => Cause::NotRepeatable(Box::new(difference)),
            Err(error) => Cause::Error(error.context("the seed cannot be verified in another process")),
        };
        let panicked = first.failure.and_then(|failure| failure.panicked);
        first.failure = Some(Failure { panicked, ..Failure::new(first.simulated, cause, None) });
        first
    }

    fn difference(
        &self,
        first: &Outcome,
        kept: Option<&KeptSeed>,
        trace: &Trace,
        again: impl FnOnce() -> Outcome,
    ) -> Result<Option<Difference>> {
        let told = Told::of(first);
        match self {
            Again::Here => {
                let mut second = again();
                let other = second.trace.take().unwrap_or_default();
                compare(Verify::Twice, told, trace, Told::of(&second), Box::new(other.lines().map(Ok)))
            }
            Again::Elsewhere(elsewhere) => {
                let (second, file) = elsewhere.run(first.seed, kept, first.digest)?;
                let lines = file.lines()?.skip(1).map(|line| Ok(serde_json::from_str(&line?)?));
                compare(Verify::Process, told, trace, second, Box::new(lines))
            }
        }
    }
}

/// Where two runs differ, if they do.
fn compare(
    verify: Verify,
    first: Told,
    trace: &Trace,
    second: Told,
    lines: Lines<'_>,
) -> Result<Option<Difference>> {
    if first == second {
        return Ok(None);
    }
    let mut before = VecDeque::new();
    let mut shared = 0;
    let (mut ours, mut theirs) = (trace.lines(), lines);
    let (event, other) = loop {
        if first.digest == second.digest {
            break (None, None); // so are the events
        }
        match (ours.next(), theirs.next().transpose()?) {
            (Some(event), Some(other)) if event == other => {
                shared += 1;
                if before.len() == SHOWN {
                    before.pop_front();
                }
                before.push_back(event);
            }
            pair => break pair,
        }
    };
    let (first, second) = (first.side(event), second.side(other));
    Ok(Some(Difference { shared, before: before.into(), first, second, verify }))
}

// Another process.

/// In the environment of the other process: which campaign of its thread, which seed, what digest the first run of it
/// had, and the file to write; a seed that was kept stands in that.
pub(crate) const ASKED: &str = "STEELMILL_SECOND_RUN";

/// How to come to the same campaign in another process.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    program: PathBuf,
    args: Vec<OsString>,
    campaign: u64,
}

/// What this process was started for, where it is the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    campaign: u64,
    pub(crate) seed: Seed,
    /// As it was kept, if it was.
    pub(crate) kept: Option<KeptSeed>,
    digest: u64,
    file: PathBuf,
}

/// The number of a campaign that begins, among those of its thread.
pub(crate) fn next_campaign() -> u64 {
    thread_local! {
        static BEGUN: Cell<u64> = const { Cell::new(0) };
    }
    BEGUN.replace(BEGUN.get() + 1)
}

impl Elsewhere {
    /// Of the campaign with that number on this thread.
    pub(crate) fn here(campaign: u64) -> Result<Self> {
        let program = std::env::current_exe().context("this program cannot find itself")?;
        let current = std::thread::current();
        let args = match current.name() {
            Some("main") => std::env::args_os().skip(1).collect(),
            Some(test) => [test, "--exact", "--include-ignored", "--nocapture"].map(OsString::from).into(),
            None => anyhow::bail!(
                "a campaign that is verified in another process must run on its program's main thread or on its \
                 test's own, and this thread has no name"
            ),
        };
        Ok(Self { program, args, campaign })
    }

    /// Runs a seed there, as it was kept if it was; what came of it, and a file with its events if its digest is another.
    fn run(&self, seed: Seed, kept: Option<&KeptSeed>, digest: u64) -> Result<(Told, Lent)> {
        static FILES: AtomicU64 = AtomicU64::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("steelmill-{}-{number}.trace", std::process::id());
        let file = Lent(std::env::temp_dir().join(name));
        if let Some(kept) = kept {
            std::fs::write(&file.0, serde_json::to_vec(kept)?)
                .with_context(|| format!("cannot write {}", file.0.display()))?;
        }
        let mut asked = OsString::from(format!("{} {seed} {digest} ", self.campaign));
        asked.push(&file.0);
        let output = Command::new(&self.program)
            .args(&self.args)
            .env(ASKED, asked)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let told = file.lines().ok().and_then(|mut lines| serde_json::from_str(&lines.next()?.ok()?).ok());
        let told = told.with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("it ended ({}) without an answer; it said: {}", output.status, said.trim())
        })?;
        Ok((told, file))
    }
}

impl Asked {
    /// What this process was started for, if it was started for a second run.
    pub(crate) fn read() -> Option<Self> {
        let asked = std::env::var_os(ASKED)?;
        let mut asked = Self::parse(asked.to_str()?).expect("another process of this program wrote it");
        let kept = std::fs::read(&asked.file).ok();
        asked.kept = kept.map(|kept| serde_json::from_slice(&kept).expect("so did it this"));
        Some(asked)
    }

    fn parse(asked: &str) -> Option<Self> {
        let mut parts = asked.splitn(4, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (campaign, seed, digest) = (number()?, Seed(number()?), number()?);
        Some(Self { campaign, seed, kept: None, digest, file: parts.next()?.into() })
    }

    pub(crate) fn is_for(&self, campaign: u64) -> bool {
        self.campaign == campaign
    }

    /// Tells the process that asked, and ends this one.
    pub(crate) fn answer(&self, outcome: &Outcome) -> ! {
        let code = match self.write(outcome) {
            Ok(()) => 0,
            Err(error) => {
                // Not by `eprintln!`, which a test harness may keep.
                let _ = writeln!(io::stderr(), "cannot write {}: {error}", self.file.display());
                1
            }
        };
        std::process::exit(code)
    }

    fn write(&self, outcome: &Outcome) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(&self.file)?);
        writeln!(file, "{}", serde_json::to_string(&Told::of(outcome))?)?;
        let trace = outcome.trace.iter().filter(|_| outcome.digest != self.digest);
        for line in trace.flat_map(Trace::lines) {
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
        }
        file.flush()
    }
}

/// A file that is gone when this is.
struct Lent(PathBuf);

impl Lent {
    fn lines(&self) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
        Ok(BufReader::new(File::open(&self.0)?).lines())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // There is none when the other process did not get that far.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_is_asked_for_may_have_spaces_in_its_path() {
        let asked = Asked::parse("2 18446744073709551615 7 /tmp/a b/c.trace").expect("four parts");
        assert!(asked.is_for(2) && !asked.is_for(0));
        assert_eq!((asked.seed, asked.file), (Seed(u64::MAX), "/tmp/a b/c.trace".into()));
        assert_eq!(Asked::parse("2 3 4"), None);
    }

    #[test]
    fn a_program_that_does_not_answer_is_said_to() {
        let elsewhere = Elsewhere {
            program: "/bin/sh".into(),
            args: ["-c", "echo busy >&2; exit 3"].map(OsString::from).into(),
            campaign: 0,
        };
        let error =
            elsewhere.run(Seed(1), None, 0).err().expect("the shell knows nothing of seeds").to_string();
        assert!(error.contains("without an answer") && error.contains("busy"), "{error}");
    }
}
