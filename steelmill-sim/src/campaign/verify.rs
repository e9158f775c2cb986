//! Determinism check (`--verify`): runs each seed twice, compares the runs, and shows the first event that differs.
//!
//! The first run is traced, and the second is not, as in a campaign: what is seen of a run must not change it. If they
//! differ, the second is made again with a trace. It is in this process or in another. The other process is this program
//! with the same arguments, or the test harness with those that select this test; an environment variable tells it the
//! campaign, the seed and the file to write, and it exits after writing.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use crate::campaign::again::{SECOND_RUN_VARIABLE, SameProgram};
use crate::campaign::record::KeptSeed;
use crate::schema::line::Line;
use crate::schema::outcome::{Cause, Failure, Outcome};
use crate::schema::settings::Seed;
use crate::schema::trace::Trace;
use crate::schema::verify::{Difference, SHOWN, Side, Verify};

/// The result of a run, as one process reports it to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RunResult {
    digest: u64,
    end: String,
}

impl RunResult {
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

/// The second run of a seed.
struct Second<'a> {
    result: RunResult,
    /// The run made again with a trace, if its digest differed from that of the first.
    traced: Option<(RunResult, Lines<'a>)>,
}

/// How the second run of a seed is made.
#[derive(Debug)]
pub(crate) enum SecondRun {
    InProcess,
    OtherProcess(OtherProcess),
}

impl SecondRun {
    pub(crate) fn new(verify: Verify, campaign: u64) -> Result<Self> {
        Ok(match verify {
            Verify::Twice => SecondRun::InProcess,
            Verify::Process => SecondRun::OtherProcess(OtherProcess::new(campaign)?),
        })
    }

    /// Compares a traced run with a second one; if they differ, the seed fails with that as its cause. `again` makes the
    /// second run in this process, traced or not.
    pub(crate) fn confirm(
        &self,
        mut first: Outcome,
        kept: Option<&KeptSeed>,
        again: impl Fn(bool) -> Outcome,
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
        again: impl Fn(bool) -> Outcome,
    ) -> Result<Option<Difference>> {
        let result = RunResult::of(first);
        match self {
            SecondRun::InProcess => {
                let second = RunResult::of(&again(false));
                let traced = (second.digest != result.digest).then(|| again(true));
                let traced = traced.as_ref().map(|traced| {
                    let lines = traced.trace.iter().flat_map(Trace::lines).map(Ok);
                    (RunResult::of(traced), Box::new(lines) as Lines<'_>)
                });
                compare(Verify::Twice, result, trace, Second { result: second, traced })
            }
            SecondRun::OtherProcess(process) => {
                let (second, file) = process.run(first.seed, kept, first.digest)?;
                let mut lines = file.lines()?.skip(1);
                let traced =
                    lines.next().map(|line| anyhow::Ok(serde_json::from_str(&line?)?)).transpose()?;
                let traced = traced.map(|traced| {
                    let lines = lines.map(|line| Ok(serde_json::from_str::<Line>(&line?)?));
                    (traced, Box::new(lines) as Lines<'_>)
                });
                compare(Verify::Process, result, trace, Second { result: second, traced })
            }
        }
    }
}

fn compare(
    verify: Verify,
    first: RunResult,
    trace: &Trace,
    second: Second<'_>,
) -> Result<Option<Difference>> {
    if first == second.result {
        return Ok(None);
    }
    let (mut before, mut shared) = (VecDeque::new(), 0);
    let Some((traced, mut theirs)) = second.traced else {
        // Equal digests: so are the events.
        let (first, second) = (first.side(None), second.result.side(None));
        return Ok(Some(Difference {
            shared,
            before: Vec::new(),
            first,
            second,
            verify,
            only_untraced: false,
        }));
    };
    let only_untraced = first == traced;
    let second = if only_untraced { second.result } else { traced };
    let mut ours = trace.lines();
    let (event, other) = loop {
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
    Ok(Some(Difference { shared, before: before.into(), first, second, verify, only_untraced }))
}

/// The command that reaches the same campaign in another process.
#[derive(Debug)]
pub(crate) struct OtherProcess {
    program: SameProgram,
    campaign: u64,
    folder: TempFolder,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecondRunRequest {
    campaign: u64,
    pub(crate) seed: Seed,
    /// Its entry in the file of kept seeds, if it is a kept seed.
    pub(crate) kept: Option<KeptSeed>,
    digest: u64,
    file: PathBuf,
}

/// The number of a new campaign among those of its thread, from 0.
pub(crate) fn next_campaign() -> u64 {
    thread_local! {
        static CAMPAIGNS: Cell<u64> = const { Cell::new(0) };
    }
    CAMPAIGNS.replace(CAMPAIGNS.get() + 1)
}

impl OtherProcess {
    fn new(campaign: u64) -> Result<Self> {
        let program = SameProgram::of_this_thread()?;
        Ok(Self { program, campaign, folder: TempFolder::new(&std::env::temp_dir())? })
    }

    /// Runs a seed in the other process. Returns its result, and a file with its events if its digest differs.
    fn run(&self, seed: Seed, kept: Option<&KeptSeed>, digest: u64) -> Result<(RunResult, TempFile)> {
        static FILES: AtomicU64 = AtomicU64::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.0.join(format!("{number}.trace"));
        let kept = kept.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let written = File::create_new(&path).and_then(|mut file| file.write_all(&kept));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        let file = TempFile(path);
        let mut request = OsString::from(format!("{} {seed} {digest} ", self.campaign));
        request.push(&file.0);
        let output = self.program.command().env(SECOND_RUN_VARIABLE, request).output();
        let output =
            output.with_context(|| format!("{} cannot be started", self.program.program.display()))?;
        let result = file.lines().ok().and_then(|mut lines| serde_json::from_str(&lines.next()?.ok()?).ok());
        let result = result.with_context(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!(
                "the other process ended ({}) without a result; its standard error: {}",
                output.status,
                stderr.trim()
            )
        })?;
        Ok((result, file))
    }
}

impl SecondRunRequest {
    /// The request, if this process was started for a second run.
    pub(crate) fn read() -> Option<Self> {
        let request = std::env::var_os(SECOND_RUN_VARIABLE)?;
        let mut request = Self::parse(request.to_str()?).expect("another process of this program wrote it");
        let kept = fs::read(&request.file).ok().filter(|kept| !kept.is_empty());
        request.kept = kept.map(|kept| serde_json::from_slice(&kept).expect("it wrote this, too"));
        Some(request)
    }

    fn parse(request: &str) -> Option<Self> {
        let mut parts = request.splitn(4, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (campaign, seed, digest) = (number()?, Seed(number()?), number()?);
        Some(Self { campaign, seed, kept: None, digest, file: parts.next()?.into() })
    }

    pub(crate) fn is_for(&self, campaign: u64) -> bool {
        self.campaign == campaign
    }

    /// Makes the run, traced or not, writes the result for the first process, and exits.
    pub(crate) fn answer(&self, run: impl Fn(bool) -> Outcome) -> ! {
        let code = match self.write(run) {
            Ok(()) => 0,
            Err(error) => {
                // Not `eprintln!`, which a test harness may capture.
                let _ = writeln!(io::stderr(), "cannot write {}: {error}", self.file.display());
                1
            }
        };
        std::process::exit(code)
    }

    fn write(&self, run: impl Fn(bool) -> Outcome) -> io::Result<()> {
        let outcome = run(false);
        // Not created here: the first process did, and nobody else may have put another in its place.
        let mut file = BufWriter::new(File::options().write(true).truncate(true).open(&self.file)?);
        writeln!(file, "{}", serde_json::to_string(&RunResult::of(&outcome))?)?;
        if outcome.digest != self.digest {
            let traced = run(true);
            writeln!(file, "{}", serde_json::to_string(&RunResult::of(&traced))?)?;
            for line in traced.trace.iter().flat_map(Trace::lines) {
                writeln!(file, "{}", serde_json::to_string(&line)?)?;
            }
        }
        file.flush()
    }
}

/// A temporary folder that only this user may enter, removed on drop.
#[derive(Debug)]
struct TempFolder(PathBuf);

impl TempFolder {
    /// A new folder. One that is there already is somebody else's, and left alone.
    fn new(parent: &Path) -> Result<Self> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        for number in 0..u32::MAX {
            let path = parent.join(format!("steelmill-verify-{}-{number}", std::process::id()));
            match builder.create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        anyhow::bail!("{} has no name left for a folder", parent.display())
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A temporary file, removed on drop.
struct TempFile(PathBuf);

impl TempFile {
    fn lines(&self) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
        Ok(BufReader::new(File::open(&self.0)?).lines())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // The other process may have failed before it wrote the file.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_in_a_request_may_have_spaces() {
        let request =
            SecondRunRequest::parse("2 18446744073709551615 7 /tmp/a b/c.trace").expect("four parts");
        assert!(request.is_for(2) && !request.is_for(0));
        assert_eq!((request.seed, request.file), (Seed(u64::MAX), "/tmp/a b/c.trace".into()));
        assert_eq!(SecondRunRequest::parse("2 3 4"), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_that_is_there_already_is_left_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = TempFolder::new(&std::env::temp_dir()).expect("a folder");
        let others = TempFolder::new(&parent.0).expect("a folder").0.clone();
        fs::create_dir(&others).expect("the folder was removed on drop");
        fs::write(others.join("notes"), "theirs").expect("a file");
        let ours = TempFolder::new(&parent.0).expect("another folder");
        assert_ne!(ours.0, others);
        assert_eq!(fs::metadata(&ours.0).expect("it exists").permissions().mode() & 0o777, 0o700);
        drop(ours);
        assert_eq!(fs::read_to_string(others.join("notes")).expect("left alone"), "theirs");
    }

    #[test]
    fn a_second_process_without_a_result_is_an_error() {
        let process = OtherProcess {
            program: SameProgram {
                program: "/bin/sh".into(),
                args: ["-c", "echo busy >&2; exit 3"].map(OsString::from).into(),
            },
            campaign: 0,
            folder: TempFolder::new(&std::env::temp_dir()).expect("a folder"),
        };
        let error =
            process.run(Seed(1), None, 0).err().expect("the shell knows nothing of seeds").to_string();
        assert!(error.contains("without a result") && error.contains("busy"), "{error}");
    }
}
