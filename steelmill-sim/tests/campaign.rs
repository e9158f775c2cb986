//! A campaign as people meet it: in a test that the environment speaks to, and as a program.
//!
//! Most of these run this very program again, for one test that is not one on its own: without the variable that asks for
//! it, it does nothing.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "the programs that are watched run in real time")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, ExitCode, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use steelmill_core::{Daemon, Factory, Result, Scope};
use steelmill_sim::{Campaign, Seed, Sim, check, cli};

/// Says which of the programs below is meant.
const ASKED: &str = "TEST_PROGRAM";

fn is_asked_for(program: &str) -> bool {
    std::env::var(ASKED).is_ok_and(|asked| asked == program)
}

/// This program, for one of its tests.
fn command(program: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
    command.args([program, "--exact", "--nocapture"]).env(ASKED, program).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEELMILL_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command
}

fn run(program: &str, variables: &[(&str, &str)]) -> Output {
    command(program, variables).output().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], b"\n", &output.stderr].concat()).into_owned()
}

#[test]
fn program_that_says_what_it_runs() {
    if is_asked_for("program_that_says_what_it_runs") {
        Campaign::new(|sim: Sim| async move {
            eprintln!("seed {}", sim.seed());
            tokio::task::yield_now().await;
            anyhow::ensure!(sim.seed() != Seed(13), "unlucky");
            Ok(())
        })
        .first_seed(Seed(10))
        .seeds(3)
        .program("cargo xtask sim")
        .check();
    }
}

#[test]
fn the_environment_chooses_the_seeds() {
    let seeds = |variables: &[(&str, &str)]| {
        let output = run("program_that_says_what_it_runs", variables);
        let text = text(&output);
        let seeds = text.lines().filter_map(|line| line.strip_prefix("seed ")?.parse().ok());
        let mut seeds: Vec<u64> = seeds.collect();
        seeds.sort_unstable();
        seeds
    };
    assert_eq!(seeds(&[]), [10, 11, 12]);
    assert_eq!(seeds(&[("STEELMILL_SEED", "99")]), [99]);
    assert_eq!(seeds(&[("STEELMILL_SEEDS", "2")]), [10, 11]);
    assert_eq!(seeds(&[("STEELMILL_FIRST_SEED", "20"), ("STEELMILL_JOBS", "1")]), [20, 21, 22]);
    assert_eq!(seeds(&[("STEELMILL_SEEDS", "2"), ("STEELMILL_VERIFY", "twice")]), [10, 10, 11, 11]);
    assert_eq!(seeds(&[("STEELMILL_SEEDS", "3"), ("STEELMILL_SHARD", "1/2")]), [10, 12]);
    assert_eq!(seeds(&[("STEELMILL_SHARD", "9/9")]), [0; 0], "nothing is left for it, which is no failure");
}

#[test]
fn a_wrong_value_in_the_environment_is_an_error() {
    let output = run("program_that_says_what_it_runs", &[("STEELMILL_SCHEDULE", "fair")]);
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("STEELMILL_SCHEDULE=\"fair\": ") && text.contains("uniform, fifo, pct:D"),
        "{text}"
    );
}

#[test]
fn a_red_seed_says_how_to_run_it_again_as_a_test_and_as_a_program() {
    let variables =
        [("STEELMILL_SEEDS", "10"), ("STEELMILL_SCHEDULE", "pct:2"), ("STEELMILL_TIME_LIMIT", "60")];
    let output = run("program_that_says_what_it_runs", &variables);
    let text = text(&output);
    let test = "STEELMILL_SCHEDULE=pct:2 STEELMILL_TIME_LIMIT=60 STEELMILL_SEED=13 cargo test -p steelmill-sim \
                --test campaign program_that_says_what_it_runs -- --exact";
    for line in [
        "seed 13 failed at 0.000000000 s: unlucky",
        &format!("run it again with: {test}"),
        "               or: cargo xtask sim --schedule=pct:2 --time-limit=60 --seed 13",
    ] {
        assert!(
            text.lines().any(|said| said.trim_end() == line || said.ends_with(line)),
            "{line:?} in: {text}"
        );
    }
}

#[test]
fn program_that_checks_one_seed() {
    if is_asked_for("program_that_checks_one_seed") {
        check(Seed(5), |sim| async move {
            eprintln!("seed {}", sim.seed());
            anyhow::bail!("always")
        });
    }
}

#[test]
fn a_test_of_one_seed_keeps_it() {
    let output =
        run("program_that_checks_one_seed", &[("STEELMILL_SEED", "99"), ("STEELMILL_SCHEDULE", "fifo")]);
    let text = text(&output);
    assert!(text.contains("seed 5 failed") && !text.contains("seed 99"), "{text}");
    let again =
        "STEELMILL_SCHEDULE=fifo cargo test -p steelmill-sim --test campaign program_that_checks_one_seed";
    assert!(text.contains(&format!("run it again with: {again} -- --exact")), "{text}");
}

/// Sleeps in real time.
struct Stubborn;

impl Daemon for Stubborn {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.spawn("busy", async { std::thread::sleep(Duration::from_secs(60)) });
        Ok(())
    }
}

#[test]
fn program_that_never_reaches_an_await() {
    if is_asked_for("program_that_never_reaches_an_await") {
        Campaign::new(|sim: Sim| async move {
            let machine = sim.machine("m", |factory| factory.with::<Stubborn>()).start().await?;
            machine.get::<Stubborn>()?;
            std::future::pending().await
        })
        .first_seed(Seed(42))
        .seeds(1)
        .poll_time_limit(Duration::from_millis(500))
        .check();
    }
}

#[test]
fn a_poll_that_never_ends_ends_the_process_and_says_whose_it_was() {
    let begun = Instant::now();
    let output = run("program_that_never_reaches_an_await", &[]);
    let text = text(&output);
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "it waits for half a second, not for the usual half minute"
    );
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("seed 42: one poll of \"m: Stubborn: busy\" has lasted for 500ms of real time"),
        "{text}"
    );
}

/// Runs seeds, 20 ms of real time each; the sixth is red, and so are all behind it.
fn program(args: &[&str], failing: bool) -> ExitCode {
    let args = <Flags as clap::Parser>::parse_from([&["program"], args].concat()).args;
    cli::main(&args, "slow", "the program", move |sim| async move {
        if sim.seed() == Seed(1) {
            eprintln!("begun");
        }
        std::thread::sleep(Duration::from_millis(20));
        anyhow::ensure!(!failing || sim.seed() < Seed(6), "too far");
        Ok(())
    })
}

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    args: cli::Args,
}

#[test]
fn program_with_many_slow_seeds() {
    if is_asked_for("program_with_many_slow_seeds") {
        let code = program(&["--seeds", "100000"], false);
        eprintln!("ended with {code:?}, is interrupted: {}", code == ExitCode::from(130));
    }
}

/// Starts a program, waits until it says that it has begun, and presses Ctrl-C so often.
fn interrupt(program: &str, times: u32) -> (ExitStatus, String, String) {
    let mut command = command(program, &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut errors = BufReader::new(child.stderr.take().expect("it was piped"));
    let mut line = String::new();
    while !line.contains("begun") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).expect("text"), 0, "it has ended");
    }
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(300));
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(killed.expect("there is a kill").success());
    }
    let (mut output, mut said) = (String::new(), String::new());
    errors.read_to_string(&mut said).expect("text");
    child.stdout.take().expect("it was piped").read_to_string(&mut output).expect("text");
    (child.wait().expect("it ends"), output, said)
}

#[test]
fn ctrl_c_ends_a_campaign_with_its_summary() {
    let (status, output, said) = interrupt("program_with_many_slow_seeds", 1);
    assert!(status.success() && said.contains("is interrupted: true"), "{said}");
    assert!(
        output.contains("stopped early: ") && output.contains(" of 100000 seeds did not run"),
        "{output}"
    );
}

#[test]
fn program_with_a_seed_that_does_not_end() {
    if is_asked_for("program_with_a_seed_that_does_not_end") {
        let args = <Flags as clap::Parser>::parse_from(["program", "--seeds", "1"]).args;
        cli::main(&args, "stuck", "the program", |_| async {
            eprintln!("begun");
            std::thread::sleep(Duration::from_secs(20));
            Ok(())
        });
    }
}

#[test]
fn a_second_ctrl_c_ends_the_process_at_once() {
    let (status, output, _) = interrupt("program_with_a_seed_that_does_not_end", 2);
    assert_eq!(status.code(), Some(130), "{output}");
}

#[test]
fn no_more_red_seeds_are_told_than_were_asked_for() {
    for max in [1, 3] {
        let summary = Campaign::new(|_| async { anyhow::bail!("red") }).jobs(8).failures_max(max).run();
        assert_eq!((summary.failed.len(), summary.seeds), (max, max as u64));
    }
}

#[test]
fn program_that_fails_many_seeds() {
    if is_asked_for("program_that_fails_many_seeds") {
        program(&["--seeds", "50", "--max-failures", "2", "--schedule", "pct:3", "--verify"], true);
    }
}

#[test]
fn a_program_repeats_its_flags_with_each_red_seed() {
    let output = run("program_that_fails_many_seeds", &[]);
    let text = text(&output);
    let again =
        text.lines().filter(|line| line.starts_with("the program --schedule=pct:3 --verify=twice --seed "));
    assert_eq!(again.count(), 2, "{text}");
}

#[test]
fn program_with_flags() {
    if is_asked_for("program_with_flags") {
        let flags = std::env::var(FLAGS).expect("the test says which");
        let args =
            <Flags as clap::Parser>::parse_from(["program"].into_iter().chain(flags.split_whitespace()));
        let code = cli::main(&args.args, "flags", "the program", |sim| async move {
            sim.count("steps", sim.seed().0 % 3);
            sim.clock().sleep(Duration::from_secs(sim.seed().0)).await;
            anyhow::ensure!(sim.seed().0 % 10 != 7, "a seven in {}", sim.seed());
            Ok(())
        });
        let code = (0..=u8::MAX).find(|number| ExitCode::from(*number) == code);
        std::process::exit(code.expect("an exit code is a byte").into());
    }
}

/// What the program above is called with.
const FLAGS: &str = "TEST_FLAGS";

/// Runs it; its exit code, its output without the harness's, and its errors.
fn with_flags(flags: &str) -> (Option<i32>, String, String) {
    let output = run("program_with_flags", &[(FLAGS, flags)]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    let said = said.trim_start_matches(['\n', '\r']);
    let said = said.strip_prefix("running 1 test\n").unwrap_or(said);
    (output.status.code(), said.to_owned(), text(&output.stderr))
}

/// A folder of a test's own, gone when this is.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steelmill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn merged_shards_say_what_one_run_says() {
    let folder = Folder::new("shards");
    let mut files = Vec::new();
    for shard in 1..=3 {
        let file = folder.file(&format!("shard-{shard}.json"));
        let (code, json, _) = with_flags(&format!("--seeds 20 --json --shard {shard}/3"));
        let has_red = ["7", "17"].iter().any(|seed| json.contains(&format!("--seed {seed}\"")));
        assert_eq!(code, Some(i32::from(has_red)), "{json}");
        assert_eq!(json.lines().count(), 1, "{json}");
        std::fs::write(&file, json).expect("a file");
        files.push(file);
    }
    let junit = folder.file("junit.xml");
    let (code, whole, whole_errors) = with_flags("--seeds 20 --jobs 1");
    let (merged_code, merged, errors) = with_flags(&format!("--junit {junit} --merge {}", files.join(" ")));
    assert_eq!((code, merged_code), (Some(1), Some(1)), "{errors}");
    let without_wall = |text: &str| {
        text.lines().filter(|line| !line.contains("seeds a minute")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_wall(&merged), without_wall(&whole));
    assert!(merged.contains("flags: 20 seed(s), 18 passed, 2 failed"), "{merged}");
    assert!(merged.contains("(the longest of 3 shards)"), "{merged}");
    assert_eq!(errors, whole_errors, "red seeds are told with what replays them");
    assert!(errors.contains("a seven in 17\nthe program --seed 17\n"), "{errors}");
    assert!(folder.read("junit.xml").contains("<failure message=\"a seven in 17\">"));

    let (code, _, errors) = with_flags(&format!("--merge {} {}", files[0], files[2]));
    assert_eq!(code, Some(2), "that is no red seed");
    assert!(errors.contains("error: 1 of 3 shards missing: 2/3"), "{errors}");
    let (code, json, _) = with_flags(&format!("--json --merge {}", files.join(" ")));
    assert_eq!((code, json.lines().count()), (Some(1), 1));
    let record = steelmill_sim::Record::from_json(&json).expect("as any other");
    assert_eq!((record.seeds, record.merged), (20, Some(3)));
}

#[test]
fn what_a_merge_does_not_do_is_not_asked_of_it() {
    for flags in
        ["--seeds 3", "--seed 3", "--shard 1/2", "--faults none", "--verify", "--explain x", "--jobs 2"]
    {
        let line = format!("program --merge shard.json {flags}");
        let parsed = <Flags as clap::Parser>::try_parse_from(line.split(' '));
        let error = parsed.map(|_| ()).expect_err(flags).to_string();
        assert!(error.contains("cannot be used with"), "{error}");
    }
    for flags in ["--seed 3 --shard 1/2", "--merge"] {
        let line = format!("program {flags}");
        assert!(<Flags as clap::Parser>::try_parse_from(line.split(' ')).is_err(), "{flags}");
    }
}
