//! `cargo xtask package`: what somebody else's project gets. The crates are packaged; a project of `cargo xtask new`, in a
//! temporary folder, depends on the packaged files alone; its commands are run, and one of its seeds goes red and is explained.
//!
//! Third-party crates are those of this workspace's `Cargo.lock`, so that a release elsewhere breaks nothing here.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::libtest::{Count, cargo_test};
use crate::new;
use crate::steps::{Outcome, Steps, wait};
use crate::workspace::Workspace;

/// The crates that others depend on. Cargo packages them in the order of their dependencies.
const PACKAGES: [&str; 3] = ["steelmill-core", "steelmill-runtime", "steelmill-sim"];

/// What each package needs besides code.
const FILES: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];
const FIELDS: [&str; 6] = ["description", "readme", "keywords", "categories", "license", "rust-version"];

/// The project's name.
const PROJECT: &str = "tally-service";

/// Its bug, as its README tells to make it: the file, a condition, and what to replace it by.
const BUG: (&str, &str, &str) = ("src/tally.rs", "number > *last", "true");

/// No debug information: what is run here needs none, and it takes most of the time to build.
const DEBUG: (&str, &str) = ("CARGO_PROFILE_DEV_DEBUG", "0");

/// How long the project's service may take from a request to an answer, or to its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the command of its own; true when all steps are green.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let mut steps = Steps::new("package");
    let mut total = Count::default();
    let skipped = run_steps(workspace, &mut steps, &mut total);
    let green = steps.finish();
    println!("\n{total}, {skipped} skipped");
    Ok(green)
}

/// Adds the steps; returns how many were skipped.
pub(crate) fn run_steps(workspace: &Workspace, steps: &mut Steps, total: &mut Count) -> usize {
    let place = Place::new(workspace);
    // Each needs the one before.
    let _ = steps.run("package: the crates, each built from its package", || packages(workspace, &place))
        && steps.run("package: a new project", || project(workspace, &place))
        && steps.run("package: cargo test in it", || green(&place, total))
        && steps.run("package: cargo run in it", || service(&place))
        && steps.run("package: a red seed of it, explained and replayed", || red(&place))
        && steps.run("package: its folder is removed", || {
            fs::remove_dir_all(&place.folder)
                .with_context(|| format!("cannot remove {}", place.folder.display()))?;
            Ok(true.into())
        });
    licences(workspace, steps) + semver(workspace, steps)
}

/// Where it happens.
struct Place {
    /// A temporary folder, which stays if a step is red.
    folder: PathBuf,
    /// The packages, each unpacked in a folder of its crate's name.
    crates: PathBuf,
    project: PathBuf,
    /// The target directory of all builds here, so that third-party crates are built once.
    target: PathBuf,
}

impl Place {
    fn new(workspace: &Workspace) -> Self {
        let folder = env::temp_dir().join(format!("steelmill-package-{}", std::process::id()));
        Place {
            crates: folder.join("crates"),
            project: folder.join(PROJECT),
            folder,
            target: workspace.target.join("packaged"),
        }
    }

    /// A command of somebody who works on the project.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.project).env("CARGO_TARGET_DIR", &self.target).env(DEBUG.0, DEBUG.1);
        // Of the cargo that runs xtask: they belong to this workspace's package.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("STEELMILL_") || name.starts_with("CARGO_PKG_") {
                command.env_remove(&*name);
            }
        }
        command
    }
}

fn packages(workspace: &Workspace, place: &Place) -> Result<Outcome> {
    // Not to be mistaken for today's.
    let made = place.target.join("package");
    if made.exists() {
        fs::remove_dir_all(&made).with_context(|| format!("cannot remove {}", made.display()))?;
    }
    forget_unpacked()?;
    // Quiet, because cargo tells of each test that is not in the package.
    let mut package = workspace.cargo(["package", "--quiet", "--allow-dirty"]);
    for name in PACKAGES {
        package.args(["-p", name]);
    }
    package.arg("--target-dir").arg(&place.target).env(DEBUG.0, DEBUG.1);
    ensure!(package.status().context("cannot run cargo")?.success(), "cargo package failed, see above");
    let mut notes = Vec::new();
    for name in PACKAGES {
        let folder = unpack(&made, name, &place.crates)?;
        notes.extend(flaws(name, &folder)?);
    }
    Ok(Outcome { green: notes.is_empty(), note: notes.join("; ") })
}

/// Removes what cargo has unpacked of these packages before: it takes that for the same as long as the version is.
fn forget_unpacked() -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let Some(Ok(registries)) = home.map(|home| fs::read_dir(home.join("registry/src"))) else {
        return Ok(());
    };
    for registry in registries {
        let registry = registry.context("cannot read cargo's folder of sources")?.path();
        for source in
            fs::read_dir(&registry).with_context(|| format!("cannot read {}", registry.display()))?
        {
            let source = source?;
            let name = source.file_name();
            if PACKAGES.iter().any(|package| name.to_string_lossy().starts_with(&format!("{package}-"))) {
                let path = source.path();
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Unpacks the package of a crate; returns its folder.
fn unpack(made: &Path, name: &str, crates: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(made).with_context(|| format!("cannot read {}", made.display()))? {
        let path = entry?.path();
        let file = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let version = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".crate"));
        if version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())) {
            found.push(path);
        }
    }
    let [file] = &found[..] else {
        bail!("{} holds {} packages of {name}, not one", made.display(), found.len());
    };
    fs::create_dir_all(crates).with_context(|| format!("cannot make {}", crates.display()))?;
    let status = Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(crates).status();
    ensure!(status.context("cannot run tar")?.success(), "tar cannot unpack {}", file.display());
    let folder = crates.join(name);
    let unpacked = crates.join(file.file_stem().context("a package has a name")?);
    fs::rename(&unpacked, &folder).with_context(|| format!("cannot rename {}", unpacked.display()))?;
    Ok(folder)
}

/// What a package lacks.
fn flaws(name: &str, folder: &Path) -> Result<Vec<String>> {
    let missing = FILES.iter().filter(|file| !folder.join(file).is_file());
    let mut flaws: Vec<String> = missing.map(|file| format!("{name} has no {file}")).collect();
    let manifest = folder.join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    flaws.extend(flaws_of_manifest(name, &text));
    Ok(flaws)
}

/// What the manifest of a package lacks, as cargo wrote it: a field begins a line.
fn flaws_of_manifest(name: &str, text: &str) -> Vec<String> {
    let has = |field: &str| text.lines().any(|line| line.starts_with(&format!("{field} = ")));
    let missing = FIELDS.iter().filter(|field| !has(field));
    let mut flaws: Vec<String> = missing.map(|field| format!("{name} has no {field}")).collect();
    if !text.contains("[package.metadata.docs.rs]") {
        flaws.push(format!("{name} has no settings for docs.rs"));
    }
    if text.lines().any(|line| line.starts_with("path = \"..")) {
        flaws.push(format!("{name} depends on a path"));
    }
    flaws
}

fn project(workspace: &Workspace, place: &Place) -> Result<Outcome> {
    new::create(workspace, &place.project, &place.crates)?;
    turn_tracing_of_tokio_on(&place.project.join("Cargo.toml"))?;
    let lock = place.project.join("Cargo.lock");
    fs::copy(workspace.root.join("Cargo.lock"), lock).context("cannot copy Cargo.lock")?;
    // A project has its own; so every command of its CI file is run below.
    ci_commands(place)?;
    Ok(true.into())
}

/// Somebody else's crates turn features of shared ones on. With this one tokio's types are larger: ractor and tokio-console have it.
fn turn_tracing_of_tokio_on(manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let with_tracing = text.replace("[\"io-util\"]", "[\"io-util\", \"tracing\"]");
    ensure!(with_tracing != text, "{} has no features of tokio", manifest.display());
    fs::write(manifest, with_tracing).with_context(|| format!("cannot write {}", manifest.display()))
}

/// The two commands of the project's CI file: of a push, and of a night.
fn ci_commands(place: &Place) -> Result<[String; 2]> {
    let file = place.project.join(".github/workflows/ci.yml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let commands: Vec<String> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- run: ")).map(str::to_owned).collect();
    commands
        .try_into()
        .map_err(|commands| anyhow::anyhow!("{} runs {commands:?}, not two commands", file.display()))
}

fn green(place: &Place, total: &mut Count) -> Result<Outcome> {
    let [push, _] = ci_commands(place)?;
    ensure!(push == "cargo test", "CI runs `{push}` for a push, and README.md says `cargo test`");
    let outcome = cargo_test(cargo(place, ["test"]), total)?;
    ensure!(
        !outcome.green || outcome.note.starts_with("3 passed"),
        "3 tests were expected, and it is {}",
        outcome.note
    );
    Ok(outcome)
}

/// Starts the service on real sockets, has it count, and stops it.
fn service(place: &Place) -> Result<Outcome> {
    let build = cargo(place, ["build", "--quiet"]).status().context("cannot run cargo")?;
    ensure!(build.success(), "it does not build");
    let mut run = cargo(place, ["run", "--quiet", "--", "127.0.0.1:0"]);
    // Cargo replaces itself by the service, which so gets the signal.
    let mut running =
        run.stderr(Stdio::piped()).env("RUST_LOG", "info").spawn().context("cannot run cargo")?;
    let answers = count(&mut running);
    let stopped = Command::new("kill").args(["-TERM", &running.id().to_string()]).status();
    let status = wait(running, Instant::now() + PATIENCE)?;
    ensure!(stopped.context("cannot run kill")?.success(), "it ended before it was told to");
    let answers = answers?;
    ensure!(answers == "5\n5\n7\n", "it answered {answers:?}");
    let Some(status) = status else {
        bail!("SIGTERM did not end it within {PATIENCE:?}");
    };
    Ok(Outcome { green: status.success(), note: format!("after SIGTERM: {status}") })
}

/// What the service answers to a request, to its repetition, and to one of somebody else.
fn count(running: &mut Child) -> Result<String> {
    let mut log = BufReader::new(running.stderr.take().context("its log was not piped")?).lines();
    let address = loop {
        let line = log.next().context("it ended without saying what it listens on")??;
        println!("{line}");
        if let Some((_, address)) = line.split_once("listens on ") {
            break address.trim().to_owned();
        }
    };
    // Read on, or the service would wait for room in the pipe.
    std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| println!("{line}")));
    let mut stream = TcpStream::connect(&address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"add anna 1 5\nadd anna 1 5\nadd bert 1 2\n")?;
    let mut answers = [0; 6];
    stream.read_exact(&mut answers)?;
    Ok(String::from_utf8_lossy(&answers).into_owned())
}

/// Makes the bug that the project's README tells of, and has the nightly command of its CI find and explain it.
fn red(place: &Place) -> Result<Outcome> {
    let (file, condition, always) = BUG;
    let readme = fs::read_to_string(place.project.join("README.md")).context("cannot read README.md")?;
    for told in [file, &format!("replace `{condition}` by `{always}`")] {
        ensure!(readme.contains(told), "README.md does not say {told}");
    }
    let path = place.project.join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
    ensure!(text.matches(condition).count() == 1, "{file} has not one `{condition}`");
    fs::write(&path, text.replace(condition, always)).with_context(|| format!("cannot write {file}"))?;

    let [_, nightly] = ci_commands(place)?;
    let (succeeded, output) = shell(place, &nightly)?;
    print!("{output}");
    ensure!(!succeeded, "the tally counts requests twice, and `{nightly}` is green");
    let folder = place.project.join("red");
    let mut made = Vec::new();
    names_below(&folder, &mut made)?;
    for name in ["plan.json", "picture.html"] {
        ensure!(made.iter().any(|file| file == name), "{} has no {name}, but {made:?}", folder.display());
    }
    ensure!(place.project.join("red.json").is_file(), "no red seed was kept in red.json");
    let again =
        output.lines().find_map(|line| line.split_once("run it again with: ")).map(|(_, command)| command);
    let again = again.context("the output does not say how to run it again")?;
    let (succeeded, replayed) = shell(place, again)?;
    ensure!(
        !succeeded && replayed.contains("were added, and the total is"),
        "`{again}` does not fail again:\n{replayed}"
    );
    Ok(Outcome { green: true, note: again.to_owned() })
}

/// Runs a command line as somebody would type it; whether it succeeded, and what it printed.
fn shell(place: &Place, line: &str) -> Result<(bool, String)> {
    println!("$ {line}");
    let mut shell = place.command("sh");
    // Whatever this program's output is, so that it can be searched.
    let output = shell.args(["-c", line]).env("NO_COLOR", "1").output().context("cannot run sh")?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn names_below(folder: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        match entry.path().is_dir() {
            true => names_below(&entry.path(), names)?,
            false => names.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    Ok(())
}

fn cargo<const N: usize>(place: &Place, args: [&str; N]) -> Command {
    let mut command = place.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Licences, sources and advisories of third-party crates, as `deny.toml` allows them; how many of the two steps were skipped.
fn licences(workspace: &Workspace, steps: &mut Steps) -> usize {
    if !has_subcommand(workspace, "deny") {
        println!(
            "\nskipped, because cargo-deny is not installed (cargo install --locked cargo-deny): licences, advisories"
        );
        return 2;
    }
    let deny = |what: &[&str]| {
        let mut check = workspace.cargo(["deny", "--log-level", "error", "check"]);
        let output = check.args(what).output().context("cannot run cargo")?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        print!("{text}");
        Ok::<_, anyhow::Error>((output.status.success(), text))
    };
    steps.run("package: licences and sources", || Ok(deny(&["licenses", "bans", "sources"])?.0.into()));
    let mut skipped = 0;
    steps.run("package: advisories", || {
        let (green, text) = deny(&["advisories"])?;
        skipped = usize::from(!green && text.contains("failed to fetch advisory database"));
        let note = if skipped > 0 { "skipped: their database cannot be fetched" } else { "" };
        Ok(Outcome { green: green || skipped > 0, note: note.into() })
    });
    skipped
}

/// What the packages promise, beside the last tag; 1 when it is skipped.
fn semver(workspace: &Workspace, steps: &mut Steps) -> usize {
    let skipped = |why: &str| {
        println!("\nskipped, because {why}: semantic versions");
        1
    };
    if !has_subcommand(workspace, "semver-checks") {
        return skipped("cargo-semver-checks is not installed (cargo install --locked cargo-semver-checks)");
    }
    let Some(tag) = last_tag(workspace) else {
        return skipped("no tag v* is there to compare with");
    };
    steps.run("package: semantic versions", || {
        let mut check = workspace.cargo(["semver-checks", "--baseline-rev", &tag]);
        for name in PACKAGES {
            check.args(["-p", name]);
        }
        Ok(Outcome {
            green: check.status().context("cannot run cargo")?.success(),
            note: format!("since {tag}"),
        })
    });
    0
}

fn has_subcommand(workspace: &Workspace, name: &str) -> bool {
    let mut version = workspace.cargo([name, "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn last_tag(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--tags", "--abbrev=0", "--match", "v*"]).current_dir(&workspace.root);
    let output = git.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_field_or_with_a_path_is_found() {
        let whole = "[package]\ndescription = \"d\"\nreadme = \"r\"\nkeywords = [\ncategories = [\nlicense = \"l\"\n\
                     rust-version = \"1\"\n[package.metadata.docs.rs]\n[lib]\npath = \"src/lib.rs\"\n";
        assert_eq!(flaws_of_manifest("x", whole), [] as [&str; 0]);
        let broken = whole.replace("license", "licence").replace("src/lib.rs", "../core");
        assert_eq!(flaws_of_manifest("x", &broken), ["x has no license", "x depends on a path"]);
    }
}
